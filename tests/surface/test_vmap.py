"""`vmap` of the whole op table: every sample, with all or some of its tensors mapped, gives what its slices give one by one; so do gradients."""
from __future__ import annotations

import warnings

import numpy as np
import pytest

import jitorch
from jitorch.func import vmap
from jitorch.ops import batching

from ..ops.harness import DEFAULT_TOLERANCE, Case, Maker, cases

NAMES = sorted({case.name for case in cases() if not case.random})


class Seeded(Maker):
    """Makes other tensors where values are drawn, for other slices."""

    def __init__(self, torch, seed: int):
        super().__init__(torch)
        self.seed, self.all = seed, []

    def __call__(self, *shape, **how):
        self.made += 1000 * self.seed
        try:
            return super().__call__(*shape, **how)
        finally:
            self.made -= 1000 * self.seed

    def of(self, values, dtype: str = "float32", grad: bool = True):
        tensor = super().of(values, dtype, grad)
        self.all.append(tensor)
        return tensor


class Given(Maker):
    """Hands out tensors that there are."""

    def __init__(self, tensors):
        self.rest, self.leaves = iter(tensors), []

    def __call__(self, *shape, **how):
        return next(self.rest)

    def of(self, values, dtype: str = "float32", grad: bool = True):
        return next(self.rest)


def of_slice(case: Case, gradient: bool):
    """The sample as a function of its tensors: its results, or their gradients."""
    def results(tensors):
        made = case.function(jitorch, Given([x.clone() for x in tensors]))      # samples may write to them
        return tuple(made) if isinstance(made, (tuple, list)) else (made,)

    def gradients(tensors):
        def total(*floating):
            rest = iter(floating)
            made = results([next(rest) if x.dtype.differentiable else x for x in tensors])
            return sum(((r.conj() * r).real if r.is_complex() else r * (1 + r)).sum() for r in made if r.dtype.differentiable)

        floating = [x for x in tensors if x.dtype.differentiable]
        return jitorch.func.grad(total, argnums=tuple(range(len(floating))))(*floating)

    return gradients if gradient else results


def slices_of(case: Case):
    rows = []
    for seed in (0, 1):
        maker = Seeded(jitorch, seed)
        case.function(jitorch, maker)
        rows.append([x.detach() for x in maker.all])
    return rows


def compare(case: Case, gradient: bool, monkeypatch) -> str:
    """What became of a sample: "rule", "slices" (some entries), "loop" (the whole function), or why it can't be mapped."""
    rows = slices_of(case)
    if not rows[0] or any(a.shape != b.shape for a, b in zip(*rows, strict=True)):
        return "nothing to map"
    f = of_slice(case, gradient)
    kinds = {"rule"}
    stacked = [jitorch.stack(pair) for pair in zip(*rows, strict=True)]
    one_by_one, enter = batching.slice_by_slice, batching.Level.__enter__
    monkeypatch.setattr(batching, "slice_by_slice", lambda *a: kinds.add("slices") or one_by_one(*a))
    monkeypatch.setattr(batching.Level, "__enter__", lambda self: (self.loop and kinds.add("loop"), enter(self))[1])
    for mapped in {(True,) * len(stacked), (True,) + (False,) * (len(stacked) - 1), (False,) + (True,) * (len(stacked) - 1)}:
        if not any(mapped):
            continue
        ours = [[x if m else x0 for m, x, x0 in zip(mapped, row, rows[0], strict=True)] for row in rows]
        try:
            want = [f(row) for row in ours]
        except (RuntimeError, ValueError, IndexError, TypeError, NotImplementedError) as error:
            return f"raises {type(error).__name__}"
        if any(a.shape != b.shape for a, b in zip(*want, strict=True)):
            continue
        got = vmap(lambda *tensors: f(list(tensors)), in_dims=tuple(0 if m else None for m in mapped))(
            *(x if m else x0 for m, x, x0 in zip(mapped, stacked, rows[0], strict=True)))
        assert len(got) == len(want[0])
        for k, result in enumerate(got):
            for i, right in enumerate(w[k] for w in want):
                left, right = result[i].detach().float() if result.dtype is jitorch.bfloat16 else result[i].detach(), right.detach()
                right = right.float() if right.dtype is jitorch.bfloat16 else right
                assert left.dtype is right.dtype and left.shape == right.shape, (case, mapped, k, left.dtype, right.dtype, left.shape, right.shape)
                rtol, atol = DEFAULT_TOLERANCE.get(str(left.dtype).removeprefix("torch."), (0, 0))
                scale = np.abs(np.nan_to_num(right.resolve_conj().numpy(), posinf=0, neginf=0)).max(initial=1.0) if atol else 1
                np.testing.assert_allclose(left.resolve_conj().numpy(), right.resolve_conj().numpy(), 10 * rtol, 10 * atol * scale,
                                           err_msg=f"{case} mapped {mapped}, result {k} of slice {i}")
    return "loop" if "loop" in kinds else "slices" if "slices" in kinds else "rule"


@pytest.mark.parametrize("name", NAMES)
def test_mapped_samples(name, monkeypatch):
    with warnings.catch_warnings(), jitorch.config.using(tier="reference"):
        warnings.simplefilter("ignore")
        found = [c for c in cases() if c.name == name]
        for case in found[:: max(1, len(found) // 3)]:
            for gradient in (False, True):
                with monkeypatch.context() as patch:
                    compare(case, gradient, patch)


def test_what_is_recorded_does_not_grow_with_the_slices():
    from jitorch.graph.record import local, steps_of

    layer = jitorch.nn.Sequential(jitorch.nn.Linear(5, 4), jitorch.nn.LayerNorm(4), jitorch.nn.Tanh(), jitorch.nn.Linear(4, 3))
    params = {k: p.detach() for k, p in layer.named_parameters()}

    def loss(params, x, y):
        return jitorch.nn.functional.cross_entropy(jitorch.func.functional_call(layer, params, (x[None],)), y[None])

    def steps(n):
        jitorch.graph.record.flush()
        found = vmap(jitorch.func.grad(loss), in_dims=(None, 0, 0))(params, jitorch.ones(n, 5), jitorch.ones(n, dtype=jitorch.int64))
        count = len(steps_of(local.tape.node))
        assert found["0.weight"].shape == (n, 4, 5)
        return count

    assert steps(3) == steps(12)


def test_random_numbers():
    x = jitorch.zeros(3, 4)
    with pytest.raises(RuntimeError, match="randomness error mode"):
        vmap(lambda v: v + jitorch.rand(4))(x)
    for draw in (lambda v: v + jitorch.rand(4), lambda v: v + jitorch.randint(10 ** 6, (4,)), lambda v: v + jitorch.randperm(40)[:4],
                 lambda v: jitorch.nn.functional.dropout(v + jitorch.arange(1.0, 5.0), 0.5) * jitorch.arange(1.0, 5.0)):
        same = vmap(draw, randomness="same")(x)
        assert (same == same[0]).all()
        assert any(not (found == found[0]).all() for found in (vmap(draw, randomness="different")(x) for _ in range(8)))


def test_values_and_conditions_call_the_function_for_each_slice():
    x = jitorch.tensor([-1.0, 2.0, -3.0])
    assert vmap(lambda v: v if v > 0 else -v)(x).tolist() == [1.0, 2.0, 3.0]
    assert vmap(lambda v: jitorch.tensor(v.item()))(x).tolist() == x.tolist()
    with pytest.raises(ValueError, match="must only return Tensors"):
        vmap(lambda v: 1)(x)
    with pytest.raises(ValueError, match="dimensionality 1"):
        vmap(lambda v: v, in_dims=2)(x)


@pytest.mark.parametrize("chunk", [1, 2, 5])
def test_chunks(chunk):
    x = jitorch.arange(15.0).reshape(5, 3)
    assert vmap(lambda v: (v.sum(), v * 2), out_dims=(0, 1), chunk_size=chunk)(x)[1].equal((x * 2).t())


def test_nested():
    x, y = jitorch.arange(6.0).reshape(2, 3), jitorch.arange(12.0).reshape(3, 4)
    outer = vmap(vmap(lambda a, b: a * b.sum(), (None, 0)), (1, None))(x, y)
    assert outer.equal(x.t()[:, None] * y.sum(1)[None, :, None])
    got = vmap(lambda a: vmap(lambda b: (a[:, None] * b).sum())(y))(x.t())
    assert got.equal(jitorch.stack([jitorch.stack([(a[:, None] * b).sum() for b in y]) for a in x.t()]))
    hessians = vmap(jitorch.func.hessian(lambda v: (v ** 3).sum()))(x)
    assert hessians.equal(jitorch.stack([jitorch.diag(6 * v) for v in x]))


def test_writes():
    def f(v):
        out = v * 1
        out[0] = v.sum()
        out[1:].mul_(2)
        return out

    x = jitorch.arange(6.0).reshape(2, 3)
    assert vmap(f)(x).equal(jitorch.stack([f(v) for v in x]))

"""Half precision and complex dtypes: promotion, casts, printing, autograd, as PyTorch's."""
from __future__ import annotations

import itertools

import numpy as np
import pytest

import jitorch

torch = pytest.importorskip("torch")
NAMES = [*("bool", "uint8", "int8", "int16", "int32", "int64", "float16", "bfloat16", "float32", "float64", "complex64", "complex128")]


@pytest.mark.parametrize(("a", "b"), [*itertools.product(NAMES, NAMES)])
def test_promotion(a, b):
    kinds = [(m, getattr(m, a), getattr(m, b)) for m in (jitorch, torch)]
    assert repr(kinds[0][0].promote_types(*kinds[0][1:])) == repr(kinds[1][0].promote_types(*kinds[1][1:]))
    found: list[list] = []
    numbers = (True, 2, 2.5) if a == "float16" else (True, 2, 2.5, 1j)     # there is no complex32
    if {a, b} in ({"float16", "complex64"}, {"float16", "complex128"}):
        return
    for m, x, y in kinds:
        found.append([repr(m.result_type(m.ones(2, dtype=x), m.ones((), dtype=y)))]
                     + [repr(m.result_type(m.ones(2, dtype=x), number)) for number in numbers]
                     + [repr(m.result_type(m.ones((), dtype=x), number)) for number in numbers]
                     + [m.can_cast(x, y), x.is_complex, x.is_floating_point, x.is_signed, x.itemsize])
    assert found[0] == found[1]


@pytest.mark.parametrize("values", [
    [1 + 2j], [1.5 - 2j, 1000.25 + 0j], [[0j, -1j], [1e-6 + 1e9j, 3]], [complex("nan"), complex("inf")],
])
def test_complex_tensors_print_as_pytorchs(values):
    for dtype in (None, "complex128"):
        ours, theirs = (m.tensor(values, dtype=dtype and getattr(m, dtype)) for m in (jitorch, torch))
        assert repr(ours) == repr(theirs)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_prints_as_pytorchs(dtype):
    values = np.random.default_rng(0).normal(size=(3, 4))
    for scale in (1, 1e-3, 100):
        assert repr(jitorch.tensor(values * scale, dtype=getattr(jitorch, dtype))) == repr(torch.tensor(values * scale, dtype=getattr(torch, dtype)))
    assert repr(jitorch.finfo(getattr(jitorch, dtype))) == repr(torch.finfo(getattr(torch, dtype)))


@pytest.mark.parametrize("tier", ["reference", "compiled"])
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_a_step_in_half_precision(tier, dtype):
    """Forward, backward and update of a small network, to the last bit where sums are short."""
    x = np.random.default_rng(1).normal(size=(5, 3)).astype(np.float32)
    results = []
    for m in (jitorch, torch):
        weight = np.random.default_rng(2).normal(size=(2, 3)).astype(np.float32)
        layer = m.nn.Linear(3, 2)
        with m.no_grad():
            layer.weight.copy_(m.tensor(weight))
            layer.bias.zero_()
        layer = layer.to(getattr(m, dtype))
        optimizer = m.optim.SGD(layer.parameters(), lr=0.125, momentum=0.5)
        with jitorch.config.using(tier=tier):
            for _ in range(3):
                optimizer.zero_grad()
                (layer(m.tensor(x).to(getattr(m, dtype))).tanh() ** 2).sum().backward()
                optimizer.step()
            results.append(layer.weight.detach().float().tolist())
        assert layer.weight.grad.dtype is getattr(m, dtype)
    np.testing.assert_allclose(*results, rtol=0.03, atol=0.02)


@pytest.mark.parametrize("tier", ["reference", "compiled"])
def test_complex_parameters_train(tier):
    data = np.random.default_rng(1).normal(size=(8, 2)) @ np.array([1, 1j])
    results = []
    for m in (jitorch, torch):
        w = m.tensor([0.5 + 0.5j, -1.0], dtype=m.complex128, requires_grad=True)
        x = m.tensor(data)
        with jitorch.config.using(tier=tier):
            for _ in range(3):
                loss = (w[0] * x + w[1] - x.conj() * 2j).abs().square().mean()
                loss.backward()
                with m.no_grad():
                    w -= 0.1 * w.grad
                    w.grad = None
            results.append(w.detach().tolist())
    np.testing.assert_allclose(*results)


def test_writing_to_a_copied_part_is_refused():
    z = jitorch.tensor([1 + 2j])
    with pytest.raises(RuntimeError, match="copy"):
        z.real.add_(1)
    z.real = 5.0
    z.imag = jitorch.tensor([7.0])
    assert z.tolist() == [5 + 7j]
    with pytest.raises(RuntimeError, match="non-complex"):
        jitorch.imag(jitorch.ones(1))


def test_numpy_and_python_values():
    assert jitorch.tensor([1.5], dtype=jitorch.bfloat16).item() == 1.5
    assert jitorch.tensor(2 - 1j).item() == 2 - 1j and complex(jitorch.tensor(2 - 1j)) == 2 - 1j
    a = np.array([1 + 1j, 2], np.complex64)
    t = jitorch.from_numpy(a)
    a[0] = 3
    assert t.dtype is jitorch.complex64 and t.tolist() == [3, 2]
    assert jitorch.from_numpy(np.ones(2, np.float16)).dtype is jitorch.float16
    assert jitorch.tensor([1.0, 2j]).dtype is jitorch.complex64
    assert jitorch.ones(2, dtype=complex).dtype is jitorch.complex128
    state = jitorch.nn.Linear(2, 2).half().state_dict()
    assert {v.dtype for v in state.values()} == {jitorch.float16}


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "complex64", "complex128"])
def test_kernels_move_what_they_do_not_compute(dtype):
    """Copies of every layout and of lines long enough to be streamed."""
    kind = getattr(jitorch, dtype)
    with jitorch.config.using(tier="compiled"):
        for n in (5, 70_000):
            x = (jitorch.arange(2 * n) % 100).to(kind).view(2, n)
            y = jitorch.stack([x.t()[:, 1], x.t()[:, 0]]).clone()
            assert jitorch.equal(y, x.flip(0)) and y.dtype is kind
            assert jitorch.equal(x[:1].expand(3, n).contiguous()[2], x[0])

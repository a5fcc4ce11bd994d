"""Functional differentiation, gradient checks, vmap, functional_call and checkpoints, beside PyTorch's."""
from __future__ import annotations

import importlib

import numpy as np
import pytest

import jitorch

torch = pytest.importorskip("torch")
X = np.random.default_rng(0).normal(size=(3, 2))
V = np.random.default_rng(1).normal(size=(3, 2))


def functional(t):
    return importlib.import_module(t.__name__ + ".autograd.functional")


def func(t):
    return importlib.import_module(t.__name__ + ".func")


def values(tree):
    return [values(x) for x in tree] if isinstance(tree, (tuple, list)) else tree.detach().numpy()


def same(call):
    def compare(a, b):
        if isinstance(b, list):
            assert len(a) == len(b)
            for x, y in zip(a, b, strict=True):
                compare(x, y)
        else:
            np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12)

    compare(values(call(jitorch)), values(call(torch)))


CASES = {
    "jacobian": lambda t: functional(t).jacobian(lambda x: (x.sin() * x.sum(0), x.prod()), t.tensor(X)),
    "jacobian of two": lambda t: functional(t).jacobian(lambda x, y: x @ y.T, (t.tensor(X), t.tensor(V))),
    "hessian": lambda t: functional(t).hessian(lambda x, y: (x.exp() * y).sum() ** 2, (t.tensor(X), t.tensor(V))),
    "vjp": lambda t: functional(t).vjp(lambda x: x.cos() @ x.T, t.tensor(X), t.tensor(X @ X.T)),
    "jvp": lambda t: functional(t).jvp(lambda x: x.cos() @ x.T, t.tensor(X), t.tensor(V)),
    "hvp": lambda t: functional(t).hvp(lambda x: (x ** 3).sum(), t.tensor(X), t.tensor(V)),
    "vhp": lambda t: functional(t).vhp(lambda x: (x ** 3).sum(), t.tensor(X), t.tensor(V)),
    "grad": lambda t: func(t).grad(lambda x, y: (x * y).sin().sum(), argnums=(0, 1))(t.tensor(X), t.tensor(V)),
    "grad of dicts": lambda t: list(func(t).grad(lambda p: (p["a"] ** 2 * p["b"]).sum())({"a": t.tensor(X), "b": t.tensor(V)}).values()),
    "aux": lambda t: func(t).grad_and_value(lambda x: (x.sum() ** 2, x * 2), has_aux=True)(t.tensor(X)),
    "third derivative": lambda t: func(t).grad(func(t).grad(func(t).grad(lambda x: x ** 5)))(t.tensor(2.0, dtype=t.float64)),
    "jacrev": lambda t: func(t).jacrev(lambda x: x.exp() * x.sum())(t.tensor(X)),
    "jacfwd": lambda t: func(t).jacfwd(lambda x: x.tanh())(t.tensor(X)),
    "func.hessian": lambda t: func(t).hessian(lambda x: (x ** 4).sum())(t.tensor(X)),
    "func.jvp": lambda t: func(t).jvp(lambda x, y: x * y.sin(), (t.tensor(X), t.tensor(V)), (t.tensor(V), t.tensor(X))),
    "func.vjp": lambda t: (lambda pair: (pair[0], pair[1](t.tensor(V))))(func(t).vjp(lambda x: x.sin(), t.tensor(X))),
    "vmap": lambda t: t.vmap(lambda x, y: (x * y).sum() + y)(t.tensor(X), t.tensor(V)),
    "vmap of dims": lambda t: t.vmap(lambda x, w: (x @ w, w.sum() * x), in_dims=(1, None), out_dims=(0, 1))(t.tensor(X), t.tensor(V[:, 0])),
    "per-sample gradients": lambda t: t.vmap(func(t).grad(lambda w, x: (w * x).sum() ** 2), in_dims=(None, 0))(t.tensor(V[0]), t.tensor(X)),
    "vmap of vmap": lambda t: t.vmap(t.vmap(t.mul, in_dims=(0, None)), in_dims=(0, 0))(t.tensor(X), t.tensor(V[:, 0])),
    "jacobian by vmap": lambda t: t.vmap(func(t).jacrev(lambda x: x ** 2))(t.tensor(X)),
}


@pytest.mark.parametrize("name", CASES)
def test_as_pytorchs(name):
    same(CASES[name])


def test_results_have_history_only_where_it_is_wanted():
    x = jitorch.tensor(X, requires_grad=True)
    f = functional(jitorch)
    assert not f.jacobian(lambda v: v ** 2, x).requires_grad
    j = f.jacobian(lambda v: v ** 3, x, create_graph=True)
    j.sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), 6 * X)
    assert not func(jitorch).grad(lambda v: v.sum() ** 2)(jitorch.tensor(X)).requires_grad
    assert func(jitorch).grad(lambda v: v.sum() ** 2)(x).requires_grad
    with pytest.raises(RuntimeError, match="independent"):
        f.jacobian(lambda v: jitorch.ones(1), x, strict=True)
    with pytest.raises(RuntimeError, match="scalar"):
        func(jitorch).grad(lambda v: v)(x)
    with pytest.raises(ValueError, match="same size"):
        jitorch.vmap(jitorch.add)(jitorch.ones(2), jitorch.ones(3))


def test_functional_call():
    def call(t):
        model = t.nn.Sequential(t.nn.Linear(2, 3), t.nn.Tanh(), t.nn.Linear(3, 1)).double()
        rng = np.random.default_rng(3)
        params = {k: t.tensor(rng.normal(size=tuple(p.shape))) for k, p in model.named_parameters()}

        def loss(p):
            return func(t).functional_call(model, p, (t.tensor(X),)).square().mean()

        before = [p.tolist() for p in model.parameters()]
        found = func(t).grad(loss)(params)
        assert before == [p.tolist() for p in model.parameters()]
        return [loss(params), *found.values()]

    same(call)
    layer = jitorch.nn.Linear(2, 2)
    with pytest.raises(AttributeError, match="nothing"):
        func(jitorch).functional_call(layer, {"nothing": jitorch.ones(1)}, (jitorch.ones(1, 2),))
    stacked, _ = func(jitorch).stack_module_state([jitorch.nn.Linear(2, 3) for _ in range(4)])
    y = jitorch.vmap(lambda p, x: func(jitorch).functional_call(layer, p, (x,)), in_dims=(0, None))(stacked, jitorch.ones(5, 2))
    assert y.shape == (4, 5, 3)


def test_gradcheck_finds_right_and_wrong_gradients():
    t = jitorch
    x = t.randn(2, 3, dtype=t.float64, requires_grad=True)
    y = t.randn(3, dtype=t.float64, requires_grad=True)
    check, check2 = t.autograd.gradcheck, t.autograd.gradgradcheck
    assert check(lambda a, b: (a * b).sin().sum(0), (x, y)) and check2(lambda a, b: (a * b).sin(), (x, y))
    z = t.randn(3, dtype=t.complex128, requires_grad=True)
    for f in (lambda v: v * v.conj(), t.abs, t.exp, t.angle, lambda v: v.sgn(), lambda v: t.view_as_real(v), lambda v: t.fft.fft(v), lambda v: v ** 3):
        assert check(f, (z,)) and check2(f, (z,), atol=1e-4)

    class Wrong(t.autograd.Function):
        @staticmethod
        def forward(ctx, v):
            return v * 2

        @staticmethod
        def backward(ctx, g):
            return g * 3

    with pytest.raises(RuntimeError, match="Jacobian mismatch for output 0 with respect to input 0"):
        check(Wrong.apply, (x,))
    assert check(Wrong.apply, (x,), raise_exception=False) is False
    with pytest.raises(ValueError, match="requires_grad"):
        check(t.sin, (t.ones(1),))


@pytest.mark.parametrize("reentrant", [True, False])
def test_checkpoint(reentrant):
    def run(t, through):
        checkpoint = importlib.import_module(t.__name__ + ".utils.checkpoint").checkpoint
        rng = np.random.default_rng(0)
        layers = [t.nn.Linear(4, 4).double() for _ in range(2)]
        with t.no_grad():
            for layer in layers:
                for p in layer.parameters():
                    p.copy_(t.tensor(rng.normal(size=tuple(p.shape))))
        x = t.tensor(rng.normal(size=(3, 4)), requires_grad=True)

        def block(v, scale=1.0):
            return layers[1](layers[0](v).tanh()) * scale, v.sum()

        y, s = checkpoint(block, x, scale=2.0, use_reentrant=reentrant) if through and t is jitorch else block(x, scale=2.0)
        (y.square().sum() * s).backward()
        return [x.grad, *(p.grad for layer in layers for p in layer.parameters())]

    for a, b in zip(values(run(jitorch, True)), values(run(torch, False)), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9)


def test_checkpoint_draws_the_same_numbers_again_and_can_be_differentiated_twice():
    from jitorch.utils.checkpoint import checkpoint, checkpoint_sequential

    calls = []

    def noisy(x):
        calls.append(1)
        return x * jitorch.rand_like(x)

    x = jitorch.ones(100, requires_grad=True)
    y = checkpoint(noisy, x, use_reentrant=False)
    after = jitorch.get_rng_state()
    y.sum().backward()
    assert len(calls) == 2 and x.grad.tolist() == y.tolist() and jitorch.equal(after, jitorch.get_rng_state())
    w = jitorch.tensor([2.0], requires_grad=True)
    (g,) = jitorch.autograd.grad(checkpoint(lambda v: v ** 3, w, use_reentrant=False), w, create_graph=True)
    assert jitorch.autograd.grad(g, w)[0].tolist() == [12.0]
    model = jitorch.nn.Sequential(*[jitorch.nn.Linear(2, 2) for _ in range(4)])
    v = jitorch.ones(1, 2, requires_grad=True)
    assert checkpoint_sequential(model, 2, v).tolist() == model(v).tolist()


def test_inference_mode():
    assert not jitorch.is_inference_mode_enabled()
    with jitorch.inference_mode():
        assert jitorch.is_inference_mode_enabled() and not jitorch.ones(1, requires_grad=True).mul(2).requires_grad
        with jitorch.inference_mode(False):
            assert jitorch.ones(1, requires_grad=True).mul(2).requires_grad
    assert not jitorch.is_inference_mode_enabled() and jitorch.is_grad_enabled()


def test_pytrees():
    from jitorch.utils import _pytree as tree

    data = {"a": [1, (2, 3)], "b": None}
    leaves, spec = tree.tree_flatten(data)
    assert leaves == [1, 2, 3, None] and tree.tree_unflatten(leaves, spec) == data and spec.num_leaves == 4
    assert tree.tree_map(lambda x, y: (x, y), [1, [2]], [3, [4]]) == [(1, 3), [(2, 4)]]
    assert tree.tree_map_only(int, lambda x: x + 1, [1, "s"]) == [2, "s"]
    with pytest.raises(ValueError, match="leaves"):
        tree.tree_unflatten([1], spec)

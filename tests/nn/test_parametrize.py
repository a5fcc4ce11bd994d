"""Parametrisations, weight and spectral norm, fusion, lazy modules: beside PyTorch's."""
from __future__ import annotations

import copy
import importlib

import numpy as np
import pytest

import jitorch

torch = pytest.importorskip("torch")


def module(t, *parts):
    return importlib.import_module(".".join((t.__name__, *parts)))


def load(layer, t, state):
    layer.load_state_dict({k: t.tensor(v) for k, v in state.items()})
    return layer


def state_of(layer):
    return {k: v.detach().numpy().copy() for k, v in layer.state_dict().items()}


def compare(make, x, steps=3):
    """The same layer in both libraries, trained a little: outputs, gradients and states agree."""
    theirs = make(torch)
    start = state_of(theirs)
    ours = load(make(jitorch), jitorch, start)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    for t, layer in ((jitorch, ours), (torch, theirs)):
        optimizer = t.optim.SGD(layer.parameters(), lr=0.05)
        for _ in range(steps):
            optimizer.zero_grad()
            (layer(t.tensor(x)) ** 2).mean().backward()
            optimizer.step()
    mine, right = state_of(ours), state_of(theirs)
    for name, value in right.items():
        np.testing.assert_allclose(mine[name], value, rtol=2e-4, atol=2e-5, err_msg=name)
    return ours, theirs


X = np.random.default_rng(0).normal(size=(4, 6)).astype(np.float32)
IMAGES = np.random.default_rng(0).normal(size=(2, 3, 5, 5)).astype(np.float32)


@pytest.mark.parametrize("dim", [0, 1, None])
def test_weight_norm(dim):
    compare(lambda t: module(t, "nn.utils.parametrizations").weight_norm(t.nn.Linear(6, 3), dim=dim), X)
    compare(lambda t: t.nn.utils.weight_norm(t.nn.Linear(6, 3), dim=dim), X)


def test_weight_norm_of_convolutions_and_its_removal():
    ours, theirs = compare(lambda t: module(t, "nn.utils.parametrizations").weight_norm(t.nn.Conv2d(3, 4, 3)), IMAGES)
    module(jitorch, "nn.utils.parametrize").remove_parametrizations(ours, "weight")
    assert type(ours) is jitorch.nn.Conv2d and sorted(ours.state_dict()) == ["bias", "weight"]
    np.testing.assert_allclose(ours.weight.detach().numpy(), theirs.weight.detach().numpy(), rtol=1e-4, atol=1e-5)
    old = jitorch.nn.utils.weight_norm(jitorch.nn.Linear(2, 2))
    before = old.weight.tolist()
    jitorch.nn.utils.remove_weight_norm(old)
    assert isinstance(old.weight, jitorch.nn.Parameter) and np.allclose(old.weight.tolist(), before)
    with pytest.raises(ValueError, match="not found"):
        jitorch.nn.utils.remove_weight_norm(old)


def test_spectral_norm():
    ours, _ = compare(lambda t: module(t, "nn.utils.parametrizations").spectral_norm(t.nn.Linear(6, 3)), X, steps=2)
    compare(lambda t: t.nn.utils.spectral_norm(t.nn.Linear(6, 3)), X, steps=2)
    compare(lambda t: module(t, "nn.utils.parametrizations").spectral_norm(t.nn.ConvTranspose2d(3, 2, 3)), IMAGES, steps=1)
    for _ in range(30):
        ours(jitorch.tensor(X))
    assert np.linalg.norm(ours.weight.detach().numpy(), 2) == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize("shape", [(4, 4), (5, 3), (3, 5)])
@pytest.mark.parametrize("kind", ["matrix_exp", "cayley", "householder"])
def test_orthogonal_weights_stay_orthogonal(shape, kind):
    layer = module(jitorch, "nn.utils.parametrizations").orthogonal(jitorch.nn.Linear(shape[1], shape[0]), orthogonal_map=kind)
    optimizer = jitorch.optim.SGD(layer.parameters(), lr=0.1)
    before = layer.weight.detach().numpy().copy()
    for _ in range(2):
        optimizer.zero_grad()
        (layer(jitorch.ones(2, shape[1])) ** 2).sum().backward()
        optimizer.step()
    w = layer.weight.detach().numpy()
    small = w @ w.T if shape[0] < shape[1] else w.T @ w
    np.testing.assert_allclose(small, np.eye(len(small)), atol=2e-5)
    assert not np.allclose(before, w)


def test_chained_parametrisations_caching_and_copies():
    parametrize = module(jitorch, "nn.utils.parametrize")

    class Twice(jitorch.nn.Module):
        calls = 0

        def forward(self, x):
            Twice.calls += 1
            return x * 2

        def right_inverse(self, x):
            return x / 2

    layer = jitorch.nn.Linear(2, 2)
    start = layer.weight.tolist()
    parametrize.register_parametrization(layer, "weight", Twice())
    parametrize.register_parametrization(layer, "weight", Twice())
    assert np.allclose(layer.weight.tolist(), start) and np.allclose(layer.parametrizations.weight.original.tolist(), np.array(start) / 4)
    layer.weight = jitorch.ones(2, 2)
    assert layer.weight.tolist() == [[1, 1], [1, 1]]
    twin = copy.deepcopy(layer)
    twin.weight = jitorch.zeros(2, 2)
    assert layer.weight.tolist() == [[1, 1], [1, 1]] and twin.weight.tolist() == [[0, 0], [0, 0]]
    Twice.calls = 0
    with parametrize.cached():
        layer(jitorch.ones(1, 2)), layer(jitorch.ones(1, 2))
    assert Twice.calls == 2
    assert parametrize.is_parametrized(layer, "weight") and not parametrize.is_parametrized(layer, "bias")
    assert parametrize.type_before_parametrizations(layer) is jitorch.nn.Linear
    with pytest.raises(ValueError, match="does not have"):
        parametrize.register_parametrization(layer, "nothing", Twice())

    class Wider(jitorch.nn.Module):
        def forward(self, x):
            return jitorch.cat([x, x])

    with pytest.raises(ValueError, match="shape"):
        parametrize.register_parametrization(jitorch.nn.Linear(2, 2), "weight", Wider())


def test_fusion():
    for make, fuse, x in (
        (lambda t: (t.nn.Conv2d(3, 4, 3), t.nn.BatchNorm2d(4)), "fuse_conv_bn_eval", IMAGES),
        (lambda t: (t.nn.Linear(6, 4, bias=False), t.nn.BatchNorm1d(4)), "fuse_linear_bn_eval", X),
    ):
        layer, norm = make(jitorch)
        norm(layer(jitorch.tensor(x)))
        layer.eval(), norm.eval()
        fused = getattr(module(jitorch, "nn.utils.fusion"), fuse)(layer, norm)
        np.testing.assert_allclose(fused(jitorch.tensor(x)).tolist(), norm(layer(jitorch.tensor(x))).tolist(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("name", "arguments", "shape"), [
    ("LazyLinear", (3,), (2, 5)),
    ("LazyConv1d", (4, 3), (2, 3, 7)),
    ("LazyConv2d", (4, 3, 1, 1, 1, 2), (2, 6, 5, 5)),
    ("LazyConvTranspose2d", (4, 3), (2, 6, 5, 5)),
    ("LazyBatchNorm2d", (), (3, 4, 2, 2)),
    ("LazyInstanceNorm1d", (), (3, 4, 5)),
])
def test_lazy_modules(name, arguments, shape):
    x = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    made = []
    for t in (torch, jitorch):
        layer = getattr(t.nn, name)(*arguments)
        assert layer.has_uninitialized_params()
        with pytest.raises(RuntimeError, match="uninitialized"):
            layer.weight.shape  # noqa: B018
        if t is jitorch:
            fresh = getattr(t.nn, name)(*arguments)
            fresh.load_state_dict({k: t.tensor(v) for k, v in state_of(made[0]).items()})
            y = fresh(t.tensor(x))
            np.testing.assert_allclose(y.detach().numpy(), made[0](torch.tensor(x)).detach().numpy(), rtol=1e-4, atol=1e-5)
        layer(t.tensor(x))
        assert type(layer).__name__ == name.removeprefix("Lazy")
        made.append(layer)
    assert {k: tuple(v.shape) for k, v in made[0].state_dict().items()} == {k: tuple(v.shape) for k, v in made[1].state_dict().items()}
    assert repr(made[0]) == repr(made[1])


def test_adaptive_softmax_sums_to_one_and_agrees():
    x = np.random.default_rng(0).normal(size=(5, 8)).astype(np.float32)
    target = np.array([0, 3, 7, 12, 19])
    theirs = torch.nn.AdaptiveLogSoftmaxWithLoss(8, 20, [4, 10], div_value=2.0)
    ours = load(jitorch.nn.AdaptiveLogSoftmaxWithLoss(8, 20, [4, 10], div_value=2.0), jitorch, state_of(theirs))
    a, b = ours(jitorch.tensor(x), jitorch.tensor(target)), theirs(torch.tensor(x), torch.tensor(target))
    np.testing.assert_allclose(a.output.tolist(), b.output.tolist(), rtol=1e-4)
    assert a.loss.item() == pytest.approx(b.loss.item(), rel=1e-4)
    np.testing.assert_allclose(ours.log_prob(jitorch.tensor(x)).exp().sum(1).tolist(), np.ones(5), rtol=1e-4)
    assert ours.predict(jitorch.tensor(x)).tolist() == theirs.predict(torch.tensor(x)).tolist()
    with pytest.raises(RuntimeError, match="Target values"):
        ours(jitorch.tensor(x), jitorch.tensor([0, 1, 2, 3, 20]))
    with pytest.raises(ValueError, match="cutoffs"):
        jitorch.nn.AdaptiveLogSoftmaxWithLoss(8, 20, [4, 2])

"""Backward: accumulation, leaf rules, hooks, second derivatives, in-place writes and their errors, functions of one's own."""
import warnings

import numpy as np
import pytest

import jitorch as torch
from jitorch.autograd import grad


def leaf(*values):
    return torch.tensor(values, requires_grad=True)


def test_gradients_accumulate_until_cleared():
    x = leaf(1.0, 2.0)
    (x * 3).sum().backward()
    (x * 4).sum().backward()
    assert x.grad.tolist() == [7.0, 7.0]
    x.grad = None
    (x * x).sum().backward()
    assert x.grad.tolist() == [2.0, 4.0]


def test_leaves_that_get_the_same_gradient_do_not_share_it():
    x, y = leaf(1.0), leaf(2.0)
    (x + y).sum().backward()
    x.grad.add_(5)
    assert (x.grad.item(), y.grad.item()) == (6.0, 1.0)


def test_given_gradient_is_not_taken_over():
    x, g = leaf(1.0, 2.0), torch.tensor([1.0, 10.0])
    (x + 0).backward(g)
    x.grad.zero_()
    assert g.tolist() == [1.0, 10.0]


def test_only_scalars_have_an_implicit_gradient():
    with pytest.raises(RuntimeError, match="grad can be implicitly created only for scalar outputs"):
        (leaf(1.0, 2.0) * 2).backward()
    with pytest.raises(RuntimeError, match="does not require grad"):
        torch.ones(1).backward()


def test_second_backward_needs_retain_graph():
    x = leaf(2.0)
    y = (x * x).sum()
    y.backward(retain_graph=True)
    y.backward()
    assert x.grad.item() == 8.0
    with pytest.raises(RuntimeError, match="backward through the graph a second time"):
        y.backward()


def test_grad_of_grad():
    x = leaf(1.5, -0.5)
    y = (x ** 3).sum()
    g, = grad(y, x, create_graph=True)
    h, = grad(g.sum(), x)
    np.testing.assert_allclose(g.tolist(), 3 * np.array([1.5, -0.5]) ** 2, rtol=1e-6)
    np.testing.assert_allclose(h.tolist(), 6 * np.array([1.5, -0.5]), rtol=1e-6)
    assert x.grad is None


def test_unused_input():
    x, y = leaf(1.0), leaf(2.0)
    out = (x * 2).sum()
    with pytest.raises(RuntimeError, match="appears to not have been used"):
        grad(out, y, retain_graph=True)
    assert grad(out, (x, y), allow_unused=True, retain_graph=True)[1] is None
    assert grad(out, y, materialize_grads=True)[0].tolist() == [0.0]


def test_long_chain():
    x = leaf(1.0, 2.0)
    y = x
    for _ in range(20_000):
        y = y + 1.0
    y.sum().backward()
    assert x.grad.tolist() == [1.0, 1.0]
    del y


def test_no_grad_and_enable_grad():
    x = leaf(1.0)
    with torch.no_grad():
        assert not (x * 2).requires_grad
        with torch.enable_grad():
            assert (x * 2).requires_grad
    assert torch.is_grad_enabled()

    @torch.no_grad()
    def f():
        return x * 2
    assert not f().requires_grad and (x * 2).requires_grad
    with torch.set_grad_enabled(False):
        assert not (x * 2).requires_grad


def test_detach_shares_memory_and_stops_gradients():
    x = leaf(3.0)
    y = x * 2
    d = y.detach()
    assert not d.requires_grad and (d * x).sum().requires_grad
    (d * x).sum().backward()
    assert x.grad.item() == 6.0
    d.add_(1)
    assert y.item() == 7.0


def test_hooks_see_and_change_gradients():
    x = leaf(1.0, 2.0)
    seen = []
    y = x * 2
    y.register_hook(lambda g: seen.append(g.tolist()))
    handle = y.register_hook(lambda g: g * 10)
    y.sum().backward(retain_graph=True)
    assert seen == [[1.0, 1.0]] and x.grad.tolist() == [20.0, 20.0]
    handle.remove()
    x.grad = None
    y.sum().backward()
    assert x.grad.tolist() == [2.0, 2.0]
    x.grad = None
    x.register_hook(lambda g: g + 1)
    after = []
    x.register_post_accumulate_grad_hook(lambda p: after.append(p.grad.tolist()))
    (x * 3).sum().backward()
    assert x.grad.tolist() == [4.0, 4.0] and after == [[4.0, 4.0]]


def test_retain_grad():
    x = leaf(1.0)
    y = x * 2
    y.retain_grad()
    (y * y).sum().backward()
    assert y.grad.tolist() == [4.0] and y.retains_grad
    with pytest.raises(RuntimeError, match="retain_grad"):
        torch.ones(1).retain_grad()


def test_integer_tensors_cannot_require_grad():
    with pytest.raises(RuntimeError, match="floating point"):
        torch.tensor([1, 2], requires_grad=True)


def test_leaf_rules():
    x = leaf(1.0, 2.0)
    with pytest.raises(RuntimeError, match="a leaf Variable that requires grad is being used in an in-place operation"):
        x.add_(1)
    with pytest.raises(RuntimeError, match="a view of a leaf Variable that requires grad"):
        x[:1].add_(1)
    with torch.no_grad():
        x.add_(1)
    assert x.tolist() == [2.0, 3.0]


def test_stale_saved_value():
    x = leaf(1.0, 2.0)
    h = x * 2
    z = h * h
    h.add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation.*is at version 1; expected version 0"):
        z.sum().backward()
    h = x * 2
    e = h.exp()
    e.mul_(2)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        e.sum().backward()


def test_writes_that_are_not_read_again_are_fine():
    x = leaf(1.0, 2.0)
    h = x * 2
    h.add_(1).relu_()
    h.sum().backward()
    assert x.grad.tolist() == [2.0, 2.0]


def test_gradient_through_writes_into_views():
    w, x = leaf(3.0), leaf(1.0, 2.0, 4.0)
    y = x * 1
    y[1:].mul_(w)
    y[0] = w[0] * 5
    (y * y).sum().backward()
    np.testing.assert_allclose(x.grad.tolist(), [0.0, 2 * 6 * 3, 2 * 12 * 3])
    np.testing.assert_allclose(w.grad.tolist(), [2 * 15 * 5 + 2 * 6 * 2 + 2 * 12 * 4])


def test_a_view_made_before_its_base_was_written_follows_it():
    w = leaf(2.0)
    base = torch.zeros(3)
    view = base[1:]
    base.add_(w)
    assert view.requires_grad
    view.sum().backward()
    assert w.grad.item() == 2.0


def test_anomaly_mode_names_the_forward_line():
    x = leaf(0.0)
    with warnings.catch_warnings(record=True) as caught, pytest.raises(RuntimeError, match="nan values"):
        warnings.simplefilter("always")
        with torch.autograd.detect_anomaly():
            y = (x / x).sum()          # the line to be named
            y.backward()
    assert any("the line to be named" in str(w.message) for w in caught)


class Cube(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, scale):
        ctx.save_for_backward(x)
        ctx.scale = scale
        return x * x * x * scale

    @staticmethod
    def backward(ctx, g):
        x, = ctx.saved_tensors
        return g * 3 * x * x * ctx.scale, None


def test_function_of_ones_own():
    x = leaf(2.0)
    y = Cube.apply(x, 2.0)
    assert y.grad_fn.name() == "CubeBackward"
    g, = grad(y.sum(), x, create_graph=True)
    assert g.item() == 24.0
    assert grad(g.sum(), x)[0].item() == 24.0


def test_same_as_torch_on_a_tangle():
    oracle = pytest.importorskip("torch")
    values = np.random.default_rng(0).standard_normal((4, 5)).astype("float32")

    def run(m):
        a = m.tensor(values, requires_grad=True)
        b = m.tensor(values[::-1].copy(), requires_grad=True)
        c = (a @ b.t()).softmax(-1)
        d = c[:, 1:3] * a[:, :2] + b.mean()
        e = m.cat([d, d.t().reshape(4, 2)], 1).exp().clamp(max=2)
        loss = (e.sum(0) * e.amax(0)).sum() + a.var() + (a * b > 0).float().mean()
        loss.backward()
        return loss.item(), a.grad.numpy(), b.grad.numpy()
    for ours, theirs in zip(run(torch), run(oracle)):
        np.testing.assert_allclose(ours, theirs, rtol=2e-4, atol=1e-5)

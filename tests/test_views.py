"""Views and in-place writes against PyTorch.

What shares memory, what a write changes, what gradients flow through it, what is an error.
"""

from __future__ import annotations

import numpy as np
import pytest

import jitorch

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.filterwarnings("ignore")
X = np.arange(24.0).reshape(4, 6)


@pytest.fixture(params=["reference", "compiled"])
def tier(request):
    with jitorch.config.using(tier=request.param):
        yield request.param


VIEWS = {
    "slice": lambda x: x[1:3],
    "step": lambda x: x[::2, 1::2],
    "column": lambda x: x[:, 2],
    "row": lambda x: x[-1],
    "none": lambda x: x[None, 1:],
    "item": lambda x: x[2, 3],
    "transpose": lambda x: x.t(),
    "permute": lambda x: x.view(2, 2, 6).permute(2, 0, 1),
    "view": lambda x: x.view(-1),
    "reshape": lambda x: x.reshape(3, 8),
    "flatten": lambda x: x.flatten(),
    "unflatten": lambda x: x.unflatten(1, (2, 3)),
    "narrow": lambda x: x.narrow(1, 2, 3),
    "select": lambda x: x.select(0, 1),
    "diagonal": lambda x: x.diagonal(1),
    "unbind": lambda x: x.unbind(1)[4],
    "chunk": lambda x: x.chunk(2, 1)[1],
    "split": lambda x: x.split([1, 3])[1],
    "tensor_split": lambda x: x.tensor_split(4, 1)[0],
    "hsplit": lambda x: x.hsplit(3)[2],
    "squeeze": lambda x: x[:1].squeeze(0),
    "unsqueeze": lambda x: x.unsqueeze(1),
    "movedim": lambda x: x.movedim(0, 1),
    "swapaxes": lambda x: x.swapaxes(0, 1),
    "mT": lambda x: x.mT,
    "T": lambda x: x.T,
    "adjoint": lambda x: x.adjoint(),
    "view_as": lambda x: x.view_as(x.view(6, 4)),
    "as_strided": lambda x: x.as_strided((3, 2), (7, 1), 2),
    "unfold": lambda x: x.unfold(1, 2, 2),
    "detach": lambda x: x.detach(),
    "data": lambda x: x.data,
    "ravel": lambda x: x.ravel(),
    "chain": lambda x: x[1:].t()[::2].reshape(3, 3, 1)[1:, 0],
    "chain of slices": lambda x: x[1:, 1:][1:, 1:][:, ::2],
    "atleast": lambda x: x[0].unsqueeze(0),
}


@pytest.mark.parametrize("name", VIEWS)
def test_view_has_the_geometry_and_the_memory(name, tier):
    """Shape, strides and offset as in PyTorch; a write to either is seen in the other."""
    ours, theirs = jitorch.tensor(X), torch.tensor(X)
    a, b = VIEWS[name](ours), VIEWS[name](theirs)
    assert (tuple(a.shape), a.storage_offset(), a.is_contiguous()) == (
        tuple(b.shape),
        b.storage_offset(),
        b.is_contiguous(),
    )
    assert [s for s, n in zip(a.stride(), a.shape, strict=False) if n != 1] == [
        s for s, n in zip(b.stride(), b.shape, strict=False) if n != 1
    ]
    for x, v in ((ours, a), (theirs, b)):
        v.mul_(10)
        x[2].add_(0.5)
        v += 1
    np.testing.assert_array_equal(ours.numpy(), theirs.numpy())
    np.testing.assert_array_equal(a.numpy(), b.numpy())


WRITES = {
    "slice": lambda x, w: x[1:].add_(1),
    "row by row": lambda x, w: [x[i].mul_(i + 1) for i in range(4)],
    "value": lambda x, w: x[::2].mul_(w),
    "copy": lambda x, w: x.t()[1].copy_(w[0, :4]),
    "item": lambda x, w: x.__setitem__((1, slice(2, 4)), w[0, :2]),
    "zero": lambda x, w: x.view(-1)[3:9].zero_(),
    "self": lambda x, w: x.mul_(x.clone()),
    "twice": lambda x, w: x[1:].mul_(2)[:, ::2].add_(w[0, :3]),
    "diagonal": lambda x, w: x.diagonal().add_(w[1, :4]),
    "masked": lambda x, w: x.masked_fill_(x.detach() > 7, 0.0),
    "index": lambda x, w: x.index_add_(0, index_like(x, [0, 0, 3]), x.detach()[:3].clone()),
    "put": lambda x, w: x.__setitem__(index_like(x, [1, 3]), w),
    "view first": lambda x, w: view_then_base(x, w),
    "exp": lambda x, w: x[0].div_(10).exp_(),
    "fill": lambda x, w: x[2].fill_(3.0),
    "scatter": lambda x, w: x[:2].scatter_(1, index_like(x, [[0], [5]]), w[:, :1]),
    "whole": lambda x, w: x.__setitem__(slice(None), w[:1]),
    "chained": lambda x, w: x[1:][1:][1:].sub_(w[:1]),
}


def index_like(x, values):
    return (jitorch if isinstance(x, jitorch.Tensor) else torch).tensor(values)


def view_then_base(x, w):
    """A write to the base is seen by an older view, and by its history."""
    v = x[1:3]
    x.mul_(w[:1])
    v.add_(x[0].clone())
    x += v[0].clone()


@pytest.mark.parametrize("name", WRITES)
def test_write_through_a_view(name, tier):
    """Values and gradients of base and operand after in-place writes, and the version."""
    outcomes = []
    for lib in (jitorch, torch):
        leaf, w = (
            lib.tensor(X / 10, requires_grad=True),
            lib.tensor(np.linspace(-1, 2, 12).reshape(2, 6), requires_grad=True),
        )
        x = leaf * 1
        WRITES[name](x, w)
        (x * x * x).sum().backward()
        outcomes.append([x.detach().numpy(), leaf.grad.numpy(), np.zeros((2, 6)) if w.grad is None else w.grad.numpy()])
    for ours, theirs in zip(*outcomes, strict=False):
        np.testing.assert_allclose(ours, theirs, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("operation", [lambda a, v: a * v, lambda a, v: v * a, lambda a, v: a - v])
def test_an_older_view_beside_an_operand_that_requires_grad(operation):
    """The history that a write gave to its base is the view's too, whatever the other operand is."""
    found = []
    for lib in (jitorch, torch):
        a, factor = lib.ones(2, requires_grad=True), lib.tensor([2.0, 3.0, 4.0], requires_grad=True)
        base = lib.ones(3) * 1
        v = base[:2]
        base.mul_(factor)
        operation(a, v).sum().backward()
        found.append((a.grad.tolist(), factor.grad.tolist()))
    assert found[0] == found[1]


def test_views_of_results_see_later_writes(tier):
    for lib in (jitorch, torch):
        x = lib.ones(4, 3)
        y = x + 1
        a, b = y[0], y.view(-1)
        y[0, 0] = 7
        b[5] = 9
        a *= 2
        assert y.tolist() == [[14, 4, 4], [2, 2, 9], [2, 2, 2], [2, 2, 2]]
        assert x.tolist() == [[1, 1, 1]] * 4


BAD = {
    "leaf": lambda lib, leaf: leaf.add_(1),
    "view of a leaf": lambda lib, leaf: leaf[0].add_(1),
    "item of a leaf": lambda lib, leaf: leaf.__setitem__(0, 1.0),
    "expanded": lambda lib, leaf: lib.zeros(1).expand(3).add_(1),
    "overlapping item": lambda lib, leaf: lib.zeros(1, 2).expand(3, 2).__setitem__(0, 1.0).foo,
    "view of strides": lambda lib, leaf: leaf.t().view(-1),
    "wrong size": lambda lib, leaf: leaf.view(5, 5),
    "two unknown": lambda lib, leaf: leaf.view(-1, -1),
    "split": lambda lib, leaf: leaf.split([1, 2]),
    "chunk": lambda lib, leaf: leaf.chunk(0),
    "permute": lambda lib, leaf: leaf.permute(0, 0),
    "transpose": lambda lib, leaf: leaf.transpose(0, 2),
    "expand": lambda lib, leaf: leaf.expand(3, 6),
    "narrow": lambda lib, leaf: leaf.narrow(0, 2, 5),
    "select": lambda lib, leaf: leaf.select(0, 9),
    "unflatten": lambda lib, leaf: leaf.unflatten(0, (3, 3)),
    "movedim": lambda lib, leaf: leaf.movedim((0, 0), (0, 1)),
    "t": lambda lib, leaf: leaf.view(2, 2, 6).t(),
    "flatten": lambda lib, leaf: leaf.flatten(1, 0),
    "diagonal": lambda lib, leaf: leaf.diagonal(0, 0, 0),
    "unfold": lambda lib, leaf: leaf.unfold(0, 9, 1),
    "hsplit": lambda lib, leaf: leaf.hsplit(4),
    "squeeze": lambda lib, leaf: leaf.squeeze(5),
    "broadcast": lambda lib, leaf: lib.broadcast_tensors(leaf, lib.zeros(5)),
    "unsqueeze_ of a leaf": lambda lib, leaf: leaf.unsqueeze_(0),
    "out of broadcast": lambda lib, leaf: (leaf * 1)[0].add_(lib.zeros(2, 6)),
    "dtype": lambda lib, leaf: lib.zeros(2, dtype=lib.int64).add_(1.5),
}


def failure(function):
    try:
        function()
    except (RuntimeError, IndexError, ValueError, TypeError, AttributeError) as error:
        return error
    return None


@pytest.mark.parametrize("name", BAD)
def test_errors(name):
    ours, theirs = (
        failure(lambda lib=lib: BAD[name](lib, lib.tensor(X, requires_grad=True))) for lib in (jitorch, torch)
    )
    assert theirs is not None
    assert type(ours) is type(theirs), f"{ours!r}, PyTorch {theirs!r}"


def test_a_stale_saved_value_raises():
    for lib in (jitorch, torch):
        x = lib.tensor(X, requires_grad=True) * 1
        y = x[1:] * x[:-1]
        x[0, 0] = 5.0
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            y.sum().backward()


def test_geometry_changes_in_place(tier):
    """`t_`, `unsqueeze_` and friends change the tensor, not its memory; gradients follow."""
    outcomes = []
    for lib in (jitorch, torch):
        leaf = lib.tensor(X, requires_grad=True)
        x = leaf * 1
        older = x[1]
        x.t_().unsqueeze_(0).transpose_(0, 2).squeeze_()
        x[1].mul_(lib.tensor([1.0, 2.0, 3.0, 4.0, 5.0, 6.0], dtype=lib.float64))
        (x * x).sum().backward()
        outcomes.append((x.detach().numpy(), older.detach().numpy(), leaf.grad.numpy()))
        assert x.stride() == (6, 1)
    for ours, theirs in zip(*outcomes, strict=False):
        np.testing.assert_allclose(ours, theirs)


def test_scatters_into_copies(tier):
    outcomes = []
    for lib in (jitorch, torch):
        x, a, b = lib.tensor(X), lib.ones(4, 2, dtype=lib.float64), lib.ones(4, dtype=lib.float64)
        outcomes.append(
            [
                lib.slice_scatter(x, a, 1, 1, 5, 2).numpy(),
                lib.select_scatter(x, b, 1, -1).numpy(),
                lib.diagonal_scatter(x, b, 1).numpy(),
            ]
        )
        assert x.tolist() == X.tolist()
    for ours, theirs in zip(*outcomes, strict=False):
        np.testing.assert_array_equal(ours, theirs)


def test_broadcast_shapes():
    assert tuple(jitorch.broadcast_shapes((3, 1), (4,), 1)) == (3, 4)
    with pytest.raises(RuntimeError):
        jitorch.broadcast_shapes((3,), (4,))


@pytest.mark.parametrize("length", [2000])
def test_a_long_chain_of_writes_through_views(length):
    """History is a walk, not a recursion."""
    leaf = jitorch.ones(4, requires_grad=True)
    x = leaf * 1
    for i in range(length):
        x[i % 4].mul_(1.0)
    x.sum().backward()
    assert leaf.grad.tolist() == [1, 1, 1, 1]

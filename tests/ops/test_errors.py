"""What PyTorch refuses is refused with the same type of error, at the line that asked for it."""

from __future__ import annotations

import pytest

import jitorch

CALLS = {
    "bool minus bool": lambda t: t.tensor([True]) - t.tensor([True]),
    "bool minus number": lambda t: t.tensor([True]) - 1,
    "negative bool": lambda t: -t.tensor([True]),
    "plus bool": lambda t: +t.tensor([True]),
    "abs of bool": lambda t: t.abs(t.tensor([True])),
    "not of float": lambda t: ~t.ones(2),
    "and of floats": lambda t: t.ones(2) & t.ones(2),
    "shift of bool": lambda t: t.tensor([True]) << t.tensor([True]),
    "frac of int": lambda t: t.frac(t.tensor([1])),
    "shapes": lambda t: t.ones(2) + t.ones(3),
    "maximum of number": lambda t: t.maximum(t.ones(2), 1),
    "unknown operand": lambda t: t.add(t.ones(2), "x"),
    "unknown operand of an operator": lambda t: t.ones(2) + "x",
    "float alpha": lambda t: t.add(t.tensor([1]), t.tensor([1]), alpha=0.5),
    "integer to a negative power": lambda t: t.tensor([2]) ** -1,
    "bool power": lambda t: t.tensor([True]) ** t.tensor([True]),
    "integer by number zero": lambda t: t.tensor([1]) // 0,
    "integer modulo number zero": lambda t: t.tensor([1]) % 0,
    "integer by tensor zero": lambda t: (t.tensor([1]) // t.tensor([0])).tolist(),
    "rounding mode": lambda t: t.div(t.ones(2), 2, rounding_mode="up"),
    "clamp without limits": lambda t: t.clamp(t.ones(2)),
    "lerp of two dtypes": lambda t: t.lerp(t.ones(2), t.ones(2, dtype=t.float64), 0.5),
    "addcdiv of integers": lambda t: t.addcdiv(t.tensor([1]), t.tensor([1]), t.tensor([1])),
    "where of float condition": lambda t: t.where(t.ones(2), t.ones(2), t.ones(2)),
    "isclose of two dtypes": lambda t: t.isclose(t.ones(2), t.ones(2, dtype=t.float64)),
    "in place on a leaf": lambda t: t.ones(2, requires_grad=True).add_(1),
    "in place to a wider shape": lambda t: t.ones(2).add_(t.ones(3, 2)),
    "in place to a lower dtype": lambda t: t.tensor([1]).add_(1.5),
    "in place on overlapping memory": lambda t: t.ones(1).expand(3).add_(1),
    "out with gradients": lambda t: t.add(t.ones(2, requires_grad=True), 1, out=t.ones(2)),
    "fill with a vector": lambda t: t.ones(2).fill_(t.ones(2)),
    "copy of a wrong shape": lambda t: t.ones(2).copy_(t.ones(3)),
    "sum over a missing dimension": lambda t: t.ones(2).sum(2),
    "sum over a dimension twice": lambda t: t.ones(2, 2).sum((0, 0)),
    "mean of integers": lambda t: t.tensor([1, 2]).mean(),
    "max of nothing": lambda t: t.zeros(0).max(),
    "max along nothing": lambda t: t.zeros(0, 2).max(0),
    "amax along nothing": lambda t: t.zeros(2, 0).amax(1),
    "argmax of nothing": lambda t: t.zeros(0).argmax(),
    "argmax of bool": lambda t: t.tensor([True]).argmax(),
    "var of integers": lambda t: t.tensor([1, 2]).var(),
    "norm of integers": lambda t: t.tensor([1, 2]).norm(),
    "ambiguous truth": lambda t: bool(t.ones(2)),
    "negative size": lambda t: t.zeros(-1),
    "arange the wrong way": lambda t: t.arange(3, 0),
    "arange without a step": lambda t: t.arange(3, 5, 0),
    "negative steps": lambda t: t.linspace(0, 1, -1),
    "eye of a negative size": lambda t: t.eye(-1),
    "triangle of a vector": lambda t: t.tril(t.ones(3)),
    "diagonal of three dimensions": lambda t: t.diag(t.ones(2, 2, 2)),
    "finfo of integers": lambda t: t.finfo(t.int64),
    "iinfo of floats": lambda t: t.iinfo(t.float32),
    "gradient of integers": lambda t: t.zeros(2, dtype=t.int64, requires_grad=True),
    "topk of too many": lambda t: t.topk(t.ones(3), 4),
    "kthvalue of too many": lambda t: t.kthvalue(t.ones(3), 4),
    "median along nothing": lambda t: t.median(t.zeros(0, 3), 0),
    "quantile out of range": lambda t: t.quantile(t.ones(3), 1.5),
    "bincount of negatives": lambda t: t.bincount(t.tensor([-1])),
    "bincount of floats": lambda t: t.bincount(t.ones(2)),
    "histc of integers": lambda t: t.histc(t.tensor([1])),
    "searchsorted of other leading sizes": lambda t: t.searchsorted(t.ones(2, 3), t.ones(3, 1)),
    "bucketize with a matrix": lambda t: t.bucketize(t.ones(2), t.ones(2, 2)),
    "cumsum over a missing dimension": lambda t: t.ones(2).cumsum(1),
    "logcumsumexp of integers": lambda t: t.logcumsumexp(t.tensor([1]), 0),
    "diff of a number": lambda t: t.diff(t.tensor(1.0)),
    "mvlgamma of no dimension": lambda t: t.mvlgamma(t.ones(2), 0),
    "polygamma of a negative order": lambda t: t.polygamma(-1, t.ones(2)),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_same_type_of_error_as_pytorch(call):
    torch = pytest.importorskip("torch")
    with pytest.raises(Exception) as want:  # noqa: B017 (which one is what PyTorch says)
        call(torch)
    with pytest.raises(want.type):
        call(jitorch)


def test_an_in_place_operation_keeps_what_its_gradient_needs():
    x = jitorch.tensor([3.0, -2.0], requires_grad=True)
    y = x * 1
    y.pow_(3)
    y.sum().backward()
    assert x.grad.tolist() == [27.0, 12.0]


def test_norm_of_zeros_has_zero_gradient():
    x = jitorch.zeros(3, requires_grad=True)
    x.norm().backward()
    assert x.grad.tolist() == [0.0, 0.0, 0.0]


def test_a_new_default_dtype_holds_for_what_was_recorded_before():
    x = jitorch.tensor([1, 2])
    assert (x / 2).dtype is jitorch.float32
    jitorch.set_default_dtype(jitorch.float64)
    try:
        assert (x / 2).dtype is jitorch.float64 and (x * 1.5).dtype is jitorch.float64
    finally:
        jitorch.set_default_dtype(jitorch.float32)
    assert (x / 2).dtype is jitorch.float32

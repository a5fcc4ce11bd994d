"""Reductions and normalisations that leave out elements, as the functions of `torch.masked`.

What a mask (True: the element counts) leaves out is replaced by the value that changes nothing: 0 in a sum, 1 in a product.

>>> import jitorch as torch
>>> torch.masked.mean(torch.tensor([1., 2., 9.]), mask=torch.tensor([True, True, False]))
tensor(1.5000)
"""

from __future__ import annotations

import math

from . import dtypes
from .ops.creation import iinfo
from .ops.dispatch import PUBLIC
from .ops.reductions import dims_of, vector_norm

where, full = PUBLIC["where"], PUBLIC["full"]


def _lowest(dtype):
    return -math.inf if dtype.is_floating_point else False if dtype is dtypes.bool_ else iinfo(dtype).min


def _highest(dtype):
    return math.inf if dtype.is_floating_point else True if dtype is dtypes.bool_ else iinfo(dtype).max


def _as_mask(input, mask):
    """The mask in input's shape. ValueError where it can't be broadcast."""
    if mask.ndim > input.ndim:
        raise IndexError(f"_input_mask expected broadcastable mask (got mask dimensionality higher than of the input: {mask.ndim} > {input.ndim})")
    return mask.to(dtypes.bool_).expand(input.shape)


def _filled(input, mask, value):
    return input if mask is None else where(_as_mask(input, mask), input, full((), value, dtype=input.dtype))


def _wide(input, dtype):
    """PyTorch adds up integers in int64."""
    return dtype or (input.dtype if input.dtype.category >= dtypes.FLOAT else dtypes.int64)


def sum(input, dim=None, *, keepdim: bool = False, dtype=None, mask=None):
    """The sum of the elements that count."""
    return PUBLIC["sum"](_filled(input, mask, 0), dims_of(input.ndim, dim), bool(keepdim), dtype=_wide(input, dtype))


def prod(input, dim=None, *, keepdim: bool = False, dtype=None, mask=None):
    """The product of the elements that count."""
    result = _filled(input, mask, 1).to(_wide(input, dtype))
    for d in reversed(dims_of(input.ndim, dim)):
        result = PUBLIC["prod"](result, d, bool(keepdim))
    return result


def _running(name: str, start: int):
    def function(input, dim: int, *, dtype=None, mask=None):
        return PUBLIC[name](_filled(input, mask, start), dim, dtype=_wide(input, dtype))

    function.__name__ = function.__qualname__ = name
    function.__doc__ = f"`{name}` over the elements that count."
    return function


cumsum, cumprod = _running("cumsum", 0), _running("cumprod", 1)


def _extreme(name: str, neutral):
    def function(input, dim=None, *, keepdim: bool = False, dtype=None, mask=None):
        result = PUBLIC[name](_filled(input, mask, neutral(input.dtype)), dims_of(input.ndim, dim), bool(keepdim))
        return result if dtype is None else result.to(dtype)

    function.__name__ = function.__qualname__ = name
    function.__doc__ = f"`{name}` of the elements that count."
    return function


amax, amin = _extreme("amax", _lowest), _extreme("amin", _highest)


def _arg(name: str, neutral):
    def function(input, dim=None, *, keepdim: bool = False, dtype=None, mask=None):
        return PUBLIC[name](_filled(input, mask, neutral(input.dtype)), dim, bool(keepdim)).to(dtype or input.dtype)

    function.__name__ = function.__qualname__ = name
    function.__doc__ = f"`{name}` of the elements that count."
    return function


argmax, argmin = _arg("argmax", _lowest), _arg("argmin", _highest)


def _count(input, mask, dims, keepdim: bool):
    if mask is None:
        n = math.prod(input.shape[d] for d in dims)
        return full(tuple(1 if i in dims else s for i, s in enumerate(input.shape) if keepdim or i not in dims), n)
    return _as_mask(input, mask).sum(dims, keepdim)


def mean(input, dim=None, *, keepdim: bool = False, dtype=None, mask=None):
    """The mean of the elements that count; NaN where none does. ValueError for integers."""
    dtype = dtype or input.dtype
    if dtype.category < dtypes.FLOAT:
        raise ValueError(f"mean(): Could not infer output dtype. Input dtype must be either a floating point or complex dtype. Got: {dtype}")
    return sum(input, dim, keepdim=keepdim, dtype=dtype, mask=mask) / _count(input, mask, dims_of(input.ndim, dim), bool(keepdim))


def median(input, dim: int = -1, *, keepdim: bool = False, dtype=None, mask=None):
    """The lower median of the elements that count; NaN where none does (ValueError for integers)."""
    exact = input.dtype.is_floating_point
    values = PUBLIC["nanmedian"](_filled(input if exact else input.to(dtypes.float32), mask, math.nan), dim, bool(keepdim)).values
    if exact:
        return values
    if bool(values.isnan().any()):
        raise ValueError("masked median expects no fully masked out rows if dtype is not floating point")
    return values.to(dtype or input.dtype)


def logsumexp(input, dim=None, *, keepdim: bool = False, dtype=None, mask=None):
    """The logarithm of the sum of exponentials of the elements that count."""
    return PUBLIC["logsumexp"](_filled(input, mask, _lowest(input.dtype)), dims_of(input.ndim, dim), keepdim=bool(keepdim)).to(dtype or input.dtype)


def logaddexp(input, other, *, dtype=None, input_mask=None, other_mask=None):
    """log(exp(input) + exp(other)), each where it counts."""
    pair = (_filled(x, m, _lowest(x.dtype)) for x, m in ((input, input_mask), (other, other_mask)))
    return PUBLIC["logaddexp"](*pair).to(dtype or input.dtype)


def norm(input, ord=2.0, dim=None, *, keepdim: bool = False, dtype=None, mask=None):
    """The vector norm of the elements that count."""
    return vector_norm(_filled(input, mask, math.inf if ord == -math.inf else 0), ord, dims_of(input.ndim, dim), bool(keepdim), dtype=dtype or input.dtype)


def var(input, dim=None, unbiased: bool | None = None, *, correction=None, keepdim: bool = False, dtype=None, mask=None):
    """The variance of the elements that count, with `correction` (1) subtracted from their number."""
    if unbiased is not None and correction is not None:
        raise AssertionError("Only one of unbiased and correction may be given")
    less = float(correction) if correction is not None else 1.0 if unbiased is None else float(unbiased)
    dtype = dtype or (input.dtype if input.dtype.category >= dtypes.FLOAT else dtypes.float32)
    dims = dims_of(input.ndim, dim)
    difference = input - sum(input, dims, keepdim=True, dtype=dtype, mask=mask) / _count(input, mask, dims, True)
    squares = difference * difference.conj()
    if dtype.is_complex:
        squares = squares.real.to(dtype)
    count = _count(input, mask, dims, bool(keepdim)).to(dtype.to_real())
    return sum(squares, dims, keepdim=keepdim, dtype=dtype, mask=mask) / (count - less).clamp(min=0) if less else (
        sum(squares, dims, keepdim=keepdim, dtype=dtype, mask=mask) / count
    )


def std(input, dim=None, unbiased: bool | None = None, *, correction=None, keepdim: bool = False, dtype=None, mask=None):
    """The standard deviation of the elements that count."""
    return var(input, dim, unbiased, correction=correction, keepdim=keepdim, dtype=dtype, mask=mask).sqrt()


def softmax(input, dim: int, *, dtype=None, mask=None):
    """Softmax over the elements that count; NaN where none does."""
    return PUBLIC["softmax"](_filled(input, mask, _lowest(input.dtype)), dim, dtype=dtype or input.dtype)


def log_softmax(input, dim: int, *, dtype=None, mask=None):
    """The logarithm of `softmax`."""
    return PUBLIC["log_softmax"](_filled(input, mask, _lowest(input.dtype)), dim, dtype=dtype or input.dtype)


def softmin(input, dim: int, *, dtype=None, mask=None):
    """Softmax of the negated elements."""
    return PUBLIC["softmax"](-_filled(input, mask, _highest(input.dtype)), dim, dtype=dtype or input.dtype)


def normalize(input, ord: float, dim: int, *, eps: float = 1e-12, dtype=None, mask=None):
    """The elements divided by their norm along a dimension (at least eps)."""
    denominator = norm(input, ord, dim, keepdim=True, dtype=dtype, mask=mask).clamp(min=eps)
    return _filled(input, mask, 0) / denominator


__all__ = ["amax", "amin", "argmax", "argmin", "cumprod", "cumsum", "log_softmax", "logaddexp", "logsumexp", "mean", "median", "norm", "normalize",
           "prod", "softmax", "softmin", "std", "sum", "var"]

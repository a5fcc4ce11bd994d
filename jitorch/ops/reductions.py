"""Reductions over dimensions. Inside the IR reduced dimensions stay with size 1; only the result is reshaped."""

from __future__ import annotations

import builtins
import math
from collections import namedtuple

import numpy as np

from .. import dtypes
from ..autograd.node import state
from ..dtypes import FLOAT, bool_, int64
from ..graph.record import Meta, count
from .arithmetic import operand
from .dispatch import METHODS, PUBLIC, Op, apply
from .elementwise import FUNCTIONS, where_of
from .publish import finish
from .strided import as_strided_scatter
from .views import narrow, reshape, sizes, wrap_dim

max_, min_, any_ = builtins.max, builtins.min, builtins.any  # this module defines sum, max and others for tensors


def dims_of(m_ndim: int, dim) -> tuple[int, ...]:
    """The dimensions to reduce, sorted: all of them for None. RuntimeError for one named twice."""
    if dim is None or dim == () or dim == []:
        return tuple(range(m_ndim))
    dims = [wrap_dim(d, m_ndim) for d in (dim if isinstance(dim, (tuple, list)) else (dim,))]
    if len(set(dims)) != len(dims):
        raise RuntimeError(
            f"dim {next(d for d in dims if dims.count(d) > 1)} appears multiple times in the list of dims"
        )
    return tuple(sorted(dims)) if m_ndim else ()


def reduced_shape(shape, dims, keepdim: bool) -> tuple[int, ...]:
    return tuple(1 if i in dims else n for i, n in enumerate(shape) if keepdim or i not in dims)


def kept_shape(ctx_meta, dims) -> tuple[int, ...]:
    return reduced_shape(ctx_meta.shape, dims, True)


def kept(ctx, g):
    """A gradient with the reduced dimensions put back with size 1. Attributes start with (dims, keepdim)."""
    return reshape(g, kept_shape(ctx.metas[0], ctx.attrs[0]))


def kept_output(ctx, nr: int = 0):
    return kept(ctx, ctx.output(nr))


def spread(ctx, g):
    return kept(ctx, g).expand(*ctx.metas[0].shape)


def shaped(b, value, x, dims, keepdim):
    """A reduced value (dimensions kept) in the shape of the result."""
    return b.reshape(value, reduced_shape(x.shape, dims, keepdim))


def reduction(name: str, numpy, expression, vjp=None, saves: str = "", dtype=None, check=None):
    """An entry with attributes (dims, keepdim, ...): numpy(x, axis, keepdims, ...), expression(b, x, dims, ...) with
    dimensions kept.

    dtype: a function of the operand's dtype and of the attributes after keepdim; None: the operand's own.
    """

    def infer(m, dims, keepdim, *more):
        if check is not None:
            check(m, dims)
        return Meta(reduced_shape(m.shape, dims, keepdim), m.dtype if dtype is None else dtype(m.dtype, *more))

    return Op(
        name,
        infer=infer,
        reference=lambda x, dims, keepdim, *more: numpy(x, dims, keepdim, *more),
        lower=None
        if expression is None
        else lambda b, x, dims, keepdim, *more: shaped(b, expression(b, x, dims, *more), x, dims, keepdim),
        vjp=vjp,
        saves=saves,
        batch="dims",
    )


# -- sum, mean, prod ---------------------------------------------------------------------------------------------------
sum_op = reduction(
    "sum",
    lambda x, dims, keepdim, dtype: np.sum(x, axis=dims, keepdims=keepdim, dtype=dtype.np),
    lambda b, x, dims, dtype: b.reduce("sum", b.cast(x, dtype), dims),
    lambda ctx, g: (spread(ctx, g),),
    dtype=lambda d, dtype: dtype,
)


def accumulated(input, dtype):
    """The dtype that integers add up in."""
    return dtype or (input.dtype if input.dtype.category >= FLOAT else int64)


def sum(input, dim=None, keepdim: bool = False, *, dtype=None, out=None, axis=None, keepdims: bool | None = None):
    """The sum over all elements, or over the dimensions `dim`. Integers add up in int64.

    >>> import jitorch as torch
    >>> torch.sum(torch.tensor([[1, 2], [3, 4]]), dim=0)
    tensor([4, 6])
    """
    dim = axis if dim is None else dim
    keepdim = keepdim if keepdims is None else keepdims
    return finish(apply(sum_op, (input,), (dims_of(input.ndim, dim), bool(keepdim), accumulated(input, dtype))), out)


def sum_to_size(input, *size):
    """Summed over the dimensions that broadcasting from `size` added or repeated.

    RuntimeError where sizes don't fit.
    """
    size = sizes(size)
    shape = input.shape
    if shape == size and (size or accumulated(input, None) is input.dtype):     # to no dimensions, PyTorch sums even one number
        return input
    extra = len(shape) - len(size)
    if extra < 0 or any_(s not in (1, n) for s, n in zip(size, shape[extra:], strict=True)):
        raise RuntimeError(f"size {{{list(size)}}} is not expandable to size {{{list(shape)}}}.")
    dims = tuple(range(extra)) + tuple(i for i in range(extra, len(shape)) if size[i - extra] == 1 and shape[i] != 1)
    if dims == tuple(range(extra)) and (dims or not size):      # the usual case, a bias: nothing is left to be reshaped
        return apply(sum_op, (input,), (dims, False, accumulated(input, None)))
    return (
        reshape(apply(sum_op, (input,), (dims, True, accumulated(input, None))), size) if dims else reshape(input, size)
    )


def elements(meta, dims) -> int:
    return count(meta.shape[d] for d in dims)


def mean_lower(b, x, dims, dtype):
    n = elements(x, dims)
    return b.reduce("sum", b.cast(x, dtype), dims) * (1.0 / n if n else math.nan)


mean_op = reduction(
    "mean",
    lambda x, dims, keepdim, dtype: np.mean(x, axis=dims, keepdims=keepdim, dtype=dtype.np),
    mean_lower,
    lambda ctx, g: ((kept(ctx, g) / max_(elements(ctx.metas[0], ctx.attrs[0]), 1)).expand(*ctx.metas[0].shape),),
    dtype=lambda d, dtype: dtype,
)


def mean(input, dim=None, keepdim: bool = False, *, dtype=None, out=None, axis=None, keepdims: bool | None = None):
    """The mean over all elements, or over the dimensions `dim`. RuntimeError for integers, unless dtype is given.

    >>> import jitorch as torch
    >>> torch.mean(torch.tensor([[1., 2.], [3., 4.]]), dim=0)
    tensor([2., 3.])
    """
    dtype = dtype or input.dtype
    if dtype.category < FLOAT:
        raise RuntimeError(
            "mean(): could not infer output dtype. Input dtype must be either a floating point or complex "
            f"dtype. Got: {dtype.label}"
        )
    dim = axis if dim is None else dim
    keepdim = keepdim if keepdims is None else keepdims
    return finish(apply(mean_op, (input,), (dims_of(input.ndim, dim), bool(keepdim), dtype)), out)


def prod_slope(ctx, g):
    """Where there is no zero, g * out / x; else the products of the others.

    Where the gradient itself is differentiated, the products of all others are formed without dividing, which is
    right to any order.
    """
    x = ctx.input(0).to(ctx.attrs[2])
    dims = ctx.attrs[0]
    if state.enabled:
        return (kept(ctx, g) * others_product(x, dims),)
    zero = x == 0
    zeros = sum(zero, dims, True) if dims else zero.to(int64)
    rest = prod(where_of(zero, 1, x), dims[0], True) if dims else where_of(zero, 1, x)
    out = kept_output(ctx)
    return (kept(ctx, g) * where_of(zeros == 0, out / x, where_of(zero & (zeros == 1), rest, 0)),)


def others_product(x, dims):
    """For each element the product of all others along the (at most one) dimension:

    products from the left times from the right.
    """
    if not dims:
        return FUNCTIONS["fill"](x, 1)
    dim, cumprod, flip = dims[0], PUBLIC["cumprod"], PUBLIC["flip"]
    left = shifted(cumprod(x, dim), dim, 1, 1)
    right = shifted(flip(cumprod(flip(x, (dim,)), dim), (dim,)), dim, -1, 1)
    return left * right


def shifted(x, dim: int, by: int, filler):
    """x moved by `by` places along a dimension, `filler` where nothing moved in."""
    n = x.shape[dim]
    keep = max_(n - abs(by), 0)
    base = PUBLIC["full"](tuple(x.shape), filler, dtype=x.dtype)
    if keep == 0:
        return base
    part = narrow(base, dim, max_(by, 0), keep)._meta
    return apply(
        as_strided_scatter, (base, narrow(x, dim, max_(-by, 0), keep)), (part.shape, part.strides, part.offset)
    )


prod_op = reduction(
    "prod",
    lambda x, dims, keepdim, dtype: np.prod(x, axis=dims, keepdims=keepdim, dtype=dtype.np),
    lambda b, x, dims, dtype: b.reduce("prod", b.cast(x, dtype), dims),
    prod_slope,
    "0o",
    dtype=lambda d, dtype: dtype,
)


def prod(input, dim=None, keepdim: bool = False, *, dtype=None, out=None):
    """The product over all elements, or over one dimension. Integers multiply in int64."""
    dtype = accumulated(input, dtype)
    if dim is None:
        result = apply(
            prod_op,
            (reshape(input, (-1,)) if input.ndim > 1 else input,),
            (dims_of(min_(input.ndim, 1), None), False, dtype),
        )
    else:
        result = apply(prod_op, (input,), (dims_of(input.ndim, dim), bool(keepdim), dtype))
    return finish(result, out)


# -- max and min -------------------------------------------------------------------------------------------------------


def not_empty(name: str):
    """Raise PyTorch's errors for a reduction of nothing that has no neutral element."""

    def check(m, dims):
        for d in dims:
            if m.shape[d] == 0:
                if len(dims) == len(m.shape) > 0 and (name in ("max", "min") or len(dims) > 1):
                    raise RuntimeError(
                        f"{name}(): Expected reduction dim to be specified for input.numel() == 0. "
                        "Specify the reduction dim with the 'dim' argument."
                    )
                raise IndexError(f"{name}(): Expected reduction dim {d} to have non-zero size.")

    return check


def even_slope(ctx, g):
    """The gradient of an extreme value, in equal parts to all the elements that have it."""
    x, best = ctx.input(0), kept_output(ctx)
    hit = x == best
    if len(ctx.attrs[0]) == 0:
        return (kept(ctx, g),)
    return (where_of(hit, kept(ctx, g) / sum(hit, ctx.attrs[0], True), 0),)


def nan_hits(x, best):
    return (x == best) | (x != x) & (best != best)


def extreme(name: str, numpy, ir: str):
    return reduction(
        name,
        lambda x, dims, keepdim: numpy(x, axis=dims, keepdims=keepdim),
        lambda b, x, dims: b.reduce(ir, x, dims),
        even_slope,
        "0o",
        check=not_empty(name),
    )


amax_op, amin_op = extreme("amax", np.max, "max"), extreme("amin", np.min, "min")
max_op, min_op = extreme("max", np.max, "max"), extreme("min", np.min, "min")


def amax(input, dim=(), keepdim: bool = False, *, out=None):
    """The largest value over the dimensions.

    The gradient goes in equal parts to all elements that have it. IndexError where it is over nothing.
    """
    return finish(apply(amax_op, (input,), (dims_of(input.ndim, dim), bool(keepdim))), out)


def amin(input, dim=(), keepdim: bool = False, *, out=None):
    """The smallest value over the dimensions.

    The gradient goes in equal parts to all elements that have it. IndexError where it is over nothing.
    """
    return finish(apply(amin_op, (input,), (dims_of(input.ndim, dim), bool(keepdim))), out)


def picked_reference(x, index, dim):
    return np.take_along_axis(x, index, dim) if x.ndim else x.copy()


def picked_lower(b, x, index, dim):
    if not x.shape:
        return b.map("copy", x)
    step = count(x.shape[dim + 1 :])
    linear = index * step
    for d, n in enumerate(x.shape):
        if d != dim:
            linear = linear + b.iota(tuple(n if i == d else 1 for i in range(len(x.shape))), d) * count(
                x.shape[d + 1 :]
            )
    return b.take(x, linear)


def placed_reference(g, index, dim, size):
    shape = [size if d == dim else n for d, n in enumerate(g.shape)]
    out = np.zeros(shape, g.dtype)
    if not shape:
        return g.copy()
    np.put_along_axis(out, index, g, dim)
    return out


def placed_lower(b, g, index, dim, size):
    if not g.shape:
        return b.map("copy", g)
    line = b.iota(tuple(size if d == dim else 1 for d in range(len(g.shape))), dim)
    return b.where(line.eq(index), g, b.const(0, g.dtype))


# The element of each line along a dimension that an index (size 1 there) names, and its inverse: a line of zeros but
# for that element.
picked_op = Op(
    "_pick_along_dim",
    infer=lambda m, i, dim: Meta(i.shape, m.dtype),
    reference=picked_reference,
    lower=picked_lower,
    saves="1",
    vjp=lambda c, g: (
        apply(placed_op, (g, c.input(1)), (c.attrs[0], c.metas[0].shape[c.attrs[0]] if c.metas[0].shape else 1)),
        None,
    ),
)
placed_op = Op(
    "_place_along_dim",
    infer=lambda g, i, dim, size: Meta([size if d == dim else n for d, n in enumerate(g.shape)], g.dtype),
    reference=placed_reference,
    lower=placed_lower,
    saves="1",
    vjp=lambda c, g: (apply(picked_op, (g, c.input(1)), (c.attrs[0],)), None),
)


def to_index(ctx, g, index):
    """The gradient of a value that was taken at an index:

    g there, zeros elsewhere. Attributes start with (dims of one, keepdim).
    """
    if not ctx.metas[0].shape:
        return g
    dim = ctx.attrs[0][0]
    return apply(placed_op, (kept(ctx, g), kept(ctx, index)), (dim, ctx.metas[0].shape[dim]))


def extreme_with_index(name: str, arg, ir: str):
    def infer(m, dims, keepdim):
        not_empty(name)(m, dims)
        shape = reduced_shape(m.shape, dims, keepdim)
        return Meta(shape, m.dtype), Meta(shape, int64)

    def reference(x, dims, keepdim):
        if not x.ndim:
            return x.copy(), np.zeros((), np.int64)
        index = arg(x, axis=dims[0], keepdims=True)
        shape = reduced_shape(x.shape, dims, keepdim)
        return np.take_along_axis(x, index, dims[0]).reshape(shape), index.reshape(shape)

    def lower(b, x, dims, keepdim):
        if not x.shape:
            return b.map("copy", x), b.const(0, int64)
        return (
            shaped(b, b.reduce(ir, x, dims), x, dims, keepdim),
            shaped(b, b.reduce("arg" + ir, x, dims), x, dims, keepdim),
        )

    return Op(
        f"{name}.dim",
        infer=infer,
        reference=reference,
        lower=lower,
        saves="o",
        grad_name=f"{name.capitalize()}Backward0",
        vjp=lambda ctx, g, _: (None if g is None else to_index(ctx, g, ctx.output(1)),),
    )


max_dim_op, min_dim_op = extreme_with_index("max", np.argmax, "max"), extreme_with_index("min", np.argmin, "min")


def named(kind: str, *fields: str):
    """A named tuple that prints as PyTorch's."""
    made = namedtuple(kind, fields)  # type: ignore[misc]
    made.__module__ = "torch.return_types"

    def show(self):
        return (
            f"torch.return_types.{kind}(\n" + ",\n".join(f"{f}={v!r}" for f, v in zip(fields, self, strict=True)) + ")"
        )

    made.__repr__ = show  # type: ignore[method-assign]
    return made


RETURN_TYPES = {
    k: named(k, "values", "indices")
    for k in ("max", "min", "median", "nanmedian", "mode", "kthvalue", "sort", "topk", "cummax", "cummin")
}
RETURN_TYPES["aminmax"] = named("aminmax", "min", "max")


def max_or_min(name: str, whole, along, pair):
    def function(input, dim=None, keepdim: bool = False, *, other=None, out=None, axis=None):
        dim = axis if dim is None else dim
        other = dim if hasattr(dim, "_meta") else other
        if other is not None:
            return finish(FUNCTIONS[pair](input, operand(other)), out)
        if dim is None:
            return finish(apply(whole, (input,), (dims_of(input.ndim, None), False)), out)
        return finish(RETURN_TYPES[name](*apply(along, (input,), (dims_of(input.ndim, dim) or (), bool(keepdim)))), out)

    function.__name__ = function.__qualname__ = name
    function.__doc__ = (
        f"The {name}imum of all elements; with `dim` the values and indices along it (the gradient goes to the index); "
        f"with a tensor, elementwise `{pair}`. RuntimeError for no elements."
    )
    PUBLIC[name] = METHODS[name] = function


max_or_min("max", max_op, max_dim_op, "maximum")
max_or_min("min", min_op, min_dim_op, "minimum")


def arg_reduction(name: str, numpy):
    def infer(m, dims, keepdim):
        if m.dtype is bool_:
            raise NotImplementedError(f"\"{name}_cpu\" not implemented for 'Bool'")
        if m.numel == 0 and len(dims) == len(m.shape):
            raise IndexError(
                f"{name}(): Expected reduction dim to be specified for input.numel() == 0. Specify the reduction "
                "dim with the 'dim' argument."
            )
        not_empty(name)(m, dims)
        return Meta(reduced_shape(m.shape, dims, keepdim), int64)

    def reference(x, dims, keepdim):
        if not x.ndim:
            return np.zeros((), np.int64)
        if len(dims) == x.ndim:
            return numpy(x.reshape(-1)).reshape(reduced_shape(x.shape, dims, keepdim))
        return numpy(x, axis=dims[0], keepdims=keepdim)

    return Op(
        name,
        infer=infer,
        reference=reference,
        lower=lambda b, x, dims, keepdim: (
            shaped(b, b.reduce(name, x, dims), x, dims, keepdim) if x.shape else b.const(0, int64)
        ),
    )


argmax_op, argmin_op = arg_reduction("argmax", np.argmax), arg_reduction("argmin", np.argmin)


def argmax(input, dim=None, keepdim: bool = False, *, out=None):
    """The index of the largest element along dim (the first of several), or, without dim, of the flattened tensor.

    NaN counts as largest. IndexError for a dimension that isn't there or, without elements, has size 0.

    >>> import jitorch as torch
    >>> torch.argmax(torch.tensor([[1, 5], [7, 2]]), dim=1)
    tensor([1, 0])
    """
    return finish(apply(argmax_op, (input,), (dims_of(input.ndim, dim), bool(keepdim))), out)


def argmin(input, dim=None, keepdim: bool = False, *, out=None):
    """The index of the smallest element along dim (the first of several);

    None: of the flattened tensor. NaN counts as smallest.
    """
    return finish(apply(argmin_op, (input,), (dims_of(input.ndim, dim), bool(keepdim))), out)


def aminmax(input, *, dim=None, keepdim: bool = False, out=None):
    """(min, max) over one dimension or all."""
    if dim is None and input.numel() == 0:
        raise RuntimeError(
            "aminmax(): cannot compute aminmax over an empty dimension as the operation has no identity."
        )
    return finish(
        RETURN_TYPES["aminmax"](
            amin(input, () if dim is None else dim, keepdim), amax(input, () if dim is None else dim, keepdim)
        ),
        out,
    )


# -- all, any, counting ------------------------------------------------------------------------------------------------
def truth(name: str, numpy):
    op = reduction(
        name,
        lambda x, dims, keepdim: numpy(x, axis=dims, keepdims=keepdim),
        lambda b, x, dims: b.reduce(name, b.cast(x, bool_), dims),
        dtype=lambda d: dtypes.uint8 if d is dtypes.uint8 else bool_,
    )

    def function(input, dim=None, keepdim: bool = False, *, out=None):
        return finish(apply(op, (input,), (dims_of(input.ndim, dim), bool(keepdim))), out)

    function.__name__ = function.__qualname__ = name
    function.__doc__ = f"Whether {name} elements are nonzero, over all dimensions or some: bool (uint8 for uint8)."
    PUBLIC[name] = METHODS[name] = function


truth("all", np.all)
truth("any", np.any)


def count_nonzero(input, dim=None):
    """How many elements are not zero, over all dimensions or some."""
    return sum(input != 0, dim)


# -- sums that leave NaN out -------------------------------------------------------------------------------------------
nansum_op = reduction(
    "nansum",
    lambda x, dims, keepdim, dtype: np.nansum(x, axis=dims, keepdims=keepdim, dtype=dtype.np),
    lambda b, x, dims, dtype: b.reduce(
        "sum",
        b.cast(b.where(b.map("isnan", x), b.const(0, x.dtype), x) if x.dtype.category == FLOAT else x, dtype),
        dims,
    ),
    lambda ctx, g: (where_of(ctx.input(0).isnan(), 0, kept(ctx, g)),),
    "0",
    dtype=lambda d, dtype: dtype,
)


def nansum(input, dim=None, keepdim: bool = False, *, dtype=None, out=None):
    """The sum with NaN counted as zero."""
    return finish(apply(nansum_op, (input,), (dims_of(input.ndim, dim), bool(keepdim), accumulated(input, dtype))), out)


def nanmean(input, dim=None, keepdim: bool = False, *, dtype=None, out=None):
    """The mean of the elements that are not NaN."""
    if input.dtype.category != FLOAT:
        raise RuntimeError(
            f"nanmean(): expected input to have floating point or complex dtype but got {input.dtype.label}"
        )
    return finish(nansum(input, dim, keepdim, dtype=dtype) / sum(~input.isnan(), dim, keepdim), out)


# -- variance ----------------------------------------------------------------------------------------------------------
def var_lower(b, x, dims, correction):
    n = elements(x, dims)
    centred = x - b.reduce("sum", x, dims) * (1.0 / n if n else math.nan)
    free = max_(n - correction, 0)
    total = b.reduce("sum", centred * centred, dims)
    return total * (1.0 / free) if free else total / b.const(0, x.dtype)


def var_reference(x, dims, keepdim, correction):
    n = elements(x, dims)
    centred = x - np.mean(x, axis=dims, keepdims=True)
    return np.sum(centred * centred, axis=dims, keepdims=keepdim) / x.dtype.type(max_(n - correction, 0))


def var_slope(ctx, g):
    dims, _, correction = ctx.attrs
    x = ctx.input(0)
    free = elements(ctx.metas[0], dims) - correction
    if free <= 0:
        return (kept(ctx, g) * math.inf * (x - mean(x, dims or None, True)),)
    return (kept(ctx, g) * (2.0 / free) * (x - mean(x, dims or None, True)),)


var_op = reduction("var", var_reference, var_lower, var_slope, "0")


def std_slope(ctx, g):
    dims, _, correction = ctx.attrs
    x, out = ctx.input(0), kept_output(ctx)
    free = elements(ctx.metas[0], dims) - correction
    scale = kept(ctx, g) / (out * free) if free > 0 else kept(ctx, g) / out * math.inf
    return (
        where_of(out == 0, 0, scale) * (x - mean(x, dims or None, True))
        if free > 0
        else scale * (x - mean(x, dims or None, True)),
    )


std_op = reduction(
    "std",
    lambda x, *attrs: np.sqrt(var_reference(x, *attrs)),
    lambda b, x, dims, correction: b.map("sqrt", var_lower(b, x, dims, correction)),
    std_slope,
    "0o",
)


def spread_arguments(name: str, input, dim, unbiased, correction):
    """(dims, correction) from the arguments of the two historic signatures of var and std."""
    if input.dtype.category < FLOAT:
        raise RuntimeError("std and var only support floating point and complex dtypes")
    if isinstance(dim, bool):
        dim, unbiased = None, dim
    if correction is None:
        correction = 1 if unbiased is None else int(unbiased)
    return dims_of(input.ndim, dim), operand(correction)


def spread_of(op, input, dims, keepdim: bool, correction):
    """`op`, the variance or the standard deviation; of complex numbers, whose variance is that of both parts together."""
    if not input.is_complex():
        return apply(op, (input,), (dims, keepdim, correction))
    both = apply(var_op, (input.real,), (dims, keepdim, correction)) + apply(var_op, (input.imag,), (dims, keepdim, correction))
    return both if op is var_op else both.sqrt()


def spread_function(name: str, op):
    def function(input, dim=None, unbiased=None, keepdim: bool = False, *, correction=None, out=None):
        dims, correction = spread_arguments(name, input, dim, unbiased, correction)
        return finish(spread_of(op, input, dims, bool(keepdim), correction), out)

    def with_mean(input, dim=None, unbiased=None, keepdim: bool = False, *, correction=None, out=None):
        dims, correction = spread_arguments(f"{name}_mean", input, dim, unbiased, correction)
        return finish((spread_of(op, input, dims, bool(keepdim), correction), mean(input, dims or None, keepdim)), out)

    function.__name__, with_mean.__name__ = name, f"{name}_mean"
    what = "variance" if name == "var" else "standard deviation"
    function.__doc__ = (
        f"The {what} over all elements or some dimensions, with n - correction (1; 0 for unbiased=False) "
        "degrees of freedom."
    )
    with_mean.__doc__ = f"({what}, mean) over all elements or some dimensions (see `{name}`)."
    PUBLIC[name] = METHODS[name] = function
    PUBLIC[f"{name}_mean"] = with_mean


spread_function("var", var_op)
spread_function("std", std_op)


# -- norms -------------------------------------------------------------------------------------------------------------
def norm_reference(x, dims, keepdim, p):
    a = np.abs(x)
    if p == math.inf or p == -math.inf:
        if elements(x, dims) == 0:
            return np.zeros(reduced_shape(x.shape, dims, keepdim), x.dtype)
        return (np.max if p > 0 else np.min)(a, axis=dims, keepdims=keepdim)
    if p == 0:
        return np.sum(x != 0, axis=dims, keepdims=keepdim)
    total = np.sum((a * a if p == 2 else a if p == 1 else np.power(a, x.dtype.type(p))), axis=dims, keepdims=keepdim)
    return np.sqrt(total) if p == 2 else total if p == 1 else np.power(total, x.dtype.type(1 / p))


def norm_lower(b, x, dims, p):
    if p == 0:
        return b.reduce("sum", b.cast(x.ne(0), x.dtype), dims)
    if p == 2:
        return b.map("sqrt", b.reduce("sum", x * x, dims))
    a = b.map("abs", x)
    if p == math.inf or p == -math.inf:
        if elements(x, dims) == 0:
            return b.full(reduced_shape(x.shape, dims, True), 0, x.dtype)
        return b.reduce("max" if p > 0 else "min", a, dims)
    if p == 1:
        return b.reduce("sum", a, dims)
    return b.map("pow", b.reduce("sum", b.map("pow", a, p), dims), 1 / p)


def norm_slope(ctx, g):
    """As PyTorch's norm_backward:

    zeros where the norm is zero; in equal parts among the extreme elements for p = inf.
    """
    p, x = ctx.attrs[2], ctx.input(0)
    g = kept(ctx, g)
    if p == 0:
        return (FUNCTIONS["mul"](g, 0).expand(*x.shape),)
    if p == 1:
        return (g * x.sgn(),)
    out = kept_output(ctx)
    if p == 2:
        return (where_of(out == 0, 0, g / out) * x,)
    a = x.abs()
    if p == math.inf or p == -math.inf:
        hit = nan_hits(a, out)
        return (where_of(hit, g / sum(hit, ctx.attrs[0] or None, True) * x.sgn(), 0),)
    if p < 1:
        return (where_of(x == 0, 0, x.sgn() * a ** (p - 1)) * (g * out ** (1 - p)),)
    if p < 2:
        return (x.sgn() * a ** (p - 1) * where_of(out == 0, 0, g / out ** (p - 1)),)
    return (x * a ** (p - 2) * where_of(out == 0, 0, g / out ** (p - 1)),)


def norm_dtype(d):
    if d.category < FLOAT:
        raise RuntimeError(f"linalg.vector_norm: Expected a floating point or complex tensor as input. Got {d.label}")
    return d


vector_norm_op = reduction(
    "linalg_vector_norm", norm_reference, norm_lower, norm_slope, "0o", dtype=lambda d, p: norm_dtype(d)
)


def vector_norm(x, ord=2, dim=None, keepdim: bool = False, *, dtype=None, out=None):
    """The p-norm of the elements over the dimensions (all by default):

    sum(|x|**ord) ** (1/ord), largest for inf, number of nonzeros for 0.
    """
    if x.dtype.category < FLOAT:
        raise RuntimeError(
            f"linalg.vector_norm: Expected a floating point or complex tensor as input. Got {x.dtype.label}"
        )
    x = x if dtype is None else x.to(dtype)
    x = x.abs() if x.dtype.is_complex else x
    dims = dims_of(x.ndim, dim)
    if (ord < 0 or ord == math.inf) and any_(x.shape[d] == 0 for d in dims):
        if dim is None or len(dims) == x.ndim:
            raise RuntimeError(
                f"linalg.vector_norm cannot compute the {float(ord)} norm on an empty tensor because the "
                "operation does not have an identity"
            )
        raise RuntimeError(
            f"linalg.vector_norm cannot compute the {float(ord)} norm on the dimension {dims[0]} because this "
            "dimension is empty and the operation does not have an identity"
        )
    return finish(apply(vector_norm_op, (x,), (dims, bool(keepdim), float(ord))), out)


def norm(input, p="fro", dim=None, keepdim: bool = False, out=None, dtype=None):
    """The p-norm over all elements or some dimensions; "fro" is the 2-norm. RuntimeError for integers."""
    if p == "nuc":
        from ..linalg import matrix_norm  # type: ignore[attr-defined]

        return matrix_norm(input, "nuc", (-2, -1) if dim is None else dim, keepdim, dtype=dtype, out=out)
    if input.dtype.category < FLOAT and dtype is None:
        raise RuntimeError(
            f"linalg.vector_norm: Expected a floating point or complex tensor as input. Got {input.dtype.label}"
        )
    return vector_norm(input, 2 if p == "fro" or p is None else p, dim, keepdim, dtype=dtype, out=out)


def dist(input, other, p=2):
    """The p-norm of input - other."""
    return vector_norm(input - other, p)


for _f in (sum, mean, prod, amax, amin, argmax, argmin, aminmax, count_nonzero, nansum, nanmean, norm, dist):
    PUBLIC[_f.__name__] = METHODS[_f.__name__] = _f
METHODS["sum_to_size"] = sum_to_size

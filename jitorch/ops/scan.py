"""Running reductions along one dimension, and differences."""

from __future__ import annotations

import numpy as np

from ..dtypes import BOOL, FLOAT, int64
from ..graph.record import Meta
from .dispatch import METHODS, PUBLIC, Op, apply
from .elementwise import FUNCTIONS, where_of
from .publish import finish, inplace_of
from .reductions import RETURN_TYPES, accumulated, shifted
from .views import narrow, wrap_dim


def flipped(x, dim: int):
    return PUBLIC["flip"](x, (dim,)) if x.ndim else x


def running_op(name: str, numpy, scan: str | None, vjp, saves: str = "") -> Op:
    """An entry with the attribute (dim,): numpy(x, axis), and the IR's scan of that name."""
    return Op(
        name,
        infer=lambda m, dim: Meta(m.shape, m.dtype),
        reference=lambda x, dim: numpy(x, axis=dim, dtype=x.dtype) if x.ndim else x.copy(),
        lower=None if scan is None else lambda b, x, dim: b.scan(scan, x, dim) if x.shape else b.map("copy", x),
        vjp=vjp,
        saves=saves,
    )


# -- y[i] = x[i] + a[i] * y[i - 1]: what the gradients of running products are made of ---------------------------------
def recurrence_reference(a, x, dim, backward):
    a, y = np.moveaxis(a, dim, 0), np.moveaxis(np.array(x), dim, 0)
    order = range(len(y) - 2, -1, -1) if backward else range(1, len(y))
    before = 1 if backward else -1
    for i in order:
        y[i] += a[i] * y[i + before]
    return np.moveaxis(y, 0, dim)


def recurrence_slope(ctx, g):
    dim, backward = ctx.attrs
    step = 1 if backward else -1
    s = recurrence(shifted(ctx.input(0), dim, step, 0), g, dim, not backward)
    return (s * shifted(ctx.output(), dim, -step, 0) if ctx.needs[0] else None, s)


recurrence_op = Op(
    "_linear_recurrence",
    infer=lambda a, x, dim, backward: Meta(x.shape, x.dtype),
    reference=recurrence_reference,
    vjp=recurrence_slope,
    saves="0o",
)


def recurrence(a, x, dim: int, backward: bool):
    """y[i] = x[i] + a[i] * y[i - 1] along a dimension (y[i + 1] if backward); the first a is not used."""
    return apply(recurrence_op, (a, x), (dim, backward))


# -- sums and products -------------------------------------------------------------------------------------------------
def cumprod_slope(ctx, g):
    """g[k] times the product of all others up to k, summed over k >= i:

    without dividing, so right where there are zeros.
    """
    x, dim = ctx.input(0), ctx.attrs[0]
    if not x.ndim:
        return (g,)
    left = shifted(apply(cumprod_op, (x,), (dim,)), dim, 1, 1)
    return (left * recurrence(shifted(x, dim, -1, 0), g, dim, True),)


cumsum_op = running_op(
    "cumsum",
    np.cumsum,
    "sum",
    lambda ctx, g: (flipped(apply(cumsum_op, (flipped(g, ctx.attrs[0]),), ctx.attrs), ctx.attrs[0]),),
)
cumprod_op = running_op("cumprod", np.cumprod, "prod", cumprod_slope, "0")


def cumsum(input, dim: int, *, dtype=None, out=None):
    """The running sum along a dimension. Integers add up in int64.

    >>> import jitorch as torch
    >>> torch.cumsum(torch.tensor([1, 2, 3]), 0)
    tensor([1, 3, 6])
    """
    return finish(apply(cumsum_op, (input.to(accumulated(input, dtype)),), (wrap_dim(dim, input.ndim),)), out)


def cumprod(input, dim: int, *, dtype=None, out=None):
    """The running product along a dimension. Integers multiply in int64."""
    return finish(apply(cumprod_op, (input.to(accumulated(input, dtype)),), (wrap_dim(dim, input.ndim),)), out)


def running_logsumexp(x, axis, dtype):
    return np.logaddexp.accumulate(x, axis=axis)


def logcumsumexp_slope(ctx, g):
    """With r[i] = g[i] + exp(y[i] - y[i + 1]) r[i + 1], the gradient is exp(x[i] - y[i]) r[i]:

    no factor exceeds one.
    """
    x, y, dim = ctx.input(0), ctx.output(), ctx.attrs[0]
    if not x.ndim:
        return (g,)
    later = shifted(y, dim, -1, np.inf)
    a = where_of(y == later, 1, (y - later).exp())
    return (recurrence(a, g, dim, True) * (x - y).exp(),)


logcumsumexp_op = running_op("logcumsumexp", running_logsumexp, "logaddexp", logcumsumexp_slope, "0o")


def logcumsumexp(input, dim: int, *, out=None):
    """The logarithm of the running sum of exponentials along a dimension. NotImplementedError for integers."""
    dim = wrap_dim(dim, input.ndim)
    if input.dtype.category != FLOAT:
        raise NotImplementedError(f"\"logcumsumexp_out_cpu\" not implemented for '{input.dtype.label}'")
    return finish(apply(logcumsumexp_op, (input,), (dim,)), out)


# -- extremes ----------------------------------------------------------------------------------------------------------
def running_extreme(name: str, accumulate):
    def reference(x, dim):
        if not x.ndim:
            return x.copy(), np.zeros((), np.int64)
        values = accumulate(x, axis=dim)
        here = np.arange(x.shape[dim]).reshape([-1 if d == dim else 1 for d in range(x.ndim)])
        return values, np.maximum.accumulate(np.where((x == values) | (x != x), here, 0), axis=dim)

    def slope(ctx, g, _):
        if g is None or not ctx.metas[0].shape:
            return (g,)
        m, dim = ctx.metas[0], ctx.attrs[0]
        return (PUBLIC["zeros"](tuple(m.shape), dtype=m.dtype).scatter_add(dim, ctx.output(1), g),)

    def lower(b, x, dim):
        if not x.shape:
            return b.map("copy", x), b.full((), 0, int64)
        if x.dtype.category == BOOL:
            return None
        values = b.scan(name[3:], x, dim)
        here = values.eq(x) if x.dtype.category != FLOAT else values.eq(x) | x.ne(x)
        index = b.iota([n if d == dim else 1 for d, n in enumerate(x.shape)], dim)
        return values, b.scan("max", b.where(here, index, 0), dim)

    op = Op(
        name,
        lower=lower,
        infer=lambda m, dim: (Meta(m.shape, m.dtype), Meta(m.shape, int64)),
        reference=reference,
        vjp=slope,
        saves="o",
    )

    def function(input, dim: int, *, out=None):
        return finish(RETURN_TYPES[name](*apply(op, (input,), (wrap_dim(dim, input.ndim),))), out)

    function.__name__ = function.__qualname__ = name
    function.__doc__ = (
        f"The running {name[3:]}imum along a dimension, and the index of its last occurrence so far: (values, indices)."
    )
    PUBLIC[name] = METHODS[name] = function


running_extreme("cummax", np.maximum.accumulate)
running_extreme("cummin", np.minimum.accumulate)


# -- differences and integrals -----------------------------------------------------------------------------------------
def diff(input, n: int = 1, dim: int = -1, prepend=None, append=None, *, out=None):
    """The n-th differences of neighbours along a dimension (exclusive or for bools), after joining prepend and append
    to it."""
    if not input.ndim:
        raise RuntimeError("diff expects input to be at least one-dimensional")
    if n < 0:
        raise RuntimeError(f"order must be non-negative but got {n}")
    dim = wrap_dim(dim, input.ndim)
    if n == 0:
        return finish(FUNCTIONS["clone"](input), out)
    if prepend is not None or append is not None:
        input = PUBLIC["cat"]([t for t in (prepend, input, append) if t is not None], dim)
    for _ in range(min(n, input.shape[dim])):
        size = max(input.shape[dim] - 1, 0)
        later, earlier = narrow(input, dim, min(1, input.shape[dim]), size), narrow(input, dim, 0, size)
        input = FUNCTIONS["ne" if input.dtype.category == BOOL else "sub"](later, earlier)
    return finish(input, out)


def spacings(y, x, dx, dim: int):
    """The distances between sample points, to be multiplied with sums of neighbours along dim."""
    if x is None:
        return 1.0 if dx is None else dx
    if x.ndim == 1 and y.ndim != 1:
        shape = [1] * y.ndim
        shape[dim] = x.shape[0]
        return diff(x.reshape(shape), dim=dim)
    return diff(x, dim=dim)


def areas(y, x, dx, dim):
    dim = wrap_dim(dim, y.ndim)
    n = max(y.shape[dim] - 1, 0)
    return (narrow(y, dim, min(1, y.shape[dim]), n) + narrow(y, dim, 0, n)) * spacings(y, x, dx, dim) / 2.0


def trapezoid(y, x=None, *, dx=None, dim: int = -1):
    """The integral of samples along a dimension by the trapezoidal rule, at points x or dx (1) apart."""
    return areas(y, x, dx, dim).sum(dim)


def cumulative_trapezoid(y, x=None, *, dx=None, dim: int = -1):
    """The running integral of samples along a dimension by the trapezoidal rule."""
    return cumsum(areas(y, x, dx, dim), dim)


for _f in (cumsum, cumprod, logcumsumexp, diff):
    PUBLIC[_f.__name__] = METHODS[_f.__name__] = _f
METHODS["cumsum_"], METHODS["cumprod_"] = inplace_of(cumsum, "cumsum_"), inplace_of(cumprod, "cumprod_")
PUBLIC["trapezoid"] = PUBLIC["trapz"] = trapezoid
PUBLIC["cumulative_trapezoid"] = cumulative_trapezoid

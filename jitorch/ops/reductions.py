"""Reductions over dimensions."""
from __future__ import annotations

import numpy as np

from ..dtypes import FLOAT, int64
from ..graph.record import Meta
from .dispatch import METHODS, PUBLIC, Op, apply
from .views import reshape, wrap_dim


def dims_of(m_ndim: int, dim) -> tuple[int, ...]:
    """The dimensions to reduce, sorted: all of them for None. RuntimeError for one named twice."""
    if dim is None or dim == () or dim == []:
        return tuple(range(m_ndim))
    dims = [wrap_dim(d, m_ndim) for d in (dim if isinstance(dim, (tuple, list)) else (dim,))]
    if len(set(dims)) != len(dims):
        raise RuntimeError(f"dim {next(d for d in dims if dims.count(d) > 1)} appears multiple times in the list of dims")
    return tuple(sorted(dims)) if m_ndim else ()


def reduced_shape(shape, dims, keepdim: bool) -> tuple[int, ...]:
    return tuple(1 if i in dims else n for i, n in enumerate(shape) if keepdim or i not in dims)


def kept_shape(ctx_meta, dims) -> tuple[int, ...]:
    return reduced_shape(ctx_meta.shape, dims, True)


sum_op = Op(
    "sum",
    infer=lambda m, dims, keepdim, dtype: Meta(reduced_shape(m.shape, dims, keepdim), dtype),
    reference=lambda x, dims, keepdim, dtype: np.sum(x, axis=dims, keepdims=keepdim, dtype=dtype.np),
    lower=lambda b, x, dims, keepdim, dtype: b.reshape(b.reduce("sum", b.cast(x, dtype), dims), reduced_shape(x.shape, dims, keepdim)),
    vjp=lambda ctx, g: (reshape(g, kept_shape(ctx.metas[0], ctx.attrs[0])).expand(ctx.metas[0].shape),))


def sum(input, dim=None, keepdim: bool = False, *, dtype=None, out=None):
    """The sum over all elements, or over the dimensions `dim`. Integers add up in int64."""
    dtype = dtype or (input.dtype if input.dtype.category == FLOAT else int64)
    result = apply(sum_op, (input,), (dims_of(input.ndim, dim), bool(keepdim), dtype))
    if out is not None:
        from .elementwise import write_out
        return write_out(out, result)
    return result


def sum_to_size(input, *size):
    """Summed over the dimensions that broadcasting from `size` added or repeated."""
    from .views import sizes
    size = sizes(size)
    shape = input.shape
    if shape == size:
        return input
    extra = len(shape) - len(size)
    dims = tuple(range(extra)) + tuple(i for i in range(extra, len(shape)) if size[i - extra] == 1 and shape[i] != 1)
    if extra < 0 or any(s not in (1, n) for s, n in zip(size, shape[extra:])):
        raise RuntimeError(f"size {{{list(size)}}} is not expandable to size {{{list(shape)}}}.")
    return reshape(apply(sum_op, (input,), (dims, True, input.dtype)), size) if dims else reshape(input, size)


METHODS["sum"] = PUBLIC["sum"] = sum
METHODS["sum_to_size"] = sum_to_size

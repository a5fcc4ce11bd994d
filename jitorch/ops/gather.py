"""Gather, scatter, and the index_* family: elements along a dimension, named by index tensors.

Lowered, they are a `take` or a `scatter` at linear indices, like `x[index]`.
"""

from __future__ import annotations

from math import prod

import numpy as np

from ..dtypes import bool_, int32, int64
from ..graph.ir import broadcast
from ..graph.record import Meta, contiguous_strides
from .dispatch import METHODS, PUBLIC, Op, apply
from .indexing import FROM_ZERO, OutOfRange, check_index, check_values, filled, index_op, index_put_op
from .masks import converted, is_tensor, masked_fill, where3
from .publish import finish, inplace_of
from .strided import as_strided_scatter
from .views import expand, reshape, wrap_dim


# -- gather and scatter along a dimension ----------------------------------------------------------------------------
def along_infer(name: str, m: Meta, index: Meta, dim: int) -> None:
    if index.dtype not in (int64, int32):
        raise RuntimeError(f"{name}(): Expected dtype int64 for index")
    if (
        index.numel
        and len(m.shape) != len(index.shape)
        and (m.shape or len(index.shape) > 1)
        and (index.shape or len(m.shape) > 1)
    ):
        raise RuntimeError(
            "Index tensor must have the same number of dimensions as input tensor"
            if name == "gather"
            else "Index tensor must have the same number of dimensions as self tensor"
        )


def gather_infer(m, index, dim):
    along_infer("gather", m, index, dim)
    for d, (n, k) in enumerate(zip(m.shape, index.shape, strict=False)):
        if d != dim and k > n and index.numel:
            raise RuntimeError(
                f"Size does not match at dimension {d} expected index {list(index.shape)} to be no larger than self "
                f"{list(m.shape)} apart from dimension {dim}"
            )
    return Meta(index.shape, m.dtype)


def at_least_1d(a):
    return a.reshape(1) if a.ndim == 0 else a


def along(index: np.ndarray, dim: int):
    """The NumPy index of elements along a dimension."""
    return tuple(
        index if d == dim else np.arange(n).reshape([-1 if k == d else 1 for k in range(index.ndim)])
        for d, n in enumerate(index.shape)
    )


def gather_reference(x, index, dim):
    if index.size == 0:
        return np.empty(index.shape, x.dtype)
    check_values(index, x.shape[dim] if x.ndim else 1, dim, error=OutOfRange, negative=False)
    flat, i = at_least_1d(x), at_least_1d(index)
    return flat[along(i, dim)].reshape(index.shape)


def along_linear(b, shape, index, dim: int):
    """The linear indices (IR) of the elements that gather and scatter name."""
    if not shape or not index.shape:
        return b.cast(index, int64)
    strides = contiguous_strides(shape)
    i = b.cast(index, int64)
    linear = i * strides[dim] if strides[dim] != 1 else i
    for d, n in enumerate(index.shape):
        if d != dim and n != 1:
            linear = linear + b.iota([n if k == d else 1 for k in range(len(shape))], d) * strides[d]
    if prod(shape[:dim]) != 1:
        linear = b.where((i >= 0) & (i < shape[dim]), linear, -1)
    return linear


def gather_lower(b, x, index, dim):
    if index.numel == 0:
        return b.full(index.shape, 0, x.dtype)
    return b.take(x, along_linear(b, x.shape, index, dim))


def gather_vjp(ctx, g):
    m = ctx.metas[0]
    zeros = filled(m.shape, 0, m.dtype)
    return (apply(scatter_add_op, (zeros, ctx.input(1), g), ctx.attrs), None)


gather_op = Op("gather", infer=gather_infer, reference=gather_reference, lower=gather_lower, vjp=gather_vjp, saves="1")


def gather(input, dim: int, index, *, sparse_grad: bool = False, out=None):
    """out[i][j] = input[index[i][j]][j] (for dim 0): elements picked along `dim`, in index's shape."""
    dim = wrap_dim(dim, input.ndim)
    if index._meta.numel == 0:
        index = index if index.dtype is int64 else index.to(int64)
    check_index(index, input.shape[dim] if input.ndim else 1, dim, error=OutOfRange, negative=False)
    if out is not None and out.dtype is not input.dtype:
        raise RuntimeError(f"Expected out tensor to have dtype {input.dtype.label.lower()}, but got {out.dtype.label.lower()} instead")
    result = apply(gather_op, (input, index), (dim,))
    return finish(result, out)


def scatter_infer(name: str):
    def infer(m, index, src, dim, *rest):
        along_infer(name, m, index, dim)
        if not isinstance(src, type):
            if src.dtype is not m.dtype:
                raise RuntimeError(f"{name}(): Expected self.dtype to be equal to src.dtype")
            for d, k in enumerate(index.shape if index.numel else ()):
                if k > (src.shape or (1,))[d]:
                    raise RuntimeError(
                        f"Expected index {list(index.shape)} to be no larger than src {list(src.shape)} apart from "
                        f"dimension {dim}"
                        if d == dim
                        else f"Expected index {list(index.shape)} to be no larger than self {list(m.shape)} apart from "
                        f"dimension {dim} and to be no larger size than src {list(src.shape)}"
                    )
        for d, (n, k) in enumerate(zip(m.shape, index.shape if index.numel else (), strict=False)):
            if d != dim and k > n:
                raise RuntimeError(
                    f"Expected index {list(index.shape)} to be no larger than self {list(m.shape)} apart from "
                    f"dimension {dim}"
                    + ("" if isinstance(src, type) else f" and to be no larger size than src {list(src.shape)}")
                )
        return Meta(m.shape, m.dtype)

    return infer


def part_of(src, shape):
    """The leading part of a source, in the index's shape."""
    return at_least_1d(src)[tuple(slice(n) for n in shape)] if isinstance(src, np.ndarray) else src


def scatter_reference_of(mode: str):
    def reference(x, index, src, dim):
        out = x.copy()
        if index.size == 0:
            return out
        check_values(index, x.shape[dim] if x.ndim else 1, dim, error=OutOfRange, negative=False)
        i = at_least_1d(index)
        where, values = along(i, dim), part_of(src, i.shape)
        if mode == "set":
            at_least_1d(out)[where] = values
        else:
            np.add.at(at_least_1d(out), where, values)
        return out

    return reference


def source_lower(b, src, index, dtype):
    """The source's leading part, in the index's shape."""
    if not hasattr(src, "kind"):
        return b.expand(b.const(src, dtype), index.shape)
    if src.kind == "scalar" or not src.shape:
        return b.expand(b.cast(src, dtype), index.shape)
    return b.strided(src, index.shape, contiguous_strides(src.shape), 0) if src.shape != index.shape else src


def scatter_lower_of(mode: str):
    def lower(b, x, index, src, dim):
        if not index.numel:
            return b.map("copy", x)
        linear = along_linear(b, x.shape, index, dim)
        return b.scatter(mode, x, linear, source_lower(b, src, index, x.dtype))

    return lower


def part_grad(ctx, g, dim):
    """The gradient of a scatter's source: the elements that were written, in the leading part of the source."""
    index, m = ctx.input(1), ctx.metas[2]
    picked = gather(g, dim, index)
    if tuple(index.shape) == tuple(m.shape):
        return picked
    zeros = filled(m.shape, 0, m.dtype)
    strides = contiguous_strides(m.shape)
    return apply(as_strided_scatter, (zeros, picked), (tuple(index.shape), strides, 0))


def scatter_vjp(ctx, g):
    (dim,) = ctx.attrs
    to_self = apply(scatter_op, (g, ctx.input(1), 0.0), ctx.attrs) if ctx.needs[0] else None
    return (to_self, None, part_grad(ctx, g, dim) if ctx.needs[2] else None)


def scatter_add_vjp(ctx, g):
    return (g, None, part_grad(ctx, g, ctx.attrs[0]) if ctx.needs[2] else None)


scatter_op = Op(
    "scatter",
    infer=scatter_infer("scatter"),
    reference=scatter_reference_of("set"),
    lower=scatter_lower_of("set"),
    vjp=scatter_vjp,
    saves="1",
)
scatter_add_op = Op(
    "scatter_add",
    infer=scatter_infer("scatter_add"),
    reference=scatter_reference_of("add"),
    lower=scatter_lower_of("add"),
    vjp=scatter_add_vjp,
    saves="1",
)

UFUNCS = {"sum": np.add, "prod": np.multiply, "mean": np.add, "amax": np.maximum, "amin": np.minimum}
IDENTITY = {"sum": 0, "prod": 1, "mean": 0}


def reduce_identity(mode: str, dtype: np.dtype):
    if mode in IDENTITY:
        return IDENTITY[mode]
    if dtype.kind == "f":
        return -np.inf if mode == "amax" else np.inf
    info = np.iinfo(dtype) if dtype.kind != "b" else None
    return (info.min if mode == "amax" else info.max) if info else mode == "amin"


def scatter_reduce_reference(x, index, src, dim, mode, include_self):
    out = x.copy()
    if index.size == 0:
        return out
    check_values(index, x.shape[dim] if x.ndim else 1, dim, error=OutOfRange, negative=False)
    i = at_least_1d(index)
    where, values, flat = along(i, dim), part_of(src, i.shape), at_least_1d(out)
    if not include_self:
        flat[where] = reduce_identity(mode, out.dtype)
    UFUNCS[mode].at(flat, where, values)
    if mode == "mean":
        counts = np.full(flat.shape, 1 if include_self else 0, np.int64)
        np.add.at(counts, where, 1)
        counts = np.maximum(counts, 1)
        flat[...] = flat / counts if out.dtype.kind == "f" else flat // counts
    return out


def scatter_reduce_vjp(ctx, g):
    """The rules of PyTorch's FunctionsManual: mean divides by the counts, extrema share their gradient among ties."""
    dim, mode, include_self = ctx.attrs
    x, index, src = ctx.input(0), ctx.input(1), ctx.input(2)
    part = src[tuple(slice(n) for n in index.shape)] if src.ndim else src
    if mode == "sum":
        to_self, picked = g, gather(g, dim, index)
    elif mode == "prod":
        to_self, picked = prod_grads(g, x, index, part, dim, include_self, ctx.output())
    elif mode == "mean":
        ones = filled(x.shape, 1, x.dtype)
        counts = ones if include_self else filled(x.shape, 0, x.dtype)
        counts = scatter_add(counts, dim, index, filled(index.shape, 1, x.dtype))
        counts = where3(counts == 0, ones, counts)
        to_self, picked = g / counts, gather(g / counts, dim, index)
    else:
        value = ctx.output()
        self_hit, src_hit = (x == value).to(x.dtype), (part == gather(value, dim, index)).to(x.dtype)
        ties = scatter_add(self_hit if include_self else self_hit * 0, dim, index, src_hit)
        share = g / where3(ties == 0, filled(x.shape, 1, x.dtype), ties)
        to_self, picked = self_hit * share, src_hit * gather(share, dim, index)
        if not include_self:
            to_self = g
    if not include_self:
        to_self = scatter(to_self, dim, index, 0.0)
    if tuple(part.shape) != tuple(src.shape):
        zeros = filled(src.shape, 0, src.dtype)
        picked = apply(as_strided_scatter, (zeros, picked), (tuple(index.shape), contiguous_strides(src.shape), 0))
    return (to_self, None, picked)


def prod_grads(g, x, index, part, dim, include_self, result):
    """Gradients of a scattered product; where one factor is zero, it gets the product of the others."""
    one = filled(x.shape, 1, x.dtype)
    masked_self = where3(x == 0, one, x)
    masked_part = where3(part == 0, filled(part.shape, 1, x.dtype), part)
    zeros_self = (x == 0).to(x.dtype) if include_self else filled(x.shape, 0, x.dtype)
    zeros = scatter_add(zeros_self, dim, index, (part == 0).to(x.dtype))
    start = masked_self if include_self else scatter(masked_self, dim, index, 1.0)
    nonzero_product = scatter_reduce(start, dim, index, masked_part, "prod", include_self=True)
    zero = one * 0
    to_self = (
        g * where3(zeros == 0, nonzero_product / masked_self, where3((zeros == 1) & (x == 0), nonzero_product, zero))
        if include_self
        else g
    )
    product, zeros_here = gather(nonzero_product, dim, index), gather(zeros, dim, index)
    none = part * 0
    picked = gather(g, dim, index) * where3(
        zeros_here == 0, product / masked_part, where3((zeros_here == 1) & (part == 0), product, none)
    )
    return to_self, picked


def scatter_reduce_lower(b, x, index, src, dim, mode, include_self):
    if mode == "sum" and include_self and index.numel:
        return scatter_lower_of("add")(b, x, index, src, dim)
    return None


scatter_reduce_op = Op(
    "scatter_reduce",
    infer=scatter_infer("scatter_reduce"),
    reference=scatter_reduce_reference,
    lower=scatter_reduce_lower,
    vjp=scatter_reduce_vjp,
    saves="012o",
)


def prepared(name: str, self, dim: int, index, src):
    """The arguments of a scatter, checked."""
    if not is_tensor(src) and not isinstance(src, (int, float)):
        raise TypeError(f"{name}(): argument 'src' must be Tensor or Number, not {type(src).__name__}")
    dim = wrap_dim(dim, self.ndim)
    check_index(index, self.shape[dim] if self.ndim else 1, dim, error=OutOfRange, negative=False)
    return dim, src if is_tensor(src) else converted(src, self.dtype)


def scatter(input, dim: int, index, src=None, *, value=None, reduce: str | None = None, out=None):
    """A copy of input with src's elements (or a number) written at index along dim.

    out[index[i][j]][j] = src[i][j] for dim 0.
    reduce: "add" or "multiply" combine instead of writing.
    """
    dim, src = prepared("scatter", input, dim, index, value if src is None else src)
    if reduce is None:
        result = apply(scatter_op, (input, index, src), (dim,))
    else:
        if reduce not in ("add", "multiply"):
            raise RuntimeError("reduce argument must be either add or multiply.")
        if not is_tensor(src):
            src = filled(index.shape, src, input.dtype)
        result = apply(scatter_reduce_op, (input, index, src), (dim, "sum" if reduce == "add" else "prod", True))
    return finish(result, out)


def scatter_add(input, dim: int, index, src, *, out=None):
    """A copy of input with src's elements added at index along dim."""
    dim, src = prepared("scatter_add", input, dim, index, src)
    result = apply(scatter_add_op, (input, index, src), (dim,))
    return finish(result, out)


def scatter_reduce(input, dim: int, index, src, reduce: str, *, include_self: bool = True, out=None):
    """A copy of input with src's elements reduced ("sum", "prod", "mean", "amax", "amin") into index along dim."""
    dim, src = prepared("scatter_reduce", input, dim, index, src)
    if reduce not in UFUNCS:
        raise RuntimeError(f"reduce argument must be either sum, prod, mean, amax or amin, got {reduce}.")
    result = apply(scatter_reduce_op, (input, index, src), (dim, reduce, bool(include_self)))
    return finish(result, out)


# -- along one dimension by a vector of indices ----------------------------------------------------------------------
def vector_index(name: str, input, dim: int, index, message: str | None = None, negative: bool = False):
    dim = wrap_dim(dim, input.ndim)
    if index.ndim > 1:
        raise IndexError(f"{name}(): Index is supposed to be a vector")
    if index.dtype not in (int64, int32):
        raise RuntimeError(f"{name}(): Expected dtype int32 or int64 for index")
    check_index(index, input.shape[dim] if input.ndim else 1, dim, error=OutOfRange, message=message, negative=negative)
    return dim, index if index.ndim else reshape(index, (1,))


def pattern_at(dim: int) -> tuple:
    return (False,) * dim + (FROM_ZERO,)


def index_select(input, dim: int, index, *, out=None):
    """The slices of `dim` named by a vector of indices. IndexError out of range."""
    dim, index = vector_index("index_select", input, dim, index, "index out of range in self")
    if input.ndim == 0:
        result = reshape(apply(index_op, (reshape(input, (1,)), index), (pattern_at(0),)), ())
    else:
        result = apply(index_op, (input, index), (pattern_at(dim),))
    return finish(result, out)


def lifted(x):
    return reshape(x, (1,)) if is_tensor(x) and x.ndim == 0 else x


def index_add(input, dim: int, index, source, *, alpha=1, out=None):
    """A copy of input with alpha * source's slices added to the slices of `dim` named by index."""
    dim, index = vector_index("index_add", input, dim, index, "index out of range in self")
    if source.dtype is not input.dtype:
        raise RuntimeError(
            f"index_add_(): self ({input.dtype.label}) and source ({source.dtype.label}) must have the same scalar type"
        )
    n = source.shape[dim] if source.ndim else 1
    if n != index.shape[0]:
        raise RuntimeError(
            f"index_add_(): Number of indices ({index.shape[0]}) should be equal to source.size(dim): ({n}), for dim: "
            f"{dim}"
        )
    same_slices("index_add_", input, source, dim)
    value = source if alpha == 1 else source * alpha
    result = reshape(apply(index_put_op, (lifted(input), lifted(value), index), (pattern_at(dim), True)), input.shape)
    return finish(result, out)


def same_slices(name: str, input, source, dim: int) -> None:
    a, b = [n for i, n in enumerate(input.shape) if i != dim], [n for i, n in enumerate(source.shape) if i != dim]
    if a != b:
        raise RuntimeError(
            f"{name}: source tensor shape must match self tensor shape, excluding the specified dimension. "
            f"Got self.shape = {list(input.shape)} source.shape = {list(source.shape)}"
        )


def index_copy(input, dim: int, index, source, *, out=None):
    """A copy of input whose slices of `dim` named by index are source's."""
    dim, index = vector_index("index_copy_", input, dim, index)
    if source.dtype is not input.dtype:
        raise RuntimeError(
            f"index_copy_(): self and source expected to have the same dtype, but got (self) {input.dtype.label} and "
            f"(source) {source.dtype.label}"
        )
    if source.ndim and (source.shape[dim] if source.ndim > dim else 1) != index.shape[0]:
        raise IndexError(
            f"index_copy_(): Number of indices ({index.shape[0]}) should be equal to source.size(dim) "
            f"({source.shape[dim]})"
        )
    if source.ndim:
        same_slices("index_copy_()", input, source, dim)
    result = reshape(apply(index_put_op, (lifted(input), lifted(source), index), (pattern_at(dim), False)), input.shape)
    return finish(result, out)


def index_fill(input, dim: int, index, value):
    """A copy of input with the slices of `dim` named by index filled with a number."""
    dim, index = vector_index("index_fill_", input, dim, index, negative=True)
    if is_tensor(value):
        if value.ndim:
            raise RuntimeError(
                f"index_fill_ only supports a 0-dimensional value tensor, but got tensor with {value.ndim} "
                "dimension(s)."
            )
        value = value.to(input.dtype)
    n = input.shape[dim] if input.ndim else 1
    mask = apply(index_put_op, (filled((n,), False, bool_), True, index), ((True,), False))
    return masked_fill(input, reshape(mask, [n if d == dim else 1 for d in range(input.ndim)]), value)


def index_reduce(input, dim: int, index, source, reduce: str, *, include_self: bool = True, out=None):
    """A copy of input with source's slices reduced into the slices of `dim` named by index.

    reduce: "prod", "mean", "amax" or "amin".
    """
    if reduce not in ("prod", "mean", "amax", "amin"):
        raise RuntimeError(f"reduce argument must be either prod, mean, amax or amin, got {reduce}.")
    dim, index = vector_index("index_reduce_", input, dim, index)
    full = expand(reshape(index, [-1 if d == dim else 1 for d in range(max(source.ndim, 1))]), *(source.shape or (1,)))
    result = reshape(
        apply(scatter_reduce_op, (lifted(input), full, lifted(source)), (dim, reduce, bool(include_self))), input.shape
    )
    return finish(result, out)


def take(input, index, *, out=None):
    """The elements of input, seen as a vector, at index. IndexError out of range."""
    n = input._meta.numel
    check_index(
        index, n, 0, message=f"out of range: tried to access index {first_bad(index, n)} on a tensor of {n} elements."
    )
    result = apply(index_op, (reshape(input, (-1,)) if n else reshape(input, (0,)), index), ((True,),))
    return finish(result, out)


def first_bad(index, n: int):
    """The value that a message about a computed index names."""
    if index._storage.tape is not None or index._meta.numel == 0:
        return None
    a = index._array()
    return int(a.max()) if a.max() >= n else int(a.min())


def put_flat(input, index, source, accumulate: bool = False):
    """A copy of input, seen as a vector, with source's elements written (or added) at index."""
    n = input._meta.numel
    check_index(
        index, n, 0, message=f"out of range: tried to access index {first_bad(index, n)} on a tensor of {n} elements."
    )
    if source.dtype is not input.dtype:
        raise RuntimeError(
            f"put_(): self and source expected to have the same dtype, but got self.dtype = {input.dtype.label} and "
            f"source.dtype = {source.dtype.label}"
        )
    if source._meta.numel != index._meta.numel:
        raise RuntimeError(
            "put_(): Expected source and index to have the same number of elements, but got source.numel() = "
            f"{source._meta.numel}, index.numel() = {index._meta.numel}"
        )
    flat = apply(index_put_op, (reshape(input, (n,)), reshape(source, index.shape), index), ((True,), bool(accumulate)))
    return reshape(flat, input.shape)


def take_along_dim(input, indices, dim: int | None = None, *, out=None):
    """Elements along `dim`, or of the whole tensor as a vector.

    Input and indices broadcast in the other dimensions.
    """
    if indices.dtype is not int64:
        raise RuntimeError(f"torch.take_along_dim(): dtype of indices should be Long but got {indices.dtype.label}")
    if dim is None:
        return gather(reshape(input, (input._meta.numel,)), 0, reshape(indices, (indices._meta.numel,)), out=out)
    if input.ndim != indices.ndim:
        raise RuntimeError(
            "torch.take_along_dim(): input and indices should have the same number of dimensions, but got "
            f"{input.ndim} dimensions for input, and {indices.ndim} dimensions for indices"
        )
    dim = wrap_dim(dim, input.ndim)
    shape = broadcast([[1 if d == dim else n for d, n in enumerate(t.shape)] for t in (input, indices)])
    a = expand(input, *[input.shape[d] if d == dim else n for d, n in enumerate(shape)])
    i = expand(indices, *[indices.shape[d] if d == dim else n for d, n in enumerate(shape)])
    i = where3(i < 0, i + input.shape[dim], i)
    return gather(a, dim, i, out=out)

for _f in (
    gather, scatter, scatter_add, scatter_reduce, index_select, index_add, index_copy, index_fill, index_reduce, take, take_along_dim,
):
    PUBLIC[_f.__name__] = METHODS[_f.__name__] = _f
for _f in (scatter, scatter_add, scatter_reduce, index_add, index_copy, index_fill, index_reduce):
    METHODS[_f.__name__ + "_"] = inplace_of(_f, _f.__name__ + "_")
PUBLIC["put"] = METHODS["put"] = put_flat
METHODS["put_"] = inplace_of(put_flat, "put_")

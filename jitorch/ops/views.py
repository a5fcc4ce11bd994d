"""Views: other shapes, strides and offsets over the same storage. Nothing is recorded until a view is read.

A view's entry is a geometry (Meta -> Meta) and a gradient. Geometries are kept in the Meta they start from, so a view in a loop costs
one dictionary look-up.
"""
from __future__ import annotations

import numpy as np

from ..graph.record import Meta, contiguous_strides, count
from ..tensor import clone_of, make_view
from .dispatch import METHODS, PUBLIC, VIEWS, Op, apply


class ViewOp:
    """A view's entry, seen from behind: what the backward graph needs of it."""

    saves: tuple = ()
    save_outputs = False

    def __init__(self, name: str, geometry, vjp):
        self.name, self.geometry, self.vjp = name, geometry, vjp
        self.grad_name = "".join(w.capitalize() for w in name.split("_")) + "Backward0"
        VIEWS[name] = self

    def __call__(self, t, *attrs):
        cache = t._meta.cache
        key = (self, attrs)
        meta = cache.get(key)
        if meta is None:
            meta = cache[key] = self.geometry(t._meta, *attrs)
        return make_view(t, meta, self, attrs)



def wrap_dim(dim: int, ndim: int) -> int:
    """A dimension counted from the front. IndexError out of range."""
    n = max(ndim, 1)
    if not -n <= dim < n:
        raise IndexError(f"Dimension out of range (expected to be in range of [{-n}, {n - 1}], but got {dim})")
    return dim % n


# -- as_strided, and writing through it ------------------------------------------------------------------------------
def strided_geometry(m: Meta, shape, strides, offset) -> Meta:
    if len(shape) != len(strides):
        raise RuntimeError("mismatch in length of strides and shape")
    if any(s < 0 for s in strides):
        raise RuntimeError(f"as_strided: Negative strides are not supported at the moment, got strides: {list(strides)}")
    return Meta(shape, m.dtype, strides, offset)


def storage_size(m: Meta) -> int:
    return 0 if m.numel == 0 else m.offset + 1 + sum((n - 1) * s for n, s in zip(m.shape, m.strides))


def overlapping(m_shape, m_strides) -> bool:
    """Whether two indices of a strided geometry may name one element."""
    reach = 0
    for s, n in sorted((s, n) for s, n in zip(m_strides, m_shape) if n > 1):
        if s <= reach:
            return True
        reach += s * (n - 1)
    return False


def as_strided_vjp(ctx, g):
    """Gradient of a strided view: g written (or, where elements overlap, added) into zeros at the view's place."""
    shape, strides, offset = ctx.attrs
    base = ctx.metas[0]
    flat = new_zeros(max(storage_size(base), storage_size(Meta(shape, base.dtype, strides, offset))), base.dtype)
    if overlapping(shape, strides):
        flat = apply(as_strided_add, (flat, g), (tuple(shape), tuple(strides), offset))
    else:
        flat = apply(as_strided_scatter, (flat, g), (tuple(shape), tuple(strides), offset))
    return (as_strided(flat, base.shape, base.strides, base.offset),)


def new_zeros(n: int, dtype):
    return PUBLIC["zeros"]((n,), dtype=dtype)


def scatter_reference(base, value, shape, strides, offset):
    out = np.array(base, order="C").reshape(-1)
    if value.size:
        view = np.lib.stride_tricks.as_strided(out[offset:], shape, [s * out.itemsize for s in strides])
        view[...] = value
    return out.reshape(base.shape)


def scatter_lower(b, base, value, shape, strides, offset):
    return b.place(base, base.shape, [(b.expand(value, shape), strides, offset)])


def scatter_vjp(ctx, g):
    shape, strides, offset = ctx.attrs
    g = g.contiguous()
    to_value = as_strided(g, shape, strides, offset)
    zero = PUBLIC["zeros"](tuple(shape), dtype=g.dtype)
    return (apply(as_strided_scatter, (g, zero), ctx.attrs), to_value)


def add_reference(base, value, shape, strides, offset):
    out = np.array(base, order="C").reshape(-1)
    np.add.at(out, strided_indices(shape, strides, offset), value)
    return out.reshape(base.shape)


def strided_indices(shape, strides, offset):
    index = np.full(shape, offset, np.int64)
    for d, (n, s) in enumerate(zip(shape, strides)):
        index += (np.arange(n) * s).reshape([-1 if i == d else 1 for i in range(len(shape))])
    return index


as_strided = ViewOp("as_strided", strided_geometry, as_strided_vjp)
as_strided_scatter = Op("as_strided_scatter", infer=lambda base, value, *a: Meta(base.shape, base.dtype), reference=scatter_reference,
                        lower=scatter_lower, vjp=scatter_vjp)
as_strided_add = Op("_as_strided_add", infer=lambda base, value, *a: Meta(base.shape, base.dtype), reference=add_reference,
                    vjp=lambda ctx, g: (g, as_strided(g.contiguous(), *ctx.attrs)))


def copy_slices_vjp(ctx, g):
    """History of a base after a write through a view of it: the written part's gradient goes to what was written."""
    shape, strides, offset = ctx.attrs
    m = ctx.metas[0]
    if m.contiguous and m.offset == 0:
        return scatter_vjp(ctx, g)
    flat = new_zeros(max(storage_size(m), storage_size(Meta(shape, m.dtype, strides, offset))), m.dtype)
    flat = apply(as_strided_scatter, (flat, g), (tuple(m.shape), tuple(m.strides), m.offset))
    to_base, to_value = scatter_vjp(ctx, flat)
    return (as_strided(to_base, m.shape, m.strides, m.offset), to_value)


copy_slices = ViewOp("copy_slices", lambda m, *a: m, copy_slices_vjp)
copy_slices.grad_name = "CopySlices"


# -- shapes ------------------------------------------------------------------------------------------------------------
def reshape_strides(m: Meta, shape):
    """Strides that give `shape` over the same elements, or None where a copy is needed."""
    if m.contiguous:
        return contiguous_strides(shape)
    if m.numel == 0:
        return contiguous_strides(shape)
    # walk both shapes from the back, matching runs of dimensions that are contiguous among themselves
    strides = [0] * len(shape)
    view = len(shape) - 1
    chunk_stride, run, old = None, 1, len(m.shape) - 1
    base_stride = m.strides[-1] if m.shape else 1
    for d in range(old, -1, -1):
        run *= m.shape[d]
        if d == 0 or (m.shape[d - 1] != 1 and m.strides[d - 1] != run * base_stride):
            filled = 1
            while view >= 0 and (filled < run or shape[view] == 1):
                strides[view] = filled * base_stride
                filled *= shape[view]
                view -= 1
            if filled != run:
                return None
            if d > 0:
                base_stride, run = m.strides[d - 1], 1
    del chunk_stride
    return tuple(strides) if view < 0 else None


def full_shape(m: Meta, shape) -> tuple[int, ...]:
    """A requested shape with its -1 worked out. RuntimeError where the sizes don't fit."""
    shape = tuple(int(s) for s in shape)
    unknown = [i for i, s in enumerate(shape) if s == -1]
    if len(unknown) > 1:
        raise RuntimeError("only one dimension can be inferred")
    if any(s < -1 for s in shape):
        raise RuntimeError(f"invalid shape dimension {min(shape)}")
    if unknown:
        rest = -count(shape)
        if rest == 0:
            raise RuntimeError(f"cannot reshape tensor of 0 elements into shape {list(shape)} because the unspecified dimension size -1 can be any value and is ambiguous")
        if m.numel % rest == 0:
            shape = tuple(m.numel // rest if s == -1 else s for s in shape)
    if count(shape) != m.numel or -1 in shape:
        raise RuntimeError(f"shape '{list(shape)}' is invalid for input of size {m.numel}")
    return shape


def view_geometry(m: Meta, shape) -> Meta:
    shape = full_shape(m, shape)
    strides = reshape_strides(m, shape)
    if strides is None:
        raise RuntimeError("view size is not compatible with input tensor's size and stride (at least one dimension spans across two contiguous "
                           "subspaces). Use .reshape(...) instead.")
    return Meta(shape, m.dtype, strides, m.offset)


view_op = ViewOp("view", view_geometry, lambda ctx, g: (reshape(g, ctx.metas[0].shape),))


def sizes(args) -> tuple:
    """Sizes given one by one, or as one sequence."""
    if len(args) == 1 and isinstance(args[0], (tuple, list)):
        return tuple(int(a) for a in args[0])
    return tuple(int(a) for a in args)


def view(input, *shape):
    """The same memory with another shape (one size may be -1). RuntimeError where strides can't express it."""
    if len(shape) == 1 and hasattr(shape[0], "itemsize"):
        if shape[0] is input.dtype:
            return view_op(input, tuple(input.shape))
        raise RuntimeError(f"view(dtype): reinterpreting {input.dtype} as {shape[0]} is not supported: use .to({shape[0]}) to convert")
    return view_op(input, sizes(shape))


def reshape(input, *shape):
    """A view where strides can express it, else a copy."""
    shape = sizes(shape)
    try:
        return view_op(input, shape)
    except RuntimeError as error:
        if "Use .reshape" not in str(error):
            raise
    return view_op(clone_of(input), shape)


def permute_geometry(m: Meta, dims) -> Meta:
    if len(dims) != len(m.shape):
        raise RuntimeError(f"permute(sparse_coo): number of dimensions in the tensor input does not match the length of the desired ordering of dimensions i.e. input.dim() = {len(m.shape)} is not equal to len(dims) = {len(dims)}")
    dims = [wrap_dim(d, len(m.shape)) for d in dims]
    if len(set(dims)) != len(dims):
        raise RuntimeError("permute(): duplicate dims are not allowed.")
    return Meta([m.shape[d] for d in dims], m.dtype, [m.strides[d] for d in dims], m.offset)


def permute_vjp(ctx, g):
    n = len(ctx.metas[0].shape)
    dims = [d % n for d in ctx.attrs[0]] if n else []
    return (permute_op(g, tuple(dims.index(i) for i in range(n))),)


permute_op = ViewOp("permute", permute_geometry, permute_vjp)


def permute(input, *dims):
    """The dimensions in another order."""
    return permute_op(input, sizes(dims))


def transpose_geometry(m: Meta, a, b) -> Meta:
    n = len(m.shape)
    order = list(range(n))
    a, b = wrap_dim(a, n), wrap_dim(b, n)
    if n:
        order[a], order[b] = order[b], order[a]
    return permute_geometry(m, order)


transpose_op = ViewOp("transpose", transpose_geometry, lambda ctx, g: (transpose_op(g, *ctx.attrs),))
t_op = ViewOp("t", lambda m: transpose_geometry(m, 0, 1) if len(m.shape) > 1 else Meta(m.shape, m.dtype, m.strides, m.offset),
              lambda ctx, g: (t_op(g),))


def transpose(input, dim0: int, dim1: int):
    """Two dimensions swapped. IndexError out of range."""
    return transpose_op(input, dim0, dim1)


def t(input):
    """A matrix transposed; vectors as they are. RuntimeError for more dimensions."""
    if len(input._meta.shape) > 2:
        raise RuntimeError(f"t() expects a tensor with <= 2 dimensions, but self is {input.ndim}D")
    return t_op(input)


def expand_geometry(m: Meta, shape) -> Meta:
    extra = len(shape) - len(m.shape)
    if extra < 0:
        raise RuntimeError(f"expand(torch.{m.dtype.label}Tensor{list(m.shape)}, size={list(shape)}): the number of sizes provided ({len(shape)}) must be greater or equal to the number of dimensions in the tensor ({len(m.shape)})")
    out, strides = [], []
    for i, want in enumerate(shape):
        have, stride = (1, 0) if i < extra else (m.shape[i - extra], m.strides[i - extra])
        if want == -1 and i >= extra:
            want = have
        if want < 0 or (have != 1 and have != want):
            raise RuntimeError(f"The expanded size of the tensor ({want}) must match the existing size ({have}) at non-singleton dimension {i}.  Target sizes: {list(shape)}.  Tensor sizes: {list(m.shape)}")
        out.append(want)
        strides.append(0 if have == 1 and want != 1 else stride)
    return Meta(out, m.dtype, strides, m.offset)


expand_op = ViewOp("expand", expand_geometry, lambda ctx, g: (g.sum_to_size(ctx.metas[0].shape),))


def expand(input, *shape, implicit: bool = False):
    """Dimensions of size 1 repeated without copying (-1: left as they are). RuntimeError where sizes don't fit."""
    return expand_op(input, sizes(shape))


def squeeze_geometry(m: Meta, dims) -> Meta:
    keep = [i for i, n in enumerate(m.shape) if not (n == 1 and (dims is None or i in dims))]
    return Meta([m.shape[i] for i in keep], m.dtype, [m.strides[i] for i in keep], m.offset)


squeeze_op = ViewOp("squeeze", squeeze_geometry, lambda ctx, g: (reshape(g, ctx.metas[0].shape),))


def squeeze(input, dim=None):
    """Without dimensions of size 1 (all of them, or those named)."""
    if dim is None:
        return squeeze_op(input, None)
    dims = dim if isinstance(dim, (tuple, list)) else (dim,)
    return squeeze_op(input, tuple(wrap_dim(d, input.ndim) for d in dims))


def unsqueeze_geometry(m: Meta, dim) -> Meta:
    shape, strides = list(m.shape), list(m.strides)
    strides.insert(dim, shape[dim] * strides[dim] if dim < len(shape) else 1)
    shape.insert(dim, 1)
    return Meta(shape, m.dtype, strides, m.offset)


unsqueeze_op = ViewOp("unsqueeze", unsqueeze_geometry, lambda ctx, g: (reshape(g, ctx.metas[0].shape),))


def unsqueeze(input, dim: int):
    """With a dimension of size 1 inserted at `dim`."""
    return unsqueeze_op(input, wrap_dim(dim, input.ndim + 1))


def slice_geometry(m: Meta, dim, start, length, step) -> Meta:
    shape, strides = list(m.shape), list(m.strides)
    offset = m.offset + start * strides[dim] if length else m.offset
    shape[dim], strides[dim] = length, strides[dim] * step
    return Meta(shape, m.dtype, strides, offset)


def region_vjp(ctx, g):
    """Gradient of a slice or select: g written into zeros."""
    m = ctx.metas[0]
    natural = Meta(m.shape, m.dtype)
    place = ctx.op.geometry(natural, *ctx.attrs)
    zeros = PUBLIC["zeros"](tuple(m.shape), dtype=m.dtype)
    return (apply(as_strided_scatter, (zeros, g), (place.shape, place.strides, place.offset)),)


slice_op = ViewOp("slice", slice_geometry, region_vjp)


def select_geometry(m: Meta, dim, index) -> Meta:
    shape, strides = list(m.shape), list(m.strides)
    offset = m.offset + index * strides[dim]
    del shape[dim], strides[dim]
    return Meta(shape, m.dtype, strides, offset)


select_op = ViewOp("select", select_geometry, region_vjp)


def select(input, dim: int, index: int):
    """The slice at `index` of a dimension, which goes away. IndexError out of range."""
    if not input.shape:
        raise IndexError("select() cannot be applied to a 0-dim tensor.")
    dim, n = wrap_dim(dim, input.ndim), input.shape[wrap_dim(dim, input.ndim)]
    if not -n <= index < n:
        raise IndexError(f"select(): index {index} out of range for tensor of size {list(input.shape)} at dimension {dim}")
    return select_op(input, dim, index % n)


def narrow(input, dim: int, start: int, length: int):
    """`length` elements of a dimension from `start`. RuntimeError or IndexError out of range."""
    dim = wrap_dim(dim, input.ndim)
    n = input.shape[dim]
    start = int(start)
    if length < 0:
        raise RuntimeError("narrow(): length must be non-negative.")
    if not -n <= start <= n:
        raise IndexError(f"Dimension out of range (expected to be in range of [{-n}, {n}], but got {start})")
    start += n if start < 0 else 0
    if start + length > n:
        raise RuntimeError(f"start ({start}) + length ({length}) exceeds dimension size ({n}).")
    return slice_op(input, dim, start, length, 1)


def diagonal_geometry(m: Meta, offset, a, b) -> Meta:
    rows, cols = m.shape[a], m.shape[b]
    length = max(min(rows, cols - offset) if offset >= 0 else min(rows + offset, cols), 0)
    start = m.offset + (offset * m.strides[b] if offset >= 0 else -offset * m.strides[a]) if length else m.offset
    keep = [i for i in range(len(m.shape)) if i not in (a, b)]
    return Meta([m.shape[i] for i in keep] + [length], m.dtype, [m.strides[i] for i in keep] + [m.strides[a] + m.strides[b]], start)


diagonal_op = ViewOp("diagonal", diagonal_geometry, region_vjp)


def diagonal(input, offset: int = 0, dim1: int = 0, dim2: int = 1):
    """The diagonals of two dimensions, as the last dimension."""
    a, b = wrap_dim(dim1, input.ndim), wrap_dim(dim2, input.ndim)
    if a == b:
        raise RuntimeError(f"diagonal dimensions cannot be identical {dim1}, {dim2}")
    return diagonal_op(input, offset, a, b)


def unfold_geometry(m: Meta, dim, size, step) -> Meta:
    shape, strides = list(m.shape), list(m.strides)
    if not shape:
        return Meta((size,), m.dtype, (1,), m.offset)
    windows, stride = (shape[dim] - size) // step + 1, strides[dim]
    shape[dim], strides[dim] = windows, stride * step
    return Meta(shape + [size], m.dtype, strides + [stride], m.offset)


def unfold_vjp(ctx, g):
    m = ctx.metas[0]
    place = unfold_geometry(Meta(m.shape, m.dtype), *ctx.attrs)
    zeros = PUBLIC["zeros"](tuple(m.shape), dtype=m.dtype)
    op = as_strided_add if overlapping(place.shape, place.strides) else as_strided_scatter
    return (apply(op, (zeros, g), (place.shape, place.strides, place.offset)),)


unfold_op = ViewOp("unfold", unfold_geometry, unfold_vjp)


def unfold(input, dimension: int, size: int, step: int):
    """All slices of `size` along a dimension, `step` apart, as a new last dimension."""
    dim = wrap_dim(dimension, input.ndim)
    n = input.shape[dim] if input.shape else 1
    if size > n:
        raise RuntimeError(f"maximum size for tensor at dimension {dim} is {n} but size is {size}")
    if step <= 0:
        raise RuntimeError(f"step is {step} but must be > 0")
    return unfold_op(input, dim, size, step)


for _f in (view, reshape, permute, transpose, t, expand, squeeze, unsqueeze, select, narrow, diagonal, unfold):
    METHODS[_f.__name__] = _f
    if _f is not view and _f is not expand and _f is not unfold:
        PUBLIC[_f.__name__] = _f
METHODS["as_strided"] = PUBLIC["as_strided"] = lambda input, size, stride, storage_offset=None: as_strided(
    input, tuple(size), tuple(stride), input._meta.offset if storage_offset is None else storage_offset)

"""`as_strided`: a view by strides and offset, and writing through one, which every write to a view comes down to."""

from __future__ import annotations

import numpy as np

from ..autograd.node import Entry, Record
from ..dtypes import int64
from ..graph.ir import broadcast
from ..graph.record import Meta
from ..tensor import make_view
from .dispatch import PUBLIC, VIEWS, Op, apply

MAX_GEOMETRIES = 4096  # kept in one Meta: a loop over many rows must not keep them all


class ViewOp(Entry):
    """A view's entry, seen from behind: what the backward graph needs of it."""

    lasting = True
    wirtinger = False

    def __init__(self, name: str, geometry, vjp):
        self.name, self.geometry, self.vjp = name, geometry, vjp
        self.grad_name = "".join(w.capitalize() for w in name.split("_")) + "Backward0"
        VIEWS[name] = self

    def __call__(self, t, *attrs):
        cache = t._meta.cache
        key = (self, attrs)
        record = cache.get(key)
        if record is None:
            if len(cache) >= MAX_GEOMETRIES:
                cache.clear()
            record = cache[key] = Record(self, attrs, (t._meta,), (self.geometry(t._meta, *attrs),))
        return make_view(t, record)


# -- as_strided, and writing through it ------------------------------------------------------------------------------
def strided_geometry(m: Meta, shape, strides, offset) -> Meta:
    if len(shape) != len(strides):
        raise RuntimeError("mismatch in length of strides and shape")
    if any(s < 0 for s in strides):
        raise RuntimeError(
            f"as_strided: Negative strides are not supported at the moment, got strides: {list(strides)}"
        )
    return Meta(shape, m.dtype, strides, offset)


def storage_size(m: Meta) -> int:
    return 0 if m.numel == 0 else m.offset + 1 + sum((n - 1) * s for n, s in zip(m.shape, m.strides, strict=False))


def overlapping(m_shape, m_strides) -> bool:
    """Whether two indices of a strided geometry may name one element."""
    reach = 0
    for s, n in sorted((s, n) for s, n in zip(m_strides, m_shape, strict=False) if n > 1):
        if s <= reach:
            return True
        reach += s * (n - 1)
    return False


def strided_view(input, size, stride, storage_offset=None):
    """`size` elements of the input's memory, `stride` apart, from `storage_offset` on (its own offset, if not given).

    RuntimeError for what reaches outside of the memory.
    """
    size, stride = tuple(int(n) for n in size), tuple(int(n) for n in stride)
    offset = input._meta.offset if storage_offset is None else int(storage_offset)
    check_inside(size, stride, offset, input._storage.meta)
    return as_strided(input, size, stride, offset)


def check_inside(size: tuple, stride: tuple, offset: int, memory: Meta) -> None:
    """RuntimeError for a strided geometry that is none, or that reaches outside of a contiguous memory."""
    if offset < 0:
        raise RuntimeError(f"Tensor: invalid storage offset {offset}")
    if any(n < 0 for n in size):
        raise RuntimeError(f"Trying to create tensor with negative dimension {min(size)}: {list(size)}")
    need = storage_size(strided_geometry(memory, size, stride, offset))
    if need > memory.numel:
        k = memory.dtype.itemsize
        raise RuntimeError(f"setStorage: sizes {list(size)}, strides {list(stride)}, storage offset {offset}, and itemsize {k} requiring a storage size "
                           f"of {need * k} are out of bounds for storage of size {memory.numel * k}")


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


def region_infer(base, value, shape, strides, offset):
    """The base's shape; the region has to lie in it, and the value to fit. No user can ask for another one, but a file may."""
    region = Meta(shape, base.dtype, strides, offset)
    if min((*region.shape, *region.strides, offset), default=0) < 0 or len(strides) != len(shape) or storage_size(region) > base.numel:
        raise RuntimeError(f"a region of shape {list(shape)}, strides {list(strides)} and offset {offset} is not within {base.numel} elements")
    if broadcast([value.shape, shape]) != tuple(shape):
        raise RuntimeError(f"a value of shape {list(value.shape)} can't be written to a region of shape {list(shape)}")
    return Meta(base.shape, base.dtype)


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
    to_value = as_strided(g, shape, strides, g._meta.offset + offset)
    zero = PUBLIC["zeros"](tuple(shape), dtype=g.dtype)
    return (apply(as_strided_scatter, (g, zero), ctx.attrs), to_value)


def add_reference(base, value, shape, strides, offset):
    """Adds one slice that does not overlap after another."""
    out = np.array(base, order="C").reshape(-1)
    if not value.size:
        return out.reshape(base.shape)
    dims = sorted((d for d, n in enumerate(shape) if n > 1), key=lambda d: shape[d])
    loop = []
    for d in dims:
        if not overlapping([1 if e in loop else n for e, n in enumerate(shape)], strides):
            break
        loop.append(d)
    rest = [1 if e in loop else n for e, n in enumerate(shape)]
    steps = [s * out.itemsize for s in strides]
    for at in np.ndindex(*(shape[d] for d in loop)):
        start = offset + sum(i * strides[d] for i, d in zip(at, loop, strict=False))
        part = value[
            tuple(
                slice(at[loop.index(d)], at[loop.index(d)] + 1) if d in loop else slice(None) for d in range(len(shape))
            )
        ]
        target = np.lib.stride_tricks.as_strided(out[start:], rest, steps)
        target += part
    return out.reshape(base.shape)


def add_lower(b, base, value, shape, strides, offset):
    linear = None
    for d, (n, s) in enumerate(zip(shape, strides, strict=False)):
        if n > 1 and s:
            term = b.iota([n if e == d else 1 for e in range(len(shape))], d) * s
            linear = term if linear is None else linear + term
    linear = b.const(offset, int64) if linear is None else linear + offset if offset else linear
    return b.scatter("add", base, b.expand(linear, shape), b.expand(value, shape))


as_strided = ViewOp("as_strided", strided_geometry, as_strided_vjp)
as_strided_scatter = Op(
    "as_strided_scatter",
    infer=region_infer,
    reference=scatter_reference,
    lower=scatter_lower,
    vjp=scatter_vjp,
)


def add_vjp(ctx, g):
    shape, strides, offset = ctx.attrs
    whole = g.contiguous()
    return (g, as_strided(whole, shape, strides, whole._meta.offset + offset))


as_strided_add = Op(
    "_as_strided_add",
    infer=region_infer,
    reference=add_reference,
    lower=add_lower,
    vjp=add_vjp,
)


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

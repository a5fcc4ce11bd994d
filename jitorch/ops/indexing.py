"""Indexing: `x[...]`, `x[...] = v`, and what index tensors pick.

What integers, slices, None and Ellipsis pick is a view (nothing runs). What index tensors pick is one `index` operation
on such a view; assignment through index tensors is one `index_put`. Lowered, both are a `take` or a `scatter` at
computed linear indices. Indices along one dimension are in `gather`, fills by a mask in `masks`.
"""

from __future__ import annotations

from math import prod

import numpy as np

from ..autograd.node import Record
from ..dtypes import INT, bool_, int32, int64, uint8
from ..graph.ir import broadcast
from ..graph.record import Meta, contiguous_strides
from ..tensor import assign, check_writable, clone_of, from_array, make_view, validate
from .creation import full_op
from .dispatch import METHODS, PUBLIC, Op, apply
from .masks import converted, is_tensor, masked_fill, nonzero
from .publish import finish, inplace_of
from .strided import ViewOp
from .views import expand, region_vjp, reshape, select_op, slice_op


def filled(shape, value, dtype):
    """A new tensor of one number."""
    return apply(full_op, (value,), (tuple(shape), dtype))


INDEX_TYPES = "tensors used as indices must be long, int, byte or bool tensors"


class OutOfRange(IndexError, RuntimeError):
    """An index out of range where PyTorch raises RuntimeError: catch it as either."""


# -- parsing ---------------------------------------------------------------------------------------------------------
def is_integer(x) -> bool:
    return isinstance(x, (int, np.integer)) and not isinstance(x, (bool, np.bool_))


def as_index_tuple(index) -> tuple:
    """The index as a tuple. A list counts as one when it holds slices, sequences or tensors, as in PyTorch."""
    if isinstance(index, tuple):
        return index
    if (
        isinstance(index, list)
        and len(index) < 32
        and any(i is None or i is Ellipsis or isinstance(i, (slice, list, tuple)) or is_tensor(i) for i in index)
    ):
        return tuple(index)
    return (index,)


def consumed(item) -> int:
    """How many dimensions of the indexed tensor an item stands for."""
    if item is None or item is Ellipsis or isinstance(item, (bool, np.bool_)):
        return 0
    if is_tensor(item) and item.dtype in (bool_, uint8):
        return item.ndim
    return 1


def plan(x, index):
    """Split an index into a basic part and index tensors.

    Returns (basic, tensors): `basic` is a hashable tuple for `basic_geometry`, `tensors` a list with one entry per
    dimension of the view that it gives (None where the dimension is kept).
    """
    items = [item_of(i) for i in as_index_tuple(index)]
    if any(i is Ellipsis for i in items[1:]) and sum(i is Ellipsis for i in items) > 1:
        items = only_one_ellipsis(items)
    shape, n = x._meta.shape, x.ndim
    used = sum(consumed(i) for i in items)
    if used > n:
        if n == 0:
            raise IndexError(
                "invalid index of a 0-dim tensor. Use `tensor.item()` in Python or `tensor.item<T>()` in C++ to "
                "convert a 0-dim tensor to a number"
            )
        raise IndexError(f"too many indices for tensor of dimension {n}")
    basic: list[tuple] = []
    tensors: list = []
    dim = 0
    for item in items:
        if item.__class__ is int:
            size = shape[dim]
            if not -size <= item < size:
                raise IndexError(f"index {item} is out of bounds for dimension {dim} with size {size}")
            basic.append(("i", item + size if item < 0 else item))
            dim += 1
        elif item.__class__ is slice:
            basic.append(slice_item(item, shape[dim]))
            tensors.append(None)
            dim += 1
        elif item is None:
            basic.append(("n",))
            tensors.append(None)
        elif item is Ellipsis:
            for _ in range(n - used):
                basic.append((":",))
                tensors.append(None)
                dim += 1
        elif item.__class__ is bool:
            basic.append(("n",))
            tensors.append(from_array(np.zeros(1 if item else 0, np.int64)))
        elif item.dtype in (bool_, uint8):
            if item.ndim == 0:
                basic.append(("n",))
                tensors.append(from_array(np.zeros(1 if item.item() else 0, np.int64)))
            else:
                for k, size in enumerate(item.shape):
                    if size != shape[dim + k]:
                        raise IndexError(
                            f"The shape of the mask {list(item.shape)} at index {k} does not match the shape of the "
                            f"indexed tensor {list(shape)} at index {dim + k}"
                        )
                basic.extend([(":",)] * item.ndim)
                tensors.extend(nonzero(item, as_tuple=True))
                dim += item.ndim
        else:
            basic.append((":",))
            tensors.append(item)
            dim += 1
    while tensors and tensors[-1] is None:
        tensors.pop()
    while basic and basic[-1] == (":",):
        basic.pop()
    return tuple(basic), tensors


def item_of(item):
    """One item in a normal form: int, slice, None, Ellipsis, bool, or an index tensor."""
    if item.__class__ in (int, slice, bool) or item is None or item is Ellipsis:
        return item
    if is_tensor(item):
        dtype = item.dtype
        if dtype not in (int64, int32, bool_, uint8):
            if dtype.category == INT and item.ndim == 0:
                return int(item.item())
            raise IndexError(INDEX_TYPES)
        return int(item.item()) if item.ndim == 0 and dtype.category == INT and dtype is not uint8 else item
    if isinstance(item, np.bool_):
        return bool(item)
    if isinstance(item, (int, np.integer)):
        return int(item)
    if isinstance(item, np.ndarray):
        return item_of(make_index(item))
    if isinstance(item, (list, tuple, range)):
        return item_of(make_index(list(item)))
    if isinstance(item, str):
        raise TypeError("new(): invalid data type 'str'")
    if hasattr(item, "__index__"):
        return item.__index__()
    raise IndexError(
        "only integers, slices (`:`), ellipsis (`...`), None and long or byte Variables are valid indices "
        f"(got {type(item).__name__})"
    )


def make_index(items):
    """The index tensor that a sequence stands for (an empty one is an integer index)."""
    from ..tensor import tensor

    made = tensor(items)
    return made.to(int64) if made._meta.numel == 0 else made


def only_one_ellipsis(items: list) -> list:
    """Further Ellipsis count as full slices, as in PyTorch."""
    first, out = True, []
    for i in items:
        out.append(i if i is not Ellipsis or first else slice(None))
        first = first and i is not Ellipsis
    return out


def slice_item(item: slice, size: int) -> tuple:
    start, stop, step = (bound(b) for b in (item.start, item.stop, item.step))
    if start is None and stop is None and step in (None, 1):
        return (":",)
    if step == 0:
        raise ValueError("slice step cannot be zero")
    if step is not None and step < 0:
        raise ValueError("step must be greater than zero")
    start, stop, step = slice(start, stop, step).indices(size)
    return ("s", start, max(0, -(-(stop - start) // step)), step)


def bound(b):
    return b.item() if is_tensor(b) else b if b is None else b.__index__()


# -- basic indexing: a view ------------------------------------------------------------------------------------------
def basic_geometry(m: Meta, *items) -> Meta:
    shape, strides, offset, dim = [], [], m.offset, 0
    for item in items:
        kind = item[0]
        if kind == "n":
            shape.append(1)
            strides.append(m.shape[dim] * m.strides[dim] if dim < len(m.shape) else 1)
            continue
        size, stride = m.shape[dim], m.strides[dim]
        dim += 1
        if kind == "i":
            offset += item[1] * stride
        elif kind == ":":
            shape.append(size)
            strides.append(stride)
        else:
            _, start, length, step = item
            offset += start * stride if length else 0
            shape.append(length)
            strides.append(stride * step)
    return Meta([*shape, *m.shape[dim:]], m.dtype, [*strides, *m.strides[dim:]], offset)


basic_op = ViewOp("basic_index", basic_geometry, region_vjp)
basic_op.grad_name = "SliceBackward0"


def basic_view(x, basic: tuple):
    """The view that a planned basic index names (x itself where it names all of it)."""
    if not basic:
        return x
    op, attrs = view_of(x, basic)
    return op(x, *attrs)


def view_of(x, basic: tuple):
    """The view's entry and attributes that a planned basic index stands for."""
    if not basic:
        return basic_op, ((":",),) * x.ndim
    kind, *rest = basic[0]
    if len(basic) == 1 and kind in ("i", "s"):
        return (select_op if kind == "i" else slice_op), (0, *rest)
    return basic_op, basic


def getitem(self, index):
    """`x[index]`.

    Integers, slices, None and Ellipsis give a view; index and mask tensors, lists and arrays give a copy.
    Raises IndexError for an index out of range or too many indices, ValueError for a negative step.
    """
    if index.__class__ is int and self._meta.shape:
        n = self._meta.shape[0]
        if -n <= index < n:
            return select_op(self, 0, index + n if index < 0 else index)
    key = plain_key(index)
    if key is not None:
        known = self._meta.cache.get(key)
        if known is not None:
            return make_view(self, known)
    basic, tensors = plan(self, index)
    if tensors:
        return index_select_all(basic_view(self, basic), tensors)
    result = basic_view(self, basic) if basic else basic_op(self, *(((":",),) * self.ndim))
    if key is not None:
        self._meta.cache[key] = Record(*view_of(self, basic), (self._meta,), (result._meta,))
    return result


PLAIN = frozenset((int, slice, type(None), type(Ellipsis)))
BOUNDS = frozenset((int, type(None)))


def plain_key(index):
    """What an index of integers, slices, None and Ellipsis is remembered by; None for any other."""
    items = index if index.__class__ is tuple else (index,)
    key: list = [getitem]
    for i in items:
        kind = i.__class__
        if kind is slice:
            if i.start.__class__ not in BOUNDS or i.stop.__class__ not in BOUNDS or i.step.__class__ not in BOUNDS:
                return None
            key.append((i.start, i.stop, i.step))
        elif kind in PLAIN:
            key.append(i)
        else:
            return None
    return tuple(key)


def setitem(self, index, value) -> None:
    """`x[index] = value`, with broadcasting of value and conversion to x's dtype.

    RuntimeError where shapes don't fit.
    """
    if not is_tensor(value) and not isinstance(value, (int, float, np.generic)):
        raise TypeError(
            "can't assign a "
            f"{type(value).__module__ + '.' if isinstance(value, np.ndarray) else ''}{type(value).__name__} "
            f"to a torch.{self.dtype.label}Tensor"
        )
    if isinstance(value, np.generic):
        value = value.item()
    if index is False:
        return
    mask = single_mask(index)
    if mask is not None and (not is_tensor(value) or value.ndim == 0) and mask.shape == self.shape[: mask.ndim]:
        check_writable(self)
        assign(self, masked_fill(self, mask.reshape(*mask.shape, *(1,) * (self.ndim - mask.ndim)), value))
        return
    basic, tensors = plan(self, index)
    target = basic_view(self, basic)
    if tensors:
        assign(target, put(target, tensors, converted(value, self.dtype), False))
        return
    if is_tensor(value) and value._storage is target._storage and value._meta.key == target._meta.key:
        return  # x[i] += 1 has already written through the view
    if target is self:  # all of it: a view, so that the history says so
        target = basic_op(self, *((":",),) * self.ndim)
    assign(target, fitted(converted(value, self.dtype), target))


def single_mask(index):
    if index.__class__ is tuple and len(index) == 1:
        index = index[0]
    return index if is_tensor(index) and index.dtype is bool_ and index.ndim > 0 else None


def fitted(value, target):
    """A fresh tensor of the target's shape and dtype."""
    shape = target._meta.shape
    if not is_tensor(value):
        return filled(shape, value, target.dtype)
    extra = value.ndim - len(shape)
    if extra > 0 and all(n == 1 for n in value.shape[:extra]):
        value = reshape(value, value.shape[extra:])
    return clone_of(expand(value, *shape) if value.shape != shape else value)


# -- advanced indexing -----------------------------------------------------------------------------------------------
# A pattern says for each dimension whether an index tensor names its elements: False, True, or FROM_ZERO where a
# negative index is out of range instead of counting from the end.
FROM_ZERO = 2


def check_index(
    index, size: int, dim: int, *, error=IndexError, message: str | None = None, negative: bool = True
) -> None:
    """Raise at the user's line for an index tensor that is already computed and out of range."""
    validate(index, lambda values: check_values(values, size, dim, error=error, message=message, negative=negative))


def check_values(
    a: np.ndarray, size: int, dim: int, *, error=IndexError, message: str | None = None, negative: bool = True
) -> None:
    if a.size == 0:
        return
    low, high = int(a.min()), int(a.max())
    if high >= size or low < (-size if negative else 0):
        bad = high if high >= size else low
        raise error(message or f"index {bad} is out of bounds for dimension {dim} with size {size}")


def index_shapes(metas, pattern, what: str = "indexing"):
    """(broadcast shape of the index tensors, indexed dimensions, place of the index dimensions in the result)."""
    try:
        shape = broadcast([m.shape for m in metas])
    except RuntimeError:
        raise IndexError(
            "shape mismatch: indexing tensors could not be broadcast together with shapes "
            + ", ".join(str(list(m.shape)) for m in metas)
        ) from None
    dims = [i for i, used in enumerate(pattern) if used]
    adjacent = dims[-1] - dims[0] == len(dims) - 1
    return shape, dims, dims[0] if adjacent else 0


def index_result_shape(shape, index_shape, dims, at) -> tuple[int, ...]:
    rest = [n for i, n in enumerate(shape) if i not in dims]
    return (*rest[:at], *index_shape, *rest[at:])


def index_infer(m, *args):
    *metas, pattern = args
    shape, dims, at = index_shapes(metas, pattern)
    out = index_result_shape(m.shape, shape, dims, at)
    if prod(shape) and any(m.shape[d] == 0 for d in dims):
        raise IndexError("index is out of bounds for dimension with size 0")
    return Meta(out, m.dtype)


def numpy_index(indices, pattern, shape):
    """The NumPy index of a pattern, with its values checked."""
    rest = iter(indices)
    index = tuple(next(rest) if used else slice(None) for used in pattern)
    for d, i in enumerate(index):
        if not isinstance(i, slice):
            check_values(i, shape[d], d, negative=pattern[d] != FROM_ZERO)
    return index


def index_reference(x, *args):
    *indices, pattern = args
    if nothing_picked(x.shape, indices, pattern):
        return x.reshape(-1)[:0].reshape(index_result_shape(x.shape, *index_shapes(indices, pattern)))
    return x[numpy_index(indices, pattern, x.shape)]


def nothing_picked(shape, indices, pattern) -> bool:
    """Whether the result is empty: then PyTorch looks at no index."""
    return any(n == 0 and not (d < len(pattern) and pattern[d]) for d, n in enumerate(shape)) or any(
        0 in i.shape for i in indices
    )


def linear_indices(b, shape, indices, pattern):
    """The linear indices (IR) that an advanced index names, in the result's shape.

    Out of range ones stay out of range.
    """
    index_shape, dims, at = index_shapes(indices, pattern)
    out = index_result_shape(shape, index_shape, dims, at)
    strides = contiguous_strides(shape)
    k, n = len(index_shape), len(out)
    linear, valid = None, None
    for d, i in zip(dims, indices, strict=False):
        size = shape[d]
        i = b.cast(i, int64)
        if pattern[d] != FROM_ZERO:
            i = b.where(i < 0, i + size, i)
        if d != dims[0] or prod(shape[:d]) != 1:  # elsewhere a bad index gives a bad linear index
            ok = (i >= 0) & (i < size)
            valid = ok if valid is None else valid & ok
        i = i * strides[d]
        linear = i if linear is None else linear + i
    linear = aligned(b, linear, k, n, at)
    rest = [d for d in range(len(shape)) if d not in dims]
    for position, d in enumerate(rest):
        place = position if position < at else position + k
        if shape[d] != 1:
            linear = linear + b.iota([out[place] if q == place else 1 for q in range(n)], place) * strides[d]
    if valid is not None:
        linear = b.where(aligned(b, valid, k, n, at), linear, -1)
    return b.expand(linear, out)


def aligned(b, v, k: int, n: int, at: int):
    """An index value with its k dimensions at `at` among n."""
    shape = (1,) * (k - len(v.shape)) + tuple(v.shape)
    return b.reshape(v, (*(1,) * at, *shape, *(1,) * (n - at - k)))


def index_lower(b, x, *args):
    *indices, pattern = args
    return b.take(x, linear_indices(b, x.shape, indices, pattern))


def index_vjp(ctx, g):
    m, pattern = ctx.metas[0], ctx.attrs[0]
    indices = tuple(ctx.input(i) for i in range(1, len(ctx.metas)))
    zeros = filled(m.shape, 0, m.dtype)
    return (apply(index_put_op, (zeros, g, *indices), (pattern, True)), *(None for _ in indices))


index_op = Op("index", infer=index_infer, reference=index_reference, lower=index_lower, vjp=index_vjp, saves="12345678")


def put_infer(m, v, *args):
    *metas, pattern, accumulate = args
    shape, dims, at = index_shapes(metas, pattern)
    out = index_result_shape(m.shape, shape, dims, at)
    if not isinstance(v, type):
        try:
            fits = broadcast([v.shape, out]) == tuple(out)
        except RuntimeError:
            fits = False
        if not fits:
            raise RuntimeError(
                f"shape mismatch: value tensor of shape {list(v.shape)} cannot be broadcast to indexing result of "
                f"shape {list(out)}"
            )
        if v.dtype is not m.dtype:
            raise RuntimeError(
                f"Index put requires the source and destination dtypes match, got {m.dtype.label} for the destination "
                f"and {v.dtype.label} for the source."
            )
    return Meta(m.shape, m.dtype)


def put_reference(x, value, *args):
    *indices, pattern, accumulate = args
    out = x.copy()
    if nothing_picked(x.shape, indices, pattern):
        return out
    index = numpy_index(indices, pattern, x.shape)
    if accumulate:
        np.add.at(out, index, value)
    else:
        out[index] = value
    return out


def put_lower(b, x, value, *args):
    *indices, pattern, accumulate = args
    linear = linear_indices(b, x.shape, indices, pattern)
    value = b.cast(value, x.dtype) if hasattr(value, "kind") else b.const(value, x.dtype)
    return b.scatter("add" if accumulate else "set", x, linear, b.expand(value, linear.shape))


def put_vjp(ctx, g):
    pattern, accumulate = ctx.attrs
    indices = tuple(ctx.input(i) for i in range(2, len(ctx.metas)))
    to_self = to_value = None
    if ctx.needs[0]:
        to_self = g if accumulate else apply(index_put_op, (g, 0.0, *indices), (pattern, False))
    if ctx.needs[1]:
        to_value = apply(index_op, (g, *indices), (pattern,))
    return (to_self, to_value, *(None for _ in indices))


index_put_op = Op("index_put", infer=put_infer, reference=put_reference, lower=put_lower, vjp=put_vjp, saves="23456789")


def index_pattern(x, tensors):
    """(pattern, index tensors) of a list with None for kept dimensions."""
    if len(tensors) > x.ndim:
        raise IndexError(f"too many indices for tensor of dimension {x.ndim} (got {len(tensors)})")
    pattern, indices = tuple(t is not None for t in tensors), tuple(t for t in tensors if t is not None)
    if not nothing_picked(x._meta.shape, indices, pattern):
        for d, t in enumerate(tensors):
            if t is not None:
                check_index(t, x._meta.shape[d], d)
    return pattern, indices


def index_select_all(x, tensors):
    pattern, indices = index_pattern(x, tensors)
    return apply(index_op, (x, *indices), (pattern,))


def put(x, tensors, value, accumulate: bool):
    pattern, indices = index_pattern(x, tensors)
    if is_tensor(value):
        target = index_result_shape(x.shape, *index_shapes([i._meta for i in indices], pattern))
        extra = value.ndim - len(target)
        if extra > 0 and all(n == 1 for n in value.shape[:extra]):
            value = reshape(value, value.shape[extra:])
    return apply(index_put_op, (x, value, *indices), (pattern, accumulate))


def expanded_indices(x, indices) -> list:
    """The index tensors of index_put: masks become positions."""
    out: list = []
    for i in indices:
        if i is None:
            out.append(None)
        elif i.dtype in (bool_, uint8):
            for k, size in enumerate(i.shape):
                if size != x.shape[len(out) + k]:
                    raise IndexError(
                        f"The shape of the mask {list(i.shape)} at index {k} does not match the shape of the indexed "
                        f"tensor {list(x.shape)} at index {len(out) + k}"
                    )
            out.extend(nonzero(i, as_tuple=True))
        elif i.dtype in (int64, int32):
            out.append(i)
        else:
            raise IndexError(INDEX_TYPES)
    return out


def index_put(input, indices, values, accumulate: bool = False):
    """A copy of input with `values` written (or, with accumulate, added) at `indices`, a tuple of index tensors."""
    return put(input, expanded_indices(input, indices), values, bool(accumulate))



# -- masks -----------------------------------------------------------------------------------------------------------
def masked_select(input, mask, *, out=None):
    """The elements where mask is True, as a vector (mask and input broadcast).

    Needs the mask's values: runs what is recorded.
    """
    if mask.dtype is not bool_:
        raise RuntimeError("masked_select: expected BoolTensor for mask")
    shape = broadcast([input.shape, mask.shape])
    a, m = expand(input, *shape), expand(mask, *shape)
    result = (
        index_select_all(a, list(nonzero(m, as_tuple=True)))
        if shape
        else index_select_all(reshape(a, (1,)), list(nonzero(reshape(m, (1,)), as_tuple=True)))
    )
    return finish(result, out)


def masked_scatter(input, mask, source):
    """A copy of input with source's elements, in order, where mask is True."""
    if mask.dtype is not bool_:
        raise RuntimeError(f"masked_scatter_ only supports boolean masks, but got mask with dtype {mask.dtype.label}")
    if source.dtype is not input.dtype:
        raise RuntimeError(
            "masked_scatter: expected self and source to have same dtypes but got "
            f"{input.dtype.label} and {source.dtype.label}"
        )
    shape = broadcast([input.shape, mask.shape])
    positions = from_array(np.flatnonzero(np.broadcast_to(mask._array(), shape)))
    n = positions.shape[0]
    if source._meta.numel < n:
        raise RuntimeError(
            "masked_scatter: expected the number of elements in source to be at least the number of ones in mask"
        )
    a = reshape(clone_of(expand(input, *shape)), (prod(shape),))
    values = slice_op(reshape(source, (source._meta.numel,)), 0, 0, n, 1)
    return reshape(apply(index_put_op, (a, values, positions), ((True,), False)), shape)


# -- embedding -------------------------------------------------------------------------------------------------------

METHODS["__getitem__"], METHODS["__setitem__"] = getitem, setitem
for _f in (index_put, masked_select, masked_scatter):
    PUBLIC[_f.__name__] = METHODS[_f.__name__] = _f
METHODS["index_put_"] = inplace_of(index_put, "index_put_")
METHODS["masked_scatter_"] = inplace_of(masked_scatter, "masked_scatter_")

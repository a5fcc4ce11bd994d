"""Indexing: `x[...]`, `x[...] = v`, gather, scatter, the index_* family, masks and embedding.

What integers, slices, None and Ellipsis pick is a view (nothing runs). What index tensors pick is one `index` operation
on such a view; assignment through index tensors is one `index_put`. Lowered, both are a `take` or a `scatter` at
computed linear indices.
"""

from __future__ import annotations

from math import prod

import numpy as np

from ..autograd.node import Record
from ..dtypes import BOOL, FLOAT, INT, bool_, int32, int64, uint8
from ..graph.ir import broadcast
from ..graph.record import Meta, contiguous_strides
from ..tensor import assign, check_writable, clone_of, from_array, make_view, validate
from .creation import full_op
from .dispatch import METHODS, PUBLIC, Op, apply
from .elementwise import write_out
from .views import ViewOp, expand, region_vjp, reshape, select_op, slice_op, wrap_dim


def filled(shape, value, dtype):
    """A new tensor of one number."""
    return apply(full_op, (value,), (tuple(shape), dtype))


INDEX_TYPES = "tensors used as indices must be long, int, byte or bool tensors"


class OutOfRange(IndexError, RuntimeError):
    """An index out of range where PyTorch raises RuntimeError: catch it as either."""


# -- parsing ---------------------------------------------------------------------------------------------------------
def is_tensor(x) -> bool:
    return hasattr(x, "_meta")


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
                            "indexed tensor "
                            f"{list(shape)} at index {dim + k}"
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


def converted(value, dtype):
    """A value to be written into memory of `dtype`: a tensor of that dtype, or a number that fits it."""
    if is_tensor(value):
        return value if value.dtype is dtype else value.to(dtype)
    return bool(value) if dtype.category == BOOL else int(value) if dtype.category == INT else complex(value) if dtype.is_complex else float(value)


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
                        "tensor "
                        f"{list(x.shape)} at index {len(out) + k}"
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


def index_put_(self, indices, values, accumulate: bool = False):
    """In-place form of `index_put`."""
    check_writable(self)
    return assign(self, index_put(self, indices, values, accumulate))


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
    return result if out is None else write_out(out, result)


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
                        else f"Expected index {list(index.shape)} to be no larger than self {list(m.shape)} "
                        f"apart from dimension {dim} "
                        f"and to be no larger size than src {list(src.shape)}"
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
    from .views import as_strided_scatter

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
        from .views import as_strided_scatter

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
    return result if out is None else write_out(out, result)


def scatter_add(input, dim: int, index, src, *, out=None):
    """A copy of input with src's elements added at index along dim."""
    dim, src = prepared("scatter_add", input, dim, index, src)
    result = apply(scatter_add_op, (input, index, src), (dim,))
    return result if out is None else write_out(out, result)


def scatter_reduce(input, dim: int, index, src, reduce: str, *, include_self: bool = True, out=None):
    """A copy of input with src's elements reduced ("sum", "prod", "mean", "amax", "amin") into index along dim."""
    dim, src = prepared("scatter_reduce", input, dim, index, src)
    if reduce not in UFUNCS:
        raise RuntimeError(f"reduce argument must be either sum, prod, mean, amax or amin, got {reduce}.")
    result = apply(scatter_reduce_op, (input, index, src), (dim, reduce, bool(include_self)))
    return result if out is None else write_out(out, result)


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
    return result if out is None else write_out(out, result)


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
    return result if out is None else write_out(out, result)


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
    return result if out is None else write_out(out, result)


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
    return result if out is None else write_out(out, result)


def take(input, index, *, out=None):
    """The elements of input, seen as a vector, at index. IndexError out of range."""
    n = input._meta.numel
    check_index(
        index, n, 0, message=f"out of range: tried to access index {first_bad(index, n)} on a tensor of {n} elements."
    )
    result = apply(index_op, (reshape(input, (-1,)) if n else reshape(input, (0,)), index), ((True,),))
    return result if out is None else write_out(out, result)


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
            f"{source._meta.numel}, "
            f"index.numel() = {index._meta.numel}"
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
            f"{input.ndim} dimensions for "
            f"input, and {indices.ndim} dimensions for indices"
        )
    dim = wrap_dim(dim, input.ndim)
    shape = broadcast([[1 if d == dim else n for d, n in enumerate(t.shape)] for t in (input, indices)])
    a = expand(input, *[input.shape[d] if d == dim else n for d, n in enumerate(shape)])
    i = expand(indices, *[indices.shape[d] if d == dim else n for d, n in enumerate(shape)])
    i = where3(i < 0, i + input.shape[dim], i)
    return gather(a, dim, i, out=out)


# -- masks -----------------------------------------------------------------------------------------------------------
def where3(condition, a, b):
    return PUBLIC["where"](condition, a, b)


def fill_infer(x, mask, value):
    if mask.dtype is not bool_:
        raise RuntimeError(f"masked_fill_ only supports boolean masks, but got mask with dtype {mask.dtype.label}")
    if not isinstance(value, type) and value.shape:
        raise RuntimeError(
            f"masked_fill_ only supports a 0-dimensional value tensor, but got tensor with {len(value.shape)} "
            "dimension(s)."
        )
    if value is float and x.dtype.category != FLOAT:
        raise RuntimeError("value cannot be converted to type without overflow")
    return Meta(broadcast([x.shape, mask.shape]), x.dtype)


def fill_vjp(ctx, g):
    mask = ctx.input(1)
    to_value = None
    if ctx.needs[2]:
        to_value = where3(mask, g, 0.0).sum()
    return (masked_fill(g, mask, 0.0) if ctx.needs[0] else None, None, to_value)


masked_fill_op = Op(
    "masked_fill",
    infer=fill_infer,
    reference=lambda x, mask, value: np.where(mask, np.asarray(value).astype(x.dtype), x),
    lower=lambda b, x, mask, value: b.where(
        mask, b.cast(value, x.dtype) if hasattr(value, "kind") else b.const(value, x.dtype), x
    ),
    vjp=fill_vjp,
    saves="1",
)


def masked_fill(input, mask, value):
    """A copy of input with `value` where mask is True; mask broadcasts. RuntimeError unless mask is bool."""
    if is_tensor(value):
        value = value if value.dtype is input.dtype else value.to(input.dtype)
    else:
        if isinstance(value, complex) and not input.dtype.is_complex:
            raise RuntimeError(f"value cannot be converted to type {input.dtype.label.lower()} without overflow")
        value = converted(value, input.dtype)
    return apply(masked_fill_op, (input, mask, value))


def masked_fill_(self, mask, value):
    """In-place form of `masked_fill`."""
    check_writable(self)
    return assign(self, masked_fill(self, mask, value))


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
    return result if out is None else write_out(out, result)


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


def nonzero(input, *, as_tuple: bool = False, out=None):
    """The indices of the elements that are not zero: (count, dimensions), or one vector a dimension.

    Runs what is recorded.
    """
    array = input._array()
    if as_tuple:
        return tuple(
            from_array(np.ascontiguousarray(i, np.int64)) for i in np.nonzero(array if array.ndim else array.reshape(1))
        )
    found = np.argwhere(array) if array.ndim else np.empty((int(bool(array)), 0))
    result = from_array(np.ascontiguousarray(found, np.int64))
    return result if out is None else write_out(out, result)


def unravel_index(indices, shape):
    """The coordinates, one tensor a dimension, of indices into a flattened tensor of this shape."""
    shape = (shape,) if isinstance(shape, int) else tuple(int(n) for n in shape)
    if indices.dtype.category != INT:
        raise ValueError(f"expected 'indices' to be integer dtype, but got {indices.dtype}")
    if any(n < 0 for n in shape):
        raise ValueError(f"'shape' cannot have negative values, but got {shape}")
    return tuple((indices // step) % n for step, n in zip(contiguous_strides(shape), shape, strict=True))


def argwhere(input):
    """The indices of the elements that are not zero, one row each."""
    return nonzero(input)


# -- embedding -------------------------------------------------------------------------------------------------------
OUTSIDE = "index out of range in self"


def embedding_infer(weight, index, padding_idx):
    if index.dtype not in (int64, int32):
        raise RuntimeError(
            "Expected tensor for argument #1 'indices' to have one of the following scalar types: Long, Int; but got "
            f"torch.{index.dtype.label}Tensor instead (while checking arguments for embedding)"
        )
    if len(weight.shape) != 2:
        raise RuntimeError("'weight' must be 2-D")
    return Meta((*index.shape, weight.shape[1]), weight.dtype)


def embedding_reference(weight, index, padding_idx):
    check_values(index, weight.shape[0], 0, message=OUTSIDE, negative=False)
    return weight[index]


def row_indices(b, index, width: int):
    """The linear indices (IR) of whole rows."""
    n = len(index.shape)
    rows = b.reshape(b.cast(index, int64), (*index.shape, 1)) * width
    return rows + b.iota((*(1,) * n, width), n)


def embedding_vjp(ctx, g):
    return (apply(embedding_backward_op, (g, ctx.input(1)), (ctx.metas[0].shape[0], ctx.attrs[0])), None)


def embedding_backward_reference(g, index, rows, padding_idx):
    out = np.zeros((rows, g.shape[-1]), g.dtype)
    flat, values = index.reshape(-1), g.reshape(-1, g.shape[-1])
    if padding_idx is not None:
        keep = flat != padding_idx
        flat, values = flat[keep], values[keep]
    check_values(flat, rows, 0, message=OUTSIDE, negative=False)
    np.add.at(out, flat, values)
    return out


def embedding_backward_lower(b, g, index, rows, padding_idx):
    width = g.shape[-1]
    zeros = b.full((rows, width), 0, g.dtype)
    if padding_idx is not None:
        skip = b.reshape(index.eq(padding_idx), (*index.shape, 1))
        g = b.where(skip, 0, g)
    return b.scatter("add", zeros, row_indices(b, index, width), g)


def embedding_backward_vjp(ctx, g):
    index, padding_idx = ctx.input(1), ctx.attrs[1]
    picked = apply(embedding_op, (g, index), (padding_idx,))
    if padding_idx is not None:
        picked = masked_fill(picked, reshape(index == padding_idx, (*index.shape, 1)), 0.0)
    return (picked, None)


embedding_op = Op(
    "embedding",
    infer=embedding_infer,
    reference=embedding_reference,
    lower=lambda b, weight, index, padding_idx: b.take(weight, row_indices(b, index, weight.shape[1])),
    vjp=embedding_vjp,
    saves="1",
)
embedding_backward_op = Op(
    "embedding_dense_backward",
    infer=lambda g, index, rows, padding_idx: Meta((rows, g.shape[-1]), g.dtype),
    reference=embedding_backward_reference,
    lower=embedding_backward_lower,
    vjp=embedding_backward_vjp,
    saves="1",
)


def embedding(
    input,
    weight,
    padding_idx: int | None = None,
    max_norm: float | None = None,
    norm_type: float = 2.0,
    scale_grad_by_freq: bool = False,
    sparse: bool = False,
):
    """Rows of `weight` (count, width) at `input`: (..., width), as `torch.nn.functional.embedding`.

    padding_idx: a row that gets no gradient. max_norm: rows in use are first scaled down, in place, to this norm.
    Raises IndexError out of range.

    >>> import jitorch as torch
    >>> from jitorch.ops.indexing import embedding
    >>> embedding(torch.tensor([1, 0]), torch.tensor([[1., 2.], [3., 4.]]))
    tensor([[3., 4.],
            [1., 2.]])
    """
    rows = weight.shape[0]
    if padding_idx is not None:
        if not -rows <= padding_idx < rows:
            raise AssertionError("Padding_idx must be within num_embeddings")
        padding_idx %= rows
    check_index(input, rows, 0, message=OUTSIDE, negative=False)
    if max_norm is not None:
        renormalise(weight, input, max_norm, norm_type)
    if scale_grad_by_freq:
        counts = np.bincount(input._array().reshape(-1), minlength=rows)
        weight = scale_gradient(weight, from_array((1 / np.maximum(counts, 1)).astype(weight.dtype.np).reshape(-1, 1)))
    return apply(embedding_op, (weight, input), (padding_idx,))


def renormalise(weight, index, max_norm: float, norm_type: float) -> None:
    """Scale the rows in use down to `max_norm`, in place and unseen by autograd."""
    from ..autograd.node import state

    was, state.enabled = state.enabled, False
    try:
        rows = from_array(np.unique(index._array()).astype(np.int64))
        used = index_select(weight, 0, rows)
        norm = np.linalg.norm(used._array(), norm_type, axis=1, keepdims=True)
        scale = np.where(norm > max_norm, max_norm / (norm + 1e-7), 1).astype(weight.dtype.np)
        assign(
            weight.detach(), apply(index_put_op, (weight.detach(), used * from_array(scale), rows), ((True,), False))
        )
    finally:
        state.enabled = was


scale_gradient_op = Op(
    "_scale_gradient",
    infer=lambda x, scale: Meta(x.shape, x.dtype),
    reference=lambda x, scale: x.copy(),
    lower=lambda b, x, scale: b.map("copy", x),
    vjp=lambda ctx, g: (g * ctx.input(1), None),
    saves="1",
)


def scale_gradient(x, scale):
    """x itself, its gradient multiplied by `scale`."""
    return apply(scale_gradient_op, (x, scale))


def embedding_bag(
    input,
    weight,
    offsets=None,
    max_norm=None,
    norm_type: float = 2.0,
    scale_grad_by_freq: bool = False,
    mode: str = "mean",
    sparse: bool = False,
    per_sample_weights=None,
    include_last_offset: bool = False,
    padding_idx: int | None = None,
):
    """Sums, means or maxima of the embeddings of bags of indices.

    Bags are the rows of a matrix, or the parts of a vector that begin at `offsets`.
    Bags without an index (other than padding_idx) give zeros. As `torch.nn.functional.embedding_bag`.
    """
    if mode not in ("sum", "mean", "max"):
        raise ValueError("mode has to be one of sum, mean or max")
    if per_sample_weights is not None and mode != "sum":
        raise NotImplementedError(
            "embedding_bag: per_sample_weights was not None. per_sample_weights is only supported for mode='sum' (got "
            f"mode='{mode}'). "
            "Please open a feature request on GitHub."
        )
    if per_sample_weights is not None and input.shape != per_sample_weights.shape:
        raise ValueError(
            f"embedding_bag: If per_sample_weights ({list(per_sample_weights.shape)}) is not None, then it must have "
            f"the same shape as the input ({list(input.shape)})"
        )
    if input.ndim == 2:
        if offsets is not None:
            raise ValueError(
                "if input is 2D, then offsets has to be None, as input is treated is a mini-batch of fixed length "
                "sequences. However, found offsets of type "
                f"{type(offsets)}"
            )
        bags, owner = input.shape[0], np.repeat(np.arange(input.shape[0]), input.shape[1])
    elif input.ndim == 1:
        if offsets is None:
            raise ValueError("offsets has to be a 1D Tensor but got None")
        if offsets.ndim != 1:
            raise ValueError("offsets has to be a 1D Tensor")
        starts = offsets._array()
        starts = starts[:-1] if include_last_offset else starts
        if len(starts) and starts[0] != 0:
            raise ValueError(
                "offsets[0] has to be 0, i.e., the first sequence in the mini-batch has to start from position 0. "
                f"However, got {starts[0]}"
            )
        bags, owner = len(starts), np.searchsorted(starts, np.arange(input.shape[0]), side="right") - 1
    else:
        raise ValueError(f"input has to be 1D or 2D Tensor, but got Tensor of dimension {input.ndim}")
    indices = reshape(input, (input._meta.numel,))
    rows = embedding(indices, weight, padding_idx, max_norm, norm_type, scale_grad_by_freq)
    if per_sample_weights is not None:
        rows = rows * reshape(per_sample_weights, (indices.shape[0], 1))
    counted = np.ones(len(owner), bool)
    if padding_idx is not None:
        counted = indices._array() != padding_idx % weight.shape[0]
        rows = masked_fill(rows, from_array(~counted[:, None]), 0.0 if mode != "max" else float("-inf"))
    place, width = from_array(owner.astype(np.int64)), weight.shape[1]
    zeros = filled((bags, width), 0, weight.dtype)
    if mode == "max":
        result = scatter_reduce(
            zeros, 0, expand(reshape(place, (len(owner), 1)), len(owner), width), rows, "amax", include_self=False
        )
        full = np.bincount(owner[counted], minlength=bags) > 0
        return masked_fill(result, from_array(~full[:, None]), 0.0)
    total = apply(index_put_op, (zeros, rows, place), ((True,), True))
    if mode == "sum":
        return total
    counts = np.maximum(np.bincount(owner[counted], minlength=bags), 1).astype(weight.dtype.np)
    return total / from_array(counts[:, None])


def nonzero_static(input, *, size: int, fill_value: int = -1, out=None):
    """`nonzero` with so many rows: cut, or filled up with fill_value."""
    found = nonzero(input)._array()
    rows = np.full((size, found.shape[1]), fill_value, np.int64)
    rows[: min(size, len(found))] = found[:size]
    result = from_array(rows)
    return result if out is None else write_out(out, result)


def inplace(name: str, function):
    def method(self, *args, **kwargs):
        check_writable(self)
        return assign(self, function(self, *args, **kwargs))

    method.__name__ = method.__qualname__ = name
    method.__doc__ = f"In-place form of `{name[:-1]}`. RuntimeError for a leaf that requires grad."
    METHODS[name] = method


METHODS["__getitem__"], METHODS["__setitem__"] = getitem, setitem
for _f in (
    index_put,
    gather,
    scatter,
    scatter_add,
    scatter_reduce,
    index_select,
    index_add,
    index_copy,
    index_fill,
    index_reduce,
    take,
    take_along_dim,
    masked_fill,
    masked_select,
    masked_scatter,
    nonzero,
    nonzero_static,
    argwhere,
):
    PUBLIC[_f.__name__] = METHODS[_f.__name__] = _f
for _f in (scatter, scatter_add, scatter_reduce, index_add, index_copy, index_fill, index_reduce, masked_scatter):
    inplace(_f.__name__ + "_", _f)
PUBLIC["unravel_index"] = unravel_index
PUBLIC["put"] = METHODS["put"] = put_flat
inplace("put_", put_flat)
METHODS["index_put_"], METHODS["masked_fill_"] = index_put_, masked_fill_
PUBLIC["embedding"] = lambda weight, indices, padding_idx=-1, scale_grad_by_freq=False, sparse=False: embedding(
    indices, weight, None if padding_idx < 0 else padding_idx, scale_grad_by_freq=scale_grad_by_freq
)

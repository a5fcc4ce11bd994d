"""Values written where a bool tensor is True, and where elements are not zero."""

from __future__ import annotations

import numpy as np

from ..dtypes import BOOL, FLOAT, INT, bool_
from ..graph.ir import broadcast
from ..graph.record import Meta, contiguous_strides
from ..tensor import from_array
from .dispatch import METHODS, PUBLIC, Op, apply
from .publish import finish, inplace_of


def is_tensor(x) -> bool:
    return hasattr(x, "_meta")


def converted(value, dtype):
    """A value to be written into memory of `dtype`: a tensor of that dtype, or a number that fits it."""
    if is_tensor(value):
        return value if value.dtype is dtype else value.to(dtype)
    return bool(value) if dtype.category == BOOL else int(value) if dtype.category == INT else complex(value) if dtype.is_complex else float(value)


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
    return finish(result, out)


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


def nonzero_static(input, *, size: int, fill_value: int = -1, out=None):
    """`nonzero` with so many rows: cut, or filled up with fill_value."""
    found = nonzero(input)._array()
    rows = np.full((size, found.shape[1]), fill_value, np.int64)
    rows[: min(size, len(found))] = found[:size]
    result = from_array(rows)
    return finish(result, out)

for _f in (masked_fill, nonzero, nonzero_static, argwhere):
    PUBLIC[_f.__name__] = METHODS[_f.__name__] = _f
METHODS["masked_fill_"] = inplace_of(masked_fill, "masked_fill_")
PUBLIC["unravel_index"] = unravel_index

"""Tensors from sizes and numbers."""
from __future__ import annotations

import numpy as np

from .. import dtypes
from ..device import check as check_device
from ..graph.record import Meta
from .dispatch import METHODS, PUBLIC, Op, apply
from .views import sizes

full_op = Op(
    "full",
    infer=lambda value, shape, dtype: Meta(shape, dtype),
    reference=lambda value, shape, dtype: np.full(shape, value, dtype.np),
    lower=lambda b, value, shape, dtype: b.full(shape, b.cast(value, dtype) if hasattr(value, "kind") else value, dtype))


def make_full(shape, value, dtype, device, requires_grad, out=None):
    check_device(device)
    for n in shape:
        if n < 0:
            raise RuntimeError(f"Trying to create tensor with negative dimension {n}: {list(shape)}")
    result = apply(full_op, (value,), (tuple(shape), dtype))
    if out is not None:
        from .elementwise import write_out
        return write_out(out, result)
    return result.requires_grad_(True) if requires_grad else result


def filler(name: str, value: int):
    def make(*size, out=None, dtype=None, layout=None, device=None, pin_memory=False, requires_grad: bool = False, names=None):
        return make_full(sizes(size), value, dtype or dtypes.get_default_dtype(), device, requires_grad, out)

    def make_like(input, *, dtype=None, layout=None, device=None, requires_grad: bool = False, memory_format=None):
        return make_full(input.shape, value, dtype or input.dtype, device, requires_grad)

    def make_new(self, *size, dtype=None, device=None, requires_grad: bool = False, layout=None, pin_memory=False):
        return make_full(sizes(size), value, dtype or self.dtype, device, requires_grad)

    make.__name__, make_like.__name__, make_new.__name__ = name, name + "_like", "new_" + name
    make.__doc__ = f"A tensor of the given sizes filled with {value}. RuntimeError for a negative size."
    make_like.__doc__ = f"As `{name}`, with the sizes and dtype of `input`."
    make_new.__doc__ = f"As `{name}`, with this tensor's dtype."
    PUBLIC[name], PUBLIC[name + "_like"], METHODS["new_" + name] = make, make_like, make_new


for _name, _value in (("zeros", 0), ("ones", 1), ("empty", 0)):
    filler(_name, _value)

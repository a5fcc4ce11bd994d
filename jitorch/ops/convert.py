"""Changes of dtype and layout."""
from __future__ import annotations

from .. import dtypes
from ..device import check as check_device
from ..device import device as Device
from ..graph.record import Meta
from ..tensor import clone_of
from .dispatch import METHODS, Op, apply

cast_op = Op(
    "_to_copy",
    infer=lambda m, dtype: Meta(m.shape, dtype),
    reference=lambda x, dtype: (x.real if x.dtype.kind == "c" and not dtype.is_complex and dtype is not dtypes.bool_ else x).astype(dtype.np),
    lower=lambda b, x, dtype: b.cast(x, dtype) if x.dtype is not dtype else b.map("copy", x),
    vjp=lambda ctx, g: (g,),      # the engine casts it back
    grad_name="ToCopyBackward0")


def to(self, *args, dtype=None, device=None, non_blocking: bool = False, copy: bool = False, memory_format=None):
    """In another dtype (`to(torch.float64)`), on another device (`to("cpu")`), or as another tensor is (`to(other)`).

    >>> import jitorch as torch
    >>> torch.tensor([1.7]).to(torch.int64)
    tensor([1])
    """
    for a in args:
        if isinstance(a, dtypes.dtype):
            dtype = a
        elif isinstance(a, (str, Device)) or (isinstance(a, int) and not isinstance(a, bool)):
            device = a
        elif hasattr(a, "_meta"):
            dtype, device = a.dtype, a.device
        elif a is not None and not isinstance(a, bool):
            raise TypeError(f"to() received an invalid combination of arguments - got ({type(a).__name__})")
    check_device(device)
    if (dtype is None or dtype is self._meta.dtype) and not copy:
        return self
    return apply(cast_op, (self,), (dtype or self._meta.dtype,))


def contiguous(self, memory_format=None):
    """Itself if its elements lie in row-major order, else a copy that does."""
    return self if self._meta.contiguous else clone_of(self)


METHODS["to"], METHODS["contiguous"] = to, contiguous
METHODS["is_contiguous"] = lambda self, memory_format=None: self._meta.contiguous
METHODS["type_as"] = lambda self, other: to(self, other.dtype)
CASTS = ("half", "bfloat16", "float", "double", "cfloat", "cdouble", "int", "long", "short", "bool")
for _name, _dtype in {**{n: dtypes.BY_NAME[n] for n in CASTS}, "char": dtypes.int8, "byte": dtypes.uint8}.items():
    METHODS[_name] = lambda self, _dtype=_dtype, memory_format=None: to(self, _dtype)
METHODS["cpu"] = lambda self, memory_format=None: self

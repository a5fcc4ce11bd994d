"""jitorch: a deep learning framework that feels like PyTorch and runs like a compiler."""
from __future__ import annotations

import importlib
import math

from . import config
from .device import device
from .dtypes import (
    bool_ as bool,
)
from .dtypes import (
    bfloat16,
    complex64,
    complex128,
    dtype,
    float16,
    float32,
    float64,
    get_default_dtype,
    int8,
    int16,
    int32,
    int64,
    promote_types,
    set_default_dtype,
    uint8,
)
from .graph.record import Size
from .layouts import channels_last, channels_last_3d, contiguous_format, layout, memory_format, preserve_format, sparse_coo, strided
from .tensor import Tensor, attach_methods, from_numpy, tensor
from . import autograd
from .ops import families
from .autograd import enable_grad, inference_mode, is_grad_enabled, no_grad, set_grad_enabled

half, float, double, cfloat, cdouble = float16, float32, float64, complex64, complex128
short, int, long = int16, int32, int64
e, pi, inf, nan, newaxis = math.e, math.pi, math.inf, math.nan, None
__version__ = "0.1.0"

attach_methods()
globals().update(families.PUBLIC)


def trace(input, *args, **kwargs):
    """Of a function or module: `jitorch.tracing.trace`, which captures its calls. Of a square matrix, as in PyTorch: the sum of its diagonal.

    >>> import jitorch as torch
    >>> torch.trace(torch.ones(3, 3)), torch.trace(lambda x: x * 2)(torch.ones(1))
    (tensor(3.), tensor([2.]))
    """
    if isinstance(input, Tensor) or not callable(input):
        return families.PUBLIC["trace"](input, *args, **kwargs)
    from . import tracing
    return tracing.trace(input, *args, **kwargs)


# Imported when first asked for, so that `import jitorch` stays fast.
LAZY = frozenset(
    "nn optim utils linalg fft masked signal func random special cuda jit amp backends version compiler testing distributed multiprocessing types cpu "
    "serialization sparse mps xpu accelerator distributions".split()
)
LAZY_NAMES = {
    "vmap": "func", "save": "serialization", "load": "serialization", "set_printoptions": "printing", "compile": "tracing", "as_torch": "alias",
    "autocast": "amp", "GradScaler": "amp",
    **dict.fromkeys(("is_autocast_enabled", "is_autocast_cpu_enabled", "get_autocast_dtype"), "amp.autocast"),
}


def __getattr__(name: str):
    if name in LAZY:
        return importlib.import_module("." + name, __name__)
    if name in LAZY_NAMES:
        return getattr(importlib.import_module("." + LAZY_NAMES[name], __name__), name)
    if not name.startswith("__"):
        settings = importlib.import_module(".settings", __name__)
        if name in settings.NAMES:
            return getattr(settings, name)
    from .missing import message

    raise AttributeError(message("jitorch", name, {*globals(), *LAZY, *LAZY_NAMES}))


__all__ = ["Size", "Tensor", "autograd", "bool", "config", "contiguous_format", "device", "dtype", "enable_grad", "float32", "float64", "from_numpy",
           "get_default_dtype", "inference_mode", "int8", "int16", "int32", "int64", "is_grad_enabled", "no_grad",
           "preserve_format", "promote_types", "set_default_dtype", "set_grad_enabled", "sparse_coo", "strided", "tensor", "uint8",
           "bfloat16", "complex64", "complex128", "float16", "channels_last", "channels_last_3d", "layout", "memory_format",
           "double", "float", "int", "long", "short"]

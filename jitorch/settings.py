"""Switches of the whole process that PyTorch has: threads, determinism, the default device.

What they promise holds here anyway (results don't depend on threads, and are the same in every run) or has no meaning without a GPU;
the functions exist so that programs that call them run, and answer truthfully.
"""

from __future__ import annotations

import sys

from . import dtypes
from .device import check, cpu
from .device import device as Device


def get_num_threads() -> int:
    """How many threads run kernels."""
    from .kernels.cpu import executor

    return executor.get_num_threads()


def set_num_threads(n: int) -> None:
    """Set how many threads run kernels. RuntimeError for less than one."""
    from .kernels.cpu import executor

    if not isinstance(n, int):
        raise TypeError(f"set_num_threads expects an int, but got {type(n).__name__}")
    if n < 1:
        raise RuntimeError("set_num_threads expects a positive integer")
    executor.set_num_threads(n)


_state = {"deterministic": False, "warn_only": False, "precision": "highest", "interop": 1, "warn_always": False}


def get_num_interop_threads() -> int:
    """How many operations run side by side: one program at a time."""
    return _state["interop"]  # type: ignore[return-value]


def set_num_interop_threads(n: int) -> None:
    """Accepted: programs run one after another. RuntimeError for less than one."""
    if n < 1:
        raise RuntimeError("set_num_interop_threads expects a positive integer")
    _state["interop"] = n


def use_deterministic_algorithms(mode: bool, *, warn_only: bool = False) -> None:
    """Accepted: every algorithm is deterministic."""
    _state.update(deterministic=bool(mode), warn_only=bool(warn_only))


def are_deterministic_algorithms_enabled() -> bool:
    """What `use_deterministic_algorithms` was told."""
    return bool(_state["deterministic"])


def is_deterministic_algorithms_warn_only_enabled() -> bool:
    """What `use_deterministic_algorithms` was told of warn_only."""
    return bool(_state["warn_only"])


def set_deterministic_debug_mode(mode) -> None:
    """Accepted: "default", "warn" or "error", or 0 to 2."""
    number = {"default": 0, "warn": 1, "error": 2}.get(mode, mode)
    if number not in (0, 1, 2):
        raise RuntimeError(f"invalid value of debug_mode, expected 0, 1, 2, default, warn, error, but got {mode}")
    use_deterministic_algorithms(number > 0, warn_only=number == 1)


def get_deterministic_debug_mode() -> int:
    """0, 1 or 2."""
    return 0 if not _state["deterministic"] else 1 if _state["warn_only"] else 2


def set_float32_matmul_precision(precision: str) -> None:
    """Accepted: "highest", "high" or "medium"; products of float32 are always computed in float32."""
    if precision not in ("highest", "high", "medium"):
        raise RuntimeError(f"{precision} is not one of 'highest', 'high', or 'medium'")
    _state["precision"] = precision


def get_float32_matmul_precision() -> str:
    """What `set_float32_matmul_precision` was told."""
    return str(_state["precision"])


def set_flush_denormal(mode: bool) -> bool:
    """False: denormal numbers are kept."""
    return False


def set_warn_always(b: bool) -> None:
    """Accepted: warnings go through Python's filters."""
    _state["warn_always"] = bool(b)


def is_warn_always_enabled() -> bool:
    """What `set_warn_always` was told."""
    return bool(_state["warn_always"])


def get_default_device() -> Device:
    """The device that new tensors live on."""
    return cpu


def set_default_device(device) -> None:
    """Accepted for the CPU; RuntimeError for another device."""
    check(device)


def set_default_tensor_type(t) -> None:
    """The default dtype by its tensor type: `torch.DoubleTensor` or its name."""
    name = t if isinstance(t, str) else t.__name__
    label = name.removeprefix("torch.").removesuffix("Tensor")
    found = [d for d in dtypes.ALL if d.label == label and d.is_floating_point]
    if not found:
        raise TypeError(f"invalid type object: only floating-point types are supported as the default type, got {name}")
    dtypes.set_default_dtype(found[0])


def typename(obj) -> str:
    """The type of an object with its module; of a tensor `torch.FloatTensor` and the like."""
    if hasattr(obj, "_meta"):
        return obj.type()
    kind = obj if isinstance(obj, type) else type(obj)
    return kind.__qualname__ if kind.__module__ in ("builtins", None) else f"{kind.__module__}.{kind.__qualname__}"


def compiled_with_cxx11_abi() -> bool:
    """True: there is no C++ part of its own."""
    return True


def get_device_module(device=None):
    """The module of a kind of device: `torch.cuda` or `torch.cpu`."""
    import importlib

    kind = check(device).type if device is None or Device(device).type == "cpu" else Device(device).type
    return importlib.import_module("." + kind, __package__)


def is_inference_mode_enabled() -> bool:
    """Whether recording is off because of `inference_mode`."""
    from .autograd.node import state

    return state.inference


def sym(convert):
    return lambda x: convert(x)


sym_int, sym_float, sym_not = sym(int), sym(float), sym(lambda x: not x)


def sym_max(a, b):
    """max(a, b) of numbers."""
    return max(a, b)


def sym_min(a, b):
    """min(a, b) of numbers."""
    return min(a, b)


def _check(cond, message=None) -> None:
    """RuntimeError with the message (a function that gives it, or a string) unless cond holds."""
    if not cond:
        raise RuntimeError(message() if callable(message) else message or "Expected cond to be True, but got False.")


NAMES = [n for n, v in vars(sys.modules[__name__]).items() if callable(v) and getattr(v, "__module__", "") == __name__ and n != "sym"]

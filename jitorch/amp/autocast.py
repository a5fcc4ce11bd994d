"""Blocks that PyTorch runs in lower precision. On the CPU jitorch computes them in the precision that the tensors have, which is at least
what was asked for, and says so once; without CUDA a block for it is off, as in PyTorch.
"""

from __future__ import annotations

import functools
import threading
import warnings

from ..dtypes import bfloat16, dtype, float16

DEFAULTS = {"cpu": bfloat16, "cuda": float16}


class _State(threading.local):
    enabled = False         # is the program inside a block


state = _State()
_said: set[str] = set()


def once(text: str) -> None:
    if text not in _said:
        _said.add(text)
        warnings.warn(text, stacklevel=4)


def is_autocast_available(device_type: str) -> bool:
    """Whether PyTorch has autocast for a kind of device."""
    return device_type in DEFAULTS


class autocast:
    """A context manager and decorator for PyTorch's programs: values stay in their own precision. RuntimeError for an unknown device.

    >>> import jitorch as torch
    >>> with torch.autocast("cpu", enabled=False):
    ...     torch.ones(1)
    tensor([1.])
    """

    def __init__(self, device_type: str, dtype: dtype | None = None, enabled: bool = True, cache_enabled: bool | None = None):
        if not isinstance(device_type, str):
            raise ValueError(f"Expected `device_type` of type `str`, got: `{type(device_type)}`")
        if device_type not in DEFAULTS:
            raise RuntimeError(f"User specified an unsupported autocast device_type '{device_type}'")
        self.device, self.fast_dtype = device_type, dtype or DEFAULTS[device_type]
        self._enabled = enabled and device_type == "cpu"
        if enabled and device_type == "cuda":
            once("User provided device_type of 'cuda', but CUDA is not available. Disabling")

    def __enter__(self):
        self.before = state.enabled
        state.enabled = self._enabled
        if self._enabled:
            once(
                f"autocast: jitorch computes in the precision of the tensors on the CPU, not in {self.fast_dtype}; "
                "convert the model (model.bfloat16()) for less"
            )
        return self

    def __exit__(self, *exc) -> None:
        state.enabled = self.before

    def __call__(self, function):
        @functools.wraps(function)
        def wrapped(*args, **kwargs):
            with self:
                return function(*args, **kwargs)

        return wrapped


def is_autocast_enabled(device_type: str | None = None) -> bool:
    """Whether the program is inside an autocast block (for the CPU)."""
    return state.enabled and device_type in (None, "cpu")


def is_autocast_cpu_enabled() -> bool:
    """Whether the program is inside an autocast block for the CPU."""
    return is_autocast_enabled("cpu")


def get_autocast_dtype(device_type: str) -> dtype:
    """The dtype that PyTorch would compute in."""
    return DEFAULTS[device_type]


def custom_fwd(fwd=None, *, device_type: str = "cuda", cast_inputs=None):
    """Marks the forward of a custom Function: given back as it is."""
    return fwd if fwd is not None else lambda f: f


def custom_bwd(bwd=None, *, device_type: str = "cuda"):
    """Marks the backward of a custom Function: given back as it is."""
    return bwd if bwd is not None else lambda f: f

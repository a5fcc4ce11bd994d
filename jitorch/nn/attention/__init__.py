"""Which algorithm attention uses, as `torch.nn.attention`: the engine chooses, whatever is asked for."""

from __future__ import annotations

from contextlib import contextmanager
from enum import Enum


class SDPBackend(Enum):
    """PyTorch's algorithms for scaled dot product attention."""

    ERROR = -1
    MATH = 0
    FLASH_ATTENTION = 1
    EFFICIENT_ATTENTION = 2
    CUDNN_ATTENTION = 3
    OVERRIDEABLE = 4


@contextmanager
def sdpa_kernel(backends, set_priority: bool = False):
    """Accepted."""
    yield


__all__ = ["SDPBackend", "sdpa_kernel"]

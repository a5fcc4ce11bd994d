"""`torch.backends.cudnn`: not there; its switches can be set, and have no effect."""

from __future__ import annotations

from contextlib import contextmanager

enabled, benchmark, deterministic, allow_tf32 = True, False, False, False
benchmark_limit = 10


def is_available() -> bool:
    """Whether cuDNN is there."""
    return False


def version() -> None:
    """cuDNN's version: None."""
    return None


@contextmanager
def flags(enabled: bool = True, benchmark: bool = False, benchmark_limit: int = 10, deterministic: bool = False, allow_tf32: bool = True):
    """Accepted."""
    yield

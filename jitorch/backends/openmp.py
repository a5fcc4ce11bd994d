"""`torch.backends.openmp`: not there."""

from __future__ import annotations


def is_available() -> bool:
    """Whether it is there."""
    return False

"""`torch.backends.mps`: not there."""

from __future__ import annotations


def is_available() -> bool:
    """Whether there is such a device."""
    return False


def is_built() -> bool:
    """Whether this build knows such a device."""
    return False

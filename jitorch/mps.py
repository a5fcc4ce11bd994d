"""`torch.mps`: there is no such device."""

from __future__ import annotations


def is_available() -> bool:
    """Whether there is such a device."""
    return False


def device_count() -> int:
    """How many there are."""
    return 0


def empty_cache() -> None:
    """Nothing to give back."""


def synchronize(device=None) -> None:
    """Nothing to wait for."""


def manual_seed(seed: int) -> None:
    """Accepted, so that programs can seed everything."""

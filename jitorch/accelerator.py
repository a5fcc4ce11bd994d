"""`torch.accelerator`: there is no such device. `torch.mps` and `torch.xpu` answer alike."""

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


def current_accelerator(check_available: bool = False) -> None:
    """The accelerator: None."""
    return None

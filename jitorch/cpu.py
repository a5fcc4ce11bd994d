"""`torch.cpu`."""

from __future__ import annotations


def is_available() -> bool:
    """True."""
    return True


def device_count() -> int:
    """1."""
    return 1


def current_device() -> str:
    """The CPU."""
    return "cpu"


def synchronize(device=None) -> None:
    """Run what is recorded."""
    from .graph.record import flush

    flush()

"""Types for annotations, as `torch.types`."""

from __future__ import annotations

from .device import device
from .tensor import Tensor

Number = int | float | bool
Device = device | str | int | None
__all__ = ["Device", "Number", "Tensor", "device"]

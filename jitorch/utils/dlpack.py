"""Tensors to and from other libraries without copying, as `torch.utils.dlpack`."""

from __future__ import annotations

from .. import from_dlpack

__all__ = ["from_dlpack", "to_dlpack"]


def to_dlpack(tensor):
    """A DLPack capsule that shares the tensor's memory."""
    return tensor.__dlpack__(max_version=(1, 0))       # of older ones NumPy makes arrays that can only be read

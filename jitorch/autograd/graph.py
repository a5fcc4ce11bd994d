"""The backward graph as programs see it, as `torch.autograd.graph`."""

from __future__ import annotations

from contextlib import contextmanager

from .node import GradNode

__all__ = ["Node", "increment_version", "save_on_cpu", "saved_tensors_hooks"]

Node = GradNode


@contextmanager
def save_on_cpu(pin_memory: bool = False, device_type: str = "cuda"):
    """What is saved for backward is on the CPU anyway."""
    yield


class saved_tensors_hooks:
    """Raises NotImplementedError: values saved for backward are computed again, or kept, as the compiler sees fit."""

    def __init__(self, pack_hook, unpack_hook):
        raise NotImplementedError("saved_tensors_hooks: what is saved for backward is decided when a program is compiled; use utils.checkpoint to save less")


def increment_version(tensor) -> None:
    """Count a write to a tensor (or several) that was made without autograd's knowledge."""
    for t in tensor if isinstance(tensor, (list, tuple)) else (tensor,):
        t._storage.version += 1

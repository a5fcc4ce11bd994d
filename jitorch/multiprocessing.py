"""`torch.multiprocessing`: Python's own. Tensors travel as copies."""

from __future__ import annotations

from multiprocessing import *  # noqa: F403
from multiprocessing import get_context

__all__ = ["get_all_sharing_strategies", "get_context", "get_sharing_strategy", "set_sharing_strategy"]


def get_all_sharing_strategies() -> set[str]:
    """How tensors travel between processes."""
    return {"file_system"}


def get_sharing_strategy() -> str:
    """How tensors travel between processes."""
    return "file_system"


def set_sharing_strategy(new_strategy: str) -> None:
    """Accepted."""

"""Handles of hooks, as `torch.utils.hooks`."""

from __future__ import annotations

from ..autograd.node import RemovableHandle

__all__ = ["RemovableHandle"]

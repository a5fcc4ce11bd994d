"""Where programs import the loader from: `torch.utils.data.dataloader`."""

from __future__ import annotations

from .collate import default_collate, default_convert
from .loader import DataLoader
from .workers import get_worker_info

__all__ = ["DataLoader", "default_collate", "default_convert", "get_worker_info"]

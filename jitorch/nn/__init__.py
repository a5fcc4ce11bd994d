"""Modules, and the functions they are made of."""
from . import functional

__all__ = ["functional"]

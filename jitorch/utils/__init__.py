"""Tools around training: `jitorch.utils.data` feeds it."""

from . import data

__all__ = ["data"]

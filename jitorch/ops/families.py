"""Importing this module fills the op table."""
from . import arithmetic, attributes, convert, creation, elementwise, reductions, views
from .dispatch import METHODS, OPS, PUBLIC

__all__ = ["METHODS", "OPS", "PUBLIC", "arithmetic", "attributes", "convert", "creation", "elementwise", "reductions", "views"]

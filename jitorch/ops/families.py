"""Importing this module fills the op table."""
from . import activations, arithmetic, attributes, convert, creation, elementwise, reductions, views
from .dispatch import METHODS, OPS, PUBLIC

__all__ = ["METHODS", "OPS", "PUBLIC", "activations", "arithmetic", "attributes", "convert", "creation", "elementwise", "reductions", "views"]

"""Importing this module fills the op table."""
from . import (
    activations,
    arithmetic,
    attention,
    attributes,
    complex,
    contraction,
    convert,
    convolution,
    creation,
    ctc,
    dropout,
    elementwise,
    fft,
    indexing,
    linalg,
    losses,
    movement,
    normalization,
    ordering,
    pooling,
    random,
    recurrent,
    reductions,
    scan,
    special,
    update,
    views,
)
from .dispatch import METHODS, OPS, PUBLIC

__all__ = ["METHODS", "OPS", "PUBLIC"]

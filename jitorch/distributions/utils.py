"""What distributions share."""

from __future__ import annotations

from functools import update_wrapper
from numbers import Number

import jitorch

from ..tensor import Tensor


def broadcast_all(*values):
    """Numbers and tensors as tensors of one shape. ValueError for something else."""
    if not all(isinstance(v, (Tensor, Number)) for v in values):
        raise ValueError("Input arguments must all be instances of Number, torch.Tensor or objects implementing __torch_function__.")
    like = next((v for v in values if isinstance(v, Tensor)), None)
    dtype = jitorch.get_default_dtype() if like is None else like.dtype
    return jitorch.broadcast_tensors(*[v if isinstance(v, Tensor) else jitorch.tensor(v, dtype=dtype) for v in values])


def logits_to_probs(logits, is_binary: bool = False):
    """Probabilities of logits: softmax over the last dimension, or with is_binary sigmoid."""
    return jitorch.sigmoid(logits) if is_binary else jitorch.softmax(logits, -1)


def clamp_probs(probs):
    """Probabilities kept away from 0 and 1, so that their logarithms are finite."""
    eps = jitorch.finfo(probs.dtype).eps
    return probs.clamp(min=eps, max=1 - eps)


def probs_to_logits(probs, is_binary: bool = False):
    """Logits of probabilities."""
    p = clamp_probs(probs)
    return p.log() - (-p).log1p() if is_binary else p.log()


class lazy_property:
    """A property that is computed when it is first read, and kept."""

    def __init__(self, wrapped):
        self.wrapped = wrapped
        update_wrapper(self, wrapped)

    def __get__(self, instance, owner=None):
        if instance is None:
            return self
        with jitorch.enable_grad():
            value = self.wrapped(instance)
        setattr(instance, self.wrapped.__name__, value)
        return value


def sum_rightmost(value, dim: int):
    """Summed over the last dim dimensions."""
    return value if dim == 0 else value.reshape((*value.shape[: value.ndim - dim], -1)).sum(-1)

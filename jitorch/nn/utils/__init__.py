"""Helpers for modules and their parameters."""

import importlib

from . import rnn
from .clip_grad import clip_grad_norm, clip_grad_norm_, clip_grad_value_, clip_grads_with_norm_, get_total_norm
from .convert_parameters import parameters_to_vector, vector_to_parameters

MODULES = ("fusion", "parametrizations", "parametrize", "prune", "stateless")
NAMES = {
    **dict.fromkeys(("remove_spectral_norm", "remove_weight_norm", "spectral_norm", "weight_norm"), "hooks"),
    **dict.fromkeys(("fuse_conv_bn_eval", "fuse_conv_bn_weights", "fuse_linear_bn_eval", "fuse_linear_bn_weights"), "fusion"),
}


def skip_init(module_cls, *args, **kwargs):
    """A module made as usual: its initial values cost little here, so they are not skipped."""
    return module_cls(*args, **kwargs)


def __getattr__(name: str):
    if name in MODULES:
        return importlib.import_module("." + name, __name__)
    if name in NAMES:
        return getattr(importlib.import_module("." + NAMES[name], __name__), name)
    message = importlib.import_module("...missing", __name__).message
    raise AttributeError(message("jitorch.nn.utils", name, [*globals(), *NAMES, *MODULES]))


__all__ = [
    "clip_grad_norm",
    "clip_grad_norm_",
    "clip_grad_value_",
    "clip_grads_with_norm_",
    "get_total_norm",
    "parameters_to_vector",
    "rnn",
    "skip_init",
    "vector_to_parameters",
]

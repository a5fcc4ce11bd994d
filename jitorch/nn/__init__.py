"""Modules, the functions they are made of, initial values and helpers."""
from . import functional, init, modules, parallel, parameter, utils
from .modules import *  # noqa: F403
from .parallel import DataParallel
from .parameter import Buffer, Parameter, UninitializedBuffer, UninitializedParameter

__all__ = ["Buffer", "DataParallel", "Parameter", "UninitializedBuffer", "UninitializedParameter"]
__all__ += ["functional", "init", "modules", "parallel", "parameter", "utils"]
__all__ += modules.__all__


def __getattr__(name: str):
    import importlib

    if name in ("attention", "common_types"):
        return importlib.import_module("." + name, __name__)
    if name.startswith("Lazy"):
        return getattr(importlib.import_module(".modules.lazy", __name__), name)
    from ..missing import message

    raise AttributeError(message("jitorch.nn", name, globals()))

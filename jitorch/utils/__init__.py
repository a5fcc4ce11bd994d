"""Tools around training: `jitorch.utils.data` feeds it."""

import importlib

from . import data

MODULES = ("_pytree", "checkpoint", "dlpack", "hooks")


def __getattr__(name: str):
    if name in MODULES:
        return importlib.import_module("." + name, __name__)
    raise AttributeError(importlib.import_module("..missing", __name__).message("jitorch.utils", name, [*globals(), *MODULES]))


__all__ = ["data"]

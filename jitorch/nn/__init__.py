"""Modules, the functions they are made of, initial values and helpers."""
from . import functional, init, modules, parallel, parameter, utils
from .modules import *  # noqa: F403
from .modules import __all__ as module_names
from .parallel import DataParallel
from .parameter import Buffer, Parameter

__all__ = module_names + ["Buffer", "DataParallel", "Parameter", "functional", "init", "modules", "parallel", "parameter", "utils"]

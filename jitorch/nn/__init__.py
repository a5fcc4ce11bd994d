"""Modules, the functions they are made of, initial values and helpers."""
from . import functional, init, modules, parallel, parameter, utils
from .modules import *  # noqa: F403
from .parallel import DataParallel
from .parameter import Buffer, Parameter

__all__ = ["Buffer", "DataParallel", "Parameter", "functional", "init", "modules", "parallel", "parameter", "utils"]
__all__ += modules.__all__

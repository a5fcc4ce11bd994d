"""`torch.jit`: tracing, in a first form; there is no second language to script in."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn, TypeVar

from .tracing import TracedFunction, trace

F = TypeVar("F", bound=Callable)


def script(obj: Any, *args: Any, **kwargs: Any) -> NoReturn:
    """Raises RuntimeError: Python is not translated here. Use `trace`, which keeps its control flow."""
    raise RuntimeError(
        "torch.jit.script is not supported: jitorch doesn't translate Python code. Use torch.jit.trace(f, examples), "
        "which keeps Python's control flow, or call the function as it is: its operations are compiled either way"
    )


def save(m: Any, f: Any, _extra_files: Any = None) -> NoReturn:
    """Raises RuntimeError: a traced module can't be saved. Save its state_dict with `torch.save`."""
    raise RuntimeError("torch.jit.save is not supported: save the weights with torch.save(module.state_dict(), file)")


def load(f: Any, map_location: Any = None, _extra_files: Any = None, _restore_shapes: bool = False) -> NoReturn:
    """Raises RuntimeError: TorchScript can't be read. Build the module and load its state_dict."""
    raise RuntimeError(
        "torch.jit.load is not supported: make the module in Python, and load weights that were saved as a state_dict "
        "with module.load_state_dict(torch.load(file))"
    )


def is_scripting() -> bool:
    """Whether TorchScript is being compiled: never."""
    return False


def is_tracing() -> bool:
    """Whether a trace is being recorded: never, since a trace here runs the Python code at every call."""
    return False


def ignore(fn: F) -> F:
    """Marks what TorchScript leaves out; `unused` and `export` are likewise the function itself."""
    return fn


unused = export = ignore

__all__ = [
    "TracedFunction",
    "export",
    "ignore",
    "is_scripting",
    "is_tracing",
    "load",
    "save",
    "script",
    "trace",
    "unused",
]

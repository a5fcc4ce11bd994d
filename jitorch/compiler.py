"""`torch.compiler`: questions of programs that are compiled, which here is always."""

from __future__ import annotations

from .tracing import compile

__all__ = ["compile", "cudagraph_mark_step_begin", "disable", "is_compiling", "is_dynamo_compiling", "is_exporting", "reset"]


def is_compiling() -> bool:
    """False: Python code runs as it stands, also while something is captured."""
    return False


is_dynamo_compiling = is_exporting = is_compiling


def disable(fn=None, recursive: bool = True, *, reason: str | None = None):
    """The function itself: Python code is never replaced."""
    return fn if fn is not None else lambda f: f


def reset() -> None:
    """Nothing to forget."""


def cudagraph_mark_step_begin() -> None:
    """Nothing to mark."""

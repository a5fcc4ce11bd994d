"""Anomaly mode: the forward line of every operation is kept, and named when its gradient holds a NaN."""
from __future__ import annotations

import os
import traceback
import warnings

from .node import anomaly_used, state

PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def here() -> str:
    """The user's frames of the present call, formatted as in a traceback."""
    frames = [f for f in traceback.extract_stack() if not f.filename.startswith(PACKAGE)]
    return "".join(traceback.format_list(frames))


def examine(node, results) -> None:
    """Raise RuntimeError, naming the forward line, if a gradient that `node` computed holds a NaN."""
    for i, g in enumerate(results):
        if g is not None and g.dtype.differentiable and bool(g.isnan().any()):
            warnings.warn(f"Error detected in {node.name()}. Traceback of forward call that caused the error:\n"
                          f"{node.where or '(recorded outside anomaly mode)'}",
                          stacklevel=2)
            line = (node.where or "").strip().splitlines()[-2:]
            raise RuntimeError(f"Function '{node.name()}' returned nan values in its {i}th output. Forward call: {' '.join(x.strip() for x in line)}")


class set_detect_anomaly:
    """Turn anomaly mode on or off, at once, and as a context manager until its end."""

    def __init__(self, mode: bool, check_nan: bool = True):
        self.was = state.anomaly
        state.anomaly = bool(mode) and check_nan
        if state.anomaly and not anomaly_used:
            anomaly_used.append(True)

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        state.anomaly = self.was


class detect_anomaly(set_detect_anomaly):
    """Within it, a NaN made by a backward rule raises RuntimeError that names the forward line. Slow: for debugging."""

    def __init__(self, check_nan: bool = True):
        super().__init__(True, check_nan)

"""Buffers, and comparing them."""
from __future__ import annotations

import numpy as np


def compare(got: np.ndarray, want: np.ndarray) -> str | None:
    """None if two results agree up to rounding (NaN equals NaN), else a sentence that says where they don't."""
    if want.dtype.kind != "f":
        bad = got != want
        tolerance = "exactly"
    else:
        # rounding differs where sums are ordered differently: an error is measured against the largest value present
        rtol, finite = (2e-4, 1e-5) if want.dtype == np.float32 else (1e-9, 1e-12)
        scale = np.abs(want[np.isfinite(want)]).max(initial=0.0)
        with np.errstate(invalid="ignore"):
            bad = ~(np.abs(got - want) <= rtol * np.abs(want) + finite * scale + 1e-30) & ~(np.isnan(got) & np.isnan(want)) & (got != want)
        tolerance = f"within {rtol:g}"
    if not bad.any():
        return None
    i = int(bad.argmax())
    return f"{int(bad.sum())} of {want.size} elements don't agree {tolerance}; first at {i}: {got[i]!r} instead of {want[i]!r}"

"""`torch.testing`: comparing results."""

from __future__ import annotations

import numpy as np

from . import dtypes

# dtype -> (rtol, atol)
TOLERANCE = {"float16": (1e-3, 1e-5), "bfloat16": (1.6e-2, 1e-5), "float32": (1.3e-6, 1e-5), "float64": (1e-7, 1e-7), "complex64": (1.3e-6, 1e-5),
             "complex128": (1e-7, 1e-7)}


def assert_close(actual, expected, *, allow_subclasses: bool = True, rtol: float | None = None, atol: float | None = None, equal_nan: bool = False,
                 check_device: bool = True, check_dtype: bool = True, check_layout: bool = True, check_stride: bool = False, msg=None) -> None:
    """AssertionError unless two tensors (or sequences or dicts of them, or numbers) agree: shapes, dtypes, and values within
    atol + rtol * |expected|, by default what the dtype allows.

    >>> import jitorch as torch
    >>> torch.testing.assert_close(torch.tensor([1.]), torch.tensor([1. + 1e-7]))
    """
    if (rtol is None) != (atol is None):
        raise ValueError("Both `rtol` and `atol` must be either specified or unspecified.")
    settings = {"rtol": rtol, "atol": atol, "equal_nan": equal_nan, "check_dtype": check_dtype, "msg": msg}
    if isinstance(expected, (list, tuple)) and isinstance(actual, (list, tuple)):
        if len(actual) != len(expected):
            raise AssertionError(f"The length of the sequences mismatch: {len(actual)} != {len(expected)}")
        for a, e in zip(actual, expected, strict=True):
            assert_close(a, e, **settings)
        return
    if isinstance(expected, dict) and isinstance(actual, dict):
        if set(actual) != set(expected):
            raise AssertionError(f"The keys of the mappings do not match: {sorted(map(str, set(actual) ^ set(expected)))}")
        for k in expected:
            assert_close(actual[k], expected[k], **settings)
        return
    problem = difference(actual, expected, rtol, atol, equal_nan, check_dtype)
    if problem:
        raise AssertionError(msg(problem) if callable(msg) else msg or problem)


def difference(actual, expected, rtol, atol, equal_nan, check_dtype) -> str | None:
    """What differs, in words."""
    kinds = [getattr(x, "dtype", None) for x in (actual, expected)]
    a, e = (x.detach()._array() if hasattr(x, "_meta") else np.asarray(x) for x in (actual, expected))
    if a.shape != e.shape:
        return f"The values for attribute 'shape' do not match: {a.shape} != {e.shape}."
    if check_dtype and kinds[0] is not kinds[1]:
        return f"The values for attribute 'dtype' do not match: {kinds[0]} != {kinds[1]}."
    pairs = [TOLERANCE.get(k.name if isinstance(k, dtypes.dtype) else str(x.dtype), (0.0, 0.0)) for k, x in zip(kinds, (a, e), strict=True)]
    r, t = (max(p[i] for p in pairs) if given is None else given for i, given in enumerate((rtol, atol)))
    wide = np.complex128 if "c" in a.dtype.kind + e.dtype.kind else np.float64
    a, e = a.astype(wide), e.astype(wide)
    with np.errstate(all="ignore"):
        bad = ~np.isclose(a, e, rtol=r, atol=t, equal_nan=equal_nan)
    if not bad.any():
        return None
    gap = np.abs(a - e)
    at = np.unravel_index(int(np.where(bad, np.nan_to_num(gap, nan=np.inf), -1).argmax()), bad.shape)
    return (f"Tensor-likes are not close!\n\nMismatched elements: {int(bad.sum())} / {bad.size} ({100 * bad.mean():.1f}%)\n"
            f"Greatest absolute difference: {gap[at]} at index {tuple(int(i) for i in at)} (up to {t} allowed): {a[at]} and {e[at]}")

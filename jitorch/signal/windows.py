"""Window functions, as `torch.signal.windows`: each is a formula of the position in the window.

>>> import jitorch as torch
>>> torch.signal.windows.hann(4, sym=False)
tensor([0.0000, 0.5000, 1.0000, 0.5000])
"""

from __future__ import annotations

import math

import numpy as np

from .. import dtypes, layouts
from ..tensor import tensor

__all__ = ["bartlett", "blackman", "cosine", "exponential", "gaussian", "general_cosine", "general_hamming", "hamming", "hann", "kaiser", "nuttall"]


def made(name: str, M: int, sym: bool, formula, dtype, layout, device, requires_grad):
    """The tensor of formula(k, n): k counts M positions of a window of n + 1 points."""
    if M < 0:
        raise ValueError(f"{name} requires non-negative window length, got M={M}")
    if layout not in (None, layouts.strided):
        raise ValueError(f"{name} is implemented for strided tensors only, got: {layout}")
    if dtype not in (None, dtypes.float32, dtypes.float64):
        raise ValueError(f"{name} expects float32 or float64 dtypes, got: {dtype}")
    dtype = dtype or dtypes.get_default_dtype()
    n = M - 1 if sym else M
    values = np.ones(M) if M <= 1 else formula(np.arange(M, dtype=np.float64), float(n))
    return tensor(values.astype(dtype.np), device=device, requires_grad=requires_grad)


def cosine_sum(weights):
    """Alternating sum of weights[j] * cos(2 pi j k / n)."""
    return lambda k, n: sum((-1) ** j * w * np.cos(2 * math.pi * j * k / n) for j, w in enumerate(weights))


def exponential(M: int, *, center=None, tau: float = 1.0, sym: bool = True, dtype=None, layout=None, device=None, requires_grad: bool = False):
    """exp(-|k - center| / tau). ValueError unless tau > 0, and for a center that a symmetric window can't have."""
    if tau <= 0:
        raise ValueError(f"Tau must be positive, got: {tau} instead.")
    if sym and center is not None:
        raise ValueError("Center must be None for symmetric windows")
    return made(
        "exponential",
        M,
        sym,
        lambda k, n: np.exp(-np.abs(k - (n / 2 if center is None else center)) / tau),
        dtype, layout, device, requires_grad,
    )  # fmt: skip


def cosine(M: int, *, sym: bool = True, dtype=None, layout=None, device=None, requires_grad: bool = False):
    """Half a period of a sine."""
    return made("cosine", M, sym, lambda k, n: np.sin(math.pi * (k + 0.5) / (n + 1)), dtype, layout, device, requires_grad)


def gaussian(M: int, *, std: float = 1.0, sym: bool = True, dtype=None, layout=None, device=None, requires_grad: bool = False):
    """A normal density's shape with the given standard deviation. ValueError unless std > 0."""
    if std <= 0:
        raise ValueError(f"Standard deviation must be positive, got: {std} instead.")
    return made("gaussian", M, sym, lambda k, n: np.exp(-0.5 * ((k - n / 2) / std) ** 2), dtype, layout, device, requires_grad)


def kaiser(M: int, *, beta: float = 12.0, sym: bool = True, dtype=None, layout=None, device=None, requires_grad: bool = False):
    """The Kaiser window, of modified Bessel functions. ValueError for a negative beta."""
    if beta < 0:
        raise ValueError(f"beta must be non-negative, got: {beta} instead.")

    def formula(k, n):
        return np.i0(beta * np.sqrt(np.maximum(1 - (2 * k / n - 1) ** 2, 0))) / np.i0(beta)

    return made("kaiser", M, sym, formula, dtype, layout, device, requires_grad)


def general_cosine(M: int, *, a, sym: bool = True, dtype=None, layout=None, device=None, requires_grad: bool = False):
    """A sum of cosines with weights a. TypeError unless a can be iterated, ValueError if it is empty."""
    if not hasattr(a, "__iter__"):
        raise TypeError("Coefficients must be a list/tuple")
    if not a:
        raise ValueError("Coefficients cannot be empty")
    return made("general_cosine", M, sym, cosine_sum(tuple(a)), dtype, layout, device, requires_grad)


def general_hamming(M: int, *, alpha: float = 0.54, sym: bool = True, dtype=None, layout=None, device=None, requires_grad: bool = False):
    """alpha - (1 - alpha) * cos(2 pi k / n)."""
    return made("general_hamming", M, sym, cosine_sum((alpha, 1 - alpha)), dtype, layout, device, requires_grad)


def weighted(name: str, weights):
    def window(M: int, *, sym: bool = True, dtype=None, layout=None, device=None, requires_grad: bool = False):
        return made(name, M, sym, cosine_sum(weights), dtype, layout, device, requires_grad)

    window.__name__ = window.__qualname__ = name
    window.__doc__ = f"The {name} window of M points: symmetric, or with sym=False one period of a longer signal."
    return window


hann = weighted("hann", (0.5, 0.5))
hamming = weighted("hamming", (0.54, 0.46))
blackman = weighted("blackman", (0.42, 0.5, 0.08))
nuttall = weighted("nuttall", (0.3635819, 0.4891775, 0.1365995, 0.0106411))


def bartlett(M: int, *, sym: bool = True, dtype=None, layout=None, device=None, requires_grad: bool = False):
    """A triangle that is zero at both ends."""
    return made("bartlett", M, sym, lambda k, n: 1 - np.abs(2 * k / n - 1), dtype, layout, device, requires_grad)

"""Discrete Fourier transforms, as `torch.fft`.

Each is defined in `jitorch/ops/fft.py`; this is where users find them.

>>> import jitorch as torch
>>> torch.fft.rfft(torch.tensor([1., 0., 0., 0.]))
tensor([1.+0.j, 1.+0.j, 1.+0.j])
"""

from __future__ import annotations

from .ops.fft import FFT

globals().update(FFT)
__all__ = [*FFT]  # noqa: PLE0604 (names are strings)

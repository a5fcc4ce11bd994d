"""`torch.backends`: which of PyTorch's backends there are (none of the GPU's), and their switches, which have no effect."""

from __future__ import annotations

from . import cpu, cuda, cudnn, mkl, mkldnn, mps, openmp

__all__ = ["cpu", "cuda", "cudnn", "mkl", "mkldnn", "mps", "openmp"]

"""Names for memory layouts and formats. Tensors are strided, and results are laid out in row-major order whatever format is asked for."""

from __future__ import annotations


class layout:
    """How a tensor lies in memory: `torch.strided`, or `torch.sparse_coo` for coordinates and values (see ops/sparse.py)."""

    def __init__(self, name: str):
        self._name = name

    def __repr__(self) -> str:
        return "torch." + self._name

    def __reduce__(self):
        return self._name


class memory_format(layout):
    """An order of dimensions in memory; accepted wherever PyTorch takes one, without effect."""


strided, sparse_coo = layout("strided"), layout("sparse_coo")
contiguous_format, preserve_format = memory_format("contiguous_format"), memory_format("preserve_format")
channels_last, channels_last_3d = memory_format("channels_last"), memory_format("channels_last_3d")

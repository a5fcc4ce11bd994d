"""Padding of the last one, two or three dimensions. `padding`: one number, or (before, after) of each dimension, the
last one first.
"""

from __future__ import annotations

from ...tensor import Tensor
from .. import functional as F
from .module import Module
from .utils import _ntuple


class _Pad(Module):
    __constants__ = ["padding"]
    ndim = 0
    mode = ""

    def __init__(self, padding):
        super().__init__()
        self.padding = _ntuple(2 * self.ndim)(padding)

    def forward(self, input: Tensor) -> Tensor:
        return F.pad(input, self.padding, self.mode)

    def extra_repr(self) -> str:
        return f"{self.padding}"


class _ConstantPad(_Pad):
    __constants__ = ["padding", "value"]

    def __init__(self, padding, value: float):
        super().__init__(padding)
        self.value = value

    def forward(self, input: Tensor) -> Tensor:
        return F.pad(input, self.padding, "constant", self.value)

    def extra_repr(self) -> str:
        return f"padding={self.padding}, value={self.value}"


class ConstantPad1d(_ConstantPad):
    """Pads (N, C, W) or (C, W) with a constant."""

    ndim = 1


class ConstantPad2d(_ConstantPad):
    """Pads (N, C, H, W) or (C, H, W) with a constant."""

    ndim = 2


class ConstantPad3d(_ConstantPad):
    """Pads (N, C, D, H, W) or (C, D, H, W) with a constant."""

    ndim = 3


class _ZeroPad:
    padding: tuple[int, ...]

    def __init__(self, padding):
        super().__init__(padding, 0.0)

    def extra_repr(self) -> str:
        return f"{self.padding}"


class ZeroPad1d(_ZeroPad, ConstantPad1d):
    """Pads (N, C, W) or (C, W) with zeros."""


class ZeroPad2d(_ZeroPad, ConstantPad2d):
    """Pads (N, C, H, W) or (C, H, W) with zeros.

    >>> import jitorch as torch
    >>> torch.nn.ZeroPad2d((1, 1, 2, 0))(torch.zeros(1, 3, 3)).shape
    torch.Size([1, 5, 5])
    """


class ZeroPad3d(_ZeroPad, ConstantPad3d):
    """Pads (N, C, D, H, W) or (C, D, H, W) with zeros."""


class _ReflectionPad(_Pad):
    mode = "reflect"


class ReflectionPad1d(_ReflectionPad):
    """Pads (N, C, W) or (C, W) with its mirror image, the edge not repeated."""

    ndim = 1


class ReflectionPad2d(_ReflectionPad):
    """Pads (N, C, H, W) or (C, H, W) with its mirror image, the edge not repeated."""

    ndim = 2


class ReflectionPad3d(_ReflectionPad):
    """Pads (N, C, D, H, W) or (C, D, H, W) with its mirror image, the edge not repeated."""

    ndim = 3


class _ReplicationPad(_Pad):
    mode = "replicate"


class ReplicationPad1d(_ReplicationPad):
    """Pads (N, C, W) or (C, W) with its edge."""

    ndim = 1


class ReplicationPad2d(_ReplicationPad):
    """Pads (N, C, H, W) or (C, H, W) with its edge."""

    ndim = 2


class ReplicationPad3d(_ReplicationPad):
    """Pads (N, C, D, H, W) or (C, D, H, W) with its edge."""

    ndim = 3


class _CircularPad(_Pad):
    mode = "circular"

    def forward(self, input: Tensor) -> Tensor:
        if input.ndim not in (self.ndim + 1, self.ndim + 2):
            raise ValueError(f"expected {self.ndim + 1}D or {self.ndim + 2}D input (got {input.ndim}D input)")
        return super().forward(input)


class CircularPad1d(_CircularPad):
    """Pads (N, C, W) or (C, W) with its other end."""

    ndim = 1


class CircularPad2d(_CircularPad):
    """Pads (N, C, H, W) or (C, H, W) with its other end."""

    ndim = 2


class CircularPad3d(_CircularPad):
    """Pads (N, C, D, H, W) or (C, D, H, W) with its other end."""

    ndim = 3

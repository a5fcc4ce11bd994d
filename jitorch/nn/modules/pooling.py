"""Pooling. Inputs are (N, C, *) or (C, *), with one, two or three spatial dimensions in place of the star."""

from __future__ import annotations

from ...tensor import Tensor
from .. import functional as F
from .module import Module
from .utils import _ntuple, described


class _MaxPoolNd(Module):
    __constants__ = ["kernel_size", "stride", "padding", "dilation", "return_indices", "ceil_mode"]
    ndim = 0

    def __init__(
        self, kernel_size, stride=None, padding=0, dilation=1, return_indices: bool = False, ceil_mode: bool = False
    ):
        super().__init__()
        self.kernel_size, self.stride = kernel_size, kernel_size if stride is None else stride
        self.padding, self.dilation = padding, dilation
        self.return_indices, self.ceil_mode = return_indices, ceil_mode

    def forward(self, input: Tensor):
        return getattr(F, f"max_pool{self.ndim}d")(
            input,
            self.kernel_size,
            self.stride,
            self.padding,
            self.dilation,
            ceil_mode=self.ceil_mode,
            return_indices=self.return_indices,
        )

    def extra_repr(self) -> str:
        return described(self, "kernel_size stride padding dilation ceil_mode")


class MaxPool1d(_MaxPoolNd):
    """The largest value of each window. return_indices: also where it was, for MaxUnpool1d."""

    ndim = 1


class MaxPool2d(_MaxPoolNd):
    """The largest value of each window. return_indices: also where it was, for MaxUnpool2d.

    >>> import jitorch as torch
    >>> torch.nn.MaxPool2d(2)(torch.zeros(1, 3, 8, 8)).shape
    torch.Size([1, 3, 4, 4])
    """

    ndim = 2


class MaxPool3d(_MaxPoolNd):
    """The largest value of each window. return_indices: also where it was, for MaxUnpool3d."""

    ndim = 3


class _MaxUnpoolNd(Module):
    ndim = 0

    def __init__(self, kernel_size, stride=None, padding=0):
        super().__init__()
        each = _ntuple(self.ndim)
        self.kernel_size, self.stride, self.padding = (
            each(kernel_size),
            each(kernel_size if stride is None else stride),
            each(padding),
        )

    def forward(self, input: Tensor, indices: Tensor, output_size=None) -> Tensor:
        return getattr(F, f"max_unpool{self.ndim}d")(
            input, indices, self.kernel_size, self.stride, self.padding, output_size
        )

    def extra_repr(self) -> str:
        return described(self, "kernel_size stride padding")


class MaxUnpool1d(_MaxUnpoolNd):
    """The partial inverse of MaxPool1d: values go back to where they were, zeros elsewhere."""

    ndim = 1


class MaxUnpool2d(_MaxUnpoolNd):
    """The partial inverse of MaxPool2d: values go back to where they were, zeros elsewhere."""

    ndim = 2


class MaxUnpool3d(_MaxUnpoolNd):
    """The partial inverse of MaxPool3d: values go back to where they were, zeros elsewhere."""

    ndim = 3


class _AvgPoolNd(Module):
    __constants__ = ["kernel_size", "stride", "padding", "ceil_mode", "count_include_pad", "divisor_override"]

    def __init__(
        self,
        kernel_size,
        stride=None,
        padding=0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
        divisor_override: int | None = None,
    ):
        super().__init__()
        self.kernel_size, self.stride, self.padding = kernel_size, kernel_size if stride is None else stride, padding
        self.ceil_mode, self.count_include_pad, self.divisor_override = ceil_mode, count_include_pad, divisor_override

    def extra_repr(self) -> str:
        return described(self, "kernel_size stride padding")


class AvgPool1d(_AvgPoolNd):
    """The mean of each window. count_include_pad: whether zeros of the padding count."""

    def __init__(self, kernel_size, stride=None, padding=0, ceil_mode: bool = False, count_include_pad: bool = True):
        each = _ntuple(1)
        super().__init__(
            each(kernel_size), None if stride is None else each(stride), each(padding), ceil_mode, count_include_pad
        )

    def forward(self, input: Tensor) -> Tensor:
        return F.avg_pool1d(input, self.kernel_size, self.stride, self.padding, self.ceil_mode, self.count_include_pad)


class AvgPool2d(_AvgPoolNd):
    """The mean of each window. count_include_pad: whether zeros of the padding count; divisor_override: divide by it
    instead.
    """

    def forward(self, input: Tensor) -> Tensor:
        return F.avg_pool2d(
            input,
            self.kernel_size,
            self.stride,
            self.padding,
            self.ceil_mode,
            self.count_include_pad,
            self.divisor_override,
        )


class AvgPool3d(_AvgPoolNd):
    """The mean of each window. count_include_pad: whether zeros of the padding count; divisor_override: divide by it
    instead.
    """

    def forward(self, input: Tensor) -> Tensor:
        return F.avg_pool3d(
            input,
            self.kernel_size,
            self.stride,
            self.padding,
            self.ceil_mode,
            self.count_include_pad,
            self.divisor_override,
        )


class _LPPoolNd(Module):
    __constants__ = ["norm_type", "kernel_size", "stride", "ceil_mode"]
    ndim = 0

    def __init__(self, norm_type: float, kernel_size, stride=None, ceil_mode: bool = False):
        super().__init__()
        self.norm_type, self.kernel_size, self.stride, self.ceil_mode = norm_type, kernel_size, stride, ceil_mode

    def forward(self, input: Tensor) -> Tensor:
        return getattr(F, f"lp_pool{self.ndim}d")(
            input, float(self.norm_type), self.kernel_size, self.stride, self.ceil_mode
        )

    def extra_repr(self) -> str:
        return described(self, "norm_type kernel_size stride ceil_mode")


class LPPool1d(_LPPoolNd):
    """(sum of x^p over each window)^(1/p), p being norm_type."""

    ndim = 1


class LPPool2d(_LPPoolNd):
    """(sum of x^p over each window)^(1/p), p being norm_type."""

    ndim = 2


class LPPool3d(_LPPoolNd):
    """(sum of x^p over each window)^(1/p), p being norm_type."""

    ndim = 3


class _AdaptiveMaxPoolNd(Module):
    __constants__ = ["output_size", "return_indices"]
    ndim = 0

    def __init__(self, output_size, return_indices: bool = False):
        super().__init__()
        self.output_size, self.return_indices = output_size, return_indices

    def forward(self, input: Tensor):
        return getattr(F, f"adaptive_max_pool{self.ndim}d")(input, self.output_size, self.return_indices)

    def extra_repr(self) -> str:
        return described(self, "output_size")


class AdaptiveMaxPool1d(_AdaptiveMaxPoolNd):
    """Max pooling to a given output size."""

    ndim = 1


class AdaptiveMaxPool2d(_AdaptiveMaxPoolNd):
    """Max pooling to a given output size; None for a dimension leaves it."""

    ndim = 2


class AdaptiveMaxPool3d(_AdaptiveMaxPoolNd):
    """Max pooling to a given output size; None for a dimension leaves it."""

    ndim = 3


class _AdaptiveAvgPoolNd(Module):
    __constants__ = ["output_size"]
    ndim = 0

    def __init__(self, output_size):
        super().__init__()
        self.output_size = output_size

    def forward(self, input: Tensor) -> Tensor:
        return getattr(F, f"adaptive_avg_pool{self.ndim}d")(input, self.output_size)

    def extra_repr(self) -> str:
        return described(self, "output_size")


class AdaptiveAvgPool1d(_AdaptiveAvgPoolNd):
    """Mean pooling to a given output size."""

    ndim = 1


class AdaptiveAvgPool2d(_AdaptiveAvgPoolNd):
    """Mean pooling to a given output size; None for a dimension leaves it.

    >>> import jitorch as torch
    >>> torch.nn.AdaptiveAvgPool2d(1)(torch.zeros(1, 3, 7, 5)).shape
    torch.Size([1, 3, 1, 1])
    """

    ndim = 2


class AdaptiveAvgPool3d(_AdaptiveAvgPoolNd):
    """Mean pooling to a given output size; None for a dimension leaves it."""

    ndim = 3


class _FractionalMaxPool(Module):
    """Maxima over windows whose places are drawn at random (Graham, 2014): exactly one of output_size and output_ratio is given."""

    ndim = 0
    __constants__ = ["kernel_size", "return_indices", "output_size", "output_ratio"]

    def __init__(self, kernel_size, output_size=None, output_ratio=None, return_indices: bool = False, _random_samples=None):
        super().__init__()
        n = self.ndim
        self.kernel_size, self.return_indices = (kernel_size,) * n if isinstance(kernel_size, int) else kernel_size, return_indices
        self.output_size = (output_size,) * n if isinstance(output_size, int) else output_size
        self.output_ratio = (output_ratio,) * n if isinstance(output_ratio, float) else output_ratio
        self.register_buffer("_random_samples", _random_samples)
        name = type(self).__name__
        if (output_size is None) == (output_ratio is None):
            what = "an output size, or a pooling ratio" if output_size is None else "only one of output_size and output_ratio"
            raise ValueError(f"{name} requires specifying either {what}")
        if self.output_ratio is not None and not all(0 < r < 1 for r in self.output_ratio):
            raise ValueError(f"output_ratio must be between 0 and 1 (got {output_ratio})")

    def forward(self, input: Tensor):
        pool = getattr(F, f"fractional_max_pool{self.ndim}d")
        return pool(input, self.kernel_size, self.output_size, self.output_ratio, self.return_indices, self._random_samples)


class FractionalMaxPool2d(_FractionalMaxPool):
    """Fractional max pooling of (N, C, H, W) or (C, H, W)."""

    ndim = 2


class FractionalMaxPool3d(_FractionalMaxPool):
    """Fractional max pooling of (N, C, T, H, W) or (C, T, H, W)."""

    ndim = 3

"""Convolutions. Inputs are (N, C, *) or (C, *), with one, two or three spatial dimensions in place of the star."""

from __future__ import annotations

from ...tensor import Tensor
from .. import functional as F
from .linear import add_parameter, init_weight_and_bias
from .module import Module
from .utils import _ntuple

PADDING_MODES = ("zeros", "reflect", "replicate", "circular")


def pads_of(padding, kernel_size, dilation) -> list[int]:
    """Padding as `F.pad` takes it: (before, after) of each dimension, the last dimension first."""
    pads: list[int] = []
    for i in reversed(range(len(kernel_size))):
        if padding == "same":
            total = dilation[i] * (kernel_size[i] - 1)
            pads += [total // 2, total - total // 2]
        else:
            pads += [0, 0] if padding == "valid" else [padding[i], padding[i]]
    return pads


class _ConvNd(Module):
    """What all convolutions share: checks, parameters and printing."""

    __constants__ = [
        "stride",
        "padding",
        "dilation",
        "groups",
        "padding_mode",
        "output_padding",
        "in_channels",
        "out_channels",
        "kernel_size",
    ]

    def __init__(
        self,
        in_channels,
        out_channels,
        kernel_size,
        stride,
        padding,
        dilation,
        transposed,
        output_padding,
        groups,
        bias,
        padding_mode,
        device=None,
        dtype=None,
    ):
        super().__init__()
        if groups <= 0:
            raise ValueError("groups must be a positive integer")
        if in_channels % groups != 0:
            raise ValueError("in_channels must be divisible by groups")
        if out_channels % groups != 0:
            raise ValueError("out_channels must be divisible by groups")
        if isinstance(padding, str):
            if padding not in ("same", "valid"):
                raise ValueError(f"Invalid padding string {padding!r}, should be one of {{'same', 'valid'}}")
            if padding == "same" and any(s != 1 for s in stride):
                raise ValueError("padding='same' is not supported for strided convolutions")
        if padding_mode not in PADDING_MODES:
            raise ValueError(f"padding_mode must be one of {set(PADDING_MODES)}, but got padding_mode='{padding_mode}'")
        self.in_channels, self.out_channels, self.groups = in_channels, out_channels, groups
        self.kernel_size, self.stride, self.padding, self.dilation = kernel_size, stride, padding, dilation
        self.transposed, self.output_padding, self.padding_mode = transposed, output_padding, padding_mode
        self._reversed_padding_repeated_twice = pads_of(padding, kernel_size, dilation)
        channels = (in_channels, out_channels // groups) if transposed else (out_channels, in_channels // groups)
        add_parameter(self, "weight", (*channels, *kernel_size), True, device, dtype)
        add_parameter(self, "bias", (out_channels,), bias, device, dtype)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        init_weight_and_bias(self.weight, self.bias)

    def extra_repr(self) -> str:
        text = f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, stride={self.stride}"
        for name, usual in (("padding", 0), ("dilation", 1), ("output_padding", 0)):
            value = getattr(self, name)
            if value != (usual,) * len(value):
                text += f", {name}={value}"
        text += f", groups={self.groups}" if self.groups != 1 else ""
        text += ", bias=False" if self.bias is None else ""
        return text + (f", padding_mode={self.padding_mode}" if self.padding_mode != "zeros" else "")


class _Conv(_ConvNd):
    ndim = 0

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size,
        stride=1,
        padding=0,
        dilation=1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: str = "zeros",
        device=None,
        dtype=None,
    ):
        each = _ntuple(self.ndim)
        super().__init__(
            in_channels,
            out_channels,
            each(kernel_size),
            each(stride),
            padding if isinstance(padding, str) else each(padding),
            each(dilation),
            False,
            each(0),
            groups,
            bias,
            padding_mode,
            device,
            dtype,
        )

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        conv = getattr(F, f"conv{self.ndim}d")
        if self.padding_mode != "zeros":
            padded = F.pad(input, self._reversed_padding_repeated_twice, mode=self.padding_mode)
            return conv(padded, weight, bias, self.stride, (0,) * self.ndim, self.dilation, self.groups)
        return conv(input, weight, bias, self.stride, self.padding, self.dilation, self.groups)

    def forward(self, input: Tensor) -> Tensor:
        return self._conv_forward(input, self.weight, self.bias)


class Conv1d(_Conv):
    """Cross-correlation over (N, C, L): out[n, o] = bias[o] + sum_c weight[o, c] * input[n, c]. weight: (out, in /
    groups, k).

    Each length becomes (L + 2 padding - dilation (k - 1) - 1) // stride + 1. padding: numbers, 'same' or 'valid'.
    Raises ValueError for channels that `groups` doesn't divide.

    >>> import jitorch as torch
    >>> torch.nn.Conv1d(3, 8, 5, padding="same")(torch.zeros(2, 3, 10)).shape
    torch.Size([2, 8, 10])
    """

    ndim = 1


class Conv2d(_Conv):
    """Cross-correlation over (N, C, H, W); see Conv1d.

    >>> import jitorch as torch
    >>> torch.nn.Conv2d(3, 8, 3, stride=2)(torch.zeros(2, 3, 9, 9)).shape
    torch.Size([2, 8, 4, 4])
    """

    ndim = 2


class Conv3d(_Conv):
    """Cross-correlation over (N, C, D, H, W); see Conv1d."""

    ndim = 3


class _ConvTransposeNd(_ConvNd):
    ndim = 0

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size,
        stride=1,
        padding=0,
        output_padding=0,
        groups: int = 1,
        bias: bool = True,
        dilation=1,
        padding_mode: str = "zeros",
        device=None,
        dtype=None,
    ):
        if padding_mode != "zeros":
            raise ValueError(f'Only "zeros" padding mode is supported for {type(self).__name__}')
        each = _ntuple(self.ndim)
        super().__init__(
            in_channels,
            out_channels,
            each(kernel_size),
            each(stride),
            each(padding),
            each(dilation),
            True,
            each(output_padding),
            groups,
            bias,
            padding_mode,
            device,
            dtype,
        )

    def _output_padding(self, input: Tensor, output_size) -> tuple[int, ...]:
        """What must be added to the smallest output to get `output_size`. ValueError where that isn't possible."""
        if output_size is None:
            return self.output_padding
        n = self.ndim
        other = input.ndim - n
        wanted = output_size[other:] if len(output_size) == other + n else output_size
        if len(wanted) != n:
            raise ValueError(
                f"ConvTranspose{n}D: for {input.ndim}D input, output_size must have {n} or {other + n} elements "
                f"(got {len(output_size)})"
            )
        least = [
            (input.shape[other + i] - 1) * self.stride[i]
            - 2 * self.padding[i]
            + self.dilation[i] * (self.kernel_size[i] - 1)
            + 1
            for i in range(n)
        ]
        most = [low + s - 1 for low, s in zip(least, self.stride, strict=True)]
        if any(not low <= size <= high for low, size, high in zip(least, wanted, most, strict=True)):
            raise ValueError(
                f"requested an output size of {wanted}, but valid sizes range from {least} to {most} "
                f"(for an input of {input.shape[2:]})"
            )
        return tuple(size - low for size, low in zip(wanted, least, strict=True))

    def forward(self, input: Tensor, output_size=None) -> Tensor:
        conv = getattr(F, f"conv_transpose{self.ndim}d")
        return conv(
            input,
            self.weight,
            self.bias,
            self.stride,
            self.padding,
            self._output_padding(input, output_size),
            self.groups,
            self.dilation,
        )


class ConvTranspose1d(_ConvTransposeNd):
    """The gradient of Conv1d with respect to its input, as a layer. weight: (in, out / groups, k).

    Each length becomes (L - 1) stride - 2 padding + dilation (k - 1) + output_padding + 1.
    """

    ndim = 1


class ConvTranspose2d(_ConvTransposeNd):
    """The gradient of Conv2d with respect to its input, as a layer; see ConvTranspose1d.

    >>> import jitorch as torch
    >>> torch.nn.ConvTranspose2d(8, 3, 3, stride=2)(torch.zeros(2, 8, 4, 4)).shape
    torch.Size([2, 3, 9, 9])
    """

    ndim = 2


class ConvTranspose3d(_ConvTransposeNd):
    """The gradient of Conv3d with respect to its input, as a layer; see ConvTranspose1d."""

    ndim = 3

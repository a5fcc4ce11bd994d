"""Convolutions over one, two or three dimensions.

Three entries give each other's gradients: the convolution, its gradient to the input (which is also the transposed
convolution) and its gradient to the weight. All three are matrix products with the columns of the padded input: a
strided view, copied once.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from math import gcd, prod
from typing import NamedTuple

import numpy as np

from ..dtypes import BOOL, FLOAT
from ..graph.record import Meta, contiguous_strides
from .dispatch import PUBLIC, Op, apply
from .views import reshape, slice_op, unsqueeze

# attrs of all entries: stride, padding, dilation (a tuple with one number a dimension each), groups; then the wanted
# sizes


def output_sizes(sizes, kernel, stride, padding, dilation) -> tuple[int, ...]:
    return tuple(
        (n + 2 * p - d * (k - 1) - 1) // s + 1
        for n, k, s, p, d in zip(sizes, kernel, stride, padding, dilation, strict=False)
    )


# -- columns in NumPy ------------------------------------------------------------------------------------------------
def padded(x: np.ndarray, padding) -> np.ndarray:
    if not any(padding):
        return np.ascontiguousarray(x)
    out = np.zeros((*x.shape[:2], *(n + 2 * p for n, p in zip(x.shape[2:], padding, strict=False))), x.dtype)
    inside = (slice(None), slice(None), *(slice(p, p + n) for n, p in zip(x.shape[2:], padding, strict=True)))
    out[inside] = x
    return out


def columns(x: np.ndarray, kernel, out, stride, padding, dilation, groups: int) -> np.ndarray:
    """(N, groups, C / groups * kernel, out): what the kernel sees at every place."""
    x = padded(x, padding)
    n, c = x.shape[:2]
    steps = x.strides
    view = np.lib.stride_tricks.as_strided(
        x,
        (n, c, *kernel, *out),
        (
            *steps[:2],
            *(s * d for s, d in zip(steps[2:], dilation, strict=False)),
            *(s * t for s, t in zip(steps[2:], stride, strict=False)),
        ),
        writeable=False,
    )
    return view.reshape(n, groups, c // groups * prod(kernel), prod(out))


def forward_reference(x, w, stride, padding, dilation, groups):
    kernel = w.shape[2:]
    out = output_sizes(x.shape[2:], kernel, stride, padding, dilation)
    cols = columns(x, kernel, out, stride, padding, dilation, groups)
    rows = w.reshape(groups, w.shape[0] // groups, prod(w.shape[1:]))
    return np.matmul(rows, cols).reshape(x.shape[0], w.shape[0], *out)


def input_reference(g, w, stride, padding, dilation, groups, sizes):
    n, kernel, out = g.shape[0], w.shape[2:], g.shape[2:]
    c = w.shape[1] * groups
    rows = w.reshape(groups, w.shape[0] // groups, prod(w.shape[1:]))
    cols = np.matmul(rows.transpose(0, 2, 1), g.reshape(n, groups, g.shape[1] // groups, prod(out)))
    cols = cols.reshape(n, c, *kernel, *out)
    total = [
        max(m + 2 * p, d * (k - 1) + s * (o - 1) + 1)
        for m, p, d, k, s, o in zip(sizes, padding, dilation, kernel, stride, out, strict=False)
    ]
    big = np.zeros((n, c, *total), g.dtype)
    for tap in np.ndindex(*kernel):
        place = tuple(
            slice(t * d, t * d + s * (o - 1) + 1, s) if o else slice(0)
            for t, d, s, o in zip(tap, dilation, stride, out, strict=False)
        )
        seen, column = (slice(None), slice(None), *place), (slice(None), slice(None), *tap)
        big[seen] += cols[column]
    inside = (slice(None), slice(None), *(slice(p, p + m) for p, m in zip(padding, sizes, strict=True)))
    return big[inside]


def weight_reference(g, x, stride, padding, dilation, groups, kernel):
    n, o, out = g.shape[0], g.shape[1], g.shape[2:]
    cols = columns(x, kernel, out, stride, padding, dilation, groups)
    products = np.matmul(g.reshape(n, groups, o // groups, prod(out)), cols.transpose(0, 1, 3, 2))
    return products.sum(0).reshape(o, x.shape[1] // groups, *kernel)


# -- the same in IR --------------------------------------------------------------------------------------------------
# The three are contractions; their dimensions are named n, g (group), o and c (channels of a group), and, for each
# spatial dimension i, ("tap", i) within the kernel and ("out", i).
def labels(names: str, *spatial: tuple[str, int]) -> tuple:
    return (*names, *((what, i) for what, n in spatial for i in range(n)))


def windows(b, x, groups: int, kernel, out, stride, left, right, dilation):
    """What the kernel sees at every place, as a view (n, g, c, taps, out) of x padded (or, with negative numbers,
    cropped) by `left` and `right`."""
    n, c, *sizes = x.shape
    natural = contiguous_strides(x.shape)
    offset = sum(-p * s for p, s in zip(left, natural[2:], strict=True) if p < 0)
    have = [m + min(p, 0) + min(q, 0) for m, p, q in zip(sizes, left, right, strict=True)]
    if offset or have != sizes:
        x = b.strided(x, (n, c, *have), natural, offset)
    if any(p > 0 for p in (*left, *right)):
        shape = (n, c, *(m + max(p, 0) + max(q, 0) for m, p, q in zip(have, left, right, strict=True)))
        strides = contiguous_strides(shape)
        inside = sum(max(p, 0) * s for p, s in zip(left, strides[2:], strict=True))
        x = b.place(0, shape, [(x, strides, inside)], x.dtype)
    elif x.kind == "view":
        x = b.map("copy", x)
    first, second, *rest = contiguous_strides(x.shape)
    taps = (s * d for s, d in zip(rest, dilation, strict=True))
    places = (s * t for s, t in zip(rest, stride, strict=True))
    shape = (n, groups, c // groups, *kernel, *out)
    return b.strided(x, shape, (first, c // groups * second, second, *taps, *places), 0)


def grouped(b, v, groups: int, dim: int):
    """v with its channels (dimension `dim`) as (g, channels of a group)."""
    return b.reshape(v, (*v.shape[:dim], groups, v.shape[dim] // groups, *v.shape[dim + 1 :]))


def has_kernels(b) -> bool:
    return b.metas[0].dtype.category == FLOAT


def forward_lower(b, x, w, stride, padding, dilation, groups):
    if not b.metas[0].numel or not b.metas[1].numel:
        return b.full(b.out[0].shape, 0, b.out[0].dtype)
    if not has_kernels(b):
        return None
    d = len(stride)
    out = output_sizes(x.shape[2:], w.shape[2:], stride, padding, dilation)
    seen = windows(b, x, groups, w.shape[2:], out, stride, padding, padding, dilation)
    result = b.contract(
        grouped(b, w, groups, 0),
        seen,
        labels("goc", ("tap", d)),
        labels("ngc", ("tap", d), ("out", d)),
        labels("ngo", ("out", d)),
    )
    return b.reshape(result, b.out[0].shape)


def input_lower(b, g, w, stride, padding, dilation, groups, sizes):
    """The gradient correlated with the kernel turned round.

    With a stride, elements of the input fall into phases (index modulo stride), and each phase sees the taps of one
    phase only: a correlation without stride for each, written side by side."""
    if not b.metas[0].numel or not b.metas[1].numel:
        return b.full(b.out[0].shape, 0, b.out[0].dtype)
    if not has_kernels(b):
        return None
    shape, natural = b.out[0].shape, contiguous_strides(b.out[0].shape)
    if all(s == 1 for s in stride):
        return b.reshape(correlated(b, g, w, [Phase(0, 1, 0, 1, p, d) for p, d in zip(padding, dilation)], groups, sizes), shape)
    pieces = []
    for phase in phases(w.shape[2:], stride, padding, dilation, sizes):
        part = correlated(b, g, w, phase, groups, [p.count(n) for p, n in zip(phase, sizes, strict=True)])
        inside = sum(p.first * s for p, s in zip(phase, natural[2:], strict=True))
        steps = (*natural[:2], *(p.step * s for p, s in zip(phase, natural[2:], strict=True)))
        pieces.append((b.reshape(part, (*shape[:2], *part.shape[3:])), steps, inside))
    return b.place(0, shape, pieces, g.dtype) if pieces else b.full(shape, 0, g.dtype)


class Phase(NamedTuple):
    """One spatial dimension of the inputs first, first + step, ...: they see the taps tap, tap + tap_step, ... Place i
    among them and tap j among those meet in output i + (padding' - j * dilation') with the numbers given here."""

    first: int
    step: int
    tap: int
    tap_step: int
    padding: int
    dilation: int

    def count(self, size: int) -> int:
        return max(0, -(-(size - self.first) // self.step))


def phases(kernel, stride, padding, dilation, sizes) -> Iterator[tuple[Phase, ...]]:
    """Those that have elements and taps, over all dimensions. input = output * stride + tap * dilation - padding."""

    def along(k, s, p, d, size):
        step = s // gcd(d, s)
        for first in range(min(s, size)):
            tap = next((t for t in range(min(step, k)) if (first + p - t * d) % s == 0), None)
            if tap is not None:
                yield Phase(first, s, tap, step, (first + p - tap * d) // s, step * d // s)

    return product(*(list(along(*x)) for x in zip(kernel, stride, padding, dilation, sizes, strict=True)))


def correlated(b, g, w, phase, groups, sizes):
    """The gradient of the inputs of one phase, (n, g, c, sizes)."""
    d = len(sizes)
    w = turned_weight(b, w, phase, groups)
    kernel = w.shape[3:]
    reach = [p.dilation * (k - 1) for p, k in zip(phase, kernel, strict=True)]
    left = tuple(r - p.padding for r, p in zip(reach, phase, strict=True))
    right = tuple(m + r - q - e for m, r, q, e in zip(sizes, reach, left, g.shape[2:], strict=True))
    seen = windows(b, g, groups, kernel, sizes, (1,) * d, left, right, [p.dilation for p in phase])
    taps, places = labels("", ("tap", d)), labels("", ("out", d))
    return b.contract(w, seen, (*"gco", *taps), (*"ngo", *taps, *places), (*"ngc", *places))


def turned_weight(b, w, phase, groups: int):
    """The weight (g, c, o, taps) with the taps of a phase, last one first; copied, since no two of its elements that
    are read together lie side by side."""
    w = grouped(b, b.map("copy", w) if w.kind == "view" else w, groups, 0)
    group, out, channel, *taps = contiguous_strides(w.shape)
    counts = [-(-(k - p.tap) // p.tap_step) for k, p in zip(w.shape[3:], phase, strict=True)]
    last = sum((p.tap + (n - 1) * p.tap_step) * s for p, n, s in zip(phase, counts, taps, strict=True))
    shape = (groups, w.shape[2], w.shape[1], *counts)
    steps = (group, channel, out, *(-p.tap_step * s for p, s in zip(phase, taps, strict=True)))
    return b.map("copy", b.strided(w, shape, steps, last))


def weight_lower(b, g, x, stride, padding, dilation, groups, kernel):
    if not b.metas[0].numel or not b.metas[1].numel:
        return b.full(b.out[0].shape, 0, b.out[0].dtype)
    if not has_kernels(b):
        return None
    d = len(stride)
    seen = windows(b, x, groups, kernel, g.shape[2:], stride, padding, padding, dilation)
    result = b.contract(
        grouped(b, g, groups, 1),
        seen,
        labels("ngo", ("out", d)),
        labels("ngc", ("tap", d), ("out", d)),
        labels("goc", ("tap", d)),
    )
    return b.reshape(result, b.out[0].shape)


# -- entries ---------------------------------------------------------------------------------------------------------
def forward_infer(x, w, stride, padding, dilation, groups):
    return Meta((x.shape[0], w.shape[0], *output_sizes(x.shape[2:], w.shape[2:], stride, padding, dilation)), x.dtype)


def forward_vjp(ctx, g):
    x, w = ctx.metas
    return (
        apply(convolution_input_op, (g, ctx.input(1)), (*ctx.attrs, tuple(x.shape[2:]))) if ctx.needs[0] else None,
        apply(convolution_weight_op, (g, ctx.input(0)), (*ctx.attrs, tuple(w.shape[2:]))) if ctx.needs[1] else None,
    )


def convolved(x, w, attrs, sizes):
    """The first `sizes` places of a convolution: after an output padding x may have room for more."""
    y = apply(convolution_op, (x, w), attrs)
    for d, n in enumerate(sizes, 2):
        if y.shape[d] != n:
            y = slice_op(y, d, 0, n, 1)
    return y


def input_vjp(ctx, g):
    attrs, w = ctx.attrs[:4], ctx.metas[1]
    return (
        convolved(g, ctx.input(1), attrs, ctx.metas[0].shape[2:]) if ctx.needs[0] else None,
        apply(convolution_weight_op, (ctx.input(0), g), (*attrs, tuple(w.shape[2:]))) if ctx.needs[1] else None,
    )


def weight_vjp(ctx, g):
    attrs, x = ctx.attrs[:4], ctx.metas[1]
    return (
        convolved(ctx.input(1), g, attrs, ctx.metas[0].shape[2:]) if ctx.needs[0] else None,
        apply(convolution_input_op, (ctx.input(0), g), (*attrs, tuple(x.shape[2:]))) if ctx.needs[1] else None,
    )


convolution_op = Op(
    "convolution", infer=forward_infer, reference=forward_reference, lower=forward_lower, vjp=forward_vjp, saves="01"
)
convolution_input_op = Op(
    "convolution_input",
    infer=lambda g, w, stride, padding, dilation, groups, sizes: Meta(
        (g.shape[0], w.shape[1] * groups, *sizes), g.dtype
    ),
    reference=input_reference,
    lower=input_lower,
    vjp=input_vjp,
    saves="01",
    grad_name="ConvolutionBackward0",
)
convolution_weight_op = Op(
    "convolution_weight",
    infer=lambda g, x, stride, padding, dilation, groups, kernel: Meta(
        (g.shape[1], x.shape[1] // groups, *kernel), g.dtype
    ),
    reference=weight_reference,
    lower=weight_lower,
    vjp=weight_vjp,
    saves="01",
    grad_name="ConvolutionBackward0",
)


# -- for users -------------------------------------------------------------------------------------------------------
def numbers(value, n: int, name: str, what: str = "") -> tuple[int, ...]:
    """One integer a dimension, from one integer or a sequence."""
    if isinstance(value, (int, np.integer)):
        return (int(value),) * n
    got = tuple(int(v) for v in value)
    if len(got) == 1:
        return got * n
    if len(got) != n:
        raise RuntimeError(
            f"expected {what or name} to be a single integer value or a list of {n} values to match the convolution "
            f"dimensions, but got {what or name}={list(got)}"
        )
    return got


def check_operands(name: str, n: int, input, weight, bias) -> None:
    for what, t in (("input", input), ("weight", weight)):
        if not hasattr(t, "_meta"):
            raise TypeError(f"{name}(): argument '{what}' must be Tensor, not {type(t).__name__}")
    if input.dtype is not weight.dtype:
        raise RuntimeError(f"Input type ({input.dtype.name}) and weight type ({weight.dtype.name}) should be the same")
    if bias is not None and bias.dtype is not input.dtype:
        raise RuntimeError(f"Input type ({input.dtype.name}) and bias type ({bias.dtype.name}) should be the same")
    if input.dtype.category == BOOL:
        raise RuntimeError(f"\"{name}\" not implemented for 'Bool'")
    if weight.ndim != n + 2:
        raise RuntimeError(
            f"weight should have at least three dimensions, but got {weight.ndim}"
            if weight.ndim < 3
            else f"Expected {n + 2}D weight for {name}, but got weight of size: {list(weight.shape)}"
        )
    if input.ndim not in (n + 1, n + 2):
        raise RuntimeError(
            f"Expected {n + 1}D (unbatched) or {n + 2}D (batched) input to {name}, but got input of size: "
            f"{list(input.shape)}"
        )


def with_bias(y, bias, n: int):
    return y if bias is None else y + reshape(bias, (1, -1, *(1,) * n))


def shape_text(shape) -> str:
    return f"[{', '.join(map(str, shape))}]"


def convolve(name: str, n: int, input, weight, bias, stride, padding, dilation, groups):
    check_operands(name, n, input, weight, bias)
    stride, dilation = numbers(stride, n, "stride"), numbers(dilation, n, "dilation")
    if any(s <= 0 for s in stride):
        raise RuntimeError("non-positive stride is not supported")
    if any(d <= 0 for d in dilation):
        raise RuntimeError("dilation should be greater than zero")
    if groups <= 0:
        raise RuntimeError("non-positive groups is not supported")
    batched = input.ndim == n + 2
    x = input if batched else unsqueeze(input, 0)
    kernel = tuple(weight.shape[2:])
    if isinstance(padding, str):
        x, padding = named_padding(x, padding, kernel, stride, dilation)
    else:
        padding = numbers(padding, n, "padding")
    if any(p < 0 for p in padding):
        raise RuntimeError("negative padding is not supported")
    if weight.shape[0] < groups:
        raise RuntimeError(
            f"Given groups={groups}, expected weight to be at least {groups} at dimension 0, but got weight of size "
            f"{shape_text(weight.shape)} instead"
        )
    if weight.shape[0] % groups:
        raise RuntimeError(
            f"Given groups={groups}, expected weight to be divisible by {groups} at dimension 0, but got weight of "
            f"size {shape_text(weight.shape)} instead"
        )
    if x.shape[1] != weight.shape[1] * groups:
        raise RuntimeError(
            f"Given groups={groups}, weight of size {shape_text(weight.shape)}, expected input{shape_text(x.shape)} to "
            f"have {weight.shape[1] * groups} channels, but got {x.shape[1]} channels instead"
        )
    if bias is not None and (bias.ndim != 1 or bias.shape[0] != weight.shape[0]):
        raise RuntimeError(
            f"Given weight of size {shape_text(weight.shape)}, expected bias to be 1-dimensional with "
            f"{weight.shape[0]} elements, but got bias of size {shape_text(bias.shape)} instead"
        )
    if any(m + 2 * p < d * (k - 1) + 1 for m, p, d, k in zip(x.shape[2:], padding, dilation, kernel, strict=False)):
        sizes = " x ".join(str(m + 2 * p) for m, p in zip(x.shape[2:], padding, strict=False))
        raise RuntimeError(
            f"Calculated padded input size per channel: ({sizes}). Kernel size: "
            f"({' x '.join(str(d * (k - 1) + 1) for d, k in zip(dilation, kernel, strict=False))}). "
            "Kernel size can't be greater than actual input size"
        )
    y = with_bias(apply(convolution_op, (x, weight), (stride, padding, dilation, int(groups))), bias, n)
    return y if batched else reshape(y, y.shape[1:])


def named_padding(x, padding: str, kernel, stride, dilation):
    """(x, padding) for "valid" and "same"; where "same" is not symmetric, x is padded first."""
    if padding == "valid":
        return x, (0,) * len(kernel)
    if padding != "same":
        raise RuntimeError(f"Invalid padding string: '{padding}'")
    if any(s != 1 for s in stride):
        raise RuntimeError("padding='same' is not supported for strided convolutions")
    total = [d * (k - 1) for d, k in zip(dilation, kernel, strict=False)]
    if any(t % 2 for t in total):
        from .movement import pad

        extra = [v for t in reversed(total) for v in (0, t % 2)]
        x = pad(x, extra)
    return x, tuple(t // 2 for t in total)


def conv1d(input, weight, bias=None, stride=1, padding=0, dilation=1, groups: int = 1):
    """Cross-correlation over one dimension: input (N, C, L) or (C, L), weight (O, C / groups, K).

    padding: a number, "same" or "valid". Raises RuntimeError where sizes or dtypes don't fit.
    """
    return convolve("conv1d", 1, input, weight, bias, stride, padding, dilation, groups)


def conv2d(input, weight, bias=None, stride=1, padding=0, dilation=1, groups: int = 1):
    """Cross-correlation over two dimensions: input (N, C, H, W) or (C, H, W), weight (O, C / groups, KH, KW).

    stride, padding, dilation: one number or a pair; padding also "same" or "valid".
    RuntimeError where sizes or dtypes don't fit.

    >>> import jitorch as torch
    >>> torch.conv2d(torch.ones(1, 1, 3, 3), torch.ones(1, 1, 2, 2))
    tensor([[[[4., 4.],
              [4., 4.]]]])
    """
    return convolve("conv2d", 2, input, weight, bias, stride, padding, dilation, groups)


def conv3d(input, weight, bias=None, stride=1, padding=0, dilation=1, groups: int = 1):
    """Cross-correlation over three dimensions.

    Input (N, C, D, H, W) or (C, D, H, W), weight (O, C / groups, KD, KH, KW).
    """
    return convolve("conv3d", 3, input, weight, bias, stride, padding, dilation, groups)


def convolve_transposed(name: str, n: int, input, weight, bias, stride, padding, output_padding, groups, dilation):
    check_operands(name, n, input, weight, bias)
    stride, padding, dilation = (
        numbers(stride, n, "stride"),
        numbers(padding, n, "padding"),
        numbers(dilation, n, "dilation"),
    )
    output_padding = numbers(output_padding, n, "output_padding")
    if any(s <= 0 for s in stride):
        raise RuntimeError("non-positive stride is not supported")
    if any(d <= 0 for d in dilation):
        raise RuntimeError("dilation should be greater than zero")
    if any(p < 0 for p in padding):
        raise RuntimeError("negative padding is not supported")
    batched = input.ndim == n + 2
    x = input if batched else unsqueeze(input, 0)
    if x.shape[1] != weight.shape[0]:
        raise RuntimeError(
            f"Given transposed=1, weight of size {shape_text(weight.shape)}, expected input{shape_text(x.shape)} to "
            f"have {weight.shape[0]} channels, but got {x.shape[1]} channels instead"
        )
    if weight.shape[0] % groups:
        raise RuntimeError(
            f"Given groups={groups}, expected weight to be divisible by {groups} at dimension 0, but got weight of "
            f"size {shape_text(weight.shape)} instead"
        )
    if any(o >= max(s, d) for o, s, d in zip(output_padding, stride, dilation, strict=False)):
        raise RuntimeError(
            "output padding must be smaller than either stride or dilation, but got output_padding_height: "
            f"{output_padding[0]} output_padding_width: {output_padding[-1]}"
        )
    if bias is not None and (bias.ndim != 1 or bias.shape[0] != weight.shape[1] * groups):
        raise RuntimeError(
            f"Given transposed=1, weight of size {shape_text(weight.shape)}, expected bias to be 1-dimensional with "
            f"{weight.shape[1] * groups} elements, but got bias of size {shape_text(bias.shape)} instead"
        )
    sizes = tuple(
        (m - 1) * s - 2 * p + d * (k - 1) + o + 1
        for m, s, p, d, k, o in zip(
            x.shape[2:], stride, padding, dilation, weight.shape[2:], output_padding, strict=False
        )
    )
    if any(m <= 0 for m in sizes):
        raise RuntimeError(
            f"Given input size per channel: ({' x '.join(map(str, x.shape[2:]))}). Calculated output size per channel: "
            f"({' x '.join(map(str, sizes))}). Output size is too small"
        )
    y = with_bias(apply(convolution_input_op, (x, weight), (stride, padding, dilation, int(groups), sizes)), bias, n)
    return y if batched else reshape(y, y.shape[1:])


def conv_transpose1d(input, weight, bias=None, stride=1, padding=0, output_padding=0, groups: int = 1, dilation=1):
    """The transposed convolution over one dimension: input (N, C, L), weight (C, O / groups, K)."""
    return convolve_transposed(
        "conv_transpose1d", 1, input, weight, bias, stride, padding, output_padding, groups, dilation
    )


def conv_transpose2d(input, weight, bias=None, stride=1, padding=0, output_padding=0, groups: int = 1, dilation=1):
    """The transposed convolution over two dimensions: input (N, C, H, W), weight (C, O / groups, KH, KW)."""
    return convolve_transposed(
        "conv_transpose2d", 2, input, weight, bias, stride, padding, output_padding, groups, dilation
    )


def conv_transpose3d(input, weight, bias=None, stride=1, padding=0, output_padding=0, groups: int = 1, dilation=1):
    """The transposed convolution over three dimensions: input (N, C, D, H, W), weight (C, O / groups, KD, KH, KW)."""
    return convolve_transposed(
        "conv_transpose3d", 3, input, weight, bias, stride, padding, output_padding, groups, dilation
    )


for _f in (conv1d, conv2d, conv3d, conv_transpose1d, conv_transpose2d, conv_transpose3d):
    PUBLIC[_f.__name__] = _f

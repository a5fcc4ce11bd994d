"""Pooling over one, two or three dimensions.

Max pooling is an entry with two results, values and indices; its gradient writes through the indices. Average pooling
is a composition: a sum over the windows, which are a view.
"""

from __future__ import annotations

from itertools import product
from math import prod

import numpy as np

from ..dtypes import BOOL, FLOAT, int32, int64
from ..graph.record import Meta, contiguous_strides
from ..tensor import from_array
from .dispatch import PUBLIC, Op, apply
from .gather import gather, scatter
from .indexing import filled, index_select_all
from .masks import masked_fill
from .movement import pad
from .views import reshape, unfold


def numbers(name: str, what: str, value, n: int) -> tuple[int, ...]:
    """One integer a dimension, from one integer or a sequence."""
    if isinstance(value, (int, np.integer)):
        return (int(value),) * n
    got = tuple(int(v) for v in value)
    if len(got) == 1:
        return got * n
    if len(got) != n:
        raise RuntimeError(f"{name}: {what} must either be a single int, or a tuple of {n} ints")
    return got


def pooled_size(size: int, k: int, s: int, p: int, d: int, ceil_mode: bool) -> int:
    """The number of windows.

    With ceil_mode the last one may hang over, but must start inside the input or its left padding.
    """
    span = size + 2 * p - d * (k - 1) - 1
    out = (-(-span // s) if ceil_mode else span // s) + 1
    return out - 1 if ceil_mode and (out - 1) * s >= size + p else out


def prepare(name: str, n: int, input, kernel_size, stride, padding, dilation, ceil_mode: bool):
    """(kernel, stride, padding, dilation, output sizes), checked."""
    kernel = numbers(name, "kernel_size", kernel_size, n)
    stride = kernel if stride is None or stride == [] or stride == () else numbers(name, "stride", stride, n)
    padding, dilation = numbers(name, "padding", padding, n), numbers(name, "dilation", dilation, n)
    if input.ndim not in (n + 1, n + 2):
        raise RuntimeError(
            f"{name}: Expected {n + 1}D or {n + 2}D input tensor, but got input of size {list(input.shape)}"
        )
    if any(k <= 0 for k in kernel):
        raise RuntimeError(
            "kernel size should be greater than zero, but got "
            f"{' '.join(f'k{a}: {k}' for a, k in zip('DHW'[-n:], kernel, strict=False))}"
        )
    if any(s <= 0 for s in stride):
        raise RuntimeError(
            "stride should not be zero"
            if 0 in stride
            else f"stride should be greater than zero, but got {list(stride)}"
        )
    if any(d <= 0 for d in dilation):
        raise RuntimeError(f"dilation should be greater than zero, but got {list(dilation)}")
    for p, k, d in zip(padding, kernel, dilation, strict=False):
        if p < 0:
            raise RuntimeError(f"pad must be non-negative, but got pad: {p}")
        if p > ((k - 1) * d + 1) // 2:
            raise RuntimeError(
                f"pad should be at most half of effective kernel size, but got pad={p}, kernel_size={k} and "
                f"dilation={d}"
            )
    out = tuple(
        pooled_size(m, k, s, p, d, ceil_mode)
        for m, k, s, p, d in zip(input.shape[-n:], kernel, stride, padding, dilation, strict=False)
    )
    if any(o <= 0 for o in out):
        raise RuntimeError(
            f"Given input size: ({'x'.join(map(str, input.shape[-n - 1 :]))}). Calculated output size: "
            f"({'x'.join(map(str, (input.shape[-n - 1], *out)))}). Output size is too small"
        )
    if any(m == 0 for m in input.shape[-n - 1 :]):
        raise RuntimeError(f"{name}: Expected tensor with optional 0 dim batch size, but got: {list(input.shape)}")
    return kernel, stride, padding, dilation, out


def lowest(dtype):
    return (
        float("-inf") if dtype.category == FLOAT else False if dtype.category == BOOL else int(np.iinfo(dtype.np).min)
    )


# -- max pooling -----------------------------------------------------------------------------------------------------
# attrs: kernel, stride, padding, dilation, output sizes; dimensions before the pooled ones are all alike


def max_pool_infer(m, kernel, stride, padding, dilation, out):
    shape = (*m.shape[: len(m.shape) - len(out)], *out)
    return Meta(shape, m.dtype), Meta(shape, int64)


def window_sizes(kernel, stride, dilation, out) -> list[int]:
    """How long an axis must be so that every window fits."""
    return [s * (o - 1) + d * (k - 1) + 1 for k, s, d, o in zip(kernel, stride, dilation, out, strict=False)]


def max_pool_reference(x, kernel, stride, padding, dilation, out):
    n = len(kernel)
    lead, sizes = x.shape[:-n], x.shape[-n:]
    need = window_sizes(kernel, stride, dilation, out)
    widths = [(0, 0)] * len(lead) + [(p, max(0, t - p - m)) for p, t, m in zip(padding, need, sizes, strict=False)]
    low = -np.inf if x.dtype.kind == "f" else np.iinfo(x.dtype).min if x.dtype.kind != "b" else False
    big = (
        np.ascontiguousarray(np.pad(x, widths, constant_values=low))
        if any(map(any, widths))
        else np.ascontiguousarray(x)
    )
    positions = position_grid(sizes, kernel, stride, padding, dilation, out)
    best = index = None
    steps = [slice(None)] * len(lead)
    for tap in np.ndindex(*kernel):
        ends = zip(tap, dilation, stride, out, strict=True)
        place = (*steps, *(slice(t * d, t * d + s * (o - 1) + 1, s) for t, d, s, o in ends))
        seen = big[place]
        here = positions[tap]
        if best is None:
            first = np.zeros(out, np.int64)
            for i, (o, s, p, d, m) in enumerate(zip(out, stride, padding, dilation, sizes, strict=False)):
                start = np.arange(o) * s - p
                start += -(np.minimum(start, 0) // d) * d
                first = first * m + start.reshape([-1 if j == i else 1 for j in range(n)])
            best, index = np.full(seen.shape, low, x.dtype), np.broadcast_to(first, seen.shape).copy()
        better = ((seen > best) | (seen != seen)) & (here >= 0)
        best, index = np.where(better, seen, best), np.where(better, here, index)
    return best, index


def position_grid(sizes, kernel, stride, padding, dilation, out) -> np.ndarray:
    """(kernel, out): the flat index of what each tap sees, -1 outside."""
    n = len(sizes)
    flat, inside = np.zeros((1,) * 2 * n, np.int64), np.ones((1,) * 2 * n, bool)
    for i, (m, k, s, p, d, o) in enumerate(zip(sizes, kernel, stride, padding, dilation, out, strict=False)):
        at = (np.arange(k) * d).reshape([-1 if j == i else 1 for j in range(2 * n)]) + (np.arange(o) * s - p).reshape(
            [-1 if j == n + i else 1 for j in range(2 * n)]
        )
        flat, inside = flat * m + at, inside & (at >= 0) & (at < m)
    return np.where(inside, flat, -1)


def max_pool_lower(b, x, kernel, stride, padding, dilation, out):
    """Where the largest element is, is found as steps from the window's start: they fit 32 bits."""
    n = len(kernel)
    lead, sizes = x.shape[:-n], x.shape[-n:]
    need = window_sizes(kernel, stride, dilation, out)
    big = [max(m + p, t) for m, p, t in zip(sizes, padding, need, strict=False)]
    start, narrow = window_start(b, len(lead), sizes, stride, padding, out)
    padded = list(sizes) != big
    if padded:
        strides = contiguous_strides((*lead, *big))
        offset = sum(p * s for p, s in zip(padding, strides[-n:], strict=False))
        x = b.place(lowest(x.dtype), (*lead, *big), [(x, strides, offset)], x.dtype)
    strides = contiguous_strides(x.shape)
    between = [s * t for s, t in zip(strides[-n:], stride, strict=False)]
    within = [s * d for s, d in zip(strides[-n:], dilation, strict=False)]
    windows = b.strided(x, (*lead, *out, *kernel), (*strides[:-n], *between, *within), 0)
    k, rank = len(lead), len(lead) + 2 * n
    dims, shape = range(k + n, rank), (*lead, *out)
    best = b.reshape(b.reduce("max", windows, dims), shape)
    real = x.dtype.category == FLOAT
    moves = [d * step for d, step in zip(dilation, contiguous_strides(sizes), strict=False)]
    if prod(kernel) <= TAPS:
        steps = b.const(0, narrow)
        for i, (o, s, p, d) in enumerate(zip(out, stride, padding, dilation, strict=False)):
            for tap in range(-(-p // d)):       # what is in the padding is no place, even if all of the window is as small
                at = b.iota(only(k + n, k + i, o), k + i) * s + (tap * d - p)
                steps = steps + b.where(at < 0, b.const(moves[i], narrow), 0)
        largest = None
        for tap in np.ndindex(*kernel):
            seen = b.strided(x, shape, (*strides[:-n], *between), sum(t * w for t, w in zip(tap, within, strict=False)))
            if largest is None:
                largest = seen
                continue
            better = seen > largest
            if real:                            # the last NaN wins
                better = better | b.map("isnan", seen)
            steps = b.where(better, b.const(sum(t * v for t, v in zip(tap, moves, strict=False)), narrow), steps)
            largest = b.where(better, seen, largest)
    else:
        place, inside = b.const(0, narrow), None
        for i, (m, s, p, d) in enumerate(zip(sizes, stride, padding, dilation, strict=False)):
            tap = b.iota(only(rank, k + n + i, kernel[i]), k + n + i)
            place = place + b.cast(tap, narrow) * moves[i]
            if padded:
                at = b.iota(only(rank, k + i, out[i]), k + i) * s + tap * d - p
                ok = (at >= 0) & (at < m)
                inside = ok if inside is None else inside & ok
        far = prod(sizes)
        position = b.where(windows.eq(b.reduce("max", windows, dims)), place, far)
        if real:
            position = b.where(b.map("isnan", windows), -1 - place, position)
        if inside is not None:
            position = b.where(inside, position, far)
        steps = b.reshape(b.reduce("min", position, dims), shape)
        steps = b.where(steps < 0, -1 - steps, steps)
    return best, b.expand(start + b.cast(steps, int64), shape)


TAPS = 16               # elements of a window, and steps of its stride, that are written out one by one


def window_start(b, lead: int, sizes, stride, padding, out):
    """The flat index at which each window starts (negative in the padding), and the integers that steps from there fit."""
    start = None
    for i, (s, p, o, step) in enumerate(zip(stride, padding, out, contiguous_strides(sizes), strict=False)):
        at = (b.iota(only(lead + len(out), lead + i, o), lead + i) * s - p) * step
        start = at if start is None else start + at
    return start, int32 if prod(sizes) < 2**31 else int64


def only(rank: int, dim: int, size: int) -> list[int]:
    return [size if i == dim else 1 for i in range(rank)]


def max_pool_vjp(ctx, g, _):
    shape = tuple(ctx.metas[0].shape)
    return (apply(max_pool_backward_op, (g, ctx.output(1)), (shape, len(ctx.attrs[-1]), ctx.attrs[:-1])),)


# attrs: the shape of what was pooled, how many dimensions were, and (kernel, stride, padding, dilation), None where
# windows are not all alike


def backward_reference(g, index, shape, n, windows):
    plane = prod(shape[-n:])
    lead = prod(shape[:-n])
    out = np.zeros((lead, plane), g.dtype)
    if g.size:
        np.add.at(out, (np.arange(lead)[:, None], index.reshape(lead, -1)), g.reshape(lead, -1))
    return out.reshape(shape)


def backward_lower(b, g, index, shape, n, windows):
    """Each element looks which of the windows that see it have found it the largest, if those are few: for all elements
    that lie alike in the steps of the windows at once. Otherwise every window writes to its place."""
    lead, sizes, out = shape[:-n], shape[-n:], g.shape[-n:]
    k = len(lead)
    if windows is None or prod(windows[0]) > TAPS or prod(windows[1]) > TAPS or not prod(g.shape):
        rank, linear = len(shape), b.cast(index, int64)
        for d, step in enumerate(contiguous_strides(shape)[:k]):
            if shape[d] != 1:
                linear = linear + b.iota(only(rank, d, shape[d]), d) * step
        return b.scatter("add", b.full(shape, 0, g.dtype), linear, g)
    kernel, stride, padding, dilation = windows
    start, narrow = window_start(b, k, sizes, stride, padding, out)
    steps = b.cast(index - start, narrow)
    phases = [axis_phases(*axis) for axis in zip(sizes, kernel, stride, padding, dilation, out, strict=True)]
    # what the windows say, with windows that say nothing all around, so that each element finds as many
    before = [max([0, *(-low for _, _, taps in axis for _, low in taps)]) for axis in phases]
    after = [max([0, *(low + size - o for _, size, taps in axis for _, low in taps)]) for axis, o in zip(phases, out, strict=True)]
    if any(before) or any(after):
        wide = (*lead, *(f + o + a for f, o, a in zip(before, out, after, strict=True)))
        inside = sum(f * s for f, s in zip(before, contiguous_strides(wide)[k:], strict=True))
        g, steps = (b.place(0, wide, [(v, contiguous_strides(wide), inside)], v.dtype) for v in (g, steps))
    strides, across = contiguous_strides(shape), contiguous_strides(g.shape)
    moves = [d * step for d, step in zip(dilation, contiguous_strides(sizes), strict=True)]
    pieces = []
    for phase in product(*phases):
        extent = (*lead, *(size for _, size, _ in phase))
        if not prod(extent):
            continue
        total = b.const(0, g.dtype)
        for found in product(*(reversed(taps) for _, _, taps in phase)):
            offset = sum((f + low) * s for f, (_, low), s in zip(before, found, across[k:], strict=True))
            said, given = (b.strided(v, extent, across, offset) for v in (steps, g))
            here = sum(tap * move for (tap, _), move in zip(found, moves, strict=True))
            part = b.where(said.eq(here), given, 0)
            total = part if total.kind == "const" else total + part
        between = (*strides[:k], *(s * t for s, t in zip(strides[k:], stride, strict=True)))
        offset = sum(first * s for (first, _, _), s in zip(phase, strides[k:], strict=True))
        pieces.append((b.expand(total, extent), between, offset))
    return b.place(None, shape, pieces, g.dtype)


def axis_phases(m: int, k: int, s: int, p: int, d: int, o: int) -> list[tuple[int, int, list[tuple[int, int]]]]:
    """The places of an axis of m elements, s apart: (the first, how many, [(a tap that sees them, the number of the window
    whose tap sees the first)])."""
    found = []
    for first in range(min(s, m)):
        taps = [(t, (first + p - t * d) // s) for t in range(k) if (first + p - t * d) % s == 0]
        found.append((first, -(-(m - first) // s), taps))
    return found


def backward_vjp(ctx, g):
    """What was read at the indices, for every window."""
    shape, n, _ = ctx.attrs
    index = ctx.input(1)
    lead = shape[:-n]
    picked = gather(reshape(g, (*lead, prod(shape[-n:]))), len(lead), reshape(index, (*lead, prod(index.shape[-n:]))))
    return (reshape(picked, index.shape), None)


max_pool_op = Op(
    "max_pool_with_indices",
    infer=max_pool_infer,
    reference=max_pool_reference,
    lower=max_pool_lower,
    vjp=max_pool_vjp,
    saves="o",
    grad_name="MaxPool2DWithIndicesBackward0",
)
max_pool_backward_op = Op(
    "max_pool_backward",
    infer=lambda g, index, shape, n, windows: Meta(shape, g.dtype),
    reference=backward_reference,
    lower=backward_lower,
    vjp=backward_vjp,
    saves="1",
)


def max_pool(name: str, n: int, input, kernel_size, stride, padding, dilation, ceil_mode, return_indices):
    if input.dtype.category == BOOL:
        raise RuntimeError(f"\"{name}\" not implemented for 'Bool'")
    attrs = prepare(name, n, input, kernel_size, stride, padding, dilation, ceil_mode)
    values, indices = apply(max_pool_op, (input,), attrs)
    return (values, indices) if return_indices else values


def max_pool1d(
    input, kernel_size, stride=None, padding=0, dilation=1, ceil_mode: bool = False, return_indices: bool = False
):
    """The largest element of every window over (N, C, L) or (C, L); with return_indices also where it was."""
    return max_pool("max_pool1d", 1, input, kernel_size, stride, padding, dilation, ceil_mode, return_indices)


def max_pool2d(
    input, kernel_size, stride=None, padding=0, dilation=1, ceil_mode: bool = False, return_indices: bool = False
):
    """The largest element of every window over (N, C, H, W) or (C, H, W); with return_indices also where it was.

    stride: the kernel's size unless given. Raises RuntimeError where a window doesn't fit.

    >>> import jitorch as torch
    >>> torch.max_pool2d(torch.tensor([[[1., 2.], [4., 3.]]]), 2)
    tensor([[[4.]]])
    """
    return max_pool("max_pool2d", 2, input, kernel_size, stride, padding, dilation, ceil_mode, return_indices)


def max_pool3d(
    input, kernel_size, stride=None, padding=0, dilation=1, ceil_mode: bool = False, return_indices: bool = False
):
    """The largest element of every window over (N, C, D, H, W) or (C, D, H, W)."""
    return max_pool("max_pool3d", 3, input, kernel_size, stride, padding, dilation, ceil_mode, return_indices)


# -- average pooling -------------------------------------------------------------------------------------------------
def window_counts(sizes, kernel, stride, padding, out, include_pad: bool) -> np.ndarray:
    """How many elements each window averages over, as an array of the output sizes."""
    counts = np.ones((1,) * len(sizes), np.int64)
    for i, (m, k, s, p, o) in enumerate(zip(sizes, kernel, stride, padding, out, strict=False)):
        start = np.arange(o) * s - p
        stop = np.minimum(start + k, m + p)
        length = stop - start if include_pad else np.minimum(stop, m) - np.maximum(start, 0)
        counts = counts * length.reshape([-1 if j == i else 1 for j in range(len(sizes))])
    return counts


def avg_pool(name: str, n: int, input, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override):
    if input.dtype.category != FLOAT and input.dtype is not int64:
        raise RuntimeError(f"\"{name}_out_frame\" not implemented for '{input.dtype.label}'")
    if divisor_override == 0:
        raise RuntimeError("divisor must be not zero")
    kernel, stride, padding, _, out = prepare(name, n, input, kernel_size, stride, padding, 1, ceil_mode)
    sizes = input.shape[-n:]
    need = window_sizes(kernel, stride, (1,) * n, out)
    after = [max(0, t - p - m) for t, p, m in zip(need, padding, sizes, strict=False)]
    x = input
    if any(padding) or any(after):
        x = pad(x, [v for p, a in reversed(list(zip(padding, after, strict=False))) for v in (p, a)])
    for i in range(n):
        x = unfold(x, input.ndim - n + i, kernel[i], stride[i])
    total = x.sum(tuple(range(-n, 0)))
    if divisor_override is not None:
        return divided(total, divisor_override)
    counts = window_counts(sizes, kernel, stride, padding, out, count_include_pad)
    if counts.min() == counts.max():
        return divided(total, int(counts.flat[0]))
    return divided(total, from_array(np.ascontiguousarray(counts, input.dtype.np)))


def divided(total, count):
    """total / count; integers are cut off towards zero."""
    return total / count if total.dtype.category == FLOAT else PUBLIC["div"](total, count, rounding_mode="trunc")


def avg_pool1d(input, kernel_size, stride=None, padding=0, ceil_mode: bool = False, count_include_pad: bool = True):
    """The mean of every window over (N, C, L) or (C, L)."""
    return avg_pool("avg_pool1d", 1, input, kernel_size, stride, padding, ceil_mode, count_include_pad, None)


def avg_pool2d(
    input,
    kernel_size,
    stride=None,
    padding=0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
):
    """The mean of every window over (N, C, H, W) or (C, H, W); padding counts unless count_include_pad is False."""
    return avg_pool(
        "avg_pool2d", 2, input, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override
    )


def avg_pool3d(
    input,
    kernel_size,
    stride=None,
    padding=0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
):
    """The mean of every window over (N, C, D, H, W) or (C, D, H, W)."""
    return avg_pool(
        "avg_pool3d", 3, input, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override
    )


def lp_pool(n: int, input, norm_type, kernel_size, stride, ceil_mode):
    kernel = numbers("lp_pool", "kernel_size", kernel_size, n)
    mean = {1: avg_pool1d, 2: avg_pool2d, 3: avg_pool3d}[n](input**norm_type, kernel, stride, 0, ceil_mode)
    return (mean.sgn() * mean.abs().relu() * prod(kernel)) ** (1.0 / norm_type)


def lp_pool1d(input, norm_type, kernel_size, stride=None, ceil_mode: bool = False):
    """(sum of x ** p) ** (1 / p) of every window."""
    return lp_pool(1, input, norm_type, kernel_size, stride, ceil_mode)


def lp_pool2d(input, norm_type, kernel_size, stride=None, ceil_mode: bool = False):
    """(sum of x ** p) ** (1 / p) of every window."""
    return lp_pool(2, input, norm_type, kernel_size, stride, ceil_mode)


def lp_pool3d(input, norm_type, kernel_size, stride=None, ceil_mode: bool = False):
    """(sum of x ** p) ** (1 / p) of every window."""
    return lp_pool(3, input, norm_type, kernel_size, stride, ceil_mode)


# -- to a given size -------------------------------------------------------------------------------------------------
def adaptive_sizes(name: str, n: int, input, output_size) -> tuple[int, ...]:
    if input.ndim not in (n + 1, n + 2):
        kind = ValueError if n > 1 and input.ndim <= n else RuntimeError
        raise kind(f"{name}(): Expected {n + 1}D or {n + 2}D tensor, but got {list(input.shape)}: Input dimension should be at least {n + 1}")
    sizes = (output_size,) * n if output_size is None or isinstance(output_size, int) else tuple(output_size)
    if len(sizes) == 1:
        sizes *= n
    if len(sizes) != n:
        raise RuntimeError(f"{name}: output_size must be {n}")
    if any(m == 0 for m in input.shape[1:]):
        raise RuntimeError(
            f"{name}(): Expected input to have non-zero size for non-batch dimensions, but input has sizes "
            f"{list(input.shape)}"
        )
    out = tuple(input.shape[i - n] if s is None else int(s) for i, s in enumerate(sizes))
    if any(s < 0 for s in out):
        raise RuntimeError(
            f"{name}: elements of output_size must be greater than or equal to 0 but received {list(out)}"
        )
    return out


def bounds(m: int, o: int) -> tuple[np.ndarray, np.ndarray]:
    """Where the o windows of an axis of m elements start and stop."""
    i = np.arange(o)
    return i * m // o, -(-(i + 1) * m // o)


def adaptive_avg_pool(name: str, n: int, input, output_size):
    out = adaptive_sizes(name, n, input, output_size)
    sizes = tuple(input.shape[-n:])
    if all(o and m % o == 0 for m, o in zip(sizes, out, strict=False)):
        if all(o == 1 for o in out):
            return input.mean(tuple(range(-n, 0)), keepdim=True)
        kernel = tuple(m // o for m, o in zip(sizes, out, strict=False))
        return {1: avg_pool1d, 2: avg_pool2d, 3: avg_pool3d}[n](input, kernel, kernel)
    x = input
    for i, (m, o) in enumerate(zip(sizes, out, strict=False)):
        dim = x.ndim - n + i
        if m != o:
            x = averaged(x, dim, m, o)
    return x


def averaged(x, dim: int, m: int, o: int):
    """The means of the o windows of one dimension: all windows as long as the longest, what is too much weighted 0."""
    start, stop = bounds(m, o)
    longest = int((stop - start).max()) if o else 0
    taps = start[:, None] + np.arange(longest)
    inside = taps < stop[:, None]
    picked = index_select_all(x, [None] * dim + [from_array(np.ascontiguousarray(np.minimum(taps, m - 1)))])
    rest = (1,) * (x.ndim - dim - 1)
    keep = from_array(np.ascontiguousarray(inside).reshape(o, longest, *rest))
    total = masked_fill(picked, keep.logical_not(), 0.0).sum(dim + 1)
    return total / from_array((stop - start).astype(x.dtype.np).reshape(o, *rest))


def adaptive_avg_pool1d(input, output_size):
    """Means over windows such that the result has the given size, over (N, C, L) or (C, L)."""
    return adaptive_avg_pool("adaptive_avg_pool1d", 1, input, output_size)


def adaptive_avg_pool2d(input, output_size):
    """Means over windows such that the result has the given size (None: as it is), over (N, C, H, W) or (C, H, W)."""
    return adaptive_avg_pool("adaptive_avg_pool2d", 2, input, output_size)


def adaptive_avg_pool3d(input, output_size):
    """Means over windows such that the result has the given size, over (N, C, D, H, W) or (C, D, H, W)."""
    return adaptive_avg_pool("adaptive_avg_pool3d", 3, input, output_size)


def adaptive_max_reference(x, out):
    n = len(out)
    lead, sizes = x.shape[:-n], x.shape[-n:]
    values, indices = np.empty((*lead, *out), x.dtype), np.empty((*lead, *out), np.int64)
    limits = [bounds(m, o) for m, o in zip(sizes, out, strict=False)]
    flat = np.arange(prod(sizes)).reshape(sizes)
    for at in np.ndindex(*out):
        region = tuple(slice(start[i], stop[i]) for (start, stop), i in zip(limits, at, strict=False))
        source, target = (..., *region), (..., *at)
        part = x[source].reshape(*lead, -1)
        best = part.argmax(-1)
        if x.dtype.kind == "f":
            nan = np.isnan(part)
            best = np.where(nan.any(-1), part.shape[-1] - 1 - nan[..., ::-1].argmax(-1), best)
        values[target] = np.take_along_axis(part, best[..., None], -1)[..., 0]
        indices[target] = flat[region].reshape(-1)[best]
    return values, indices


def adaptive_max_vjp(ctx, g, _):
    return (apply(max_pool_backward_op, (g, ctx.output(1)), (tuple(ctx.metas[0].shape), len(ctx.attrs[0]), None)),)


adaptive_max_op = Op(
    "adaptive_max_pool",
    infer=lambda m, out: (Meta((*m.shape[: -len(out)], *out), m.dtype), Meta((*m.shape[: -len(out)], *out), int64)),
    reference=adaptive_max_reference,
    vjp=adaptive_max_vjp,
    saves="o",
)


def adaptive_max_pool(name: str, n: int, input, output_size, return_indices: bool):
    out = adaptive_sizes(name, n, input, output_size)
    sizes = tuple(input.shape[-n:])
    if all(o and m % o == 0 for m, o in zip(sizes, out, strict=False)):
        kernel = tuple(m // o for m, o in zip(sizes, out, strict=False))
        values, indices = apply(max_pool_op, (input,), (kernel, kernel, (0,) * n, (1,) * n, out))
    else:
        values, indices = apply(adaptive_max_op, (input,), (out,))
    return (values, indices) if return_indices else values


def adaptive_max_pool1d(input, output_size, return_indices: bool = False):
    """Largest elements of windows such that the result has the given size, over (N, C, L) or (C, L)."""
    return adaptive_max_pool("adaptive_max_pool1d", 1, input, output_size, return_indices)


def adaptive_max_pool2d(input, output_size, return_indices: bool = False):
    """Largest elements of windows such that the result has the given size, over (N, C, H, W) or (C, H, W)."""
    return adaptive_max_pool("adaptive_max_pool2d", 2, input, output_size, return_indices)


def adaptive_max_pool3d(input, output_size, return_indices: bool = False):
    """Largest elements of windows such that the result has the given size, over (N, C, D, H, W) or (C, D, H, W)."""
    return adaptive_max_pool("adaptive_max_pool3d", 3, input, output_size, return_indices)


# -- back from max pooling -------------------------------------------------------------------------------------------
def max_unpool(name: str, n: int, input, indices, kernel_size, stride, padding, output_size):
    kernel = numbers(name, "kernel_size", kernel_size, n)
    stride = kernel if stride is None else numbers(name, "stride", stride, n)
    padding = numbers(name, "padding", padding, n)
    if indices.dtype is not int64:
        raise RuntimeError(f"elements in indices should be type int64 but got: {indices.dtype.label}")
    if input.shape != indices.shape:
        raise RuntimeError(
            f"Expected shape of indices to be same as that of the input tensor ({list(input.shape)}) but got indices "
            f"tensor with shape: {list(indices.shape)}"
        )
    default = tuple(
        (m - 1) * s - 2 * p + k for m, s, p, k in zip(input.shape[-n:], stride, padding, kernel, strict=False)
    )
    sizes = default if output_size is None else tuple(output_size)[-n:]
    if any(abs(s - d) >= t for s, d, t in zip(sizes, default, stride, strict=False)):
        raise ValueError(
            f"invalid output_size {list(sizes)} (dim 0 must be between {default[0] - stride[0]} and "
            f"{default[0] + stride[0]})"
        )
    lead = tuple(input.shape[:-n])
    flat = scatter(
        filled((*lead, prod(sizes)), 0, input.dtype),
        len(lead),
        reshape(indices, (*lead, prod(input.shape[-n:]))),
        reshape(input, (*lead, prod(input.shape[-n:]))),
    )
    return reshape(flat, (*lead, *sizes))


def max_unpool1d(input, indices, kernel_size, stride=None, padding=0, output_size=None):
    """Zeros with input's elements where max pooling found them."""
    return max_unpool("max_unpool1d", 1, input, indices, kernel_size, stride, padding, output_size)


def max_unpool2d(input, indices, kernel_size, stride=None, padding=0, output_size=None):
    """Zeros with input's elements where max pooling found them."""
    return max_unpool("max_unpool2d", 2, input, indices, kernel_size, stride, padding, output_size)


def max_unpool3d(input, indices, kernel_size, stride=None, padding=0, output_size=None):
    """Zeros with input's elements where max pooling found them."""
    return max_unpool("max_unpool3d", 3, input, indices, kernel_size, stride, padding, output_size)


for _f in (max_pool1d, max_pool2d, max_pool3d, avg_pool1d, adaptive_avg_pool1d):
    PUBLIC[_f.__name__] = _f
PUBLIC["max_pool1d_with_indices"] = lambda input, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False: (
    max_pool1d(input, kernel_size, stride, padding, dilation, ceil_mode, True)
)
PUBLIC["adaptive_max_pool1d"] = lambda input, output_size: adaptive_max_pool1d(input, output_size, True)

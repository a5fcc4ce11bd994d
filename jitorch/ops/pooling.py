"""Pooling over one, two or three dimensions, and changes of resolution.

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
from .gather import gather
from .indexing import filled, index_select_all
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
    from .masks import masked_fill

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
    from .gather import scatter

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


# -- other resolutions -----------------------------------------------------------------------------------------------
LINEAR_MODES = {"linear": 1, "bilinear": 2, "trilinear": 3, "bicubic": 2}


def interpolate(
    input,
    size=None,
    scale_factor=None,
    mode: str = "nearest",
    align_corners: bool | None = None,
    recompute_scale_factor: bool | None = None,
    antialias: bool = False,
):
    """Resampled to `size`, or by `scale_factor`.

    mode: "nearest", "nearest-exact", "linear", "bilinear", "trilinear", "bicubic" or "area".
    antialias: widen the filter where the result is smaller ("bilinear" and "bicubic").
    Raises ValueError or NotImplementedError as PyTorch does.
    """
    n = input.ndim - 2
    if antialias and not (mode in ("bilinear", "bicubic") and n == 2):
        raise ValueError("Anti-alias option is restricted to bilinear and bicubic modes and requires a 4-D tensor as input")
    if align_corners is not None and mode in ("nearest", "nearest-exact", "area"):
        raise ValueError(
            "align_corners option can only be set with the interpolating modes: linear | bilinear | bicubic | trilinear"
        )
    if (size is None) == (scale_factor is None):
        raise ValueError(
            "only one of size or scale_factor should be defined"
            if size is not None
            else "either size or scale_factor should be defined"
        )
    if mode in LINEAR_MODES and LINEAR_MODES[mode] != n:
        raise NotImplementedError(f"Got {input.ndim}D input, but {mode} mode needs {LINEAR_MODES[mode] + 2}D input")
    if mode not in (*LINEAR_MODES, "nearest", "nearest-exact", "area"):
        raise NotImplementedError(
            "Input Error: Only 3D, 4D and 5D input Tensors supported (got {}D) for the modes: nearest | linear | "
            "bilinear | bicubic | trilinear | area | "
            f"nearest-exact (got {mode})".format(input.ndim)
        )
    if not 1 <= n <= 3:
        raise NotImplementedError(
            f"Input Error: Only 3D, 4D and 5D input Tensors supported (got {input.ndim}D) for the modes: nearest | linear | bilinear | bicubic | trilinear "
            f"| area | nearest-exact (got {mode})"
        )
    sizes = input.shape[2:]
    if size is not None:
        out = (int(size),) * n if isinstance(size, int) else tuple(int(s) for s in size)
        if len(out) != n:
            raise ValueError(
                "Input and output must have the same number of spatial dimensions, but got input with spatial "
                f"dimensions of {list(sizes)} and output size of {list(out)}. "
                "Please provide input tensor in (N, C, d1, d2, ...,dK) format and output size in (o1, o2, ...,oK) "
                "format."
            )
        scales: list = [None] * n
    else:
        factors = (
            [float(scale_factor)] * n if isinstance(scale_factor, (int, float)) else [float(f) for f in scale_factor]
        )
        out = tuple(int(np.floor(m * f)) for m, f in zip(sizes, factors, strict=False))
        scales = [None] * n if recompute_scale_factor else list(factors)
    if mode == "area":
        return adaptive_avg_pool("area", n, input, out)
    x = input
    for i, (m, o, f) in enumerate(zip(sizes, out, scales, strict=False)):
        if m == o and (f is None or f == 1.0 or mode in ("nearest", "nearest-exact")) and (f is None or f == 1.0):
            continue
        x = (smoothed if antialias else resampled)(x, 2 + i, m, o, f, mode, bool(align_corners))
    return x if x is not input else input.clone()


def resampled(x, dim: int, m: int, o: int, factor, mode: str, corners: bool):
    """One dimension of m elements resampled to o."""
    real = np.float32 if x.dtype.itemsize == 4 else np.float64
    scale = real(1 / factor) if factor else real(m) / real(o)
    i = np.arange(o).astype(real)
    if mode in ("nearest", "nearest-exact"):
        at = i * np.float32(scale) if mode == "nearest" else (i + real(0.5)) * np.float32(scale)
        return picked_at(x, dim, np.minimum(np.floor(at), m - 1))
    if corners:
        at = i * (real(m - 1) / real(o - 1) if o > 1 else real(0))
    else:
        at = scale * (i + real(0.5)) - real(0.5)
        if mode != "bicubic":
            at = np.maximum(at, 0)
    low = np.floor(at)
    t = (at - low).astype(x.dtype.np)
    if mode == "bicubic":
        taps = [(k, w) for k, w in zip((-1, 0, 1, 2), cubic_weights(t), strict=False)]
    else:
        taps = [(0, 1 - t), (1, t)]
    total = None
    for k, w in taps:
        part = picked_at(x, dim, np.clip(low + k, 0, m - 1)) * from_array(
            np.ascontiguousarray(w, x.dtype.np).reshape(-1, *(1,) * (x.ndim - dim - 1))
        )
        total = part if total is None else total + part
    return total


def smoothed(x, dim: int, m: int, o: int, factor, mode: str, corners: bool):
    """One dimension of m elements resampled to o by a filter as wide as a step of the result (as Pillow, and PyTorch, resize images)."""
    from .contraction import matmul

    scale = ((m - 1) / (o - 1) if o > 1 else 0.0) if corners else 1 / factor if factor else m / o
    stretch = max(scale, 1.0)
    reach = (1 if mode == "bilinear" else 2) * stretch
    center = scale * (np.arange(o)[:, None] + 0.5)
    first, last = np.maximum(np.floor(center - reach + 0.5), 0), np.minimum(np.floor(center + reach + 0.5), m)
    place = np.arange(m)[None, :]
    d = np.abs(place - center + 0.5) / stretch
    if mode == "bilinear":
        weights = np.maximum(1 - d, 0)
    else:       # Keys' cubic convolution with a = -0.5
        weights = np.where(d < 1, (1.5 * d - 2.5) * d * d + 1, np.where(d < 2, ((-0.5 * d + 2.5) * d - 4) * d + 2, 0))
    weights = np.where((place >= first) & (place < last), weights, 0)
    weights = from_array(np.ascontiguousarray((weights / weights.sum(1, keepdims=True)).T.astype(x.dtype.np)))
    return matmul(x.transpose(dim, -1), weights).transpose(dim, -1)


def cubic_weights(t):
    """Keys' cubic convolution with a = -0.75, at distances 1 + t, t, 1 - t, 2 - t."""
    a = -0.75

    def near(d):
        return ((a + 2) * d - (a + 3)) * d * d + 1

    def far(d):
        return ((a * d - 5 * a) * d + 8 * a) * d - 4 * a

    return far(1 + t), near(t), near(1 - t), far(2 - t)


def picked_at(x, dim: int, index: np.ndarray):
    from .gather import index_select

    return index_select(x, dim, from_array(index.astype(np.int64)))


# -- sampling at given places ----------------------------------------------------------------------------------------
def affine_grid(theta, size, align_corners: bool = False):
    """The places, for `grid_sample`, at which an affine map of the output samples its input.

    theta: (N, 2, 3) with size (N, C, H, W), giving (N, H, W, 2); or (N, 3, 4) with size (N, C, D, H, W).
    """
    n = len(size) - 2
    if n not in (2, 3) or theta.ndim != 3 or tuple(theta.shape[1:]) != (n, n + 1):
        raise ValueError(
            f"Expected a batch of 2D affine matrices of shape Nx2x3 for size {list(size)}. Got {list(theta.shape)}."
        )
    out = tuple(int(s) for s in size[2:])
    axes = []
    for i in reversed(range(n)):
        m = out[i]
        line = np.linspace(-1, 1, m) if m > 1 else np.zeros(1)
        line = line if align_corners or m == 1 else line * (m - 1) / m
        axes.append(np.broadcast_to(line.reshape([-1 if j == i else 1 for j in range(n)]), out))
    base = from_array(np.stack([*axes, np.ones(out)], -1).reshape(1, -1, n + 1).astype(theta.dtype.np))
    return reshape(base @ theta.transpose(1, 2), (theta.shape[0], *out, n))


PADDING_MODES = ("zeros", "border", "reflection")


def grid_sample(input, grid, mode: str = "bilinear", padding_mode: str = "zeros", align_corners: bool | None = None):
    """Input (N, C, H, W) sampled at the places of grid (N, HO, WO, 2), x before y, each from -1 to 1; or one dimension more.

    mode: "bilinear", "nearest" or "bicubic". padding_mode: what is seen outside: "zeros", "border" or "reflection".
    Gradients go to both (to the grid not where "nearest"). "bicubic" is for four dimensions alone.
    """
    n = input.ndim - 2
    if mode not in ("bilinear", "nearest", "bicubic"):
        raise ValueError(
            f"nn.functional.grid_sample(): expected mode to be 'bilinear', 'nearest' or 'bicubic', but got: '{mode}'"
        )
    if padding_mode not in PADDING_MODES:
        raise ValueError(
            "nn.functional.grid_sample(): expected padding_mode to be 'zeros', 'border', or 'reflection', "
            f"but got: '{padding_mode}'"
        )
    if n not in (2, 3) or grid.ndim != input.ndim or grid.shape[-1] != n or grid.shape[0] != input.shape[0]:
        raise RuntimeError(
            f"grid_sampler(): expected grid to have size {n} in last dimension and input's batch size, "
            f"but got input of size {list(input.shape)} and grid of size {list(grid.shape)}"
        )
    sizes = input.shape[2:]
    corners = bool(align_corners)
    places = [place_of(grid[..., n - 1 - i], m, corners) for i, m in enumerate(sizes)]
    if mode == "bicubic":
        return cubically_sampled(input, places, padding_mode, corners)
    places = [brought_inside(p, m, padding_mode, corners) for p, m in zip(places, sizes, strict=True)]
    if mode == "nearest":
        return sampled(input, [p.detach().round() for p in places], None)
    low = [p.detach().floor() for p in places]
    total = None
    for corner in np.ndindex(*(2,) * n):
        weight = None
        for p, start, up in zip(places, low, corner, strict=True):
            w = p - start if up else 1 - (p - start)
            weight = w if weight is None else weight * w
        part = sampled(input, [start + up for start, up in zip(low, corner, strict=True)], weight)
        total = part if total is None else total + part
    return total


def cubically_sampled(input, places, padding_mode: str, corners: bool):
    """The sum over four by four elements around each place."""
    if input.ndim != 4:
        raise RuntimeError("grid_sampler(): bicubic interpolation only supports 4D input")
    low = [p.detach().floor() for p in places]
    weights = [cubic_weights(p - start) for p, start in zip(places, low, strict=True)]
    total = None
    for taps in np.ndindex(4, 4):
        at = [
            brought_inside(start + (tap - 1), m, padding_mode, corners)
            for start, tap, m in zip(low, taps, input.shape[2:], strict=True)
        ]
        part = sampled(input, at, weights[0][taps[0]] * weights[1][taps[1]])
        total = part if total is None else total + part
    return total


def place_of(x, m: int, corners: bool):
    """Coordinates from -1 to 1 as places along an axis of m elements."""
    return (x + 1) * ((m - 1) / 2) if corners else ((x + 1) * m - 1) / 2


def brought_inside(x, m: int, padding_mode: str, corners: bool):
    """Places outside an axis of m elements clamped or reflected into it."""
    if padding_mode == "zeros":
        return x
    if padding_mode == "reflection":
        low, span = (0.0, m - 1.0) if corners else (-0.5, float(m))
        if span == 0:
            return x * 0
        x = (x - low).abs()
        turns = (x.detach() / span).floor()
        rest = x - turns * span
        x = PUBLIC["where"](turns.remainder(2) == 0, rest + low, span - rest + low)
    return x.clamp(0, m - 1)


def sampled(input, at, weight):
    """(N, C, ...) picked at whole places, one tensor a dimension; outside is zero; times weight."""
    n, c, *sizes = input.shape
    out = at[0].shape[1:]
    inside, flat = None, None
    for p, m in zip(at, sizes, strict=True):
        ok = (p >= 0) & (p <= m - 1)
        inside = ok if inside is None else inside & ok
        i = p.clamp(0, m - 1).to(int64)
        flat = i if flat is None else flat * m + i
    index = reshape(flat, (n, 1, prod(out))).expand(n, c, prod(out))
    picked = reshape(gather(reshape(input, (n, c, prod(sizes))), 2, index), (n, c, *out))
    factor = inside.to(input.dtype) if weight is None else weight * inside.to(input.dtype)
    return picked * reshape(factor, (n, 1, *out))


def upsample_nearest(input, size=None, scale_factor=None):
    """As `interpolate` with mode "nearest"."""
    return interpolate(input, size, scale_factor)


def upsample_bilinear(input, size=None, scale_factor=None):
    """As `interpolate` with mode "bilinear" and align_corners."""
    return interpolate(input, size, scale_factor, "bilinear", True)


def upsample(input, size=None, scale_factor=None, mode: str = "nearest", align_corners: bool | None = None):
    """As `interpolate`."""
    return interpolate(input, size, scale_factor, mode, align_corners)


for _f in (max_pool1d, max_pool2d, max_pool3d, avg_pool1d, adaptive_avg_pool1d):
    PUBLIC[_f.__name__] = _f
PUBLIC["max_pool1d_with_indices"] = lambda input, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False: (
    max_pool1d(input, kernel_size, stride, padding, dilation, ceil_mode, True)
)
PUBLIC["adaptive_max_pool1d"] = lambda input, output_size: adaptive_max_pool1d(input, output_size, True)

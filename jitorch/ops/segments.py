"""Counting into bins, reducing segments, slopes along dimensions: results of a few calls each."""

from __future__ import annotations

import functools
import math

import numpy as np

from ..dtypes import FLOAT, int64
from ..graph.record import Meta
from ..tensor import from_array
from .dispatch import METHODS, PUBLIC, Op, apply
from .elementwise import where_of
from .publish import finish, needs_tensor
from .reductions import named, vector_norm
from .views import narrow, reshape, unsqueeze, wrap_dim


# -- histograms --------------------------------------------------------------------------------------------------------
def histogram_infer(x, *args):
    *more, density = args
    edges = [m for m in more[: len(more) - 1]]
    return Meta(tuple(m.shape[0] - 1 for m in edges), x.dtype)


def histogram_reference(x, *args):
    """Bins are closed at the left, the last one at both ends. Edges needn't be in order: nothing lies between a larger and a smaller one."""
    *edges, weight, density = args
    points = x.reshape(-1, len(edges))
    inside = np.all([(p >= e[0]) & (p <= e[-1]) for p, e in zip(points.T, edges, strict=True)], axis=0)
    bins = [np.minimum(np.searchsorted(e, p[inside], "right"), len(e) - 1) - 1 for p, e in zip(points.T, edges, strict=True)]
    counts = np.zeros([len(e) - 1 for e in edges], x.dtype)
    np.add.at(counts, tuple(bins), 1 if weight is None else weight.reshape(-1)[inside])
    if density:
        volumes = functools.reduce(np.multiply.outer, [np.diff(e) for e in edges])
        with np.errstate(invalid="ignore", divide="ignore"):
            counts = counts / counts.sum() / volumes
    return counts


histogram_op = Op("_histogramdd", infer=histogram_infer, reference=histogram_reference)


def bin_edges(name: str, x, bins, low, high):
    """The edges of one dimension's bins: given, or so many equal ones between low and high."""
    if hasattr(bins, "_meta"):
        if bins.ndim != 1 or bins.dtype is not x.dtype:
            raise RuntimeError(f"torch.{name}(): bins tensor should have one dimension and input's dtype, but got {bins.ndim} and {bins.dtype.label}")
        return bins
    if bins <= 0:
        raise RuntimeError(f"torch.{name}(): bins must be > 0, but got {bins} for dimension 0")
    if not (math.isfinite(low) and math.isfinite(high)):
        raise RuntimeError(f"torch.{name}(): dimension 0's range [{low}, {high}] is not finite")
    if high < low:
        raise RuntimeError(f"torch.{name}(): min should not exceed max, but got min {low} max {high} for dimension 0")
    if low == high:
        low, high = low - 0.5, high + 0.5
    return PUBLIC["linspace"](low, high, bins + 1, dtype=x.dtype)


def data_range(x) -> tuple[float, float]:
    return (float(x.min()), float(x.max())) if x._meta.numel else (0.0, 1.0)


def check_histogram(name: str, x, weight, sizes) -> None:
    needs_tensor(name, input=x)
    if x.dtype.category != FLOAT:
        raise NotImplementedError(f"\"histogram_cpu\" not implemented for '{x.dtype.label}'")
    if weight is not None and (tuple(weight.shape) != tuple(sizes) or weight.dtype is not x.dtype):
        raise RuntimeError(
            f"torch.{name}(): if weight tensor is provided it should have the same shape and dtype as input's, but got input {list(sizes)} "
            f"{x.dtype.label} and weight {list(weight.shape)} {weight.dtype.label}"
        )


HISTOGRAM = named("histogram", "hist", "bin_edges")
HISTOGRAMDD = named("histogramdd", "hist", "bin_edges")


def histogram(input, bins, *, range=None, weight=None, density: bool = False, out=None):
    """(hist, bin_edges): how many elements (or what weight of them) fall into each bin.

    bins: their number (between the data's limits, or `range`), or a vector of edges. density: divided so that the integral is 1.
    """
    check_histogram("histogram", input, weight, input.shape)
    x = input.detach()
    low, high = data_range(x) if range is None else (float(range[0]), float(range[1]))
    edges = bin_edges("histogram", x, bins, low, high)
    hist = apply(histogram_op, (reshape(x, (-1, 1)), edges, weight), (bool(density),))
    return finish(HISTOGRAM(hist, edges), out)


def histogramdd(input, bins, *, range=None, weight=None, density: bool = False):
    """(hist, bin_edges) of points (..., D) in D dimensions; bins: a number, D numbers, or D vectors of edges."""
    if input.ndim < 2:
        raise RuntimeError("torch.histogramdd(): input tensor should have at least 2 dimensions")
    check_histogram("histogramdd", input, weight, input.shape[:-1])
    d = input.shape[-1]
    bins = [bins] * d if isinstance(bins, int) else list(bins)
    if len(bins) != d:
        raise RuntimeError(f"torch.histogramdd(): expected {d} sequences of bin edges for a {d}-dimensional histogram but got {len(bins)}")
    x = reshape(input.detach(), (-1, d))
    edges = []
    for k, b in enumerate(bins):
        low, high = data_range(x[:, k]) if range is None else (float(range[2 * k]), float(range[2 * k + 1]))
        edges.append(bin_edges("histogramdd", x, b, low, high))
    return HISTOGRAMDD(apply(histogram_op, (x, *edges, weight), (bool(density),)), tuple(edges))


# -- segments ----------------------------------------------------------------------------------------------------------
NEUTRAL = {"sum": 0.0, "mean": 0.0, "prod": 1.0, "max": -math.inf, "min": math.inf}
SCATTER = {"sum": "sum", "mean": "sum", "prod": "prod", "max": "amax", "min": "amin"}


def segment_reduce(data, reduce: str, *, lengths=None, indices=None, offsets=None, axis: int = 0, unsafe: bool = False, initial=None):
    """Sums (means, products, largest or smallest elements) of consecutive segments along `axis`.

    lengths: of the segments, (..., S) with the dimensions of data in front of `axis`; or offsets, (..., S + 1). initial: takes part in
    every reduction, and is the value of an empty segment (else what the reduction starts from, NaN for a mean).
    """
    if reduce not in NEUTRAL:
        raise RuntimeError(f"unsupported reduction given! {reduce}")
    if (lengths is None) == (offsets is None):
        raise RuntimeError("segment_reduce(): Either lengths or offsets must be defined." if lengths is None else
                           "segment_reduce(): exactly one of lengths and offsets must be given")
    if lengths is None:
        counts = np.diff(offsets._array(), axis=-1)
    else:
        counts = lengths._array()
    axis = wrap_dim(axis, data.ndim)
    if counts.ndim - 1 != axis:
        raise RuntimeError(f"segment_reduce(): Expected axis to be the last dimension of lengths but got {axis}.")
    size, n = data.shape[axis], counts.shape[-1]
    rows = counts.reshape(-1, n)
    if (counts < 0).any() or (rows.sum(-1) > size).any() or not unsafe and (rows.sum(-1) != size).any():
        raise RuntimeError("segment_reduce(): Expected all rows of lengths along axis to sum to data.size(lengths.dim()-1) when !unsafe.")
    ids = np.full((len(rows), size), n)       # what no segment covers goes to one more, which is dropped
    for i, row in enumerate(rows):
        ids[i, : row.sum()] = np.repeat(np.arange(n), row)
    ids = ids.reshape(*counts.shape[:-1], size)
    tail = (1,) * (data.ndim - axis - 1)
    index = reshape(from_array(ids), (*ids.shape, *tail)).expand(data.shape)
    start = NEUTRAL[reduce] if initial is None else float(initial)
    shape = (*data.shape[:axis], n + 1, *data.shape[axis + 1 :])
    base = PUBLIC["full"](shape, start, dtype=data.dtype)
    result = narrow(base.scatter_reduce(axis, index, data, SCATTER[reduce], include_self=True), axis, 0, n)
    if reduce == "mean":
        length = reshape(from_array(counts.astype(np.int64)), (*counts.shape, *tail))
        result = where_of(length == 0, math.nan if initial is None else start, result / length.to(data.dtype))
    return result


# -- slopes ------------------------------------------------------------------------------------------------------------
def gradient(input, *, spacing=None, dim=None, edge_order: int = 1):
    """The slopes along dimensions, a tuple: central differences, one-sided ones of order `edge_order` (1 or 2) at both ends.

    spacing: between samples, a number or one a dimension, or the vectors of their coordinates.
    """
    dims = tuple(range(input.ndim)) if dim is None else (dim,) if isinstance(dim, int) else tuple(dim)
    dims = tuple(wrap_dim(d, input.ndim) for d in dims)
    for d in dims:
        if dims.count(d) > 1:
            raise RuntimeError(f"dim {d} appears multiple times in the list of dims")
    if isinstance(spacing, (list, tuple)):
        spacing = list(spacing)
        if len(spacing) != len(dims):
            raise RuntimeError(
                f"torch.gradient expected spacing to be unspecified, a scalar, or a list of length {len(dims)}, but got a list of length {len(spacing)}"
            )
    else:
        spacing = [1 if spacing is None else spacing] * len(dims)
    if edge_order not in (1, 2):
        raise RuntimeError("torch.gradient only supports edge_order=1 and edge_order=2.")
    for d in dims:
        if input.shape[d] < edge_order + 1:
            raise RuntimeError("torch.gradient expected each dimension size to be at least edge_order+1")
    if input.dtype.category < FLOAT and input.dtype is not int64:
        input = input.to(int64)
    return tuple(slope(input, h, d, edge_order) for h, d in zip(spacing, dims, strict=True))


def slope(x, h, d: int, order: int):
    n = x.shape[d]

    def part(start, size):
        return narrow(x, d, start, size)

    if hasattr(h, "_meta") and h.ndim:
        shape = [-1 if i == d else 1 for i in range(x.ndim)]
        steps = reshape(h, shape)
        steps = narrow(steps, d, 1, n - 1) - narrow(steps, d, 0, n - 1)
        a, b = narrow(steps, d, 0, n - 2), narrow(steps, d, 1, n - 2)
        first, second, last, before = (narrow(steps, d, i, 1) for i in (0, min(1, n - 2), n - 2, max(n - 3, 0)))
    else:
        a = b = first = second = last = before = h
    pieces = []
    if order == 1:
        pieces = [(part(1, 1) - part(0, 1)) / first, (part(n - 1, 1) - part(n - 2, 1)) / last]
    else:
        pieces = [
            three(part(0, 1), part(1, 1), part(2, 1), first, second),
            -three(part(n - 1, 1), part(n - 2, 1), part(n - 3, 1), last, before),
        ]
    if n > 2:
        low, mid, high = part(0, n - 2), part(1, n - 2), part(2, n - 2)
        inner = (high - low) / (2 * h) if a is b else (high * a * a - low * b * b + mid * (b * b - a * a)) / (a * b * (a + b))
        pieces.insert(1, inner)
    return PUBLIC["cat"](pieces, d)


def three(x, y, z, a, b):
    """The one-sided slope at x of a parabola through three samples, a and b apart."""
    return x * (-(2 * a + b) / (a * (a + b))) + y * ((a + b) / (a * b)) - z * (a / (b * (a + b)))


# -- distances of all pairs --------------------------------------------------------------------------------------------
def pdist(input, p: float = 2.0):
    """The p-norm distances of all pairs of rows of a matrix: those of `cdist` above the diagonal, as a vector."""
    if input.ndim != 2:
        raise RuntimeError(f"pdist only supports 2D tensors, got: {input.ndim}D")
    if input.dtype.category != FLOAT:
        raise RuntimeError("pdist only supports floating-point dtypes")
    if p < 0:
        raise RuntimeError("pdist only supports non-negative p values")
    i, j = np.triu_indices(input.shape[0], 1)
    first, second = (input.index_select(0, from_array(k.astype(np.int64))) for k in (i, j))
    return vector_norm(first - second, p, -1) if input.shape[1] else (first - second).sum(-1)


# -- pooling with random windows ---------------------------------------------------------------------------------------
def window_starts(samples: np.ndarray, size: int, out: int, pool: int) -> np.ndarray:
    """Where the windows of fractional pooling begin (Graham 2014): (..., out) for samples (...)."""
    if out == 1:
        return np.full((*samples.shape, 1), size - pool)
    alpha = (size - pool) / (out - 1)
    i = np.arange(out - 1)
    starts = ((i + samples[..., None]) * alpha).astype(np.int64) - (samples[..., None] * alpha).astype(np.int64)
    return np.concatenate([starts, np.full((*samples.shape, 1), size - pool)], -1)


def fractional_max_pool(n: int):
    """The function of n dimensions."""

    def fn(input, kernel_size, output_size=None, output_ratio=None, return_indices: bool = False, _random_samples=None):
        name = f"fractional_max_pool{n}d"
        if (output_size is None) == (output_ratio is None):
            raise ValueError(f"{name} requires specifying either an output_size or an output_ratio")
        batched = input.ndim == n + 2
        if not batched and input.ndim != n + 1:
            raise RuntimeError(f"{name}: Expected {n + 1}D or {n + 2}D tensor, but got: {list(input.shape)}")
        x = input if batched else unsqueeze(input, 0)
        size = tuple(x.shape[-n:])
        kernel = (kernel_size,) * n if isinstance(kernel_size, int) else tuple(kernel_size)
        if output_size is None:
            ratio = (output_ratio,) * n if isinstance(output_ratio, float) else tuple(output_ratio)
            if not all(0 < r < 1 for r in ratio):
                raise ValueError(f"{name} requires output_ratio to be in (0, 1), but got {output_ratio}")
            output_size = [int(s * r) for s, r in zip(size, ratio, strict=True)]
        out = (output_size,) * n if isinstance(output_size, int) else tuple(output_size)
        for s, k, o in zip(size, kernel, out, strict=True):
            if o + k - 1 > s:
                raise RuntimeError(f"{name}: pool size {k} too large relative to input size {s}")
        samples = PUBLIC["rand"](*x.shape[:2], n) if _random_samples is None else _random_samples
        draws = samples._array()
        draws = draws if n == 3 else draws[..., ::-1]       # PyTorch's 2d function takes the width's first
        flat: np.ndarray = np.zeros((*x.shape[:2], 1, 1), np.int64)
        for d, (s, k, o) in enumerate(zip(size, kernel, out, strict=True)):
            at = window_starts(draws[..., d], s, o, k)[..., None] + np.arange(k)         # (N, C, o, k)
            flat = flat[:, :, :, None, :, None] * s + at[:, :, None, :, None, :]
            flat = flat.reshape(*x.shape[:2], flat.shape[2] * o, flat.shape[4] * k)
        places = from_array(np.ascontiguousarray(flat))
        lines = reshape(x, (*x.shape[:2], math.prod(size)))
        windows = lines.gather(2, reshape(places, (*x.shape[:2], flat.shape[2] * flat.shape[3]))).reshape(flat.shape)
        values, picked = windows.max(-1)
        shape = (*x.shape[:2], *out) if batched else (x.shape[1], *out)
        indices = places.gather(3, unsqueeze(picked, -1)).reshape(shape)
        values = reshape(values, shape)
        return (values, indices) if return_indices else values

    fn.__name__ = fn.__qualname__ = f"fractional_max_pool{n}d"
    fn.__doc__ = f"Maxima over windows whose places are drawn at random, in {n} dimensions (Graham, 2014)."
    return fn


fractional_max_pool2d, fractional_max_pool3d = fractional_max_pool(2), fractional_max_pool(3)

PUBLIC.update(histogram=histogram, histogramdd=histogramdd, segment_reduce=segment_reduce, _segment_reduce=segment_reduce, gradient=gradient, pdist=pdist)
METHODS.update(histogram=histogram)

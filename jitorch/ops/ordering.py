"""Sorting, ranks, unique values, binning."""

from __future__ import annotations

import math

import numpy as np

from .. import dtypes
from ..dtypes import BOOL, FLOAT, INT, bool_, int32, int64
from ..graph.record import Meta
from ..tensor import from_array, tensor
from .arithmetic import operand
from .dispatch import METHODS, PUBLIC, Op, apply
from .elementwise import where_of
from .publish import finish
from .reductions import RETURN_TYPES, dims_of, nan_hits, not_empty, reduced_shape, sum, to_index
from .views import reshape, wrap_dim


def order(x: np.ndarray, dim: int, descending: bool) -> np.ndarray:
    """Indices that sort along a dimension; equal elements stay in order; NaN counts as largest."""
    if not descending:
        return np.argsort(x, axis=dim, kind="stable")
    return x.shape[dim] - 1 - np.flip(np.argsort(np.flip(x, dim), axis=dim, kind="stable"), dim)


def back(ctx, g, index, dim: int):
    """The gradient of elements that were picked along a dimension: written to where they came from."""
    m = ctx.metas[0]
    return g if not m.shape else PUBLIC["zeros"](tuple(m.shape), dtype=m.dtype).scatter(dim, index, g)


# -- sort and topk -----------------------------------------------------------------------------------------------------
def sort_reference(x, dim, descending):
    if not x.ndim:
        return x.copy(), np.zeros((), np.int64)
    index = order(x, dim, descending)
    return np.take_along_axis(x, index, dim), index


sort_op = Op(
    "sort",
    infer=lambda m, dim, descending: (Meta(m.shape, m.dtype), Meta(m.shape, int64)),
    reference=sort_reference,
    saves="o",
    vjp=lambda ctx, g, _: (None if g is None else back(ctx, g, ctx.output(1), ctx.attrs[0]),),
)


def sort(input, dim: int = -1, descending: bool = False, *, stable: bool = True, out=None):
    """(values, indices) in ascending (or descending) order along a dimension. Always stable: equal elements stay in
    order; NaN is largest.

    >>> import jitorch as torch
    >>> torch.sort(torch.tensor([3, 1, 2])).values
    tensor([1, 2, 3])
    """
    return finish(RETURN_TYPES["sort"](*apply(sort_op, (input,), (wrap_dim(dim, input.ndim), bool(descending)))), out)


def argsort(input, dim: int = -1, descending: bool = False, *, stable: bool = True):
    """The indices that sort along a dimension (see `sort`)."""
    return sort(input, dim, descending).indices


def msort(input, *, out=None):
    """Sorted along the first dimension."""
    return finish(sort(input, 0).values, out)


def topk_infer(m, k, dim, largest):
    n = m.shape[dim] if m.shape else 1
    if not 0 <= k <= n:
        raise RuntimeError("selected index k out of range")
    if m.dtype is dtypes.bool_:
        raise NotImplementedError("\"topk_impl\" not implemented for 'Bool'")
    shape = tuple(k if d == dim else s for d, s in enumerate(m.shape))
    return Meta(shape, m.dtype), Meta(shape, int64)


GROUPED = 4             # elements of a group from which looking at groups first pays


def leading(x: np.ndarray, k: int, largest: bool) -> np.ndarray:
    """Indices of the k largest (or smallest) elements of each line along the last dimension, in any order; NaN is largest.

    They are among the elements of those k groups whose largest (smallest) elements are the largest (smallest)."""
    n = x.shape[-1]
    size = math.isqrt(n // k)
    if size < GROUPED:
        return partitioned(x, k, largest)
    groups = n // size
    lines = x[..., : size * groups].reshape(*x.shape[:-1], size, groups)    # a group is a column
    best = lines.max(-2) if largest else np.fmin.reduce(lines, -2)
    places = partitioned(best, k, largest)[..., None, :] + groups * np.arange(size)[:, None]
    rest = np.broadcast_to(np.arange(size * groups, n), (*x.shape[:-1], n - size * groups))
    among = np.concatenate([places.reshape(*x.shape[:-1], size * k), rest], -1)
    values = np.take_along_axis(x, among, -1)
    return np.take_along_axis(among, partitioned(values, k, largest), -1)


def partitioned(x: np.ndarray, k: int, largest: bool) -> np.ndarray:
    """The same, by a partition of whole lines."""
    n = x.shape[-1]
    part = np.argpartition(x, n - k if largest else k - 1, axis=-1)
    return part[..., n - k:] if largest else part[..., :k]


def topk_reference(x, k, dim, largest):
    if not x.ndim:
        return x.copy(), np.zeros((), np.int64)
    n = x.shape[dim]
    if 0 < k < n // 8:  # a partition first: O(n)
        chosen = np.moveaxis(np.sort(leading(np.moveaxis(x, dim, -1), k, largest), -1), -1, dim)
        index = np.take_along_axis(chosen, order(np.take_along_axis(x, chosen, dim), dim, largest), dim)
    else:
        index = np.take(order(x, dim, largest), range(k), dim)
    return np.take_along_axis(x, index, dim), index


topk_op = Op(
    "topk",
    infer=topk_infer,
    reference=topk_reference,
    saves="o",
    vjp=lambda ctx, g, _: (None if g is None else back(ctx, g, ctx.output(1), ctx.attrs[1]),),
)


def topk(input, k: int, dim: int = -1, largest: bool = True, sorted: bool = True, *, out=None):
    """(values, indices) of the k largest (or smallest) elements along a dimension, in order.

    RuntimeError for k out of range.

    >>> import jitorch as torch
    >>> torch.topk(torch.tensor([3., 1., 4.]), 2).indices
    tensor([2, 0])
    """
    return finish(
        RETURN_TYPES["topk"](*apply(topk_op, (input,), (int(k), wrap_dim(dim, input.ndim), bool(largest)))), out
    )


# -- one element of each line ------------------------------------------------------------------------------------------
def choice_op(name: str, choose) -> Op:
    """An entry with attributes (dims, keepdim, ...):

    choose(x, dim, ...) gives an index for each line, with the dimension kept.
    """

    def infer(m, dims, keepdim, *more):
        not_empty(name)(m, dims)
        shape = reduced_shape(m.shape, dims, keepdim)
        return Meta(shape, m.dtype), Meta(shape, int64)

    def reference(x, dims, keepdim, *more):
        if not x.ndim:
            return x.copy(), np.zeros((), np.int64)
        index = choose(x, dims[0], *more)
        shape = reduced_shape(x.shape, dims, keepdim)
        return np.take_along_axis(x, index, dims[0]).reshape(shape), index.reshape(shape)

    return Op(
        name,
        infer=infer,
        reference=reference,
        saves="o",
        vjp=lambda ctx, g, _: (None if g is None else to_index(ctx, g, ctx.output(1)),),
    )


def rank(x, dim: int, k) -> np.ndarray:
    """The index of the k-th smallest (from 0) of each line; k may be an array, one number for each line."""
    return np.take_along_axis(
        order(x, dim, False),
        np.broadcast_to(k, [1 if d == dim else n for d, n in enumerate(x.shape)]).astype(np.int64),
        dim,
    )


def median_index(x, dim):
    middle = (x.shape[dim] - 1) // 2
    if x.dtype.kind != "f":
        return rank(x, dim, middle)
    nan = np.isnan(x)
    return np.where(nan.any(dim, keepdims=True), np.argmax(nan, dim, keepdims=True), rank(x, dim, middle))


def nanmedian_index(x, dim):
    valid = np.sum(x == x, axis=dim, keepdims=True)
    return rank(x, dim, np.maximum(valid - 1, 0) // 2)


def mode_index(x, dim):
    """The last index of the most frequent value of each line, the smallest of several."""
    lines = np.moveaxis(x, dim, -1)
    found = np.empty((*lines.shape[:-1], 1), np.int64)
    for place in np.ndindex(lines.shape[:-1]):
        values, counts = np.unique(lines[place], return_counts=True)
        best = values[np.argmax(counts)]
        found[place] = np.flatnonzero((lines[place] == best) | (best != best) & (lines[place] != lines[place]))[-1]
    return np.moveaxis(found, -1, dim)


median_op, nanmedian_op = choice_op("median", median_index), choice_op("nanmedian", nanmedian_index)
mode_op, kthvalue_op = choice_op("mode", mode_index), choice_op("kthvalue", lambda x, dim, k: rank(x, dim, k - 1))


def whole_median(name: str, index) -> Op:
    """The median of all elements; its gradient goes in equal parts to all elements that have its value."""

    def reference(x):
        flat = x.reshape(-1)
        return flat[index(flat, 0)[0]] if flat.size else np.nan

    def slope(ctx, g):
        x, out = ctx.input(0), ctx.output()
        hit = nan_hits(x, out)
        return (where_of(hit, g / sum(hit), 0),)

    return Op(
        f"{name}.all",
        infer=lambda m: Meta((), m.dtype),
        reference=reference,
        vjp=slope,
        saves="0o",
        grad_name=f"{name.capitalize()}Backward0",
    )


def median_function(name: str, along: Op, whole: Op):
    def function(input, dim=None, keepdim: bool = False, *, out=None):
        if input.dtype.category == BOOL:
            raise NotImplementedError("\"median_out_impl\" not implemented for 'Bool'")
        if dim is None:
            return finish(apply(whole, (input,)), out)
        return finish(RETURN_TYPES[name](*apply(along, (input,), (dims_of(input.ndim, dim), bool(keepdim)))), out)

    function.__name__ = function.__qualname__ = name
    what = "the lower of two middle values" if name == "median" else "NaN left out"
    function.__doc__ = (
        f"The median of all elements ({what}), or (values, indices) along a dimension. IndexError for an "
        "empty dimension."
    )
    PUBLIC[name] = METHODS[name] = function


median_function("median", median_op, whole_median("median", median_index))
median_function("nanmedian", nanmedian_op, whole_median("nanmedian", nanmedian_index))


def mode(input, dim: int = -1, keepdim: bool = False, *, out=None):
    """(values, indices): the most frequent value along a dimension, the smallest of several, and the index of its last
    occurrence."""
    return finish(RETURN_TYPES["mode"](*apply(mode_op, (input,), (dims_of(input.ndim, dim), bool(keepdim)))), out)


def kthvalue(input, k: int, dim: int = -1, keepdim: bool = False, *, out=None):
    """(values, indices) of the k-th smallest element along a dimension, k from 1. RuntimeError for k out of range."""
    dims = dims_of(input.ndim, dim)
    n = input.shape[dims[0]] if dims else 1
    if n and not 1 <= k <= n:
        raise RuntimeError(f"kthvalue(): selected number k out of range for dimension {wrap_dim(dim, input.ndim)}")
    return finish(RETURN_TYPES["kthvalue"](*apply(kthvalue_op, (input,), (dims, bool(keepdim), int(k)))), out)


# -- quantiles ---------------------------------------------------------------------------------------------------------
def quantile_of(name: str, input, q, dim, keepdim, interpolation, skip_nan: bool):
    if input.dtype.category != FLOAT:
        raise RuntimeError(f"{name}() input tensor must be either float or double dtype")
    if interpolation not in ("linear", "lower", "higher", "midpoint", "nearest"):
        raise RuntimeError(
            f"{name}() interpolation must be one of linear, lower, higher, midpoint or nearest, but got {interpolation}"
        )
    q_tensor = hasattr(q, "_meta")
    if not q_tensor:
        if not 0 <= q <= 1:
            raise RuntimeError(f"{name}() q must be in the range [0, 1] but got {q}")
        q = PUBLIC["scalar_tensor"](float(q), dtype=input.dtype)
    if q.dtype is not input.dtype:
        raise RuntimeError(f"{name}() q tensor must be same dtype as the input tensor")
    if q.ndim > 1:
        raise RuntimeError(f"{name}() q must be a scalar or 1D tensor")
    if input.numel() == 0:
        raise RuntimeError(f"{name}() input tensor must be non-empty")
    axis = 0 if dim is None else wrap_dim(dim, input.ndim)
    x = reshape(input, (-1,)) if dim is None else input if input.ndim else reshape(input, (1,))
    x = sort(x.transpose(axis, -1) if x.ndim > 1 else x).values
    n = x.shape[-1]
    where = reshape(q, (-1,))  # (quantiles,)
    if skip_nan:
        last = (~x.isnan()).sum(-1, keepdim=True).to(x.dtype) - 1  # (..., 1)
        place = where * where_of(last < 0, 0, last)
    else:
        place = (where * (n - 1)).expand(*x.shape[:-1], where.shape[0])
    if interpolation in ("lower", "higher", "nearest"):
        place = {"lower": place.floor(), "higher": place.ceil(), "nearest": place.round()}[interpolation]
    below = place.floor()
    low = x.gather(-1, below.to(int64))
    high = x.gather(-1, place.ceil().to(int64))
    weight = where_of(place == below, 0.0, 0.5) if interpolation == "midpoint" else place - below
    result = low.lerp(high, weight.to(x.dtype).expand(*low.shape))
    if not skip_nan:
        result = where_of(x.isnan().any(-1, True), math.nan, result)
    result = result.movedim(-1, 0)  # (quantiles, ..., rest without dim)
    if dim is not None and input.ndim:
        result = result.unsqueeze(-1).transpose(axis + 1, -1)
        result = result if keepdim else result.squeeze(axis + 1)
    elif keepdim:
        result = reshape(result, (result.shape[0], *(1,) * input.ndim))
    return result if q_tensor and q.ndim else result.squeeze(0)


def quantile(input, q, dim: int | None = None, keepdim: bool = False, *, interpolation: str = "linear", out=None):
    """The q-quantiles (a number or vector in [0, 1]) of all elements or along a dimension; a vector of q comes first
    in the shape.

    interpolation: "linear", "lower", "higher", "midpoint" or "nearest". RuntimeError for q out of range or integers.
    """
    return finish(quantile_of("quantile", input, q, dim, keepdim, interpolation, False), out)


def nanquantile(input, q, dim: int | None = None, keepdim: bool = False, *, interpolation: str = "linear", out=None):
    """As `quantile`, with NaN left out."""
    return finish(quantile_of("nanquantile", input, q, dim, keepdim, interpolation, True), out)


# -- unique values: their number is known only when they are, so these run at once -------------------------------------
def unique(
    input, sorted: bool = True, return_inverse: bool = False, return_counts: bool = False, dim: int | None = None
):
    """The distinct elements (or slices along `dim`), sorted;

    with the index of each element's value, and how often each occurs.
    """
    a = input.detach()._array()
    if dim is not None:
        dim = wrap_dim(dim, input.ndim)
    if dim is None and a.size and a.dtype.kind in "iu" and int(a.max()) - int(a.min()) <= max(a.size, 256):
        return chosen(by_counting(a, return_inverse), return_inverse, return_counts)
    if dim is None and not return_inverse:      # NumPy counts in a table, which takes ten times as long where most values are distinct
        ordered = np.sort(a, axis=None)
        starts = np.flatnonzero(np.append(True, ordered[1:] != ordered[:-1])[: a.size])
        return chosen((ordered[starts], None, np.diff(np.append(starts, a.size))), False, return_counts)
    values, inverse, counts = np.unique(a, return_inverse=True, return_counts=True, axis=dim, equal_nan=False)
    return chosen((values, inverse.reshape(a.shape if dim is None else (-1,)), counts), return_inverse, return_counts)


def by_counting(a: np.ndarray, inverse: bool) -> tuple:
    """The distinct values of integers that lie close together, the place of each element's among them, and how often each occurs."""
    first = a.min()
    places = a.astype(np.int64) - int(first)
    counts = np.bincount(places.reshape(-1))
    present = np.flatnonzero(counts)
    return (present + int(first)).astype(a.dtype), (np.cumsum(counts > 0) - 1)[places] if inverse else None, counts[present]


def chosen(parts, return_inverse: bool, return_counts: bool):
    tensors = [
        from_array(np.array(p, order="C"))
        for p, wanted in zip(parts, (True, return_inverse, return_counts), strict=True)
        if wanted
    ]
    return tensors[0] if len(tensors) == 1 else tuple(tensors)


def unique_consecutive(input, return_inverse: bool = False, return_counts: bool = False, dim: int | None = None):
    """The elements (or slices along `dim`) that differ from the one before;

    with the index of each element's run, and the runs' lengths.
    """
    a = input.detach()._array()
    lines = a.reshape(-1) if dim is None else np.moveaxis(a, wrap_dim(dim, input.ndim), 0)
    n = lines.shape[0]
    new = np.ones(n, bool)
    if n > 1:
        new[1:] = (lines[1:] != lines[:-1]).reshape(n - 1, -1).any(1)
    starts = np.flatnonzero(new)
    values = lines[starts] if dim is None else np.moveaxis(lines[starts], 0, wrap_dim(dim, input.ndim))
    inverse = (np.cumsum(new) - 1).reshape(a.shape if dim is None else (-1,))
    return chosen((values, inverse, np.diff(np.append(starts, n))), return_inverse, return_counts)


# -- bins --------------------------------------------------------------------------------------------------------------
def search_infer(edges, values, right, dtype):
    if len(edges.shape) != 1 and tuple(edges.shape[:-1]) != tuple(values.shape[:-1]):
        raise RuntimeError(
            "torch.searchsorted(): boundaries tensor should be 1 dimension or the first N-1 dimensions of boundaries "
            f"tensor and input value tensor must match, but we got boundaries tensor {list(edges.shape)} and input "
            f"value tensor {list(values.shape)}"
        )
    return Meta(values.shape, dtype)


def search_reference(edges, values, right, dtype):
    side = "right" if right else "left"
    if edges.ndim == 1:
        return np.searchsorted(edges, values, side=side)
    out = np.empty(values.shape, np.int64)
    for place in np.ndindex(edges.shape[:-1]):
        out[place] = np.searchsorted(edges[place], values[place], side=side)
    return out


search_op = Op("searchsorted", infer=search_infer, reference=search_reference)


def searchsorted(
    sorted_sequence,
    input,
    *,
    out_int32: bool = False,
    right: bool = False,
    side: str | None = None,
    sorter=None,
    out=None,
):
    """Where to insert values so that the innermost dimension of sorted_sequence stays sorted: before equal elements,
    or after them if `right`.

    RuntimeError where the leading dimensions differ, or for contradicting side and right.
    """
    if side is not None:
        if side not in ("left", "right"):
            raise RuntimeError(f"torch.searchsorted(): side can only be 'left' or 'right' but got {side}")
        if side == "left" and right:
            raise RuntimeError(
                "torch.searchsorted(): side and right can't be set to opposites, got side of left while right was True"
            )
        right = side == "right"
    if sorter is not None:
        sorted_sequence = sorted_sequence.gather(-1, sorter)
    values = (
        input
        if hasattr(input, "_meta")
        else PUBLIC["scalar_tensor"](operand(input, "searchsorted"), dtype=sorted_sequence.dtype)
    )
    common = dtypes.promote_types(values.dtype, sorted_sequence.dtype)
    sorted_sequence, values = sorted_sequence.to(common), values.to(common)
    return finish(apply(search_op, (sorted_sequence, values), (bool(right), int32 if out_int32 else int64)), out)


def bucketize(input, boundaries, *, out_int32: bool = False, right: bool = False, out=None):
    """The index of the bucket between sorted boundaries that each value falls in.

    RuntimeError unless boundaries is a vector.
    """
    if boundaries.ndim != 1:
        raise RuntimeError(f"boundaries tensor must be 1 dimension, but got dim({boundaries.ndim})")
    return searchsorted(boundaries, input, out_int32=out_int32, right=right, out=out)


def histc_reference(x, low, high, bins):
    flat = x.reshape(-1)
    if low == high and flat.size:
        low, high = float(flat.min()), float(flat.max())
    if low == high:
        low, high = low - 1, high + 1
    if not (math.isfinite(low) and math.isfinite(high)):
        raise RuntimeError(f"torch.histc: range of [{low:g}, {high:g}] is not finite")
    inside = flat[(flat >= low) & (flat <= high)]
    place = ((inside - inside.dtype.type(low)) * bins / inside.dtype.type(high - low)).astype(np.int64)
    return np.bincount(np.minimum(place, bins - 1), minlength=bins)


histc_op = Op("histc", infer=lambda m, low, high, bins: Meta((bins,), m.dtype), reference=histc_reference)


def histc(input, bins: int = 100, min: float = 0, max: float = 0, *, out=None):
    """How many elements fall into each of `bins` equal bins between min and max (both 0: of the data)."""
    if input.dtype.category != FLOAT:
        raise NotImplementedError(f"\"histogram_cpu\" not implemented for '{input.dtype.label}'")
    if bins <= 0:
        raise RuntimeError(f"torch.histogram(): bins must be > 0, but got {bins} for dimension 0")
    if max < min:
        raise RuntimeError("torch.histc: max must be larger than min")
    return finish(apply(histc_op, (input.detach(), float(min), float(max)), (int(bins),)), out)


def bincount(input, weights=None, minlength: int = 0):
    """How often each whole number from 0 occurs (or the sum of its weights).

    RuntimeError for negative numbers. Runs at once: its size depends on the values.
    """
    if input.dtype.category == FLOAT:
        raise NotImplementedError(f"\"bincount_cpu\" not implemented for '{input.dtype.label}'")
    a = input._array()
    if a.ndim != 1 or input.dtype.category != INT or (a.size and a.min() < 0):
        raise RuntimeError("bincount only supports 1-d non-negative integral inputs.")
    if minlength < 0:
        raise RuntimeError("minlength should be >= 0")
    if weights is None:
        return from_array(np.bincount(a, minlength=minlength).astype(np.int64))
    if tuple(weights.shape) != a.shape:
        raise RuntimeError("weights should be 1-d and have the same length as input")
    kind = np.float32 if weights.dtype is dtypes.float32 else np.float64
    return from_array(np.bincount(a, weights.detach()._array(), minlength=minlength).astype(kind))


isin_op = Op(
    "isin",
    infer=lambda m, tests, invert: Meta(m.shape, bool_),
    reference=lambda x, tests, invert: np.isin(x, tests, invert=invert),
)


def isin(elements, test_elements, *, assume_unique: bool = False, invert: bool = False, out=None):
    """Whether each element is among test_elements (or, with invert, is not). Either may be a number."""
    elements, test_elements = (
        x if hasattr(x, "_meta") else tensor(operand(x, "isin")) for x in (elements, test_elements)
    )
    return finish(apply(isin_op, (elements, test_elements), (bool(invert),)), out)


PUBLIC["isin"] = isin
for _f in (
    sort,
    argsort,
    msort,
    topk,
    mode,
    kthvalue,
    quantile,
    nanquantile,
    unique,
    unique_consecutive,
    histc,
    bincount,
):
    PUBLIC[_f.__name__] = METHODS[_f.__name__] = _f
PUBLIC["searchsorted"], PUBLIC["bucketize"] = searchsorted, bucketize

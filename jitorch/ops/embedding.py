"""Embedding: rows of a table, named by indices, and sums of them. The gradient adds into rows of a table of zeros."""

from __future__ import annotations

import numpy as np

from ..dtypes import int32, int64
from ..graph.record import Meta
from ..tensor import assign, from_array
from .dispatch import PUBLIC, Op, apply
from .gather import index_select, scatter_reduce
from .indexing import check_index, check_values, filled, index_put_op
from .masks import masked_fill
from .views import expand, reshape

OUTSIDE = "index out of range in self"


def embedding_infer(weight, index, padding_idx):
    if index.dtype not in (int64, int32):
        raise RuntimeError(
            "Expected tensor for argument #1 'indices' to have one of the following scalar types: Long, Int; but got "
            f"torch.{index.dtype.label}Tensor instead (while checking arguments for embedding)"
        )
    if len(weight.shape) != 2:
        raise RuntimeError("'weight' must be 2-D")
    return Meta((*index.shape, weight.shape[1]), weight.dtype)


def embedding_reference(weight, index, padding_idx):
    check_values(index, weight.shape[0], 0, message=OUTSIDE, negative=False)
    return weight[index]


def row_indices(b, index, width: int):
    """The linear indices (IR) of whole rows."""
    n = len(index.shape)
    rows = b.reshape(b.cast(index, int64), (*index.shape, 1)) * width
    return rows + b.iota((*(1,) * n, width), n)


def embedding_vjp(ctx, g):
    return (apply(embedding_backward_op, (g, ctx.input(1)), (ctx.metas[0].shape[0], ctx.attrs[0])), None)


def embedding_backward_reference(g, index, rows, padding_idx):
    out = np.zeros((rows, g.shape[-1]), g.dtype)
    flat, values = index.reshape(-1), g.reshape(-1, g.shape[-1])
    if padding_idx is not None:
        keep = flat != padding_idx
        flat, values = flat[keep], values[keep]
    check_values(flat, rows, 0, message=OUTSIDE, negative=False)
    np.add.at(out, flat, values)
    return out


def embedding_backward_lower(b, g, index, rows, padding_idx):
    width = g.shape[-1]
    zeros = b.full((rows, width), 0, g.dtype)
    if padding_idx is not None:
        skip = b.reshape(index.eq(padding_idx), (*index.shape, 1))
        g = b.where(skip, 0, g)
    return b.scatter("add", zeros, row_indices(b, index, width), g)


def embedding_backward_vjp(ctx, g):
    index, padding_idx = ctx.input(1), ctx.attrs[1]
    picked = apply(embedding_op, (g, index), (padding_idx,))
    if padding_idx is not None:
        picked = masked_fill(picked, reshape(index == padding_idx, (*index.shape, 1)), 0.0)
    return (picked, None)


embedding_op = Op(
    "embedding",
    infer=embedding_infer,
    reference=embedding_reference,
    lower=lambda b, weight, index, padding_idx: b.take(weight, row_indices(b, index, weight.shape[1])),
    vjp=embedding_vjp,
    saves="1",
)
embedding_backward_op = Op(
    "embedding_dense_backward",
    infer=lambda g, index, rows, padding_idx: Meta((rows, g.shape[-1]), g.dtype),
    reference=embedding_backward_reference,
    lower=embedding_backward_lower,
    vjp=embedding_backward_vjp,
    saves="1",
)


def embedding(
    input,
    weight,
    padding_idx: int | None = None,
    max_norm: float | None = None,
    norm_type: float = 2.0,
    scale_grad_by_freq: bool = False,
    sparse: bool = False,
):
    """Rows of `weight` (count, width) at `input`: (..., width), as `torch.nn.functional.embedding`.

    padding_idx: a row that gets no gradient. sparse: the gradient of `weight` is a sparse tensor of the rows in use.
    max_norm: rows in use are first scaled down, in place, to this norm.
    Raises IndexError out of range.

    >>> import jitorch as torch
    >>> from jitorch.ops.embedding import embedding
    >>> embedding(torch.tensor([1, 0]), torch.tensor([[1., 2.], [3., 4.]]))
    tensor([[3., 4.],
            [1., 2.]])
    """
    rows = weight.shape[0]
    if padding_idx is not None:
        if not -rows <= padding_idx < rows:
            raise AssertionError("Padding_idx must be within num_embeddings")
        padding_idx %= rows
    check_index(input, rows, 0, message=OUTSIDE, negative=False)
    if max_norm is not None:
        renormalise(weight, input, max_norm, norm_type)
    if sparse and weight.requires_grad:
        if scale_grad_by_freq:
            raise RuntimeError("embedding_backward: scale_grad_by_freq not supported with sparse gradients")
        from .sparse import embedding_with_sparse_gradient

        return embedding_with_sparse_gradient(weight, input, padding_idx)
    if scale_grad_by_freq:
        counts = np.bincount(input._array().reshape(-1), minlength=rows)
        weight = scale_gradient(weight, from_array((1 / np.maximum(counts, 1)).astype(weight.dtype.np).reshape(-1, 1)))
    return apply(embedding_op, (weight, input), (padding_idx,))


def renormalise(weight, index, max_norm: float, norm_type: float) -> None:
    """Scale the rows in use down to `max_norm`, in place and unseen by autograd."""
    from ..autograd.node import state

    was, state.enabled = state.enabled, False
    try:
        rows = from_array(np.unique(index._array()).astype(np.int64))
        used = index_select(weight, 0, rows)
        norm = np.linalg.norm(used._array(), norm_type, axis=1, keepdims=True)
        scale = np.where(norm > max_norm, max_norm / (norm + 1e-7), 1).astype(weight.dtype.np)
        assign(
            weight.detach(), apply(index_put_op, (weight.detach(), used * from_array(scale), rows), ((True,), False))
        )
    finally:
        state.enabled = was


scale_gradient_op = Op(
    "_scale_gradient",
    infer=lambda x, scale: Meta(x.shape, x.dtype),
    reference=lambda x, scale: x.copy(),
    lower=lambda b, x, scale: b.map("copy", x),
    vjp=lambda ctx, g: (g * ctx.input(1), None),
    saves="1",
)


def scale_gradient(x, scale):
    """x itself, its gradient multiplied by `scale`."""
    return apply(scale_gradient_op, (x, scale))


def embedding_bag(
    input,
    weight,
    offsets=None,
    max_norm=None,
    norm_type: float = 2.0,
    scale_grad_by_freq: bool = False,
    mode: str = "mean",
    sparse: bool = False,
    per_sample_weights=None,
    include_last_offset: bool = False,
    padding_idx: int | None = None,
):
    """Sums, means or maxima of the embeddings of bags of indices.

    Bags are the rows of a matrix, or the parts of a vector that begin at `offsets`.
    Bags without an index (other than padding_idx) give zeros. As `torch.nn.functional.embedding_bag`.
    """
    if mode not in ("sum", "mean", "max"):
        raise ValueError("mode has to be one of sum, mean or max")
    if mode == "max" and sparse:
        raise ValueError("max mode does not support sparse weights")
    if per_sample_weights is not None and mode != "sum":
        raise NotImplementedError(
            "embedding_bag: per_sample_weights was not None. per_sample_weights is only supported for mode='sum' (got "
            f"mode='{mode}'). Please open a feature request on GitHub."
        )
    if per_sample_weights is not None and input.shape != per_sample_weights.shape:
        raise ValueError(
            f"embedding_bag: If per_sample_weights ({list(per_sample_weights.shape)}) is not None, then it must have "
            f"the same shape as the input ({list(input.shape)})"
        )
    if input.ndim == 2:
        if offsets is not None:
            raise ValueError(
                "if input is 2D, then offsets has to be None, as input is treated is a mini-batch of fixed length "
                f"sequences. However, found offsets of type {type(offsets)}"
            )
        bags, owner = input.shape[0], np.repeat(np.arange(input.shape[0]), input.shape[1])
    elif input.ndim == 1:
        if offsets is None:
            raise ValueError("offsets has to be a 1D Tensor but got None")
        if offsets.ndim != 1:
            raise ValueError("offsets has to be a 1D Tensor")
        starts = offsets._array()
        starts = starts[:-1] if include_last_offset else starts
        if len(starts) and starts[0] != 0:
            raise ValueError(
                "offsets[0] has to be 0, i.e., the first sequence in the mini-batch has to start from position 0. "
                f"However, got {starts[0]}"
            )
        bags, owner = len(starts), np.searchsorted(starts, np.arange(input.shape[0]), side="right") - 1
    else:
        raise ValueError(f"input has to be 1D or 2D Tensor, but got Tensor of dimension {input.ndim}")
    indices = reshape(input, (input._meta.numel,))
    rows = embedding(indices, weight, padding_idx, max_norm, norm_type, scale_grad_by_freq, sparse)
    if per_sample_weights is not None:
        rows = rows * reshape(per_sample_weights, (indices.shape[0], 1))
    counted = np.ones(len(owner), bool)
    if padding_idx is not None:
        counted = indices._array() != padding_idx % weight.shape[0]
        rows = masked_fill(rows, from_array(~counted[:, None]), 0.0 if mode != "max" else float("-inf"))
    place, width = from_array(owner.astype(np.int64)), weight.shape[1]
    zeros = filled((bags, width), 0, weight.dtype)
    if mode == "max":
        result = scatter_reduce(
            zeros, 0, expand(reshape(place, (len(owner), 1)), len(owner), width), rows, "amax", include_self=False
        )
        full = np.bincount(owner[counted], minlength=bags) > 0
        return masked_fill(result, from_array(~full[:, None]), 0.0)
    total = apply(index_put_op, (zeros, rows, place), ((True,), True))
    if mode == "sum":
        return total
    counts = np.maximum(np.bincount(owner[counted], minlength=bags), 1).astype(weight.dtype.np)
    return total / from_array(counts[:, None])

PUBLIC["embedding"] = lambda weight, indices, padding_idx=-1, scale_grad_by_freq=False, sparse=False: embedding(
    indices, weight, None if padding_idx < 0 else padding_idx, scale_grad_by_freq=scale_grad_by_freq
)

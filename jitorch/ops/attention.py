"""Attention: softmax(query @ key.T * scale + mask) @ value, without the matrix of scores in memory.

The entry has a second result, the logarithm of each row's sum of exponentials, from which the way back computes weights
again. The formula below says what both are; it is the reference, and its derivative the second gradient.
"""

from __future__ import annotations

import numpy as np

from ..autograd.node import state
from ..dtypes import BOOL, FLOAT, bool_, float32, float64
from ..graph.ir import broadcast, lead_of
from ..graph.record import Meta, count
from .contraction import need_tensors
from .dispatch import Op, apply
from .dropout import dropout
from .formulas import NUMPY, TENSORS, gradient_of

INF = float("inf")


# -- the formula, on arrays or tensors -------------------------------------------------------------------------------
def by_group(m, x, heads: int, own: int):
    """(..., heads, A, B) with one group of heads to each of `own` others: (..., own, heads / own, A, B)."""
    shape = tuple(x.shape)
    return m.reshape(x, (*shape[:-3], own, heads // own, *shape[-2:]))


def product(m, x, y):
    """x @ y, where x may have a multiple of y's heads."""
    heads, own = x.shape[-3] if x.ndim > 2 else 1, y.shape[-3] if y.ndim > 2 else 1
    if own in (1, heads) or heads == 1:
        return x @ y
    result = by_group(m, x, heads, own) @ by_group(m, y, own, own)
    return m.reshape(result, (*tuple(result.shape)[:-4], heads, *tuple(result.shape)[-2:]))


def turned(m, x):
    return np.swapaxes(x, -1, -2) if m is NUMPY else x.transpose(-1, -2)


def scores_of(m, q, k, mask, scale, causal: bool):
    scores = product(m, q * scale, turned(m, k))
    if causal:
        shape = tuple(scores.shape)[-2:]
        scores = m.where(m.iota(shape, 0) >= m.iota(shape, 1), scores, -INF)
    if mask is None:
        return scores
    return m.where(mask, scores, -INF) if is_bool(mask) else scores + mask


def is_bool(mask) -> bool:
    return mask.dtype == np.bool_ if isinstance(mask, np.ndarray) else mask.dtype is bool_


def weights_of(m, scores):
    """The softmax of each row, zeros where a row sees nothing, and log(sum(exp(row))), +inf there."""
    dims = (scores.ndim - 1,)
    if not scores.shape[-1]:
        return scores, m.reduce("sum", scores, dims) + INF
    top = m.reduce("max", scores if m is NUMPY else scores.detach(), dims)
    dead = top == -INF
    shift = m.where(dead, 0.0, top)
    e = m.map("exp", scores - shift)
    total = m.where(dead, 1.0, m.reduce("sum", e, dims))
    return e / total, m.where(dead, INF, m.map("log", total) + shift)


def attention(m, q, k, v, mask, scale, causal: bool):
    """The result (..., L, Ev), and the logarithm of the sum of exponentials of each row's scores (..., L)."""
    weights, lse = weights_of(m, scores_of(m, q, k, mask, scale, causal))
    return product(m, weights, v), m.reshape(lse, tuple(lse.shape)[:-1])


def attention_backward(g, q, k, v, mask, scale, out, lse, causal: bool):
    """Gradients of q, k and v, all with the result's leading dimensions."""
    lead, heads = out.shape[:-2], out.shape[-3] if out.ndim > 2 else 1
    k, v = (np.repeat(x, heads // x.shape[-3], -3) if x.ndim > 2 and x.shape[-3] not in (1, heads) else x for x in (k, v))
    weights = np.exp(scores_of(NUMPY, q, k, mask, scale, causal) - lse[..., None])
    slopes = weights * (g @ np.swapaxes(v, -1, -2) - (g * out).sum(-1, keepdims=True))
    found = (slopes @ k * scale, np.swapaxes(slopes, -1, -2) @ q * scale, np.swapaxes(weights, -1, -2) @ g)
    return tuple(np.broadcast_to(x, (*lead, *x.shape[-2:])) for x in found)


# -- the entries -----------------------------------------------------------------------------------------------------
def infer(q, k, v, mask, scale, causal):
    if min(len(x.shape) for x in (q, k, v)) < 2:
        dims = ("query.dim: {} key.dim: {} and value.dim: {}").format(*(len(x.shape) for x in (q, k, v)))
        raise RuntimeError(f"Expected query, key, and value to all be  at least 2 dimensional, but got {dims} instead.")
    if not q.dtype is k.dtype is v.dtype:
        raise RuntimeError(
            "Expected query, key, and value to have the same dtype, but got query.dtype: "
            f"{type_word(q)} key.dtype: {type_word(k)} and value.dtype: {type_word(v)} instead."
        )
    if q.dtype.category != FLOAT:
        raise RuntimeError(f"expected m1 and m2 to have the same dtype, but got: float != {type_word(q)}")
    if q.shape[-1] != k.shape[-1]:
        raise RuntimeError(
            f"scaled_dot_product_attention(): the last dimension of query {list(q.shape)} and key {list(k.shape)} must match"
        )
    if k.shape[-2] != v.shape[-2]:
        raise RuntimeError(
            f"scaled_dot_product_attention(): key {list(k.shape)} and value {list(v.shape)} must have the same length (dimension -2)"
        )
    lead = lead_of((q, k, v))
    if mask is not None:
        scores = (*lead, q.shape[-2], k.shape[-2])
        if broadcast([scores, mask.shape]) != scores:
            raise RuntimeError(
                f"output with shape {list(scores)} doesn't match the broadcast shape {list(broadcast([scores, mask.shape]))}"
            )
    return Meta((*lead, q.shape[-2], v.shape[-1]), q.dtype), Meta((*lead, q.shape[-2]), q.dtype)


def type_word(x) -> str:
    return {"float32": "float", "float64": "double", "int64": "long int", "uint8": "unsigned char", "int8": "signed char"}.get(
        x.dtype.name, x.dtype.name.removesuffix("32").removesuffix("16") if x.dtype.name != "int16" else "short int"
    )


def infer_backward(g, q, k, v, mask, scale, out, lse, causal):
    lead = out.shape[:-2]
    return tuple(Meta((*lead, *x.shape[-2:]), q.dtype) for x in (q, k, v))


def lower(b, q, k, v, mask, scale, causal):
    if not all(count(m.shape) for m in (q, k, v)):
        return None
    out, lse = b.attend(*operands(b, lead_of((q, k, v)), q, k, v), number(b, scale), few(b, mask, lead_of((q, k, v))), causal)
    return b.reshape(out, b.out[0].shape), b.reshape(lse, b.out[1].shape)


def lower_backward(b, g, q, k, v, mask, scale, out, lse, causal):
    if not all(count(m.shape) for m in (q, k, v)):
        return None
    lead = lead_of((q, k, v))
    delta = b.reduce("sum", g * out, [len(lead) + 1])
    q, k, v = operands(b, lead, q, k, v)
    dq, dk, dv = b.attend_back(few(b, g, lead), q, k, v, lse, delta, number(b, scale), few(b, mask, lead), causal)
    return tuple(b.reshape(x, meta.shape) for x, meta in zip((dq, dk, dv), b.out))


def number(b, scale):
    return b.cast(scale, float64) if hasattr(scale, "kind") else b.const(scale, float64)


def operands(b, lead, q, k, v):
    """At most two leading dimensions, and one number of heads beside the queries' and one."""
    q, k, v = (few(b, x, lead) for x in (q, k, v))
    heads = {x.shape[-3] for x in (k, v) if len(x.shape) > 2} - {1, lead[-1] if lead else 1}
    if len(heads) == 2:  # key and value are shared by different groups
        k, v = (every_head(b, x, lead[-1]) for x in (k, v))
    return q, k, v


def few(b, x, lead):
    """x with its leading dimensions but the last as one, if there are more than two."""
    if x is None or len(lead) <= 2:
        return x
    own = (1,) * (len(lead) - len(x.shape) + 2) + x.shape
    x = b.reshape(b.expand(x, (*lead[:-1], *own[-3:])), (count(lead[:-1]), *own[-3:]))
    return x


def every_head(b, x, heads: int):
    *lead, own, rows, columns = x.shape
    x = b.expand(b.reshape(x, (*lead, own, 1, rows, columns)), (*lead, own, heads // own, rows, columns))
    return b.reshape(x, (*lead, heads, rows, columns))


def gradients(ctx, g, *_):
    if g is None:
        return (None,) * 5
    if state.enabled or ctx.needs[3]:  # to be differentiated again, or for the mask, whose gradient is as large as the scores
        return gradient_of(attention)(ctx, g, None)
    q, k, v, mask, scale = (ctx.input(i) for i in range(5))
    found = apply(backward_op, (g, q, k, v, mask, scale, ctx.output(0).detach(), ctx.output(1).detach()), ctx.attrs)
    return (*(shared(x, own) if need else None for x, own, need in zip(found, ctx.metas, ctx.needs)), None, None)


def shared(x, own: Meta):
    """The gradient of an operand from those of all leading dimensions: sums over what was repeated."""
    heads, few_heads = x.shape[-3] if x.ndim > 2 else 1, own.shape[-3] if len(own.shape) > 2 else 1
    if few_heads not in (1, heads):
        x = by_group(TENSORS, x, heads, few_heads).sum(-3)
    return x.sum_to_size(own.shape)


attention_op = Op(
    "scaled_dot_product_attention",
    infer=infer,
    reference=lambda *args: attention(NUMPY, *args),
    lower=lower,
    vjp=gradients,
    saves="01234o",
    grad_name="ScaledDotProductFlashAttentionForCpuBackward0",
)
backward_op = Op(
    "scaled_dot_product_attention_backward",
    infer=infer_backward,
    reference=attention_backward,
    lower=lower_backward,
)


# -- the function ----------------------------------------------------------------------------------------------------
def scaled_dot_product_attention(
    query,
    key,
    value,
    attn_mask=None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
):
    """softmax(query @ key.T * scale + mask) @ value (Vaswani et al., 2017), in memory that grows with the length, not with its square.

    query (..., L, E), key (..., S, E) and value (..., S, Ev) give (..., L, Ev); leading dimensions broadcast, and with
    enable_gqa, query may have a multiple of key's and value's heads (dimension -3). attn_mask broadcasts to (..., L, S):
    bool (True: takes part), or added to the scores. is_causal: row i sees keys 0 to i. scale: 1 / sqrt(E) unless given.
    dropout_p drops weights (and then their matrix is in memory). A row that sees no key is 0.

    RuntimeError for shapes or dtypes that don't fit, and for a mask beside is_causal.

    >>> import jitorch as torch
    >>> x = torch.ones(2, 3, 4)
    >>> torch.nn.functional.scaled_dot_product_attention(x, x, x, is_causal=True).shape
    torch.Size([2, 3, 4])
    """
    need_tensors("scaled_dot_product_attention", query, key, value)
    if attn_mask is not None:
        attn_mask = checked_mask(attn_mask, query, is_causal)
    if not 0 <= dropout_p <= 1:
        raise RuntimeError(f"dropout probability has to be between 0 and 1, but got {dropout_p}")
    heads = [x.shape[-3] if x.ndim > 2 else 1 for x in (query, key, value)]
    if not enable_gqa:
        if any(n not in (1, heads[0]) and heads[0] != 1 for n in heads[1:]):
            broadcast([x.shape[:-2] for x in (query, key, value)])
    elif any(n == 0 or heads[0] % n for n in heads[1:]):
        raise RuntimeError(
            "Number of heads in key and value must divide the number of heads in query, but got "
            f"{heads[1]} and {heads[2]} for {heads[0]}"
        )
    scale = float(1 / query.shape[-1] ** 0.5 if query.shape[-1] else 1.0) if scale is None else float(scale)
    if dropout_p:
        return with_dropout(query, key, value, attn_mask, dropout_p, bool(is_causal), scale)
    return apply(attention_op, (query, key, value, attn_mask, scale), (bool(is_causal),))[0]


def checked_mask(mask, query, is_causal: bool):
    if is_causal:
        raise RuntimeError("_scaled_dot_product_attention: Explicit attn_mask should not be set when is_causal=True")
    if not hasattr(mask, "_meta"):
        raise TypeError(f"scaled_dot_product_attention(): argument 'attn_mask' must be Tensor, not {type(mask).__name__}")
    if mask.dtype.category != BOOL and mask.dtype not in (float32, query.dtype):
        raise RuntimeError(
            "Expected attn_mask dtype to be bool or float or to match query dtype, but got attn_mask.dtype: "
            f"{type_word(mask)} and  query.dtype: {type_word(query)} instead."
        )
    if mask.ndim < 2:
        raise IndexError(f"Dimension out of range (expected to be in range of [{-max(mask.ndim, 1)}, {max(mask.ndim, 1) - 1}], but got -2)")
    return mask if mask.dtype.category == BOOL else mask.to(query.dtype)


def with_dropout(query, key, value, mask, p: float, causal: bool, scale: float):
    """The same with weights dropped, from single operations."""
    infer(query._meta, key._meta, value._meta, None if mask is None else mask._meta, float, causal)
    weights, _ = weights_of(TENSORS, scores_of(TENSORS, query, key, mask, scale, causal))
    return product(TENSORS, dropout(weights, p, True), value)

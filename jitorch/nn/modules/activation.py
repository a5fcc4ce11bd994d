"""Activation functions as modules, and attention."""

from __future__ import annotations

import warnings
from types import SimpleNamespace
from typing import Any

import jitorch

from ...tensor import Tensor
from .. import functional as F
from .. import init as initial
from ..parameter import Parameter
from .linear import NonDynamicallyQuantizableLinear, add_parameter
from .module import Module
from .utils import described


class _InPlace(Module):
    """An activation whose one setting is whether it overwrites its input."""

    __constants__ = ["inplace"]

    def __init__(self, inplace: bool = False):
        super().__init__()
        self.inplace = inplace

    def extra_repr(self) -> str:
        return "inplace=True" if self.inplace else ""


def settings(module: Module, names: str) -> str:
    """The settings of an activation, `inplace` only where it is True."""
    return described(module, names) + (", inplace=True" if module.inplace else "")


class ReLU(_InPlace):
    """max(0, x).

    >>> import jitorch as torch
    >>> torch.nn.ReLU()(torch.tensor([-1., 2.]))
    tensor([0., 2.])
    """

    def forward(self, input: Tensor) -> Tensor:
        return F.relu(input, inplace=self.inplace)


class SiLU(_InPlace):
    """x * sigmoid(x)."""

    def forward(self, input: Tensor) -> Tensor:
        return F.silu(input, inplace=self.inplace)


class Mish(_InPlace):
    """x * tanh(softplus(x))."""

    def forward(self, input: Tensor) -> Tensor:
        return F.mish(input, inplace=self.inplace)


class SELU(_InPlace):
    """scale * (max(0, x) + min(0, alpha * (exp(x) - 1))) with the constants of Klambauer et al., 2017."""

    def forward(self, input: Tensor) -> Tensor:
        return F.selu(input, self.inplace)


class Hardswish(_InPlace):
    """x * relu6(x + 3) / 6."""

    def forward(self, input: Tensor) -> Tensor:
        return F.hardswish(input, self.inplace)

    def extra_repr(self) -> str:
        return ""


class Hardsigmoid(_InPlace):
    """relu6(x + 3) / 6."""

    def forward(self, input: Tensor) -> Tensor:
        return F.hardsigmoid(input, self.inplace)

    def extra_repr(self) -> str:
        return ""


class Threshold(Module):
    """x where x > threshold, else value."""

    __constants__ = ["threshold", "value", "inplace"]

    def __init__(self, threshold: float, value: float, inplace: bool = False):
        super().__init__()
        self.threshold, self.value, self.inplace = threshold, value, inplace

    def forward(self, input: Tensor) -> Tensor:
        return F.threshold(input, self.threshold, self.value, self.inplace)

    def extra_repr(self) -> str:
        return settings(self, "threshold value")


class RReLU(Module):
    """x where x >= 0, else a * x, with a drawn from U(lower, upper) in training and their mean otherwise."""

    __constants__ = ["lower", "upper", "inplace"]

    def __init__(self, lower: float = 1.0 / 8, upper: float = 1.0 / 3, inplace: bool = False):
        super().__init__()
        self.lower, self.upper, self.inplace = lower, upper, inplace

    def forward(self, input: Tensor) -> Tensor:
        return F.rrelu(input, self.lower, self.upper, self.training, self.inplace)

    def extra_repr(self) -> str:
        return settings(self, "lower upper")


class Hardtanh(Module):
    """x limited to [min_val, max_val]."""

    __constants__ = ["min_val", "max_val", "inplace"]

    def __init__(
        self,
        min_val: float = -1.0,
        max_val: float = 1.0,
        inplace: bool = False,
        min_value: float | None = None,
        max_value: float | None = None,
    ):
        super().__init__()
        if min_value is not None:
            warnings.warn(
                "keyword argument `min_value` is deprecated and renamed to `min_val`", FutureWarning, stacklevel=2
            )
            min_val = min_value
        if max_value is not None:
            warnings.warn(
                "keyword argument `max_value` is deprecated and renamed to `max_val`", FutureWarning, stacklevel=2
            )
            max_val = max_value
        if max_val <= min_val:
            raise AssertionError(f"max_val ({max_val}) must be greater than min_val ({min_val})")
        self.min_val, self.max_val, self.inplace = min_val, max_val, inplace

    def forward(self, input: Tensor) -> Tensor:
        return F.hardtanh(input, self.min_val, self.max_val, self.inplace)

    def extra_repr(self) -> str:
        return settings(self, "min_val max_val")


class ReLU6(Hardtanh):
    """min(max(0, x), 6)."""

    def __init__(self, inplace: bool = False):
        super().__init__(0.0, 6.0, inplace)

    def extra_repr(self) -> str:
        return "inplace=True" if self.inplace else ""


class ELU(Module):
    """x where x > 0, else alpha * (exp(x) - 1)."""

    __constants__ = ["alpha", "inplace"]

    def __init__(self, alpha: float = 1.0, inplace: bool = False):
        super().__init__()
        self.alpha, self.inplace = alpha, inplace

    def forward(self, input: Tensor) -> Tensor:
        return F.elu(input, self.alpha, self.inplace)

    def extra_repr(self) -> str:
        return settings(self, "alpha")


class CELU(Module):
    """max(0, x) + min(0, alpha * (exp(x / alpha) - 1))."""

    __constants__ = ["alpha", "inplace"]

    def __init__(self, alpha: float = 1.0, inplace: bool = False):
        super().__init__()
        self.alpha, self.inplace = alpha, inplace

    def forward(self, input: Tensor) -> Tensor:
        return F.celu(input, self.alpha, self.inplace)

    def extra_repr(self) -> str:
        return settings(self, "alpha")


class LeakyReLU(Module):
    """x where x >= 0, else negative_slope * x."""

    __constants__ = ["inplace", "negative_slope"]

    def __init__(self, negative_slope: float = 0.01, inplace: bool = False):
        super().__init__()
        self.negative_slope, self.inplace = negative_slope, inplace

    def forward(self, input: Tensor) -> Tensor:
        return F.leaky_relu(input, self.negative_slope, self.inplace)

    def extra_repr(self) -> str:
        return settings(self, "negative_slope")


class Sigmoid(Module):
    """1 / (1 + exp(-x))."""

    def forward(self, input: Tensor) -> Tensor:
        return input.sigmoid()


class Tanh(Module):
    """tanh(x)."""

    def forward(self, input: Tensor) -> Tensor:
        return input.tanh()


class LogSigmoid(Module):
    """log(1 / (1 + exp(-x)))."""

    def forward(self, input: Tensor) -> Tensor:
        return F.logsigmoid(input)


class Softsign(Module):
    """x / (1 + |x|)."""

    def forward(self, input: Tensor) -> Tensor:
        return F.softsign(input)


class Tanhshrink(Module):
    """x - tanh(x)."""

    def forward(self, input: Tensor) -> Tensor:
        return F.tanhshrink(input)


class Softplus(Module):
    """log(1 + exp(beta * x)) / beta; x itself where beta * x > threshold."""

    __constants__ = ["beta", "threshold"]

    def __init__(self, beta: float = 1.0, threshold: float = 20.0):
        super().__init__()
        self.beta, self.threshold = beta, threshold

    def forward(self, input: Tensor) -> Tensor:
        return F.softplus(input, self.beta, self.threshold)

    def extra_repr(self) -> str:
        return described(self, "beta threshold")


class Softshrink(Module):
    """x moved towards 0 by lambd, 0 within lambd of it."""

    __constants__ = ["lambd"]

    def __init__(self, lambd: float = 0.5):
        super().__init__()
        self.lambd = lambd

    def forward(self, input: Tensor) -> Tensor:
        return F.softshrink(input, self.lambd)

    def extra_repr(self) -> str:
        return str(self.lambd)


class Hardshrink(Module):
    """x, but 0 within lambd of it."""

    __constants__ = ["lambd"]

    def __init__(self, lambd: float = 0.5):
        super().__init__()
        self.lambd = lambd

    def forward(self, input: Tensor) -> Tensor:
        return F.hardshrink(input, self.lambd)

    def extra_repr(self) -> str:
        return str(self.lambd)


class GELU(Module):
    """x * Phi(x), Phi being the normal distribution function; approximate='tanh' for the approximation by tanh."""

    __constants__ = ["approximate"]

    def __init__(self, approximate: str = "none"):
        super().__init__()
        self.approximate = approximate

    def forward(self, input: Tensor) -> Tensor:
        return F.gelu(input, approximate=self.approximate)

    def extra_repr(self) -> str:
        return f"approximate={self.approximate!r}"


class GLU(Module):
    """a * sigmoid(b), a and b being the halves of the input along dim."""

    __constants__ = ["dim"]

    def __init__(self, dim: int = -1):
        super().__init__()
        self.dim = dim

    def forward(self, input: Tensor) -> Tensor:
        return F.glu(input, self.dim)

    def extra_repr(self) -> str:
        return described(self, "dim")


class PReLU(Module):
    """x where x >= 0, else weight * x, with one weight for all channels or one for each."""

    __constants__ = ["num_parameters"]

    def __init__(self, num_parameters: int = 1, init: float = 0.25, device=None, dtype=None):
        super().__init__()
        self.num_parameters, self.init = num_parameters, init
        add_parameter(self, "weight", (num_parameters,), True, device, dtype)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        initial.constant_(self.weight, self.init)

    def forward(self, input: Tensor) -> Tensor:
        return F.prelu(input, self.weight)

    def extra_repr(self) -> str:
        return described(self, "num_parameters")


class _AlongDim(Module):
    __constants__ = ["dim"]

    def __init__(self, dim: int | None = None):
        super().__init__()
        self.dim = dim

    def extra_repr(self) -> str:
        return described(self, "dim")


class Softmax(_AlongDim):
    """exp(x) / sum(exp(x)) along dim."""

    def forward(self, input: Tensor) -> Tensor:
        return F.softmax(input, self.dim)


class Softmin(_AlongDim):
    """softmax(-x) along dim."""

    def forward(self, input: Tensor) -> Tensor:
        return F.softmin(input, self.dim)


class LogSoftmax(_AlongDim):
    """log(softmax(x)) along dim."""

    def forward(self, input: Tensor) -> Tensor:
        return F.log_softmax(input, self.dim)


class Softmax2d(Module):
    """Softmax over the channels of (N, C, H, W) or (C, H, W). ValueError for other inputs."""

    def forward(self, input: Tensor) -> Tensor:
        if input.ndim not in (3, 4):
            raise ValueError(f"Softmax2d: expected input to be 3D or 4D, got {input.ndim}D instead")
        return F.softmax(input, -3)


# -- attention ---------------------------------------------------------------------------------------------------------
def additive_mask(mask: Tensor | None, name: str, dtype) -> Tensor | None:
    """A bool mask (True: left out) as numbers to add to the scores; a floating point mask as it is. AssertionError for
    others.
    """
    if mask is None or mask.dtype.is_floating_point:
        return mask
    if mask.dtype is not jitorch.bool:
        raise AssertionError(f"only bool and floating types of {name} are supported")
    return jitorch.zeros(mask.shape, dtype=dtype).masked_fill_(mask, float("-inf"))


class MultiheadAttention(Module):
    """Attention with `num_heads` heads: softmax(q k^T / sqrt(d)) v on projections of query, key and value (Vaswani et
    al., 2017).

    Inputs are (L, N, E), with batch_first (N, L, E), or (L, E). Returns the output and, with need_weights, the
    attention weights: (N, L, S), or (N, heads, L, S) with average_attn_weights=False. Masks: True, or -inf where
    floating point, leaves a position out. Raises AssertionError for shapes that don't fit.

    >>> import jitorch as torch
    >>> attention = torch.nn.MultiheadAttention(8, 2, batch_first=True)
    >>> x = torch.zeros(3, 5, 8)
    >>> y, weights = attention(x, x, x)
    >>> y.shape, weights.shape
    (torch.Size([3, 5, 8]), torch.Size([3, 5, 5]))
    """

    __constants__ = ["batch_first"]

    def __init__(
        self,
        embed_dim: int,
        num_heads: int,
        dropout: float = 0.0,
        bias: bool = True,
        add_bias_kv: bool = False,
        add_zero_attn: bool = False,
        kdim: int | None = None,
        vdim: int | None = None,
        batch_first: bool = False,
        device=None,
        dtype=None,
    ):
        if embed_dim <= 0 or num_heads <= 0:
            raise ValueError(
                "embed_dim and num_heads must be greater than 0, got "
                f"embed_dim={embed_dim} and num_heads={num_heads} instead"
            )
        super().__init__()
        self.embed_dim, self.num_heads, self.dropout, self.batch_first = embed_dim, num_heads, dropout, batch_first
        self.kdim, self.vdim = embed_dim if kdim is None else kdim, embed_dim if vdim is None else vdim
        self._qkv_same_embed_dim = self.kdim == embed_dim and self.vdim == embed_dim
        self.head_dim = embed_dim // num_heads
        if self.head_dim * num_heads != embed_dim:
            raise AssertionError("embed_dim must be divisible by num_heads")
        same = self._qkv_same_embed_dim
        if same:
            add_parameter(self, "in_proj_weight", (3 * embed_dim, embed_dim), True, device, dtype)
        for name, width in (("q", embed_dim), ("k", self.kdim), ("v", self.vdim)):
            add_parameter(self, name + "_proj_weight", (embed_dim, width), not same, device, dtype)
        if not same:
            self.register_parameter("in_proj_weight", None)
        add_parameter(self, "in_proj_bias", (3 * embed_dim,), bias, device, dtype)
        self.out_proj = NonDynamicallyQuantizableLinear(embed_dim, embed_dim, bias=bias, device=device, dtype=dtype)
        self.bias_k = self.bias_v = None
        if add_bias_kv:
            self.bias_k = Parameter(jitorch.empty((1, 1, embed_dim), device=device, dtype=dtype))
            self.bias_v = Parameter(jitorch.empty((1, 1, embed_dim), device=device, dtype=dtype))
        self.add_zero_attn = add_zero_attn
        self._reset_parameters()

    def _reset_parameters(self) -> None:
        for name in ("in_proj_weight", "q_proj_weight", "k_proj_weight", "v_proj_weight"):
            weight = getattr(self, name)
            if weight is not None:
                initial.xavier_uniform_(weight)
        if self.in_proj_bias is not None:
            initial.zeros_(self.in_proj_bias)
            initial.zeros_(self.out_proj.bias)
        for bias in (self.bias_k, self.bias_v):
            if bias is not None:
                initial.xavier_normal_(bias)

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        key_padding_mask: Tensor | None = None,
        need_weights: bool = True,
        attn_mask: Tensor | None = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        batched = self._check_inputs(query, key, value, key_padding_mask, attn_mask)
        if is_causal and attn_mask is None:
            raise RuntimeError("Need attn_mask if specifying the is_causal hint.")
        inputs = (query, key, value)
        if not batched:
            inputs = tuple(x.unsqueeze(0) for x in inputs)
            key_padding_mask = None if key_padding_mask is None else key_padding_mask.unsqueeze(0)
        elif not self.batch_first:
            inputs = (query, query, query) if query is key is value else inputs
            inputs = tuple(x.transpose(0, 1) for x in inputs)
        mask = additive_mask(attn_mask, "attn_mask", query.dtype)
        padding = additive_mask(key_padding_mask, "key_padding_mask", query.dtype)
        q, k, v = self._project(*inputs, same_input=query is key and key is value)
        output, weights = self._attend(q, k, v, mask, padding, need_weights)
        if weights is not None and average_attn_weights:
            weights = weights.mean(dim=1)
        if not batched:
            return output.squeeze(0), None if weights is None else weights.squeeze(0)
        return (output if self.batch_first else output.transpose(0, 1)), weights

    def _check_inputs(self, query, key, value, key_padding_mask, attn_mask) -> bool:
        """Raise for shapes that don't fit. Returns whether there is a batch dimension."""
        if query.ndim not in (2, 3):
            raise AssertionError(
                f"query should be unbatched 2D or batched 3D tensor but received {query.ndim}-D query tensor"
            )
        batched = query.ndim == 3
        kind = "batched (3-D)" if batched else "unbatched (2-D)"
        if key.ndim != query.ndim or value.ndim != query.ndim:
            raise AssertionError(
                f"For {kind} `query`, expected `key` and `value` to be {query.ndim}-D but found {key.ndim}-D and "
                f"{value.ndim}-D tensors respectively"
            )
        if key_padding_mask is not None and key_padding_mask.ndim != query.ndim - 1:
            raise AssertionError(
                f"For {kind} `query`, expected `key_padding_mask` to be `None` or {query.ndim - 1}-D but found "
                f"{key_padding_mask.ndim}-D tensor instead"
            )
        if query.shape[-1] != self.embed_dim:
            raise AssertionError(f"was expecting embedding dimension of {self.embed_dim}, but got {query.shape[-1]}")
        if key.shape[:-1] != value.shape[:-1]:
            raise AssertionError(
                f"key's sequence and batch dims {key.shape[:-1]} do not match value's {value.shape[:-1]}"
            )
        sequence, batch = (1, 0) if self.batch_first and batched else (0, 1)
        length, source = query.shape[sequence], key.shape[sequence]
        if attn_mask is not None:
            heads = (query.shape[batch] if batched else 1) * self.num_heads
            if attn_mask.ndim not in (2, 3):
                raise RuntimeError(f"attn_mask's dimension {attn_mask.ndim} is not supported")
            expected = (length, source) if attn_mask.ndim == 2 else (heads, length, source)
            if tuple(attn_mask.shape) != expected:
                raise RuntimeError(
                    f"The shape of the {attn_mask.ndim}D attn_mask is {attn_mask.shape}, but should be {expected}."
                )
        return batched

    def _project(self, query, key, value, same_input: bool) -> tuple[Tensor, Tensor, Tensor]:
        """Query, key and value through their projections, with (N, L, E) in and out."""
        bias, e = self.in_proj_bias, self.embed_dim
        if self._qkv_same_embed_dim and same_input:
            return F.linear(query, self.in_proj_weight, bias).chunk(3, dim=-1)
        weights = (
            self.in_proj_weight.chunk(3)
            if self._qkv_same_embed_dim
            else (self.q_proj_weight, self.k_proj_weight, self.v_proj_weight)
        )
        biases = (None,) * 3 if bias is None else (bias[:e], bias[e : 2 * e], bias[2 * e :])
        q, k, v = (F.linear(x, w, b) for x, w, b in zip((query, key, value), weights, biases, strict=True))
        return q, k, v

    def _attend(self, q, k, v, mask, padding, need_weights: bool):
        """Scaled dot product attention over heads. Masks are additive. Returns the output (N, L, E) and weights (N,
        heads, L, S) or None.
        """
        n, length = q.shape[0], q.shape[1]
        if self.bias_k is not None and self.bias_v is not None:
            k = jitorch.cat([k, self.bias_k.expand(n, 1, -1)], dim=1)
            v = jitorch.cat([v, self.bias_v.expand(n, 1, -1)], dim=1)
        if self.add_zero_attn:
            k = jitorch.cat([k, k.new_zeros(n, 1, k.shape[2])], dim=1)
            v = jitorch.cat([v, v.new_zeros(n, 1, v.shape[2])], dim=1)
        source = k.shape[1]
        if mask is not None and mask.ndim == 3:
            mask = mask.reshape(n, self.num_heads, *mask.shape[1:])
        if padding is not None:
            padding = padding.reshape(n, 1, 1, padding.shape[1])
            mask = padding if mask is None else mask + padding
        if mask is not None and source != mask.shape[-1]:
            mask = F.pad(mask, (0, source - mask.shape[-1]))
        q, k, v = (x.reshape(n, -1, self.num_heads, self.head_dim).transpose(1, 2) for x in (q, k, v))
        dropout = self.dropout if self.training else 0.0
        weights = None
        if need_weights:
            scores = (q * self.head_dim**-0.5) @ k.transpose(-2, -1)
            weights = F.softmax(scores if mask is None else scores + mask, dim=-1)
            if dropout > 0:
                weights = F.dropout(weights, dropout)
            out = weights @ v
        else:
            out = F.scaled_dot_product_attention(q, k, v, mask, dropout)
        out = out.transpose(1, 2).reshape(n, length, self.embed_dim)
        return F.linear(out, self.out_proj.weight, self.out_proj.bias), weights


class GivenAttention(SimpleNamespace):
    """The parts of `MultiheadAttention` that its `forward` reads, given one by one."""

    forward: Any = MultiheadAttention.forward
    _check_inputs, _project, _attend = MultiheadAttention._check_inputs, MultiheadAttention._project, MultiheadAttention._attend


def attention_of_parameters(
    query,
    key,
    value,
    embed_dim_to_check: int,
    num_heads: int,
    in_proj_weight,
    in_proj_bias,
    bias_k,
    bias_v,
    add_zero_attn: bool,
    dropout_p: float,
    out_proj_weight,
    out_proj_bias,
    training: bool = True,
    key_padding_mask=None,
    need_weights: bool = True,
    attn_mask=None,
    use_separate_proj_weight: bool = False,
    q_proj_weight=None,
    k_proj_weight=None,
    v_proj_weight=None,
    static_k=None,
    static_v=None,
    average_attn_weights: bool = True,
    is_causal: bool = False,
):
    """`torch.nn.functional.multi_head_attention_forward`, with sequences first. NotImplementedError for static_k and static_v."""
    if static_k is not None or static_v is not None:
        raise NotImplementedError("multi_head_attention_forward(): static_k and static_v are not supported")
    given = GivenAttention(
        embed_dim=embed_dim_to_check,
        num_heads=num_heads,
        head_dim=embed_dim_to_check // num_heads,
        batch_first=False,
        dropout=dropout_p,
        training=training,
        add_zero_attn=add_zero_attn,
        bias_k=bias_k,
        bias_v=bias_v,
        in_proj_weight=in_proj_weight,
        in_proj_bias=in_proj_bias,
        _qkv_same_embed_dim=not use_separate_proj_weight,
        q_proj_weight=q_proj_weight,
        k_proj_weight=k_proj_weight,
        v_proj_weight=v_proj_weight,
        out_proj=SimpleNamespace(weight=out_proj_weight, bias=out_proj_bias),
    )
    return given.forward(query, key, value, key_padding_mask, need_weights, attn_mask, average_attn_weights, is_causal and attn_mask is not None)

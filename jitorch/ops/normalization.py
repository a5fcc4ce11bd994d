"""Normalization: over the last dimensions, over the batch, over groups of channels; and distances between vectors."""
from __future__ import annotations

from .. import dtypes
from ..autograd import no_grad
from ..dtypes import FLOAT
from ..graph.ir import broadcast
from ..graph.record import Meta, count
from .activations import in_place
from .dispatch import METHODS, PUBLIC, apply
from .formulas import floating, formula_op
from .publish import finish
from .reductions import vector_norm
from .views import wrap_dim


# -- the formulas: x and what it is scaled by have as many dimensions, `dims` are normalized over --------------------
def moments(m, x, dims):
    """Mean, x minus it, and the (biased) variance."""
    n = count(x.shape[d] for d in dims)
    mean = m.reduce("sum", x, dims) / n
    centred = x - mean
    return mean, centred, m.reduce("sum", centred * centred, dims) / n


def affine(y, weight, bias):
    y = y if weight is None else y * weight
    return y if bias is None else y + bias


def norm_formula(m, x, weight, bias, dims, eps):
    _, centred, var = moments(m, x, dims)
    return affine(centred * m.map("rsqrt", var + eps), weight, bias)


def norm_backward(m, g, x, weight, dims, eps):
    """Gradient for x: with h the normalized x and g' = g * weight, (g' - mean(g') - h * mean(g' * h)) / std."""
    _, centred, var = moments(m, x, dims)
    scale = m.map("rsqrt", var + eps)
    h = centred * scale
    g = g if weight is None else g * weight
    n = count(x.shape[d] for d in dims)
    return scale * (g - m.reduce("sum", g, dims) / n - h * (m.reduce("sum", g * h, dims) / n))


def batch_formula(m, x, weight, bias, dims, eps):
    """As norm_formula, with the mean and the unbiased variance, which the running statistics are made of."""
    mean, centred, var = moments(m, x, dims)
    n = count(x.shape[d] for d in dims)
    flat = statistics_shape(x.shape, dims)
    unbiased = var * (n / (n - 1)) if n > 1 else var * float("nan")
    return affine(centred * m.map("rsqrt", var + eps), weight, bias), m.reshape(mean, flat), m.reshape(unbiased, flat)


def statistics_shape(shape, dims) -> tuple[int, ...]:
    return tuple(n for i, n in enumerate(shape) if i not in dims)


def fixed_formula(m, x, weight, bias, mean, var, eps):
    return affine((x - mean) * m.map("rsqrt", var + eps), weight, bias)


def rms_formula(m, x, weight, dims, eps):
    n = count(x.shape[d] for d in dims)
    return affine(x * m.map("rsqrt", m.reduce("sum", x * x, dims) / n + eps), weight, None)


def rms_backward(m, g, x, weight, dims, eps):
    n = count(x.shape[d] for d in dims)
    scale = m.map("rsqrt", m.reduce("sum", x * x, dims) / n + eps)
    g, h = g if weight is None else g * weight, x * scale
    return scale * (g - h * (m.reduce("sum", g * h, dims) / n))


# -- the entries -----------------------------------------------------------------------------------------------------
def norm_rule(kernel: str):
    def infer(x, *rest):
        floating(kernel, x)
        for m in rest:
            if isinstance(m, Meta) and m.dtype is not x.dtype:
                raise RuntimeError(f"mixed dtype (CPU): expect parameter to have scalar type of {x.dtype.label}")
        return Meta(x.shape, x.dtype)
    return infer


def batch_rule(x, weight, bias, dims, eps):
    y = norm_rule("batch_norm")(x, weight, bias)
    flat = Meta(statistics_shape(x.shape, dims), x.dtype)
    return y, flat, flat


norm_backward_op = formula_op(
    "native_norm_backward", norm_backward, lambda g, x, *rest: Meta(x.shape, x.dtype), saves="012"
)
rms_backward_op = formula_op("rms_norm_backward", rms_backward, lambda g, x, *rest: Meta(x.shape, x.dtype), saves="012")


def norm_vjp(ctx, g, *unused):
    """For x, its own formula; for the weight, g times the normalized x (the engine sums it to the weight's shape); for
    the bias, g."""
    x, weight = ctx.input(0), ctx.input(1)
    return (apply(norm_backward_op, (g, x, weight), ctx.attrs) if ctx.needs[0] else None,
            g * apply(layer_norm_op, (x, None, None), ctx.attrs) if ctx.needs[1] else None, g)


def rms_vjp(ctx, g):
    x, weight = ctx.input(0), ctx.input(1)
    return (apply(rms_backward_op, (g, x, weight), ctx.attrs) if ctx.needs[0] else None,
            g * apply(rms_norm_op, (x, None), ctx.attrs) if ctx.needs[1] else None)


def fixed_vjp(ctx, g):
    """The statistics are constants here: no gradient goes to them."""
    x, weight, mean, var = ctx.input(0), ctx.input(1), ctx.input(3), ctx.input(4)
    scale = (var + ctx.attrs[0]).rsqrt()
    return (
        g * (scale if weight is None else scale * weight) if ctx.needs[0] else None,
        g * ((x - mean) * scale) if ctx.needs[1] else None,
        g,
    )


layer_norm_op = formula_op(
    "native_layer_norm", norm_formula, norm_rule("LayerNormKernelImpl"), vjp=norm_vjp, saves="01"
)
group_norm_op = formula_op(
    "native_group_norm", norm_formula, norm_rule("GroupNormKernelImpl"), vjp=norm_vjp, saves="01"
)
batch_norm_op = formula_op("native_batch_norm", batch_formula, batch_rule, vjp=norm_vjp, saves="01")
fixed_norm_op = formula_op(
    "_batch_norm_with_statistics",
    fixed_formula,
    norm_rule("batch_norm"),
    vjp=fixed_vjp,
    saves="0134",
    grad_name="NativeBatchNormBackward0",
)
rms_norm_op = formula_op("rms_norm", rms_formula, norm_rule("rms_norm"), vjp=rms_vjp, saves="01")
running_average_op = formula_op("_running_average", lambda m, old, new, momentum: old * (1 - momentum) + new * momentum,
                                lambda old, new, momentum: Meta(old.shape, old.dtype), differentiable=False)


# -- what users call -------------------------------------------------------------------------------------------------
def trailing(name: str, input, normalized_shape, *parameters) -> tuple[int, ...]:
    """The last dimensions, which must be `normalized_shape`, as the parameters must. RuntimeError otherwise."""
    if isinstance(normalized_shape, int):
        raise TypeError(f"{name}(): argument 'normalized_shape' (position 2) must be tuple of ints, not int")
    shape = tuple(int(n) for n in normalized_shape)
    if not shape:
        raise RuntimeError(
            "Expected normalized_shape to be at least 1-dimensional, i.e., containing at least one element, but got "
            "normalized_shape = []"
        )
    for what, p in zip(("weight", "bias"), parameters, strict=False):
        if p is not None and tuple(p.shape) != shape:
            raise RuntimeError(
                f"Expected {what} to be of same shape as normalized_shape, but got {what} of shape {list(p.shape)} "
                f"and normalized_shape = {list(shape)}"
            )
    if tuple(input.shape[-len(shape):]) != shape or input.ndim < len(shape):
        raise RuntimeError(
            f"Given normalized_shape={list(shape)}, expected input with shape [*{''.join(f', {n}' for n in shape)}], "
            f"but got input of size{list(input.shape)}"
        )
    return tuple(range(input.ndim - len(shape), input.ndim))


def layer_norm(input, normalized_shape, weight=None, bias=None, eps: float = 1e-05):
    """(x - mean) / sqrt(var + eps) * weight + bias over the last dimensions (Ba et al., 2016).

    input (*, normalized_shape); weight and bias of normalized_shape, or None. RuntimeError where shapes don't fit.

    >>> import jitorch as torch
    >>> torch.nn.functional.layer_norm(torch.tensor([[1., 3.]]), (2,), eps=0.0)
    tensor([[-1.,  1.]])
    """
    dims = trailing("layer_norm", input, normalized_shape, weight, bias)
    return apply(layer_norm_op, (input, weight, bias), (dims, float(eps)))


def rms_norm(input, normalized_shape, weight=None, eps: float | None = None):
    """x / sqrt(mean(x**2) + eps) * weight over the last dimensions (Zhang and Sennrich, 2019). eps None: the dtype's
    machine epsilon."""
    dims = trailing("rms_norm", input, normalized_shape, weight)
    if eps is None:
        eps = float(dtypes.limits(input.dtype).eps) if input.dtype.category == FLOAT else 0.0
    return apply(rms_norm_op, (input, weight), (dims, float(eps)))


def check_channels(channels: int, **vectors) -> None:
    for name, v in vectors.items():
        if v is not None and v._meta.numel != channels:
            raise RuntimeError(f"{name} should contain {channels} elements not {v._meta.numel}")


def per_channel(v, ndim: int):
    """A vector over the channels (dimension 1) in the form that broadcasts against `ndim` dimensions."""
    return None if v is None else v.reshape([-1 if i == 1 else 1 for i in range(ndim)])


def update(running, new, momentum: float) -> None:
    from ..tensor import assign
    if running is not None:
        with no_grad():
            assign(running, apply(running_average_op, (running, new, momentum)))


def needs_several(size) -> None:
    if count(n for i, n in enumerate(size) if i != 1) == 1:
        raise ValueError(f"Expected more than 1 value per channel when training, got input size {size!r}")


def batch_norm(
    input,
    running_mean,
    running_var,
    weight=None,
    bias=None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-05,
):
    """Each channel (dimension 1) normalized over the batch (Ioffe and Szegedy, 2015); not training: with the running
    statistics.

    Training writes running = (1 - momentum) * running + momentum * (mean, unbiased variance) in place, where running
    statistics are given. ValueError for one value per channel in training, RuntimeError where sizes don't fit.
    """
    if input.ndim < 2:
        if not input._meta.numel:
            return input.clone()
        raise IndexError(
            f"Dimension out of range (expected to be in range of [{-input.ndim}, {input.ndim - 1}], but got 1): the "
            "channels are dimension 1"
        )
    if training:
        needs_several(input.shape)
        if eps <= 0:
            raise ValueError(f"batch_norm eps must be positive during training, but got {eps}")
    elif eps < 0:
        raise ValueError(f"batch_norm eps must be non-negative, but got {eps}")
    check_channels(input.shape[1], running_mean=running_mean, running_var=running_var, weight=weight, bias=bias)
    w, b = per_channel(weight, input.ndim), per_channel(bias, input.ndim)
    if not training:
        for name, v in (("running_mean", running_mean), ("running_var", running_var)):
            if v is None:
                raise RuntimeError(f"{name} must be defined in evaluation mode")
        return apply(
            fixed_norm_op,
            (input, w, b, per_channel(running_mean, input.ndim), per_channel(running_var, input.ndim)),
            (float(eps),),
        )
    dims = (0, *range(2, input.ndim))
    result, mean, var = apply(batch_norm_op, (input, w, b), (dims, float(eps)))
    if input._meta.numel:       # an empty batch says nothing about the statistics
        update(running_mean, mean.detach(), float(momentum))
        update(running_var, var.detach(), float(momentum))
    return result


def instance_norm(
    input,
    running_mean=None,
    running_var=None,
    weight=None,
    bias=None,
    use_input_stats: bool = True,
    momentum: float = 0.1,
    eps: float = 1e-05,
):
    """Each channel of each sample normalized over its positions (Ulyanov et al., 2016).

    Running statistics are updated with the means over the batch. ValueError for one position, RuntimeError where sizes
    don't fit.
    """
    if not use_input_stats:
        if running_mean is None or running_var is None:
            raise RuntimeError("Expected running_mean and running_var to be defined when use_input_stats is false")
        return batch_norm(input, running_mean, running_var, weight, bias, False, momentum, eps)
    if count(input.shape[2:]) == 1:
        raise ValueError(f"Expected more than 1 spatial element when training, got input size {input.shape!r}")
    check_channels(input.shape[1], running_mean=running_mean, running_var=running_var, weight=weight, bias=bias)
    dims = tuple(range(2, input.ndim))
    result, mean, var = apply(
        batch_norm_op, (input, per_channel(weight, input.ndim), per_channel(bias, input.ndim)), (dims, float(eps))
    )
    if running_mean is not None:
        update(running_mean, mean.detach().mean(0), float(momentum))
    if running_var is not None:
        update(running_var, var.detach().mean(0), float(momentum))
    return result


def group_norm(input, num_groups: int, weight=None, bias=None, eps: float = 1e-05):
    """Each of num_groups groups of channels of each sample normalized (Wu and He, 2018). RuntimeError unless the
    channels divide evenly."""
    if input.ndim < 2:
        raise RuntimeError(f"Expected at least 2 dimensions for input tensor but received {input.ndim}")
    n, channels, *space = input.shape
    if num_groups <= 0:
        raise RuntimeError(f"Expected num groups to be greater than 0, got {num_groups}")
    needs_several([n * channels // num_groups, num_groups, *space])
    if channels % num_groups:
        raise RuntimeError(
            "Expected number of channels in input to be divisible by num_groups, but got input of shape "
            f"{list(input.shape)} and num_groups={num_groups}"
        )
    for what, p in (("weight", weight), ("bias", bias)):
        if p is not None and (p.ndim != 1 or p._meta.numel != channels):
            raise RuntimeError(
                f"Expected {what} to be a vector of size equal to the number of channels in input, but got {what} of "
                f"shape {list(p.shape)} and input of shape {list(input.shape)}"
            )
    grouped = (n, num_groups, channels // num_groups, *space)
    shape = (1, num_groups, channels // num_groups, *(1 for _ in space))
    w, b = (None if p is None else p.reshape(shape) for p in (weight, bias))
    result = apply(group_norm_op, (input.reshape(grouped), w, b), (tuple(range(2, len(grouped))), float(eps)))
    return result.reshape(input.shape)


def local_response_norm(input, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0):
    """x / (k + alpha * mean of x**2 over `size` neighbouring channels) ** beta (Krizhevsky et al., 2012). ValueError
    below 3 dimensions."""
    if input.ndim < 3:
        raise ValueError(f"Expected 3D or higher dimensionality input (got {input.ndim} dimensions)")
    if not input._meta.numel:
        return input
    channels = input.shape[1]
    square, before = input * input, size // 2
    total = PUBLIC["zeros_like"](square)
    for shift in range(-before, size - before):     # add the channel `shift` further on, zero past the ends
        n = channels - abs(shift)
        if n > 0:
            ends = square.narrow(1, 0, channels - n) * 0
            part = square.narrow(1, max(shift, 0), n)
            total = total + PUBLIC["cat"]((part, ends) if shift > 0 else (ends, part), 1)
    mean = total / size if input.dtype.category == FLOAT else PUBLIC["div"](total, size, rounding_mode="trunc")
    return input / (mean * alpha + k) ** beta


def renorm(input, p: float, dim: int, maxnorm: float, *, out=None):
    """Each slice along dim whose p-norm is over maxnorm, scaled down to it."""
    if input.ndim < 2:
        raise RuntimeError(f"renorm: input needs at least 2 dimensions, got {input.ndim} dimensions")
    dim = wrap_dim(dim, input.ndim)
    length = vector_norm(input, p, tuple(d for d in range(input.ndim) if d != dim), True)
    return finish(input * PUBLIC["where"](length > maxnorm, maxnorm / (length + 1e-7), 1.0), out)


def normalize(input, p: float = 2.0, dim: int = 1, eps: float = 1e-12, out=None):
    """input / max(its p-norm along dim, eps).

    >>> import jitorch as torch
    >>> torch.nn.functional.normalize(torch.tensor([[3., 4.]]))
    tensor([[0.6000, 0.8000]])
    """
    return PUBLIC["div"](input, vector_norm(input, p, dim, True).clamp_min(eps), out=out)


def cosine_similarity(x1, x2, dim: int = 1, eps: float = 1e-8):
    """x1 . x2 / (max(|x1|, eps) * max(|x2|, eps)) along dim, of the shape both broadcast to. RuntimeError for
    integers."""
    shape = broadcast([x1.shape, x2.shape])
    x1, x2 = x1.expand(shape), x2.expand(shape)
    common = PUBLIC["result_type"](x1, x2)
    if common.category != FLOAT:
        raise RuntimeError(f"expected common dtype to be floating point, yet common dtype is {common.label}")
    x1, x2 = x1.to(common), x2.to(common)
    lengths = []
    for x in (x1, x2):
        length = vector_norm(x, 2, dim, True).clone()
        with no_grad():     # the gradient is as if nothing had been clamped, as in PyTorch
            lengths.append(length.clamp_min_(eps))
    return ((x1 / lengths[0]) * (x2 / lengths[1])).sum(dim)


def pairwise_distance(x1, x2, p: float = 2.0, eps: float = 1e-6, keepdim: bool = False):
    """The p-norm of x1 - x2 + eps along the last dimension (of the shape both broadcast to)."""
    return vector_norm(x1 - x2 + eps, p, -1, keepdim)


# -- names: the main namespace has its own order of arguments --------------------------------------------------------
PUBLIC["layer_norm"] = lambda input, normalized_shape, weight=None, bias=None, eps=1e-05, cudnn_enable=True: layer_norm(
    input, normalized_shape, weight, bias, eps
)
PUBLIC["group_norm"] = lambda input, num_groups, weight=None, bias=None, eps=1e-05, cudnn_enabled=True: group_norm(
    input, num_groups, weight, bias, eps
)
PUBLIC["batch_norm"] = (
    lambda input, weight, bias, running_mean, running_var, training, momentum, eps, cudnn_enabled=False: batch_norm(
        input, running_mean, running_var, weight, bias, training, momentum, eps
    )
)
PUBLIC["instance_norm"] = (
    lambda input, weight, bias, running_mean, running_var, use_input_stats, momentum, eps, cudnn_enabled=False: (
        instance_norm(input, running_mean, running_var, weight, bias, use_input_stats, momentum, eps)
    )
)
for _f in (rms_norm, cosine_similarity, pairwise_distance):
    PUBLIC[_f.__name__] = _f
PUBLIC["renorm"] = METHODS["renorm"] = renorm
METHODS["renorm_"] = lambda self, p, dim, maxnorm: in_place(self, lambda x: renorm(x, p, dim, maxnorm))

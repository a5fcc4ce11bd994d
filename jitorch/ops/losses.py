"""Losses of elements, pairs and triplets; those over classes are in `cross_entropy`.

`reduction` is "mean" (the default), "sum" or "none"; `size_average` and `reduce` are its deprecated forms, as in PyTorch.
"""

from __future__ import annotations

import math
import warnings

import numpy as np

from .. import dtypes
from ..autograd import no_grad
from ..dtypes import FLOAT
from ..graph.ir import broadcast
from ..graph.record import Meta, count
from ..tensor import validate
from .dispatch import PUBLIC, apply
from .formulas import floating, formula_op, gradient_of
from .normalization import pairwise_distance

NONE, MEAN, SUM = REDUCTIONS = ("none", "mean", "sum")


def reduction_of(reduction, size_average=None, reduce=None) -> str:
    """The reduction asked for, in today's or the deprecated way. ValueError for an unknown one."""
    if size_average is not None or reduce is not None:
        average, whole = size_average is not False, reduce is not False
        reduction = (MEAN if average else SUM) if whole else NONE
        warnings.warn(
            f"size_average and reduce args will be deprecated, please use reduction='{reduction}' instead.",
            stacklevel=3,
        )
    if reduction.__class__ is int and 0 <= reduction < 3:       # the main namespace's functions take a number
        return REDUCTIONS[reduction]
    if reduction not in REDUCTIONS:
        raise ValueError(f"{reduction} is not a valid value for reduction")
    return reduction


def everything(x) -> tuple[int, ...]:
    return tuple(range(len(x.shape)))


def total(m, x):
    """The sum of all elements, as a scalar."""
    return m.reshape(m.reduce("sum", x, everything(x)), ()) if x.shape else x


def reduced(m, x, reduction):
    if reduction == NONE:
        return x
    return total(m, x) / count(x.shape) if reduction == MEAN else total(m, x)


def averaged(x, reduction: str):
    """The same on a tensor."""
    return x if reduction == NONE else x.mean() if reduction == MEAN else x.sum()


# -- losses of single elements: the loss, and its slope in the input -------------------------------------------------
def smooth_l1(m, x, y, beta):
    d = m.map("abs", x - y)
    return m.where(d < beta, d * d * (0.5 / beta), d - beta * 0.5)


def smooth_l1_slope(m, x, y, beta):
    d = x - y
    return m.where(m.map("abs", d) < beta, d / beta, m.map("sign", d))


def huber(m, x, y, delta):
    d = m.map("abs", x - y)
    return m.where(d < delta, d * d * 0.5, (d - delta * 0.5) * delta)


def huber_slope(m, x, y, delta):
    d = x - y
    return m.where(m.map("abs", d) < delta, d, m.map("sign", d) * delta)


def soft_margin(m, x, y):
    return m.map("log1p", m.map("exp", -y * x))


def floored_log(m, x):
    """log, but no less than -100 (PyTorch's floor in binary cross entropy)."""
    return m.map("maximum", m.map("log", x), -100)


def bce(m, x, y, weight):
    return scaled((y - 1) * m.map("maximum", m.map("log1p", -x), -100) - y * floored_log(m, x), weight)


def bce_slope(m, x, y, weight):
    return scaled((x - y) / m.map("maximum", (1 - x) * x, 1e-12), weight)


def scaled(x, weight):
    return x if weight is None else x * weight


def negative_log_sigmoid(m, x):
    return m.map("log1p", m.map("exp", -m.map("abs", x))) - m.map("minimum", x, 0)


def logits(m, x, y, weight, pos_weight):
    if pos_weight is None:
        return scaled((1 - y) * x + negative_log_sigmoid(m, x), weight)
    return scaled((1 - y) * x + negative_log_sigmoid(m, x) * ((pos_weight - 1) * y + 1), weight)


def logits_slope(m, x, y, weight, pos_weight):
    if pos_weight is None:
        return scaled(m.map("sigmoid", x) - y, weight)
    positive = pos_weight * y
    return scaled((positive + 1 - y) * m.map("sigmoid", x) - positive, weight)


def kl(m, x, y, log_target):
    if log_target:
        return m.map("exp", y) * (y - x)
    zero = m.map("eq", y, 0)
    return m.where(zero, 0, y * m.map("log", m.where(zero, 1, y))) - y * x


def kl_slope(m, x, y, log_target):
    return -m.map("exp", y) if log_target else -y


def poisson(m, x, y, eps, log_input, full):
    loss = m.map("exp", x) - y * x if log_input else x - y * m.map("log", x + eps)
    if not full:
        return loss
    large = m.where(y > 1, y, 1)        # Stirling's approximation of log(y!), for y > 1
    return loss + m.where(y > 1, large * m.map("log", large) - large + m.map("log", large * (2 * math.pi)) * 0.5, 0)


def poisson_slope(m, x, y, eps, log_input, full):
    return m.map("exp", x) - y if log_input else 1 - y / (x + eps)


def hinge_embedding(m, x, y, margin):
    apart = margin - x
    return m.where(m.map("ne", y, 1), m.where(apart > 0, apart, 0), 0) + m.where(m.map("ne", y, -1), x, 0)


# name, loss, slope in the input, whether the slope in the target is its negative, kernel's name in PyTorch's errors,
# operands
ELEMENTWISE = [
    ("mse_loss", lambda m, x, y: (x - y) * (x - y), lambda m, x, y: (x - y) * 2, True, "mse_cpu", 2),
    ("l1_loss", lambda m, x, y: m.map("abs", x - y), lambda m, x, y: m.map("sign", x - y), True, "abs_cpu", 2),
    ("smooth_l1_loss", smooth_l1, smooth_l1_slope, True, "smooth_l1_cpu", 3),
    ("huber_loss", huber, huber_slope, True, "huber_cpu", 3),
    ("soft_margin_loss", soft_margin, lambda m, x, y: -y * m.map("sigmoid", -y * x), False, "exp_vml_cpu", 2),
    ("binary_cross_entropy", bce, bce_slope, False, "binary_cross_entropy", 3),
    ("binary_cross_entropy_with_logits", logits, logits_slope, False, "log_sigmoid_cpu", 4),
    ("kl_div", kl, kl_slope, False, "kl_div", 2),
    ("poisson_nll_loss", poisson, poisson_slope, False, "poisson_nll_loss", 3),
    ("hinge_embedding_loss", hinge_embedding, None, False, "hinge_embedding_loss", 3),
]
RECORD: dict = {}


def enter(name: str, loss, slope, antisymmetric: bool, kernel: str, operands: int) -> None:
    """One row: the entry of the reduced loss, and that of its gradient in the input."""
    def forward(m, *args):
        return reduced(m, loss(m, *args[:-1]), args[-1])

    def infer(*args):
        floating(kernel, args[0])
        shape = broadcast([a.shape for a in args if isinstance(a, Meta)])
        return Meta(shape if args[-1] == NONE else (), args[0].dtype)

    def backward(m, g, *args):
        found = g * slope(m, *args[:-1])
        return found / count(found.shape) if args[-1] == MEAN else found

    def vjp(ctx, g):
        if slope is None:
            return whole(ctx, g)
        others = any(ctx.needs[1:])
        found = (
            apply(back, (g, *(ctx.input(i) for i in range(operands))), ctx.attrs)
            if ctx.needs[0] or antisymmetric
            else None
        )
        if others and not antisymmetric:
            return (found, *whole(ctx, g)[1:])
        return (found, -found) if others else (found,)

    whole = gradient_of(forward)
    op = formula_op(name, forward, infer, vjp=vjp, saves="01234"[:operands])
    back = slope and formula_op(
        name + "_backward",
        backward,
        lambda g, *args: Meta(broadcast([a.shape for a in args if isinstance(a, Meta)]), args[0].dtype),
        saves="01234"[: operands + 1],
    )
    RECORD[name] = lambda *operands, attrs: apply(op, operands, attrs)


for _row in ELEMENTWISE:
    enter(*_row)


def matched(*tensors):
    """The tensors in their common dtype; None stays."""
    if all([t is None or t._meta.dtype is tensors[0]._meta.dtype for t in tensors]):
        return tensors
    d = None
    for t in tensors:
        if t is not None:
            d = t.dtype if d is None else dtypes.result_type((Meta((1,), d), Meta((1,), t.dtype)))
    return tuple(None if t is None else t.to(d) for t in tensors)


def compare_sizes(input, target) -> None:
    if target.shape != input.shape:
        warnings.warn(
            f"Using a target size ({target.shape!r}) that is different to the input size ({input.shape!r}). This will "
            "likely lead to incorrect results due to broadcasting. Please ensure they have the same size.",
            stacklevel=3,
        )


def weighted(name: str, input, target, weight, reduction: str, numbers: tuple = ()):
    """A weighted mse, l1 or huber loss. Its mean is over the weights' sum (mse, l1)."""
    if weight.shape != input.shape:
        raise ValueError("Weights and input must have the same size.")
    loss = RECORD[name](*matched(input, target), *numbers, attrs=(NONE,)) * weight
    if reduction == MEAN and name != "huber_loss":
        return loss.sum() / weight.sum()
    return averaged(loss, reduction)


def mse_loss(input, target, size_average=None, reduce=None, reduction: str = "mean", weight=None):
    """(input - target)**2, reduced. With weight: its weighted mean, or sum.

    >>> import jitorch as torch
    >>> torch.nn.functional.mse_loss(torch.tensor([1., 2.]), torch.tensor([1., 4.]))
    tensor(2.)
    """
    compare_sizes(input, target)
    reduction = reduction_of(reduction, size_average, reduce)
    if weight is not None:
        return weighted("mse_loss", input, target, weight, reduction)
    return RECORD["mse_loss"](*matched(input, target), attrs=(reduction,))


def l1_loss(input, target, size_average=None, reduce=None, reduction: str = "mean", weight=None):
    """|input - target|, reduced. With weight: its weighted mean, or sum."""
    compare_sizes(input, target)
    reduction = reduction_of(reduction, size_average, reduce)
    if weight is not None:
        return weighted("l1_loss", input, target, weight, reduction)
    input, target = matched(input, target)
    if input.dtype.category != FLOAT:
        return averaged((input - target).abs(), reduction)
    return RECORD["l1_loss"](input, target, attrs=(reduction,))


def smooth_l1_loss(input, target, size_average=None, reduce=None, reduction: str = "mean", beta: float = 1.0):
    """Half the squared difference over beta where it is below beta, |difference| - beta / 2 elsewhere. RuntimeError
    for a negative beta."""
    compare_sizes(input, target)
    if beta < 0:
        raise RuntimeError("smooth_l1_loss does not support negative values for beta.")
    reduction = reduction_of(reduction, size_average, reduce)
    if beta == 0:
        return RECORD["l1_loss"](*matched(input, target), attrs=(reduction,))
    return RECORD["smooth_l1_loss"](*matched(input, target), float(beta), attrs=(reduction,))


def huber_loss(input, target, reduction: str = "mean", delta: float = 1.0, weight=None):
    """Half the squared difference where it is below delta, delta * (|difference| - delta / 2) elsewhere (Huber, 1964).
    RuntimeError unless delta > 0."""
    compare_sizes(input, target)
    if delta <= 0:
        raise RuntimeError("huber_loss does not support non-positive values for delta.")
    reduction = reduction_of(reduction)
    if weight is not None:
        return weighted("huber_loss", input, target, weight, reduction, (float(delta),))
    return RECORD["huber_loss"](*matched(input, target), float(delta), attrs=(reduction,))


def soft_margin_loss(input, target, size_average=None, reduce=None, reduction: str = "mean"):
    """log(1 + exp(-target * input)) for targets 1 and -1."""
    return RECORD["soft_margin_loss"](*matched(input, target), attrs=(reduction_of(reduction, size_average, reduce),))


def known(tensor):
    """Its values, if they are computed already; else None."""
    return tensor.detach()._array() if tensor._storage.tape is None else None


def check_probability(values: np.ndarray) -> None:
    if ((values < 0) | (values > 1)).any():
        raise RuntimeError("all elements of input should be between 0 and 1")


def binary_cross_entropy(input, target, weight=None, size_average=None, reduce=None, reduction: str = "mean"):
    """-weight * (target * log(input) + (1 - target) * log(1 - input)), logarithms no less than -100.

    input: probabilities, of target's size. ValueError for another size; RuntimeError for known values outside [0, 1].
    """
    reduction = reduction_of(reduction, size_average, reduce)
    if target.shape != input.shape:
        raise ValueError(
            f"Using a target size ({target.shape!r}) that is different to the input size ({input.shape!r}) is "
            "deprecated. Please ensure they have the same size."
        )
    for t in (target, weight):
        if t is not None and t.dtype is not input.dtype:
            raise RuntimeError(f"Found dtype {t.dtype.label} but expected {input.dtype.label}")
    validate(input, check_probability)
    return RECORD["binary_cross_entropy"](input, target, weight, attrs=(reduction,))


def binary_cross_entropy_with_logits(
    input, target, weight=None, size_average=None, reduce=None, reduction: str = "mean", pos_weight=None
):
    """binary_cross_entropy of sigmoid(input), without overflow; pos_weight multiplies the loss of positive targets.
    ValueError for sizes that differ.

    >>> import jitorch as torch
    >>> torch.nn.functional.binary_cross_entropy_with_logits(torch.tensor([0.]), torch.tensor([1.]))
    tensor(0.6931)
    """
    reduction = reduction_of(reduction, size_average, reduce)
    if target.shape != input.shape:
        raise ValueError(f"Target size ({target.shape!r}) must be the same as input size ({input.shape!r})")
    if target.dtype.category != FLOAT:
        raise RuntimeError(
            f"result type {input.dtype.label} can't be cast to the desired output type {target.dtype.label}"
        )
    return RECORD["binary_cross_entropy_with_logits"](*matched(input, target, weight, pos_weight), attrs=(reduction,))


def kl_div(input, target, size_average=None, reduce=None, reduction: str = "mean", log_target: bool = False):
    """target * (log(target) - input), reduced; input holds log-probabilities, target too if log_target. "batchmean":
    the sum over the batch size."""
    if input.dtype.category != FLOAT or target.dtype.category != FLOAT:
        raise RuntimeError("kl_div: Integral inputs not supported.")
    batchmean = reduction == "batchmean"
    if reduction == MEAN and size_average is None and reduce is None:
        warnings.warn(
            "reduction: 'mean' divides the total loss by both the batch size and the support size."
            "'batchmean' divides only by the batch size, and aligns with the KL div math definition."
            "'mean' will be changed to behave the same as 'batchmean' in the next major release.",
            stacklevel=2,
        )
    loss = RECORD["kl_div"](
        *matched(input, target),
        attrs=(bool(log_target), SUM if batchmean else reduction_of(reduction, size_average, reduce)),
    )
    return loss / input.shape[0] if batchmean and input.ndim else loss


def poisson_nll_loss(
    input,
    target,
    log_input: bool = True,
    full: bool = False,
    size_average=None,
    eps: float = 1e-08,
    reduce=None,
    reduction: str = "mean",
):
    """exp(input) - target * input (log_input) or input - target * log(input + eps); full adds Stirling's term for
    targets over 1."""
    input, target = matched(input, target)
    if input.dtype.category != FLOAT:
        input, target = (t.to(dtypes.get_default_dtype()) for t in (input, target))
    return RECORD["poisson_nll_loss"](
        input, target, float(eps), attrs=(bool(log_input), bool(full), reduction_of(reduction, size_average, reduce))
    )


def hinge_embedding_loss(input, target, margin: float = 1.0, size_average=None, reduce=None, reduction: str = "mean"):
    """input where target is 1, max(0, margin - input) where it is -1."""
    return RECORD["hinge_embedding_loss"](
        *matched(input, target), float(margin), attrs=(reduction_of(reduction, size_average, reduce),)
    )


# -- compositions ----------------------------------------------------------------------------------------------------
def margin_ranking_loss(
    input1, input2, target, margin: float = 0, size_average=None, reduce=None, reduction: str = "mean"
):
    """max(0, -target * (input1 - input2) + margin), reduced. RuntimeError for different numbers of dimensions."""
    reduction = reduction_of(reduction, size_average, reduce)
    if not input1.ndim == input2.ndim == target.ndim:
        raise RuntimeError(
            "margin_ranking_loss : All input tensors should have same dimension but got sizes: input1: "
            f"{input1.shape!r}, input2: {input2.shape!r}, target: {target.shape!r} "
        )
    return averaged((-target * (input1 - input2) + float(margin)).clamp_min(0), reduction)


def cosine_embedding_loss(
    input1, input2, target, margin: float = 0, size_average=None, reduce=None, reduction: str = "mean"
):
    """1 - cos(input1, input2) where target is 1, max(0, cos - margin) where it is -1: inputs (N, D) or (D,), target
    (N,) or ()."""
    reduction = reduction_of(reduction, size_average, reduce)
    if target.ndim > 1:
        raise RuntimeError("0D or 1D target tensor expected, multi-target not supported")
    if not input1.ndim == input2.ndim == target.ndim + 1:
        raise RuntimeError(
            f"{target.ndim}D target tensor expects {target.ndim + 1}D input tensors, but found inputs with sizes "
            f"{list(input1.shape)} and {list(input2.shape)}."
        )
    tiny = 1e-12        # PyTorch's, on the squared lengths
    lengths = ((input1 * input1).sum(-1) + tiny) * ((input2 * input2).sum(-1) + tiny)
    cosine = (input1 * input2).sum(-1) / lengths.sqrt()
    where = PUBLIC["where"]
    return averaged(
        where(target == 1, 1 - cosine, 0) + where(target == -1, (cosine - float(margin)).clamp_min(0), 0), reduction
    )


def triplet_margin_loss(
    anchor,
    positive,
    negative,
    margin: float = 1.0,
    p: float = 2,
    eps: float = 1e-6,
    swap: bool = False,
    size_average=None,
    reduce=None,
    reduction: str = "mean",
):
    """max(0, margin + |anchor - positive| - |anchor - negative|), p-norms (Balntas et al., 2016). swap: positive to
    negative, where that is nearer."""
    return triplet(
        anchor,
        positive,
        negative,
        lambda a, b: pairwise_distance(a, b, p, eps),
        margin,
        swap,
        reduction_of(reduction, size_average, reduce),
    )


def triplet_margin_with_distance_loss(
    anchor,
    positive,
    negative,
    *,
    distance_function=None,
    margin: float = 1.0,
    swap: bool = False,
    reduction: str = "mean",
):
    """triplet_margin_loss with a distance of the user's own."""
    return triplet(
        anchor, positive, negative, distance_function or pairwise_distance, margin, swap, reduction_of(reduction)
    )


def triplet(anchor, positive, negative, distance, margin: float, swap: bool, reduction: str):
    if margin <= 0:
        raise ValueError(f"margin must be greater than 0, got {margin}")
    if not anchor.ndim == positive.ndim == negative.ndim:
        raise RuntimeError(
            "The anchor, positive, and negative tensors are expected to have the same number of dimensions, but got: "
            f"anchor {anchor.ndim}D, positive {positive.ndim}D, and negative {negative.ndim}D inputs"
        )
    near, far = distance(anchor, positive), distance(anchor, negative)
    if swap:
        far = PUBLIC["minimum"](far, distance(positive, negative))
    return averaged((margin + near - far).clamp_min(0), reduction)


def gaussian_nll_loss(input, target, var, full: bool = False, eps: float = 1e-06, reduction: str = "mean"):
    """(log(var) + (input - target)**2 / var) / 2, with var no less than eps; full adds log(2 pi) / 2. ValueError for a
    negative variance.

    var: of input's size, or one size short of it at the end, or a number. Its values are looked at, so what was
    recorded runs.
    """
    reduction = reduction_of(reduction)
    if isinstance(var, float):
        if var < 0:
            raise ValueError("var has negative entry/entries")
        var = PUBLIC["full_like"](input.detach(), var)
    elif bool((var < 0).any()):
        raise ValueError("var has negative entry/entries")
    if var.shape != input.shape:
        if input.shape[:-1] == var.shape:
            var = var.unsqueeze(-1)
        elif input.ndim != var.ndim or sum(b for a, b in zip(input.shape, var.shape, strict=True) if a != b) != 1:
            raise ValueError("var is of incorrect size")
    var = var.clone()
    with no_grad():         # the gradient is as if nothing had been clamped
        var.clamp_(min=eps)
    loss = (var.log() + (input - target) ** 2 / var) * 0.5
    return averaged(loss + 0.5 * math.log(2 * math.pi) if full else loss, reduction)


# -- names of the main namespace: reductions are numbers there, 0 (none) by default -----------------------------------
PUBLIC["kl_div"] = lambda input, target, reduction=0, *, log_target=False: RECORD["kl_div"](
    *matched(input, target), attrs=(bool(log_target), reduction_of(reduction))
)
PUBLIC["poisson_nll_loss"] = lambda input, target, log_input, full, eps, reduction: poisson_nll_loss(
    input, target, log_input, full, eps=eps, reduction=reduction
)
PUBLIC["hinge_embedding_loss"] = lambda input, target, margin=1.0, reduction=0: hinge_embedding_loss(
    input, target, margin, reduction=reduction
)
PUBLIC["margin_ranking_loss"] = lambda input1, input2, target, margin=0.0, reduction=0: margin_ranking_loss(
    input1, input2, target, margin, reduction=reduction
)
PUBLIC["cosine_embedding_loss"] = lambda input1, input2, target, margin=0.0, reduction=0: cosine_embedding_loss(
    input1, input2, target, margin, reduction=reduction
)
PUBLIC["triplet_margin_loss"] = (
    lambda anchor, positive, negative, margin=1.0, p=2.0, eps=1e-6, swap=False, reduction=0: triplet_margin_loss(
        anchor, positive, negative, margin, p, eps, swap, reduction=reduction
    )
)
PUBLIC["binary_cross_entropy_with_logits"] = lambda input, target, weight=None, pos_weight=None, reduction=0: (
    binary_cross_entropy_with_logits(input, target, weight, reduction=reduction, pos_weight=pos_weight)
)

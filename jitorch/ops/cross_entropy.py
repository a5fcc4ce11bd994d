"""Losses over classes: cross entropy, `nll_loss`, margins. A target names a class, or several, or gives their shares."""

from __future__ import annotations

import numpy as np

from .. import dtypes
from ..dtypes import FLOAT
from ..graph.record import Meta, contiguous_strides, count
from ..tensor import validate
from .activations import logsigmoid
from .dispatch import PUBLIC, apply
from .formulas import NUMPY, TENSORS, floating, formula_op, gradient_of
from .losses import MEAN, NONE, averaged, everything, matched, reduced, reduction_of, scaled, total


# -- cross entropy and nll_loss: x is (N, C, d...) or (C,); a target names a class -----------------------------------
def class_dim(x) -> int:
    return 1 if len(x.shape) > 1 else 0


def along_classes(x, what: str) -> tuple[int, ...]:
    """The shape of one value per class, or per target, that broadcasts against x."""
    d = class_dim(x)
    return tuple((n if i == d else 1) if what == "classes" else (1 if i == d else n) for i, n in enumerate(x.shape))


def in_range(m, target, classes: int, ignore_index: int):
    """The target, whose reading raises IndexError where it names no class."""
    if m is TENSORS:        # only differentiated: the forward pass has looked
        return target
    good = ((target >= 0) & (target < classes)) | m.map("eq", target, ignore_index)
    if m is NUMPY:
        if not np.all(good):
            raise IndexError(f"Target {np.asarray(target)[~np.asarray(good)].flat[0]} is out of bounds.")
        return target
    place = m.const(0, dtypes.int64)
    for i, (n, stride) in enumerate(zip(target.shape, contiguous_strides(target.shape), strict=True)):
        if n > 1:
            place = place + m.iota(tuple(n if k == i else 1 for k in range(len(target.shape))), i) * stride
    return m.take(target, m.where(good, place, -1))


def chosen(m, x, target, weight, ignore_index: int):
    """(N, C, d...): each class's weight where the target names it, else 0; and (N, 1, d...): is the target counted,
    and with what weight."""
    d = class_dim(x)
    t = m.reshape(in_range(m, target, x.shape[d], ignore_index), along_classes(x, "targets"))
    hot = m.map("eq", t, m.iota(along_classes(x, "classes"), d))
    weights = (
        m.cast(hot, x.dtype) if weight is None else m.where(hot, m.reshape(weight, along_classes(x, "classes")), 0)
    )
    counted = m.map("ne", t, ignore_index)
    of_target = m.cast(counted, x.dtype) if weight is None else m.where(counted, m.reduce("sum", weights, (d,)), 0)
    return hot, weights, counted, of_target


def class_reduced(m, loss, of_target, reduction, shape):
    """The mean is over the weights of the targets that count."""
    if reduction == NONE:
        return m.reshape(loss, shape)
    return total(m, loss) / total(m, of_target) if reduction == MEAN else total(m, loss)


def class_scale(m, g, x, of_target, reduction):
    """What comes from above, for each target."""
    g = m.reshape(g, along_classes(x, "targets") if reduction == NONE else (1,) * len(x.shape))
    return g / m.reduce("sum", of_target, everything(of_target)) if reduction == MEAN else g


def nll_formula(m, x, target, weight, reduction, ignore_index):
    hot, _, counted, of_target = chosen(m, x, target, weight, ignore_index)
    picked = m.reduce("sum", m.where(hot, x, 0), (class_dim(x),))
    loss = m.where(counted, -picked if weight is None else -picked * of_target, 0)
    return class_reduced(m, loss, of_target, reduction, target.shape)


def nll_backward(m, g, x, target, weight, reduction, ignore_index):
    _, weights, counted, of_target = chosen(m, x, target, weight, ignore_index)
    return m.where(counted, -weights * class_scale(m, g, x, of_target, reduction), 0)


def log_sum(m, x):
    """x minus its largest, and the logarithm of the sum of its exponentials, along the classes."""
    d = class_dim(x)
    z = x - m.reduce("max", x, (d,))
    return z, m.map("log", m.reduce("sum", m.map("exp", z), (d,)))


def cross_entropy_formula(m, x, target, weight, reduction, ignore_index, smoothing):
    d = class_dim(x)
    hot, _, counted, of_target = chosen(m, x, target, weight, ignore_index)
    z, lse = log_sum(m, x)
    loss = (lse - m.reduce("sum", m.where(hot, z, 0), (d,))) * of_target
    if smoothing:
        every = lse - z if weight is None else (lse - z) * m.reshape(weight, along_classes(x, "classes"))
        loss = loss * (1 - smoothing) + m.reduce("sum", every, (d,)) * (smoothing / x.shape[d])
    return class_reduced(m, m.where(counted, loss, 0), of_target, reduction, target.shape)


def cross_entropy_backward(m, g, x, target, weight, reduction, ignore_index, smoothing):
    d = class_dim(x)
    _, weights, counted, of_target = chosen(m, x, target, weight, ignore_index)
    z, lse = log_sum(m, x)
    p = m.map("exp", z - lse)
    slope = p * of_target - weights
    if smoothing:
        if weight is None:
            every = p * x.shape[d] - 1
        else:
            spread = m.reshape(weight, along_classes(x, "classes"))
            every = p * m.reduce("sum", spread, (d,)) - spread
        slope = slope * (1 - smoothing) + every * (smoothing / x.shape[d])
    return m.where(counted, slope * class_scale(m, g, x, of_target, reduction), 0)


def soft_targets(m, x, target, weight, smoothing):
    target = target * (1 - smoothing) + smoothing / x.shape[class_dim(x)] if smoothing else target
    return scaled(target, None if weight is None else m.reshape(weight, along_classes(x, "classes")))


def soft_formula(m, x, target, weight, reduction, smoothing):
    """Targets are probabilities. The mean is over everything but the classes."""
    d = class_dim(x)
    z, lse = log_sum(m, x)
    loss = m.reduce("sum", soft_targets(m, x, target, weight, smoothing) * (lse - z), (d,))
    if reduction == NONE:
        return m.reshape(loss, x.shape[:d] + x.shape[d + 1:])
    return reduced(m, loss, reduction)


def soft_backward(m, g, x, target, weight, reduction, smoothing):
    d = class_dim(x)
    z, lse = log_sum(m, x)
    y = soft_targets(m, x, target, weight, smoothing)
    g = m.reshape(g, along_classes(x, "targets") if reduction == NONE else (1,) * len(x.shape))
    slope = (m.map("exp", z - lse) * m.reduce("sum", y, (d,)) - y) * g
    return slope / (count(x.shape) // x.shape[d]) if reduction == MEAN else slope


def class_rule(kernel: str):
    def infer(x, target, weight, reduction, *rest):
        floating(kernel, x)
        shape = x.shape[:class_dim(x)] + x.shape[class_dim(x) + 1:]
        return Meta(shape if reduction == NONE else (), x.dtype)
    return infer


def class_entries(name: str, formula, backward, kernel: str, grad_name=None):
    """The entries of a loss over classes and of its gradient in the input; gradients of what else there is are the
    formula's."""
    back = formula_op(name + "_backward", backward, lambda g, x, *rest: Meta(x.shape, x.dtype), saves="0123")
    whole = gradient_of(formula)

    def vjp(ctx, g):
        if any(ctx.needs[1:]):
            return whole(ctx, g)
        return (apply(back, (g, ctx.input(0), ctx.input(1), ctx.input(2)), ctx.attrs),)
    return formula_op(name, formula, class_rule(kernel), vjp=vjp, saves="012", grad_name=grad_name)


nll_op = class_entries("nll_loss", nll_formula, nll_backward, "nll_loss_out_frame")
cross_entropy_op = class_entries(
    "cross_entropy", cross_entropy_formula, cross_entropy_backward, "log_softmax_lastdim_kernel_impl"
)
soft_cross_entropy_op = class_entries(
    "_cross_entropy_with_probabilities", soft_formula, soft_backward, "log_softmax_lastdim_kernel_impl", "DivBackward1"
)


def check_classes(input, target, weight, ignore_index: int):
    """The target as int64, once sizes, dtypes and (where known) values are right. PyTorch's errors otherwise."""
    if not input.ndim:
        raise ValueError("Expected 1 or more dimensions (got 0)")
    if input.ndim == 1:
        if target.ndim > 1 or target._meta.numel != 1:
            raise ValueError(
                "For 1D input, 1D target must have size 1, but got target size: "
                f"{target.shape[0] if target.ndim else 1}"
            )
    elif not target.ndim or input.shape[0] != target.shape[0]:
        raise ValueError(
            f"Expected input batch_size ({input.shape[0]}) to match target batch_size "
            f"({target.shape[0] if target.ndim else 1})."
        )
    elif input.ndim == 2 and target.ndim > 1:
        raise RuntimeError("0D or 1D target tensor expected, multi-target not supported")
    elif tuple(target.shape) != (input.shape[0], *input.shape[2:]):
        raise RuntimeError(f"Expected target size {[input.shape[0], *input.shape[2:]]}, got {list(target.shape)}")
    if target.dtype not in (dtypes.int64, dtypes.uint8):
        raise RuntimeError(f"expected target dtype to be Long or Byte, but got {target.dtype.label}")
    classes = input.shape[class_dim(input)]
    check_weight(weight, classes, input)

    def check(values: np.ndarray) -> None:
        wrong = values[((values < 0) | (values >= classes)) & (values != ignore_index)]
        if wrong.size:
            raise IndexError(f"Target {wrong.flat[0]} is out of bounds.")

    validate(target, check)
    return target.to(dtypes.int64)


def check_weight(weight, classes: int, input) -> None:
    if weight is not None:
        if weight.ndim != 1 or weight.shape[0] != classes:
            raise RuntimeError(
                f"weight tensor should be defined either for all {classes} classes or no classes but got weight "
                f"tensor of shape: {list(weight.shape)}"
            )
        if weight.dtype is not input.dtype:
            raise RuntimeError(f"expected scalar type {input.dtype.label} but found {weight.dtype.label}")


def nll_loss(
    input, target, weight=None, size_average=None, ignore_index: int = -100, reduce=None, reduction: str = "mean"
):
    """-weight[target] * input[target] for log-probabilities: input (C,), (N, C) or (N, C, d...), target without C,
    int64.

    The mean is over the weights of the targets that are not ignore_index. IndexError for a target that names no class.
    """
    reduction = reduction_of(reduction, size_average, reduce)
    target = check_classes(input, target, weight, ignore_index)
    result = apply(nll_op, (input, target, weight), (reduction, int(ignore_index)))
    return result.reshape(target.shape) if reduction == NONE and input.ndim == 1 and target.ndim else result


def cross_entropy(
    input,
    target,
    weight=None,
    size_average=None,
    ignore_index: int = -100,
    reduce=None,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
):
    """nll_loss(log_softmax(input), target): input (C,), (N, C) or (N, C, d...); target class numbers without C, or
    probabilities of input's shape.

    label_smoothing: this much of each target is spread over all classes. IndexError for a target that names no class.

    >>> import jitorch as torch
    >>> torch.nn.functional.cross_entropy(torch.tensor([[0., 0.]]), torch.tensor([1]))
    tensor(0.6931)
    """
    reduction = reduction_of(reduction, size_average, reduce)
    if not 0 <= label_smoothing <= 1:
        raise RuntimeError(f"label_smoothing must be between 0.0 and 1.0. Got: {label_smoothing}")
    if not input.ndim:
        raise IndexError("Dimension out of range (expected to be in range of [-1, 0], but got 1)")
    if input.shape == target.shape and (target.dtype.category == FLOAT or input.ndim != 1 or input.shape[0] != 1):
        if target.dtype.category != FLOAT:
            raise RuntimeError(
                f"Expected floating point type for target with class probabilities, got {target.dtype.label}"
            )
        if ignore_index >= 0:
            raise RuntimeError("ignore_index is not supported for floating point target")
        check_weight(weight, input.shape[class_dim(input)], input)
        return apply(soft_cross_entropy_op, matched(input, target, weight), (reduction, float(label_smoothing)))
    target = check_classes(input, target, weight, ignore_index)
    result = apply(cross_entropy_op, (input, target, weight), (reduction, int(ignore_index), float(label_smoothing)))
    return result.reshape(target.shape) if reduction == NONE and input.ndim == 1 and target.ndim else result


# -- margins over classes --------------------------------------------------------------------------------------------
def multi_margin_formula(m, x, target, weight, margin, p, reduction):
    """x (N, C), target (N,)."""
    n, classes = x.shape
    hot, _, _, of_target = chosen(m, x, target, weight, -1 - classes)
    z = margin - m.reduce("sum", m.where(hot, x, 0), (1,)) + x
    z = m.where(z > 0, z, 0)
    loss = m.reduce("sum", m.where(hot, 0, z * z if p == 2 else z), (1,)) / classes
    return reduced(m, m.reshape(loss if weight is None else loss * of_target, (n,)), reduction)


def multilabel_formula(m, x, target, reduction):
    """x (N, C), target (N, C): class numbers up to the first -1."""
    n, classes = x.shape
    target = in_range(m, target, classes, -1)
    place = m.iota((1, classes), 1)
    stop = m.reduce("min", m.where(target < 0, place, classes), (1,))
    listed = m.reshape(place < stop, (n, classes, 1))
    number = m.reshape(target, (n, classes, 1))
    hot = listed & m.map("eq", number, m.iota((1, 1, classes), 2))                      # (N, entry of the list, class)
    wide = m.reshape(x, (n, 1, classes))
    is_target = m.reduce("sum", m.cast(hot, x.dtype), (1,))
    z = 1 - m.reduce("sum", m.where(hot, wide, 0), (2,)) + wide
    loss = m.where(listed & (z > 0) & (is_target < 0.5), z, 0)
    loss = m.reshape(m.reduce("sum", loss, (1, 2)) / classes, (n,))
    return reduced(m, loss, reduction)


def rows_rule(kernel: str):
    def infer(x, *rest):
        floating(kernel, x)
        return Meta((x.shape[0],) if rest[-1] == NONE else (), x.dtype)
    return infer


multi_margin_op = formula_op("multi_margin_loss", multi_margin_formula, rows_rule("multi_margin_loss"), saves="0123")
multilabel_margin_op = formula_op(
    "multilabel_margin_loss", multilabel_formula, rows_rule("multilabel_margin_loss"), saves="01"
)


def check_listed(target, low: int, classes: int, message: str) -> None:
    def check(values: np.ndarray) -> None:
        if ((values < low) | (values >= classes)).any():
            raise RuntimeError(message)

    validate(target, check)


def multi_margin_loss(
    input, target, p: int = 1, margin: float = 1.0, weight=None, size_average=None, reduce=None, reduction: str = "mean"
):
    """Mean over the classes of max(0, margin - input[target] + input)**p, the target left out: input (N, C) or (C,),
    target (N,) or ()."""
    reduction = reduction_of(reduction, size_average, reduce)
    if p not in (1, 2):
        raise ValueError("only p == 1 and p == 2 supported")
    if weight is not None and weight.ndim != 1:
        raise ValueError("weight must be one-dimensional")
    if target.dtype is not dtypes.int64:
        raise RuntimeError(f"expected scalar type Long but found {target.dtype.label}")
    x = input.reshape((1, -1)) if input.ndim < 2 else input
    if target.ndim > 1 or target._meta.numel != x.shape[0]:
        raise RuntimeError(
            "multi_margin_loss: target tensor should be 1-D with size equal to the number of input samples (batch "
            f"size). Expected target size [{x.shape[0]}], "
            f"but got {list(target.shape)}. Input has shape {list(input.shape)}."
        )
    if weight is not None and weight._meta.numel != x.shape[1]:
        raise RuntimeError(f"inconsistent weight size, expected {x.shape[1]} but got {list(weight.shape)}")
    check_listed(target, 0, x.shape[1], "target out of range")
    result = apply(multi_margin_op, (x, target.reshape((x.shape[0],)), weight, float(margin)), (p, reduction))
    return result.reshape(target.shape) if reduction == NONE else result


def multilabel_margin_loss(input, target, size_average=None, reduce=None, reduction: str = "mean"):
    """Sum of max(0, 1 - input[target] + input[other]) over the listed targets (up to the first -1) and the other
    classes, over C. Sizes (N, C) or (C,)."""
    reduction = reduction_of(reduction, size_average, reduce)
    if target.shape != input.shape or input.ndim > 2:
        raise RuntimeError(f"inconsistent target size: {list(target.shape)} for input of size: {list(input.shape)}")
    if target.dtype is not dtypes.int64:
        raise RuntimeError(f"expected scalar type Long but found {target.dtype.label}")
    x = input.reshape((1, -1)) if input.ndim < 2 else input
    check_listed(target, -1, x.shape[1], "argument #2 'target' is out of range")
    result = apply(multilabel_margin_op, (x, target.reshape(x.shape)), (reduction,))
    return result.reshape(()) if reduction == NONE and input.ndim < 2 else result


def multilabel_soft_margin_loss(input, target, weight=None, size_average=None, reduce=None, reduction: str = "mean"):
    """Mean over the classes (the last dimension) of the binary cross entropy of sigmoid(input)."""
    reduction = reduction_of(reduction, size_average, reduce)
    loss = -(target * logsigmoid(input) + (1 - target) * logsigmoid(-input))
    loss = loss if weight is None else loss * weight
    return averaged(loss.sum(-1) / (input.shape[-1] if input.ndim else 1), reduction)


def linear_cross_entropy(
    input,
    linear_weight,
    target,
    *,
    linear_bias=None,
    weight=None,
    reduction: str = "mean",
    ignore_index: int | None = None,
    label_smoothing: float = 0.0,
    options=None,
):
    """cross_entropy(linear(input, linear_weight, linear_bias), target): input (N, F) or (F,), linear_weight (C, F) or
    (C, d..., F)."""
    if not 1 <= input.ndim <= 2:
        raise RuntimeError(f"expected input with dimensionality 1 or 2, got {input.ndim}")
    if linear_weight.ndim < 2:
        raise RuntimeError(f"expected linear_weight with dimensionality at least 2, got {linear_weight.ndim}")
    features = input.shape[-1]
    if features != linear_weight.shape[-1]:
        raise RuntimeError(
            f"expected equal input and linear_weight last dimensions (in_features), got {features} and "
            f"{linear_weight.shape[-1]}, respectively"
        )
    outer = linear_weight.shape[:-1]
    if linear_bias is not None and linear_bias.shape != outer:
        raise RuntimeError(f"expected linear_bias shape {tuple(outer)}, got {tuple(linear_bias.shape)}")
    scores = PUBLIC["matmul"](input, linear_weight.reshape((-1, features)).t()).reshape((*input.shape[:-1], *outer))
    scores = scores if linear_bias is None else scores + linear_bias
    return cross_entropy(
        scores,
        target,
        weight,
        ignore_index=-100 if ignore_index is None else ignore_index,
        reduction=reduction,
        label_smoothing=label_smoothing,
    )

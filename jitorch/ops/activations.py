"""Activations, and the softmax family."""
from __future__ import annotations

import math
import warnings

from .. import dtypes
from ..autograd.node import state
from ..dtypes import BOOL, FLOAT
from ..graph.record import Meta
from .dispatch import METHODS, PUBLIC, Op, apply
from .formulas import elementwise_rule, floating, formula_op
from .views import wrap_dim

# -- elementwise activations: a formula, and the formula of g * f'(x) ------------------------------------------------
SQRT_HALF, SQRT_TWO_PI, SQRT_TWO_OVER_PI = math.sqrt(0.5), math.sqrt(2 * math.pi), math.sqrt(2 / math.pi)
SELU_ALPHA, SELU_SCALE = 1.6732632423543772848170429916717, 1.0507009873554804934193349852946
MISH_LARGE = 20.0       # from here on tanh(softplus(x)) is 1 in every dtype


def clamp(m, x, low, high):
    return m.map("minimum", m.map("maximum", x, low), high)


def inside(x, low, high):
    return (x > low) & (x < high)


def elu_formula(m, x, alpha, scale, input_scale):
    return m.where(x <= 0, m.map("expm1", x * input_scale) * (alpha * scale), x * scale)


def elu_backward(m, g, x, alpha, scale, input_scale):
    negative = m.where(x >= 0, 0, x)        # exp only where it can't overflow
    slope = m.map("exp", negative * input_scale) * (input_scale * alpha * scale)
    return m.where(x <= 0, g * slope, g * scale)        # NaN counts as positive, as in PyTorch


def gelu_formula(m, x, approximate):
    if approximate == "tanh":
        return x * 0.5 * (1 + m.map("tanh", (x + x * x * x * 0.044715) * SQRT_TWO_OVER_PI))
    return x * 0.5 * (1 + m.map("erf", x * SQRT_HALF))


def gelu_backward(m, g, x, approximate):
    if approximate == "tanh":
        t = m.map("tanh", (x + x * x * x * 0.044715) * SQRT_TWO_OVER_PI)
        return g * ((1 + t) * 0.5 + x * (1 - t * t) * (1 + x * x * (3 * 0.044715)) * (0.5 * SQRT_TWO_OVER_PI))
    return g * ((1 + m.map("erf", x * SQRT_HALF)) * 0.5 + x * m.map("exp", x * x * -0.5) * (1 / SQRT_TWO_PI))


def silu_backward(m, g, x):
    s = m.map("sigmoid", x)
    return g * s * (1 + x * (1 - s))


def mish_factor(m, x):
    """tanh(log(1 + exp(x))), without either: with n = exp(x) it is n(n + 2) / (n(n + 2) + 2)."""
    n = m.map("exp", m.where(x > MISH_LARGE, MISH_LARGE, x))
    n = n * (n + 2)
    return n / (n + 2)


def mish_backward(m, g, x):
    t = mish_factor(m, x)
    return g * (t + x * m.map("sigmoid", x) * (1 - t * t))


def softplus_formula(m, x, beta, threshold):
    return m.where(x * beta > threshold, x, m.map("log1p", m.map("exp", x * beta)) / beta)


def softplus_backward(m, g, x, beta, threshold):
    return m.where(x * beta > threshold, g, g * m.map("sigmoid", x * beta))


def hardswish_backward(m, g, x):
    return m.where(x <= -3, 0, m.where(x < 3, g * (x / 3 + 0.5), g))


def softshrink_formula(m, x, lambd):
    return m.where(x > lambd, x - lambd, m.where(x < -lambd, x + lambd, x * 0))


def shrink_backward(m, g, x, lambd):
    return m.where((x > lambd) | (x < -lambd), g, 0)


def prelu_formula(m, x, weight):
    return m.where(x > 0, x, x * weight)


def prelu_backward(m, g, x, weight):
    return m.where(x > 0, g, g * weight), m.where(x >= 0, 0, g * x)


def bounded(*metas):
    if metas[0].dtype.category == BOOL:
        raise RuntimeError("Bool inputs not supported for hardtanh")
    return Meta(metas[0].shape, metas[0].dtype)


def prelu_backward_rule(*metas):
    m = elementwise_rule("prelu_cpu")(*metas)
    return m, m


def same_as_first(*metas):
    return Meta(metas[0].shape, metas[0].dtype)


# name, kernel (in PyTorch's error messages) or rule, formula, formula of the gradient, numbers (and further tensors)
TABLE = [
    (
        "leaky_relu",
        "leaky_relu_cpu",
        lambda m, x, slope: m.where(x > 0, x, x * slope),
        lambda m, g, x, slope: m.where(x > 0, g, g * slope),
        1,
    ),
    ("elu", "elu_cpu", elu_formula, elu_backward, 3),
    ("gelu", "GeluKernelImpl", gelu_formula, gelu_backward, 0),
    ("silu", "silu_cpu", lambda m, x: x * m.map("sigmoid", x), silu_backward, 0),
    ("mish", "mish_cpu", lambda m, x: x * mish_factor(m, x), mish_backward, 0),
    ("softplus", "softplus_cpu", softplus_formula, softplus_backward, 2),
    ("hardtanh", bounded, clamp, lambda m, g, x, low, high: m.where(inside(x, low, high), g, 0), 2),
    (
        "hardsigmoid",
        "hardsigmoid_cpu",
        lambda m, x: clamp(m, x + 3, 0, 6) / 6,
        lambda m, g, x: m.where(inside(x, -3, 3), g / 6, 0),
        0,
    ),
    ("hardswish", "hardswish_cpu", lambda m, x: x * clamp(m, x + 3, 0, 6) * (1 / 6), hardswish_backward, 0),
    (
        "hardshrink",
        "hardshrink_cpu",
        lambda m, x, lambd: m.where((x >= -lambd) & (x <= lambd), 0, x),
        shrink_backward,
        1,
    ),
    ("softshrink", "softshrink_check", softshrink_formula, shrink_backward, 1),
    (
        "threshold",
        same_as_first,
        lambda m, x, threshold, value: m.where(x <= threshold, value, x),
        lambda m, g, x, threshold, value: m.where(x <= threshold, 0, g),
        2,
    ),
    (
        "log_sigmoid",
        "log_sigmoid_cpu",
        lambda m, x: m.map("minimum", x, 0) - m.map("log1p", m.map("exp", -m.map("abs", x))),
        lambda m, g, x: g * m.map("sigmoid", -x),
        0,
    ),
    ("_prelu_kernel", "prelu_cpu", prelu_formula, prelu_backward, 1),
]
RECORD: dict = {}       # name -> function of (input, *numbers, attrs)


def enter(name: str, rule, formula, backward, numbers: int) -> None:
    """One row of the table: the entry, and the entry of its gradient, whose own gradient is the formula's."""
    infer = elementwise_rule(rule) if isinstance(rule, str) else rule
    two = name == "_prelu_kernel"
    back = formula_op(
        name + "_backward",
        backward,
        prelu_backward_rule if two else elementwise_rule(name + "_backward"),
        saves="".join(map(str, range(numbers + 2))),
    )

    def vjp(ctx, g):
        found = apply(back, (g, *(ctx.input(i) for i in range(numbers + 1))), ctx.attrs)
        return found if two else (found,)

    op = formula_op(name, formula, infer, vjp=vjp, saves="".join(map(str, range(numbers + 1))))
    RECORD[name] = lambda *operands, attrs=(): apply(op, operands, attrs)


for _row in TABLE:
    enter(*_row)


def in_place(input, record):
    """`record(input)` as the new value of `input`. What the gradient needs of the old value is kept as a copy."""
    from ..tensor import assign, check_writable
    check_writable(input)
    return assign(input, record(input.clone() if state.enabled and input.requires_grad else input))


def recorded(input, inplace: bool, record):
    """The result of `record`, or the input itself, which it is written into."""
    needs_tensor(input)
    return in_place(input, record) if inplace else record(input)


def needs_tensor(input) -> None:
    if not hasattr(input, "_meta"):
        raise TypeError(f"argument 'input' must be Tensor, not {type(input).__name__}")


def bound(input, *numbers):
    """Numbers as the input's kind of number (PyTorch casts them to its dtype)."""
    needs_tensor(input)
    return tuple(map(float if input.dtype.category == FLOAT else int, numbers))


def relu(input, inplace: bool = False):
    """max(input, 0), elementwise; NaN stays NaN. Source of the gradient at 0: 0, as PyTorch.

    >>> import jitorch as torch
    >>> torch.nn.functional.relu(torch.tensor([-1., 2.]))
    tensor([0., 2.])
    """
    return METHODS["relu_"](input) if inplace else METHODS["relu"](input)


def hardtanh(input, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False):
    """input clamped to [min_val, max_val]. ValueError if min_val > max_val."""
    if min_val > max_val:
        raise ValueError("min_val cannot be greater than max_val")
    low, high = bound(input, min_val, max_val)
    if input.dtype is dtypes.uint8 and (low < 0 or high < 0):
        raise RuntimeError("cannot do hardtanh on an unsigned type with negative limits")
    return recorded(input, inplace, lambda x: RECORD["hardtanh"](x, low, high))


def relu6(input, inplace: bool = False):
    """min(max(input, 0), 6), elementwise."""
    return hardtanh(input, 0, 6, inplace)


def leaky_relu(input, negative_slope: float = 0.01, inplace: bool = False):
    """input where positive, negative_slope * input elsewhere."""
    slope = float(negative_slope)
    return recorded(input, inplace, lambda x: RECORD["leaky_relu"](x, slope))


def elu(input, alpha: float = 1.0, inplace: bool = False):
    """input where positive, alpha * (exp(input) - 1) elsewhere."""
    alpha = float(alpha)
    return recorded(input, inplace, lambda x: RECORD["elu"](x, alpha, 1.0, 1.0))


def selu(input, inplace: bool = False):
    """The scaled elu of Klambauer et al., 2017, whose constants keep mean 0 and variance 1."""
    return recorded(input, inplace, lambda x: RECORD["elu"](x, SELU_ALPHA, SELU_SCALE, 1.0))


def celu(input, alpha: float = 1.0, inplace: bool = False):
    """max(input, 0) + min(alpha * (exp(input / alpha) - 1), 0). RuntimeError for alpha 0."""
    if alpha == 0:
        raise RuntimeError("ZeroDivisionError: alpha cannot be 0 for CELU")
    alpha = float(alpha)
    return recorded(input, inplace, lambda x: RECORD["elu"](x, alpha, 1.0, 1.0 / alpha))


def gelu(input, *, approximate: str = "none"):
    """input * Phi(input), Phi the normal distribution's cumulative; "tanh": its approximation (Hendrycks and Gimpel,
    2016)."""
    if approximate not in ("none", "tanh"):
        raise RuntimeError("approximate argument must be either none or tanh.")
    return RECORD["gelu"](input, attrs=(approximate,))


def silu(input, inplace: bool = False):
    """input * sigmoid(input), also known as swish."""
    return recorded(input, inplace, RECORD["silu"])


def mish(input, inplace: bool = False):
    """input * tanh(softplus(input)) (Misra, 2019)."""
    return recorded(input, inplace, RECORD["mish"])


def softplus(input, beta: float = 1.0, threshold: float = 20.0):
    """log(1 + exp(beta * input)) / beta; input itself where beta * input > threshold."""
    return RECORD["softplus"](input, float(beta), float(threshold))


def softsign(input):
    """input / (1 + |input|)."""
    return input / (input.abs() + 1)


def tanhshrink(input):
    """input - tanh(input)."""
    return input - input.tanh()


def hardsigmoid(input, inplace: bool = False):
    """min(max(input + 3, 0), 6) / 6."""
    return recorded(input, inplace, RECORD["hardsigmoid"])


def hardswish(input, inplace: bool = False):
    """input * hardsigmoid(input)."""
    return recorded(input, inplace, RECORD["hardswish"])


def hardshrink(input, lambd: float = 0.5):
    """input where |input| > lambd, 0 elsewhere."""
    return RECORD["hardshrink"](input, float(lambd))


def softshrink(input, lambd: float = 0.5):
    """input moved towards 0 by lambd, 0 where it would pass it. RuntimeError for a negative lambd."""
    if lambd < 0:
        raise RuntimeError(f"lambda must be greater or equal to 0, but found to be {lambd}.")
    return RECORD["softshrink"](input, float(lambd))


def threshold(input, threshold: float, value: float, inplace: bool = False):
    """input where it is greater than threshold, value elsewhere."""
    numbers = bound(input, threshold, value)
    return recorded(input, inplace, lambda x: RECORD["threshold"](x, *numbers))


def logsigmoid(input):
    """log(sigmoid(input)), without overflow."""
    return RECORD["log_sigmoid"](input)


def glu(input, dim: int = -1):
    """The first half along dim times the sigmoid of the second. RuntimeError for an odd size."""
    needs_tensor(input)
    if not input.ndim:
        raise RuntimeError("glu does not support scalars because halving size must be even")
    dim = wrap_dim(dim, input.ndim)
    n = input.shape[dim]
    if n % 2:
        raise RuntimeError(f"Halving dimension must be even, but dimension {dim} is size {n}")
    return input.narrow(dim, 0, n // 2) * input.narrow(dim, n // 2, n // 2).sigmoid()


def prelu(input, weight):
    """input where positive, weight * input elsewhere: one weight, or one for each channel (dimension 1). RuntimeError
    otherwise."""
    needs_tensor(input)
    if weight._meta.numel != 1:
        if not input.ndim:
            raise RuntimeError("Not allow zero-dim input tensor.")
        channels = input.shape[1] if input.ndim > 1 else 1
        if channels != weight._meta.numel:
            raise RuntimeError(
                "Mismatch of parameter numbers and input channel size. Found parameter numbers = "
                f"{weight._meta.numel} and channel size = {channels}."
            )
    if weight.ndim > 1:
        raise RuntimeError(f"prelu: Expected `weight` to be a scalar or 1D tensor, but got: ndim = {weight.ndim}")
    if weight.dtype is not input.dtype:
        raise RuntimeError(f"prelu: Type promoting not supported. Got {input.dtype.name} and {weight.dtype.name}")
    shape = [-1 if i == 1 else 1 for i in range(input.ndim)] if input.ndim > 1 else [1] * input.ndim
    return RECORD["_prelu_kernel"](input, weight.reshape(shape))


def rrelu(input, lower: float = 1.0 / 8, upper: float = 1.0 / 3, training: bool = False, inplace: bool = False):
    """leaky_relu with a random slope in [lower, upper] for each element (Xu et al., 2015); not training: their mean."""
    if lower > upper:
        raise RuntimeError("Lower bound should be less than or equal to the upper bound")
    if not training:
        return leaky_relu(input, (lower + upper) / 2, inplace)

    def record(x):
        return RECORD["_prelu_kernel"](x, PUBLIC["rand_like"](x.detach()) * (upper - lower) + lower)
    return recorded(input, inplace, record)


# -- softmax, log_softmax, logsumexp ---------------------------------------------------------------------------------
def shifted(m, x, dim):
    """x minus its largest along dim: exp can't overflow. (0-d: one element is its own largest.)"""
    return x - m.reduce("max", x, (dim,)) if x.shape else x - x


def total(m, x, dim):
    return m.reduce("sum", x, (dim,)) if x.shape else x


def softmax_formula(m, x, dim):
    if 0 in x.shape:
        return x * 1
    e = m.map("exp", shifted(m, x, dim))
    return e * (1 / total(m, e, dim))       # one division a row


def log_softmax_formula(m, x, dim):
    if 0 in x.shape:
        return x * 1
    z = shifted(m, x, dim)
    return z - m.map("log", total(m, m.map("exp", z), dim))


def softmax_backward(m, g, y, dim):
    return y * (g - total(m, g * y, dim))


def log_softmax_backward(m, g, y, dim):
    return g - m.map("exp", y) * total(m, g, dim)


def logsumexp_formula(m, x, dims, keepdim):
    if 0 in x.shape:
        return (
            m.map("log", m.reduce("sum", x, dims))
            if keepdim
            else m.reshape(m.map("log", m.reduce("sum", x, dims)), without(x.shape, dims))
        )
    largest = m.reduce("max", x, dims) if dims else x
    largest = m.where(m.map("abs", largest) < math.inf, largest, 0)      # an infinity would give inf - inf
    e = m.map("exp", x - largest)
    result = m.map("log", m.reduce("sum", e, dims) if dims else e) + largest
    return result if keepdim else m.reshape(result, without(x.shape, dims))


def without(shape, dims) -> tuple[int, ...]:
    return tuple(n for i, n in enumerate(shape) if i not in dims)


def along_rule(kernel: str):
    def infer(*operands):
        floating(kernel, operands[0])
        return Meta(operands[0].shape, operands[0].dtype)
    return infer


softmax_backward_op = formula_op("_softmax_backward_data", softmax_backward, along_rule("softmax_backward"), saves="01")
log_softmax_backward_op = formula_op(
    "_log_softmax_backward_data", log_softmax_backward, along_rule("log_softmax_backward"), saves="01"
)
softmax_op = formula_op("_softmax", softmax_formula, along_rule("softmax_lastdim_kernel_impl"), saves="o",
                        vjp=lambda ctx, g: (apply(softmax_backward_op, (g, ctx.output()), ctx.attrs),))
log_softmax_op = formula_op(
    "_log_softmax",
    log_softmax_formula,
    along_rule("log_softmax_lastdim_kernel_impl"),
    saves="o",
    vjp=lambda ctx, g: (apply(log_softmax_backward_op, (g, ctx.output()), ctx.attrs),),
)


def logsumexp_rule(m, dims, keepdim):
    return Meta([1 if i in dims else n for i, n in enumerate(m.shape)] if keepdim else without(m.shape, dims), m.dtype)


def logsumexp_vjp(ctx, g):
    x, y = ctx.input(0), ctx.output()
    kept = [1 if i in ctx.attrs[0] else n for i, n in enumerate(x.shape)]
    return (g.reshape(kept) * (x - y.reshape(kept)).exp(),)


logsumexp_op = formula_op("logsumexp", logsumexp_formula, logsumexp_rule, saves="0o", vjp=logsumexp_vjp)


def implicit_dim(name: str, ndim: int) -> int:
    warnings.warn(
        f"Implicit dimension choice for {name} has been deprecated. Change the call to include dim=X as an argument.",
        stacklevel=4,
    )
    return 0 if ndim in (0, 1, 3) else 1


def family(name: str, op: Op, doc: str):
    """softmax or log_softmax as (a function of the main namespace and method, a function of nn.functional)."""
    def main(input, dim: int, dtype=None, *, out=None):
        needs_tensor(input)
        x = input if dtype is None else input.to(dtype)
        result = apply(op, (x,), (wrap_dim(dim, x.ndim),))
        if out is not None:
            from .publish import write_out
            return write_out(out, result)
        return result

    def functional(input, dim: int | None = None, _stacklevel: int = 3, dtype=None):
        needs_tensor(input)
        return main(input, implicit_dim(name, input.ndim) if dim is None else dim, dtype)

    for f in (main, functional):
        f.__name__ = f.__qualname__ = name
        f.__doc__ = doc
    PUBLIC[name] = METHODS[name] = main
    return functional


softmax = family(
    "softmax",
    softmax_op,
    """exp(input) over its sum along `dim`. IndexError for a dimension that isn't there.

    dtype: the input is cast to it first.

    >>> import jitorch as torch
    >>> torch.softmax(torch.tensor([0., 0.]), dim=0)
    tensor([0.5000, 0.5000])
    """,
)
log_softmax = family(
    "log_softmax",
    log_softmax_op,
    """log(softmax(input, dim)), computed without leaving the range of the dtype. IndexError for a dimension that isn't
    there.""",
)


def softmin(input, dim: int | None = None, _stacklevel: int = 3, dtype=None):
    """softmax(-input, dim)."""
    return softmax(-input, implicit_dim("softmin", input.ndim) if dim is None else dim, dtype=dtype)


def logsumexp(input, dim, keepdim: bool = False, *, out=None):
    """log of the sum of exp(input) over dim (one or several), without overflow. Integers are taken as floats.

    >>> import jitorch as torch
    >>> torch.logsumexp(torch.tensor([0., 0.]), dim=0)
    tensor(0.6931)
    """
    from .publish import finish
    from .reductions import dims_of
    needs_tensor(input)
    x = input if input.dtype.category == FLOAT else input.to(dtypes.get_default_dtype())
    result = apply(logsumexp_op, (x,), (dims_of(x.ndim, dim), bool(keepdim)))
    return finish(result, out)


# -- one_hot, gumbel_softmax -----------------------------------------------------------------------------------------
def one_hot_formula(m, index, n, dtype):
    last = len(index.shape)
    return m.cast(m.map("eq", m.reshape(index, (*index.shape, 1)), m.iota((1,) * last + (n,), last)), dtype)


one_hot_op = formula_op(
    "one_hot", one_hot_formula, lambda m, n, dtype: Meta((*m.shape, n), dtype), differentiable=False
)


def one_hot(tensor, num_classes: int = -1):
    """A last dimension of size num_classes (-1: the largest index + 1) that is 1 at the index and 0 elsewhere, in
    int64.

    RuntimeError for an index out of range or a tensor that is not int64.

    >>> import jitorch as torch
    >>> torch.nn.functional.one_hot(torch.tensor([0, 2]))
    tensor([[1, 0, 0],
            [0, 0, 1]])
    """
    if tensor.dtype is not dtypes.int64:
        raise RuntimeError(f"one_hot is only applicable to index tensor of type LongTensor. Got {tensor.dtype!r}")
    if not tensor._meta.numel:
        if num_classes <= 0:
            raise RuntimeError("Can not infer total number of classes from empty tensor.")
    elif num_classes == -1 or tensor._storage.tape is None:
        values = tensor.detach()._array()
        if values.min() < 0:
            raise RuntimeError("Class values must be non-negative.")
        largest = int(values.max())
        if num_classes == -1:
            num_classes = largest + 1
        if largest >= num_classes:
            raise RuntimeError("Class values must be smaller than num_classes.")
    return apply(one_hot_op, (tensor,), (num_classes, dtypes.int64))


def gumbel_softmax(logits, tau: float = 1, hard: bool = False, eps: float = 1e-10, dim: int = -1):
    """A sample of the Gumbel-softmax distribution (Jang et al., 2016) along dim.

    hard: the sample is one-hot, and its gradient that of the soft sample.
    """
    if logits.dtype.category != FLOAT:
        raise RuntimeError(
            "Exponential distribution is a continuous probability distribution. dtype must be a floating point but "
            f"you specified {logits.dtype.label}"
        )
    dim = wrap_dim(dim, logits.ndim)
    noise = -(-PUBLIC["rand_like"](logits.detach()).log()).log()
    soft = softmax((logits + noise) / tau, dim)
    if not hard:
        return soft
    chosen = soft.detach().argmax(dim, keepdim=True)
    shape = [-1 if i == dim else 1 for i in range(soft.ndim)]
    chosen = (PUBLIC["arange"](soft.shape[dim] if soft.ndim else 1).reshape(shape) == chosen).to(soft.dtype)
    return chosen - soft.detach() + soft


# -- names -----------------------------------------------------------------------------------------------------------
def in_place_form(function, name: str):
    def method(input, *args, **kwargs):
        return function(input, *args, **kwargs, inplace=True)
    method.__name__ = method.__qualname__ = name
    method.__doc__ = f"In-place form of `{function.__name__}`. RuntimeError for a leaf that requires grad."
    return method


relu_, leaky_relu_, elu_, selu_, celu_, hardtanh_, threshold_, rrelu_ = (
    in_place_form(f, f.__name__ + "_") for f in (relu, leaky_relu, elu, selu, celu, hardtanh, threshold, rrelu))
for _name, _f in (
    ("selu", selu),
    ("celu", celu),
    ("prelu", prelu),
    ("rrelu", rrelu),
    ("threshold", threshold),
    ("hardshrink", hardshrink),
    ("logsumexp", logsumexp),
    ("selu_", selu_),
    ("celu_", celu_),
    ("rrelu_", rrelu_),
    ("threshold_", threshold_),
):
    PUBLIC[_name] = _f
METHODS["prelu"], METHODS["hardshrink"], METHODS["logsumexp"] = prelu, hardshrink, logsumexp

"""Functions and operators of two and more operands: what users call, over the entries of `unary`, `binary` and `ternary`."""

from __future__ import annotations

import numpy as np

from .. import dtypes
from ..autograd.node import state
from ..dtypes import BOOL, FLOAT, INT
from ..tensor import assign, check_writable, from_numpy
from . import binary, ternary, unary  # noqa: F401  (they fill FUNCTIONS)
from .dispatch import METHODS, NUMBERS, PUBLIC, apply, operator_of
from .elementwise import FUNCTIONS, where_op
from .promotion import as_dtype
from .publish import finish, inplace_of, needs_tensor
from .ternary import nan_to_num_op


def operand(x, name: str = ""):
    """A tensor or a Python number; NumPy scalars and subclasses of numbers become numbers."""
    if x.__class__ in NUMBERS or hasattr(x, "_meta"):
        return x
    if isinstance(x, np.generic):
        return x.item()
    if isinstance(x, (bool, int, float, complex)):
        return next(kind(x) for kind in (bool, int, float, complex) if isinstance(x, kind))  # type: ignore[arg-type]
    raise TypeError(f"{name}(): argument 'other' (position 2) must be Tensor, not {type(x).__name__}")


def category(x) -> int:
    """BOOL, INT, FLOAT or COMPLEX, of a tensor or a number."""
    return x._meta.dtype.category if hasattr(x, "_meta") else dtypes.of_number(x).category


def weighted(name: str, input, other, alpha):
    """The entry `name` of input and alpha * other: in the dtype of the result, and in half precision rounded once, but for alpha itself. Checked
    as PyTorch does.
    """
    entry = FUNCTIONS[name]
    if alpha.__class__ is int and alpha == 1:
        return entry(input, other)
    if isinstance(alpha, bool) and max(category(input), category(other)) != BOOL:
        raise RuntimeError("Boolean alpha only supported for Boolean results.")
    if isinstance(alpha, float) and max(category(input), category(other)) < FLOAT:
        raise RuntimeError("For integral input tensors, argument alpha must not be a floating point number.")
    if isinstance(alpha, complex) and max(category(input), category(other)) <= FLOAT:
        raise RuntimeError("For non-complex input tensors, argument alpha must not be a complex number.")
    if hasattr(alpha, "_meta"):
        alpha = alpha.item()
    if not hasattr(other, "_meta"):
        return entry(input, other * alpha)
    if hasattr(input, "_meta"):
        result = dtypes.result_type((input._meta, other._meta))
        if result.category == BOOL:
            return entry(input, FUNCTIONS["logical_and"](other, bool(alpha)))
        if result in dtypes.HALVES:
            alpha = float(np.asarray(alpha, result.np))
            return weighted(name, input.to(dtypes.float32), other.to(dtypes.float32), alpha).to(result)
        other = other.to(result)
    return entry(input, FUNCTIONS["mul"](other, operand(alpha)))


# -- add, sub, mul, div ------------------------------------------------------------------------------------------------
def add(input, other, *, alpha=1, out=None):
    """input + alpha * other, elementwise, with broadcasting and type promotion.

    >>> import jitorch as torch
    >>> torch.add(torch.tensor([1, 2]), 10, alpha=2)
    tensor([21, 22])
    """
    return finish(weighted("add", operand(input, "add"), operand(other, "add"), alpha), out)


def sub(input, other, *, alpha=1, out=None):
    """input - alpha * other. RuntimeError for bool tensors."""
    input, other = operand(input, "sub"), operand(other, "sub")
    if category(other) == BOOL and hasattr(other, "_meta"):
        alpha = 1           # it raises
    return finish(weighted("sub", input, other, alpha), out)


def rsub(input, other, *, alpha=1):
    """other - alpha * input."""
    return weighted("sub", operand(other, "rsub"), input, alpha)


def mul(input, other, *, out=None):
    """input * other, elementwise, with broadcasting and type promotion."""
    return finish(FUNCTIONS["mul"](operand(input, "mul"), operand(other, "mul")), out)


def check_divisor(input, other) -> None:
    """RuntimeError for integers divided by the number zero (a tensor's zeros are found when the division runs)."""
    if not hasattr(other, "_meta") and other == 0 and category(input) < FLOAT and category(other) < FLOAT:
        raise RuntimeError("ZeroDivisionError")


ROUNDED = {"floor": "_div_floor", "trunc": "_div_trunc"}


def div(input, other, *, rounding_mode: str | None = None, out=None):
    """input / other. Integers give floats, unless rounding_mode is "floor" or "trunc".

    RuntimeError for another rounding_mode, and for an integer divided by zero with rounding.

    >>> import jitorch as torch
    >>> torch.div(torch.tensor([-7, 7]), 2, rounding_mode="trunc")
    tensor([-3,  3])
    """
    input, other = operand(input, "div"), operand(other, "div")
    if rounding_mode is None:
        return finish(FUNCTIONS["div"](input, other), out)
    if rounding_mode not in ROUNDED:
        raise RuntimeError(
            f"div expected rounding_mode to be one of None, 'trunc', or 'floor' but found '{rounding_mode}'"
        )
    check_divisor(input, other)
    return finish(FUNCTIONS[ROUNDED[rounding_mode]](input, other), out)


def true_divide(input, other, *, out=None):
    """input / other, as floats."""
    return finish(FUNCTIONS["div"](operand(input, "div"), operand(other, "div")), out)


def floor_divide(input, other, *, out=None):
    """input / other rounded down. RuntimeError for an integer divided by zero."""
    return div(input, other, rounding_mode="floor", out=out)


def remainder(input, other, *, out=None):
    """What is left of input / other rounded down:

    it has the divisor's sign. RuntimeError for an integer divided by zero.
    """
    input, other = operand(input, "remainder"), operand(other, "remainder")
    check_divisor(input, other)
    return finish(FUNCTIONS["remainder"](input, other), out)


def fmod(input, other, *, out=None):
    """What is left of input / other rounded toward zero:

    it has the dividend's sign. RuntimeError for an integer divided by zero.
    """
    needs_tensor("fmod", input=input)
    other = operand(other, "fmod")
    check_divisor(input, other)
    return finish(FUNCTIONS["fmod"](input, other), out)


# -- powers ------------------------------------------------------------------------------------------------------------
def pow(input, exponent, *, out=None):
    """input ** exponent. RuntimeError for integers to a negative integer power.

    >>> import jitorch as torch
    >>> torch.tensor([1., 2., 3.]) ** 2
    tensor([1., 4., 9.])
    """
    return finish(power(operand(input, "pow"), operand(exponent, "pow")), out)


def power(x, y):
    if hasattr(y, "_meta"):
        return FUNCTIONS["pow"](x, y)
    if not hasattr(x, "_meta"):
        raise TypeError("pow() received an invalid combination of arguments - got two numbers")
    kind = x._meta.dtype.category
    if y.__class__ is int and y < 0 and kind < FLOAT:
        raise RuntimeError("Integers to negative integer powers are not allowed.")
    if y == 2 and (kind >= FLOAT or kind == INT and y.__class__ is int):
        return FUNCTIONS["_square"](x)
    if kind >= FLOAT:
        if y == 0.5:
            return FUNCTIONS["sqrt"](x)
        if y == 3:
            return FUNCTIONS["_cube"](x)
        if y == 1:
            return FUNCTIONS["clone"](x)
        if y == -1:
            return FUNCTIONS["reciprocal"](x)
        if y == -0.5:
            return FUNCTIONS["rsqrt"](x)
    return FUNCTIONS["pow"](x, y)


def square(input, *, out=None):
    """input * input."""
    return finish(power(input, 2), out)


def float_power(input, exponent, *, out=None):
    """input ** exponent, computed in float64."""
    input, exponent = operand(input, "float_power"), operand(exponent, "float_power")
    return finish(
        FUNCTIONS["pow"](*(x.to(dtypes.float64) if hasattr(x, "_meta") else float(x) for x in (input, exponent))), out
    )


# -- publishing --------------------------------------------------------------------------------------------------------
def publish_binary(name: str, fn, aliases=(), symbol: str | None = None, inplace: bool = True) -> None:
    """Give a function of two operands to users;

    with a symbol also its operators (`__add__`, `__radd__`, `__iadd__`).
    """
    for n in (name, *aliases):
        PUBLIC[n] = METHODS[n] = fn
        if inplace:
            METHODS[n + "_"] = inplace_of(fn, n + "_")
    if symbol:
        METHODS[f"__{symbol}__"] = dunder(fn)
        METHODS[f"__r{symbol}__"] = dunder(lambda self, other: fn(other, self))
        if inplace:
            METHODS[f"__i{symbol}__"] = METHODS[name + "_"]


def is_operand(x) -> bool:
    return x.__class__ in NUMBERS or hasattr(x, "_meta") or isinstance(x, (int, float, complex, np.generic))


def dunder(fn):
    """An operator: NotImplemented for operands that are no numbers."""

    def operator(self, other):
        return fn(self, other) if is_operand(other) else NotImplemented

    return operator


def direct(name: str, reverse: bool = False):
    """An operator that records its entry with nothing in between."""
    op = FUNCTIONS[name].op

    def mixed(self, other):
        if other.__class__ not in NUMBERS and not hasattr(other, "_meta"):
            if isinstance(other, np.ndarray) and name in TENSOR_FIRST:      # NumPy leaves comparisons to us, and arithmetic to itself
                other = from_numpy(other)
            elif not is_operand(other):
                return NotImplemented
            else:
                other = operand(other)
        return apply(op, (other, self) if reverse else (self, other))

    return mixed if reverse else operator_of(op, mixed)


TENSOR_FIRST = frozenset(("lt", "le", "gt", "ge", "eq", "ne", "copysign"))     # a number can only be the second operand


def two_operands(name: str, second: str = "other", numbers: bool = True):
    """The user's function of a binary entry;

    `second` names its second argument. TypeError for numbers unless `numbers`.
    """
    record = FUNCTIONS[name]

    def with_other(input, other, *, out=None):
        if not numbers:
            needs_tensor(name, input=input, **{second: other})
        elif not hasattr(input, "_meta") and (name in TENSOR_FIRST or not hasattr(other, "_meta")):
            needs_tensor(name, input=input)
        return finish(record(operand(input, name), operand(other, name)), out)

    def with_values(input, values, *, out=None):
        return with_other(input, values, out=out)

    fn = with_values if second == "values" else with_other
    fn.__name__ = fn.__qualname__ = name
    fn.__doc__ = f"Elementwise `{name}` with broadcasting and type promotion, as `torch.{name}`."
    return fn


publish_binary("add", add, symbol="add")
publish_binary("sub", sub, ("subtract",), "sub")
publish_binary("mul", mul, ("multiply",), "mul")
publish_binary("div", div, ("divide",), "truediv")
publish_binary("true_divide", true_divide)
publish_binary("floor_divide", floor_divide, symbol="floordiv")
publish_binary("remainder", remainder, symbol="mod")
publish_binary("fmod", fmod)
publish_binary("pow", pow, symbol="pow")
publish_binary("float_power", float_power)


def float_power_(self, exponent):
    """In-place form of `float_power`: RuntimeError for a tensor that isn't of double precision."""
    result = float_power(self, exponent)
    if result.dtype is not self.dtype:
        raise RuntimeError(f"the base given to float_power_ has dtype {self.dtype.label} but the operation's result requires dtype {result.dtype.label}")
    return assign(self, result)


METHODS["float_power_"] = float_power_
PUBLIC["rsub"] = rsub
PUBLIC["square"] = METHODS["square"] = square
METHODS["square_"] = inplace_of(square, "square_")
METHODS["__div__"], METHODS["__rdiv__"] = METHODS["__truediv__"], METHODS["__rtruediv__"]
for _symbol, _name in (("add", "add"), ("sub", "sub"), ("mul", "mul"), ("truediv", "div")):
    METHODS[f"__{_symbol}__"], METHODS[f"__r{_symbol}__"] = direct(_name), direct(_name, reverse=True)

# name, aliases, operator symbol, numbers allowed as second operand
TWO: list[tuple] = [
    ("lt", ("less",), "lt", True),
    ("le", ("less_equal",), "le", True),
    ("gt", ("greater",), "gt", True),
    ("ge", ("greater_equal",), "ge", True),
    ("eq", (), "eq", True),
    ("ne", ("not_equal",), "ne", True),
    ("maximum", (), None, False),
    ("minimum", (), None, False),
    ("fmax", (), None, False),
    ("fmin", (), None, False),
    ("atan2", ("arctan2",), None, False),
    ("hypot", (), None, False),
    ("copysign", (), None, True),
    ("nextafter", (), None, False),
    ("xlogy", (), None, True),
    ("logaddexp", (), None, False),
    ("logaddexp2", (), None, False),
    ("ldexp", (), None, False),
    ("gcd", (), None, False),
    ("lcm", (), None, False),
    ("logical_and", (), None, False),
    ("logical_or", (), None, False),
    ("logical_xor", (), None, False),
    ("bitwise_and", (), "and", True),
    ("bitwise_or", (), "or", True),
    ("bitwise_xor", (), "xor", True),
    ("bitwise_left_shift", (), "lshift", True),
    ("bitwise_right_shift", (), "rshift", True),
]
for _name, _aliases, _symbol, _numbers in TWO:
    publish_binary(_name, two_operands(_name, numbers=_numbers), _aliases)
    if _symbol:
        METHODS[f"__{_symbol}__"] = direct(_name)
        if _symbol in ("and", "or", "xor", "lshift", "rshift"):
            METHODS[f"__r{_symbol}__"] = direct(_name, reverse=True)
            METHODS[f"__i{_symbol}__"] = METHODS[_name + "_"]
publish_binary("heaviside", two_operands("heaviside", "values", numbers=False))


def invert(self):
    """`~x`: every bit inverted, or every bool. TypeError for floats."""
    if self.dtype.category >= FLOAT:
        raise TypeError("~ (operator.invert) is only implemented on integer and Boolean-type tensors")
    return FUNCTIONS["bitwise_not"](self)


METHODS["__neg__"], METHODS["__abs__"], METHODS["__invert__"] = FUNCTIONS["neg"], FUNCTIONS["abs"], invert


def positive(input):
    """The tensor itself. RuntimeError for a bool tensor."""
    if input.dtype.category == BOOL:
        raise RuntimeError("The `+` operator, on a bool tensor is not supported.")
    return input


PUBLIC["positive"] = METHODS["positive"] = METHODS["__pos__"] = positive


def round(input, *, decimals: int = 0, out=None):
    """Rounded to the nearest integer, halves to even;

    or to `decimals` digits after the point (before it, if negative).
    """
    if decimals == 0 or input.dtype.category == INT and decimals > 0:
        return finish(FUNCTIONS["_round"](input), out)
    if input.dtype.category != FLOAT:
        raise NotImplementedError(f"\"round_vml_cpu\" not implemented for '{input.dtype.label}'")
    scale = float(10 ** abs(decimals))
    result = FUNCTIONS["_round"](input * scale) / scale if decimals > 0 else FUNCTIONS["_round"](input / scale) * scale
    return finish(result, out)


publish_binary("round", round)


# -- choices and limits ------------------------------------------------------------------------------------------------
def where(condition, input=None, other=None, *, out=None):
    """input where condition holds, other elsewhere (tensors or numbers); with condition alone, the indices where it
    holds.

    >>> import jitorch as torch
    >>> torch.where(torch.tensor([True, False]), torch.tensor([1., 2.]), 0)
    tensor([1., 0.])
    """
    if input is None and other is None:
        return condition.nonzero(as_tuple=True)
    needs_tensor("where", condition=condition)
    if condition.dtype.category != BOOL:
        if condition.dtype is not dtypes.uint8:
            raise RuntimeError(
                f"where expected condition to be a boolean tensor, but got a tensor with dtype {condition.dtype.label}"
            )
        condition = condition != 0
    return finish(apply(where_op, (condition, operand(input, "where"), operand(other, "where"))), out)


PUBLIC["where"] = where
METHODS["where"] = lambda self, condition, other: where(condition, self, other)


def clamp(input, min=None, max=None, *, out=None):
    """Limited to [min, max], which are numbers, tensors, or None for no limit.

    Where min > max the result is max. RuntimeError without limits.

    >>> import jitorch as torch
    >>> torch.clamp(torch.tensor([-2., 0.5, 9.]), min=0, max=1)
    tensor([0.0000, 0.5000, 1.0000])
    """
    if min is None and max is None:
        raise RuntimeError("torch.clamp: At least one of 'min' or 'max' must not be None")
    low, high = (None if v is None else operand(v, "clamp") for v in (min, max))
    return finish(FUNCTIONS["clamp"](input, low, high), out)


def clamp_min(input, min, *, out=None):
    """Not less than min."""
    return clamp(input, min, None, out=out)


def clamp_max(input, max, *, out=None):
    """Not more than max."""
    return clamp(input, None, max, out=out)


publish_binary("clamp", clamp, ("clip",))
publish_binary("clamp_min", clamp_min)
publish_binary("clamp_max", clamp_max)


def same_dtype(name: str, *tensors) -> None:
    kinds = [t.dtype for t in tensors if hasattr(t, "_meta")]
    for d in kinds[1:]:
        if d is not kinds[0]:
            raise RuntimeError(f"expected dtype {kinds[0].name} for `{name}` but got dtype {d.name}")


def lerp(input, end, weight, *, out=None):
    """input + weight * (end - input). RuntimeError for different dtypes."""
    same_dtype("end", input, end)
    same_dtype("weight", input, weight)
    return finish(FUNCTIONS["lerp"](input, end, operand(weight, "lerp")), out)


def addcmul(input, tensor1, tensor2, *, value=1, out=None):
    """input + value * tensor1 * tensor2."""
    if isinstance(value, float) and max(map(category, (input, tensor1, tensor2))) < FLOAT:
        raise RuntimeError("value cannot be converted to type int64_t without overflow")
    return finish(FUNCTIONS["addcmul"](input, operand(tensor1), operand(tensor2), operand(value)), out)


def addcdiv(input, tensor1, tensor2, *, value=1, out=None):
    """input + value * tensor1 / tensor2. RuntimeError for integer tensors."""
    if category(tensor1) < FLOAT and category(tensor2) < FLOAT:
        raise RuntimeError(
            "Integer division with addcdiv is no longer supported, and in a future  release addcdiv will perform a "
            "true division of tensor1 and tensor2. The historic addcdiv behavior can be implemented as (input + value "
            "* torch.trunc(tensor1 / tensor2)).to(input.dtype) for integer inputs and as (input + value * tensor1 / "
            "tensor2) for float inputs. The future addcdiv behavior is just the latter implementation: (input + value "
            "* tensor1 / tensor2), for all dtypes."
        )
    return finish(FUNCTIONS["addcdiv"](input, operand(tensor1), operand(tensor2), operand(value)), out)


for _f in (lerp, addcmul, addcdiv):
    publish_binary(_f.__name__, _f)


def nan_to_num(input, nan=None, posinf=None, neginf=None, *, out=None):
    """NaN replaced by nan (0), infinities by posinf and neginf (the dtype's largest and smallest finite numbers)."""
    limits = dtypes.limits(input.dtype) if input.dtype.category == FLOAT else None
    numbers = (
        float(0 if nan is None else nan),
        float((limits.max if limits else 0) if posinf is None else posinf),
        float((limits.min if limits else 0) if neginf is None else neginf),
    )
    return finish(apply(nan_to_num_op, (input, *numbers)), out)


publish_binary("nan_to_num", nan_to_num)


# -- comparisons of whole tensors --------------------------------------------------------------------------------------
def isclose(input, other, rtol: float = 1e-05, atol: float = 1e-08, equal_nan: bool = False):
    """Whether |input - other| <= atol + rtol * |other|, elementwise.

    RuntimeError for different dtypes or negative tolerances.
    """
    if input.dtype is not other.dtype:
        raise RuntimeError(f"{input.dtype.label} did not match {other.dtype.label}")
    if rtol < 0:
        raise RuntimeError(f"rtol must be greater than or equal to zero, but got {rtol}")
    if atol < 0:
        raise RuntimeError(f"atol must be greater than or equal to zero, but got {atol}")
    close = input == other
    if input.dtype.category >= FLOAT and equal_nan:
        close = close | (input != input) & (other != other)
    if rtol == 0 and atol == 0:
        return close
    if input.dtype.category < FLOAT:
        input, other = input.to(dtypes.float64), other.to(dtypes.float64)
    difference = (input - other).abs()
    return close | (difference <= (other * float(rtol)).abs() + float(atol)) & difference.isfinite()


def allclose(input, other, rtol: float = 1e-05, atol: float = 1e-08, equal_nan: bool = False) -> bool:
    """Whether all elements are close (see `isclose`)."""
    return bool(isclose(input, other, rtol, atol, equal_nan).all())


def equal(input, other) -> bool:
    """Whether two tensors have the same shape and the same elements."""
    needs_tensor("equal", input=input, other=other)
    return input.shape == other.shape and bool((input == other).all())


for _test in (isclose, allclose, equal):
    PUBLIC[_test.__name__] = METHODS[_test.__name__] = _test


# -- in-place writes ---------------------------------------------------------------------------------------------------
def copy_(self, src, non_blocking: bool = False):
    """Write src, broadcast and cast to this tensor's shape and dtype, into this tensor. Gradients flow to src."""
    check_writable(self)
    if not hasattr(src, "_meta"):
        raise TypeError(f"copy_(): argument 'other' (position 1) must be Tensor, not {type(src).__name__}")
    if src is self:
        return self
    value = src.to(self.dtype, copy=True)
    if value.shape != self.shape:
        extra = value.ndim - self.ndim
        if extra > 0 and all(n == 1 for n in value.shape[:extra]):
            value = value.reshape(value.shape[extra:])
        try:
            value = FUNCTIONS["clone"](value.expand(*self.shape))
        except RuntimeError:
            raise RuntimeError(cannot_copy(self, src)) from None
    return assign(self, value)


def cannot_copy(self, src) -> str:
    if src.ndim > self.ndim:
        return f"output with shape {list(self.shape)} doesn't match the broadcast shape {list(src.shape)}"
    here = self.shape[-1] if self.ndim else 1
    return (
        f"The size of tensor a ({here}) must match the size of tensor b ({src.shape[-1]}) "
        f"at non-singleton dimension {self.ndim - 1}"
    )


def fill_(self, value):
    """Every element set to value (a number, or a 0-d tensor)."""
    check_writable(self)
    if hasattr(value, "_meta"):
        if value.ndim:
            raise RuntimeError(
                f"fill_ only supports 0-dimension value tensor but got tensor with {value.ndim} dimensions."
            )
        value = value.to(self.dtype)
    else:
        value = as_dtype(operand(value, "fill_"), self.dtype)
        if not (state.enabled and self.requires_grad):  # what is overwritten need not be computed
            return assign(self, PUBLIC["full"](tuple(self.shape), value, dtype=self.dtype))
    return assign(self, FUNCTIONS["fill"](self, value))


def zero_(self):
    """Every element set to zero."""
    return fill_(self, 0)


def fill(input, value):
    """A new tensor of input's shape and dtype filled with value."""
    return fill_(FUNCTIONS["clone"](input), value)


METHODS["copy_"], METHODS["fill_"], METHODS["zero_"], METHODS["fill"], PUBLIC["fill"] = copy_, fill_, zero_, fill, fill
PUBLIC["relu_"] = METHODS["relu_"]

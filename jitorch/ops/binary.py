"""Elementwise operations of two operands: one line of the table each. `arithmetic` has the functions that users call."""

from __future__ import annotations

import math

import numpy as np

from .. import dtypes
from ..dtypes import FLOAT, bool_
from .dispatch import PUBLIC
from .elementwise import FUNCTIONS, define, mapped, no_slope, where_of, zeros_of
from .unary import LN2


# -- binary ----------------------------------------------------------------------------------------------------------
def logical(name: str, over_bool: str):
    """A map that is a logical one for bools."""
    return lambda b, x, y: b.map(over_bool if x.dtype is bool_ else name, x, y)


def check_sub(a, b):
    kinds = [bool_ if m is bool else None if isinstance(m, type) else m.dtype for m in (a, b)]
    if kinds[0] is bool_ and kinds[1] is bool_:
        raise RuntimeError(
            "Subtraction, the `-` operator, with two bool tensors is not supported. Use the `^` or "
            "`logical_xor()` operator instead."
        )
    if bool_ in kinds:
        raise RuntimeError(
            "Subtraction, the `-` operator, with a bool tensor is not supported. If you are trying to invert a mask, "
            "use the `~` or `logical_not()` operator instead."
        )


def mul_slope(c, g):
    return (g * c.input(1) if c.needs[0] else None, g * c.input(0) if c.needs[1] else None)


def div_slope(c, g):
    y = c.input(1)
    return (g / y if c.needs[0] else None, -g * ((c.input(0) / y) / y) if c.needs[1] else None)


def no_zero(divisor) -> None:
    if divisor.dtype.kind in "iu" and (divisor == 0).any():
        raise RuntimeError("ZeroDivisionError")


def checked(function):
    """A NumPy division that raises PyTorch's error for an integer divided by zero."""

    def divide(a, d):
        no_zero(d)
        return function(a, d)

    return divide


def trunc_divide(a, d):
    if a.dtype.kind == "f":
        return np.trunc(a / d)
    q, r = np.floor_divide(a, d), np.remainder(a, d)
    return q + ((r != 0) & ((a < 0) != (d < 0)))


def division(floats, ints):
    """Lowering of a division:

    integers by a number (known not to be zero) compile; by a tensor, the reference runs and checks.
    """

    def expression(b, a, d):
        if a.dtype.category == FLOAT:
            return floats(b, a, d)
        return ints(b, a, d) if isinstance(b.metas[1], type) else None

    return expression


def trunc_ints(b, a, d):
    q = b.map("floordiv", a, d)
    inexact = (q * d).ne(a) & (a < 0).ne(d < 0)
    return q + b.cast(inexact, a.dtype)


def larger_slope(sign: str):
    """Gradient of maximum (">") or minimum ("<"): halves where the operands are equal."""

    def slope(c, g):
        x, y = c.input(0), c.input(1)
        tie = where_of(x == y, g / 2, g)
        lose_x, lose_y = (x < y, y < x) if sign == ">" else (x > y, y > x)
        return (where_of(lose_x, 0, tie) if c.needs[0] else None, where_of(lose_y, 0, tie) if c.needs[1] else None)

    return slope


def fmax_slope(sign: str):
    def slope(c, g):
        x, y = c.input(0), c.input(1)
        first = (x >= y if sign == ">" else x <= y).logical_or(y.isnan())
        return (where_of(first, g, 0), where_of(first, 0, g))

    return slope


def fmax_expression(name: str):
    return lambda b, x, y: b.map(
        name if x.dtype.category == FLOAT else name.replace("fmax", "maximum").replace("fmin", "minimum"), x, y
    )


def bits(x) -> int:
    return x.dtype.itemsize * 8


def left_shift(x, n):
    return np.where((n < 0) | (n >= bits(x)), 0, np.left_shift(x, np.clip(n, 0, bits(x) - 1)))


def right_shift(x, n):
    last = bits(x) - 1 if x.dtype.kind == "i" else bits(x)
    safe = np.right_shift(x, np.where((n < 0) | (n >= last), bits(x) - 1, n).astype(x.dtype))
    return np.where((n < 0) | (n >= last), 0, safe) if x.dtype.kind == "u" else safe


def left_shift_ir(b, x, n):
    bad = (n < 0) | (n >= bits(x))
    return b.where(bad, b.const(0, x.dtype), b.map("shl", x, b.where(bad, b.const(0, x.dtype), n)))


def right_shift_ir(b, x, n):
    bad = (n < 0) | (n >= bits(x))
    if x.dtype.is_signed:
        return b.map("shr", x, b.where(bad, b.const(bits(x) - 1, x.dtype), n))
    return b.where(bad, b.const(0, x.dtype), b.map("shr", x, b.where(bad, b.const(0, x.dtype), n)))


def xlogy_expression(b, x, y):
    zero = b.const(0, x.dtype)
    return b.where(b.map("isnan", y), y, b.where(x.eq(0), zero, x * b.map("log", y)))


def xlogy(x, y):
    return np.where(np.isnan(y), y, np.where(x == 0, 0, x * np.log(y))).astype(x.dtype)


def xlogy_slope(c, g):
    x, y = c.input(0), c.input(1)
    dx = g * where_of((x == 0) & (y <= 0), 0, as_tensor_of(y, g).log()) if c.needs[0] else None
    return (dx, g * x / y if c.needs[1] else None)


def as_tensor_of(x, like):
    """A number as a 0-d tensor of a gradient's dtype."""
    return x if hasattr(x, "_meta") else PUBLIC["full"]((), x, dtype=like.dtype)


def logaddexp_of(name: str, exp: str, log: str):
    """log_b(b**x + b**y): the larger, and what the smaller adds to it (Blanchard, Higham, Higham 2021)."""
    scale = 1.0 if name == "logaddexp" else 1 / LN2

    def expression(b, x, y):
        top = b.map("maximum", x, y)
        more = b.map("log1p", b.map(exp, -b.map("abs", x - y))) * scale
        return b.where(b.map("isinf", top) & x.eq(y), top, top + more)

    def slope(c, g):
        x, y = c.input(0), c.input(1)
        return (g / (1 + getattr(y - x, exp)()), g / (1 + getattr(x - y, exp)()))

    return name, getattr(np, name), expression, slope, "01", "floating"


def copysign_slope(c, g):
    x = c.input(0)
    return (where_of(x == 0, 0, g * (c.output() / x)), zeros_of(c.metas[1]))


def pow_reference(x, y):
    if x.dtype.kind not in "iu":
        return np.power(x, y)
    result = np.power(x, np.maximum(y, 0))
    if x.dtype.kind == "i":  # a negative power of an integer: 0, unless the base is 1 or -1
        result = np.where(y < 0, np.where(x == 1, 1, np.where(x == -1, np.where(y % 2 == 0, 1, -1), 0)), result)
    return result


def pow_expression(b, x, y):
    if x.dtype.category == FLOAT:
        return b.map("pow", x, y)
    return integer_power(b, x, int(y.attrs[0])) if y.kind == "const" and 0 <= y.attrs[0] <= 64 else None


def integer_power(b, x, n: int):
    """x**n by repeated squaring."""
    result = b.full(x.shape, 1, x.dtype)
    while n:
        if n & 1:
            result = result * x
        n >>= 1
        x = x * x if n else x
    return result


def pow_slope(c, g):
    x, y = (v.to(g.dtype) if hasattr(v, "_meta") else v for v in (c.input(0), c.input(1)))
    dx = dy = None
    if c.needs[0]:
        if hasattr(y, "_meta"):
            dx = where_of(y == 0, 0, g * (y * x ** (y - 1)))
        else:
            dx = zeros_of(c.metas[0]) if y == 0 else g * (x ** (y - 1) * y)
    if c.needs[1]:
        out = c.output()
        base = as_tensor_of(x, g)
        kept = PUBLIC["real"](y) >= 0 if hasattr(y, "_meta") else y.real >= 0
        dy = g * where_of((base == 0) & kept, 0, out * base.log())
    return (dx, dy)


def pow_check(x, y):
    d = dtypes.result_type((x, y))
    if d is bool_:
        raise NotImplementedError("\"pow\" not implemented for 'Bool'")


def hypot_expression(b, x, y):
    """Infinite where either operand is, even next to NaN."""
    return b.where(b.map("isinf", x) | b.map("isinf", y), b.const(math.inf, x.dtype), b.map("hypot", x, y))


def atan2_slope(c, g):
    y, x = c.input(0), c.input(1)
    size = x * x + y * y
    r = where_of(size == 0, 0, g / size)
    return (r * x, -r * y)


def remainder_slope(c, g):
    dy = -g * c.input(0).div(c.input(1), rounding_mode="floor") if c.needs[1] else None
    return (g, dy)


def fmod_slope(c, g):
    dy = -g * c.input(0).div(c.input(1), rounding_mode="trunc") if c.needs[1] else None
    return (g, dy)


def heaviside_check(x, values):
    if x.dtype is not values.dtype:
        raise RuntimeError("heaviside is not yet implemented for tensors with different dtypes.")


BINARY = [
    ("add", np.add, logical("add", "or"), lambda c, g: (g, g), "", "same"),
    ("sub", np.subtract, "sub", lambda c, g: (g, -g if c.needs[1] else None), "", "same"),
    ("mul", np.multiply, logical("mul", "and"), mul_slope, "01", "same"),
    ("div", np.divide, "div", div_slope, "01", "float"),
    ("_div_floor", checked(np.floor_divide), division(mapped("floordiv"), mapped("floordiv")), no_slope, "", "number"),
    (
        "_div_trunc",
        checked(trunc_divide),
        division(lambda b, a, d: b.map("trunc", a / d), trunc_ints),
        no_slope,
        "",
        "number",
    ),
    (
        "remainder",
        checked(np.remainder),
        division(mapped("remainder"), mapped("remainder")),
        remainder_slope,
        "01",
        "number",
    ),
    (
        "fmod",
        checked(np.fmod),
        division(mapped("fmod"), lambda b, a, d: a - trunc_ints(b, a, d) * d),
        fmod_slope,
        "01",
        "number",
    ),
    ("pow", pow_reference, pow_expression, pow_slope, "01o", "same"),
    ("maximum", np.maximum, logical("maximum", "or"), larger_slope(">"), "01", "same"),
    ("minimum", np.minimum, logical("minimum", "and"), larger_slope("<"), "01", "same"),
    ("fmax", np.fmax, fmax_expression("fmax"), fmax_slope(">"), "01", "same"),
    ("fmin", np.fmin, fmax_expression("fmin"), fmax_slope("<"), "01", "same"),
    ("atan2", np.arctan2, "atan2", atan2_slope, "01", "float"),
    (
        "hypot",
        np.hypot,
        hypot_expression,
        lambda c, g: (g * (c.input(0) / c.output()), g * (c.input(1) / c.output())),
        "01o",
        "floating",
    ),
    ("copysign", np.copysign, "copysign", copysign_slope, "0o", "float"),
    (
        "nextafter",
        np.nextafter,
        None,
        lambda c, g: (where_of(c.input(0) == c.input(1), 0, g), zeros_of(c.metas[1])),
        "01",
        "floating",
    ),
    (
        "heaviside",
        lambda x, v: np.where(x == 0, v, x > 0),
        lambda b, x, v: b.where(x.eq(0), v, b.cast(x > 0, v.dtype)),
        None,
        "",
        "same",
    ),
    ("xlogy", xlogy, xlogy_expression, xlogy_slope, "01", "float"),
    logaddexp_of("logaddexp", "exp", "log"),
    logaddexp_of("logaddexp2", "exp2", "log2"),
    (
        "ldexp",
        lambda x, n: x * np.exp2(n),
        lambda b, x, n: x * b.map("exp2", n),
        lambda c, g: (g * c.input(1).exp2(), g * c.output() * LN2 if c.needs[1] else None),
        "1o",
        "float",
    ),
    ("gcd", np.gcd, None, None, "", "integer"),
    ("lcm", np.lcm, None, None, "", "integer"),
    ("lt", np.less, "lt", None, "", "test"),
    ("le", np.less_equal, "le", None, "", "test"),
    ("gt", np.greater, "gt", None, "", "test"),
    ("ge", np.greater_equal, "ge", None, "", "test"),
    ("eq", np.equal, "eq", None, "", "test"),
    ("ne", np.not_equal, "ne", None, "", "test"),
    ("logical_and", np.logical_and, "and", None, "", "logical"),
    ("logical_or", np.logical_or, "or", None, "", "logical"),
    ("logical_xor", np.logical_xor, "xor", None, "", "logical"),
    ("bitwise_and", np.bitwise_and, "and", None, "", "integral"),
    ("bitwise_or", np.bitwise_or, "or", None, "", "integral"),
    ("bitwise_xor", np.bitwise_xor, "xor", None, "", "integral"),
    ("bitwise_left_shift", left_shift, left_shift_ir, None, "", "integer"),
    ("bitwise_right_shift", right_shift, right_shift_ir, None, "", "integer"),
]
BINARY_CHECKS = {"sub": check_sub, "pow": pow_check, "heaviside": heaviside_check}
for _name, _numpy, _expression, _vjp, _saves, _promote in BINARY:
    FUNCTIONS[_name] = define(
        _name, _numpy, _expression, _vjp, saves=_saves, promote=_promote, check=BINARY_CHECKS.get(_name)
    )

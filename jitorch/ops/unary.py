"""Elementwise operations of one tensor: one line of the table each."""

from __future__ import annotations

import math

import numpy as np

from ..dtypes import FLOAT, bool_
from .dispatch import PUBLIC
from .elementwise import FUNCTIONS, both, define, no_slope, where_of
from .formulas import scipy_function
from .publish import publish


def log_gamma(x):
    """log |gamma(x)|; SciPy's is -inf at -inf."""
    import scipy.special

    return np.where(np.isinf(x), np.inf, scipy.special.gammaln(x)).astype(x.dtype)


# -- gradients that are entries of their own: one record in the backward pass instead of several ----------------------
def gradient(name: str, expression, vjp, saves: str) -> None:
    FUNCTIONS[name] = define(name, *both(expression), vjp, saves=saves)


gradient(
    "sigmoid_backward",
    lambda g, o: g * (1 - o) * o,
    lambda c, h: (
        FUNCTIONS["sigmoid_backward"](h, c.input(1)) if c.needs[0] else None,
        h * c.input(0) * (1 - 2 * c.input(1)) if c.needs[1] else None,
    ),
    "01",
)
gradient(
    "tanh_backward",
    lambda g, o: g * (1 - o * o),
    lambda c, h: (
        FUNCTIONS["tanh_backward"](h, c.input(1)) if c.needs[0] else None,
        h * c.input(0) * (-2 * c.input(1)) if c.needs[1] else None,
    ),
    "01",
)
FUNCTIONS["relu_backward"] = define(
    "relu_backward",
    lambda g, o: np.where(o <= 0, 0, g),
    lambda b, g, o: b.where(o <= 0, b.const(0, g.dtype), g),
    lambda c, h: (FUNCTIONS["relu_backward"](h, c.input(1)), None),
    saves="1",
)


# -- the table: name, NumPy, expression, gradient(ctx, g), saves, promotion ----------------------------------------------
def whole(function):
    """A rounding function that leaves integers alone."""
    return lambda x: x.copy() if x.dtype.kind in "iu" else function(x)


def whole_map(name: str):
    return lambda b, x: b.map(name if x.dtype.category == FLOAT else "copy", x)


def not_bool(message: str):
    def check(m):
        if m.dtype is bool_:
            raise RuntimeError(message)

    return check


def sign_of(x):
    """1, 0 or -1; 0 for NaN. Of a complex number its direction."""
    if x.dtype.kind == "c":
        size = np.abs(x)
        return np.where(size == 0, 0, x / np.where(size == 0, 1, size))
    return x if x.dtype == bool else (x > 0).astype(x.dtype) - (x < 0).astype(x.dtype)


def direction_slope(c, g):
    """Zero, but that a complex number's direction turns with it."""
    if not c.metas[0].dtype.is_complex:
        return no_slope(c, g)
    x, size = c.input(0), c.input(0).abs()
    safe = where_of(size == 0, 1, size)
    unit = x / safe
    return (where_of(size == 0, 0, (g - (g * unit.conj()).real * unit) / safe),)


def sigmoid_reference(x):
    return 1 / (1 + np.exp(-x)) if x.dtype.kind == "c" else scipy_function("expit")(x)


def angle_of(x):
    if x.dtype.kind == "c":
        return np.angle(x)
    return np.where(np.isnan(x), x, np.where(x < 0, math.pi, 0)).astype(x.dtype)


def angle_slope(c, g):
    if not c.metas[0].dtype.is_complex:
        return no_slope(c, g)
    x = c.input(0)
    size = (x.real * x.real + x.imag * x.imag)
    safe = where_of(size == 0, 1, size)
    turn = PUBLIC["complex"](-x.imag / safe, x.real / safe)
    return (where_of(size == 0, 0, turn * g),)


def sign_expression(b, x):
    return b.map("copy", x) if x.dtype is bool_ else b.cast(x > 0, x.dtype) - b.cast(x < 0, x.dtype)


def float_test(name: str, otherwise: bool):
    """A test of floats that is always `otherwise` for integers."""
    return lambda b, x: b.map(name, x) if x.dtype.category == FLOAT else b.full(x.shape, otherwise, bool_)


def signbit_expression(b, x):
    if x.dtype.category == FLOAT:
        return b.map("signbit", x)
    return x < 0 if x.dtype.is_signed else b.full(x.shape, False, bool_)


def sinc_expression(b, x):
    p = x * math.pi
    return b.where(x.eq(0), b.const(1, x.dtype), b.map("sin", p) / b.where(x.eq(0), b.const(1, x.dtype), p))


def sinc_slope(c, g):
    x = c.input(0)
    p = x * math.pi
    return (where_of(x == 0, 0, g * (p.cos() * p - p.sin()) / (p * x)),)


LN2, LN10, RADIANS = math.log(2), math.log(10), math.pi / 180

UNARY = [
    ("neg", np.negative, "neg", lambda c, g: (-g,), "", "same"),
    ("abs", np.abs, "abs", lambda c, g: (g * c.input(0).sgn(),), "0", "size"),
    ("sgn", sign_of, sign_expression, direction_slope, "0", "same"),
    ("sign", sign_of, sign_expression, no_slope, "", "same"),
    ("floor", whole(np.floor), whole_map("floor"), no_slope, "", "number"),
    ("ceil", whole(np.ceil), whole_map("ceil"), no_slope, "", "number"),
    ("trunc", whole(np.trunc), whole_map("trunc"), no_slope, "", "number"),
    ("_round", whole(np.round), whole_map("round"), no_slope, "", "number"),
    ("frac", lambda x: x - np.trunc(x), lambda b, x: x - b.map("trunc", x), lambda c, g: (g,), "", "floating"),
    ("exp", np.exp, "exp", lambda c, g: (g * c.output(),), "o", "float"),
    ("exp2", np.exp2, "exp2", lambda c, g: (g * c.output() * LN2,), "o", "float"),
    ("expm1", np.expm1, "expm1", lambda c, g: (g * (c.output() + 1),), "o", "float"),
    ("log", np.log, "log", lambda c, g: (g / c.input(0),), "0", "float"),
    ("log2", np.log2, "log2", lambda c, g: (g / (c.input(0) * LN2),), "0", "float"),
    ("log10", np.log10, "log10", lambda c, g: (g / (c.input(0) * LN10),), "0", "float"),
    ("log1p", np.log1p, "log1p", lambda c, g: (g / (c.input(0) + 1),), "0", "float"),
    ("sqrt", np.sqrt, "sqrt", lambda c, g: (g / (c.output() * 2),), "o", "float"),
    (
        "rsqrt",
        lambda x: 1 / np.sqrt(x),
        "rsqrt",
        lambda c, g: (g * (c.output() * c.output() * c.output()) * -0.5,),
        "o",
        "float",
    ),
    ("sin", np.sin, "sin", lambda c, g: (g * c.input(0).cos(),), "0", "float"),
    ("cos", np.cos, "cos", lambda c, g: (-g * c.input(0).sin(),), "0", "float"),
    ("tan", np.tan, "tan", lambda c, g: (g * (1 + c.output() * c.output()),), "o", "float"),
    ("asin", np.arcsin, "asin", lambda c, g: (g * (1 - c.input(0) * c.input(0)).rsqrt(),), "0", "float"),
    ("acos", np.arccos, "acos", lambda c, g: (-g * (1 - c.input(0) * c.input(0)).rsqrt(),), "0", "float"),
    ("atan", np.arctan, "atan", lambda c, g: (g / (c.input(0) * c.input(0) + 1),), "0", "float"),
    ("sinh", np.sinh, "sinh", lambda c, g: (g * c.input(0).cosh(),), "0", "float"),
    ("cosh", np.cosh, "cosh", lambda c, g: (g * c.input(0).sinh(),), "0", "float"),
    ("tanh", np.tanh, "tanh", lambda c, g: (FUNCTIONS["tanh_backward"](g, c.output()),), "o", "float"),
    ("asinh", np.arcsinh, "asinh", lambda c, g: (g * (c.input(0) * c.input(0) + 1).rsqrt(),), "0", "float"),
    ("acosh", np.arccosh, "acosh", lambda c, g: (g * (c.input(0) * c.input(0) - 1).rsqrt(),), "0", "float"),
    ("atanh", np.arctanh, "atanh", lambda c, g: (g / (1 - c.input(0) * c.input(0)),), "0", "float"),
    (
        "sigmoid",
        sigmoid_reference,
        "sigmoid",
        lambda c, g: (FUNCTIONS["sigmoid_backward"](g, c.output()),),
        "o",
        "float",
    ),
    (
        "erf",
        scipy_function("erf"),
        "erf",
        lambda c, g: (g * (c.input(0) * -c.input(0)).exp() * (2 / math.sqrt(math.pi)),),
        "0",
        "float",
    ),
    (
        "erfc",
        scipy_function("erfc"),
        "erfc",
        lambda c, g: (g * (c.input(0) * -c.input(0)).exp() * (-2 / math.sqrt(math.pi)),),
        "0",
        "float",
    ),
    (
        "erfinv",
        scipy_function("erfinv"),
        None,
        lambda c, g: (g * (c.output() * c.output()).exp() * (math.sqrt(math.pi) / 2),),
        "o",
        "float",
    ),
    ("lgamma", log_gamma, "lgamma", lambda c, g: (g * c.input(0).digamma(),), "0", "float"),
    ("digamma", scipy_function("psi"), "digamma", lambda c, g: (g * c.input(0).polygamma(1),), "0", "float"),
    ("reciprocal", lambda x: 1 / x, "reciprocal", lambda c, g: (-g * (c.output() * c.output()),), "o", "float"),
    (
        "relu",
        lambda x: np.where(np.isnan(x), x, np.maximum(x, 0)).astype(x.dtype),  # type: ignore[attr-defined]
        lambda b, x: b.map("maximum", x, 0),
        lambda c, g: (FUNCTIONS["relu_backward"](g, c.output()),),
        "o",
        "same",
    ),
    ("_square", lambda x: x * x, lambda b, x: x * x, lambda c, g: (g * c.input(0) * 2,), "0", "number"),
    (
        "_cube",
        lambda x: x * x * x,
        lambda b, x: x * x * x,
        lambda c, g: (g * c.input(0) * c.input(0) * 3,),
        "0",
        "number",
    ),
    (
        "deg2rad",
        lambda x: x * x.dtype.type(RADIANS),
        lambda b, x: x * RADIANS,
        lambda c, g: (g * RADIANS,),
        "",
        "float",
    ),
    (
        "rad2deg",
        lambda x: x * x.dtype.type(1 / RADIANS),
        lambda b, x: x * (1 / RADIANS),
        lambda c, g: (g * (1 / RADIANS),),
        "",
        "float",
    ),
    ("sinc", np.sinc, sinc_expression, sinc_slope, "0", "float"),
    (
        "angle",
        angle_of,
        lambda b, x: b.where(b.map("isnan", x), x, b.where(x < 0, b.const(math.pi, x.dtype), b.const(0, x.dtype))),
        angle_slope,
        "0",
        "phase",
    ),
    ("isnan", np.isnan, float_test("isnan", False), None, "", "test"),
    ("isinf", np.isinf, float_test("isinf", False), None, "", "test"),
    ("isfinite", np.isfinite, float_test("isfinite", True), None, "", "test"),
    (
        "isposinf",
        lambda x: np.isinf(x) & (x > 0),
        lambda b, x: float_test("isinf", False)(b, x) & (x > b.const(0, x.dtype)),
        None,
        "",
        "test",
    ),
    (
        "isneginf",
        lambda x: np.isinf(x) & (x < 0),
        lambda b, x: float_test("isinf", False)(b, x) & (x < b.const(0, x.dtype)),
        None,
        "",
        "test",
    ),
    ("isreal", lambda x: np.imag(x) == 0, lambda b, x: b.full(x.shape, True, bool_), None, "", "test"),
    ("signbit", lambda x: np.signbit(x) if x.dtype.kind == "f" else x < 0, signbit_expression, None, "", "test"),
    ("logical_not", np.logical_not, "not", None, "", "logical"),
    ("bitwise_not", np.invert, "not", None, "", "integral"),
]

CHECKS = {
    "neg": not_bool(
        "Negation, the `-` operator, on a bool tensor is not supported. If you are trying to invert a mask, use the "
        "`~` or `logical_not()` operator instead."
    ),
    "relu": not_bool("Boolean inputs not supported for relu"),
}
ALIASES = {
    "neg": ("negative",),
    "abs": ("absolute",),
    "trunc": ("fix",),
    "asin": ("arcsin",),
    "acos": ("arccos",),
    "atan": ("arctan",),
    "asinh": ("arcsinh",),
    "acosh": ("arccosh",),
    "atanh": ("arctanh",),
}
GRAD_NAMES = {"_square": "PowBackward0", "_cube": "PowBackward0"}
TESTS = (
    "isnan",
    "isinf",
    "isfinite",
    "isposinf",
    "isneginf",
    "isreal",
    "signbit",
    "angle",
)  # no in-place form in PyTorch

for _name, _numpy, _expression, _vjp, _saves, _promote in UNARY:
    FUNCTIONS[_name] = define(
        _name,
        _numpy,
        _expression,
        _vjp,
        saves=_saves,
        promote=_promote,
        check=CHECKS.get(_name),
        grad_name=GRAD_NAMES.get(_name),
        wirtinger=_name == "sgn",
    )
    if not _name.startswith("_"):
        publish(_name, FUNCTIONS[_name], aliases=ALIASES.get(_name, ()), inplace=_name not in TESTS)

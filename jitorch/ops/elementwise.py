"""Elementwise operations: one line of the table each.

`define` builds an entry from a promotion rule, a NumPy function, an IR expression and a gradient. The function it
returns records the operation; `publish` gives it to users as `jitorch.<name>`, as a method, and as the in-place
method `<name>_`.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .. import dtypes
from ..changes import changed
from ..dtypes import BOOL, COMPLEX, FLOAT, INT, bool_
from ..graph.ir import broadcast
from ..graph.record import Meta
from ..tensor import assign, check_writable, clone_of
from .dispatch import METHODS, PUBLIC, Op, apply, function_of


# -- promotion: promoted dtype of the operands -> dtype computed in, dtype of the result ------------------------------
def to_float(d):
    d = d if d.category >= FLOAT else dtypes.get_default_dtype()
    return d, d


def to_size(d):
    """A complex number's size is real."""
    return d, d.to_real()


# rule -> (categories of the promoted dtype that are allowed, dtypes computed in and of the result)
RULES = {
    "same": ((BOOL, INT, FLOAT), lambda d: (d, d)),
    "number": ((INT, FLOAT), lambda d: (d, d)),
    "floating": ((FLOAT,), lambda d: (d, d)),
    "float": ((BOOL, INT, FLOAT), to_float),
    "test": ((BOOL, INT, FLOAT), lambda d: (d, bool_)),
    "logical": ((BOOL, INT, FLOAT), lambda d: (bool_, bool_)),
    "integral": ((BOOL, INT), lambda d: (d, d)),
    "integer": ((INT,), lambda d: (d, d)),
    "size": ((INT, FLOAT), to_size),
    "phase": ((BOOL, INT, FLOAT), lambda d: (to_float(d)[0], to_float(d)[0].to_real())),
}
# which take complex operands; the others raise as PyTorch's do
COMPLEX_OPS = frozenset(
    "neg abs sgn angle exp exp2 expm1 log log2 log10 log1p sqrt rsqrt sin cos tan asin acos atan sinh cosh tanh asinh acosh atanh "
    "sigmoid reciprocal _square _cube sinc isnan isinf isfinite isreal logical_not add sub mul div pow eq ne logical_and logical_or "
    "logical_xor lerp addcmul addcdiv clone fill sigmoid_backward tanh_backward logaddexp xlogy".split()
)


def promoted(name: str, rule: str, metas) -> tuple:
    """(dtype computed in, dtype of the result). NotImplementedError for a dtype that the rule doesn't allow."""
    d = dtypes.result_type(metas)
    allowed, give = RULES[rule]
    if d.category not in allowed and not (d.category == COMPLEX and name in COMPLEX_OPS):
        raise NotImplementedError(f"\"{name}_cpu\" not implemented for '{d.label}'")
    return give(d)


def shape_of(metas) -> tuple[int, ...]:
    return broadcast([m.shape for m in metas if m is not None and not isinstance(m, type)] or [()])


def array_meta(a):
    """What promotion needs to know of a reference operand: its Python type, or shape and dtype."""
    return (
        a if a is None else type(a) if isinstance(a, (bool, int, float, complex)) else Meta(a.shape, dtypes.from_numpy(a.dtype))
    )


def as_dtype(number, dtype):
    """A Python number in a dtype, wrapping around as PyTorch does (-1 in uint8 is 255)."""
    return np.asarray(number).astype(dtype.np).item()


def to_value(b, v, dtype):
    """A lowered operand (a Value, or a Python number) in the dtype computed in."""
    return b.cast(v, dtype) if hasattr(v, "kind") else b.const(as_dtype(v, dtype), dtype)


def define(
    name: str, numpy, expression=None, vjp=None, *, saves: str = "", promote: str = "same", grad_name=None, check=None,
    wirtinger: bool = False,
):
    """Make an elementwise entry; returns the function that records it.

    numpy(*arrays): operands already cast to the dtype computed in. expression(b, *values): the same in IR, or the
    name of a map; where it gives None, the reference runs.
    vjp(ctx, g): gradients of all operands; broadcasting is undone by the engine. check(*metas) raises the user's
    errors.
    """
    if isinstance(expression, str):
        expression = mapped(expression)

    def infer(*metas):
        if check is not None:
            check(*metas)
        return Meta(shape_of(metas), promoted(name, promote, metas)[1])

    def reference(*arrays):
        compute, _ = promoted(name, promote, [array_meta(a) for a in arrays])
        return numpy(*(a if a is None else np.asarray(a).astype(compute.np, copy=False) for a in arrays))

    def lower(b, *values):
        compute, out = promoted(name, promote, b.metas)
        result = expression(b, *(v if v is None else to_value(b, v, compute) for v in values))
        return None if result is None else b.cast(result, out)

    op = Op(
        name,
        infer=infer,
        reference=reference,
        lower=lower if expression else None,
        vjp=vjp,
        saves=saves,
        grad_name=grad_name,
        wirtinger=wirtinger,
        batch="elementwise",
    )

    function: Any = function_of(op)
    function.op = op
    function.__name__ = function.__qualname__ = name
    return function


def mapped(name: str):
    """The expression that is one map of the IR."""
    return lambda b, *values: b.map(name, *values)


def both(expression) -> tuple[Any, Any]:
    """An expression of operators alone serves the reference and the lowering: (numpy function, IR expression)."""
    return expression, lambda b, *values: expression(*values)


# -- giving functions to users ---------------------------------------------------------------------------------------
def publish(name: str, function, *, inplace: bool = True, method: bool = True, public: bool = True, aliases=()) -> None:
    """Give a recording function of one tensor to users: `jitorch.name`, `Tensor.name`, `Tensor.name_`, with `out=`."""

    def with_out(input, *, out=None):
        if not hasattr(input, "_meta"):
            raise TypeError(f"{name}(): argument 'input' (position 1) must be Tensor, not {type(input).__name__}")
        result = function(input)
        return result if out is None else write_out(out, result)

    with_out.__name__ = with_out.__qualname__ = name
    with_out.__doc__ = function.__doc__ or f"Elementwise `{name}`, as `torch.{name}`."
    for n in (name, *aliases):
        if public:
            PUBLIC[n] = with_out
        if method:
            METHODS[n] = function
        if inplace and method:
            METHODS[n + "_"] = inplace_of(function, n + "_")


def inplace_of(function, name: str):
    """The in-place method of a function whose first operand is the tensor."""

    def method(self, *args, **kwargs):
        check_writable(self)
        result = function(self, *args, **kwargs)
        if result._grad_fn is not None:
            keep_old_value(result._grad_fn, self)
        return assign(self, result)

    method.__name__ = method.__qualname__ = name
    method.__doc__ = f"In-place form of `{name[:-1]}`. RuntimeError for a leaf that requires grad."
    return method


def keep_old_value(node, x) -> None:
    """A gradient rule that reads what is about to be overwritten gets a copy of it."""
    assert x._storage is not None       # raises Mapped for a slice of a mapped dimension, of which the rule may read a view
    saved = node.saved
    if any(v is x for v in saved[::3]):
        old = apply(clone.op, (x,))
        node.saved = tuple(
            part
            for i in range(0, len(saved), 3)
            for part in ((old, old._storage, old._storage.version) if saved[i] is x else saved[i : i + 3])
        )


def write_out(out, result):
    """`out=`: the result is written into `out`, which takes its shape.

    Returns out (a tuple where there are several).
    """
    if isinstance(result, tuple):
        for o, r in zip(out, result, strict=True):
            if r.dtype is dtypes.int64 and o.dtype is not r.dtype:      # places are given in no other dtype
                raise RuntimeError(f"Expected out tensor to have dtype long int, but got {o.dtype.label.lower()} instead")
        for o, r in zip(out, result, strict=True):
            write_out(o, r)
        return type(result)(*out) if hasattr(result, "_fields") else tuple(out)
    if out._rg or result._rg:
        raise RuntimeError(
            "functions with out=... arguments don't support automatic differentiation, but one of the "
            "arguments requires grad."
        )
    if out.shape != result.shape:
        if result._meta.dtype.category > out._meta.dtype.category:
            raise RuntimeError(
                f"result type {result.dtype.label} can't be cast to the desired output type {out.dtype.label}"
            )
        fresh = clone_of(result.to(out.dtype))
        changed()
        out._storage, out._meta = fresh._storage, fresh._meta
        return out
    return assign(out, result if result._meta is result._storage.meta else clone_of(result))


def needs_tensor(name: str, **arguments) -> None:
    """TypeError for the first argument that is no tensor."""
    for position, (key, value) in enumerate(arguments.items(), 1):
        if not hasattr(value, "_meta"):
            raise TypeError(
                f"{name}(): argument '{key}' (position {position}) must be Tensor, not {type(value).__name__}"
            )


def log_gamma(x):
    """log |gamma(x)|; SciPy's is -inf at -inf."""
    import scipy.special

    return np.where(np.isinf(x), np.inf, scipy.special.gammaln(x)).astype(x.dtype)


def zeros_of(meta):
    """The gradient of an operand that the result is constant in."""
    return None if meta is None or isinstance(meta, type) else PUBLIC["zeros"](tuple(meta.shape), dtype=meta.dtype)


def no_slope(ctx, g):
    """The gradient of a step function: zeros for every operand."""
    return tuple(zeros_of(m) for m in ctx.metas)


def scipy_function(name: str):
    """scipy.special's function of that name; SciPy is imported when it first runs."""

    def call(*arrays):
        import scipy.special

        return getattr(scipy.special, name)(*arrays)

    return call


# -- a choice between two tensors: what many gradients are made of ----------------------------------------------------
def where_infer(condition, a, b):
    return Meta(shape_of((condition, a, b)), dtypes.result_type((a, b)))


def where_lower(b, condition, x, y):
    d = b.out[0].dtype
    return b.where(condition, to_value(b, x, d), to_value(b, y, d))


where_op = Op(
    "where",
    infer=where_infer,
    reference=lambda c, x, y: np.where(c, x, y),
    lower=where_lower,
    saves="0",
    vjp=lambda c, g: (
        None,
        apply(where_op, (c.input(0), g, 0)) if c.needs[1] else None,
        apply(where_op, (c.input(0), 0, g)) if c.needs[2] else None,
    ),
)


def where_of(condition, a, b):
    return apply(where_op, (condition, a, b))


# -- gradients that are entries of their own: one record in the backward pass instead of several ----------------------
FUNCTIONS: dict = {}


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


# -- unary: name, NumPy, expression, gradient(ctx, g), saves, promotion ----------------------------------------------
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
        "Negation, the `-` operator, on a bool tensor is not supported. If you are trying to invert a "
        "mask, use the `~` or "
        "`logical_not()` operator instead."
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
            "Subtraction, the `-` operator, with a bool tensor is not supported. If you are trying to "
            "invert a mask, use the "
            "`~` or `logical_not()` operator instead."
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


# -- more operands ---------------------------------------------------------------------------------------------------
def limited(x, low, high):
    if low is not None:
        x = np.maximum(x, low)
    return x if high is None else np.minimum(x, high)


def limited_ir(b, x, low, high):
    larger, smaller = ("or", "and") if x.dtype is bool_ else ("maximum", "minimum")
    if low is not None:
        x = b.map(larger, x, low)
    return x if high is None else b.map(smaller, x, high)


def inside(x, low, high):
    ok = np.ones(np.shape(x), bool) if low is None else x >= low
    return ok if high is None else ok & (x <= high)


def inside_ir(b, x, low, high):
    ok = None if low is None else x >= low
    under = None if high is None else x <= high
    return under if ok is None else ok if under is None else ok & under


def clamp_slope(c, g):
    x, low, high = c.input(0), c.input(1), c.input(2)
    d_low = d_high = None
    if c.needs[1]:
        d_low = where_of(x < low if high is None else (x < low) & (low < high), g, 0)
    if c.needs[2]:
        d_high = where_of(x > high if low is None else (x > high) | (high < low), g, 0)
    return (FUNCTIONS["clamp_backward"](g, x, low, high) if c.needs[0] else None, d_low, d_high)


def clamp_check(x, low, high):
    if x.dtype is bool_ and low is not None and high is not None:
        raise NotImplementedError("\"clamp_scalar_cpu\" not implemented for 'Bool'")


FUNCTIONS["clamp"] = define("clamp", limited, limited_ir, clamp_slope, saves="012", check=clamp_check)
FUNCTIONS["clamp_backward"] = define(
    "clamp_backward",
    lambda g, x, low, high: np.where(inside(x, low, high), g, 0),
    lambda b, g, x, low, high: b.where(inside_ir(b, x, low, high), g, b.const(0, g.dtype)),
    lambda c, h: (FUNCTIONS["clamp_backward"](h, c.input(1), c.input(2), c.input(3)), None, None, None),
    saves="123",
)


def lerp_slope(c, g):
    w = c.input(2)
    return (
        g * (1 - w) if c.needs[0] else None,
        g * w if c.needs[1] else None,
        g * (c.input(1) - c.input(0)) if c.needs[2] else None,
    )


FUNCTIONS["lerp"] = define(
    "lerp",
    lambda a, z, w: np.where(np.abs(w) < 0.5, a + w * (z - a), z - (z - a) * (1 - w)),
    lambda b, a, z, w: b.where(b.map("abs", w) < 0.5, a + w * (z - a), z - (z - a) * (1 - w)),
    lerp_slope,
    saves="012",
    promote="floating",
)
FUNCTIONS["addcmul"] = define(
    "addcmul",
    *both(lambda x, a, d, value: x + value * a * d),
    lambda c, g: (
        g,
        g * (c.input(2) * c.input(3)) if c.needs[1] else None,
        g * (c.input(1) * c.input(3)) if c.needs[2] else None,
        None,
    ),
    saves="123",
    promote="number",
)
FUNCTIONS["addcdiv"] = define(
    "addcdiv",
    *both(lambda x, a, d, value: x + value * a / d),
    lambda c, g: (
        g,
        g * (c.input(3) / c.input(2)) if c.needs[1] else None,
        -g * (c.input(3) * c.input(1) / (c.input(2) * c.input(2))) if c.needs[2] else None,
        None,
    ),
    saves="123",
    promote="floating",
)


def replaced(x, nan, top, bottom):
    return np.where(np.isnan(x), nan, np.where(x == np.inf, top, np.where(x == -np.inf, bottom, x)))


def replaced_ir(b, x, nan, top, bottom):
    if x.dtype.category != FLOAT:
        return b.map("copy", x)
    return b.where(b.map("isnan", x), nan, b.where(x.eq(math.inf), top, b.where(x.eq(-math.inf), bottom, x)))


def nan_to_num_reference(x, nan, top, bottom):
    return replaced(x, nan, top, bottom) if x.dtype.kind == "f" else x


nan_to_num_op = Op(
    "nan_to_num",
    infer=lambda m, *numbers: Meta(m.shape, m.dtype),
    reference=nan_to_num_reference,
    lower=lambda b, x, *numbers: replaced_ir(b, x, *(to_value(b, n, x.dtype) for n in numbers)),
    saves="0",
    vjp=lambda c, g: (where_of(c.input(0).isfinite(), g, 0), None, None, None),
)

FUNCTIONS["fill"] = define(
    "fill",
    lambda x, value: np.broadcast_to(value, x.shape),
    lambda b, x, value: b.expand(value, x.shape),
    lambda c, g: (zeros_of(c.metas[0]), g),
)
clone = FUNCTIONS["clone"] = define("clone", lambda x: x.copy(), lambda b, x: b.map("copy", x), lambda c, g: (g,))


def clone_method(input, *, memory_format=None):
    """A copy with its own memory; gradients flow through it."""
    return clone(input)


METHODS["clone"] = PUBLIC["clone"] = clone_method

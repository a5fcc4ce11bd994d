"""Elementary functions that LLVM can vectorise inside generated CPU kernels.

A kernel is a plain loop over `range(np.uint64(lo), np.uint64(hi))`. It runs at full speed only if everything in its body
is straight-line arithmetic: a call to libm or an `if` keeps LLVM from using vector instructions. The functions here are
therefore written as selects and fused multiply-adds, with no branch, no call and no table in memory.

Each function is a Numba `@intrinsic` that writes its LLVM instructions straight into the caller. That has two reasons:
Numba has no body to infer types for and no second function to compile (a helper under `@njit` brings both, and the
error handling of a Python call), and inlining does not depend on LLVM's size limits. The formulas read as ordinary
arithmetic because `Value` (`values.py`) gives an LLVM value Python's operators.

`F32` and `F64` map the names of torch's functions to the intrinsics; `exp_f32`, `exp_f64` and so on are also attributes
of this module. `INT` holds integer division. In float32, results lie within 2 units in the last place of the exact value
over the whole range, results below the smallest normal number included; fmod is exact. Many float32 functions compute
in float64 inside: that still vectorises. In float64, exp, expm1, log, log1p, log2, log10, sigmoid, tanh and digamma
vectorise, with the same bound but for digamma (see there); the rest call libm and are as exact as it is.

LLVM does not contract `a * b + c` by itself here: each rounding is the one that is written.

Polynomials are minimax fits (Remez exchange in 40-digit arithmetic, coefficients rounded afterwards), lowest power
first. Range reductions: W. J. Cody and W. Waite, "Software Manual for the Elementary Functions" (1980); M. Payne and
R. Hanek, "Radian reduction for trigonometric functions", SIGNUM Newsletter 18 (1983).

Example:

    >>> import numpy as np
    >>> from numba import njit
    >>> from jitorch.kernels.cpu.vecmath import F32
    >>> exp = F32["exp"]
    >>> @njit(error_model="numpy")
    ... def kernel(x, out):
    ...     for i in range(np.uint64(0), np.uint64(x.size)):
    ...         out[i] = exp(x[i])
    >>> out = np.empty(3, np.float32)
    >>> kernel(np.array([-np.inf, 0, 1], np.float32), out)
    >>> [float(v) for v in out]
    [0.0, 1.0, 2.7182817459106445]
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from llvmlite import ir
from numba import types
from numba.core.errors import TypingError
from numba.extending import intrinsic

from .elementary import F32_FORMAT, F64_FORMAT, FORMULAS, Format, maximum_, minimum_
from .values import Value, choose, clip, fused, llvm, magnitude, root, with_sign

# ---------------------------------------------------------------------------------------------------------------------
# Integers
# ---------------------------------------------------------------------------------------------------------------------


def quotient_and_rest(x: Value, y: Value, signed: bool) -> tuple[Value, Value]:
    """x / y rounded toward zero and the rest. Never traps: y = 0 gives (0, 0), and the smallest integer / -1 wraps."""
    safe = choose(y.equals(0), 1, y)
    if not signed:
        q = x.emit("udiv", safe.ir)
    else:
        q = x.emit("sdiv", choose(safe.equals(-1), 1, safe).ir)
        q = choose(safe.equals(-1), -x, q)
    nonzero = y.differs(0)
    return choose(nonzero, q, 0), choose(nonzero, x - q * safe, 0)


def int_floor_divide(x: Value, y: Value, signed: bool) -> Value:
    q, rest = quotient_and_rest(x, y, signed)
    return choose(rest.differs(0) & ((rest ^ y) < 0), q - 1, q) if signed else q


def int_remainder(x: Value, y: Value, signed: bool) -> Value:
    _, rest = quotient_and_rest(x, y, signed)
    return choose(rest.differs(0) & ((rest ^ y) < 0), rest + y, rest) if signed else rest


def int_fmod(x: Value, y: Value, signed: bool) -> Value:
    return quotient_and_rest(x, y, signed)[1]


# ---------------------------------------------------------------------------------------------------------------------
# The intrinsics
# ---------------------------------------------------------------------------------------------------------------------


def make_intrinsic(name: str, arity: int, doc: str, signature_of: Callable, build: Callable) -> Any:
    """A Numba intrinsic. `signature_of(*types)` gives its signature, or None where the types do not fit;
    `build(signature, *values)` writes it."""

    def typed(*arguments: types.Type) -> Any:
        signature = signature_of(*arguments)
        if signature is None:
            return None

        def codegen(context: Any, builder: ir.IRBuilder, sig: Any, args: Sequence[ir.Value]) -> ir.Value:
            return build(sig, *(Value(builder, a) for a in args)).ir

        return signature, codegen

    # Numba takes the number of arguments from the Python signature
    typers: dict[int, Callable] = {
        1: lambda typingctx, x: typed(x),
        2: lambda typingctx, x, y: typed(x, y),
        3: lambda typingctx, x, y, z: typed(x, y, z),
    }
    typer = typers[arity]
    typer.__name__ = typer.__qualname__ = name
    typer.__doc__ = doc
    return intrinsic(typer)


def fixed_intrinsic(name: str, suffix: str, arity: int, fmt: Format, kind: types.Float, formula: Callable) -> Any:
    """The formula for one type; arguments of other types are converted to it."""
    return make_intrinsic(
        f"{name}_{suffix}",
        arity,
        f"torch.{name} of {kind} scalars.",
        lambda *arguments: kind(*[kind] * arity),
        lambda signature, *values: formula(fmt, *values),
    )


def widest_float(*arguments: types.Type) -> types.Float | None:
    floats = [a for a in arguments if isinstance(a, types.Float)]
    return max(floats, key=lambda a: a.bitwidth) if floats else None


def float_intrinsic(name: str, arity: int, doc: str, formula: Callable) -> Any:
    """The formula for the widest floating-point type among the arguments."""

    def signature_of(*arguments: types.Type) -> Any:
        kind = widest_float(*arguments)
        return kind and kind(*[kind] * arity)

    return make_intrinsic(name, arity, doc, signature_of, lambda signature, *values: formula(*values))


def integer_intrinsic(name: str, formula: Callable) -> Any:
    """The formula for two integers of one type."""

    def signature_of(x: types.Type, y: types.Type) -> Any:
        kind: Any = types.unliteral(x)
        if not isinstance(kind, types.Integer) or kind != types.unliteral(y):
            raise TypingError(f"{name}: two integers of one type expected, got {x} and {y}")
        return kind(kind, kind)

    return make_intrinsic(
        name,
        2,
        f"torch.{name.removeprefix('int_')} of integers; 0 where the divisor is 0.",
        signature_of,
        lambda signature, *values: formula(*values, signed=signature.return_type.signed),
    )


def select_signature(condition: types.Type, x: types.Type, y: types.Type) -> Any:
    kind = x if x == y else widest_float(x, y)
    return kind and kind(types.boolean, kind, kind)


BIT_TYPES: dict[Any, Any] = {
    types.float32: types.int32,
    types.float64: types.int64,
    types.int32: types.float32,
    types.int64: types.float64,
}

fma = float_intrinsic("fma", 3, "x * y + z, rounded once.", fused)
rint = float_intrinsic("rint", 1, "The nearest integer, the even one of two.", partial(llvm, "rint"))
floor = float_intrinsic("floor", 1, "The largest integer that is not above x.", partial(llvm, "floor"))
ceil = float_intrinsic("ceil", 1, "The smallest integer that is not below x.", partial(llvm, "ceil"))
trunc = float_intrinsic("trunc", 1, "x rounded toward zero.", partial(llvm, "trunc"))
sqrt = float_intrinsic("sqrt", 1, "The square root.", root)
fabs = float_intrinsic("fabs", 1, "The absolute value.", magnitude)
copysign = float_intrinsic("copysign", 2, "x with the sign of y.", with_sign)
clamp = float_intrinsic("clamp", 3, "x limited to y (low) and z (high); NaN in x stays.", clip)
maximum = float_intrinsic("maximum", 2, "The larger one; NaN if either is.", partial(maximum_, F32_FORMAT))
minimum = float_intrinsic("minimum", 2, "The smaller one; NaN if either is.", partial(minimum_, F32_FORMAT))
select = make_intrinsic(
    "select", 3, "y where x holds, else z; both are evaluated.", select_signature, lambda _, c, x, y: choose(c, x, y)
)
bits = make_intrinsic(
    "bits",
    1,
    "float32 as int32, float64 as int64, bit by bit.",
    lambda x: BIT_TYPES[x](x) if isinstance(x, types.Float) and x in BIT_TYPES else None,
    lambda _, x: x.bits(),
)
from_bits = make_intrinsic(
    "from_bits",
    1,
    "int32 as float32, int64 as float64, bit by bit.",
    lambda x: BIT_TYPES[x](x) if isinstance(x, types.Integer) and x in BIT_TYPES else None,
    lambda _, x: x.from_bits(),
)

F32: dict[str, Any] = {
    name: fixed_intrinsic(name, "f32", arity, F32_FORMAT, types.float32, formula)
    for name, (arity, formula, _) in FORMULAS.items()
}
F64: dict[str, Any] = {
    name: fixed_intrinsic(name, "f64", arity, F64_FORMAT, types.float64, formula)
    for name, (arity, _, formula) in FORMULAS.items()
}
INT: dict[str, Any] = {
    "floor_divide": integer_intrinsic("int_floor_divide", int_floor_divide),
    "remainder": integer_intrinsic("int_remainder", int_remainder),
    "fmod": integer_intrinsic("int_fmod", int_fmod),
}
globals().update({f"{name}_f32": function for name, function in F32.items()})
globals().update({f"{name}_f64": function for name, function in F64.items()})

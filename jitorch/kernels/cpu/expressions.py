"""How each elementwise function of the IR is written in kernel source: one line each.

In registers integers have their own width (Numba widens, so results are cast back), bools are booleans.
"""
from __future__ import annotations

from functools import cache

import numpy as np

# of the dtypes in the second line kernels only move elements; operations on them run their references
SUFFIX = {"float32": "f32", "float64": "f64", "int8": "i8", "int16": "i16", "int32": "i32", "int64": "i64", "uint8": "u8", "bool": "u8",
          "float16": "i16", "bfloat16": "i16", "complex64": "i64", "complex128": "c128"}
TYPE = {"float32": "float32", "float64": "float64", "int8": "int8", "int16": "int16", "int32": "int32", "int64": "int64", "uint8": "uint8",
        "bool": "boolean"}

COMPUTED = frozenset(TYPE)
FLOATS = ("float32", "float64")
HALVES = ("float16", "bfloat16")    # kernels read and write them as float32


@cache
def converts(dtype: str) -> bool:
    """Whether this processor has instructions for a half precision dtype, as float32 (bfloat16 needs none)."""
    import llvmlite.binding as llvm

    return dtype == "bfloat16" or (dtype == "float16" and (
        llvm.get_host_cpu_features().get("f16c", False) or llvm.get_process_triple().startswith(("aarch64", "arm64"))))


def cast(text: str, target: str) -> str:
    return f"as_{'bool' if target == 'bool' else SUFFIX[target]}({text})"


def literal(number, dtype: str) -> str:
    """A number as a typed constant."""
    if dtype == "bool":
        return "True" if number else "False"
    if dtype in HALVES:
        return f"int16({half_bits(number, dtype)})"
    if dtype in FLOATS:
        number = float(number)
        if number != number or number in (float("inf"), float("-inf")):
            name = "nan" if number != number else "inf" if number > 0 else "-inf"
            return f"{dtype}({'-' if name == '-inf' else ''}np.{name.lstrip('-')})"
        return f"{dtype}({number!r})"
    return f"{dtype}({int(number)})"


def half_bits(number, dtype: str) -> int:
    """The bits of a number in half precision, as an int16."""
    with np.errstate(over="ignore"):
        if dtype == "float16":
            return int(np.float16(number).view(np.int16))
        bits = np.float32(number).view(np.uint32).astype(np.uint64)
    upper = bits + np.uint64(0x7FFF) + (bits >> np.uint64(16) & np.uint64(1)) if number == number else bits | np.uint64(0x400000)
    return int((upper >> np.uint64(16)).astype(np.uint16).view(np.int16))


# name -> (for floats, for integers, for bools); {s} is the type suffix. None: not defined.
ARITHMETIC = {
    "add": ("{0} + {1}", "{0} + {1}", "{0} | {1}"),
    "sub": ("{0} - {1}", "{0} - {1}", "{0} ^ {1}"),
    "mul": ("{0} * {1}", "{0} * {1}", "{0} & {1}"),
    "div": ("{0} / {1}", None, None),
    "neg": ("-{0}", "-{0}", None),
    "abs": ("fabs({0})", "select({0} < {z}, -{0}, {0})", "{0}"),
    "sign": ("select({0} > {z}, {o}, select({0} < {z}, -{o}, {0} * {z}))", "select({0} > {z}, {o}, select({0} < {z}, -{o}, {z}))", "{0}"),
    "floor": ("floor({0})", "{0}", "{0}"),
    "ceil": ("ceil({0})", "{0}", "{0}"),
    "trunc": ("trunc({0})", "{0}", "{0}"),
    "round": ("rint({0})", "{0}", "{0}"),
    "maximum": ("maximum({0}, {1})", "select({0} > {1}, {0}, {1})", "{0} | {1}"),
    "minimum": ("minimum({0}, {1})", "select({0} < {1}, {0}, {1})", "{0} & {1}"),
    "fmax": ("select({1} != {1}, {0}, select({0} > {1}, {0}, {1}))", "select({0} > {1}, {0}, {1})", "{0} | {1}"),
    "fmin": ("select({1} != {1}, {0}, select({0} < {1}, {0}, {1}))", "select({0} < {1}, {0}, {1})", "{0} & {1}"),
    "floordiv": ("floor_divide_{s}({0}, {1})", "int_floor_divide({0}, {1})", None),
    "fmod": ("fmod_{s}({0}, {1})", "int_fmod({0}, {1})", None),
    "remainder": ("remainder_{s}({0}, {1})", "int_remainder({0}, {1})", None),
    "reciprocal": ("{o} / {0}", None, None),
    "copysign": ("copysign({0}, {1})", None, None),
    "hypot": ("select((fabs({0}) == {inf}) | (fabs({1}) == {inf}), {inf}, as_f32(sqrt(as_f64({0}) * as_f64({0}) + as_f64({1}) * as_f64({1}))))",
              None, None),
    "sqrt": ("sqrt({0})", None, None),
    "fma": ("fma({0}, {1}, {2})", None, None),
    "and": (None, "{0} & {1}", "{0} & {1}"),
    "or": (None, "{0} | {1}", "{0} | {1}"),
    "xor": (None, "{0} ^ {1}", "{0} ^ {1}"),
    "not": (None, "~{0}", "{0} ^ True"),
    "shl": (None, "select(({1} < {z}) | ({1} >= {w}), {z}, {0} << ({1} & {m}))", None),
    "shr": (None, "{0} >> select(({1} < {z}) | ({1} >= {w}), {m}, {1})", None),
    "where": ("select({0}, {1}, {2})", "select({0}, {1}, {2})", "select({0}, {1}, {2})"),
    "copy": ("{0}", "{0}", "{0}"),
}

# tests: the suffix is the operand's; the result is bool
TESTS = {
    "lt": ("{0} < {1}", "{0} < {1}", "({0} ^ True) & {1}"),
    "le": ("{0} <= {1}", "{0} <= {1}", "({0} ^ True) | {1}"),
    "gt": ("{0} > {1}", "{0} > {1}", "{0} & ({1} ^ True)"),
    "ge": ("{0} >= {1}", "{0} >= {1}", "{0} | ({1} ^ True)"),
    "eq": ("{0} == {1}", "{0} == {1}", "({0} ^ {1}) ^ True"),
    "ne": ("{0} != {1}", "{0} != {1}", "{0} ^ {1}"),
    "isnan": ("{0} != {0}", "False", "False"),
    "isinf": ("fabs({0}) == {inf}", "False", "False"),
    "isfinite": ("fabs({0}) < {inf}", "True", "True"),
    "signbit": ("copysign({o}, {0}) < {z}", "{0} < {z}", "False"),
}

FUNCTIONS = frozenset(("exp", "exp2", "expm1", "log", "log2", "log10", "log1p", "rsqrt", "sin", "cos", "tan", "asin", "acos", "atan",
                       "atan2", "sinh", "cosh", "tanh", "asinh", "acosh", "atanh", "sigmoid", "erf", "erfc", "lgamma", "digamma", "pow"))
BITS = {"int8": 8, "int16": 16, "int32": 32, "int64": 64, "uint8": 8}


def can_cast(source: str, target: str) -> bool:
    """Whether kernels can: half precision to and from float32 only, so that nothing is rounded twice."""
    for one, other in ((source, target), (target, source)):
        if one in HALVES:
            return other == "float32" and converts(one)
    return source in COMPUTED and target in COMPUTED


def can_write(name: str, operand_dtype: str) -> bool:
    """Whether kernels have this function for this operand dtype; where not, the IR op runs on the reference."""
    kind = 0 if operand_dtype in FLOATS else 2 if operand_dtype == "bool" else 1
    if operand_dtype not in COMPUTED:
        return name == "copy" or (name == "where" and operand_dtype in HALVES)
    if name in ("cast", "philox"):
        return True
    if name in FUNCTIONS:
        return kind == 0
    if name == "hypot":         # in double precision, where the squares of single precision can't overflow
        return operand_dtype == "float32"
    entry = ARITHMETIC.get(name) or TESTS.get(name)
    return entry is not None and entry[kind] is not None


def expression(name: str, dtype: str, operands: list[str], operand_dtypes: list[str]) -> str:
    """Source text of one elementwise function applied to `operands`."""
    if name == "cast":
        if operand_dtypes[0] in HALVES:
            return f"widened_{operand_dtypes[0]}({operands[0]})"
        return f"rounded_{dtype}({operands[0]})" if dtype in HALVES else cast(operands[0], dtype)
    if name == "philox":
        return f"philox({operands[0]}, {operands[1]})"
    source = operand_dtypes[1] if name == "where" else operand_dtypes[0]
    if name in FUNCTIONS:
        return f"{name}_{SUFFIX[source]}({', '.join(operands)})"
    kind = 0 if source in FLOATS else 2 if source == "bool" else 1
    test = TESTS.get(name)
    template = (test or ARITHMETIC[name])[kind]
    if template is None:
        raise NotImplementedError(f"kernel expression {name} for {source}")
    width = BITS.get(source, 0)
    text = template.format(*operands, s=SUFFIX[source], z=literal(0, source), o=literal(1, source), inf=f"{source}(np.inf)",
                           w=f"{source}({min(width, 127)})", m=f"{source}({width - 1})")
    if test is None and kind == 1 and name not in ("copy", "where"):
        return cast(text, source)
    return text

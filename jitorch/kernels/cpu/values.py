"""An LLVM value with Python's operators, in which the formulas of `vecmath` and `instructions` are written."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from llvmlite import ir
from numba.core import cgutils

I1, I32, I64, FLOAT, DOUBLE = ir.IntType(1), ir.IntType(32), ir.IntType(64), ir.FloatType(), ir.DoubleType()
NAMES = {FLOAT: "f32", DOUBLE: "f64", I32: "i32", I64: "i64"}   # as LLVM's intrinsics have them


def like(kind: ir.Type, element: ir.Type) -> ir.Type:
    """`element`, or as many of it as `kind` has, if that is a vector."""
    return ir.VectorType(element, kind.count) if isinstance(kind, ir.VectorType) else element


def element_of(kind: ir.Type) -> ir.Type:
    return kind.element if isinstance(kind, ir.VectorType) else kind


class Value:
    """An LLVM value under construction, a scalar or a vector. Python numbers in an expression become constants of its type.

    Comparisons of floats are ordered (false when an operand is NaN); integers are signed, `>>` copies the sign.
    """

    __slots__ = ("builder", "ir")

    def __init__(self, builder: ir.IRBuilder, value: ir.Value) -> None:
        self.builder, self.ir = builder, value

    def const(self, number: float | Value) -> Value:
        """`number` as a value of the same type as this one."""
        if isinstance(number, Value):
            return number
        kind = self.ir.type
        return Value(self.builder, ir.Constant(kind, [number] * kind.count if isinstance(kind, ir.VectorType) else number))

    def emit(self, instruction: str, *operands: Any) -> Value:
        return Value(self.builder, getattr(self.builder, instruction)(self.ir, *operands))

    def is_integer(self) -> bool:
        return isinstance(element_of(self.ir.type), ir.IntType)

    def arithmetic(self, operation: str, other: float | Value) -> Value:
        prefix = "" if self.is_integer() else "f"
        return self.emit(prefix + operation, self.const(other).ir)

    def compare(self, operator: str, other: float | Value) -> Value:
        kind = "icmp_signed" if self.is_integer() else "fcmp_ordered"
        return Value(self.builder, getattr(self.builder, kind)(operator, self.ir, self.const(other).ir))

    def __add__(self, other: float | Value) -> Value:
        return self.arithmetic("add", other)

    def __sub__(self, other: float | Value) -> Value:
        return self.arithmetic("sub", other)

    def __mul__(self, other: float | Value) -> Value:
        return self.arithmetic("mul", other)

    def __truediv__(self, other: float | Value) -> Value:
        return self.arithmetic("div", other)

    def __radd__(self, other: float) -> Value:
        return self.const(other) + self

    def __rsub__(self, other: float) -> Value:
        return self.const(other) - self

    def __rmul__(self, other: float) -> Value:
        return self.const(other) * self

    def __rtruediv__(self, other: float) -> Value:
        return self.const(other) / self

    def __neg__(self) -> Value:
        return self.emit("neg" if self.is_integer() else "fneg")

    def __lt__(self, other: float | Value) -> Value:
        return self.compare("<", other)

    def __gt__(self, other: float | Value) -> Value:
        return self.compare(">", other)

    def __le__(self, other: float | Value) -> Value:
        return self.compare("<=", other)

    def __ge__(self, other: float | Value) -> Value:
        return self.compare(">=", other)

    def equals(self, other: float | Value) -> Value:
        return self.compare("==", other)

    def differs(self, other: float | Value) -> Value:
        """Ordered: false for NaN, unlike Python's `!=`."""
        return self.compare("!=", other)

    def __and__(self, other: int | Value) -> Value:
        return self.emit("and_", self.const(other).ir)

    def __or__(self, other: int | Value) -> Value:
        return self.emit("or_", self.const(other).ir)

    def __xor__(self, other: int | Value) -> Value:
        return self.emit("xor", self.const(other).ir)

    def __invert__(self) -> Value:
        return self.emit("not_")

    def __lshift__(self, count: int | Value) -> Value:
        return self.emit("shl", self.const(count).ir)

    def __rshift__(self, count: int | Value) -> Value:
        return self.emit("ashr", self.const(count).ir)

    def shift_in_zeros(self, count: int | Value) -> Value:
        return self.emit("lshr", self.const(count).ir)

    def to_double(self) -> Value:
        return self.emit("fpext", like(self.ir.type, DOUBLE))

    def to_float(self) -> Value:
        return self.emit("fptrunc", like(self.ir.type, FLOAT))

    def to_i32(self) -> Value:
        return self.emit("trunc", like(self.ir.type, I32))

    def to_u64(self) -> Value:
        return self.emit("zext", like(self.ir.type, I64))

    def integer_to(self, real: ir.Type) -> Value:
        return self.emit("sitofp", like(self.ir.type, real))

    def bits(self) -> Value:
        return self.emit("bitcast", like(self.ir.type, I32 if element_of(self.ir.type) == FLOAT else I64))

    def from_bits(self) -> Value:
        return self.emit("bitcast", like(self.ir.type, FLOAT if element_of(self.ir.type) == I32 else DOUBLE))


def llvm(name: str, *args: float | Value) -> Value:
    """Call the LLVM intrinsic `llvm.<name>.<type>`, whose arguments and result have one type."""
    model = next(a for a in args if isinstance(a, Value))
    kind = model.ir.type
    suffix = (f"v{kind.count}" if isinstance(kind, ir.VectorType) else "") + NAMES[element_of(kind)]
    function = cgutils.get_or_insert_function(
        model.builder.module, ir.FunctionType(kind, [kind] * len(args)), f"llvm.{name}.{suffix}"
    )
    return Value(model.builder, model.builder.call(function, [model.const(a).ir for a in args]))


def fused(a: float | Value, b: float | Value, c: float | Value) -> Value:
    """a * b + c, rounded once."""
    return llvm("fma", a, b, c)


def choose(condition: Value, yes: float | Value, no: float | Value) -> Value:
    model = yes if isinstance(yes, Value) else no
    assert isinstance(model, Value)
    return condition.emit("select", model.const(yes).ir, model.const(no).ir)


def is_nan(x: Value) -> Value:
    return Value(x.builder, x.builder.fcmp_unordered("uno", x.ir, x.ir))


def magnitude(x: Value) -> Value:
    return llvm("fabs", x)


def with_sign(x: float | Value, sign: Value) -> Value:
    return llvm("copysign", sign.const(x), sign)


def root(x: Value) -> Value:
    return llvm("sqrt", x)


def clip(x: Value, low: float, high: float) -> Value:
    """x limited to [low, high]; NaN stays NaN. LLVM turns each select into one min or max instruction."""
    x = choose(x < low, low, x)
    return choose(x > high, high, x)


def polynomial(x: Value, coefficients: Sequence[float]) -> Value:
    """Horner's rule with fused multiply-adds; `coefficients` start with the constant term."""
    total = x.const(coefficients[-1])
    for c in reversed(coefficients[:-1]):
        total = fused(total, x, c)
    return total

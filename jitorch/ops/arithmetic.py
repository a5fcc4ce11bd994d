"""Operators: what `+`, `-`, `*`, `/` and the comparisons do, with numbers on either side."""
from __future__ import annotations

import numpy as np

from ..dtypes import BOOL, FLOAT
from .dispatch import METHODS, PUBLIC
from .elementwise import FUNCTIONS, inplace_of, write_out


def operand(x, name: str):
    """A tensor or a Python number; NumPy scalars become numbers."""
    if isinstance(x, np.generic):
        return x.item()
    if isinstance(x, (int, float)) and x.__class__ not in (int, float, bool):
        return float(x) if isinstance(x, float) else int(x)
    return x


def scaled(other, alpha, name: str, input):
    """alpha * other, checked as PyTorch does."""
    if alpha == 1 and alpha.__class__ is not bool:
        return other
    kinds = [x for x in (input, other) if hasattr(x, "_meta")]
    if isinstance(alpha, float) and not any(k.dtype.category == FLOAT for k in kinds) and not isinstance(other, float):
        raise RuntimeError("For integral input tensors, argument alpha must not be a floating point number.")
    return other * alpha


def add(input, other, *, alpha=1, out=None):
    """input + alpha * other, elementwise, with broadcasting and type promotion.

    >>> import jitorch as torch
    >>> torch.add(torch.tensor([1, 2]), 10, alpha=2)
    tensor([21, 22])
    """
    result = FUNCTIONS["add"](operand(input, "add"), scaled(operand(other, "add"), alpha, "add", input))
    return result if out is None else write_out(out, result)


def sub(input, other, *, alpha=1, out=None):
    """input - alpha * other. RuntimeError for two bool tensors."""
    if hasattr(input, "_meta") and hasattr(other, "_meta") and input.dtype.category == BOOL and other.dtype.category == BOOL:
        raise RuntimeError("Subtraction, the `-` operator, with two bool tensors is not supported. Use the `^` or `logical_xor()` operator instead.")
    result = FUNCTIONS["sub"](operand(input, "sub"), scaled(operand(other, "sub"), alpha, "sub", input))
    return result if out is None else write_out(out, result)


def mul(input, other, *, out=None):
    """input * other, elementwise, with broadcasting and type promotion."""
    result = FUNCTIONS["mul"](operand(input, "mul"), operand(other, "mul"))
    return result if out is None else write_out(out, result)


def publish_binary(name: str, fn, aliases=(), symbol: str | None = None, inplace: bool = True) -> None:
    for n in (name, *aliases):
        PUBLIC[n] = METHODS[n] = fn
        if inplace:
            METHODS[n + "_"] = inplace_of(fn, n + "_")
    if symbol:
        METHODS[f"__{symbol}__"] = dunder(fn)
        METHODS[f"__r{symbol}__"] = dunder(lambda self, other: fn(other, self))
        if inplace:
            METHODS[f"__i{symbol}__"] = METHODS[name + "_"]


def dunder(fn):
    """An operator: NotImplemented for operands that are no numbers."""
    def operator(self, other):
        if not (hasattr(other, "_meta") or isinstance(other, (int, float, np.generic))):
            return NotImplemented
        return fn(self, other)
    return operator


publish_binary("add", add, symbol="add")
publish_binary("sub", sub, ("subtract",), "sub")
publish_binary("mul", mul, ("multiply",), "mul")


def compare(name: str, aliases):
    record = FUNCTIONS[name]

    def fn(input, other, *, out=None):
        result = record(operand(input, name), operand(other, name))
        return result if out is None else write_out(out, result)
    fn.__name__ = fn.__qualname__ = name
    fn.__doc__ = f"Elementwise comparison `{name}`: a bool tensor."
    publish_binary(name, fn, aliases)
    METHODS[f"__{name}__"] = dunder(fn)


for _name, _aliases in (("lt", ("less",)), ("le", ("less_equal",)), ("gt", ("greater",)), ("ge", ("greater_equal",)), ("eq", ()), ("ne", ("not_equal",))):
    compare(_name, _aliases)

"""Elementwise operations: how an entry is made, and the choice, the copy and the fill that others are made of.

`define` builds an entry from a promotion rule, a NumPy function, an IR expression and a gradient. The function it
returns records the operation. The tables are in `unary`, `binary`, `ternary` and `special`; `publish` gives functions to users.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import dtypes
from ..graph.record import Meta
from .dispatch import METHODS, PUBLIC, Op, apply, function_of
from .promotion import array_meta, promoted, shape_of, to_value

FUNCTIONS: dict = {}        # name -> function that records the operation; `unary`, `binary`, `ternary`, `special` fill it


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


def zeros_of(meta):
    """The gradient of an operand that the result is constant in."""
    return None if meta is None or isinstance(meta, type) else PUBLIC["zeros"](tuple(meta.shape), dtype=meta.dtype)


def no_slope(ctx, g):
    """The gradient of a step function: zeros for every operand."""
    return tuple(zeros_of(m) for m in ctx.metas)


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


# -- copies and fills -------------------------------------------------------------------------------------------------
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

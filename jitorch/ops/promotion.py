"""Rules for the dtypes of elementwise operations, and numbers in a dtype."""

from __future__ import annotations

import numpy as np

from .. import dtypes
from ..dtypes import BOOL, COMPLEX, FLOAT, INT, bool_
from ..graph.ir import broadcast
from ..graph.record import Meta


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

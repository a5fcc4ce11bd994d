"""Elementwise operations: one line of the table each.

`define` builds an entry from a promotion rule, a NumPy function, an IR expression and a gradient. The function it returns records
the operation; `publish` gives it to users as `jitorch.<name>`, as a method, and as the in-place method `<name>_`.
"""
from __future__ import annotations

import numpy as np
import scipy.special

from .. import dtypes
from ..dtypes import FLOAT, bool_
from ..graph.ir import broadcast
from ..graph.record import Meta
from . import dispatch
from .dispatch import METHODS, PUBLIC, Op, apply

# promotion rule: promoted dtype of the operands -> (dtype computed in, dtype of the result)
RULES = {
    "same": lambda d: (d, d),
    "float": lambda d: (d, d) if d.category == FLOAT else (dtypes.get_default_dtype(),) * 2,
    "test": lambda d: (d, bool_),
    "logical": lambda d: (bool_, bool_),
    "integral": lambda d: (d, d),
}


def promoted(name: str, rule: str, metas) -> tuple:
    d = dtypes.result_type(metas)
    if rule == "integral" and d.category == FLOAT:
        raise RuntimeError(f"\"{name}_cpu\" not implemented for '{d.label}'")
    return RULES[rule](d)


def shape_of(metas) -> tuple[int, ...]:
    return broadcast([m.shape for m in metas if m is not None and not isinstance(m, type)] or [()])


def array_meta(a):
    """What promotion needs to know of a reference operand: its Python type, or shape and dtype."""
    return type(a) if isinstance(a, (bool, int, float)) else Meta(a.shape, dtypes.from_numpy(a.dtype))


def define(name: str, numpy, expression=None, vjp=None, *, saves: str = "", promote: str = "same", grad_name=None):
    """Make an elementwise entry; returns the function that records it.

    numpy(*arrays): operands already cast to the dtype computed in. expression(b, *values): the same in IR.
    vjp(ctx, g): gradients of all operands; broadcasting is undone by the engine.
    """

    def infer(*metas):
        return Meta(shape_of(metas), promoted(name, promote, metas)[1])

    def reference(*arrays):
        compute, _ = promoted(name, promote, [array_meta(a) for a in arrays])
        return numpy(*(np.asarray(a).astype(compute.np, copy=False) for a in arrays))

    def lower(b, *values):
        compute, out = promoted(name, promote, b.metas)
        cast = [b.cast(v, compute) if hasattr(v, "kind") else b.const(v, compute) for v in values]
        return b.cast(expression(b, *cast), out)

    op = Op(name, infer=infer, reference=reference, lower=lower if expression else None, vjp=vjp, saves=saves, grad_name=grad_name)

    def function(*inputs):
        return apply(op, inputs)

    function.op = op
    function.__name__ = function.__qualname__ = name
    return function


def mapped(name: str):
    """The expression that is one map of the IR."""
    return lambda b, *values: b.map(name, *values)


def publish(name: str, function, *, inplace: bool = True, method: bool = True, public: bool = True, aliases=()) -> None:
    """Give a recording function to users: `jitorch.name`, `Tensor.name`, `Tensor.name_`, with `out=`."""
    def with_out(*inputs, out=None):
        result = function(*inputs)
        return result if out is None else write_out(out, result)

    with_out.__name__ = with_out.__qualname__ = name
    with_out.__doc__ = function.__doc__ or f"Elementwise `{name}` with broadcasting and type promotion, as `torch.{name}`."
    for n in (name, *aliases):
        if public:
            PUBLIC[n] = with_out
        if method:
            METHODS[n] = with_out
        if inplace and method:
            METHODS[n + "_"] = inplace_of(function, n + "_")


def inplace_of(function, name: str):
    """The in-place method of a function whose first operand is the tensor."""
    def method(self, *args, **kwargs):
        from ..tensor import assign, check_writable
        check_writable(self)
        return assign(self, function(self, *args, **kwargs))

    method.__name__ = method.__qualname__ = name
    method.__doc__ = f"In-place form of `{name[:-1]}`. RuntimeError for a leaf that requires grad."
    return method


def write_out(out, result):
    """`out=`: the result is written into `out`, which takes its shape. Returns out."""
    from ..tensor import assign, clone_of
    if out._rg or result._rg:
        raise RuntimeError("functions with out=... arguments don't support automatic differentiation, but one of the arguments requires grad.")
    if out.shape != result.shape:
        if result._meta.dtype.category > out._meta.dtype.category:
            raise RuntimeError(f"result type {result.dtype.label} can't be cast to the desired output type {out.dtype.label}")
        fresh = clone_of(result.to(out.dtype))
        out._storage, out._meta = fresh._storage, fresh._meta
        return out
    return assign(out, result if result._meta is result._storage.meta else clone_of(result))


# -- unary: name, NumPy, expression, gradient(ctx, g), saves, promotion ----------------------------------------------
def x0(ctx):
    return ctx.input(0)


def sigmoid_np(x):
    return scipy.special.expit(x)


UNARY = [
    ("neg", np.negative, mapped("neg"), lambda c, g: (-g,), "", "same"),
    ("abs", np.abs, mapped("abs"), lambda c, g: (g * c.input(0).sgn(),), "0", "same"),
    ("exp", np.exp, mapped("exp"), lambda c, g: (g * c.output(),), "o", "float"),
    ("log", np.log, mapped("log"), lambda c, g: (g / c.input(0),), "0", "float"),
    ("sqrt", np.sqrt, mapped("sqrt"), lambda c, g: (g / (c.output() * 2),), "o", "float"),
    ("rsqrt", lambda x: 1 / np.sqrt(x), mapped("rsqrt"), lambda c, g: (g * c.output() ** 3 * -0.5,), "o", "float"),
    ("tanh", np.tanh, mapped("tanh"), lambda c, g: (g * (1 - c.output() * c.output()),), "o", "float"),
    ("sigmoid", sigmoid_np, mapped("sigmoid"), lambda c, g: (g * (1 - c.output()) * c.output(),), "o", "float"),
    ("relu", lambda x: np.where(np.isnan(x), x, np.maximum(x, 0)).astype(x.dtype), lambda b, x: b.map("maximum", x, 0),
     lambda c, g: (c.output()._where_positive(g),), "o", "same"),
    ("sgn", np.sign, mapped("sign"), lambda c, g: (g * 0,), "", "same"),
]

FUNCTIONS: dict = {}
for _name, _numpy, _expression, _vjp, _saves, _promote in UNARY:
    FUNCTIONS[_name] = define(_name, _numpy, _expression, _vjp, saves=_saves, promote=_promote)
    publish(_name, FUNCTIONS[_name])


# -- binary ----------------------------------------------------------------------------------------------------------
BINARY = [
    ("add", np.add, mapped("add"), lambda c, g: (g, g), "", "same"),
    ("sub", np.subtract, mapped("sub"), lambda c, g: (g, -g), "", "same"),
    ("mul", np.multiply, mapped("mul"), lambda c, g: (g * c.input(1) if c.needs[0] else None, g * c.input(0) if c.needs[1] else None), "01", "same"),
    ("div", np.divide, mapped("div"), lambda c, g: (g / c.input(1) if c.needs[0] else None,
                                                    -g * c.input(0) / (c.input(1) * c.input(1)) if c.needs[1] else None), "01", "float"),
    ("lt", np.less, mapped("lt"), None, "", "test"),
    ("le", np.less_equal, mapped("le"), None, "", "test"),
    ("gt", np.greater, mapped("gt"), None, "", "test"),
    ("ge", np.greater_equal, mapped("ge"), None, "", "test"),
    ("eq", np.equal, mapped("eq"), None, "", "test"),
    ("ne", np.not_equal, mapped("ne"), None, "", "test"),
]
for _name, _numpy, _expression, _vjp, _saves, _promote in BINARY:
    FUNCTIONS[_name] = define(_name, _numpy, _expression, _vjp, saves=_saves, promote=_promote)


clone = define("clone", lambda x: x.copy(), lambda b, x: b.map("copy", x), lambda c, g: (g,))
dispatch.METHODS["clone"] = dispatch.PUBLIC["clone"] = lambda x, *, memory_format=None: clone(x)

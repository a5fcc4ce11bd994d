"""Formulas: an expression that is written once and read three ways.

`f(m, *operands)` asks `m` for what operators don't cover: `m.map(name, ...)`, `m.where`, `m.reduce` (reduced
dimensions stay, with size 1),
`m.iota`, `m.cast`, `m.reshape`. With the IR builder as `m` it is the lowering, with NUMPY the reference, and with
TENSORS it
records tensor operations. The last gives the gradient of any formula, of any order: the formula is recorded and
differentiated.
A closed form for the first gradient is worth writing where it saves work; it is a formula too.
"""
from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..autograd.node import state
from ..dtypes import FLOAT
from ..graph.ir import broadcast
from ..graph.record import Meta
from .dispatch import NUMBERS, PUBLIC, Op, apply


def scipy_function(name: str) -> Callable:
    """scipy.special's function of that name; SciPy is imported when it first runs."""
    def function(*args):
        import scipy.special
        return getattr(scipy.special, name)(*args)
    return function


NUMPY_MAPS = {
    "abs": np.abs,
    "sign": np.sign,
    "exp": np.exp,
    "expm1": np.expm1,
    "log": np.log,
    "log1p": np.log1p,
    "sqrt": np.sqrt,
    "rsqrt": lambda x: 1 / np.sqrt(x),
    "tanh": np.tanh,
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)) if x.dtype.kind == "c" else scipy_function("expit")(x),
    "erf": scipy_function("erf"),
    "lgamma": scipy_function("gammaln"),
    "maximum": np.maximum,
    "minimum": np.minimum,
    "pow": np.power,
    "eq": np.equal,
    "ne": np.not_equal,
    "and": np.logical_and,
    "or": np.logical_or,
    "not": np.logical_not,
}
NUMPY_REDUCTIONS = {"sum": np.sum, "max": np.max, "min": np.min, "any": np.any}
TENSOR_MAPS = {"and": "logical_and", "or": "logical_or", "not": "logical_not"}
CLAMPS = {"maximum": "clamp_min", "minimum": "clamp_max"}       # with a number
TENSOR_REDUCTIONS = {"sum": "sum", "max": "amax", "min": "amin", "any": "any"}


class NumpyReading:
    """Operands are arrays."""

    def map(self, name, *args):
        return NUMPY_MAPS[name](*args)

    def where(self, condition, a, b):
        return np.where(condition, a, b)

    def reduce(self, name, x, dims):
        return NUMPY_REDUCTIONS[name](x, axis=tuple(dims), keepdims=True)

    def iota(self, shape, dim):
        return np.arange(shape[dim]).reshape([-1 if i == dim else 1 for i in range(len(shape))])

    def cast(self, x, dtype):
        return np.asarray(x).astype(getattr(dtype, "np", dtype))

    def reshape(self, x, shape):
        return np.reshape(x, shape)


class TensorReading:
    """Operands are tensors; what is asked for is recorded."""

    def map(self, name, *args):
        if name in CLAMPS and args[1].__class__ in NUMBERS:
            name = CLAMPS[name]
        return PUBLIC[TENSOR_MAPS.get(name, name)](*args)

    def where(self, condition, a, b):
        return PUBLIC["where"](condition, a, b)

    def reduce(self, name, x, dims):
        return PUBLIC[TENSOR_REDUCTIONS[name]](x, tuple(dims), keepdim=True) if dims else x

    def iota(self, shape, dim):
        return PUBLIC["arange"](shape[dim]).reshape([-1 if i == dim else 1 for i in range(len(shape))])

    def cast(self, x, dtype):
        return x.to(dtype)

    def reshape(self, x, shape):
        return x.reshape(shape)


NUMPY, TENSORS = NumpyReading(), TensorReading()


def formula_op(
    name: str,
    formula: Callable,
    infer: Callable,
    *,
    vjp: Callable | None = None,
    saves: str = "",
    grad_name: str | None = None,
    differentiable: bool = True,
) -> Op:
    """An entry whose reference and lowering are `formula(m, *operands, *attrs)`.

    Numbers among the operands come as numbers, or, once they have been seen to change, as values of the first
    operand's dtype.
    Without `vjp` the gradient is the formula's own; `saves` must then name all inputs.
    """
    def reference(*args):
        return formula(NUMPY, *args)

    def lower(b, *args):
        scalars = [b.cast(a, first_dtype(args)) if getattr(a, "kind", "") == "scalar" else a for a in args]
        return formula(b, *scalars)

    if vjp is None and differentiable:
        vjp = gradient_of(formula)
    return Op(name, infer=infer, reference=reference, lower=lower, vjp=vjp, saves=saves, grad_name=grad_name)


def first_dtype(values):
    """The dtype of the first floating point operand that is a tensor, else of the first tensor."""
    found = [v.dtype for v in values if hasattr(v, "kind") and v.kind != "scalar"]
    return next((d for d in found if d.is_floating_point), found[0])


def gradient_of(formula: Callable) -> Callable:
    """The gradient of a formula: it is recorded with its inputs, and differentiated."""
    def vjp(ctx, *grads):
        from .. import autograd
        again = state.enabled
        inputs = [ctx.input(i) if i in ctx.op.saves else None for i in range(len(ctx.metas))]
        wanted = [i for i, need in enumerate(ctx.needs) if need]
        # a tensor of its own for each operand (one may be given twice); without history where none is wanted
        for i in wanted:
            inputs[i] = inputs[i].reshape(inputs[i].shape) if again else inputs[i].detach().requires_grad_(True)
        with autograd.enable_grad():
            results = formula(TENSORS, *inputs, *ctx.attrs)
        results = results if isinstance(results, tuple) else (results,)
        used = [i for i, r in enumerate(results) if grads[i] is not None and r.requires_grad]
        if not used:
            return (None,) * len(inputs)
        found = autograd.grad([results[i] for i in used], [inputs[i] for i in wanted], [grads[i] for i in used],
                              retain_graph=True, create_graph=again, allow_unused=True)
        given = dict(zip(wanted, found, strict=True))
        return tuple(given.get(i) for i in range(len(inputs)))
    return vjp


COMPLEX = frozenset(("silu_cpu", "silu_backward"))      # kernels that PyTorch has for complex tensors too


# -- rules for shape and dtype that formulas share -------------------------------------------------------------------
def floating(name: str, meta: Meta) -> None:
    """NotImplementedError, in PyTorch's words, unless the dtype is floating point."""
    if meta.dtype.category != FLOAT and not (meta.dtype.is_complex and name in COMPLEX):
        raise NotImplementedError(f"\"{name}\" not implemented for '{meta.dtype.label}'")


def elementwise_rule(kernel: str, check: Callable | None = None):
    """The rule of an elementwise formula on floating point tensors of one dtype (numbers may be among the operands)."""
    def infer(*operands):
        metas = [m for m in operands if isinstance(m, Meta)]
        if operands[0] not in metas:
            raise TypeError(
                f"{kernel}: argument 'input' must be Tensor, not {getattr(operands[0], '__name__', operands[0])}"
            )
        for m in metas:
            floating(kernel, m)
        first = metas[0].dtype
        for m in metas[1:]:
            if m.dtype is not first:
                raise RuntimeError(f"Found dtype {m.dtype.label} but expected {first.label}")
        return Meta(broadcast([m.shape for m in metas]), first)
    return infer


__all__ = ["NUMPY", "TENSORS", "apply", "elementwise_rule", "floating", "formula_op", "gradient_of"]

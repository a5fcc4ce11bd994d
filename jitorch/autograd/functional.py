"""Jacobians, Hessians and their products with vectors, of functions of tensors: `torch.autograd.functional`."""
from __future__ import annotations

from . import enable_grad, grad

__all__ = ["hessian", "hvp", "jacobian", "jvp", "vhp", "vjp"]


def as_tuple(x, what: str, fn: str) -> tuple[bool, tuple]:
    """(was it a tuple, a tuple of tensors). TypeError for what is no tensor."""
    several = isinstance(x, (tuple, list))
    items = tuple(x) if several else (x,)
    for i, t in enumerate(items):
        if not hasattr(t, "_meta"):
            where = f"value at index {i} in the {what}" if several else what
            raise TypeError(f"The {where} given to {fn} must be a Tensor or a tuple of Tensors but got {type(t)}.")
    return several, items


def tracked(inputs: tuple, create_graph: bool) -> tuple:
    """Copies to differentiate in: with history of their own, or tied to the originals'."""
    return tuple(x.view_as(x) if create_graph and x.requires_grad else x.detach().requires_grad_(True) for x in inputs)


def settled(results, create_graph: bool):
    """Results without history, unless it is wanted."""
    if isinstance(results, tuple):
        return tuple(settled(r, create_graph) for r in results)
    return results if create_graph else results.detach()


def zeros_like(t):
    from ..ops.dispatch import PUBLIC
    return PUBLIC["zeros_like"](t)


def vector_of(v, inputs: tuple, what: str, fn: str) -> tuple:
    """A vector to multiply with: given, or 1 for a single element. RuntimeError where it doesn't fit."""
    from ..ops.dispatch import PUBLIC
    if v is None:
        if len(inputs) != 1 or inputs[0]._meta.numel != 1:
            raise RuntimeError(f"The vector v can only be None if the {what} is a single Tensor with one element")
        return (PUBLIC["ones_like"](inputs[0].detach()),)
    _, vs = as_tuple(v, "v", fn)
    if len(vs) != len(inputs) or any(a.shape != b.shape for a, b in zip(vs, inputs, strict=False)):
        raise RuntimeError(f"v has the wrong sizes: {[list(t.shape) for t in vs]} for {[list(t.shape) for t in inputs]}")
    return vs


def gradients(outputs, inputs: tuple, v=None, create: bool = False, strict: bool = False, name: str = "") -> tuple:
    """Gradients of the outputs that have any; zeros elsewhere (RuntimeError with strict)."""
    live = [(o, w) for o, w in zip(outputs, v or (None,) * len(outputs), strict=True) if o.requires_grad]
    if strict and len(live) < len(outputs):
        raise RuntimeError(f"Output of the function given to {name} does not require gradients: it is independent of the inputs. "
                           "This is not allowed in strict mode.")
    if not live:
        return tuple(zeros_like(x) for x in inputs)
    found = grad([o for o, _ in live], inputs, None if v is None else [w for _, w in live], retain_graph=True, create_graph=create, allow_unused=True)
    if strict and any(g is None for g in found):
        raise RuntimeError(f"The output of the function given to {name} is independent of an input. This is not allowed in strict mode.")
    return tuple(zeros_like(x) if g is None else g for x, g in zip(inputs, found, strict=True))


def shaped(several: bool, results: tuple):
    return results if several else results[0]


def vjp(func, inputs, v=None, create_graph: bool = False, strict: bool = False):
    """(func(inputs), v^T J): the product of a vector, shaped as the outputs, with the Jacobian."""
    with enable_grad():
        several, xs = as_tuple(inputs, "inputs", "vjp")
        xs = tracked(xs, create_graph)
        several_out, outs = as_tuple(func(*xs), "outputs of the user-provided function", "vjp")
        products = gradients(outs, xs, vector_of(v, outs, "output", "vjp"), create_graph, strict, "vjp")
    return settled(shaped(several_out, outs), create_graph), settled(shaped(several, products), create_graph)


def jvp(func, inputs, v=None, create_graph: bool = False, strict: bool = False):
    """(func(inputs), J v): the product of the Jacobian with a vector shaped as the inputs; by differentiating the backward pass."""
    from ..ops.dispatch import PUBLIC
    with enable_grad():
        _, xs = as_tuple(inputs, "inputs", "jvp")
        vs = vector_of(v, xs, "input", "jvp")
        xs = tracked(xs, create_graph)
        several, outs = as_tuple(func(*xs), "outputs of the user-provided function", "jvp")
        dummies = tuple(PUBLIC["zeros_like"](o).detach().requires_grad_(True) for o in outs)
        first = gradients(outs, xs, dummies, True, strict, "jvp")
        products = gradients(first, dummies, vs, create_graph)
    return settled(shaped(several, outs), create_graph), settled(shaped(several, products), create_graph)


def scalar_of(func, xs: tuple, name: str):
    several, outs = as_tuple(func(*xs), "outputs of the user-provided function", name)
    if several or outs[0]._meta.numel != 1:
        raise RuntimeError(f"The function given to {name} should return a single Tensor with one element")
    return outs[0].reshape(()) if outs[0].ndim else outs[0]


def vhp(func, inputs, v=None, create_graph: bool = False, strict: bool = False):
    """(func(inputs), v^T H), with the Hessian H of a function with one number as its result."""
    with enable_grad():
        several, xs = as_tuple(inputs, "inputs", "vhp")
        vs = vector_of(v, xs, "input", "vhp")
        xs = tracked(xs, create_graph)
        out = scalar_of(func, xs, "vhp")
        first = gradients((out,), xs, None, True, strict, "vhp")
        products = gradients(first, xs, vs, create_graph)
    return settled(out, create_graph), settled(shaped(several, products), create_graph)


def hvp(func, inputs, v=None, create_graph: bool = False, strict: bool = False):
    """(func(inputs), H v): the same as `vhp`, Hessians being symmetric."""
    return vhp(func, inputs, v, create_graph, strict)


def jacobian(func, inputs, create_graph: bool = False, strict: bool = False, vectorize: bool = False, strategy: str = "reverse-mode"):
    """The derivatives of every output element in every input element: output shape, then input shape. Of several inputs (outputs) tuples.

    >>> import jitorch as torch
    >>> torch.autograd.functional.jacobian(lambda x: x ** 2, torch.tensor([1., 3.]))
    tensor([[2., 0.],
            [0., 6.]])
    """
    from ..ops.dispatch import PUBLIC
    if strategy not in ("reverse-mode", "forward-mode"):
        raise AssertionError("Expected strategy to be either 'reverse-mode' or 'forward-mode'. Hint: If your function has more outputs than "
                             "inputs, 'forward-mode' tends to be more performant. Otherwise, prefer to use 'reverse-mode'.")
    with enable_grad():
        several, xs = as_tuple(inputs, "inputs", "jacobian")
        xs = tracked(xs, create_graph)
        several_out, outs = as_tuple(func(*xs), "outputs of the user-provided function", "jacobian")
        made = []
        for out in outs:
            rows = [gradients((element,), xs, None, create_graph, strict, "jacobian") for element in out.reshape(-1).unbind(0)]
            made.append(tuple(
                PUBLIC["stack"]([row[i] for row in rows]).reshape((*out.shape, *x.shape)) if rows else x.new_zeros((*out.shape, *x.shape))
                for i, x in enumerate(xs)))
    result = tuple(settled(shaped(several, parts), create_graph) for parts in made)
    return shaped(several_out, result)


def hessian(func, inputs, create_graph: bool = False, strict: bool = False, vectorize: bool = False, outer_jacobian_strategy: str = "reverse-mode"):
    """The second derivatives of a function with one number as its result: input shape twice; of several inputs a tuple of tuples."""
    several, xs = as_tuple(inputs, "inputs", "hessian")

    def first(*args):
        out = scalar_of(func, args, "hessian")
        return gradients((out,), args, None, True, strict, "hessian")

    result = jacobian(first, xs, create_graph, strict)
    return result if several else result[0][0]

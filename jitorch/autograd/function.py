"""`autograd.Function`: operations with a gradient of the user's own."""
from __future__ import annotations

import functools
from typing import Any

from .node import Entry, GradNode, Record, connect, state


class _Entry(Entry):
    """A user's Function."""

    def __init__(self, cls):
        self.name, self.grad_name, self.vjp = cls.__name__, cls.__name__ + "Backward", self.backward
        self.cls = cls

    def backward(self, node: GradNode, *grads: Any):
        ctx = node.attrs[0]
        ctx.needs_input_grad = ctx._tensor_needs
        if ctx._materialize:
            from ..ops.dispatch import PUBLIC
            grads = tuple(PUBLIC["zeros"](tuple(m.shape), dtype=m.dtype) if g is None else g for g, m in zip(grads, node.out_metas))
        cls = self.cls
        got = (cls.backward if cls.vjp is Function.vjp else cls.vjp)(ctx, *grads)
        got = tuple(got) if isinstance(got, (tuple, list)) else (got,)
        n = len(ctx._is_tensor)
        if len(got) < n or any(g is not None for g in got[n:]):
            raise RuntimeError(f"function {self.grad_name} returned an incorrect number of gradients (expected {n}, got {len(got)})")
        found = tuple(g for g, is_tensor in zip(got, ctx._is_tensor) if is_tensor)
        for i, (g, m) in enumerate(zip(found, node.metas)):
            if g is not None:
                check_gradient(self.grad_name, i, g, m)
        return found


def check_gradient(name: str, i: int, g, meta) -> None:
    """A user's gradient has its input's shape, or one that this was broadcast to."""
    if not hasattr(g, "_meta"):
        raise TypeError(f"expected Variable or None (got {type(g).__name__})")
    if g.shape == meta.shape:
        return
    missing = len(g.shape) - len(meta.shape)
    if missing < 0 or any(n not in (1, k) for n, k in zip(meta.shape, g.shape[missing:])):
        raise RuntimeError(f"Function {name} returned an invalid gradient at index {i} - got {list(g.shape)} but expected shape compatible with "
                           f"{list(meta.shape)}")


def once_differentiable(fn):
    """A `backward` that is not written to be differentiated: what it gives has no history, and asking for one is an error.

    >>> import jitorch as torch
    >>> class Square(torch.autograd.Function):
    ...     @staticmethod
    ...     def forward(ctx, x):
    ...         ctx.save_for_backward(x)
    ...         return x * x
    ...     @staticmethod
    ...     @torch.autograd.function.once_differentiable
    ...     def backward(ctx, g):
    ...         x, = ctx.saved_tensors
    ...         return 2 * x * g
    >>> x = torch.ones(1, requires_grad=True)
    >>> torch.autograd.grad(Square.apply(x), x)
    (tensor([2.]),)
    """
    @functools.wraps(fn)
    def wrapper(ctx, *args):
        from ..ops.dispatch import Tensor
        was, state.enabled = state.enabled, False
        try:
            outs = fn(ctx, *args)
        finally:
            state.enabled = was
        if not was or not any(isinstance(a, Tensor) and a.requires_grad for a in args):
            return outs
        several = isinstance(outs, tuple)
        made = tuple(refused(o) if isinstance(o, Tensor) else o for o in (outs if several else (outs,)))
        return made if several else made[0]

    return wrapper


class _Refusal(Entry):
    """The history of what a once differentiable function gave."""

    name, grad_name, lasting = "once_differentiable", "torch::autograd::Error", True

    def __init__(self):
        self.vjp = self.refuse

    def refuse(self, node, *grads):
        raise RuntimeError("trying to differentiate twice a function that was marked with @once_differentiable")


_refusal = _Refusal()


def refused(t):
    """t, with a history that can't be differentiated."""
    out, source = t.detach(), t.detach()
    if t.dtype.differentiable:
        source.requires_grad_(True)
        out._grad_fn, out._rg = connect(Record(_refusal, (), (t._meta,), (t._meta,)), (source,)), True
    return out


class FunctionCtx:
    """What `forward` leaves for `backward`: `save_for_backward`, `saved_tensors`, and any attribute."""

    def __init__(self):
        self._saved: tuple = ()
        self._materialize = True
        self._no_grad: set[int] = set()
        self._dirty: tuple = ()
        self.needs_input_grad: tuple = ()

    def save_for_backward(self, *tensors) -> None:
        self._saved = tuple((t, None if t is None else t._storage.version) for t in tensors)

    @property
    def saved_tensors(self) -> tuple:
        for t, version in self._saved:
            if t is not None and t._storage.version != version:
                raise RuntimeError("one of the variables needed for gradient computation has been modified by an inplace operation: "
                                   f"[torch.{t.dtype.label}Tensor {list(t.shape)}] is at version {t._storage.version}; expected version {version} instead.")
        return tuple(t for t, _ in self._saved)

    def mark_dirty(self, *tensors) -> None:
        self._dirty = tensors

    def mark_non_differentiable(self, *tensors) -> None:
        self._no_grad = {id(t) for t in tensors}

    def set_materialize_grads(self, value: bool) -> None:
        self._materialize = value


class Function:
    """Subclass with static `forward(ctx, *args)` and `backward(ctx, *grads)`; call with `apply`.

    >>> import jitorch as torch
    >>> class Double(torch.autograd.Function):
    ...     @staticmethod
    ...     def forward(ctx, x):
    ...         return x * 2
    ...     @staticmethod
    ...     def backward(ctx, g):
    ...         return g * 2
    >>> x = torch.ones(2, requires_grad=True)
    >>> Double.apply(x).sum().backward()
    >>> x.grad
    tensor([2., 2.])
    """

    @staticmethod
    def forward(ctx, *args, **kwargs):
        raise NotImplementedError("You must implement the forward function for custom autograd.Function.")

    @staticmethod
    def backward(ctx, *grads):
        raise NotImplementedError("You must implement either the backward or vjp method for your custom autograd.Function to use it with backward mode AD.")

    vjp = backward

    def __call__(self, *args, **kwargs):
        raise RuntimeError("Legacy autograd function with non-static forward method is deprecated. Please use new-style autograd function with "
                           f"static forward method: {type(self).__name__}.apply(...)")

    @classmethod
    def apply(cls, *args, **kwargs):
        from ..ops.dispatch import Tensor
        ctx = FunctionCtx()
        ctx._is_tensor = [isinstance(a, Tensor) for a in args]
        tensors = tuple(a for a in args if isinstance(a, Tensor) and a._storage is not None)     # raises Mapped in a vmap: slice by slice
        ctx._tensor_needs = ctx.needs_input_grad = tuple(isinstance(a, Tensor) and a.requires_grad for a in args)
        was, state.enabled = state.enabled, False
        try:
            if cls.setup_context is Function.setup_context:
                out = cls.forward(ctx, *args, **kwargs)
            else:
                out = cls.forward(*args, **kwargs)
                cls.setup_context(ctx, args, out)
        finally:
            state.enabled = was
        outs = out if isinstance(out, tuple) else (out,)
        if was and any(t.requires_grad for t in tensors):
            results = tuple(o._meta for o in outs if isinstance(o, Tensor))
            node = connect(Record(_Entry(cls), (ctx,), tuple(t._meta for t in tensors), results), tensors)
            made, nr = [], 0
            for o in outs:
                if isinstance(o, Tensor):
                    kept = id(o) in ctx._no_grad or not o.dtype.differentiable
                    written = o if any(o is t for t in ctx._dirty) else None
                    if any(o is t for t in tensors):
                        o = o._alias()
                    if not kept:
                        o._grad_fn, o._output_nr, o._rg = node, nr, True
                    if written is not None:
                        o = overwritten(written, o)
                    nr += 1
                made.append(o)
            outs = tuple(made)
        return outs if isinstance(out, tuple) else outs[0]

    @staticmethod
    def setup_context(ctx, inputs, output):
        raise NotImplementedError


class InplaceFunction(Function):
    """A Function that programs derive from where it writes in place; `mark_dirty` is what matters."""


def overwritten(t, result):
    """t, which a forward has written to: its history is now the result's."""
    from ..tensor import check_writable, rebase
    check_writable(t)
    if result._rg:
        rebase(t, result)
    return t

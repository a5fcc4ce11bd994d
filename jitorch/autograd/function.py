"""`autograd.Function`: operations with a gradient of the user's own."""
from __future__ import annotations

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
        got = self.cls.backward(ctx, *grads)
        got = got if isinstance(got, tuple) else (got,)
        if len(got) < len(ctx._is_tensor):
            raise RuntimeError(f"function {self.grad_name} returned an incorrect number of gradients (expected {len(ctx._is_tensor)}, got {len(got)})")
        return tuple(g for g, is_tensor in zip(got, ctx._is_tensor) if is_tensor)


class FunctionCtx:
    """What `forward` leaves for `backward`: `save_for_backward`, `saved_tensors`, and any attribute."""

    def __init__(self):
        self._saved: tuple = ()
        self._materialize = True
        self._no_grad: set[int] = set()
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

    @classmethod
    def apply(cls, *args, **kwargs):
        from ..ops.dispatch import Tensor
        ctx = FunctionCtx()
        ctx._is_tensor = [isinstance(a, Tensor) for a in args]
        tensors = tuple(a for a in args if isinstance(a, Tensor))
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
                    if any(o is t for t in tensors):
                        o = o._alias()
                    if not kept:
                        o._grad_fn, o._output_nr, o._rg = node, nr, True
                    nr += 1
                made.append(o)
            outs = tuple(made)
        return outs if isinstance(out, tuple) else outs[0]

    @staticmethod
    def setup_context(ctx, inputs, output):
        raise NotImplementedError

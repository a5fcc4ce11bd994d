"""Reverse-mode differentiation: `backward`, `grad`, and the switches that turn recording on and off."""
from __future__ import annotations

import functools
from collections.abc import Sequence

from . import engine
from .node import state

__all__ = ["Function", "GradcheckError", "Variable", "backward", "detect_anomaly", "enable_grad", "grad", "gradcheck", "gradgradcheck",
           "inference_mode", "is_grad_enabled", "no_grad", "set_detect_anomaly", "set_grad_enabled"]


def backward(tensors, grad_tensors=None, retain_graph: bool | None = None, create_graph: bool = False, *, inputs=None) -> None:
    """Accumulate the gradients of `tensors` into the leaves' `.grad`.

    grad_tensors: one per tensor, of its shape; may be omitted for one-element tensors. Raises RuntimeError otherwise, or
    where a tensor has no history.
    """
    roots, gradients = prepare(tensors, grad_tensors, create_graph)
    keep = create_graph if retain_graph is None else retain_graph
    if inputs is not None:
        inputs = as_sequence(inputs)
        if not inputs:
            raise RuntimeError("'inputs' argument to backward() cannot be empty.")
    engine.run(roots, gradients, keep=keep, create=create_graph, wanted=inputs)


def grad(outputs, inputs, grad_outputs=None, retain_graph: bool | None = None, create_graph: bool = False,
         allow_unused: bool | None = None, is_grads_batched: bool = False, materialize_grads: bool = False) -> tuple:
    """The gradients of `outputs` with respect to `inputs`, as a tuple; `.grad` is left alone.

    Raises RuntimeError for an input that the outputs don't depend on, unless allow_unused (then None) or materialize_grads (zeros).

    >>> import jitorch as torch
    >>> x = torch.tensor(3., requires_grad=True)
    >>> g, = torch.autograd.grad(x ** 3, x, create_graph=True)
    >>> torch.autograd.grad(g, x)
    (tensor(18.),)
    """
    inputs = as_sequence(inputs)
    from ..ops.dispatch import maps
    if maps.levels and not is_grads_batched:
        from ..ops.batching import gradients, is_batched
        if any(map(is_batched, (*as_sequence(outputs), *inputs))):
            given = (None,) * len(as_sequence(outputs)) if grad_outputs is None else as_sequence(grad_outputs)
            return gradients(as_sequence(outputs), inputs, given, retain_graph=retain_graph, create_graph=create_graph, allow_unused=allow_unused,
                             materialize_grads=materialize_grads)
    if is_grads_batched:
        return batched_grad(outputs, inputs, grad_outputs, retain_graph, create_graph, allow_unused, materialize_grads)
    for t in inputs:
        if not t.requires_grad:
            raise RuntimeError("One of the differentiated Tensors does not require grad")
    roots, gradients = prepare(outputs, grad_outputs, create_graph)
    keep = create_graph if retain_graph is None else retain_graph
    captured = engine.run(roots, gradients, keep=keep, create=create_graph, wanted=inputs, accumulate=False)
    results: list = []
    for t in inputs:
        g = captured.get(id(t))
        if g is None and materialize_grads:
            from ..ops.dispatch import PUBLIC
            g = PUBLIC["zeros_like"](t)
        if g is None and not allow_unused:
            raise RuntimeError(f"The differentiated Tensor at index {len(results)} appears to not have been used in the graph. "
                               "Set allow_unused=True if this is the desired behavior.")
        results.append(g)
    return tuple(results)


def batched_grad(outputs, inputs: tuple, grad_outputs, retain_graph, create_graph, allow_unused, materialize_grads) -> tuple:
    """`grad` for each of the vectors that grad_outputs hold along their first dimension, stacked."""
    from ..ops.dispatch import PUBLIC
    keep = create_graph if retain_graph is None else retain_graph
    given = [None if g is None else g.unbind(0) for g in as_sequence(grad_outputs)]
    n = next((len(g) for g in given if g is not None), 0)
    if not n:
        raise RuntimeError("grad(): with is_grads_batched=True grad_outputs have to hold the vectors along their first dimension")
    rows = [grad(outputs, inputs, [None if g is None else g[i] for g in given], keep or i < n - 1, create_graph, allow_unused,
                 materialize_grads=materialize_grads) for i in range(n)]
    return tuple(None if column[0] is None else PUBLIC["stack"](column) for column in zip(*rows))


def as_sequence(x) -> tuple:
    return tuple(x) if isinstance(x, Sequence) and not hasattr(x, "_storage") else (x,)


def prepare(tensors, gradients, create_graph: bool):
    """The roots of a backward pass, and a gradient of the right shape for each, None for ones. Raises PyTorch's errors."""
    roots = as_sequence(tensors)
    gradients = (None,) * len(roots) if gradients is None else as_sequence(gradients)
    assert all(root._storage is not None for root in roots)     # raises Mapped for a slice of a mapped dimension
    if len(roots) != len(gradients):
        raise RuntimeError(f"got {len(roots)} tensors and {len(gradients)} gradients")
    made = []
    for i, (root, g) in enumerate(zip(roots, gradients)):
        if not root.requires_grad:
            raise RuntimeError(f"element {i} of tensors does not require grad and does not have a grad_fn")
        if g is None:
            if root._meta.numel != 1:
                raise RuntimeError("grad can be implicitly created only for scalar outputs")
            if root._meta.dtype.is_complex:
                raise RuntimeError(f"grad can be implicitly created only for real scalar outputs but got {root.dtype}")
        elif g.shape != root.shape:
            raise RuntimeError(f"Mismatch in shape: grad_output[{i}] has a shape of {g.shape} and output[{i}] has a shape of {root.shape}.")
        made.append(g if create_graph or g is None else g.detach())
    return roots, made


class _GradMode:
    """Sets whether history is recorded, as a context manager or decorator; restores what was."""

    mode = True

    def __enter__(self):
        self.was = state.enabled
        state.enabled = self.mode

    def __exit__(self, *exc):
        state.enabled = self.was

    def __call__(self, fn):
        if isinstance(fn, type):
            raise RuntimeError(f"{type(self).__name__} can't decorate a class: decorate its methods")
        kind = type(self)

        @functools.wraps(fn)
        def wrapped(*args, **kwargs):
            with kind():
                return fn(*args, **kwargs)
        return wrapped


class no_grad(_GradMode):
    """Within it nothing is recorded for backward. A context manager and a decorator.

    >>> import jitorch as torch
    >>> x = torch.ones(2, requires_grad=True)
    >>> with torch.no_grad():
    ...     (x * 2).requires_grad
    False
    """

    mode = False

    def __new__(cls, fn=None):
        made = object.__new__(cls)
        return made(fn) if callable(fn) else made


class enable_grad(_GradMode):
    """Within it recording is on again (inside `no_grad`)."""

    def __new__(cls, fn=None):
        made = object.__new__(cls)
        return made(fn) if callable(fn) else made


class inference_mode(_GradMode):
    """As `no_grad`, with an answer of its own to `is_inference_mode_enabled`."""

    def __init__(self, mode: bool = True):
        self.inference = mode if isinstance(mode, bool) else True
        self.mode = not self.inference

    def __enter__(self):
        super().__enter__()
        self.was_inference, state.inference = state.inference, self.inference

    def __exit__(self, *exc):
        super().__exit__(*exc)
        state.inference = self.was_inference

    def __new__(cls, mode=True):
        made = object.__new__(cls)
        if callable(mode):
            made.__init__(True)
            return made(mode)
        return made


class set_grad_enabled(_GradMode):
    """Turn recording on or off, at once, and as a context manager until its end."""

    def __init__(self, mode: bool):
        self.before = state.enabled
        self.mode = bool(mode)
        state.enabled = self.mode

    def __enter__(self):
        self.was = self.before
        state.enabled = self.mode

    def __call__(self, fn):
        state.enabled = self.before
        mode = self.mode

        @functools.wraps(fn)
        def wrapped(*args, **kwargs):
            with set_grad_enabled(mode):
                return fn(*args, **kwargs)
        return wrapped


def is_grad_enabled() -> bool:
    """Whether operations are being recorded for backward in this thread."""
    return state.enabled


from .anomaly import detect_anomaly, set_detect_anomaly  # noqa: E402
from .function import Function  # noqa: E402


def Variable(tensor, requires_grad: bool = False, volatile: bool = False):
    """A tensor is its own variable: kept for old programs. Returns the tensor itself with `requires_grad` set."""
    if requires_grad:
        tensor = tensor.detach() if tensor.grad_fn is not None else tensor._alias()
        tensor.requires_grad_(True)
    return tensor


def __getattr__(name: str):
    """What is imported when it is first asked for."""
    import importlib
    if name in ("functional", "graph"):
        return importlib.import_module("." + name, __name__)
    raise AttributeError(f"module 'jitorch.autograd' has no attribute '{name}'")


# last, since it needs what is above; at once, since importing a module puts it in the place of its function of the same name
from .gradcheck import GradcheckError, gradcheck, gradgradcheck  # noqa: E402

"""Activations that are computed again in the backward pass instead of being kept: `torch.utils.checkpoint`."""

from __future__ import annotations

from contextlib import nullcontext

from .. import autograd
from ..autograd.engine import target_of
from ..autograd.node import GradNode
from ..ops.random import get_rng_state, set_rng_state
from ._pytree import tree_flatten, tree_unflatten

__all__ = ["checkpoint", "checkpoint_sequential", "noop_context_fn"]


def is_tensor(x) -> bool:
    return hasattr(x, "_meta")


def leaves_behind(outputs, inputs) -> list:
    """The leaves that require grad (a module's parameters) which outputs depend on, but for the inputs."""
    known = {id(x) for x in inputs}
    found, seen = [], set()
    stack = [o.grad_fn for o in outputs if o.grad_fn is not None]
    while stack:
        node = stack.pop()
        if node in seen:
            continue
        seen.add(node)
        for edge in node.edges:
            target = target_of(edge)
            if isinstance(target, GradNode):
                stack.append(target)
            elif target is not None and id(target) not in known:
                known.add(id(target))
                found.append(target)
    return found


class _Recompute(autograd.Function):
    """Gives outputs that were computed already; its backward computes them again, with history, and differentiates."""

    @staticmethod
    def forward(ctx, run, outputs, count, *tensors):
        ctx.run, ctx.count = run, count
        ctx.save_for_backward(*tensors)
        return tuple(o.detach() for o in outputs)

    @staticmethod
    def backward(ctx, *grads):
        tensors = ctx.saved_tensors
        again = autograd.is_grad_enabled()
        with autograd.enable_grad():
            args = [x.view_as(x) if again and x.requires_grad else x.detach().requires_grad_(x.requires_grad) for x in tensors[: ctx.count]]
            outputs = ctx.run(args)
            wanted = [x for x in (*args, *tensors[ctx.count :]) if x.requires_grad]
            live = [(o, g) for o, g in zip(outputs, grads, strict=True) if o.requires_grad and g is not None]
            found = iter(autograd.grad([o for o, _ in live], wanted, [g for _, g in live], create_graph=again, allow_unused=True))
        return (None, None, None, *(next(found) if x.requires_grad else None for x in (*args, *tensors[ctx.count :])))


def noop_context_fn():
    """Two contexts that do nothing: what `context_fn` gives unless told otherwise."""
    return nullcontext(), nullcontext()


def checkpoint(function, *args, use_reentrant: bool | None = None, context_fn=noop_context_fn, determinism_check: str = "default", debug: bool = False,
               early_stop: bool = True, preserve_rng_state: bool = True, **kwargs):
    """function(*args, **kwargs), whose intermediate values are not kept for the backward pass but computed again there.

    preserve_rng_state: random numbers are drawn again as they were. Works inside `autograd.grad` and for gradients of gradients too,
    whatever use_reentrant says. Where forward and backward are one program, jitorch computes cheap values again anyway.

    >>> import jitorch as torch
    >>> from jitorch.utils.checkpoint import checkpoint
    >>> x = torch.ones(2, requires_grad=True)
    >>> checkpoint(lambda v: (v * 3).exp(), x, use_reentrant=False).sum().backward()
    >>> x.grad
    tensor([60.2566, 60.2566])
    """
    flat, spec = tree_flatten((args, kwargs))
    places = [i for i, x in enumerate(flat) if is_tensor(x)]
    first, second = context_fn()
    state = get_rng_state() if preserve_rng_state else None

    def call(tensors):
        given = list(flat)
        for i, x in zip(places, tensors, strict=True):
            given[i] = x
        positional, named = tree_unflatten(given, spec)
        return function(*positional, **named)

    with first:
        result = call([flat[i] for i in places])
    outputs, out_spec = tree_flatten(result)
    tracked = [k for k, o in enumerate(outputs) if is_tensor(o) and o.requires_grad]
    if not autograd.is_grad_enabled() or not tracked:
        return result
    kept = [outputs[k] for k in tracked]
    inputs = [flat[i] for i in places]

    def again(tensors):
        now = get_rng_state() if state is not None else None
        if state is not None:
            set_rng_state(state)
        try:
            with second:
                leaves = tree_flatten(call(tensors))[0]
        finally:
            if now is not None:
                set_rng_state(now)
        return [leaves[k] for k in tracked]

    made = _Recompute.apply(again, kept, len(inputs), *inputs, *leaves_behind(kept, inputs))
    for k, o in zip(tracked, made, strict=True):
        outputs[k] = o
    return tree_unflatten(outputs, out_spec)


def checkpoint_sequential(functions, segments: int, input, use_reentrant: bool | None = None, preserve_rng_state: bool = True, **kwargs):
    """A sequence of modules in so many segments, each a `checkpoint` but for the last."""
    functions = list(functions.children()) if hasattr(functions, "children") else list(functions)

    def run(part):
        def call(x):
            for f in part:
                x = f(x)
            return x

        return call

    size = len(functions) // segments
    for start in range(0, size * (segments - 1), size):
        input = checkpoint(run(functions[start : start + size]), input, use_reentrant=use_reentrant, preserve_rng_state=preserve_rng_state)
    return run(functions[size * (segments - 1) :])(input)

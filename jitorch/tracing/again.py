"""Gradients of a replayed call: the backward pass runs the function once more, as Python, and differentiates that.

A replay records no history. So its results get one node, whose rule calls the function again with the history recorded.
That costs the forward pass twice; a function whose result was differentiated once is therefore run as Python from then
on. Only calls that change nothing (no statistics, no random numbers) are replayed this way.
"""

from __future__ import annotations

from typing import Any

from ..autograd import grad
from ..autograd.node import Entry, Record, connect
from ..autograd.node import state as autograd_state
from ..tensor import Tensor
from .capture import Slot

LIVE = "live"       # in an ending: in place of what is spent


class Again(Entry):
    """The rule of such a node."""

    name = "traced"
    grad_name = "TracedBackward0"

    def __init__(self, capture: Any, function: Any, args: tuple, kwargs: dict, inputs: int):
        self.capture, self.function, self.args, self.kwargs = capture, function, args, kwargs
        self.saves = tuple(range(inputs))

    def vjp(self, ctx, *grads):
        inputs = [ctx.input(i) for i in self.saves]
        broken = self.capture.broken()
        if broken is not None:
            raise RuntimeError(
                f"{broken} was changed between a call of {self.function} and the backward pass through its result, which needs it as it was. "
                "Run the backward pass first, or trace the whole step")
        was, autograd_state.enabled = autograd_state.enabled, True
        try:
            made = live_tensors(self.function(*self.args, **self.kwargs))
        finally:
            autograd_state.enabled = was
        self.capture.eager = "its result is differentiated (trace the whole step, and its backward pass is replayed too)"
        pairs = [(t, g) for t, g in zip(made, grads, strict=True) if g is not None]
        return grad([t for t, _ in pairs], inputs, [g for _, g in pairs], create_graph=was, allow_unused=True)


def live_tensors(result: Any) -> list[Tensor]:
    """The tensors of a result that have a history, each once, in order."""
    found: dict[int, Tensor] = {}
    stack = [result]
    while stack:
        x = stack.pop()
        if isinstance(x, Tensor):
            if x.grad_fn is not None:
                found.setdefault(id(x), x)
        elif isinstance(x, (tuple, list)):
            stack.extend(reversed(x))
        elif isinstance(x, dict):
            stack.extend(reversed(list(x.values())))
    return list(found.values())


def live_numbers(result: Any, tensors: list[tuple]) -> list[int]:
    """The same of an ending's result: the numbers of those tensors."""
    found: dict[int, None] = {}
    stack = [result]
    while stack:
        x = stack.pop()
        if isinstance(x, Slot):
            if not x.read and tensors[x.number][0] == "new" and tensors[x.number][5] == LIVE:
                found.setdefault(x.number)
        elif isinstance(x, (tuple, list)):
            stack.extend(reversed(x))
        elif isinstance(x, dict):
            stack.extend(reversed(list(x.values())))
    return list(found)


def attach(made: list[Tensor], rule: Again, inputs: list[Tensor]) -> None:
    """Give the results of a replay their history."""
    node = connect(Record(rule, (), tuple([t._meta for t in inputs]), tuple([t._meta for t in made])), tuple(inputs))
    for nr, t in enumerate(made):
        t._grad_fn, t._output_nr, t._rg = node, nr, True

"""Hooks on modules: handles that take them away again, and the gradients that backward hooks see."""

from __future__ import annotations

import itertools
import weakref
from collections import OrderedDict

from ...autograd.node import Entry, Record, connect
from ...changes import changed
from ...tensor import Tensor

_numbers = itertools.count()


class HookHandle:
    """Returned by the `register_..._hook` methods; `remove()` takes the hook away. A context manager too.

    The hook goes into `table`, an ordered dict, last unless prepend.
    """

    def __init__(self, table: OrderedDict, hook, prepend: bool = False):
        changed()
        self.id = next(_numbers)
        self.table = weakref.ref(table)
        table[self.id] = hook
        if prepend:
            table.move_to_end(self.id, last=False)

    def remove(self) -> None:
        changed()
        table = self.table()
        if table is not None:
            table.pop(self.id, None)

    def __enter__(self) -> HookHandle:
        return self

    def __exit__(self, *exc) -> None:
        self.remove()


class HookTable(OrderedDict):
    """Hooks in order of registration. (A subclass, because handles refer to it weakly.)"""


class Gate(Entry):
    """An entry for the backward graph: gradients pass through `passed`, which may replace them."""

    name = "module_hook"
    grad_name = "BackwardHookFunctionBackward"

    def __init__(self, passed):
        self.passed = passed

    def vjp(self, ctx, *grads):
        return self.passed(grads)


def through_gate(values: tuple, passed) -> tuple[tuple, bool]:
    """`values` with one backward node behind its floating point tensors: `passed(gradients of all values)` runs when
    theirs arrive.

    As in PyTorch, where one of them requires grad hooks see the gradients of all. Returns the new values, and whether
    any requires grad.
    """
    places = [i for i, v in enumerate(values) if isinstance(v, Tensor) and v.dtype.is_floating_point]
    if not any(values[i].requires_grad for i in places):
        return values, False
    inputs = tuple(values[i] for i in places)
    metas = tuple(t._meta for t in inputs)

    def spread(grads):
        full = [None] * len(values)
        for i, g in zip(places, grads, strict=True):
            full[i] = g
        full = passed(tuple(full))
        return tuple(full[i] for i in places)

    node = connect(Record(Gate(spread), (), metas, metas), inputs)
    out = list(values)
    for nr, i in enumerate(places):
        out[i] = alias = values[i]._alias()
        alias._grad_fn, alias._output_nr, alias._rg = node, nr, True
    return tuple(out), True


class BackwardHooks:
    """One call of a module with full backward hooks: gates before its inputs and behind its outputs."""

    def __init__(self, module, hooks: list, pre_hooks: list):
        self.module, self.hooks, self.pre_hooks = module, hooks, pre_hooks
        self.grad_output: tuple | None = None
        self.n_inputs, self.gated_inputs = 0, False

    def inputs(self, args: tuple) -> tuple:
        self.n_inputs = len(args)
        args, self.gated_inputs = through_gate(args, self.finish)
        return args

    def outputs(self, result):
        single = isinstance(result, Tensor)
        if not single and not isinstance(result, tuple):
            return result
        values, _ = through_gate((result,) if single else result, self.start)
        return values[0] if single else values if type(result) is tuple else type(result)(*values)

    def start(self, grads: tuple) -> tuple:
        """Gradients of the outputs have arrived: pre-hooks may replace them."""
        for hook in self.pre_hooks:
            changed = hook(self.module, grads)
            if changed is not None:
                grads = changed if isinstance(changed, tuple) else (changed,)
        self.grad_output = grads
        if not self.gated_inputs:
            self.finish((None,) * self.n_inputs)
        return grads

    def finish(self, grads: tuple) -> tuple:
        """Gradients of the inputs have arrived: hooks may replace them."""
        if self.grad_output is None:
            raise RuntimeError(
                "Module backward hook for grad_input is called before the grad_output one. This happens because the "
                "gradient in your nn.Module flows to the Module's input without passing through the Module's output. "
                "Make sure that the output depends on the input and that the loss is computed based on the output."
            )
        for hook in self.hooks:
            changed = hook(self.module, grads, self.grad_output)
            if changed is not None:
                changed = changed if isinstance(changed, tuple) else (changed,)
                if len(changed) != len(grads):
                    raise RuntimeError(
                        f"Backward hook returned an invalid number of grad_input, got {len(changed)}, but expected "
                        f"{len(grads)}"
                    )
                grads = changed
        self.grad_output = None
        return grads

"""One op for the steps of optimizers: a rule applied to many parameters at once, so that a step costs one record, not
ten a parameter.

A rule is a formula (see formulas.py): `rule(m, flags, p, g, *states, *numbers)` gives the new parameter and states. The
same rule serves the reference, the lowering and differentiable steps. Rules are written in jitorch/optim.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from ..graph.record import Meta, local
from ..tensor import assign
from .dispatch import Op, apply, find
from .formulas import NUMPY, TENSORS


def split(values: Sequence, width: int, count: int):
    """Operands as a list of (parameter, gradient, states...), and the numbers behind them."""
    return [values[i * width : (i + 1) * width] for i in range(count)], values[width * count :]


def infer(*args):
    *metas, rule, flags, width, count = args
    rows, _ = split(metas, width, count)
    for p, *others in rows:
        for m in others:
            if m.shape != p.shape or m.dtype is not p.dtype:
                raise RuntimeError(
                    f"optimizer step: gradient and state must have the shape and dtype of their parameter, {p}, but "
                    f"got {m}"
                )
    return tuple(Meta(m.shape, m.dtype) for row in rows for m in (row[0], *row[2:]))


def reference(*args):
    *arrays, rule, flags, width, count = args
    rows, numbers = split(arrays, width, count)
    with np.errstate(all="ignore"):
        return tuple(x for row in rows for x in rule(NUMPY, flags, *row, *numbers))


def lower(b, *args):
    *values, rule, flags, width, count = args
    rows, numbers = split(values, width, count)
    made = []
    for row in rows:
        dtype = row[0].dtype
        made += rule(b, flags, *row, *(b.cast(n, dtype) if hasattr(n, "kind") else n for n in numbers))
    return tuple(made)


# The numbers (learning rate, bias corrections) change at every step: run-time scalars from the start.
step_op = Op("optimizer_step", infer=infer, reference=reference, lower=lower, runtime=True)


def update(rule: Callable, flags: tuple, rows: list[tuple], numbers: tuple, differentiable: bool = False) -> None:
    """Apply `rule` to rows of (parameter, gradient, states...), which get their new values in place.

    flags: hashable settings that choose the formula. numbers: those that may change from step to step.
    """
    width = len(rows[0])
    if differentiable:
        for p, g, *states in rows:
            for t, new in zip(
                (p, *states), rule(TENSORS, flags, p, g, *(s.clone() for s in states), *numbers), strict=True
            ):
                t.copy_(new)
        return
    tape = local.tape
    targets = [t for row in rows for t in (row[0], *row[2:])]
    if tape.sliced and any([t._storage in tape.sliced for t in targets]):
        tape.flush()        # parts of the old values were entered as leaves of their own: they are read before these go
    inputs, attrs = tuple([x for row in rows for x in row]) + numbers, (rule, flags, width, len(rows))
    if all([t._meta is (s := t._storage).meta and s.shared is None and not t._untracked for t in targets]):
        with tape.alone:
            _, _, node, scalars, _ = find(tape, step_op, inputs, attrs)
            tape.scalars[node.scalar_index:] = scalars
            tape.node = node
            for slot, t in enumerate(targets, node.index):      # whole buffers that only tensors see: `assign` without its checks
                s = t._storage
                tape.take_over(s, slot)
                s.version += 1
    else:
        results = apply(step_op, inputs, attrs)
        for t, result in zip(targets, results if len(targets) > 1 else (results,), strict=True):
            assign(t, result)
    if tape.node.index > tape.limit:
        tape.flush()

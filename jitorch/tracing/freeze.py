"""Programs of a frozen module: its parameters are constants, so what depends on them alone is computed once.

`folded` evaluates every operation on constants, and folds a batch normalization with fixed statistics into the
convolution before it: with s = weight / sqrt(var + eps), it is convolution by s * kernel, plus (bias - mean) * s + shift.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..graph.program import Program, Step, evaluate
from ..graph.record import Meta
from ..ops.dispatch import OPS
from .capture import Event, Made, Run, Session

MOST_GROWTH = 4     # an operation on constants is not computed before where its result is so many times larger than they are


def frozen_path(session: Session) -> list[Event]:
    """A session's path with constants folded into its programs."""
    path: list[Event] = []
    count = sum(isinstance(e, Made) for e in session.path)
    for event in session.path:
        if not isinstance(event, Run):
            path.append(event)
            continue
        program = event.program
        known, specs = {}, dict(zip(program.leaf_slots, event.leaves, strict=True))
        homes = {home for _, home in program.wanted}
        for step in program.leaves:
            place, start, _ = specs[step.index]
            if place[0] == "own" and place[1] >= len(session.arguments) and start is None and step.index not in homes:
                known[step.index] = session.tensors[place[1]]._storage.array().reshape(step.metas[0].shape)
        steps, constants = folded(program.steps, [slot for slot, _ in program.wanted], known)
        constants = {slot: np.ascontiguousarray(values).reshape(-1) for slot, values in constants.items()}
        new = Program(steps, program.wanted, constants)
        leaves = []
        for slot in new.leaf_slots:
            if slot in constants:
                made = Made(count, constants[slot])
                count += 1
                path.append(made)
                leaves.append((("made", made.number), None, 0))
            else:
                leaves.append(specs[slot])
        path.append(Run(new, leaves, event.scalars, event.fills, event.given))
    return path


def folded(steps: list[Step], wanted: list[int], known: dict[int, np.ndarray]) -> tuple[list[Step], dict[int, np.ndarray]]:
    """The steps that are left, and the constants that they read, by the slots of their leaves."""
    values = dict(known)
    rest: list[Step] = []
    with np.errstate(all="ignore"):
        for s in steps:
            if s.op == "leaf":
                if s.index not in values:
                    rest.append(s)
            elif is_constant(s, values):
                for i, v in enumerate(evaluate(s, values, [])):
                    values[s.index + i] = v
            else:
                rest.append(s)
    rest = fold_normalizations(rest, set(wanted), values)
    read = {i for s in rest for i in s.slots if i is not None and i >= 0} | set(wanted)
    constants = {i: v for i, v in values.items() if i in read}
    leaves = [Step("leaf", (), (meta.shape, meta.dtype), (), None, (meta,), i, None) for i, meta in
              ((i, meta_of(v)) for i, v in constants.items())]  # fmt: skip
    return leaves + rest, constants


def is_constant(s: Step, values: dict[int, np.ndarray]) -> bool:
    read = [i for i in s.slots if i is not None and i >= 0]
    if not read or s.where is not None or getattr(s.op, "runtime", False) or any(i not in values for i in read):
        return False
    return sum(m.numel for m in s.metas) <= MOST_GROWTH * max(sum(values[i].size for i in read), 64)


def meta_of(v: np.ndarray) -> Meta:
    from ..dtypes import from_numpy

    return Meta(v.shape, from_numpy(v.dtype))


def fold_normalizations(steps: list[Step], wanted: set[int], values: dict[int, np.ndarray]) -> list[Step]:
    """Batch normalizations with constant statistics, after a convolution with a constant kernel that nothing else reads."""
    by_slot = {s.index: s for s in steps}
    uses: dict[int, int] = {}
    for s in steps:
        for i in s.slots:
            if i is not None and i >= 0:
                uses[i] = uses.get(i, 0) + 1
    fresh = max((s.index + len(s.metas) for s in steps), default=0) + max(values, default=0) + 1
    replaced: dict[int, Step] = {}
    for s in steps:
        if s.op is not OPS["_batch_norm_with_statistics"]:
            continue
        found = convolution_before(s, by_slot, uses, wanted, values)
        if found is None:
            continue
        convolution, bias_step, bias = found
        weight, shift = (None if i is None else values[i].astype(np.float64) for i in s.slots[1:3])
        mean, var = (values[i].astype(np.float64) for i in s.slots[3:])
        kernel = values[convolution.slots[1]]
        scale = 1 / np.sqrt(var + s.attrs[0])
        if weight is not None:
            scale = scale * weight
        offset = (bias - mean) * scale + (0.0 if shift is None else shift)
        values[fresh] = (kernel * scale.reshape(-1, *[1] * (kernel.ndim - 1))).astype(kernel.dtype)
        values[fresh + 1] = np.ascontiguousarray(np.broadcast_to(offset, mean.shape)).astype(kernel.dtype)
        replaced[convolution.index] = convolution._replace(slots=(convolution.slots[0], fresh, *convolution.slots[2:]))
        replaced[s.index] = Step(OPS["add"], (convolution.index, fresh + 1), (), (), None, s.metas, s.index, s.line)
        if bias_step is not None:
            replaced[bias_step.index] = bias_step._replace(op=None)
        fresh += 2
    return [n for n in (replaced.get(s.index, s) for s in steps) if n.op is not None]


def convolution_before(s: Step, by_slot: dict[int, Step], uses: dict[int, int], wanted: set[int], values: dict[int, np.ndarray]) -> Any:
    """(the convolution, the addition of its bias or None, the bias) before a normalization, if they may be one."""
    if any(i is not None and i not in values for i in s.slots[1:]) or any(i is None for i in s.slots[3:]):
        return None
    at, bias_step, bias = s.slots[0], None, np.zeros(())
    before = by_slot.get(at)
    if before is not None and before.op is OPS["add"] and uses.get(at) == 1 and at not in wanted and before.slots[1] in values:
        bias_step, bias, at = before, values[before.slots[1]].astype(np.float64), before.slots[0]
        before = by_slot.get(at)
    if before is None or before.op is not OPS["convolution"] or uses.get(at) != 1 or at in wanted or before.slots[1] not in values:
        return None
    per_channel = (1, values[before.slots[1]].shape[0], *[1] * (len(s.metas[0].shape) - 2))
    if values[s.slots[3]].shape != per_channel or bias.shape not in ((), per_channel):
        return None
    return before, bias_step, bias

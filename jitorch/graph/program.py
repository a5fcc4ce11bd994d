"""A program: what one flush runs. The reference tier interprets its steps with NumPy; the compiled tier runs its kernels."""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from .. import config
from ..dtypes import HALVES, dtype
from ..kernels import memory


class Counters:
    """How often things happened in this process: what tests and `jitorch profile` look at."""

    def __init__(self):
        self.flushes = self.programs_built = self.reference_runs = self.compiled_runs = self.nodes = self.generalised = self.reads = 0

    def as_dict(self) -> dict[str, int]:
        return dict(vars(self))


counters = Counters()
NO_CONSTANTS: Mapping[int, np.ndarray] = {}


class Step(NamedTuple):
    """One recorded operation, as the engine sees it."""

    op: Any                  # "leaf", "view", or an entry of the op table
    slots: tuple             # an input's slot, -1 for the next scalar, None for an absent optional input
    attrs: tuple
    scalars: tuple           # the numbers seen when it was recorded
    where: range | None      # their places among the run-time scalars, once they have been seen to change
    metas: tuple
    index: int  # type: ignore[assignment]    # the slot of the first output
    line: str | None


class Program:
    """Runs one recorded sequence of steps for one set of wanted results.

    `wanted` holds (slot, home) for each result: home is the slot of the leaf whose buffer the result must be
    written to (an in-place update), or -1 for a new buffer. `constants`: buffers of leaves, by their slots, that are the
    same in every run and never written to.
    """

    def __init__(self, steps: list[Step], wanted: tuple[tuple[int, int], ...], constants: Mapping[int, np.ndarray] = NO_CONSTANTS):
        self.wanted, self.constants = wanted, constants
        self.leaves = [s for s in steps if s.op == "leaf"]
        self.leaf_slots = [s.index for s in self.leaves]
        self.steps = needed(steps, [slot for slot, _ in wanted])
        self.compiled: Any = None       # a CompiledProgram, once it is built
        self.reference_plan: list[list[int]] | None = None
        self.committing = False
        self.runs = 0

    def run(self, leaves: Sequence[np.ndarray], addresses: Sequence[int], scalars: list) -> list[tuple[np.ndarray, int]]:
        """The wanted results as (flat buffer, address or 0)."""
        self.runs += 1
        tier = config.tier
        if tier == "reference":
            return self.run_reference(leaves, scalars)
        compiled = self.compiled
        if compiled is None or compiled.winograd != config.winograd:
            from .build import build
            compiled = self.compiled = build(self)      # by two threads at once, perhaps: either serves
        if tier == "auto" and not compiled.ready():
            return self.run_reference(leaves, scalars)
        counters.compiled_runs += 1
        return self.run_checked(leaves, addresses, scalars) if config.check else compiled.run(leaves, addresses, scalars)

    def interrupted(self) -> tuple[bool, list[tuple[np.ndarray, int]] | None]:
        """Of a run that was interrupted in this thread: may leaves be half overwritten, and its results, if all is written."""
        begun, results = (False, None) if self.compiled is None else self.compiled.interrupted()
        return any(home >= 0 for _, home in self.wanted) and (begun or self.committing), results

    # -- the reference tier ----------------------------------------------------------------------------------------
    def run_reference(self, leaves: Sequence[np.ndarray], scalars: list) -> list[tuple[np.ndarray, int]]:
        counters.reference_runs += 1
        return [(b, 0) for b in self.commit(self.interpret(leaves, scalars), leaves)]

    def interpret(self, leaves: Sequence[np.ndarray], scalars: list) -> dict[int, np.ndarray]:
        if self.reference_plan is None:
            self.reference_plan = last_uses(self.steps, {slot for slot, _ in self.wanted})
        values: dict[int, np.ndarray] = {
            s.index: buffer.reshape(s.metas[0].shape) for s, buffer in zip(self.leaves, leaves)}
        with np.errstate(all="ignore"):
            for step, dead in zip(self.steps, self.reference_plan):
                if step.op != "leaf":
                    for i, value in enumerate(evaluate(step, values, scalars)):
                        values[step.index + i] = value
                for slot in dead:
                    del values[slot]
        return values

    def commit(self, values: dict[int, np.ndarray], leaves: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Give every wanted result a buffer of its own; nothing is overwritten before everything is computed."""
        by_slot = {s.index: b for s, b in zip(self.leaves, leaves)}
        results, taken = [], set()
        for slot, home in self.wanted:
            value = values[slot]
            if home < 0 and (not value.flags.owndata or not value.flags.c_contiguous or id(value) in taken):
                value = value.copy()
            taken.add(id(value))
            results.append(value)
        fresh = [v.copy() if home >= 0 and not v.flags.owndata else v for v, (_, home) in zip(results, self.wanted)]
        self.committing = True
        for i, (_, home) in enumerate(self.wanted):
            if home >= 0:
                by_slot[home][...] = fresh[i].reshape(-1)
                fresh[i] = by_slot[home]
        self.committing = False
        return [v.reshape(-1) for v in fresh]

    # -- both tiers, compared --------------------------------------------------------------------------------------
    def run_checked(self, leaves: Sequence[np.ndarray], addresses: Sequence[int], scalars: list) -> list[tuple[np.ndarray, int]]:
        expected = self.interpret(leaves, scalars)
        want = [expected[slot].reshape(-1).copy() for slot, _ in self.wanted]
        scale = max((memory.largest(b) for b in leaves), default=0.0)
        results = self.compiled.run(leaves, addresses, scalars)
        for (slot, _), (got, _), right in zip(self.wanted, results, want):
            difference = memory.compare(got, right, scale)
            if difference:
                step = max((s for s in self.steps if s.index <= slot), key=lambda s: s.index)
                raise RuntimeError(f"check: the compiled result of {op_name(step)} ({step.line or 'line unknown'}) "
                                   f"differs from the reference: {difference}")
        return results


def op_name(step: Step) -> str:
    return step.op if isinstance(step.op, str) else step.op.name


def needed(steps: list[Step], wanted: list[int]) -> list[Step]:
    """The steps that the wanted slots depend on (dead results are not computed)."""
    owner = {}
    for s in steps:
        for i in range(len(s.metas)):
            owner[s.index + i] = s
    marked: set[int] = set()
    stack = list(wanted)
    while stack:
        s = owner[stack.pop()]
        if s.index not in marked:
            marked.add(s.index)
            stack.extend(i for i in s.slots if i is not None and i >= 0)
    return [s for s in steps if s.index in marked]


def last_uses(steps: list[Step], keep: set[int]) -> list[list[int]]:
    """For each step, the slots that nothing reads afterwards."""
    seen = set(keep)
    dead: list[list[int]] = [[] for _ in steps]
    for k in range(len(steps) - 1, -1, -1):
        s = steps[k]
        for slot in [*(i for i in s.slots if i is not None and i >= 0), *range(s.index, s.index + len(s.metas))]:
            if slot not in seen:
                seen.add(slot)
                dead[k].append(slot)
    return dead


def evaluate(step: Step, values: dict[int, np.ndarray], scalars: list) -> list[np.ndarray]:
    """One step on NumPy arrays."""
    if step.op == "view":
        return [strided(values[step.slots[0]], *step.attrs)]
    numbers = iter(step.scalars if step.where is None else [scalars[i] for i in step.where])
    args = [None if i is None else next(numbers) if i < 0 else values[i] for i in step.slots]
    result = []
    for value, meta in zip(call_reference(step.op, args, step.attrs), step.metas):
        value = np.asarray(value, dtype=meta.dtype.np)
        if value.shape != meta.shape:
            raise AssertionError(f"{step.op.name}: the reference gave shape {value.shape}, the rule {tuple(meta.shape)}")
        result.append(value)
    return result


def call_reference(op, args: list, attrs: tuple):
    """The reference's results, a tuple. Half precision is computed in float32; the caller rounds once, to the dtype inferred."""
    if getattr(op, "exact", False):
        pass
    elif any(isinstance(a, np.ndarray) and a.dtype.itemsize == 2 and a.dtype.kind in "fV" for a in args) or not HALVES.isdisjoint(
            a for a in attrs if isinstance(a, dtype)):
        args = [a.astype(np.float32) if isinstance(a, np.ndarray) and a.dtype.itemsize == 2 and a.dtype.kind in "fV" else a for a in args]
        attrs = tuple(a.compute if isinstance(a, dtype) else a for a in attrs)
    out = op.reference(*args, *attrs)
    return out if isinstance(out, (tuple, list)) else (out,)


def strided(base: np.ndarray, shape, strides, offset) -> np.ndarray:
    """A strided view of a contiguous array (strides and offset in elements)."""
    base = np.ascontiguousarray(base).reshape(-1)
    size = base.itemsize
    if 0 in shape:
        return np.empty(shape, base.dtype)
    return np.lib.stride_tricks.as_strided(base[offset:], shape, [s * size for s in strides])

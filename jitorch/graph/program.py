"""A program: what one flush runs. The reference tier interprets its steps with NumPy; the compiled tier runs its kernels."""
from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
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
NUDGES = 32     # how often a result that differs from the reference is computed again, to see whether rounding makes it differ
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

    @property
    def plan(self) -> list[list[int]]:
        """For each step, the slots that are not needed afterwards."""
        if self.reference_plan is None:
            self.reference_plan = last_uses(self.steps, {slot for slot, _ in self.wanted})
        return self.reference_plan

    def interpret(self, leaves: Sequence[np.ndarray], scalars: list) -> dict[int, np.ndarray]:
        values: dict[int, np.ndarray] = {
            s.index: buffer.reshape(s.metas[0].shape) for s, buffer in zip(self.leaves, leaves)}
        with np.errstate(all="ignore"):
            for step, dead in zip(self.steps, self.plan):
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
        """The compiled results, each compared with what the reference makes of the compiled ones before it: it is held against its
        own operations, not against what they make of the rounding of an earlier result (an optimizer divides gradients by their size,
        those that are zero but for rounding, too)."""
        homes = {home for _, home in self.wanted}
        inputs = [b.copy() if s.index in homes else b for s, b in zip(self.leaves, leaves)]
        results = self.compiled.run(leaves, addresses, scalars)
        found = {slot: b for (slot, _), (b, _) in zip(self.wanted, results)}
        expected = self.follow(inputs, scalars, found)
        wrong = {slot: difference for slot, want in expected.items() if (difference := memory.compare(found[slot], want))}
        for slot in self.not_noise(list(wrong), inputs, scalars, found, expected):
            step = max((s for s in self.steps if s.index <= slot), key=lambda s: s.index)
            raise RuntimeError(f"check: the compiled result of {op_name(step)} ({step.line or 'line unknown'}) "
                               f"differs from the reference: {wrong[slot]}")
        return results

    def follow(self, inputs: list[np.ndarray], scalars: list, found: dict[int, np.ndarray],
               nudge: Callable[[np.ndarray], np.ndarray] = lambda value: value) -> dict[int, np.ndarray]:
        """What the reference makes of each wanted result, going on from those `found`. nudge: moves what goes into an operation."""
        values = {s.index: nudge(b.reshape(s.metas[0].shape)) for s, b in zip(self.leaves, inputs)}
        expected: dict[int, np.ndarray] = {}
        with np.errstate(all="ignore"):
            for step, dead in zip(self.steps, self.plan):
                for i, value in enumerate([] if step.op == "leaf" else evaluate(step, values, scalars), step.index):
                    if i in found:
                        expected[i] = value.reshape(-1).copy()
                        value = found[i].reshape(value.shape)
                    values[i] = value if step.op == "view" else nudge(value)
                for slot in dead:
                    del values[slot]
        return expected

    def not_noise(self, slots: list[int], inputs: list[np.ndarray], scalars: list, found: dict[int, np.ndarray],
                  expected: dict[int, np.ndarray]) -> list[int]:
        """Which of these results aren't among those that the reference gives when every number on the way is moved by a few roundings.

        A sum in any order is that of terms a little larger or smaller (Higham, Accuracy and Stability of Numerical Algorithms,
        section 4.2), so where results of such terms lie apart, another order may make as much of a difference."""
        random = np.random.default_rng(0)

        def nudge(value: np.ndarray) -> np.ndarray:
            if value.dtype.name not in memory.ROUNDING:
                return value
            amount = memory.ROUNDING[value.dtype.name][2]
            return np.asarray(value * (1 + amount * random.uniform(-1, 1, value.shape))).astype(value.dtype)
        seen = {slot: Seen(found[slot], expected[slot]) for slot in slots}
        for _ in range(NUDGES if slots else 0):
            moved = self.follow(inputs, scalars, found, nudge)
            seen = {slot: s for slot, s in seen.items() if not s.covers(moved[slot])}
            if not seen:
                break
        return list(seen)


class Seen:
    """Versions of a result: does another one lie among them?"""

    def __init__(self, got: np.ndarray, want: np.ndarray):
        self.real = want.dtype.name in memory.ROUNDING        # otherwise a place or a choice: it is open, or it isn't
        self.got, self.low = real_parts(got), real_parts(want)
        self.high, self.lost = self.low, np.isnan(self.low) if self.real else np.zeros(want.shape, bool)

    def covers(self, moved: np.ndarray) -> bool:
        """With one more version."""
        moved = real_parts(moved)
        self.low, self.high = np.fmin(self.low, moved), np.fmax(self.high, moved)
        if not self.real:
            return bool(((self.got == self.low) | (self.low != self.high)).all())
        self.lost = self.lost | np.isnan(moved)
        with np.errstate(all="ignore"):     # few versions don't reach as far as all that there may be
            apart = np.nan_to_num(self.high - self.low, posinf=0.0, neginf=0.0)
            settled = np.where(np.isnan(self.got) & ~self.lost, self.low, np.clip(self.got, self.low - apart, self.high + apart))
        return memory.compare(self.got, settled) is None


def real_parts(x: np.ndarray) -> np.ndarray:
    """A flat array with complex numbers as two, half precision as float32."""
    return x.view(x.real.dtype) if x.dtype.kind == "c" else memory.widened(x) if x.dtype.name in memory.ROUNDING else x


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

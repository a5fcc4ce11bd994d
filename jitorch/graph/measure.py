"""What each program costs, for `jitorch profile` and `jitorch show`.

While `recording` is on, the methods that run programs are replaced by versions that take the time; while it is off,
they are what they were, so measuring costs nothing when nobody asks for it.
"""
from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from time import perf_counter
from typing import Any

from .compiled import CompiledProgram, HostCall, KernelStep
from .program import Program
from .record import flush, forget


@dataclass
class Cost:
    """The runs of one program, and the seconds they took in all."""

    program: Program
    runs: int = 0
    compiled_runs: int = 0
    compiled_seconds: float = 0.0
    reference_runs: int = 0
    reference_seconds: float = 0.0
    seconds: float = 0.0            # with planning, and waiting for the compiler

    @property
    def steps(self) -> list[KernelStep | HostCall]:
        """The kernels and calls of the compiled form; none if there is no compiled form yet."""
        return [] if self.program.compiled is None else self.program.compiled.steps

    @property
    def kernels(self) -> int:
        """How many kernels a run starts: equal ones side by side count once."""
        return 0 if self.program.compiled is None else self.program.compiled.kernel_count

    @property
    def lines(self) -> list[str]:
        """Where the program was recorded: "file.py:12", each once."""
        return list(dict.fromkeys(step.line for step in self.program.steps if step.line))

    @property
    def bytes(self) -> int:
        """Of memory that one compiled run touches: every buffer a kernel or call works on, once for each of them."""
        leaf_bytes = [step.metas[0].numel * step.metas[0].dtype.itemsize for step in self.program.leaves]
        total = 0
        for step in self.steps:
            if isinstance(step, KernelStep):
                found = [word[1] for word in step.kernel.words if word[0] == "buffer"]
            else:
                found = [o[1] for o in step.operands if o[0] == "buffer"] + [result[0] for result in step.results]
            for buffer in {id(b): b for b in found}.values():
                total += leaf_bytes[buffer.number] if buffer.kind == "leaf" else buffer.bytes
        return total


@contextmanager
def recording() -> Iterator[list[Cost]]:
    """Within the block, the costs of every program that runs, in the order of their first runs; complete at its end.

    >>> import jitorch as torch
    >>> with recording() as costs:
    ...     value = (torch.ones(3) * 2).sum().item()
    >>> [cost.runs for cost in costs]
    [1]
    """
    flush()
    forget()        # a step keeps the line it was first seen at: lines are to be those of the block
    costs: list[Cost] = []
    known: dict[Program, Cost] = {}
    lock, inner = threading.RLock(), threading.local()
    replaced = (Program, "run"), (Program, "run_reference"), (CompiledProgram, "run")
    plain = [getattr(owner, name) for owner, name in replaced]

    def part(name: str, method: Callable) -> Callable:
        def timed(self: Any, *args: Any) -> Any:
            start = perf_counter()
            try:
                return method(self, *args)
            finally:
                inner.part = (name, perf_counter() - start)
        return timed

    def run(program: Program, leaves: list, addresses: list[int], scalars: list) -> Any:
        inner.part = ("", 0.0)
        start = perf_counter()
        try:
            return plain[0](program, leaves, addresses, scalars)
        finally:
            note(program, perf_counter() - start, *inner.part)

    def note(program: Program, whole: float, tier: str, seconds: float) -> None:
        with lock:
            cost = known.get(program)
            if cost is None:
                cost = known[program] = Cost(program)
                costs.append(cost)
            cost.runs += 1
            cost.seconds += whole
            if tier == "compiled":
                cost.compiled_runs += 1
                cost.compiled_seconds += seconds
            elif tier == "reference":
                cost.reference_runs += 1
                cost.reference_seconds += seconds

    setattr(Program, "run", run)  # noqa: B010 (mypy forbids assigning to a method)
    setattr(Program, "run_reference", part("reference", plain[1]))  # noqa: B010
    setattr(CompiledProgram, "run", part("compiled", plain[2]))  # noqa: B010
    try:
        yield costs
        flush()
    finally:
        for (owner, name), method in zip(replaced, plain, strict=True):
            setattr(owner, name, method)

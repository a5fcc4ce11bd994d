"""`jitorch tune`: measures how the contractions of a script are cut best, and keeps what it finds."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from time import perf_counter

import numpy as np

from .. import config
from ..graph.build import build
from ..graph.compiled import CompiledProgram, KernelStep
from ..graph.measure import Cost, recording
from ..graph.program import Program
from ..kernels import cache
from ..kernels.cpu import tuning
from ..kernels.cpu.tuning import Numbers
from ..kernels.memory import allocate
from .scripts import run_script

RUNS, GAIN = 7, 0.97  # of which the shortest counts; a new cut has to be faster than this share of the old one's time


def tune_script(script: Path, args: Sequence[str], limit: int) -> int:
    """Run a script, then try other blocks for the contractions it ran. Returns the script's exit status.

    Kernels are waited for: what has run on the reference tier alone has no blocks.
    """
    tier = "compiled" if config.tier == "auto" else config.tier
    with recording() as costs, config.using(tier=tier):
        status = run_script(script, args)
    found: dict[str, Numbers] = {}
    shapes = contractions(costs)
    for shape, program in list(shapes.items())[:limit]:
        before, best = search(shape, program)
        line = f"{shape}: {before[1] * 1e6:.0f} us"
        if best[0] != before[0]:
            found[shape] = best[0]
            line += f", {best[1] * 1e6:.0f} in blocks of {' x '.join(map(str, best[0]))}"
        print(line, flush=True)
    if found and tuning.keep(found):
        print(f"{len(found)} kept in {cache.directory()}/{tuning.NAME}")
    elif not shapes:
        print("no contraction ran in a kernel: there was none, or the tier is 'reference'")
    return status


def contractions(costs: list[Cost]) -> dict[str, Program]:
    """Every shape of contraction, and a program that has one."""
    found: dict[str, Program] = {}
    for cost in costs:
        for step in cost.steps:
            if isinstance(step, KernelStep) and step.kernel.tuned is not None:
                found.setdefault(step.kernel.tuned[0], cost.program)
    return found


def search(shape: str, program: Program) -> tuple[tuple[Numbers, float], tuple[Numbers, float]]:
    """The present blocks and the best ones, each with the seconds that the kernel takes."""
    _, start, sizes = step_of(build(program), shape).kernel.tuned
    times = {start: seconds(shape, program, start)}
    for numbers in candidates(start, sizes):
        if numbers not in times:
            times[numbers] = seconds(shape, program, numbers)
    best = min(times, key=lambda numbers: times[numbers])
    if times[best] > GAIN * times[start]:
        best = start
    return (start, times[start]), (best, times[best])


def candidates(start: Numbers, sizes: tuple[int, int, int, int]) -> Iterator[Numbers]:
    """Half and double of each number, alone and of two together; slices of some usual lengths."""
    _, m, n, k = sizes
    rows, columns, depth = start
    for r in (rows, max(4, rows // 2), min(m, 2 * rows)):
        for c in (columns, max(32, columns // 2), min(n, 2 * columns)):
            yield r, c, depth
    for d in (128, 256, 512, 1024):
        yield rows, columns, min(d, k)


def step_of(compiled: CompiledProgram, shape: str) -> KernelStep:
    return next(s for s in compiled.steps if isinstance(s, KernelStep) and s.kernel.tuned and s.kernel.tuned[0] == shape)


def seconds(shape: str, program: Program, numbers: Numbers) -> float:
    """How long the one kernel takes with these blocks, on memory of its own."""
    with tuning.trying(shape, numbers):
        whole = build(program)
    alone = CompiledProgram([replace(step_of(whole, shape), region=1)], [], whole.arena_bytes, whole.outputs, len(program.leaves), whole.prepared)
    leaves = [allocate(leaf.metas[0].numel, leaf.metas[0].dtype.np) for leaf in program.leaves]
    for array, _ in leaves:
        array[...] = np.zeros(1, array.dtype)
    arguments = [array for array, _ in leaves], [address for _, address in leaves], [0.0] * len(program.steps)
    alone.run(*arguments)
    times = []
    for _ in range(RUNS):
        began = perf_counter()
        alone.run(*arguments)
        times.append(perf_counter() - began)
    return min(times)

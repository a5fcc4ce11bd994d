"""Timing: callables that do the same work, taken in turns, compared pair by pair.

A machine that others share is slow in some seconds and fast in the next. So every run times each callable once, one
right after the other, the order turned round from run to run; the ratio is that of two neighbours, and the median of
the ratios is what is reported. Medians of the times stand beside it.

With JITORCH_NUM_THREADS=1 all sides have one thread, and its processor time is taken, which does not count the time
that others had the processor.
"""
from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from . import THREADS

try:
    import resource
except ImportError:         # Windows
    resource = None         # type: ignore[assignment]

clock = time.process_time if THREADS == 1 else time.perf_counter
CLOCK = "processor time" if THREADS == 1 else "wall clock"
ROOT = Path(__file__).resolve().parent.parent
REST = 0.03             # seconds before each sample, or as long as a shorter one takes: threads of the one before stop spinning (OpenMP's, BLAS's)
FEWEST_RUNS = 5         # of a row that takes long; of a quick one: 3


@dataclass(frozen=True)
class Settings:
    """How a run of the suites is taken."""

    quick: bool = False
    peers: Sequence[str] = ()
    only: str = ""                              # rows with this in their name
    budget: Budget | None = None                # of seconds that torch.compile may compile
    until: float | None = None                  # of time.monotonic(): rows that come later are not measured

    @property
    def runs(self) -> int:
        return 3 if self.quick else 11

    @property
    def sample(self) -> float:
        """Seconds of a sample."""
        return 0.01 if self.quick else 0.05

    @property
    def longest(self) -> float:
        """Seconds that the runs of one row may take, unless the fewest runs take longer."""
        return 1.5 if self.quick else 6.0

    @property
    def over(self) -> bool:
        return self.until is not None and time.monotonic() > self.until

    def wants(self, name: str) -> bool:
        return self.only.lower() in name.lower()


class Budget:
    """Seconds that may be spent; `left` is below 0 when they are."""

    def __init__(self, seconds: float) -> None:
        self.seconds = self.left = seconds

    @contextlib.contextmanager
    def spending(self) -> Iterator[None]:
        began = time.perf_counter()
        try:
            yield
        finally:
            self.left -= time.perf_counter() - began


# -- timing ----------------------------------------------------------------------------------------------------------
@dataclass
class Comparison:
    """Seconds of one call, for each callable and run; run i of one was taken beside run i of the others."""

    seconds: dict[str, list[float]]
    faults: dict[str, list[float]] = field(default_factory=dict)    # page faults of one call, where the system tells

    def median(self, name: str) -> float | None:
        times = self.seconds.get(name)
        return median(times) if times else None

    def ratios(self, name: str, other: str) -> list[float]:
        """name / other, run by run; empty if one of them did not take part."""
        return [a / b for a, b in zip(self.seconds.get(name, []), self.seconds.get(other, []), strict=False)]

    def best(self, name: str, other: str) -> float | None:
        """The shortest time of one over the shortest of the other."""
        mine, theirs = self.seconds.get(name), self.seconds.get(other)
        return min(mine) / min(theirs) if mine and theirs else None


def compare(calls: dict[str, Callable[[], Any]], *, runs: int, sample: float, longest: float = 60.0) -> Comparison:
    """Time the callables in turns: `runs` samples of each, a sample being as many calls as take `sample` seconds.

    Fewer runs, but no fewer than FEWEST_RUNS, if they would take more than `longest` seconds.
    The garbage collector stays on: a user's program has it on.

    >>> timing = compare({"a": lambda: sum(range(10)), "b": lambda: sum(range(1000))}, runs=3, sample=1e-4)
    >>> median(timing.ratios("a", "b")) < 1
    True
    """
    counts, expected, rest = {}, 0.0, min(REST, sample)
    for name, call in calls.items():
        counts[name], seconds_of_one = calls_in(call, sample)
        expected += rest + seconds_of_one * (counts[name] + 1)
    runs = max(min(runs, int(longest / expected)), min(runs, FEWEST_RUNS))
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    faults: dict[str, list[float]] = {name: [] for name in calls}
    for run in range(runs):
        for name in list(calls) if run % 2 == 0 else reversed(list(calls)):
            call, n = calls[name], counts[name]
            time.sleep(rest)
            if n > 1:
                call()                          # wakes threads, warms the cache: little beside a long call
            before, began = page_faults(), clock()
            for _ in range(n):
                call()
            seconds[name].append((clock() - began) / n)
            faults[name].append((page_faults() - before) / n)
    return Comparison(seconds, faults)


def page_faults() -> int:
    """Of this process, so far; 0 where the system does not tell."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt if resource is not None else 0


def calls_in(call: Callable[[], Any], sample: float) -> tuple[int, float]:
    """How many calls take `sample` seconds, and the seconds of one. Three calls first: the first two may compile."""
    for _ in range(3):
        call()
    n = 1
    while True:
        began = clock()
        for _ in range(n):
            call()
        took = clock() - began
        if took >= sample / 4 or n >= 1 << 20:
            return max(1, round(n * sample / max(took, 1e-9))), took / n
        n *= 4


def take_turns(measures: dict[str, Callable[[], float]], runs: int) -> Comparison:
    """`compare` for what can't be called twice in one process: each measure returns the figure it found."""
    found: dict[str, list[float]] = {name: [] for name in measures}
    for run in range(runs):
        for name in list(measures) if run % 2 == 0 else reversed(list(measures)):
            found[name].append(measures[name]())
    return Comparison(found)


# -- processes -------------------------------------------------------------------------------------------------------
@contextlib.contextmanager
def compiled() -> Iterator[None]:
    """Every program runs on compiled kernels within this block."""
    import jitorch
    with jitorch.config.using(tier="compiled"):
        yield


class ProcessFailed(RuntimeError):
    """A fresh interpreter ended with an error; holds the last line that it wrote."""


def run_python(code: str, **env: str) -> str:
    """What a fresh interpreter prints. Raises ProcessFailed, with what it wrote to stderr shown.

    It may keep compiled bytecode, as an installed package has it.
    """
    kept = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    paths = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")]))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT,
                          env={**kept, "PYTHONPATH": paths, **env})
    if done.returncode:
        print(done.stderr, file=sys.stderr)
        raise ProcessFailed(f"status {done.returncode}: {(done.stderr.strip().splitlines() or [''])[-1]}")
    return done.stdout

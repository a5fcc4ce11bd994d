"""Timing: callables that do the same work, taken in turns, compared pair by pair.

A machine that others share is slow in some seconds and fast in the next. So every run times each callable once, one
right after the other, the order turned round from run to run; the ratio is that of two neighbours, and the median of
the ratios is what is reported. Medians of the times stand beside it.

With JITORCH_NUM_THREADS=1 all sides have one thread, and its processor time is taken, which does not count the time
that others had the processor.
"""
from __future__ import annotations

import contextlib
import importlib
import importlib.util
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from statistics import median, quantiles
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

from . import THREADS

try:
    import resource
except ImportError:         # Windows
    resource = None         # type: ignore[assignment]

clock = time.process_time if THREADS == 1 else time.perf_counter
ROOT = Path(__file__).resolve().parent.parent
REST = 0.03             # seconds before each sample: threads of the one before stop spinning (OpenMP's, BLAS's)
COPY_BYTES = 1 << 26    # of each of the two buffers of `copier`: more than a cache holds


# -- who is compared -------------------------------------------------------------------------------------------------
class Framework(NamedTuple):
    """jitorch or a peer: the modules a benchmark uses, and what makes recorded work happen."""

    name: str
    torch: ModuleType
    nn: ModuleType
    F: ModuleType
    optim: ModuleType
    finish: Callable[[], None]


def frameworks() -> list[Framework]:
    """jitorch first, then the peers that are installed; 2 threads each."""
    from jitorch.graph.record import flush
    from jitorch.kernels.cpu import executor
    executor.set_num_threads(THREADS)
    found = [framework("jitorch", flush)]
    if importlib.util.find_spec("torch") is not None:
        found.append(framework("torch", lambda: None))
        found[-1].torch.set_num_threads(THREADS)
    return found


def framework(name: str, finish: Callable[[], None]) -> Framework:
    torch, nn, functional, optim = (importlib.import_module(name + p) for p in ("", ".nn", ".nn.functional", ".optim"))
    return Framework(name, torch, nn, functional, optim, finish)


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


def compare(calls: dict[str, Callable[[], Any]], *, runs: int, sample: float) -> Comparison:
    """Time the callables in turns: `runs` samples of each, a sample being as many calls as take `sample` seconds.

    The garbage collector stays on: a user's program has it on.

    >>> timing = compare({"a": lambda: sum(range(10)), "b": lambda: sum(range(1000))}, runs=3, sample=1e-4)
    >>> median(timing.ratios("a", "b")) < 1
    True
    """
    counts = {name: calls_in(call, sample) for name, call in calls.items()}
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    faults: dict[str, list[float]] = {name: [] for name in calls}
    for run in range(runs):
        for name in list(calls) if run % 2 == 0 else reversed(list(calls)):
            call, n = calls[name], counts[name]
            time.sleep(REST)
            call()                              # wakes threads, warms the cache
            before, began = page_faults(), clock()
            for _ in range(n):
                call()
            seconds[name].append((clock() - began) / n)
            faults[name].append((page_faults() - before) / n)
    return Comparison(seconds, faults)


def page_faults() -> int:
    """Of this process, so far; 0 where the system does not tell."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt if resource is not None else 0


def calls_in(call: Callable[[], Any], sample: float) -> int:
    """How many calls take `sample` seconds. Three calls first: the first two may still compile."""
    for _ in range(3):
        call()
    n = 1
    while True:
        began = clock()
        for _ in range(n):
            call()
        took = clock() - began
        if took >= sample / 4 or n >= 1 << 20:
            return max(1, round(n * sample / max(took, 1e-9)))
        n *= 4


def take_turns(measures: dict[str, Callable[[], float]], runs: int) -> Comparison:
    """`compare` for what can't be called twice in one process: each measure returns the seconds it found."""
    seconds: dict[str, list[float]] = {name: [] for name in measures}
    for run in range(runs):
        for name in list(measures) if run % 2 == 0 else reversed(list(measures)):
            seconds[name].append(measures[name]())
    return Comparison(seconds)


def copier() -> Callable[[], None]:
    """Copies COPY_BYTES with all threads, so that 2 * COPY_BYTES pass through memory: the bandwidth that there is."""
    from concurrent.futures import ThreadPoolExecutor
    source, target = np.ones(COPY_BYTES, np.uint8), np.zeros(COPY_BYTES, np.uint8)
    edges = [COPY_BYTES * i // THREADS for i in range(THREADS + 1)]
    pool = ThreadPoolExecutor(THREADS)

    def part(lo: int, hi: int) -> None:
        np.copyto(target[lo:hi], source[lo:hi])

    def copy() -> None:
        for done in [pool.submit(part, lo, hi) for lo, hi in pairwise(edges)]:
            done.result()
    return copy


# -- rows ------------------------------------------------------------------------------------------------------------
UNITS = {"s": 1.0, "ms": 1e3, "us": 1e6, "ns": 1e9}


def row(name: str, unit: str, ours: float | None, torch: float | None = None, *, ratios: Iterable[float] = (),
        best: float | None = None, goal: float | None = None, note: str = "") -> dict:
    """One figure. `goal` is what `ratio` must not exceed, or `ours` where there is no ratio.

    ratio, spread: median and quartiles of the ratios run by run. best: the ratio of the two shortest times, which a
    busy machine disturbs least.
    """
    ratios = sorted(ratios)
    ratio = median(ratios) if ratios else None
    judged = ours if ratio is None else ratio
    return {
        "name": name, "unit": unit, "ours": ours, "torch": torch, "ratio": ratio,
        "spread": [round(q, 4) for q in quantiles(ratios, n=4)[::2]] if len(ratios) > 1 else None,
        "best": best, "goal": goal, "reached": None if goal is None or judged is None else judged <= goal, "note": note,
    }


def timed_row(name: str, unit: str, timing: Comparison, *, per_call: int = 1, goal: float | None = None,
              note: str = "") -> dict:
    """The row of a comparison of "jitorch" with "torch", if that took part. One call does the work `per_call` times."""
    scale = UNITS[unit] / per_call
    ours, torch = timing.median("jitorch"), timing.median("torch")
    for who in ("jitorch", "torch"):
        found = median(timing.faults.get(who) or [0])
        if found >= 100:
            note = f"{note}; {found:.0f} page faults ({who})".removeprefix("; ")
    return row(name, unit, None if ours is None else ours * scale, None if torch is None else torch * scale,
               ratios=timing.ratios("jitorch", "torch"), best=timing.best("jitorch", "torch"), goal=goal, note=note)


def table(rows: list[dict]) -> str:
    """Rows as text, a line each.

    >>> print(table([row("add", "us", 1.0, 2.0, ratios=[0.5, 0.4, 0.6], best=0.45, goal=1.0)]))
    name    ours   torch  unit    ratio  (quartiles)   best  goal
    add        1       2  us      0.50   0.40 to 0.60  0.45  1.00  reached
    """
    width = max([len(r["name"]) for r in rows] + [6])

    def number(x: float | None) -> str:
        return "-" if x is None else f"{x:.3g}" if abs(x) < 1000 else f"{x:.0f}"

    def fixed(x: float | None) -> str:
        return "-" if x is None else f"{x:.2f}"
    lines = [f"{'name':{width}} {'ours':>5}  {'torch':>6}  unit    ratio  (quartiles)   best  goal"]
    for r in rows:
        spread = " to ".join(fixed(q) for q in r["spread"]) if r["spread"] else ""
        verdict = "" if r["reached"] is None else "reached" if r["reached"] else "MISSED"
        times = f"{r['name']:{width}} {number(r['ours']):>5}  {number(r['torch']):>6}  {r['unit']:6}"
        ratios = f"{fixed(r['ratio']):5}  {spread:12}  {fixed(r['best']):4}  {fixed(r['goal']):4}"
        lines.append(f"{times}  {ratios}  {verdict:8} {r['note']}".rstrip())
    return "\n".join(lines)


# -- where it ran ----------------------------------------------------------------------------------------------------
def machine() -> dict[str, Any]:
    """What a figure depends on: processor, versions, the commit. No name of the machine."""
    from importlib.metadata import PackageNotFoundError, version
    versions = {"python": platform.python_version()}
    for package in ("numpy", "scipy", "numba", "llvmlite", "torch"):
        with contextlib.suppress(PackageNotFoundError):
            versions[package] = version(package)
    return {"processor": processor(), "cpus": os.cpu_count(), "threads": THREADS,
            "system": f"{platform.system()} {platform.machine()}", "versions": versions, "commit": commit(),
            "date": time.strftime("%Y-%m-%d")}


def processor() -> str:
    """Its model, and the vector width that matters most."""
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return platform.processor()
    fields = dict(line.split(":", 1) for line in text.split("\n\n")[0].splitlines() if ":" in line)
    fields = {k.strip(): v.strip() for k, v in fields.items()}
    has = fields.get("flags", fields.get("Features", "")).split()
    vectors = next((f for f in ("avx512f", "avx2", "asimd") if f in has), "")
    return f"{fields.get('model name', platform.machine())} {vectors}".strip()


def commit() -> str:
    """The commit of the sources, "+" behind it if files of the package were changed since."""
    def git(*args: str) -> str:
        done = subprocess.run(["git", "-C", str(ROOT), *args], capture_output=True, text=True, check=True)
        return done.stdout.strip()
    try:
        return git("rev-parse", "--short=12", "HEAD") + ("+" if git("status", "--porcelain", "--", "jitorch") else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def load() -> float | None:
    """Processes that want a processor, mean of the last minute."""
    return round(os.getloadavg()[0], 1) if hasattr(os, "getloadavg") else None


@contextlib.contextmanager
def compiled() -> Iterator[None]:
    """Every program runs on compiled kernels within this block."""
    import jitorch
    with jitorch.config.using(tier="compiled"):
        yield


def run_python(code: str, **env: str) -> str:
    """What a fresh interpreter prints. Raises CalledProcessError, with what it wrote to stderr shown.

    It may keep compiled bytecode, as an installed package has it.
    """
    kept = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    paths = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")]))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT,
                          env={**kept, "PYTHONPATH": paths, **env})
    if done.returncode:
        print(done.stderr, file=sys.stderr)
        done.check_returncode()
    return done.stdout

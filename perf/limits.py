"""What the machine can do: how fast it moves memory and how fast it multiplies and adds, measured.

A kernel can't be faster than its roofline (Williams, Waterman, Patterson: Roofline, CACM 52(4), 2009): the larger of
the time to move the bytes it can't do without and the time to do its operations. The limits are loops that do nothing
else, through the project's own compiler: `kernels/cpu/pool.py`. What a copy moves depends on where its data lies, so
a kernel is held against a copy of as many bytes as it moves itself.
"""
from __future__ import annotations

import ctypes
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache, partial
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np

from . import THREADS, harness

LARGE = 1 << 27             # bytes moved by a copy that no cache holds
WRITTEN_SHARE = 0.1         # of the bytes: below, a kernel is held against a loop that only reads
ALIGNMENT = 64
CALLS = 5                   # of a loop that is timed to see what limits a kernel; the shortest counts

SCALE = """
def kernel(args, lo, hi):
    x = ptr_f32(args, 0)
    out = ptr_f32(args, 1)
    n = word(args, 2)
    factor = x[0]
    for repeat in range(lo, hi):
        for i in range(n):
            independent()
            out[i] = x[i] * factor
"""

# partial sums side by side, since one chain of additions would wait for each; and several places of memory at once,
# which is up to twice as fast as one
READ = """
def kernel(args, lo, hi):
    x = ptr_f32(args, 0)
    out = ptr_f32(args, 1)
    n = word(args, 2) // uint64({streams})
    sums = stack_f32({width})
    for j in range(uint64({width})):
        sums[j] = 0.0
    for repeat in range(lo, hi):
        for i in range(n // uint64({width})):
            for j in range(uint64({width})):
                independent()
                sums[j] += {terms}
    for j in range(uint64({width})):
        out[j] = sums[j]
"""
STREAMS = ((1, 32), (2, 64), (4, 32))       # (streams, width): which is fastest differs between machines and sizes

# `width` chains that don't depend on one another stay in registers: as many as hide the latency of one
# multiplication with addition (4 or 5 cycles, 2 a cycle) and fit into the registers that there are
MULTIPLY_ADD = """
def kernel(args, lo, hi):
    x = ptr_f32(args, 0)
    out = ptr_f32(args, 1)
    sums = stack_f32({width})
    factor = x[0]
    for j in range(uint64({width})):
        sums[j] = x[j]
    for repeat in range(lo, hi):
        for j in range(uint64({width})):
            independent()
            sums[j] = fma(sums[j], factor, factor)
    for j in range(uint64({width})):
        out[j] = sums[j]
"""
WIDTHS = (64, 96, 128, 192)
REPEATS = 1 << 14


class Limit(NamedTuple):
    """A loop at a limit of the machine: one call does `work`, bytes or operations."""

    name: str
    call: Callable[[], object]
    work: float


# -- the loops -------------------------------------------------------------------------------------------------------
def kernel(source: str) -> Callable:
    """The compiled kernel; it runs without Python's lock."""
    from jitorch.kernels.cpu import pool
    entry = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_ssize_t, ctypes.c_ssize_t)
    return entry(pool.request(source).address)


def aligned(count: int) -> np.ndarray:
    """`count` float32, each 0.5, at a full vector's boundary."""
    memory = np.empty(count + ALIGNMENT // 4, np.float32)
    start = -memory.ctypes.data % ALIGNMENT // 4
    found = memory[start:start + count]
    found[:] = 0.5
    return found


@cache
def workers(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads)


def together(parts: list[Callable[[], object]]) -> Callable[[], object]:
    """A call that runs all parts, each in a thread; one part alone in the caller's."""
    if len(parts) == 1:
        return parts[0]
    pool = workers(len(parts))

    def call() -> None:
        for done in [pool.submit(part) for part in parts]:
            done.result()
    return call


def over_parts(source: str, moved: int, repeats: int, threads: int, writes: bool) -> Callable[[], object]:
    """`moved` bytes go through a loop over arrays, `repeats` times, each thread having a part of them."""
    run, count = kernel(source), moved // 4 // (2 if writes else 1)
    x, out = aligned(count), aligned(count if writes else 128 * threads)
    step = ALIGNMENT * 8            # whole blocks of 128 numbers
    edges = [count * i // threads // step * step for i in range(threads)] + [count]
    parts = []
    for number, (lo, hi) in enumerate(pairwise(edges)):
        target = out[lo:] if writes else out[128 * number:]
        table = np.array([x[lo:].ctypes.data, target.ctypes.data, hi - lo], np.uint64)
        parts.append(partial(call_kernel, run, (table, x, out), repeats))
    return together(parts)


def call_kernel(run: Callable, arrays: tuple[np.ndarray, ...], repeats: int) -> None:
    run(arrays[0].ctypes.data, 0, repeats)      # the other arrays are what the table points to, kept alive here


def copies(moved: int, threads: int = THREADS, repeats: int = 1) -> Limit:
    """Half of `moved` bytes are read and half written: by the C library's copy or a compiled loop, what is faster."""
    loop = Limit("copy", over_parts(SCALE, moved, repeats, threads, writes=True), moved * repeats)
    if repeats > 1:
        return loop                 # so small that calling NumPy would count
    source, target = aligned(moved // 8), aligned(moved // 8)
    edges = [len(source) * i // threads for i in range(threads + 1)]
    parts: list[Callable[[], object]] = [partial(np.copyto, target[lo:hi], source[lo:hi]) for lo, hi in pairwise(edges)]
    library = Limit("copy", together(parts), moved)
    return min(loop, library, key=lambda limit: shortest(limit.call))


def reads(moved: int, threads: int = THREADS, repeats: int = 1) -> Limit:
    """`moved` bytes are read and added up."""
    found = []
    for streams, width in STREAMS:
        terms = " + ".join(f"x[n * uint64({s}) + i * uint64({width}) + j]" for s in range(streams))
        source = READ.format(streams=streams, width=width, terms=terms)
        found.append(Limit("read", over_parts(source, moved, repeats, threads, writes=False), moved * repeats))
    return min(found, key=lambda limit: shortest(limit.call))


@cache
def multiply_adds(threads: int = THREADS) -> Limit:
    """float32 multiplications with additions, two operations each, in full-width vectors."""
    found = []
    for width in WIDTHS:
        run, x, out = kernel(MULTIPLY_ADD.format(width=width)), aligned(width), aligned(width * threads)
        tables = [np.array([x.ctypes.data, out[width * i:].ctypes.data], np.uint64) for i in range(threads)]
        parts: list[Callable[[], object]] = [partial(call_kernel, run, (t, x, out), REPEATS * 16) for t in tables]
        found.append(Limit("FMA", together(parts), 2.0 * width * REPEATS * 16 * threads))
    return max(found, key=lambda limit: limit.work / shortest(limit.call))


def shortest(call: Callable[[], object], calls: int = CALLS) -> float:
    """Seconds of the shortest call, after one that is not counted."""
    call()
    found = []
    for _ in range(calls):
        began = harness.clock()
        call()
        found.append(harness.clock() - began)
    return max(min(found), 1e-9)


# -- a kernel's roofline ---------------------------------------------------------------------------------------------
class Work(NamedTuple):
    """What a kernel can't do without."""

    read: int = 0           # bytes: each input once
    written: int = 0        # bytes: each result once
    flops: float = 0

    @property
    def bytes(self) -> int:
        return self.read + self.written


def roofline(work: Work, bandwidth: float, rate: float) -> tuple[float, str]:
    """The least seconds for `work`, and whether "bytes" or "flops" take them. Bytes and operations a second.

    >>> roofline(Work(read=50, written=50, flops=10), bandwidth=10, rate=2)
    (10.0, 'bytes')
    >>> roofline(Work(read=50, written=50, flops=30), bandwidth=10, rate=2)
    (15.0, 'flops')
    """
    return max((work.bytes / bandwidth, "bytes"), (work.flops / rate, "flops"))


def limit_of(work: Work) -> Limit:
    """The loop that a kernel is held against: the one that would take longer for the kernel's bytes or operations."""
    moved = min(max(work.bytes, 1 << 14), LARGE) // 1024 * 1024
    memory = reads(moved) if work.written < WRITTEN_SHARE * work.bytes else copies(moved)
    if not work.flops:
        return memory
    products = multiply_adds()
    _, bound = roofline(work, memory.work / shortest(memory.call), products.work / shortest(products.call))
    return products if bound == "flops" else memory


def share(work: Work, limit: Limit, ratios: list[float]) -> list[float]:
    """The share of the roofline that a kernel reached, run by run; ratios: time of one call of the limit to its own."""
    needed = work.flops if limit.name == "FMA" else work.bytes
    return [needed / limit.work * ratio for ratio in ratios]


# -- caches ----------------------------------------------------------------------------------------------------------
def caches() -> dict[str, int]:
    """Bytes of each data cache that the first processor uses, as the system tells it; empty where it doesn't."""
    found = {}
    for folder in sorted(Path("/sys/devices/system/cpu/cpu0/cache").glob("index*")):
        try:
            level, kind, size = ((folder / name).read_text().strip() for name in ("level", "type", "size"))
        except OSError:
            continue
        if kind != "Instruction":
            found[f"L{level}"] = int(size.rstrip("KMG")) << {"K": 10, "M": 20, "G": 30}.get(size[-1], 0)
    if not found and hasattr(os, "sysconf"):
        for level, name in (("L1", "SC_LEVEL1_DCACHE_SIZE"), ("L2", "SC_LEVEL2_CACHE_SIZE"), ("L3", "SC_LEVEL3_CACHE_SIZE")):
            if name in os.sysconf_names and os.sysconf(name) > 0:
                found[level] = os.sysconf(name)
    return found


def bandwidth(moved: int, threads: int, kind: Callable[..., Limit] = copies) -> float:
    """Bytes a second of a loop over this many bytes, the fastest of several."""
    limit = kind(moved, threads, max(1, (1 << 24) // moved))
    return limit.work / shortest(limit.call)

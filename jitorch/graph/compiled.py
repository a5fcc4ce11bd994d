"""A compiled program: tables for the executor, filled with addresses and run."""
from __future__ import annotations

import ctypes
import hashlib
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any
from weakref import WeakValueDictionary

import numpy as np

from .. import config
from ..dtypes import ITEMSIZE
from ..kernels.cpu.codegen import Kernel
from ..kernels.cpu.executor import CALL, call_table
from ..kernels.memory import address, allocate
from .program import call_reference


@dataclass
class KernelStep:
    kernel: Kernel
    region: int                 # how many steps from here on run side by side (0: this one belongs to an earlier one's)
    lines: list[str]
    values: list
    final: bool                 # the first step of a region that overwrites a leaf
    tickets: dict[str, Any] = field(default_factory=dict)       # of the kernel (under "") and of its parts

    @property
    def sources(self) -> dict[str, str]:
        """What is compiled for this step: the kernel, under "", and its parts."""
        return {"": self.kernel.source, **self.kernel.parts}

    def wait(self) -> None:
        """Until everything is compiled. Raises RuntimeError with the source that could not be."""
        for name, ticket in self.tickets.items():
            ticket.wait()
            if ticket.error:
                raise RuntimeError(
                    f"a kernel of this program could not be compiled (please report this):\n{ticket.error}\n{self.sources[name]}")


@dataclass(frozen=True)
class Tables:
    """What the executor reads of a program, the same in every thread and at every run."""

    executor: Any
    words: np.ndarray                               # every kernel's table
    scalar_words: list[tuple[int, int, bool]]       # (word, place among the run's scalars, is it a real number)
    fixups: np.ndarray                              # (word, base, offset)
    fixup_count: int
    segments: list[np.ndarray | HostCall]           # rows of kernels


@dataclass
class HostCall:
    op: Any
    operands: list[tuple]
    attrs: tuple
    results: list[tuple]
    line: str | None


class CompiledProgram:
    """Runs the steps of a program. Words of a kernel's table are numbers, or addresses that are set before each run:

    base 0 the arena, 1 the error word, then the leaves, then the new results. Run-time scalars are written into the words themselves.
    """

    def __init__(self, steps, calls, arena: int, outputs: list[tuple], leaves: int, prepared: Sequence[KernelStep] = ()):
        self.steps, self.calls, self.arena_bytes, self.outputs = steps, calls, arena, outputs
        self.prepared = prepared                # what is computed from constants: run once, when it is linked
        self.winograd = config.winograd         # as it was built
        self.fresh = [i for i, (leaf, _, _) in enumerate(outputs) if leaf < 0]
        self.result_base = {i: 2 + leaves + k for k, i in enumerate(self.fresh)}
        self.base_count = 2 + leaves + len(self.fresh)
        self.tables: Tables | None = None       # made when every kernel is there; never changed, since any thread may be running them
        self.checks = any(w[0] == "errors" for s in steps if isinstance(s, KernelStep) for w in s.kernel.words)
        self.local = threading.local()
        self.request()

    @property
    def kernel_count(self) -> int:
        """How many kernels a run starts: equal ones side by side count once."""
        return sum(1 for s in self.steps if isinstance(s, KernelStep) and s.region)

    @property
    def kernel_steps(self) -> list[KernelStep]:
        """All that have to be compiled."""
        return [*self.prepared, *(s for s in self.steps if isinstance(s, KernelStep))]

    # -- compiling ---------------------------------------------------------------------------------------------------
    def request(self) -> None:
        from ..kernels.cpu import executor, pool
        executor.request()
        for s in self.kernel_steps:
            s.tickets = {name: pool.request(source) for name, source in s.sources.items()}

    def ready(self) -> bool:
        """Whether every kernel is compiled; raises if one could not be."""
        if self.tables is not None:
            return True
        from ..kernels.cpu import executor
        tickets = [t for s in self.kernel_steps for t in s.tickets.values()]
        if executor.Executor.get() is None or not all(t.ready() for t in tickets):
            return False
        self.tables = self.link()
        return True

    def link(self) -> Tables:
        """Wait for the kernels, prepare constants, and make the executor's tables."""
        from ..kernels.cpu import executor
        for s in self.prepared:
            s.wait()
            prepare(s)
        words: list[int] = []
        scalars: list[tuple[int, int, bool]] = []
        fixups: list[tuple[int, int, int]] = []
        segments: list = []
        rows: list[list[int]] = []
        times: list[float] = []
        overwriting = False
        for s in self.steps:
            if isinstance(s, HostCall):
                if rows:
                    segments.append(share_out(rows, times))
                    rows, times = [], []
                segments.append(s)
                continue
            if s.final and not overwriting:
                overwriting = True
                if self.checks and rows:
                    segments.append(share_out(rows, times))     # errors are looked for before anything is overwritten; afterwards there are none
                    rows, times = [], []
            s.wait()
            k = s.kernel
            start = len(words)
            for w in k.words:
                if w[0] == "int":
                    words.append(w[1])
                elif w[0] == "scalar":
                    scalars.append((len(words), w[1], w[2]))
                    words.append(0)
                elif w[0] == "table":
                    words.append(address(w[1]))
                elif w[0] == "part":
                    words.append(s.tickets[w[1]].address)
                elif w[0] == "buffer" and w[1].kind == "kept":
                    words.append(address(w[1].constant))
                else:
                    fixups.append((len(words), *self.address_of(w)))
                    words.append(0)
            rows.append([s.tickets[""].address, start, k.units, k.chunk, s.region, 0, int(k.finish), 0])
            times.append(k.units / k.chunk * k.chunk_time)
        if rows:
            segments.append(share_out(rows, times))
        return Tables(executor.Executor.get(wait=True), np.array(words or [0], np.int64), scalars,
                      np.array(fixups or [(0, 0, 0)], np.int64), len(fixups), segments)

    def address_of(self, w: tuple) -> tuple[int, int]:
        """(base, byte offset) of a word that holds an address."""
        if w[0] == "errors":
            return 1, 0
        if w[0] == "slots":
            return 1, SLOT_BYTES
        _, buffer, offset, dtype = w
        return self.base_of(buffer), buffer.offset + offset * (1 if dtype == "bytes" else ITEMSIZE[dtype])

    def base_of(self, buffer) -> int:
        if buffer.kind == "arena":
            return 0
        if buffer.kind == "leaf":
            return 2 + buffer.number
        return self.result_base[buffer.number]

    # -- running -----------------------------------------------------------------------------------------------------
    def run(self, leaves: Sequence[np.ndarray], addresses: Sequence[int], scalars: list) -> list[tuple[np.ndarray, int]]:
        """The wanted results as (flat buffer, address)."""
        results = [allocate(n, dtype) if leaf < 0 else (leaves[leaf], addresses[leaf]) for leaf, dtype, n in self.outputs]
        self.launch(addresses, [results[i][1] for i in self.fresh], scalars, leaves, results)
        return results

    def launch(self, addresses: Sequence[int], fresh: list[int], scalars: list, leaves: Sequence = (), results: list = []) -> None:  # noqa: B006
        """Run on memory given by addresses: of the leaves, and of the results that are new. leaves, results: arrays, for host calls."""
        mine = getattr(self.local, "tables", None) or self.tables_of_thread()
        if mine.state:              # a signal handler or a finalizer runs what it has interrupted
            mine = self.new_tables()
        mine.state = BUSY
        arena, arena_address = thread_arena(self.arena_bytes)
        if mine.several:
            _thread.memory = None   # what runs in between has to find its own
        try:
            if mine.scalar_words:
                mine.set_scalars(scalars)
            mine.bases[:] = [arena_address, mine.errors_address, *addresses, *fresh]
            if self.checks:
                mine.errors[0] = 0
            executor, last, run = mine.executor, mine.last, mine.entry
            for segment in mine.segments:
                if segment.__class__ is tuple:
                    table, place = segment
                    table[POOL] = executor.pool_address
                    if segment is last:
                        mine.results = results      # nothing in this thread sees them before the call is over
                    mine.state = WRITING
                    run(place)
                    if self.checks and mine.errors[0]:
                        raise IndexError("index out of range in self")
                else:
                    mine.state = WRITING
                    self.call(segment, arena, leaves, [b for b, _ in results], scalars)
        finally:
            mine.state, mine.results = IDLE, None
            if mine.several:
                _thread.memory = (arena, arena_address)

    def interrupted(self) -> tuple[bool, list[tuple[np.ndarray, int]] | None]:
        """Of the run that was interrupted in this thread: has it begun to write, and its results, if all is written."""
        mine = getattr(self.local, "tables", None)
        return (False, None) if mine is None else (mine.state == WRITING, mine.results)

    def new_tables(self) -> ThreadTables:
        tables = self.tables
        if tables is None:
            tables = self.tables = self.link()
        return ThreadTables(tables, self.base_count, self.checks)

    def tables_of_thread(self) -> ThreadTables:
        """Tables are written at every run, so each thread has its own."""
        mine = self.local.tables = self.new_tables()
        return mine

    def call(self, c: HostCall, arena, leaves, results, scalars) -> None:
        """Run an op's reference on the buffers of this run."""
        def array(buffer, shape, dtype):
            if buffer.kind == "arena":
                n = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
                return arena[buffer.offset:buffer.offset + n].view(dtype).reshape(shape)
            return (leaves if buffer.kind == "leaf" else results)[buffer.number].reshape(shape)
        args = []
        for o in c.operands:
            if o[0] == "buffer":
                args.append(array(*o[1:]))
            elif o[0] == "none":
                args.append(None)
            else:
                args.append(o[1] if o[0] == "number" else scalars[o[1]])
        with np.errstate(all="ignore"):
            outs = call_reference(c.op, args, c.attrs)
        for buffer, which, shape, dtype in c.results:
            np.copyto(array(buffer, shape, dtype), np.asarray(outs[which]).reshape(shape), casting="unsafe")


# -- what is prepared of constants ------------------------------------------------------------------------------------
_kept: WeakValueDictionary[tuple, np.ndarray] = WeakValueDictionary()     # by kernel and contents: programs for several batch sizes share them


def prepare(step: KernelStep) -> None:
    """Run a kernel that reads constants alone, once; its result is a constant from then on."""
    from ..kernels.cpu import executor
    words: list[int] = []
    key: list = [step.kernel.source]
    kept: Any = None
    for number, w in enumerate(step.kernel.words):
        if w[0] == "int":
            words.append(w[1])
            key.append(w[1])
        elif w[0] == "table":
            words.append(address(w[1]))
            key.append(w[1].tobytes())
        elif w[1].kind == "kept":
            kept, where = w[1], number
            words.append(0)
        else:
            words.append(address(w[1].constant) + w[2] * ITEMSIZE[w[3]])
            key += [w[2], hashlib.sha256(w[1].constant.view(np.uint8).data).digest()]
    found = _kept.get(tuple(key))
    if found is None:
        raw = np.empty(kept.bytes + 64, np.uint8)
        found = raw[-address(raw) % 64:][:kept.bytes]
        words[where] = address(found)
        k = step.kernel
        rows = np.array([[step.tickets[""].address, 0, k.units, max(k.units, 1), 1, 0, 0, 0]], np.int64)
        tables = np.array(words, np.int64), np.zeros(3, np.int64), np.zeros(1, np.int64)
        executor.Executor.get(wait=True).run(address(rows), 1, address(tables[0]), address(tables[1]), 0, address(tables[2]))  # type: ignore[union-attr]
        _kept[tuple(key)] = found
    kept.constant = found


# of scratch memory that a task of a kernel takes for itself while it runs: a word in each of these lines, 0 when free
MAX_SLOTS, SLOT_BYTES = 64, 64

ALONE, WORTH_WAKING = 20.0, 200.0      # microseconds: less is not shared out; to wake a sleeping thread may take 130 us on a virtual machine


def share_out(rows: list[list[int]], times: list[float]) -> np.ndarray:
    """The executor's table of a run of kernels: which regions are shared out among threads, and where sleeping threads are woken.

    Threads are woken by a region that is long by itself, or by the first one of a long run: awake threads look for work for a while.
    """
    i, awake = 0, False
    shared = []
    while i < len(rows):
        k = rows[i][4]
        time = sum(times[i:i + k])
        if time < ALONE:
            for row in rows[i:i + k]:
                row[4] = 1
        else:
            shared.append((i, time))
        cumulative = 0
        for row in rows[i:i + k]:
            row[5] = cumulative if time >= ALONE else 0
            cumulative += -(-row[2] // row[3])
        i += k
    total = sum(time for _, time in shared)
    for i, time in shared:
        if time >= WORTH_WAKING or (not awake and total >= 2 * WORTH_WAKING):
            rows[i][6] |= 2
            awake = True
    alone = [i for i, row in enumerate(rows) if row[4] == 1 and all(i != j for j, _ in shared)]
    for i in alone:
        rows[i][3] = max(rows[i][3], rows[i][2], 1)       # one task
    return np.array(rows, np.int64)


POOL = CALL.index("pool")       # set before each call: the pool is another one when the number of threads changes


IDLE, BUSY, WRITING = range(3)      # what a thread's tables are used for


class ThreadTables:
    """What a run writes: addresses, run-time scalars, the error word."""

    def __init__(self, tables: Tables, base_count: int, checks: bool):
        self.tables = tables        # rows and fixups are read by their addresses, so they have to stay
        self.executor, self.entry, self.scalar_words = tables.executor, tables.executor.entry, tables.scalar_words
        self.state = IDLE
        self.results: list[tuple[np.ndarray, int]] | None = None        # of this run, from its last call on
        self.words = tables.words.copy()
        self.errors = (ctypes.c_int64 * (SLOT_BYTES // 8 * (1 + MAX_SLOTS)))()     # the error word, then the slots
        self.bases = (ctypes.c_int64 * base_count)()
        self.errors_address = ctypes.addressof(self.errors)
        self.integers = memoryview(self.words)
        self.reals = memoryview(self.words.view(np.float64))
        words, fixups, bases = address(self.words), address(tables.fixups), ctypes.addressof(self.bases)
        self.segments: list[Any] = [call_table(address(s), len(s), words, fixups, tables.fixup_count, bases) if isinstance(s, np.ndarray) else s
                                    for s in tables.segments]
        self.several = len(self.segments) > 1
        # errors are told after the call, so where they may be, results are not at hand before the run is over
        self.last = None if checks or not self.segments else self.segments[-1]

    def set_scalars(self, numbers: list) -> None:
        for word, place, real in self.scalar_words:
            if real:
                self.reals[word] = numbers[place]
            else:
                self.integers[word] = (int(numbers[place]) + 2 ** 63) % 2 ** 64 - 2 ** 63


class _Thread(threading.local):
    memory: tuple[np.ndarray, int] | None = None        # for temporaries


_thread = _Thread()


def thread_arena(size: int) -> tuple[np.ndarray, int]:
    """This thread's memory for temporaries, 64-byte aligned, and its address; grows to the largest program's need."""
    held = _thread.memory
    if held is None or held[0].size < size:
        held = _thread.memory = None        # not beside the larger one
        raw = np.empty(size + 64, np.uint8)
        shift = -address(raw) % 64
        held = _thread.memory = (raw[shift:shift + size], address(raw) + shift)
    return held

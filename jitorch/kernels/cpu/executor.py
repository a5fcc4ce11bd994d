"""Runs a table of compiled kernels in one call, large ones split over threads.

A program is a table of steps, one row of eight 64-bit words a kernel:

| column | meaning |
| --- | --- |
| 0 | address of the kernel |
| 1 | where its argument table starts, an index into `words` |
| 2 | n: its iteration space is [0, n) |
| 3 | chunk: a task is [t * chunk, (t + 1) * chunk), cut at n |
| 4 | in the first row of a region: the number of rows in it; its rows may run at the same time |
| 5 | the number of tasks in the rows of the region above this one |
| 6 | flags; bit 0: when the region is done, call the kernel once with lo = hi = n (the finish call); bit 1: wake sleeping threads for it |
| 7 | unused |

Before the first step, each row (word, base, offset) of the table of fixups sets words[word] = bases[base] + offset:
the addresses of this run's buffers.

Where all that is stands in a table of seven words (CALL), whose address is the only argument: a foreign call with seven
numbers takes four times as long.

The tasks of a region are taken one by one by the caller and by the threads of a pool. Where tasks begin and end
depends on n and chunk only, and finish calls are made by the caller in the order of the rows, so results are bitwise
the same for any number of threads. The caller never waits for a thread that has not started a task. If another thread
is using the pool, or the region has one task, the caller does it all.

A thread of the pool is a Python thread inside one C call that never returns while the pool lives, so it never needs the
interpreter. It looks for work for SPIN_MICROSECONDS after the last task, then sleeps. Both functions are kernels as any
other: compiled in a helper, kept in the cache.
"""

from __future__ import annotations

import ctypes
import os
import threading
import time
from functools import cache
from pathlib import Path
from typing import Any

from ... import config
from . import pool

SPIN_MICROSECONDS = 40
YIELD_AFTER = 200  # looks of the caller at unfinished tasks before it lets other threads have its core

# The pool's memory in 64-bit words. What different threads write is 128 bytes apart, two cache lines.
LAYOUT = {
    "LOCK": 0,  # 1 while a program uses the pool
    "STATE": 16,  # number of the region << 32 | tasks not yet taken
    "DONE": 32,  # tasks that threads of the pool have finished, of this region
    "SLEEPERS": 48,
    "STOP": 64,
    "ROWS": 80,  # the region: address of its first row, number of rows, of tasks, address of the words
    "COUNT": 81,
    "TASKS": 82,
    "WORDS": 83,
    "THREADS": 96,  # of this line, only this word changes
    "SPINS": 97,
    "MUTEX": 98,
    "CONDITION": 99,
    "LOCK_MUTEX": 100,  # addresses of functions, from here on
    "UNLOCK_MUTEX": 101,
    "WAIT": 102,
    "WAKE_ONE": 103,
    "YIELD": 104,
}
POOL_WORDS = 112
MUTEX_BYTES = 128  # more than any platform's mutex or condition variable
CONSTANTS = "".join(
    f"{name} = {value}\n" for name, value in {**LAYOUT, "YIELD_AFTER": YIELD_AFTER, "MASK": 0xFFFFFFFF}.items()
)

TAKE_TASKS = '''
@helper
def take_tasks(pool):
    """Run tasks of the current region until all are taken; how many this thread ran."""
    ran = 0
    row = 0
    while True:
        state = load_atomic(at(pool, STATE))
        left = state & MASK
        if left == 0:
            return ran
        # read before the task is taken: the region stays as it is as long as it has tasks left
        rows = pool[ROWS]
        count = pool[COUNT]
        task = pool[TASKS] - left
        words = pool[WORDS]
        if not replace_atomic(at(pool, STATE), state, state - 1):
            continue
        while row + 1 < count and task >= pointer_to(rows)[(row + 1) * 8 + 5]:
            row += 1
        step = pointer_to(rows + row * 64)
        lo = (task - step[5]) * step[3]
        hi = lo + step[3]
        if hi > step[2]:
            hi = step[2]
        call_kernel(step[0], table_at(words + step[1] * 8), lo, hi)
        ran += 1
'''

RUN = (
    CONSTANTS
    + TAKE_TASKS
    + '''
SIGNATURE = "void(int64)"


@helper
def publish(pool, rows, count, tasks, words, wake):
    """Show a region to the threads of the pool, and wake those that sleep if the region is marked as worth it."""
    pool[ROWS] = rows
    pool[COUNT] = count
    pool[TASKS] = tasks
    pool[WORDS] = words
    store_atomic(at(pool, DONE), 0)
    region = (load_atomic(at(pool, STATE)) >> 32) + 1
    store_atomic(at(pool, STATE), (region << 32) | tasks)
    sleepers = load_atomic(at(pool, SLEEPERS))
    if wake != 0 and sleepers > 0:
        # with the lock taken once, a thread that saw no work is asleep by now
        call_c(pool[LOCK_MUTEX], pool[MUTEX], 0, 0)
        call_c(pool[UNLOCK_MUTEX], pool[MUTEX], 0, 0)
        if sleepers > tasks - 1:
            sleepers = tasks - 1
        for _ in range(sleepers):
            call_c(pool[WAKE_ONE], pool[CONDITION], 0, 0)


@helper
def await_others(pool, tasks):
    """Wait until the threads of the pool have finished this many tasks, all of which they have begun."""
    looks = 0
    while load_atomic(at(pool, DONE)) != tasks:
        looks += 1
        if looks > YIELD_AFTER:
            call_c(pool[YIELD], 0, 0, 0)
        else:
            pause()


@helper
def run_alone(rows, count, words):
    """All tasks of a region, in order."""
    for row in range(count):
        step = pointer_to(rows + row * 64)
        n = step[2]
        chunk = step[3]
        lo = 0
        while lo < n:
            hi = lo + chunk
            if hi > n:
                hi = n
            call_kernel(step[0], table_at(words + step[1] * 8), lo, hi)
            lo += chunk


def kernel(call_address):
    call = pointer_to(call_address)
    steps = call[0]
    nsteps = call[1]
    words = call[2]
    fixups = call[3]
    nfixups = call[4]
    pool = pointer_to(call[6])
    for _ in range(-nsteps):  # a negative number of steps: wait that many pauses, to measure how long one takes
        pause()
        load_atomic(at(pool, STATE))
    table = pointer_to(words)
    base = pointer_to(call[5])
    for f in range(nfixups):
        fixup = pointer_to(fixups + f * 24)
        table[fixup[0]] = base[fixup[1]] + fixup[2]
    parallel = pool[THREADS] > 1
    locked = False
    s = 0
    while s < nsteps:
        rows = steps + s * 64
        count = pointer_to(rows)[4]
        last = pointer_to(rows + (count - 1) * 64)
        tasks = last[5] + (last[2] + last[3] - 1) // last[3]
        if tasks > 1 and parallel and not locked:
            locked = replace_atomic(at(pool, LOCK), 0, 1)
            parallel = locked
        if tasks > 1 and parallel:
            publish(pool, rows, count, tasks, words, pointer_to(rows)[6] & 2)
            await_others(pool, tasks - take_tasks(pool))
        else:
            run_alone(rows, count, words)
        for row in range(count):
            step = pointer_to(rows + row * 64)
            if step[6] & 1:
                call_kernel(step[0], table_at(words + step[1] * 8), step[2], step[2])
        s += count
    if locked:
        store_atomic(at(pool, LOCK), 0)
'''
)

WORKER_LOOP = (
    CONSTANTS
    + TAKE_TASKS
    + '''
SIGNATURE = "int64(int64)"


@helper
def sleep(pool):
    """Until there is work, or the pool stops."""
    call_c(pool[LOCK_MUTEX], pool[MUTEX], 0, 0)
    add_atomic(at(pool, SLEEPERS), 1)
    while load_atomic(at(pool, STATE)) & MASK == 0 and load_atomic(at(pool, STOP)) == 0:
        call_c(pool[WAIT], pool[CONDITION], pool[MUTEX], -1)
    add_atomic(at(pool, SLEEPERS), -1)
    call_c(pool[UNLOCK_MUTEX], pool[MUTEX], 0, 0)


def kernel(pool_address):
    pool = pointer_to(pool_address)
    looks = 0
    while load_atomic(at(pool, STOP)) == 0:
        if load_atomic(at(pool, STATE)) & MASK:
            ran = take_tasks(pool)
            if ran:
                add_atomic(at(pool, DONE), ran)
            looks = 0
        elif looks < pool[SPINS]:
            looks += 1
            pause()
        else:
            sleep(pool)
            looks = 0
    return 0
'''
)

ENTRY = ctypes.CFUNCTYPE(None, ctypes.c_void_p)
# of one call: addresses of the steps, the words, the fixups, the bases and the pool, and how many steps and fixups there are
CALL = ("steps", "nsteps", "words", "fixups", "nfixups", "bases", "pool")
LOOP = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_int64)
# lock, unlock, wait (condition, mutex, forever), wake one, let others run
POSIX = ("pthread_mutex_lock", "pthread_mutex_unlock", "pthread_cond_wait", "pthread_cond_signal", "sched_yield")
WINDOWS = (
    *("AcquireSRWLockExclusive", "ReleaseSRWLockExclusive", "SleepConditionVariableSRW", "WakeConditionVariable"),
    "SwitchToThread",
)


def call_table(*words: int) -> tuple[Any, int]:
    """The table of a call (CALL; what is left out is 0), which has to be kept, and its address."""
    table = (ctypes.c_int64 * len(CALL))(*words)
    return table, ctypes.addressof(table)


def function_address(library: Any, name: str) -> int:
    address = ctypes.cast(getattr(library, name), ctypes.c_void_p).value
    assert address is not None
    return address


class ThreadPool:
    """The shared memory of a pool and its threads. Neither is ever freed: a program may be running in it."""

    def __init__(self) -> None:
        """A pool of the caller alone; `start` adds threads."""
        size = 8 * POOL_WORDS + 2 * MUTEX_BYTES + 128
        self.memory = ctypes.create_string_buffer(size)
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(self.memory))
        self.address = (ctypes.addressof(self.memory) + 127) & ~127
        self.words = (ctypes.c_int64 * POOL_WORDS).from_address(self.address)
        mutex = self.address + 8 * POOL_WORDS
        condition = mutex + MUTEX_BYTES
        if os.name == "nt":
            library, names = getattr(ctypes, "windll").kernel32, WINDOWS  # noqa: B009 (only Windows has it)
        else:
            library, names = ctypes.CDLL(None), POSIX
            library.pthread_mutex_init(ctypes.c_void_p(mutex), None)
            library.pthread_cond_init(ctypes.c_void_p(condition), None)
        self["THREADS"], self["MUTEX"], self["CONDITION"] = 1, mutex, condition
        for n, name in enumerate(names):
            self.words[LAYOUT["LOCK_MUTEX"] + n] = function_address(library, name)
        self.lock_mutex, self.unlock_mutex, self.wake_one = (getattr(library, names[n]) for n in (0, 1, 3))

    def __getitem__(self, name: str) -> int:
        return self.words[LAYOUT[name]]

    def __setitem__(self, name: str, value: int) -> None:
        self.words[LAYOUT[name]] = value

    def start(self, loop: Any, threads: int, spins: int) -> None:
        """Have `threads` threads, the caller counted."""
        self["SPINS"] = spins
        for n in range(1, threads):
            threading.Thread(target=loop, args=(self.address,), name=f"jitorch-{n}", daemon=True).start()
        self["THREADS"] = threads

    def stop(self) -> None:
        """Let the threads end when they have nothing to do. A program that is running finishes."""
        threads = self["THREADS"]
        self["THREADS"], self["STOP"] = 1, 1
        # with the mutex taken once, a thread that saw no STOP is asleep by now
        self.lock_mutex(ctypes.c_void_p(self["MUTEX"]))
        self.unlock_mutex(ctypes.c_void_p(self["MUTEX"]))
        for _ in range(threads):
            self.wake_one(ctypes.c_void_p(self["CONDITION"]))


class Executor:
    """The compiled executor and its threads; one a process, see `get`."""

    def __init__(self, run_address: int, loop_address: int) -> None:
        self.entry = ENTRY(run_address)
        self._loop = LOOP(loop_address)
        self._pool = ThreadPool()
        self.pool_address = self._pool.address
        self._spins = self._pauses(SPIN_MICROSECONDS)
        self.threads_started = False

    @staticmethod
    def get(wait: bool = False) -> Executor | None:
        """The executor, or None if it is not compiled yet (`wait`: wait for it). Raises CompileError."""
        if _executor is not None and _executor.threads_started:
            return _executor
        return _make(wait)

    def run(self, steps: int, nsteps: int, words: int, fixups: int, nfixups: int, bases: int) -> None:
        """Run a program. All arguments but the two numbers are addresses of tables of int64, see the module's text."""
        _table, place = call_table(steps, nsteps, words, fixups, nfixups, bases, self.pool_address)
        self.entry(place)

    def _pauses(self, microseconds: float) -> int:
        """How many looks at the pool's state take this long."""
        looks, seconds = 1000, []
        for _ in range(3):
            start = time.perf_counter()
            self.run(0, -looks, 0, 0, 0, 0)
            seconds.append(time.perf_counter() - start)
        return int(looks * microseconds * 1e-6 / max(min(seconds), 1e-7))

    def _start_threads(self) -> None:
        """A new pool with the number of threads asked for, instead of the one there is."""
        old, new = self._pool, ThreadPool()
        new.start(self._loop, get_num_threads(), self._spins)
        self._pool, self.pool_address = new, new.address
        self.threads_started = True
        old.stop()

    def _forked(self) -> None:
        """In a forked child: the pool's threads did not come along."""
        self._pool = ThreadPool()
        self.pool_address = self._pool.address
        self.threads_started = False


_lock = threading.RLock()  # a signal handler or a finalizer may run while this thread holds it
_executor: Executor | None = None
_num_threads: int | None = None


def request() -> tuple[pool.Ticket, pool.Ticket]:
    """Have the executor compiled, or loaded from the cache, in the background."""
    return pool.request(RUN), pool.request(WORKER_LOOP)


def _make(wait: bool) -> Executor | None:
    global _executor
    tickets = request()
    if not wait and not all(ticket.ready() for ticket in tickets):
        return None
    for ticket in tickets:  # before the lock, which a fork takes too
        ticket.wait()
    with _lock:
        if _executor is None:
            _executor = Executor(*(ticket.address for ticket in tickets))
        if not _executor.threads_started:
            _executor._start_threads()
        return _executor


def set_num_threads(n: int) -> None:
    """The number of threads that run a program, the caller counted. RuntimeError unless it is from 1 to 1024.

    >>> before = get_num_threads()
    >>> set_num_threads(1)
    >>> get_num_threads()
    1
    >>> set_num_threads(before)
    """
    global _num_threads
    if n < 1:
        raise RuntimeError(f"set_num_threads expects a positive integer, got {n}")
    if n > config.MAX_THREADS:
        raise RuntimeError(f"set_num_threads expects at most {config.MAX_THREADS} threads, got {n}")
    with _lock:
        changed = n != get_num_threads()
        _num_threads = n
        if changed and _executor is not None and _executor.threads_started:
            _executor._start_threads()


def get_num_threads() -> int:
    """The number of threads that run a program: from `set_num_threads`, JITORCH_NUM_THREADS or `available_cpus`.

    >>> get_num_threads() >= 1
    True
    """
    return _num_threads if _num_threads is not None else _default_threads()


@cache
def _default_threads() -> int:
    return config.threads or available_cpus()


def available_cpus() -> int:
    """The CPUs this process may run on, within the quota of its control group.

    Source: Linux, Documentation/admin-guide/cgroup-v2.rst (cpu.max), cgroup-v1 (cpu.cfs_quota_us).
    """
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = period = 0
    try:
        first, second = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        quota, period = (0, 0) if first == "max" else (int(first), int(second))
    except (OSError, ValueError):  # not Linux, or version 1
        try:
            quota = int(Path("/sys/fs/cgroup/cpu/cpu.cfs_quota_us").read_text())
            period = int(Path("/sys/fs/cgroup/cpu/cpu.cfs_period_us").read_text())
        except (OSError, ValueError):
            quota = 0
    if quota > 0 and period > 0:
        cpus = min(cpus, max(1, -(-quota // period)))
    return cpus


def _after_fork() -> None:
    _lock.release()
    if _executor is not None:
        _executor._forked()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_lock.acquire, after_in_parent=_lock.release, after_in_child=_after_fork)

"""Compiled kernels on request: from memory, from the disk, or from a helper process that compiles in the background.

    ticket = request(source)
    ticket.ready()          # never blocks
    ticket.wait()           # blocks; Ctrl-C leaves everything usable
    ticket.address          # of the machine code, loaded when first asked for

Numba runs in the helpers only, so neither its import nor a compilation ever holds up this process. There are at most
two helpers, started when first needed; each is driven by a thread of its own here. A helper that dies is replaced, and
its kernel tried once more. A forked child starts its own helpers.
"""

from __future__ import annotations

import atexit
import json
import os
import subprocess
import sys
import threading
import time
import traceback
from collections import deque

from .. import cache
from ..objects import Compiled, unpack
from . import loader
from .worker import read_message, write_message

MAX_HELPERS = 2
ATTEMPTS = 2  # a helper may be killed from outside; a kernel that kills two of them is to blame itself


class CompileError(RuntimeError):
    """A kernel could not be compiled or loaded: a bug in the generator of its source. Holds the helper's traceback."""


class HelperDied(Exception):
    """A helper ended before it answered."""


class Ticket:
    """A kernel that was asked for. `error` is None or the text of what went wrong; `folder` is where it is kept on disk."""

    __slots__ = ("source", "key", "folder", "error", "attempts", "_kernel", "_address", "_pool")

    def __init__(self, pool: Pool, source: str) -> None:
        self.source, self.key, self.folder = source, cache.key(source), cache.directory()
        self.error: str | None = None
        self.attempts = 0
        self._kernel: Compiled | None = None
        self._address = 0
        self._pool = pool

    def ready(self) -> bool:
        """Whether the kernel is compiled or has failed. Never blocks."""
        if self._done():
            return True
        if not self._pool.threads:  # this process was forked while the kernel was compiled
            self._pool.start_threads()
        return False

    def _done(self) -> bool:
        return bool(self._address) or self._kernel is not None or self.error is not None

    def wait(self, timeout: float | None = None) -> bool:
        """Block until the kernel is ready, for `timeout` seconds at most; whether it is."""
        if not self.ready():
            self._pool.wait(self, timeout)
        cache.warn_of_problems()
        return self.ready()

    @property
    def address(self) -> int:
        """The address of the machine code. Waits if the kernel is not ready. Raises CompileError."""
        if self._address:
            return self._address
        self.wait()
        kernel = self._kernel
        if self.error is None and kernel is not None:
            try:
                self._address = loader.load(kernel)
                self._kernel = None
            except loader.LoadError as error:
                self.error = str(error)
        if self.error is not None:
            raise CompileError(f"a kernel failed:\n{self.error}\nIts source:\n{self.source}")
        return self._address

    def __repr__(self) -> str:
        state = "failed" if self.error is not None else "ready" if self.ready() else "pending"
        return f"<Ticket {self.key[:12]} {state}>"


class Helper:
    """A process that runs worker.py. Every method may raise HelperDied."""

    def __init__(self) -> None:
        if not sys.executable:
            raise OSError("sys.executable is not set, so no compile helper can be started")
        script = os.path.join(os.path.dirname(os.path.abspath(__file__)), "worker.py")
        # settings of Numba and of warnings are meant for the user's own code, not for the code compiled here
        environment = {k: v for k, v in os.environ.items() if not k.startswith("NUMBA_") and k != "PYTHONWARNINGS"}
        windows = ("CREATE_NEW_PROCESS_GROUP", "BELOW_NORMAL_PRIORITY_CLASS")  # what worker.py does itself elsewhere
        self.process = subprocess.Popen(
            [sys.executable, script],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
            start_new_session=True,  # Ctrl-C in the terminal is not for the helper
            creationflags=sum(getattr(subprocess, name, 0) for name in windows),
        )
        self._send([os.path.abspath(path) for path in sys.path])

    def compile(self, source: str, key: str, path: str | None) -> bytes:
        self._send({"source": source, "key": key, "path": path})
        assert self.process.stdout is not None
        answer = read_message(self.process.stdout)
        if answer is None:
            raise HelperDied(f"the compile helper (process {self.process.pid}) ended with status {self.process.wait()}")
        return answer

    def _send(self, message: object) -> None:
        assert self.process.stdin is not None
        try:
            write_message(self.process.stdin, json.dumps(message).encode())
        except OSError as error:
            raise HelperDied(f"the compile helper (process {self.process.pid}) is gone: {error}") from error

    def end(self) -> None:
        """Kill the process, whatever it does."""
        self.process.kill()
        self.process.wait()
        self.close_pipes()

    def close_pipes(self) -> None:
        """Without writing what may be left in a buffer: the other end is gone, or, in a forked child, the parent's."""
        for pipe in (self.process.stdin, self.process.stdout):
            pipe.raw.close()  # type: ignore[union-attr]


class Pool:
    """The table of tickets, the queue of kernels to compile, and the helpers."""

    def __init__(self) -> None:
        self.tickets: dict[str, Ticket] = {}
        self.counts = {"compiled": 0, "loaded_from_disk": 0, "memory_hits": 0}
        self._reset()

    def _reset(self) -> None:
        """Start without threads and helpers. Kernels that are not ready are queued (again)."""
        self.changed = threading.Condition()
        self.queue: deque[Ticket] = deque()
        self.helpers: list[Helper] = []
        self.threads = self.idle = 0
        self.closing = False
        self.start_error = self.no_thread = ""
        self.queue.extend(ticket for ticket in self.tickets.values() if not ticket._done())

    def request(self, source: str) -> Ticket:
        """A ticket for the kernel with this source; the same one for the same source."""
        with self.changed:
            ticket = self.tickets.get(source)
            if ticket is not None:
                self.counts["memory_hits"] += 1
                return ticket
            ticket = Ticket(self, source)
            ticket._kernel = cache.load(ticket.folder, ticket.key)
            if ticket._kernel is not None:
                self.counts["loaded_from_disk"] += 1
            else:
                self.queue.append(ticket)
                self.changed.notify_all()
            self.tickets[source] = ticket  # last: Ctrl-C must not leave a ticket that no one works on
        if ticket._kernel is None:
            self.start_threads()
        cache.warn_of_problems()
        return ticket

    def start_threads(self) -> None:
        """Have as many threads as there is work for, and no more than there may be."""
        limit = min(MAX_HELPERS, os.cpu_count() or 1)
        with self.changed:
            while self.threads < limit and len(self.queue) > self.idle:
                self.threads += 1
                self.idle += 1
                try:
                    threading.Thread(target=self._serve, name=f"jitorch-compile-{self.threads}", daemon=True).start()
                except RuntimeError as error:  # none are left, or the interpreter ends (Python 3.12 starts none then)
                    self.threads -= 1
                    self.idle -= 1
                    self.no_thread = str(error)
                    return

    def wait(self, ticket: Ticket, timeout: float | None) -> None:
        deadline = None if timeout is None else time.monotonic() + timeout
        with self.changed:
            while not ticket.ready():
                why = "the interpreter is ending" if self.closing else "" if self.threads else self.no_thread
                if why:
                    ticket.error = f"nothing can be compiled any more ({why}); the tiers auto and reference need no compiler"
                    return
                left = None if deadline is None else deadline - time.monotonic()
                if left is not None and left <= 0:
                    return
                self.changed.wait(left)

    def _serve(self) -> None:
        """One thread: a helper, and the kernels it compiles, one after the other."""
        helper = self._start_helper()
        while True:
            with self.changed:
                while not self.queue and not self.closing:
                    self.changed.wait()
                if self.closing:
                    break
                ticket = self.queue.popleft()
                self.idle -= 1
            if helper is not None and helper.process.poll() is not None:  # killed while it had nothing to do
                self._retire(helper)
                helper = None
            helper = helper or self._start_helper()
            try:
                usable = self._compile(ticket, helper)
            except Exception:  # told to whoever waits for the kernel
                ticket.error = traceback.format_exc()
                usable = False
            if not usable:
                if helper is not None:
                    self._retire(helper)
                helper = None
            with self.changed:
                self.idle += 1
                self.changed.notify_all()
        if helper is not None:
            self._retire(helper)

    def _start_helper(self) -> Helper | None:
        try:
            helper = Helper()
        except (OSError, HelperDied) as error:  # no memory, no processes left: the kernel asked for next is told
            self.start_error = str(error)
            return None
        with self.changed:
            self.helpers.append(helper)
        return helper

    def _compile(self, ticket: Ticket, helper: Helper | None) -> bool:
        """Compile one kernel; whether the helper may be used again."""
        if helper is None:
            ticket.error = f"no compile helper could be started: {self.start_error}"
            return False
        try:
            path = cache.store_source(ticket.folder, ticket.key, ticket.source)
            answer = helper.compile(ticket.source, ticket.key, path)
            if answer[:1] == b"E":
                ticket.error = answer[1:].decode()
                return True
            kernel = unpack(ticket.key, answer[1:])
        except (HelperDied, ValueError) as error:  # ValueError: what it sent was cut off or mixed up
            ticket.attempts += 1
            with self.changed:
                if ticket.attempts < ATTEMPTS:
                    self.queue.appendleft(ticket)
                else:
                    ticket.error = str(error)
            return False
        cache.store(ticket.folder, ticket.key, kernel)  # first: a short program may end as soon as it knows
        with self.changed:
            self.counts["compiled"] += 1
            ticket._kernel = kernel
        return True

    def _retire(self, helper: Helper) -> None:
        with self.changed:
            if helper in self.helpers:
                self.helpers.remove(helper)
        helper.end()

    def stats(self) -> dict[str, int]:
        with self.changed:
            return {**self.counts, "pending": sum(not ticket.ready() for ticket in self.tickets.values())}

    def close(self) -> None:
        """At exit: end the helpers, also in the middle of a kernel."""
        with self.changed:
            self.closing = True
            self.changed.notify_all()
            helpers = list(self.helpers)
        for helper in helpers:
            helper.process.kill()  # the thread that reads from it sees its end
            helper.process.wait()

    def after_fork(self) -> None:
        """In a forked child: no thread and no helper came along."""
        for helper in self.helpers:
            helper.close_pipes()
            helper.process.returncode = 0  # not a child of this process: nothing to wait for
        self._reset()


_pool = Pool()
atexit.register(_pool.close)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=lambda: _pool.changed.acquire(),
        after_in_parent=lambda: _pool.changed.release(),
        after_in_child=_pool.after_fork,
    )


def request(source: str) -> Ticket:
    """A ticket for the kernel with this source: from memory, from the disk, or queued for a helper.

    >>> source = '''
    ... def kernel(args, lo, hi):
    ...     out = ptr_i64(args, 0)
    ...     for i in range(uint64(lo), uint64(hi)):
    ...         independent()
    ...         out[i] = int64(2 * i)
    ... '''
    >>> import ctypes
    >>> ticket = request(source)
    >>> ticket.wait()
    True
    >>> out = (ctypes.c_int64 * 3)()
    >>> kernel = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_ssize_t, ctypes.c_ssize_t)(ticket.address)
    >>> kernel(ctypes.byref(ctypes.c_uint64(ctypes.addressof(out))), 0, 3)
    >>> list(out)
    [0, 2, 4]
    """
    return _pool.request(source)


def stats() -> dict[str, int]:
    """How many kernels were compiled by helpers, loaded from the disk, found in memory, and are being compiled."""
    return _pool.stats()

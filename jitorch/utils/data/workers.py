"""Threads that make batches while the training loop runs the last one.

NumPy, decompression, file reading and compiled kernels release Python's lock, so that threads overlap with training;
they start at once, share the data set instead of copying it, and hand tensors over for nothing.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from queue import Empty, SimpleQueue
from typing import Any, NamedTuple

from ...graph.record import flush
from ...ops.random import Generator, thread_default

JOIN_SECONDS = 5.0  # how long stopping waits for a sample that is being made
POLL_SECONDS = 0.5  # between looks at whether the workers are alive
END = object()  # instead of a batch: the worker's stream of samples is at its end


class WorkerInfo(NamedTuple):
    """Number `id` of `num_workers` workers, its seed in this epoch, and the data set, which all workers share."""

    id: int
    num_workers: int
    seed: int
    dataset: Any


class Epoch(NamedTuple):
    """To a worker: what follows belongs to a new epoch."""

    number: int
    seed: int


class Task(NamedTuple):
    """To a worker: make this batch."""

    epoch: int
    number: int
    indices: Any


class Reply(NamedTuple):
    """From a worker: a batch, END, or what was raised."""

    epoch: int
    number: int
    worker: int
    batch: Any
    error: BaseException | None


class Board:
    """What the workers look at before each task."""

    def __init__(self) -> None:
        self.epoch = 0
        self.stopping = False


_local = threading.local()


def get_worker_info() -> WorkerInfo | None:
    """Which worker of a DataLoader the calling thread is; None in any other thread."""
    return getattr(_local, "info", None)


def work(
    worker: int,
    count: int,
    dataset: Any,
    fetcher: Callable[[], Callable],
    init: Callable[[int], object] | None,
    board: Board,
    tasks: SimpleQueue,
    results: SimpleQueue,
) -> None:
    """What a worker thread does, until it is told to stop."""
    _local.info = None
    fetch: Callable | None = None
    broken: BaseException | None = None
    first = True
    while (message := tasks.get()) is not None and not board.stopping:
        try:
            if isinstance(message, Epoch):
                fetch = broken = None
                if message.number == board.epoch:
                    _local.info = WorkerInfo(worker, count, message.seed + worker, dataset)
                    thread_default.generator = Generator().manual_seed((message.seed + worker) % 2**63)
                    if first and init is not None:
                        init(worker)
                    first = False
                    fetch = fetcher()
            elif message.epoch == board.epoch:
                results.put(answer(message, worker, fetch, broken))
        except BaseException as error:  # from worker_init_fn or iter(dataset): the loop gets it with the first batch
            broken = error


def answer(task: Task, worker: int, fetch: Callable | None, broken: BaseException | None) -> Reply:
    batch, error = END, broken
    if fetch is not None:
        try:
            batch = fetch(task.indices)
            flush()  # what is recorded belongs to this thread: nobody else can run it
        except StopIteration as stop:  # would end the training loop as if all were well
            error = RuntimeError("the dataset raised StopIteration")
            error.__cause__ = stop
        except BaseException as raised:
            error = raised
    if error is not None and hasattr(error, "add_note") and not getattr(error, "__notes__", None):
        error.add_note(f"raised in worker {worker} of a DataLoader")
    return Reply(task.epoch, task.number, worker, batch, error)


class Team:
    """Worker threads with the queues to and from them. Dropping it stops them."""

    def __init__(self, count: int, dataset: Any, fetcher: Callable[[], Callable], init: Callable[[int], object] | None):
        self.board = Board()
        self.results: SimpleQueue = SimpleQueue()
        self.tasks: list[SimpleQueue] = [SimpleQueue() for _ in range(count)]
        self.threads = [
            threading.Thread(
                target=work,
                args=(i, count, dataset, fetcher, init, self.board, queue, self.results),
                daemon=True,
                name=f"jitorch-data-{i}",
            )
            for i, queue in enumerate(self.tasks)
        ]
        for thread in self.threads:
            thread.start()

    def begin(self, seed: int) -> int:
        """Start an epoch, and forget what is left of the one before; its number."""
        self.board.epoch += 1
        for queue in self.tasks:
            queue.put(Epoch(self.board.epoch, seed))
        return self.board.epoch

    def reply(self, timeout: float) -> Reply:
        """The next reply. RuntimeError after `timeout` seconds (0: never), or if the workers are gone (fork)."""
        end = time.monotonic() + timeout if timeout else float("inf")
        while True:
            try:
                return self.results.get(timeout=max(0.0, min(POLL_SECONDS, end - time.monotonic())))
            except Empty:
                if time.monotonic() >= end:
                    raise RuntimeError(f"DataLoader timed out after {timeout} seconds") from None
                if not self.alive():
                    raise RuntimeError(
                        "the workers of this DataLoader are gone (threads don't survive a fork): "
                        "iterate over the loader anew"
                    ) from None

    def alive(self) -> bool:
        return all(thread.is_alive() for thread in self.threads)

    def stop(self) -> None:
        """End the threads. A sample that takes longer is finished in the background, and dropped."""
        self.board.stopping = True
        for queue in self.tasks:
            queue.put(None)
        if threading.current_thread() in self.threads:  # a garbage collection that happened in a worker
            return
        end = time.monotonic() + JOIN_SECONDS
        for thread in self.threads:
            thread.join(max(0.0, end - time.monotonic()))

    def __del__(self) -> None:
        if not sys.is_finalizing():
            self.stop()


class Threaded:
    """One epoch over a team: batches in the order of their indices (or as they come), a bounded number under way."""

    def __init__(
        self, team: Team, indices: Iterator, seed: int, ahead: int, timeout: float, in_order: bool, keep: bool
    ):
        self.team, self.indices, self.timeout, self.in_order, self.keep = team, indices, timeout, in_order, keep
        self.active = list(range(len(team.threads)))
        self.sent = self.received = 0
        self.waiting: dict[int, Reply] = {}
        self.epoch = team.begin(seed)
        for _ in range(ahead):
            self.send()

    def __iter__(self) -> Threaded:
        return self

    def __next__(self) -> Any:
        while self.received < self.sent:
            reply = self.take()
            self.received += 1
            if reply.batch is END and reply.error is None:
                if reply.worker in self.active:
                    self.active.remove(reply.worker)
                continue
            self.send()
            if reply.error is not None:
                raise reply.error
            return reply.batch
        if not self.keep:
            self.team.stop()
        raise StopIteration

    def send(self) -> None:
        """Give the next batch to the next worker: in turn, so that its random numbers are the same in every run."""
        if not self.active:
            return
        try:
            indices = next(self.indices)
        except StopIteration:
            return
        worker = self.active[self.sent % len(self.active)]
        self.team.tasks[worker].put(Task(self.epoch, self.sent, indices))
        self.sent += 1

    def take(self) -> Reply:
        while self.received not in self.waiting:
            if self.epoch != self.team.board.epoch:
                raise RuntimeError(
                    "this iterator ended when the loader, which keeps its workers, was iterated over anew"
                )
            reply = self.team.reply(self.timeout)
            if reply.epoch == self.epoch:
                if not self.in_order:
                    return reply
                self.waiting[reply.number] = reply
        return self.waiting.pop(self.received)

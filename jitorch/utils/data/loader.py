"""DataLoader: batches of a data set, made in the loop or by worker threads."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import islice, repeat
from typing import Any, Generic, TypeVar

from .collate import default_collate, default_convert, fetch
from .dataset import Dataset, IterableDataset
from .sampler import BatchSampler, RandomSampler, Sampler, SequentialSampler, fresh_seed
from .workers import END, Team, Threaded

T_co = TypeVar("T_co", covariant=True)
FIXED = ("batch_size", "batch_sampler", "sampler", "drop_last", "dataset", "persistent_workers")


class DataLoader(Generic[T_co]):
    """Iterate over a data set in batches.

    Args, as PyTorch's:
        dataset: a Dataset, an IterableDataset, or any object with `__getitem__` and `__len__`.
        batch_size, shuffle, drop_last: or give the indices yourself, by a `sampler` (of indices) or a `batch_sampler`
            (of lists of them). batch_size=None: samples as they are, no batches.
        num_workers: threads that make batches while the loop runs; 0: the loop makes them.
        collate_fn: makes a batch of a list of samples.
        worker_init_fn: called with the worker's number in each worker, when it starts.
        prefetch_factor: batches under way per worker (2). persistent_workers: keep the threads between epochs.
        timeout: seconds to wait for a batch, 0: for ever. in_order: batches come in the order of the indices.
        generator: draws the order and the workers' seeds. pin_memory changes nothing on the CPU.

    Workers share the data set's object. `torch.rand` and the like draw from a generator of the worker's own, so that
    runs are reproducible; NumPy's and Python's global generators are shared by all threads and are not.
    What a worker raises is raised in the loop, with the worker's traceback. ValueError for arguments that don't go
    together.

    >>> import jitorch as torch
    >>> from jitorch.utils.data import DataLoader, TensorDataset
    >>> data = TensorDataset(torch.arange(5), torch.arange(5) * 2)
    >>> for x, y in DataLoader(data, batch_size=2, num_workers=2):
    ...     print(x.tolist(), y.tolist())
    [0, 1] [0, 2]
    [2, 3] [4, 6]
    [4] [8]
    """

    def __init__(
        self,
        dataset: Dataset[T_co] | Any,
        batch_size: int | None = 1,
        shuffle: bool | None = None,
        sampler: Sampler | Iterable | None = None,
        batch_sampler: Sampler[list] | Iterable[list] | None = None,
        num_workers: int = 0,
        collate_fn: Callable[[list], Any] | None = None,
        pin_memory: bool = False,
        drop_last: bool = False,
        timeout: float = 0,
        worker_init_fn: Callable[[int], object] | None = None,
        multiprocessing_context=None,
        generator=None,
        *,
        prefetch_factor: int | None = None,
        persistent_workers: bool = False,
        pin_memory_device: str = "",
        in_order: bool = True,
    ):
        streamed = isinstance(dataset, IterableDataset)
        check_workers(num_workers, timeout, prefetch_factor, persistent_workers, multiprocessing_context)
        check_order(streamed, batch_size, shuffle, sampler, batch_sampler, drop_last)
        if batch_sampler is not None:
            batch_size, drop_last = None, False
        if sampler is None:
            sampler = Endless() if streamed else in_some_order(dataset, bool(shuffle), generator)
        if batch_size is not None and batch_sampler is None:
            batch_sampler = BatchSampler(sampler, batch_size, drop_last)
        self.dataset, self.batch_size, self.drop_last = dataset, batch_size, drop_last
        self.sampler, self.batch_sampler, self.generator = sampler, batch_sampler, generator
        self.collate_fn = collate_fn or (default_convert if batch_sampler is None else default_collate)
        self.num_workers, self.worker_init_fn, self.timeout = num_workers, worker_init_fn, timeout
        self.prefetch_factor = 2 if prefetch_factor is None and num_workers else prefetch_factor
        self.persistent_workers, self.in_order = persistent_workers, in_order
        self.pin_memory, self.pin_memory_device = pin_memory, pin_memory_device
        self.multiprocessing_context = None
        self._team: Team | None = None
        self._made = True

    def __setattr__(self, name: str, value: Any) -> None:
        if name in FIXED and self.__dict__.get("_made"):
            raise ValueError(f"{name} attribute should not be set after {type(self).__name__} is initialized")
        object.__setattr__(self, name, value)

    def __iter__(self) -> Iterator[Any]:
        seed = fresh_seed(self.generator)
        if self.num_workers == 0:
            return self._in_loop()
        team = self._team
        if team is None or not team.alive():
            team = Team(self.num_workers, self.dataset, self._fetcher(), self.worker_init_fn)
        if self.persistent_workers:
            self._team = team
        ahead = (self.prefetch_factor or 2) * self.num_workers
        return Threaded(team, iter(self._indices()), seed, ahead, self.timeout, self.in_order, self.persistent_workers)

    def __len__(self) -> int:
        if isinstance(self.dataset, IterableDataset) and self.batch_sampler is not None:
            n, size = len(self.dataset), self.batch_size or 1  # type: ignore[arg-type]
            return n // size if self.drop_last else -(-n // size)
        indices: Any = self._indices() if not isinstance(self.dataset, IterableDataset) else self.dataset
        return len(indices)

    def _indices(self) -> Any:
        return self.sampler if self.batch_sampler is None else self.batch_sampler

    def _fetcher(self) -> Callable[[], Callable]:
        """A function that gives, for one epoch, the function from indices to a batch.

        It holds no reference to the loader: the workers have it, and they end when the loader is dropped.
        """
        dataset, collate, batched = self.dataset, self.collate_fn, self.batch_sampler is not None
        if isinstance(dataset, IterableDataset):
            return partial(stream, dataset, collate, batched, self.drop_last)
        return lambda: partial(fetch, dataset, collate=collate, batched=batched)

    def _in_loop(self) -> Iterator[Any]:
        make = self._fetcher()()
        for indices in self._indices():
            batch = make(indices)
            if batch is END:
                return
            yield batch


def in_some_order(dataset: Any, shuffle: bool, generator: Any) -> Sampler:
    return RandomSampler(dataset, generator=generator) if shuffle else SequentialSampler(dataset)


class Endless(Sampler):
    """Stands in for the indices that an IterableDataset doesn't have."""

    def __iter__(self) -> Iterator[None]:
        return repeat(None)


def stream(dataset: IterableDataset, collate: Callable, batched: bool, drop_last: bool) -> Callable:
    """A function that makes the next batch of an iteration over a data set, END when there is none."""
    source = iter(dataset)

    def following(indices: list | None) -> Any:
        size = 1 if indices is None else len(indices)
        taken = list(islice(source, size))
        if not taken or (drop_last and len(taken) < size):
            return END
        return collate(taken if batched else taken[0])

    return following


def check_workers(
    num_workers: int, timeout: float, prefetch_factor: int | None, persistent_workers: bool, context: Any
) -> None:
    if num_workers < 0:
        raise ValueError("num_workers option should be non-negative; use num_workers=0 to disable multiprocessing.")
    if timeout < 0:
        raise ValueError("timeout option should be non-negative")
    if num_workers == 0 and prefetch_factor is not None:
        raise ValueError(
            "prefetch_factor option could only be specified with workers: "
            "let num_workers > 0, otherwise set prefetch_factor to None."
        )
    if prefetch_factor is not None and prefetch_factor < 1:
        raise ValueError("prefetch_factor option should be positive")
    if persistent_workers and num_workers == 0:
        raise ValueError("persistent_workers option needs num_workers > 0")
    if context is not None:
        raise ValueError(
            "multiprocessing_context: the workers of this DataLoader are threads, there are no processes to start"
        )


def check_order(
    streamed: bool, batch_size: int | None, shuffle: bool | None, sampler: Any, batch_sampler: Any, drop_last: bool
) -> None:
    if streamed:
        if shuffle not in (None, False):
            raise ValueError(
                f"DataLoader with IterableDataset: expected unspecified shuffle option, but got shuffle={shuffle}"
            )
        for name, given in (("sampler", sampler), ("batch_sampler", batch_sampler)):
            if given is not None:
                raise ValueError(
                    f"DataLoader with IterableDataset: expected unspecified {name} option, but got {name}={given}"
                )
    if sampler is not None and shuffle:
        raise ValueError("sampler option is mutually exclusive with shuffle")
    if batch_sampler is not None and (batch_size != 1 or shuffle or sampler is not None or drop_last):
        raise ValueError("batch_sampler option is mutually exclusive with batch_size, shuffle, sampler, and drop_last")
    if batch_sampler is None and batch_size is None and drop_last:
        raise ValueError("batch_size=None option disables auto-batching and is mutually exclusive with drop_last")

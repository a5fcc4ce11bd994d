"""Data sets: something with a length and items (Dataset), or something to iterate over (IterableDataset)."""

from __future__ import annotations

import math
import warnings
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate
from typing import Any, Generic, TypeVar

from ...tensor import Tensor

T_co = TypeVar("T_co", covariant=True)


class Dataset(Generic[T_co]):
    """A map from an index to a sample: subclasses define `__getitem__`, and `__len__` for the usual samplers.

    A subclass may define `__getitems__(indices)`, which returns the samples of a batch at once.

    >>> from jitorch.utils.data import Dataset
    >>> class Squares(Dataset):
    ...     def __len__(self):
    ...         return 4
    ...     def __getitem__(self, i):
    ...         return i * i
    >>> Squares()[3], (Squares() + Squares())[7]
    (9, 9)
    """

    def __getitem__(self, index) -> T_co:
        raise NotImplementedError("Subclasses of Dataset should implement __getitem__.")

    def __add__(self, other: Dataset[T_co]) -> ConcatDataset[T_co]:
        return ConcatDataset([self, other])


class IterableDataset(Dataset[T_co], Iterable[T_co]):
    """Samples that come one after the other: subclasses define `__iter__`.

    With several workers each of them calls `__iter__`; `get_worker_info()` says which part is whose.
    """

    def __add__(self, other: Dataset[T_co]) -> ChainDataset:  # type: ignore[override]
        return ChainDataset([self, other])


class TensorDataset(Dataset[tuple[Tensor, ...]]):
    """Tensors of one first size; sample i is the tuple of their i-th entries. AssertionError if the sizes differ.

    >>> import jitorch as torch
    >>> from jitorch.utils.data import TensorDataset
    >>> data = TensorDataset(torch.arange(6).view(3, 2), torch.tensor([0., 1., 2.]))
    >>> len(data), data[1]
    (3, (tensor([2, 3]), tensor(1.)))
    """

    def __init__(self, *tensors: Tensor):
        if any(t.size(0) != tensors[0].size(0) for t in tensors):
            raise AssertionError("Size mismatch between tensors")
        self.tensors = tensors

    def __getitem__(self, index) -> tuple[Tensor, ...]:
        return tuple(t[index] for t in self.tensors)

    def __len__(self) -> int:
        return self.tensors[0].size(0)


class ConcatDataset(Dataset[T_co]):
    """Data sets one after the other. AssertionError for none of them, or an IterableDataset among them."""

    def __init__(self, datasets: Iterable[Dataset[T_co]]):
        self.datasets = list(datasets)
        if not self.datasets:
            raise AssertionError("datasets should not be an empty iterable")
        if any(isinstance(d, IterableDataset) for d in self.datasets):
            raise AssertionError("ConcatDataset does not support IterableDataset")
        self.cumulative_sizes = list(accumulate(length(d) for d in self.datasets))

    def __len__(self) -> int:
        return self.cumulative_sizes[-1]

    def __getitem__(self, index) -> T_co:
        if index < 0:
            if -index > len(self):
                raise ValueError("absolute value of index should not exceed dataset length")
            index += len(self)
        which = bisect_right(self.cumulative_sizes, index)
        return self.datasets[which][index - (self.cumulative_sizes[which - 1] if which else 0)]


class ChainDataset(IterableDataset[T_co]):
    """IterableDatasets one after the other. AssertionError while iterating if one is not an IterableDataset."""

    def __init__(self, datasets: Iterable[Dataset[T_co]]):
        self.datasets = datasets

    def __iter__(self) -> Iterator[T_co]:
        for d in self.checked():
            yield from d

    def __len__(self) -> int:
        return sum(length(d) for d in self.checked())

    def checked(self) -> Iterator[IterableDataset[T_co]]:
        for d in self.datasets:
            if not isinstance(d, IterableDataset):
                raise AssertionError("ChainDataset only supports IterableDataset")
            yield d


class Subset(Dataset[T_co]):
    """The samples of a data set at some indices."""

    def __init__(self, dataset: Dataset[T_co], indices: Sequence[int]):
        self.dataset, self.indices = dataset, indices

    def __getitem__(self, index) -> Any:
        if isinstance(index, list):
            return self.dataset[[self.indices[i] for i in index]]
        return self.dataset[self.indices[index]]

    def __getitems__(self, indices: list[int]) -> list[T_co]:
        return samples(self.dataset, [self.indices[i] for i in indices])

    def __len__(self) -> int:
        return len(self.indices)


def length(dataset: Any) -> int:
    return len(dataset)


def samples(dataset: Any, indices: list[int]) -> list:
    """The samples of a data set at some indices, asked for at once where the data set can do that.

    ValueError if it then gives another number of them.
    """
    at_once = getattr(dataset, "__getitems__", None)
    if at_once is None:
        return [dataset[i] for i in indices]
    got = at_once(indices)
    if len(got) != len(indices):
        raise ValueError(f"{type(dataset).__name__}.__getitems__ gave {len(got)} samples for {len(indices)} indices")
    return got


def random_split(dataset: Dataset[T_co], lengths: Sequence[int | float], generator=None) -> list[Subset[T_co]]:
    """Disjoint random parts of a data set, of the given lengths or (if they add up to 1) fractions.

    What is left over by rounding fractions down goes to the first parts, one sample each.
    ValueError if the lengths don't add up to the data set's, or a fraction is not between 0 and 1.

    >>> import jitorch as torch
    >>> from jitorch.utils.data import random_split
    >>> a, b = random_split(range(10), [7, 3], generator=torch.Generator().manual_seed(0))
    >>> len(a), sorted([*a, *b])
    (7, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9])
    """
    total = length(dataset)
    if math.isclose(sum(lengths), 1) and sum(lengths) <= 1:
        lengths = shares(total, lengths)
    if sum(lengths) != total:
        raise ValueError("Sum of input lengths does not equal the length of the input dataset!")
    from ...ops.random import randperm

    order = randperm(total, generator=generator).tolist()
    parts, start = [], 0
    for n in lengths:
        parts.append(Subset(dataset, order[start : start + int(n)]))
        start += int(n)
    return parts


def shares(total: int, fractions: Sequence[float]) -> list[int]:
    for i, fraction in enumerate(fractions):
        if not 0 <= fraction <= 1:
            raise ValueError(f"Fraction at index {i} is not between 0 and 1")
    counts = [math.floor(total * fraction) for fraction in fractions]
    for i in range(total - sum(counts)):
        counts[i % len(counts)] += 1
    for i, n in enumerate(counts):
        if n == 0:
            warnings.warn(f"Length of split at index {i} is 0. This might result in an empty dataset.", stacklevel=3)
    return counts

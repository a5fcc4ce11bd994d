"""From a list of samples to a batch."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, MutableMapping, MutableSequence, Sequence
from copy import copy
from typing import Any

import numpy as np

from ... import dtypes
from ...tensor import Tensor, from_array, tensor
from .dataset import Dataset, Subset, TensorDataset, samples

NOT_NUMBERS = re.compile(r"[SaUO]")  # kinds of NumPy arrays that can't become tensors


def default_collate(batch: Sequence) -> Any:
    """Stack samples to a batch: tensors, arrays and numbers become tensors with one dimension more.

    Containers are gone through. Strings and bytes stay as they are. RuntimeError if sizes differ, TypeError for what
    can't be put in a batch.

    >>> from jitorch.utils.data import default_collate
    >>> default_collate([{"x": 1.5, "name": "a"}, {"x": 2.5, "name": "b"}])
    {'x': tensor([1.5000, 2.5000], dtype=torch.float64), 'name': ['a', 'b']}
    """
    first = batch[0]
    kind = type(first)
    if isinstance(first, Tensor):
        return stack(batch)
    if isinstance(first, np.ndarray):
        if NOT_NUMBERS.match(first.dtype.kind):
            raise refusal(first.dtype)
        return stack([tensor(x) for x in batch])
    if isinstance(first, np.generic) and first.dtype.kind in "biuf":
        return tensor(np.stack(batch))
    if isinstance(first, float):
        return tensor(batch, dtype=dtypes.float64)
    if isinstance(first, int):
        return tensor(batch)
    if isinstance(first, (str, bytes)):
        return batch
    if isinstance(first, Mapping):
        return like_mapping(first, {key: default_collate([sample[key] for sample in batch]) for key in first})
    if isinstance(first, tuple) and hasattr(first, "_fields"):
        return kind(*(default_collate(values) for values in zip(*batch, strict=True)))
    if isinstance(first, Sequence):
        if any(len(sample) != len(first) for sample in batch):
            raise RuntimeError("each element in list of batch should be of equal size")
        columns = [default_collate(values) for values in zip(*batch, strict=True)]
        return columns if isinstance(first, tuple) else like_sequence(first, columns)
    raise refusal(kind)


def default_convert(data: Any) -> Any:
    """A single sample with its arrays as tensors; anything else stays what it is (batch_size=None)."""
    if isinstance(data, (np.ndarray, np.generic)) and data.dtype.kind in "biuf":
        return tensor(data)
    if isinstance(data, Mapping):
        return like_mapping(data, {key: default_convert(value) for key, value in data.items()})
    if isinstance(data, tuple) and hasattr(data, "_fields"):
        return type(data)(*map(default_convert, data))
    if isinstance(data, tuple):
        return [default_convert(x) for x in data]
    if isinstance(data, Sequence) and not isinstance(data, (str, bytes)):
        return like_sequence(data, [default_convert(x) for x in data])
    return data


def refusal(kind: Any) -> TypeError:
    return TypeError(
        f"default_collate: batch must contain tensors, numpy arrays, numbers, dicts or lists; found {kind}"
    )


def like_mapping(model: Mapping, entries: dict) -> Any:
    if isinstance(model, MutableMapping):
        result = copy(model)
        result.update(entries)
        return result
    try:
        return type(model)(entries)  # type: ignore[call-arg]
    except TypeError:  # a mapping that isn't made from a dict
        return entries


def like_sequence(model: Sequence, entries: list) -> Any:
    if isinstance(model, MutableSequence):
        result = copy(model)
        result[:] = entries
        return result
    try:
        return type(model)(entries)  # type: ignore[call-arg]
    except TypeError:  # a sequence that isn't made from a list, such as range
        return entries


def stack(tensors: Sequence[Tensor]) -> Tensor:
    """Tensors of one shape under a new first dimension.

    Done in NumPy, not recorded: every sample lies elsewhere, so that no two batches would be the same program.
    """
    first = tensors[0]
    if any(t.requires_grad or t.dtype is not first.dtype for t in tensors):
        from ...ops.families import PUBLIC

        return PUBLIC["stack"](tensors)
    for i, t in enumerate(tensors):
        if t.shape != first.shape:
            raise RuntimeError(
                "stack expects each tensor to be equal size, "
                f"but got {list(first.shape)} at entry 0 and {list(t.shape)} at entry {i}"
            )
    return from_array(np.stack([t._array() for t in tensors]))


def gather(dataset: Dataset, indices: list[int]) -> list[Tensor] | None:
    """What default_collate makes of these samples of a TensorDataset (or a part of one), in one copy.

    None if it can't be had in this way.
    """
    if type(dataset) is Subset:
        return gather(dataset.dataset, [dataset.indices[i] for i in indices])
    if type(dataset) is not TensorDataset or any(t.requires_grad for t in dataset.tensors):
        return None
    where = np.asarray(indices)
    if where.ndim != 1 or where.dtype.kind != "i":
        return None
    return [from_array(t._array()[where]) for t in dataset.tensors]


def fetch(dataset: Any, indices: Any, collate: Callable, batched: bool) -> Any:
    """The batch of these indices; without batching, the sample of this index."""
    if not batched:
        return collate(dataset[indices])
    if collate is default_collate:
        batch = gather(dataset, indices)
        if batch is not None:
            return batch
    return collate(samples(dataset, indices))

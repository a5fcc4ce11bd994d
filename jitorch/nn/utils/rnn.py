"""Sequences of different lengths: padded, and packed."""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Iterable

import jitorch

from ...tensor import Tensor


class PackedSequence(namedtuple("PackedSequence", ["data", "batch_sizes", "sorted_indices", "unsorted_indices"])):
    """Sequences, longest first, step by step without padding: batch_sizes[t] rows of `data` belong to step t.

    Made by `pack_padded_sequence` and `pack_sequence`; recurrent networks take and return it.
    """

    __slots__ = ()

    def __new__(cls, data, batch_sizes, sorted_indices=None, unsorted_indices=None):
        if unsorted_indices is None:
            unsorted_indices = invert_permutation(sorted_indices)
        return super().__new__(cls, data, batch_sizes, sorted_indices, unsorted_indices)

    def to(self, *args, **kwargs) -> PackedSequence:
        """With the data in another dtype or on another device."""
        return self._replace(data=self.data.to(*args, **kwargs))


def invert_permutation(permutation: Tensor | None) -> Tensor | None:
    """The permutation that undoes one."""
    return None if permutation is None else permutation.argsort()


def pack_padded_sequence(
    input: Tensor, lengths, batch_first: bool = False, enforce_sorted: bool = True
) -> PackedSequence:
    """Pack sequences padded to the same length: input (T, B, *), or (B, T, *) with batch_first; `lengths` a tensor or
    list.

    enforce_sorted: RuntimeError unless the lengths are decreasing; otherwise they are sorted.
    """
    lengths = [int(n) for n in (lengths.tolist() if isinstance(lengths, Tensor) else lengths)]
    if batch_first:
        input = input.transpose(0, 1)
    order = None
    if not enforce_sorted:
        by_length = sorted(range(len(lengths)), key=lambda i: -lengths[i])
        order = jitorch.tensor(by_length, dtype=jitorch.int64)
        lengths, input = [lengths[i] for i in by_length], input.index_select(1, order)
    if len(lengths) != input.shape[1]:
        raise RuntimeError(
            f"Expected `len(lengths)` to be equal to batch_size, but got {len(lengths)} (batch_size={input.shape[1]})"
        )
    if lengths and min(lengths) <= 0:
        raise RuntimeError(
            "Length of all samples has to be greater than 0, but found an element in 'lengths' that is <= 0"
        )
    if any(a < b for a, b in zip(lengths, lengths[1:], strict=False)):
        raise RuntimeError(
            "`lengths` array must be sorted in decreasing order when `enforce_sorted` is True. You can pass "
            "`enforce_sorted=False` to pack_padded_sequence and/or pack_sequence to sidestep this requirement if you "
            "do not need ONNX exportability."
        )
    sizes = [sum(n > t for n in lengths) for t in range(lengths[0])]
    data = jitorch.cat([input[t, :n] for t, n in enumerate(sizes)])
    return PackedSequence(data, jitorch.tensor(sizes, dtype=jitorch.int64), order)


def pad_packed_sequence(
    sequence: PackedSequence, batch_first: bool = False, padding_value: float = 0.0, total_length: int | None = None
) -> tuple[Tensor, Tensor]:
    """The inverse of `pack_padded_sequence`: (padded sequences, lengths). ValueError if total_length is too short."""
    sizes = sequence.batch_sizes.tolist()
    if total_length is not None and total_length < len(sizes):
        raise ValueError(
            "Expected total_length to be at least the length of the longest sequence in input, but got "
            f"total_length={total_length} and max sequence length being {len(sizes)}"
        )
    rows = []
    for row in sequence.data.split(sizes):
        missing = sizes[0] - row.shape[0]
        rows.append(jitorch.cat([row, row.new_full((missing, *row.shape[1:]), padding_value)]) if missing else row)
    for _ in range((total_length or 0) - len(sizes)):
        rows.append(jitorch.full_like(rows[0], padding_value))
    padded = jitorch.stack(rows)
    lengths = jitorch.tensor([sum(n > i for n in sizes) for i in range(sizes[0])], dtype=jitorch.int64)
    if sequence.unsorted_indices is not None:
        padded, lengths = padded.index_select(1, sequence.unsorted_indices), lengths[sequence.unsorted_indices]
    return (padded.transpose(0, 1) if batch_first else padded), lengths


def pad_sequence(
    sequences: Tensor | Iterable[Tensor],
    batch_first: bool = False,
    padding_value: float = 0.0,
    padding_side: str = "right",
) -> Tensor:
    """Sequences of shape (L, *) stacked with padding: (T, B, *), or (B, T, *) with batch_first. RuntimeError for no
    iterable.

    >>> import jitorch as torch
    >>> torch.nn.utils.rnn.pad_sequence([torch.tensor([1, 2, 3]), torch.tensor([4])], batch_first=True)
    tensor([[1, 2, 3],
            [4, 0, 0]])
    """
    if not isinstance(sequences, Iterable):
        raise RuntimeError(
            f"pad_sequence: Expected iterable for input sequences, but got arg of type: {type(sequences)}"
        )
    if padding_side not in ("left", "right"):
        raise RuntimeError(f"Expected padding_side to be one of left or right, but got {padding_side}.")
    sequences = list(sequences)
    if not sequences:
        raise RuntimeError("received an empty list of sequences")
    longest = max(s.shape[0] for s in sequences)
    rows = []
    for s in sequences:
        missing = longest - s.shape[0]
        if missing:
            fill = s.new_full((missing, *s.shape[1:]), padding_value)
            s = jitorch.cat([s, fill] if padding_side == "right" else [fill, s])
        rows.append(s)
    return jitorch.stack(rows, dim=0 if batch_first else 1)


def unpad_sequence(padded_sequences: Tensor, lengths, batch_first: bool = False) -> list[Tensor]:
    """The inverse of `pad_sequence`: a list of sequences of the given lengths."""
    sequences = padded_sequences.unbind(0 if batch_first else 1)
    return [
        s[: int(n)]
        for s, n in zip(sequences, lengths.tolist() if isinstance(lengths, Tensor) else lengths, strict=True)
    ]


def pack_sequence(sequences: Iterable[Tensor], enforce_sorted: bool = True) -> PackedSequence:
    """Pack a list of sequences of shape (L, *)."""
    sequences = list(sequences)
    return pack_padded_sequence(pad_sequence(sequences), [s.shape[0] for s in sequences], enforce_sorted=enforce_sorted)


def unpack_sequence(packed_sequences: PackedSequence) -> list[Tensor]:
    """The inverse of `pack_sequence`."""
    padded, lengths = pad_packed_sequence(packed_sequences, batch_first=True)
    return unpad_sequence(padded, lengths, batch_first=True)

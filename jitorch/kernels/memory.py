"""Buffers: where they come from, and comparing them.

Large buffers are kept when they are freed and handed out again, because fresh memory costs a page fault every 4 KB (0.25 us), more than
most kernels need to fill it. A buffer returns to the pool when its last view, a user's NumPy view included, is gone.
"""
from __future__ import annotations

import ctypes
from collections import defaultdict
from typing import Any

import numpy as np

POOLED = 1 << 18            # bytes: smaller buffers are NumPy's own, and cheap
KEPT = 1 << 31              # bytes kept at most
ALIGN = 64
ASIDE = 2048                # bytes from where NumPy's large arrays begin in a page: a load is held up by a store to an address with the same 12 low bits

addressof: Any = ctypes.addressof
from_buffer: Any = ctypes.c_char.from_buffer


class Block(np.ndarray):
    """Memory from the pool; returns there when nothing refers to it any more."""

    raw: np.ndarray | None

    def __array_finalize__(self, source):
        self.raw = None

    def __del__(self):
        if self.raw is not None:
            give_back(self.raw)


# There is no lock: a buffer may come back at any allocation, so also to a thread that would hold it, or to a child that was forked
# while another thread held it. The interpreter changes threads at calls only: taking from a list and adding to a count are whole.
_free: dict[int, list[np.ndarray]] = defaultdict(list)
_stats = {"allocated_bytes": 0, "cached_bytes": 0, "reused": 0, "fresh": 0}


def rounded(size: int) -> int:
    """Sizes in eighths of a power of two, so that similar sizes share blocks."""
    step = max(4096, 1 << max(size.bit_length() - 4, 0))
    return -(-size // step) * step


def address(array: np.ndarray) -> int:
    """Where an array's memory begins. The array has to be kept as long as that is of use."""
    return array.__array_interface__["data"][0]


def allocate(n: int, dtype: np.dtype) -> tuple[np.ndarray, int]:
    """A flat buffer of n elements (not initialised) and its address."""
    size = n * dtype.itemsize
    if size < POOLED:
        buffer = np.empty(n, dtype)
        if n and dtype.kind != "V":     # a fifth of the time of NumPy's own way, but not for dtypes that aren't NumPy's own
            return buffer, addressof(from_buffer(buffer))
        return buffer, address(buffer)
    size = rounded(size)
    try:
        raw = _free[size].pop()
        _stats["cached_bytes"] -= size
        _stats["reused"] += 1
    except IndexError:
        raw = np.empty(size + ASIDE + ALIGN, np.uint8)
        _stats["fresh"] += 1
    _stats["allocated_bytes"] += size
    start = address(raw)
    shift = ASIDE + -start % ALIGN
    block: Any = raw[shift:shift + n * dtype.itemsize].view(Block)
    block.raw = raw
    # through a memoryview: a view of the block would name `raw` as its base, and the block would go while the buffer is in use
    return np.frombuffer(memoryview(block), dtype), start + shift


def give_back(raw: np.ndarray) -> None:
    size = raw.size - ASIDE - ALIGN
    _stats["allocated_bytes"] -= size
    if _stats["cached_bytes"] + size <= KEPT:
        _stats["cached_bytes"] += size
        _free[size].append(raw)


def empty_cache() -> None:
    """Give the memory of freed buffers back to the system."""
    for size, held in list(_free.items()):
        for _ in range(len(held)):
            try:
                held.pop()
            except IndexError:      # another thread has taken it
                break
            _stats["cached_bytes"] -= size


def memory_stats() -> dict[str, int]:
    """Bytes in use and kept by the pool of large buffers, and how often a block was reused."""
    return dict(_stats)


# dtype -> how far results may be apart, as a part of themselves and of the largest value, and some roundings of one. In half precision a sum that
# lies between two numbers may be rounded to either, in each of several steps.
ROUNDING = {
    "float32": (2e-4, 1e-5, 2**-20), "complex64": (2e-4, 1e-5, 2**-20), "float64": (1e-9, 1e-12, 2**-49), "complex128": (1e-9, 1e-12, 2**-49),
    "float16": (4e-3, 1e-3, 2**-9), "bfloat16": (3e-2, 8e-3, 2**-6),
}


def widened(array: np.ndarray) -> np.ndarray:
    """Half precision as float32."""
    return array.astype(np.float32) if array.dtype.itemsize == 2 else array


def largest(array: np.ndarray) -> float:
    """The largest finite magnitude in a floating point or complex array (0 for other dtypes)."""
    if array.dtype.name not in ROUNDING or not array.size:
        return 0.0
    magnitude = np.abs(widened(array))
    return float(magnitude[np.isfinite(magnitude)].max(initial=0.0))


def compare(got: np.ndarray, want: np.ndarray, scale: float = 0.0) -> str | None:
    """None if two results agree up to rounding (NaN equals NaN), else a sentence that says where they don't.

    scale: the magnitude of what the results were computed from, since a sum whose terms cancel is only as exact as its terms."""
    if want.dtype.name not in ROUNDING:
        bad = got != want
        tolerance = "exactly"
    else:
        # rounding differs where sums are ordered differently: an error is measured against the largest value present
        rtol, finite, _ = ROUNDING[want.dtype.name]
        scale = max(scale, largest(want))
        got, want = widened(got), widened(want)
        with np.errstate(invalid="ignore"):
            bad = ~(np.abs(got - want) <= rtol * np.abs(want) + finite * scale + 1e-30) & ~(np.isnan(got) & np.isnan(want)) & (got != want)
        tolerance = f"within {rtol:g}"
    if not bad.any():
        return None
    i = int(bad.argmax())
    return f"{int(bad.sum())} of {want.size} elements don't agree {tolerance}; first at {i}: {got[i]!r} instead of {want[i]!r}"

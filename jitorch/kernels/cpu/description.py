"""Plain descriptions: what a kernel reads, writes and loops over, and what comes out of a generator."""
from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass
class Access:
    """How a group reads or writes a buffer: strides by axis, in elements."""

    buffer: Any
    dtype: str
    offset: int
    strides: dict[int, int]
    constant: bool = False      # nothing ever writes into the buffer, so what is prepared of it holds for all runs


@dataclass
class Kernel:
    """A kernel's source, and what its argument table holds."""

    source: str
    # ("buffer", b, offset) | ("int", n) | ("scalar", place, is real) | ("errors",) | ("scratch", offset) | ("stream", bytes: whether to write past caches)
    words: list[tuple]
    units: int
    chunk: int
    finish: bool
    scratch: int = 0                        # bytes of partial results
    name: str = ""
    chunk_time: float = 5.0                 # microseconds that a chunk takes, roughly
    parts: dict[str, str] = field(default_factory=dict)     # sources that the kernel calls, compiled by themselves: ("part", name)
    tuned: Any = None                       # of a contraction: its name, its blocks, its sizes; see cpu/tuning.py

    before: tuple[Kernel, int] | None = None    # a kernel that prepares an operand, and the bytes of that: ("prepared",) in both

    @property
    def listing(self) -> str:
        """All source there is, to read: the parts, then the kernel that calls them."""
        return "\n".join([*(f"# {name}\n{source}" for name, source in self.parts.items()), self.source])


@dataclass
class GroupView:
    """A scheduled group in terms of this file (plain data; see graph/build.py, which makes it)."""

    nodes: list                             # Values, in order of computation
    axes_of: dict[Any, tuple]
    reduce_axes: dict[Any, tuple]
    sizes: list[int]
    order: list[int]
    reduced: tuple[int, ...]
    inner: tuple[int, ...]
    reads: dict[tuple, Access]              # (consumer, operand number) -> access of a buffer
    writes: list[tuple[Any, Access]]        # (value, access)
    inline: dict[tuple, Any] = field(default_factory=dict)   # (consumer, operand number) -> Value in register, const, scalar, iota


def iota_axes(view: GroupView, consumer, k: int, source) -> list:
    """The axis (if any) that an inline index value runs along."""
    axes = operand_axes(view, consumer, k, source.shape)
    dim, = source.attrs
    return [axes[dim]]


def operand_axes(view: Any, consumer, k: int, shape) -> tuple:
    if consumer.kind == "reduce":
        out, red = view.axes_of[consumer], iter(view.reduce_axes[consumer])
        dims = set(consumer.attrs)
        return tuple(next(red) if i in dims else out[i] for i in range(len(shape)))
    axes = view.axes_of[consumer]
    extra = len(axes) - len(shape)
    return tuple(None if n == 1 else axes[i + extra] for i, n in enumerate(shape))


def product(sizes) -> int:
    n = 1
    for s in sizes:
        n *= s
    return n

"""Operands of contractions that are constants: packed once and for all, instead of a slice at a time in every run.

The layout is that of the panels which a driver packs for itself (panels.py), for one block after the other and slice by
slice, each slice as long as the plan says: for every entry of the batch

    slice of k (`depth` long, zeros after the last k) / block of rows or columns / panel / [k within the slice][panel's width]

so a panel of rows or columns is one run through memory. Which panels there are depends on the blocks and the tile; a file
therefore holds weights as they were, and they are packed where they are used.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from . import packing, panels
from .description import Access, Kernel
from .expressions import SUFFIX


class Packed:
    """How a constant operand will lie: the kernel that packs it, and offsets for those who read it.

    dims: (size, stride) along the batch, along rows or columns, and along k. block: of rows or columns; widths: of panels, rising.
    """

    def __init__(self, access: Access, dims: Sequence[list], dtype: str, block: int, depth: int, widths: Sequence[int]):
        from .contraction import offsets

        batch, along, deep = (offsets(d) for d in dims)
        n, k = len(along), len(deep)
        self.depth, self.widest = depth, widths[-1]
        self.padded = -(-n // widths[0]) * widths[0]
        places, entry = np.unique(batch, return_inverse=True)       # entries that share an operand share its panels
        size = -(-k // depth) * depth * self.padded
        self.batch = entry.reshape(-1).astype(np.int64) * size
        blocks = -(-n // block)
        table = packing.Table(dtype)
        table.pointer("operand", ("buffer", access.buffer, access.offset, access.dtype))
        table.pointer("out", ("prepared",))
        for name, data in (("batch", places), ("along", along), ("deep", deep)):
            table.pointer(name, ("table", np.ascontiguousarray(data, np.int64)), "i64")
        table.numbers(n=n, k=k, blocks=blocks, block=block, depth=depth, padded=self.padded, size=size)
        zero = panels.ZERO[SUFFIX[dtype]]
        source = panels.WHOLE_OPERAND.format(head="\n".join(table.head), wide=panels.least("remaining", widths), zero=zero)
        kernel = Kernel(source, table.words, len(places) * blocks, 1, False, name="pack")
        self.before = (kernel, len(places) * size * np.dtype(dtype).itemsize)

    def columns(self, n: int, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Offsets of the columns and of k, for tiles that begin at multiples of the widest panel: as if b lay like this in memory."""
        line = np.arange(k, dtype=np.int64)
        inner = line % self.depth
        return np.arange(n, dtype=np.int64) * self.depth, (line - inner) * self.padded + inner * self.widest

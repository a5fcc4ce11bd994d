"""What kernels share that pack their operands into panels for tiles in registers (simd.microkernel)."""

from __future__ import annotations

from . import contraction
from .expressions import SUFFIX

GIGAFLOPS = 80  # of one core, roughly, to say how long a task takes


def tile(dtype: str) -> tuple[int, int]:
    """Rows and lanes of the accumulators, which are two vectors wide. Rows are a power of two and packed in fours."""
    t = contraction.tile(dtype)
    return max(n for n in t.rows if n % 4 == 0 and n & (n - 1) == 0), t.lanes


class Table:
    """The argument table of a kernel, and the lines that read it."""

    def __init__(self, dtype: str):
        self.words: list[tuple] = []
        self.head: list[str] = []
        self.dtype, self.scratch_bytes = dtype, 0

    def pointer(self, name: str, address: tuple, suffix: str | None = None) -> None:
        self.head.append(f"    {name} = ptr_{suffix or SUFFIX[self.dtype]}(args, {len(self.words)})")
        self.words.append(address)

    def numbers(self, reader: str = "sword", **numbers: int) -> None:
        for name, n in numbers.items():
            self.head.append(f"    {name} = {reader}(args, {len(self.words)})")
            self.words.append(("int", n))

    def scratch(self, elements: int, slots: int) -> None:
        """Memory of that many elements for each of `slots` tasks that may run at the same time; CLAIM finds a task's."""
        size = {"float32": 4, "float64": 8}[self.dtype]
        part = -(-elements * size // 128) * 128
        self.scratch_bytes = part * slots
        self.pointer("scratch", ("scratch", 0))
        self.pointer("slots", ("slots",), "i64")
        self.numbers(slot_count=slots, part=part // size)


PACK = '''
@helper
def pack_turned(to, source, step, rows, depth, width):
    """Panels of `width` rows: to[row // width][k][row % width] = source[row][k], zeros where the last panel has no row."""
    row = 0
    while row < rows:
        first = (row // width) * width * depth + row % width
        p = at(source, row * step)
        k = 0
        if row + 4 <= rows:
            while k + 4 <= depth:
                transpose_quads(at(to, first + k * width), width, at(p, k), at(p, step + k), at(p, 2 * step + k), at(p, 3 * step + k))
                k += 4
        while k < depth:
            for i in range(4):
                to[first + k * width + i] = p[i * step + k] if row + i < rows else {real}(0)
            k += 1
        row += 4
    while row % width:
        first = (row // width) * width * depth + row % width
        for k in range(depth):
            zero_lanes(at(to, first + k * width), 4)
        row += 4


@helper
def pack_rows(to, source, step, rows, columns, height):
    """Panels of {C} columns, `height` rows apart: to[column // {C}][row][column % {C}] = source[row][column], zeros beyond the last column."""
    for row in range(rows):
        p, place = at(source, row * step), at(to, row * {C})
        column = 0
        while column + {C} <= columns:
            copy_lanes(place, at(p, column), {C})
            place = at(place, height * {C})
            column += {C}
        if column < columns:
            for i in range({C}):
                place[i] = p[column + i] if column + i < columns else {real}(0)
'''

CLAIM = """    taken = 0
    slot = slots
    while not replace_atomic(slot, 0, 1):
        taken = (taken + 1) % slot_count
        slot = at(slots, taken * 8)
        pause()
"""

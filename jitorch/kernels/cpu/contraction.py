"""The kernel of a contraction: sums of products over shared indices of two strided operands, and what is computed from them.

Matrix products of every layout, batched ones, and convolutions (whose windows are a strided view) are all

    out[batch, m, n] = sum over k of a[batch, m, k] * b[batch, k, n]

where batch, m, n and k each stand for several dimensions. The place of an element in memory is a sum of one number that
depends on each of these four, so a table of offsets for each of them describes any operand. A unit is a block of rows
and columns of one batch; it runs through k in slices that fit the cache:

    pack a slice of b into panels [k][columns of a tile]
    for each tile of rows:
        pack its slice of a into a panel [k][rows of the tile]
        for each tile of columns:
            tile (+)= a panel by panel product, in registers            simd.panelkernel
            after the last slice: the values computed from it, and stores       the group's maps, as in codegen

Sizes and tables are words of the argument table. What is part of the source: the shape of a tile, in what direction
operands are contiguous, and the maps.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from math import gcd
from typing import Any

import numpy as np

from .description import Access, GroupView, Kernel, product
from .expressions import SUFFIX
from .writer import Writer

SLICE = 384  # of k: a panel of 12 rows takes 18 KB, and so stays in the first-level cache
BLOCK_ROWS, BLOCK_COLUMNS = 448, 384  # of a unit at most: with SLICE, b's panels take 590 KB
UNITS = 4  # that a long contraction is cut into at least, so that several threads have work
LONG = 4_000_000  # multiplications of a unit worth cutting, and of a task: some 70 us
LEAST_ROWS, LEAST_COLUMNS = 56, 64  # of a block that was cut for the sake of threads: packing costs more in smaller ones
INNER_COLUMNS = 512  # of one image (say): from here on, images are units of their own, not further columns
IN_PLACE_ROWS = 96  # of a block at most, for b to be read where it lies: packing costs as much as two tiles of rows
WIDTHS = (16, 8, 4, 2, 1)  # elements that a copy may take at a time
LEAST_RUN = 3  # of elements side by side, for copies that are worth their list
SUMS = 24  # registers for vectors of partial sums, where the product of few rows is one of dot products
GIGAFLOPS = 100  # of one core, roughly, to say how long a task takes


@dataclass(frozen=True)
class Tile:
    """Accumulators in registers: `rows[0]` by `vectors` vectors of `lanes`; further heights for what remains of a block.

    Heights are multiples of four, so that an operand that lies the other way round is packed by squares of four."""

    rows: tuple[int, ...]
    vectors: int
    lanes: int

    @property
    def columns(self) -> int:
        return self.vectors * self.lanes


@cache
def tile(dtype: str) -> Tile:
    """The tile that this processor's vector registers hold."""
    import llvmlite.binding as llvm

    features = llvm.get_host_cpu_features()
    size = {"float32": 4, "float64": 8}[dtype]
    if features.get("avx512f"):  # 32 registers of 64 bytes: 24 sums, 2 of b, some of a
        return Tile((12, 8, 4), 2, 64 // size)
    if features.get("avx2"):  # 16 of 32 bytes: 12 sums, 3 of b, 1 of a
        return Tile((4,), 3, 32 // size)
    return Tile((8, 4), 2, 16 // size)


@dataclass(frozen=True)
class Dimension:
    """One dimension of the iteration space. `axis` is the group's axis of a kept one, None for a summed one."""

    size: int
    a: int  # strides, 0 where the operand does not have it
    b: int
    axis: int | None


class Contraction:
    """What the kernel's author needs to know of the two operands."""

    def __init__(self, a: Access, b: Access, dtype: str, batch, m, n, k):
        self.a, self.b, self.dtype = a, b, dtype
        self.batch: list[Dimension] = batch
        self.m: list[Dimension] = m
        self.n: list[Dimension] = n
        self.k: list[Dimension] = k

    @classmethod
    def of(cls, a: Access, b: Access, labels: tuple, sizes: dict, strides: tuple, axes: Sequence, dtype: str) -> Contraction:
        """`labels` of a, b and the result name their dimensions, `strides` are the operands' for each label."""
        of_a, of_b, of_out = labels
        axis_of = dict(zip(of_out, axes))
        kinds: dict[tuple, list[Dimension]] = {(1, 1, 1): [], (1, 0, 1): [], (0, 1, 1): [], (1, 1, 0): []}
        for label in dict.fromkeys([*of_out, *of_a]):
            if sizes[label] != 1:
                kind = (label in of_a, label in of_b, label in of_out)
                kinds[kind].append(
                    Dimension(sizes[label], strides[0].get(label, 0), strides[1].get(label, 0), axis_of.get(label))
                )
        batch, m, n, k = kinds.values()
        last = next((axis for axis in reversed(axes) if axis is not None), None)
        if any(d.axis == last for d in m) and last is not None:  # the result's unit stride belongs to the columns
            turned = [[Dimension(d.size, d.b, d.a, d.axis) for d in dims] for dims in (batch, n, m, k)]
            return cls(b, a, dtype, *turned)
        return cls(a, b, dtype, batch, m, n, k)

    def settle(self) -> None:
        """Merge what runs through as one; make outer columns units of their own where the inner ones fill a block."""
        while len(self.n) > 1 and product(d.size for d in self.n[1:]) >= INNER_COLUMNS:
            self.batch.append(self.n.pop(0))
        self.k = merged(self.k)


def merged(dims: Iterable[Dimension]) -> list[Dimension]:
    out: list[Dimension] = []
    for d in dims:
        if out and out[-1].a == d.a * d.size and out[-1].b == d.b * d.size:
            out[-1] = Dimension(out[-1].size * d.size, d.a, d.b, None)
        else:
            out.append(d)
    return out


def offsets(dims: Iterable[tuple[int, int]]) -> np.ndarray:
    """The offset of every index over dimensions (size, stride), outermost first."""
    table = np.zeros(1, np.int64)
    for size, stride in dims:
        table = (table[:, None] + np.arange(size, dtype=np.int64) * stride).ravel()
    return table


def steps_of(access: Access, dims: Iterable[Dimension]) -> list[tuple[int, int]]:
    """(size, stride) of an access over dimensions that the result keeps."""
    return [(d.size, 0 if d.axis is None else access.strides.get(d.axis, 0)) for d in dims]


def run_length(dims: Sequence[tuple[int, int]]) -> int:
    """How many elements from index 0 on, and from every multiple of that, lie side by side; 0: all of them do."""
    length = 1
    for size, stride in reversed(dims):
        if stride != length:
            return length
        length *= size
    return 0


def pieces(table: np.ndarray, columns: int) -> tuple[np.ndarray, np.ndarray]:
    """How each group of `columns` elements is copied from the places of `table`: for every group, first copies of
    WIDTHS[0] elements, then of the next width, and so on. A run is covered by the widest that it holds, the last of
    them set back so that it ends with the run.

    Returns (where to, where from) pairs, flat, and for each group the ends of its lists, with the beginning in front.
    """
    copies: list[tuple[int, int]] = []
    ends: list[int] = []
    for begin in range(0, len(table), columns):
        group = table[begin : begin + columns]
        edges = [0, *(np.flatnonzero(np.diff(group) != 1) + 1).tolist(), len(group)]
        by_width: dict[int, list[tuple[int, int]]] = {w: [] for w in WIDTHS}
        for lo, hi in pairwise(edges):
            width = next(w for w in WIDTHS if w <= hi - lo)
            starts = [*range(lo, hi - width, width), hi - width]
            by_width[width] += [(x, int(group[x])) for x in starts]
        ends.append(len(copies))
        for width in WIDTHS:
            copies += by_width[width]
            ends.append(len(copies))
    return np.array(copies, np.int64).ravel(), np.array(ends, np.int64)


# ---------------------------------------------------------------------------------------------------------------------
# The plan: blocks and tasks, from the shape alone
# ---------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Blocks:
    """Rows and columns of a unit, the length of a slice, and how many blocks and units there are."""

    rows: int
    columns: int
    depth: int
    row_blocks: int
    column_blocks: int


def cut(n: int, limit: int, step: int) -> int:
    """The length of equal parts of n that are at most `limit` long, rounded up to a multiple of `step`."""
    parts = -(-n // limit)
    return -(-n // (parts * step)) * step


def blocks_of(batch: int, m: int, n: int, k: int, t: Tile) -> Blocks:
    rows, columns, depth = cut(m, BLOCK_ROWS, t.rows[-1]), cut(n, BLOCK_COLUMNS, t.columns), cut(k, SLICE, 4)

    def count() -> int:
        return batch * -(-m // rows) * -(-n // columns)

    while count() < UNITS and rows * columns * k > 2 * LONG:
        if columns >= 2 * LEAST_COLUMNS and columns >= rows:
            columns = cut(columns, -(-columns // 2), t.columns)
        elif rows >= 2 * LEAST_ROWS:
            rows = cut(rows, -(-rows // 2), t.rows[-1])
        else:
            break
    return Blocks(rows, columns, depth, -(-m // rows), -(-n // columns))


# ---------------------------------------------------------------------------------------------------------------------
# The source
# ---------------------------------------------------------------------------------------------------------------------


def generate(view: GroupView, core: Any, c: Contraction, slots: int) -> Kernel:
    """The kernel of a group whose first value is a contraction. `slots`: how many tasks may run at the same time."""
    c.settle()
    return ContractionWriter(view, core, c, slots).contraction_kernel()


class ContractionWriter(Writer):
    """Writes the loops around the micro-kernel; the maps are written as in every other group."""

    def __init__(self, view: GroupView, core: Any, c: Contraction, slots: int):
        super().__init__(view)
        self.core, self.c, self.slots = core, c, slots
        self.tile = tile(c.dtype)
        self.m, self.n, self.k = (product(d.size for d in dims) for dims in (c.m, c.n, c.k))
        self.units = product(d.size for d in c.batch)
        self.blocks = blocks_of(self.units, self.m, self.n, self.k, self.tile)
        self.tables: dict[bytes, str] = {}
        self.b_in_place = self.may_read_in_place() and self.blocks.rows <= IN_PLACE_ROWS

        self.few_rows = next((r for r in (2, 4, 8) if self.m <= r), 0) if self.all_along_k() else 0
        if self.few_rows:
            self.blocks = Blocks(self.m, self.blocks.columns, self.k, 1, self.blocks.column_blocks)

    def all_along_k(self) -> bool:
        """Whether both operands lie along one dimension of k, one that is worth vectors of partial sums."""
        t = self.tile
        return t.rows[0] >= 8 and len(self.c.k) == 1 and self.k >= 4 * t.lanes and (self.c.k[0].a, self.c.k[0].b) == (1, 1)

    def may_read_in_place(self) -> bool:
        """Whether every tile finds whole rows of b side by side in memory."""
        run = run_length([(d.size, d.b) for d in self.c.n])
        return run % self.tile.columns == 0 and self.n % self.tile.columns == 0

    # -- words ---------------------------------------------------------------------------------------------------------
    def table(self, dims: Iterable[tuple[int, int]]) -> str:
        """The name of a table of offsets; equal ones are one."""
        data = offsets(dims)
        key = data.tobytes()
        if key not in self.tables:
            self.words.append(("table", data))
            name = self.tables[key] = f"f{len(self.tables)}"
            self.head.append(f"    {name} = ptr_i64(args, {len(self.words) - 1})")
        return self.tables[key]

    def offset(self, access: Access, dims: list[Dimension], index: str) -> str:
        """The part of an access's offset that depends on an index over `dims`."""
        pairs = steps_of(access, dims)
        return f"{self.table(pairs)}[{index}]" if any(stride for _, stride in pairs) else ""

    # -- the kernel ----------------------------------------------------------------------------------------------------
    def contraction_kernel(self) -> Kernel:
        c, blocks = self.c, self.blocks
        s = SUFFIX[c.dtype]
        for name, access in (("a", c.a), ("b", c.b)):
            self.words.append(("buffer", access.buffer, access.offset, access.dtype))
            self.head.append(f"    {name} = ptr_{s}(args, {len(self.words) - 1})")
        for name, number in (("m", self.m), ("n", self.n), ("k", self.k), ("rows", blocks.rows), ("columns", blocks.columns)):
            self.named_word(name, "int", number, signed=True)
        self.named_word("depth", "int", blocks.depth, signed=True)
        self.named_word("row_blocks", "int", blocks.row_blocks, signed=True)
        self.named_word("column_blocks", "int", blocks.column_blocks, signed=True)
        self.scope: dict = {}
        self.scalar_values(self.scope)
        self.claim_slot(s)
        self.emit("for u in range(lo, hi):")
        self.indent += 1
        self.emit("block = u % (row_blocks * column_blocks)")
        self.emit("batch = u // (row_blocks * column_blocks)")
        self.emit("top = block // column_blocks * rows")
        self.emit("left = block % column_blocks * columns")
        self.emit("height = select(m - top < rows, m - top, rows)")
        self.emit("width = select(n - left < columns, n - left, columns)")
        self.emit(f"a0 = at(a, {self.table((d.size, d.a) for d in c.batch)}[batch])")
        self.emit(f"b0 = at(b, {self.table((d.size, d.b) for d in c.batch)}[batch])")
        self.n_table, self.k_table = (self.table((d.size, d.b) for d in dims) for dims in (c.n, c.k))
        if self.few_rows:
            self.block_of_dots()
        else:
            self.block_by_slices()
        self.indent -= 1
        self.emit("store_atomic(slot, 0)")
        source = self.micro_kernels(s) + self.finish_source()
        work = blocks.rows * blocks.columns * self.k
        chunk = max(1, LONG // max(work, 1))
        units = self.units * blocks.row_blocks * blocks.column_blocks
        time = 2 * work * chunk / GIGAFLOPS / 1000
        return Kernel(source, self.words, units, chunk, False, self.scratch, "contract", max(time, 1.0))

    def block_by_slices(self) -> None:
        """A slice of k at a time: pack, multiply tile by tile, and finish tiles after the last one."""
        t = self.tile
        self.emit("start = 0")
        self.emit("while start < k:")
        self.indent += 1
        self.emit("length = select(k - start < depth, k - start, depth)")
        if not self.b_in_place:
            self.pack_columns()
        self.emit("i = 0")
        self.emit("while i < height:")
        self.indent += 1
        self.pack_rows()
        self.emit("j = 0")
        self.emit("while j < width:")
        self.indent += 1
        self.multiply()
        self.emit("if start + length == k" + (" and not straight:" if self.plain_result() else ":"))
        self.indent += 1
        self.finish_tile()
        self.indent -= 1
        self.emit(f"j += {t.columns}")
        self.indent -= 1
        self.emit("i += tall")
        self.indent -= 1
        self.emit("start += depth")
        self.indent -= 1

    def block_of_dots(self) -> None:
        """Few rows, and all operands lie along k: every element of b is read once, where it lies, so nothing is packed."""
        t = self.tile
        self.emit("start, length, i, have = 0, k, 0, m")
        self.emit("j = 0")
        self.emit("while j < width:")
        self.indent += 1
        self.tile_width()
        self.emit("tile = tiles")
        self.emit("x = 0")
        self.emit("while x < cols:")
        columns = SUMS // self.few_rows
        m_table = self.table((d.size, d.a) for d in self.c.m)
        self.emit(f"    dots(a0, {m_table}, m, b0, at({self.n_table}, left + j + x), cols - x, at(tile, x), wide + {columns}, k)")
        self.emit(f"    x += {columns}")
        self.emit(f"step = wide + {columns}")
        self.finish_tile()
        self.emit(f"j += {t.columns}")
        self.indent -= 1

    def micro_kernels(self, s: str) -> str:
        t = self.tile
        if self.few_rows:
            return f'dots = dotkernel("{s}", {self.few_rows}, {SUMS // self.few_rows}, {t.lanes})\n'
        return "".join(
            f'micro_{rows}_{vectors} = panelkernel("{s}", {rows}, {vectors}, {t.lanes}, {self.b_in_place})\n'
            for rows in t.rows
            for vectors in range(1, t.vectors + 1)
        )

    def claim_slot(self, s: str) -> None:
        """Panels and tiles live in one of `slots` parts of the scratch memory, which this call has for itself."""
        t, blocks, size = self.tile, self.blocks, np.dtype(self.c.dtype).itemsize
        tall = blocks.rows + t.rows[0]
        panel = -(-t.rows[0] * blocks.depth // 64) * 64
        columns = blocks.depth * (blocks.columns + t.columns)
        one_slice = blocks.depth >= self.k
        if self.few_rows:
            panel = columns = 0
        tiles = (t.rows[0] + 1) * 2 * t.columns if one_slice else tall * (blocks.columns + t.columns)
        part = -(-(panel + columns + tiles) * size // 128) * 128
        self.scratch = part * self.slots
        self.words += [("scratch", 0), ("slots",)]
        self.head.append(f"    scratch = ptr_{s}(args, {len(self.words) - 2})")
        self.head.append(f"    slots = ptr_i64(args, {len(self.words) - 1})")
        for name, number in (("slot_count", self.slots), ("part", part // size), ("panel", panel), ("column_panels", columns)):
            self.named_word(name, "int", number, signed=True)
        # with one slice, a tile is used up at once and its place taken by the next
        self.named_word("tile_step", "int", 0 if one_slice else t.columns, signed=True)
        self.named_word("tile_rows", "int", 0 if one_slice else tall, signed=True)
        self.emit("taken = 0")
        self.emit("slot = slots")
        self.emit("while not replace_atomic(slot, 0, 1):")
        self.emit("    taken = (taken + 1) % slot_count")
        self.emit("    slot = at(slots, taken * 8)")
        self.emit("    pause()")
        self.emit("pa = at(scratch, taken * part)")
        self.emit("pb = at(pa, panel)")
        self.emit("tiles = at(pb, column_panels)")

    # -- packing -------------------------------------------------------------------------------------------------------
    def pack_columns(self) -> None:
        """The slice of b: panels [k][tile's columns]; the last one is a vector wide if that is enough."""
        t = self.tile
        self.emit("j = 0")
        self.emit("while j < width:")
        self.indent += 1
        self.tile_width()
        self.emit("to = at(pb, j * length)")
        along = [(d.size, d.b) for d in self.c.n]
        self.pack("b0", "wide", "cols", "left + j", along, [(d.size, d.b) for d in self.c.k], t.lanes, t.columns)
        self.emit(f"j += {t.columns}")
        self.indent -= 1

    def pack_rows(self) -> None:
        """The slice of a for one tile of rows: a panel [k][tile's rows]."""
        *taller, least = self.tile.rows
        self.emit("remaining = height - i")
        text = str(least)
        for rows, below in reversed(list(pairwise([*taller, least]))):
            text = f"select(remaining > {below}, {rows}, {text})"
        self.emit(f"tall = {text}")
        self.emit("have = select(remaining < tall, remaining, tall)")
        self.emit("to = pa")
        along = [(d.size, d.a) for d in self.c.m]
        self.pack("a0", "tall", "have", "top + i", along, [(d.size, d.a) for d in self.c.k], 4, 0)

    def pack(self, source, wide, have, first, along, depth, lanes, full) -> None:
        """to[k][0:wide] = the operand's elements, `have` of them along the tile, the rest zero.

        along, depth: (size, stride) of the dimensions along the tile and of k. `lanes` are copied at a time where that
        many lie side by side; `full`: a width written out in full.
        """
        tile_table, k_table = self.table(along), self.table(depth)
        run, deep = run_length(along), run_length(depth)
        if run == 0 or gcd(run, lanes) >= 4:
            self.pack_runs(source, wide, have, first, tile_table, k_table, lanes if run == 0 else gcd(run, lanes), full, full and run % full == 0)
        elif full and run >= LEAST_RUN:
            self.pack_pieces(source, along, k_table)
        elif deep == 0 or deep % 4 == 0:
            self.pack_turned(source, wide, have, first, tile_table, k_table)
        else:
            self.pack_elements(source, wide, have, first, tile_table, k_table, "0")

    def pack_pieces(self, source, along, k_table) -> None:
        """Runs of any length along the tile, copied by vectors that overlap rather than end early: see `pieces`."""
        data, ends = pieces(offsets(along), self.tile.columns)
        names = []
        for array in (data, ends):
            self.words.append(("table", array))
            names.append(f"list{len(self.words)}")
            self.head.append(f"    {names[-1]} = ptr_i64(args, {len(self.words) - 1})")
        copies, ends_name = names
        self.emit(f"list = (left + j) // {self.tile.columns} * {len(WIDTHS) + 1}")
        self.emit("if cols < wide:")
        self.emit("    for q in range(uint64(length * wide)):")
        self.emit(f"        to[q] = {self.c.dtype}(0)")
        self.emit("for q in range(length):")
        self.indent += 1
        self.emit(f"row = at({source}, {k_table}[start + q])")
        self.emit("line = at(to, q * wide)")
        self.emit(f"p = {ends_name}[list]")
        for number, width in enumerate(WIDTHS, 1):
            self.emit(f"while p < {ends_name}[list + {number}]:")
            self.emit(f"    copy_lanes(at(line, {copies}[2 * p]), at(row, {copies}[2 * p + 1]), {width})")
            self.emit("    p += 1")
        self.indent -= 1

    def pack_runs(self, source, wide, have, first, tile_table, k_table, lanes, full, whole) -> None:
        """Elements side by side along the tile, `lanes` of them at least; `whole`: all that are within a full tile."""
        self.emit("for q in range(length):")
        self.indent += 1
        self.emit(f"row = at({source}, {k_table}[start + q])")
        self.emit(f"line = at(to, q * {wide})")
        if full:
            self.emit(f"if {have} == {full}:")
            if whole:
                self.emit(f"    row = at(row, {tile_table}[{first}])")
            for x in range(0, full, lanes):
                place = f"{x}" if whole else f"{tile_table}[{first} + {x}]"
                self.emit(f"    copy_lanes(at(line, {x}), at(row, {place}), {lanes})")
            self.emit("else:")
            self.indent += 1
        self.emit("x = 0")
        self.emit(f"while x + {lanes} <= {have}:")
        self.emit(f"    copy_lanes(at(line, x), at(row, {tile_table}[{first} + x]), {lanes})")
        self.emit(f"    x += {lanes}")
        self.emit(f"while x < {have}:")
        self.emit(f"    line[x] = row[{tile_table}[{first} + x]]")
        self.emit("    x += 1")
        self.pad_line(wide)
        self.indent -= 2 if full else 1

    def pad_line(self, wide) -> None:
        zero = f"{self.c.dtype}(0)"
        self.emit(f"while x < {wide}:")
        self.emit(f"    line[x] = {zero}")
        self.emit("    x += 1")

    def pack_turned(self, source, wide, have, first, tile_table, k_table) -> None:
        """Elements side by side along k: squares of four by four are turned in registers."""
        self.emit("quad = 0")
        self.emit(f"while quad + 4 <= {have}:")
        self.indent += 1
        for r in range(4):
            self.emit(f"row{r} = at({source}, {tile_table}[{first} + quad + {r}])")
        self.emit("q = 0")
        self.emit("while q + 4 <= length:")
        self.emit(f"    o = {k_table}[start + q]")
        rows = ", ".join(f"at(row{r}, o)" for r in range(4))
        self.emit(f"    transpose_quads(at(to, q * {wide} + quad), {wide}, {rows})")
        self.emit("    q += 4")
        self.emit("while q < length:")
        self.emit(f"    o = {k_table}[start + q]")
        for r in range(4):
            self.emit(f"    to[q * {wide} + quad + {r}] = row{r}[o]")
        self.emit("    q += 1")
        self.emit("quad += 4")
        self.indent -= 1
        self.emit(f"if quad < {wide}:")
        self.indent += 1
        self.pack_elements(source, wide, have, first, tile_table, k_table, "quad")
        self.indent -= 1

    def pack_elements(self, source, wide, have, first, tile_table, k_table, begin) -> None:
        """One by one, from place `begin` of the tile on."""
        self.emit("for q in range(length):")
        self.indent += 1
        self.emit(f"row = at({source}, {k_table}[start + q])")
        self.emit(f"line = at(to, q * {wide})")
        self.emit(f"x = {begin}")
        self.emit(f"while x < {have}:")
        self.emit(f"    line[x] = row[{tile_table}[{first} + x]]")
        self.emit("    x += 1")
        self.pad_line(wide)
        self.indent -= 1

    # -- tiles ---------------------------------------------------------------------------------------------------------
    def tile_width(self) -> None:
        """`wide`: the columns of the tile at j, whole vectors; `cols` of them are the operand's."""
        t = self.tile
        text = str(t.columns)
        for vectors in range(t.vectors - 1, 0, -1):
            text = f"select(width - j > {vectors * t.lanes}, {text}, {vectors * t.lanes})"
        self.emit(f"wide = {text}")
        self.emit("cols = select(width - j < wide, width - j, wide)")

    def multiply(self) -> None:
        """The tile at (i, j), in scratch memory; straight in the result where it is a whole one without gaps, and nothing
        is computed from it."""
        t = self.tile
        self.tile_width()
        self.emit("tile = at(tiles, j * tile_rows + i * tile_step)")
        self.emit("step = wide")
        if self.plain_result():
            (_, access), = self.view.writes
            name = self.pointer(access, self.tag_of(("out", access)))
            along = steps_of(access, self.c.n)
            terms = [self.offset(access, self.c.batch, "batch"), self.offset(access, self.c.m, "top + i"),
                     self.offset(access, self.c.n, "left + j")]
            run = run_length(along)
            within = ""
            if run:
                within = f" and (left + j) % {self.named_word('result_run', 'int', run, signed=True)} + wide <= result_run"
            self.emit(f"straight = have == tall and cols == wide{within}")
            self.emit("if straight:")
            self.emit(f"    tile = at({name}, {' + '.join(x for x in terms if x) or '0'})")
            self.emit(f"    step = {self.named_word('result_step', 'int', self.row_step(access), signed=True)}")
        for rows in t.rows:
            if len(t.rows) > 1:
                self.emit(f"{'if' if rows == t.rows[0] else 'elif'} tall == {rows}:")
                self.indent += 1
            for vectors in range(t.vectors, 0, -1):
                if t.vectors > 1:
                    self.emit(f"{'if' if vectors == t.vectors else 'elif'} wide == {vectors * t.lanes}:")
                    self.indent += 1
                if self.b_in_place:
                    self.emit(f"micro_{rows}_{vectors}(pa, at(b0, {self.n_table}[left + j]), at({self.k_table}, start), tile, step, length, start)")
                else:
                    self.emit(f"micro_{rows}_{vectors}(pa, at(pb, j * length), at({self.k_table}, 0), tile, step, length, start)")
                self.indent -= t.vectors > 1
            self.indent -= len(t.rows) > 1

    def plain_result(self) -> bool:
        """Whether all that is done with a tile is to store it, in rows that lie one step apart and have no gaps."""
        if len(self.view.writes) != 1:
            return False
        (v, access), = self.view.writes
        if any(x is not self.core and x.name != "copy" for x in self.view.nodes) or access.dtype != self.c.dtype:
            return False
        along = steps_of(access, self.c.n)
        return bool(along) and run_length(along) != 1 and self.row_step(access) is not None

    def row_step(self, access: Access) -> int | None:
        """The distance of neighbouring rows in a result, if it is always the same."""
        steps = np.diff(offsets(steps_of(access, self.c.m)))
        return int(steps[0]) if len(steps) and (steps == steps[0]).all() else None

    def finish_tile(self) -> None:
        """Everything that is computed from a finished tile, row by row, in runs that lie side by side in all buffers."""
        c = self.c
        self.emit("for r in range(have):")
        self.indent += 1
        accesses = self.all_accesses()
        tables = {self.tag_of((v, 0)) for v in self.view.nodes if v.kind == "take"}
        rows: dict[str, str] = {}
        self.columns_of: dict[str, str] = {}
        runs = []
        for tag, access in accesses.items():
            rows[tag] = self.pointer(access, tag)
            if tag in tables:
                continue
            terms = [self.offset(access, c.batch, "batch"), self.offset(access, c.m, "top + i + r")]
            terms = [x for x in terms if x]
            if terms:
                rows[tag] = f"y{tag}"
                self.emit(f"y{tag} = at({self.pointer(access, tag)}, {' + '.join(terms)})")
            along = steps_of(access, c.n)
            if not any(stride for _, stride in along):
                self.columns_of[tag] = "same"
            elif along[-1][1] == 1:
                self.columns_of[tag] = "side by side"
                runs.append(run_length(along))
            else:
                self.columns_of[tag] = self.table(along)
        for dims, index in ((c.batch, "batch"), (c.m, "top + i + r")):
            self.index_axes(dims, index)
        runs = [r for r in runs if r]
        run = gcd(*runs) if runs else 0
        self.emit("line = at(tile, r * step)")
        if run:
            self.named_word("run", "int", run, signed=True)
            self.emit("x = 0")
            self.emit("while x < cols:")
            self.indent += 1
            self.emit("ready = run - (left + j + x) % run")
            self.emit("ready = select(cols - x < ready, cols - x, ready)")
        else:
            self.emit("x = 0")
            self.emit("ready = cols")
        self.emit("end = x + ready")
        widths = [w for w in (self.tile.columns, 8) if not run or run >= w]
        for w in [*widths, 1]:
            self.run_of_columns(w, rows, tables)
        self.indent -= 2 if run else 1

    def index_axes(self, dims: list[Dimension], index: str) -> None:
        """Text for the index along each of these axes, for maps that ask for it."""
        if not any(source.kind == "iota" for source in self.view.inline.values()):
            return
        for d in dims:
            if d.axis is not None:
                self.index_of[d.axis] = f"{self.table((e.size, int(e is d)) for e in dims)}[{index}]"

    def run_of_columns(self, w: int, rows: dict[str, str], tables: set) -> None:
        """The maps over w columns at a time while there are as many."""
        self.emit(f"while x + {w} <= end:")
        self.indent += 1
        pointers = {}
        for tag, row in rows.items():
            pointers[tag] = row
            if tag not in tables and self.columns_of[tag] == "side by side":
                access = self.all_accesses()[tag]
                pointers[tag] = f"z{tag}"
                self.emit(f"z{tag} = at({row}, {self.offset(access, self.c.n, 'left + j + x')})")
        self.emit("place = left + j + x")
        self.index_axes(self.c.n, "place + int64(e)")
        self.emit("part_of_line = at(line, x)")
        self.emit(f"for e in range(uint64({w})):")
        self.indent += 1
        self.marker()
        value = self.fresh("d")
        self.emit(f"{value} = part_of_line[e]")
        self.body(pointers, 0, "e", {**self.scope, self.core: value}, [v for v, _ in self.view.writes], self.view.writes)
        self.indent -= 1
        self.emit(f"x += {w}")
        self.indent -= 1

    def element(self, pointer: str, tag: str, access: Access, axis: int | None, index: str) -> str:
        if axis is None or self.columns_of[tag] == "same":
            return f"{pointer}[0]"
        if self.columns_of[tag] == "side by side":
            return f"{pointer}[{index}]"
        return f"{pointer}[{self.columns_of[tag]}[place + int64({index})]]"

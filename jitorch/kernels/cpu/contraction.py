"""The kernel of a contraction: sums of products over shared indices of two strided operands, and what is computed from them.

Matrix products of every layout, batched ones, and convolutions (whose windows are a strided view) are all

    out[batch, m, n] = sum over k of a[batch, m, k] * b[batch, k, n]

where batch, m, n and k each stand for several dimensions. The place of an element in memory is a sum of one number that
depends on each of these four, so a table of offsets for each of them describes any operand. A unit is a block of rows
and columns of one batch; it runs through k in slices that fit the cache:

    pack a slice of b into panels [k][columns of a tile]                        panels.py
    for each tile of rows:
        pack its slice of a into a panel [k][rows of the tile]
        for each tile of columns:
            tile (+)= a panel by panel product, in registers                    simd.panelkernel
            after the last slice: the values computed from it, and stores       the group's maps, FinishWriter

Sizes and tables are words of the argument table. What is part of a source: the shape of a tile, in what direction
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

from ... import config
from ...dtypes import ITEMSIZE
from . import panels, tuning, winograd
from .description import Access, GroupView, Kernel, product
from .expressions import SUFFIX
from .prepacked import Packed
from .writer import Writer

SLICE = 384  # of k: a panel of 12 rows takes 18 KB, and so stays in the first-level cache
BLOCK_ROWS, BLOCK_COLUMNS = 448, 384  # of a unit at most: with SLICE, b's panels take 590 KB
UNITS = 4  # that a long contraction is cut into at least, so that several threads have work
LONG = 4_000_000  # multiplications of a unit worth cutting, and of a task: some 70 us
SHARES, LEAST_SHARE = 8, 2 * SLICE  # that the sums of a small result are split into at most; of k in each, at least
LEAST_ROWS, LEAST_COLUMNS = 56, 64  # of a block that was cut for the sake of threads: packing costs more in smaller ones
INNER_COLUMNS = 512  # of one image (say): from here on, images are units of their own, not further columns
IN_PLACE_ROWS = 96  # of a block at most, for b to be read where it lies: packing costs as much as two tiles of rows
STREAMED_ROWS = 40  # at most, for b to be streamed from memory line by line: its elements are used too few times to wait for
STREAMED = 1 << 19  # elements of b, so that the second-level cache does not hold them
STREAMED_SLICE, STREAMED_SUMS, STREAMED_COLUMNS = 8, 1 << 15, 2048  # of k; numbers that a block holds meanwhile; of it, at most
WIDTHS = (16, 8, 4, 2, 1)  # elements that a copy may take at a time
LEAST_RUN, LONG_RUN = 3, 8  # of elements side by side, for copies that are worth their list; that beat turning squares
FEW_ROWS = (1, 2, 4, 8)  # for which dot products are taken instead of packing
SUMS = 24  # registers for vectors of partial sums, where the product of few rows is one of dot products
STREAMS = 8  # places of memory that are read side by side at most
LINE = 64  # bytes of memory that are fetched at once
FAR = 1 << 17  # bytes beside a product that are worth asking for: the nearest cache does not hold them
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


def pieces(table: np.ndarray, columns: int) -> np.ndarray:
    """How each group of `columns` elements is copied from the places of `table`: for every group, first copies of
    WIDTHS[0] elements, then of the next width, and so on. A run is covered by the widest that it holds, the last of
    them set back so that it ends with the run.

    Returns one table: for each group where its copies begin and where those of each width end, then the copies, as
    (where to, where from).
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
    return np.array([len(ends) + 2 * e for e in ends] + [x for pair in copies for x in pair], np.int64)


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
    share: int = 0  # of k in a unit, where sums are split; the partial ones are added in the end


def cut(n: int, limit: int, step: int) -> int:
    """The length of equal parts of n that are at most `limit` long, rounded up to a multiple of `step`."""
    parts = -(-n // limit)
    return -(-n // (parts * step)) * step


def streamed_blocks(m: int, n: int, k: int, t: Tile) -> Blocks:
    """Slices of a few lines of b, each of them read from end to end: columns of tiles would read one short piece after
    the other, each in another page, which takes three times as long."""
    depth = cut(k, STREAMED_SLICE * (1 if m <= STREAMED_ROWS // 2 else 2), 4)
    columns = cut(n, min(STREAMED_COLUMNS, STREAMED_SUMS // m), t.columns)
    return Blocks(cut(m, m, t.rows[-1]), columns, depth, 1, -(-n // columns))


def blocks_of(batch: int, m: int, n: int, k: int, t: Tile, chosen: tuning.Numbers | None = None) -> Blocks:
    """From a cost model: slices and blocks that fit the caches, and enough units for several threads; or as `chosen`."""
    if chosen is not None:
        rows, columns, depth = cut(m, chosen[0], t.rows[-1]), cut(n, chosen[1], t.columns), cut(k, chosen[2], 4)
        return Blocks(rows, columns, depth, -(-m // rows), -(-n // columns))
    rows, columns, depth = cut(m, BLOCK_ROWS, t.rows[-1]), cut(n, BLOCK_COLUMNS, t.columns), cut(k, SLICE, 4)

    def count() -> int:
        return batch * -(-m // rows) * -(-n // columns)

    if count() < UNITS:  # long sums are split first: every operand is packed once then
        shares = min(SHARES // count(), k // LEAST_SHARE, rows * columns * k // LONG)
        if shares > 1:
            return Blocks(rows, columns, depth, -(-m // rows), -(-n // columns), cut(k, -(-k // shares), depth))
    while count() < UNITS and rows * columns * k > 2 * LONG:
        if columns >= 2 * LEAST_COLUMNS and columns >= rows:
            columns = cut(columns, -(-columns // 2), t.columns)
        elif rows >= 2 * LEAST_ROWS:
            rows = cut(rows, -(-rows // 2), t.rows[-1])
        else:
            break
    return Blocks(rows, columns, depth, -(-m // rows), -(-n // columns))


# ---------------------------------------------------------------------------------------------------------------------
# The kernel
# ---------------------------------------------------------------------------------------------------------------------


def generate(view: GroupView, core: Any, c: Contraction, slots: int) -> Kernel:
    """The kernel of a group whose first value is a contraction. `slots`: how many tasks may run at the same time."""
    t = tile(c.dtype)
    if config.winograd and winograd.windows(c, t.lanes):
        return by_windows(view, core, c, t, slots)
    c.settle()
    m, n, k = (product(d.size for d in dims) for dims in (c.m, c.n, c.k))
    batch = product(d.size for d in c.batch)
    shape = f"{c.dtype} {batch}x{m}x{n}x{k} {direction(c.m, c.k, 'a')} by {direction(c.n, c.k, 'b')}"
    chosen = tuning.chosen(shape)
    blocks = blocks_of(batch, m, n, k, t, chosen)
    few_rows = next((r for r in FEW_ROWS if m <= r), 0) if all_along_k(c, k, t) else 0
    if few_rows:
        blocks = Blocks(m, blocks.columns, k, 1, blocks.column_blocks)
    packed = None if few_rows else prepack(c, blocks, t)
    in_place = packed is not None and c.b.constant or may_read_in_place(c, n, t) and blocks.rows <= IN_PLACE_ROWS
    if in_place and not few_rows and not packed and m <= STREAMED_ROWS and n * k >= STREAMED and not chosen:
        blocks = streamed_blocks(m, n, k, t)
    finish = FinishWriter(view, core, c)
    s = SUFFIX[c.dtype]
    words: dict[str, tuple] = {name: ("int", 0) for name in panels.WORDS}
    for name, access in (("a", c.a), ("b", c.b)):
        words[name] = ("buffer", access.buffer, access.offset, access.dtype)
    numbers = {"m": m, "n": n, "k": k, "rows": blocks.rows, "columns": blocks.columns, "depth": blocks.depth}
    shares = -(-k // blocks.share) if blocks.share else 1
    numbers.update(shares=shares, share=blocks.share or k, blocks=batch * blocks.row_blocks * blocks.column_blocks)
    numbers.update(row_blocks=blocks.row_blocks, column_blocks=blocks.column_blocks, in_place=int(in_place))
    words.update({name: ("int", number) for name, number in numbers.items()})
    for name, dims in (("a_batch", c.batch), ("a_m", c.m), ("a_k", c.k)):
        words[name] = ("table", offsets((d.size, d.a) for d in dims))
    for name, dims in (("b_batch", c.batch), ("b_n", c.n), ("b_k", c.k)):
        words[name] = ("table", offsets((d.size, d.b) for d in dims))
    if packed is not None:
        read_packed(words, packed, "b" if c.b.constant else "a", n, k)
    parts = {"finish": finish.source()}
    beside = sum(ITEMSIZE[access.dtype] for access in finish.beside_tile().values()) * batch * m * n
    words["ahead"] = ("int", int(beside >= FAR and shares == 1))
    if few_rows:
        source = panels.dots_driver(s, {rows: min(SUMS // rows, STREAMS) for rows in FEW_ROWS}, t.lanes)
    else:
        source = panels.driver(s, t.rows, t.vectors, t.lanes)
        if words["packed_rows"][1] == 0:
            words["along_rows"] = ("int", int(run_length([(d.size, d.a) for d in c.m]) != 1))
            parts["pack_a"], _ = packing([(d.size, d.a) for d in c.m], [(d.size, d.a) for d in c.k], s, 4, 0)
        if not in_place:
            along = [(d.size, d.b) for d in c.n]
            parts["pack_b"], lists = packing(along, [(d.size, d.b) for d in c.k], s, t.lanes, t.columns)
            if lists:
                words["pieces"] = ("table", pieces(offsets(along), t.columns))
        words["packed"] = ("table", np.concatenate([np.arange(blocks.depth) * v * t.lanes for v in range(1, t.vectors + 1)]))
        if shares == 1:
            words.update(finish.plain_result())
    words.update({name: ("part", name) for name in parts})
    scratch = reserve(words, blocks, k, t, np.dtype(c.dtype).itemsize, few_rows, slots, numbers["blocks"] * shares)
    work = blocks.rows * blocks.columns * (blocks.share or k)
    chunk = max(1, LONG // max(work, 1))
    units = numbers["blocks"] * shares
    time = 2 * work * chunk / GIGAFLOPS / 1000
    return Kernel(
        source, [*words.values(), *finish.words], units, chunk, shares > 1, scratch, "contract", max(time, 1.0), parts,
        None if few_rows else (shape, (blocks.rows, blocks.columns, blocks.depth), (batch, m, n, k)), None if packed is None else packed.before,
    )


def prepack(c: Contraction, blocks: Blocks, t: Tile) -> Packed | None:
    """How the operand that is a constant will lie, if one is."""
    if not (c.a.constant or c.b.constant):
        return None
    if c.b.constant:
        dims = [[(d.size, d.b) for d in dims] for dims in (c.batch, c.n, c.k)]
        return Packed(c.b, dims, c.dtype, blocks.columns, blocks.depth, (t.columns,))
    dims = [[(d.size, d.a) for d in dims] for dims in (c.batch, c.m, c.k)]
    return Packed(c.a, dims, c.dtype, blocks.rows, blocks.depth, sorted(t.rows))


def read_packed(words: dict[str, tuple], packed: Packed, operand: str, n: int, k: int) -> None:
    """Let the driver's words say that an operand comes packed: b as one whose tiles lie like that in memory."""
    words[operand] = ("prepared",)
    words[f"{operand}_batch"] = ("table", packed.batch)
    if operand == "a":
        words["packed_rows"] = ("int", packed.padded)
    else:
        columns, lines = packed.columns(n, k)
        words.update(b_n=("table", columns), b_k=("table", lines))


def by_windows(view: GroupView, core: Any, c: Contraction, t: Tile, slots: int) -> Kernel:
    """The kernel of a convolution with fewer multiplications, after one that transforms its weights."""
    c.batch, c.n = c.batch + c.n[:-2], c.n[-2:]
    a, b = (("buffer", x.buffer, x.offset, x.dtype) for x in (c.a, c.b))
    source, words, units, numbers = winograd.transformed_weights(c, a, t)
    first = Kernel(source, words, units, max(1, units // UNITS), False, name="weights", chunk_time=5.0)
    finish = FinishWriter(view, core, c)
    parts = {"finish": finish.source()}
    source, words, units, scratch, time = winograd.product_kernel(c, (a, b), t, slots, ("part", "finish"))
    words = [*words, *finish.words]
    return Kernel(source, words, units, 1, False, scratch, "contract", max(time, 1.0), parts, before=(first, numbers * np.dtype(c.dtype).itemsize))


def direction(along: list[Dimension], k: list[Dimension], operand: str) -> str:
    """Along what an operand lies side by side in memory: the tile ("t"), k, or neither."""
    steps = {name: dims[-1].a if operand == "a" else dims[-1].b for name, dims in (("t", along), ("k", k)) if dims}
    return next((name for name, step in steps.items() if step == 1), "-")


def all_along_k(c: Contraction, k: int, t: Tile) -> bool:
    """Whether both operands lie along one dimension of k, one that is worth vectors of partial sums."""
    return t.rows[0] >= FEW_ROWS[-1] and len(c.k) == 1 and k >= 4 * t.lanes and (c.k[0].a, c.k[0].b) == (1, 1)


def may_read_in_place(c: Contraction, n: int, t: Tile) -> bool:
    """Whether every tile finds whole rows of b side by side in memory."""
    return run_length([(d.size, d.b) for d in c.n]) % t.columns == 0 and n % t.columns == 0


def packing(along, depth, suffix: str, lanes: int, full: int) -> tuple[str, bool]:
    """The source of the part that packs an operand, and whether it needs lists of pieces.

    along, depth: (size, stride) of its dimensions along the tile and of k. `lanes` are copied at a time where that many
    lie side by side; `full`: the columns of a whole tile, 0 for rows.
    """
    run, deep = run_length(along), run_length(depth)
    if full and run % full == 0:
        return panels.pack(panels.WHOLE, suffix, full=full), False
    if run == 0 or run % lanes == 0:
        return panels.pack(panels.RUNS, suffix, lanes=lanes), False
    turns = deep == 0 or deep % 4 == 0
    if full and run >= (LONG_RUN if turns else LEAST_RUN):
        return panels.pack_pieces(suffix, full, WIDTHS), True
    if turns:
        return panels.pack(panels.TURNED, suffix), False
    return panels.pack(panels.ELEMENTS, suffix), False


def reserve(words: dict[str, tuple], blocks: Blocks, k: int, t: Tile, itemsize: int, few_rows: int, slots: int, units: int) -> int:
    """Say where panels and tiles live in each of `slots` parts of the scratch memory, and partial sums of units; its bytes."""
    one_slice = blocks.depth >= k
    shared = bool(blocks.share)
    tall = blocks.rows + t.rows[0]
    panel = 0 if few_rows else -(-t.rows[0] * blocks.depth // 64) * 64
    columns = 0 if few_rows or words["in_place"][1] else blocks.depth * (blocks.columns + t.columns)
    tiles = t.rows[0] * t.columns if one_slice else tall * (blocks.columns + t.columns)
    if few_rows:
        tiles = few_rows * (blocks.columns + STREAMS)
    region = -(-tiles // 32) * 32 if shared else 0
    part = -(-(panel + columns + (0 if shared else tiles)) * itemsize // 128) * 128
    words.update(scratch=("scratch", 0), slots=("slots",))
    numbers = {"slot_count": slots, "part": part // itemsize, "panel": panel, "column_panels": columns}
    # with one slice, a tile is used up at once and its place taken by the next
    numbers.update(tile_step=0 if one_slice else t.columns, tile_rows=0 if one_slice else tall)
    numbers.update(partial=part // itemsize * slots, region=region)
    words.update({name: ("int", number) for name, number in numbers.items()})
    return part * slots + region * itemsize * units * shared


class FinishWriter(Writer):
    """Writes the part that computes everything from a finished tile; the maps are written as in every other group."""

    def __init__(self, view: GroupView, core: Any, c: Contraction):
        super().__init__(view)
        self.core, self.c = core, c
        self.tile = tile(c.dtype)
        self.tables: dict[bytes, str] = {}
        self.columns_of: dict[str, str] = {}        # how the columns of an access lie: "same", "side by side", or a table

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

    def plain_result(self) -> dict[str, tuple]:
        """The driver's words for storing tiles straight into the result, where that is all there is to do with them and
        its rows lie one step apart."""
        if len(self.view.writes) != 1:
            return {}
        (v, access), = self.view.writes
        along, down = steps_of(access, self.c.n), offsets(steps_of(access, self.c.m))
        run, steps = run_length(along), np.diff(down)
        plain = all(x is self.core or x.name == "copy" for x in self.view.nodes) and access.dtype == self.c.dtype
        if not plain or run == 1 or not len(steps) or (steps != steps[0]).any():
            return {}
        return {
            "result": ("buffer", access.buffer, access.offset, access.dtype),
            "result_batch": ("table", offsets(steps_of(access, self.c.batch))),
            "result_m": ("table", down),
            "result_n": ("table", offsets(along)),
            "result_step": ("int", int(steps[0])),
            "result_run": ("int", run or product(size for size, _ in along)),
        }

    def source(self) -> str:
        """Row by row, in runs of columns that lie side by side in all buffers."""
        scope: dict = {}
        self.scalar_values(scope)
        self.emit(f"tile = {SUFFIX[self.c.dtype]}_at(tile0)")
        self.fetch_ahead()
        self.emit("for r in range(have):")
        self.indent += 1
        rows, run = self.rows()
        self.emit("line = at(tile, r * step)")
        self.emit("x = 0")
        if run:
            self.named_word("run", "int", run, signed=True)
            self.emit("while x < cols:")
            self.indent += 1
            self.emit("ready = run - (column + x) % run")
            self.emit("end = x + select(cols - x < ready, cols - x, ready)")
        else:
            self.emit("end = cols")
        for width in (self.tile.columns, 8, 1):
            if not run or run >= width:
                self.run_of_columns(width, rows, scope)
        head = "def kernel(table, tile0, step, batch, row, have, column, cols, ahead, unused):\n    args = table_at(table)"
        return panels.SIGNATURE + "\n".join([head, *self.head, *self.lines]) + "\n"

    def neighbours(self) -> dict[str, tuple[str, int]]:
        return {}           # columns of a tile may have several axes

    def beside_tile(self) -> dict[str, Access]:
        """What else is read, or written alone, for each element of the product, side by side along the columns."""
        found: dict[str, Access] = {}
        reads = [(self.tag_of((v, k)), x) for (v, k), x in self.view.reads.items() if not (v.kind == "take" and k == 0)]
        for tag, access in [*reads, *((self.tag_of(("out", x)), x) for _, x in self.view.writes)]:
            along = steps_of(access, self.c.n)
            if along and along[-1][1] == 1 and all(stride for _, stride in steps_of(access, self.c.m)) and not any(
                    x.buffer is access.buffer and x.offset == access.offset for x in found.values()):
                found[tag] = access
        return found

    def fetch_ahead(self) -> None:
        """The memory beside a tile is asked for before the tile is multiplied: short pieces far from one another, which no processor expects."""
        c, accesses = self.c, self.beside_tile()
        if not accesses:
            return
        self.emit("if ahead != 0:")
        self.indent += 1
        self.emit("for r in range(have):")
        self.indent += 1
        for tag, access in accesses.items():
            terms = [self.offset(access, c.batch, "batch"), self.offset(access, c.m, "row + r")]
            self.emit(f"w{tag} = at({self.pointer(access, tag)}, {' + '.join(x for x in terms if x) or 0})")
            self.emit(f"for x in range(0, cols, {LINE // ITEMSIZE[access.dtype]}):")
            self.emit(f"    prefetch(at(w{tag}, {self.offset(access, c.n, 'column + x')}))")
        self.indent -= 1
        self.emit("have = 0")
        self.indent -= 1

    def rows(self) -> tuple[dict[str, str], int]:
        """A pointer to the row of every access, and how many columns lie side by side in all of them (0: all)."""
        c, rows, runs = self.c, {}, []
        whole = {self.tag_of((v, 0)) for v in self.view.nodes if v.kind == "take"}
        for tag, access in self.all_accesses().items():
            rows[tag] = self.pointer(access, tag)
            if tag in whole:
                self.columns_of[tag] = "whole"
                continue
            terms = [self.offset(access, c.batch, "batch"), self.offset(access, c.m, "row + r")]
            if any(terms):
                self.emit(f"y{tag} = at({rows[tag]}, {' + '.join(x for x in terms if x)})")
                rows[tag] = f"y{tag}"
            along = steps_of(access, c.n)
            if not any(stride for _, stride in along):
                self.columns_of[tag] = "same"
            elif along[-1][1] == 1:
                self.columns_of[tag] = "side by side"
                runs.append(run_length(along))
            else:
                self.columns_of[tag] = self.table(along)
        self.index_axes(c.batch, "batch")
        self.index_axes(c.m, "row + r")
        runs = [r for r in runs if r]
        return rows, gcd(*runs) if runs else 0

    def index_axes(self, dims: list[Dimension], index: str) -> None:
        """Text for the index along each of these axes, for maps that ask for it."""
        if not any(source.kind == "iota" for source in self.view.inline.values()):
            return
        for d in dims:
            if d.axis is not None:
                self.index_of[d.axis] = f"{self.table((e.size, int(e is d)) for e in dims)}[{index}]"

    def run_of_columns(self, width: int, rows: dict[str, str], scope: dict) -> None:
        """The maps over `width` columns at a time while there are as many."""
        self.emit(f"while x + {width} <= end:")
        self.indent += 1
        pointers = dict(rows)
        for tag, access in self.all_accesses().items():
            if self.columns_of[tag] == "side by side":
                pointers[tag] = f"z{tag}"
                self.emit(f"z{tag} = at({rows[tag]}, {self.offset(access, self.c.n, 'column + x')})")
        self.emit("place, part = column + x, at(line, x)")
        self.index_axes(self.c.n, "place + int64(e)")
        self.emit(f"for e in range(uint64({width})):")
        self.indent += 1
        self.marker()
        value = self.fresh("d")
        self.emit(f"{value} = part[e]")
        self.body(pointers, 0, "e", {**scope, self.core: value}, [v for v, _ in self.view.writes], self.view.writes)
        self.indent -= 1
        self.emit(f"x += {width}")
        self.indent -= 1

    def element(self, pointer: str, tag: str, access: Access, axis: int | None, index: str) -> str:
        how = "same" if axis is None else self.columns_of[tag]
        if how == "same":
            return f"{pointer}[0]"
        if how == "side by side":
            return f"{pointer}[{index}]"
        return f"{pointer}[{how}[place + int64({index})]]"

"""Explicit vectors for kernels that hold tiles in registers: what LLVM's loop vectoriser does not find by itself.

    micro = microkernel("f32", rows=12, vectors=2, lanes=16)     at the top of a source: a function for its kernel
    micro(a, b, tile, depth, add)       tile[rows][vectors * lanes] (+)= a[depth][rows].T @ b[depth][vectors * lanes]
    micro = panelkernel("f32", rows=12, vectors=2, lanes=16)     with b's rows wherever they lie
    dots = dotkernel("f32", rows=8, columns=3, lanes=16)         the same for rows that lie along the depth in both
    copy_lanes(to, source, 16)          16 elements, unaligned
    patch_lanes, output_lanes           transforms of 16 patches of a convolution at a time, see winograd.py
    zero_lanes(to, 16)
    prefetch(pointer)
    transpose_quads(to, step, p0, p1, p2, p3)       four elements of four rows, stored as four groups of four `step` apart

Importing this module imports Numba, so only the compile helpers do so.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from llvmlite import ir
from numba import float32, float64, int64, types
from numba.core import cgutils
from numba.core.errors import TypingError
from numba.extending import intrinsic

ELEMENTS = {"f32": float32, "f64": float64}
WORD, INDEX = ir.IntType(64), ir.IntType(32)


def splat(builder: ir.IRBuilder, value: ir.Value, lanes: int) -> ir.Value:
    """A vector with `value` in every lane."""
    kind = ir.VectorType(value.type, lanes)
    one = builder.insert_element(ir.Constant(kind, ir.Undefined), value, ir.Constant(INDEX, 0))
    return builder.shuffle_vector(
        one, ir.Constant(kind, ir.Undefined), ir.Constant(ir.VectorType(INDEX, lanes), [0] * lanes)
    )


def name_of(kind: ir.VectorType) -> str:
    """As it stands in the names of LLVM's intrinsics."""
    return f"v{kind.count}{'f32' if isinstance(kind.element, ir.FloatType) else 'f64'}"


def load_lanes(builder: ir.IRBuilder, pointer: ir.Value, kind: ir.VectorType) -> ir.Value:
    return builder.load(builder.bitcast(pointer, kind.as_pointer()), align=4)


def store_lanes(builder: ir.IRBuilder, value: ir.Value, pointer: ir.Value) -> None:
    builder.store(value, builder.bitcast(pointer, value.type.as_pointer()), align=4)


def fused(builder: ir.IRBuilder, a: ir.Value, b: ir.Value, c: ir.Value) -> ir.Value:
    """a * b + c with one rounding, on vectors."""
    kind = a.type
    function = cgutils.get_or_insert_function(
        builder.module, ir.FunctionType(kind, [kind] * 3), f"llvm.fma.{name_of(kind)}"
    )
    return builder.call(function, [a, b, c])


def ask_for(builder: ir.IRBuilder, pointer: ir.Value, cache: int) -> None:
    """Have a line of memory brought into the first- or the second-level cache, without waiting for it."""
    place = ir.IntType(8).as_pointer()
    function = cgutils.get_or_insert_function(
        builder.module, ir.FunctionType(ir.VoidType(), [place, INDEX, INDEX, INDEX]), "llvm.prefetch.p0"
    )
    read, near, data = (ir.Constant(INDEX, n) for n in (0, 4 - cache, 1))
    builder.call(function, [builder.bitcast(pointer, place), read, near, data])


def register_tile(builder: ir.IRBuilder, kind: ir.VectorType, rows: int, vectors: int, depth, add, of_a, of_b, place, ahead=None) -> None:
    """The innermost loop of a matrix product, its rows * vectors accumulators in registers. ahead(k): memory to ask for meanwhile.

    of_a(k): where row r of a finds its element, as a function of r; of_b(k): a row of b; place(r, j): vector j of the
    tile's row r, which the sums are added to where `add` is not 0. depth is at least 1.
    """
    zero = ir.Constant(WORD, 0)
    before = builder.block
    loop, after = builder.append_basic_block("depth"), builder.append_basic_block("finish")
    more, done = builder.append_basic_block("add"), builder.append_basic_block("done")
    builder.branch(loop)
    builder.position_at_end(loop)
    k = builder.phi(WORD)
    k.add_incoming(zero, before)
    sums = [[builder.phi(kind) for _ in range(vectors)] for _ in range(rows)]
    element, row = of_a(k), of_b(k)
    if ahead is not None:
        ask_for(builder, ahead(k), 1)
    right = [load_lanes(builder, builder.gep(row, [ir.Constant(WORD, j * kind.count)]), kind) for j in range(vectors)]
    new = []
    for r in range(rows):
        left = splat(builder, builder.load(element(r)), kind.count)
        new.append([fused(builder, left, right[j], sums[r][j]) for j in range(vectors)])
    following = builder.add(k, ir.Constant(WORD, 1))
    k.add_incoming(following, loop)
    for r in range(rows):
        for j in range(vectors):
            sums[r][j].add_incoming(ir.Constant(kind, [0.0] * kind.count), before)
            sums[r][j].add_incoming(new[r][j], loop)
    builder.cbranch(builder.icmp_signed("<", following, depth), loop, after)
    builder.position_at_end(after)
    builder.cbranch(builder.icmp_signed("!=", add, zero), more, done)
    builder.position_at_end(more)
    added = [
        [builder.fadd(load_lanes(builder, place(r, j), kind), new[r][j]) for j in range(vectors)] for r in range(rows)
    ]
    builder.branch(done)
    builder.position_at_end(done)
    totals = [[builder.phi(kind) for _ in range(vectors)] for _ in range(rows)]
    for r in range(rows):
        for j in range(vectors):
            totals[r][j].add_incoming(new[r][j], after)
            totals[r][j].add_incoming(added[r][j], more)
    for r in range(rows):
        for j in range(vectors):
            store_lanes(builder, totals[r][j], place(r, j))


@cache
def microkernel(suffix: str, rows: int, vectors: int, lanes: int, steps: tuple[int, int, int, int] | None = None) -> Any:
    """A product of operands and a tile that lie at steps known when it is compiled.

    steps: how many elements lie between neighbours of a along the depth, of a along the rows, of b along the depth, of
    the tile along the rows; by default all are packed without gaps.
    """
    element = ELEMENTS[suffix]
    along_a, across_a, along_b, across_tile = steps or (rows, 1, vectors * lanes, vectors * lanes)
    pointer = types.CPointer(element)

    def micro(typingctx, a, b, tile, depth, add):
        """tile = a.T @ b, or += where `add` is not 0; depth is at least 1."""

        def codegen(context, builder, sig, args):
            kind = ir.VectorType(context.get_value_type(element), lanes)
            a, b, tile, depth, add = args

            def moved(base: ir.Value, *terms: ir.Value | int) -> ir.Value:
                return builder.gep(base, [ir.Constant(WORD, x) if isinstance(x, int) else x for x in terms])

            def of_a(k: ir.Value) -> Any:
                column = moved(a, builder.mul(k, ir.Constant(WORD, along_a)))
                return lambda r: moved(column, r * across_a)

            def of_b(k: ir.Value) -> ir.Value:
                return moved(b, builder.mul(k, ir.Constant(WORD, along_b)))

            register_tile(
                builder, kind, rows, vectors, depth, add, of_a, of_b, lambda r, j: moved(tile, r * across_tile + j * lanes)
            )
            return context.get_dummy_value()

        return types.void(pointer, pointer, pointer, int64, int64), codegen

    micro.__name__ = micro.__qualname__ = f"micro_{suffix}_{rows}x{vectors * lanes}"
    return intrinsic(micro)


@cache
def panelkernel(suffix: str, rows: int, vectors: int, lanes: int) -> Any:
    """A product of a packed panel of a, [depth][rows], with rows of b that lie anywhere."""
    element = ELEMENTS[suffix]
    pointer = types.CPointer(element)

    def micro(typingctx, a, b, places, tile, step, depth, add, later, ahead):
        """tile (rows `step` apart) = a.T @ b, or += where `add` is not 0; depth is at least 1.

        Row k of b lies at b + places[k]. What lies at later + ahead[k] is asked for meanwhile."""

        def codegen(context, builder, sig, args):
            kind = ir.VectorType(context.get_value_type(element), lanes)
            a, b, places, tile, step, depth, add, later, ahead = args

            def of_a(k: ir.Value) -> Any:
                column = builder.gep(a, [builder.mul(k, ir.Constant(WORD, rows))])
                return lambda r: builder.gep(column, [ir.Constant(WORD, r)])

            def of_b(k: ir.Value) -> ir.Value:
                return builder.gep(b, [builder.load(builder.gep(places, [k]))])

            def place(r: int, j: int) -> ir.Value:
                return builder.gep(
                    tile, [builder.add(builder.mul(step, ir.Constant(WORD, r)), ir.Constant(WORD, j * lanes))]
                )

            def of_later(k: ir.Value) -> ir.Value:
                return builder.gep(later, [builder.load(builder.gep(ahead, [k]))])

            register_tile(builder, kind, rows, vectors, depth, add, of_a, of_b, place, of_later)
            return context.get_dummy_value()

        table = types.CPointer(int64)
        return types.void(pointer, pointer, table, pointer, int64, int64, int64, pointer, table), codegen

    micro.__name__ = micro.__qualname__ = f"panel_{suffix}_{rows}x{vectors * lanes}"
    return intrinsic(micro)


@cache
def dotkernel(suffix: str, rows: int, columns: int, lanes: int) -> Any:
    """Dot products of every pair of `rows` rows of a and `columns` rows of b, a vector of partial sums for each."""
    element = ELEMENTS[suffix]
    pointer, places = types.CPointer(element), types.CPointer(int64)

    def dots(typingctx, a, of_a, have, b, of_b, cols, apart, tile, step, depth):
        """tile[r * step + c * apart] = the sum over k < depth of a[of_a[r] + k] * b[of_b[c * apart] + k].

        There are `have` rows, and places for `cols` columns; the last one stands in for what is missing."""

        def codegen(context, builder, sig, args):
            real = context.get_value_type(element)
            kind = ir.VectorType(real, lanes)
            a, of_a, have, b, of_b, cols, apart, tile, step, depth = args

            def number(n: int) -> ir.Constant:
                return ir.Constant(WORD, n)

            def lines(base: ir.Value, table: ir.Value, count: ir.Value, apart: ir.Value, n: int) -> list[ir.Value]:
                last = builder.sub(count, number(1))
                found = []
                for i in range(n):
                    place = builder.mul(number(i), apart)
                    index = builder.select(builder.icmp_signed("<", place, count), place, last)
                    found.append(builder.gep(base, [builder.load(builder.gep(table, [index]))]))
                return found

            left, right = lines(a, of_a, have, number(1), rows), lines(b, of_b, cols, apart, columns)
            mask_kind, index_kind = ir.VectorType(ir.IntType(1), lanes), ir.VectorType(WORD, lanes)
            masked = cgutils.get_or_insert_function(
                builder.module,
                ir.FunctionType(kind, [kind.as_pointer(), INDEX, mask_kind, kind]),
                f"llvm.masked.load.{name_of(kind)}.p0",
            )
            before = builder.block
            loop, done = builder.append_basic_block("depth"), builder.append_basic_block("done")
            builder.branch(loop)
            builder.position_at_end(loop)
            k = builder.phi(WORD)
            k.add_incoming(number(0), before)
            sums = [[builder.phi(kind) for _ in range(columns)] for _ in range(rows)]
            remaining = splat(builder, builder.sub(depth, k), lanes)
            inside = builder.icmp_signed("<", ir.Constant(index_kind, list(range(lanes))), remaining)

            def part(line: ir.Value) -> ir.Value:
                place = builder.bitcast(builder.gep(line, [k]), kind.as_pointer())
                return builder.call(masked, [place, ir.Constant(INDEX, 4), inside, ir.Constant(kind, [0.0] * lanes)])

            of_right = [part(line) for line in right]
            new = []
            for r in range(rows):
                one = part(left[r])
                new.append([fused(builder, one, of_right[c], sums[r][c]) for c in range(columns)])
            following = builder.add(k, number(lanes))
            k.add_incoming(following, loop)
            for r in range(rows):
                for c in range(columns):
                    sums[r][c].add_incoming(ir.Constant(kind, [0.0] * lanes), before)
                    sums[r][c].add_incoming(new[r][c], loop)
            builder.cbranch(builder.icmp_signed("<", following, depth), loop, done)
            builder.position_at_end(done)
            total = cgutils.get_or_insert_function(
                builder.module, ir.FunctionType(real, [real, kind]), f"llvm.vector.reduce.fadd.{name_of(kind)}"
            )
            for r in range(rows):
                for c in range(columns):
                    sum_ = builder.call(total, [ir.Constant(real, -0.0), new[r][c]], fastmath=("reassoc",))
                    place = builder.add(builder.mul(step, number(r)), builder.mul(apart, number(c)))
                    builder.store(sum_, builder.gep(tile, [place]))
            return context.get_dummy_value()

        return types.void(pointer, places, int64, pointer, places, int64, int64, pointer, int64, int64), codegen

    dots.__name__ = dots.__qualname__ = f"dots_{suffix}_{rows}x{columns}"
    return intrinsic(dots)


def literal_lanes(n: Any) -> int:
    if not isinstance(n, types.IntegerLiteral):
        raise TypingError(f"a literal number of lanes expected, got {n}")
    return n.literal_value


@intrinsic
def copy_lanes(typingctx, to, source, n):
    """Copy n (a literal) elements, unaligned."""
    lanes = literal_lanes(n)

    def codegen(context, builder, sig, args):
        kind = ir.VectorType(context.get_value_type(sig.args[1].dtype), lanes)
        store_lanes(builder, load_lanes(builder, args[1], kind), args[0])
        return context.get_dummy_value()

    return types.void(to, source, n), codegen


@intrinsic
def zero_lanes(typingctx, to, n):
    """Set n (a literal) elements to zero."""
    lanes = literal_lanes(n)

    def codegen(context, builder, sig, args):
        kind = ir.VectorType(context.get_value_type(sig.args[0].dtype), lanes)
        store_lanes(builder, ir.Constant(kind, [0.0] * lanes), args[0])
        return context.get_dummy_value()

    return types.void(to, n), codegen


@intrinsic
def prefetch(typingctx, pointer):
    """Have the line of memory there brought into the second-level cache: the first has no room to spare beside a product."""

    def codegen(context, builder, sig, args):
        ask_for(builder, args[0], 2)
        return context.get_dummy_value()

    return types.void(pointer), codegen


@intrinsic
def transpose_quads(typingctx, to, step, p0, p1, p2, p3):
    """to[i * step + r] = p_r[i] for i, r in 0..3."""

    def codegen(context, builder, sig, args):
        kind = ir.VectorType(context.get_value_type(sig.args[0].dtype), 4)
        to, step, *rows = args

        def shuffle(x: ir.Value, y: ir.Value, *lanes: int) -> ir.Value:
            return builder.shuffle_vector(x, y, ir.Constant(ir.VectorType(INDEX, 4), list(lanes)))

        a, b, c, d = (load_lanes(builder, p, kind) for p in rows)
        low, high = shuffle(a, b, 0, 4, 1, 5), shuffle(a, b, 2, 6, 3, 7)
        low2, high2 = shuffle(c, d, 0, 4, 1, 5), shuffle(c, d, 2, 6, 3, 7)
        turned = [
            *(shuffle(low, low2, 0, 1, 4, 5), shuffle(low, low2, 2, 3, 6, 7)),
            *(shuffle(high, high2, 0, 1, 4, 5), shuffle(high, high2, 2, 3, 6, 7)),
        ]
        for i, row in enumerate(turned):
            store_lanes(builder, row, builder.gep(to, [builder.mul(step, ir.Constant(WORD, i))]))
        return context.get_dummy_value()

    return types.void(to, int64, p0, p1, p2, p3), codegen


def inside(builder: ir.IRBuilder, count: ir.Value, first: int, lanes: int) -> ir.Value:
    """A mask: lane i is `first` + i < count."""
    places = ir.Constant(ir.VectorType(WORD, lanes), list(range(first, first + lanes)))
    return builder.icmp_signed("<", places, splat(builder, count, lanes))


def load_inside(builder: ir.IRBuilder, pointer: ir.Value, mask: ir.Value, kind: ir.VectorType) -> ir.Value:
    """The lanes of a vector that a mask has, zero in the others."""
    function = cgutils.get_or_insert_function(
        builder.module,
        ir.FunctionType(kind, [kind.as_pointer(), INDEX, mask.type, kind]),
        f"llvm.masked.load.{name_of(kind)}.p0",
    )
    place = builder.bitcast(pointer, kind.as_pointer())
    return builder.call(function, [place, ir.Constant(INDEX, 4), mask, ir.Constant(kind, [0.0] * kind.count)])


def store_inside(builder: ir.IRBuilder, value: ir.Value, pointer: ir.Value, mask: ir.Value) -> None:
    kind = value.type
    function = cgutils.get_or_insert_function(
        builder.module,
        ir.FunctionType(ir.VoidType(), [kind, kind.as_pointer(), INDEX, mask.type]),
        f"llvm.masked.store.{name_of(kind)}.p0",
    )
    builder.call(function, [value, builder.bitcast(pointer, kind.as_pointer()), ir.Constant(INDEX, 4), mask])


def shuffled(builder: ir.IRBuilder, x: ir.Value, y: ir.Value, lanes: list[int]) -> ir.Value:
    """These lanes of x and y, y's counted on from x's."""
    return builder.shuffle_vector(x, y, ir.Constant(ir.VectorType(INDEX, len(lanes)), lanes))


@intrinsic
def patch_lanes(typingctx, to, step, row0, row1, row2, row3, have, n):
    """B' d B of n (a literal) patches of 4 x 4 whose left sides are two apart in four rows, of which `have` elements are
    there: place 4 * y + x of patch i is to[(4 * y + x) * step + i]."""
    lanes = literal_lanes(n)

    def codegen(context, builder, sig, args):
        kind = ir.VectorType(context.get_value_type(sig.args[0].dtype), lanes)
        to, step, *rows, have, _ = args
        offsets = (0, lanes, 2, lanes + 2)
        masks = [inside(builder, have, o, lanes) for o in offsets]
        even, odd = list(range(0, 2 * lanes, 2)), list(range(1, 2 * lanes, 2))
        across = []
        for row in rows:
            a, b, c, d = (load_inside(builder, builder.gep(row, [ir.Constant(WORD, o)]), mask, kind) for o, mask in zip(offsets, masks))
            p, q = shuffled(builder, a, b, even), shuffled(builder, a, b, odd)
            r, s = shuffled(builder, c, d, even), shuffled(builder, c, d, odd)
            across.append((builder.fsub(p, r), builder.fadd(q, r), builder.fsub(r, q), builder.fsub(q, s)))
        for x, (p, q, r, s) in enumerate(zip(*across)):
            down = (builder.fsub(p, r), builder.fadd(q, r), builder.fsub(r, q), builder.fsub(q, s))
            for y, value in enumerate(down):
                store_lanes(builder, value, builder.gep(to, [builder.mul(step, ir.Constant(WORD, 4 * y + x))]))
        return context.get_dummy_value()

    return types.void(to, int64, row0, row1, row2, row3, int64, n), codegen


@intrinsic
def output_lanes(typingctx, source, step, to0, to1, columns, lines, special, n):
    """A' m A of n (a literal) patches m, whose place p is source[p * step + i]: two lines of 2 * n outputs, of which
    those within `columns` and `lines` are stored. Where one of them is not finite, `special` (n elements) becomes NaN."""
    lanes = literal_lanes(n)

    def codegen(context, builder, sig, args):
        kind = ir.VectorType(context.get_value_type(sig.args[0].dtype), lanes)
        source, step, to0, to1, columns, lines, special, _ = args
        of_second = builder.select(builder.icmp_signed(">", lines, ir.Constant(WORD, 1)), columns, ir.Constant(WORD, 0))
        zero = ir.Constant(kind, [0.0] * lanes)

        def folded(p: ir.Value, q: ir.Value, r: ir.Value, s: ir.Value) -> tuple[ir.Value, ir.Value]:
            return builder.fadd(builder.fadd(p, q), r), builder.fsub(builder.fsub(q, r), s)

        halves = []
        for y in range(4):
            line = [load_lanes(builder, builder.gep(source, [builder.mul(step, ir.Constant(WORD, 4 * y + x))]), kind) for x in range(4)]
            halves.append(folded(*line))
        left, right = (folded(*half) for half in zip(*halves))
        total = load_lanes(builder, special, kind)
        pairs = [i for k in range(lanes) for i in (k, lanes + k)]
        for to, count, p, q in ((to0, columns, left[0], right[0]), (to1, of_second, left[1], right[1])):
            for part, first in ((pairs[:lanes], 0), (pairs[lanes:], lanes)):
                value, mask = shuffled(builder, p, q, part), inside(builder, count, first, lanes)
                store_inside(builder, value, builder.gep(to, [ir.Constant(WORD, first)]), mask)
                total = builder.fadd(total, builder.select(mask, builder.fsub(value, value), zero))
        store_lanes(builder, total, special)
        return context.get_dummy_value()

    return types.void(source, int64, to0, to1, int64, int64, special, n), codegen


NAMES = {
    "microkernel": microkernel,
    "panelkernel": panelkernel,
    "dotkernel": dotkernel,
    "copy_lanes": copy_lanes,
    "prefetch": prefetch,
    "zero_lanes": zero_lanes,
    "patch_lanes": patch_lanes,
    "output_lanes": output_lanes,
    "transpose_quads": transpose_quads,
}

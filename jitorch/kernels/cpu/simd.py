"""Explicit vectors for kernels that hold tiles in registers: what LLVM's loop vectoriser does not find by itself.

    micro = microkernel("f32", rows=14, vectors=2, lanes=16)     at the top of a source: a function for its kernel
    micro(a, b, tile, depth, add)       tile[rows][vectors * lanes] (+)= a[depth][rows].T @ b[depth][vectors * lanes]
                                        (operands packed without gaps, unless `steps` says how they lie)
    copy_lanes(to, source, 16)          16 elements, unaligned
    zero_lanes(to, 16)
    transpose_quads(to, step, p0, p1, p2, p3)       four elements of four rows, stored as four groups of four `step` apart

Importing this module imports Numba, so only the compile helpers do so.
"""

from __future__ import annotations

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


def load_lanes(builder: ir.IRBuilder, pointer: ir.Value, kind: ir.VectorType) -> ir.Value:
    return builder.load(builder.bitcast(pointer, kind.as_pointer()), align=4)


def store_lanes(builder: ir.IRBuilder, value: ir.Value, pointer: ir.Value) -> None:
    builder.store(value, builder.bitcast(pointer, value.type.as_pointer()), align=4)


def fused(builder: ir.IRBuilder, a: ir.Value, b: ir.Value, c: ir.Value) -> ir.Value:
    """a * b + c with one rounding, on vectors."""
    kind = a.type
    name = f"llvm.fma.v{kind.count}{'f32' if isinstance(kind.element, ir.FloatType) else 'f64'}"
    return builder.call(
        cgutils.get_or_insert_function(builder.module, ir.FunctionType(kind, [kind] * 3), name), [a, b, c]
    )


def microkernel(suffix: str, rows: int, vectors: int, lanes: int, steps: tuple[int, int, int, int] | None = None) -> Any:
    """The innermost loop of a matrix product, its rows * vectors accumulators in registers.

    steps: how many elements lie between neighbours of a along the depth, of a along the rows, of b along the depth, of the tile along the rows.
    """
    element = ELEMENTS[suffix]
    along_a, across_a, along_b, across_tile = steps or (rows, 1, vectors * lanes, vectors * lanes)
    pointer = types.CPointer(element)

    def micro(typingctx, a, b, tile, depth, add):
        """tile = a.T @ b, or += where `add` is not 0; depth is at least 1."""

        def codegen(context, builder, sig, args):
            real = context.get_value_type(element)
            kind = ir.VectorType(real, lanes)
            a, b, tile, depth, add = args

            def number(n: int) -> ir.Constant:
                return ir.Constant(WORD, n)

            def place(j: int, r: int) -> ir.Value:
                return builder.gep(tile, [number(r * across_tile + j * lanes)])

            before = builder.block
            loop, after = builder.append_basic_block("depth"), builder.append_basic_block("finish")
            more, done = builder.append_basic_block("add"), builder.append_basic_block("done")
            builder.branch(loop)
            builder.position_at_end(loop)
            k = builder.phi(WORD)
            k.add_incoming(number(0), before)
            sums = [[builder.phi(kind) for _ in range(vectors)] for _ in range(rows)]
            of_a = builder.gep(a, [builder.mul(k, number(along_a))])
            of_b = builder.gep(b, [builder.mul(k, number(along_b))])
            right = [load_lanes(builder, builder.gep(of_b, [number(j * lanes)]), kind) for j in range(vectors)]
            new = []
            for r in range(rows):
                left = splat(builder, builder.load(builder.gep(of_a, [number(r * across_a)])), lanes)
                new.append([fused(builder, left, right[j], sums[r][j]) for j in range(vectors)])
            following = builder.add(k, number(1))
            k.add_incoming(following, loop)
            for r in range(rows):
                for j in range(vectors):
                    sums[r][j].add_incoming(ir.Constant(kind, [0.0] * lanes), before)
                    sums[r][j].add_incoming(new[r][j], loop)
            builder.cbranch(builder.icmp_signed("<", following, depth), loop, after)
            builder.position_at_end(after)
            builder.cbranch(builder.icmp_signed("!=", add, number(0)), more, done)
            builder.position_at_end(more)
            added = [
                [builder.fadd(load_lanes(builder, place(j, r), kind), new[r][j]) for j in range(vectors)]
                for r in range(rows)
            ]
            builder.branch(done)
            builder.position_at_end(done)
            for r in range(rows):
                for j in range(vectors):
                    total = builder.phi(kind)
                    total.add_incoming(new[r][j], after)
                    total.add_incoming(added[r][j], more)
                    sums[r][j] = total
            for r in range(rows):
                for j in range(vectors):
                    store_lanes(builder, sums[r][j], place(j, r))
            return context.get_dummy_value()

        return types.void(pointer, pointer, pointer, int64, int64), codegen

    micro.__name__ = micro.__qualname__ = f"micro_{suffix}_{rows}x{vectors * lanes}"
    return intrinsic(micro)


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


NAMES = {
    "microkernel": microkernel,
    "copy_lanes": copy_lanes,
    "zero_lanes": zero_lanes,
    "transpose_quads": transpose_quads,
}

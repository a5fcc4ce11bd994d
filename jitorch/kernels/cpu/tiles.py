"""Moving tiles of memory about: transposing one into the stack, so that loops over it run through whole vectors; stores past the caches; running
reductions of eight elements.

Importing this module imports Numba, so only the compile helpers do so.
"""
from __future__ import annotations

import math
from typing import Any

from llvmlite import ir
from numba import int64, types, uint64
from numba.core import cgutils
from numba.core.errors import TypingError
from numba.extending import intrinsic

from .simd import INDEX, splat

LANE = 16       # bytes within which vector units interleave elements in one instruction


def helper(function: Any) -> Any:
    """Marks a function that kernels call and that is compiled with them, for each combination of types it is called with."""
    return function


def width(pointer: Any) -> int:
    return 2 * LANE // (pointer.dtype.bitwidth // 8)


@intrinsic
def block_of(typingctx, pointer):
    """The number of rows and columns of `transpose_block`: 32 bytes of elements."""
    return uint64(pointer), lambda context, builder, sig, args: ir.Constant(ir.IntType(64), width(sig.args[0]))


def load(builder: ir.IRBuilder, pointer: ir.Value, kind: ir.VectorType) -> ir.Value:
    return builder.load(builder.bitcast(pointer, kind.as_pointer()), align=1)


def zipped(builder: ir.IRBuilder, x: ir.Value, y: ir.Value, upper: bool) -> ir.Value:
    """x[0], y[0], x[1], y[1], ... of the lower or upper half of each 16-byte lane."""
    n = x.type.count
    k = n // 2
    lanes = [lane + (k // 2 if upper else 0) + i + which for lane in (0, k) for i in range(k // 2) for which in (0, n)]
    return builder.shuffle_vector(x, y, ir.Constant(ir.VectorType(INDEX, n), lanes))


@intrinsic
def transpose_block(typingctx, to, to_step, source, step):
    """to[i * to_step + j] = source[j * step + i] for i, j below block_of(source)."""

    def codegen(context, builder, sig, args):
        to, to_step, source, step = args
        n = width(sig.args[2])
        k = n // 2
        half = ir.VectorType(context.get_value_type(sig.args[2].dtype), k)
        whole = ir.Constant(ir.VectorType(INDEX, n), list(range(n)))

        def place(base: ir.Value, row: int, step: ir.Value, column: int) -> ir.Value:
            number = ir.Constant(step.type, row)
            return builder.gep(base, [builder.add(builder.mul(step, number), ir.Constant(step.type, column))])

        for column in (0, k):
            # rows i and i + k side by side: then all that is left happens within lanes
            rows = [builder.shuffle_vector(load(builder, place(source, i, step, column), half),
                                           load(builder, place(source, i + k, step, column), half), whole) for i in range(k)]
            for _ in range(k.bit_length() - 1):
                rows = [zipped(builder, rows[i // 2], rows[i // 2 + k // 2], bool(i % 2)) for i in range(k)]
            for i, row in enumerate(rows):
                builder.store(row, builder.bitcast(place(to, column + i, to_step, 0), row.type.as_pointer()), align=1)
        return context.get_dummy_value()

    return types.void(to, int64, source, int64), codegen


@helper
def transpose(to, to_step, source, step, rows, columns):
    """to[r * to_step + c] = source[c * step + r] for r below `rows`, c below `columns`; `step` may be negative."""
    n = block_of(source)
    whole_rows, whole_columns = rows // n * n, columns // n * n
    for c in range(uint64(0), whole_columns, n):
        for r in range(uint64(0), whole_rows, n):
            transpose_block(at(to, r * uint64(to_step) + c), to_step, at(source, int64(c) * step + int64(r)), step)
        for r in range(whole_rows, rows):
            for i in range(n):
                to[r * uint64(to_step) + c + i] = at(source, int64(c + i) * step)[r]
    for c in range(whole_columns, columns):
        line = at(source, int64(c) * step)
        for r in range(rows):
            to[r * uint64(to_step) + c] = line[r]


LINE = 64       # bytes of a cache line


@intrinsic
def stream_line(typingctx, to, source):
    """Copy 64 bytes past the caches; `to` lies at the start of a cache line."""

    def codegen(context, builder, sig, args):
        vector = ir.VectorType(ir.IntType(32), LINE // 4)
        value = load(builder, args[1], vector)
        store = builder.store(value, builder.bitcast(args[0], vector.as_pointer()), align=LINE)
        store.set_metadata("nontemporal", builder.module.add_metadata([ir.Constant(ir.IntType(32), 1)]))
        return context.get_dummy_value()

    return types.void(to, source), codegen


@intrinsic
def elements_to_line(typingctx, pointer):
    """How many elements lie between a pointer and the next start of a cache line."""

    def codegen(context, builder, sig, args):
        address = builder.ptrtoint(args[0], ir.IntType(64))
        rest = builder.and_(builder.neg(address), ir.Constant(ir.IntType(64), LINE - 1))
        return builder.udiv(rest, ir.Constant(ir.IntType(64), sig.args[0].dtype.bitwidth // 8))

    return uint64(pointer), codegen


@intrinsic
def elements_of_line(typingctx, pointer):
    size = pointer.dtype.bitwidth // 8
    return uint64(pointer), lambda context, builder, sig, args: ir.Constant(ir.IntType(64), LINE // size)


@intrinsic
def stream_end(typingctx):
    """Wait until everything that was streamed can be seen by other threads."""

    def codegen(context, builder, sig, args):
        builder.fence("seq_cst")
        return context.get_dummy_value()

    return types.void(), codegen


@helper
def stream(to, source, n):
    """to[0..n-1] = source[0..n-1], past the caches: memory that is written whole need not be read first."""
    step = elements_of_line(to)
    head = elements_to_line(to)
    if head > n:
        head = n
    for i in range(head):
        to[i] = source[i]
    whole = head + (n - head) // step * step
    for i in range(head, whole, step):
        stream_line(at(to, i), at(source, i))
    for i in range(whole, n):
        to[i] = source[i]


# name -> how two vectors combine, for floats and integers, and the first value, likewise (None: the smallest or largest integer)
RUNNING = {
    "sum": ("fadd", "add", 0.0, 0),
    "prod": ("fmul", "mul", 1.0, 1),
    "max": ("maximum", ">", -math.inf, None),
    "min": ("minimum", "<", math.inf, None),
}


def running(name: str) -> Any:
    real, whole, first_real, first_whole = RUNNING[name]

    def run(typingctx, x, o, total):
        kind = types.unliteral(total)

        def codegen(context, builder, sig, args):
            element = context.get_value_type(sig.args[0].dtype)
            vector = ir.VectorType(context.get_value_type(kind), 8)
            floating = isinstance(kind, types.Float)

            def combine(a: ir.Value, b: ir.Value) -> ir.Value:
                if name in ("sum", "prod"):
                    return getattr(builder, real if floating else whole)(a, b)
                if floating:
                    function = cgutils.get_or_insert_function(builder.module, ir.FunctionType(vector, [vector] * 2), f"llvm.{real}.v8f64")
                    return builder.call(function, [a, b])
                compare = builder.icmp_signed if kind.signed else builder.icmp_unsigned
                return builder.select(compare(whole, a, b), a, b)

            if floating:
                nothing = first_real
            elif first_whole is None:
                nothing = int(kind.minval if name == "max" else kind.maxval)
            else:
                nothing = first_whole
            v = load(builder, args[0], ir.VectorType(element, 8))
            if element != vector.element:
                v = builder.fpext(v, vector)
            for step in (1, 2, 4):          # afterwards each lane holds the combination of itself and the 2 * step - 1 before
                lanes = [8 + i if i < step else i - step for i in range(8)]
                before = builder.shuffle_vector(v, ir.Constant(vector, [nothing] * 8), ir.Constant(ir.VectorType(INDEX, 8), lanes))
                v = combine(before, v)
            v = combine(splat(builder, args[2], 8), v)
            out = v if element == vector.element else builder.fptrunc(v, ir.VectorType(element, 8))
            builder.store(out, builder.bitcast(args[1], out.type.as_pointer()), align=1)
            return builder.extract_element(v, ir.Constant(INDEX, 7))

        return kind(x, o, kind), codegen

    run.__name__ = run.__qualname__ = f"running_{name}"
    run.__doc__ = f"o[0..7] = the running {name} of x[0..7] that begins with `total`; returns the last."
    return intrinsic(run)


@intrinsic
def spaced(typingctx, pointer, index, step):
    """pointer[index * step], where nothing wraps around: then LLVM loads whole vectors and picks elements, instead of gathering them."""
    if not isinstance(step, types.IntegerLiteral):
        raise TypingError(f"spaced: a literal step expected, got {step}")

    def codegen(context, builder, sig, args):
        place = builder.mul(args[1], ir.Constant(args[1].type, step.literal_value), flags=("nsw",))
        return builder.load(builder.gep(args[0], [place], inbounds=True))

    return pointer.dtype(pointer, int64, step), codegen


@intrinsic
def at(typingctx, pointer, n):
    return pointer(pointer, types.unliteral(n)), lambda context, builder, sig, args: builder.gep(args[0], [args[1]])


NAMES = {"transpose": transpose, "spaced": spaced, "stream": stream, "stream_end": stream_end, **{f"running_{name}": running(name) for name in RUNNING}}

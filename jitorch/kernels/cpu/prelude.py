"""The names that the source of a generated CPU kernel may use.

A kernel is a function `kernel(args, lo, hi)`. `args` points to a table of 64-bit words (addresses of buffers, sizes,
strides); `[lo, hi)` is the part of the iteration space that this call covers:

    def kernel(args, lo, hi):
        x = ptr_f32(args, 0)
        out = ptr_f32(args, 1)
        for i in range(uint64(lo), uint64(hi)):
            independent()
            out[i] = exp_f32(x[i])

Pointers are indexed with unsigned (or signed) 64-bit integers, with no bounds test and no wrap-around. A boolean lives
in memory as one byte (`ptr_u8`, 0 or 1) and in registers as Numba's `boolean`: read it with `as_bool(p[i])`; storing a
`boolean` through a `ptr_u8` writes 0 or 1.

A source may define functions of its own in front of `kernel`, each marked `@helper`.

Everything here is a Numba `@intrinsic` that writes its LLVM instructions in place: that costs no type inference, and
can't miss being inlined. Importing this module imports Numba, so only the compile helpers do so.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba import boolean, complex128, float32, float64, int8, int16, int32, int64, types, uint8, uint64
from numba.core import cgutils
from numba.core.errors import TypingError
from numba.extending import intrinsic

from . import library, simd, tiles, vecmath

# pointer suffix -> element type; a boolean in memory is a uint8
ELEMENTS: dict[str, Any] = {
    "f32": float32,
    "f64": float64,
    "i8": int8,
    "i16": int16,
    "i32": int32,
    "i64": int64,
    "u8": uint8,
    "c128": complex128,
}
# functions of vecmath that go by the type of their arguments
VECMATH_GENERIC = (
    *("fma", "rint", "floor", "ceil", "trunc", "sqrt", "fabs", "copysign", "clamp"),
    *("maximum", "minimum", "bits", "from_bits"),
)
MARKER = "jitorch_independent"  # see `independent`; the compiler replaces calls to it by loop metadata
STACK_ALIGNMENT = 64
WORD = ir.IntType(64)


def is_number(kind: types.Type) -> bool:
    return isinstance(kind, (types.Integer, types.Float, types.Boolean))


def as_word(builder: ir.IRBuilder, value: ir.Value, kind: Any) -> ir.Value:
    """An integer of any width as 64 bits, the sign kept."""
    if value.type.width == 64:
        return value
    return builder.sext(value, WORD) if kind.signed else builder.zext(value, WORD)


# ---------------------------------------------------------------------------------------------------------------------
# The argument table, pointers, memory on the stack
# ---------------------------------------------------------------------------------------------------------------------


def read_word(builder: ir.IRBuilder, sig: Any, args: Any) -> ir.Value:
    return builder.load(builder.gep(args[0], [as_word(builder, args[1], sig.args[1])]))


def pointer_reader(suffix: str, element: Any) -> Any:
    result = types.CPointer(element)

    def pointer(typingctx, table, k):
        def codegen(context, builder, sig, args):
            return builder.inttoptr(read_word(builder, sig, args), context.get_value_type(result))

        return result(types.CPointer(uint64), types.unliteral(k)), codegen

    pointer.__name__ = pointer.__qualname__ = f"ptr_{suffix}"
    pointer.__doc__ = f"The address in word k of the table, as a pointer to {element}."
    return intrinsic(pointer)


def word_reader(name: str, kind: Any) -> Any:
    def reader(typingctx, table, k):
        signature = kind(types.CPointer(uint64), types.unliteral(k))
        return signature, lambda context, builder, sig, args: read_word(builder, sig, args)

    reader.__name__ = reader.__qualname__ = name
    reader.__doc__ = f"Word k of the table as {kind}."
    return intrinsic(reader)


word, sword = word_reader("word", uint64), word_reader("sword", int64)


@intrinsic
def at(typingctx, pointer, n):
    """`pointer` advanced by n elements (n may be negative)."""
    if not isinstance(pointer, types.CPointer) or not isinstance(n, types.Integer):
        raise TypingError(f"at(pointer, integer) expected, got {pointer} and {n}")

    def codegen(context, builder, sig, args):
        return builder.gep(args[0], [as_word(builder, args[1], sig.args[1])])

    return pointer(pointer, types.unliteral(n)), codegen


def stack_allocator(suffix: str, element: Any) -> Any:
    result = types.CPointer(element)

    def stack(typingctx, n):
        if not isinstance(n, types.IntegerLiteral):
            raise TypingError(f"stack_{suffix}(n): n has to be a literal, got {n}")
        count = n.literal_value

        def codegen(context, builder, sig, args):
            kind = context.get_value_type(element)
            with builder.goto_entry_block():
                memory = builder.alloca(kind, size=ir.Constant(ir.IntType(32), count))
                memory.align = STACK_ALIGNMENT
            return memory

        return result(n), codegen

    stack.__name__ = stack.__qualname__ = f"stack_{suffix}"
    stack.__doc__ = f"Memory for n (a literal) {element} on the stack, {STACK_ALIGNMENT}-byte aligned, not initialised."
    return intrinsic(stack)


POINTERS: dict[str, Any] = {
    **{f"ptr_{suffix}": pointer_reader(suffix, element) for suffix, element in ELEMENTS.items()},
    **{f"stack_{suffix}": stack_allocator(suffix, element) for suffix, element in ELEMENTS.items()},
}


@intrinsic
def independent(typingctx):
    """Written as the first statement of an innermost, branch-free loop: no iteration writes what another one reads or
    writes. Buffers may still coincide exactly (an update in place). Without it, LLVM tests at run time whether buffers
    overlap, and takes a scalar loop where one is updated in place."""

    def codegen(context, builder, sig, args):
        function = builder.module.globals.get(MARKER)
        if function is None:
            function = ir.Function(builder.module, ir.FunctionType(ir.VoidType(), []), MARKER)
            function.attributes.add("nounwind")
            function.attributes.add("inaccessiblememonly")
        builder.call(function, [])
        return context.get_dummy_value()

    return types.void(), codegen


# ---------------------------------------------------------------------------------------------------------------------
# Arithmetic that LLVM may reorder in a reduction
# ---------------------------------------------------------------------------------------------------------------------


def common_type(name: str, a: types.Type, b: types.Type) -> Any:
    a, b = types.unliteral(a), types.unliteral(b)
    if a != b or not isinstance(a, (types.Integer, types.Float)):
        raise TypingError(f"{name}: two numbers of one type expected, got {a} and {b}; convert with as_f32 and so on")
    return a


def reassociable(name: str, doc: str, real: Callable, integer: Callable) -> Any:
    """`real(builder, x, y)` and `integer(builder, x, y, signed)` write the operation."""

    def operation(typingctx, a, b):
        kind = common_type(name, a, b)

        def codegen(context, builder, sig, args):
            if isinstance(kind, types.Float):
                return real(builder, *args)
            return integer(builder, *args, kind.signed)

        return kind(kind, kind), codegen

    operation.__name__ = operation.__qualname__ = name
    operation.__doc__ = doc
    return intrinsic(operation)


def nan_propagating(name: str) -> Callable:
    """llvm.maximum or llvm.minimum without a promise about the sign of zero: LLVM knows it as a reduction."""

    def build(builder: ir.IRBuilder, x: ir.Value, y: ir.Value) -> ir.Value:
        function = builder.module.declare_intrinsic(f"llvm.{name}", [x.type], ir.FunctionType(x.type, [x.type] * 2))
        return builder.call(function, [x, y], fastmath=("nsz",))

    return build


def integer_extreme(operator: str) -> Callable:
    def build(builder: ir.IRBuilder, x: ir.Value, y: ir.Value, signed: bool) -> ir.Value:
        compare = builder.icmp_signed if signed else builder.icmp_unsigned
        return builder.select(compare(operator, x, y), x, y)

    return build


REORDER = ("reassoc", "nsz")
radd = reassociable(
    "radd",
    "a + b, where LLVM may reorder a sum of many, so that a reduction loop vectorises.",
    lambda builder, x, y: builder.fadd(x, y, flags=REORDER),
    lambda builder, x, y, signed: builder.add(x, y),
)
rmul = reassociable(
    "rmul",
    "a * b, where LLVM may reorder a product of many.",
    lambda builder, x, y: builder.fmul(x, y, flags=REORDER),
    lambda builder, x, y, signed: builder.mul(x, y),
)
rmax = reassociable(
    "rmax", "The larger one, NaN if either is; vectorises in a loop.", nan_propagating("maximum"), integer_extreme(">")
)
rmin = reassociable(
    "rmin", "The smaller one, NaN if either is; vectorises in a loop.", nan_propagating("minimum"), integer_extreme("<")
)


@intrinsic
def select(typingctx, condition, a, b):
    """a where the condition holds, else b; both are evaluated. Two numbers of different type become the wider one."""
    kind = types.unliteral(typingctx.unify_types(types.unliteral(a), types.unliteral(b)))

    def codegen(context, builder, sig, args):
        flag = context.cast(builder, args[0], sig.args[0], types.boolean)
        return builder.select(flag, args[1], args[2])

    return kind(types.unliteral(condition), kind, kind), codegen


# ---------------------------------------------------------------------------------------------------------------------
# Conversions
# ---------------------------------------------------------------------------------------------------------------------


def integer_from_real(builder: ir.IRBuilder, x: ir.Value, width: int) -> ir.Value:
    """Truncated toward zero; out of range and NaN give the smallest integer, as on x86 and in PyTorch there.

    8- and 16-bit integers go through 32 bits, of which the low ones are kept."""
    wide = 64 if width == 64 else 32
    kind = ir.IntType(wide)
    limit = ir.Constant(x.type, 2.0 ** (wide - 1))
    inside = builder.and_(
        builder.fcmp_ordered(">=", x, ir.Constant(x.type, -(2.0 ** (wide - 1)))), builder.fcmp_ordered("<", x, limit)
    )
    # outside, fptosi gives no defined value, but then it is not the one selected
    whole = builder.select(inside, builder.fptosi(x, kind), ir.Constant(kind, -(2 ** (wide - 1))))
    return builder.trunc(whole, ir.IntType(width)) if width < wide else whole


def converted(context: Any, builder: ir.IRBuilder, value: ir.Value, source: Any, target: Any) -> ir.Value:
    if isinstance(source, types.Float) and target == boolean:
        return builder.fcmp_unordered("!=", value, ir.Constant(value.type, 0.0))
    if isinstance(source, types.Float) and isinstance(target, types.Integer):
        return integer_from_real(builder, value, context.get_value_type(target).width)
    return context.cast(builder, value, source, target)


def conversion(name: str, target: Any) -> Any:
    def convert(typingctx, x):
        source = types.unliteral(x)
        if not is_number(source):
            raise TypingError(f"{name}: a number expected, got {x}")

        def codegen(context, builder, sig, args):
            return converted(context, builder, args[0], source, target)

        return target(source), codegen

    convert.__name__ = convert.__qualname__ = name
    convert.__doc__ = f"x as {target}, with PyTorch's rules."
    return intrinsic(convert)


CONVERSIONS: dict[str, Any] = {
    f"as_{suffix}": conversion(f"as_{suffix}", element) for suffix, element in {**ELEMENTS, "bool": boolean}.items()
}


@intrinsic
def widened_bfloat16(typingctx, x):
    """The bits of a bfloat16 (int16) as the float32 that they are the upper half of."""

    def codegen(context, builder, sig, args):
        word = builder.zext(args[0], ir.IntType(32))
        return builder.bitcast(builder.shl(word, ir.Constant(word.type, 16)), ir.FloatType())

    return float32(int16), codegen


@intrinsic
def rounded_bfloat16(typingctx, x):
    """The bits (int16) of the bfloat16 that is nearest to a float32, of two the even one."""

    def codegen(context, builder, sig, args):
        kind = ir.IntType(32)
        word, shift = builder.bitcast(args[0], kind), ir.Constant(kind, 16)
        even = builder.and_(builder.lshr(word, shift), ir.Constant(kind, 1))
        nearest = builder.add(builder.add(word, ir.Constant(kind, 0x7FFF)), even)
        quiet = builder.or_(word, ir.Constant(kind, 0x400000))
        bits = builder.select(builder.fcmp_unordered("uno", args[0], args[0]), quiet, nearest)
        return builder.trunc(builder.lshr(bits, shift), ir.IntType(16))

    return int16(float32), codegen


@intrinsic
def widened_float16(typingctx, x):
    """The bits of a float16 (int16) as a float32."""

    def codegen(context, builder, sig, args):
        return builder.fpext(builder.bitcast(args[0], ir.HalfType()), ir.FloatType())

    return float32(int16), codegen


@intrinsic
def rounded_float16(typingctx, x):
    """The bits (int16) of the float16 that is nearest to a float32, of two the even one."""

    def codegen(context, builder, sig, args):
        return builder.bitcast(builder.fptrunc(args[0], ir.HalfType()), ir.IntType(16))

    return int16(float32), codegen


@intrinsic
def narrowed(typingctx, x):
    """An int64 in 32 bits, for comparison with an index below 2**31: limited to -1 and 2**31 - 1, which compare with it as x does."""

    def codegen(context, builder, sig, args):
        low, high = ir.Constant(WORD, -1), ir.Constant(WORD, 2**31 - 1)
        x = builder.select(builder.icmp_signed("<", args[0], low), low, args[0])
        return builder.trunc(builder.select(builder.icmp_signed(">", x, high), high, x), ir.IntType(32))

    return int32(int64), codegen


def reinterpretation(name: str, source: Any, target: Any) -> Any:
    def reinterpret(typingctx, x):
        def codegen(context, builder, sig, args):
            return builder.bitcast(args[0], context.get_value_type(target))

        return target(source), codegen

    reinterpret.__name__ = reinterpret.__qualname__ = name
    reinterpret.__doc__ = f"The bits of a {source} as {target}."
    return intrinsic(reinterpret)


bits_f32 = reinterpretation("bits_f32", types.uint32, float32)
bits_of_f32 = reinterpretation("bits_of_f32", float32, types.uint32)
bits_f64 = reinterpretation("bits_f64", uint64, float64)
bits_of_f64 = reinterpretation("bits_of_f64", float64, uint64)


# ---------------------------------------------------------------------------------------------------------------------
# Calls and atomic words, for the executor
# ---------------------------------------------------------------------------------------------------------------------


@intrinsic
def call_kernel(typingctx, address, table, lo, hi):
    """Call the kernel at `address` over [lo, hi)."""

    def codegen(context, builder, sig, args):
        kind = ir.FunctionType(ir.VoidType(), [args[1].type, WORD, WORD])
        builder.call(builder.inttoptr(args[0], kind.as_pointer()), args[1:])
        return context.get_dummy_value()

    return types.void(int64, types.CPointer(uint64), int64, int64), codegen


@intrinsic
def call_c(typingctx, address, a, b, c):
    """Call the C function at `address` with three 64-bit arguments; it may take fewer. Its result is dropped."""

    def codegen(context, builder, sig, args):
        kind = ir.FunctionType(ir.VoidType(), [WORD] * 3)
        builder.call(builder.inttoptr(args[0], kind.as_pointer()), args[1:])
        return context.get_dummy_value()

    return types.void(int64, int64, int64, int64), codegen


PART_ARGUMENTS = 10  # of a kernel's part, all 64-bit integers: see `invoke`


@intrinsic
def invoke(typingctx, address, a, b, c, d, e, f, g, h, i, j):
    """Call a part of a kernel, compiled by itself, with as many 64-bit integers as parts take."""

    def codegen(context, builder, sig, args):
        kind = ir.FunctionType(ir.VoidType(), [WORD] * PART_ARGUMENTS)
        builder.call(builder.inttoptr(args[0], kind.as_pointer()), args[1:])
        return context.get_dummy_value()

    return types.void(int64, *[int64] * PART_ARGUMENTS), codegen


@intrinsic
def address_of(typingctx, pointer):
    """A pointer as an integer."""
    return int64(pointer), lambda context, builder, sig, args: builder.ptrtoint(args[0], WORD)


def pointer_maker(suffix: str, element: Any) -> Any:
    result = types.CPointer(element)

    def pointer(typingctx, address):
        return result(int64), lambda context, builder, sig, args: builder.inttoptr(args[0], context.get_value_type(result))

    pointer.__name__ = pointer.__qualname__ = f"{suffix}_at"
    pointer.__doc__ = f"An address as a pointer to {element}."
    return intrinsic(pointer)


@intrinsic
def pointer_to(typingctx, address):
    """An address as a pointer to 64-bit signed words."""
    result = types.CPointer(int64)
    return result(int64), lambda context, builder, sig, args: builder.inttoptr(args[0], context.get_value_type(result))


@intrinsic
def table_at(typingctx, address):
    """An address as a kernel's argument table."""
    result = types.CPointer(uint64)
    return result(int64), lambda context, builder, sig, args: builder.inttoptr(args[0], context.get_value_type(result))


@intrinsic
def load_atomic(typingctx, pointer):
    """*pointer, sequentially consistent."""
    return int64(types.CPointer(int64)), lambda context, builder, sig, args: builder.load_atomic(args[0], "seq_cst", 8)


@intrinsic
def store_atomic(typingctx, pointer, value):
    """*pointer = value, sequentially consistent."""

    def codegen(context, builder, sig, args):
        builder.store_atomic(args[1], args[0], "seq_cst", 8)
        return context.get_dummy_value()

    return types.void(types.CPointer(int64), int64), codegen


@intrinsic
def add_atomic(typingctx, pointer, value):
    """Add to *pointer and return what it was before."""

    def codegen(context, builder, sig, args):
        return builder.atomic_rmw("add", args[0], args[1], "seq_cst")

    return int64(types.CPointer(int64), int64), codegen


@intrinsic
def replace_atomic(typingctx, pointer, expected, value):
    """If *pointer is `expected`, make it `value`; whether it was."""

    def codegen(context, builder, sig, args):
        return builder.extract_value(builder.cmpxchg(args[0], args[1], args[2], "seq_cst", "seq_cst"), 1)

    return boolean(types.CPointer(int64), int64, int64), codegen


# start of the target triple -> LLVM's intrinsic for a waiting loop, and its argument
PAUSES = {"x86": ("llvm.x86.sse2.pause", None), "aarch64": ("llvm.aarch64.hint", 1), "arm64": ("llvm.aarch64.hint", 1)}


@intrinsic
def pause(typingctx):
    """Tell the core that this is a waiting loop. Does nothing where there is no such instruction."""

    def codegen(context, builder, sig, args):
        for architecture, (name, argument) in PAUSES.items():
            if builder.module.triple.startswith(architecture):
                operands = [] if argument is None else [ir.Constant(ir.IntType(32), argument)]
                kind = ir.FunctionType(ir.VoidType(), [operand.type for operand in operands])
                builder.call(cgutils.get_or_insert_function(builder.module, kind, name), operands)
        return context.get_dummy_value()

    return types.void(), codegen


NAMES: dict[str, Any] = {
    **{f"{name}_f32": function for name, function in vecmath.F32.items()},
    **{f"{name}_f64": function for name, function in vecmath.F64.items()},
    **{f"int_{name}": function for name, function in vecmath.INT.items()},
    **{name: getattr(vecmath, name) for name in VECMATH_GENERIC},
    **POINTERS,
    **CONVERSIONS,
    **{f"{suffix}_at": pointer_maker(suffix, ELEMENTS[suffix]) for suffix in ("f32", "f64")},
    **{"invoke": invoke, "address_of": address_of},
    **{str(kind): kind for kind in (boolean, float32, float64, int8, int16, int32, int64, uint8, types.uint32, uint64)},
    **{"word": word, "sword": sword, "at": at, "independent": independent, "select": select, "narrowed": narrowed},
    **{"widened_bfloat16": widened_bfloat16, "rounded_bfloat16": rounded_bfloat16},
    **{"widened_float16": widened_float16, "rounded_float16": rounded_float16},
    **{"radd": radd, "rmul": rmul, "rmax": rmax, "rmin": rmin},
    **{"bits_f32": bits_f32, "bits_of_f32": bits_of_f32, "bits_f64": bits_f64, "bits_of_f64": bits_of_f64},
    **{"call_kernel": call_kernel, "call_c": call_c, "pointer_to": pointer_to, "table_at": table_at, "pause": pause},
    **{"load_atomic": load_atomic, "store_atomic": store_atomic},
    **{"add_atomic": add_atomic, "replace_atomic": replace_atomic},
    "helper": tiles.helper,
    **library.NAMES,
    **simd.NAMES,
    **tiles.NAMES,
    "np": np,
    "types": types,
}

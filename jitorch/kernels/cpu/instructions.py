"""Functions by instructions for vectors that LLVM's loop vectoriser doesn't know: tables in registers, and first guesses of 1 / sqrt(x).

One instruction of AVX-512 picks sixteen numbers out of thirty-two in registers. So a function can be a polynomial of low degree for each of 32
intervals: far fewer operations than one polynomial, or several and a choice, that is accurate everywhere.

LLVM's loop vectoriser knows no such instruction: a table in memory becomes a gather, which takes longer than what it saves. But it replaces a
call by one for whole vectors where it is told of a function that does that (`vector-function-abi-variant`, LLVM's language reference). A kernel
therefore calls `jitorch_vector_erf`, of which nothing is known but the name until its loops are vectorised; then the definitions of both kinds come in
and are inlined (`compiler.py`). What remains of a loop takes the scalar one, whose operations are the same, bit for bit.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import cache

import llvmlite.binding as llvm
from llvmlite import ir

from .values import FLOAT, I32, I64, Value, choose, clip, fused, is_nan, magnitude

SIZE, LANES = 32, 16                # entries of a table; numbers that are looked up at once
WIDTHS = (4, 8, 16)                 # of the vectors there are functions for
LOOK_UP, RSQRT = "llvm.x86.avx512.vpermi2var.ps.512", "llvm.x86.avx512.rsqrt14.ps.512"


@cache
def has_instructions() -> bool:
    return bool(llvm.get_host_cpu_features().get("avx512f"))


def looked_up(index: Value, table: Sequence[float]) -> Value:
    """table[index modulo SIZE], for an int32 or a vector of them."""
    builder = index.builder
    kind = index.ir.type
    if not isinstance(kind, ir.VectorType):
        entries = ir.Constant(ir.ArrayType(FLOAT, SIZE), list(table))
        place = ir.GlobalVariable(builder.module, entries.type, builder.module.get_unique_name("table"))
        place.linkage, place.global_constant, place.initializer = "internal", True, entries
        within = builder.zext((index & (SIZE - 1)).ir, I64)
        return Value(builder, builder.load(builder.gep(place, [ir.Constant(I64, 0), within])))
    numbers = ir.VectorType(FLOAT, LANES)
    low, high = (Value(builder, ir.Constant(numbers, list(table[i:i + LANES]))) for i in (0, LANES))
    return narrowed(instruction(LOOK_UP, low, widened(index), high), kind)


def instruction(name: str, *args: Value) -> Value:
    """A function of LLVM's for one processor; its result is of the first argument's type."""
    module, kinds = args[0].builder.module, [a.ir.type for a in args]
    function = module.globals.get(name) or ir.Function(module, ir.FunctionType(kinds[0], kinds), name)
    return Value(args[0].builder, args[0].builder.call(function, [a.ir for a in args]))


def widened(x: Value) -> Value:
    """As many lanes as the instructions here have, with x in the first ones."""
    kind = x.ir.type
    if not isinstance(kind, ir.VectorType):
        one = ir.VectorType(kind, 1)
        x = Value(x.builder, x.builder.insert_element(ir.Constant(one, ir.Undefined), x.ir, ir.Constant(I32, 0)))
        kind = one
    if kind.count == LANES:
        return x
    lanes = ir.Constant(ir.VectorType(I32, LANES), [i % kind.count for i in range(LANES)])
    return Value(x.builder, x.builder.shuffle_vector(x.ir, ir.Constant(kind, ir.Undefined), lanes))


def narrowed(x: Value, kind: ir.Type) -> Value:
    """The first lanes, as many as `kind` has."""
    if not isinstance(kind, ir.VectorType):
        return Value(x.builder, x.builder.extract_element(x.ir, ir.Constant(I32, 0)))
    if kind.count == LANES:
        return x
    lanes = ir.Constant(ir.VectorType(I32, kind.count), list(range(kind.count)))
    return Value(x.builder, x.builder.shuffle_vector(x.ir, ir.Constant(x.ir.type, ir.Undefined), lanes))


# erf(x) / x in powers of x less a centre, for |x| between (k - 1/2) / 8 and (k + 1/2) / 8. The centres lie where the constant term is nearly a float: it
# would be most of the error.
ERF_TOP = 3.92499995        # from here on erf(x) is 1 in float32, and so is what the polynomial gives here
ERF_CENTRES = (
    0.0315186977, 0.125029564, 0.249663591, 0.375109911, 0.500212669, 0.624788284, 0.750590086, 0.875467777,
    1.00005579, 1.12509012, 1.25009322, 1.37529993, 1.49986196, 1.62542939, 1.74976206, 1.87478232, 1.9993732,
    2.1242857, 2.25053334, 2.37524247, 2.50039029, 2.62504172, 2.74953723, 2.87459898, 2.9999795, 3.12504482,
    3.25009608, 3.37503934, 3.49991035, 3.62452984, 3.75000525, 3.87477756,
)
ERF = (
    (
        1.12800562, 1.12252688, 1.10536647, 1.07761657, 1.04093075, 0.997264564, 0.947967291, 0.895887256, 0.842676938,
        0.789640665, 0.738282681, 0.689464986, 0.644118428, 0.601981401, 0.563881874, 0.529118896, 0.497810662,
        0.469492942, 0.443690866, 0.420680434, 0.399775147, 0.380868107, 0.363660872, 0.347857922, 0.333328247,
        0.319992244, 0.307681888, 0.296292305, 0.285721391, 0.275897771, 0.266666263, 0.25807932,
    ),
    (
        -0.0236958954, -0.0931764767, -0.180939883, -0.259509265, -0.324531883, -0.373827189, -0.407153159,
        -0.424426377, -0.42759183, -0.419016421, -0.401423454, -0.37755093, -0.350124896, -0.320913047, -0.292075723,
        -0.264321774, -0.238620728, -0.215185121, -0.193983227, -0.175425708, -0.159015626, -0.144653127, -0.132048801,
        -0.120909736, -0.111063749, -0.102375329, -0.0946595743, -0.0877855122, -0.0816352293, -0.0761189908,
        -0.0711106658, -0.0666048527,
    ),
    (
        -0.375454903, -0.36564061, -0.33545661, -0.288449407, -0.229807496, -0.165375024, -0.0999179706, -0.0395161174,
        0.0125067476, 0.0542196818, 0.084648706, 0.104303271, 0.114458434, 0.117072813, 0.1141041, 0.107414737,
        0.0986288637, 0.0889192745, 0.0790691599, 0.0698540583, 0.0614222884, 0.0539574586, 0.0474380553, 0.041770529,
        0.0368822329, 0.0326948911, 0.0290959924, 0.0259974711, 0.0233195405, 0.0209988449, 0.0189619437, 0.0171889961,
    ),
    (
        0.0142471939, 0.0552953593, 0.104425088, 0.142784759, 0.166683301, 0.175121173, 0.16909413, 0.151398167,
        0.125806317, 0.0962047428, 0.0663478896, 0.0390399098, 0.016299149, -0.0013453908, -0.0135894716, -0.0212419014,
        -0.0251242053, -0.0262407381, -0.0254798904, -0.0236249622, -0.0212274548, -0.018692242, -0.0162502248,
        -0.0140124382, -0.0120349647, -0.010338339, -0.00889514014, -0.00767749175, -0.00665294332, -0.00578934141,
        -0.00505659403, -0.0044356049,
    ),
    (
        0.111594349, 0.106498137, 0.0889463946, 0.0628613979, 0.0323515162, 0.00183698116, -0.0248204488, -0.0447205342,
        -0.0566067472, -0.060592778, -0.0579293557, -0.0505351759, -0.0405206122, -0.0297562573, -0.0196924321,
        -0.0111999549, -0.00466180593, -6.83724647e-05, 0.00284258975, 0.00441373326, 0.00504098181, 0.00505441474,
        0.00471989764, 0.00421662861, 0.00366243976, 0.00313021033, 0.00264846208, 0.00223273411, 0.00188251864,
        0.00158739754, 0.00134314736, 0.00114278682,
    ),
)


def erf_f32(x: Value) -> Value:
    c = clip(x, -ERF_TOP, ERF_TOP)
    a = magnitude(c)
    k = (a + 1.5 * 2.0**20).bits()      # the nearest multiple of 1/8 is in the low bits
    r = a - looked_up(k, ERF_CENTRES)
    total = looked_up(k, ERF[-1])
    for table in reversed(ERF[:-1]):
        total = fused(total, r, looked_up(k, table))
    return c * total


def rsqrt_f32(x: Value) -> Value:
    """A guess of 14 bits and one of Newton's steps: a quarter of the time of a root and a quotient, which share one slow unit."""
    whole = widened(x)
    nothing, all_lanes = whole.const(0.0), Value(x.builder, ir.Constant(ir.IntType(LANES), -1))
    guess = narrowed(instruction(RSQRT, whole, nothing, all_lanes), x.ir.type)
    rest = fused(-(x * guess), guess, 1.0)
    better = fused(guess * 0.5, rest, guess)
    return choose(is_nan(rest), guess, better)      # 0 and infinity have no rest


# name: the formula, of one float32 or a vector of them
FUNCTIONS: dict[str, Callable[[Value], Value]] = {"erf": erf_f32, "rsqrt": rsqrt_f32}
PREFIX = "jitorch_vector_"
DECLARATION = re.compile(rf"^declare float @{PREFIX}(\w+)\(.*$", re.MULTILINE)


def called(name: str, x: Value) -> Value:
    """A call of the function, as a kernel has it until its loops are vectorised."""
    module, symbol = x.builder.module, PREFIX + name
    function = module.globals.get(symbol)
    if function is None:
        function = ir.Function(module, ir.FunctionType(FLOAT, [FLOAT]), symbol)
        function.attributes.add("nounwind")
        function.attributes.add("readnone")
    return Value(x.builder, x.builder.call(function, [x.ir]))


# -- in the compiler -------------------------------------------------------------------------------------------------
def with_variants(module: llvm.ModuleRef) -> llvm.ModuleRef:
    """Tell the vectoriser which functions of vectors take the place of those that the module calls."""
    text = str(module)
    names = DECLARATION.findall(text)
    if not names:
        return module

    def declaration(found: re.Match) -> str:
        symbol = PREFIX + found[1]
        variants = ",".join(f"_ZGV_LLVM_N{n}v_{symbol}({symbol}_{n})" for n in WIDTHS)
        return f'declare float @{symbol}(float) nounwind willreturn memory(none) "vector-function-abi-variant"="{variants}"'

    changed = llvm.parse_assembly(DECLARATION.sub(declaration, text))
    changed.link_in(definitions(tuple(names), WIDTHS, module.data_layout, module.triple))
    return changed


def inline(module: llvm.ModuleRef, machine: llvm.TargetMachine) -> None:
    """Put the definitions in place of the calls, once loops are vectorised."""
    ours = [f for f in module.functions if f.name.startswith(PREFIX)]
    if not ours:
        return
    names = [f.name.removeprefix(PREFIX) for f in ours if f.is_declaration]
    module.link_in(definitions(tuple(names), (1,), module.data_layout, module.triple))
    for function in module.functions:
        if function.name.startswith(PREFIX):
            function.linkage = "internal"
    builder = llvm.create_pass_builder(machine, llvm.create_pipeline_tuning_options(speed_level=3))
    passes = llvm.create_new_module_pass_manager()
    passes.add_always_inliner_pass()
    passes.add_instruction_combine_pass()
    passes.add_global_dead_code_eliminate_pass()
    passes.run(module, builder)
    module.verify()


def definitions(names: tuple[str, ...], widths: tuple[int, ...], layout: str, triple: str) -> llvm.ModuleRef:
    """A module of the functions `names` for one number (width 1) or for vectors."""
    return llvm.parse_assembly(definition_text(names, widths, layout, triple))


@cache
def definition_text(names: tuple[str, ...], widths: tuple[int, ...], layout: str, triple: str) -> str:
    module = ir.Module()
    module.data_layout, module.triple = layout, triple
    for name in names:
        for n in widths:
            kind = FLOAT if n == 1 else ir.VectorType(FLOAT, n)
            symbol = PREFIX + name + ("" if n == 1 else f"_{n}")
            function = ir.Function(module, ir.FunctionType(kind, [kind]), symbol)
            for attribute in ("nounwind", "readnone", "alwaysinline"):
                function.attributes.add(attribute)
            builder = ir.IRBuilder(function.append_basic_block())
            builder.ret(FUNCTIONS[name](Value(builder, function.args[0])).ir)
    return str(module)

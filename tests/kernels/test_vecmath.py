"""The elementary functions of generated kernels: accuracy over the whole range, special values, vectorisation."""

import ctypes
import platform
import re
from functools import cache

import llvmlite.binding
import mpmath
import numpy as np
import pytest
import scipy.special
from numba import cfunc, njit, types
from numba.core.errors import TypingError

from jitorch.kernels.cpu import instructions, loader, vecmath
from jitorch.kernels.cpu.compiler import assembly, build, compile_kernel
from jitorch.kernels.cpu.frontend import translate

INF, NAN = np.inf, np.nan
HOT = ("exp", "log", "tanh", "sigmoid", "erf", "sin", "cos")
ALLOWED_ULP = 2.0
KERNEL = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_ssize_t, ctypes.c_ssize_t)


POINTERS = {np.dtype(name): suffix for name, suffix in dict(float32="f32", float64="f64", int8="i8", int16="i16", int32="i32",
                                                            int64="i64", uint8="u8").items()}


def source_of(function, *kinds):
    """A kernel that applies a function to arrays; the last kind is the result's."""
    pointers = [f"    p{n} = ptr_{kind}(args, {n})\n" for n, kind in enumerate(kinds)]
    operands = ", ".join(f"p{n}[i]" for n in range(len(kinds) - 1))
    return (
        "def kernel(args, lo, hi):\n" + "".join(pointers) + "    for i in range(uint64(lo), uint64(hi)):\n"
        f"        independent()\n        p{len(kinds) - 1}[i] = {function.__name__}({operands})\n"
    )


@cache
def loop_over(source):
    return KERNEL(loader.load(compile_kernel(source)))


def apply(function, *arrays):
    """The function as a kernel computes it, in whole vectors but for the last few numbers."""
    arrays = [np.ascontiguousarray(a) for a in arrays]
    out = np.empty_like(arrays[0])
    kinds = [POINTERS[a.dtype] for a in (*arrays, out)]
    table = np.array([a.ctypes.data for a in (*arrays, out)], np.int64)
    loop_over(source_of(function, *kinds))(table.ctypes.data, 0, out.size)
    return out


def ulp_error(got, exact):
    """Distance in units in the last place of the exact value. 0 for equal special values; infinite where one is NaN and
    the other is not, or where one is infinite and the other neither that nor the largest finite number."""
    info = np.finfo(got.dtype)
    exponent = np.frexp(np.abs(exact).astype(np.float64))[1]
    unit = np.ldexp(1.0, np.maximum(exponent - info.nmant - 1, info.minexp - info.nmant)).astype(exact.dtype)
    with np.errstate(all="ignore"):
        nearest = exact.astype(got.dtype)
        error = np.abs(got.astype(exact.dtype) - exact) / unit
    same = (got == nearest) | (np.isnan(got) & np.isnan(nearest))
    error = np.where(same, np.where(np.isfinite(exact), np.minimum(error, 1), 0), error)
    error = np.where(np.isnan(got) != np.isnan(nearest), INF, error)
    return np.where(np.isinf(nearest) & ~same, np.where(np.abs(got) == info.max, 1, INF), error)


def sample_f32():
    """Every 65,537th bit pattern, intervals where the formulas change, and special values."""
    patterns = np.arange(0, 2**32, 65537, dtype=np.uint64).astype(np.uint32).view(np.float32)
    widths = (0.01, 1, 2, 10, 110, 1e3, 1.1e5)
    dense = [np.linspace(-w, w, 20001).astype(np.float32) for w in widths]
    around_one = (1 + np.arange(-4096, 4096) * 2.0**-24).astype(np.float32)
    near_half_pi = np.nextafter((np.arange(1, 20000) * (np.pi / 2)).astype(np.float32), np.float32(0))
    special = np.array([0.0, INF, NAN, 1, 0.5, 1e-45, 2**-126, 3.4028235e38, 1.5707964, 1.4142135], np.float32)
    return np.concatenate([patterns, *dense, around_one, near_half_pi, special, -special])


def sigmoid(x):
    e = np.exp(-np.abs(x))
    return np.where(x < 0, e, 1) / (1 + e)


# Functions of float64 that are exact enough for float32: their errors are below 1e-8 units of float32.
REFERENCE = {
    "exp": np.exp,
    "exp2": np.exp2,
    "expm1": np.expm1,
    "log": np.log,
    "log2": np.log2,
    "log10": np.log10,
    "log1p": np.log1p,
    "sigmoid": sigmoid,
    "tanh": np.tanh,
    "sin": np.sin,
    "cos": np.cos,
    "tan": np.tan,
    "sinh": np.sinh,
    "cosh": np.cosh,
    "asin": np.arcsin,
    "acos": np.arccos,
    "atan": np.arctan,
    "asinh": np.arcsinh,
    "acosh": np.arccosh,
    "atanh": np.arctanh,
    "erf": scipy.special.erf,
    "erfc": scipy.special.erfc,
    "lgamma": lambda x: np.where(x == -INF, INF, scipy.special.gammaln(x)),  # C99; SciPy has -inf there
    "digamma": scipy.special.digamma,
    "rsqrt": lambda x: 1 / np.sqrt(x),
    "sqrt": np.sqrt,
    "abs": np.abs,
    "floor": np.floor,
    "ceil": np.ceil,
    "trunc": np.trunc,
    "round": np.rint,
}
EXACT = {
    "sigmoid": lambda x: 1 / (1 + mpmath.exp(-x)),
    "exp2": lambda x: mpmath.mpf(2) ** x,
    "log2": lambda x: mpmath.log(x, 2),
    "log": mpmath.log,
    **{name: getattr(mpmath, name) for name in ("exp", "expm1", "log10", "log1p", "tanh", "sin", "cos", "tan")},
    **{name: getattr(mpmath, name) for name in ("sinh", "cosh", "asin", "acos", "atan", "asinh", "acosh", "atanh")},
    **{name: getattr(mpmath, name) for name in ("erf", "erfc")},
}
BINARY = {name for name, (arity, _, _) in vecmath.FORMULAS.items() if arity == 2}


def test_tables_are_complete():
    assert set(REFERENCE) | BINARY == set(vecmath.F32) == set(vecmath.F64)
    assert vecmath.exp_f32 is vecmath.F32["exp"]
    assert vecmath.atan2_f64 is vecmath.F64["atan2"]


@pytest.mark.parametrize("name", REFERENCE)
def test_float32_is_accurate_over_the_whole_range(name):
    x = sample_f32()
    got = apply(vecmath.F32[name], x)
    with np.errstate(all="ignore"):
        exact = REFERENCE[name](x.astype(np.float64))
    error = ulp_error(got, exact)
    worst = np.argmax(error)
    assert error[worst] <= ALLOWED_ULP, f"{name}({x[worst]!r}) = {got[worst]!r}, exactly {exact[worst]!r}"
    wrong_sign = (np.signbit(got) != np.signbit(exact)) & ~np.isnan(got)
    assert not wrong_sign.any(), f"{name}({x[wrong_sign][0]!r}) = {got[wrong_sign][0]!r}"


@pytest.mark.parametrize("name", ["erf", "rsqrt"])
def test_functions_without_instructions_for_vectors(monkeypatch, name):
    monkeypatch.setattr(instructions, "has_instructions", lambda: False)
    x = sample_f32()
    with np.errstate(all="ignore"):
        got, exact = np.empty_like(x), REFERENCE[name](x.astype(np.float64))
    source = "# without instructions for vectors\n" + source_of(vecmath.F32[name], "f32", "f32")
    assert instructions.PREFIX not in str(translate(source, "kernel", "<kernel>"))
    loop_over(source)(np.array([x.ctypes.data, got.ctypes.data]).ctypes.data, 0, x.size)
    assert ulp_error(got, exact).max() <= ALLOWED_ULP


@pytest.mark.skipif(not instructions.has_instructions(), reason="this CPU has no such instructions")
@pytest.mark.parametrize("wide", ["f32", "f64"])
@pytest.mark.parametrize("name, expected", [("erf", "vperm[it]2ps"), ("rsqrt", "vrsqrt14ps")])
def test_functions_for_vectors_give_the_same_bits_in_vectors_and_alone(name, expected, wide):
    """Loops that hold float64, too, have shorter vectors."""
    x = np.random.default_rng(0).standard_normal(1000).astype(np.float32) * 2
    x[:8] = 0, -0.0, INF, -INF, NAN, 1e-42, 3e38, 1
    got = np.empty(x.size, np.float32 if wide == "f32" else np.float64)
    source = source_of(vecmath.F32[name], "f32", wide)
    assert re.search(expected, assembly(source))
    assert not library_calls(str(build(source, "kernel", "<kernel>")))
    kernel, words = loop_over(source), np.array([x.ctypes.data, got.ctypes.data])
    kernel(words.ctypes.data, 0, x.size)
    together = got.copy()
    for i in range(x.size):
        kernel(words.ctypes.data, i, i + 1)
    np.testing.assert_array_equal(together, got)


def exact_values(name, x):
    """The results for float64 in extended precision where NumPy has it, rounded from 60 digits."""
    with mpmath.workdps(60):
        values = [EXACT[name](mpmath.mpf(float(v))) for v in x]
        high = [float(v) for v in values]
        low = [float(v - mpmath.mpf(h)) if np.isfinite(h) else 0.0 for v, h in zip(values, high)]
    return np.array(high), np.array(low)


def domain_sample(name, dtype, count):
    """Arguments at which the function is real and finite, over many magnitudes."""
    rng = np.random.default_rng(0)
    small = name in ("asin", "acos", "atanh")
    magnitude = 2.0 ** rng.uniform(-30, 0 if small else 6, count)
    x = magnitude * rng.choice([-1.0, 1.0], count)
    if name in ("log", "log2", "log10"):
        x = np.abs(x)
    if name == "log1p":
        x = np.maximum(x, -0.999)
    if name == "acosh":
        x = 1 + np.abs(x)
    if name in ("sin", "cos", "tan"):
        x = np.concatenate([x, rng.choice([-1.0, 1.0], count) * 2.0 ** rng.uniform(6, 127, count)])
    return x.astype(dtype)


@pytest.mark.parametrize("name", EXACT)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_accuracy_against_mpmath(name, dtype):
    x = domain_sample(name, dtype, 400)
    got = apply((vecmath.F32 if dtype is np.float32 else vecmath.F64)[name], x)
    high, low = exact_values(name, x)
    unit = np.spacing(np.abs(high).astype(dtype)).astype(np.float64)
    with np.errstate(invalid="ignore"):
        error = np.abs((got.astype(np.float64) - high) - low) / unit
    error = np.where(got == high.astype(dtype), 0, error)
    worst = np.argmax(error)
    assert error[worst] <= ALLOWED_ULP, f"{name}({x[worst]!r}) = {got[worst]!r}, exactly {high[worst]!r}"


SPECIAL_VALUES = [
    ("exp", [-INF, INF, NAN, 0.0, -0.0, 1e4, -1e4], [0.0, INF, NAN, 1, 1, INF, 0.0]),
    ("expm1", [-INF, INF, NAN, 0.0, -0.0], [-1, INF, NAN, 0.0, -0.0]),
    ("log", [0.0, -0.0, 1, INF, -1, -INF, NAN], [-INF, -INF, 0.0, INF, NAN, NAN, NAN]),
    ("log2", [0.0, 1, 8, INF, -1, NAN], [-INF, 0.0, 3, INF, NAN, NAN]),
    ("log10", [0.0, 1, 1000, INF, -1, NAN], [-INF, 0.0, 3, INF, NAN, NAN]),
    ("log1p", [-1, 0.0, -0.0, INF, -2, NAN], [-INF, 0.0, -0.0, INF, NAN, NAN]),
    ("sigmoid", [-INF, INF, 0.0, NAN], [0.0, 1, 0.5, NAN]),
    ("tanh", [-INF, INF, 0.0, -0.0, NAN], [-1, 1, 0.0, -0.0, NAN]),
    ("sin", [INF, -INF, NAN, 0.0, -0.0], [NAN, NAN, NAN, 0.0, -0.0]),
    ("cos", [INF, -INF, NAN, 0.0], [NAN, NAN, NAN, 1]),
    ("tan", [INF, NAN, 0.0, -0.0], [NAN, NAN, 0.0, -0.0]),
    ("erf", [INF, -INF, NAN, 0.0, -0.0], [1, -1, NAN, 0.0, -0.0]),
    ("lgamma", [0.0, -0.0, 1, 2, -1, INF, -INF, NAN], [INF, INF, 0.0, 0.0, INF, INF, INF, NAN]),
    ("digamma", [0.0, -0.0, -1, INF, NAN], [-INF, INF, NAN, INF, NAN]),
    ("rsqrt", [0.0, -0.0, INF, -1, 4], [INF, -INF, 0.0, NAN, 0.5]),
]


@pytest.mark.parametrize("table, dtype", [(vecmath.F32, np.float32), (vecmath.F64, np.float64)])
@pytest.mark.parametrize("name, arguments, expected", SPECIAL_VALUES, ids=[row[0] for row in SPECIAL_VALUES])
def test_special_values(table, dtype, name, arguments, expected):
    got = apply(table[name], np.array(arguments, dtype))
    expected = np.array(expected, dtype)
    np.testing.assert_array_equal(got, expected)
    assert (np.signbit(got) == np.signbit(expected))[~np.isnan(got)].all()


@pytest.mark.parametrize("name", ["lgamma", "digamma"])
def test_gamma_functions_near_their_zeros(name):
    zeros = {
        "lgamma": [1, 2, -2.4570247, -2.7476826, -3.1435809, -3.9552943, -4.0393615],
        "digamma": [1.4616321, -0.504083, -1.5734985, -2.6107209],
    }
    steps = np.arange(-20, 21)
    x = np.concatenate([np.float32(z) + steps * np.spacing(np.float32(z)) for z in zeros[name]]).astype(np.float32)
    x = x[(x != 1) & (x != 2)]
    function = {"lgamma": lambda v: mpmath.loggamma(v).real, "digamma": mpmath.digamma}[name]
    with mpmath.workdps(40):
        exact = np.array([float(function(mpmath.mpf(float(v)))) for v in x])
    assert ulp_error(apply(vecmath.F32[name], x), exact).max() <= ALLOWED_ULP


def test_digamma_in_float64():
    x = np.concatenate([np.linspace(0.01, 30, 400), [1e-300, 1e5, 1e300]])
    exact = np.array([float(mpmath.digamma(float(v))) for v in x])
    np.testing.assert_allclose(apply(vecmath.F64["digamma"], x), exact, rtol=4e-16, atol=2e-15)


def pairs(dtype):
    special = [0.0, INF, NAN, 1, 2, 3, 0.5, 2.5, 1e10, 1e-40, 16777216, 16777217, 8388607, 4503599627370497.0, 3e38]
    special = np.array([*special, *(-v for v in special)], dtype)
    x, y = (a.ravel() for a in np.meshgrid(special, special))
    rng = np.random.default_rng(1)
    count = 30000
    near_one = 1 + rng.integers(-5000, 5000, count) * 2.0**-23
    random_x, random_y = rng.standard_normal(count) * 10, rng.standard_normal(count) * 20
    whole = rng.integers(-40, 40, count)
    xs = [x, random_x, np.abs(random_x), near_one, whole]
    ys = [y, whole, random_y, rng.standard_normal(count) * 1e5, rng.integers(-9, 9, count)]
    if dtype is np.float32:
        bits = rng.integers(0, 2**32, (2, 100000), dtype=np.uint64).astype(np.uint32).view(np.float32)
        xs, ys = [*xs, bits[0]], [*ys, bits[1]]
    with np.errstate(invalid="ignore"):  # some of the random bits are signalling NaNs
        return np.concatenate(xs).astype(dtype), np.concatenate(ys).astype(dtype)


@pytest.mark.parametrize("name, reference", [("pow", np.power), ("atan2", np.arctan2), ("fmod", np.fmod)])
def test_functions_of_two_arguments(name, reference):
    x, y = pairs(np.float32)
    got = apply(vecmath.F32[name], x, y)
    with np.errstate(all="ignore"):
        exact = reference(x.astype(np.float64), y.astype(np.float64))
    error = ulp_error(got, exact)
    worst = np.argmax(error)
    limit = 0 if name == "fmod" else ALLOWED_ULP
    assert error[worst] <= limit, f"{name}({x[worst]!r}, {y[worst]!r}) = {got[worst]!r}, exactly {exact[worst]!r}"
    assert (np.signbit(got) == np.signbit(exact))[~np.isnan(exact)].all()

    x, y = pairs(np.float64)
    with np.errstate(all="ignore"):
        np.testing.assert_allclose(apply(vecmath.F64[name], x, y), reference(x, y), rtol=5e-16, atol=0)


@pytest.mark.parametrize("name", ["remainder", "floor_divide", "pow", "fmod", "maximum", "minimum"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_conventions_are_those_of_torch(name, dtype):
    torch = pytest.importorskip("torch")
    x, y = pairs(dtype)
    with np.errstate(all="ignore"):
        comparable = ~(np.abs(x / y) > 1e30)  # there torch's vectorised remainder is NaN, ours is exact
    x, y = x[comparable], y[comparable]
    got = apply((vecmath.F32 if dtype is np.float32 else vecmath.F64)[name], x, y)
    expected = getattr(torch, name)(torch.from_numpy(x), torch.from_numpy(y)).numpy()
    info = np.finfo(dtype)
    relative, absolute = (4 * info.eps, 2 * info.smallest_subnormal) if name == "pow" else (0, 0)
    np.testing.assert_allclose(got, expected, rtol=relative, atol=absolute)
    if name not in ("maximum", "minimum"):  # which of two zeros is the larger one is left open
        assert (np.signbit(got) == np.signbit(expected))[~np.isnan(got)].all()


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int16, np.int32, np.int64])
def test_integer_division(dtype):
    torch = pytest.importorskip("torch")
    info = np.iinfo(dtype)
    values = np.array([0, 1, 2, 3, 7, 100, info.max, info.max - 1, info.min, info.min + 1], dtype)
    values = np.concatenate([values, -values]) if info.min < 0 else values
    x, y = (a.ravel() for a in np.meshgrid(values, values))
    for name, function in vecmath.INT.items():
        got = apply(function, x, y)
        assert (got[y == 0] == 0).all()
        usual = (y != 0) & ~((x == info.min) & (y == -1 if info.min < 0 else False))
        expected = getattr(torch, name)(torch.from_numpy(x[usual]), torch.from_numpy(y[usual])).numpy()
        np.testing.assert_array_equal(got[usual], expected)


def kernel_of(function, arity):
    """LLVM's instructions of a loop over raw pointers, as in generated kernels."""
    source = source_of(function, *["f32"] * (arity + 1))
    return str(build(source, "kernel", "<kernel>"))


def vector_widths(llvm):
    return {int(w) for w in re.findall(r"(?:fadd|fsub|fmul|fdiv|select|call) [^\n]*?<(\d+) x (?:float|double)>", llvm)}


def library_calls(llvm):
    """Functions that are called, LLVM's intrinsics and the kernel itself apart."""
    called = set(re.findall(r"call [^@\n]*@([\w.]+)\(", llvm))
    return {name for name in called if not name.startswith(("llvm.", "_ZN"))}


def host_has_fused_multiply_add():
    return platform.machine() not in ("x86_64", "AMD64") or llvmlite.binding.get_host_cpu_features().get("fma", False)


@pytest.mark.skipif(not host_has_fused_multiply_add(), reason="each fused multiply-add is a call on this machine")
@pytest.mark.parametrize("name", vecmath.F32)
def test_float32_vectorises_without_libm(name):
    llvm = kernel_of(vecmath.F32[name], vecmath.FORMULAS[name][0])
    assert max(vector_widths(llvm), default=1) >= 4, f"{name} is not vectorised"
    assert not library_calls(llvm)
    if name in HOT and name not in ("sin", "cos"):  # these two reduce large angles in float64
        assert "double" not in llvm, f"{name} widens to float64, which halves the number of lanes"


def test_a_fused_chain_vectorises():
    exp, tanh, maximum = vecmath.F32["exp"], vecmath.F32["tanh"], vecmath.maximum
    pointer = types.CPointer(types.float32)

    @cfunc(types.void(pointer, pointer, types.intp, types.intp), error_model="numpy")
    def chain(x, out, low, high):
        for i in range(np.uint64(low), np.uint64(high)):
            out[i] = maximum(tanh(exp(x[i]) + np.float32(1)), np.float32(0.9))

    x = np.linspace(-3, 3, 1000).astype(np.float32)
    out = np.empty_like(x)
    argument = chain.ctypes.argtypes[0]
    chain.ctypes(ctypes.cast(x.ctypes.data, argument), ctypes.cast(out.ctypes.data, argument), 0, x.size)
    np.testing.assert_allclose(out, np.maximum(np.tanh(np.exp(x) + 1), 0.9), rtol=1e-6)
    assert max(vector_widths(chain.inspect_llvm()), default=1) >= 4
    assert not library_calls(chain.inspect_llvm())


def test_helpers():
    fma, select, clamp, bits, from_bits = (
        getattr(vecmath, name) for name in ("fma", "select", "clamp", "bits", "from_bits")
    )

    @njit
    def use(x):
        low = clamp(x, np.float32(-1), np.float32(1))
        return (
            fma(x, x, low),
            select(x > 0, x, low),
            from_bits(np.int32(bits(x) ^ np.int32(-(2**31)))),
            bits(np.float64(x)),
        )

    product, chosen, negated, pattern = use(np.float32(-2.5))
    assert (product, chosen, negated) == (5.25, -1.0, 2.5)
    assert pattern == np.array(-2.5).view(np.int64)
    assert np.isnan(use(np.float32(NAN))[0])

    @njit
    def rounding(x):
        return vecmath.rint(x), vecmath.floor(x), vecmath.ceil(x), vecmath.trunc(x), vecmath.fabs(x), vecmath.sqrt(-x)

    assert rounding(-2.5) == (-2.0, -3.0, -2.0, -2.0, 2.5, np.sqrt(2.5))


def test_types():
    @njit
    def mixed(x, y):
        return vecmath.maximum(x, y)

    mixed(np.float32(1), np.float64(2))
    assert mixed.nopython_signatures[0].return_type == types.float64

    floor_divide = vecmath.INT["floor_divide"]

    @njit
    def divide_mixed(x, y):
        return floor_divide(x, y)

    with pytest.raises(TypingError, match="two integers of one type"):
        divide_mixed(np.int32(7), np.int64(2))

"""The prelude's functions inside compiled kernels, and what the compiler makes of loops."""

import ctypes

import numpy as np
import pytest

from jitorch.kernels.cpu import compiler, loader
from jitorch.kernels.cpu.compiler import assembly, compile_kernel

KERNEL = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_ssize_t, ctypes.c_ssize_t)
POINTERS = {
    np.dtype(name): suffix
    for name, suffix in dict(
        float32="f32", float64="f64", int8="i8", int16="i16", int32="i32", int64="i64", uint8="u8", bool="u8"
    ).items()
}


def call(source, words, lo, hi):
    """Compile, load and run a kernel; arrays in `words` are passed as addresses."""
    kernel = KERNEL(loader.load(compile_kernel(source)))
    table = np.array([w.ctypes.data if isinstance(w, np.ndarray) else w for w in words], dtype=np.int64)
    kernel(table.ctypes.data, lo, hi)


def elementwise(expression, out, *inputs):
    """out[i] = expression of x (and y)."""
    pointers = [f"    p{n} = ptr_{POINTERS[a.dtype]}(args, {n})\n" for n, a in enumerate((out, *inputs))]
    loads = [f"        {name} = p{n + 1}[i]\n" for n, (name, _) in enumerate(zip("xy", inputs, strict=False))]
    source = (
        "def kernel(args, lo, hi):\n"
        + "".join(pointers)
        + "    for i in range(uint64(lo), uint64(hi)):\n        independent()\n"
        + "".join(loads)
        + f"        p0[i] = {expression}\n"
    )
    call(source, [out, *inputs], 0, out.size)
    return out


SPECIAL = [0.0, -0.0, 1.5, -1.5, 127.9, 300.7, -300.2, 65535.0, 3e9, -3e9, 1e20, -1e20, np.nan, np.inf, -np.inf]


@pytest.mark.parametrize("source", ["float32", "float64"])
@pytest.mark.parametrize("target", ["int8", "int16", "int32", "int64", "uint8", "bool", "float32", "float64"])
def test_conversions_from_floats_are_torch_s(source, target):
    torch = pytest.importorskip("torch")
    x = np.array(SPECIAL * 4, dtype=source)  # long enough for torch's vectorised conversion
    out = np.zeros(x.size, dtype=target)
    suffix = "bool" if target == "bool" else POINTERS[np.dtype(target)]
    elementwise(f"as_{suffix}(x)", out, x)
    want = torch.from_numpy(x).to(getattr(torch, target)).numpy()
    np.testing.assert_array_equal(out[: len(SPECIAL)], want[: len(SPECIAL)])


@pytest.mark.parametrize("target", ["int8", "int16", "int32", "uint8", "bool", "float32", "float64"])
def test_conversions_from_integers_are_torch_s(target):
    torch = pytest.importorskip("torch")
    x = np.array([0, 1, -1, 127, 128, -129, 255, 256, 2**31, 2**53 + 1, -(2**63)], dtype=np.int64)
    out = np.zeros(x.size, dtype=target)
    elementwise(f"as_{'bool' if target == 'bool' else POINTERS[np.dtype(target)]}(x)", out, x)
    np.testing.assert_array_equal(out, torch.from_numpy(x).to(getattr(torch, target)).numpy())


def test_select_and_boolean_memory():
    x = np.array([1, -2, np.nan, 0], np.float32)
    y = np.array([1, 0, 1, 0], np.bool_)
    np.testing.assert_array_equal(elementwise("x > float32(0)", np.ones(4, np.bool_), x), x > 0)
    out = elementwise("select(as_bool(y), x, float32(7))", np.zeros(4, np.float32), x, y)
    np.testing.assert_array_equal(out, np.where(y, x, np.float32(7)))


def test_bits_round_trip():
    x = np.array(SPECIAL, np.float32)
    out = elementwise("bits_f32(bits_of_f32(x))", np.zeros_like(x), x)
    assert out.tobytes() == x.tobytes()


REDUCTION = """
def kernel(args, lo, hi):
    x = ptr_{t}(args, 0)
    out = ptr_{t}(args, 1)
    n = word(args, 2)
    for row in range(uint64(lo), uint64(hi)):
        line = at(x, row * n)
        total = line[0]
        for i in range(uint64(1), n):
            total = {op}(total, line[i])
        out[row] = total
"""


@pytest.mark.parametrize(
    "op, numpy_op", [("radd", np.add), ("rmul", np.multiply), ("rmax", np.maximum), ("rmin", np.minimum)]
)
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int64, np.int8, np.uint8])
def test_reductions(op, numpy_op, dtype):
    rng = np.random.default_rng(0)
    whole = np.dtype(dtype).kind in "iu"
    x = (rng.integers(1, 100, (3, 301)) if whole else rng.normal(1, 0.1, (3, 301))).astype(dtype)
    out = np.zeros(3, dtype)
    call(REDUCTION.format(t=POINTERS[np.dtype(dtype)], op=op), [x, out, 301], 0, 3)
    want = numpy_op.reduce(x, axis=1, dtype=dtype)
    if np.dtype(dtype).kind == "f":
        np.testing.assert_allclose(out, want, rtol=1e-3)
    else:
        np.testing.assert_array_equal(out, want)


@pytest.mark.parametrize("op", ["rmax", "rmin"])
@pytest.mark.parametrize("at", [0, 1, 100, 299, 300])
def test_extremes_propagate_nan_from_anywhere(op, at):
    x = np.linspace(-1, 1, 301, dtype=np.float32).reshape(1, 301)
    x[0, at] = np.nan
    out = np.zeros(1, np.float32)
    call(REDUCTION.format(t="f32", op=op), [x, out, 301], 0, 1)
    assert np.isnan(out[0])


@pytest.mark.parametrize("op", ["radd", "rmul", "rmax", "rmin"])
def test_reduction_loops_vectorise(op):
    text = assembly(REDUCTION.format(t="f32", op=op))
    instruction = {"radd": "vaddps", "rmul": "vmulps", "rmax": "vmaxps", "rmin": "vminps"}[op]
    if "%rsi" not in text:
        pytest.skip("names of x86 instructions")
    assert f"{instruction}\t%ymm" in text.replace("%zmm", "%ymm")


UPDATE = """
def kernel(args, lo, hi):
    x = ptr_f32(args, 0)
    out = ptr_f32(args, 1)
    for i in range(uint64(lo), uint64(hi)):
        {marker}
        out[i] = exp_f32(x[i]) * x[i + 0]
"""


def test_independent_makes_an_update_in_place_as_fast_as_any():
    """Without it, LLVM compares addresses first, and takes the scalar loop if the buffers overlap."""
    marked, plain = assembly(UPDATE.format(marker="independent()")), assembly(UPDATE.format(marker="pass"))
    assert marked.count("\tcmp") < plain.count("\tcmp")
    x = np.linspace(-3, 3, 1000, dtype=np.float32)
    want = np.exp(x) * x
    call(UPDATE.format(marker="independent()"), [x, x], 0, x.size)
    np.testing.assert_allclose(x, want, rtol=1e-6)


def test_vectors_are_whole_where_llvm_prefers_half_of_them(monkeypatch):
    text = "define void @\"kernel\"(ptr %x) nounwind\n{\nentry:\n  ret void\n}\n"
    for name, changed in (("sapphirerapids", True), ("generic", False)):
        monkeypatch.setattr(compiler.llvm, "get_host_cpu_name", lambda name=name: name)
        module = str(compiler.llvm.parse_assembly(compiler.with_wide_vectors(text)))
        assert ('"prefer-vector-width"="512"' in module) == changed


def test_stack_memory_is_aligned_and_usable():
    source = """
def kernel(args, lo, hi):
    out = ptr_i64(args, 0)
    for row in range(uint64(lo), uint64(hi)):
        memory = stack_f32(24)
        for i in range(uint64(24)):
            memory[i] = as_f32(i)
        total = float32(0)
        for i in range(uint64(24)):
            total += memory[i]
        out[row] = as_i64(total)
"""
    out = np.zeros(3, np.int64)
    call(source, [out], 0, 3)
    assert out.tolist() == [276] * 3


def test_words_and_negative_strides():
    source = """
def kernel(args, lo, hi):
    x = ptr_i32(args, 0)
    out = ptr_i32(args, 1)
    stride = sword(args, 2)
    for i in range(lo, hi):
        out[uint64(i)] = at(x, i * stride)[0]
"""
    x, out = np.arange(5, dtype=np.int32), np.zeros(5, np.int32)
    call(source, [x[4:], out, -1], 0, 5)
    assert out.tolist() == [4, 3, 2, 1, 0]


def test_kernels_name_what_they_need():
    source = """
def kernel(args, lo, hi):
    x = ptr_f64(args, 0)
    for i in range(uint64(lo), uint64(hi)):
        x[i] = atan_f64(x[i])
"""
    kernel = compile_kernel(source)
    assert kernel.externals == ("atan",)
    x = np.array([0.0, 1.0, -2.0])
    want = np.arctan(x)
    call(source, [x], 0, 3)
    np.testing.assert_allclose(x, want, rtol=1e-15)


def test_a_kernel_without_libm_needs_nothing():
    """In particular no part of Numba's run time, which does not exist where kernels are loaded."""
    assert compile_kernel(UPDATE.format(marker="independent()")).externals == ()


def test_an_object_with_unknown_symbols_is_refused():
    kernel = compile_kernel(UPDATE.format(marker="pass"))
    with pytest.raises(loader.LoadError, match="no_such_symbol"):
        loader.load(kernel._replace(symbol="other", externals=("no_such_symbol",)))


@pytest.mark.parametrize("mistake", ["stack_f32(lo)", "radd(lo, float32(1))", "undefined_name(lo)"])
def test_a_mistake_in_a_source_is_an_error(mistake):
    with pytest.raises(Exception, match="literal|one type|undefined_name"):
        compile_kernel(f"def kernel(args, lo, hi):\n    {mistake}\n")

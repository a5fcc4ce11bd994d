"""The translation of kernels: what Numba's own compiler makes of the same lines, and what is not a kernel."""

import ctypes
import math

import numpy as np
import pytest
from numba import njit
from numba.core.errors import NumbaError

from jitorch.kernels.cpu import loader
from jitorch.kernels.cpu.compiler import compile_kernel
from jitorch.kernels.cpu.frontend import KernelError

KERNEL = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_ssize_t, ctypes.c_ssize_t)
SUFFIXES = {"float32": "f32", "float64": "f64", "int32": "i32", "int64": "i64", "uint8": "u8"}


def run(source, *arrays):
    """Call the kernel with the arrays' addresses as its words, over as many places as the last one has."""
    table = np.array([a.ctypes.data for a in arrays], np.int64)
    KERNEL(loader.load(compile_kernel(source)))(table.ctypes.data, 0, arrays[-1].size)
    return arrays[-1]


def body(lines):
    """A kernel that computes `r` of x and y, int64, place by place."""
    pointers = "".join(f"    p{k} = ptr_i64(args, {k})\n" for k in range(3))
    inner = "".join(f"        {line}\n" for line in lines.strip("\n").splitlines())
    return f"def kernel(args, lo, hi):\n{pointers}    for place in range(lo, hi):\n        x, y = p0[place], p1[place]\n{inner}        p2[place] = r\n"


X = np.array([7, -7, 7, -7, 0, 1, 5, -5, 2**62, -(2**63)], np.int64)
Y = np.array([3, 3, -3, -3, 4, 1, 2, 2, 7, 7], np.int64)


@pytest.mark.parametrize("dtypes", [("int64", "int64"), ("int32", "int64"), ("float32", "float32"), ("float32", "float64"), ("float32", "int64"),
                                    ("uint8", "uint8"), ("uint8", "float32")])
@pytest.mark.parametrize("expression", ["a + b", "a - b", "a * b", "a / b", "a // b", "a % b", "-a", "a < b", "a <= b", "a == b", "a != b", "a > b",
                                        "a >= b", "min(a, b)", "max(a, b)", "a if a < b else b", "a + 1", "1 - a", "a * 0.5", "not a", "a < b and b < 5",
                                        "a < b or b < 5", "float32(a) + b"])  # fmt: skip
def test_operations_are_numba_s(dtypes, expression):
    a, b = (np.array([3, 5, 5, 9, 200, 0, 1, 8], d) for d in dtypes)
    if np.dtype(dtypes[0]).kind != "u":
        a[1::2] *= -1
    b[:] = b[::-1]
    b[b == 0] = 2
    numba = {}
    exec(f"from numba import float32\ndef f(a, b): return {expression}", numba)
    plain = njit(error_model="numpy")(numba["f"])
    want = np.array([plain(x, y) for x, y in zip(a, b, strict=True)], np.float64)
    source = (f"def kernel(args, lo, hi):\n    x, y, o = ptr_{SUFFIXES[dtypes[0]]}(args, 0), ptr_{SUFFIXES[dtypes[1]]}(args, 1), ptr_f64(args, 2)\n"
              f"    for i in range(uint64(lo), uint64(hi)):\n        a, b = x[i], y[i]\n        o[i] = as_f64({expression})\n")  # fmt: skip
    np.testing.assert_array_equal(run(source, a, b, np.zeros(a.size)), want)


@pytest.mark.parametrize("expression", ["a & b", "a | b", "a ^ b", "a << (b & 7)", "a >> (b & 7)", "~a"])
def test_operations_on_bits_are_numpy_s(expression):
    got = run(body(f"a, b = x, y\nr = {expression}"), X, Y, np.zeros_like(X))
    np.testing.assert_array_equal(got, eval(expression, {"a": X, "b": Y}))


STATEMENTS = {
    "range": "r = 0\nfor i in range(y % 5):\n    r += i * x",
    "range from": "r = 0\nfor i in range(x % 7, 10):\n    r = r * 3 + i",
    "steps": "r = 0\nfor i in range(1, 20, 6):\n    r = r * 31 + i",
    "steps down": "r = 0\nfor i in range(9, -1, -4):\n    r = r * 31 + i",
    "steps that are known late": "r = 0\nfor i in range(0, 3 * y, y):\n    r = r * 31 + i",
    "no steps": "r = 5\nfor i in range(3, 3):\n    r = 0\nfor i in range(4, 3):\n    r = 0",
    "a counter that the body changes": "r = 0\nfor i in range(4):\n    r += i\n    i = 10\nr = r * 100 + i",
    "while": "r, n = 0, x % 9\nwhile n > 0:\n    r += n\n    n -= 1",
    "continue and break": "r = 0\nfor i in range(10):\n    if i % 3 == 1:\n        continue\n    if i > y + 4:\n        break\n    r = r * 10 + i",
    "both in while": "r, i = 0, 0\nwhile True:\n    i += 1\n    if i % 2 == 0:\n        continue\n    if i > 7:\n        break\n    r = r * 10 + i",
    "nested loops": "r = 0\nfor i in range(3):\n    for j in range(i, 3):\n        if j == 1:\n            break\n        r = r * 7 + i + j",
    "else if": "if x < 0:\n    r = 1\nelif x == 0:\n    r = 2\nelse:\n    r = 3",
    "swap": "a, b = x, y\na, b = b, a\nr = a - b",
    "conditions in conditions": "r = 1 if x < 0 and (y < 0 or x % 2 == 0) else (2 if not y == 3 else 3)",
    "numbers as truth": "r = 0\nif x:\n    r = 1\nwhile r and not y == 3:\n    r = 0",
    "a constant condition": "r = 1\nif True:\n    r = 2\nif False:\n    r = 3",
}


@pytest.mark.parametrize("lines", STATEMENTS.values(), ids=STATEMENTS)
def test_statements_are_python_s(lines):
    got = run(body(lines), X[:8], Y[:8], np.zeros(8, np.int64))
    want = []
    for x, y in zip(X[:8].tolist(), Y[:8].tolist(), strict=True):
        names = {"x": x, "y": y}
        exec(lines, names)
        want.append(names["r"])
    assert got.tolist() == want


def test_an_operand_that_is_not_needed_is_not_read():
    source = """
def kernel(args, lo, hi):
    nowhere, o = f64_at(8), ptr_f64(args, 0)
    for i in range(lo, hi):
        o[i] = 1.0 if i < 0 and nowhere[i] > 0.0 else 2.0
        if i >= 0 or nowhere[i] > 0.0:
            o[i] += 1.0
"""
    assert run(source, np.zeros(3)).tolist() == [3.0] * 3


def test_helpers_have_the_types_they_are_called_with():
    source = """
@helper
def power(x, n):
    total = x
    for _ in range(1, n):
        total = total * x
    return total

@helper
def first_above(x, limit):
    i = 0
    while True:
        if x[i] > limit:
            return i
        i += 1

@helper
def put(to, value):
    if value < 0.0:
        return
    to[0] = value

def kernel(args, lo, hi):
    o = ptr_f64(args, 0)
    o[0] = power(float32(0.1), 3)
    o[1] = power(0.1, 3)
    o[2] = float64(power(3, 4))
    o[3] = float64(first_above(o, 1.0))
    put(at(o, 4), 5.0)
    put(at(o, 5), -5.0)
"""
    single = np.float32(0.1) * np.float32(0.1) * np.float32(0.1)
    assert run(source, np.zeros(6)).tolist() == [single, 0.1 * 0.1 * 0.1, 81.0, 2.0, 5.0, 0.0]


def test_numbers_of_the_source():
    source = "HALF = 0.5\ndef kernel(args, lo, hi):\n    o = ptr_f64(args, 0)\n    o[0], o[1], o[2], o[3] = np.inf, -np.inf, HALF, np.nan\n"
    got = run(source, np.zeros(4)).tolist()
    assert got[:3] == [math.inf, -math.inf, 0.5] and math.isnan(got[3])


@pytest.mark.parametrize("lines, why", [
    ("r = x\nr = 0.5", "r is int64 before, and float64 here"),
    ("r = [x][0]", "no such expression"),
    ("with x: pass\nr = 0", "no such statement"),
    ("r = missing(x)", "no such name"),
    ("for i in (1, 2):\n    pass\nr = 0", "loop over ranges"),
    ("r, s = x", "no tuple"),
    ("r = select(x < y, b=x, a=y)", "by position"),
])  # fmt: skip
def test_what_is_no_kernel_says_why_and_where(lines, why):
    with pytest.raises(KernelError, match=rf"line \d+.*{why}"):
        compile_kernel(body(lines))


def test_types_that_do_not_go_together():
    for lines in ("r = p0 * x", "r = word(x, 0)"):
        with pytest.raises((NumbaError, KernelError)):
            compile_kernel(body(lines))


def test_a_helper_that_does_not_always_return():
    source = "@helper\ndef f(x):\n    if x > 0:\n        return x\n\ndef kernel(args, lo, hi):\n    args[0] = uint64(f(lo))\n"
    with pytest.raises(KernelError, match="not every way"):
        compile_kernel(source)

"""Kernels that are not loops over a fused group: matrix products through BLAS, running sums, writes at computed indices."""
from __future__ import annotations

from functools import cache

from .codegen import Kernel
from .expressions import SUFFIX

GEMM = '''def kernel(args, lo, hi):
    a = ptr_{s}(args, 0)
    b = ptr_{s}(args, 1)
    c = ptr_{s}(args, 2)
    blas = sword(args, 3)
    m, n, k = sword(args, 4), sword(args, 5), sword(args, 6)
    lda, ldb, ta, tb = sword(args, 7), sword(args, 8), sword(args, 9), sword(args, 10)
    inner = word(args, 11)
    a0, a1, b0, b1 = sword(args, 12), sword(args, 13), sword(args, 14), sword(args, 15)
    for u in range(uint64(lo), uint64(hi)):
        i0 = int64(u // inner)
        i1 = int64(u % inner)
        # BLAS is column-major: the row-major product is the product of the transposes in the other order
        gemm_{s}(blas, tb, ta, n, m, k, at(b, i0 * b0 + i1 * b1), ldb, at(a, i0 * a0 + i1 * a1), lda, at(c, int64(u) * m * n), n)
'''

SCAN = '''def kernel(args, lo, hi):
    x = ptr_{s}(args, 0)
    o = ptr_{s}(args, 1)
    n = word(args, 2)
    inner = word(args, 3)
    for u in range(uint64(lo), uint64(hi)):
        start = (u // inner) * n * inner + u % inner
        total = {start}
        for r in range(n):
            place = start + r * inner
            total = {step}
            o[place] = total
'''

SCATTER = '''def kernel(args, lo, hi):
    index = ptr_i64(args, 0)
    value = ptr_{s}(args, 1)
    o = ptr_{s}(args, 2)
    n = word(args, 3)
    limit = word(args, 4)
    errors = ptr_i64(args, 5)
    for i in range(n):
        place = uint64(index[i])
        if place < limit:
            o[place] = {step}
        else:
            errors[0] = int64(1)
'''


def gemm(dtype: str, words: list[tuple], batch: int, flops: int) -> Kernel:
    """Batched matrix product; `words` as GEMM reads them."""
    chunk = max(1, 4_000_000 // max(1, flops))
    return Kernel(GEMM.format(s=SUFFIX[dtype]), words, batch, chunk, False, name="dot")


SCAN_STEPS = {"sum": ("total + x[place]", "0"), "prod": ("total * x[place]", "1")}


def scan(name: str, dtype: str, words: list[tuple], units: int, length: int) -> Kernel:
    """A running sum or product along one dimension. NotImplementedError for another name."""
    if name not in SCAN_STEPS:
        raise NotImplementedError(f"scan {name}")
    step, first = SCAN_STEPS[name]
    kind = {"bool": "uint8"}.get(dtype, dtype)
    text = SCAN.format(s=SUFFIX[dtype], start=f"{kind}({first})", step=f"as_{SUFFIX[dtype]}({step})")
    return Kernel(text, words, units, max(1, 16384 // max(1, length)), False, name="scan")


def scatter(mode: str, dtype: str, words: list[tuple]) -> Kernel:
    """Writes (or additions) at linear indices, one after the other in the order of the indices."""
    step = "value[i]" if mode == "set" else f"as_{SUFFIX[dtype]}(o[place] + value[i])"
    return Kernel(SCATTER.format(s=SUFFIX[dtype], step=step), words, 1, 1, False, name="scatter")


@cache
def blas_address(name: str) -> int:
    """The address of a Fortran BLAS routine of SciPy's library."""
    import ctypes

    import scipy.linalg.cython_blas as library
    capsule = library.__pyx_capi__[name]
    api = ctypes.pythonapi
    api.PyCapsule_GetName.restype, api.PyCapsule_GetName.argtypes = ctypes.c_char_p, [ctypes.py_object]
    api.PyCapsule_GetPointer.restype, api.PyCapsule_GetPointer.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
    return api.PyCapsule_GetPointer(capsule, api.PyCapsule_GetName(capsule))

"""Kernels that are not loops over a fused group: matrix products through BLAS, running sums, writes at computed indices."""
from __future__ import annotations

import os
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
    row_blocks, rows, column_blocks, columns = word(args, 16), sword(args, 17), word(args, 18), sword(args, 19)
    step_a = select(ta != 0, int64(1), lda)
    step_b = select(tb != 0, ldb, int64(1))
    for u in range(uint64(lo), uint64(hi)):
        block = u % (row_blocks * column_blocks)
        batch = u // (row_blocks * column_blocks)
        row, column = int64(block // column_blocks) * rows, int64(block % column_blocks) * columns
        height, width = select(m - row < rows, m - row, rows), select(n - column < columns, n - column, columns)
        i0, i1 = int64(batch // inner), int64(batch % inner)
        # BLAS is column-major: the row-major product is the product of the transposes in the other order
        gemm_{s}(blas, tb, ta, width, height, k, at(b, i0 * b0 + i1 * b1 + column * step_b), ldb,
                 at(a, i0 * a0 + i1 * a1 + row * step_a), lda, at(c, int64(batch) * m * n + row * n + column), n)
'''

TASK = 4_000_000        # multiplications of a task: some 50 us, long against handing it out, short against waiting for the last one

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


def gemm(dtype: str, words: list[tuple], batch: int, m: int, n: int, k: int) -> Kernel:
    """Batched matrix product; `words` as GEMM reads them up to the batch strides. Large products are cut into blocks of rows and columns,
    from the shape alone, so that the threads are ours and BLAS has one."""
    work = max(1, m * n * k)
    row_blocks = column_blocks = 1
    while work // (row_blocks * column_blocks) > 2 * TASK and row_blocks * column_blocks < 64:
        if m // row_blocks >= n // column_blocks and m // row_blocks >= 32:
            row_blocks *= 2
        elif n // column_blocks >= 32:
            column_blocks *= 2
        else:
            break
    rows, columns = (-(-m // row_blocks) + 7) // 8 * 8, (-(-n // column_blocks) + 7) // 8 * 8
    row_blocks, column_blocks = -(-m // rows), -(-n // columns)
    words = [*words, ("int", row_blocks), ("int", rows), ("int", column_blocks), ("int", columns)]
    chunk = max(1, TASK * row_blocks * column_blocks // work)
    return Kernel(GEMM.format(s=SUFFIX[dtype]), words, batch * row_blocks * column_blocks, chunk, False, name="dot", chunk_time=60.0)


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
    """The address of a Fortran BLAS routine of SciPy's library, which is kept to one thread from then on: threads are the executor's,
    and two pools on the same cores wait for each other."""
    import ctypes

    import scipy.linalg.cython_blas as library
    from threadpoolctl import ThreadpoolController
    for pool in ThreadpoolController().select(user_api="blas").lib_controllers:
        if "scipy.libs" in pool.filepath or "scipy" in os.path.basename(os.path.dirname(pool.filepath)):
            pool.set_num_threads(1)
    capsule = library.__pyx_capi__[name]
    api = ctypes.pythonapi
    api.PyCapsule_GetName.restype, api.PyCapsule_GetName.argtypes = ctypes.c_char_p, [ctypes.py_object]
    api.PyCapsule_GetPointer.restype, api.PyCapsule_GetPointer.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
    return api.PyCapsule_GetPointer(capsule, api.PyCapsule_GetName(capsule))

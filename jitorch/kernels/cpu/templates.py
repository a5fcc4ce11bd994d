"""Kernels that are not loops over a fused group: running sums, writes at computed indices."""
from __future__ import annotations

from .codegen import Kernel
from .expressions import SUFFIX

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

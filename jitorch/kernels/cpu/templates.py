"""Kernels that are not loops over a fused group: running sums, writes at computed indices."""
from __future__ import annotations

from .codegen import Kernel
from .expressions import SUFFIX

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


def scatter(mode: str, dtype: str, words: list[tuple]) -> Kernel:
    """Writes (or additions) at linear indices, one after the other in the order of the indices."""
    step = "value[i]" if mode == "set" else f"as_{SUFFIX[dtype]}(o[place] + value[i])"
    return Kernel(SCATTER.format(s=SUFFIX[dtype], step=step), words, 1, 1, False, name="scatter")

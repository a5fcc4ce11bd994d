"""Kernels that are not loops over a fused group: running sums, writes at computed indices."""
from __future__ import annotations

from .codegen import Kernel
from .executor import get_num_threads
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


SCATTER_RUNS = '''def kernel(args, lo, hi):
    index = ptr_i64(args, 0)
    value = ptr_{s}(args, 1)
    o = ptr_{s}(args, 2)
    n = word(args, 3)
    limit = word(args, 4)
    errors = ptr_i64(args, 5)
    width = word(args, 6)
    share = word(args, 7)
    for u in range(uint64(lo), uint64(hi)):
        start = u * share
        m = select(width - start < share, width - start, share)
        for i in range(n):
            place = uint64(index[i])
            if (place < limit) & (width <= limit - place):
                to = at(o, place + start)
                source = at(value, i * width + start)
                for j in range(m):
                    independent()
                    to[j] = {step}
            else:
                errors[0] = int64(1)
'''
CHECK = '''def kernel(args, lo, hi):
    index = ptr_i64(args, 0)
    n = word(args, 1)
    limit = word(args, 2)
    errors = ptr_i64(args, 3)
    width = word(args, 4)
    for i in range(n):
        place = uint64(index[i])
        if (place >= limit) | (width > limit - place):
            errors[0] = int64(1)
'''
SHARE = 64              # elements of a run that one task takes, at least


def scatter(mode: str, dtype: str, words: list[tuple], indices: int, width: int) -> Kernel:
    """Writes (or additions) at linear indices, one after the other in the order of the indices. Runs of elements are shared out in slices
    of all of them, so that each place is still written in that order."""
    if width > 1:
        step = "source[j]" if mode == "set" else f"as_{SUFFIX[dtype]}(to[j] + source[j])"
        share = max(SHARE, -(-width // (2 * get_num_threads() - 1)))
        words = [*words, ("int", width), ("int", share)]
        chunk_time = indices * share / 4000
        return Kernel(SCATTER_RUNS.format(s=SUFFIX[dtype], step=step), words, -(-width // share), 1, False, name="scatter", chunk_time=chunk_time)
    step = "value[i]" if mode == "set" else f"as_{SUFFIX[dtype]}(o[place] + value[i])"
    return Kernel(SCATTER.format(s=SUFFIX[dtype], step=step), words, 1, 1, False, name="scatter")


def check(words: list[tuple], width: int) -> Kernel:
    """Looks for what a scatter with these words would find, without it."""
    index, _, _, n, limit, errors = words
    return Kernel(CHECK, [index, n, limit, errors, ("int", width)], 1, 1, False, name="check")

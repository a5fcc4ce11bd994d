"""The kernels of attention, which never hold the matrix of scores.

Forward, a unit is a block of query rows of one batch. It runs through the keys a block at a time:

    pack the block's keys (turned) and values into panels
    for each few rows of queries:
        scores = queries @ keys.T           a tile that stays in the first-level cache; simd.microkernel
        the rows' highest score so far; scores become exp(score - highest); their sum so far
        sums = sums * exp(highest before - highest now) + scores @ values

and in the end writes sums / total, and log(total) + highest, from which the way back computes any score's weight again.
Backward, a unit is a part of the keys of one batch, run through in blocks; for each of them all queries that see it.

A few queries (the next word of a text) are not worth packing anything: `FEW_QUERIES` reads the keys and values where they
lie, once, at the speed of memory.

Tiles and blocks are numbers in the source; sizes and strides are words. A row that sees no key gives zeros, and +inf as
the logarithm of its sum: exp(score - inf) is the weight 0 that its keys have.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from .codegen import Kernel
from .expressions import SUFFIX
from .packing import CLAIM, GIGAFLOPS, PACK, Table, tile

# Queries and keys of a block. What is packed of it stays in the second-level cache, and serves long enough that packing
# does not show; the other direction holds five arrays for each key.
FORWARD_BLOCK, BACKWARD_BLOCK = (128, 256), (64, 128)
TASK = 2_000_000  # multiplications worth a task of their own
FEW, FEW_BLOCK = 4, (4, 64)  # queries at most that read keys where they lie, and how many keys stay in the first-level cache for all of them


@dataclass(frozen=True)
class Problem:
    """Sizes of an attention, and what its source depends on."""

    dtype: str
    batch: tuple[int, int, int]
    queries: int
    keys: int
    width: int
    value_width: int
    causal: bool
    mask: str | None  # "bool", or "float": added
    parts: int = 1  # of the keys, backward: dq has as many, to be added up

    @property
    def multiplications(self) -> int:
        """Of one batch, in each product of both lengths and the mean width."""
        return self.queries * self.keys * (self.width + self.value_width) // (4 if self.causal else 2)


# -- source ------------------------------------------------------------------------------------------------------------
BATCH = """        i2, i1, i0 = int64(batch % n2), int64(batch // n2 % n1), int64(batch // n2 // n1)
        query = at(q, i0 * q0 + i1 * q1 + i2 * q2)
        key = at(k, i0 * k0 + i1 * k1 + i2 * k2)
        value = at(v, i0 * v0 + i1 * v1 + i2 * v2)
"""
MASK = "        allowed = at(mask, i0 * mask0 + i1 * mask1 + i2 * mask2)\n"

HELPERS = '''
@helper
def fill(to, count, number):
    for i in range(uint64(count)):
        to[i] = number


@helper
def scale_row(to, count, factor):
    for i in range(uint64(count)):
        to[i] = to[i] * factor
'''
# for a line of scores: exp(score - the highest so far); `highest` and `total`, so far, of its row. Gives what sums so far have to be multiplied by.
SOFTEN = '''
@helper
def soften(line, count, highest, total):
    peak = {real}(-np.inf)
    for j in range(uint64(count)):
        peak = rmax(peak, line[j])
    before = highest[0]
    now = rmax(before, peak)
    shift = select(now == {real}(-np.inf), {real}(0), now)
    keep = exp_{s}(before - shift)
    added = {real}(0)
    for j in range(uint64(count)):
        x = exp_{s}(line[j] - shift)
        line[j] = x
        added = radd(added, x)
    highest[0] = now
    total[0] = total[0] * keep + added
    return keep


@helper
def settle(highest, total, lse):
    """The logarithm of a row's sum, and the factor of its result."""
    dead = highest == {real}(-np.inf)
    lse[0] = select(dead, {real}(np.inf), highest + log_{s}(total))
    return select(dead, {real}(0), {real}(1) / total)
'''
# of tiles' sums to a row in memory
WRITE_ROW = '''
@helper
def write_row(out, sums, row, columns, panels, factor):
    """out[column] = sums[row // {R}][column // {C}][row % {R}][column % {C}] * factor"""
    for c in range(panels):
        own = at(sums, ((row // {R} * panels + c) * {R} + row % {R}) * {C})
        place = at(out, c * {C})
        for i in range(min(columns - c * {C}, {C})):
            place[i] = own[i] * factor
'''

# a line of scores, masked up to `limit`
MASKED = {
    None: "",
    "float": """
{pad}sight = at(allowed, {row} * mask_row + j0)
{pad}for j in range(limit):
{pad}    independent()
{pad}    line[j] = line[j] + sight[j]
""",
    "bool": """
{pad}sight = at(allowed, {row} * mask_row + j0)
{pad}for j in range(limit):
{pad}    independent()
{pad}    line[j] = select(sight[j] != 0, line[j], {real}(-np.inf))
""",
}

FORWARD = '''score = microkernel("{s}", {R}, 2, {lanes}, ({R}, 1, {C}, {KEYS}))
mix = microkernel("{s}", {R}, 2, {lanes}, (1, {KEYS}, {C}, {C}))

{pack}{helpers}{soften}{write_row}

def kernel(args, lo, hi):
{head}
    scale = as_{s}(bits_f64(word(args, {scale})))
    panels = (value_width + {C} - 1) // {C}
{claim}
    turned_q = at(scratch, taken * part)
    turned_k = at(turned_q, {QUERIES} * width)
    panels_v = at(turned_k, {KEYS} * width)
    sums = at(panels_v, {KEYS} * {C} * panels)
    tile = at(sums, {QUERIES} * {C} * panels)
    highest = at(tile, {R} * {KEYS})
    totals = at(highest, {QUERIES})
    for u in range(uint64(lo), uint64(hi)):
        batch = u // uint64(blocks)
        first = (blocks - 1 - int64(u % uint64(blocks))) * {QUERIES}        # where later rows see more keys: the long ones first
{batch}
        rows = min(queries - first, {QUERIES})
        pack_turned(turned_q, at(query, first * q_row), q_row, rows, width, {R})
        scale_row(turned_q, (rows + {R} - 1) // {R} * {R} * width, scale)
        fill(sums, {QUERIES} * {C} * panels, {real}(0))
        fill(highest, {QUERIES}, {real}(-np.inf))
        fill(totals, {QUERIES}, {real}(0))
        end = {end}
        j0 = 0
        while j0 < end:
            count = min(end - j0, {KEYS})
            pack_turned(turned_k, at(key, j0 * k_row), k_row, count, width, {C})
            pack_rows(panels_v, at(value, j0 * v_row), v_row, count, value_width, {KEYS})
            for p in range((rows + {R} - 1) // {R}):
                top = first + p * {R}
                seen = {seen}
                if seen <= 0:
                    continue
                wide = (seen + {C} - 1) // {C} * {C}
                for j in range(0, wide, {C}):
                    score(at(turned_q, p * {R} * width), at(turned_k, j * width), at(tile, j), width, 0)
                for r in range(min(rows - p * {R}, {R})):
                    line = at(tile, r * {KEYS})
                    limit = {limit}
{masked}
                    fill(at(line, limit), wide - limit, {real}(-np.inf))
                    keep = soften(line, wide, at(highest, p * {R} + r), at(totals, p * {R} + r))
                    if keep != {real}(1):
                        for c in range(panels):
                            scale_row(at(sums, ((p * panels + c) * {R} + r) * {C}), {C}, keep)
                for c in range(panels):
                    mix(tile, at(panels_v, c * {KEYS} * {C}), at(sums, (p * panels + c) * {R} * {C}), seen, 1)
            j0 += {KEYS}
        for r in range(rows):
            place = int64(batch) * queries + first + r
            factor = settle(highest[r], totals[r], at(lse, place))
            write_row(at(out, place * value_width), sums, r, value_width, panels, factor)
    store_atomic(slot, 0)
'''

FEW_QUERIES = '''
@helper
def dots(line, row, keys, step, count, width):
    """line[j] = sum(row * keys[j]), four of them at a time; what is beyond the last one repeats it."""
    for j in range(0, count, 4):
        a, b = at(keys, j * step), at(keys, min(j + 1, count - 1) * step)
        c, d = at(keys, min(j + 2, count - 1) * step), at(keys, min(j + 3, count - 1) * step)
        p, q, r, s = {real}(0), {real}(0), {real}(0), {real}(0)
        for i in range(uint64(width)):
            x = row[i]
            p = radd(p, x * a[i])
            q = radd(q, x * b[i])
            r = radd(r, x * c[i])
            s = radd(s, x * d[i])
        line[j] = p
        line[j + 1] = q
        line[j + 2] = r
        line[j + 3] = s


@helper
def add_rows(sums, line, values, step, count, width):
    """sums += line[j] * values[j], four of them at a time; `line` is zero up to a multiple of four."""
    for j in range(0, count, 4):
        a, b = at(values, j * step), at(values, min(j + 1, count - 1) * step)
        c, d = at(values, min(j + 2, count - 1) * step), at(values, min(j + 3, count - 1) * step)
        p, q, r, s = line[j], line[j + 1], line[j + 2], line[j + 3]
        for i in range(uint64(width)):
            sums[i] = sums[i] + (p * a[i] + q * b[i]) + (r * c[i] + s * d[i])
{helpers}{soften}

def kernel(args, lo, hi):
{head}
    scale = as_{s}(bits_f64(word(args, {scale})))
{claim}
    turned_q = at(scratch, taken * part)
    sums = at(turned_q, queries * width)
    highest = at(sums, queries * value_width)
    totals = at(highest, queries)
    line = at(totals, queries)
    top = 0
    for u in range(uint64(lo), uint64(hi)):
        batch = u
{batch}
        for r in range(queries):
            for i in range(uint64(width)):
                turned_q[r * width + i] = query[r * q_row + i] * scale
        fill(sums, queries * value_width, {real}(0))
        fill(highest, queries, {real}(-np.inf))
        fill(totals, queries, {real}(0))
        for j0 in range(0, keys, {KEYS}):
            count = min(keys - j0, {KEYS})
            for r in range(queries):
                limit = {limit}
                if limit <= 0:
                    continue
                dots(line, at(turned_q, r * width), at(key, j0 * k_row), k_row, limit, width)
{masked}
                keep = soften(line, limit, at(highest, r), at(totals, r))
                if keep != {real}(1):
                    scale_row(at(sums, r * value_width), value_width, keep)
                fill(at(line, limit), (limit + 3) // 4 * 4 - limit, {real}(0))
                add_rows(at(sums, r * value_width), line, at(value, j0 * v_row), v_row, limit, value_width)
        for r in range(queries):
            place = int64(batch) * queries + r
            factor = settle(highest[r], totals[r], at(lse, place))
            for i in range(uint64(value_width)):
                out[place * value_width + i] = sums[r * value_width + i] * factor
    store_atomic(slot, 0)
'''

BACKWARD = '''score = microkernel("{s}", {R}, 2, {lanes}, ({R}, 1, {C}, {KEYS}))
mix = microkernel("{s}", {R}, 2, {lanes}, (1, {KEYS}, {C}, {C}))
turn = microkernel("{s}", {R}, 2, {lanes}, ({KEYS}, 1, {C}, {C}))

{pack}{helpers}{write_row}

def kernel(args, lo, hi):
{head}
    scale = as_{s}(bits_f64(word(args, {scale})))
    q_panels = (width + {C} - 1) // {C}
    v_panels = (value_width + {C} - 1) // {C}
{claim}
    turned_k = at(scratch, taken * part)
    turned_v = at(turned_k, {KEYS} * width)
    panels_k = at(turned_v, {KEYS} * value_width)
    sums_k = at(panels_k, {KEYS} * {C} * q_panels)
    sums_v = at(sums_k, {KEYS} * {C} * q_panels)
    turned_q = at(sums_v, {KEYS} * {C} * v_panels)
    turned_g = at(turned_q, {QUERIES} * width)
    panels_q = at(turned_g, {QUERIES} * value_width)
    panels_g = at(panels_q, {QUERIES} * {C} * q_panels)
    weights = at(panels_g, {QUERIES} * {C} * v_panels)
    slopes = at(weights, {QUERIES} * {KEYS})
    tile = at(slopes, {QUERIES} * {KEYS})
    for u in range(uint64(lo), uint64(hi)):
        batch = u % uint64(batches)
{batch}
        grad = at(g, i0 * g0 + i1 * g1 + i2 * g2)
        to_q = at(dq, int64(u) * queries * width)
        fill(to_q, queries * width, {real}(0))
        j0 = int64(u // uint64(batches)) * part_keys
        end = min(j0 + part_keys, keys)
        while j0 < end:
            count = min(end - j0, {KEYS})
            pack_turned(turned_k, at(key, j0 * k_row), k_row, count, width, {C})
            pack_turned(turned_v, at(value, j0 * v_row), v_row, count, value_width, {C})
            pack_rows(panels_k, at(key, j0 * k_row), k_row, count, width, {KEYS})
            fill(sums_k, {KEYS} * {C} * q_panels, {real}(0))
            fill(sums_v, {KEYS} * {C} * v_panels, {real}(0))
            all_wide = (count + {C} - 1) // {C} * {C}
            first = {first}
            while first < queries:
                rows = min(queries - first, {QUERIES})
                pack_turned(turned_q, at(query, first * q_row), q_row, rows, width, {R})
                scale_row(turned_q, (rows + {R} - 1) // {R} * {R} * width, scale)
                pack_turned(turned_g, at(grad, first * g_row), g_row, rows, value_width, {R})
                pack_rows(panels_q, at(query, first * q_row), q_row, rows, width, {QUERIES})
                pack_rows(panels_g, at(grad, first * g_row), g_row, rows, value_width, {QUERIES})
                for p in range((rows + {R} - 1) // {R}):
                    top = first + p * {R}
                    seen = max({seen}, 0)
                    wide = (seen + {C} - 1) // {C} * {C}
                    for j in range(0, wide, {C}):
                        score(at(turned_q, p * {R} * width), at(turned_k, j * width), at(weights, p * {R} * {KEYS} + j), width, 0)
                        score(at(turned_g, p * {R} * value_width), at(turned_v, j * value_width), at(slopes, p * {R} * {KEYS} + j), value_width, 0)
                    for r in range(min(rows - p * {R}, {R})):
                        line = at(weights, (p * {R} + r) * {KEYS})
                        slope = at(slopes, (p * {R} + r) * {KEYS})
                        limit = {limit}
{masked}
                        shift = lse[int64(batch) * queries + top + r]
                        mean = delta[int64(batch) * queries + top + r]
                        fill(at(line, limit), wide - limit, {real}(-np.inf))
                        for j in range(wide):
                            x = exp_{s}(line[j] - shift)
                            line[j] = x
                            slope[j] = x * (slope[j] - mean)
                        fill(at(line, wide), all_wide - wide, {real}(0))
                        fill(at(slope, wide), all_wide - wide, {real}(0))
                    if seen > 0:
                        for c in range(q_panels):
                            mix(at(slopes, p * {R} * {KEYS}), at(panels_k, c * {KEYS} * {C}), tile, seen, 0)
                            for r in range(min(rows - p * {R}, {R})):
                                place = at(to_q, (top + r) * width + c * {C})
                                own = at(tile, r * {C})
                                for i in range(min(width - c * {C}, {C})):
                                    place[i] = place[i] + own[i] * scale
                for p in range((count + {R} - 1) // {R}):
                    skip = {skip}
                    if skip < rows:
                        lines = skip * {KEYS} + p * {R}
                        for c in range(v_panels):
                            turn(at(weights, lines), at(panels_g, (c * {QUERIES} + skip) * {C}), at(sums_v, (p * v_panels + c) * {R} * {C}), rows - skip, 1)
                        for c in range(q_panels):
                            turn(at(slopes, lines), at(panels_q, (c * {QUERIES} + skip) * {C}), at(sums_k, (p * q_panels + c) * {R} * {C}), rows - skip, 1)
                first += {QUERIES}
            row = int64(batch) * keys + j0
            for r in range(count):
                write_row(at(dk, (row + r) * width), sums_k, r, width, q_panels, scale)
                write_row(at(dv, (row + r) * value_width), sums_v, r, value_width, v_panels, {real}(1))
            j0 += {KEYS}
    store_atomic(slot, 0)
'''


# -- kernels -----------------------------------------------------------------------------------------------------------
def forward(problem: Problem, operands: dict[str, tuple], results: dict[str, tuple], scale: tuple, slots: int) -> Kernel:
    """operands: name (q, k, v, mask) -> (word of its address, strides of the three batch dimensions and of its rows);
    results: name (out, lse) -> word; scale: a word; `slots`: how many tasks may run at the same time."""
    p = problem
    batches = p.batch[0] * p.batch[1] * p.batch[2]
    if p.queries <= FEW:
        part = p.queries * (p.width + p.value_width + 2) + FEW_BLOCK[1]
        writer = Writer(p, operands, results, scale, part, slots)
        return writer.kernel(FEW_QUERIES, "attend", FEW_BLOCK, batches, max(1, 2 * p.multiplications), {})
    rows, lanes = tile(p.dtype)
    columns = 2 * lanes
    wide = -(-p.value_width // columns) * columns
    queries, keys = FORWARD_BLOCK
    part = (queries + keys) * (p.width + wide) + rows * keys + 2 * queries
    blocks = -(-p.queries // queries)
    writer = Writer(p, operands, results, scale, part, slots)
    writer.table.numbers(blocks=blocks)
    work = max(1, 2 * p.multiplications // blocks)
    return writer.kernel(FORWARD, "attend", FORWARD_BLOCK, batches * blocks, work, {
        "end": "min(first + rows, keys)" if p.causal else "keys",
    })


def backward(problem: Problem, operands: dict[str, tuple], results: dict[str, tuple], scale: tuple, slots: int) -> Kernel:
    """As `forward`; operands also g (the result's gradient), lse and delta (the latter two contiguous), results dq, dk, dv."""
    p = problem
    rows, lanes = tile(p.dtype)
    columns = 2 * lanes
    wide, value_wide = (-(-n // columns) * columns for n in (p.width, p.value_width))
    queries, keys = BACKWARD_BLOCK
    part = (keys * (p.width + p.value_width + 2 * wide + value_wide) + queries * (p.width + p.value_width + wide + value_wide)
            + 2 * queries * keys + rows * columns)
    batches = p.batch[0] * p.batch[1] * p.batch[2]
    part_keys = -(-p.keys // (keys * p.parts)) * keys  # a part is whole blocks
    writer = Writer(p, operands, results, scale, part, slots)
    writer.table.numbers(batches=batches, part_keys=part_keys)
    return writer.kernel(BACKWARD, "attend_back", BACKWARD_BLOCK, batches * p.parts, max(1, 5 * p.multiplications // p.parts), {
        "first": f"j0 // {queries} * {queries}" if p.causal else "0",
        "skip": f"max(j0 + p * {rows} - first, 0)" if p.causal else "0",
    })


class Writer:
    """What both kernels have in common: most of the argument table, and parts of the source."""

    def __init__(self, p: Problem, operands: dict[str, tuple], results: dict[str, tuple], scale: tuple, part: int, slots: int):
        self.p, self.table = p, Table(p.dtype)
        for name, (address, *strides) in operands.items():
            self.table.pointer(name, address, "u8" if name == "mask" and p.mask == "bool" else None)
            if strides:
                self.table.numbers(**dict(zip((f"{name}0", f"{name}1", f"{name}2", f"{name}_row"), strides[0], strict=True)))
        for name, address in results.items():
            self.table.pointer(name, address)
        self.table.scratch(part, slots)
        self.table.numbers(queries=p.queries, keys=p.keys, width=p.width, value_width=p.value_width)
        self.table.numbers("word", n1=p.batch[1], n2=p.batch[2])
        self.scale = len(self.table.words)
        self.table.words.append(scale)

    def kernel(self, text: str, name: str, block: tuple[int, int], units: int, work: int, parts: dict[str, str]) -> Kernel:
        p, table = self.p, self.table
        s, real, (rows, lanes) = SUFFIX[p.dtype], p.dtype, tile(p.dtype)
        names = {"s": s, "real": real, "R": rows, "lanes": lanes, "C": 2 * lanes, "QUERIES": block[0], "KEYS": block[1]}
        pad = re.search("( *)limit = ", text)[1]  # type: ignore[index]
        source = text.format(
            **names, **parts, helpers=HELPERS, soften=SOFTEN.format(**names), write_row=WRITE_ROW.format(**names),
            scale=self.scale, head="\n".join(table.head), claim=CLAIM,
            pack=PACK.format(**names), batch=BATCH + (MASK if p.mask else ""),
            masked=MASKED[p.mask].format(**names, pad=pad, row="(top + r)"),
            seen=f"min(count, top + {rows} - j0)" if p.causal else "count",
            limit="max(min(count, top + r + 1 - j0), 0)" if p.causal else "count",
        )
        chunk = max(1, TASK // work)
        time = max(1.0, 2 * work * chunk / GIGAFLOPS / 1000)
        return Kernel(source, table.words, units, chunk, False, table.scratch_bytes, name, time)

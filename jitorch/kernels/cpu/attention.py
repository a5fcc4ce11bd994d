"""The kernels of attention, which never hold the matrix of scores.

Forward, a unit is a block of query rows of one batch. It runs through the keys a block at a time:

    pack the block's keys (turned) and values into panels
    for each few rows of queries:
        scores = queries @ keys.T           a tile that stays in the first-level cache; simd.microkernel
        the rows' highest score so far; scores become exp(score - highest); their sum so far
        sums = sums * exp(highest before - highest now) + scores @ values

and in the end writes sums / total, and log(total) + highest, from which the way back computes any score's weight again.
Backward, a unit is a part of the keys of one batch, run through in blocks; for each of them all queries that see it.

Tiles and blocks are numbers in the source; sizes and strides are words. A row that sees no key gives zeros, and +inf as
the logarithm of its sum: exp(score - inf) is the weight 0 that its keys have.
"""

from __future__ import annotations

from dataclasses import dataclass

from .codegen import Kernel
from .expressions import SUFFIX
from .packing import CLAIM, GIGAFLOPS, PACK, Table, tile

# Queries and keys of a block. What is packed of it stays in the second-level cache, and serves long enough that packing
# does not show; the other direction holds five arrays for each key.
FORWARD_BLOCK, BACKWARD_BLOCK = (128, 256), (64, 128)
TASK = 2_000_000  # multiplications worth a task of their own


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

# a line of scores, masked up to `limit`
MASKED = {
    None: "",
    "float": """
    {pad}sight = at(allowed, {row} * mask_row + j0)
    {pad}for j in range(uint64(limit)):
    {pad}    independent()
    {pad}    line[j] = line[j] + sight[j]
""",
    "bool": """
    {pad}sight = at(allowed, {row} * mask_row + j0)
    {pad}for j in range(uint64(limit)):
    {pad}    independent()
    {pad}    line[j] = select(sight[j] != 0, line[j], {real}(-np.inf))
""",
}

FORWARD = '''score = microkernel("{s}", {R}, 2, {lanes}, ({R}, 1, {C}, {KEYS}))
mix = microkernel("{s}", {R}, 2, {lanes}, (1, {KEYS}, {C}, {C}))

{pack}

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
        for i in range((rows + {R} - 1) // {R} * {R} * width):
            turned_q[i] = turned_q[i] * scale
        for i in range({QUERIES} * {C} * panels):
            sums[i] = {real}(0)
        for i in range({QUERIES}):
            highest[i] = {real}(-np.inf)
            totals[i] = {real}(0)
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
                    for j in range(uint64(limit), uint64(wide)):
                        line[j] = {real}(-np.inf)
                    peak = {real}(-np.inf)
                    for j in range(uint64(wide)):
                        peak = rmax(peak, line[j])
                    before = highest[p * {R} + r]
                    now = rmax(before, peak)
                    shift = select(now == {real}(-np.inf), {real}(0), now)
                    keep = exp_{s}(before - shift)
                    total = {real}(0)
                    for j in range(uint64(wide)):
                        x = exp_{s}(line[j] - shift)
                        line[j] = x
                        total = radd(total, x)
                    highest[p * {R} + r] = now
                    totals[p * {R} + r] = totals[p * {R} + r] * keep + total
                    if keep != {real}(1):
                        for c in range(panels):
                            own = at(sums, ((p * panels + c) * {R} + r) * {C})
                            for i in range({C}):
                                own[i] = own[i] * keep
                for c in range(panels):
                    mix(tile, at(panels_v, c * {KEYS} * {C}), at(sums, (p * panels + c) * {R} * {C}), seen, 1)
            j0 += {KEYS}
        for r in range(rows):
            place = int64(batch) * queries + first + r
            total = totals[r]
            dead = highest[r] == {real}(-np.inf)
            factor = select(dead, {real}(0), {real}(1) / total)
            lse[place] = select(dead, {real}(np.inf), highest[r] + log_{s}(total))
            for c in range(panels):
                own = at(sums, ((r // {R} * panels + c) * {R} + r % {R}) * {C})
                row = at(out, place * value_width + c * {C})
                for i in range(min(value_width - c * {C}, {C})):
                    row[i] = own[i] * factor
    store_atomic(slot, 0)
'''

BACKWARD = '''score = microkernel("{s}", {R}, 2, {lanes}, ({R}, 1, {C}, {KEYS}))
mix = microkernel("{s}", {R}, 2, {lanes}, (1, {KEYS}, {C}, {C}))
turn = microkernel("{s}", {R}, 2, {lanes}, ({KEYS}, 1, {C}, {C}))

{pack}

@helper
def write_rows(out, sums, rows, columns, panels, factor):
    """out[row][column] of sums[row // {R}][column // {C}][row % {R}][column % {C}]"""
    for row in range(rows):
        for c in range(panels):
            own = at(sums, ((row // {R} * panels + c) * {R} + row % {R}) * {C})
            place = at(out, row * columns + c * {C})
            for i in range(min(columns - c * {C}, {C})):
                place[i] = own[i] * factor


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
        for i in range(queries * width):
            to_q[i] = {real}(0)
        j0 = int64(u // uint64(batches)) * part_keys
        end = min(j0 + part_keys, keys)
        while j0 < end:
            count = min(end - j0, {KEYS})
            pack_turned(turned_k, at(key, j0 * k_row), k_row, count, width, {C})
            pack_turned(turned_v, at(value, j0 * v_row), v_row, count, value_width, {C})
            pack_rows(panels_k, at(key, j0 * k_row), k_row, count, width, {KEYS})
            for i in range({KEYS} * {C} * q_panels):
                sums_k[i] = {real}(0)
            for i in range({KEYS} * {C} * v_panels):
                sums_v[i] = {real}(0)
            all_wide = (count + {C} - 1) // {C} * {C}
            first = {first}
            while first < queries:
                rows = min(queries - first, {QUERIES})
                pack_turned(turned_q, at(query, first * q_row), q_row, rows, width, {R})
                for i in range((rows + {R} - 1) // {R} * {R} * width):
                    turned_q[i] = turned_q[i] * scale
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
                        for j in range(uint64(limit), uint64(wide)):
                            line[j] = {real}(-np.inf)
                        for j in range(uint64(wide)):
                            x = exp_{s}(line[j] - shift)
                            line[j] = x
                            slope[j] = x * (slope[j] - mean)
                        for j in range(uint64(wide), uint64(all_wide)):
                            line[j] = {real}(0)
                            slope[j] = {real}(0)
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
            place = int64(batch) * keys + j0
            write_rows(at(dk, place * width), sums_k, count, width, q_panels, scale)
            write_rows(at(dv, place * value_width), sums_v, count, value_width, v_panels, {real}(1))
            j0 += {KEYS}
    store_atomic(slot, 0)
'''


# -- kernels -----------------------------------------------------------------------------------------------------------
def forward(problem: Problem, operands: dict[str, tuple], results: dict[str, tuple], scale: tuple, slots: int) -> Kernel:
    """operands: name (q, k, v, mask) -> (word of its address, strides of the three batch dimensions and of its rows);
    results: name (out, lse) -> word; scale: a word; `slots`: how many tasks may run at the same time."""
    p = problem
    rows, lanes = tile(p.dtype)
    columns = 2 * lanes
    wide = -(-p.value_width // columns) * columns
    queries, keys = FORWARD_BLOCK
    part = (queries + keys) * (p.width + wide) + rows * keys + 2 * queries
    blocks = -(-p.queries // queries)
    writer = Writer(p, operands, results, scale, part, slots)
    writer.table.numbers(blocks=blocks)
    work = max(1, 2 * p.multiplications // blocks)
    return writer.kernel(FORWARD, "attend", FORWARD_BLOCK, p.batch[0] * p.batch[1] * p.batch[2] * blocks, work, {
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
        pad = " " * (16 if name == "attend" else 20)
        source = text.format(
            **names, **parts, scale=self.scale, head="\n".join(table.head), claim=CLAIM,
            pack=PACK.format(**names), batch=BATCH + (MASK if p.mask else ""),
            masked=MASKED[p.mask].format(**names, pad=pad, row="(top + r)"),
            seen=f"min(count, top + {rows} - j0)" if p.causal else "count",
            limit="max(min(count, top + r + 1 - j0), 0)" if p.causal else "count",
        )
        chunk = max(1, TASK // work)
        time = max(1.0, 2 * work * chunk / GIGAFLOPS / 1000)
        return Kernel(source, table.words, units, chunk, False, table.scratch_bytes, name, time)

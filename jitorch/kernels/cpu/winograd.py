"""Convolutions by 3 x 3 windows with 4 multiplications an output instead of 9: Winograd's F(2 x 2, 3 x 3).

A patch d of 4 x 4 inputs and a kernel g give 2 x 2 outputs (Lavin, Gray: Fast Algorithms for Convolutional Neural
Networks, CVPR 2016):

    A' [ (G g G') * (B' d B) ] A        B' = 1  0 -1  0    G = 1    0    0     A' = 1  1  1  0
                                             0  1  1  0        1/2  1/2  1/2        0  1 -1 -1
                                             0 -1  1  0        1/2 -1/2  1/2
                                             0  1  0 -1        0    0    1

so the sums over channels are 16 matrix products, one for each of the patch's places. A contraction is of this kind if b's
strides say so (`windows`): the last two dimensions of k step as the two of the columns do. Two kernels: one transforms the
weights, as panels of the tiles that multiply them; a unit of the other has a few lines of patches of one batch.

Sums are rounded as in other orders of summation, in multiples of the largest number of a patch; what comes out infinite or
NaN is computed again as a plain sum, so that special values are those of the definition.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from . import packing, panels

TAPS, PLACES = 3, 16  # a window's side; places of a patch
SLICE = 128  # of channels: sums of partial sums, which round less than long ones
LEAST = 16  # channels and rows: transforms take as long as a product with some eight of them
HELD = 1 << 17  # numbers of a unit's transformed patches: half of a second-level cache
WORTH = 1.5  # how many times fewer multiplications there have to be, counted with the lanes that are wasted
GIGAFLOPS = 80  # of one core, roughly, to say how long a task takes


def windows(c: Any, lanes: int) -> bool:
    """Whether a contraction is a convolution by 3 x 3 windows, of which this file makes fewer multiplications."""
    if c.dtype != "float32" or len(c.m) != 1 or len(c.n) < 2 or len(c.k) < 3 or any(d.a for d in c.batch):
        return False
    (down, across), taps = c.n[-2:], c.k[-2:]
    if [t.size for t in taps] != [TAPS, TAPS] or across.b != 1 or [t.b for t in taps] != [down.b, across.b]:
        return False
    channels = int(np.prod([d.size for d in c.k[:-2]]))
    patches = -(-down.size // 2) * -(-across.size // 2)
    used = down.size * across.size / (-(-patches // lanes) * lanes)
    return min(channels, c.m[0].size) >= LEAST and used * TAPS**2 / PLACES >= WORTH


WEIGHTS = """
def kernel(args, lo, hi):
{head}
    for c in range(lo, hi):
        i, panel = 0, out
        while i < m:
            remaining = m - i
            tall = {tall}
            for r in range(tall):
                row = i + select(r < remaining, r, remaining - 1)
                g = at(w, w_m[row] + w_c[c])
                to = at(panel, c * tall + r)
                for x in range(3):
                    p, q, s = g[x * tap], g[x * tap + down], g[x * tap + 2 * down]
                    column[x] = p
                    column[3 + x] = {half} * (p + s + q)
                    column[6 + x] = {half} * (p + s - q)
                    column[9 + x] = s
                for y in range(4):
                    p, q, s = column[3 * y], column[3 * y + 1], column[3 * y + 2]
                    at(to, 4 * y * channels * tall)[0] = p
                    at(to, (4 * y + 1) * channels * tall)[0] = {half} * (p + s + q)
                    at(to, (4 * y + 2) * channels * tall)[0] = {half} * (p + s - q)
                    at(to, (4 * y + 3) * channels * tall)[0] = s
            panel = at(panel, 16 * channels * tall)
            i += tall
"""

KERNEL = """
def kernel(args, lo, hi):
{head}
    own = address_of(at(args, {own}))
{claim}
    patches = at(scratch, taken * part)
    products = at(patches, 16 * channels * step)
    result = at(products, 16 * {most} * step)
    special = at(result, {most} * unit_columns)
    for u in range(lo, hi):
        batch, first = u // blocks, u % blocks * unit_rows
        count = select(patch_rows - first < unit_rows, patch_rows - first, unit_rows)
        top = 2 * first
        lines = select(height - top < 2 * count, height - top, 2 * count)
        b0 = at(b, b_batch[batch])
        for c in range(channels):
            plane = at(b0, b_c[c] + top * line)
            for t in range(count):      # in this order: what a store writes beyond a line of patches, the next one's replaces
                last = select(2 * t + 3 > height + 1 - top, height + 1 - top, 2 * t + 3)
                x = 0
                while x < across:
                    source = at(plane, 2 * t * line + 2 * x)
                    patch_lanes(at(patches, c * step + t * across + x), channels * step, source, at(source, line),
                                at(source, 2 * line), at(plane, last * line + 2 * x), width + 2 - 2 * x, {lanes})
                    x += {lanes}
        i, panel, total = 0, weights, count * across
        while i < m:
            remaining = m - i
            tall = {tall}
            have = select(remaining < tall, remaining, tall)
            for place in range(16):
                factors = at(panel, place * channels * tall)
                j = 0
                while j < total:
                    wide = {wide}
                    lane, tile = at(patches, place * channels * step + j), at(products, place * {most} * step + j)
                    start = 0
                    while start < channels:
                        length = select(channels - start < {slice}, channels - start, {slice})
{multiply}
                        start += {slice}
                    j += {columns}
            for r in range(have):
                row = at(result, r * unit_columns)
                zero_lanes(special, {lanes})
                for t in range(count):
                    x = 0
                    while x < across:
                        to = at(row, 2 * t * width + 2 * x)
                        output_lanes(at(products, r * step + t * across + x), {most} * step, to, at(to, width),
                                     width - 2 * x, lines - 2 * t, special, {lanes})
                        x += {lanes}
                any = special[0]
                for e in range(1, {lanes}):
                    any += special[e]
                if any != any:
                    plain(row, at(w, w_m[i + r]), w_k, at(b0, top * line), b_k, depth, lines, width, line)
            invoke(finish, own, address_of(result), unit_columns, batch, i, have, top * width, lines * width, 0, 0)
            panel = at(panel, 16 * channels * tall)
            i += tall
    store_atomic(slot, 0)
"""

# some lines of one row of the result, as the sum that they are defined to be
PLAIN = """
@helper
def plain(row, w, w_k, b, b_k, depth, lines, width, line):
    for x in range(lines * width):
        row[x] = {zero}
    for q in range(depth):
        factor = w[w_k[q]]
        for y in range(lines):
            source, to = at(b, b_k[q] + y * line), at(row, y * width)
            for x in range(width):
                to[x] += factor * source[x]
"""


def panel_rows(m: int, rows: tuple[int, ...]) -> int:
    """How many rows there are in all panels of the weights."""
    total = 0
    while total < m:
        total += min((r for r in rows if r >= m - total), default=rows[0])
    return total


def transformed_weights(c: Any, access: tuple, t: Any) -> tuple[str, list[tuple], int, int]:
    """The kernel that transforms the weights: its source, its words (("prepared",) is where it writes), its units, and
    the numbers that it writes."""
    m, down, tap = c.m[0], c.k[-2].a, c.k[-1].a
    table = packing.Table(c.dtype)
    table.pointer("w", access)
    table.pointer("out", ("prepared",))
    channels = tables(table, c)["channels"]
    table.numbers(m=m.size, channels=channels, down=down, tap=tap)
    head = "\n".join([*table.head, "    column = stack_f32(12)"])
    source = WEIGHTS.format(head=head, tall=panels.least("remaining", sorted(t.rows)), half="float32(0.5)")
    return source, table.words, channels, PLACES * channels * panel_rows(m.size, t.rows)


def tables(table: packing.Table, c: Any) -> dict[str, int]:
    """Offsets of the weights by row and by channel."""
    from .contraction import offsets

    along = offsets((d.size, d.a) for d in c.k[:-2])
    table.pointer("w_m", ("table", offsets([(c.m[0].size, c.m[0].a)])), "i64")
    table.pointer("w_c", ("table", along), "i64")
    return {"channels": len(along)}


def product_kernel(c: Any, accesses: tuple, t: Any, slots: int, finish: tuple) -> tuple[str, list[tuple], int, int, float]:
    """The kernel that multiplies: its source, its words up to those of `finish`, its units, the bytes of its scratch memory
    and the microseconds of a unit."""
    from .contraction import offsets

    s, (down, across), m = "f32", c.n, c.m[0].size
    height, width, most, lanes = down.size, across.size, t.rows[0], t.lanes
    patch_rows, patches_across = -(-height // 2), -(-width // 2)
    table = packing.Table(c.dtype)
    channels = tables(table, c)["channels"]
    unit_rows = min(patch_rows, max(1, HELD // (PLACES * channels) // patches_across))
    unit_rows = -(-patch_rows // -(-patch_rows // unit_rows))
    blocks = -(-patch_rows // unit_rows)
    # not a power of two: lines of all channels would meet in the same places of a cache
    step = -(-(unit_rows * patches_across + lanes) // t.columns) * t.columns + lanes
    unit_columns = 2 * unit_rows * width
    table.pointer("b", accesses[1])
    table.pointer("w", accesses[0])
    table.pointer("weights", ("prepared",))
    batch = offsets((d.size, d.b) for d in c.batch)
    for name, data in (
        ("b_batch", batch), ("b_c", offsets((d.size, d.b) for d in c.k[:-2])), ("w_k", offsets((d.size, d.a) for d in c.k)),
        ("b_k", offsets((d.size, d.b) for d in c.k)), ("lines_of_patches", np.arange(channels, dtype=np.int64) * step),
    ):  # fmt: skip
        table.pointer(name, ("table", data), "i64")
    table.numbers(
        m=m, channels=channels, depth=channels * TAPS**2, height=height, width=width, line=down.b, across=patches_across, step=step,
        patch_rows=patch_rows, unit_rows=unit_rows, blocks=blocks, unit_columns=unit_columns,
    )  # fmt: skip
    table.scratch(PLACES * (channels + most) * step + most * unit_columns + lanes, slots)
    table.head.append(f"    finish = sword(args, {len(table.words)})")
    table.words.append(finish)
    names = [(r, v, f"panel_{r}_{v}") for r in t.rows for v in range(t.vectors, 0, -1)]
    kernels = [f'{name} = panelkernel("{s}", {r}, {v}, {lanes})\n' for r, v, name in names]
    multiply = [
        f"{'elif' if number else 'if'} tall == {r} and wide == {v * lanes}:\n"
        f"    {name}(at(factors, start * tall), lane, at(lines_of_patches, start), tile, step, length, start, lane, at(lines_of_patches, start))"
        for number, (r, v, name) in enumerate(names)
    ]
    source = "".join(kernels) + PLAIN.format(zero="float32(0)") + KERNEL.format(
        head="\n".join(table.head), own=len(table.words), claim=packing.CLAIM, most=most, lanes=lanes, columns=t.columns,
        tall=panels.least("remaining", sorted(t.rows)), wide=panels.least("total - j", [v * lanes for v in range(1, t.vectors + 1)]),
        slice=SLICE, multiply="\n".join(" " * 24 + line for text in multiply for line in text.split("\n")),
    )  # fmt: skip
    time = 2 * PLACES * m * channels * unit_rows * patches_across / GIGAFLOPS / 1000
    return source, table.words, len(batch) * blocks, table.scratch_bytes, time

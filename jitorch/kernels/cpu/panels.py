"""The loops of a contraction that know nothing of its sizes, layouts or of what is computed from it: compiled once each.

A *driver* is the kernel: it takes blocks of the result, has operands packed, multiplies panels, and hands every finished
tile on. Packing and finishing are parts, compiled by themselves and called by address, so a new layout or a new
epilogue compiles a few dozen lines and no product.

    PACK (source, along, depth, to, first, have, wide, start, length, pieces)
        to[q][0:wide] = the elements of rows or columns first, first + 1, ... at places start + q of k; `have` are the
        operand's, the rest zero. along and depth are tables of offsets.
    FINISH (table, tile, step, batch, row, have, column, cols, ahead)
        everything that is computed from the tile's `have` rows (`step` apart) of `cols` columns; or, where `ahead` is not 0, the memory
        that it will read and write is asked for

The words of a driver's table are named in WORDS; after them comes the table of FINISH.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

WORDS = (
    *("a", "b", "m", "n", "k", "rows", "columns", "depth", "row_blocks", "column_blocks"),
    *("a_batch", "a_m", "a_k", "b_batch", "b_n", "b_k", "pack_a", "pack_b", "pieces", "finish"),
    *("scratch", "slots", "slot_count", "part", "panel", "column_panels", "tile_step", "tile_rows", "in_place"),
    *("shares", "share", "partial", "region", "blocks"),
    *("result", "result_batch", "result_m", "result_n", "result_step", "result_run", "packed", "packed_rows", "along_rows", "ahead"),
)
BUFFERS = ("a", "b", "scratch", "result")
TABLES = ("a_batch", "a_m", "a_k", "b_batch", "b_n", "b_k", "slots", "result_batch", "result_m", "result_n", "packed")
SIGNATURE = 'SIGNATURE = "void(int64, int64, int64, int64, int64, int64, int64, int64, int64, int64)"\n'


def head(suffix: str) -> str:
    kinds = {**dict.fromkeys(BUFFERS, f"ptr_{suffix}"), **dict.fromkeys(TABLES, "ptr_i64")}
    lines = [f"    {name} = {kinds.get(name, 'sword')}(args, {number})" for number, name in enumerate(WORDS)]
    return "\n".join(["def kernel(args, lo, hi):", *lines, f"    own = address_of(at(args, {len(WORDS)}))"]) + "\n"


# a part of the scratch memory for this call alone, then one block of the result after the other, or one share of its sums
BLOCKS = """    taken = 0
    slot = slots
    while not replace_atomic(slot, 0, 1):
        taken = (taken + 1) % slot_count
        slot = at(slots, taken * 8)
        pause()
    pa = at(scratch, taken * part)
    pb = at(pa, panel)
    tiles = at(pb, column_panels)
    for u in range(lo, hi):
        unit, begin = u // shares, u % shares * share
        end = select(k - begin < share, k, begin + share)
        if shares > 1:
            tiles = at(scratch, partial + u * region)
        block = unit % (row_blocks * column_blocks)
        batch = unit // (row_blocks * column_blocks)
        top, left = block // column_blocks * rows, block % column_blocks * columns
        height = select(m - top < rows, m - top, rows)
        width = select(n - left < columns, n - left, columns)
        a0, b0 = at(a, a_batch[batch]), at(b, b_batch[batch])
"""

# a slice of k at a time; a tile is complete after the last one
SLICES = """        start = begin
        while start < end:
            length = select(end - start < depth, end - start, depth)
            j = 0
            while j < width and in_place == 0:
                wide = {wide}
                cols = select(width - j < wide, width - j, wide)
                invoke(pack_b, address_of(b0), address_of(b_n), address_of(b_k), address_of(at(pb, j * length)),
                       left + j, cols, wide, start, length, pieces)
                j += {columns}
            i = 0
            while i < height:
                remaining = height - i
                tall = {tall}
                have = select(remaining < tall, remaining, tall)
                left_panel = at(a0, start * packed_rows + (top + i) * depth)
                if packed_rows == 0:
                    left_panel = pa
                    invoke(pack_a, address_of(a0), address_of(a_m), address_of(a_k), address_of(pa),
                           top + i, have, tall, start, length, 0)
                j = 0
                while j < width:
                    wide = {wide}
                    cols = select(width - j < wide, width - j, wide)
                    tile, step = at(tiles, j * tile_rows + i * tile_step), wide
                    straight = result_run > 0 and have == tall and cols == wide and (left + j) % result_run + wide <= result_run
                    if straight:        # the tile is the result's own memory
                        tile = at(result, result_batch[batch] + result_m[top + i] + result_n[left + j])
                        step = result_step
                    line, places = at(pb, j * length), at(packed, (wide // {lanes} - 1) * depth)
                    if in_place != 0:
                        line, places = at(b0, b_n[left + j]), at(b_k, start)
                    later, further = line, places
                    if along_rows != 0 and j == 0 and i + tall < height:      # of the next panel of a: a line of memory for each k
                        later, further = at(a0, a_m[top + select(height - i < 2 * tall, height, i + 2 * tall) - 1]), at(a_k, start)
                    if ahead != 0 and result_run == 0 and start + length == k:
                        invoke(finish, own, address_of(tile), step, batch, top + i, have, left + j, cols, 1, 0)
{multiply}
                    if start + length == k and shares == 1 and not straight:
                        invoke(finish, own, address_of(tile), step, batch, top + i, have, left + j, cols, 0, 0)
                    j += {columns}
                i += tall
            start += depth
    store_atomic(slot, 0)
    if lo < hi:
        return
    # the last call, where sums were split: the partial ones of each block in order, whatever threads they are from
    for unit in range(blocks):
        tiles = at(scratch, partial + unit * shares * region)
        for other in range(1, shares):
            more = at(tiles, other * region)
            for x in range(region):
                independent()
                tiles[x] += more[x]
        block = unit % (row_blocks * column_blocks)
        top, left = block // column_blocks * rows, block % column_blocks * columns
        height = select(m - top < rows, m - top, rows)
        width = select(n - left < columns, n - left, columns)
        i = 0
        while i < height:
            remaining = height - i
            tall = {tall}
            have = select(remaining < tall, remaining, tall)
            j = 0
            while j < width:
                wide = {wide}
                cols = select(width - j < wide, width - j, wide)
                invoke(finish, own, address_of(at(tiles, j * tile_rows + i * tile_step)), wide,
                       unit // (row_blocks * column_blocks), top + i, have, left + j, cols, 0, 0)
                j += {columns}
            i += tall
"""

# few rows, and both operands lie along k: every element of b is read once, where it lies, so nothing is packed. Columns
# that are read side by side are far from one another, so that each of them runs on through memory in the next step
DOTS = """        sums = {sums}
        apart, step = (width + sums - 1) // sums, width + sums
        for x in range(apart):
{multiply}
        invoke(finish, own, address_of(tiles), step, batch, 0, m, left, width, 0, 0)
    store_atomic(slot, 0)
"""


def least(value: str, limits: Sequence[int]) -> str:
    """Source: the smallest of `limits` (rising) that `value` fits in, or the largest."""
    *lower, largest = limits
    text = str(largest)
    for limit in reversed(lower):
        text = f"select({value} > {limit}, {text}, {limit})"
    return text


def driver(suffix: str, rows: Sequence[int], vectors: int, lanes: int) -> str:
    """The kernel that packs and multiplies by tiles of rows[0] (or a lower number) times `vectors` vectors."""
    names = [(r, v, f"panel_{r}_{v}") for r in rows for v in range(vectors, 0, -1)]
    kernels = [f'{name} = panelkernel("{suffix}", {r}, {v}, {lanes})\n' for r, v, name in names]
    multiply = [
        f"{'elif' if number else 'if'} tall == {r} and wide == {v * lanes}:\n"
        f"    {name}(left_panel, line, places, tile, step, length, start - begin, later, further)"
        for number, (r, v, name) in enumerate(names)
    ]
    body = "\n".join(" " * 20 + line for text in multiply for line in text.split("\n"))
    loops = SLICES.format(
        wide=least("width - j", [v * lanes for v in range(1, vectors + 1)]),
        tall=least("remaining", sorted(rows)),
        columns=vectors * lanes,
        lanes=lanes,
        multiply=body,
    )
    return "".join(kernels) + head(suffix) + BLOCKS + loops


def dots_driver(suffix: str, sums: Mapping[int, int], lanes: int) -> str:
    """The kernel for few rows. sums: for each number of rows at most (rising), how many dot products of each are taken at a time.
    All of them are one kernel, so that batches of one, two and seven compile nothing but it."""
    declared = [f'dots_{rows} = dotkernel("{suffix}", {rows}, {n}, {lanes})\n' for rows, n in sums.items()]
    first, *_, last = sums
    number, calls = str(sums[last]), []
    for rows in reversed([*sums][:-1]):
        number = f"select(m > {rows}, {number}, {sums[rows]})"
    for rows in sums:
        condition = "else" if rows == last else f"{'if' if rows == first else 'elif'} m <= {rows}"
        calls += [f"{condition}:", f"    dots_{rows}(a0, a_m, m, b0, at(b_n, left + x), width - x, apart, at(tiles, x), step, k)"]
    return "".join(declared) + head(suffix) + BLOCKS + DOTS.format(sums=number, multiply="\n".join(" " * 12 + line for line in calls))


# ---------------------------------------------------------------------------------------------------------------------
# Packing
# ---------------------------------------------------------------------------------------------------------------------

PACK = SIGNATURE + """
def kernel(source0, along0, depth0, to0, first, have, wide, start, length, pieces0):
    source, to = {s}_at(source0), {s}_at(to0)
    along, deep = at(pointer_to(along0), first), at(pointer_to(depth0), start)
"""

# elements side by side along the tile, {lanes} of them at least
RUNS = PACK + """    for q in range(length):
        row, line = at(source, deep[q]), at(to, q * wide)
        x = 0
        while x + {lanes} <= have:
            copy_lanes(at(line, x), at(row, along[x]), {lanes})
            x += {lanes}
        while x < have:
            line[x] = row[along[x]]
            x += 1
        while x < wide:
            line[x] = {zero}
            x += 1
"""

# whole tiles side by side: one offset for each
WHOLE = PACK + """    if have == {full}:
        source = at(source, along[0])
        for q in range(length):
            copy_lanes(at(to, q * {full}), at(source, deep[q]), {full})
    else:
        for q in range(length):
            row, line = at(source, deep[q]), at(to, q * wide)
            for x in range(have):
                line[x] = row[along[x]]
            for x in range(have, wide):
                line[x] = {zero}
"""

# elements side by side along k: squares of four by four are turned in registers
TURNED = PACK + """    x = 0
    while x + 4 <= have:
        row0, row1, row2, row3 = at(source, along[x]), at(source, along[x + 1]), at(source, along[x + 2]), at(source, along[x + 3])
        q = 0
        while q + 4 <= length:
            o = deep[q]
            transpose_quads(at(to, q * wide + x), wide, at(row0, o), at(row1, o), at(row2, o), at(row3, o))
            q += 4
        while q < length:
            o = deep[q]
            line = at(to, q * wide + x)
            line[0] = row0[o]
            line[1] = row1[o]
            line[2] = row2[o]
            line[3] = row3[o]
            q += 1
        x += 4
    if x < wide:
        for q in range(length):
            row, line = at(source, deep[q]), at(to, q * wide)
            for y in range(x, have):
                line[y] = row[along[y]]
            for y in range(have, wide):
                line[y] = {zero}
"""

# one by one
ELEMENTS = PACK + """    for q in range(length):
        row, line = at(source, deep[q]), at(to, q * wide)
        for x in range(have):
            line[x] = row[along[x]]
        for x in range(have, wide):
            line[x] = {zero}
"""

# runs of any length: a list of copies for every tile, see contraction.pieces; four lines for each look at the list
PIECES = PACK + """    table = pointer_to(pieces0)
    list = at(table, first // {full} * {kinds})
    if have < wide:
        for x in range(length * wide):
            to[x] = {zero}
    q = 0
    while q + 4 <= length:
        row0, row1, row2, row3 = at(source, deep[q]), at(source, deep[q + 1]), at(source, deep[q + 2]), at(source, deep[q + 3])
        line = at(to, q * wide)
        p = list[0]
{copies_of_four}
        q += 4
    while q < length:
        row0, line = at(source, deep[q]), at(to, q * wide)
        p = list[0]
{copies}
        q += 1
"""


def copies(widths: Sequence[int], lines: int) -> str:
    """The loops over the lists of one tile, for some lines at once."""
    out = []
    for number, width in enumerate(widths, 1):
        out.append(f"        while p < list[{number}]:")
        out.append("            x, y = table[p], table[p + 1]")
        out += [f"            copy_lanes(at(line, {r} * wide + x), at(row{r}, y), {width})" for r in range(lines)]
        out.append("            p += 2")
    return "\n".join(out)


# a constant operand once and for all: units are entries of the batch times blocks, each a row of panels as above
WHOLE_OPERAND = """
def kernel(args, lo, hi):
{head}
    for u in range(lo, hi):
        entry, first = u // blocks, u % blocks * block
        have = select(n - first < block, n - first, block)
        source, i = at(operand, batch[entry]), 0
        while i < have:
            remaining = have - i
            wide = {wide}
            for q in range(k):
                inner = q % depth
                line = at(out, entry * size + (q - inner) * padded + (first + i) * depth + inner * wide)
                for x in range(wide):
                    if x < remaining:
                        line[x] = source[deep[q] + along[first + i + x]]
                    else:
                        line[x] = {zero}
            i += wide
"""


ZERO = {"f32": "float32(0)", "f64": "float64(0)"}


def pack(kind: str, suffix: str, **numbers: int) -> str:
    """The source of a part that packs: RUNS, WHOLE, TURNED or ELEMENTS."""
    return kind.format(s=suffix, zero=ZERO[suffix], **numbers)


def pack_pieces(suffix: str, full: int, widths: Sequence[int]) -> str:
    """The source of a part that copies lists of pieces, one list for every width."""
    loops = {"copies": copies(widths, 1), "copies_of_four": copies(widths, 4)}
    return PIECES.format(s=suffix, zero=ZERO[suffix], full=full, kinds=len(widths) + 1, **loops)

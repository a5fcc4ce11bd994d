"""Products with rows that were looked up in a table (an embedding and what follows it), where the table has fewer rows than were looked up.

Row t of `looked` is table[index[t]], so that what depends on the row alone is the same for all tokens t that have it:

    looked @ w                          =  (table @ w) looked up in the same way
    table's gradient, g @ w added up    =  sums @ w         with `sums` the rows of g, added up where their tokens' rows are
    looked.T @ g                        =  table.T @ sums

Rows of the table that nobody looked up take no part, whatever they hold: their sums are zero, and would be NaN after a product with infinity.
"""
from __future__ import annotations

from typing import Any

from .record import contiguous_strides, count

ROW = ("row of a table",)     # a label
FEWER = 2           # times as many tokens as rows make it worth it
LEAST_WIDTH = 16    # multiplications a row that each sum saves: it takes longer than a multiplication
PART = 512          # tokens whose rows are added up in one sum, at least: about as many as a slice of a product


class Lookup:
    """Rows of a table, and the row that every token has: `rows`, an int64 value whose shape is that of the tokens."""

    def __init__(self, table, rows, width: int):
        self.table, self.rows, self.width = table, rows, width

    @property
    def count(self) -> int:
        return self.table.numel // self.width


def product(b, args, labels):
    """The contraction (see Builder.contract) in another order; None where no operand is one of looked-up rows, or nothing is gained."""
    for v, own, other, of_other in ((args[0], labels[0], args[1], labels[1]), (args[1], labels[1], args[0], labels[0])):
        if v.kind in ("input", "const") or (looked := lookup_of(b, v)) is None:
            continue
        if FEWER * looked.count > looked.rows.numel:
            continue
        summed = [x for x in own if x not in labels[2]]
        if summed == [own[-1]]:
            return looked_up(b, looked, own, other, of_other, labels[2])
        if own[-1] in labels[2] and set(summed) == set(own[:-1]):
            return of_sums(b, looked, own, other, of_other, labels[2])
    return None


def looked_up(b, looked: Lookup, own, other, of_other, out):
    """looked @ other, tokens first in the result."""
    tokens, columns = own[:-1], [x for x in out if x not in own]
    if looked.width < LEAST_WIDTH or list(out[len(tokens):]) != columns or set(out[: len(tokens)]) != set(tokens) or set(of_other) != {own[-1], *columns}:
        return None
    sizes = [other.shape[of_other.index(x)] for x in columns]
    table = b.contract(b.reshape(looked.table, (looked.count, looked.width)), other, (ROW, own[-1]), of_other, (ROW, *columns))
    rows = permuted(b, looked.rows, [tokens.index(x) for x in out[: len(tokens)]])
    index = b.reshape(rows, (*rows.shape, *(1 for _ in columns))) * count(sizes)
    for dim, stride in enumerate(contiguous_strides(sizes), len(tokens)):
        if sizes[dim - len(tokens)] > 1:
            shape = [1] * len(index.shape)
            shape[dim] = sizes[dim - len(tokens)]
            place = b.iota(shape, dim)
            index = index + (place if stride == 1 else place * stride)
    return b.take(table, b.expand(index, (*rows.shape, *sizes)))


def of_sums(b, looked: Lookup, own, other, of_other, out):
    """looked.T @ other, summed over all tokens."""
    tokens, kept = own[:-1], [x for x in of_other if x not in own]
    if set(of_other) != {*tokens, *kept} or count(other.shape[of_other.index(x)] for x in kept) < LEAST_WIDTH or looked.width < LEAST_WIDTH:
        return None
    g = permuted(b, other, [of_other.index(x) for x in (*tokens, *kept)])
    sums, used = sums_of(b, g, looked.rows, looked.count)
    table = b.where(used, b.reshape(looked.table, (looked.count, looked.width)), 0)
    return b.contract(sums, table, (ROW, *kept), (ROW, own[-1]), out)


def scattered(b, mode: str, args, shape):
    """Rows g @ w, each added to a row of zeros: the rows of g are added up first. None where that is not what it is, or nothing is gained."""
    target, index, value = args
    base = target.args[0] if target.kind == "view" and target.name == "expand" else target
    found = rows_of_index(b, index) if mode == "add" and value.shape == index.shape and value.shape else None
    if found is None or base.kind != "const" or base.attrs[0] != 0:
        return None
    rows, width = found
    chain: list = []
    while value.kind != "contract":
        if not steps_over_rows(value, width):
            return None
        chain.append(value)
        value = value.args[0]
    of_a, of_b, out = value.attrs
    g, w, of_g, of_w = (*value.args, of_a, of_b) if out[-1] in of_b else (*value.args[::-1], of_b, of_a)
    summed, tokens = [x for x in of_g if x not in out], out[:-1]
    if out[-1] in of_g or set(of_w) != {*summed, out[-1]} or set(of_g) != {*tokens, *summed} or value.shape[-1] != width:
        return None
    if width < LEAST_WIDTH or FEWER * (count(shape) // width) > rows.numel or count(shape) % width:
        return None
    for step in chain:          # back to the order that the rows of g have
        rows = undone(b, step, rows)
        if rows is None:
            return None
    g = permuted(b, g, [of_g.index(x) for x in (*tokens, *summed)])
    sums, used = sums_of(b, g, b.reshape(rows, value.shape[:-1]), count(shape) // width)
    return b.reshape(b.where(used, b.contract(sums, w, (ROW, *summed), of_w, (ROW, out[-1])), 0), shape)


# -- parts ---------------------------------------------------------------------------------------------------------------
def sums_of(b, g, rows, n: int) -> tuple[Any, Any]:
    """The sums of rows of g (tokens' dimensions, then a row's), where they belong among `n`; and which of the `n` anything belongs to.

    Long sums are parts that are added up, as a product's would be: the error of one that runs through all tokens grows with their number."""
    tokens, inner = g.shape[: len(rows.shape)], g.shape[len(rows.shape):]
    width, total = count(inner), count(tokens)
    g, rows = b.reshape(g, (total, width)), b.reshape(rows, (total, 1))
    known = b.sums.get((id(g), id(rows), n))
    if known is None:
        length = max(PART, FEWER * n)
        parts = -(-total // length)
        # this one finds the row that there is none of: in a part, its place may be another part's
        used = b.scatter("set", b.full((n, 1), 0, g.dtype), rows, b.full((total, 1), 1, g.dtype)).ne(0)
        places = rows if parts == 1 else rows + b.map("floordiv", b.iota((total, 1), 0), length) * n
        index = b.expand(places * width + b.iota((1, width), 1), (total, width))
        sums = b.scatter("add", b.full((parts * n, width), 0, g.dtype), index, g)
        known = b.sums[id(g), id(rows), n] = (b.sum(b.reshape(sums, (parts, n, width)), [0]), used)
    sums, used = known
    return b.reshape(sums, (n, *inner)), used


def lookup_of(b, v) -> Lookup | None:
    """What v looks up, if its last dimension is a row of a table; the others are tokens, in any order."""
    chain: list = []
    width = v.shape[-1] if v.shape else 1
    while v.kind != "take":
        if not steps_over_rows(v, width):
            return None
        chain.append(v)
        v = v.args[0]
    found = rows_of_index(b, v.args[1])
    if found is None or found[1] != width or v.args[0].numel % width:
        return None
    rows = found[0]
    for step in reversed(chain):
        rows = done(b, step, rows)
    return Lookup(v.args[0], rows, width)


def steps_over_rows(v, width: int) -> bool:
    """Whether v has the rows (of `width`) of its operand, whole, in another order or with other dimensions."""
    if v.kind == "map":
        return v.name == "copy" and not v.attrs and v.args[0].shape == v.shape
    if not v.shape or v.shape[-1] != width or width < 2 or v.kind not in ("reshape", "view") or v.args[0].shape[-1:] != (width,):
        return False
    if v.kind == "reshape":
        return True
    strides, offset = v.attrs
    return v.name != "expand" and strides[-1] == 1 and offset % width == 0 and all(s % width == 0 for s in strides[:-1])


def done(b, step, rows):
    """What a step over rows makes of one number a row."""
    if step.kind == "map":
        return rows
    if step.kind == "reshape":
        return b.reshape(rows, step.shape[:-1])
    strides, offset = step.attrs
    width = step.shape[-1]
    return b.strided(rows, step.shape[:-1], [s // width for s in strides[:-1]], offset // width)


def undone(b, step, rows):
    """One number a row of what the step is made of, from one a row of the step; None where it is no matter of order."""
    if step.kind == "map":
        return rows
    source = step.args[0].shape[:-1]
    if step.kind == "reshape":
        return b.reshape(rows, source)
    strides, offset = step.attrs
    natural = contiguous_strides(step.args[0].shape)[:-1]
    places = [d for d, n in enumerate(source) if n > 1]
    order = []
    for d in places:
        order += [i for i, (n, s) in enumerate(zip(step.shape[:-1], strides)) if n == source[d] and s == natural[d]]
    if offset or len(order) != len(places) or count(source) != rows.numel:
        return None
    rows = b.reshape(rows, step.shape[:-1])
    rest = [i for i in range(len(rows.shape)) if i not in order]
    return b.reshape(b.map("copy", b.permute(rows, [*order, *rest])), source)


def permuted(b, v, dims):
    """v with its dimensions in another order, whatever it stands on."""
    if v.kind != "view":
        return b.permute(v, dims)
    strides, offset = v.attrs
    return b.strided(v.args[0], [v.shape[d] for d in dims], [strides[d] for d in dims], offset)


def rows_of_index(b, index) -> tuple[Any, int] | None:
    """The row of each token, if an index is row * width + the place along the last dimension, whose size is `width`; and the width."""
    if index.kind == "view" and index.name == "expand":
        index = index.args[0]
    if index.kind != "map" or index.name != "add" or not index.shape or index.shape[-1] < 2:
        return None
    width = index.shape[-1]
    for start, place in (index.args, index.args[::-1]):
        if not (place.kind == "iota" and place.attrs[0] == len(place.shape) - 1 and place.shape[-1] == width):
            continue
        if start.kind != "map" or start.name != "mul" or start.shape != (*index.shape[:-1], 1):
            continue
        for rows, step in (start.args, start.args[::-1]):
            if step.kind == "const" and step.attrs[0] == width and rows.shape == start.shape and rows.kind not in ("iota", "const", "scalar"):
                return b.reshape(rows, rows.shape[:-1]), width
    return None

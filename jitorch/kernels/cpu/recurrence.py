"""The kernel of a recurrence: a loop over time inside the kernel, for a block of rows (of a batch), which don't wait for one another.

    pack the weights into panels, once
    at each step:
        pack what is fed: a result of the step before
        for each few columns:
            ask for the memory that the values below need
            product = fed @ weights         a tile for each few rows and each block of columns that the step asks for; simd.microkernel
            the step's values, and stores   one loop over a row's columns, from the IR's own maps

A step's description (see `Recurrence` in graph/ir.py) is part of the source; sizes are words.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .codegen import Kernel
from .expressions import SUFFIX, expression, literal
from .packing import CLAIM, GIGAFLOPS, PACK, Table, tile

ROWS = 32  # of a unit at most
FEW = 2  # rows for which a lower tile does: it takes a quarter of the time
WIDE = 4  # tiles side by side that maps run over at once: a loop over fewer columns spends its time on its start
DEPTH = 128  # of a product at a time: as much of a panel of weights stays in the first-level cache for all rows


@dataclass(frozen=True)
class Problem:
    """A recurrence: its step, how many blocks of columns each operand and each result has, and sizes."""

    step: Any  # a Step of graph/ir.py
    dtype: str
    steps: int
    rows: int
    width: int
    operand_blocks: tuple[int, ...]
    result_blocks: tuple[int, ...]

    @property
    def depth_blocks(self) -> int:
        return self.result_blocks[self.step.fed]


KERNEL = '''micro = microkernel("{s}", {R}, 2, {lanes}, ({R}, 1, {C}, {WIDE}))
few = microkernel("{s}", {FEW}, 2, {lanes}, ({R}, 1, {C}, {WIDE}))

{pack}

def kernel(args, lo, hi):
{head}
    panels = (width + {C} - 1) // {C}
    depth = {depth} * width
{claim}
    weights = at(scratch, taken * part)
    fed = at(weights, panels * {C} * {products} * depth)
    tile = at(fed, unit_rows * depth)
    kept = at(tile, {products} * unit_rows * {WIDE})
    {pack_weights}
    for u in range(uint64(lo), uint64(hi)):
        first = int64(u) * unit_rows
        count = min(rows - first, unit_rows)
        for i in range({carried} * unit_rows * width):
            kept[i] = {real}(0)
        for step in range({steps}):
            t, before, after = {times}
            {source}
            for p in range((count + {R} - 1) // {R}):
                pack_turned(at(fed, p * {R} * depth), at(source, p * {R} * depth), depth, min(count - p * {R}, {R}), depth, {R})
            for left in range(0, width, {WIDE}):
                wide = min(width - left, {WIDE})
                for g in range({products}):
                    for c in range(0, wide, {C}):
                        of = at(weights, (g * panels * {C} + left + c) * depth)
                        for k in range(0, depth, {DEPTH}):
                            for p in range((count + {R} - 1) // {R}):
                                own = at(tile, (g * unit_rows + p * {R}) * {WIDE} + c)
{ahead}
                                if count - p * {R} > {FEW}:
                                    micro(at(fed, (p * depth + k) * {R}), at(of, k * {C}), own, min(depth - k, {DEPTH}), k)
                                else:
                                    few(at(fed, (p * depth + k) * {R}), at(of, k * {C}), own, min(depth - k, {DEPTH}), k)
{nothing_fed}
                for row in range(first, first + count):
{body}
    store_atomic(slot, 0)
'''
PAD = " " * 20


def generate(p: Problem, operands: list[tuple], results: list[tuple | None], finals: list[tuple], threads: int) -> Kernel:
    """operands, results (None: not stored), finals: the words of their addresses; `threads`: how many tasks may run at the same time."""
    s, (rows, lanes) = SUFFIX[p.dtype], tile(p.dtype)
    columns = WIDE * 2 * lanes
    names: dict[str, Any] = {"s": s, "real": p.dtype, "R": rows, "FEW": FEW, "lanes": lanes, "C": 2 * lanes, "DEPTH": DEPTH, "WIDE": columns}
    products, table = blocks_of_product(p), Table(p.dtype)
    wide, depth = -(-p.width // (2 * lanes)) * 2 * lanes, p.depth_blocks * p.width
    unit_rows = min(ROWS, -(-p.rows // (threads * rows)) * rows)     # rows are computed alike wherever they are cut
    table.scratch(wide * products * depth + unit_rows * depth + products * unit_rows * columns + len(p.step.carried) * unit_rows * p.width, threads)
    table.numbers(steps=p.steps, rows=p.rows, width=p.width, unit_rows=unit_rows)
    for name, words in (("x", operands), ("y", results), ("z", finals)):
        for k, word in enumerate(words):
            if word is not None:
                table.pointer(f"{name}{k}", word)
    step = p.step
    where, written = stores(p, results)
    body = [*inputs(p), *where, *maps(p), *written]
    if step.finals:
        last = final_sums(p)
        body = ["if step < steps:", *("    " + line for line in body), "else:", *("    " + line for line in last)]
    source = KERNEL.format(
        **names, pack=PACK.format(**names), head="\n".join(table.head), claim=CLAIM, products=products, depth=p.depth_blocks,
        carried=len(step.carried), steps="steps + 1" if step.finals else "steps",
        times="steps - 1 - step, steps - step, steps - 2 - step" if step.reverse else "step, step - 1, step + 1",
        pack_weights=pack_weights(step, products, names),
        source=f"source = at(y{step.fed}, ({{}} * rows + first) * depth)".format(
            "before" if step.first is not None else "(before if step > 0 else 0)") + (
            f"\n            if step == 0:\n                source = at(x{step.first}, first * depth)" if step.first is not None else ""),
        ahead="\n".join(" " * 32 + line for line in ahead(p, products, results)),
        nothing_fed="" if step.first is not None else (
            f"                if step == 0:\n                    for i in range({products * columns} * unit_rows):\n"
            f"                        tile[i] = {p.dtype}(0)"),
        body="\n".join(PAD + line for line in body),
    )
    time = max(1.0, 2 * p.steps * unit_rows * products * p.width * depth / GIGAFLOPS / 1000)
    return Kernel(source, table.words, -(-p.rows // unit_rows), 1, False, table.scratch_bytes, "recur", time)


def blocks_of_product(p: Problem) -> int:
    return p.operand_blocks[p.step.weights] if p.step.turned else 1


def pack_weights(step, products: int, names: dict) -> str:
    if not step.turned:
        return f"pack_rows(weights, x{step.weights}, width, depth, width, depth)"
    return (f"for g in range({products}):\n"
            f"        pack_turned(at(weights, g * panels * {names['C']} * depth), at(x{step.weights}, g * width * depth), depth, width, depth, {names['C']})")


def place(p: Problem, source: tuple) -> list[str]:
    """Lines that set `place` to where a source has the columns from `left` on of this row."""
    kind, *rest = source
    if kind == "product":
        return [f"at(tile, ({rest[0]} * unit_rows + row - first) * {WIDE * 2 * tile(p.dtype)[1]})"]
    if kind == "carried":
        return [f"at(kept, ({rest[0]} * unit_rows + row - first) * width + left)"]
    if kind == "vector":
        return [f"at(x{rest[0]}, {rest[1]} * width + left)"]
    if kind == "sequence":
        return [f"at(x{rest[0]}, (t * rows + row) * {p.operand_blocks[rest[0]]} * width + {rest[1]} * width + left)"]
    which, block, other = rest
    if kind == "previous":
        return ["step > 0", f"at(y{which}, (before * rows + row) * {p.result_blocks[which]} * width + {block} * width + left)",
                f"at(x{other}, row * width + left)"]
    return ["step + 1 < steps", f"at(x{which}, (after * rows + row) * {p.operand_blocks[which]} * width + {block} * width + left)",
            f"at(x{other}, row * width + left)"]


def ahead(p: Problem, products: int, results: list[tuple | None]) -> list[str]:
    """Lines that ask for the memory that a tile's maps read and write, long before: each operand beside another product and part of k."""
    rows, lanes = tile(p.dtype)
    places = [(f"x{s[1]}", p.operand_blocks[s[1]], s[2]) for s in p.step.sources if s[0] == "sequence"]
    places += [(f"y{q}", len(blocks), k) for q, blocks in enumerate(p.step.results) if results[q] is not None for k in range(len(blocks))]
    parts = -(-p.depth_blocks * p.width // DEPTH)
    turns = [f"g == {n % products} and k == {n // products % parts * DEPTH}" for n in range(len(places))]
    lines = []
    for turn in dict.fromkeys(turns):
        lines += [f"if {turn} and step < steps:", f"    for r in range(p * {rows}, min(p * {rows} + {rows}, count)):"]
        for other, (name, blocks, block) in zip(turns, places):
            if other == turn:
                lines.append(f"        near = at({name}, (t * rows + first + r) * {blocks} * width + {block} * width + left + c)")
                lines += [f"        prefetch(at(near, {x}))" for x in (0, lanes)]
    return lines


def inputs(p: Problem) -> list[str]:
    lines = []
    for k, source in enumerate(p.step.sources):
        found = place(p, source)
        if len(found) == 1:
            lines.append(f"s{k} = {found[0]}")
        else:
            condition, there, otherwise = found
            lines += [f"if {condition}:", f"    s{k} = {there}", "else:", f"    s{k} = {otherwise}"]
    return lines


def maps(p: Problem) -> list[str]:
    """The loop over columns: the step's values."""
    lines = ["for i in range(wide):", "    independent()"]
    dtypes: list[str] = []
    for k, (name, dtype, *arguments) in enumerate(p.step.body):
        if name == "source":
            text = f"s{arguments[0]}[i]"
        elif name == "const":
            text = literal(arguments[0], dtype)
        else:
            text = expression(name, dtype, [f"t{a}" for a in arguments], [dtypes[a] for a in arguments])
        dtypes.append(dtype)
        lines.append(f"    t{k} = {text}")
    return lines


def stores(p: Problem, results: list[tuple | None]) -> tuple[list[str], list[str]]:
    """Where to, and the stores themselves, at the end of the loop."""
    where, lines = [], []
    for q, places in enumerate(p.step.results):
        if results[q] is not None:
            for block, v in enumerate(places):
                where.append(f"o{q}_{block} = at(y{q}, (t * rows + row) * {p.result_blocks[q]} * width + {block} * width + left)")
                lines.append(f"    o{q}_{block}[i] = t{v}")
    for k, v in enumerate(p.step.carried):
        where.append(f"c{k} = at(kept, ({k} * unit_rows + row - first) * width + left)")
        lines.append(f"    c{k}[i] = t{v}")
    return where, lines


def final_sums(p: Problem) -> list[str]:
    """After the last step."""
    lines = []
    for k, sources in enumerate(p.step.finals):
        lines.append(f"o{k} = at(z{k}, row * width + left)")
        for j, source in enumerate(sources):
            lines.append(f"f{k}_{j} = {place(p, source)[0]}")
        lines += ["for i in range(wide):", f"    o{k}[i] = {' + '.join(f'f{k}_{j}[i]' for j in range(len(sources)))}"]
    return lines

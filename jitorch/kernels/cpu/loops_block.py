"""Rows, and reductions over all rows beside them. A unit is a block of rows: each row's own reductions, what is written of it, and its part of the
reductions over all rows, which have a line of memory in each block. The finishing call (lo == hi) adds up the lines of all blocks, in order, and writes what
is computed from them. How many rows a block has depends on the shape alone, so the same bits come out with any number of threads."""
from __future__ import annotations

from .accumulators import COMBINE
from .description import Kernel, product
from .expressions import SUFFIX, cast
from .loops_column import ADDED
from .loops_row import RowWriter
from .writer import CHUNK

BLOCKS = 64             # at most: the finishing call adds up as many lines


class BlockWriter(RowWriter):
    def write(self, kept: list[int]) -> Kernel:
        view = self.view
        loops = [a for a in view.order if a in view.reduced]
        rows, width = product(view.sizes[a] for a in kept), product(view.sizes[a] for a in loops)
        across = [v for v in view.nodes if v.kind == "reduce" and not self.is_stage(v, set(loops))]
        late = self.waiting_for(across)
        block = -(-rows // (BLOCKS * ADDED)) * ADDED
        blocks = -(-rows // block)
        scope: dict = {}
        self.scalar_values(scope)
        size = self.named_word("width", "int", width)
        totals = {v: self.lines_word(self.accumulator_dtype(v), blocks, width) for v in across}
        short = {v: self.lines_word("float32", blocks, width) for v in across if self.line_dtype(v) != self.accumulator_dtype(v)}

        self.emit("for u in range(uint64(lo), uint64(hi)):")
        self.indent += 1
        mine = {v: self.line_at(w, f"u * {size}") for v, w in totals.items()}
        added = {v: self.line_at(w, f"u * {size}") for v, w in short.items()}
        for v, line in mine.items():
            self.each(f"{line}[j] = {self.identity(v)}", size)
        count = self.named_word("rows", "int", rows)
        length = self.named_word("block", "int", block)
        self.emit(f"stop = select({count} - u * {length} < {length}, {count}, u * {length} + {length})")
        self.emit(f"for b in range(u * {length}, stop, uint64({ADDED})):")
        self.indent += 1
        for line in added.values():
            self.each(f"{line}[j] = float32(0)", size)
        self.emit(f"last = select(stop - b < uint64({ADDED}), stop, b + uint64({ADDED}))")
        self.emit("for r in range(b, last):")
        self.indent += 1
        self.decode("r", kept)
        self.whole = {**mine, **added}
        self.row_stages(kept, loops, dict(scope), [w for w in view.writes if w[0] not in late], across)
        self.indent -= 1
        for v, line in added.items():
            self.each(f"{mine[v]}[j] = {mine[v]}[j] + float64({line}[j])", size)
        self.indent -= 2
        self.end_streams()
        self.finishing(across, late, totals, loops, blocks, size, scope)
        kernel = self.kernel(blocks, 1, True, "block")
        kernel.chunk_time *= block * width * self.cost() / CHUNK
        return kernel

    def waiting_for(self, across) -> set:
        """Reductions over all rows, and what is computed from them."""
        late = set(across)
        for v in self.view.nodes:
            if any(s in late for s in self.operand_values(v)):
                late.add(v)
        return late

    def lines_word(self, dtype: str, blocks: int, width: int) -> str:
        """Memory for a line of each block."""
        name = self.fresh("w")
        self.words.append(("scratch", self.scratch))
        self.head.append(f"    {name} = ptr_{SUFFIX[dtype]}(args, {len(self.words) - 1})")
        self.scratch += -(-blocks * width * 8 // 64) * 64
        return name

    def line_at(self, lines: str, place: str) -> str:
        name = self.fresh("line")
        self.emit(f"{name} = at({lines}, {place})")
        return name

    def each(self, statement: str, size: str) -> None:
        """A statement for every element j of a line."""
        self.emit(f"for j in range({size}):")
        self.emit("    independent()")
        self.emit(f"    {statement}")

    def open_across(self, across, loops) -> None:
        *outer, axis = loops
        place = ""
        for a in outer:
            place = f"({place} * {self.size(a)} + {self.index_of[a]})" if place else self.index_of[a]
        self.line_of = {v: self.line_at(self.whole[v], f"{place} * {self.size(axis)}") if outer else self.whole[v] for v in across}

    def finishing(self, across, late, totals, loops, blocks: int, size: str, scope: dict) -> None:
        """Add up the lines of all blocks in the first one's; then what waits for the sums."""
        self.emit("if lo == hi:")
        self.indent += 1
        number = self.named_word("blocks", "int", blocks)
        for v, line in totals.items():
            self.emit(f"for u in range(uint64(1), {number}):")
            self.indent += 1
            part = self.line_at(line, f"u * {size}")
            self.each(f"{line}[j] = {COMBINE[v.name]}({line}[j], {part}[j])", size)
            self.indent -= 1
        writes = [w for w in self.view.writes if w[0] in late]
        base = self.indent
        self.kept = {}
        pointers, axis = self.open_loops(loops, self.base_pointers(), "f")
        self.whole = totals
        self.open_across(across, loops)
        self.open_line(self.size(axis), axis)
        for v in across:
            scope[v] = cast(f"{self.line_of[v]}[j]", v.dtype.name)
        self.body(pointers, axis, "j", scope, [w[0] for w in writes], writes)
        self.indent = base - 1



"""Reductions whose innermost axis is kept. A unit is a tile of it; accumulators are arrays on the stack, and every loop body runs along the tile."""
from __future__ import annotations

from functools import partial

from .accumulators import COMBINE, PLACES, ReducingWriter, Turn
from .description import Kernel, product
from .executor import get_num_threads
from .expressions import SUFFIX, cast
from .writer import CHUNK

TILE = 1024             # elements of a column tile, at most: rows of it are long enough for the CPU to fetch ahead
NARROW = 64             # at least, where the matrix is wider
RESIDENT = 1 << 18      # bytes of a tile's columns that a second pass still finds in the cache
SHARES = 2              # units of a thread, at least
ADDED = 32              # rows added up in single precision before the sums go on in double


class ColumnWriter(ReducingWriter):
    def write(self, kept: list[int]) -> Kernel:
        view = self.view
        scope: dict = {}
        *outer, axis = kept
        width = view.sizes[axis]
        self.scalar_values(scope)
        level = set(view.reduced)
        stages = [v for v in view.nodes if v.kind == "reduce"]
        arrays: dict = {}
        for v in view.nodes:            # values of a column, kept for the whole unit
            if not any(a in level for a in view.axes_of[v] if a is not None) and v not in scope:
                dtype = v.dtype.name
                arrays[v] = self.stack_array(dtype)
        tile = self.tile_width(width, product(view.sizes[a] for a in outer))
        tiles = -(-width // tile)
        sums = {v: (self.stack_array(self.accumulator_dtype(v)) if self.accumulator_dtype(v) != v.dtype.name or v.name in PLACES
                    else arrays[v]) for v in stages}
        count = self.named_word("tiles", "int", tiles)
        self.emit("for u in range(uint64(lo), uint64(hi)):")
        self.indent += 1
        wide = self.named_word("wide", "int", tile)
        self.emit(f"start = (u % {count}) * {wide}")
        if outer:
            self.emit(f"block = u // {count}")
            self.decode("block", outer)
        size = self.size(axis)
        self.emit(f"m = select({size} - start < {wide}, {size} - start, {wide})")
        self.emit("begin = start")
        self.index_of[axis] = "begin"
        pointers = self.moved(self.base_pointers(), [*outer, axis], "p")
        loops = [a for a in view.order if a in view.reduced]
        inside = [w for w in view.writes if any(a in level for a in view.axes_of[w[0]] if a is not None)]
        on_column = [w for w in view.writes if all(w is not x for x in inside)]
        done: set = set()
        for d, turn in enumerate(self.turns(stages, inside, level)):
            self.column_values(arrays, done, d, level, pointers, axis, scope)
            if turn.reduces or turn.writes:
                self.column_loop(turn, loops, pointers, axis, scope, arrays, sums, done)
            self.kept.update(turn.held)
        if on_column:
            self.column_header(axis)
            for v, access in on_column:
                text = scope[v] if v in scope else self.from_array(v, arrays)
                self.store(access, pointers[self.tag_of(("out", access))], axis, "j", text)
            self.indent -= 1
        per_unit = product(view.sizes[a] for a in loops) * min(tile, max(1, width))
        return self.kernel(product(view.sizes[a] for a in outer) * tiles, CHUNK // max(1, per_unit), False, "column")

    def tile_width(self, width: int, others: int) -> int:
        """How many columns a unit takes: a wide tile, unless later passes over it should find it in the cache, or units are few.
        Columns don't depend on one another, so the bits of the results don't depend on it."""
        view = self.view
        rows = product(view.sizes[a] for a in view.reduced)
        level = set(view.reduced)
        late = [v for v in view.nodes if self.depth[v] and any(a in level for a in view.axes_of[v] if a is not None)]
        tile = TILE
        while tile > NARROW and ((late and rows * tile * 4 > RESIDENT) or others * -(-width // tile) < SHARES * get_num_threads()):
            tile //= 2
        return tile

    def stack_array(self, dtype: str) -> str:
        name = self.fresh("h")
        self.head.append(f"    {name} = stack_{SUFFIX[dtype]}({TILE})")
        return name

    def from_array(self, v, arrays) -> str:
        return f"as_bool({arrays[v]}[j])" if v.dtype.name == "bool" else f"{arrays[v]}[j]"

    def column_header(self, axis: int) -> None:
        self.open_line("m", axis, "(begin + j)")

    def column_scope(self, scope, arrays, done) -> dict:
        return {**scope, **{v: self.from_array(v, arrays) for v in done}}

    def column_values(self, arrays, done, depth, level, pointers, axis, scope) -> None:
        """Values of the column itself that wait for `depth` stages, into their arrays."""
        now = []
        for v in self.view.nodes:
            if v in arrays and v not in done and v.kind != "reduce" and self.depth[v] <= depth and all(
                    s in done or s in scope or s in now for s in self.operand_values(v)):
                now.append(v)
        if not now:
            return
        self.column_header(axis)
        inner = self.column_scope(scope, arrays, done)
        load = self.loader(pointers, axis, "j", {})
        for v in now:
            self.compute(v, inner, load)
            self.emit(f"{arrays[v]}[j] = {inner[v]}")
        self.indent -= 1
        done.update(now)

    def column_loop(self, turn: Turn, loops, pointers, axis, scope, arrays, sums, done) -> None:
        base = self.indent
        reduces = turn.reduces
        blocked = {v: self.stack_array("float32") for v in reduces if v.name == "sum" and v.dtype.name == "float32"}
        indices = {v: self.stack_array("int64") for v in reduces if v.name in PLACES}
        if reduces:
            self.column_header(axis)
            for v in reduces:
                self.emit(f"{sums[v]}[j] = {self.identity(v)}")
                if v in indices:
                    self.emit(f"{indices[v]}[j] = int64(-1)")
            self.indent -= 1
        for a in loops[:-1]:
            self.emit(f"for r{a} in range({self.size(a)}):")
            self.indent += 1
            self.index_of[a] = f"r{a}"
        a = loops[-1]
        step = self.rows_at_once()
        first, last = "uint64(0)", self.size(a)
        if blocked:
            self.emit(f"for z in range(uint64(0), {self.size(a)}, uint64({ADDED})):")
            self.indent += 1
            self.emit(f"end = select({self.size(a)} - z < uint64({ADDED}), {self.size(a)}, z + uint64({ADDED}))")
            self.column_header(axis)
            for array in blocked.values():
                self.emit(f"{array}[j] = float32(0)")
            self.indent -= 1
            first, last = "z", "end"
        rows = partial(self.column_rows, turn, loops, pointers, axis, self.column_scope(scope, arrays, done), sums, indices, blocked)
        if step > 1:
            self.emit(f"most = {last} - ({last} - {first}) % uint64({step})")
            self.emit(f"for r{a} in range({first}, most, uint64({step})):")
            rows(step)
            first = "most"
        self.emit(f"for r{a} in range({first}, {last}):")
        rows(1)
        if blocked:
            self.column_header(axis)
            for v, array in blocked.items():
                self.emit(f"{sums[v]}[j] = {sums[v]}[j] + float64({array}[j])")
        self.indent = base
        changed = [v for v in reduces if sums[v] != arrays[v]]
        if changed:
            self.column_header(axis)
            for v in changed:
                self.emit(f"{arrays[v]}[j] = {f'{indices[v]}[j]' if v in indices else cast(f'{sums[v]}[j]', v.dtype.name)}")
            self.indent -= 1
        done.update(reduces)

    def rows_at_once(self) -> int:
        """How many rows are read side by side: several streams keep memory busy where a row of the tile is short, but their code grows."""
        size = self.cost() * len(self.view.nodes)
        return 8 if size <= 8 else 4 if size <= 24 else 1

    def column_rows(self, turn: Turn, loops, pointers, axis, scope, sums, indices, blocked, count: int) -> None:
        """The body of the innermost loop over rows: `count` of them together along the tile."""
        a = loops[-1]
        reduces, writes = turn.reduces, turn.writes
        self.indent += 1
        rows = [f"r{a}" if i == 0 else f"(r{a} + uint64({i}))" for i in range(count)]
        moved = []
        for i, row in enumerate(rows):
            self.index_of[a] = row
            moved.append(self.moved(pointers, loops, f"q{i}_" if count > 1 else "q"))
        self.column_header(axis)
        inner, operands = [], []
        for row, mine in zip(rows, moved):
            self.index_of[a] = row
            inner.append(self.body(mine, axis, "j", scope, [*self.reduce_operands(reduces), *(w[0] for w in writes)], []))
            load = self.loader(mine, axis, "j", {})
            operands.append([self.operand(v, 0, inner[-1], load) for v in reduces])
        for k, v in enumerate(reduces):
            name = self.fresh("a")
            if v in indices:
                self.emit(f"{name} = {sums[v]}[j]")
                self.emit(f"{name}i = {indices[v]}[j]")
                for i, row in enumerate(rows):
                    self.index_of[a] = row
                    self.accumulate(v, name, operands[i][k])
                self.emit(f"{sums[v]}[j] = {name}")
                self.emit(f"{indices[v]}[j] = {name}i")
                continue
            array, dtype = (blocked[v], "float32") if v in blocked else (sums[v], self.accumulator_dtype(v))
            texts = [self.converted(v, row[k], dtype) for row in operands]
            while len(texts) > 1:
                texts = [f"{COMBINE[v.name]}({x}, {y})" for x, y in zip(texts[::2], texts[1::2])]
            self.emit(f"{array}[j] = {COMBINE[v.name]}({array}[j], {texts[0]})")
        for mine, values in zip(moved, inner):
            for v, access in [*writes, *turn.stored]:
                self.store(access, mine[self.tag_of(("out", access))], axis, "j", values[v])
        self.indent -= 2

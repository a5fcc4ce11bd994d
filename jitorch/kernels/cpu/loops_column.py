"""Reductions whose innermost axis is kept. A unit is a tile of it; accumulators are arrays on the stack, and every loop body runs along the tile."""
from __future__ import annotations

from .accumulators import ReducingWriter
from .description import Kernel, product
from .expressions import SUFFIX, cast
from .writer import CHUNK

TILE = 256              # elements of a column tile


class ColumnWriter(ReducingWriter):
    def write(self, kept: list[int]) -> Kernel:
        view = self.view
        scope: dict = {}
        *outer, axis = kept
        width = view.sizes[axis]
        tiles = -(-width // TILE)
        self.scalar_values(scope)
        level = set(view.reduced)
        stages = [v for v in view.nodes if v.kind == "reduce"]
        arrays: dict = {}
        for v in view.nodes:            # values of a column, kept for the whole unit
            if not any(a in level for a in view.axes_of[v] if a is not None) and v not in scope:
                dtype = v.dtype.name
                arrays[v] = self.stack_array(dtype)
        sums = {v: (self.stack_array(self.accumulator_dtype(v)) if self.accumulator_dtype(v) != v.dtype.name or v.name in ("argmax", "argmin")
                    else arrays[v]) for v in stages}
        count = self.named_word("tiles", "int", tiles)
        self.emit("for u in range(uint64(lo), uint64(hi)):")
        self.indent += 1
        self.emit(f"start = (u % {count}) * uint64({TILE})")
        if outer:
            self.emit(f"block = u // {count}")
            self.decode("block", outer)
        size = self.size(axis)
        self.emit(f"m = select({size} - start < uint64({TILE}), {size} - start, uint64({TILE}))")
        self.emit("begin = start")
        self.index_of[axis] = "begin"
        pointers = self.moved(self.base_pointers(), [*outer, axis], "p")
        loops = [a for a in view.order if a in view.reduced]
        inside = [w for w in view.writes if any(a in level for a in view.axes_of[w[0]] if a is not None)]
        on_column = [w for w in view.writes if all(w is not x for x in inside)]
        last = max((self.depth[v] for v in stages), default=-1)
        done: set = set()
        for d in range(last + 1):
            self.column_values(arrays, done, d, level, pointers, axis, scope)
            now = [v for v in stages if self.depth[v] == d]
            early = [w for w in inside if self.depth[w[0]] == d]
            inside = [w for w in inside if all(w is not e for e in early)]
            self.column_loop(now, early, loops, pointers, axis, scope, arrays, sums, done)
        self.column_values(arrays, done, last + 1, level, pointers, axis, scope)
        if inside:
            self.column_loop([], inside, loops, pointers, axis, scope, arrays, sums, done)
        if on_column:
            self.column_header(axis)
            for v, access in on_column:
                text = scope[v] if v in scope else self.from_array(v, arrays)
                self.store(access, pointers[self.tag_of(("out", access))], axis, "j", text)
            self.indent -= 1
        per_unit = product(view.sizes[a] for a in loops) * min(TILE, max(1, width))
        return self.kernel(product(view.sizes[a] for a in outer) * tiles, CHUNK // max(1, per_unit), False, "column")

    def stack_array(self, dtype: str) -> str:
        name = self.fresh("h")
        self.head.append(f"    {name} = stack_{SUFFIX[dtype]}({TILE})")
        return name

    def from_array(self, v, arrays) -> str:
        return f"as_bool({arrays[v]}[j])" if v.dtype.name == "bool" else f"{arrays[v]}[j]"

    def column_header(self, axis: int) -> None:
        self.emit("for j in range(m):")
        self.indent += 1
        self.marker()
        self.index_of[axis] = "(begin + j)"

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

    def column_loop(self, reduces, writes, loops, pointers, axis, scope, arrays, sums, done) -> None:
        base = self.indent
        indices = {v: self.stack_array("int64") for v in reduces if v.name in ("argmax", "argmin")}
        if reduces:
            self.column_header(axis)
            for v in reduces:
                self.emit(f"{sums[v]}[j] = {self.identity(v)}")
                if v in indices:
                    self.emit(f"{indices[v]}[j] = int64(-1)")
            self.indent -= 1
        for a in loops:
            self.emit(f"for r{a} in range({self.size(a)}):")
            self.indent += 1
            self.index_of[a] = f"r{a}"
        moved = self.moved(pointers, loops, "q")
        self.column_header(axis)
        inner = self.body(moved, axis, "j", self.column_scope(scope, arrays, done), [*self.reduce_operands(reduces), *(w[0] for w in writes)], [])
        load = self.loader(moved, axis, "j", {})
        for v in reduces:
            text = self.operand(v, 0, inner, load)
            name = self.fresh("a")
            self.emit(f"{name} = {sums[v]}[j]")
            if v in indices:
                self.emit(f"{name}i = {indices[v]}[j]")
            self.accumulate(v, name, text)
            self.emit(f"{sums[v]}[j] = {name}")
            if v in indices:
                self.emit(f"{indices[v]}[j] = {name}i")
        for v, access in writes:
            self.store(access, moved[self.tag_of(("out", access))], axis, "j", inner[v])
        self.indent = base
        changed = [v for v in reduces if sums[v] != arrays[v]]
        if changed:
            self.column_header(axis)
            for v in changed:
                self.emit(f"{arrays[v]}[j] = {f'{indices[v]}[j]' if v in indices else cast(f'{sums[v]}[j]', v.dtype.name)}")
            self.indent -= 1
        done.update(reduces)

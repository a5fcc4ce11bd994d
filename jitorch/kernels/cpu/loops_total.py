"""Reductions over everything. A unit is a chunk, chosen from the shape alone, that writes a partial result; the finishing call (lo == hi) combines them
in order, so the same bits come out with any number of threads. With a second level of reductions a unit is a few whole rows."""
from __future__ import annotations

from .accumulators import COMBINE, PLACES
from .description import Kernel, product
from .expressions import SUFFIX
from .loops_row import RowWriter
from .writer import CHUNK


class TotalWriter(RowWriter):
    def write(self) -> Kernel:
        view = self.view
        scope: dict = {}
        base = self.base_pointers()
        first = set(view.reduced)
        totals = [v for v in view.nodes if v.kind == "reduce" and not any(a is not None for a in view.axes_of[v])
                  and any(a in first for a in view.reduce_axes[v] if a is not None)]
        axes = [a for a in view.order if a in view.reduced]
        self.scalar_values(scope)
        partial = {v: self.partial_words(v) for v in totals}
        chunk = self.named_word("chunk", "int", 0)
        chunk_word = len(self.words) - 1
        late = [w for w in view.writes if not any(a is not None for a in view.axes_of[w[0]])]
        inside = [w for w in view.writes if all(w is not x for x in late)]
        rows = len(axes) > 1 or bool(view.inner)
        self.emit("for c in range(uint64(lo), uint64(hi)):")
        self.indent += 1
        accumulators = {v: self.start_accumulator(v) for v in totals}
        if view.inner:
            outer, extent = axes, product(view.sizes[a] for a in axes)
            row = product(view.sizes[a] for a in view.inner)
        elif rows:
            outer, extent = axes[:-1], product(view.sizes[a] for a in axes[:-1])
            row = view.sizes[axes[-1]]
        else:
            outer, extent, row = [], view.sizes[axes[0]], 1
        length = max(1, CHUNK // max(1, row))
        limit = self.named_word("extent", "int", extent)
        self.words[chunk_word] = ("int", length)
        self.emit(f"begin = c * {chunk}")
        self.emit(f"stop = select({limit} - begin < {chunk}, {limit}, begin + {chunk})")
        if rows:
            self.emit("for u in range(begin, stop):")
            self.indent += 1
            self.decode("u", outer)
            if view.inner:
                self.total_rows(outer, scope, totals, accumulators, inside)
            else:
                self.total_loop(self.moved(base, outer, "p"), axes[-1], "uint64(0)", self.size(axes[-1]), scope, totals, accumulators, inside)
            self.indent -= 1
        else:
            self.total_loop(base, axes[0], "begin", "stop", scope, totals, accumulators, inside)
        for v in totals:
            self.emit(f"{partial[v][0]}[c] = {accumulators[v]}")
            if v.name in PLACES:
                self.emit(f"{partial[v][1]}[c] = {accumulators[v]}i")
        self.indent -= 1
        units = -(-extent // length)
        self.end_streams()
        self.finishing(units, totals, partial, late, scope)
        self.allot(partial, units)
        return self.kernel(units, 1, True, "total")

    def partial_words(self, v) -> tuple:
        """Places for the partial results of a total, one a unit."""
        dtype = self.accumulator_dtype(v)
        names = []
        for suffix, kind in (("", dtype), *((("i", "int64"),) if v.name in PLACES else ())):
            name = self.fresh("w") + suffix
            self.words.append(("scratch", v, suffix, kind))
            self.head.append(f"    {name} = ptr_{SUFFIX[kind]}(args, {len(self.words) - 1})")
            names.append(name)
        return tuple(names)

    def allot(self, partial, units: int) -> None:
        """Turn the places for partial results into offsets in the kernel's scratch memory."""
        at = 0
        for i, w in enumerate(self.words):
            if w[0] == "scratch":
                self.words[i] = ("scratch", at)
                at += -(-units * 8 // 64) * 64
        self.scratch = at

    def total_loop(self, pointers, axis, begin, stop, scope, totals, accumulators, writes) -> None:
        for v in [v for v in totals if v.name in PLACES]:
            self.place_loop(v, accumulators[v], pointers, axis, begin, stop, scope)
        totals = [v for v in totals if v.name not in PLACES]
        if totals or writes:
            self.reducing_line(totals, writes, pointers, axis, begin, stop, scope, accumulators)

    def total_rows(self, outer, scope, totals, accumulators, writes) -> None:
        """One row of a two-level kernel: its own reductions, then its share of the totals."""
        row_scope = dict(scope)
        loops = [a for a in self.view.order if a in self.view.inner]
        self.row_stages(outer, loops, row_scope, writes)
        load = self.loader(self.moved(self.base_pointers(), outer, "y"), None, "0", {})
        for v in self.needed_for(self.reduce_operands(totals), row_scope):
            self.compute(v, row_scope, load)
        for v in totals:
            self.accumulate(v, accumulators[v], self.operand(v, 0, row_scope, load))

    def finishing(self, units: int, totals, partial, late, scope) -> None:
        self.emit("if lo == hi:")
        self.indent += 1
        number = self.named_word("parts", "int", units)
        for v in totals:
            name = self.start_accumulator(v)
            self.emit(f"for c in range({number}):")
            self.indent += 1
            self.combine_partial(v, name, partial[v])
            self.indent -= 1
            scope[v] = self.end_accumulator(v, name)
        load = self.loader(self.base_pointers(), None, "0", {})
        for v in self.needed_for([w[0] for w in late], scope):
            self.compute(v, scope, load)
        for v, access in late:
            self.store(access, self.tag_of(("out", access)), None, "0", scope[v])
        self.emit("pass")
        self.indent -= 1

    def combine_partial(self, v, name: str, places: tuple) -> None:
        if v.name in PLACES:
            value, index, better = self.fresh("v"), self.fresh("k"), self.fresh("b")
            self.emit(f"{value} = {places[0]}[c]")
            self.emit(f"{index} = {places[1]}[c]")
            sign = ">" if v.name == "argmax" else "<"
            nan = f" & ({name} == {name})" if self.accumulator_dtype(v) in ("float32", "float64") else ""
            worse = f"(({value} {sign} {name}) | ({value} != {value}))" if nan else f"({value} {sign} {name})"
            self.emit(f"{better} = ({index} >= 0) & (({name}i < 0) | ({worse}{nan}))")
            self.emit(f"{name} = select({better}, {value}, {name})")
            self.emit(f"{name}i = select({better}, {index}, {name}i)")
            return
        self.emit(f"{name} = {COMBINE[v.name]}({name}, {places[0]}[c])")

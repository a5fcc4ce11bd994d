"""Reductions over the innermost axes. A unit is one index of the kept axes; the reduced axes are loops inside it, one loop nest for each stage of
reductions that wait for one another, then one for what is written."""
from __future__ import annotations

from ...dtypes import ITEMSIZE
from .accumulators import PLACES, ReducingWriter, Turn
from .description import Kernel, product
from .writer import CHUNK, HEAVY, SHORTEST

LONGEST = 8192          # elements of a row that is written past the caches
STREAMS = 2                         # results of such a kernel, each of which has a row on the stack


class RowWriter(ReducingWriter):
    def write(self, kept: list[int]) -> Kernel:
        view = self.view
        scope: dict = {}
        self.scalar_values(scope)
        self.open_units(kept)
        reduced = [a for a in view.order if a in view.reduced]
        self.row_stages(kept, reduced, scope, view.writes)
        self.close_units(kept)
        self.end_streams()
        row = product(view.sizes[a] for a in reduced)
        return self.kernel(product(view.sizes[a] for a in kept), CHUNK // max(1, row * self.cost()), False, "row")

    def row_stages(self, kept, loops, scope, writes, across=()) -> None:
        """The stages of one row, then what is written: used by the row shape, by rows within a total and by blocks of rows, which add up `across` rows."""
        view = self.view
        pointers = self.moved(self.base_pointers(), kept, "p")
        level = set(loops)
        stages = [v for v in view.nodes if v.kind == "reduce" and self.is_stage(v, level)]
        inside = [w for w in writes if any(a in level for a in view.axes_of[w[0]] if a is not None)]
        inside_ids = {id(w[1]) for w in inside}
        turns = self.turns(stages, inside, level, across)
        memory = pointers
        tiles = self.rows_past_caches(inside, loops)
        pointers = self.nearer(pointers, tiles)
        row_load = self.loader(pointers, None, "0", {})
        for d, turn in enumerate(turns):
            self.row_values(scope, row_load, d, level)
            if turn.reduces or turn.across:
                self.reduce_loop(turn, loops, pointers, scope)
            elif turn.writes:
                self.write_loop(turn.writes, loops, pointers, scope)
            self.kept.update(turn.held)
        self.stream_out(memory, tiles, self.size(loops[-1]))
        for v, access in writes:
            if id(access) not in inside_ids and v in scope:
                self.store(access, pointers[self.tag_of(("out", access))], None, "0", scope[v])

    # -- results written past the caches: a row lies on the stack until it is whole ------------------------------------------
    def rows_past_caches(self, inside, loops) -> dict[str, str]:
        """For each result that runs along the rows (by its tag) the place on the stack, where a word says whether to use it.
        Nothing where costly functions are computed: their rows are written while the next one is being computed, and a copy would be waited for."""
        view, axis = self.view, loops[-1]
        accesses = {self.tag_of(("out", x)): x for _, x in inside}
        if len(loops) > 1 or any(v.name in HEAVY for v in view.nodes):
            return {}
        if not 0 < len(accesses) <= STREAMS or any(x.strides.get(axis) != 1 for x in accesses.values()):
            return {}
        whole = [x for x in [*view.reads.values(), *accesses.values()] if len(x.strides) == len(view.order)]
        size = product(view.sizes[a] for a in view.order) * sum(ITEMSIZE[x.dtype] for x in whole)
        self.past_word(size if SHORTEST <= view.sizes[axis] <= LONGEST else 0)
        return self.result_tiles(accesses.values(), LONGEST)

    def row_values(self, scope, load, depth, level) -> None:
        """Values of the row itself (not of its elements) that wait for `depth` stages."""
        for v in self.view.nodes:
            if v in scope or v.kind == "reduce" or self.depth[v] > depth:
                continue
            if any(a in level for a in self.view.axes_of[v] if a is not None):
                continue
            if all(s in scope for s in self.operand_values(v)):
                self.compute(v, scope, load)

    def open_loops(self, loops, pointers, prefix: str) -> tuple[dict, int]:
        """Loops over `loops` (outermost first), pointers moved along all but the innermost. Returns pointers and the innermost axis."""
        *outer, axis = loops
        for a in outer:
            name = f"r{a}"
            self.emit(f"for {name} in range({self.size(a)}):")
            self.indent += 1
            self.index_of[a] = name
        if outer:
            pointers = self.moved(pointers, outer, prefix)
        return pointers, axis

    def reduce_loop(self, turn: Turn, loops, pointers, scope) -> None:
        base = self.indent
        reduces, writes = turn.reduces, turn.writes
        accumulators = {v: self.start_accumulator(v) for v in reduces}
        for v in [v for v in reduces if v.name in PLACES]:
            self.place_loop(v, accumulators[v], pointers, loops[-1], "uint64(0)", self.size(loops[-1]), scope)
            scope[v] = self.end_accumulator(v, accumulators[v])
        reduces = [v for v in reduces if v.name not in PLACES]
        if not reduces and not writes and not turn.stored and not turn.across:
            return
        pointers, axis = self.open_loops(loops, pointers, "q")
        self.open_across(turn.across, loops)
        self.reducing_line(reduces, [*writes, *turn.stored], pointers, axis, "uint64(0)", self.size(axis), scope, accumulators, turn.across)
        self.indent = base
        for v in reduces:
            scope[v] = self.end_accumulator(v, accumulators[v])

    def open_across(self, across, loops) -> None:
        """Where reductions over all rows add up the line that the outer loops are at."""
        assert not across

    def write_loop(self, writes, loops, pointers, scope) -> None:
        base = self.indent
        pointers, axis = self.open_loops(loops, pointers, "w")
        self.open_line(self.size(axis), axis)
        self.body(pointers, axis, "j", scope, [w[0] for w in writes], writes)
        self.indent = base

"""Elementwise kernels. A unit is an element (one axis), a row, or, where an operand lies across the others, a band of rows that is worked on in tiles."""
from __future__ import annotations

from ...dtypes import ITEMSIZE
from .description import Kernel, product
from .expressions import SUFFIX
from .writer import CHUNK, SHORTEST, Writer

TURNED = 8                  # sizes of two axes from which turning a tile pays
LIGHT = 2                   # as `cost` has it: some seven simple operations an element
PIECE, STREAMS = 1024, 4    # elements of results that lie in the nearest cache before they are written past the others; results of such a kernel
WHOLE = 1024                # elements that chunks are multiples of: each begins where a cache line does, and no vector is left half full
BAND, LENGTH = 64, 64       # rows and columns of a tile: both sides of a turned one run through whole cache lines


class MapWriter(Writer):
    def write(self) -> Kernel:
        view = self.view
        if len(view.order) <= 1:
            return self.flat()
        across = self.turned_axis()
        return self.rows() if across is None else self.bands(across)

    def flat(self) -> Kernel:
        axis = self.view.order[0] if self.view.order else None
        pointers = self.base_pointers()
        scope: dict = {}
        self.scalar_values(scope)
        if axis is not None and self.may_stream(axis):
            self.streamed(pointers, axis, scope, "uint64(lo)", "uint64(hi)")
            self.end_streams()
        else:
            self.open_line("uint64(lo), uint64(hi)", axis)
            self.body(pointers, axis, "j", scope, [v for v, _ in self.view.writes], self.view.writes)
        chunk = -(-CHUNK // self.cost() // WHOLE) * WHOLE
        return self.kernel(self.view.sizes[axis] if axis is not None else 1, chunk, False, "map")

    def may_stream(self, axis: int) -> bool:
        """Whether memory alone sets the pace: what computes for long writes while it computes, and would wait for a copy."""
        writes = [x for _, x in self.view.writes]
        return all(x.strides.get(axis, 0) == 1 for x in writes) and len(writes) <= STREAMS and self.cost() <= LIGHT

    def apart(self, outer: int, axis: int) -> bool:
        """Whether a result's lines are long and have others between them (parts of a concatenation). Where none are between them, stores don't wait."""
        n = self.view.sizes[axis]
        return n >= SHORTEST and any(abs(x.strides.get(outer, n)) > n for _, x in self.view.writes)

    def piecewise(self, size: int) -> tuple[str, dict[str, str]]:
        """Whether results are written past the caches, and for each a place on the stack for pieces of `size` elements."""
        writes = [x for _, x in self.view.writes]
        touched = sum(ITEMSIZE[x.dtype] * product(self.view.sizes[a] for a in x.strides if a >= 0) for x in [*self.view.reads.values(), *writes])
        return self.past_word(touched), self.result_tiles(writes, size)

    def streamed(self, pointers, axis: int, scope: dict, first: str, last: str) -> None:
        """A line in pieces that go through a tile in the nearest cache and from there past the others, where a word says so; else in one piece."""
        past, tiles = self.piecewise(PIECE)
        self.emit(f"piece = select({past} != uint64(0), uint64({PIECE}), {last} - {first} + uint64(1))")
        self.emit(f"for z in range({first}, {last}, piece):")
        self.indent += 1
        self.emit(f"end = select({last} - z < piece, {last}, z + piece)")
        lines = self.nearer(pointers, tiles, "-int64(z)")
        self.open_line("z, end", axis)
        self.body(lines, axis, "j", scope, [v for v, _ in self.view.writes], self.view.writes)
        self.indent -= 1
        self.stream_out(pointers, tiles, "end - z", "z")
        self.indent -= 1

    def rows(self) -> Kernel:
        view = self.view
        *outer, axis = view.order
        base = self.base_pointers()
        scope: dict = {}
        self.scalar_values(scope)
        self.open_units(outer)
        pointers = self.moved(base, outer, "p")
        if self.apart(outer[-1], axis) and self.may_stream(axis):
            self.streamed(pointers, axis, scope, "uint64(0)", self.size(axis))
        else:
            self.line(pointers, axis, self.size(axis), "j", scope)
        self.close_units(outer)
        self.end_streams()
        return self.kernel(product(view.sizes[a] for a in outer), CHUNK // max(1, view.sizes[axis] * self.cost()), False, "map")

    def line(self, pointers, axis: int, size: str, index: str, scope: dict) -> None:
        """The loop along the innermost axis; `index` says where it is, in terms of j."""
        self.open_line(size, axis, index)
        self.body(pointers, axis, "j", scope, [v for v, _ in self.view.writes], self.view.writes)
        self.indent -= 1

    # -- operands that lie across --------------------------------------------------------------------------------------
    def turned_axis(self) -> int | None:
        """The axis that some operands run along with a unit stride, while the results run along the innermost one."""
        view = self.view
        *outer, axis = view.order
        if view.sizes[axis] < TURNED or any(v.kind == "take" for v in view.nodes):
            return None
        for access in view.reads.values():
            if access.strides.get(axis, 0) not in (0, 1):
                for a in outer:
                    if access.strides.get(a, 0) == 1 and view.sizes[a] >= TURNED:
                        return a
        return None

    def bands(self, across: int) -> Kernel:
        """Units of BAND rows along `across`. Of each operand that lies that way, a tile is turned on the stack; then rows of the tile are ordinary lines.
        A result that lies that way is turned back from a tile."""
        view = self.view
        *outer, axis = view.order
        others = [a for a in outer if a != across]
        base = self.base_pointers()
        accesses = self.all_accesses()
        turned = [t for t, x in accesses.items() if x.strides.get(across, 0) == 1 and x.strides.get(axis, 0) not in (0, 1)]
        tiles = {t: self.fresh("tile") for t in turned}
        for t, name in tiles.items():
            self.head.append(f"    {name} = stack_{SUFFIX[accesses[t].dtype]}({BAND * LENGTH})")
        scope: dict = {}
        self.scalar_values(scope)
        bands = self.named_word("bands", "int", -(-view.sizes[across] // BAND))
        self.emit("for u in range(uint64(lo), uint64(hi)):")
        self.indent += 1
        self.emit(f"first = (u % {bands}) * uint64({BAND})")
        self.emit(f"rows = select({self.size(across)} - first < uint64({BAND}), {self.size(across)} - first, uint64({BAND}))")
        if others:
            self.emit(f"block = u // {bands}")
            self.decode("block", others)
        pointers = self.moved(base, others, "p")
        self.emit(f"for begin in range(uint64(0), {self.size(axis)}, uint64({LENGTH})):")
        self.indent += 1
        self.emit(f"length = select({self.size(axis)} - begin < uint64({LENGTH}), {self.size(axis)} - begin, uint64({LENGTH}))")
        self.index_of[axis], self.index_of[across] = "begin", "first"
        steps = {t: self.stride(t, axis, accesses[t].strides[axis]) for t in turned}
        corners = {t: self.advance(pointers[t], t, accesses[t], [across, axis], "c") for t in turned}
        results = {self.tag_of(("out", x)) for _, x in view.writes}
        for t in turned:
            if t not in results:
                self.emit(f"transpose({tiles[t]}, int64({LENGTH}), {corners[t]}, {steps[t]}, rows, length)")
        self.emit("for r in range(rows):")
        self.indent += 1
        self.index_of[across] = "(first + r)"
        lines = self.moved({t: p for t, p in pointers.items() if t not in tiles}, [across, axis], "q")
        self.turned = set(turned)
        lines.update({t: f"at({name}, r * uint64({LENGTH}))" for t, name in tiles.items()})
        if self.may_stream(axis) and set(accesses) == results ^ set(turned):     # an operand that lies as the results do sets the pace, then
            _, nearest = self.piecewise(LENGTH)
            self.line(self.nearer(lines, nearest), axis, "length", "(begin + j)", scope)
            self.stream_out(lines, nearest, "length")
        else:
            self.line(lines, axis, "length", "(begin + j)", scope)
        self.indent -= 1
        for t in turned:
            if t in results:
                self.emit(f"transpose({corners[t]}, {steps[t]}, {tiles[t]}, int64({LENGTH}), length, rows)")
        self.indent -= 2
        self.end_streams()
        units = product(view.sizes[a] for a in others) * -(-view.sizes[across] // BAND)
        return self.kernel(units, CHUNK // max(1, BAND * view.sizes[axis] * self.cost()), False, "map")

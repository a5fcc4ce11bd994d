"""How reductions accumulate: their dtypes, first values and steps."""
from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from .description import Access
from .expressions import FLOATS, SUFFIX, cast, literal
from .writer import HEAVY, Writer

SUM_BLOCK = 1024        # elements added up in single precision before the sum goes on in double
PLACE_BLOCK = 1024      # elements of which the extreme is found first, then its place if it is a new one
PLACES = ("argmax", "argmin")
IDENTITY = {"sum": 0, "prod": 1, "any": 0, "all": 1}
COMBINE = {"sum": "radd", "prod": "rmul", "max": "rmax", "min": "rmin", "any": "rmax", "all": "rmin"}


@dataclass
class Turn:
    """One run through the elements of a row or tile: what it reduces and writes."""

    reduces: list
    writes: list[tuple[Any, Access]]
    stored: list[tuple[Any, Access]] = field(default_factory=list)      # costly values that a later turn needs, put where that or a later one writes
    held: dict[Any, Access] = field(default_factory=dict)               # values that can be read from memory after this turn
    across: list = field(default_factory=list)                          # reductions over all rows, of which each row adds its part


class ReducingWriter(Writer):
    line_of: dict[Any, str]     # reductions over all rows -> where the results of the elements of this line are added up

    def turns(self, stages, inside, level: set, across=()) -> list[Turn]:
        """Runs through the elements, one for each stage of reductions and one for the writes that wait for them all; what is computed once is kept."""
        last = max((self.depth[v] for v in stages), default=-1)
        turns = [Turn([v for v in stages if self.depth[v] == d], [w for w in inside if self.depth[w[0]] == d]) for d in range(last + 1)]
        turns.append(Turn([], [w for w in inside if self.depth[w[0]] > last]))
        for v in across:
            turns[min(self.depth[v], last + 1)].across.append(v)
        known = {v for v in self.view.nodes if not any(a in level for a in self.view.axes_of[v] if a is not None)}
        needed = []
        for turn in turns:
            needed.append(self.needed_for([*self.reduce_operands([*turn.reduces, *turn.across]), *(w[0] for w in turn.writes)], known))
            for v, access in turn.writes:
                turn.held[v] = access
                known.add(v)
        taken: list[Access] = []
        for d, turn in enumerate(turns):
            for v in reversed(needed[d]):
                if v.name not in HEAVY or v in turn.held or any(v in needed[e] for e in range(d)):
                    continue
                use = max(e for e in range(len(turns)) if v in needed[e])
                for w, access in [w for later in turns[use:] for w in later.writes] if use > d else ():
                    if (w.dtype is v.dtype and not w.attrs and w.dtype.name != "bool" and self.view.axes_of[w] == self.view.axes_of[v]
                            and all(access is not x for x in taken)):
                        turn.stored.append((v, access))
                        turn.held[v] = access
                        taken.append(access)
                        break
        return turns

    def reduce_operands(self, reduces) -> list:
        return [s for v in reduces for s in self.operand_values(v)]
    def operand_dtype(self, v) -> str:
        source = self.view.inline.get((v, 0))
        return (source if source is not None else v.args[0]).dtype.name

    def accumulator_dtype(self, v) -> str:
        if v.name == "sum" and v.dtype.name == "float32":
            return "float64"
        if v.name in PLACES:
            return "uint8" if self.operand_dtype(v) == "bool" else self.operand_dtype(v)
        if v.name in ("any", "all") or self.operand_dtype(v) == "bool":
            return "uint8" if v.dtype.name == "bool" else v.dtype.name
        return v.dtype.name

    def line_dtype(self, v) -> str:
        """What a reduction over all rows adds up a block of rows in."""
        return "float32" if v.name == "sum" and v.dtype.name == "float32" else self.accumulator_dtype(v)

    def identity(self, v) -> str:
        dtype = self.accumulator_dtype(v)
        if v.name in IDENTITY:
            return literal(IDENTITY[v.name], dtype)
        low = v.name in ("max", "argmax")
        if dtype in ("float32", "float64"):
            return f"{dtype}({'-' if low else ''}np.inf)"
        bounds = {"uint8": (0, 255), "bool": (0, 1)}.get(dtype) or (-(2 ** (8 * int(dtype[3:]) // 8 - 1)), 2 ** (int(dtype[3:]) - 1) - 1)
        if dtype not in ("uint8", "bool"):
            bits = int(dtype[3:])
            bounds = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
        return literal(bounds[0] if low else bounds[1], dtype)

    def start_accumulator(self, v) -> str:
        name = self.fresh("a")
        self.emit(f"{name} = {self.identity(v)}")
        if v.name in PLACES:
            self.emit(f"{name}i = int64(-1)")
        return name

    def reducing_line(self, reduces, stores, pointers, axis: int, first: str, last: str, scope, accumulators, across=()) -> None:
        """The loop along one axis, from `first` to `last`: what it accumulates and what it stores. Sums go on in double after each block.

        across: reductions over all rows, which add up each element of the line by itself."""
        base = self.indent
        blocked = [v for v in reduces if v.name == "sum" and v.dtype.name == "float32"]
        if blocked:
            self.emit(f"for z in range({first}, {last}, uint64({SUM_BLOCK})):")
            self.indent += 1
            self.emit(f"end = select({last} - z < uint64({SUM_BLOCK}), {last}, z + uint64({SUM_BLOCK}))")
            for v in blocked:
                self.emit(f"{accumulators[v]}f = float32(0)")
        self.open_line("z, end" if blocked else f"{first}, {last}", axis)
        inner = self.body(pointers, axis, "j", scope, [*self.reduce_operands([*reduces, *across]), *(w[0] for w in stores)], [])
        load = self.loader(pointers, axis, "j", {})
        for v in reduces:
            self.accumulate(v, accumulators[v], self.operand(v, 0, inner, load), v in blocked)
        for v, text in [(v, self.operand(v, 0, inner, load)) for v in across]:
            self.emit(f"{self.line_of[v]}[j] = {COMBINE[v.name]}({self.line_of[v]}[j], {self.converted(v, text, self.line_dtype(v))})")
        for v, access in stores:
            self.store(access, pointers[self.tag_of(("out", access))], axis, "j", inner[v])
        if blocked:
            self.indent = base + 1
            for v in blocked:
                self.emit(f"{accumulators[v]} = {accumulators[v]} + float64({accumulators[v]}f)")
        self.indent = base

    def place_loop(self, v, name: str, pointers, axis: int, first: str, last: str, scope) -> None:
        """argmax or argmin along one axis: the extreme of a block, which vectorises, then, if it is a new one, its first place in the block."""
        dtype = self.accumulator_dtype(v)
        real = dtype in FLOATS
        extreme, place, better = self.fresh("m"), self.fresh("k"), self.fresh("b")

        def value() -> str:
            self.open_line("z, end", axis)
            inner = self.body(pointers, axis, "j", scope, self.operand_values(v), [])
            text = self.fresh("v")
            self.emit(f"{text} = {self.converted(v, self.operand(v, 0, inner, self.loader(pointers, axis, 'j', {})), dtype)}")
            return text
        self.emit(f"for z in range({first}, {last}, uint64({PLACE_BLOCK})):")
        self.indent += 1
        self.emit(f"end = select({last} - z < uint64({PLACE_BLOCK}), {last}, z + uint64({PLACE_BLOCK}))")
        self.emit(f"{extreme} = {self.identity(v)}")
        text = value()
        self.emit(f"{extreme} = {'rmax' if v.name == 'argmax' else 'rmin'}({extreme}, {text})")
        self.indent -= 1
        self.emit(f"{better} = {self.is_better(v, extreme, name)}")
        self.emit(f"if {better}:")
        self.indent += 1
        self.emit(f"{place} = int32({PLACE_BLOCK})")
        text = value()
        here = f"({text} == {extreme}) | ({text} != {text})" if real else f"{text} == {extreme}"
        self.emit(f"{place} = rmin({place}, select({here}, as_i32(j - z), int32({PLACE_BLOCK})))")
        self.indent -= 1
        self.emit(f"{name} = {extreme}")
        self.emit(f"{name}i = int64(z) + int64({place})")
        self.indent -= 2

    def is_better(self, v, value: str, name: str) -> str:
        """Whether a value comes before the extreme so far: the first NaN wins, then the first extreme."""
        sign = ">" if v.name == "argmax" else "<"
        if self.accumulator_dtype(v) in FLOATS:
            return f"({name}i < 0) | (({name} == {name}) & (({value} {sign} {name}) | ({value} != {value})))"
        return f"({name}i < 0) | ({value} {sign} {name})"

    def accumulate(self, v, name: str, text: str, blocked: bool = False) -> None:
        dtype = self.accumulator_dtype(v)
        if v.name in PLACES:
            axis = next(a for a in self.view.reduce_axes[v] if a is not None)
            value, better = self.fresh("v"), self.fresh("b")
            self.emit(f"{value} = {self.converted(v, text, dtype)}")
            self.emit(f"{better} = {self.is_better(v, value, name)}")
            self.emit(f"{name} = select({better}, {value}, {name})")
            self.emit(f"{name}i = select({better}, int64({self.index_of[axis]}), {name}i)")
            return
        target = "float32" if blocked else dtype
        name = f"{name}f" if blocked else name
        self.emit(f"{name} = {COMBINE[v.name]}({name}, {self.converted(v, text, target)})")

    def converted(self, v, text: str, dtype: str) -> str:
        """An operand as what the accumulator holds."""
        source = self.operand_dtype(v)
        if source == dtype:
            return text
        return f"as_{SUFFIX[dtype]}(as_u8({text}))" if source == "bool" else cast(text, dtype)

    def end_accumulator(self, v, name: str) -> str:
        if v.name in PLACES:
            return f"{name}i"
        dtype = self.accumulator_dtype(v)
        if dtype == v.dtype.name:
            return name
        done = self.fresh("t")
        self.emit(f"{done} = {cast(name, v.dtype.name)}")
        return done

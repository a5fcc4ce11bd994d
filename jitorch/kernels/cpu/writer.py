"""What every loop shape writes with: words of the argument table, names, and the bodies of elementwise loops."""
from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping
from typing import Any

from .description import Access, GroupView, Kernel, iota_axes
from .expressions import FLOATS, HALVES, SUFFIX, cast, expression, literal

INFINITE = (float("inf"), float("-inf"))
CHUNK = 16384           # elements of a task, roughly
SHORTEST = 256          # elements of a line that is written past the caches: of short ones, many cache lines are begun by one and ended by the next
SHORT_STRIDES = range(2, 5)     # along the innermost axis, these are part of the source, too: LLVM can load vectors and sort their elements
BACKWARD = -1                   # so is this one
HEAVY = frozenset(("exp", "log", "tanh", "sigmoid", "erf", "sin", "cos", "pow", "philox", "log1p", "expm1"))


class Writer:
    """Collects lines of source and words of the argument table."""

    def __init__(self, view: GroupView):
        self.view = view
        self.words: list[tuple] = []
        self.head: list[str] = []
        self.lines: list[str] = []
        self.names: dict[Any, str] = {}         # value -> text, in the scope being written
        self.pointers: dict[tuple, str] = {}
        self.number = 0
        self.level = 1
        self.index_of: dict[int, str] = {}      # axis -> name of its index (uint64), for iota
        self.scratch = 0
        self.kept: dict[Any, Access] = {}       # costly values of an earlier loop -> where they lie until the last loop writes over them
        self.opened: tuple[int, int, int | None] | None = None    # the innermost loop that was opened last: number of its line, indent, axis
        self.hoisting = False                   # what is emitted goes in front of that loop
        self.marked = False                     # its body begins with a marker
        self.turned: set[str] = set()           # accesses that are read from a tile on the stack, where the innermost axis has a unit stride
        self.indent = 1
        self.depth = self.dependence()
        self.beside = self.neighbours()         # accesses by their tags -> the access whose pointer they share, and how far behind it they are
        self.leads = {lead for lead, _ in self.beside.values()}

    # words and names
    def named_word(self, name: str, *what, signed: bool = False) -> str:
        """A word read into a variable at the top of the kernel."""
        self.words.append(what)
        self.head.append(f"    {name} = {'sword' if signed else 'word'}(args, {len(self.words) - 1})")
        return name

    def fresh(self, prefix: str = "t") -> str:
        self.number += 1
        return f"{prefix}{self.number}"

    def emit(self, text: str) -> None:
        if self.hoisting:
            self.before_line(text)
            return
        if self.opened and self.indent <= self.opened[1]:
            self.opened, self.marked = None, False
        self.lines.append("    " * self.indent + text)

    def size(self, axis: int) -> str:
        name = f"n{axis}"
        if name not in self.names:
            self.names[name] = self.named_word(name, "int", self.view.sizes[axis])
        return name

    def stride(self, tag: str, axis: int, stride: int) -> str:
        name = f"s{tag}_{axis}"
        if name not in self.names:
            self.names[name] = self.named_word(name, "int", stride, signed=True)
        return name

    def pointer(self, access: Access, tag: str) -> str:
        if tag not in self.names:
            self.words.append(("buffer", access.buffer, access.offset, access.dtype))
            self.head.append(f"    {tag} = ptr_{SUFFIX[access.dtype]}(args, {len(self.words) - 1})")
            self.names[tag] = tag
        return tag

    # -- which values wait for which reductions ------------------------------------------------------------------------
    def dependence(self) -> dict:
        """For each value the number of reduction stages of its own level that come before it."""
        depth: dict = {}
        level = self.stage_axes()
        for v in self.view.nodes:
            d = 0
            for k in range(len(v.args)):
                source: Any = self.view.inline.get((v, k))
                if source in depth:
                    d = max(d, depth[source] + (source.kind == "reduce" and self.is_stage(source, level)))
            depth[v] = d
        return depth

    def stage_axes(self) -> set:
        return set(self.view.inner or self.view.reduced)

    def is_stage(self, v, level) -> bool:
        return any(a in level for a in self.view.reduce_axes[v] if a is not None)

    # -- accesses in loops ---------------------------------------------------------------------------------------------
    def tag_of(self, key) -> str:
        """A stable short name for an access: the same buffer read in the same way has one name."""
        access = self.view.reads[key] if key[0] != "out" else key[1]
        identity = (id(access.buffer), access.offset, access.dtype, tuple(sorted(access.strides.items())), key[0] == "out")
        if identity not in self.pointers:
            self.pointers[identity] = f"{'o' if key[0] == 'out' else 'x'}{len(self.pointers)}"
        return self.pointers[identity]

    def advance(self, pointer: str, tag: str, access: Access, axes: list[int], prefix: str) -> str:
        """A pointer moved along `axes` by their current indices."""
        terms = [f"int64({self.index_of[a]}) * {self.stride(tag, a, access.strides[a])}" for a in axes if access.strides.get(a, 0)]
        if not terms:
            return pointer
        moved = f"{prefix}{tag}"
        self.emit(f"{moved} = at({pointer}, {' + '.join(terms)})")
        return moved

    def moved(self, pointers: dict, axes: list[int], prefix: str) -> dict:
        """All pointers moved along `axes` by their current indices; the tables of takes stay."""
        tables = {self.tag_of((v, 0)) for v in self.view.nodes if v.kind == "take"}
        accesses = self.all_accesses()
        found = {t: p if t in tables else self.advance(p, t, accesses[t], axes, prefix) for t, p in pointers.items() if t not in self.beside}
        return found | {t: found[self.beside[t][0]] for t in pointers if t in self.beside}

    def base_pointers(self) -> dict:
        """Every access's tag -> the pointer to its start, or that of the one it is beside."""
        accesses = self.all_accesses()
        return {tag: self.pointer(accesses[lead], lead) for tag, lead in ((tag, self.beside.get(tag, (tag,))[0]) for tag in accesses)}

    def neighbours(self) -> dict[str, tuple[str, int]]:
        """Accesses that run through one buffer a few elements apart, each in the gaps of the other (two taps of a pooling window): with one
        pointer for both, LLVM loads or stores whole vectors of them and sorts their elements."""
        found: dict[str, tuple[str, int]] = {}
        leads: dict[tuple, tuple[str, int]] = {}
        last = self.view.order[-1] if self.view.order else None
        for tag, access in sorted(self.all_accesses().items(), key=lambda item: (item[1].offset, item[0])):
            stride = access.strides.get(last, 0)
            if stride not in SHORT_STRIDES or 1 in access.strides.values():
                continue
            same = (id(access.buffer), access.dtype, tuple(sorted(access.strides.items())), tag[0])
            if same in leads and access.offset - leads[same][1] < stride:
                found[tag] = leads[same][0], access.offset - leads[same][1]
            else:
                leads[same] = tag, access.offset
        return found

    def element(self, pointer: str, tag: str, access: Access, axis: int | None, index: str) -> str:
        """The element of an access along the innermost axis."""
        stride = 0 if axis is None else access.strides.get(axis, 0)
        behind = self.beside[tag][1] if tag in self.beside else 0
        if axis is None or stride == 0:
            return f"{pointer}[{behind}]"
        if stride == 1 or tag in self.turned:
            return f"{pointer}[{index}]"
        if stride in SHORT_STRIDES:
            return f"{pointer}[uint64({index}) * uint64({stride}){f' + uint64({behind})' if behind else ''}]"
        return f"{pointer}[int64({index}) * {self.stride(tag, axis, stride)}]"

    def loaded(self, pointer: str, tag: str, access: Access, axis: int | None, index: str) -> str:
        """The value of that element."""
        stride = 0 if axis is None else access.strides.get(axis, 0)
        if (stride in SHORT_STRIDES or stride == BACKWARD) and tag not in self.turned and tag not in self.beside and tag not in self.leads:
            text = f"spaced({pointer}, int64({index}), {stride})"
        else:
            text = self.element(pointer, tag, access, axis, index)
        return f"as_bool({text})" if access.dtype == "bool" else text

    def all_accesses(self):
        seen = {}
        for key, access in self.view.reads.items():
            seen.setdefault(self.tag_of(key), access)
        for _, access in self.view.writes:
            seen.setdefault(self.tag_of(("out", access)), access)
        return seen

    # -- values in a body ----------------------------------------------------------------------------------------------
    def compute(self, v, scope: dict, load) -> None:
        """Write one elementwise value into `scope` (value -> text)."""
        axis = self.inmost[2] if self.inmost else None
        if axis is not None and axis not in self.view.axes_of[v] and not self.hoisting:
            self.hoisting = True        # the same in all of the loop
            self.compute(v, scope, load)
            self.hoisting = False
            return
        if self.narrow(v, scope, load) or self.row_taken(v, scope, load):
            return
        operands, dtypes = [], []
        for k, a in enumerate(v.args):
            if v.kind == "take" and k == 0:
                continue
            operands.append(self.operand(v, k, scope, load))
            source = self.view.inline.get((v, k))
            dtypes.append((source if source is not None else a).dtype.name)
        name = self.fresh()
        if v.kind == "take":
            text = self.taken(v, operands[0])
        else:
            text = expression(v.name, v.dtype.name, operands, dtypes)
        self.emit(f"{name} = {text}")
        scope[v] = name

    def narrow(self, v, scope: dict, load) -> bool:
        """A comparison of the index along the loop with a number that is the same in all of it: 32 bits wide, as 64 would halve the loop's vectors."""
        if v.kind != "map" or v.name not in ("eq", "ne", "lt", "le", "gt", "ge") or self.inmost is None or self.inmost[2] is None:
            return False
        axis = self.inmost[2]
        sources = [self.view.inline.get((v, k)) for k in (0, 1)]
        along = [s is not None and s.kind == "iota" and iota_axes(self.view, v, k, s)[0] == axis for k, s in enumerate(sources)]
        if sum(along) != 1 or self.view.sizes[axis] >= 2 ** 31:
            return False
        other = along.index(False)
        if self.changes(v, other, axis):
            return False
        number, index = f"narrowed({self.operand(v, other, scope, load)})", f"as_i32({self.index_of[axis]})"
        name = self.fresh()
        operands = [index, number] if other else [number, index]
        self.emit(f"{name} = {expression(v.name, v.dtype.name, operands, ['int32', 'int32'])}")
        scope[v] = name
        return True

    def operand(self, v, k: int, scope: dict, load) -> str:
        source = self.view.inline.get((v, k))
        if source is None:
            return load(v, k)
        if source.kind in ("const", "scalar"):
            return self.written_number(v, k, source)
        if source.kind == "iota":
            axis, = iota_axes(self.view, v, k, source)
            return "int64(0)" if axis is None else f"int64({self.index_of[axis]})"
        if source not in scope:
            scope[source] = self.reread(source)
        return scope[source]

    def reread(self, v) -> str:
        """A kept value, read back where the last loop will write."""
        name, text = self.fresh("v"), self.place_of_kept(v)
        self.emit(f"{name} = {cast(text, 'bool') if v.dtype.name == 'bool' else text}")
        return name

    def written_number(self, v, k: int, source) -> str:
        """A number: 0, 1 and what shapes the code stand in the source; others are words, so that their values don't make new kernels."""
        dtype = source.dtype.name
        if source.kind == "const":
            number = source.attrs[0]
            if dtype in ("bool", *HALVES) or number in (0, 1, -1) or number != number or number in INFINITE or (v.name in ("shl", "shr", "pow") and k == 1):
                return literal(number, dtype)
        key = (source.kind, source.attrs[0], repr(source.attrs[0]), dtype)
        if key not in self.names:
            real = dtype in FLOATS
            if source.kind == "scalar":
                self.words.append(("scalar", source.attrs[0], real))
            else:
                self.words.append(("int", struct.unpack("<q", struct.pack("<d", number))[0] if real else number))
            name = self.names[key] = self.fresh("c")
            text = f"bits_f64(word(args, {len(self.words) - 1}))" if real else f"sword(args, {len(self.words) - 1})"
            self.head.append(f"    {name} = {cast(text, dtype)}")
        return self.names[key]

    def taken(self, v, index: str) -> str:
        """A checked load at a computed index: out of range sets the error word and reads element 0."""
        access = self.view.reads[(v, 0)]
        tag = self.tag_of((v, 0))
        table = self.pointer(access, tag)
        limit = self.limit_of(tag, access)
        place, ok = self.fresh("k"), self.fresh("b")
        self.emit(f"{place} = uint64({index})")
        self.emit(f"{ok} = {place} < {limit}")
        self.emit(f"errors[0] = select({ok}, errors[0], int64(1))")
        if self.inmost and self.marked and not self.hoisting:
            del self.lines[self.inmost[0] + 1]    # the error word is written by every iteration
            self.marked = False
        text = f"{table}[select({ok}, {place}, uint64(0))]"
        return f"as_bool({text})" if v.dtype.name == "bool" else text

    def row_taken(self, v, scope: dict, load) -> bool:
        """A take at the indices base + 0, 1, 2, ... along the loop: one test and one address for all of it."""
        if v.kind != "take" or self.inmost is None or self.inmost[2] is None or self.view.reads[(v, 0)].strides[-1] < self.view.sizes[self.inmost[2]]:
            return False
        axis = self.inmost[2]
        found = self.row_base(v, axis)
        if found is None:
            return False
        terms, conditions = found
        access = self.view.reads[(v, 0)]
        tag = self.tag_of((v, 0))
        table = self.pointer(access, tag)
        limit = self.limit_of(tag, access)
        place, ok, row = self.fresh("k"), self.fresh("b"), self.fresh("row")
        size = self.size(axis)
        self.hoisting = True
        base = " + ".join(self.operand(c, k, scope, load) for c, k in terms) or "int64(0)"
        for c, k in conditions:
            base = f"select({self.operand(c, k, scope, load)}, {base}, int64(-1))"
        self.emit(f"{place} = uint64({base})")
        self.emit(f"{ok} = ({place} < {limit}) & ({size} <= {limit} - {place})")
        self.emit(f"errors[0] = select({ok}, errors[0], int64(1))")
        self.emit(f"{row} = at({table}, select({ok}, {place}, uint64(0)))")
        self.hoisting = False
        text, name = f"{row}[{self.index_of[axis]}]", self.fresh()
        self.emit(f"{name} = {f'as_bool({text})' if v.dtype.name == 'bool' else text}")
        scope[v] = name
        return True

    def row_base(self, v, axis: int) -> tuple[list, list] | None:
        """Operands that add up to the index of a take less the place along `axis`, none of which changes along it, and conditions that make
        it -1 where they don't hold. None if the index is made otherwise."""
        terms: list = []
        conditions: list = []
        steps = 0
        stack = [(v, 1)]
        while stack:
            c, k = stack.pop()
            source = self.view.inline.get((c, k))
            if source is not None and source.kind == "iota" and iota_axes(self.view, c, k, source)[0] == axis:
                steps += 1
            elif not self.changes(c, k, axis):
                terms.append((c, k))
            elif source is None or source.kind != "map":
                return None
            elif source.name == "add":
                stack += [(source, 0), (source, 1)]
            elif source.name == "mul" and any(self.is_number(source, i, 1) for i in (0, 1)):
                stack.append((source, 1 if self.is_number(source, 0, 1) else 0))
            elif source.name == "where" and c is v and self.is_number(source, 2, -1) and not self.changes(source, 0, axis):
                conditions.append((source, 0))
                stack.append((source, 1))
            else:
                return None
        return (terms, conditions) if steps == 1 else None

    def is_number(self, v, k: int, number) -> bool:
        source = self.view.inline.get((v, k))
        return source is not None and source.kind == "const" and source.attrs[0] == number

    def changes(self, v, k: int, axis: int) -> bool:
        """Whether an operand changes along an axis."""
        source: Any = self.view.inline.get((v, k))
        if source is None:
            return bool(self.view.reads[(v, k)].strides.get(axis, 0))
        if source.kind == "iota":
            return iota_axes(self.view, v, k, source)[0] == axis
        return axis in self.view.axes_of.get(source, ())

    def limit_of(self, tag: str, access: Access) -> str:
        """The number of elements of a take's table."""
        limit = f"m{tag}"
        if limit not in self.names:
            self.names[limit] = self.named_word(limit, "int", access.strides[-1])
            self.words.append(("errors",))
            self.head.append(f"    errors = ptr_i64(args, {len(self.words) - 1})")
        return limit

    def loader(self, pointers: dict, axis: int | None, index: str, loads: dict):
        """How a body reads buffers: each element once."""
        def load(v, k):
            access = self.view.reads[(v, k)]
            tag = self.tag_of((v, k))
            if tag not in loads:
                name = self.fresh("v")
                fixed = self.inmost is not None and not access.strides.get(axis, 0)
                (self.before_line if fixed else self.emit)(f"{name} = {self.loaded(pointers[tag], tag, access, axis, index)}")
                loads[tag] = name
            return loads[tag]
        return load

    def needed_for(self, targets, available) -> list:
        """The values to compute in a body, in order, given what is already at hand."""
        want, stack = set(), [t for t in targets if t not in available]
        while stack:
            v = stack.pop()
            if v in want or v in available or v in self.kept or v not in self.view.axes_of:
                continue
            want.add(v)
            for k in range(len(v.args)):
                source = self.view.inline.get((v, k))
                if source is not None and source in self.view.axes_of:
                    stack.append(source)
        return [v for v in self.view.nodes if v in want]

    def operand_values(self, v) -> list:
        return [s for s in (self.view.inline.get((v, k)) for k in range(len(v.args))) if s is not None and s in self.view.axes_of]

    def place_of_kept(self, v) -> str:
        pointers, axis, index = self.here
        access = self.kept[v]
        tag = self.tag_of(("out", access))
        return self.element(pointers[tag], tag, access, axis, index)

    def store(self, access: Access, pointer: str, axis, index: str, text: str) -> None:
        tag = self.tag_of(("out", access))
        self.emit(f"{self.element(pointer, tag, access, axis, index)} = {text}")

    # -- results written past the caches ---------------------------------------------------------------------------------
    def past_word(self, size: int) -> str:
        """Whether results are written past the caches, in a kernel that reads and writes `size` bytes."""
        return self.named_word("past", "stream", size)

    def result_tiles(self, accesses: Iterable[Access], size: int) -> dict[str, str]:
        """For each of these results (by its tag) a place on the stack where `size` elements of it lie until they are written."""
        tiles = {}
        for access in accesses:
            tiles[self.tag_of(("out", access))] = name = self.fresh("tile")
            self.head.append(f"    {name} = stack_{SUFFIX[access.dtype]}({size})")
        return tiles

    def nearer(self, pointers: Mapping[str, str], tiles: Mapping[str, str], back: str = "") -> dict[str, str]:
        """The pointers, of results those to their tiles (moved by `back`) where they are written past the caches."""
        found = dict(pointers)
        for tag, tile in tiles.items():
            found[tag] = f"z{tag}"
            self.emit(f"z{tag} = select(past != uint64(0), {f'at({tile}, {back})' if back else tile}, {pointers[tag]})")
        return found

    def stream_out(self, pointers: Mapping[str, str], tiles: Mapping[str, str], count: str, start: str = "") -> None:
        """Write the first `count` elements of the tiles to the pointers (from `start` on), where that is past the caches."""
        if tiles:
            self.emit("if past != uint64(0):")
        for tag, tile in tiles.items():
            to = f"at({pointers[tag]}, {start})" if start else pointers[tag]
            self.emit(f"    stream({to}, {tile}, {count})")

    def end_streams(self) -> None:
        """After the loops of a kernel that may write past the caches."""
        if "past" in (w.split()[0] for w in self.head):
            self.emit("if past != uint64(0):")
            self.emit("    stream_end()")

    def scalar_values(self, scope: dict) -> None:
        """Values with no axis that wait for no reduction: computed once, before the loops."""
        alone = [v for v in self.view.nodes if v.kind != "reduce" and not any(a is not None for a in self.view.axes_of[v])
                 and self.total_depth(v) == 0]
        load = self.loader(self.base_pointers(), None, "0", {})
        for v in alone:
            self.compute(v, scope, load)

    def total_depth(self, v) -> int:
        """Whether a value waits for any reduction of the group, of either level."""
        if not hasattr(self, "_waits"):
            waits: dict = {}
            for n in self.view.nodes:
                waits[n] = any(waits[s] or s.kind == "reduce" for s in self.operand_values(n))
            self._waits = waits
        return int(self._waits[v])

    # -- decoding a unit into indices ----------------------------------------------------------------------------------
    def decode(self, unit: str, axes: list[int]) -> None:
        """Indices of `axes` (outermost first) from a flat unit number."""
        rest = unit
        for i, a in enumerate(reversed(axes)):
            name = f"i{a}"
            if i == len(axes) - 1:
                self.emit(f"{name} = {rest}")
            else:
                self.emit(f"{name} = {rest} % {self.size(a)}")
                after = self.fresh("u")
                self.emit(f"{after} = {rest} // {self.size(a)}")
                rest = after
            self.index_of[a] = name

    def open_units(self, axes: list[int]) -> None:
        """The loop over units; indices are decoded once and then counted on, since divisions cost more than short rows."""
        if len(axes) > 1:
            self.emit("first = uint64(lo)")
            self.decode("first", axes)
        self.emit("for u in range(uint64(lo), uint64(hi)):")
        self.indent += 1
        if len(axes) == 1:
            self.index_of[axes[0]] = "u"

    def close_units(self, axes: list[int]) -> None:
        """Step to the next unit: the innermost index counts up, a full one carries."""
        if len(axes) > 1:
            for depth, a in enumerate(reversed(axes)):
                self.emit("    " * depth + f"i{a} = i{a} + uint64(1)")
                if depth < len(axes) - 1:
                    self.emit("    " * depth + f"if i{a} == {self.size(a)}:")
                    self.emit("    " * (depth + 1) + f"i{a} = uint64(0)")
        self.indent -= 1

    def finish_source(self) -> str:
        return "\n".join(["def kernel(args, lo, hi):", *self.head, *self.lines]) + "\n"

    def kernel(self, units: int, chunk: int, finish: bool, name: str) -> Kernel:
        return Kernel(self.finish_source(), self.words, units, max(1, chunk), finish, self.scratch, name)

    def cost(self) -> int:
        """A rough weight of one element: how many simple operations."""
        return 1 + sum(8 if v.name in HEAVY else 1 for v in self.view.nodes) // 4
    def open_line(self, bounds: str, axis: int | None, index: str = "j") -> None:
        """The innermost loop, over j; `index` says where it is along its axis."""
        self.emit(f"for j in range({bounds}):")
        self.indent += 1
        self.emit("independent()")
        self.opened, self.marked = (len(self.lines) - 2, self.indent - 1, axis), True
        if axis is not None:
            self.index_of[axis] = index

    def marker(self) -> None:
        """At the start of an innermost loop that is written otherwise."""
        if not any(v.kind == "take" for v in self.view.nodes):
            self.emit("independent()")

    @property
    def inmost(self) -> tuple[int, int, int | None] | None:
        """The innermost loop whose body is being written, if that is so."""
        return self.opened if self.opened is not None and self.indent > self.opened[1] else None

    def before_line(self, text: str) -> None:
        """A statement in front of the innermost loop, for what doesn't change in it."""
        assert self.inmost is not None
        number, indent, axis = self.inmost
        self.lines.insert(number, "    " * indent + text)
        self.opened = number + 1, indent, axis

    def body(self, pointers, axis, index, outer_scope, targets, writes) -> dict:
        """Compute `targets` at one place and write `writes` (all loads come before the stores)."""
        scope = dict(outer_scope)
        loads: dict = {}
        load = self.loader(pointers, axis, index, loads)
        self.here = pointers, axis, index
        for v in self.needed_for(targets, scope):
            self.compute(v, scope, load)
        for v, access in writes:
            self.store(access, pointers[self.tag_of(("out", access))], axis, index, scope[v])
        return scope

"""From a scheduled group to the source of a kernel.

Four loop shapes, all `kernel(args, lo, hi)` over [lo, hi) of their units:

- map: no reduction. A unit is an element (one axis) or a row.
- row: each unit is one index of the kept axes; the reduced axes are loops inside it, one loop nest for each stage of reductions that wait for one
  another, then one for what is written.
- column: the innermost axis is kept, so a unit is a tile of it; accumulators are arrays on the stack, and every loop body runs along the tile.
- total: everything is reduced. A unit is a chunk, chosen from the shape alone, that writes a partial result; the finishing call (lo == hi) combines them
  in order, so the same bits come out with any number of threads. With a second level of reductions a unit is a few whole rows.

The source holds no sizes: sizes and strides are words of the argument table. A stride of 0 or 1 along the innermost axis is part of the source.
"""
from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import Any

from .expressions import FLOATS, SUFFIX, can_write, cast, expression, literal

INFINITE = (float("inf"), float("-inf"))
TILE = 256              # elements of a column tile
CHUNK = 16384           # elements of a unit of a total reduction
SUM_BLOCK = 4096        # elements added up in single precision before the sum goes on in double
IDENTITY = {"sum": 0, "prod": 1, "any": 0, "all": 1}
COMBINE = {"sum": "radd", "prod": "rmul", "max": "rmax", "min": "rmin", "any": "rmax", "all": "rmin"}


@dataclass
class Access:
    """How a group reads or writes a buffer: strides by axis, in elements."""

    buffer: Any
    dtype: str
    offset: int
    strides: dict[int, int]


@dataclass
class Kernel:
    """A kernel's source, and what its argument table holds."""

    source: str
    words: list[tuple]                      # ("buffer", b, offset) | ("int", n) | ("scalar", place, is real) | ("errors",) | ("scratch", offset)
    units: int
    chunk: int
    finish: bool
    scratch: int = 0                        # bytes of partial results
    name: str = ""
    chunk_time: float = 5.0                 # microseconds that a chunk takes, roughly


@dataclass
class GroupView:
    """A scheduled group in terms of this file (plain data; see graph/build.py, which makes it)."""

    nodes: list                             # Values, in order of computation
    axes_of: dict[Any, tuple]
    reduce_axes: dict[Any, tuple]
    sizes: list[int]
    order: list[int]
    reduced: tuple[int, ...]
    inner: tuple[int, ...]
    reads: dict[tuple, Access]              # (consumer, operand number) -> access of a buffer
    writes: list[tuple[Any, Access]]        # (value, access)
    inline: dict[tuple, Any] = field(default_factory=dict)   # (consumer, operand number) -> Value in register, const, scalar, iota


def generate(view: GroupView) -> Kernel:
    """The kernel for a group: pick the loop shape, then write it."""
    collapse(view)
    writer = Writer(view)
    if not view.reduced:
        return writer.map_kernel()
    kept = [a for a in view.order if a not in view.reduced and a not in view.inner]
    if not kept:
        if waits_for_total(view):
            return writer.row_kernel([])
        return writer.total_kernel()
    if view.order[-1] in view.reduced:
        return writer.row_kernel(kept)
    return writer.column_kernel(kept)


def waits_for_total(view: GroupView) -> bool:
    """Whether something inside the loops needs a total (then one task does everything)."""
    late = set()
    for v in view.nodes:
        depends = any(view.inline.get((v, k)) in late for k in range(len(v.args)))
        if v.kind == "reduce" and not any(a in view.reduced for a in view.axes_of[v] if a is not None):
            if depends:
                return True
            late.add(v)
        elif depends:
            if any(a is not None for a in view.axes_of[v]):
                return True
            late.add(v)
    return False


# -- merging axes ------------------------------------------------------------------------------------------------------
def collapse(view: GroupView) -> None:
    """Merge neighbouring axes that every access runs through as one; drop what then has no size."""
    kind = {a: "reduced" if a in view.reduced else "inner" if a in view.inner else "kept" for a in view.order}
    pinned: set = set()
    for v in view.nodes:
        if v.kind == "reduce" and v.name in ("argmax", "argmin"):
            pinned.update(a for a in view.reduce_axes[v] if a is not None)
        for k in range(len(v.args)):
            source = view.inline.get((v, k))
            if source is not None and source.kind == "iota":
                pinned.update(a for a in iota_axes(view, v, k, source) if a is not None)
    accesses = [*view.reads.values(), *(a for _, a in view.writes)]
    merged: list[int] = []
    gone: dict[int, int] = {}
    for a in view.order:
        if merged:
            p = merged[-1]
            if kind[p] == kind[a] and p not in pinned and a not in pinned and all(
                    x.strides.get(p, 0) == x.strides.get(a, 0) * view.sizes[a] for x in accesses):
                # p runs through a: a takes p's place, with both sizes
                view.sizes[a] *= view.sizes[p]
                gone[p] = a
                merged[-1] = a
                continue
        merged.append(a)
    view.order = merged
    if gone:
        def last(a):
            while a in gone:
                a = gone[a]
            return a

        def renamed(axes):
            # several dimensions may now run along one axis: the last keeps it
            new = [None if a is None else last(a) for a in axes]
            return tuple(None if a in new[i + 1:] else a for i, a in enumerate(new))
        view.axes_of = {v: renamed(t) for v, t in view.axes_of.items()}
        view.reduce_axes = {v: renamed(t) for v, t in view.reduce_axes.items()}
        view.reduced = tuple(a for a in view.reduced if a not in gone)
        view.inner = tuple(a for a in view.inner if a not in gone)
        for x in accesses:
            x.strides = {a: s for a, s in x.strides.items() if a not in gone}


def iota_axes(view: GroupView, consumer, k: int, source) -> list:
    """The axis (if any) that an inline index value runs along."""
    axes = operand_axes(view, consumer, k, source.shape)
    dim, = source.attrs
    return [axes[dim]]


def operand_axes(view: Any, consumer, k: int, shape) -> tuple:
    if consumer.kind == "reduce":
        out, red = view.axes_of[consumer], iter(view.reduce_axes[consumer])
        dims = set(consumer.attrs)
        return tuple(next(red) if i in dims else out[i] for i in range(len(shape)))
    axes = view.axes_of[consumer]
    extra = len(axes) - len(shape)
    return tuple(None if n == 1 else axes[i + extra] for i, n in enumerate(shape))


# -- writing -----------------------------------------------------------------------------------------------------------
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
        self.indent = 1
        self.depth = self.dependence()

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

    def element(self, pointer: str, tag: str, access: Access, axis: int | None, index: str) -> str:
        """The element of an access along the innermost axis."""
        stride = 0 if axis is None else access.strides.get(axis, 0)
        if axis is None or stride == 0:
            return f"{pointer}[0]"
        if stride == 1:
            return f"{pointer}[{index}]"
        return f"{pointer}[int64({index}) * {self.stride(tag, axis, stride)}]"

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

    def operand(self, v, k: int, scope: dict, load) -> str:
        source = self.view.inline.get((v, k))
        if source is None:
            return load(v, k)
        if source.kind in ("const", "scalar"):
            return self.written_number(v, k, source)
        if source.kind == "iota":
            axis, = iota_axes(self.view, v, k, source)
            return "int64(0)" if axis is None else f"int64({self.index_of[axis]})"
        return scope[source]

    def written_number(self, v, k: int, source) -> str:
        """A number: 0, 1 and what shapes the code stand in the source; others are words, so that their values don't make new kernels."""
        dtype = source.dtype.name
        if source.kind == "const":
            number = source.attrs[0]
            if dtype == "bool" or number in (0, 1, -1) or number != number or number in INFINITE or (v.name in ("shl", "shr", "pow") and k == 1):
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
        limit = f"m{tag}"
        if limit not in self.names:
            self.names[limit] = self.named_word(limit, "int", access.strides[-1])
            self.words.append(("errors",))
            self.head.append(f"    errors = ptr_i64(args, {len(self.words) - 1})")
        place, ok = self.fresh("k"), self.fresh("b")
        self.emit(f"{place} = uint64({index})")
        self.emit(f"{ok} = {place} < {limit}")
        self.emit(f"errors[0] = select({ok}, errors[0], int64(1))")
        text = f"{table}[select({ok}, {place}, uint64(0))]"
        return f"as_bool({text})" if v.dtype.name == "bool" else text

    def loader(self, pointers: dict, axis: int | None, index: str, loads: dict):
        """How a body reads buffers: each element once."""
        def load(v, k):
            access = self.view.reads[(v, k)]
            tag = self.tag_of((v, k))
            if tag not in loads:
                text = self.element(pointers[tag], tag, access, axis, index)
                name = self.fresh("v")
                self.emit(f"{name} = {cast(text, 'bool') if access.dtype == 'bool' else text}")
                loads[tag] = name
            return loads[tag]
        return load

    def needed_for(self, targets, available) -> list:
        """The values to compute in a body, in order, given what is already at hand."""
        want, stack = set(), [t for t in targets if t not in available]
        while stack:
            v = stack.pop()
            if v in want or v in available or v not in self.view.axes_of:
                continue
            want.add(v)
            for k in range(len(v.args)):
                source = self.view.inline.get((v, k))
                if source is not None and source in self.view.axes_of:
                    stack.append(source)
        return [v for v in self.view.nodes if v in want]

    def operand_values(self, v) -> list:
        return [s for s in (self.view.inline.get((v, k)) for k in range(len(v.args))) if s is not None and s in self.view.axes_of]

    def store(self, access: Access, pointer: str, axis, index: str, text: str) -> None:
        tag = self.tag_of(("out", access))
        self.emit(f"{self.element(pointer, tag, access, axis, index)} = {text}")

    def scalar_values(self, scope: dict) -> None:
        """Values with no axis that wait for no reduction: computed once, before the loops."""
        alone = [v for v in self.view.nodes if v.kind != "reduce" and not any(a is not None for a in self.view.axes_of[v])
                 and self.total_depth(v) == 0]
        base = {tag: self.pointer(access, tag) for tag, access in self.all_accesses().items()}
        loads: dict = {}
        load = self.loader(base, None, "0", loads)
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
        heavy = {"exp", "log", "tanh", "sigmoid", "erf", "sin", "cos", "pow", "philox", "log1p", "expm1"}
        return 1 + sum(8 if v.name in heavy else 1 for v in self.view.nodes) // 4

    # -- loop shapes ---------------------------------------------------------------------------------------------------
    def map_kernel(self) -> Kernel:
        view = self.view
        scope: dict = {}
        accesses = self.all_accesses()
        tables = {self.tag_of((v, 0)) for v in view.nodes if v.kind == "take"}
        for tag, access in accesses.items():
            self.pointer(access, tag)
        if len(view.order) <= 1:
            axis = view.order[0] if view.order else None
            n = view.sizes[axis] if axis is not None else 1
            self.scalar_values(scope)
            self.emit("for i in range(uint64(lo), uint64(hi)):")
            self.indent += 1
            self.marker()
            self.index_of = {axis: "i"} if axis is not None else {}
            self.body({t: t for t in accesses}, axis, "i", scope, [v for v, _ in view.writes], [w for w in view.writes])
            return self.kernel(n, CHUNK // self.cost() + 1, False, "map")
        *outer, axis = view.order
        units = product(view.sizes[a] for a in outer)
        self.scalar_values(scope)
        self.open_units(outer)
        pointers = {t: (t if t in tables else self.advance(t, t, a, outer, "p")) for t, a in accesses.items()}
        self.emit(f"for j in range({self.size(axis)}):")
        self.indent += 1
        self.marker()
        self.index_of[axis] = "j"
        self.body(pointers, axis, "j", scope, [v for v, _ in view.writes], view.writes)
        self.indent -= 1
        self.close_units(outer)
        return self.kernel(units, CHUNK // max(1, view.sizes[axis] * self.cost()), False, "map")

    def marker(self) -> None:
        if not any(v.kind == "take" for v in self.view.nodes):
            self.emit("independent()")

    def body(self, pointers, axis, index, outer_scope, targets, writes) -> dict:
        """Compute `targets` at one place and write `writes` (all loads come before the stores)."""
        scope = dict(outer_scope)
        loads: dict = {}
        load = self.loader(pointers, axis, index, loads)
        for v in self.needed_for(targets, scope):
            self.compute(v, scope, load)
        for v, access in writes:
            self.store(access, pointers[self.tag_of(("out", access))], axis, index, scope[v])
        return scope

    # row ----------------------------------------------------------------------------------------------------------------
    def row_kernel(self, kept: list[int]) -> Kernel:
        view = self.view
        scope: dict = {}
        for tag, access in self.all_accesses().items():
            self.pointer(access, tag)
        self.scalar_values(scope)
        self.open_units(kept)
        reduced = [a for a in view.order if a in view.reduced]
        self.row_stages(kept, reduced, scope, view.writes)
        self.close_units(kept)
        row = product(view.sizes[a] for a in reduced)
        return self.kernel(product(view.sizes[a] for a in kept), CHUNK // max(1, row * self.cost()), False, "row")

    def row_stages(self, kept, loops, scope, writes) -> None:
        """The stages of one row, then what is written: used by the row shape and by rows within a total."""
        view = self.view
        accesses = self.all_accesses()
        tables = {self.tag_of((v, 0)) for v in view.nodes if v.kind == "take"}
        pointers = {t: (t if t in tables else self.advance(t, t, a, kept, "p")) for t, a in accesses.items()}
        level = set(loops)
        stages = [v for v in view.nodes if v.kind == "reduce" and self.is_stage(v, level)]
        inside = [w for w in writes if any(a in level for a in view.axes_of[w[0]] if a is not None)]
        inside_ids = {id(w[1]) for w in inside}
        last = max((self.depth[v] for v in stages), default=-1)
        row_load = self.loader(pointers, None, "0", {})
        for d in range(last + 1):
            self.row_values(scope, row_load, d, level)
            now = [v for v in stages if self.depth[v] == d]
            early = [w for w in inside if self.depth[w[0]] == d]
            self.reduce_loop(now, early, loops, pointers, scope)
            inside = [w for w in inside if all(w is not e for e in early)]
        self.row_values(scope, row_load, last + 1, level)
        if inside:
            self.write_loop(inside, loops, pointers, scope)
        for v, access in writes:
            if id(access) not in inside_ids and v in scope:
                self.store(access, pointers[self.tag_of(("out", access))], None, "0", scope[v])

    def row_values(self, scope, load, depth, level) -> None:
        """Values of the row itself (not of its elements) that wait for `depth` stages."""
        for v in self.view.nodes:
            if v in scope or v.kind == "reduce" or self.depth[v] > depth:
                continue
            if any(a in level for a in self.view.axes_of[v] if a is not None):
                continue
            if all(s in scope for s in self.operand_values(v)):
                self.compute(v, scope, load)

    def open_loops(self, loops, pointers, prefix: str) -> tuple[dict, int, str]:
        """Loops over `loops` (outermost first), pointers moved along all but the innermost. Returns pointers, innermost axis, index."""
        *outer, axis = loops
        accesses = self.all_accesses()
        for a in outer:
            name = f"r{a}"
            self.emit(f"for {name} in range({self.size(a)}):")
            self.indent += 1
            self.index_of[a] = name
        if outer:
            tables = {self.tag_of((v, 0)) for v in self.view.nodes if v.kind == "take"}
            pointers = {t: (p if t in tables else self.advance(p, t, accesses[t], outer, prefix)) for t, p in pointers.items()}
        return pointers, axis, "j"

    def reduce_loop(self, reduces, writes, loops, pointers, scope) -> None:
        base = self.indent
        accumulators = {v: self.start_accumulator(v) for v in reduces}
        pointers, axis, index = self.open_loops(loops, pointers, "q")
        blocked = [v for v in reduces if v.name == "sum" and v.dtype.name == "float32"]
        size = self.size(axis)
        if blocked:
            self.emit(f"for z in range(uint64(0), {size}, uint64({SUM_BLOCK})):")
            self.indent += 1
            self.emit(f"end = select({size} - z < uint64({SUM_BLOCK}), {size}, z + uint64({SUM_BLOCK}))")
            for v in blocked:
                self.emit(f"{accumulators[v]}f = float32(0)")
            self.emit("for j in range(z, end):")
        else:
            self.emit(f"for j in range({size}):")
        self.indent += 1
        self.marker()
        self.index_of[axis] = index
        inner_scope = self.body(pointers, axis, index, scope, [*self.reduce_operands(reduces), *(w[0] for w in writes)], [])
        load = self.loader(pointers, axis, index, {})
        for v in reduces:
            self.accumulate(v, accumulators[v], self.operand(v, 0, inner_scope, load), v in blocked)
        for v, access in writes:
            self.store(access, pointers[self.tag_of(("out", access))], axis, index, inner_scope[v])
        if blocked:
            self.indent -= 1
            for v in blocked:
                self.emit(f"{accumulators[v]} = {accumulators[v]} + float64({accumulators[v]}f)")
        self.indent = base
        for v in reduces:
            scope[v] = self.end_accumulator(v, accumulators[v])

    def reduce_operands(self, reduces) -> list:
        return [s for v in reduces for s in self.operand_values(v)]

    def write_loop(self, writes, loops, pointers, scope) -> None:
        base = self.indent
        pointers, axis, index = self.open_loops(loops, pointers, "w")
        self.emit(f"for j in range({self.size(axis)}):")
        self.indent += 1
        self.marker()
        self.index_of[axis] = index
        self.body(pointers, axis, index, scope, [w[0] for w in writes], writes)
        self.indent = base

    # accumulators
    def operand_dtype(self, v) -> str:
        source = self.view.inline.get((v, 0))
        return (source if source is not None else v.args[0]).dtype.name

    def accumulator_dtype(self, v) -> str:
        if v.name == "sum" and v.dtype.name == "float32":
            return "float64"
        if v.name in ("argmax", "argmin"):
            return self.operand_dtype(v)
        if v.name in ("any", "all") or self.operand_dtype(v) == "bool":
            return "uint8" if v.dtype.name == "bool" else v.dtype.name
        return v.dtype.name

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
        if v.name in ("argmax", "argmin"):
            self.emit(f"{name}i = int64(-1)")
        return name

    def accumulate(self, v, name: str, text: str, blocked: bool = False) -> None:
        dtype = self.accumulator_dtype(v)
        if v.name in ("argmax", "argmin"):
            axis = next(a for a in self.view.reduce_axes[v] if a is not None)
            value, better = self.fresh("v"), self.fresh("b")
            self.emit(f"{value} = {text if dtype != 'bool' else f'as_u8({text})'}")
            if dtype in ("float32", "float64"):
                # the first NaN wins, then the first extreme
                self.emit(f"{better} = ({name}i < 0) | (({name} == {name}) & (({value} {'>' if v.name == 'argmax' else '<'} {name}) | ({value} != {value})))")
            else:
                self.emit(f"{better} = ({name}i < 0) | ({value} {'>' if v.name == 'argmax' else '<'} {name})")
            self.emit(f"{name} = select({better}, {value}, {name})")
            self.emit(f"{name}i = select({better}, int64({self.index_of[axis]}), {name}i)")
            return
        source = self.operand_dtype(v)
        if blocked:
            self.emit(f"{name}f = radd({name}f, {cast(text, 'float32') if source != 'float32' else text})")
            return
        if source != dtype:
            text = cast(text, dtype) if source != "bool" else f"as_{SUFFIX[dtype]}(as_u8({text}))"
        combined = f"{COMBINE[v.name]}({name}, {text})"
        self.emit(f"{name} = {combined}")

    def end_accumulator(self, v, name: str) -> str:
        if v.name in ("argmax", "argmin"):
            return f"{name}i"
        dtype = self.accumulator_dtype(v)
        if dtype == v.dtype.name:
            return name
        done = self.fresh("t")
        self.emit(f"{done} = {cast(name, v.dtype.name)}")
        return done

    # column -------------------------------------------------------------------------------------------------------------
    def column_kernel(self, kept: list[int]) -> Kernel:
        view = self.view
        scope: dict = {}
        accesses = self.all_accesses()
        for tag, access in accesses.items():
            self.pointer(access, tag)
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
        tables = {self.tag_of((v, 0)) for v in view.nodes if v.kind == "take"}
        self.index_of[axis] = "begin"
        pointers = {t: (t if t in tables else self.advance(t, t, a, [*outer, axis], "p")) for t, a in accesses.items()}
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
        accesses = self.all_accesses()
        tables = {self.tag_of((v, 0)) for v in self.view.nodes if v.kind == "take"}
        moved = {t: (p if t in tables else self.advance(p, t, accesses[t], loops, "q")) for t, p in pointers.items()}
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

    # total --------------------------------------------------------------------------------------------------------------
    def total_kernel(self) -> Kernel:
        view = self.view
        scope: dict = {}
        for tag, access in self.all_accesses().items():
            self.pointer(access, tag)
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
        accesses = self.all_accesses()
        if rows:
            self.emit("for u in range(begin, stop):")
            self.indent += 1
            self.decode("u", outer)
            if view.inner:
                self.total_rows(outer, scope, totals, accumulators, inside)
            else:
                tables = {self.tag_of((v, 0)) for v in view.nodes if v.kind == "take"}
                pointers = {t: (t if t in tables else self.advance(t, t, a, outer, "p")) for t, a in accesses.items()}
                self.total_loop(pointers, axes[-1], "uint64(0)", self.size(axes[-1]), scope, totals, accumulators, inside)
            self.indent -= 1
        else:
            self.total_loop({t: t for t in accesses}, axes[0], "begin", "stop", scope, totals, accumulators, inside)
        for v in totals:
            self.emit(f"{partial[v][0]}[c] = {accumulators[v]}")
            if v.name in ("argmax", "argmin"):
                self.emit(f"{partial[v][1]}[c] = {accumulators[v]}i")
        self.indent -= 1
        units = -(-extent // length)
        self.finishing(units, totals, partial, late, scope)
        self.allot(partial, units)
        return self.kernel(units, 1, True, "total")

    def partial_words(self, v) -> tuple:
        """Places for the partial results of a total, one a unit."""
        dtype = self.accumulator_dtype(v)
        names = []
        for suffix, kind in (("", dtype), *((("i", "int64"),) if v.name in ("argmax", "argmin") else ())):
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
        blocked = [v for v in totals if v.name == "sum" and v.dtype.name == "float32"]
        base = self.indent
        if blocked:
            for v in blocked:
                self.emit(f"{accumulators[v]}f = float32(0)")
        self.emit(f"for j in range({begin}, {stop}):")
        self.indent += 1
        self.marker()
        self.index_of[axis] = "j"
        inner = self.body(pointers, axis, "j", scope, [*self.reduce_operands(totals), *(w[0] for w in writes)], [])
        load = self.loader(pointers, axis, "j", {})
        for v in totals:
            self.accumulate(v, accumulators[v], self.operand(v, 0, inner, load), v in blocked)
        for v, access in writes:
            self.store(access, pointers[self.tag_of(("out", access))], axis, "j", inner[v])
        self.indent = base
        for v in blocked:
            self.emit(f"{accumulators[v]} = {accumulators[v]} + float64({accumulators[v]}f)")

    def total_rows(self, outer, scope, totals, accumulators, writes) -> None:
        """One row of a two-level kernel: its own reductions, then its share of the totals."""
        row_scope = dict(scope)
        loops = [a for a in self.view.order if a in self.view.inner]
        self.row_stages(outer, loops, row_scope, writes)
        accesses = self.all_accesses()
        pointers = {t: self.advance(t, t, a, outer, "y") for t, a in accesses.items()}
        load = self.loader(pointers, None, "0", {})
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
        pointers = {t: t for t in self.all_accesses()}
        load = self.loader(pointers, None, "0", {})
        for v in self.needed_for([w[0] for w in late], scope):
            self.compute(v, scope, load)
        for v, access in late:
            self.store(access, self.tag_of(("out", access)), None, "0", scope[v])
        self.emit("pass")
        self.indent -= 1

    def combine_partial(self, v, name: str, places: tuple) -> None:
        if v.name in ("argmax", "argmin"):
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


def product(sizes) -> int:
    n = 1
    for s in sizes:
        n *= s
    return n


__all__ = ["Access", "GroupView", "Kernel", "can_write", "generate"]

"""Fusion: one linear pass, last value first.

A value joins the kernel of its earliest consumer if that kernel can compute it in its loops; other consumers then read it from memory.
Kernels keep the position of their last value. Joining the earliest consumer keeps every edge between kernels pointing from a smaller
position to a larger one, so no cycle can arise and the order of execution is the order of positions.

A kernel loops over axes. Each of its values has a tuple that says which axis each of its dimensions runs along (None for size 1).
Axes in `reduced` are reduced by the kernel; a kernel that reduces all of its axes may hold a second level: reductions within each row of the first (`inner`).
"""
from __future__ import annotations

from typing import Any

from .ir import Value
from .lower import ALIASES, SOURCES
from .record import count

MAX_VALUES = 256        # of one kernel: what LLVM compiles in well under a second
MAX_OPERANDS = 28       # buffers of one kernel
SMALL = 16              # how many times an operand goes into a value for which it counts as nothing
ONE_ROW = 16384         # elements that one task may reduce by itself, when the whole tensor is the row
FUSABLE = frozenset(("map", "reduce", "take"))
CHEAP = frozenset(("add", "sub", "mul", "neg", "cast", "copy", "where", "lt", "le", "gt", "ge", "eq", "ne", "and", "or", "not", "maximum", "minimum", "abs"))


class Group:
    """A kernel in the making."""

    def __init__(self, position: int):
        self.position = position
        self.sizes: list[int] = []
        self.order: list[int] = []              # axes, outermost first
        self.reduced: tuple[int, ...] = ()
        self.inner: tuple[int, ...] = ()        # second level
        self.nodes: dict[Value, tuple] = {}
        self.reduce_axes: dict[Value, tuple] = {}
        self.operands: set[int] = set()
        self.core: Value | None = None          # a contraction: the other values are computed from its tiles

    def axis(self, size: int, before: int | None = None) -> int:
        self.sizes.append(size)
        a = len(self.sizes) - 1
        if before is None:
            self.order.append(a)
        else:
            self.order.insert(self.order.index(before), a)
        return a

    def copy_axes(self):
        return list(self.sizes), list(self.order), self.reduced, self.inner

    def restore_axes(self, saved) -> None:
        self.sizes, self.order, self.reduced, self.inner = saved

    def __repr__(self) -> str:
        return f"Group@{self.position}(axes={self.sizes}, reduced={self.reduced}, inner={self.inner}, {len(self.nodes)} values)"


class Schedule:
    """Kernels and single steps in order of execution, and which values have a buffer."""

    def __init__(self, steps, stored):
        self.steps = steps              # Group or Value (scan, call, place, scatter)
        self.stored: set[Value] = stored


def schedule(values: list[Value], wanted: list[Value]) -> Schedule:
    uses = uses_of(values)
    wanted_set = set(wanted)
    indices = index_values(values)
    home: dict[Value, list[Group]] = {}         # the groups a value is computed in
    stored: set[Value] = set()
    steps: list = []
    for v in reversed(values):
        if v.kind in SOURCES or v.kind in ALIASES:
            continue
        if v.kind not in FUSABLE and v.kind != "contract":
            stored.add(v)
            steps.append(v)
            continue
        into = v.attrs[0] == "into" if v.attrs else False
        outside = v in wanted_set or into
        groups = [] if into else join_consumers(v, uses[v], home, outside, v in indices)
        if not groups or not covers(groups, uses[v], home):
            outside = True
        if not groups:
            g = Group(v.index)
            start(g, v)
            steps.append(g)
            groups = [g]
        elif outside and len(groups) > 1:
            groups = groups[:1]                 # a stored value is computed once
        home[v] = groups
        if outside:
            stored.add(v)
    steps.sort(key=lambda s: s.position if isinstance(s, Group) else s.index)
    return Schedule(steps, stored)


def uses_of(values: list[Value]) -> dict[Value, list]:
    """For each value its consumers: (consumer, operand number, aliases in between)."""
    uses: dict[Value, list] = {v: [] for v in values}
    for c in values:
        if c.kind in ALIASES:
            continue
        for k, a in enumerate(c.args):
            chain = []
            while a.kind in ALIASES:
                chain.append(a)
                a = a.args[0]
            uses[a].append((c, k, chain))
    return uses


def index_values(values: list[Value]) -> set[Value]:
    """Maps of nothing but indices and numbers: computed wherever they are used, never stored for it."""
    found: set[Value] = set()
    for v in values:
        if v.kind == "map" and v.name != "philox" and not v.attrs and all(
                a.kind in ("const", "scalar", "iota") or a in found or (a.kind == "reshape" and is_unit_reshape(a) and a.args[0] in found) for a in v.args):
            found.add(v)
    return found


def join_consumers(v: Value, uses, home, wanted: bool, index: bool) -> list[Group]:
    """The groups that v now belongs to: its earliest consumer's, or, for what is cheap to compute again, all of them."""
    by_group: dict[Any, list] = {}        # None: outside of any group
    first: Any = None
    first_position = None
    for use in uses:
        c = use[0]
        groups = home.get(c)
        for g in groups or (None,):
            by_group.setdefault(g, []).append(use)
            position = g.position if g is not None else c.index
            if first_position is None or position < first_position:
                first, first_position = g, position
    if first_position is None:
        return []
    if None not in by_group and not wanted and (index or (len(by_group) > 1 and is_cheap(v))):
        joined = [g for g, group_uses in by_group.items() if join(g, v, group_uses, False, index)]
        if len(joined) == len(by_group):
            return joined
        for g in joined:
            if g is not first:
                del g.nodes[v]
            elif not may_store(g, v):
                del g.nodes[v]
                joined = []
        return [first] if first in joined else []
    stores = wanted or len(by_group) > 1
    return [first] if first is not None and join(first, v, by_group[first], stores) else []


def covers(groups: list[Group], uses, home) -> bool:
    """Whether every use of a value is within its own groups and needs no buffer."""
    for c, k, chain in uses:
        for g in home.get(c) or (None,):
            if g not in groups or not direct(c, k, chain):
                return False
    return True


def direct(c: Value, k: int, chain) -> bool:
    """Whether an operand can be a number in a register: not through a real reshape or view, and not as the table of a take."""
    if c.kind not in FUSABLE or (c.kind == "take" and k == 0):
        return False
    return all(is_unit_reshape(a) for a in chain)


def is_unit_reshape(a: Value) -> bool:
    """A reshape that only adds or removes dimensions of size 1."""
    if a.kind != "reshape":
        return False
    source = a.args[0]
    return [n for n in a.shape if n != 1] == [n for n in source.shape if n != 1]


def is_cheap(v: Value) -> bool:
    """Worth computing again in each consumer: one simple operation on at most one array that memory holds anyway, and on small ones."""
    if v.kind != "map" or v.name not in CHEAP:
        return False
    full = 0
    for a in v.args:
        while a.kind in ALIASES:
            a = a.args[0]
        if a.kind in ("const", "scalar", "iota"):
            continue
        if a.kind in FUSABLE:
            if a.numel * SMALL > v.numel:
                return False
            continue            # storing it is next to nothing
        full += a.numel == v.numel
    return full <= 1


# -- axes --------------------------------------------------------------------------------------------------------------
def operand_axes(g: Group, c: Value, k: int, operand_shape) -> tuple:
    """Along which axes the dimensions of operand k of c run."""
    if c.kind == "reduce":
        out, red = g.nodes[c], iter(g.reduce_axes[c])
        dims = set(c.attrs)
        return tuple((next(red) if i in dims else out[i]) for i in range(len(operand_shape)))
    axes = g.nodes[c]
    extra = len(axes) - len(operand_shape)
    return tuple(None if n == 1 else axes[i + extra] for i, n in enumerate(operand_shape))


def through(chain, axes) -> tuple:
    """Axes of the value under unit reshapes, from the axes of the outermost of them."""
    for a in chain:
        running = iter([x for x, n in zip(axes, a.shape) if n != 1])
        axes = tuple(None if n == 1 else next(running) for n in a.args[0].shape)
    return axes


def use_axes(g: Group, use) -> tuple | None:
    c, k, chain = use
    if not direct(c, k, chain):
        return None
    return through(chain, operand_axes(g, c, k, (chain[0] if chain else c.args[k]).shape))


def start(g: Group, v: Value) -> None:
    """Make v the last value of a new group."""
    if v.kind == "reduce":
        axes = [None if n == 1 else g.axis(n) for n in v.args[0].shape]
        dims = set(v.attrs)
        g.reduced = tuple(axes[d] for d in v.attrs if axes[d] is not None)
        g.reduce_axes[v] = tuple(axes[d] for d in v.attrs)
        g.nodes[v] = tuple(None if i in dims else a for i, a in enumerate(axes))
    else:
        g.nodes[v] = tuple(None if n == 1 else g.axis(n) for n in v.shape)
        g.core = v if v.kind == "contract" else None


def may_store(g: Group, v: Value) -> bool:
    """Is v computed once for each of its elements, so that g can write it?"""
    own = {a for a in g.nodes[v] if a is not None}
    everything = set(range(len(g.sizes)))
    return own in (everything, everything - set(g.inner) - set(g.reduced)) or (bool(g.inner) and own == everything - set(g.inner))


def join(g: Group, v: Value, uses, stores: bool, index: bool = False) -> bool:
    """Take v into g if g can compute it in its loops (and write it, if it `stores`); says whether it did."""
    if len(g.nodes) >= MAX_VALUES or len(g.operands) + len(v.args) > MAX_OPERANDS:
        return False
    axes = None
    external = False
    for use in uses:
        found = use_axes(g, use)
        if found is None:
            external = True
        elif axes is None:
            axes = found
        elif axes != found:
            return False
    if axes is None or external:
        return False
    saved = g.copy_axes()
    if not index and not fits(g, v, axes):
        g.restore_axes(saved)
        return False
    if v.kind == "contract":
        g.core = v
    g.nodes[v] = axes
    if not legal(g) or (stores and not may_store(g, v)):
        del g.nodes[v]
        g.reduce_axes.pop(v, None)
        g.restore_axes(saved)
        if g.core is v:
            g.core = None
        return False
    g.operands.update(id(a) for a in v.args if a.kind not in FUSABLE and a.kind != "const")
    return True


def fits(g: Group, v: Value, axes) -> bool:
    """May v's own loops be g's? A reduction brings its axes along."""
    own = {a for a in axes if a is not None}
    everything = set(range(len(g.sizes)))
    if v.kind == "contract" or g.core is not None:      # the loops are the contraction's own
        return own == everything and not g.reduced and v.kind != "reduce" and (g.core is None or v.kind != "contract")
    if v.kind != "reduce":
        if not g.reduced and own < everything and finishes_reduction(v):
            g.reduced = tuple(a for a in g.order if a not in own)
        levels = [everything, everything - set(g.inner), everything - set(g.inner) - set(g.reduced), set()]
        return own in levels
    sizes = [v.args[0].shape[d] for d in v.attrs]
    chosen: list = []
    candidates = g.inner or g.reduced
    if candidates and own & set(candidates):
        return fits_second_level(g, v, axes, own, sizes)
    for d, n in zip(v.attrs, sizes):
        if n == 1:
            chosen.append(None)
            continue
        pool = candidates if candidates else [a for a in g.order if a not in own and a not in chosen]
        match = [a for a in pool if g.sizes[a] == n and a not in chosen and a not in own]
        if candidates and not match:
            return False
        chosen.append(match[0] if match else new_axis(g, v, axes, d, n))
    real = tuple(sorted(a for a in chosen if a is not None))
    if g.reduced and real != tuple(sorted(candidates)):
        return False
    if own != set(range(len(g.sizes))) - set(real):
        return False
    if not g.reduced:
        g.reduced = real
    g.reduce_axes[v] = tuple(chosen)
    return True


def finishes_reduction(v: Value) -> bool:
    """Whether a map works on the result of a reduction (log of a sum, reciprocal of a deviation): then the reduction's loop belongs here too."""
    stack, seen = [v], 0
    while stack and seen < 16:
        n = under(stack.pop())
        seen += 1
        if n.kind == "reduce":
            return n.args[0].numel > n.numel and n.numel == v.numel
        if n.kind == "map":
            stack.extend(a for a in n.args if a.numel == v.numel)
    return False


def fits_second_level(g: Group, v: Value, axes, own, sizes) -> bool:
    """A reduction whose results are themselves reduced by g: rows within the one long reduction."""
    if g.inner or own != set(g.reduced) or len(g.reduced) != len(g.sizes):
        return False
    if v.attrs[-1] != len(v.args[0].shape) - 1 and any(n > 1 for n in v.args[0].shape[v.attrs[-1] + 1:]):
        return False
    chosen = tuple(None if n == 1 else g.axis(n) for n in sizes)
    g.inner = tuple(a for a in chosen if a is not None)
    g.reduce_axes[v] = chosen
    return True


def new_axis(g: Group, v: Value, axes, dim: int, size: int) -> int:
    """A new axis for a reduced dimension, placed in the loop order where the operand has it."""
    following = next((axes[i] for i in range(dim + 1, len(axes)) if axes[i] is not None), None)
    return g.axis(size, following)


def legal(g: Group) -> bool:
    """Can the kernel templates run this group?"""
    if not g.reduced:
        return True
    whole = len(g.reduced) + len(g.inner) == len(g.sizes)
    if g.inner:
        return whole and not waits(g)       # nothing within the rows may wait for the reduction over all rows
    if not whole:
        return True
    # everything is reduced: either nothing inside the loops waits for the result, or one task does it all
    return count(g.sizes) <= ONE_ROW or not waits(g)


def waits(g: Group) -> bool:
    """Whether a value inside the loops depends on a reduction over everything."""
    late: set[Value] = set()
    for v in sorted(g.nodes, key=lambda n: n.index):
        depends = any(under(a) in late for a in v.args)
        if v.kind == "reduce" and set(a for a in g.reduce_axes[v] if a is not None) == set(g.reduced) and not any(
                a is not None for a in g.nodes[v]):
            late.add(v)
            if depends:
                return True
        elif depends:
            if any(a is not None for a in g.nodes[v]) or v.kind == "reduce":
                return True
            late.add(v)
    return False


def under(a: Value) -> Value:
    while a.kind in ALIASES:
        a = a.args[0]
    return a

"""Kernels that read the same memory in the same way become one: a sum over columns beside the gradient of a norm's input, say, or two sums.

Two kernels match if some operand, which both read whole, tells which axes of the one are which of the other. Their loops agree if they reduce the
same axes, or one of them none; or if one reduces its rows and the other sums up over all rows (`Group.across`). The kernel that comes of it takes the
place of one of the two: behind everything that either reads, in front of everything that reads either, so that edges still point forward.
"""
from __future__ import annotations

from .groups import (
    AGAIN,
    APART,
    MAX_OPERANDS,
    MAX_VALUES,
    Group,
    covers,
    direct,
    legal,
    lies_along,
    may_store,
    strides_by_axis,
    under,
    use_axes,
    walks_of,
)
from .ir import Value
from .lower import ALIASES, SOURCES
from .record import contiguous_strides, count

LOOK_BACK = 4           # kernels that read the same memory are tried with so many of those before them
ROWS = 128              # fewer are not worth sums over all rows beside them
COLUMNS = 1 << 14       # more sums than the nearest caches hold

Walk = tuple[int, dict[int, int]]       # how an operand is read: its offset, and strides by axis


def merge(steps: list, wanted: set[Value], stored: set[Value], home: dict[Value, list[Group]], uses: dict[Value, list]) -> list:
    """The steps with siblings merged, in order of execution."""
    readers: dict[Value, list[Group]] = {}
    gone: set[int] = set()
    for g in [s for s in steps if isinstance(s, Group) and s.core is None and not s.inner and not stays(s)]:
        walks = whole_walks(g, stored)
        for a in candidates(walks, readers):
            both = merged(a, g, whole_walks(a, stored), walks, stored)
            position = None if both is None else place(a, g, stored, home, uses)
            if both is None or position is None:
                continue
            for v in g.nodes:
                home[v] = list(dict.fromkeys(a if x is g else x for x in home[v]))
            a.__dict__.update(both.__dict__, position=position)
            gone.add(id(g))
            for v in [v for v in a.nodes if v in stored and v not in wanted and not is_part(v) and covers([a], uses[v], home)]:
                stored.discard(v)           # nobody else reads it any more
            g, walks = a, whole_walks(a, stored)
            break
        for base in walks:
            known = readers.setdefault(base, [])
            if g not in known:
                known.append(g)
    return sorted([s for s in steps if id(s) not in gone], key=position_of)


def stays(g: Group) -> bool:
    """Whether a kernel is one of its own, where it is."""
    return any(v.attrs == APART for v in g.nodes) or all(v.attrs == AGAIN for v in g.nodes)


def position_of(step) -> int:
    return step.position if isinstance(step, Group) else step.index


def candidates(walks, readers) -> list[Group]:
    """The last kernels that have something to do with the same memory."""
    found: list[Group] = []
    for base in walks:
        found += [g for g in readers.get(base, ())[-LOOK_BACK:] if g not in found]
    return found


def whole_walks(g: Group, stored: set[Value]) -> dict[Value, list[Walk]]:
    """Operands in memory that a kernel reads whole, one element an iteration, and what it writes so."""
    found: dict[Value, list[Walk]] = {}
    for v, k, base, walk in walks_of(g):
        if len(walk[1]) == len(g.sizes) and base not in g.nodes and not (v.kind == "take" and k == 0):
            found.setdefault(base, []).append(walk)
    for v, axes in g.nodes.items():
        if v in stored and len([a for a in axes if a is not None]) == len(g.sizes) and not is_part(v):
            found.setdefault(v, []).append((0, strides_by_axis(axes, contiguous_strides(v.shape), v.shape)))
    return found


# -- which axes are which ----------------------------------------------------------------------------------------------
def matching(a: Group, b: Group, of_a, of_b) -> dict[int, int] | None:
    """b's axis -> a's, by an operand that both read in the same way."""
    for base, walks in of_b.items():
        for offset, strides in walks:
            mine = sorted((s, b.sizes[x], x) for x, s in strides.items())
            for start, others in of_a.get(base, ()):
                theirs = sorted((s, a.sizes[x], x) for x, s in others.items())
                if start == offset and [x[:2] for x in mine] == [x[:2] for x in theirs] and len({x[:2] for x in mine}) == len(mine):
                    return {x[2]: y[2] for x, y in zip(mine, theirs)}
    return None


# -- may they be one? --------------------------------------------------------------------------------------------------
def merged(a: Group, b: Group, of_a, of_b, stored: set[Value]) -> Group | None:
    """One kernel for both, if there can be one and it is worth it."""
    if a is b or not a.sizes or len(a.sizes) != len(b.sizes) or len(a.nodes) + len(b.nodes) > MAX_VALUES or len(a.operands | b.operands) > MAX_OPERANDS:
        return None
    axis = matching(a, b, of_a, of_b)
    if axis is None:
        return None
    g = Group(-1)
    g.sizes, g.operands = list(a.sizes), a.operands | b.operands
    loops = common_loops(a, b, axis)
    if loops is None:
        return None
    g.order, g.reduced, g.across = loops

    def renamed(axes):
        return tuple(None if x is None else axis[x] for x in axes)
    g.nodes, g.reduce_axes = dict(a.nodes), dict(a.reduce_axes)
    for v, axes in b.nodes.items():
        if g.nodes.setdefault(v, renamed(axes)) != renamed(axes):
            return None
        if v in b.reduce_axes and g.reduce_axes.setdefault(v, renamed(b.reduce_axes[v])) != renamed(b.reduce_axes[v]):
            return None
    g.nodes = dict(sorted(g.nodes.items(), key=lambda item: item[0].index))
    if not in_registers(g) or not all(may_store(g, v) for v in g.nodes if v in stored):
        return None
    if not (legal_across(g) if g.across else legal(g)) or (
            g.reduced and not (worth(g, a, b, stored) and all(lies_along(g, v) for v in g.nodes))):
        return None
    return g


def common_loops(a: Group, b: Group, axis: dict[int, int]) -> tuple | None:
    """(order of axes, reduced axes, are there sums over all rows) of a kernel that does what both do."""
    everything = set(range(len(a.sizes)))
    of_b = {axis[x] for x in b.reduced}
    mine, theirs = set(a.reduced), of_b
    order = a.order if a.reduced else [axis[x] for x in b.order]
    if mine == theirs or not mine or not theirs:
        if not a.across and not b.across:
            return order, a.reduced or tuple(axis[x] for x in b.reduced), False
    last = order[-1]
    row = mine if last in mine else theirs if last in theirs else None
    if row is None or row == everything or any(x not in (set(), row, everything - row) for x in (mine, theirs)):
        return None
    if a.across and mine != row or b.across and theirs != row:
        return None
    return order, tuple(sorted(row)), True


def in_registers(g: Group) -> bool:
    """Whether what one value has of another one is at hand where it is needed."""
    for c in g.nodes:
        for k, a in enumerate(c.args):
            chain = []
            while a.kind in ALIASES:
                chain.append(a)
                a = a.args[0]
            if a in g.nodes and (not direct(c, k, chain) or use_axes(g, (c, k, chain)) != g.nodes[a]):
                return False
    return True


def worth(g: Group, a: Group, b: Group, stored: set[Value]) -> bool:
    """Whether the loops of a reduction suit both. Two large results take turns with the operands in the nearest cache, and a map that is one long line
    by itself would be cut into short ones where what is reduced lies on both sides of what is kept."""
    writers = sum(any(v in stored and len([x for x in axes if x is not None]) == len(h.sizes) for v, axes in h.nodes.items()) for h in (a, b))
    kinds = [x in g.reduced for x in g.order]
    return writers < 2 and (bool(a.reduced and b.reduced) or kinds in (sorted(kinds), sorted(kinds, reverse=True)))


def legal_across(g: Group) -> bool:
    """Whether sums over all rows can be finished after all loops, and there are rows enough to be worth it."""
    row = set(g.reduced)
    late: set[Value] = set()
    for v in g.nodes:
        waits = any(under(a) in late for a in v.args)
        own = {a for a in g.nodes[v] if a is not None}
        if v.kind == "reduce" and {a for a in g.reduce_axes[v] if a is not None} != row:
            if waits or own != row or v.name in ("argmax", "argmin"):
                return False
            late.add(v)
        elif waits:
            if own != row or v.kind == "reduce":
                return False
            late.add(v)
    columns = count(g.sizes[a] for a in row)
    return columns <= COLUMNS and count(g.sizes) >= ROWS * columns


# -- when ----------------------------------------------------------------------------------------------------------------
def place(a: Group, b: Group, stored: set[Value], home, uses) -> int | None:
    """The position that the kernel for both may take: one of theirs."""
    before, after = -1, None
    for g in (a, b):
        for v in g.nodes:
            for other, earlier in overlapping(v) if is_part(v) else ():
                m = home[other][0]
                if m is not a and m is not b:
                    if earlier:
                        before = max(before, position_of(m))
                    else:
                        after = position_of(m) if after is None else min(after, position_of(m))
                elif m is not g:
                    return None         # one kernel has no order
            for x in v.args:
                base = under(x)
                if base.kind not in SOURCES:
                    makers = home.get(base, [base])
                    for m in makers[:1] if base in stored else ():
                        if m is not a and m is not b:
                            before = max(before, position_of(m))
            if v in stored and g in home[v]:
                for c, _, _ in uses[v]:
                    for reader in home.get(c) or [c]:
                        if reader is not a and reader is not b:
                            after = position_of(reader) if after is None else min(after, position_of(reader))
    for position in (b.position, a.position):
        if before < position and (after is None or position < after):
            return position
    return None


def is_part(v: Value) -> bool:
    """Whether a value is written into a part of a buffer that others are written into as well."""
    return v.kind == "map" and v.attrs[:1] == ("into",)


def overlapping(v: Value):
    """The other parts of v's buffer that may cover some of the same elements, and whether they are written before v."""
    _, target, strides, offset = v.attrs
    parts = [a for a in target.args if is_part(a) and a.attrs[1] is target]
    for other in parts:
        if other is not v and (other.attrs[2] != strides or meet(strides, other.shape, v.shape, offset - other.attrs[3])):
            yield other, parts.index(other) < parts.index(v)


def meet(strides, one, other, distance: int) -> bool:
    """Whether two strided regions whose starts are `distance` apart have an element in common: strides times steps that add up to it."""
    axes = sorted(((s, n, m) for s, n, m in zip(strides, one, other, strict=True) if s), key=lambda axis: -axis[0])
    reach = [sum(s * (max(n, m) - 1) for s, n, m in axes[i:]) for i in range(len(axes) + 1)]
    left = {distance}
    for i, (s, n, m) in enumerate(axes):
        left = {d - s * t for d in left for t in range(-((reach[i + 1] - d) // s), (d + reach[i + 1]) // s + 1) if 1 - m <= t <= n - 1}
        if len(left) > 64:
            return True
    return 0 in left



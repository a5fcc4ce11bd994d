"""A kernel in the making: its values, the axes that they run along, and what its loops can compute.

A kernel loops over axes. Each of its values has a tuple that says which axis each of its dimensions runs along (None for size 1).
Axes in `reduced` are reduced by the kernel; a kernel that reduces all of its axes may hold a second level: reductions within each row of the first (`inner`).
A kernel that reduces its rows may at once sum up over all rows (`across`): such sums, and what is computed of them, run along the reduced axes alone.
"""
from __future__ import annotations

from .ir import Value
from .lower import ALIASES
from .record import contiguous_strides, count

MAX_VALUES = 256        # of one kernel: what LLVM compiles in well under a second
MAX_OPERANDS = 28       # buffers of one kernel
ONE_ROW = 16384         # elements that one task may reduce by itself, when the whole tensor is the row
FUSABLE = frozenset(("map", "reduce", "take"))
APART = ("apart",)      # attributes of a map that is a kernel by itself
AGAIN = ("again",)      # of one that is computed a second time, late (see memory.py)


class Group:
    """A kernel in the making."""

    def __init__(self, position: int):
        self.position = position
        self.sizes: list[int] = []
        self.order: list[int] = []              # axes, outermost first
        self.reduced: tuple[int, ...] = ()
        self.inner: tuple[int, ...] = ()        # second level
        self.across = False                     # are there reductions over all axes but the reduced ones?
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


def direct(c: Value, k: int, chain) -> bool:
    """Whether an operand can be a number in a register: not through a real reshape or view, and not as the table of a take."""
    if c.kind not in FUSABLE or (c.kind == "take" and k == 0):
        return False
    return all(is_unit_reshape(a) for a in chain)


def covers(groups: list[Group], uses, home) -> bool:
    """Whether every use of a value is within its own groups and needs no buffer."""
    for c, k, chain in uses:
        for g in home.get(c) or (None,):
            if g not in groups or not direct(c, k, chain):
                return False
    return True


def is_unit_reshape(a: Value) -> bool:
    """A reshape that only adds or removes dimensions of size 1."""
    if a.kind != "reshape":
        return False
    source = a.args[0]
    return [n for n in a.shape if n != 1] == [n for n in source.shape if n != 1]


def may_store(g: Group, v: Value) -> bool:
    """Is v computed once for each of its elements, so that g can write it?"""
    own = {a for a in g.nodes[v] if a is not None}
    everything = set(range(len(g.sizes)))
    return own in (everything, everything - set(g.inner) - set(g.reduced)) or (bool(g.inner) and own == everything - set(g.inner)) or (
        g.across and own == set(g.reduced))


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


def layout(v: Value) -> tuple[tuple[int, ...], int]:
    """Strides and offset of an operand in the buffer of what it stands over."""
    if v.kind == "view":
        return v.attrs
    return contiguous_strides(v.shape), 0


def walks_of(g: Group, values=None):
    """Every operand of a kernel's values that is no number: (value, operand number, what is in memory, walk). Tables that are looked up in
    are not walked."""
    for v in g.nodes if values is None else values:
        for k, a in enumerate(v.args):
            if v.kind == "take" and k == 0:
                continue
            base = under(a)
            if base.kind not in ("const", "scalar", "iota"):
                strides, offset = layout(a)
                yield v, k, base, (offset, strides_by_axis(operand_axes(g, v, k, a.shape), strides, a.shape))


def strides_by_axis(axes, strides, shape) -> dict[int, int]:
    found: dict[int, int] = {}
    for axis, s, n in zip(axes, strides, shape):
        if axis is not None and n != 1 and s:
            found[axis] = found.get(axis, 0) + s
    return found


def lies_along(g: Group, v: Value) -> bool:
    """Whether all that v reads lies along the innermost axis, and its place in a buffer does, so that loops of any kind suit it."""
    if not g.order:
        return True
    last = g.order[-1]
    if v.kind == "map" and v.attrs[:1] == ("into",) and strides_by_axis(g.nodes[v], v.attrs[2], v.shape).get(last, 0) not in (0, 1):
        return False
    return v is g.core or all(walk[1].get(last, 0) in (0, 1) for _, k, base, walk in walks_of(g, (v,)) if base not in g.nodes and (v.kind != "take" or k))

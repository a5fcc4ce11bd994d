"""Fusion: one linear pass, last value first.

A value joins the kernel of its earliest consumer if that kernel can compute it in its loops; other consumers then read it from memory.
Kernels keep the position of their last value. Joining the earliest consumer keeps every edge between kernels pointing from a smaller
position to a larger one, so no cycle can arise and the order of execution is the order of positions.
Then kernels that read the same memory in the same way become one (siblings.py).
"""
from __future__ import annotations

from typing import Any

from .groups import (
    APART,
    FUSABLE,
    MAX_OPERANDS,
    MAX_VALUES,
    Group,
    covers,
    is_unit_reshape,
    legal,
    lies_along,
    may_store,
    under,
    use_axes,
)
from .ir import Value
from .lower import ALIASES, SOURCES
from .siblings import merge

SMALL = 16              # how many times an operand goes into a value for which it counts as nothing
CHEAP_CHAIN = 3         # simple operations that are computed again
CHEAP = frozenset(("add", "sub", "mul", "neg", "cast", "copy", "where", "lt", "le", "gt", "ge", "eq", "ne", "and", "or", "not", "maximum", "minimum", "abs"))


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
        groups = [] if into or v.attrs == APART else join_consumers(v, uses[v], home, outside, v in indices)
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
    steps = merge(steps, wanted_set, stored, home, uses)
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


def is_cheap(v: Value) -> bool:
    """Worth computing again in each consumer: a few simple operations on at most one array, and on small ones. Memory holds that array instead of v."""
    return 0 < cheap_length(v) <= CHEAP_CHAIN


def cheap_length(v: Value) -> int:
    """How many simple operations in a row make v from an array; 0 if it is made in another way."""
    if v.kind != "map" or v.name not in CHEAP:
        return 0
    length, full = 1, 0
    for a in map(under, v.args):
        if a.kind in ("const", "scalar", "iota") or (a.kind in FUSABLE and a.numel * SMALL <= v.numel):
            continue            # storing it is next to nothing
        if a.kind in FUSABLE and (a.kind != "map" or a.name not in CHEAP or a.numel != v.numel):
            return 0            # it is at hand in one place only
        full += a.numel == v.numel
        length = max(length, 1 + cheap_length(a)) if length <= CHEAP_CHAIN else length
    return length if full <= 1 else 0


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
    across = g.core is not None and not all(lies_along(g, n) for n in (g.nodes if g.core is v else (v,)))     # tiles are computed from in rows
    if across or not legal(g) or (stores and not may_store(g, v)):
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

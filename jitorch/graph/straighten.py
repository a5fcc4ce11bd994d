"""Copies of views that lie across what a kernel writes.

A kernel that reduces and then writes whole arrays (a softmax, a normalisation) runs along its results as they lie in memory, more than once. An operand
that lies the other way (a transposed view) would be read a cache line at a time for each of its numbers. Turning it first, in tiles, is one pass at the
speed of memory. Kernels without reductions turn tiles themselves (kernels/cpu/loops_map.py); reductions alone run through memory as it lies.
"""
from __future__ import annotations

from .groups import APART, Group, operand_axes, strides_by_axis, under
from .ir import Value
from .schedule import Schedule

TURNED = 8              # sizes of two axes from which turning pays
WORTH = 4096            # elements


def straighten(values: list[Value], plan: Schedule) -> bool:
    """Put copies into the program in place of the views that lie across. Returns whether there are any: then it is to be scheduled again."""
    readers = [found for step in plan.steps if isinstance(step, Group) and step.reduced and step.core is None for found in crossing(step, plan.stored)]
    if not readers:
        return False
    copies: dict[Value, Value] = {}
    for c, k in readers:
        a = c.args[k]
        if a not in copies:
            copies[a] = Value(a.builder, "map", "copy", (a,), a.shape, a.dtype, APART)
            copies[a].line = c.line
        c.args = (*c.args[:k], copies[a], *c.args[k + 1:])
    # a view is followed by its copy
    values[:] = [x for v in values for x in ((v, copies[v]) if v in copies else (v,))]
    for i, v in enumerate(values):
        v.index = i
    return True


def crossing(g: Group, stored: set[Value]) -> list[tuple[Value, int]]:
    """The operands (consumer, operand number) of a group that are views across its results."""
    loops = {*g.reduced, *g.inner}
    whole = [v for v in g.nodes if v in stored and not v.attrs and len({a for a in g.nodes[v] if a is not None}) == len(g.sizes) and loops & set(g.nodes[v])]
    if not whole:
        return []
    along = next(a for a in reversed(g.nodes[whole[0]]) if a is not None)
    found = []
    for v in g.nodes:
        for k, a in enumerate(v.args):
            if a.kind != "view" or a.numel < WORTH or (v.kind == "take" and k == 0):
                continue
            if under(a).kind in ("const", "scalar", "iota"):
                continue
            steps = strides_by_axis(operand_axes(g, v, k, a.shape), a.attrs[0], a.shape)
            if g.sizes[along] >= TURNED and steps.get(along, 0) not in (0, 1) and any(s == 1 and g.sizes[x] >= TURNED for x, s in steps.items()):
                found.append((v, k))
    return found

"""From a scheduled group to the source of a kernel.

Five loop shapes, all `kernel(args, lo, hi)` over [lo, hi) of their units: map, row, column, block and total, each in a file of its own (loops_*.py).
The source holds no sizes: sizes and strides are words of the argument table. A stride of 0 or 1, or of 2 to 4, along the
innermost axis is part of the source.
"""
from __future__ import annotations

from .description import Access, GroupView, Kernel, iota_axes, operand_axes
from .expressions import can_write
from .loops_block import BlockWriter
from .loops_column import ColumnWriter
from .loops_map import MapWriter
from .loops_row import RowWriter
from .loops_total import TotalWriter
from .writer import Writer


def generate(view: GroupView) -> Kernel:
    """The kernel for a group: pick the loop shape, then write it."""
    arrange(view)
    collapse(view)
    if not view.reduced:
        return MapWriter(view).write()
    kept = [a for a in view.order if a not in view.reduced and a not in view.inner]
    if not kept:
        if waits_for_total(view):
            return RowWriter(view).write([])
        return TotalWriter(view).write()
    if any(v.kind == "reduce" and not any(a in view.reduced for a in view.reduce_axes[v]) for v in view.nodes):
        return BlockWriter(view).write(kept)
    if view.order[-1] in view.reduced:
        return RowWriter(view).write(kept)
    return ColumnWriter(view).write(kept)


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


# -- order of axes, and merging them -----------------------------------------------------------------------------------
def arrange(view: GroupView) -> None:
    """Let the loops of a reduction run through its large operands as they lie in memory, if that is not along the innermost axis:
    they are read, once or more often, before anything is written."""
    if not view.reduced or view.inner or len(view.order) < 2:
        return
    last = view.order[-1]
    everything = [x for x in view.reads.values() if len(x.strides) == len(view.order)]
    if not everything or any(x.strides.get(last, 0) == 1 for x in everything):
        return
    strides = everything[0].strides
    if any(x.strides != strides for x in everything) or 1 not in strides.values():
        return
    view.order = sorted(view.order, key=lambda a: -abs(strides[a]))


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


__all__ = ["Access", "GroupView", "Kernel", "Writer", "can_write", "generate", "operand_axes"]

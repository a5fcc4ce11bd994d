"""Elementwise kernels. A unit is an element (one axis) or a row."""
from __future__ import annotations

from .description import Kernel, product
from .writer import CHUNK, Writer


class MapWriter(Writer):
    def write(self) -> Kernel:
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

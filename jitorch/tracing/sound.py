"""Whether a program from a file is one that could have been captured: kernels trust shapes, strides and places.

Everything that decides where memory is read or written is looked at once for each form of a program, before it runs: a
file whose digests fit may still have been written by someone else. Shapes and dtypes of results must be those that the
op table's own rules give.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..dtypes import dtype
from ..graph.program import Step, op_name
from ..graph.record import Meta, Size, count
from ..tensor import Tensor
from .capture import Draw, Ending, Look, Made, Run, Slot
from .replay import Branch

Extent = tuple[dtype, int]          # of a buffer: what it holds, and how many
DRAWN = 2                           # numbers that a draw gives: seed and counter
READERS = (None, "item", "tolist")
MOST = 1 << 48                      # elements


class Unsound(ValueError):
    """Why it can't be run."""


def require(condition: Any, what: str) -> None:
    if not condition:
        raise Unsound(what)


def prove(root: Branch, tensors: Sequence[Tensor], arguments: int) -> None:
    """Raises Unsound unless every path of a program may be run on these tensors."""
    own = [(t._storage.meta.dtype, t._storage.meta.numel) for t in tensors]
    stack = [(root, Path(own, arguments))]
    while stack:
        branch, path = stack.pop()
        for event in branch.events:
            path.event(event)
        if branch.read is None:
            if branch.ending is None:
                raise Unsound("a path has no end")
            path.ending(branch.ending)
            continue
        path.look(branch.read.look)
        require(branch.read.returned in READERS, "a value is read in an unknown way")
        path.reads += 1
        stack += [(child, path.copy()) for child in branch.children.values()]


class Path:
    """What is there on the way: buffers, numbers and values."""

    def __init__(self, own: list[Extent], arguments: int):
        self.own, self.arguments = own, arguments
        self.made: list[Extent] = []
        self.runs: list[list[Extent]] = []
        self.draws = self.reads = 0

    def copy(self) -> Path:
        other = Path(self.own, self.arguments)
        other.made, other.runs, other.draws, other.reads = [*self.made], [*self.runs], self.draws, self.reads
        return other

    def extent(self, place: Any) -> Extent:
        kind, *numbers = place
        held: Any = {"own": self.own, "made": self.made, "out": self.runs}.get(kind)
        require(held is not None and len(numbers) == (2 if kind == "out" else 1), f"there is no place {place}")
        for number in numbers:
            require(whole(number) and number < len(held), f"there is no place {place}")
            held = held[number]
        return held

    def event(self, e: Any) -> None:
        if isinstance(e, Made):
            require(whole(e.number) and e.number == len(self.made) and type(e.written) is bool, "constants are out of order")
            from ..dtypes import from_numpy

            self.made.append((from_numpy(e.values.dtype), e.values.size))
        elif isinstance(e, Draw):
            require(whole(e.n), "a number of random places is none")
            self.draws += 1
        else:
            self.run(e)

    def run(self, run: Run) -> None:
        program = run.program
        known: dict[int, Meta] = {}
        require(all(type(x) in (int, float, bool, complex) for x in run.scalars), "a number is none")
        for step in [*program.leaves, *(s for s in program.steps if s.op != "leaf")]:
            for i, meta in enumerate(results_of(step, known, len(run.scalars)), step.index):
                require(whole(i) and i not in known, "results are numbered twice")
                known[i] = meta
        require(len(run.leaves) == len(program.leaves), "inputs are missing")
        places = dict(zip(program.leaf_slots, run.leaves, strict=True))
        for slot, (place, start, span) in places.items():
            (kind, numel), meta = self.extent(place), known[slot]
            require(kind is meta.dtype, f"an input is {kind}, not {meta.dtype}")
            if start is not None:
                require(whole(start) and whole(span) and start + span <= numel, "an input lies outside of its memory")
                numel = span
            require(numel == meta.numel, f"an input has {numel} elements, not {meta.numel}")
        for slot, home in program.wanted:
            require(slot in known, "a result is missing")
            if home != -1:
                place, start, _ = places.get(home, (("",), 0, 0))
                require(start is None and place[0] == "own" and place[1] >= self.arguments, "a result is written to what may not change")
                require((known[slot].dtype, known[slot].numel) == (known[home].dtype, known[home].numel), "a result doesn't fit where it is written")
        homes = [home for _, home in program.wanted if home != -1]
        require(len(homes) == len(set(homes)), "two results are written to one place")
        for start, number, n in run.fills:
            require(n == DRAWN and whole(start) and start + n <= len(run.scalars) and whole(number) and number < self.draws, "random numbers are missing")
        self.runs.append([(known[slot].dtype, known[slot].numel) for slot, _ in program.wanted])

    def look(self, look: Look) -> None:
        kind, numel = self.extent(look.place)
        require(isinstance(look.meta, Meta) and look.meta.dtype is kind, "a value is read as another dtype")
        inside(look.meta.shape, look.meta.strides, look.relative, numel)

    def ending(self, end: Ending) -> None:
        for place, meta, _ in end.storages:
            require(isinstance(meta, Meta) and (meta.dtype, meta.numel) == self.extent(place), "a result is another one than was computed")
            sizes(meta.shape)
        for number, spec in enumerate(end.tensors):
            if spec[0] == "own":
                require(len(spec) == 2 and whole(spec[1]) and spec[1] < len(self.own), "a result is missing")
                continue
            require(spec[0] == "new" and whole(spec[1]) and spec[1] < len(end.storages), "a result is missing")
            require(type(spec[4]) is int and -1 <= spec[4] < number, "a view has no base")
            meta, storage = spec[2], end.storages[spec[1]][1]
            if meta is not None:
                require(isinstance(meta, Meta) and meta.dtype.itemsize == storage.dtype.itemsize, "a view has another dtype")
                inside(meta.shape, meta.strides, meta.offset, storage.numel)
        for place, n in end.written:
            require(place[0] == "own" and self.extent(place) and whole(n), "what is written is missing")
        self.structure(end.result, len(end.tensors))

    def structure(self, x: Any, tensors: int) -> None:
        if isinstance(x, Slot):
            require(whole(x.number) and x.number < (self.reads if x.read else tensors), "a result is missing")
        elif isinstance(x, (tuple, list)):
            for v in x:
                self.structure(v, tensors)
        elif isinstance(x, dict):
            for v in x.values():
                self.structure(v, tensors)


def results_of(step: Step, known: dict[int, Meta], scalars: int) -> Sequence[Meta]:
    """What a step gives, by the rules of its op, which must be what the file says."""
    name = op_name(step)
    require(step.metas and all(isinstance(m, Meta) for m in step.metas), f"{name} has no results")
    for m in step.metas:
        sizes(m.shape)
    if step.op == "leaf":
        require(len(step.metas) == 1 and step.metas[0].contiguous and step.metas[0].offset == 0 and not step.slots, "an input has an unknown layout")
        return step.metas
    require(all(i is None or i == -1 or i in known for i in step.slots), f"{name} reads what isn't there")
    if step.op == "view":
        require(len(step.slots) == 1 and step.slots[0] in known and len(step.attrs) == 3 and not step.scalars, "a view is damaged")
        base, (shape, strides, offset) = known[step.slots[0]], step.attrs
        inside(shape, strides, offset, base.numel)
        made: Any = Meta(shape, base.dtype)
    else:
        numbers = iter(step.scalars)
        require(len(step.scalars) == sum(i == -1 for i in step.slots), f"{name} has other numbers")
        require(all(type(x) in (int, float, bool, complex) for x in step.scalars), f"{name} has a number that is none")
        if step.where is not None:
            require(len(step.where) == len(step.scalars) and 0 <= step.where.start and step.where.stop <= scalars, f"{name} has other numbers")
        operands = [None if i is None else type(next(numbers)) if i == -1 else known[i] for i in step.slots]
        try:
            made = step.op.infer(*operands, *step.attrs)
        except Exception as error:
            raise Unsound(f"{name}: {error}") from None
    found = (made,) if isinstance(made, Meta) else tuple(made)
    require([m.key for m in found] == [m.key for m in step.metas], f"{name} gives {list(found)}, not {list(step.metas)}")
    return found


def whole(x: Any) -> bool:
    return type(x) is int and 0 <= x < MOST


def sizes(shape: Any) -> None:
    require(isinstance(shape, (tuple, list, Size)) and all(whole(n) for n in shape) and count(shape) < MOST, f"{shape} is no shape")


def inside(shape: Any, strides: Any, offset: Any, numel: int) -> None:
    """Raises Unsound unless a strided region lies within a buffer."""
    sizes(shape)
    require(isinstance(strides, (tuple, list)) and len(strides) == len(shape) and all(map(whole, strides)) and whole(offset), "a view is damaged")
    if 0 not in shape:
        require(offset + sum((n - 1) * s for n, s in zip(shape, strides, strict=True)) < numel, "a view lies outside of its memory")

"""A backward pass that was walked before is recorded at once, without running its rules again.

Rules only record operations, and what they record follows from the nodes they visit: which step each stands for, where
its edges lead, and which results (slots) it saved. So a pass leaves a `Pass` at the trie node where it began: the nodes it
visited, in terms of slots, and the trie node that it led to. The next pass that begins there compares its own nodes with
those, and if all agree, continues at that node. Whatever a rule could not be known by (a hook, a user's Function, a
number that changed, a value that was read in between, memory from elsewhere) makes it differ, and then the pass is walked.

    found = again(root, gradient, keep)         # [(leaf, gradient), ...], or None: it has to be walked
    note = Note.begin(root, gradient)           # when it is walked: None if there is nothing to learn
    note.visit(node)                            # after its rule, before its saved values are freed
    note.end(arrived)
"""
from __future__ import annotations

from typing import Any, NamedTuple

from ..graph.record import Meta, Node, Storage, Tape, counters, is_part, local, part_of, same_numbers
from .node import GradNode

KINDS = 16              # of passes that are remembered for one trie node, by the step and output of their root
VARIANTS = 4            # of each
MISSES = 8              # in a row: passes that differ each time are not worth the comparison


class Visit(NamedTuple):
    """A node of the backward graph, as every pass like this one finds it."""

    step: Any           # a node of the trie, or the record of a view
    edges: tuple        # for each operand: None, or the place in the pass of what it leads to, with the output number if it is not 0
    reads: tuple | None  # of its saved inputs and outputs, in order; None: its rule did not run


class Read(NamedTuple):
    """A saved value."""

    slot: int | None    # None: nothing read it
    meta: Any           # of the tensor; the number itself, if it is one
    part: bool = False  # a small view that is a leaf of its own, wherever it begins (see `Tape.enter_part`)


class Part(NamedTuple):
    """A small view that became a leaf on the way."""

    slot: int           # of its values
    leaf: int           # of the memory from its first to its last element
    source: int         # the slot of the saved part that it is made from
    meta: Meta
    offset: int         # from where the source begins


class Pass:
    """What a walk did, in terms of slots: it holds no tensor and no memory."""

    __slots__ = ("visits", "seed", "root", "entered", "parts", "views", "scalars", "scalar_index", "values", "results", "end")

    visits: list[Visit | None]                  # by place; the root's node first; None for a leaf
    seed: Read | None                           # the gradient that was given
    root: Meta
    entered: dict[int, Meta]                    # storages that became leaves of the program on the way
    parts: list[Part]
    views: dict[tuple, int]
    scalars: list
    scalar_index: int
    values: list[tuple[int, Meta]]              # storages of the gradients that arrived
    results: list[tuple[int, int, Meta]]        # of each: the leaf's place, the number of its storage, its geometry
    end: Node


class Known:
    """The passes of one kind, that used last first; how many passes in a row were like none of them."""

    __slots__ = ("variants", "misses")

    def __init__(self) -> None:
        self.variants: list[Pass] = []
        self.misses = 0


def key_of(root, gradient):
    return root._grad_fn.step, root._output_nr, gradient is None


class Sources:
    """What a pass finds outside the tape: storages that have to be entered, and where parts begin, by slot."""

    def __init__(self) -> None:
        self.entering: dict[int, Storage] = {}
        self.parts: dict[int, tuple[Storage, int]] = {}


def slot_now(tape: Tape, storage: Storage) -> int | None:
    """Where a storage's value is on the tape; None if it is not there (yet)."""
    if storage.tape is tape:
        return storage.slot
    epoch, slot = storage.entered
    return slot if epoch is tape.epoch else tape.leaf_slots.get(storage)


def is_part_now(tape: Tape, storage: Storage, meta: Meta) -> bool:
    return storage.tape is not tape and meta is not storage.meta and is_part(storage, meta)


def part_key(storage: Storage, meta: Meta, offset: int) -> tuple:
    return storage, meta.shape, meta.strides, offset


# -- comparing, and continuing ------------------------------------------------------------------------------------------
def again(root, gradient, keep: bool) -> list | None:
    """The gradients that arrive at the leaves, recorded as an earlier pass recorded them; None where no pass was like this."""
    tape = local.tape
    if root.grad_fn is None or not tape.node.passes:
        return None
    if tape.capture is not None and tape.capture.lines is not None:
        return None                             # its numbers have to be met one by one
    arrived = None
    with tape.alone:
        known = tape.node.passes.get(key_of(root, gradient))
        if known is None or known.misses > MISSES:
            return None
        variants = known.variants
        for i, one in enumerate(variants):
            sources = Sources()
            places = compare(one, tape, root, gradient, sources)
            if places is not None:
                known.misses = 0
                if i:
                    known.variants = [one, *variants[:i], *variants[i + 1 :]]
                arrived = proceed(one, tape, root, places, sources, keep)
                break
        else:
            known.misses += 1
    if arrived is not None and tape.node.index > tape.limit:
        tape.flush()
    return arrived


def compare(known: Pass, tape: Tape, root, gradient, sources: Sources) -> list | None:
    """The nodes and leaves by their places, if all are as they were; sets `sources`."""
    m = root._meta
    if m is not known.root and m.key != known.root.key:
        return None
    if known.seed is not None and not same(known, tape, gradient, gradient._storage, gradient._storage.version, known.seed, sources):
        return None
    places: list[Any] = [root._grad_fn]
    for place, visit in enumerate(known.visits):
        node = places[place]
        if visit is None:
            if node.__class__ is GradNode:
                return None
            continue
        step, edges, reads = visit
        if node.__class__ is not GradNode or node.watched or (node.step is not step and node.step != step):
            return None
        for edge, expected in zip(node.edges, edges):
            if edge.__class__ is tuple:
                if expected.__class__ is not tuple or edge[1] != expected[1]:
                    return None
                edge, expected = edge[0], expected[0]
            if edge is None or expected is None:
                if edge is not expected:
                    return None
            elif expected == len(places):
                places.append(edge)
            elif expected.__class__ is tuple or places[expected] is not edge:
                return None
        if reads:
            saved = node.saved if node.outputs is None else (*node.saved, *saved_outputs(node))
            if len(saved) != 3 * len(reads):
                return None
            values = iter(saved)
            for read, tensor, storage, version in zip(reads, values, values, values):
                slot, meta, part = read
                if storage is not None and storage.version == version and tensor._meta is meta and tensor._storage is storage and not part:
                    epoch, now = (tape.epoch, storage.slot) if storage.tape is tape else storage.entered
                    if epoch is tape.epoch and now == slot:
                        continue                # the usual case of `same`
                if not same(known, tape, tensor, storage, version, read, sources):
                    return None
    if len(set(map(id, places))) != len(places) or len(set(map(id, sources.entering.values()))) != len(known.entered):
        return None                             # two were different ones then, and are the same now
    return None if known.parts and not parts_are_new(known, tape, sources) else places


def same(known: Pass, tape: Tape, tensor, storage: Storage | None, version: int, read: Read, sources: Sources) -> bool:
    """Whether a saved value is what it was, at the same place, and not stale."""
    slot, meta, part = read
    if storage is None:
        return tensor.__class__ is meta.__class__ and (tensor is None or same_numbers((tensor,), (meta,)))
    m = tensor._meta
    if storage.version != version or tensor._storage is not storage or m.__class__ is not meta.__class__:
        return False
    if part:
        return same_part(known, tape, storage, m, read, sources)
    if m is not meta and m.key != meta.key:
        return False
    if slot is None:
        return True
    now = slot_now(tape, storage)
    if now is not None:
        return now == slot
    leaf = known.entered.get(slot)
    if leaf is None or storage.tape is not None or storage.error is not None or storage.meta.key != leaf.key:
        return False
    return sources.entering.setdefault(slot, storage) is storage


def same_part(known: Pass, tape: Tape, storage: Storage, m: Meta, read: Read, sources: Sources) -> bool:
    slot, meta, _ = read
    if m.shape != meta.shape or m.strides != meta.strides or m.dtype is not meta.dtype or not is_part_now(tape, storage, m):
        return False
    if slot is None:
        return True
    now = tape.parts.get(part_key(storage, m, m.offset))
    if now is None and (storage.tape is not None or storage.error is not None or all(p.slot != slot for p in known.parts)):
        return False
    return now in (None, slot) and sources.parts.setdefault(slot, (storage, m.offset)) == (storage, m.offset)


def parts_are_new(known: Pass, tape: Tape, sources: Sources) -> bool:
    """Whether the parts to be entered are all different, and none is there."""
    keys = set()
    for p in known.parts:
        storage, offset = sources.parts[p.source]
        keys.add(part_key(storage, p.meta, offset + p.offset))
    return len(keys) == len(known.parts) and keys.isdisjoint(tape.parts)


def proceed(known: Pass, tape: Tape, root, places: list, sources: Sources, keep: bool) -> list:
    """Continue at the end of the known pass."""
    for slot, storage in sources.entering.items():
        tape.leaves[slot] = storage             # before the steps are taken: an interrupt in between does no harm
    for p in known.parts:
        storage, offset = sources.parts[p.source]
        meta = Meta(p.meta.shape, p.meta.dtype, p.meta.strides, offset + p.offset)
        tape.leaves[p.leaf] = part_of(storage, meta)
        tape.note_part(storage, part_key(storage, meta, meta.offset), p.slot)
    if known.scalars:
        tape.scalars[known.scalar_index:] = known.scalars
    tape.node = known.end
    for slot, storage in sources.entering.items():
        tape.leaf_slots[storage] = slot
        storage.entered = (tape.epoch, slot)
        if storage.shared is not None and storage.seen_outside():
            tape.limit = -1
    tape.views.update(known.views)
    values = []
    for slot, meta in known.values:
        storage = Storage()
        storage.meta, storage.tape, storage.slot = meta, tape, slot
        tape.owners[slot] = storage
        values.append(storage)
    arrived = []
    for place, number, meta in known.results:
        g = root._alias()
        g._storage, g._meta = values[number], meta
        arrived.append((places[place], g))
    if not keep:
        for node, visit in zip(places, known.visits):
            if visit is not None and visit.reads is not None:
                node.free()
    return arrived


# -- learning -----------------------------------------------------------------------------------------------------------
class Note:
    """What is written down while a pass is walked."""

    def __init__(self, tape: Tape, root, gradient):
        self.tape, self.root, self.gradient = tape, root, gradient
        self.start, self.epoch, self.reads = tape.node, tape.epoch, counters.reads - len(tape.parts)
        self.visited: dict[GradNode, tuple | None] = {}
        self.sources = Sources()

    @staticmethod
    def begin(root, gradient) -> Note | None:
        """None unless a pass like this is likely to come again: it has begun here before, and was no other one each time."""
        fn = root.grad_fn
        if fn is None or not fn.step.op.lasting:
            return None
        tape = local.tape
        if tape.capture is not None and tape.capture.lines is not None:
            return None
        passes, key = tape.node.passes, key_of(root, gradient)
        known = passes.get(key)
        if known is None:
            if len(passes) >= KINDS:
                passes.clear()
            passes[key] = Known()
            return None
        return None if tape.numbers_change or known.misses > MISSES else Note(tape, root, gradient)

    def visit(self, node: GradNode) -> None:
        values = iter((*node.saved, *saved_outputs(node)))
        self.visited[node] = None if node.watched else tuple(
            [self.read(tensor, storage) for tensor, storage, _ in zip(values, values, values)])

    def read(self, tensor, storage: Storage | None) -> Read:
        if storage is None:
            return Read(None, tensor)
        meta = tensor._meta
        if is_part_now(self.tape, storage, meta):
            slot = self.tape.parts.get(part_key(storage, meta, meta.offset))
            if slot is not None:
                self.sources.parts[slot] = storage, meta.offset
            return Read(slot, meta, True)
        slot = slot_now(self.tape, storage)
        if slot is not None:
            self.sources.entering[slot] = storage
        return Read(slot, meta)

    def end(self, arrived: list) -> None:
        """Leave a Pass where the walk began, if the walk can be told from what it visited."""
        tape, start = self.tape, self.start
        seed = None if self.gradient is None else self.read(self.gradient, self.gradient._storage)
        if tape.epoch is not self.epoch or counters.reads - len(tape.parts) != self.reads:
            return                              # something ran, or was read, in between (a part is read when it is entered)
        places: list[Any] = [self.root._grad_fn]
        numbers = {id(places[0]): 0}
        visits: list[Visit | None] = []
        for target in places:                   # grows
            if target.__class__ is not GradNode:
                visits.append(None)
                continue
            edges: list[Any] = []
            for edge in target.edges:
                goal, nr = edge if edge.__class__ is tuple else (edge, 0)
                if goal is None:
                    edges.append(None)
                    continue
                if id(goal) not in numbers:
                    numbers[id(goal)] = len(places)
                    places.append(goal)
                edges.append((numbers[id(goal)], nr) if nr else numbers[id(goal)])
            if not target.step.op.lasting or self.visited.get(target, ()) is None:
                return                          # a user's Function, or a hook has seen it
            visits.append(Visit(target.step, tuple(edges), self.visited.get(target)))
        found = Pass()
        parts = self.new_parts()
        entered = {slot: storage for slot, storage in tape.leaves.items() if slot > start.index}
        for p in parts or ():
            del entered[p.leaf]
        if parts is None or any(self.sources.entering.get(slot) is not storage for slot, storage in entered.items()):
            return                              # memory that no node has saved
        found.values, found.results = [], []
        held: dict[Storage, int] = {}
        for leaf, g in arrived:
            s = g._storage
            if s.tape is not tape or s.slot <= start.index or s in tape.leaf_slots or g._rg:
                return                          # a gradient that was not computed on the way
            if s not in held:
                held[s] = len(held)
                found.values.append((s.slot, s.meta))
            found.results.append((numbers[id(leaf)], held[s], g._meta))
        found.visits, found.seed, found.root, found.parts = visits, seed, self.root._meta, parts
        found.entered = {slot: storage.meta for slot, storage in entered.items()}
        found.views = {key: slot for key, slot in tape.views.items() if slot > start.index}
        found.scalar_index = start.scalar_index + len(start.scalars)
        found.scalars = tape.scalars[found.scalar_index:]
        found.end = tape.node
        known = start.passes.get(key_of(self.root, self.gradient))
        if known is not None:
            known.variants = [found, *known.variants[: VARIANTS - 1]]


    def new_parts(self) -> list[Part] | None:
        """The parts that were entered on the way; None if one is of memory that no node has saved a part of."""
        found = []
        for (storage, shape, strides, offset), slot in self.tape.parts.items():
            if slot <= self.start.index:
                continue
            source = next((s for s, (held, _) in self.sources.parts.items() if held is storage), None)
            if source is None:
                return None
            meta = Meta(shape, storage.meta.dtype, strides, offset)
            leaf = slot if meta.contiguous else slot - 1        # the memory was entered first
            found.append(Part(slot, leaf, source, meta, offset - self.sources.parts[source][1]))
        return found


def saved_outputs(node: GradNode) -> list:
    """As `GradNode.saved`: tensor, storage, version, for each."""
    return [part for alias, version in (node.outputs or {}).values() for part in (alias, alias._storage, version)]

"""Capture: every operation steps from one node of a trie to the next; nothing runs until a value is needed.

A node stands for "this operation, after exactly these operations". Its rules for shape and dtype ran once, when the node
was made. The node at which a flush happens owns the programs compiled for it, so a repeated program is found by walking.

A step's inputs are slots: the number of the earlier result they come from. Python numbers given as operands are kept in
the node while they don't change; the first time another value comes by, the operand becomes a run-time scalar for good.

A signal handler or a finalizer may compute with tensors too, in the middle of what it interrupts. The interpreter lets them
in (and other threads) where something is called and where a loop goes round, and nowhere else. So what belongs together is
written without either: a step is found first, and taken if nobody has moved the tape since; otherwise it is found again.
What can't be written so is done in a block of `Tape.alone`: the others then record on a tape of their own.
"""
from __future__ import annotations

import os
import sys
import threading
import weakref
from types import FrameType
from typing import Any

import numpy as np

from ..device import cpu
from ..kernels import memory
from .program import Program, Step, counters

FLUSH_LENGTH = 4096       # operations recorded before a flush happens by itself
PART = 4                  # a view of at most a fourth of its storage is a small one
MAX_NODES = 100_000       # trie nodes kept; past that the least recently used programs go


class Size(tuple):
    """A shape: a tuple that prints as PyTorch's."""

    __slots__ = ()

    def __repr__(self) -> str:
        return f"torch.Size([{', '.join(map(str, self))}])"

    def numel(self) -> int:
        """The number of elements of a tensor of this shape."""
        return count(self)

    def __getitem__(self, i):
        got = tuple.__getitem__(self, i)
        return Size(got) if isinstance(i, slice) else got

    def __add__(self, other):
        return Size(tuple.__add__(self, tuple(other)))

    def __radd__(self, other):
        return Size(tuple.__add__(tuple(other), self))

    def __mul__(self, times):
        return Size(tuple.__mul__(self, times))

    __rmul__ = __mul__


def count(shape) -> int:
    n = 1
    for s in shape:
        n *= s
    return n


def contiguous_strides(shape) -> tuple[int, ...]:
    strides, step = [], 1
    for s in reversed(shape):
        strides.append(step)
        step *= max(s, 1)
    return tuple(reversed(strides))


class Meta:
    """What is known of a tensor without its values: shape, strides and offset in elements, dtype, device."""

    __slots__ = ("shape", "strides", "offset", "dtype", "device", "numel", "contiguous", "cache")

    def __init__(self, shape, dtype, strides=None, offset=0, device=cpu):
        self.shape = Size(shape)
        self.dtype, self.offset, self.device = dtype, offset, device
        self.numel = count(shape)
        natural = contiguous_strides(shape)
        self.strides = natural if strides is None else tuple(strides)
        self.contiguous = strides is None or self.numel == 0 or all(
            s == n for s, n, size in zip(self.strides, natural, shape) if size != 1)
        self.cache: dict = {}       # view geometries derived from this one

    @property
    def key(self):
        return (self.shape, self.strides, self.offset, self.dtype)

    def __repr__(self) -> str:
        return f"Meta({tuple(self.shape)}, {self.dtype.name})"


class Storage:
    """A buffer, or the promise of one: `tape` is None, or the tape on which `slot` holds the current value."""

    # Defaults live in the class: one is made for every recorded operation, and sets only what differs. There is no
    # `__init__` for the same reason: what sets three attributes itself takes two thirds of the time.
    meta: Meta
    buffer: Any = None                  # a np.ndarray, None before it is computed
    address = 0                         # of the buffer; 0: not asked for yet
    tape: Tape | None = None
    slot = -1
    version = 0
    shared: np.ndarray | None = None    # the NumPy array whose memory this is, once anyone outside can see it
    error: BaseException | None = None
    entered: tuple = (None, -1)         # the recording (`Tape.epoch`) that it was last entered in as a leaf, and its slot there

    def array(self) -> np.ndarray:
        """The buffer (one-dimensional), computed first if it is still a promise."""
        counters.reads += 1
        tape = self.tape
        if tape is not None:
            if tape is local.tape or tape.idle():
                tape.flush()
            else:
                found = tape.value_of(self)
                if found is not None:
                    return found
        if self.error is not None:
            raise RuntimeError("this tensor was never computed, because the run it belongs to failed: "
                               f"{self.error}") from self.error
        return self.buffer

    def seen_outside(self) -> bool:
        """Whether memory shared with NumPy is still held by somebody else (so that laziness could be noticed)."""
        owner = self.shared
        if owner is None:
            return False
        held = 2 + (owner is self.buffer or owner is self.buffer.base) + 1
        if sys.getrefcount(owner) > held:
            return True
        self.shared = None
        return False


def stored(meta: Meta, buffer: np.ndarray) -> Storage:
    """The storage of values that are there: `buffer` is one-dimensional."""
    s = Storage()
    s.meta, s.buffer = meta, buffer
    return s


class Node:
    """One step of the trie. `inputs` are the metas of its operands (the type of a number), `metas` those of its results."""

    __slots__ = ("parent", "op", "slots", "left", "right", "attrs", "kinds", "scalars", "runtime", "index", "scalar_index", "inputs",
                 "metas", "meta", "next", "last", "programs", "passes", "used", "line", "differentiable")

    def __init__(self, parent, op, slots, attrs, kinds, scalars, inputs, metas):
        self.parent, self.op, self.slots, self.attrs = parent, op, slots, attrs
        # of one or two tensors and nothing else
        self.left, self.right = (*slots, None)[:2] if 0 < len(slots) < 3 and not attrs and not scalars else (None, None)
        self.kinds, self.scalars, self.runtime = kinds, scalars, False
        self.inputs, self.metas, self.meta = inputs, metas, metas[0] if metas else None
        self.index = 0 if parent is None else parent.index + len(parent.metas)
        self.scalar_index = 0 if parent is None else parent.scalar_index + len(parent.scalars)
        self.next: dict[Any, Node] = {}
        self.last: Node | None = None                   # the step that was taken from here last, and mostly is the next time
        self.programs: dict[Any, Program] = {}
        self.passes: dict[Any, Any] = {}                # backward passes that started here (see autograd/replay.py)
        self.used = 0
        self.line = None
        self.differentiable = getattr(op, "vjp", None) is not None and self.meta.dtype.differentiable

    def fits(self, scalars: tuple) -> bool:
        """Whether these numbers are of the step's kinds, and its own unless they may change."""
        return self.kinds == tuple([x.__class__ for x in scalars]) and (self.runtime or same_numbers(self.scalars, scalars))

    def path(self) -> list[Node]:
        nodes, node = [], self
        while node.parent is not None:
            nodes.append(node)
            node = node.parent
        nodes.reverse()
        return nodes


ROOT = Node(None, None, (), (), (), (), (), ())
LEAF, VIEW = "leaf", "view"


def viewed(base: Meta, shape, strides, offset) -> Meta:
    """What a view of `base` is once it was read into memory of its own."""
    return Meta(shape, base.dtype)


_trie_lock = threading.RLock()          # held by one thread twice where a finalizer runs in the middle


def lookup(node: Node, op, slots: tuple, attrs: tuple, scalars: tuple, inputs, infer, runtime: bool = False) -> Node:
    """The child of `node` for this step; made on first sight, when `infer(*inputs, *attrs)` gives the metas of its results."""
    kinds = tuple([x.__class__ for x in scalars]) if scalars else ()
    key = (op, slots, attrs, kinds)
    child = node.next.get(key)
    if child is None:
        metas = infer(*inputs, *attrs)
        metas = tuple(metas) if isinstance(metas, (tuple, list)) else (metas,)
        with _trie_lock:
            child = node.next.get(key)      # another thread may have been first, with other numbers
            if child is None:
                child = node.next[key] = Node(node, op, slots, attrs, kinds, scalars, tuple(inputs), metas)
                child.line = user_line()
                child.runtime = bool(scalars) and (runtime or local.tape.numbers_change)
                counters.nodes += 1
    if scalars and not child.runtime and not same_numbers(child.scalars, scalars):
        generalise(child)
    node.last = child
    return child


PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep


def user_line() -> str | None:
    """Where the user's program is: the innermost frame outside this package, as "file:line"."""
    frame: FrameType | None = sys._getframe(2)
    while frame is not None and frame.f_code.co_filename.startswith(PACKAGE):
        frame = frame.f_back
    return None if frame is None else f"{os.path.basename(frame.f_code.co_filename)}:{frame.f_lineno}"


def same_numbers(a: tuple, b: tuple) -> bool:
    if a != b:
        return False
    return all(x != 0 or repr(x) == repr(y) for x, y in zip(a, b))       # 0.0 and -0.0 are equal, but not the same


def generalise(node: Node) -> None:
    """Make the numbers of a step run-time scalars, and forget the programs that had them baked in."""
    with _trie_lock:
        if node.runtime:
            return
        counters.generalised += 1
        stack = [node]
        while stack:
            n = stack.pop()
            n.programs = {}
            stack.extend(n.next.values())
        node.runtime = True         # last: a thread that sees this with other numbers must find none of those programs


def forget() -> None:
    """Empty the trie: every step is seen for the first time again, and every program built anew."""
    with _trie_lock:
        ROOT.next, ROOT.last, ROOT.passes = {}, None, {}
        counters.nodes = 0


def prune(keep: Tape) -> None:
    """Keep the more recently used half of the program-owning nodes, and what leads to them."""
    global ROOT
    with _trie_lock:
        owners, stack = [], [ROOT]
        while stack:
            n = stack.pop()
            if n.programs:
                owners.append(n)
            stack.extend(n.next.values())
        owners.sort(key=lambda n: -n.used)
        wanted: set[Node] = set()
        for n in owners[:len(owners) // 2]:
            while n is not None and n not in wanted and len(wanted) < MAX_NODES // 2:
                wanted.add(n)
                n = n.parent
        stack, total = [ROOT], 0
        while stack:
            n = stack.pop()
            n.next, n.last, n.passes = {k: c for k, c in n.next.items() if c in wanted}, None, {}
            total += len(n.next)
            stack.extend(n.next.values())
        counters.nodes = total


class Alone:
    """A block in which whatever interrupts this thread records elsewhere."""

    __slots__ = ("tape", "inside")

    def __init__(self, tape: Tape):
        self.tape, self.inside = tape, 0

    def __enter__(self) -> None:
        tape = self.tape
        if local.tape is tape:
            other = tape.stand_in
            if other is None:
                other = tape.stand_in = Tape()
            other.differentiates = tape.differentiates
            local.tape = other
        else:               # in another such block, or this is the tape of a thread that has ended
            self.inside += 1

    def __exit__(self, *_) -> None:
        if self.inside:
            self.inside -= 1
        else:
            local.tape = self.tape


class Tape:
    """What one thread has recorded since its last flush."""

    __slots__ = ("node", "epoch", "owners", "leaves", "leaf_slots", "scalars", "views", "lock", "flushing", "limit", "numbers_change", "thread",
                 "parts", "sliced", "capture", "differentiates", "alone", "stand_in", "running", "__weakref__")

    def __init__(self):
        self.lock = threading.RLock()
        self.flushing = False
        self.running: tuple[Program, list[Storage]] | None = None       # in a flush: the program, whose results these are
        self.alone = Alone(self)
        self.stand_in: Tape | None = None               # what is recorded on in a block of `alone`
        self.thread = threading.current_thread()
        self.numbers_change = False                     # are new numbers run-time scalars from the start
        self.differentiates = True                      # of no meaning here: whether autograd notes what is recorded
        self.capture: Any = None                        # a trace that watches (see jitorch/tracing/capture.py)
        self.reset()
        _tapes.add(self)

    def reset(self) -> None:
        epoch: object = object()
        sliced: set[Storage] = set()        # both made before: from here on nothing may come in between
        self.node = ROOT
        self.epoch = epoch                              # names this recording, until the next flush
        self.owners: dict[int, Storage] = {}            # slot -> the storage whose current value it is
        self.leaves: dict[int, Storage] = {}            # slot -> the storage that was entered there
        self.leaf_slots: dict[Storage, int] = {}
        self.scalars: list = []
        self.views: dict[tuple, int] = {}
        self.parts: dict[tuple, int] = {}               # (storage, shape, strides, offset) -> slot, see `enter_part`
        self.sliced = sliced                            # the storages of those
        self.limit = FLUSH_LENGTH                       # past it a flush happens; -1 once memory shared with NumPy was read

    # -- slots -----------------------------------------------------------------------------------------------------
    def slot_of(self, storage: Storage, meta: Meta) -> int:
        """The slot of a tensor's value, entering it as a leaf or as a view of its storage where need be."""
        while True:
            recording = self.epoch
            if storage.tape is self:
                slot = storage.slot
            elif meta is not storage.meta and is_part(storage, meta):
                return self.enter_part(storage, meta)
            else:
                epoch, slot = storage.entered
                if epoch is not recording:
                    slot = self.enter(storage)
            if meta is storage.meta:
                return slot
            base = storage.meta
            key = (slot, meta.shape, meta.strides, meta.offset)
            view = self.views.get(key)
            if view is not None:
                return view
            parent = self.node
            node = lookup(parent, VIEW, (slot,), key[1:], (), (base,), viewed)
            if self.node is parent and self.epoch is recording:
                self.node = node
                self.views[key] = view = node.index
                return view

    def enter(self, storage: Storage) -> int:
        meta, known = storage.meta, storage
        if storage.tape not in (None, self) or storage.error is not None:
            buffer = storage.array()        # another thread's: computed there or here; raises if that failed
            if storage.tape is not None:
                storage = stored(meta, buffer)
        while True:
            if known in self.leaf_slots:            # another thread has entered it in a recording of its own since
                return self.leaf_slots[known]
            parent = self.node
            node = parent.last
            if node is None or node.op is not LEAF or node.meta.dtype is not meta.dtype or node.meta.shape != meta.shape:
                node = lookup(parent, LEAF, (), (meta.shape, meta.dtype), (), (), Meta)
            if self.node is parent:
                slot = node.index
                self.leaves[slot] = storage
                self.node = node
                self.leaf_slots[known] = slot
                known.entered = (self.epoch, slot)
                if storage.shared is not None and storage.seen_outside():
                    self.limit = -1
                return slot

    def enter_part(self, storage: Storage, meta: Meta) -> int:
        """A small view of a computed storage (a batch of a data set) is a leaf of its own: the offset is an address at run time, so
        that every batch is the same program. A write to the storage has to flush first (see `assign` in tensor.py)."""
        key = (storage, meta.shape, meta.strides, meta.offset)
        slot = self.parts.get(key)
        if slot is not None:
            return slot
        leaf = part_of(storage, meta)
        with self.alone:
            node = lookup(self.node, LEAF, (), (leaf.meta.shape, meta.dtype), (), (), Meta)
            slot = node.index
            self.leaves[slot] = leaf
            self.node = node
            if not meta.contiguous:
                attrs = (meta.shape, meta.strides, 0)
                self.node = node = lookup(node, VIEW, (slot,), attrs, (), (leaf.meta,), viewed)
                slot = node.index
            self.note_part(storage, key, slot)
        return slot

    def note_part(self, storage: Storage, key: tuple, slot: int) -> None:
        if storage.shared is not None and storage.seen_outside():
            self.limit = -1
        self.sliced.add(storage)
        self.parts[key] = slot

    def take_over(self, storage: Storage, slot: int) -> None:
        """An in-place write: `slot` holds the storage's current value from now on."""
        if storage.tape is self:
            self.owners.pop(storage.slot, None)
        storage.slot, storage.tape = slot, self         # in this order: another thread that sees the tape finds the slot
        self.owners[slot] = storage

    # -- flushing --------------------------------------------------------------------------------------------------
    def idle(self) -> bool:
        """Is nothing recorded here, nor run, at this moment, and may this thread run what is left?"""
        if self.flushing:
            return False
        if self.thread.is_alive():      # a stand-in that a signal handler has recorded on
            return self.thread is local.tape.thread and local.tape.stand_in is self
        return True

    def flush(self) -> None:
        """Compute every recorded value that something can still reach."""
        with self.lock:
            if self.node is ROOT or self.flushing:
                return
            live: list[Storage] = []
            with self.alone:
                self.flushing = True
                try:
                    live = self.live_storages()
                    if live:
                        self.run(live)
                except BaseException as error:
                    for s in live:
                        lose(s, error)
                    raise
                finally:
                    self.flushing, self.running = False, None
                    self.reset()
                    if counters.nodes > MAX_NODES:
                        prune(self)

    def value_of(self, storage: Storage) -> np.ndarray | None:
        """A value that this tape's thread has recorded, for whoever can't have it run: another thread, because this one may be recording on at
        this moment, or what interrupts this thread. Computed on the reference tier, without touching the tape. None if a flush came in between.
        Raises RuntimeError in the middle of a run that overwrites what the value is computed from."""
        with self.lock:
            node, slot = self.node, storage.slot
            if storage.tape is not self:
                return None
            if self.running is not None:
                program, live = self.running
                half, results = program.interrupted()
                if results is not None and storage in live:
                    return results[live.index(storage)][0]
                if half:
                    raise RuntimeError("a signal handler or a finalizer asked for a tensor in the middle of the run that computes it: "
                                       "have it set a flag, and look at the tensor after the step")
            while node.index > slot:
                node = node.parent
            program = Program(steps_of(node), ((slot, -1),))
            leaves = [self.leaves[s.index].buffer for s in program.leaves]
            (buffer, _), = program.run_reference(leaves, list(self.scalars))
            return buffer

    def live_storages(self) -> list[Storage]:
        leaf_slots, refs = self.leaf_slots, sys.getrefcount
        return [s for s in self.owners.values() if s.tape is self and (refs(s) > UNREACHABLE or s in leaf_slots)]

    def run(self, live: list[Storage]) -> None:
        counters.flushes += 1
        node, homes = self.node, self.leaf_slots
        key = tuple([(s.slot, homes.get(s, -1)) for s in live])
        program = node.programs.get(key)
        if program is None:
            counters.programs_built += 1
            with _trie_lock:        # no number may become a run-time scalar between the two: the program would hold on to its value
                program = node.programs[key] = Program(steps_of(node), key)
        node.used = counters.flushes
        self.running = program, live
        leaves = [self.leaves[slot] for slot in program.leaf_slots]
        pairs = [(s.buffer, s.address) if s.address else located(s) for s in leaves]
        if self.capture is None:
            buffers, addresses = zip(*pairs) if pairs else ((), ())
            results = program.run(buffers, addresses, self.scalars)
        else:
            results = self.capture.run(self, program, live, leaves)
        for s, (buffer, address) in zip(live, results):
            s.buffer, s.address, s.tape, s.slot = buffer, address, None, -1


def is_part(storage: Storage, meta: Meta) -> bool:
    """Is a view so small that it is entered by itself?"""
    return 0 < meta.numel <= storage.meta.numel // PART


def part_of(storage: Storage, meta: Meta) -> Storage:
    """The elements from the first to the last of a view, as a storage."""
    buffer, offset = storage.array(), meta.offset
    span = 1 + sum([(n - 1) * s for n, s in zip(meta.shape, meta.strides)])
    return stored(Meta(meta.shape if meta.contiguous else (span,), meta.dtype), buffer[offset : offset + span])


def steps_of(node: Node) -> list[Step]:
    """The recorded operations that lead to `node`, as plain data for the engine."""
    steps = []
    for n in node.path():
        where = range(n.scalar_index, n.scalar_index + len(n.scalars)) if n.runtime else None
        steps.append(Step(n.op, n.slots, n.attrs, n.scalars, where, n.metas, n.index, n.line))
    return steps


def located(s: Storage) -> tuple[np.ndarray, int]:
    """A storage's buffer with its address. After a run of the reference tier, perhaps in another thread, the address has to be asked for."""
    buffer, address = s.buffer, s.address
    if not address:
        address = memory.address(buffer)
        if s.buffer is buffer:
            s.address = address
    return buffer, address


def lose(s: Storage, error: BaseException) -> None:
    """A run failed: what it would have computed is lost; what it would have overwritten keeps its old value."""
    s.tape, s.slot = None, -1
    if s.buffer is None:
        s.error = error


class _Local(threading.local):
    def __init__(self):
        self.tape = Tape()


_tapes: weakref.WeakSet[Tape] = weakref.WeakSet()
local = _Local()


def _calibrate() -> int:
    """The reference count that `live_storages` sees for a storage that only the tape holds."""
    owners, seen, refs = {0: Storage()}, [], sys.getrefcount
    # the same expression as in live_storages, so that the interpreter's own references are counted alike
    [s for s in owners.values() if s.tape is None and (seen.append(refs(s)) or s in seen)]  # type: ignore[func-returns-value]
    return seen[0]


UNREACHABLE = _calibrate()


def _after_fork() -> None:
    """In a forked child: nobody holds a lock any more, and no run of another thread will end."""
    _trie_lock.release()
    for tape in list(_tapes):
        if tape.thread is not threading.current_thread():
            tape.lock, tape.flushing, tape.running = threading.RLock(), False, None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_trie_lock.acquire, after_in_parent=_trie_lock.release, after_in_child=_after_fork)


def no_trace(why: str) -> None:
    """What happens now can't be done again by a trace: one that is being captured is given up."""
    capture = local.tape.capture
    if capture is not None:
        capture.fail(why)


def flush() -> None:
    """Run everything this thread has recorded."""
    local.tape.flush()

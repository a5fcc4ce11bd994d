"""Doing captured calls again: guards, the tree of paths, and one replay."""

from __future__ import annotations

from itertools import repeat
from operator import is_not
from sys import getrefcount
from typing import Any

import numpy as np

from .. import config
from ..autograd.node import GradNode, Record, _sequence
from ..changes import changes
from ..graph.program import Program, counters, op_name
from ..graph.record import Storage, located, stored
from ..kernels import memory
from ..tensor import Tensor
from .again import LIVE, Again, attach, live_numbers
from .capture import Check as LookEvent
from .capture import Diverged, Draw, Ending, Event, Given, Read, Run, Session, Slot, Step
from .world import Check, World, alike, compiled_checks

PLAIN_RUN = Program.run
NOTHING = repeat(None)
BRANCHES = 8        # values of one read that get a path of their own


class Branch:
    """Events up to a read, whose value picks the next branch, or up to the end of the call."""

    __slots__ = ("events", "read", "children", "ending")

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.read: Read | None = None
        self.children: dict[bytes, Branch] = {}
        self.ending: Ending | None = None


class Pending(Diverged):
    """This call can't be replayed, but others may."""


class Launch:
    """A run whose kernels are there, and that calls nothing else: only addresses have to be filled in."""

    def __init__(self, run: Run, replay: Replay):
        self.compiled = run.program.compiled
        # storages that are the same in every call, by leaf; others stand for those that a replay looks up
        nothing = Storage()
        nothing.buffer = np.empty(0)
        self.storages = [nothing] * len(run.leaves)
        self.others: list[tuple[int, tuple]] = []
        for k, spec in enumerate(run.leaves):
            place, start, _ = spec
            constant = run.program.constants.get(run.program.leaf_slots[k])
            if constant is not None:
                s = self.storages[k] = Storage()
                s.buffer, s.address = constant, memory.address(constant)
            elif place[0] == "own" and place[1] >= replay.arguments and start is None:
                self.storages[k] = replay.storage(place)
            else:
                self.others.append((k, spec))
        outputs = self.compiled.outputs
        self.fresh = [(i, outputs[i][2], outputs[i][1]) for i in self.compiled.fresh]

    def __call__(self, run: Run, replay: Replay, scalars: list) -> list:
        kept = [(s.buffer, s.address) if s.address and s.tape is None else settled(s) for s in self.storages]
        addresses = [address for _, address in kept]
        for k, spec in self.others:
            kept[k] = buffer, addresses[k] = replay.leaf(spec)
        results: list[Any] = [None] * len(self.compiled.outputs)
        for r, i, number in run.reuse:
            g = replay.tensors[i].grad
            if g is not None and getrefcount(g) == 3 and g.__class__ is Tensor and len(g.__dict__) == 2:
                s = g._storage
                # nobody else can see this gradient: its memory and the tensor itself become the new one
                if getrefcount(s) == 3 and s.shared is None and s.address and getrefcount(s.buffer) == 2 and g._meta is s.meta:
                    results[r] = (s.buffer, s.address)
                    replay.reused[number] = g
        for r, n, dtype in self.fresh:
            if results[r] is None:
                results[r] = memory.allocate(n, dtype)
        self.compiled.launch(addresses, [results[r][1] for r, _, _ in self.fresh], scalars)
        return results


def different(expected: Event | None, event: Event | None) -> str:
    """Two events that are not alike, in words: for runs, the first operation that differs and its line."""
    if isinstance(expected, Run) and isinstance(event, Run):
        for a, b in zip(expected.program.steps, event.program.steps, strict=False):
            if (a.op, a.slots, a.attrs) != (b.op, b.slots, b.attrs):
                return f"{op_name(b)} ({b.line or 'line unknown'}) is recorded where {op_name(a)} ({a.line or 'line unknown'}) was captured"
        if expected.program.wanted != event.program.wanted:
            step = event.program.steps[-1]
            return f"other results are wanted of {op_name(step)} ({step.line or 'line unknown'})"
        for k, (x, y) in enumerate(zip(expected.leaves, event.leaves, strict=True)):
            if x != y:
                step = event.program.leaves[k]
                return f"input {k}, {step.metas[0]} ({step.line or 'line unknown'}), comes from {y[0]} instead of {x[0]}"
        mine, theirs = expected.numbers(), event.numbers()
        for step in event.program.steps:
            n = len(step.scalars)
            if n and any(type(a) is not Given and not alike([a], [b]) for a, b in zip(mine[:n], theirs[:n], strict=False)):
                return f"{op_name(step)} ({step.line or 'line unknown'}) has the numbers {theirs[:n]} instead of {mine[:n]}"
            mine, theirs = mine[n:], theirs[n:]
        return "a number has another value"
    names = [type(e).__name__.lower() if e is not None else "nothing" for e in (event, expected)]
    line = next((s.line for e in (event, expected) if isinstance(e, Run) for s in e.program.steps if s.line), None)
    return f"{names[0]} where {names[1]} was captured{f' (near {line})' if line else ''}"


def settled(s: Storage) -> tuple[np.ndarray, int]:
    """The buffer of a storage with its address."""
    if s.tape is not None:
        raise Pending("another thread has recorded something about a tensor that has not run yet")
    return located(s)


class Replay:
    """The state of one replay."""

    __slots__ = ("tensors", "arguments", "constants", "numbers", "undo", "results", "script", "given", "reused", "reads", "live", "sources")

    def __init__(self, tensors: list[Tensor], arguments: int, given: tuple = ()):
        self.tensors, self.arguments, self.given = tensors, arguments, given
        self.constants: list[np.ndarray] = []
        self.numbers: list[tuple] = []
        self.undo: list[Any] = []
        self.results: list[list[tuple]] = []        # of each run: (buffer, address)
        self.reads: list[Any] = []
        self.live: list[Tensor] = []                # results that get a history, and what it leads to: see again.py
        self.sources: list[Tensor] = []
        self.reused: dict[int, Tensor] = {}         # of the ending's tensors, those that are there already
        self.script: list[tuple] = []               # what a session needs to go on from here

    def storage(self, place: tuple) -> Storage:
        t: Any = self.tensors[place[1]]
        return (t if place[0] == "own" else t.grad)._storage

    def buffer(self, place: tuple) -> np.ndarray:
        if place[0] == "out":
            return self.results[place[1]][place[2]][0]
        if place[0] == "made":
            return self.constants[place[1]]
        return self.storage(place).array()

    def leaf(self, spec: tuple) -> tuple[np.ndarray, int]:
        """(buffer, address)"""
        place, start, span = spec
        if place[0] == "out":
            buffer, address = self.results[place[1]][place[2]]
        elif place[0] == "made":
            buffer, address = self.constants[place[1]], 0
        else:
            buffer, address = settled(self.storage(place))
        if start is not None:
            if place[0] == "own" and place[1] < self.arguments:
                start += self.tensors[place[1]]._meta.offset
            buffer = buffer[start : start + span]
            address = 0
        return buffer, address or memory.address(buffer)

    def run(self, run: Run) -> None:
        scalars = run.scalars
        if run.fills or run.given:
            scalars = scalars.copy()
            for position, number in run.given:
                scalars[position] = self.given[number]
            for start, number, n in run.fills:
                scalars[start : start + n] = self.numbers[number]
        if run.launch is not None and config.tier != "reference" and not config.check and Program.run is PLAIN_RUN:
            counters.compiled_runs += 1
            results = run.launch(run, self, scalars)
        else:
            leaves = [self.leaf(spec) for spec in run.leaves]
            results = run.program.run([b for b, _ in leaves], [a for _, a in leaves], scalars)
            compiled = run.program.compiled
            if compiled is not None and compiled.tables is not None and not compiled.calls:
                run.launch = Launch(run, self)
        self.results.append(results)
        self.script.append(("run", run, results))

    def take_back(self) -> None:
        for undo in reversed(self.undo):
            undo()
        self.undo.clear()

    # -- the end ---------------------------------------------------------------------------------------------------
    def end(self, end: Ending) -> Any:
        for place, n in end.written:
            self.storage(place).version += n
        made: list[Any] = []
        storages: list[Any] = []
        for place, meta, version in end.storages:
            if place[0] == "out":
                buffer, address = self.results[place[1]][place[2]]
                s = stored(meta, buffer)
                s.address = address
                if version:
                    s.version = version
            elif place[0] == "made":
                s = stored(meta, self.constants[place[1]].copy())
            else:
                s = self.storage(place)
            storages.append(s)
        reused = self.reused
        for number, spec in enumerate(end.tensors):
            if number in reused:
                made.append(reused[number])
            elif spec[0] == "new":
                made.append(new_tensor(spec, storages, made))
            else:
                t: Any = self.tensors[spec[1]]
                made.append(t if spec[0] == "own" else t.grad)
        for i, number in end.grads:
            if number not in reused:
                self.tensors[i].grad = None if number < 0 else made[number]
        if end.sources:
            self.live = [made[k] for k in live_numbers(end.result, end.tensors)]
            self.sources = [self.tensors[i] for i in end.sources]
        result = end.result
        if result.__class__ is Slot and not result.read:
            return made[result.number]
        return filled(result, made, self.reads, self.given)


def new_tensor(spec: tuple, storages: list, made: list) -> Tensor:
    _, storage, meta, rg, base, spent, output, kind, untracked = spec
    t = object.__new__(kind)
    s = t._storage = storages[storage]
    t._meta = s.meta if meta is None else meta
    if rg:
        t._rg = True
    if base >= 0:
        t._base = made[base]
        t._seen = made[base]._writes
    if untracked:
        t._untracked = True
    if spent is not None and spent != LIVE:
        node = GradNode()
        node.step, node.edges, node.freed, node.seq = Record(spent, (), (), (t._meta,)), (), True, next(_sequence)
        t._grad_fn, t._output_nr = node, 0
    return t


def filled(x: Any, made: list, reads: list, given: tuple) -> Any:
    """A result's structure with its tensors and values."""
    if x.__class__ is Slot:
        return given[x.number] if x.given else reads[x.number] if x.read else made[x.number]
    if type(x) in (tuple, list):
        return type(x)([filled(v, made, reads, given) for v in x])
    if isinstance(x, tuple) and hasattr(x, "_fields"):
        return type(x)(*[filled(v, made, reads, given) for v in x])
    if type(x) is dict or type(x).__name__ == "OrderedDict":
        return type(x)((k, filled(v, made, reads, given)) for k, v in x.items())
    return x


class Capture:
    """The paths that calls took while the same guards held."""

    def __init__(self, session: Session, objects: list):
        world: World = session.world
        self.objects = objects                          # arguments whose identity is part of the key
        self.arguments = len(session.arguments)
        self.held = session.tensors[self.arguments :]
        self.watched, self.announced = world.watched, world.announced
        self.first_broken = compiled_checks(self.watched)
        self.structure = -1
        self.watch_gradients(session)
        self.exact = {i: (t._meta.offset, t._storage.meta.shape) for i in session.exact for t in [session.arguments[i]]}
        self.world_tensors = {id(t) for t in world.tensors}
        self.world_storages = {id(t._storage) for t in world.tensors}
        # of arguments that share memory with the world: the storage, and the tensor if it is one of the world's
        self.aliases = [(id(t._storage) if id(t._storage) in self.world_storages else 0, id(t) if id(t) in self.world_tensors else 0)
                        for t in session.arguments]  # fmt: skip
        self.root = Branch()
        self.eager: str | None = None                   # why calls that fit are not replayed
        self.example: Any = None                        # its arguments, for a file
        self.stale: str | None = None                   # why no call will fit any more
        self.replays = 0
        self.learned = len(world.learned.codes)
        # of a capture that is general in its numbers (see numbers.py): what programs are given, from the numbers of a call; None where it doesn't fit
        self.numbers: Any = None if session.lines is None else session.lines.function()
        self.facts = 0 if session.lines is None else session.lines.facts

    def watch_gradients(self, session: Session) -> None:
        """Whether a gradient is there is a guard, for what can have one; its shape too, where a program reads it."""
        places = {place for e in session.path if isinstance(e, Run) for place, _, _ in e.leaves}
        places.update(e.look.place for e in session.path if isinstance(e, (LookEvent, Read)))
        watched = session.tensors if session.sees_gradients() else []
        pairs = [(t, g) for t, g in zip(watched, session.grads, strict=False) if t._rg and id(t) not in session.forgotten]
        own = {id(t) for t in session.arguments}
        self.with_grad = [t for t, g in pairs if g is not None and id(t) not in own]
        self.without_grad = [t for t, g in pairs if g is None and id(t) not in own]
        self.argument_grads = [(i, g is not None) for i, (t, g) in enumerate(zip(session.arguments, session.grads, strict=False))
                               if watched and t._rg]  # fmt: skip
        self.grad_metas = [(i, g._meta) for i, g in enumerate(session.grads) if g is not None and ("grad", i) in places]

    def fits(self, arguments: list[Tensor]) -> Check | str | None:
        """None, or what does not hold."""
        broken = self.broken()
        if broken is not None:
            return broken
        if not all(map(is_not, [t.grad for t in self.with_grad], NOTHING)) or any(map(is_not, [t.grad for t in self.without_grad], NOTHING)):
            return "a gradient is there, or isn't"
        for i, there in self.argument_grads:
            if (arguments[i].grad is not None) is not there:
                return "an argument has a gradient, or hasn't"
        for i, meta in self.grad_metas:
            g: Any = (arguments[i] if i < self.arguments else self.held[i - self.arguments]).grad
            if g._meta is not meta and g._meta.key != meta.key:
                return "a gradient has another shape"
        for i, held in self.exact.items():
            t = arguments[i]
            if (t._meta.offset, t._storage.meta.shape) != held:
                return f"argument {i} lies elsewhere in its memory"
        for t, (known, tensor) in zip(arguments, self.aliases, strict=True):
            s = id(t._storage)
            if known != s and (known or s in self.world_storages) or (known and tensor != (id(t) if id(t) in self.world_tensors else 0)):
                return "an argument shares memory with other tensors than before"
        return None

    def broken(self) -> Check | None:
        """The first guard on Python state that does not hold."""
        if changes.structure != self.structure:
            now = changes.structure
            for check in self.announced:
                if not check.holds():
                    return check
            self.structure = now
        return self.first_broken()

    def replay(self, arguments: list[Tensor], call: tuple, given: tuple = (), beside: bool = False) -> tuple[bool, Any]:
        """(True, the result), or (False, a script for a session) where a value was read that has no branch yet. beside: random
        numbers and counts are taken back, since the call will be done again."""
        state = Replay([*arguments, *self.held], self.arguments, given)
        branch = self.root
        try:
            while True:
                for event in branch.events:
                    event.do(state)
                read = branch.read
                if read is None:
                    break
                values = np.ascontiguousarray(read.look.values(state))
                state.script.append(("read", read, values.tobytes()))
                if read.returned is None:
                    state.reads.append(None)
                    found = branch.children.get(values.tobytes())
                else:
                    state.reads.append(getattr(values, read.returned)())
                    found = branch.children.get(b"")
                if found is None:
                    state.take_back()
                    return False, state.script
                branch = found
        except Diverged as why:
            state.take_back()
            if not isinstance(why, Pending):
                self.stale = str(why)
            return False, state.script
        except BaseException:
            state.take_back()
            raise
        self.replays += 1
        if beside:
            state.take_back()
        assert branch.ending is not None
        result = state.end(branch.ending)
        if state.live:
            function, args, kwargs = call
            attach(state.live, Again(self, function, args, kwargs, len(state.sources)), state.sources)
        return True, result

    # -- the check switch ------------------------------------------------------------------------------------------------
    def numbers_now(self, arguments: list[Tensor]) -> list[tuple]:
        """The numbers that draws and optimizer steps of a replay would have now, up to the first read."""
        state = Replay([*arguments, *self.held], self.arguments)
        try:
            for event in self.root.events:
                if isinstance(event, (Draw, Step)):
                    event.do(state)
        finally:
            state.take_back()
        return state.numbers

    def difference(self, path: list[Event], ending: Ending, numbers: list[tuple], arguments: list[Tensor], given: tuple = ()) -> str | None:
        """How a call that ran as Python differs from what is captured for it."""
        counted = [e for e in path if isinstance(e, (Draw, Step))]
        for now, e in zip(numbers, counted, strict=False):
            if not alike(now, e.numbers):
                return f"{type(e).__name__.lower()} has the numbers {e.numbers} instead of {now}"
        event: Event | None
        branch, rest = self.root, list(path)
        while True:
            for expected in branch.events:
                event = rest.pop(0) if rest else None
                if event is None or not expected.like(event):
                    return different(expected, event)
                if isinstance(expected, Run) and isinstance(event, Run) and expected.given:
                    for mine, now in zip(expected.numbers(), event.numbers(), strict=True):
                        if type(mine) is Given and not alike([given[mine.number]], [now]):
                            return f"a number is {now} instead of {given[mine.number]}"
            if branch.read is None:
                break
            event = rest.pop(0) if rest else None
            if not isinstance(event, Read) or not branch.read.like(event):
                return different(branch.read, event)
            found = branch.children.get(event.key)
            if found is None:
                return None         # a branch that a replay would capture
            branch = found
        if rest:
            return different(None, rest[0])
        assert branch.ending is not None
        end = branch.ending
        slots = [Slot(i) for i in range(len(end.tensors))], [Slot(i, read=True) for i in range(len(path))]
        return end.difference(filled(end.result, *slots, given), ending, {i for i, t in enumerate([*arguments, *self.held]) if t.grad is None})

    def find_reuse(self, branch: Branch) -> None:
        """New gradients that take the place of old ones which nothing looks at: see `Launch`."""
        end: Any = branch.ending
        runs = [e for e in branch.events if isinstance(e, Run)]
        looked_at = {place for run in runs for place, _, _ in run.leaves}
        looked_at.update(e.look.place for e in branch.events if isinstance(e, LookEvent))
        used = [spec[1] for spec in end.tensors if spec[0] == "new"]
        for i, number in end.grads:
            spec: Any = end.tensors[number] if number >= 0 else ("none",)
            plain = spec[0] == "new" and spec[2:] == (None, False, -1, None, 0, Tensor, False)
            if not plain or used.count(spec[1]) != 1 or ("grad", i) in looked_at:
                continue
            place = end.storages[spec[1]][0]
            if place[0] == "out" and place not in looked_at and [n for _, n in end.grads].count(number) == 1:
                runs[place[1]].reuse.append((place[2], i, number))

    def insert(self, path: list[Event], ending: Ending) -> str | None:
        """Add a path. Returns why not, if it can't be."""
        branch, rest = self.root, list(path)
        if not branch.events and branch.read is None and branch.ending is None:
            self.root = grown(rest, ending)
            if self.root.ending is not None:
                self.find_reuse(self.root)
            return None
        while True:
            cut = next((i for i, e in enumerate(rest) if isinstance(e, Read)), len(rest))
            events = rest[:cut]
            read: Any = rest[cut] if cut < len(rest) else None
            if not (len(events) == len(branch.events) and all(a.like(b) for a, b in zip(branch.events, events, strict=True))
                    and (branch.read is None if read is None else branch.read is not None and read.like(branch.read))):
                return "it did something else with the same state"
            if read is None:
                branch.ending = ending
                return None
            key, rest = read.key, rest[cut + 1 :]
            found = branch.children.get(key)
            if found is None:
                if len(branch.children) >= BRANCHES:
                    return f"more than {BRANCHES} values of a number that is read into Python"
                branch.children[key] = grown(rest, ending)      # whole, since other threads replay at this moment
                return None
            branch = found


def endings(branch: Branch) -> list[Ending]:
    """Of all paths."""
    own = [] if branch.ending is None else [branch.ending]
    return own + [e for b in branch.children.values() for e in endings(b)]


def grown(path: list[Event], ending: Ending) -> Branch:
    """A path as branches, one for each value that it reads."""
    root = branch = Branch()
    for event in path:
        if isinstance(event, Read):
            branch.read = event
            following = branch.children[event.key] = Branch()
            branch = following
        else:
            branch.events.append(event)
    branch.ending = ending
    return root

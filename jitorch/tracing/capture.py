"""A capture: what one call recorded, as a path of events that a replay does again.

During the call the tape asks its `capture` (a `Session`) to run programs, and tells it of everything else that a replay has
to do or to look at:

| event | told by | in a replay |
| --- | --- | --- |
| Draw | a generator moved on | moves it on; seed and place are numbers of the next run |
| Step | an optimizer's group | counts one step more; its numbers (learning rate, bias corrections) go into the next run |
| Call | a learning rate schedule | called |
| Check | an operation looked at known values (an index, a probability) | looked at again; raises the user's error |
| Made | a tensor is made of Python values | there again |
| Run | a flush | the program runs on the buffers of this call |
| Read | a value was read into Python | its bytes choose how the path goes on |

Programs and the executor are those of eager mode. Where a buffer comes from is a *place*: ("own", i) the storage of tensor
i (arguments, then the tensors of the world), ("grad", i) that of its gradient, ("made", k) a constant of the capture, ("out",
j, r) result r of the j-th run.
"""

from __future__ import annotations

import sys
import weakref
from collections.abc import Callable, Container, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np

from ..autograd.node import Entry, GradNode
from ..graph.program import Program
from ..graph.record import ROOT, Meta, Storage, Tape, located
from ..nn.parameter import Buffer, Parameter
from ..ops.random import Generator, source
from ..ops.update import step_op
from ..optim.optimizer import Rule
from ..tensor import Tensor
from .numbers import Lines, Number
from .tail import READERS, ReadValue, result_of
from .world import PLAIN, World, alike

LARGEST_READ = 512      # bytes
DIFFERENTIABLE = "its result can be differentiated, and it changes state: trace the whole step, or call it under no_grad"
GRAD_MODES = frozenset(("no_grad", "enable_grad", "set_grad_enabled", "is_grad_enabled", "requires_grad", "requires_grad_"))


# -- events ------------------------------------------------------------------------------------------------------------
class Event:
    """One thing that a replay does again, or looks at."""

    __slots__ = ()
    numbers: tuple = ()

    def do(self, replay: Any) -> None:
        raise NotImplementedError

    def like(self, other: Event) -> bool:
        """Whether it is the same event of another call."""
        raise NotImplementedError


class Draw(Event):
    """n places of a generator's counter; generator None: the default one of the thread."""

    __slots__ = ("generator", "n", "numbers")

    def __init__(self, generator: Generator | None, n: int, numbers: tuple):
        self.generator, self.n, self.numbers = generator, n, numbers

    def do(self, replay) -> None:
        g = source(self.generator)
        replay.numbers.append(g.advance(self.n))
        replay.undo.append(lambda: g.set_offset(replay_offset(g, self.n)))

    def like(self, other) -> bool:
        return isinstance(other, Draw) and self.n == other.n and self.generator is other.generator


def replay_offset(g: Generator, n: int) -> int:
    return (g.get_offset() - n + 2**63) % 2**64 - 2**63


class Step(Event):
    """One step of the parameters in an optimizer's group that are at the same step."""

    __slots__ = ("optimizer", "group", "at", "states", "numbers")

    def __init__(self, optimizer: Rule, group: dict, at: Any, states: list[dict], numbers: tuple):
        self.optimizer, self.group, self.at, self.states, self.numbers = optimizer, group, at, states, numbers

    def do(self, replay) -> None:
        o, group, at = self.optimizer, self.group, self.at
        if self.states:
            counts = o.counts
            before = [[(k, s[k]) for k in counts if k in s] for s in self.states]

            def undo() -> None:
                for s, held in zip(self.states, before, strict=True):
                    s.update(held)

            replay.undo.append(undo)
            ats = [o._advance(group, s) for s in self.states]
            if at is not None:
                at = ats[0]
                if ats.count(at) != len(ats) or (at.__class__ is tuple and at[0].__class__ is bool and at[0] is not self.at[0]):
                    raise Diverged("parameters of an optimizer are at other steps than they were")
        numbers = o._numbers(group, at)
        replay.numbers.append(numbers)
        if len(numbers) != len(self.numbers):
            raise Diverged("the numbers of an optimizer are others")
        o._opt_called = True

    def like(self, other) -> bool:
        return isinstance(other, Step) and self.group is other.group and alike(self.states, other.states)


class Call(Event):
    __slots__ = ("owner", "function")

    def __init__(self, owner: Any, function: Callable):
        self.owner, self.function = owner, function

    def do(self, replay) -> None:
        owner, before = self.owner, [(s, dict(s.__dict__)) for s in (self.owner, *getattr(self.owner, "_schedulers", ()))]
        groups = [dict(g) for g in owner.optimizer.param_groups]

        def undo() -> None:
            for s, state in before:
                s.__dict__.update(state)
            for g, held in zip(owner.optimizer.param_groups, groups, strict=True):
                g.update(held)

        replay.undo.append(undo)
        self.function()

    def like(self, other) -> bool:
        return isinstance(other, Call) and self.owner is other.owner


class Look:
    """Where a strided view of a buffer lies: its place and geometry."""

    __slots__ = ("place", "meta", "relative")

    def __init__(self, place: tuple, meta: Meta, relative: int):
        self.place, self.meta, self.relative = place, meta, relative

    def values(self, replay) -> np.ndarray:
        buffer, m = replay.buffer(self.place), self.meta
        if m.numel == 0:
            return np.empty(m.shape, m.dtype.np)
        offset, size = self.relative, m.dtype.itemsize
        if self.place[0] == "own" and self.place[1] < replay.arguments:
            offset += replay.tensors[self.place[1]]._meta.offset
        return np.ndarray(m.shape, m.dtype.np, buffer, offset * size, [s * size for s in m.strides])

    def __eq__(self, other) -> bool:
        return (self.place, self.meta.shape, self.meta.strides, self.relative) == (
            other.place, other.meta.shape, other.meta.strides, other.relative)

    __hash__ = None  # type: ignore[assignment]


class Check(Event):
    __slots__ = ("look", "check")

    def __init__(self, look: Look, check: Callable[[np.ndarray], None]):
        self.look, self.check = look, check

    def do(self, replay) -> None:
        self.check(self.look.values(replay))

    def like(self, other) -> bool:
        return isinstance(other, Check) and self.look == other.look


class Made(Event):
    """A constant: made from Python values, which are guarded. written: a program writes into it, so that each call needs its own."""

    __slots__ = ("number", "values", "written")

    def __init__(self, number: int, values: np.ndarray):
        self.number, self.values, self.written = number, values, False

    def do(self, replay) -> None:
        replay.constants.append(self.values.copy() if self.written else self.values)

    def like(self, other) -> bool:
        if isinstance(other, Made) and self.values.dtype == other.values.dtype and self.values.tobytes() == other.values.tobytes():
            self.written = self.written or other.written
            return True
        return False


class Read(Event):
    """A value that Python saw. returned: nothing depends on it but what the call returns; the method that gives it."""

    __slots__ = ("look", "key", "returned")

    def __init__(self, look: Look, key: bytes, returned: str | None):
        self.look, self.returned = look, returned
        self.key = key if returned is None else b""

    def like(self, other) -> bool:
        return isinstance(other, Read) and self.look == other.look and self.returned == other.returned


class Run(Event):
    """A program. leaves: for each (place, start, span): start None for the whole buffer. fills: (position among the scalars, which of the
    numbers of the replay so far)."""

    __slots__ = ("program", "leaves", "scalars", "fills", "given", "launch", "reuse")

    def __init__(self, program: Program, leaves: list[tuple], scalars: list, fills: list[tuple[int, int, int]], given: list[tuple[int, int]] | None = None):
        self.program, self.leaves, self.scalars, self.fills = program, leaves, scalars, fills
        self.given = given or []                    # (position among the scalars, which scalar of the arguments' numbers): see numbers.py
        self.launch: Any = None                     # a replay.Launch, once kernels are there
        self.reuse: list[tuple[int, int, int]] = []     # gradients: (result, tensor, number in the ending), see `Capture.find_reuse`

    def do(self, replay) -> None:
        replay.run(self)

    def like(self, other) -> bool:
        if not (isinstance(other, Run) and self.leaves == other.leaves):
            return False
        # (the same operations are another program once a number of theirs became a run-time scalar)
        if self.program is not other.program and not (self.program.wanted == other.program.wanted and same_steps(self.program, other.program)):
            return False
        mine, theirs = self.numbers(), other.numbers()
        return len(mine) == len(theirs) and all(type(a) is Given or a == b if type(a) is Given or type(b) is Fill else alike([a], [b])
                                                for a, b in zip(mine, theirs, strict=True))

    def numbers(self) -> list:
        """What every operation is given as a number, in order: the number, or what fills it in at a replay."""
        held: list = [*self.scalars]
        for position, number, n in self.fills:
            held[position : position + n] = [Fill(number, k) for k in range(n)]
        for position, number in self.given:
            held[position] = Given(number)
        return [x for s in self.program.steps for x in (s.scalars if s.where is None else [held[i] for i in s.where])]


class Fill(NamedTuple):
    """A number of a run: one of those that a draw or an optimizer's step gives."""

    number: int
    place: int


class Given(NamedTuple):
    """A number of a run: one of the arguments'."""

    number: int


class Diverged(Exception):
    """A replay can't go on as captured; nothing of it has taken effect in Python."""


def same_steps(a: Program, b: Program) -> bool:
    """Whether two programs are made of the same operations (of which they may want other results)."""
    steps = {s.index: s for s in a.steps}
    return all(s.index in steps and (s.op, s.slots, s.attrs) == (steps[s.index].op, steps[s.index].slots, steps[s.index].attrs) for s in b.steps)


# -- what a call leaves behind -----------------------------------------------------------------------------------------
class Spent(Entry):
    """Stands for an operation whose part of the backward graph was used up within the call."""

    name = "spent"

    def __init__(self, grad_name: str):
        self.grad_name = grad_name

    def vjp(self, ctx, *grads):
        ctx._check()


class Ending:
    """How a call ends: storages to make, tensors over them, gradients to set, versions to count, and the structure of the result."""

    def __init__(self) -> None:
        self.storages: list[tuple[tuple, Meta, int]] = []       # (place, meta, version)
        self.tensors: list[tuple] = []      # ("own", i), ("grad", i), or ("new", storage, meta, requires grad, base, spent, number)
        self.grads: list[tuple[int, int]] = []                  # (tensor, index among `tensors` or -1 for None)
        self.written: list[tuple[tuple, int]] = []              # (place, how many versions)
        self.result: Any = None
        self.sources: list[int] = []        # the tensors that its results can be differentiated by (see again.py)


    def difference(self, result: Any, other: Ending, unset: Container[int] = ()) -> str | None:
        """How another call ended differently. result: what this one returns. unset: tensors without a gradient now, of which none need be taken away."""
        for name, mine, theirs in (
            ("makes tensors over", [s[:2] for s in self.storages], [s[:2] for s in other.storages]),
            ("gives tensors", [spec[:5] for spec in self.tensors], [spec[:5] for spec in other.tensors]),
            ("sets gradients", *([g for g in e.grads if g[1] >= 0 or g[0] not in unset] for e in (self, other))), ("writes to", self.written, other.written),
        ):
            if [str(m) for m in mine] != [str(t) for t in theirs]:
                return f"it {name} {theirs} instead of {mine}"
        return None if str(result) == str(other.result) else f"it returns {other.result} instead of {result}"


class Slot:
    """In a result: the tensor with this number, or the value of this read, or this scalar of the arguments' numbers."""

    __slots__ = ("number", "read", "given")

    def __init__(self, number: int, read: bool = False, given: bool = False):
        self.number, self.read, self.given = number, read or given, given

    def __eq__(self, other) -> bool:
        return isinstance(other, Slot) and (self.number, self.read, self.given) == (other.number, other.read, other.given)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"{'value' if self.read else 'tensor'} {self.number}"


class Session:
    """Watches one call. `path` is what it recorded, unless `reason` says why it can't be replayed.

    script: events of a replay that went another way, and their results: programs are not run again, values not read again.
    """

    def __init__(self, tape: Tape, arguments: list[Tensor], world: World, script: list[tuple] | None = None):
        self.tape, self.world, self.arguments = tape, world, arguments
        self.tensors = [*arguments, *(t for t in world.tensors if all(t is not a for a in arguments))]
        self.script = script or []
        self.reason: str | None = world.problem
        self.path: list[Event] = []
        self.runs = 0
        self.counted = 0                                # draws and steps so far
        self.pending: list[tuple[int, Event]] = []      # those whose numbers no run has taken yet
        self.known: dict[int, tuple[Any, tuple]] = {}   # id of a storage -> (it or a weak reference, its place)
        self.constants: list[Made] = []
        self.exact: set[int] = set()                    # arguments whose place in their storage counts
        self.code: Any = None                           # of the traced function
        self.tail: Any = None                           # what it returns, once it only reads and returns (see tail.py)
        self.tail_reads: list[int] = []                 # which reads those are
        self.read_count = 0
        self.live: list[Tensor] = []                    # leaves that results with a history come from
        self.stepping: set[int] = set()                 # ids of states and schedulers that moved on
        self.forgotten: set[int] = set()                # ids of tensors whose gradients were forgotten before anything looked at them
        self.lines: Lines | None = None                 # what becomes of the arguments' numbers, in a capture that is general in them
        self.met: dict[int, Number] = {}                # stand-ins for numbers, by their place among the scalars of what is recorded
        self.callers: list[Any] = []                    # schedules that step at this moment
        self.grads = [t.grad for t in self.tensors]
        self.versions: dict[int, tuple[Storage, tuple, int]] = {}
        for i, t in enumerate(self.tensors):
            self.know(t._storage, ("own", i))
        for i, g in enumerate(self.grads):
            if g is not None and g.is_sparse:
                self.fail("a gradient is sparse")
            elif g is not None:
                self.know(g._storage, ("grad", i))
        self.counts = [(s, o, [s.get(k) for k in o.counts], tuple(s)) for o in world.optimizers for s in o.state.values() if isinstance(s, dict)]
        self.schedules = [(s, dict(s.__dict__)) for s in world.schedulers]

    def know(self, storage: Storage, place: tuple) -> None:
        if id(storage) not in self.known:
            self.known[id(storage)] = (storage, place)
            self.versions[id(storage)] = (storage, place, storage.version)

    def fail(self, why: str) -> None:
        if self.reason is None:
            self.reason = why

    def place_of(self, storage: Storage) -> tuple | None:
        found = self.known.get(id(storage))
        if found is None:
            return None
        held, place = found
        if isinstance(held, weakref.ref) and held() is not storage:
            return None
        return place

    # -- what is told ----------------------------------------------------------------------------------------------
    def drew(self, generator: Generator, n: int, numbers: tuple) -> None:
        self.add_numbers(Draw(None if generator is source(None) else generator, n, numbers))

    def stepped(self, optimizer: Rule, group: dict, at: Any, states: list[dict], numbers: tuple) -> None:
        if group.get("differentiable"):
            self.fail("an optimizer's step is differentiable")
        self.stepping.update(map(id, states))
        self.add_numbers(Step(optimizer, group, at, states, numbers))

    def forgets(self, parameters: Iterable[Tensor]) -> None:
        """Gradients are about to be forgotten. If nothing can have looked at them yet, it doesn't matter whether they were there."""
        names = self.world.learned.names - GRAD_MODES - {"zero_grad"}
        if self.world.learned.every or any("grad" in n or "norm" in n and "total" in n for n in names):
            return
        if any(isinstance(e, Step) for e in self.path) or any(t.grad is not g for t, g in zip(self.tensors, self.grads, strict=True)):
            return
        if any(place[0] == "grad" and s.version != v for s, place, v in self.versions.values()):
            return
        self.forgotten.update(map(id, parameters))

    def add_numbers(self, event: Any) -> None:
        self.path.append(event)
        self.pending.append((self.counted, event))
        self.counted += 1

    @contextmanager
    def calling(self, owner: Any, function: Any) -> Iterator[None]:
        """A schedule steps within this block: done again as a whole, with the schedules that it steps in turn."""
        outermost = not self.callers
        if outermost:
            if any(not isinstance(a, PLAIN) or type(a) is Number for a in (*function.args[1:], *function.keywords.values())):
                self.fail("the step of a schedule depends on a tensor")
            self.path.append(Call(owner, function))
        self.callers.append(owner)
        self.stepping.add(id(owner))
        node = self.tape.node
        try:
            yield
        finally:
            self.callers.pop()
            if self.tape.node is not node:
                self.fail("a schedule records operations")

    def made(self, storage: Storage) -> None:
        event = Made(len(self.constants), storage.buffer.copy())
        self.known[id(storage)] = (storage, ("made", event.number))
        self.constants.append(event)
        self.path.append(event)

    def validated(self, t: Tensor, check: Callable[[np.ndarray], None]) -> None:
        look = self.look(t)
        if look is not None:
            self.path.append(Check(look, check))

    def look(self, t: Tensor) -> Look | None:
        place, m = self.place_of(t._storage), t._meta
        if place is None:
            self.fail("a value of unknown origin is read")
            return None
        free = place[0] == "own" and place[1] < len(self.arguments)
        return Look(place, m, m.offset - self.tensors[place[1]]._meta.offset if free else m.offset)

    def read(self, t: Tensor) -> np.ndarray:
        if self.script:
            what, event, found = self.script[0]
            if what == "run":
                t._storage.array()      # a flush, which takes it from the script
            if self.script and self.script[0][0] == "read":
                _, event, found = self.script.pop(0)
                m = t._meta
                values = np.frombuffer(found, m.dtype.np).reshape(m.shape).copy()
            else:
                values = t._peek()
        else:
            values = t._peek()
        look = self.look(t)
        if look is not None:
            if values.nbytes > LARGEST_READ:
                self.fail(f"reads {values.size} values into Python")
            else:
                method = self.returned(sys._getframe(2))
                if method is None and self.lines is not None:
                    self.fail("reads a value, and is not general in its numbers")
                self.path.append(Read(look, np.ascontiguousarray(values).tobytes(), method))
                self.read_count += 1
        return values

    def returned(self, frame: Any) -> str | None:
        """The method by which a value is read that is only returned; None if more may be done with it. frame: that of the method."""
        method, caller = frame.f_code.co_name, frame.f_back
        if method not in READERS or caller is None or caller.f_code is not self.code:
            self.tail = None
        elif self.tail is None:
            self.tail, self.tail_reads = result_of(caller.f_code, caller.f_lasti, method), []
        if self.tail is None:
            return None
        self.tail_reads.append(self.read_count)
        return method

    def run(self, tape: Tape, program: Program, live: list[Storage], leaves: list[Storage]) -> list[tuple]:
        self.met = {}
        for i, x in enumerate(tape.scalars) if self.lines is not None else ():
            if type(x) is Number:
                tape.scalars[i] = x.value
                if x.lines is self.lines:
                    self.met[i] = x
        for s in live:
            place = self.place_of(s)
            if place is not None and place[0] == "made":
                self.constants[place[1]].written = True
        event = self.run_event(tape, program, live, leaves)
        places = list(range(len(live)))
        if self.script and self.script[0][0] == "run":
            _, expected, found = self.script.pop(0)
            if expected.program is not program:
                # the same operations, of which less is alive now than when they were captured (the caller's frames held more)
                wanted = list(expected.program.wanted)
                if not same_steps(expected.program, program) or not set(program.wanted) <= set(wanted):
                    raise RuntimeError("trace: the function did something else with the same state; please report this")
                places = [wanted.index(w) for w in program.wanted]
                event = expected
            # what was written into the memory of a leaf is there already
            results = [(s.buffer, s.address) if found[r] is None else found[r] for s, r in zip(live, places, strict=True)]
        else:
            observer = sys.getprofile()
            sys.setprofile(None)        # what the engine does is nobody's code
            try:
                pairs = [located(s) for s in leaves]
                results = program.run([b for b, _ in pairs], [a for _, a in pairs], tape.scalars)
            finally:
                sys.setprofile(observer)
        if event is not None:
            self.path.append(event)
            for r, s in zip(places, live, strict=True):
                if self.place_of(s) is None:
                    self.known[id(s)] = (weakref.ref(s), ("out", self.runs, r))
        self.runs += 1
        return results

    def run_event(self, tape: Tape, program: Program, live: list[Storage], leaves: list[Storage]) -> Run | None:
        parts = {}
        for (base, shape, strides, offset), slot in tape.parts.items():
            parts[slot if slot in tape.leaves else slot - 1] = (base, shape, strides, offset)
        specs = []
        for slot, storage in zip(program.leaf_slots, leaves, strict=True):
            if slot in parts:
                base, shape, strides, offset = parts[slot]
                place = self.place_of(base)
                if place is not None and place[0] == "own" and place[1] < len(self.arguments):
                    offset -= self.tensors[place[1]]._meta.offset
                specs.append((place, offset, 1 + sum((n - 1) * s for n, s in zip(shape, strides, strict=True))))
            else:
                place = self.place_of(storage)
                if place is not None and place[0] == "own" and place[1] < len(self.arguments) and (
                        self.tensors[place[1]]._meta is not storage.meta):
                    self.exact.add(place[1])
                specs.append((place, None, 0))
            if place is None:
                self.fail("uses a tensor of unknown origin")
                return None
        given = [(position, self.lines.scalar(n)) for position, n in self.met.items()] if self.lines is not None else None
        return Run(program, specs, list(tape.scalars), self.fills(tape), given)

    def fills(self, tape: Tape) -> list[tuple]:
        """Where the numbers of draws and steps stand among the scalars of what is recorded: (position, which numbers, how many)."""
        found: list[tuple] = []
        if not self.pending:
            return found
        for node in tape.node.path():
            if not node.scalars or not getattr(node.op, "runtime", False):
                continue
            start = node.scalar_index
            scalars = tuple(tape.scalars[start : start + len(node.scalars)])
            kind: type = Step if node.op is step_op else Draw
            for k, (number, event) in enumerate(self.pending):
                if type(event) is not kind:
                    continue
                n = len(event.numbers)
                for at in range(len(scalars) - n + 1):
                    if alike(scalars[at : at + n], event.numbers):
                        found.append((start + at, number, n))
                        del self.pending[k]
                        break
                else:
                    continue
                break
            else:
                self.fail(f"the numbers of {node.op.name} can't be followed")
        return found

    def sees_gradients(self) -> bool:
        """Whether the call can have looked at `.grad` of anything: by a name in its code, or in a backward pass or an optimizer."""
        names = self.world.learned.names
        return self.world.learned.every or bool(self.world.optimizers) or any("grad" in n or n == "backward" for n in names - GRAD_MODES)

    # -- the end ---------------------------------------------------------------------------------------------------
    def finish(self, result: Any) -> Ending | None:
        """How the call ended; None (and a `reason`) if that can't be done again."""
        self.tape.flush()
        if self.tape.node is not ROOT:
            self.fail("something is recorded that does not run")
        if self.reason is None:
            self.unexplained()
        if self.reason is not None:
            return None
        end = Ending()
        self.ending = end
        self.made_storages: dict[int, int] = {}
        self.made_tensors: dict[int, int] = {}
        changed = [(i, t.grad) for i, t in enumerate(self.tensors) if t.grad is not self.grads[i]]
        end.grads = [(i, -1 if g is None else self.describe_new(g)) for i, g in changed]
        end.written = [(place, s.version - v) for s, place, v in self.versions.values() if s.version != v]
        end.result = self.structure(result, self.tail)
        self.settle_live(end)
        return end if self.reason is None else None

    def unexplained(self) -> None:
        """Changes in Python that a replay would not make."""
        for check in (*self.world.watched, *self.world.announced):
            if not check.holds():
                self.fail(f"changes {check.name}")
                return
        for s, o, before, keys in self.counts:
            if tuple(s) != keys:
                self.fail(f"{type(o).__name__} begins a state")
            if id(s) not in self.stepping and [s.get(k) for k in o.counts] != before:
                self.fail(f"{type(o).__name__} counts steps in a way that is not captured")
        for schedule, held in self.schedules:
            if id(schedule) not in self.stepping and not alike(list(schedule.__dict__.values()), list(held.values())):
                self.fail(f"{type(schedule).__name__}.step() is not captured")

    def add(self, spec: tuple) -> int:
        self.ending.tensors.append(spec)
        return len(self.ending.tensors) - 1

    def describe_new(self, t: Tensor) -> int:
        """`describe` for what can't be told by where it is, since it is only being put there."""
        found = self.made_tensors.get(id(t))
        own = next((i for i, o in enumerate(self.tensors) if t is o), None)
        if found is None:
            found = self.made_tensors[id(t)] = self.add(("own", own)) if own is not None else self.describe_made(t)
        return found

    def describe(self, t: Tensor) -> int:
        """The number of a tensor among those of the ending."""
        found = self.made_tensors.get(id(t))
        if found is not None:
            return found
        for i, own in enumerate(self.tensors):
            if t is own or t is own.grad:
                self.made_tensors[id(t)] = number = self.add(("own" if t is own else "grad", i))
                return number
        self.made_tensors[id(t)] = number = self.describe_made(t)
        return number

    def describe_made(self, t: Tensor) -> int:
        kind = type(t)
        if kind not in (Tensor, Parameter, Buffer):
            self.fail(f"gives a new {kind.__name__}")
            return 0
        rg = t.requires_grad
        spent: Any = None
        if t._grad_fn is not None:
            spent = Spent(t._grad_fn.name()) if is_spent(t._grad_fn) else "live"
            if spent == "live":
                self.note_live(t)
        base = -1 if t._base is None else self.describe(t._base)
        storage = t._storage
        index = self.made_storages.get(id(storage))
        if index is None:
            place = self.place_of(storage)
            if place is None:
                self.fail("gives a tensor of unknown origin")
                return 0
            if place[0] == "own" and place[1] < len(self.arguments):
                self.exact.add(place[1])
            index = self.made_storages[id(storage)] = len(self.ending.storages)
            self.ending.storages.append((place, storage.meta, storage.version))
        meta = None if t._meta is storage.meta else t._meta
        return self.add(("new", index, meta, rg, base, spent, t._output_nr, kind, t._untracked))

    def note_live(self, t: Tensor) -> None:
        """A result that may be differentiated: from which tensors on."""
        if t._base is not None:
            self.fail(DIFFERENTIABLE)
        seen: set = set()
        stack: list[Any] = [t._grad_fn]
        while stack:
            n = stack.pop()
            if n in seen:
                continue
            seen.add(n)
            if n.hooks or n.extra or n.retained:
                self.fail("its result has hooks in its history")
            for e in n.edges:
                e = e[0] if e.__class__ is tuple else e
                if isinstance(e, GradNode):
                    stack.append(e)
                elif e is not None and not any(e is x for x in self.live):
                    self.live.append(e)

    def settle_live(self, end: Ending) -> None:
        """What the results with a history ask for: the call must have changed nothing, since it may be run again."""
        if not self.live:
            return
        changes = end.written or end.grads or any(not isinstance(e, (Run, Check, Made, Read)) for e in self.path)
        end.sources = [i for x in self.live for i, t in enumerate(self.tensors) if t is x]
        if changes or len(end.sources) != len(self.live):
            self.fail(DIFFERENTIABLE)

    def structure(self, x: Any, tail: Any = None) -> Any:
        """A result with tensors replaced by their numbers, and values that are only read to be returned by the number of their read."""
        if isinstance(tail, ReadValue):
            return Slot(self.tail_reads[tail.number], read=True)
        if type(x) is Number:
            return Slot(self.lines.scalar(x), given=True) if self.lines is not None and x.lines is self.lines else x.value
        if isinstance(x, Tensor):
            return Slot(self.describe(x))
        if type(x) in (int, bool, str, bytes, type(None), complex):
            return x
        if type(x) is float:
            return x
        if type(x) in (tuple, list):
            parts = tail if type(tail) is type(x) else [None] * len(x)
            return type(x)([self.structure(v, t) for v, t in zip(x, parts, strict=True)])
        if isinstance(x, tuple) and hasattr(x, "_fields"):
            return type(x)(*[self.structure(v) for v in x])
        if type(x) is dict or type(x).__name__ == "OrderedDict":
            parts = tail[1:] if type(tail) is tuple and tail[0] == "dict" else [None] * len(x)
            return type(x)((k, self.structure(v, t)) for (k, v), t in zip(x.items(), parts, strict=True))
        if any(x is v for v in self.world_objects()):
            return x
        if type(x).__module__ == "jitorch" or isinstance(x, (type, np.dtype)) or type(x).__name__ in ("dtype", "device", "Size"):
            return x
        self.fail(f"returns a {type(x).__name__}")
        return None

    def world_objects(self) -> list:
        return [c.holder for c in (*self.world.watched, *self.world.announced)]


def is_spent(node: GradNode) -> bool:
    """Whether a backward pass has used up the graph behind a node."""
    seen: set[GradNode] = set()
    stack = [node]
    while stack:
        n = stack.pop()
        if n in seen:
            continue
        seen.add(n)
        if n.freed:
            return True
        stack.extend(e for e in (e[0] if e.__class__ is tuple else e for e in n.edges) if isinstance(e, GradNode))
    return False

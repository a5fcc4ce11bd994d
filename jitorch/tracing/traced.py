"""What users hold: a traced function, a traced module, and the functions that make them."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Mapping
from copy import deepcopy
from functools import update_wrapper
from typing import Any

from .. import config, dtypes
from ..amp.autocast import state as autocast_state
from ..autograd.node import state as autograd_state
from ..changes import Table
from ..graph.record import ROOT, Size, local
from ..kernels.memory import compare, largest
from ..nn.modules.module import Module
from ..tensor import Tensor
from .capture import Diverged, Session
from .freeze import frozen_path
from .numbers import KINDS, Lines, asks_types
from .observe import Learned, Observer
from .replay import Capture, endings
from .world import PLAIN, Check, World

MODES = ("default", "reduce-overhead", "max-autotune", "max-autotune-no-cudagraphs", "lite")
BACKENDS = ("inductor", "eager", "aot_eager", "jitorch")

KEPT = 16           # captures of one signature
SIGNATURES = 256
GENERAL = 8         # captures of one signature in general
PATIENCE = 24       # calls in a row that could not be replayed: from then on only now and then is it tried again
PLACES = frozenset(("storage_offset", "storage", "untyped_storage", "as_strided", "as_strided_", "is_set_to", "set_"))   # they tell where a tensor lies
ATTEMPTS = 5        # calls of one signature that may fail to be captured before it runs as plain Python


# -- what a call looks like --------------------------------------------------------------------------------------------
def key_of(t: Tensor) -> tuple:
    m, s = t._meta, t._storage
    rg = t._rg if t._base is None else t.requires_grad
    plain = t._grad_fn is None and t._hooks is None and t._post_hooks is None
    if m is s.meta:
        return (m.shape, m.dtype, rg, t.__class__, plain)
    part = 0 < m.numel <= s.meta.numel // 4
    where = None if part else (m.offset, s.meta.shape)
    return (m.shape, m.dtype, rg, t.__class__, plain, m.strides, where)


OWN = frozenset(k for k, v in vars(Tensor).items() if not callable(v)) | frozenset(Tensor.__annotations__)    # attributes of every tensor


def flatten(x: Any, tensors: list[Tensor], objects: list) -> Any:
    """A hashable key for an argument. Its tensors and the objects known by identity are appended to the lists."""
    if isinstance(x, Tensor):
        for i, t in enumerate(tensors):
            if t is x:
                return ("again", i)
        tensors.append(x)
        state = x.__dict__
        if len(state) > 2 and not OWN.issuperset(state):
            if x.is_sparse:
                objects.append(tensors.pop())
                return ("sparse", id(x))
            return (*key_of(x), *[(k, flatten(v, tensors, objects)) for k, v in state.items() if k not in OWN])
        return key_of(x)
    kind = type(x)
    if kind is float:
        return (kind, x.hex())
    if kind in (tuple, list):
        return (kind, *[flatten(v, tensors, objects) for v in x])
    if kind is dict or kind.__name__ == "OrderedDict":
        return (kind, *[(flatten(k, tensors, objects), flatten(v, tensors, objects)) for k, v in x.items()])
    if isinstance(x, tuple) and hasattr(x, "_fields"):
        return (kind, *[flatten(v, tensors, objects) for v in x])
    if isinstance(x, PLAIN):
        try:
            hash(x)
            return (kind, x)
        except TypeError:
            return (kind, repr(x))
    objects.append(x)
    return ("object", id(x))


def look(args: tuple, kwargs: dict) -> tuple:
    """What a call must leave as it was: its arguments, but for values of tensors; grad mode and default dtype."""
    tensors: list[Tensor] = []
    objects: list = []
    keys = [flatten(x, tensors, objects) for x in (*args, *kwargs.values())]
    modes = autograd_state.enabled, autograd_state.inference, autocast_state.enabled, dtypes.get_default_dtype()
    return keys, [id(t) for t in tensors], modes


def without_numbers(key: Any) -> Any:
    """A key in which int and float arguments stand for any number."""
    if isinstance(key, tuple):
        if len(key) == 2 and key[0] in (int, float):
            return key[0]
        if key and isinstance(key[0], Size):        # a tensor
            return key
        return tuple([without_numbers(k) for k in key])
    return key


def in_general(key: tuple) -> tuple:
    """A signature in which the int and float arguments (those in containers aside) stand for any number of their type."""
    return tuple([k if type(k) is not tuple or len(k) != 2 else k[0] if k[0] in KINDS else (k[0], k[1][0]) if is_number(k[1]) else k for k in key])


def is_number(key: Any) -> bool:
    return type(key) is tuple and len(key) == 2 and key[0] in KINDS


class General:
    """The captures of a signature that are general in its numbers. refused: why there will be no more."""

    __slots__ = ("captures", "attempts", "refused", "objects")

    def __init__(self, objects: list):
        self.captures: list[Capture] = []
        self.attempts, self.refused, self.objects = 0, "", objects


class Entry:
    """The captures of one signature."""

    __slots__ = ("captures", "failures", "misses", "reason", "objects")

    def __init__(self, objects: list):
        self.captures: list[Capture] = []
        self.failures = self.misses = 0
        self.reason: str | None = None
        self.objects = objects          # alive, so that their ids stay theirs


class TracedFunction:
    """A function that was traced: captured when it is called, replayed when what it depends on is as it was."""

    attempts = ATTEMPTS
    frozen = False          # the tensors that it reads never change: see freeze.py

    def __init__(self, function: Callable):
        self.original = function
        self.__traced__ = function
        self.learned = Learned()
        self.entries: dict[Any, Entry] = {}
        self.general: dict[Any, General] = {}   # by signatures in general
        self.families: dict[Any, int] = {}      # signatures without their numbers -> how many were seen
        self.lock = threading.RLock()
        self.calls = 0
        self.example: tuple[tuple, dict] | None = None      # arguments that it may be called with to be saved (see jit.trace)
        self.history: list[str] = []        # why it was captured again, or not at all
        update_wrapper(self, function, updated=())

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        tape = local.tape
        if tape.capture is not None or autograd_state.anomaly:
            return self.original(*args, **kwargs)
        self.calls += 1
        if tape.node is not ROOT:
            tape.flush()
        tensors: list[Tensor] = []
        objects: list = []
        key = (tape.differentiates, autograd_state.inference, autocast_state.enabled, dtypes.get_default_dtype(),
               *[flatten(x, tensors, objects) for x in args])
        if kwargs:
            key = (*key, "named", *[(k, flatten(v, tensors, objects)) for k, v in kwargs.items()])
        if len(tensors) > 1 and len({id(t._storage) for t in tensors}) != len(tensors):
            key = (*key, shared(tensors))
        entry = self.entries.get(key)
        if entry is None:
            numbers = [x for x in (*args, *kwargs.values()) if type(x) in KINDS]
            if numbers:
                done, result = self.numbered(key, numbers, tensors, objects, args, kwargs)
                if done:
                    return result
            entry = self.new_entry(key, objects)
            if entry is None:
                return self.original(*args, **kwargs)
        elif entry.misses > PATIENCE and entry.misses % PATIENCE:
            entry.misses += 1
            return self.original(*args, **kwargs)
        broken: Check | str | None = None
        for capture in tuple(entry.captures):
            broken = capture.fits(tensors)
            if broken is None:
                if capture.eager is not None:
                    return self.original(*args, **kwargs)
                if config.check:
                    return self.compared(entry.captures, entry, tensors, objects, args, kwargs, capture)
                if capture is not entry.captures[0]:
                    with self.lock:
                        if capture in entry.captures:
                            entry.captures.remove(capture)
                            entry.captures.insert(0, capture)
                done, result = capture.replay(tensors, (self.original, args, kwargs))
                if done:
                    entry.misses = 0
                    return result
                if capture.stale is not None:
                    self.note(f"captured again: {capture.stale}")
                    with self.lock:
                        if capture in entry.captures:
                            entry.captures.remove(capture)
                    return self.capture(entry, tensors, objects, args, kwargs, None, result)
                return self.capture(entry, tensors, objects, args, kwargs, capture, result)
        entry.misses += 1
        if entry.failures >= ATTEMPTS:
            return self.original(*args, **kwargs)
        if broken is not None:
            self.note(f"captured again: {broken} is not as it was" if isinstance(broken, Check) else f"captured again: {broken}")
        return self.capture(entry, tensors, objects, args, kwargs)

    def numbered(self, key: tuple, numbers: list, tensors: list[Tensor], objects: list, args: tuple, kwargs: dict) -> tuple[bool, Any]:
        """A call whose numbers are new, by a capture that is general in them: (True, the result), or (False, None) where there is none.

        A signature's first numbers are captured as they are. The second ones are captured in general (see numbers.py)."""
        with self.lock:
            signature = in_general(key)
            general = self.general.get(signature)
            if general is None:
                while len(self.general) >= SIGNATURES:
                    self.general.pop(next(iter(self.general)))
                self.general[signature] = General(objects)
                return False, None
        for capture in tuple(general.captures):
            given = capture.numbers(*numbers)
            if given is not None and capture.fits(tensors) is None:
                if config.check:
                    return True, self.compared(general.captures, None, tensors, objects, args, kwargs, capture, given)
                done, result = capture.replay(tensors, (self.original, args, kwargs), given)
                if done:
                    return True, result
                with self.lock:             # as a script: what it has run is done
                    if capture.stale is not None and capture in general.captures:
                        general.captures.remove(capture)
                    return True, self.watched_call(tensors, objects, args, kwargs, result)[2]
        if general.refused or not self.learned.codes or self.learned.every:
            return False, None
        with self.lock:
            general.attempts += 1
            if general.attempts > GENERAL:
                general.refused = "its numbers are read as values"
                return False, None
            session, ending, result = self.watched_call(tensors, objects, args, kwargs, general=True)
            reason = session.reason
            if ending is not None and reason is None:
                if self.frozen and not ending.written:
                    session.path = frozen_path(session)
                capture = Capture(session, objects)
                reason = capture.insert(session.path, ending)
                if reason is None:
                    general.captures.insert(0, capture)
            if reason is not None and reason != "the first run of its code":
                self.note(f"not captured in general: {reason}")
                general.refused = reason
            return True, result

    def new_entry(self, key: Any, objects: list) -> Entry | None:
        """A place for a signature's captures; None where only numbers differ, in nearly every call: captures would never be used."""
        with self.lock:
            family = without_numbers(key)
            count = self.families[family] = self.families.get(family, 0) + 1
            if count > PATIENCE:
                replays = sum(c.replays for k, e in self.entries.items() if without_numbers(k) == family for c in e.captures)
                if replays < count:
                    self.note("runs as Python: a number among the arguments differs in nearly every call; pass it as a tensor")
                    return None
            while len(self.entries) >= SIGNATURES:
                self.entries.pop(next(iter(self.entries)))
            return self.entries.setdefault(key, Entry(objects))

    def note(self, what: str) -> None:
        if what not in self.history[-20:]:
            self.history.append(what)
            del self.history[:-200]

    def capture(self, entry: Entry, tensors: list[Tensor], objects: list, args: tuple, kwargs: dict,
                capture: Capture | None = None, script: list | None = None) -> Any:
        """Call the function and watch. capture: the one that this call fits, whose replay went where no call went before."""
        with self.lock:
            session, ending, result = self.watched_call(tensors, objects, args, kwargs, script)
            self.keep(entry, session, ending, objects, capture, args, kwargs)
            return result

    def watched_call(self, tensors: list[Tensor], objects: list, args: tuple, kwargs: dict, script: list | None = None,
                     general: bool = False) -> tuple[Session, Any, Any]:
        """Call the function with a session at the tape: (the session, how it ended if it can be done again, the result)."""
        tape = local.tape
        with self.lock:
            world = World(self.learned).walk((self.original, "the function"), *((o, "an argument") for o in objects))
            session = Session(tape, tensors, world, script)
            session.code = getattr(self.original, "__code__", None)
            given, named = args, kwargs
            if general and asks_types(self.learned, world):
                session.fail("code that may run asks for the type of something: its numbers are no arguments of a replay")
            elif general:
                lines = session.lines = Lines()
                given = tuple([lines.argument(x) if type(x) in KINDS else x for x in args])
                named = {k: lines.argument(x) if type(x) in KINDS else x for k, x in kwargs.items()}
            if autograd_state.enabled and any(t._grad_fn is not None for t in session.tensors):
                session.fail("a tensor that it uses has a history of its own")
            if any(t._hooks is not None or t._post_hooks is not None for t in tensors):
                session.fail("an argument has hooks")
            if not self.learned.names.isdisjoint(PLACES):
                session.exact.update(range(len(tensors)))
            before, ending, result = look(args, kwargs), None, None
            tape.capture = session
            try:
                with Observer() as observer:
                    result = self.original(*given, **named)
                new = self.learned.add(observer.codes)
                if observer.reason is not None:
                    session.fail(observer.reason)
                elif new:
                    session.reason = "the first run of its code"
                ending = session.finish(result)
                if ending is not None and look(args, kwargs) != before:
                    session.fail("changes an argument, or the grad mode")
                    ending = None
            finally:
                tape.capture = None
                if session.lines is not None:
                    given, named = (), {}
                    result = session.lines.close(result)
            return session, ending, result

    def compared(self, kept: list[Capture], entry: Entry | None, tensors: list[Tensor], objects: list, args: tuple, kwargs: dict,
                 capture: Capture, given: tuple = ()) -> Any:
        """With config.check: the call runs as Python, and what it does is compared with what a replay would have done. RuntimeError at
        the first difference."""
        try:
            numbers = capture.numbers_now(tensors)
        except Diverged as why:         # a replay would find that out, too
            self.note(f"captured again: {why}")
            with self.lock:
                if capture in kept:
                    kept.remove(capture)
            return self.watched_call(tensors, objects, args, kwargs)[2] if entry is None else self.capture(entry, tensors, objects, args, kwargs)
        frozen = self.frozen and not any(e.written for e in endings(capture.root))
        done, replayed = capture.replay(tensors, (self.original, args, kwargs), given, beside=True) if frozen else (False, None)
        session, ending, result = self.watched_call(tensors, objects, args, kwargs)
        if ending is None:
            difference: str | None = None if capture.root.read is not None else f"the call can't be captured any more: {session.reason}"
        else:
            difference = capture.difference(frozen_path(session) if frozen else session.path, ending, numbers, tensors, given)
        if done and not difference:     # other operations than those of the module
            difference = different_values(replayed, result, tensors)
        if difference:
            raise RuntimeError(f"check: a replay of {self!r} would differ from eager mode: {difference}")
        capture.replays += not done
        return result

    def keep(self, entry: Entry, session: Session, ending: Any, objects: list, capture: Capture | None, args: tuple, kwargs: dict) -> None:
        reason = session.reason
        if ending is not None:
            made = capture is None
            if self.frozen and not ending.written:
                session.path = frozen_path(session)
            if capture is None:
                capture = Capture(session, objects)
                capture.example = example_of(args, kwargs)
            if reason is None:
                reason = capture.insert(session.path, ending)
            if reason is None:
                if made:
                    entry.captures.insert(0, capture)
                    del entry.captures[KEPT:]
                    if len(entry.captures) == KEPT:
                        entry.failures += 1
                return
        self.note(f"not captured: {reason}")
        entry.reason = reason
        entry.failures += 1
        if capture is not None and capture in entry.captures:
            if reason == "the first run of its code":
                entry.captures.remove(capture)          # its guards don't cover the code of the new branch
                entry.failures -= 1
            else:
                capture.eager = reason

    @property
    def replays(self) -> int:
        """How many calls were replayed."""
        return sum(c.replays for c in self.captures)

    @property
    def captures(self) -> list[Capture]:
        """All of them."""
        with self.lock:
            kept: list[Any] = [*self.entries.values(), *self.general.values()]
            return [c for e in kept for c in e.captures]

    def explain(self) -> str:
        """Captures, guards, why calls were captured again or run as Python, and the programs with their kernels, as text."""
        from . import report
        return report.explain(self)

    def code(self) -> str:
        """The generated source of all kernels, each under the lines of the program that it computes."""
        from . import report
        return report.code(self)

    def draw(self, file: Any) -> None:
        """Write the graph of the latest capture as SVG: kernels in layers, from inputs to results. RuntimeError if nothing is captured."""
        from . import report
        report.draw(self, file)

    def save(self, file: Any, general: bool | None = None) -> None:
        """Write what was captured to one file, for `jitorch.jit.load`: programs as data, weights, a description of inputs and results.

        general: whether it takes other batch sizes; None: where that is sure. RuntimeError for what can't be saved: training
        steps, results with a history, state of Python.
        """
        from .file import save
        save(self, None, file, general)

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        """As a method: bound to the instance."""
        if instance is None:
            return self
        import functools
        return functools.partial(self, instance)

    def __deepcopy__(self, memo: dict) -> TracedFunction:
        return TracedFunction(deepcopy(self.original, memo))

    def __reduce__(self) -> Any:
        name, found = getattr(self, "__qualname__", ""), sys.modules.get(getattr(self, "__module__", ""))
        for part in name.split("."):
            found = getattr(found, part, None)
        return name if found is self else (TracedFunction, (self.original,))

    def __repr__(self) -> str:
        return f"<traced {getattr(self.original, '__qualname__', self.original)}>"


def different_values(got: Any, want: Any, inputs: list[Tensor]) -> str | None:
    """The first tensor of a result that isn't another's up to rounding, in words."""
    found: list[list[Tensor]] = [[], []]
    for x, tensors in zip((got, want), found, strict=True):
        flatten(x, tensors, [])
    scale = max((largest(t.detach()._array()) for t in inputs), default=0.0)
    for number, (x, y) in enumerate(zip(*found, strict=True)):
        difference = compare(x.detach()._array().reshape(-1), y.detach()._array().reshape(-1), scale)
        if difference:
            return f"tensor {number} of the result: {difference}"
    return None


def example_of(args: tuple, kwargs: dict) -> dict | None:
    """The arguments as a file describes them; None if it can't."""
    from .file import CantSave, describe
    tensors: list[Tensor] = []
    try:
        found = {"args": [describe(v, tensors) for v in args], "named": [[k, describe(v, tensors)] for k, v in kwargs.items()]}
    except CantSave:
        return None
    return found if len({id(t) for t in tensors}) == len(tensors) else None


def shared(tensors: list[Tensor]) -> tuple:
    """How arguments share memory, and where in it they lie."""
    first: dict[int, int] = {}
    found = []
    for i, t in enumerate(tensors):
        s = t._storage
        found.append((first.setdefault(id(s), i), t._meta.offset, s.meta.shape))
    return tuple(found)


# -- modules -----------------------------------------------------------------------------------------------------------
class TracedModule(Module):
    """A module that shares everything with another one, and calls it as a traced function."""

    def __init__(self, module: Module):
        super().__init__()
        state = self.__dict__
        state["__traced__"] = module
        for name in ("_parameters", "_buffers", "_modules"):
            state[name] = getattr(module, name)
        state["training"] = module.training
        state["traced"] = TracedFunction(module)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self.__dict__["traced"](*args, **kwargs)

    def train(self, mode: bool = True) -> Any:
        self.__dict__["__traced__"].train(mode)
        self.__dict__["training"] = mode
        return self

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(self.__dict__["__traced__"], name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self.__dict__["__traced__"] if "__traced__" in self.__dict__ else super(), name, value)
        if name == "training":
            self.__dict__["training"] = value

    @property
    def replays(self) -> int:
        """How many calls were replayed."""
        return self.__dict__["traced"].replays

    def explain(self) -> str:
        """As of a traced function."""
        return self.__dict__["traced"].explain()

    def code(self) -> str:
        """As of a traced function."""
        return self.__dict__["traced"].code()

    def draw(self, file: Any) -> None:
        """As of a traced function."""
        self.__dict__["traced"].draw(file)

    def save(self, file: Any, general: bool | None = None) -> None:
        """As of a traced function; weights keep their names."""
        from .file import save
        save(self.__dict__["traced"], self.__dict__["__traced__"], file, general)

    def __reduce__(self) -> Any:
        return type(self), (self.__dict__["__traced__"],)       # a copy or pickle begins without captures

    def _get_name(self) -> str:
        return f"Traced{type(self.__dict__['__traced__']).__name__}"


class FrozenModule(TracedModule):
    """A traced module whose parameters are constants of its programs. It has none that could be seen or changed."""

    def __init__(self, module: Module):
        super().__init__(module)
        for p in module.parameters():
            p.requires_grad_(False)
        for name in ("_parameters", "_buffers", "_modules"):
            self.__dict__[name] = Table()
        self.__dict__["traced"].frozen = True

    def train(self, mode: bool = True) -> Any:
        if mode:
            raise RuntimeError("a frozen module stays in eval mode")
        return self


# -- what users call ---------------------------------------------------------------------------------------------------
def trace(function: Any, example_inputs: Any = None, *, example_kwarg_inputs: Mapping[str, Any] | None = None) -> Any:
    """A callable that does what `function` does, without its Python code where that is right: for a module, a Module with
    the same parameters.

    function: a function, or a module; a whole training step, for example. example_inputs: a tuple of arguments (or one
    tensor) to call it with now; without them it is captured when it is called. TypeError for what can't be called.

    The first call runs Python, and shows which code is run; the second one is captured; later calls replay what was
    captured as long as everything that the code reads is as it was: shapes, dtypes, arguments, attributes of modules,
    closures, globals, the settings of optimizers. Otherwise it is captured again. A value that is read into Python (`if
    loss > best`) picks a branch. What can't be replayed (printing, files, changed lists) runs as Python code;
    `explain()` says so. Where a call has other numbers (int or float arguments) than the first one, it is captured in
    general: numbers that are only computed with are arguments of the replay, and what Python compares is a guard.

    >>> import jitorch as torch
    >>> w = torch.ones(3, requires_grad=True)
    >>> optimizer = torch.optim.SGD([w], lr=0.1)
    >>> @torch.trace
    ... def step(x):
    ...     optimizer.zero_grad()
    ...     loss = ((w * x) ** 2).sum()
    ...     loss.backward()
    ...     optimizer.step()
    ...     return loss
    >>> [round(step(torch.ones(3)).item(), 4) for _ in range(4)]
    [3.0, 1.92, 1.2288, 0.7864]
    """
    if not callable(function):
        raise TypeError(f"trace: expected a function or a module, got {type(function).__name__}")
    traced: Any = TracedModule(function) if isinstance(function, Module) else TracedFunction(function)
    if example_inputs is not None or example_kwarg_inputs is not None:
        if isinstance(example_inputs, (Tensor, Mapping)):
            example_inputs = (example_inputs,)
        traced(*tuple(example_inputs or ()), **dict(example_kwarg_inputs or {}))
    return traced


def compile(
    model: Callable | None = None,
    *,
    fullgraph: bool = False,
    dynamic: bool | None = None,
    backend: Any = "inductor",
    mode: str | None = None,
    options: dict | None = None,
    disable: bool = False,
) -> Any:
    """`torch.compile`: `trace` under PyTorch's name, also as a decorator.

    The arguments are PyTorch's; they are checked. disable: the function itself is returned. fullgraph, dynamic, mode and
    options change nothing: what can't be captured runs as Python, and no kernel depends on sizes. RuntimeError for an
    unknown mode, for mode and options together, for a backend of one's own: there is no graph to give to it.
    AssertionError for what can't be called.

    >>> import jitorch as torch
    >>> @torch.compile
    ... def f(x):
    ...     return torch.sin(x) ** 2 + torch.cos(x) ** 2
    >>> f(torch.tensor(0.5))
    tensor(1.)
    """
    if mode is not None and options is not None:
        raise RuntimeError("Either mode or options can be specified, but both can't be specified at the same time.")
    if mode is not None and mode not in MODES:
        raise RuntimeError(f"Unrecognized mode={mode}, should be one of: {', '.join(MODES)}")
    if backend not in BACKENDS:
        raise RuntimeError(
            f"Invalid backend: {backend!r}. jitorch compiles by itself; these names are accepted: {', '.join(BACKENDS)}"
        )

    def decorate(function: Any) -> Any:
        if not callable(function):
            raise AssertionError(f"A callable function is expected, but {type(function)} is provided.")
        return function if disable else trace(function)

    return decorate if model is None else decorate(model)

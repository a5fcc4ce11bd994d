"""The Python state that a call can read, found by a walk from the traced function; and the guards on it.

A `World` is made before a call. It starts at the function and the arguments that are no tensors, and follows closure cells,
globals and imports that the code names, attributes whose names occur in the code that ran before, containers, functions,
classes, modules, optimizers. What it passes becomes a *check*; a replay is right as long as every check holds. What can't
be guarded (an open file, an iterator, a large array of NumPy) is a `problem`: such a call is run as plain Python.

Checks come in two lists. `watched` are those that nothing announces (a global, an item of a list): a generated function
looks at them in every call. `announced` are those whose change is counted (`changes.structure`: modules, parameters, flags
of tensors): they are looked at again only when the count has moved.
"""

from __future__ import annotations

import builtins
import collections
import enum
import functools
import gc
import re
import sys
import types
from collections.abc import Callable
from math import copysign
from operator import is_, itemgetter
from pathlib import PurePath
from typing import Any

import numpy as np

from .. import settings
from ..changes import NUMBERS, Members, State, States
from ..device import device
from ..dtypes import dtype
from ..graph.record import Size
from ..nn.modules.module import GLOBAL, Module
from ..ops.dispatch import Op
from ..ops.random import Generator
from ..optim.lr_scheduler import LRScheduler
from ..optim.optimizer import GLOBAL_POST, GLOBAL_PRE, Optimizer
from ..tensor import Tensor
from .observe import Learned, globals_of, kind_of

FIELDS = collections.namedtuple("FIELDS", "x")
MISSING = type("MISSING", (), {"__repr__": lambda self: "missing"})()
PLAIN = (int, float, complex, bool, str, bytes, type(None), type(Ellipsis), range, slice, np.generic, np.dtype, Size, dtype, device, enum.Enum,
         re.Pattern, PurePath, Op)  # fmt: skip
CALLABLES = (types.BuiltinFunctionType, types.MethodDescriptorType, types.WrapperDescriptorType, types.MethodWrapperType,
             types.ClassMethodDescriptorType, types.GetSetDescriptorType, types.MemberDescriptorType, type(vars(FIELDS)["x"]),
             np.ufunc, type(np.sum))  # fmt: skip
LARGEST = 4096          # items of containers that are watched
SMALL_ARRAY = 64
STATEFUL = frozenset(("random", "threading", "io", "_io", "queue", "multiprocessing", "contextvars"))     # modules whose objects do more than hold values
TABLES = ("_parameters", "_buffers", "_modules")
SETTINGS_APART = frozenset(("lr", "initial_lr", "params"))
READ_SETTINGS = frozenset(("param_groups", "state", "state_dict", "get_last_lr", "get_lr", "_last_lr", "base_lrs", "defaults"))
SETTINGS_READ = frozenset(k for k in vars(settings) if k.startswith(("get_", "are_", "is_")))


def same(a: Any, b: Any) -> bool:
    """Whether two values are the same object, or equal numbers, strings, tuples of those, of one type."""
    if a is b:
        return True
    if type(a) is not type(b):
        return False
    if isinstance(a, float):
        return a == b and copysign(1, a) == copysign(1, b) or (a != a and b != b)
    if isinstance(a, tuple):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, types.MethodType):
        return a.__self__ is b.__self__ and a.__func__ is b.__func__
    if isinstance(a, (int, str, bytes, complex, range, slice, np.dtype, device, PurePath)):
        return bool(a == b)
    if isinstance(a, np.generic):
        return a.tobytes() == b.tobytes()
    return False


def settings_of(group: dict) -> tuple:
    """What chooses an optimizer's formulas: flags, and which numbers are zero. (The numbers themselves are read in every step.)"""
    return tuple([(k, v if v is None or isinstance(v, (bool, str)) else bool(v)) for k, v in group.items() if k not in SETTINGS_APART])


class Check:
    """One fact: `kind` says what `holder` (and `key`) must still give `value`. `name` is for people."""

    __slots__ = ("kind", "holder", "key", "value", "name")

    def __init__(self, kind: str, holder: Any, key: Any, value: Any, name: str):
        self.kind, self.holder, self.key, self.value, self.name = kind, holder, key, value, name

    def holds(self) -> bool:
        return HOLDS[self.kind](self.holder, self.key, self.value)

    def __repr__(self) -> str:
        return self.name


def cell_value(cell: types.CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:
        return MISSING


def alike(a, b) -> bool:
    return len(a) == len(b) and (all(map(is_, a, b)) or all(map(same, a, b)))


HOLDS: dict[str, Callable[[Any, Any, Any], bool]] = {
    "item": lambda d, k, v: same(d.get(k, MISSING), v),
    "cell": lambda c, k, v: same(cell_value(c), v),
    "sequence": lambda s, k, v: alike(s, v),
    "set": lambda s, k, v: len(s) == len(v) and s == v,
    "dict": lambda d, k, v: alike(d.keys(), k) and alike(d.values(), v),
    "size": lambda d, k, v: len(d) == v,
    "attribute": lambda o, k, v: same(getattr(o, k, MISSING), v),
    "type": lambda o, k, v: type(o) is v,
    "array": lambda a, k, v: (a.shape, a.dtype, a.tobytes()) == v,
    "settings": lambda g, k, v: settings_of(g) == v,
    "states": lambda states, keys, v: alike([s.get(k, MISSING) for s in states for k in keys], v),
    "tensor": lambda t, k, v: alike(facts_of(t), v),
}


def facts_of(t: Tensor) -> tuple:
    return (t._storage, t._meta, t._rg, t._grad_fn, t._base, None if t._hooks is None else tuple(t._hooks),
            None if t._post_hooks is None else tuple(t._post_hooks))


class World:
    """What a walk found: see the module. `tensors`: those that are reached, by identity."""

    def __init__(self, learned: Learned):
        self.learned = learned
        self.watched: list[Check] = []
        self.announced: list[Check] = []
        self.tensors: list[Tensor] = []
        self.schedulers: list[LRScheduler] = []
        self.optimizers: list[Optimizer] = []
        self.problem: str | None = None
        self.modules = 0
        self.functions: set[types.CodeType] = set()
        self.reached: list[types.FunctionType] = []
        self.seen: dict[int, Any] = {}
        self.stack: list[tuple[Any, str]] = []
        self.items = 0

    # -- the walk --------------------------------------------------------------------------------------------------
    def walk(self, *roots: tuple[Any, str]) -> World:
        """From the roots (value, name), and from all code that has been seen to run."""
        self.stack += roots
        self.drain()
        for code, names in self.learned.codes.items():
            self.add_globals(code, names)
        self.drain()
        for k in sorted(self.learned.names.intersection(vars(Tensor))):
            self.watch("item", vars(Tensor), k, vars(Tensor)[k], f"Tensor.{k}")
        if not self.learned.names.isdisjoint(SETTINGS_READ):
            self.watch("dict", settings._state, tuple(settings._state), tuple(settings._state.values()), "a setting of jitorch")
        while lost := {c for c in self.learned.codes if c not in self.functions and not self.is_inner(c)}:
            for f in gc.get_referrers(*lost):
                if isinstance(f, types.FunctionType) and f.__code__ in lost:
                    self.visit(f, f.__qualname__)
            if lost - self.functions:
                # run once and gone (a lambda that was passed on): what it closed over came from code that is known
                self.functions |= lost
            self.drain()
        self.seen = {}
        return self

    def is_inner(self, code: types.CodeType) -> bool:
        """Whether it is defined within other code that ran: made anew in every call."""
        return any(code in outer.co_consts for outer in self.learned.codes if outer is not code)

    def drain(self) -> None:
        while self.stack:
            self.visit(*self.stack.pop())

    def fail(self, why: str) -> None:
        if self.problem is None:
            self.problem = why

    def watch(self, kind: str, holder: Any, key: Any, value: Any, name: str, *, announced: bool = False) -> None:
        (self.announced if announced else self.watched).append(Check(kind, holder, key, value, name))

    def reads(self, name: Any) -> bool:
        return self.learned.every or name in self.learned.names

    def visit(self, x: Any, name: str) -> None:
        if isinstance(x, PLAIN) or x is MISSING:
            return
        if id(x) in self.seen:
            return
        self.seen[id(x)] = x
        self.items += 1
        if isinstance(x, Tensor):
            self.visit_tensor(x, name)
        elif isinstance(x, Module):
            self.visit_module(x, name)
        elif isinstance(x, Optimizer):
            self.visit_optimizer(x, name)
        elif isinstance(x, LRScheduler):
            self.visit_scheduler(x, name)
        elif isinstance(x, Generator):
            pass                            # draws are part of what is captured
        elif isinstance(x, types.FunctionType):
            self.visit_function(x, name)
        elif isinstance(x, types.MethodType):
            self.stack += ((x.__self__, name), (x.__func__, name))
        elif isinstance(x, functools.partial):
            self.stack += ((x.func, name), (x.args, name), (x.keywords, name))
        elif isinstance(x, types.ModuleType):
            self.visit_python_module(x, name)
        elif isinstance(x, type):
            self.visit_class(x, name)
        elif isinstance(x, (property, staticmethod, classmethod, functools.cached_property)):
            parts = (x.fget, x.fset, x.fdel) if isinstance(x, property) else (x.func if isinstance(x, functools.cached_property) else x.__func__,)
            self.stack += [(p, name) for p in parts if p is not None]
        elif isinstance(x, CALLABLES):
            owner = getattr(x, "__self__", None)
            if owner is not None and not isinstance(owner, (type, types.ModuleType)):
                self.stack.append((owner, name))        # a method of an object: its state counts
        elif isinstance(x, np.ndarray):
            if x.size > SMALL_ARRAY or x.dtype.hasobject:
                self.fail(f"{name} is a NumPy array of {x.size} elements: pass it as a tensor")
            else:
                self.watch("array", x, None, (x.shape, x.dtype, x.tobytes()), name)
        elif isinstance(x, (list, tuple, collections.deque)):
            self.visit_sequence(x, name)
        elif isinstance(x, (set, frozenset)):
            self.count(len(x), name)
            if not isinstance(x, frozenset):
                self.watch("set", x, None, frozenset(x), name)
            self.stack += [(v, f"an element of {name}") for v in x]
        elif isinstance(x, (dict, types.MappingProxyType)):
            self.visit_dict(x, name)
        elif "__traced__" in getattr(x, "__dict__", ()):
            self.stack.append((x.__dict__["__traced__"], name))
        else:
            self.visit_object(x, name)

    def count(self, n: int, name: str) -> None:
        self.items += n
        if self.items > LARGEST * 16 or n > LARGEST:
            self.fail(f"{name} is too large to be guarded")

    # -- kinds of values -------------------------------------------------------------------------------------------
    def visit_tensor(self, t: Tensor, name: str) -> None:
        if t.is_sparse:
            return self.fail(f"{name} is a sparse tensor")
        self.tensors.append(t)
        t.requires_grad     # noqa: B018  (a view learns of its base's history)
        self.watch("tensor", t, None, facts_of(t), name, announced=True)
        for hooks in (t._hooks, t._post_hooks):
            self.stack += [(h, f"a hook of {name}") for h in hooks or ()]
        for k, v in vars(t).items():
            if not k.startswith("_") and k not in ("grad", "persistent", "name") and self.reads(k):
                self.watch("item", t.__dict__, k, v, f"{name}.{k}")
                self.stack.append((v, f"{name}.{k}"))

    def visit_module(self, m: Module, name: str) -> None:
        state = m.__dict__
        traced = state.get("__traced__")
        if traced is not None:
            self.stack.append((traced, name))
            return
        self.watch("dict", state, tuple(state), tuple(state.values()), name, announced=True)
        library = kind_of_class(type(m)) == "library"
        if not self.modules:
            for kind, table in GLOBAL.items():
                self.watch("dict", table, tuple(table), tuple(table.values()), f"the global {kind} hooks", announced=True)
                self.stack += [(h, f"a global {kind} hook") for h in table.values()]
        self.modules += 1
        self.watch_method(type(m), "forward")
        for k, v in state.items():
            if isinstance(v, PLAIN):
                continue
            if k in TABLES or isinstance(v, collections.OrderedDict) and k.endswith("hooks"):
                self.watch("dict", v, tuple(v), tuple(v.values()), f"{name}.{k}", announced=True)
                self.stack += [(x, f"{name}.{n}") for n, x in v.items()]
            elif k == "_non_persistent_buffers_set":
                continue
            elif library or self.reads(k):
                self.stack.append((v, f"{name}.{k}"))
        self.stack.append((type(m), type(m).__name__))

    def visit_optimizer(self, o: Optimizer, name: str) -> None:
        self.optimizers.append(o)
        exact = self.learned.every or not READ_SETTINGS.isdisjoint(self.learned.names)
        self.watch("size", o.__dict__, None, len(o.__dict__), f"the attributes of {name}")
        self.watch_method(type(o), "step")
        for table, where in ((GLOBAL_PRE, "before"), (GLOBAL_POST, "after")):
            self.watch("dict", table, tuple(table), tuple(table.values()), f"the hooks {where} every step", announced=True)
            self.stack += [(h, f"a hook {where} every step") for h in table.values()]
        self.watch("item", o.__dict__, "param_groups", o.param_groups, f"{name}.param_groups")
        self.watch("item", o.__dict__, "state", o.state, f"{name}.state")
        self.watch("sequence", o.param_groups, None, tuple(o.param_groups), f"{name}.param_groups")
        for i, g in enumerate(o.param_groups):
            where = f"{name}.param_groups[{i}]"
            params = g["params"]
            self.watch("item", g, "params", params, where)
            self.watch("sequence", params, None, tuple(params), f"{where}['params']", announced=type(params) is Members)
            if exact:
                self.watch("dict", g, tuple(g), tuple(g.values()), where)
            else:
                self.watch("settings", g, None, settings_of(g), f"{where} (settings)")
            self.stack += [(p, f"{where}['params'][{k}]") for k, p in enumerate(params)]
            self.stack += [(v, f"{where}[{k!r}]") for k, v in g.items() if k != "params"]
        counts = () if exact else o.counts
        self.watch("dict", o.state, tuple(o.state), tuple(o.state.values()), f"{name}.state", announced=type(o.state) is States)
        alike_states: dict[tuple, list[dict]] = {}
        for s in o.state.values():
            if not isinstance(s, dict):
                self.fail(f"{name}.state has an entry of type {type(s).__name__}")
                continue
            told = type(s) is State
            for announced in {told, False}:
                keys = tuple([k for k, v in s.items() if k not in counts and (told and v.__class__ not in NUMBERS) is announced])
                alike_states.setdefault((announced, keys), []).append(s)
            self.watch("size", s, None, len(s), f"a state of {name}", announced=told)
            self.stack += [(v, f"{name}.state[...][{k!r}]") for k, v in s.items() if isinstance(v, Tensor)]
            for v in s.values():
                if not isinstance(v, (*PLAIN, Tensor)):
                    self.fail(f"{name}.state holds a {type(v).__name__}")
        for (announced, keys), states in alike_states.items():
            if keys:
                values = [s[k] for s in states for k in keys]
                self.watch("states", states, keys, values, f"{name}.state ({', '.join(map(str, keys))})", announced=announced)
        for k, v in o.__dict__.items():
            if k in ("param_groups", "state", "defaults"):
                continue
            if isinstance(v, collections.OrderedDict) and k.endswith("hooks"):
                self.watch("dict", v, tuple(v), tuple(v.values()), f"{name}.{k}", announced=True)
                self.stack += [(h, f"{name}.{k}") for h in v.values()]
            elif k not in ("_in_step", "_opt_called"):
                self.watch("item", o.__dict__, k, v, f"{name}.{k}")
                self.stack.append((v, f"{name}.{k}"))
        self.stack.append((type(o), type(o).__name__))

    def visit_scheduler(self, s: LRScheduler, name: str) -> None:
        self.schedulers.append(s)
        for k, v in s.__dict__.items():
            if k == "optimizer":
                self.stack.append((v, f"{name}.optimizer"))
            elif self.reads(k):
                self.watch("item", s.__dict__, k, v, f"{name}.{k}")
        self.stack.append((type(s), type(s).__name__))

    def visit_function(self, f: types.FunctionType, name: str) -> None:
        if kind_of(f.__code__) == "library" and not f.__closure__:
            return
        original = getattr(f, "__traced__", None)
        if original is not None:
            self.stack.append((original, name))
        self.functions.add(f.__code__)
        self.reached.append(f)
        if kind_of(f.__code__) != "library":
            for k, what in (("__code__", "code"), ("__defaults__", "defaults"), ("__kwdefaults__", "defaults")):
                self.watch("attribute", f, k, getattr(f, k), f"the {what} of {name}")
            self.stack += [(d, f"the defaults of {name}") for d in (f.__defaults__, f.__kwdefaults__) if d is not None]
            for k, v in vars(f).items():
                if self.reads(k):
                    self.watch("item", f.__dict__, k, v, f"{name}.{k}")
                    self.stack.append((v, f"{name}.{k}"))
            if kind_of(f.__code__) == "user" or f.__code__ in self.learned.codes:
                self.add_globals(f.__code__, f.__globals__)
        for cell, variable in zip(f.__closure__ or (), f.__code__.co_freevars, strict=True):
            value = cell_value(cell)
            self.watch("cell", cell, None, value, variable)
            self.stack.append((value, variable))

    def add_globals(self, code: types.CodeType, where: dict) -> None:
        if ("globals", id(where), code) in self.seen:
            return
        self.seen["globals", id(where), code] = where  # type: ignore[index]
        if kind_of(code) == "user" and code not in self.learned.codes:
            return                          # it has not run
        names, modules = globals_of(code)
        for name in sorted(names):
            value = where.get(name, MISSING)
            self.watch_global(where, name, value)
            if value is MISSING:
                value = getattr(builtins, name, MISSING)
            self.stack.append((value, name))
        for name in sorted(modules):
            module = sys.modules.get(name)
            self.watch_global(sys.modules, name, module)
            if module is not None:
                self.stack.append((module, name))
                self.stack.append((sys.modules.get(name.split(".")[0]), name.split(".")[0]))

    def watch_global(self, where: dict, name: str, value: Any) -> None:
        key = ("global", id(where), name)
        if key not in self.seen:
            self.seen[key] = where  # type: ignore[index]
            self.watch("item", where, name, value, name)

    def visit_python_module(self, m: types.ModuleType, name: str) -> None:
        if m.__name__.split(".")[0] == "jitorch":
            if m.__name__ == "jitorch.config" and not {"tier", "check", "debug"}.isdisjoint(self.learned.names):
                self.fail("reads jitorch.config")
            for k in sorted(self.learned.names.intersection(vars(m))):
                v = vars(m)[k]
                if isinstance(v, (types.FunctionType, type, *PLAIN)):
                    self.watch_global(vars(m), k, v)
            return
        kind = module_kind(m)
        for k in sorted(self.learned.names) if not self.learned.every else sorted(vars(m)):
            v = vars(m).get(k, MISSING)
            if v is MISSING:
                continue
            if kind == "user" or k in self.learned.names and isinstance(v, (types.FunctionType, types.BuiltinFunctionType, *PLAIN)):
                self.watch_global(vars(m), k, v)
            if isinstance(v, PLAIN):
                continue
            if kind == "user":
                self.stack.append((v, f"{name}.{k}"))
            elif isinstance(v, types.ModuleType):
                self.stack.append((v, f"{name}.{k}"))
            elif not isinstance(v, (type, types.FunctionType, *CALLABLES[1:])) and not isinstance(v, types.BuiltinFunctionType):
                self.fail(f"uses {name}.{k}, which can't be guarded")
            elif isinstance(v, types.BuiltinFunctionType) and not isinstance(v.__self__, (type(None), types.ModuleType, type)):
                self.fail(f"uses {name}.{k}, which has a state of its own")

    def visit_class(self, c: type, name: str) -> None:
        for base in c.__mro__:
            if base is object or kind_of_class(base) != "user":
                continue
            held = vars(base)
            found = [k for k, v in held.items() if self.reads(k) or getattr(v, "__code__", None) in self.learned.codes]
            for k in found:
                if k in ("__dict__", "__weakref__", "__module__", "__doc__", "__annotations__", "__dataclass_fields__", "__dataclass_params__"):
                    continue
                self.watch("item", held, k, held[k], f"{base.__name__}.{k}")
                self.stack.append((held[k], f"{base.__name__}.{k}"))
            if ("class", base) not in self.seen:
                self.seen["class", base] = base  # type: ignore[index]
                self.watch("size", held, None, len(held), f"the attributes of {base.__name__}")

    def watch_method(self, c: type, name: str) -> None:
        """A method of a class of this package, and the functions of the package that it calls by name: users replace them."""
        for base in c.__mro__:
            if base.__module__.split(".")[0] != "jitorch":
                continue
            function = vars(base).get(name)
            if function is not None:
                if ("method", base, name) not in self.seen:
                    self.seen["method", base, name] = base  # type: ignore[index]
                    self.watch("item", vars(base), name, function, f"{base.__name__}.{name}")
                    if isinstance(function, types.FunctionType):
                        self.watch_calls(function)
                return

    def watch_calls(self, f: types.FunctionType) -> None:
        for name in globals_of(f.__code__)[0]:
            value = f.__globals__.get(name)
            if isinstance(value, types.FunctionType):
                self.watch_global(f.__globals__, name, value)
            elif isinstance(value, types.ModuleType) and value.__name__.split(".")[0] == "jitorch":
                for k in f.__code__.co_names:
                    if isinstance(vars(value).get(k), types.FunctionType):
                        self.watch_global(vars(value), k, vars(value)[k])

    def visit_sequence(self, x: Any, name: str) -> None:
        self.count(len(x), name)
        if not isinstance(x, tuple):
            self.watch("sequence", x, None, tuple(x), name)
        self.stack += [(v, f"{name}[{i}]") for i, v in enumerate(x)]
        self.attributes(x, name)

    def visit_dict(self, x: Any, name: str) -> None:
        self.count(len(x), name)
        self.watch("dict", x, tuple(x), tuple(x.values()), name)
        self.stack += [(v, f"{name}[{k!r}]") for k, v in x.items()]
        self.stack += [(k, f"a key of {name}") for k in x]
        self.attributes(x, name)

    def attributes(self, x: Any, name: str) -> None:
        """Those of an instance of a Python class, by the names that are read."""
        kind = type(x)
        if not made_in_python(kind) and kind is not types.SimpleNamespace:
            return
        state = getattr(x, "__dict__", None)
        every = kind_of_class(kind) == "library"
        if isinstance(state, dict):
            for k, v in state.items():
                if every or self.reads(k):
                    self.watch("item", state, k, v, f"{name}.{k}")
                    self.stack.append((v, f"{name}.{k}"))
            self.watch("size", state, None, len(state), f"the attributes of {name}")
        for base in kind.__mro__:
            slots = vars(base).get("__slots__", ())
            for k in (slots,) if isinstance(slots, str) else slots:
                if k not in ("__dict__", "__weakref__") and (every or self.reads(k)):
                    v = getattr(x, k, MISSING)
                    self.watch("attribute", x, k, v, f"{name}.{k}")
                    self.stack.append((v, f"{name}.{k}"))
        self.watch("type", x, None, kind, f"the type of {name}")
        self.stack.append((kind, kind.__name__))

    def visit_object(self, x: Any, name: str) -> None:
        kind = type(x)
        for base in kind.__mro__:
            if base not in (object, types.SimpleNamespace) and (not made_in_python(base) or base.__module__ in STATEFUL):
                self.fail(f"{name} is a {kind.__module__}.{kind.__qualname__}, whose state can't be guarded")
                return
        self.attributes(x, name)


def made_in_python(c: type) -> bool:
    """Whether a class comes from a class statement: what its instances hold is in their __dict__ and __slots__, not in C."""
    held = vars(c)
    if "__slots__" in held:
        return True
    own = held.get("__dict__")
    if isinstance(own, types.GetSetDescriptorType) and (own.__doc__ or "").startswith("dictionary for instance variables"):
        return True
    return any(made_in_python(base) for base in c.__bases__ if base is not object)


def kind_of_class(c: type) -> str:
    module = c.__module__
    if module.split(".")[0] == "jitorch":
        return "library"
    if not made_in_python(c):
        return "builtin"
    found = sys.modules.get(module)
    return "user" if found is None else module_kind(found)


def module_kind(m: types.ModuleType) -> str:
    """As observe.kind_of."""
    name = getattr(m, "__file__", None)
    if name is None:
        return "standard" if m.__name__ in sys.builtin_module_names or m.__name__ == "sys" else "user"
    if m.__name__.split(".")[0] in ("jitorch",):
        return "library"
    from .observe import LIBRARIES, STANDARD
    if name.startswith(LIBRARIES) or name.startswith(STANDARD) and "-packages" not in name:
        return "standard"
    return "user"


# -- the function that a call runs -------------------------------------------------------------------------------------
def compiled_checks(checks: list[Check]) -> Callable[[], Check | None]:
    """A function that returns the first check that does not hold, or None. It runs in every call, so it is written out: all that has
    to be what it was is gathered into one tuple, whose items are compared one by one in C."""
    names: dict[str, Any] = {"is_": is_, "MISSING": MISSING, "cell_value": cell_value, "checks": checks}
    parts: list[str] = []                   # expressions
    values: list[Any] = []                  # what they gave: True for one that tests by itself
    owners: list[Check] = []                # whose they are

    def add(check: Check, text: str, *expected: Any) -> None:
        parts.append(text)
        values.extend(expected)
        owners.extend([check] * len(expected))

    items: dict[int, list[Check]] = {}
    for c in checks:
        if c.kind == "item" and c.value is not MISSING:
            items.setdefault(id(c.holder), []).append(c)
    for number, some in enumerate(items.values()):
        names[f"d{number}"] = some[0].holder
        if len(some) == 1:
            names[f"k{number}"] = some[0].key
            add(some[0], f"d{number}[k{number}]", some[0].value)
            continue
        names[f"get{number}"] = itemgetter(*[c.key for c in some])
        add(some[0], f"*get{number}(d{number})", *[c.value for c in some])
        owners[-len(some):] = some
    for i, c in enumerate(checks):
        h = f"h{i}"
        names[h] = c.holder
        if c.kind == "item":
            if c.value is MISSING:
                names[f"q{i}"] = c.key
                add(c, f"{h}.get(q{i}, MISSING)", MISSING)
        elif c.kind == "cell":
            add(c, f"{h}.cell_contents" if c.value is not MISSING else f"cell_value({h})", c.value)
        elif c.kind == "attribute" and c.value is not MISSING and c.key.isidentifier():
            add(c, f"{h}.{c.key}", c.value)
        elif c.kind == "size":
            add(c, f"len({h}) == {c.value}", True)
        elif c.kind == "type":
            add(c, f"type({h})", c.value)
        elif c.kind == "sequence":
            add(c, f"len({h}) == {len(c.value)}", True)
            add(c, f"*{h}", *c.value)
        elif c.kind == "dict":
            add(c, f"len({h}) == {len(c.value)}", True)
            add(c, f"*{h}", *c.key)
            add(c, f"*{h}.values()", *c.value)
        elif c.kind == "settings":
            add(c, f"len({h}) == {len(c.holder)}", True)
            for key, value in c.value:
                plain = isinstance(c.holder[key], (bool, str, type(None)))
                add(c, f"{h}[{key!r}]" if plain else f"{'' if value else 'not '}{h}[{key!r}]" + (" and True" if value else ""), value if plain else True)
        elif c.kind == "states":
            for n, key in enumerate(c.key):
                names[f"g{i}_{n}"] = itemgetter(key)
                add(c, f"*map(g{i}_{n}, {h})", *c.value[n :: len(c.key)])
        else:
            add(c, f"checks[{i}].holds()", True)
    held = names["held"] = [tuple(values)]

    def differs(now: tuple) -> Check | None:
        """The values are other objects. Equal numbers and strings are as good, and are expected from then on."""
        expected = held[0]
        for x, value, check in zip(now, expected, owners, strict=False):
            if x is not value and not same(x, value):
                return check
        if len(now) != len(expected):
            return owners[-1]
        held[0] = now
        return None

    names["differs"] = differs
    names["missing"] = lambda: next((c for c in checks if not c.holds()), None)
    text = "\n".join(["def first_broken():", "  try:", f"    now = ({''.join(p + ', ' for p in parts)})",
                      "  except (ValueError, AttributeError, KeyError):         # an emptied cell, a deleted attribute or key",
                      "    return missing()", "  return None if all(map(is_, now, held[0])) else differs(now)"])
    exec(compile(text, "<guards>", "exec"), names)
    return names["first_broken"]

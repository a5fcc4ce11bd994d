"""More programs that trip tracers: state that changes in ways that nothing announces. See `programs.py` for what a word means."""

from __future__ import annotations

import copy
import functools
import io
import math
import operator
import random
import sys
import time
import types
import weakref
from collections import ChainMap, Counter, defaultdict, deque
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import Enum
from itertools import count, cycle

import numpy as np

import jitorch as torch
import jitorch.nn as nn
import jitorch.nn.functional as F

from .programs import attempt, program, x

factors = [1.0, 2.0]
settings = {"deep": {"factor": [1.0]}}
flag = True
current = 1.0
ANY = 0         # how it runs doesn't matter: only that nothing is wrong


def helper(v):
    return v * 2


def calls_helper(v):
    return helper(v) + 1


def thrice(f, *args):
    return [f(*args) for _ in range(3)]


# -- Python state ------------------------------------------------------------------------------------------------------
@program(2)
def list_is_mutated_in_place(trace):
    held = [1.0, 2.0]
    f = trace(lambda v: v * sum(held))
    out = thrice(f, x())
    held[0] = 5.0
    out += thrice(f, x())
    held.append(1.0)
    out += thrice(f, x())
    held.sort()
    held.pop()
    return out + thrice(f, x())


@program(2)
def global_list_is_mutated(trace):
    f = trace(lambda v: v * factors[0] + factors[-1])
    out = thrice(f, x())
    factors[0] = 4.0
    out += thrice(f, x())
    factors[0] = 1.0
    return out + thrice(f, x())


@program(2)
def deep_settings(trace):
    f = trace(lambda v: v * settings["deep"]["factor"][0])
    out = thrice(f, x())
    settings["deep"]["factor"][0] = 3.0
    out += thrice(f, x())
    settings["deep"] = {"factor": [7.0]}
    out += thrice(f, x())
    settings["deep"] = {"factor": [1.0]}
    return out


@program(2)
def global_is_monkeypatched(trace):
    global helper
    f = trace(calls_helper)
    out = thrice(f, x())
    plain = helper
    helper = lambda v: v * 5  # noqa: E731
    try:
        out += thrice(f, x())
    finally:
        helper = plain
    return out + thrice(f, x())


@program(2)
def code_is_replaced(trace):
    def g(v):
        return v * 2

    f = trace(lambda v: g(v) + 1)
    out = thrice(f, x())
    g.__code__ = (lambda v: v * 9).__code__
    return out + thrice(f, x())


@program(ANY)
def library_is_monkeypatched(trace):
    f = trace(lambda v: F.relu(v) + torch.tanh(v))
    out = thrice(f, x())
    plain, tanh = F.relu, torch.tanh
    F.relu, torch.tanh = lambda v: v * 3, lambda v: v * 4
    try:
        out += thrice(f, x())
    finally:
        F.relu, torch.tanh = plain, tanh
    return out + thrice(f, x())


@program(ANY)
def tensor_method_is_monkeypatched(trace):
    f = trace(lambda v: v.relu() + 1)
    out = thrice(f, x())
    plain = torch.Tensor.relu
    torch.Tensor.relu = lambda v: v * 3
    try:
        out += thrice(f, x())
    finally:
        torch.Tensor.relu = plain
    return out + thrice(f, x())


@program(ANY)
def forward_of_a_library_class_is_patched(trace):
    m = nn.Linear(3, 2)
    f = trace(m)
    with torch.no_grad():
        out = thrice(f, x(4, 3))
        plain = nn.Linear.forward
        nn.Linear.forward = lambda self, v: v * 3
        try:
            out += thrice(f, x(4, 3))
        finally:
            nn.Linear.forward = plain
        return out + thrice(f, x(4, 3))


@program(ANY)
def optimizer_class_is_patched(trace):
    w = torch.ones(3, requires_grad=True)
    o = torch.optim.SGD([w], lr=0.1)

    @trace
    def step(v):
        o.zero_grad()
        (w * v).sum().backward()
        o.step()
        return w.clone().detach()

    out = thrice(step, x())
    o.step = lambda: None
    out += thrice(step, x())
    del o.step
    return out + thrice(step, x())


def hidden_by_turns(f, base, derived, one):
    """Calls while a factor changes in a base class, then is hidden by a class's own, then by an instance's."""
    out = thrice(f, x())
    for number, holder in enumerate((base, derived, one), 3):
        holder.factor = float(number)
        out += thrice(f, x())
    return out


@program(2)
def class_attribute_is_changed(trace):
    class Base:
        factor = 2.0

    class Derived(Base):
        pass

    holder = Derived()
    f = trace(lambda v: v * holder.factor)
    out = hidden_by_turns(f, Base, Derived, holder)
    del holder.factor, Derived.factor
    return out + thrice(f, x())


@program(2)
def class_attribute_of_a_module(trace):
    class Base(nn.Module):
        factor = 2.0

    class Net(Base):
        def forward(self, v):
            return v * self.factor

    net = Net()
    f = trace(net)
    out = hidden_by_turns(f, Base, Net, net)
    del net.factor
    return out + thrice(f, x())


@program(2)
def a_property_reads_hidden_state(trace):
    class Holder:
        def __init__(self):
            self._hidden = 2.0

        @property
        def factor(self):
            return self._hidden * 2

    h = Holder()
    f = trace(lambda v: v * h.factor)
    out = thrice(f, x())
    h._hidden = 3.0
    out += thrice(f, x())
    Holder.factor = property(lambda self: 100.0)
    return out + thrice(f, x())


@program(2)
def a_descriptor_and_a_metaclass(trace):
    class Meta(type):
        @property
        def factor(cls):
            return cls.held[0]

    class Holder(metaclass=Meta):
        held = [2.0]

    class Descriptor:
        def __get__(self, instance, owner):
            return owner.held[0] + 1

    class Other(Holder):
        d = Descriptor()

    f = trace(lambda v: v * Holder.factor + Other().d)
    out = thrice(f, x())
    Holder.held[0] = 3.0
    out += thrice(f, x())
    Other.held = [8.0]
    return out + thrice(f, x())


@program(2)
def getattr_of_an_object(trace):
    class Holder:
        def __init__(self):
            self.values = {"factor": 2.0}

        def __getattr__(self, name):
            return self.__dict__["values"][name]

    h = Holder()
    f = trace(lambda v: v * h.factor)
    out = thrice(f, x())
    h.values["factor"] = 3.0
    return out + thrice(f, x())


@program(2)
def call_and_items_of_objects(trace):
    class Holder:
        def __init__(self):
            self.a, self.rows = 2.0, [1.0, 2.0]

        def __call__(self, v):
            return v * self.a

        def __getitem__(self, i):
            return self.rows[i]

        def __len__(self):
            return len(self.rows)

        def __iter__(self):
            return iter(self.rows)

        def __contains__(self, k):
            return k in self.rows

        def __bool__(self):
            return self.a > 0

    h = Holder()
    f = trace(lambda v: h(v) + h[1] + len(h) + sum(h) + (2.0 in h) + bool(h))
    out = thrice(f, x())
    for change in (lambda: setattr(h, "a", -1.0), lambda: h.rows.append(9.0), lambda: h.rows.__setitem__(1, 7.0)):
        change()
        out += thrice(f, x())
    return out


@program(2)
def default_arguments_are_mutated(trace):
    def g(v, factors=[1.0, 2.0], *, named={"a": 1.0}):  # noqa: B006
        return v * sum(factors) + named["a"]

    f = trace(g)
    out = thrice(f, x())
    g.__defaults__[0].append(3.0)
    out += thrice(f, x())
    g.__kwdefaults__["named"]["a"] = 5.0
    out += thrice(f, x())
    g.__kwdefaults__["named"] = {"a": 6.0}
    out += thrice(f, x())
    g.__kwdefaults__ = {"named": {"a": 7.0}}
    out += thrice(f, x())
    g.__defaults__ = ([9.0],)
    return out + thrice(f, x())


@program(2)
def defaults_of_a_called_function(trace):
    def g(v, factor=2.0, *, other=1.0):
        return v * factor + other

    f = trace(lambda v: g(v))
    out = thrice(f, x())
    g.__defaults__ = (3.0,)
    out += thrice(f, x())
    g.__kwdefaults__["other"] = 4.0
    out += thrice(f, x())
    g.__kwdefaults__ = {"other": 6.0}
    return out + thrice(f, x())


@program(ANY)
def numpy_array_is_mutated(trace):
    small, large = np.ones(3, "float32"), np.ones(300, "float32")
    f, g = trace(lambda v: v * float(small.sum())), trace(lambda v: v * torch.from_numpy(large)[:3])
    h = trace(lambda v: v * torch.tensor(small) + torch.as_tensor(small))
    out = [*thrice(f, x()), *thrice(g, x()), *thrice(h, x())]
    small[0], large[1] = 5.0, 6.0
    out += [*thrice(f, x()), *thrice(g, x()), *thrice(h, x())]
    small *= 2
    large *= 2
    return out + [*thrice(f, x()), *thrice(g, x()), *thrice(h, x())]


@program(ANY)
def numpy_argument_is_mutated(trace):
    f = trace(lambda v, a: v * torch.from_numpy(a))
    a = np.ones(3, "float32")
    out = thrice(f, x(), a)
    a[0] = 5.0
    out += thrice(f, x(), a)
    return out + thrice(f, x(), np.full(3, 2.0, "float32"))


@program(2)
def memory_shared_with_numpy(trace):
    a = np.ones(3, "float32")
    t = torch.from_numpy(a)
    f = trace(lambda v: v * t)
    out = thrice(f, x())
    a[0] = 5.0
    out += [f(x()).clone()]
    t.numpy()[1] = 7.0
    out += [f(x()).clone()]
    g = trace(lambda v: v.add_(1))
    b = np.zeros(3, "float32")
    for _ in range(5):
        g(torch.from_numpy(b))
    return out + [b.tolist()]


@program(ANY)
def random_numbers_of_python(trace):
    def g(v):
        return v * random.random() + random.choice([1.0, 2.0])

    f = trace(g)
    random.seed(0)
    rng, out = random.Random(3), [f(x()) for _ in range(5)]
    h = trace(lambda v: v * rng.gauss(0, 1) + rng.randint(0, 5))
    npr = np.random.default_rng(0)
    k = trace(lambda v: v * float(npr.random()) + npr.integers(5))
    np.random.seed(0)
    m = trace(lambda v: v * float(np.random.rand()))
    return out + [p(x()) for p in (h, k, m) for _ in range(5)]


@program(ANY)
def clocks_and_counters(trace):
    n = count()
    ring = cycle([1.0, 2.0, 3.0])
    f = trace(lambda v: v * next(n) + next(ring))
    ticks = []
    g = trace(lambda v: (ticks.append(time.monotonic()), v)[1] * len(ticks))
    return [f(x()) for _ in range(7)] + [g(x()) for _ in range(5)]


@program(ANY)
def generators_from_outside(trace):
    def numbers():
        n = 0.0
        while True:
            n += 1
            got = yield n
            n += got or 0

    g = numbers()
    next(g)
    f = trace(lambda v: v * g.send(2.0))
    h = trace(lambda v: v * next(g))
    z = zip([1.0, 2.0, 3.0, 4.0, 5.0, 6.0], range(6), strict=True)
    k = trace(lambda v: v * next(z)[0])
    e = enumerate([1.0] * 9)
    m = trace(lambda v: v * next(e)[0])
    w = map(float, range(20))
    n = trace(lambda v: v * next(w))
    return [p(x()) for p in (f, h, k, m, n) for _ in range(5)]


@program(ANY)
def containers_of_the_library(trace):
    d, c, dd, cm, s = deque([1.0, 2.0], maxlen=3), Counter(a=2), defaultdict(float, a=1.0), ChainMap({}, {"a": 2.0}), {1.0, 2.0}
    f = trace(lambda v: v * d[0] + c["a"] + dd["a"] + cm["a"] + sum(s))
    out = thrice(f, x())
    for change in (lambda: d.append(4.0), lambda: d.append(5.0), lambda: c.update("a"), lambda: dd.__setitem__("a", 3.0),
                   lambda: cm.__setitem__("a", 9.0), lambda: s.add(7.0), lambda: d.rotate(1)):  # fmt: skip
        change()
        out += thrice(f, x())
    return out


@program(2)
def missing_keys_are_added(trace):
    held = {"a": 1.0}
    f = trace(lambda v: v * held.get("b", 2.0) + ("c" in held) + len(held))
    out = thrice(f, x())
    held["b"] = 3.0
    out += thrice(f, x())
    held["c"] = None
    out += thrice(f, x())
    del held["a"]
    return out + thrice(f, x())


@program(ANY)
def global_appears_and_disappears(trace):
    def g(v):
        return v * (appearing if "appearing" in globals() else 1.0)  # noqa: F821

    f = trace(g)
    out = thrice(f, x())
    globals()["appearing"] = 3.0
    out += thrice(f, x())
    globals()["appearing"] = 4.0
    out += thrice(f, x())
    del globals()["appearing"]
    return out + thrice(f, x())


@program(2)
def builtin_is_shadowed(trace):
    def g(v):
        return v * abs(-2.0)

    f = trace(g)
    out = thrice(f, x())
    globals()["abs"] = lambda v: 7.0
    try:
        out += thrice(f, x())
    finally:
        del globals()["abs"]
    return out + thrice(f, x())


@program(ANY)
def attributes_of_a_module_file(trace):
    m = types.ModuleType("made_here")
    m.factor, m.held = 2.0, [1.0]
    m.f = lambda v: v * 2
    sys.modules["made_here"] = m
    try:
        def g(v):
            import made_here
            from made_here import held
            return made_here.f(v) * made_here.factor + held[0]

        f = trace(g)
        out = thrice(f, x())
        m.factor = 3.0
        out += thrice(f, x())
        m.held[0] = 4.0
        out += thrice(f, x())
        m.held = [5.0]
        out += thrice(f, x())
        m.f = lambda v: v * 8
        out += thrice(f, x())
        sys.modules["made_here"] = n = types.ModuleType("made_here")
        n.factor, n.held, n.f = 1.0, [0.0], lambda v: v
        return out + thrice(f, x())
    finally:
        del sys.modules["made_here"]


@program(ANY)
def changed_constants_of_the_standard_library(trace):
    f = trace(lambda v: v * math.pi + sys.maxsize % 7)
    out = thrice(f, x())
    plain = math.pi
    math.pi = 3.0
    try:
        return out + thrice(f, x())
    finally:
        math.pi = plain


@program(2)
def enum_dataclass_and_frozen(trace):
    class Mode(Enum):
        A = 1
        B = 2

    @dataclass
    class Config:
        mode: Mode = Mode.A
        rates: list = field(default_factory=lambda: [1.0])
        inner: object = None

    c = Config(inner=Config())
    f = trace(lambda v: (v * c.rates[0] if c.mode is Mode.A else -v) + c.inner.rates[0])
    out = thrice(f, x())
    for change in (lambda: setattr(c, "mode", Mode.B), lambda: setattr(c, "mode", Mode.A), lambda: c.rates.__setitem__(0, 4.0),
                   lambda: setattr(c.inner, "rates", [9.0]), lambda: setattr(c, "inner", Config(rates=[3.0]))):  # fmt: skip
        change()
        out += thrice(f, x())
    return out


@program(ANY)
def partials_and_operators(trace):
    p = functools.partial(torch.mul, other=2.0)
    box = {"key": 2.0}
    get = operator.itemgetter("key")
    f = trace(lambda v: p(v) + get(box))
    out = thrice(f, x())
    box["key"] = 5.0
    out += thrice(f, x())
    p.keywords["other"] = 3.0
    return out + thrice(f, x())


@program(ANY)
def weak_references(trace):
    class Holder:
        factor = 2.0

    h = Holder()
    r = weakref.ref(h)
    f = trace(lambda v: v * (r().factor if r() is not None else -1.0))
    out = thrice(f, x())
    h.factor = 3.0
    out += thrice(f, x())
    del h
    return out + thrice(f, x())


@program(2)
def nonlocal_state_of_a_sibling(trace):
    factor = 1.0

    def raise_it():
        nonlocal factor
        factor += 1

    f = trace(lambda v: v * factor)
    out = []
    for _ in range(4):
        out += thrice(f, x())
        raise_it()
    return out


@program(ANY)
def state_is_changed_by_the_call(trace):
    log, seen = [], {}

    class Counts:
        n = 0

    @trace
    def f(v):
        log.append(len(log))
        seen[len(seen)] = 1
        Counts.n += 1
        return v * Counts.n + len(log)

    return [f(x()) for _ in range(6)] + [len(log), len(seen), Counts.n]


@program(ANY)
def state_is_changed_in_a_branch(trace):
    hits = [0]

    @trace
    def f(v):
        if v.sum() > 0:
            hits[0] += 1
            return v
        return -v

    one = torch.ones(2)
    return [f(one * s) for s in (-1, -2, -3, 1, 1, 1, -1, 1)] + hits


@program(ANY)
def changed_and_changed_back(trace):
    held = [1.0]

    @trace
    def f(v):
        held[0] = 5.0
        out = v * held[0]
        held[0] = 1.0
        return out

    out = thrice(f, x())
    held[0] = 2.0
    return [*out, *thrice(f, x()), held[0]]


@program(ANY)
def exec_eval_and_locals(trace):
    factor = 2.0

    def g(v):
        return eval("v * factor", {"v": v, "factor": box[0]})

    box = [2.0]
    f = trace(g)
    h = trace(lambda v: v * locals()["v"] * globals()["current"] * vars(holder)["a"])
    holder = types.SimpleNamespace(a=1.0)
    global current
    out = [*thrice(f, x()), *thrice(h, x())]
    box[0], current, holder.a = 3.0, 4.0, 5.0
    out += [*thrice(f, x()), *thrice(h, x())]
    current = 1.0
    return out + [*thrice(f, x()), *thrice(h, x()), factor]


@program(ANY)
def string_building_and_dispatch(trace):
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer_0, self.layer_1 = nn.Linear(3, 3), nn.Linear(3, 3)
            self.order = ["0", "1"]

        def forward(self, v):
            for k in self.order:
                v = getattr(self, "layer_" + k)(v)
            return v

    torch.manual_seed(1)
    net = Net()
    f = trace(net)
    with torch.no_grad():
        out = thrice(f, x())
        net.order.reverse()
        out += thrice(f, x())
        net.layer_0 = nn.Linear(3, 3)
        out += thrice(f, x())
        net.order = ["1"]
        return out + thrice(f, x())


@program(ANY)
def context_manager_with_state(trace):
    depth = [0]

    @contextmanager
    def deeper():
        depth[0] += 1
        try:
            yield depth[0]
        finally:
            depth[0] -= 1

    @trace
    def f(v):
        with deeper() as d, deeper() as e:
            return v * d + e

    out = thrice(f, x())
    with deeper():
        out += thrice(f, x())
    return out + thrice(f, x())


@program(ANY)
def exceptions_that_are_caught(trace):
    held = {"a": 1.0}

    @trace
    def f(v):
        try:
            return v * held["b"]
        except KeyError:
            return v * held["a"]

    out = thrice(f, x())
    held["a"] = 2.0
    out += thrice(f, x())
    held["b"] = 3.0
    return out + thrice(f, x())


@program(ANY)
def lru_cache_of_something_that_changes(trace):
    box = [1.0]

    @functools.lru_cache
    def factor():
        return box[0]

    f = trace(lambda v: v * factor())
    out = thrice(f, x())
    box[0] = 2.0
    out += thrice(f, x())
    factor.cache_clear()
    return out + thrice(f, x())


@program(ANY)
def subclass_of_a_list(trace):
    class Held(list):
        factor = 1.0

    h = Held([1.0, 2.0])
    f = trace(lambda v: v * sum(h) * h.factor)
    out = thrice(f, x())
    h[0] = 3.0
    out += thrice(f, x())
    h.factor = 4.0
    return out + thrice(f, x())


@program(ANY)
def super_and_bound_methods(trace):
    class A:
        k = 2.0

        def go(self, v):
            return v * self.k

    class B(A):
        def go(self, v):
            return super().go(v) + 1

    b = B()
    go = b.go
    f = trace(lambda v: go(v))
    out = thrice(f, x())
    A.k = 3.0
    out += thrice(f, x())
    A.go = lambda self, v: v * 10
    out += thrice(f, x())
    B.go = lambda self, v: v * 20
    return out + thrice(f, x())


@program(ANY)
def class_of_an_object_is_changed(trace):
    class A:
        def go(self, v):
            return v * 2

    class B:
        def go(self, v):
            return v * 3

    a = A()
    f = trace(lambda v: a.go(v) + isinstance(a, B))
    out = thrice(f, x())
    a.__class__ = B
    return out + thrice(f, x())


# -- global settings ---------------------------------------------------------------------------------------------------
@program(2)
def default_dtype_changes(trace):
    f = trace(lambda v: v * torch.ones(3) + torch.tensor([1.5, 2.5, 3.5]))
    out = thrice(f, x())
    torch.set_default_dtype(torch.float64)
    try:
        out += thrice(f, x())
    finally:
        torch.set_default_dtype(torch.float32)
    return out + thrice(f, x())


@program(2)
def autocast_changes(trace):
    f = trace(lambda v: v * (2.0 if torch.is_autocast_enabled() else 3.0))
    out = thrice(f, x())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out += thrice(f, x())
        with torch.autocast("cpu", enabled=False):
            out += thrice(f, x())
    return out + thrice(f, x())


@program(ANY)
def autocast_inside(trace):
    @trace
    def f(v):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return v * (2.0 if torch.is_autocast_enabled() else 3.0)

    return thrice(f, x()) + [torch.is_autocast_enabled()]


@program(ANY)
def grad_mode_is_asked(trace):
    f = trace(lambda v: v * (2.0 if torch.is_grad_enabled() else 3.0) + torch.is_inference_mode_enabled())
    out = thrice(f, x())
    for mode in (torch.no_grad, torch.inference_mode, torch.enable_grad):
        with mode():
            out += thrice(f, x())
    return out + thrice(f, x())


@program(ANY)
def grad_mode_is_left_changed(trace):
    @trace
    def f(v):
        torch.set_grad_enabled(not torch.is_grad_enabled())
        return v * 2

    out = [(f(x()), torch.is_grad_enabled()) for _ in range(5)]
    torch.set_grad_enabled(True)
    return out


@program(ANY)
def seeds_and_states_inside(trace):
    @trace
    def f(v):
        state = torch.get_rng_state()
        a = torch.rand(3)
        torch.set_rng_state(state)
        return v * a + torch.rand(3)

    torch.manual_seed(0)
    out = [f(x()) for _ in range(4)]
    g = trace(lambda v: v + torch.rand(3) + torch.initial_seed() % 7)
    out += [g(x()) for _ in range(4)]
    torch.manual_seed(5)
    return out + [g(x()) for _ in range(4)]


@program(ANY)
def generator_is_moved_by_hand(trace):
    g = torch.Generator().manual_seed(0)
    f = trace(lambda v: v + torch.rand(3, generator=g))
    out = [f(x()) for _ in range(4)]
    state = g.get_state()
    out += [f(x()) for _ in range(2)]
    g.set_state(state)
    out += [f(x()) for _ in range(2)]
    g.manual_seed(9)
    return out + [f(x()) for _ in range(2)]


# -- tensors -----------------------------------------------------------------------------------------------------------
@program(2)
def closed_over_tensor_is_replaced_or_written(trace):
    w = x(3, seed=1)
    f = trace(lambda v: v * w)
    out = thrice(f, x())
    w.mul_(2)
    out += thrice(f, x())
    w[0] = 7.0
    out += thrice(f, x())
    w.data = x(3, seed=4)
    out += thrice(f, x())
    w.data.fill_(3.0)
    out += thrice(f, x())
    w = x(1, seed=2)
    out += thrice(f, x())
    w = 2.0
    return out + thrice(f, x())


@program(ANY)
def tensor_is_resized(trace):
    w = x(4, seed=1)
    f = trace(lambda v: v.sum() * w.sum() + w.numel())
    out = thrice(f, x())
    w.resize_(2)
    out += thrice(f, x())
    w.resize_(2, 2)
    w.fill_(1.5)
    out += thrice(f, x())
    w.data = torch.ones(7)
    out += thrice(f, x())
    w.t_() if w.dim() == 2 else None
    w.unsqueeze_(0)
    return out + thrice(f, x())


@program(ANY)
def set_of_a_tensor(trace):
    w, u = x(4, seed=1), x(3, seed=2)
    f = trace(lambda v: v.sum() * w)
    out = thrice(f, x())
    w.set_(u)
    out += thrice(f, x())
    u.fill_(2.0)
    return out + thrice(f, x())


@program(2)
def requires_grad_is_toggled(trace):
    w = torch.ones(3, requires_grad=True)
    b = torch.ones(3)

    @trace
    def f(v):
        y = w * v + b
        return y.detach(), y.requires_grad

    out = thrice(f, x())
    w.requires_grad_(False)
    out += thrice(f, x())
    b.requires_grad = True
    out += thrice(f, x())
    w.requires_grad = True
    return out + thrice(f, x())


@program(ANY)
def grad_is_read_and_set(trace):
    w = torch.ones(3, requires_grad=True)
    f = trace(lambda v: v * (1.0 if w.grad is None else w.grad))
    out = thrice(f, x())
    w.grad = torch.ones(3)
    out += thrice(f, x())
    w.grad = torch.full((3,), 4.0)
    out += thrice(f, x())
    w.grad.mul_(2)
    out += thrice(f, x())
    w.grad = None
    return out + thrice(f, x())


@program(ANY)
def attribute_of_a_tensor(trace):
    w = torch.ones(3)
    w.factor = 2.0
    f = trace(lambda v: v * w.factor * getattr(v, "own", 1.0))
    out = thrice(f, x())
    w.factor = 3.0
    out += thrice(f, x())
    v = x()
    v.own = 5.0
    out += thrice(f, v)
    v.own = 6.0
    return out + thrice(f, v)


@program(ANY)
def identity_and_address_of_arguments(trace):
    w = torch.ones(3)
    f = trace(lambda v: v * (2.0 if v is w else 3.0) + (v.data_ptr() == w.data_ptr()))
    out = thrice(f, x()) + thrice(f, w) + thrice(f, w.view(3)) + thrice(f, w.detach()) + thrice(f, x())
    return out


@program(ANY)
def strides_and_contiguity(trace):
    f = trace(lambda v: v * (2.0 if v.is_contiguous() else 3.0) + v.stride(0) + v.storage_offset())
    a = x(3, 3)
    out = thrice(f, a) + thrice(f, a.t()) + thrice(f, a[:, 1:]) + thrice(f, a[1:]) + thrice(f, a[2:])
    big = x(100, 3)
    for i in range(4):
        out += [f(big[i : i + 3]), f(big[i:9:2])]
    return out


@program(ANY)
def aliased_arguments_come_and_go(trace):
    @trace
    def f(a, b):
        a.add_(1)
        return b * 2

    out = []
    for same in (False, True, False, True, False, True, False):
        a = torch.zeros(3)
        b = a if same else torch.zeros(3)
        out.append(f(a, b))
        c = torch.zeros(6)
        out.append(f(c[:3], c[3:] if same else c[1:4]))
        out.append(c)
    return out


@program(ANY)
def argument_aliases_a_closed_over_tensor(trace):
    w = torch.zeros(6)

    @trace
    def f(a):
        a.add_(1)
        return w * 2

    out = thrice(f, torch.ones(6))
    out += [t.clone() for t in thrice(f, w)]
    out += [t.clone() for t in thrice(f, w[:3])]
    out += [t.clone() for t in thrice(f, w[3:])]
    return out + thrice(f, torch.ones(6)) + [w]


@program(ANY)
def outputs_are_written_by_the_caller(trace):
    w = torch.ones(3)
    f = trace(lambda v: (v, v[1:], w, v * 2, w.view(3, 1)))
    out = []
    for i in range(5):
        a = torch.full((3,), float(i))
        r = f(a)
        r[1].add_(1)
        r[3].add_(5)
        r[4].mul_(2)
        out += [a, *[t.clone() for t in r], r[0] is a, r[2] is w]
    return out


@program(ANY)
def constants_are_written_by_the_caller(trace):
    f = trace(lambda v: (torch.tensor([1.0, 2.0]), torch.zeros(2) + 1, v * 2))
    out = []
    for _ in range(5):
        a, b, c = f(x())
        out += [a.clone(), b.clone(), c]
        a.add_(9)
        b.add_(9)
    return out


@program(ANY)
def inference_tensors_and_dtypes(trace):
    f = trace(lambda v: v + 1)
    out = []
    for _ in range(3):
        for dtype in (torch.float32, torch.float64, torch.int64, torch.int32, torch.bool, torch.uint8, torch.float16, torch.bfloat16):
            out.append(f(torch.ones(3).to(dtype)).to(torch.float64))
        out += [f(torch.ones(())), f(torch.ones(0)), f(torch.ones(1)), f(torch.ones(1, 1))]
    return out


@program(ANY)
def zero_and_one_as_sizes(trace):
    f = trace(lambda v: (v - v.mean(0)).sum(1) / v.shape[0] if v.shape[0] else v.sum(1))
    return [f(x(n, 3)) for n in (4, 5, 6, 1, 0, 2, 3, 1, 0, 7, 8, 9)]


@program(ANY)
def broadcasting_by_size(trace):
    w = x(5, 3, seed=3)
    f = trace(lambda v: v + w)
    return [attempt(f, x(n, 3)) for n in (5, 5, 5, 1, 1, 1, 5, 4, 1, 4)]


@program(ANY)
def sizes_as_numbers(trace):
    @trace
    def f(v):
        n = v.shape[0]
        if n > 8:
            return v * n
        return sum((v[i] * i for i in range(n)), torch.zeros(3))

    return [f(x(n, 3)) for n in (3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 8, 20, 3)]


@program(ANY)
def sizes_in_containers_and_strings(trace):
    weights = {str(n): float(n) for n in range(40)}
    f = trace(lambda v: v * weights[f"{len(v)}"] + v.size(0) ** 2 + [1.0, 2.0, 3.0][v.shape[0] % 3] + v.numel() // 2)
    return [f(x(n)) for n in (3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 8, 20, 3)]


@program(ANY)
def numbers_as_numbers(trace):
    @trace
    def f(v, k):
        if k > 2:
            v = v + 1
        return v * k + round(k) + int(k) + min(k, 3) + k**2

    return [f(x(), k) for k in (1.0, 1.5, 2.0, 2.5, 3.0, 3.5, 1.0, 4.0, 0.0, -1.0, -0.0, 1e30, -1e30)]


@program(ANY)
def types_of_numbers(trace):
    f = trace(lambda v, k: v * k)
    ints = torch.arange(3)
    return [f(v, k) for v in (x(), ints) for k in (1, 1.0, True, 2, 2.0, False, 3, 3.0, 1, 1.0, True, 4, 4.0, np.float32(1.5), np.int64(2))]


@program(ANY)
def numbers_that_overflow_or_divide(trace):
    f = trace(lambda v, k: v // k if k else v)
    g = trace(lambda v, k: v + k)
    ints = torch.arange(4)
    out = [attempt(f, ints, k) for k in (1, 2, 3, 4, 0, 5, -1, 2**40)]
    small = torch.arange(4, dtype=torch.uint8)
    return out + [attempt(g, small, k) for k in (1, 2, 3, 200, 255, 300, -1, 5)]


@program(ANY)
def numbers_as_dimensions(trace):
    f = trace(lambda v, k: v.sum(k))
    g = trace(lambda v, k: v[k] + v.select(0, k))
    h = trace(lambda v, k: v.reshape(k, -1).sum(1))
    m = trace(lambda v, k: v + torch.arange(k, k + 3).sum() + torch.full((3,), k).sum() + torch.eye(3).diagonal(k)[0])
    a = x(4, 6, 6)
    out = [attempt(f, a, k) for k in (0, 1, 2, -1, 3, 0, 1, 2)]
    out += [attempt(g, a, k) for k in (0, 1, 2, 3, -1, 4, 0)]
    out += [attempt(h, a, k) for k in (1, 2, 3, 4, 6, 5, 12)]
    return out + [attempt(m, a, k) for k in (0, 1, 2, 0, 1, -1)]


# -- modules -----------------------------------------------------------------------------------------------------------
@program(ANY)
def state_dict_is_loaded(trace):
    torch.manual_seed(0)
    a, b = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3)), nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3))
    f = trace(a)
    with torch.no_grad():
        out = thrice(f, x(5, 3))
        a.load_state_dict(b.state_dict())
        out += thrice(f, x(5, 3))
        a.load_state_dict({k: v * 2 for k, v in b.state_dict().items()})
        out += thrice(f, x(5, 3))
        a.load_state_dict(copy.deepcopy(b).state_dict(), assign=True)
        out += thrice(f, x(5, 3))
        a.eval()
        out += thrice(f, x(5, 3))
    return out + list(a.state_dict().values())


@program(ANY)
def module_is_converted(trace):
    torch.manual_seed(0)
    m = nn.Linear(3, 2)
    f = trace(m)
    with torch.no_grad():
        out = thrice(f, x(4, 3))
        m.double()
        out += thrice(f, x(4, 3).double())
        m.float()
        out += thrice(f, x(4, 3))
        m.weight.data.mul_(2)
        out += thrice(f, x(4, 3))
        m.weight = nn.Parameter(torch.ones(2, 3))
        out += thrice(f, x(4, 3))
        m.bias = None
        out += thrice(f, x(4, 3))
        del m.weight
        m.weight = torch.ones(2, 3) * 2
        return out + thrice(f, x(4, 3))


@program(ANY)
def layers_are_added_and_removed(trace):
    torch.manual_seed(0)
    m = nn.Sequential(nn.Linear(3, 3), nn.ReLU())
    f = trace(m)
    with torch.no_grad():
        out = thrice(f, x(4, 3))
        m.append(nn.Linear(3, 2))
        out += thrice(f, x(4, 3))
        m[1] = nn.Tanh()
        out += thrice(f, x(4, 3))
        del m[0]
        out += thrice(f, x(4, 3))
        m._modules["0"] = nn.Sigmoid()
        out += thrice(f, x(4, 3))
        m.insert(0, nn.Identity())
        return out + thrice(f, x(4, 3))


@program(ANY)
def attributes_of_library_layers(trace):
    torch.manual_seed(0)
    m = nn.Sequential(nn.Dropout(0.0), nn.LeakyReLU(0.1), nn.LayerNorm(3), nn.BatchNorm1d(3), nn.Softmax(1))
    f = trace(m)
    with torch.no_grad():
        out = thrice(f, x(4, 3))
        for change in (
            lambda: setattr(m[1], "negative_slope", 0.5), lambda: setattr(m[2], "eps", 0.1), lambda: setattr(m[3], "momentum", 0.5),
            lambda: setattr(m[4], "dim", 0), lambda: setattr(m[3], "eps", 0.2), lambda: setattr(m[3], "track_running_stats", False),
            lambda: setattr(m[0], "p", 1.0), lambda: m[3].eval(), lambda: setattr(m[3], "training", True),
            lambda: m[1].__dict__.__setitem__("negative_slope", 0.9),
        ):  # fmt: skip
            change()
            out += thrice(f, x(4, 3))
    return out


@program(ANY)
def hooks_come_and_go(trace):
    torch.manual_seed(0)
    m = nn.Sequential(nn.Linear(3, 3), nn.ReLU())
    f = trace(m)
    scale = [2.0]
    with torch.no_grad():
        out = thrice(f, x(4, 3))
        a = m[0].register_forward_hook(lambda module, args, y: y * scale[0])
        out += thrice(f, x(4, 3))
        scale[0] = 3.0
        out += thrice(f, x(4, 3))
        b = m.register_forward_pre_hook(lambda module, args: (args[0] + 1,))
        out += thrice(f, x(4, 3))
        a.remove()
        out += thrice(f, x(4, 3))
        b.remove()
        return out + thrice(f, x(4, 3))


@program(ANY)
def hooks_on_parameters(trace):
    w = torch.ones(3, requires_grad=True)
    log = []

    @trace
    def step(v):
        w.grad = None
        (w * v).sum().backward()
        return w.grad.clone()

    out = thrice(step, x())
    h = w.register_hook(lambda g: g * 2)
    out += thrice(step, x())
    h.remove()
    out += thrice(step, x())
    h = w.register_hook(lambda g: log.append(1))
    out += thrice(step, x())
    return out + [len(log)]


@program(ANY)
def traced_module_is_copied(trace):
    torch.manual_seed(0)
    m = nn.Sequential(nn.Linear(3, 3), nn.Dropout(0.5))
    f = trace(m)
    with torch.no_grad():
        f.eval()
        out = thrice(f, x(4, 3))
        g = copy.deepcopy(f)
        out += thrice(g, x(4, 3))
        for p in g.parameters():
            p.mul_(2)
        out += thrice(g, x(4, 3)) + thrice(f, x(4, 3))
        for p in f.parameters():
            p.mul_(3)
        out += thrice(g, x(4, 3)) + thrice(f, x(4, 3))
        g.train()
        return out + [f.training, m.training] + thrice(f, x(4, 3))


class Pickled(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer, self.k = nn.Linear(3, 3), 2.0

    def forward(self, v):
        return self.layer(v) * self.k


@program(ANY)
def traced_module_is_pickled(trace):
    import pickle

    torch.manual_seed(0)
    f = trace(Pickled())
    with torch.no_grad():
        out = thrice(f, x(4, 3))
        g = pickle.loads(pickle.dumps(f))
        out += thrice(g, x(4, 3))
        g.k = 5.0
        out += thrice(g, x(4, 3)) + thrice(f, x(4, 3))
        file = io.BytesIO()
        torch.save(f.state_dict(), file)
        file.seek(0)
        g.load_state_dict(torch.load(file))
        return out + thrice(g, x(4, 3))


@program(ANY)
def one_layer_is_shared_and_untied(trace):
    torch.manual_seed(0)

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(3, 3), nn.Linear(3, 3)
            self.b.weight = self.a.weight

        def forward(self, v):
            return self.b(self.a(v))

    m = Net()
    f = trace(m)
    with torch.no_grad():
        out = thrice(f, x(4, 3))
        m.a.weight.mul_(2)
        out += thrice(f, x(4, 3))
        m.b.weight = nn.Parameter(torch.ones(3, 3))
        out += thrice(f, x(4, 3))
        m.a = m.b
        return out + thrice(f, x(4, 3))


@program(ANY)
def state_kept_between_calls(trace):
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.h = torch.zeros(3)
            self.register_buffer("n", torch.zeros(()))
            self.last = None

        def forward(self, v):
            self.h = self.h * 0.5 + v
            self.n += 1
            self.last = v
            return self.h * self.n

    m = Net()
    f = trace(m)
    out = [f(x(seed=i)) for i in range(6)]
    m.h = torch.ones(3)
    return out + [f(x(seed=i)) for i in range(6)] + [m.h, m.n, m.last]


@program(ANY)
def spectral_norm_and_parametrizations(trace):
    torch.manual_seed(0)
    m = nn.utils.spectral_norm(nn.Linear(3, 3))
    f = trace(m)
    with torch.no_grad():
        out = thrice(f, x(4, 3))
        m.eval()
        return out + thrice(f, x(4, 3))


# -- optimizers --------------------------------------------------------------------------------------------------------
def stepping(trace, make, change=None, n=3):
    torch.manual_seed(0)
    m = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1))
    o = make(m)

    @trace
    def step(v):
        o.zero_grad()
        loss = m(v).pow(2).mean()
        loss.backward()
        o.step()
        return loss

    out = [step(x(5, 3, seed=i)).detach() for i in range(n)]
    for c in change or ():
        c(m, o)
        out += [step(x(5, 3, seed=i)).detach() for i in range(n)]
    return out + [p.detach() for p in m.parameters()]


@program(2)
def settings_of_groups_change(trace):
    def setting(k, v):
        return lambda m, o: o.param_groups[0].__setitem__(k, v)

    return [
        *stepping(trace, lambda m: torch.optim.SGD(m.parameters(), lr=0.1),
                  [setting("lr", 0.2), setting("momentum", 0.9), setting("weight_decay", 0.1), setting("nesterov", True), setting("maximize", True),
                   setting("momentum", 0.5), setting("lr", 0.0)]),
        *stepping(trace, lambda m: torch.optim.Adam(m.parameters(), lr=0.1),
                  [setting("lr", 0.2), setting("betas", (0.5, 0.9)), setting("eps", 0.1), setting("weight_decay", 0.1), setting("weight_decay", 0.0),
                   setting("betas", (0.0, 0.9)), setting("maximize", True)]),
    ]  # fmt: skip


@program(2)
def tensor_as_learning_rate(trace):
    lr = torch.tensor(0.1)
    return stepping(trace, lambda m: torch.optim.SGD(m.parameters(), lr=lr), [lambda m, o: lr.mul_(2), lambda m, o: lr.fill_(0.01)])


@program(2)
def groups_are_added(trace):
    extra = torch.ones(3, requires_grad=True)
    return stepping(trace, lambda m: torch.optim.Adam(m[0].parameters(), lr=0.1),
                    [lambda m, o: o.add_param_group({"params": list(m[2].parameters()), "lr": 0.5}),
                     lambda m, o: o.add_param_group({"params": [extra]}),
                     lambda m, o: o.param_groups.pop(0)])  # fmt: skip


@program(2)
def state_of_an_optimizer_changes(trace):
    saved = {}

    def first(o):
        return o.state[o.param_groups[0]["params"][0]]

    return stepping(trace, lambda m: torch.optim.Adam(m.parameters(), lr=0.1),
                    [lambda m, o: saved.update(copy.deepcopy(o.state_dict())),
                     lambda m, o: o.load_state_dict(saved),
                     lambda m, o: first(o)["exp_avg"].zero_(),
                     lambda m, o: first(o).__setitem__("exp_avg", torch.ones(4, 3)),
                     lambda m, o: o.state.clear(),
                     lambda m, o: o.state.pop(m[0].weight)])  # fmt: skip


@program(2)
def step_counts_are_changed(trace):
    def change(m, o):
        for s in o.state.values():
            s["step"] = type(s["step"])(50.0) if not isinstance(s["step"], torch.Tensor) else torch.tensor(50.0)

    def one(m, o):
        s = next(iter(o.state.values()))
        s["step"] = type(s["step"])(7.0) if not isinstance(s["step"], torch.Tensor) else torch.tensor(7.0)

    return stepping(trace, lambda m: torch.optim.Adam(m.parameters(), lr=0.1), [change, one])


@program(2)
def parameters_are_frozen_and_thawed(trace):
    def flag(on):
        return lambda m, o: m[0].requires_grad_(on)

    return stepping(trace, lambda m: torch.optim.Adam(m.parameters(), lr=0.1), [flag(False), flag(True), flag(False), flag(True)])


@program(2)
def hooks_of_optimizers(trace):
    def scale(o, args, kwargs):
        for g in o.param_groups:
            for p in g["params"]:
                p.grad.mul_(0.5)

    handles = []
    return stepping(trace, lambda m: torch.optim.SGD(m.parameters(), lr=0.1),
                    [lambda m, o: handles.append(o.register_step_pre_hook(scale)), lambda m, o: handles[0].remove()])  # fmt: skip


@program(ANY)
def optimizer_is_copied_and_replaced(trace):
    torch.manual_seed(0)
    w = torch.ones(3, requires_grad=True)
    box = [torch.optim.Adam([w], lr=0.1)]

    @trace
    def step(v):
        box[0].zero_grad()
        (w * v).pow(2).sum().backward()
        box[0].step()
        return w.detach().clone()

    out = [step(x(seed=i)) for i in range(4)]
    box[0] = torch.optim.SGD([w], lr=0.1)
    out += [step(x(seed=i)) for i in range(4)]
    box[0] = torch.optim.Adam([w], lr=0.3)
    return out + [step(x(seed=i)) for i in range(6)]


@program(ANY)
def exception_between_backward_and_step(trace):
    torch.manual_seed(0)
    w = torch.ones(3, requires_grad=True)
    o = torch.optim.Adam([w], lr=0.1)
    fails = [False]

    @trace
    def step(v, index):
        o.zero_grad()
        loss = (w[index] * v).pow(2).sum()
        loss.backward()
        if fails[0]:
            raise ValueError("asked to")
        o.step()
        return loss.detach()

    good, bad, out = torch.tensor([0, 1]), torch.tensor([0, 9]), []
    for i in range(12):
        fails[0] = i in (4, 9)
        out += [attempt(step, x(2, seed=i), bad if i in (6, 11) else good), w.detach().clone()]
    return out


@program(ANY)
def clipping_and_norms(trace):
    torch.manual_seed(0)
    m = nn.Linear(3, 2)
    o = torch.optim.SGD(m.parameters(), lr=0.1)

    @trace
    def step(v, most):
        o.zero_grad()
        m(v).pow(2).mean().backward()
        norm = nn.utils.clip_grad_norm_(m.parameters(), most)
        o.step()
        return norm

    return [step(x(5, 3, seed=i), most) for i, most in enumerate((1.0, 1.0, 1.0, 0.5, 0.25, 0.1, 0.01, 1.0))] + [p.detach() for p in m.parameters()]


@program(ANY)
def averaging_of_weights(trace):
    torch.manual_seed(0)
    m = nn.Linear(3, 2)
    ema = copy.deepcopy(m)
    o = torch.optim.SGD(m.parameters(), lr=0.1)

    @trace
    def step(v, decay):
        o.zero_grad()
        m(v).pow(2).mean().backward()
        o.step()
        with torch.no_grad():
            for p, q in zip(m.parameters(), ema.parameters(), strict=True):
                q.lerp_(p, 1 - decay)
        return ema(v).detach()

    return [step(x(5, 3, seed=i), d) for i, d in enumerate((0.9, 0.9, 0.9, 0.5, 0.8, 0.7, 0.6, 0.9))]


@program(ANY)
def learning_rate_as_an_argument(trace):
    w = torch.ones(3, requires_grad=True)
    o = torch.optim.SGD([w], lr=0.1)

    @trace
    def step(v, lr):
        for g in o.param_groups:
            g["lr"] = lr
        o.zero_grad()
        (w * v).pow(2).sum().backward()
        o.step()
        return w.detach().clone()

    return [step(x(seed=i), lr) for i, lr in enumerate((0.1, 0.1, 0.1, 0.2, 0.3, 0.4, 0.1, 0.1))] + [o.param_groups[0]["lr"]]


@program(ANY)
def accumulated_gradients(trace):
    torch.manual_seed(0)
    m = nn.Linear(3, 2)
    o = torch.optim.SGD(m.parameters(), lr=0.1)

    @trace
    def micro(v, n):
        loss = m(v).pow(2).mean() / n
        loss.backward()
        return loss.detach()

    out = []
    for i in range(12):
        out.append(micro(x(5, 3, seed=i), 2))
        if i % 2:
            o.step()
            o.zero_grad(set_to_none=i % 3 == 0)
    return out + [p.detach() for p in m.parameters()]


@program(ANY)
def hooks_on_all_modules_and_optimizers(trace):
    from jitorch.nn.modules.module import register_module_forward_hook
    from jitorch.optim.optimizer import register_optimizer_step_pre_hook

    torch.manual_seed(0)
    m = nn.Linear(3, 2)
    f = trace(lambda v: m(v))
    with torch.no_grad():
        out = thrice(f, x(4, 3))
        h = register_module_forward_hook(lambda module, args, y: y * 2)
        try:
            out += thrice(f, x(4, 3))
        finally:
            h.remove()
        out += thrice(f, x(4, 3))
    handles = []
    hook = lambda o, args, kwargs: [p.grad.mul_(0.5) for g in o.param_groups for p in g["params"]] and None  # noqa: E731
    return out + stepping(trace, lambda m: torch.optim.SGD(m.parameters(), lr=0.1),
                          [lambda m, o: handles.append(register_optimizer_step_pre_hook(hook)), lambda m, o: handles[0].remove()])  # fmt: skip


@program(ANY)
def settings_of_the_package(trace):
    f = trace(lambda v: v * (2.0 if torch.are_deterministic_algorithms_enabled() else 3.0) + len(torch.get_float32_matmul_precision()))
    out = thrice(f, x())
    torch.use_deterministic_algorithms(True)
    try:
        out += thrice(f, x())
        torch.set_float32_matmul_precision("high")
        out += thrice(f, x())
    finally:
        torch.use_deterministic_algorithms(False)
        torch.set_float32_matmul_precision("highest")
    return out + thrice(f, x())


@program(ANY)
def functions_that_layers_call_are_patched(trace):
    torch.manual_seed(0)
    m = nn.Sequential(nn.Linear(3, 2), nn.GELU())
    f = trace(m)
    with torch.no_grad():
        out = thrice(f, x(4, 3))
        linear, gelu = F.linear, F.gelu
        F.linear, F.gelu = lambda v, w, b: v[:, :2] * 3, lambda v, approximate="none": v + 1
        try:
            out += thrice(f, x(4, 3))
        finally:
            F.linear, F.gelu = linear, gelu
        return out + thrice(f, x(4, 3))


@program(ANY)
def memory_is_read_by_geometry(trace):
    f = trace(lambda v: v.as_strided((2,), (1,), 0) + v.as_strided((2,), (1,), v.storage_offset()))
    g = trace(lambda v: v.as_strided((2,), (1,)) * 2)
    big = x(100)
    return [p(big[i : i + 4]) for p in (f, g) for i in (0, 0, 0, 2, 3, 5, 50)]


@program(ANY)
def cached_properties(trace):
    class Holder:
        def __init__(self):
            self.a = 2.0

        @functools.cached_property
        def factor(self):
            return self.a * 2

    h = Holder()
    f = trace(lambda v: v * h.factor)
    out = thrice(f, x())
    h.a = 3.0
    out += thrice(f, x())
    del h.factor
    out += thrice(f, x())
    h.factor = 11.0
    return out + thrice(f, x())


@program(ANY)
def arguments_of_many_kinds(trace):
    def g(v, *rest, scale=1.0, **named):
        for r in rest:
            v = v + (sum(r) if isinstance(r, (list, tuple, set)) else r)
        return v * scale + sum(named.values()) + len(named)

    f = trace(g)
    calls = [((1.0,), {}), ((1.0, 2), {}), (([1.0, 2.0],), {}), (((1.0, 2.0),), {}), (({1.0, 3.0},), {}), ((True,), {}), ((1,), {}),
             ((), {"scale": 2.0}), ((), {"a": 1.0, "b": 2.0}), ((), {"b": 1.0, "a": 2.0}), ((), {"scale": 2}), ((np.float64(2),), {}),
             ((torch.ones(3),), {}), ((torch.ones(3), torch.ones(1)), {"scale": torch.tensor(3.0)})]  # fmt: skip
    return [f(x(), *args, **named) for args, named in calls * 3]


@program(ANY)
def objects_come_and_go(trace):
    class Config:
        def __init__(self, k):
            self.k = k

    f = trace(lambda v, c: v * c.k)
    out = [f(x(), Config(float(i))) for i in range(10)]
    c = Config(1.0)
    out += thrice(f, x(), c)
    c.k = 2.0
    out += thrice(f, x(), c)
    c.__dict__["k"] = 3.0
    return out + thrice(f, x(), c)


@program(ANY)
def parts_of_a_traced_model_are_traced(trace):
    torch.manual_seed(0)
    inner = trace(nn.Linear(3, 3))
    outer = trace(nn.Sequential(inner, nn.ReLU()))
    with torch.no_grad():
        out = thrice(outer, x(4, 3)) + thrice(inner, x(4, 3))
        inner.weight.mul_(2)
        out += thrice(outer, x(4, 3))
        inner.weight = nn.Parameter(torch.ones(3, 3))
        out += thrice(outer, x(4, 3)) + thrice(inner, x(4, 3))
        inner.bias = None
        return out + thrice(outer, x(4, 3)) + thrice(inner, x(4, 3))


@program(ANY)
def a_function_is_called_within_itself(trace):
    def g(v, n):
        return v if n == 0 else f(v * 2, n - 1) + 1

    f = trace(g)
    return [f(x(), n) for n in (0, 1, 2, 3, 2, 1, 0, 2, 2, 2)]


@program(ANY)
def subclasses_of_tensor(trace):
    class Mine(torch.Tensor):
        def twice(self):
            return self * 2

    f = trace(lambda v: v.twice() if hasattr(v, "twice") else v * 3)
    plain = x()
    mine = x().as_subclass(Mine)
    return [f(plain), f(plain), f(mine), f(mine), f(plain), f(mine)]


@program(ANY)
def numpy_comes_in_and_goes_out(trace):
    f = trace(lambda v: torch.from_numpy(np.sqrt(np.abs(v.numpy())).astype("float32")) + 1)
    g = trace(lambda v: np.asarray(v * 2).sum())
    return [f(x(seed=i)) for i in range(5)] + [float(g(x(seed=i))) for i in range(5)]


@program(ANY)
def result_is_kept_and_changed_by_the_function(trace):
    kept = {}

    @trace
    def f(v):
        kept["last"] = v * 2
        return kept["last"] + 1

    out = []
    for i in range(5):
        out += [f(x(seed=i)), kept["last"].clone()]
    return out


@program(ANY)
def early_exit_by_exception(trace):
    class Stop(ValueError):
        pass

    @trace
    def f(v):
        if v.sum() > 3:
            raise Stop("large")
        return v * 2

    return [attempt(f, torch.full((2,), s)) for s in (1.0, 1.0, 1.0, 5.0, 1.0, 6.0, 5.0, 1.0)]


@program(ANY)
def weights_are_swapped_for_evaluation(trace):
    torch.manual_seed(0)
    m = nn.Linear(3, 2)
    f, shadow = trace(m), [p.detach().clone() * 2 for p in m.parameters()]
    out = []
    with torch.no_grad():
        for _ in range(4):
            out += [f(x(4, 3))]
            kept = [p.data for p in m.parameters()]
            for p, s in zip(m.parameters(), shadow, strict=True):
                p.data = s
            out += [f(x(4, 3))]
            for p, k in zip(m.parameters(), kept, strict=True):
                p.data = k
            for p, s in zip(m.parameters(), shadow, strict=True):
                held = p.clone()
                p.copy_(s)
                s.copy_(held)
            out += [f(x(4, 3))]
    return out

"""Programs that trip tracers and compilers. Each runs a sequence of calls that crosses its guards, with `trace` (which may
also be the identity), and returns everything that can be seen of it. A word says how it has to run: how many calls at
least are replayed, or (a string) why it can't be."""

from __future__ import annotations

import functools
from collections import OrderedDict, namedtuple
from dataclasses import dataclass

import jitorch as torch
import jitorch.nn as nn
import jitorch.nn.functional as F

PROGRAMS: dict = {}
scale = 2.0
table = {"a": 1.0, "b": 2.0}
helper_factor = 3.0


def program(how=1):
    def register(function):
        PROGRAMS[function.__name__] = function, how
        return function

    return register


def x(*shape, seed=0):
    return torch.randn(*shape or (3,), generator=torch.Generator().manual_seed(seed))


# -- control flow on values -------------------------------------------------------------------------------------------
@program(6)
def branch_on_a_value(trace):
    f = trace(lambda v: v * 2 if v.sum() > 0 else -v)
    return [f(torch.full((3,), s)) for s in (1.0, 2.0, 3.0, -1.0, -2.0, -3.0, 4.0, -4.0, 5.0)]


@program(4)
def nested_branches(trace):
    @trace
    def f(v):
        if v[0] > 0:
            if v[1] > 0:
                return v + 1
            return v + 2
        if v[1] > 0:
            return v + 3
        return v + 4

    signs = [(1, 1), (1, -1), (-1, 1), (-1, -1)]
    return [f(torch.tensor([float(a), float(b)])) for _ in range(4) for a, b in signs]


@program(3)
def loop_until_converged(trace):
    @trace
    def root(a):
        guess, n = a.clone(), 0
        while (guess * guess - a).abs() > 1e-3:
            guess = (guess + a / guess) / 2
            n += 1
        return guess, n

    return [root(torch.tensor(v)) for v in (2.0, 2.0, 2.0, 100.0, 100.0, 2.0, 4.0)]


@program(3)
def loop_count_from_a_tensor(trace):
    @trace
    def f(v, n):
        for _ in range(int(n)):
            v = v * 1.5 + 1
        return v

    return [f(x(), torch.tensor(n)) for n in (2, 2, 2, 3, 3, 2, 0, 3)]


@program("more than")
def item_then_compute(trace):
    @trace
    def f(v):
        s = v.sum().item()
        return v * s + s**2

    return [f(x(seed=i)) for i in range(14)]


@program(9)
def item_is_returned(trace):
    @trace
    def f(v):
        loss = v.sum()
        hits = (v > 0).sum()
        return {"loss": loss.item(), "hits": hits.item(), "all": v.tolist()}

    return [f(x(seed=i)) for i in range(12)]


@program(9)
def training_step_returns_a_number(trace):
    w = torch.ones(3, requires_grad=True)
    o = torch.optim.SGD([w], lr=0.1)

    @trace
    def step(v):
        o.zero_grad()
        loss = (w * v).pow(2).sum()
        loss.backward()
        o.step()
        return loss.item()

    return [step(x(seed=i)) for i in range(12)]


@program("more than")
def item_is_returned_after_a_decision(trace):
    @trace
    def f(v):
        loss = v.sum().item()
        if loss > 0:
            return loss, 1
        return loss, 2

    return [f(x(seed=i)) for i in range(14)]


@program(2)
def item_of_the_same_value(trace):
    @trace
    def f(v):
        return v * v.sum().item()

    return [f(torch.ones(3)) for _ in range(5)] + [f(torch.ones(3) * 2), f(torch.ones(3))]


@program(3)
def early_stop(trace):
    best = torch.tensor(10.0)

    @trace
    def f(loss):
        if loss < best:
            best.copy_(loss)
            return True
        return False

    return [(f(torch.tensor(v)), best.tolist()) for v in (9.0, 8.0, 9.0, 7.0, 7.5, 6.0, 8.0)]


@program(2)
def any_and_all(trace):
    @trace
    def f(v):
        if (v > 0).all():
            return v.log()
        if torch.isnan(v).any():
            return torch.zeros_like(v)
        return v.abs()

    nan = float("nan")
    return [f(torch.tensor([1.0, b])) for b in (2.0, 2.0, 3.0, -1.0, nan, 4.0, nan, -2.0)]


@program(2)
def nonzero_shapes(trace):
    f = trace(lambda v: v[v > 0] * 2)
    a, b = torch.tensor([1.0, -1.0, 2.0]), torch.tensor([-1.0, -1.0, 2.0])
    return [f(v) for v in (a, a, a, b, b, a, b)]


@program(2)
def assert_on_a_value(trace):
    @trace
    def f(v):
        assert v.max() < 10, "too large"
        return v + 1

    return [attempt(f, torch.full((2,), s)) for s in (1.0, 2.0, 3.0, 11.0, 4.0, 12.0, 5.0)]


@program(2)
def index_by_a_value(trace):
    @trace
    def f(v):
        return v[int(v.argmax())] * 2

    return [f(torch.tensor(v)) for v in ([1.0, 2.0], [1.0, 2.0], [1.0, 3.0], [3.0, 1.0], [4.0, 1.0], [1.0, 5.0])]


@program(2)
def gradient_scaler(trace):
    w = torch.ones(3, requires_grad=True)
    o = torch.optim.SGD([w], lr=0.1)

    @trace
    def step(v):
        o.zero_grad()
        (w * v).sum().backward()
        if torch.isfinite(w.grad).all():
            o.step()
            return True
        return False

    inf = float("inf")
    return [(step(torch.tensor([1.0, 2.0, s])), w.detach().clone()) for s in (3.0, 4.0, inf, 5.0, inf, 6.0, 7.0)]


# -- Python state -----------------------------------------------------------------------------------------------------
@program(2)
def closure_is_changed(trace):
    factor = 1.0

    @trace
    def f(v):
        return v * factor

    out = []
    for factor in (1.0, 1.0, 1.0, 2.0, 2.0, 2.0, 1.0):  # noqa: B007
        out.append(f(x()))
    return out


@program(2)
def global_is_changed(trace):
    global scale
    f = trace(lambda v: v * scale)
    out = []
    for scale in (2.0, 2.0, 2.0, 3.0, 3.0, 3.0, 2.0):  # noqa: B007
        out.append(f(x()))
    return out


@program(2)
def dict_is_changed(trace):
    f = trace(lambda v: v * table["a"])
    out = []
    for a in (1.0, 1.0, 1.0, 5.0, 5.0, 5.0, 1.0):
        table["a"] = a
        out.append(f(x()))
    return out


def helper(v):
    return v * helper_factor


@program(2)
def global_of_a_called_function(trace):
    global helper_factor
    f = trace(lambda v: helper(v) + 1)
    out = []
    for helper_factor in (3.0, 3.0, 3.0, 4.0, 4.0, 4.0):  # noqa: B007
        out.append(f(x()))
    return out


@program(2)
def function_is_replaced(trace):
    global helper
    f = trace(lambda v: helper(v) - 1)
    before, out = helper, [f(x()) for _ in range(4)]
    helper = lambda v: v / 7  # noqa: E731
    try:
        out += [f(x()) for _ in range(4)]
    finally:
        helper = before
    return out + [f(x())]


@program(2)
def list_is_changed_outside(trace):
    parts = [x(seed=1), x(seed=2)]
    f = trace(lambda v: sum(parts, v))
    out = [f(x()) for _ in range(4)]
    parts.append(x(seed=3))
    out += [f(x()) for _ in range(4)]
    parts[0] = x(seed=4)
    return out + [f(x()) for _ in range(3)]


@program("changes")
def list_is_changed_inside(trace):
    seen = []

    @trace
    def f(v):
        seen.append(float(len(seen)))
        return v * len(seen)

    return [(f(x()), list(seen)) for _ in range(6)]


@program("changes")
def counter_on_a_module(trace):
    class Counting(nn.Module):
        def __init__(self):
            super().__init__()
            self.calls = 0

        def forward(self, v):
            self.calls += 1
            return v * self.calls

    m = Counting()
    f = trace(m)
    return [(f(x()), m.calls) for _ in range(6)]


@program("changes")
def nonlocal_counter(trace):
    n = 0

    @trace
    def f(v):
        nonlocal n
        n += 1
        return v + n

    return [(f(x()), n) for _ in range(6)]


@program("print")
def printing(trace):
    @trace
    def f(v):
        print("called", end="")
        return v * 2

    return [f(x()) for _ in range(4)]


@program("random")
def python_random(trace):
    import random

    @trace
    def f(v):
        return v * random.random()

    random.seed(1)
    return [f(x()) for _ in range(5)]


@program("random")
def numpy_random(trace):
    import numpy as np

    generator = np.random.default_rng(3)
    f = trace(lambda v: v * float(generator.random()))
    return [f(x()) for _ in range(5)]


@program("generator")
def iterator_from_outside(trace):
    numbers = (float(i) for i in range(100))
    f = trace(lambda v: v + next(numbers))
    return [f(x()) for _ in range(6)]


@program(2)
def default_arguments(trace):
    @trace
    def f(v, factor=2.0, *, shift=1.0):
        return v * factor + shift

    return [f(x()), f(x()), f(x()), f(x(), 3.0), f(x(), factor=3.0), f(x(), shift=2.0), f(x()), f(x(), 3.0), f(x(), shift=2.0),
            f(x(), shift=2.0)]  # fmt: skip


@program("changes")
def mutable_default(trace):
    @trace
    def f(v, seen=[]):  # noqa: B006
        seen.append(1)
        return v * len(seen)

    return [f(x()) for _ in range(5)]


@program(2)
def string_and_flag_arguments(trace):
    @trace
    def f(v, mode, double=False):
        v = {"sin": torch.sin, "cos": torch.cos}[mode](v)
        return v * 2 if double else v

    return [f(x(), m, d) for m, d in [("sin", False)] * 3 + [("cos", True)] * 3 + [("sin", False), ("sin", True), ("cos", True)]]


@program(4)
def numbers_as_arguments(trace):
    f = trace(lambda v, a: v * a)
    return [f(x(), a) for a in (1.0, 1, True, 0.0, -0.0, 1.0, 1, True, 0.0, -0.0, float("nan"), 1.0, 1)]


@dataclass
class Config:
    width: int = 2
    factor: float = 1.5


@program(2)
def config_object(trace):
    config = Config()

    @trace
    def f(v):
        return v.repeat(config.width) * config.factor

    out = [f(x()) for _ in range(4)]
    config.factor = 2.5
    out += [f(x()) for _ in range(4)]
    config.width = 3
    return out + [f(x()) for _ in range(3)]


@program(2)
def method_of_an_object(trace):
    class Thing:
        shift = 1.0

        def __init__(self):
            self.factor = 2.0

        def call(self, v):
            return v * self.factor + self.shift

    thing = Thing()
    f = trace(thing.call)
    out = [f(x()) for _ in range(4)]
    thing.factor = 3.0
    out += [f(x()) for _ in range(3)]
    Thing.shift = 5.0
    out += [f(x()) for _ in range(3)]
    thing.shift = 6.0
    return out + [f(x()) for _ in range(3)]


@program(2)
def partial_function(trace):
    f = trace(functools.partial(lambda a, v: v * a, 3.0))
    return [f(x()) for _ in range(4)]


# -- modules ----------------------------------------------------------------------------------------------------------
@program(4)
def toggled_eval(trace):
    torch.manual_seed(1)
    m = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout(0.5))
    f = trace(m)
    out = []
    with torch.no_grad():
        for mode in (True, True, True, False, False, False, True, False):
            m.train(mode)
            out.append(f(x(5, 3)))
    return out + list(m.buffers())


@program(2)
def toggled_grad_mode(trace):
    w = torch.ones(3, requires_grad=True)
    f = trace(lambda v: (v * w).sum())
    out = []
    for grad in (False, False, False, True, True, False, True):
        with torch.set_grad_enabled(grad):
            y = f(x())
            out.append((y.requires_grad, y))
    return out


@program(3)
def attribute_of_a_module(trace):
    class Scaled(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear, self.factor, self.names = nn.Linear(3, 3), 2.0, ["a"]

        def forward(self, v):
            return self.linear(v) * self.factor * len(self.names)

    torch.manual_seed(0)
    m = Scaled()
    f, out = trace(m), []
    with torch.no_grad():
        out += [f(x()) for _ in range(4)]
        m.factor = 3.0
        out += [f(x()) for _ in range(3)]
        m.names.append("b")
        out += [f(x()) for _ in range(3)]
    return out


@program(4)
def replaced_parameter(trace):
    torch.manual_seed(0)
    m = nn.Linear(3, 2)
    f, out = trace(m), []
    with torch.no_grad():
        out += [f(x()) for _ in range(4)]
        m.weight = nn.Parameter(torch.ones(2, 3))
        out += [f(x()) for _ in range(3)]
        m.weight.data = torch.zeros(2, 3)
        out += [f(x()) for _ in range(3)]
        m._parameters["bias"] = nn.Parameter(torch.ones(2) * 7)
        out += [f(x()) for _ in range(3)]
        m.load_state_dict({"weight": torch.eye(3)[:2], "bias": torch.zeros(2)})
        out += [f(x()) for _ in range(2)]
        m.weight.mul_(3)
        return out + [f(x()) for _ in range(2)]


@program(3)
def layers_in_a_plain_list(trace):
    torch.manual_seed(0)
    layers = [nn.Linear(3, 3), nn.Tanh()]

    @trace
    def f(v):
        for layer in layers:
            v = layer(v)
        return v

    with torch.no_grad():
        out = [f(x()) for _ in range(4)]
        layers.append(nn.ReLU())
        return out + [f(x()) for _ in range(4)]


@program(2)
def hooks_are_added(trace):
    torch.manual_seed(0)
    m = nn.Linear(3, 3)
    f = trace(m)
    with torch.no_grad():
        out = [f(x()) for _ in range(4)]
        handle = m.register_forward_hook(lambda module, args, result: result * 2)
        out += [f(x()) for _ in range(4)]
        handle.remove()
        return out + [f(x()) for _ in range(2)]


@program(2)
def forward_is_patched(trace):
    torch.manual_seed(0)

    class Plain(nn.Module):
        def forward(self, v):
            return v + 1

    m = Plain()
    f = trace(m)
    out = [f(x()) for _ in range(4)]
    Plain.forward = lambda self, v: v - 1
    out += [f(x()) for _ in range(4)]
    m.forward = lambda v: v * 9
    return out + [f(x()) for _ in range(4)]


@program(2)
def buffers_in_place(trace):
    class Mean(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("mean", torch.zeros(3))

        def forward(self, v):
            self.mean.mul_(0.9).add_(v, alpha=0.1)
            return v - self.mean

    m = Mean()
    f = trace(m)
    return [(f(x(seed=i)), m.mean.clone()) for i in range(6)]


@program("changes")
def buffer_is_replaced(trace):
    class Hidden(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("h", torch.zeros(3))

        def forward(self, v):
            self.h = torch.tanh(self.h + v)
            return self.h

    f = trace(Hidden())
    return [f(x(seed=i)).clone() for i in range(7)]


@program(2)
def momentum_none(trace):
    m = nn.BatchNorm1d(3, momentum=None)
    f = trace(m)
    with torch.no_grad():
        return [f(x(4, 3, seed=i)) for i in range(3)] + [m.running_mean.clone()] + [
            (m.reset_running_stats(), f(x(4, 3, seed=i)), m.running_var.clone()) for i in range(4)]  # fmt: skip


@program(2)
def recurrent_module(trace):
    torch.manual_seed(0)
    m = nn.LSTM(3, 4, 2)
    f = trace(m)
    with torch.no_grad():
        out, state = [], None
        for i in range(6):
            y, state = f(x(5, 2, 3, seed=i), state) if state else f(x(5, 2, 3, seed=i))
            out.append((y, *state))
    return out


@program(2)
def transformer_layer(trace):
    torch.manual_seed(0)
    m = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.1, batch_first=True)
    f = trace(m)
    with torch.no_grad():
        return [f(x(2, 5, 8, seed=i)) for i in range(4)] + [(m.eval(), f(x(2, 5, 8)))[1] for _ in range(4)]


# -- shapes and layouts -----------------------------------------------------------------------------------------------
@program(3)
def last_batch(trace):
    torch.manual_seed(0)
    m = nn.Linear(3, 2)
    f = trace(m)
    data = x(10, 3)
    with torch.no_grad():
        return [f(data[i : i + 4]) for _ in range(4) for i in (0, 4, 8)]


@program(3)
def shape_dependent_reshape(trace):
    f = trace(lambda v: v.reshape(v.shape[0] * v.shape[1], -1) / v.numel())
    return [f(x(a, b, 2)) for a, b in ((2, 3), (3, 2), (2, 3), (4, 1), (2, 3), (3, 2), (4, 1))]


@program(3)
def rank_and_dtype(trace):
    f = trace(lambda v: v + v.ndim if v.dtype.is_floating_point else v - v.ndim)
    i = torch.arange(4)
    return [f(v) for v in (x(4), x(4), x(4), i, i, i, x(2, 2), x(2, 2), x(2, 2).double(), x(2, 2).double(), i, x(4))]


@program(3)
def transposed_input(trace):
    f = trace(lambda v: v.contiguous().view(-1) * 2)
    a = x(3, 4)
    return [f(v) for v in (a, a, a.t(), a.t(), a[:, ::2], a, a.t(), a[:, ::2], a[1:], a[:2])]


@program(4)
def slices_of_a_data_set(trace):
    f = trace(lambda v: v * 2 + 1)
    data = x(40, 3)
    return [f(data[i : i + 4]) for i in range(0, 40, 4)] + [f(data[:, 1]), f(data[:, 2]), f(data[0]), f(data[39])]


@program(2)
def empty_and_scalar(trace):
    f = trace(lambda v: (v * 2).sum() + v.numel())
    return [f(v) for _ in range(3) for v in (torch.zeros(0, 3), torch.tensor(3.0), x(2))]


@program(2)
def broadcast_input(trace):
    f = trace(lambda a, b: a + b)
    return [f(x(2, 3), v) for _ in range(3) for v in (x(3), x(1).expand(2, 3), x(2, 1))]


# -- aliasing and writes ----------------------------------------------------------------------------------------------
@program(2)
def writes_to_an_input(trace):
    @trace
    def f(v):
        v.mul_(2)
        v[0] = 7.0
        return v.sum()

    out = []
    for i in range(6):
        v = x(seed=i)
        out.append((f(v), v))
    return out


@program(2)
def returns_its_input(trace):
    f = trace(lambda v: (v, v.t(), v[0]))
    out = []
    for _ in range(4):
        v = x(2, 3)
        same, flipped, row = f(v)
        row.zero_()
        out.append((same is v, flipped, v, row._base is v))
    return out


@program(2)
def same_tensor_twice(trace):
    @trace
    def f(a, b):
        a.add_(1)
        return a * b

    p, q = x(), x(seed=1)
    return [f(p, q), f(p, q), f(p, q), f(p, p), f(p, p), f(p, p), f(q, p), p.clone(), q.clone()]


@program(2)
def overlapping_views(trace):
    @trace
    def f(a, b):
        a.mul_(2)
        return b + 0

    data = x(8)
    out = []
    for i in (1, 1, 1, 2, 2, 5, 5):
        out.append((f(data[0:4], data[i : i + 3]), data.clone()))
    return out


@program(2)
def closed_over_buffer_is_also_an_argument(trace):
    state = torch.zeros(3)

    @trace
    def f(v):
        state.add_(v)
        return state * 2

    other = torch.ones(3)
    return [f(other), f(other), f(other), f(state), f(state), f(other), f(state), state.clone()]


@program(2)
def writes_through_a_view(trace):
    @trace
    def f(v):
        v[:, 0].fill_(3)
        v.t()[1] += 1
        return v

    return [f(x(3, 2, seed=i)) for i in range(5)]


@program(3)
def constants_made_inside(trace):
    @trace
    def f(v):
        c = torch.tensor([1.0, 2.0, 3.0])
        c += v
        return c, torch.tensor([5.0])

    out = []
    for i in range(6):
        c, k = f(x(seed=i))
        k.add_(1)
        out.append((c, k))
    return out


@program(2)
def result_is_written_to(trace):
    f = trace(lambda v: v * 2)
    out = []
    for i in range(5):
        y = f(x(seed=i))
        y.zero_()
        out.append(f(x(seed=i)))
    return out


@program(2)
def detached_alias(trace):
    w = torch.ones(3, requires_grad=True)
    f = trace(lambda: (w.detach(), w.data))
    out = []
    for _ in range(5):
        a, b = f()
        a.add_(1)
        out.append((a.requires_grad, a, b, w.detach().clone()))
    return out


# -- containers -------------------------------------------------------------------------------------------------------
Pair = namedtuple("Pair", "left right")


@program(2)
def nested_containers(trace):
    @trace
    def f(batch, *rest, **named):
        a, (b, c) = batch["a"], batch["rest"]
        return Pair(a + b, {"c": [c * 2, None, "text"], "rest": rest, "n": len(named)}), OrderedDict(z=named["z"] + 1)

    def call(i):
        return f({"a": x(seed=i), "rest": (x(seed=1), x(2))}, x(1), z=x(seed=i))

    return [call(i) for i in range(5)]


@program(2)
def dict_order_and_length(trace):
    f = trace(lambda d: torch.stack([d[k] for k in d]).sum(0) * len(d))
    a, b = x(seed=1), x(seed=2)
    return [f(d) for _ in range(3) for d in ({"a": a, "b": b}, {"b": b, "a": a}, {"a": a})]


@program(2)
def list_argument_of_tensors(trace):
    f = trace(lambda parts: torch.cat(parts) * len(parts))
    return [f([x(seed=i), x(2)]) for i in range(4)] + [f([x()]), f([x()]), f([x()])]


@program("changes an argument")
def appends_to_an_argument(trace):
    @trace
    def f(v, out):
        out.append(v * 2)
        return v

    seen = []
    for i in range(5):
        found = [x(seed=9)]
        f(x(seed=i), found)
        seen.append(found)
    return seen


@program(2)
def none_arguments(trace):
    @trace
    def f(v, mask=None):
        return v if mask is None else v * mask

    return [f(x()), f(x()), f(x()), f(x(), x()), f(x(), x()), f(x(), None), f(x(), x())]


# -- randomness -------------------------------------------------------------------------------------------------------
@program(3)
def dropout_and_seeds(trace):
    f = trace(lambda v: F.dropout(v, 0.5))
    out = [f(torch.ones(20)) for _ in range(5)]
    torch.manual_seed(7)
    out += [f(torch.ones(20)), torch.rand(2), f(torch.ones(20))]
    torch.manual_seed(7)
    return out + [f(torch.ones(20))]


@program(3)
def draws_of_every_kind(trace):
    @trace
    def f(v):
        a = torch.randn_like(v) + torch.rand(3) + torch.randint(0, 9, (3,))
        return a, torch.bernoulli(torch.full((3,), 0.5)), torch.randperm(5), torch.empty(3).normal_(2, 3)

    return [f(x()) for _ in range(6)] + [torch.rand(1)]


@program(3)
def own_generator(trace):
    g = torch.Generator().manual_seed(3)
    f = trace(lambda v: v + torch.rand(3, generator=g))
    out = [f(x()) for _ in range(5)]
    g.manual_seed(3)
    return out + [f(x()), torch.rand(2)]


@program("manual_seed")
def seeds_inside(trace):
    @trace
    def f(v):
        torch.manual_seed(3)
        return v + torch.rand(3)

    return [f(x()) for _ in range(5)] + [torch.rand(2)]


@program(2)
def draws_in_branches(trace):
    @trace
    def f(v):
        if v.sum() > 0:
            return v + torch.rand(3)
        return v - torch.rand(3) - torch.rand(3)

    return [f(torch.full((3,), s)) for s in (1.0, 1.0, 1.0, -1.0, 1.0, -1.0, -1.0, 1.0)] + [torch.rand(1)]


# -- errors -----------------------------------------------------------------------------------------------------------
def attempt(f, *args, **kwargs):
    try:
        return f(*args, **kwargs)
    except (AssertionError, ValueError, TypeError, RuntimeError, IndexError, KeyError, ArithmeticError, AttributeError) as error:
        return f"{type(error).__name__}: {error}"


@program(2)
def wrong_shapes(trace):
    torch.manual_seed(0)
    m = nn.Linear(3, 2)
    f = trace(m)
    with torch.no_grad():
        return [attempt(f, v) for v in (x(4, 3), x(4, 3), x(4, 3), x(4, 2), x(4, 2), x(4, 3), torch.arange(3), x(4, 3))]


@program(2)
def wrong_arguments(trace):
    f = trace(lambda a, b=1.0: a * b)
    return [attempt(f, x()), attempt(f, x()), attempt(f, x()), attempt(f), attempt(f, x(), c=1), attempt(f, x(), "q"), attempt(f, x())]


@program(2)
def index_out_of_range(trace):
    table = x(5, 2)
    f = trace(lambda i: table[i] * 2)
    return [attempt(f, torch.tensor([a, 1])) for a in (0, 2, 4, 5, -1, 3, -6, 0)]


@program(2)
def target_out_of_range(trace):
    torch.manual_seed(0)
    m = nn.Linear(3, 4)
    o = torch.optim.Adam(m.parameters())

    @trace
    def step(v, target):
        o.zero_grad()
        loss = F.cross_entropy(m(v), target)
        loss.backward()
        o.step()
        return loss

    out = []
    for a in (0, 1, 2, 4, 3, -1, -100, 2):
        out.append((attempt(step, x(2, 3), torch.tensor([a, 1])), m.weight.detach().clone(), [s["step"] for s in o.state.values()]))
    return out


@program(1)
def exception_in_the_middle(trace):
    w = torch.ones(3, requires_grad=True)
    o = torch.optim.SGD([w], lr=0.1)
    broken = False

    @trace
    def step(v):
        o.zero_grad()
        (w * v).sum().backward()
        if broken:
            raise ValueError("broken")
        o.step()

    out = []
    for broken in (False, False, False, True, False, True, False):  # noqa: B007
        out.append((attempt(step, x()), w.detach().clone(), None if w.grad is None else w.grad.clone()))
    return out


# -- training steps ---------------------------------------------------------------------------------------------------
def training(trace, make_optimizer, schedule=None, clip=None, steps=9, accumulate=False, set_to_none=True, seed=0):
    torch.manual_seed(seed)
    m = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Tanh(), nn.Dropout(0.2), nn.Linear(8, 2))
    o = make_optimizer(m.parameters())
    s = schedule(o) if schedule else None

    @trace
    def step(v, target):
        if not accumulate:
            o.zero_grad(set_to_none=set_to_none)
        loss = F.cross_entropy(m(v), target)
        loss.backward()
        if clip:
            nn.utils.clip_grad_norm_(m.parameters(), clip)
        o.step()
        if s is not None:
            s.step()
        return loss

    out = []
    for i in range(steps):
        loss = step(x(6, 4, seed=i), torch.arange(6) % 2)
        out.append((loss, loss.requires_grad, attempt(loss.backward)))
    return [*out, *m.state_dict().values(), *[p.grad for p in m.parameters()], str(o.state_dict()), o.param_groups[0]["lr"], torch.rand(1)]


@program(7)
def step_sgd(trace):
    return training(trace, lambda p: torch.optim.SGD(p, lr=0.1))


@program(6)
def step_momentum(trace):
    return training(trace, lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, dampening=0.1), clip=0.1)


@program(6)
def step_adam(trace):
    return training(trace, lambda p: torch.optim.Adam(p, lr=0.01), lambda o: torch.optim.lr_scheduler.StepLR(o, 2))


@program(6)
def step_adamw_amsgrad(trace):
    return training(trace, lambda p: torch.optim.AdamW(p, lr=0.01, amsgrad=True), lambda o: torch.optim.lr_scheduler.CosineAnnealingLR(o, 5), 1.0)


@program(3)
def step_radam(trace):
    return training(trace, lambda p: torch.optim.RAdam(p, lr=0.01), steps=12)


@program(6)
def step_nadam(trace):
    return training(trace, lambda p: torch.optim.NAdam(p, lr=0.01))


@program(6)
def step_rmsprop(trace):
    return training(trace, lambda p: torch.optim.RMSprop(p, lr=0.01, momentum=0.5, centered=True))


@program(6)
def step_adagrad(trace):
    return training(trace, lambda p: torch.optim.Adagrad(p, lr=0.01), lambda o: torch.optim.lr_scheduler.ExponentialLR(o, 0.9))


@program(6)
def step_asgd(trace):
    return training(trace, lambda p: torch.optim.ASGD(p, lr=0.01))


@program("counts steps")
def step_adafactor(trace):
    return training(trace, lambda p: torch.optim.Adafactor(p, lr=0.01), steps=7)


@program(5)
def step_lambda_schedule(trace):
    return training(trace, lambda p: torch.optim.SGD(p, lr=0.1), lambda o: torch.optim.lr_scheduler.LambdaLR(o, lambda e: 0.8**e))


@program(5)
def step_sequential_schedule(trace):
    def schedule(o):
        first = torch.optim.lr_scheduler.ConstantLR(o, 0.1, 3)
        return torch.optim.lr_scheduler.SequentialLR(o, [first, torch.optim.lr_scheduler.ExponentialLR(o, 0.9)], [3])

    return training(trace, lambda p: torch.optim.SGD(p, lr=0.1), schedule)


@program(5)
def step_warm_restarts(trace):
    return training(trace, lambda p: torch.optim.Adam(p, lr=0.1), lambda o: torch.optim.lr_scheduler.CosineAnnealingWarmRestarts(o, 2))


@program(5)
def step_one_cycle(trace):
    return training(trace, lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9), lambda o: torch.optim.lr_scheduler.OneCycleLR(o, 1.0, 20))


@program("")
def step_plateau(trace):
    torch.manual_seed(0)
    m = nn.Linear(3, 1)
    o = torch.optim.SGD(m.parameters(), lr=0.1)
    s = torch.optim.lr_scheduler.ReduceLROnPlateau(o, patience=0)

    @trace
    def step(v):
        o.zero_grad()
        loss = m(v).pow(2).sum()
        loss.backward()
        o.step()
        s.step(loss.item())
        return loss

    return [(step(x(2, 3, seed=i)), o.param_groups[0]["lr"], s.num_bad_epochs) for i in range(8)]


@program(4)
def several_schedules_and_a_decision(trace):
    w = torch.ones(3, requires_grad=True)
    o = torch.optim.Adam([w], lr=0.1)
    a, b = torch.optim.lr_scheduler.StepLR(o, 2, 0.5), torch.optim.lr_scheduler.ExponentialLR(o, 0.9)
    s = torch.optim.lr_scheduler.ChainedScheduler([a, b])

    @trace
    def step(v):
        o.zero_grad()
        (w * v).pow(2).sum().backward()
        o.step()
        s.step()
        if w.sum() > 2:
            return w.detach() * 2
        return w.detach() * 3

    return [(step(x(seed=i)), w.detach().clone(), o.param_groups[0]["lr"], a.last_epoch, o.state[w]["step"]) for i in range(12)]


@program(5)
def step_accumulates(trace):
    return training(trace, lambda p: torch.optim.SGD(p, lr=0.01), accumulate=True)


@program(5)
def step_zeroes_in_place(trace):
    return training(trace, lambda p: torch.optim.Adam(p, lr=0.01), set_to_none=False)


@program(4)
def learning_rate_by_hand(trace):
    w = torch.ones(3, requires_grad=True)
    o = torch.optim.SGD([w], lr=0.1)

    @trace
    def step(v):
        o.zero_grad()
        (w * v).sum().backward()
        o.step()

    out = []
    for i in range(9):
        o.param_groups[0]["lr"] = 0.1 / (i + 1)
        if i == 6:
            o.param_groups[0]["weight_decay"] = 0.5
        step(x(seed=i))
        out.append(w.detach().clone())
    return out


@program(4)
def optimizer_is_loaded(trace):
    w = torch.ones(3, requires_grad=True)
    o = torch.optim.Adam([w], lr=0.1)

    @trace
    def step(v):
        o.zero_grad()
        (w * v).sum().backward()
        o.step()

    out, saved = [], None
    for i in range(10):
        if i == 4:
            saved = o.state_dict()
        if i == 7:
            o.load_state_dict(saved)
        step(x(seed=i))
        out.append((w.detach().clone(), str(o.state_dict())))
    return out


@program(2)
def gradients_come_and_go(trace):
    w, u = torch.ones(3, requires_grad=True), torch.ones(3, requires_grad=True)
    o = torch.optim.SGD([w], lr=0.1)

    @trace
    def step(v):
        loss = (w * v).sum() + (u * v).sum()
        o.zero_grad()
        loss.backward()
        o.step()

    out = []
    for i in range(10):
        if i in (4, 7):
            w.grad = None
        if i == 5:
            u.grad = None
        if i == 8:
            w.grad = torch.full((3,), 100.0)
        step(x(seed=i))
        out.append((w.detach().clone(), w.grad.clone(), u.grad.clone()))
    return out


@program(2)
def norm_of_gradients_before_they_are_forgotten(trace):
    w = torch.ones(3, requires_grad=True)
    o = torch.optim.SGD([w], lr=0.1)

    @trace
    def step(v):
        before = nn.utils.clip_grad_norm_([w], 1e9)
        o.zero_grad()
        (w * v).sum().backward()
        o.step()
        return before

    out = []
    for i in range(9):
        if i in (4, 5):
            w.grad = None
        out.append((step(x(seed=i)), w.grad.clone()))
    return out


@program(3)
def frozen_parameter(trace):
    torch.manual_seed(0)
    m = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 1))
    o = torch.optim.SGD(m.parameters(), lr=0.1)

    @trace
    def step(v):
        o.zero_grad()
        m(v).sum().backward()
        o.step()

    out = []
    for i in range(9):
        if i == 4:
            m[0].weight.requires_grad_(False)
        step(x(2, 3))
        out.append([p.detach().clone() for p in m.parameters()])
    return out


@program(3)
def grad_is_kept_by_the_caller(trace):
    w = torch.ones(3, requires_grad=True)

    @trace
    def f(v):
        w.grad = None
        (w * v).sum().backward()
        return w.grad

    kept = [f(x(seed=i)) for i in range(6)]
    return [*kept, w.grad is kept[-1]]


@program(2)
def two_steps_in_one_call(trace):
    w = torch.ones(3, requires_grad=True)
    o = torch.optim.Adam([w], lr=0.1)

    @trace
    def steps(v):
        for _ in range(2):
            o.zero_grad()
            (w * v).pow(2).sum().backward()
            o.step()

    out = []
    for i in range(5):
        steps(x(seed=i))
        out.append((w.detach().clone(), o.state[w]["step"]))
    return out


@program(2)
def gan_step(trace):
    torch.manual_seed(0)
    g, d = nn.Linear(2, 3), nn.Linear(3, 1)
    og, od = torch.optim.Adam(g.parameters(), lr=0.01), torch.optim.Adam(d.parameters(), lr=0.01)

    @trace
    def step(real):
        fake = g(torch.randn(4, 2))
        od.zero_grad()
        (F.softplus(-d(real)).mean() + F.softplus(d(fake.detach())).mean()).backward()
        od.step()
        og.zero_grad()
        loss = F.softplus(-d(fake)).mean()
        loss.backward()
        og.step()
        return loss

    return [step(x(4, 3, seed=i)) for i in range(6)] + [*g.parameters(), *d.parameters()]


@program(2)
def second_derivative(trace):
    @trace
    def f(v):
        v = v.detach().requires_grad_(True)
        (g,) = torch.autograd.grad((v**3).sum(), v, create_graph=True)
        (h,) = torch.autograd.grad(g.sum(), v)
        return h

    return [f(x(seed=i)) for i in range(5)]


@program(2)
def differentiated_from_outside(trace):
    torch.manual_seed(0)
    m = nn.Linear(3, 2)
    f = trace(m)
    out = [f(x(4, 3)) for _ in range(4)]
    for i in range(6):
        m.zero_grad()
        y = f(x(4, 3, seed=i))
        y.sum().backward()
        out.append((y, m.weight.grad.clone()))
    return out


@program("it changes state")
def differentiated_with_dropout(trace):
    torch.manual_seed(0)
    m = nn.Sequential(nn.Linear(3, 2), nn.Dropout(0.5))
    f, out = trace(m), []
    for i in range(6):
        m.zero_grad()
        y = f(x(4, 3, seed=i))
        y.sum().backward()
        out.append((y, m[0].weight.grad.clone()))
    return out


@program(3)
def gradients_of_replays(trace):
    w = torch.tensor([1.0, 2.0, 3.0], requires_grad=True)

    @trace
    def f(v):
        if v.sum() > 0:
            return {"a": (w * v).exp(), "b": [w * 2, v + 1]}
        return {"a": w.sum(), "b": [v * v]}

    out = [f(x(seed=1)) for _ in range(5)]
    r = f(x(seed=1))
    g = torch.autograd.grad(r["a"].sum() + (r["b"][0] ** 2).sum(), w, create_graph=True)[0]
    out.append((g, torch.autograd.grad(g.sum(), w)[0]))
    r = f(x(seed=1))
    with torch.no_grad():
        w.mul_(2)
    out.append((str(attempt((r["a"].sum() * 1).backward))[:70], w.grad is None))
    return out


@program("history")
def input_with_history(trace):
    w = torch.ones(3, requires_grad=True)
    f = trace(lambda v: (v * v).sum())
    out = []
    for _ in range(4):
        w.grad = None
        f(w * 2).backward()
        out.append(w.grad.clone())
    return out


@program(1)
def switching_between_models(trace):
    torch.manual_seed(0)
    a, b = nn.Linear(3, 2), nn.Linear(3, 2)
    f = trace(lambda m, v: m(v).sum())
    with torch.no_grad():
        return [f(m, x()) for m in (a, a, a, b, b, a, b)]


@program(2)
def context_managers(trace):
    @trace
    def f(v):
        with torch.no_grad():
            a = v * 2
        with torch.enable_grad():
            b = v * 3
        return a, b.detach(), torch.is_grad_enabled()

    return [f(x()) for _ in range(4)]


@program(2)
def generators_and_comprehensions(trace):
    @trace
    def f(v):
        def parts():
            for i in range(3):
                yield v[i] * i

        return sum(parts()) + sum(k * v.sum() for k in (1, 2)), [v + i for i in range(2)], max(v.shape)

    return [f(x()) for _ in range(4)]


@program(2)
def traced_calls_traced(trace):
    inner = trace(lambda v: v * scale)
    outer = trace(lambda v: inner(v) + inner(v + 1))
    return [outer(x()) for _ in range(4)] + [inner(x()) for _ in range(4)]


@program("time")
def reads_the_clock(trace):
    import time

    @trace
    def f(v):
        return v, time.time() > 0

    return [f(x()) for _ in range(4)]


# -- state in odd places ----------------------------------------------------------------------------------------------
@program("array.array")
def array_of_the_standard_library(trace):
    import array

    numbers = array.array("d", [1.0])
    f = trace(lambda v: v * numbers[0])
    out = []
    for i in range(6):
        numbers[0] = float(i)
        out.append(f(x()))
    return out


@program("random")
def numpy_global_random(trace):
    import numpy as np

    f = trace(lambda v: v * float(np.random.rand()))
    np.random.seed(0)
    return [f(x()) for _ in range(5)]


@program(2)
def small_numpy_array(trace):
    import numpy as np

    factors = np.array([1.0, 2.0])
    f = trace(lambda v: v * float(factors[1]))
    out = [f(x()) for _ in range(4)]
    factors[1] = 7.0
    return out + [f(x()) for _ in range(4)]


@program("_lru_cache_wrapper")
def cached_function(trace):
    state = [1.0]

    @functools.lru_cache
    def factor(n):
        return state[0] * n

    f = trace(lambda v: v * factor(2))
    out = []
    for i in range(6):
        state[0] = float(i)
        if i % 2:
            factor.cache_clear()
        out.append(f(x()))
    return out


@program("changes")
def counter_on_a_class(trace):
    class Model(nn.Module):
        count = 0

        def forward(self, v):
            Model.count += 1
            return v * Model.count

    f = trace(Model())
    return [f(x()) for _ in range(5)]


@program("changes")
def counter_on_a_function(trace):
    def g(v):
        g.calls += 1
        return v * g.calls

    g.calls = 0
    f = trace(g)
    return [f(x()) for _ in range(5)]


@program("changes an argument")
def list_of_numbers_is_changed(trace):
    @trace
    def f(v, numbers):
        numbers[0] += 1.0
        return v * 2

    out = []
    for _ in range(6):
        numbers = [1.0]
        f(x(), numbers)
        out.append(list(numbers))
    return out


@program("changes an argument")
def argument_begins_to_require_grad(trace):
    @trace
    def f(v):
        v.requires_grad_(True)
        return (v.detach() * 2).sum()

    out = []
    for _ in range(5):
        v = x()
        out.append((f(v), v.requires_grad))
    return out


@program("grad mode")
def leaves_grad_mode_changed(trace):
    @trace
    def f(v):
        torch.set_grad_enabled(False)
        return v * 2

    out = []
    for _ in range(5):
        out.append((f(x()), torch.is_grad_enabled()))
        torch.set_grad_enabled(True)
    return out


@program(2)
def identity_of_an_argument(trace):
    state = torch.ones(3)

    @trace
    def f(v):
        return v * 2 if v is state else v + state

    return [f(v()) for v in (lambda: state,) * 4 + (lambda: state.detach(),) * 4 + (lambda: x(),) * 4 + (lambda: state,)]


@program("hooks")
def argument_with_a_hook(trace):
    @trace
    def f(v):
        (v * v).sum().backward()
        return v.grad

    out = []
    for i in range(6):
        v = x().requires_grad_(True)
        if i > 2:
            v.register_hook(lambda g: g * 10)
        out.append(f(v))
    return out


@program("os.environ")
def environment_variable(trace):
    import os

    def f(v):
        return v * float(os.environ.get("JITORCH_TEST_FACTOR", "1"))

    g, out = trace(f), []
    try:
        out += [g(x()) for _ in range(4)]
        os.environ["JITORCH_TEST_FACTOR"] = "5"
        out += [g(x()) for _ in range(4)]
    finally:
        os.environ.pop("JITORCH_TEST_FACTOR", None)
    return out


@program(2)
def namespace_and_slots(trace):
    import types

    class Slots:
        __slots__ = ("factor",)

    names, slots = types.SimpleNamespace(a=1.0, b=[2.0]), Slots()
    slots.factor = 1.0
    f = trace(lambda v: v * names.a * names.b[0] * slots.factor)
    out = [f(x()) for _ in range(3)]
    names.b[0] = 3.0
    out += [f(x()) for _ in range(3)]
    slots.factor = 4.0
    out += [f(x()) for _ in range(3)]
    names.a = 5.0
    return out + [f(x()) for _ in range(3)]


@program(2)
def computed_attribute_names(trace):
    class Holder:
        def __init__(self):
            self.part0, self.part1 = 1.0, 2.0

    holder = Holder()
    f = trace(lambda v: sum(getattr(holder, f"part{i}") * v for i in range(2)))
    out = [f(x()) for _ in range(3)]
    holder.part1 = 9.0
    return out + [f(x()) for _ in range(3)]


@program(2)
def custom_function(trace):
    class Scale(torch.autograd.Function):
        @staticmethod
        def forward(ctx, v, factor):
            ctx.factor = factor
            return v * factor

        @staticmethod
        def backward(ctx, g):
            return g * ctx.factor * 2, None

    w = torch.ones(3, requires_grad=True)

    @trace
    def step(v):
        w.grad = None
        Scale.apply(w * v, 3.0).sum().backward()
        return w.grad

    return [step(x(seed=i)) for i in range(5)]

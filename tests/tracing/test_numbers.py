"""Numbers among the arguments are run-time arguments of one capture where they are only computed with, and guarded where Python looks."""

from __future__ import annotations

import copy
import gc
import math

import numpy as np
import pytest

import jitorch as torch
import jitorch.nn as nn
import jitorch.nn.functional as F
from jitorch import config
from jitorch.tracing.numbers import Number

from .programs import attempt
from .test_programs import seen

MANY = (0.5, 0.25, 0.75, 2.0, 3.5, 0.1, -1.0, 7.0, 0.5, 100.0)
box = {"last": None}


def x():
    return torch.tensor([[1.0, -2.0, 3.0], [0.5, 4.0, -0.25]])


def scalars_only(v, k):
    return v * k + (1 - k) / 2 - v / (k * k + 1) + k**2 - (-k) + abs(k) // 3 + k % 2


def returned(v, k):
    return {"tensor": v + k, "number": k * 2 + 1, "pair": (k, [k - 1]), "none": None}


def softmax_with_temperature(v, k):
    return torch.softmax(v / k, -1)


def gradient(v, k):
    w = v.clone().requires_grad_()
    ((w * k).sin() ** 2 * (1 + k)).sum().backward()
    return w.grad


# functions, and how many of the calls with MANY are replayed at least (the first two are captured)
FREE = {f.__name__: f for f in (scalars_only, returned, softmax_with_temperature, gradient)}


@pytest.mark.parametrize("tier", ["reference", "compiled"])
@pytest.mark.parametrize("name", FREE)
def test_what_is_only_computed_with_is_captured_once(name, tier):
    function = FREE[name]
    f = torch.trace(function)
    with config.using(tier=tier):
        for k in MANY:
            assert seen(f(x(), k)) == seen(function(x(), k))
        assert len(f.captures) == 2 and f.replays == len(MANY) - 3
        for k in (-0.0, 0.0, 1e-300, 1e300, math.inf, math.nan, 1e-45):
            assert seen(attempt(f, x(), k)) == seen(attempt(function, x(), k))
        assert len(f.captures) == 2


def thresholds(v, k):
    if k > 2:
        v = v + 1
    elif 0 <= k < 0.3 or k == 7.0:
        v = v - k
    return v * k if k else v


def is_formatted(v, k):
    return v * len(f"{k:.3f}") + (str(k) == "0.5") + len(repr(k))


def is_converted(v, k):
    return v * int(k) + round(k) + math.floor(k) + math.ceil(k) + math.sqrt(abs(k)) + float(k) + math.trunc(k)


def is_compared(v, k):
    return v * max(k, 0.6) + min(k, 3) + sorted([k, 2.0, 0.4])[1] + sum([k, 1]) + (k in (0.5, 7.0)) + bool(k)


def is_a_key(v, k):
    return v * {0.5: 1.0, 0.25: 2.0, 7: 3.0}.get(k, 9.0) + hash(k) % 3 + len({k, 0.5})


def is_looked_at(v, k):
    return v * (2 if isinstance(k, float) else 3) + k.is_integer() + len(k.hex()) + k.real + (k is None) + callable(k)


def type_is_asked(v, k):
    return v * k if type(k) is float else v - k


def class_is_asked(v, k):
    return v * k if k.__class__ is float else v - k


def makes_tensors(v, k):
    return v + torch.tensor(k) + torch.full((3,), k) + torch.tensor([k, 1.0, 2.0]) + torch.full_like(v, k) + v.new_tensor(k)


def clamps_and_fills(v, k):
    return v.clamp(-abs(k), abs(k)) + torch.where(v > k, k, v) + v.masked_fill(v > 0, k) + torch.add(v, v, alpha=k) + F.leaky_relu(v, k) + F.threshold(v, k, k)


def more_functions(v, k):
    v = v + v.addcmul(v, v, value=k) + F.elu(v, k)
    return v.pow(2) * k + torch.lerp(v, v * 2, k) + F.softplus(v, abs(k) + 1) + F.huber_loss(v, v * 2, delta=abs(k) + 0.1)


def rounds_and_norms(v, k):
    return torch.linspace(0, k, 3) + v.norm(abs(k) + 1) + torch.arange(0, 3 * (abs(k) + 1), abs(k) + 1)[:3] + F.normalize(v, eps=abs(k))


def through_numpy(v, k):
    a = np.array([1.0, 2.0, 3.0], "float32")
    b = np.where(a > k, k, a)
    a = a + np.float32(k)
    return v + torch.from_numpy((a * k + k).astype("float32")) + torch.from_numpy(b.astype("float32")) + float(np.dot(a, a) * k) + (a * k).itemsize


def dropout_and_noise(v, k):
    return F.dropout(v, min(abs(k), 1.0)) + torch.randn(3) * k + torch.empty(3).uniform_(0, abs(k) + 1) + torch.normal(k, 1.0, (3,))


def loops(v, k):
    n = 0
    while k > 0.3 and n < 6:
        k, n = k / 2, n + 1
        v = v + k
    return v * n


def raises(v, k):
    assert k != 2.0, "two"
    if k < 0:
        raise ValueError(f"negative: {k}")
    return v / (1 / (k - 3.5))


def is_unpacked(v, k):
    a, b = divmod(k, 0.3)
    return v * a + b + pow(k, 2) + (k + 1j).real


def copied(v, k):
    return v * copy.deepcopy(k) + copy.copy(k)


def formatted_into_an_error(v, k):
    try:
        raise KeyError(k)
    except KeyError as error:
        return v * error.args[0]


LOOKED = [v for v in list(globals().values()) if getattr(v, "__code__", None) and v.__code__.co_varnames[:2] == ("v", "k") and v.__name__ not in FREE]


@pytest.mark.parametrize("numbers", [MANY, (1, 2, 3, 4, 2, 7, 0, -1, 5, 6), (0.5, 1, 2, True, 2.0, False, 1.0, 3, 0.25, 4.0),
                                     (0.5, 0.7, -0.0, 0.0, 1e30, -1e30, 2**40, -(2**40))])  # fmt: skip
@pytest.mark.parametrize("function", LOOKED, ids=lambda f: f.__name__)
def test_what_is_looked_at_is_guarded(function, numbers):
    with config.using(tier="reference"):
        f = torch.trace(function)
        torch.manual_seed(0)
        got = [seen(attempt(f, x(), k)) for k in numbers * 2]
        torch.manual_seed(0)
        assert got == [seen(attempt(function, x(), k)) for k in numbers * 2]
        g = torch.trace(function)
        torch.manual_seed(0)
        assert [seen(attempt(g, v=x(), k=k)) for k in numbers * 2] == got


class Holder:
    kept: float = 0.0


@pytest.mark.parametrize("where", ["dict", "list", "attribute", "cell", "optimizer", "module", "nested"])
def test_no_stand_in_is_left_behind(where):
    held, kept, cell = {}, [], None
    w = torch.ones(3, requires_grad=True)
    optimizer, layer = torch.optim.SGD([w], lr=0.1), nn.ReLU()

    def function(v, k):
        nonlocal cell
        if where == "dict":
            held["k"] = k * 2
        elif where == "list":
            kept.append(k)
        elif where == "attribute":
            Holder.kept = k
        elif where == "cell":
            cell = k
        elif where == "optimizer":
            optimizer.param_groups[0]["lr"] = k
        elif where == "module":
            layer.slope = k
        else:
            held["more"] = {"list": [k], "tuple": [(1, [k])]}
        return v * k

    f = torch.trace(function)
    for k in MANY:
        assert f(torch.ones(3), k).tolist() == (torch.ones(3) * k).tolist()
        if where == "dict":
            assert held["k"] == k * 2
        if where == "optimizer":
            assert optimizer.param_groups[0]["lr"] == k
    gc.collect()
    assert not [o for o in gc.get_objects() if type(o) is Number]
    assert type(Holder.kept) is float and type(optimizer.param_groups[0]["lr"]) is float


@pytest.mark.parametrize("tier", ["reference", "compiled"])
def test_a_training_step_with_a_rate(tier):
    """Learning rate and momentum of an average as arguments: nothing is captured after the second value."""
    def train(trace):
        torch.manual_seed(0)
        m = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Dropout(0.2), nn.Linear(8, 1))
        shadow = copy.deepcopy(m)

        @trace
        def step(v, rate, decay=0.9):
            loss = m(v).pow(2).mean()
            m.zero_grad()
            loss.backward()
            with torch.no_grad():
                for p, q in zip(m.parameters(), shadow.parameters(), strict=True):
                    p -= rate * p.grad
                    q.lerp_(p, 1 - decay)
            return loss.detach()

        out = [step(x(), 0.1 / (i + 1), decay=1 - 0.5 / (i + 1)) for i in range(12)]
        return [*out, *m.parameters(), *shadow.parameters()], step

    with config.using(tier=tier):
        eager, _ = train(lambda f: f)
        traced, step = train(torch.trace)
    assert seen(traced) == seen(eager)
    assert len(step.captures) <= 4 and step.replays >= 8
    assert "general in its numbers" in step.explain()


def test_position_in_a_cache():
    """A position picks memory: Python looks at it, so each is a capture; one that is only computed with is not."""
    table = torch.arange(20.0).reshape(10, 2)
    f = torch.trace(lambda v, at: v + table[at] + torch.arange(2) * at)
    for at in (0, 1, 2, 3, 4, 5, 9, 0, 3):
        assert f(torch.ones(2), at).tolist() == (torch.ones(2) + table[at] + torch.arange(2) * at).tolist()
    with pytest.raises(IndexError):
        f(torch.ones(2), 10)


def test_what_is_around_is_guarded_as_ever():
    factor = 2.0
    f = torch.trace(lambda v, k: v * k * factor)
    v = torch.ones(2)
    for i in range(12):
        if i == 6:
            factor = 3.0
        assert f(v, 0.5 + i).tolist() == (v * (0.5 + i) * factor).tolist()
    assert f.replays >= 6
    w = torch.ones(2, requires_grad=True)
    g = torch.trace(lambda v, k: (w * v * k).sum())
    for i in range(8):
        w.grad = None
        g(v, 1.5 + i).backward()
        assert w.grad.tolist() == [1.5 + i] * 2


def test_values_that_are_read_beside_numbers():
    def function(v, k):
        s = v.sum().item()
        return v * k if s > k else v - k * s

    f, same = torch.trace(function), torch.trace(lambda v, k: ((v * k).sum().item(), k))
    for i in range(20):
        v, k = torch.ones(3) * (i % 4 - 1), float(i % 5)
        assert f(v, k).tolist() == function(v, k).tolist()
        assert same(v, k) == ((v * k).sum().item(), k)


def test_check_compares_numbers():
    f = torch.trace(lambda v, k: v * k + (k > 2))
    with config.using(tier="reference"):
        for k in MANY:
            f(x(), k)
        with config.using(check=True):
            for k in (0.3, 0.6, 2.5, 9.0):
                assert f(x(), k).tolist() == (x() * k + (k > 2)).tolist()


def test_captures_in_general_are_bounded():
    f = torch.trace(lambda v, k: v * float(str(k)))
    for i in range(100):
        assert f(torch.ones(2), i / 7).tolist() == (torch.ones(2) * (i / 7)).tolist()
    (general,) = f.general.values()
    assert len(general.captures) <= 8 and general.refused


def type_helper(k):
    return 2.0 if type(k) is float else 3.0


def through_another(v, k):
    return v * type_helper(k)


def test_code_that_has_not_run_yet_and_asks_for_types():
    def function(v, k):
        return type_helper(k) * v if k > 2 else v * k

    def other(v, k):
        return through_another(v, k) if k > 2 else v * k

    for original in (function, other):
        f = torch.trace(original)
        for k in (0.5, 0.25, 3.0, 4.0, 0.75, 5.0, 6.0):
            assert f(x(), k).tolist() == original(x(), k).tolist()

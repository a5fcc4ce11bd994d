"""Optimizers against PyTorch's: parameters after many steps, state_dicts in both directions, errors, hooks."""

from __future__ import annotations

import copy
import pickle
import warnings

import numpy as np
import pytest

import jitorch
from jitorch.graph.record import counters

torch = pytest.importorskip("torch")

CASES = [
    ("SGD", {}),
    ("SGD", {"lr": 0.1, "momentum": 0.9}),
    ("SGD", {"lr": 0.1, "momentum": 0.9, "dampening": 0.2, "maximize": True}),
    ("SGD", {"lr": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 0.1}),
    ("Adam", {}),
    ("Adam", {"lr": 0.05, "betas": (0.8, 0.9), "amsgrad": True, "weight_decay": 0.1}),
    ("Adam", {"lr": 0.05, "maximize": True}),
    ("AdamW", {"lr": 0.05, "weight_decay": 0.2}),
    ("NAdam", {"lr": 0.05, "weight_decay": 0.1}),
    ("NAdam", {"lr": 0.05, "weight_decay": 0.1, "decoupled_weight_decay": True, "momentum_decay": 0.1}),
    ("RAdam", {"lr": 0.05, "weight_decay": 0.1}),
    ("RAdam", {"lr": 0.05, "weight_decay": 0.1, "decoupled_weight_decay": True}),
    ("Adamax", {"lr": 0.05, "weight_decay": 0.1}),
    ("Adagrad", {"lr": 0.1, "lr_decay": 0.1, "initial_accumulator_value": 0.5}),
    ("Adadelta", {"weight_decay": 0.1}),
    ("RMSprop", {}),
    ("RMSprop", {"centered": True, "momentum": 0.9, "weight_decay": 0.1}),
    ("Rprop", {}),
    ("ASGD", {"lr": 0.1, "t0": 5, "weight_decay": 0.1}),
    ("Adafactor", {"lr": 0.1, "weight_decay": 0.1}),
    ("LBFGS", {"max_iter": 4}),
    ("LBFGS", {"max_iter": 4, "line_search_fn": "strong_wolfe"}),
]
each = pytest.mark.parametrize(
    "name, settings", CASES, ids=lambda x: x if isinstance(x, str) else ",".join(x) or "defaults"
)

rng = np.random.default_rng(0)
X, Y = rng.standard_normal((16, 4)).astype("float32"), rng.standard_normal((16, 3)).astype("float32")
W, B = rng.standard_normal((4, 3)).astype("float32"), rng.standard_normal(3).astype("float32")


class Problem:
    """Two parameters, and the loss of a small model of them."""

    def __init__(self, t, name: str, settings: dict, weights=(W, B)):
        # LBFGS chooses its steps by comparisons, which rounding could decide: it is compared in float64
        dtype = "float64" if name == "LBFGS" else "float32"
        self.params = [t.nn.Parameter(t.tensor(w.astype(dtype))) for w in weights]
        self.x, self.y = t.tensor(X.astype(dtype)), t.tensor(Y.astype(dtype))
        self.optimizer = getattr(t.optim, name)(self.params, **settings)

    def closure(self):
        self.optimizer.zero_grad()
        loss = ((self.x @ self.params[0] + self.params[1]).tanh() - self.y).pow(2).mean()
        loss.backward()
        return loss

    def run(self, steps: int):
        for _ in range(steps):
            if type(self.optimizer).__name__ == "LBFGS":
                self.optimizer.step(self.closure)
            else:
                self.closure()
                self.optimizer.step()
        return [p.detach().numpy() for p in self.params]


@pytest.fixture(autouse=True)
def reference_tier():
    with jitorch.config.using(tier="reference"):
        yield


def assert_close(got, expected, rtol=1e-4, atol=1e-5):
    for g, e in zip(got, expected, strict=True):
        np.testing.assert_allclose(g, e, rtol=rtol, atol=atol)


@each
def test_steps(name, settings):
    ours, theirs = Problem(jitorch, name, settings), Problem(torch, name, settings)
    assert repr(ours.optimizer) == repr(theirs.optimizer)
    steps = 30 if name != "LBFGS" else 2
    assert_close(ours.run(steps), theirs.run(steps), rtol=1e-3)


def converted(t, value):
    """A state_dict's tensors in the other framework's."""
    if isinstance(value, dict):
        return {k: converted(t, v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(converted(t, v) for v in value)
    return t.tensor(value.numpy()) if hasattr(value, "numpy") else value


@each
def test_state_dicts_are_interchangeable(name, settings):
    steps = 5 if name != "LBFGS" else 1
    ours, theirs = Problem(jitorch, name, settings), Problem(torch, name, settings)
    ours.run(steps)
    theirs.run(steps)
    a, b = ours.optimizer.state_dict(), theirs.optimizer.state_dict()
    assert a["param_groups"] == b["param_groups"]
    ignored = {"al"}  # room that PyTorch's LBFGS keeps to compute in
    assert {k: set(v) - ignored for k, v in a["state"].items()} == {k: set(v) - ignored for k, v in b["state"].items()}
    if name != "LBFGS":
        for k, state in b["state"].items():
            for key, value in state.items():
                assert a["state"][k][key].shape == value.shape and str(a["state"][k][key].dtype) == str(value.dtype)
                np.testing.assert_allclose(a["state"][k][key].numpy(), value.numpy(), rtol=1e-4, atol=1e-6)
    weights = [p.detach().numpy().copy() for p in theirs.params]
    resumed = Problem(jitorch, name, settings, weights)
    resumed.optimizer.load_state_dict(converted(jitorch, b))
    back = Problem(torch, name, settings, [p.detach().numpy() for p in ours.params])
    back.optimizer.load_state_dict(converted(torch, a))
    expected = theirs.run(steps)
    assert_close(resumed.run(steps), expected, rtol=1e-3)
    assert_close(back.run(steps), expected, rtol=1e-3)


@each
def test_pickling_and_copying(name, settings):
    p = Problem(jitorch, name, settings)
    p.run(2)
    for again in (pickle.loads(pickle.dumps(p.optimizer)), copy.deepcopy(p.optimizer)):
        assert repr(again) == repr(p.optimizer)
        assert str(again.state_dict()["param_groups"]) == str(p.optimizer.state_dict()["param_groups"])
        assert [sorted(s) for s in again.state_dict()["state"].values()] == [
            sorted(s) for s in p.optimizer.state_dict()["state"].values()
        ]


@pytest.mark.parametrize("name", ["SGD", "Adam", "RMSprop"])
def test_rates_as_tensors(name):
    runs = []
    for t in (jitorch, torch):
        p = Problem(t, name, {"lr": t.tensor(0.05)})
        p.run(3)
        p.optimizer.param_groups[0]["lr"].fill_(0.1)
        runs.append(p.run(3))
    assert_close(*runs)


def test_groups_with_their_own_settings():
    runs = []
    for t in (jitorch, torch):
        p = Problem(t, "SGD", {})
        w, b = p.params
        p.optimizer = t.optim.SGD([{"params": [w], "lr": 0.3}, {"params": b, "momentum": 0.5}], lr=0.1)
        runs.append(p.run(4))
    assert_close(*runs)


def test_parameters_without_gradient_stay():
    a, b = jitorch.nn.Parameter(jitorch.ones(2)), jitorch.nn.Parameter(jitorch.ones(2))
    optimizer = jitorch.optim.Adam([a, b])
    (a * 2).sum().backward()
    optimizer.step()
    assert b.tolist() == [1, 1] and a.tolist() != [1, 1] and b not in optimizer.state


def test_zero_grad():
    p = Problem(jitorch, "SGD", {})
    p.closure()
    p.optimizer.zero_grad(set_to_none=False)
    assert [w.grad.abs().sum().item() for w in p.params] == [0, 0]
    p.optimizer.zero_grad()
    assert [w.grad for w in p.params] == [None, None]


def test_closure_result_is_returned_and_run_with_gradients():
    p = Problem(jitorch, "Adam", {})
    with jitorch.no_grad():
        loss = p.optimizer.step(p.closure)
    assert loss.item() > 0 and p.optimizer.step() is None


def test_a_step_is_one_flush_and_new_numbers_build_no_new_program():
    p = Problem(jitorch, "Adam", {"lr": 0.1})
    p.run(4)
    before = counters.as_dict()
    for lr in (0.2, 0.3, 0.05):
        p.optimizer.param_groups[0]["lr"] = lr
        p.run(1)
    after = counters.as_dict()
    assert after["flushes"] - before["flushes"] == 3
    assert after["programs_built"] == before["programs_built"] and after["nodes"] == before["nodes"]


def test_hooks():
    p, seen = Problem(jitorch, "SGD", {}), []
    handle = p.optimizer.register_step_pre_hook(lambda o, args, kwargs: seen.append("before"))
    p.optimizer.register_step_post_hook(lambda o, args, kwargs: seen.append("after"))
    p.run(1)
    handle.remove()
    p.run(1)
    assert seen == ["before", "after", "after"]
    p.optimizer.register_state_dict_pre_hook(lambda o: seen.append("saving"))
    p.optimizer.register_state_dict_post_hook(lambda o, state: state | {"more": 1})
    p.optimizer.register_load_state_dict_pre_hook(lambda o, state: seen.append(state["more"]))
    p.optimizer.register_load_state_dict_post_hook(lambda o: seen.append("loaded"))
    p.optimizer.load_state_dict(p.optimizer.state_dict())
    assert seen[3:] == ["saving", 1, "loaded"]


def test_optimizers_of_your_own():
    class Signs(jitorch.optim.Optimizer):
        def __init__(self, params, lr):
            super().__init__(params, {"lr": lr})

        @jitorch.no_grad()
        def step(self, closure=None):
            for group in self.param_groups:
                for p in group["params"]:
                    p.sub_(p.grad.sign() * group["lr"])

    class Counting(jitorch.optim.SGD):
        steps = 0

        def step(self, closure=None):
            self.steps += 1
            return super().step(closure)

    p, seen = jitorch.nn.Parameter(jitorch.tensor([1.0, -1.0])), []
    (p * p).sum().backward()
    Signs([p], lr=0.5).step()
    assert p.tolist() == [0.5, -0.5]
    optimizer = Counting([p], lr=0.5)
    optimizer.register_step_post_hook(lambda *a: seen.append(1))
    optimizer.step()
    assert optimizer.steps == 1 and seen == [1]


def test_named_parameters():
    model = jitorch.nn.Linear(2, 1)
    optimizer = jitorch.optim.SGD(model.named_parameters())
    assert (
        optimizer.param_groups[0]["param_names"] == ["weight", "bias"]
        and optimizer.param_groups[0]["params"][0] is model.weight
    )


def leaf(t):
    return t.ones(2, requires_grad=True)


ERRORS = [
    lambda t: t.optim.SGD(leaf(t), 0.1),
    lambda t: t.optim.SGD([], 0.1),
    lambda t: t.optim.SGD([3], 0.1),
    lambda t: t.optim.SGD([leaf(t) * 2], 0.1),
    lambda t: t.optim.SGD([{"params": {leaf(t)}}], 0.1),
    lambda t: t.optim.SGD([leaf(t)], -1.0),
    lambda t: t.optim.SGD([leaf(t)], momentum=-1.0),
    lambda t: t.optim.SGD([leaf(t)], weight_decay=-1.0),
    lambda t: t.optim.SGD([leaf(t)], nesterov=True),
    lambda t: t.optim.SGD([leaf(t)], t.ones(2)),
    lambda t: t.optim.SGD([leaf(t)], fused=True, foreach=True),
    lambda t: t.optim.Adam([leaf(t)], -1.0),
    lambda t: t.optim.Adam([leaf(t)], eps=-1.0),
    lambda t: t.optim.Adam([leaf(t)], betas=(1.0, 0.9)),
    lambda t: t.optim.Adam([leaf(t)], betas=(0.9, -0.1)),
    lambda t: t.optim.Adam([leaf(t)], weight_decay=-1),
    lambda t: t.optim.Adam([leaf(t)], fused=True, differentiable=True),
    lambda t: t.optim.AdamW([leaf(t)], weight_decay=-1),
    lambda t: t.optim.NAdam([leaf(t)], momentum_decay=-1.0),
    lambda t: t.optim.Adagrad([leaf(t)], lr_decay=-1.0),
    lambda t: t.optim.Adagrad([leaf(t)], initial_accumulator_value=-1.0),
    lambda t: t.optim.Adadelta([leaf(t)], rho=2.0),
    lambda t: t.optim.RMSprop([leaf(t)], momentum=-1.0),
    lambda t: t.optim.RMSprop([leaf(t)], alpha=-1.0),
    lambda t: t.optim.Rprop([leaf(t)], etas=(2.0, 0.5)),
    lambda t: t.optim.ASGD([leaf(t)], -1.0),
    lambda t: t.optim.Adafactor([leaf(t)], d=0.5),
    lambda t: t.optim.Adafactor([leaf(t)], beta2_decay=0.5),
    lambda t: t.optim.LBFGS([{"params": [leaf(t)]}, {"params": [leaf(t)]}]),
    lambda t: twice(t).add_param_group({"params": twice(t).first}),
    lambda t: twice(t).add_param_group(3),
    lambda t: (lambda o: o.add_param_group({"params": o.first}))(twice(t)),
    lambda t: t.optim.SGD([("a", leaf(t)), leaf(t)]),
    lambda t: t.optim.SGD([("a", leaf(t))]).add_param_group({"params": [leaf(t)]}),
    lambda t: twice(t).load_state_dict({"state": {}, "param_groups": []}),
    lambda t: twice(t).load_state_dict({"state": {}, "param_groups": [{"params": [0]}]}),
]


def twice(t):
    optimizer = t.optim.SGD([leaf(t), leaf(t)], 0.1)
    optimizer.first = optimizer.param_groups[0]["params"][0]
    return optimizer


@pytest.mark.parametrize("number", range(len(ERRORS)))
def test_errors(number):
    caught = []
    for t in (jitorch, torch):
        try:
            ERRORS[number](t)
            caught.append(None)
        except Exception as error:
            caught.append((type(error).__name__, str(error)))
    assert caught[0] == caught[1]


def test_duplicates_warn():
    p = leaf(jitorch)
    with pytest.warns(UserWarning, match="duplicate parameters"):
        jitorch.optim.SGD([p, p], lr=0.1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        jitorch.optim.SGD([p], lr=0.1)


@pytest.mark.parametrize(
    "name", ["SGD", "Adam", "AdamW", "RMSprop", "Adagrad", "Adamax", "RAdam", "NAdam", "Adadelta", "ASGD"]
)
def test_differentiable_steps(name):
    gradients = []
    for t in (jitorch, torch):
        x = t.tensor([1.0, -2.0, 3.0], requires_grad=True)
        p = x.clone()
        p.retain_grad()
        optimizer = getattr(t.optim, name)([p], lr=0.1, differentiable=True)
        p.grad = x * x
        optimizer.step()
        (p * p).sum().backward()
        gradients.append(x.grad.numpy())
    assert_close(*([g] for g in gradients))


def test_parameters_at_different_steps():
    runs = []
    for t in (jitorch, torch):
        a, b = t.nn.Parameter(t.ones(2)), t.nn.Parameter(t.ones(2))
        optimizer = t.optim.Adam([a, b], lr=0.1)
        for i in range(4):
            a.grad, b.grad = t.tensor([1.0, i]), t.tensor([2.0, -i]) if i % 2 else None
            optimizer.step()
        runs.append([a.detach().numpy(), b.detach().numpy()])
    assert_close(*runs)


def test_a_parameter_that_is_a_view_is_written_through():
    base = jitorch.zeros(4)
    p = base[1:3].requires_grad_()
    p.grad = jitorch.ones(2)
    jitorch.optim.SGD([p], lr=1.0).step()
    assert base.tolist() == [0, -1, -1, 0] and p.tolist() == [-1, -1]

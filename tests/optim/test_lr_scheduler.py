"""Learning rate schedules against PyTorch's, over many steps, saved and loaded on the way."""

from __future__ import annotations

import math
import warnings

import pytest

import jitorch

torch = pytest.importorskip("torch")


class Half:
    def __init__(self, n):
        self.n = n

    def __call__(self, step):
        return 0.5 ** (step / self.n)


# (t.optim.lr_scheduler, optimizer) -> schedule
CASES = {
    "lambda": lambda s, o: s.LambdaLR(o, [lambda step: 0.9**step, Half(3)]),
    "lambda_one": lambda s, o: s.LambdaLR(o, lambda step: 1 / (step + 1)),
    "multiplicative": lambda s, o: s.MultiplicativeLR(o, lambda step: 0.95),
    "step": lambda s, o: s.StepLR(o, 3, gamma=0.5),
    "multistep": lambda s, o: s.MultiStepLR(o, [2, 5, 5, 9], gamma=0.3),
    "constant": lambda s, o: s.ConstantLR(o, factor=0.25, total_iters=4),
    "linear": lambda s, o: s.LinearLR(o, start_factor=0.2, end_factor=0.9, total_iters=6),
    "exponential": lambda s, o: s.ExponentialLR(o, 0.9),
    "polynomial": lambda s, o: s.PolynomialLR(o, total_iters=7, power=2.0),
    "cosine": lambda s, o: s.CosineAnnealingLR(o, T_max=5, eta_min=0.01),
    "restarts": lambda s, o: s.CosineAnnealingWarmRestarts(o, T_0=3, T_mult=2, eta_min=0.001),
    "restarts_same": lambda s, o: s.CosineAnnealingWarmRestarts(o, T_0=4),
    "cyclic": lambda s, o: s.CyclicLR(o, base_lr=0.01, max_lr=[0.1, 0.5], step_size_up=3, step_size_down=5),
    "cyclic2": lambda s, o: s.CyclicLR(o, base_lr=0.01, max_lr=0.1, step_size_up=3, mode="triangular2"),
    "cyclic_exp": lambda s, o: s.CyclicLR(
        o, base_lr=0.01, max_lr=0.1, step_size_up=3, mode="exp_range", gamma=0.9, cycle_momentum=False
    ),
    "cyclic_own": lambda s, o: s.CyclicLR(
        o, base_lr=0.01, max_lr=0.1, step_size_up=3, scale_fn=Half(2), scale_mode="iterations"
    ),
    "one_cycle": lambda s, o: s.OneCycleLR(o, max_lr=[0.3, 0.6], total_steps=25),
    "one_cycle_linear": lambda s, o: s.OneCycleLR(
        o, max_lr=0.3, epochs=5, steps_per_epoch=5, anneal_strategy="linear", three_phase=True
    ),
    "sequential": lambda s, o: s.SequentialLR(
        o, [s.ConstantLR(o, 0.1, 2), s.ExponentialLR(o, 0.9), s.StepLR(o, 2)], milestones=[3, 9]
    ),
    "chained": lambda s, o: s.ChainedScheduler([s.ConstantLR(o, 0.1, 4), s.ExponentialLR(o, 0.9)]),
    "nested": lambda s, o: s.SequentialLR(
        o, [s.ChainedScheduler([s.LinearLR(o, total_iters=3), s.ExponentialLR(o, 0.9)]), s.StepLR(o, 2)], [6]
    ),
}
STEPS = 20


def optimizer_of(t, name: str = "SGD"):
    groups = [
        {"params": [t.zeros(1, requires_grad=True)], "lr": 0.1},
        {"params": [t.zeros(1, requires_grad=True)], "lr": 0.5},
    ]
    return t.optim.SGD(groups, momentum=0.9) if name == "SGD" else t.optim.Adam(groups)


def settings(optimizer) -> list:
    return [[g["lr"], g.get("momentum"), g.get("betas")] for g in optimizer.param_groups]


def history(t, make, name: str = "SGD", reload_at: int | None = None) -> list:
    optimizer = optimizer_of(t, name)
    schedule = make(t.optim.lr_scheduler, optimizer)
    seen = [settings(optimizer)]
    for step in range(STEPS):
        if step == reload_at:
            saved, state = schedule.state_dict(), optimizer.state_dict()
            optimizer = optimizer_of(t, name)
            schedule = make(t.optim.lr_scheduler, optimizer)
            optimizer.load_state_dict(state)
            schedule.load_state_dict(saved)
        optimizer.step()
        schedule.step()
        seen.append([schedule.get_last_lr(), *settings(optimizer)])
    return seen


def numbers(x) -> list[float]:
    if isinstance(x, (list, tuple)):
        return [n for v in x for n in numbers(v)]
    return [] if x is None else [float(x)]


@pytest.fixture(autouse=True)
def quiet():
    with warnings.catch_warnings(), jitorch.config.using(tier="reference"):
        warnings.simplefilter("ignore")
        yield


@pytest.mark.parametrize("name", ["SGD", "Adam"])
@pytest.mark.parametrize("make", CASES.values(), ids=CASES)
def test_schedule(make, name):
    got, expected = (numbers(history(t, make, name)) for t in (jitorch, torch))
    assert got == pytest.approx(expected, rel=1e-12, abs=1e-15)


@pytest.mark.parametrize("make", CASES.values(), ids=CASES)
def test_resumed_in_the_middle(make):
    assert numbers(history(jitorch, make, reload_at=7)) == numbers(history(jitorch, make))


@pytest.mark.parametrize("make", CASES.values(), ids=CASES)
def test_states_have_the_same_keys(make):
    ours, theirs = (make(t.optim.lr_scheduler, optimizer_of(t)).state_dict() for t in (jitorch, torch))
    assert set(theirs) - set(ours) <= {"_scale_fn_ref", "_is_initial", "_get_lr_called_within_step"}
    assert set(ours) <= set(theirs) | {"_is_initial", "_get_lr_called_within_step"}


@pytest.mark.parametrize(
    "make",
    [
        c
        for n, c in CASES.items()
        if n in ("step", "multistep", "linear", "exponential", "polynomial", "cosine", "constant")
    ],
)
def test_closed_forms(make):
    rates = []
    for t in (jitorch, torch):
        optimizer = optimizer_of(t)
        schedule = make(t.optim.lr_scheduler, optimizer)
        some = []
        for epoch in (3, 6, 1, 12):
            schedule.step(epoch)
            some.append(schedule.get_last_lr())
        rates.append(numbers(some))
    assert rates[0] == pytest.approx(rates[1], rel=1e-12)


def test_restarts_at_fractions():
    rates = []
    for t in (jitorch, torch):
        optimizer = optimizer_of(t)
        schedule = t.optim.lr_scheduler.CosineAnnealingWarmRestarts(optimizer, T_0=3, T_mult=2)
        some = []
        for epoch in (0.5, 2.75, 3.5, 10.25, 1.0):
            schedule.step(epoch)
            some.append(schedule.get_last_lr())
        rates.append(numbers(some))
    assert rates[0] == pytest.approx(rates[1], rel=1e-12)


@pytest.mark.parametrize(
    "kwargs",
    [
        {},
        {"mode": "max", "threshold_mode": "abs", "threshold": 0.05, "patience": 1},
        {"patience": 2, "cooldown": 3, "min_lr": [0.02, 0.03]},
        {"patience": 0, "threshold_mode": "abs", "factor": 0.5},
    ],
)
def test_plateau(kwargs):
    rates = []
    for t in (jitorch, torch):
        optimizer = optimizer_of(t)
        schedule = t.optim.lr_scheduler.ReduceLROnPlateau(optimizer, **{"patience": 3, **kwargs})
        some = []
        for step in range(40):
            schedule.step(t.tensor(1.0 + 0.1 * math.cos(step) / (1 + step)))
            some.append([schedule.get_last_lr(), schedule.num_bad_epochs, schedule.in_cooldown])
            if step == 20:
                state = schedule.state_dict()
                schedule = t.optim.lr_scheduler.ReduceLROnPlateau(optimizer, **{"patience": 3, **kwargs})
                schedule.load_state_dict(state)
        rates.append(numbers(some))
    assert rates[0] == pytest.approx(rates[1], rel=1e-12)


def test_rates_as_tensors():
    rates = []
    for t in (jitorch, torch):
        lr = t.tensor(0.1, dtype=t.float64)
        optimizer = t.optim.SGD([t.zeros(1, requires_grad=True)], lr=lr)
        schedule = t.optim.lr_scheduler.ExponentialLR(optimizer, 0.5)
        optimizer.step()
        schedule.step()
        assert optimizer.param_groups[0]["lr"] is lr
        rates.append(lr.item())
    assert rates[0] == rates[1]


ERRORS = [
    lambda s, o: s.StepLR(3, 1),
    lambda s, o: s.LambdaLR(o, [abs]),
    lambda s, o: s.ConstantLR(o, 2.0),
    lambda s, o: s.LinearLR(o, 0.0),
    lambda s, o: s.LinearLR(o, 0.5, 2.0),
    lambda s, o: s.StepLR(o, 1, last_epoch=3),
    lambda s, o: s.MultiplicativeLR(o, 3),
    lambda s, o: s.CosineAnnealingWarmRestarts(o, 0),
    lambda s, o: s.CosineAnnealingWarmRestarts(o, 3, 0),
    lambda s, o: s.CosineAnnealingWarmRestarts(o, 3).step(-1),
    lambda s, o: s.CyclicLR(o, [0.1], 0.2),
    lambda s, o: s.CyclicLR(o, 0.1, 0.2, mode="x"),
    lambda s, o: s.OneCycleLR(o, 0.1),
    lambda s, o: s.OneCycleLR(o, 0.1, total_steps=-1),
    lambda s, o: s.OneCycleLR(o, 0.1, epochs=0, steps_per_epoch=1),
    lambda s, o: s.OneCycleLR(o, 0.1, 5, pct_start=2.0),
    lambda s, o: s.OneCycleLR(o, 0.1, 5, anneal_strategy="x"),
    lambda s, o: [one.step() for one in [s.OneCycleLR(o, 0.1, 3)] for _ in range(5)],
    lambda s, o: s.ReduceLROnPlateau(o, factor=1.0),
    lambda s, o: s.ReduceLROnPlateau(o, "x"),
    lambda s, o: s.ReduceLROnPlateau(o, threshold_mode="x"),
    lambda s, o: s.ReduceLROnPlateau(o, min_lr=[1]),
    lambda s, o: s.SequentialLR(o, [], []),
    lambda s, o: s.SequentialLR(o, [s.StepLR(o, 1)], [1]),
    lambda s, o: s.SequentialLR(o, [s.ReduceLROnPlateau(o)], []),
    lambda s, o: s.ChainedScheduler([]),
    lambda s, o: s.ChainedScheduler([3], o),
]


@pytest.mark.parametrize("number", range(len(ERRORS)))
def test_errors(number):
    caught = []
    for t in (jitorch, torch):
        with pytest.raises(Exception) as error:
            ERRORS[number](t.optim.lr_scheduler, optimizer_of(t))
        caught.append((error.type, str(error.value)))
    assert caught[0] == caught[1]


def test_warnings():
    optimizer = optimizer_of(jitorch)
    schedule = jitorch.optim.lr_scheduler.StepLR(optimizer, 2)
    with pytest.warns(UserWarning, match="before `optimizer.step"):
        schedule.step()
    with pytest.warns(UserWarning, match="get_last_lr"):
        schedule.get_lr()
    with pytest.warns(UserWarning, match="epoch parameter"):
        schedule.step(3)

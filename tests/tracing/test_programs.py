"""Each program equals eager mode, and runs as its word says."""

from __future__ import annotations

import pytest

import jitorch as torch
from jitorch import config
from jitorch.tracing.traced import TracedFunction, TracedModule

from . import adversarial  # noqa: F401
from .programs import PROGRAMS


def seen(x):
    """Values with all their bits, dtypes and structure."""
    if isinstance(x, torch.Tensor):
        x = x.detach()
        return ("tensor", str(x.dtype), tuple(x.shape), x.cpu().contiguous().numpy().tobytes())
    if isinstance(x, dict):
        return (type(x).__name__, [(k, seen(v)) for k, v in x.items()])
    if isinstance(x, (tuple, list)):
        return (type(x).__name__, [seen(v) for v in x])
    return x if not isinstance(x, float) else x.hex()


def run(function, tier):
    made = []

    def trace(f):
        made.append(torch.trace(f))
        return made[-1]

    with config.using(tier=tier):
        torch.manual_seed(0)
        eager = seen(function(lambda f: f))
        torch.manual_seed(0)
        traced = seen(function(trace))
    return eager, traced, [t.__dict__["traced"] if isinstance(t, TracedModule) else t for t in made]


def check(name, tier):
    function, how = PROGRAMS[name]
    eager, traced, made = run(function, tier)
    assert traced == eager
    if config.check:
        return          # where nothing is replayed, what would be isn't done by other ways either
    history = [h for t in made for h in t.history]
    replays = sum(t.replays for t in made if isinstance(t, TracedFunction))
    if isinstance(how, int):
        assert replays >= how, (replays, history)
    else:
        assert any(how in h for h in history), history


@pytest.mark.parametrize("name", PROGRAMS)
def test_equals_eager(name):
    check(name, "reference")


COMPILED = [n for n in PROGRAMS if n.startswith("step_")] + [
    "branch_on_a_value",
    "early_stop",
    "gan_step",
    "gradient_scaler",
    "several_schedules_and_a_decision",
    "toggled_eval",
    "training_step_returns_a_number",
    "writes_to_an_input",
]


@pytest.mark.parametrize("name", COMPILED)
def test_equals_eager_bit_for_bit_on_kernels(name):
    check(name, "compiled")


def test_there_are_enough():
    assert len(PROGRAMS) >= 200

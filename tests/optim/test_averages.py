"""swa_utils, Muon and LAMB."""
from __future__ import annotations

import importlib

import numpy as np
import pytest

import jitorch

torch = pytest.importorskip("torch")


def swa(t):
    return importlib.import_module(t.__name__ + ".optim.swa_utils")


def trained(t, use):
    """A small model after some steps, with what `use(t, model, optimizer)` gives called after each."""
    model = t.nn.Sequential(t.nn.Linear(3, 2), t.nn.BatchNorm1d(2))
    rng = np.random.default_rng(0)
    with t.no_grad():
        for p in model.parameters():
            p.copy_(t.tensor(rng.normal(size=tuple(p.shape)).astype(np.float32)))
    optimizer = t.optim.SGD(model.parameters(), lr=0.1)
    after = use(t, model, optimizer)
    for _ in range(4):
        optimizer.zero_grad()
        model(t.tensor(rng.normal(size=(5, 3)).astype(np.float32))).square().sum().backward()
        optimizer.step()
        after()
    return model, optimizer


@pytest.mark.parametrize(("settings", "use_buffers"), [({}, False), ({"avg_fn": "get_ema_avg_fn"}, True), ({"multi_avg_fn": "get_ema_multi_avg_fn"}, False)])
def test_averaged_models(settings, use_buffers):
    states = []
    for t in (jitorch, torch):
        averages = []

        def use(t, model, optimizer):
            chosen = {k: getattr(swa(t), v)(0.9) for k, v in settings.items()}
            averages.append(swa(t).AveragedModel(model, use_buffers=use_buffers, **chosen))  # noqa: B023
            return lambda: averages[0].update_parameters(model)  # noqa: B023

        trained(t, use)
        loader = [(t.tensor(np.random.default_rng(i).normal(size=(6, 3)).astype(np.float32)),) for i in range(3)]
        if not use_buffers:
            swa(t).update_bn(loader, averages[0])
        states.append({k: v.detach().numpy() for k, v in averages[0].state_dict().items()})
    assert list(states[0]) == list(states[1])
    for name, value in states[1].items():
        np.testing.assert_allclose(states[0][name], value, rtol=2e-4, atol=1e-5, err_msg=name)


@pytest.mark.parametrize("settings", [{"anneal_epochs": 3}, {"anneal_epochs": 2, "anneal_strategy": "linear"}, {"anneal_epochs": 0}])
def test_swalr(settings):
    rates = []
    for t in (jitorch, torch):
        seen: list = []

        def use(t, model, optimizer):
            schedule = swa(t).SWALR(optimizer, swa_lr=0.02, **settings)

            def after():
                schedule.step()
                seen.append(optimizer.param_groups[0]["lr"])  # noqa: B023

            return after

        trained(t, use)
        rates.append(seen)
    assert rates[0] == pytest.approx(rates[1])
    with pytest.raises(ValueError, match="anneal_strategy"):
        swa(jitorch).SWALR(jitorch.optim.SGD([jitorch.ones(1, requires_grad=True)], lr=1.0), 0.1, anneal_strategy="steps")


def test_muon():
    start, target = (np.random.default_rng(i).normal(size=(6, 4)).astype(np.float32) for i in range(2))
    ends = []
    for t in (jitorch, torch):
        w = t.tensor(start, requires_grad=True)
        optimizer = t.optim.Muon([w], lr=0.01, adjust_lr_fn="match_rms_adamw")
        for _ in range(3):
            optimizer.zero_grad()
            (w - t.tensor(target)).square().sum().backward()
            optimizer.step()
        ends.append(w.detach().numpy())
        assert list(optimizer.state_dict()["state"][0]) == ["momentum_buffer"]
    np.testing.assert_allclose(*ends, atol=2e-3)    # the iteration runs in bfloat16
    with pytest.raises(ValueError, match="2D"):
        jitorch.optim.Muon([jitorch.ones(3, requires_grad=True)])


def test_lamb_follows_its_formula():
    rng = np.random.default_rng(0)
    w = rng.normal(size=(3, 2))
    p = jitorch.tensor(w, requires_grad=True)
    optimizer = jitorch.optim.LAMB([p], lr=0.05, betas=(0.9, 0.99), eps=1e-6, weight_decay=0.1)
    m = v = np.zeros_like(w)
    for step in range(1, 4):
        g = rng.normal(size=w.shape)
        p.grad = jitorch.tensor(g)
        optimizer.step()
        m, v = 0.9 * m + 0.1 * g, 0.99 * v + 0.01 * g * g
        update = (m / (1 - 0.9**step)) / (np.sqrt(v / (1 - 0.99**step)) + 1e-6) + 0.1 * w
        w = w - 0.05 * np.linalg.norm(w) / np.linalg.norm(update) * update
    np.testing.assert_allclose(p.detach().numpy(), w, rtol=1e-9)

"""Small models trained for some steps on both tiers, against PyTorch."""

from __future__ import annotations

import numpy as np
import pytest

import jitorch

torch = pytest.importorskip("torch")


def convolutional(t):
    nn = t.nn
    model = nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(64, 5)
    )
    return model, (6, 1, 8, 8), lambda x: model(x)


def recurrent(t):
    nn = t.nn
    model = nn.ModuleDict({"lstm": nn.LSTM(3, 8, batch_first=True), "head": nn.Linear(8, 5)})
    return model, (6, 4, 3), lambda x: model["head"](model["lstm"](x)[0][:, -1])


def attending(t):
    nn = t.nn
    model = nn.Sequential(nn.TransformerEncoderLayer(8, 2, 16, 0.0, "gelu", batch_first=True), nn.Linear(8, 5))
    return model, (6, 4, 8), lambda x: model(x).mean(1)


def train(t, make, optimizer: str, state: dict, steps: int = 5) -> list[float]:
    model, shape, forward = make(t)
    model.load_state_dict({k: t.tensor(v) for k, v in state.items()})
    rng = np.random.default_rng(0)
    x = t.tensor(rng.standard_normal(shape).astype("float32"))
    y = t.tensor(rng.integers(0, 5, shape[0]))
    chosen = getattr(t.optim, optimizer)(model.parameters(), lr=0.02)
    schedule = t.optim.lr_scheduler.ExponentialLR(chosen, 0.9)
    losses = []
    for _ in range(steps):
        chosen.zero_grad()
        loss = t.nn.functional.cross_entropy(forward(x), y)
        loss.backward()
        t.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        chosen.step()
        schedule.step()
        losses.append(loss.item())
    return losses


@pytest.mark.parametrize("tier", ["reference", "compiled"])
@pytest.mark.parametrize("make, optimizer", [(convolutional, "SGD"), (recurrent, "Adam"), (attending, "AdamW")])
def test_training(make, optimizer, tier):
    torch.manual_seed(0)
    state = {k: v.numpy().copy() for k, v in make(torch)[0].state_dict().items()}
    expected = train(torch, make, optimizer, state)
    with jitorch.config.using(tier=tier):
        got = train(jitorch, make, optimizer, state)
    assert got == pytest.approx(expected, rel=2e-3)
    assert got[-1] < got[0]


def test_a_recurrent_layer_records_few_operations_however_long():
    from jitorch.graph.record import local

    lstm, lengths = jitorch.nn.LSTM(3, 4), []
    for steps in (2, 20):
        lstm.zero_grad()
        jitorch.graph.record.flush()
        lstm(jitorch.ones(steps, 2, 3))[0].sum().backward()
        lengths.append(len(local.tape.node.path()))
    assert lengths[0] == lengths[1] < 80

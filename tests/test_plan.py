"""What programs hold in memory, and in which order they run."""
from __future__ import annotations

import numpy as np
import pytest

import jitorch as torch
from jitorch import config
from jitorch.graph import build, memory
from jitorch.graph.record import flush, forget


@pytest.fixture
def peaks(monkeypatch):
    """Bytes of temporaries of each program that is built."""
    found = []

    def plan(works):
        found.append(memory.peak(works)[1])
        return memory.plan_arena(works)
    monkeypatch.setattr(build, "plan_arena", plan)
    with config.using(tier="compiled"):
        yield found


def short_of_memory(monkeypatch, limit: int) -> None:
    for module in (build, memory):
        monkeypatch.setattr(module, "PAST_CACHES", limit)
    monkeypatch.setattr(memory, "LIGHT", 0)


def trained(rows: int, layers: int = 6):
    """Losses, and the weights in the end, of a deep network of gelus."""
    torch.manual_seed(0)
    nn = torch.nn
    model = nn.Sequential(*(nn.Sequential(nn.Linear(16, 48), nn.GELU(), nn.Linear(48, 16)) for _ in range(layers)))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    x = torch.from_numpy(np.random.default_rng(0).standard_normal((rows, 16)).astype(np.float32))
    losses = []
    for _ in range(3):
        optimizer.zero_grad()
        loss = (model(x) - x).square().mean()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses, [p.detach().numpy().copy() for p in model.parameters()]


def test_short_memory_changes_no_bit_and_saves_a_deep_steps_temporaries(monkeypatch, peaks):
    losses, weights = trained(1000)
    usual = max(peaks)
    peaks.clear()
    short_of_memory(monkeypatch, 1 << 16)
    flush()
    forget()            # or the programs that are there would run again
    again, again_weights = trained(1000)
    assert max(peaks) < 0.6 * usual
    assert losses == again
    for a, b in zip(weights, again_weights, strict=True):
        np.testing.assert_array_equal(a, b)


def test_indices_are_checked_before_weights_change_early(monkeypatch, peaks):
    short_of_memory(monkeypatch, 1 << 10)
    torch.manual_seed(0)
    table, head = torch.nn.Embedding(50, 32), torch.nn.Linear(32, 8)
    optimizer = torch.optim.SGD([*head.parameters(), *table.parameters()], lr=0.1)

    def step(tokens):
        optimizer.zero_grad()
        head(table(tokens).tanh()).square().mean().backward()
        optimizer.step()
    good, bad = (torch.from_numpy(np.arange(200, dtype=np.int64) % n) for n in (50, 51))
    step(good)
    step(good)
    flush()
    before = [p.detach().numpy().copy() for p in (table.weight, head.weight)]
    with pytest.raises(IndexError):
        step(bad + 0)
        flush()
    for p, old in zip((table.weight, head.weight), before, strict=True):
        np.testing.assert_array_equal(p.detach().numpy(), old)


@pytest.mark.parametrize("cut", [
    lambda x: x.split(4, 1), lambda x: x.chunk(3, 0), lambda x: (x[:, ::2], x[:, 1::2]), lambda x: x.unbind(1), lambda x: (x[:2, :6], x[4:, 2:])])
def test_gradients_of_parts_are_written_side_by_side(peaks, cut):
    """None is added to zeros as large as the whole."""
    x = torch.from_numpy(np.random.default_rng(0).standard_normal((6, 12)).astype(np.float32)).requires_grad_(True)
    parts = cut(x)
    flush()
    sum((part * float(i + 1)).sum() for i, part in enumerate(parts)).backward()
    want = np.zeros((6, 12), np.float32)
    index = torch.arange(72).reshape(6, 12)
    for i, part in enumerate(cut(index)):
        want.reshape(-1)[np.asarray(part.tolist()).reshape(-1)] = i + 1
    np.testing.assert_array_equal(x.grad.numpy(), want)
    assert max(peaks) < 2 * x.numel() * 4


def test_gradients_of_parts_that_meet_are_added():
    x = torch.ones(5, 4, requires_grad=True)
    (x[:3] * 2 + x[2:] * 3).sum().backward()
    assert x.grad[:, 0].tolist() == [2, 2, 5, 3, 3]

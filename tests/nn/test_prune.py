"""Pruning, beside PyTorch's."""
from __future__ import annotations

import importlib

import numpy as np
import pytest

import jitorch

torch = pytest.importorskip("torch")


def filled(t, module, seed=1):
    rng = np.random.default_rng(seed)
    with t.no_grad():
        for p in module.parameters():
            p.copy_(t.tensor(rng.normal(size=tuple(p.shape)), dtype=t.float32))
    return module


def one_after_another(t, prune):
    m = filled(t, t.nn.Linear(4, 3))
    prune.l1_unstructured(m, "weight", 0.3)
    prune.ln_structured(m, "weight", 1, n=2, dim=0)
    m(t.ones(1, 4)).sum().backward()
    found = [m.weight, m.weight_mask, m.weight_orig.grad, *m.state_dict().values()]
    assert prune.is_pruned(m)
    prune.remove(m, "weight")
    assert not prune.is_pruned(m) and sorted(m.state_dict()) == ["bias", "weight"]
    return [*found, m.weight]


def all_together(t, prune):
    m = filled(t, t.nn.Sequential(t.nn.Linear(3, 4), t.nn.ReLU(), t.nn.Linear(4, 2)))
    prune.global_unstructured([(m[0], "weight"), (m[2], "weight")], pruning_method=prune.L1Unstructured, amount=0.5)
    prune.custom_from_mask(m[0], "bias", t.tensor([1, 0, 1, 0]))
    optimizer = t.optim.SGD(m.parameters(), lr=0.1)
    m(t.ones(1, 3)).sum().backward()
    optimizer.step()
    return [m(t.ones(1, 3)), *m.state_dict().values()]


def channels(t, prune):
    m = filled(t, t.nn.Conv2d(2, 3, 2))
    prune.ln_structured(m, "weight", 0.5, float("inf"), 1)
    prune.l1_unstructured(m, "weight", 3)
    prune.identity(m, "bias")
    return [m.weight_mask, m.bias_mask, m(t.ones(1, 2, 3, 3))]


@pytest.mark.parametrize("program", [one_after_another, all_together, channels])
def test_as_pytorchs(program):
    def run(t):
        return [x.detach().numpy() for x in program(t, importlib.import_module(t.__name__ + ".nn.utils.prune"))]

    for mine, right in zip(run(jitorch), run(torch), strict=True):
        np.testing.assert_allclose(mine, right, rtol=1e-5, atol=1e-6)


def test_at_random_and_wrong():
    from jitorch.nn.utils import prune

    m = jitorch.nn.Linear(6, 5)
    assert prune.random_unstructured(m, "weight", 7).weight_mask.sum() == 23
    assert sorted(prune.random_structured(jitorch.nn.Linear(6, 5), "weight", 2, dim=0).weight_mask.sum(1).tolist()) == [0, 0, 6, 6, 6]
    for amount, error in ((100, ValueError), (1.5, ValueError), (-1, ValueError), ("a", TypeError)):
        with pytest.raises(error, match="amount"):
            prune.l1_unstructured(jitorch.nn.Linear(2, 2), "weight", amount)
    with pytest.raises(ValueError, match="has to be pruned"):
        prune.remove(jitorch.nn.Linear(2, 2), "weight")

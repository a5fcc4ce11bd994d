"""Optimizers on tables with sparse gradients, against PyTorch's."""
from __future__ import annotations

import numpy as np
import pytest

import jitorch

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.filterwarnings("ignore")

CASES = [
    ("SparseAdam", {}),
    ("SparseAdam", {"lr": 0.1, "betas": (0.8, 0.9), "eps": 1e-4}),
    ("SparseAdam", {"lr": 0.1, "maximize": True}),
    ("SGD", {"lr": 0.1}),
    ("SGD", {"lr": 0.1, "maximize": True}),
    ("SGD", {"lr": 0.1, "momentum": 0.9, "dampening": 0.1}),
    ("SGD", {"lr": 0.1, "momentum": 0.9, "nesterov": True}),
    ("Adagrad", {"lr": 0.1}),
    ("Adagrad", {"lr": 0.1, "lr_decay": 0.1, "initial_accumulator_value": 0.5, "maximize": True}),
]


def trained(t, name: str, settings: dict, steps: int = 5):
    numbers = np.random.default_rng(0)
    table, line = t.nn.Embedding(7, 3, sparse=True), t.nn.Linear(3, 2)
    with t.no_grad():
        for p in (table.weight, line.weight, line.bias):
            p.copy_(t.tensor(numbers.standard_normal(tuple(p.shape)).astype("float32")))
    dense = [] if name == "SparseAdam" else list(line.parameters())     # the other rules take both kinds of gradients
    optimizer = getattr(t.optim, name)([table.weight, *dense], **settings)
    for _ in range(steps):
        rows = t.tensor(numbers.integers(0, 7, (4, 2)))
        optimizer.zero_grad()
        line(table(rows)).pow(2).sum().backward()
        optimizer.step()
    return [p.detach().numpy() for p in (table.weight, line.weight, line.bias)], optimizer


@pytest.mark.parametrize("tier", ["reference", "compiled"])
@pytest.mark.parametrize(("name", "settings"), CASES)
def test_steps(name, settings, tier):
    with jitorch.config.using(tier=tier):
        ours, mine = trained(jitorch, name, settings)
    theirs, its = trained(torch, name, settings)
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-5, atol=1e-6)
    for number, state in its.state_dict()["state"].items():
        for key, value in state.items():
            got = mine.state_dict()["state"][number][key]
            if hasattr(value, "layout"):
                got, value = (np.asarray((v.to_dense() if v.is_sparse else v).detach()) for v in (got, value))
            np.testing.assert_allclose(got, value, rtol=2e-5, atol=1e-6)


@pytest.mark.parametrize("name", ["Adam", "AdamW", "RMSprop", "Adadelta", "Adamax", "NAdam", "RAdam", "ASGD", "Rprop", "Adafactor"])
def test_others_refuse_them(name):
    for t in (torch, jitorch):
        with pytest.raises(RuntimeError, match="does not support sparse gradients"):
            trained(t, name, {})


def test_what_is_refused_besides():
    for t in (torch, jitorch):
        for wrong in ({"lr": 0}, {"eps": -1.0}, {"betas": (1.0, 0.9)}):
            with pytest.raises(ValueError):
                t.optim.SparseAdam([t.nn.Parameter(t.ones(2))], **wrong)
        with pytest.raises(ValueError, match=r"Sparse params at indices \[\[0, 0\]\]"):
            t.optim.SparseAdam([t.ones(2).to_sparse()])
        with pytest.raises(RuntimeError, match="does not support dense gradients"):
            p = t.nn.Parameter(t.ones(2))
            p.sum().backward()
            t.optim.SparseAdam([p]).step()
        for name in ("SGD", "Adagrad"):
            with pytest.raises(RuntimeError):
                trained(t, name, {"lr": 0.1, "weight_decay": 0.1})


def test_rows_that_are_not_used_stay():
    table = jitorch.nn.Embedding(1000, 4, sparse=True)
    before = table.weight.detach().clone()
    optimizer = jitorch.optim.SparseAdam(table.parameters(), lr=0.5)
    table(jitorch.tensor([3, 9, 3])).sum().backward()
    optimizer.step()
    moved = (table.weight.detach() != before).any(1).nonzero().flatten().tolist()
    assert moved == [3, 9] and table.weight.grad._nnz() == 3


def test_the_line_search_of_lbfgs_makes_them_dense():
    def run(t):
        table = t.nn.Embedding(3, 2, sparse=True).double()
        with t.no_grad():
            table.weight.copy_(t.arange(6.0).view(3, 2) / 3)
        optimizer = t.optim.LBFGS(table.parameters(), lr=0.5, max_iter=3)

        def closure():
            optimizer.zero_grad()
            loss = (table(t.tensor([0, 2, 2])) ** 2).sum()
            loss.backward()
            return loss

        optimizer.step(closure)
        return table.weight.detach().numpy()
    np.testing.assert_allclose(run(jitorch), run(torch), rtol=1e-9)

"""An error inside a run leaves parameters, statistics and optimizer state as they were."""

from __future__ import annotations

import pytest

import jitorch as torch
import jitorch.nn as nn
import jitorch.nn.functional as F
from jitorch import config


def everything(modules, optimizer):
    state = [t.tolist() for m in modules for t in m.state_dict().values()]
    return state, [[v if not isinstance(v, torch.Tensor) else v.tolist() for v in s.values()] for s in optimizer.state.values()]


@pytest.mark.parametrize("tier", ["reference", "compiled"])
@pytest.mark.parametrize("traced", [False, True])
def test_index_found_out_of_range_by_a_kernel(tier, traced):
    torch.manual_seed(0)
    table, head = nn.Embedding(10, 4), nn.Sequential(nn.BatchNorm1d(4), nn.Linear(4, 5))
    optimizer = torch.optim.Adam([*table.parameters(), *head.parameters()], lr=0.1)

    def step(index, shift, target):
        optimizer.zero_grad()
        loss = F.cross_entropy(head(table(index + shift)), target)      # a computed index: nothing can check it before
        loss.backward()
        optimizer.step()
        return loss

    run = torch.trace(step) if traced else step
    index, target = torch.tensor([1, 2, 3]), torch.tensor([0, 1, 2])
    with config.using(tier=tier):
        for _ in range(4):
            run(index, torch.tensor(0), target)
        before = everything((table, head), optimizer)
        with pytest.raises(IndexError, match="out of"):
            run(index, torch.tensor(8), target)
        after = everything((table, head), optimizer)
        assert after[0] == before[0]
        if traced:
            assert after == before          # and the optimizer has not counted a step
            assert run.replays >= 2
        run(index, torch.tensor(1), target)
        assert everything((table, head), optimizer)[0] != before[0]

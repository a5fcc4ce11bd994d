"""Frozen modules: constants folded, batch normalization folded into convolutions."""

from __future__ import annotations

import pytest

import jitorch as torch
import jitorch.nn as nn
from jitorch.tracing.report import programs_of

CHAINS = {
    "conv bias bn": lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU()),
    "conv bn": lambda: nn.Sequential(nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4)),
    "conv bn without affine": lambda: nn.Sequential(nn.Conv2d(3, 6, 3, groups=3), nn.BatchNorm2d(6, affine=False)),
    "strided, twice": lambda: nn.Sequential(
        nn.Conv2d(3, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.GELU(), nn.Conv2d(8, 4, 1), nn.BatchNorm2d(4, eps=1e-3)
    ),
}
KEPT = {
    "bn first": lambda: nn.Sequential(nn.BatchNorm2d(3), nn.Conv2d(3, 4, 3)),
    "something between": lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.BatchNorm2d(4)),
    "transposed": lambda: nn.Sequential(nn.ConvTranspose2d(3, 4, 3), nn.BatchNorm2d(4)),
}


def ready(make):
    torch.manual_seed(0)
    net = make()
    for _ in range(2):
        net(torch.randn(4, 3, 9, 9))        # statistics that do something
    for b in net.modules():
        if isinstance(b, nn.BatchNorm2d) and b.affine:
            nn.init.normal_(b.weight, 1, 0.3)
            nn.init.normal_(b.bias)
    return net.eval()


def names(frozen):
    return [s.op if isinstance(s.op, str) else s.op.name for p in programs_of(frozen.__dict__["traced"]) for s in p.steps]


@pytest.mark.parametrize("name", [*CHAINS, *KEPT])
def test_equals_the_module_up_to_rounding(name):
    net = ready((CHAINS | KEPT)[name])
    x = torch.randn(2, 3, 9, 9)
    frozen = torch.jit.freeze(torch.jit.trace(net, x))
    with torch.no_grad():
        want = net(x)
        for _ in range(4):
            assert torch.allclose(frozen(x), want, rtol=1e-4, atol=1e-5)
    assert frozen.replays >= 2
    assert ("_batch_norm_with_statistics" in names(frozen)) == (name in KEPT)
    assert "view" not in names(frozen)      # of parameters: computed before


def test_is_a_copy_without_parameters():
    net = ready(CHAINS["conv bn"])
    x = torch.randn(1, 3, 9, 9)
    frozen = torch.jit.freeze(torch.jit.trace(net, x))
    with torch.no_grad():
        want = [frozen(x) for _ in range(3)][0]
        net[0].weight.zero_()
        assert torch.allclose(frozen(x), want, atol=1e-6)
    assert not list(frozen.parameters()) and not frozen.state_dict()
    assert frozen.eval() is frozen
    with pytest.raises(RuntimeError, match="eval mode"):
        frozen.train()
    assert torch.jit.optimize_for_inference(frozen) is frozen


def test_the_convolution_is_kept_where_its_result_is_used_twice():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.norm = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)

        def forward(self, x):
            y = self.conv(x)
            return self.norm(y) + y

    net = ready(Twice)
    x = torch.randn(2, 3, 9, 9)
    frozen = torch.jit.freeze(torch.jit.trace(net, x))
    with torch.no_grad():
        for _ in range(4):
            assert torch.allclose(frozen(x), net(x), rtol=1e-4, atol=1e-5)
    assert "_batch_norm_with_statistics" in names(frozen)


def test_frozen_programs_are_saved(tmp_path):
    net = ready(CHAINS["strided, twice"])
    frozen = torch.jit.freeze(torch.jit.trace(net, torch.randn(2, 3, 9, 9)))
    with torch.no_grad():
        for _ in range(3):
            frozen(torch.randn(2, 3, 9, 9))
        frozen.save(tmp_path / "frozen.jt")
        loaded = torch.jit.load(tmp_path / "frozen.jt")
        for n in (2, 5, 1):
            x = torch.randn(n, 3, 9, 9)
            assert torch.allclose(loaded(x), net(x), rtol=1e-4, atol=1e-5)


def test_errors():
    net = nn.Linear(2, 2)
    with pytest.raises(RuntimeError, match="was traced"):
        torch.jit.freeze(net)
    with pytest.raises(RuntimeError, match="eval mode"):
        torch.jit.freeze(torch.jit.trace(net, torch.ones(1, 2)))


def test_a_frozen_module_with_a_number():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(3, 3)

        def forward(self, x, temperature):
            return torch.softmax(self.fc(x) / temperature, -1)

    torch.manual_seed(0)
    net = Net().eval()
    frozen = torch.jit.freeze(torch.trace(net))
    x = torch.randn(2, 3)
    with torch.no_grad():
        for i in range(8):
            assert torch.allclose(frozen(x, 0.5 + i), net(x, 0.5 + i), atol=1e-6)
    assert frozen.replays >= 5

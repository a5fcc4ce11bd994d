"""Frozen modules: constants folded, batch normalization folded into convolutions."""

from __future__ import annotations

import pytest

import jitorch as torch
import jitorch.nn as nn
from jitorch import config
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


def test_the_check_switch_compares_a_frozen_module_with_eager_mode():
    net = ready(CHAINS["conv bias bn"])
    x = torch.randn(2, 3, 9, 9)
    with torch.no_grad(), config.using(check=True):
        frozen = torch.jit.freeze(torch.jit.trace(net, x))
        for _ in range(4):
            frozen(x)
        assert frozen.replays >= 2
        frozen.__dict__["__traced__"][0].bias.add_(0.01)
        with pytest.raises(RuntimeError, match="would differ from eager mode"):
            frozen(x)


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


# what is multiplied by constants, and the shape of x; odd sizes leave parts of tiles, blocks and slices
PRODUCTS = {
    "linear": (lambda: nn.Linear(37, 45), (13, 37)),
    "linear, several blocks and slices": (lambda: nn.Linear(900, 500), (460, 900)),
    "linear, few rows": (lambda: nn.Linear(70, 1000), (3, 70)),
    "linear, a long sum": (lambda: nn.Linear(4100, 20), (30, 4100)),
    "linear, one feature": (lambda: nn.Linear(65, 1), (40, 65)),
    "linear in double": (lambda: nn.Linear(37, 45).double(), (13, 37)),
    "convolution": (lambda: nn.Conv2d(5, 7, (3, 2)), (2, 5, 8, 9)),
    "convolution by points": (lambda: nn.Conv2d(40, 50, 1), (2, 40, 5, 5)),
    "convolution by 3 x 3 windows": (lambda: nn.Conv2d(20, 18, 3, padding=1), (2, 20, 14, 13)),
    "convolution in groups": (lambda: nn.Conv2d(12, 18, 3, stride=2, groups=3), (2, 12, 9, 9)),
    "convolution, one channel each": (lambda: nn.Conv2d(6, 6, 3, groups=6), (1, 6, 9, 9)),
    "convolution, transposed": (lambda: nn.ConvTranspose2d(6, 8, 3, stride=2), (2, 6, 5, 5)),
    "convolution in time": (lambda: nn.Conv1d(9, 450, 5), (3, 9, 40)),
    "bilinear": (lambda: nn.Bilinear(6, 6, 9), None),
}


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("name", PRODUCTS)
def test_constant_operands_are_packed_once(name, threads):
    make, shape = PRODUCTS[name]
    torch.manual_seed(0)
    net = make().eval()
    dtype = next(net.parameters()).dtype
    inputs = [torch.randn(*shape, dtype=dtype)] if shape else [torch.randn(4, 6), torch.randn(4, 6)]
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        with torch.no_grad(), config.using(tier="compiled"):
            want = net(*inputs)
            frozen = torch.jit.freeze(torch.jit.trace(net, tuple(inputs)))
            for _ in range(4):
                assert torch.allclose(frozen(*inputs), want, rtol=1e-4, atol=1e-4)
            other = [torch.cat([x, x])[1:] for x in inputs]
            assert torch.allclose(frozen(*other), net(*other), rtol=1e-4, atol=1e-4)
    finally:
        torch.set_num_threads(before)
    assert frozen.replays >= 2


def products_of(frozen):
    return [s.kernel for p in programs_of(frozen.__dict__["traced"]) for s in p.compiled.steps if s.kernel.name == "contract"]


@pytest.mark.parametrize("name", ["linear", "convolution", "convolution by points", "convolution by 3 x 3 windows"])
def test_no_kernel_packs_a_constant_in_a_replay(name):
    make, shape = PRODUCTS[name]
    net, x = make().eval(), torch.randn(*shape)
    with torch.no_grad(), config.using(tier="compiled"):
        frozen = torch.jit.freeze(torch.jit.trace(net, x))
        for _ in range(3):
            frozen(x)
    program, = programs_of(frozen.__dict__["traced"])
    (kernel,), (prepared,) = products_of(frozen), program.compiled.prepared
    assert prepared.kernel.name in ("pack", "weights") and not any(s.kernel.name in ("pack", "weights") for s in program.compiled.steps)
    assert sum(name in kernel.parts for name in ("pack_a", "pack_b")) == (name != "convolution by 3 x 3 windows")


def test_programs_share_what_is_packed():
    net = nn.Linear(50, 60).eval()
    with torch.no_grad(), config.using(tier="compiled"):
        frozen = torch.jit.freeze(torch.jit.trace(net, torch.randn(20, 50)))
        for n in (20, 20, 21, 21, 22, 22):
            frozen(torch.randn(n, 50))
    kept = [b for k in products_of(frozen) for w in k.words if w[0] == "buffer" for b in [w[1]] if b.kind == "kept"]
    assert len(kept) == 3 and all(b.constant is kept[0].constant for b in kept)


def test_a_saved_program_packs_where_it_is_loaded(tmp_path):
    net = nn.Sequential(nn.Conv2d(3, 20, 3), nn.BatchNorm2d(20), nn.ReLU(), nn.Conv2d(20, 24, 3), nn.Flatten(), nn.Linear(24 * 25, 33)).eval()
    x = torch.randn(4, 3, 9, 9)
    with torch.no_grad(), config.using(tier="compiled", check=False):
        frozen = torch.jit.freeze(torch.jit.trace(net, x))
        for _ in range(2):
            want = frozen(x)
        frozen.save(tmp_path / "net.jt")
        loaded = torch.jit.load(tmp_path / "net.jt")
        for n in (4, 7, 1, 4):
            y = torch.cat([x, x])[:n]
            assert torch.allclose(loaded(y), net(y), rtol=1e-4, atol=1e-4)
        assert torch.equal(loaded(x), want)
    runs = [e for root in loaded.__dict__["forms"].values() for e in root.events if hasattr(e, "program")]
    assert runs and all(len(e.program.compiled.prepared) == 2 for e in runs)        # few rows are multiplied by the linear layer where its weights lie

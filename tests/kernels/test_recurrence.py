"""The kernel of a recurrence: sizes around its tiles beside PyTorch, the same bits from any number of threads, one kernel a layer and direction."""
import numpy as np
import pytest

import jitorch
from jitorch import config
from jitorch.graph.build import build
from jitorch.graph.program import Program
from jitorch.graph.record import flush, local, steps_of
from jitorch.kernels.cpu import executor

TOLERANCE = {"float32": 3e-5, "float64": 1e-11}


def layers(kind: str, width: int, hidden: int, dtype: str, **options):
    """The same layer of PyTorch and of jitorch."""
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    right = getattr(torch.nn, kind)(width, hidden, **options).to(getattr(torch, dtype))
    ours = getattr(jitorch.nn, kind)(width, hidden, **options).to(getattr(jitorch, dtype))
    ours.load_state_dict({name: jitorch.tensor(p.numpy()) for name, p in right.state_dict().items()})
    return torch, right, ours


def outcome(torch, layer, x):
    """Outputs, last states and all gradients."""
    x = torch.tensor(x).requires_grad_(True)
    y, state = layer(x)
    state = state if isinstance(state, tuple) else (state,)
    for p in layer.parameters():
        p.grad = None
    ((y * y).sum() + sum((s * s * s).sum() for s in state)).backward()
    return [t.detach().numpy() for t in (y, *state, x.grad, *(p.grad for p in layer.parameters()))]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("kind", ["LSTM", "GRU", "RNN"])
@pytest.mark.parametrize("steps, rows, hidden", [(1, 1, 1), (3, 9, 33), (4, 40, 129), (2, 70, 8)])
def test_layers(kind, steps, rows, hidden, dtype):
    torch, right, ours = layers(kind, 6, hidden, dtype, bidirectional=True)
    x = np.random.default_rng(0).standard_normal((steps, rows, 6)).astype(dtype)
    with config.using(tier="compiled"):
        got = outcome(jitorch, ours, x)
    for a, b in zip(got, outcome(torch, right, x), strict=True):
        np.testing.assert_allclose(a, b, rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype] * max(1, np.abs(b).max()))


@pytest.mark.parametrize("kind", ["LSTM", "GRU"])
def test_the_same_bits_from_any_number_of_threads(kind):
    layer = getattr(jitorch.nn, kind)(6, 40)
    x = np.random.default_rng(0).standard_normal((5, 70, 6)).astype("float32")
    before, found = executor.get_num_threads(), []
    try:
        for threads in (1, 2, 3):
            executor.set_num_threads(threads)
            with config.using(tier="compiled"):
                found.append(outcome(jitorch, layer, x))
    finally:
        executor.set_num_threads(before)
    for other in found[1:]:
        for a, b in zip(found[0], other, strict=True):
            np.testing.assert_array_equal(a, b)


def compiled_layer(steps: int, rows: int, hidden: int, backward: bool = False):
    layer = jitorch.nn.LSTM(6, hidden)
    x = jitorch.zeros(steps, rows, 6)
    flush()
    y, _ = layer(x)
    results = [y]
    if backward:
        results += jitorch.autograd.grad(y.sum(), list(layer.parameters()))
    program = Program(steps_of(local.tape.node), tuple((r._storage.slot, -1) for r in results))
    compiled = build(program)
    flush()
    return compiled


def loops(compiled) -> list:
    return [s.kernel for s in compiled.steps if s.kernel.name == "recur"]


def test_one_kernel_for_all_steps_whatever_the_sizes():
    """Neither the length nor the batch nor the width is in the source, and a longer sequence has no more kernels."""
    short, long = compiled_layer(3, 2, 8), compiled_layer(50, 20, 24)
    assert len(short.steps) == len(long.steps)
    assert len(loops(short)) == len(loops(long)) == 1
    assert loops(short)[0].source == loops(long)[0].source


def test_backward_is_one_more():
    assert len(loops(compiled_layer(9, 2, 8, backward=True))) == 2


def test_what_only_gradients_need_is_not_kept_without_them():
    """The gates of each step are four times as large as the outputs."""
    kept, lean = (loops(compiled_layer(9, 2, 8, backward))[0].source.count("[i] = t") for backward in (True, False))
    assert kept == lean + 4

"""Initial values: their statistics, and the numbers they are computed from."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

import jitorch
from jitorch.nn import init

SHAPE = (60, 50)


@pytest.fixture(autouse=True)
def same_numbers_every_time():
    jitorch.manual_seed(0)
    with jitorch.config.using(tier="reference"):
        yield


def is_uniform(tensor, bound: float, low: float | None = None) -> bool:
    low = -bound if low is None else low
    x = tensor.detach().numpy().ravel()
    return low <= x.min() and x.max() <= bound and stats.kstest(x, "uniform", (low, bound - low)).pvalue > 1e-3


def is_normal(tensor, std: float, mean: float = 0.0) -> bool:
    return stats.kstest(tensor.detach().numpy().ravel(), "norm", (mean, std)).pvalue > 1e-3


def test_uniform_and_normal():
    t = jitorch.empty(SHAPE)
    assert is_uniform(init.uniform_(t), 1.0, 0.0) and is_uniform(init.uniform_(t, -3, 2), 2.0, -3.0)
    assert is_normal(init.normal_(t), 1.0) and is_normal(init.normal_(t, 2.0, 0.5), 0.5, 2.0)
    assert not is_normal(init.uniform_(t), 0.3) and not is_uniform(init.normal_(t), 5.0)


def test_scaled_by_fans():
    t = jitorch.empty(40, 20, 3, 3)
    assert init._calculate_fan_in_and_fan_out(t) == (180, 360)
    assert is_uniform(init.xavier_uniform_(t, gain=2.0), 2 * math.sqrt(6 / 540))
    assert is_normal(init.xavier_normal_(t), math.sqrt(2 / 540))
    assert is_uniform(init.kaiming_uniform_(t, a=math.sqrt(5)), 1 / math.sqrt(180))
    assert is_uniform(init.kaiming_uniform_(t, mode="fan_out", nonlinearity="relu"), math.sqrt(6 / 360))
    assert is_normal(init.kaiming_normal_(t), math.sqrt(2 / 180))
    assert is_normal(init.kaiming_normal_(t, nonlinearity="tanh"), 5 / 3 / math.sqrt(180))


def test_defaults_of_layers():
    linear = jitorch.nn.Linear(64, 100)
    assert is_uniform(linear.weight, 1 / 8) and is_uniform(linear.bias, 1 / 8)
    conv = jitorch.nn.Conv2d(8, 50, 3)
    assert is_uniform(conv.weight, 1 / math.sqrt(72)) and is_uniform(conv.bias, 1 / math.sqrt(72))
    assert is_normal(jitorch.nn.Embedding(50, 40).weight, 1.0)
    lstm = jitorch.nn.LSTM(10, 16)
    assert all(is_uniform(p, 1 / 4) for p in lstm.parameters())
    attention = jitorch.nn.MultiheadAttention(32, 2)
    assert is_uniform(attention.in_proj_weight, math.sqrt(6 / 128)) and attention.in_proj_bias.abs().sum().item() == 0


def test_truncated_normal():
    t = init.trunc_normal_(jitorch.empty(100, 100), mean=0.5, std=2.0, a=-1.0, b=3.0)
    x = t.numpy().ravel()
    assert -1 <= x.min() and x.max() <= 3
    assert stats.kstest(x, stats.truncnorm((-1 - 0.5) / 2, (3 - 0.5) / 2, 0.5, 2.0).cdf).pvalue > 1e-3
    with pytest.warns(UserWarning, match="more than 2 std"):
        init.trunc_normal_(jitorch.empty(3), mean=9.0)


def test_fixed_values():
    t = jitorch.empty(2, 3)
    assert init.constant_(t, 3.5).tolist() == [[3.5] * 3] * 2 and init.ones_(t).tolist() == [[1] * 3] * 2
    assert init.zeros_(t).tolist() == [[0] * 3] * 2 and init.eye_(t).tolist() == [[1, 0, 0], [0, 1, 0]]


def test_dirac_passes_channels_through():
    t = init.dirac_(jitorch.empty(4, 2, 3, 3), groups=2)
    x = jitorch.randn(1, 4, 5, 5)
    assert jitorch.nn.functional.conv2d(x, t, padding=1, groups=2).tolist() == x.tolist()


@pytest.mark.parametrize("shape", [(5, 3), (3, 5), (4, 2, 3)])
def test_orthogonal(shape):
    q = init.orthogonal_(jitorch.empty(shape), gain=2.0).numpy().reshape(shape[0], -1)
    gram = q @ q.T if q.shape[0] <= q.shape[1] else q.T @ q
    np.testing.assert_allclose(gram, 4 * np.eye(len(gram)), atol=1e-5)


def test_sparse():
    t = init.sparse_(jitorch.empty(20, 6), sparsity=0.3, std=1.0)
    assert ((t == 0).sum(0) == 6).all()


@pytest.mark.parametrize(
    "name, param",
    [
        ("linear", None),
        ("conv_transpose2d", None),
        ("sigmoid", None),
        ("tanh", None),
        ("relu", None),
        ("leaky_relu", None),
        ("leaky_relu", 0.3),
        ("selu", None),
    ],
)
def test_gains(name, param):
    torch = pytest.importorskip("torch")
    assert init.calculate_gain(name, param) == torch.nn.init.calculate_gain(name, param)


@pytest.mark.parametrize(
    "call",
    [
        lambda i, t: i.calculate_gain("x"),
        lambda i, t: i.calculate_gain("leaky_relu", True),
        lambda i, t: i.xavier_uniform_(t.ones(3)),
        lambda i, t: i.kaiming_normal_(t.ones(3, 3), mode="x"),
        lambda i, t: i.eye_(t.ones(3)),
        lambda i, t: i.dirac_(t.ones(3)),
        lambda i, t: i.dirac_(t.ones(3, 3, 3), groups=2),
        lambda i, t: i.orthogonal_(t.ones(3)),
        lambda i, t: i.sparse_(t.ones(3), 0.5),
    ],
)
def test_errors(call):
    torch = pytest.importorskip("torch")
    caught = []
    for t in (jitorch, torch):
        with pytest.raises(ValueError) as error:
            call(t.nn.init, t)
        caught.append(str(error.value))
    assert caught[0] == caught[1]


def test_parameters_are_changed_outside_autograd_and_returned():
    p = jitorch.nn.Parameter(jitorch.ones(3, 3))
    for f in (
        init.uniform_,
        init.normal_,
        init.xavier_normal_,
        init.kaiming_uniform_,
        init.eye_,
        init.orthogonal_,
        init.trunc_normal_,
    ):
        assert f(p) is p and p.is_leaf and p.requires_grad


def test_old_names_warn():
    with pytest.warns(FutureWarning, match="`nn.init.xavier_uniform` is now deprecated"):
        init.xavier_uniform(jitorch.empty(2, 2))
    with pytest.warns(UserWarning, match="no-op"):
        init.kaiming_uniform_(jitorch.empty(0, 2))

"""Convolutions with fewer multiplications: against double precision, special values, what joins them, threads, the switch."""
from __future__ import annotations

import numpy as np
import pytest
from test_contraction import compiled_steps, with_threads

import jitorch
import jitorch.nn.functional as F
from jitorch import config
from jitorch.kernels.cpu import contraction
from jitorch.kernels.cpu.contraction import Tile

RNG = np.random.default_rng(0)
# batch, channels, height, width, rows of the result, padding
SIZES = [(2, 16, 8, 8, 16, 1), (2, 64, 20, 32, 64, 1), (1, 17, 13, 15, 19, 0), (3, 16, 40, 70, 24, 1), (1, 300, 9, 14, 23, 2), (2, 16, 61, 67, 29, 0)]


def random(*shape) -> np.ndarray:
    return RNG.standard_normal(shape).astype(np.float32)


def convolved(x: np.ndarray, w: np.ndarray, padding: int) -> np.ndarray:
    """The definition, in double precision."""
    x = np.pad(x.astype(np.float64), [(0, 0), (0, 0), (padding, padding), (padding, padding)])
    seen = np.lib.stride_tricks.sliding_window_view(x, (3, 3), (2, 3))
    with np.errstate(invalid="ignore"):
        return np.einsum("nchwij,ocij->nohw", seen, w.astype(np.float64))


def on(x: np.ndarray, w: np.ndarray, padding: int, winograd: bool = True) -> np.ndarray:
    with config.using(tier="compiled", winograd=winograd):
        return F.conv2d(jitorch.from_numpy(x), jitorch.from_numpy(w), padding=padding).numpy()


def kernel_names(make) -> list[str]:
    return [step.kernel.name for step in compiled_steps(make)]


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_rounds_like_a_plain_sum(size):
    n, c, height, width, o, padding = size
    x, w = random(n, c, height, width), random(o, c, 3, 3)
    right = convolved(x, w, padding)
    fast, plain = (np.abs(on(x, w, padding, winograd) - right).max() for winograd in (True, False))
    assert fast <= 1e-6 * np.abs(right).max() and fast <= 3 * plain


@pytest.mark.parametrize("other", [Tile((4,), 3, 8), Tile((8, 4), 2, 4)])
def test_tiles_of_other_processors(monkeypatch, other):
    monkeypatch.setattr(contraction, "tile", lambda dtype: other)
    x, w = random(1, 18, 12, 30), random(21, 18, 3, 3)
    right = convolved(x, w, 1)
    assert np.abs(on(x, w, 1) - right).max() <= 1e-6 * np.abs(right).max()


@pytest.mark.parametrize("size", SIZES[:4], ids=str)
def test_gradients(size):
    torch = pytest.importorskip("torch")
    n, c, height, width, o, padding = size
    x, w = random(n, c, height, width), random(o, c, 3, 3)

    def gradients(lib, functional):
        a, b = (lib.from_numpy(v.copy()).requires_grad_(True) for v in (x, w))
        y = functional.conv2d(a, b, padding=padding)
        (y * y).sum().backward()
        return [v.grad.numpy() for v in (a, b)]
    with config.using(tier="compiled"):
        got = gradients(jitorch, F)
    for mine, theirs in zip(got, gradients(torch, torch.nn.functional), strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-5, atol=1e-5 * np.abs(theirs).max())


@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan, 3e38])
def test_special_values_are_those_of_the_definition(value):
    """Also of sums that the transforms would overflow in."""
    x, w = random(2, 16, 11, 18), random(20, 16, 3, 3) / 10
    w[3, 5] = 0
    w[4, 6, 1, 1] = 0
    for place in ((0, 5, 0, 0), (0, 6, 10, 17), (1, 2, 4, 7), (1, 2, 4, 8), (1, 3, 5, 8)):
        x[place] = value
    with np.errstate(over="ignore"):
        right = convolved(x, w, 1).astype(np.float32)
    got = on(x, w, 1)
    finite = np.isfinite(right)
    np.testing.assert_array_equal(got[~finite], right[~finite])
    assert np.isfinite(got[finite]).all()
    if not abs(value) < np.inf:     # nothing leaks from one patch into another
        clean = on(np.nan_to_num(x, nan=0, posinf=0, neginf=0), w, 1)
        assert np.abs(got - clean)[finite].max() < 1e-4


def test_weights_may_be_special_too():
    x, w = random(1, 16, 9, 16), random(20, 16, 3, 3)
    w[3, 5, 1, 2], w[7, 2, 0, 0] = np.inf, np.nan
    got, right = on(x, w, 1), convolved(x, w, 1)
    special = ~np.isfinite(right)
    assert special.any() and (np.isfinite(got) == ~special).all()
    np.testing.assert_array_equal(got[special], right[special].astype(np.float32))


def test_what_follows_joins_and_the_weights_are_transformed_once():
    x, w, bias = jitorch.ones(2, 16, 12, 12), jitorch.ones(16, 16, 3, 3), jitorch.ones(16)
    jitorch.ones(1).item()
    assert kernel_names(lambda: F.relu(F.conv2d(x, w, bias))) == ["weights", "contract"]


@pytest.mark.parametrize("options", [dict(stride=2), dict(dilation=2), dict(groups=2)], ids=str)
def test_other_convolutions_keep_their_multiplications(options):
    x, w = jitorch.ones(2, 32, 16, 16), jitorch.ones(32, 32 // options.get("groups", 1), 3, 3)
    jitorch.ones(1).item()
    assert kernel_names(lambda: F.conv2d(x, w, **options)) == ["contract"]


def test_the_switch():
    x, w = random(1, 16, 16, 16), random(16, 16, 3, 3)
    fast, plain, again = (on(x, w, 1, winograd) for winograd in (True, False, True))
    assert (fast == again).all() and (fast != plain).any()


def test_the_bits_do_not_depend_on_the_number_of_threads():
    x, w = jitorch.from_numpy(random(3, 32, 30, 30)), jitorch.from_numpy(random(32, 32, 3, 3))
    results = with_threads(lambda: F.relu(F.conv2d(x, w, padding=1)))
    assert all((r == results[0]).all() for r in results)

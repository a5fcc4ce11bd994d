"""Tensors print as PyTorch's, to the character."""

from __future__ import annotations

import numpy as np
import pytest

import jitorch

torch = pytest.importorskip("torch")

DTYPES = ("float32", "float64", "int64", "int32", "int16", "int8", "uint8", "bool")


def random_array(rng) -> np.ndarray:
    """An array with the kinds of values that change how it prints."""
    shape = tuple(rng.integers(0, 6, rng.integers(0, 5)).tolist())
    if rng.random() < 0.3:
        shape = tuple(rng.choice([1, 2, 7, 12, 40], rng.integers(1, 4)).tolist())
    dtype = DTYPES[rng.integers(len(DTYPES))] if rng.random() < 0.5 else "float32"
    if not dtype.startswith("float"):
        return rng.integers(0, 2 if dtype == "bool" else 120, shape).astype(dtype)
    values = rng.normal(size=shape) * 10.0 ** rng.integers(-7, 11)
    kind = rng.integers(6)
    if kind == 0:
        values = np.round(values)
    elif kind == 1:
        values = values * 10.0 ** rng.integers(-3, 4, shape)
    values = np.array(values, dtype=dtype)
    if values.size:
        for special in (np.nan, np.inf, -np.inf, 0.0, -0.0):
            if rng.random() < 0.15:
                values.reshape(-1)[rng.integers(values.size)] = special
    return values


@pytest.mark.parametrize("seed", range(60))
def test_prints_as_torch(seed):
    rng = np.random.default_rng(seed)
    for _ in range(8):
        a = random_array(rng)
        assert repr(jitorch.tensor(a)) == repr(torch.tensor(a)), (a.shape, a.dtype)


@pytest.mark.parametrize(
    "changes",
    [
        {"precision": 2},
        {"threshold": 5},
        {"edgeitems": 1, "threshold": 10},
        {"linewidth": 40},
        {"sci_mode": True},
        {"sci_mode": False},
        {"profile": "short"},
        {"profile": "full"},
        {"edgeitems": 0, "threshold": 4},
    ],
)
def test_options(changes):
    rng = np.random.default_rng(5)
    with jitorch.printoptions(**changes), torch._tensor_str.printoptions(**changes):
        for _ in range(40):
            a = random_array(rng)
            assert repr(jitorch.tensor(a)) == repr(torch.tensor(a)), (a.shape, a.dtype)
    assert jitorch.get_printoptions() == torch._tensor_str.get_printoptions()


def suffixed(t):
    x = t.arange(3.0, requires_grad=True)
    wide = t.arange(30.0, requires_grad=True)
    return [
        x,
        x * 2,
        x.sum(),
        wide,
        wide.exp(),
        t.zeros(0),
        t.zeros(0, 3),
        t.zeros(0, dtype=t.int64),
        t.zeros(2, 0, dtype=t.bool),
        t.ones(2, dtype=t.float64),
        x.double(),
        t.zeros(3, 2000),
        t.ones(2, 3).t(),
        t.max(t.ones(2, 2), 0),
    ]


@pytest.mark.parametrize("i", range(14))
def test_suffixes(i):
    assert repr(suffixed(jitorch)[i]) == repr(suffixed(torch)[i])


def test_default_dtype_is_left_out():
    jitorch.set_default_dtype(jitorch.float64)
    torch.set_default_dtype(torch.float64)
    try:
        for t in (jitorch.float32, jitorch.float64):
            assert repr(jitorch.ones(2, dtype=t)) == repr(torch.ones(2, dtype=getattr(torch, t.name)))
    finally:
        jitorch.set_default_dtype(jitorch.float32)
        torch.set_default_dtype(torch.float32)


def test_str_format_and_0d():
    for value in (1.5, 3, True):
        assert str(jitorch.tensor(value)) == str(torch.tensor(value))
    assert f"{jitorch.tensor(1.23456):.2f}" == "1.23"


def test_subclass_prints_its_name():
    class Mine(jitorch.Tensor):
        pass

    x = jitorch.ones(2)
    x.__class__ = Mine
    assert repr(x) == "Mine([1., 1.])"

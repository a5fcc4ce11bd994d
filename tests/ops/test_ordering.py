"""Selections that look at groups first, and distinct integers that are counted, against NumPy's sorts."""
import numpy as np
import pytest

import jitorch
from jitorch.ops.ordering import topk_reference


@pytest.mark.parametrize("largest", [True, False])
@pytest.mark.parametrize("n, k", [(9, 1), (100, 1), (100, 12), (1000, 3), (1003, 60), (5000, 50), (5000, 600)])
def test_topk_of_long_lines(n, k, largest):
    random = np.random.default_rng(n + k)
    real = random.standard_normal((4, n)).astype(np.float32)
    special = np.where(random.random((4, n)) < 0.3, np.array([np.nan, np.inf, -np.inf, 0.0], np.float32)[random.integers(0, 4, (4, n))], real)
    special[0] = np.nan
    for x in (real, special, random.integers(-3, 3, (4, n))):
        ordered = np.sort(x, 1)         # NaN last
        right = ordered[:, ::-1][:, :k] if largest else ordered[:, :k]
        for dim, given in ((1, x), (0, np.ascontiguousarray(x.T))):
            values, index = topk_reference(given, k, dim, largest)
            np.testing.assert_array_equal(np.moveaxis(values, dim, 1), right)
            np.testing.assert_array_equal(np.take_along_axis(given, index, dim), values)
            assert all(len(set(line)) == k for line in np.moveaxis(index, dim, 1))


@pytest.mark.parametrize("dtype", ["bool", "uint8", "int8", "int64", "float32"])
def test_unique_of_close_and_of_distant_values(dtype):
    random = np.random.default_rng(0)
    for n, high in ((0, 2), (1, 2), (300, 2), (300, 100), (40, 1 << 40)):
        if dtype in ("bool", "uint8", "int8") and high > 100:
            continue
        a = (random.integers(0, high, n) - (0 if dtype in ("bool", "uint8") else high // 2)).astype(dtype)
        values, inverse, counts = np.unique(a, return_inverse=True, return_counts=True)
        for inverted in (False, True):
            found = jitorch.unique(jitorch.tensor(a.reshape(-1, 1)), return_inverse=inverted, return_counts=True)
            assert found[0].dtype is getattr(jitorch, dtype) and found[0].tolist() == values.tolist() and found[-1].tolist() == counts.tolist()
            if inverted:
                assert found[1].tolist() == inverse.reshape(-1, 1).tolist()
        assert jitorch.unique(jitorch.tensor(a)).tolist() == values.tolist()


def test_unique_of_the_extremes():
    a = jitorch.tensor([2 ** 63 - 1, -(2 ** 63), 2 ** 63 - 1])
    assert jitorch.unique(a).tolist() == [-(2 ** 63), 2 ** 63 - 1] and jitorch.unique(a[::2]).tolist() == [2 ** 63 - 1]

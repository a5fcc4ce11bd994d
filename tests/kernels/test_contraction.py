"""Contractions: every layout against NumPy in double precision, tiles of other processors, blocks, what joins a product."""
from __future__ import annotations

import numpy as np
import pytest

import jitorch
import jitorch.nn.functional as F
from jitorch import config
from jitorch.graph.record import flush
from jitorch.kernels.cpu import contraction, executor
from jitorch.kernels.cpu.contraction import Tile, blocks_of, offsets, pieces, run_length

RNG = np.random.default_rng(0)
SHAPES = [(1, 1, 1), (3, 5, 7), (12, 32, 16), (13, 33, 17), (64, 64, 48), (65, 67, 49), (97, 401, 31), (130, 50, 800), (2, 37, 100), (8, 70, 65)]
TOLERANCE = {np.float32: 2e-6, np.float64: 2e-15}


def operand(rows: int, columns: int, layout: str, dtype) -> np.ndarray:
    """A matrix that lies in rows, in columns, with gaps, or the other way round in both directions."""
    if layout == "columns":
        return np.ascontiguousarray(operand(columns, rows, "rows", dtype)).T
    if layout == "gaps":
        return RNG.standard_normal((2 * rows, 3 * columns)).astype(dtype)[::2, ::3]
    return RNG.standard_normal((rows, columns)).astype(dtype)


def on_jitorch(x: np.ndarray):
    """The same values with the same strides."""
    base = x
    while base.base is not None:
        base = base.base
    steps = [s // x.itemsize for s in x.strides]
    return jitorch.from_numpy(base).reshape(-1).as_strided(x.shape, steps)


def close(got, right: np.ndarray, dtype, depth: int) -> None:
    scale = np.abs(right).max() + np.sqrt(depth)
    assert np.abs(got.numpy() - right).max() <= TOLERANCE[dtype] * scale


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("left", ["rows", "columns", "gaps"])
@pytest.mark.parametrize("right", ["rows", "columns", "gaps"])
def test_layouts(left, right, dtype):
    with config.using(tier="compiled"):
        for m, n, k in SHAPES:
            a, b = operand(m, k, left, dtype), operand(k, n, right, dtype)
            close(on_jitorch(a) @ on_jitorch(b), a.astype(np.float64) @ b.astype(np.float64), dtype, k)


@pytest.mark.parametrize("shapes", [((4, 3, 17, 19), (4, 3, 19, 21)), ((4, 1, 17, 19), (1, 3, 19, 21)), ((17, 19), (3, 19, 21)),
                                    ((3, 17, 19), (19, 21)), ((1, 3, 17, 19), (5, 1, 19, 21)), ((3, 1, 40), (3, 40, 50)), ((2, 3, 4, 9, 1), (1, 1, 1, 1, 8))])
def test_batches_broadcast(shapes):
    a, b = (RNG.standard_normal(s).astype(np.float32) for s in shapes)
    with config.using(tier="compiled"):
        got = jitorch.from_numpy(a) @ jitorch.from_numpy(b)
        close(got, a.astype(np.float64) @ b.astype(np.float64), np.float32, a.shape[-1])


@pytest.mark.parametrize("m", [1, 2, 3, 8, 13, 16, 24, 40, 41])
@pytest.mark.parametrize("right", ["rows", "columns"])
def test_few_rows_by_a_matrix_that_no_cache_holds(m, right):
    """Streamed line by line, or in dot products of columns far apart; with an epilogue, and the same bits with any number of threads."""
    k, n = 516, 1120
    a, b = operand(m, k, "rows", np.float32), operand(k, n, right, np.float32)
    expected = np.maximum(a.astype(np.float64) @ b.astype(np.float64) + 1, 0)
    x, w = on_jitorch(a), on_jitorch(b)
    results = with_threads(lambda: F.relu(x @ w + 1))
    assert np.abs(results[0] - expected).max() <= 2e-6 * (np.abs(expected).max() + np.sqrt(k))
    assert all((r == results[0]).all() for r in results)


@pytest.mark.parametrize("shape", [(64, 64, 20011), (10, 33, 9000), (1, 700, 3000), (13, 300, 3001), (200, 90, 1600)])
@pytest.mark.parametrize("left", ["rows", "columns"])
def test_long_sums_are_split_and_added_in_order(shape, left):
    m, n, k = shape
    a, b = operand(m, k, left, np.float32), operand(k, n, "rows", np.float32)
    x, y = on_jitorch(a), on_jitorch(b)
    results = with_threads(lambda: (x @ y).abs() + 1)
    close(jitorch.from_numpy(results[0]), np.abs(a.astype(np.float64) @ b.astype(np.float64)) + 1, np.float32, k)
    assert all((r == results[0]).all() for r in results)


def test_several_threads_have_work_with_long_sums_of_a_small_result():
    a, b = jitorch.ones(64, 50000), jitorch.ones(50000, 64)
    jitorch.ones(1).item()
    step, = compiled_steps(lambda: a @ b)
    assert step.kernel.units >= 4 and step.kernel.finish


@pytest.mark.parametrize("rows", [1030, 1031, 2500])
def test_a_long_matrix_by_a_vector_is_a_contraction(rows):
    a, v = operand(rows, 130, "rows", np.float32), operand(130, 1, "rows", np.float32)[:, 0]
    x, y = on_jitorch(a), on_jitorch(v)
    step, = compiled_steps(lambda: x @ y)
    assert step.kernel.name == "contract"
    for got, right in ((x @ y, a.astype(np.float64) @ v), (y @ x.T, v @ a.astype(np.float64).T), (x.reshape(2, -1, 130) @ y if rows % 2 == 0 else x @ y, None)):
        with config.using(tier="compiled"):
            close(got.reshape(-1), a.astype(np.float64) @ v if right is None else right, np.float32, 130)


@pytest.mark.parametrize("other", [Tile((4,), 3, 8), Tile((8, 4), 2, 4), Tile((4,), 1, 16)])
def test_tiles_of_other_processors(monkeypatch, other):
    monkeypatch.setattr(contraction, "tile", lambda dtype: other)
    with config.using(tier="compiled"):
        for m, n, k in [(13, 33, 17), (70, 41, 500)]:
            a, b = operand(m, k, "rows", np.float32), operand(k, n, "columns", np.float32)
            close(on_jitorch(a) @ on_jitorch(b) + 0, a.astype(np.float64) @ b.astype(np.float64), np.float32, k)


CONVOLUTIONS = [dict(), dict(padding=1), dict(stride=2, padding=2), dict(stride=(1, 3)), dict(groups=3), dict(groups=6), dict(dilation=2),
                dict(stride=3, dilation=2), dict(stride=2, dilation=2, padding=1)]


@pytest.mark.parametrize("sizes", [(14, 13), (32, 32), (7, 9)])
@pytest.mark.parametrize("options", CONVOLUTIONS, ids=str)
def test_convolutions_and_their_gradients(options, sizes):
    torch = pytest.importorskip("torch")
    x = RNG.standard_normal((3, 6, *sizes)).astype(np.float32)
    w = RNG.standard_normal((12, 6 // options.get("groups", 1), 3, 3)).astype(np.float32)

    def outcome(lib, functional):
        a, b = (lib.from_numpy(v.copy()).requires_grad_(True) for v in (x, w))
        y = functional.conv2d(a, b, **options)
        (y * y).sum().backward()
        return [v.detach().numpy() for v in (y, a.grad, b.grad)]
    with config.using(tier="compiled"):
        got = outcome(jitorch, F)
    for mine, theirs in zip(got, outcome(torch, torch.nn.functional), strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-5, atol=1e-5 * np.abs(theirs).max())


@pytest.mark.parametrize("name", ["float16", "bfloat16"])
def test_products_of_half_precision_are_kernels(name):
    """Summed in float32 and rounded once, from rows and from columns; vectors; a convolution."""
    half = getattr(jitorch, name)
    a, b, v = (jitorch.from_numpy(RNG.standard_normal(s).astype(np.float32)).to(half) for s in ((37, 70), (70, 41), (70,)))
    x, w = (jitorch.from_numpy(RNG.standard_normal(s).astype(np.float32)).to(half) for s in ((2, 5, 9, 9), (6, 5, 3, 3)))
    flush()

    def double(t):
        return t.float().numpy().astype(np.float64)
    for make, right in ((lambda: a @ b, double(a) @ double(b)), (lambda: b.t() @ a.t(), double(b).T @ double(a).T), (lambda: a @ v, double(a) @ double(v)),
                        (lambda: F.conv2d(x, w), F.conv2d(x.double(), w.double()).numpy())):
        steps = compiled_steps(make)
        assert all(hasattr(s, "kernel") for s in steps)
        got = make()
        assert got.dtype is half
        assert np.abs(double(got) - right).max() <= float(jitorch.finfo(half).eps) * np.abs(right).max()


@pytest.mark.parametrize("name", ["float16", "bfloat16"])
def test_half_precision_is_read_exactly_and_rounded_to_even(name):
    torch = pytest.importorskip("torch")
    bits = np.arange(65536).astype(np.uint16).view(np.int16)
    every = torch.from_numpy(bits).view(getattr(torch, name)).float().numpy()
    every = np.where(np.isfinite(every), every, 0).astype(np.float32)
    half = getattr(jitorch, name)
    x, one = jitorch.from_numpy(every.reshape(256, 256)).to(half), jitorch.eye(256).to(half)
    with config.using(tier="compiled"):
        np.testing.assert_array_equal((x @ one).float().numpy(), every.reshape(256, 256))
        # one product and a zero: rounded once, from what is exact in float32
        a, b = every[RNG.permutation(65536)[:300]], every[RNG.permutation(65536)[:300]]
        left, right = np.zeros((300, 2), np.float32), np.zeros((2, 300), np.float32)
        left[:, 0], right[0] = a, b
        got = (jitorch.from_numpy(left).to(half) @ jitorch.from_numpy(right).to(half)).float().numpy()
    with np.errstate(over="ignore"):
        expected = torch.from_numpy(np.outer(a, b)).to(getattr(torch, name)).float().numpy()
    np.testing.assert_array_equal(got, expected)


def compiled_steps(make):
    """The kernels of the one program that `make` records."""
    from jitorch.graph.measure import recording
    with config.using(tier="compiled"):
        flush()
        with recording() as costs:
            kept = make()
            flush()
        assert kept is not None
    return [step for cost in costs for step in cost.steps]


def test_what_follows_a_product_joins_its_kernel():
    x, w, bias = jitorch.ones(5, 40, 70), jitorch.ones(50, 70), jitorch.ones(50)
    residual = jitorch.ones(5, 40, 50)
    flush()
    steps = compiled_steps(lambda: F.gelu(F.linear(x, w, bias)) * 2 + residual)
    assert [s.kernel.name for s in steps] == ["contract"]


def test_what_follows_a_convolution_joins_its_kernel():
    x, w, bias, scale = jitorch.ones(2, 8, 12, 12), jitorch.ones(16, 8, 3, 3), jitorch.ones(16), jitorch.ones(1, 16, 1, 1)
    flush()
    steps = compiled_steps(lambda: F.relu(F.conv2d(x, w, bias) * scale))
    assert [s.kernel.name for s in steps] == ["contract"]


def test_two_products_of_other_sizes_share_every_source():
    def sources(m, n, k):
        a, b = jitorch.ones(m, k), jitorch.ones(k, n)
        flush()
        step, = compiled_steps(lambda: F.relu(a @ b))
        return step.sources
    assert sources(50, 70, 90) == sources(300, 41, 1000)


def with_threads(make) -> list[np.ndarray]:
    """The values of what `make` records, computed by 1, 2 and 5 threads."""
    before = executor.get_num_threads()
    results = []
    try:
        for threads in (1, 2, 5):
            executor.set_num_threads(threads)
            with config.using(tier="compiled"):
                results.append(make().numpy())
    finally:
        executor.set_num_threads(before)
    return results


def test_the_bits_do_not_depend_on_the_number_of_threads():
    a, b = (jitorch.from_numpy(RNG.standard_normal((700, 700)).astype(np.float32)) for _ in range(2))
    results = with_threads(lambda: a @ b)
    assert all((r == results[0]).all() for r in results)


def test_nan_and_infinity_stay_in_their_rows_and_columns():
    a, b = np.ones((14, 20), np.float32), np.ones((20, 37), np.float32)
    a[3, 5], b[7, 11] = np.nan, np.inf
    with config.using(tier="compiled"):
        got = (jitorch.from_numpy(a) @ jitorch.from_numpy(b)).numpy()
    np.testing.assert_array_equal(got, a @ b)


def test_blocks_cover_everything_and_give_threads_work():
    t = Tile((12, 8, 4), 2, 16)
    for batch, m, n, k in [(1, 1024, 1024, 1024), (1, 7, 5000, 3000), (16, 64, 1024, 576), (1, 50, 70, 90), (1, 64, 576, 16384)]:
        b = blocks_of(batch, m, n, k, t)
        assert (b.row_blocks - 1) * b.rows < m <= b.row_blocks * b.rows and (b.column_blocks - 1) * b.columns < n <= b.column_blocks * b.columns
        assert b.columns % t.columns == 0 and b.depth % 4 == 0
        if batch * m * n * k > 8 * contraction.LONG and max(m, n) >= 128:
            assert batch * b.row_blocks * b.column_blocks >= 2


def test_pieces_cover_every_element_once_or_with_the_same_value():
    dims = [(3, 100), (5, 14), (13, 1)]
    table = offsets(dims)
    assert run_length(dims) == 13 and len(table) == 195
    lists, kinds = pieces(table, 32), len(contraction.WIDTHS) + 1
    for group in range(-(-len(table) // 32)):
        wanted = table[32 * group:32 * group + 32]
        found = np.full(32, -1)
        ends = lists[group * kinds:(group + 1) * kinds]
        for width, begin, end in zip(contraction.WIDTHS, ends, ends[1:], strict=False):
            for p in range(begin, end, 2):
                to, source = lists[p], lists[p + 1]
                assert 0 <= to and to + width <= len(wanted)
                found[to:to + width] = np.arange(source, source + width)
        assert (found[:len(wanted)] == wanted).all()


def test_offsets_of_no_dimensions_is_one_zero():
    assert offsets([]).tolist() == [0] and offsets([(2, 10), (3, -1)]).tolist() == [0, -1, -2, 10, 9, 8]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", [(300, 203, 70), (203, 301, 900), (3, 150, 130, 40)])
def test_what_is_read_beside_a_product_is_asked_for_before(shape, dtype):
    """Operands of a whole product's size, of every layout: more than the nearest cache holds, so that their memory is asked for early."""
    *batch, m, n, k = shape
    a, b = RNG.standard_normal((*batch, m, k)).astype(dtype), RNG.standard_normal((*batch, k, n)).astype(dtype)
    along, across, row = (RNG.standard_normal(x).astype(dtype) for x in ((*batch, m, n), (*batch, n, m), (n,)))
    keep = RNG.random((*batch, m, n)) < 0.5
    with config.using(tier="compiled"):
        x, y, p, q, r, mask = (jitorch.tensor(v) for v in (a, b, along, across, row, keep))
        product = x @ y
        results = [jitorch.where(mask, product + p * r, q.mT), product * 2]
        flush()
    right = a.astype(np.float64) @ b.astype(np.float64)
    close(results[0], np.where(keep, right + along.astype(np.float64) * row, across.swapaxes(-1, -2)), dtype, k)
    close(results[1], 2 * right, dtype, k)

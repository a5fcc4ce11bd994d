"""The loops that the code generator writes: layouts, the order of sums, sizes past 2**31, what a source may depend on."""
import subprocess
import sys

import numpy as np
import pytest

import jitorch as torch
import jitorch.nn.functional as F
from jitorch import config
from jitorch.graph.record import flush
from jitorch.kernels.cpu import compiler, loader, scans, templates

rng = np.random.default_rng(0)


@pytest.fixture(autouse=True)
def compiled():
    with config.using(tier="compiled"):
        yield


def made(array):
    """A tensor in memory that no NumPy code holds, so that what follows is one program."""
    x = torch.tensor(array).clone()
    flush()
    return x


# -- operands that lie across ------------------------------------------------------------------------------------------
@pytest.mark.parametrize("dtype", ["float32", "float64", "int8", "int16", "int32", "int64", "uint8", "bool"])
def test_transposed_operands_of_every_width(dtype):
    for m, n in [(1, 9), (8, 8), (9, 64), (65, 15), (64, 129), (131, 66)]:
        a = (rng.standard_normal((m, n)) * 50).astype(dtype)
        b = (rng.standard_normal((n, m)) * 50).astype(dtype)
        np.testing.assert_array_equal(made(b).t().contiguous().numpy(), b.T)
        np.testing.assert_array_equal((made(a) + made(b).t()).numpy(), a + b.T)


def test_every_permutation_of_a_map_and_of_a_reduction():
    import itertools
    a = rng.standard_normal((5, 9, 17, 33)).astype("float32")
    x = made(a)
    choices = ((0,), (3,), (0, 2, 3), (1, 2))
    for i, p in enumerate(itertools.permutations(range(4))):
        y, b = x.permute(p), a.transpose(p)
        np.testing.assert_array_equal((y * 2).numpy(), b * 2)
        for dims in choices:
            np.testing.assert_allclose(y.sum(dims).numpy(), b.sum(dims, dtype="float64"), rtol=1e-5, atol=1e-5)
        dims = choices[i % 4]       # the loops are a sum's
        np.testing.assert_array_equal(y.amax(dims).numpy(), b.max(dims))
        np.testing.assert_array_equal(y.argmax(1).numpy(), b.argmax(1))


def test_an_operand_that_lies_across_is_not_copied_first():
    from tests.test_engine import kernels
    x, y = made(np.ones((40, 50), np.float32)), made(np.ones((50, 40), np.float32))
    assert kernels(lambda: (x + y.t()).exp()) == 1


def test_a_view_across_what_a_reduction_writes_is_turned_first():
    from tests.test_engine import program_of
    real = pytest.importorskip("torch")
    a = rng.standard_normal((3, 70, 90)).astype(np.float32)
    x = made(a)

    def names(function):
        return [s.kernel.name for s in program_of(lambda: function(x)).steps]
    for dim in (1, 2):
        def turned(x, dim=dim):
            return (x * 2).transpose(1, 2).softmax(dim) + x.transpose(1, 2)
        shape = "row" if dim == 2 else "column"
        assert names(lambda x, dim=dim: x.transpose(1, 2).softmax(dim)) == ["map", shape]
        assert sorted(names(turned)) == [*(["column"] if shape == "column" else []), "map", "map", "map", *(["row"] if shape == "row" else [])]
        np.testing.assert_allclose(turned(made(a)).numpy(), turned(real.from_numpy(a)).numpy(), rtol=1e-5)
    assert names(lambda x: x.transpose(1, 2).var(1)) == ["row"]             # nothing of its size is written
    assert names(lambda x: x.transpose(0, 1).softmax(2)) == ["row"]         # runs along what is written


# -- sums --------------------------------------------------------------------------------------------------------------
SUMS = {
    "all": lambda x: x.sum(),
    "rows": lambda x: x.reshape(10, -1).sum(1),
    "columns": lambda x: x.reshape(-1, 10).sum(0),
    "variance": lambda x: x.var(),
    "variance of columns": lambda x: x.reshape(-1, 10).var(0),
    "running": lambda x: x.cumsum(0)[-1],
    "logsumexp": lambda x: x.logsumexp(0),
    "norm": lambda x: x.norm(),
}


@pytest.mark.parametrize("shape", [(30, 50), (70, 9), (3, 65, 130)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int64, np.bool_])
def test_results_that_lie_across_one_another_come_of_one_pass(shape, dtype):
    """What reads the same memory is one kernel, whatever the layout of its results."""
    data = rng.integers(0, 2 if dtype is np.bool_ else 100, shape).astype(dtype)
    x = made(data)
    across, along, more = ~x.mT if dtype is np.bool_ else x.mT * 2, x == 0, x.mT != 0
    flush()
    np.testing.assert_array_equal(across.numpy(), ~data.swapaxes(-1, -2) if dtype is np.bool_ else 2 * data.swapaxes(-1, -2))
    np.testing.assert_array_equal(along.numpy(), data == 0)
    np.testing.assert_array_equal(more.numpy(), data.swapaxes(-1, -2) != 0)


@pytest.mark.parametrize("name", SUMS)
def test_sums_of_ten_million_elements_are_as_exact_as_torch_s(name):
    real = pytest.importorskip("torch")
    a = np.random.default_rng(1).standard_normal(10_000_000).astype(np.float32)
    exact = SUMS[name](real.from_numpy(a.astype(np.float64))).numpy()
    scale = np.abs(exact) + (np.abs(a, dtype=np.float64).sum() * 1e-3 if name in ("all", "rows", "columns", "running") else 0)

    def error(found):
        return float((np.abs(found.astype(np.float64) - exact) / scale).max())
    theirs, ours = error(SUMS[name](real.from_numpy(a)).numpy()), error(SUMS[name](made(a)).numpy())
    assert ours <= max(theirs, 2.0 ** -23)


def test_the_same_bits_with_any_number_of_threads():
    a, index = rng.standard_normal((700, 1301)).astype(np.float32), rng.integers(0, 50, 700)

    def results():
        x, i = made(a), made(index)
        return [f.numpy().tobytes() for f in (
            x.sum(), x.sum(0), x.sum(1), x.var(0), x.var(), F.softmax(x, 0), F.softmax(x, 1), x.cumsum(0), x.cumsum(1), x.t().sum(1),
            torch.zeros(50, 1301).index_add(0, i, x), x.logcumsumexp(1), F.cross_entropy(x, i))]
    before = torch.get_num_threads()
    try:
        found = []
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            found.append(results())
    finally:
        torch.set_num_threads(before)
    assert found[0] == found[1] == found[2]


# -- values that are kept for a later loop -----------------------------------------------------------------------------
def test_exponentials_of_a_row_are_computed_once():
    from tests.test_engine import program_of
    x = made(np.ones((7, 9), np.float32))
    source, = [s.kernel.source for s in program_of(lambda: F.softmax(x, 1)).steps]
    assert source.count("exp_f32(") == 1


def test_a_kept_value_is_not_overwritten_too_early():
    real = pytest.importorskip("torch")
    a, g = rng.standard_normal((2, 33, 70)).astype(np.float32)
    for dim in (0, 1):
        x, t = made(a).requires_grad_(True), real.tensor(a, requires_grad=True)
        y, z = F.softmax(x, dim), real.softmax(t, dim)
        y.backward(made(g))
        z.backward(real.from_numpy(g))
        np.testing.assert_allclose(y.detach().numpy(), z.detach().numpy(), rtol=1e-5)
        np.testing.assert_allclose(x.grad.numpy(), t.grad.numpy(), rtol=1e-4, atol=1e-7)


def test_a_value_of_a_row_is_not_put_into_the_loop_before():
    """The place of a window's maximum is known after its loop only."""
    real = pytest.importorskip("torch")
    a, g = rng.standard_normal((2, 3, 8, 10)).astype(np.float32), rng.standard_normal((2, 3, 4, 5)).astype(np.float32)
    x, t = made(a).requires_grad_(True), real.tensor(a, requires_grad=True)
    F.max_pool2d(x, 2).backward(made(g))
    real.nn.functional.max_pool2d(t, 2).backward(real.from_numpy(g))
    np.testing.assert_array_equal(x.grad.numpy(), t.grad.numpy())


WINDOWS = [((2, 2), {}), ((2, 3), {}), ((3, 3), {"stride": 2, "padding": 1}), ((3, 2), {"stride": (1, 2), "padding": 1}), ((2, 2), {"stride": 3}),
           ((2, 2), {"stride": 1, "dilation": 2}), ((3, 3), {"stride": 2, "ceil_mode": True}), ((5, 5), {"stride": 3, "padding": 2}),
           ((4, 4), {"stride": 4, "ceil_mode": True})]


@pytest.mark.parametrize("kernel, how", WINDOWS)
@pytest.mark.parametrize("contents", ["normal", "equal", "nan", "lowest"])
def test_max_pooling_and_its_gradient(kernel, how, contents):
    real = pytest.importorskip("torch")
    for shape in ((2, 3, 12, 40), (1, 2, 9, 11)):
        a = rng.standard_normal(shape).astype("float32")
        if contents == "equal":
            a = np.round(a)
        elif contents == "nan":
            a[a > 1] = np.nan
        elif contents == "lowest":
            a[a < 0.7] = -np.inf
        x, t = made(a).requires_grad_(), real.from_numpy(a).requires_grad_()
        values, index = F.max_pool2d(x, kernel, return_indices=True, **how)
        expected, places = real.nn.functional.max_pool2d(t, kernel, return_indices=True, **how)
        g = rng.standard_normal(tuple(expected.shape)).astype("float32")
        expected.backward(real.from_numpy(g))
        values.backward(made(g))
        np.testing.assert_array_equal(values.detach().numpy(), expected.detach().numpy())
        np.testing.assert_array_equal(index.numpy(), places.numpy())
        np.testing.assert_allclose(x.grad.numpy(), t.grad.numpy(), rtol=1e-6, atol=1e-6)


def test_max_pooling_s_gradient_writes_its_elements_in_one_kernel():
    from tests.test_engine import kernels
    x, g = made(np.ones((4, 3, 12, 12), np.float32)).requires_grad_(), made(np.ones((4, 3, 6, 6), np.float32))

    def step():
        x.grad = None
        F.max_pool2d(x, 2).backward(g)
        return x.grad
    assert kernels(step) == 1


# -- extremes ----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("dtype", ["float32", "float64", "int8", "int64", "uint8"])
def test_places_of_extremes(dtype):
    for n in (1, 2, 17, 1023, 1024, 1025, 3000):
        a = (rng.standard_normal((6, n)) * 9).astype(dtype)
        if dtype.startswith("float"):
            a[1], a[2, n // 2:], a[3], a[4, n - 1] = -np.inf, np.nan, np.inf, np.nan
        x = made(a)
        for name in ("argmax", "argmin"):
            np.testing.assert_array_equal(getattr(x, name)(1).numpy(), getattr(a, name)(1))
            np.testing.assert_array_equal(getattr(x, name)(0).numpy(), getattr(a, name)(0))
            assert getattr(x, name)().item() == getattr(a, name)()


# -- indices -----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("bad", [5, -6, 2 ** 40, -2 ** 62])
def test_rows_out_of_range_are_errors(bad):
    table = made(np.ones((5, 7), np.float32))
    for use in (lambda index: F.embedding(index, table), lambda index: table.index_add(0, index, torch.ones(3, 7))):
        with pytest.raises(IndexError):
            use(made(np.array([0, 4, bad])) * 1).numpy()


@pytest.mark.parametrize("target", [-2 ** 63, -2 ** 32, -1, 0, 3, 2 ** 31 - 1, 2 ** 31, 2 ** 32, 2 ** 63 - 1])
def test_an_index_compared_in_32_bits(target):
    """Whatever the other side is: 2**32 must not become 0."""
    column = made(np.array([[target]]))
    here = torch.arange(6).reshape(1, 6)
    for name in ("eq", "ne", "lt", "le", "gt", "ge"):
        want = getattr(np, {"eq": "equal", "ne": "not_equal", "lt": "less", "le": "less_equal", "gt": "greater", "ge": "greater_equal"}[name])
        np.testing.assert_array_equal(getattr(here, name)(column).numpy(), want(np.arange(6).reshape(1, 6), target))
        np.testing.assert_array_equal(getattr(column, name)(here).numpy(), want(target, np.arange(6).reshape(1, 6)))


# -- sizes past 2**31 --------------------------------------------------------------------------------------------------
def call(kernel, words, lo, hi):
    import ctypes
    run = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_ssize_t, ctypes.c_ssize_t)(loader.load(compiler.compile_kernel(kernel.source)))
    table = np.array([w.ctypes.data if isinstance(w, np.ndarray) else w for w in words], np.int64)
    run(table.ctypes.data, lo, hi)


SPARSE = """
import mmap, numpy as np, jitorch as torch
from jitorch import config
n = 2 ** 31 + 5000
memory = mmap.mmap(-1, n, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | 0x4000)     # MAP_NORESERVE
x = np.frombuffer(memory, np.int8)
x[n - 3], x[2 ** 31 + 1], x[7] = 5, 3, 1
t = torch.from_numpy(x)
with config.using(tier="compiled"):
    assert t.argmax().item() == n - 3
    assert t[2 ** 31:].sum().item() == 8
    assert t.reshape(-1, 4).amax(0).tolist() == [0, 5, 0, 1] if n % 4 == 0 else True
    column = t.as_strided((3, 2), (2 ** 30, 1), 1)
    assert (column * 2).tolist() == [[0, 0], [0, 0], [6, 0]]
    assert t.as_strided((2, 20), (1, 2 ** 26), 2 ** 31 - 19 * 2 ** 26).t().contiguous()[19].tolist() == [0, 3]
    assert t[torch.tensor([n - 3, 2 ** 31 + 1, 7])].tolist() == [5, 3, 1]
print("done")
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="a mapping that reserves no memory")
def test_more_than_two_to_the_31_elements():
    """Over a mapping whose pages are zero until they are written."""
    done = subprocess.run([sys.executable, "-c", SPARSE], capture_output=True, text=True)
    assert done.stdout.strip() == "done", done.stderr


def test_sources_hold_no_sizes():
    from tests.test_engine import program_of

    def sources(m, n):
        x, y = made(np.ones((m, n), np.float32)), made(np.ones((n, m), np.float32))
        i = made(np.zeros(m, np.int64))
        return [s.kernel.source for s in program_of(lambda: [
            x + y.t(), x.sum(0), x.sum(1), F.softmax(x, 1), x.cumsum(0), x.cumsum(1), x.argmax(1), F.cross_entropy(x, i), x[i]]).steps]
    assert sources(40, 50) == sources(33, 61)


def test_a_kernel_of_a_scan_or_scatter_runs_by_itself():
    x, o = np.arange(10, dtype=np.float32), np.zeros(10, np.float32)
    call(scans.scan("sum", "float32", [], 1, 10, 1), [x, o, 10], 0, 1)
    np.testing.assert_array_equal(o, np.cumsum(x))
    index, value, to, errors = np.array([1, 9, 1]), np.ones((3, 2), np.float32), np.zeros(6, np.float32), np.zeros(1, np.int64)
    call(templates.scatter("add", "float32", [], 3, 2), [index, value, to, 3, 6, errors, 2, 2], 0, 1)
    assert to.tolist() == [0, 2, 2, 0, 0, 0] and errors[0] == 1




# -- stores past the caches --------------------------------------------------------------------------------------------
@pytest.mark.parametrize("offset", [0, 1, 7, 16])
@pytest.mark.parametrize("dtype", ["float32", "float64", "int8", "bool"])
def test_large_results_are_written_past_the_caches(dtype, offset, monkeypatch):
    """The same values, from any address and of any length; never where a buffer is updated in place."""
    from jitorch.graph import build
    monkeypatch.setattr(build, "PAST_CACHES", 0)
    for n in (1, 15, 64, 1024, 1025, 50_003):
        a = (rng.standard_normal(n + offset) * 9).astype(dtype)
        x = made(a)[offset:]
        np.testing.assert_array_equal((x > 0).numpy(), a[offset:] > 0)
        target = made(np.zeros(n + offset, dtype))
        target[offset:] = x
        assert target[:offset].sum().item() == 0
        np.testing.assert_array_equal(target[offset:].numpy(), a[offset:])
        if dtype == "float32":
            y = made(a)
            y.mul_(2)
            np.testing.assert_array_equal(y.numpy(), a * 2)


def test_large_rows_are_written_past_the_caches(monkeypatch):
    """To the same bits, beside sums over all rows too, and by kernels whose source is the same."""
    from jitorch.graph import build

    def results(n):
        x, w, b, g = (made(np.random.default_rng(n + k).standard_normal(s).astype(np.float32)).requires_grad_()
                      for k, s in enumerate(((70, n), (n,), (n,), (70, n))))
        y = F.layer_norm(x, (n,), w, b)
        return [t.detach().numpy().tobytes() for t in (y, *torch.autograd.grad(y, (x, w, b), g), x - x.mean(1, keepdim=True),
                                                       torch.cat([x, g, x[:, :3]], 1), x.t().clone(), -g.t())]
    for n in (8, 256, 771, 8192, 8193):
        torch.graph.record.forget()
        near = results(n)
        monkeypatch.setattr(build, "PAST_CACHES", 0)
        torch.graph.record.forget()
        assert results(n) == near
        monkeypatch.undo()


# -- steps and backwards -----------------------------------------------------------------------------------------------
@pytest.mark.parametrize("dtype", ["float32", "float64", "int64", "uint8", "bool", "float16", "bfloat16"])
def test_steps_and_flips(dtype):
    kind = getattr(torch, dtype)
    for n in (1, 2, 7, 16, 67, 300):
        a = rng.integers(0, 2 if dtype == "bool" else 100, (5, n)).astype("float32")
        x = made(a).to(kind)
        for step in (2, 3, 4, 5):
            np.testing.assert_array_equal(x[:, ::step].clone().float().numpy(), a[:, ::step])
            np.testing.assert_array_equal(x[:, n % step::step].float().sum(1).numpy(), a[:, n % step::step].sum(1))
        for dims in ((0,), (1,), (0, 1)):
            np.testing.assert_array_equal(x.flip(dims).float().numpy(), np.flip(a, dims))
            np.testing.assert_array_equal((x.float() + x.float().flip(dims)).numpy(), a + np.flip(a, dims))
        np.testing.assert_array_equal((x.float().flip(1) @ x.float().t()).numpy(), np.flip(a, 1) @ a.T)
        np.testing.assert_array_equal(x.flip(1)[:, ::2].float().numpy(), np.flip(a, 1)[:, ::2])


def test_a_step_along_a_row_gathers_nothing():
    """Whole vectors are loaded, and elements picked."""
    from jitorch.kernels.cpu.compiler import assembly
    from tests.test_engine import program_of
    x = made(np.ones((3, 64), np.float32))
    for function in (lambda: x[:, ::2] + 1, lambda: x[:, ::2].sum(1), lambda: x.flip(1) * 2):
        source, = [s.kernel.source for s in program_of(function).steps]
        assert "spaced(" in source and "gather" not in assembly(source)


# -- half precision ----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_runs_in_kernels(dtype):
    """No reference is called between kernels; what only moves elements has no conversion; each step is rounded as PyTorch rounds it."""
    from tests.test_engine import program_of
    kind = getattr(torch, dtype)
    a = rng.standard_normal((33, 70)).astype(np.float32)
    x, index = made(a).to(kind), made(rng.integers(0, 33, 9))
    functions = {
        "chain": lambda x, m: ((x * 1.5 + x).tanh() - x.mean()).softmax(1),
        "sums": lambda x, m: (x.sum(0), x.var(1, correction=0), x.amax(1), x.argmax(1), x > 0),
        "moved": lambda x, m: (m.cat([x, x], 1), x.flip(0), m.where(x.t() > 0, x.t(), x.t() * 0)),
    }
    for name, function in functions.items():
        def run(function=function):
            y = function(x, torch)
            return y if isinstance(y, tuple) else (y,)
        steps = program_of(lambda run=run: run()[0]).steps
        assert all(hasattr(s, "kernel") for s in steps), name
    for function in (lambda: x[index], lambda: torch.cat([x, x]), lambda: x.t().clone(), lambda: F.pad(x, (1, 1)), lambda: F.embedding(index, x)):
        assert not any("widened" in s.kernel.source for s in program_of(function).steps)
    real = pytest.importorskip("torch")
    t = real.from_numpy(a).to(getattr(real, dtype))
    for function in functions.values():
        ours, theirs = function(x, torch), function(t, real)
        for o, r in zip(ours, theirs) if isinstance(ours, tuple) else [(ours, theirs)]:
            np.testing.assert_allclose(o.float().numpy(), r.float().numpy(), rtol=2 ** -7 if dtype == "bfloat16" else 2 ** -10, atol=2e-3)

"""Kernels that read the same memory become one: which do, values beside NumPy, the same bits from any number of threads."""
import numpy as np
import pytest

import jitorch as torch
import jitorch.nn.functional as F
from jitorch import config
from jitorch.graph.record import flush
from jitorch.kernels.cpu import executor
from tests.test_engine import kernels, program_of

rng = np.random.default_rng(0)


@pytest.fixture(autouse=True)
def compiled():
    with config.using(tier="compiled"):
        yield


def floats(*shape, dtype="float32"):
    x = torch.tensor(rng.standard_normal(shape).astype(dtype)).clone()
    flush()
    return x


def close(result, expected):
    np.testing.assert_allclose(result.numpy(), expected, rtol=2e-5, atol=2e-5 * float(np.abs(expected).max(initial=1)))


# -- which become one --------------------------------------------------------------------------------------------------
def test_sums_over_columns_of_the_same_memory_are_one_kernel():
    x, y = floats(300, 70), floats(300, 70)
    assert kernels(lambda: (x.sum(0), (x * y).sum(0), x.amax(0))) == 1


def test_maps_of_the_same_memory_are_one_kernel():
    x, y = floats(300, 70), floats(300, 70)
    assert kernels(lambda: (x * y, x.exp())) == 1


def test_rows_with_sums_over_all_rows_are_one_kernel():
    x = floats(300, 70)
    assert kernels(lambda: (F.softmax(x, -1), x.sum(0))) == 1
    few = floats(30, 70)
    assert kernels(lambda: (F.softmax(few, -1), few.sum(0))) == 2       # too few rows to share out in blocks


@pytest.mark.parametrize("dims", [1, 2])
def test_the_gradients_of_a_norm_are_one_kernel(dims):
    shape = (5, 70)[-dims:]
    x, g = floats(10, 30, *shape).requires_grad_(), floats(10, 30, *shape)
    w, b = floats(*shape).requires_grad_(), floats(*shape).requires_grad_()
    y = F.layer_norm(x, shape, w, b)
    flush()
    program = program_of(lambda: torch.autograd.grad(y, (x, w, b), g))
    assert program.kernel_count == 1
    assert program.arena_bytes < 300 * 4 * g[0, 0].numel()              # nothing as large as x is put aside


def test_a_sum_that_the_other_half_waits_for_stays_apart():
    x = floats(300, 70)
    centred, total = np.asarray(x.numpy(), "float64"), x.numpy().sum(0, dtype="float64")
    x = x.clone()
    flush()
    columns = x.sum(0)
    close(F.softmax(x - columns, -1).sum(0), (lambda e: (e / e.sum(1, keepdims=True)).sum(0))(
        np.exp(centred - total - (centred - total).max(1, keepdims=True))))


# -- values ------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("rows", [128, 129, 160, 2048, 2500])
@pytest.mark.parametrize("columns", [1, 3, 17, 130, 1030])
def test_every_reduction_over_all_rows(rows, columns):
    a = rng.standard_normal((rows, columns)).astype("float32")
    x = torch.tensor(a).clone()
    flush()
    results = (x - x.sum(1, keepdim=True), x.sum(0), (x * x).sum(0), x.amax(0), x.amin(0), (x > 3).any(0), (x > -3).all(0), x.mean(0) * 2 + 1,
               (1 + x / 1000).prod(0), x.sum(0, dtype=torch.float64))
    wide = a.astype("float64")
    expected = (wide - wide.sum(1, keepdims=True), wide.sum(0), (wide * wide).sum(0), wide.max(0), wide.min(0), (a > 3).any(0), (a > -3).all(0),
                wide.mean(0) * 2 + 1, (1 + wide / 1000).prod(0), wide.sum(0))
    flush()
    for r, e in zip(results, expected):
        close(r, e)


@pytest.mark.parametrize("dtype", ["int32", "int64", "uint8", "float64"])
def test_other_dtypes(dtype):
    a = (rng.standard_normal((300, 33)) * 9).astype(dtype)
    x = torch.tensor(a).clone()
    flush()
    results = (x.sum(1), x - x.amax(1, keepdim=True), x.sum(0), x.amax(0), (x * 2).sum(0))
    flush()
    for r, e in zip(results, (a.sum(1), a - a.max(1, keepdims=True), a.sum(0), a.max(0), (a * 2).astype(dtype).sum(0))):
        close(r, e)


def test_nan_and_infinity_reach_their_columns_alone():
    a = rng.standard_normal((300, 33)).astype("float32")
    a[40, 3], a[290, 5], a[7, 8] = np.nan, np.inf, -np.inf
    x = torch.tensor(a).clone()
    flush()
    rows, total, most = x * x.sum(1, keepdim=True), x.sum(0), x.amax(0)
    flush()
    np.testing.assert_allclose(total.numpy(), a.sum(0, dtype="float64"), rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(most.numpy(), a.max(0))
    assert np.isnan(rows.numpy()).all(1).sum() == 1


NORMS = {
    "layer norm": lambda x, w, b: F.layer_norm(x, x.shape[1:], w, b),
    "rms norm": lambda x, w, b: F.rms_norm(x, x.shape[1:], w) + b,
    "batch norm": lambda x, w, b: F.batch_norm(x, None, None, w.flatten()[:x.shape[1]], b.flatten()[:x.shape[1]], training=True),
    "softmax": lambda x, w, b: F.softmax(x * w + b, -1),
}


@pytest.mark.parametrize("name", NORMS)
@pytest.mark.parametrize("shape", [(300, 40), (1025, 130), (200, 6, 25), (150, 4, 7, 5)])
def test_gradients_of_norms_are_those_of_torch_and_the_same_for_any_number_of_threads(name, shape):
    real = pytest.importorskip("torch")
    arrays = [rng.standard_normal(s).astype("float32") for s in (shape, shape[1:], shape[1:], shape)]

    def gradients(t):
        x, w, b, g = (t.tensor(a) for a in arrays)
        leaves = [v.requires_grad_() for v in (x, w, b)]
        f = NORMS[name] if t is torch else eval_with(real, name)
        return [v.numpy() for v in t.autograd.grad(f(*leaves), leaves, g)]

    before, all_of_them = executor.get_num_threads(), []
    try:
        for threads in (1, 2, 3):
            executor.set_num_threads(threads)
            all_of_them.append(gradients(torch))
    finally:
        executor.set_num_threads(before)
    for mine, other, theirs in zip(all_of_them[0], all_of_them[1], gradients(real)):
        np.testing.assert_allclose(mine, theirs, rtol=1e-3, atol=2e-5 * float(np.abs(theirs).max()))
        np.testing.assert_array_equal(mine, other)
    for mine, other in zip(all_of_them[0], all_of_them[2]):
        np.testing.assert_array_equal(mine, other)


def eval_with(real, name):
    """The same function with PyTorch's F."""
    f = NORMS[name]
    return type(f)(f.__code__, {"F": real.nn.functional})


def test_an_update_is_finished_in_the_same_kernel():
    x, g = floats(300, 40), floats(300, 40)
    w = floats(40).requires_grad_()
    expected = w.detach().numpy() - 0.5 * (g.numpy() * x.numpy()).sum(0, dtype="float64")
    optimizer = torch.optim.SGD([w], lr=0.5)
    (F.softmax(x * w, -1) * 0 + x * w).backward(g)
    optimizer.step()
    close(w.detach(), expected)

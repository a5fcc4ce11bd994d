"""Attention's kernels: many sizes and layouts beside PyTorch, the same bits from any number of threads, no matrix of scores in memory."""
import numpy as np
import pytest

import jitorch
from jitorch import config
from jitorch.graph.build import build
from jitorch.graph.program import Program
from jitorch.graph.record import flush, local, steps_of
from jitorch.kernels.cpu import attention, executor

TOLERANCE = {"float32": 2e-5, "float64": 1e-11}


def outcome(torch, arrays, mask=None, view=lambda x: x, **kwargs):
    """The result and the gradients of query, key and value."""
    leaves = [torch.tensor(a).requires_grad_(True) for a in arrays]
    mask = None if mask is None else torch.tensor(mask)
    out = torch.nn.functional.scaled_dot_product_attention(*map(view, leaves), attn_mask=mask, **kwargs)
    weights = np.random.default_rng(1).standard_normal(tuple(out.shape)).astype(arrays[0].dtype)
    out.backward(torch.tensor(weights))
    return [x.detach().numpy() for x in (out, *(leaf.grad for leaf in leaves))]


def operands(*shapes, dtype="float32"):
    rng = np.random.default_rng([len(shapes), *shapes[0]])
    return [rng.standard_normal(s).astype(dtype) for s in shapes]


def agree(arrays, mask=None, view=lambda x: x, **kwargs):
    torch = pytest.importorskip("torch")
    with config.using(tier="compiled"):
        got = outcome(jitorch, arrays, mask, view, **kwargs)
    tolerance = TOLERANCE[arrays[0].dtype.name]
    for what, x, y in zip(("result", "dq", "dk", "dv"), got, outcome(torch, arrays, mask, view, **kwargs), strict=True):
        np.testing.assert_allclose(x, y, rtol=tolerance, atol=tolerance * max(1, np.nanmax(np.abs(y))), err_msg=what)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("queries, keys", [(1, 1), (1, 301), (2, 70), (4, 127), (5, 3), (128, 256), (65, 129), (129, 260), (300, 140)])
def test_sizes(queries, keys, causal, dtype):
    for width, value_width in ((64, 64), (5, 7), (33, 40), (1, 1)):
        shapes = (2, 3, queries, width), (2, 3, keys, width), (2, 3, keys, value_width)
        agree(operands(*shapes, dtype=dtype), is_causal=causal)


@pytest.mark.parametrize("kind", ["bool", "float"])
@pytest.mark.parametrize("shape", [(70, 150), (2, 1, 1, 150), (2, 3, 70, 150), (1, 3, 1, 150), (70, 1)])
def test_masks(shape, kind):
    rng = np.random.default_rng(0)
    mask = rng.random(shape) < 0.6 if kind == "bool" else rng.standard_normal(shape).astype("float32")
    agree(operands((2, 3, 70, 16), (2, 3, 150, 16), (2, 3, 150, 16)), mask)


@pytest.mark.parametrize("kind", ["bool", "float"])
@pytest.mark.parametrize("queries", [1, 3])
def test_masks_of_few_queries(queries, kind):
    rng = np.random.default_rng(0)
    mask = rng.random((2, 1, queries, 150)) < 0.6 if kind == "bool" else rng.standard_normal((queries, 150)).astype("float32")
    if kind == "bool":
        mask[1, 0, queries - 1] = False
        mask[0, 0, 0, :64] = False          # nothing in the first block of keys
    agree(operands((2, 3, queries, 16), (2, 3, 150, 16), (2, 3, 150, 18)), mask)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_rows_that_see_nothing_are_zeros(dtype):
    allowed = np.random.default_rng(0).random((70, 300)) < 0.5
    allowed[[0, 9, 64, 69]] = False
    allowed[5, :256] = False                # nothing in the first block of keys
    arrays = operands((2, 70, 16), (2, 300, 16), (2, 300, 24), dtype=dtype)
    agree(arrays, allowed)
    with config.using(tier="compiled"):
        out, dq, _, _ = outcome(jitorch, arrays, allowed)
    assert not out[:, [0, 9, 64, 69]].any() and not dq[:, [0, 9, 64, 69]].any()


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_nan_and_infinity_stay_in_their_row(bad):
    q, k, v = operands((70, 16), (150, 16), (150, 24))
    q[3, 2] = bad
    with config.using(tier="compiled"):
        out = outcome(jitorch, [q, k, v])[0]
    assert np.isnan(out[3]).all() and np.isfinite(np.delete(out, 3, 0)).all()


def test_large_scores_do_not_overflow():
    q, k, v = operands((70, 16), (150, 16), (150, 24), dtype="float64")
    agree([q * 40, k * 40, v], scale=1.0)


@pytest.mark.parametrize("groups", [(2, 2), (1, 1), (2, 3), (6, 2)])
def test_shared_heads(groups):
    agree(operands((2, 6, 70, 16), (2, groups[0], 150, 16), (2, groups[1], 150, 16)), enable_gqa=True)


def test_heads_are_read_where_a_projection_put_them():
    agree(operands((2, 70, 3, 16), (2, 150, 3, 16), (2, 150, 3, 16)), view=lambda x: x.transpose(1, 2), is_causal=True)


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("lead", [(1,), (2, 8)], ids=["parts of the keys", "many heads"])
def test_the_same_bits_from_any_number_of_threads(lead, causal):
    arrays = operands((*lead, 200, 32), (*lead, 700, 32), (*lead, 700, 32))
    before = executor.get_num_threads()
    found = []
    try:
        for threads in (1, 2, 3):
            executor.set_num_threads(threads)
            with config.using(tier="compiled"):
                found.append(outcome(jitorch, arrays, is_causal=causal))
    finally:
        executor.set_num_threads(before)
    for other in found[1:]:
        for x, y in zip(found[0], other, strict=True):
            np.testing.assert_array_equal(x, y)


def compiled_attention(length: int, backward: bool = False):
    q, k, v = (jitorch.ones(2, 4, length, 16) for _ in range(3))
    flush()
    if backward:
        q.requires_grad_(True)
    out = jitorch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)
    results = [out]
    if backward:
        results += jitorch.autograd.grad(out.sum(), q)
    program = Program(steps_of(local.tape.node), tuple((r._storage.slot, -1) for r in results))
    compiled = build(program)
    flush()
    return compiled


def test_one_kernel_whatever_the_sizes():
    kernels = [[s.kernel for s in compiled_attention(n).steps] for n in (8, 300)]
    assert all(len(each) == 1 and each[0].name == "attend" for each in kernels)
    assert kernels[0][0].source == kernels[1][0].source


@pytest.mark.parametrize("backward", [False, True])
def test_memory_grows_with_the_length_not_its_square(backward):
    length = 2048
    scores = 2 * 4 * length * length * 4
    assert compiled_attention(length, backward).arena_bytes < scores / 16


def test_blocks_are_whole_tiles():
    """What the source takes for granted."""
    for dtype in ("float32", "float64"):
        rows, lanes = attention.tile(dtype)
        for queries, keys in (attention.FORWARD_BLOCK, attention.BACKWARD_BLOCK):
            assert keys % (2 * lanes) == keys % rows == queries % rows == rows % 4 == 0

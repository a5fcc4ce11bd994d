"""Products with rows of a table: computed for rows of the table instead of tokens, with the same results."""
from __future__ import annotations

import numpy as np
import pytest

import jitorch as torch
from jitorch import config
from jitorch.graph import build, lower
from jitorch.graph.record import flush, forget

RNG = np.random.default_rng(0)
ROWS, WIDTH, OUT = 7, 24, 40


@pytest.fixture
def contractions(monkeypatch):
    """The shapes of the operands of every contraction that is built."""
    found = []

    def lowered(program):
        values, wanted = lower.lower(program)
        found.extend(tuple(a.shape for a in v.args) for v in values if v.kind == "contract")
        return values, wanted
    monkeypatch.setattr(build, "lower", lowered)
    flush()
    forget()
    with config.using(tier="compiled"):
        yield found


def array(*shape, dtype=np.float32):
    return RNG.standard_normal(shape).astype(dtype)


def step(fw, table, w, tokens, upstream, order: str, padding=None):
    """Rows of a table times a weight: the result and both gradients."""
    table, w = (fw.tensor(x).requires_grad_() for x in (table, w))
    x = fw.nn.functional.embedding(fw.tensor(tokens), table, padding_idx=padding)
    if order == "time first":
        x = x.transpose(0, 1)
    elif order == "flat":
        x = x.reshape(-1, WIDTH)
    y = fw.nn.functional.linear(x, w)
    (y * fw.tensor(upstream).reshape(y.shape)).sum().backward()
    return [v.detach().numpy() for v in (y, table.grad, w.grad)]


@pytest.mark.parametrize("order", ["as it is", "time first", "flat"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_values_and_gradients_are_the_references_and_no_product_has_all_tokens(contractions, order, dtype):
    table, w, tokens = array(ROWS, WIDTH, dtype=dtype), array(OUT, WIDTH, dtype=dtype), RNG.integers(0, ROWS, (30, 50))
    upstream = array(30 * 50 * OUT, dtype=dtype)
    got = step(torch, table, w, tokens, upstream, order)
    assert contractions and all(1500 not in shape and 30 not in shape for shapes in contractions for shape in shapes)
    with config.using(tier="reference"):
        right = step(torch, table.astype(np.float64), w.astype(np.float64), tokens, upstream.astype(np.float64), order)
    for a, b in zip(got, right, strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=(2e-5 if dtype is np.float32 else 1e-13) * np.abs(b).max())


def test_rows_that_nobody_looks_up_may_hold_anything(contractions):
    table, w, tokens = array(ROWS, WIDTH), array(OUT, WIDTH), RNG.integers(0, ROWS - 1, (30, 50))
    upstream = array(1500 * OUT)
    right = step(torch, table, w, tokens, upstream, "as it is")
    table[-1] = np.nan
    got = step(torch, table, w, tokens, upstream, "as it is")
    for a, b in zip(got, right, strict=True):
        np.testing.assert_array_equal(a, b)
    w[3, 5] = np.inf
    got = step(torch, table, w, tokens, upstream, "as it is")
    assert (got[1][-1] == 0).all() and np.isfinite(got[2]).all()


def test_a_padding_row_gets_no_gradient(contractions):
    table, w, tokens = array(ROWS, WIDTH), array(OUT, WIDTH), RNG.integers(0, ROWS, (30, 50))
    upstream = array(1500 * OUT)
    got = step(torch, table, w, tokens, upstream, "as it is", padding=2)
    with config.using(tier="reference"):
        right = step(torch, table, w, tokens, upstream, "as it is", padding=2)
    assert (got[1][2] == 0).all()
    for a, b in zip(got, right, strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=2e-5 * np.abs(b).max())


@pytest.mark.parametrize("wrong", [-1, ROWS, 10 ** 12])
def test_a_row_that_is_not_there_raises(contractions, wrong):
    tokens = torch.tensor(RNG.integers(0, ROWS, (30, 50)))
    tokens = torch.where(torch.arange(50) == 49, wrong + tokens * 0, tokens)      # not known before the run
    with pytest.raises(IndexError):
        step_of = torch.nn.functional.embedding(tokens, torch.tensor(array(ROWS, WIDTH))) @ torch.tensor(array(WIDTH, OUT))
        step_of.sum().item()


def test_large_tables_and_few_tokens_stay_products_of_tokens(contractions):
    tokens = torch.tensor(RNG.integers(0, 500, (10, 30)))
    (torch.nn.functional.embedding(tokens, torch.tensor(array(500, WIDTH))) @ torch.tensor(array(WIDTH, OUT))).sum().item()
    assert contractions == [((10, 30, WIDTH), (WIDTH, OUT))]


def test_sums_over_many_tokens_are_as_exact_as_a_products():
    """All of one sign and of one row: an error that grew with their number would be seen."""
    n = 200_000
    table, w = np.ones((2, 16), np.float32), np.ones((16, 16), np.float32)
    upstream = RNG.uniform(1, 2, (n, 16)).astype(np.float32)
    with config.using(tier="compiled"):
        _, _, of_w = step_wide(table, w, np.zeros(n, np.int64), upstream)
    right = upstream.astype(np.float64).sum(0)
    assert np.abs(of_w[:, 0] / right - 1).max() < 2e-6


def step_wide(table, w, tokens, upstream):
    table, w = (torch.tensor(x).requires_grad_() for x in (table, w))
    y = torch.nn.functional.linear(torch.nn.functional.embedding(torch.tensor(tokens), table), w)
    (y * torch.tensor(upstream)).sum().backward()
    return [v.detach().numpy() for v in (y, table.grad, w.grad)]


def test_bits_do_not_depend_on_threads():
    table, w, tokens = array(65, 32), array(256, 32), RNG.integers(0, 65, (64, 50))
    upstream = array(64 * 50 * 256)
    found = []
    before = torch.get_num_threads()
    try:
        for n in (1, 3):
            torch.set_num_threads(n)
            flush()
            forget()
            with config.using(tier="compiled"):
                t, v = (torch.tensor(x).requires_grad_() for x in (table, w))
                y = torch.nn.functional.linear(torch.nn.functional.embedding(torch.tensor(tokens), t), v)
                (y * torch.tensor(upstream).reshape(y.shape)).sum().backward()
                found.append([x.detach().numpy().copy() for x in (y, t.grad, v.grad)])
    finally:
        torch.set_num_threads(before)
    for a, b in zip(*found, strict=True):
        np.testing.assert_array_equal(a, b)

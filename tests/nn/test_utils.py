"""Gradient clipping, parameters as vectors, and sequences of different lengths, against PyTorch."""

from __future__ import annotations

import math

import numpy as np
import pytest

import jitorch

torch = pytest.importorskip("torch")


@pytest.fixture(autouse=True)
def reference_tier():
    with jitorch.config.using(tier="reference"):
        yield


def parameters(t):
    rng = np.random.default_rng(0)
    made = [t.nn.Parameter(t.tensor(rng.standard_normal(s).astype("float32"))) for s in ((3, 4), (5,), (2,))]
    for p in made[:2]:
        p.grad = t.tensor(rng.standard_normal(tuple(p.shape)).astype("float32") * 3)
    return made


@pytest.mark.parametrize("norm_type", [2.0, 1, 3.5, math.inf, "inf"])
@pytest.mark.parametrize("limit", [0.5, 100.0])
def test_clip_grad_norm(norm_type, limit):
    results = []
    for t in (jitorch, torch):
        ps = parameters(t)
        total = t.nn.utils.clip_grad_norm_(ps, limit, norm_type)
        results.append(
            [np.asarray(total.item())]
            + [p.grad.numpy() for p in ps[:2]]
            + [t.nn.utils.get_total_norm(ps[0].detach()).numpy()]
        )
        assert ps[2].grad is None
    for g, e in zip(*results, strict=True):
        np.testing.assert_allclose(g, e, rtol=1e-5)


def test_clip_grad_norm_of_what_is_not_finite():
    p = parameters(jitorch)[0]
    p.grad[0, 0] = math.nan
    with pytest.raises(RuntimeError, match="non-finite"):
        jitorch.nn.utils.clip_grad_norm_(p, 1.0, error_if_nonfinite=True)
    assert math.isnan(jitorch.nn.utils.clip_grad_norm_(p, 1.0).item())


def test_clipping_is_recorded_not_run():
    from jitorch.graph.record import counters

    ps = parameters(jitorch)
    before = counters.flushes
    jitorch.nn.utils.clip_grad_norm_(ps, 1.0)
    jitorch.nn.utils.clip_grad_value_(ps, 1.0)
    assert counters.flushes == before


def test_clip_grad_value():
    results = []
    for t in (jitorch, torch):
        ps = parameters(t)
        t.nn.utils.clip_grad_value_(ps, 0.7)
        results.append([p.grad.tolist() for p in ps[:2]])
    assert results[0] == results[1]


def test_vectors():
    ps = parameters(jitorch)
    v = jitorch.nn.utils.parameters_to_vector(ps)
    assert v.shape == (19,) and v.requires_grad
    jitorch.nn.utils.vector_to_parameters(jitorch.arange(19.0), ps)
    assert ps[1].tolist() == [12, 13, 14, 15, 16] and ps[1].is_leaf and ps[1].requires_grad
    with pytest.raises(TypeError):
        jitorch.nn.utils.vector_to_parameters([1.0], ps)


def sequences(t):
    return [t.arange(0.0, 6.0).reshape(3, 2), t.ones(1, 2), t.arange(0.0, 4.0).reshape(2, 2)]


@pytest.mark.parametrize(
    "call",
    [
        lambda r, s, t: r.pad_sequence(s),
        lambda r, s, t: r.pad_sequence(s, batch_first=True, padding_value=2.0, padding_side="left"),
        lambda r, s, t: r.pack_sequence(s, enforce_sorted=False),
        lambda r, s, t: r.unpad_sequence(r.pad_sequence(s), t.tensor([3, 1, 2])),
        lambda r, s, t: r.unpack_sequence(r.pack_sequence(s, enforce_sorted=False)),
        lambda r, s, t: r.pad_packed_sequence(
            r.pack_sequence(s, enforce_sorted=False), total_length=5, padding_value=-1.0
        ),
        lambda r, s, t: (
            r.pack_padded_sequence(r.pad_sequence(s, True), [3, 1, 2], batch_first=True, enforce_sorted=False).data
        ),
    ],
)
def test_sequences(call):
    got, expected = (call(t.nn.utils.rnn, sequences(t), t) for t in (jitorch, torch))
    if isinstance(expected, torch.Tensor):
        got, expected = [got], [expected]
    assert [None if x is None else x.tolist() for x in got] == [None if x is None else x.tolist() for x in expected]


@pytest.mark.parametrize(
    "call",
    [
        lambda r, s, t: r.pack_sequence(s),
        lambda r, s, t: r.pad_sequence([]),
        lambda r, s, t: r.pad_sequence(3),
        lambda r, s, t: r.pack_padded_sequence(r.pad_sequence(s), [3, 2]),
        lambda r, s, t: r.pack_padded_sequence(r.pad_sequence(s), [3, 2, 0]),
        lambda r, s, t: r.pad_packed_sequence(r.pack_sequence(s, False), total_length=2),
    ],
)
def test_errors_of_sequences(call):
    kinds = []
    for t in (jitorch, torch):
        with pytest.raises(Exception) as error:
            call(t.nn.utils.rnn, sequences(t), t)
        kinds.append(error.type)
    assert kinds[0] is kinds[1]

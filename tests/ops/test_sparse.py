"""Sparse tensors in coordinates: what they are, what can be done with them, and that everything else says so."""
from __future__ import annotations

import copy
import io

import numpy as np
import pytest

import jitorch
from jitorch.ops.dispatch import METHODS, PUBLIC

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.filterwarnings("ignore")

PLACES, ENTRIES = [[1, 0, 1, 1], [2, 1, 2, 0]], [3.0, 4.0, 5.0, 6.0]


def both(t):
    """A sparse tensor with two entries at one place, and a dense one."""
    return t.sparse_coo_tensor(t.tensor(PLACES), t.tensor(ENTRIES), (2, 3)), t.tensor([[1.0, 2.0, 0.0], [0.0, 5.0, 6.0]])


RESULTS = {
    "itself": lambda t, s, d: s,
    "coalesce": lambda t, s, d: s.coalesce(),
    "to_dense": lambda t, s, d: s.to_dense(),
    "to_sparse": lambda t, s, d: d.to_sparse(),
    "hybrid": lambda t, s, d: t.stack([d, d * 0]).to_sparse(1),
    "to_sparse of a number": lambda t, s, d: t.tensor(3.0).to_sparse(),
    "to_sparse of integers": lambda t, s, d: d.int().to_sparse(),
    "to_sparse of nothing": lambda t, s, d: t.zeros(2, 3).to_sparse(),
    "size": lambda t, s, d: (s.shape, s.size(0), s.dim(), s.numel(), s.dtype, s.sparse_dim(), s.dense_dim(), s._nnz(), s.is_coalesced(), s.is_sparse),
    "parts": lambda t, s, d: (s._indices(), s._values(), s.coalesce().indices(), s.coalesce().values()),
    "times a number": lambda t, s, d: (s * 2, 2 * s, s / 2, -s, s.mul(3), s.div(4)),
    "times a dense": lambda t, s, d: (s.coalesce() * d, d * s.coalesce()),
    "plus sparse": lambda t, s, d: ((s + s).coalesce(), (s - s.coalesce() * 3).coalesce()),
    "dense plus sparse": lambda t, s, d: (d + s, d - s),
    "product": lambda t, s, d: (s @ d.T, s.mm(d.T), t.sparse.mm(s, d.T), t.spmm(s, d.T), d.T @ s, s @ d[0]),
    "transpose": lambda t, s, d: s.t(),
    "sum": lambda t, s, d: (s.sum(), t.sparse.sum(s)),
    "casts": lambda t, s, d: (s.double(), s.to(t.float64), s.int(), s.cpu()),
    "sparse_mask": lambda t, s, d: d.sparse_mask(s.coalesce()),
    "in place": lambda t, s, d: (s.clone().mul_(2), s.clone().zero_(), copy.deepcopy(s)),
    "size from indices": lambda t, s, d: t.sparse_coo_tensor(t.tensor(PLACES), t.ones(4, 2)),
    "no entries": lambda t, s, d: t.sparse_coo_tensor((2, 3)),
}


def told(x):
    """A result in comparable words: what it prints as, and its values."""
    if isinstance(x, (tuple, list)) and not type(x).__name__ == "Size":
        return [told(y) for y in x]
    if hasattr(x, "layout"):
        return [str(x.layout), repr(x), str(x.dtype), np.asarray((x.to_dense() if x.is_sparse else x).detach()).tolist()]
    return str(x)


@pytest.mark.parametrize("tier", ["reference", "compiled"])
@pytest.mark.parametrize("name", RESULTS)
def test_as_in_pytorch(name, tier):
    with jitorch.config.using(tier=tier):
        assert told(RESULTS[name](jitorch, *both(jitorch))) == told(RESULTS[name](torch, *both(torch)))


ERRORS = {
    "indices": lambda t, s, d: s.indices(),
    "values": lambda t, s, d: s.values(),
    "other sizes": lambda t, s, d: s + t.sparse_coo_tensor(t.tensor(PLACES), t.tensor(ENTRIES), (2, 4)),
    "entries": lambda t, s, d: t.sparse_coo_tensor(t.tensor(PLACES), t.ones(3), (2, 3)),
    "a vector of indices": lambda t, s, d: t.sparse_coo_tensor(t.tensor([1, 2]), t.ones(2), (3,)),
    "a number": lambda t, s, d: s + 1,
    "numpy": lambda t, s, d: s.numpy(),
    "exp": lambda t, s, d: s.exp(),
    "view": lambda t, s, d: s.view(3, 2),
    "product of other sizes": lambda t, s, d: s @ d,
    "sparse_mask": lambda t, s, d: d.T.sparse_mask(s.coalesce()),
}


@pytest.mark.parametrize("name", ERRORS)
def test_errors_are_pytorchs(name):
    with pytest.raises(Exception) as theirs:
        ERRORS[name](torch, *both(torch))
    with pytest.raises(Exception) as ours:
        ERRORS[name](jitorch, *both(jitorch))
    assert issubclass(ours.type, theirs.type), (theirs.value, ours.value)


def test_places_outside_are_refused():
    for places, size in (([[0, 2]], (2,)), ([[0, -1]], (2,)), ([[0, 1], [0, 3]], (2, 3))):
        with pytest.raises(RuntimeError):
            jitorch.sparse_coo_tensor(places, [1.0, 2.0], size)


def gradients(t):
    d = t.tensor([[1.0, 2.0, 0.0], [0.0, 5.0, 6.0]], requires_grad=True)
    v = t.tensor(ENTRIES, requires_grad=True)
    s = t.sparse_coo_tensor(t.tensor(PLACES), v, (2, 3))
    loss = (d.to_sparse().to_dense() ** 3).sum() + (s @ d.T).pow(2).sum() + (s.coalesce().to_dense() * d).sum() + (s * 3).sum()
    loss.backward()
    return [loss.item(), d.grad.tolist(), v.grad.tolist()]


def test_gradients_flow_to_the_entries():
    assert gradients(jitorch) == gradients(torch)


def used(t, kind: str, **options):
    """Sparse gradients of a table that two passes use."""
    table = getattr(t.nn, kind)(6, 2, sparse=True, **options)
    with t.no_grad():
        table.weight.copy_(t.arange(12.0).view(6, 2))
    for rows in ([[1, 2, 1], [0, 1, 4]], [[1, 1, 1], [5, 2, 0]]):
        (table(t.tensor(rows)) ** 2).sum().backward()
    return table.weight.grad


@pytest.mark.parametrize(("kind", "options"), [
    ("Embedding", {}), ("Embedding", {"padding_idx": 1}), ("EmbeddingBag", {}), ("EmbeddingBag", {"mode": "sum", "padding_idx": 2}),
])
def test_tables_have_sparse_gradients(kind, options):
    ours, theirs = used(jitorch, kind, **options), used(torch, kind, **options)
    assert ours.is_sparse and ours.shape == (6, 2)
    assert ours.coalesce().indices().tolist() == theirs.coalesce().indices().tolist()
    np.testing.assert_allclose(ours.to_dense().numpy(), theirs.to_dense().numpy(), rtol=1e-6)


def test_sparse_and_dense_gradients_meet():
    def run(t):
        w = t.nn.Parameter(t.arange(6.0).view(3, 2))
        at = t.tensor([1, 1, 0])
        (t.nn.functional.embedding(at, w, sparse=True).sum() * 2 + (w * w).sum()).backward()
        one = w.grad.clone()
        t.nn.functional.embedding(at, w, sparse=True).sum().backward()
        w.grad, kept = None, w.grad
        t.nn.functional.embedding(at, w, sparse=True).sum().backward()
        (w * 3).sum().backward()
        return [one.tolist(), kept.tolist(), w.grad.tolist()]
    assert run(jitorch) == run(torch)


def test_a_traced_function_that_makes_one_runs_as_python():
    table = jitorch.nn.Embedding(4, 2, sparse=True)
    optimizer = jitorch.optim.SparseAdam(table.parameters(), lr=0.1)

    def plain(rows):
        optimizer.zero_grad()
        loss = table(rows).pow(2).sum()
        loss.backward()
        optimizer.step()
        return loss

    step = jitorch.trace(plain)
    losses = [step(jitorch.tensor([k % 4, 1])).item() for k in range(6)]
    assert losses[5] < losses[1] and step.replays == 0 and table.weight.grad.is_sparse


def test_files():
    s = both(jitorch)[0]
    file = io.BytesIO()
    jitorch.save({"s": s, "c": s.coalesce()}, file)
    for t in (jitorch, torch):
        file.seek(0)
        found = t.load(file)
        assert told(found["s"]) == told(s) and told(found["c"]) == told(s.coalesce())
    file = io.BytesIO()
    torch.save({"s": both(torch)[0]}, file)
    file.seek(0)
    assert told(jitorch.load(file)["s"]) == told(s)


# What a sparse tensor answers for: its own methods, questions, and what gives the tensor itself back.
SUPPORTED = frozenset((
    "as_tensor asarray atleast_1d atleast_2d cartesian_prod conj conj_physical contiguous cpu get_device is_tensor positive real resolve_conj resolve_neg spmm "
    "bool byte cdouble cfloat char cuda dim ndimension nelement element_size new new_empty new_ones new_tensor new_zeros pin_memory "
    "record_stream share_memory_ "
    "short size sum t to type type_as bernoulli dist normal pairwise_distance dim_order storage_offset numel result_type set_printoptions "
    "add sub mul neg matmul mm mv bfloat16 double float half int long clone detach is_contiguous to_dense to_sparse to_sparse_coo").split())


@pytest.mark.parametrize("table", [PUBLIC, METHODS], ids=["functions", "methods"])
def test_everything_else_says_that_it_is_not_implemented(table):
    silent = []
    for name in sorted(table):
        if name in SUPPORTED or name.startswith(("is_", "__")) or not callable(table[name]) or name.rstrip("_") in ("add", "sub", "mul", "zero"):
            continue
        for more in ((), (jitorch.ones(2, 3),)):
            s = both(jitorch)[0]
            try:
                getattr(s, name)(*more) if table is METHODS else table[name](s, *more)
                silent.append(name)
            except (NotImplementedError, TypeError, RuntimeError, ValueError, AttributeError, IndexError):
                pass
    assert not silent

"""Backward passes that are recorded again without being walked: the same gradients as PyTorch's, whatever changes from step to step."""

import threading

import numpy as np
import pytest

import jitorch
from jitorch.autograd import engine
from jitorch.graph.record import flush, forget
from jitorch.ops.dispatch import OPS

torch = pytest.importorskip("torch")
STEPS = 8
RNG = np.random.default_rng(0)
A, B, C = RNG.standard_normal((4, 6)), RNG.standard_normal((6, 3)), RNG.standard_normal((3,))
DATA = RNG.standard_normal((64, 4))


class Steps:
    """What a scenario works with: three leaves, a batch that is another one at each step, and a place for what it keeps."""

    def __init__(self, lib):
        self.lib = lib
        self.a, self.b, self.c = (lib.tensor(x, requires_grad=True) for x in (A, B, C))
        self.data = lib.tensor(DATA)
        self.seen: list = []

    def x(self, i):
        return self.lib.tensor(DATA[8 * i : 8 * i + 8])

    def loss(self, i, x=None):
        x = self.x(i) if x is None else x
        return (((x @ self.a).tanh() @ self.b + self.c) ** 2).mean()


def double(lib):
    class Double(lib.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return x * x

        @staticmethod
        def backward(ctx, g):
            (x,) = ctx.saved_tensors
            return g * 2 * x

    return Double.apply


def hooked(s, i):
    y = s.x(i) @ s.a
    if i in (4, 6):
        y.register_hook(lambda g: g * i)
    (y.tanh() @ s.b).sum().backward()


def leaf_hooked(s, i):
    if i == 4:
        s.handle = s.a.register_hook(lambda g: g * 3)
    if i == 6:
        s.handle.remove()
    s.loss(i).backward()


def frozen_for_a_while(s, i):
    s.b.requires_grad_(i not in (3, 4))
    s.loss(i).backward()


def shared_or_not(s, i):
    other = s.a if i % 3 == 2 else s.d
    (s.a + other).sum().backward()


def detached_at_times(s, i):
    y = (s.x(i) @ s.a).tanh()
    z = y.detach() if i in (3, 5) else y
    (y * z).sum().backward()


def retained(s, i):
    y = s.x(i) @ s.a
    if i == 5:
        y.retain_grad()
    (y * y).sum().backward()
    if i == 5:
        s.seen.append(y.grad.numpy().copy())


def twice(s, i):
    loss = s.loss(i)
    loss.backward(retain_graph=True)
    loss.backward()
    if i > 5:
        with pytest.raises(RuntimeError, match="second time"):
            loss.backward()


def stale(s, i):
    y = (s.x(i) @ s.a).exp()
    z = y * y
    if i == 5:
        y.mul_(2)
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            z.sum().backward()
        return
    z.sum().backward()


def masked_in_place(s, i):
    y = (s.x(i) @ s.a) * 1
    y[:, 1:3].mul_(s.c[:2])
    (y * y).sum().backward()


def parts(s, i):
    y = s.x(i) @ s.a
    left, right = y.chunk(2, 1) if i != 4 else reversed(y.chunk(2, 1))
    (left * right.exp()).sum().backward()
    s.c.max(0)[0].backward()


def seeds(s, i):
    y = s.x(i) @ s.a
    y.backward(y.detach() * 0.5 if i % 2 else s.lib.full_like(y.detach(), 2.0))


def read_before(s, i):
    loss = s.loss(i)
    if i % 4 != 3:
        s.seen.append(loss.item())
    loss.backward()


def accumulated(s, i):
    s.loss(i).backward()
    s.loss(i + 1 if i < STEPS - 1 else 0).backward()


SCENARIOS = {
    "plain": lambda s, i: s.loss(i).backward(),
    "slices of a data set": lambda s, i: s.loss(i, s.data[8 * i : 8 * i + 8]).backward(),
    "a row of a data set": lambda s, i: s.loss(i, s.data[i : i + 1]).backward(),
    "a number that changes": lambda s, i: (s.loss(i) * (0.5 + max(i, 3))).backward(),
    "a number that changes sign of zero": lambda s, i: (1.0 / (s.c.sum() * 0 + (-0.0 if i == 5 else 0.0)) * 0).backward(),
    "another length": lambda s, i: s.loss(i, s.x(i)[: 8 - i % 2]).backward(),
    "a user's function": lambda s, i: double(s.lib)(s.x(i) @ s.a).sum().backward(),
    "hook": hooked,
    "hook of a leaf": leaf_hooked,
    "frozen for a while": frozen_for_a_while,
    "shared or not": shared_or_not,
    "detached at times": detached_at_times,
    "retained": retained,
    "twice": twice,
    "stale": stale,
    "in place, through a view": masked_in_place,
    "parts": parts,
    "seeds": seeds,
    "read before": read_before,
    "accumulated": accumulated,
    "one gradient for two leaves": lambda s, i: (s.a.sum() + s.d.sum()).backward(),
    "the root is a leaf": lambda s, i: s.c.sum().backward() if i % 2 else s.c[0].backward(),
    "flat view": lambda s, i: s.loss(i).view(1).backward(),
}


@pytest.mark.parametrize("name", SCENARIOS)
def test_the_same_gradients_at_every_step(name):
    found = []
    for lib in (jitorch, torch):
        s, grads = Steps(lib), []
        s.d = lib.tensor(A * 2, requires_grad=True)
        leaves = (s.a, s.b, s.c, s.d)
        for i in range(STEPS):
            SCENARIOS[name](s, i)
            grads.append([None if p.grad is None else p.grad.numpy().copy() for p in leaves])
            if name != "accumulated":
                for p in leaves:
                    p.grad = None
            with lib.no_grad():
                for p in leaves:
                    p.mul_(0.99)
        found.append((grads, s.seen))
    for ours, theirs in zip(*[[*grads, seen] for grads, seen in found], strict=True):
        assert len(ours) == len(theirs)
        for a, b in zip(ours, theirs, strict=True):
            assert (a is None) == (b is None)
            if a is not None:
                np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12)


@pytest.fixture
def rules_run(monkeypatch):
    """How often a pass was walked."""
    walks = []
    walk = engine.walk
    monkeypatch.setattr(engine, "walk", lambda *args, **kwargs: walks.append(1) or walk(*args, **kwargs))
    return walks


@pytest.mark.parametrize("name", ["plain", "slices of a data set", "in place, through a view", "parts", "seeds", "read before", "accumulated"])
def test_what_repeats_is_walked_a_few_times_only(name, rules_run):
    s, walks = Steps(jitorch), []
    for _ in range(3):      # a pass is learned when it comes for the second time
        for i in range(STEPS):
            SCENARIOS[name](s, i)
            s.a.grad = s.b.grad = s.c.grad = None
            flush()
        walks.append(len(rules_run))
    assert 0 < walks[1] == walks[2]


def test_what_never_repeats_is_not_learned_forever(rules_run, monkeypatch):
    """After some steps that differ each time, a pass costs no more than its walk."""
    s, learned = Steps(jitorch), []
    end = engine.Note.end
    monkeypatch.setattr(engine.Note, "end", lambda *args: learned.append(1) or end(*args))
    for i in range(40):
        (s.c.sum() * (1.0 + i)).backward()
        s.c.grad = None
        flush()
    assert len(rules_run) == 40 and 2 <= len(learned) <= 12


def test_a_pass_holds_no_memory():
    import gc
    import weakref

    s = Steps(jitorch)
    for i in range(4):
        SCENARIOS["plain"](s, i)
        flush()
    kept = [weakref.ref(s.a), weakref.ref(s.a._storage), weakref.ref(s.a.grad._storage)]
    del s
    gc.collect()
    assert not any(ref() for ref in kept)


def test_two_threads_at_once():
    """Each has its own tape; leaves are shared."""
    s, found = Steps(jitorch), {}

    def work(k):
        mine = []
        for _ in range(12):
            grads = jitorch.tensor(C, requires_grad=True)
            ((s.data[:8] @ s.a.detach()).tanh()[:, :3] * grads * s.b.detach()[:1]).sum().backward()
            mine.append(grads.grad.tolist())
        found[k] = mine

    threads = [threading.Thread(target=work, args=(k,)) for k in range(3)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert len(found) == 3
    first = np.array(found[0][0])
    for mine in found.values():
        np.testing.assert_allclose(np.array(mine), np.broadcast_to(first, (12, 3)), rtol=1e-9)


def test_a_rule_that_reads_a_value_is_run_each_time(monkeypatch):
    """It may record something else next time."""
    seen = []
    plain = OPS["tanh"].vjp

    def reading(ctx, g):
        seen.append(s.c.detach().sum().item())
        return plain(ctx, g)

    forget()                # what other tests have recorded with the plain rule
    monkeypatch.setattr(OPS["tanh"], "vjp", reading)
    s = Steps(jitorch)
    for i in range(6):
        s.loss(i).backward()
    assert len(seen) == 6

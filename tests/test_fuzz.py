"""Random programs of views, in-place writes, reductions, products and gathers: both tiers give what PyTorch gives."""
import numpy as np
import pytest

import jitorch
from jitorch import config
from jitorch.graph.record import flush

UNARY = ["tanh", "exp", "abs", "sigmoid", "relu", "neg"]
INPLACE = ["tanh_", "abs_", "sigmoid_", "neg_"]


def program(m, seed: int, steps: int = 25):
    """A random program over a few matrices; returns all values at the end. Everything random comes from the seed, never from values."""
    r = np.random.default_rng(seed)
    n, k = int(r.integers(2, 7)), int(r.integers(2, 9))
    data = r.standard_normal((6, n, k)).astype("float32")
    live = [m.tensor(d) for d in data[:3]]
    read = []
    for _ in range(steps):
        t = live[int(r.integers(len(live)))]
        u = live[int(r.integers(len(live)))]
        what = int(r.integers(16))
        if what == 0:
            live.append(getattr(t, UNARY[int(r.integers(len(UNARY)))])())
        elif what == 1:
            live.append(t * u + float(r.integers(1, 4)))
        elif what == 2:
            getattr(t, INPLACE[int(r.integers(len(INPLACE)))])()
        elif what == 3:
            t[int(r.integers(n)):].add_(1.5)
        elif what == 4:
            t[:, int(r.integers(k))] = u[:, 0] * 0.5
        elif what == 5:
            live.append(t - t.mean(1, keepdim=True))
        elif what == 6:
            live.append(t.softmax(int(r.integers(2))))
        elif what == 7:
            live.append((t @ u.t()).tanh() @ u)
        elif what == 8:
            t.mul_(u).clamp_(-3, 3)
        elif what == 9:
            index = m.tensor(r.integers(0, n, n))
            live.append(t[index])
        elif what == 10:
            read.append(float((t * u).sum().item()))
        elif what == 11:
            live.append(m.cat([t[1:], u[:1]]))
        elif what == 12:
            t.t()[1:].copy_(u.t()[1:] * 2)
        elif what == 13:
            live.append((t.sum(0) - u.amax(0)).expand(n, k) * 0.25 + t)
        elif what == 14:
            t.sub_(t.sum() * 0.01)
        elif what == 15 and len(live) > 4:
            del live[int(r.integers(len(live)))]
    return read, [np.array(x.tolist()) for x in live]


def check(got, want):
    np.testing.assert_allclose(got[0], want[0], rtol=1e-3, atol=1e-3)
    assert len(got[1]) == len(want[1])
    for g, w in zip(got[1], want[1]):
        np.testing.assert_allclose(g, w, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("seed", range(15))
def test_tiers_and_torch_agree(seed):
    torch = pytest.importorskip("torch")
    with np.errstate(all="ignore"):
        want = program(torch, seed)
        for tier in ("reference", "compiled"):
            flush()
            with config.using(tier=tier):
                check(program(jitorch, seed), want)

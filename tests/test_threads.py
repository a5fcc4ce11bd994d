"""Several threads at once: each gets what it would have got alone, from programs that all of them meet for the first time."""
from __future__ import annotations

import sys
import threading
from itertools import count

import numpy as np
import pytest

import jitorch as torch
import jitorch.nn.functional as F
from jitorch import config, nn

THREADS, ROUNDS = 6, 12
fresh = count(40)           # sizes, so that every round's programs are new


@pytest.fixture(autouse=True)
def switch_often():
    """Let the interpreter go from thread to thread after a microsecond instead of 5 ms: a race of a few instructions is met in seconds."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


@pytest.fixture(params=["reference", "compiled", "auto"])
def tier(request):
    with config.using(tier=request.param):
        yield request.param


def at_once(work):
    """work(0), work(1), ..., each in a thread of its own, begun together."""
    results, gate = [None] * THREADS, threading.Barrier(THREADS)

    def go(i):
        gate.wait()
        try:
            results[i] = work(i)
        except BaseException as error:  # noqa: BLE001 (raised below, in the thread of the test)
            results[i] = error
    threads = [threading.Thread(target=go, args=(i,)) for i in range(THREADS)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    for result in results:
        if isinstance(result, BaseException):
            raise result
    return results


def same_as_alone(work):
    for i, got in enumerate(at_once(work)):
        for a, b in zip(got, work(i), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


def numbers(*shape, seed=0):
    return torch.tensor(np.random.default_rng(seed).standard_normal(shape).astype("float32"))


def test_numbers_that_differ_between_threads(tier):
    for _ in range(ROUNDS):
        x = numbers(next(fresh), 3)

        def work(i, x=x):
            return [((x * (i + j / 2) + i).tanh().sum(0) - j).numpy().copy() for j in range(8)]
        same_as_alone(work)


def test_training_with_a_schedule(tier):
    for _ in range(ROUNDS // 3):
        m = next(fresh)

        def work(i, m=m):
            w = [numbers(*shape, seed=i).requires_grad_() for shape in ((3, m), (m,), (m, 2))]
            x, y = numbers(5, 3, seed=i), torch.tensor([0, 1, 1, 0, 1])
            optimizer = torch.optim.Adam(w, lr=1e-3 * (i + 1))
            schedule = torch.optim.lr_scheduler.StepLR(optimizer, 2, 0.5)
            for _ in range(5):
                optimizer.zero_grad()
                F.cross_entropy(torch.tanh(x @ w[0] + w[1]) @ w[2], y).backward()
                optimizer.step()
                schedule.step()
            return [p.detach().numpy().copy() for p in w]
        same_as_alone(work)


@pytest.mark.parametrize("traced", [False, True])
def test_one_model_asked_by_all(tier, traced):
    for _ in range(ROUNDS // 3):
        m = next(fresh)
        model = nn.Sequential(nn.Linear(3, m), nn.ReLU(), nn.LayerNorm(m), nn.Linear(m, 2))
        asked = torch.compile(model) if traced else model

        def work(i, asked=asked):
            with torch.no_grad():
                return [asked(numbers(5 + i % 2, 3, seed=i)).numpy().copy() for _ in range(5)]
        same_as_alone(work)


def test_one_traced_model_with_several_shapes(tier):
    for _ in range(ROUNDS // 3):
        m = next(fresh)
        model = nn.Sequential(nn.Linear(3, m), nn.GELU(), nn.Linear(m, 2)).eval()
        traced = torch.trace(model)

        def work(i, traced=traced):
            with torch.no_grad():
                return [traced(numbers(1 + (i + j) % 7, 3, seed=j)).numpy().copy() for j in range(14)]
        same_as_alone(work)


def test_branches_that_values_pick(tier):
    for _ in range(ROUNDS // 3):
        m, bias = next(fresh), numbers(3)

        @torch.trace
        def f(x, bias=bias):
            y = x * 2 + bias
            if y.sum() > 0:
                y = y.tanh()
                if y.max() > 0.9:
                    return y * 3, y.sum().item()
                return y - 1, 0.0
            return -y, y.min().item()

        def work(i, f=f, m=m):
            return [v if isinstance(v, float) else v.numpy().copy() for j in range(12) for v in f(numbers(m, 3, seed=(i * 5 + j) % 11) * (j % 3))]
        same_as_alone(work)


@pytest.mark.parametrize("rule", ["SGD", "Adam"])
def test_traced_training_steps(tier, rule):
    """One traced function, a model for each thread: captured again for each, and each trains as alone."""
    for _ in range(ROUNDS // 4):
        m = next(fresh)

        @torch.trace
        def step(model, optimizer, x, y):
            optimizer.zero_grad()
            loss = F.cross_entropy(model(x), y)
            loss.backward()
            optimizer.step()
            return loss.item()

        def work(i, step=step, m=m):
            model = nn.Sequential(nn.Linear(3, m), nn.BatchNorm1d(m), nn.ReLU(), nn.Linear(m, 2))
            for k, p in enumerate(model.parameters()):          # (the random state is everybody's)
                p.data = numbers(*p.shape, seed=10 * i + k)
            optimizer = getattr(torch.optim, rule)(model.parameters(), lr=0.01 * (i + 1))
            losses = [step(model, optimizer, numbers(6 + j % 2, 3, seed=j), torch.arange(6 + j % 2) % 2) for j in range(8)]
            return losses + [p.detach().numpy().copy() for p in model.state_dict().values()]
        same_as_alone(work)


def test_one_traced_step_called_by_all(tier):
    """Threads that train one model at once mix their updates, as in PyTorch; but every step is counted and nothing breaks."""
    for _ in range(ROUNDS // 4):
        model = nn.Linear(3, next(fresh))
        optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)

        @torch.trace
        def step(x, model=model, optimizer=optimizer):
            optimizer.zero_grad()
            model(x).pow(2).mean().backward()
            optimizer.step()

        def work(i, step=step):
            for j in range(10):
                step(numbers(4, 3, seed=i * 10 + j))
            return []
        before = [p.detach().numpy().copy() for p in model.parameters()]
        at_once(work)
        for p, b in zip(model.parameters(), before, strict=True):
            assert p.isfinite().all() and np.abs(p.detach().numpy() - b).max() < 1.0 and (p.detach().numpy() != b).any()


def test_numbers_of_one_traced_function(tier):
    for _ in range(ROUNDS // 3):
        m = next(fresh)
        f = torch.trace(lambda x, k, n=1: (x * k + (1 - k) * n).tanh() if k > 3 else x / (k + 1) - n)

        def work(i, f=f, m=m):
            return [f(numbers(m, 3, seed=j), i + j / 3, n=j % 3).numpy().copy() for j in range(16)]
        same_as_alone(work)

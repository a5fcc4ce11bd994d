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

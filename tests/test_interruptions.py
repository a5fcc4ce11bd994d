"""Code that runs in the middle of other code: signal handlers and finalizers that compute with tensors, forks and exits."""
from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import textwrap
import threading

import numpy as np
import pytest

import jitorch as torch
import jitorch.nn.functional as F
from jitorch import config

posix = pytest.mark.skipif(os.name != "posix", reason="POSIX signals and fork")


@pytest.fixture(params=["reference", "compiled"])
def tier(request):
    with config.using(tier=request.param):
        yield request.param


def numbers(*shape, seed=0):
    return torch.tensor(np.random.default_rng(seed).standard_normal(shape).astype("float32"))


def training(n, watch=lambda w: None):
    """The parameters after n steps of Adam; a batch is a part of the data."""
    w = [numbers(*shape, seed=1).requires_grad_() for shape in ((3, 7), (7,), (7, 2))]
    x, y = numbers(20, 3, seed=2), torch.arange(20) % 2
    optimizer = torch.optim.Adam(w, lr=1e-2)
    watch(w)
    for i in range(n):
        part = slice(i % 4 * 5, i % 4 * 5 + 5)
        optimizer.zero_grad()
        F.cross_entropy(torch.tanh(x[part] @ w[0] + w[1]) @ w[2], y[part]).backward()
        optimizer.step()
        w[1].data.mul_(0.999)
        w[0].data[1:].add_(1e-3)
    return [p.detach().numpy().copy() for p in w]


@posix
def test_a_signal_handler_that_reads_and_computes(tier):
    """A checkpoint on a signal: whatever it interrupts goes on as if nothing had been, and it reads whole steps."""
    watched, kept, refused, seen, inside = [], [], [], [], []

    def watch(w):
        watched[:] = [w]
    expected = training(60, watch)

    def handler(*_):
        if inside:          # the next signal may come before this one is done, while a kernel is compiled
            return
        inside.append(True)
        try:
            a = watched[0][1].detach().sum() * 2
            kept[:] = [a, watched[0][0].detach() * 3, torch.rand(3)]
            seen.append(float(a))
        except RuntimeError as error:
            refused.append(str(error))
        finally:
            inside.clear()
    before = signal.signal(signal.SIGALRM, handler)
    try:
        for round in range(6):
            signal.setitimer(signal.ITIMER_REAL, 0.003 + round * 1e-4, 0.0107)
            got = training(60, watch)
            signal.setitimer(signal.ITIMER_REAL, 0)
            for a, b in zip(got, expected, strict=True):
                np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)
            for t in kept:
                assert np.isfinite(t.tolist()).all()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert seen
    assert [text for text in refused if "in the middle of the run" not in text] == []


def test_a_finalizer_that_computes(tier):
    expected, kept = training(40), []

    class Cycle:
        def __init__(self):
            self.me = self

        def __del__(self):
            kept[:] = [(numbers(4) * 2 + len(kept)).sum()]
            float(kept[0])
    before = gc.get_threshold()
    gc.set_threshold(23, 2, 2)      # a collection now and then, in the middle of anything
    try:
        def work(w):
            for _ in range(50):
                Cycle()
        for _ in range(3):
            got = training(40, work)
            for a, b in zip(got, expected, strict=True):
                np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)
    finally:
        gc.set_threshold(*before)
    gc.collect()
    assert len(kept) == 1


@posix
def test_a_fork_while_other_threads_compute(tier):
    """No lock is inherited in the hands of a thread that is not there, and a tensor that such a thread recorded can be read."""
    stop, promised = threading.Event(), []

    def busy(i):
        n = 0
        while not stop.is_set():
            n += 1
            x = torch.ones(300, 300 + n % 7) * (n % 5)
            torch.rand(70_000)
            promised[i:i + 1] = [(x + i).sum(0)]
            if n % 3 == 0:
                promised[i].tolist()
    threads = [threading.Thread(target=busy, args=(i,)) for i in range(2)]
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        for t in threads:
            t.start()
        while len(promised) < 2:
            pass
        for _ in range(8):
            child = os.fork()
            if child == 0:
                signal.alarm(60)        # a deadlock ends it
                try:
                    ok = (torch.ones(300, 400) * 2).sum().item() == 240_000
                    ok = ok and all(np.isfinite(p.tolist()).all() for p in list(promised))
                    ok = ok and torch.rand(100_000).numel() == 100_000
                except BaseException:
                    ok = False
                os._exit(0 if ok else 1)
            assert os.waitpid(child, 0)[1] == 0
    finally:
        stop.set()
        for t in threads:
            t.join()
        sys.setswitchinterval(before)


@pytest.mark.parametrize("tier", ["auto", "compiled"])
def test_a_program_that_is_new_at_exit(tier, tmp_path):
    """What runs at exit finds no compiler any more: it computes without, or says so, and never waits for one."""
    program = textwrap.dedent("""
        import atexit
        def last():
            import jitorch as torch
            print("at exit", (torch.arange(5.) * 1.5 - 2).sum().item())
        atexit.register(last)
        import jitorch as torch
        print((torch.ones(3) * 2).sum().item())
    """)
    done = subprocess.run([sys.executable, "-c", program], env={**os.environ, "JITORCH_TIER": tier, "JITORCH_CACHE_DIR": str(tmp_path)},
                          capture_output=True, text=True, timeout=120)
    if tier == "auto":
        assert done.stdout.split("\n")[:2] == ["6.0", "at exit 5.0"], done.stderr
    else:
        assert done.stdout.split() == ["6.0"] and "nothing can be compiled any more" in done.stderr

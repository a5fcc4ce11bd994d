"""Threads, size, memory, and what a replay leaves behind."""

from __future__ import annotations

import gc
import threading
import time

import pytest

import jitorch as torch
import jitorch.nn as nn
from jitorch import config
from jitorch.graph.build import build
from jitorch.graph.record import counters
from jitorch.tracing.report import programs_of


@pytest.mark.parametrize("tier", ["reference", "compiled"])
def test_threads_call_one_traced_model(tier):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 16), nn.GELU(), nn.Linear(16, 4)).eval()
    traced = torch.trace(model)
    inputs = [torch.randn(n, 8) for n in (1, 2, 3, 5, 8)]
    with config.using(tier=tier):
        with torch.no_grad():
            want = [model(x).tolist() for x in inputs]
        wrong = []

        def work(k):
            with torch.no_grad():
                for i in range(30):
                    j = (i + k) % len(inputs)
                    if traced(inputs[j]).tolist() != want[j]:
                        wrong.append((k, i))

        threads = [threading.Thread(target=work, args=(k,)) for k in range(4)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
    assert not wrong and traced.replays > 60


def chain(n):
    def f(x, w):
        for i in range(n // 2):
            x = x * 1.0001 + w if i % 3 else torch.relu(x) - w
        return x

    traced = torch.trace(f)
    with config.using(tier="reference"):
        x, w = torch.ones(8), torch.ones(8)
        began = time.process_time()
        for _ in range(3):
            traced(x, w)
        for program in programs_of(traced):
            build(program)
    took = time.process_time() - began
    assert traced.replays == 1 and sum(len(p.steps) for p in programs_of(traced)) >= n
    return took


def test_ten_thousand_operations_in_linear_time(monkeypatch):
    from jitorch.kernels.cpu import executor, pool

    monkeypatch.setattr(pool, "request", lambda source: None)      # planned, not compiled
    monkeypatch.setattr(executor, "request", lambda: None)
    small, large = min(chain(2500) for _ in range(2)), chain(10_000)
    assert large < 5.0
    assert large < 12 * max(small, 0.05)


def test_memory_is_flat_and_nothing_is_planned_anew():
    w = torch.ones(50, requires_grad=True)
    optimizer = torch.optim.Adam([w])

    @torch.trace
    def step(x):
        optimizer.zero_grad()
        loss = (w * x).pow(2).sum()
        loss.backward()
        optimizer.step()
        return loss

    x = torch.ones(50)
    for _ in range(5):
        step(x)
    gc.collect()
    objects, built = len(gc.get_objects()), counters.programs_built
    for _ in range(500):
        step(x)
    gc.collect()
    assert len(gc.get_objects()) < objects + 50 and counters.programs_built == built
    assert step.replays >= 500


def test_captures_are_bounded():
    f = torch.trace(lambda x, n: x * n)
    x = torch.ones(2)
    for n in range(400):
        assert f(x, float(n)).tolist() == [n, n]
    assert len(f.entries) <= 256


def test_module_stays_a_module(tmp_path):
    model = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))
    traced = torch.trace(model)
    assert isinstance(traced, nn.Module) and traced.state_dict().keys() == model.state_dict().keys()
    traced.eval()
    assert not model.training and not model[1].training
    traced.load_state_dict({k: v * 0 for k, v in model.state_dict().items()})
    assert not model[0].weight.any()
    assert traced.to(torch.float64) is traced and model[0].weight.dtype is torch.float64
    traced.note = "kept"
    assert model.note == "kept" and traced.note == "kept"
    assert len(list(traced.modules())) == len(list(model.modules()))


def test_a_method_as_decorator():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.factor = 2.0

        @torch.compile
        def forward(self, x):
            return x * self.factor

    a, b = Net(), Net()
    b.factor = 3.0
    x = torch.ones(2)
    for _ in range(4):
        assert a(x).tolist() == [2.0, 2.0] and b(x).tolist() == [3.0, 3.0]
    a.factor = 5.0
    assert a(x).tolist() == [5.0, 5.0]


def test_pending_operations_of_the_caller_run_first():
    f = torch.trace(lambda x: x.mul_(2) + 1)
    for i in range(5):
        x = torch.ones(3) * i
        view = x[1:]
        assert f(x).tolist() == [2.0 * i + 1] * 3
        assert view.tolist() == [2.0 * i] * 2


def test_a_profiler_of_the_user_goes_on():
    import sys

    calls = []
    f = torch.trace(lambda x: x + 1)
    sys.setprofile(lambda *event: calls.append(event[1]))
    try:
        for _ in range(3):
            f(torch.ones(2))
        assert sys.getprofile() is not None
    finally:
        sys.setprofile(None)
    assert calls


def test_what_never_fits_is_left_to_python():
    factor = 0.0
    f = torch.trace(lambda x: x * factor)
    x = torch.ones(2)
    for factor in range(200):  # noqa: B007
        assert f(x).tolist() == [factor, factor]
    assert sum(len(e.captures) for e in f.entries.values()) <= 16
    g = torch.trace(lambda x, n: x * float(str(n)))         # (a number that is only computed with would be general: see test_numbers.py)
    for n in range(200):
        assert g(x, float(n)).tolist() == [n, n]
    assert len(g.entries) <= 32 and "differs in nearly every call" in g.explain()
    for _ in range(5):
        assert g(x, 3.0).tolist() == [3.0, 3.0]


def test_what_the_garbage_collector_runs_is_no_part_of_a_call():
    class Left:
        def __init__(self):
            self.me = self

        def __del__(self):
            time.perf_counter()

    def clock(phase, info):
        time.perf_counter()

    def f(x):
        for _ in range(300):
            x = x * 1.5 - 1
        return x

    traced, x, threshold = torch.trace(f), torch.ones(4), gc.get_threshold()
    gc.callbacks.append(clock)
    gc.set_threshold(50, 2, 2)
    try:
        for _ in range(4):
            Left()
            traced(x)
    finally:
        gc.callbacks.remove(clock)
        gc.set_threshold(*threshold)
    assert traced.replays == 2 and gc.isenabled()


def test_a_parameter_written_by_the_reference_tier_is_found_by_a_replay():
    model, x = nn.Linear(5, 3), torch.randn(2, 5)
    traced = torch.trace(model)
    with torch.no_grad():
        with config.using(tier="compiled"):
            for _ in range(4):
                traced(x)
        with config.using(tier="reference"):
            model.weight.mul_(0.5).add_(0.25)
        with config.using(tier="compiled"):
            assert traced(x).tolist() == model(x).tolist()
    assert traced.replays > 1

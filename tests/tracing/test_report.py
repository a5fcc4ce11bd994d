"""What a traced callable tells of itself, and the check switch."""

from __future__ import annotations

import xml.dom.minidom

import pytest

import jitorch as torch
import jitorch.nn as nn
from jitorch import config
from jitorch.graph.record import counters


def make():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 3))
    optimizer = torch.optim.Adam(model.parameters())

    @torch.trace
    def step(x, y):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(x), y)
        if loss > 100:
            return 0.0
        loss.backward()
        optimizer.step()
        return loss.item()

    return model, step


def call(step, n=4, times=4):
    for i in range(times):
        step(torch.randn(n, 8, generator=torch.Generator().manual_seed(i)), torch.arange(n) % 3)


def test_explain_names_captures_guards_programs_and_lines():
    model, step = make()
    call(step)
    text = step.explain()
    assert "4 calls, 2 replayed, 1 paths captured under 1 sets of guards" in text
    assert "signature (float32[4, 8], int64[4])" in text and "if it is [False]:" in text and "reads a value that is returned" in text
    assert "not captured: the first run of its code" in text
    assert "test_report.py:" in text and "floating point operations" in text and "contract" in text
    model[1] = nn.Tanh()
    call(step)
    assert "captured again: model" in step.explain()


def test_explain_says_why_it_runs_as_python():
    f = torch.trace(lambda x: (print(end=""), x + 1)[1])
    for _ in range(7):
        f(torch.ones(2))
    assert "runs as Python: calls print()" in f.explain() and "test_report.py:" in f.explain()


def test_code_is_the_source_of_the_kernels():
    f = torch.trace(lambda x: torch.exp(x) * 2)
    for _ in range(3):
        f(torch.ones(3))
    assert "def kernel(args, lo, hi):" in f.code() and "exp_f32" in f.code()


def test_draw_writes_svg(tmp_path):
    _, step = make()
    with pytest.raises(RuntimeError, match="nothing is captured"):
        step.draw(tmp_path / "g.svg")
    call(step)
    step.draw(tmp_path / "g.svg")
    picture = xml.dom.minidom.parse(str(tmp_path / "g.svg"))
    boxes, arrows = picture.getElementsByTagName("rect"), picture.getElementsByTagName("path")
    assert len(boxes) > 10 and len(arrows) > 10
    assert "test_report.py" in (tmp_path / "g.svg").read_text()


def test_draw_of_thousands_of_operations(tmp_path):
    def deep(x):
        for _ in range(700):
            x = torch.cumsum(x * 1.001, 0)
        return x

    f = torch.trace(deep)
    for _ in range(3):
        f(torch.ones(5))
    f.draw(tmp_path / "deep.svg")
    assert (tmp_path / "deep.svg").stat().st_size > 100_000


def test_check_runs_python_and_passes_where_all_is_well():
    _, step = make()
    _, plain = make()
    with config.using(check=True):
        call(step, times=5)
    call(plain, times=5)
    assert step.replays == 3
    x = torch.ones(4, 8)
    assert step(x, torch.arange(4) % 3) == plain(x, torch.arange(4) % 3)


def test_check_finds_what_no_guard_sees():
    m = nn.Linear(3, 3)
    m.factor = 2.0

    class Scaled(nn.Module):
        def forward(self, x):
            y = m(x)
            return y * 2 if m.factor > 1 else y + 2

    f = torch.trace(Scaled())
    with torch.no_grad():
        for _ in range(3):
            f(torch.ones(3))
        assert f.__dict__["traced"].replays == 1
        m.__dict__["factor"] = 0.0          # behind the back of every guard
        with config.using(check=True), pytest.raises(RuntimeError, match=r"check: a replay .* add \(test_report.py:\d+\) .* mul"):
            f(torch.ones(3))


def test_ten_batch_sizes_compile_once():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 16), nn.LayerNorm(16), nn.ReLU(), nn.Linear(16, 3))
    f = torch.trace(model)
    from jitorch.kernels.cpu import pool

    asked = []
    request = pool.request
    pool.request = lambda source: (asked.append(source), request(source))[1]
    try:
        with torch.no_grad(), config.using(tier="compiled"):
            sizes = []
            for n in range(20, 30):
                for _ in range(3):
                    f(torch.randn(n, 8))
                sizes.append(len(set(asked)))
    finally:
        pool.request = request
    assert sizes[-1] <= 2 * sizes[0]
    assert f.__dict__["traced"].replays >= 19


def test_last_batches_and_single_samples_compile_little():
    """Sizes of many rows, of few, and of one: kernels for each of these, whatever their order."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(70, 80), nn.ReLU(), nn.Linear(80, 5))
    f = torch.trace(model)
    from jitorch.kernels.cpu import pool

    asked: set[str] = set()
    request = pool.request
    pool.request = lambda source: (asked.add(source), request(source))[1]
    try:
        with torch.no_grad(), config.using(tier="compiled"):
            counts = [0]
            for n in (64, 48, 17, 1, 100, 3, 128, 2, 7, 96, 5, 4):
                f(torch.randn(n, 70)).tolist()
                counts.append(len(asked))
    finally:
        pool.request = request
    assert sum(a < b for a, b in zip(counts, counts[1:], strict=False)) <= 3


def test_replay_records_nothing():
    _, step = make()
    call(step)
    x, y = torch.randn(4, 8), torch.arange(4) % 3
    x.tolist()
    y.tolist()
    nodes, flushes = counters.nodes, counters.flushes
    step(x, y)
    assert (counters.nodes, counters.flushes) == (nodes, flushes)

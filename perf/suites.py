"""The suites: what jitorch costs, beside PyTorch eager in the same run.

    python -m perf.suites                       all suites
    python -m perf.suites kernels --quick       one, in less time and with less certainty
    python -m perf.suites --json figures.json   the figures as data, with the machine they were taken on

Each suite is a function of `quick` that returns rows (see harness.row).
"""
from __future__ import annotations

import argparse
import json
import re
import sys
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from itertools import repeat
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import numpy as np

from . import models
from .harness import (
    COPY_BYTES,
    Framework,
    compare,
    compiled,
    copier,
    frameworks,
    load,
    machine,
    row,
    run_python,
    table,
    take_turns,
    timed_row,
)

Make = Callable[[Framework], Callable[[], Any]]


def settings(quick: bool) -> dict[str, Any]:
    """How many runs, and seconds of a sample."""
    return {"runs": 5, "sample": 0.01} if quick else {"runs": 11, "sample": 0.05}


# -- recording -------------------------------------------------------------------------------------------------------
CHAIN = 50


def recording(quick: bool) -> list[dict]:
    """What one recorded op costs, beside the whole op in PyTorch; and a chain of 200 small adds, recorded and run."""
    rows = []
    for name, grad in (("record an add", False), ("record an add, with grad", True)):
        timing = compare({fw.name: recorded_chain(fw, grad) for fw in frameworks()}, **settings(quick))
        rows.append(timed_row(name, "us", timing, per_call=CHAIN, goal=1.0, note="and dropped; PyTorch: the whole op"))
    with compiled():
        for name, grad in (("200 small adds, run", False), ("200 small adds, run, with grad", True)):
            timing = compare({fw.name: run_chain(fw, 200, grad) for fw in frameworks()}, **settings(quick))
            rows.append(timed_row(name, "us", timing, goal=1.0))
    return rows


def recorded_chain(fw: Framework, grad: bool) -> Callable[[], Any]:
    x, one = models.floats(fw, 4, 4, grad=grad), models.floats(fw, 4, 4)
    if fw.name != "jitorch":
        return partial(chain, x, one, CHAIN)
    from jitorch.graph.record import local

    def record():
        chain(x, one, CHAIN)
        local.tape.reset()
    return record


def run_chain(fw: Framework, length: int, grad: bool) -> Callable[[], Any]:
    x, one = models.floats(fw, 4, 4, grad=grad), models.floats(fw, 4, 4)

    def run():
        y = chain(x, one, length)
        fw.finish()
        return y
    return run


def chain(x, one, length: int):
    for _ in range(length):
        x = x + one
    return x


# -- startup ---------------------------------------------------------------------------------------------------------
IMPORT = "import time; began = time.perf_counter(); import {}; print(time.perf_counter() - began)"


def startup(quick: bool) -> list[dict]:
    """Imports, and the first training step of the digits example, each in a fresh process."""
    runs = 3 if quick else 7
    peers = [fw.name for fw in frameworks()]
    for n in peers:                                             # writes bytecode, brings the files into memory
        number_printed(IMPORT.format(n))
    imports = take_turns({n: partial(number_printed, IMPORT.format(n)) for n in peers}, runs)
    rows = [timed_row("import", "s", imports, goal=0.25, note="in a process that has imported nothing")]
    with tempfile.TemporaryDirectory() as folder:
        warm = Path(folder) / "warm"
        demo(folder, "jitorch", warm, tier="compiled")          # fills the cache: every kernel is compiled
        empty = fresh_directories(Path(folder))
        first = take_turns({n: partial(first_step, folder, n, empty) for n in peers}, runs)
        rows.append(row("first step of the digits, empty cache", "s", first.median("jitorch"), goal=2.0,
                        note="from the start of the process"))
        rows.append(timed_row("the same, beside PyTorch", "s", first, goal=1.5))
        second = take_turns({n: partial(first_step, folder, n, repeat(warm)) for n in peers}, runs)
        rows.append(timed_row("first step of the digits, warm cache", "s", second, goal=1.0))
        compiled_second, loaded = counted(demo(folder, "jitorch", warm, tier="compiled"))
        rows.append(row("kernels compiled by a second process", "", compiled_second, goal=0,
                        note=f"{loaded} loaded from the cache"))
    return rows


def number_printed(code: str, **env: str) -> float:
    return float(run_python(code, **env))


def fresh_directories(folder: Path) -> Iterator[Path]:
    n = 0
    while True:
        n += 1
        yield folder / f"empty{n}"


# the example ends with sys.exit; what was compiled is printed on the way out
RUN_DEMO = """
import atexit, runpy, sys
sys.argv = ["digits.py", "--epochs", "1"]
def report():
    pool = sys.modules.get("jitorch.kernels.cpu.pool")
    if pool is not None:
        print("kernels", pool.stats()["compiled"], pool.stats()["loaded_from_disk"])
atexit.register(report)
runpy.run_path({path!r}, run_name="__main__")
"""


def demo(folder: str, name: str, cache: Path, tier: str = "auto") -> str:
    """What the digits example prints, one epoch long, as a program of jitorch or a peer."""
    program = Path(folder) / f"digits_{name}.py"
    program.write_text(models.digits_source(name))
    return run_python(RUN_DEMO.format(path=str(program)), JITORCH_CACHE_DIR=str(cache), JITORCH_TIER=tier)


def first_step(folder: str, name: str, caches: Iterator[Path]) -> float:
    """Seconds from the start of a process to its first training step, with the next of the cache directories."""
    printed = demo(folder, name, next(caches))
    found = re.search(r"first training step done ([\d.]+) s", printed)
    assert found, printed
    return float(found[1])


def counted(printed: str) -> tuple[int, int]:
    found = re.search(r"kernels (\d+) (\d+)", printed)
    assert found, printed
    return int(found[1]), int(found[2])


# -- training --------------------------------------------------------------------------------------------------------
TRAINING: dict[str, tuple[Make, float]] = {
    "tiny MLP, batch 10, SGD": (models.tiny_mlp, 0.5),
    "MLP 784-512-256-10, batch 128, Adam": (models.mlp, 0.6),
    "digits CNN, batch 64, Adam": (models.digits, 0.6),
    "small CNN 28x28, batch 64, SGD": (models.small_cnn, 0.6),
    "wide CNN 24x24x3, batch 32, SGD": (models.wide_cnn, 0.6),
}


def training(quick: bool) -> list[dict]:
    """Whole training steps: forward, backward and update."""
    rows = []
    with compiled():
        for name, (make, goal) in TRAINING.items():
            timing = compare({fw.name: make(fw) for fw in frameworks()}, **settings(quick))
            rows.append(timed_row(name, "ms", timing, goal=goal))
    return rows


# -- kernels ---------------------------------------------------------------------------------------------------------
class Case(NamedTuple):
    """One kernel: `make(fw)` gives a callable; it can't do with less than `bytes` through memory, or `flops`."""

    make: Make
    goal: float
    bytes: int = 0
    flops: int = 0


def forward(function: Callable, *shape: int) -> Make:
    """function(fw, x) without gradients."""
    def make(fw: Framework):
        x = models.floats(fw, *shape)

        def run():
            y = function(fw, x)
            fw.finish()
            return y
        return run
    return make


def forward_backward(function: Callable, *shape: int) -> Make:
    """function(fw, x) and the gradient to x of a given gradient; both are alive at the end."""
    def make(fw: Framework):
        x = models.floats(fw, *shape, grad=True)
        y = function(fw, x)
        # not a multiple of y: the gradient of a normalised value along itself is nothing but rounding
        seed = models.floats(fw, *y.shape, seed=2)
        del y
        fw.finish()

        def run():
            x.grad = None
            y = function(fw, x)
            y.backward(seed)
            fw.finish()
            return x.grad
        return run
    return make


def twenty_ops(fw: Framework, x):
    y = x
    for _ in range(4):
        y = (((y * 1.01 + x).abs() + 0.5).sqrt()) - 0.25
    return y


def ten_tanh(fw: Framework, x):
    y = x
    for _ in range(10):
        y = (y * 1.5).tanh()
    return y


def layer_norm(fw: Framework, x):
    return fw.F.layer_norm(x, (x.shape[-1],))


def cross_entropy(rows: int, n: int, wrap: Callable) -> Make:
    def make(fw: Framework):
        y = models.classes(fw, rows, n)
        return wrap(lambda fw, x: fw.F.cross_entropy(x, y), rows, n)(fw)
    return make


def matmul(n: int) -> Make:
    return forward(lambda fw, x: x @ x, n, n)


def convolution(channels: int, wrap: Callable, *shape: int) -> Make:
    def make(fw: Framework):
        w = models.floats(fw, channels, channels, 3, 3) * 0.05
        fw.finish()
        return wrap(lambda fw, x: fw.F.conv2d(x, w, padding=1), *shape)(fw)
    return make


def kernel_cases() -> dict[str, Case]:
    """Sizes as in a small GPT: 2,048 tokens, width 768, 12 heads of 512 x 512, 8,192 words; 64 MB for sums."""
    f = 4
    wide, heads, tokens, words, square = (2048, 3072), (4, 12, 512, 512), (2048, 768), (2048, 8192), (4096, 4096)

    def size(shape) -> int:
        return f * int(np.prod(shape))
    mb16 = (1 << 22,)
    cases = {
        "20 elementwise ops, 16 MB": Case(forward(twenty_ops, *mb16), 0.5, 2 * size(mb16)),
        "10 tanh and 10 products, 16 MB": Case(forward(ten_tanh, *mb16), 0.5, 2 * size(mb16)),
    }
    functions = {
        "gelu 2048x3072": (lambda fw, x: fw.F.gelu(x), wide),
        "softmax 48x512x512": (lambda fw, x: fw.F.softmax(x, -1), heads),
        "layer norm 2048x768": (layer_norm, tokens),
    }
    for name, (function, shape) in functions.items():
        cases[name] = Case(forward(function, *shape), 0.5, 2 * size(shape))
        cases[name + ", and backward"] = Case(forward_backward(function, *shape), 0.5, 4 * size(shape))
    name = "cross entropy 2048x8192"
    cases[name] = Case(cross_entropy(*words, forward), 0.5, size(words))
    cases[name + ", and backward"] = Case(cross_entropy(*words, forward_backward), 0.5, 2 * size(words))
    cases["sum of columns 4096x4096"] = Case(forward(lambda fw, x: x.sum(0), *square), 0.5, size(square))
    cases["variance of 4096x4096"] = Case(forward(lambda fw, x: x.var(), *square), 0.5, size(square))
    for n in (512, 1024):
        cases[f"matmul {n}"] = Case(matmul(n), 0.95, flops=2 * n ** 3)
    pictures, flops = (16, 64, 32, 32), 2 * 16 * 32 * 32 * 64 * 64 * 9
    cases["conv 3x3, 16x64x32x32 to 64"] = Case(convolution(64, forward, *pictures), 0.95, flops=flops)
    both = convolution(64, forward_backward, *pictures)
    cases["conv 3x3, and backward to its input"] = Case(both, 0.95, flops=2 * flops)
    return cases


def kernels(quick: bool) -> list[dict]:
    """Kernels, beside what the machine can do: the bandwidth of a copy, or the rate of a large product."""
    rows = []
    copy = copier()
    square = np.random.default_rng(0).standard_normal((1024, 1024), np.float32)
    with compiled():
        for name, case in kernel_cases().items():
            calls = {fw.name: case.make(fw) for fw in frameworks()}
            check_agreement(name, calls)
            calls["limit"] = copy if case.bytes else partial(np.matmul, square, square)
            timing = compare(calls, **settings(quick))
            rows.append(timed_row(name, "ms", timing, goal=case.goal, note=fraction_note(case, timing)))
    return rows


def check_agreement(name: str, calls: dict[str, Callable]) -> None:
    """A figure of a wrong result is worth nothing."""
    values = [call().numpy() for call in calls.values()]
    for other in values[1:]:
        np.testing.assert_allclose(values[0], other, rtol=2e-3, atol=2e-3 * float(np.abs(other).max()), err_msg=name)


def fraction_note(case: Case, timing) -> str:
    """How much of the machine's copy bandwidth or product rate the kernel reached, run by run."""
    work, limit = (case.bytes, 2 * COPY_BYTES) if case.bytes else (case.flops, 2 * 1024 ** 3)
    shares = [work / limit * r for r in timing.ratios("limit", "jitorch")]
    rate = limit / timing.median("limit") / 1e9
    what = f"{rate:.1f} GB/s of a copy" if case.bytes else f"{rate:.0f} GFLOP/s of NumPy's product"
    return f"{median(shares):.0%} of {what}"


# -- memory ----------------------------------------------------------------------------------------------------------
PEAK = r"""
import re, numpy as np, {name} as torch
from pathlib import Path
def finish():
    if {name!r} == "jitorch":
        from jitorch.graph.record import flush
        flush()
def chain(x):
    y = x
    for i in range(20):
        y = y * 1.5 + 0.25 if i % 2 else y.tanh()
    finish()
    return y
chain(torch.ones(1000))                 # code and threads are there
x = torch.from_numpy(np.ones(1 << 24, np.float32))
chain(x[:1000].clone())
def peak():
    return int(re.search(r"VmHWM:\s*(\d+)", Path("/proc/self/status").read_text())[1])
Path("/proc/self/clear_refs").write_text("5")       # forgets the peak so far (Linux, Documentation/filesystems/proc.rst)
before = peak()
y = chain(x)
grown = (peak() - before) / (1 << 16)
assert grown > 0.9, f"{{grown}}: the result alone takes 1"
print(grown)
"""

GROWTH = """
import gc, jitorch as torch
from pathlib import Path
from perf import models
from perf.harness import frameworks
jitorch = frameworks()[0]
step = models.tiny_mlp(jitorch) if {model!r} == "tiny" else models.digits(jitorch)
x, wrong = models.floats(jitorch, 10, 8, grad=True), models.floats(jitorch, 3, 7)

def fails():
    try:
        (x.tanh() @ wrong).sum().backward()
    except RuntimeError:
        return
    raise AssertionError("shapes that don't fit")

def resident():
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 1e6

def steps(n):
    for _ in range(n):
        if {failing}:
            fails()
        step()
steps(200)
before = resident()
steps(1000)
print(resident() - before)
"""


def memory(quick: bool) -> list[dict]:
    """What a fused chain allocates, and whether memory stays flat. Linux only: elsewhere, other units and no /proc."""
    if sys.platform != "linux":
        return []
    runs = 1 if quick else 5
    names = [fw.name for fw in frameworks()]
    found = take_turns({n: partial(number_printed, PEAK.format(name=n), JITORCH_TIER="compiled") for n in names}, runs)
    rows = [row("peak of a 20-op chain over 64 MB", "64 MB", found.median("jitorch"), found.median("torch"), goal=1.05,
                note="growth of the process beside the size of its result; 1: the result alone")]
    for name, model, failing in (("growth over 1,000 steps, tiny MLP", "tiny", False),
                                 ("growth over 1,000 steps that raise in the middle", "tiny", True),
                                 ("growth over 1,000 steps, digits CNN", "digits", False)):
        if quick and model == "digits":
            continue
        code = GROWTH.format(model=model, failing=failing)
        grown = [number_printed(code, JITORCH_TIER="compiled") for _ in range(min(runs, 3))]
        rows.append(row(name, "MB", median(grown), goal=1.0, note="resident memory, after 200 steps of warming up"))
    return rows


# -- running them ----------------------------------------------------------------------------------------------------
SUITES: dict[str, Callable[[bool], list[dict]]] = {
    "recording": recording, "startup": startup, "training": training, "kernels": kernels, "memory": memory}


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m perf.suites", description="Time jitorch beside PyTorch eager.")
    parser.add_argument("names", nargs="*", metavar="suite", help=f"one or more of {', '.join(SUITES)} (default: all)")
    parser.add_argument("--quick", action="store_true", help="fewer and shorter samples")
    parser.add_argument("--json", metavar="FILE", type=Path, help="write the figures and the machine to a file")
    options = parser.parse_args(argv)
    unknown = set(options.names) - set(SUITES)
    if unknown:
        parser.error(f"no such suite: {', '.join(sorted(unknown))}; there are {', '.join(SUITES)}")
    results: dict[str, Any] = {"machine": machine(), "quick": options.quick, "suites": {}}
    for name in options.names or SUITES:
        before = load()
        rows = SUITES[name](options.quick)
        results["suites"][name] = {"rows": rows, "load": [before, load()]}
        print(f"\n{name} (load {before} before, {load()} after)\n{table(rows)}", flush=True)
        if options.json:                    # after each: a long run that is stopped leaves what it has
            options.json.parent.mkdir(parents=True, exist_ok=True)
            options.json.write_text(json.dumps(results, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""The suites: what jitorch costs, beside its peers and the machine's limits in the same run.

    python -m perf.suites                               all suites
    python -m perf.suites kernels -k softmax --quick    some rows of one, in less time and with less certainty
    python -m perf.suites --peers torch,compile         beside these peers
    python -m perf.suites --json figures.json           the figures as data, with the machine they were taken on
    python -m perf.suites --markdown perf/records       a dated record

Each suite is a function of Settings and the names of those who take part that yields rows (see report.row).
"""
from __future__ import annotations

import argparse
import json
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from itertools import repeat
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from . import THREADS, cases, harness, limits, models, peers
from .harness import Budget, Settings, compare, compiled, run_python, take_turns
from .peers import TITLES, Framework, framework
from .report import beside, head, load, machine, markdown, row, text_of, timed_row

Make = Callable[[Framework], Callable[[], Any]]
QUICK_SECONDS = 80      # of all suites with --quick, by the clock
UNTOLD = limits.Work()
TOO_LATE = "not measured: the time is over (--seconds)"


# -- what the suites share -------------------------------------------------------------------------------------------
def prepared(names: Iterable[str], make: Callable[[str], Callable], settings: Settings):
    """For each name its callable and the result of a first call, or what went wrong."""
    calls, results, errors = {}, {}, {}
    for name in names:
        compiling = name == "compile" and settings.budget is not None
        if compiling and settings.budget.left < 0:
            errors[name] = f"not measured: the {settings.budget.seconds:.0f} s for its compiler are spent (--compile-seconds)"
            continue
        try:
            with settings.budget.spending() if compiling else nullcontext():
                if name == "compile":
                    peers.forget_compiled()
                call = make(name)
                results[name] = call()
                for _ in range(2 * (name == "compile")):    # a second step may compile once more
                    call()
            calls[name] = call
        except Exception as error:      # whatever a framework can't do is told in its row
            errors[name] = told(error)
    return calls, results, errors


def told(error: BaseException) -> str:
    """
    >>> told(ValueError("no\\n  such thing"))
    'ValueError: no such thing'
    """
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:300]}{'...' if len(text) > 300 else ''}"


def beside_peers(name: str, unit: str, names: Iterable[str], make: Callable[[str], Callable], settings: Settings,
                 goals: dict[str, float] | None = None, work: limits.Work | Callable[[dict], limits.Work] = UNTOLD,
                 **more: Any) -> dict:
    """The row of what make(name) returns for jitorch and each peer.

    work: what it can't do without, or a function of the first results, which checks them, too.
    """
    if settings.over:
        return row(name, unit, error=TOO_LATE)
    calls, results, errors = prepared(names, make, settings)
    if "jitorch" in errors:
        return row(name, unit, error=errors["jitorch"])
    try:
        needed = work(results) if callable(work) else work
        results.clear()
        limit = limits.limit_of(needed) if any(needed) else None
        timing = timed({**calls, "limit": limit.call} if limit else calls, settings)
    except Exception as error:
        return row(name, unit, error=told(error))
    if limit:
        shares = limits.share(needed, limit, timing.ratios("limit", "jitorch"))
        more |= {"share": median(shares), "bound": limit.name}
    return timed_row(name, unit, timing, goals=goals, errors=errors, **more)


def timed(calls: dict[str, Callable], settings: Settings) -> harness.Comparison:
    return compare(calls, runs=settings.runs, sample=settings.sample, longest=settings.longest)


def guarded(name: str, unit: str, make: Callable[[], dict], settings: Settings) -> dict:
    """The row, or what went wrong in the processes that were started for it."""
    try:
        return row(name, unit, error=TOO_LATE) if settings.over else make()
    except Exception as error:
        return row(name, unit, error=told(error))


# -- limits ----------------------------------------------------------------------------------------------------------
def machine_limits(settings: Settings, names: list[str]) -> Iterator[dict]:
    """What the machine can do, with one thread and with several: the figures that kernels are held against."""
    counts = sorted({1, THREADS})
    levels = {f"{name} ({size >> 10} KB)": size // 2 for name, size in limits.caches().items()} | {"memory": limits.LARGE}
    found: dict[tuple[str, int], float] = {}
    for place, moved in levels.items():
        for threads in counts:
            name = f"copy in {place}, {threads} thread{'s' * (threads > 1)}"
            each = moved if place == "memory" or place.startswith("L3") else moved * threads
            found[place, threads] = limits.bandwidth(each, threads)
            yield row(name, "GB/s", found[place, threads] / 1e9)
    for place, following in zip(levels, list(levels)[1:], strict=False):
        step = found[place, 1] / found[following, 1]
        seen = "seen" if step >= 1.15 else "not seen: within it nothing is faster, so other work may be filling it"
        yield row(f"{place} beside {following}", "times", step, note=seen)
    for threads in counts:
        name = f"read from memory, {threads} thread{'s' * (threads > 1)}"
        yield row(name, "GB/s", limits.bandwidth(limits.LARGE, threads, limits.reads) / 1e9)
    for threads in counts:
        limit = limits.multiply_adds(threads)
        name = f"float32 FMA, {threads} thread{'s' * (threads > 1)}"
        yield row(name, "GFLOP/s", limit.work / limits.shortest(limit.call) / 1e9)


# -- recording -------------------------------------------------------------------------------------------------------
CHAIN = 50


def recording(settings: Settings, names: list[str]) -> Iterator[dict]:
    """What one recorded op costs, beside the whole op in PyTorch; and a chain of 200 small adds, recorded and run."""
    for name, grad in (("record an add", False), ("record an add, with grad", True)):
        if settings.wants(name):
            yield beside_peers(name, "us", names, partial(recorded_chain, grad=grad), settings, {"torch": 1.0},
                               per_call=CHAIN, note="and dropped; PyTorch: the whole op")
    for name, grad in (("200 small adds, run", False), ("200 small adds, run, with grad", True)):
        if settings.wants(name):
            yield beside_peers(name, "us", names, partial(run_chain, length=200, grad=grad), settings, {"torch": 1.0})


def recorded_chain(name: str, grad: bool) -> Callable[[], Any]:
    fw = framework(name)
    x, one = models.floats(fw, 4, 4, grad=grad), models.floats(fw, 4, 4)
    if name != "jitorch":
        return partial(chain, x, one, CHAIN)
    from jitorch.graph.record import local

    def record():
        chain(x, one, CHAIN)
        local.tape.reset()
    return record


def run_chain(name: str, length: int, grad: bool) -> Callable[[], Any]:
    fw = framework(name)
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


def startup(settings: Settings, names: list[str]) -> Iterator[dict]:
    """Imports, and the first training step of the digits example, each in a fresh process."""
    if settings.over:
        yield row("startup", "s", error=TOO_LATE)
        return
    runs = 1 if settings.quick else 7
    for name in names:                                          # writes bytecode, brings the files into memory
        number_printed(IMPORT.format(name))
    with tempfile.TemporaryDirectory() as folder:
        warm = Path(folder) / "warm"
        demo(folder, "jitorch", warm, tier="compiled")          # fills the cache: every kernel is compiled
        empty = fresh_directories(Path(folder))

        def imports() -> dict:
            found = take_turns({n: partial(number_printed, IMPORT.format(n)) for n in names}, runs)
            return timed_row("import", "s", found, goals={"torch": 0.25}, note="in a process that has imported nothing")

        def first(title: str, caches: Iterator[Path], **goals: Any) -> dict:
            found = take_turns({n: partial(first_step, folder, n, caches) for n in names}, runs)
            return timed_row(title, "s", found, note="from the start of the process", **goals)

        def second() -> dict:
            compiled_second, loaded = counted(demo(folder, "jitorch", warm, tier="compiled"))
            return row("kernels compiled by 2nd process", "", compiled_second, goal=0, runs=1,
                       note=f"{loaded} loaded from the cache")
        makes = {
            "import": imports,
            "first digits step, no cache": partial(first, "first digits step, no cache", empty, goal=2.0,
                                                          goals={"torch": 1.5}),
            "first digits step, cached": partial(first, "first digits step, cached", repeat(warm),
                                                        goals={"torch": 1.0}),
            "kernels compiled by 2nd process": second,
        }
        if settings.quick:                      # half a minute of compiling, and the tests do it, too
            del makes["first digits step, no cache"]
        for name, make in makes.items():
            if settings.wants(name):
                yield guarded(name, "s", make, settings)


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


# -- training and inference ------------------------------------------------------------------------------------------
class Model(NamedTuple):
    """`work`: of its products and convolutions, gradients included; nothing: not told."""

    make: Make
    goals: dict[str, float]
    work: limits.Work = UNTOLD


def products(inner: float, first: float = 0) -> limits.Work:
    """Of a training step with so many multiplications in its forward pass; `first`: of layers whose input needs no gradient."""
    return limits.Work(flops=6 * inner + 4 * first)


STEP = {"torch": 0.6, "compile": 0.8}
SMALL = products(64 * (64 * 250 * 20 + 320 * 50 + 500), first=64 * 576 * 25 * 10)
WIDE = products(32 * (144 * 288 * 64 + 2304 * 128 + 1280), first=32 * 576 * 27 * 32)
RECURRENT = products(65 * 128 * 1024 + 2048 * (256 * 1024 + 256 * 65))       # of inputs, one product for each of the 65 characters
GPT = products(768 * (4 * 12 * 128 ** 2 + 128 * 65) + 12 * 4 * 64 ** 2 * 128)     # of attention, the half that is not masked
TRAINING = {
    "tiny MLP, batch 10, SGD": Model(models.tiny_mlp, {"torch": 0.5, "compile": 0.8}),
    "MLP 784-512-256-10, batch 128": Model(models.mlp, STEP, products(128 * (512 * 256 + 2560), first=128 * 784 * 512)),
    "digits CNN, batch 64": Model(models.digits, STEP),
    "small CNN 28x28, batch 64": Model(models.small_cnn, STEP, SMALL),
    "wide CNN 24x24x3, batch 32": Model(models.wide_cnn, STEP, WIDE),
    "LSTM 256, 32x64 characters": Model(models.lstm, STEP, RECURRENT),
    "GPT 4x128, 12x64 characters": Model(models.gpt, STEP, GPT),
}
TRACED = {       # jitorch.trace of the whole step, beside the same peers
    "tiny MLP, batch 10, traced": Model(models.tiny_mlp, {"torch": 0.1, "compile": 0.8}),
    "digits CNN, batch 64, traced": Model(models.digits, STEP),
    "GPT 4x128, 12x64, traced": Model(models.gpt, STEP, GPT),
}
INFERENCE = {
    "ResNet-20, one picture": Model(models.resnet, STEP, limits.Work(flops=2 * 40.8e6)),
    "Transformer encoder 2x256, 1x128": Model(models.encoder, STEP, limits.Work(
        flops=2 * (2 * 128 * 12 * 256 ** 2 + 2 * 2 * 128 ** 2 * 256))),
    # every weight, and keys and values of every place
    "GPT 4x256, one more word": Model(models.decode, STEP, limits.Work(read=4 * 4 * (12 * 256 ** 2 + 2 * 256 ** 2))),
}
FROZEN = {f"{name}, frozen": INFERENCE[name] for name in ("ResNet-20, one picture", "Transformer encoder 2x256, 1x128")}


def training(settings: Settings, names: list[str]) -> Iterator[dict]:
    """Whole training steps: forward, backward and update."""
    yield from model_rows(TRAINING, made, settings, names)
    yield from model_rows(TRACED, traced, settings, names)


def inference(settings: Settings, names: list[str]) -> Iterator[dict]:
    """Traced calls without gradients; of modules, frozen ones, too."""
    yield from model_rows(INFERENCE, made, settings, names)
    yield from model_rows(FROZEN, frozen, settings, names)


def model_rows(table: dict[str, Model], making: Callable, settings: Settings, names: list[str]) -> Iterator[dict]:
    for name, model in table.items():
        if settings.wants(name):
            yield beside_peers(name, "ms", names, partial(making, model.make), settings, model.goals, model.work)


def made(make: Make, name: str) -> Callable[[], Any]:
    return make(framework(name))


def traced(make: Make, name: str) -> Callable[[], Any]:
    fw = framework(name)
    return fw.torch.trace(make(fw)) if name == "jitorch" else make(fw)


def frozen(make: Make, name: str) -> Callable[[], Any]:
    """jitorch with weights that are constants, beside the peers as they are."""
    fw = framework(name)
    jit = fw.torch.jit
    return make(fw._replace(trace=lambda f, *inputs: jit.freeze(jit.trace(f, inputs))) if name == "jitorch" else fw)


# -- kernels ---------------------------------------------------------------------------------------------------------
def kernels(settings: Settings, names: list[str]) -> Iterator[dict]:
    """Kernels, beside what the machine can do: see limits.py."""
    for name, case in cases.kernel_cases().items():
        if settings.wants(name):
            yield beside_peers(name, "ms", names, partial(cases.call_of, case), settings, case.goals,
                               partial(cases.checked_work, case))


# -- threads ---------------------------------------------------------------------------------------------------------
BUSY = "while True: pass"


def threads(settings: Settings, names: list[str]) -> Iterator[dict]:
    """How much slower work on all processors gets when another process wants one of them; by the clock, 2 threads."""
    if not hasattr(signal, "SIGSTOP"):
        yield row("slowed by a busy process", "times", error="this system can't stop a process for a while")
        return
    work = {"softmax 48x512x512, disturbed": partial(cases.call_of, cases.kernel_cases()["softmax 48x512x512"]),
            "MLP step, disturbed": partial(made, models.mlp)}
    with with_threads(2, names):
        for name, make in work.items():
            if settings.wants(name):
                yield guarded(name, "times", partial(disturbed_row, name, make, names, settings), settings)


def disturbed_row(name: str, make: Callable[[str], Callable], names: list[str], settings: Settings) -> dict:
    calls, _, errors = prepared(names, make, settings)
    if "jitorch" in errors:
        return row(name, "times", error=errors["jitorch"])
    found: dict[str, list[float]] = {n: [] for n in calls}
    count = 3 if settings.quick else 9
    with busy_process() as busy:
        for _ in range(2 if settings.quick else harness.FEWEST_RUNS):
            for n, call in calls.items():
                quiet = min(walls(call, count))
                busy.send_signal(signal.SIGCONT)
                time.sleep(0.02)
                found[n].append(median(walls(call, count)) / quiet)
                busy.send_signal(signal.SIGSTOP)
    return timed_row(name, "times", harness.Comparison(found), errors=errors, goal=2.0,
                     note="median time beside a busy process over the shortest without it")


@contextmanager
def with_threads(n: int, names: list[str]) -> Iterator[None]:
    from jitorch.kernels.cpu import executor

    def everywhere(count: int) -> None:
        executor.set_num_threads(count)
        if len(names) > 1:
            framework("torch").torch.set_num_threads(count)
    everywhere(n)
    try:
        yield
    finally:
        everywhere(THREADS)


@contextmanager
def busy_process() -> Iterator[subprocess.Popen]:
    """A process that wants a processor all the time, stopped for now."""
    process = subprocess.Popen([sys.executable, "-c", BUSY])
    process.send_signal(signal.SIGSTOP)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def walls(call: Callable, count: int, longest: float = 0.5) -> list[float]:
    """Seconds of each of `count` calls by the clock, after one that is not counted; fewer if they take too long."""
    call()
    found: list[float] = []
    while len(found) < count and (len(found) < 3 or sum(found) < longest):
        began = time.perf_counter()
        call()
        found.append(time.perf_counter() - began)
    return found


# -- compiling -------------------------------------------------------------------------------------------------------
STEPS = """
import time
from perf import models, peers
name = {name!r}
step = models.gpt(peers.framework(name))
began = time.perf_counter()
if name == "jitorch":
    import jitorch
    from jitorch.kernels.cpu import pool
    with jitorch.config.using(tier="compiled"):
        before = pool.stats()["compiled"]
        for _ in range(3):
            step().item()
    seconds = time.perf_counter() - began
    spent = 0
    for helper in pool._pool.helpers:
        fields = open(f"/proc/{{helper.process.pid}}/stat").read().rsplit(")", 1)[1].split()
        spent += (int(fields[11]) + int(fields[12])) / 100
    print(seconds, pool.stats()["compiled"] - before, spent)
else:
    for _ in range(3):
        step().item()
    print(time.perf_counter() - began, 0, 0)
"""


def compiling(settings: Settings, names: list[str]) -> Iterator[dict]:
    """The first three training steps of a GPT in a fresh process with an empty cache, and what of it is compiling."""
    name = "GPT, first 3 steps, empty cache"
    added, counted_name = "compiling the kernels of a GPT", "kernels of a GPT's step"
    if not any(map(settings.wants, (name, added, counted_name))):
        return
    try:
        with tempfile.TemporaryDirectory() as folder:
            empty = fresh_directories(Path(folder))

            def first_steps(peer: str, cache: Path) -> list[float]:
                env = {"JITORCH_CACHE_DIR": str(cache), "JITORCH_TIER": "reference",
                       "TORCHINDUCTOR_CACHE_DIR": str(cache / "inductor")}
                return [float(x) for x in run_python(STEPS.format(name=peer), **env).split()]
            ours: list[list[float]] = []
            times: dict[str, list[float]] = {"jitorch": [], "warm": []}
            for _ in range(1 if settings.quick else harness.FEWEST_RUNS):
                cache = next(empty)
                ours.append(first_steps("jitorch", cache))
                times["jitorch"].append(ours[-1][0])
                times["warm"].append(first_steps("jitorch", cache)[0])
            for peer in names[1:]:      # a compiler's half minute, once
                times[peer] = [first_steps(peer, next(empty))[0] for _ in range(1 if peer == "compile" else len(ours))]
    except Exception as error:
        yield row(name, "s", error=told(error))
        return
    extra = [cold - warm for cold, warm in zip(times["jitorch"], times["warm"], strict=True)]
    helpers = median([each[2] for each in ours])
    sides = {peer: beside(median(times[peer]), [ratio / median(times[peer]) for ratio in times["jitorch"]],
                          goal=0.1 if peer == "compile" else None) for peer in times if peer in TITLES}
    yield row(name, "s", median(times["jitorch"]), peers=sides, runs=len(ours), note="wall clock")
    yield row(added, "s", median(extra), goal=1.5, runs=len(ours),
              note=f"what an empty cache adds to these steps, by the clock; the helpers took {helpers:.2f} s of processor time, "
                   "their start included")
    yield row(counted_name, "", median([each[1] for each in ours]), runs=len(ours), note="compiled by these three steps")


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
from perf.peers import framework
jitorch = framework("jitorch")
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


# what the steps of a training loop add at most to a process that has imported everything and run small programs
STEP_PEAK = r"""
import gc, re
from pathlib import Path
from perf import models, peers
fw = peers.framework({name!r})
models.tiny_mlp(fw)().item()            # code and threads are there
def status(field):
    return int(re.search(field + r":\s*(\d+)", Path("/proc/self/status").read_text())[1]) / 1024
before = status("VmRSS")
step = models.gpt(fw, width=256, length=256, batch=8)
for _ in range(3):
    step().item()
gc.collect()
Path("/proc/self/clear_refs").write_text("5")
for _ in range(3):
    step().item()
print(status("VmHWM") - before)
"""


def memory(settings: Settings, names: list[str]) -> Iterator[dict]:
    """What a fused chain and a training step allocate, and whether memory stays flat."""
    if sys.platform != "linux":         # elsewhere, other units and no /proc
        yield row("peak of memory", "MB", error="only Linux tells, in /proc")
        return
    runs = 1 if settings.quick else 5
    eager = [name for name in names if name != "compile"]

    def chain_peak(name: str) -> dict:
        found = take_turns({n: partial(number_printed, PEAK.format(name=n), JITORCH_TIER="compiled") for n in eager}, runs)
        sides = {n: beside(found.median(n), found.ratios("jitorch", n)) for n in eager[1:]}
        return row(name, "64 MB", found.median("jitorch"), peers=sides, goal=1.05, runs=runs,
                   note="growth of the process beside the size of its result; 1: the result alone")

    def step_peak(name: str) -> dict:
        found = take_turns({n: partial(number_printed, STEP_PEAK.format(name=n), JITORCH_TIER="compiled") for n in names},
                           min(runs, 3))
        return timed_row(name, "MB", found, goals={"torch": 0.8, "compile": 0.9},
                         note="growth beyond the imports, GPT 4 x 256, 8 x 256 characters; of torch.compile with what its "
                              "compiler keeps")

    def growth(name: str, model: str, failing: bool) -> dict:
        code = GROWTH.format(model=model, failing=failing)
        grown = [number_printed(code, JITORCH_TIER="compiled") for _ in range(min(runs, 3))]
        return row(name, "MB", median(grown), goal=1.0, runs=len(grown), note="resident memory, after 200 steps of warming up")
    makes: dict[str, Callable[[str], dict]] = {
        "peak of a 20-op chain over 64 MB": chain_peak,
        "peak of a GPT training step": step_peak,
        "growth over 1,000 steps, tiny MLP": partial(growth, model="tiny", failing=False),
        "growth over 1,000 failing steps": partial(growth, model="tiny", failing=True),
        "growth over 1,000 steps, digits": partial(growth, model="digits", failing=False),
    }
    if settings.quick:
        makes = {name: make for name, make in makes.items() if make is chain_peak or name.endswith("tiny MLP")}
    for name, make in makes.items():
        if settings.wants(name):
            yield guarded(name, "MB", partial(make, name), settings)


# -- running them ----------------------------------------------------------------------------------------------------
class Suite(NamedTuple):
    """rows(settings, names): jitorch is the first of the names, then those of `peers` that were picked."""

    rows: Callable[[Settings, list[str]], Iterator[dict]]
    peers: tuple[str, ...] = ()
    quick: bool = True          # whether it is among those that --quick runs


SUITES = {      # in the order of a run: what matters most first, in case it is stopped
    "limits": Suite(machine_limits),
    "recording": Suite(recording, ("torch",)),
    "kernels": Suite(kernels, ("torch", "compile", "jax")),
    "training": Suite(training, ("torch", "compile")),
    "inference": Suite(inference, ("torch", "compile")),
    "memory": Suite(memory, ("torch", "compile")),
    "startup": Suite(startup, ("torch",)),
    "threads": Suite(threads, ("torch", "compile"), quick=False),
    "compiling": Suite(compiling, ("torch", "compile"), quick=False),
}


def main(argv: list[str] | None = None, program: str = "python -m perf.suites") -> int:
    parser = arguments(program)
    options = parser.parse_args(argv)
    unknown = set(options.names) - set(SUITES)
    if unknown:
        parser.error(f"no such suite: {', '.join(sorted(unknown))}; there are {', '.join(SUITES)}")
    try:
        picked, absent = peers.pick(options.peers, options.quick)
    except ValueError as error:
        parser.error(str(error))
    for option, number in (("--seconds", options.seconds), ("--compile-seconds", options.compile_seconds)):
        if number is not None and not number >= 0:
            parser.error(f"{option}: at least 0")
    for option, path in (("--json", options.json), ("--markdown", options.markdown)):
        if path is not None and not path.is_dir():      # said before the measuring, not after it
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.open("ab").close()
            except OSError as error:
                parser.error(f"{option}: {error}")
    for text in absent:
        print(text)
    seconds = options.seconds or (QUICK_SECONDS if options.quick and not options.names else None)
    until = None if seconds is None else time.monotonic() + seconds
    settings = Settings(options.quick, picked, options.only, Budget(options.compile_seconds), until)
    results: dict[str, Any] = {"machine": machine(), "quick": options.quick, "peers": picked, "absent": absent, "suites": {}}
    for name in options.names or [name for name, suite in SUITES.items() if suite.quick or not options.quick]:
        run_suite(name, settings, results, options)
    if not any(suite["rows"] for suite in results["suites"].values()):
        parser.error(f"-k: no row has {options.only!r} in its name")
    return 0


def run_suite(name: str, settings: Settings, results: dict[str, Any], options: argparse.Namespace) -> None:
    """Show and keep each row as it comes: a long run that is stopped leaves what it has."""
    suite, before, began = SUITES[name], load(), time.perf_counter()
    sides = [peer for peer in settings.peers if peer in suite.peers]
    print(f"\n{name}\n{head(sides)}", flush=True)
    found: dict[str, Any] = {"rows": [], "load": [before, before], "seconds": 0.0}
    results["suites"][name] = found
    with compiled():
        for each in suite.rows(settings, ["jitorch", *sides]):
            if settings.wants(each["name"]):
                print(text_of(each, sides), flush=True)
                found["rows"].append(each)
                found["load"][1], found["seconds"] = load(), time.perf_counter() - began
                keep(results, options)
    print(f"{time.perf_counter() - began:.0f} s, load {before} before, {load()} after", flush=True)


def arguments(program: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=program, description="Time jitorch beside its peers and the machine's limits.")
    parser.add_argument("names", nargs="*", metavar="suite", help=f"one or more of {', '.join(SUITES)} (default: all)")
    parser.add_argument("--quick", action="store_true", help="fewer and shorter samples, beside PyTorch eager alone")
    parser.add_argument("--peers", metavar="NAMES", help=f"some of {','.join(TITLES)}, or none (default: all installed)")
    parser.add_argument("-k", dest="only", metavar="TEXT", default="", help="only rows with this in their name")
    parser.add_argument("--seconds", type=float, metavar="S", help="rows that would begin later say so instead of a figure "
                        f"(default: no limit; with --quick and no suite named: {QUICK_SECONDS})")
    parser.add_argument("--compile-seconds", type=float, default=900, metavar="S",
                        help="after so many seconds in torch.compile's compiler, further rows go without it (default: 900)")
    parser.add_argument("--json", metavar="FILE", type=Path, help="write the figures and the machine to a file")
    parser.add_argument("--markdown", metavar="FILE", type=Path,
                        help="write a record; into a folder: a file named by date and commit")
    return parser


def keep(results: dict[str, Any], options: argparse.Namespace) -> None:
    """Write the files that were asked for."""
    where = results["machine"]
    for path, text in ((options.json, json.dumps(results, indent=1) + "\n"), (options.markdown, markdown(results))):
        if path is not None:
            if path.is_dir():
                path = path / f"{where['date']}-{where['commit']}.md"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)


if __name__ == "__main__":
    sys.exit(main())

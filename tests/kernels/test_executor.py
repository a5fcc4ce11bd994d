"""The executor: steps, chunks, regions, finish calls, fixups; threads, forks, the way out."""

import ctypes
import os
import subprocess
import sys
import textwrap
import threading
import time

import numpy as np
import pytest

from jitorch.kernels.cpu import executor, pool
from jitorch.kernels.cpu.executor import Executor

ADD = """
def kernel(args, lo, hi):
    x = ptr_f32(args, 0)
    y = ptr_f32(args, 1)
    out = ptr_f32(args, 2)
    for i in range(uint64(lo), uint64(hi)):
        independent()
        out[i] = x[i] + y[i]
"""
# partial sums of chunks; the finish call adds them up in order
SUM = """
def kernel(args, lo, hi):
    x = ptr_f32(args, 0)
    partial = ptr_f32(args, 1)
    out = ptr_f32(args, 2)
    chunk = word(args, 3)
    if lo == hi:
        total = float32(0)
        for c in range((uint64(hi) + chunk - uint64(1)) // chunk):
            total += partial[c]
        out[0] = total
    else:
        total = float32(0)
        for i in range(uint64(lo), uint64(hi)):
            total = radd(total, x[i])
        partial[uint64(lo) // chunk] = total
"""
# counts how often each position was covered, and the calls
COVER = """
def kernel(args, lo, hi):
    seen = ptr_i64(args, 0)
    calls = ptr_i64(args, 1)
    for i in range(uint64(lo), uint64(hi)):
        seen[i] += 1
    add_atomic(calls, 1)
"""
SLOW = """
def kernel(args, lo, hi):
    out = ptr_f64(args, 0)
    for task in range(uint64(lo), uint64(hi)):
        x = float64(task)
        for _ in range(uint64(20000)):
            x = x * 0.999 + 1.0
        out[task] = x
"""


WAKE = 2  # flag: sleeping threads are woken for the region


class Program:
    """Steps and their words, built a kernel at a time."""

    def __init__(self):
        self.steps, self.words, self.fixups, self.kept = [], [], [], []

    def add(self, source, words, n, chunk, region=1, before=0, finish=False):
        self.steps.append([pool.request(source).address, len(self.words), n, chunk, region, before, int(finish) | WAKE, 0])
        for word in words:
            self.kept.append(word)
            self.words.append(word.ctypes.data if isinstance(word, np.ndarray) else word)
        return self

    def run(self, bases=()):
        steps, words = np.array(self.steps, np.int64).reshape(-1, 8), np.array(self.words, np.int64)
        fixups, bases = np.array(self.fixups, np.int64).reshape(-1, 3), np.array(bases, np.int64)
        return Executor.get(wait=True).run(
            steps.ctypes.data, len(steps), words.ctypes.data, fixups.ctypes.data, len(fixups), bases.ctypes.data
        )


@pytest.fixture(params=[1, 2, 5])
def threads(request):
    before = executor.get_num_threads()
    executor.set_num_threads(request.param)
    yield request.param
    executor.set_num_threads(before)


def normal(n, seed=0):
    return np.random.default_rng(seed).normal(size=n).astype(np.float32)


def test_an_empty_program(threads):
    Program().run()


@pytest.mark.parametrize("n, chunk", [(0, 8), (1, 8), (8, 8), (9, 8), (1000, 8), (1000, 1), (1000, 10**9)])
def test_every_position_is_covered_once(threads, n, chunk):
    seen, calls = np.zeros(n + 1, np.int64), np.zeros(1, np.int64)
    Program().add(COVER, [seen, calls], n, chunk).run()
    assert seen.tolist() == [1] * n + [0]
    assert calls[0] == -(-n // chunk)


def test_steps_run_in_order(threads):
    x, y = normal(10000), normal(10000, 1)
    a, b = np.empty_like(x), np.empty_like(x)
    program = Program().add(ADD, [x, y, a], 10000, 100).add(ADD, [a, y, b], 10000, 300).add(ADD, [b, a, a], 10000, 77)
    program.run()
    np.testing.assert_array_equal(b, (x + y) + y)
    np.testing.assert_array_equal(a, b + (x + y))


def test_a_region_runs_all_its_rows_and_finishes_them_in_order(threads):
    sizes = [0, 5, 1000, 1, 0, 333]
    program, results, before = Program(), [], 0
    order = np.zeros(len(sizes) + 1, np.int64)
    ordered = """
def kernel(args, lo, hi):
    order = ptr_i64(args, 0)
    seen = ptr_i64(args, 2)
    if lo == hi:
        order[0] += 1
        order[uint64(order[0])] = sword(args, 1)
    for i in range(uint64(lo), uint64(hi)):
        seen[i] += 1
"""
    for row, n in enumerate(sizes):
        seen = np.zeros(n + 1, np.int64)
        results.append(seen)
        program.add(
            ordered, [order, row, seen], n, 10, region=len(sizes) if row == 0 else 0, before=before, finish=row != 3
        )
        before += -(-n // 10)
    after, calls = np.zeros(6, np.int64), np.zeros(1, np.int64)
    program.add(COVER, [after, calls], 5, 2)
    program.run()
    for n, seen in zip(sizes, results, strict=True):
        assert seen.tolist() == [1] * n + [0]
    assert order.tolist() == [5, 0, 1, 2, 4, 5, 0]  # the number of finish calls, and the rows they were for
    assert after.tolist() == [1] * 5 + [0]


def test_sums_are_bitwise_the_same_for_any_number_of_threads():
    n, chunk = 100_003, 1000
    x = normal(n)
    results = set()
    before = executor.get_num_threads()
    for count in (1, 2, 3, 7):
        executor.set_num_threads(count)
        for _ in range(20):
            partial, out = np.zeros(-(-n // chunk), np.float32), np.zeros(1, np.float32)
            Program().add(SUM, [x, partial, out, chunk], n, chunk, finish=True).run()
            results.add(out.tobytes())
    executor.set_num_threads(before)
    assert len(results) == 1
    np.testing.assert_allclose(out[0], x.sum(dtype=np.float64), rtol=1e-4)


def test_fixups_set_the_words_of_this_run(threads):
    x, y = normal(100), normal(100, 1)
    out = np.zeros(120, np.float32)
    program = Program().add(ADD, [x, 0, 0], 100, 30)
    program.fixups = [[1, 0, 0], [2, 1, 80]]
    program.run(bases=[y.ctypes.data, out.ctypes.data])
    np.testing.assert_array_equal(out[20:], x + y)
    assert not out[:20].any()


# each task waits until all have begun: it takes as many threads as tasks
MEET = """
def kernel(args, lo, hi):
    begun = ptr_i64(args, 0)
    met = ptr_i64(args, 1)
    tasks = sword(args, 2)
    add_atomic(begun, 1)
    looks = 0
    while load_atomic(begun) < tasks and looks < 100_000_000:
        pause()
        looks += 1
    met[lo] = int64(load_atomic(begun) >= tasks)
"""


@pytest.mark.parametrize("count", [2, 4])
def test_tasks_of_a_region_run_at_the_same_time(count):
    before = executor.get_num_threads()
    executor.set_num_threads(count)
    for pause in (0, 0, 0.01):  # threads that look for work, and threads that sleep
        time.sleep(pause)
        begun, met = np.zeros(1, np.int64), np.zeros(count, np.int64)
        Program().add(MEET, [begun, met, count], count, 1).run()
        assert met.tolist() == [1] * count
    executor.set_num_threads(before)


def test_programs_from_several_python_threads_at_once(threads):
    errors = []

    def work(seed):
        x, y = normal(5000, seed), normal(5000, seed + 1)
        out = np.zeros_like(x)
        program = Program().add(ADD, [x, y, out], 5000, 100).add(ADD, [out, y, out], 5000, 100)
        for _ in range(200):
            out[:] = 0
            program.run()
            if not np.array_equal(out, (x + y) + y):
                errors.append(seed)
                return

    running = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    assert errors == []


def test_the_number_of_threads_may_change_while_programs_run():
    before = executor.get_num_threads()
    stop = threading.Event()

    def change():
        n = 0
        while not stop.is_set():
            n += 1
            executor.set_num_threads(1 + n % 4)
            time.sleep(0.001)

    changer = threading.Thread(target=change)
    changer.start()
    try:
        for _ in range(200):
            seen, calls = np.zeros(500, np.int64), np.zeros(1, np.int64)
            Program().add(COVER, [seen, calls], 500, 3).run()
            assert seen.all() and seen.max() == 1
    finally:
        stop.set()
        changer.join()
        executor.set_num_threads(before)


def test_threads_that_are_no_longer_needed_end():
    before = executor.get_num_threads()
    Executor.get(wait=True)
    for count in (6, 1):
        executor.set_num_threads(count)
        deadline = time.monotonic() + 10
        while workers() != count - 1 and time.monotonic() < deadline:
            time.sleep(0.01)
        assert workers() == count - 1
    executor.set_num_threads(before)


def workers():
    return sum(thread.name.removeprefix("jitorch-").isdecimal() for thread in threading.enumerate())


def test_a_call_costs_microseconds():
    out = Executor.get(wait=True)
    times = []
    for _ in range(500):
        start = time.perf_counter()
        out.run(0, 0, 0, 0, 0, 0)
        times.append(time.perf_counter() - start)
    assert sorted(times)[250] < 20e-6  # 1 us on a quiet machine


def test_idle_threads_use_no_cpu():
    seen, calls = np.zeros(100, np.int64), np.zeros(1, np.int64)
    Program().add(COVER, [seen, calls], 100, 3).run()
    time.sleep(0.05)
    start = time.process_time()
    time.sleep(0.3)
    assert time.process_time() - start < 0.1


@pytest.mark.parametrize("n", [0, -1])
def test_a_number_of_threads_that_makes_no_sense(n):
    with pytest.raises(RuntimeError, match="positive"):
        executor.set_num_threads(n)


def run_python(code, **more):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([os.getcwd(), os.path.dirname(__file__)]), **more}
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], env=environment, capture_output=True, text=True, timeout=100
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip(), done.stderr.strip()


USE = """
import os, sys, time
import numpy as np
from jitorch.kernels.cpu import executor
from test_executor import COVER, Program
executor.set_num_threads(3)
def covers():
    seen, calls = np.zeros(1000, np.int64), np.zeros(1, np.int64)
    Program().add(COVER, [seen, calls], 1000, 7).run()
    return bool((seen == 1).all()) and calls[0] == 143
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_has_a_pool_of_its_own():
    code = (
        USE
        + """
import warnings
warnings.simplefilter("ignore", DeprecationWarning)
assert covers()
for _ in range(5):
    child = os.fork()
    if not child:
        right = covers() and executor.Executor.get()._pool["THREADS"] == 3
        os._exit(0 if right else 1)
    assert os.waitpid(child, 0)[1] == 0 and covers()
print("right")
"""
    )
    assert run_python(code)[0] == "right"


def test_spawned_processes_start_afresh():
    code = (
        USE
        + """
assert covers()
import concurrent.futures, multiprocessing, operator
with concurrent.futures.ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as processes:
    print(processes.submit(operator.methodcaller("add", 1), 1).exception() is not None)
    from test_executor import whole_program
    print(processes.submit(whole_program).result())
"""
    )
    assert run_python(code)[0].split() == ["True", "True"]


def whole_program():
    seen, calls = np.zeros(1000, np.int64), np.zeros(1, np.int64)
    Program().add(COVER, [seen, calls], 1000, 7).run()
    return bool((seen == 1).all())


def test_the_way_out_is_quick_and_quiet():
    """Also while threads are looking for work, and with a daemon thread in the middle of a program."""
    code = (
        USE
        + """
import threading
assert covers()
threading.Thread(target=lambda: [covers() for _ in range(10**9)], daemon=True).start()
time.sleep(0.05)
print(time.time())
"""
    )
    for _ in range(3):
        out, err = run_python(code)
        assert time.time() - float(out) < 2
        assert err == ""


def test_the_variable_sets_the_number_of_threads():
    code = "from jitorch.kernels.cpu import executor; print(executor.get_num_threads())"
    assert run_python(code, JITORCH_NUM_THREADS="7")[0] == "7"
    assert run_python(code, JITORCH_NUM_THREADS="")[0] == str(executor.available_cpus())


def test_get_does_not_wait():
    """Before it is compiled, the executor is None: waiting would have brought it."""
    code = """
    from jitorch.kernels.cpu.executor import Executor
    print(Executor.get() is None, Executor.get(wait=True) is Executor.get())
    """
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        assert run_python(code, JITORCH_CACHE_DIR=folder)[0] == "True True"


def test_ctypes_releases_the_interpreter():
    """Python threads go on while a program runs."""
    out = np.zeros(2000)
    program = Program().add(SLOW, [out], 2000, 2000)
    counted = 0
    done = threading.Event()
    thread = threading.Thread(target=lambda: (program.run(), done.set()))
    thread.start()
    while not done.is_set():
        counted += 1
    thread.join()
    assert counted > 100
    assert ctypes.sizeof(ctypes.c_int64) == 8

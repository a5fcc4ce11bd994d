"""Kernels on request: helpers that compile, die, or find the disk damaged; forks and several processes."""

import ctypes
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time

import numpy as np
import pytest

from jitorch.kernels import cache
from jitorch.kernels.cpu import pool as pool_module
from jitorch.kernels.cpu.pool import CompileError, Pool

KERNEL = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_ssize_t, ctypes.c_ssize_t)
posix = pytest.mark.skipif(os.name != "posix", reason="needs signals and fork")


def source_of(number):
    return f"""
def kernel(args, lo, hi):
    out = ptr_f32(args, 0)
    for i in range(uint64(lo), uint64(hi)):
        independent()
        out[i] = out[i] * float32({number})
"""


def works(ticket, number):
    out = np.arange(50, dtype=np.float32)
    table = np.array([out.ctypes.data])
    KERNEL(ticket.address)(table.ctypes.data, 0, out.size)
    np.testing.assert_array_equal(out, np.arange(50, dtype=np.float32) * np.float32(number))
    return True


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("JITORCH_CACHE_DIR", str(tmp_path / "kernels"))
    monkeypatch.setattr(cache, "_told", set())
    monkeypatch.setattr(cache, "_problems", [])
    return tmp_path / "kernels"


@pytest.fixture
def make_pool(folder):
    """Pools that end with the test."""
    made = []

    def make():
        made.append(Pool())
        return made[-1]

    yield make
    for each in made:
        each.close()


def counts(pool):
    return {name: n for name, n in pool.stats().items() if n}


def helper_ids(pool):
    return [helper.process.pid for helper in pool.helpers]


def test_compiled_then_from_memory_then_from_disk(make_pool):
    first = make_pool()
    ticket = first.request(source_of(2))
    assert not ticket.ready() and ticket.error is None
    assert ticket.wait(60) and ticket.ready()
    assert works(ticket, 2)
    assert first.request(source_of(2)) is ticket
    assert counts(first) == {"compiled": 1, "memory_hits": 1}
    second = make_pool()
    again = second.request(source_of(2))
    assert again.ready() and works(again, 2)
    assert counts(second) == {"loaded_from_disk": 1}
    assert second.helpers == []


def test_the_source_is_kept_to_read(make_pool, folder):
    ticket = make_pool().request(source_of(3))
    ticket.wait(60)
    assert (folder / f"{ticket.key}.py").read_text() == source_of(3)


def test_wait_gives_up_after_its_timeout(make_pool):
    ticket = make_pool().request(source_of(4))
    start = time.monotonic()
    assert ticket.wait(0.01) is False
    assert time.monotonic() - start < 0.3
    assert ticket.wait(60)


def test_an_error_names_the_kernel_and_the_reason(make_pool):
    pool = make_pool()
    bad = pool.request("def kernel(args, lo, hi):\n    nonsense(args)\n")
    good = pool.request(source_of(5))
    assert bad.wait(60)
    assert "nonsense" in bad.error and "Traceback" in bad.error
    with pytest.raises(CompileError, match="nonsense"):
        bad.address  # noqa: B018
    assert works(good, 5)


def test_a_damaged_entry_is_compiled_again_with_one_warning(make_pool, folder):
    ticket = make_pool().request(source_of(6))
    ticket.wait(60)
    entry = folder / f"{ticket.key}.kernel"
    intact = entry.read_bytes()
    entry.write_bytes(intact[:-100])
    pool = make_pool()
    with pytest.warns(RuntimeWarning, match="damaged") as warned:
        again = pool.request(source_of(6))
        assert works(again, 6)
    assert sum(w.category is RuntimeWarning for w in warned) == 1
    assert counts(pool) == {"compiled": 1}
    assert entry.read_bytes() == intact


def test_without_a_cache_kernels_stay_in_memory(make_pool, folder):
    folder.write_text("in the way")
    pool = make_pool()
    with pytest.warns(RuntimeWarning, match="not kept on disk") as warned:
        ticket = pool.request(source_of(7))
        ticket.wait(60)
        other = pool.request(source_of(8))
        other.wait(60)
    assert sum(w.category is RuntimeWarning for w in warned) == 1
    assert works(ticket, 7) and works(other, 8)
    assert pool.request(source_of(7)) is ticket


def test_a_kernel_is_kept_where_it_was_asked_for(make_pool, folder, monkeypatch):
    """Another directory that is set while it is compiled is none of its business."""
    ticket = make_pool().request(source_of(9))
    later = folder.with_name("later")
    monkeypatch.setenv("JITORCH_CACHE_DIR", str(later))
    assert cache.directory() == str(later)
    assert ticket.wait(60) and works(ticket, 9)
    assert [path.suffix for path in sorted(folder.iterdir())] == [".kernel", ".py"]
    assert not list(later.iterdir())


@posix
def test_a_killed_helper_is_replaced(make_pool):
    pool = make_pool()
    pool.request(source_of(9)).wait(60)
    for pid in helper_ids(pool):
        os.kill(pid, signal.SIGKILL)
    assert works(pool.request(source_of(10)), 10)


@posix
def test_a_helper_killed_at_work_is_replaced_once(make_pool):
    pool = make_pool()
    ticket = pool.request(source_of(11))  # the helper has just been started and imports Numba
    while not pool.helpers:
        time.sleep(0.005)
    os.kill(helper_ids(pool)[0], signal.SIGKILL)
    assert works(ticket, 11)
    assert ticket.attempts <= 1


def test_a_kernel_that_ends_its_helper_is_an_error_and_others_go_on(make_pool):
    pool = make_pool()
    deadly = pool.request("import os\nos._exit(3)\ndef kernel(args, lo, hi):\n    pass\n")
    assert deadly.wait(60)
    assert "ended with status 3" in deadly.error
    assert works(pool.request(source_of(12)), 12)


def test_many_kernels_from_many_threads(make_pool):
    pool = make_pool()
    tickets = [[] for _ in range(4)]

    def ask(mine):
        for n in range(6):
            mine.append(pool.request(source_of(20 + n)))
        for ticket in mine:
            ticket.wait(60)
            assert ticket.address

    threads = [threading.Thread(target=ask, args=(mine,)) for mine in tickets]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(mine == tickets[0] for mine in tickets)
    assert all(works(ticket, 20 + n) for n, ticket in enumerate(tickets[0]))
    assert counts(pool) == {"compiled": 6, "memory_hits": 18}
    assert len(pool.helpers) <= pool_module.MAX_HELPERS


def test_interrupting_a_wait_leaves_the_pool_usable(make_pool):
    pool = make_pool()
    ticket = pool.request(source_of(30))
    timer = threading.Timer(0.05, signal.raise_signal, [signal.SIGINT])
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        while not ticket.wait(60):
            pass
        time.sleep(1)  # if it was compiled first
    timer.join()
    assert works(ticket, 30)


def run_python(code, folder, **more):
    environment = {**os.environ, "JITORCH_CACHE_DIR": str(folder), **more}
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], env=environment, capture_output=True, text=True, timeout=100
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


USE = f"""
import sys
sys.path.insert(0, {os.getcwd()!r})
from jitorch.kernels.cpu import pool
from jitorch.kernels.cpu.pool import request, stats
def source_of(n):
    return "def kernel(args, lo, hi):\\n    out = ptr_f32(args, 0)\\n    out[lo] = float32(%d)\\n" % n
"""


def test_a_second_process_compiles_nothing_and_imports_no_numba(folder):
    code = USE + "print(bool(request(source_of(1)).address), stats()['compiled'], 'numba' in sys.modules)"
    assert run_python(code, folder) == "True 1 False"
    assert run_python(code, folder) == "True 0 False"


def test_processes_at_once_share_the_cache(folder):
    code = USE + "print(all(request(source_of(n)).address for n in range(5)))"
    environment = {**os.environ, "JITORCH_CACHE_DIR": str(folder)}
    running = [
        subprocess.Popen([sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    assert [process.communicate(timeout=100)[0].strip() for process in running] == ["True"] * 3
    assert sum(path.suffix == ".kernel" for path in folder.iterdir()) == 5
    assert not [path for path in folder.iterdir() if path.suffix == ".tmp"]


@posix
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_compiles_with_helpers_of_its_own(folder):
    code = (
        USE
        + """
import os
ready = request(source_of(1))
ready.wait()
pending = request(source_of(2))
parent = set(h.process.pid for h in pool._pool.helpers)
child = os.fork()
if not child:
    right = ready.ready() and bool(ready.address) and bool(pending.address) and bool(request(source_of(3)).address)
    own = set(h.process.pid for h in pool._pool.helpers)
    pool._pool.close()
    os._exit(0 if right and own and not own & parent else 1)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), bool(pending.address), bool(request(source_of(4)).address))
"""
    )
    assert run_python(code, folder) == "0 True True"


@posix
def test_helpers_end_with_their_process(folder):
    code = (
        USE
        + """
import os
request(source_of(1)).wait()
print(*[h.process.pid for h in pool._pool.helpers], flush=True)
os._exit(0)  # no clean-up
"""
    )
    ids = [int(pid) for pid in run_python(code, folder).split()]
    assert ids
    deadline = time.monotonic() + 10
    while any(alive(pid) for pid in ids) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not any(alive(pid) for pid in ids)


def alive(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_leaving_in_the_middle_of_a_compilation_is_quick_and_quiet(folder):
    code = (
        USE
        + """
import atexit, time
for n in range(8): request(source_of(n))
time.sleep(0.3)
"""
    )
    start = time.monotonic()
    assert run_python(code, folder) == ""
    assert time.monotonic() - start < 5


def test_settings_for_the_users_numba_do_not_reach_the_helpers(folder):
    code = USE + "print(bool(request(source_of(1)).address))"
    assert run_python(code, folder, NUMBA_DISABLE_JIT="1", PYTHONWARNINGS="error") == "True"


def test_a_module_of_the_user_does_not_shadow_the_helpers_imports(folder, tmp_path):
    (tmp_path / "queue.py").write_text("raise RuntimeError('imported')")
    code = USE + f"import queue; sys.path.insert(0, {str(tmp_path)!r}); print(bool(request(source_of(1)).address))"
    assert run_python(code, folder) == "True"

"""Kernels on disk: keys, damage, full or foreign directories, the size limit."""

import os
import stat
import subprocess
import sys

import pytest

from jitorch.kernels import cache
from jitorch.kernels.objects import MAGIC, Compiled, pack, undefined_symbols, unpack

KERNEL = Compiled("kernel_x", b"\x00machine code\xff" * 10, ("exp", "memset"))
KEY = "ab" * 32


@pytest.fixture
def folder(tmp_path, monkeypatch):
    path = tmp_path / "kernels"
    monkeypatch.setenv("JITORCH_CACHE_DIR", str(path))
    monkeypatch.setattr(cache, "_told", set())
    monkeypatch.setattr(cache, "_problems", [])
    cache._usable.cache_clear()
    yield path
    cache._usable.cache_clear()


def problems():
    """What the user would be warned of."""
    found = list(cache._problems)
    cache._problems.clear()
    return found


def test_a_stored_kernel_comes_back(folder):
    assert cache.load(cache.directory(), KEY) is None
    cache.store(cache.directory(), KEY, KERNEL)
    assert cache.load(cache.directory(), KEY) == KERNEL
    assert problems() == []


def test_the_directory_is_private(folder):
    cache.store(cache.directory(), KEY, KERNEL)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_key_depends_on_the_source_alone_within_a_process():
    assert cache.key("a") == cache.key("a") != cache.key("b")
    assert len(cache.key("a")) == 64


def test_key_depends_on_all_files_that_the_compiler_is_made_of():
    """What a helper has imported of this package once it can compile is what the key is made of."""
    code = f"""
import sys
from jitorch.kernels.cpu import worker
worker.enter_packages({sys.path!r})
for name in [name for name in sys.modules if name.startswith("jitorch.")]:
    del sys.modules[name]
import jitorch.kernels.cpu.compiler
print(*(m.__file__ for n, m in sys.modules.items() if n.startswith("jitorch.") and not hasattr(m, "__path__")), sep="\\n")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    imported = set(done.stdout.splitlines())
    assert imported == {str(path) for path in cache.compiler_files()}
    assert any(path.endswith("library.py") for path in imported)


def test_source_is_kept_beside_the_kernel(folder):
    path = cache.store_source(cache.directory(), KEY, "def kernel(): ...\n")
    assert path == str(folder / f"{KEY}.py")
    assert (folder / f"{KEY}.py").read_text() == "def kernel(): ...\n"


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data[: len(data) // 2],
        lambda data: b"",
        lambda data: b"garbage" * 100,
        lambda data: data[:-1] + bytes([data[-1] ^ 1]),
        lambda data: b"jitorch-kernel-0\n" + data[len(MAGIC) :],
        lambda data: pack("another key", KERNEL),
    ],
    ids=["truncated", "empty", "garbage", "one bit", "other version", "another kernel"],
)
def test_a_damaged_entry_is_not_used_and_told_once(folder, damage):
    cache.store(cache.directory(), KEY, KERNEL)
    entry = folder / f"{KEY}.kernel"
    entry.write_bytes(damage(entry.read_bytes()))
    assert cache.load(cache.directory(), KEY) is None
    assert cache.load(cache.directory(), KEY) is None
    (message,) = problems()
    assert "damaged" in message and KEY in message
    cache.store(cache.directory(), KEY, KERNEL)
    assert cache.load(cache.directory(), KEY) == KERNEL


def test_problems_become_one_warning(folder):
    folder.mkdir(mode=0o700)
    (folder / f"{KEY}.kernel").write_bytes(b"garbage")
    cache.load(cache.directory(), KEY)
    with pytest.warns(RuntimeWarning, match="damaged") as warned:
        cache.warn_of_problems()
        cache.warn_of_problems()
    assert len(warned) == 1


def test_a_file_in_place_of_the_directory_means_no_cache(folder):
    folder.write_text("")
    assert cache.directory() is None
    cache.store(cache.directory(), KEY, KERNEL)
    assert cache.load(cache.directory(), KEY) is None
    assert cache.store_source(cache.directory(), KEY, "") is None
    assert cache.info()["directory"] is None and cache.clear() == 0
    (message,) = problems()
    assert "not kept on disk" in message


@pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX permissions")
def test_a_directory_that_everyone_may_write_to_is_refused(folder):
    folder.mkdir()
    folder.chmod(0o777)
    assert cache.directory() is None
    assert "every user" in problems()[0]


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="needs a directory of another user")
def test_a_directory_of_another_user_is_refused(folder):
    folder.mkdir(mode=0o700)
    os.chown(folder, 12345, 12345)
    assert cache.directory() is None
    assert "another user" in problems()[0]


def test_a_full_disk_means_no_cache(folder, monkeypatch):
    def full(*args):
        raise OSError(28, "No space left on device")

    assert cache.directory()
    monkeypatch.setattr(cache.os, "replace", full)
    cache.store(cache.directory(), KEY, KERNEL)
    cache.store(cache.directory(), "cd" * 32, KERNEL)
    (message,) = problems()
    assert "No space left" in message
    assert list(folder.iterdir()) == []


def test_the_least_recently_used_entries_go_first(folder, monkeypatch):
    keys = [f"{n:02x}" * 32 for n in range(10)]
    for n, key in enumerate(keys):
        cache.store(cache.directory(), key, KERNEL)
        cache.store_source(cache.directory(), key, "x" * 100)
        os.utime(folder / f"{key}.kernel", (1000 + n, 1000 + n))
    cache.load(cache.directory(), keys[0])  # used now
    size = cache.info()["bytes"]
    monkeypatch.setattr(cache, "LIMIT_BYTES", size // 2)
    cache.trim(str(folder))
    left = {path.name for path in folder.iterdir()}
    assert cache.info()["bytes"] <= size // 2
    assert {f"{keys[0]}.kernel", f"{keys[9]}.kernel"} <= left
    assert f"{keys[1]}.kernel" not in left and f"{keys[1]}.py" not in left


def test_files_of_dead_processes_go(folder):
    cache.store(cache.directory(), KEY, KERNEL)
    stale, fresh = folder / "a.tmp", folder / "b.tmp"
    stale.write_text("")
    fresh.write_text("")
    os.utime(stale, (1000, 1000))
    cache.trim(str(folder))
    assert not stale.exists() and fresh.exists()


def test_info_and_clear_count_kernels_and_leave_other_files(folder):
    for n in range(3):
        cache.store(cache.directory(), f"{n:02x}" * 32, KERNEL)
    (folder / "notes.txt").write_text("mine")
    (folder / "notes.py").write_text("mine")
    assert cache.info()["kernels"] == 3 and cache.info()["directory"] == str(folder)
    assert cache.clear() == 3
    assert cache.info()["kernels"] == 0
    assert sorted(path.name for path in folder.iterdir()) == ["notes.py", "notes.txt"]


def test_unpack_refuses_what_pack_did_not_write():
    data = pack(KEY, KERNEL)
    assert unpack(KEY, data) == KERNEL
    for cut in range(0, len(data), 7):
        with pytest.raises(ValueError):
            unpack(KEY, data[:cut])


def test_undefined_symbols_of_something_else():
    assert undefined_symbols(b"not an object") is None

"""Compiled kernels on disk, per user, shared by processes.

A kernel's key is the SHA-256 of its source and of everything else its machine code depends on: the compiler's own
files, the versions of Numba and llvmlite, Python's version, the CPU and its features. `<key>.kernel` holds the object
code (see `objects.pack`), `<key>.py` beside it the source to read.

Nothing here raises on a bad disk: a directory that can't be used means no cache, a damaged entry means that the kernel
is compiled again, and each problem is told once. Files are written under another name and renamed, so that a reader
sees all of a file or nothing. Imports neither Numba nor, before the first key, llvmlite.

    >>> info()["limit"] == LIMIT_BYTES
    True
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import re
import stat
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Iterator
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

from ..config import variable
from .objects import Compiled, pack, unpack

LIMIT_BYTES = 1 << 30  # beyond it, the entries used least recently are removed
KEPT_SHARE = 0.8  # of the limit, when entries are removed
STORES_BETWEEN_TRIMS = 200
STALE_SECONDS = 3600  # a temporary file of this age was left behind by a process that died
ENTRY, SOURCE, TEMPORARY = ".kernel", ".py", ".tmp"
COMPILER = Path(__file__).with_name("cpu") / "compiler.py"
IMPORT = re.compile(r"^from (\.+)(\w*) import \(?([\w, ]*)", re.MULTILINE)  # within the package; `ast` takes 100 times as long

_lock = threading.RLock()  # a signal handler or a finalizer may run while this thread holds it
_stores = 0
_problems: list[str] = []  # to be told by the thread of the user
_told: set[str] = set()  # kinds of problems


# ---------------------------------------------------------------------------------------------------------------------
# Keys
# ---------------------------------------------------------------------------------------------------------------------


def compiler_files() -> dict[Path, str]:
    """The files of this package that machine code depends on, and their text: the compiler, what it imports, and so on."""
    found: dict[Path, str] = {}
    waiting = [COMPILER]
    while waiting:
        path = waiting.pop()
        if path in found:
            continue
        found[path] = path.read_text(encoding="utf-8")
        for dots, module, names in IMPORT.findall(found[path]):
            folder = path.parents[len(dots) - 1]
            waiting += [folder / f"{name.strip()}.py" for name in ([module] if module else names.split(","))]
    return found


@cache
def _base() -> Any:
    """A hash of what all machine code depends on."""
    import llvmlite.binding as llvm

    parts = [text.encode() for text in compiler_files().values()]
    for package in ("numba", "llvmlite"):  # their version files: reading these is 50 times cheaper than importing Numba
        spec = importlib.util.find_spec(package)
        if spec is None or spec.origin is None:
            raise ImportError(f"{package} is needed to compile kernels and is not installed")
        parts.append(Path(spec.origin).with_name("_version.py").read_bytes())
    parts.append(f"{sys.implementation.cache_tag} {llvm.get_process_triple()}".encode())
    parts.append(f"{llvm.get_host_cpu_name()} {llvm.get_host_cpu_features().flatten()}".encode())
    total = hashlib.sha256()
    for part in parts:
        total.update(hashlib.sha256(part).digest())
    return total


def key(source: str) -> str:
    """The name of a kernel: 64 hexadecimal digits."""
    total = _base().copy()
    total.update(source.encode())
    return total.hexdigest()


# ---------------------------------------------------------------------------------------------------------------------
# The directory
# ---------------------------------------------------------------------------------------------------------------------


def default_directory() -> Path:
    """Where kernels are kept unless JITORCH_CACHE_DIR says otherwise."""
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA") or str(Path.home() / "AppData" / "Local")
    elif sys.platform == "darwin":
        base = str(Path.home() / "Library" / "Caches")
    else:
        base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "jitorch"


def directory() -> str | None:
    """The directory of the cache, made if needed; None if there can't be one, of which the user is told once."""
    return _usable(variable("JITORCH_CACHE_DIR"))


@lru_cache(maxsize=8)
def _usable(named: str) -> str | None:
    try:
        path = str(Path(named).expanduser().absolute() if named else default_directory())
        os.makedirs(path, mode=0o700, exist_ok=True)
        refusal = _refusal(path)
    except (OSError, RuntimeError) as error:  # RuntimeError: there is no home directory
        path, refusal = named or "the user's cache directory", str(error)
    if refusal:
        problem("directory", f"compiled kernels are not kept on disk: {path} can't be used ({refusal})")
        return None
    return path


def _refusal(path: str) -> str | None:
    """Why code must not be loaded from this directory or can't be written there."""
    if hasattr(os, "geteuid"):
        status = os.stat(path)
        if status.st_uid != os.geteuid():
            return "it belongs to another user"
        if status.st_mode & stat.S_IWOTH:
            return "every user may write to it"
    return None if os.access(path, os.W_OK | os.X_OK) else "it is not writable"


# ---------------------------------------------------------------------------------------------------------------------
# Load and store
# ---------------------------------------------------------------------------------------------------------------------


# A folder is passed in, because compiling takes a while: a kernel is kept in the directory that was set when it was asked for.


def load(folder: str | None, key: str) -> Compiled | None:
    """The kernel of that key, or None if it is not there or damaged."""
    if folder is None:
        return None
    path = f"{folder}/{key}{ENTRY}"
    try:
        with open(path, "rb") as file:
            data = file.read()
        kernel = unpack(key, data)
        os.utime(path)  # used now
        return kernel
    except FileNotFoundError:
        return None
    except OSError as error:
        problem("read", f"a compiled kernel can't be read and is compiled again: {error}")
    except ValueError as error:
        problem("damaged", f"the compiled kernel {path} is damaged and is compiled again: {error}")
    return None


def store(folder: str | None, key: str, kernel: Compiled) -> None:
    """Keep a kernel. Does nothing where there is no cache; tells of an error once."""
    global _stores
    if folder is None or not write(folder, key + ENTRY, pack(key, kernel)):
        return
    with _lock:
        _stores += 1
        due = _stores % STORES_BETWEEN_TRIMS == 1
    if due:
        trim(folder)


def store_source(folder: str | None, key: str, source: str) -> str | None:
    """Write the source beside the entry; the path of the file, None where there is no cache."""
    path = f"{folder}/{key}{SOURCE}"
    if folder is None or not (os.path.exists(path) or write(folder, key + SOURCE, source.encode())):
        return None
    return path


def write(folder: str, name: str, data: bytes) -> bool:
    """Write a file of the cache, whole or not at all; whether it was."""
    temporary = None
    try:
        number, temporary = tempfile.mkstemp(suffix=TEMPORARY, dir=folder)
        with os.fdopen(number, "wb") as file:
            file.write(data)
        os.replace(temporary, f"{folder}/{name}")
        return True
    except OSError as error:
        problem("write", f"compiled kernels are not kept on disk: {error}")
    if temporary is not None:
        _remove(temporary)
    return False


def _remove(path: str) -> None:
    try:
        os.remove(path)
    except OSError:
        return  # another process was faster, or the directory is no longer writable: it stays, and is counted again


# ---------------------------------------------------------------------------------------------------------------------
# Size
# ---------------------------------------------------------------------------------------------------------------------


def _files(folder: str) -> list[tuple[float, int, str]]:
    """(time of last use, bytes, path) of the cache's own files."""
    found = []
    with os.scandir(folder) as entries:
        for entry in entries:
            own_source = entry.name.endswith(SOURCE) and len(entry.name) == 64 + len(SOURCE)
            if own_source or entry.name.endswith((ENTRY, TEMPORARY)):
                try:
                    status = entry.stat()
                except FileNotFoundError:
                    continue
                found.append((status.st_mtime, status.st_size, entry.path))
    return found


def trim(folder: str) -> None:
    """Remove the entries used least recently if the cache is above its limit, and files left by dead processes."""
    try:
        files = sorted(_files(folder))
    except OSError as error:
        problem("read", f"the directory of compiled kernels can't be read: {error}")
        return
    for used, _, path in files:
        if path.endswith(TEMPORARY) and used < time.time() - STALE_SECONDS:
            _remove(path)
    total = sum(size for _, size, _ in files)
    if total <= LIMIT_BYTES:
        return
    sources = {path: size for _, size, path in files if path.endswith(SOURCE)}
    for _, size, path in files:
        if total <= LIMIT_BYTES * KEPT_SHARE:
            return
        if path.endswith(ENTRY):
            source = path.removesuffix(ENTRY) + SOURCE
            _remove(path)
            _remove(source)
            total -= size + sources.get(source, 0)


def info() -> dict[str, Any]:
    """Where the cache is and what it holds: `directory` (None: there is none), `kernels`, `bytes`, `limit`.

    >>> sorted(info())
    ['bytes', 'directory', 'kernels', 'limit']
    """
    folder = directory()
    files = _files(folder) if folder else []
    return {
        "directory": folder,
        "kernels": sum(path.endswith(ENTRY) for _, _, path in files),
        "bytes": sum(size for _, size, _ in files),
        "limit": LIMIT_BYTES,
    }


def clear() -> int:
    """Remove every kernel from the disk; how many there were. Kernels that are loaded stay usable."""
    folder = directory()
    files = _files(folder) if folder else []
    for _, _, path in files:
        _remove(path)
    return sum(path.endswith(ENTRY) for _, _, path in files)


# ---------------------------------------------------------------------------------------------------------------------
# Problems
# ---------------------------------------------------------------------------------------------------------------------


def problem(kind: str, message: str) -> None:
    """Note what went wrong, once for each kind of problem; `warn_of_problems` tells the user."""
    with _lock:
        if kind not in _told:
            _told.add(kind)
            _problems.append(message)


def told() -> Iterator[str]:
    """What went wrong since the last call, a line each, which is then told."""
    while _problems:
        yield "jitorch: " + _problems.pop(0)


def warn_of_problems() -> None:
    """Warn of what went wrong since the last call. Kept apart from where it went wrong, which may be another thread."""
    for text in told():
        warnings.warn(text, RuntimeWarning, stacklevel=3)

"""`jitorch env` and `jitorch cache info`: what this process would run on."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import sys
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from .. import __version__, config
from ..kernels import cache
from ..kernels.cpu import executor

PACKAGES = ("numpy", "scipy", "numba", "llvmlite")


def show_environment() -> None:
    """Print everything that a kernel's code and speed depend on."""
    console = Console()
    for name, value in environment().items():
        console.print(f"[bold]{name:<10}[/] {escape(value)}", soft_wrap=True, highlight=False)


def environment() -> dict[str, str]:
    """What `jitorch env` shows, by name.

    >>> environment()["jitorch"].split()[0]
    '0.1.0'
    """
    return {
        "jitorch": f"{__version__} in {Path(__file__).resolve().parents[1]}",
        "python": f"{platform.python_version()} ({platform.python_implementation()})",
        **{name: version(name) for name in PACKAGES},
        "system": platform.platform(),
        "processor": f"{processor()}, {os.cpu_count()} CPUs, {executor.available_cpus()} of them for this process",
        "vectors": vectors(),
        "threads": f"{executor.get_num_threads()} for a program, the caller and a pool of native threads "
        f"({'Windows' if os.name == 'nt' else 'POSIX'} locks)",
        "tier": config.tier + (", every compiled run checked" if config.check else ""),
        "cache": cache_text(),
        "gpu": "none is used: this version runs on the CPU",
        "switches": " ".join(f"{k}={v}" for k, v in sorted(os.environ.items()) if k.startswith("JITORCH_")) or "none",
    }


def show_cache() -> None:
    """Print where the cache is, how much it holds and may hold."""
    print(cache_text())


def cache_text() -> str:
    held = cache.info()
    if held["directory"] is None:
        tell_of_problems()
        return "none: kernels are compiled anew in every process"
    kernels = f"{held['kernels']} kernel{'' if held['kernels'] == 1 else 's'}"
    return f"{held['directory']}: {kernels}, {held['bytes'] / 1e6:.1f} MB of at most {held['limit'] / 1e6:.0f} MB"


def clear_cache() -> int:
    """Remove the kernels. Returns the exit status: 1 where there is no cache."""
    folder = cache.directory()
    if folder is None:
        tell_of_problems()
        return 1
    removed = cache.clear()
    print(f"removed {removed} kernel{'' if removed == 1 else 's'} from {folder}")
    return 0


def tell_of_problems() -> None:
    for line in cache.told():
        print(line, file=sys.stderr)


def version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def processor() -> str:
    """The processor's name as its maker gives it."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:  # not Linux
        return platform.processor() or platform.machine()
    return platform.machine()


def vectors() -> str:
    """How wide the vectors in generated code are, and for which processor LLVM takes this one."""
    import llvmlite.binding as llvm

    from ..kernels.cpu.compiler import WIDE_VECTOR_CPUS

    cpu = llvm.get_host_cpu_name()
    has = {name for name, present in llvm.get_host_cpu_features().items() if present}
    if "avx512f" in has and cpu in WIDE_VECTOR_CPUS:
        return f"512 bits, code for {cpu}"
    note = " (LLVM prefers 256 to 512 on it)" if "avx512f" in has else ""
    return f"{256 if 'avx' in has else 128} bits, code for {cpu}{note}"

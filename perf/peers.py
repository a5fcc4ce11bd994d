"""Who is compared: jitorch, and the peers that are installed, each with THREADS threads."""
from __future__ import annotations

import importlib
import importlib.util
import logging
import os
import shutil
from collections.abc import Callable
from functools import cache
from types import ModuleType
from typing import Any, NamedTuple

from . import THREADS

TITLES = {"torch": "torch eager", "compile": "torch.compile", "jax": "JAX"}


class Framework(NamedTuple):
    """jitorch or a peer with its interface: the modules a benchmark uses, and what makes recorded work happen."""

    name: str
    torch: ModuleType
    nn: ModuleType
    F: ModuleType
    optim: ModuleType
    finish: Callable[[], None]
    compile: Callable[[Callable], Callable]         # a function that is called again and again, gradients included
    trace: Callable[..., Callable]                  # (function, *example inputs): one that is called without gradients


@cache
def framework(name: str) -> Framework:
    """Of "jitorch", "torch" (eager) or "compile" (torch.compile with its default back end)."""
    if name == "jitorch":
        from jitorch.graph.record import flush
        from jitorch.kernels.cpu import executor
        executor.set_num_threads(THREADS)
        torch, nn, functional, optim = modules("jitorch")
        return Framework(name, torch, nn, functional, optim, flush, plain, lambda f, *inputs: torch.jit.trace(f, inputs))
    torch, nn, functional, optim = modules("torch")
    torch.set_num_threads(THREADS)
    if name == "torch":
        return Framework(name, torch, nn, functional, optim, nothing, plain, plain)
    torch._logging.set_logs(dynamo=logging.ERROR)
    importlib.import_module("torch._inductor.config").compile_threads = 1       # no helpers that take processor time
    return Framework(name, torch, nn, functional, optim, nothing, torch.compile, lambda f, *inputs: torch.compile(f))


def modules(name: str) -> list[ModuleType]:
    return [importlib.import_module(name + part) for part in ("", ".nn", ".nn.functional", ".optim")]


def nothing() -> None:
    return None


def plain(function: Callable, *inputs: Any) -> Callable:
    return function


def forget_compiled() -> None:
    """What torch.compile learnt: a case must not be compiled for changing shapes because another one came before."""
    framework("compile").torch.compiler.reset()


@cache
def jax() -> ModuleType:
    """JAX on the CPU. XLA makes as many threads as NPROC says; with one, Eigen's pool is switched off as well."""
    os.environ["NPROC"] = str(THREADS)
    os.environ["JAX_PLATFORMS"] = "cpu"
    if THREADS == 1:
        os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} --xla_cpu_multi_thread_eigen=false".strip()
    return importlib.import_module("jax")


# -- picking ---------------------------------------------------------------------------------------------------------
def missing(peer: str) -> str:
    """Why a peer can't take part; "" if it can."""
    package = "jax" if peer == "jax" else "torch"
    if importlib.util.find_spec(package) is None:
        return f"{package} is not installed"
    if peer == "compile" and not (os.environ.get("CXX") or shutil.which("g++") or shutil.which("clang++")):
        return "torch.compile needs a C++ compiler, and there is none"
    return ""


def pick(asked: str | None, quick: bool) -> tuple[tuple[str, ...], list[str]]:
    """The peers that take part, and why others don't.

    asked: names with commas between them, or "none". Without it: all; PyTorch eager if `quick`.
    ValueError for a name that is not known.

    >>> pick("none", quick=False)
    ((), [])
    """
    names = list(TITLES) if asked is None else [name.strip() for name in asked.split(",") if name.strip()]
    if asked is None and quick:
        names = ["torch"]
    if names == ["none"]:
        names = []
    unknown = [name for name in names if name not in TITLES]
    if unknown:
        raise ValueError(f"no such peer: {', '.join(unknown)}; there are {', '.join(TITLES)}, and none")
    reasons = {name: missing(name) for name in names}
    absent = [f"{TITLES[name]} takes no part: {reason}" for name, reason in reasons.items() if reason]
    return tuple(name for name in TITLES if name in reasons and not reasons[name]), absent

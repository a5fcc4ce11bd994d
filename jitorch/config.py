"""The switches: each an environment variable (an empty one counts as not set) and a setting of this module.

| variable | setting | meaning |
| --- | --- | --- |
| JITORCH_TIER | tier | "auto" (reference first, compiled once ready), "compiled" (always, waits), "reference" (never compiled) |
| JITORCH_CHECK | check | 1: every compiled run is compared with the reference and raises at the first difference |
| JITORCH_DEBUG | debug | 0 silent, 1 programs, 2 and their kernels, 3 and the generated source |
| JITORCH_WINOGRAD | winograd | 0: no convolution is computed with fewer multiplications than its definition has (see kernels/cpu/winograd.py) |
| JITORCH_CACHE_DIR | | where compiled kernels are kept (read by kernels/cache.py) |
| JITORCH_NUM_THREADS | threads | threads of the executor at start, 1 to 1024; None: one for each processor (see kernels/cpu/executor.py) |

A value that a variable can't have is a ValueError when jitorch is imported; the command `jitorch` says it in a line and ends.
"""
from __future__ import annotations

import os
import sys
from contextlib import contextmanager
from typing import NoReturn

TIERS = ("auto", "compiled", "reference")
MAX_THREADS = 1024


def variable(name: str, default: str = "") -> str:
    """The text of one of these environment variables; one that is empty counts as not set."""
    return os.environ.get(name, "").strip() or default


def one_of(name: str, default: str, allowed: tuple[str, ...]) -> str:
    text = variable(name, default)
    if text not in allowed:
        refuse(f"{name}={text!r}: use one of {', '.join(allowed)}")
    return text


def threads_of(text: str) -> int | None:
    if text and not (text.isascii() and text.isdecimal() and 1 <= int(text) <= MAX_THREADS):
        refuse(f"JITORCH_NUM_THREADS={text!r}: use an integer from 1 to {MAX_THREADS}")
    return int(text) if text else None


def refuse(message: str) -> NoReturn:
    """ValueError; where the command is starting, which can't catch it (the package is imported first), a line and status 2."""
    if os.path.basename("".join(sys.argv[:1])) in ("jitorch", "jitorch.exe") or sys.orig_argv[1:3] == ["-m", "jitorch"]:
        print(f"jitorch: {message}", file=sys.stderr)
        raise SystemExit(2)
    raise ValueError(message)


tier: str = one_of("JITORCH_TIER", "auto", TIERS)
check: bool = one_of("JITORCH_CHECK", "0", ("0", "1")) == "1"
winograd: bool = one_of("JITORCH_WINOGRAD", "1", ("0", "1")) == "1"
debug: int = int(one_of("JITORCH_DEBUG", "0", ("0", "1", "2", "3")))
threads: int | None = threads_of(variable("JITORCH_NUM_THREADS"))


@contextmanager
def using(**settings):
    """Change settings within a block: ``with jitorch.config.using(tier="reference"): ...``.

    What is recorded before and inside the block is run at its borders, so that the settings hold for exactly the block.

    >>> import jitorch
    >>> with jitorch.config.using(tier="reference"):
    ...     print(jitorch.config.tier)
    reference
    """
    unknown = set(settings) - {"tier", "check", "debug", "winograd"}
    if unknown or settings.get("tier", "auto") not in TIERS:
        raise ValueError(f"no such setting: {settings}")
    from .graph.record import flush
    flush()
    here = globals()
    before = {k: here[k] for k in settings}
    here.update(settings)
    try:
        yield
        flush()
    finally:
        here.update(before)

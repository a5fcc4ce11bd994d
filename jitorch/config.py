"""The switches: each an environment variable (an empty one counts as not set) and a setting of this module.

| variable | setting | meaning |
| --- | --- | --- |
| JITORCH_TIER | tier | "auto" (reference first, compiled once ready), "compiled" (always, waits), "reference" (never compiled) |
| JITORCH_CHECK | check | 1: every compiled run is compared with the reference and raises at the first difference |
| JITORCH_DEBUG | debug | 0 silent, 1 programs, 2 and their kernels, 3 and the generated source |
| JITORCH_WINOGRAD | winograd | 0: no convolution is computed with fewer multiplications than its definition has (see kernels/cpu/winograd.py) |
| JITORCH_CACHE_DIR | | where compiled kernels are kept (read by kernels/cache.py) |
| JITORCH_NUM_THREADS | | threads of the executor at start (read by kernels/cpu/executor.py) |
"""
from __future__ import annotations

import os
from contextlib import contextmanager

TIERS = ("auto", "compiled", "reference")


def variable(name: str, default: str = "") -> str:
    """The text of one of these environment variables; one that is empty counts as not set."""
    return os.environ.get(name, "").strip() or default


def one_of(name: str, default: str, allowed: tuple[str, ...]) -> str:
    text = variable(name, default)
    if text not in allowed:
        raise ValueError(f"{name}={text!r}: use one of {', '.join(allowed)}")
    return text


tier: str = one_of("JITORCH_TIER", "auto", TIERS)
check: bool = variable("JITORCH_CHECK", "0") != "0"
winograd: bool = variable("JITORCH_WINOGRAD", "1") != "0"
debug: int = int(one_of("JITORCH_DEBUG", "0", ("0", "1", "2", "3")))


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

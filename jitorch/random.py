"""Random number generation: seeds and states of the default generator, as `torch.random`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from .ops.random import Generator, default_generator, get_rng_state, initial_seed, manual_seed, seed, set_rng_state


@contextmanager
def fork_rng(devices=None, enabled: bool = True, device_type: str = "cpu") -> Iterator[None]:
    """Within the block draws are made as usual; after it the default generator goes on as if they had not been.

    >>> import jitorch as torch
    >>> with torch.random.fork_rng():
    ...     a = torch.rand(2)
    >>> torch.equal(a, torch.rand(2))
    True
    """
    if not enabled:
        yield
        return
    state = get_rng_state()
    try:
        yield
    finally:
        set_rng_state(state)


__all__ = [
    "Generator",
    "default_generator",
    "fork_rng",
    "get_rng_state",
    "initial_seed",
    "manual_seed",
    "seed",
    "set_rng_state",
]

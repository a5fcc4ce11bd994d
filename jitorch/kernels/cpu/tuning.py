"""Blocks of contractions that were found by measuring: a file beside the compiled kernels, written by `jitorch tune`.

Without it, blocks come from the cost model in contraction.blocks_of. Sums are in another order where slices are of
another length, so a tuned process may round differently from one that isn't; each of them gives the same bits always.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache

from .. import cache

NAME = "blocks.json"
Numbers = tuple[int, int, int]  # rows, columns, and the length of a slice

_tried: dict[str, Numbers] = {}


def processor() -> str:
    import llvmlite.binding as llvm

    return llvm.get_host_cpu_name()


@lru_cache(maxsize=8)
def stored(folder: str | None) -> dict[str, Numbers]:
    """What was found on this processor before; nothing where the file is missing, and nothing of one that is damaged."""
    if folder is None:
        return {}
    try:
        with open(f"{folder}/{NAME}", "rb") as file:
            held = json.load(file)[processor()]
        return {str(shape): checked(numbers) for shape, numbers in held.items()}
    except (FileNotFoundError, KeyError):
        return {}
    except (OSError, ValueError, TypeError, AttributeError) as error:
        cache.problem("blocks", f"{folder}/{NAME} can't be read, and blocks are those of the cost model: {error}")
        return {}


def checked(numbers: list) -> Numbers:
    rows, columns, depth = (int(n) for n in numbers)
    if min(rows, columns, depth) < 1:
        raise ValueError(f"blocks of {numbers}")
    return rows, columns, depth


def chosen(shape: str) -> Numbers | None:
    """The blocks found for a contraction, by the name that contraction.generate gives it."""
    return _tried.get(shape) or stored(cache.directory()).get(shape)


@contextmanager
def trying(shape: str, numbers: Numbers) -> Iterator[None]:
    """Within the block, contractions of that shape are cut like this."""
    _tried[shape] = numbers
    try:
        yield
    finally:
        del _tried[shape]


def keep(found: dict[str, Numbers]) -> bool:
    """Add to what is stored; whether that could be written."""
    folder = cache.directory()
    if folder is None:
        return False
    try:
        with open(f"{folder}/{NAME}", "rb") as file:
            everything = json.load(file)
        everything[processor()] = {**stored(folder), **found}
    except (OSError, ValueError, TypeError):  # there was none, or one that could not be used
        everything = {processor(): {**stored(folder), **found}}
    written = cache.write(folder, NAME, json.dumps(everything, indent=1, sort_keys=True).encode())
    stored.cache_clear()
    return written

"""Arguments that may be one number or one a dimension."""

from __future__ import annotations

from collections.abc import Callable, Iterable


def _ntuple(n: int, name: str = "parse") -> Callable:
    """A function that repeats a number n times and makes a tuple of a sequence."""

    def parse(x):
        return tuple(x) if isinstance(x, Iterable) else (x,) * n

    parse.__name__ = name
    return parse


_single, _pair, _triple, _quadruple = (
    _ntuple(1, "_single"),
    _ntuple(2, "_pair"),
    _ntuple(3, "_triple"),
    _ntuple(4, "_quadruple"),
)


def described(module, names: str) -> str:
    """ "a=1, b=2" for the attributes named, a leading "*" for the value alone: what many modules print between their
    parentheses.
    """
    return ", ".join(str(getattr(module, n[1:])) if n[0] == "*" else f"{n}={getattr(module, n)}" for n in names.split())

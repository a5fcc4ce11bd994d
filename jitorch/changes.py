"""How often something changed that traces rely on: a parameter was replaced, a flag set, a hook registered.

A trace compares one number with the one it has seen, and looks at everything again only where they differ.
"""

from __future__ import annotations

from collections import defaultdict


class Changes:
    structure = 0


changes = Changes()


def changed() -> None:
    """Modules, tensors or optimizers are not as they were: anything but the values in their memory."""
    changes.structure += 1


def counted(plain):
    def method(self, *args, **kwargs):
        changed()
        return plain(self, *args, **kwargs)

    method.__name__ = plain.__name__
    return method


def counts(*names: str):
    """A decorator: these methods, as the class's base has them, count a change."""
    def decorate(cls: type) -> type:
        for name in names:
            setattr(cls, name, counted(getattr(cls.__mro__[1], name)))
        return cls

    return decorate


OF_DICTS = ("clear", "pop", "popitem", "setdefault", "update", "__delitem__", "__ior__")
NUMBERS = frozenset((int, float, bool))


@counts("__setitem__", *OF_DICTS)
class Table(dict):
    """A dict of a module (parameters, buffers, modules) whose changes are counted. Copies and pickles are plain dicts."""

    def __reduce__(self):
        return dict, (dict(self),)


@counts(*OF_DICTS)
class State(dict):
    """An optimizer's state of one parameter: all changes are counted, but for those of numbers (a step count)."""

    def __setitem__(self, key, value):
        if value.__class__ not in NUMBERS or self.get(key).__class__ not in NUMBERS:
            changed()
        dict.__setitem__(self, key, value)

    def __reduce__(self):
        return dict, (dict(self),)


put = dict.__setitem__          # into a State: for numbers, which are not counted


@counts("__setitem__", *OF_DICTS)
class States(defaultdict):
    """An optimizer's state: parameters with their `State`, which is made when it is asked for."""

    def __init__(self, states=()):
        defaultdict.__init__(self, State, {k: State(v) if v.__class__ is dict else v for k, v in dict(states).items()})

    def __reduce__(self):
        return defaultdict, (dict, dict(self))


@counts("__setitem__", "__delitem__", "__iadd__", "__imul__", "append", "extend", "insert", "pop", "remove", "clear", "sort", "reverse")
class Members(list):
    """The parameters of an optimizer's group."""

    def __reduce__(self):
        return list, (list(self),)

"""How often something changed that traces rely on: a parameter was replaced, a flag set, a hook registered.

A trace compares one number with the one it has seen, and looks at everything again only where they differ.
"""

from __future__ import annotations


class Changes:
    structure = 0


changes = Changes()


def changed() -> None:
    """Modules, tensors or optimizers are not as they were: anything but the values in their memory."""
    changes.structure += 1


class Table(dict):
    """A dict of a module (parameters, buffers, modules) whose changes are counted. Copies and pickles are plain dicts."""

    def __setitem__(self, key, value):
        changed()
        dict.__setitem__(self, key, value)

    def __delitem__(self, key):
        changed()
        dict.__delitem__(self, key)

    def __ior__(self, other):  # type: ignore[misc]
        self.update(other)
        return self

    def __reduce__(self):
        return dict, (dict(self),)


def counted(name: str):
    plain = getattr(dict, name)

    def method(self, *args, **kwargs):
        changed()
        return plain(self, *args, **kwargs)

    method.__name__ = name
    return method


for _name in ("clear", "pop", "popitem", "setdefault", "update"):
    setattr(Table, _name, counted(_name))

"""`import torch` that gives jitorch: for programs and packages that use PyTorch's public Python interface, without an edit.

`jitorch run program.py` does this for one program; `jitorch.as_torch()` for the rest of a process, such as a notebook.
"""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.machinery
import sys
import types

import jitorch

VERSION = "2.13.0+jitorch"      # the version of PyTorch whose interface this is: programs ask


class Torch(types.ModuleType):
    """What `import torch` gives: jitorch, under that name and with PyTorch's version."""

    def __init__(self) -> None:
        super().__init__("torch", jitorch.__doc__)
        self.__version__ = VERSION
        self.__file__ = jitorch.__file__
        self.__path__: list[str] = []
        self.torch = self

    def __getattr__(self, name: str):
        return getattr(jitorch, name)

    def __dir__(self):
        return sorted({*super().__dir__(), *dir(jitorch)})


class Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds `torch` and its submodules: each is jitorch's of the same name."""

    def __init__(self) -> None:
        self.torch = Torch()

    def find_spec(self, fullname: str, path=None, target=None):
        if fullname != "torch" and not fullname.startswith("torch."):
            return None
        if fullname == "torch":
            return importlib.machinery.ModuleSpec(fullname, self, is_package=True)
        try:
            found = importlib.import_module("jitorch." + fullname.removeprefix("torch."))
        except ModuleNotFoundError as error:
            if error.name and error.name.startswith("jitorch."):
                return None
            raise
        return importlib.machinery.ModuleSpec(fullname, self, is_package=hasattr(found, "__path__"))

    def create_module(self, spec):
        if spec.name == "torch":
            return self.torch
        module = sys.modules["jitorch." + spec.name.removeprefix("torch.")]
        spec.loader_state = module.__spec__     # the import system is about to replace it
        return module

    def exec_module(self, module) -> None:
        if module is not self.torch:
            module.__spec__ = module.__spec__.loader_state


class Alias:
    """The hook that is installed: `undo()`, or the end of a `with` block, takes it away again."""

    def __init__(self, finder: Finder):
        self.finder = finder

    def undo(self) -> None:
        """`import torch` gives PyTorch again, if it is installed. Modules that imported torch keep what they have."""
        if self.finder in sys.meta_path:
            sys.meta_path.remove(self.finder)
        for name in [n for n in sys.modules if n == "torch" or n.startswith("torch.")]:
            del sys.modules[name]

    def __enter__(self) -> Alias:
        return self

    def __exit__(self, *exc) -> None:
        self.undo()


def as_torch() -> Alias:
    """From here on `import torch`, `import torch.nn.functional as F`, `from torch.utils.data import DataLoader`, ... give jitorch.

    RuntimeError if PyTorch itself is imported already: half of a program would use one, half the other.

    >>> import subprocess, sys
    >>> program = '''import jitorch
    ... with jitorch.as_torch():
    ...     import torch
    ...     import torch.nn.functional as F
    ...     print(F.relu(torch.tensor([-1., 2.])))'''
    >>> print(subprocess.run([sys.executable, "-c", program], capture_output=True, text=True).stdout)
    tensor([0., 2.])
    <BLANKLINE>
    """
    held = sys.modules.get("torch")
    if isinstance(held, Torch):
        finder = next(f for f in sys.meta_path if isinstance(f, Finder))
        return Alias(finder)
    if held is not None:
        raise RuntimeError("as_torch(): PyTorch is imported already, so a part of this program uses it. Call jitorch.as_torch() before anything imports torch.")
    finder = Finder()
    sys.meta_path.insert(0, finder)
    return Alias(finder)

"""What Python code a call ran: whose state has to be guarded, and whether it did what no replay can do again.

A profile function sees every Python function that is entered and every C function that is called. Code of this package
is trusted: what it reads is guarded by name (modules, optimizers, generators), and the few things it does outside the
engine say so themselves (`no_trace`). Other code may call the C functions listed here. Everything else (printing, clocks,
files, other sources of random numbers, ...) means that the call runs as plain Python.
"""

from __future__ import annotations

import builtins
import collections
import dis
import gc
import os
import re
import sys
import sysconfig
import types
from typing import Any

import numpy as np

PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep
STANDARD = tuple({sysconfig.get_path("stdlib") + os.sep, sysconfig.get_path("platstdlib") + os.sep})
LIBRARIES = tuple(os.path.dirname(m.__file__ or "") + os.sep for m in (np,))
# parts of this package that do more than compute
IMPURE = tuple(PACKAGE + p for p in ("serialization.py", "printing.py", "pickles.py", "utils" + os.sep, "cli" + os.sep))

PURE = {
    "builtins": frozenset(
        "abs all any ascii bin callable chr divmod format getattr hasattr hash hex id isinstance issubclass iter len max min "
        "next oct ord pow repr round setattr delattr sorted sum __build_class__".split()
    ),
    "math": None,       # all of it
    "cmath": None,
    "_operator": None,
    "_bisect": None,
    "_heapq": None,
    "_functools": frozenset(("reduce",)),
    "_abc": None,
    "_collections": None,
    "itertools": None,
    "_struct": frozenset(("pack", "unpack", "calcsize")),
    "_warnings": frozenset(),
    "sys": frozenset(("getsizeof", "intern")),
    "numpy": frozenset("array asarray zeros arange concatenate dot where result_type can_cast promote_types".split()),
    "numpy.core.multiarray": None,
    "numpy._core.multiarray": None,
}
VALUES: tuple = (
    str, bytes, bytearray, int, float, complex, bool, tuple, list, dict, set, frozenset, slice, range, type(None), np.generic,
    np.ndarray, np.dtype, re.Pattern, re.Match, collections.deque, collections.OrderedDict, collections.defaultdict,
    types.MappingProxyType, type({}.keys()), type({}.values()), type({}.items()), types.SimpleNamespace, property,
    types.GeneratorType,
)  # fmt: skip
OF_TYPES = frozenset(("__new__", "__init__", "__init_subclass__", "fromkeys", "mro", "__subclasscheck__", "__instancecheck__",
                      "__subclasses__", "__prepare__", "__subclasshook__", "maketrans", "from_bytes", "fromhex"))  # fmt: skip
ANY_NAME = frozenset(("getattr", "setattr", "delattr", "hasattr", "vars", "__dict__", "attrgetter", "methodcaller", "__getattribute__"))

FILES: dict[str, str] = {}
KINDS: dict[types.CodeType, str] = {}


def kind_of(code: types.CodeType, scope: dict | None = None) -> str:
    """"library", "impure", "standard" (trusted as far as its caller is) or "user"."""
    kind = KINDS.get(code)
    if kind is None:
        name = code.co_filename
        if name == "<string>" and scope is not None and scope.get("__name__") != "__main__":
            KINDS[code] = "standard"                # written by namedtuple or dataclass
            return "standard"
        kind = KINDS[code] = kind_of_file(name)
    return kind


def kind_of_file(name: str) -> str:
    kind = FILES.get(name)
    if kind is None:
        if name.startswith(IMPURE):
            kind = "impure"
        elif name.startswith(PACKAGE):
            kind = "library"
        elif name.startswith(LIBRARIES) or name.startswith(STANDARD) and "-packages" not in name or name.startswith("<frozen"):
            kind = "standard"
        else:
            kind = "user"
        FILES[name] = kind
    return kind


def allowed(function: Any) -> bool:
    """Whether a C function computes and nothing else."""
    owner = getattr(function, "__self__", None)
    if owner is None or isinstance(owner, types.ModuleType):
        module = getattr(function, "__module__", None) or (owner.__name__ if owner is not None else "")
        names = PURE.get(module, ())
        return names is None or function.__name__ in names
    if isinstance(owner, type):
        return function.__name__ in OF_TYPES
    return isinstance(owner, VALUES) or function.__name__ in ("__init__", "__setattr__", "__getattribute__", "__delattr__", "__reduce_ex__",
                                                              "__init_subclass__", "__format__", "__sizeof__", "__dir__")


class Learned:
    """The user's code that calls of one traced function have run so far."""

    def __init__(self) -> None:
        self.codes: dict[types.CodeType, dict] = {}     # -> its globals
        self.names: set[str] = set()                    # attributes that it may read
        self.every = False                              # ... by names that it computes

    def add(self, codes: dict[types.CodeType, dict]) -> bool:
        """Whether any of them is new."""
        new = [c for c in codes if c not in self.codes]
        for code in new:
            self.codes[code] = codes[code]
            self.names.update(code.co_names)
            self.names.update(c for c in code.co_consts if isinstance(c, str) and c.isidentifier())
        self.every = not self.names.isdisjoint(ANY_NAME)
        return bool(new)


class Observer:
    """A context: sees what runs in this thread. `codes`: the user's code; `reason`: why it can't be replayed, or None.

    The garbage collector waits meanwhile: finalizers of what others have left, and callbacks of the collector (Hypothesis has one that
    reads a clock), are no part of the call."""

    def __init__(self) -> None:
        self.codes: dict[types.CodeType, dict] = {}
        self.reason: str | None = None
        self.good: set[Any] = set()

    def __enter__(self) -> Observer:
        self.collects = gc.isenabled()
        gc.disable()
        self.before = sys.getprofile()
        sys.setprofile(self.event)
        return self

    def __exit__(self, *exc) -> None:
        sys.setprofile(self.before)
        if self.collects:
            gc.enable()

    def event(self, frame: types.FrameType, what: str, arg: Any) -> None:
        if what == "call":
            code = frame.f_code
            kind = KINDS.get(code) or kind_of(code, frame.f_globals)
            if kind == "library":
                return
            if kind == "user" or (kind == "standard" and not self.trusted(frame.f_back)):
                self.codes[code] = frame.f_globals
            elif kind == "impure":
                self.fail(f"{code.co_name} of {os.path.basename(code.co_filename)}", frame)
        elif what == "c_call":
            kind = KINDS.get(frame.f_code) or kind_of(frame.f_code)
            if kind != "library" and self.reason is None and (kind == "user" or not self.trusted(frame)) and not allowed(arg):
                owner = getattr(arg, "__self__", None)
                owner = "" if owner is None or owner is builtins else (
                    owner.__name__ if hasattr(owner, "__name__") else type(owner).__name__) + "."
                self.fail(f"{owner}{arg.__name__}()", frame)

    def trusted(self, frame: types.FrameType | None) -> bool:
        """Whether code of the standard library was called by this package."""
        while frame is not None and kind_of(frame.f_code) == "standard":
            frame = frame.f_back
        return frame is None or kind_of(frame.f_code) != "user"

    def fail(self, what: str, frame: types.FrameType | None) -> None:
        if self.reason is None:
            while frame is not None and kind_of(frame.f_code) != "user":
                frame = frame.f_back
            line = "" if frame is None else f" ({os.path.basename(frame.f_code.co_filename)}:{frame.f_lineno})"
            self.reason = f"calls {what}{line}"


GLOBALS: dict[types.CodeType, tuple[frozenset[str], frozenset[str]]] = {}


def globals_of(code: types.CodeType) -> tuple[frozenset[str], frozenset[str]]:
    """(the global names that code reads or writes, the modules that it imports), functions defined in it included."""
    found = GLOBALS.get(code)
    if found is None:
        names, modules, stack = set(), set(), [code]
        while stack:
            c = stack.pop()
            for i in dis.get_instructions(c):
                if i.opname in ("LOAD_GLOBAL", "LOAD_NAME", "STORE_GLOBAL", "DELETE_GLOBAL"):
                    names.add(i.argval)
                elif i.opname == "IMPORT_NAME":
                    modules.add(i.argval)
            stack += [k for k in c.co_consts if isinstance(k, types.CodeType)]
        found = GLOBALS[code] = frozenset(names), frozenset(modules)
    return found

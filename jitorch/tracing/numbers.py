"""Numbers among the arguments, as run-time arguments of one capture.

While a call is captured in general, a *stand-in* takes the place of each int and float argument. It computes as the number
does and writes down what it computed, one line an operation. Where a tensor meets it, the line is a run-time scalar of
the program. Where Python asks for more (a comparison, an index, a format, a C function), the answer becomes a *fact*: a
line that a later number must answer alike. A stand-in is no float to C code, so that nothing can read it unseen; to
`isinstance` and `.__class__` it is one. (`type(x)` tells them apart: code that names `type` is captured for each number.)

The lines are compiled to one function of the numbers, which returns the scalars, or None where a fact is another.
"""

from __future__ import annotations

import gc
import operator
import sys
import types
from collections.abc import Callable
from typing import Any

from .observe import kind_of, kind_of_file

LINES = 500             # of one capture; after that, numbers are asked for their values
KINDS = (int, float)


class Number:
    """A stand-in: value, the name of its line, and the session that writes (None: it is over, and this is a number like any)."""

    __slots__ = ("value", "name", "lines")

    def __init__(self, value: Any, name: str, lines: Lines | None):
        self.value, self.name, self.lines = value, name, lines

    def plain(self) -> Any:
        """The number itself, which is a fact from now on."""
        if self.lines is not None:
            self.lines.fact(f"same({self.name}, {self.lines.constant(self.value)})", True)
        return self.value

    @property       # type: ignore[misc]
    def __class__(self):
        return self.value.__class__

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(self.plain(), name)

    def __array__(self, dtype=None, copy=None):
        import numpy as np
        return np.asarray(self.plain(), dtype)

    def __array_ufunc__(self, ufunc, method, *inputs, **named):
        return getattr(ufunc, method)(*map(plain, inputs), **named)

    def __array_function__(self, function, kinds, args, named):
        return function(*map(plain, args), **{k: plain(v) for k, v in named.items()})

    def __copy__(self):
        return self.plain()

    def __deepcopy__(self, memo):
        return self.plain()

    def __reduce_ex__(self, protocol):
        return self.plain().__reduce_ex__(protocol)

    def __format__(self, spec: str) -> str:
        return format(self.plain(), spec)

    def __round__(self, *digits):
        return round(self.plain(), *digits)


def plain(x: Any) -> Any:
    return x.plain() if type(x) is Number else x


def arithmetic(function: Callable, sign: str) -> tuple[Callable, Callable]:
    def forward(self, other):
        lines, kind = self.lines, type(other)
        if kind is not Number and kind not in KINDS and kind is not bool:
            if kind is complex:
                return function(self.plain(), other)
            return NotImplemented
        value = other.value if kind is Number else other
        if lines is None:
            return function(self.value, value)
        return lines.add(f"{self.name} {sign} {lines.name_of(other)}", function, self.value, value)

    def backward(self, other):
        lines, kind = self.lines, type(other)
        if kind not in KINDS and kind is not bool:
            if kind is complex:
                return function(other, self.plain())
            return NotImplemented
        if lines is None:
            return function(other, self.value)
        return lines.add(f"{lines.name_of(other)} {sign} {self.name}", function, other, self.value)

    return forward, backward


def comparison(function: Callable, sign: str) -> Callable:
    def compare(self, other):
        lines, kind = self.lines, type(other)
        if kind is not Number and kind not in KINDS and kind is not bool:
            return function(self.plain(), other) if kind is complex else NotImplemented
        answer = function(self.value, other.value if kind is Number else other)
        if lines is not None:
            lines.fact(f"({self.name} {sign} {lines.name_of(other)})", answer)
        return answer

    return compare


def asked(function: Callable) -> Callable:
    return lambda self: function(self.plain())


def single(function: Callable, sign: str) -> Callable:
    def method(self):
        return function(self.value) if self.lines is None else self.lines.add(f"{sign}({self.name})", function, self.value)

    return method


def truth(self) -> bool:
    answer = bool(self.value)
    if self.lines is not None:
        self.lines.fact(f"bool({self.name})", answer)
    return answer


for _name, _sign in (("add", "+"), ("sub", "-"), ("mul", "*"), ("truediv", "/"), ("floordiv", "//"), ("mod", "%"), ("pow", "**")):
    for _prefix, _method in zip(("", "r"), arithmetic(getattr(operator, _name), _sign), strict=True):
        setattr(Number, f"__{_prefix}{_name}__", _method)
for _name, _sign in (("lt", "<"), ("le", "<="), ("gt", ">"), ("ge", ">="), ("eq", "=="), ("ne", "!=")):
    setattr(Number, f"__{_name}__", comparison(getattr(operator, _name), _sign))
for _name, _sign in (("neg", "-"), ("pos", "+"), ("abs", "abs")):
    setattr(Number, f"__{_name}__", single(getattr(operator, _name), _sign))
for _name, _function in (("int", int), ("float", float), ("index", operator.index), ("complex", complex), ("repr", repr), ("str", str),
                         ("hash", hash), ("trunc", lambda x: x.__trunc__()), ("floor", lambda x: x.__floor__()),
                         ("ceil", lambda x: x.__ceil__()), ("invert", operator.invert)):  # fmt: skip
    setattr(Number, f"__{_name}__", asked(_function))
for _name in ("divmod", "and", "or", "xor", "lshift", "rshift"):
    _two: Any = divmod if _name == "divmod" else getattr(operator, f"__{_name}__")
    setattr(Number, f"__{_name}__", lambda self, other, f=_two: f(self.plain(), plain(other)))
    setattr(Number, f"__r{_name}__", lambda self, other, f=_two: f(plain(other), self.plain()))
Number.__bool__ = truth  # type: ignore[attr-defined]


class Lines:
    """What the stand-ins of one call computed, and the facts that Python learned of them."""

    def __init__(self) -> None:
        self.arguments: list[Number] = []
        self.made: list[Number] = []            # all of them
        self.text: list[str] = []
        self.names: dict[str, Any] = {}
        self.scalars: list[str] = []            # the names of what is given to programs and results
        self.facts = 0

    def argument(self, value: Any) -> Number:
        n = Number(value, f"a{len(self.arguments)}", self)
        self.arguments.append(n)
        self.made.append(n)
        return n

    def constant(self, value: Any) -> str:
        name = f"c{len(self.names)}"
        self.names[name] = value
        return name

    def name_of(self, x: Any) -> str:
        return x.name if type(x) is Number else self.constant(x)

    def add(self, text: str, function: Callable, *values: Any) -> Any:
        value = function(*values)
        if len(self.text) > LINES or value.__class__ not in KINDS:
            for n in self.arguments:
                self.fact(f"same({n.name}, {self.constant(n.value)})", True)
            return value
        name = f"t{len(self.text)}"
        self.text.append(f"{name} = {text}")
        n = Number(value, name, self)
        self.made.append(n)
        return n

    def fact(self, text: str, answer: bool) -> None:
        line = f"if {text} is not {answer}: return None"
        if line not in self.text[-8:]:
            self.text.append(line)
            self.facts += 1

    def scalar(self, n: Number) -> int:
        """The number of a stand-in among the scalars. A later one must be of its type: programs are made for that."""
        if n.name not in self.scalars:
            self.text.append(f"if {n.name}.__class__ is not {n.value.__class__.__name__}: return None")
            self.scalars.append(n.name)
        return self.scalars.index(n.name)

    def function(self) -> Callable[..., tuple | None]:
        """The scalars from the numbers, or None where a fact would be another."""
        from .world import same
        names = {**self.names, "same": same}
        text = "\n".join([f"def numbers({', '.join(n.name for n in self.arguments)}):", "  try:", *[f"    {t}" for t in self.text],
                          f"    return ({''.join(s + ', ' for s in self.scalars)})",
                          "  except (ArithmeticError, ValueError, TypeError):          # Python raises it at its line", "    return None"])
        exec(compile(text, "<numbers>", "exec"), names)
        return names["numbers"]

    def close(self, result: Any) -> Any:
        """The call is over: the result with numbers for stand-ins. One that the function has put elsewhere is replaced there too."""
        made, self.made = self.made, []
        for n in made:
            n.lines = None
        result = without(result)
        kept = [n for n in made if sys.getrefcount(n) > 3 + (n in self.arguments)]
        for n in kept:
            for holder in gc.get_referrers(n):
                if holder is not made and holder is not kept and holder is not self.arguments:
                    replace(holder, n)
        return result


def without(x: Any) -> Any:
    """A result without stand-ins; lists and dicts stay the same objects."""
    if type(x) is Number:
        return x.value
    if type(x) is tuple:
        parts = [without(v) for v in x]
        return x if all(map(operator.is_, parts, x)) else tuple(parts)
    if isinstance(x, tuple) and hasattr(x, "_fields"):
        parts = [without(v) for v in x]
        return x if all(map(operator.is_, parts, x)) else type(x)(*parts)
    if type(x) is list:
        for i, v in enumerate(x):
            new = without(v)
            if new is not v:
                x[i] = new
    elif type(x) is dict:
        for k, v in x.items():
            new = without(v)
            if new is not v:
                x[k] = new
    return x


def replace(holder: Any, n: Number) -> None:
    if isinstance(holder, dict):
        for k, v in list(holder.items()):
            if v is n:
                dict.__setitem__(holder, k, n.value)
    elif isinstance(holder, list):
        for i, v in enumerate(holder):
            if v is n:
                list.__setitem__(holder, i, n.value)
    elif isinstance(holder, types.CellType):
        holder.cell_contents = n.value
    elif isinstance(getattr(holder, "__dict__", None), dict):
        replace(holder.__dict__, n)


# -- code that could tell a stand-in from a number -----------------------------------------------------------------------
def asks_types(learned: Any, world: Any) -> bool:
    """Whether code that ran, or that could be called for the first time, names `type`."""
    if "type" in learned.names:
        return True
    new = [f for f in world.reached if kind_of(f.__code__) == "user" and f.__code__ not in learned.codes]
    return any(names_type(f.__code__) for f in new) or any(module_asks(where) for where in {id(f.__globals__): f.__globals__ for f in new}.values())


def names_type(code: types.CodeType) -> bool:
    stack = [code]
    while stack:
        c = stack.pop()
        if "type" in c.co_names:
            return True
        stack += [k for k in c.co_consts if isinstance(k, types.CodeType)]
    return False


def module_asks(where: dict) -> bool:
    """The same of all that is defined or imported where a function is: what it calls is found there."""
    seen: dict[int, Any] = {}
    stack: list[Any] = [*where.values()]
    while stack:
        x = stack.pop()
        if id(x) in seen:
            continue
        seen[id(x)] = x
        if isinstance(x, types.FunctionType):
            if kind_of(x.__code__) == "user":
                if names_type(x.__code__):
                    return True
                stack += x.__globals__.values() if ("globals", id(x.__globals__)) not in seen else ()
                seen["globals", id(x.__globals__)] = x      # type: ignore[index]
        elif isinstance(x, type):
            if x.__module__.split(".")[0] not in ("jitorch", "builtins", "numpy"):
                stack += vars(x).values()
        elif isinstance(x, (staticmethod, classmethod)):
            stack.append(x.__func__)
        elif isinstance(x, property):
            stack += [x.fget, x.fset]
        elif isinstance(x, types.ModuleType):
            name = getattr(x, "__file__", None) or "<"
            if name.endswith(".py") and kind_of_file(name) == "user":
                stack += vars(x).values()
    return False

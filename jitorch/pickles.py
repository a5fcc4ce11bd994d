"""The structure of a saved file: a small subset of Python's pickle format, without the pickle machine.

PyTorch's files describe their contents by a pickle. Python's unpickler can be made to call anything; `read` here is an
interpreter that knows containers, numbers, strings and a table of constructors, and refuses everything else, so that a
file can't run code. `write` emits the same subset, so that PyTorch (also with `weights_only=True`) reads what jitorch
writes.

The instructions are described in the standard library's pickletools, which `read` uses to take the bytes apart.
"""

from __future__ import annotations

import struct
from collections import OrderedDict
from collections.abc import Callable
from pickle import UnpicklingError
from typing import Any, NamedTuple

PLAIN = (type(None), bool, int, float, str, bytes, bytearray, complex, tuple, list, dict, OrderedDict, set, frozenset)


class Global(NamedTuple):
    """A name in a module, as it stands in the file: never imported."""

    module: str
    name: str


class Call(NamedTuple):
    """To be written as "call this global with these arguments"."""

    function: Global
    arguments: tuple


class Persistent(NamedTuple):
    """To be written as a reference to something outside of the structure (a storage)."""

    key: tuple


# ---------------------------------------------------------------------------------------------------------------------
# Writing
# ---------------------------------------------------------------------------------------------------------------------


class Writer:
    """Emits pickle protocol 2.

    `special(x)` gives a Global, Call or Persistent for what is no plain value, or None to refuse it.
    """

    def __init__(self, special: Callable[[Any], Global | Call | Persistent | None]):
        self.special = special
        self.out = bytearray(b"\x80\x02")
        self.numbers: dict[int, int] = {}  # id of an object -> its place in the reader's memory
        self.kept: list = []  # so that ids stay unique while writing

    def finish(self, obj: Any) -> bytes:
        self.put(obj)
        return bytes(self.out + b".")

    def put(self, obj: Any) -> None:
        """Write one object. One that was written before is referred to: shared and cyclic containers stay so."""
        if obj is None or isinstance(obj, bool):
            self.out += {None: b"N", True: b"\x88", False: b"\x89"}[obj]
        elif type(obj) is int:
            self.integer(obj)
        elif type(obj) is float:
            self.out += b"G" + struct.pack(">d", obj)
        elif type(obj) is str:
            text = obj.encode("utf-8", "surrogatepass")
            self.out += b"X" + struct.pack("<I", len(text)) + text
        elif id(obj) in self.numbers:
            self.out += b"j" + struct.pack("<I", self.numbers[id(obj)])
        elif type(obj) in CONTAINERS:
            CONTAINERS[type(obj)](self, obj)
        else:
            self.other(obj)

    def integer(self, n: int) -> None:
        if 0 <= n < 256:
            self.out += b"K" + bytes([n])
        elif -(2**31) <= n < 2**31:
            self.out += b"J" + struct.pack("<i", n)
        else:
            data = n.to_bytes(n.bit_length() // 8 + 1, "little", signed=True)
            if len(data) > 255:
                raise ValueError(f"save: an integer of {n.bit_length()} bits is too large")
            self.out += b"\x8a" + bytes([len(data)]) + data

    def remember(self, obj: Any) -> None:
        self.numbers[id(obj)] = len(self.numbers)
        self.kept.append(obj)
        self.out += b"r" + struct.pack("<I", self.numbers[id(obj)])

    def glob(self, g: Global) -> None:
        self.out += f"c{g.module}\n{g.name}\n".encode()

    def call(self, function: Global, arguments: tuple) -> None:
        self.glob(function)
        self.row(arguments)
        self.out += b"R"

    def row(self, items: tuple) -> None:
        """A tuple that nothing else refers to."""
        self.out += b"("
        for x in items:
            self.put(x)
        self.out += b"t"

    def tuple_(self, items: tuple) -> None:
        self.row(items)
        self.remember(items)

    def list_(self, items: list) -> None:
        self.out += b"]"
        self.remember(items)
        self.out += b"("
        for x in items:
            self.put(x)
        self.out += b"e"

    def dict_(self, items: dict) -> None:
        self.out += b"}"
        self.remember(items)
        self.entries(items)

    def ordered_dict(self, items: OrderedDict) -> None:
        self.call(Global("collections", "OrderedDict"), ())
        self.remember(items)
        self.entries(items)
        more = vars(items)  # the state of a module keeps the versions of its parts in an attribute
        if more:
            self.put(dict(more))
            self.out += b"b"

    def entries(self, items: dict) -> None:
        self.out += b"("
        for key, value in items.items():
            self.put(key)
            self.put(value)
        self.out += b"u"

    def set_(self, items: set | frozenset) -> None:
        self.call(Global("__builtin__", type(items).__name__), (list(items),))
        self.remember(items)

    def bytes_(self, data: bytes) -> None:
        self.call(Global("_codecs", "encode"), (data.decode("latin1"), "latin1"))
        self.remember(data)

    def bytearray_(self, data: bytearray) -> None:
        self.call(Global("__builtin__", "bytearray"), (bytes(data),))
        self.remember(data)

    def complex_(self, z: complex) -> None:
        self.call(Global("__builtin__", "complex"), (z.real, z.imag))

    def other(self, obj: Any) -> None:
        form = self.special(obj)
        if isinstance(form, Global):
            self.glob(form)
        elif isinstance(form, Call):
            self.call(*form)
            self.remember(obj)
        elif isinstance(form, Persistent):
            self.row(form.key)
            self.out += b"Q"
        else:
            raise TypeError(refusal(obj))


CONTAINERS: dict[type, Callable[[Writer, Any], None]] = {
    tuple: Writer.tuple_,
    list: Writer.list_,
    dict: Writer.dict_,
    OrderedDict: Writer.ordered_dict,
    set: Writer.set_,
    frozenset: Writer.set_,
    bytes: Writer.bytes_,
    bytearray: Writer.bytearray_,
    complex: Writer.complex_,
}


def refusal(obj: Any) -> str:
    kind = type(obj)
    advice = "build it from dicts, lists, tuples, sets, numbers, strings, bytes, tensors, dtypes, sizes and devices"
    if hasattr(obj, "state_dict"):
        advice = "save its state_dict(), and load that into a new one with load_state_dict()"
    elif kind.__module__ == "numpy":
        advice = "convert it with torch.from_numpy(), float() or int()"
    return f"save: an object of class {kind.__module__}.{kind.__qualname__} can't be saved: {advice}"


# ---------------------------------------------------------------------------------------------------------------------
# Reading
# ---------------------------------------------------------------------------------------------------------------------

MARK = object()
CONSTRUCTORS: dict[Global, Callable] = {
    Global("collections", "OrderedDict"): OrderedDict,
    Global("builtins", "set"): set,
    Global("builtins", "frozenset"): frozenset,
    Global("builtins", "bytearray"): lambda data: bytearray(data.ljust(0)),  # bytes, not a length to allocate
    Global("builtins", "complex"): complex,
    Global("_codecs", "encode"): lambda text, coding: text.encode("latin1"),  # how protocol 2 holds bytes
}
PUSHED = frozenset(  # instructions whose argument is the value
    "INT BININT BININT1 BININT2 LONG LONG1 LONG4 FLOAT BINFLOAT UNICODE SHORT_BINUNICODE BINUNICODE BINUNICODE8 "
    "SHORT_BINBYTES BINBYTES BINBYTES8 BYTEARRAY8 STRING BINSTRING SHORT_BINSTRING".split()
)
CONSTANTS: dict[str, Callable[[], Any]] = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_TUPLE": tuple,
    "EMPTY_LIST": list,
    "EMPTY_DICT": dict,
    "EMPTY_SET": set,
    "MARK": lambda: MARK,
}


class Reader:
    """Interprets a pickle.

    `values` and `constructors` say what a Global stands for; `persistent(key)` fetches what lies outside.
    UnpicklingError for a name or an instruction that is not allowed.
    """

    def __init__(
        self, values: dict[Global, Any], constructors: dict[Global, Callable], persistent: Callable[[Any], Any]
    ):
        self.values, self.constructors, self.persistent = values, CONSTRUCTORS | constructors, persistent
        self.stack: list[Any] = []
        self.memory: dict[int, Any] = {}

    def read(self, data: bytes) -> Any:
        import pickletools

        for opcode, argument, _ in pickletools.genops(data):
            name = opcode.name
            if name == "STOP":
                if len(self.stack) != 1:
                    raise ValueError("something is left over at the end")
                return self.pop(1)[0]
            if name in PUSHED:
                self.stack.append(argument)
            elif name in CONSTANTS:
                self.stack.append(CONSTANTS[name]())
            elif name in ACTIONS:
                ACTIONS[name](self, argument)
            else:
                raise UnpicklingError(f"the pickle instruction {name} is not allowed in a file of tensors")
        raise ValueError("the structure has no end")

    def above_mark(self) -> list:
        at = len(self.stack) - 1
        while self.stack[at] is not MARK:
            at -= 1
            if at < 0:
                raise ValueError("a mark is missing")
        items = self.stack[at + 1 :]
        del self.stack[at:]
        return items

    def pop(self, n: int) -> list:
        items = self.stack[-n:]
        if len(items) < n or any(x is MARK for x in items):
            raise ValueError("operands are missing")
        del self.stack[-n:]
        return items

    def top(self, *kinds: type) -> Any:
        if type(self.stack[-1]) not in kinds:
            raise UnpicklingError(f"an object of class {type(self.stack[-1]).__name__} can't be changed by a file")
        return self.stack[-1]

    def glob(self, module: str, name: str) -> None:
        g = Global("builtins" if module == "__builtin__" else module, name)
        if g in self.values:
            self.stack.append(self.values[g])
        elif g in self.constructors:
            self.stack.append(g)
        else:
            raise UnpicklingError(
                f"the file wants {module}.{name}, which is not allowed: only tensors, numbers, strings and "
                "containers are read, and nothing in a file is ever run"
            )

    def reduce(self, _: Any) -> None:
        function, arguments = self.pop(2)
        if type(function) is not Global or type(arguments) is not tuple:
            raise UnpicklingError("the file calls something that is no constructor of a tensor or container")
        self.stack.append(self.constructors[function](*arguments))

    def build(self, _: Any) -> None:
        (state,) = self.pop(1)
        target = self.top(OrderedDict)
        if type(state) is not dict or set(state) - {"_metadata"}:
            raise UnpicklingError("the file sets attributes that a state dict doesn't have")
        vars(target).update(state)

    def append(self, items: list) -> None:
        self.top(list).extend(items)

    def set_items(self, items: list) -> None:
        if len(items) % 2:
            raise ValueError("a key without a value")
        self.top(dict, OrderedDict).update(zip(items[::2], items[1::2], strict=True))

    def add_items(self, items: list) -> None:
        self.top(set).update(items)

    def store(self, place: int) -> None:
        if self.stack[-1] is MARK:
            raise ValueError("a mark can't be kept")
        self.memory[place] = self.stack[-1]


ACTIONS: dict[str, Callable[[Reader, Any], Any]] = {
    "PROTO": lambda r, _: None,
    "FRAME": lambda r, _: None,
    "POP": lambda r, _: r.pop(1),
    "POP_MARK": lambda r, _: r.above_mark(),
    "DUP": lambda r, _: r.stack.append(r.stack[-1]),
    "TUPLE": lambda r, _: r.stack.append(tuple(r.above_mark())),
    "TUPLE1": lambda r, _: r.stack.append(tuple(r.pop(1))),
    "TUPLE2": lambda r, _: r.stack.append(tuple(r.pop(2))),
    "TUPLE3": lambda r, _: r.stack.append(tuple(r.pop(3))),
    "LIST": lambda r, _: r.stack.append(r.above_mark()),
    "FROZENSET": lambda r, _: r.stack.append(frozenset(r.above_mark())),
    "APPEND": lambda r, _: r.append(r.pop(1)),
    "APPENDS": lambda r, _: r.append(r.above_mark()),
    "SETITEM": lambda r, _: r.set_items(r.pop(2)),
    "SETITEMS": lambda r, _: r.set_items(r.above_mark()),
    "ADDITEMS": lambda r, _: r.add_items(r.above_mark()),
    "GLOBAL": lambda r, names: r.glob(*names.split(" ", 1)),
    "STACK_GLOBAL": lambda r, _: r.glob(*r.pop(2)),
    "REDUCE": Reader.reduce,
    "BUILD": Reader.build,
    "BINPERSID": lambda r, _: r.stack.append(r.persistent(r.pop(1)[0])),
    "PUT": Reader.store,
    "BINPUT": Reader.store,
    "LONG_BINPUT": Reader.store,
    "MEMOIZE": lambda r, _: r.store(len(r.memory)),
    "GET": lambda r, place: r.stack.append(r.memory[place]),
    "BINGET": lambda r, place: r.stack.append(r.memory[place]),
    "LONG_BINGET": lambda r, place: r.stack.append(r.memory[place]),
}

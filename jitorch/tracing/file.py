"""One file for a captured program: `traced.save("model.jt")`, `jitorch.jit.load("model.jt")`.

A zip archive with three members, none of which is code:

| member | what it holds |
| --- | --- |
| program.json | version, inputs, steps of the programs, what a call leaves behind, result |
| weights.safetensors | parameters, buffers and constants, by name |
| digests.json | SHA-256 of the other two |

Operations are named; the entries of the op table that these names stand for do the work when the file is loaded. Sizes
that depend on the batch are written as {"n": [a, b]}, for a * n + b: they are found by capturing the function for three
batch sizes, and the file is general where all three agree.
"""

from __future__ import annotations

import dis
import hashlib
import io
import json
import os
import types
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np

from .. import dtypes
from ..autograd import no_grad
from ..autograd.node import state as autograd_state
from ..device import cpu, device
from ..graph.program import Program, Step
from ..graph.record import ROOT, Meta, Size, local, stored
from ..nn.modules.module import Module
from ..nn.parameter import Parameter
from ..ops.dispatch import OPS
from ..tensor import Tensor
from .capture import Check as LookEvent
from .capture import Draw, Ending, Look, Made, Read, Run, Slot
from .freeze import frozen_path
from .replay import Branch, Capture, Replay, endings
from .sound import Unsound, prove

VERSION = 1
FIRST_CALLS = 3     # by the third one, what can be captured is
MEMBERS = ("program.json", "weights.safetensors")
SIZES = frozenset(("shape", "size", "numel", "nelement", "stride", "ndim", "dim"))


class CantSave(RuntimeError):
    """What was captured can't be written to a file."""


# -- values as JSON ----------------------------------------------------------------------------------------------------
def encode(x: Any) -> Any:
    """Attributes, metas, structures of results: numbers, strings and None as they are, the rest tagged."""
    if x is None or isinstance(x, (bool, str)) or type(x) in (int, float):
        return x
    if isinstance(x, Size):
        return {"size": [encode(v) for v in x]}
    if type(x) in (tuple, list):
        return {type(x).__name__: [encode(v) for v in x]}
    if type(x) is dict:
        return {"dict": [[encode(k), encode(v)] for k, v in x.items()]}
    if isinstance(x, dtypes.dtype):
        return {"dtype": x.name}
    if isinstance(x, device):
        return {"device": str(x)}
    if isinstance(x, complex):
        return {"complex": [x.real, x.imag]}
    if isinstance(x, slice):
        return {"slice": [encode(x.start), encode(x.stop), encode(x.step)]}
    if x is Ellipsis:
        return {"ellipsis": 0}
    if isinstance(x, Slot):
        return {"value" if x.read else "tensor": x.number}
    if isinstance(x, Meta):
        return {"meta": [encode(x.shape), x.dtype.name, None if x.contiguous and x.offset == 0 else encode(x.strides), x.offset]}
    raise CantSave(f"save: a {type(x).__name__} can't be written to a file")


def decode(x: Any, n: int = 0) -> Any:
    """The value that `encode` wrote, for batch size n."""
    if not isinstance(x, dict):
        return x
    (tag, v), = x.items()
    if tag == "n":
        return v[0] * n + v[1]
    if tag == "size":
        return Size(decode(i, n) for i in v)
    if tag == "tuple":
        return tuple([decode(i, n) for i in v])
    if tag == "list":
        return [decode(i, n) for i in v]
    if tag == "dict":
        return {decode(k, n): decode(i, n) for k, i in v}
    if tag == "dtype":
        return dtypes.BY_NAME[v]
    if tag == "device":
        return cpu
    if tag == "complex":
        return complex(*v)
    if tag == "slice":
        return slice(*[decode(i, n) for i in v])
    if tag == "ellipsis":
        return Ellipsis
    if tag in ("tensor", "value"):
        return Slot(v, tag == "value")
    if tag == "meta":
        shape, name, strides, offset = v
        return Meta(decode(shape, n), dtypes.BY_NAME[name], None if strides is None else decode(strides, n), decode(offset, n))
    raise damaged(f"unknown tag {tag!r}")


def same_but_sizes(values: list[Any], sizes: list[int]) -> Any:
    """One description of what was captured for several batch sizes: numbers that differ become {"n": [a, b]}. LookupError if it isn't one."""
    first = values[0]
    if all(type(v) is type(first) and v == first for v in values) and not isinstance(first, (dict, list)):
        return first
    if any(type(v) is not type(first) for v in values):
        raise LookupError
    if isinstance(first, dict):
        if any(v.keys() != first.keys() for v in values):
            raise LookupError
        return {k: same_but_sizes([v[k] for v in values], sizes) for k in first}
    if isinstance(first, list):
        if any(len(v) != len(first) for v in values):
            raise LookupError
        return [same_but_sizes(list(parts), sizes) for parts in zip(*values, strict=True)]
    if type(first) is not int:
        raise LookupError
    a, rest = divmod(values[1] - values[0], sizes[1] - sizes[0])
    b = values[0] - a * sizes[0]
    if rest or any(v != a * n + b for v, n in zip(values, sizes, strict=True)):
        raise LookupError
    return {"n": [a, b]}


# -- events ------------------------------------------------------------------------------------------------------------
def encode_branch(branch: Branch) -> dict:
    read = branch.read
    return {
        "events": [e for e in map(encode_event, branch.events) if e is not None],
        "read": None if read is None else [encode_look(read.look), read.returned],
        "children": {k.hex(): encode_branch(b) for k, b in branch.children.items()},
        "ending": None if branch.ending is None else encode_ending(branch.ending),
    }


def encode_event(e: Any) -> dict | None:
    if isinstance(e, Run):
        return {"run": {
            "steps": [encode_step(s) for s in all_steps(e.program)], "wanted": [list(w) for w in e.program.wanted],
            "leaves": [[list(place), start, span] for place, start, span in e.leaves],
            "scalars": [encode(s) for s in e.scalars], "fills": [list(f) for f in e.fills]}}  # fmt: skip
    if isinstance(e, Draw):
        if e.generator is not None:
            raise CantSave("save: it draws from a generator of its own")
        return {"draw": encode(e.n)}
    if isinstance(e, Made):
        return {"made": [e.number, e.written]}
    if isinstance(e, LookEvent):
        if e.check.__qualname__.split(".")[0] not in ("check_index", "check_target", "cross_entropy", "nll_loss", "checked_target"):
            if "check_probability" in e.check.__qualname__ or "check_prob" in e.check.__qualname__ or "deviations" in e.check.__qualname__:
                raise CantSave("save: it checks the values of an input, which a file can't express")
        return None         # kernels look at indices too
    raise CantSave("save: a training step can't be saved: save the model's state, or trace the forward pass alone")


def all_steps(program: Program) -> list[Step]:
    """All leaves, in their order (those that are not read are homes of results), then what is run."""
    return [*program.leaves, *(s for s in program.steps if s.op != "leaf")]


def encode_step(s: Step) -> list:
    name = s.op if isinstance(s.op, str) else s.op.name
    if not isinstance(s.op, str) and OPS.get(name) is not s.op:
        raise CantSave(f"save: the operation {name} is not one of the op table")
    where = None if s.where is None else [s.where.start, s.where.stop]
    return [name, list(s.slots), encode(s.attrs), [encode(v) for v in s.scalars], where, [encode(m) for m in s.metas], s.index]


def encode_look(look: Look) -> list:
    return [list(look.place), encode(look.meta), look.relative]


def encode_ending(end: Ending) -> dict:
    if end.sources:
        raise CantSave("save: its result requires grad: call it under no_grad")
    if end.grads:
        raise CantSave("save: it sets gradients: save the model's state, or trace the forward pass alone")
    tensors: list = []
    for spec in end.tensors:
        if spec[0] == "new":
            _, storage, meta, rg, base, spent, _, kind, _ = spec
            if rg or spent is not None or kind is not Tensor:
                raise CantSave("save: its result requires grad: trace it under no_grad")
            tensors.append(["new", storage, encode(meta), base])
        elif spec[0] == "grad":
            raise CantSave("save: it returns a gradient")
        else:
            tensors.append(list(spec))
    return {"storages": [[list(p), encode(m)] for p, m, _ in end.storages], "tensors": tensors,
            "written": [[list(p), k] for p, k in end.written], "result": encode(end.result)}  # fmt: skip


def decode_branch(x: dict, n: int, constants: Iterator[np.ndarray], before: Mapping[int, Made]) -> Branch:
    """constants: values for what is made, in the order of `all_events`. before: what was made on the way here, by number."""
    branch, made = Branch(), dict(before)
    branch.events = [decode_event(e, n, constants, made) for e in x["events"]]
    if x["read"] is not None:
        look, returned = x["read"]
        branch.read = Read(Look(tuple(look[0]), decode(look[1], n), decode(look[2], n)), b"", returned)
    branch.children = {bytes.fromhex(k): decode_branch(b, n, constants, made) for k, b in x["children"].items()}
    if x["ending"] is not None:
        end = branch.ending = Ending()
        e = x["ending"]
        end.storages = [(tuple(p), decode(m, n), 0) for p, m in e["storages"]]
        end.tensors = [("new", t[1], decode(t[2], n), False, t[3], None, 0, Tensor, False) if t[0] == "new" else tuple(t) for t in e["tensors"]]
        end.written = [(tuple(p), k) for p, k in e["written"]]
        end.result = decode(e["result"], n)
    return branch


def decode_event(e: dict, n: int, constants: Iterator[np.ndarray], made: dict[int, Made]) -> Any:
    (kind, x), = e.items()
    if kind == "draw":
        return Draw(None, decode(x, n), (0, 0))
    if kind == "made":
        event = made[x[0]] = Made(x[0], next(constants))
        event.written = x[1]
        return event
    if kind != "run":
        raise damaged(f"unknown event {kind!r}")
    steps = [decode_step(s, n) for s in x["steps"]]
    wanted = tuple(tuple(w) for w in x["wanted"])
    leaves = [(tuple(place), decode(start, n), decode(span, n)) for place, start, span in x["leaves"]]
    slots = [s.index for s in steps if s.op == "leaf"]
    same = {slot: made[place[1]].values for slot, (place, start, _) in zip(slots, leaves, strict=True)
            if place[0] == "made" and start is None and not made[place[1]].written}  # fmt: skip
    program = Program(steps, wanted, same)
    return Run(program, leaves, [decode(s, n) for s in x["scalars"]], [tuple(f) for f in x["fills"]])


def decode_step(x: list, n: int) -> Step:
    name, slots, attrs, scalars, where, metas, index = x
    if name not in ("leaf", "view"):
        if name not in OPS:
            raise RuntimeError(f"load: the file uses the operation {name!r}, which this version doesn't have")
    op = name if name in ("leaf", "view") else OPS[name]
    span = None if where is None else range(*where)
    return Step(op, tuple(slots), decode(attrs, n), tuple(decode(s, n) for s in scalars), span, tuple(decode(m, n) for m in metas), index, None)


# -- inputs ------------------------------------------------------------------------------------------------------------
def describe(x: Any, tensors: list[Tensor]) -> Any:
    """An argument as JSON; its tensors are appended."""
    if isinstance(x, Tensor):
        tensors.append(x)
        return {"input": [[*x.shape], x.dtype.name]}
    if type(x) in (tuple, list):
        return {type(x).__name__: [describe(v, tensors) for v in x]}
    if type(x) is dict:
        return {"dict": [[encode(k), describe(v, tensors)] for k, v in x.items()]}
    return encode(x)


def wanted_input(x: Any) -> str:
    if isinstance(x, dict):
        (tag, v), = x.items()
        if tag == "input":
            return f"{v[1]}[{', '.join(symbol(s) for s in v[0])}]"
        if tag == "dict":
            return "{" + ", ".join(f"{k}: {wanted_input(i)}" for k, i in v) + "}"
        return f"{tag}({', '.join(map(wanted_input, v))})" if isinstance(v, list) else str(v)
    return repr(x)


def symbol(s: Any) -> str:
    if not isinstance(s, dict):
        return str(s)
    a, b = s["n"]
    return ("n" if a == 1 else f"{a}n") + (f"+{b}" if b else "")


def matched(wanted: Any, got: Any) -> int | None:
    """The batch size for which arguments are like those that the file describes, 0 where they have none; None where they aren't."""
    n: list[int] = []
    return (n[0] if n else 0) if match(wanted, got, n) else None


def match(wanted: Any, got: Any, n: list[int]) -> bool:
    """Whether arguments are like those that the file describes; n: the batch size, once it is known."""
    if isinstance(wanted, dict) and "n" in wanted:
        a, b = wanted["n"]
        if type(got) is not int or (got - b) % a or (got - b) // a < 0:
            return False
        size = (got - b) // a
        if not n:
            n.append(size)
        return n[0] == size
    if isinstance(wanted, dict):
        return isinstance(got, dict) and wanted.keys() == got.keys() and all(match(v, got[k], n) for k, v in wanted.items())
    if isinstance(wanted, list):
        return isinstance(got, list) and len(wanted) == len(got) and all(match(a, b, n) for a, b in zip(wanted, got, strict=True))
    return type(wanted) is type(got) and (wanted == got or wanted != wanted)


# -- saving ------------------------------------------------------------------------------------------------------------
def save(traced: Any, module: Module | None, file: Any, general: bool | None) -> None:
    """See TracedFunction.save."""
    captures = captures_of(traced)
    if traced.example is not None and not (module is not None and module.training):
        args, kwargs = traced.example
        with no_grad():                         # `jit.trace` has run it once only, or with gradients
            for _ in range(FIRST_CALLS):
                if without_history(captures):
                    break
                traced(*args, **kwargs)
                captures = captures_of(traced)
        captures = without_history(captures) or captures
    if not captures:
        raise CantSave("save: nothing is captured yet: call it (twice) on an example first, and see explain()")
    names = {} if module is None else {id(t): k for k, t in (*module.named_parameters(), *module.named_buffers())}
    weights: dict[str, np.ndarray] = {}
    programs = [encode_capture(c, key, names, weights, traced, general, number) for number, (key, c) in enumerate(captures)]
    text = json.dumps({"format": "jitorch", "version": VERSION, "name": repr(traced), "programs": programs,
                       "training": bool(module is not None and module.training)})  # fmt: skip
    members = {"program.json": text.encode(), "weights.safetensors": to_safetensors(weights)}
    digests = json.dumps({k: hashlib.sha256(v).hexdigest() for k, v in members.items()})
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in (*members.items(), ("digests.json", digests.encode())):
            archive.writestr(name, data)
    if hasattr(file, "write"):
        file.write(buffer.getvalue())
        return
    path = os.fspath(file)
    beside = f"{path}.{os.getpid()}.part"
    with open(beside, "wb") as f:
        f.write(buffer.getvalue())
    os.replace(beside, path)


def captures_of(traced: Any) -> list[tuple[Any, Capture]]:
    """Every capture that holds programs, and the key of its arguments."""
    return [(key, c) for key, e in traced.entries.items() for c in e.captures if c.eager is None and c.root.events]


def without_history(captures: list[tuple[Any, Capture]]) -> list[tuple[Any, Capture]]:
    """Those whose results don't require grad."""
    return [(key, c) for key, c in captures if not any(end.sources for end in endings(c.root))]


def encode_capture(capture: Capture, key: Any, names: dict[int, str], weights: dict[str, np.ndarray], traced: Any, general: bool | None,
                   number: int) -> dict:
    example = capture.example
    if example is None:
        raise CantSave("save: its arguments can't be described in a file")
    if capture.objects:
        raise CantSave(f"save: an argument is a {type(capture.objects[0]).__name__}")
    if any(start is not None and place[0] == "own" and place[1] < capture.arguments for e in all_events(capture.root) if isinstance(e, Run)
           for place, start, _ in e.leaves):  # fmt: skip
        raise CantSave("save: an example was a part of a larger tensor: call it on a copy (clone()) first")
    one = {"inputs": example, "root": encode_branch(capture.root)}
    if any(place[0] == "own" and place[1] < capture.arguments for end in endings(capture.root) for place, _ in end.written):
        raise CantSave("save: it writes to an argument")
    several = None if general is False else general_form(capture, key, traced, general)
    held = []
    for i, t in enumerate(capture.held):
        name = names.get(id(t), f"held.{number}.{i}")
        held.append(name)
        weights[name] = t.detach()._array()
    constants: list = []
    for e in all_events(capture.root):
        if isinstance(e, Made):
            name = f"constant.{number}.{e.number}.{len(constants)}"
            weights[name] = e.values
            constants.append([e.number, name])
    return {**(several or one), "general": several is not None, "held": held, "constants": constants, "arguments": capture.arguments}


def all_events(branch: Branch) -> list:
    events = list(branch.events)
    for b in branch.children.values():
        events += all_events(b)
    return events


def compares_sizes(traced: Any) -> bool:
    """Whether the user's code reads sizes and compares something: then other sizes may take other ways."""
    codes: list[types.CodeType] = list(traced.learned.codes)
    if SIZES.isdisjoint(traced.learned.names) and not any("len" in c.co_names for c in codes):
        return False
    return any(i.opname in ("COMPARE_OP", "CONTAINS_OP") for c in codes for i in dis.get_instructions(c))


def general_form(capture: Capture, key: Any, traced: Any, asked: bool | None) -> dict | None:
    """Inputs and events for any batch size, or None. The function is captured for three sizes, on zeros."""
    why = None
    if capture.root.read is not None and any(len(b.children) > 1 or (b.read is not None and b.read.returned is None) for b in [capture.root]):
        why = "it reads values into Python"
    elif any(end.written for end in endings(capture.root)) or any(isinstance(e, Draw) for e in all_events(capture.root)):
        why = "it changes state in every call"
    elif asked is None and compares_sizes(traced):
        why = "its code reads sizes and compares"
    n = batch_of(capture.example)
    if n is None:
        why = "its inputs have no common first dimension"
    if why is None:
        base = max(n or 0, 2)
        sizes = [base + 1, base + 2, 2 * base + 5]
        try:
            forms = [captured_for(capture, traced, n, size) for size in sizes]
            if all(f is not None for f in forms):
                return same_but_sizes(forms, sizes)
            why = "it can't be captured for other sizes"
        except (LookupError, RuntimeError, ValueError, IndexError, TypeError, AssertionError) as error:
            why = f"other sizes take other ways ({type(error).__name__})"
    if asked:
        raise CantSave(f"save: it is not general in its batch size: {why}")
    return None


def batch_of(example: Any) -> int | None:
    shapes: list = []

    def collect(x: Any) -> None:
        if isinstance(x, dict):
            (tag, v), = x.items()
            if tag == "input":
                shapes.append(v[0])
            elif tag in ("tuple", "list"):
                for i in v:
                    collect(i)
            elif tag == "dict":
                for _, i in v:
                    collect(i)
        elif isinstance(x, list):
            for i in x:
                collect(i)

    collect(example["args"])
    collect([v for _, v in example["named"]])
    first = {s[0] for s in shapes if s}
    return first.pop() if len(first) == 1 else None


def captured_for(capture: Capture, traced: Any, n: int | None, size: int) -> dict | None:
    """The inputs and events of a call on zeros, with `size` rows where the example has n."""
    def zeros(x: Any) -> Any:
        if not isinstance(x, dict):
            return x
        (tag, v), = x.items()
        if tag == "input":
            from ..ops.dispatch import PUBLIC
            shape = [size, *v[0][1:]] if v[0] and v[0][0] == n else v[0]
            return PUBLIC["zeros"](*shape, dtype=dtypes.BY_NAME[v[1]]) if shape else PUBLIC["zeros"]((), dtype=dtypes.BY_NAME[v[1]])
        if tag in ("tuple", "list"):
            return (tuple if tag == "tuple" else list)(zeros(i) for i in v)
        if tag == "dict":
            return {decode(k): zeros(i) for k, i in v}
        return decode(x)

    args = tuple(zeros(v) for v in capture.example["args"])
    named = {k: zeros(v) for k, v in capture.example["named"]}
    local.tape.flush()
    tensors: list[Tensor] = []
    inputs = {"args": [describe(v, tensors) for v in args], "named": [[k, describe(v, tensors)] for k, v in named.items()]}
    with no_grad():
        session, ending, _ = traced.watched_call(tensors, [], args, named)
    if ending is None:
        return None
    made = Capture(session, [])
    if made.insert(frozen_path(session) if traced.frozen else session.path, ending) is not None or [id(t) for t in made.held] != [id(t) for t in capture.held]:
        return None
    constants = [[e.values.tobytes() for e in all_events(c.root) if isinstance(e, Made)] for c in (made, capture)]
    return {"inputs": inputs, "root": encode_branch(made.root)} if constants[0] == constants[1] else None


# -- weights -----------------------------------------------------------------------------------------------------------
KINDS = {"F32": "float32", "F64": "float64", "F16": "float16", "I8": "int8", "I16": "int16", "I32": "int32", "I64": "int64", "U8": "uint8",
         "BOOL": "bool", "C64": "complex64", "C128": "complex128"}  # fmt: skip
NAMES = {v: k for k, v in KINDS.items()}


def to_safetensors(tensors: dict[str, np.ndarray]) -> bytes:
    """The format of https://github.com/huggingface/safetensors: the length of a JSON header, the header, the values."""
    header, parts, at = {}, [], 0
    for name, array in tensors.items():
        if array.dtype.name not in NAMES:
            raise CantSave(f"save: weights of dtype {array.dtype.name} can't be written")
        data = np.ascontiguousarray(array).astype(array.dtype.newbyteorder("<"), copy=False).tobytes()
        header[name] = {"dtype": NAMES[array.dtype.name], "shape": [*array.shape], "data_offsets": [at, at + len(data)]}
        parts.append(data)
        at += len(data)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return b"".join([len(text).to_bytes(8, "little"), text, *parts])


def from_safetensors(data: bytes) -> dict[str, np.ndarray]:
    size = int.from_bytes(data[:8], "little")
    if size > len(data) - 8:
        raise damaged("the weights are cut off")
    header, found = json.loads(data[8 : 8 + size]), {}
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        kind, shape, (begin, end) = np.dtype(KINDS[entry["dtype"]]), entry["shape"], entry["data_offsets"]
        if not 0 <= begin <= end <= len(data) - 8 - size or end - begin != kind.itemsize * int(np.prod(shape, dtype=np.int64)):
            raise damaged(f"the values of {name} are cut off")
        found[name] = np.frombuffer(data[8 + size + begin : 8 + size + end], kind.newbyteorder("<")).astype(kind).reshape(shape)
    return found


# -- loading -----------------------------------------------------------------------------------------------------------
def damaged(why: str) -> RuntimeError:
    return RuntimeError(f"load: this is no program that jitorch saved, or it is damaged: {why}")


def load(file: Any) -> LoadedProgram:
    """A saved program as a Module. RuntimeError for a damaged or newer file; nothing in it is executed as code."""
    with damage(), zipfile.ZipFile(file) as archive:
        missing = [m for m in (*MEMBERS, "digests.json") if m not in archive.namelist()]
        if missing:
            raise damaged(f"it has no {missing[0]}")
        digests = json.loads(archive.read("digests.json"))
        data = {m: archive.read(m) for m in MEMBERS}
        for name, content in data.items():
            if digests.get(name) != hashlib.sha256(content).hexdigest():
                raise damaged(f"the digest of {name} is another: it was changed after it was saved")
        described = json.loads(data["program.json"])
        if described.get("format") != "jitorch":
            raise damaged("its format has another name")
        if described["version"] > VERSION:
            raise RuntimeError(f"load: the file has version {described['version']} of the format; this jitorch reads up to {VERSION}. Update jitorch")
        return LoadedProgram(described, from_safetensors(data["weights.safetensors"]))


@contextmanager
def damage() -> Iterator[None]:
    """What goes wrong within the block is a fault of the file. An OSError is not, nor what is told already."""
    try:
        yield
    except (zipfile.BadZipFile, EOFError, ArithmeticError, AttributeError, LookupError, TypeError, ValueError, RecursionError, NotImplementedError,
            zlib.error, StopIteration) as error:  # fmt: skip
        raise damaged(str(error) if isinstance(error, (Unsound, zipfile.BadZipFile)) else f"{type(error).__name__}: {error}") from None


class LoadedProgram(Module):
    """A program from a file. It computes what was captured: no gradients, and the mode (train or eval) it was saved in."""

    def __init__(self, described: dict, weights: dict[str, np.ndarray]):
        super().__init__()
        state = self.__dict__
        state["described"], state["forms"], state["training"] = described, {}, described["training"]
        held: dict[str, Tensor] = {}
        for name, values in weights.items():
            if not name.startswith("constant."):
                held[name] = self.place(name, values)
        state["held"], state["constants"] = held, weights

    def place(self, name: str, values: np.ndarray) -> Tensor:
        """Register a weight under its name."""
        *path, last = name.split(".")
        owner: Module = self
        for part in path:
            if part not in owner._modules:
                owner.add_module(part, Module())
            owner = owner._modules[part]  # type: ignore[assignment]
        meta = Meta(values.shape, dtypes.from_numpy(values.dtype))
        t = Tensor.__new__(Tensor)
        t._storage, t._meta = stored(meta, values.reshape(-1).copy()), meta
        if meta.dtype.is_floating_point:
            p = Parameter(t, requires_grad=False)
            owner._parameters[last] = p
            return p
        owner._buffers[last] = t
        return t

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        tape = local.tape
        if tape.node is not ROOT:
            tape.flush()
        tensors: list[Tensor] = []
        got = {"args": [describe(v, tensors) for v in args], "named": [[k, describe(v, tensors)] for k, v in kwargs.items()]}
        if autograd_state.enabled and any(t.requires_grad for t in tensors):
            raise RuntimeError("a loaded program has no gradient: call it under torch.no_grad(), or on detached inputs")
        with damage():
            programs = self.__dict__["described"]["programs"]
            found = next(((number, n) for number, p in enumerate(programs) if (n := matched(p["inputs"], got)) is not None), None)
            if found is None:
                known = "; ".join(", ".join([*map(wanted_input, p["inputs"]["args"]), *(f"{k}={wanted_input(v)}" for k, v in p["inputs"]["named"])])
                                  for p in programs)  # fmt: skip
                raise RuntimeError(f"the loaded program takes ({known}), but got ({', '.join(map(wanted_input, got['args']))})")
        number, size = found
        return self.run(number, programs[number], size, tensors)

    def run(self, number: int, program: dict, n: int, tensors: list[Tensor]) -> Any:
        inputs = [t.detach() if t._meta is t._storage.meta else t.detach().clone() for t in tensors]
        forms = self.__dict__["forms"]
        root = forms.get((number, n))
        if root is None:
            with damage():
                constants = [self.__dict__["constants"][name].reshape(-1) for _, name in program["constants"]]
                root = decode_branch(program["root"], n, iter(constants), {})
                prove(root, [*inputs, *[self.__dict__["held"][name] for name in program["held"]]], program["arguments"])
            if len(forms) > 64:
                forms.pop(next(iter(forms)))
            forms[number, n] = root
        local.tape.flush()
        state = Replay([*inputs, *[self.__dict__["held"][name] for name in program["held"]]], program["arguments"])
        branch = root
        while True:
            for event in branch.events:
                try:
                    event.do(state)
                except (ArithmeticError, AttributeError, KeyError, TypeError, ValueError) as error:      # an attribute that the rules for shapes don't look at
                    raise damaged(f"{type(error).__name__}: {error}") from None
            if branch.read is None:
                return state.end(branch.ending)
            values = np.ascontiguousarray(branch.read.look.values(state))
            if branch.read.returned is None:
                state.reads.append(None)
                found = branch.children.get(values.tobytes())
            else:
                state.reads.append(getattr(values, branch.read.returned)())
                found = branch.children.get(b"")
            if found is None:
                raise RuntimeError(f"the loaded program was captured for other values of a number it reads than {values.tolist()}: call the "
                                   "original on an example that takes this way, and save it again")  # fmt: skip
            branch = found

    def train(self, mode: bool = True) -> Any:
        if mode != self.training:
            raise RuntimeError(f"the program was saved in {'train' if self.training else 'eval'} mode: save it in the other mode too")
        return self

    def extra_repr(self) -> str:
        return str(self.__dict__["described"]["name"])

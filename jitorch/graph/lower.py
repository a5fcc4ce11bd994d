"""From recorded steps to a simple IR program: every entry lowers itself, then a few rewrites give the normal form.

The normal form that `schedule` relies on: equal values are one value; maps take their operands without explicit expansion; a reshape or view stands
directly over a value that has a buffer or is computed; nothing is reduced over no elements; every wanted value is computed for its own sake.
"""
from __future__ import annotations

from math import gcd
from typing import Any

from ..dtypes import HALVES, INT, bool_, dtype, float64, int64
from ..kernels.cpu import scans
from ..kernels.cpu.expressions import COMPUTED, FLOATS, can_cast, can_write
from . import lookups
from .ir import Builder, Value
from .program import Program
from .record import Meta, contiguous_strides, count

SOURCES = frozenset(("input", "scalar", "const", "iota"))
ALIASES = frozenset(("reshape", "view"))
LONG_MATRIX, LONG_ROW = 1 << 16, 64     # elements

NUMBER_DTYPE = {float: float64, int: int64, bool: bool_}


class CanonicalBuilder(Builder):
    """A builder that returns the existing value where an equal one was made, and rewrites as it goes."""

    def __init__(self):
        super().__init__()
        self.known: dict = {}
        self.sums: dict = {}        # of rows added up by the row of a table they belong to, see lookups.py
        self.metas: list = []
        self.out: tuple = ()

    def add(self, kind, name, args, shape, dtype, attrs=()):
        shape = tuple(shape)
        rewrite = REWRITES.get(kind)
        if rewrite is not None:
            better = rewrite(self, kind, name, tuple(args), shape, dtype, attrs)
            if isinstance(better, Value):
                return better
            if better is not None:
                args = better
        if kind in ("scatter", "call"):
            return super().add(kind, name, args, shape, dtype, attrs)
        # 1, 1.0, True and 0.0, -0.0 are equal but not the same constant
        exact = (repr(attrs), dtype) if kind == "const" else attrs
        key = (kind, name, tuple(id(a) for a in args), shape, dtype, exact)
        found = self.known.get(key)
        if found is None:
            found = self.known[key] = super().add(kind, name, args, shape, dtype, attrs)
        return found

    def take_back(self, start: int) -> None:
        """Forget all values from number `start` on: none of them is used."""
        while self.known and next(reversed(self.known.values())).index >= start:
            self.known.popitem()
        del self.values[start:]

    def fresh(self, v: Value) -> Value:
        """A copy of `v` that is a value of its own."""
        return Builder.add(self, "map", "copy", (v,), v.shape, v.dtype)


def rewrite_map(b, kind, name, args, shape, dtype, attrs):
    """Operands lose their expansion: maps broadcast by themselves. The shape must not depend on it."""
    stripped = tuple(strip_expand(a) for a in args)
    first = stripped[0]
    if name == "cast" and first.dtype is dtype and first.shape == shape:
        return first
    if name == "cast" and first.kind == "map" and first.name == "cast" and is_widened(first, dtype) and first.args[0].shape == shape:
        return first.args[0]
    if name == "sub" and first.kind == "map" and first.name == "add" and dtype.category == INT and stripped[1] in first.args:
        rest = first.args[1 - first.args.index(stripped[1])]        # integers wrap around, so this is exact
        if rest.shape == shape:
            return rest
    return side_by_side(b, *stripped) or stripped if name == "add" else stripped


def is_widened(v: Value, dtype) -> bool:
    """Whether a cast has given an integer of `dtype`, or a number of half precision, more bits."""
    source = v.args[0].dtype
    return source is dtype and source.category == v.dtype.category >= INT and v.dtype.itemsize > source.itemsize


def strip_expand(v: Value) -> Value:
    return v.args[0] if v.kind == "view" and v.name == "expand" else v


def side_by_side(b, x: Value, y: Value) -> Value | None:
    """The sum of two places that lie in zeros and don't meet (gradients of parts of one value) is one place."""
    if not (x.kind == y.kind == "place" and x.shape == y.shape and in_zeros(x) and in_zeros(y)):
        return None
    pieces = [(p, *region) for v in (x, y) for p, region in zip(v.args[v.attrs[0]:], v.attrs[2])]
    boxes = [box(x.shape, p.shape, strides, offset) for p, strides, offset in pieces]
    if None in boxes or not all(apart(one, other) for i, one in enumerate(boxes) for other in boxes[:i]):
        return None
    whole = sum(p.numel for p, _, _ in pieces) == x.numel
    return b.place(None if whole else 0, x.shape, pieces, x.dtype)


def in_zeros(v: Value) -> bool:
    has_base, fill, _ = v.attrs
    return is_number(strip_expand(v.args[0]), 0) if has_base else fill in (0, None)


def box(whole, shape, strides, offset) -> list[tuple[int, int, int]] | None:
    """A strided region of a contiguous `whole`, by dimension: first index, step, how many. None where it isn't of that form."""
    natural = contiguous_strides(whole)
    found = [[offset // s % n, 1, 1] if n else [0, 1, 1] for s, n in zip(natural, whole)]
    for n, stride in zip(shape, strides):
        if n == 1:
            continue
        d = next((d for d, s in enumerate(natural) if whole[d] > 1 and s <= stride), None)
        if d is None or stride % natural[d] or found[d][2] > 1 or found[d][0] + stride // natural[d] * (n - 1) >= whole[d]:
            return None
        found[d][1:] = [stride // natural[d], n]
    return [(first, step, n) for first, step, n in found]


def apart(one, other) -> bool:
    """Whether two boxes have no element in common, as far as one dimension tells."""
    return any((a - c) % gcd(s, t) != 0 or a + s * (n - 1) < c or c + t * (m - 1) < a for (a, s, n), (c, t, m) in zip(one, other))


def rewrite_reshape(b, kind, name, args, shape, dtype, attrs):
    v, = args
    while v.kind == "reshape":
        v = v.args[0]
    if v.shape == shape:
        return v
    if v.kind == "iota":
        v = b.map("copy", v)
    if v.kind == "view":
        if v.name == "expand" and v.args[0].numel == 1:
            return b.expand(b.reshape(v.args[0], ()), shape)
        v = b.map("copy", v) if v.name != "expand" else explicit(b, v)
    return (v,)


def explicit(b, v: Value) -> Value:
    """An expanded value written out: a copy whose shape is its own."""
    return Builder.add(b, "map", "copy", (v.args[0],), v.shape, v.dtype)


def rewrite_view(b, kind, name, args, shape, dtype, attrs):
    v, = args
    if v.kind == "view":
        strides, offset = attrs
        if v.numel and v.shape and v.args[0].numel == 1:      # a view of one repeated number repeats that number
            return b.expand(b.reshape(v.args[0], ()), shape) if name != "expand" or v.args[0].shape else None
        v = explicit(b, v) if v.name == "expand" else b.map("copy", v)
    return (v,)


def rewrite_reduce(b, kind, name, args, shape, dtype, attrs):
    v, = args
    n = count(v.shape[d] for d in attrs)
    if v.numel == 0 or n == 0:
        if count(shape) == 0 or name in ("sum", "any"):
            start = 0
        elif name in ("prod", "all"):
            start = 1
        else:
            raise RuntimeError(f"{name}(): expected a reduction over at least one element")
        return b.expand(b.const(start, dtype), shape)
    if n == 1:
        if name in ("argmax", "argmin"):
            return b.expand(b.const(0, dtype), shape)
        return b.cast(v, dtype)
    if name in ("argmax", "argmin") and len([d for d in attrs if v.shape[d] != 1]) > 1:
        return b.reshape(b.reduce(name, b.reshape(v, (v.numel,)), (0,)), shape)     # the index counts in row-major order
    if n <= UNROLLED and name in PAIRWISE and short_window(v, attrs):
        return unrolled(b, name, v, attrs, shape, dtype)
    return (explicit(b, v),) if v.kind == "view" and v.name == "expand" else None


UNROLLED, UNROLLED_MAPS = 9, 12      # elements of a window, maps computed for each of them
PAIRWISE = {"sum": "add", "prod": "mul", "max": "maximum", "min": "minimum", "any": "or", "all": "and"}


def short_window(v: Value, dims) -> bool:
    """Whether this is a window of several dimensions (of pooling, say) over a few maps of memory, so that it can be written out
    for each position. A short row is left alone: its consumers fuse with the loop over it."""
    if sum(v.shape[d] > 1 for d in dims) < 2:
        return False
    stack, maps = [v], 0
    while stack:
        a = stack.pop()
        if a.kind == "map" and a.name != "philox":
            maps += 1
            stack.extend(x for x in a.args if x.numel > 1)
        elif a.kind not in ("view", "reshape", "input", "iota", "const", "scalar", "place", "contract"):
            return False
        if maps > UNROLLED_MAPS:
            return False
    return maps > 0 or v.kind == "view"


def unrolled(b, name, v: Value, dims, shape, dtype) -> Value:
    """A reduction over a short window as maps of the window's elements: loops of two or three iterations are not worth their start."""
    total: Any = None
    for k in range(count(v.shape[d] for d in dims)):
        index, rest = {}, k
        for d in reversed(dims):
            index[d - len(v.shape)] = rest % v.shape[d]
            rest //= v.shape[d]
        part = b.cast(element(b, v, index, {}), dtype)
        total = part if total is None else b.map(PAIRWISE[name], total, part)
    return total if total.shape == tuple(shape) else b.expand(total, shape)


def element(b, v: Value, index: dict[int, int], known: dict) -> Value:
    """v at fixed positions (dimension counted from the back -> index) of some dimensions, which get size 1."""
    if v in known:
        return known[v]
    mine = {d: i for d, i in index.items() if -d <= len(v.shape) and v.shape[d] != 1}
    if not mine:
        out = v
    elif v.kind == "map":
        args = [element(b, a, mine, known) for a in v.args]
        out = b.cast(args[0], v.dtype) if v.name == "cast" else b.map(v.name, *args, dtype=v.dtype)
    elif v.kind == "iota" and v.attrs[0] - len(v.shape) in mine:
        out = b.const(mine[v.attrs[0] - len(v.shape)], v.dtype)
    else:
        base, (strides, offset) = (v.args[0], v.attrs) if v.kind == "view" else (v, (contiguous_strides(v.shape), 0))
        n = len(v.shape)
        shape = [1 if i - n in mine else size for i, size in enumerate(v.shape)]
        out = b.strided(base, shape, strides, offset + sum(strides[d] * i for d, i in mine.items()))
    known[v] = out
    return out


def rewrite_table(b, kind, name, args, shape, dtype, attrs):
    """A take's index may be computed in registers; its table has to be in memory. Where nothing is taken, no index is looked at."""
    if not count(shape):
        return b.expand(b.const(0, dtype), shape)
    return (contiguous(b, args[0]), strip_expand(args[1]))


def rewrite_whole(b, kind, name, args, shape, dtype, attrs):
    """Operands of routines are whole contiguous arrays."""
    return tuple(contiguous(b, a) for a in args)


def rewrite_contract(b, kind, name, args, shape, dtype, attrs):
    """Operands are read where they lie, with any strides. A product with one row or one column is a reduction like any other."""
    labels = attrs
    sizes = {x: n for v, own in zip(args, labels) for x, n in zip(own, v.shape)}
    rows, columns = (count(sizes[x] for x in labels[2] if (x in labels[i]) and x not in labels[1 - i]) for i in (0, 1))
    summed = [x for x in labels[0] if x not in labels[2]]
    if (rows == 1 or columns == 1 or count(sizes[x] for x in summed) == 1) and not is_long_matrix(args, labels, summed):
        order = summing_order(args, labels, sizes, summed)
        product = b.map("mul", *(aligned(b, v, own, order) for v, own in zip(args, labels)))
        if not summed:
            return b.expand(product, shape)
        dims = [i for i, x in enumerate(order) if x in summed]
        total = b.reduce("sum", b.expand(product, [sizes[x] for x in order]), dims)
        return b.reshape(total, shape)
    return lookups.product(b, args, labels) or tuple(in_memory(b, a) for a in args)


def is_long_matrix(args, labels, summed) -> bool:
    """Whether a vector is multiplied by a matrix whose rows are long and in memory already: a contraction reads several at a time."""
    matrix, own = max(zip(args, labels), key=lambda pair: pair[0].numel)
    strides, _ = matrix.attrs if matrix.kind == "view" else (contiguous_strides(matrix.shape), 0)
    base = matrix.args[0] if matrix.kind in ALIASES else matrix
    if base.kind != "input" or len(summed) != 1 or matrix.numel < LONG_MATRIX:
        return False
    k = own.index(summed[0])
    return strides[k] == 1 and LONG_ROW <= matrix.shape[k] <= matrix.numel // 16


def summing_order(args, labels, sizes, summed) -> list:
    """Labels in the order of loops: the result's, and the summed ones where the larger operand is read side by side."""
    out = list(labels[2])
    last = next((x for x in reversed(out) if sizes[x] != 1), None)
    larger, own = max(zip(args, labels), key=lambda pair: pair[0].numel)
    strides = dict(zip(own, larger.attrs[0] if larger.kind == "view" else contiguous_strides(larger.shape)))
    inner = last is not None and strides.get(last) == 1 and not (
        strides.get(summed[-1]) == 1 and sizes[summed[-1]] >= sizes[last])
    at = out.index(last) if inner else len(out)
    return out[:at] + summed + out[at:]


def aligned(b, v: Value, own: tuple, order: list) -> Value:
    """v with its dimensions in `order`, and dimensions of size 1 for the labels that it lacks."""
    if v.kind == "view" and v.name == "expand":
        v = explicit(b, v) if v.args[0].kind in ("const", "scalar", "iota") else v
    base, (strides, offset) = (v.args[0], v.attrs) if v.kind == "view" else (v, (contiguous_strides(v.shape), 0))
    dims = [own.index(x) if x in own else None for x in order]
    shape = [1 if d is None else v.shape[d] for d in dims]
    return b.strided(base, shape, [0 if d is None else strides[d] for d in dims], offset)


def rewrite_attend(b, kind, name, args, shape, dtype, attrs):
    """Operands whose rows lie without gaps are read where they are; a mask has all columns."""
    if attrs[-1]:
        return None
    named = attend_operands(kind, args)
    if "mask" in named:
        mask = named["mask"]
        named["mask"] = b.expand(mask, (*mask.shape[:-1], named["k"].shape[-2]))
    for name, v in named.items():
        if name in ("lse", "delta"):
            named[name] = contiguous(b, v)
        elif name != "scale":
            named[name] = contiguous(b, v) if v.kind == "view" and v.attrs[0][-1] != 1 and v.shape[-1] != 1 else in_memory(b, v)
    return tuple(named.values())


def attend_operands(kind: str, args) -> dict[str, Value]:
    """The operands of an `attend` or `attend_back` by name."""
    names = ("q", "k", "v", "scale", "mask") if kind == "attend" else ("q", "k", "v", "scale", "g", "lse", "delta", "mask")
    return dict(zip(names, args))


def in_memory(b, v: Value) -> Value:
    base = v
    while base.kind in ALIASES:
        base = base.args[0]
    if base.kind not in ("const", "scalar", "iota"):
        return v
    return explicit(b, v) if v.name == "expand" else b.map("copy", v)


def contiguous(b, v: Value) -> Value:
    if v.kind == "view":
        return explicit(b, v) if v.name == "expand" else b.map("copy", v)
    return in_memory(b, v)


def rewrite_scatter(b, kind, name, args, shape, dtype, attrs):
    """Where the index runs through whole rows, one index a row is enough; rows that are products may be added up before (lookups.py)."""
    target, index, value = args
    better = lookups.scattered(b, name, args, shape)
    if better is not None:
        return better
    rows = run_starts(b, index) if value.shape == index.shape else None
    return rewrite_whole(b, kind, name, (target, index if rows is None else rows, value), shape, dtype, attrs)


def run_starts(b, index: Value) -> Value | None:
    """The first index of each run along the last dimension, if an index is the sum of something that doesn't change along it and its place there."""
    conditions, terms, places = [], [], 0
    if index.kind == "map" and index.name == "where" and is_number(index.args[2], -1) and index.args[0].shape[-1:] in ((), (1,)):
        conditions.append(index.args[0])
        index = index.args[1]
    width = index.shape[-1] if index.shape else 1
    stack = [index]
    while stack:
        v = stack.pop()
        if v.kind == "map" and v.name == "mul" and any(is_number(a, 1) for a in v.args):
            v = v.args[1] if is_number(v.args[0], 1) else v.args[0]
        if v.kind == "iota" and v.attrs[0] == len(v.shape) - 1 and v.shape[-1] == width:
            places += 1
        elif v.shape[-1:] in ((), (1,)):
            terms.append(v)
        elif v.kind == "map" and v.name == "add":
            stack += v.args
        else:
            return None
    if width < 2 or places != 1:
        return None
    start: Any = b.const(0, int64)
    for v in terms:
        start = v if is_number(start, 0) else b.map("add", start, v)
    for c in conditions:
        start = b.where(c, start, -1)
    return b.expand(start, (*index.shape[:-1], 1))


def is_number(v: Value, number) -> bool:
    return v.kind == "const" and v.attrs[0] == number


REWRITES = {
    "take": rewrite_table, "scan": rewrite_whole, "call": rewrite_whole, "scatter": rewrite_scatter, "contract": rewrite_contract,
    "attend": rewrite_attend, "attend_back": rewrite_attend, "recur": rewrite_whole,
    "map": rewrite_map, "reshape": rewrite_reshape, "view": rewrite_view, "reduce": rewrite_reduce,
}


def lower(program: Program) -> tuple[list[Value], list[Value]]:
    """The IR values of a program, in an order in which they can be computed, and the wanted ones."""
    b = CanonicalBuilder()
    slots: dict[int, Value] = {}
    leaf_number = {s.index: i for i, s in enumerate(program.leaves)}
    for step in program.steps:
        b.line = step.line
        for i, v in enumerate(lower_step(b, step, slots, leaf_number)):
            slots[step.index + i] = v
    wanted, taken = [], set()
    for slot, _ in program.wanted:
        v = slots[slot]
        while v.kind == "reshape":      # a result is its elements in order
            v = v.args[0]
        if v.kind in SOURCES or v.kind in ALIASES or id(v) in taken:
            v = explicit(b, v) if v.kind == "view" and v.name == "expand" else b.fresh(v)
        taken.add(id(v))
        wanted.append(v)
    values = reachable(b.values, wanted)
    return with_stores(b, values), wanted


def lower_step(b: CanonicalBuilder, step, slots, leaf_number) -> tuple[Value, ...]:
    if step.op == "leaf":
        meta = step.metas[0]
        return (b.input(leaf_number[step.index], meta.shape, meta.dtype),)
    if step.op == "view":
        shape, strides, offset = step.attrs
        base = slots[step.slots[0]]
        return (b.expand(base, shape) if is_expand(base.shape, shape, strides, offset) else b.strided(base, shape, strides, offset),)
    args: list[Any] = []
    metas: list[Any] = []
    pattern: list[Any] = []
    k = 0
    for slot in step.slots:
        if slot is None:
            args.append(None)
            metas.append(None)
            pattern.append(None)
        elif slot < 0:
            number = step.scalars[k]
            kind = type(number)
            if step.where is not None:
                args.append(b.scalar(step.where[k], NUMBER_DTYPE[kind]) if kind is not complex else number)
                pattern.append(("scalar", step.where[k]))
            else:
                args.append(number)
                pattern.append(("number", number))
            metas.append(kind)
            k += 1
        else:
            args.append(slots[slot])
            metas.append(args[-1])
            pattern.append("value")
    b.metas, b.out = metas, step.metas
    made = in_kernels(b, args, step)
    if made is None:
        made = b.call(step.op, [a for a, p in zip(args, pattern) if p == "value"], (tuple(pattern), step.attrs), step.metas)
    made = made if isinstance(made, tuple) else (made,)
    checked = []
    for v, meta in zip(made, step.metas):
        if v.dtype is not meta.dtype:
            v = b.cast(v, meta.dtype)
        if v.shape != meta.shape:
            if v.numel != meta.numel:
                v = b.expand(v, meta.shape)
            else:
                v = b.reshape(v, meta.shape)
        checked.append(v)
    return tuple(checked)


def in_kernels(b: CanonicalBuilder, args: list, step) -> Any:
    """An op's results as it lowers itself, or None if kernels can't compute all of it.

    What only moves elements moves those of half precision as they are; all else is computed in single precision and rounded once."""
    dtypes = [m.dtype for m in [*b.metas, *step.metas] if hasattr(m, "dtype")]
    if step.op.lower is None or complex in b.metas or not all(d.compute.name in COMPUTED for d in dtypes):
        return None
    made = attempt(b, step.op, args, step.attrs)
    if made is None and not HALVES.isdisjoint(dtypes):
        made = attempt(b, step.op, *in_single_precision(b, args, step))
    return made


def attempt(b: CanonicalBuilder, op, args: list, attrs: tuple) -> Any:
    """An op's results as it lowers itself; None, and nothing of it is left, if kernels can't compute all of it."""
    start = len(b.values)
    made = op.lower(b, *args, *attrs)
    if made is None or not all(map(has_kernel, b.values[start:])):
        b.take_back(start)
        return None
    return made


def in_single_precision(b: CanonicalBuilder, args: list, step) -> tuple[list, tuple]:
    """Operands and attributes of an op on half precision, as float32.

    A view's base is cast, so that the view lies in memory as it did."""
    found = []
    for v in args:
        if isinstance(v, Value) and v.dtype in HALVES:
            base = v.args[0] if v.kind == "view" and v.args[0].numel <= v.numel else v
            single = b.cast(base, base.dtype.compute)
            v = single if base is v else b.expand(single, v.shape) if v.name == "expand" else b.strided(single, v.shape, *v.attrs)
        found.append(v)
    b.metas = [v if isinstance(v, Value) else m for v, m in zip(found, b.metas)]
    b.out = tuple(Meta(m.shape, m.dtype.compute) for m in step.metas)
    return found, tuple(a.compute if isinstance(a, dtype) else a for a in step.attrs)


def has_kernel(v: Value) -> bool:
    """Whether kernels can be generated for a value; an entry with one that can't runs its reference instead."""
    if v.kind == "map" and v.name == "cast":
        return can_cast(v.args[0].dtype.name, v.dtype.name)
    if v.kind == "map":
        return can_write(v.name, v.args[1 if v.name == "where" else 0].dtype.name)
    if v.kind == "scan":
        return v.name in scans.STEPS and v.dtype is not bool_ and v.dtype not in HALVES
    if v.kind in ("scalar", "reduce") or v.name == "add":       # a scatter that adds
        return HALVES.isdisjoint((v.dtype, *(a.dtype for a in v.args)))
    return v.kind not in ("contract", "attend", "attend_back", "recur") or v.dtype.name in FLOATS


def is_expand(base_shape, shape, strides, offset) -> bool:
    """Whether a strided view only repeats dimensions (right-aligned broadcasting)."""
    extra = len(shape) - len(base_shape)
    if offset or extra < 0:
        return False
    natural = contiguous_strides(base_shape)
    for i, (n, s) in enumerate(zip(shape, strides)):
        have = 1 if i < extra else base_shape[i - extra]
        if n == 1 and have == 1:
            continue
        if have == 1 and s == 0:
            continue
        if i < extra or have != n or s != natural[i - extra]:
            return False
    return True


def reachable(values: list[Value], wanted: list[Value]) -> list[Value]:
    marked: set[int] = set()
    stack = list(wanted)
    while stack:
        v = stack.pop()
        if v.index not in marked:
            marked.add(v.index)
            stack.extend(v.args)
    return [v for v in values if v.index in marked]


def with_stores(b: CanonicalBuilder, values: list[Value]) -> list[Value]:
    """Split every `place` and `scatter` into stores (copies into a part of the new buffer) and the buffer they fill; number anew."""
    out: list[Value] = []
    present = set(values)
    for v in values:
        if v.kind == "place":
            has_base, fill, regions = v.attrs
            stores, natural = [], contiguous_strides(v.shape)
            pieces = list(v.args[1:] if has_base else v.args)
            if has_base:
                stores.append((v.args[0], v.shape, natural, 0))
            elif fill is not None:
                filler = b.const(fill, v.dtype)
                if filler not in present:
                    present.add(filler)
                    out.append(filler)
                stores.append((filler, v.shape, natural, 0))
            stores += [(p, p.shape, s, o) for p, (s, o) in zip(pieces, regions)]
            v.args = tuple(store(b, v, *s) for s in stores)
            out.extend(v.args)
        elif v.kind == "scatter":
            first = store(b, v, v.args[0], v.shape, contiguous_strides(v.shape), 0)
            v.args = (first, *v.args[1:])
            out.append(first)
        out.append(v)
    for i, v in enumerate(out):
        v.index = i
    return out


def store(b, target: Value, v: Value, shape, strides, offset) -> Value:
    """A copy of `v` into a region of `target`'s buffer. What a reshape only divided further is copied from where it lies."""
    while v.kind == "reshape" and (finer := divided(shape, strides, v.args[0].shape)) is not None:
        v, shape, strides = v.args[0], v.args[0].shape, finer
    s = Value(b, "map", "copy", (strip_expand(v),), shape, target.dtype, ("into", target, tuple(strides), offset))
    s.line = target.line
    return s


def divided(shape, strides, finer) -> tuple[int, ...] | None:
    """Strides of the same elements with dimensions `finer`, where each is a part of one of `shape`, else None."""
    found: list[int] = []
    places = iter(reversed(finer))
    for n, stride in zip(reversed(shape), reversed(strides)):
        while n > 1:
            m = next(places)
            if m == 0 or n % m:
                return None
            found.append(stride)
            n, stride = n // m, stride * m
    found += [0] * (len(finer) - len(found)) if all(m == 1 for m in places) else []
    return tuple(reversed(found)) if len(found) == len(finer) else None

"""The small IR that programs are lowered to, and the builder that op entries lower themselves with.

| kind | meaning | attrs |
| --- | --- | --- |
| input | a leaf's buffer | leaf number |
| scalar | a run-time number | its place among the run's scalars |
| const | a number | the number |
| map | an elementwise function of broadcast operands | its name |
| iota | the index along one dimension | dimension |
| reduce | a reduction, reduced dimensions kept with size 1 | name, dimensions |
| reshape | the same elements in the same order | |
| view | a strided view of a contiguous value | strides, offset |
| place | a new buffer: a base (a value or a number), then regions written over it | [(strides, offset)] |
| take | elements of the first operand at the linear indices of the second | |
| scatter | the first operand with elements, or runs of them (as many as there are values to an index), written or added at linear indices | "set" or "add" |
| contract | sums of products of two operands over the labels that the result lacks (as in einsum) | a label for each dimension of the operands and the result |
| attend | softmax(q @ k.T * scale + mask) @ v, and the logarithm of each row's sum of exponentials (see `Builder.attend`) | is it causal, which result |
| attend_back | the gradients of q (in parts to be added up), k and v | is it causal, which result |
| recur | a loop over time: at each step a product of what the last one gave, then elementwise functions (see `Recurrence`) | its Step, which result |
| scan | a running reduction along one dimension | name, dimension |
| call | a library routine on whole arrays | op entry, its attributes, which result |
"""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..dtypes import bool_, dtype, int64
from .record import contiguous_strides, count


class Value:
    """A node of the IR. Operators build maps; Python numbers become constants of the other operand's dtype."""

    __slots__ = ("kind", "name", "args", "shape", "dtype", "attrs", "builder", "index", "line")

    def __init__(self, builder, kind, name, args, shape, dtype, attrs=()):
        self.builder, self.kind, self.name, self.args = builder, kind, name, args
        self.shape, self.dtype, self.attrs = tuple(shape), dtype, attrs
        self.index, self.line = -1, None

    @property
    def numel(self) -> int:
        return count(self.shape)

    def __repr__(self) -> str:
        what = self.name or self.kind
        return f"%{self.index} = {what}({', '.join(f'%{a.index}' for a in self.args)}) {self.dtype.name}{list(self.shape)} {self.attrs or ''}"

    def __add__(self, o): return self.builder.map("add", self, o)
    def __radd__(self, o): return self.builder.map("add", o, self)
    def __sub__(self, o): return self.builder.map("sub", self, o)
    def __rsub__(self, o): return self.builder.map("sub", o, self)
    def __mul__(self, o): return self.builder.map("mul", self, o)
    def __rmul__(self, o): return self.builder.map("mul", o, self)
    def __truediv__(self, o): return self.builder.map("div", self, o)
    def __rtruediv__(self, o): return self.builder.map("div", o, self)
    def __neg__(self): return self.builder.map("neg", self)
    def __lt__(self, o): return self.builder.map("lt", self, o)
    def __le__(self, o): return self.builder.map("le", self, o)
    def __gt__(self, o): return self.builder.map("gt", self, o)
    def __ge__(self, o): return self.builder.map("ge", self, o)
    def __and__(self, o): return self.builder.map("and", self, o)
    def __or__(self, o): return self.builder.map("or", self, o)
    def __xor__(self, o): return self.builder.map("xor", self, o)
    def __invert__(self): return self.builder.map("not", self)
    def eq(self, o): return self.builder.map("eq", self, o)
    def ne(self, o): return self.builder.map("ne", self, o)


def within(shape, strides, offset: int, numel: int) -> None:
    """Raises ValueError unless a strided region lies within so many elements: kernels look at indices, and trust strides."""
    first = last = offset
    for n, s in zip(shape, strides, strict=True):
        if n == 0:
            return
        first += min(0, (n - 1) * s)
        last += max(0, (n - 1) * s)
    if first < 0 or last >= numel:
        raise ValueError(f"a region of shape {list(shape)} and strides {list(strides)} is not within {numel} elements")


ATTEND_KEYS, ATTEND_STEPS = 128, 16       # keys worth a part of their own; how many parts of all batches there are at least, if keys suffice
TO_BOOL = frozenset(("lt", "le", "gt", "ge", "eq", "ne", "isnan", "isinf", "isfinite", "signbit"))


@dataclass(frozen=True)
class Step:
    """What a `recur` does at each step, for every column (of `width`) of every row. Operands and results are named by their numbers."""

    sources: tuple          # ("sequence", operand, block), ("previous", result, block, operand at the first step), ("vector", operand, block)
                            # ("next", operand, block, operand at the last step), ("product", block), ("carried", number)
    body: tuple             # values in order: ("source", dtype, number), ("const", dtype, number), or (map's name, dtype, *places in body)
    results: tuple          # for each result the places in body of its blocks of columns
    carried: tuple          # places of what the next step gets, in registers' stead; zero at the first
    finals: tuple           # sums of sources after one more product, results without a time
    fed: int                # the result whose last step's value the product is of
    weights: int            # an operand
    turned: bool            # is the product with the transpose of the weights
    first: int | None       # the operand that the first step's product is of; None: it is zero
    reverse: bool           # from the last time to the first


class Builder:
    """Makes values in program order. The result of every method is a Value (dtype and shape known)."""

    def __init__(self):
        self.values: list[Value] = []
        self.line: str | None = None      # the user's line, for what is made next

    def add(self, kind, name, args, shape, dtype, attrs=()) -> Value:
        v = Value(self, kind, name, tuple(args), shape, dtype, attrs)
        v.index, v.line = len(self.values), self.line
        self.values.append(v)
        return v

    # -- sources ---------------------------------------------------------------------------------------------------
    def input(self, number: int, shape, dtype) -> Value:
        return self.add("input", None, (), shape, dtype, (number,))

    def scalar(self, place: int, dtype: dtype) -> Value:
        return self.add("scalar", None, (), (), dtype, (place,))

    def const(self, number, dtype: dtype) -> Value:
        return self.add("const", None, (), (), dtype, (dtype.cast(number).item(),))

    def iota(self, shape, dim: int, dtype: dtype = int64) -> Value:
        """The index along `dim`, for every element of `shape` (size 1 in the other dimensions unless shape says more)."""
        v = self.add("iota", None, (), shape, int64, (dim,))
        return v if dtype is int64 else self.cast(v, dtype)

    def full(self, shape, number, dtype: dtype) -> Value:
        return self.expand(number if isinstance(number, Value) else self.const(number, dtype), shape)

    # -- elementwise -----------------------------------------------------------------------------------------------
    def map(self, name: str, *args, dtype: dtype | None = None) -> Value:
        """An elementwise function. Operands broadcast; they must have one dtype (numbers take it), except for `where`."""
        first = next(a for a in (args if name != "where" else args[1:]) if isinstance(a, Value))
        values = [a if isinstance(a, Value) else self.const(a, first.dtype) for a in args]
        out = dtype or (bool_ if name in TO_BOOL else first.dtype)
        return self.add("map", name, values, broadcast([v.shape for v in values]), out)

    def where(self, condition: Value, a, b) -> Value:
        return self.map("where", condition, a, b)

    def cast(self, v: Value, dtype: dtype) -> Value:
        if v.dtype is dtype:
            return v
        if v.kind == "const":
            return self.const(v.attrs[0], dtype)
        if v.kind == "scalar" and dtype.category >= v.dtype.category and dtype.compute is dtype:
            return self.scalar(v.attrs[0], dtype)
        return self.add("map", "cast", (v,), v.shape, dtype)

    # -- reductions ------------------------------------------------------------------------------------------------
    def reduce(self, name: str, v: Value, dims: Sequence[int], dtype: dtype | None = None) -> Value:
        """sum, prod, max, min, any, all, argmax, argmin over `dims`, which stay with size 1 (argmax: one dimension, or all as flat index)."""
        dims = tuple(sorted(d % len(v.shape) for d in dims)) if v.shape else ()
        shape = tuple(1 if i in dims else s for i, s in enumerate(v.shape))
        out = dtype or (int64 if name in ("argmax", "argmin") else v.dtype)
        return self.add("reduce", name, (v,), shape, out, dims)

    def scan(self, name: str, v: Value, dim: int) -> Value:
        return self.add("scan", name, (v,), v.shape, v.dtype, (dim % max(len(v.shape), 1),))

    # -- movement --------------------------------------------------------------------------------------------------
    def reshape(self, v: Value, shape) -> Value:
        return v if tuple(shape) == v.shape else self.add("reshape", None, (v,), shape, v.dtype)

    def expand(self, v: Value, shape) -> Value:
        """Broadcast to `shape` (sizes of 1 and missing leading dimensions are repeated)."""
        shape = tuple(shape)
        if v.shape == shape:
            return v
        padded = (1,) * (len(shape) - len(v.shape)) + v.shape
        strides = tuple(0 if p == 1 else s for p, s in zip(padded, contiguous_strides(padded)))
        return self.add("view", "expand", (v,), shape, v.dtype, (strides, 0))

    def permute(self, v: Value, dims: Sequence[int]) -> Value:
        dims = [d % len(dims) for d in dims]
        natural = contiguous_strides(v.shape)
        return self.strided(v, [v.shape[d] for d in dims], [natural[d] for d in dims], 0)

    def strided(self, v: Value, shape, strides, offset: int) -> Value:
        """A strided view of v's elements in row-major order (strides and offset in elements)."""
        shape, strides = tuple(shape), tuple(strides)
        within(shape, strides, offset, v.numel)
        natural = contiguous_strides(shape)
        if offset == 0 and count(shape) == v.numel and all(s == n for s, n, k in zip(strides, natural, shape) if k != 1):
            return self.reshape(v, shape)
        return self.add("view", "strided", (v,), shape, v.dtype, (strides, offset))

    def place(self, base, shape, pieces, dtype: dtype | None = None) -> Value:
        """A buffer of `shape` that starts as `base` (a Value of that shape, a number, or None: every element is covered
        by a piece), with `pieces` [(value, strides, offset)] written over it in order."""
        values = [p[0] for p in pieces]
        for piece, strides, offset in pieces:
            within(piece.shape, strides, offset, count(shape))
        out = dtype or (base.dtype if isinstance(base, Value) else values[0].dtype)
        args = ([base] if isinstance(base, Value) else []) + values
        fill = None if isinstance(base, Value) or base is None else base
        return self.add("place", None, args, shape, out, (isinstance(base, Value), fill, tuple((tuple(p[1]), p[2]) for p in pieces)))

    def take(self, v: Value, index: Value) -> Value:
        """v's elements (row-major) at linear indices `index` (int64). Out of range raises IndexError when the program runs."""
        return self.add("take", None, (v, index), index.shape, v.dtype)

    def scatter(self, mode: str, base: Value, index: Value, value: Value) -> Value:
        """`base` with `value` written ("set") or added ("add") at linear indices `index`, in row-major order of `index`."""
        return self.add("scatter", mode, (base, index, value), base.shape, base.dtype)

    # -- contractions and the rest ---------------------------------------------------------------------------------
    def contract(self, a: Value, b: Value, of_a: Sequence, of_b: Sequence, of_out: Sequence) -> Value:
        """The sum of a * b over every label that the result lacks: einsum, with each label at most once an operand.

        A label that only one operand has must be one of the result's; equal labels have equal sizes."""
        sizes = {**dict(zip(of_b, b.shape)), **dict(zip(of_a, a.shape))}
        labels = (tuple(of_a), tuple(of_b), tuple(of_out))
        return self.add("contract", None, (a, b), [sizes[x] for x in of_out], a.dtype, labels)

    def dot(self, a: Value, b: Value) -> Value:
        """(..., M, K) by (..., K, N); the leading dimensions broadcast."""
        lead = broadcast([a.shape[:-2], b.shape[:-2]])
        labels = []
        for v, last in ((a, ("m", "k")), (b, ("k", "n"))):
            own = v.shape[:-2]
            extra = len(lead) - len(own)
            kept = [i for i, n in enumerate(own) if n != 1 or lead[i + extra] == 1]
            if len(kept) < len(own):
                v = self.reshape(v, [own[i] for i in kept] + list(v.shape[-2:])) if v.kind != "view" else self.without(v, kept)
            labels.append((v, (*(i + extra for i in kept), *last)))
        (a, of_a), (b, of_b) = labels
        shape = (*(i for i in range(len(lead)) if i in of_a or i in of_b), "m", "n")
        return self.reshape(self.contract(a, b, of_a, of_b, shape), (*lead, a.shape[-2], b.shape[-1]))

    def without(self, v: Value, kept: Sequence[int]) -> Value:
        """A view less its leading dimensions of size 1 but for the `kept` ones."""
        (strides, offset), n = v.attrs, len(v.shape)
        dims = [*kept, n - 2, n - 1]
        return self.strided(v.args[0], [v.shape[d] for d in dims], [strides[d] for d in dims], offset)

    def attend(self, q: Value, k: Value, v: Value, scale: Value, mask: Value | None, causal: bool) -> tuple[Value, Value]:
        """Attention over (length, width), (heads, length, width) or (batch, heads, length, width), nothing empty. Leading dimensions broadcast, and
        where q has a multiple of k's and v's heads, neighbours share one. `mask` is bool (True: takes part) or added; causal: row i sees keys up to i.

        Returns the result (..., L, Ev) and log(sum(exp(scores))) of each row (..., L), which is +inf for a row of zeros that sees no key."""
        lead = lead_of((q, k, v))
        return self.several("attend", (q, k, v, scale, *(() if mask is None else (mask,))), (causal,), q.dtype, (
            (*lead, q.shape[-2], v.shape[-1]), (*lead, q.shape[-2])))

    def attend_back(self, g: Value, q: Value, k: Value, v: Value, lse: Value, delta: Value, scale: Value, mask: Value | None,
                    causal: bool) -> tuple[Value, Value, Value]:
        """Gradients of q, k and v, with all leading dimensions, from g, that of the result (..., L, Ev), and delta = sum(result * g, -1)."""
        lead = lead_of((q, k, v))
        # where there are few batches, parts of the keys are steps side by side, each with a gradient of q of its own
        parts = min(-(-k.shape[-2] // ATTEND_KEYS), max(1, ATTEND_STEPS // count(lead)))
        dq, dk, dv = self.several("attend_back", (q, k, v, scale, g, lse, delta, *(() if mask is None else (mask,))), (causal,), q.dtype, (
            (parts, *lead, *q.shape[-2:]), (*lead, *k.shape[-2:]), (*lead, *v.shape[-2:])))
        return self.reshape(self.sum(dq, [0]), dq.shape[1:]), dk, dv

    def recurrence(self, width: int, weights: Value, turned: bool, first: Value | None, reverse: bool) -> Recurrence:
        """A loop over time in the making, whose steps begin with fed @ weights, or weights.T if `turned`."""
        return Recurrence(self, width, weights, turned, first, reverse)

    def several(self, kind: str, args, attrs: tuple, dtype: dtype, shapes) -> tuple:
        """The results of one step: the others have the first as their only operand."""
        first = self.add(kind, None, args, shapes[0], dtype, (*attrs, 0))
        return (first, *(self.add(kind, None, (first,), shape, dtype, (*attrs, i)) for i, shape in enumerate(shapes) if i))

    def call(self, op, args, attrs, metas) -> tuple[Value, ...]:
        """The op's reference on whole arrays. attrs: (how operands alternate with numbers, the op's attributes)."""
        first = self.add("call", op.name, args, metas[0].shape, metas[0].dtype, (op, attrs, metas, 0))
        return (first, *(self.add("call", op.name, (first,), m.shape, m.dtype, (op, attrs, metas, i))
                         for i, m in enumerate(metas) if i))

    # -- compositions that several entries share -------------------------------------------------------------------
    def sum(self, v: Value, dims) -> Value:
        return self.reduce("sum", v, dims)

    def mean(self, v: Value, dims) -> Value:
        n = count(v.shape[d] for d in dims)
        return self.reduce("sum", v, dims) * (1.0 / n if n else float("nan"))

    def exp(self, v: Value) -> Value:
        return self.map("exp", v)

    def log(self, v: Value) -> Value:
        return self.map("log", v)


class Recurrence:
    """A loop over time in the making: `step` builds the maps of one step, on what the sources give.

    Sequences are (T, N, blocks * width); results are, too."""

    def __init__(self, b: Builder, width: int, weights: Value, turned: bool, first: Value | None, reverse: bool):
        self.b, self.width, self.dtype, self.step = b, width, weights.dtype, Builder()
        self.operands: list[Value] = []
        self.sources: list[tuple] = []
        self.weights, self.turned, self.reverse = self.operand(weights), turned, reverse
        self.first = None if first is None else self.operand(first)

    def operand(self, v: Value) -> int:
        if v not in self.operands:
            self.operands.append(v)
        return self.operands.index(v)

    def source(self, *what) -> Value:
        self.sources.append(what)
        return self.step.input(len(self.sources) - 1, (), self.dtype)

    def sequence(self, v: Value, block: int) -> Value:
        """Of this step, `width` columns of a sequence from block * width on."""
        return self.source("sequence", self.operand(v), block)

    def previous(self, result: int, first: Value) -> Value:
        """What result number `result` got at the last step; at the first, `first` (N, width)."""
        return self.source("previous", result, 0, self.operand(first))

    def next(self, v: Value, last: Value) -> Value:
        """Of the step after this one; at the last, `last` (N, width)."""
        return self.source("next", self.operand(v), 0, self.operand(last))

    def vector(self, v: Value, block: int) -> Value:
        """The same at each step: columns of a vector."""
        return self.source("vector", self.operand(v), block)

    def product(self, block: int) -> Value:
        return self.source("product", block)

    def carried(self, number: int) -> Value:
        """What `finish` is told to carry, from the last step; zero at the first."""
        return self.source("carried", number)

    def finish(self, results, fed: int, carried=(), finals=()) -> tuple[Value, ...]:
        """Results, lists of values (the blocks of columns), and finals, lists of ("product", block) and ("carried", number) to add up."""
        number = {v: i for i, v in enumerate(self.step.values)}
        body = tuple(("source" if v.kind == "input" else v.name or v.kind, v.dtype.name, *(
            v.attrs if v.kind in ("input", "const") else (number[a] for a in v.args))) for v in self.step.values)
        step = Step(tuple(self.sources), body, tuple(tuple(number[v] for v in blocks) for blocks in results), tuple(number[v] for v in carried),
                    tuple(tuple(x) for x in finals), fed, self.weights, self.turned, self.first, self.reverse)
        steps, rows = next(self.operands[s[1]].shape for s in self.sources if s[0] == "sequence")[:2]
        shapes = [(steps, rows, len(blocks) * self.width) for blocks in results] + [(rows, self.width)] * len(finals)
        return self.b.several("recur", self.operands, (step,), self.dtype, shapes)


def lead_of(operands) -> tuple[int, ...]:
    """The leading dimensions of an attention; the first operand may have a multiple of the others' heads."""
    leads = [a.shape[:-2] for a in operands]
    heads = leads[0][-1:]
    return broadcast([leads[0], *((*x[:-1], *heads) if heads and x and x[-1] and heads[0] % x[-1] == 0 else x for x in leads[1:])])


def broadcast(shapes) -> tuple[int, ...]:
    """The common shape. Raises PyTorch's RuntimeError where sizes differ."""
    shapes = [tuple(s) for s in shapes]
    first = shapes[0]
    if all(s == first for s in shapes):
        return first
    n = max(map(len, shapes))
    out = [1] * n
    for shape in shapes:
        for i, size in enumerate(reversed(shape)):
            k = n - 1 - i
            if size != 1 and out[k] != size:
                if out[k] != 1:
                    raise RuntimeError(f"The size of tensor a ({out[k]}) must match the size of tensor b ({size}) at non-singleton dimension {k}")
                out[k] = size
    return tuple(out)

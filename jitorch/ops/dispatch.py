"""The op table, and `apply`, which records an operation and ties its gradient to the result."""
from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from ..autograd.anomaly import here
from ..autograd.node import NUMBERS, GradNode, _sequence, anomaly_used, connect, state
from ..graph.record import Storage, generalise, local, lookup

OPS: dict[str, Op] = {}            # every operation the engine can run
PUBLIC: dict[str, Any] = {}        # name -> function: what `jitorch.<name>` is
VIEWS: dict[str, Any] = {}         # views: geometry and gradient, nothing to run (see ops/strided.py)
METHODS: dict[str, Any] = {}       # name -> function: what `Tensor.<name>` is


class Mapped(Exception):
    """Asked of a tensor that stands for a slice of a mapped dimension what only a tensor in memory has (see ops/batching.py)."""


class _Maps(threading.local):
    levels: tuple = ()             # the calls of vmap that are running, outermost first


maps = _Maps()


class Op:
    """One entry of the op table.

    infer(*metas, *attrs) -> Meta or tuple of Metas. An operand given as a Python number comes as its type, None as None. Raises
        the user's errors.
    reference(*arrays, *attrs) -> array or tuple: NumPy or SciPy; numbers come as Python numbers. The result is cast to the inferred dtype.
    lower(b, *values, *attrs) -> value or tuple: the same in IR (see graph/ir.py); None: the reference is called.
    vjp(ctx, *grads) -> a gradient (or None) for every input, in tensor operations.
        Of a function that is holomorphic in its complex operands this is the product with the plain Jacobian, transposed: the engine conjugates
        what goes in and comes out. wirtinger: the rule does that itself (abs, and what else isn't holomorphic).
    saves: what vjp reads: a string of input numbers and "o" for outputs ("01o").
    batch: the family of its rule in ops/batching.py; None: the rule of its own name, if there is one.
    """

    __slots__ = ("name", "infer", "reference", "lower", "vjp", "saves", "save_outputs", "runtime", "grad_name", "samples", "wirtinger",
                 "batch")

    lasting = True          # is the same entry used each time: what is known of it may be kept

    def __init__(self, name: str, *, infer: Callable, reference: Callable, lower: Callable | None = None,
                 vjp: Callable | None = None, saves: str = "", runtime: bool = False, grad_name: str | None = None, wirtinger: bool = False,
                 batch: str | None = None):
        self.name, self.infer, self.reference, self.lower, self.vjp = name, infer, reference, lower, vjp
        self.saves = tuple(int(c) for c in saves if c != "o")
        self.save_outputs = "o" in saves
        self.runtime = runtime      # its numbers are run-time scalars from the start (seeds)
        self.wirtinger = wirtinger
        self.batch = batch
        self.grad_name = grad_name or "".join(w.capitalize() for w in name.strip("_").split("_")) + "Backward0"
        if name in OPS:
            raise ValueError(f"op {name!r} is defined twice")
        OPS[name] = self

    def __repr__(self) -> str:
        return f"<op {self.name}>"


def public(*names: str, method: bool | str = False, function: bool = True):
    """Publish a function as `jitorch.<name>` (its own name unless given) and, with method=True, as a Tensor method."""
    def register(fn):
        for name in names or (fn.__name__,):
            if function:
                PUBLIC[name] = fn
            if method:
                METHODS[method if isinstance(method, str) else name] = fn
        return fn
    return register


Tensor: Any = None                 # set by jitorch/tensor.py


def apply(op: Op, inputs: tuple, attrs: tuple = ()):
    """Record `op`. Inputs are tensors, Python numbers or None. Returns a tensor, or a tuple for several outputs."""
    tape = local.tape
    while True:
        try:
            recording, parent, node, scalars, needs_grad = find(tape, op, inputs, attrs)
        except Mapped:
            from .batching import batched
            return batched(op, inputs, attrs)
        single = len(node.metas) == 1
        if single:
            storage, out = Storage(), new(Tensor)
            storage.meta = out._meta = node.meta
            storage.tape, storage.slot = tape, node.index
            out._storage = storage
        else:
            outs, owners = promised(tape, node)
        # the step is taken, unless something was recorded or run in between; nothing can be until the last line (see graph/record.py)
        if tape.node is parent and tape.epoch is recording:
            if scalars:
                tape.scalars[node.scalar_index:] = scalars
            tape.node = node
            if single:
                tape.owners[node.index] = storage
            else:
                tape.owners |= owners
            break
    if needs_grad and op.vjp is not None and tape.differentiates:
        if single:
            if node.differentiable:
                out._grad_fn = grad = connect(node, inputs)
                out._rg = True
                if op.save_outputs:
                    grad.save_output(0, out)
        else:
            grad = connect(node, inputs)
            for i, out in enumerate(outs):
                if out._meta.dtype.differentiable:
                    out._grad_fn, out._output_nr, out._rg = grad, i, True
                if op.save_outputs:
                    grad.save_output(i, out)
    if node.index > tape.limit:
        tape.flush()
    return out if single else outs


def find(tape, op: Op, inputs: tuple, attrs: tuple) -> tuple[Any, Any, Any, tuple, bool]:
    """The step that `op` is: the recording and the node that it is taken from, its own node, its numbers, and whether an input requires grad."""
    recording = tape.epoch
    slots: Any = []
    metas: list[Any] = []
    scalars: tuple = ()
    needs_grad = stands = False
    for x in inputs:
        kind = x.__class__
        if kind in NUMBERS:
            if type(x) is not kind:     # a stand-in of a trace (see tracing/numbers.py)
                if x.lines is None:
                    x = x.value
                else:
                    stands = True
            slots.append(-1)
            metas.append(kind)
            scalars += (x,)
        elif x is None:
            slots.append(None)
            metas.append(None)
        else:
            try:
                s, m = x._storage, x._meta
            except AttributeError:
                raise TypeError(f"{op.name}(): expected a Tensor or a number, but got {kind.__name__}") from None
            slots.append(s.slot if s.tape is tape and m is s.meta else tape.slot_of(s, m))
            metas.append(m)
            if x._rg or (x._base is not None and x._refresh()):
                needs_grad = True
    slots = tuple(slots)
    parent = tape.node
    node = parent.last
    if stands:
        node = lookup(parent, op, slots, attrs, tuple([x if type(x) is x.__class__ else x.value for x in scalars]), metas, op.infer, True)
        generalise(node)
    elif node is None or node.op is not op or node.slots != slots or node.attrs != attrs or (scalars and not node.fits(scalars)):
        node = lookup(parent, op, slots, attrs, scalars, metas, op.infer, op.runtime)
    return recording, parent, node, scalars, needs_grad


def promised(tape, node) -> tuple[tuple, dict[int, Storage]]:
    """A tensor for each result of a step, and their storages by slot."""
    outs, owners = [], {}
    for slot, meta in enumerate(node.metas, node.index):
        s, t = Storage(), new(Tensor)
        s.meta = t._meta = meta
        s.tape, s.slot = tape, slot
        t._storage = owners[slot] = s
        outs.append(t)
    return tuple(outs), owners


def function_of(op: Op) -> Callable:
    """The function that records `op`, with one output and no attributes: `apply`, written out for one tensor."""
    infer, save_outputs = op.infer, op.save_outputs

    def function(*inputs):
        if len(inputs) != 1 or not isinstance(inputs[0], Tensor):
            return apply(op, inputs)
        storage, out = Storage(), new(Tensor)
        tape, x, recording = local.tape, inputs[0], None
        try:
            s, m = x._storage, x._meta
        except Mapped:
            return apply(op, inputs)
        if s.tape is tape and m is s.meta:
            i = s.slot
        else:
            recording = tape.epoch
            i = tape.slot_of(s, m)
        parent = tape.node
        node = parent.last
        if node is None or node.op is not op or node.left != i or node.right is not None:
            if recording is None:
                recording = tape.epoch
            node = lookup(parent, op, (i,), (), (), (m,), infer)
        if recording is not None and (tape.node is not parent or tape.epoch is not recording):
            return function(*inputs)            # something was recorded or run in between
        tape.node = node
        storage.meta = out._meta = node.meta
        storage.tape = tape
        storage.slot = slot = node.index
        out._storage = storage
        tape.owners[slot] = storage
        if (x._rg if x._base is None else x._refresh()) and node.differentiable and tape.differentiates:
            out._grad_fn = grad = connect(node, inputs)
            out._rg = True
            if save_outputs:
                grad.save_output(0, out)
        if slot > tape.limit:
            tape.flush()
        return out

    return function


def operator_of(op: Op, mixed: Callable) -> Callable:
    """The operator that records `op` of two tensors, with one output and no attributes; `mixed(a, b)` does it where b is no tensor.

    It is `apply`, written out: what arithmetic costs is what a program costs to record. Two objects are made, and the
    step is compared with the one that was taken from here last, which spares a hash.
    """
    saves, save_outputs, infer = op.saves, op.save_outputs, op.infer
    first, both = saves == (0,), saves == (0, 1)

    def operator(a, b):
        if b.__class__ is not Tensor and not isinstance(b, Tensor):
            return mixed(a, b)
        storage, out = Storage(), new(Tensor)
        tape, recording = local.tape, None
        try:
            s, m = a._storage, a._meta
            r, n = b._storage, b._meta
        except Mapped:
            return apply(op, (a, b))
        if s.tape is tape and m is s.meta:
            i = s.slot
        else:
            recording = tape.epoch
            i = tape.slot_of(s, m)
        if n is r.meta and r.tape is not tape:      # mostly a leaf that was entered before
            epoch, j = r.entered
            if epoch is not tape.epoch:
                if recording is None:
                    recording = tape.epoch
                j = tape.slot_of(r, n)
        elif n is r.meta:
            j = r.slot
        else:
            if recording is None:
                recording = tape.epoch
            j = tape.slot_of(r, n)
        parent = tape.node
        node = parent.last
        if node is None or node.op is not op or node.left != i or node.right != j:
            if recording is None:
                recording = tape.epoch
            node = lookup(parent, op, (i, j), (), (), (m, n), infer)
        if recording is not None and (tape.node is not parent or tape.epoch is not recording):
            return operator(a, b)                   # something was recorded or run in between
        tape.node = node
        storage.meta = out._meta = node.meta
        storage.tape = tape
        storage.slot = slot = node.index
        out._storage = storage
        tape.owners[slot] = storage
        if a._base is not None:
            a._refresh()
        if b._base is not None:
            b._refresh()
        if (a._rg or b._rg) and node.differentiable and tape.differentiates:
            out._rg = True
            out._grad_fn = grad = GradNode()
            grad.step = node
            grad.seq = next(_sequence)
            grad.edges = (
                None if not a._rg else a if (fn := a._grad_fn) is None else (fn, a._output_nr) if a._output_nr else fn,
                None if not b._rg else b if (fn := b._grad_fn) is None else (fn, b._output_nr) if b._output_nr else fn)
            if saves:
                grad.saved = (a, s, s.version, b, r, r.version) if both else (a, s, s.version) if first else (b, r, r.version)
            if save_outputs:
                grad.save_output(0, out)
            if anomaly_used and state.anomaly:
                grad.where = here()
        if slot > tape.limit:
            tape.flush()
        return out

    return operator


new = object.__new__

"""The op table, and `apply`, which records an operation and ties its gradient to the result."""
from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..autograd.node import GradNode, state
from ..graph import record
from ..graph.record import Meta, Storage, local, lookup

OPS: dict[str, Op] = {}            # every operation the engine can run
PUBLIC: dict[str, Callable] = {}   # name -> function: what `jitorch.<name>` is
VIEWS: dict[str, Any] = {}         # views: geometry and gradient, nothing to run (see ops/views.py)
METHODS: dict[str, Callable] = {}  # name -> function: what `Tensor.<name>` is


class Op:
    """One entry of the op table.

    infer(*metas, *attrs) -> Meta or tuple of Metas. An operand given as a Python number comes as its type, None as None. Raises
        the user's errors.
    reference(*arrays, *attrs) -> array or tuple: NumPy or SciPy; numbers come as Python numbers. The result is cast to the inferred dtype.
    lower(b, *values, *attrs) -> value or tuple: the same in IR (see graph/ir.py); None: the reference is called.
    vjp(ctx, *grads) -> a gradient (or None) for every input, in tensor operations.
    saves: what vjp reads: a string of input numbers and "o" for outputs ("01o").
    """

    __slots__ = ("name", "infer", "reference", "lower", "vjp", "saves", "save_outputs", "runtime", "grad_name", "samples")

    def __init__(self, name: str, *, infer: Callable, reference: Callable, lower: Callable | None = None,
                 vjp: Callable | None = None, saves: str = "", runtime: bool = False, grad_name: str | None = None):
        self.name, self.infer, self.reference, self.lower, self.vjp = name, infer, reference, lower, vjp
        self.saves = tuple(int(c) for c in saves if c != "o")
        self.save_outputs = "o" in saves
        self.runtime = runtime      # its numbers are run-time scalars from the start (seeds)
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
    slots, metas, scalars, needs_grad = [], [], (), False
    for x in inputs:
        if x.__class__ in NUMBERS:
            slots.append(-1)
            metas.append(x.__class__)
            scalars += (x,)
        elif x is None:
            slots.append(None)
            metas.append(None)
        else:
            try:
                s, m = x._storage, x._meta
            except AttributeError:
                raise TypeError(f"{op.name}(): expected a Tensor or a number, but got {type(x).__name__}") from None
            slots.append(s.slot if s.tape is tape and m is s.meta else tape.slot_of(s, m))
            metas.append(m)
            if x._rg or (x._base is not None and x._refresh()):
                needs_grad = True
    slots = tuple(slots)
    node = tape.node.next.get((op, slots, attrs, ())) if not scalars else None
    if node is None:
        node = lookup(tape.node, op, slots, attrs, scalars, lambda: as_tuple(op.infer(*metas, *attrs)))
        if op.runtime:
            node.runtime = True
    tape.node = node
    if scalars:
        tape.scalars.extend(scalars)
    if len(node.metas) == 1:
        out = new_tensor(tape, node.meta, node.index)
        if needs_grad and state.enabled and op.vjp is not None and node.meta.dtype.is_floating_point:
            grad = out._grad_fn = GradNode(op, inputs, attrs, metas, node.metas)
            out._rg = True
            if op.save_outputs:
                grad.save_output(0, out)
        if tape.eager or node.index > record.FLUSH_LENGTH:
            tape.flush()
        return out
    outs = tuple(new_tensor(tape, m, node.index + i) for i, m in enumerate(node.metas))
    if needs_grad and state.enabled and op.vjp is not None:
        grad = GradNode(op, inputs, attrs, metas, node.metas)
        for i, out in enumerate(outs):
            if out._meta.dtype.is_floating_point:
                out._grad_fn, out._output_nr, out._rg = grad, i, True
            if op.save_outputs:
                grad.save_output(i, out)
    if tape.eager or node.index > record.FLUSH_LENGTH:
        tape.flush()
    return outs


NUMBERS = frozenset((int, float, bool))


def as_tuple(x) -> tuple:
    return tuple(x) if isinstance(x, (tuple, list)) else (x,)


def new_tensor(tape, meta: Meta, slot: int):
    s = Storage(meta, None, tape, slot)
    tape.owners.append(s)
    t = Tensor.__new__(Tensor)
    t._storage, t._meta = s, meta
    return t

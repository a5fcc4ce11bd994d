"""The nodes of the backward graph, and whether it is being recorded."""
from __future__ import annotations

import itertools
import threading
from typing import Any

from ..changes import changed
from ..graph.record import local

_sequence = itertools.count()
NUMBERS = frozenset((int, float, bool, complex))        # the types of operands that are no tensors


class _State(threading.local):
    inference = False       # is it not recorded because of inference_mode
    anomaly = False

    @property
    def enabled(self) -> bool:
        """Is the backward graph recorded? Kept with the thread's tape, which every operation has at hand."""
        return local.tape.differentiates

    @enabled.setter
    def enabled(self, value: bool) -> None:
        local.tape.differentiates = value


state = _State()
anomaly_used: list[bool] = []      # not empty once anomaly mode was turned on in any thread: spares others the question
sparse_used: list[bool] = []       # the same of sparse tensors


class Entry:
    """What the backward graph needs of an op's entry, for what is in no table: `name`, `grad_name`, `vjp(node, *grads)` and these."""

    name: str
    grad_name: str
    saves: tuple = ()
    save_outputs = False
    wirtinger = True        # its rule is run as it is, also with complex gradients
    lasting = False         # is the same entry used each time, so that what is known of it may be kept


class Record:
    """What was done, as the backward graph needs to know it; a node of the trie is one too. `inputs` are the metas of the operands."""

    __slots__ = ("op", "attrs", "inputs", "metas")

    def __init__(self, op, attrs: tuple, inputs: tuple, metas: tuple):
        self.op, self.attrs, self.inputs, self.metas = op, attrs, inputs, metas

    def key(self) -> tuple:
        return self.op, self.attrs, tuple([m.key for m in (*self.inputs, *self.metas)])

    def __eq__(self, other) -> bool:
        return other.__class__ is Record and self.key() == other.key()

    def __hash__(self) -> int:
        return hash((self.op, self.attrs))


class GradNode:
    """One recorded operation, seen from behind: edges to what produced its inputs, and what its rule reads.

    Rules get the node as `ctx`: `ctx.attrs`, `ctx.metas` (of the inputs; a Python type for a number, None for an absent one), `ctx.out_metas`,
    `ctx.needs[i]` (is a gradient wanted for input i), `ctx.input(i)`, `ctx.output(i)` (saved tensors).
    """

    # Defaults live in the class: a node is made for every recorded operation (by `connect`, or in ops/dispatch.py), and sets only what differs.
    step: Any                               # a node of the trie, or a Record
    seq: int                                # the order in which nodes were made
    edges: tuple                            # for each operand: see `edge_of`
    saved: tuple = ()                       # for each input in op.saves: tensor (or number), its storage, that storage's version
    outputs: dict | None = None             # output number -> (alias, version)
    watched = False                         # are there any of the following three
    hooks: list | None = None               # functions of the gradients that arrive here
    retained: dict[int, Any] | None = None
    extra: list | None = None               # functions of incoming and outgoing gradients
    freed = False
    needs: tuple = ()
    where: str | None = None

    @property
    def op(self):
        return self.step.op

    @property
    def attrs(self) -> tuple:
        return self.step.attrs

    @property
    def metas(self) -> tuple:
        return self.step.inputs

    @property
    def out_metas(self) -> tuple:
        return self.step.metas

    def save_output(self, nr: int, out) -> None:
        entry = out._alias(), out._storage.version
        if self.outputs is None:
            self.outputs = {nr: entry}
        else:
            self.outputs[nr] = entry

    def move_output(self, nr: int, storage, meta) -> None:
        """A saved output was written into other memory (an in-place operation)."""
        if self.outputs is not None and nr in self.outputs:
            alias = self.outputs[nr][0]
            alias._storage, alias._meta = storage, meta
            self.outputs[nr] = (alias, storage.version)

    def input(self, i: int):
        """A saved input; raises PyTorch's error if it was modified in place since."""
        self._check()
        k = 3 * self.step.op.saves.index(i)
        tensor, storage, version = self.saved[k:k + 3]
        if storage is None:
            return tensor
        if storage.version != version and not tensor._untracked:
            self._stale(tensor, storage.version, version)
        return tensor if tensor._storage is storage else tensor._alias_of(storage)

    def output(self, i: int = 0):
        """A saved output, tied to this node again, so that it can be differentiated a second time."""
        self._check()
        assert self.outputs is not None
        alias, version = self.outputs[i]
        if alias._storage.version != version:
            self._stale(alias, alias._storage.version, version)
        out = alias._alias()
        out._grad_fn, out._output_nr, out._rg = self, i, True
        return out

    def _check(self) -> None:
        if self.freed:
            raise RuntimeError(
                "Trying to backward through the graph a second time (or directly access saved tensors after they have already been "
                "freed). Saved intermediate values of the graph are freed when you call .backward() or autograd.grad(). Specify "
                "retain_graph=True if you need to backward through the graph a second time or if you need to access saved tensors "
                "after calling backward.")

    def _stale(self, tensor, now: int, then: int):
        raise RuntimeError(
            "one of the variables needed for gradient computation has been modified by an inplace operation: "
            f"[torch.{tensor.dtype.label}Tensor {list(tensor.shape)}]"
            f"{', which is output 0 of ' + tensor._grad_fn.name() + ',' if tensor._grad_fn is not None else ''} "
            f"is at version {now}; expected version {then} instead. "
            "Hint: enable anomaly detection to find the operation that failed to compute its gradient, with "
            "torch.autograd.set_detect_anomaly(True, check_nan=False).")

    def free(self) -> None:
        if self.saved or self.outputs:
            self.freed = True
        self.saved, self.outputs = (), None

    def name(self) -> str:
        return self.step.op.grad_name

    @property
    def next_functions(self) -> tuple:
        return tuple((None, 0) if e is None else e if e.__class__ is tuple else (e if e.__class__ is GradNode else AccumulateGrad(e), 0)
                     for e in self.edges)

    def watch(self) -> None:
        """Something other than its rule is going to see gradients here: see `watched`."""
        self.watched = True
        for kind, empty in (("hooks", []), ("retained", {}), ("extra", [])):
            if getattr(self, kind) is None:
                setattr(self, kind, empty)

    def register_hook(self, hook):
        """Call `hook(grad_inputs, grad_outputs)` after this node's gradients are computed."""
        self.watch()
        assert self.extra is not None
        self.extra.append(hook)
        return RemovableHandle(self.extra, hook)

    def __repr__(self) -> str:
        return f"<{self.name()} object at {hex(id(self))}>"


class AccumulateGrad:
    """What `next_functions` shows for a leaf."""

    def __init__(self, variable):
        self.variable = variable

    def name(self) -> str:
        return "struct torch::autograd::AccumulateGrad"


def edge_of(x):
    """Where the gradient of the tensor `x` goes: the node that made it ((node, output number) if it is not the first), x itself if it is a
    leaf, None if it needs none."""
    if x._base is not None:
        x._refresh()
    if not x._rg:
        return None
    fn = x._grad_fn
    return x if fn is None else (fn, x._output_nr) if x._output_nr else fn


def connect(step, inputs: tuple) -> GradNode:
    """The node of a step that was just recorded."""
    node = GradNode()
    node.step, node.seq = step, next(_sequence)
    edges: list = []
    for x in inputs:
        if x is None or x.__class__ in NUMBERS or not (x._rg if x._base is None else x._refresh()):
            edges.append(None)
        else:           # as in `edge_of`
            fn = x._grad_fn
            edges.append(x if fn is None else (fn, x._output_nr) if x._output_nr else fn)
    node.edges = tuple(edges)
    saves = step.op.saves
    if saves:
        saved: list = []
        for i in saves:
            if i >= len(inputs):            # indexing saves as many index tensors as there are
                break
            x = inputs[i]
            saved += (x, None, 0) if x is None or x.__class__ in NUMBERS else (x, x._storage, x._storage.version)
        node.saved = tuple(saved)
    if anomaly_used and state.anomaly:
        from .anomaly import here
        node.where = here()
    return node


class RemovableHandle:
    """Returned by hook registration; `remove()` takes the hook away again."""

    def __init__(self, hooks: list, hook):
        self._hooks, self._hook = hooks, hook

    def remove(self) -> None:
        changed()
        if self._hook in self._hooks:
            self._hooks.remove(self._hook)

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.remove()

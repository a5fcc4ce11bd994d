"""Tensor: a strided view of a storage, its place in the backward graph, and the ways in and out."""
from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from . import autograd, dtypes
from .autograd.node import GradNode, Record, RemovableHandle, connect, state
from .changes import changed
from .device import check as check_device
from .graph.record import Meta, Size, Storage, local, no_trace, stored
from .ops import dispatch
from .ops.dispatch import METHODS, OPS, VIEWS, Mapped, apply


class Tensor:
    """A multi-dimensional array of one dtype, with PyTorch's semantics. Make one with `jitorch.tensor`, `zeros`, `randn`, ...

    >>> import jitorch as torch
    >>> x = torch.tensor([1., 2., 3.], requires_grad=True)
    >>> (x * x).sum().backward()
    >>> x.grad
    tensor([2., 4., 6.])
    """

    _rg = False                 # requires_grad
    _grad_fn: GradNode | None = None
    _output_nr = 0
    _base: Tensor | None = None     # the tensor this is a view of
    _seen = 0                   # a view: how often its base had been written to when _grad_fn was made
    _writes = 0                 # a base: in-place writes that changed its history
    _untracked = False          # made by .data: its writes don't count as new versions
    _hooks: list | None = None
    _post_hooks: list | None = None
    _retains = False
    _copied_view = False        # a copy of what PyTorch would share (see ops/complex.py)
    is_sparse = False
    grad: Tensor | None = None
    name: str | None = None
    __array_priority__ = 1000

    _storage: Storage
    _meta: Meta

    if TYPE_CHECKING:
        # Operators are published by the files of ops/ (see attach_methods), where type checkers don't find them.
        def _unary(self) -> Tensor: ...
        def _binary(self, other: Any, /) -> Tensor: ...
        def __setitem__(self, index: Any, value: Any, /) -> None: ...
        __abs__ = __invert__ = __neg__ = __pos__ = _unary
        __getitem__ = __matmul__ = __rmatmul__ = _binary
        __add__ = __radd__ = __iadd__ = __sub__ = __rsub__ = __isub__ = __mul__ = __rmul__ = __imul__ = _binary
        __truediv__ = __rtruediv__ = __itruediv__ = __floordiv__ = __rfloordiv__ = __ifloordiv__ = _binary
        __mod__ = __rmod__ = __imod__ = __pow__ = __rpow__ = __ipow__ = _binary
        __and__ = __rand__ = __iand__ = __or__ = __ror__ = __ior__ = __xor__ = __rxor__ = __ixor__ = _binary
        __lshift__ = __rlshift__ = __ilshift__ = __rshift__ = __rrshift__ = __irshift__ = _binary
        __lt__ = __le__ = __gt__ = __ge__ = _binary
        __eq__ = __ne__ = _binary  # type: ignore[assignment]

    def __new__(cls, *args, **kwargs):
        return object.__new__(cls)

    def __init__(self, *data):
        """From sizes (`Tensor(2, 3)`) or from data (`Tensor([1, 2])`), in the default dtype, as PyTorch's old constructor."""
        made = dispatch.PUBLIC[dtypes.get_default_dtype().label + "Tensor"](*data)
        self._storage, self._meta = made._storage, made._meta

    # -- what is known without running ----------------------------------------------------------------------------
    @property
    def shape(self) -> Size:
        return self._meta.shape

    @property
    def dtype(self) -> dtypes.dtype:
        return self._meta.dtype

    @property
    def device(self):
        return self._meta.device

    @property
    def ndim(self) -> int:
        return len(self._meta.shape)

    @property
    def itemsize(self) -> int:
        return self._meta.dtype.itemsize

    @property
    def nbytes(self) -> int:
        return self._meta.numel * self._meta.dtype.itemsize

    @property
    def requires_grad(self) -> bool:
        if self._base is not None:
            self._refresh()
        return self._rg

    @requires_grad.setter
    def requires_grad(self, value: bool) -> None:
        self.requires_grad_(value)

    @property
    def is_leaf(self) -> bool:
        return self.grad_fn is None

    @property
    def grad_fn(self) -> GradNode | None:
        if self._base is not None:
            self._refresh()
        return self._grad_fn

    @property
    def _version(self) -> int:
        return self._storage.version

    def requires_grad_(self, requires_grad: bool = True) -> Tensor:
        """Start (or stop) recording operations on this tensor. RuntimeError for an integer tensor, or to stop on a non-leaf."""
        if requires_grad and not self.dtype.differentiable:
            raise RuntimeError("only Tensors of floating point and complex dtype can require gradients")
        if not requires_grad and self.grad_fn is not None:
            raise RuntimeError("you can only change requires_grad flags of leaf variables. If you want to use a computed variable in a "
                               "subgraph that doesn't require differentiation use var_no_grad = var.detach().")
        if requires_grad is not self._rg:
            changed()
            self._rg = bool(requires_grad)
        return self

    # -- sharing ---------------------------------------------------------------------------------------------------
    def _alias(self) -> Tensor:
        t = new(Tensor)
        t._storage, t._meta = self._storage, self._meta
        return t

    def _alias_of(self, storage: Storage) -> Tensor:
        t = self._alias()
        t._storage = storage
        t._grad_fn, t._output_nr, t._rg = self._grad_fn, self._output_nr, self._rg
        return t

    def detach(self) -> Tensor:
        """The same values, in the same memory, without history."""
        return self._alias()

    def detach_(self) -> Tensor:
        changed()
        self._grad_fn, self._rg, self._output_nr, self._base = None, False, 0, None
        return self

    @property
    def data(self) -> Tensor:
        """The same memory without history; writes to it are not noticed by autograd (prefer `detach()`)."""
        t = self._alias()
        t._untracked = True
        return t

    @data.setter
    def data(self, other: Tensor) -> None:
        if other.dtype is not self.dtype and self._grad_fn is not None:
            raise RuntimeError("Attempted to call `variable.set_data(tensor)`, but `variable` and `tensor` have incompatible tensor type.")
        changed()
        self._storage, self._meta = other._storage, other._meta

    def _refresh(self) -> bool:
        """A view whose base was written to since: its history is now a view of the base's. Returns requires_grad."""
        root: Any = self._base
        if root._writes != self._seen:
            self._seen = root._writes
            m = self._meta
            if root._rg:
                view = Record(VIEWS["as_strided"], (m.shape, m.strides, m.offset), (root._meta,), (m,))
                self._grad_fn = connect(view, (root,))
                self._output_nr, self._rg = 0, True
        return self._rg

    # -- values out ------------------------------------------------------------------------------------------------
    def _array(self) -> np.ndarray:
        """A NumPy view of the memory; runs what is recorded."""
        capture = local.tape.capture
        return self._peek() if capture is None else capture.read(self)

    def _peek(self) -> np.ndarray:
        """`_array`, where what is found changes nothing but whether an error is raised."""
        m = self._meta
        buffer = self._storage.array()
        if m is self._storage.meta:
            return buffer.reshape(m.shape)
        size = m.dtype.itemsize
        if m.numel == 0:
            return np.empty(m.shape, m.dtype.np)
        return np.ndarray(m.shape, m.dtype.np, buffer, m.offset * size, [s * size for s in m.strides])

    def numpy(self, *, force: bool = False) -> np.ndarray:
        """The values as a NumPy array that shares this tensor's memory. RuntimeError if it requires grad, unless force.

        >>> import jitorch as torch
        >>> x = torch.zeros(2)
        >>> x.numpy()[0] = 7
        >>> x
        tensor([7., 0.])
        """
        if self.requires_grad:
            if not force:
                raise RuntimeError("Can't call numpy() on Tensor that requires grad. Use tensor.detach().numpy() instead.")
        array = self._array()
        no_trace("numpy() shares memory")
        if self._storage.shared is None and self._storage.buffer is not None:
            owner = self._storage.buffer
            while isinstance(owner.base, np.ndarray):
                owner = owner.base
            self._storage.shared = owner
        return array.view()

    def __array__(self, dtype=None, copy=None):
        array = self.numpy()
        if dtype is not None and array.dtype != dtype:
            return array.astype(dtype)
        return array.copy() if copy else array

    def __array_wrap__(self, array, context=None, return_scalar: bool = False) -> Tensor:
        """What NumPy's functions give for a tensor is a tensor again."""
        return from_numpy(np.ascontiguousarray(array).reshape(array.shape))

    def __dlpack__(self, **kwargs):
        return self.numpy().__dlpack__(**kwargs)

    def __dlpack_device__(self):
        return (1, 0)

    def item(self):
        """The value of a one-element tensor as a Python number. RuntimeError for more elements.

        >>> import jitorch as torch
        >>> torch.tensor([2.5]).item()
        2.5
        """
        if self._meta.numel != 1:
            raise RuntimeError(f"a Tensor with {self._meta.numel} elements cannot be converted to Scalar")
        return self._array().item()

    def tolist(self):
        """The values as nested lists of Python numbers; of a 0-d tensor, a number. Runs what is recorded.

        >>> import jitorch as torch
        >>> torch.tensor([[1, 2], [3, 4]]).tolist()
        [[1, 2], [3, 4]]
        """
        return self._array().tolist()

    def __bool__(self) -> bool:
        if self._meta.numel != 1:
            if self._meta.numel == 0:
                raise RuntimeError("Boolean value of Tensor with no values is ambiguous")
            raise RuntimeError("Boolean value of Tensor with more than one value is ambiguous")
        return bool(self._array().item())

    def _number(self):
        if self._meta.numel != 1:
            raise ValueError("only one element tensors can be converted to Python scalars")
        return self.item()

    def __float__(self) -> float:
        return float(self._number())

    def __complex__(self) -> complex:
        return complex(self._number())

    def __int__(self) -> int:
        return int(self._number())

    def __index__(self) -> int:
        if self.dtype.category >= dtypes.FLOAT or self._meta.numel != 1:
            raise TypeError("only integer tensors of a single element can be converted to an index")
        return int(self.item())

    def __len__(self) -> int:
        if not self.shape:
            raise TypeError("len() of a 0-d tensor")
        return self.shape[0]

    def __iter__(self):
        if not self.shape:
            raise TypeError("iteration over a 0-d tensor")
        return iter(self.unbind(0))

    def __contains__(self, element) -> bool:
        return bool((self == element).any())

    def __hash__(self) -> int:
        return id(self)

    def __format__(self, spec: str) -> str:
        if not self.shape and type(self) is Tensor:
            return format(self.item(), spec)
        return object.__format__(self, spec)

    def __repr__(self) -> str:
        from .printing import tensor_repr
        return tensor_repr(self)

    def data_ptr(self) -> int:
        no_trace("data_ptr() gives an address")
        self._storage.array()
        return self._storage.buffer.ctypes.data + self._meta.offset * self.itemsize

    def __deepcopy__(self, memo):
        if id(self) in memo:
            return memo[id(self)]
        if self.grad_fn is not None:
            raise RuntimeError("Only Tensors created explicitly by the user (graph leaves) support the deepcopy protocol at the moment.")
        new = from_array(self._array().copy())
        new.__class__ = self.__class__
        new._rg = self._rg
        for k, v in vars(self).items():
            if not k.startswith("_") and k != "grad":
                setattr(new, k, v)
        memo[id(self)] = new
        if self.grad is not None:
            new.grad = self.grad.detach().clone()
        return new

    def __copy__(self):
        new = self._alias()
        new.__class__ = self.__class__
        new.__dict__.update(vars(self))
        return new

    def __reduce_ex__(self, protocol):
        if self.grad_fn is not None:
            raise RuntimeError("Only tensors that are leaves can be pickled: use detach() first")
        return (rebuild, (self.__class__, self._array().copy(), self._rg))

    # -- autograd --------------------------------------------------------------------------------------------------
    def backward(self, gradient=None, retain_graph=None, create_graph: bool = False, inputs=None) -> None:
        """Accumulate the gradients of this tensor into the leaves' `.grad`. RuntimeError unless it is a scalar or `gradient` is given.

        >>> import jitorch as torch
        >>> x = torch.tensor([1., 2.], requires_grad=True)
        >>> (x * x).sum().backward()
        >>> x.grad
        tensor([2., 4.])
        """
        autograd.backward(self, gradient, retain_graph, create_graph, inputs=inputs)

    def retain_grad(self) -> None:
        """Keep `.grad` of this non-leaf tensor in the next backward."""
        if not self.requires_grad:
            raise RuntimeError("can't retain_grad on Tensor that has requires_grad=False")
        fn = self.grad_fn
        if fn is not None:
            import weakref
            self._retains = True
            fn.watch()
            assert fn.retained is not None
            fn.retained[self._output_nr] = weakref.ref(self)

    @property
    def retains_grad(self) -> bool:
        return self._retains

    def register_hook(self, hook) -> RemovableHandle:
        """Call `hook(grad)` when this tensor's gradient is computed; what it returns (if anything) takes its place.

        >>> import jitorch as torch
        >>> x = torch.ones(2, requires_grad=True)
        >>> handle = x.register_hook(lambda grad: grad * 10)
        >>> x.sum().backward()
        >>> x.grad
        tensor([10., 10.])
        """
        if not self.requires_grad:
            raise RuntimeError("cannot register a hook on a tensor that doesn't require gradient")
        fn = self.grad_fn
        changed()
        if fn is None:
            if self._hooks is None:
                self._hooks = []
            self._hooks.append(hook)
            return RemovableHandle(self._hooks, hook)
        fn.watch()
        assert fn.hooks is not None
        entry = (self._output_nr, hook)
        fn.hooks.append(entry)
        return RemovableHandle(fn.hooks, entry)

    def register_post_accumulate_grad_hook(self, hook) -> RemovableHandle:
        """Call `hook(self)` after `.grad` has been accumulated. RuntimeError for a non-leaf."""
        if self.grad_fn is not None:
            raise RuntimeError("post accumulate grad hooks cannot be registered on non-leaf tensors")
        changed()
        if self._post_hooks is None:
            self._post_hooks = []
        self._post_hooks.append(hook)
        return RemovableHandle(self._post_hooks, hook)

    def __getattr__(self, name: str):
        # Found only for names that have no attribute: say what is missing in PyTorch's words.
        raise AttributeError(f"'{type(self).__name__}' object has no attribute '{name}'")


dispatch.Tensor = Tensor
new = object.__new__


# -- views ---------------------------------------------------------------------------------------------------------
def make_view(base: Any, record: Record) -> Tensor:
    """A tensor over the same storage. The record's op is the view's entry, whose rule gives the gradient."""
    v = new(Tensor)
    try:
        v._storage, v._meta = base._storage, record.metas[0]
    except Mapped:
        from .ops.batching import batched_view
        return batched_view(base, record)
    root = base._base
    if root is None:
        v._base = root = base
    else:
        v._base = root
        base._refresh()
    if root._writes:
        v._seen = root._writes
    if base._untracked:
        v._untracked = True
    if base._rg and local.tape.differentiates:
        v._grad_fn = connect(record, (base,))
        v._rg = True
    return v


# -- in-place writes -----------------------------------------------------------------------------------------------
def check_writable(t: Tensor) -> None:
    """Raise PyTorch's errors for an in-place operation on a leaf that requires grad, or on overlapping memory."""
    if t._rg and state.enabled:
        if t.grad_fn is None:
            raise RuntimeError("a leaf Variable that requires grad is being used in an in-place operation.")
        root = t._base
        if root is not None and root._rg and root.grad_fn is None:
            raise RuntimeError("a view of a leaf Variable that requires grad is being used in an in-place operation.")
    if t._copied_view:
        raise RuntimeError("writing to what real, imag, view_as_real, view_as_complex or view(dtype) gave is not supported: in jitorch that is a copy, "
                           "so the original would not change. Clone it first, or write to the original (z.real = x).")
    if not t._meta.contiguous and any(st == 0 and n > 1 for st, n in zip(t._meta.strides, t._meta.shape)):
        raise RuntimeError("unsupported operation: more than one element of the written-to tensor refers to a single memory location. "
                           "Please clone() the tensor before performing the operation.")


def assign(t: Tensor, r: Tensor) -> Tensor:
    """Make `r`, a fresh result, the new value of the memory that `t` views, and of `t`'s history. Returns t."""
    check_writable(t)
    m = t._meta
    if r._meta.shape != m.shape:
        raise RuntimeError(f"output with shape {list(m.shape)} doesn't match the broadcast shape {list(r.shape)}")
    if r._meta.dtype is not m.dtype:
        if r._meta.dtype.category > m.dtype.category:
            raise RuntimeError(f"result type {r.dtype.label} can't be cast to the desired output type {m.dtype.label}")
        r = r.to(m.dtype)
    try:
        s, tape, _ = t._storage, local.tape, r._storage
    except Mapped:
        from .ops.batching import batched_assign
        return batched_assign(t, r)
    if s in tape.sliced:
        tape.flush()        # parts of the old value were entered as leaves of their own: they are read before it goes
    tape.slot_of(s, s.meta)
    if m.offset == 0 and m.contiguous and m.numel == s.meta.numel:
        if r._storage.tape is not tape or r._meta is not r._storage.meta or r._storage is s:
            r = clone_of(r)
        value = r._storage
        geometry = r._meta if m.shape == s.meta.shape else Meta(s.meta.shape, m.dtype)
    else:
        grad_was, state.enabled = state.enabled, False
        try:
            base = Tensor.__new__(Tensor)
            base._storage, base._meta = s, s.meta
            value = apply(OPS["as_strided_scatter"], (base, r), (m.shape, m.strides, m.offset))._storage
            geometry = value.meta
        finally:
            state.enabled = grad_was
    with tape.alone:
        slot = tape.slot_of(value, geometry)
        if s.tape is not tape:
            tape.slot_of(s, s.meta)         # again, in case of a flush in between
        tape.take_over(s, slot)
    if not t._untracked:
        s.version += 1
    grad = r._grad_fn
    if grad is not None and grad.outputs is not None:
        grad.move_output(r._output_nr, s, m)
    if tape.differentiates:
        rebase(t, r)
    if tape.limit < 0 or (s.shared is not None and s.seen_outside()):
        tape.flush()
    return t


def rebase(t: Tensor, r: Tensor) -> None:
    """The history of a written-to tensor: r's own, or, for a view, its base's with r written into a part of it."""
    root = t._base
    if r._rg:
        changed()
    if root is None:
        t._grad_fn, t._output_nr, t._rg = r._grad_fn, r._output_nr, r._rg
        t._writes += 1
    elif r._rg or root._rg:
        m = t._meta
        write = Record(VIEWS["copy_slices"], (m.shape, m.strides, m.offset), (root._meta, r._meta), (root._meta,))
        root._grad_fn = connect(write, (root, r))
        root._output_nr, root._rg = 0, True
        root._writes += 1
        t._refresh()


def validate(t: Tensor, check: Callable[[np.ndarray], None]) -> None:
    """`check(values)` raises the user's error for values that are computed already; for others a kernel has to find it."""
    try:
        s = t._storage
    except Mapped:
        return validate(t.whole, check)
    if s.tape is None and s.error is None and t._meta.numel:
        check(t._peek())
        capture = local.tape.capture
        if capture is not None:
            capture.validated(t, check)


def clone_of(t: Tensor) -> Tensor:
    return apply(OPS["clone"], (t,), ())


# -- values in -----------------------------------------------------------------------------------------------------
def from_array(array: np.ndarray) -> Tensor:
    """A tensor that owns `array` (C-contiguous, of a supported dtype)."""
    meta = Meta(array.shape, dtypes.from_numpy(array.dtype))
    t = Tensor.__new__(Tensor)
    t._storage, t._meta = stored(meta, array.reshape(-1)), meta
    capture = local.tape.capture
    if capture is not None:
        capture.made(t._storage)
    return t


def rebuild(cls, array, requires_grad):
    t = from_array(array)
    t.__class__, t._rg = cls, requires_grad
    return t


def tensor(data, *, dtype=None, device=None, requires_grad: bool = False, pin_memory: bool = False) -> Tensor:
    """A new tensor with a copy of `data` (a number, nested sequences, a NumPy array, a tensor).

    dtype: taken from the data unless given (Python floats: the default dtype). Raises ValueError for ragged
    sequences, TypeError for what is no number.

    >>> import jitorch as torch
    >>> torch.tensor([[1, 2], [3, 4]])
    tensor([[1, 2],
            [3, 4]])
    """
    check_device(device)
    array = as_array(data, dtype)
    t = from_array(array)
    if requires_grad:
        t.requires_grad_(True)
    return t


def as_array(data, dtype) -> np.ndarray:
    if isinstance(data, Tensor):
        array = data._array()
        return np.array(array, dtype=None if dtype is None else dtype.np, order="C")
    if isinstance(data, (np.ndarray, np.generic)):
        if dtype is None:
            dtype = dtypes.from_numpy(data.dtype)
        return np.array(data, dtype=dtype.np, order="C")
    if isinstance(data, (str, bytes)) or data is None:
        raise TypeError(f"new(): invalid data type '{type(data).__name__}'")
    plain = without_tensors(data)
    try:
        array = np.array(plain)
    except (ValueError, OverflowError) as error:
        raise ValueError(f"can't make a tensor of this nested sequence: {error}") from None
    if array.dtype.kind not in "bifc" and array.size:
        if array.dtype.kind in "uO" and dtype is None:
            raise RuntimeError("Overflow when unpacking long: a Python int doesn't fit into int64")
        if array.dtype.kind not in "u":
            raise TypeError(f"new(): invalid data type: {array.dtype}")
    if dtype is None:
        if array.size == 0 or (array.dtype.kind == "f" and not holds_numpy(data)):
            dtype = dtypes.get_default_dtype()
        elif array.dtype.kind == "c" and not holds_numpy(data):
            dtype = dtypes.get_default_dtype().to_complex()
        else:
            dtype = dtypes.from_numpy(array.dtype)
    if dtype.category == dtypes.INT and array.dtype.kind == "i" and array.size:
        info = np.iinfo(dtype.np)
        if array.max() > info.max or array.min() < info.min:
            raise RuntimeError(f"value cannot be converted to type {dtype.name} without overflow")
    return array.astype(dtype.np, order="C")


def without_tensors(data):
    if isinstance(data, Tensor):
        return data.tolist()
    if isinstance(data, (list, tuple)):
        return [without_tensors(x) for x in data] if any(isinstance(x, (list, tuple, Tensor)) for x in data) else data
    if isinstance(data, (range, set)) or hasattr(data, "__len__") and not isinstance(data, dict):
        return list(data)
    return data


def holds_numpy(data) -> bool:
    while isinstance(data, (list, tuple)) and data:
        data = data[0]
    return isinstance(data, (np.ndarray, np.generic))


def from_numpy(array: np.ndarray) -> Tensor:
    """A tensor that shares the memory of a NumPy array. TypeError for an unsupported dtype, ValueError for negative strides.

    Operations that read memory which somebody else still holds run at once, so that later writes to the array behave as in PyTorch.

    >>> import jitorch as torch, numpy
    >>> a = numpy.zeros(2); t = torch.from_numpy(a); a[0] = 5.0
    >>> t
    tensor([5., 0.], dtype=torch.float64)
    """
    if not isinstance(array, np.ndarray):
        raise TypeError(f"expected np.ndarray (got {type(array).__name__})")
    if any(s < 0 for s in array.strides):
        raise ValueError("At least one stride in the given numpy array is negative, and tensors with negative strides are not currently "
                         "supported. (You can probably work around this by making a copy of your array with array.copy().)")
    dt = dtypes.from_numpy(array.dtype)
    if not array.flags.writeable:
        array = array.copy()
    if any(s % array.itemsize for s in array.strides) or not array.flags.aligned or array.dtype.byteorder == ">":
        raise ValueError("given numpy array strides not a multiple of the element byte size. Copy the numpy array to reallocate the memory.")
    owner = array
    while isinstance(owner.base, np.ndarray):
        owner = owner.base
    strides = tuple(s // array.itemsize for s in array.strides)
    extent = 0 if array.size == 0 else 1 + sum((n - 1) * s for n, s in zip(array.shape, strides))
    flat = np.lib.stride_tricks.as_strided(array, (extent,), (array.itemsize,)) if not array.flags.c_contiguous else array.reshape(-1)
    if isinstance(flat.base, np.ndarray) and not isinstance(flat, np.memmap):
        flat = np.asarray(flat)
    whole = Meta(array.shape, dt) if array.flags.c_contiguous else Meta((extent,), dt)
    t = Tensor.__new__(Tensor)
    t._storage = stored(whole, flat)
    t._storage.shared = owner
    t._meta = whole if array.flags.c_contiguous else Meta(array.shape, dt, strides)
    return t


def attach_methods() -> None:
    """Make the published functions methods of Tensor (called once, when every op family is imported)."""
    for name, fn in METHODS.items():
        if name not in Tensor.__dict__:
            setattr(Tensor, name, fn)


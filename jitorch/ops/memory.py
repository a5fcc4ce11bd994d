"""Methods that change what a tensor is over rather than its values: sizes, memory, subclasses."""

from __future__ import annotations

import numpy as np

from ..changes import changed
from ..graph.record import Meta, count
from ..tensor import Tensor, check_writable, clone_of, from_array
from .dispatch import METHODS, PUBLIC
from .publish import inplace_of
from .strided import as_strided, strided_view
from .views import sizes


def resize_(self, *size, memory_format=None):
    """Give the tensor other sizes. What it held comes first, in memory's order; what is new is zero.

    RuntimeError for a tensor that requires grad.
    """
    if self.requires_grad:
        raise RuntimeError("cannot resize variables that require grad")
    check_writable(self)
    shape = sizes(size)
    if any(n < 0 for n in shape):
        raise RuntimeError(f"Trying to create tensor with negative dimension {min(shape)}: {list(shape)}")
    changed()
    need, have = count(shape) + self._meta.offset, self._storage.meta.numel
    if need > have:
        flat = np.zeros(need, self.dtype.np)
        flat[:have] = self._storage.array()
        self._storage = from_array(flat)._storage
    self._meta = Meta(shape, self.dtype, None, self._meta.offset)
    if self._meta.offset == 0 and self._meta.numel == self._storage.meta.numel:
        self._meta = Meta(shape, self.dtype)
    return self


def resize_as_(self, the_template, *, memory_format=None):
    """`resize_` to the sizes of another tensor."""
    return resize_(self, *the_template.shape)


def set_(self, source=None, storage_offset: int = 0, size=None, stride=None):
    """Make the tensor another name for source's memory (or an empty tensor)."""
    source = PUBLIC["empty"](0, dtype=self.dtype) if source is None else source
    if isinstance(source, StorageView):
        whole = PUBLIC["empty"](0, dtype=source._storage.meta.dtype)
        whole._storage, whole._meta = source._storage, source._storage.meta
        source = whole
        if size is None:
            size = (source._meta.numel,)
    if source.dtype is not self.dtype:
        raise RuntimeError(f"Could not set tensor of type {source.dtype.label} to a tensor of type {self.dtype.label}")
    v = source if size is None else strided_view(source, size, stride or Meta(tuple(size), self.dtype).strides, storage_offset)
    changed()
    self._storage, self._meta = v._storage, v._meta
    return self


def fill_diagonal_(self, fill_value, wrap: bool = False):
    """Set the main diagonal (of a tensor with equal sizes, if more than 2 dimensions) to a number.

    wrap: in a tall matrix the diagonal starts again, one row apart.
    """
    if self.ndim < 2:
        raise RuntimeError("dimensions must larger than 1")
    if self.ndim > 2 and len(set(self.shape)) > 1:
        raise RuntimeError("all dimensions of input must be of equal length")
    step = sum(self._meta.strides)
    n = min(self.shape)
    as_strided(self, (n,), (step,), self._meta.offset).fill_(fill_value)
    if wrap and self.ndim == 2 and self.shape[0] > self.shape[1]:
        m, k = self.shape
        for start in range(k + 1, m, k + 1):
            rows = min(k, m - start)
            as_strided(self, (rows,), (step,), self._meta.offset + start * self._meta.strides[0]).fill_(fill_value)
    return self


def apply_(self, callable):
    """Each element replaced by what a Python function gives for it (slow)."""
    values = self.detach()._array()
    made = np.array([callable(v) for v in values.reshape(-1).tolist()], self.dtype.np).reshape(values.shape)
    return self.copy_(from_array(made))


def map_(self, tensor, callable):
    """Each element replaced by what a Python function of it and of another tensor's element gives (slow)."""
    other = tensor.expand(self.shape)._array().reshape(-1).tolist()
    mine = self.detach()._array()
    made = np.array([callable(a, b) for a, b in zip(mine.reshape(-1).tolist(), other, strict=True)], self.dtype.np)
    return self.copy_(from_array(made.reshape(mine.shape)))


class StorageView:
    """What `untyped_storage()` gives: size and address of a tensor's memory."""

    def __init__(self, tensor):
        self._tensor = tensor
        self._storage = tensor._storage

    def data_ptr(self) -> int:
        """The memory's address."""
        return self._storage.array().ctypes.data

    def nbytes(self) -> int:
        """The memory's size in bytes."""
        return self._storage.meta.numel * self._storage.meta.dtype.itemsize

    def size(self) -> int:
        return len(self)

    def __len__(self) -> int:
        return self.nbytes()

    def __eq__(self, other) -> bool:
        return isinstance(other, StorageView) and self._storage is other._storage

    def __hash__(self) -> int:
        return id(self._storage)

    @property
    def device(self):
        return self._tensor.device


class TypedStorageView(StorageView):
    """What `storage()` gives: counts elements, and reads them."""

    def __len__(self) -> int:
        return self._storage.meta.numel

    def __getitem__(self, i):
        return self._storage.array()[i].item()

    def tolist(self) -> list:
        return self._storage.array().tolist()

    @property
    def dtype(self):
        return self._storage.meta.dtype


def as_subclass(self, cls):
    """The same memory and history as a tensor of a subclass."""
    if not (isinstance(cls, type) and issubclass(cls, Tensor)):
        raise TypeError(f"as_subclass(): expected a subclass of Tensor, but got {cls!r}")
    t = self.__copy__()
    t.__class__ = cls
    return t


def cuda(self, device=None, non_blocking: bool = False, memory_format=None):
    """The tensor on a GPU: RuntimeError, as there is none."""
    return self.to("cuda" if device is None else device)


METHODS.update(
    cuda=cuda,
    resize_=resize_,
    resize_as_=resize_as_,
    set_=set_,
    fill_diagonal_=fill_diagonal_,
    apply_=apply_,
    map_=map_,
    as_subclass=as_subclass,
    untyped_storage=lambda self: StorageView(self),
    storage=lambda self: TypedStorageView(self),
    const_data_ptr=lambda self: self.data_ptr(),
    share_memory_=lambda self: self,
    pin_memory=lambda self, device=None: self,
    record_stream=lambda self, stream: None,
    dim_order=lambda self: tuple(sorted(range(self.ndim), key=lambda d: (-self._meta.strides[d], d))),
    conj_physical_=inplace_of(PUBLIC["conj_physical"], "conj_physical_"),
    to_dense=lambda self, dtype=None, *, masked_grad=True: self if dtype is None else self.to(dtype),
    is_distributed=lambda self: False,
    is_coalesced=lambda self: False,
    is_sparse_csr=property(lambda self: False),
    is_vulkan=property(lambda self: False),
    is_xla=property(lambda self: False),
    is_ipu=property(lambda self: False),
    is_mtia=property(lambda self: False),
    is_maia=property(lambda self: False),
    output_nr=property(lambda self: self._output_nr),
)
PUBLIC.update(resize_as_=resize_as_, alias_copy=lambda input: clone_of(input), detach_copy=lambda input: clone_of(input.detach()))
PUBLIC["as_strided_"] = METHODS["as_strided_"]
for _name in ("detach", "detach_", "requires_grad_"):
    PUBLIC[_name] = getattr(Tensor, _name)
for _name in ("is_signed", "is_same_size", "is_conj", "is_neg", "is_inference", "get_device"):
    PUBLIC[_name] = METHODS[_name]
for _name, _function in (("view_as_real_copy", "view_as_real"), ("view_as_complex_copy", "view_as_complex"), ("unsafe_split_with_sizes", "split_with_sizes")):
    PUBLIC[_name] = PUBLIC[_function]
METHODS["unsafe_split_with_sizes"] = METHODS["split_with_sizes"]
# `torch.exp_(x)`: the in-place methods that PyTorch also has as functions
INPLACE = (
    "abs acos acosh addmv arccos arccosh arcsin arcsinh arctan arctanh asin asinh atan atanh ceil celu clamp clamp_max clamp_min clip conj_physical "
    "cos cosh deg2rad dropout erf erfc exp exp2 expm1 fill fix floor frac gcd i0 index_put lcm ldexp log log10 log1p log2 logit nan_to_num neg "
    "negative rad2deg reciprocal relu round rsqrt sigmoid sin sinc sinh sqrt square tan tanh trunc xlogy zero"
)
for _name in INPLACE.split():
    if _name + "_" in METHODS:
        PUBLIC[_name + "_"] = METHODS[_name + "_"]


"""Sparse tensors as gradients and graphs need them: coordinates (COO) and values, both dense tensors, and what adds, scales and multiplies them.

Nothing else of the engine knows them: a sparse tensor has no storage, and an operation that asks for it raises NotImplementedError.
"""

from __future__ import annotations

import numpy as np

from .. import layouts
from ..autograd.node import Entry, Record, connect, sparse_used, state
from ..dtypes import int64, promote_types
from ..graph.record import Meta, no_trace
from ..tensor import Tensor, from_array
from .dispatch import METHODS, PUBLIC, apply
from .embedding import embedding_op
from .indexing import index_put_op

HINT = "use to_dense(), or its indices() and values()"


class SparseTensor(Tensor):
    """What `sparse_coo_tensor`, `to_sparse` and the gradients of sparse embeddings are: sizes, indices (sparse dimensions, entries) and values
    (entries, *dense sizes). Entries at one place stand for their sum until `coalesce()` adds them.

    There are +, -, *, / and @ with numbers, sparse and dense tensors where the result is one of both; everything else raises NotImplementedError.

    >>> import jitorch as torch
    >>> torch.tensor([[0., 3.], [4., 0.]]).to_sparse()
    tensor(indices=tensor([[0, 1],
                           [1, 0]]),
           values=tensor([3., 4.]),
           size=(2, 2), nnz=2, layout=torch.sparse_coo)
    """

    is_sparse = True
    _coalesced = False
    _places: Tensor
    _entries: Tensor

    @property
    def _storage(self):
        raise NotImplementedError(f"this operation is not implemented for sparse tensors (here one of size {list(self.shape)}): {HINT}")

    @property
    def _rg(self) -> bool:      # type: ignore[override]
        return self._entries.requires_grad

    @property
    def _grad_fn(self):         # type: ignore[override]
        return self._entries.grad_fn

    @property
    def layout(self) -> layouts.layout:
        return layouts.sparse_coo

    # -- parts -----------------------------------------------------------------------------------------------------
    def sparse_dim(self) -> int:
        return self._places.shape[0]

    def dense_dim(self) -> int:
        return self._entries.ndim - 1

    def _nnz(self) -> int:
        return self._entries.shape[0]

    def _indices(self) -> Tensor:
        return self._places

    def _values(self) -> Tensor:
        return self._entries

    def is_coalesced(self) -> bool:
        return self._coalesced

    def indices(self) -> Tensor:
        """Where the entries are: (sparse dimensions, entries). RuntimeError unless coalesced."""
        return self._part("indices", self._places)

    def values(self) -> Tensor:
        """The entries: (entries, *dense sizes). RuntimeError unless coalesced."""
        return self._part("values", self._entries)

    def _part(self, name: str, part: Tensor) -> Tensor:
        if not self._coalesced:
            raise RuntimeError(f"Cannot get {name} on an uncoalesced tensor, please call .coalesce() first")
        return part

    def _at(self) -> tuple[Tensor, ...]:
        """The places as index tensors, one for each sparse dimension."""
        return tuple(self._places.unbind(0))

    def coalesce(self) -> SparseTensor:
        """The same with one entry for each place, in row-major order."""
        if self._coalesced:
            return self
        places = self._places._array()
        linear = np.ravel_multi_index(tuple(places), self.shape[: len(places)]) if places.size else np.zeros(0, np.int64)
        first, owner = np.unique(linear, return_index=True, return_inverse=True)[1:]
        sums = PUBLIC["zeros"](len(first), *self._entries.shape[1:], dtype=self.dtype)
        return sparse(from_array(np.ascontiguousarray(places[:, first])), sums.index_add(0, from_array(owner), self._entries), self.shape, True)

    def to_dense(self, dtype=None, *, masked_grad: bool = True) -> Tensor:
        """The dense tensor; gradients flow to the entries."""
        entries = self._entries if dtype is None else self._entries.to(dtype)
        return added(PUBLIC["zeros"](*self.shape, dtype=entries.dtype), self, entries)

    def to_sparse(self, sparse_dim: int | None = None, *, layout=None) -> SparseTensor:
        if sparse_dim not in (None, self.sparse_dim()) or layout not in (None, layouts.sparse_coo):
            raise NotImplementedError("to_sparse() of a sparse tensor gives the same layout and sparse dimensions only")
        return self

    # -- the same places, other values -------------------------------------------------------------------------------
    def _with(self, entries: Tensor) -> SparseTensor:
        return sparse(self._places, entries, self.shape, self._coalesced)

    def detach(self) -> SparseTensor:
        return self._with(self._entries.detach())

    @property                           # type: ignore[misc]
    def data(self) -> SparseTensor:
        return self.detach()

    def clone(self, *, memory_format=None) -> SparseTensor:
        return self._with(self._entries.clone())

    def __deepcopy__(self, memo) -> SparseTensor:
        return memo.setdefault(id(self), self.detach().clone())

    def to(self, *args, **kwargs) -> SparseTensor:
        return self._with(self._entries.to(*args, **kwargs))

    def cpu(self) -> SparseTensor:
        return self

    def requires_grad_(self, requires_grad: bool = True) -> SparseTensor:
        if requires_grad != self.requires_grad:
            raise NotImplementedError("sparse tensors are no leaves: make the values require grad, and build the sparse tensor from them")
        return self

    def __neg__(self) -> SparseTensor:
        return self._with(-self._entries)

    def __mul__(self, other) -> SparseTensor:
        if not isinstance(other, Tensor) or (not other.is_sparse and not other.shape):
            return self._with(self._entries * other)
        if other.is_sparse:
            raise NotImplementedError(f"a product of two sparse tensors is not implemented: {HINT}")
        return self._with(self._entries * other.expand(self.shape)[self._at()])

    def __truediv__(self, other) -> SparseTensor:
        if isinstance(other, Tensor) and other.shape:
            raise NotImplementedError(f"sparse tensors are divided by numbers only: {HINT}")
        return self._with(self._entries / other)

    def __add__(self, other) -> Tensor:
        """A sparse tensor with all entries of both; a dense one if `other` is dense."""
        if not isinstance(other, Tensor):
            raise RuntimeError("add(sparse, dense) is not supported. Use add(dense, sparse) instead.")
        if self.shape != other.shape:
            raise RuntimeError(f"add: expected sizes of 'self' and 'other' to match, but {list(self.shape)} != {list(other.shape)}")
        if not isinstance(other, SparseTensor):
            return added(other.to(promote_types(self.dtype, other.dtype)).clone(), self, self._entries)
        if self.sparse_dim() != other.sparse_dim():
            raise NotImplementedError("sparse tensors of different numbers of sparse dimensions can't be added")
        cat = PUBLIC["cat"]
        return sparse(cat([self._places, other._places], 1), cat([self._entries, other._entries], 0), self.shape)

    def __sub__(self, other) -> Tensor:
        return self + -other

    def __rsub__(self, other) -> Tensor:
        return -self + other

    __rmul__, __radd__ = __mul__, __add__
    mul, div, add, sub, neg = __mul__, __truediv__, __add__, __sub__, __neg__

    # in place: a sparse tensor is a name for its places and entries
    def _become(self, other: SparseTensor) -> SparseTensor:
        if not isinstance(other, SparseTensor):
            raise NotImplementedError("adding a dense tensor to a sparse one in place is not implemented")
        self._places, self._entries, self._coalesced = other._places, other._entries, other._coalesced
        return self

    def __imul__(self, other) -> SparseTensor:
        return self._become(self * other)

    def __itruediv__(self, other) -> SparseTensor:
        return self._become(self / other)

    def __iadd__(self, other) -> SparseTensor:
        return self._become(self + other)

    def __isub__(self, other) -> SparseTensor:
        return self._become(self - other)

    mul_, div_, add_, sub_ = __imul__, __itruediv__, __iadd__, __isub__

    def detach_(self) -> SparseTensor:
        return self._become(self.detach())

    def zero_(self) -> SparseTensor:
        none = self._places[:, :0]
        return self._become(sparse(none, self._entries[:0], self.shape, True))

    # -- what gives dense tensors ------------------------------------------------------------------------------------
    def sum(self, dim=None, keepdim: bool = False, *, dtype=None) -> Tensor:
        if dim is not None or keepdim:
            raise NotImplementedError(f"sums of sparse tensors along dimensions are not implemented: {HINT}")
        return self._entries.sum(dtype=dtype)

    def t(self) -> SparseTensor:
        """The transpose of a sparse matrix."""
        if self.ndim != 2 or self.dense_dim():
            raise NotImplementedError("t() is implemented for sparse matrices only")
        return sparse(self._places.flip(0), self._entries, self.shape[::-1])

    T = property(t)

    def __matmul__(self, other: Tensor) -> Tensor:
        """The product of a sparse matrix (N, K) and a dense matrix (K, M) or vector (K)."""
        if not isinstance(other, Tensor) or other.is_sparse or self.ndim != 2 or self.dense_dim() or other.ndim not in (1, 2):
            raise NotImplementedError(f"the product of a sparse matrix and a dense matrix or vector is implemented, and no other: {HINT}")
        if self.shape[1] != other.shape[0]:
            raise RuntimeError(f"mm: Argument #1 (dense): Expected dim 0 size {self.shape[1]}, got {other.shape[0]}")
        row, column = self._at()
        entries = self._entries if other.ndim == 1 else self._entries.unsqueeze(1)
        parts = entries * other.index_select(0, column)
        return PUBLIC["zeros"](self.shape[0], *other.shape[1:], dtype=parts.dtype).index_add(0, row, parts)

    mm = matmul = mv = __matmul__

    def __rmatmul__(self, other: Tensor) -> Tensor:
        if other.ndim != 2:
            raise NotImplementedError(f"the product of a dense matrix and a sparse one is implemented, and no other: {HINT}")
        return (self.t() @ other.t()).t()

    def __getitem__(self, index):
        return self._storage        # raises

    __setitem__ = __iter__ = __len__ = None     # type: ignore[assignment]

    def stride(self, dim=None):
        raise RuntimeError("sparse tensors do not have strides")

    def is_contiguous(self, memory_format=None) -> bool:
        return False

    def numpy(self, *, force: bool = False):
        raise TypeError("can't convert Sparse layout tensor to numpy. Use Tensor.to_dense() first.")

    def __repr__(self) -> str:
        from ..printing import sparse_repr
        return sparse_repr(self)


for _name in ("double", "float", "half", "bfloat16", "int", "long"):
    setattr(SparseTensor, _name, lambda self, _cast=METHODS[_name]: self._with(_cast(self._entries)))


def sparse(places: Tensor, entries: Tensor, shape, coalesced: bool = False) -> SparseTensor:
    no_trace("a sparse tensor is made")
    if not sparse_used:
        sparse_used.append(True)
    made = SparseTensor.__new__(SparseTensor)
    made._meta = Meta(tuple(shape), entries.dtype)
    made._places, made._entries, made._coalesced = places, entries, coalesced
    return made


def added(dense: Tensor, s: SparseTensor, entries: Tensor) -> Tensor:
    """The dense tensor with entries added at the places of a sparse one."""
    at = s._at()
    return apply(index_put_op, (dense, entries.to(dense.dtype), *at), ((True,) * len(at), True)) if at else dense + entries.sum(0)


def sparse_coo_tensor(
    indices, values=None, size=None, *, dtype=None, device=None, pin_memory: bool = False, requires_grad: bool = False,
    check_invariants: bool | None = None, is_coalesced: bool | None = None,
) -> SparseTensor:
    """A sparse tensor of the given size with `values` (entries, *dense sizes) at `indices` (sparse dimensions, entries).

    size: the smallest that holds all indices, unless given; `sparse_coo_tensor(size)` has no entries. Gradients flow to `values`. Indices are always
    checked: RuntimeError for those out of range, and for sizes that don't fit.

    >>> import jitorch as torch
    >>> torch.sparse_coo_tensor([[0, 1], [2, 0]], [3.0, 4.0], (2, 3)).to_dense()
    tensor([[0., 0., 3.],
            [4., 0., 0.]])
    """
    if values is None:
        sizes = tuple(indices) if size is None else tuple(size)
        return sparse(PUBLIC["zeros"](len(sizes), 0, dtype=int64), PUBLIC["zeros"](0, dtype=dtype), sizes, True)
    places = PUBLIC["as_tensor"](indices).to(int64)
    entries = PUBLIC["as_tensor"](values, dtype=dtype)
    if places.ndim != 2:
        raise RuntimeError(f"indices must be sparse_dim x nnz, but got: {list(places.shape)}")
    if not entries.ndim:
        entries = entries.expand(places.shape[1])
    if entries.shape[0] != places.shape[1]:
        raise RuntimeError("indices and values must have same nnz, but got nnz from indices: "
                           f"{places.shape[1]}, nnz from values: {entries.shape[0]}")
    if requires_grad and not entries.requires_grad:
        raise NotImplementedError("sparse tensors are no leaves: give values that require grad instead of requires_grad=True")
    where = places._array()
    if where.size and where.min() < 0:
        raise RuntimeError(f"found negative index {where.min()}")
    top = [int(row.max(initial=-1)) for row in where]
    shape = (*(n + 1 for n in top), *entries.shape[1:]) if size is None else tuple(size)
    if len(shape) != len(top) + entries.ndim - 1:
        raise RuntimeError(f"number of dimensions must be sparse_dim ({len(top)}) + dense_dim ({entries.ndim - 1}), but got {len(shape)}")
    for d, (n, most) in enumerate(zip(shape, top, strict=False)):
        if most >= n:
            raise RuntimeError(f"size is inconsistent with indices: for dim {d}, size is {n} but found index {most}")
    if shape[len(top):] != tuple(entries.shape[1:]):
        raise RuntimeError(f"values has incorrect size, expected [{', '.join(map(str, (len(where[0]), *shape[len(top):])))}], got {list(entries.shape)}")
    return sparse(places, entries, shape, bool(is_coalesced))


def to_sparse(self, sparse_dim: int | None = None, *, layout=None, blocksize=None, dense_dim=None) -> SparseTensor:
    """The entries that aren't zero, as a coalesced sparse tensor; with sparse_dim, those rows of the first dimensions that aren't all zero."""
    if layout not in (None, layouts.sparse_coo) or blocksize is not None or dense_dim:
        raise NotImplementedError("to_sparse() makes coordinate (COO) tensors only")
    n = self.ndim if sparse_dim is None else sparse_dim
    if not 0 <= n <= self.ndim:
        raise RuntimeError(f"sparse_dim must be from 0 to the number of dimensions, {self.ndim}, but got {n}")
    held = self._array() != 0
    rows = held.reshape(*self.shape[:n], -1).any(-1)
    where = np.stack(np.nonzero(rows)) if n else np.zeros((0, int(rows)), np.int64)
    if not n:
        entries = self.unsqueeze(0)[:where.shape[1]]
    else:
        entries = self[tuple(from_array(np.ascontiguousarray(w)) for w in where)]
    return sparse(from_array(np.ascontiguousarray(where)), entries, self.shape, True)


def sparse_mask(self, mask: SparseTensor) -> SparseTensor:
    """The entries of a dense tensor at the places of a sparse one."""
    if not isinstance(mask, SparseTensor):
        raise RuntimeError("sparse_mask(): expected mask to be sparse")
    if self.shape != mask.shape:
        raise RuntimeError(f"sparse_mask(): operands have incompatible sizes; self has size {list(self.shape)} but mask has size {list(mask.shape)}")
    return mask._with(self[mask._at()])


# -- products --------------------------------------------------------------------------------------------------------------
def sparse_mm(mat1: Tensor, mat2: Tensor) -> Tensor:
    """The product of a sparse matrix (N, K) and a dense one (K, M), dense; or of a dense and a sparse one.

    >>> import jitorch as torch
    >>> torch.sparse.mm(torch.eye(2).to_sparse(), torch.tensor([[1., 2.], [3., 4.]]))
    tensor([[1., 2.],
            [3., 4.]])
    """
    if not (mat1.is_sparse or mat2.is_sparse):
        return PUBLIC["mm"](mat1, mat2)
    return mat1 @ mat2


def sparse_sum(input: Tensor, dim=None, dtype=None) -> Tensor:
    """The sum of all entries of a sparse tensor."""
    return input.sum(dim, dtype=dtype)


# -- embeddings ------------------------------------------------------------------------------------------------------------
class _Rows(Entry):
    """Looking up rows of a table, whose gradient is sparse: the rows that were looked up."""

    name, grad_name, saves = "embedding", "EmbeddingBackward0", (1,)

    @staticmethod
    def vjp(node, g):
        index, (padding_idx,) = node.input(1), node.attrs
        places, rows = index.reshape(1, -1).to(int64), g.reshape(-1, g.shape[-1])
        if padding_idx is not None:
            kept = from_array(np.flatnonzero(places._array()[0] != padding_idx))
            places, rows = places.index_select(1, kept), rows.index_select(0, kept)
        return sparse(places, rows, node.metas[0].shape), None


_rows = _Rows()


def embedding_with_sparse_gradient(weight: Tensor, index: Tensor, padding_idx: int | None) -> Tensor:
    """`embedding` whose gradient for the table is a sparse tensor of the rows in use."""
    out = apply(embedding_op, (weight.detach(), index), (padding_idx,))
    if state.enabled and weight.requires_grad:
        step = Record(_rows, (padding_idx,), (weight._meta, index._meta), (out._meta,))
        out._grad_fn, out._rg = connect(step, (weight, index)), True
    return out


PUBLIC.update(sparse_coo_tensor=sparse_coo_tensor, spmm=sparse_mm)
METHODS.update(to_sparse=to_sparse, to_sparse_coo=lambda self: to_sparse(self), sparse_mask=sparse_mask)

"""What a tensor says about itself."""

from __future__ import annotations

from .. import layouts
from ..printing import get_printoptions, printoptions, set_printoptions
from .dispatch import METHODS, PUBLIC
from .views import permute, transpose, wrap_dim


def size(self, dim: int | None = None):
    """The shape, or the size of one dimension. IndexError out of range."""
    shape = self._meta.shape
    return shape if dim is None else shape[wrap_dim(dim, len(shape))] if shape else no_dimension(dim)


def no_dimension(dim: int):
    raise IndexError(f"Dimension specified as {dim} but tensor has no dimensions")


def stride(self, dim: int | None = None):
    """The strides in elements, or that of one dimension."""
    strides = self._meta.strides
    return strides if dim is None else strides[wrap_dim(dim, len(strides))] if strides else no_dimension(dim)


def type_(self, dtype=None, non_blocking: bool = False):
    """The name of the tensor's type (`torch.FloatTensor`), or the tensor in another dtype."""
    if dtype is None:
        return f"torch.{self.dtype.label}Tensor"
    if isinstance(dtype, str):
        from .. import dtypes

        label = dtype.removeprefix("torch.").removesuffix("Tensor")
        found = [d for d in dtypes.ALL if d.label == label]
        if not found:
            raise ValueError(f"invalid type: '{dtype}'")
        dtype = found[0]
    return self.to(dtype if hasattr(dtype, "itemsize") else dtype.dtype)


def reversed_dims(self):
    """The tensor with its dimensions in reverse order."""
    return permute(self, *range(self.ndim - 1, -1, -1)) if self.ndim else self


def matrices_transposed(self):
    """The last two dimensions swapped. RuntimeError for less than 2 dimensions."""
    if self.ndim < 2:
        raise RuntimeError(f"tensor.mT is only supported on matrices or batches of matrices. Got {self.ndim}-D tensor.")
    return transpose(self, -2, -1)


def matrix_transposed(self):
    """A matrix transposed. RuntimeError for other than 0 or 2 dimensions."""
    if self.ndim not in (0, 2):
        raise RuntimeError(f"tensor.H is only supported on matrices (2-D tensors). Got {self.ndim}-D tensor.")
    return transpose(self, 0, 1) if self.ndim else self


METHODS.update(
    size=size,
    stride=stride,
    type=type_,
    dim=lambda self: len(self._meta.shape),
    ndimension=lambda self: len(self._meta.shape),
    numel=lambda self: self._meta.numel,
    nelement=lambda self: self._meta.numel,
    element_size=lambda self: self._meta.dtype.itemsize,
    storage_offset=lambda self: self._meta.offset,
    is_signed=lambda self: self._meta.dtype.is_signed,
    is_same_size=lambda self, other: self.shape == other.shape,
    is_pinned=lambda self: False,
    is_shared=lambda self: False,
    is_inference=lambda self: False,
    is_conj=lambda self: False,
    is_neg=lambda self: False,
    get_device=lambda self: -1,
    is_set_to=lambda self, other: self._storage is other._storage and self._meta.key == other._meta.key,
    T=property(reversed_dims),
    mT=property(matrices_transposed),
    mH=property(lambda self: matrices_transposed(self).conj()),
    H=property(lambda self: matrix_transposed(self).conj()),
    is_cuda=property(lambda self: False),
    is_quantized=property(lambda self: False),
    is_meta=property(lambda self: False),
    is_cpu=property(lambda self: True),
    is_mps=property(lambda self: False),
    is_nested=property(lambda self: False),
    is_mkldnn=property(lambda self: False),
    is_xpu=property(lambda self: False),
    layout=property(lambda self: layouts.strided),
)
PUBLIC.update(set_printoptions=set_printoptions, get_printoptions=get_printoptions, printoptions=printoptions)
# Names of memory formats, which are accepted and have no effect: results are laid out in row-major order.
PUBLIC.update(channels_last=layouts.channels_last, channels_last_3d=layouts.channels_last_3d)

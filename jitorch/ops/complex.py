"""Complex tensors: their parts, and other readings of the same bytes.

Kernels don't compute with complex numbers: operations on them run their references (see `lower_step` in graph/lower.py).
What PyTorch gives as views over the same memory (`real`, `imag`, `view_as_real`, `view(dtype)`) are copies here, so that
they are recorded and fused; writing to one, which PyTorch would let through to the original, raises an error.
"""

from __future__ import annotations

import numpy as np

from .. import dtypes
from ..dtypes import FLOAT
from ..graph.record import Meta
from .dispatch import METHODS, PUBLIC, Op, apply
from .promotion import shape_of
from .publish import finish, needs_tensor


def complex_meta(name: str):
    def infer(m, *attrs):
        if not m.dtype.is_complex:
            raise RuntimeError(f"{name} is not implemented for tensors with non-complex dtypes.")
        return Meta(m.shape, m.dtype.to_real())

    return infer


def flagged(result):
    """A copy that PyTorch gives as a view: writes to it are refused (see `check_writable` in tensor.py)."""
    result._copied_view = True
    return result


real_op = Op(
    "real",
    infer=complex_meta("real"),
    reference=lambda z: z.real.copy(),
    vjp=lambda c, g: (apply(complex_op, (g, g.new_zeros(()))),),
)
imag_op = Op(
    "imag",
    infer=complex_meta("imag"),
    reference=lambda z: z.imag.copy(),
    vjp=lambda c, g: (apply(complex_op, (g.new_zeros(()), g)),),
)
conj_op = Op(
    "_conj_physical",
    infer=lambda m: Meta(m.shape, m.dtype),
    reference=np.conj,
    vjp=lambda c, g: (apply(conj_op, (g,)),),
    grad_name="ConjBackward0",
    wirtinger=True,
)


def complex_infer(a, b):
    for m in (a, b):
        if m.dtype.category != FLOAT or m.dtype is dtypes.bfloat16:
            raise RuntimeError(
                f"Expected both inputs to be Half, Float or Double tensors but got {a.dtype.label} and {b.dtype.label}"
            )
    if a.dtype is not b.dtype:
        raise RuntimeError(f"Expected object of scalar type {a.dtype.label} but got scalar type {b.dtype.label} for second argument")
    return Meta(shape_of((a, b)), a.dtype.to_complex())


def complex_reference(a, b):
    out = np.empty(np.broadcast_shapes(a.shape, b.shape), np.result_type(a.dtype, np.complex64))
    out.real, out.imag = a, b
    return out


complex_op = Op(
    "complex",
    infer=complex_infer,
    reference=complex_reference,
    vjp=lambda c, g: (apply(real_op, (g,)), apply(imag_op, (g,))),
    wirtinger=True,
)


def as_real_infer(m):
    if not m.dtype.is_complex:
        raise RuntimeError("view_as_real is only supported for complex tensors")
    return Meta((*m.shape, 2), m.dtype.to_real())


def as_complex_infer(m):
    if m.dtype not in (dtypes.float16, dtypes.float32, dtypes.float64):
        raise RuntimeError(f"view_as_complex is only supported for half, float and double tensors, but got a tensor of scalar type: {m.dtype.label}")
    if not m.shape:
        raise RuntimeError("Input tensor must have one or more dimensions")
    if m.shape[-1] != 2:
        raise RuntimeError("Tensor must have a last dimension of size 2")
    return Meta(m.shape[:-1], m.dtype.to_complex())


as_real_op = Op(
    "view_as_real",
    infer=as_real_infer,
    reference=lambda z: np.stack([z.real, z.imag], -1),
    vjp=lambda c, g: (apply(as_complex_op, (g,)),),
)
as_complex_op = Op(
    "view_as_complex",
    infer=as_complex_infer,
    reference=lambda x: complex_reference(x[..., 0], x[..., 1]),
    vjp=lambda c, g: (apply(as_real_op, (g,)),),
    wirtinger=True,
)


# -- the same bytes as another dtype -----------------------------------------------------------------------------------
def reinterpreted_infer(m, dtype):
    old, new = m.dtype.itemsize, dtype.itemsize
    if old == new:
        return Meta(m.shape, dtype)
    if not m.shape:
        raise RuntimeError(f"self.dim() cannot be 0 to view {m.dtype.label} as {dtype.label} (different element sizes)")
    total = m.shape[-1] * old
    if total % new:
        raise RuntimeError(
            f"self.size(-1) must be divisible by {new // old} to view {m.dtype.label} as {dtype.label} (different element sizes), but got {m.shape[-1]}"
        )
    return Meta((*m.shape[:-1], total // new), dtype)


def reinterpreted(x, dtype):
    return np.ascontiguousarray(x).reshape(x.shape).view(dtype.np)


class _Bytes(Op):
    """Half precision operands of this entry are not widened: their bits count."""

    __slots__ = ()
    exact = True


view_dtype_op = _Bytes("view.dtype", infer=reinterpreted_infer, reference=reinterpreted)


def view_dtype(input, dtype):
    """The same bytes as elements of another dtype (a copy)."""
    return flagged(apply(view_dtype_op, (input,), (dtype,)))


# -- what users call ---------------------------------------------------------------------------------------------------
def real(input):
    """The real parts of a complex tensor; a real tensor itself.

    >>> import jitorch as torch
    >>> torch.real(torch.tensor([1 + 2j]))
    tensor([1.])
    """
    needs_tensor("real", input=input)
    return flagged(apply(real_op, (input,))) if input.dtype.is_complex else input


def imag(input):
    """The imaginary parts of a complex tensor. RuntimeError for a real one."""
    needs_tensor("imag", input=input)
    return flagged(apply(imag_op, (input,)))


def conj(input):
    """The complex conjugate; a real tensor itself."""
    return apply(conj_op, (input,)) if input._meta.dtype.is_complex else input


def conj_physical(input, *, out=None):
    """The complex conjugate, as a new tensor; of a real tensor itself."""
    return finish(conj(input) if input.dtype.is_complex else input, out)


def complex(real, imag, *, out=None):
    """A complex tensor of two real ones of the same dtype. RuntimeError for other dtypes.

    >>> import jitorch as torch
    >>> torch.complex(torch.tensor([1.]), torch.tensor([2.]))
    tensor([1.+2.j])
    """
    needs_tensor("complex", real=real, imag=imag)
    return finish(apply(complex_op, (real, imag)), out)


def polar(abs, angle, *, out=None):
    """The complex tensor of the given sizes and angles (in radians). As in PyTorch, the gradient of a size that is zero is zero, that of a negative
    one has the sign of a positive one's.
    """
    from .embedding import scale_gradient

    needs_tensor("polar", abs=abs, angle=angle)
    if abs.requires_grad:
        abs = scale_gradient(abs, abs.detach().sign())
    return complex(abs * angle.cos(), abs * angle.sin(), out=out)


def view_as_real(input):
    """Real and imaginary parts along a new last dimension of size 2 (a copy)."""
    return flagged(apply(as_real_op, (input,)))


def view_as_complex(input):
    """A complex tensor of real and imaginary parts along the last dimension, of size 2 (a copy)."""
    return flagged(apply(as_complex_op, (input,)))


def set_part(part: str):
    """`z.real = x` and `z.imag = x`."""

    def setter(self, value):
        if not self.dtype.is_complex:
            if part == "imag":
                raise RuntimeError("imag is not implemented for tensors with non-complex dtypes.")
            self.copy_(value)
            return
        value = (PUBLIC["as_tensor"](value)).to(self.dtype.to_real()).expand(self.shape)
        self.copy_(complex(value, imag(self)) if part == "real" else complex(real(self), value))

    return setter


for _f in (real, imag, conj, conj_physical, complex, polar, view_as_real, view_as_complex):
    PUBLIC[_f.__name__] = _f
for _name in ("resolve_conj", "resolve_neg"):
    PUBLIC[_name] = METHODS[_name] = lambda input: input
METHODS.update(
    conj=conj,
    conj_physical=conj_physical,
    real=property(real, set_part("real")),
    imag=property(imag, set_part("imag")),
)

"""Tensors from sizes and numbers, triangles and diagonals, and questions about dtypes."""

from __future__ import annotations

import itertools
import math

import numpy as np

from .. import dtypes, layouts
from ..device import check as check_device
from ..dtypes import FLOAT, INT, float32, float64, int64
from ..graph.record import Meta
from ..tensor import Tensor, from_array, from_numpy, tensor
from .arithmetic import operand
from .dispatch import METHODS, PUBLIC, Op, apply
from .elementwise import clone
from .promotion import as_dtype, to_value
from .publish import finish, inplace_of
from .strided import as_strided_scatter
from .views import diagonal as diagonals
from .views import diagonal_geometry, reshape, sizes, wrap_dim

PYTHON_DTYPES = {float: float64, int: int64, bool: dtypes.bool_, complex: dtypes.complex128}


def dtype_of(d, default):
    """A dtype argument: None is the default, Python's float, int and bool stand for float64, int64 and bool."""
    if d is None:
        return default
    if isinstance(d, dtypes.dtype):
        return d
    if d in PYTHON_DTYPES:
        return PYTHON_DTYPES[d]
    raise TypeError(f"dtype must be torch.dtype, not {type(d).__name__}")


# -- constants ---------------------------------------------------------------------------------------------------------
full_op = Op(
    "full",
    infer=lambda value, shape, dtype: Meta(shape, dtype),
    reference=lambda value, shape, dtype: np.full(shape, as_dtype(value, dtype), dtype.np),
    lower=lambda b, value, shape, dtype: b.full(shape, to_value(b, value, dtype), dtype),
)


def make_full(shape, value, dtype, device, requires_grad, out=None):
    check_device(device)
    for n in shape:
        if n < 0:
            raise RuntimeError(f"Trying to create tensor with negative dimension {n}: {list(shape)}")
    result = apply(full_op, (value,), (tuple(shape), dtype))
    if out is not None:
        return finish(result, out)
    return result.requires_grad_(True) if requires_grad else result


def filler(name: str, value: int):
    def make(
        *size,
        out=None,
        dtype=None,
        layout=None,
        device=None,
        pin_memory=False,
        requires_grad: bool = False,
        names=None,
        memory_format=None,
        **more,
    ):
        if "size" in more:
            size = (more.pop("size"),)
        if more:
            raise TypeError(f"{name}() got an unexpected keyword argument '{next(iter(more))}'")
        check_strided(layout)
        default = dtypes.get_default_dtype() if out is None else out.dtype
        return make_full(sizes(size), value, dtype_of(dtype, default), device, requires_grad, out)

    def make_like(
        input,
        *,
        dtype=None,
        layout=None,
        device=None,
        requires_grad: bool = False,
        memory_format=None,
        pin_memory=False,
    ):
        check_strided(layout, input)
        return make_full(input.shape, value, dtype_of(dtype, input.dtype), device, requires_grad)

    def make_new(
        self, *size, dtype=None, device=None, requires_grad: bool = False, layout=None, pin_memory=False, **more
    ):
        if "size" in more:
            size = (more["size"],)
        check_strided(layout)
        return make_full(sizes(size), value, dtype_of(dtype, self.dtype), device, requires_grad)

    make.__name__, make_like.__name__, make_new.__name__ = name, name + "_like", "new_" + name
    make.__doc__ = f"A tensor of the given sizes filled with {value}. RuntimeError for a negative size."
    make_like.__doc__ = f"As `{name}`, with the sizes and dtype of `input`."
    make_new.__doc__ = f"As `{name}`, with this tensor's dtype."
    PUBLIC[name], PUBLIC[name + "_like"], METHODS["new_" + name] = make, make_like, make_new


for _name, _value in (("zeros", 0), ("ones", 1), ("empty", 0)):
    filler(_name, _value)


def check_strided(layout, like=None) -> None:
    """NotImplementedError where a sparse tensor of numbers is asked for."""
    if layout not in (None, layouts.strided) or (like is not None and like.is_sparse):
        raise NotImplementedError("this makes dense tensors only: give a dense one, or make a sparse one with sparse_coo_tensor or to_sparse")


def number_of(value, name: str):
    """A fill value as a Python number."""
    return operand(value.item() if hasattr(value, "_meta") else value, name)


def full(
    size, fill_value, *, out=None, dtype=None, layout=None, device=None, pin_memory=False, requires_grad: bool = False
):
    """A tensor of the given sizes filled with a number; its dtype is the number's unless given.

    >>> import jitorch as torch
    >>> torch.full((2,), 7)
    tensor([7, 7])
    """
    value = number_of(fill_value, "full")
    default = dtypes.of_number(value) if out is None else out.dtype
    return make_full(sizes((size,)), value, dtype_of(dtype, default), device, requires_grad, out)


def full_like(
    input,
    fill_value,
    *,
    dtype=None,
    layout=None,
    device=None,
    requires_grad: bool = False,
    memory_format=None,
    pin_memory=False,
):
    """A tensor of input's sizes and dtype filled with a number."""
    check_strided(layout, input)
    return make_full(
        input.shape, number_of(fill_value, "full_like"), dtype_of(dtype, input.dtype), device, requires_grad
    )


def new_full(
    self, size, fill_value, *, dtype=None, device=None, requires_grad: bool = False, layout=None, pin_memory=False
):
    """A tensor of this one's dtype filled with a number."""
    return make_full(
        sizes((size,)), number_of(fill_value, "new_full"), dtype_of(dtype, self.dtype), device, requires_grad
    )


def new_tensor(self, data, *, dtype=None, device=None, requires_grad: bool = False):
    """A new tensor of this one's dtype with a copy of data."""
    return tensor(data, dtype=dtype_of(dtype, self.dtype), device=device, requires_grad=requires_grad)


def scalar_tensor(s, *, dtype=None, layout=None, device=None, pin_memory=False, requires_grad: bool = False):
    """A 0-d tensor of a number, of the default dtype unless given."""
    return make_full(
        (), number_of(s, "scalar_tensor"), dtype_of(dtype, dtypes.get_default_dtype()), device, requires_grad
    )


def empty_strided(size, stride, *, dtype=None, layout=None, device=None, requires_grad: bool = False, pin_memory=False):
    """A tensor of the given sizes and strides (its elements are zero)."""
    size, stride = tuple(size), tuple(stride)
    extent = 0 if 0 in size else 1 + sum((n - 1) * s for n, s in zip(size, stride, strict=True))
    t = make_full((extent,), 0, dtype_of(dtype, dtypes.get_default_dtype()), device, False)
    t = laid_out(t, size, stride)
    return t.requires_grad_(True) if requires_grad else t


def laid_out(flat, size, stride):
    """A tensor in its own right over a new flat buffer, with other strides."""
    t = flat._alias()
    t._meta = Meta(size, flat.dtype, stride)
    return t


def empty_permuted(
    size, physical_layout, *, dtype=None, layout=None, device=None, requires_grad: bool = False, pin_memory=False
):
    """A tensor of the given sizes whose dimensions lie in memory in the given order, outermost first."""
    if len(size) != len(physical_layout):
        raise RuntimeError(
            f"Number of dimensions in size does not match the length of the physical_layout; i.e. len(size) = {len(size)} is not equal to "
            f"len(physical_layout) = {len(physical_layout)}"
        )
    if any(not 0 <= d < len(size) for d in physical_layout):
        raise RuntimeError(f"Dimension out of range (expected to be between 0 and {len(size) - 1}, but got {list(physical_layout)})")
    if len(set(physical_layout)) != len(size):
        raise RuntimeError("Duplicate dim not allowed")
    strides, step = [0] * len(size), 1
    for d in reversed(physical_layout):
        strides[d] = step
        step *= max(size[d], 1)
    return empty_strided(size, strides, dtype=dtype, device=device, requires_grad=requires_grad)


# -- ranges ------------------------------------------------------------------------------------------------------------
def arange_reference(start, step, n, dtype):
    if dtype.category == INT:
        return int(start) + np.arange(n) * int(step)
    return float(start) + np.arange(n) * float(step)


def arange_lower(b, start, step, n, dtype):
    compute = int64 if dtype.category == INT else float64
    return b.cast(b.iota((n,), 0, compute) * to_value(b, step, compute) + to_value(b, start, compute), dtype)


arange_op = Op(
    "arange", infer=lambda start, step, n, dtype: Meta((n,), dtype), reference=arange_reference, lower=arange_lower
)


def arange(
    start=0,
    end=None,
    step=1,
    *,
    out=None,
    dtype=None,
    layout=None,
    device=None,
    requires_grad: bool = False,
    pin_memory=False,
):
    """start, start + step, ... up to but not including end. int64 for ints, else the default dtype.

    RuntimeError where step doesn't lead from start to end.

    >>> import jitorch as torch
    >>> torch.arange(1, 7, 2)
    tensor([1, 3, 5])
    """
    check_device(device)
    if end is None:
        start, end = 0, start
    start, end, step = (number_of(v, "arange") for v in (start, end, step))
    if dtype is None:
        if out is not None:
            dtype = out.dtype
        else:
            dtype = dtypes.get_default_dtype() if any(isinstance(v, float) for v in (start, end, step)) else int64
    dtype = dtype_of(dtype, None)
    if step == 0:
        raise RuntimeError("step must be nonzero")
    if not (math.isfinite(start) and math.isfinite(end)):
        raise RuntimeError(f"unsupported range: {start} -> {end}")
    if (end - start) * step < 0:
        raise RuntimeError("upper bound and lower bound inconsistent with step sign")
    if dtype is int64:
        start, end, step = int(start), int(end), int(step)
        if step == 0:
            raise ValueError("step must be nonzero")
    exact = all(isinstance(v, int) for v in (start, end, step))
    n = max(-((start - end) // step), 0) if exact else math.ceil((end - start) / step)
    if dtype.category == INT:
        start, step = int(start), int(step)
    result = apply(arange_op, (start, step), (int(n), dtype))
    return finish(result, out) if out is not None else result.requires_grad_(True) if requires_grad else result


def range_(start=0, end=None, step=1, *, out=None, dtype=None, layout=None, device=None, requires_grad: bool = False):
    """start, start + step, ... up to and including end (deprecated in PyTorch: use `arange`)."""
    if end is None:
        start, end = 0, start
    n = math.floor((end - start) / step) + 1
    return finish(
        apply(arange_op, (operand(start), operand(step)), (n, dtype_of(dtype, dtypes.get_default_dtype()))), out
    )


def linspace_reference(start, end, steps, dtype):
    compute = np.float64 if dtype.category == INT else dtype.np.type
    start, end = compute(start), compute(end)
    i = np.arange(steps).astype(compute)
    if steps == 1:
        return np.full((1,), start)
    step = compute((end - start) / compute(steps - 1))
    return np.where(i < steps // 2, start + step * i, end - step * (steps - 1 - i))


def linspace_lower(b, start, end, steps, dtype):
    compute = float64 if dtype.category == INT else dtype
    start, end = to_value(b, start, compute), to_value(b, end, compute)
    if steps == 1:
        return b.cast(b.reshape(start, (1,)), dtype)
    i = b.iota((steps,), 0, compute)
    step = (end - start) / float(steps - 1)
    return b.cast(b.where(i < float(steps // 2), start + step * i, end - step * (float(steps - 1) - i)), dtype)


linspace_op = Op(
    "linspace",
    infer=lambda start, end, steps, dtype: Meta((steps,), dtype),
    reference=linspace_reference,
    lower=linspace_lower,
)


def check_steps(name: str, start, end, steps) -> None:
    """TypeError for a number of steps that is not whole; RuntimeError for a negative one."""
    if isinstance(steps, float):
        given = ", ".join(type(v).__name__ for v in (start, end, steps))
        raise TypeError(f"{name}() received an invalid combination of arguments - got ({given}): steps has to be an int")
    if steps < 0:
        raise RuntimeError("number of steps must be non-negative")


def linspace(
    start,
    end,
    steps: int,
    *,
    out=None,
    dtype=None,
    layout=None,
    device=None,
    requires_grad: bool = False,
    pin_memory=False,
):
    """`steps` evenly spaced numbers from start to end, both included. RuntimeError for negative steps.

    >>> import jitorch as torch
    >>> torch.linspace(0, 1, 5)
    tensor([0.0000, 0.2500, 0.5000, 0.7500, 1.0000])
    """
    check_device(device)
    check_steps("linspace", start, end, steps)
    dtype = dtype_of(dtype, dtypes.get_default_dtype() if out is None else out.dtype)
    start, end = number_of(start, "linspace"), number_of(end, "linspace")
    if dtype.category == INT:
        start, end = int(start), int(end)
    result = apply(linspace_op, (start, end), (int(steps), dtype))
    return finish(result, out) if out is not None else result.requires_grad_(True) if requires_grad else result


def logspace(
    start,
    end,
    steps: int,
    base: float = 10.0,
    *,
    out=None,
    dtype=None,
    layout=None,
    device=None,
    requires_grad: bool = False,
    pin_memory=False,
):
    """base to the powers `linspace(start, end, steps)`."""
    dtype = dtype_of(dtype, dtypes.get_default_dtype() if out is None else out.dtype)
    start, end = number_of(start, "logspace"), number_of(end, "logspace")
    compute = dtype
    if dtype.category == INT:  # PyTorch takes whole exponents, and float32 for the powers
        start, end, compute = int(start), int(end), float32
    result = (float(base) ** linspace(start, end, steps, dtype=compute, device=device)).to(dtype)
    return finish(result, out) if out is not None else result.requires_grad_(True) if requires_grad else result


# -- diagonals and triangles -------------------------------------------------------------------------------------------
def eye_lower(b, n, m, dtype):
    return b.cast(b.iota((n, 1), 0).eq(b.iota((1, m), 1)), dtype)


eye_op = Op(
    "eye",
    infer=lambda n, m, dtype: Meta((n, m), dtype),
    reference=lambda n, m, dtype: np.eye(n, m, dtype=dtype.np),
    lower=eye_lower,
)


def eye(
    n: int,
    m: int | None = None,
    *,
    out=None,
    dtype=None,
    layout=None,
    device=None,
    requires_grad: bool = False,
    pin_memory=False,
):
    """Ones on the diagonal of an (n, m) matrix, zeros elsewhere. RuntimeError for negative sizes.

    >>> import jitorch as torch
    >>> torch.eye(2)
    tensor([[1., 0.],
            [0., 1.]])
    """
    check_device(device)
    m = n if m is None else m
    if n < 0 or m < 0:
        raise RuntimeError(f"{'n' if n < 0 else 'm'} must be greater or equal to 0, got {n if n < 0 else m}")
    result = apply(
        eye_op, (), (int(n), int(m), dtype_of(dtype, dtypes.get_default_dtype() if out is None else out.dtype))
    )
    return finish(result, out) if out is not None else result.requires_grad_(True) if requires_grad else result


def triangle(name: str, numpy, keep):
    def infer(m, k):
        if len(m.shape) < 2:
            raise RuntimeError(f"{name}: input tensor must have at least 2 dimensions")
        return Meta(m.shape, m.dtype)

    def lower(b, x, k):
        rows, columns = x.shape[-2:]
        return b.where(keep(b.iota((1, columns), 1) - b.iota((rows, 1), 0), k), x, b.const(0, x.dtype))

    op = Op(
        name, infer=infer, reference=lambda x, k: numpy(x, k), lower=lower, vjp=lambda c, g: (apply(op, (g,), c.attrs),)
    )

    def function(input, diagonal: int = 0, *, out=None):
        return finish(apply(op, (input,), (int(diagonal),)), out)

    function.__name__ = function.__qualname__ = name
    function.__doc__ = (
        f"The {'lower' if name == 'tril' else 'upper'} triangle of matrices (..., M, N), from the given diagonal on; "
        "zeros elsewhere. RuntimeError for less than 2 dimensions."
    )
    PUBLIC[name] = METHODS[name] = function
    METHODS[name + "_"] = inplace_of(function, name + "_")


triangle("tril", np.tril, lambda offset, k: offset <= k)
triangle("triu", np.triu, lambda offset, k: offset >= k)


def triangle_indices(name: str, numpy):
    def function(row: int, col: int, offset: int = 0, *, dtype=int64, device=None, layout=None):
        check_device(device)
        return from_array(np.ascontiguousarray(np.stack(numpy(row, offset, col)).astype(dtype.np)))

    function.__name__ = function.__qualname__ = name
    function.__doc__ = "The (row, column) indices of a triangle of a (row, col) matrix, row by row: shape (2, N)."
    PUBLIC[name] = function


triangle_indices("tril_indices", np.tril_indices)
triangle_indices("triu_indices", np.triu_indices)


def diag_embed(input, offset: int = 0, dim1: int = -2, dim2: int = -1):
    """Zeros, with the last dimension of input on the diagonals of two new dimensions.

    RuntimeError for identical dimensions.
    """
    ndim = input.ndim + 1
    a, b = wrap_dim(dim1, ndim), wrap_dim(dim2, ndim)
    if a == b:
        raise RuntimeError(f"diagonal dimensions cannot be identical {dim1}, {dim2}")
    n = input.shape[-1] + abs(offset)
    shape = list(input.shape[:-1])
    for d in sorted((a, b)):
        shape.insert(d, n)
    place = diagonal_geometry(Meta(shape, input.dtype), offset, a, b)
    zeros = make_full(tuple(shape), 0, input.dtype, None, False)
    return apply(as_strided_scatter, (zeros, input), (place.shape, place.strides, place.offset))


def diag(input, diagonal: int = 0, *, out=None):
    """A vector on the diagonal of a matrix of zeros, or the diagonal of a matrix (a copy).

    RuntimeError for other dimensions.
    """
    if input.ndim == 1:
        return finish(diag_embed(input, diagonal), out)
    if input.ndim != 2:
        raise RuntimeError(f"diag(): Supports 1D or 2D tensors. Got {input.ndim}D")
    return finish(clone(diagonals(input, diagonal)), out)


def diagflat(input, offset: int = 0):
    """The elements of input on the diagonal of a matrix of zeros."""
    return diag_embed(reshape(input, (-1,)), offset)


def vander(x, N: int | None = None, *, increasing: bool = False):
    """The powers N - 1, ..., 0 of a vector as columns (0, ..., N - 1 if increasing)."""
    if x.ndim != 1:
        raise RuntimeError("x must be a one-dimensional tensor.")
    n = x.shape[0] if N is None else N
    powers = arange(n) if increasing else n - 1 - arange(n)
    return x.unsqueeze(-1) ** powers


# -- grids -------------------------------------------------------------------------------------------------------------
def combinations(input, r: int = 2, with_replacement: bool = False):
    """All combinations of r elements of a vector, as rows."""
    if input.ndim != 1:
        raise RuntimeError(f"Expect a 1D vector, but got shape {list(input.shape)}")
    if r < 0:
        raise RuntimeError(f"Expect a non-negative number, but got {r}")
    if r == 0:
        return PUBLIC["empty"](0, dtype=input.dtype)
    choose = itertools.combinations_with_replacement if with_replacement else itertools.combinations
    index = np.array(list(choose(range(input.shape[0]), r)), np.int64).reshape(-1, r)
    return input[from_array(index)]


# -- tensors from other things -----------------------------------------------------------------------------------------
def as_tensor(data, dtype=None, device=None):
    """data as a tensor; shares memory with a tensor or NumPy array whose dtype fits."""
    check_device(device)
    if hasattr(data, "_meta"):
        return data if dtype is None else data.to(dtype)
    if isinstance(data, np.ndarray) and (dtype is None or dtype.np == data.dtype):
        return from_numpy(data)
    return tensor(data, dtype=dtype)


def asarray(obj, *, dtype=None, device=None, copy: bool | None = None, requires_grad: bool = False):
    """obj (a tensor, array, DLPack capsule, number or sequence) as a tensor;

    copy=False raises ValueError where memory can't be shared.
    """
    if hasattr(obj, "_meta"):
        result = obj.detach() if obj.requires_grad and not requires_grad else obj
        if dtype is not None and dtype is not obj.dtype:
            if copy is False:
                raise ValueError(f"can't alias tensor with dtype 'torch.{obj.dtype.name}' into dtype '{dtype}'.")
            result = result.to(dtype)
        elif copy:
            result = clone(result)
    elif isinstance(obj, np.ndarray) and not copy and (dtype is None or dtype.np == obj.dtype):
        result = from_numpy(obj)
    else:
        if copy is False:
            raise ValueError("can't alias arbitrary sequence into a tensor.")
        result = tensor(obj, dtype=dtype, device=device)
    return result.requires_grad_(True) if requires_grad and result.is_leaf else result


def from_dlpack(ext):
    """A tensor that shares memory with an object that has `__dlpack__`, or with what a DLPack capsule holds."""
    return from_numpy(np.from_dlpack(ext if hasattr(ext, "__dlpack__") else Capsule(ext)))


class Capsule:
    """A DLPack capsule of memory on the CPU, as an object that can give it."""

    def __init__(self, capsule):
        self.capsule = capsule

    def __dlpack__(self, **kwargs):
        return self.capsule

    def __dlpack_device__(self):
        return (1, 0)


def frombuffer(buffer, *, dtype, count: int = -1, offset: int = 0, requires_grad: bool = False):
    """A vector over the memory of a Python buffer. ValueError where the buffer is too small."""
    t = from_numpy(np.frombuffer(buffer, dtype.np, count, offset))
    return t.requires_grad_(True) if requires_grad else t


class Legacy(type):
    """The type of `FloatTensor` and its kin: makes tensors, and answers isinstance by dtype."""

    dtype: dtypes.dtype

    def __instancecheck__(cls, x) -> bool:
        return isinstance(x, Tensor) and x.dtype is cls.dtype

    def __call__(cls, *data, device=None):
        check_device(device)
        if not data:
            return make_full((0,), 0, cls.dtype, None, False)
        if all(isinstance(d, int) for d in data) or isinstance(data[0], tuple) and hasattr(data[0], "numel"):
            return make_full(sizes(data), 0, cls.dtype, None, False)
        return tensor(data[0], dtype=cls.dtype)


for _d in dtypes.ALL:
    PUBLIC[_d.label + "Tensor"] = Legacy(
        _d.label + "Tensor", (), {"dtype": _d, "__doc__": f"Makes {_d.name} tensors from sizes or data."}
    )


# -- questions ---------------------------------------------------------------------------------------------------------
class finfo:
    """The limits of a floating point dtype: bits, eps, max, min, tiny, smallest_normal, resolution. TypeError for
    other dtypes.

    >>> import jitorch as torch
    >>> torch.finfo(torch.float32).eps
    1.1920928955078125e-07
    """

    def __init__(self, type=None):
        d = dtypes.get_default_dtype() if type is None else type
        if not d.differentiable:
            raise TypeError(f"torch.finfo() requires a floating point input type. Use torch.iinfo to handle '{d.name}'")
        d = d.to_real()
        i = dtypes.limits(d)
        self.bits, self.eps, self.max, self.min = int(i.bits), float(i.eps), float(i.max), float(i.min)
        self.tiny = self.smallest_normal = float(i.tiny)
        self.resolution, self.dtype = 10.0 ** -int(i.precision), d.name

    def __repr__(self) -> str:
        return (
            f"finfo(resolution={self.resolution:g}, min={self.min:g}, max={self.max:g}, eps={self.eps:g}, "
            f"smallest_normal={self.smallest_normal:g}, tiny={self.tiny:g}, dtype={self.dtype})"
        )


class iinfo:
    """The limits of an integer dtype: bits, max, min. TypeError for other dtypes."""

    def __init__(self, type):
        if type.category != INT:
            raise TypeError(
                "torch.iinfo() requires an integer input type. Use torch.finfo to handle '" + type.name + "'"
                if type.is_floating_point
                else "torch.bool is not supported by torch.iinfo"
            )
        i = np.iinfo(type.np)
        self.bits, self.max, self.min, self.dtype = int(i.bits), int(i.max), int(i.min), type.name

    def __repr__(self) -> str:
        return f"iinfo(min={self.min:g}, max={self.max:g}, dtype={self.dtype})"


def result_type(tensor1, tensor2):
    """The dtype that an operation on two tensors or numbers computes in.

    >>> import jitorch as torch
    >>> torch.result_type(torch.tensor([1], dtype=torch.int32), 1.0)
    torch.float32
    """
    return dtypes.result_type([x._meta if hasattr(x, "_meta") else type(operand(x)) for x in (tensor1, tensor2)])


def can_cast(from_, to) -> bool:
    """Whether PyTorch allows the cast in type promotion: never to a lower category (bool < int < float)."""
    return from_.category <= to.category


def is_tensor(obj) -> bool:
    """Whether obj is a tensor."""
    return isinstance(obj, Tensor)


def numel(input) -> int:
    """The number of elements."""
    return input._meta.numel


def is_floating_point(input) -> bool:
    """Whether the dtype is a floating point dtype."""
    return input.dtype.category == FLOAT


def is_complex(input) -> bool:
    """Whether the dtype is a complex dtype."""
    return input.dtype.is_complex


def is_nonzero(input) -> bool:
    """Whether a one-element tensor is not zero. RuntimeError for other numbers of elements."""
    return bool(input)


for _f in (
    full,
    full_like,
    scalar_tensor,
    empty_strided,
    empty_permuted,
    arange,
    linspace,
    logspace,
    eye,
    diag_embed,
    diag,
    diagflat,
    vander,
    combinations,
    as_tensor,
    asarray,
    from_dlpack,
    frombuffer,
    finfo,
    iinfo,
    result_type,
    can_cast,
    is_tensor,
    numel,
    is_floating_point,
    is_complex,
    is_nonzero,
):
    PUBLIC[_f.__name__] = _f
PUBLIC["range"] = range_
for _method in (diag_embed, diag, diagflat, new_full, new_tensor, is_floating_point, is_complex, is_nonzero, numel):
    METHODS[_method.__name__] = _method
METHODS["new_empty_strided"] = lambda self, size, stride, dtype=None, device=None, requires_grad=False, **more: (
    empty_strided(size, stride, dtype=dtype_of(dtype, self.dtype), device=device, requires_grad=requires_grad)
)


def new(self, *data, device=None):
    """A tensor of this one's dtype, from sizes or data (the old constructor)."""
    return PUBLIC[self.dtype.label + "Tensor"](*data, device=device)


METHODS["new"] = new



# -- windows -----------------------------------------------------------------------------------------------------------
def old_window(name: str, *numbers: str):
    """`torch.<name>_window`: `torch.signal.windows.<name>`, periodic unless told otherwise; further numbers come after that."""

    def window(window_length: int, periodic: bool = True, *more, dtype=None, layout=None, device=None, pin_memory=False,
               requires_grad: bool = False, **given):
        from ..signal import windows

        given.update(zip(numbers, more, strict=False))
        if window_length < 0:
            raise RuntimeError(f"{name}_window requires non-negative window_length, got window_length={window_length}")
        if dtype is not None and not dtype.is_floating_point:
            raise RuntimeError(f"{name}_window expects floating point dtypes, got: {dtype}")
        if name == "hamming" and given:
            alpha, beta = float(given.get("alpha", 0.54)), float(given.get("beta", 0.46))
            return windows.general_cosine(window_length, a=[alpha, beta], sym=not periodic, dtype=dtype, requires_grad=requires_grad)
        function = getattr(windows, name)
        return function(window_length, sym=not periodic, dtype=dtype, device=device, requires_grad=requires_grad, **given)

    window.__name__ = window.__qualname__ = name + "_window"
    window.__doc__ = f"The {name} window of the given length; periodic: one period of a longer signal, else symmetric."
    PUBLIC[window.__name__] = window


for _name in ("hann", "blackman", "bartlett"):
    old_window(_name)
old_window("hamming", "alpha", "beta")
old_window("kaiser", "beta")

"""Views: other shapes, strides and offsets over the same storage. Nothing is recorded until a view is read.

A view's entry (`ViewOp`, in `strided`) is a geometry (Meta -> Meta) and a gradient. Geometries are kept in the Meta they start from, so a view
in a loop costs one dictionary look-up.
"""

from __future__ import annotations

from ..changes import changed
from ..dtypes import INT
from ..graph.ir import broadcast
from ..graph.record import Meta, Size, contiguous_strides, count
from ..tensor import check_writable, clone_of
from .dispatch import METHODS, PUBLIC, apply
from .strided import ViewOp, as_strided_add, as_strided_scatter, check_inside, overlapping, strided_view


def wrap_dim(dim: int, ndim: int) -> int:
    """A dimension counted from the front. IndexError out of range."""
    n = max(ndim, 1)
    if not -n <= dim < n:
        raise IndexError(f"Dimension out of range (expected to be in range of [{-n}, {n - 1}], but got {dim})")
    return dim % n


# -- shapes ------------------------------------------------------------------------------------------------------------
def reshape_strides(m: Meta, shape):
    """Strides that give `shape` over the same elements, or None where a copy is needed."""
    if m.contiguous:
        return contiguous_strides(shape)
    if m.numel == 0:
        return contiguous_strides(shape)
    # walk both shapes from the back, matching runs of dimensions that are contiguous among themselves
    strides = [0] * len(shape)
    view = len(shape) - 1
    run, old = 1, len(m.shape) - 1
    base_stride = m.strides[-1] if m.shape else 1
    for d in range(old, -1, -1):
        run *= m.shape[d]
        if d == 0 or (m.shape[d - 1] != 1 and m.strides[d - 1] != run * base_stride):
            filled = 1
            while view >= 0 and (filled < run or shape[view] == 1):
                strides[view] = filled * base_stride
                filled *= shape[view]
                view -= 1
            if filled != run:
                return None
            if d > 0:
                base_stride, run = m.strides[d - 1], 1
    return tuple(strides) if view < 0 else None


def full_shape(m: Meta, shape) -> tuple[int, ...]:
    """A requested shape with its -1 worked out. RuntimeError where the sizes don't fit."""
    shape = tuple(int(s) for s in shape)
    unknown = [i for i, s in enumerate(shape) if s == -1]
    if len(unknown) > 1:
        raise RuntimeError("only one dimension can be inferred")
    if any(s < -1 for s in shape):
        raise RuntimeError(f"invalid shape dimension {min(shape)}")
    if unknown:
        rest = -count(shape)
        if rest == 0:
            raise RuntimeError(
                f"cannot reshape tensor of 0 elements into shape {list(shape)} because the unspecified dimension size "
                "-1 can be any value and is ambiguous"
            )
        if m.numel % rest == 0:
            shape = tuple(m.numel // rest if s == -1 else s for s in shape)
    if count(shape) != m.numel or -1 in shape:
        raise RuntimeError(f"shape '{list(shape)}' is invalid for input of size {m.numel}")
    return shape


def view_geometry(m: Meta, shape) -> Meta:
    shape = full_shape(m, shape)
    strides = reshape_strides(m, shape)
    if strides is None:
        raise RuntimeError(
            "view size is not compatible with input tensor's size and stride (at least one dimension spans across two "
            "contiguous subspaces). Use .reshape(...) instead."
        )
    return Meta(shape, m.dtype, strides, m.offset)


view_op = ViewOp("view", view_geometry, lambda ctx, g: (reshape(g, ctx.metas[0].shape),))


def sizes(args) -> tuple:
    """Sizes given one by one, or as one sequence."""
    if len(args) == 1 and isinstance(args[0], (tuple, list)):
        return tuple(int(a) for a in args[0])
    return tuple(int(a) for a in args)


def view(input, *shape):
    """The same memory with another shape (one size may be -1). RuntimeError where strides can't express it.

    >>> import jitorch as torch
    >>> torch.arange(6).view(2, -1)
    tensor([[0, 1, 2],
            [3, 4, 5]])
    """
    if len(shape) == 1 and hasattr(shape[0], "itemsize"):
        if shape[0] is input.dtype:
            return view_op(input, tuple(input.shape))
        from .complex import view_dtype

        return view_dtype(input, shape[0])
    return view_op(input, sizes(shape))


def reshape(input, *shape):
    """A view where strides can express it, else a copy.

    >>> import jitorch as torch
    >>> torch.arange(6).view(2, 3).t().reshape(6)
    tensor([0, 3, 1, 4, 2, 5])
    """
    shape = sizes(shape)
    try:
        return view_op(input, shape)
    except RuntimeError as error:
        if "Use .reshape" not in str(error):
            raise
    return view_op(clone_of(input), shape)


def permute_geometry(m: Meta, dims) -> Meta:
    if len(dims) != len(m.shape):
        raise RuntimeError(
            "permute(sparse_coo): number of dimensions in the tensor input does not match the length of the desired "
            f"ordering of dimensions i.e. input.dim() = {len(m.shape)} is not equal to len(dims) = {len(dims)}"
        )
    dims = [wrap_dim(d, len(m.shape)) for d in dims]
    if len(set(dims)) != len(dims):
        raise RuntimeError("permute(): duplicate dims are not allowed.")
    return Meta([m.shape[d] for d in dims], m.dtype, [m.strides[d] for d in dims], m.offset)


def permute_vjp(ctx, g):
    n = len(ctx.metas[0].shape)
    dims = [d % n for d in ctx.attrs[0]] if n else []
    return (permute_op(g, tuple(dims.index(i) for i in range(n))),)


permute_op = ViewOp("permute", permute_geometry, permute_vjp)


def permute(input, *dims):
    """The dimensions in another order.

    >>> import jitorch as torch
    >>> torch.zeros(2, 3, 4).permute(2, 0, 1).shape
    torch.Size([4, 2, 3])
    """
    return permute_op(input, sizes(dims))


def transpose_geometry(m: Meta, a, b) -> Meta:
    n = len(m.shape)
    order = list(range(n))
    a, b = wrap_dim(a, n), wrap_dim(b, n)
    if n:
        order[a], order[b] = order[b], order[a]
    return permute_geometry(m, order)


def transposed_back(ctx, g):
    return (ctx.op(g, *ctx.attrs),)


transpose_op = ViewOp("transpose", transpose_geometry, transposed_back)
t_op = ViewOp(
    "t",
    lambda m: transpose_geometry(m, 0, 1) if len(m.shape) > 1 else Meta(m.shape, m.dtype, m.strides, m.offset),
    transposed_back,
)


def transpose(input, dim0: int, dim1: int):
    """Two dimensions swapped. IndexError out of range."""
    return transpose_op(input, dim0, dim1)


def t(input):
    """A matrix transposed; vectors as they are. RuntimeError for more dimensions."""
    if len(input._meta.shape) > 2:
        raise RuntimeError(f"t() expects a tensor with <= 2 dimensions, but self is {input.ndim}D")
    return t_op(input)


def expand_geometry(m: Meta, shape) -> Meta:
    extra = len(shape) - len(m.shape)
    if extra < 0:
        raise RuntimeError(
            f"expand(torch.{m.dtype.label}Tensor{list(m.shape)}, size={list(shape)}): the number of sizes provided "
            f"({len(shape)}) must be greater or equal to the number of dimensions in the tensor ({len(m.shape)})"
        )
    out, strides = [], []
    for i, want in enumerate(shape):
        have, stride = (1, 0) if i < extra else (m.shape[i - extra], m.strides[i - extra])
        if want == -1 and i >= extra:
            want = have
        if want < 0 or (have != 1 and have != want):
            raise RuntimeError(
                f"The expanded size of the tensor ({want}) must match the existing size ({have}) at non-singleton "
                f"dimension {i}.  Target sizes: {list(shape)}.  Tensor sizes: {list(m.shape)}"
            )
        out.append(want)
        strides.append(0 if have == 1 and want != 1 else stride)
    return Meta(out, m.dtype, strides, m.offset)


expand_op = ViewOp("expand", expand_geometry, lambda ctx, g: (g.sum_to_size(ctx.metas[0].shape),))


def expand(input, *shape, implicit: bool = False):
    """Dimensions of size 1 repeated without copying (-1: left as they are). RuntimeError where sizes don't fit."""
    return expand_op(input, sizes(shape))


def squeeze_geometry(m: Meta, dims) -> Meta:
    keep = [i for i, n in enumerate(m.shape) if not (n == 1 and (dims is None or i in dims))]
    return Meta([m.shape[i] for i in keep], m.dtype, [m.strides[i] for i in keep], m.offset)


squeeze_op = ViewOp("squeeze", squeeze_geometry, lambda ctx, g: (reshape(g, ctx.metas[0].shape),))


def squeeze(input, dim=None):
    """Without dimensions of size 1 (all of them, or those named)."""
    if dim is None:
        return squeeze_op(input, None)
    dims = dim if isinstance(dim, (tuple, list)) else (dim,)
    return squeeze_op(input, tuple(wrap_dim(d, input.ndim) for d in dims))


def unsqueeze_geometry(m: Meta, dim) -> Meta:
    shape, strides = list(m.shape), list(m.strides)
    strides.insert(dim, shape[dim] * strides[dim] if dim < len(shape) else 1)
    shape.insert(dim, 1)
    return Meta(shape, m.dtype, strides, m.offset)


unsqueeze_op = ViewOp("unsqueeze", unsqueeze_geometry, lambda ctx, g: (reshape(g, ctx.metas[0].shape),))


def unsqueeze(input, dim: int):
    """With a dimension of size 1 inserted at `dim`."""
    return unsqueeze_op(input, wrap_dim(dim, input.ndim + 1))


def slice_geometry(m: Meta, dim, start, length, step) -> Meta:
    shape, strides = list(m.shape), list(m.strides)
    offset = m.offset + start * strides[dim] if length else m.offset
    shape[dim], strides[dim] = length, strides[dim] * step
    return Meta(shape, m.dtype, strides, offset)


def region_vjp(ctx, g):
    """Gradient of a slice or select: g written into zeros."""
    m = ctx.metas[0]
    natural = Meta(m.shape, m.dtype)
    place = ctx.op.geometry(natural, *ctx.attrs)
    zeros = PUBLIC["zeros"](tuple(m.shape), dtype=m.dtype)
    return (apply(as_strided_scatter, (zeros, g), (place.shape, place.strides, place.offset)),)


slice_op = ViewOp("slice", slice_geometry, region_vjp)


def select_geometry(m: Meta, dim, index) -> Meta:
    shape, strides = list(m.shape), list(m.strides)
    offset = m.offset + index * strides[dim]
    del shape[dim], strides[dim]
    return Meta(shape, m.dtype, strides, offset)


select_op = ViewOp("select", select_geometry, region_vjp)


def select(input, dim: int, index: int):
    """The slice at `index` of a dimension, which goes away. IndexError out of range."""
    if not input.shape:
        raise IndexError("select() cannot be applied to a 0-dim tensor.")
    dim, n = wrap_dim(dim, input.ndim), input.shape[wrap_dim(dim, input.ndim)]
    if not -n <= index < n:
        raise IndexError(
            f"select(): index {index} out of range for tensor of size {list(input.shape)} at dimension {dim}"
        )
    return select_op(input, dim, index % n)


def narrow(input, dim: int, start, length: int):
    """`length` elements of a dimension from `start`. RuntimeError or IndexError out of range."""
    if not input.shape:
        raise RuntimeError("narrow() cannot be applied to a 0-dim tensor.")
    dim = wrap_dim(dim, input.ndim)
    n = input.shape[dim]
    if hasattr(start, "_meta") and (start.ndim or start.dtype.category != INT):
        raise RuntimeError("start must be an 0-dim integral Tensor.")
    start = int(start)
    if length < 0:
        raise RuntimeError("narrow(): length must be non-negative.")
    if not -n <= start <= n:
        raise IndexError(f"Dimension out of range (expected to be in range of [{-n}, {n}], but got {start})")
    start += n if start < 0 else 0
    if start + length > n:
        raise RuntimeError(f"start ({start}) + length ({length}) exceeds dimension size ({n}).")
    return slice_op(input, dim, start, length, 1)


def diagonal_geometry(m: Meta, offset, a, b) -> Meta:
    rows, cols = m.shape[a], m.shape[b]
    length = max(min(rows, cols - offset) if offset >= 0 else min(rows + offset, cols), 0)
    start = m.offset + (offset * m.strides[b] if offset >= 0 else -offset * m.strides[a]) if length else m.offset
    keep = [i for i in range(len(m.shape)) if i not in (a, b)]
    return Meta(
        [m.shape[i] for i in keep] + [length],
        m.dtype,
        [m.strides[i] for i in keep] + [m.strides[a] + m.strides[b]],
        start,
    )


diagonal_op = ViewOp("diagonal", diagonal_geometry, region_vjp)


def diagonal(input, offset: int = 0, dim1: int = 0, dim2: int = 1):
    """The diagonals of two dimensions, as the last dimension."""
    a, b = wrap_dim(dim1, input.ndim), wrap_dim(dim2, input.ndim)
    if a == b:
        raise RuntimeError(f"diagonal dimensions cannot be identical {dim1}, {dim2}")
    return diagonal_op(input, offset, a, b)


def unfold_geometry(m: Meta, dim, size, step) -> Meta:
    shape, strides = list(m.shape), list(m.strides)
    if not shape:
        return Meta((size,), m.dtype, (1,), m.offset)
    windows, stride = (shape[dim] - size) // step + 1, strides[dim]
    shape[dim], strides[dim] = windows, stride * step
    return Meta(shape + [size], m.dtype, strides + [stride], m.offset)


def unfold_vjp(ctx, g):
    m = ctx.metas[0]
    place = unfold_geometry(Meta(m.shape, m.dtype), *ctx.attrs)
    zeros = PUBLIC["zeros"](tuple(m.shape), dtype=m.dtype)
    op = as_strided_add if overlapping(place.shape, place.strides) else as_strided_scatter
    return (apply(op, (zeros, g), (place.shape, place.strides, place.offset)),)


unfold_op = ViewOp("unfold", unfold_geometry, unfold_vjp)


def unfold(input, dimension: int, size: int, step: int):
    """All slices of `size` along a dimension, `step` apart, as a new last dimension."""
    dim = wrap_dim(dimension, input.ndim)
    n = input.shape[dim] if input.shape else 1
    if size > n:
        raise RuntimeError(f"maximum size for tensor at dimension {dim} is {n} but size is {size}")
    if step <= 0:
        raise RuntimeError(f"step is {step} but must be > 0")
    return unfold_op(input, dim, size, step)


# -- shapes under other names ----------------------------------------------------------------------------------------
def flatten(input, start_dim: int = 0, end_dim: int = -1):
    """The dimensions from start_dim to end_dim as one."""
    if input.ndim == 0:
        return reshape(input, (1,))
    a, b = wrap_dim(start_dim, input.ndim), wrap_dim(end_dim, input.ndim)
    if a > b:
        raise RuntimeError("flatten() has invalid args: start_dim cannot come after end_dim")
    shape = input.shape
    return input if a == b else reshape(input, (*shape[:a], count(shape[a : b + 1]), *shape[b + 1 :]))


def unflatten(input, dim: int, sizes):
    """One dimension as several; one of the sizes may be -1."""
    dim = wrap_dim(dim, input.ndim)
    sizes = tuple(int(s) for s in ([sizes] if isinstance(sizes, int) else sizes))
    n = input.shape[dim]
    if not sizes:
        raise RuntimeError("unflatten: sizes must be non-empty")
    if sizes.count(-1) > 1:
        raise RuntimeError("only one dimension can be inferred")
    if -1 in sizes and n % max(-count(sizes), 1) == 0 and count(sizes):
        sizes = tuple(n // -count(sizes) if s == -1 else s for s in sizes)
    if count(sizes) != n or -1 in sizes:
        raise RuntimeError(
            f"unflatten: Provided sizes {list(sizes)} don't multiply up to the size of dim {dim} ({n}) in the input "
            "tensor"
        )
    return reshape(input, (*input.shape[:dim], *sizes, *input.shape[dim + 1 :]))


def ravel(input):
    """All elements as a vector."""
    return reshape(input, (input._meta.numel,))


def view_as(self, other):
    """`view` with the sizes of another tensor."""
    return view(self, other.shape)


def reshape_as(self, other):
    """`reshape` with the sizes of another tensor."""
    return reshape(self, other.shape)


def expand_as(self, other):
    """`expand` to the sizes of another tensor."""
    return expand(self, other.shape)


def broadcast_to(input, size):
    """`expand` to `size`."""
    return expand(input, tuple(size))


def broadcast_shapes(*shapes):
    """The shape that tensors of these shapes broadcast to. RuntimeError where they don't."""
    shapes = [(s,) if isinstance(s, int) else tuple(s) for s in shapes]
    for s in shapes:
        if any(n < 0 for n in s):
            raise RuntimeError(f"Trying to create tensor with negative dimension ({min(s)}): ({min(s)})")
    try:
        return Size(broadcast(shapes) if shapes else ())
    except RuntimeError:
        raise RuntimeError("Shape mismatch: objects cannot be broadcast to a single shape") from None


def broadcast_tensors(*tensors):
    """The tensors expanded to their common shape, as views."""
    if len(tensors) == 1 and isinstance(tensors[0], (list, tuple)):
        tensors = tuple(tensors[0])
    shape = broadcast([x.shape for x in tensors])
    return tuple(expand(x, shape) for x in tensors)


def movedim(input, source, destination):
    """Dimensions moved to other places, the others keeping their order."""
    source = (source,) if isinstance(source, int) else tuple(source)
    destination = (destination,) if isinstance(destination, int) else tuple(destination)
    if len(source) != len(destination):
        raise RuntimeError(
            f"movedim: Invalid source or destination dims: source ({list(source)} dims) should contain the same number "
            f"of dims as destination ({list(destination)} dims)"
        )
    a, b = [wrap_dim(d, input.ndim) for d in source], [wrap_dim(d, input.ndim) for d in destination]
    for what, dims in (("source", a), ("destination", b)):
        if len(set(dims)) != len(dims):
            raise RuntimeError(
                f"movedim: repeated dim in `{what}` ({list(source if what == 'source' else destination)})"
            )
    if input.ndim == 0:
        return permute_op(input, ())
    rest = iter(d for d in range(input.ndim) if d not in a)
    target = dict(zip(b, a, strict=False))
    return permute_op(input, tuple(target[d] if d in target else next(rest) for d in range(input.ndim)))


def adjoint(input):
    """The conjugate transpose of the last two dimensions."""
    if input.ndim < 2:
        raise RuntimeError(
            f"tensor.adjoint() is only supported on matrices or batches of matrices. Got {input.ndim}-D tensor."
        )
    return transpose_op(input, -2, -1).conj()


# -- pieces ----------------------------------------------------------------------------------------------------------
def unbind(input, dim: int = 0):
    """The slices of a dimension, as a tuple of views."""
    if not input.shape:
        raise IndexError(f"Dimension specified as {dim} but tensor has no dimensions")
    dim = wrap_dim(dim, input.ndim)
    return tuple(select_op(input, dim, i) for i in range(input.shape[dim]))


def split(tensor, split_size_or_sections, dim: int = 0):
    """Pieces of a dimension, each `split_size` long (the last may be shorter), or of the sizes listed.

    >>> import jitorch as torch
    >>> [p.tolist() for p in torch.split(torch.arange(5), 2)]
    [[0, 1], [2, 3], [4]]
    """
    if tensor.ndim == 0:
        raise RuntimeError("split expects at least a 1-dimensional tensor")
    dim = wrap_dim(dim, tensor.ndim)
    n = tensor.shape[dim]
    if isinstance(split_size_or_sections, (list, tuple)):
        return split_with_sizes(tensor, split_size_or_sections, dim)
    size = int(split_size_or_sections)
    if size < 0:
        raise RuntimeError(f"split expects split_size be non-negative, but got split_size={size}")
    if size == 0 and n:
        raise RuntimeError(f"split_size can only be 0 if dimension size is 0, but got dimension size of {n}")
    pieces = max(-(-n // size), 1) if size else 1
    return tuple(slice_op(tensor, dim, i * size, min(size, n - i * size), 1) for i in range(pieces))


def split_with_sizes(input, split_sizes, dim: int = 0):
    """Pieces of a dimension with the sizes listed, which must add up to it."""
    dim = wrap_dim(dim, input.ndim)
    n, given = input.shape[dim], [int(s) for s in split_sizes]
    if sum(given) != n:
        raise RuntimeError(
            f"split_with_sizes expects split_sizes to sum exactly to {n} (input tensor's size at dimension {dim}), but "
            f"got split_sizes={given}"
        )
    if any(s < 0 for s in given):
        raise RuntimeError(
            f"split_with_sizes expects split_sizes have only non-negative entries, but got split_sizes={given}"
        )
    pieces, at = [], 0
    for size in given:
        pieces.append(slice_op(input, dim, at, size, 1))
        at += size
    return tuple(pieces)


def chunk(input, chunks: int, dim: int = 0):
    """At most `chunks` pieces of a dimension, of the same size but for the last."""
    if input.ndim == 0:
        raise RuntimeError("chunk expects at least a 1-dimensional tensor")
    if chunks <= 0:
        raise RuntimeError(f"chunk expects `chunks` to be greater than 0, got: {chunks}")
    dim = wrap_dim(dim, input.ndim)
    n = input.shape[dim]
    size = -(-n // chunks)
    return split(input, size, dim) if n else split_with_sizes(input, [0] * chunks, dim)


def tensor_split(input, indices_or_sections, dim: int = 0):
    """Pieces of a dimension: so many of about the same size, or cut at the indices listed."""
    if input.ndim == 0:
        raise RuntimeError("tensor_split expected at least a 1-dimensional tensor, but got a tensor with 0 dims")
    dim = wrap_dim(dim, input.ndim)
    n = input.shape[dim]
    cuts = indices_or_sections.tolist() if hasattr(indices_or_sections, "_meta") else indices_or_sections
    if isinstance(cuts, int):
        if cuts <= 0:
            raise RuntimeError(f"number of sections must be larger than 0, got {cuts}")
        small, extra = divmod(n, cuts)
        return split_with_sizes(input, [small + 1] * extra + [small] * (cuts - extra), dim)
    ends = [slice(None, c).indices(n)[1] for c in cuts]
    starts = [0, *ends]
    return tuple(slice_op(input, dim, a, max(b - a, 0), 1) for a, b in zip(starts, [*ends, n], strict=False))


def splitter(name: str, dim: int, least: int):
    def fn(input, indices_or_sections):
        if input.ndim < least:
            raise RuntimeError(
                f"torch.{name} requires a tensor with at least {least} dimension{'s' if least > 1 else ''}, but got a "
                f"tensor with {input.ndim} dimensions!"
            )
        d = 0 if name == "hsplit" and input.ndim == 1 else dim
        if isinstance(indices_or_sections, int) and (indices_or_sections <= 0 or input.shape[d] % indices_or_sections):
            raise RuntimeError(
                f"torch.{name} attempted to split along dimension {d}, but the size of the dimension {input.shape[d]} "
                f"is not divisible by the split_size {indices_or_sections}!"
            )
        return tensor_split(input, indices_or_sections, d)

    fn.__name__ = fn.__qualname__ = name
    fn.__doc__ = f"`tensor_split` along dimension {dim}{' (0 for vectors)' if name == 'hsplit' else ''}."
    PUBLIC[name] = METHODS[name] = fn


for _name, _dim, _least in (("hsplit", 1, 1), ("vsplit", 0, 2), ("dsplit", 2, 3)):
    splitter(_name, _dim, _least)


def at_least(n: int, x):
    """x with dimensions of size 1 added as NumPy's atleast_nd does."""
    if x.ndim >= n:
        return x
    shape = tuple(x.shape)
    if n > 1 and len(shape) < 2:
        shape = (1, *(shape or (1,)))
    return reshape(x, (*shape, *(1,) * (n - len(shape))))


def at_least_function(n: int):
    def fn(*tensors):
        if len(tensors) == 1:
            tensors = tensors[0]
        return tuple(at_least(n, x) for x in tensors) if isinstance(tensors, (list, tuple)) else at_least(n, tensors)

    fn.__name__ = fn.__qualname__ = f"atleast_{n}d"
    fn.__doc__ = f"The tensors with at least {n} dimension{'s' if n > 1 else ''}, as NumPy's function of that name."
    PUBLIC[fn.__name__] = fn
    return fn


for _n in (1, 2, 3):
    at_least_function(_n)


# -- copies with a part replaced -------------------------------------------------------------------------------------
def written(input, src, place: Meta):
    """A copy of input with src where `place`, a geometry over a contiguous tensor, says."""
    if tuple(src.shape) != tuple(place.shape):
        raise RuntimeError(
            f"expected src to have a size equal to the slice of self. src size = {list(src.shape)}, slice size = "
            f"{list(place.shape)}"
        )
    if src.dtype is not input.dtype:
        src = src.to(input.dtype)
    return apply(as_strided_scatter, (input, src), (tuple(place.shape), tuple(place.strides), place.offset))


def natural(input) -> Meta:
    return Meta(input.shape, input.dtype)


def slice_scatter(input, src, dim: int = 0, start: int | None = None, end: int | None = None, step: int = 1):
    """A copy of input whose slice start:end:step of a dimension is src."""
    dim = wrap_dim(dim, input.ndim)
    if step <= 0:
        raise RuntimeError("slice step must be positive")
    a, b, step = slice(start, end, step).indices(input.shape[dim])
    return written(input, src, slice_geometry(natural(input), dim, a, max(0, -(-(b - a) // step)), step))


def select_scatter(input, src, dim: int, index: int):
    """A copy of input whose slice at `index` of a dimension is src."""
    dim = wrap_dim(dim, input.ndim)
    n = input.shape[dim]
    if not -n <= index < n:
        raise IndexError(
            f"select(): index {index} out of range for tensor of size {list(input.shape)} at dimension {dim}"
        )
    return written(input, src, select_geometry(natural(input), dim, index % n))


def diagonal_scatter(input, src, offset: int = 0, dim1: int = 0, dim2: int = 1):
    """A copy of input whose diagonal is src."""
    a, b = wrap_dim(dim1, input.ndim), wrap_dim(dim2, input.ndim)
    return written(input, src, diagonal_geometry(natural(input), offset, a, b))


def strided_scatter(input, src, size, stride, storage_offset: int | None = None):
    """A copy of input whose elements at a strided geometry are src's. RuntimeError for what reaches outside of it."""
    check_inside(tuple(size), tuple(stride), storage_offset or 0, Meta(input.shape, input.dtype))
    return written(input, src, Meta(tuple(size), input.dtype, tuple(stride), storage_offset or 0))


# -- in place: only the geometry changes -----------------------------------------------------------------------------
def geometry_inplace(name: str, function):
    def method(self, *args, **kwargs):
        check_writable(self)
        v = function(self, *args, **kwargs)
        changed()
        self._meta = v._meta
        if v._grad_fn is not None:
            self._grad_fn, self._output_nr, self._rg = v._grad_fn, v._output_nr, True
        self._storage.version += 1
        return self

    method.__name__ = method.__qualname__ = name
    method.__doc__ = f"In-place form of `{name[:-1]}`: the tensor itself gets the new shape."
    METHODS[name] = method


for _name, _function in (
    ("squeeze_", squeeze),
    ("unsqueeze_", unsqueeze),
    ("t_", t),
    ("transpose_", transpose),
    ("swapaxes_", transpose),
    ("swapdims_", transpose),
):
    geometry_inplace(_name, _function)
geometry_inplace("as_strided_", strided_view)


def copying(name: str, function):
    """`<view>_copy`: the view's elements in memory of their own."""

    def fn(*args, out=None, **kwargs):
        from .publish import finish

        result = function(*args, **kwargs)
        return finish(tuple(clone_of(r) for r in result) if isinstance(result, tuple) else clone_of(result), out)

    fn.__name__ = fn.__qualname__ = name
    fn.__doc__ = f"A copy of what `{name.removesuffix('_copy')}` gives."
    PUBLIC[name] = fn


for _f in (
    view,
    reshape,
    permute,
    transpose,
    t,
    expand,
    squeeze,
    unsqueeze,
    select,
    narrow,
    diagonal,
    unfold,
    flatten,
    unflatten,
    ravel,
    view_as,
    reshape_as,
    expand_as,
    broadcast_to,
    movedim,
    adjoint,
    unbind,
    split,
    split_with_sizes,
    chunk,
    tensor_split,
    slice_scatter,
    select_scatter,
    diagonal_scatter,
):
    METHODS[_f.__name__] = _f
    if _f not in (view, expand, unfold, view_as, reshape_as, expand_as):
        PUBLIC[_f.__name__] = _f
for _f in (broadcast_shapes, broadcast_tensors):
    PUBLIC[_f.__name__] = _f
PUBLIC["moveaxis"] = METHODS["moveaxis"] = movedim
for _name in ("swapaxes", "swapdims"):
    PUBLIC[_name] = METHODS[_name] = transpose
PUBLIC["as_strided_scatter"] = METHODS["as_strided_scatter"] = strided_scatter
for _f in (
    view,
    expand,
    permute,
    transpose,
    t,
    squeeze,
    unsqueeze,
    select,
    narrow,
    diagonal,
    unfold,
    unbind,
    split,
    split_with_sizes,
):
    copying(_f.__name__ + "_copy", _f)
METHODS["narrow_copy"] = PUBLIC["narrow_copy"]
PUBLIC["as_strided_copy"] = lambda input, size, stride, storage_offset=None: clone_of(
    METHODS["as_strided"](input, size, stride, storage_offset)
)
PUBLIC["unsafe_chunk"] = METHODS["unsafe_chunk"] = chunk
PUBLIC["unsafe_split"] = METHODS["unsafe_split"] = split
METHODS["as_strided"] = PUBLIC["as_strided"] = strided_view

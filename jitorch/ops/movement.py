"""Moving data: concatenation, repetition, reversal, padding, sliding blocks.

Where views can say it, these are compositions of views.
"""

from __future__ import annotations

from math import prod

import numpy as np

from .. import dtypes
from ..dtypes import BOOL, FLOAT, INT, int64
from ..graph.record import Meta, contiguous_strides, count
from ..tensor import clone_of, from_array
from .dispatch import METHODS, PUBLIC, Op, apply
from .publish import finish
from .strided import as_strided, as_strided_add
from .views import at_least, expand, permute_op, reshape, sizes, slice_op, transpose_op, unsqueeze, wrap_dim


# -- concatenation ---------------------------------------------------------------------------------------------------
def cat_infer(*args):
    *metas, dim = args
    shape = list(metas[0].shape)
    for k, m in enumerate(metas[1:], 1):
        if len(m.shape) != len(shape):
            raise RuntimeError(f"Tensors must have same number of dimensions: got {len(shape)} and {len(m.shape)}")
        for d, (a, b) in enumerate(zip(shape, m.shape, strict=False)):
            if d != dim and a != b:
                raise RuntimeError(
                    f"Sizes of tensors must match except in dimension {dim}. Expected size {a} but got size {b} for "
                    f"tensor number {k} in the list."
                )
    shape[dim] = sum(m.shape[dim] for m in metas)
    return Meta(shape, dtypes.result_type(metas))


def cat_lower(b, *args):
    *values, dim = args
    out = b.out[0]
    strides, at, pieces = contiguous_strides(out.shape), 0, []
    for v in values:
        if v.numel:
            pieces.append((b.cast(v, out.dtype), strides, at * strides[dim]))
        at += v.shape[dim]
    return b.place(None if pieces else 0, out.shape, pieces, out.dtype)


def cat_vjp(ctx, g):
    dim, at, grads = ctx.attrs[0], 0, []
    for m, need in zip(ctx.metas, ctx.needs, strict=False):
        n = m.shape[dim]
        grads.append(slice_op(g, dim, at, n, 1) if need else None)
        at += n
    return tuple(grads)


cat_op = Op(
    "cat",
    infer=cat_infer,
    reference=lambda *args: np.concatenate(args[:-1], axis=args[-1]),
    lower=cat_lower,
    vjp=cat_vjp,
)


def cat(tensors, dim: int = 0, *, out=None):
    """Tensors one after another along an existing dimension. RuntimeError where other sizes differ.

    >>> import jitorch as torch
    >>> torch.cat([torch.tensor([1, 2]), torch.tensor([3])])
    tensor([1, 2, 3])
    """
    tensors = sequence("cat", tensors)
    for k, t in enumerate(tensors):
        if t.ndim == 0:
            raise RuntimeError(f"zero-dimensional tensor (at position {k}) cannot be concatenated")
    kept = [t for t in tensors if tuple(t.shape) != (0,)] or tensors[:1]
    dtype = dtypes.result_type([t._meta for t in tensors])
    dim = wrap_dim(dim, kept[0].ndim)
    if len(kept) == 1:
        result = clone_of(kept[0])
    else:
        result = apply(cat_op, tuple(kept), (dim,))
    return finish(result if result.dtype is dtype else result.to(dtype), out)


def sequence(name: str, tensors) -> list:
    if hasattr(tensors, "_meta"):
        raise TypeError(f"{name}(): argument 'tensors' (position 1) must be tuple of Tensors, not Tensor")
    tensors = list(tensors)
    for k, t in enumerate(tensors):
        if not hasattr(t, "_meta"):
            raise TypeError(f"expected Tensor as element {k} in argument 0, but got {type(t).__name__}")
    if not tensors:
        if name == "cat":
            raise ValueError("torch.cat(): expected a non-empty list of Tensors")
        raise RuntimeError(f"{name} expects a non-empty TensorList")
    return tensors


def stack(tensors, dim: int = 0, *, out=None):
    """Tensors of one shape along a new dimension. RuntimeError where shapes differ.

    >>> import jitorch as torch
    >>> torch.stack([torch.tensor([1, 2]), torch.tensor([3, 4])], dim=1)
    tensor([[1, 3],
            [2, 4]])
    """
    tensors = sequence("stack", tensors)
    shape = tensors[0].shape
    for k, t in enumerate(tensors):
        if t.shape != shape:
            raise RuntimeError(
                f"stack expects each tensor to be equal size, but got {list(shape)} at entry 0 and {list(t.shape)} at "
                f"entry {k}"
            )
    dim = wrap_dim(dim, len(shape) + 1)
    return cat([unsqueeze(t, dim) for t in tensors], dim, out=out)


def hstack(tensors, *, out=None):
    """Side by side: along the second dimension, vectors along the first."""
    tensors = [at_least(1, t) for t in sequence("hstack", tensors)]
    return cat(tensors, 0 if tensors[0].ndim == 1 else 1, out=out)


def vstack(tensors, *, out=None):
    """One below the other: along the first dimension, vectors as rows."""
    return cat([at_least(2, t) for t in sequence("vstack", tensors)], 0, out=out)


def dstack(tensors, *, out=None):
    """One behind the other: along the third dimension."""
    return cat([at_least(3, t) for t in sequence("dstack", tensors)], 2, out=out)


def column_stack(tensors, *, out=None):
    """Side by side, vectors as columns."""
    return hstack(
        [reshape(t, (t._meta.numel, 1)) if t.ndim <= 1 else t for t in sequence("column_stack", tensors)], out=out
    )


def block_diag(*tensors):
    """The matrices along the diagonal of one that is zero elsewhere."""
    mats = [at_least(2, t) for t in tensors] or [PUBLIC["zeros"](1, 0)]
    if any(m.ndim != 2 for m in mats):
        raise RuntimeError("torch.block_diag: Input tensors must have 2 or fewer dimensions.")
    columns, at, rows = sum(m.shape[1] for m in mats), 0, []
    for m in mats:
        rows.append(pad(m, (at, columns - at - m.shape[1])))
        at += m.shape[1]
    return cat(rows, 0)


# -- repetition ------------------------------------------------------------------------------------------------------
def repeat(input, *repeats):
    """Copies of the tensor side by side, `repeats[i]` along dimension i (new leading dimensions for extra numbers)."""
    repeats = sizes(repeats)
    if len(repeats) < input.ndim:
        raise RuntimeError("Number of dimensions of repeat dims can not be smaller than number of dimensions of tensor")
    if any(r < 0 for r in repeats):
        raise RuntimeError(f"Trying to create tensor with negative dimension {min(repeats)}: {list(repeats)}")
    shape = (1,) * (len(repeats) - input.ndim) + tuple(input.shape)
    split = reshape(input, [s for n in shape for s in (1, n)])
    wide = expand(split, *(s for r, n in zip(repeats, shape, strict=False) for s in (r, n)))
    return reshape(clone_of(wide), [r * n for r, n in zip(repeats, shape, strict=False)])


def tile(input, *dims):
    """As `repeat`, with missing repeats taken as 1."""
    dims = sizes(dims)
    return repeat(input, *(1,) * (input.ndim - len(dims)), *dims)


def repeat_interleave(input, repeats=None, dim: int | None = None, *, output_size: int | None = None):
    """Every element (of `dim`, or of the tensor as a vector) repeated.

    `repeats` times, or as often as a vector says.
    """
    if repeats is None:
        counts = input._array()
        if counts.ndim != 1 or input.dtype.category != INT:
            raise RuntimeError("repeat_interleave only accept 1D vector as repeat")
        return from_array(np.repeat(np.arange(len(counts)), counts))
    if dim is None:
        input, dim = reshape(input, (input._meta.numel,)), 0
    if input.ndim == 0:
        input = reshape(input, (1,))
    dim = wrap_dim(dim, input.ndim)
    n = input.shape[dim]
    if not hasattr(repeats, "_meta") and not isinstance(repeats, (list, tuple)):
        if repeats < 0:
            raise RuntimeError("Repeats must be non-negative")
        shape = list(input.shape)
        wide = expand(unsqueeze(input, dim + 1), *shape[: dim + 1], repeats, *shape[dim + 1 :])
        shape[dim] *= repeats
        return reshape(clone_of(wide), shape)
    counts = np.asarray(repeats._array() if hasattr(repeats, "_meta") else repeats)
    if counts.ndim == 0 or counts.shape == (1,):
        return repeat_interleave(input, int(counts.reshape(-1)[0]), dim)
    if counts.ndim != 1:
        raise RuntimeError("repeats must be 0-dim or 1-dim tensor")
    if len(counts) != n:
        raise RuntimeError(
            f"repeats must have the same size as input along dim, but got repeats.size(0) = {len(counts)} and "
            f"input.size({dim}) = {n}"
        )
    if counts.size and counts.min() < 0:
        raise RuntimeError("repeats can not be negative")
    from .gather import index_select

    return index_select(input, dim, from_array(np.repeat(np.arange(n), counts)))


# -- order -----------------------------------------------------------------------------------------------------------
def flip_lower(b, x, dims):
    """A copy of a view with negative strides, so that nothing but kernels that run along it meets those."""
    strides = contiguous_strides(x.shape)
    if not x.numel:
        return b.map("copy", x)
    last = sum((x.shape[d] - 1) * strides[d] for d in dims)
    return b.map("copy", b.strided(x, x.shape, [-s if d in dims else s for d, s in enumerate(strides)], last))


flip_op = Op(
    "flip",
    infer=lambda m, dims: Meta(m.shape, m.dtype),
    reference=lambda x, dims: np.flip(x, dims),
    lower=flip_lower,
    vjp=lambda ctx, g: (apply(ctx.op, (g,), ctx.attrs),),
)


def flip(input, *args, dims=None):
    """The order of elements reversed along `dims` (a copy)."""
    dims = tuple(wrap_dim(d, input.ndim) for d in sizes(args if dims is None else (dims,)))
    if len(set(dims)) != len(dims):
        raise RuntimeError(
            f"dim {next(d for d in dims if dims.count(d) > 1)} appears multiple times in the list of dims"
        )
    return apply(flip_op, (input,), (dims if input.ndim else (),))


def fliplr(input):
    """Columns reversed. RuntimeError for fewer than two dimensions."""
    if input.ndim < 2:
        raise RuntimeError("Input must be >= 2-d.")
    return flip(input, 1)


def flipud(input):
    """Rows reversed. RuntimeError for a 0-d tensor."""
    if input.ndim < 1:
        raise RuntimeError("Input must be >= 1-d.")
    return flip(input, 0)


def roll(input, shifts, dims=None):
    """Elements moved along `dims` by `shifts`, those that leave at one end coming in at the other."""
    shifts = (shifts,) if isinstance(shifts, int) else tuple(shifts)
    dims = () if dims is None else (dims,) if isinstance(dims, int) else tuple(dims)
    if not shifts:
        raise RuntimeError("`shifts` required")
    if not dims:
        if len(shifts) > 1:
            raise RuntimeError(f"shifts and dimensions must align. shifts: {len(shifts)}, dims:0")
        return reshape(roll(reshape(input, (input._meta.numel,)), shifts, 0), input.shape)
    if len(shifts) != len(dims):
        raise RuntimeError(f"shifts and dimensions must align. shifts: {len(shifts)}, dims:{len(dims)}")
    result = input
    for shift, dim in zip(shifts, dims, strict=False):
        if not input.ndim:
            raise IndexError(f"Dimension specified as {dim} but tensor has no dimensions")
        dim = wrap_dim(dim, input.ndim)
        n = input.shape[dim] if input.ndim else 1
        k = shift % n if n else 0
        if k:
            result = cat([slice_op(result, dim, n - k, k, 1), slice_op(result, dim, 0, n - k, 1)], dim)
    return clone_of(input) if result is input else result


def rot90(input, k: int = 1, dims=(0, 1)):
    """Rotated by k quarter turns in the plane of two dimensions, from the first to the second."""
    dims = tuple(dims)
    if len(dims) != 2:
        raise RuntimeError(f"expected total rotation dims == 2, but got dims = {len(dims)}")
    if input.ndim < 2:
        raise RuntimeError(f"expected total dims >= 2, but got total dims = {input.ndim}")
    a, b = (wrap_dim(d, input.ndim) for d in dims)
    if a == b:
        raise RuntimeError(f"expected rotation dims to be different, but got dim0 = {dims[0]} and dim1 = {dims[1]}")
    k %= 4
    if k == 0:
        return clone_of(input)
    if k == 2:
        return flip(input, a, b)
    return clone_of(transpose_op(flip(input, b), a, b)) if k == 1 else clone_of(transpose_op(flip(input, a), a, b))


# -- padding ---------------------------------------------------------------------------------------------------------
# widths: ((before, after), ...), one pair a dimension


def padded_shape(shape, widths) -> tuple[int, ...]:
    return tuple(n + a + b for n, (a, b) in zip(shape, widths, strict=False))


def constant_pad_lower(b, x, value, widths):
    shape = padded_shape(x.shape, widths)
    strides = contiguous_strides(shape)
    offset = sum(a * s for (a, _), s in zip(widths, strides, strict=False))
    base = b.full(shape, b.cast(value, x.dtype), x.dtype) if hasattr(value, "kind") else value
    return b.place(base, shape, [(x, strides, offset)], x.dtype) if x.numel else b.full(shape, value, x.dtype)


def inner_part(g, widths, shape):
    """The part of a padded tensor that the input became."""
    for d, ((a, _), n) in enumerate(zip(widths, shape, strict=False)):
        if g.shape[d] != n:
            g = slice_op(g, d, a, n, 1)
    return g


constant_pad_op = Op(
    "constant_pad_nd",
    infer=lambda m, value, widths: Meta(padded_shape(m.shape, widths), m.dtype),
    reference=lambda x, value, widths: np.pad(x, widths, constant_values=value),
    lower=constant_pad_lower,
    vjp=lambda ctx, g: (inner_part(g, ctx.attrs[0], ctx.metas[0].shape), None),
)

MODES = ("reflect", "replicate", "circular")


def source_index(n: int, before: int, after: int, mode: str) -> np.ndarray:
    """Where each element of a padded axis comes from (negative numbers cut off)."""
    i = np.arange(n + before + after) - before
    return (
        np.clip(i, 0, n - 1)
        if mode == "replicate"
        else i % n
        if mode == "circular"
        else (n - 1) - abs((n - 1) - abs(i))
    )


def pad_reference(x, widths, mode):
    for d, (before, after) in enumerate(widths):
        if before or after:
            x = np.take(x, source_index(x.shape[d], before, after, mode), axis=d)
    return x


def pad_linear(b, shape, widths, mode: str):
    """The linear indices (IR) into the unpadded tensor."""
    out, strides, linear = padded_shape(shape, widths), contiguous_strides(shape), None
    for d, (n, s, (before, after)) in enumerate(zip(shape, strides, widths, strict=False)):
        if n == 1:
            continue
        i = b.iota([out[d] if e == d else 1 for e in range(len(shape))], d)
        if before or after:
            i = i - before
            if mode == "replicate":
                i = b.map("minimum", b.map("maximum", i, 0), n - 1)
            elif mode == "circular":
                i = b.map("remainder", i, n)
            else:
                i = b.map("abs", i)
                i = (n - 1) - b.map("abs", (n - 1) - i)
        term = i * s
        linear = term if linear is None else linear + term
    if linear is None:
        linear = b.const(0, int64)
    return b.expand(linear, out)


def pad_backward_reference(g, shape, widths, mode):
    for d, (n, (before, after)) in enumerate(zip(shape, widths, strict=False)):
        if before or after:
            small = np.zeros((*g.shape[:d], n, *g.shape[d + 1 :]), g.dtype)
            np.add.at(np.moveaxis(small, d, 0), source_index(n, before, after, mode), np.moveaxis(g, d, 0))
            g = small
    return g


def pad_vjp(ctx, g):
    return (apply(pad_backward_op, (g,), (tuple(ctx.metas[0].shape), *ctx.attrs)),)


pad_op = Op(
    "pad",
    infer=lambda m, widths, mode: Meta(padded_shape(m.shape, widths), m.dtype),
    reference=pad_reference,
    lower=lambda b, x, widths, mode: b.take(x, pad_linear(b, x.shape, widths, mode)),
    vjp=pad_vjp,
)
pad_backward_op = Op(
    "pad_backward",
    infer=lambda g, shape, widths, mode: Meta(shape, g.dtype),
    reference=pad_backward_reference,
    lower=lambda b, g, shape, widths, mode: b.scatter(
        "add", b.full(shape, 0, g.dtype), pad_linear(b, shape, widths, mode), g
    ),
    vjp=lambda ctx, g: (apply(pad_op, (g,), ctx.attrs[1:]),),
)


def cropped(input, widths):
    """(input without what negative widths cut off, the widths that are left)."""
    for d, (a, b) in enumerate(widths):
        if a < 0 or b < 0:
            n = input.shape[d]
            input = slice_op(input, d, max(-a, 0), n + min(a, 0) + min(b, 0), 1)
    return input, tuple((max(a, 0), max(b, 0)) for a, b in widths)


def pad(input, pad, mode: str = "constant", value=None):
    """Padded at both ends of the last len(pad) / 2 dimensions; `pad` lists (before, after) from the last dimension on.

    mode: "constant" (with `value`, 0 unless given; negative numbers crop), "reflect", "replicate" or "circular".
    Raises RuntimeError or NotImplementedError where PyTorch does.

    >>> import jitorch as torch
    >>> torch.nn.functional.pad(torch.tensor([[1, 2]]), (1, 0, 0, 1))
    tensor([[0, 1, 2],
            [0, 0, 0]])
    """
    pad = tuple(int(p) for p in pad)
    n = len(pad) // 2
    if len(pad) % 2:
        raise RuntimeError("Padding length must be divisible by 2")
    if n > input.ndim:
        raise RuntimeError(
            "Padding length should be less than or equal to two times the input dimension but got padding length "
            f"{len(pad)} and input of dimension {input.ndim}"
        )
    pairs = tuple((pad[2 * i], pad[2 * i + 1]) for i in range(n))
    widths = ((0, 0),) * (input.ndim - n) + pairs[::-1]
    if mode == "constant":
        shape = padded_shape(input.shape, widths)
        if any(s < 0 for s in shape):
            d = next(i for i, s in enumerate(shape) if s < 0)
            raise RuntimeError(
                f"The input size {input.shape[d]}, plus negative padding {widths[d][0]} and {widths[d][1]} resulted in "
                f"a negative output size, which is invalid. Check dimension {d} of your input."
            )
        inside, widths = cropped(input, widths)
        value = 0 if value is None else value
        if input.dtype.category == BOOL:
            value = bool(value)
        elif input.dtype.category == INT:
            value = int(value)
        return apply(constant_pad_op, (inside, float(value) if input.dtype.category == FLOAT else value), (widths,))
    if value is not None and value != 0:
        raise ValueError(f'Padding mode "{mode}" doesn\'t take in value argument')
    if mode not in MODES:
        raise NotImplementedError(f"Unrecognised padding mode {mode}")
    if not (n and n <= 3 and input.ndim in (n + 1, n + 2)):
        raise NotImplementedError("Only 2D, 3D, 4D, 5D padding with non-constant padding are supported for now")
    for d, (a, b) in enumerate(widths):
        size = input.shape[d]
        if mode == "reflect" and (a >= size or b >= size) and (a or b):
            raise RuntimeError(
                "Argument #4: Padding size should be less than the corresponding input dimension, but got: padding "
                f"({a}, {b}) at dimension {d} of input {list(input.shape)}"
            )
        if mode == "circular" and (a > size or b > size):
            raise RuntimeError("Padding value causes wrapping around more than once.")
        if (a or b) and size == 0:
            raise RuntimeError(
                f"Expected {n + 1}D or {n + 2}D (batch mode) tensor with possibly 0 batch size and other non-zero "
                f"dimensions for input, but got: {list(input.shape)}"
            )
        if size + a + b < 0 or (size + a + b == 0 and size):
            raise RuntimeError(f"input (size {size}) is too small for padding ({a}, {b}) at dimension {d}")
    inside, widths = cropped(input, widths) if mode == "circular" else (input, widths)
    return apply(pad_op, (inside,), (widths, mode))


# -- sliding blocks --------------------------------------------------------------------------------------------------
def pair(value) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else (int(value[0]), int(value[-1]))


def blocks(size, kernel, dilation, padding, stride) -> tuple[int, int]:
    return tuple(
        (n + 2 * p - d * (k - 1) - 1) // s + 1
        for n, k, d, p, s in zip(size, kernel, dilation, padding, stride, strict=False)
    )


def unfold_blocks(input, kernel_size, dilation=1, padding=0, stride=1):
    """Sliding blocks as columns: (N, C, H, W) to (N, C * KH * KW, blocks), as `torch.nn.functional.unfold`."""
    kernel, dilation, padding, stride = pair(kernel_size), pair(dilation), pair(padding), pair(stride)
    if input.ndim not in (3, 4):
        raise RuntimeError(
            "Expected 3D or 4D (batch mode) tensor with possibly 0 batch size and other non-zero dimensions for "
            f"input, but got: {list(input.shape)}"
        )
    x = input if input.ndim == 4 else unsqueeze(input, 0)
    out = blocks(x.shape[2:], kernel, dilation, padding, stride)
    if min(out) < 1:
        raise RuntimeError(
            f"Given input with spatial size {list(x.shape[2:])}, kernel_size={list(kernel)}, "
            f"dilation={list(dilation)}, padding={list(padding)}, stride={list(stride)}, calculated shape of the array "
            f"of sliding blocks as {list(out)}, but its components must be at least one."
        )
    if any(padding):
        x = pad(x, (padding[1], padding[1], padding[0], padding[0]))
    view = as_strided(
        x.contiguous(), *block_geometry(x.shape, kernel, out, dilation, stride), x.contiguous()._meta.offset
    )
    result = reshape(view, (x.shape[0], x.shape[1] * prod(kernel), prod(out)))
    return result if input.ndim == 4 else reshape(result, result.shape[1:])


def block_geometry(shape, kernel, out, dilation, stride):
    """(shape, strides) of the blocks of a contiguous (N, C, H, W) tensor: (N, C, KH, KW, OH, OW)."""
    n, c, _, w = shape
    strides = contiguous_strides(shape)
    return ((n, c, *kernel, *out), (strides[0], strides[1], dilation[0] * w, dilation[1], stride[0] * w, stride[1]))


def fold(input, output_size, kernel_size, dilation=1, padding=0, stride=1):
    """The sum of overlapping blocks: (N, C * KH * KW, blocks) to (N, C, H, W), as `torch.nn.functional.fold`."""
    size, kernel, dilation, padding, stride = (pair(v) for v in (output_size, kernel_size, dilation, padding, stride))
    if input.ndim not in (2, 3):
        raise RuntimeError(
            "Expected 2D or 3D (batch mode) tensor for input with possibly 0 batch size and non-zero dimensions for "
            f"input, but got: {list(input.shape)}"
        )
    x = input if input.ndim == 3 else unsqueeze(input, 0)
    out = blocks(size, kernel, dilation, padding, stride)
    if x.shape[1] % prod(kernel):
        raise RuntimeError(
            "Expected size of input's dimension 1 to be divisible by the product of kernel_size, but got input.size(1)="
            f"{x.shape[1]} and kernel_size=({kernel[0]}, {kernel[1]})."
        )
    if x.shape[2] != prod(out):
        raise RuntimeError(
            f"Given output_size=({size[0]}, {size[1]}), kernel_size=({kernel[0]}, {kernel[1]}), "
            f"dilation=({dilation[0]}, {dilation[1]}), padding=({padding[0]}, {padding[1]}), stride=({stride[0]}, "
            f"{stride[1]}), expected size of input's dimension 2 to match the calculated number of sliding blocks "
            f"{out[0]} * {out[1]} = {prod(out)}, but got input.size(2)={x.shape[2]}."
        )
    c = x.shape[1] // prod(kernel)
    shape = (x.shape[0], c, *(n + 2 * p for n, p in zip(size, padding, strict=False)))
    geometry = block_geometry(shape, kernel, out, dilation, stride)
    zeros = PUBLIC["zeros"](shape, dtype=x.dtype)
    result = apply(as_strided_add, (zeros, reshape(x, geometry[0])), (*geometry, 0))
    if any(padding):
        result = pad(result, (-padding[1], -padding[1], -padding[0], -padding[0]))
    return result if input.ndim == 3 else reshape(result, result.shape[1:])


def pixel_shuffle(input, upscale_factor: int):
    """(..., C * r * r, H, W) to (..., C, H * r, W * r)."""
    r = upscale_factor
    *lead, c, h, w = input.shape
    if c % (r * r):
        raise RuntimeError(
            "pixel_shuffle expects its input's 'channel' dimension to be divisible by the square of upscale_factor, "
            f"but input.size(-3)={c} is not divisible by {r * r}"
        )
    x = reshape(input, (count(lead), c // (r * r), r, r, h, w))
    return reshape(permute_op(x, (0, 1, 4, 2, 5, 3)), (*lead, c // (r * r), h * r, w * r))


def pixel_unshuffle(input, downscale_factor: int):
    """(..., C, H * r, W * r) to (..., C * r * r, H, W)."""
    r = downscale_factor
    *lead, c, h, w = input.shape
    if h % r or w % r:
        raise RuntimeError(
            f"pixel_unshuffle expects height to be divisible by downscale_factor, but input.size(-2)={h} is not "
            f"divisible by {r}"
            if h % r
            else "pixel_unshuffle expects width to be divisible by downscale_factor, "
            f"but input.size(-1)={w} is not divisible by {r}"
        )
    x = reshape(input, (count(lead), c, h // r, r, w // r, r))
    return reshape(permute_op(x, (0, 1, 3, 5, 2, 4)), (*lead, c * r * r, h // r, w // r))


def channel_shuffle(input, groups: int):
    """Channels (N, g * k, ...) taken from the groups in turn."""
    n, c, *rest = input.shape
    if c % groups:
        raise RuntimeError(f"Number of channels must be divisible by groups. Got {c} channels and {groups} groups.")
    x = reshape(input, (n, groups, c // groups, *rest))
    return clone_of(reshape(transpose_op(x, 1, 2), input.shape))


def meshgrid(*tensors, indexing: str = "ij"):
    """Vectors broadcast against each other, one result for each, as views."""
    if len(tensors) == 1 and isinstance(tensors[0], (list, tuple)):
        tensors = tuple(tensors[0])
    if indexing not in ("ij", "xy"):
        raise RuntimeError(f'torch.meshgrid: indexing must be one of "xy" or "ij", but received: {indexing}')
    if any(t.ndim > 1 for t in tensors):
        raise RuntimeError(
            "torch.meshgrid: Expected 0D or 1D tensor in the tensor list but got: "
            f"{next(list(t.shape) for t in tensors if t.ndim > 1)}"
        )
    swap = indexing == "xy" and len(tensors) >= 2
    given = (tensors[1], tensors[0], *tensors[2:]) if swap else tensors
    shape = [t._meta.numel for t in given]
    grids = [expand(reshape(t, [-1 if j == i else 1 for j in range(len(given))]), *shape) for i, t in enumerate(given)]
    if swap:
        grids[0], grids[1] = grids[1], grids[0]
    return tuple(grids)


def cartesian_prod(*tensors):
    """All combinations of the elements of vectors, one row each."""
    if len(tensors) == 1:
        return tensors[0]
    return stack([reshape(g, (g._meta.numel,)) for g in meshgrid(*tensors)], 1)


for _f in (
    cat,
    stack,
    hstack,
    vstack,
    dstack,
    column_stack,
    block_diag,
    tile,
    repeat_interleave,
    flip,
    fliplr,
    flipud,
    roll,
    rot90,
    pixel_shuffle,
    pixel_unshuffle,
    channel_shuffle,
    meshgrid,
    cartesian_prod,
):
    PUBLIC[_f.__name__] = _f
for _f in (repeat, tile, repeat_interleave, flip, fliplr, flipud, roll, rot90):
    METHODS[_f.__name__] = _f
PUBLIC["concat"] = PUBLIC["concatenate"] = cat
PUBLIC["row_stack"] = vstack
PUBLIC["constant_pad_nd"] = lambda input, pad_widths, value=0: pad(input, pad_widths, "constant", value)

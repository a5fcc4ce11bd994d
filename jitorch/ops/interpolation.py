"""Other resolutions: interpolation, and sampling at given places."""

from __future__ import annotations

from math import prod

import numpy as np

from ..dtypes import int64
from ..tensor import from_array
from .dispatch import PUBLIC
from .gather import gather, index_select
from .pooling import adaptive_avg_pool
from .views import reshape

# -- other resolutions -----------------------------------------------------------------------------------------------
LINEAR_MODES = {"linear": 1, "bilinear": 2, "trilinear": 3, "bicubic": 2}


def interpolate(
    input,
    size=None,
    scale_factor=None,
    mode: str = "nearest",
    align_corners: bool | None = None,
    recompute_scale_factor: bool | None = None,
    antialias: bool = False,
):
    """Resampled to `size`, or by `scale_factor`.

    mode: "nearest", "nearest-exact", "linear", "bilinear", "trilinear", "bicubic" or "area".
    antialias: widen the filter where the result is smaller ("bilinear" and "bicubic").
    Raises ValueError or NotImplementedError as PyTorch does.

    >>> import jitorch as torch
    >>> torch.nn.functional.interpolate(torch.zeros(1, 3, 4, 4), scale_factor=2).shape
    torch.Size([1, 3, 8, 8])
    """
    n = input.ndim - 2
    if antialias and not (mode in ("bilinear", "bicubic") and n == 2):
        raise ValueError("Anti-alias option is restricted to bilinear and bicubic modes and requires a 4-D tensor as input")
    if align_corners is not None and mode in ("nearest", "nearest-exact", "area"):
        raise ValueError(
            "align_corners option can only be set with the interpolating modes: linear | bilinear | bicubic | trilinear"
        )
    if (size is None) == (scale_factor is None):
        raise ValueError(
            "only one of size or scale_factor should be defined"
            if size is not None
            else "either size or scale_factor should be defined"
        )
    if mode in LINEAR_MODES and LINEAR_MODES[mode] != n:
        raise NotImplementedError(f"Got {input.ndim}D input, but {mode} mode needs {LINEAR_MODES[mode] + 2}D input")
    if mode not in (*LINEAR_MODES, "nearest", "nearest-exact", "area"):
        raise NotImplementedError(
            "Input Error: Only 3D, 4D and 5D input Tensors supported (got {}D) for the modes: nearest | linear | "
            "bilinear | bicubic | trilinear | area | "
            f"nearest-exact (got {mode})".format(input.ndim)
        )
    if not 1 <= n <= 3:
        raise NotImplementedError(
            f"Input Error: Only 3D, 4D and 5D input Tensors supported (got {input.ndim}D) for the modes: nearest | linear | bilinear | bicubic | trilinear "
            f"| area | nearest-exact (got {mode})"
        )
    sizes = input.shape[2:]
    if size is not None:
        out = (int(size),) * n if isinstance(size, int) else tuple(int(s) for s in size)
        if len(out) != n:
            raise ValueError(
                "Input and output must have the same number of spatial dimensions, but got input with spatial "
                f"dimensions of {list(sizes)} and output size of {list(out)}. Please provide input tensor in (N, C, "
                "d1, d2, ...,dK) format and output size in (o1, o2, ...,oK) format."
            )
        scales: list = [None] * n
    else:
        factors = (
            [float(scale_factor)] * n if isinstance(scale_factor, (int, float)) else [float(f) for f in scale_factor]
        )
        out = tuple(int(np.floor(m * f)) for m, f in zip(sizes, factors, strict=False))
        scales = [None] * n if recompute_scale_factor else list(factors)
    if mode == "area":
        return adaptive_avg_pool("area", n, input, out)
    x = input
    for i, (m, o, f) in enumerate(zip(sizes, out, scales, strict=False)):
        if m == o and (f is None or f == 1.0 or mode in ("nearest", "nearest-exact")) and (f is None or f == 1.0):
            continue
        x = (smoothed if antialias else resampled)(x, 2 + i, m, o, f, mode, bool(align_corners))
    return x if x is not input else input.clone()


def resampled(x, dim: int, m: int, o: int, factor, mode: str, corners: bool):
    """One dimension of m elements resampled to o."""
    real = np.float32 if x.dtype.itemsize == 4 else np.float64
    scale = real(1 / factor) if factor else real(m) / real(o)
    i = np.arange(o).astype(real)
    if mode in ("nearest", "nearest-exact"):
        at = i * np.float32(scale) if mode == "nearest" else (i + real(0.5)) * np.float32(scale)
        return picked_at(x, dim, np.minimum(np.floor(at), m - 1))
    if corners:
        at = i * (real(m - 1) / real(o - 1) if o > 1 else real(0))
    else:
        at = scale * (i + real(0.5)) - real(0.5)
        if mode != "bicubic":
            at = np.maximum(at, 0)
    low = np.floor(at)
    t = (at - low).astype(x.dtype.np)
    if mode == "bicubic":
        taps = [(k, w) for k, w in zip((-1, 0, 1, 2), cubic_weights(t), strict=False)]
    else:
        taps = [(0, 1 - t), (1, t)]
    total = None
    for k, w in taps:
        part = picked_at(x, dim, np.clip(low + k, 0, m - 1)) * from_array(
            np.ascontiguousarray(w, x.dtype.np).reshape(-1, *(1,) * (x.ndim - dim - 1))
        )
        total = part if total is None else total + part
    return total


def smoothed(x, dim: int, m: int, o: int, factor, mode: str, corners: bool):
    """One dimension of m elements resampled to o by a filter as wide as a step of the result (as Pillow, and PyTorch, resize images)."""
    from .contraction import matmul

    scale = ((m - 1) / (o - 1) if o > 1 else 0.0) if corners else 1 / factor if factor else m / o
    stretch = max(scale, 1.0)
    reach = (1 if mode == "bilinear" else 2) * stretch
    center = scale * (np.arange(o)[:, None] + 0.5)
    first, last = np.maximum(np.floor(center - reach + 0.5), 0), np.minimum(np.floor(center + reach + 0.5), m)
    place = np.arange(m)[None, :]
    d = np.abs(place - center + 0.5) / stretch
    if mode == "bilinear":
        weights = np.maximum(1 - d, 0)
    else:       # Keys' cubic convolution with a = -0.5
        weights = np.where(d < 1, (1.5 * d - 2.5) * d * d + 1, np.where(d < 2, ((-0.5 * d + 2.5) * d - 4) * d + 2, 0))
    weights = np.where((place >= first) & (place < last), weights, 0)
    weights = from_array(np.ascontiguousarray((weights / weights.sum(1, keepdims=True)).T.astype(x.dtype.np)))
    return matmul(x.transpose(dim, -1), weights).transpose(dim, -1)


def cubic_weights(t):
    """Keys' cubic convolution with a = -0.75, at distances 1 + t, t, 1 - t, 2 - t."""
    a = -0.75

    def near(d):
        return ((a + 2) * d - (a + 3)) * d * d + 1

    def far(d):
        return ((a * d - 5 * a) * d + 8 * a) * d - 4 * a

    return far(1 + t), near(t), near(1 - t), far(2 - t)


def picked_at(x, dim: int, index: np.ndarray):
    return index_select(x, dim, from_array(index.astype(np.int64)))


# -- sampling at given places ----------------------------------------------------------------------------------------
def affine_grid(theta, size, align_corners: bool = False):
    """The places, for `grid_sample`, at which an affine map of the output samples its input.

    theta: (N, 2, 3) with size (N, C, H, W), giving (N, H, W, 2); or (N, 3, 4) with size (N, C, D, H, W).
    """
    n = len(size) - 2
    if n not in (2, 3) or theta.ndim != 3 or tuple(theta.shape[1:]) != (n, n + 1):
        raise ValueError(
            f"Expected a batch of 2D affine matrices of shape Nx2x3 for size {list(size)}. Got {list(theta.shape)}."
        )
    out = tuple(int(s) for s in size[2:])
    axes = []
    for i in reversed(range(n)):
        m = out[i]
        line = np.linspace(-1, 1, m) if m > 1 else np.zeros(1)
        line = line if align_corners or m == 1 else line * (m - 1) / m
        axes.append(np.broadcast_to(line.reshape([-1 if j == i else 1 for j in range(n)]), out))
    base = from_array(np.stack([*axes, np.ones(out)], -1).reshape(1, -1, n + 1).astype(theta.dtype.np))
    return reshape(base @ theta.transpose(1, 2), (theta.shape[0], *out, n))


PADDING_MODES = ("zeros", "border", "reflection")


def grid_sample(input, grid, mode: str = "bilinear", padding_mode: str = "zeros", align_corners: bool | None = None):
    """Input (N, C, H, W) sampled at the places of grid (N, HO, WO, 2), x before y, each from -1 to 1; or one dimension more.

    mode: "bilinear", "nearest" or "bicubic". padding_mode: what is seen outside: "zeros", "border" or "reflection".
    Gradients go to both (to the grid not where "nearest"). "bicubic" is for four dimensions alone.
    """
    n = input.ndim - 2
    if mode not in ("bilinear", "nearest", "bicubic"):
        raise ValueError(
            f"nn.functional.grid_sample(): expected mode to be 'bilinear', 'nearest' or 'bicubic', but got: '{mode}'"
        )
    if padding_mode not in PADDING_MODES:
        raise ValueError(
            "nn.functional.grid_sample(): expected padding_mode to be 'zeros', 'border', or 'reflection', "
            f"but got: '{padding_mode}'"
        )
    if n not in (2, 3) or grid.ndim != input.ndim or grid.shape[-1] != n or grid.shape[0] != input.shape[0]:
        raise RuntimeError(
            f"grid_sampler(): expected grid to have size {n} in last dimension and input's batch size, "
            f"but got input of size {list(input.shape)} and grid of size {list(grid.shape)}"
        )
    sizes = input.shape[2:]
    corners = bool(align_corners)
    places = [place_of(grid[..., n - 1 - i], m, corners) for i, m in enumerate(sizes)]
    if mode == "bicubic":
        return cubically_sampled(input, places, padding_mode, corners)
    places = [brought_inside(p, m, padding_mode, corners) for p, m in zip(places, sizes, strict=True)]
    if mode == "nearest":
        return sampled(input, [p.detach().round() for p in places], None)
    low = [p.detach().floor() for p in places]
    total = None
    for corner in np.ndindex(*(2,) * n):
        weight = None
        for p, start, up in zip(places, low, corner, strict=True):
            w = p - start if up else 1 - (p - start)
            weight = w if weight is None else weight * w
        part = sampled(input, [start + up for start, up in zip(low, corner, strict=True)], weight)
        total = part if total is None else total + part
    return total


def cubically_sampled(input, places, padding_mode: str, corners: bool):
    """The sum over four by four elements around each place."""
    if input.ndim != 4:
        raise RuntimeError("grid_sampler(): bicubic interpolation only supports 4D input")
    low = [p.detach().floor() for p in places]
    weights = [cubic_weights(p - start) for p, start in zip(places, low, strict=True)]
    total = None
    for taps in np.ndindex(4, 4):
        at = [
            brought_inside(start + (tap - 1), m, padding_mode, corners)
            for start, tap, m in zip(low, taps, input.shape[2:], strict=True)
        ]
        part = sampled(input, at, weights[0][taps[0]] * weights[1][taps[1]])
        total = part if total is None else total + part
    return total


def place_of(x, m: int, corners: bool):
    """Coordinates from -1 to 1 as places along an axis of m elements."""
    return (x + 1) * ((m - 1) / 2) if corners else ((x + 1) * m - 1) / 2


def brought_inside(x, m: int, padding_mode: str, corners: bool):
    """Places outside an axis of m elements clamped or reflected into it."""
    if padding_mode == "zeros":
        return x
    if padding_mode == "reflection":
        low, span = (0.0, m - 1.0) if corners else (-0.5, float(m))
        if span == 0:
            return x * 0
        x = (x - low).abs()
        turns = (x.detach() / span).floor()
        rest = x - turns * span
        x = PUBLIC["where"](turns.remainder(2) == 0, rest + low, span - rest + low)
    return x.clamp(0, m - 1)


def sampled(input, at, weight):
    """(N, C, ...) picked at whole places, one tensor a dimension; outside is zero; times weight."""
    n, c, *sizes = input.shape
    out = at[0].shape[1:]
    inside, flat = None, None
    for p, m in zip(at, sizes, strict=True):
        ok = (p >= 0) & (p <= m - 1)
        inside = ok if inside is None else inside & ok
        i = p.clamp(0, m - 1).to(int64)
        flat = i if flat is None else flat * m + i
    index = reshape(flat, (n, 1, prod(out))).expand(n, c, prod(out))
    picked = reshape(gather(reshape(input, (n, c, prod(sizes))), 2, index), (n, c, *out))
    factor = inside.to(input.dtype) if weight is None else weight * inside.to(input.dtype)
    return picked * reshape(factor, (n, 1, *out))


def upsample_nearest(input, size=None, scale_factor=None):
    """As `interpolate` with mode "nearest"."""
    return interpolate(input, size, scale_factor)


def upsample_bilinear(input, size=None, scale_factor=None):
    """As `interpolate` with mode "bilinear" and align_corners."""
    return interpolate(input, size, scale_factor, "bilinear", True)


def upsample(input, size=None, scale_factor=None, mode: str = "nearest", align_corners: bool | None = None):
    """As `interpolate`."""
    return interpolate(input, size, scale_factor, mode, align_corners)

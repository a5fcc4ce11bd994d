"""Discrete Fourier transforms: three entries (complex to complex, real to half complex, half complex to real), and what
`jitorch.fft` makes of them. SciPy's pocketfft computes them, in the precision of the operand.
"""

from __future__ import annotations

import math

import numpy as np

from .. import dtypes
from ..dtypes import FLOAT
from ..graph.record import Meta
from ..tensor import from_array
from .complex import conj, conj_op
from .dispatch import METHODS, PUBLIC, Op, apply
from .movement import pad, roll
from .publish import finish, needs_tensor
from .strided import as_strided_add
from .views import narrow, reshape, slice_op, transpose_op, wrap_dim

FFT: dict = {}  # what jitorch.fft holds


def transform(name: str, *args, **kwargs):
    import scipy.fft

    return getattr(scipy.fft, name)(*args, **kwargs)


# -- the entries: attributes are (dims, scale) and more; scale multiplies the plain sums ------------------------------------
def c2c_reference(x, dims, scale, forward):
    # "forward" and "backward" both leave one direction as it is: that is the plain sum
    y = transform("fftn", x, axes=dims, norm="backward") if forward else transform("ifftn", x, axes=dims, norm="forward")
    return y if scale == 1 else y * y.real.dtype.type(scale)


c2c_op = Op(
    "_fft_c2c",
    infer=lambda m, dims, scale, forward: Meta(m.shape, m.dtype),
    reference=c2c_reference,
    vjp=lambda c, g: (apply(c.op, (g,), c.attrs),),  # the matrix is its own transpose
    grad_name="FftC2CBackward0",
)


def r2c_infer(m, dims, scale):
    shape = list(m.shape)
    shape[dims[-1]] = shape[dims[-1]] // 2 + 1
    return Meta(shape, m.dtype.to_complex())


def r2c_vjp(c, g):
    dims, scale = c.attrs
    d, shape = dims[-1], c.metas[0].shape
    g = widened(g, d, shape[d])
    return (apply(c2c_op, (g,), (dims, scale, True)),)


r2c_op = Op(
    "_fft_r2c",
    infer=r2c_infer,
    reference=lambda x, dims, scale: (y := transform("rfftn", x, axes=dims)) * y.real.dtype.type(scale),
    vjp=r2c_vjp,
    grad_name="FftR2CBackward0",
)


def c2r_infer(m, dims, scale, n):
    shape = list(m.shape)
    shape[dims[-1]] = n
    return Meta(shape, m.dtype.to_real())


def c2r_reference(x, dims, scale, n):
    y = transform("irfftn", x, [*(x.shape[d] for d in dims[:-1]), n], axes=dims, norm="forward")
    return y * y.dtype.type(scale)


def c2r_vjp(c, g):
    """The half that is left out is the conjugate of the other: what it would get goes there."""
    dims, scale, n = c.attrs
    d = dims[-1]
    full = apply(r2c_op, (g,), (dims, scale))
    half = full.shape[d]
    twice = np.ones(half, c.metas[0].dtype.to_real().np)
    twice[1 : 1 + n - half] = 2
    factor = from_array(twice).reshape([-1 if i == d else 1 for i in range(full.ndim)])
    return (full * factor,)


c2r_op = Op("_fft_c2r", infer=c2r_infer, reference=c2r_reference, vjp=c2r_vjp, grad_name="FftC2RBackward0")


# -- arguments ---------------------------------------------------------------------------------------------------------
def widened(x, dim: int, n: int):
    """x cut or filled with zeros to n elements along a dimension."""
    have = x.shape[dim]
    if n < have:
        return slice_op(x, dim, 0, n, 1)
    return pad(x, (*(0, 0) * (x.ndim - 1 - dim), 0, n - have)) if n > have else x


def floats(name: str, x, want_complex: bool):
    """The operand in a dtype that transforms have. RuntimeError for half precision, and for complex where real is due."""
    needs_tensor(name, input=x)
    if x.dtype.category < FLOAT:
        x = x.to(dtypes.get_default_dtype())
    if x.dtype in dtypes.HALVES:
        raise RuntimeError(f"Unsupported dtype {x.dtype.label}")
    if not want_complex and x.dtype.is_complex:
        raise RuntimeError(f"{name} expects a real input tensor, but got {x.dtype.label}")
    return x.to(x.dtype.to_complex()) if want_complex else x


def dims_and_sizes(name: str, x, s, dim, half: bool = False) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Dimensions to transform and the number of points along each; of half complex input the last counts all points."""
    if isinstance(dim, int):
        dim = (dim,)
    if isinstance(s, int):
        s = (s,)
    if s is not None and dim is not None and len(s) != len(dim):
        raise RuntimeError("When given, dim and shape arguments must have the same length")
    if s is not None and len(s) > x.ndim:
        raise RuntimeError(f"Got shape with {len(s)} values but input tensor only has {x.ndim} dimensions.")
    dims = tuple(range(x.ndim if s is None else len(s))) if dim is None else tuple(dim)
    if dim is None and s is not None:
        dims = tuple(range(x.ndim - len(s), x.ndim))
    dims = tuple(wrap_dim(d, x.ndim) for d in dims)
    if len(set(dims)) != len(dims):
        raise RuntimeError("FFT dims must be unique")
    if half and not dims:
        raise RuntimeError(f"{name} must transform at least one axis")
    if s is None or len(s) == 0:
        s = (-1,) * len(dims)
    sizes = [x.shape[d] if n == -1 else n for d, n in zip(dims, s, strict=True)]
    if half and s[-1] == -1:
        sizes[-1] = 2 * (x.shape[dims[-1]] - 1)
    for n in sizes:
        if n < 1:
            raise RuntimeError(f"Invalid number of data points ({n}) specified")
    return dims, tuple(sizes)


def factor(norm: str | None, sizes, forward: bool) -> float:
    n = math.prod(sizes)
    if norm not in (None, "backward", "ortho", "forward"):
        raise RuntimeError(f'Invalid normalization mode: "{norm}"')
    if norm == "ortho":
        return 1 / math.sqrt(n)
    return 1 / n if (norm == "forward") == forward else 1.0


def c2c(name, x, s, dim, norm, forward, out=None):
    x = floats(name, x, True)
    dims, sizes = dims_and_sizes(name, x, s, dim)
    for d, n in zip(dims, sizes, strict=True):
        x = widened(x, d, n)
    return finish(apply(c2c_op, (x,), (dims, factor(norm, sizes, forward), forward)) if dims else x.clone(), out)


def r2c(name, x, s, dim, norm, forward, out=None):
    x = floats(name, x, False)
    dims, sizes = dims_and_sizes(name, x, s, dim)
    if not dims:
        raise RuntimeError(f"{name} must transform at least one axis")
    for d, n in zip(dims, sizes, strict=True):
        x = widened(x, d, n)
    y = apply(r2c_op, (x,), (dims[-1:], factor(norm, sizes[-1:], forward)))
    y = y if forward else conj(y)
    if len(dims) > 1:
        y = apply(c2c_op, (y,), (dims[:-1], factor(norm, sizes[:-1], forward), forward))
    return finish(y, out)


def c2r(name, x, s, dim, norm, forward, out=None):
    x = floats(name, x, True)
    dims, sizes = dims_and_sizes(name, x, s, dim, half=True)
    for d, n in zip(dims, (*sizes[:-1], sizes[-1] // 2 + 1), strict=True):
        x = widened(x, d, n)
    if len(dims) > 1:
        x = apply(c2c_op, (x,), (dims[:-1], factor(norm, sizes[:-1], forward), forward))
    y = apply(conj_op, (x,)) if forward else x
    return finish(apply(c2r_op, (y,), (dims[-1:], factor(norm, sizes[-1:], forward), sizes[-1])), out)


# name: (which entry, forward)
KINDS = {
    "fft": (c2c, True),
    "ifft": (c2c, False),
    "rfft": (r2c, True),
    "ihfft": (r2c, False),
    "irfft": (c2r, False),
    "hfft": (c2r, True),
}


def publish(name: str, kind, forward: bool) -> None:
    def one(input, n=None, dim: int = -1, norm=None, *, out=None):
        return kind(name, input, n, dim, norm, forward, out)

    def two(input, s=None, dim=(-2, -1), norm=None, *, out=None):
        return kind(name + "2", input, s, dim, norm, forward, out)

    def many(input, s=None, dim=None, norm=None, *, out=None):
        return kind(name + "n", input, s, dim, norm, forward, out)

    for suffix, fn, over in (("", one, "a dimension"), ("2", two, "two dimensions"), ("n", many, "dimensions")):
        fn.__name__ = fn.__qualname__ = name + suffix
        fn.__doc__ = f"`torch.fft.{name + suffix}`: over {over}; norm is \"backward\", \"ortho\" or \"forward\"."
        FFT[name + suffix] = fn


for _name, (_kind, _forward) in KINDS.items():
    publish(_name, _kind, _forward)


# -- frequencies -------------------------------------------------------------------------------------------------------
def frequencies(places: int, n: int, d: float, negative: bool, dtype, device, requires_grad, out):
    """Of the first `places` of n points; with `negative`, the later half of them are negative frequencies."""
    if n <= 0:
        raise RuntimeError(f"n must be greater than zero: got {n}")
    dtype = dtype or (out.dtype if out is not None else dtypes.get_default_dtype())
    place = PUBLIC["arange"](places, dtype=dtype, device=device)
    if negative:
        place = PUBLIC["where"](place < (n + 1) // 2, place, place - n)
    t = finish((place * (1.0 / (n * d))).detach(), out)
    return t.requires_grad_(True) if requires_grad else t


def fftfreq(n: int, d: float = 1.0, *, out=None, dtype=None, layout=None, device=None, requires_grad: bool = False):
    """The frequencies of the n points that `fft` gives, for samples d apart."""
    return frequencies(n, n, d, True, dtype, device, requires_grad, out)


def rfftfreq(n: int, d: float = 1.0, *, out=None, dtype=None, layout=None, device=None, requires_grad: bool = False):
    """The frequencies of the n // 2 + 1 points that `rfft` gives, for samples d apart."""
    return frequencies(n // 2 + 1, n, d, False, dtype, device, requires_grad, out)


def shifted(input, dim, to_middle: bool):
    dims = tuple(range(input.ndim)) if dim is None else (dim,) if isinstance(dim, int) else tuple(dim)
    if not dims:
        return input.clone()
    sizes = [input.shape[d] for d in dims]
    return roll(input, tuple(n // 2 if to_middle else (n + 1) // 2 for n in sizes), dims)


def fftshift(input, dim=None):
    """The zero frequency moved to the middle of each dimension."""
    return shifted(input, dim, True)


def ifftshift(input, dim=None):
    """Undoes `fftshift`."""
    return shifted(input, dim, False)


for _f in (fftfreq, rfftfreq, fftshift, ifftshift):
    FFT[_f.__name__] = _f


# -- short-time transforms ---------------------------------------------------------------------------------------------
def full_window(window, win_length: int, n_fft: int, like):
    """The window with zeros on both sides up to n_fft points; ones where there is none."""
    if window is None:
        window = PUBLIC["ones"](win_length, dtype=like.dtype.to_real())
    left = (n_fft - win_length) // 2
    return pad(window, (left, n_fft - win_length - left)) if win_length != n_fft else window


def frame_check(name: str, n_fft: int, hop: int, win_length: int, window) -> None:
    if hop <= 0:
        raise RuntimeError(f"{name}: expected hop_length > 0, but got hop_length={hop}")
    if not 0 < win_length <= n_fft:
        raise RuntimeError(f"{name}: expected 0 < win_length <= n_fft, but got win_length={win_length}")
    if window is not None and (window.ndim != 1 or window.shape[0] != win_length):
        raise RuntimeError(
            f"{name}: expected a 1D window tensor of size equal to win_length={win_length}, but got window with size {list(window.shape)}"
        )


def stft(
    input,
    n_fft: int,
    hop_length=None,
    win_length=None,
    window=None,
    center: bool = True,
    pad_mode: str = "reflect",
    normalized: bool = False,
    onesided=None,
    return_complex=None,
    align_to_window=None,
):
    """The short-time Fourier transform: (frequencies, frames), or a batch of them.

    Frames of n_fft samples, hop_length (n_fft / 4) apart, are multiplied by the window and transformed. return_complex has to be
    given: False gives real and imaginary parts along a last dimension. RuntimeError for arguments that don't fit.
    """
    hop = n_fft // 4 if hop_length is None else hop_length
    win_length = n_fft if win_length is None else win_length
    whole = input.dtype.is_complex or (window is not None and window.dtype.is_complex)
    if return_complex is None:
        if not whole:
            raise RuntimeError(
                "stft requires the return_complex parameter be given for real inputs, and will further require that "
                "return_complex=True in a future PyTorch release."
            )
        return_complex = True
    if input.dtype.category < FLOAT or input.ndim not in (1, 2):
        raise RuntimeError(f"stft({list(input.shape)}): expected a 1D or 2D tensor of floating types, got {input.ndim}D {input.dtype.label}")
    x = input if input.ndim == 2 else reshape(input, (1, -1))
    if center:
        x = reshape(pad(reshape(x, (1, *x.shape)), (n_fft // 2, n_fft // 2), pad_mode), (x.shape[0], -1))
    n = x.shape[1]
    if n_fft <= 0 or n_fft > n:
        raise RuntimeError(f"stft: expected 0 < n_fft < {n}, but got n_fft={n_fft}")
    frame_check("stft", n_fft, hop, win_length, window)
    frames = x.unfold(1, n_fft, hop)
    if window is not None or win_length != n_fft:
        frames = frames * full_window(window, win_length, n_fft, x)
    onesided = not whole if onesided is None else onesided
    if whole and onesided:
        raise RuntimeError("Cannot have onesided output if window or input is complex")
    norm = "ortho" if normalized else None
    spectrum = FFT["rfft"](frames, norm=norm) if onesided else FFT["fft"](frames, norm=norm)
    spectrum = transpose_op(spectrum, 1, 2)
    spectrum = spectrum if input.ndim == 2 else spectrum[0]
    return spectrum if return_complex else PUBLIC["view_as_real"](spectrum)


def istft(
    input,
    n_fft: int,
    hop_length=None,
    win_length=None,
    window=None,
    center: bool = True,
    normalized: bool = False,
    onesided=None,
    length=None,
    return_complex: bool = False,
):
    """The signal whose `stft` is input: frames are added where they overlap, and divided by the sum of squared windows.

    RuntimeError where that sum vanishes, or for arguments that don't fit.
    """
    hop = n_fft // 4 if hop_length is None else hop_length
    win_length = n_fft if win_length is None else win_length
    if not input.dtype.is_complex:
        raise RuntimeError("istft requires a complex-valued input tensor matching the output from stft with return_complex=True.")
    if input.ndim not in (2, 3) or 0 in input.shape:
        raise RuntimeError(f"istft expects a tensor with 2 or 3 dimensions and elements, but got {list(input.shape)}")
    x = input if input.ndim == 3 else reshape(input, (1, *input.shape))
    onesided = x.shape[1] != n_fft if onesided is None else onesided
    if x.shape[1] != (n_fft // 2 + 1 if onesided else n_fft):
        raise RuntimeError(
            "istft: expected the frequency dimension (3rd to the last) of the input tensor to match n_fft / 2 + 1 when onesided=True, "
            f"but got {x.shape[1]}"
        )
    if not 0 < hop <= win_length:
        raise RuntimeError(f"istft: expected 0 < hop_length <= win_length, but got {hop}")
    frame_check("istft", n_fft, hop, win_length, window)
    window = full_window(window, win_length, n_fft, x)
    if not return_complex and window.dtype.is_complex:
        raise RuntimeError("Complex windows are incompatible with return_complex=False")
    x = transpose_op(x, 1, 2)
    norm = "ortho" if normalized else None
    if return_complex:
        if onesided:
            raise RuntimeError("Cannot have onesided output if window or input is complex")
        frames = FFT["ifft"](x, norm=norm)
    else:
        frames = FFT["irfft"](slice_op(x, 2, 0, n_fft // 2 + 1, 1), n_fft, norm=norm)
    batch, count = frames.shape[:2]
    total = n_fft + hop * (count - 1)
    signal = overlapped(frames * window, total, hop)
    weight = overlapped((window * window).expand(1, count, n_fft), total, hop)
    start = n_fft // 2 if center else 0
    end = start + length if length is not None else total - n_fft // 2 if center else total
    keep = min(end, total) - start
    signal, weight = narrow(signal, 1, start, keep), narrow(weight, 1, start, keep)
    if float(weight.abs().min()) <= 1e-11:
        raise RuntimeError("window overlap add min: 1")
    signal = signal / weight
    signal = pad(signal, (0, end - total)) if end > total else signal
    return signal if input.ndim == 3 else signal[0]


def overlapped(frames, total: int, hop: int):
    """Frames (batch, count, n) added into (batch, total), each hop after the one before."""
    batch, count, n = frames.shape
    base = PUBLIC["zeros"](batch, total, dtype=frames.dtype)
    return apply(as_strided_add, (base, frames), ((batch, count, n), (total, hop, 1), 0))


PUBLIC.update(stft=stft, istft=istft)
METHODS.update(stft=stft, istft=istft)

"""How tensors print: as PyTorch's do, to the character."""

from __future__ import annotations

import math
from contextlib import contextmanager

import numpy as np

from . import dtypes

PROFILES: dict[str | None, dict[str, float]] = {
    "default": {"precision": 4, "threshold": 1000, "edgeitems": 3, "linewidth": 80},
    "short": {"precision": 2, "threshold": 1000, "edgeitems": 2, "linewidth": 80},
    "full": {"precision": 4, "threshold": math.inf, "edgeitems": 3, "linewidth": 80},
}
options: dict = {**PROFILES["default"], "sci_mode": None}


def set_printoptions(
    precision: int | None = None,
    threshold: float | None = None,
    edgeitems: int | None = None,
    linewidth: int | None = None,
    profile: str | None = None,
    sci_mode: bool | None = None,
) -> None:
    """Set how tensors print.

    precision: digits after the point (4). threshold: tensors of more elements are summarised (1000), to `edgeitems`
    (3) at both ends of a dimension. linewidth: characters per line (80). profile: "default", "short" or "full".
    sci_mode: scientific notation always or never; None: where the values call for it.

    >>> import jitorch as torch
    >>> torch.set_printoptions(precision=2); print(torch.tensor([1.12345])); torch.set_printoptions(profile="default")
    tensor([1.12])
    """
    options.update(PROFILES.get(profile, {}))
    given = {"precision": precision, "threshold": threshold, "edgeitems": edgeitems, "linewidth": linewidth}
    options.update({k: v for k, v in given.items() if v is not None})
    options["sci_mode"] = sci_mode


def get_printoptions() -> dict:
    """The current options, as keyword arguments of `set_printoptions`."""
    return dict(options)


@contextmanager
def printoptions(**changes):
    """Options for a block: `with torch.printoptions(precision=2): ...`."""
    before = get_printoptions()
    set_printoptions(**changes)
    try:
        yield
    finally:
        set_printoptions(**before)


def tensor_repr(t) -> str:
    """What `repr` of a tensor gives: its values, and what can't be told from them."""
    kind = type(t).__name__
    prefix = "tensor(" if kind in ("Tensor", "Parameter") else kind + "("
    values = t.detach()._array()
    if t.dtype in dtypes.HALVES:
        values = values.astype(np.float32)
    body = "[]" if values.size == 0 else array_text(values, len(prefix))
    text = with_suffixes(prefix + body, suffixes(t, values), len(prefix))
    return text if prefix == "tensor(" or not is_parameter(t) else f"Parameter({text})"


def sparse_repr(t) -> str:
    """The same of a sparse tensor: its places and its entries."""
    parts = []
    for name, part in (("indices", t._indices()), ("values", t._values().detach())):
        values = part._array().astype(np.float32) if part.dtype in dtypes.HALVES else part._array()
        body = array_text(values, len(f"tensor({name}=tensor(")) if values.size else f"[], size={tuple(values.shape)}"
        parts.append(f"{name}=tensor({body})")
    default = dtypes.get_default_dtype()
    last = [f"size={tuple(t.shape)}", f"nnz={t._nnz()}"]
    if t.dtype not in (default, default.to_complex(), dtypes.int64, dtypes.bool_):
        last.append(f"dtype={t.dtype}")
    last.append(f"layout={t.layout}")
    if t.grad_fn is not None:
        last.append(f"grad_fn=<{t.grad_fn.name()}>")
    elif t.requires_grad:
        last.append("requires_grad=True")
    return "tensor(" + ",\n       ".join([*parts, ", ".join(last)]) + ")"


def is_parameter(t) -> bool:
    return any(c.__name__ == "Parameter" for c in type(t).__mro__)


def suffixes(t, values) -> list[str]:
    found = []
    if values.size == 0:
        if values.ndim != 1:
            found.append(f"size={tuple(values.shape)}")
        if t.dtype is not dtypes.get_default_dtype():
            found.append(f"dtype={t.dtype}")
    else:
        if not options["edgeitems"]:
            found.append(f"size={tuple(values.shape)}")
        default = dtypes.get_default_dtype()
        if t.dtype not in (default, default.to_complex(), dtypes.int64, dtypes.bool_):
            found.append(f"dtype={t.dtype}")
    if t.grad_fn is not None:
        found.append(f"grad_fn=<{t.grad_fn.name()}>")
    elif t.requires_grad:
        found.append("requires_grad=True")
    return found


def with_suffixes(text: str, found: list[str], indent: int) -> str:
    """Add the suffixes, on a new line where the line gets too long."""
    length = len(text) - text.rfind("\n") + 1
    for suffix in found:
        if length + len(suffix) + 2 > options["linewidth"]:
            text += ",\n" + " " * indent + suffix
            length = indent + len(suffix)
        else:
            text += ", " + suffix
            length += len(suffix) + 2
    return text + ")"


# -- values ------------------------------------------------------------------------------------------------------------
def array_text(values: np.ndarray, indent: int) -> str:
    summarised = values.size > options["threshold"]
    show, width = formatter(edges(values) if summarised else values)
    return nested(values, indent, summarised, show, width)


def edges(a: np.ndarray) -> np.ndarray:
    """The elements that a summary shows."""
    k = options["edgeitems"]
    if k == 0 and a.ndim > 1:
        return a[(slice(0),) * a.ndim]
    for d, n in enumerate(a.shape):
        if n > 2 * k and k:
            a = np.take(a, [*range(k), *range(n - k, n)], d)
    return a


def formatter(a: np.ndarray):
    """(function from a value to text of one width, that width), from the values that will be shown."""
    if a.dtype.kind == "c":
        return complex_formatter(a)
    plain = number_text(a)
    if a.dtype.kind != "f":
        width = max((len(str(v)) for v in a.reshape(-1).tolist()), default=1)
    else:
        shown = a[np.isfinite(a) & (a != 0)]
        dot = 1 if plain is whole_text else 0
        width = (
            max((len(plain(v)) for v in shown.tolist()), default=1)
            if not dot
            else max((len(f"{v:.0f}") + 1 for v in shown.tolist()), default=1)
        )

    def show(value) -> str:
        return plain(value).rjust(width)

    return show, max(width, 1)


def complex_formatter(a: np.ndarray):
    """Both parts in widths of their own: `1.0000+2.5000j`."""
    (show_real, real), (show_imag, imag) = formatter(a.real), formatter(a.imag)

    def show(value) -> str:
        text = (show_imag(value.imag) + "j").lstrip()
        return show_real(value.real) + ("" if text[0] in "+-" else "+") + text

    return show, real + imag + 1


def number_text(a: np.ndarray):
    """The way to write the values of an array: integers, whole floats, fixed point or scientific."""
    if a.dtype.kind != "f":
        return str
    shown = a[np.isfinite(a) & (a != 0)]
    if shown.size == 0:
        return whole_text
    size = np.abs(shown).astype(np.float64)
    sci = options["sci_mode"]
    if sci is None:
        sci = size.max() / size.min() > 1000 or size.max() > 1e8 or size.min() < 1e-4
    if sci:
        return lambda v: f"{v:.{options['precision']}e}"
    if (shown == np.ceil(shown)).all():
        return whole_text
    return lambda v: f"{v:.{options['precision']}f}"


def whole_text(v: float) -> str:
    return f"{v:.0f}." if math.isfinite(v) else f"{v:.0f}"


def nested(a: np.ndarray, indent: int, summarised: bool, show, width: int) -> str:
    if a.ndim == 0:
        return show(a.item())
    k = options["edgeitems"]
    cut = summarised and a.shape[0] > 2 * k
    if a.ndim == 1:
        if summarised and not k:
            parts = ["..."]
        elif cut:
            parts = [show(v) for v in a[:k].tolist()] + [" ..."] + [show(v) for v in a[-k:].tolist()]
        else:
            parts = [show(v) for v in a.tolist()]
        per_line = max(1, (options["linewidth"] - indent) // (width + 2))
        lines = [", ".join(parts[i : i + per_line]) for i in range(0, len(parts), per_line)]
        return "[" + (",\n" + " " * (indent + 1)).join(lines) + "]"
    rows = [*range(k), None, *range(a.shape[0] - k, a.shape[0])] if cut else range(a.shape[0])
    parts = ["..." if i is None else nested(a[i], indent + 1, summarised, show, width) for i in rows]
    return "[" + ("," + "\n" * (a.ndim - 1) + " " * (indent + 1)).join(parts) + "]"

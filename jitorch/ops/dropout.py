"""Dropout: elements, channels, or (alpha) with the mean and variance that selu keeps."""
from __future__ import annotations

import warnings

from ..dtypes import FLOAT
from ..graph.record import Meta
from .dispatch import PUBLIC, Op, apply
from .formulas import formula_op

SELU_LIMIT = 1.7580993408473766     # selu at minus infinity is minus this: scale * alpha


# u is uniform in [0, 1), of the input's shape or one that broadcasts to it; an element stays where u < 1 - p
def dropout_formula(m, x, u, p):
    return x * m.cast(u < 1 - p, x.dtype) * (1 / (1 - p))


def alpha_formula(m, x, u, p, a):
    """a * x where it stays, -SELU_LIMIT * a where not, shifted to mean 0; a restores the variance."""
    return m.where(u < 1 - p, x * a, a * -SELU_LIMIT) + SELU_LIMIT * a * p


def rule(x, *rest):
    if x.dtype.category != FLOAT:
        raise RuntimeError(f"result type Float can't be cast to the desired output type {x.dtype.label}")
    return Meta(x.shape, x.dtype)


def dropout_vjp(ctx, g):
    return (apply(dropout_op, (g, ctx.input(1), ctx.input(2))), None)


dropout_op: Op = formula_op("native_dropout", dropout_formula, rule, vjp=dropout_vjp, saves="12")
alpha_dropout_op = formula_op("alpha_dropout", alpha_formula, rule, saves="0123")


def dropped(input, p: float, training: bool, inplace: bool, noise_shape, alpha: bool = False):
    if not 0 <= p <= 1:
        raise ValueError(f"dropout probability has to be between 0 and 1, but got {p}")
    if not training or p == 0 or not input._meta.numel:
        return input
    from .activations import recorded
    p = float(p)

    def record(x):
        if p == 1:
            return x * 0
        u = PUBLIC["rand"](noise_shape(x.shape), dtype=x.dtype)
        if alpha:
            return apply(alpha_dropout_op, (x, u, p, ((SELU_LIMIT**2 * p + 1) * (1 - p)) ** -0.5))
        return apply(dropout_op, (x, u, p))

    rule(input._meta)
    return recorded(input, inplace, record)


def whole(shape):
    return tuple(shape)


def channels(shape):
    if len(shape) < 2:
        raise RuntimeError("Feature dropout requires at least 2 dimensions in the input")
    return (*shape[:2], *(1 for _ in shape[2:]))


def dropout(input, p: float = 0.5, training: bool = True, inplace: bool = False):
    """Each element zero with probability p, else divided by 1 - p (Srivastava et al., 2014). ValueError unless 0 <= p
    <= 1.

    >>> import jitorch as torch
    >>> torch.nn.functional.dropout(torch.ones(2), p=0.5, training=False)
    tensor([1., 1.])
    """
    return dropped(input, p, training, inplace, whole)


def alpha_dropout(input, p: float = 0.5, training: bool = False, inplace: bool = False):
    """Dropout that keeps the mean and variance of selu activations (Klambauer et al., 2017)."""
    return dropped(input, p, training, inplace, whole, alpha=True)


def feature_alpha_dropout(input, p: float = 0.5, training: bool = False, inplace: bool = False):
    """alpha_dropout of whole channels (dimension 1)."""
    return dropped(input, p, training, inplace, channels, alpha=True)


def channel_dropout(name: str, batched: int):
    """dropout1d, 2d, 3d: whole channels; `batched` is the number of dimensions with a batch, one fewer is a single
    sample."""
    def function(input, p: float = 0.5, training: bool = True, inplace: bool = False):
        if not 0 <= p <= 1:
            raise ValueError(f"dropout probability has to be between 0 and 1, but got {p}")
        if input.ndim not in (batched - 1, batched):
            if batched == 3:
                raise RuntimeError(
                    f"{name}: Expected 2D or 3D input, but received a {input.ndim}D input. Note that dropout1d exists "
                    "to provide channel-wise dropout on inputs with 1 spatial dimension, a channel dimension, and an "
                    "optional batch dimension (i.e. 2D or 3D inputs)."
                )
            warnings.warn(
                f"{name}: Received a {input.ndim}-D input to {name}, which is deprecated and will result in an error "
                "in a future release.",
                stacklevel=2,
            )
        if input.ndim == batched - 1 and batched != 4:
            return dropped(input.unsqueeze(0), p, training, inplace, channels).squeeze(0)
        return dropped(input, p, training, inplace, channels)

    function.__name__ = function.__qualname__ = name
    function.__doc__ = (
        "Whole channels zero with probability p, else divided by 1 - p: "
        f"inputs of {batched} dimensions with the batch, or {batched - 1} without."
    )
    return function


dropout1d, dropout2d, dropout3d = (
    channel_dropout("dropout1d", 3),
    channel_dropout("dropout2d", 4),
    channel_dropout("dropout3d", 5),
)


def published(name: str, function, inplace: bool):
    def main(input, p: float, train: bool):
        return function(input, p, train, inplace)
    main.__name__ = main.__qualname__ = name
    main.__doc__ = f"{'In place: ' if inplace else ''}see `nn.functional.{function.__name__}`."
    PUBLIC[name] = main


def feature_dropout(input, p: float = 0.5, training: bool = True, inplace: bool = False):
    """Whole channels (dimension 1) zero with probability p, else divided by 1 - p."""
    return dropped(input, p, training, inplace, channels)


for _f in (dropout, alpha_dropout, feature_dropout, feature_alpha_dropout):
    published(_f.__name__, _f, False)
    published(_f.__name__ + "_", _f, True)

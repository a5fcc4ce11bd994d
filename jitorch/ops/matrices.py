"""What the files about matrices share: checks, transposes, a function of each matrix of a batch."""

from __future__ import annotations

import numpy as np

from ..dtypes import FLOAT
from .views import transpose_op


class LinAlgError(RuntimeError):
    """A factorisation failed: the matrix is singular, or not positive-definite."""


def mT(x):
    return transpose_op(x, -2, -1)


def mH(x):
    """The conjugate transpose."""
    return transpose_op(x, -2, -1).conj()


# -- checks ----------------------------------------------------------------------------------------------------------
def check_matrix(name: str, m, what: str = "A") -> None:
    if len(m.shape) < 2:
        raise RuntimeError(f"{name}: The input tensor {what} must have at least 2 dimensions.")
    if m.dtype.category < FLOAT:
        raise RuntimeError(f"{name}: Expected a floating point or complex tensor as input. Got {m.dtype.label}")


def check_square(name: str, m, what: str = "A") -> None:
    check_matrix(name, m, what)
    if m.shape[-1] != m.shape[-2]:
        raise RuntimeError(
            f"{name}: {what} must be batches of square matrices, but they are {m.shape[-2]} by {m.shape[-1]} matrices"
        )


def at_element(i: int, a) -> str:
    """Which matrix of a batch a message is about."""
    return f"(Batch element {i}): " if a.ndim > 2 else ""


def each(function, *arrays):
    """`function` of each matrix of a batch; gives the arrays that its results make up."""
    lead = arrays[0].shape[:-2]
    flat = [a.reshape(-1, *a.shape[-2:]) for a in arrays]
    results = [function(i, *(a[i] for a in flat)) for i in range(len(flat[0]))]
    results = [r if isinstance(r, tuple) else (r,) for r in results]
    return tuple(np.stack(part).reshape(*lead, *part[0].shape) for part in zip(*results, strict=False))


def replaced(x, value):
    """A copy of x with everything overwritten: value's elements, x's history."""
    y = x.clone()
    y[...] = value
    return y

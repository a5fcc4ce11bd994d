"""Linear algebra: what `jitorch.linalg` holds, and powers, products, norms and distances of matrices.

Equations are in `solve`, factorisations in `factorizations`, singular values and eigenvalues in `spectral`. Those are
library calls (LAPACK through NumPy and SciPy); their gradients, and everything that can be said with products, are
compositions.
"""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any

import numpy as np

from ..dtypes import FLOAT, get_default_dtype, int64
from ..graph.ir import broadcast
from ..graph.record import Meta
from ..tensor import from_array
from .contraction import matmul, multi_dot
from .dispatch import METHODS, PUBLIC, Op, apply
from .factorizations import (
    cholesky,
    cholesky_ex,
    cholesky_inverse,
    cholesky_old,
    cholesky_solve,
    geqrf,
    householder_product,
    ldl_factor,
    ldl_factor_ex,
    ldl_solve,
    lu,
    lu_factor,
    lu_factor_ex,
    lu_old,
    lu_solve,
    lu_solve_old,
    lu_unpack,
    ormqr,
    qr,
    qr_old,
)
from .gather import index_select
from .matrices import LinAlgError, check_matrix, check_square, mT, replaced
from .publish import finish
from .reductions import vector_norm
from .solve import det, inv, inv_ex, logdet, slogdet, slogdet_old, solve, solve_ex, solve_triangular, triangular_solve
from .spectral import (
    eig,
    eigh,
    eigvals,
    eigvalsh,
    lstsq,
    matrix_rank,
    pca_lowrank,
    pinv,
    svd,
    svd_lowrank,
    svd_old,
    svdvals,
)
from .views import diagonal, movedim, reshape, unsqueeze, wrap_dim


# -- powers, exponentials, products ----------------------------------------------------------------------------------
def matrix_power(A, n: int, *, out=None):
    """A @ A @ ... (n times); the inverse's powers for negative n, the identity for 0."""
    if A.ndim < 2:
        raise RuntimeError("linalg.matrix_power: The input tensor A must have at least 2 dimensions.")
    if A.shape[-1] != A.shape[-2]:
        raise RuntimeError(
            f"linalg.matrix_power: A must be batches of square matrices, but they are {A.shape[-2]} by {A.shape[-1]} "
            "matrices"
        )
    if n == 0:
        return finish(replaced(A, PUBLIC["eye"](A.shape[-1], dtype=A.dtype)), out)
    base, result = inv(A) if n < 0 else A, None
    n = abs(n)
    while n:
        if n & 1:
            result = base if result is None else matmul(result, base)
        n >>= 1
        if n:
            base = matmul(base, base)
    return finish(result.clone() if result is A else result, out)


def exp_reference(a):
    import scipy.linalg

    return scipy.linalg.expm(a) if a.size else a.copy()


def exp_vjp(ctx, g):
    """The gradient is the corner of the exponential of a matrix of twice the size."""
    a = mT(ctx.input(0))
    n = a.shape[-1]
    cat = PUBLIC["cat"]
    big = cat([cat([a, g], -1), cat([a * 0, a], -1)], -2)
    return (matrix_exp(big)[..., :n, n:],)


def exp_infer(m):
    check_square("linalg.matrix_exp", m)
    return Meta(m.shape, m.dtype)


exp_op = Op("linalg_matrix_exp", infer=exp_infer, reference=exp_reference, vjp=exp_vjp, saves="0")


def matrix_exp(A):
    """The matrix exponential."""
    return apply(exp_op, (A,))


def cross(input, other, *, dim: int = -1, out=None):
    """The cross product of vectors of three elements along `dim`; other dimensions broadcast."""
    if input.ndim != other.ndim:
        raise RuntimeError(
            f"linalg.cross: inputs must have the same number of dimensions. Got {input.ndim} and {other.ndim}"
        )
    for t in (input, other):
        if t.shape[wrap_dim(dim, input.ndim)] != 3:
            raise RuntimeError(
                f"linalg.cross: inputs dimension {dim} must have length 3. Got {input.shape[dim]} and "
                f"{other.shape[dim]}"
            )
    dim = wrap_dim(dim, input.ndim)
    ahead, behind = from_array(np.array([1, 2, 0])), from_array(np.array([2, 0, 1]))
    return finish(
        index_select(input, dim, ahead) * index_select(other, dim, behind)
        - index_select(input, dim, behind) * index_select(other, dim, ahead),
        out,
    )


def cross_old(input, other, dim: int | None = None, *, out=None):
    """The cross product along `dim`, or the first dimension of three elements."""
    if dim is None:
        found = [d for d, n in enumerate(broadcast([input.shape, other.shape])) if n == 3]
        if not found:
            raise RuntimeError("no dimension of size 3 in input")
        dim = found[0]
    return cross(input, other, dim=dim, out=out)


def vecdot(x, y, *, dim: int = -1, out=None):
    """Dot products along a dimension, the others broadcasting; those of complex vectors with the first conjugated."""
    product = (x.conj() if x.is_complex() else x) * y
    return finish(product.sum(dim, dtype=product.dtype), out)


def trace(input):
    """The sum of a matrix's diagonal."""
    if input.ndim != 2:
        raise RuntimeError(f"trace: expected a matrix, but got tensor with dim {input.ndim}")
    return diagonal(input).sum()


# -- distances and covariance --------------------------------------------------------------------------------------
def cdist(x1, x2, p: float = 2.0, compute_mode: str = "use_mm_for_euclid_dist_if_necessary"):
    """The p-norm distances of all pairs of rows: (..., P, M) and (..., R, M) give (..., P, R).

    RuntimeError for fewer than two dimensions, or different widths.
    """
    for what, t in (("X1", x1), ("X2", x2)):
        if t.ndim < 2:
            raise RuntimeError(f"cdist only supports at least 2D tensors, {what} got: {t.ndim}D")
        if t.dtype.category != FLOAT:
            raise RuntimeError(f"cdist only supports floating-point dtypes, {what} got: {t.dtype.label}")
    if x1.shape[-1] != x2.shape[-1]:
        raise RuntimeError(f"X1 and X2 must have the same number of columns. X1: {x1.shape[-1]} X2: {x2.shape[-1]}")
    if p < 0:
        raise RuntimeError("cdist only supports non-negative p values")
    difference = unsqueeze(x1, -2) - unsqueeze(x2, -3)
    return difference.sum(-1) if x1.shape[-1] == 0 else vector_norm(difference, p, -1)


def cov(input, *, correction: int = 1, fweights=None, aweights=None):
    """The covariance matrix of variables in rows, observations in columns, weighted by counts and by importance."""
    if input.ndim > 2:
        raise RuntimeError(
            f"cov(): expected input to have two or fewer dimensions but got an input with {input.ndim} dimensions"
        )
    x = reshape(input, (1, -1)) if input.ndim < 2 else input
    if x.dtype.category < FLOAT:
        x = x.to(get_default_dtype())
    n, weights, real = x.shape[1], None, x.dtype.to_real()
    for what, w in (("fweights", fweights), ("aweights", aweights)):
        if w is None:
            continue
        if w.ndim > 1:
            raise RuntimeError(
                f"cov(): expected {what} to have one or fewer dimensions but got {what} with {w.ndim} dimensions"
            )
        if (w.dtype.category == FLOAT) != (what == "aweights"):  # counts are whole, importance is not
            kind = "floating point" if what == "aweights" else "integral"
            raise RuntimeError(f"cov(): expected {what} to have {kind} dtype but got {what} with {w.dtype.label} dtype")
        if w._meta.numel != n:
            raise RuntimeError(
                f"cov(): expected {what} to have the same numel as there are observations in the input but got "
                f"{w._meta.numel} != {n}"
            )
        if bool((w < 0).any()):
            raise RuntimeError(f"cov(): {what} cannot be negative")
        weights = w.to(real) if weights is None else weights * w.to(real)
    if weights is None:
        centred = x - x.mean(1, keepdim=True)
        product = matmul(centred, mT(centred.conj())) / max(n - correction, 0)
    else:
        total = weights.sum()
        centred = x - (x * weights).sum(1, keepdim=True) / total
        used = (weights * aweights.to(real)).sum() / total if aweights is not None else 1
        factor = (total - correction * used).clamp(min=0)
        product = matmul(centred * weights, mT(centred.conj())) / factor
    return reshape(product, ()) if product.shape == (1, 1) and input.ndim < 2 or product._meta.numel == 1 else product


def corrcoef(input):
    """Pearson's correlation coefficients of variables in rows, observations in columns."""
    c = cov(input)
    if c.ndim == 0:
        return c / c
    if c.is_complex():
        deviation = diagonal(c).real.sqrt()
        found = c / unsqueeze(deviation, 1) / unsqueeze(deviation, 0)
        return PUBLIC["complex"](found.real.clamp(-1, 1), found.imag.clamp(-1, 1))
    deviation = diagonal(c).sqrt()
    return (c / unsqueeze(deviation, 1) / unsqueeze(deviation, 0)).clamp(-1, 1)


# -- norms -----------------------------------------------------------------------------------------------------------
def matrix_norm(A, ord="fro", dim=(-2, -1), keepdim: bool = False, *, dtype=None, out=None):
    """Norms of matrices: "fro", "nuc", 1, -1, 2, -2, inf or -inf, over two dimensions."""
    check_matrix("linalg.matrix_norm", A._meta)
    a, b = (wrap_dim(d, A.ndim) for d in dim)
    if a == b:
        raise RuntimeError(f"linalg.matrix_norm: dims must be different. Got ({dim[0]}, {dim[1]})")
    A = A if dtype is None else A.to(dtype)
    if ord == "fro":
        return finish(vector_norm(A, 2, (a, b), keepdim), out)
    if ord in (2, -2, "nuc"):
        values = svdvals(movedim(A, (a, b), (-2, -1)))
        none = ord == 2 and values.shape[-1] == 0
        result = values.sum(-1) if ord == "nuc" or none else values.amax(-1) if ord == 2 else values.amin(-1)
    elif ord in (1, -1, float("inf"), float("-inf")):
        over, then = (a, b) if abs(ord) == 1 else (b, a)
        sums = A.abs().sum(over, keepdim=True)
        if ord > 0 and sums.shape[then] == 0:
            result = sums.sum(then, keepdim=True)
        else:
            result = sums.amax(then, keepdim=True) if ord > 0 else sums.amin(then, keepdim=True)
        return finish(
            result if keepdim else reshape(result, [n for d, n in enumerate(A.shape) if d not in (a, b)]), out
        )
    else:
        raise RuntimeError(f"linalg.matrix_norm: Order {ord} not supported.")
    return finish(reshape(result, [1 if d in (a, b) else n for d, n in enumerate(A.shape)]) if keepdim else result, out)


def linalg_norm(A, ord=None, dim=None, keepdim: bool = False, *, dtype=None, out=None):
    """`vector_norm` or `matrix_norm`, by the number of dimensions."""
    if dim is None and ord is not None and A.ndim not in (1, 2):
        raise RuntimeError(
            f"linalg.norm: If dim is not specified but ord is, the input must be 1D or 2D. Got {A.ndim}D."
        )
    pair = isinstance(dim, (tuple, list)) and len(dim) == 2
    if ord is not None and (pair or (dim is None and A.ndim == 2)):
        return matrix_norm(A, ord, (-2, -1) if dim is None else dim, keepdim, dtype=dtype, out=out)
    if isinstance(ord, str):
        raise RuntimeError(f"linalg.norm: Order {ord} is for matrices")
    return finish(vector_norm(A, 2 if ord is None else ord, dim, keepdim, dtype=dtype), out)


def cond(A, p=None, *, out=None):
    """The condition number in a norm: singular values by default, else |A| |inv(A)|."""
    check_matrix("linalg.cond", A._meta)
    if p is None or p in (2, -2):
        values = svdvals(A)
        return finish(values[..., -1] / values[..., 0] if p == -2 else values[..., 0] / values[..., -1], out)
    return finish(matrix_norm(A, p) * matrix_norm(inv(A), p), out)


# -- tensors as matrices ---------------------------------------------------------------------------------------------
def tensorinv(A, ind: int = 2, *, out=None):
    """The inverse with respect to `tensordot` over the first `ind` dimensions."""
    if ind <= 0:
        raise RuntimeError("Expected a strictly positive integer for 'ind'")
    first, rest = tuple(A.shape[:ind]), tuple(A.shape[ind:])
    if prod(first) != prod(rest):
        raise RuntimeError(
            "Expected self to satisfy the requirement prod(self.shape[ind:]) == prod(self.shape[:ind]), but got "
            f"{prod(rest)} != {prod(first)}"
        )
    return finish(reshape(inv(reshape(A, (prod(rest), prod(first)))), (*rest, *first)), out)


def tensorsolve(A, B, dims=None, *, out=None):
    """X with tensordot(A, X, X.ndim) = B."""
    if dims is not None:
        A = movedim(A, tuple(dims), tuple(range(A.ndim - len(tuple(dims)), A.ndim)))
    rest = tuple(A.shape[B.ndim :])
    if prod(rest) != prod(B.shape):
        raise RuntimeError(
            "Expected self to satisfy the requirement prod(self.shape[other.ndim:]) == prod(self.shape[:other.ndim]), "
            f"but got {prod(rest)} != {prod(B.shape)}"
        )
    return finish(reshape(solve(reshape(A, (prod(rest), prod(rest))), reshape(B, (prod(rest),))), rest), out)


def vander(x, N: int | None = None):
    """The Vandermonde matrices: powers 0 to N - 1 of every element, as columns."""
    x = x if x.ndim else reshape(x, (1,))
    n = x.shape[-1] if N is None else N
    if n <= 1 and N is not None and n < 1:
        raise RuntimeError(f"N must be greater than 1, but got {N}")
    powers = PUBLIC["arange"](n)
    return unsqueeze(x, -1) ** powers.to(x.dtype if x.dtype.category == FLOAT else int64)



OLD_NAMES: dict[str, Callable] = {
    "inverse": inv,
    "det": det,
    "logdet": logdet,
    "cholesky": cholesky_old,
    "cholesky_solve": cholesky_solve,
    "cholesky_inverse": cholesky_inverse,
    "qr": qr_old,
    "svd": svd_old,
    "pinverse": pinv,
    "matrix_power": matrix_power,
    "matrix_exp": matrix_exp,
    "trace": trace,
    "cross": cross_old,
    "lu_solve": lu_solve_old,
    "triangular_solve": triangular_solve,
    "slogdet": slogdet_old,
    "geqrf": geqrf,
    "orgqr": householder_product,
    "ormqr": ormqr,
    "lu": lu_old,
}
PUBLIC.update(OLD_NAMES)
METHODS.update(OLD_NAMES)
PUBLIC.update(svd_lowrank=svd_lowrank, pca_lowrank=pca_lowrank, lu_unpack=lu_unpack, cdist=cdist, cov=cov, corrcoef=corrcoef)
METHODS.update(cov=cov, corrcoef=corrcoef)

# What `jitorch.linalg` holds.
LINALG: dict[str, Any] = dict(
    LinAlgError=LinAlgError,
    cholesky=cholesky,
    cholesky_ex=cholesky_ex,
    cond=cond,
    cross=cross,
    det=det,
    eig=eig,
    eigh=eigh,
    eigvals=eigvals,
    eigvalsh=eigvalsh,
    householder_product=householder_product,
    inv=inv,
    inv_ex=inv_ex,
    ldl_factor=ldl_factor,
    ldl_factor_ex=ldl_factor_ex,
    ldl_solve=ldl_solve,
    lstsq=lstsq,
    lu=lu,
    lu_factor=lu_factor,
    lu_factor_ex=lu_factor_ex,
    lu_solve=lu_solve,
    matmul=matmul,
    matrix_exp=matrix_exp,
    matrix_norm=matrix_norm,
    matrix_power=matrix_power,
    matrix_rank=matrix_rank,
    multi_dot=multi_dot,
    norm=linalg_norm,
    pinv=pinv,
    qr=qr,
    slogdet=slogdet,
    solve=solve,
    solve_ex=solve_ex,
    solve_triangular=solve_triangular,
    svd=svd,
    svdvals=svdvals,
    tensorinv=tensorinv,
    tensorsolve=tensorsolve,
    vander=vander,
    vecdot=vecdot,
    vector_norm=vector_norm,
    diagonal=lambda A, *, offset=0, dim1=-2, dim2=-1: diagonal(A, offset, dim1, dim2),
)

"""Linear algebra.

Factorisations and solvers are library calls (LAPACK through NumPy and SciPy); their gradients, and everything that can
be said with products, are compositions.

Gradient formulas: M. Giles, "An extended collection of matrix derivative results for forward and reverse mode automatic
differentiation" (2008), and, for rectangular cases, the rules PyTorch documents in FunctionsManual.
"""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any

import numpy as np

from .. import dtypes
from ..dtypes import FLOAT, get_default_dtype, int32, int64
from ..graph.ir import broadcast
from ..graph.record import Meta
from ..tensor import from_array
from .contraction import matmul, multi_dot
from .dispatch import METHODS, PUBLIC, Op, apply
from .elementwise import write_out
from .indexing import filled, index_select, masked_fill
from .reductions import named, vector_norm
from .views import diagonal, expand, movedim, reshape, transpose_op, unsqueeze, wrap_dim


class LinAlgError(RuntimeError):
    """A factorisation failed: the matrix is singular, or not positive-definite."""


def mT(x):
    return transpose_op(x, -2, -1)


def mH(x):
    """The conjugate transpose."""
    return transpose_op(x, -2, -1).conj()


def finish(result, out):
    return result if out is None else write_out(out, result)


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


# -- determinant and inverse -----------------------------------------------------------------------------------------
def inv_reference(a):
    if a.size == 0:
        return a.copy()
    try:
        return np.linalg.inv(a)
    except np.linalg.LinAlgError:
        flat = a.reshape(-1, *a.shape[-2:])
        bad = next(i for i, m in enumerate(flat) if singular(m))
        raise LinAlgError(
            f"linalg.inv: {at_element(bad, a)}The diagonal element {singular(flat[bad])} is zero, the inversion could "
            "not be completed because the "
            "input matrix is singular."
        ) from None


def singular(m) -> int:
    """The number (from 1) of the first zero pivot of an LU factorisation, 0 for a regular matrix."""
    import scipy.linalg

    pivots = np.diag(scipy.linalg.lapack.get_lapack_funcs("getrf", (m,))(m)[0])
    zero = np.flatnonzero(pivots == 0)
    return int(zero[0]) + 1 if len(zero) else 0


def inv_infer(m):
    check_square("linalg.inv", m)
    return Meta(m.shape, m.dtype)


def inv_vjp(ctx, g):
    y = mT(ctx.output())
    return (-matmul(matmul(y, g), y),)


inv_op = Op(
    "linalg_inv", infer=inv_infer, reference=inv_reference, vjp=inv_vjp, saves="o", grad_name="LinalgInvExBackward0"
)


def inv(A, *, out=None):
    """The inverses of square matrices. LinAlgError, when it is computed, for a singular one."""
    return finish(apply(inv_op, (A,)), out)


def column(g):
    """(...) as (..., 1, 1)."""
    return reshape(g, (*g.shape, 1, 1))


def cofactor_reference(a):
    """det(A) inv(A).T, through the singular values, so that it is right for singular matrices too."""
    if a.size == 0:
        return a.copy()
    u, s, vh = np.linalg.svd(a.astype(np.complex128 if a.dtype.kind == "c" else np.float64))
    n = s.shape[-1]
    others = np.stack([np.prod(np.delete(s, i, -1), -1) for i in range(n)], -1)
    sign = np.linalg.det(u) * np.linalg.det(vh)
    return (u.conj() * (others * sign[..., None])[..., None, :]) @ vh.conj()


def cofactor_vjp(ctx, g):
    a = ctx.input(0)
    x, d = mT(inv(a)), column(det(a))
    return (d * ((g * x).sum((-2, -1), keepdim=True) * x - matmul(matmul(x, mT(g)), x)),)


cofactor_op = Op(
    "linalg_cofactor", infer=lambda m: Meta(m.shape, m.dtype), reference=cofactor_reference, vjp=cofactor_vjp, saves="0"
)


def det_infer(m):
    check_square("linalg.det", m)
    return Meta(m.shape[:-2], m.dtype)


det_op = Op(
    "linalg_det",
    infer=det_infer,
    reference=lambda a: np.linalg.det(a),
    saves="0",
    vjp=lambda ctx, g: (apply(cofactor_op, (ctx.input(0),)) * column(g),),
    grad_name="LinalgDetBackward0",
)


def det(A, *, out=None):
    """The determinants of square matrices."""
    return finish(apply(det_op, (A,)), out)


def slogdet_infer(m):
    check_square("linalg.slogdet", m)
    return Meta(m.shape[:-2], m.dtype), Meta(m.shape[:-2], m.dtype.to_real())


def slogdet_vjp(ctx, turn, g):
    """The sign of a complex determinant turns with the imaginary part of tr(A^-1 dA)."""
    if turn is not None and ctx.metas[0].dtype.is_complex:
        angle = (turn.conj() * ctx.output(0) * 1j).real
        g = PUBLIC["complex"](angle * 0 if g is None else g, angle)
    return (None if g is None else column(g) * mH(inv(ctx.input(0))),)


slogdet_op = Op(
    "linalg_slogdet",
    infer=slogdet_infer,
    reference=lambda a: tuple(np.linalg.slogdet(a)),
    vjp=slogdet_vjp,
    saves="0o",
    wirtinger=True,
    grad_name="LinalgSlogdetBackward0",
)
SLOGDET = {
    "linalg_slogdet": named("linalg_slogdet", "sign", "logabsdet"),
    "slogdet": named("slogdet", "sign", "logabsdet"),
}


def slogdet(A, *, out=None):
    """(sign, logarithm of the absolute value) of the determinants."""
    return SLOGDET["linalg_slogdet"](*apply(slogdet_op, (A,)))


def logdet(input):
    """The logarithm of the determinants: NaN where negative, -inf where zero."""
    sign, value = slogdet(input)
    return masked_fill(value, sign == -1, float("nan"))


def inv_ex(A, *, check_errors: bool = False, out=None):
    """(inverses, info): info is 0, or the number of the zero pivot of a singular matrix."""
    check_square("linalg.inv", A._meta)
    values = A._array()
    info = np.zeros(values.shape[:-2], np.int32)
    for at in np.ndindex(*info.shape):
        info[at] = singular(values[at]) if values[at].size else 0
    if check_errors or not info.any():
        return EX["inv"](inv(A), from_array(info))
    bad = from_array(info != 0)
    safe = PUBLIC["where"](column(bad), expand(PUBLIC["eye"](A.shape[-1], dtype=A.dtype), *A.shape), A)
    return EX["inv"](masked_fill(inv(safe), column(bad), float("nan")), from_array(info))


EX = {
    "inv": named("linalg_inv_ex", "inverse", "info"),
    "cholesky": named("linalg_cholesky_ex", "L", "info"),
    "solve": named("linalg_solve_ex", "result", "info"),
}


# -- solving ---------------------------------------------------------------------------------------------------------
def solve_infer(a, b):
    lead = broadcast([a.shape[:-2], b.shape[:-2]])
    return Meta((*lead, *b.shape[-2:]), b.dtype)


def solve_reference(a, b):
    if a.shape[-1] == 0 or b.shape[-1] == 0:
        return np.zeros((*np.broadcast_shapes(a.shape[:-2], b.shape[:-2]), *b.shape[-2:]), b.dtype)
    try:
        return np.linalg.solve(a, b)
    except np.linalg.LinAlgError:
        raise LinAlgError("torch.linalg.solve: The solver failed because the input matrix is singular.") from None


def solve_vjp(ctx, g):
    a = ctx.input(0)
    to_b = apply(solve_op, (mT(a), g))
    return (-matmul(to_b, mT(ctx.output())) if ctx.needs[0] else None, to_b)


solve_op = Op(
    "linalg_solve",
    infer=solve_infer,
    reference=solve_reference,
    vjp=solve_vjp,
    saves="0o",
    grad_name="LinalgSolveExBackward0",
)


def is_vector(a, b) -> bool:
    """Whether the right-hand side is a batch of vectors."""
    return b.ndim == 1 or (a.ndim - 1 == b.ndim and tuple(b.shape) == tuple(a.shape[:-1]))


def solve(A, B, *, left: bool = True, out=None):
    """X with A @ X = B (or X @ A = B with left=False); B may be vectors.

    LinAlgError, when it is computed, for a singular A.
    """
    check_square("linalg.solve", A._meta)
    if A.dtype is not B.dtype:
        raise RuntimeError(
            f"linalg.solve: Expected A and B to have the same dtype, but found A of type {A.dtype.label} and B of type "
            f"{B.dtype.label} instead"
        )
    vector = is_vector(A, B)
    b = unsqueeze(B, -1) if vector else B
    if vector and not left:
        raise RuntimeError(
            "linalg.solve: Vector broadcasting of the left hand side is not supported for left=False. In this case "
            "linalg.solve is equivalent to B / A.squeeze(-1)"
        )
    if b.shape[-2 if left else -1] != A.shape[-1]:
        raise RuntimeError(
            f"linalg.solve: Incompatible shapes of A and B for the equation {'AX = B' if left else 'XA = B'} "
            f"({A.shape[-2]}x{A.shape[-1]} and {b.shape[-2]}x{b.shape[-1]})"
        )
    x = apply(solve_op, (A, b)) if left else mT(apply(solve_op, (mT(A), mT(b))))
    return finish(reshape(x, x.shape[:-1]) if vector else x, out)


def solve_ex(A, B, *, left: bool = True, check_errors: bool = False, out=None):
    """(X with A @ X = B, info).

    Info is the number of the zero pivot of a singular matrix (whose X is not a number), or 0.
    """
    check_square("linalg.solve", A._meta)
    values = A._array()
    info = np.zeros(values.shape[:-2], np.int32)
    for at in np.ndindex(*info.shape):
        info[at] = singular(values[at]) if values[at].size else 0
    if check_errors or not info.any():
        return EX["solve"](solve(A, B, left=left), from_array(info))
    bad = from_array(info != 0)
    safe = PUBLIC["where"](column(bad), expand(PUBLIC["eye"](A.shape[-1], dtype=A.dtype), *A.shape), A)
    x = solve(safe, B, left=left)
    return EX["solve"](masked_fill(x, bad if x.ndim <= 1 else column(bad), float("nan")), from_array(info))


def triangular_reference(a, b, upper, unitriangular):
    import scipy.linalg

    lead = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    a, b = np.broadcast_to(a, (*lead, *a.shape[-2:])), np.broadcast_to(b, (*lead, *b.shape[-2:]))
    if b.size == 0:
        return b.copy()

    def one(i, m, v):
        diagonal = np.ones(len(m), m.dtype) if unitriangular else np.diag(m)
        if (diagonal == 0).any():
            return np.full(v.shape, np.nan, v.dtype)
        return scipy.linalg.solve_triangular(m, v, lower=not upper, unit_diagonal=unitriangular, check_finite=False)

    return each(one, a, b)[0]


def triangular_vjp(ctx, g):
    upper, unit = ctx.attrs
    to_b = apply(triangular_op, (mT(ctx.input(0)), g), (not upper, unit))
    to_a = None
    if ctx.needs[0]:
        to_a = -matmul(to_b, mT(ctx.output()))
        k = 1 if unit else 0
        to_a = PUBLIC["triu"](to_a, k) if upper else PUBLIC["tril"](to_a, -k)
    return (to_a, to_b)


triangular_op = Op(
    "linalg_solve_triangular",
    infer=lambda a, b, upper, unit: solve_infer(a, b),
    reference=triangular_reference,
    vjp=triangular_vjp,
    saves="0o",
)


def solve_triangular(A, B, *, upper: bool, left: bool = True, unitriangular: bool = False, out=None):
    """X with A @ X = B for triangular A (or X @ A = B); what lies on the other side of the diagonal is not read."""
    check_square("linalg.solve_triangular", A._meta)
    check_matrix("linalg.solve_triangular", B._meta, "B")
    if B.shape[-2 if left else -1] != A.shape[-1]:
        raise RuntimeError(
            "linalg.solve_triangular: Incompatible shapes of A and B for the equation "
            f"{'AX = B' if left else 'XA = B'} "
            f"({A.shape[-2]}x{A.shape[-1]} and {B.shape[-2]}x{B.shape[-1]})"
        )
    if left:
        return finish(apply(triangular_op, (A, B), (bool(upper), bool(unitriangular))), out)
    return finish(mT(apply(triangular_op, (mT(A), mT(B)), (not upper, bool(unitriangular)))), out)


def triangular_solve(b, A, upper: bool = True, transpose: bool = False, unitriangular: bool = False, *, out=None):
    """(X, A) with A @ X = b, or A.T @ X = b, for triangular A."""
    x = solve_triangular(mT(A) if transpose else A, b, upper=upper != transpose, unitriangular=unitriangular)
    return named("triangular_solve", "solution", "cloned_coefficient")(x, A.clone())


# -- Cholesky --------------------------------------------------------------------------------------------------------
def cholesky_reference(a):
    if a.size == 0:
        return a.copy()
    try:
        return np.linalg.cholesky(a)
    except np.linalg.LinAlgError:
        flat = a.reshape(-1, *a.shape[-2:])
        bad = next(i for i, m in enumerate(flat) if first_bad_minor(m))
        raise LinAlgError(
            f"linalg.cholesky: {at_element(bad, a)}The factorization could not be completed because the input is not "
            "positive-definite (the leading minor "
            f"of order {first_bad_minor(flat[bad])} is not positive-definite)."
        ) from None


def first_bad_minor(m) -> int:
    """The order of the first leading minor that is not positive-definite, 0 where all are."""
    import scipy.linalg

    return int(max(scipy.linalg.lapack.get_lapack_funcs("potrf", (m,))(m, lower=1)[1], 0))


def cholesky_infer(m):
    check_square("linalg.cholesky", m)
    return Meta(m.shape, m.dtype)


def cholesky_vjp(ctx, g):
    low = ctx.output()
    inside = PUBLIC["tril"](matmul(mH(low), g))
    inside = inside - PUBLIC["diag_embed"](diagonal(inside, 0, -2, -1)) * 0.5
    left = apply(triangular_op, (mH(low), inside), (True, False))
    full = mH(apply(triangular_op, (mH(low), mH(left)), (True, False)))
    return ((full + mH(full)) * 0.5,)


cholesky_op = Op(
    "linalg_cholesky",
    infer=cholesky_infer,
    reference=cholesky_reference,
    vjp=cholesky_vjp,
    wirtinger=True, saves="o",
    grad_name="LinalgCholeskyExBackward0",
)


def cholesky(A, *, upper: bool = False, out=None):
    """The triangular L with A = L @ L.T (or U = L.T).

    LinAlgError, when it is computed, unless A is positive-definite.
    """
    low = apply(cholesky_op, (A,))
    return finish(mH(low) if upper else low, out)


def cholesky_old(input, upper: bool = False, *, out=None):
    """As `linalg.cholesky`."""
    return cholesky(input, upper=upper, out=out)


def cholesky_ex(A, *, upper: bool = False, check_errors: bool = False, out=None):
    """(L, info): info is 0, or the order of the first leading minor that is not positive-definite."""
    check_square("linalg.cholesky", A._meta)
    values = A._array()
    info = np.zeros(values.shape[:-2], np.int32)
    for at in np.ndindex(*info.shape):
        info[at] = first_bad_minor(values[at]) if values[at].size else 0
    if check_errors or not info.any():
        return EX["cholesky"](cholesky(A, upper=upper), from_array(info))
    bad = from_array(info != 0)
    safe = PUBLIC["where"](column(bad), expand(PUBLIC["eye"](A.shape[-1], dtype=A.dtype), *A.shape), A)
    return EX["cholesky"](cholesky(safe, upper=upper), from_array(info))


def cholesky_solve_reference(b, low, upper):
    import scipy.linalg

    lead = np.broadcast_shapes(b.shape[:-2], low.shape[:-2])
    b, low = np.broadcast_to(b, (*lead, *b.shape[-2:])), np.broadcast_to(low, (*lead, *low.shape[-2:]))
    return (
        each(lambda i, v, m: scipy.linalg.cho_solve((m, not upper), v, check_finite=False), b, low)[0]
        if b.size
        else b.copy()
    )


def cholesky_solve_vjp(ctx, g):
    (upper,) = ctx.attrs
    low = ctx.input(1)
    to_b = apply(cholesky_solve_op, (g, low), ctx.attrs)
    to_low = None
    if ctx.needs[1]:
        term = matmul(to_b, mH(ctx.output()))
        term = term + mH(term)
        to_low = -(matmul(low, term) if upper else matmul(term, low))
    return (to_b, to_low)


cholesky_solve_op = Op(
    "cholesky_solve",
    infer=lambda b, low, upper: solve_infer(low, b),
    reference=cholesky_solve_reference,
    vjp=cholesky_solve_vjp,
    wirtinger=True, saves="1o",
)


def cholesky_solve(B, L, upper: bool = False, *, out=None):
    """X with A @ X = B, given the Cholesky factor of A."""
    for what, t in (("b", B), ("A", L)):
        if t.ndim < 2:
            raise RuntimeError(f"{what} should have at least 2 dimensions, but has {t.ndim} dimensions instead")
    if L.shape[-1] != L.shape[-2]:
        raise RuntimeError(
            f"A must be batches of square matrices, but they are {L.shape[-2]} by {L.shape[-1]} matrices"
        )
    if B.shape[-2] != L.shape[-1]:
        raise RuntimeError(
            f"Incompatible matrix sizes for linear_solve: each A matrix is {L.shape[-1]} by {L.shape[-1]} but each b "
            f"matrix is {B.shape[-2]} by {B.shape[-1]}"
        )
    return finish(apply(cholesky_solve_op, (B, L), (bool(upper),)), out)


def cholesky_inverse(L, upper: bool = False, *, out=None):
    """The inverse of A, given its Cholesky factor."""
    check_square("cholesky_inverse", L._meta)
    return finish(cholesky_solve(expand(PUBLIC["eye"](L.shape[-1], dtype=L.dtype), *L.shape), L, upper), out)


# -- QR --------------------------------------------------------------------------------------------------------------
def qr_infer(m, mode):
    check_matrix("linalg.qr", m)
    *lead, r, c = m.shape
    k = min(r, c)
    return Meta((*lead, r, r if mode == "complete" else k), m.dtype), Meta(
        (*lead, r if mode == "complete" else k, c), m.dtype
    )


def qr_reference(a, mode):
    if a.size == 0:
        *lead, r, c = a.shape
        k = r if mode == "complete" else min(r, c)
        return np.broadcast_to(np.eye(r, k, dtype=a.dtype), (*lead, r, k)), np.zeros((*lead, k, c), a.dtype)
    q, r = np.linalg.qr(a, mode=mode)
    return q, r


def qr_vjp(ctx, gq, gr):
    (mode,), q, r = ctx.attrs, ctx.output(0), ctx.output(1)
    m, n = ctx.metas[0].shape[-2:]
    if mode == "complete" and m > n:
        raise RuntimeError("The QR decomposition is not differentiable when mode='complete' and nrows > ncols")
    gq = filled(q.shape, 0, q.dtype) if gq is None else gq
    gr = filled(r.shape, 0, r.dtype) if gr is None else gr
    if m >= n:
        return (qr_square_vjp(q, r, gq, gr),)
    first, rest = r[..., :m], r[..., m:]  # A = [Q R1, Q R2]: the second part is a product
    g_first, g_rest = gr[..., :m], gr[..., m:]
    to_first = qr_square_vjp(q, first, gq + matmul(matmul(q, rest), mH(g_rest)), g_first)
    return (PUBLIC["cat"]([to_first, matmul(q, g_rest)], -1),)


def qr_square_vjp(q, r, gq, gr):
    inside = PUBLIC["triu"](matmul(gr, mH(r)) - matmul(mH(q), gq))
    both = inside + mH(inside)
    both = both - PUBLIC["diag_embed"](diagonal(both, 0, -2, -1)) * 0.5
    return mH(apply(triangular_op, (r, mH(gq + matmul(q, both))), (True, False)))


qr_op = Op("linalg_qr", infer=qr_infer, reference=qr_reference, vjp=qr_vjp, wirtinger=True, saves="o", grad_name="LinalgQrBackward0")
QR = {"linalg_qr": named("linalg_qr", "Q", "R"), "qr": named("qr", "Q", "R")}


def qr(A, mode: str = "reduced", *, out=None):
    """(Q, R) with A = Q @ R: Q orthogonal, R upper triangular. mode: "reduced", "complete" or "r" (R alone)."""
    if mode not in ("reduced", "complete", "r"):
        raise RuntimeError(
            f"qr received unrecognized mode '{mode}' but expected one of 'reduced' (default), 'r', or 'complete'"
        )
    if mode == "r":
        if A.requires_grad:
            raise RuntimeError("linalg_qr_backward: The derivative of qr is not implemented when mode='r'")
        return QR["linalg_qr"](filled((0,), 0, A.dtype), apply(qr_op, (A,), ("reduced",))[1])
    return QR["linalg_qr"](*apply(qr_op, (A,), (mode,)))


def qr_old(input, some: bool = True, *, out=None):
    """As `linalg.qr`, with some=False for mode "complete"."""
    return QR["qr"](*qr(input, "reduced" if some else "complete"))


# -- singular values -------------------------------------------------------------------------------------------------
def svd_infer(m, full):
    check_matrix("linalg.svd", m)
    *lead, r, c = m.shape
    k = min(r, c)
    return (
        Meta((*lead, r, r if full else k), m.dtype),
        Meta((*lead, k), m.dtype.to_real()),
        Meta((*lead, c if full else k, c), m.dtype),
    )


def svd_reference(a, full):
    if a.size == 0:
        *lead, r, c = a.shape
        k = min(r, c)
        return (
            np.broadcast_to(np.eye(r, r if full else k, dtype=a.dtype), (*lead, r, r if full else k)),
            np.zeros((*lead, k), a.dtype),
            np.broadcast_to(np.eye(c if full else k, c, dtype=a.dtype), (*lead, c if full else k, c)),
        )
    try:
        return np.linalg.svd(a, full_matrices=full)
    except np.linalg.LinAlgError:
        raise LinAlgError(
            "linalg.svd: The algorithm failed to converge because the input matrix is ill-conditioned or has too many "
            "repeated singular values."
        ) from None


def svd_vjp(ctx, gu, gs, gv):
    u, s, v = ctx.output(0), ctx.output(1), ctx.output(2)
    (m, n), k = ctx.metas[0].shape[-2:], s.shape[-1]
    u, v = u[..., :k], v[..., :k, :]
    if gu is None and gv is None:
        return (matmul(u * unsqueeze(gs, -2), v),)
    gu = filled(u.shape, 0, u.dtype) if gu is None else gu[..., :k]
    gv = filled(v.shape, 0, v.dtype) if gv is None else gv[..., :k, :]
    squares = s * s
    eye = PUBLIC["eye"](k, dtype=s.dtype)
    gaps = unsqueeze(squares, -2) - unsqueeze(squares, -1) + eye
    left, right = matmul(mH(u), gu), matmul(v, mH(gv))
    inner = (left - mH(left)) / gaps * unsqueeze(s, -2) + unsqueeze(s, -1) * ((right - mH(right)) / gaps)
    if gs is not None:
        inner = inner + PUBLIC["diag_embed"](gs)
    if u.dtype.is_complex:      # singular vectors are turned together
        inner = inner + PUBLIC["diag_embed"](diagonal(left - mH(left), 0, -2, -1) / (s * 2))
    total = matmul(matmul(u, inner), v)
    if m > k:
        total = total + matmul((gu - matmul(u, left)) / unsqueeze(s, -2), v)
    if n > k:
        total = total + matmul(u, (gv - matmul(mH(right), v)) / unsqueeze(s, -1))
    return (total,)


svd_op = Op(
    "linalg_svd", infer=svd_infer, reference=svd_reference, vjp=svd_vjp, wirtinger=True, saves="o", grad_name="LinalgSvdBackward0"
)
SVD = {"linalg_svd": named("linalg_svd", "U", "S", "Vh"), "svd": named("svd", "U", "S", "V")}


def svd(A, full_matrices: bool = True, *, driver=None, out=None):
    """(U, S, Vh) with A = U @ diag(S) @ Vh, singular values in descending order."""
    return SVD["linalg_svd"](*apply(svd_op, (A,), (bool(full_matrices),)))


def svd_old(input, some: bool = True, compute_uv: bool = True, *, out=None):
    """(U, S, V) with input = U @ diag(S) @ V.T."""
    if not compute_uv:
        m, n = input.shape[-2:]
        lead = input.shape[:-2]
        return SVD["svd"](filled((*lead, m, m), 0, input.dtype), svdvals(input), filled((*lead, n, n), 0, input.dtype))
    u, s, v = svd(input, not some)
    return SVD["svd"](u, s, mH(v))


def svdvals(A, *, driver=None, out=None):
    """Singular values in descending order."""
    return finish(apply(svd_op, (A,), (False,))[1], out)


# -- eigenvalues of symmetric matrices ---------------------------------------------------------------------------------
def eigh_infer(m, upper):
    check_square("linalg.eigh", m)
    return Meta(m.shape[:-1], m.dtype.to_real()), Meta(m.shape, m.dtype)


def eigh_reference(a, upper):
    if a.size == 0:
        return np.zeros(a.shape[:-1], a.dtype), a.copy()
    return tuple(np.linalg.eigh(a, "U" if upper else "L"))


def eigh_vjp(ctx, gl, gv):
    values, v = ctx.output(0), ctx.output(1)
    if gv is None:
        return (matmul(v * unsqueeze(gl, -2), mH(v)),)
    gaps = unsqueeze(values, -2) - unsqueeze(values, -1)
    eye = PUBLIC["eye"](values.shape[-1], dtype=values.dtype)
    inner = matmul(mH(v), gv) * (1 - eye) / (gaps + eye)
    if gl is not None:
        inner = inner + PUBLIC["diag_embed"](gl)
    result = matmul(matmul(v, inner), mH(v))
    return ((result + mH(result)) * 0.5,)


eigh_op = Op(
    "linalg_eigh", infer=eigh_infer, reference=eigh_reference, vjp=eigh_vjp, wirtinger=True, saves="o", grad_name="LinalgEighBackward0"
)
EIGH = named("linalg_eigh", "eigenvalues", "eigenvectors")


def eigh(A, UPLO: str = "L", *, out=None):
    """(eigenvalues in ascending order, eigenvectors as columns) of symmetric matrices.

    One triangle of a matrix is read: the lower, or with UPLO="U" the upper.
    """
    if UPLO.upper() not in ("L", "U"):
        raise RuntimeError(f"Expected UPLO argument to be 'L' or 'U', but got {UPLO}")
    return EIGH(*apply(eigh_op, (A,), (UPLO.upper() == "U",)))


def eigvalsh(A, UPLO: str = "L", *, out=None):
    """The eigenvalues of symmetric matrices, in ascending order."""
    return finish(eigh(A, UPLO)[0], out)


def eig_infer(m):
    check_square("linalg.eig", m)
    d = m.dtype.to_complex()
    return Meta(m.shape[:-1], d), Meta(m.shape, d)


def eig_reference(a):
    return tuple(np.linalg.eig(a)) if a.size else (np.zeros(a.shape[:-1], a.dtype), a.copy())


def eig_vjp(ctx, gl, gv):
    """As PyTorch's linalg_eig_backward: eigenvectors have unit length, so only what turns them counts."""
    values, v = ctx.output(0), ctx.output(1)
    if gv is None:
        inner = PUBLIC["diag_embed"](gl)
    else:
        inner = matmul(mH(v), gv)
        inner = inner - matmul(mH(v), v * unsqueeze(diagonal(inner, 0, -2, -1).real, -2))
        eye = PUBLIC["eye"](values.shape[-1], dtype=values.dtype)
        inner = inner * (1 - eye) / ((unsqueeze(values, -2) - unsqueeze(values, -1)).conj() + eye)
        if gl is not None:
            inner = inner + PUBLIC["diag_embed"](gl)
    return (apply(solve_op, (mH(v), matmul(inner, mH(v)))),)


eig_op = Op("linalg_eig", infer=eig_infer, reference=eig_reference, vjp=eig_vjp, saves="o", grad_name="LinalgEigBackward0", wirtinger=True)
EIG = named("linalg_eig", "eigenvalues", "eigenvectors")


def eig(A, *, out=None):
    """(eigenvalues, eigenvectors as columns) of square matrices, complex, in no particular order.

    RuntimeError where A holds NaN or infinity.
    """
    check_square("linalg.eig", A._meta)
    return EIG(*apply(eig_op, (A,)))


def eigvals(A, *, out=None):
    """The eigenvalues of square matrices, complex, in no particular order."""
    return finish(eig(A)[0], out)


# -- least squares and pseudo-inverses -------------------------------------------------------------------------------
def pinv_infer(m, rtol, hermitian):
    check_matrix("linalg.pinv", m)
    return Meta((*m.shape[:-2], m.shape[-1], m.shape[-2]), m.dtype)


def pinv_reference(a, rtol, hermitian):
    if a.size == 0:
        return np.zeros((*a.shape[:-2], a.shape[-1], a.shape[-2]), a.dtype)
    return np.linalg.pinv(
        a, rcond=max(a.shape[-2:]) * np.finfo(a.dtype).eps if rtol is None else rtol, hermitian=hermitian
    )


def pinv_vjp(ctx, g):
    a, p, gt = ctx.input(0), ctx.output(), mH(g)
    pt = mH(p)
    if a.shape[-2] <= a.shape[-1]:
        k = matmul(gt, p)
        kp = matmul(k, pt)
        return (-mH(matmul(p, k)) + kp - matmul(matmul(a, p), kp) + matmul(matmul(pt, p), gt - matmul(k, a)),)
    k = matmul(p, gt)
    pk = matmul(pt, k)
    return (-mH(matmul(k, p)) + matmul(matmul(gt - matmul(a, k), p), pt) + pk - matmul(matmul(pk, p), a),)


pinv_op = Op("linalg_pinv", infer=pinv_infer, reference=pinv_reference, vjp=pinv_vjp, wirtinger=True, saves="0o")


def pinv(A, rcond=None, hermitian: bool = False, *, atol=None, rtol=None, out=None):
    """The Moore-Penrose inverse; singular values at most rtol * the largest count as zero."""
    rtol = rcond if rtol is None else rtol
    if hasattr(rtol, "_meta"):
        rtol = rtol.item()
    if atol is not None:
        if hasattr(atol, "_meta"):
            atol = atol.item()
        largest = float(svdvals(A.detach()).amax()) if A._meta.numel else 0.0
        rtol = max(atol / largest if largest else 0.0, 0.0 if rtol is None else rtol)
    return finish(apply(pinv_op, (A,), (None if rtol is None else float(rtol), bool(hermitian))), out)


LSTSQ = named("linalg_lstsq", "solution", "residuals", "rank", "singular_values")


def lstsq_reference(a, b, rcond):
    return each(
        lambda i, m, v: (
            np.linalg.lstsq(m, v, rcond=rcond)[0] if m.size else np.zeros((m.shape[1], v.shape[1]), m.dtype)
        ),
        a,
        b,
    )[0]


lstsq_op = Op(
    "linalg_lstsq",
    infer=lambda a, b, rcond: Meta((*a.shape[:-1][:-1], a.shape[-1], b.shape[-1]), a.dtype),
    reference=lstsq_reference,
    vjp=lambda ctx, g: lstsq_vjp(ctx, g),
    wirtinger=True, saves="01o",
)


def lstsq_vjp(ctx, g):
    """The rules of pinv(A) @ B."""
    a, b = ctx.input(0), ctx.input(1)
    p = pinv(a)
    pt, gp = mH(p), matmul(g, mH(b))
    gt = mH(gp)
    if a.shape[-2] <= a.shape[-1]:
        k = matmul(gt, p)
        kp = matmul(k, pt)
        to_a = -mH(matmul(p, k)) + kp - matmul(matmul(a, p), kp) + matmul(matmul(pt, p), gt - matmul(k, a))
    else:
        k = matmul(p, gt)
        pk = matmul(pt, k)
        to_a = -mH(matmul(k, p)) + matmul(matmul(gt - matmul(a, k), p), pt) + pk - matmul(matmul(pk, p), a)
    return (to_a, matmul(pt, g))


def lstsq(A, B, rcond=None, *, driver: str | None = None):
    """(solution, residuals, rank, singular values) of min |A @ X - B|; B may be vectors.

    Gradients are those of pinv(A) @ B.
    """
    check_matrix("linalg.lstsq", A._meta, "input")
    vector = A.ndim - 1 == B.ndim
    b = unsqueeze(B, -1) if vector else B
    if A.dtype is not B.dtype:
        raise RuntimeError(
            "torch.linalg.lstsq: Expected input and other to have the same dtype, but got input's dtype "
            f"{A.dtype.label} and other's dtype {B.dtype.label}"
        )
    if b.shape[-2] != A.shape[-2]:
        raise RuntimeError(f"torch.linalg.lstsq: input.size(-2) should match other.size({-1 if vector else -2})")
    lead = broadcast([A.shape[:-2], b.shape[:-2]])
    a, b = expand(A, *lead, *A.shape[-2:]), expand(b, *lead, *b.shape[-2:])
    x = apply(lstsq_op, (a, b), (None if rcond is None else float(rcond),))
    m, n = A.shape[-2:]
    driver = "gelsy" if driver is None else driver
    rank = matrix_rank(A.detach()) if driver != "gels" else filled((0,), 0, int64)
    residuals, values = (
        filled((0,), 0, A.dtype),
        svdvals(A.detach()) if driver in ("gelsd", "gelss") else filled((0,), 0, A.dtype),
    )
    if m > n and (driver == "gels" or (driver != "gelsy" and bool((rank == n).all()))):
        difference = matmul(a, x) - b
        residuals = (difference * difference).sum(-2)
        residuals = reshape(residuals, residuals.shape[:-1]) if vector else residuals
    return LSTSQ(reshape(x, x.shape[:-1]) if vector else x, residuals, rank, values)


def matrix_rank(A, tol=None, hermitian: bool = False, *, atol=None, rtol=None, out=None):
    """How many singular values are above max(atol, rtol * the largest)."""
    check_matrix("torch.linalg.matrix_rank", A._meta, "input")
    if A._meta.numel == 0:
        return finish(filled(A.shape[:-2], 0, int64), out)
    atol = tol if atol is None else atol
    values = eigvalsh(A).abs() if hermitian else svdvals(A)
    if rtol is None:
        rtol = (
            0.0
            if atol is not None
            and not (hasattr(atol, "_meta") and bool((atol <= 0).all()))
            and (hasattr(atol, "_meta") or atol > 0)
            else max(A.shape[-2:]) * float(dtypes.limits(A.dtype).eps)
        )
    limit = values.amax(-1) * rtol
    if atol is not None:
        limit = PUBLIC["maximum"](limit, atol if hasattr(atol, "_meta") else filled(limit.shape, float(atol), A.dtype))
    return finish((values > unsqueeze(limit, -1)).sum(-1), out)


# -- powers, exponentials, products ----------------------------------------------------------------------------------
def replaced(x, value):
    """A copy of x with everything overwritten: value's elements, x's history."""
    y = x.clone()
    y[...] = value
    return y


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


# -- LU --------------------------------------------------------------------------------------------------------------
def lu_infer(m):
    check_matrix("linalg.lu_factor", m)
    return Meta(m.shape, m.dtype), Meta((*m.shape[:-2], min(m.shape[-2:])), int32)


def lu_reference(a):
    import scipy.linalg

    if a.size == 0:
        return a.copy(), np.zeros((*a.shape[:-2], min(a.shape[-2:])), np.int32)

    def one(i, m):
        packed, pivots, _ = scipy.linalg.lapack.get_lapack_funcs("getrf", (m,))(m)
        return packed, (pivots + 1).astype(np.int32)

    return each(one, a)


def permutation(pivots: np.ndarray, rows: int) -> np.ndarray:
    """The rows' order that a sequence of swaps (numbered from 1) leads to."""
    out = np.broadcast_to(np.arange(rows), (*pivots.shape[:-1], rows)).copy()
    for at in np.ndindex(*pivots.shape[:-1]):
        order = out[at]
        for i, p in enumerate(pivots[at]):
            order[[i, p - 1]] = order[[p - 1, i]]
    return out


def lu_vjp(ctx, g, _):
    """Of packed factors; for square ones P L^-T (tril(L^T gL, -1) + triu(gU U^T)) U^-T. PyTorch's linalg_lu_backward has the others."""
    packed = ctx.output(0)
    m, n = packed.shape[-2:]
    k = min(m, n)
    tril, triu, cat = PUBLIC["tril"], PUBLIC["triu"], PUBLIC["cat"]
    low, high = tril(packed, -1)[..., :k] + PUBLIC["eye"](m, k, dtype=packed.dtype), triu(packed)[..., :k, :]
    to_low, to_high = tril(g, -1)[..., :k], triu(g)[..., :k, :]

    def solve_low(x):
        return apply(triangular_op, (mT(low[..., :k, :]), x), (True, True))

    def solve_high(x):
        return mT(apply(triangular_op, (high[..., :k], mT(x)), (True, False)))

    if m < n:
        inner = tril(matmul(mT(low), to_low) - matmul(to_high, mT(high)), -1)
        full = solve_low(cat([solve_high(inner) + to_high[..., :k], to_high[..., k:]], -1))
    elif m > n:
        inner = solve_low(triu(matmul(to_high, mT(high)) - matmul(mT(low), to_low)))
        full = solve_high(cat([inner + to_low[..., :k, :], to_low[..., k:, :]], -2))
    else:
        full = solve_high(solve_low(tril(matmul(mT(low), to_low), -1) + triu(matmul(to_high, mT(high)))))
    order = permutation(ctx.output(1)._array(), m)
    rows = expand(from_array(np.argsort(order, -1))[..., None], *full.shape)
    return (PUBLIC["gather"](full, full.ndim - 2, rows),)


lu_op = Op(
    "linalg_lu_factor",
    infer=lu_infer,
    reference=lu_reference,
    vjp=lu_vjp,
    saves="o",
    grad_name="LinalgLuFactorExBackward0",
)
LU = {
    "lu_factor": named("linalg_lu_factor", "LU", "pivots"),
    "lu_factor_ex": named("linalg_lu_factor_ex", "LU", "pivots", "info"),
    "lu": named("linalg_lu", "P", "L", "U"),
    "lu_unpack": named("lu_unpack", "P", "L", "U"),
}


def lu_factor(A, *, pivot: bool = True, out=None):
    """(packed factors, pivots numbered from 1) of an LU factorisation with partial pivoting."""
    if not pivot:
        raise NotImplementedError("linalg.lu_factor: LU without pivoting is not implemented on the CPU")
    return LU["lu_factor"](*apply(lu_op, (A,)))


def lu_factor_ex(A, *, pivot: bool = True, check_errors: bool = False, out=None):
    """(packed factors, pivots, info): info is the number of the first zero pivot, or 0."""
    packed, pivots = lu_factor(A, pivot=pivot)
    zero = diagonal(packed.detach(), 0, -2, -1)._array() == 0
    info = (
        np.where(zero.any(-1), zero.argmax(-1) + 1, 0).astype(np.int32)
        if zero.shape[-1]
        else np.zeros(zero.shape[:-1], np.int32)
    )
    return LU["lu_factor_ex"](packed, pivots, from_array(np.array(info, np.int32)))


def lu_unpack(LU_data, LU_pivots, unpack_data: bool = True, unpack_pivots: bool = True, *, out=None):
    """(P, L, U) of packed factors and pivots."""
    *lead, m, n = LU_data.shape
    k = min(m, n)
    none = filled((0,), 0, LU_data.dtype)
    p, low, high = none, none, none
    if unpack_data:
        low = PUBLIC["tril"](LU_data, -1)[..., :k] + PUBLIC["eye"](m, k, dtype=LU_data.dtype)
        high = PUBLIC["triu"](LU_data)[..., :k, :]
    if unpack_pivots:
        order = permutation(LU_pivots._array(), m)
        p = from_array(
            np.ascontiguousarray(np.swapaxes(np.eye(m, dtype=LU_data.dtype.np)[order], -1, -2)).reshape(*lead, m, m)
        )
    return LU["lu_unpack"](p, low, high)


def lu(A, *, pivot: bool = True, out=None):
    """(P, L, U) with A = P @ L @ U."""
    return LU["lu"](*lu_unpack(*lu_factor(A, pivot=pivot)))


def lu_solve(LU_data, pivots, B, *, left: bool = True, adjoint: bool = False, out=None):
    """X with A @ X = B, given the LU factors of A."""
    if not left:
        return finish(mT(lu_solve(LU_data, pivots, mT(B), adjoint=not adjoint)), out)
    p, low, high = lu_unpack(LU_data, pivots)
    if adjoint:
        inside = solve_triangular(mT(high), B, upper=False)
        return finish(matmul(p, solve_triangular(mT(low), inside, upper=True, unitriangular=True)), out)
    inside = solve_triangular(low, matmul(mT(p), B), upper=False, unitriangular=True)
    return finish(solve_triangular(high, inside, upper=True), out)


def lu_solve_old(b, LU_data, LU_pivots, *, out=None):
    """As `linalg.lu_solve`, with the right-hand side first."""
    return lu_solve(LU_data, LU_pivots, b, out=out)


# -- LDL, Householder vectors, low rank ------------------------------------------------------------------------------
def ldl_infer(m, hermitian):
    check_square("torch.linalg.ldl_factor_ex", m)
    return Meta(m.shape, m.dtype), Meta(m.shape[:-1], int32), Meta(m.shape[:-2], int32)


def ldl_name(dtype, hermitian: bool, routine: str) -> str:
    return ("he" if hermitian and dtype.kind == "c" else "sy") + routine


def ldl_reference(a, hermitian):
    import scipy.linalg

    if a.size == 0:
        return a.copy(), np.zeros(a.shape[:-1], np.int32), np.zeros(a.shape[:-2], np.int32)

    def one(i, m):
        factor = scipy.linalg.lapack.get_lapack_funcs(ldl_name(a.dtype, hermitian, "trf"), (m,))
        packed, pivots, info = factor(m, lower=1)
        return np.tril(packed), pivots.astype(np.int32), np.full((1, 1), info, np.int32)

    packed, pivots, info = each(one, a)
    return packed, pivots, info.reshape(a.shape[:-2])


ldl_op = Op("linalg_ldl_factor", infer=ldl_infer, reference=ldl_reference)
LDL = {
    "ldl_factor": named("linalg_ldl_factor", "LD", "pivots"),
    "ldl_factor_ex": named("linalg_ldl_factor_ex", "LD", "pivots", "info"),
}


def ldl_factor_ex(A, *, hermitian: bool = False, check_errors: bool = False, out=None):
    """(LD packed in the lower triangle, pivots, info) of symmetric (hermitian: Hermitian) matrices, as LAPACK's sytrf gives them."""
    return LDL["ldl_factor_ex"](*apply(ldl_op, (A,), (bool(hermitian),)))


def ldl_factor(A, *, hermitian: bool = False, out=None):
    """(LD, pivots) of symmetric matrices. LinAlgError for a singular one."""
    packed, pivots, info = ldl_factor_ex(A, hermitian=hermitian)
    if bool((info > 0).any()):
        raise LinAlgError(f"torch.linalg.ldl_factor_ex: The diagonal element {int(info.max())} is zero.")
    return LDL["ldl_factor"](packed, pivots)


def ldl_solve_infer(packed, pivots, b, hermitian):
    return solve_infer(packed, b)


def ldl_solve_reference(packed, pivots, b, hermitian):
    import scipy.linalg

    lead = np.broadcast_shapes(packed.shape[:-2], b.shape[:-2])
    n, k = b.shape[-2:]
    if 0 in (*lead, n, k):
        return np.zeros((*lead, n, k), b.dtype)
    packed, pivots, b = (np.broadcast_to(x, (*lead, *shape)) for x, shape in ((packed, (n, n)), (pivots[..., None], (n, 1)), (b, (n, k))))

    def one(i, m, p, v):
        solver = scipy.linalg.lapack.get_lapack_funcs(ldl_name(packed.dtype, hermitian, "trs"), (m, v))
        return solver(m, p[:, 0].astype(np.int32), v, lower=1)[0]

    return each(one, packed, pivots, b)[0]


ldl_solve_op = Op("linalg_ldl_solve", infer=ldl_solve_infer, reference=ldl_solve_reference)


def ldl_solve(LD, pivots, B, *, hermitian: bool = False, out=None):
    """X with A @ X = B, given what `ldl_factor` gave for A."""
    check_square("torch.linalg.ldl_solve", LD._meta, "LD")
    check_matrix("torch.linalg.ldl_solve", B._meta, "B")
    return finish(apply(ldl_solve_op, (LD, pivots, B), (bool(hermitian),)), out)


def geqrf_infer(m):
    check_matrix("torch.geqrf", m, "input")
    return Meta(m.shape, m.dtype), Meta((*m.shape[:-2], min(m.shape[-2:])), m.dtype)


def geqrf_reference(a):
    if a.size == 0:
        return a.copy(), np.zeros((*a.shape[:-2], min(a.shape[-2:])), a.dtype)
    h, tau = np.linalg.qr(a, mode="raw")
    return np.swapaxes(h, -1, -2), tau


geqrf_op = Op("geqrf", infer=geqrf_infer, reference=geqrf_reference)
GEQRF = named("geqrf", "a", "tau")


def geqrf(input, *, out=None):
    """(a, tau): R in the upper triangle, and the Householder vectors that make up Q below it."""
    return GEQRF(*apply(geqrf_op, (input,)))


def ormqr(input, tau, other, left: bool = True, transpose: bool = False, *, out=None):
    """The product of other with the (m, m) matrix Q of Householder vectors, or with its conjugate transpose."""
    check_matrix("torch.ormqr", input._meta, "input")
    check_matrix("torch.ormqr", other._meta, "other")
    m, k = input.shape[-2], tau.shape[-1]
    if other.shape[-2 if left else -1] != m:
        raise RuntimeError(f"torch.ormqr: other.shape[{-2 if left else -1}] must be equal to input.shape[-2]")
    low = PUBLIC["tril"](input, -1)[..., :k] + PUBLIC["eye"](m, k, dtype=input.dtype)
    result = other
    # Q = H_1 ... H_k, and H_i = I - tau v v^H: applied to the left from the last on, transposed or from the right from the first on
    for i in range(k) if left == transpose else reversed(range(k)):
        v, t = low[..., i : i + 1], tau[..., i : i + 1, None]
        t = t.conj() if transpose else t
        if left:
            result = result - t * matmul(v, matmul(mH(v), result))
        else:
            result = result - t * matmul(matmul(result, v), mH(v))
    return finish(result, out)


def lowrank_range(A, q: int, rounds: int):
    """An orthonormal basis of about the range of A (Halko, Martinsson, Tropp 2009, algorithm 4.4)."""
    sample = PUBLIC["randn"](A.shape[-1], q, dtype=A.dtype)
    basis = qr(matmul(A, sample))[0]
    for _ in range(rounds):
        basis = qr(matmul(mH(A), basis))[0]
        basis = qr(matmul(A, basis))[0]
    return basis


def svd_lowrank(A, q: int | None = 6, niter: int | None = 2, M=None):
    """(U, S, V) of about the q largest singular values of A - M, by random projection."""
    A = A if M is None else A - M
    wide = A.shape[-2] < A.shape[-1]
    A = mH(A) if wide else A
    basis = lowrank_range(A, 6 if q is None else q, 2 if niter is None else niter)
    u, s, vh = svd(matmul(mH(basis), A), full_matrices=False)
    u, v = matmul(basis, u), mH(vh)
    return (v, s, u) if wide else (u, s, v)


def pca_lowrank(A, q: int | None = None, center: bool = True, niter: int = 2):
    """(U, S, V) of about the q principal components of the rows of A. ValueError for a q that is too large."""
    m, n = A.shape[-2:]
    q = min(6, m, n) if q is None else q
    if not 0 <= q <= min(m, n):
        raise ValueError(f"q(={q}) must be non-negative integer and not greater than min(m, n)={min(m, n)}")
    if niter < 0:
        raise ValueError(f"niter(={niter}) must be non-negative integer")
    return svd_lowrank(A - A.mean(-2, keepdim=True) if center else A, q, niter)


def lu_old(A, pivot: bool = True, get_infos: bool = False, out=None):
    """(packed factors, pivots), and info with get_infos: as `linalg.lu_factor_ex`."""
    result = lu_factor_ex(A, pivot=pivot)
    return result if get_infos else LU["lu_factor"](*result[:2])


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


def householder_product(A, tau, *, out=None):
    """The first columns of a product of Householder matrices I - tau_i v_i v_i.T, the v_i below the diagonal of A."""
    check_matrix("torch.linalg.householder_product", A._meta, "input")
    *lead, m, n = A.shape
    if m < n:
        raise RuntimeError(
            "torch.linalg.householder_product: input.shape[-2] must be greater than or equal to input.shape[-1]"
        )
    if n < tau.shape[-1]:
        raise RuntimeError(
            "torch.linalg.householder_product: input.shape[-1] must be greater than or equal to tau.shape[-1]"
        )
    result = expand(PUBLIC["eye"](m, n, dtype=A.dtype), *lead, m, n)
    low = PUBLIC["tril"](A, -1) + PUBLIC["eye"](m, n, dtype=A.dtype)
    for i in reversed(range(tau.shape[-1])):
        v = low[..., i : i + 1]
        result = result - tau[..., i : i + 1, None] * matmul(v, matmul(mT(v), result))
    return finish(replaced(A, result) if tau.shape[-1] == 0 else result, out)


def slogdet_old(input):
    """As `linalg.slogdet`."""
    return SLOGDET["slogdet"](*slogdet(input))


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

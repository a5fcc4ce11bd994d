"""Linear algebra.

Factorisations and solvers are library calls (LAPACK through NumPy and SciPy); their gradients, and everything that can
be said with products, are compositions.

Gradient formulas: M. Giles, "An extended collection of matrix derivative results for forward and reverse mode automatic
differentiation" (2008), and, for rectangular cases, the rules PyTorch documents in FunctionsManual.
"""

from __future__ import annotations

from collections.abc import Callable
from math import prod

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


def finish(result, out):
    return result if out is None else write_out(out, result)


# -- checks ----------------------------------------------------------------------------------------------------------
def check_matrix(name: str, m, what: str = "A") -> None:
    if len(m.shape) < 2:
        raise RuntimeError(f"{name}: The input tensor {what} must have at least 2 dimensions.")
    if m.dtype.category != FLOAT:
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
    u, s, vh = np.linalg.svd(a.astype(np.float64))
    n = s.shape[-1]
    others = np.stack([np.prod(np.delete(s, i, -1), -1) for i in range(n)], -1)
    sign = np.linalg.det(u) * np.linalg.det(vh)
    return (u * (others * sign[..., None])[..., None, :]) @ vh


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
    return Meta(m.shape[:-2], m.dtype), Meta(m.shape[:-2], m.dtype)


def slogdet_vjp(ctx, _, g):
    return (None if g is None else column(g) * mT(inv(ctx.input(0))),)


slogdet_op = Op(
    "linalg_slogdet",
    infer=slogdet_infer,
    reference=lambda a: tuple(np.linalg.slogdet(a)),
    vjp=slogdet_vjp,
    saves="0",
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
    inside = PUBLIC["tril"](matmul(mT(low), g))
    inside = inside - PUBLIC["diag_embed"](diagonal(inside, 0, -2, -1)) * 0.5
    left = apply(triangular_op, (mT(low), inside), (True, False))
    full = mT(apply(triangular_op, (mT(low), mT(left)), (True, False)))
    return ((full + mT(full)) * 0.5,)


cholesky_op = Op(
    "linalg_cholesky",
    infer=cholesky_infer,
    reference=cholesky_reference,
    vjp=cholesky_vjp,
    saves="o",
    grad_name="LinalgCholeskyExBackward0",
)


def cholesky(A, *, upper: bool = False, out=None):
    """The triangular L with A = L @ L.T (or U = L.T).

    LinAlgError, when it is computed, unless A is positive-definite.
    """
    low = apply(cholesky_op, (A,))
    return finish(mT(low) if upper else low, out)


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
        term = matmul(to_b, mT(ctx.output()))
        term = term + mT(term)
        to_low = -(matmul(low, term) if upper else matmul(term, low))
    return (to_b, to_low)


cholesky_solve_op = Op(
    "cholesky_solve",
    infer=lambda b, low, upper: solve_infer(low, b),
    reference=cholesky_solve_reference,
    vjp=cholesky_solve_vjp,
    saves="1o",
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
    to_first = qr_square_vjp(q, first, gq + matmul(matmul(q, rest), mT(g_rest)), g_first)
    return (PUBLIC["cat"]([to_first, matmul(q, g_rest)], -1),)


def qr_square_vjp(q, r, gq, gr):
    inside = PUBLIC["triu"](matmul(gr, mT(r)) - matmul(mT(q), gq))
    both = inside + mT(inside)
    both = both - PUBLIC["diag_embed"](diagonal(both, 0, -2, -1)) * 0.5
    return mT(apply(triangular_op, (r, mT(gq + matmul(q, both))), (True, False)))


qr_op = Op("linalg_qr", infer=qr_infer, reference=qr_reference, vjp=qr_vjp, saves="o", grad_name="LinalgQrBackward0")
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
        Meta((*lead, k), m.dtype),
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
    left, right = matmul(mT(u), gu), matmul(v, mT(gv))
    inner = (left - mT(left)) / gaps * unsqueeze(s, -2) + unsqueeze(s, -1) * ((right - mT(right)) / gaps)
    if gs is not None:
        inner = inner + PUBLIC["diag_embed"](gs)
    total = matmul(matmul(u, inner), v)
    if m > k:
        total = total + matmul((gu - matmul(u, left)) / unsqueeze(s, -2), v)
    if n > k:
        total = total + matmul(u, (gv - matmul(mT(right), v)) / unsqueeze(s, -1))
    return (total,)


svd_op = Op(
    "linalg_svd", infer=svd_infer, reference=svd_reference, vjp=svd_vjp, saves="o", grad_name="LinalgSvdBackward0"
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
    return SVD["svd"](u, s, mT(v))


def svdvals(A, *, driver=None, out=None):
    """Singular values in descending order."""
    return finish(apply(svd_op, (A,), (False,))[1], out)


# -- eigenvalues of symmetric matrices ---------------------------------------------------------------------------------
def eigh_infer(m, upper):
    check_square("linalg.eigh", m)
    return Meta(m.shape[:-1], m.dtype), Meta(m.shape, m.dtype)


def eigh_reference(a, upper):
    if a.size == 0:
        return np.zeros(a.shape[:-1], a.dtype), a.copy()
    return tuple(np.linalg.eigh(a, "U" if upper else "L"))


def eigh_vjp(ctx, gl, gv):
    values, v = ctx.output(0), ctx.output(1)
    if gv is None:
        return (matmul(v * unsqueeze(gl, -2), mT(v)),)
    gaps = unsqueeze(values, -2) - unsqueeze(values, -1)
    eye = PUBLIC["eye"](values.shape[-1], dtype=values.dtype)
    inner = matmul(mT(v), gv) * (1 - eye) / (gaps + eye)
    if gl is not None:
        inner = inner + PUBLIC["diag_embed"](gl)
    result = matmul(matmul(v, inner), mT(v))
    return ((result + mT(result)) * 0.5,)


eigh_op = Op(
    "linalg_eigh", infer=eigh_infer, reference=eigh_reference, vjp=eigh_vjp, saves="o", grad_name="LinalgEighBackward0"
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


def needs_complex(name: str):
    def fn(A, *args, **kwargs):
        raise NotImplementedError(
            f"linalg.{name}: its results are complex, and jitorch has no complex dtypes; for symmetric matrices use "
            "linalg.eigh"
        )

    fn.__name__ = fn.__qualname__ = name
    fn.__doc__ = (
        "Raises NotImplementedError: eigenvalues of general matrices are complex, which jitorch has no dtype for."
    )
    return fn


eig, eigvals = needs_complex("eig"), needs_complex("eigvals")


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
    a, p, gt = ctx.input(0), ctx.output(), mT(g)
    pt = mT(p)
    if a.shape[-2] <= a.shape[-1]:
        k = matmul(gt, p)
        kp = matmul(k, pt)
        return (-mT(matmul(p, k)) + kp - matmul(matmul(a, p), kp) + matmul(matmul(pt, p), gt - matmul(k, a)),)
    k = matmul(p, gt)
    pk = matmul(pt, k)
    return (-mT(matmul(k, p)) + matmul(matmul(gt - matmul(a, k), p), pt) + pk - matmul(matmul(pk, p), a),)


pinv_op = Op("linalg_pinv", infer=pinv_infer, reference=pinv_reference, vjp=pinv_vjp, saves="0o")


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
    saves="01o",
)


def lstsq_vjp(ctx, g):
    """The rules of pinv(A) @ B."""
    a, b = ctx.input(0), ctx.input(1)
    p = pinv(a)
    pt, gp = mT(p), matmul(g, mT(b))
    gt = mT(gp)
    if a.shape[-2] <= a.shape[-1]:
        k = matmul(gt, p)
        kp = matmul(k, pt)
        to_a = -mT(matmul(p, k)) + kp - matmul(matmul(a, p), kp) + matmul(matmul(pt, p), gt - matmul(k, a))
    else:
        k = matmul(p, gt)
        pk = matmul(pt, k)
        to_a = -mT(matmul(k, p)) + matmul(matmul(gt - matmul(a, k), p), pt) + pk - matmul(matmul(pk, p), a)
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
    """Dot products along a dimension, the others broadcasting."""
    return finish((x * y).sum(dim, dtype=(x * y).dtype), out)


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
    if x.dtype.category != FLOAT:
        x = x.to(get_default_dtype())
    n, weights = x.shape[1], None
    for what, w in (("fweights", fweights), ("aweights", aweights)):
        if w is None:
            continue
        if w.ndim > 1:
            raise RuntimeError(
                f"cov(): expected {what} to have one or fewer dimensions but got {what} with {w.ndim} dimensions"
            )
        if w._meta.numel != n:
            raise RuntimeError(
                f"cov(): expected {what} to have the same numel as there are observations in the input but got "
                f"{w._meta.numel} != {n}"
            )
        weights = w.to(x.dtype) if weights is None else weights * w.to(x.dtype)
    if weights is None:
        centred = x - x.mean(1, keepdim=True)
        product = matmul(centred, mT(centred)) / max(n - correction, 0)
    else:
        total = weights.sum()
        centred = x - (x * weights).sum(1, keepdim=True) / total
        used = (weights * aweights.to(x.dtype)).sum() / total if aweights is not None else 1
        factor = (total - correction * used).clamp(min=0)
        product = matmul(centred * weights, mT(centred)) / factor
    return reshape(product, ()) if product.shape == (1, 1) and input.ndim < 2 or product._meta.numel == 1 else product


def corrcoef(input):
    """Pearson's correlation coefficients of variables in rows, observations in columns."""
    c = cov(input)
    if c.ndim == 0:
        return c / c
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
    """Of the packed factors of square matrices: P L^-T (tril(L^T gL, -1) + triu(gU U^T)) U^-T."""
    packed = ctx.output(0)
    n = packed.shape[-1]
    if packed.shape[-2] != n:
        raise NotImplementedError(
            "linalg.lu_factor: gradients of rectangular matrices are not supported; use linalg.qr"
        )
    tril, triu = PUBLIC["tril"], PUBLIC["triu"]
    low = tril(packed, -1) + PUBLIC["eye"](n, dtype=packed.dtype)
    high = triu(packed)
    inner = tril(matmul(mT(low), tril(g, -1)), -1) + triu(matmul(triu(g), mT(high)))
    left = apply(triangular_op, (mT(low), inner), (True, True))
    full = mT(apply(triangular_op, (high, mT(left)), (True, False)))
    order = permutation(ctx.output(1)._array(), n)
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
}
PUBLIC.update(OLD_NAMES)
METHODS.update(OLD_NAMES)
PUBLIC.update(lu_unpack=lu_unpack, cdist=cdist, cov=cov, corrcoef=corrcoef)
METHODS.update(cov=cov, corrcoef=corrcoef)

# What `jitorch.linalg` holds.
LINALG = dict(
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

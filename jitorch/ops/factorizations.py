"""Factorisations of matrices: Cholesky, QR, LU, LDL, and Householder vectors. References are LAPACK's.

Gradients: M. Giles, "An extended collection of matrix derivative results for forward and reverse mode automatic
differentiation" (2008), and, for rectangular matrices, the rules PyTorch documents in FunctionsManual.
"""

from __future__ import annotations

import numpy as np

from ..dtypes import int32
from ..graph.record import Meta
from ..tensor import from_array
from .contraction import matmul
from .dispatch import PUBLIC, Op, apply
from .indexing import filled
from .matrices import LinAlgError, at_element, check_matrix, check_square, each, mH, mT, replaced
from .publish import finish
from .reductions import named
from .solve import EX, column, solve_infer, solve_triangular, triangular_op
from .views import diagonal, expand


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
            f"positive-definite (the leading minor of order {first_bad_minor(flat[bad])} is not positive-definite)."
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
        return finish(EX["cholesky"](cholesky(A, upper=upper), from_array(info)), out)
    bad = from_array(info != 0)
    safe = PUBLIC["where"](column(bad), expand(PUBLIC["eye"](A.shape[-1], dtype=A.dtype), *A.shape), A)
    return finish(EX["cholesky"](cholesky(safe, upper=upper), from_array(info)), out)


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
        return finish(QR["linalg_qr"](filled((0,), 0, A.dtype), apply(qr_op, (A,), ("reduced",))[1]), out)
    return finish(QR["linalg_qr"](*apply(qr_op, (A,), (mode,))), out)


def qr_old(input, some: bool = True, *, out=None):
    """As `linalg.qr`, with some=False for mode "complete"."""
    return finish(QR["qr"](*qr(input, "reduced" if some else "complete")), out)


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
    return finish(LU["lu_factor"](*apply(lu_op, (A,))), out)


def lu_factor_ex(A, *, pivot: bool = True, check_errors: bool = False, out=None):
    """(packed factors, pivots, info): info is the number of the first zero pivot, or 0."""
    packed, pivots = lu_factor(A, pivot=pivot)
    zero = diagonal(packed.detach(), 0, -2, -1)._array() == 0
    info = (
        np.where(zero.any(-1), zero.argmax(-1) + 1, 0).astype(np.int32)
        if zero.shape[-1]
        else np.zeros(zero.shape[:-1], np.int32)
    )
    return finish(LU["lu_factor_ex"](packed, pivots, from_array(np.array(info, np.int32))), out)


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
    return finish(LU["lu_unpack"](p, low, high), out)


def lu(A, *, pivot: bool = True, out=None):
    """(P, L, U) with A = P @ L @ U."""
    return finish(LU["lu"](*lu_unpack(*lu_factor(A, pivot=pivot))), out)


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
    return finish(LDL["ldl_factor_ex"](*apply(ldl_op, (A,), (bool(hermitian),))), out)


def ldl_factor(A, *, hermitian: bool = False, out=None):
    """(LD, pivots) of symmetric matrices. LinAlgError for a singular one."""
    packed, pivots, info = ldl_factor_ex(A, hermitian=hermitian)
    if bool((info > 0).any()):
        raise LinAlgError(f"torch.linalg.ldl_factor_ex: The diagonal element {int(info.max())} is zero.")
    return finish(LDL["ldl_factor"](packed, pivots), out)


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
    return finish(GEQRF(*apply(geqrf_op, (input,))), out)


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


def lu_old(A, pivot: bool = True, get_infos: bool = False, out=None):
    """(packed factors, pivots), and info with get_infos: as `linalg.lu_factor_ex`."""
    result = lu_factor_ex(A, pivot=pivot)
    return finish(result if get_infos else LU["lu_factor"](*result[:2]), out)


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

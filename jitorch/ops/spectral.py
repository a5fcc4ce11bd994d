"""Singular values and eigenvalues, and what rests on them: pseudo-inverses, least squares, ranks, low-rank approximations.

Gradients: as PyTorch documents them in FunctionsManual.
"""

from __future__ import annotations

import numpy as np

from .. import dtypes
from ..dtypes import int64
from ..graph.ir import broadcast
from ..graph.record import Meta
from .contraction import matmul
from .dispatch import PUBLIC, Op, apply
from .factorizations import qr
from .indexing import filled
from .matrices import LinAlgError, check_matrix, check_square, each, mH
from .publish import finish
from .reductions import named
from .solve import solve_op
from .views import diagonal, expand, reshape, unsqueeze


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
    """(U, S, Vh) with A = U @ diag(S) @ Vh, singular values in descending order.

    >>> import jitorch as torch
    >>> torch.linalg.svd(torch.tensor([[3., 0.], [0., 4.]])).S
    tensor([4., 3.])
    """
    return finish(SVD["linalg_svd"](*apply(svd_op, (A,), (bool(full_matrices),))), out)


def svd_old(input, some: bool = True, compute_uv: bool = True, *, out=None):
    """(U, S, V) with input = U @ diag(S) @ V.T."""
    if not compute_uv:
        m, n = input.shape[-2:]
        lead = input.shape[:-2]
        return finish(SVD["svd"](filled((*lead, m, m), 0, input.dtype), svdvals(input), filled((*lead, n, n), 0, input.dtype)), out)
    u, s, v = svd(input, not some)
    return finish(SVD["svd"](u, s, mH(v)), out)


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
    return finish(EIGH(*apply(eigh_op, (A,), (UPLO.upper() == "U",))), out)


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
    return finish(EIG(*apply(eig_op, (A,))), out)


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

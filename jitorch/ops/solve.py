"""Determinants, inverses, and equations with a square matrix.

Gradients: M. Giles, "An extended collection of matrix derivative results for forward and reverse mode automatic
differentiation" (2008).
"""

from __future__ import annotations

import numpy as np

from ..graph.ir import broadcast
from ..graph.record import Meta
from ..tensor import from_array
from .contraction import matmul
from .dispatch import PUBLIC, Op, apply
from .masks import masked_fill
from .matrices import LinAlgError, at_element, check_matrix, check_square, each, mH, mT
from .publish import finish
from .reductions import named
from .views import expand, reshape, unsqueeze


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
            "not be completed because the input matrix is singular."
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
    return finish(SLOGDET["linalg_slogdet"](*apply(slogdet_op, (A,))), out)


def logdet(input):
    """The logarithm of the determinants: NaN where negative, -inf where zero."""
    sign, value = slogdet(input)
    return masked_fill(value, sign == -1, float("nan"))


def with_info(A, make, invalid):
    """(make(A), info): info is the number of a singular matrix's zero pivot, or 0; results of singular ones are NaN.

    invalid(bad, result): which elements of the result those are.
    """
    values = A._array()
    info = np.zeros(values.shape[:-2], np.int32)
    for at in np.ndindex(*info.shape):
        info[at] = singular(values[at]) if values[at].size else 0
    if not info.any():
        return make(A), from_array(info)
    bad = from_array(info != 0)
    result = make(PUBLIC["where"](column(bad), expand(PUBLIC["eye"](A.shape[-1], dtype=A.dtype), *A.shape), A))
    return masked_fill(result, invalid(bad, result), float("nan")), from_array(info)


def inv_ex(A, *, check_errors: bool = False, out=None):
    """(inverses, info): info is 0, or the number of the zero pivot of a singular matrix, whose inverse is not a number.

    LinAlgError, when it is computed, with check_errors.
    """
    check_square("linalg.inv", A._meta)
    result, info = with_info(A, inv, lambda bad, x: column(bad))
    return finish(EX["inv"](inv(A) if check_errors else result, info), out)


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
    """(X with A @ X = B, info): info is 0, or the number of the zero pivot of a singular matrix, whose X is not a number.

    LinAlgError, when it is computed, with check_errors.
    """
    check_square("linalg.solve", A._meta)
    result, info = with_info(A, lambda a: solve(a, B, left=left), lambda bad, x: bad if x.ndim <= 1 else column(bad))
    return finish(EX["solve"](solve(A, B, left=left) if check_errors else result, info), out)


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
            f"{'AX = B' if left else 'XA = B'} ({A.shape[-2]}x{A.shape[-1]} and {B.shape[-2]}x{B.shape[-1]})"
        )
    if left:
        return finish(apply(triangular_op, (A, B), (bool(upper), bool(unitriangular))), out)
    return finish(mT(apply(triangular_op, (mT(A), mT(B)), (not upper, bool(unitriangular)))), out)


def triangular_solve(b, A, upper: bool = True, transpose: bool = False, unitriangular: bool = False, *, out=None):
    """(X, A) with A @ X = b, or A.T @ X = b, for triangular A."""
    x = solve_triangular(mT(A) if transpose else A, b, upper=upper != transpose, unitriangular=unitriangular)
    return finish(named("triangular_solve", "solution", "cloned_coefficient")(x, A.clone()), out)


def slogdet_old(input):
    """As `linalg.slogdet`."""
    return SLOGDET["slogdet"](*slogdet(input))

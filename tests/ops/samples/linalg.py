"""Samples of linear algebra.

Matrices are kept well conditioned, and factors whose signs are free are compared by what does not depend on them.
"""


def well(torch, t, *shape, dtype="float64"):
    """A square matrix far from singular."""
    return t(*shape, dtype=dtype, low=-1, high=1) + 3 * torch.eye(shape[-1], dtype=getattr(torch, dtype))


def positive(torch, t, *shape, dtype="float64"):
    a = t(*shape, dtype=dtype, low=-1, high=1)
    return a @ a.mT + torch.eye(shape[-1], dtype=getattr(torch, dtype))


def on(name, *shape, make=well, dtype="float64", **kwargs):
    return lambda torch, t: getattr(torch.linalg, name)(make(torch, t, *shape, dtype=dtype), **kwargs)


def plain(torch, t, *shape, dtype="float64"):
    return t(*shape, dtype=dtype)


def symmetric(torch, t, *shape, dtype="float64"):
    a = t(*shape, dtype=dtype)
    return a + a.mT + torch.diag(torch.arange(shape[-1]).to(a.dtype)) * 2


def spectrum(*shape, dtype="float64"):
    def sample(torch, t):
        values, vectors = torch.linalg.eigh(symmetric(torch, t, *shape, dtype=dtype))
        return values, vectors * vectors

    return sample


def singular_parts(*shape, dtype="float64", full=False):
    def sample(torch, t):
        u, s, v = torch.linalg.svd(t(*shape, dtype=dtype), full_matrices=full)
        k = s.shape[-1]
        return s, u[..., :k].abs(), (u[..., :k] * s.unsqueeze(-2) ** 2) @ v[..., :k, :]

    return sample


def triangular(upper, **kwargs):
    def sample(torch, t):
        a = well(torch, t, 3, 3)
        return torch.linalg.solve_triangular(
            a.triu() if upper else a.tril(), t(2, 3, 4, dtype="float64"), upper=upper, **kwargs
        )

    return sample


SAMPLES = {
    "linalg_inv": [
        on("inv", 3, 3),
        on("inv", 2, 3, 3),
        on("inv", 3, 3, dtype="float32"),
        on("inv", 0, 0),
        on("inv", 2, 2, 4, 4),
        on("matrix_power", 3, 3, n=-2),
    ],
    "linalg_det": [
        on("det", 3, 3),
        on("det", 2, 3, 3, dtype="float32"),
        on("det", 1, 1),
        on("det", 0, 0),
        lambda torch, t: torch.linalg.det(torch.ones(2, 2, dtype=torch.float64) * t(dtype="float64")).detach(),
    ],
    "linalg_cofactor": [on("det", 3, 3), on("det", 2, 3, 3)],
    "linalg_slogdet": [
        on("slogdet", 3, 3),
        on("slogdet", 2, 3, 3),
        lambda torch, t: torch.logdet(well(torch, t, 3, 3)),
    ],
    "linalg_solve": [
        lambda torch, t: torch.linalg.solve(well(torch, t, 3, 3), t(3, 2, dtype="float64")),
        lambda torch, t: torch.linalg.solve(well(torch, t, 3, 3), t(3, dtype="float64")),
        lambda torch, t: torch.linalg.solve(well(torch, t, 2, 1, 3, 3), t(4, 3, 2, dtype="float64")),
        lambda torch, t: torch.linalg.solve(well(torch, t, 3, 3), t(2, 3, dtype="float64"), left=False),
        lambda torch, t: torch.linalg.solve(well(torch, t, 3, 3, dtype="float32"), t(3, 2)),
    ],
    "linalg_solve_triangular": [
        triangular(True),
        triangular(False),
        triangular(True, unitriangular=True),
        lambda torch, t: torch.linalg.solve_triangular(
            well(torch, t, 3, 3).tril(), t(2, 3, dtype="float64"), upper=False, left=False
        ),
    ],
    "linalg_cholesky": [
        on("cholesky", 3, 3, make=positive),
        on("cholesky", 2, 3, 3, make=positive),
        on("cholesky", 3, 3, make=positive, dtype="float32", upper=True),
    ],
    "cholesky_solve": [
        lambda torch, t: torch.cholesky_solve(
            t(3, 2, dtype="float64"), torch.linalg.cholesky(positive(torch, t, 3, 3))
        ),
        lambda torch, t: torch.cholesky_solve(
            t(2, 3, 2, dtype="float64"), torch.linalg.cholesky(positive(torch, t, 3, 3), upper=True), upper=True
        ),
        lambda torch, t: torch.cholesky_inverse(torch.linalg.cholesky(positive(torch, t, 3, 3))),
    ],
    "linalg_qr": [
        on("qr", 3, 3),
        on("qr", 5, 3, make=plain),
        on("qr", 2, 3, 5, make=plain),
        on("qr", 4, 4, mode="complete"),
    ],
    "linalg_svd": [
        singular_parts(4, 3),
        singular_parts(3, 4),
        singular_parts(2, 3, 3),
        singular_parts(4, 3, full=True),
        on("svdvals", 4, 3, make=plain, dtype="float32"),
        lambda torch, t: torch.linalg.cond(well(torch, t, 3, 3)),
        lambda torch, t: torch.linalg.matrix_norm(t(3, 4, dtype="float64"), "nuc"),
    ],
    "linalg_eigh": [spectrum(4, 4), spectrum(2, 3, 3), on("eigvalsh", 4, 4, make=symmetric, dtype="float32")],
    "linalg_pinv": [on("pinv", 4, 3, make=plain), on("pinv", 2, 3, 4, make=plain), on("pinv", 3, 3)],
    "linalg_lstsq": [
        lambda torch, t: torch.linalg.lstsq(t(5, 3, dtype="float64"), t(5, 2, dtype="float64"))[0],
        lambda torch, t: torch.linalg.lstsq(t(2, 4, 3, dtype="float64"), t(2, 4, 1, dtype="float64"))[0],
    ],
    "linalg_matrix_exp": [on("matrix_exp", 3, 3, make=plain), on("matrix_exp", 2, 2, 2, make=plain)],
    "linalg_lu_factor": [
        on("lu_factor", 3, 3),
        lambda torch, t: torch.linalg.lu(t(2, 4, 4, dtype="float64")),
        lambda torch, t: torch.linalg.lu(t(4, 3, dtype="float64").detach()),
        lambda torch, t: torch.linalg.lu_solve(*torch.linalg.lu_factor(well(torch, t, 3, 3)), t(3, 2, dtype="float64")),
    ],
    "cross": [
        lambda torch, t: torch.linalg.cross(t(4, 3), t(4, 3)),
        lambda torch, t: torch.cross(t(3, 4), t(3, 4), dim=0),
    ],
    "trace": [lambda torch, t: torch.trace(t(3, 4)), lambda torch, t: torch.trace(t(3, 3, dtype="int32"))],
    "cdist": [
        lambda torch, t: torch.cdist(t(2, 3, 4, dtype="float64"), t(2, 5, 4, dtype="float64")),
        lambda torch, t: torch.cdist(t(3, 4, dtype="float64"), t(5, 4, dtype="float64"), p=1.0),
        lambda torch, t: torch.cdist(t(3, 4, dtype="float64"), t(5, 4, dtype="float64"), p=float("inf")).detach(),
    ],
    "cov": [
        lambda torch, t: torch.cov(t(3, 5, dtype="float64")),
        lambda torch, t: torch.cov(t(5, dtype="float64"), correction=0),
        lambda torch, t: torch.cov(t(2, 4, dtype="float64"), aweights=t(4, dtype="float64", low=0.5, grad=False)),
        lambda torch, t: torch.corrcoef(t(3, 5, dtype="float64")),
    ],
}

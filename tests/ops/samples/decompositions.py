"""Decompositions of general, symmetric and complex matrices; results that are only unique up to a sign or phase are put together again."""


def z(t, *shape):
    return t(*shape, dtype="complex128")


def eigen(torch, t):
    a = t(2, 3, 3, dtype="float64")
    values, vectors = torch.linalg.eig(a)
    back = vectors @ torch.diag_embed(values) @ torch.linalg.inv(vectors)
    return back.real, torch.linalg.eigvals(a @ a).abs().sum(-1), vectors.abs()


def eigen_complex(torch, t):
    values, vectors = torch.linalg.eig(z(t, 3, 3))
    return (vectors @ torch.diag(values) @ torch.linalg.inv(vectors)), vectors.abs()


def symmetric(torch, t):
    a = t(2, 4, 4, dtype="float64", grad=False)
    a = a + a.mT
    packed, pivots = torch.linalg.ldl_factor(a)
    return packed, pivots, torch.linalg.ldl_factor_ex(a).info, torch.linalg.ldl_solve(packed, pivots, t(2, 4, 2, dtype="float64", grad=False))


def householder(torch, t):
    a = t(5, 3, dtype="float64", grad=False)
    h, tau = torch.geqrf(a)
    b = t(5, 2, dtype="float64", grad=False)
    return h, tau, torch.ormqr(h, tau, b), torch.ormqr(h, tau, b.mT, False, True), torch.orgqr(h, tau)


def hermitian(torch, t):
    a = z(t, 3, 3)
    h = a @ a.mH + torch.eye(3, dtype=torch.complex128)
    low = torch.linalg.cholesky(h)
    values, vectors = torch.linalg.eigh(h)
    return low, values, vectors.abs(), torch.linalg.inv(h), torch.linalg.solve(h, z(t, 3, 2)), torch.linalg.det(h), torch.linalg.slogdet(a)[1]


def factors(torch, t):
    a = z(t, 4, 3)
    u, s, vh = torch.linalg.svd(a, full_matrices=False)
    q, r = torch.linalg.qr(a)
    return s, u @ (s.unsqueeze(-1) * vh), u.abs(), q @ r, r.abs(), torch.linalg.pinv(a), torch.linalg.norm(a), torch.linalg.matrix_exp(a[:3])


def phases(torch, t):
    sign, _ = torch.linalg.slogdet(z(t, 3, 3))
    return sign


def rectangular(shape):
    def sample(torch, t):
        p, low, high = torch.linalg.lu(t(*shape, dtype="float64"))
        return low, high, p @ low @ high, torch.linalg.lu_factor(t(*shape, dtype="float64"))[0]

    return sample


def counted(torch, t):
    x = t(20, grad=False)
    return (
        *torch.histogram(x, 5),
        *torch.histogram(x, bins=4, range=(-1.0, 1.0), weight=t(20, low=0.0, grad=False), density=True),
        *torch.histogram(x, t.of([-2, -0.5, 0, 2], grad=False)),
        torch.histogramdd(t(10, 2, grad=False), [3, 2])[0],
    )


def segments(torch, t):
    x = t(6, 2)
    lengths = t.of([2, 0, 3, 1], dtype="int64")
    return tuple(torch.segment_reduce(x, r, lengths=lengths, initial=1.0) for r in ("sum", "mean", "max", "min", "prod")) + (
        torch.segment_reduce(t(2, 3), "sum", lengths=t.of([[1, 2], [3, 0]], dtype="int64"), axis=1),
    )


def slopes(torch, t):
    x = t(4, 5)
    return (
        *torch.gradient(x),
        *torch.gradient(x, spacing=0.5, dim=1, edge_order=2),
        *torch.gradient(x, spacing=(t.of([0, 1, 3, 4], grad=False), t.of([0, 1, 2, 5, 9], grad=False)), edge_order=2),
    )


def fractional(torch, t):
    x, at = t(2, 3, 7, 6), t(2, 3, 2, low=0.0, high=1.0, grad=False)
    f = torch.nn.functional
    y, i = f.fractional_max_pool2d(x, 2, output_size=(4, 3), _random_samples=at, return_indices=True)
    return y, i, f.fractional_max_pool3d(t(1, 2, 5, 5, 6), 2, output_ratio=(0.5, 0.5, 0.7), _random_samples=t(1, 2, 3, low=0.0, high=1.0, grad=False))


SAMPLES = {
    "linalg_eig": [eigen, eigen_complex],
    "linalg_ldl_factor": [symmetric],
    "linalg_ldl_solve": [symmetric],
    "geqrf": [householder],
    "linalg_cholesky": [hermitian],
    "linalg_svd": [factors],
    "linalg_slogdet": [phases],
    "linalg_lu_factor": [rectangular((3, 5)), rectangular((5, 3)), rectangular((2, 4, 4))],
    "_histogramdd": [counted],
    "segment_reduce": [segments],
    "gradient": [slopes],
    "pdist": [lambda torch, t: (torch.pdist(t(4, 3)), torch.pdist(t(3, 2), 1.0))],
    "fractional_max_pool2d": [fractional],
}

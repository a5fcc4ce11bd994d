"""Samples of matrix products."""

NAN, INF = float("nan"), float("inf")


def product(a, b, dtype="float32"):
    return lambda torch, t: torch.matmul(t(*a, dtype=dtype), t(*b, dtype=dtype))


def einsum(equation, *shapes):
    return lambda torch, t: torch.einsum(equation, *(t(*s) for s in shapes))


SHAPES = [
    ((2, 3), (3, 4)),
    ((3,), (3,)),
    ((2, 3), (3,)),
    ((3,), (3, 4)),
    ((5, 2, 3), (3, 4)),
    ((5, 2, 3), (5, 3, 4)),
    ((2, 3), (5, 3, 4)),
    ((4, 1, 2, 3), (5, 3, 2)),
    ((3,), (5, 3, 2)),
    ((5, 2, 3), (3,)),
    ((0, 3), (3, 2)),
    ((2, 0), (0, 2)),
    ((1, 1), (1, 1)),
    ((33, 17), (17, 40)),
    ((3, 0, 2), (2, 4)),
]

SAMPLES = {
    "matmul": [product(a, b) for a, b in SHAPES]
    + [product(a, b, "float64") for a, b in SHAPES[:6]]
    + [product(a, b, "int64") for a, b in SHAPES[:8]]
    + [
        lambda torch, t: t(3, 2).T @ t(4, 3).T,
        lambda torch, t: t(6, 3)[::2] @ t(3, 4).transpose(0, 1)[:3],
        lambda torch, t: t(2, 3, 4).transpose(1, 2) @ t(2, 3, 5),
        lambda torch, t: t(2, 1, 3).expand(2, 4, 3) @ t(3, 2),
        lambda torch, t: t.of([[NAN, 1.0], [INF, 2.0]]) @ t(2, 2),
        lambda torch, t: torch.mm(t(2, 3, dtype="uint8", high=9), t(3, 2, dtype="uint8", high=9)),
        lambda torch, t: torch.bmm(t(3, 2, 4), t(3, 4, 2)),
        lambda torch, t: torch.mv(t(3, 4), t(4)),
        lambda torch, t: torch.dot(t(4, dtype="int32"), t(4, dtype="int32")),
        lambda torch, t: torch.addmm(t(4), t(2, 3), t(3, 4), beta=0.5, alpha=2),
        lambda torch, t: torch.addmm(t.of([NAN]), t(2, 3), t(3, 4), beta=0),
        lambda torch, t: torch.addmv(t(2), t(2, 3), t(3), alpha=-1),
        lambda torch, t: torch.baddbmm(t(2, 1, 4), t(2, 3, 2), t(2, 2, 4), alpha=3),
        lambda torch, t: torch.addbmm(t(3, 4), t(2, 3, 2), t(2, 2, 4), beta=2),
        lambda torch, t: torch.addr(t(2, 3), t(2), t(3), beta=2, alpha=3),
        lambda torch, t: torch.linalg.multi_dot([t(2, 5), t(5, 3), t(3, 6), t(6)]),
        lambda torch, t: torch.tensordot(t(2, 3, 4), t(3, 5, 2), ([1, 0], [0, 2])),
        lambda torch, t: torch.tensordot(t(2, 3), t(2, 3), 2),
        lambda torch, t: torch.inner(t(2, 3), t(4, 3)),
        lambda torch, t: torch.nn.functional.linear(t(3), t(4, 3)),
        lambda torch, t: torch.nn.functional.bilinear(t(5, 3), t(5, 2), t(4, 3, 2), t(4)),
        lambda torch, t: t(3, 3).matrix_power(3),
    ],
    "linear": [
        lambda torch, t: torch.nn.functional.linear(t(2, 3), t(4, 3), t(4)),
        lambda torch, t: torch.nn.functional.linear(t(2, 3), t(4, 3)),
        lambda torch, t: torch.nn.functional.linear(t(5, 2, 3), t(4, 3), t(4)),
        lambda torch, t: torch.nn.functional.linear(t(2, 1, 2, 3), t(1, 3), t(1)),
        lambda torch, t: torch.nn.functional.linear(t(3, 5).t(), t(3, 4).t(), t(2, 4)[0]),
        lambda torch, t: torch.nn.functional.linear(t(2, 1, 3).expand(2, 4, 3), t(6, 3)[::2], t(3)),
        lambda torch, t: torch.nn.functional.linear(t(0, 3), t(4, 3), t(4)),
        lambda torch, t: torch.nn.functional.linear(t(2, 0), t(4, 0), t(4)),
        lambda torch, t: torch.nn.functional.linear(t(2, 3), t(0, 3), t(0)),
        lambda torch, t: torch.nn.functional.linear(t(2, 3, dtype="int64", high=9), t(4, 3, dtype="int64", high=9)),
        lambda torch, t: torch.nn.functional.linear(t.of([[NAN, 1.0], [INF, 2.0]]), t(3, 2), t(3)),
    ],
    "einsum": [
        einsum("ij,jk->ik", (2, 3), (3, 4)),
        einsum("bij,bjk->bik", (2, 3, 4), (2, 4, 5)),
        einsum("ii->i", (3, 3)),
        einsum("ij->ji", (2, 3)),
        einsum("ij->", (2, 3)),
        einsum("i,j->ij", (2,), (3,)),
        einsum("ij,jk,kl->il", (2, 3), (3, 4), (4, 5)),
        einsum("...ij,...jk->...ik", (2, 1, 3, 4), (5, 4, 2)),
        einsum("bhqd,bhkd->bhqk", (2, 2, 3, 4), (2, 2, 5, 4)),
        einsum("ijk,ijk->i", (2, 3, 4), (2, 3, 4)),
        einsum("ab,cd", (2, 3), (2, 4)),
        einsum("ii,i->", (3, 3), (3,)),
        lambda torch, t: torch.einsum(t(2, 3), [0, 1], t(3, 4), [1, 2], [2, 0]),
    ],
    "outer": [lambda torch, t: torch.outer(t(2), t(3)), lambda torch, t: torch.outer(t(2, dtype="int64"), t(3))],
    "kron": [lambda torch, t: torch.kron(t(2, 3), t(4, 2)), lambda torch, t: torch.kron(t(2), t(2, 2))],
}

"""Samples of tensors from sizes and numbers, triangles and diagonals."""

DTYPES = ("bool", "uint8", "int8", "int16", "int32", "int64", "float32", "float64")


def of_dtype(torch, name):
    return getattr(torch, name)


SAMPLES = {
    "full": [
        *(lambda torch, t, d=d: torch.full((2, 3), 3, dtype=of_dtype(torch, d)) for d in DTYPES),
        lambda torch, t: torch.full((2,), 1.5),
        lambda torch, t: torch.full((), True),
        lambda torch, t: torch.full_like(t(2, 3), 2),
        lambda torch, t: torch.zeros(2, 0),
        lambda torch, t: torch.ones((2, 3), dtype=torch.int64),
        lambda torch, t: torch.zeros_like(t(3, dtype="int32")),
        lambda torch, t: torch.ones_like(t(3), dtype=torch.bool),
        lambda torch, t: t(3, dtype="float64").new_zeros(2, 2),
        lambda torch, t: t(3, dtype="int32").new_full((2,), 7),
        lambda torch, t: t(3).new_ones((2, 1)),
        lambda torch, t: torch.scalar_tensor(3),
        lambda torch, t: torch.full((2,), float("inf")),
        lambda torch, t: t(2).new_tensor([1, 2]),
    ],
    "arange": [
        lambda torch, t: torch.arange(5),
        lambda torch, t: torch.arange(2, 9, 3),
        lambda torch, t: torch.arange(5, 0, -2),
        lambda torch, t: torch.arange(0, 1, 0.1),
        lambda torch, t: torch.arange(3.0),
        lambda torch, t: torch.arange(1, 4, dtype=torch.float64),
        lambda torch, t: torch.arange(0.5, 5, 1.5, dtype=torch.int64),
        lambda torch, t: torch.arange(0),
        lambda torch, t: torch.arange(-3, 3, dtype=torch.int8),
        lambda torch, t: torch.arange(1, 2.5, dtype=torch.int32),
        lambda torch, t: torch.arange(300, dtype=torch.float32),
    ],
    "linspace": [
        lambda torch, t: torch.linspace(0, 1, 7),
        lambda torch, t: torch.linspace(3, -10, 5, dtype=torch.float64),
        lambda torch, t: torch.linspace(0, 10, 4, dtype=torch.int64),
        lambda torch, t: torch.linspace(2, 5, 1),
        lambda torch, t: torch.linspace(2, 5, 0),
        lambda torch, t: torch.logspace(0, 3, 4),
        lambda torch, t: torch.logspace(0, 4, 5, base=2, dtype=torch.int64),
        lambda torch, t: torch.logspace(-1, 1, 3, dtype=torch.float64),
    ],
    "eye": [
        lambda torch, t: torch.eye(3),
        lambda torch, t: torch.eye(2, 4, dtype=torch.int32),
        lambda torch, t: torch.eye(3, 1, dtype=torch.bool),
        lambda torch, t: torch.eye(0),
    ],
    "tril_indices": [
        lambda torch, t: torch.tril_indices(3, 4, -1),
        lambda torch, t: torch.triu_indices(3, 4, 1),
        lambda torch, t: torch.tril_indices(0, 2),
    ],
    "diag": [
        lambda torch, t: torch.diag(t(3)),
        lambda torch, t: torch.diag(t(3), 1),
        lambda torch, t: torch.diag(t(3, 4)),
        lambda torch, t: torch.diag(t(3, 4), -1),
        lambda torch, t: t(3, dtype="int64").diag(-2),
    ],
    "diag_embed": [
        lambda torch, t: torch.diag_embed(t(2, 3)),
        lambda torch, t: torch.diag_embed(t(2, 3), 1, 0, 2),
        lambda torch, t: torch.diag_embed(t(3), -1),
        lambda torch, t: torch.diagflat(t(2, 2)),
        lambda torch, t: torch.diag_embed(t(0, 2)),
    ],
    "vander": [
        lambda torch, t: torch.vander(t(3, grad=False)),
        lambda torch, t: torch.vander(t(3, dtype="int64"), 4, increasing=True),
    ],
    "combinations": [
        lambda torch, t: torch.combinations(t(4)),
        lambda torch, t: torch.combinations(t(3, dtype="int32"), 2, True),
        lambda torch, t: torch.combinations(t(3), 3),
    ],
    "as_tensor": [
        lambda torch, t: torch.as_tensor([[1, 2], [3, 4]]),
        lambda torch, t: torch.as_tensor(t(3), dtype=torch.float64),
        lambda torch, t: torch.asarray([1.0, 2.0]),
        lambda torch, t: torch.Tensor([1, 2]),
        lambda torch, t: torch.LongTensor([1, 2]),
        lambda torch, t: torch.FloatTensor([[1], [2]]),
        lambda torch, t: torch.tensor(2.5),
    ],
}
for _name in ("tril", "triu"):
    SAMPLES[_name] = [
        *(lambda torch, t, n=_name, k=k: getattr(torch, n)(t(3, 4), k) for k in (-2, 0, 1, 5)),
        lambda torch, t, n=_name: getattr(t(2, 3, 3, dtype="float64"), n)(),
        lambda torch, t, n=_name: getattr(torch, n)(t(4, 3).t()),
        lambda torch, t, n=_name: getattr(t(3, 3, dtype="bool"), n)(),
        lambda torch, t, n=_name: getattr(t(3, 3, dtype="int64"), n)(1),
        lambda torch, t, n=_name: getattr(t(0, 3), n)(),
        lambda torch, t, n=_name: getattr(t(3, 3) * 1, n + "_")(),
    ]

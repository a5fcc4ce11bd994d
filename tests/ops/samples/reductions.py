"""Samples of reductions."""

NAN, INF = float("nan"), float("inf")
DIMS = (None, 0, -1, (0, 2), (0, 1, 2))


def over(call, low=-2.0, high=2.0, dims=DIMS, empty=True):
    """call(torch, x, dim, keepdim) over shapes, layouts, dimensions; dim None: all of them."""
    found = [
        lambda torch, t, d=d, k=k: call(torch, t(2, 3, 4, low=low, high=high), d, k)
        for d in dims
        for k in (False, True)
    ]
    found += [
        lambda torch, t: call(torch, t(4, 3, dtype="float64", low=low, high=high).transpose(0, 1), 1, False),
        lambda torch, t: call(torch, t(6, 3, low=low, high=high)[::2], 0, True),
        lambda torch, t: call(torch, t(dtype="float64"), 0, False),
    ]
    return found + (
        [lambda torch, t: call(torch, t(0, 3), 0, False), lambda torch, t: call(torch, t(2, 0, 3), 2, True)]
        if empty
        else []
    )


def of(name):
    """A reduction where dim=None is left out of the call (its keepdim, too)."""

    def call(torch, x, dim, keepdim):
        f = getattr(torch, name)
        return f(x) if dim is None else f(x, dim=dim, keepdim=keepdim)

    return call


def integers(name, *dtypes, **options):
    return [
        lambda torch, t, d=d: getattr(torch, name)(t(3, 4, dtype=d, low=-5, high=5), 1, **options) for d in dtypes
    ] + [lambda torch, t, d=d: getattr(torch, name)(t(3, 4, dtype=d)) for d in dtypes]


INTS = ("uint8", "int8", "int32", "int64")
ONE = (None, 0, 1, -1)
TIES = [[1.0, 3.0, 3.0], [2.0, 2.0, 2.0]]
HOLES = [[NAN, 1.0, 2.0], [3.0, NAN, NAN]]

SAMPLES = {
    "sum": [
        *over(of("sum")),
        *integers("sum", *INTS, "bool"),
        lambda torch, t: torch.sum(t(3, 4), 0, dtype=torch.float64),
        lambda torch, t: t(3, 4).sum((), True),
        lambda torch, t: t(3, dtype="bool").sum(dtype=torch.int32),
        lambda torch, t: t(2, 3, 4).sum_to_size(3, 1),
    ],
    "mean": [
        *over(of("mean")),
        lambda torch, t: t(3, dtype="int64").mean(dtype=torch.float32),
        lambda torch, t: t(0).mean(),
    ],
    "prod": [
        *over(of("prod"), dims=ONE),
        *integers("prod", *INTS, "bool"),
        lambda torch, t: t.of([[1.0, 0.0, 2.0], [0.0, 0.0, 3.0], [1.0, 2.0, 3.0]]).prod(1),
        lambda torch, t: t.of([2.0, 0.0, 3.0]).prod(),
        lambda torch, t: torch.prod(t(3, 4), 0, dtype=torch.float64),
        lambda torch, t: t(0).prod(),
    ],
    "nansum": [
        *over(of("nansum")),
        lambda torch, t: torch.nansum(t.of(HOLES), 1),
        lambda torch, t: torch.nansum(t.of(HOLES)),
        lambda torch, t: t(3, dtype="int32").nansum(),
    ],
    "nanmean": [
        lambda torch, t: torch.nanmean(t.of(HOLES), 1),
        lambda torch, t: torch.nanmean(t.of(HOLES)),
        *over(of("nanmean"), empty=False),
    ],
    "all": [
        *over(of("all"))[:10],
        *integers("all", "bool", "uint8", "int64"),
        lambda torch, t: torch.all(t(0, dtype="bool")),
        lambda torch, t: t.of([NAN, 1.0], grad=False).all(),
    ],
    "any": [
        *over(of("any"))[:10],
        *integers("any", "bool", "uint8", "int64"),
        lambda torch, t: torch.any(t(0, dtype="bool")),
    ],
    "count_nonzero": [
        lambda torch, t: torch.count_nonzero(t(3, 4, dtype="int64", low=0, high=1), 1),
        lambda torch, t: torch.count_nonzero(t(3, 4)),
    ],
}
for _name in ("amax", "amin"):
    SAMPLES[_name] = [
        *over(lambda torch, x, d, k, n=_name: getattr(torch, n)(x, () if d is None else d, k), empty=False),
        *integers(_name, *INTS, "bool"),
        lambda torch, t, n=_name: getattr(torch, n)(t.of(TIES), 1),
        lambda torch, t, n=_name: getattr(t.of(TIES), n)(),
        lambda torch, t, n=_name: getattr(torch, n)(t(2, 0, 3), 0),
        lambda torch, t, n=_name: getattr(t.of([[1.0, NAN]], grad=False), n)(1),
    ]
for _name in ("max", "min"):
    SAMPLES[_name] = [
        lambda torch, t, n=_name: getattr(t(3, 4), n)(),
        lambda torch, t, n=_name: getattr(torch, n)(t.of(TIES)),
        *integers(_name, *INTS, "bool")[5:],
        lambda torch, t, n=_name: getattr(torch, n)(t(3, 4), t(4)),
        lambda torch, t, n=_name: getattr(t(), n)(),
        lambda torch, t, n=_name: getattr(t.of([1.0, NAN], grad=False), n)(),
    ]
    SAMPLES[_name + ".dim"] = [
        *over(lambda torch, x, d, k, n=_name: tuple(getattr(torch, n)(x, d, k)), dims=(0, 1, -1), empty=False),
        *integers(_name, *INTS, "bool")[:5],
        lambda torch, t, n=_name: tuple(getattr(t.of([[1.0, NAN, 0.0], [2.0, 2.0, 2.0]], grad=False), n)(1)),
        lambda torch, t, n=_name: tuple(getattr(t(2, 0, 3), n)(0)),
    ]
for _name in ("argmax", "argmin"):
    SAMPLES[_name] = [
        *over(of(_name), dims=(None, 0, 1, -1), empty=False),
        *integers(_name, *INTS),
        lambda torch, t, n=_name: getattr(t.of([[1.0, NAN, NAN], [3.0, 3.0, 1.0]], grad=False), n)(1),
        lambda torch, t, n=_name: getattr(t(3, 4), n)(keepdim=True),
        lambda torch, t, n=_name: getattr(t(2, 0, 3), n)(0),
    ]
SAMPLES["aminmax"] = [
    lambda torch, t: tuple(torch.aminmax(t(3, 4), dim=1)),
    lambda torch, t: tuple(torch.aminmax(t(3, 4))),
    lambda torch, t: tuple(t(3, 4, dtype="int32").aminmax(dim=0, keepdim=True)),
]
SAMPLES["_place_along_dim"] = [
    lambda torch, t: t(3, 4).max(1).values ** 2,
    lambda torch, t: t(3, 4, 2).min(1, True).values,
    lambda torch, t: t(dtype="float64").max(0).values * 2,
]
SAMPLES["_pick_along_dim"] = [
    lambda torch, t: t(3, 4).max(1).values ** 2,
    lambda torch, t: (t(3, 4, 2) ** 2).min(0).values ** 2,
    lambda torch, t: t(dtype="float64").max(0).values ** 2,
]
for _name in ("var", "std"):
    SAMPLES[_name] = [
        *over(of(_name), empty=False)[:-1],
        lambda torch, t, n=_name: getattr(torch, n)(t(3, 4), 1, False),
        lambda torch, t, n=_name: getattr(t(3, 4), n)(unbiased=False),
        lambda torch, t, n=_name: getattr(torch, n)(t(3, 4), dim=(0, 1), correction=2),
        lambda torch, t, n=_name: getattr(torch, n)(t(3, 4), False),
        lambda torch, t, n=_name: getattr(t(3, 4), n)(1, keepdim=True, correction=0),
    ]
    SAMPLES[_name + "_mean"] = [
        lambda torch, t, n=_name: getattr(torch, n + "_mean")(t(3, 4), 1),
        lambda torch, t, n=_name: getattr(torch, n + "_mean")(t(3, 4), correction=0),
    ]
SAMPLES["std"].append(lambda torch, t: torch.std(torch.ones(3, 4), 1))
SAMPLES["linalg_vector_norm"] = [
    *(
        lambda torch, t, p=p, d=d: torch.linalg.vector_norm(t(3, 4), p, d)
        for p in (0, 0.5, 1, 1.5, 2, 3, INF, -INF)
        for d in (None, 1)
    ),
    lambda torch, t: torch.norm(t(3, 4)),
    lambda torch, t: t(2, 3, 4).norm(dim=(0, 2), keepdim=True),
    lambda torch, t: t(3, 4, dtype="float64").norm(1, 0),
    lambda torch, t: t.of([[0.0, 0.0], [3.0, 4.0]], grad=False).norm(dim=1),
    lambda torch, t: torch.norm(t(0, 3), dim=0),
    lambda torch, t: torch.dist(t(3), t(3), 3),
    lambda torch, t: torch.norm(t(3, 4).t(), "fro", 0),
    lambda torch, t: t.of(TIES).norm(INF, 1),
]
SAMPLES["norm"] = [lambda torch, t: torch.norm(t(3, 4), 2, 1, True), lambda torch, t: t().norm()]
SAMPLES["dist"] = [lambda torch, t: torch.dist(t(3, 4), t(4)), lambda torch, t: torch.dist(t(3), t(3), 1)]

"""Samples of sorting, ranks, unique values and binning."""

NAN, INF = float("nan"), float("inf")
INTS = ("uint8", "int8", "int32", "int64")


def along(call):
    return [
        lambda torch, t: call(torch, t(3, 5), 0),
        lambda torch, t: call(torch, t(3, 5), 1),
        lambda torch, t: call(torch, t(2, 3, 4, dtype="float64"), -2),
        lambda torch, t: call(torch, t(4, 3).transpose(0, 1), 1),
        lambda torch, t: call(torch, t(9)[::2], 0),
        lambda torch, t: call(torch, t(), 0),
        lambda torch, t: call(torch, t(2, 0, 3), 0),
    ]


def ints(call, dtypes=INTS):
    return [lambda torch, t, d=d: call(torch, t(3, 5, dtype=d, low=-50, high=50), 1) for d in dtypes]


def sorting(torch, x, d, down=False):
    return tuple(torch.sort(x, dim=d, descending=down, stable=True))


def picks(name):
    return lambda torch, x, d: tuple(getattr(torch, name)(x, d))


MISSING = [[1.0, NAN, 0.5, -INF], [INF, 2.0, NAN, NAN]]
SAMPLES = {
    "sort": [
        *along(sorting),
        *along(lambda torch, x, d: sorting(torch, x, d, True)),
        *ints(sorting),
        *ints(lambda torch, x, d: sorting(torch, x, d, True), ("uint8", "int64", "bool")),
        lambda torch, t: sorting(torch, t.of(MISSING, grad=False), 1),
        lambda torch, t: sorting(torch, t.of(MISSING, grad=False), 1, True),
        lambda torch, t: torch.argsort(t(3, 4), 0),
        lambda torch, t: torch.argsort(t(9, dtype="int64"), descending=True, stable=True),
        lambda torch, t: torch.msort(t(4, 3)),
        lambda torch, t: t(5).sort().values,
    ],
    "topk": [
        *along(lambda torch, x, d: tuple(torch.topk(x, min(2, x.shape[d] if x.ndim else 1), d))),
        *ints(lambda torch, x, d: torch.topk(x, 3, d).values),
        lambda torch, t: tuple(torch.topk(t(4, 50), 3, largest=False)),
        lambda torch, t: tuple(t(100).topk(5)),
        lambda torch, t: tuple(torch.topk(t(3, 4), 0)),
        lambda torch, t: torch.topk(t.of(MISSING, grad=False), 2).values,
    ],
    "median": [
        *along(picks("median"))[:-1],
        *ints(lambda torch, x, d: torch.median(x, d).values),
        lambda torch, t: tuple(torch.median(t.of([[1.0, NAN, 3.0], [4.0, 2.0, 8.0]], grad=False), 1, True)),
        lambda torch, t: tuple(torch.median(t(2, 0, 3), 0)),
    ],
    "median.all": [
        lambda torch, t: torch.median(t(3, 4)),
        lambda torch, t: t(5, dtype="int64").median(),
        lambda torch, t: t.of([1.0, 2.0, 2.0, 2.0, 5.0]).median(),
        lambda torch, t: t.of([1.0, NAN], grad=False).median(),
        lambda torch, t: torch.median(t(0)),
    ],
    "nanmedian": [
        *along(picks("nanmedian"))[:-1],
        lambda torch, t: torch.nanmedian(t.of([[1.0, NAN, 3.0], [NAN, NAN, 8.0]], grad=False), 1).values,
    ],
    "nanmedian.all": [
        lambda torch, t: torch.nanmedian(t(3, 4)),
        lambda torch, t: torch.nanmedian(t.of([1.0, NAN, 3.0, 2.0])),
    ],
    "mode": [
        lambda torch, t: tuple(torch.mode(t(3, 9, dtype="int64"))),
        lambda torch, t: tuple(torch.mode(t(9, 3, dtype="int32"), 0, True)),
        lambda torch, t: tuple(torch.mode(t.of([[1.0, 2.0, 2.0], [3.0, 1.0, 0.5]]))),
        lambda torch, t: tuple(torch.mode(t())),
    ],
    "kthvalue": [
        *(lambda torch, t, k=k: tuple(torch.kthvalue(t(3, 5), k)) for k in (1, 3, 5)),
        lambda torch, t: tuple(t(5, 3, dtype="float64").kthvalue(2, 0, True)),
        lambda torch, t: torch.kthvalue(t(3, 5, dtype="int64"), 2).values,
        lambda torch, t: tuple(torch.kthvalue(t(), 1)),
    ],
    "quantile": [
        *(
            lambda torch, t, i=i: torch.quantile(t(3, 5), 0.3, 1, interpolation=i)
            for i in ("linear", "lower", "higher", "midpoint", "nearest")
        ),
        lambda torch, t: torch.quantile(t(3, 5), t.of([0.0, 0.4, 1.0], grad=False)),
        lambda torch, t: torch.quantile(t(3, 5, 2), t.of([0.25, 0.8]), 1, True),
        lambda torch, t: t(7, dtype="float64").quantile(0.5),
        lambda torch, t: torch.quantile(t.of(MISSING, grad=False), 0.5, 1),
    ],
    "nanquantile": [
        lambda torch, t: torch.nanquantile(t.of([[1.0, NAN, 0.5, -1.0], [5.0, 2.0, NAN, NAN]], grad=False), 0.4, 1),
        lambda torch, t: torch.nanquantile(t(4, 5), 0.5),
    ],
    "unique": [
        lambda torch, t: torch.unique(t(3, 9, dtype="int64")),
        lambda torch, t: torch.unique(t(3, 4, dtype="int32"), return_inverse=True, return_counts=True),
        lambda torch, t: torch.unique(
            t(6, 2, dtype="int64", low=0, high=1), return_inverse=True, return_counts=True, dim=0
        ),
        lambda torch, t: torch.unique(t.of([1.0, 2.0, 1.0], grad=False)),
        lambda torch, t: torch.unique(t(9, dtype="bool"), return_counts=True),
    ],
    "unique_consecutive": [
        lambda torch, t: torch.unique_consecutive(
            t(12, dtype="int64", low=0, high=1), return_inverse=True, return_counts=True
        ),
        lambda torch, t: torch.unique_consecutive(t(6, 1, dtype="int64", low=0, high=1), dim=0),
    ],
    "searchsorted": [
        lambda torch, t: torch.searchsorted(t.of([1, 2], dtype="int64"), t.of([1.5], grad=False)),
        *(
            lambda torch, t, r=r: torch.searchsorted(
                t.of([1.0, 2.0, 2.0, 3.0], grad=False), t.of([[0.0, 2.0, 3.0], [4.0, NAN, 1.0]], grad=False), right=r
            )
            for r in (False, True)
        ),
        lambda torch, t: torch.searchsorted(
            t.of([[1, 3, 5], [2, 4, 6]], dtype="int64"),
            t.of([[3, 9], [1, 4]], dtype="int64"),
            side="right",
            out_int32=True,
        ),
        lambda torch, t: torch.searchsorted(t.of([1.0, 5.0], grad=False), 3),
        lambda torch, t: torch.bucketize(t.of([0.5, 2.0, 9.0], grad=False), t.of([1.0, 2.0], grad=False)),
        lambda torch, t: torch.bucketize(t(3, 4, dtype="int64"), t.of([-1, 0, 1], dtype="int64"), right=True),
    ],
    "isin": [
        lambda torch, t: torch.isin(t(3, 4, dtype="int64"), t(2, dtype="int64")),
        lambda torch, t: torch.isin(t(5, dtype="int32"), 1, invert=True),
        lambda torch, t: torch.isin(t(0), t(2)),
        lambda torch, t: torch.isin(2, t(4, dtype="int64")),
    ],
    "histc": [
        lambda torch, t: torch.histc(t(30, grad=False), 5),
        lambda torch, t: torch.histc(t(30, dtype="float64", grad=False), 4, -1, 1),
        lambda torch, t: torch.histc(t.of([2.0, 2.0], grad=False), 3),
        lambda torch, t: torch.histc(t(0, grad=False), 3),
    ],
    "bincount": [
        lambda torch, t: torch.bincount(t(20, dtype="int64", low=0, high=6)),
        lambda torch, t: torch.bincount(t(20, dtype="int32", low=0, high=6), t(20, grad=False), 10),
        lambda torch, t: torch.bincount(t(0, dtype="int64"), minlength=3),
    ],
}

"""Samples of running reductions and differences."""

NAN, INF = float("nan"), float("inf")


def along(call, low=-2.0, high=2.0):
    return [
        lambda torch, t: call(torch, t(3, 4, low=low, high=high), 0),
        lambda torch, t: call(torch, t(3, 4, low=low, high=high), 1),
        lambda torch, t: call(torch, t(2, 3, 4, dtype="float64", low=low, high=high), -2),
        lambda torch, t: call(torch, t(4, 3, low=low, high=high).transpose(0, 1), 1),
        lambda torch, t: call(torch, t(8, low=low, high=high)[::2], 0),
        lambda torch, t: call(torch, t(low=low, high=high), 0),
        lambda torch, t: call(torch, t(0, 3), 0),
        lambda torch, t: call(torch, t(3, 0), 0),
        lambda torch, t: call(torch, t(1, 3, low=low, high=high), 0),
    ]


def integers(name, *dtypes):
    return [lambda torch, t, d=d: getattr(torch, name)(t(3, 4, dtype=d, low=-3, high=3), 1) for d in dtypes]


def extreme(name):
    return [
        *along(lambda torch, x, d: tuple(getattr(torch, name)(x, d))),
        *integers(name, "uint8", "int32", "int64", "bool"),
        lambda torch, t: tuple(getattr(torch, name)(t.of([1.0, 3.0, 3.0, NAN, 4.0, NAN], grad=False), 0)),
        lambda torch, t: tuple(getattr(t.of([2.0, 2.0, 1.0, 1.0, 2.0]), name)(0)),
    ]


SAMPLES = {
    "cumsum": [
        *along(lambda torch, x, d: torch.cumsum(x, d)),
        *integers("cumsum", "uint8", "int32", "int64", "bool"),
        lambda torch, t: t(4).cumsum(0, dtype=torch.float64),
        lambda torch, t: t(5, dtype="int64").cumsum(0, dtype=torch.float32),
        lambda torch, t: (t(4) * 1).cumsum_(0),
    ],
    "cumprod": [
        *along(lambda torch, x, d: torch.cumprod(x, d)),
        *integers("cumprod", "uint8", "int32", "int64", "bool"),
        lambda torch, t: torch.cumprod(t.of([2.0, 0.0, 3.0, 0.0, 4.0]), 0),
        lambda torch, t: t.of([[1.0, 0.0], [2.0, 3.0]]).cumprod(1),
        lambda torch, t: t(4).cumprod(0, dtype=torch.float64),
    ],
    "_linear_recurrence": [
        lambda torch, t: torch.cumprod(t(4), 0),
        lambda torch, t: torch.cumprod(t(3, 2, 2, dtype="float64"), 1),
        lambda torch, t: torch.logcumsumexp(t(3, 4), 0),
    ],
    "logcumsumexp": [
        *along(lambda torch, x, d: torch.logcumsumexp(x, d)),
        lambda torch, t: torch.logcumsumexp(t.of([100.0, 1000.0, -1000.0]), 0),
        lambda torch, t: torch.logcumsumexp(t.of([-INF, 1.0, INF, NAN], grad=False), 0),
    ],
    "cummax": extreme("cummax"),
    "cummin": extreme("cummin"),
    "diff": [
        lambda torch, t: torch.diff(t(5)),
        lambda torch, t: torch.diff(t(3, 4), 2, 0),
        lambda torch, t: torch.diff(t(5, dtype="bool")),
        lambda torch, t: torch.diff(t(5, dtype="int64"), prepend=t(1, dtype="int64")),
        lambda torch, t: t(3, 4).diff(append=t(3, 2)),
        lambda torch, t: torch.diff(t(2), 5),
        lambda torch, t: torch.diff(t(0, 3)),
        lambda torch, t: torch.diff(t(4), 0),
    ],
    "trapezoid": [
        lambda torch, t: torch.trapezoid(t(4)),
        lambda torch, t: torch.trapezoid(t(3, 4), t(4)),
        lambda torch, t: torch.trapezoid(t(3, 4), dx=0.5, dim=0),
        lambda torch, t: torch.trapz(t(3, 4), t(3, 4)),
    ],
    "cumulative_trapezoid": [
        lambda torch, t: torch.cumulative_trapezoid(t(4)),
        lambda torch, t: torch.cumulative_trapezoid(t(3, 4), t(3, 4), dim=0),
    ],
}

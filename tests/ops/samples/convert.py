"""Samples of changes of dtype (convert.py): between every two dtypes, on several layouts."""

NAMES = ("bool", "uint8", "int8", "int16", "int32", "int64", "float32", "float64")
NAN, INF = float("nan"), float("inf")


def between(source, target):
    """Values that both dtypes hold, after rounding towards zero."""
    return lambda torch, t: t(3, 5, dtype=source, low=0, high=100).to(getattr(torch, target))


SAMPLES = {
    "_to_copy": [
        *[between(source, target) for source in NAMES for target in NAMES if source != target],
        *[lambda torch, t, d=d: t(4, 3, low=-9, high=9).to(getattr(torch, d)) for d in ("int8", "int16", "int32", "int64")],
        *[lambda torch, t, d=d: t(9, dtype="int64", low=-300, high=300).to(getattr(torch, d)) for d in ("int8", "uint8")],
        lambda torch, t: t(4, 3).transpose(0, 1).double(),
        lambda torch, t: t(9)[::2].to(torch.float64),
        lambda torch, t: t(0, 3).double(),
        lambda torch, t: t(dtype="float64").float(),
        lambda torch, t: t(3, 4).to(copy=True, dtype=torch.float32),
        lambda torch, t: t.of([NAN, INF, -INF, 0.0, -0.0, 1e-30], grad=False).bool(),
        lambda torch, t: t.of([NAN, INF, -INF, -0.0, 1e300, 1e-300], dtype="float64", grad=False).float(),
    ]
}

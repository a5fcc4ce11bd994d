"""Samples of pooling and changes of resolution."""

NAN, INF = float("nan"), float("inf")


def pool(name, shape, *args, dtype="float32", **kwargs):
    return lambda torch, t: getattr(torch.nn.functional, name)(t(*shape, dtype=dtype), *args, **kwargs)


def unpooled(torch, t):
    values, indices = torch.nn.functional.max_pool2d(t(2, 2, 4, 6), 2, return_indices=True)
    return torch.nn.functional.max_unpool2d(values, indices, 2)


def resized(mode, shape, **kwargs):
    return lambda torch, t: torch.nn.functional.interpolate(t(*shape), mode=mode, **kwargs)


MAX = [
    pool("max_pool1d", (2, 3, 9), 2),
    pool("max_pool1d", (3, 9), 3, 2, 1),
    pool("max_pool2d", (2, 3, 8, 6), 2),
    pool("max_pool2d", (2, 3, 9, 7), 2, return_indices=True),
    pool("max_pool2d", (2, 3, 9, 7), 3, 2, 1, return_indices=True),
    pool("max_pool2d", (2, 3, 9, 8), 3, 2, 1, ceil_mode=True, return_indices=True),
    pool("max_pool2d", (3, 9, 8), (2, 3), (3, 1), (1, 0), (2, 1), return_indices=True),
    pool("max_pool2d", (2, 3, 7, 7), 2, ceil_mode=True, dtype="float64"),
    pool("max_pool2d", (1, 2, 6, 6), 3, 1),
    pool("max_pool3d", (1, 2, 4, 5, 4), 2, return_indices=True),
    pool("max_pool2d", (0, 2, 4, 4), 2),
    lambda torch, t: torch.nn.functional.max_pool2d(t(2, 3, 6, 4).transpose(2, 3), 2),
    lambda torch, t: torch.nn.functional.max_pool2d(
        t.of([[[1.0, 1.0, NAN, 2.0], [1.0, 1.0, NAN, 3.0], [-INF, -INF, 0.0, INF], [-INF, -INF, INF, 0.0]]]),
        2,
        return_indices=True,
    ),
]


def at_places(mode, padding, corners, shape=(2, 3, 4, 5), grid=(2, 3, 4, 2)):
    return lambda torch, t: torch.nn.functional.grid_sample(
        t(*shape, dtype="float64"), t(*grid, dtype="float64", low=-1.4, high=1.4), mode, padding, corners
    )


SAMPLES = {
    "grid_sample": [
        *(
            at_places(mode, padding, corners)
            for mode in ("bilinear", "nearest", "bicubic")
            for padding in ("zeros", "border", "reflection")
            for corners in (False, True)
        ),
        at_places("bilinear", "zeros", False, (2, 3, 3, 4, 5), (2, 2, 3, 2, 3)),
    ],
    "affine_grid": [
        lambda torch, t: torch.nn.functional.affine_grid(t(2, 2, 3), (2, 1, 3, 4), align_corners=False),
        lambda torch, t: torch.nn.functional.affine_grid(t(1, 3, 4), (1, 1, 2, 3, 4), align_corners=True),
    ],
    "max_pool_with_indices": MAX,
    "max_pool_backward": MAX[:9],
    "adaptive_max_pool": [
        pool("adaptive_max_pool2d", (2, 3, 7, 5), (3, 4), return_indices=True),
        pool("adaptive_max_pool1d", (2, 3, 7), 3),
        pool("adaptive_max_pool2d", (2, 3, 8, 6), (4, 3)),
        pool("adaptive_max_pool2d", (3, 8, 6), (None, 4)),
        pool("adaptive_max_pool3d", (1, 2, 4, 5, 3), 2),
    ],
    "avg_pool2d": [
        pool("avg_pool1d", (2, 3, 9), 2),
        pool("avg_pool2d", (2, 3, 8, 6), 2),
        pool("avg_pool2d", (2, 3, 9, 8), 3, 2, 1),
        pool("avg_pool2d", (2, 3, 9, 8), 3, 2, 1, True),
        pool("avg_pool2d", (2, 3, 9, 8), 3, 2, 1, True, False),
        pool("avg_pool2d", (3, 9, 8), 2, 1, divisor_override=3),
        pool("avg_pool3d", (1, 2, 4, 5, 4), 2),
        lambda torch, t: torch.nn.functional.avg_pool2d(t(2, 3, 6, 4).transpose(2, 3), 2),
        lambda torch, t: torch.nn.functional.avg_pool2d(t(1, 2, 4, 4, dtype="int64", low=-9, high=9), 2),
    ],
    "adaptive_avg_pool2d": [
        pool("adaptive_avg_pool2d", (2, 3, 7, 5), (3, 4)),
        pool("adaptive_avg_pool2d", (2, 3, 8, 6), (4, 3)),
        pool("adaptive_avg_pool2d", (2, 3, 8, 6), 1),
        pool("adaptive_avg_pool1d", (2, 3, 7), 4),
        pool("adaptive_avg_pool3d", (1, 2, 4, 5, 3), 2),
        pool("adaptive_avg_pool2d", (3, 4, 6), (None, 9)),
    ],
    "lp_pool2d": [pool("lp_pool2d", (2, 3, 6, 6), 2, 2), pool("lp_pool1d", (2, 3, 6), 2, 3)],
    "max_unpool2d": [unpooled],
    "interpolate": [
        resized("nearest", (2, 3, 4, 5), scale_factor=2),
        resized("nearest", (2, 3, 4, 5), size=(3, 7)),
        resized("nearest-exact", (2, 3, 5), size=8),
        resized("bilinear", (2, 3, 4, 5), scale_factor=2, align_corners=False),
        resized("bilinear", (2, 3, 4, 5), size=(7, 3), align_corners=True),
        resized("linear", (2, 3, 5), scale_factor=1.7),
        resized("trilinear", (1, 2, 3, 3, 2), size=(5, 4, 4)),
        resized("bicubic", (1, 2, 4, 5), scale_factor=1.5),
        resized("area", (2, 3, 6, 5), size=(4, 2)),
        resized("nearest", (2, 3, 4, 5, 2), scale_factor=(2, 1, 1.5)),
    ],
}

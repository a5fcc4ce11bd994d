"""Samples of indexing, gather, scatter, masks and embeddings."""

NAN, INF = float("nan"), float("inf")


def ints(torch, values):
    return torch.tensor(values)


def written(x, index, value):
    """x * 1 with an item assigned: gradients reach x and the value."""
    y = x * 1
    y[index] = value
    return y


def masked(x, bound=0.0):
    return x.detach() > bound


def scaled_embedding(torch, t):
    return torch.nn.functional.embedding(ints(torch, [1, 1, 3, 0]), t(5, 3), scale_grad_by_freq=True)


def renormalised(torch, t):
    weight = t(5, 3, grad=False)
    return torch.nn.functional.embedding(ints(torch, [1, 4, 1]), weight, max_norm=1.0), weight


def reduced(mode, **kwargs):
    return [
        lambda torch, t: t(3, 4).scatter_reduce(0, ints(torch, [[0, 2, 0, 1], [0, 2, 1, 1]]), t(2, 4), mode, **kwargs),
        lambda torch, t: t(3, 4, dtype="float64").scatter_reduce(
            1, ints(torch, [[3, 0, 3], [1, 1, 1], [0, 1, 2]]), t(3, 3, dtype="float64"), mode, **kwargs
        ),
        lambda torch, t: t(5, dtype="int64").scatter_reduce(
            0, ints(torch, [0, 0, 4]), t(3, dtype="int64"), mode, **kwargs
        ),
        lambda torch, t: t(5).scatter_reduce(0, torch.zeros(0, dtype=torch.int64), t(0), mode, **kwargs),
    ]


SAMPLES = {
    "index": [
        lambda torch, t: t(4, 3)[ints(torch, [0, -1, 2, 0])],
        lambda torch, t: t(4, 3)[:, ints(torch, [[0, 2], [1, -3]])],
        lambda torch, t: t(4, 3, 2)[ints(torch, [0, 3]), :, ints(torch, [1, -1])],
        lambda torch, t: t(2, 4, 3)[:, ints(torch, [[0], [3]]), ints(torch, [1, 2, 0])],
        lambda torch, t: t(3, 4, dtype="float64").transpose(0, 1)[ints(torch, [3, 1])],
        lambda torch, t: t(5, 4)[::2][[0, 2]],
        lambda torch, t: t(4, 3, dtype="int32")[ints(torch, [1, 1])],
        lambda torch, t: t(4, dtype="bool")[ints(torch, [3, 0, 1])],
        lambda torch, t: t(3, 4)[torch.zeros(0, dtype=torch.int64)],
        lambda torch, t: t(3, 4)[t(3, 4, grad=False) > 0],
        lambda torch, t: t(3, 4)[ints(torch, [True, False, True]), None, ..., 1:],
        lambda torch, t: t.of([NAN, INF, -INF, 1.0])[ints(torch, [2, 0, 1])],
        lambda torch, t: t(3, 4, 5)[1, ints(torch, [3, 0]).int(), None, 2],
        lambda torch, t: t(6)[ints(torch, [4, 1, 1])].index_select(0, ints(torch, [2, 0])),
        lambda torch, t: t(3, 4).index_select(1, ints(torch, [3, 3, 0])),
        lambda torch, t: t().index_select(0, ints(torch, [0])),
        lambda torch, t: t(3, 4).take(ints(torch, [[11, -1], [0, 5]])),
        lambda torch, t: t(3, 4).masked_select(t(4, dtype="bool")),
    ],
    "index_put": [
        lambda torch, t: written(t(4, 3), ints(torch, [0, 2]), t(2, 3)),
        lambda torch, t: written(t(4, 3), (slice(None), ints(torch, [2, 0])), t(2)),
        lambda torch, t: written(t(4, 3), ints(torch, [3, 1]), 2.5),
        lambda torch, t: written(t(4, 3, 2), (ints(torch, [0, 3]), slice(1, None), ints(torch, [1, 0])), t(2, 2)),
        lambda torch, t: written(t(4, 3), (0, ints(torch, [2, 0])), t(1, 2)),
        lambda torch, t: written(t(4, 3), t(4, 3, grad=False) > 0.5, t()),
        lambda torch, t: written(t(4, 3, dtype="int64"), ints(torch, [1]), t(3, dtype="int64")),
        lambda torch, t: written(t(4, 3, dtype="float64").transpose(0, 1), ints(torch, [0, 1]), t(4, dtype="float64")),
        lambda torch, t: t(4, 3).index_put((ints(torch, [1, 1, 0]),), t(3, 3), accumulate=True),
        lambda torch, t: t(4, 3).index_put((ints(torch, [[1], [1]]), ints(torch, [0, 0, 2])), t(3), accumulate=True),
        lambda torch, t: t(5).index_add(0, ints(torch, [4, 4, 1]), t(3), alpha=2),
        lambda torch, t: t(3, 5).index_add(1, ints(torch, [0, 3]), t(3, 2)),
        lambda torch, t: t(3, 5).index_copy(1, ints(torch, [0, 3]), t(3, 2)),
        lambda torch, t: t(3, 5).index_fill(0, ints(torch, [2, 0, 2]), -1.0),
        lambda torch, t: t(3, 5).index_fill(1, ints(torch, [1]), t()),
        lambda torch, t: t(2, 3).put(ints(torch, [0, -1]), t(2)),
        lambda torch, t: t(2, 3).put(ints(torch, [0, 0, 4]), t(3), accumulate=True),
        lambda torch, t: t(2, 3).masked_scatter(t(2, 3, dtype="bool"), t(7)),
        lambda torch, t: t(4, 0).index_put((torch.zeros(0, dtype=torch.int64),), t(0)),
    ],
    "gather": [
        lambda torch, t: t(3, 4).gather(0, ints(torch, [[0, 2, 1, 0], [2, 2, 2, 2]])),
        lambda torch, t: t(3, 4).gather(1, ints(torch, [[3], [0]])),
        lambda torch, t: t(2, 3, 4, dtype="float64").gather(-2, t(2, 5, 3, dtype="int64", low=0, high=2)),
        lambda torch, t: t(4, 3).transpose(0, 1).gather(1, ints(torch, [[3, 3], [1, 0], [2, 2]])),
        lambda torch, t: t().gather(0, torch.tensor(0)),
        lambda torch, t: t(3, 4, dtype="int64").gather(0, ints(torch, [[1, 1]])),
        lambda torch, t: t(3, 4).gather(0, torch.zeros(0, 4, dtype=torch.int64)),
        lambda torch, t: torch.take_along_dim(t(3, 4), ints(torch, [[0], [3], [-1]]), 1),
    ],
    "scatter": [
        lambda torch, t: t(3, 4).scatter(0, ints(torch, [[0, 1, 2, 0]]), t(1, 4)),
        lambda torch, t: t(3, 4).scatter(1, ints(torch, [[3, 1], [0, 2]]), t(3, 3, grad=False)),
        lambda torch, t: t(3, 4).scatter(1, ints(torch, [[3], [0], [1]]), 5.0),
        lambda torch, t: t(3, 4, dtype="int64").scatter(1, ints(torch, [[3], [0], [1]]), 5),
        lambda torch, t: t().scatter(0, torch.tensor(0), t()),
        lambda torch, t: t(3, 4).scatter(0, torch.zeros(0, 4, dtype=torch.int64), t(1, 4)),
        lambda torch, t: (
            torch.zeros(4, 3, dtype=torch.float64)
            .transpose(0, 1)
            .scatter(1, ints(torch, [[0], [3], [2]]), t(3, 1, dtype="float64"))
        ),
    ],
    "scatter_add": [
        lambda torch, t: t(3, 4).scatter_add(0, ints(torch, [[0, 1, 2, 0], [0, 1, 0, 0]]), t(2, 4)),
        lambda torch, t: t(3, 4, dtype="float64").scatter_add(
            1, ints(torch, [[3, 3], [0, 0]]), t(3, 3, dtype="float64", grad=False)
        ),
        lambda torch, t: t(5, dtype="int64").scatter_add(0, ints(torch, [3, 3, 0]), t(4, dtype="int64")),
        lambda torch, t: t().scatter_add(0, torch.tensor(0), t()),
    ],
    "scatter_reduce": [
        f for mode in ("sum", "prod", "mean", "amax", "amin") for f in reduced(mode) + reduced(mode, include_self=False)
    ]
    + [
        lambda torch, t: t(3, 4).scatter(0, ints(torch, [[0, 1, 2, 0]]), t(1, 4, grad=False), reduce="add").detach(),
        lambda torch, t: t(3, 4).index_reduce(0, ints(torch, [0, 2]), t(2, 4), "amax"),
    ],
    "masked_fill": [
        lambda torch, t: t(3, 4).masked_fill(t(3, 4, dtype="bool"), -INF),
        lambda torch, t: t(3, 1).masked_fill(t(4, dtype="bool"), 2),
        lambda torch, t: (
            t(3, 4, dtype="float64").transpose(0, 1).masked_fill(t(4, 1, dtype="bool"), t(dtype="float64"))
        ),
        lambda torch, t: t(3, dtype="int64").masked_fill(t(3, dtype="bool"), 7),
        lambda torch, t: t(3, dtype="bool").masked_fill(t(3, dtype="bool"), True),
        lambda torch, t: t(0, 3).masked_fill(t(0, 3, dtype="bool"), 1.0),
        lambda torch, t: written(t(4, 3), ints(torch, [True, False, True, False]), 1.5),
        lambda torch, t: t.of([NAN, INF, 1.0]).masked_fill(ints(torch, [True, True, False]), 0.0),
    ],
    "embedding": [
        lambda torch, t: torch.nn.functional.embedding(ints(torch, [[1, 2, 4], [4, 3, 2]]), t(5, 3)),
        lambda torch, t: torch.nn.functional.embedding(ints(torch, [1, 0, 1]), t(5, 3, dtype="float64"), padding_idx=1),
        lambda torch, t: torch.nn.functional.embedding(torch.tensor(2), t(5, 1)),
        lambda torch, t: torch.nn.functional.embedding(torch.zeros(0, 2, dtype=torch.int64), t(5, 3)),
        renormalised,
        lambda torch, t: torch.nn.functional.embedding_bag(
            ints(torch, [[1, 2], [4, 4]]), t(5, 3), mode="sum", per_sample_weights=t(2, 2)
        ),
        lambda torch, t: torch.nn.functional.embedding_bag(
            ints(torch, [1, 2, 4, 4]), t(5, 3), ints(torch, [0, 3, 3]), mode="mean"
        ),
        lambda torch, t: torch.nn.functional.embedding_bag(
            ints(torch, [1, 2, 4, 4]), t(5, 3), ints(torch, [0, 1]), mode="max", padding_idx=1
        ),
    ],
    "_scale_gradient": [scaled_embedding],
}
SAMPLES["embedding_dense_backward"] = SAMPLES["embedding"][:4]

"""Samples of the losses."""
from functools import partial

WAYS = ("mean", "sum", "none")


def F(torch):
    return torch.nn.functional


def pair(name, *, target=lambda t, *shape, dtype: t(*shape, dtype=dtype), low=-2.0, high=2.0, **options):
    """A loss of two tensors of one size, in every reduction and layout."""
    def call(torch, x, y, **more):
        return getattr(F(torch), name)(x, y, **options, **more)

    return [
        *(
            partial(
                lambda torch, t, r: call(
                    torch, t(3, 4, low=low, high=high), target(t, 3, 4, dtype="float32"), reduction=r
                ),
                r=r,
            )
            for r in WAYS
        ),
        lambda torch, t: call(
            torch, t(4, 3, dtype="float64", low=low, high=high).transpose(0, 1), target(t, 3, 4, dtype="float64")
        ),
        lambda torch, t: call(torch, t(low=low, high=high), target(t, dtype="float32")),
        lambda torch, t: call(torch, t(0, 3, low=low, high=high), target(t, 0, 3, dtype="float32")),
        lambda torch, t: call(torch, t(8, low=low, high=high)[::2], target(t, 4, dtype="float32"), reduction="sum"),
    ]


def signs(t, *shape, dtype):
    return t(*shape, dtype=dtype, grad=False).sign()


def unit(t, *shape, dtype):
    return t(*shape, dtype=dtype, low=0.05, high=0.95)


def positive(t, *shape, dtype):
    return t(*shape, dtype=dtype, low=0.1, high=4.0)


def classes(name, shape, *, weight=False, ignore=None, dtype="float32", **options):
    """cross_entropy or nll_loss on class numbers; input of `shape`."""
    def sample(torch, t):
        x = t(*shape, dtype=dtype)
        c = shape[1] if len(shape) > 1 else shape[0]
        target = t(*(shape[:1] + shape[2:] if len(shape) > 1 else ()), dtype="int64", low=0, high=c - 1)
        more = dict(options)
        if weight:
            more["weight"] = t(c, dtype=dtype, low=0.2, high=2.0, grad=False)
        if ignore is not None:
            more["ignore_index"] = ignore
        return getattr(F(torch), name)(x, target, **more)
    return sample


def probabilities(shape, *, weight=False, grad=True, **options):
    def sample(torch, t):
        x, y = t(*shape), t(*shape, low=0.0, high=1.0, grad=grad)
        c = shape[1] if len(shape) > 1 else shape[0]
        w = t(c, low=0.2, high=2.0, grad=False) if weight else None
        return F(torch).cross_entropy(x, y, w, **options)
    return sample


def computed_targets(torch, t):
    """Targets that are not known when the loss is recorded; one is ignored."""
    target = t(5, dtype="int64", low=0, high=2) + 1
    return F(torch).cross_entropy(t(5, 4), target, ignore_index=2), F(torch).nll_loss(
        t(5, 4), target + 0, reduction="none"
    )


def every_class_loss(name):
    found = [
        classes(name, shape, reduction=r, weight=w)
        for shape in ((4, 3), (3,), (2, 3, 4), (2, 3, 2, 2))
        for r in WAYS
        for w in (False, True)
    ]
    found += [classes(name, (5, 3), ignore=1, weight=w, reduction=r) for w in (False, True) for r in WAYS]
    found += [
        classes(name, (4, 3), dtype="float64", weight=True),
        classes(name, (0, 3), reduction="sum"),
        classes(name, (0, 3)),
        classes(name, (2, 1)),
    ]
    found += [
        lambda torch, t: getattr(F(torch), name)(t(3, 4).transpose(0, 1), t(8, dtype="int64", low=0, high=2)[::2]),
        lambda torch, t: getattr(F(torch), name)(t(4, 3), t(4, dtype="uint8", high=2)),
        lambda torch, t: getattr(F(torch), name)(t(4, 3), t(4, dtype="int64", low=0, high=2), size_average=False),
        lambda torch, t: getattr(F(torch), name)(t(4, 3), t(4, dtype="int64", low=0, high=2), reduce=False),
    ]
    return found


def lists(t, *shape):
    """Class numbers that end at a -1."""
    return t.of(
        [[0, 3, -1, 2], [-1, 1, 2, 0], [2, 1, 3, 0]][: shape[0]] if len(shape) == 2 else [2, 0, -1, 1], dtype="int64"
    )


def ctc(steps, batch, labels, lengths, *, inputs=None, repeated=False, dtype="float32", **options):
    def sample(torch, t):
        p = t(steps, batch, 5, dtype=dtype).log_softmax(2)
        targets = t(batch, labels, dtype="int64", low=1, high=1 if repeated else 4)
        return F(torch).ctc_loss(p, targets, inputs or (steps,) * batch, lengths, **options)
    return sample


SAMPLES = {
    "_ctc_loss": [
        *(ctc(7, 3, 3, (3, 1, 2), reduction=r) for r in WAYS),
        ctc(6, 2, 2, (2, 2), repeated=True, dtype="float64"),
        ctc(5, 2, 3, (0, 3), inputs=(5, 4), blank=2),
        ctc(3, 2, 3, (3, 2), repeated=True, zero_infinity=True),
        ctc(3, 2, 3, (3, 2), repeated=True, reduction="none", zero_infinity=True),
        lambda torch, t: F(torch).ctc_loss(
            t(6, 2, 4).log_softmax(2),
            t(5, dtype="int64", low=1, high=3),
            torch.tensor([6, 5]),
            torch.tensor([2, 3]),
            reduction="sum",
        ),
        lambda torch, t: torch.ctc_loss(
            t(6, 4).log_softmax(1), t(3, dtype="int64", low=1, high=3), torch.tensor(6), torch.tensor(3), 0, 0
        ),
    ],
    "mse_loss": [
        *pair("mse_loss"),
        lambda torch, t: F(torch).mse_loss(t(3, 4), t(4)),
        lambda torch, t: F(torch).mse_loss(t(3), t(3, dtype="float64", grad=False)),
        *(
            partial(lambda torch, t, r: F(torch).mse_loss(t(3, 4), t(3, 4), weight=t(3, 4, low=0.1), reduction=r), r=r)
            for r in WAYS
        ),
        lambda torch, t: (lambda x: F(torch).mse_loss(x, x * x))(t(5)),
        lambda torch, t: F(torch).mse_loss(t(3), t(3), size_average=False, reduce=True),
    ],
    "l1_loss": [
        *pair("l1_loss"),
        lambda torch, t: F(torch).l1_loss(t(3, dtype="int64"), t(3, dtype="int64"), reduction="sum"),
        lambda torch, t: F(torch).l1_loss(t(3), t(3), weight=t(3, low=0.1)),
    ],
    "smooth_l1_loss": [
        *pair("smooth_l1_loss"),
        *pair("smooth_l1_loss", beta=0.3),
        lambda torch, t: F(torch).smooth_l1_loss(t(5), t(5), beta=0),
    ],
    "huber_loss": [
        *pair("huber_loss"),
        *pair("huber_loss", delta=0.4),
        lambda torch, t: F(torch).huber_loss(t(3), t(3), weight=t(3)),
    ],
    "soft_margin_loss": pair("soft_margin_loss", target=signs),
    "binary_cross_entropy": [
        *pair("binary_cross_entropy", target=unit, low=0.05, high=0.95),
        lambda torch, t: F(torch).binary_cross_entropy(
            t(3, 4, low=0.1, high=0.9), t(3, 4, low=0.0, high=1.0, grad=False), t(4, low=0.1, grad=False)
        ),
        lambda torch, t: F(torch).binary_cross_entropy(
            t.of([0.0, 1.0, 0.0, 1.0], grad=False), t.of([0.0, 1.0, 1.0, 0.0], grad=False), reduction="none"
        ),
        lambda torch, t: F(torch).binary_cross_entropy(t(3, 4).sigmoid(), t(3, 4, low=0.0, high=1.0, grad=False)),
    ],
    "binary_cross_entropy_with_logits": [
        *pair("binary_cross_entropy_with_logits", target=unit, low=-5.0, high=5.0),
        *(
            partial(
                lambda torch, t, r: F(torch).binary_cross_entropy_with_logits(
                    t(3, 4),
                    unit(t, 3, 4, dtype="float32"),
                    t(3, 4, low=0.1, grad=False),
                    pos_weight=t(4, low=0.1, high=3.0, grad=False),
                    reduction=r,
                ),
                r=r,
            )
            for r in WAYS
        ),
        lambda torch, t: F(torch).binary_cross_entropy_with_logits(
            t.of([200.0, -200.0, 0.0]), t.of([0.0, 1.0, 0.5], grad=False), reduction="none"
        ),
        lambda torch, t: torch.binary_cross_entropy_with_logits(
            t(4), unit(t, 4, dtype="float32"), None, t(4, low=0.1, grad=False), 0
        ),
    ],
    "kl_div": [
        *pair("kl_div", target=unit),
        *pair("kl_div", log_target=True),
        lambda torch, t: F(torch).kl_div(t(3, 4), unit(t, 3, 4, dtype="float32"), reduction="batchmean"),
        lambda torch, t: F(torch).kl_div(t(3), t.of([0.0, 0.3, 1.0], grad=False), reduction="none"),
        lambda torch, t: torch.kl_div(t(3), unit(t, 3, dtype="float32"), 2),
    ],
    "poisson_nll_loss": [
        *pair("poisson_nll_loss", target=positive),
        *pair("poisson_nll_loss", target=positive, full=True),
        *pair("poisson_nll_loss", target=positive, low=0.2, high=3.0, log_input=False, eps=0.01),
        lambda torch, t: F(torch).poisson_nll_loss(t(3, dtype="int64"), t(3, dtype="int64", low=0)),
        lambda torch, t: torch.poisson_nll_loss(t(3), positive(t, 3, dtype="float32"), True, True, 1e-8, 1),
    ],
    "hinge_embedding_loss": [
        *pair("hinge_embedding_loss", target=signs),
        *pair("hinge_embedding_loss", target=signs, margin=0.3),
        lambda torch, t: F(torch).hinge_embedding_loss(t(4), t.of([1, -1, 0, 2], dtype="int64"), reduction="none"),
    ],
    "nll_loss": every_class_loss("nll_loss"),
    "cross_entropy": [
        *every_class_loss("cross_entropy"),
        computed_targets,
        *(
            classes("cross_entropy", (5, 3), label_smoothing=0.2, weight=w, ignore=i, reduction=r)
            for w in (False, True)
            for i in (None, 1)
            for r in WAYS
        ),
        lambda torch, t: F(torch).cross_entropy(t.of([[1e4, -1e4], [-1e4, 3.0]]), t.of([0, 1], dtype="int64")),
    ],
    "_cross_entropy_with_probabilities": [
        *(
            probabilities(shape, reduction=r, weight=w)
            for shape in ((4, 3), (3,), (2, 3, 4))
            for r in WAYS
            for w in (False, True)
        ),
        probabilities((4, 3), label_smoothing=0.3, weight=True),
        probabilities((4, 3), label_smoothing=0.3, grad=False),
        probabilities((2, 3, 2), grad=False, reduction="none"),
        lambda torch, t: F(torch).cross_entropy(t(3, 2), t(3, 2, dtype="float64", low=0.0, high=1.0)),
    ],
    "multi_margin_loss": [
        *(
            partial(
                lambda torch, t, r, p: F(torch).multi_margin_loss(
                    t(4, 3), t(4, dtype="int64", low=0, high=2), p=p, margin=0.7, reduction=r
                ),
                r=r,
                p=p,
            )
            for r in WAYS
            for p in (1, 2)
        ),
        lambda torch, t: F(torch).multi_margin_loss(
            t(4, 3, dtype="float64"),
            t(4, dtype="int64", low=0, high=2),
            weight=t(3, dtype="float64", low=0.1, grad=False),
        ),
        lambda torch, t: F(torch).multi_margin_loss(t(3), t(dtype="int64", low=0, high=2), reduction="none"),
    ],
    "multilabel_margin_loss": [
        *(
            partial(lambda torch, t, r: F(torch).multilabel_margin_loss(t(3, 4), lists(t, 3, 4), reduction=r), r=r)
            for r in WAYS
        ),
        lambda torch, t: F(torch).multilabel_margin_loss(t(4, dtype="float64"), lists(t, 4)),
        lambda torch, t: F(torch).multilabel_margin_loss(t(4), lists(t, 4), reduction="none"),
    ],
    "multilabel_soft_margin_loss": [
        *pair("multilabel_soft_margin_loss", target=unit)[:3],
        lambda torch, t: F(torch).multilabel_soft_margin_loss(t(3, 4), unit(t, 3, 4, dtype="float32"), t(4)),
    ],
    "margin_ranking_loss": [
        *(
            partial(
                lambda torch, t, r: F(torch).margin_ranking_loss(
                    t(5), t(5), signs(t, 5, dtype="float32"), 0.3, reduction=r
                ),
                r=r,
            )
            for r in WAYS
        ),
        lambda torch, t: torch.margin_ranking_loss(t(3, 4), t(3, 4), signs(t, 3, 4, dtype="float32")),
    ],
    "cosine_embedding_loss": [
        *(
            partial(
                lambda torch, t, r: F(torch).cosine_embedding_loss(
                    t(4, 5), t(4, 5), signs(t, 4, dtype="float32"), 0.1, reduction=r
                ),
                r=r,
            )
            for r in WAYS
        ),
        lambda torch, t: torch.cosine_embedding_loss(t(5), t(5), t.of(-1, dtype="int64"), -0.5),
    ],
    "triplet_margin_loss": [
        *(
            partial(lambda torch, t, r: F(torch).triplet_margin_loss(t(4, 5), t(4, 5), t(4, 5), reduction=r), r=r)
            for r in WAYS
        ),
        lambda torch, t: F(torch).triplet_margin_loss(t(4, 5), t(4, 5), t(4, 5), 2.5, 3.0, 0.1, True),
        lambda torch, t: torch.triplet_margin_loss(t(4, 5), t(4, 5), t(4, 5), 2.0),
    ],
    "triplet_margin_with_distance_loss": [
        lambda torch, t: F(torch).triplet_margin_with_distance_loss(t(4, 5), t(4, 5), t(4, 5), swap=True),
        lambda torch, t: F(torch).triplet_margin_with_distance_loss(
            t(4, 5), t(4, 5), t(4, 5), distance_function=lambda a, b: (a - b).abs().sum(-1), margin=3.0
        ),
    ],
    "gaussian_nll_loss": [
        *(
            partial(
                lambda torch, t, r: F(torch).gaussian_nll_loss(
                    t(3, 4), t(3, 4), t(3, 4, low=0.1, high=2.0), reduction=r
                ),
                r=r,
            )
            for r in WAYS
        ),
        lambda torch, t: F(torch).gaussian_nll_loss(t(3, 4), t(3, 4), t(3, low=0.0, high=1.0), full=True, eps=0.5),
        lambda torch, t: F(torch).gaussian_nll_loss(t(3, 4), t(3, 4), t(3, 1, low=0.1, high=1.0)),
        lambda torch, t: F(torch).gaussian_nll_loss(t(3), t(3), 0.7),
    ],
    "linear_cross_entropy": [
        lambda torch, t: F(torch).linear_cross_entropy(
            t(4, 3), t(2, 3, 3), t(4, 3, dtype="int64", low=0, high=1), linear_bias=t(2, 3)
        ),
        lambda torch, t: F(torch).linear_cross_entropy(t(3), t(4, 3), t(dtype="int64", low=0, high=3)),
        lambda torch, t: F(torch).linear_cross_entropy(
            t(3, 4), t(5, 4), t(3, dtype="int64", low=0, high=4), linear_bias=t(5), label_smoothing=0.1
        ),
    ],
}
for _name in (
    "mse_loss",
    "l1_loss",
    "smooth_l1_loss",
    "huber_loss",
    "soft_margin_loss",
    "binary_cross_entropy_with_logits",
    "nll_loss",
    "cross_entropy",
):
    SAMPLES[_name + "_backward"] = SAMPLES[_name][:1]
SAMPLES["binary_cross_entropy_backward"] = SAMPLES["binary_cross_entropy"][-1:]
SAMPLES["_ctc_loss_backward"] = SAMPLES["_ctc_loss"][:1]
SAMPLES["kl_div_backward"] = [lambda torch, t: F(torch).kl_div(t(3, 4), t(3, 4, low=0.1, high=1.0, grad=False))]
SAMPLES["poisson_nll_loss_backward"] = [
    lambda torch, t: F(torch).poisson_nll_loss(t(3, 4), t(3, 4, low=0.1, high=1.0, grad=False))
]
SAMPLES["_cross_entropy_with_probabilities_backward"] = [probabilities((4, 3), grad=False)]
# PyTorch's log-softmax is in float32 where only the target is float64
TOLERANCE = {"_cross_entropy_with_probabilities": {"float64": (3e-7, 3e-7)}}

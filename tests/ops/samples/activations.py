"""Samples of the activations and the softmax family."""
from functools import partial

NAN, INF = float("nan"), float("inf")
EDGES = [0.0, -0.0, 3.0, -3.0, 6.0, -1.0, 1.0, 0.5, -0.5, 20.0, 25.0, -30.0, 100.0, -100.0]


def everywhere(call, low=-4.0, high=4.0, dims=True):
    """Shapes, layouts and dtypes for one elementwise activation: call(F, x)."""
    return [
        lambda torch, t: call(torch.nn.functional, t(3, 5, low=low, high=high)),
        lambda torch, t: call(torch.nn.functional, t(4, 3, dtype="float64", low=low, high=high).transpose(0, 1)),
        lambda torch, t: call(torch.nn.functional, t(9, low=low, high=high)[::2]),
        lambda torch, t: call(torch.nn.functional, t(0, 3)),
        lambda torch, t: call(torch.nn.functional, t(dtype="float64")),
        lambda torch, t: call(torch.nn.functional, t.of([NAN, INF, -INF, 0.0, 90.0, -90.0], grad=False))[:1],
        lambda torch, t: call(torch.nn.functional, t.of(EDGES)),
    ]


def inplace(call):
    return [lambda torch, t: call(torch.nn.functional, t(3, 4) * 1.0), lambda torch, t: kept(torch, t, call)]


def kept(torch, t, call):
    """An in-place write through a view: the base sees it, and the gradient goes through both."""
    x = t(4, 3) * 2.0
    y = call(torch.nn.functional, x[1:3])
    return x, y


def on(name, *args, **kwargs):
    return lambda F, x: getattr(F, name)(x, *args, **kwargs)


def rows(f):
    """f(torch, x, dim) for several shapes, dimensions, layouts and dtypes."""
    return [
        lambda torch, t: f(torch, t(3, 5), 1),
        lambda torch, t: f(torch, t(3, 5), 0),
        lambda torch, t: f(torch, t(2, 3, 4, dtype="float64"), -2),
        lambda torch, t: f(torch, t(4, 3).transpose(0, 1), -1),
        lambda torch, t: f(torch, t(6, 5)[::2], 1),
        lambda torch, t: f(torch, t(), 0),
        lambda torch, t: f(torch, t(0, 4), 1),
        lambda torch, t: f(torch, t(4, 0), 1),
        lambda torch, t: f(torch, t.of([[1e4, -1e4, 0.0], [-INF, 0.0, 1.0]]), 1),
        lambda torch, t: f(torch, t.of([[NAN, 1.0], [-INF, -INF], [INF, 1.0]], grad=False), 1),
    ]


def hard_sample(torch, t):
    torch.manual_seed(3)
    y = torch.nn.functional.gumbel_softmax(t(5, 4), tau=0.7, hard=True, dim=1)
    return y, y.sum(1)


def random_slopes(torch, t):
    torch.manual_seed(3)
    return torch.nn.functional.rrelu(t(4, 5), training=True)


def soft_sample(torch, t):
    torch.manual_seed(3)
    return torch.nn.functional.gumbel_softmax(t(5, 4), dim=0)


SAMPLES = {
    "relu": [
        *everywhere(on("relu")),
        *inplace(on("relu", inplace=True)),
        lambda torch, t: torch.relu(t.of([NAN, INF, -INF, 0.0, -0.0])),
        lambda torch, t: torch.relu(t(3, dtype="int32")),
        lambda torch, t: torch.relu_(t(3, 4) + 0.0),
    ],
    "leaky_relu": [
        *everywhere(on("leaky_relu")),
        *everywhere(on("leaky_relu", -0.5)),
        *inplace(on("leaky_relu", 0.2, inplace=True)),
    ],
    "elu": [
        *everywhere(on("elu")),
        *everywhere(on("elu", alpha=0.3)),
        *everywhere(on("selu")),
        *everywhere(on("celu", 1.7)),
        *inplace(on("elu", inplace=True)),
        *inplace(on("selu", inplace=True)),
        *inplace(on("celu", inplace=True)),
    ],
    "gelu": [
        *everywhere(on("gelu"), high=5.0)[:5],
        *everywhere(on("gelu", approximate="tanh"))[:5],
        lambda torch, t: torch.nn.functional.gelu(t.of(EDGES)),
        lambda torch, t: torch.nn.functional.gelu(t.of(EDGES), approximate="tanh"),
    ],
    "silu": [*everywhere(on("silu")), *inplace(on("silu", inplace=True))],
    "mish": [
        *everywhere(on("mish"))[:6],
        lambda torch, t: torch.nn.functional.mish(t.of(EDGES[:-2])),
        *inplace(on("mish", inplace=True)),
    ],
    "softplus": [*everywhere(on("softplus")), *everywhere(on("softplus", beta=2.5, threshold=3.0))],
    "softsign": everywhere(on("softsign")),
    "tanhshrink": everywhere(on("tanhshrink")),
    "hardtanh": [
        *everywhere(on("hardtanh")),
        *everywhere(on("hardtanh", -0.2, 1.5)),
        *everywhere(on("relu6"), high=8.0),
        *inplace(on("hardtanh", inplace=True)),
        *inplace(on("relu6", inplace=True)),
        lambda torch, t: torch.nn.functional.hardtanh(t(5, dtype="int64", low=-5, high=5)),
        lambda torch, t: torch.nn.functional.relu6(t(5, dtype="uint8", high=9)),
    ],
    "hardsigmoid": [*everywhere(on("hardsigmoid")), *inplace(on("hardsigmoid", inplace=True))],
    "hardswish": [*everywhere(on("hardswish")), *inplace(on("hardswish", inplace=True))],
    "hardshrink": [*everywhere(on("hardshrink")), *everywhere(on("hardshrink", 1.2))],
    "softshrink": [*everywhere(on("softshrink")), *everywhere(on("softshrink", 1.2))],
    "threshold": [
        *everywhere(on("threshold", 0.1, 20.0)),
        *inplace(on("threshold", -0.5, 3.0, inplace=True)),
        lambda torch, t: torch.threshold(t(6, dtype="int32"), 1, 5),
        lambda torch, t: torch.threshold(t(6, dtype="int64"), 0.6, 5.9),
    ],
    "log_sigmoid": everywhere(on("logsigmoid")),
    "glu": [
        *(partial(lambda torch, t, d: torch.nn.functional.glu(t(4, 6, 2), d), d=d) for d in (0, 1, -1)),
        lambda torch, t: torch.nn.functional.glu(t(3, 4, dtype="float64").transpose(0, 1), 0),
    ],
    "_prelu_kernel": [
        lambda torch, t: torch.prelu(t(2, 3, 4), t(3)),
        lambda torch, t: torch.prelu(t(2, 3), t(1)),
        lambda torch, t: torch.prelu(t(5), t(1)),
        lambda torch, t: torch.prelu(t(), t()),
        lambda torch, t: t(3, 4, 2, dtype="float64").transpose(0, 1).prelu(t(3, dtype="float64")),
        lambda torch, t: torch.nn.functional.prelu(t(0, 3), t(3)),
        lambda torch, t: torch.nn.functional.prelu(t.of([1.0, -1.0, -2.0]), t(1)),
        lambda torch, t: torch.nn.functional.prelu(t.of([NAN, INF, -INF, 0.0, -0.0], grad=False), t(1, grad=False)),
    ],
    "rrelu": [
        lambda torch, t: torch.nn.functional.rrelu(t(4, 3), 0.1, 0.5),
        lambda torch, t: torch.nn.functional.rrelu(t(4, 3) * 1, inplace=True),
    ],
    "rrelu_": [random_slopes],
    "_softmax": [
        *rows(lambda torch, x, d: torch.softmax(x, d)),
        *rows(lambda torch, x, d: torch.nn.functional.softmin(x, d)),
        lambda torch, t: torch.softmax(t(4, dtype="int64"), 0, dtype=torch.float64),
        lambda torch, t: torch.nn.functional.softmax(t(2, 3, 4)),
        lambda torch, t: t(2, 3).softmax(-1, dtype=torch.float64),
    ],
    "_log_softmax": [
        *rows(lambda torch, x, d: torch.log_softmax(x, d)),
        lambda torch, t: torch.nn.functional.log_softmax(t(3, 4), dim=1, dtype=torch.float64),
        lambda torch, t: t(2, 3).log_softmax(0),
        lambda torch, t: torch.nn.functional.log_softmax(t(2, 3)),
    ],
    "logsumexp": [
        *rows(lambda torch, x, d: torch.logsumexp(x, d)),
        *rows(lambda torch, x, d: torch.logsumexp(x, d, keepdim=True)),
        lambda torch, t: torch.logsumexp(t(2, 3, 4), (0, 2)),
        lambda torch, t: torch.logsumexp(t(4, dtype="int64"), 0),
        lambda torch, t: t(2, 3, 4).logsumexp((-1, 0), keepdim=True),
    ],
    "one_hot": [
        lambda torch, t: torch.nn.functional.one_hot(t(2, 3, dtype="int64", low=0, high=4)),
        lambda torch, t: torch.nn.functional.one_hot(t(5, dtype="int64", low=0, high=4), 7),
        lambda torch, t: torch.nn.functional.one_hot(t(5, dtype="int64", low=0, high=4) % 3, num_classes=3),
        lambda torch, t: torch.nn.functional.one_hot(t(dtype="int64", low=0, high=4), 5),
        lambda torch, t: torch.nn.functional.one_hot(t(0, dtype="int64"), 3),
    ],
    "gumbel_softmax": [soft_sample, hard_sample],
}
for _name in (
    "leaky_relu",
    "elu",
    "gelu",
    "silu",
    "mish",
    "softplus",
    "hardtanh",
    "hardsigmoid",
    "hardswish",
    "hardshrink",
    "softshrink",
    "threshold",
    "log_sigmoid",
    "_prelu_kernel",
):
    SAMPLES[_name + "_backward"] = SAMPLES[_name][:1]
SAMPLES["_softmax_backward_data"] = SAMPLES["_softmax"][:3]
SAMPLES["_log_softmax_backward_data"] = SAMPLES["_log_softmax"][:3]
# PyTorch computes these with constants rounded to float32, in float64 too.
TOLERANCE = {name: {"float64": (3e-7, 3e-7)} for name in ("elu", "hardsigmoid")}
RANDOM = {"gumbel_softmax", "rrelu_"}

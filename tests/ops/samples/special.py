"""Samples of the special functions."""


def one(name, low=-2.0, high=2.0):
    def call(torch, x):
        return getattr(torch.special, name)(x)

    return [
        lambda torch, t: call(torch, t(3, 4, low=low, high=high)),
        lambda torch, t: call(torch, t(4, 3, dtype="float64", low=low, high=high).t()),
        lambda torch, t: call(torch, t(0, 2)),
        lambda torch, t: call(torch, t(5, dtype="int64", low=1, high=3)),
    ]


def two(name, low=0.5, high=3.0, grad=True):
    def call(torch, x, y):
        return getattr(torch.special, name)(x, y)

    return [
        lambda torch, t: call(torch, t(3, 4, low=low, high=high, grad=grad), t(4, low=low, high=high)),
        lambda torch, t: call(
            torch, t(3, dtype="float64", low=low, high=high, grad=grad), t(3, dtype="float64", low=low, high=high)
        ),
        lambda torch, t: call(torch, t(0, 3, grad=grad), t(3, low=low)),
    ]


def degree(name):
    return [
        lambda torch, t: getattr(torch.special, name)(
            t(4, dtype="float64", low=-0.9, high=0.9, grad=False), t.of([[0], [1], [3], [-1]], dtype="int64")
        ),
        lambda torch, t: getattr(torch.special, name)(t(4, dtype="float64", low=0.1, high=0.9, grad=False), 4),
    ]


def plain(name, low=0.2, high=3.0):
    return [
        lambda torch, t: getattr(torch.special, name)(t(3, 4, low=low, high=high, grad=False)),
        lambda torch, t: getattr(torch.special, name)(t(4, dtype="float64", low=low, high=high, grad=False)),
    ]


RANGES = {
    "i0": (-3, 3),
    "i0e": (-3, 3),
    "i1": (0.2, 3),
    "i1e": (0.2, 3),
    "ndtr": (-3, 3),
    "ndtri": (0.1, 0.9),
    "log_ndtr": (-3, 3),
    "erfcx": (-1, 3),
    "entr": (0.1, 3),
}
SAMPLES = {"special_" + name: one(name, *limits) for name, limits in RANGES.items()}
SAMPLES["special_ndtri"] = SAMPLES["special_ndtri"][:3]
SAMPLES["special_i1"].append(lambda torch, t: torch.special.i1(t.of([0.0, 1.0, -1.0], grad=False)))
SAMPLES["special_entr"].append(lambda torch, t: torch.special.entr(t.of([0.0, -1.0, 1.0, float("nan")], grad=False)))
SAMPLES |= {
    "special_" + n: plain(n)
    for n in (
        "airy_ai",
        "bessel_j0",
        "bessel_j1",
        "bessel_y0",
        "bessel_y1",
        "modified_bessel_i0",
        "modified_bessel_i1",
        "modified_bessel_k0",
        "modified_bessel_k1",
        "scaled_modified_bessel_k0",
        "scaled_modified_bessel_k1",
        "spherical_bessel_j0",
    )
}
SAMPLES |= {
    "special_" + n: degree(n)
    for n in (
        "chebyshev_polynomial_t",
        "chebyshev_polynomial_u",
        "chebyshev_polynomial_v",
        "chebyshev_polynomial_w",
        "shifted_chebyshev_polynomial_t",
        "shifted_chebyshev_polynomial_u",
        "shifted_chebyshev_polynomial_v",
        "shifted_chebyshev_polynomial_w",
        "hermite_polynomial_h",
        "hermite_polynomial_he",
        "laguerre_polynomial_l",
        "legendre_polynomial_p",
    )
}
SAMPLES["special_xlog1py"] = [
    *two("xlog1py"),
    lambda torch, t: torch.special.xlog1py(2, t(3, low=0.1)),
    lambda torch, t: torch.special.xlog1py(t.of([0.0, 1.0]), 0.5),
]
SAMPLES["special_zeta"] = two("zeta", 1.5, 4, grad=False)
SAMPLES["special_gammainc"] = two("gammainc", grad=False)
SAMPLES["special_gammaincc"] = two("gammaincc", grad=False)
SAMPLES["logit"] = [
    *one("logit", 0.1, 0.9)[:3],
    lambda torch, t: torch.logit(t(5, low=-0.5, high=1.5), 0.1),
    lambda torch, t: torch.logit(t(4, dtype="float64", low=0.2, high=0.8), eps=1e-3),
    lambda torch, t: (t(3, low=0.2, high=0.8) * 1).logit_(),
]
SAMPLES["polygamma"] = [
    *(lambda torch, t, n=n: torch.polygamma(n, t(3, 4, low=0.5, high=4)) for n in (0, 1, 2, 4)),
    lambda torch, t: t(4, dtype="float64", low=0.5, high=3).polygamma(1),
    lambda torch, t: torch.polygamma(1, t(3, dtype="int32", low=1, high=4)),
]
SAMPLES["polygamma"].append(
    lambda torch, t: torch.polygamma(2, t.of([-0.5, -3.3, 0.0, -2.0], dtype="float64", grad=False))
)
SAMPLES["mvlgamma"] = [
    lambda torch, t: torch.mvlgamma(t(4, low=2, high=5), 3),
    lambda torch, t: torch.special.multigammaln(t(4, dtype="float64", low=2, high=5), 2),
]
SAMPLES["frexp"] = [
    lambda torch, t: tuple(torch.frexp(t(3, 4))),
    lambda torch, t: tuple(t(4, dtype="float64").frexp()),
    lambda torch, t: tuple(torch.frexp(t.of([0.0, 1.0, -8.0], grad=False))),
]
TOLERANCE = {name: {"float32": (1e-4, 1e-4)} for name in ("special_log_ndtr", "special_erfcx", "polygamma")}

"""Special functions beyond those of `unary` and `binary`: SciPy's, with gradients where PyTorch has them."""

from __future__ import annotations

import math

import numpy as np

from ..dtypes import INT, int32
from ..graph.record import Meta
from .arithmetic import publish_binary, two_operands
from .binary import as_tensor_of
from .dispatch import METHODS, PUBLIC, Op, apply
from .elementwise import FUNCTIONS, define, where_of
from .formulas import scipy_function
from .promotion import array_meta, promoted
from .publish import finish, inplace_of, needs_tensor, publish

FUNCTION: dict = {}  # name in jitorch.special -> function
ROOT2, ROOT2PI = math.sqrt(2), math.sqrt(2 * math.pi)


def special(name: str):
    return FUNCTIONS["special_" + name]


# -- one operand -------------------------------------------------------------------------------------------------------
def bessel_slope(even: str, odd: str, scaled: bool):
    """Derivative of I1 (or of exp(-|x|) I1): I0 - I1 / x, and what the factor adds; 1/2 near zero and, as in PyTorch, for NaN."""

    def slope(c, g):
        x = c.input(0)
        usual = x.abs() > np.finfo(x.dtype.np).eps
        safe = where_of(usual, x, 1)
        more = safe.sgn() + 1 / safe if scaled else 1 / safe
        return (g * where_of(usual, special(even)(safe) - special(odd)(safe) * more, 0.5),)

    return slope


def entropy_term(x):
    return np.where(
        np.isnan(x), x, np.where(x > 0, -x * np.log(np.where(x > 0, x, 1)), np.where(x == 0, 0, -np.inf))
    ).astype(x.dtype)


def entropy_term_ir(b, x):
    positive = x > 0
    value = -x * b.map("log", b.where(positive, x, b.const(1, x.dtype)))
    return b.where(
        b.map("isnan", x),
        x,
        b.where(positive, value, b.where(x.eq(0), b.const(0, x.dtype), b.const(-math.inf, x.dtype))),
    )


AIRY_LARGE = 104.0      # from here on it is less than any number of single or double precision that PyTorch gives


def airy(x):
    import scipy.special

    return np.where(x > AIRY_LARGE, 0, scipy.special.airy(np.minimum(x, AIRY_LARGE))[0])


def spherical_bessel(x):
    import scipy.special

    return scipy.special.spherical_jn(0, x)


# name, NumPy or SciPy function, expression, gradient, saves
UNARY: list[tuple] = [
    ("i0", scipy_function("i0"), None, lambda c, g: (g * special("i1")(c.input(0)),), "0"),
    (
        "i0e",
        scipy_function("i0e"),
        None,
        lambda c, g: (g * (special("i1e")(c.input(0)) - c.input(0).sgn() * c.output()),),
        "0o",
    ),
    ("i1", scipy_function("i1"), None, bessel_slope("i0", "i1", False), "0"),
    ("i1e", scipy_function("i1e"), None, bessel_slope("i0e", "i1e", True), "0"),
    (
        "ndtr",
        scipy_function("ndtr"),
        lambda b, x: b.map("erfc", x * (-1 / ROOT2)) * 0.5,
        lambda c, g: (g * (c.input(0) * c.input(0) * -0.5).exp() * (1 / ROOT2PI),),
        "0",
    ),
    ("ndtri", scipy_function("ndtri"), None, lambda c, g: (g * (c.output() * c.output() * 0.5).exp() * ROOT2PI,), "o"),
    (
        "log_ndtr",
        scipy_function("log_ndtr"),
        None,
        lambda c, g: (g / special("erfcx")(c.input(0) * (-1 / ROOT2)) * math.sqrt(2 / math.pi),),
        "0",
    ),
    (
        "erfcx",
        scipy_function("erfcx"),
        None,
        lambda c, g: (g * (c.input(0) * c.output() * 2 - 2 / math.sqrt(math.pi)),),
        "0o",
    ),
    ("entr", entropy_term, entropy_term_ir, lambda c, g: (g * (-c.input(0).log() - 1),), "0"),
    ("airy_ai", airy, None, None, ""),
    ("bessel_j0", scipy_function("j0"), None, None, ""),
    ("bessel_j1", scipy_function("j1"), None, None, ""),
    ("bessel_y0", scipy_function("y0"), None, None, ""),
    ("bessel_y1", scipy_function("y1"), None, None, ""),
    ("modified_bessel_i0", scipy_function("i0"), None, None, ""),
    ("modified_bessel_i1", scipy_function("i1"), None, None, ""),
    ("modified_bessel_k0", scipy_function("k0"), None, None, ""),
    ("modified_bessel_k1", scipy_function("k1"), None, None, ""),
    ("scaled_modified_bessel_k0", scipy_function("k0e"), None, None, ""),
    ("scaled_modified_bessel_k1", scipy_function("k1e"), None, None, ""),
    ("spherical_bessel_j0", spherical_bessel, None, None, ""),
]
for _name, _numpy, _expression, _vjp, _saves in UNARY:
    FUNCTIONS["special_" + _name] = define("special_" + _name, _numpy, _expression, _vjp, saves=_saves, promote="float")
    publish("special_" + _name, FUNCTIONS["special_" + _name], method=False)
    FUNCTION[_name] = PUBLIC["special_" + _name]
publish("i0", special("i0"))


# -- logit, polygamma --------------------------------------------------------------------------------------------------
def logit_of(x, low, high):
    if low is not None:
        x = np.clip(x, low, high)
    return np.log(x / (1 - x))


def logit_ir(b, x, low, high):
    if low is not None:
        x = b.map("minimum", b.map("maximum", x, low), high)
    return b.map("log", x / (1 - x))


def logit_slope(c, g):
    x, low, high = c.input(0), c.input(1), c.input(2)
    outside = (x < (0 if low is None else low)) | (x > (1 if high is None else high))
    return (where_of(outside, math.nan if low is None else 0, g / (x * (1 - x))), None, None)


FUNCTIONS["logit"] = define("logit", logit_of, logit_ir, logit_slope, saves="012", promote="float")


def logit(input, eps: float | None = None, *, out=None):
    """log(x / (1 - x)), with x limited to [eps, 1 - eps] if eps is given."""
    low, high = (None, None) if eps is None else (float(eps), 1 - float(eps))
    return finish(FUNCTIONS["logit"](input, low, high), out)


publish_binary("logit", logit)


SHIFTS = 10_000  # how far below zero the zeta function is followed


def hurwitz(s, q):
    """The Hurwitz zeta function;

    for negative q (and whole s) by adding the terms up to the first positive q + k. NaN below -SHIFTS.
    """
    import scipy.special

    s, q = (np.asarray(v, np.float64) for v in (s, q))
    low = (q < 0) & (q != np.floor(q)) & (s == np.floor(s)) & (q > -SHIFTS)
    steps = np.where(low, np.ceil(-q), 0)
    total = np.zeros(np.broadcast_shapes(s.shape, q.shape))
    for k in range(int(steps.max(initial=0))):
        total = total + np.where(k < steps, (q + k) ** -s, 0)
    value = total + np.where((q <= 0) & (q == np.floor(q)), np.inf, scipy.special.zeta(s, q + steps))
    value = np.where((s < 1) | (q == np.inf), np.nan, value)
    return np.where(s == 1, np.inf, value)


def trigamma(x):
    """By reflection, six terms of its series, and its asymptotic expansion: in the operand's precision, as PyTorch computes it."""
    kind = x.dtype.type
    pi = kind(np.pi)
    low = x < 0.5
    s = np.sin(pi * x)
    result = np.where(low, -(pi * pi) / (s * s), kind(0))
    x = np.where(low, 1 - x, x)
    for _ in range(6):
        result = result + 1 / (x * x)
        x = x + 1
    square = 1 / (x * x)
    result = result + (1 + 1 / (2 * x) + square * (kind(1 / 6) - square * (kind(1 / 30) - square * kind(1 / 42)))) / x
    return np.where(low, -result, result)


def polygamma_reference(x, n):
    import scipy.special

    compute, _ = promoted("polygamma", "float", [array_meta(x)])
    x = x.astype(compute.np)
    if n <= 1:
        return trigamma(x) if n else scipy.special.psi(x)
    return (-1.0) ** (n + 1) * math.factorial(n) * hurwitz(n + 1, x)


polygamma_op = Op(
    "polygamma",
    infer=lambda m, n: Meta(m.shape, promoted("polygamma", "float", [m])[1]),
    reference=polygamma_reference,
    vjp=lambda c, g: (g * apply(polygamma_op, (c.input(0),), (c.attrs[0] + 1,)),),
    saves="0",
)


def polygamma(n: int, input, *, out=None):
    """The n-th derivative of digamma. NotImplementedError for a negative n."""
    if n < 0:
        raise RuntimeError("polygamma(n, x) does not support negative n.")
    return finish(FUNCTIONS["digamma"](input) if n == 0 else apply(polygamma_op, (input,), (int(n),)), out)


PUBLIC["polygamma"] = polygamma
METHODS["polygamma"] = lambda self, n: polygamma(n, self)
METHODS["polygamma_"] = inplace_of(METHODS["polygamma"], "polygamma_")


def multigammaln(input, p: int, *, out=None):
    """The logarithm of the multivariate gamma function of dimension p. RuntimeError for p < 1."""
    if p < 1:
        raise RuntimeError("p has to be greater than or equal to 1")
    result = 0.25 * p * (p - 1) * math.log(math.pi)
    for i in range(p):
        result = FUNCTIONS["lgamma"](input - 0.5 * i) + result
    return finish(result, out)


publish_binary("mvlgamma", multigammaln)


# -- two operands ------------------------------------------------------------------------------------------------------
def xlog1py_slope(c, g):
    x, y = c.input(0), c.input(1)
    log = as_tensor_of(y, g).log1p()
    return (g * where_of((x == 0) & (y <= -1), 0, log) if c.needs[0] else None, g * x / (y + 1) if c.needs[1] else None)


def xlog1py(x, y):
    return np.where(np.isnan(y), y, np.where(x == 0, 0, x * np.log1p(y))).astype(x.dtype)


def xlog1py_ir(b, x, y):
    return b.where(b.map("isnan", y), y, b.where(x.eq(0), b.const(0, x.dtype), x * b.map("log1p", y)))


def gamma_slope(sign: float):
    """Derivative of the incomplete gamma functions in x (none in a): x**(a - 1) exp(-x) / gamma(a)."""

    def slope(c, g):
        a, x = c.input(0), c.input(1)
        return (None, g * (((a - 1) * x.log() - x - as_tensor_of(a, g).lgamma()).exp() * sign))

    return slope


def incomplete(name: str, less: int):
    """An incomplete gamma function, with PyTorch's limits: `less` for an infinite a or no x, 1 - less for the opposite, also beside NaN."""

    def call(a, x):
        a, x = np.broadcast_arrays(a, x)
        value = np.where(np.isinf(x), 1 - less, scipy_function(name)(a, x))
        value = np.where(np.isinf(a), np.where(np.isinf(x), np.nan, less), value)
        value = np.where(x == 0, less, value)
        value = np.where(a == 0, np.where(x > 0, 1 - less, np.nan), value)
        return np.where((x < 0) | (a < 0), np.nan, value).astype(np.result_type(a, x))

    return call


MANY = 1000


def degrees(n):
    """Degrees as PyTorch takes them: what doesn't fit into 64 bits is negative."""
    return np.where(np.abs(n.astype(np.float64)) < 2.0**63, n, -1)


def polynomial(name: str):
    """SciPy's orthogonal polynomial (n, x) as PyTorch's (x, n): 0 for negative degrees and those that are no numbers, 1 for degree 0."""

    def call(x, n):
        import scipy.special

        n = degrees(n)
        k = np.maximum(np.trunc(n), 0)
        f = getattr(scipy.special, name)
        # whole degrees by recurrence, which takes as many steps; large ones by hypergeometric functions, where SciPy has them
        if "hermite" in name:
            k = np.where(k > MANY, MANY + k % 2, k)
        value = f(k.astype(np.int64), x) if k.max(initial=0) <= MANY + 1 else f(k.astype(np.float64), x.astype(np.float64))
        return np.where(n <= -1, 0, np.where(k == 0, 1, value)).astype(x.dtype)

    return call


def third_or_fourth(sign: int, shift: bool):
    """Chebyshev polynomials V (sign -1) and W (sign 1), from U: U[n] + sign * U[n - 1]."""
    second = polynomial("eval_chebyu")

    def call(x, n):
        y = 2 * x - 1 if shift else x
        n = degrees(n)
        k = np.maximum(np.trunc(n), 0)
        value = second(y, k) + sign * np.where(k > 0, second(y, k - 1), 0)
        return np.where(n <= -1, 0, value).astype(x.dtype)

    return call


BINARY: list[tuple] = [
    ("xlog1py", xlog1py, xlog1py_ir, xlog1py_slope, "01"),
    (
        "zeta",
        hurwitz,
        None,
        lambda c, g: (None, g * -as_tensor_of(c.input(0), g) * special("zeta")(c.input(0) + 1, c.input(1))),
        "01",
    ),
    ("gammainc", incomplete("gammainc", 0), None, gamma_slope(1.0), "01"),
    ("gammaincc", incomplete("gammaincc", 1), None, gamma_slope(-1.0), "01"),
    ("chebyshev_polynomial_t", polynomial("eval_chebyt"), None, None, ""),
    ("chebyshev_polynomial_u", polynomial("eval_chebyu"), None, None, ""),
    ("chebyshev_polynomial_v", third_or_fourth(-1, False), None, None, ""),
    ("chebyshev_polynomial_w", third_or_fourth(1, False), None, None, ""),
    ("shifted_chebyshev_polynomial_t", polynomial("eval_sh_chebyt"), None, None, ""),
    ("shifted_chebyshev_polynomial_u", polynomial("eval_sh_chebyu"), None, None, ""),
    ("shifted_chebyshev_polynomial_v", third_or_fourth(-1, True), None, None, ""),
    ("shifted_chebyshev_polynomial_w", third_or_fourth(1, True), None, None, ""),
    ("hermite_polynomial_h", polynomial("eval_hermite"), None, None, ""),
    ("hermite_polynomial_he", polynomial("eval_hermitenorm"), None, None, ""),
    ("laguerre_polynomial_l", polynomial("eval_laguerre"), None, None, ""),
    ("legendre_polynomial_p", polynomial("eval_legendre"), None, None, ""),
]
for _name, _numpy, _expression, _vjp, _saves in BINARY:
    FUNCTIONS["special_" + _name] = define("special_" + _name, _numpy, _expression, _vjp, saves=_saves, promote="float")
    FUNCTION[_name] = PUBLIC["special_" + _name] = two_operands("special_" + _name)
for _name, _record in (("igamma", "gammainc"), ("igammac", "gammaincc")):
    publish_binary(_name, two_operands("special_" + _record, numbers=False))


# -- frexp -------------------------------------------------------------------------------------------------------------
frexp_op = Op(
    "frexp",
    infer=lambda m: (Meta(m.shape, m.dtype), Meta(m.shape, int32)),
    reference=lambda x: np.frexp(x),
    saves="o",
    vjp=lambda c, g, _: (None if g is None else g / c.output(1).exp2(),),
)


def frexp(input, *, out=None):
    """(mantissa, exponent):

    input = mantissa * 2**exponent, with the mantissa in [0.5, 1). RuntimeError for integers.
    """
    from .reductions import RETURN_TYPES, named

    needs_tensor("frexp", input=input)
    if input.dtype.category <= INT:
        raise RuntimeError("torch.frexp() only supports floating-point dtypes")
    kind = RETURN_TYPES.setdefault("frexp", named("frexp", "mantissa", "exponent"))
    return finish(kind(*apply(frexp_op, (input,))), out)


PUBLIC["frexp"] = METHODS["frexp"] = frexp


# -- what jitorch.special holds ----------------------------------------------------------------------------------------
SAME = {"expit": "sigmoid", "psi": "digamma", "gammaln": "lgamma"} | {
    n: n
    for n in (
        "digamma",
        "erf",
        "erfc",
        "erfinv",
        "exp2",
        "expm1",
        "log1p",
        "logit",
        "polygamma",
        "round",
        "sinc",
        "xlogy",
    )
}
FUNCTION.update({name: PUBLIC[public] for name, public in SAME.items()}, multigammaln=multigammaln)
PUBLIC.update({"special_" + name: FUNCTION[name] for name in ("expit", "psi", "gammaln", "logit")})

"""Philox4x32-10 (Salmon, Moraes, Dror, Shaw: "Parallel random numbers: as easy as 1, 2, 3", SC 2011), and what draws
are made of.

32 random bits are a function of a seed and a counter alone, so an element of a draw doesn't depend on how the work
was split, on the tier, or on the machine. Key words: the seed's low and high 32 bits. Counter words: the counter's
low and high 32 bits, 0, 0. Of the four result words the first is taken.

Everything after the bits uses only operations that IEEE 754 rounds exactly (and comparisons), in one order, so that
both tiers agree bit for bit.
"""

from __future__ import annotations

import numpy as np

M0, M1 = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)  # multipliers
W0, W1 = np.uint64(0x9E3779B9), np.uint64(0xBB67AE85)  # what the key grows by from round to round
LOW, WORD = np.uint64(0xFFFFFFFF), np.uint64(32)
ROUNDS = 10


def philox(seed, counter) -> np.ndarray:
    """32 random bits (as int64) for each counter.

    >>> import numpy as np
    >>> [hex(v) for v in philox(0, np.arange(2))]
    ['0x6627e8d5', '0xf8e4cca4']
    """
    seed = np.asarray(seed, np.int64).astype(np.uint64)
    counter = np.asarray(counter, np.int64).astype(np.uint64)
    k0, k1 = seed & LOW, seed >> WORD
    c0, c1 = counter & LOW, counter >> WORD
    c2 = c3 = np.zeros_like(c0)
    for i in range(ROUNDS):
        a, b = M0 * c0, M1 * c2
        c0, c1, c2, c3 = (b >> WORD) ^ c1 ^ k0, b & LOW, (a >> WORD) ^ c3 ^ k1, a & LOW
        if i < ROUNDS - 1:
            k0, k1 = (k0 + W0) & LOW, (k1 + W1) & LOW
    return c0.astype(np.int64)


# -- one text for both tiers -------------------------------------------------------------------------------------------
class Arrays:
    """The few functions that a draw needs, on NumPy arrays."""

    where, sqrt = staticmethod(np.where), staticmethod(np.sqrt)

    def __init__(self, seed, counter):
        self.seed, self.counter = seed, counter

    def bits(self, index):
        return philox(self.seed, np.int64(self.counter) + index)

    def index(self, shape):
        return np.arange(int(np.prod(shape, dtype=np.int64))).reshape(shape)

    def double(self, x):
        return x.astype(np.float64)

    def shifted(self, x, n):
        return x >> n

    def modulo(self, x, n):
        return x % n

    def like(self, x, number):
        return np.float64(number)


class Lowered:
    """The same on values of the IR."""

    def __init__(self, b, seed, counter):
        from ..dtypes import float64, int64
        from .promotion import to_value

        self.b, self.float64 = b, float64
        self.seed, self.counter = to_value(b, seed, int64), to_value(b, counter, int64)
        self.where = b.where

    def bits(self, index):
        return self.b.map("philox", self.seed, index + self.counter)

    def index(self, shape):
        if not shape:
            return self.b.const(0, self.counter.dtype)
        total, step = None, 1
        for d in range(len(shape) - 1, -1, -1):
            along = self.b.iota(tuple(n if i == d else 1 for i, n in enumerate(shape)), d)
            along = along if step == 1 else along * step
            total, step = along if total is None else total + along, step * shape[d]
        return total

    def sqrt(self, x):
        return self.b.map("sqrt", x)

    def double(self, x):
        return self.b.cast(x, self.float64)

    def shifted(self, x, n):
        return self.b.map("shr", x, n)

    def modulo(self, x, n):
        return self.b.map("remainder", x, n)

    def like(self, x, number):
        return self.b.const(number, x.dtype)


def uniform24(m, shape):
    """float64 in [0, 1): multiples of 2**-24, so exact in float32. One counter an element."""
    return m.double(m.shifted(m.bits(m.index(shape)), 8)) * 2.0**-24


def bits53(m, shape):
    """Integers in [0, 2**53), from two counters an element."""
    first = m.index(shape) * 2
    return m.shifted(m.bits(first), 5) * 2**26 + m.shifted(m.bits(first + 1), 6)


def uniform53(m, shape):
    """float64 in [0, 1): multiples of 2**-53. Two counters an element."""
    return m.double(bits53(m, shape)) * 2.0**-53


def polynomial(coefficients, x):
    """Horner's rule, highest power first."""
    result = x * coefficients[0] + coefficients[1]
    for c in coefficients[2:]:
        result = result * x + c
    return result


# 2 / (2k + 1), highest k first: log((1 + s) / (1 - s)) = s * sum of 2 / (2k + 1) * s**(2k)
ATANH = tuple(2.0 / (2 * k + 1) for k in range(10, -1, -1))
LN2 = 0.6931471805599453
SINGLE, DOUBLE = 6, 11  # terms for relative errors of 1e-10 and 1e-16


def log_small(m, p, halvings=(32, 16, 8, 4, 2, 1), terms=DOUBLE):
    """The natural logarithm of p in (2**-sum(halvings), 1] in exactly rounded operations.

    p is brought into [0.7, 1.42) by powers of two; there log(p) = 2 atanh((p - 1) / (p + 1)).
    """
    exponent = 0.0
    for step in halvings:
        small = p < 2.0**-step
        p = m.where(small, p * 2.0**step, p)
        exponent = (
            m.where(small, exponent + step, exponent)
            if step != halvings[0]
            else m.where(small, m.like(p, step), m.like(p, 0.0))
        )
    low = p < 0.7071067811865476
    p = m.where(low, p * 2.0, p)
    exponent = m.where(low, exponent + 1.0, exponent)
    s = (p - 1.0) / (p + 1.0)
    return s * polynomial(ATANH[DOUBLE - terms :], s * s) - exponent * LN2


# -- a normal variable from a uniform one ------------------------------------------------------------------------------
# Giles ("Approximating the erfinv function", GPU Computing Gems 2, 2011): erfinv(x) / x as polynomials in
# w = -log(1 - x * x): in w - 2.5 for w < 5, in sqrt(w) - 3 beyond. The relative error of the quantile is below 1e-6
# up to 5.4 standard deviations, and below 4e-4 beyond (one draw in ten million).
GILES = (
    (
        2.81022636e-08,
        3.43273939e-07,
        -3.5233877e-06,
        -4.39150654e-06,
        0.00021858087,
        -0.00125372503,
        -0.00417768164,
        0.246640727,
        1.50140941,
    ),
    (
        -0.000200214257,
        0.000100950558,
        0.00134934322,
        -0.00367342844,
        0.00573950773,
        -0.0076224613,
        0.00943887047,
        1.00167406,
        2.83297682,
    ),
)

# Wichura (Algorithm AS 241, PPND16: "The percentage points of the normal distribution", Applied Statistics 37, 1988),
# about 16 digits: numerator and denominator, for the middle (|q| <= 0.425, in 0.180625 - q * q) ...
MIDDLE = (
    (
        2.5090809287301226727e3,
        3.3430575583588128105e4,
        6.7265770927008700853e4,
        4.5921953931549871457e4,
        1.3731693765509461125e4,
        1.9715909503065514427e3,
        1.3314166789178437745e2,
        3.3871328727963666080e0,
    ),
    (
        5.2264952788528545610e3,
        2.8729085735721942674e4,
        3.9307895800092710610e4,
        2.1213794301586595867e4,
        5.3941960214247511077e3,
        6.8718700749205790830e2,
        4.2313330701600911252e1,
        1.0,
    ),
)
# ... for the tails (r = sqrt(-log(p)) up to 5, in r - 1.6), and the far tails (in r - 5)
TAIL = (
    (
        7.74545014278341407640e-4,
        2.27238449892691845833e-2,
        2.41780725177450611770e-1,
        1.27045825245236838258e0,
        3.64784832476320460504e0,
        5.76949722146069140550e0,
        4.63033784615654529590e0,
        1.42343711074968357734e0,
    ),
    (
        1.05075007164441684324e-9,
        5.47593808499534494600e-4,
        1.51986665636164571966e-2,
        1.48103976427480074590e-1,
        6.89767334985100004550e-1,
        1.67638483018380384940e0,
        2.05319162663775882187e0,
        1.0,
    ),
)
FAR_TAIL = (
    (
        2.01033439929228813265e-7,
        2.71155556874348757815e-5,
        1.24266094738807843860e-3,
        2.65321895265761230930e-2,
        2.96560571828504891230e-1,
        1.78482653991729133580e0,
        5.46378491116411436990e0,
        6.65790464350110377720e0,
    ),
    (
        2.04426310338993978564e-15,
        1.42151175831644588870e-7,
        1.84631831751005468180e-5,
        7.86869131145613259100e-4,
        1.48753612908506148525e-2,
        1.36929880922735805310e-1,
        5.99832206555887937690e-1,
        1.0,
    ),
)


def ratio(pair, x):
    return polynomial(pair[0], x) / polynomial(pair[1], x)


def normal32(m, shape):
    """Standard normal variables of float32 accuracy (as float64), by inversion. One counter an element."""
    u = (m.double(m.bits(m.index(shape))) + 0.5) * 2.0**-32
    x = u * 2.0 - 1.0
    w = -log_small(m, u * (1.0 - u) * 4.0, (16, 8, 4, 2, 1), SINGLE)
    near, far = polynomial(GILES[0], w - 2.5), polynomial(GILES[1], m.sqrt(w) - 3.0)
    return m.where(w < 5.0, near, far) * x * 1.4142135623730951


def normal64(m, shape):
    """Standard normal variables of float64 accuracy, by inversion. Two counters an element."""
    u = (m.double(bits53(m, shape)) + 0.5) * 2.0**-53
    q = u - 0.5
    middle = q * ratio(MIDDLE, 0.180625 - q * q)
    r = m.sqrt(-log_small(m, m.where(q < 0.0, u, 1.0 - u)))
    tail = m.where(r <= 5.0, ratio(TAIL, r - 1.6), ratio(FAR_TAIL, r - 5.0))
    tail = m.where(q < 0.0, -tail, tail)
    return m.where((q <= 0.425) & (q >= -0.425), middle, tail)


def exponential32(m, shape):
    """Exponential variables of float32 accuracy (as float64). One counter an element."""
    return -log_small(m, 1.0 - uniform24(m, shape), (16, 8, 4, 2, 1), SINGLE)


def exponential64(m, shape):
    """Exponential variables of float64 accuracy. Two counters an element."""
    return -log_small(m, 1.0 - uniform53(m, shape))

"""Distributions of real numbers."""

from __future__ import annotations

import math

import jitorch

from . import constraints
from .distribution import Distribution, ExponentialFamily
from .utils import broadcast_all

EULER = 0.57721566490153286060


def shape_of(*values):
    """The batch shape of parameters that may be numbers."""
    return next((v.shape for v in values if hasattr(v, "_meta")), ())


class LocationScale(Distribution):
    """What distributions by a location and a scale share."""

    arg_constraints = {"loc": constraints.real, "scale": constraints.positive}
    has_rsample = True

    def __init__(self, loc, scale, validate_args=None):
        self.loc, self.scale = broadcast_all(loc, scale)
        super().__init__(self.loc.shape, validate_args=validate_args)

    @property
    def mean(self):
        return self.loc

    @property
    def mode(self):
        return self.loc


class Normal(LocationScale, ExponentialFamily):
    """The normal distribution with mean loc and standard deviation scale.

    >>> import jitorch as torch
    >>> torch.distributions.Normal(0.0, 1.0).log_prob(torch.tensor(0.0))
    tensor(-0.9189)
    """

    @property
    def stddev(self):
        return self.scale

    @property
    def variance(self):
        return self.scale.pow(2)

    def rsample(self, sample_shape=()):
        shape = self._extended_shape(sample_shape)
        return self.loc + jitorch.randn(shape, dtype=self.loc.dtype) * self.scale

    def log_prob(self, value):
        self._validate_sample(value)
        return -((value - self.loc) ** 2) / (2 * self.scale**2) - self.scale.log() - math.log(math.sqrt(2 * math.pi))

    def cdf(self, value):
        self._validate_sample(value)
        return 0.5 * (1 + jitorch.erf((value - self.loc) * self.scale.reciprocal() / math.sqrt(2)))

    def icdf(self, value):
        return self.loc + self.scale * jitorch.erfinv(2 * value - 1) * math.sqrt(2)

    def entropy(self):
        return 0.5 + 0.5 * math.log(2 * math.pi) + jitorch.log(self.scale)


class Uniform(Distribution):
    """Uniform in [low, high)."""

    has_rsample = True
    arg_constraints = {"low": constraints.dependent, "high": constraints.dependent}

    def __init__(self, low, high, validate_args=None):
        self.low, self.high = broadcast_all(low, high)
        super().__init__(self.low.shape, validate_args=validate_args)
        if self._validate_args and not bool((self.low < self.high).all()):
            raise ValueError("Uniform is not defined when low>= high")

    @constraints.dependent_property
    def support(self):
        return constraints.interval(self.low, self.high)

    @property
    def mean(self):
        return (self.high + self.low) / 2

    @property
    def variance(self):
        return (self.high - self.low).pow(2) / 12

    def rsample(self, sample_shape=()):
        return self.low + jitorch.rand(self._extended_shape(sample_shape), dtype=self.low.dtype) * (self.high - self.low)

    def log_prob(self, value):
        self._validate_sample(value)
        inside = (self.low <= value) & (self.high > value)
        return jitorch.log(inside.type_as(self.low)) - jitorch.log(self.high - self.low)

    def cdf(self, value):
        self._validate_sample(value)
        return ((value - self.low) / (self.high - self.low)).clamp(min=0, max=1)

    def icdf(self, value):
        return value * (self.high - self.low) + self.low

    def entropy(self):
        return jitorch.log(self.high - self.low)


class Gamma(ExponentialFamily):
    """The gamma distribution with shape concentration and rate. Draws have no gradient with respect to the concentration."""

    arg_constraints = {"concentration": constraints.positive, "rate": constraints.positive}
    support = constraints.nonnegative
    has_rsample = True

    def __init__(self, concentration, rate, validate_args=None):
        self.concentration, self.rate = broadcast_all(concentration, rate)
        super().__init__(self.concentration.shape, validate_args=validate_args)

    @property
    def mean(self):
        return self.concentration / self.rate

    @property
    def mode(self):
        return ((self.concentration - 1) / self.rate).clamp(min=0)

    @property
    def variance(self):
        return self.concentration / self.rate.pow(2)

    def rsample(self, sample_shape=()):
        shape = self._extended_shape(sample_shape)
        value = jitorch._standard_gamma(self.concentration.expand(shape)) / self.rate.expand(shape)
        return value.clamp(min=jitorch.finfo(value.dtype).tiny)

    def log_prob(self, value):
        value = jitorch.as_tensor(value, dtype=self.rate.dtype)
        self._validate_sample(value)
        a = self.concentration
        return jitorch.xlogy(a, self.rate) + jitorch.xlogy(a - 1, value) - self.rate * value - jitorch.lgamma(a)

    def entropy(self):
        a = self.concentration
        return a - jitorch.log(self.rate) + jitorch.lgamma(a) + (1.0 - a) * jitorch.digamma(a)

    def cdf(self, value):
        self._validate_sample(value)
        return jitorch.special.gammainc(self.concentration, self.rate * value)


class Chi2(Gamma):
    """The chi-squared distribution with df degrees of freedom."""

    arg_constraints = {"df": constraints.positive}

    def __init__(self, df, validate_args=None):
        df, = broadcast_all(df)
        super().__init__(0.5 * df, jitorch.full_like(df, 0.5), validate_args=validate_args)

    @property
    def df(self):
        return self.concentration * 2


class Exponential(ExponentialFamily):
    """The exponential distribution with the given rate."""

    arg_constraints = {"rate": constraints.positive}
    support = constraints.nonnegative
    has_rsample = True

    def __init__(self, rate, validate_args=None):
        self.rate, = broadcast_all(rate)
        super().__init__(self.rate.shape, validate_args=validate_args)

    @property
    def mean(self):
        return self.rate.reciprocal()

    @property
    def mode(self):
        return jitorch.zeros_like(self.rate)

    @property
    def stddev(self):
        return self.rate.reciprocal()

    @property
    def variance(self):
        return self.rate.pow(-2)

    def rsample(self, sample_shape=()):
        shape = self._extended_shape(sample_shape)
        return jitorch.empty(shape, dtype=self.rate.dtype).exponential_() / self.rate

    def log_prob(self, value):
        self._validate_sample(value)
        return self.rate.log() - self.rate * value

    def cdf(self, value):
        self._validate_sample(value)
        return 1 - jitorch.exp(-self.rate * value)

    def icdf(self, value):
        return -jitorch.log1p(-value) / self.rate

    def entropy(self):
        return 1.0 - jitorch.log(self.rate)


class Laplace(LocationScale):
    """The Laplace distribution."""

    @property
    def variance(self):
        return 2 * self.scale.pow(2)

    @property
    def stddev(self):
        return (2**0.5) * self.scale

    def rsample(self, sample_shape=()):
        u = jitorch.rand(self._extended_shape(sample_shape), dtype=self.loc.dtype) - 0.5
        tiny = jitorch.finfo(u.dtype).tiny
        return self.loc - self.scale * u.sign() * jitorch.log1p(-2 * u.abs().clamp(max=0.5 - jitorch.finfo(u.dtype).eps / 4) + tiny)

    def log_prob(self, value):
        self._validate_sample(value)
        return -jitorch.log(2 * self.scale) - jitorch.abs(value - self.loc) / self.scale

    def cdf(self, value):
        self._validate_sample(value)
        d = value - self.loc
        return 0.5 - 0.5 * d.sign() * jitorch.expm1(-d.abs() / self.scale)

    def icdf(self, value):
        term = value - 0.5
        return self.loc - self.scale * term.sign() * jitorch.log1p(-2 * term.abs())

    def entropy(self):
        return 1 + jitorch.log(2 * self.scale)


class Cauchy(LocationScale):
    """The Cauchy distribution: no mean, no variance."""

    @property
    def mean(self):
        return jitorch.full_like(self.loc, math.nan)

    @property
    def variance(self):
        return jitorch.full_like(self.loc, math.inf)

    def rsample(self, sample_shape=()):
        u = jitorch.rand(self._extended_shape(sample_shape), dtype=self.loc.dtype)
        return self.loc + (math.pi * (u - 0.5)).tan() * self.scale

    def log_prob(self, value):
        self._validate_sample(value)
        return -math.log(math.pi) - self.scale.log() - (((value - self.loc) / self.scale) ** 2).log1p()

    def cdf(self, value):
        self._validate_sample(value)
        return jitorch.atan((value - self.loc) / self.scale) / math.pi + 0.5

    def icdf(self, value):
        return jitorch.tan(math.pi * (value - 0.5)) * self.scale + self.loc

    def entropy(self):
        return math.log(4 * math.pi) + self.scale.log()


class Gumbel(LocationScale):
    """The Gumbel distribution."""

    @property
    def mean(self):
        return self.loc + self.scale * EULER

    @property
    def stddev(self):
        return (math.pi / math.sqrt(6)) * self.scale

    @property
    def variance(self):
        return self.stddev.pow(2)

    def rsample(self, sample_shape=()):
        e = jitorch.empty(self._extended_shape(sample_shape), dtype=self.loc.dtype).exponential_()
        return self.loc - self.scale * e.log()

    def log_prob(self, value):
        self._validate_sample(value)
        y = (self.loc - value) / self.scale
        return (y - y.exp()) - self.scale.log()

    def cdf(self, value):
        self._validate_sample(value)
        return (-(-(value - self.loc) / self.scale).exp()).exp()

    def icdf(self, value):
        return self.loc - self.scale * (-value.log()).log()

    def entropy(self):
        return self.scale.log() + (1 + EULER)


class StudentT(Distribution):
    """Student's t-distribution with df degrees of freedom, moved and scaled."""

    arg_constraints = {"df": constraints.positive, "loc": constraints.real, "scale": constraints.positive}
    has_rsample = True

    def __init__(self, df, loc=0.0, scale=1.0, validate_args=None):
        self.df, self.loc, self.scale = broadcast_all(df, loc, scale)
        super().__init__(self.df.shape, validate_args=validate_args)

    @property
    def mean(self):
        return jitorch.where(self.df <= 1, math.nan, self.loc)

    @property
    def mode(self):
        return self.loc

    @property
    def variance(self):
        spread = self.scale.pow(2) * self.df / (self.df - 2)
        return jitorch.where(self.df <= 1, math.nan, jitorch.where(self.df <= 2, math.inf, spread))

    def rsample(self, sample_shape=()):
        shape = self._extended_shape(sample_shape)
        z = Chi2(self.df).rsample(sample_shape)
        return self.loc + self.scale * jitorch.randn(shape, dtype=self.df.dtype) * jitorch.rsqrt(z / self.df)

    def log_prob(self, value):
        self._validate_sample(value)
        y = (value - self.loc) / self.scale
        z = (self.scale.log() + 0.5 * self.df.log() + 0.5 * math.log(math.pi) + jitorch.lgamma(0.5 * self.df) - jitorch.lgamma(0.5 * (self.df + 1.0)))
        return -0.5 * (self.df + 1.0) * jitorch.log1p(y**2.0 / self.df) - z

    def entropy(self):
        beta = jitorch.lgamma(0.5 * self.df) + math.lgamma(0.5) - jitorch.lgamma(0.5 * (self.df + 1))
        return (self.scale.log() + 0.5 * (self.df + 1) * (jitorch.digamma(0.5 * (self.df + 1)) - jitorch.digamma(0.5 * self.df))
                + 0.5 * self.df.log() + beta)


class HalfNormal(Distribution):
    """The size of a normal variable with mean zero."""

    arg_constraints = {"scale": constraints.positive}
    support = constraints.nonnegative
    has_rsample = True

    def __init__(self, scale, validate_args=None):
        self.scale, = broadcast_all(scale)
        super().__init__(self.scale.shape, validate_args=validate_args)

    @property
    def mean(self):
        return self.scale * math.sqrt(2 / math.pi)

    @property
    def mode(self):
        return jitorch.zeros_like(self.scale)

    @property
    def variance(self):
        return self.scale.pow(2) * (1 - 2 / math.pi)

    def rsample(self, sample_shape=()):
        return (jitorch.randn(self._extended_shape(sample_shape), dtype=self.scale.dtype) * self.scale).abs()

    def log_prob(self, value):
        self._validate_sample(value)
        density = Normal(0.0, self.scale, validate_args=False).log_prob(value) + math.log(2)
        return jitorch.where(value >= 0, density, -math.inf)

    def cdf(self, value):
        self._validate_sample(value)
        return 2 * Normal(0.0, self.scale, validate_args=False).cdf(value) - 1

    def icdf(self, value):
        return Normal(0.0, self.scale, validate_args=False).icdf((value + 1) / 2)

    def entropy(self):
        return Normal(0.0, self.scale, validate_args=False).entropy() - math.log(2)


class Dirichlet(ExponentialFamily):
    """The Dirichlet distribution of points on a simplex. Draws have no gradient."""

    arg_constraints = {"concentration": constraints.independent(constraints.positive, 1)}
    support = constraints.simplex
    has_rsample = True

    def __init__(self, concentration, validate_args=None):
        if concentration.ndim < 1:
            raise ValueError("`concentration` parameter must be at least one-dimensional.")
        self.concentration = concentration
        super().__init__(concentration.shape[:-1], concentration.shape[-1:], validate_args)

    @property
    def mean(self):
        return self.concentration / self.concentration.sum(-1, True)

    @property
    def variance(self):
        total = self.concentration.sum(-1, True)
        return self.concentration * (total - self.concentration) / (total.pow(2) * (total + 1))

    def rsample(self, sample_shape=()):
        draws = jitorch._standard_gamma(self.concentration.expand(self._extended_shape(sample_shape)))
        return draws / draws.sum(-1, True)

    def log_prob(self, value):
        self._validate_sample(value)
        a = self.concentration
        return jitorch.xlogy(a - 1.0, value).sum(-1) + jitorch.lgamma(a.sum(-1)) - jitorch.lgamma(a).sum(-1)

    def entropy(self):
        a, k = self.concentration, self.concentration.size(-1)
        total = a.sum(-1)
        return (jitorch.lgamma(a).sum(-1) - jitorch.lgamma(total) - (k - total) * jitorch.digamma(total) - ((a - 1.0) * jitorch.digamma(a)).sum(-1))


class Beta(ExponentialFamily):
    """The beta distribution of numbers between 0 and 1. Draws have no gradient."""

    arg_constraints = {"concentration1": constraints.positive, "concentration0": constraints.positive}
    support = constraints.unit_interval
    has_rsample = True

    def __init__(self, concentration1, concentration0, validate_args=None):
        self.concentration1, self.concentration0 = broadcast_all(concentration1, concentration0)
        super().__init__(self.concentration1.shape, validate_args=validate_args)

    @property
    def mean(self):
        return self.concentration1 / (self.concentration1 + self.concentration0)

    @property
    def variance(self):
        total = self.concentration1 + self.concentration0
        return self.concentration1 * self.concentration0 / (total.pow(2) * (total + 1))

    def _dirichlet(self):
        return Dirichlet(jitorch.stack([self.concentration1, self.concentration0], -1), validate_args=False)

    def rsample(self, sample_shape=()):
        return self._dirichlet().rsample(sample_shape).select(-1, 0)

    def log_prob(self, value):
        self._validate_sample(value)
        return self._dirichlet().log_prob(jitorch.stack([value, 1.0 - value], -1))

    def entropy(self):
        return self._dirichlet().entropy()


class MultivariateNormal(Distribution):
    """A normal distribution of vectors, by its covariance_matrix, precision_matrix, or scale_tril (a Cholesky factor of the covariance)."""

    arg_constraints = {
        "loc": constraints.real_vector,
        "covariance_matrix": constraints.positive_definite,
        "precision_matrix": constraints.positive_definite,
        "scale_tril": constraints.lower_cholesky,
    }
    support = constraints.real_vector
    has_rsample = True

    def __init__(self, loc, covariance_matrix=None, precision_matrix=None, scale_tril=None, validate_args=None):
        if loc.ndim < 1:
            raise ValueError("loc must be at least one-dimensional.")
        given = {"covariance_matrix": covariance_matrix, "precision_matrix": precision_matrix, "scale_tril": scale_tril}
        chosen = {k: v for k, v in given.items() if v is not None}
        if len(chosen) != 1:
            raise ValueError("Exactly one of covariance_matrix or precision_matrix or scale_tril may be specified.")
        (name, matrix), = chosen.items()
        if matrix.ndim < 2:
            raise ValueError(f"{name} matrix must be at least two-dimensional, with optional leading batch dimensions")
        batch = jitorch.broadcast_shapes(matrix.shape[:-2], loc.shape[:-1])
        self.loc = loc.expand((*batch, loc.shape[-1]))
        matrix = matrix.expand((*batch, *matrix.shape[-2:]))
        cholesky = jitorch.linalg.cholesky
        if validate_args is not False and not bool(self.arg_constraints[name].check(matrix).all()):
            raise ValueError(
                f"Expected parameter {name} of distribution MultivariateNormal to satisfy the constraint {self.arg_constraints[name]!r}, "
                f"but found invalid values:\n{matrix}"
            )
        if name == "precision_matrix":      # the factor of the inverse is the inverse of the factor of the flipped matrix, flipped back
            flipped = cholesky(matrix.flip(-2, -1)).flip(-2, -1).mT
            eye = jitorch.eye(loc.shape[-1], dtype=loc.dtype)
            self._unbroadcasted_scale_tril = jitorch.linalg.solve_triangular(flipped, eye.expand(matrix.shape), upper=False)
        else:
            self._unbroadcasted_scale_tril = matrix if name == "scale_tril" else cholesky(matrix)
        super().__init__(batch, self.loc.shape[-1:], validate_args=False)
        self._validate_args = validate_args is not False

    @property
    def scale_tril(self):
        return self._unbroadcasted_scale_tril

    @property
    def covariance_matrix(self):
        return self.scale_tril @ self.scale_tril.mT

    @property
    def precision_matrix(self):
        return jitorch.cholesky_inverse(self.scale_tril)

    @property
    def mean(self):
        return self.loc

    mode = mean

    @property
    def variance(self):
        return self.scale_tril.pow(2).sum(-1)

    def rsample(self, sample_shape=()):
        noise = jitorch.randn(self._extended_shape(sample_shape), dtype=self.loc.dtype)
        return self.loc + (self.scale_tril @ noise.unsqueeze(-1)).squeeze(-1)

    def log_prob(self, value):
        self._validate_sample(value)
        difference = (value - self.loc).unsqueeze(-1)
        low = self.scale_tril.expand((*difference.shape[:-2], *self.scale_tril.shape[-2:]))
        m = jitorch.linalg.solve_triangular(low, difference, upper=False).pow(2).sum((-2, -1))
        half_log_det = self.scale_tril.diagonal(dim1=-2, dim2=-1).log().sum(-1)
        return -0.5 * (self._event_shape[0] * math.log(2 * math.pi) + m) - half_log_det

    def entropy(self):
        half_log_det = self.scale_tril.diagonal(dim1=-2, dim2=-1).log().sum(-1)
        return 0.5 * self._event_shape[0] * (1.0 + math.log(2 * math.pi)) + half_log_det

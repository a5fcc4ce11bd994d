"""Distributions made from others."""

from __future__ import annotations

import math

import jitorch

from ..tensor import Tensor
from . import constraints
from .continuous import Gamma, Normal
from .discrete import Categorical
from .distribution import Distribution
from .transforms import AffineTransform, ComposeTransform, ExpTransform, PowerTransform, SigmoidTransform
from .utils import sum_rightmost


class Independent(Distribution):
    """The last reinterpreted_batch_ndims batch dimensions of a distribution as dimensions of one event."""

    arg_constraints: dict = {}

    def __init__(self, base_distribution: Distribution, reinterpreted_batch_ndims: int, validate_args=None):
        n = len(base_distribution.batch_shape) - reinterpreted_batch_ndims
        if n < 0:
            raise ValueError(
                "Expected reinterpreted_batch_ndims <= len(base_distribution.batch_shape), actual "
                f"{reinterpreted_batch_ndims} vs {len(base_distribution.batch_shape)}"
            )
        self.base_dist, self.reinterpreted_batch_ndims = base_distribution, reinterpreted_batch_ndims
        shape = (*base_distribution.batch_shape, *base_distribution.event_shape)
        super().__init__(shape[:n], shape[n:], validate_args=validate_args)

    def _expanded(self, shape) -> None:
        n = self.reinterpreted_batch_ndims
        self.base_dist = self.base_dist.expand((*shape, *self._event_shape[:n]))

    @property
    def has_rsample(self):  # type: ignore[override]
        return self.base_dist.has_rsample

    @property
    def support(self):
        base = self.base_dist.support
        return constraints.independent(base, self.reinterpreted_batch_ndims) if self.reinterpreted_batch_ndims else base

    @property
    def mean(self):
        return self.base_dist.mean

    @property
    def mode(self):
        return self.base_dist.mode

    @property
    def variance(self):
        return self.base_dist.variance

    def sample(self, sample_shape=()):
        return self.base_dist.sample(sample_shape)

    def rsample(self, sample_shape=()):
        return self.base_dist.rsample(sample_shape)

    def log_prob(self, value):
        return sum_rightmost(self.base_dist.log_prob(value), self.reinterpreted_batch_ndims)

    def entropy(self):
        return sum_rightmost(self.base_dist.entropy(), self.reinterpreted_batch_ndims)

    def __repr__(self) -> str:
        return f"Independent({self.base_dist!r}, {self.reinterpreted_batch_ndims})"


class TransformedDistribution(Distribution):
    """The distribution of transforms(x), x being distributed as base_distribution."""

    arg_constraints: dict = {}

    def __init__(self, base_distribution: Distribution, transforms, validate_args=None):
        self.transforms = [transforms] if not isinstance(transforms, list) else transforms
        joined = ComposeTransform(self.transforms)
        events = max(joined.event_dim, len(base_distribution.event_shape))
        extra = events - len(base_distribution.event_shape)
        self.base_dist = Independent(base_distribution, extra) if extra > 0 else base_distribution
        shape = (*base_distribution.batch_shape, *base_distribution.event_shape)
        if self.transforms:
            for t in self.transforms:
                held = [getattr(t, "loc", None), getattr(t, "scale", None)]
                shape = jitorch.broadcast_shapes(shape, *(p.shape for p in held if isinstance(p, Tensor)))
        cut = len(shape) - events
        super().__init__(shape[:cut], shape[cut:], validate_args=validate_args)

    def _expanded(self, shape) -> None:
        self.base_dist = self.base_dist.expand(shape)

    @property
    def has_rsample(self):  # type: ignore[override]
        return self.base_dist.has_rsample

    @property
    def support(self):
        return self.transforms[-1].codomain if self.transforms else self.base_dist.support

    def sample(self, sample_shape=()):
        with jitorch.no_grad():
            return self._through(self.base_dist.sample(sample_shape))

    def rsample(self, sample_shape=()):
        return self._through(self.base_dist.rsample(sample_shape))

    def _through(self, x):
        for t in self.transforms:
            x = t(x)
        return x

    def log_prob(self, value):
        self._validate_sample(value)
        events = len(self._event_shape)
        total, y = 0.0, value
        for t in reversed(self.transforms):
            x = t.inv(y)
            total = total - sum_rightmost(t.log_abs_det_jacobian(x, y), events - t.event_dim)
            y = x
        return total + sum_rightmost(self.base_dist.log_prob(y), events - len(self.base_dist.event_shape))

    def _turned(self, value):
        sign = math.prod(t.sign for t in self.transforms)
        return value if isinstance(sign, int) and sign == 1 else sign * (value - 0.5) + 0.5

    def cdf(self, value):
        self._validate_sample(value)
        for t in reversed(self.transforms):
            value = t.inv(value)
        return self._turned(self.base_dist.cdf(value))

    def icdf(self, value):
        return self._through(self.base_dist.icdf(self._turned(value)))


class LogNormal(TransformedDistribution):
    """exp of a normal variable."""

    arg_constraints = {"loc": constraints.real, "scale": constraints.positive}
    support = constraints.positive

    def __init__(self, loc, scale, validate_args=None):
        super().__init__(Normal(loc, scale, validate_args=validate_args), ExpTransform(), validate_args=validate_args)

    @property
    def loc(self):
        return self.base_dist.loc

    @property
    def scale(self):
        return self.base_dist.scale

    @property
    def mean(self):
        return (self.loc + self.scale.pow(2) / 2).exp()

    @property
    def mode(self):
        return (self.loc - self.scale.square()).exp()

    @property
    def variance(self):
        square = self.scale.pow(2)
        return square.expm1() * (2 * self.loc + square).exp()

    def entropy(self):
        return self.base_dist.entropy() + self.loc


class InverseGamma(TransformedDistribution):
    """1 / x of a gamma variable."""

    arg_constraints = {"concentration": constraints.positive, "rate": constraints.positive}
    support = constraints.positive

    def __init__(self, concentration, rate, validate_args=None):
        super().__init__(Gamma(concentration, rate, validate_args=validate_args), PowerTransform(-1.0), validate_args=validate_args)

    @property
    def concentration(self):
        return self.base_dist.concentration

    @property
    def rate(self):
        return self.base_dist.rate

    @property
    def mean(self):
        return jitorch.where(self.concentration > 1, self.rate / (self.concentration - 1), math.inf)

    def entropy(self):
        a = self.concentration
        return a + self.rate.log() + a.lgamma() - (1 + a) * a.digamma()


class RelaxedBernoulli(TransformedDistribution):
    """A continuous form of `Bernoulli` that can be differentiated (Maddison et al., 2017)."""

    arg_constraints = {"temperature": constraints.positive}
    support = constraints.unit_interval

    def __init__(self, temperature, probs=None, logits=None, validate_args=None):
        if logits is None:
            logits = probs.log() - (-probs).log1p()
        self.temperature = temperature if hasattr(temperature, "_meta") else jitorch.as_tensor(float(temperature))
        base = TransformedDistribution(
            Logistic(logits), [AffineTransform(jitorch.zeros_like(logits), 1 / self.temperature)]
        )
        self.logits = logits
        super().__init__(base, SigmoidTransform(), validate_args=validate_args)


class Logistic(Distribution):
    """The logistic distribution around loc."""

    arg_constraints = {"loc": constraints.real}
    has_rsample = True

    def __init__(self, loc, validate_args=None):
        self.loc = loc
        super().__init__(loc.shape, validate_args=validate_args)

    def rsample(self, sample_shape=()):
        eps = jitorch.finfo(self.loc.dtype).eps
        u = jitorch.rand(self._extended_shape(sample_shape), dtype=self.loc.dtype).clamp(min=eps, max=1 - eps)
        return self.loc + u.log() - (-u).log1p()

    def log_prob(self, value):
        d = value - self.loc
        return -d - 2 * jitorch.nn.functional.softplus(-d)


class MixtureSameFamily(Distribution):
    """A mixture: mixture_distribution (a Categorical) chooses along the last batch dimension of component_distribution."""

    arg_constraints: dict = {}

    def __init__(self, mixture_distribution: Categorical, component_distribution: Distribution, validate_args=None):
        if not isinstance(mixture_distribution, Categorical):
            raise ValueError(" The Mixture distribution needs to be an  instance of torch.distributions.Categorical")
        if mixture_distribution.probs.shape[-1] != component_distribution.batch_shape[-1]:
            raise ValueError(
                f"`mixture_distribution component` ({mixture_distribution.probs.shape[-1]}) does not equal "
                f"`component_distribution.batch_shape[-1]` ({component_distribution.batch_shape[-1]})"
            )
        self.mixture_distribution, self.component_distribution = mixture_distribution, component_distribution
        super().__init__(component_distribution.batch_shape[:-1], component_distribution.event_shape, validate_args=validate_args)

    def _expanded(self, shape) -> None:
        self.component_distribution = self.component_distribution.expand((*shape, self.component_distribution.batch_shape[-1]))
        self.mixture_distribution = self.mixture_distribution.expand(shape)

    @property
    def support(self):
        return self.component_distribution.support

    def _weights(self):
        p = self.mixture_distribution.probs
        return p.reshape((*p.shape, *(1,) * len(self._event_shape)))

    def _over(self, x):
        return x.sum(-1 - len(self._event_shape))

    @property
    def mean(self):
        return self._over(self._weights() * self.component_distribution.mean)

    @property
    def variance(self):
        p, c = self._weights(), self.component_distribution
        centre = self.mean.unsqueeze(-1 - len(self._event_shape))
        return self._over(p * c.variance) + self._over(p * (c.mean - centre).pow(2))

    def log_prob(self, value):
        self._validate_sample(value)
        x = value.unsqueeze(-1 - len(self._event_shape))
        return jitorch.logsumexp(self.component_distribution.log_prob(x) + jitorch.log_softmax(self.mixture_distribution.logits, -1), -1)

    def cdf(self, value):
        return (self.component_distribution.cdf(value.unsqueeze(-1)) * self.mixture_distribution.probs).sum(-1)

    def sample(self, sample_shape=()):
        with jitorch.no_grad():
            events = len(self._event_shape)
            dim = len(sample_shape) + len(self._batch_shape)
            chosen = self.mixture_distribution.sample(sample_shape)
            draws = self.component_distribution.sample(sample_shape)
            index = chosen.reshape((*chosen.shape, *(1,) * (events + 1))).expand((*chosen.shape, 1, *self._event_shape))
            return draws.gather(dim, index).squeeze(dim)

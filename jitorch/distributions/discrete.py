"""Distributions of whole numbers and of classes."""

from __future__ import annotations

import math

import jitorch
from jitorch.nn.functional import binary_cross_entropy_with_logits

from . import constraints
from .distribution import Distribution, ExponentialFamily
from .utils import broadcast_all, lazy_property, logits_to_probs, probs_to_logits


def for_each_batch(values, batch_shape, expand: bool):
    """A vector of values along a new first dimension before the batch's, which have size 1 unless expand."""
    values = values.reshape((-1, *(1,) * len(batch_shape)))
    return values.expand((-1, *batch_shape)) if expand else values


class _Binary(Distribution):
    """One of probs and logits is given for each trial; the other is computed when it is asked for."""

    arg_constraints = {"probs": constraints.unit_interval, "logits": constraints.real}

    def __init__(self, probs=None, logits=None, validate_args=None):
        super().__init__(self._take(probs, logits), validate_args=validate_args)

    def _take(self, probs, logits):
        if (probs is None) == (logits is None):
            raise ValueError("Either `probs` or `logits` must be specified, but not both.")
        name, value = ("probs", probs) if logits is None else ("logits", logits)
        self.__dict__[name], = broadcast_all(value)
        self._param = self.__dict__[name]
        return self._param.shape

    def _parameters(self) -> list[str]:
        return [k for k in ("probs", "logits", "total_count", "_param") if k in self.__dict__]

    @lazy_property
    def logits(self):
        return probs_to_logits(self.probs, is_binary=True)

    @lazy_property
    def probs(self):
        return logits_to_probs(self.logits, is_binary=True)


class Bernoulli(_Binary, ExponentialFamily):
    """1 with probability probs (or sigmoid(logits)), else 0."""

    support = constraints.boolean
    has_enumerate_support = True

    @property
    def mean(self):
        return self.probs

    @property
    def mode(self):
        mode = (self.probs >= 0.5).to(self.probs)
        return jitorch.where(self.probs == 0.5, math.nan, mode)

    @property
    def variance(self):
        return self.probs * (1 - self.probs)

    def sample(self, sample_shape=()):
        with jitorch.no_grad():
            return jitorch.bernoulli(self.probs.expand(self._extended_shape(sample_shape)))

    def log_prob(self, value):
        self._validate_sample(value)
        logits, value = broadcast_all(self.logits, value)
        return -binary_cross_entropy_with_logits(logits, value.to(logits.dtype), reduction="none")

    def entropy(self):
        return binary_cross_entropy_with_logits(self.logits, self.probs, reduction="none")

    def enumerate_support(self, expand: bool = True):
        return for_each_batch(jitorch.arange(2, dtype=self._param.dtype), self._batch_shape, expand)


class Geometric(_Binary):
    """The number of failures before the first success."""

    support = constraints.nonnegative_integer

    @property
    def mean(self):
        return 1.0 / self.probs - 1.0

    @property
    def mode(self):
        return jitorch.zeros_like(self.probs)

    @property
    def variance(self):
        return (1.0 / self.probs - 1.0) / self.probs

    def sample(self, sample_shape=()):
        with jitorch.no_grad():
            u = jitorch.rand(self._extended_shape(sample_shape), dtype=self.probs.dtype).clamp(min=jitorch.finfo(self.probs.dtype).tiny)
            return (u.log() / (-self.probs).log1p()).floor()

    def log_prob(self, value):
        self._validate_sample(value)
        value, probs = broadcast_all(value, self.probs)
        probs = jitorch.where((probs == 1) & (value == 0), 0, probs)
        return value * (-probs).log1p() + self.probs.log()

    def entropy(self):
        return binary_cross_entropy_with_logits(self.logits, self.probs, reduction="none") / self.probs


class Binomial(_Binary):
    """The number of successes of total_count trials."""

    def __init__(self, total_count=1, probs=None, logits=None, validate_args=None):
        shape = self._take(probs, logits)
        count = jitorch.as_tensor(total_count).to(self._param.dtype)
        shape = jitorch.broadcast_shapes(shape, count.shape)
        name = "probs" if "probs" in self.__dict__ else "logits"
        self.__dict__[name] = self._param = self._param.expand(shape)
        self.total_count = count.expand(shape)
        Distribution.__init__(self, shape, validate_args=validate_args)

    @constraints.dependent_property(is_discrete=True)
    def support(self):
        return constraints.integer_interval(0, self.total_count)

    @property
    def mean(self):
        return self.total_count * self.probs

    @property
    def mode(self):
        return ((self.total_count + 1) * self.probs).floor().clamp(max=self.total_count)

    @property
    def variance(self):
        return self.total_count * self.probs * (1 - self.probs)

    def sample(self, sample_shape=()):
        with jitorch.no_grad():
            shape = self._extended_shape(sample_shape)
            return jitorch.binomial(self.total_count.expand(shape), self.probs.expand(shape))

    def log_prob(self, value):
        self._validate_sample(value)
        n = self.total_count
        ways = jitorch.lgamma(n + 1) - jitorch.lgamma(value + 1) - jitorch.lgamma(n - value + 1)
        x = self.logits
        return ways + value * x - n * (x.clamp(min=0) + jitorch.log1p(jitorch.exp(-x.abs())))

    def entropy(self):
        n = int(self.total_count.max())
        if not bool((self.total_count == n).all()):
            raise NotImplementedError("Inhomogeneous total count not supported by `entropy`.")
        log = self.log_prob(self.enumerate_support(False))
        return -(log.exp() * log).sum(0)

    has_enumerate_support = True

    def enumerate_support(self, expand: bool = True):
        n = int(self.total_count.max())
        return for_each_batch(jitorch.arange(1 + n, dtype=self._param.dtype), self._batch_shape, expand)


class Poisson(ExponentialFamily):
    """The Poisson distribution with the given rate."""

    arg_constraints = {"rate": constraints.nonnegative}
    support = constraints.nonnegative_integer

    def __init__(self, rate, validate_args=None):
        self.rate, = broadcast_all(rate)
        super().__init__(self.rate.shape, validate_args=validate_args)

    @property
    def mean(self):
        return self.rate

    @property
    def mode(self):
        return self.rate.floor()

    @property
    def variance(self):
        return self.rate

    def sample(self, sample_shape=()):
        with jitorch.no_grad():
            return jitorch.poisson(self.rate.expand(self._extended_shape(sample_shape)))

    def log_prob(self, value):
        self._validate_sample(value)
        rate, value = broadcast_all(self.rate, value)
        return value.xlogy(rate) - rate - (value + 1).lgamma()


class Categorical(Distribution):
    """A class from 0 to K - 1, with probabilities proportional to probs (..., K) or to exp(logits).

    >>> import jitorch as torch
    >>> torch.distributions.Categorical(torch.tensor([1., 1., 2.])).log_prob(torch.tensor(2)).exp()
    tensor(0.5000)
    """

    arg_constraints = {"probs": constraints.simplex, "logits": constraints.real_vector}
    has_enumerate_support = True

    def __init__(self, probs=None, logits=None, validate_args=None):
        if (probs is None) == (logits is None):
            raise ValueError("Either `probs` or `logits` must be specified, but not both.")
        value = probs if logits is None else logits
        if value.ndim < 1:
            raise ValueError(f"`{'probs' if logits is None else 'logits'}` parameter must be at least one-dimensional.")
        if logits is None:
            self.probs = self._param = probs / probs.sum(-1, keepdim=True)
        else:
            self.logits = self._param = logits - logits.logsumexp(dim=-1, keepdim=True)
        self._num_events = value.shape[-1]
        super().__init__(value.shape[:-1], validate_args=validate_args)

    def _parameters(self) -> list[str]:
        return [k for k in ("probs", "logits", "_param") if k in self.__dict__]

    @constraints.dependent_property(is_discrete=True)
    def support(self):
        return constraints.integer_interval(0, self._num_events - 1)

    @lazy_property
    def logits(self):
        return probs_to_logits(self.probs)

    @lazy_property
    def probs(self):
        return logits_to_probs(self.logits)

    @property
    def param_shape(self):
        return self._param.size()

    @property
    def mean(self):
        return jitorch.full(self._extended_shape(), math.nan, dtype=self.probs.dtype)

    @property
    def mode(self):
        return self.probs.argmax(dim=-1)

    @property
    def variance(self):
        return jitorch.full(self._extended_shape(), math.nan, dtype=self.probs.dtype)

    def sample(self, sample_shape=()):
        rows = self.probs.detach().reshape(-1, self._num_events)
        n = math.prod(sample_shape)
        return jitorch.multinomial(rows, n, True).T.reshape(self._extended_shape(sample_shape))

    def log_prob(self, value):
        self._validate_sample(value)
        value, logits = jitorch.broadcast_tensors(value.long().unsqueeze(-1), self.logits)
        return logits.gather(-1, value[..., :1]).squeeze(-1)

    def entropy(self):
        lowest = jitorch.finfo(self.logits.dtype).min
        return -(self.logits.clamp(min=lowest) * self.probs).sum(-1)

    def enumerate_support(self, expand: bool = True):
        return for_each_batch(jitorch.arange(self._num_events), self._batch_shape, expand)


class _Vectors(Distribution):
    """Vectors with an entry for each class of a `Categorical`."""

    arg_constraints = {"probs": constraints.simplex, "logits": constraints.real_vector}

    def __init__(self, probs, logits, validate_args):
        self._categorical = Categorical(probs, logits)
        super().__init__(self._categorical.batch_shape, self._categorical.param_shape[-1:], validate_args=validate_args)

    def _expanded(self, shape) -> None:
        self._categorical = self._categorical.expand(shape)

    @property
    def probs(self):
        return self._categorical.probs

    @property
    def logits(self):
        return self._categorical.logits


class OneHotCategorical(_Vectors):
    """A `Categorical` whose values are vectors of zeros with a single one."""

    support = constraints.one_hot
    has_enumerate_support = True

    def __init__(self, probs=None, logits=None, validate_args=None):
        super().__init__(probs, logits, validate_args)

    @property
    def mean(self):
        return self.probs

    @property
    def mode(self):
        return jitorch.nn.functional.one_hot(self.probs.argmax(-1), self._event_shape[0]).to(self.probs)

    @property
    def variance(self):
        return self.probs * (1 - self.probs)

    def sample(self, sample_shape=()):
        return jitorch.nn.functional.one_hot(self._categorical.sample(sample_shape), self._event_shape[0]).to(self.probs)

    def log_prob(self, value):
        self._validate_sample(value)
        return self._categorical.log_prob(value.max(-1)[1])

    def entropy(self):
        return self._categorical.entropy()

    def enumerate_support(self, expand: bool = True):
        n = self._event_shape[0]
        values = jitorch.eye(n, dtype=self.probs.dtype).reshape((n, *(1,) * len(self._batch_shape), n))
        return values.expand((n, *self._batch_shape, n)) if expand else values


class OneHotCategoricalStraightThrough(OneHotCategorical):
    """`OneHotCategorical` with gradients that go to the probabilities as if they had been drawn themselves."""

    has_rsample = True

    def rsample(self, sample_shape=()):
        return self.sample(sample_shape) + (self.probs - self.probs.detach())


class Multinomial(_Vectors):
    """How often each class comes up in total_count draws."""

    support = constraints.multinomial

    def __init__(self, total_count: int = 1, probs=None, logits=None, validate_args=None):
        if not isinstance(total_count, int):
            raise NotImplementedError("inhomogeneous total_count is not supported")
        self.total_count = total_count
        super().__init__(probs, logits, validate_args)

    @property
    def mean(self):
        return self.probs * self.total_count

    @property
    def variance(self):
        return self.total_count * self.probs * (1 - self.probs)

    def sample(self, sample_shape=()):
        draws = self._categorical.sample((self.total_count, *sample_shape))
        return jitorch.nn.functional.one_hot(draws, self._event_shape[0]).sum(0).to(self.probs)

    def entropy(self):
        n = jitorch.tensor(self.total_count)
        counts = Binomial(self.total_count, self.probs)
        weights = counts.log_prob(counts.enumerate_support()[1:]).exp()
        logs = jitorch.lgamma(counts.enumerate_support(False)[1:] + 1)
        return n * self._categorical.entropy() - jitorch.lgamma(n + 1) + (weights * logs).sum((0, -1))

    def log_prob(self, value):
        self._validate_sample(value)
        logits, value = broadcast_all(self.logits, value)
        logits = jitorch.where((value == 0) & (logits == -math.inf), 0, logits)
        return jitorch.lgamma(value.sum(-1) + 1) - jitorch.lgamma(value + 1).sum(-1) + (logits * value).sum(-1)


__all__ = ["Bernoulli", "Binomial", "Categorical", "Geometric", "Multinomial", "OneHotCategorical", "OneHotCategoricalStraightThrough", "Poisson"]

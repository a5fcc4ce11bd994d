"""The base class of distributions."""

from __future__ import annotations

import warnings
from typing import Any

import jitorch

from ..graph.record import Size
from . import constraints
from .utils import lazy_property

VALIDATE = [True]


class Distribution:
    """A probability distribution of tensors: batch_shape distributions side by side, each of values of event_shape.

    Subclasses give `arg_constraints` (of their parameters), `support`, `rsample` or `sample`, `log_prob`, and what else they know.
    validate_args: whether parameters and values are checked (ValueError); on unless set otherwise.
    """

    has_rsample = False
    has_enumerate_support = False
    arg_constraints: dict[str, Any] = {}
    support: Any = constraints.real

    def __init__(self, batch_shape=(), event_shape=(), validate_args: bool | None = None):
        self._batch_shape, self._event_shape = Size(batch_shape), Size(event_shape)
        self._validate_args = VALIDATE[0] if validate_args is None else validate_args
        if self._validate_args:
            for name, constraint in self.arg_constraints.items():
                if constraints.is_dependent(constraint) or (name not in self.__dict__ and isinstance(getattr(type(self), name), lazy_property)):
                    continue
                value = getattr(self, name)
                if not bool(constraint.check(value).all()):
                    raise ValueError(
                        f"Expected parameter {name} ({type(value).__name__} of shape {tuple(value.shape)}) of distribution {self!r} to satisfy the "
                        f"constraint {constraint!r}, but found invalid values:\n{value}"
                    )

    @staticmethod
    def set_default_validate_args(value: bool) -> None:
        """Whether distributions check their arguments unless told otherwise."""
        if value not in (True, False):
            raise ValueError
        VALIDATE[0] = value

    @property
    def batch_shape(self) -> Size:
        return self._batch_shape

    @property
    def event_shape(self) -> Size:
        return self._event_shape

    def _extended_shape(self, sample_shape=()) -> Size:
        return Size((*sample_shape, *self._batch_shape, *self._event_shape))

    def sample(self, sample_shape=()):
        """A draw of shape sample_shape + batch_shape + event_shape, without gradients."""
        with jitorch.no_grad():
            return self.rsample(sample_shape)

    def rsample(self, sample_shape=()):
        """A draw as a function of the parameters, so that gradients flow to them. NotImplementedError where there is none."""
        raise NotImplementedError(f"{type(self).__name__} has no rsample")

    def sample_n(self, n: int):
        """n draws."""
        warnings.warn("sample_n will be deprecated. Use .sample((n,)) instead", UserWarning, stacklevel=2)
        return self.sample((n,))

    def log_prob(self, value):
        """The logarithm of the density (or probability) at value."""
        raise NotImplementedError

    def cdf(self, value):
        """The probability of not more than value."""
        raise NotImplementedError

    def icdf(self, value):
        """The inverse of `cdf`."""
        raise NotImplementedError

    def entropy(self):
        """The entropy, in nats."""
        raise NotImplementedError

    def enumerate_support(self, expand: bool = True):
        """All values, along a new first dimension."""
        raise NotImplementedError

    def expand(self, batch_shape, _instance=None):
        """The same distribution with another batch shape, to which its parameters broadcast."""
        made = type(self).__new__(type(self)) if _instance is None else _instance
        held = {name: getattr(self, name) for name in self._parameters()}
        shape = Size(batch_shape)
        for name, value in held.items():
            tail = value.shape[len(self._batch_shape):]
            made.__dict__[name] = value.expand((*shape, *tail))
        made.__dict__.update({k: v for k, v in self.__dict__.items() if k not in made.__dict__ and not hasattr(v, "_meta")})
        made._batch_shape = shape
        made._expanded(shape)
        return made

    def _parameters(self) -> list[str]:
        return [k for k, v in self.__dict__.items() if hasattr(v, "_meta")]

    def _expanded(self, shape) -> None:
        """What else has to be expanded: distributions that this one is made of."""

    def perplexity(self):
        """exp(entropy)."""
        return self.entropy().exp()

    @property
    def mean(self):
        raise NotImplementedError

    @property
    def mode(self):
        raise NotImplementedError(f"{type(self)} does not implement mode")

    @property
    def variance(self):
        raise NotImplementedError

    @property
    def stddev(self):
        """The standard deviation."""
        return self.variance.sqrt()

    def _validate_sample(self, value) -> None:
        if not self._validate_args:
            return
        if not hasattr(value, "_meta"):
            raise ValueError("The value argument to log_prob must be a Tensor")
        events = len(self._event_shape)
        if value.shape[value.ndim - events:] != self._event_shape:
            raise ValueError(f"The right-most size of value must match event_shape: {value.shape} vs {self._event_shape}.")
        for i, j in zip(reversed(value.shape), reversed((*self._batch_shape, *self._event_shape)), strict=False):
            if i != 1 and j != 1 and i != j:
                raise ValueError(f"Value is not broadcastable with batch_shape+event_shape: {value.shape} vs {(*self._batch_shape, *self._event_shape)}.")
        try:
            support = self.support
        except NotImplementedError:
            return
        if support is None or constraints.is_dependent(support):
            return
        if not bool(support.check(value).all()):
            raise ValueError(
                f"Expected value argument ({type(value).__name__} of shape {tuple(value.shape)}) to be within the support ({support!r}) of the "
                f"distribution {self!r}, but found invalid values:\n{value}"
            )

    def __repr__(self) -> str:
        shown = [k for k in self.arg_constraints if k in self.__dict__]
        text = ", ".join(f"{k}: {v if v._meta.numel == 1 else v.size()}" for k in shown if hasattr(v := self.__dict__[k], "_meta"))
        return f"{type(self).__name__}({text})"


class ExponentialFamily(Distribution):
    """Distributions of an exponential family: a name for programs that ask."""

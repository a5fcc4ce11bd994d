"""Probability distributions, as `torch.distributions`: draws, densities, entropies, divergences.

>>> import jitorch as torch
>>> policy = torch.distributions.Categorical(logits=torch.zeros(4))
>>> policy.entropy()
tensor(1.3863)
"""

from __future__ import annotations

from . import constraints, kl, transforms
from .continuous import (
    Beta,
    Cauchy,
    Chi2,
    Dirichlet,
    Exponential,
    Gamma,
    Gumbel,
    HalfNormal,
    Laplace,
    MultivariateNormal,
    Normal,
    StudentT,
    Uniform,
)
from .derived import Independent, InverseGamma, LogNormal, MixtureSameFamily, RelaxedBernoulli, TransformedDistribution
from .discrete import (
    Bernoulli,
    Binomial,
    Categorical,
    Geometric,
    Multinomial,
    OneHotCategorical,
    OneHotCategoricalStraightThrough,
    Poisson,
)
from .distribution import Distribution, ExponentialFamily
from .kl import kl_divergence, register_kl
from .transforms import *  # noqa: F403

__all__ = [
    "Bernoulli", "Beta", "Binomial", "Categorical", "Cauchy", "Chi2", "Dirichlet", "Distribution", "Exponential", "ExponentialFamily", "Gamma",
    "Geometric", "Gumbel", "HalfNormal", "Independent", "InverseGamma", "Laplace", "LogNormal", "MixtureSameFamily", "Multinomial",
    "MultivariateNormal", "Normal", "OneHotCategorical", "OneHotCategoricalStraightThrough", "Poisson", "RelaxedBernoulli", "StudentT",
    "TransformedDistribution", "Uniform", "constraints", "kl", "kl_divergence", "register_kl", "transforms",
]  # fmt: skip
__all__ += transforms.__all__


def _modules() -> None:
    """PyTorch keeps each distribution in a module of its name: `from torch.distributions.normal import Normal`."""
    import sys
    from types import ModuleType

    names = {"Chi2": "chi2", "StudentT": "studentT", "LogNormal": "log_normal", "HalfNormal": "half_normal", "OneHotCategorical": "one_hot_categorical",
             "MultivariateNormal": "multivariate_normal", "TransformedDistribution": "transformed_distribution",
             "MixtureSameFamily": "mixture_same_family"}
    for name in ("Normal", "Categorical", "Bernoulli", "Beta", "Binomial", "Cauchy", "Dirichlet", "Exponential", "Gamma", "Geometric", "Gumbel",
                 "Independent", "Laplace", "Multinomial", "Poisson", "Uniform", *names):
        short = names.get(name, name.lower())
        module = ModuleType(f"{__name__}.{short}", f"`{name}`.")
        setattr(module, name, globals()[name])
        sys.modules[module.__name__] = globals()[short] = module


_modules()

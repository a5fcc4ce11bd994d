"""Distributions beside PyTorch's: densities, moments, entropies, divergences, draws."""
from __future__ import annotations

import importlib
import math

import numpy as np
import pytest

import jitorch

torch = pytest.importorskip("torch")


def d(t):
    return importlib.import_module(t.__name__ + ".distributions")


def x(t, *values):
    return t.tensor(values, dtype=t.float64)


def spd(t):
    return t.tensor([[2.0, 0.5], [0.5, 1.0]], dtype=t.float64)


# name -> (how it is made, a value)
MADE = {
    "Normal": (lambda t: d(t).Normal(x(t, 0.5, -1), x(t, 1, 2)), [0.3, 1.2]),
    "Uniform": (lambda t: d(t).Uniform(x(t, 0, -1), x(t, 1, 3)), [0.3, 1.2]),
    "Gamma": (lambda t: d(t).Gamma(x(t, 0.7, 3), x(t, 1, 2)), [0.3, 1.2]),
    "Chi2": (lambda t: d(t).Chi2(x(t, 3, 4)), [0.3, 1.2]),
    "Beta": (lambda t: d(t).Beta(x(t, 0.7, 3), x(t, 1, 2)), [0.3, 0.6]),
    "Exponential": (lambda t: d(t).Exponential(x(t, 0.7, 3)), [0.3, 1.2]),
    "Laplace": (lambda t: d(t).Laplace(x(t, 0.5, -1), x(t, 1, 2)), [0.3, 1.2]),
    "Cauchy": (lambda t: d(t).Cauchy(x(t, 0.5, -1), x(t, 1, 2)), [0.3, 1.2]),
    "Gumbel": (lambda t: d(t).Gumbel(x(t, 0.5, -1), x(t, 1, 2)), [0.3, 1.2]),
    "StudentT": (lambda t: d(t).StudentT(x(t, 3.5, 5), x(t, 0.5, -1), x(t, 1, 2)), [0.3, 1.2]),
    "HalfNormal": (lambda t: d(t).HalfNormal(x(t, 1, 2)), [0.3, 1.2]),
    "LogNormal": (lambda t: d(t).LogNormal(x(t, 0.5, -1), x(t, 0.3, 0.5)), [0.3, 1.2]),
    "Dirichlet": (lambda t: d(t).Dirichlet(x(t, 0.7, 3, 2)), [0.2, 0.5, 0.3]),
    "MultivariateNormal": (lambda t: d(t).MultivariateNormal(x(t, 0.5, -1), spd(t)), [0.3, 1.2]),
    "of precision": (lambda t: d(t).MultivariateNormal(x(t, 0.5, -1), precision_matrix=spd(t)), [0.3, 1.2]),
    "Bernoulli": (lambda t: d(t).Bernoulli(x(t, 0.3, 0.9)), [1, 0]),
    "of logits": (lambda t: d(t).Bernoulli(logits=x(t, 0.3, -2)), [1, 0]),
    "Geometric": (lambda t: d(t).Geometric(x(t, 0.3, 0.9)), [2, 0]),
    "Binomial": (lambda t: d(t).Binomial(5, x(t, 0.3, 0.9)), [2, 4]),
    "Poisson": (lambda t: d(t).Poisson(x(t, 0.7, 3)), [2, 0]),
    "Categorical": (lambda t: d(t).Categorical(t.tensor([[1.0, 2, 3], [0.1, 0.1, 5]], dtype=t.float64)), [1, 2]),
    "OneHotCategorical": (lambda t: d(t).OneHotCategorical(logits=x(t, 0.5, 1, -1)), [0, 1, 0]),
    "Multinomial": (lambda t: d(t).Multinomial(4, x(t, 0.2, 0.3, 0.5)), [1, 2, 1]),
    "Independent": (lambda t: d(t).Independent(d(t).Normal(x(t, 0.5, -1), x(t, 1, 2)), 1), [0.3, 1.2]),
    "Transformed": (
        lambda t: d(t).TransformedDistribution(
            d(t).Normal(x(t, 0.5, -1), x(t, 1, 2)), [d(t).transforms.AffineTransform(1.0, x(t, 2, -3)), d(t).transforms.SigmoidTransform()]
        ),
        [0.3, 0.6],
    ),
    "tanh": (lambda t: d(t).TransformedDistribution(d(t).Normal(x(t, 0.5, -1), x(t, 1, 2)), d(t).transforms.TanhTransform()), [0.3, -0.6]),
    "Mixture": (lambda t: d(t).MixtureSameFamily(d(t).Categorical(x(t, 1, 3)), d(t).Normal(x(t, 0.5, -1), x(t, 1, 2))), 0.3),
}
ASKED = ("mean", "variance", "stddev", "mode")


def close(a, b):
    np.testing.assert_allclose(a.detach().numpy(), b.detach().numpy(), rtol=1e-6, atol=1e-9, equal_nan=True)


@pytest.mark.parametrize("name", MADE)
def test_as_pytorchs(name):
    make, value = MADE[name]
    ours, theirs = make(jitorch), make(torch)
    assert ours.batch_shape == theirs.batch_shape and ours.event_shape == theirs.event_shape and ours.has_rsample == theirs.has_rsample
    close(ours.log_prob(jitorch.tensor(value, dtype=jitorch.float64)), theirs.log_prob(torch.tensor(value, dtype=torch.float64)))
    for what in ASKED:
        try:
            right = getattr(theirs, what)
        except NotImplementedError:
            continue
        try:
            mine = getattr(ours, what)
        except NotImplementedError:
            assert what == "mode"
            continue
        close(mine, right)
    try:
        right = theirs.entropy()
    except NotImplementedError:
        pass
    else:
        close(ours.entropy(), right)
    for what, at in (("cdf", value), ("icdf", 0.3)):
        try:
            right = getattr(theirs, what)(torch.tensor(at, dtype=torch.float64))
        except (NotImplementedError, ValueError):
            continue
        close(getattr(ours, what)(jitorch.tensor(at, dtype=jitorch.float64)), right)
    wide = ours.expand((3, *ours.batch_shape))
    assert wide.batch_shape == (3, *ours.batch_shape) and wide.sample((2,)).shape == theirs.expand((3, *theirs.batch_shape)).sample((2,)).shape


@pytest.mark.parametrize("name", [n for n in MADE if n not in ("Cauchy", "Categorical")])
def test_draws_have_the_right_mean(name):
    jitorch.manual_seed(1)
    made = MADE[name][0](jitorch)
    right = MADE[name][0](torch)
    draws = made.sample((4000,)).double()
    try:
        mean, deviation = right.mean, right.stddev
    except NotImplementedError:
        draw = right.sample((20000,)).double()
        mean, deviation = draw.mean(0), draw.std(0)
    error = np.abs(draws.mean(0).numpy() - mean.numpy()) / (deviation.numpy() / math.sqrt(4000) + 1e-12)
    assert (error < 5.5).all(), error


def test_categorical_draws_follow_their_probabilities():
    jitorch.manual_seed(0)
    draws = jitorch.distributions.Categorical(jitorch.tensor([0.1, 0.2, 0.7])).sample((5000,))
    np.testing.assert_allclose(jitorch.bincount(draws, minlength=3).numpy() / 5000, [0.1, 0.2, 0.7], atol=0.03)


KINDS = ("Normal", "Gamma", "Beta", "Exponential", "Laplace", "Dirichlet", "MultivariateNormal", "Bernoulli", "Geometric", "Binomial", "Poisson",
         "Categorical", "OneHotCategorical", "Independent", "LogNormal")
OTHER = {
    "Normal": lambda t: d(t).Normal(x(t, 0, 1), x(t, 2, 1)),
    "Gamma": lambda t: d(t).Gamma(x(t, 1.5, 2), x(t, 2, 1)),
    "Beta": lambda t: d(t).Beta(x(t, 1.5, 2), x(t, 2, 1)),
    "Exponential": lambda t: d(t).Exponential(x(t, 2, 1)),
    "Laplace": lambda t: d(t).Laplace(x(t, 0, 1), x(t, 2, 1)),
    "Dirichlet": lambda t: d(t).Dirichlet(x(t, 1, 1, 4)),
    "MultivariateNormal": lambda t: d(t).MultivariateNormal(x(t, 0, 0), scale_tril=t.eye(2, dtype=t.float64) * 2),
    "Bernoulli": lambda t: d(t).Bernoulli(x(t, 0.5, 0.1)),
    "Geometric": lambda t: d(t).Geometric(x(t, 0.5, 0.1)),
    "Binomial": lambda t: d(t).Binomial(5, x(t, 0.5, 0.1)),
    "Poisson": lambda t: d(t).Poisson(x(t, 1, 2)),
    "Categorical": lambda t: d(t).Categorical(t.tensor([[1.0, 1, 1], [2, 1, 5]], dtype=t.float64)),
    "OneHotCategorical": lambda t: d(t).OneHotCategorical(logits=x(t, 0, 0, 1)),
    "Independent": lambda t: d(t).Independent(d(t).Normal(x(t, 0, 1), x(t, 2, 1)), 1),
    "LogNormal": lambda t: d(t).LogNormal(x(t, 0, 1), x(t, 2, 1)),
}


@pytest.mark.parametrize("name", KINDS)
def test_divergences(name):
    close(d(jitorch).kl_divergence(MADE[name][0](jitorch), OTHER[name](jitorch)), d(torch).kl_divergence(MADE[name][0](torch), OTHER[name](torch)))


def test_gradients_flow_through_draws():
    loc = jitorch.tensor([1.0, 2.0], requires_grad=True)
    scale = jitorch.tensor([0.5, 0.1], requires_grad=True)
    y = jitorch.distributions.Normal(loc, scale).rsample((3,))
    y.sum().backward()
    assert loc.grad.tolist() == [3, 3]
    np.testing.assert_allclose(scale.grad.tolist(), ((y - loc) / scale).sum(0).tolist(), rtol=1e-3, atol=1e-4)
    assert not jitorch.distributions.Normal(loc, scale).sample().requires_grad
    p = jitorch.tensor([0.2, 0.8], requires_grad=True)
    jitorch.distributions.Categorical(p).log_prob(jitorch.tensor(1)).backward()
    np.testing.assert_allclose(p.grad.tolist(), [-1.0, 0.25], rtol=1e-5)


@pytest.mark.parametrize("make", [
    lambda t: d(t).Normal(0.0, -1.0),
    lambda t: d(t).Bernoulli(x(t, 1.5)),
    lambda t: d(t).Categorical(),
    lambda t: d(t).Normal(0.0, 1.0).log_prob(t.tensor(math.nan)),
    lambda t: d(t).Beta(x(t, 1), x(t, 1)).log_prob(x(t, 2)),
    lambda t: d(t).Categorical(t.ones(3)).log_prob(t.tensor(3)),
    lambda t: d(t).MultivariateNormal(x(t, 0, 0), -spd(t)),
    lambda t: d(t).Independent(d(t).Normal(0.0, 1.0), 1),
    lambda t: d(t).Uniform(1.0, 0.0),
])
def test_bad_parameters_and_values(make):
    for t in (jitorch, torch):
        with pytest.raises(ValueError):
            make(t)


def test_names_and_modules():
    from jitorch.distributions.multivariate_normal import MultivariateNormal
    from jitorch.distributions.normal import Normal

    assert Normal is jitorch.distributions.Normal and MultivariateNormal is jitorch.distributions.MultivariateNormal
    for make in (lambda t: d(t).Normal(0.0, 1.0), lambda t: d(t).Bernoulli(t.tensor([0.5, 0.1])), lambda t: d(t).Independent(d(t).Normal(t.zeros(2), 1.0), 1)):
        assert repr(make(jitorch)) == repr(make(torch))

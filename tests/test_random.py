"""Random numbers: reproducible, of the right distribution, and a function of seed and counter alone."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
import scipy.special
import scipy.stats

import jitorch
from jitorch.ops import philox

N = 60_000


@pytest.fixture(autouse=True)
def seeded():
    jitorch.manual_seed(1234)


def fits(sample, distribution, *arguments) -> None:
    p = scipy.stats.kstest(sample.numpy().astype(np.float64).reshape(-1), distribution, arguments).pvalue
    assert p > 1e-4, f"Kolmogorov-Smirnov p = {p}"


def test_philox_known_answer():
    # Random123's kat_vectors: philox4x32 10, counter and key all zeros
    assert philox.philox(0, np.array(0)) == 0x6627E8D5


def philox_plain(seed: int, counter: int) -> int:
    """The definition once more, in Python integers."""
    mask = 0xFFFFFFFF
    k, c = [seed & mask, seed >> 32 & mask], [counter & mask, counter >> 32 & mask, 0, 0]
    for _ in range(10):
        a, b = 0xD2511F53 * c[0], 0xCD9E8D57 * c[2]
        c = [(b >> 32) ^ c[1] ^ k[0], b & mask, (a >> 32) ^ c[3] ^ k[1], a & mask]
        k = [(k[0] + 0x9E3779B9) & mask, (k[1] + 0xBB67AE85) & mask]
    return c[0]


@pytest.mark.parametrize(("seed", "counter"), [(0, 1), (1, 0), (-1, -1), (2**62 + 12345, 2**40 + 7), (-(2**63), 2**32)])
def test_philox_against_plain_integers(seed, counter):
    assert philox.philox(seed, np.array([counter]))[0] == philox_plain(seed, counter)


def test_normal_is_the_inverse_of_the_distribution():
    m = philox.Arrays(5, 9)
    u = (philox.philox(5, 9 + np.arange(N)).astype(float) + 0.5) * 2.0**-32
    np.testing.assert_allclose(philox.normal32(m, (N,)), scipy.special.ndtri(u), rtol=2e-6)
    u = (philox.bits53(m, (N,)) + 0.5) * 2.0**-53
    np.testing.assert_allclose(philox.normal64(m, (N,)), scipy.special.ndtri(u), rtol=1e-13)


def test_logarithm():
    p = np.concatenate([np.linspace(1e-9, 1, 5000), 2.0 ** -np.arange(54)])
    np.testing.assert_allclose(philox.log_small(philox.Arrays(0, 0), p), np.log(p), rtol=1e-14, atol=1e-16)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_distributions(dtype):
    d = getattr(jitorch, dtype)
    x = jitorch.empty(N, dtype=d)
    fits(jitorch.rand(N, dtype=d), "uniform")
    fits(jitorch.randn(N, dtype=d), "norm")
    fits(x.uniform_(-2, 3), "uniform", -2, 5)
    fits(x.normal_(1, 2), "norm", 1, 2)
    fits(x.exponential_(2.0), "expon", 0, 0.5)
    fits(x.log_normal_(0.5, 0.25), "lognorm", 0.25, 0, np.exp(0.5))
    fits(x.cauchy_(1, 2), "cauchy", 1, 2)
    fits(jitorch.normal(3.0, 0.5, (N,), dtype=d), "norm", 3, 0.5)


def chi_square(counts, probabilities) -> None:
    counts = np.asarray(counts, float)
    p = scipy.stats.chisquare(counts, counts.sum() * np.asarray(probabilities) / np.sum(probabilities)).pvalue
    assert p > 1e-4, f"chi-square p = {p}"


def test_integers():
    x = jitorch.randint(3, 10, (N,)).numpy()
    assert x.min() == 3 and x.max() == 9
    chi_square(np.bincount(x)[3:], np.ones(7))
    wide = jitorch.randint(-(2**40), 2**40, (N,)).numpy()
    assert scipy.stats.kstest(wide / 2.0**40, "uniform", (-1, 2)).pvalue > 1e-4
    assert set(jitorch.empty(200, dtype=jitorch.bool).random_().tolist()) == {True, False}
    assert jitorch.empty(500, dtype=jitorch.uint8).random_().max().item() > 200
    assert jitorch.randint(5, (2, 3), dtype=jitorch.float32).dtype is jitorch.float32


def test_bernoulli_poisson_geometric_binomial():
    p = jitorch.tensor([0.1, 0.5, 0.9]).expand(N, 3)
    for column, want in zip(jitorch.bernoulli(p).sum(0).tolist(), (0.1, 0.5, 0.9), strict=True):
        chi_square([column, N - column], [want, 1 - want])
    hits = jitorch.zeros(N).bernoulli_(0.25).sum().item()
    chi_square([hits, N - hits], [0.25, 0.75])
    rate = jitorch.poisson(jitorch.full((N,), 3.0)).numpy().astype(int)
    chi_square(
        np.bincount(np.minimum(rate, 9), minlength=10),
        [*scipy.stats.poisson.pmf(range(9), 3), scipy.stats.poisson.sf(8, 3)],
    )
    tries = jitorch.empty(N).geometric_(0.3).numpy().astype(int)
    assert tries.min() == 1
    chi_square(
        np.bincount(np.minimum(tries, 10))[1:], [*scipy.stats.geom.pmf(range(1, 10), 0.3), scipy.stats.geom.sf(9, 0.3)]
    )
    wins = jitorch.binomial(jitorch.full((N,), 4.0), jitorch.full((N,), 0.3)).numpy().astype(int)
    chi_square(np.bincount(wins, minlength=5), scipy.stats.binom.pmf(range(5), 4, 0.3))


def test_randperm():
    assert sorted(jitorch.randperm(50).tolist()) == list(range(50))
    first = [jitorch.randperm(4)[0].item() for _ in range(800)]
    chi_square(np.bincount(first, minlength=4), np.ones(4))
    assert jitorch.randperm(0).shape == (0,)


def test_multinomial():
    weights = jitorch.tensor([[1.0, 0.0, 3.0], [2.0, 2.0, 0.0]])
    drawn = jitorch.multinomial(weights, 20_000, replacement=True).numpy()
    chi_square(np.bincount(drawn[0], minlength=3)[[0, 2]], [1, 3])
    chi_square(np.bincount(drawn[1], minlength=3)[:2], [1, 1])
    assert np.bincount(drawn[0], minlength=3)[1] == 0
    assert sorted(jitorch.multinomial(jitorch.ones(7), 7).tolist()) == list(range(7))
    first = jitorch.multinomial(jitorch.tensor([1.0, 2.0, 5.0]).expand(20_000, 3).contiguous(), 2).numpy()
    chi_square(np.bincount(first[:, 0]), [1, 2, 5])


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (lambda t: t.multinomial(t.tensor([0.5, -1.0]), 1).tolist(), RuntimeError),
        (lambda t: t.multinomial(t.ones(3), 4), RuntimeError),
        (lambda t: t.bernoulli(t.tensor([1.5])).tolist(), RuntimeError),
        (lambda t: t.randint(5, 5, (2,)), RuntimeError),
        (lambda t: t.randperm(-1), RuntimeError),
        (lambda t: t.rand(2, -1), RuntimeError),
        (lambda t: t.rand(2, dtype=t.int64), NotImplementedError),
        (lambda t: t.empty(2).normal_(0, -1), RuntimeError),
        (lambda t: t.empty(2).uniform_(1, 0), RuntimeError),
        (lambda t: t.manual_seed(2**64), (RuntimeError, ValueError)),
        (lambda t: t.ones(2, requires_grad=True).uniform_(), RuntimeError),
    ],
)
def test_errors(call, error):
    with pytest.raises(error):
        call(jitorch)
    torch = pytest.importorskip("torch")
    with pytest.raises(error):
        call(torch)


def test_same_seed_same_numbers_and_no_dependence_on_the_split():
    jitorch.manual_seed(7)
    whole = jitorch.rand(10).tolist()
    jitorch.manual_seed(7)
    assert jitorch.rand(4).tolist() + jitorch.rand(2, 3).reshape(-1).tolist() == whole
    jitorch.manual_seed(8)
    assert jitorch.rand(10).tolist() != whole


def test_order_of_recording_counts_not_of_running():
    jitorch.manual_seed(7)
    a, b = jitorch.rand(3), jitorch.rand(3)
    second, first = b.tolist(), a.tolist()
    jitorch.manual_seed(7)
    assert jitorch.rand(6).tolist() == first + second


def test_a_new_seed_builds_no_new_program():
    from jitorch.graph.record import counters

    for seed in range(3):
        jitorch.manual_seed(seed)
        (jitorch.rand(5) + 1).sum().item()
        if seed == 0:
            built = counters.programs_built
    assert counters.programs_built == built


def test_state():
    state = jitorch.get_rng_state()
    assert state.dtype is jitorch.uint8
    a = jitorch.randn(5)
    jitorch.set_rng_state(state)
    assert jitorch.equal(a, jitorch.randn(5))
    with pytest.raises(TypeError):
        jitorch.set_rng_state(jitorch.ones(16))
    with pytest.raises(RuntimeError):
        jitorch.set_rng_state(jitorch.ones(3, dtype=jitorch.uint8))


def test_fork_rng():
    with jitorch.random.fork_rng():
        jitorch.manual_seed(3)
        inside = jitorch.rand(3)
    outside = jitorch.rand(3)
    jitorch.manual_seed(1234)
    assert jitorch.equal(outside, jitorch.rand(3)) and not jitorch.equal(inside, outside)


def test_generators_are_independent():
    g = jitorch.Generator().manual_seed(5)
    assert g.initial_seed() == 5
    before = jitorch.get_rng_state()
    a = jitorch.rand(4, generator=g)
    assert jitorch.equal(before, jitorch.get_rng_state())
    twin = pickle.loads(pickle.dumps(g))
    assert jitorch.equal(jitorch.rand(4, generator=g), jitorch.rand(4, generator=twin))
    assert jitorch.equal(copy.deepcopy(g).get_state(), g.get_state())
    assert not jitorch.equal(a, jitorch.rand(4, generator=g))
    g.manual_seed(2**64 - 1)
    assert g.initial_seed() == 2**64 - 1
    with pytest.raises(TypeError):
        jitorch.rand(3, generator=3)


def test_threads_share_one_generator_without_repeating():
    import threading

    drawn = []

    def draw():
        drawn.extend(jitorch.rand(50).tolist() for _ in range(20))

    threads = [threading.Thread(target=draw) for _ in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    values = np.array(drawn).reshape(-1)
    assert len(values) == 4000 and len(np.unique(values)) > 3990


def test_seed_and_initial_seed():
    s = jitorch.seed()
    assert s == jitorch.initial_seed() == jitorch.random.initial_seed()
    assert jitorch.manual_seed(3) is jitorch.default_generator


def test_like_functions_and_dtypes():
    x = jitorch.zeros(2, 3, dtype=jitorch.float64)
    for made in (jitorch.rand_like(x), jitorch.randn_like(x), jitorch.randint_like(x, 5)):
        assert made.shape == (2, 3) and made.dtype is jitorch.float64
    assert jitorch.rand(2, requires_grad=True).requires_grad
    assert jitorch.normal(jitorch.zeros(2, 1), jitorch.ones(3)).shape == (2, 3)


DRAWS = [
    lambda: jitorch.randn(3000),
    lambda: jitorch.randn(31, 7, dtype=jitorch.float64),
    lambda: jitorch.rand(5, 37),
    lambda: jitorch.rand(777, dtype=jitorch.float64),
    lambda: jitorch.empty(999).exponential_(2.0),
    lambda: jitorch.empty(99, dtype=jitorch.float64).exponential_(),
    lambda: jitorch.randint(10, (3, 4, 5)),
    lambda: jitorch.randint(-(2**50), 2**50, (100,)),
    lambda: jitorch.empty(100).geometric_(0.2),
    lambda: jitorch.randn(4, 5).t(),
]


def test_tiers_agree_bit_for_bit():
    def draws():
        jitorch.manual_seed(5)
        made = [d() for d in DRAWS]
        return [m.numpy().copy() for m in made]

    with jitorch.config.using(tier="reference"):
        want = draws()
    with jitorch.config.using(tier="compiled"):
        got = draws()
    for a, b in zip(got, want, strict=True):
        np.testing.assert_array_equal(a, b)


def test_half_precision_and_complex_draws():
    jitorch.manual_seed(0)
    z = jitorch.randn(20000, dtype=jitorch.complex64)
    assert abs(z.abs().square().mean().item() - 1) < 0.05 and abs(z.mean().item()) < 0.05
    for dtype in (jitorch.float16, jitorch.bfloat16):
        x = jitorch.rand(1000, dtype=dtype)
        assert x.dtype is dtype and 0 <= x.min().item() and x.max().item() <= 1 and abs(x.float().mean().item() - 0.5) < 0.05

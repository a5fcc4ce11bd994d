"""Samples of random operations: compared between tiers, not with PyTorch, whose numbers are others."""


def seeded(draw):
    def sample(torch, t):
        torch.manual_seed(11)
        return draw(torch, t)

    return sample


def filled(name, *arguments, dtype="float32"):
    return seeded(lambda torch, t: getattr(torch.empty(3, 5, dtype=getattr(torch, dtype)), name)(*arguments))


SAMPLES = {
    "uniform": [
        seeded(lambda torch, t: torch.rand(3, 5)),
        seeded(lambda torch, t: (torch.rand(2, 3, 4, dtype=torch.float64), torch.rand(()), torch.rand(0, 2))),
        seeded(lambda torch, t: torch.rand(4) * t(4) + torch.rand(4)),
        filled("uniform_", -1, 2),
        filled("bernoulli_", 0.3),
        seeded(lambda torch, t: torch.bernoulli(t(9, low=0.1, high=0.9, grad=False))),
        seeded(lambda torch, t: torch.rand_like(t(2, 3)).t()),
    ],
    "standard_normal": [
        seeded(lambda torch, t: torch.randn(300)),
        seeded(lambda torch, t: torch.randn(200, dtype=torch.float64)),
        filled("normal_", 1, 2),
        filled("log_normal_"),
        seeded(lambda torch, t: torch.randn(4, 3).sum(0) * t(3)),
        seeded(lambda torch, t: torch.normal(t(3, 1, grad=False), t(4, low=0.5, grad=False))),
        seeded(lambda torch, t: torch.randn_like(t(3, dtype="float64"))),
    ],
    "standard_exponential": [
        filled("exponential_", 2.0),
        filled("exponential_", dtype="float64"),
        filled("geometric_", 0.3),
        filled("geometric_", 0.5, dtype="int64"),
    ],
    "random_integers": [
        seeded(lambda torch, t: torch.randint(0, 10, (3, 4))),
        seeded(lambda torch, t: torch.randint(5, (4,), dtype=torch.uint8)),
        filled("random_", 3, 9),
        filled("random_", dtype="uint8"),
        filled("random_", dtype="bool"),
    ],
    "random_wide_integers": [
        filled("random_", dtype="int64"),
        seeded(lambda torch, t: torch.randint(-(2**40), 2**40, (2, 3))),
    ],
    "_drawn_with": [
        seeded(lambda torch, t: torch.bernoulli(t(9, low=0.1, high=0.9))),
        seeded(lambda torch, t: torch.normal(t(3), t(3, low=0.5)) * t(3)),
        seeded(lambda torch, t: torch.poisson(t(3, low=0.5))),
    ],
    "randperm": [
        seeded(lambda torch, t: torch.randperm(20)),
        seeded(lambda torch, t: torch.randperm(3, dtype=torch.int32)),
    ],
    "multinomial": [
        seeded(lambda torch, t: torch.multinomial(t(3, 4, low=0.1, high=1, grad=False), 5, True)),
        seeded(lambda torch, t: torch.multinomial(t(6, low=0.1, high=1, grad=False), 4)),
    ],
    "poisson": [seeded(lambda torch, t: torch.poisson(t(3, 4, low=0, high=5, grad=False)))],
    "binomial": [seeded(lambda torch, t: torch.binomial(torch.full((5,), 4.0), torch.full((5,), 0.3)))],
    "_standard_gamma": [seeded(lambda torch, t: torch._standard_gamma(t(5, low=0.5, high=3, grad=False)))],
    "cauchy": [filled("cauchy_"), filled("cauchy_", 1.0, 2.0)],
}
RANDOM = set(SAMPLES)

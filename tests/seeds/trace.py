"""A traced model gives what the model gives, for other inputs as well."""
from .glue import numbers, set_weights


def run(torch, nn, F, optim):
    model = set_weights(torch, nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2)))
    traced = torch.jit.trace(model, torch.randn(1, 4))
    first, second = (torch.from_numpy(numbers(n, 4, seed=n)) for n in (1, 5))
    return traced(first).tolist(), traced(second).tolist(), torch.allclose(traced(second), model(second))

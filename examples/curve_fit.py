"""The first fit: a sine from noisy points, by a cubic whose gradients one can check by hand, then by a small network.

    python examples/curve_fit.py             some seconds
    python examples/curve_fit.py --quick     two or three
"""
from __future__ import annotations

import argparse
import math
import sys

import jitorch as torch
import jitorch.nn as nn
import jitorch.nn.functional as F
import jitorch.optim as optim

NOISE = 0.05                # standard deviation of the points about the sine


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Fit a sine, with a polynomial and with a small network.")
    parser.add_argument("--steps", type=int, help="training steps of each (1000, with --quick 150)")
    parser.add_argument("--quick", action="store_true", help="a few seconds only")
    options = parser.parse_args(argv)
    steps = options.steps or (150 if options.quick else 1000)

    torch.manual_seed(0)
    x = torch.linspace(-math.pi, math.pi, 200)
    y = torch.sin(x) + NOISE * torch.randn(200)
    print(f"200 points of a sine; their noise has a variance of {NOISE ** 2:.4f}, and no fair fit gets far below that")

    a = fit_polynomial(x, y, steps)
    print(f"cubic: {a[0]:+.3f} {a[1]:+.3f} x {a[2]:+.3f} x^2 {a[3]:+.3f} x^3")

    model = fit_network(x, y, steps)
    with torch.no_grad():
        points = torch.tensor([0.0, math.pi / 4, math.pi / 2])
        for point, value in zip(points.tolist(), model(points.unsqueeze(1)).squeeze(1).tolist(), strict=True):
            print(f"network: f({point:.3f}) = {value:+.3f}, the sine is {math.sin(point):+.3f}")
    return 0


def fit_polynomial(x: torch.Tensor, y: torch.Tensor, steps: int) -> list[float]:
    """The coefficients of a cubic, by plain gradient descent: no module, no optimizer, only `backward`."""
    powers = torch.stack([(x / math.pi) ** k for k in range(4)])        # within -1 to 1: one step size suits all
    a = torch.zeros(4, requires_grad=True)
    for step in range(steps):
        loss = ((a @ powers - y) ** 2).mean()
        loss.backward()
        with torch.no_grad():
            a -= 0.5 * a.grad
        a.grad = None
        report("cubic", step, steps, loss)
    return [value / math.pi ** k for k, value in enumerate(a.tolist())]


def fit_network(x: torch.Tensor, y: torch.Tensor, steps: int) -> nn.Module:
    """A network of one hidden layer, trained with Adam: (n, 1) -> (n, 1)."""
    model = nn.Sequential(nn.Linear(1, 32), nn.Tanh(), nn.Linear(32, 1))
    optimizer = optim.Adam(model.parameters(), lr=0.02)
    x, y = x.unsqueeze(1), y.unsqueeze(1)
    for step in range(steps):
        loss = F.mse_loss(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        report("network", step, steps, loss)
    return model


def report(name: str, step: int, steps: int, loss: torch.Tensor) -> None:
    """Print the loss five times on the way and at the end; only then is its value asked for."""
    if step % max(1, steps // 5) == 0 or step == steps - 1:
        print(f"{name}: step {step:4}  loss {loss.item():.5f}")


if __name__ == "__main__":
    sys.exit(main())

"""Stochastic gradient descent, averaged SGD, and Rprop."""
from __future__ import annotations

import jitorch

from .optimizer import Rule, check_rate, check_settings, check_variant, gradient, number


class SGD(Rule):
    """p -= lr * g; with momentum, g is replaced by b = momentum * b + (1 - dampening) * g (Nesterov: by g + momentum * b).

    weight_decay is added to the gradient as weight_decay * p. foreach, fused and differentiable as in PyTorch; the first two change
    nothing here. Raises ValueError for negative settings.

    >>> import jitorch as torch
    >>> p = torch.nn.Parameter(torch.tensor([1.0, 2.0]))
    >>> optimizer = torch.optim.SGD([p], lr=0.5)
    >>> p.sum().backward()
    >>> optimizer.step()
    >>> p.detach()
    tensor([0.5000, 1.5000])
    """

    def __init__(self, params, lr: float = 1e-3, momentum: float = 0, dampening: float = 0, weight_decay: float = 0, nesterov: bool = False, *,
                 maximize: bool = False, foreach: bool | None = None, differentiable: bool = False, fused: bool | None = None):
        check_rate(lr)
        if momentum < 0.0:
            raise ValueError(f"Invalid momentum value: {momentum}")
        check_settings(weight_decay=weight_decay)
        if nesterov and (momentum <= 0 or dampening != 0):
            raise ValueError("Nesterov momentum requires a momentum and zero dampening")
        check_variant(foreach, fused, differentiable)
        super().__init__(params, {"lr": lr, "momentum": momentum, "dampening": dampening, "weight_decay": weight_decay, "nesterov": nesterov,
                                  "maximize": maximize, "foreach": foreach, "differentiable": differentiable, "fused": fused})

    def _update(self, group) -> None:
        lr, momentum, decay, maximize = number(group["lr"]), group["momentum"], number(group["weight_decay"]), group["maximize"]
        nesterov, kept, states = group["nesterov"], 1 - group["dampening"], self.state
        for p in group["params"]:
            g = p.grad
            if g is None:
                continue
            if maximize or decay != 0:
                g = gradient(p, g, maximize, decay)
            if momentum != 0:
                state = states[p]
                buffer = state.get("momentum_buffer")
                if buffer is None:
                    buffer = state["momentum_buffer"] = g.detach().clone()
                else:
                    buffer.mul_(momentum).add_(g, alpha=kept)
                g = g.add(buffer, alpha=momentum) if nesterov else buffer
            p.add_(g, alpha=-lr)


class ASGD(Rule):
    """Averaged SGD (Polyak and Juditsky, 1992): state "ax" holds the average of the parameter since step t0."""

    counts = ("step", "eta", "mu")

    def __init__(self, params, lr: float = 1e-2, lambd: float = 1e-4, alpha: float = 0.75, t0: float = 1e6, weight_decay: float = 0,
                 foreach: bool | None = None, maximize: bool = False, differentiable: bool = False, capturable: bool = False):
        check_rate(lr)
        check_settings(weight_decay=weight_decay)
        super().__init__(params, {"lr": lr, "lambd": lambd, "alpha": alpha, "t0": t0, "weight_decay": weight_decay, "foreach": foreach,
                                  "maximize": maximize, "differentiable": differentiable, "capturable": capturable})

    def _update(self, group) -> None:
        lr, lambd = number(group["lr"]), group["lambd"]
        for p in group["params"]:
            if p.grad is None:
                continue
            g = gradient(p, p.grad, group["maximize"], group["weight_decay"])
            state = self.state[p]
            if not state:
                state.update(step=0, eta=lr, mu=1.0, ax=jitorch.zeros_like(p))
            state["step"] += 1
            eta, mu, step = state["eta"], state["mu"], state["step"]
            p.mul_(1 - lambd * eta).add_(g, alpha=-eta)
            if mu == 1:
                state["ax"].copy_(p)
            else:
                state["ax"].lerp_(p, mu)
            state["eta"] = lr / (1 + lambd * lr * step) ** group["alpha"]
            state["mu"] = 1 / max(1, step - group["t0"])


class Rprop(Rule):
    """Resilient propagation (Riedmiller and Braun, 1993): each element has a step size, which grows while its gradient keeps its sign."""

    counts = ("step",)

    def __init__(self, params, lr: float = 1e-2, etas: tuple[float, float] = (0.5, 1.2), step_sizes: tuple[float, float] = (1e-6, 50), *,
                 capturable: bool = False, foreach: bool | None = None, maximize: bool = False, differentiable: bool = False):
        check_rate(lr)
        if not 0.0 < etas[0] < 1.0 < etas[1]:
            raise ValueError(f"Invalid eta values: {etas[0]}, {etas[1]}")
        super().__init__(params, {"lr": lr, "etas": etas, "step_sizes": step_sizes, "foreach": foreach, "maximize": maximize,
                                  "differentiable": differentiable, "capturable": capturable})

    def _update(self, group) -> None:
        (down, up), (least, most) = group["etas"], group["step_sizes"]
        for p in group["params"]:
            if p.grad is None:
                continue
            g = gradient(p, p.grad, group["maximize"], 0)
            state = self.state[p]
            if not state:
                state.update(step=0, prev=jitorch.zeros_like(p), step_size=jitorch.full_like(g, number(group["lr"])))
            state["step"] += 1
            agreement = g * state["prev"]
            turned = agreement < 0
            factor = jitorch.where(turned, down, jitorch.where(agreement > 0, up, 1.0))
            state["step_size"].mul_(factor).clamp_(least, most)
            g = g.masked_fill(turned, 0)
            p.addcmul_(g.sign(), state["step_size"], value=-1)
            state["prev"].copy_(g)

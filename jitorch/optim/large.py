"""Optimizers that scale the update of a whole matrix or layer: Muon and LAMB."""

from __future__ import annotations

import math

import jitorch

from .optimizer import Rule, check_rate, number


class Muon(Rule):
    """Momentum whose matrix is orthogonalised by Newton-Schulz iterations (Jordan et al., 2024). Parameters have two dimensions.

    ns_coefficients: of the quintic iteration, computed in bfloat16 as in PyTorch. adjust_lr_fn: "original" (the default) multiplies lr by
    sqrt(max(1, rows / columns)), "match_rms_adamw" by 0.2 sqrt(max(rows, columns)).
    """

    def __init__(
        self,
        params,
        lr: float = 1e-3,
        weight_decay: float = 0.1,
        momentum: float = 0.95,
        nesterov: bool = True,
        ns_coefficients: tuple[float, float, float] = (3.4445, -4.7750, 2.0315),
        eps: float = 1e-7,
        ns_steps: int = 5,
        adjust_lr_fn: str | None = None,
    ):
        check_rate(lr)
        for name, value in (("Learning rate", number(lr)), ("momentum", momentum), ("weight decay", weight_decay)):
            if value < 0:
                raise ValueError(f"{name} should be >= 0 but is: {value}")
        if adjust_lr_fn not in (None, "original", "match_rms_adamw"):
            raise ValueError(f"Adjust learning rate function {adjust_lr_fn} is not supported")
        super().__init__(
            params,
            {
                "lr": lr,
                "weight_decay": weight_decay,
                "momentum": momentum,
                "nesterov": nesterov,
                "ns_coefficients": ns_coefficients,
                "eps": eps,
                "ns_steps": ns_steps,
                "adjust_lr_fn": adjust_lr_fn,
            },
        )
        for group in self.param_groups:
            for p in group["params"]:
                if p.ndim != 2:
                    raise ValueError(f"Muon only supports 2D parameters whereas we found a parameter with size: {p.size()}")

    def _update(self, group) -> None:
        lr, momentum = number(group["lr"]), group["momentum"]
        for p in group["params"]:
            if p.grad is None:
                continue
            state = self.state[p]
            if not state:
                state["momentum_buffer"] = jitorch.zeros_like(p.grad)
            buffer = state["momentum_buffer"]
            buffer.lerp_(p.grad, 1 - momentum)
            update = p.grad.lerp(buffer, momentum) if group["nesterov"] else buffer
            update = orthogonalised(update, group["ns_coefficients"], group["ns_steps"], group["eps"])
            rows, columns = p.shape
            match = group["adjust_lr_fn"] == "match_rms_adamw"
            factor = 0.2 * math.sqrt(max(rows, columns)) if match else math.sqrt(max(1, rows / columns))
            p.mul_(1 - lr * group["weight_decay"])
            p.add_(update, alpha=-lr * factor)


def orthogonalised(g, coefficients, steps: int, eps: float):
    """About U V^T of g = U S V^T, by a quintic iteration on singular values in bfloat16."""
    if steps >= 100:
        raise ValueError("Number of steps must be less than 100 for computational efficiency")
    if len(coefficients) != 3:
        raise ValueError("Coefficients must be a tuple of exactly 3 values")
    a, b, c = coefficients
    tall = g.shape[0] > g.shape[1]
    x = g.bfloat16().T if tall else g.bfloat16()
    x = x / x.norm().clamp(min=eps)
    for _ in range(steps):      # each product and its sum are computed in float32, and rounded once
        gram = (x @ x.T).float()
        inner = (gram * b + gram @ gram * c).bfloat16().float()
        x = (x.float() * a + inner @ x.float()).bfloat16()
    return x.T if tall else x


class LAMB(Rule):
    """Adam whose update of each parameter is scaled by |p| / |update| (You et al., 2020): for large batches.

    The ratio is 1 where either norm is zero; weight_decay is part of the update. Not in PyTorch.

    >>> import jitorch as torch
    >>> w = torch.ones(3, requires_grad=True)
    >>> optimizer = torch.optim.LAMB([w], lr=0.1, weight_decay=0.0)
    >>> w.sum().backward(); optimizer.step(); w
    tensor([0.9000, 0.9000, 0.9000], requires_grad=True)
    """

    counts = ("step",)

    def __init__(self, params, lr: float = 1e-3, betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-6, weight_decay: float = 0.01):
        check_rate(lr)
        if eps < 0 or weight_decay < 0 or not all(0 <= b < 1 for b in betas):
            raise ValueError(f"Invalid settings: betas={betas}, eps={eps}, weight_decay={weight_decay}")
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay})

    def _update(self, group) -> None:
        (b1, b2), lr, decay = group["betas"], number(group["lr"]), group["weight_decay"]
        for p in group["params"]:
            if p.grad is None:
                continue
            state = self.state[p]
            if not state:
                state.update(step=0, exp_avg=jitorch.zeros_like(p), exp_avg_sq=jitorch.zeros_like(p))
            state["step"] += 1
            first, second = state["exp_avg"], state["exp_avg_sq"]
            first.lerp_(p.grad, 1 - b1)
            second.mul_(b2).addcmul_(p.grad, p.grad, value=1 - b2)
            update = (first / (1 - b1 ** state["step"])) / ((second / (1 - b2 ** state["step"])).sqrt() + group["eps"])
            update = update + decay * p
            size, length = p.norm(), update.norm()
            ratio = jitorch.where((size > 0) & (length > 0), size / length, jitorch.ones_like(size))
            p.sub_(update * ratio * lr)

"""Adam and its relatives: running means of the gradient and of its square."""
from __future__ import annotations

import jitorch

from ..tensor import Tensor
from .optimizer import Rule, check_betas, check_rate, check_settings, check_variant, gradient, number


def moments(state: dict, p: Tensor) -> None:
    """Start the state of a parameter."""
    state["step"] = 0
    state["exp_avg"], state["exp_avg_sq"] = jitorch.zeros_like(p), jitorch.zeros_like(p)


def decayed(p: Tensor, g: Tensor, group: dict, lr: float) -> Tensor:
    """Weight decay: on the parameter itself where it is decoupled, else on the gradient, which is returned."""
    decay = group["weight_decay"]
    if group["maximize"]:
        g = -g
    if decay != 0:
        if group["decoupled_weight_decay"]:
            p.mul_(1 - lr * decay)
        else:
            g = g.add(p, alpha=decay)
    return g


class Adam(Rule):
    """p -= lr * m / (sqrt(v) + eps), m and v being bias-corrected running means of g and g^2 (Kingma and Ba, 2014).

    amsgrad: the largest v so far is used (Reddi et al., 2018). decoupled_weight_decay: as AdamW. foreach, fused, capturable and
    differentiable as in PyTorch; the first three change nothing here. Raises ValueError for settings out of range.

    >>> import jitorch as torch
    >>> p = torch.nn.Parameter(torch.tensor([1.0, 2.0]))
    >>> optimizer = torch.optim.Adam([p], lr=0.5)
    >>> p.sum().backward()
    >>> optimizer.step()
    >>> p.detach()
    tensor([0.5000, 1.5000])
    """

    counts = ("step",)

    def __init__(self, params, lr: float = 1e-3, betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8, weight_decay: float = 0,
                 amsgrad: bool = False, *, foreach: bool | None = None, maximize: bool = False, capturable: bool = False,
                 differentiable: bool = False, fused: bool | None = None, decoupled_weight_decay: bool = False):
        check_rate(lr)
        if isinstance(lr, Tensor) and foreach and not capturable:
            raise ValueError("lr as a Tensor is not supported for capturable=False and foreach=True")
        check_settings(eps=eps)
        if isinstance(betas[0], Tensor) != isinstance(betas[1], Tensor):
            raise ValueError("betas must be either both floats or both Tensors")
        for i, beta in enumerate(betas):
            if isinstance(beta, Tensor) and beta.numel() != 1:
                raise ValueError(f"Tensor betas[{i}] must be 1-element")
        betas = tuple(number(b) for b in betas)
        check_betas(betas)
        check_settings(weight_decay=weight_decay)
        check_variant(foreach, fused, differentiable)
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay, "amsgrad": amsgrad, "maximize": maximize,
                                  "foreach": foreach, "capturable": capturable, "differentiable": differentiable, "fused": fused,
                                  "decoupled_weight_decay": decoupled_weight_decay})

    def _update(self, group) -> None:
        lr, (beta1, beta2), eps, amsgrad = number(group["lr"]), group["betas"], group["eps"], group["amsgrad"]
        beta1, beta2 = number(beta1), number(beta2)
        plain = not group["maximize"] and group["weight_decay"] == 0
        states, seen, size, root = self.state, None, 0.0, 0.0
        for p in group["params"]:
            g = p.grad
            if g is None:
                continue
            state = states[p]
            if not state:
                moments(state, p)
                if amsgrad:
                    state["max_exp_avg_sq"] = jitorch.zeros_like(p)
            step = state["step"] = state["step"] + 1
            if step != seen:        # bias corrections: the same for nearly all parameters
                seen, size, root = step, -lr / (1 - beta1 ** step), (1 - beta2 ** step) ** 0.5
            if not plain:
                g = decayed(p, g, group, lr)
            mean, square = state["exp_avg"], state["exp_avg_sq"]
            mean.lerp_(g, 1 - beta1)
            square.mul_(beta2).addcmul_(g, g, value=1 - beta2)
            if amsgrad:
                largest = state["max_exp_avg_sq"]
                square = largest.copy_(jitorch.maximum(largest, square))
            p.addcdiv_(mean, (square.sqrt() / root).add_(eps), value=size)


class AdamW(Adam):
    """Adam with weight decay on the parameter itself: p *= 1 - lr * weight_decay (Loshchilov and Hutter, 2019)."""

    def __init__(self, params, lr: float = 1e-3, betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8, weight_decay: float = 1e-2,
                 amsgrad: bool = False, *, maximize: bool = False, foreach: bool | None = None, capturable: bool = False,
                 differentiable: bool = False, fused: bool | None = None):
        super().__init__(params, lr, betas, eps, weight_decay, amsgrad, foreach=foreach, maximize=maximize, capturable=capturable,
                         differentiable=differentiable, fused=fused, decoupled_weight_decay=True)


class NAdam(Rule):
    """Adam with Nesterov momentum (Dozat, 2016), whose momentum grows with momentum_decay."""

    counts = ("step", "mu_product")

    def __init__(self, params, lr: float = 2e-3, betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8, weight_decay: float = 0,
                 momentum_decay: float = 4e-3, decoupled_weight_decay: bool = False, *, foreach: bool | None = None, maximize: bool = False,
                 capturable: bool = False, differentiable: bool = False):
        check_rate(lr)
        check_settings(eps=eps)
        check_betas(betas)
        check_settings(weight_decay=weight_decay, momentum_decay=momentum_decay)
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay, "momentum_decay": momentum_decay,
                                  "decoupled_weight_decay": decoupled_weight_decay, "maximize": maximize, "foreach": foreach,
                                  "capturable": capturable, "differentiable": differentiable})

    def _update(self, group) -> None:
        lr, (beta1, beta2), growth = number(group["lr"]), group["betas"], group["momentum_decay"]
        for p in group["params"]:
            if p.grad is None:
                continue
            state = self.state[p]
            if not state:
                moments(state, p)
                state["mu_product"] = 1.0
            g = decayed(p, p.grad, group, lr)
            step = state["step"] = state["step"] + 1
            mu = beta1 * (1.0 - 0.5 * 0.96 ** (step * growth))
            mu_next = beta1 * (1.0 - 0.5 * 0.96 ** ((step + 1) * growth))
            product = state["mu_product"] = state["mu_product"] * mu
            mean, square = state["exp_avg"], state["exp_avg_sq"]
            mean.lerp_(g, 1 - beta1)
            square.mul_(beta2).addcmul_(g, g, value=1 - beta2)
            scale = square.div(1 - beta2 ** step).sqrt().add_(group["eps"])
            p.addcdiv_(g, scale, value=-lr * (1.0 - mu) / (1.0 - product))
            p.addcdiv_(mean, scale, value=-lr * mu_next / (1.0 - product * mu_next))


class RAdam(Rule):
    """Adam whose adaptive rate is rectified, and left out while its variance is too large (Liu et al., 2019)."""

    counts = ("step",)

    def __init__(self, params, lr: float = 1e-3, betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8, weight_decay: float = 0,
                 decoupled_weight_decay: bool = False, *, foreach: bool | None = None, maximize: bool = False, capturable: bool = False,
                 differentiable: bool = False):
        check_rate(lr)
        check_settings(eps=eps)
        check_betas(betas)
        check_settings(weight_decay=weight_decay)
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay, "maximize": maximize, "foreach": foreach,
                                  "capturable": capturable, "decoupled_weight_decay": decoupled_weight_decay,
                                  "differentiable": differentiable})

    def _update(self, group) -> None:
        lr, (beta1, beta2) = number(group["lr"]), group["betas"]
        rho_inf = 2 / (1 - beta2) - 1
        for p in group["params"]:
            if p.grad is None:
                continue
            state = self.state[p]
            if not state:
                moments(state, p)
            g = decayed(p, p.grad, group, lr)
            step = state["step"] = state["step"] + 1
            mean, square = state["exp_avg"], state["exp_avg_sq"]
            mean.lerp_(g, 1 - beta1)
            square.mul_(beta2).addcmul_(g, g, value=1 - beta2)
            left = 1 - beta2 ** step
            rho = rho_inf - 2 * step * beta2 ** step / left
            size = -lr / (1 - beta1 ** step)
            if rho > 5.0:
                rectified = ((rho - 4) * (rho - 2) * rho_inf / ((rho_inf - 4) * (rho_inf - 2) * rho)) ** 0.5
                p.addcdiv_(mean, square.sqrt().add_(group["eps"]), value=size * rectified * left ** 0.5)
            else:
                p.add_(mean, alpha=size)


class Adamax(Rule):
    """Adam with the largest |g| so far, decaying, in place of sqrt(v) (Kingma and Ba, 2014)."""

    counts = ("step",)

    def __init__(self, params, lr: float = 2e-3, betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8, weight_decay: float = 0,
                 foreach: bool | None = None, *, maximize: bool = False, differentiable: bool = False, capturable: bool = False):
        check_rate(lr)
        check_settings(eps=eps)
        check_betas(betas)
        check_settings(weight_decay=weight_decay)
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay, "foreach": foreach, "maximize": maximize,
                                  "differentiable": differentiable, "capturable": capturable})

    def _update(self, group) -> None:
        lr, (beta1, beta2) = number(group["lr"]), group["betas"]
        for p in group["params"]:
            if p.grad is None:
                continue
            state = self.state[p]
            if not state:
                state.update(step=0, exp_avg=jitorch.zeros_like(p), exp_inf=jitorch.zeros_like(p))
            g = gradient(p, p.grad, group["maximize"], group["weight_decay"])
            step = state["step"] = state["step"] + 1
            mean, largest = state["exp_avg"], state["exp_inf"]
            mean.lerp_(g, 1 - beta1)
            largest.copy_(jitorch.maximum(largest * beta2, g.abs() + group["eps"]))
            p.addcdiv_(mean, largest, value=-lr / (1 - beta1 ** step))

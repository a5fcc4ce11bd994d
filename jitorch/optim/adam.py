"""Adam and its relatives: running means of the gradient and of its square."""

from __future__ import annotations

import jitorch

from ..changes import put
from ..tensor import Tensor
from .optimizer import Rule, check_betas, check_rate, check_settings, check_variant, descent, flags_of, number


def moments(state: dict, p: Tensor) -> None:
    """Start the state of a parameter."""
    state["step"] = 0
    state["exp_avg"], state["exp_avg_sq"] = jitorch.zeros_like(p), jitorch.zeros_like(p)


def prepared(m, flags, p, g, decay, shrink):
    """Parameter and gradient after weight decay: decoupled, on the parameter itself, or as part of the gradient."""
    if "decoupled_weight_decay" not in flags:
        return p, descent(m, flags, p, g, decay)
    return (p * shrink if "decay" in flags else p), (-g if "maximize" in flags else g)


def averaged(g, mean, square, left1, beta2):
    """The running means of g and of g^2; left1 is 1 - beta1."""
    return mean + left1 * (g - mean), square * beta2 + (1 - beta2) * (g * g)


def decay_numbers(group: dict, lr: float) -> tuple[float, float]:
    return float(group["weight_decay"]), 1 - lr * group["weight_decay"]


class Adam(Rule):
    """p -= lr * m / (sqrt(v) + eps), m and v being bias-corrected running means of g and g^2 (Kingma and Ba, 2014).

    amsgrad: the largest v so far is used (Reddi et al., 2018). decoupled_weight_decay: as AdamW. foreach, fused,
    capturable and differentiable as in PyTorch; the first three change nothing here. Raises ValueError for settings out
    of range.

    >>> import jitorch as torch
    >>> p = torch.nn.Parameter(torch.tensor([1.0, 2.0]))
    >>> optimizer = torch.optim.Adam([p], lr=0.5)
    >>> p.sum().backward()
    >>> optimizer.step()
    >>> p.detach()
    tensor([0.5000, 1.5000])
    """

    counts = ("step",)

    def __init__(
        self,
        params,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        amsgrad: bool = False,
        *,
        foreach: bool | None = None,
        maximize: bool = False,
        capturable: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
        decoupled_weight_decay: bool = False,
    ):
        check_rate(lr)
        if isinstance(lr, Tensor) and foreach and not capturable:
            raise ValueError("lr as a Tensor is not supported for capturable=False and foreach=True")
        check_settings(eps=eps)
        if isinstance(betas[0], Tensor) != isinstance(betas[1], Tensor):
            raise ValueError("betas must be either both floats or both Tensors")
        for i, beta in enumerate(betas):
            if isinstance(beta, Tensor) and beta.numel() != 1:
                raise ValueError(f"Tensor betas[{i}] must be 1-element")
        betas = number(betas[0]), number(betas[1])
        check_betas(betas)
        check_settings(weight_decay=weight_decay)
        check_variant(foreach, fused, differentiable)
        super().__init__(
            params,
            {
                "lr": lr,
                "betas": betas,
                "eps": eps,
                "weight_decay": weight_decay,
                "amsgrad": amsgrad,
                "maximize": maximize,
                "foreach": foreach,
                "capturable": capturable,
                "differentiable": differentiable,
                "fused": fused,
                "decoupled_weight_decay": decoupled_weight_decay,
            },
        )

    def _update(self, group) -> None:
        amsgrad, states = group["amsgrad"], self.state
        rows: dict = {}
        for p in group["params"]:
            g = p.grad
            if g is None:
                continue
            state = states[p]
            if not state:
                moments(state, p)
                if amsgrad:
                    state["max_exp_avg_sq"] = jitorch.zeros_like(p)
            step = self._advance(group, state)
            row = (p, g, state["exp_avg"], state["exp_avg_sq"])
            rows.setdefault(step, []).append((*row, state["max_exp_avg_sq"]) if amsgrad else row)
        flags = flags_of(group, "maximize", "decoupled_weight_decay")
        self._apply(group, amsgrad_rule if amsgrad else adam_rule, flags, rows)

    def _numbers(self, group, step) -> tuple:
        lr, (beta1, beta2) = number(group["lr"]), group["betas"]
        beta1, beta2 = number(beta1), number(beta2)
        fixed = (1 - beta1, beta2, group["eps"], *decay_numbers(group, lr))
        return (lr / (1 - beta1**step), (1 - beta2**step) ** 0.5, *fixed)


def adam_rule(m, flags, p, g, mean, square, size, root, left1, beta2, eps, decay, shrink):
    p, g = prepared(m, flags, p, g, decay, shrink)
    mean, square = averaged(g, mean, square, left1, beta2)
    return p - size * mean / (m.map("sqrt", square) / root + eps), mean, square


def amsgrad_rule(m, flags, p, g, mean, square, largest, size, root, left1, beta2, eps, decay, shrink):
    p, g = prepared(m, flags, p, g, decay, shrink)
    mean, square = averaged(g, mean, square, left1, beta2)
    largest = m.map("maximum", largest, square)
    return p - size * mean / (m.map("sqrt", largest) / root + eps), mean, square, largest


class AdamW(Adam):
    """Adam with weight decay on the parameter itself: p *= 1 - lr * weight_decay (Loshchilov and Hutter, 2019).

    >>> import jitorch as torch
    >>> p = torch.nn.Parameter(torch.tensor([1.0]))
    >>> optimizer = torch.optim.AdamW([p], lr=0.1, weight_decay=0.5)
    >>> p.sum().backward()
    >>> optimizer.step()
    >>> p.detach()
    tensor([0.8500])
    """

    def __init__(
        self,
        params,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
        amsgrad: bool = False,
        *,
        maximize: bool = False,
        foreach: bool | None = None,
        capturable: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
    ):
        super().__init__(
            params,
            lr,
            betas,
            eps,
            weight_decay,
            amsgrad,
            foreach=foreach,
            maximize=maximize,
            capturable=capturable,
            differentiable=differentiable,
            fused=fused,
            decoupled_weight_decay=True,
        )


class NAdam(Rule):
    """Adam with Nesterov momentum (Dozat, 2016), whose momentum grows with momentum_decay."""

    counts = ("step", "mu_product")

    def __init__(
        self,
        params,
        lr: float = 2e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        momentum_decay: float = 4e-3,
        decoupled_weight_decay: bool = False,
        *,
        foreach: bool | None = None,
        maximize: bool = False,
        capturable: bool = False,
        differentiable: bool = False,
    ):
        check_rate(lr)
        check_settings(eps=eps)
        check_betas(betas)
        check_settings(weight_decay=weight_decay, momentum_decay=momentum_decay)
        super().__init__(
            params,
            {
                "lr": lr,
                "betas": betas,
                "eps": eps,
                "weight_decay": weight_decay,
                "momentum_decay": momentum_decay,
                "decoupled_weight_decay": decoupled_weight_decay,
                "maximize": maximize,
                "foreach": foreach,
                "capturable": capturable,
                "differentiable": differentiable,
            },
        )

    def _update(self, group) -> None:
        rows: dict = {}
        for p in group["params"]:
            if p.grad is None:
                continue
            state = self.state[p]
            if not state:
                state.update(step=0, mu_product=1.0, exp_avg=jitorch.zeros_like(p), exp_avg_sq=jitorch.zeros_like(p))
            at = self._advance(group, state)
            rows.setdefault(at, []).append((p, p.grad, state["exp_avg"], state["exp_avg_sq"]))
        self._apply(group, nesterov_rule, flags_of(group, "maximize", "decoupled_weight_decay"), rows)

    def _advance(self, group, state) -> tuple:
        step = state["step"] + 1
        put(state, "step", step)
        mu, mu_next = (
            group["betas"][0] * (1.0 - 0.5 * 0.96 ** (at * group["momentum_decay"])) for at in (step, step + 1)
        )
        product = state["mu_product"] * mu
        put(state, "mu_product", product)
        return step, mu, mu_next, product

    def _numbers(self, group, at) -> tuple:
        (step, mu, mu_next, product), lr, (beta1, beta2) = at, number(group["lr"]), group["betas"]
        sizes = (lr * (1.0 - mu) / (1.0 - product), lr * mu_next / (1.0 - product * mu_next), 1 - beta2**step)
        return (*sizes, 1 - beta1, beta2, group["eps"], *decay_numbers(group, lr))


def nesterov_rule(m, flags, p, g, mean, square, size, size_mean, left, left1, beta2, eps, decay, shrink):
    p, g = prepared(m, flags, p, g, decay, shrink)
    mean, square = averaged(g, mean, square, left1, beta2)
    scale = m.map("sqrt", square / left) + eps
    return p - size * g / scale - size_mean * mean / scale, mean, square


class RAdam(Rule):
    """Adam whose adaptive rate is rectified, and left out while its variance is too large (Liu et al., 2019)."""

    counts = ("step",)

    def __init__(
        self,
        params,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        decoupled_weight_decay: bool = False,
        *,
        foreach: bool | None = None,
        maximize: bool = False,
        capturable: bool = False,
        differentiable: bool = False,
    ):
        check_rate(lr)
        check_settings(eps=eps)
        check_betas(betas)
        check_settings(weight_decay=weight_decay)
        super().__init__(
            params,
            {
                "lr": lr,
                "betas": betas,
                "eps": eps,
                "weight_decay": weight_decay,
                "maximize": maximize,
                "foreach": foreach,
                "capturable": capturable,
                "decoupled_weight_decay": decoupled_weight_decay,
                "differentiable": differentiable,
            },
        )

    def _update(self, group) -> None:
        rows: dict = {}
        for p in group["params"]:
            if p.grad is None:
                continue
            state = self.state[p]
            if not state:
                moments(state, p)
            at = self._advance(group, state)
            rows.setdefault(at, []).append((p, p.grad, state["exp_avg"], state["exp_avg_sq"]))
        flags = flags_of(group, "maximize", "decoupled_weight_decay")
        for at, some in rows.items():
            self._apply(group, rectified_rule, (*flags, "adaptive") if at[0] else flags, {at: some})

    def _advance(self, group, state) -> tuple:
        step = state["step"] + 1
        put(state, "step", step)
        return rectified(step, group["betas"][1]) is not None, step

    def _numbers(self, group, at) -> tuple:
        (_, step), lr, (beta1, beta2) = at, number(group["lr"]), group["betas"]
        size = lr / (1 - beta1**step) * (rectified(step, beta2) or 1.0)
        return (size, 1 - beta1, beta2, group["eps"], *decay_numbers(group, lr))


def rectified(step: int, beta2: float) -> float | None:
    """What the adaptive rate is multiplied by; None while its variance is too large for it (the paper's rho is 5 or
    less).
    """
    left = 1 - beta2**step
    rho_inf = 2 / (1 - beta2) - 1
    rho = rho_inf - 2 * step * beta2**step / left
    if rho <= 5.0:
        return None
    return ((rho - 4) * (rho - 2) * rho_inf / ((rho_inf - 4) * (rho_inf - 2) * rho)) ** 0.5 * left**0.5


def rectified_rule(m, flags, p, g, mean, square, size, left1, beta2, eps, decay, shrink):
    p, g = prepared(m, flags, p, g, decay, shrink)
    mean, square = averaged(g, mean, square, left1, beta2)
    return p - size * (mean / (m.map("sqrt", square) + eps) if "adaptive" in flags else mean), mean, square


class Adamax(Rule):
    """Adam with the largest |g| so far, decaying, in place of sqrt(v) (Kingma and Ba, 2014)."""

    counts = ("step",)

    def __init__(
        self,
        params,
        lr: float = 2e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        foreach: bool | None = None,
        *,
        maximize: bool = False,
        differentiable: bool = False,
        capturable: bool = False,
    ):
        check_rate(lr)
        check_settings(eps=eps)
        check_betas(betas)
        check_settings(weight_decay=weight_decay)
        super().__init__(
            params,
            {
                "lr": lr,
                "betas": betas,
                "eps": eps,
                "weight_decay": weight_decay,
                "foreach": foreach,
                "maximize": maximize,
                "differentiable": differentiable,
                "capturable": capturable,
            },
        )

    def _update(self, group) -> None:
        rows: dict = {}
        for p in group["params"]:
            if p.grad is None:
                continue
            state = self.state[p]
            if not state:
                state.update(step=0, exp_avg=jitorch.zeros_like(p), exp_inf=jitorch.zeros_like(p))
            step = self._advance(group, state)
            rows.setdefault(step, []).append((p, p.grad, state["exp_avg"], state["exp_inf"]))
        self._apply(group, largest_rule, flags_of(group, "maximize"), rows)

    def _numbers(self, group, step) -> tuple:
        lr, (beta1, beta2) = number(group["lr"]), group["betas"]
        return lr / (1 - beta1**step), 1 - beta1, beta2, group["eps"], float(group["weight_decay"])


def largest_rule(m, flags, p, g, mean, largest, size, left1, beta2, eps, decay):
    g = descent(m, flags, p, g, decay)
    mean = mean + left1 * (g - mean)
    largest = m.map("maximum", largest * beta2, m.map("abs", g) + eps)
    return p - size * mean / largest, mean, largest

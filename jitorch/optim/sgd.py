"""Stochastic gradient descent, averaged SGD, and Rprop."""

from __future__ import annotations

import jitorch

from ..changes import put
from .optimizer import Rule, check_rate, check_settings, check_variant, descent, flags_of, number


class SGD(Rule):
    """p -= lr * g; with momentum, g is replaced by b = momentum * b + (1 - dampening) * g (Nesterov: by g + momentum *
    b).

    weight_decay is added to the gradient as weight_decay * p. foreach, fused and differentiable as in PyTorch; the
    first two change nothing here. Raises ValueError for negative settings.

    >>> import jitorch as torch
    >>> p = torch.nn.Parameter(torch.tensor([1.0, 2.0]))
    >>> optimizer = torch.optim.SGD([p], lr=0.5)
    >>> p.sum().backward()
    >>> optimizer.step()
    >>> p.detach()
    tensor([0.5000, 1.5000])
    """

    def __init__(
        self,
        params,
        lr: float = 1e-3,
        momentum: float = 0,
        dampening: float = 0,
        weight_decay: float = 0,
        nesterov: bool = False,
        *,
        maximize: bool = False,
        foreach: bool | None = None,
        differentiable: bool = False,
        fused: bool | None = None,
    ):
        check_rate(lr)
        if momentum < 0.0:
            raise ValueError(f"Invalid momentum value: {momentum}")
        check_settings(weight_decay=weight_decay)
        if nesterov and (momentum <= 0 or dampening != 0):
            raise ValueError("Nesterov momentum requires a momentum and zero dampening")
        check_variant(foreach, fused, differentiable)
        super().__init__(
            params,
            {
                "lr": lr,
                "momentum": momentum,
                "dampening": dampening,
                "weight_decay": weight_decay,
                "nesterov": nesterov,
                "maximize": maximize,
                "foreach": foreach,
                "differentiable": differentiable,
                "fused": fused,
            },
        )

    def _update(self, group) -> None:
        momentum, states = group["momentum"], self.state
        flags = flags_of(group, "maximize", "nesterov")
        first: list[tuple] = []
        later: list[tuple] = []  # parameters without and with a buffer of past gradients
        for p in group["params"]:
            g = p.grad
            if g is None:
                continue
            if momentum == 0:
                later.append((p, g))
                continue
            state = states[p]
            buffer = state.get("momentum_buffer")
            if buffer is None:
                buffer = state["momentum_buffer"] = jitorch.zeros_like(p)
                first.append((p, g, buffer))
            else:
                later.append((p, g, buffer))
        # the first gradient enters the buffer whole: dampening holds from the second step on
        for at, rows in (("first", first), ("later", later)):
            if rows:
                self._apply(group, plain_rule if momentum == 0 else momentum_rule, flags, {at: rows})

    def _update_sparse(self, group, p, grad) -> None:
        if group["weight_decay"]:
            raise RuntimeError("SGD: weight_decay is not compatible with sparse gradients")
        momentum = group["momentum"]
        if momentum:
            state = self.state[p]
            buffer = state.get("momentum_buffer")
            buffer = grad.clone() if buffer is None else buffer * momentum + grad * (1 - group["dampening"])
            state["momentum_buffer"] = buffer = buffer.coalesce()
            grad = grad + buffer * momentum if group["nesterov"] else buffer
        p.index_put_(grad._at(), grad._values() * -number(group["lr"]), accumulate=True)

    def _numbers(self, group, at) -> tuple:
        lr, decay, momentum = number(group["lr"]), number(group["weight_decay"]), group["momentum"]
        return (lr, decay) if momentum == 0 else (lr, decay, momentum, 1.0 - group["dampening"] if at == "later" else 1.0)


def plain_rule(m, flags, p, g, lr, decay):
    return (p - lr * descent(m, flags, p, g, decay),)


def momentum_rule(m, flags, p, g, buffer, lr, decay, momentum, kept):
    g = descent(m, flags, p, g, decay)
    buffer = momentum * buffer + kept * g
    return p - lr * (g + momentum * buffer if "nesterov" in flags else buffer), buffer


class ASGD(Rule):
    """Averaged SGD (Polyak and Juditsky, 1992): state "ax" holds the average of the parameter since step t0."""

    counts = ("step", "eta", "mu")

    def __init__(
        self,
        params,
        lr: float = 1e-2,
        lambd: float = 1e-4,
        alpha: float = 0.75,
        t0: float = 1e6,
        weight_decay: float = 0,
        foreach: bool | None = None,
        maximize: bool = False,
        differentiable: bool = False,
        capturable: bool = False,
    ):
        check_rate(lr)
        check_settings(weight_decay=weight_decay)
        super().__init__(
            params,
            {
                "lr": lr,
                "lambd": lambd,
                "alpha": alpha,
                "t0": t0,
                "weight_decay": weight_decay,
                "foreach": foreach,
                "maximize": maximize,
                "differentiable": differentiable,
                "capturable": capturable,
            },
        )

    def _update(self, group) -> None:
        lr = number(group["lr"])
        rows: dict = {}
        for p in group["params"]:
            if p.grad is None:
                continue
            state = self.state[p]
            if not state:
                state.update(step=0, eta=lr, mu=1.0, ax=jitorch.zeros_like(p))
            at = self._advance(group, state)
            rows.setdefault(at, []).append((p, p.grad, state["ax"]))
        self._apply(group, averaged_rule, flags_of(group, "maximize"), rows)

    def _advance(self, group, state) -> tuple:
        at, lr, lambd = (state["eta"], state["mu"]), number(group["lr"]), group["lambd"]
        step = state["step"] + 1
        put(state, "step", step)
        put(state, "eta", lr / (1 + lambd * lr * step) ** group["alpha"])
        put(state, "mu", 1 / max(1, step - group["t0"]))
        return at

    def _numbers(self, group, at) -> tuple:
        return at[0], at[1], 1 - group["lambd"] * at[0], group["weight_decay"]


def averaged_rule(m, flags, p, g, average, eta, mu, shrink, decay):
    g = descent(m, flags, p, g, decay)
    p = p * shrink - eta * g
    return p, average + mu * (p - average)


class Rprop(Rule):
    """Resilient propagation (Riedmiller and Braun, 1993): each element has a step size, which grows while its gradient
    keeps its sign.
    """

    counts = ("step",)

    def __init__(
        self,
        params,
        lr: float = 1e-2,
        etas: tuple[float, float] = (0.5, 1.2),
        step_sizes: tuple[float, float] = (1e-6, 50),
        *,
        capturable: bool = False,
        foreach: bool | None = None,
        maximize: bool = False,
        differentiable: bool = False,
    ):
        check_rate(lr)
        if not 0.0 < etas[0] < 1.0 < etas[1]:
            raise ValueError(f"Invalid eta values: {etas[0]}, {etas[1]}")
        super().__init__(
            params,
            {
                "lr": lr,
                "etas": etas,
                "step_sizes": step_sizes,
                "foreach": foreach,
                "maximize": maximize,
                "differentiable": differentiable,
                "capturable": capturable,
            },
        )

    def _update(self, group) -> None:
        rows = []
        for p in group["params"]:
            g = p.grad
            if g is None:
                continue
            state = self.state[p]
            if not state:
                state.update(step=0, prev=jitorch.zeros_like(p), step_size=jitorch.full_like(g, number(group["lr"])))
            self._advance(group, state)
            rows.append((p, g, state["prev"], state["step_size"]))
        if rows:
            self._apply(group, resilient_rule, flags_of(group, "maximize"), {None: rows})

    def _numbers(self, group, at) -> tuple:
        return (*group["etas"], *map(float, group["step_sizes"]))


def resilient_rule(m, flags, p, g, previous, size, down, up, least, most):
    g = -g if "maximize" in flags else g
    agreement = g * previous
    turned = agreement < 0
    factor = m.where(turned, down + 0 * size, m.where(agreement > 0, up + 0 * size, 1 + 0 * size))
    size = m.map("minimum", m.map("maximum", size * factor, least + 0 * size), most + 0 * size)
    g = m.where(turned, 0 * size, g)
    return p - m.map("sign", g) * size, g, size

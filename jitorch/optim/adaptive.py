"""Adagrad, Adadelta, RMSprop and Adafactor: step sizes from the squares of past gradients."""

from __future__ import annotations

import jitorch

from .optimizer import Rule, check_rate, check_settings, check_variant, descent, flags_of, number

EPSILON = {"float32": 2.0**-23, "float64": 2.0**-52}


class Adagrad(Rule):
    """p -= lr / (1 + (step - 1) lr_decay) * g / (sqrt(sum of g^2) + eps) (Duchi et al., 2011)."""

    counts = ("step",)

    def __init__(
        self,
        params,
        lr: float = 1e-2,
        lr_decay: float = 0,
        weight_decay: float = 0,
        initial_accumulator_value: float = 0,
        eps: float = 1e-10,
        foreach: bool | None = None,
        *,
        maximize: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
    ):
        check_rate(lr)
        check_settings(
            lr_decay=lr_decay, weight_decay=weight_decay, initial_accumulator_value=initial_accumulator_value, eps=eps
        )
        check_variant(foreach, fused, differentiable)
        super().__init__(
            params,
            {
                "lr": lr,
                "lr_decay": lr_decay,
                "eps": eps,
                "weight_decay": weight_decay,
                "initial_accumulator_value": initial_accumulator_value,
                "foreach": foreach,
                "maximize": maximize,
                "differentiable": differentiable,
                "fused": fused,
            },
        )
        for group in self.param_groups:
            for p in group["params"]:
                self._start(p, group)

    def _start(self, p, group) -> None:
        self.state[p].update(step=0, sum=jitorch.full_like(p, group["initial_accumulator_value"]))

    def share_memory(self) -> None:
        raise NotImplementedError(
            "Adagrad.share_memory() is not supported: memory shared between processes is not implemented"
        )

    def _update(self, group) -> None:
        rows: dict = {}
        for p in group["params"]:
            if p.grad is None:
                continue
            state = self.state[p]
            if not state:
                self._start(p, group)
            step = self._advance(group, state)
            rows.setdefault(step, []).append((p, p.grad, state["sum"]))
        self._apply(group, summed_rule, flags_of(group, "maximize"), rows)

    def _update_sparse(self, group, p, grad) -> None:
        if group["weight_decay"]:
            raise RuntimeError("weight_decay option is not compatible with sparse gradients")
        state = self.state[p]
        size, eps, _ = self._numbers(group, self._advance(group, state))
        grad = grad.coalesce()
        at, g, total = grad._at(), grad.values(), state["sum"]
        total.index_put_(at, g * g, accumulate=True)
        p.index_put_(at, g / (total[at].sqrt() + eps) * -size, accumulate=True)

    def _numbers(self, group, step) -> tuple:
        size = number(group["lr"]) / (1 + (step - 1) * group["lr_decay"])
        return size, group["eps"], float(group["weight_decay"])


def summed_rule(m, flags, p, g, total, size, eps, decay):
    g = descent(m, flags, p, g, decay)
    total = total + g * g
    return p - size * g / (m.map("sqrt", total) + eps), total


class Adadelta(Rule):
    """Step sizes from running means of g^2 and of the squared updates (Zeiler, 2012)."""

    counts = ("step",)

    def __init__(
        self,
        params,
        lr: float = 1.0,
        rho: float = 0.9,
        eps: float = 1e-6,
        weight_decay: float = 0,
        foreach: bool | None = None,
        *,
        capturable: bool = False,
        maximize: bool = False,
        differentiable: bool = False,
    ):
        check_rate(lr)
        if not 0.0 <= rho <= 1.0:
            raise ValueError(f"Invalid rho value: {rho}")
        check_settings(eps=eps, weight_decay=weight_decay)
        super().__init__(
            params,
            {
                "lr": lr,
                "rho": rho,
                "eps": eps,
                "weight_decay": weight_decay,
                "maximize": maximize,
                "capturable": capturable,
                "foreach": foreach,
                "differentiable": differentiable,
            },
        )

    def _update(self, group) -> None:
        rows = []
        for p in group["params"]:
            if p.grad is None:
                continue
            state = self.state[p]
            if not state:
                state.update(step=0, square_avg=jitorch.zeros_like(p), acc_delta=jitorch.zeros_like(p))
            self._advance(group, state)
            rows.append((p, p.grad, state["square_avg"], state["acc_delta"]))
        if rows:
            self._apply(group, delta_rule, flags_of(group, "maximize"), {None: rows})

    def _numbers(self, group, at) -> tuple:
        return number(group["lr"]), group["rho"], group["eps"], float(group["weight_decay"])


def delta_rule(m, flags, p, g, square, moved, lr, rho, eps, decay):
    g = descent(m, flags, p, g, decay)
    square = square * rho + (1 - rho) * (g * g)
    delta = m.map("sqrt", moved + eps) / m.map("sqrt", square + eps) * g
    return p - lr * delta, square, moved * rho + (1 - rho) * (delta * delta)


class RMSprop(Rule):
    """p -= lr * g / (sqrt(v) + eps), v being a running mean of g^2 (centered: minus the mean of g, squared); with
    momentum if given.
    """

    counts = ("step",)

    def __init__(
        self,
        params,
        lr: float = 1e-2,
        alpha: float = 0.99,
        eps: float = 1e-8,
        weight_decay: float = 0,
        momentum: float = 0,
        centered: bool = False,
        capturable: bool = False,
        foreach: bool | None = None,
        maximize: bool = False,
        differentiable: bool = False,
    ):
        check_rate(lr)
        check_settings(eps=eps, momentum=momentum, weight_decay=weight_decay, alpha=alpha)
        super().__init__(
            params,
            {
                "lr": lr,
                "momentum": momentum,
                "alpha": alpha,
                "eps": eps,
                "centered": centered,
                "weight_decay": weight_decay,
                "capturable": capturable,
                "foreach": foreach,
                "maximize": maximize,
                "differentiable": differentiable,
            },
        )

    def _update(self, group) -> None:
        momentum, centered = group["momentum"], group["centered"]
        rows = []
        for p in group["params"]:
            if p.grad is None:
                continue
            state = self.state[p]
            if not state:
                state.update(step=0, square_avg=jitorch.zeros_like(p))
                if momentum > 0:
                    state["momentum_buffer"] = jitorch.zeros_like(p)
                if centered:
                    state["grad_avg"] = jitorch.zeros_like(p)
            self._advance(group, state)
            more = ((state["grad_avg"],) if centered else ()) + ((state["momentum_buffer"],) if momentum > 0 else ())
            rows.append((p, p.grad, state["square_avg"], *more))
        if rows:
            self._apply(group, rms_rule, flags_of(group, "maximize", "centered", "momentum"), {None: rows})

    def _numbers(self, group, at) -> tuple:
        decay, momentum = float(group["weight_decay"]), float(group["momentum"])
        return number(group["lr"]), group["alpha"], group["eps"], decay, momentum


def rms_rule(m, flags, p, g, square, *rest):
    """rest: the mean of g if centered, the buffer if there is momentum, then the numbers."""
    *states, lr, alpha, eps, decay, momentum = rest
    g = descent(m, flags, p, g, decay)
    square = square * alpha + (1 - alpha) * (g * g)
    new, variance = [], square
    if "centered" in flags:
        mean = states[0] + (1 - alpha) * (g - states[0])
        variance = square - mean * mean
        new.append(mean)
    step = g / (m.map("sqrt", variance) + eps)
    if "momentum" in flags:
        step = momentum * states[-1] + step
        new.append(step)
    return p - lr * step, square, *new


class Adafactor(Rule):
    """Adam's second moment kept as one row and one column of means for each matrix (Shazeer and Stern, 2018).

    eps: (regularisation of the squares, by default the dtype's epsilon, and of the parameter's scale); d: updates are
    clipped to this root mean square.
    """

    counts = ("step",)

    def __init__(
        self,
        params,
        lr: float = 1e-2,
        beta2_decay: float = -0.8,
        eps: tuple[float | None, float] = (None, 1e-3),
        d: float = 1.0,
        weight_decay: float = 0.0,
        *,
        foreach: bool | None = None,
        maximize: bool = False,
    ):
        if isinstance(lr, jitorch.Tensor) and lr.numel() != 1:
            raise ValueError("Tensor lr must be 1-element")
        for ok, what, value in (
            (lr >= 0.0, "Learning rate should be >= 0", lr),
            (beta2_decay <= 0.0, "beta2_decay should be <= 0", beta2_decay),
            (eps[0] is None or eps[0] >= 0.0, "epsilon1 should be >= 0", eps[0]),
            (eps[1] >= 0.0, "epsilon2 should be >= 0", eps[1]),
            (d >= 1.0, "Clipping threshold d should be >= 1", d),
            (weight_decay >= 0.0, "weight_decay should be >= 0", weight_decay),
        ):
            if not ok:
                raise ValueError(f"{what} but is: {value}")
        super().__init__(
            params,
            {
                "lr": lr,
                "beta2_decay": beta2_decay,
                "eps": eps,
                "d": d,
                "weight_decay": weight_decay,
                "foreach": foreach,
                "maximize": maximize,
            },
        )

    def _update(self, group) -> None:
        lr, (eps1, eps2), decay = number(group["lr"]), group["eps"], group["weight_decay"]
        for p in group["params"]:
            if p.grad is None:
                continue
            g = -p.grad if group["maximize"] else p.grad
            state, shape = self.state[p], tuple(g.shape)
            if not state:
                state["step"] = 0
                if len(shape) > 1:
                    state["row_var"] = g.new_zeros((*shape[:-1], 1))
                    state["col_var"] = g.new_zeros((*shape[:-2], 1, shape[-1]))
                else:
                    state["variance"] = jitorch.zeros_like(g)
            step = state["step"] = state["step"] + 1
            fresh, least = step ** group["beta2_decay"], EPSILON[p.dtype.name] if eps1 is None else eps1
            rate = (p * p).mean().sqrt().clamp(min=eps2) * min(lr, 1 / step**0.5)
            if decay != 0:
                p.mul_(1 - lr * decay)
            if len(shape) > 1:
                row = state["row_var"].lerp_((g * g).mean(-1, keepdim=True), fresh)
                column = state["col_var"].lerp_((g * g).mean(-2, keepdim=True), fresh)
                variance = row * column / row.mean(-2, keepdim=True).clamp(min=least)
            else:
                variance = state["variance"].lerp_(g * g, fresh)
            update = variance.clamp(min=least * least).rsqrt() * g
            clip = ((update * update).mean().sqrt() / group["d"]).clamp(min=1.0)
            p.sub_(update * (rate / clip))

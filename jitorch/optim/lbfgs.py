"""L-BFGS: a quasi-Newton method that keeps the last few steps and gradient changes (Liu and Nocedal, 1989)."""

from __future__ import annotations

from collections.abc import Callable

import jitorch

from ..autograd import enable_grad, no_grad
from ..tensor import Tensor
from .optimizer import Optimizer, check_rate, number


def cubic_minimum(x1: float, f1: float, g1: float, x2: float, f2: float, g2: float, bounds=None) -> float:
    """The minimum of the cubic through two points with values f and slopes g, within bounds (Nocedal and Wright, 2006,
    eq. 3.59).
    """
    low, high = bounds if bounds is not None else (min(x1, x2), max(x1, x2))
    d1 = g1 + g2 - 3 * (f1 - f2) / (x1 - x2)
    square = d1**2 - g1 * g2
    if square < 0:
        return (low + high) / 2.0
    d2 = square**0.5
    if x1 <= x2:
        best = x2 - (x2 - x1) * ((g2 + d2 - d1) / (g2 - g1 + 2 * d2))
    else:
        best = x1 - (x1 - x2) * ((g1 + d2 - d1) / (g1 - g2 + 2 * d2))
    return min(max(best, low), high)


class Point:
    """A step length t tried by the line search: loss, gradient, and slope along the direction there."""

    def __init__(self, t: float, loss: float, grad: Tensor, slope: float):
        self.t, self.loss, self.grad, self.slope = t, loss, grad, slope


def strong_wolfe(
    evaluate: Callable,
    t: float,
    start: Point,
    size: float,
    c1: float = 1e-4,
    c2: float = 0.9,
    tolerance: float = 1e-9,
    most: int = 25,
) -> tuple[Point, int]:
    """A step length that satisfies the strong Wolfe conditions (Nocedal and Wright, 2006, algorithms 3.5 and 3.6).

    evaluate(t) -> Point. size: the largest element of the direction. Returns the point and how often `evaluate` was
    called.
    """
    new, calls = evaluate(t), 1
    previous, bracket, found, tries = start, None, False, 0
    while tries < most:  # bracketing
        if (
            new.loss > start.loss + c1 * new.t * start.slope
            or (tries > 1 and new.loss >= previous.loss)
            or (abs(new.slope) > -c2 * start.slope and new.slope >= 0)
        ):
            bracket = [previous, new]
            break
        if abs(new.slope) <= -c2 * start.slope:
            bracket, found = [new], True
            break
        bounds = (new.t + 0.01 * (new.t - previous.t), new.t * 10)
        t = cubic_minimum(previous.t, previous.loss, previous.slope, new.t, new.loss, new.slope, bounds)
        previous, new = new, evaluate(t)
        calls, tries = calls + 1, tries + 1
    if bracket is None:
        bracket = [start, new]
    stuck = False
    low, high = (0, 1) if bracket[0].loss <= bracket[-1].loss else (1, 0)
    while not found and tries < most:  # zooming in
        a, b = bracket
        if abs(b.t - a.t) * size < tolerance:
            break
        t = cubic_minimum(a.t, a.loss, a.slope, b.t, b.loss, b.slope)
        least, largest = min(a.t, b.t), max(a.t, b.t)
        margin = 0.1 * (largest - least)
        if min(largest - t, t - least) < margin:
            if stuck or t >= largest or t <= least:
                t = largest - margin if abs(t - largest) < abs(t - least) else least + margin
                stuck = False
            else:
                stuck = True
        else:
            stuck = False
        new = evaluate(t)
        calls, tries = calls + 1, tries + 1
        if new.loss > start.loss + c1 * new.t * start.slope or new.loss >= bracket[low].loss:
            bracket[high] = new
            low, high = (0, 1) if bracket[0].loss <= bracket[1].loss else (1, 0)
        else:
            if abs(new.slope) <= -c2 * start.slope:
                found = True
            elif new.slope * (bracket[high].t - bracket[low].t) >= 0:
                bracket[high] = bracket[low]
            bracket[low] = new
    return bracket[low if len(bracket) > 1 else 0], calls


class LBFGS(Optimizer):
    """L-BFGS over one group of parameters. `step(closure)` evaluates the loss up to max_eval times.

    line_search_fn: None or "strong_wolfe". Raises ValueError for several groups.

    >>> import jitorch as torch
    >>> p = torch.nn.Parameter(torch.tensor([3.0, -2.0]))
    >>> optimizer = torch.optim.LBFGS([p], line_search_fn="strong_wolfe")
    >>> def closure():
    ...     optimizer.zero_grad()
    ...     loss = ((p - 1) ** 2).sum()
    ...     loss.backward()
    ...     return loss
    >>> _ = optimizer.step(closure)
    >>> [round(x, 3) for x in p.tolist()]
    [1.0, 1.0]
    """

    def __init__(
        self,
        params,
        lr: float = 1,
        max_iter: int = 20,
        max_eval: int | None = None,
        tolerance_grad: float = 1e-7,
        tolerance_change: float = 1e-9,
        history_size: int = 100,
        line_search_fn: str | None = None,
    ):
        check_rate(lr)
        super().__init__(
            params,
            {
                "lr": lr,
                "max_iter": max_iter,
                "max_eval": max_iter * 5 // 4 if max_eval is None else max_eval,
                "tolerance_grad": tolerance_grad,
                "tolerance_change": tolerance_change,
                "history_size": history_size,
                "line_search_fn": line_search_fn,
            },
        )
        if len(self.param_groups) != 1:
            raise ValueError("LBFGS doesn't support per-parameter options (parameter groups)")
        self._params = self.param_groups[0]["params"]

    def __setstate__(self, state) -> None:
        super().__setstate__(state)
        self._params = self.param_groups[0]["params"]

    def _flat_grad(self) -> Tensor:
        return jitorch.cat(
            [jitorch.zeros(p.numel(), dtype=p.dtype) if p.grad is None else p.grad.to_dense().reshape(-1) for p in self._params]
        )

    def _move(self, t: float, direction: Tensor) -> None:
        """p += t * direction."""
        start = 0
        for p in self._params:
            n = p.numel()
            p.add_(direction[start : start + n].view(p.shape), alpha=t)
            start += n

    def _direction(self, state: dict, grad: Tensor, history: int) -> tuple[Tensor, float | Tensor]:
        """-H grad by the two-loop recursion; takes the latest step into the history. Returns it and the scale of the
        first H.
        """
        steps, changes, ro = state["old_stps"], state["old_dirs"], state["ro"]
        change, step = grad - state["prev_flat_grad"], state["d"] * state["t"]
        curvature = (change * step).sum()
        scale = state["H_diag"]
        if float(curvature) > 1e-10:
            if len(changes) == history:
                for kept in (changes, steps, ro):
                    kept.pop(0)
            changes.append(change)
            steps.append(step)
            ro.append(1.0 / curvature)
            scale = curvature / (change * change).sum()
        q, weights = -grad, []
        for s, y, r in zip(reversed(steps), reversed(changes), reversed(ro), strict=True):
            weights.append((s * q).sum() * r)
            q = q - y * weights[-1]
        d = q * scale
        for s, y, r, w in zip(steps, changes, ro, reversed(weights), strict=True):
            d = d + s * (w - (y * d).sum() * r)
        return d, scale

    def step(self, closure: Callable[[], Tensor]):
        """Up to max_iter iterations. closure: clears the gradients, computes the loss, calls backward and returns the
        loss.
        """
        with no_grad():
            return self._iterate(enable_grad(closure))

    def _iterate(self, closure):
        group = self.param_groups[0]
        lr, tolerance = number(group["lr"]), group["tolerance_change"]
        state = self.state[self._params[0]]
        state.setdefault("func_evals", 0)
        state.setdefault("n_iter", 0)
        first_loss = closure()
        loss, calls = float(first_loss), 1
        state["func_evals"] += 1
        grad = self._flat_grad()
        if float(grad.abs().max()) <= group["tolerance_grad"]:
            return first_loss
        for iteration in range(1, group["max_iter"] + 1):
            state["n_iter"] += 1
            if state["n_iter"] == 1:
                d, scale = -grad, 1
                state.update(old_dirs=[], old_stps=[], ro=[])
                t = min(1.0, 1.0 / float(grad.abs().sum())) * lr
            else:
                d, scale = self._direction(state, grad, group["history_size"])
                t = lr
            state.update(d=d, t=t, H_diag=scale, prev_flat_grad=grad, prev_loss=loss)
            slope = float((grad * d).sum())
            if slope > -tolerance:
                break
            before, used = loss, 0
            if group["line_search_fn"] is not None:
                loss, grad, t, used = self._search(
                    closure, t, d, loss, grad, slope, group["line_search_fn"], group["max_eval"] - calls
                )
                state["t"] = t
                self._move(t, d)
            else:
                self._move(t, d)
                if iteration != group["max_iter"]:
                    loss, used = float(closure()), 1
                    grad = self._flat_grad()
            calls += used
            state["func_evals"] += used
            if iteration == group["max_iter"] or calls >= group["max_eval"]:
                break
            if (
                float(grad.abs().max()) <= group["tolerance_grad"]
                or float((d * t).abs().max()) <= tolerance
                or abs(loss - before) < tolerance
            ):
                break
        return first_loss

    def _search(self, closure, t, d, loss, grad, slope, name, most):
        """The line search; leaves the parameters where they were. Returns loss, gradient, step length and number of
        evaluations.
        """
        if name != "strong_wolfe":
            raise RuntimeError("only 'strong_wolfe' is supported")
        here = [p.detach().clone() for p in self._params]

        def evaluate(t: float) -> Point:
            self._move(t, d)
            value = float(closure())
            g = self._flat_grad()
            for p, x in zip(self._params, here, strict=True):
                p.copy_(x)
            return Point(t, value, g, float((g * d).sum()))

        point, calls = strong_wolfe(evaluate, t, Point(0, loss, grad, slope), float(d.abs().max()), most=most)
        return point.loss, point.grad, point.t, calls

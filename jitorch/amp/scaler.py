"""Loss scaling for training in float16: `GradScaler`."""

from __future__ import annotations

import warnings

import jitorch


class GradScaler:
    """Multiplies a loss so that small gradients don't vanish in float16, and skips the steps whose gradients overflow.

    scale(loss).backward(), step(optimizer), update(). The scale is multiplied by backoff_factor after a skipped step, and by growth_factor
    after growth_interval steps without one. For "cuda" (the default) without CUDA it is off, as in PyTorch.

    >>> import jitorch as torch
    >>> w = torch.ones(1, requires_grad=True)
    >>> optimizer, scaler = torch.optim.SGD([w], lr=0.5), torch.amp.GradScaler("cpu", init_scale=8.0)
    >>> scaler.scale(w.sum()).backward()
    >>> scaler.step(optimizer); scaler.update(); w
    tensor([0.5000], requires_grad=True)
    """

    def __init__(self, device: str = "cuda", init_scale: float = 2.0**16, growth_factor: float = 2.0, backoff_factor: float = 0.5,
                 growth_interval: int = 2000, enabled: bool = True):
        if enabled and device != "cpu":
            warnings.warn("torch.cuda.amp.GradScaler is enabled, but CUDA is not available.  Disabling.", stacklevel=2)
            enabled = False
        if enabled and not (growth_factor > 1 and backoff_factor < 1):
            raise AssertionError("The growth factor must be > 1.0 and the backoff factor < 1.0.")
        self._enabled, self._scale = enabled, float(init_scale)
        self._growth, self._backoff, self._interval = growth_factor, backoff_factor, growth_interval
        self._streak = 0
        self._found: dict[int, bool] = {}       # optimizers whose gradients are unscaled: did any overflow

    def scale(self, outputs):
        """The loss (or losses) times the scale."""
        if not self._enabled:
            return outputs
        if isinstance(outputs, (list, tuple)):
            return type(outputs)(self.scale(o) for o in outputs)
        return outputs * self._scale

    def unscale_(self, optimizer) -> None:
        """Divide an optimizer's gradients by the scale (before clipping them). RuntimeError when called twice for one step."""
        if not self._enabled:
            return
        if id(optimizer) in self._found:
            raise RuntimeError("unscale_() has already been called on this optimizer since the last update().")
        grads = [p.grad for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
        with jitorch.no_grad():
            for g in grads:
                g.mul_(1.0 / self._scale)
            finite = [g.isfinite().all() for g in grads]
            self._found[id(optimizer)] = bool(finite) and not bool(jitorch.stack(finite).all())

    def step(self, optimizer, *args, **kwargs):
        """optimizer.step(), unless a gradient overflowed; its result, or None."""
        if not self._enabled:
            return optimizer.step(*args, **kwargs)
        if id(optimizer) not in self._found:
            self.unscale_(optimizer)
        return None if self._found[id(optimizer)] else optimizer.step(*args, **kwargs)

    def update(self, new_scale: float | None = None) -> None:
        """Adapt the scale to what happened since the last call, or set it."""
        if not self._enabled:
            return
        if new_scale is not None:
            self._scale = float(new_scale)
        elif any(self._found.values()):
            self._scale, self._streak = self._scale * self._backoff, 0
        else:
            self._streak += 1
            if self._streak == self._interval:
                self._scale, self._streak = self._scale * self._growth, 0
        self._found.clear()

    def get_scale(self) -> float:
        """The scale; 1 if off."""
        return self._scale if self._enabled else 1.0

    def is_enabled(self) -> bool:
        """Whether anything is scaled."""
        return self._enabled

    def get_growth_factor(self) -> float:
        return self._growth

    def get_backoff_factor(self) -> float:
        return self._backoff

    def get_growth_interval(self) -> int:
        return self._interval

    def state_dict(self) -> dict:
        """Scale, factors and the number of steps without an overflow."""
        if not self._enabled:
            return {}
        return {"scale": self._scale, "growth_factor": self._growth, "backoff_factor": self._backoff, "growth_interval": self._interval,
                "_growth_tracker": self._streak}

    def load_state_dict(self, state_dict: dict) -> None:
        """Take over a state. RuntimeError for an empty one."""
        if not self._enabled:
            return
        if not state_dict:
            raise RuntimeError("The source state dict is empty, possibly because it was saved from a disabled instance of GradScaler.")
        self._scale, self._growth, self._backoff = state_dict["scale"], state_dict["growth_factor"], state_dict["backoff_factor"]
        self._interval, self._streak = state_dict["growth_interval"], state_dict["_growth_tracker"]

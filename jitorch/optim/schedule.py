"""What all schedules share: `LRScheduler`, their base class."""

from __future__ import annotations

import functools
import types
import warnings
from collections.abc import Callable
from typing import Any

from ..graph.record import local
from ..tensor import Tensor
from .optimizer import Optimizer, number

DEPRECATED_EPOCH = (
    "The epoch parameter in `scheduler.step()` was not necessary and is being deprecated where possible. Please use `scheduler.step()` to "
    "step the scheduler. During the deprecation, if epoch is different from None, the closed form is used instead of the new chainable "
    "form, where available."
)


def check_optimizer(optimizer) -> None:
    if not isinstance(optimizer, Optimizer):
        raise TypeError(f"{type(optimizer).__name__} is not an Optimizer")


def values_of(optimizer: Optimizer, key: str) -> list:
    """A setting of all groups (tensors copied)."""
    return [v.clone() if isinstance(v, Tensor) else v for v in (group[key] for group in optimizer.param_groups)]


def put(group: dict, key: str, value) -> None:
    """Change a setting; one that is a tensor stays the same tensor."""
    if isinstance(group[key], Tensor):
        group[key].fill_(number(value))
    else:
        group[key] = value


def for_each_group(name: str, optimizer: Optimizer, value) -> list:
    """One value for every group, from one value or a list. ValueError for a list of another length."""
    n = len(optimizer.param_groups)
    if isinstance(value, (list, tuple)):
        if len(value) != n:
            raise ValueError(
                f"{name} must have the same length as optimizer.param_groups. {name} has {len(value)} values, "
                f"param_groups has {n}."
            )
        return [v.clone() if isinstance(v, Tensor) else v for v in value]
    return [value] * n


def state_of_function(fn) -> dict | None:
    """What is saved of a user's function: the attributes of an object, nothing of a plain function."""
    return None if fn is None or isinstance(fn, types.FunctionType) else fn.__dict__.copy()


def done_again(step: Callable) -> Callable:
    """A schedule's `step` that a trace which is being captured hears of: a replay calls it."""

    @functools.wraps(step)
    def told(self, *args, **kwargs):
        capture = local.tape.capture
        if capture is None:
            return step(self, *args, **kwargs)
        with capture.calling(self, functools.partial(told, self, *args, **kwargs)):
            return step(self, *args, **kwargs)

    return told


class LRScheduler:
    """Base class: `get_lr()` gives the learning rates of all groups for step `last_epoch`.

    last_epoch: -1 to begin, or the step to go on from (then groups must hold "initial_lr": KeyError otherwise).
    """

    _get_lr_called_within_step = False
    _is_initial = False
    use_beta1 = False  # where a schedule changes the momentum: it is the first beta

    def __init__(self, optimizer: Optimizer, last_epoch: int = -1):
        check_optimizer(optimizer)
        self.optimizer = optimizer
        for i, group in enumerate(optimizer.param_groups):
            if last_epoch == -1:
                lr = group["lr"]
                group.setdefault("initial_lr", lr.clone() if isinstance(lr, Tensor) else lr)
            elif "initial_lr" not in group:
                raise KeyError(
                    f"param 'initial_lr' is not specified in param_groups[{i}] when resuming scheduler with last_epoch "
                    ">= 0.\nThis typically happens when:\n1. You're trying to resume training from a checkpoint but "
                    "haven't properly loaded the optimizer state\n2. You're using last_epoch >= 0 for a fresh "
                    "training run (not recommended)"
                )
        self.base_lrs = values_of(optimizer, "initial_lr")
        self.last_epoch = last_epoch
        self._initial_step()

    def _initial_step(self) -> None:
        self._step_count = 0
        self._is_initial = True
        try:
            self.step()
        finally:
            self._is_initial = False

    def state_dict(self) -> dict[str, Any]:
        """Everything but the optimizer."""
        return {key: value for key, value in self.__dict__.items() if key != "optimizer"}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over what `state_dict` gave."""
        self.__dict__.update(state_dict)

    def get_last_lr(self) -> list:
        """The learning rates that the last step set."""
        return self._last_lr

    def get_lr(self) -> list:
        raise NotImplementedError

    def __init_subclass__(cls, **kwargs):
        super().__init_subclass__(**kwargs)
        if "step" in cls.__dict__:
            cls.step = done_again(cls.__dict__["step"])

    @done_again
    def step(self, epoch: int | None = None) -> None:
        """Go on to the next step (or, deprecated, to step `epoch`). Call it after `optimizer.step()`."""
        if self._step_count == 1 and not self.optimizer._opt_called:
            warnings.warn(
                "Detected call of `lr_scheduler.step()` before `optimizer.step()`. In PyTorch 1.1.0 and later, you "
                "should call them in the opposite order: `optimizer.step()` before `lr_scheduler.step()`.  Failure to "
                "do this will result in PyTorch skipping the first value of the learning rate schedule. See more "
                "details at https://pytorch.org/docs/stable/optim.html#how-to-adjust-learning-rate",
                UserWarning,
                stacklevel=2,
            )
        self._step_count += 1
        if epoch is not None:
            warnings.warn(DEPRECATED_EPOCH, UserWarning, stacklevel=2)
        self._update_lr(epoch)

    def _update_lr(self, epoch: int | None = None) -> None:
        self.last_epoch = self.last_epoch + 1 if epoch is None else epoch
        self._set_rates(self._closed_form() if epoch is not None and self._has_closed_form() else None)

    def _set_rates(self, rates: list | None) -> None:
        """Give the groups their rates: those given, or `get_lr()`."""
        self._get_lr_called_within_step = True
        try:
            rates = self.get_lr() if rates is None else rates
        finally:
            self._get_lr_called_within_step = False
        for group, lr in zip(self.optimizer.param_groups, rates, strict=True):
            put(group, "lr", lr)
        self._last_lr = values_of(self.optimizer, "lr")

    def _has_closed_form(self) -> bool:
        return hasattr(self, "_get_closed_form_lr")

    def _closed_form(self) -> list:
        return self._get_closed_form_lr()  # type: ignore[attr-defined]

    def _now(self) -> list:
        return values_of(self.optimizer, "lr")

    def _times(self, factor: float) -> list:
        return [group["lr"] * factor for group in self.optimizer.param_groups]

    def _warn_outside_step(self) -> None:
        if not self._get_lr_called_within_step:
            warnings.warn(
                "To get the last learning rate computed by the scheduler, please use `get_last_lr()`.",
                UserWarning,
                stacklevel=3,
            )

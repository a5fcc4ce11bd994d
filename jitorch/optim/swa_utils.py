"""Averages of a model's parameters over a training run, and the schedule that goes with them."""

from __future__ import annotations

import math
from collections.abc import Iterable
from copy import deepcopy
from itertools import chain

import jitorch

from ..autograd import no_grad
from ..nn import Module
from ..nn.modules.batchnorm import _BatchNorm
from .lr_scheduler import LRScheduler

__all__ = ["AveragedModel", "SWALR", "get_ema_avg_fn", "get_ema_multi_avg_fn", "get_swa_avg_fn", "get_swa_multi_avg_fn", "update_bn"]


def check_decay(decay: float) -> None:
    if not 0 <= decay <= 1:
        raise ValueError(f"Invalid decay value {decay} provided. Please provide a value in [0,1] range.")


def get_ema_avg_fn(decay: float = 0.999):
    """The average that forgets: decay * average + (1 - decay) * value. ValueError for a decay outside [0, 1]."""
    check_decay(decay)

    @no_grad()
    def update(averaged, current, num_averaged):
        return decay * averaged + (1 - decay) * current

    return update


def get_swa_avg_fn():
    """The mean of all values so far."""

    @no_grad()
    def update(averaged, current, num_averaged):
        return averaged + (current - averaged) / (num_averaged + 1)

    return update


def of_lists(average):
    """An update of one value as an in-place update of lists of values."""

    @no_grad()
    def update(averaged_list, current_list, num_averaged):
        for a, c in zip(averaged_list, current_list, strict=True):
            if a.dtype.differentiable:
                a.copy_(average(a, c, num_averaged))
            else:
                a.copy_(c)

    return update


def get_ema_multi_avg_fn(decay: float = 0.999):
    """`get_ema_avg_fn` for lists of tensors, in place."""
    return of_lists(get_ema_avg_fn(decay))


def get_swa_multi_avg_fn():
    """`get_swa_avg_fn` for lists of tensors, in place."""
    return of_lists(get_swa_avg_fn())


class AveragedModel(Module):
    """A copy of a model whose parameters are averages, updated by `update_parameters(model)`: means of all values (SWA) unless avg_fn or
    multi_avg_fn say otherwise. use_buffers: buffers are averaged too, else copied.

    >>> import jitorch as torch
    >>> model = torch.nn.Linear(1, 1, bias=False)
    >>> average = torch.optim.swa_utils.AveragedModel(model)
    >>> for value in (1.0, 2.0):
    ...     _ = model.weight.data.fill_(value)
    ...     average.update_parameters(model)
    >>> average.module.weight.item()
    1.5
    """

    n_averaged: jitorch.Tensor

    def __init__(self, model: Module, device=None, avg_fn=None, multi_avg_fn=None, use_buffers: bool = False):
        super().__init__()
        if avg_fn is not None and multi_avg_fn is not None:
            raise AssertionError("Only one of avg_fn and multi_avg_fn should be provided")
        self.module = deepcopy(model)
        if device is not None:
            self.module = self.module.to(device)
        self.register_buffer("n_averaged", jitorch.tensor(0, dtype=jitorch.int64))
        self.avg_fn, self.multi_avg_fn, self.use_buffers = avg_fn, multi_avg_fn, use_buffers

    def forward(self, *args, **kwargs):
        return self.module(*args, **kwargs)

    def update_parameters(self, model: Module) -> None:
        """Take the model's present parameters into the average."""
        def values(m):
            return list(chain(m.parameters(), m.buffers()) if self.use_buffers else m.parameters())

        mine, current = [[t.detach() for t in values(m)] for m in (self.module, model)]
        count = int(self.n_averaged)
        if count == 0:
            for a, c in zip(mine, current, strict=True):
                a.copy_(c)
        elif self.multi_avg_fn is not None:
            self.multi_avg_fn(mine, current, self.n_averaged)
        else:
            average = self.avg_fn or get_swa_avg_fn()
            for a, c in zip(mine, current, strict=True):
                a.copy_(average(a, c, self.n_averaged))
        if not self.use_buffers:
            for a, c in zip(self.module.buffers(), model.buffers(), strict=True):
                a.detach().copy_(c.detach())
        self.n_averaged += 1


@no_grad()
def update_bn(loader: Iterable, model: Module, device=None) -> None:
    """Compute the running statistics of a model's batch normalisations anew, from the inputs of a loader (the first of each batch)."""
    norms = {m: m.momentum for m in model.modules() if isinstance(m, _BatchNorm)}
    if not norms:
        return
    was = model.training
    for m in norms:
        m.reset_running_stats()
        m.momentum = None
    model.train()
    for batch in loader:
        x = batch[0] if isinstance(batch, (list, tuple)) else batch
        model(x if device is None else x.to(device))
    for m, momentum in norms.items():
        m.momentum = momentum
    model.train(was)


class SWALR(LRScheduler):
    """Moves every group's learning rate to swa_lr within anneal_epochs, along a cosine or a line ("cos", "linear"), and keeps it there."""

    def __init__(self, optimizer, swa_lr, anneal_epochs: int = 10, anneal_strategy: str = "cos", last_epoch: int = -1):
        if anneal_strategy not in ("cos", "linear"):
            raise ValueError(f"anneal_strategy must by one of 'cos' or 'linear', instead got {anneal_strategy}")
        if not isinstance(anneal_epochs, int) or anneal_epochs < 0:
            raise ValueError(f"anneal_epochs must be equal or greater than 0, got {anneal_epochs}")
        groups = optimizer.param_groups
        rates = list(swa_lr) if isinstance(swa_lr, (list, tuple)) else [swa_lr] * len(groups)
        if len(rates) != len(groups):
            raise ValueError(f"swa_lr must have the same length as optimizer.param_groups: swa_lr has {len(rates)}, optimizer.param_groups has {len(groups)}")
        for rate, group in zip(rates, groups, strict=True):
            group["swa_lr"] = rate
        self._anneal_strategy, self.anneal_epochs = anneal_strategy, anneal_epochs
        super().__init__(optimizer, last_epoch)

    def _share(self, step: int) -> float:
        """The part of the way that is done at a step."""
        t = max(0.0, min(1.0, step / max(1, self.anneal_epochs)))
        return t if self._anneal_strategy == "linear" else (1 - math.cos(math.pi * t)) / 2

    def get_lr(self) -> list[float]:
        step = self._step_count - 1
        if self.anneal_epochs == 0:
            step = max(1, step)
        before, now = self._share(max(0, step - 1)), self._share(max(0, step))
        rates = []
        for group in self.optimizer.param_groups:
            # the rate to start from, seen from where the last step left it
            start = group["lr"] if before == 1 else (group["lr"] - before * group["swa_lr"]) / (1 - before)
            rates.append(group["swa_lr"] if before == 1 else now * group["swa_lr"] + (1 - now) * start)
        return rates

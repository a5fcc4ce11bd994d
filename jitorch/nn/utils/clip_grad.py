"""Limits on gradients."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable

import jitorch

from ...autograd import no_grad
from ...tensor import Tensor


def listed(tensors: Tensor | Iterable[Tensor]) -> list[Tensor]:
    return [tensors] if isinstance(tensors, Tensor) else list(tensors)


@no_grad()
def get_total_norm(
    tensors: Tensor | Iterable[Tensor],
    norm_type: float = 2.0,
    error_if_nonfinite: bool = False,
    foreach: bool | None = None,
) -> Tensor:
    """The norm of all elements of all tensors as one vector, as a 0-d tensor. RuntimeError where it isn't finite and
    error_if_nonfinite.

    >>> import jitorch as torch
    >>> torch.nn.utils.get_total_norm([torch.tensor([3.0]), torch.tensor([4.0])])
    tensor(5.)
    """
    tensors = listed(tensors)
    p = float(norm_type)
    if not tensors:
        return jitorch.tensor(0.0)
    if p == 2.0:
        total = sum_of([(t * t).sum() for t in tensors]).sqrt()
    elif p == math.inf:
        total = jitorch.stack([t.abs().max() for t in tensors]).max()
    else:
        total = sum_of([(t.abs() ** p).sum() for t in tensors]) ** (1.0 / p)
    if error_if_nonfinite and not bool(total.isfinite()):
        raise RuntimeError(
            f"The total norm of order {p} for gradients from `parameters` is non-finite, so it cannot be clipped. To "
            "disable this error and scale the gradients by the non-finite norm anyway, set `error_if_nonfinite=False`"
        )
    return total


def sum_of(parts: list[Tensor]) -> Tensor:
    total = parts[0]
    for part in parts[1:]:
        total = total + part
    return total


@no_grad()
def clip_grads_with_norm_(
    parameters: Tensor | Iterable[Tensor], max_norm: float, total_norm: Tensor, foreach: bool | None = None
) -> None:
    """Scale the gradients of `parameters` so that a total norm of `total_norm` becomes at most max_norm."""
    grads = [p.grad for p in listed(parameters) if p.grad is not None]
    if grads:
        factor = (float(max_norm) / (total_norm + 1e-6)).clamp(max=1.0)
        for g in grads:
            g.mul_(factor)


def clip_grad_norm_(
    parameters: Tensor | Iterable[Tensor],
    max_norm: float,
    norm_type: float = 2.0,
    error_if_nonfinite: bool = False,
    foreach: bool | None = None,
) -> Tensor:
    """Scale the gradients of `parameters` so that their norm, taken together, is at most max_norm. Returns the norm it
    was.

    Nothing is computed before a value is needed, so the step stays one program.

    >>> import jitorch as torch
    >>> p = torch.nn.Parameter(torch.ones(2))
    >>> (p * torch.tensor([3.0, 4.0])).sum().backward()
    >>> torch.nn.utils.clip_grad_norm_([p], 1.0)
    tensor(5.)
    >>> p.grad
    tensor([0.6000, 0.8000])
    """
    parameters = listed(parameters)
    if not parameters:
        warnings.warn("`parameters` is an empty generator, no gradient clipping will occur.", stacklevel=2)
    total = get_total_norm([p.grad for p in parameters if p.grad is not None], norm_type, error_if_nonfinite)
    clip_grads_with_norm_(parameters, max_norm, total)
    return total


def clip_grad_norm(*args, **kwargs) -> Tensor:
    """Deprecated: `clip_grad_norm_`."""
    warnings.warn(
        "`torch.nn.utils.clip_grad_norm` is now deprecated in favor of `torch.nn.utils.clip_grad_norm_`.",
        FutureWarning,
        stacklevel=2,
    )
    return clip_grad_norm_(*args, **kwargs)


@no_grad()
def clip_grad_value_(parameters: Tensor | Iterable[Tensor], clip_value: float, foreach: bool | None = None) -> None:
    """Limit every element of the gradients of `parameters` to [-clip_value, clip_value]."""
    limit = float(clip_value)
    for p in listed(parameters):
        if p.grad is not None:
            p.grad.clamp_(min=-limit, max=limit)

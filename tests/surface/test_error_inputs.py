"""PyTorch's own list of wrong inputs: jitorch raises the same type of exception for nearly all of them, and none ends the process."""
from __future__ import annotations

import warnings
from collections import Counter

import numpy as np
import pytest

import jitorch

torch = pytest.importorskip("torch")
LEAST = 0.92        # of the inputs; what is left are `out=` tensors that overlap, and numbers where only tensors are allowed


def converted(x):
    """A sample's argument for jitorch. TypeError for what has no counterpart."""
    if isinstance(x, torch.Tensor):
        if x.layout != torch.strided or x.dtype == torch.bfloat16:
            raise TypeError
        y = jitorch.tensor(x.detach().resolve_conj().numpy())
        if not x.is_contiguous() and x.numel():
            room = 1 + sum((n - 1) * s for n, s in zip(x.shape, x.stride(), strict=True))
            y = jitorch.as_strided(jitorch.tensor(np.zeros(room, y.dtype.np)), tuple(x.shape), x.stride())
        return y.requires_grad_(True) if x.requires_grad and x.is_floating_point() else y
    if isinstance(x, torch.dtype):
        return getattr(jitorch, str(x).removeprefix("torch."))
    if isinstance(x, torch.layout):
        return getattr(jitorch, str(x).removeprefix("torch."), str(x))
    if isinstance(x, dict):
        return {k: converted(v) for k, v in x.items()}
    if type(x) in (list, tuple):
        return type(x)(converted(v) for v in x)
    return tuple(x) if isinstance(x, torch.Size) else x


def function_of(name: str):
    found = jitorch
    for part in name.split("."):
        try:
            found = getattr(found, part)
        except AttributeError:
            return getattr(jitorch.Tensor, name, None)
    return found


def test_wrong_inputs_raise_what_pytorch_raises():
    databases = pytest.importorskip("torch.testing._internal.common_methods_invocations")
    outcomes: Counter = Counter()
    missed = []
    with warnings.catch_warnings(), jitorch.config.using(tier="reference"):
        warnings.simplefilter("ignore")
        for op in databases.op_db:
            function = function_of(op.name)
            if op.error_inputs_func is None or function is None:
                continue
            for wrong in op.error_inputs("cpu"):
                sample = wrong.sample_input
                try:
                    args, named = [converted(x) for x in (sample.input, *sample.args)], converted(sample.kwargs)
                except (TypeError, AttributeError, ValueError):      # no counterpart, or more dimensions than NumPy has
                    continue
                try:
                    result = function(*args, **named)
                    for r in result if isinstance(result, (tuple, list)) else (result,):
                        if isinstance(r, jitorch.Tensor):
                            r.tolist()
                    outcomes["nothing"] += 1
                    missed.append((op.name, wrong.error_regex))
                except Exception as error:
                    outcomes["same" if isinstance(error, wrong.error_type) else "another"] += 1
    total = sum(outcomes.values())
    assert total > 500 and outcomes["same"] >= LEAST * total, (outcomes, missed)
    assert outcomes["another"] <= 20, outcomes

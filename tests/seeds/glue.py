"""What the programs leave out: data, and starting weights that are the same under any framework."""
from __future__ import annotations

import numpy as np


def numbers(*shape: int, seed: int = 0) -> np.ndarray:
    """Normally distributed numbers, float32."""
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def set_weights(torch, model, seed: int = 1):
    """Give the model's parameters small numbers that depend on the seed alone; returns the model."""
    rng = np.random.default_rng(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            bound = 1 / np.sqrt(max(1, np.prod(parameter.shape[1:])))
            parameter.copy_(torch.from_numpy(rng.uniform(-bound, bound, tuple(parameter.shape)).astype(np.float32)))
    return model


def batches(torch, *arrays: np.ndarray, size: int):
    """A loader of batches in order."""
    from importlib import import_module
    data = import_module(torch.__name__ + ".utils.data")
    tensors = [torch.from_numpy(a) for a in arrays]
    return data.DataLoader(data.TensorDataset(*tensors), batch_size=size)

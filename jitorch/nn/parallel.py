"""DataParallel for programs that wrap their model in it: on one device it calls the model."""

from __future__ import annotations

import jitorch

from .modules.module import Module


class DataParallel(Module):
    """Holds a model as `module` (so names in its state_dict start with "module.") and calls it: there is one device to
    run on.

    RuntimeError for device_ids that aren't there.
    """

    def __init__(self, module: Module, device_ids=None, output_device=None, dim: int = 0):
        super().__init__()
        if device_ids:
            for d in device_ids:
                jitorch.zeros(0, device=d)
        self.module, self.dim = module, dim
        self.device_ids: list[int] = []
        self.output_device = output_device

    def forward(self, *inputs, **kwargs):
        return self.module(*inputs, **kwargs)


def data_parallel(
    module: Module, inputs, device_ids=None, output_device=None, dim: int = 0, module_kwargs: dict | None = None
):
    """Call a model: there is one device to run on."""
    inputs = inputs if isinstance(inputs, tuple) else (inputs,)
    return module(*inputs, **(module_kwargs or {}))

"""The old names of mixed precision, as `torch.cuda.amp`: those of `jitorch.amp`, for "cuda"."""

from __future__ import annotations

from functools import partial

from .. import amp
from ..amp import custom_bwd, custom_fwd
from ..dtypes import dtype, float16

__all__ = ["GradScaler", "autocast", "custom_bwd", "custom_fwd"]

GradScaler = partial(amp.GradScaler, "cuda")


class autocast(amp.autocast):
    """`torch.autocast("cuda", ...)`: off where there is no CUDA."""

    def __init__(self, enabled: bool = True, dtype: dtype = float16, cache_enabled: bool = True):
        super().__init__("cuda", dtype=dtype, enabled=enabled, cache_enabled=cache_enabled)

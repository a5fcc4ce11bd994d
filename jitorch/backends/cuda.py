"""`torch.backends.cuda`: not there; its switches can be set, and have no effect."""

from __future__ import annotations

from contextlib import contextmanager
from types import SimpleNamespace

matmul = SimpleNamespace(allow_tf32=False, allow_fp16_reduced_precision_reduction=True, allow_bf16_reduced_precision_reduction=True)


def is_built() -> bool:
    """Whether this build knows CUDA."""
    return False


def flash_sdp_enabled() -> bool:
    """Attention is chosen by the engine."""
    return False


math_sdp_enabled, mem_efficient_sdp_enabled = (lambda: True), flash_sdp_enabled


def enable_flash_sdp(enabled: bool) -> None:
    """Accepted."""


enable_math_sdp = enable_mem_efficient_sdp = enable_cudnn_sdp = enable_flash_sdp


@contextmanager
def sdp_kernel(enable_flash: bool = True, enable_math: bool = True, enable_mem_efficient: bool = True, enable_cudnn: bool = True):
    """Accepted."""
    yield

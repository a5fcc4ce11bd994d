"""`torch.backends.cpu`."""

from __future__ import annotations


def get_cpu_capability() -> str:
    """The instructions that kernels are compiled for."""
    from llvmlite import binding

    return "AVX512" if binding.get_host_cpu_features().get("avx512f") else "AVX2" if binding.get_host_cpu_features().get("avx2") else "DEFAULT"

"""`torch.cuda` without CUDA: programs that ask first run on the CPU, those that don't ask get PyTorch's error.

Kernels for the GPU are not generated yet, so no device is reported even where there is one.
"""

from __future__ import annotations

from typing import Any, NoReturn


def is_available() -> bool:
    """Whether tensors can live on a GPU.

    >>> import jitorch as torch
    >>> torch.device("cuda" if torch.cuda.is_available() else "cpu")
    device(type='cpu')
    """
    return False


def is_initialized() -> bool:
    """Whether CUDA has been started."""
    return False


def is_bf16_supported(including_emulation: bool = True) -> bool:
    """Whether the GPU computes in bfloat16."""
    return False


def device_count() -> int:
    """The number of GPUs."""
    return 0


def get_arch_list() -> list[str]:
    """The GPU architectures that kernels are compiled for."""
    return []


def memory_allocated(device: Any = None) -> int:
    """Bytes of tensors on the GPU; `max_memory_allocated`, `memory_reserved` and `max_memory_reserved` likewise."""
    return 0


max_memory_allocated = memory_reserved = max_memory_reserved = memory_allocated


def empty_cache() -> None:
    """Give unused memory of the GPU back: there is none."""


def manual_seed(seed: int) -> None:
    """Seed the GPU's generator: there is none. As in PyTorch, no error, so that programs can seed everything."""
    int(seed)


manual_seed_all = manual_seed


def seed() -> None:
    """Seed the GPU's generator from the system: there is none."""


seed_all = seed


def get_rng_state_all() -> list:
    """The states of the GPUs' generators: none."""
    return []


def set_rng_state_all(new_states) -> None:
    """Set the states of the GPUs' generators: there are none."""


def needs_cuda(name: str) -> Any:
    def function(*args: Any, **kwargs: Any) -> NoReturn:
        raise AssertionError(
            f"torch.cuda.{name}: jitorch runs on the CPU only (Torch not compiled with CUDA enabled): "
            "test torch.cuda.is_available() first"
        )

    function.__name__ = function.__qualname__ = name
    function.__doc__ = "Raises AssertionError: there is no GPU."
    return function


NEED_CUDA = (
    "current_device current_stream default_stream device Event get_device_capability get_device_name "
    "get_device_properties get_rng_state init initial_seed ipc_collect mem_get_info memory_stats memory_summary "
    "reset_peak_memory_stats set_device set_rng_state Stream stream synchronize"
).split()
globals().update({name: needs_cuda(name) for name in NEED_CUDA})


def __getattr__(name: str) -> Any:
    if name == "amp":
        import importlib

        return importlib.import_module(".amp", __name__)
    raise AttributeError(f"module 'torch.cuda' has no attribute '{name}': jitorch runs on the CPU only")

"""`torch.distributed`, of which there is one process: programs that ask first run alone."""

from __future__ import annotations


def is_available() -> bool:
    """Whether processes can work together."""
    return False


def is_initialized() -> bool:
    """Whether a group of processes was made."""
    return False


def is_torchelastic_launched() -> bool:
    """Whether a launcher started this process."""
    return False


def get_rank(group=None) -> int:
    """The number of this process; -1 without a group."""
    return -1


def get_world_size(group=None) -> int:
    """The number of processes; -1 without a group."""
    return -1


def init_process_group(*args, **kwargs):
    """Raises NotImplementedError: several processes are not supported yet."""
    raise NotImplementedError("torch.distributed.init_process_group: several processes are not supported yet; test torch.distributed.is_available() first")

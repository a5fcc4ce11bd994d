"""Products and sums of sparse tensors, as `torch.sparse`; see `ops/sparse.py` for what sparse tensors there are."""

from .ops.sparse import sparse_mm as mm
from .ops.sparse import sparse_sum as sum

__all__ = ["mm", "sum"]


def __getattr__(name: str):
    from .missing import message

    raise AttributeError(message("jitorch.sparse", name, __all__))

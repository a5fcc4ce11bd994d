"""`torch.nn.functional`: the operations of neural networks as functions. Each is defined in `jitorch/ops`; this is where users find them."""
from __future__ import annotations

from ..ops.families import PUBLIC

__all__ = ["relu"]

globals().update({name: PUBLIC[name] for name in __all__})

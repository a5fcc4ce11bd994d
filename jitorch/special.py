"""Special functions, as `torch.special`.

>>> import jitorch as torch
>>> torch.special.expit(torch.tensor([0.]))
tensor([0.5000])
"""

from __future__ import annotations

from .ops.dispatch import PUBLIC
from .ops.special import FUNCTION

globals().update(FUNCTION)
for _name in ("softmax", "log_softmax", "logsumexp"):
    if _name in PUBLIC:
        globals()[_name] = PUBLIC[_name]
__all__ = [*FUNCTION]  # noqa: PLE0604 (names are strings)

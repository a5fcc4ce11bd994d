"""`torch.linalg`: decompositions, solvers, norms.

Each is defined in `jitorch/ops/`, where `linalg.py` collects them; this is where users find them.

>>> import jitorch as torch
>>> torch.linalg.det(torch.tensor([[2., 0.], [0., 3.]]))
tensor(6.)
"""

from __future__ import annotations

from .ops.linalg import LINALG

globals().update(LINALG)
__all__ = [*LINALG]  # noqa: PLE0604 (names are strings)

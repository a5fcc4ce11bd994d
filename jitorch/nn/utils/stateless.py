"""The old place of `func.functional_call`, as `torch.nn.utils.stateless`."""

from __future__ import annotations

from ...func import functional_call

__all__ = ["functional_call"]

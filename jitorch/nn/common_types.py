"""Types for annotations of modules, as `torch.nn.common_types`."""

from __future__ import annotations

from ..tensor import Tensor

_size_any_t = _size_1_t = int | tuple[int]
_size_2_t = int | tuple[int, int]
_size_3_t = int | tuple[int, int, int]
_tensor_list_t = Tensor | list[Tensor]

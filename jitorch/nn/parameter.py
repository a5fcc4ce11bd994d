"""Parameters and buffers: tensors that modules know by name."""

from __future__ import annotations

from ..tensor import Tensor, tensor


class Parameter(Tensor):
    """A tensor that a module registers, and optimizers train, when it is assigned to an attribute of the module.

    It shares the memory of `data`. Raises TypeError if `data` is no tensor, RuntimeError for an integer one with
    requires_grad=True.

    >>> import jitorch as torch
    >>> torch.nn.Parameter(torch.ones(2))
    Parameter containing:
    tensor([1., 1.], requires_grad=True)
    """

    def __init__(self, data: Tensor | None = None, requires_grad: bool = True):
        if data is None:
            data = tensor([])
        if not isinstance(data, Tensor):
            raise TypeError(f"Parameter(): argument 'data' (position 1) must be Tensor, not {type(data).__name__}")
        if requires_grad and not data.dtype.differentiable:
            raise RuntimeError("Only Tensors of floating point and complex dtype can require gradients")
        self._storage, self._meta, self._rg = data._storage, data._meta, bool(requires_grad)

    def __deepcopy__(self, memo):
        """The values alone: a copy has no gradient."""
        if id(self) not in memo:
            memo[id(self)] = type(self)(self.detach().clone(), self.requires_grad)
        return memo[id(self)]

    def __repr__(self) -> str:
        return "Parameter containing:\n" + super().__repr__()


class Buffer(Tensor):
    """A tensor that a module registers as a buffer when it is assigned to an attribute: state that is not trained.

    persistent: whether it is part of the module's `state_dict`. It shares the memory of `data`.

    >>> import jitorch as torch
    >>> m = torch.nn.Module()
    >>> m.mean = torch.nn.Buffer(torch.zeros(2))
    >>> list(m.state_dict())
    ['mean']
    """

    def __init__(self, data: Tensor | None = None, *, persistent: bool = True):
        if data is None:
            data = tensor([])
        if not isinstance(data, Tensor):
            raise TypeError(f"Buffer(): argument 'data' (position 1) must be Tensor, not {type(data).__name__}")
        self._storage, self._meta = data._storage, data._meta
        self.persistent = persistent

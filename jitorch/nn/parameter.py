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


def is_lazy(p) -> bool:
    """Whether p is a parameter or buffer that has no shape yet."""
    return isinstance(p, _Uninitialized)


class _Uninitialized:
    """A tensor without a shape: it gets one, and becomes an ordinary one, with `materialize`."""

    becomes: type

    def materialize(self, shape, device=None, dtype=None) -> None:
        """Give it a shape (its values are zero) and make it what it stands for."""
        made = zeros(tuple(shape), dtype or self.dtype)  # type: ignore[attr-defined]
        self._storage, self._meta = made._storage, made._meta
        self.__class__ = self.becomes

    @property
    def shape(self):
        raise RuntimeError(
            "Can't access the shape of an uninitialized parameter or buffer. This error usually happens in `load_state_dict` when trying to load an "
            "uninitialized parameter into an initialized one. Call `forward` to initialize the parameters before accessing their attributes."
        )

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"

    def __deepcopy__(self, memo):
        if id(self) not in memo:
            memo[id(self)] = type(self)(dtype=self.dtype)  # type: ignore[attr-defined,call-arg]
        return memo[id(self)]

    def __reduce_ex__(self, protocol):
        return type(self), (True, None, self.dtype)  # type: ignore[attr-defined]


def zeros(shape, dtype):
    import jitorch

    return jitorch.zeros(shape, dtype=dtype)


class UninitializedParameter(_Uninitialized, Parameter):
    """A parameter whose shape is not known yet."""

    becomes = Parameter

    def __init__(self, requires_grad: bool = True, device=None, dtype=None):
        Parameter.__init__(self, zeros((0,), dtype), requires_grad)


class UninitializedBuffer(_Uninitialized, Buffer):
    """A buffer whose shape is not known yet."""

    becomes = Buffer

    def __init__(self, requires_grad: bool = False, device=None, dtype=None, persistent: bool = True):
        Buffer.__init__(self, zeros((0,), dtype), persistent=persistent)

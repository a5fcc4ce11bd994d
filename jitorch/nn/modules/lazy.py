"""Modules whose number of input features is taken from the first input."""

from __future__ import annotations

import inspect
import warnings
from typing import Any

import jitorch

from ...tensor import Tensor
from ..parameter import UninitializedBuffer, UninitializedParameter, is_lazy
from .batchnorm import BatchNorm1d, BatchNorm2d, BatchNorm3d, InstanceNorm1d, InstanceNorm2d, InstanceNorm3d
from .conv import Conv1d, Conv2d, Conv3d, ConvTranspose1d, ConvTranspose2d, ConvTranspose3d
from .linear import Linear
from .module import Module


class LazyModuleMixin(Module):
    """A module with parameters that get their shapes in the first call, or when a state is loaded; it then becomes a `cls_to_become`.

    Subclasses give `initialize_parameters(*args)`, which is called with the first input.
    """

    cls_to_become: type | None = None

    def _prepare_lazy(self) -> None:
        self._load_hook = self._register_load_state_dict_pre_hook(self._materialize_from)
        self._initialize_hook = self.register_forward_pre_hook(self._infer_parameters, with_kwargs=True)

    def initialize_parameters(self, *args, **kwargs) -> None:
        raise NotImplementedError(f"initialize_parameters is not implemented for {type(self).__name__}")

    def has_uninitialized_params(self) -> bool:
        """Whether a parameter or buffer has no shape yet."""
        return any(is_lazy(p) for p in (*self._parameters.values(), *self._buffers.values()))

    def _save_to_state_dict(self, destination, prefix, keep_vars) -> None:
        for name, p in (*self._parameters.items(), *self._buffers.items()):
            if p is not None and name not in self._non_persistent_buffers_set:
                destination[prefix + name] = p if keep_vars or is_lazy(p) else p.detach()

    def _materialize_from(self, state_dict, prefix, *rest) -> None:
        """A state that is loaded gives parameters their shapes."""
        for name, p in (*self._parameters.items(), *self._buffers.items()):
            given = state_dict.get(prefix + name)
            if given is not None and is_lazy(p) and not is_lazy(given):
                with jitorch.no_grad():
                    p.materialize(given.shape)  # type: ignore[union-attr]

    def _infer_parameters(self, module, args, kwargs) -> None:
        self.initialize_parameters(*args, **kwargs)
        if self.has_uninitialized_params():
            raise RuntimeError(f"module {type(self).__name__} has not been fully initialized")
        self._initialize_hook.remove()
        self._load_hook.remove()
        del self._initialize_hook, self._load_hook
        if self.cls_to_become is not None:
            self.__class__ = self.cls_to_become


def announce() -> None:
    warnings.warn(
        "Lazy modules are a new feature under heavy development so changes to the API or functionality can happen at any moment.", stacklevel=4
    )


class _LazyMade(LazyModuleMixin):
    """A lazy form of a module: made with one feature, whose parameters are then replaced by ones without a shape."""

    sized: tuple[str, ...] = ("weight",)  # the parameters and buffers that wait for the first input
    count = "in_features"  # the attribute that tells the number of features

    def __init__(self, *args, **kwargs):
        announce()
        self._start(*args, **kwargs)
        for name in self.sized:
            held = self._parameters.get(name, self._buffers.get(name))
            if held is not None:
                (self._parameters if name in self._parameters else self._buffers)[name] = (
                    UninitializedParameter(dtype=held.dtype) if name in self._parameters else UninitializedBuffer(dtype=held.dtype)
                )
        setattr(self, self.count, 0)
        self._prepare_lazy()

    def _start(self, *args, **kwargs) -> None:
        raise NotImplementedError

    def _shapes(self, features: int) -> dict[str, tuple[int, ...]]:
        raise NotImplementedError

    def _features(self, input: Tensor) -> int:
        return input.shape[-1]

    def initialize_parameters(self, input: Tensor, *more: Any) -> None:
        features = self._features(input)
        setattr(self, self.count, features)
        if not self.has_uninitialized_params():     # a state was loaded
            return
        with jitorch.no_grad():
            for name, shape in self._shapes(features).items():
                held = getattr(self, name)
                if held is not None and is_lazy(held):
                    held.materialize(shape)
            self.reset_parameters()  # type: ignore[operator]

    def reset_parameters(self) -> None:
        if not self.has_uninitialized_params():
            super().reset_parameters()  # type: ignore[misc]


class LazyLinear(_LazyMade, Linear):
    """A `Linear` whose in_features is taken from the first input.

    >>> import jitorch as torch
    >>> layer = torch.nn.LazyLinear(3)
    >>> layer(torch.ones(2, 5)).shape, layer.in_features
    (torch.Size([2, 3]), 5)
    """

    cls_to_become = Linear

    def _start(self, out_features: int, bias: bool = True, device=None, dtype=None) -> None:
        Linear.__init__(self, 1, out_features, bias, device, dtype)

    def _shapes(self, features: int):
        return {"weight": (self.out_features, features)}


class _LazyConv(_LazyMade):
    count = "in_channels"

    def _start(self, out_channels: int, *args, **kwargs) -> None:
        names = list(inspect.signature(self.cls_to_become.__init__).parameters)[3:]  # type: ignore[misc]
        groups = (dict(zip(names, args, strict=False)) | kwargs).get("groups", 1)
        self.cls_to_become.__init__(self, groups, out_channels, *args, **kwargs)  # type: ignore[misc]

    def _features(self, input: Tensor) -> int:
        spatial = len(self.kernel_size)
        if input.ndim not in (spatial + 1, spatial + 2):
            raise RuntimeError(
                f"Expected {spatial + 1}D (unbatched) or {spatial + 2}D (batched) input to {type(self).__name__}, but got input of size: {list(input.shape)}"
            )
        return input.shape[-spatial - 1]

    def _shapes(self, features: int):
        if features % self.groups:
            raise ValueError("in_channels must be divisible by groups")
        pair = (features, self.out_channels // self.groups) if self.transposed else (self.out_channels, features // self.groups)
        return {"weight": (*pair, *self.kernel_size)}


class _LazyNorm(_LazyMade):
    count = "num_features"
    sized = ("weight", "bias", "running_mean", "running_var")

    def _start(self, eps=1e-5, momentum=0.1, affine: bool = True, track_running_stats: bool = True, device=None, dtype=None):
        self.cls_to_become.__init__(self, 1, eps, momentum, affine, track_running_stats, device, dtype)  # type: ignore[misc]

    def _features(self, input: Tensor) -> int:
        self._check_input_dim(input)
        if "Instance" in type(self).__name__ and input.ndim < max(self.ndims):
            return input.shape[0]
        return input.shape[1]

    def _shapes(self, features: int):
        return dict.fromkeys(self.sized, (features,))


def lazy(base: type, form: type) -> type:
    """The lazy form of a module class."""
    kind = type("Lazy" + base.__name__, (form, base), {"cls_to_become": base, "__module__": __name__})
    kind.__doc__ = f"A `{base.__name__}` whose number of input features is taken from the first input."
    return kind


FORMS: dict[type, tuple[type, ...]] = {
    _LazyConv: (Conv1d, Conv2d, Conv3d, ConvTranspose1d, ConvTranspose2d, ConvTranspose3d),
    _LazyNorm: (BatchNorm1d, BatchNorm2d, BatchNorm3d, InstanceNorm1d, InstanceNorm2d, InstanceNorm3d),
}
for _form, _bases in FORMS.items():
    globals().update({"Lazy" + base.__name__: lazy(base, _form) for base in _bases})
__all__ = ["LazyLinear", "LazyModuleMixin", *(n for n in list(globals()) if n.startswith(("LazyConv", "LazyBatch", "LazyInstance")))]  # noqa: PLE0604

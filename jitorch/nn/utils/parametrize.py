"""Parameters that are computed from others: `register_parametrization(layer, "weight", Symmetric())`.

The parameter's place in the module is taken by a property of a class made for that module; what it is computed from is held by
`module.parametrizations.<name>`, as `original` (or `original0`, `original1`, ... where `right_inverse` gives several tensors).
"""

from __future__ import annotations

from contextlib import contextmanager
from copy import deepcopy
from typing import Any

import jitorch

from ...tensor import Tensor
from ..modules.container import ModuleDict, ModuleList
from ..modules.module import Module
from ..parameter import Parameter

__all__ = ["ParametrizationList", "cached", "is_parametrized", "register_parametrization", "remove_parametrizations", "transfer_parametrizations_and_params",
           "type_before_parametrizations"]

_caching = 0
_cache: dict[tuple[int, str], Any] = {}


@contextmanager
def cached():
    """Within the block each parametrised tensor is computed once, and kept until the outermost block ends."""
    global _caching
    _caching += 1
    try:
        yield
    finally:
        _caching -= 1
        if not _caching:
            _cache.clear()


def place(holder: Module, name: str, tensor) -> None:
    """Register a tensor as what it is: a parameter or a buffer."""
    if isinstance(tensor, Parameter):
        holder.register_parameter(name, tensor)
    else:
        holder.register_buffer(name, tensor)


def take_over(target: Tensor, value: Tensor) -> None:
    """Make value the content of target, which other objects hold."""
    if target.shape == value.shape and target.dtype is value.dtype:
        target.copy_(value)
    else:
        target.data = value.detach().clone()


class ParametrizationList(ModuleList):
    """The parametrisations of one tensor, applied one after another to its originals. Made by `register_parametrization`."""

    original: Tensor

    def __init__(self, modules, original: Tensor, unsafe: bool = False):
        if not modules:
            raise ValueError("ParametrizationList requires one or more modules.")
        super().__init__(modules)
        self.unsafe = unsafe
        shape, dtype = original.shape, original.dtype
        new: Any = original
        with jitorch.no_grad():
            for module in reversed(list(self)):
                if hasattr(module, "right_inverse"):
                    try:
                        new = module.right_inverse(new)
                    except NotImplementedError:
                        pass
        if not isinstance(new, (Tensor, list, tuple)):
            raise ValueError(f"'right_inverse' must return a Tensor or a Sequence of tensors (list, tuple...). Got {type(new).__name__}")
        self.is_tensor, self.ntensors = isinstance(new, Tensor), 1 if isinstance(new, Tensor) else len(new)
        if isinstance(new, Tensor):
            if new.dtype is not dtype:
                raise ValueError(
                    f"When `right_inverse` outputs one tensor, it may not change the dtype.\noriginal.dtype: {dtype}\n"
                    f"right_inverse(original).dtype: {new.dtype}"
                )
            if new is not original:
                with jitorch.no_grad():
                    take_over(original, new)
            place(self, "original", original)
        else:
            for i, part in enumerate(new):
                if not isinstance(part, Tensor):
                    raise ValueError(
                        "'right_inverse' must return a Tensor or a Sequence of tensors (list, tuple...). "
                        f"Got element {i} of the sequence with type {type(part).__name__}."
                    )
                part = part.detach().clone()
                place(self, f"original{i}", Parameter(part, original.requires_grad) if isinstance(original, Parameter) else part)
        if not unsafe:
            made = self()
            if not isinstance(made, Tensor):
                raise ValueError(f"A parametrization must return a tensor. Got {type(made).__name__}.")
            for what, before, after in (("dtype", dtype, made.dtype), ("shape", shape, made.shape)):
                if before != after:
                    raise ValueError(
                        f"Registering a parametrization may not change the {what} of the tensor, unless `unsafe` flag is enabled.\n"
                        f"unparametrized {what}: {before}\nparametrized {what}: {after}"
                    )

    def originals(self) -> list[Tensor]:
        """The tensors that the parametrised one is computed from."""
        return [self.original] if self.is_tensor else [getattr(self, f"original{i}") for i in range(self.ntensors)]

    def right_inverse(self, value: Tensor) -> None:
        """Set the originals so that the parametrised tensor is value. RuntimeError for a parametrisation without `right_inverse`."""
        with jitorch.no_grad():
            new: Any = value
            for module in reversed(list(self)):
                if not hasattr(module, "right_inverse"):
                    raise RuntimeError(f"parametrization {type(module).__name__} does not implement right_inverse.")
                new = module.right_inverse(new)
            parts = [new] if self.is_tensor else list(new)
            if len(parts) != self.ntensors:
                raise ValueError(f"'right_inverse' must return a sequence of tensors of length {self.ntensors}. Got a sequence of length {len(parts)}.")
            for i, (held, part) in enumerate(zip(self.originals(), parts, strict=True)):
                if held.dtype is not part.dtype:
                    raise ValueError(f"Tensor {i} returned by `right_inverse` has dtype {part.dtype} while `original{i}` has dtype {held.dtype}")
                take_over(held, part)

    def forward(self) -> Tensor:
        first, *rest = list(self)
        x = first(*self.originals())
        for module in rest:
            x = module(x)
        return x


def property_of(name: str) -> property:
    def get(self):
        if not _caching:
            return self.parametrizations[name]()
        key = (id(self), name)
        if key not in _cache:
            _cache[key] = self.parametrizations[name]()
        return _cache[key]

    def set_(self, value):
        self.parametrizations[name].right_inverse(value)

    return property(get, set_)


def with_class_of_its_own(module: Module) -> None:
    """Properties live in classes: the module gets one that nobody else has."""
    base = module.__class__

    def copy(self, memo):
        if id(self) in memo:
            return memo[id(self)]
        twin = self.__new__(self.__class__)
        memo[id(self)] = twin
        twin.__dict__.update(deepcopy(self.__dict__, memo))
        return twin

    def pickled(self, protocol):
        raise RuntimeError("Serialization of parametrized modules is only supported through state_dict().")

    made = type(f"Parametrized{base.__name__}", (base,), {"__deepcopy__": copy, "__reduce_ex__": pickled, "__module__": base.__module__})
    module.__class__ = made
    module.parametrizations = ModuleDict()


def register_parametrization(module: Module, tensor_name: str, parametrization: Module, *, unsafe: bool = False) -> Module:
    """Compute a parameter or buffer from another tensor: module.<tensor_name> becomes parametrization(original). Returns the module.

    unsafe: shape and dtype may change. ValueError for what has no such tensor, or where they change.

    >>> import jitorch as torch
    >>> class Positive(torch.nn.Module):
    ...     def forward(self, x):
    ...         return x.exp()
    >>> layer = torch.nn.utils.parametrize.register_parametrization(torch.nn.Linear(2, 2), "weight", Positive())
    >>> bool((layer.weight > 0).all()), [n for n, _ in layer.named_parameters()]
    (True, ['bias', 'parametrizations.weight.original'])
    """
    parametrization.train(module.training)
    if is_parametrized(module, tensor_name):
        held = module.parametrizations[tensor_name]
        if not unsafe:
            with jitorch.no_grad():
                before = getattr(module, tensor_name)
                after = parametrization(before)
            if not isinstance(after, Tensor):
                raise ValueError(f"A parametrization must return a tensor. Got {type(after).__name__}.")
            if after.shape != before.shape or after.dtype is not before.dtype:
                raise ValueError(
                    "Registering a parametrization may not change the shape or dtype of the tensor, unless the `unsafe` flag is enabled.\n"
                    f"{before.dtype} {list(before.shape)} became {after.dtype} {list(after.shape)}"
                )
            if hasattr(parametrization, "right_inverse"):
                with jitorch.no_grad():
                    try:
                        held.right_inverse(parametrization.right_inverse(before))
                    except NotImplementedError:
                        pass
        held.append(parametrization)
        held.unsafe |= unsafe
        return module
    if tensor_name in module._buffers or tensor_name in module._parameters:
        original = getattr(module, tensor_name)
        made = ParametrizationList([parametrization], original, unsafe=unsafe)
        delattr(module, tensor_name)
        if not is_parametrized(module):
            with_class_of_its_own(module)
        setattr(module.__class__, tensor_name, property_of(tensor_name))
        module.parametrizations[tensor_name] = made
        return module
    raise ValueError(f"Module '{module}' does not have a parameter, a buffer, or a parametrized element with name '{tensor_name}'")


def is_parametrized(module: Module, tensor_name: str | None = None) -> bool:
    """Whether a module has a parametrised tensor (of that name)."""
    held = module.__dict__.get("_modules", {}).get("parametrizations")
    if not isinstance(held, ModuleDict):
        return False
    return len(held) > 0 if tensor_name is None else tensor_name in held


def remove_parametrizations(module: Module, tensor_name: str, leave_parametrized: bool = True) -> Module:
    """Undo: the tensor is what it was computed to be, or with leave_parametrized=False its original. Returns the module.

    ValueError where the tensor is not parametrised, or its original is made of several tensors and leave_parametrized is False.
    """
    if not is_parametrized(module, tensor_name):
        raise ValueError(f"Module {module} does not have a parametrization on {tensor_name}")
    held = module.parametrizations[tensor_name]
    if held.is_tensor:
        original = held.original
        if leave_parametrized:
            with jitorch.no_grad():
                take_over(original, getattr(module, tensor_name))
    else:
        if not leave_parametrized:
            raise ValueError("Cannot leave unparametrized (`leave_parametrized=False`) a tensor that is parametrized in terms of a sequence of tensors.")
        value = getattr(module, tensor_name).detach().clone()
        original = Parameter(value) if held.originals()[0].requires_grad else value
    delattr(module.__class__, tensor_name)
    del module.parametrizations[tensor_name]
    place(module, tensor_name, original)
    if not len(module.parametrizations):
        delattr(module, "parametrizations")
        module.__class__ = module.__class__.__bases__[0]
    return module


def type_before_parametrizations(module: Module) -> type:
    """The module's class as it was before anything was parametrised."""
    return module.__class__.__bases__[0] if is_parametrized(module) else type(module)


def transfer_parametrizations_and_params(from_module: Module, to_module: Module, tensor_name: str | None = None) -> Module:
    """Parametrise to_module as from_module is, with its values. Returns to_module."""
    if is_parametrized(from_module):
        for name in [tensor_name] if tensor_name else list(from_module.parametrizations):
            if not hasattr(to_module, name):
                setattr(to_module, name, Parameter(getattr(from_module, name).detach().clone()))
            for parametrization in from_module.parametrizations[name]:
                register_parametrization(to_module, name, parametrization)
            with jitorch.no_grad():
                for mine, theirs in zip(to_module.parametrizations[name].originals(), from_module.parametrizations[name].originals(), strict=True):
                    take_over(mine, theirs)
    return to_module

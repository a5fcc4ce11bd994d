"""Pruning: parameters multiplied by masks of zeros and ones, as `torch.nn.utils.prune`.

A pruned parameter `name` becomes `name_orig`, with the mask in the buffer `name_mask`; `name` itself is their product, computed before each
forward pass. `remove` makes the product the parameter.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import jitorch

from ..modules.module import Module

__all__ = ["BasePruningMethod", "CustomFromMask", "Identity", "L1Unstructured", "LnStructured", "PruningContainer", "RandomStructured",
           "RandomUnstructured", "custom_from_mask", "global_unstructured", "identity", "is_pruned", "l1_unstructured", "ln_structured",
           "random_structured", "random_unstructured", "remove"]


class BasePruningMethod(ABC):
    """A way of choosing what to prune: `compute_mask` gives the mask. PRUNING_TYPE says among what it chooses, where something is pruned already:
    "unstructured" (the elements left), "structured" (the channels left), "global" (all).
    """

    PRUNING_TYPE = "unstructured"
    _tensor_name: str

    def __call__(self, module: Module, inputs) -> None:
        setattr(module, self._tensor_name, self.apply_mask(module))

    @abstractmethod
    def compute_mask(self, t, default_mask):
        """A mask of t's shape, of which default_mask is pruned already."""

    def apply_mask(self, module: Module):
        """The parameter times its mask."""
        name = self._tensor_name
        original = getattr(module, name + "_orig")
        return getattr(module, name + "_mask").to(original.dtype) * original

    def prune(self, t, default_mask=None, importance_scores=None):
        """t times the mask that is computed for it."""
        mask = jitorch.ones_like(t) if default_mask is None else default_mask
        return t * self.compute_mask(t if importance_scores is None else importance_scores, mask)

    def remove(self, module: Module) -> None:
        """Make the pruned values the parameter. ValueError for one that is not pruned."""
        name = self._tensor_name
        if name + "_orig" not in module._parameters:
            raise ValueError(f"Module {module} has to be pruned before pruning can be removed")
        weight = self.apply_mask(module)
        delattr(module, name)
        original = module._parameters[name + "_orig"]
        assert original is not None
        original.data = weight.data
        del module._parameters[name + "_orig"], module._buffers[name + "_mask"]
        setattr(module, name, original)

    @classmethod
    def apply(cls, module: Module, name: str, *args, importance_scores=None, **kwargs):
        """Prune a parameter of a module, once more if it is pruned already. Returns the method."""
        if importance_scores is not None and importance_scores.shape != getattr(module, name).shape:
            raise AssertionError("importance_scores should have the same shape as parameter")
        before = [(k, hook) for k, hook in methods_of(module) if hook._tensor_name == name]
        method = cls(*args, **kwargs)
        method._tensor_name = name
        if before:
            key, old = before[0]
            del module._forward_pre_hooks[key]
            container = old if isinstance(old, PruningContainer) else PruningContainer(old)
            container.add_pruning_method(method)
            method = container
        else:
            original = module._parameters[name]
            del module._parameters[name]
            module.register_parameter(name + "_orig", original)
        original = getattr(module, name + "_orig")
        default = getattr(module, name + "_mask") if before else jitorch.ones_like(original)
        with jitorch.no_grad():
            mask = method.compute_mask(original if importance_scores is None else importance_scores, default)
        module.register_buffer(name + "_mask", mask)
        setattr(module, name, method.apply_mask(module))
        module.register_forward_pre_hook(method)
        return method


def methods_of(module: Module) -> list[tuple]:
    """The pruning methods among a module's hooks, with their keys."""
    return [(key, hook) for key, (hook, _) in module._forward_pre_hooks.items() if isinstance(hook, BasePruningMethod)]


class PruningContainer(BasePruningMethod):
    """Several methods for one parameter, one after another."""

    def __init__(self, *methods):
        self._pruning_methods: tuple = ()
        if methods:
            self._tensor_name = methods[0]._tensor_name
        for method in methods:
            self.add_pruning_method(method)

    def add_pruning_method(self, method) -> None:
        if method._tensor_name != self._tensor_name:
            raise ValueError(f"Can only add pruning methods acting on the parameter named '{self._tensor_name}' to PruningContainer {self}. "
                             f"Found '{method._tensor_name}'")
        self._pruning_methods += (method,)

    def __len__(self) -> int:
        return len(self._pruning_methods)

    def __iter__(self):
        return iter(self._pruning_methods)

    def __getitem__(self, i):
        return self._pruning_methods[i]

    def compute_mask(self, t, default_mask):
        """What the last method makes of what the earlier ones left."""
        method = self._pruning_methods[-1]
        mask = default_mask.to(t.dtype)
        if method.PRUNING_TYPE == "unstructured":
            left = mask == 1
        elif method.PRUNING_TYPE == "structured":
            others = tuple(d for d in range(t.ndim) if d != method.dim % t.ndim)
            left = (mask.sum(dim=others, keepdim=True) != 0).expand(t.shape) if others else mask != 0
            kept = left.any(dim=others) if others else left
            where = kept.nonzero().flatten()
            mask = mask.clone()
            part = method.compute_mask(t.index_select(method.dim, where), default_mask.index_select(method.dim, where))
            return mask.index_copy(method.dim % t.ndim, where, part.to(mask.dtype))
        else:
            left = jitorch.ones_like(mask, dtype=jitorch.bool)
        mask = mask.clone()
        mask[left] = method.compute_mask(t[left], default_mask[left]).to(mask.dtype)
        return mask


class Identity(BasePruningMethod):
    """Prunes nothing: makes the parameter a masked one."""

    def compute_mask(self, t, default_mask):
        return default_mask


class CustomFromMask(BasePruningMethod):
    """Prunes what a mask says."""

    PRUNING_TYPE = "global"

    def __init__(self, mask):
        self.mask = mask

    def compute_mask(self, t, default_mask):
        return default_mask * self.mask.to(default_mask.dtype)


def number_to_prune(amount, size: int) -> int:
    """How many of `size` an amount is: a part in [0, 1], or a number. ValueError for others, TypeError for no number."""
    if isinstance(amount, bool) or not isinstance(amount, (int, float)):
        raise TypeError(f"Invalid type for amount: {amount}. Must be int or float.")
    if amount < 0 or (isinstance(amount, float) and amount > 1):
        raise ValueError(f"amount={amount} should either be a float in the range [0.0, 1.0] or a non-negative integer")
    if isinstance(amount, int) and amount > size:
        raise ValueError(f"amount={amount} should be smaller than the number of parameters to prune={size}")
    return amount if isinstance(amount, int) else round(amount * size)


class _ByScore(BasePruningMethod):
    """Prunes the elements with the lowest scores."""

    def __init__(self, amount):
        number_to_prune(amount, 2**62)
        self.amount = amount

    def score(self, t):
        raise NotImplementedError

    def compute_mask(self, t, default_mask):
        n = number_to_prune(self.amount, t.numel())
        mask = default_mask.clone()
        if n:
            mask.view(-1)[self.score(t).reshape(-1).topk(n, largest=False).indices] = 0
        return mask


class L1Unstructured(_ByScore):
    """Prunes the elements of least size."""

    def score(self, t):
        return t.abs()


class RandomUnstructured(_ByScore):
    """Prunes elements at random."""

    def score(self, t):
        return jitorch.rand(t.shape)


class _Channels(BasePruningMethod):
    """Prunes whole channels along a dimension, those with the lowest scores."""

    PRUNING_TYPE = "structured"

    def __init__(self, amount, dim: int = -1):
        number_to_prune(amount, 2**62)
        self.amount, self.dim = amount, dim

    def score(self, rows):
        raise NotImplementedError

    def compute_mask(self, t, default_mask):
        if t.ndim <= 1:
            raise ValueError(f"Structured pruning can only be applied to multidimensional tensors. Found tensor of shape {t.shape} with {t.ndim} dims")
        n = number_to_prune(self.amount, t.shape[self.dim])
        if not n:
            return default_mask
        mask = default_mask.clone()
        return mask.index_fill(self.dim, self.score(t.movedim(self.dim, 0).flatten(1)).topk(n, largest=False).indices, 0)


class LnStructured(_Channels):
    """Prunes the channels of least norm."""

    def __init__(self, amount, n, dim: int = -1):
        super().__init__(amount, dim)
        self.n = n

    def score(self, rows):
        return jitorch.norm(rows, p=self.n, dim=1)


class RandomStructured(_Channels):
    """Prunes channels at random."""

    def score(self, rows):
        return jitorch.rand(rows.shape[0])


def identity(module, name: str):
    """Make a parameter a masked one, with nothing pruned."""
    Identity.apply(module, name)
    return module


def random_unstructured(module, name: str, amount):
    """Prune `amount` (a number, or a part) of a parameter's elements at random."""
    RandomUnstructured.apply(module, name, amount)
    return module


def l1_unstructured(module, name: str, amount, importance_scores=None):
    """Prune the `amount` smallest elements of a parameter.

    >>> import jitorch as torch
    >>> layer = torch.nn.Linear(3, 1)
    >>> _ = layer.weight.data.copy_(torch.tensor([[3., -1., 2.]]))
    >>> torch.nn.utils.prune.l1_unstructured(layer, "weight", 1).weight.tolist()
    [[3.0, -0.0, 2.0]]
    """
    L1Unstructured.apply(module, name, amount=amount, importance_scores=importance_scores)
    return module


def random_structured(module, name: str, amount, dim: int):
    """Prune `amount` channels along dim at random."""
    RandomStructured.apply(module, name, amount, dim)
    return module


def ln_structured(module, name: str, amount, n, dim: int, importance_scores=None):
    """Prune the `amount` channels along dim of least n-norm."""
    LnStructured.apply(module, name, amount, n, dim, importance_scores=importance_scores)
    return module


def custom_from_mask(module, name: str, mask):
    """Prune what is 0 in a mask."""
    CustomFromMask.apply(module, name, mask)
    return module


def global_unstructured(parameters, pruning_method, importance_scores=None, **kwargs) -> None:
    """Prune elements of several parameters, (module, name) each, chosen among all of them together."""
    if not isinstance(parameters, (list, tuple)):
        raise TypeError("global_unstructured(): parameters is not an Iterable")
    given = importance_scores or {}
    scores = [given.get(pair, getattr(*pair)).detach().reshape(-1) for pair in parameters]
    masks = [getattr(module, name + "_mask", jitorch.ones_like(getattr(module, name))).reshape(-1) for module, name in parameters]
    container = PruningContainer()
    container._tensor_name = "temp"
    method = pruning_method(**kwargs)
    method._tensor_name = "temp"
    if method.PRUNING_TYPE != "unstructured":
        raise TypeError(f"Only \"unstructured\" PRUNING_TYPE supported for the `pruning_method`. Found method {pruning_method} of type {method.PRUNING_TYPE}")
    container.add_pruning_method(method)
    mask = container.compute_mask(jitorch.cat(scores), jitorch.cat(masks))
    for (module, name), part in zip(parameters, mask.split([len(s) for s in scores]), strict=True):
        custom_from_mask(module, name, part.reshape(getattr(module, name).shape))


def is_pruned(module) -> bool:
    """Whether a module, or one inside it, has a pruned parameter."""
    return any(methods_of(m) for m in module.modules())


def remove(module, name: str):
    """Make a pruned parameter's values the parameter again. ValueError for one that is not pruned."""
    for key, hook in methods_of(module):
        if hook._tensor_name == name:
            hook.remove(module)
            del module._forward_pre_hooks[key]
            return module
    raise ValueError(f"Parameter '{name}' of module {module} has to be pruned before pruning can be removed")

"""Weight and spectral normalisation of the older kind: recomputed by a hook before each call. Prefer `parametrizations`."""

from __future__ import annotations

import jitorch

from ...tensor import Tensor
from .. import functional as F
from ..modules.module import Module
from ..parameter import Parameter
from .parametrizations import norm_except


class WeightNorm:
    """The hook of `weight_norm`: weight = g * v / |v|."""

    def __init__(self, name: str, dim: int | None):
        self.name, self.dim = name, -1 if dim is None else dim

    def compute(self, module: Module) -> Tensor:
        g, v = getattr(module, self.name + "_g"), getattr(module, self.name + "_v")
        return v * (g / norm_except(v, self.dim))

    def __call__(self, module: Module, inputs) -> None:
        setattr(module, self.name, self.compute(module))


def weight_norm(module: Module, name: str = "weight", dim: int | None = 0) -> Module:
    """Split a parameter into length and direction, <name>_g and <name>_v; a length for each slice along dim (None: one for all)."""
    for hook, _ in module._forward_pre_hooks.values():
        if isinstance(hook, WeightNorm) and hook.name == name:
            raise RuntimeError(f"Cannot register two weight_norm hooks on the same parameter {name}")
    made = WeightNorm(name, dim)
    weight = getattr(module, name)
    del module._parameters[name]
    module.register_parameter(name + "_g", Parameter(norm_except(weight.detach(), made.dim).clone()))
    module.register_parameter(name + "_v", Parameter(weight.detach()))
    setattr(module, name, made.compute(module))
    module.register_forward_pre_hook(made)
    return module


class SpectralNorm:
    """The hook of `spectral_norm`: weight = original / sigma, with sigma from power iterations on <name>_u and <name>_v."""

    def __init__(self, name: str, n_power_iterations: int, dim: int, eps: float):
        if n_power_iterations <= 0:
            raise ValueError(f"Expected n_power_iterations to be positive, but got n_power_iterations={n_power_iterations}")
        self.name, self.rounds, self.dim, self.eps = name, n_power_iterations, dim, eps

    def matrix(self, weight: Tensor) -> Tensor:
        return weight.movedim(self.dim, 0).flatten(1) if weight.ndim > 1 else weight.reshape(-1, 1)

    def compute(self, module: Module, iterate: bool) -> Tensor:
        weight, u, v = (getattr(module, self.name + end) for end in ("_orig", "_u", "_v"))
        matrix = self.matrix(weight)
        if iterate:
            with jitorch.no_grad():
                for _ in range(self.rounds):
                    v.copy_(F.normalize(jitorch.mv(matrix.t(), u), dim=0, eps=self.eps))
                    u.copy_(F.normalize(jitorch.mv(matrix, v), dim=0, eps=self.eps))
            u, v = u.clone(), v.clone()
        return weight / jitorch.dot(u, jitorch.mv(matrix, v))

    def __call__(self, module: Module, inputs) -> None:
        setattr(module, self.name, self.compute(module, module.training))


def spectral_norm(module: Module, name: str = "weight", n_power_iterations: int = 1, eps: float = 1e-12, dim: int | None = None) -> Module:
    """Divide a parameter by its largest singular value before each call; the parameter itself is kept as <name>_orig."""
    for hook, _ in module._forward_pre_hooks.values():
        if isinstance(hook, SpectralNorm) and hook.name == name:
            raise RuntimeError(f"Cannot register two spectral_norm hooks on the same parameter {name}")
    if dim is None:
        dim = 1 if getattr(module, "transposed", False) else 0
    made = SpectralNorm(name, n_power_iterations, dim, eps)
    weight = module._parameters[name]
    if weight is None:
        raise ValueError(f"`SpectralNorm` cannot be applied as parameter `{name}` is None")
    with jitorch.no_grad():
        rows, columns = made.matrix(weight).shape
        u, v = (F.normalize(jitorch.randn(n, dtype=weight.dtype), dim=0, eps=eps) for n in (rows, columns))
    del module._parameters[name]
    module.register_parameter(name + "_orig", weight)
    setattr(module, name, weight.detach())
    module.register_buffer(name + "_u", u)
    module.register_buffer(name + "_v", v)
    module.register_forward_pre_hook(made)
    return module


def remove(module: Module, name: str, kind: type, parts: tuple[str, ...]) -> Module:
    for key, (hook, _) in list(module._forward_pre_hooks.items()):
        if isinstance(hook, kind) and hook.name == name:  # type: ignore[attr-defined]
            with jitorch.no_grad():
                weight = hook.compute(module) if kind is WeightNorm else hook.compute(module, False)  # type: ignore[attr-defined]
            delattr(module, name)
            for part in parts:
                delattr(module, name + part)
            module.register_parameter(name, Parameter(weight.detach()))
            del module._forward_pre_hooks[key]
            return module
    raise ValueError(f"{kind.__name__.lower().replace('norm', '_norm')} of '{name}' not found in {module}")


def remove_weight_norm(module: Module, name: str = "weight") -> Module:
    """Undo `weight_norm`: the weight is a parameter again, with its present value. ValueError where there is none."""
    return remove(module, name, WeightNorm, ("_g", "_v"))


def remove_spectral_norm(module: Module, name: str = "weight") -> Module:
    """Undo `spectral_norm`: the weight is a parameter again, with its present value. ValueError where there is none."""
    return remove(module, name, SpectralNorm, ("_orig", "_u", "_v"))

"""Parametrisations of weights: by direction and length, of spectral norm one, orthogonal."""

from __future__ import annotations

import jitorch

from ...ops.linalg import LINALG
from ...tensor import Tensor
from .. import functional as F
from ..modules.module import Module
from . import parametrize

__all__ = ["orthogonal", "spectral_norm", "weight_norm"]


def norm_except(v: Tensor, dim: int) -> Tensor:
    """The norms of v's slices along dim (dim -1: of all of it), in v's number of dimensions."""
    if dim == -1:
        return v.norm()
    return v.transpose(0, dim).reshape(v.shape[dim], -1).norm(dim=1).reshape([-1 if d == dim % v.ndim else 1 for d in range(v.ndim)])


class _WeightNorm(Module):
    def __init__(self, dim: int | None = 0):
        super().__init__()
        self.dim = -1 if dim is None else dim

    def forward(self, weight_g: Tensor, weight_v: Tensor) -> Tensor:
        return weight_v * (weight_g / norm_except(weight_v, self.dim))

    def right_inverse(self, weight: Tensor):
        return norm_except(weight, self.dim), weight


def weight_norm(module: Module, name: str = "weight", dim: int = 0) -> Module:
    """Parametrise a weight by its length (`original0`) and direction (`original1`), a length for each slice along dim (None: one for all;
    Salimans and Kingma, 2016). States of the older `nn.utils.weight_norm` can be loaded. Returns the module.
    """
    parametrize.register_parametrization(module, name, _WeightNorm(dim), unsafe=True)

    def old_names(state_dict, prefix, *rest):
        for old, new in ((f"{prefix}{name}_g", "original0"), (f"{prefix}{name}_v", "original1")):
            if old in state_dict:
                state_dict[f"{prefix}parametrizations.{name}.{new}"] = state_dict.pop(old)

    module._register_load_state_dict_pre_hook(old_names)
    return module


class _SpectralNorm(Module):
    def __init__(self, weight: Tensor, n_power_iterations: int = 1, dim: int = 0, eps: float = 1e-12):
        super().__init__()
        if not -weight.ndim <= dim < weight.ndim:
            raise IndexError(f"Dimension out of range (expected to be in range of [-{weight.ndim}, {weight.ndim - 1}] but got {dim})")
        if n_power_iterations <= 0:
            raise ValueError(f"Expected n_power_iterations to be positive, but got n_power_iterations={n_power_iterations}")
        self.dim, self.eps = dim if dim >= 0 else dim + weight.ndim, eps
        if weight.ndim > 1:
            self.n_power_iterations = n_power_iterations
            matrix = self._matrix(weight.detach())
            rows, columns = matrix.shape
            self.register_buffer("_u", F.normalize(jitorch.randn(rows, dtype=matrix.dtype), dim=0, eps=eps))
            self.register_buffer("_v", F.normalize(jitorch.randn(columns, dtype=matrix.dtype), dim=0, eps=eps))
            self._iterate(matrix, 15)

    def _matrix(self, weight: Tensor) -> Tensor:
        """The weight as a matrix whose rows are its slices along dim."""
        return weight.movedim(self.dim, 0).flatten(1)

    @jitorch.no_grad()
    def _iterate(self, matrix: Tensor, rounds: int) -> None:
        for _ in range(rounds):
            self._u.copy_(F.normalize(jitorch.mv(matrix, self._v), dim=0, eps=self.eps))
            self._v.copy_(F.normalize(jitorch.mv(matrix.mH, self._u), dim=0, eps=self.eps))

    def forward(self, weight: Tensor) -> Tensor:
        if weight.ndim == 1:
            return F.normalize(weight, dim=0, eps=self.eps)
        matrix = self._matrix(weight)
        if self.training:
            self._iterate(matrix.detach(), self.n_power_iterations)
        u, v = self._u.clone(), self._v.clone()
        return weight / jitorch.vdot(u.conj(), jitorch.mv(matrix, v))

    def right_inverse(self, value: Tensor) -> Tensor:
        return value


def spectral_norm(module: Module, name: str = "weight", n_power_iterations: int = 1, eps: float = 1e-12, dim: int | None = None) -> Module:
    """Parametrise a weight as itself divided by its largest singular value, which is followed by power iterations (Miyato et al., 2018).

    dim: the weight as a matrix has its slices along dim as rows (0; 1 for transposed convolutions). ValueError where there is no such tensor.
    """
    weight = getattr(module, name, None)
    if not isinstance(weight, Tensor):
        raise ValueError(f"Module '{module}' has no parameter or buffer with name '{name}'")
    if dim is None:
        dim = 1 if getattr(module, "transposed", False) else 0
    return parametrize.register_parametrization(module, name, _SpectralNorm(weight, n_power_iterations, dim, eps))


MAPS = ("matrix_exp", "cayley", "householder")


class _Orthogonal(Module):
    """A matrix with orthonormal rows or columns, of a matrix without constraints."""

    def __init__(self, weight: Tensor, orthogonal_map: str, use_trivialization: bool = True):
        super().__init__()
        if weight.dtype.is_complex and orthogonal_map == "householder":
            raise ValueError("The householder parametrization does not support complex tensors.")
        self.shape, self.orthogonal_map = weight.shape, orthogonal_map
        if use_trivialization:
            self.register_buffer("base", None)

    def forward(self, X: Tensor) -> Tensor:
        n, k = X.shape[-2:]
        wide = n < k
        if wide:
            X, n, k = X.mT, k, n
        if self.orthogonal_map == "householder":
            A = X.tril(diagonal=-1)
            tau = 2.0 / (1.0 + (A * A).sum(dim=-2))
            Q = LINALG["householder_product"](A, tau)
            Q = Q * X.diagonal(dim1=-2, dim2=-1).int().unsqueeze(-2)
        else:
            A = X.tril()
            if n != k:  # the exponential of a square matrix: its first columns
                A = F.pad(A, (0, n - k))
            A = A - A.mH
            if self.orthogonal_map == "matrix_exp":
                Q = jitorch.matrix_exp(A)
            else:
                eye = jitorch.eye(n, dtype=A.dtype)
                Q = LINALG["solve"](jitorch.add(eye, A, alpha=-0.5), jitorch.add(eye, A, alpha=0.5))
            if n != k:
                Q = Q[..., :k]
        if getattr(self, "base", None) is not None:
            Q = self.base @ Q
        return Q.mT if wide else Q

    @jitorch.no_grad()
    def right_inverse(self, Q: Tensor) -> Tensor:
        if Q.shape != self.shape:
            raise ValueError(f"Expected a matrix or batch of matrices of shape {self.shape}. Got a tensor of shape {Q.shape}.")
        n, k = Q.shape[-2:]
        wide = n < k
        if wide:
            Q, n, k = Q.mT, k, n
        if not hasattr(self, "base"):
            if self.orthogonal_map in ("cayley", "matrix_exp"):
                raise NotImplementedError(
                    "It is not possible to assign to the matrix exponential or the Cayley parametrizations when use_trivialization=False."
                )
            A, tau = jitorch.geqrf(Q)
            diagonal = A.diagonal(dim1=-2, dim2=-1)
            diagonal.sign_()
            diagonal *= jitorch.where(tau == 0.0, 1.0, -1.0)
            return A.mT if wide else A
        if n == k:
            Q = orthonormal(Q) if not is_orthonormal(Q) else Q.clone()
        else:  # extended to a square matrix
            extra = jitorch.randn(*Q.shape[:-2], n, n - k, dtype=Q.dtype)
            Q = orthonormal(jitorch.cat([Q, extra], dim=-1))
        self.base = Q
        negative = jitorch.zeros(self.shape, dtype=Q.dtype)
        negative.diagonal(dim1=-2, dim2=-1).fill_(-1.0 if self.orthogonal_map == "householder" else 0.0)
        return negative


def orthonormal(A: Tensor) -> Tensor:
    """Q of a QR decomposition whose R has a positive diagonal: Q itself if A's columns are orthonormal already."""
    X, tau = jitorch.geqrf(A)
    Q = LINALG["householder_product"](X, tau)
    return Q * X.diagonal(dim1=-2, dim2=-1).sgn().unsqueeze(-2)


def is_orthonormal(Q: Tensor) -> bool:
    n, k = Q.shape[-2:]
    eps = 10.0 * n * jitorch.finfo(Q.dtype).eps
    return bool(jitorch.allclose(Q.mH @ Q, jitorch.eye(k, dtype=Q.dtype), atol=eps))


def orthogonal(module: Module, name: str = "weight", orthogonal_map: str | None = None, *, use_trivialization: bool = True) -> Module:
    """Parametrise a weight (a matrix or a batch of them) as one with orthonormal rows or columns.

    orthogonal_map: "matrix_exp" (the default for square and complex matrices), "cayley" or "householder". ValueError for another, and for
    tensors of fewer than two dimensions.
    """
    weight = getattr(module, name, None)
    if not isinstance(weight, Tensor):
        raise ValueError(f"Module '{module}' has no parameter or buffer with name '{name}'")
    if weight.ndim < 2:
        raise ValueError(f"Expected a matrix or batch of matrices. Got a tensor of {weight.ndim} dimensions.")
    if orthogonal_map is None:
        orthogonal_map = "matrix_exp" if weight.shape[-2] == weight.shape[-1] or weight.dtype.is_complex else "householder"
    if orthogonal_map not in MAPS:
        raise ValueError(f'orthogonal_map has to be one of "matrix_exp", "cayley", "householder". Got: {orthogonal_map}')
    made = _Orthogonal(weight, orthogonal_map, use_trivialization)
    return parametrize.register_parametrization(module, name, made, unsafe=True)

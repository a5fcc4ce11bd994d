"""Adam for sparse gradients."""

from __future__ import annotations

import math

import jitorch

from ..tensor import Tensor
from .optimizer import Rule, check_betas, number


class SparseAdam(Rule):
    """Adam that moves, and keeps averages of, only those rows of a table that its sparse gradient has ("lazy" Adam).

    For the tables of `nn.Embedding(sparse=True)` and `nn.EmbeddingBag(sparse=True)`. Raises RuntimeError for a dense gradient, ValueError for
    settings out of range.

    >>> import jitorch as torch
    >>> table = torch.nn.Embedding.from_pretrained(torch.ones(3, 2), freeze=False, sparse=True)
    >>> optimizer = torch.optim.SparseAdam(table.parameters(), lr=0.5)
    >>> table(torch.tensor([0, 2, 2])).sum().backward()
    >>> optimizer.step()
    >>> table.weight.detach()
    tensor([[0.5000, 0.5000],
            [1.0000, 1.0000],
            [0.5000, 0.5000]])
    """

    def __init__(self, params, lr: float | Tensor = 1e-3, betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8, maximize: bool = False):
        if isinstance(lr, Tensor) and lr.numel() != 1:
            raise ValueError("Tensor lr must be 1-element")
        if not 0.0 < lr:
            raise ValueError(f"Invalid learning rate: {lr}")
        if not 0.0 < eps:
            raise ValueError(f"Invalid epsilon value: {eps}")
        check_betas(betas)
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps, "maximize": maximize})
        places = [([i, j], p) for i, group in enumerate(self.param_groups) for j, p in enumerate(group["params"])]
        if wrong := [at for at, p in places if p.is_sparse]:
            raise ValueError(f"Sparse params at indices {wrong}: SparseAdam requires dense parameter tensors")
        if wrong := [at for at, p in places if p.dtype.is_complex]:
            raise ValueError(f"Complex params at indices {wrong}: SparseAdam does not support complex parameters")

    def _update(self, group) -> None:
        if any(p.grad is not None for p in group["params"]):
            raise RuntimeError("SparseAdam does not support dense gradients, please consider Adam instead")

    def _update_sparse(self, group, p, grad) -> None:
        state = self.state[p]
        if not state:
            state.update(step=0, exp_avg=jitorch.zeros_like(p), exp_avg_sq=jitorch.zeros_like(p))
        state["step"] += 1
        grad = grad.coalesce()
        if not grad._nnz():
            return
        (beta1, beta2), step = group["betas"], state["step"]
        at, g, mean, square = grad._at(), grad.values(), state["exp_avg"], state["exp_avg_sq"]
        old_mean, old_square = mean[at], square[at]
        new_mean, new_square = old_mean + (g - old_mean) * (1 - beta1), old_square + (g * g - old_square) * (1 - beta2)
        size = number(group["lr"]) * math.sqrt(1 - beta2**step) / (1 - beta1**step)
        mean.index_put_(at, new_mean)
        square.index_put_(at, new_square)
        p.index_put_(at, new_mean / (new_square.sqrt() + group["eps"]) * -size, accumulate=True)

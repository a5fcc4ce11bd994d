"""Connectionist temporal classification (Graves et al., 2006): the loss of a sequence of labels whose places in time
are not known."""
from __future__ import annotations

import numpy as np

from ..dtypes import INT, int64
from ..graph.record import Meta
from .dispatch import PUBLIC, Op, apply
from .formulas import floating
from .losses import known, reduction_of


def rows_of(targets, lengths) -> list:
    """Each sample's labels: from a padded matrix, or from one vector with all of them."""
    if targets.ndim == 2:
        return [row[:n] for row, n in zip(targets, lengths, strict=True)]
    return np.split(targets, np.cumsum(lengths)[:-1])


def lattice(row, blank: int):
    """The labels with blanks around them, and where a blank may be skipped (between labels that differ)."""
    path = np.full(2 * len(row) + 1, blank)
    path[1::2] = row
    skip = np.zeros(len(path), bool)
    skip[3::2] = path[3::2] != path[1:-2:2]
    return path, skip


def later(values, by: int):
    """The values `by` places further on, minus infinity before them."""
    return np.concatenate([np.full(by, -np.inf), values])[:len(values)]


def forward_sums(scores, skip):
    """alpha[t, s]: the logarithm of the probability of everything up to label s at time t. scores (T, S):
    log-probabilities along the path."""
    alpha = np.full(scores.shape, -np.inf)
    alpha[0, :2] = scores[0, :2]
    for t in range(1, len(scores)):
        before = np.logaddexp(alpha[t - 1], later(alpha[t - 1], 1))
        alpha[t] = np.logaddexp(before, np.where(skip, later(alpha[t - 1], 2), -np.inf)) + scores[t]
    return alpha


def likelihood(alpha):
    """The logarithm of the probability of the whole path: it ends at its last label or the blank after it."""
    return np.logaddexp.reduce(alpha[-1, -2:])


def sample(log_probs, row, n: int, length: int, blank: int):
    path, skip = lattice(row, blank)
    return path, skip, log_probs[:length, n, :].astype(np.float64)[:, path]


def ctc_reference(log_probs, targets, input_lengths, target_lengths, blank):
    check_values(targets, input_lengths, target_lengths, log_probs.shape)
    losses = []
    for n, row in enumerate(rows_of(targets, target_lengths)):
        _, skip, scores = sample(log_probs, row, n, int(input_lengths[n]), blank)
        losses.append(-likelihood(forward_sums(scores, skip)) if len(scores) else (np.inf if len(row) else 0.0))
    return np.array(losses)


def ctc_backward_reference(g, log_probs, targets, input_lengths, target_lengths, blank, zero_infinity):
    """PyTorch's gradient: exp(log_probs) minus the probability of each label at each time, given the sequence."""
    grad = np.zeros(log_probs.shape)
    for n, row in enumerate(rows_of(targets, target_lengths)):
        length = int(input_lengths[n])
        path, skip, scores = sample(log_probs, row, n, length, blank)
        if not length:
            continue
        alpha = forward_sums(scores, skip)
        total = likelihood(alpha)
        if zero_infinity and np.isinf(total):
            continue
        back_skip = np.concatenate([np.zeros(min(2, len(skip)), bool), skip[::-1][:-2]])  # the same steps, from the end
        beta = forward_sums(scores[::-1, ::-1], back_skip)[::-1, ::-1]
        both = alpha + beta - scores
        posterior = np.zeros((length, log_probs.shape[2]))
        for s, label in enumerate(path):
            posterior[:, label] += np.exp(both[:, s] - total)
        grad[:length, n] = (np.exp(log_probs[:length, n].astype(np.float64)) - posterior) * g[n]
    return grad


def no_second(ctx, *grads):
    raise NotImplementedError("the derivative for '_ctc_loss_backward' is not implemented")


def ctc_vjp(ctx, g):
    blank, zero_infinity = ctx.attrs
    return (apply(ctc_backward_op, (g, *(ctx.input(i) for i in range(4))), (blank, zero_infinity)), None, None, None)


ctc_op = Op(
    "_ctc_loss",
    infer=lambda p, *rest: Meta((p.shape[1],), p.dtype),
    vjp=ctc_vjp,
    saves="0123",
    reference=lambda p, t, i, n, blank, zero_infinity: ctc_reference(p, t, i, n, blank),
    grad_name="CtcLossBackward0",
)
ctc_backward_op = Op(
    "_ctc_loss_backward",
    infer=lambda g, p, *rest: Meta(p.shape, p.dtype),
    reference=ctc_backward_reference,
    vjp=no_second,
)


def check_values(targets, input_lengths, target_lengths, shape) -> None:
    """RuntimeError for lengths and labels that don't fit."""
    steps, _, classes = shape
    for name, lengths in (("input", input_lengths), ("target", target_lengths)):
        if (lengths < 0).any():
            raise RuntimeError(f"{name}_lengths must not be negative")
    if (input_lengths > steps).any():
        raise RuntimeError(
            f"Expected input_lengths to have value at most {steps}, but got value {input_lengths.max()} (while "
            "checking arguments for ctc_loss)"
        )
    if targets.ndim == 2 and (target_lengths > targets.shape[1]).any():
        raise RuntimeError(
            f"Expected tensor to have size at least {target_lengths.max()} at dimension 1, but got size "
            f"{targets.shape[1]} for argument #2 'targets' (while checking arguments for ctc_loss)"
        )
    if targets.ndim == 1 and target_lengths.sum() != targets.size:
        raise RuntimeError(
            f"Expected tensor to have size {target_lengths.sum()} at dimension 0, but got size {targets.size} for "
            "argument #2 'targets' (while checking arguments for ctc_loss)"
        )
    for row in rows_of(targets, target_lengths):
        if len(row) and (row.min() < 0 or row.max() >= classes):
            raise RuntimeError(
                f"ctc_loss: targets must be in [0, {classes}), but got {row.min() if row.min() < 0 else row.max()}"
            )


def lengths_tensor(lengths, name: str, batch: int):
    t = lengths if hasattr(lengths, "_meta") else PUBLIC["as_tensor"](lengths, dtype=int64)
    if t.dtype.category != INT:
        raise RuntimeError(f"{name} must be integral")
    t = t.reshape((-1,)).to(int64)
    if t.shape[0] != batch:
        raise RuntimeError(f"{name} must be of size batch_size")
    return t


def ctc_loss(
    log_probs,
    targets,
    input_lengths,
    target_lengths,
    blank: int = 0,
    reduction: str = "mean",
    zero_infinity: bool = False,
):
    """The negative log-likelihood of label sequences, summed over all alignments.

    log_probs (T, N, C) or (T, C), after log_softmax; targets (N, S), (S,), or all labels in one vector; lengths (N,),
    tensors or
    sequences. mean: each loss over its target's length, then over the batch. zero_infinity: infinite losses (targets
    longer
    than the input) count as 0. RuntimeError where sizes, lengths or labels don't fit. The computation is a library
    call.

    >>> import jitorch as torch
    >>> scores = torch.zeros(2, 1, 2).log_softmax(2)
    >>> torch.nn.functional.ctc_loss(scores, torch.tensor([[1]]), (2,), (1,))
    tensor(0.2877)
    """
    reduction = reduction_of(reduction)
    floating("ctc_loss_cpu", log_probs._meta)
    single = log_probs.ndim == 2
    if single:
        log_probs = log_probs.unsqueeze(1)
        targets = targets.reshape((1, -1)) if targets.ndim else targets.reshape((1, 1))
    batch, classes = log_probs.shape[1], log_probs.shape[2]
    if not 0 <= blank < classes:
        raise RuntimeError("blank must be in label range")
    inputs, lengths = (
        lengths_tensor(input_lengths, "input_lengths", batch),
        lengths_tensor(target_lengths, "target_lengths", batch),
    )
    targets = targets.to(int64)
    labels, steps, sizes = known(targets), known(inputs), known(lengths)
    if labels is not None and steps is not None and sizes is not None:
        check_values(labels, steps, sizes, log_probs.shape)
    loss = apply(ctc_op, (log_probs, targets, inputs, lengths), (int(blank), bool(zero_infinity)))
    if zero_infinity:
        loss = PUBLIC["where"](loss == float("inf"), 0.0, loss)
    if reduction == "mean":
        return (loss / lengths.clamp_min(1).to(loss.dtype)).mean()
    if reduction == "sum":
        return loss.sum()
    return loss.squeeze(0) if single else loss


PUBLIC["ctc_loss"] = (
    lambda log_probs, targets, input_lengths, target_lengths, blank=0, reduction=1, zero_infinity=False: ctc_loss(
        log_probs, targets, input_lengths, target_lengths, blank, reduction, zero_infinity
    )
)

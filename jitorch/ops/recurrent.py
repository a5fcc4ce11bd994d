"""Recurrent layers over whole sequences: one op forward and one back, whatever the number of steps.

A cell is a formula (see formulas.py), for arrays, for tensors, and for the step of a `recur` of the IR. The loop over time is Python's in
the former two. Products of weights with the inputs of all steps, and the gradient of the recurrent weights, are single matrix products outside.
"""

from __future__ import annotations

import numpy as np

from ..autograd.node import state
from ..graph.record import Meta
from .dispatch import PUBLIC, Op, apply
from .formulas import NUMPY, floating, gradient_of

GATES = {"RNN_TANH": 1, "RNN_RELU": 1, "LSTM": 4, "GRU": 3}
KEPT = {"RNN_TANH": 0, "RNN_RELU": 0, "LSTM": 4, "GRU": 4}  # values a step keeps for its gradient, each (N, H)


# -- what a formula over time needs beside maps, on arrays and tensors ---------------------------------------------------
def columns(v, k: int, width: int):
    """Columns k * width to (k + 1) * width of a matrix."""
    return v[:, k * width : (k + 1) * width]


def product(m, x, w, transposed: bool):
    """x @ w, or x @ w.T."""
    if transposed:
        w = w.T if m is NUMPY else w.t()
    return x @ w


def joined(m, steps: list[list]):
    """Parts (N, H) of each step, side by side, for all steps: (T, N, parts * H)."""
    if m is NUMPY:
        return np.stack([np.concatenate(parts, axis=1) for parts in steps])
    return PUBLIC["stack"]([PUBLIC["cat"](parts, dim=1) for parts in steps])


# -- forward ---------------------------------------------------------------------------------------------------------------
def cell(m, mode: str, x: list, u: list, h, c):
    """One step: gates from the input (x) and from the state (u). Returns h, c and what its gradient needs."""
    if mode == "LSTM":
        i, f, o = (m.map("sigmoid", x[k] + u[k]) for k in (0, 1, 3))
        g = m.map("tanh", x[2] + u[2])
        c = f * c + i * g
        return o * m.map("tanh", c), c, [i, f, g, o]
    if mode == "GRU":
        r, z = (m.map("sigmoid", x[k] + u[k]) for k in (0, 1))
        n = m.map("tanh", x[2] + r * u[2])
        return n + z * (h - n), None, [r, z, n, u[2]]
    a = x[0] + u[0]
    return (m.map("tanh", a) if mode == "RNN_TANH" else m.map("maximum", a, 0)), None, []


def forward(m, gates, w, bias, h0, c0, mode: str, reverse: bool):
    """(outputs, cell states if LSTM, what is kept if anything): each (T, N, ...)."""
    steps, width = gates.shape[0], w.shape[1]
    h, c = h0, c0
    outputs, cells, kept = [[None]] * steps, [[None]] * steps, [[None]] * steps
    for t in reversed(range(steps)) if reverse else range(steps):
        u = product(m, h, w, True)
        u = u if bias is None else u + bias
        n = range(GATES[mode])
        h, c, keep = cell(m, mode, [columns(gates[t], k, width) for k in n], [columns(u, k, width) for k in n], h, c)
        outputs[t], cells[t], kept[t] = [h], [c], keep
    results = [joined(m, outputs)]
    if c0 is not None:
        results.append(joined(m, cells))
    if KEPT[mode]:
        results.append(joined(m, kept))
    return tuple(results)


def lower(b, gates, w, bias, h0, c0, mode: str, reverse: bool):
    """The same as one loop of the IR."""
    if not gates.numel or not w.numel:
        return None
    r = b.recurrence(w.shape[1], w, turned=True, first=h0, reverse=reverse)
    n = range(GATES[mode])
    u = [r.product(k) if bias is None else r.product(k) + r.vector(bias, k) for k in n]
    c = None if c0 is None else r.previous(1, c0)
    h, c, keep = cell(r.step, mode, [r.sequence(gates, k) for k in n], u, r.previous(0, h0), c)
    return r.finish([x for x in ([h], [] if c is None else [c], keep) if x], fed=0)


# -- backward --------------------------------------------------------------------------------------------------------------
def cell_backward(m, mode: str, keep: list, h, h_before, c, c_before, dh, dc):
    """Gradients of one step: of the gates through the input and through the state, of h directly, and of c."""
    if mode == "LSTM":
        i, f, g, o = keep
        top = m.map("tanh", c)
        through = dh * o * (1 - top * top)
        dc = through if dc is None else dc + through
        d = [dc * g * i * (1 - i), dc * c_before * f * (1 - f), dc * i * (1 - g * g), dh * top * o * (1 - o)]
        return d, d, None, dc * f
    if mode == "GRU":
        r, z, n, u = keep
        dn = dh * (1 - z) * (1 - n * n)
        dr, dz = dn * u * r * (1 - r), dh * (h_before - n) * z * (1 - z)
        return [dr, dz, dn], [dr, dz, dn * r], dh * z, None
    d = [dh * (1 - h * h) if mode == "RNN_TANH" else m.where(h > 0, dh, dh * 0)]
    return d, d, None, None


def backward(dy, dcells, w, h0, c0, y, cells, kept, mode: str, reverse: bool):
    """(gradient of the gates through the input, through the state if GRU, of h0, of c0 if LSTM)."""
    m = NUMPY
    steps, width = y.shape[0], w.shape[1]
    into: list = [None] * steps
    through: list = [None] * steps
    dh = dc = None
    order = list(range(steps))
    if reverse:
        order.reverse()
    for place in reversed(range(steps)):
        t = order[place]
        before = order[place - 1] if place else None
        h_before = h0 if before is None else y[before]
        c_before = c0 if before is None or c0 is None else cells[before]
        dh = added(dh, None if dy is None else dy[t])
        dc = added(dc, None if dcells is None else dcells[t])
        dh = y[t] * 0 if dh is None else dh
        keep = [columns(kept[t], k, width) for k in range(KEPT[mode])]
        into[t], through[t], direct, dc = cell_backward(m, mode, keep, y[t], h_before, None if c0 is None else cells[t], c_before, dh, dc)
        dh = product(m, np.concatenate(through[t], axis=1), w, False)
        dh = dh if direct is None else dh + direct
    results = [joined(m, into)]
    if mode == "GRU":
        results.append(joined(m, through))
    return (*results, dh) if c0 is None else (*results, dh, dc)


def added(a, b):
    return b if a is None else a if b is None else a + b


def lower_backward(b, dy, dcells, w, h0, c0, y, cells, kept, mode: str, reverse: bool):
    """The same as one loop of the IR, against the direction of the forward one."""
    if not y.numel:
        return None
    r = b.recurrence(w.shape[1], w, turned=False, first=None, reverse=not reverse)
    dh = added(r.product(0), None if dy is None else r.sequence(dy, 0))
    dh = dh + r.carried(0) if mode == "GRU" else dh
    h, h_before = r.sequence(y, 0), r.next(y, h0)
    c, c_before, dc = (None, None, None) if c0 is None else (r.sequence(cells, 0), r.next(cells, c0), r.carried(0))
    dc = dc if dcells is None else added(dc, r.sequence(dcells, 0))
    keep = [r.sequence(kept, k) for k in range(KEPT[mode])]
    into, through, direct, dc = cell_backward(r.step, mode, keep, h, h_before, c, c_before, dh, dc)
    carried = [x for x in (direct, dc) if x is not None]
    finals = [[("product", 0)] + [("carried", 0)] * (direct is not None)] + [[("carried", 0)]] * (c0 is not None)
    results = [into, through] if mode == "GRU" else [into]
    return r.finish(results, len(results) - 1, carried, finals)


# -- the entries -------------------------------------------------------------------------------------------------------------
def infer(gates, w, bias, h0, c0, mode, reverse):
    steps, n, _ = gates.shape
    floating("rnn_layer", gates)
    width, kept = w.shape[1], KEPT[mode]
    shapes = [width] + [width] * (c0 is not None) + ([kept * width] if kept else [])
    return tuple(Meta((steps, n, k), gates.dtype) for k in shapes)


def infer_backward(dy, dcells, w, h0, c0, y, cells, kept, mode, reverse):
    steps, n, width = y.shape
    gates = Meta((steps, n, GATES[mode] * width), y.dtype)
    state_meta = Meta((n, width), y.dtype)
    return (gates,) * (2 if mode == "GRU" else 1) + (state_meta,) * (1 if c0 is None else 2)


def gradients(ctx, dy, *others):
    """Gradients of the gates, the recurrent weight and bias, and the first state."""
    if state.enabled:  # to be differentiated again
        return gradient_of(forward)(ctx, dy, *others)
    mode, reverse = ctx.attrs
    w, h0, c0 = ctx.input(1), ctx.input(3), ctx.input(4)
    y = ctx.output(0).detach()
    cells = ctx.output(1).detach() if c0 is not None else None
    kept = ctx.output(len(ctx.out_metas) - 1).detach() if KEPT[mode] else None
    dcells = others[0] if c0 is not None else None
    results = apply(backward_op, (dy, dcells, w, h0, c0, y, cells, kept), (mode, reverse))
    into, through = results[0], results[1 if mode == "GRU" else 0]
    first = h0.unsqueeze(0)
    before = PUBLIC["cat"]([y[1:], first] if reverse else [first, y[:-1]])
    flat = through.reshape(-1, through.shape[2])
    dw = flat.t() @ before.reshape(-1, w.shape[1]) if ctx.needs[1] else None
    dbias = flat.sum(0) if ctx.needs[2] else None
    states = results[2:] if mode == "GRU" else results[1:]
    return (into, dw, dbias, states[0], states[1] if c0 is not None else None)


layer_op = Op(
    "rnn_layer",
    infer=infer,
    reference=lambda *args: forward(NUMPY, *args),
    lower=lower,
    vjp=gradients,
    saves="01234o",
)
backward_op = Op(
    "rnn_layer_backward",
    infer=infer_backward,
    reference=backward,
    lower=lower_backward,
)


def rnn_layer(mode: str, gates, w_hh, b_hh, h0, c0=None, reverse: bool = False):
    """One layer and direction of a recurrent network, from the gates' part that comes from the input.

    gates (T, N, G * H); w_hh (G * H, H), b_hh (G * H,) or None; h0 and, for "LSTM", c0 (N, H). Returns the outputs
    (T, N, H) and the last states as a tuple. RuntimeError for no steps.
    """
    if gates.shape[0] == 0:
        raise RuntimeError("Expected sequence length to be larger than 0 in RNN")
    results = apply(layer_op, (gates, w_hh, b_hh, h0, c0), (mode, reverse))
    results = results if isinstance(results, tuple) else (results,)
    last = 0 if reverse else -1
    states = (results[0][last],) if c0 is None else (results[0][last], results[1][last])
    return results[0], states

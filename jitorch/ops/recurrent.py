"""Recurrent layers over whole sequences: one op forward and one back, whatever the number of steps.

The formulas (see formulas.py) are loops over time that the lowering unrolls. Products of weights with the inputs of all
steps, and the gradient of the recurrent weights, are single matrix products outside.
"""

from __future__ import annotations

import numpy as np

from ..autograd.node import state
from ..graph.record import Meta
from .dispatch import PUBLIC, Op, apply
from .formulas import NUMPY, TENSORS, floating, gradient_of

GATES = {"RNN_TANH": 1, "RNN_RELU": 1, "LSTM": 4, "GRU": 3}
KEPT = {"RNN_TANH": 0, "RNN_RELU": 0, "LSTM": 4, "GRU": 4}  # values a step keeps for its gradient, each (N, H)


# -- what a formula over time needs beside maps, in each reading ---------------------------------------------------------
def part(m, v, t: int, k: int, width: int):
    """Columns k * width to (k + 1) * width of v[t]: (N, width) of a (T, N, G)."""
    if m is NUMPY or m is TENSORS:
        return v[t][:, k * width : (k + 1) * width]
    _, n, g = v.shape
    return m.strided(v, (n, width), (g, 1), t * n * g + k * width)


def columns(m, v, k: int, width: int):
    """Columns k * width to (k + 1) * width of a matrix."""
    if m is NUMPY or m is TENSORS:
        return v[:, k * width : (k + 1) * width]
    return m.strided(v, (v.shape[0], width), (v.shape[1], 1), k * width)


def product(m, x, w, transposed: bool):
    """x @ w, or x @ w.T."""
    if m is NUMPY:
        return x @ (w.T if transposed else w)
    if m is TENSORS:
        return x @ (w.t() if transposed else w)
    return m.dot(x, m.permute(w, (1, 0)) if transposed else w)


def joined(m, steps: list[list]):
    """Parts (N, H) of each step, side by side, for all steps: (T, N, parts * H)."""
    if m is NUMPY:
        return np.stack([np.concatenate(parts, axis=1) for parts in steps])
    if m is TENSORS:
        return PUBLIC["stack"]([PUBLIC["cat"](parts, dim=1) for parts in steps])
    n, h = steps[0][0].shape
    g = h * len(steps[0])
    pieces = [(v, (g, 1), t * n * g + k * h) for t, parts in enumerate(steps) for k, v in enumerate(parts)]
    return m.place(None, (len(steps), n, g), pieces)


def side_by_side(m, parts: list):
    """Parts (N, H) as one matrix."""
    if m is NUMPY:
        return np.concatenate(parts, axis=1)
    if m is TENSORS:
        return PUBLIC["cat"](parts, dim=1)
    n, h = parts[0].shape
    g = h * len(parts)
    return m.place(None, (n, g), [(v, (g, 1), k * h) for k, v in enumerate(parts)])


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
        h, c, keep = cell(m, mode, [part(m, gates, t, k, width) for k in n], [columns(m, u, k, width) for k in n], h, c)
        outputs[t], cells[t], kept[t] = [h], [c], keep
    results = [joined(m, outputs)]
    if c0 is not None:
        results.append(joined(m, cells))
    if KEPT[mode]:
        results.append(joined(m, kept))
    return tuple(results)


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


def backward(m, dy, dcells, w, h0, c0, y, cells, kept, mode: str, reverse: bool):
    """(gradient of the gates through the input, through the state if GRU, of h0, of c0 if LSTM)."""
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
        h_before = h0 if before is None else part(m, y, before, 0, width)
        c_before = c0 if before is None or c0 is None else part(m, cells, before, 0, width)
        here = None if dy is None else part(m, dy, t, 0, width)
        dh = here if dh is None else dh if here is None else dh + here
        here = None if dcells is None else part(m, dcells, t, 0, width)
        dc = here if dc is None else dc if here is None else dc + here
        h, c = part(m, y, t, 0, width), None if c0 is None else part(m, cells, t, 0, width)
        dh = h * 0 if dh is None else dh
        keep = [part(m, kept, t, k, width) for k in range(KEPT[mode])]
        into[t], through[t], direct, dc = cell_backward(m, mode, keep, h, h_before, c, c_before, dh, dc)
        dh = product(m, side_by_side(m, through[t]), w, False)
        dh = dh if direct is None else dh + direct
    results = [joined(m, into)]
    if mode == "GRU":
        results.append(joined(m, through))
    return (*results, dh) if c0 is None else (*results, dh, dc)


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
    lower=forward,
    vjp=gradients,
    saves="01234o",
)
backward_op = Op(
    "rnn_layer_backward",
    infer=infer_backward,
    reference=lambda *args: backward(NUMPY, *args),
    lower=backward,
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

"""Samples of recurrent layers: whole sequences as one op, forward and backward."""
from __future__ import annotations

import itertools

MODES = {"RNN_TANH": ("rnn_tanh", 1), "RNN_RELU": ("rnn_relu", 1), "LSTM": ("lstm", 4), "GRU": ("gru", 3)}


def layer(mode: str, bidirectional: bool = False, bias: bool = True, steps: int = 3, dtype: str = "float32"):
    """One layer of a module, with its weights as what gradients are taken with respect to."""
    name, gates = MODES[mode]

    def sample(torch, t):
        def make(*shape):
            return t(*shape, dtype=dtype, low=-0.9, high=0.9)

        x, directions = make(steps, 2, 3), 2 if bidirectional else 1
        shapes = [(gates * 4, 3), (gates * 4, 4)] + ([(gates * 4,), (gates * 4,)] if bias else [])
        weights = [make(*shape) for _ in range(directions) for shape in shapes]
        state = [make(directions, 2, 4) for _ in range(2 if mode == "LSTM" else 1)]
        if hasattr(torch, name):
            hx = tuple(state) if mode == "LSTM" else state[0]
            return getattr(torch, name)(x, hx, weights, bias, 1, 0.0, False, bidirectional, False)
        from jitorch.ops.recurrent import rnn_layer

        sides = []
        for d in range(directions):
            w_ih, w_hh, *biases = weights[d * len(shapes) : (d + 1) * len(shapes)]
            b_ih, b_hh = biases if bias else (None, None)
            gate = torch.nn.functional.linear(x, w_ih, b_ih)
            sides.append(rnn_layer(mode, gate, w_hh, b_hh, *(s[d] for s in state), reverse=d == 1))
        outputs = torch.cat([y for y, _ in sides], dim=-1)
        return (outputs, *(torch.stack([s[i] for _, s in sides]) for i in range(len(state))))

    return sample


EVERY = [layer(mode, both, bias) for mode, both, bias in itertools.product(MODES, (False, True), (True, False))]
EVERY += [layer("LSTM", steps=1), layer("GRU", dtype="float64")]


def gradient(sample, only_last_state: bool = False):
    """First gradients alone, which have a closed form."""

    def function(torch, t):
        results = sample(torch, t)
        chosen = results[-1:] if only_last_state else results
        loss = sum((r * (i + 1.5) * r).sum() for i, r in enumerate(chosen))
        return torch.autograd.grad(loss, t.leaves)

    return function


SAMPLES = {
    "rnn_layer": EVERY,
    "rnn_layer_backward": [gradient(sample) for sample in EVERY]
    + [gradient(layer(mode, True), only_last_state=True) for mode in MODES],
}

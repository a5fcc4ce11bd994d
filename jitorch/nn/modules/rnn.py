"""Recurrent networks: RNN, LSTM and GRU over sequences, and their cells for one step.

A layer is one matrix product for the inputs of all steps, then a cell for each step (one op for all of them, see
ops/recurrent.py, except for packed sequences and projections). Weights have PyTorch's names and
the order of gates: i, f, g, o for LSTM and r, z, n for GRU.
"""

from __future__ import annotations

import math
import numbers
import warnings

import jitorch

from ...ops.recurrent import rnn_layer
from ...tensor import Tensor
from .. import functional as F
from .. import init
from ..parameter import Parameter
from ..utils.rnn import PackedSequence
from .linear import add_parameter
from .module import Module


# -- one step: (what the input contributes to the gates, the state, weights) -> the next state -------------------------
def rnn_step(activation: str):
    def step(gates, state, w_hh, b_hh, w_hr=None):
        return (getattr(gates + F.linear(state[0], w_hh, b_hh), activation)(),)

    return step


def lstm_step(gates, state, w_hh, b_hh, w_hr=None):
    h, c = state
    i, f, g, o = (gates + F.linear(h, w_hh, b_hh)).chunk(4, dim=-1)
    c = f.sigmoid() * c + i.sigmoid() * g.tanh()
    h = o.sigmoid() * c.tanh()
    return (h if w_hr is None else F.linear(h, w_hr)), c


def gru_step(gates, state, w_hh, b_hh, w_hr=None):
    h = state[0]
    xr, xz, xn = gates.chunk(3, dim=-1)
    hr, hz, hn = F.linear(h, w_hh, b_hh).chunk(3, dim=-1)
    z = (xz + hz).sigmoid()
    n = (xn + (xr + hr).sigmoid() * hn).tanh()
    return (n + z * (h - n),)


STEPS = {
    "RNN_TANH": (rnn_step("tanh"), 1),
    "RNN_RELU": (rnn_step("relu"), 1),
    "LSTM": (lstm_step, 4),
    "GRU": (gru_step, 3),
}


def run_steps(step, gates: list[Tensor], state: tuple, weights: tuple, reverse: bool):
    """A cell over time. gates: one tensor a step, whose batch may shrink (packed sequences). Returns the outputs and
    the last state.
    """
    first = state
    state = tuple(s[: gates[-1].shape[0]] for s in first) if reverse else first
    outputs: list[Tensor] = []
    ended: list[tuple] = []  # states of sequences that are over, the shorter the earlier
    for g in reversed(gates) if reverse else gates:
        n, held = g.shape[0], state[0].shape[0]
        if n < held:
            ended.append(tuple(s[n:] for s in state))
            state = tuple(s[:n] for s in state)
        elif n > held:
            state = tuple(jitorch.cat([s, f[held:n]]) for s, f in zip(state, first, strict=True))
        state = step(g, state, *weights)
        outputs.append(state[0])
    if ended:
        state = tuple(jitorch.cat([s, *(e[i] for e in reversed(ended))]) for i, s in enumerate(state))
    return outputs[::-1] if reverse else outputs, state


class RNNBase(Module):
    """What RNN, LSTM and GRU share: parameters, checks and the walk over layers and directions."""

    __constants__ = [
        "mode",
        "input_size",
        "hidden_size",
        "num_layers",
        "bias",
        "batch_first",
        "dropout",
        "bidirectional",
        "proj_size",
    ]

    def __init__(
        self,
        mode: str,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        proj_size: int = 0,
        device=None,
        dtype=None,
    ):
        super().__init__()
        check_sizes(mode, input_size, hidden_size, num_layers, bias, batch_first, dropout, proj_size)
        self.mode, self.input_size, self.hidden_size, self.num_layers = mode, input_size, hidden_size, num_layers
        self.bias, self.batch_first, self.dropout = bias, batch_first, float(dropout)
        self.bidirectional, self.proj_size = bidirectional, proj_size
        gate_size, directions, out_size = (
            STEPS[mode][1] * hidden_size,
            2 if bidirectional else 1,
            proj_size or hidden_size,
        )
        self._all_weights: list[list[str]] = []
        for layer in range(num_layers):
            for direction in range(directions):
                suffix = f"l{layer}" + ("_reverse" if direction else "")
                width = input_size if layer == 0 else out_size * directions
                shapes: dict[str, tuple[int, ...]] = {
                    "weight_ih_": (gate_size, width),
                    "weight_hh_": (gate_size, out_size),
                }
                if bias:
                    shapes |= {"bias_ih_": (gate_size,), "bias_hh_": (gate_size,)}
                if proj_size:
                    shapes["weight_hr_"] = (proj_size, hidden_size)
                for name, shape in shapes.items():
                    add_parameter(self, name + suffix, shape, True, device, dtype)
                self._all_weights.append([name + suffix for name in shapes])
        self.reset_parameters()

    def reset_parameters(self) -> None:
        bound = 1.0 / math.sqrt(self.hidden_size)
        for p in self.parameters():
            init.uniform_(p, -bound, bound)

    def flatten_parameters(self) -> None:
        """Does nothing: weights need no special layout here. Kept for programs that call it."""

    @property
    def all_weights(self) -> list[list[Parameter]]:
        return [[getattr(self, name) for name in names] for names in self._all_weights]

    def extra_repr(self) -> str:
        text = f"{self.input_size}, {self.hidden_size}"
        for name, usual in (
            ("proj_size", 0),
            ("num_layers", 1),
            ("bias", True),
            ("batch_first", False),
            ("dropout", 0),
            ("bidirectional", False),
        ):
            if getattr(self, name) != usual:
                text += f", {name}={getattr(self, name)}"
        return text

    def forward(self, input, hx=None):
        if isinstance(input, PackedSequence):
            return self._forward_packed(input, hx)
        if input.ndim not in (2, 3):
            raise ValueError(f"{type(self).__name__}: Expected input to be 2D or 3D, got {input.ndim}D instead")
        batched, time = input.ndim == 3, 1 if self.batch_first and input.ndim == 3 else 0
        if not batched:
            input = input.unsqueeze(1)
        x = input.transpose(0, 1) if time else input
        state = self._first_state(hx, x.shape[1], batched, x.dtype)
        self._check(x, state)
        x, state = self._layers(x, [x.shape[1]] * x.shape[0], state)
        if time:
            x = x.transpose(0, 1)
        if not batched:
            x, state = x.squeeze(1), tuple(s.squeeze(1) for s in state)
        return x, self._hidden(state)

    def _forward_packed(self, input: PackedSequence, hx):
        data, batch_sizes, sorted_indices, unsorted_indices = input
        sizes = batch_sizes.tolist()
        state = self._first_state(hx, sizes[0], True, data.dtype)
        if hx is not None and sorted_indices is not None:
            state = tuple(s.index_select(1, sorted_indices) for s in state)
        self._check(data, state, sizes[0])
        out, state = self._layers(data, sizes, state)
        if unsorted_indices is not None:
            state = tuple(s.index_select(1, unsorted_indices) for s in state)
        return PackedSequence(out, batch_sizes, sorted_indices, unsorted_indices), self._hidden(state)

    def _state_sizes(self) -> tuple[int, ...]:
        """The widths of the tensors of a state."""
        return (self.hidden_size,)

    def _hidden(self, state: tuple):
        """The state as users see it."""
        return state[0]

    def _first_state(self, hx, batch: int, batched: bool, dtype) -> tuple:
        layers = self.num_layers * (2 if self.bidirectional else 1)
        if hx is None:
            return tuple(jitorch.zeros(layers, batch, n, dtype=dtype) for n in self._state_sizes())
        state = (hx,) if isinstance(hx, Tensor) else tuple(hx)
        dims = 3 if batched else 2
        if any(s.ndim != dims for s in state):
            kind, names = ("batched 3-D" if batched else "unbatched 2-D"), ("hx" if len(state) == 1 else "hx and cx")
            found = (
                f"{state[0].ndim}-D tensor"
                if len(state) == 1
                else f"({', '.join(f'{s.ndim}-D' for s in state)}) tensors"
            )
            raise RuntimeError(f"For {kind} input, {names} should also be {dims}-D but got {found}")
        return state if batched else tuple(s.unsqueeze(1) for s in state)

    def _check(self, x: Tensor, state: tuple, batch: int | None = None) -> None:
        weight = getattr(self, self._all_weights[0][0])
        if x.dtype is not weight.dtype:
            raise ValueError(
                f"RNN input dtype ({x.dtype}) does not match weight dtype ({weight.dtype}). Convert input: "
                f"input.to({weight.dtype}), or convert model: model.to({x.dtype})"
            )
        if x.shape[-1] != self.input_size:
            raise RuntimeError(
                f"input.size(-1) must be equal to input_size. Expected {self.input_size}, got {x.shape[-1]}"
            )
        layers, batch = self.num_layers * (2 if self.bidirectional else 1), x.shape[1] if batch is None else batch
        for i, (s, n) in enumerate(zip(state, self._state_sizes(), strict=True)):
            if tuple(s.shape) != (layers, batch, n):
                which = "hidden" if len(state) == 1 else f"hidden[{i}]"
                raise RuntimeError(f"Expected {which} size {(layers, batch, n)}, got {list(s.shape)}")

    def _layers(self, x: Tensor, sizes: list[int], state: tuple) -> tuple[Tensor, tuple]:
        """All layers over x: (T, N, features), or (sum of sizes, features) of a packed sequence, with the batch size of
        each step.
        """
        step, directions = STEPS[self.mode][0], 2 if self.bidirectional else 1
        lasts: list[tuple] = []
        for layer in range(self.num_layers):
            sides = []
            for direction in range(directions):
                k = layer * directions + direction
                names = self._all_weights[k]
                w_ih, w_hh = getattr(self, names[0]), getattr(self, names[1])
                b_ih, b_hh = (getattr(self, names[2]), getattr(self, names[3])) if self.bias else (None, None)
                w_hr = getattr(self, names[-1]) if self.proj_size else None
                gates, first = F.linear(x, w_ih, b_ih), [s[k] for s in state]
                if x.ndim == 3 and w_hr is None:
                    outputs, last = rnn_layer(self.mode, gates, w_hh, b_hh, *first, reverse=direction == 1)  # type: ignore[misc]
                else:
                    each = list(gates.unbind(0)) if x.ndim == 3 else list(gates.split(sizes))
                    some, last = run_steps(step, each, tuple(first), (w_hh, b_hh, w_hr), direction == 1)
                    outputs = jitorch.stack(some) if x.ndim == 3 else jitorch.cat(some)
                sides.append(outputs)
                lasts.append(last)
            x = sides[0] if directions == 1 else jitorch.cat(sides, dim=-1)
            if self.dropout > 0 and self.training and layer < self.num_layers - 1:
                x = F.dropout(x, self.dropout, True)
        return x, tuple(jitorch.stack([last[i] for last in lasts]) for i in range(len(state)))


def check_sizes(mode, input_size, hidden_size, num_layers, bias, batch_first, dropout: float, proj_size) -> None:
    """Raise PyTorch's errors for the arguments of a recurrent network."""
    if not isinstance(dropout, numbers.Real) or not 0 <= dropout <= 1 or isinstance(dropout, bool):
        raise ValueError(
            "dropout should be a number in range [0, 1] representing the probability of an element being zeroed"
        )
    if dropout > 0 and num_layers == 1:
        warnings.warn(
            "dropout option adds dropout after all but last recurrent layer, so non-zero dropout expects num_layers "
            f"greater than 1, but got dropout={dropout} and num_layers={num_layers}",
            stacklevel=4,
        )
    for name, value in (("bias", bias), ("batch_first", batch_first)):
        if not isinstance(value, bool):
            raise TypeError(f"{name} should be of type bool, got: {type(value).__name__}")
    for name, value in (("input_size", input_size), ("hidden_size", hidden_size)):
        if not isinstance(value, int):
            raise TypeError(f"{name} should be of type int, got: {type(value).__name__}")
        if value <= 0:
            raise ValueError(f"{name} must be greater than zero")
    if num_layers <= 0:
        raise ValueError("num_layers must be greater than zero")
    if proj_size < 0:
        raise ValueError("proj_size should be a positive integer or zero to disable projections")
    if proj_size >= hidden_size:
        raise ValueError("proj_size has to be smaller than hidden_size")
    if mode not in STEPS:
        raise ValueError("Unrecognized RNN mode: " + mode)


class RNN(RNNBase):
    """h_t = tanh(W_ih x_t + b_ih + W_hh h_(t-1) + b_hh), in layers; nonlinearity may be 'relu'.

    input (L, N, in), with batch_first (N, L, in), (L, in), or a PackedSequence; hx (layers * directions, N, hidden).
    Returns the outputs of the last layer and the last hidden states.

    >>> import jitorch as torch
    >>> out, h = torch.nn.RNN(4, 6, num_layers=2)(torch.zeros(5, 3, 4))
    >>> out.shape, h.shape
    (torch.Size([5, 3, 6]), torch.Size([2, 3, 6]))
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        nonlinearity: str = "tanh",
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        device=None,
        dtype=None,
        **kwargs,
    ):
        refuse_projection(kwargs)
        if nonlinearity not in ("tanh", "relu"):
            raise ValueError(f"Unknown nonlinearity '{nonlinearity}'. Select from 'tanh' or 'relu'.")
        super().__init__(
            "RNN_" + nonlinearity.upper(),
            input_size,
            hidden_size,
            num_layers,
            bias,
            batch_first,
            dropout,
            bidirectional,
            device=device,
            dtype=dtype,
            **kwargs,
        )
        self.nonlinearity = nonlinearity


class LSTM(RNNBase):
    """Long short-term memory (Hochreiter and Schmidhuber, 1997), in layers. hx and what is returned beside the outputs:
    (h, c).

    c_t = sigmoid(f) c_(t-1) + sigmoid(i) tanh(g); h_t = sigmoid(o) tanh(c_t), projected to proj_size if that isn't 0.
    Shapes as for RNN.

    >>> import jitorch as torch
    >>> out, (h, c) = torch.nn.LSTM(10, 20, num_layers=2, batch_first=True)(torch.zeros(3, 5, 10))
    >>> out.shape, h.shape
    (torch.Size([3, 5, 20]), torch.Size([2, 3, 20]))
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        proj_size: int = 0,
        device=None,
        dtype=None,
    ):
        super().__init__(
            "LSTM",
            input_size,
            hidden_size,
            num_layers,
            bias,
            batch_first,
            dropout,
            bidirectional,
            proj_size,
            device,
            dtype,
        )

    def _state_sizes(self) -> tuple[int, ...]:
        return (self.proj_size or self.hidden_size, self.hidden_size)

    def _hidden(self, state: tuple):
        return state


class GRU(RNNBase):
    """Gated recurrent units (Cho et al., 2014), in layers: h_t = (1 - z) n + z h_(t-1), n = tanh(xn + r hn). Shapes as
    for RNN.

    >>> import jitorch as torch
    >>> out, h = torch.nn.GRU(10, 20)(torch.zeros(5, 3, 10))
    >>> out.shape, h.shape
    (torch.Size([5, 3, 20]), torch.Size([1, 3, 20]))
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        device=None,
        dtype=None,
        **kwargs,
    ):
        refuse_projection(kwargs)
        super().__init__(
            "GRU",
            input_size,
            hidden_size,
            num_layers,
            bias,
            batch_first,
            dropout,
            bidirectional,
            device=device,
            dtype=dtype,
            **kwargs,
        )


def refuse_projection(kwargs: dict) -> None:
    if "proj_size" in kwargs:
        raise ValueError("proj_size argument is only supported for LSTM, not RNN or GRU")


class RNNCellBase(Module):
    __constants__ = ["input_size", "hidden_size", "bias"]

    def __init__(self, input_size: int, hidden_size: int, bias: bool, num_chunks: int, device=None, dtype=None):
        super().__init__()
        self.input_size, self.hidden_size, self.bias = input_size, hidden_size, bias
        add_parameter(self, "weight_ih", (num_chunks * hidden_size, input_size), True, device, dtype)
        add_parameter(self, "weight_hh", (num_chunks * hidden_size, hidden_size), True, device, dtype)
        add_parameter(self, "bias_ih", (num_chunks * hidden_size,), bias, device, dtype)
        add_parameter(self, "bias_hh", (num_chunks * hidden_size,), bias, device, dtype)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        bound = 1.0 / math.sqrt(self.hidden_size) if self.hidden_size > 0 else 0
        for p in self.parameters():
            init.uniform_(p, -bound, bound)

    def extra_repr(self) -> str:
        text = f"{self.input_size}, {self.hidden_size}"
        text += f", bias={self.bias}" if self.bias is not True else ""
        nonlinearity = getattr(self, "nonlinearity", "tanh")
        return text + (f", nonlinearity={nonlinearity}" if nonlinearity != "tanh" else "")

    def _step(self, mode: str, input: Tensor, state: tuple | None, names: tuple[str, ...]) -> tuple:
        """One step of a cell; `names` are the tensors of the state in error messages."""
        kind = type(self).__name__
        if input.ndim not in (1, 2):
            raise ValueError(f"{kind}: Expected input to be 1D or 2D, got {input.ndim}D instead")
        for s, name in zip(state or (), names, strict=False):
            if s.ndim not in (1, 2):
                raise ValueError(f"{kind}: Expected {name} to be 1D or 2D, got {s.ndim}D instead")
        batched = input.ndim == 2
        x = input if batched else input.unsqueeze(0)
        if x.shape[1] != self.input_size:
            raise RuntimeError(f"input has inconsistent input_size: got {x.shape[1]} expected {self.input_size}")
        if state is None:
            state = (jitorch.zeros(x.shape[0], self.hidden_size, dtype=x.dtype),) * len(names)
        elif not batched:
            state = tuple(s.unsqueeze(0) for s in state)
        for i, s in enumerate(state):
            if s.shape[0] != x.shape[0]:
                raise RuntimeError(f"Input batch size {x.shape[0]} doesn't match hidden{i} batch size {s.shape[0]}")
            if s.shape[1] != self.hidden_size:
                raise RuntimeError(
                    f"hidden{i} has inconsistent hidden_size: got {s.shape[1]}, expected {self.hidden_size}"
                )
        state = STEPS[mode][0](F.linear(x, self.weight_ih, self.bias_ih), state, self.weight_hh, self.bias_hh)
        return state if batched else tuple(s.squeeze(0) for s in state)


class RNNCell(RNNCellBase):
    """One step of an RNN: input (N, in) or (in,), hx (N, hidden) or (hidden,); returns the next hidden state."""

    __constants__ = ["input_size", "hidden_size", "bias", "nonlinearity"]

    def __init__(
        self, input_size: int, hidden_size: int, bias: bool = True, nonlinearity: str = "tanh", device=None, dtype=None
    ):
        super().__init__(input_size, hidden_size, bias, 1, device, dtype)
        self.nonlinearity = nonlinearity

    def forward(self, input: Tensor, hx: Tensor | None = None) -> Tensor:
        if self.nonlinearity not in ("tanh", "relu"):
            raise RuntimeError(f"Unknown nonlinearity: {self.nonlinearity}")
        return self._step("RNN_" + self.nonlinearity.upper(), input, None if hx is None else (hx,), ("hidden",))[0]


class LSTMCell(RNNCellBase):
    """One step of an LSTM: input (N, in) or (in,), hx a pair (h, c); returns the next pair."""

    def __init__(self, input_size: int, hidden_size: int, bias: bool = True, device=None, dtype=None):
        super().__init__(input_size, hidden_size, bias, 4, device, dtype)

    def forward(self, input: Tensor, hx: tuple[Tensor, Tensor] | None = None) -> tuple[Tensor, Tensor]:
        return self._step("LSTM", input, None if hx is None else tuple(hx), ("hx[0]", "hx[1]"))


class GRUCell(RNNCellBase):
    """One step of a GRU: input (N, in) or (in,), hx (N, hidden) or (hidden,); returns the next hidden state."""

    def __init__(self, input_size: int, hidden_size: int, bias: bool = True, device=None, dtype=None):
        super().__init__(input_size, hidden_size, bias, 3, device, dtype)

    def forward(self, input: Tensor, hx: Tensor | None = None) -> Tensor:
        return self._step("GRU", input, None if hx is None else (hx,), ("hidden",))[0]

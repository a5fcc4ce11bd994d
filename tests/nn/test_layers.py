"""Every layer against PyTorch's: names in the state_dict, what is printed, values, gradients, state afterwards."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

import jitorch

torch = pytest.importorskip("torch")

# layer: constructor arguments as text, then shapes of its inputs ("i9": integers below 9). One line a case.
LAYERS = """
Identity(3, a=4)                            | 2 3
Linear(4, 3)                                | 5 4
Linear(4, 3, bias=False)                    | 2 5 4
Linear(0, 3)                                | 2 0
Bilinear(3, 4, 2)                           | 5 3 | 5 4
Conv1d(2, 4, 3)                             | 2 2 8
Conv1d(2, 4, 3, stride=2, padding=1)        | 2 8
Conv1d(2, 4, 3, padding='same', dilation=2) | 2 2 8
Conv2d(2, 4, 3)                             | 2 2 6 7
Conv2d(2, 4, (3, 2), (2, 1), (1, 0), dilation=(1, 2), groups=2, bias=False) | 2 2 6 7
Conv2d(2, 4, 3, padding=1, padding_mode='reflect')  | 2 2 6 7
Conv2d(2, 4, 3, padding='same', padding_mode='circular')  | 2 2 6 7
Conv2d(2, 4, 4, padding='valid', padding_mode='replicate')  | 2 2 6 7
Conv3d(2, 3, 2)                             | 1 2 4 4 3
ConvTranspose1d(2, 4, 3, stride=2, output_padding=1) | 2 2 5
ConvTranspose2d(2, 4, 3, stride=2, padding=1, groups=2) | 2 2 4 5
ConvTranspose3d(2, 3, 2)                    | 1 2 3 3 3
MaxPool1d(2)                                | 2 2 7
MaxPool2d(3, stride=2, padding=1)           | 2 2 7 8
MaxPool2d(2, ceil_mode=True, return_indices=True) | 2 2 7 8
MaxPool3d(2)                                | 1 2 4 4 4
AvgPool1d(2)                                | 2 2 7
AvgPool2d((2, 3), ceil_mode=True, count_include_pad=False, padding=1) | 2 2 7 8
AvgPool3d(2)                                | 1 2 4 4 4
LPPool1d(2, 3)                              | 2 2 7
LPPool2d(2, 3, stride=2)                    | 2 2 7 8
AdaptiveAvgPool1d(3)                        | 2 2 7
AdaptiveAvgPool2d((3, None))                | 2 2 7 8
AdaptiveAvgPool3d(2)                        | 1 2 4 5 4
AdaptiveMaxPool1d(3)                        | 2 2 7
AdaptiveMaxPool2d(3)                        | 2 2 7 8
AdaptiveMaxPool3d(2)                        | 1 2 4 5 4
BatchNorm1d(4)                              | 5 4
BatchNorm1d(4, momentum=None)               | 5 4 3
BatchNorm2d(3, eps=1e-3, affine=False)      | 2 3 4 4
BatchNorm2d(3, track_running_stats=False)   | 2 3 4 4
BatchNorm3d(3, bias=False)                  | 2 3 2 2 2
SyncBatchNorm(3)                            | 4 3 2
InstanceNorm1d(3)                           | 2 3 5
InstanceNorm2d(3, affine=True, track_running_stats=True) | 2 3 4 4
InstanceNorm3d(3)                           | 3 2 3 4
LayerNorm(4)                                | 5 4
LayerNorm((3, 4), eps=1e-3, bias=False)     | 2 3 4
LayerNorm([4], elementwise_affine=False)    | 2 3 4
RMSNorm(4)                                  | 5 4
RMSNorm((3, 4), eps=1e-3)                   | 2 3 4
GroupNorm(2, 4)                             | 2 4 3
GroupNorm(4, 4, affine=False)               | 2 4 3 3
LocalResponseNorm(3)                        | 2 5 4
Embedding(9, 3)                             | i9 2 4
Embedding(9, 3, padding_idx=-1)             | i9 2 4
Embedding(9, 3, scale_grad_by_freq=True)    | i9 2 4
EmbeddingBag(9, 3, mode='sum')              | i9 2 4
Flatten()                                   | 2 3 4
Flatten(0, 1)                               | 2 3 4
Unflatten(1, (2, 3))                        | 2 6
PixelShuffle(2)                             | 1 8 2 3
PixelUnshuffle(2)                           | 1 2 4 6
ChannelShuffle(2)                           | 1 4 3
Unfold((2, 3), padding=1)                   | 2 2 4 5
Fold((4, 4), 2)                             | 1 8 9
Upsample(scale_factor=2)                    | 1 2 3 3
Upsample(size=(5, 4), mode='bilinear', align_corners=False) | 1 2 3 3
UpsamplingNearest2d(scale_factor=2)         | 1 2 3 3
UpsamplingBilinear2d(size=5)                | 1 2 3 3
ZeroPad1d(2)                                | 2 2 4
ZeroPad2d((1, 2, 0, 1))                     | 2 2 4 4
ZeroPad3d(1)                                | 2 2 2 2
ConstantPad1d(2, 3.5)                       | 2 2 4
ConstantPad2d(1, 2)                         | 2 2 4 4
ConstantPad3d(1, -1.0)                      | 2 2 2 2
ReflectionPad1d(2)                          | 2 2 4
ReflectionPad2d((1, 2, 0, 1))               | 2 2 4 4
ReflectionPad3d(1)                          | 1 2 2 2 2
ReplicationPad1d(2)                         | 2 2 4
ReplicationPad2d(1)                         | 2 2 4 4
ReplicationPad3d(1)                         | 1 2 2 2 2
CircularPad1d(2)                            | 2 2 4
CircularPad2d(1)                            | 2 2 4 4
CircularPad3d(1)                            | 1 2 2 2 2
CosineSimilarity()                          | 3 4 | 3 4
PairwiseDistance(p=1)                       | 3 4 | 3 4
RNN(3, 4)                                   | 5 2 3
RNN(3, 4, nonlinearity='relu', batch_first=True, bias=False) | 2 5 3
RNN(3, 4, 2, 'tanh', True, True)            | 2 5 3 | 2 2 4
GRU(3, 4, num_layers=2, bidirectional=True) | 5 2 3
GRU(3, 4)                                   | 5 3
RNNCell(3, 4, nonlinearity='relu')          | 2 3 | 2 4
GRUCell(3, 4)                               | 3 | 4
LSTM(3, 4)                                  | 5 2 3
LSTM(3, 4, num_layers=2, batch_first=True, bidirectional=True, proj_size=2) | 2 5 3
LSTMCell(3, 4, bias=False)                  | 2 3
Dropout(0.0, inplace=False)                 | 2 3
Dropout1d(1.0)                              | 2 3 4
Dropout2d(0.0)                              | 2 3 4 4
Dropout3d(0.0)                              | 2 3 2 2 2
AlphaDropout(0.0)                           | 2 3
FeatureAlphaDropout(0.0)                    | 2 3 4
MultiheadAttention(4, 2)                    | 5 2 4 | 3 2 4 | 3 2 4
MultiheadAttention(4, 2, batch_first=True, bias=False, add_zero_attn=True) | 2 5 4 | 2 3 4 | 2 3 4
MultiheadAttention(4, 2, kdim=3, vdim=5, add_bias_kv=True) | 5 2 4 | 3 2 3 | 3 2 5
TransformerEncoderLayer(4, 2, 8, 0.0)       | 5 2 4
TransformerEncoderLayer(4, 2, 8, 0.0, 'gelu', norm_first=True, batch_first=True, bias=False) | 2 5 4
TransformerDecoderLayer(4, 2, 8, 0.0)       | 5 2 4 | 3 2 4
Transformer(4, 2, 1, 2, 8, 0.0)             | 5 2 4 | 3 2 4
Threshold(0.1, 2.0)                         | 3 4
RReLU(0.2, 0.2)                             | 3 4
Hardtanh(-0.5, 0.6)                         | 3 4
ELU(0.7)                                    | 3 4
CELU(0.7)                                   | 3 4
LeakyReLU(0.2)                              | 3 4
Softplus(2.0, 1.0)                          | 3 4
Softshrink(0.3)                             | 3 4
Hardshrink(0.3)                             | 3 4
GELU('tanh')                                | 3 4
GLU(0)                                      | 4 3
PReLU(4)                                    | 3 4
Softmax(1)                                  | 3 4
Softmin(0)                                  | 3 4
LogSoftmax(-1)                              | 3 4
Softmax2d()                                 | 2 3 4
""" + "".join(
    f"{name}() | 3 4\n"
    for name in (
        "ReLU ReLU6 SiLU Mish SELU Hardswish Hardsigmoid Sigmoid Tanh LogSigmoid Softsign Tanhshrink GELU PReLU ELU "
        "LeakyReLU Hardtanh"
    ).split()
)
CASES = [line.split("|") for line in LAYERS.strip().splitlines()]


def construct(t, text: str):
    t.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return eval("t.nn." + text.strip(), {"t": t})


def arrays(shapes) -> list[np.ndarray]:
    rng = np.random.default_rng(1)
    made = []
    for shape in shapes:
        first, *rest = shape.split()
        if first[0] == "i":
            made.append(rng.integers(0, int(first[1:]), [int(n) for n in rest]))
        else:
            made.append(rng.standard_normal([int(first), *(int(n) for n in rest)]).astype("float32"))
    return made


def flat(value) -> list:
    if isinstance(value, (tuple, list)):
        return [x for v in value for x in flat(v)]
    return [] if value is None else [value]


def outcome(t, module, inputs: list[np.ndarray], state: dict, differentiable: int = 9):
    """All numbers that a module gives: outputs, gradients of (the first so many) inputs and of parameters, state
    afterwards.
    """
    module.load_state_dict({k: t.tensor(v) for k, v in state.items()})
    tensors = [t.tensor(a) for a in inputs]
    for x in tensors[:differentiable]:
        if x.dtype == t.float32:
            x.requires_grad_()
    outs = flat(module(*tensors))
    loss = 0.0
    for i, out in enumerate(outs):
        if out.requires_grad:
            loss = loss + (out * out * (i + 1.5)).sum()
    if outs[0].requires_grad:
        loss.backward()
    grads = [x.grad for x in [*tensors, *module.parameters()]]
    return (
        [o.detach().numpy() for o in outs],
        [None if g is None else g.numpy() for g in grads],
        {k: v.numpy() for k, v in module.state_dict().items()},
    )


@pytest.mark.parametrize("case", CASES, ids=lambda c: c[0].strip())
def test_layer(case):
    text, *shapes = case
    ours, theirs = construct(jitorch, text), construct(torch, text)
    assert repr(ours) == repr(theirs)
    state = {k: v.numpy().copy() for k, v in theirs.state_dict().items()}
    assert {k: (v.shape, v.dtype.name) for k, v in state.items()} == {
        k: (tuple(v.shape), v.dtype.name) for k, v in ours.state_dict().items()
    }
    assert list(state) == list(ours.state_dict())
    inputs = arrays(shapes)
    for mode in (True, False):
        theirs.train(mode)
        theirs.zero_grad()
        ours.train(mode)
        ours.zero_grad()
        with jitorch.config.using(tier="reference"):
            got = outcome(jitorch, ours, inputs, state)
        expected = outcome(torch, theirs, inputs, state)
        for g, e in zip(
            got[0] + got[1] + list(got[2].values()), expected[0] + expected[1] + list(expected[2].values()), strict=True
        ):
            assert (g is None) == (e is None)
            if e is not None:
                assert g.shape == e.shape and g.dtype == e.dtype
                np.testing.assert_allclose(g, e, rtol=2e-4, atol=2e-5)


# loss: arguments | shapes; "b": 0 or 1 as floats, "s": -1 or 1 as floats, "p": probabilities, "u": positive
LOSSES = """
L1Loss()                       | 4 3 | 4 3
MSELoss(reduction='sum')       | 4 3 | 4 3
NLLLoss(ignore_index=2)        | 4 3 | i3 4
NLLLoss(t.tensor([1., 2., 3.])) | 4 3 | i3 4
CrossEntropyLoss()             | 4 3 | i3 4
CrossEntropyLoss(label_smoothing=0.1, reduction='none') | 4 3 | i3 4
BCELoss()                      | p 4 3 | b 4 3
BCEWithLogitsLoss(pos_weight=t.tensor([1., 2., 3.])) | 4 3 | b 4 3
SmoothL1Loss(beta=0.5)         | 4 3 | 4 3
HuberLoss(delta=0.5)           | 4 3 | 4 3
KLDivLoss(reduction='batchmean') | 4 3 | p 4 3
PoissonNLLLoss(full=True)      | 4 3 | u 4 3
GaussianNLLLoss()              | 4 3 | 4 3 | u 4 3
HingeEmbeddingLoss()           | 4 3 | s 4 3
SoftMarginLoss()               | 4 3 | s 4 3
MultiLabelMarginLoss()         | 4 3 | i3 4 3
MultiLabelSoftMarginLoss()     | 4 3 | b 4 3
MultiMarginLoss(p=2)           | 4 3 | i3 4
CosineEmbeddingLoss()          | 4 3 | 4 3 | s 4
MarginRankingLoss(0.1)         | 4 | 4 | s 4
TripletMarginLoss(swap=True)   | 4 3 | 4 3 | 4 3
TripletMarginWithDistanceLoss(margin=0.5) | 4 3 | 4 3 | 4 3
"""
SPECIAL = {
    "b": lambda x: (x > 0).astype("float32"),
    "s": lambda x: np.sign(x),
    "p": lambda x: 1 / (1 + np.exp(-x)),
    "u": lambda x: np.abs(x) + 0.1,
}


@pytest.mark.parametrize("line", LOSSES.strip().splitlines(), ids=lambda s: s.split("|")[0].strip())
def test_loss(line):
    text, *shapes = line.split("|")
    inputs = []
    for i, shape in enumerate(s.strip() for s in shapes):
        kind, rest = (shape[0], shape[1:]) if shape[0] in SPECIAL else ("", shape)
        array = arrays(["1"] * i + [rest])[-1]
        inputs.append(SPECIAL[kind](array) if kind else array)
    with jitorch.config.using(tier="reference"):
        ours, theirs = construct(jitorch, text), construct(torch, text)
        state = {k: v.numpy() for k, v in theirs.state_dict().items()}
        assert repr(ours) == repr(theirs) and list(ours.state_dict()) == list(state)
        n = sum(s.strip()[0] not in "bspui" for s in shapes) or 1
        got, expected = outcome(jitorch, ours, inputs, state, n), outcome(torch, theirs, inputs, state, n)
    for g, e in zip(got[0] + got[1], expected[0] + expected[1], strict=True):
        assert (g is None) == (e is None)
        if e is not None:
            np.testing.assert_allclose(g, e, rtol=1e-4, atol=1e-5)


def test_deprecated_reduction_flags():
    with pytest.warns(UserWarning, match="reduction='sum'"):
        assert jitorch.nn.MSELoss(size_average=False).reduction == "sum"


def packed(t, module, lengths, enforce_sorted):
    rng = np.random.default_rng(2)
    x = t.tensor(rng.standard_normal((5, 4, 3)).astype("float32"), requires_grad=True)
    pack = t.nn.utils.rnn.pack_padded_sequence(x, t.tensor(lengths), enforce_sorted=enforce_sorted)
    out, hidden = module(pack)
    padded, sizes = t.nn.utils.rnn.pad_packed_sequence(out, batch_first=True, padding_value=-1.0, total_length=6)
    hidden = flat(hidden)
    (padded.sum() + sum(h.sum() for h in hidden)).backward()
    return [v.detach().numpy() for v in (padded, sizes, *hidden, x.grad, pack.data, pack.batch_sizes)]


@pytest.mark.parametrize(
    "text", ["RNN(3, 4, bidirectional=True)", "LSTM(3, 4, num_layers=2, bidirectional=True)", "GRU(3, 4, num_layers=2)"]
)
@pytest.mark.parametrize("lengths, enforce_sorted", [([5, 4, 4, 1], True), ([2, 5, 1, 5], False)])
def test_packed_sequences(text, lengths, enforce_sorted):
    ours, theirs = construct(jitorch, text), construct(torch, text)
    with jitorch.config.using(tier="reference"):
        ours.load_state_dict({k: jitorch.tensor(v.numpy()) for k, v in theirs.state_dict().items()})
        for g, e in zip(
            packed(jitorch, ours, lengths, enforce_sorted), packed(torch, theirs, lengths, enforce_sorted), strict=True
        ):
            np.testing.assert_allclose(g, e, rtol=1e-4, atol=1e-5)


ERRORS = [
    "Conv2d(3, 4, 3, groups=2)",
    "Conv2d(4, 3, 3, groups=2)",
    "Conv2d(4, 4, 3, groups=0)",
    "Conv2d(4, 4, 3, padding='x')",
    "Conv2d(4, 4, 3, 2, padding='same')",
    "ConvTranspose1d(2, 2, 3, padding_mode='reflect')",
    "Dropout(1.5)",
    "GroupNorm(3, 4)",
    "Unflatten(1, 3)",
    "Unflatten(1, (2, 'a'))",
    "Embedding(3, 2, padding_idx=3)",
    "MultiheadAttention(5, 2)",
    "MultiheadAttention(0, 2)",
    "LSTM(0, 3)",
    "LSTM(3, 3, num_layers=0)",
    "LSTM(3, 3, proj_size=3)",
    "GRU(3, 3, proj_size=1)",
    "RNN(3, 3, nonlinearity='x')",
    "LSTM(3, 3, dropout=2)",
    "LSTM('a', 3)",
    "Hardtanh(1, 0)",
    "TripletMarginLoss(margin=0)",
    "MultiMarginLoss(p=3)",
    "HuberLoss(delta='a')",
    "Bilinear(0, 1, 1)",
    "TransformerEncoderLayer(4, 2, activation='x')",
    "BatchNorm2d(3)(t.ones(2, 3))",
    "BatchNorm1d(3)(t.ones(2, 3, 3, 3))",
    "InstanceNorm2d(3, affine=True)(t.ones(2, 4, 5, 5))",
    "Softmax2d()(t.ones(2))",
    "CircularPad1d(1)(t.ones(2))",
    "LSTM(3, 4)(t.ones(2, 2, 4))",
    "LSTM(3, 4)(t.ones(3))",
    "GRU(3, 4)(t.ones(2, 1, 3), t.ones(1, 2, 4))",
    "GRU(3, 4)(t.ones(2, 1, 3), t.ones(1, 4))",
    "LSTM(3, 4)(t.ones(2, 1, 3, dtype=t.float64))",
    "LSTMCell(3, 4)(t.ones(2, 2, 3))",
    "GRUCell(3, 4)(t.ones(2, 2))",
    "GRUCell(3, 4)(t.ones(2, 3), t.ones(1, 4))",
    "MultiheadAttention(4, 2)(t.ones(4), t.ones(4), t.ones(4))",
    "ConvTranspose2d(1, 1, 3, 2)(t.ones(1, 1, 2, 2), output_size=(9, 9))",
    "Linear(2, 3, typo=1)",
]


@pytest.mark.parametrize("text", ERRORS)
def test_errors(text):
    caught = []
    for t in (jitorch, torch):
        with pytest.raises(Exception) as error:
            construct(t, text)
        caught.append((error.type.__name__, str(error.value).replace("'valid', 'same'", "'same', 'valid'")))
    assert caught[0] == caught[1]


def test_from_pretrained():
    table = jitorch.ones(4, 2)
    e = jitorch.nn.Embedding.from_pretrained(table)
    assert not e.weight.requires_grad and e(jitorch.tensor([1, 2])).tolist() == [[1, 1], [1, 1]]
    assert jitorch.nn.EmbeddingBag.from_pretrained(table, freeze=False).weight.requires_grad


def test_embedding_padding_row_is_zero_and_gets_no_gradient():
    e = jitorch.nn.Embedding(4, 2, padding_idx=1)
    e(jitorch.tensor([1, 2, 1])).sum().backward()
    assert (
        e.weight[1].tolist() == [0, 0] and e.weight.grad[1].tolist() == [0, 0] and e.weight.grad[2].tolist() == [1, 1]
    )


def test_transposed_convolution_with_output_size():
    down, up = jitorch.nn.Conv2d(1, 1, 3, stride=2, padding=1), jitorch.nn.ConvTranspose2d(1, 1, 3, stride=2, padding=1)
    assert up(down(jitorch.zeros(1, 1, 12, 12)), output_size=(1, 1, 12, 12)).shape == (1, 1, 12, 12)


@pytest.mark.parametrize("training", [True, False])
def test_masks_of_attention(training):
    rng = np.random.default_rng(3)
    x = rng.standard_normal((2, 5, 4)).astype("float32")
    additive = np.triu(np.full((5, 5), -np.inf, "float32"), 1)
    padding = np.zeros((2, 5), bool)
    padding[0, 4:] = True
    results = []
    theirs = construct(torch, "MultiheadAttention(4, 2, batch_first=True)").train(training)
    state = {k: v.numpy() for k, v in theirs.state_dict().items()}
    for t, m in (
        (jitorch, construct(jitorch, "MultiheadAttention(4, 2, batch_first=True)").train(training)),
        (torch, theirs),
    ):
        m.load_state_dict({k: t.tensor(v) for k, v in state.items()})
        v = t.tensor(x)
        some = [
            m(v, v, v, attn_mask=t.tensor(additive)),
            m(v, v, v, attn_mask=t.tensor(additive < 0), average_attn_weights=False),
            m(v, v, v, key_padding_mask=t.tensor(padding)),
            m(v, v, v, attn_mask=t.tensor(np.tile(additive, (4, 1, 1)))),
            m(v, v, v, need_weights=False, key_padding_mask=t.tensor(padding), attn_mask=t.tensor(additive < 0)),
            m(v, v, v, need_weights=False, attn_mask=t.tensor(additive), is_causal=True),
        ]
        results.append([a.detach().numpy() for a in flat(some)])
    for g, e in zip(*results, strict=True):
        np.testing.assert_allclose(g, e, rtol=1e-4, atol=1e-5)


def test_causal_hint_without_a_mask_is_refused():
    x = jitorch.ones(2, 5, 4)
    with pytest.raises(RuntimeError, match="attn_mask"):
        jitorch.nn.MultiheadAttention(4, 2)(x, x, x, is_causal=True)

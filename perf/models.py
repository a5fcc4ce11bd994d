"""The models, written once for jitorch and its peers: a training step, or a call without gradients, of each."""
from __future__ import annotations

import re
import sys
import types
from collections.abc import Callable
from typing import Any

import numpy as np

from .harness import ROOT
from .peers import Framework


def tiny_mlp(fw: Framework) -> Callable[[], Any]:
    """10 rows of 8 numbers, one hidden layer of 16, SGD: nearly all of it is the cost of Python."""
    nn = fw.nn
    model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 1))
    optimizer = fw.optim.SGD(model.parameters(), lr=0.01)
    return step(fw, model, optimizer, nn.MSELoss(), floats(fw, 10, 8), floats(fw, 10, 1))


def mlp(fw: Framework) -> Callable[[], Any]:
    """784-512-256-10, batch 128, Adam."""
    nn = fw.nn
    model = nn.Sequential(nn.Linear(784, 512), nn.ReLU(), nn.Linear(512, 256), nn.ReLU(), nn.Linear(256, 10))
    optimizer = fw.optim.Adam(model.parameters(), lr=1e-3)
    return step(fw, model, optimizer, nn.CrossEntropyLoss(), floats(fw, 128, 784), classes(fw, 128, 10))


def digits(fw: Framework) -> Callable[[], Any]:
    """The network of examples/digits.py as it is there, batch 64, Adam."""
    model = digits_module(fw.torch.__name__).DigitNet()
    optimizer = fw.optim.Adam(model.parameters(), lr=3e-3)
    return step(fw, model, optimizer, fw.nn.CrossEntropyLoss(), floats(fw, 64, 1, 8, 8), classes(fw, 64, 10))


def small_cnn(fw: Framework) -> Callable[[], Any]:
    """A tutorial's network for 28 x 28 pictures: two 5 x 5 convolutions, pooled, two linear layers; batch 64, SGD."""
    nn, F = fw.nn, fw.F

    class Net(nn.Module):       # type: ignore[name-defined]
        def __init__(self):
            super().__init__()
            self.conv1, self.conv2 = nn.Conv2d(1, 10, kernel_size=5), nn.Conv2d(10, 20, kernel_size=5)
            self.fc1, self.fc2 = nn.Linear(320, 50), nn.Linear(50, 10)

        def forward(self, x):
            x = F.relu(F.max_pool2d(self.conv1(x), 2))
            x = F.relu(F.max_pool2d(self.conv2(x), 2))
            x = F.relu(self.fc1(x.view(-1, 320)))
            return F.log_softmax(self.fc2(x), dim=1)
    model = Net()
    optimizer = fw.optim.SGD(model.parameters(), lr=0.01)
    return step(fw, model, optimizer, nn.CrossEntropyLoss(), floats(fw, 64, 1, 28, 28), classes(fw, 64, 10))


def wide_cnn(fw: Framework) -> Callable[[], Any]:
    """A tutorial's network for 24 x 24 colour pictures: 32 and 64 channels, 3 x 3 convolutions; batch 32, SGD."""
    nn = fw.nn

    class CNN(nn.Module):       # type: ignore[name-defined]
        def __init__(self):
            super().__init__()
            self.conv1, self.conv2 = nn.Conv2d(3, 32, 3, padding=1), nn.Conv2d(32, 64, 3, padding=1)
            self.fc1, self.fc2 = nn.Linear(64 * 6 * 6, 128), nn.Linear(128, 10)
            self.pool, self.relu = nn.MaxPool2d(2, 2), nn.ReLU()

        def forward(self, x):
            x = self.pool(self.relu(self.conv1(x)))
            x = self.pool(self.relu(self.conv2(x)))
            return self.fc2(self.relu(self.fc1(x.view(-1, 64 * 6 * 6))))
    model = CNN()
    optimizer = fw.optim.SGD(model.parameters(), lr=0.01)
    return step(fw, model, optimizer, nn.CrossEntropyLoss(), floats(fw, 32, 3, 24, 24), classes(fw, 32, 10))


def lstm(fw: Framework) -> Callable[[], Any]:
    """A character model: 65 characters, embedding 128, LSTM of 256, 32 rows of 64 characters; Adam."""
    nn = fw.nn

    class Model(nn.Module):     # type: ignore[name-defined]
        def __init__(self):
            super().__init__()
            self.embedding, self.lstm = nn.Embedding(65, 128), nn.LSTM(128, 256, batch_first=True)
            self.head = nn.Linear(256, 65)

        def forward(self, tokens):
            return self.head(self.lstm(self.embedding(tokens))[0])
    model = Model()
    optimizer = fw.optim.Adam(model.parameters(), lr=1e-3)
    return step(fw, model, optimizer, of_sequences(fw), classes(fw, (32, 64), 65), classes(fw, (32, 64), 65))


def gpt(fw: Framework, width: int = 128, length: int = 64, batch: int = 12) -> Callable[[], Any]:
    """4 layers, 4 heads, 65 characters, AdamW: the sizes that nanoGPT's README names for a laptop."""
    model = gpt_module(fw, width, length)
    optimizer = fw.optim.AdamW(model.parameters(), lr=1e-3)
    tokens, targets = classes(fw, (batch, length), 65), classes(fw, (batch, length), 65)
    return step(fw, model, optimizer, of_sequences(fw), tokens, targets)


def gpt_module(fw: Framework, width: int, length: int, layers: int = 4, heads: int = 4, words: int = 65):
    nn, F, torch = fw.nn, fw.F, fw.torch

    class Block(nn.Module):     # type: ignore[name-defined]
        def __init__(self):
            super().__init__()
            self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
            self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
            self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

        def forward(self, x, attend):
            b, t, _ = x.shape
            q, k, v = (part.view(b, t, heads, -1).transpose(1, 2) for part in self.qkv(self.norm1(x)).split(width, 2))
            x = x + self.out(attend(q, k, v).transpose(1, 2).reshape(b, t, width))
            return x + self.down(F.gelu(self.up(self.norm2(x))))

    class GPT(nn.Module):       # type: ignore[name-defined]
        def __init__(self):
            super().__init__()
            self.tokens, self.places = nn.Embedding(words, width), nn.Embedding(length, width)
            self.blocks = nn.ModuleList([Block() for _ in range(layers)])
            self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, words, bias=False)

        def forward(self, tokens):
            x = self.tokens(tokens) + self.places(torch.arange(tokens.shape[1]))
            for block in self.blocks:
                x = block(x, lambda q, k, v: F.scaled_dot_product_attention(q, k, v, is_causal=True))
            return self.head(self.norm(x))

        def decode(self, token, place, caches):
            """The next word after `token` (1, 1) at `place` (1,); caches: keys and values of each block so far."""
            x = self.tokens(token) + self.places(place)
            seen = (torch.arange(length) <= place).view(1, length)

            def attend(keys, values):
                def attention(q, k, v):
                    keys.index_copy_(2, place, k)
                    values.index_copy_(2, place, v)
                    return F.scaled_dot_product_attention(q, keys, values, attn_mask=seen)
                return attention
            for block, cache in zip(self.blocks, caches, strict=True):
                x = block(x, attend(*cache))
            return self.head(self.norm(x)).argmax(-1)
    return GPT()


# -- without gradients -----------------------------------------------------------------------------------------------
def resnet(fw: Framework) -> Callable[[], Any]:
    """ResNet-20 for 32 x 32 pictures (He et al., Deep Residual Learning, section 4.2), one picture."""
    nn, F = fw.nn, fw.F

    class Block(nn.Module):     # type: ignore[name-defined]
        def __init__(self, before, after, stride):
            super().__init__()
            self.conv1, self.norm1 = nn.Conv2d(before, after, 3, stride, 1, bias=False), nn.BatchNorm2d(after)
            self.conv2, self.norm2 = nn.Conv2d(after, after, 3, 1, 1, bias=False), nn.BatchNorm2d(after)
            self.short = nn.Conv2d(before, after, 1, stride, bias=False) if stride > 1 else nn.Identity()

        def forward(self, x):
            y = self.norm2(self.conv2(F.relu(self.norm1(self.conv1(x)))))
            return F.relu(y + self.short(x))
    blocks = [Block(before, after, 1 + (before != after))
              for before, after in [(16, 16)] * 3 + [(16, 32)] + [(32, 32)] * 2 + [(32, 64)] + [(64, 64)] * 2]
    model = nn.Sequential(nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU(), *blocks,
                          nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10))
    return call(fw, model.eval(), floats(fw, 1, 3, 32, 32))


def encoder(fw: Framework) -> Callable[[], Any]:
    """A Transformer encoder: 2 layers, width 256, 4 heads; one row of 128."""
    nn = fw.nn
    layer = nn.TransformerEncoderLayer(256, 4, 1024, batch_first=True, activation="gelu")
    return call(fw, nn.TransformerEncoder(layer, 2, enable_nested_tensor=False).eval(), floats(fw, 1, 128, 256))


def decode(fw: Framework) -> Callable[[], Any]:
    """One more word of a GPT: 4 layers, width 256, keys and values of 256 places kept, of which half are in use."""
    width, length, heads = 256, 256, 4
    model = gpt_module(fw, width, length).eval()
    caches = [tuple(floats(fw, 1, heads, length, width // heads, seed=i) for _ in "kv") for i in range(4)]
    token, place = classes(fw, (1, 1), 65), fw.torch.from_numpy(np.array([length // 2]))
    return call(fw, lambda token, place: model.decode(token, place, caches), token, place)


# -- their parts -----------------------------------------------------------------------------------------------------
def step(fw: Framework, model, optimizer, criterion, inputs, targets) -> Callable[[], Any]:
    """One training step, as a tutorial writes it; returns the loss, not read. torch.compile has the update, too."""
    loss_of = fw.compile(lambda: criterion(model(inputs), targets))
    update = fw.compile(lambda: optimizer.step())

    def train():
        optimizer.zero_grad()
        loss = loss_of()
        loss.backward()
        update()
        fw.finish()
        return loss
    return train


def call(fw: Framework, function, *inputs) -> Callable[[], Any]:
    """The function, traced, without gradients."""
    with fw.torch.no_grad():
        traced = fw.trace(function, *inputs)

    def run():
        with fw.torch.no_grad():
            y = traced(*inputs)
            fw.finish()
            return y
    return run


def of_sequences(fw: Framework) -> Callable:
    return lambda y, targets: fw.F.cross_entropy(y.flatten(0, 1), targets.flatten())


def floats(fw: Framework, *shape: int, grad: bool = False, seed: int = 0):
    """Standard normal numbers, the same for every framework."""
    x = fw.torch.from_numpy(np.array(np.random.default_rng(seed).standard_normal(shape, np.float32)))
    return x.requires_grad_(True) if grad else x


def classes(fw: Framework, shape: int | tuple[int, ...], n: int):
    return fw.torch.from_numpy(np.asarray(np.random.default_rng(1).integers(0, n, shape)))


def digits_source(name: str) -> str:
    """The digits example as a program of jitorch or of a peer with the same interface."""
    return re.sub(r"\bjitorch\b", name, (ROOT / "examples" / "digits.py").read_text())


def digits_module(name: str) -> types.ModuleType:
    module = types.ModuleType(f"digits_with_{name}")
    sys.modules[module.__name__] = module
    exec(compile(digits_source(name), str(ROOT / "examples" / "digits.py"), "exec"), module.__dict__)
    return module

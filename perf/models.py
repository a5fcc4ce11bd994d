"""The models that are trained, written once for jitorch and its peers, and one training step of each."""
from __future__ import annotations

import re
import sys
import types
from collections.abc import Callable
from typing import Any

import numpy as np

from .harness import ROOT, Framework


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
    model = digits_module(fw.name).DigitNet()
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


# -- their parts -----------------------------------------------------------------------------------------------------
def step(fw: Framework, model, optimizer, criterion, inputs, targets) -> Callable[[], Any]:
    """One training step, as a tutorial writes it; returns the loss, not read."""
    def train():
        optimizer.zero_grad()
        loss = criterion(model(inputs), targets)
        loss.backward()
        optimizer.step()
        fw.finish()
        return loss
    return train


def floats(fw: Framework, *shape: int, grad: bool = False, seed: int = 0):
    """Standard normal numbers, the same for every framework."""
    x = fw.torch.from_numpy(np.array(np.random.default_rng(seed).standard_normal(shape, np.float32)))
    return x.requires_grad_(True) if grad else x


def classes(fw: Framework, rows: int, n: int):
    return fw.torch.from_numpy(np.random.default_rng(1).integers(0, n, rows))


def digits_source(name: str) -> str:
    """The digits example as a program of jitorch or of a peer with the same interface."""
    return re.sub(r"\bjitorch\b", name, (ROOT / "examples" / "digits.py").read_text())


def digits_module(name: str) -> types.ModuleType:
    module = types.ModuleType(f"digits_with_{name}")
    sys.modules[module.__name__] = module
    exec(compile(digits_source(name), str(ROOT / "examples" / "digits.py"), "exec"), module.__dict__)
    return module

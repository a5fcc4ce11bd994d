"""A small GPT that learns to write Python, character by character, from the sources of the standard library.

    python examples/char_gpt.py               300 steps, a minute or two on two cores
    python examples/char_gpt.py --quick       a few seconds
    python examples/char_gpt.py --steps 3000 --layers 4
"""
from __future__ import annotations

import argparse
import importlib
import inspect
import math
import sys
import time

import numpy as np

import jitorch as torch
import jitorch.nn as nn
import jitorch.nn.functional as F
import jitorch.optim as optim

MODULES = ("argparse", "ast", "collections", "dataclasses", "functools", "inspect", "json.decoder", "json.encoder",
           "logging", "os", "random", "shutil", "statistics", "string", "subprocess", "tempfile", "textwrap",
           "threading", "typing")
CONTEXT = 64                # characters that the model looks back on
BATCH = 16
WIDTH, HEADS = 96, 4


def main(argv: list[str] | None = None) -> int:
    options = parse(argv)
    torch.manual_seed(options.seed)
    rng = np.random.default_rng(options.seed)
    text, alphabet = read_sources()
    training, held_out = text[:-len(text) // 20], text[-len(text) // 20:]
    model = GPT(len(alphabet), options.layers)
    print(f"{len(text):,} characters of {len(MODULES)} modules, {len(alphabet)} different ones; "
          f"{sum(p.numel() for p in model.parameters()):,} parameters; "
          f"guessing would give a loss of {math.log(len(alphabet)):.2f}")

    train(model, training, options.steps, rng)
    print(f"held-out loss: {held_out_loss(model, held_out):.4f}")

    prompt = held_out[:CONTEXT]
    written = write(model, prompt, options.sample)
    print("--- what it writes on: ---")
    print("".join(alphabet[i] for i in prompt) + "|" + "".join(alphabet[i] for i in written))
    return 0


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="A small GPT that learns to write Python.")
    parser.add_argument("--steps", type=int, help="training steps (300, with --quick 12)")
    parser.add_argument("--layers", type=int, help="layers of the model (3, with --quick 1)")
    parser.add_argument("--sample", type=int, help="characters to write at the end (400, with --quick 40)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quick", action="store_true", help="a few seconds only")
    options = parser.parse_args(argv)
    for name, usual, quick in (("steps", 300, 12), ("layers", 3, 1), ("sample", 400, 40)):
        if getattr(options, name) is None:
            setattr(options, name, quick if options.quick else usual)
        elif getattr(options, name) < 1:
            parser.error(f"--{name}: at least 1")
    return options


def read_sources() -> tuple[np.ndarray, str]:
    """The text as numbers (n,), and the character that each number stands for; only ASCII is kept."""
    sources = "\n".join(inspect.getsource(importlib.import_module(name)) for name in MODULES)
    codes = np.frombuffer(sources.encode("ascii", "ignore"), np.uint8)
    alphabet, text = np.unique(codes, return_inverse=True)
    return text.reshape(-1).astype(np.int64), bytes(alphabet).decode("ascii")


# -- the model -------------------------------------------------------------------------------------------------------
class Block(nn.Module):
    """Attention to earlier characters, then a layer for each character by itself; both add to what comes in."""

    def __init__(self):
        super().__init__()
        self.norm1 = nn.LayerNorm(WIDTH)
        self.attention = nn.Linear(WIDTH, 3 * WIDTH)
        self.mixed = nn.Linear(WIDTH, WIDTH)
        self.norm2 = nn.LayerNorm(WIDTH)
        self.expand = nn.Linear(WIDTH, 4 * WIDTH)
        self.shrink = nn.Linear(4 * WIDTH, WIDTH)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        n, length, _ = x.shape
        heads = self.attention(self.norm1(x)).view(n, length, 3, HEADS, WIDTH // HEADS).permute(2, 0, 3, 1, 4)
        seen = F.scaled_dot_product_attention(heads[0], heads[1], heads[2], is_causal=True)
        x = x + self.mixed(seen.transpose(1, 2).reshape(n, length, WIDTH))      # the heads side by side
        return x + self.shrink(F.gelu(self.expand(self.norm2(x))))


class GPT(nn.Module):
    """Characters (n, length) -> scores (n, length, alphabet) of the character that follows each of them."""

    def __init__(self, alphabet: int, layers: int):
        super().__init__()
        self.character = nn.Embedding(alphabet, WIDTH)
        self.place = nn.Embedding(CONTEXT, WIDTH)
        self.blocks = nn.ModuleList([Block() for _ in range(layers)])
        self.norm = nn.LayerNorm(WIDTH)
        self.scores = nn.Linear(WIDTH, alphabet)
        for table in (self.character, self.place):
            nn.init.normal_(table.weight, std=0.02)

    def forward(self, text: torch.Tensor) -> torch.Tensor:
        x = self.character(text) + self.place(torch.arange(text.shape[1]))
        for block in self.blocks:
            x = block(x)
        return self.scores(self.norm(x))


# -- training and use ------------------------------------------------------------------------------------------------
def train(model: nn.Module, text: np.ndarray, steps: int, rng: np.random.Generator) -> None:
    """AdamW on random passages; the learning rate rises over a tenth of the steps, then falls along a cosine."""
    optimizer = optim.AdamW(model.parameters(), lr=3e-3, weight_decay=0.01)
    rising = max(1, steps // 10)
    schedule = optim.lr_scheduler.LambdaLR(optimizer, lambda step: min(
        (step + 1) / rising, 0.1 + 0.45 * (1 + math.cos(math.pi * min(1, step / steps)))))
    began = time.perf_counter()
    for step in range(steps):
        loss = loss_of(model, passages(text, rng.integers(0, len(text) - CONTEXT, BATCH)))
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if step % max(1, steps // 15) == 0 or step == steps - 1:
            print(f"step {step:4}  loss {loss.item():.4f}  {time.perf_counter() - began:6.1f} s", flush=True)


def passages(text: np.ndarray, starts: np.ndarray) -> torch.Tensor:
    """(n, CONTEXT + 1): each passage and the character after it."""
    return torch.from_numpy(text[starts[:, None] + np.arange(CONTEXT + 1)])


def loss_of(model: nn.Module, batch: torch.Tensor) -> torch.Tensor:
    scores = model(batch[:, :-1])
    return F.cross_entropy(scores.flatten(0, 1), batch[:, 1:].flatten())


def held_out_loss(model: nn.Module, text: np.ndarray) -> float:
    """The mean over passages spread over the whole text, 8 batches of them."""
    starts = np.linspace(0, len(text) - CONTEXT - 1, 8 * BATCH).astype(np.int64)
    with torch.no_grad():
        losses = [loss_of(model, passages(text, part)).item() for part in np.split(starts, 8)]
    return sum(losses) / len(losses)


def write(model: nn.Module, prompt: np.ndarray, count: int, temperature: float = 0.8) -> list[int]:
    """`count` characters that go on from the prompt, each drawn by its probability."""
    text = torch.from_numpy(prompt).unsqueeze(0)
    written = []
    with torch.no_grad():
        for _ in range(count):
            probability = F.softmax(model(text)[:, -1] / temperature, dim=-1)
            following = torch.multinomial(probability, num_samples=1)
            written.append(following.item())
            text = torch.cat([text[:, 1:], following], dim=1)       # as long as before: no new program
    return written


if __name__ == "__main__":
    sys.exit(main())

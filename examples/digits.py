"""Learn to read handwritten digits: a small convolutional network, from the data to a checkpoint.

    python examples/digits.py             well under a minute on two cores; reads some 99% of the held-out digits right
    python examples/digits.py --quick     a few seconds

The digits are 1,797 real ones, 8 x 8 pixels, written by 43 people (E. Alpaydin and C. Kaynak, "Optical Recognition of
Handwritten Digits", UCI Machine Learning Repository, 1998). scikit-learn ships them; only its file is read.
"""
from __future__ import annotations

import time

LOADED_AT = time.perf_counter()     # before the imports below, for seconds_since_start

import argparse  # noqa: E402
import gzip  # noqa: E402
import importlib.util  # noqa: E402
import os  # noqa: E402
import sys  # noqa: E402
import tempfile  # noqa: E402
from collections.abc import Callable, Iterator  # noqa: E402
from contextlib import contextmanager  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import NamedTuple  # noqa: E402

import numpy as np  # noqa: E402

import jitorch as torch  # noqa: E402
import jitorch.nn as nn  # noqa: E402
import jitorch.nn.functional as F  # noqa: E402
import jitorch.optim as optim  # noqa: E402
from jitorch.utils.data import DataLoader, TensorDataset  # noqa: E402

HELD_OUT = 36               # of each digit: 360 in all
BATCH = 64


Show = Callable[[int, float, float, float], None]     # see train


class Digits(NamedTuple):
    """Pictures (n, 1, 8, 8), float32 from 0 to 1, and the digits they show (n,), int64."""

    pictures: torch.Tensor
    labels: torch.Tensor


def main(argv: list[str] | None = None) -> int:
    """Train, test, show and save; returns the exit status."""
    options = parse(argv)
    torch.manual_seed(options.seed)
    training, held_out = split(*read_digits(), seed=options.seed)
    print(f"{len(training.labels)} digits to learn from, {len(held_out.labels)} held out")

    model = DigitNet()
    began = time.perf_counter()
    with progress(options.epochs) as show:
        train(model, training, options.epochs, options.lr, show)
    print(f"trained {options.epochs} epochs in {time.perf_counter() - began:.1f} s")

    predicted = predict(model, held_out.pictures)
    right = int((predicted == held_out.labels).sum())
    print(f"held-out accuracy: {100 * right / len(predicted):.2f}% ({right} of {len(predicted)})")
    print(confusion_table(held_out.labels.numpy(), predicted.numpy()))

    check_checkpoint(model, held_out.pictures, predicted, options.checkpoint)
    if options.picture:
        draw(held_out, predicted.numpy(), options.picture)
        print(f"sample predictions drawn: {options.picture}")
    return 0


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Learn to read handwritten digits.")
    parser.add_argument("--epochs", type=int, help="times through the training digits (20, with --quick 5)")
    parser.add_argument("--lr", type=float, default=3e-3, help="Adam's learning rate at the start (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of weights, batches and held-out digits (%(default)s)")
    parser.add_argument("--quick", action="store_true", help="train for a few seconds only")
    parser.add_argument("--picture", metavar="FILE", type=Path, help="draw sample predictions, to a .png file")
    parser.add_argument("--checkpoint", metavar="FILE", type=Path, help="where to save it (default: a temporary file)")
    options = parser.parse_args(argv)
    if options.epochs is None:
        options.epochs = 5 if options.quick else 20
    if options.epochs < 1:
        parser.error("--epochs: at least 1")
    if options.picture and importlib.util.find_spec("PIL") is None:     # said before the training, not after it
        parser.error("--picture needs Pillow. Install it with: pip install 'jitorch[examples]'")
    if options.picture:
        try:
            options.picture.parent.mkdir(parents=True, exist_ok=True)
            options.picture.open("ab").close()
        except OSError as error:
            parser.error(f"--picture: {error}")
    return options


# -- the data --------------------------------------------------------------------------------------------------------
def read_digits() -> tuple[np.ndarray, np.ndarray]:
    """Pictures (1797, 1, 8, 8) from 0 to 1 and their digits (1797,), from the file inside the scikit-learn package.

    The package isn't imported: that would take longer than the first epochs.
    """
    package = importlib.util.find_spec("sklearn")
    file = Path(package.origin).parent / "datasets" / "data" / "digits.csv.gz" if package and package.origin else None
    if file is None or not file.exists():
        raise SystemExit("The digits come with scikit-learn, which is not installed. "
                         "Install it with: pip install 'jitorch[examples]'")
    with gzip.open(file, "rt") as lines:
        table = np.loadtxt(lines, delimiter=",", dtype=np.float32)
    return table[:, :64].reshape(-1, 1, 8, 8) / 16, table[:, 64].astype(np.int64)


def split(pictures: np.ndarray, labels: np.ndarray, seed: int) -> tuple[Digits, Digits]:
    """(to learn from, held out): as many of each digit are held out, chosen by the seed."""
    order = np.random.default_rng(seed).permutation(len(labels))
    held = np.concatenate([order[labels[order] == digit][:HELD_OUT] for digit in range(10)])
    rest = np.setdiff1d(order, held)
    training, held_out = (Digits(torch.from_numpy(pictures[i]), torch.from_numpy(labels[i])) for i in (rest, held))
    return training, held_out


# -- the model and its training --------------------------------------------------------------------------------------
class DigitNet(nn.Module):
    """Two convolutions, each normalised and pooled, then two linear layers: (n, 1, 8, 8) -> scores (n, 10)."""

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 16, kernel_size=3, padding=1, bias=False)     # the normalisation adds one
        self.norm1 = nn.BatchNorm2d(16)
        self.conv2 = nn.Conv2d(16, 32, kernel_size=3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(32)
        self.dropout = nn.Dropout(0.3)
        self.hidden = nn.Linear(32 * 2 * 2, 64)
        self.scores = nn.Linear(64, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.max_pool2d(F.relu(self.norm1(self.conv1(x))), 2)
        x = F.max_pool2d(F.relu(self.norm2(self.conv2(x))), 2)
        x = self.dropout(x.flatten(1))
        return self.scores(F.relu(self.hidden(x)))


def train(model: nn.Module, digits: Digits, epochs: int, lr: float, show: Show) -> None:
    """Train with Adam, the learning rate falling to zero along a cosine.

    After each step, `show(epoch, part, loss, accuracy)` gets the part of the epoch that is done (0 to 1) and its means
    so far.
    """
    loader: DataLoader = DataLoader(TensorDataset(*digits), batch_size=BATCH, shuffle=True)
    optimizer = optim.Adam(model.parameters(), lr=lr)
    schedule = optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=epochs)
    model.train()
    for epoch in range(1, epochs + 1):
        loss_sum, right, seen = 0.0, 0, 0
        for pictures, labels in loader:
            scores = model(pictures)
            loss = F.cross_entropy(scores, labels)
            hits = (scores.argmax(dim=1) == labels).sum()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            first = epoch == 1 and seen == 0
            seen += len(labels)
            loss_sum += loss.item() * len(labels)
            right += hits.item()
            if first:
                print(f"first training step done {seconds_since_start():.2f} s after the start of the process")
            show(epoch, seen / len(digits.labels), loss_sum / seen, right / seen)
        schedule.step()


def predict(model: nn.Module, pictures: torch.Tensor) -> torch.Tensor:
    """The likeliest digit of each picture: (n, 1, 8, 8) -> (n,), int64."""
    model.eval()
    with torch.no_grad():
        return model(pictures).argmax(dim=1)


def check_checkpoint(model: nn.Module, pictures: torch.Tensor, predicted: torch.Tensor,
                     file: Path | None = None) -> None:
    """Save the weights, load them into a new model and see that it predicts the same."""
    with tempfile.TemporaryDirectory() as folder:
        path = file or Path(folder) / "digits.pt"
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.save(model.state_dict(), path)
        restored = DigitNet()
        restored.load_state_dict(torch.load(path))
        size = path.stat().st_size
    if not torch.equal(predict(restored, pictures), predicted):
        raise SystemExit("the model loaded back from the checkpoint does not predict what the saved one does")
    print(f"checkpoint saved and loaded back, same predictions: {file or 'a temporary file'} ({size:,} bytes)")


# -- what one sees ---------------------------------------------------------------------------------------------------
@contextmanager
def progress(epochs: int) -> Iterator[Show]:
    """A function that shows a step: a bar where rich is installed and has a terminal, otherwise a line an epoch."""
    if not sys.stdout.isatty() or importlib.util.find_spec("rich") is None:
        def line(epoch: int, part: float, loss: float, accuracy: float) -> None:
            if part == 1:
                print(f"epoch {epoch:2}/{epochs}  loss {loss:.4f}  accuracy {accuracy:.2%}", flush=True)

        yield line
        return
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
    with Progress(TextColumn("epoch {task.fields[epoch]}"), BarColumn(bar_width=None),
                  TextColumn("loss [bold]{task.fields[loss]}[/]"),
                  TextColumn("accuracy [bold green]{task.fields[accuracy]}[/]"), TimeElapsedColumn()) as bar:
        task = bar.add_task("", total=epochs, epoch=f"1/{epochs}", loss="-", accuracy="-")
        yield lambda epoch, part, loss, accuracy: bar.update(
            task, completed=epoch - 1 + part, epoch=f"{epoch}/{epochs}", loss=f"{loss:.4f}", accuracy=f"{accuracy:.2%}")


def seconds_since_start() -> float:
    """Since the start of the process, interpreter included; elsewhere than on Linux, since the start of this file."""
    try:
        fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
        return time.clock_gettime(time.CLOCK_BOOTTIME) - int(fields[19]) / os.sysconf("SC_CLK_TCK")
    except (OSError, AttributeError, ValueError, IndexError):
        return time.perf_counter() - LOADED_AT


def confusion_table(labels: np.ndarray, predicted: np.ndarray) -> str:
    """How often each digit (a row) was read as each digit (a column).

    >>> print(confusion_table(np.array([0, 1, 1]), np.array([0, 1, 7])).splitlines()[2])
       1 |  .   1   .   .   .   .   .   1   .   .
    """
    counts = np.zeros((10, 10), np.int64)
    np.add.at(counts, (labels, predicted), 1)
    head = "true | " + "".join(f"{digit:>2}  " for digit in range(10)).rstrip() + "  <- read as"
    rows = [f"{digit:>4} | " + "".join(f"{n or '.':>2}  " for n in row).rstrip() for digit, row in enumerate(counts)]
    return "\n".join([head, *rows])


def draw(digits: Digits, predicted: np.ndarray, file: Path) -> None:
    """Write a picture of 40 held-out digits and what they were read as; mistakes (up to 20) come first, in red."""
    from PIL import Image, ImageDraw
    labels, pictures = digits.labels.numpy(), digits.pictures.numpy()
    wrong = np.flatnonzero(predicted != labels)[:20]
    correct = np.flatnonzero(predicted == labels)
    spread = np.linspace(0, len(correct) - 1, min(40 - len(wrong), len(correct)), dtype=int)
    sample = np.concatenate([wrong, correct[spread]])
    columns, scale, margin, caption = 10, 7, 10, 14
    width, height = 8 * scale + margin, 8 * scale + caption + margin
    sheet = Image.new("RGB", (columns * width + margin, -(-len(sample) // columns) * height + margin), "white")
    pen = ImageDraw.Draw(sheet)
    for place, i in enumerate(sample):
        x, y = margin + place % columns * width, margin + place // columns * height
        ink = Image.fromarray((255 * (1 - pictures[i, 0])).astype(np.uint8))
        sheet.paste(ink.resize((8 * scale, 8 * scale), Image.Resampling.NEAREST), (x, y))
        pen.rectangle((x - 1, y - 1, x + 8 * scale, y + 8 * scale), outline="lightgray")
        mistake = predicted[i] != labels[i]
        text = f"{predicted[i]}, is {labels[i]}" if mistake else f"{predicted[i]}"
        pen.text((x, y + 8 * scale + 1), text, fill="red" if mistake else "green")
    sheet.save(file, "PNG")


if __name__ == "__main__":
    sys.exit(main())

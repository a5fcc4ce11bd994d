"""The examples, each run as a user runs it, with --quick: what they print and write."""
from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LOSS = re.compile(r"loss (\d+\.\d+)")


def run(name: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """An example in a process of its own, from a checkout that need not be installed."""
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    settings = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), **environment}
    return python(str(ROOT / "examples" / f"{name}.py"), *arguments, env=settings)


def python(*arguments: str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, cwd=ROOT, env=env, timeout=300)


def output(name: str, *arguments: str, **environment: str) -> str:
    done = run(name, *arguments, **environment)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def losses(text: str, prefix: str = "") -> list[float]:
    return [float(found) for line in text.splitlines() if line.startswith(prefix) for found in LOSS.findall(line)]


# -- digits ----------------------------------------------------------------------------------------------------------
def test_digits(tmp_path):
    pytest.importorskip("sklearn")
    image = pytest.importorskip("PIL.Image")
    picture, checkpoint = tmp_path / "seen.png", tmp_path / "weights" / "digits.pt"
    text = output("digits", "--quick", "--picture", str(picture), "--checkpoint", str(checkpoint),
                  JITORCH_CACHE_DIR=str(tmp_path / "cache"))
    accuracy, right = re.search(r"held-out accuracy: ([\d.]+)% \((\d+) of 360\)", text).groups()
    assert float(accuracy) > 95 and abs(float(accuracy) - int(right) / 3.6) < 0.01, text
    rows = re.findall(r"^ +\d \| .*$", text, re.MULTILINE)
    counts = [[int(n) if n != "." else 0 for n in row.split("|")[1].split()] for row in rows]
    assert [sum(row) for row in counts] == [36] * 10
    assert sum(counts[i][i] for i in range(10)) == int(right)
    seconds = float(re.search(r"first training step done ([\d.]+) s after the start", text).group(1))
    assert 0 < seconds < 10, "2 s when nothing else runs; perf/ holds that figure"
    assert "saved and loaded back, same predictions" in text
    assert checkpoint.stat().st_size > 10_000
    with image.open(picture) as drawn:
        assert drawn.size[0] > 500 and len(drawn.getcolors(1 << 16)) > 16


def test_digits_checkpoint_holds_the_weights(tmp_path):
    """What is in the file gives the accuracy that was printed, in another process."""
    pytest.importorskip("sklearn")
    checkpoint = tmp_path / "digits.pt"
    text = output("digits", "--epochs", "1", "--checkpoint", str(checkpoint))
    program = f"""
import sys
sys.path.insert(0, {str(ROOT / "examples")!r})
import digits, jitorch
model = digits.DigitNet()
model.load_state_dict(jitorch.load({str(checkpoint)!r}))
_, held_out = digits.split(*digits.read_digits(), seed=0)
print(int((digits.predict(model, held_out.pictures) == held_out.labels).sum()))
"""
    done = python("-c", program)
    assert done.returncode == 0, done.stderr
    assert f"({int(done.stdout)} of 360)" in text


@pytest.mark.parametrize("absent", ["sklearn", "PIL"])
def test_digits_without_a_package(absent, tmp_path):
    """A clear message before any training, instead of a traceback."""
    (tmp_path / "sitecustomize.py").write_text(
        "import importlib.util\nfind = importlib.util.find_spec\n"
        f"importlib.util.find_spec = lambda name, *a: None if name == {absent!r} else find(name, *a)\n")
    done = run("digits", "--quick", "--picture", str(tmp_path / "no.png"),
               PYTHONPATH=os.pathsep.join([str(tmp_path), str(ROOT)]))
    assert done.returncode in (1, 2) and "epoch" not in done.stdout
    assert "pip install 'jitorch[examples]'" in done.stderr and "Traceback" not in done.stderr


def test_digits_does_not_import_sklearn():
    pytest.importorskip("sklearn")
    program = f"""
import sys
sys.path.insert(0, {str(ROOT / "examples")!r})
import digits
pictures, labels = digits.read_digits()
print(pictures.shape, labels.shape, pictures.min(), pictures.max(), set(labels.tolist()), 'sklearn' in sys.modules)
"""
    done = python("-c", program)
    assert done.stdout == "(1797, 1, 8, 8) (1797,) 0.0 1.0 {0, 1, 2, 3, 4, 5, 6, 7, 8, 9} False\n", done.stderr


def test_digits_held_out_are_apart_from_the_others():
    pytest.importorskip("sklearn")
    digits = load("digits")
    pictures, labels = digits.read_digits()
    training, held_out = digits.split(pictures, labels, seed=3)
    assert len(held_out.labels) == 360 and len(training.labels) + 360 == len(labels)
    both = [tuple(p) for part in (training, held_out) for p in part.pictures.flatten(1).tolist()]
    assert sorted(both) == sorted(map(tuple, pictures.reshape(-1, 64).tolist()))
    other = digits.split(pictures, labels, seed=4)[1]
    assert other.pictures.tolist() != held_out.pictures.tolist()


def test_digits_in_a_terminal():
    """Where it has a terminal and rich, it shows a bar, with loss and accuracy."""
    pytest.importorskip("sklearn")
    pytest.importorskip("rich")
    pytest.importorskip("pty")      # not on Windows
    program = f"""
import os, pty, sys
os.environ.update(TERM="xterm", COLUMNS="100", PYTHONPATH={str(ROOT)!r})
sys.exit(pty.spawn([sys.executable, {str(ROOT / "examples" / "digits.py")!r}, "--epochs", "1"]) != 0)
"""
    done = python("-c", program)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "epoch 1/1" in done.stdout and "\u2501" in done.stdout and "accuracy" in done.stdout


def test_documentation_of_digits():
    import doctest
    assert doctest.testmod(load("digits")) == (0, 1)


# -- the others ------------------------------------------------------------------------------------------------------
def test_curve_fit():
    text = output("curve_fit", "--quick")
    for name in ("cubic", "network"):
        found = losses(text, name)
        assert found[-1] < 0.02 < found[0], text
    values = [tuple(map(float, found)) for found in re.findall(r"= ([+-][\d.]+), the sine is ([+-][\d.]+)", text)]
    assert len(values) == 3 and all(abs(got - sine) < 0.2 for got, sine in values), text


def test_char_gpt():
    text = output("char_gpt", "--quick", "--sample", "25")
    found = losses(text, "step")
    assert len(found) == 12 and 4 < found[0] < 6 and found[-1] < 3.3, text
    assert float(re.search(r"held-out loss: ([\d.]+)", text).group(1)) < 3.3
    written = text.partition("--- what it writes on: ---\n")[2].removesuffix("\n")
    assert len(written) == 64 + 1 + 25


def test_char_gpt_looks_back_only():
    """A character changed leaves the scores of those before it as they are, and changes its own and later ones."""
    import jitorch as torch
    gpt = load("char_gpt")
    torch.manual_seed(0)
    model = gpt.GPT(alphabet=11, layers=2)
    text = torch.randint(0, 11, (2, gpt.CONTEXT))
    other = text.clone()
    other[:, 40] = (other[:, 40] + 1) % 11
    with torch.no_grad():
        differ = (model(text) - model(other)).abs().amax(dim=(0, 2))
    assert differ[:40].max().item() < 1e-6
    assert differ[40:].min().item() > 1e-5


@pytest.mark.parametrize("name", ["digits", "curve_fit", "char_gpt"])
def test_help_and_wrong_options(name):
    assert "--quick" in output(name, "--help")
    done = run(name, "--no-such-option")
    assert done.returncode == 2 and "--no-such-option" in done.stderr


def load(name: str):
    """An example as a module."""
    import importlib.util
    spec = importlib.util.spec_from_file_location(f"example_{name}", ROOT / "examples" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module

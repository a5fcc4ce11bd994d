"""Programs written for PyTorch, run by PyTorch and by `jitorch run`: they print the same losses."""
from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import jitorch

pytest.importorskip("torch")
ROOT = Path(__file__).parents[1]
PROGRAMS = sorted((ROOT / "tests" / "programs").glob("*.py"))
NUMBER = re.compile(r"-?\d+\.\d+(?:e-?\d+)?")


def output(*command: str) -> list[str]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])}
    done = subprocess.run([sys.executable, *command], capture_output=True, text=True, env=environment, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.splitlines()


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda p: p.stem)
def test_a_pytorch_program_gives_the_same_losses(program):
    ours, theirs = output("-m", "jitorch", "run", str(program)), output(str(program))
    assert [NUMBER.sub("#", line) for line in ours] == [NUMBER.sub("#", line) for line in theirs]
    assert any("loss" in line for line in theirs)
    for mine, right in zip(ours, theirs, strict=True):
        assert [float(x) for x in NUMBER.findall(mine)] == pytest.approx([float(x) for x in NUMBER.findall(right)], rel=3e-3, abs=3e-4), right


def test_arguments_and_exit_status(tmp_path):
    script = tmp_path / "program.py"
    script.write_text("import sys, torch\nprint(sys.argv[1:], torch.__version__ >= '2', __name__)\nsys.exit(3)")
    done = subprocess.run([sys.executable, "-m", "jitorch", "run", str(script), "--lr", "2"], capture_output=True, text=True, cwd=ROOT)
    assert (done.returncode, done.stdout) == (3, "['--lr', '2'] True __main__\n")


IN_PROCESS = """
import sys, jitorch
alias = jitorch.as_torch()
import torch, torch.nn as nn
import torch.nn.functional as F
from torch.utils.data import DataLoader
from torch import Tensor, optim
assert nn is jitorch.nn and F is jitorch.nn.functional and Tensor is jitorch.Tensor and torch.tensor is jitorch.tensor
assert jitorch.nn.__spec__.name == "jitorch.nn" and sys.modules["torch.nn"] is jitorch.nn
assert jitorch.as_torch().finder is alias.finder
try:
    import torch.utils.tensorboard
except ModuleNotFoundError as error:
    assert "torch.utils.tensorboard" in str(error)
else:
    raise AssertionError
alias.undo()
assert "torch" not in sys.modules and not any(type(f).__name__ == "Finder" for f in sys.meta_path)
"""


def test_as_torch_and_its_end():
    output("-c", IN_PROCESS)


def test_as_torch_refuses_to_mix_with_pytorch():
    assert "torch" in sys.modules
    with pytest.raises(RuntimeError, match="imported already"):
        jitorch.as_torch()

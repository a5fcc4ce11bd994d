"""What README and CONTRIBUTING show is so: their programs run, and the entry that they explain is the real one."""
from __future__ import annotations

import re
from pathlib import Path

import pytest

import jitorch

ROOT = Path(__file__).parents[1]


def blocks(name: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", (ROOT / name).read_text(), re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("block", blocks("README.md", "python"))
def test_programs_of_the_readme(block, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    exec(compile(block, "README.md", "exec"), {"__name__": "readme"})
    loss = re.search(r"loss (\S+)", capsys.readouterr().out)
    assert loss is not None and float(loss.group(1)) < 0.05


def test_programs_of_the_architecture():
    scope: dict = {"__name__": "architecture"}
    for number, block in enumerate(blocks("ARCHITECTURE.md", "python"), 1):
        exec(compile(block, f"ARCHITECTURE.md, block {number}", "exec"), scope)


def test_the_explained_entry_is_the_real_one():
    (block,) = blocks("CONTRIBUTING.md", "python")
    source = (ROOT / "jitorch" / "ops" / "ternary.py").read_text()
    assert block.strip() in source


def test_files_and_commands_that_are_named_exist():
    text = "".join((ROOT / name).read_text() for name in ("README.md", "CONTRIBUTING.md"))
    for path in re.findall(r"`((?:[\w.]+/)+[\w.]*|\w+\.(?:md|py))`", text):
        if path not in ("program.py", "digits.py", "curve_fit.py", "char_gpt.py"):
            assert any((base / path).exists() for base in (ROOT, ROOT / "jitorch")), path
    switches = set(re.findall(r"JITORCH_\w+", text))
    package = "".join(f.read_text() for f in (ROOT / "jitorch").rglob("*.py"))
    assert switches and all(s in package for s in switches)


@pytest.mark.parametrize("folder", ["ops", "graph", "kernels/cpu", "tracing"])
def test_a_map_of_a_package_names_each_of_its_files(folder):
    text = (ROOT / "jitorch" / folder / "__init__.py").read_text()
    named = set(re.findall(r"\b\w+\.py\b", text))
    assert named == {path.name for path in (ROOT / "jitorch" / folder).glob("*.py")} - {"__init__.py"}


def test_the_package_says_its_version():
    assert re.fullmatch(r"\d+\.\d+\.\d+", jitorch.__version__)


def test_the_table_of_operations_is_what_the_op_table_says():
    from jitorch.ops.table import kinds, markdown

    assert (ROOT / "docs" / "operations.md").read_text() == markdown(), "run: python -m jitorch.ops.table > docs/operations.md"
    assert set(kinds().values()) == {"kernel", "call", "composed"}

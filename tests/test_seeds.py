"""Programs as tutorials show them: under jitorch they do what they do under PyTorch, also where they are wrong."""
from __future__ import annotations

import importlib
import math
import pkgutil
import traceback
import warnings

import pytest

import tests.seeds

PROGRAMS = sorted(m.name for m in pkgutil.iter_modules(tests.seeds.__path__) if m.name != "glue")


class Outcome:
    """What a program did: its values and output, or the error with the line of the program that raised it."""

    def __init__(self, program, framework: str, capsys):
        names = ("", ".nn", ".nn.functional", ".optim")
        modules = [importlib.import_module(framework + name) for name in names]
        self.values = self.error = self.line = None
        capsys.readouterr()
        with warnings.catch_warnings(record=True) as seen:
            warnings.simplefilter("always")
            try:
                self.values = program.run(*modules)
            except Exception as error:      # compared below with the error that is expected
                self.error = error
                frames = [f for f in traceback.extract_tb(error.__traceback__) if f.filename == program.__file__]
                self.line = frames[-1].lineno if frames else None
        captured = capsys.readouterr()
        self.output, self.warnings = captured.out, captured.err + "".join(str(w.message) for w in seen)


@pytest.fixture(params=PROGRAMS)
def program(request):
    return importlib.import_module(f"tests.seeds.{request.param}")


def test_program(program, capsys):
    """Runs everywhere: the error is the expected one, and what is compared with PyTorch elsewhere is at least there."""
    outcome = Outcome(program, "jitorch", capsys)
    check_expected(program, outcome)


def test_program_as_in_pytorch(program, capsys):
    pytest.importorskip("torch")
    expected, got = Outcome(program, "torch", capsys), Outcome(program, "jitorch", capsys)
    check_expected(program, expected)
    check_expected(program, got)
    assert got.line == expected.line
    assert_same(got.values, expected.values, program.__name__)
    if expected.error is None:
        same_words(got.output, expected.output)


def check_expected(program, outcome: Outcome) -> None:
    name, message = getattr(program, "RAISES", (None, None))
    if name is None:
        if outcome.error is not None:
            raise outcome.error
        assert outcome.values is not None
        return
    assert outcome.error is not None, f"{program.__name__}: no {name} was raised"
    assert type(outcome.error).__name__ == name, f"{outcome.error!r}"
    assert message in str(outcome.error)
    assert getattr(program, "NAMES", "") in outcome.warnings + str(outcome.error)


def assert_same(got, expected, where: str) -> None:
    """Equal, numbers up to rounding; containers are gone through."""
    if isinstance(expected, float) and not isinstance(got, bool):
        assert math.isclose(got, expected, rel_tol=2e-4, abs_tol=2e-5), f"{where}: {got} instead of {expected}"
    elif isinstance(expected, dict):
        assert list(got) == list(expected), where
        for key in expected:
            assert_same(got[key], expected[key], f"{where}[{key}]")
    elif isinstance(expected, (list, tuple)):
        assert type(got) is type(expected) and len(got) == len(expected), f"{where}: {got} instead of {expected}"
        for i, pair in enumerate(zip(got, expected, strict=True)):
            assert_same(*pair, f"{where}[{i}]")
    else:
        assert type(got) is type(expected) and got == expected, f"{where}: {got!r} instead of {expected!r}"


def same_words(got: str, expected: str) -> None:
    """The same text printed, numbers up to rounding."""
    one, other = got.split(), expected.split()
    assert len(one) == len(other), f"printed {got!r} instead of {expected!r}"
    for a, b in zip(one, other, strict=True):
        try:
            numbers = float(a), float(b)
        except ValueError:
            assert a == b, f"printed {got!r} instead of {expected!r}"
        else:
            assert math.isclose(*numbers, rel_tol=1e-2, abs_tol=1e-3), f"printed {got!r} instead of {expected!r}"

"""Every entry of the op table, on every sample: the reference tier against PyTorch, the compiled tier against the
reference."""
from __future__ import annotations

import functools
import importlib.util

import pytest

import jitorch
from jitorch.ops.families import METHODS, OPS, PUBLIC

from .harness import Case, cases, compare, run, sample_modules

# Samples of each entry whose second gradients are compiled too. Of all samples they are compared on the reference tier; their kernels are made of
# what other samples' results and gradients compile, and would be a fifth of this file's time.
SECOND = 1
COMPILED = importlib.util.find_spec("jitorch.graph.build") is not None
try:
    import torch
except ImportError:
    torch = None

each_case = pytest.mark.parametrize("case", cases(), ids=str)


@functools.cache
def reference_outcome(case: Case):
    with jitorch.config.using(tier="reference"):
        return run(jitorch, case.function)


@pytest.mark.skipif(torch is None, reason="PyTorch is not installed")
@pytest.mark.parametrize("case", [c for c in cases() if not c.random], ids=str)
def test_reference_agrees_with_torch(case):
    compare(reference_outcome(case), run(torch, case.function), case.tolerance)


@pytest.mark.skipif(not COMPILED, reason="the compiled tier (jitorch.graph.build) is not there")
@each_case
def test_compiled_agrees_with_reference(case):
    with jitorch.config.using(tier="compiled"):
        got = run(jitorch, case.function, gradients=2 if case.number < SECOND else 1)
    compare(got, reference_outcome(case), case.tolerance)


@pytest.mark.parametrize("name", sorted(OPS))
def test_samples_reach_their_op(name, monkeypatch):
    """An entry without a sample fails here, and so does one whose samples never run it."""
    functions = [case.function for case in cases() if case.name == name]
    assert functions, f"the op table has {name!r}, but no file in tests/ops/samples has samples for it"
    op, ran = OPS[name], []
    reference = op.reference

    def spy(*args):
        ran.append(name)
        return reference(*args)

    monkeypatch.setattr(op, "reference", spy)
    with jitorch.config.using(tier="reference"):
        for function in functions:
            run(jitorch, function)
            if ran:
                return
    pytest.fail(f"none of the {len(functions)} samples of {name!r} runs it")


def test_samples_name_what_exists():
    """A misspelt name would be samples that nobody counts."""
    from jitorch.nn import functional
    from jitorch.ops.dispatch import VIEWS

    known = {*OPS, *VIEWS, *PUBLIC, *METHODS, *vars(functional)}
    unknown = {family: sorted(set(module.SAMPLES) - known) for family, module in sample_modules().items()}
    assert not any(unknown.values()), f"samples for what does not exist: {unknown}"

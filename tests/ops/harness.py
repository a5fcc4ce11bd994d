"""Runs one sample function on a tier of jitorch and on PyTorch, and compares everything that comes out.

A samples file, `tests/ops/samples/<family>.py`, holds

- `SAMPLES`: {name in the op table: [f, ...]}. `f(torch, t)` makes its tensors with `t` and returns a tensor or a tuple
of tensors;
  `torch` is jitorch or PyTorch. Keys may also name views and published functions that are compositions.
- `RANDOM` (optional): names whose results are compared between tiers only.
- `TOLERANCE` (optional): {name: {dtype's name: (rtol, atol)}} where rounding (here or in PyTorch) is worse than the
default allows.
"""
from __future__ import annotations

import functools
import importlib.util
import pathlib
import warnings
from dataclasses import dataclass, field

import numpy as np

SAMPLE_FILES = pathlib.Path(__file__).with_name("samples")
DEFAULT_TOLERANCE = {"float16": (2e-3, 2e-3), "float32": (2e-5, 2e-5), "float64": (1e-9, 1e-9), "complex64": (2e-5, 2e-5), "complex128": (1e-9, 1e-9)}
NO_DERIVATIVE = ("not implemented", "not differentiable", "is not supported", "does not require grad")

NOT_ASKED = "not asked for"


class Maker:
    """`t` of a sample: deterministic tensors, the same for every library and tier.

    t(2, 3) is a float32 tensor of that shape, uniform in [low, high), that requires grad. Integer dtypes get whole
    numbers
    from low to high inclusive (uint8: from 0), bool gets both values. t.of(values) makes a tensor of given values.
    """

    def __init__(self, torch):
        self.torch = torch
        self.made = 0
        self.leaves: list = []      # what gradients are taken with respect to

    def __call__(self, *shape, dtype: str = "float32", low: float = -2.0, high: float = 2.0, grad: bool = True):
        rng = np.random.default_rng([self.made, *shape])
        if dtype == "bool":
            array = rng.random(shape) < 0.5
        elif dtype.startswith("complex"):
            array = rng.uniform(low, high, shape) + 1j * rng.uniform(low, high, shape)
        elif dtype.startswith("float"):
            array = rng.uniform(low, high, shape)
        else:
            array = rng.integers(max(int(low), 0) if dtype == "uint8" else int(low), int(high) + 1, shape)
        return self.of(array, dtype=dtype, grad=grad)

    def of(self, values, dtype: str = "float32", grad: bool = True):
        self.made += 1
        tensor = self.torch.tensor(np.array(values, dtype=dtype))
        if grad and dtype.startswith(("float", "complex")):
            tensor.requires_grad_(True)
            self.leaves.append(tensor)
        return tensor


@dataclass
class Outcome:
    """Arrays by what they are: "result 0", "gradient 1", "second gradient 0". `missing`: why second gradients were not
    taken."""

    arrays: dict[str, np.ndarray] = field(default_factory=dict)
    differentiable: list[bool] = field(default_factory=list)
    missing: str | None = None


def cotangent(torch, like, seed: int):
    values = np.random.default_rng([seed, *like.shape]).uniform(0.5, 1.5, tuple(like.shape))
    values = values * np.where(np.arange(values.size) % 3 == 2, -1, 1).reshape(values.shape)
    dtype = like.detach().resolve_conj().numpy().dtype
    return torch.tensor((values * (1 - 0.5j) if dtype.kind == "c" else values).astype(dtype))


def run(torch, sample, gradients: int = 2) -> Outcome:
    """Results, gradients and second gradients of a sample, or as many of those as `gradients` says."""
    t, out = Maker(torch), Outcome()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        results = sample(torch, t)
        results = tuple(results) if isinstance(results, (tuple, list)) else (results,)
        collect(out, "result", results)
        out.differentiable = [bool(r.requires_grad) for r in results]
        roots = [r for r in results if r.requires_grad]
        if gradients and roots and t.leaves:
            first = differentiate(torch, roots, t.leaves, 1)
            collect(out, "gradient", first, t.leaves)
            roots = [g for g in first if g is not None and g.requires_grad]
            if gradients < 2:
                out.missing = NOT_ASKED
                return out
            try:
                second = differentiate(torch, roots, t.leaves, 2) if roots else [None] * len(t.leaves)
            except (RuntimeError, NotImplementedError) as error:
                if not any(words in str(error) for words in NO_DERIVATIVE):
                    raise
                out.missing = str(error)
            else:
                collect(out, "second gradient", second, t.leaves)
    return out


def differentiate(torch, roots, leaves, seed: int):
    return torch.autograd.grad(
        roots, leaves, [cotangent(torch, r, seed) for r in roots], create_graph=True, allow_unused=True
    )


def collect(out: Outcome, kind: str, tensors, leaves=()) -> None:
    """Keep tensors as arrays; a gradient that is None counts as zeros."""
    for i, x in enumerate(tensors):
        out.arrays[f"{kind} {i}"] = (
            np.zeros_like(leaves[i].detach().numpy()) if x is None else np.array(x.detach().resolve_conj().numpy(force=True))
        )


def compare(got: Outcome, want: Outcome, tolerance=None) -> None:
    """AssertionError that names the first thing that differs: what there is, dtypes, shapes, then values."""
    assert got.differentiable == want.differentiable, (
        f"requires_grad is {got.differentiable}, expected {want.differentiable}"
    )
    assert got.missing in (None, NOT_ASKED) or want.missing is not None, f"no second gradient: {got.missing}"
    for what, right in want.arrays.items():
        if what not in got.arrays and got.missing:
            continue
        assert what in got.arrays, f"{what} is absent"
        left = got.arrays[what]
        assert left.dtype == right.dtype, f"{what}: dtype {left.dtype}, expected {right.dtype}"
        assert left.shape == right.shape, f"{what}: shape {left.shape}, expected {right.shape}"
        if right.dtype.kind not in "fc":
            np.testing.assert_array_equal(left, right, err_msg=what)
            continue
        rtol, atol = (tolerance or {}).get(right.dtype.name, DEFAULT_TOLERANCE[right.dtype.name])
        if "gradient" in what:      # sums of products: allow for their size
            finite = np.abs(right[np.isfinite(right)])
            rtol, atol = rtol * 5, atol * max(1.0, float(finite.max(initial=0.0)))
        np.testing.assert_allclose(left, right, rtol=rtol, atol=atol, equal_nan=True, err_msg=what)


@functools.cache
def sample_modules() -> dict:
    modules = {}
    for path in sorted(SAMPLE_FILES.glob("[!_]*.py")):
        spec = importlib.util.spec_from_file_location(f"samples_{path.stem}", path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        modules[path.stem] = module
    return modules


@dataclass(frozen=True, eq=False)
class Case:
    name: str
    number: int
    function: object = field(repr=False)
    random: bool
    tolerance: dict | None

    def __str__(self) -> str:
        return f"{self.name}-{self.number}"


@functools.cache
def cases() -> tuple[Case, ...]:
    """All samples of all files. A name may have samples in several files."""
    found: list[Case] = []
    seen: dict[str, int] = {}
    for module in sample_modules().values():
        for name, functions in module.SAMPLES.items():
            for function in functions:
                seen[name] = seen.get(name, -1) + 1
                found.append(
                    Case(
                        name,
                        seen[name],
                        function,
                        name in getattr(module, "RANDOM", ()),
                        getattr(module, "TOLERANCE", {}).get(name),
                    )
                )
    return tuple(found)

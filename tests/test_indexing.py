"""Indexing against PyTorch: random indices read and written, gradients of both, and the errors."""

from __future__ import annotations

import random

import numpy as np
import pytest

import jitorch

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(params=["reference", "compiled"])
def tier(request):
    with jitorch.config.using(tier=request.param):
        yield request.param


class Dice:
    """Random shapes and indices from a seed."""

    def __init__(self, seed: int):
        self.choose, self.numbers = random.Random(seed), np.random.default_rng(seed)

    def shape(self) -> tuple[int, ...]:
        sizes = [1, 2, 3, 4, 0] if self.choose.random() < 0.1 else [1, 2, 3, 4]
        return tuple(self.choose.choice(sizes) for _ in range(self.choose.randrange(0, 5)))

    def index(self, shape):
        """Integers, slices, None, Ellipsis, index arrays, masks, lists and bools, mixed; now and then too many."""
        choose, items, d, dots = self.choose, [], 0, False
        common = choose.choice([None, (2,), (3, 1), (), (1, 4)])
        while d < len(shape):
            r, n = choose.random(), shape[d]
            if r < 0.18 and n:
                items.append(choose.randrange(-n, n))
                d += 1
            elif r < 0.42:
                ends = [None, *range(-n - 1, n + 2)]
                items.append(slice(choose.choice(ends), choose.choice(ends), choose.choice([None, 1, 2, 3])))
                d += 1
            elif r < 0.5:
                items.append(None)
            elif r < 0.58 and not dots:
                items.append(Ellipsis)
                dots, d = True, d + choose.randrange(0, len(shape) - d + 1)
            elif r < 0.75 and common is not None and n:
                items.append(self.numbers.integers(-n, n, size=common))
                d += 1
            elif r < 0.8 and n:
                size = (n,) if choose.random() < 0.5 or d + 1 >= len(shape) else shape[d : d + 2]
                items.append(self.numbers.integers(0, 2, size=size).astype(bool))
                d += len(size)
            elif r < 0.84 and n:
                items.append([choose.randrange(n) for _ in range(2)])
                d += 1
            elif r < 0.86:
                items.append(choose.choice([True, False]))
            elif r < 0.9:
                break
        return tuple(items) if len(items) != 1 or choose.random() < 0.5 else items[0]


def for_library(lib, index):
    if isinstance(index, tuple):
        return tuple(for_library(lib, i) for i in index)
    return lib.tensor(index) if isinstance(index, np.ndarray) else index


def attempt(function):
    """(result, None) or (None, the error)."""
    try:
        return function(), None
    except (IndexError, RuntimeError, ValueError, TypeError) as error:
        return None, error


def same_failure(ours, theirs, what) -> bool:
    """Whether both failed, with the same type of error. AssertionError where one alone did."""
    assert (ours is None) == (theirs is None), f"{what}: {ours!r}, PyTorch {theirs!r}"
    assert ours is None or isinstance(ours, type(theirs)), f"{what}: {ours!r}, PyTorch {theirs!r}"
    return ours is not None


def grad_of(leaf):
    return np.zeros(tuple(leaf.shape)) if leaf.grad is None else leaf.grad.numpy()


def source(lib, array, transposed: bool):
    """A leaf, and a computed tensor of its values, perhaps not contiguous."""
    leaf = lib.tensor(array, requires_grad=True)
    x = leaf * 1
    return leaf, x.transpose(0, -1) if transposed else x


def check_read(dice: Dice) -> None:
    shape = dice.shape()
    array, index = dice.numbers.normal(size=shape), dice.index(shape)
    transposed = len(shape) > 1 and dice.choose.random() < 0.3
    leaves, got = zip(*(source(lib, array, transposed) for lib in (jitorch, torch)), strict=False)
    (ours, our_error), (theirs, their_error) = (
        attempt(lambda x=x, lib=lib: x[for_library(lib, index)]) for lib, x in zip((jitorch, torch), got, strict=False)
    )
    if same_failure(our_error, their_error, f"x{list(shape)}[{index!r}]"):
        return
    np.testing.assert_array_equal(
        ours.detach().numpy(), theirs.detach().numpy(), err_msg=f"x{list(shape)}[{index!r}]", strict=True
    )
    for result in (ours, theirs):
        (result * result).sum().backward()
    np.testing.assert_allclose(grad_of(leaves[0]), grad_of(leaves[1]), err_msg=f"gradient of x{list(shape)}[{index!r}]")


def has_repeats(index) -> bool:
    items = index if isinstance(index, tuple) else (index,)
    return any(isinstance(i, list) or (isinstance(i, np.ndarray) and i.dtype != bool) for i in items)


def check_write(dice: Dice) -> None:
    shape = dice.shape()
    array, index = dice.numbers.normal(size=shape), dice.index(shape)
    found, error = attempt(lambda: torch.tensor(array)[for_library(torch, index)].shape)
    if error is not None:
        return
    sizes = tuple(n if dice.choose.random() < 0.8 else 1 for n in found)[dice.choose.choice([0, 0, 0, 1]) :]
    value = float(dice.numbers.normal()) if dice.choose.random() < 0.25 else dice.numbers.normal(size=sizes)
    results, leaves, values, errors = [], [], [], []
    for lib in (jitorch, torch):
        leaf, x = source(lib, array, False)
        v = value if isinstance(value, float) else lib.tensor(value, requires_grad=True)
        _, error = attempt(lambda x=x, lib=lib, v=v: x.__setitem__(for_library(lib, index), v))
        results.append(x)
        leaves.append(leaf)
        values.append(v)
        errors.append(error)
    what = f"x{list(shape)}[{index!r}] = {value if isinstance(value, float) else list(sizes)}"
    if same_failure(*errors, what):
        return
    np.testing.assert_array_equal(results[0].detach().numpy(), results[1].detach().numpy(), err_msg=what)
    if has_repeats(index):  # which of several values an element keeps is not defined for gradients
        return
    for x in results:
        (x * x).sum().backward()
    np.testing.assert_allclose(grad_of(leaves[0]), grad_of(leaves[1]), err_msg=what)
    if not isinstance(value, float):
        np.testing.assert_allclose(grad_of(values[0]), grad_of(values[1]), err_msg=what)


@pytest.mark.parametrize("seed", range(8))
def test_random_reads(seed):
    with jitorch.config.using(tier="reference"):
        dice = Dice(seed)
        for _ in range(100):
            check_read(dice)


@pytest.mark.parametrize("seed", range(8))
def test_random_writes(seed):
    with jitorch.config.using(tier="reference"):
        dice = Dice(100 + seed)
        for _ in range(100):
            check_write(dice)


def test_random_reads_and_writes_compiled():
    with jitorch.config.using(tier="compiled"):
        dice = Dice(7)
        for _ in range(12):
            check_read(dice)
            check_write(dice)


X = np.arange(12.0).reshape(3, 4)

BAD = [
    lambda lib, x: x[5],
    lambda lib, x: x[0, 0, 0],
    lambda lib, x: x[::-1],
    lambda lib, x: x[::0],
    lambda lib, x: x[1.5],
    lambda lib, x: x["a"],
    lambda lib, x: x[lib.tensor([0, 5])],
    lambda lib, x: x[lib.tensor([0, -4])],
    lambda lib, x: x[lib.tensor([0.5])],
    lambda lib, x: x[lib.tensor([True, False])],
    lambda lib, x: x[lib.tensor([0, 1]), lib.tensor([0, 1, 2])],
    lambda lib, x: lib.tensor(3.0)[0],
    lambda lib, x: x.__setitem__(0, [1, 2, 3, 4]),
    lambda lib, x: x.__setitem__(0, lib.zeros(3)),
    lambda lib, x: x.__setitem__(lib.tensor([0, 1]), lib.zeros(3)),
    lambda lib, x: x.__setitem__(x > 3, lib.zeros(3)),
    lambda lib, x: x.gather(0, lib.tensor([[5]])),
    lambda lib, x: x.gather(0, lib.tensor([0])),
    lambda lib, x: x.gather(2, lib.tensor([[0]])),
    lambda lib, x: x.index_select(0, lib.tensor([3])),
    lambda lib, x: x.index_select(0, lib.tensor([[0]])),
    lambda lib, x: x.take(lib.tensor([50])),
    lambda lib, x: x.scatter_(0, lib.tensor([[5]]), 1.0),
    lambda lib, x: x.scatter_(0, lib.tensor([[0]]), lib.zeros(1, 1, dtype=lib.float32)),
    lambda lib, x: x.index_add_(0, lib.tensor([5]), lib.ones(1, 4, dtype=lib.float64)),
    lambda lib, x: x.index_copy_(0, lib.tensor([5]), lib.ones(1, 4, dtype=lib.float64)),
    lambda lib, x: x.index_fill_(0, lib.tensor([5]), 1.0),
    lambda lib, x: x.masked_fill(lib.tensor([1, 0, 1, 0]), 0.0),
    lambda lib, x: x.masked_select(lib.tensor([1, 0, 1, 0])),
    lambda lib, x: lib.nn.functional.embedding(lib.tensor([3]), x),
    lambda lib, x: lib.nn.functional.embedding(lib.tensor([-1]), x),
    lambda lib, x: lib.nn.functional.embedding(lib.tensor([0.0]), x),
    lambda lib, x: x.index_put_(
        (lib.tensor([0]), lib.tensor([0]), lib.tensor([0])), lib.tensor(1.0, dtype=lib.float64)
    ),
]


@pytest.mark.parametrize("number", range(len(BAD)))
def test_errors_are_raised_at_the_line(number):
    ours, theirs = (attempt(lambda lib=lib: BAD[number](lib, lib.tensor(X)))[1] for lib in (jitorch, torch))
    assert theirs is not None
    assert isinstance(ours, type(theirs)), f"{ours!r}, PyTorch {theirs!r}"


def test_an_index_computed_later_raises_when_it_runs(tier):
    """An index that is not known yet is checked by the program: nothing is read or written out of bounds."""
    x, index = jitorch.tensor(X), jitorch.tensor([1, 2])
    for use in (
        lambda i: x[i],
        lambda i: x[:, i * 2],
        lambda i: x.index_select(0, i),
        lambda i: x.gather(0, i.view(1, 2)),
        lambda i: jitorch.nn.functional.embedding(i, x),
        lambda i: x.scatter(1, i.view(2, 1) + 2, 1.0),
        lambda i: jitorch.zeros(3).index_add(0, i, jitorch.ones(2)),
    ):
        with pytest.raises(IndexError):
            use(index + 2).numpy()
    assert x.numpy().tolist() == X.tolist()


BY_VECTOR = {
    "index_select": lambda t, i: t.ones(3, 2).index_select(0, i),
    "index_add": lambda t, i: t.zeros(3, 2).index_add(0, i, t.ones(1, 2)),
    "index_copy": lambda t, i: t.zeros(2, 3).index_copy(1, i, t.ones(2, 1)),
    "gather": lambda t, i: t.ones(3).gather(0, i),
    "scatter": lambda t, i: t.zeros(3).scatter(0, i, t.ones(1)),
    "embedding": lambda t, i: t.nn.functional.embedding(i, t.ones(3, 2)),
}


@pytest.mark.parametrize("tier", ["reference", "compiled"])
@pytest.mark.parametrize("name", BY_VECTOR)
def test_a_negative_index_computed_later_does_not_count_from_the_end(name, tier):
    with jitorch.config.using(tier=tier):
        index = jitorch.tensor([0])
        for step in range(3):           # the same program runs again, with another index
            if step == 2:
                with pytest.raises(IndexError):
                    BY_VECTOR[name](jitorch, index - 1).tolist()
            else:
                assert BY_VECTOR[name](jitorch, index + step).tolist()


def test_in_place_item_assignment_writes_once():
    """`x[i] += 1` writes through the view; storing the view into itself again is no second write."""
    x = jitorch.zeros(3, 2)
    x[1] += 1
    x[:, 0] *= 3
    assert x.tolist() == [[0, 0], [3, 1], [0, 0]]
    assert x._version == 2


def test_numbers_and_dtypes_are_converted(tier):
    for lib in (jitorch, torch):
        i, b = lib.zeros(3, dtype=lib.int64), lib.zeros(2, dtype=lib.bool)
        i[0] = 1.7
        i[1:] = lib.tensor([2.5, -3.5])
        b[1] = 2
        assert i.tolist() == [1, 2, -3]
        assert b.tolist() == [False, True]


def test_max_norm_and_embedding_bag_agree(tier):
    weight = np.random.default_rng(0).normal(size=(6, 3)).astype("float32")
    outputs = []
    for lib in (jitorch, torch):
        w = lib.tensor(weight)
        rows = lib.nn.functional.embedding(lib.tensor([1, 4, 1]), w, max_norm=1.0)
        bags = lib.nn.functional.embedding_bag(lib.tensor([1, 2, 4, 5]), w, lib.tensor([0, 1, 1]), mode="mean")
        outputs.append([rows.numpy(), w.numpy(), bags.numpy()])
    for ours, theirs in zip(*outputs, strict=False):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)


def test_a_reduction_in_place_keeps_what_its_gradient_reads(tier):
    for reduce in ("sum", "prod", "amax", "mean"):
        gradients = []
        for lib in (jitorch, torch):
            x = lib.tensor([1.0, 2.0, 3.0], requires_grad=True)
            y = x * 2
            y.scatter_reduce_(0, lib.tensor([0, 1]), lib.tensor([4.0, 3.0]), reduce)
            y.sum().backward()
            gradients.append(x.grad.tolist())
        assert gradients[0] == gradients[1]

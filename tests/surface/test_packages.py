"""Packages and names beside the op table: masked, signal, storage methods, settings, what is missing."""
from __future__ import annotations

import importlib

import pytest

import jitorch

torch = pytest.importorskip("torch")


def both(function):
    """What a function of the library gives with jitorch and with PyTorch."""
    return function(jitorch), function(torch)


def same(ours, theirs):
    assert ours.tolist() == pytest.approx(theirs.tolist(), nan_ok=True) and repr(ours.dtype) == repr(theirs.dtype)


MASKED = ("sum", "mean", "prod", "amax", "amin", "argmax", "argmin", "var", "std", "norm", "logsumexp", "softmax", "log_softmax", "softmin", "cumsum",
          "cumprod", "median", "normalize")


@pytest.mark.parametrize("name", MASKED)
def test_masked(name):
    def call(t):
        masked = importlib.import_module(t.__name__ + ".masked")
        x = t.tensor([1.0, -2.0, 3.5, 0.5])
        more = (2.0, 0) if name == "normalize" else () if name == "norm" else (0,)
        return getattr(masked, name)(x, *more, mask=t.tensor([True, False, True, True]))

    ours, theirs = both(call)
    same(ours.nan_to_num(), theirs.nan_to_num())


@pytest.mark.parametrize("sym", [True, False])
@pytest.mark.parametrize("name", ["bartlett", "blackman", "cosine", "exponential", "gaussian", "hamming", "hann", "kaiser", "nuttall"])
def test_windows(name, sym):
    importlib.import_module("torch.signal")
    for n in (0, 1, 2, 7):
        ours, theirs = both(lambda t: getattr(t.signal.windows, name)(n, sym=sym, dtype=t.float64))  # noqa: B023
        assert ours.tolist() == pytest.approx(theirs.tolist(), abs=1e-12)


def test_window_functions_of_the_package():
    for call in (
        lambda t: t.hann_window(5),
        lambda t: t.hamming_window(6, False, 0.6, 0.4),
        lambda t: t.kaiser_window(4, periodic=False, beta=3.0),
        lambda t: t.bartlett_window(1),
        lambda t: t.blackman_window(8),
    ):
        ours, theirs = both(call)
        assert ours.tolist() == pytest.approx(theirs.tolist(), abs=1e-6)


def test_resizing():
    def steps(t):
        x = t.arange(6.0)
        y = x.view(2, 3)
        x.resize_(2, 2)
        z = t.zeros(2)
        z.resize_as_(t.ones(2, 3)).fill_(2)
        w = t.zeros(1)
        w.set_(y)
        w[0, 0] = 9
        d = t.zeros(5, 2)
        d.fill_diagonal_(3, wrap=True)
        return [v.tolist() for v in (x, y, z, w, d, t.zeros(3, 3).fill_diagonal_(1))]

    ours, theirs = both(steps)
    assert ours == theirs
    with pytest.raises(RuntimeError, match="require grad"):
        jitorch.ones(2, requires_grad=True).resize_(3)


def test_storages():
    x = jitorch.arange(6.0)
    y = x[2:]
    assert x.untyped_storage() == y.untyped_storage() and x.untyped_storage().nbytes() == 24 and len(y.storage()) == 6
    assert x.storage().tolist() == x.tolist() and x.untyped_storage().data_ptr() == x.data_ptr()
    assert jitorch.ones(2).map_(jitorch.full((2,), 3.0), lambda a, b: a + b).tolist() == [4, 4]
    assert jitorch.ones(2).apply_(lambda v: v * 5).tolist() == [5, 5]

    class Mine(jitorch.Tensor):
        pass

    assert type(x.as_subclass(Mine)) is Mine and x.as_subclass(Mine).tolist() == x.tolist()


def test_settings_answer_as_pytorchs():
    for call in (
        lambda t: (t.use_deterministic_algorithms(True), t.are_deterministic_algorithms_enabled(), t.get_deterministic_debug_mode(),
                   t.use_deterministic_algorithms(False))[1:3],
        lambda t: (t.set_float32_matmul_precision("high"), t.get_float32_matmul_precision(), t.set_float32_matmul_precision("highest"))[1],
        lambda t: (t.typename(t.ones(1)), t.typename([]), repr(t.get_default_device()), t.sym_max(1, 2)),
        lambda t: (t.pi, t.e, t.newaxis, repr(t.strided), repr(t.channels_last), isinstance(t.strided, t.layout)),
    ):
        ours, theirs = both(call)
        assert ours == theirs
    with pytest.raises(RuntimeError, match="positive"):
        jitorch.set_num_threads(0)


@pytest.mark.parametrize(("name", "says"), [
    ("sparse_csr_tensor", "sparse layouts are out of scope"),
    ("quantize_per_tensor", "quantised"),
    ("sotfmax", "closest is 'softmax'"),
    ("float8_e5m2", "no such dtype"),
])
def test_a_missing_name_says_what_is_closest_and_whether_it_is_planned(name, says):
    with pytest.raises(AttributeError, match=says):
        getattr(jitorch, name)


def test_what_needs_a_gpu_says_so():
    with pytest.raises(RuntimeError, match="CUDA"):
        jitorch.ones(1).cuda()
    assert jitorch.cuda.get_rng_state_all() == [] and jitorch.jit.annotate(int, 3) == 3
    with pytest.raises(NotImplementedError, match="state_dict"):
        jitorch.serialization.add_safe_globals([dict])

"""autocast, GradScaler and the small packages that programs ask."""
from __future__ import annotations

import warnings

import pytest

import jitorch


def test_autocast_says_what_it_does():
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        jitorch.amp.autocast.__init__.__globals__["_said"].clear()
        with jitorch.autocast("cpu", dtype=jitorch.bfloat16):
            assert jitorch.is_autocast_enabled() and (jitorch.ones(2, 2) @ jitorch.ones(2, 2)).dtype is jitorch.float32
        with jitorch.autocast("cuda"):
            assert not jitorch.is_autocast_enabled()
    assert [("precision" in str(w.message), "CUDA" in str(w.message)) for w in said] == [(True, False), (False, True)]
    assert not jitorch.is_autocast_enabled() and jitorch.autocast("cpu", enabled=False)(lambda: 3)() == 3
    with pytest.raises(RuntimeError, match="device_type"):
        jitorch.autocast("toaster")


def test_grad_scaler():
    w = jitorch.ones(1, requires_grad=True)
    optimizer = jitorch.optim.SGD([w], lr=1.0)
    scaler = jitorch.amp.GradScaler("cpu", init_scale=4.0, growth_interval=2)
    for expected, scale in ((0.5, 4.0), (0.0, 8.0)):
        optimizer.zero_grad()
        scaler.scale(w.sum() * 0.5).backward()
        scaler.unscale_(optimizer)
        assert w.grad.item() == 0.5
        scaler.step(optimizer)
        scaler.update()
        assert w.item() == expected and scaler.get_scale() == scale
    w.grad = jitorch.tensor([float("inf")])
    scaler.step(optimizer)
    scaler.update()
    assert w.item() == 0.0 and scaler.get_scale() == 4.0, "a step whose gradients overflow is skipped"
    again = jitorch.amp.GradScaler("cpu")
    again.load_state_dict(scaler.state_dict())
    assert again.get_scale() == 4.0
    scaler.unscale_(optimizer)
    with pytest.raises(RuntimeError, match="already"):
        scaler.unscale_(optimizer)
    with pytest.warns(UserWarning, match="Disabling"):
        off = jitorch.amp.GradScaler()
    assert not off.is_enabled() and off.scale(3) == 3 and off.get_scale() == 1.0


def test_packages_answer():
    jitorch.backends.cudnn.benchmark = True
    assert not jitorch.backends.cudnn.is_available() and not jitorch.backends.mps.is_available() and jitorch.version.cuda is None
    assert not jitorch.distributed.is_available() and not jitorch.compiler.is_compiling() and jitorch.compiler.disable(len) is len
    assert not jitorch.mps.is_available() and jitorch.accelerator.current_accelerator() is None and jitorch.cuda.amp.GradScaler
    with jitorch.nn.attention.sdpa_kernel(jitorch.nn.attention.SDPBackend.MATH):
        pass
    with pytest.raises(NotImplementedError, match="several processes"):
        jitorch.distributed.init_process_group("gloo")


def test_assert_close():
    close = jitorch.testing.assert_close
    close(jitorch.ones(2), jitorch.ones(2) + 1e-7)
    close([jitorch.ones(2), 1], [jitorch.ones(2), 1])
    close({"a": jitorch.tensor(float("nan"))}, {"a": jitorch.tensor(float("nan"))}, equal_nan=True)
    for wrong, says in ((jitorch.ones(2) * 1.1, "Mismatched elements: 2 / 2"), (jitorch.ones(3), "shape"), (jitorch.ones(2, dtype=jitorch.float64), "dtype")):
        with pytest.raises(AssertionError, match=says):
            close(wrong, jitorch.ones(2))

"""torch.jit, torch.compile and torch.cuda on a machine without CUDA."""

from __future__ import annotations

import inspect

import pytest

import jitorch as torch


def test_trace_keeps_control_flow_on_values_and_shapes():
    def f(x):
        if x.sum() > 0:
            return x * x.shape[0]
        return -x

    g = torch.jit.trace(f, (torch.ones(2),))
    assert g(torch.ones(3)).tolist() == [3.0, 3.0, 3.0] and g(torch.tensor([-1.0])).tolist() == [1.0]
    assert g.__name__ == "f"


def test_traced_module_shares_parameters_and_mode():
    net = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.Dropout(0.5), torch.nn.BatchNorm1d(3))
    traced = torch.jit.trace(net, torch.randn(4, 2))
    assert isinstance(traced, torch.nn.Module) and list(traced.state_dict()) == list(net.state_dict())
    assert [id(p) for p in traced.parameters()] == [id(p) for p in net.parameters()]
    traced.eval()
    assert not net.training and not net[1].training
    x = torch.randn(4, 2)
    assert torch.equal(traced(x), net(x))
    traced(x).sum().backward()
    assert net[0].weight.grad is not None
    with torch.no_grad():
        net[0].weight.zero_()
    assert torch.equal(traced(x), net(x))


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore:Converting a tensor")
def test_trace_errors_as_in_pytorch():
    real = pytest.importorskip("torch")
    for module in (torch, real):
        with pytest.raises(RuntimeError):
            module.jit.trace(lambda x: x.sum().item(), (module.ones(2),))
        with pytest.raises(TypeError):
            module.jit.trace(lambda x: x)
        with pytest.raises(ValueError, match="from the function"):
            module.jit.trace(raising, (module.ones(2),))


def raising(x):
    raise ValueError("from the function")


def test_trace_takes_named_examples_and_containers():
    g = torch.jit.trace(
        lambda x, y: {"sum": x + y, "both": (x, [y])}, example_kwarg_inputs={"x": torch.ones(1), "y": torch.ones(1)}
    )
    assert g(torch.ones(1), y=torch.ones(1))["sum"].tolist() == [2.0]


def test_what_jit_does_not_do_says_what_to_do():
    with pytest.raises(RuntimeError, match="jit.trace"):
        torch.jit.script(raising)
    with pytest.raises(RuntimeError, match="state_dict"):
        torch.jit.save(torch.nn.Linear(1, 1), "x.pt")


def test_compile_traces():
    net = torch.nn.Linear(1, 1)
    compiled = torch.compile(net)
    assert isinstance(compiled, torch.nn.Module) and compiled.weight is net.weight
    assert torch.compile(mode="max-autotune")(raising).original is raising
    assert torch.compile(raising, disable=True) is raising


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"mode": "fast"}, RuntimeError),
        ({"mode": "default", "options": {}}, RuntimeError),
        ({"backend": "xx"}, RuntimeError),
        ({"backend": lambda graph, inputs: graph}, RuntimeError),
    ],
)
def test_compile_checks_its_arguments(arguments, error):
    with pytest.raises(error):
        torch.compile(raising, **arguments)


def test_compile_needs_something_to_call():
    with pytest.raises(AssertionError, match="A callable function is expected"):
        torch.compile(3)


def test_cuda_says_no():
    assert not torch.cuda.is_available() and torch.cuda.device_count() == 0 and torch.cuda.memory_allocated() == 0
    torch.cuda.manual_seed_all(0)
    torch.cuda.empty_cache()
    device = torch.device("cuda:0" if torch.cuda.is_available() else "cpu")
    assert torch.nn.Linear(2, 2).to(device)(torch.ones(1, 2).to(device)).device == torch.device("cpu")


@pytest.mark.parametrize(
    "name", ["current_device", "synchronize", "get_device_name", "get_device_properties", "mem_get_info", "init"]
)
def test_cuda_errors_as_in_pytorch(name):
    real = pytest.importorskip("torch")
    if real.cuda.is_available():
        pytest.skip("PyTorch has a GPU here")
    args = [0] if "index" in str(inspect.signature(getattr(real.cuda, name))) or name == "get_device_properties" else []
    for module in (torch, real):
        with pytest.raises(AssertionError, match="Torch not compiled with CUDA enabled"):
            getattr(module.cuda, name)(*args)

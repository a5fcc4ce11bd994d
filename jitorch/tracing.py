"""`trace` and `compile`, in a first form: the callable stays as it is, and runs through the same engine.

Eager mode compiles and caches every program it runs, so a traced callable computes what the plain one does, at its
speed, and Python's control flow on values stays right: the Python code is run at every call. What is checked once is
that it runs on the examples and gives tensors.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import update_wrapper
from typing import Any

from .tensor import Tensor

MODES = ("default", "reduce-overhead", "max-autotune", "max-autotune-no-cudagraphs", "lite")
BACKENDS = ("inductor", "eager", "aot_eager", "jitorch")


class TracedFunction:
    """A function that was traced: calls it."""

    def __init__(self, function: Callable):
        self.original = function
        update_wrapper(self, function, updated=())

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.original(*args, **kwargs)

    def __repr__(self) -> str:
        return f"<traced {getattr(self.original, '__qualname__', self.original)}>"


def trace(
    func: Callable,
    example_inputs: Any = None,
    optimize: Any = None,
    check_trace: bool = True,
    check_inputs: Any = None,
    check_tolerance: float = 1e-5,
    strict: bool = True,
    *,
    example_kwarg_inputs: Mapping[str, Any] | None = None,
) -> Any:
    """Run a function or module on examples and return a callable like it; a Module, with the same parameters, for one.

    func: what to trace. example_inputs: a tuple of arguments (or one tensor). example_kwarg_inputs: named arguments.
    The other arguments are PyTorch's and change nothing: unlike there, no single path is frozen that would have to be
    checked. Other shapes, other branches and other modes (train, eval) are right in later calls.

    TypeError (of a module: RuntimeError) if no examples are given. RuntimeError if what comes back isn't made of
    tensors (in tuples, lists, dicts).

    >>> import jitorch as torch
    >>> def f(x):
    ...     return x * 2 if x.sum() > 0 else -x
    >>> g = torch.jit.trace(f, torch.ones(2))
    >>> g(torch.ones(2)), g(-torch.ones(2))
    (tensor([2., 2.]), tensor([1., 1.]))
    """
    from .nn.modules.module import Module

    if example_inputs is None and example_kwarg_inputs is None:
        error = RuntimeError if isinstance(func, Module) else TypeError     # PyTorch's types
        raise error("trace: example_inputs or example_kwarg_inputs must be given")
    if not callable(func):
        raise TypeError(f"trace: expected a function or a module, got {type(func).__name__}")
    if isinstance(example_inputs, (Tensor, Mapping)):
        example_inputs = (example_inputs,)
    args, named = tuple(example_inputs or ()), dict(example_kwarg_inputs or {})
    traced: Any = traced_module(func) if isinstance(func, Module) else TracedFunction(func)
    check_result(func(*args, **named))
    return traced


def check_result(x: Any, inside: str = "the result") -> None:
    if isinstance(x, Tensor):
        return
    if isinstance(x, (tuple, list)):
        parts = dict(enumerate(x))
    elif isinstance(x, Mapping):
        parts = dict(x)
    else:
        raise RuntimeError(
            "Only tensors, lists, tuples of tensors, or dictionary of tensors can be output from traced functions: "
            f"{inside} is a {type(x).__name__}"
        )
    for key, value in parts.items():
        check_result(value, f"{inside}[{key!r}]")


def traced_module(module: Any) -> Any:
    """A module that shares everything with another one and calls it."""
    from .nn.modules.module import Module

    class TracedModule(Module):
        def __init__(self) -> None:
            super().__init__()
            for name in ("_parameters", "_buffers", "_modules"):
                self.__dict__[name] = getattr(module, name)
            self.training = module.training

        def forward(self, *args: Any, **kwargs: Any) -> Any:
            return module(*args, **kwargs)

        def train(self, mode: bool = True) -> Any:
            module.train(mode)
            self.training = mode
            return self

        def _get_name(self) -> str:
            return f"Traced{type(module).__name__}"

    return TracedModule()


def compile(
    model: Callable | None = None,
    *,
    fullgraph: bool = False,
    dynamic: bool | None = None,
    backend: Any = "inductor",
    mode: str | None = None,
    options: dict | None = None,
    disable: bool = False,
) -> Any:
    """`torch.compile`: the model or function itself, or a decorator that returns it: everything is compiled anyway.

    The arguments are PyTorch's; they are checked and change nothing. fullgraph: a value that is read in the middle
    makes two programs of one, and nothing else. dynamic: no kernel depends on sizes. RuntimeError for an unknown mode,
    for mode and options together, for a backend of one's own: there is no graph to give to it. AssertionError for what
    can't be called.

    >>> import jitorch as torch
    >>> @torch.compile
    ... def f(x):
    ...     return torch.sin(x) ** 2 + torch.cos(x) ** 2
    >>> f(torch.tensor(0.5))
    tensor(1.)
    """
    if mode is not None and options is not None:
        raise RuntimeError("Either mode or options can be specified, but both can't be specified at the same time.")
    if mode is not None and mode not in MODES:
        raise RuntimeError(f"Unrecognized mode={mode}, should be one of: {', '.join(MODES)}")
    if backend not in BACKENDS:
        raise RuntimeError(
            f"Invalid backend: {backend!r}. jitorch compiles by itself; these names are accepted: {', '.join(BACKENDS)}"
        )
    if model is None:
        return checked_callable
    return checked_callable(model)


def checked_callable(function: Any) -> Any:
    if not callable(function):
        raise AssertionError(f"A callable function is expected, but {type(function)} is provided.")
    return function

"""`torch.jit`: tracing under PyTorch's names; there is no second language to script in."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any, NoReturn, TypeVar

from . import tracing
from .graph.record import local
from .nn.modules.module import Module
from .tensor import Tensor
from .tracing import TracedFunction, TracedModule, file
from .tracing.traced import FrozenModule

F = TypeVar("F", bound=Callable)


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
    """`jitorch.trace` with PyTorch's arguments: runs a function or module on examples, and returns a callable like it.

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
    if example_inputs is None and example_kwarg_inputs is None:
        error = RuntimeError if isinstance(func, Module) else TypeError  # PyTorch's types
        raise error("trace: example_inputs or example_kwarg_inputs must be given")
    traced = tracing.trace(func)
    if isinstance(example_inputs, (Tensor, Mapping)):
        example_inputs = (example_inputs,)
    args, kwargs = tuple(example_inputs or ()), dict(example_kwarg_inputs or {})
    check_result(traced(*args, **kwargs))
    held = traced.__dict__["traced"] if isinstance(traced, TracedModule) else traced
    held.example = args, kwargs
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


def script(obj: Any, *args: Any, **kwargs: Any) -> NoReturn:
    """Raises RuntimeError: Python is not translated here. Use `trace`, which keeps its control flow."""
    raise RuntimeError(
        "torch.jit.script is not supported: jitorch doesn't translate Python code. Use torch.jit.trace(f, examples), "
        "which keeps Python's control flow, or call the function as it is: its operations are compiled either way"
    )


def save(m: Any, f: Any, _extra_files: Any = None) -> None:
    """Write a traced function or module to one file; see `TracedFunction.save`. RuntimeError for what is not traced.

    >>> import jitorch as torch
    >>> import io
    >>> file = io.BytesIO()
    >>> torch.jit.save(torch.jit.trace(torch.nn.Linear(3, 2).eval(), torch.ones(1, 3)), file)
    >>> torch.jit.load(io.BytesIO(file.getvalue()))(torch.ones(5, 3)).shape
    torch.Size([5, 2])
    """
    if _extra_files:
        raise RuntimeError("torch.jit.save: _extra_files is not supported; keep them beside the file")
    if not isinstance(m, (TracedFunction, TracedModule)):
        raise RuntimeError(
            "torch.jit.save: only what was traced can be saved (torch.jit.trace(module, example)); the weights of a "
            "module are saved with torch.save(module.state_dict(), file)"
        )
    m.save(f)


def load(f: Any, map_location: Any = None, _extra_files: Any = None, _restore_shapes: bool = False) -> Any:
    """A program that `save` wrote, as a Module. It runs without the Python code that it was traced from.

    f: a path or a file opened for reading bytes. RuntimeError for a damaged file, or one of a newer version. TorchScript
    files can't be read.
    """
    return file.load(f)


def freeze(mod: Any, preserved_attrs: Any = None, optimize_numerics: bool = True) -> Any:
    """A traced module in eval mode as one whose parameters are constants: what depends on them alone is computed once,
    and batch normalizations become part of the convolutions before them. It is a copy; its results differ by rounding.

    RuntimeError for a module that is not traced, or in train mode.

    >>> import jitorch as torch
    >>> net = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3), torch.nn.BatchNorm2d(2)).eval()
    >>> frozen = torch.jit.freeze(torch.jit.trace(net, torch.ones(1, 1, 4, 4)))
    >>> frozen(torch.ones(1, 1, 4, 4)).shape, len(list(frozen.parameters()))
    (torch.Size([1, 2, 2, 2]), 0)
    """
    if not isinstance(mod, TracedModule):
        raise RuntimeError("torch.jit.freeze: expected a module that was traced: torch.jit.freeze(torch.jit.trace(net, x))")
    if mod.training:
        raise RuntimeError(
            "Freezing is currently only implemented for modules in eval mode. Please call .eval() on your module before "
            "freezing."
        )
    return mod if isinstance(mod, FrozenModule) else FrozenModule(copy.deepcopy(mod.__dict__["__traced__"]))


def optimize_for_inference(mod: Any, other_methods: Any = None) -> Any:
    """`freeze`, where it was not done yet."""
    return freeze(mod)


def is_scripting() -> bool:
    """Whether TorchScript is being compiled: never."""
    return False


def is_tracing() -> bool:
    """Whether a call is being captured."""
    return local.tape.capture is not None


def ignore(fn: F) -> F:
    """Marks what TorchScript leaves out; `unused` and `export` are likewise the function itself."""
    return fn


unused = export = ignore

__all__ = [
    "TracedFunction",
    "export",
    "freeze",
    "ignore",
    "is_scripting",
    "is_tracing",
    "load",
    "optimize_for_inference",
    "save",
    "script",
    "trace",
    "unused",
]


def annotate(the_type, the_value):
    """The value itself: types are not checked."""
    return the_value

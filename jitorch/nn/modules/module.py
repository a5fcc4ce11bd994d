"""Module: parameters, buffers and submodules under names, and everything that walks over them."""

from __future__ import annotations

import warnings
from collections import OrderedDict, namedtuple
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

from ...autograd import no_grad
from ...changes import Table, changed
from ...device import check as check_device
from ...dtypes import bfloat16, float16, float32, float64
from ...dtypes import dtype as DType
from ...tensor import Tensor
from ..parameter import Buffer, Parameter
from .hooks import BackwardHooks, HookHandle, HookTable

Self = TypeVar("Self", bound="Module")
EXTRA_STATE = "_extra_state"


class IncompatibleKeys(namedtuple("IncompatibleKeys", ["missing_keys", "unexpected_keys"])):
    """What `load_state_dict` returns."""

    __slots__ = ()

    def __repr__(self) -> str:
        return f"_{super().__repr__()}" if self.missing_keys or self.unexpected_keys else "<All keys matched successfully>"

    __str__ = __repr__


def typename(x) -> str:
    """A value's type as error messages show it."""
    if isinstance(x, Tensor):
        return f"torch.{x.dtype.label}Tensor"
    kind = type(x)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def indented(text: str, spaces: int = 2) -> str:
    """All lines but the first moved to the right."""
    return text.replace("\n", "\n" + " " * spaces)


# -- hooks on every module, for profilers and debuggers ---------------------------------------------------------------
GLOBAL: dict[str, HookTable] = {
    name: HookTable()
    for name in ("forward_pre", "forward", "backward_pre", "backward", "module", "parameter", "buffer")
}
# asked for at every call
ANY_FORWARD_PRE, ANY_FORWARD, ANY_BACKWARD_PRE, ANY_BACKWARD = (
    GLOBAL[name] for name in ("forward_pre", "forward", "backward_pre", "backward")
)


def register_module_forward_pre_hook(hook: Callable) -> HookHandle:
    """Call `hook(module, args)` before the forward of every module; what it returns replaces the arguments."""
    return HookHandle(GLOBAL["forward_pre"], (hook, False))


def register_module_forward_hook(hook: Callable, *, with_kwargs: bool = False, always_call: bool = False) -> HookHandle:
    """Call `hook(module, args, output)` after the forward of every module; what it returns replaces the output."""
    return HookHandle(GLOBAL["forward"], (hook, with_kwargs, always_call))


def register_module_full_backward_pre_hook(hook: Callable) -> HookHandle:
    """Call `hook(module, grad_output)` when the gradients of a module's outputs have arrived."""
    return HookHandle(GLOBAL["backward_pre"], hook)


def register_module_full_backward_hook(hook: Callable) -> HookHandle:
    """Call `hook(module, grad_input, grad_output)` when the gradients of a module's inputs are computed."""
    return HookHandle(GLOBAL["backward"], hook)


def register_module_module_registration_hook(hook: Callable) -> HookHandle:
    """Call `hook(module, name, submodule)` when a submodule is registered; what it returns is registered instead."""
    return HookHandle(GLOBAL["module"], hook)


def register_module_parameter_registration_hook(hook: Callable) -> HookHandle:
    """Call `hook(module, name, parameter)` when a parameter is registered; what it returns is registered instead."""
    return HookHandle(GLOBAL["parameter"], hook)


def register_module_buffer_registration_hook(hook: Callable) -> HookHandle:
    """Call `hook(module, name, buffer)` when a buffer is registered; what it returns is registered instead."""
    return HookHandle(GLOBAL["buffer"], hook)


def registered(kind: str, module: Module, name: str, value):
    """A value on its way into a module, after the registration hooks."""
    for hook in GLOBAL[kind].values():
        changed = hook(module, name, value)
        value = value if changed is None else changed
    return value


# What every module has from its start.
TABLES = (
    "_forward_hooks",
    "_forward_pre_hooks",
    "_backward_hooks",
    "_backward_pre_hooks",
    "_state_dict_hooks",
    "_state_dict_pre_hooks",
    "_load_state_dict_pre_hooks",
    "_load_state_dict_post_hooks",
)


class Module:
    """Base class of everything with parameters: assign `Parameter`s and other modules to attributes, and define
    `forward`.

    >>> import jitorch as torch
    >>> class Scale(torch.nn.Module):
    ...     def __init__(self):
    ...         super().__init__()
    ...         self.factor = torch.nn.Parameter(torch.ones(1))
    ...     def forward(self, x):
    ...         return x * self.factor
    >>> model = Scale()
    >>> model(torch.tensor([1., 2.])).tolist(), [name for name, _ in model.named_parameters()]
    ([1.0, 2.0], ['factor'])
    """

    _version = 1
    dump_patches = False
    call_super_init = False
    training: bool
    _parameters: dict[str, Parameter | None]
    _buffers: dict[str, Tensor | None]
    _modules: dict[str, Module | None]
    _is_full_backward_hook: bool | None

    def __init__(self, *args, **kwargs):
        if not self.call_super_init:
            if kwargs:
                raise TypeError(
                    f"{type(self).__name__}.__init__() got an unexpected keyword argument '{next(iter(kwargs))}'"
                )
            if args:
                raise TypeError(
                    f"{type(self).__name__}.__init__() takes 1 positional argument but {len(args) + 1} were given"
                )
        state = self.__dict__
        state["training"] = True
        state["_parameters"], state["_buffers"], state["_modules"] = Table(), Table(), Table()
        state["_non_persistent_buffers_set"] = set()
        state["_is_full_backward_hook"] = None
        for name in TABLES:
            state[name] = HookTable()
        if self.call_super_init:
            super().__init__(*args, **kwargs)

    def forward(self, *input: Any):
        raise NotImplementedError(f'Module [{type(self).__name__}] is missing the required "forward" function')

    # -- calling -------------------------------------------------------------------------------------------------------
    def __call__(self, *args, **kwargs):
        if (
            self._forward_hooks
            or self._forward_pre_hooks
            or self._backward_hooks
            or self._backward_pre_hooks
            or ANY_FORWARD
            or ANY_FORWARD_PRE
            or ANY_BACKWARD
            or ANY_BACKWARD_PRE
        ):
            return self._call_with_hooks(args, kwargs)
        return self.forward(*args, **kwargs)

    def _call_with_hooks(self, args, kwargs):
        called: set[int] = set()
        result = None
        try:
            args, kwargs = self._run_pre_hooks(args, kwargs)
            gates = None
            backward = self._full_backward_hooks()
            before = [*GLOBAL["backward_pre"].values(), *self._backward_pre_hooks.values()]
            if backward or before:
                gates = BackwardHooks(self, backward, before)
                args = gates.inputs(args)
            result = self.forward(*args, **kwargs)
            for key, (hook, with_kwargs, _) in (*GLOBAL["forward"].items(), *self._forward_hooks.items()):
                called.add(key)
                changed = hook(self, args, kwargs, result) if with_kwargs else hook(self, args, result)
                result = result if changed is None else changed
            if gates is not None:
                if not isinstance(result, (Tensor, tuple)):
                    warnings.warn(
                        "For backward hooks to be called, module output should be a Tensor or a tuple of Tensors but "
                        f"received {type(result)}",
                        stacklevel=3,
                    )
                result = gates.outputs(result)
            if self._is_full_backward_hook is False and self._backward_hooks:
                self._hook_grad_fn(result)
            return result
        except Exception:
            for key, (hook, with_kwargs, always) in (*GLOBAL["forward"].items(), *self._forward_hooks.items()):
                if always and key not in called:
                    try:
                        hook(self, args, kwargs, result) if with_kwargs else hook(self, args, result)
                    except Exception as error:
                        warnings.warn(
                            "module forward hook with ``always_call=True`` raised an exception that was silenced as "
                            f"another error was raised in forward: {error}",
                            stacklevel=3,
                        )
            raise

    def _run_pre_hooks(self, args, kwargs):
        for hook, with_kwargs in (*GLOBAL["forward_pre"].values(), *self._forward_pre_hooks.values()):
            if with_kwargs:
                changed = hook(self, args, kwargs)
                if changed is not None:
                    if not (isinstance(changed, tuple) and len(changed) == 2):
                        raise RuntimeError(
                            "forward pre-hook must return None or a tuple of (new_args, new_kwargs), but got "
                            f"{changed}."
                        )
                    args, kwargs = changed
            else:
                changed = hook(self, args)
                if changed is not None:
                    args = changed if isinstance(changed, tuple) else (changed,)
        return args, kwargs

    def _full_backward_hooks(self) -> list:
        own = self._backward_hooks.values() if self._is_full_backward_hook else ()
        return [*GLOBAL["backward"].values(), *own]

    def _hook_grad_fn(self, result) -> None:
        """Backward hooks of the old kind: they see the gradients of the last operation of the module."""
        while not isinstance(result, Tensor):
            result = (
                next(v for v in result.values() if isinstance(v, Tensor)) if isinstance(result, dict) else result[0]
            )
        node = result.grad_fn
        if node is not None:
            for hook in self._backward_hooks.values():
                node.register_hook(lambda grad_input, grad_output, hook=hook: hook(self, grad_input, grad_output))

    # -- hooks ---------------------------------------------------------------------------------------------------------
    def register_forward_pre_hook(
        self, hook: Callable, *, prepend: bool = False, with_kwargs: bool = False
    ) -> HookHandle:
        """Call `hook(module, args)` (with_kwargs: `hook(module, args, kwargs)`) before forward; what it returns
        replaces the arguments.
        """
        return HookHandle(self._forward_pre_hooks, (hook, with_kwargs), prepend)

    def register_forward_hook(
        self, hook: Callable, *, prepend: bool = False, with_kwargs: bool = False, always_call: bool = False
    ) -> HookHandle:
        """Call `hook(module, args, output)` after forward; what it returns replaces the output. always_call: even if
        forward raises.
        """
        return HookHandle(self._forward_hooks, (hook, with_kwargs, always_call), prepend)

    def register_full_backward_pre_hook(self, hook: Callable, prepend: bool = False) -> HookHandle:
        """Call `hook(module, grad_output)` when the gradients of the outputs have arrived; what it returns replaces
        them.
        """
        return HookHandle(self._backward_pre_hooks, hook, prepend)

    def register_full_backward_hook(self, hook: Callable, prepend: bool = False) -> HookHandle:
        """Call `hook(module, grad_input, grad_output)` when the gradients of the inputs are computed; it may return new
        ones.
        """
        self._choose_backward_hooks(True)
        return HookHandle(self._backward_hooks, hook, prepend)

    def register_backward_hook(self, hook: Callable) -> HookHandle:
        """Call `hook(module, grad_input, grad_output)` behind the last operation of forward. Prefer
        `register_full_backward_hook`.
        """
        self._choose_backward_hooks(False)
        return HookHandle(self._backward_hooks, hook)

    def _choose_backward_hooks(self, full: bool) -> None:
        if self._is_full_backward_hook is (not full):
            raise RuntimeError(
                "Cannot use both regular backward hooks and full backward hooks on a single Module. Please use only "
                "one of them."
            )
        self._is_full_backward_hook = full

    def register_state_dict_pre_hook(self, hook: Callable) -> HookHandle:
        """Call `hook(module, prefix, keep_vars)` before `state_dict` is filled."""
        return HookHandle(self._state_dict_pre_hooks, hook)

    def register_state_dict_post_hook(self, hook: Callable) -> HookHandle:
        """Call `hook(module, state_dict, prefix, local_metadata)` after `state_dict` was filled; it changes the dict in
        place.
        """
        return HookHandle(self._state_dict_hooks, (hook, False))

    def _register_state_dict_hook(self, hook: Callable) -> HookHandle:
        return HookHandle(self._state_dict_hooks, (hook, True))

    def register_load_state_dict_pre_hook(self, hook: Callable) -> HookHandle:
        """Call `hook(module, state_dict, prefix, local_metadata, strict, missing_keys, unexpected_keys, error_msgs)`
        before loading.
        """
        return HookHandle(self._load_state_dict_pre_hooks, (hook, True))

    def _register_load_state_dict_pre_hook(self, hook: Callable, with_module: bool = False) -> HookHandle:
        return HookHandle(self._load_state_dict_pre_hooks, (hook, with_module))

    def register_load_state_dict_post_hook(self, hook: Callable) -> HookHandle:
        """Call `hook(module, incompatible_keys)` after loading; it may change the two lists of keys in place."""
        return HookHandle(self._load_state_dict_post_hooks, hook)

    # -- registration --------------------------------------------------------------------------------------------------
    def _check_name(self, kind: str, name, held: dict) -> None:
        if not isinstance(name, str):
            raise TypeError(f"{kind} name should be a string. Got {typename(name)}")
        if "." in name:
            raise KeyError(f'{kind} name can\'t contain "."' + (f", got: {name}" if kind == "module" else ""))
        if name == "":
            raise KeyError(f'{kind} name can\'t be empty string ""')
        if name not in held and hasattr(self, name):
            raise KeyError(f"attribute '{name}' already exists")

    def register_parameter(self, name: str, param: Parameter | None) -> None:
        """Add a parameter (or None, to reserve the name). KeyError for a bad or taken name, TypeError for what is no
        Parameter.
        """
        if "_parameters" not in self.__dict__:
            raise AttributeError("cannot assign parameter before Module.__init__() call")
        self._check_name("parameter", name, self._parameters)
        if param is not None:
            if not isinstance(param, Parameter):
                raise TypeError(
                    f"cannot assign '{typename(param)}' object to parameter '{name}' (torch.nn.Parameter or None "
                    "required)"
                )
            if param.grad_fn is not None:
                raise ValueError(
                    f"Cannot assign non-leaf Tensor to parameter '{name}'. Model parameters must be created "
                    "explicitly. To express "
                    f"'{name}' as a function of another Tensor, compute the value in the forward() method."
                )
            param = registered("parameter", self, name, param)
        self._parameters[name] = param

    def register_buffer(self, name: str, tensor: Tensor | None, persistent: bool = True) -> None:
        """Add a tensor that is state but not trained. persistent: part of `state_dict`. KeyError for a bad or taken
        name.
        """
        if "_buffers" not in self.__dict__:
            raise AttributeError("cannot assign buffer before Module.__init__() call")
        self._check_name("buffer", name, self._buffers)
        if tensor is not None and not isinstance(tensor, Tensor):
            raise TypeError(
                f"cannot assign '{typename(tensor)}' object to buffer '{name}' (torch Tensor or None required)"
            )
        self._buffers[name] = registered("buffer", self, name, tensor)
        (self._non_persistent_buffers_set.discard if persistent else self._non_persistent_buffers_set.add)(name)

    def add_module(self, name: str, module: Module | None) -> None:
        """Add a submodule (or None). TypeError for what is no Module, KeyError for a bad or taken name."""
        if module is not None and not isinstance(module, Module):
            raise TypeError(f"{typename(module)} is not a Module subclass")
        self._check_name("module", name, self._modules)
        self._modules[name] = registered("module", self, name, module)

    register_module = add_module

    # -- attributes ----------------------------------------------------------------------------------------------------
    def __getattr__(self, name: str):
        state = self.__dict__
        if "_modules" in state:                 # set last, by Module.__init__
            for table in (state["_parameters"], state["_buffers"], state["_modules"]):
                if name in table:
                    return table[name]
        raise AttributeError(f"'{type(self).__name__}' object has no attribute '{name}'")

    def __setattr__(self, name: str, value) -> None:
        state = self.__dict__
        if isinstance(value, Parameter):
            if "_parameters" not in state:
                raise AttributeError("cannot assign parameters before Module.__init__() call")
            self._forget(name, keep=self._parameters)
            self.register_parameter(name, value)
        elif name in state.get("_parameters", ()):
            if value is not None:
                raise TypeError(
                    f"cannot assign '{typename(value)}' as parameter '{name}' (torch.nn.Parameter or None expected)"
                )
            self.register_parameter(name, None)
        elif isinstance(value, Module):
            if "_modules" not in state:
                raise AttributeError("cannot assign module before Module.__init__() call")
            self._forget(name, keep=self._modules)
            self._modules[name] = registered("module", self, name, value)
        elif name in state.get("_modules", ()):
            if value is not None:
                raise TypeError(
                    f"cannot assign '{typename(value)}' as child module '{name}' (torch.nn.Module or None expected)"
                )
            self._modules[name] = registered("module", self, name, None)
        elif isinstance(value, Buffer) or name in state.get("_buffers", ()):
            if value is not None and not isinstance(value, Tensor):
                raise TypeError(
                    f"cannot assign '{typename(value)}' as buffer '{name}' (torch.nn.Buffer, torch.Tensor or None "
                    "expected)"
                )
            lasting = (
                value.persistent if isinstance(value, Buffer) else name not in state["_non_persistent_buffers_set"]
            )
            if "_buffers" in state:
                state.pop(name, None)
            self.register_buffer(name, value, lasting)
        else:
            changed()
            if name in ("_parameters", "_buffers", "_modules"):
                value = Table(value)
            object.__setattr__(self, name, value)

    def _forget(self, name: str, keep: dict) -> None:
        """Before a name gets a parameter or module: whatever else it stood for goes."""
        for held in (self.__dict__, self._parameters, self._buffers, self._modules):
            if held is not keep:
                held.pop(name, None)
        self._non_persistent_buffers_set.discard(name)

    def __delattr__(self, name: str) -> None:
        for held in (self._parameters, self._buffers, self._modules):
            if name in held:
                del held[name]
                self._non_persistent_buffers_set.discard(name)
                return
        changed()
        object.__delattr__(self, name)

    def __dir__(self) -> list[str]:
        names = [*dir(type(self)), *self.__dict__, *self._parameters, *self._modules, *self._buffers]
        return sorted(n for n in names if not n[0].isdigit())

    def __setstate__(self, state: dict) -> None:
        changed()
        self.__dict__.update(state)
        for name in ("_parameters", "_buffers", "_modules"):
            self.__dict__[name] = Table(self.__dict__[name])
        for name in TABLES:
            self.__dict__.setdefault(name, HookTable())
        self.__dict__.setdefault("_non_persistent_buffers_set", set())
        self.__dict__.setdefault("_is_full_backward_hook", None)

    # -- walks ---------------------------------------------------------------------------------------------------------
    def named_modules(
        self, memo: set | None = None, prefix: str = "", remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Module]]:
        """(name, module) for this module and everything below it, each module once unless remove_duplicate=False."""
        memo = set() if memo is None else memo
        if self in memo:
            return
        if remove_duplicate:
            memo.add(self)
        yield prefix, self
        for name, module in self._modules.items():
            if module is not None:
                yield from module.named_modules(memo, prefix + ("." if prefix else "") + name, remove_duplicate)

    def modules(self, remove_duplicate: bool = True) -> Iterator[Module]:
        for _, module in self.named_modules(remove_duplicate=remove_duplicate):
            yield module

    def named_children(self) -> Iterator[tuple[str, Module]]:
        """(name, module) for the direct submodules, each once."""
        seen = set()
        for name, module in self._modules.items():
            if module is not None and module not in seen:
                seen.add(module)
                yield name, module

    def children(self) -> Iterator[Module]:
        for _, module in self.named_children():
            yield module

    def _named_members(self, members: Callable, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True):
        seen = set()
        for where, module in (
            self.named_modules(prefix=prefix, remove_duplicate=remove_duplicate) if recurse else [(prefix, self)]
        ):
            for name, value in members(module):
                if value is None or value in seen:
                    continue
                if remove_duplicate:
                    seen.add(value)
                yield where + ("." if where else "") + name, value

    def named_parameters(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Parameter]]:
        """(name, parameter) for this module and, with recurse, those below it."""
        yield from self._named_members(lambda m: m._parameters.items(), prefix, recurse, remove_duplicate)

    def parameters(self, recurse: bool = True) -> Iterator[Parameter]:
        for _, p in self.named_parameters(recurse=recurse):
            yield p

    def named_buffers(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Tensor]]:
        """(name, buffer) for this module and, with recurse, those below it."""
        yield from self._named_members(lambda m: m._buffers.items(), prefix, recurse, remove_duplicate)

    def buffers(self, recurse: bool = True) -> Iterator[Tensor]:
        for _, b in self.named_buffers(recurse=recurse):
            yield b

    def get_submodule(self, target: str) -> Module:
        """The module at a dotted path ("" is this one). AttributeError if there is none."""
        found = self
        for name in target.split(".") if target else ():
            if not hasattr(found, name):
                raise AttributeError(f"{found._get_name()} has no attribute `{name}`")
            found = getattr(found, name)
            if not isinstance(found, Module):
                raise AttributeError(f"`{name}` is not an nn.Module")
        return found

    def set_submodule(self, target: str, module: Module, strict: bool = False) -> None:
        """Put a module at a dotted path; the parent must exist and, with strict, the module it replaces too."""
        if target == "":
            raise ValueError("Cannot set the submodule without a target name!")
        if not isinstance(module, Module):
            raise ValueError(f"`module` is not an nn.Module, found {type(module)}")
        path, _, name = target.rpartition(".")
        parent = self.get_submodule(path)
        if hasattr(parent, name):
            if not isinstance(getattr(parent, name), Module):
                raise AttributeError(f"`{name}` is not an nn.Module")
        elif strict:
            raise AttributeError(f"{parent._get_name()} has no attribute `{name}`")
        setattr(parent, name, module)

    def get_parameter(self, target: str) -> Parameter:
        """The parameter at a dotted path. AttributeError if there is none."""
        found = self._member(target)
        if not isinstance(found, Parameter):
            raise AttributeError(f"`{target.rpartition('.')[2]}` is not an nn.Parameter")
        return found

    def get_buffer(self, target: str) -> Tensor:
        """The buffer at a dotted path. AttributeError if there is none."""
        found = self._member(target)
        path, _, name = target.rpartition(".")
        if name not in self.get_submodule(path)._buffers:
            raise AttributeError(f"`{name}` is not a buffer")
        return found

    def _member(self, target: str):
        path, _, name = target.rpartition(".")
        module = self.get_submodule(path)
        if not hasattr(module, name):
            raise AttributeError(f"{module._get_name()} has no attribute `{name}`")
        return getattr(module, name)

    # -- changing everything at once -----------------------------------------------------------------------------------
    def apply(self: Self, fn: Callable[[Module], None]) -> Self:
        """Call `fn` on every submodule and on this one, children first. Returns self."""
        for module in self.children():
            module.apply(fn)
        fn(self)
        return self

    def _apply(self: Self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """Replace the values of all parameters, their gradients and buffers by `fn` of them; Parameters stay the same
        objects.
        """
        if recurse:
            for module in self.children():
                module._apply(fn)
        with no_grad():
            for p in self._parameters.values():
                if p is not None:
                    p.data = fn(p)
                    if p.grad is not None:
                        p.grad.data = fn(p.grad)
            for name, buffer in self._buffers.items():
                if buffer is not None:
                    self._buffers[name] = fn(buffer)
        return self

    def to(self: Self, *args, dtype=None, device=None, non_blocking: bool = False, memory_format=None) -> Self:
        """Convert floating point parameters and buffers to a dtype, or move to a device; in place. TypeError for an
        integer dtype.

        >>> import jitorch as torch
        >>> torch.nn.Linear(2, 3).to(torch.float64).weight.dtype
        torch.float64
        """
        for a in args:
            if isinstance(a, DType):
                dtype = a
            elif isinstance(a, Tensor):
                dtype, device = a.dtype, a.device
            elif a is not None and not isinstance(a, bool):
                device = a
        check_device(device)
        if dtype is None:
            return self
        if not dtype.differentiable:
            raise TypeError(
                f"nn.Module.to only accepts floating point or complex dtypes, but got desired dtype={dtype}"
            )
        return self._apply(lambda t: t.to(dtype) if t.dtype.differentiable else t)

    def float(self: Self) -> Self:
        """All floating point parameters and buffers in float32."""
        return self.to(float32)

    def double(self: Self) -> Self:
        """All floating point parameters and buffers in float64."""
        return self.to(float64)

    def type(self: Self, dst_type) -> Self:
        """All parameters and buffers in a dtype."""
        return self._apply(lambda t: t.to(dst_type))

    def half(self: Self) -> Self:
        """All floating point parameters and buffers in float16."""
        return self.to(float16)

    def bfloat16(self: Self) -> Self:
        """All floating point parameters and buffers in bfloat16."""
        return self.to(bfloat16)

    def cpu(self: Self) -> Self:
        return self.to(device="cpu")

    def cuda(self: Self, device=None) -> Self:
        """RuntimeError where there is no CUDA device."""
        return self.to(device="cuda" if device is None else device)

    def to_empty(self: Self, *, device, recurse: bool = True) -> Self:
        """On another device, without keeping the values."""
        check_device(device)
        return self._apply(lambda t: t.new_empty(t.shape), recurse)

    def share_memory(self):
        raise NotImplementedError(
            "Module.share_memory() is not supported: memory shared between processes is not implemented"
        )

    def train(self: Self, mode: bool = True) -> Self:
        """Set training mode here and below: dropout drops, batch norm uses the batch. ValueError unless `mode` is a
        bool.
        """
        if not isinstance(mode, bool):
            raise ValueError("training mode is expected to be boolean")
        self.training = mode
        for module in self.children():
            module.train(mode)
        return self

    def eval(self: Self) -> Self:
        """`train(False)`."""
        return self.train(False)

    def requires_grad_(self: Self, requires_grad: bool = True) -> Self:
        """Start or stop training of all parameters."""
        for p in self.parameters():
            p.requires_grad_(requires_grad)
        return self

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients of all parameters, or with set_to_none=False fill them with zeros."""
        for p in self.parameters():
            clear_grad(p, set_to_none)

    # -- saving and loading --------------------------------------------------------------------------------------------
    def get_extra_state(self) -> Any:
        """Override, with `set_extra_state`, to keep more than tensors in the state_dict."""
        raise RuntimeError("get_extra_state() is not overridden by this module")

    def set_extra_state(self, state: Any) -> None:
        raise RuntimeError("set_extra_state() is not overridden by this module")

    def _has(self, method: str) -> bool:
        return getattr(type(self), method) is not getattr(Module, method)

    def state_dict(self, *args, destination=None, prefix: str = "", keep_vars: bool = False) -> dict[str, Any]:
        """All parameters and persistent buffers by name; detached (but sharing memory) unless keep_vars.

        >>> import jitorch as torch
        >>> {name: tuple(x.shape) for name, x in torch.nn.Linear(2, 3).state_dict().items()}
        {'weight': (3, 2), 'bias': (3,)}
        """
        if args:
            warnings.warn(
                "Positional args are being deprecated, use kwargs instead. Refer to "
                "https://pytorch.org/docs/main/generated/torch.nn.Module.html#torch.nn.Module.state_dict for details.",
                FutureWarning,
                stacklevel=2,
            )
            destination, prefix, keep_vars = (
                (*args, destination, prefix, keep_vars)[:3]
                if len(args) == 3
                else ((args[0], args[1], keep_vars) if len(args) == 2 else (args[0], prefix, keep_vars))
            )
        if destination is None:
            destination = OrderedDict()
            destination._metadata = OrderedDict()
        metadata = {"version": self._version}
        if hasattr(destination, "_metadata"):
            destination._metadata[prefix[:-1]] = metadata
        for hook in self._state_dict_pre_hooks.values():
            hook(self, prefix, keep_vars)
        self._save_to_state_dict(destination, prefix, keep_vars)
        for name, module in self._modules.items():
            if module is not None:
                module.state_dict(destination=destination, prefix=prefix + name + ".", keep_vars=keep_vars)
        for hook, may_replace in self._state_dict_hooks.values():
            result = hook(self, destination, prefix, metadata)
            if result is not None:
                if not may_replace:
                    raise RuntimeError("state_dict post-hook must return None")
                destination = result
        return destination

    def _save_to_state_dict(self, destination, prefix: str, keep_vars: bool) -> None:
        hidden = self._non_persistent_buffers_set
        for held in (self._parameters, self._buffers):
            for name, value in held.items():
                if value is not None and name not in hidden:
                    destination[prefix + name] = value if keep_vars else value.detach()
        if self._has("get_extra_state"):
            destination[prefix + EXTRA_STATE] = self.get_extra_state()

    def load_state_dict(
        self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False
    ) -> IncompatibleKeys:
        """Copy values from a state_dict, by name. Returns the missing and unexpected keys.

        strict: RuntimeError unless the names match. assign: take the tensors themselves instead of copying into the
        present ones. Raises RuntimeError too where shapes differ, TypeError for what is no mapping.

        >>> import jitorch as torch
        >>> a, b = torch.nn.Linear(2, 3), torch.nn.Linear(2, 3)
        >>> a.load_state_dict(b.state_dict())
        <All keys matched successfully>
        >>> bool((a.weight == b.weight).all())
        True
        """
        if not isinstance(state_dict, Mapping):
            raise TypeError(f"Expected state_dict to be dict-like, got {type(state_dict)}.")
        metadata = getattr(state_dict, "_metadata", None)
        state: Any = OrderedDict(state_dict)
        if metadata is not None:
            state._metadata = metadata
        missing: list[str] = []
        unexpected: list[str] = []
        errors: list[str] = []

        def load(module: Module, state: dict, prefix: str) -> None:
            local = {} if metadata is None else metadata.get(prefix[:-1], {})
            if assign:
                local["assign_to_params_buffers"] = True
            module._load_from_state_dict(state, prefix, local, True, missing, unexpected, errors)
            for name, child in module._modules.items():
                if child is not None:
                    below = prefix + name + "."
                    load(child, {k: v for k, v in state.items() if k.startswith(below)}, below)
            for hook in module._load_state_dict_post_hooks.values():
                if hook(module, IncompatibleKeys(missing, unexpected)) is not None:
                    raise AssertionError(
                        "Hooks registered with ``register_load_state_dict_post_hook`` are not expected to return new "
                        "values, if incompatible_keys need to be modified, it should be done inplace."
                    )

        load(self, state, "")
        if strict:
            for keys, what in ((unexpected, "Unexpected"), (missing, "Missing")):
                if keys:
                    quoted = ", ".join(f'"{k}"' for k in keys)
                    errors.insert(0, f"{what} key(s) in state_dict: {quoted}. ")
        if errors:
            raise RuntimeError(
                "Error(s) in loading state_dict for {}:\n\t{}".format(type(self).__name__, "\n\t".join(errors))
            )
        return IncompatibleKeys(missing, unexpected)

    def _load_from_state_dict(
        self, state_dict, prefix, local_metadata, strict, missing_keys, unexpected_keys, error_msgs
    ) -> None:
        """Load this module's own parameters and buffers; override it to load states of an older form."""
        for hook, with_module in self._load_state_dict_pre_hooks.values():
            args = (state_dict, prefix, local_metadata, strict, missing_keys, unexpected_keys, error_msgs)
            hook(self, *args) if with_module else hook(*args)
        hidden = self._non_persistent_buffers_set
        own = {
            n: v
            for held in (self._parameters, self._buffers)
            for n, v in held.items()
            if v is not None and n not in hidden
        }
        for name, value in own.items():
            key = prefix + name
            if key in state_dict:
                problem = self._load_one(
                    name, value, key, state_dict[key], local_metadata.get("assign_to_params_buffers", False)
                )
                if problem:
                    error_msgs.append(problem)
            elif strict:
                missing_keys.append(key)
        extra = prefix + EXTRA_STATE
        if self._has("set_extra_state"):
            if extra in state_dict:
                self.set_extra_state(state_dict[extra])
            elif strict:
                missing_keys.append(extra)
        elif strict and extra in state_dict:
            unexpected_keys.append(extra)
        if strict:
            for key in state_dict:
                if key.startswith(prefix) and key != extra:
                    name, dot, _ = key[len(prefix) :].partition(".")
                    if name not in (self._modules if dot else own):
                        unexpected_keys.append(key)

    def _load_one(self, name: str, value: Tensor, key: str, new, assign: bool) -> str | None:
        """Load one parameter or buffer; returns what is wrong with it, if anything is."""
        if not isinstance(new, Tensor):
            return (
                f'While copying the parameter named "{key}", expected torch.Tensor or Tensor-like object from '
                "checkpoint but received "
                f"{type(new)}"
            )
        if not value.shape and new.shape == (1,):
            new = new[0]
        if new.shape != value.shape:
            return (
                f"size mismatch for {key}: copying a param with shape {new.shape} from checkpoint, "
                f"the shape in current model is {value.shape}."
            )
        try:
            with no_grad():
                if not assign:
                    value.copy_(new)
                    return None
                if isinstance(value, Parameter):
                    new = (
                        new.requires_grad_(value.requires_grad)
                        if isinstance(new, Parameter)
                        else Parameter(new, value.requires_grad)
                    )
                setattr(self, name, new)
        except Exception as error:  # reported together with what is wrong with other keys
            return (
                f'While copying the parameter named "{key}", whose dimensions in the model are {value.shape} and '
                "whose dimensions in the "
                f"checkpoint are {new.shape}, an exception occurred : {error.args}."
            )
        return None

    # -- printing ------------------------------------------------------------------------------------------------------
    def _get_name(self) -> str:
        return type(self).__name__

    def extra_repr(self) -> str:
        """What is printed between the parentheses; override it."""
        return ""

    def __repr__(self) -> str:
        extra = self.extra_repr()
        lines = extra.split("\n") if extra else []
        children = [f"({name}): {indented(repr(module))}" for name, module in self._modules.items()]
        if not children and len(lines) <= 1:
            return f"{self._get_name()}({extra})"
        return self._get_name() + "(\n  " + "\n  ".join(lines + children) + "\n)"


def clear_grad(p: Tensor, set_to_none: bool) -> None:
    """Forget a tensor's gradient, or fill it with zeros."""
    if p.grad is None:
        return
    if set_to_none:
        p.grad = None
        return
    if p.grad.grad_fn is not None:
        p.grad.detach_()
    else:
        p.grad.requires_grad_(False)
    p.grad.zero_()

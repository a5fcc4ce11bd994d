"""Optimizer: groups of parameters with their settings, state for each parameter, hooks, saving and loading.

The optimizers of this package derive from `Rule`, and define how one group is updated. A step is recorded in a few
in-place operations a parameter and run at the end of `step()`, so that forward, backward and update of a training step
are one program. Numbers that change from step to step (learning rate, bias corrections) are operands, so that a changed
number compiles nothing.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable, Iterable
from copy import deepcopy
from itertools import chain
from typing import Any

import jitorch

from ..autograd import enable_grad
from ..autograd.node import sparse_used
from ..changes import Members, State, States, changed, put
from ..graph.record import flush, local
from ..nn.modules.hooks import HookHandle, HookTable
from ..nn.modules.module import clear_grad, typename
from ..ops.update import update
from ..tensor import Tensor

GLOBAL_PRE, GLOBAL_POST = HookTable(), HookTable()
TABLES = (
    "_optimizer_step_pre_hooks",
    "_optimizer_step_post_hooks",
    "_optimizer_state_dict_pre_hooks",
    "_optimizer_state_dict_post_hooks",
    "_optimizer_load_state_dict_pre_hooks",
    "_optimizer_load_state_dict_post_hooks",
)


class _Required:
    """The default of a setting that every group must give."""

    def __repr__(self) -> str:
        return "<required parameter>"


required = _Required()


def register_optimizer_step_pre_hook(hook: Callable) -> HookHandle:
    """Call `hook(optimizer, args, kwargs)` before every step of every optimizer."""
    return HookHandle(GLOBAL_PRE, hook)


def register_optimizer_step_post_hook(hook: Callable) -> HookHandle:
    """Call `hook(optimizer, args, kwargs)` after every step of every optimizer."""
    return HookHandle(GLOBAL_POST, hook)


def with_hooks(step: Callable) -> Callable:
    """`step` between its hooks; what it recorded runs at its end."""

    @functools.wraps(step)
    def wrapper(self, *args, **kwargs):
        if self._in_step:  # called through super().step()
            return step(self, *args, **kwargs)
        for hook in (*GLOBAL_PRE.values(), *self._optimizer_step_pre_hooks.values()) if GLOBAL_PRE or self._optimizer_step_pre_hooks else ():
            changed = hook(self, args, kwargs)
            if changed is not None:
                if not (isinstance(changed, tuple) and len(changed) == 2):
                    raise RuntimeError(
                        f"{step} must return None or a tuple of (new_args, new_kwargs), but got {changed}."
                    )
                args, kwargs = changed
        self._in_step = True
        try:
            result = step(self, *args, **kwargs)
        finally:
            self._in_step = False
        flush()
        self._opt_called = True
        for hook in (*self._optimizer_step_post_hooks.values(), *GLOBAL_POST.values()) if GLOBAL_POST or self._optimizer_step_post_hooks else ():
            hook(self, args, kwargs)
        return result

    wrapper.__dict__["hooked"] = True
    return wrapper


def number(x) -> float:
    """A setting as a Python number; it may be given as a one-element tensor."""
    return x.item() if isinstance(x, Tensor) else x


class Optimizer:
    """Base class of optimizers: `params` are tensors, (name, tensor) pairs, or dicts of settings with their tensors
    under "params".

    defaults: the settings of groups that don't give their own. Subclasses define `step(closure=None)`. Raises TypeError
    for what is no tensor, ValueError for a non-leaf tensor, an empty list, or a tensor in two groups.
    """

    _optimizer_step_pre_hooks: HookTable
    _optimizer_step_post_hooks: HookTable
    _optimizer_state_dict_pre_hooks: HookTable
    _optimizer_state_dict_post_hooks: HookTable
    _optimizer_load_state_dict_pre_hooks: HookTable
    _optimizer_load_state_dict_post_hooks: HookTable
    _in_step = False
    _opt_called = False  # has step() run: learning rate schedules ask

    def __init_subclass__(cls, **kwargs):
        super().__init_subclass__(**kwargs)
        step = cls.__dict__.get("step")
        if step is not None and not hasattr(step, "hooked"):
            cls.step = with_hooks(step)

    def __init__(self, params: Iterable, defaults: dict[str, Any]):
        if isinstance(params, Tensor):
            raise TypeError(
                "params argument given to the optimizer should be an iterable of Tensors or dicts, but got "
                + typename(params)
            )
        self.defaults = defaults
        for name in TABLES:
            setattr(self, name, HookTable())
        self.state: dict[Tensor, Any] = States()
        self.param_groups: list[dict[str, Any]] = []
        groups = list(params)
        if not groups:
            raise ValueError("optimizer got an empty parameter list")
        for group in groups if isinstance(groups[0], dict) else [{"params": groups}]:
            self.add_param_group(group)

    def step(self, closure: Callable[[], Any] | None = None):
        raise NotImplementedError(f"{type(self).__name__} doesn't define step()")

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients of all parameters, or with set_to_none=False fill them with zeros."""
        capture = local.tape.capture
        if capture is not None and set_to_none:
            capture.forgets(p for group in self.param_groups for p in group["params"])
        for group in self.param_groups:
            for p in group["params"]:
                if set_to_none:
                    p.grad = None
                else:
                    clear_grad(p, False)

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group of parameters; settings that it doesn't give are the defaults."""
        if not isinstance(param_group, dict):
            raise TypeError(f"param_group must be a dict, but got {type(param_group)}")
        params = param_group["params"]
        if isinstance(params, set):
            raise TypeError(
                "optimizer parameters need to be organized in ordered collections, but the ordering of tensors in "
                "sets will change between runs. Please use a list instead."
            )
        params = [params] if isinstance(params, Tensor) else list(params)
        names = [p[0] for p in params if isinstance(p, tuple)]
        if names:
            if len(names) != len(params):
                raise ValueError("all optimizer params should be with/without names. Some param names are missing")
            param_group["param_names"] = names
            params = [p[1] for p in params]
        for p in params:
            if not isinstance(p, Tensor):
                raise TypeError("optimizer can only optimize Tensors, but one of the params is " + typename(p))
            if not (self.defaults.get("differentiable") or p.is_leaf or p.retains_grad):
                raise ValueError("can't optimize a non-leaf Tensor")
        param_group["params"] = Members(params)
        for name, default in self.defaults.items():
            if default is required and name not in param_group:
                raise ValueError(f"parameter group didn't specify a value of required optimization parameter {name}")
            param_group.setdefault(name, default)
        if len(set(params)) != len(params):
            warnings.warn(
                "optimizer contains a parameter group with duplicate parameters; in future, this will cause an error; "
                "see github.com/pytorch/pytorch/issues/40967 for more information",
                stacklevel=3,
            )
        for group in self.param_groups:
            if ("param_names" in param_group) != ("param_names" in group):
                which = "with names" if "param_names" in param_group else "without names"
                raise ValueError(
                    "all optimizer param groups should be with/without names. "
                    f"cannot add param group {which} to the optimizer"
                )
            if not set(group["params"]).isdisjoint(params):
                raise ValueError("some parameters appear in more than one parameter group")
        changed()
        self.param_groups.append(param_group)

    # -- hooks ---------------------------------------------------------------------------------------------------------
    def register_step_pre_hook(self, hook: Callable) -> HookHandle:
        """Call `hook(optimizer, args, kwargs)` before `step`; it may return new (args, kwargs)."""
        return HookHandle(self._optimizer_step_pre_hooks, hook)

    def register_step_post_hook(self, hook: Callable) -> HookHandle:
        """Call `hook(optimizer, args, kwargs)` after `step`."""
        return HookHandle(self._optimizer_step_post_hooks, hook)

    def register_state_dict_pre_hook(self, hook: Callable, prepend: bool = False) -> HookHandle:
        """Call `hook(optimizer)` before `state_dict`."""
        return HookHandle(self._optimizer_state_dict_pre_hooks, hook, prepend)

    def register_state_dict_post_hook(self, hook: Callable, prepend: bool = False) -> HookHandle:
        """Call `hook(optimizer, state_dict)` after `state_dict`; it may return another."""
        return HookHandle(self._optimizer_state_dict_post_hooks, hook, prepend)

    def register_load_state_dict_pre_hook(self, hook: Callable, prepend: bool = False) -> HookHandle:
        """Call `hook(optimizer, state_dict)` before loading; it may return another."""
        return HookHandle(self._optimizer_load_state_dict_pre_hooks, hook, prepend)

    def register_load_state_dict_post_hook(self, hook: Callable, prepend: bool = False) -> HookHandle:
        """Call `hook(optimizer)` after loading."""
        return HookHandle(self._optimizer_load_state_dict_post_hooks, hook, prepend)

    # -- saving and loading --------------------------------------------------------------------------------------------
    counts: tuple[str, ...] = ()  # entries of the state that are Python numbers here and 0-d tensors in PyTorch

    def _exported(self, state):
        """The state of a parameter as PyTorch keeps it."""
        if not isinstance(state, dict):
            return state
        return {
            k: jitorch.tensor(float(v), dtype=jitorch.float32) if k in self.counts and not isinstance(v, Tensor) else v
            for k, v in state.items()
        }

    def state_dict(self) -> dict[str, Any]:
        """{"state": by number of the parameter, "param_groups": settings with the numbers of their parameters}."""
        for hook in self._optimizer_state_dict_pre_hooks.values():
            hook(self)
        numbers: dict[int, int] = {}
        groups = []
        for group in self.param_groups:
            for p in group["params"]:
                numbers.setdefault(id(p), len(numbers))
            groups.append(
                {k: v for k, v in group.items() if k != "params"}
                | {"params": [numbers[id(p)] for p in group["params"]]}
            )
        state = {numbers[id(k)] if isinstance(k, Tensor) else k: self._exported(v) for k, v in self.state.items()}
        packed = {"state": state, "param_groups": groups}
        for hook in self._optimizer_state_dict_post_hooks.values():
            changed = hook(self, packed)
            packed = packed if changed is None else changed
        return packed

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over settings and state. ValueError where the groups or their sizes differ."""
        state_dict = state_dict.copy()
        for hook in self._optimizer_load_state_dict_pre_hooks.values():
            changed = hook(self, state_dict)
            state_dict = state_dict if changed is None else changed
        groups, saved = self.param_groups, deepcopy(state_dict["param_groups"])
        if len(groups) != len(saved):
            raise ValueError("loaded state dict has a different number of parameter groups")
        if any(len(g["params"]) != len(s["params"]) for g, s in zip(groups, saved, strict=True)):
            raise ValueError(
                "loaded state dict contains a parameter group that doesn't match the size of optimizer's group"
            )
        params = dict(
            zip(
                chain.from_iterable(s["params"] for s in saved),
                chain.from_iterable(g["params"] for g in groups),
                strict=True,
            )
        )
        state: dict[Tensor, Any] = States()
        for key, value in state_dict["state"].items():
            state[params.get(key, key)] = self._imported(params[key], value) if key in params else value
        for group, new in zip(groups, saved, strict=True):
            new["params"] = group["params"]
            if "param_names" in group:
                new.setdefault("param_names", group["param_names"])
        self.__setstate__({"state": state, "param_groups": saved})
        for hook in self._optimizer_load_state_dict_post_hooks.values():
            hook(self)

    def _imported(self, p: Tensor, value, key=None):
        """A saved value for parameter p: tensors in its dtype, counts as Python numbers."""
        if isinstance(value, dict):
            return State({k: self._imported(p, v, k) for k, v in value.items()})
        if key in self.counts:
            return float(value)
        if isinstance(value, Tensor):
            if key == "step":
                return value
            return value.to(p.dtype) if p.dtype.is_floating_point else value
        if isinstance(value, (list, tuple, set)):
            return type(value)(self._imported(p, v) for v in value)
        return value

    def __getstate__(self) -> dict[str, Any]:
        return {"defaults": self.defaults, "state": self.state, "param_groups": self.param_groups}

    def __setstate__(self, state: dict[str, Any]) -> None:
        changed()
        self.__dict__.update(state)
        self.state = States(self.state)
        for group in self.param_groups:
            group["params"] = Members(group["params"])
        for name in TABLES:
            self.__dict__.setdefault(name, HookTable())

    def __repr__(self) -> str:
        text = type(self).__name__ + " ("
        for i, group in enumerate(self.param_groups):
            text += f"\nParameter Group {i}\n"
            text += "".join(f"    {key}: {group[key]}\n" for key in sorted(group) if key != "params")
        return text + ")"


class Rule(Optimizer):
    """An optimizer that updates its groups one by one: `_update(group)` changes the parameters that have a gradient, in
    place.
    """

    def _update(self, group: dict[str, Any]) -> None:
        raise NotImplementedError

    def step(self, closure: Callable[[], Any] | None = None):
        """One update of all parameters with a gradient. closure: computes the loss again; its result is returned."""
        loss = None
        if closure is not None:
            with enable_grad():
                loss = closure()
        # The numbers of an update are run-time scalars from the start, so that no program is built for their first values: learning rates
        # are scheduled, bias corrections differ at every step.
        tape = local.tape
        was = tape.differentiates, tape.numbers_change
        tape.differentiates, tape.numbers_change = bool(self.defaults.get("differentiable")), True
        try:
            for group in self.param_groups:
                self._update(self._without_sparse(group) if sparse_used else group)
        finally:
            tape.differentiates, tape.numbers_change = was
        return loss

    def _without_sparse(self, group: dict[str, Any]) -> dict[str, Any]:
        """Update the parameters with sparse gradients. Returns the group of the others."""
        few = [p for p in group["params"] if p.grad is not None and p.grad.is_sparse]
        for p in few:
            self._update_sparse(group, p, -p.grad if group.get("maximize") else p.grad)
        return {**group, "params": [p for p in group["params"] if all(p is not q for q in few)]} if few else group

    def _update_sparse(self, group: dict[str, Any], p: Tensor, grad) -> None:
        """Update a parameter in the places that its sparse gradient has. RuntimeError where the optimizer has no rule for that."""
        name = type(self).__name__
        raise RuntimeError(f"{name} does not support sparse gradients" + (", please consider SparseAdam instead" if name.startswith("Adam") else ""))

    def _advance(self, group: dict[str, Any], state: dict[str, Any]):
        """Move the counts of a parameter's state on by one step. Returns what `_numbers` needs to know of them."""
        step = state["step"] + 1
        put(state, "step", step)
        return step

    def _numbers(self, group: dict[str, Any], at) -> tuple:
        """The numbers of the rule for parameters that are `at` a step: all that changes from step to step."""
        raise NotImplementedError

    def _apply(self, group: dict[str, Any], rule: Callable, flags: tuple, rows: dict) -> None:
        """Apply a rule (see ops/update.py) to rows that are gathered by the step that their parameters are at."""
        differentiable = bool(group.get("differentiable"))
        capture = local.tape.capture
        for at, some in rows.items():
            numbers = self._numbers(group, at)
            if capture is not None:
                capture.stepped(self, group, at, [self.state[row[0]] for row in some if self.counts], numbers)
            update(rule, flags, some, numbers, differentiable)


def descent(m, flags, p, g, decay):
    """The gradient to descend: its sign changed with the flag "maximize", decay * p added with "decay"."""
    if "maximize" in flags:
        g = -g
    return g + decay * p if "decay" in flags else g


def flags_of(group: dict[str, Any], *names: str) -> tuple[str, ...]:
    """The settings that choose a formula, as names: those asked for that are on, and "decay" where there is weight
    decay.
    """
    on = tuple(name for name in names if group[name])
    return (*on, "decay") if group.get("weight_decay", 0) != 0 else on


def check_rate(lr) -> None:
    """ValueError for a negative learning rate, or one given as a tensor of several elements."""
    if isinstance(lr, Tensor) and lr.numel() != 1:
        raise ValueError("Tensor lr must be 1-element")
    if not 0.0 <= lr:
        raise ValueError(f"Invalid learning rate: {lr}")


def check_settings(**values) -> None:
    """ValueError for a negative one: eps -> "Invalid epsilon value", others under their own names."""
    for name, value in values.items():
        if not 0.0 <= value:
            raise ValueError(f"Invalid {'epsilon' if name == 'eps' else name} value: {value}")


def check_betas(betas) -> None:
    """ValueError unless both lie in [0, 1)."""
    for i, beta in enumerate(betas):
        if not 0.0 <= beta < 1.0:
            raise ValueError(f"Invalid beta parameter at index {i}: {beta}")


def check_variant(foreach, fused, differentiable) -> None:
    """RuntimeError for a combination of implementations that PyTorch refuses."""
    if fused and differentiable:
        raise RuntimeError("`fused` does not support `differentiable`")
    if fused and foreach:
        raise RuntimeError("`fused` and `foreach` cannot be `True` together.")

"""Functions of functions: gradients, Jacobians, maps over a batch, modules called with other parameters. As `torch.func`.

`vmap` records operations on all slices at once (see ops/batching.py), and calls its function for each slice where that can't be.
"""

from __future__ import annotations

import functools
import threading
from contextlib import contextmanager

from . import autograd
from .ops.dispatch import PUBLIC, Mapped, maps
from .ops.random import default_generator as random_state
from .utils._pytree import tree_flatten, tree_map, tree_unflatten

__all__ = ["functional_call", "functionalize", "grad", "grad_and_value", "hessian", "jacfwd", "jacrev", "jvp", "linearize", "stack_module_state", "vjp", "vmap"]

_level = threading.local()


@contextmanager
def nested():
    """Counts how deep transforms are in one another; gives whether this one is the outermost."""
    depth = getattr(_level, "depth", 0)
    _level.depth = depth + 1
    try:
        yield depth == 0
    finally:
        _level.depth = depth


def is_tensor(x) -> bool:
    return hasattr(x, "_meta")


def tracked(tree):
    """A tree whose tensors can be differentiated in, tied to the history of those given. Within a vmap they have a gradient for each slice."""
    def track(x):
        if not is_tensor(x) or not x.dtype.differentiable:
            return x
        x = for_each_slice(x)
        return x.view_as(x) if x.requires_grad else x.detach().requires_grad_(True)

    return tree_map(track, tree)


def tracked_at(numbers: tuple, args: tuple) -> list:
    """The arguments, those with these numbers `tracked`. RuntimeError for a number that none has."""
    inner = list(args)
    for i in numbers:
        if not -len(args) <= i < len(args):
            raise RuntimeError(f"Got argnum={i}, but only {len(args)} positional inputs")
        inner[i] = tracked(args[i])
    return inner


def for_each_slice(x):
    """A tensor of its own for each slice of the calls of vmap that are running."""
    if not maps.levels:
        return x
    from .ops.batching import lift, live
    return lift(x, live())


def settled(tree, outermost: bool, given):
    """Results without history, unless what was given has one or a transform around this one needs it."""
    if not outermost or any(is_tensor(x) and x.requires_grad for x in tree_flatten(given)[0]):
        return tree
    return tree_map(lambda x: x.detach() if is_tensor(x) else x, tree)


def gradients_of(output, xs: list, v=None) -> list:
    outputs = output if isinstance(output, list) else [output]
    live = [(o, w) for o, w in zip(outputs, v or [None] * len(outputs), strict=True) if o.requires_grad]
    if not live:
        return [PUBLIC["zeros_like"](x) for x in xs]
    found = autograd.grad([o for o, _ in live], xs, None if v is None else [w for _, w in live], create_graph=True, allow_unused=True)
    return [PUBLIC["zeros_like"](x) if g is None else g for x, g in zip(xs, found, strict=True)]


def parted(name: str, output, has_aux: bool) -> tuple:
    """(output, auxiliary), the latter None without has_aux. RuntimeError for what isn't such a pair with it."""
    if not has_aux:
        return output, None
    if not (isinstance(output, tuple) and len(output) == 2):
        raise RuntimeError(f"{name}: output of function f should be a tuple: (output, aux) if has_aux is True, but got {output}")
    return output


def grad_and_value(func, argnums=0, has_aux: bool = False):
    """A function that gives (gradient, value) of func in its argument argnums (or arguments, a tuple); with has_aux
    (gradient, (value, auxiliary)). RuntimeError unless func gives one number.
    """
    numbers = (argnums,) if isinstance(argnums, int) else tuple(argnums)

    @functools.wraps(func)
    def wrapper(*args, **kwargs):
        with autograd.enable_grad(), nested() as outermost:
            inner = tracked_at(numbers, args)
            output, aux = parted("grad_and_value(f)(*args)", func(*inner, **kwargs), has_aux)
            if not is_tensor(output):
                raise RuntimeError(f"Expected f to return a Tensor, but it returned {type(output)}")
            if output.ndim:
                raise RuntimeError(f"Expected f to return a scalar tensor with no dims, got a tensor with {output.ndim} dims. "
                                   "Maybe you wanted to use the vjp or jacrev APIs instead?")
            flat, spec = tree_flatten([inner[i] for i in numbers])
            places = [k for k, x in enumerate(flat) if is_tensor(x) and x.requires_grad]
            for k, g in zip(places, gradients_of(output, [flat[k] for k in places]), strict=True):
                flat[k] = g
            found = tree_unflatten(flat, spec)
            result = (found[0] if isinstance(argnums, int) else tuple(found), (output, aux) if has_aux else output)
            return settled(result, outermost, (args, kwargs))

    return wrapper


def grad(func, argnums=0, has_aux: bool = False):
    """A function that gives the gradient of func, which gives one number.

    >>> import jitorch as torch
    >>> torch.func.grad(torch.func.grad(lambda x: x ** 3))(torch.tensor(2.))
    tensor(12.)
    """
    both = grad_and_value(func, argnums, has_aux)

    @functools.wraps(func)
    def wrapper(*args, **kwargs):
        found, value = both(*args, **kwargs)
        return (found, value[1]) if has_aux else found

    return wrapper


def vjp(func, *primals, has_aux: bool = False):
    """(func(*primals), a function that multiplies vectors shaped as its result with the Jacobian[, auxiliary])."""
    with autograd.enable_grad(), nested() as outermost:
        inner = tracked(primals)
        output, aux = parted("vjp(f, *primals)", func(*inner), has_aux)
        outs, out_spec = tree_flatten(output)
        xs, spec = tree_flatten(inner)

    def product(*cotangents, retain_graph: bool = True, create_graph: bool | None = None):
        given = cotangents[0] if len(cotangents) == 1 else cotangents
        with autograd.enable_grad():
            found = gradients_of(outs, xs, tree_flatten(given)[0])
        return settled(tree_unflatten(found, spec), outermost, (primals, given))

    result = settled(tree_unflatten(outs, out_spec), outermost, primals)
    return (result, product, aux) if has_aux else (result, product)


def jvp(func, primals, tangents, *, strict: bool = False, has_aux: bool = False):
    """(func(*primals), the Jacobian times the tangents[, auxiliary]); by differentiating the backward pass."""
    with autograd.enable_grad(), nested() as outermost:
        inner = tracked(tuple(primals))
        output, aux = parted("jvp(f, primals, tangents)", func(*inner), has_aux)
        outs, out_spec = tree_flatten(output)
        xs, _ = tree_flatten(inner)
        dummies = [for_each_slice(PUBLIC["zeros_like"](o)).detach().requires_grad_(True) for o in outs]
        first = gradients_of(outs, xs, dummies)
        found = gradients_of(first, dummies, tree_flatten(tuple(tangents))[0])
        result = settled((tree_unflatten(outs, out_spec), tree_unflatten(found, out_spec)), outermost, (primals, tangents))
    return (*result, aux) if has_aux else result


def linearize(func, *primals):
    """(func(*primals), the function that maps tangents to the Jacobian times them)."""
    value, _ = jvp(func, primals, tree_map(PUBLIC["zeros_like"], primals))
    return value, lambda *tangents: jvp(func, primals, tangents)[1]


def jacrev(func, argnums=0, has_aux: bool = False, *, chunk_size=None, _preallocate_and_copy: bool = False):
    """A function that gives the Jacobian of func in an argument (or in several): the result's shape, then the argument's."""
    numbers = (argnums,) if isinstance(argnums, int) else tuple(argnums)

    @functools.wraps(func)
    def wrapper(*args, **kwargs):
        with autograd.enable_grad(), nested() as outermost:
            inner = tracked_at(numbers, args)
            output, aux = parted("jacrev(f)(*args)", func(*inner, **kwargs), has_aux)
            xs, spec = tree_flatten([inner[i] for i in numbers])
            outs, out_spec = tree_flatten(output)
            made = []
            for out in outs:
                rows = [gradients_of(element, xs) for element in out.reshape(-1).unbind(0)]
                parts = [PUBLIC["stack"]([r[k] for r in rows]).reshape((*out.shape, *x.shape)) if rows else x.new_zeros((*out.shape, *x.shape))
                         for k, x in enumerate(xs)]
                found = tree_unflatten(parts, spec)
                made.append(found[0] if isinstance(argnums, int) else tuple(found))
            result = settled(tree_unflatten(made, out_spec), outermost, (args, kwargs))
        return (result, aux) if has_aux else result

    return wrapper


def jacfwd(func, argnums: int = 0, has_aux: bool = False, *, randomness: str = "error"):
    """As `jacrev`."""
    return jacrev(func, argnums, has_aux)


def hessian(func, argnums=0):
    """A function that gives the second derivatives of func."""
    return jacrev(jacrev(func, argnums), argnums)


# -- maps over a batch -------------------------------------------------------------------------------------------------
def spread_dims(dims, tree, spec):
    """One entry of in_dims (or out_dims) for each leaf of a tree."""
    if dims is None or isinstance(dims, int):
        return [dims] * len(tree_flatten(tree)[0])
    kids = list(dims.values()) if isinstance(dims, dict) else list(dims)
    below = list(tree.values()) if isinstance(tree, dict) else list(tree)
    if len(kids) != len(below):
        raise ValueError(f"vmap: in_dims is not compatible with the structure of inputs: {dims}")
    return [d for k, t in zip(kids, below, strict=True) for d in spread_dims(k, t, spec)]


def vmap(func, in_dims=0, out_dims=0, randomness: str = "error", *, chunk_size=None):
    """A function that maps func over a dimension of its arguments (in_dims: which; None: the argument is not mapped) and stacks the results
    along out_dims.

    Operations are recorded once for all slices; a function that reads values (`item`, a condition on a tensor) is called for each slice instead.
    randomness: what random numbers within func are: "error", "same" or "different" for each slice. chunk_size: slices at a time.
    ValueError where sizes or structures don't fit; RuntimeError for random numbers, unless randomness says what they are.

    >>> import jitorch as torch
    >>> torch.vmap(torch.dot)(torch.ones(3, 2), torch.ones(3, 2))
    tensor([2., 2., 2.])
    """
    if randomness not in ("error", "different", "same"):
        raise RuntimeError(f"Only allowed values for randomness are 'error', 'different', or 'same'. Got {randomness}")
    if chunk_size is not None and chunk_size <= 0:
        raise ValueError(f"vmap: chunk_size should be None or greater than 0. (got {chunk_size})")
    name = getattr(func, "__name__", str(func))

    @functools.wraps(func)
    def wrapper(*args, **kwargs):
        flat, spec = tree_flatten(args)
        dims = spread_dims(in_dims, args, spec)
        extra, extra_spec = tree_flatten(kwargs)
        flat, dims = [*flat, *extra], [*dims, *(0 if is_tensor(x) else None for x in extra)]
        n = mapped_size(name, in_dims, flat, dims)

        def call(given):
            positional = tree_unflatten(given[: len(given) - len(extra)], spec)
            return func(*positional, **tree_unflatten(given[len(given) - len(extra) :], extra_spec))

        front = [x if d is None else x.movedim(d, 0) for x, d in zip(flat, dims, strict=True)]
        size = n if chunk_size is None else chunk_size
        parts = []
        for start in range(0, n, size):
            length = min(size, n - start)
            some = [x if d is None or length == n else x[start : start + length] for x, d in zip(front, dims, strict=True)]
            parts.append(mapped(name, call, some, dims, length, randomness))
        out_spec = parts[0][1]
        leaves = [row[0] if len(parts) == 1 else PUBLIC["cat"](list(row)) for row in zip(*(p[0] for p in parts), strict=True)]
        where = spread_dims(out_dims, tree_unflatten(leaves, out_spec), out_spec)
        return tree_unflatten([x.select(0, 0) if d is None else x if d == 0 else x.movedim(0, d) for x, d in zip(leaves, where, strict=True)], out_spec)

    return wrapper


def mapped_size(name: str, in_dims, flat: list, dims: list) -> int:
    """The size of the mapped dimension. ValueError where there is none, or several."""
    sizes = set()
    for x, d in zip(flat, dims, strict=True):
        if d is None:
            continue
        if not is_tensor(x):
            raise ValueError(f"vmap({name}, in_dims={in_dims}, ...)(<inputs>): Got in_dim={d} for an input but the input is of type {type(x)}. "
                             "We cannot vmap over non-Tensor arguments, please use None as the respective in_dim")
        if not -x.ndim <= d < x.ndim:
            raise ValueError(f"vmap({name}, in_dims={in_dims}, ...)(<inputs>): Got in_dim={d} for some input, but that input is a Tensor of dimensionality "
                             f"{x.ndim} so expected in_dim to satisfy -{x.ndim} <= in_dim < {x.ndim}.")
        sizes.add(x.shape[d])
    if not sizes:
        raise ValueError(f"vmap({name}, in_dims={in_dims}, ...)(<inputs>): at least one Tensor must be mapped over")
    if len(sizes) > 1:
        raise ValueError(f"vmap: Expected all tensors to have the same size in the mapped dimension, got sizes {sorted(sizes)} for the mapped dimension")
    if 0 in sizes:
        raise ValueError("vmap: the mapped dimension has size 0")
    return sizes.pop()


def mapped(name: str, call, flat: list, dims: list, n: int, randomness: str):
    """The leaves of call's results, all slices along dimension 0, and their structure: by rules where they do, else by calling it n times."""
    from .ops.batching import Batched, Level, lift
    try:
        with Level(n, randomness) as level:
            result = call([x if d is None else Batched(level, x) for x, d in zip(flat, dims, strict=True)])
            leaves, spec = tree_flatten(result)
            check_results(name, leaves)
            return [lift(x, (level,)).whole for x in leaves], spec
    except Mapped:
        rows: list = []
    state = random_state.get_state() if randomness == "same" else None
    with Level(n, randomness, loop=True):
        for i in range(n):
            if state is not None:
                random_state.set_state(state)
            leaves, spec = tree_flatten(call([x if d is None else x.select(0, i) for x, d in zip(flat, dims, strict=True)]))
            check_results(name, leaves)
            rows.append(leaves)
    return [PUBLIC["stack"](list(column)) for column in zip(*rows, strict=True)], spec


def check_results(name: str, leaves: list) -> None:
    for x in leaves:
        if not is_tensor(x):
            raise ValueError(f"vmap({name}, ...): `{name}` must only return Tensors, got type {type(x)}. Did you mean to set out_dims= to None for output?")


# -- modules -----------------------------------------------------------------------------------------------------------
def functional_call(module, parameter_and_buffer_dicts, args=None, kwargs=None, *, tie_weights: bool = True, strict: bool = False):
    """module(*args, **kwargs) with other tensors under the names of its parameters and buffers (a dict, or several).

    RuntimeError with strict for names that are missing or unknown.

    >>> import jitorch as torch
    >>> layer = torch.nn.Linear(1, 1, bias=False)
    >>> torch.func.functional_call(layer, {"weight": torch.tensor([[3.]])}, torch.ones(1, 1))
    tensor([[3.]])
    """
    dicts = [parameter_and_buffer_dicts] if isinstance(parameter_and_buffer_dicts, dict) else list(parameter_and_buffer_dicts)
    given: dict = {}
    for d in dicts:
        for key in d:
            if key in given:
                raise ValueError(f"{key} appears in multiple dictionaries; behavior of functional call is ambiguous")
        given.update(d)
    named = {**dict(module.named_parameters(remove_duplicate=False)), **dict(module.named_buffers(remove_duplicate=False))}
    if strict and set(given) != set(named):
        raise RuntimeError(f"Error(s) in loading state_dict: missing {sorted(set(named) - set(given))}, unexpected {sorted(set(given) - set(named))}")
    for key in given:
        if key not in named:
            raise AttributeError(f"{type(module).__name__} has no attribute `{key}`")
    if tie_weights:
        chosen = {id(named[key]): value for key, value in given.items()}
        given = {key: given.get(key, chosen.get(id(t))) for key, t in named.items() if key in given or id(t) in chosen}
    undo = []
    try:
        for key, value in given.items():
            path, _, name = key.rpartition(".")
            owner = module.get_submodule(path)
            table = owner._parameters if name in owner._parameters else owner._buffers
            undo.append((table, name, table[name]))
            table[name] = value
        args = () if args is None else args if isinstance(args, tuple) else (args,)
        return module(*args, **(kwargs or {}))
    finally:
        for table, name, was in reversed(undo):
            table[name] = was


def stack_module_state(models):
    """(parameters, buffers) of modules of one kind, each stacked along a new first dimension."""
    if not models:
        raise RuntimeError("stack_module_state: Expected at least one model, got 0.")
    if len({type(m) for m in models}) > 1:
        raise RuntimeError("stack_module_state: Expected all models to be of the same class.")
    parameters = {name: PUBLIC["stack"]([dict(m.named_parameters())[name].detach() for m in models]).requires_grad_(p.requires_grad)
                  for name, p in models[0].named_parameters()}
    buffers = {name: PUBLIC["stack"]([dict(m.named_buffers())[name] for m in models]) for name, _ in models[0].named_buffers()}
    return parameters, buffers


def functionalize(func, *, remove: str = "mutations"):
    """func itself: in-place operations are recorded as new values anyway."""
    return func



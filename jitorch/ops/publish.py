"""Functions given to users: as `jitorch.<name>`, as methods, in place, and with `out=`."""

from __future__ import annotations

from .. import dtypes
from ..changes import changed
from ..tensor import assign, check_writable, clone_of
from .dispatch import METHODS, PUBLIC, apply
from .elementwise import clone


# -- giving functions to users ---------------------------------------------------------------------------------------
def publish(name: str, function, *, inplace: bool = True, method: bool = True, public: bool = True, aliases=()) -> None:
    """Give a recording function of one tensor to users: `jitorch.name`, `Tensor.name`, `Tensor.name_`, with `out=`."""

    def with_out(input, *, out=None):
        if not hasattr(input, "_meta"):
            raise TypeError(f"{name}(): argument 'input' (position 1) must be Tensor, not {type(input).__name__}")
        result = function(input)
        return finish(result, out)

    with_out.__name__ = with_out.__qualname__ = name
    with_out.__doc__ = function.__doc__ or f"Elementwise `{name}`, as `torch.{name}`."
    for n in (name, *aliases):
        if public:
            PUBLIC[n] = with_out
        if method:
            METHODS[n] = function
        if inplace and method:
            METHODS[n + "_"] = inplace_of(function, n + "_")


def inplace_of(function, name: str):
    """The in-place method of a function whose first operand is the tensor."""

    def method(self, *args, **kwargs):
        check_writable(self)
        result = function(self, *args, **kwargs)
        if result._grad_fn is not None:
            keep_old_value(result._grad_fn, self)
        return assign(self, result)

    method.__name__ = method.__qualname__ = name
    method.__doc__ = f"In-place form of `{name[:-1]}`. RuntimeError for a leaf that requires grad."
    return method


def keep_old_value(node, x) -> None:
    """A gradient rule that reads what is about to be overwritten gets a copy of it."""
    assert x._storage is not None       # raises Mapped for a slice of a mapped dimension, of which the rule may read a view
    saved = node.saved
    if any(v is x for v in saved[::3]):
        old = apply(clone.op, (x,))
        node.saved = tuple(
            part
            for i in range(0, len(saved), 3)
            for part in ((old, old._storage, old._storage.version) if saved[i] is x else saved[i : i + 3])
        )


def finish(result, out):
    """What a function with `out=` returns: the result, or `out`, which it is written into."""
    return result if out is None else write_out(out, result)


def write_out(out, result):
    """`out=`: the result is written into `out`, which takes its shape.

    Returns out (a tuple where there are several).
    """
    if isinstance(result, tuple):
        for o, r in zip(out, result, strict=True):
            if r.dtype is dtypes.int64 and o.dtype is not r.dtype:      # places are given in no other dtype
                raise RuntimeError(f"Expected out tensor to have dtype long int, but got {o.dtype.label.lower()} instead")
        for o, r in zip(out, result, strict=True):
            write_out(o, r)
        return type(result)(*out) if hasattr(result, "_fields") else tuple(out)
    if out._rg or result._rg:
        raise RuntimeError(
            "functions with out=... arguments don't support automatic differentiation, but one of the "
            "arguments requires grad."
        )
    if out.shape != result.shape:
        if result._meta.dtype.category > out._meta.dtype.category:
            raise RuntimeError(
                f"result type {result.dtype.label} can't be cast to the desired output type {out.dtype.label}"
            )
        fresh = clone_of(result.to(out.dtype))
        changed()
        out._storage, out._meta = fresh._storage, fresh._meta
        return out
    return assign(out, result if result._meta is result._storage.meta else clone_of(result))


def needs_tensor(name: str, **arguments) -> None:
    """TypeError for the first argument that is no tensor."""
    for position, (key, value) in enumerate(arguments.items(), 1):
        if not hasattr(value, "_meta"):
            raise TypeError(
                f"{name}(): argument '{key}' (position {position}) must be Tensor, not {type(value).__name__}"
            )

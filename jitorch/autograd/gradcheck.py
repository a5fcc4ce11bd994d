"""Gradients compared with differences: `gradcheck` and `gradgradcheck`."""
from __future__ import annotations

import warnings

import numpy as np

from . import enable_grad, grad, no_grad


class GradcheckError(RuntimeError):
    """A gradient is not what differences say."""


def as_tuple(x) -> tuple:
    return tuple(x) if isinstance(x, (tuple, list)) else (x,)


def is_tensor(x) -> bool:
    return hasattr(x, "_meta")


def parts(x) -> np.ndarray:
    """The elements as real numbers: of complex ones both parts, side by side."""
    a = np.array(x.detach()._array()).reshape(-1)
    return np.stack([a.real, a.imag], -1).reshape(-1) if a.dtype.kind == "c" else a


def tensor_of(values: np.ndarray, like):
    """Undoes `parts`."""
    from ..tensor import from_array
    if like.dtype.is_complex:
        values = values[0::2] + 1j * values[1::2]
    return from_array(np.ascontiguousarray(values.astype(like.dtype.np).reshape(tuple(like.shape))))


def numerical(fn, inputs: tuple, k: int, outputs: int, eps: float) -> list[np.ndarray]:
    """For each output its derivatives in the parts of input k: (parts of input, parts of output), by central differences."""
    start = parts(inputs[k]).astype(np.float64)
    columns: list[list[np.ndarray]] = [[] for _ in range(outputs)]
    for i in range(start.size):
        ends = []
        for sign in (1, -1):
            moved = start.copy()
            moved[i] += sign * eps
            changed = tensor_of(moved, inputs[k])
            with no_grad():
                results = differentiable(as_tuple(fn(*(changed if j == k else x.detach() if is_tensor(x) else x for j, x in enumerate(inputs)))))
            ends.append([parts(r).astype(np.float64) for r in results])
        for nr in range(outputs):
            columns[nr].append((ends[0][nr] - ends[1][nr]) / (2 * eps))
    return [np.array(c).reshape(start.size, -1) for c in columns]


def analytical(output, inputs: list, create_graph: bool = False) -> list[np.ndarray]:
    """For each input the derivatives of the parts of one output: (parts of input, parts of output), by the backward pass."""
    n = parts(output).size
    rows: list[list[np.ndarray]] = [[] for _ in inputs]
    for j in range(n):
        unit = np.zeros(n)
        unit[j] = 1
        found = grad(output, inputs, tensor_of(unit, output), retain_graph=True, allow_unused=True)
        for i, (x, g) in enumerate(zip(inputs, found, strict=True)):
            if g is not None and g.dtype is not x.dtype:
                raise GradcheckError(f"Gradient for input {i} has dtype {g.dtype}, but the input has {x.dtype}")
            rows[i].append(np.zeros(parts(x).size) if g is None else parts(g))
    return [np.array(r).reshape(n, -1).T for r in rows]


def differentiable(results: tuple) -> list:
    return [r for r in results if is_tensor(r) and r.dtype.differentiable]


def gradcheck(func, inputs, *, eps: float = 1e-6, atol: float = 1e-5, rtol: float = 1e-3, raise_exception: bool = True, nondet_tol: float = 0.0,
              check_undefined_grad: bool = True, check_grad_dtypes: bool = False, check_batched_grad: bool = False, check_batched_forward_grad: bool = False,
              check_forward_ad: bool = False, check_backward_ad: bool = True, fast_mode: bool = False, masked: bool | None = None) -> bool:
    """Whether the gradients of func at inputs (those that require grad; float64 or complex128) agree with differences of width eps.

    GradcheckError where they don't, unless raise_exception is False; ValueError where nothing requires grad. Every element is checked.

    >>> import jitorch as torch
    >>> x = torch.randn(3, dtype=torch.float64, requires_grad=True)
    >>> torch.autograd.gradcheck(torch.sin, (x,))
    True
    """
    if check_forward_ad:
        raise NotImplementedError("gradcheck(): there is no forward mode differentiation to check")
    inputs = as_tuple(inputs)
    wanted = [i for i, x in enumerate(inputs) if is_tensor(x) and x.requires_grad]
    if not wanted:
        raise ValueError("gradcheck expects at least one input tensor to require gradient, but none of the them have requires_grad=True.")
    for i in wanted:
        if inputs[i].dtype.to_real().name != "float64":
            warnings.warn(f"Input #{i} requires gradient and is not a double precision floating point or complex. This check will likely fail if "
                          "all the inputs are not of double precision floating point or complex. ", stacklevel=2)
    try:
        with enable_grad():
            outputs = differentiable(as_tuple(func(*inputs)))
        expected = {i: numerical(func, inputs, i, len(outputs), eps) for i in wanted}
        for nr, output in enumerate(outputs):
            if not output.requires_grad:
                found = [np.zeros((parts(inputs[i]).size, parts(output).size)) for i in wanted]
            else:
                found = analytical(output, [inputs[i] for i in wanted])
            for i, a in zip(wanted, found, strict=True):
                n = expected[i][nr]
                if not np.allclose(a, n, rtol=rtol, atol=atol, equal_nan=True):
                    raise GradcheckError(
                        f"Jacobian mismatch for output {nr} with respect to input {i},\nnumerical:{n}\nanalytical:{a}\n"
                        f"largest difference: {np.nanmax(np.abs(a - n))}")
    except GradcheckError:
        if raise_exception:
            raise
        return False
    return True


def gradgradcheck(func, inputs, grad_outputs=None, *, eps: float = 1e-6, atol: float = 1e-5, rtol: float = 1e-3, gen_non_contig_grad_outputs: bool = False,
                  raise_exception: bool = True, nondet_tol: float = 0.0, check_undefined_grad: bool = True, check_grad_dtypes: bool = False,
                  check_batched_grad: bool = False, check_fwd_over_rev: bool = False, check_rev_over_rev: bool = True, fast_mode: bool = False,
                  masked: bool = False) -> bool:
    """`gradcheck` of the gradients: whether second derivatives agree with differences of first ones. grad_outputs: random unless given."""
    from ..ops.dispatch import PUBLIC
    inputs = as_tuple(inputs)
    outputs = differentiable(as_tuple(func(*inputs)))
    if grad_outputs is None:
        grad_outputs = tuple(PUBLIC["randn_like"](o.detach()).requires_grad_(True) for o in outputs)
    grad_outputs = as_tuple(grad_outputs)
    wanted = [i for i, x in enumerate(inputs) if is_tensor(x) and x.requires_grad]

    def first(*args):
        given, cotangents = list(args[:len(inputs)]), args[len(inputs):]
        with enable_grad():
            for i in wanted:        # differences are taken without history: it is made here
                if not given[i].requires_grad:
                    given[i] = given[i].detach().requires_grad_(True)
            results = differentiable(as_tuple(func(*given)))
            return grad(results, [given[i] for i in wanted], cotangents, create_graph=True, allow_unused=True, materialize_grads=True)

    return gradcheck(first, (*inputs, *grad_outputs), eps=eps, atol=atol, rtol=rtol, raise_exception=raise_exception)

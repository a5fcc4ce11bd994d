"""The kernels that are timed: what each computes, once for jitorch and PyTorch and once for JAX, and the goals.

Sizes are those of a small GPT (2,048 tokens, width 768, 12 heads of 512 x 512, 8,192 words), 16 MB for elementwise
chains, 64 MB for sums. A kernel's bytes follow from its inputs and results; its operations are given where they count.
"""
from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from math import prod
from typing import Any, NamedTuple

import numpy as np

from . import peers
from .limits import Work
from .peers import Framework


class Array(NamedTuple):
    """An input: standard normal float32 times `scale`, or with `classes` int64 numbers below it."""

    shape: tuple[int, ...]
    scale: float = 1.0
    classes: int = 0

    def make(self, seed: int) -> np.ndarray:
        """The same numbers for every framework. A copy: what NumPy still holds, jitorch has to read at once, unfused."""
        return numbers(self, seed).copy()


@lru_cache(maxsize=4)       # those of one case
def numbers(array: Array, seed: int) -> np.ndarray:
    random = np.random.default_rng(seed)
    if array.classes:
        return random.integers(0, array.classes, array.shape)
    return random.standard_normal(array.shape, np.float32) * np.float32(array.scale)


class Case(NamedTuple):
    """One kernel, forward, or with the gradients to its first `grads` inputs of a given gradient to its result."""

    function: Callable[..., Any]        # of (a Framework, its inputs)
    jax: Callable[..., Any] | None      # of (the module jax, the same inputs)
    inputs: tuple[Array, ...]
    goals: dict[str, float]             # of the ratio to a peer
    flops: float = 0
    grads: int = 0


def goals(torch: float, compile: float) -> dict[str, float]:
    return {"torch": torch, "compile": compile}


# -- what they compute -----------------------------------------------------------------------------------------------
def twenty_ops(np, x):
    """np: the module torch or jax.numpy."""
    y = x
    for _ in range(4):
        y = np.sqrt(np.abs(y * 1.01 + x) + 0.5) - 0.25
    return y


def chain_mean(np, x):
    return np.sqrt(np.abs(x * 1.5 + 0.25)).mean()


def both_ways(function: Callable) -> dict[str, Callable]:
    """A function of (torch or jax.numpy, inputs) as a case has it."""
    return {"function": lambda fw, *inputs: function(fw.torch, *inputs),
            "jax": lambda jax, *inputs: function(jax.numpy, *inputs)}


def layer_norm_jax(jax, x, w, b):
    centred = x - x.mean(-1, keepdims=True)
    return centred * jax.lax.rsqrt((centred * centred).mean(-1, keepdims=True) + 1e-5) * w + b


def cross_entropy_jax(jax, x, y):
    return -jax.numpy.take_along_axis(jax.nn.log_softmax(x), y[:, None], 1).mean()


def conv_relu_jax(jax, x, w):
    return jax.nn.relu(jax.lax.conv_general_dilated(x, w, (1, 1), "SAME"))


def attention_jax(jax, q, k, v):
    q, k, v = (jax.numpy.swapaxes(t, 1, 2) for t in (q, k, v))
    return jax.numpy.swapaxes(jax.nn.dot_product_attention(q, k, v, is_causal=True), 1, 2)


def product(fw, x, y):
    return x @ y


def kernel_cases() -> dict[str, Case]:
    flat, wide, heads, square = Array((1 << 22,)), Array((2048, 3072)), Array((48, 512, 512)), Array((4096, 4096))
    tokens, width, words = Array((2048, 768)), Array((768,)), Array((2048, 8192))
    pictures, weights = Array((16, 64, 32, 32)), Array((64, 64, 3, 3), 0.05)
    head = Array((4, 8, 512, 64))
    conv_flops = 2 * 16 * 32 * 32 * 64 * 64 * 9
    attention_flops = 2 * 2 * 32 * 512 * 512 * 64 / 2       # half of the two products: the other half is masked
    fused, reduced, equal, small = goals(0.5, 0.9), goals(0.4, 0.9), goals(1.0, 1.0), goals(0.8, 0.8)

    cases = {
        "20 elementwise ops 16 MB": Case(**both_ways(twenty_ops), inputs=(flat,), goals=fused),
        "tanh 16 MB": Case(**both_ways(lambda np, x: np.tanh(x)), inputs=(flat,), goals=fused),
        "rsqrt 16 MB": Case(lambda fw, x: fw.torch.rsqrt(x.abs()), lambda jax, x: jax.lax.rsqrt(abs(x)), (flat,), goals(0.9, 0.9)),
    }

    def both(name: str, case: Case, grads: int = 1, backward: float = 2.0) -> None:
        """The case, and the case with gradients, `backward` times as many operations more."""
        cases[name] = case
        cases[f"{name} + backward"] = case._replace(grads=grads, flops=case.flops * (1 + backward))

    def gelu_jax(jax, x):
        return jax.nn.gelu(x, approximate=False)
    both("gelu 2048x3072", Case(lambda fw, x: fw.F.gelu(x), gelu_jax, (wide,), fused))
    both("softmax 48x512x512", Case(lambda fw, x: fw.F.softmax(x, -1), lambda jax, x: jax.nn.softmax(x), (heads,), fused))
    cases["softmax of a transposed view 2048x2048"] = Case(
        lambda fw, x: fw.F.softmax(x.t(), -1), lambda jax, x: jax.nn.softmax(x.T), (Array((2048, 2048)),), goals(0.9, 0.9))
    both("layer norm 2048x768", Case(lambda fw, x, w, b: fw.F.layer_norm(x, (768,), w, b), layer_norm_jax,
                                     (tokens, width, width), fused), grads=3)
    both("cross entropy 2048x8192", Case(lambda fw, x, y: fw.F.cross_entropy(x, y), cross_entropy_jax,
                                         (words, Array((2048,), classes=8192)), fused))

    cases |= {
        "sum of columns 4096x4096": Case(lambda fw, x: x.sum(0), lambda jax, x: x.sum(0), (square,), reduced),
        "sum of columns 1000000x8": Case(lambda fw, x: x.sum(0), lambda jax, x: x.sum(0), (Array((1000000, 8)),), goals(1.0, 0.9)),
        "variance of columns 4096x4096": Case(lambda fw, x: x.var(0), lambda jax, x: x.var(0, ddof=1), (square,), reduced),
        "variance of 4096x4096": Case(lambda fw, x: x.var(), lambda jax, x: x.var(ddof=1), (square,), reduced),
        "mean of a fused chain 64 MB": Case(**both_ways(chain_mean), inputs=(square,), goals=reduced),
        "transposed add 4096x4096": Case(lambda fw, x, y: x + y.T, lambda jax, x, y: x + y.T, (square, square), reduced),
    }
    for n in (512, 1024):
        cases[f"matmul {n}"] = Case(product, product, (Array((n, n)), Array((n, n))), equal, flops=2 * n ** 3)
    cases |= {
        "linear + gelu 2048x768x3072": Case(
            lambda fw, x, w, b: fw.F.gelu(fw.F.linear(x, w, b)), lambda jax, x, w, b: gelu_jax(jax, x @ w.T + b),
            (tokens, Array((3072, 768), 0.03), Array((3072,))), equal, flops=2 * 2048 * 768 * 3072),
        "256 products 64x48x64": Case(product, product, (Array((256, 64, 48)), Array((256, 48, 64))), small,
                                      flops=2 * 256 * 64 * 48 * 64),
        "skinny product 8x4096x4096": Case(product, product, (Array((8, 4096)), square), small,
                                           flops=2 * 8 * 4096 ** 2),
        "matrix x vector 4096x4096": Case(product, product, (square, Array((4096,))), small, flops=2 * 4096 ** 2),
    }
    both("conv3x3 relu 64x32x32", Case(
        lambda fw, x, w: fw.F.relu(fw.F.conv2d(x, w, padding=1)), conv_relu_jax, (pictures, weights),
        goals(0.9, 0.9), flops=conv_flops), grads=2)
    both("attention 4x8x512x64", Case(
        lambda fw, q, k, v: fw.F.scaled_dot_product_attention(q, k, v, is_causal=True), attention_jax,
        (head, head, head), small, flops=attention_flops), grads=3)
    return cases


# -- what is called --------------------------------------------------------------------------------------------------
def call_of(case: Case, name: str) -> Callable[[], list]:
    """A callable for jitorch or a peer; it returns the result and the gradients."""
    return jax_call(case) if name == "jax" else torch_call(case, peers.framework(name))


def torch_call(case: Case, fw: Framework) -> Callable[[], list]:
    inputs = [fw.torch.from_numpy(array.make(seed)) for seed, array in enumerate(case.inputs)]
    wanted = [x.requires_grad_(True) for x in inputs[:case.grads]]
    function = fw.compile(lambda *inputs: case.function(fw, *inputs))

    def forward() -> list:
        y = function(*inputs)
        fw.finish()
        return [y]
    if not case.grads:
        return forward
    upstream = fw.torch.from_numpy(gradient(tuple(forward()[0].shape)))

    def forward_backward() -> list:
        for x in wanted:
            x.grad = None
        y = function(*inputs)
        y.backward(upstream)
        fw.finish()
        return [y, *(x.grad for x in wanted)]
    return forward_backward


def jax_call(case: Case) -> Callable[[], list]:
    jax = peers.jax()
    inputs = [jax.numpy.asarray(array.make(seed)) for seed, array in enumerate(case.inputs)]
    assert case.jax is not None
    function = case.jax
    run = jax.jit(lambda *inputs: [function(jax, *inputs)])
    if case.grads:
        upstream = jax.numpy.asarray(gradient(run(*inputs)[0].shape))

        def value_and_gradients(upstream, *inputs):
            y, pull = jax.vjp(lambda *wanted: function(jax, *wanted, *inputs[case.grads:]), *inputs[:case.grads])
            return [y, *pull(upstream)]
        inputs, run = [upstream, *inputs], jax.jit(value_and_gradients)
    return lambda: jax.block_until_ready(run(*inputs))


def gradient(shape: tuple[int, ...]) -> np.ndarray:
    """Not a multiple of the result: the gradient of a normalised value along itself is nothing but rounding."""
    return np.asarray(np.random.default_rng(99).standard_normal(shape, np.float32))


def work_of(case: Case, result_shape: tuple[int, ...]) -> Work:
    """Inputs are read once and results written once; with gradients, the one that comes in is read as well.

    >>> case = Case(lambda fw, x: x, None, (Array((10,)),), {})
    >>> work_of(case, (10,)), work_of(case._replace(grads=1), (10,)).bytes
    (Work(read=40, written=40, flops=0), 160)
    """
    result = 4 * prod(result_shape)
    sizes = [(8 if array.classes else 4) * prod(array.shape) for array in case.inputs]
    if not case.grads:
        return Work(sum(sizes), result, case.flops)
    return Work(sum(sizes) + result, result + sum(sizes[:case.grads]), case.flops)


def checked_work(case: Case, results: dict[str, list]) -> Work:
    """The work of a case, whose results by jitorch and its peers must agree."""
    check_agreement(results)
    return work_of(case, tuple(results["jitorch"][0].shape))


def check_agreement(results: dict[str, list]) -> None:
    """A figure of a wrong result is worth nothing. AssertionError if jitorch's differ from a peer's."""
    values = {name: [to_numpy(x) for x in each] for name, each in results.items()}
    for name, theirs in values.items():
        for number, (ours, other) in enumerate(zip(values["jitorch"], theirs, strict=True)):
            what = f"{'result' if number == 0 else f'gradient {number}'} differs from {name}'s"
            np.testing.assert_allclose(ours, other, rtol=2e-3, atol=2e-3 * float(np.abs(other).max()), err_msg=what)


def to_numpy(x) -> np.ndarray:
    return np.asarray(x.detach() if hasattr(x, "detach") else x)

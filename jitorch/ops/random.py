"""Random tensors.

Element i of a draw is a function of the generator's seed and of (its counter + i) alone; see philox.py for the
function. The counter is moved on when a draw is recorded, so draws are the same whatever runs when, on whichever
tier. The numbers are not PyTorch's for the same seed; their distributions are.
"""

from __future__ import annotations

import math
import os
import threading

import numpy as np

from .. import dtypes
from ..device import check as check_device
from ..device import cpu
from ..dtypes import BOOL, FLOAT, INT, float32, float64, int64, uint8
from ..graph.ir import broadcast
from ..graph.record import Meta, count, local, no_trace
from ..tensor import assign, check_writable, from_array, validate
from . import philox
from .arithmetic import operand
from .creation import check_strided, dtype_of
from .dispatch import METHODS, PUBLIC, Mapped, Op, apply, maps
from .elementwise import where_of, zeros_of
from .promotion import to_value
from .publish import finish
from .views import sizes

DEFAULT_SEED = 67280421310721


# -- generators --------------------------------------------------------------------------------------------------------
def signed(seed: int) -> int:
    """A seed of up to 64 bits as a signed 64-bit integer. RuntimeError for one that doesn't fit."""
    if not -(2**63) <= seed < 2**64:
        raise RuntimeError("Overflow when unpacking long long")
    return seed - 2**64 if seed >= 2**63 else seed


class Generator:
    """A source of random numbers: a seed and a counter.

    >>> import jitorch as torch
    >>> g = torch.Generator().manual_seed(0)
    >>> a = torch.rand(3, generator=g); g.manual_seed(0); b = torch.rand(3, generator=g)
    <Generator seed=0 offset=0>
    >>> torch.equal(a, b)
    True
    """

    def __init__(self, device=None):
        self.device = check_device(device)
        self._seed, self._counter = DEFAULT_SEED, 0

    def advance(self, n: int) -> tuple[int, int]:
        """Take n places of the counter: (seed, the first place)."""
        # without a call in between, so that no other thread, and no signal handler, draws the same numbers
        seed, first = self._seed, self._counter
        self._counter = (first + n + 2**63) % 2**64 - 2**63
        capture = local.tape.capture
        if capture is not None:
            capture.drew(self, n, (seed, first))
        return seed, first

    def manual_seed(self, seed: int) -> Generator:
        """Start anew from a seed. RuntimeError for more than 64 bits."""
        no_trace("manual_seed() sets the random state")
        self._seed, self._counter = signed(int(seed)), 0
        return self

    def seed(self) -> int:
        """Start anew from a seed that the system draws, and return it."""
        seed = int.from_bytes(os.urandom(8), "little")
        self.manual_seed(seed)
        return seed

    def initial_seed(self) -> int:
        """The seed it started from."""
        no_trace("initial_seed() reads the random state")
        return self._seed % 2**64

    def get_state(self):
        """The state as a uint8 tensor, for `set_state`."""
        no_trace("get_state() reads the random state")
        return from_array(np.array([self._seed, self._counter], np.int64).view(np.uint8).copy())

    def set_state(self, new_state) -> Generator:
        """Go on from a state that `get_state` gave. TypeError or RuntimeError for something else."""
        if not hasattr(new_state, "_meta") or new_state.dtype is not uint8:
            raise TypeError("RNG state must be a torch.ByteTensor")
        no_trace("set_state() sets the random state")
        if new_state.numel() != 16:
            raise RuntimeError(f"RNG state is wrong size: {new_state.numel()} bytes, expected 16")
        seed, counter = np.frombuffer(new_state._array().tobytes(), np.int64).tolist()
        self._seed, self._counter = seed, counter
        return self

    def clone_state(self) -> Generator:
        """Another generator in the same state."""
        return Generator(self.device).set_state(self.get_state())

    def get_offset(self) -> int:
        no_trace("get_offset() reads the random state")
        return self._counter

    def set_offset(self, offset: int) -> None:
        no_trace("set_offset() sets the random state")
        self._counter = signed(offset)

    def __getstate__(self):
        return {"seed": self._seed, "counter": self._counter}

    def __setstate__(self, state):
        self.__init__(cpu)
        self._seed, self._counter = state["seed"], state["counter"]

    def __repr__(self) -> str:
        return f"<Generator seed={self.initial_seed()} offset={self._counter}>"


default_generator = Generator()


class ThreadDefault(threading.local):
    """A thread's own default generator, if it has one:

    the workers of a DataLoader draw the same numbers however they are scheduled.
    """

    generator: Generator | None = None


thread_default = ThreadDefault()


def source(generator) -> Generator:
    if maps.levels:
        from .batching import check_random, live
        check_random()
        if any(level.randomness == "different" for level in live()):
            raise Mapped            # what draws by shape has asked `drawn`; other draws are made slice by slice
    if generator is None:
        return thread_default.generator or default_generator
    if not isinstance(generator, Generator):
        raise TypeError(f"generator must be a torch.Generator, not {type(generator).__name__}")
    return generator


# -- entries -----------------------------------------------------------------------------------------------------------
def draw_op(name: str, expression) -> Op:
    """An entry whose operands are seed, counter and numbers;

    attributes: shape, dtype. expression(m, shape, dtype, *numbers) serves both tiers.
    """

    def reference(seed, counter, *rest):
        *numbers, shape, dtype = rest
        return expression(philox.Arrays(seed, counter), shape, dtype, *numbers)

    def lower(b, seed, counter, *rest):
        *numbers, shape, dtype = rest
        numbers = [
            to_value(b, v, float64 if kind is float else int64) if hasattr(v, "kind") else v
            for v, kind in zip(numbers, b.metas[2:], strict=True)
        ]
        return b.cast(expression(philox.Lowered(b, seed, counter), shape, dtype, *numbers), dtype)

    return Op(name, infer=lambda *args: Meta(args[-2], args[-1]), reference=reference, lower=lower, runtime=True)


def uniform_numbers(m, shape, dtype):
    return philox.uniform53(m, shape) if dtype is float64 else philox.uniform24(m, shape)


def normal_numbers(m, shape, dtype):
    return philox.normal64(m, shape) if dtype is float64 else philox.normal32(m, shape)


def exponential_numbers(m, shape, dtype):
    return philox.exponential64(m, shape) if dtype is float64 else philox.exponential32(m, shape)


def small_integers(m, shape, dtype, low, span):
    """low + a number below span (at most 2**31): the high bits of bits * span."""
    return m.shifted(m.bits(m.index(shape)) * span, 32) + low


def wide_integers(m, shape, dtype, low, span):
    """low + 63 random bits modulo span."""
    first = m.index(shape) * 2
    return m.modulo(m.shifted(m.bits(first), 1) * 2**32 + m.bits(first + 1), span) + low


uniform_op = draw_op("uniform", uniform_numbers)
normal_op = draw_op("standard_normal", normal_numbers)
exponential_op = draw_op("standard_exponential", exponential_numbers)
integers_op = draw_op("random_integers", small_integers)
wide_integers_op = draw_op("random_wide_integers", wide_integers)


def float_draw(op: Op, shape, dtype, generator):
    """A draw of a float entry; float64 takes two places of the counter for an element."""
    shape = tuple(shape)
    if maps.levels:
        from .batching import drawn
        return drawn(lambda sizes: float_draw(op, sizes, dtype, generator), shape)
    if any(n < 0 for n in shape):
        raise RuntimeError(f"Trying to create tensor with negative dimension {min(shape)}: {list(shape)}")
    if dtype.category < FLOAT:
        raise NotImplementedError(f"\"{op.name}\" not implemented for '{dtype.label}'")
    if dtype in dtypes.HALVES:
        return float_draw(op, shape, float32, generator).to(dtype)
    if dtype.is_complex:        # both parts are drawn; a normal variable has variance 1 as a whole
        pair = float_draw(op, (*shape, 2), dtype.to_real(), generator)
        return PUBLIC["view_as_complex"](pair * math.sqrt(0.5) if op is normal_op else pair).clone()
    return apply(op, source(generator).advance(count(shape) * (2 if dtype is float64 else 1)), (shape, dtype))


def uniform(shape, dtype=float32, generator=None):
    """Uniform in [0, 1): what dropout and the initialisers are made of."""
    return float_draw(uniform_op, shape, dtype, generator)


def standard_normal(shape, dtype=float32, generator=None):
    """Standard normal variables."""
    return float_draw(normal_op, shape, dtype, generator)


def integers(low: int, high: int, shape, dtype, generator=None):
    """Whole numbers in [low, high). RuntimeError where there are none."""
    low, high = int(low), int(high)
    if maps.levels:
        from .batching import drawn
        return drawn(lambda sizes: integers(low, high, sizes, dtype, generator), tuple(shape))
    if low >= high:
        raise RuntimeError(f"random_ expects 'from' to be less than 'to', but got from={low} >= to={high}")
    shape, span = tuple(shape), high - low
    if any(n < 0 for n in shape):
        raise RuntimeError(f"Trying to create tensor with negative dimension {min(shape)}: {list(shape)}")
    wide = span > 2**31
    op = wide_integers_op if wide else integers_op
    result = apply(
        op, (*source(generator).advance(count(shape) * (2 if wide else 1)), low, min(span, 2**63 - 1)), (shape, int64)
    )
    return result.to(dtype)


# A draw as a function of its parameters, which don't get a gradient from it: zeros, as in PyTorch.
drawn_op = Op(
    "_drawn_with",
    infer=lambda m, parameter: Meta(m.shape, m.dtype),
    reference=lambda x, parameter: x,
    lower=lambda b, x, parameter: b.map("copy", x),
    vjp=lambda ctx, g: (g, zeros_of(ctx.metas[1])),
)


def drawn_with(result, *parameters):
    for p in parameters:
        if hasattr(p, "_meta") and p.requires_grad:
            result = apply(drawn_op, (result, p))
    return result


# -- functions that make tensors ---------------------------------------------------------------------------------------
def made(result, requires_grad: bool, out):
    if out is not None:
        return finish(result, out)
    return result.requires_grad_(True) if requires_grad else result


def sized(name: str, draw, doc: str):
    def function(
        *size,
        generator=None,
        out=None,
        dtype=None,
        layout=None,
        device=None,
        requires_grad: bool = False,
        pin_memory=False,
        names=None,
        **more,
    ):
        if "size" in more:
            size = (more["size"],)
        check_device(device)
        dtype = dtype_of(dtype, dtypes.get_default_dtype() if out is None else out.dtype)
        return made(draw(sizes(size), dtype, generator), requires_grad, out)

    def like(
        input,
        *,
        dtype=None,
        layout=None,
        device=None,
        requires_grad: bool = False,
        memory_format=None,
        generator=None,
        pin_memory=False,
    ):
        check_device(device)
        check_strided(layout, input)
        return made(draw(tuple(input.shape), dtype_of(dtype, input.dtype), generator), requires_grad, None)

    function.__name__, like.__name__ = name, name + "_like"
    function.__doc__ = (
        f"A tensor of the given sizes of {doc}. RuntimeError for a negative size, NotImplementedError "
        "for integer dtypes."
    )
    like.__doc__ = f"A tensor of input's sizes and dtype of {doc}."
    PUBLIC[name], PUBLIC[name + "_like"] = function, like


sized("rand", uniform, "numbers uniform in [0, 1)")
sized("randn", standard_normal, "standard normal numbers")


def randint_bounds(low, high, size):
    """The historic signatures: randint(high, size), randint(low, high, size)."""
    if size is None and not isinstance(high, (int, np.integer)):
        low, high, size = 0, low, high
    elif high is None:
        low, high = 0, low
    return int(low), int(high), size


def randint(
    low=0,
    high=None,
    size=None,
    *,
    generator=None,
    out=None,
    dtype=None,
    layout=None,
    device=None,
    requires_grad: bool = False,
    pin_memory=False,
):
    """Whole numbers in [low, high): `randint(high, size)` or `randint(low, high, size)`; int64 unless dtype is given.
    RuntimeError where low >= high.

    >>> import jitorch as torch
    >>> torch.randint(3, 5, (2,)).shape
    torch.Size([2])
    """
    check_device(device)
    low, high, size = randint_bounds(low, high, size)
    return made(
        integers(low, high, sizes((size,)), dtype_of(dtype, int64 if out is None else out.dtype), generator),
        requires_grad,
        out,
    )


def randint_like(
    input,
    low=0,
    high=None,
    *,
    dtype=None,
    layout=None,
    device=None,
    requires_grad: bool = False,
    memory_format=None,
    generator=None,
    pin_memory=False,
):
    """Whole numbers in [low, high) in input's sizes and dtype."""
    low, high, _ = randint_bounds(low, high, tuple(input.shape))
    return made(integers(low, high, tuple(input.shape), dtype_of(dtype, input.dtype), generator), requires_grad, None)


def permutation_reference(seed, counter, n, dtype):
    m = philox.Arrays(seed, counter)
    return np.argsort(philox.bits53(m, (n,)), kind="stable")


permutation_op = Op(
    "randperm", infer=lambda seed, counter, n, dtype: Meta((n,), dtype), reference=permutation_reference, runtime=True
)


def randperm(
    n: int,
    *,
    generator=None,
    out=None,
    dtype=int64,
    layout=None,
    device=None,
    requires_grad: bool = False,
    pin_memory=False,
):
    """The numbers 0 to n - 1 in random order. RuntimeError for a negative n."""
    check_device(device)
    n = int(n)
    if n < 0:
        raise RuntimeError(f"n must be non-negative, got {n}")
    return made(
        apply(permutation_op, source(generator).advance(2 * n), (n, dtype_of(dtype, int64))), requires_grad, out
    )


def normal(
    mean=0.0,
    std=1.0,
    size=None,
    *,
    generator=None,
    out=None,
    dtype=None,
    layout=None,
    device=None,
    requires_grad: bool = False,
    pin_memory=False,
):
    """Normal variables: of sizes `size` for numbers mean and std, else of the shape of the tensors.

    RuntimeError for a negative std.
    """
    mean, std = operand(mean, "normal"), operand(std, "normal")
    check_std(std)
    if size is not None:
        dtype = dtype_of(dtype, dtypes.get_default_dtype() if out is None else out.dtype)
        return made(standard_normal(sizes((size,)), dtype, generator) * std + mean, requires_grad, out)
    tensors = [t.detach() for t in (mean, std) if hasattr(t, "_meta")]
    if not tensors:
        raise TypeError("normal() needs size, or a tensor as mean or std")
    shape = broadcast([t.shape for t in tensors])
    dtype = dtypes.result_type([t._meta for t in tensors])
    dtype = dtype if dtype.category == FLOAT else dtypes.get_default_dtype()
    centre, spread = (t.detach() if hasattr(t, "_meta") else t for t in (mean, std))
    return made(drawn_with(standard_normal(shape, dtype, generator) * spread + centre, mean, std), requires_grad, out)


def check_std(std) -> None:
    """RuntimeError for a negative standard deviation (a tensor is checked if its values are known)."""
    if not hasattr(std, "_meta"):
        if not std >= 0:
            raise RuntimeError(f"normal expects std >= 0.0, but found std {std}")
    else:
        validate(std, check_deviations)


def check_deviations(values: np.ndarray) -> None:
    if not (values >= 0).all():
        raise RuntimeError("normal expects all elements of std >= 0.0")


def bernoulli(input, p=None, *, generator=None, out=None):
    """1 with probability `input` (elementwise), else 0.

    RuntimeError for a probability outside [0, 1] whose value is known.
    """
    if p is not None:
        return finish(uniform(input.shape, float64, generator).lt(operand(p)).to(input.dtype), out)
    if input.dtype.category != FLOAT:
        raise NotImplementedError(f"\"bernoulli_tensor_cpu_p_\" not implemented for '{input.dtype.label}'")
    check_probabilities(input)
    return finish(
        drawn_with(uniform(input.shape, input.dtype, generator).lt(input.detach()).to(input.dtype), input), out
    )


def check_probabilities(p) -> None:
    def check(values: np.ndarray) -> None:
        if not ((values >= 0) & (values <= 1)).all():
            raise RuntimeError("Expected p_in >= 0 && p_in <= 1 to be true, but got false.")

    validate(p, check)


def multinomial_infer(p, seed, counter, n, replacement):
    if not 1 <= len(p.shape) <= 2:
        raise RuntimeError("prob_dist must be 1 or 2 dim")
    if p.dtype.category != FLOAT:
        raise RuntimeError("multinomial only supports floating-point dtypes for input, got: " + p.dtype.label)
    if n <= 0:
        raise RuntimeError("cannot sample n_sample <= 0 samples")
    if not replacement and n > p.shape[-1]:
        raise RuntimeError("cannot sample n_sample > prob_dist.size(-1) samples without replacement")
    return Meta((*p.shape[:-1], n), int64)


def multinomial_reference(p, seed, counter, n, replacement):
    """With replacement by inverting the running sums;

    without, the n smallest of exponential variables with rates p (Efraimidis, Spirakis 2006).
    """
    rows = p.reshape(-1, p.shape[-1]).astype(np.float64)
    if not np.isfinite(rows).all() or (rows < 0).any():
        raise RuntimeError("probability tensor contains either `inf`, `nan` or element < 0")
    if rows.size and not (rows.sum(1) > 0).all():
        raise RuntimeError("invalid multinomial distribution (sum of probabilities <= 0)")
    m = philox.Arrays(seed, counter)
    if replacement:
        sums = np.cumsum(rows, 1)
        u = philox.uniform53(m, (rows.shape[0], n)) * sums[:, -1:]
        picked = (
            np.stack([np.searchsorted(s, v, side="right") for s, v in zip(sums, u, strict=True)])
            if rows.shape[0]
            else np.zeros((0, n), np.int64)
        )
        last = rows.shape[1] - 1 - np.argmax(rows[:, ::-1] > 0, axis=1) if rows.size else np.zeros(0, np.int64)
        picked = np.minimum(picked, last[:, None])
    else:
        with np.errstate(all="ignore"):
            times = np.where(rows > 0, philox.exponential64(m, rows.shape) / rows, np.inf)
        picked = np.argsort(times, axis=1, kind="stable")[:, :n]
    return picked.reshape(*p.shape[:-1], n)


multinomial_op = Op("multinomial", infer=multinomial_infer, reference=multinomial_reference, runtime=True)


def multinomial(input, num_samples: int, replacement: bool = False, *, generator=None, out=None):
    """Indices drawn with probabilities proportional to the rows of input.

    RuntimeError for rows that are no distribution.
    """
    rows = input.numel() // max(input.shape[-1], 1) if input.ndim else 1
    places = 2 * rows * max(num_samples, 0) if replacement else 2 * input.numel()
    return finish(
        apply(
            multinomial_op, (input.detach(), *source(generator).advance(places)), (int(num_samples), bool(replacement))
        ),
        out,
    )


# -- distributions that NumPy draws ------------------------------------------------------------------------------------
def library_op(name: str, operands: int, draw) -> Op:
    """An entry that NumPy's generator draws, keyed by (seed, counter):

    inputs are the operands, then seed and counter; attributes: shape, dtype.
    """

    def reference(*args):
        values, (seed, counter, shape, _) = args[:operands], args[operands:]
        key = np.array([seed, counter], np.int64).view(np.uint64)
        return draw(np.random.Generator(np.random.Philox(key=key)), tuple(shape), *values)

    return Op(name, infer=lambda *args: Meta(args[-2], args[-1]), reference=reference, runtime=True)


def poisson_draw(rng, shape, rate):
    if (np.asarray(rate) < 0).any():
        raise RuntimeError("invalid Poisson rate, expected rate to be non-negative")
    return rng.poisson(rate, shape)


def gamma_draw(rng, shape, alpha):
    return np.maximum(rng.standard_gamma(alpha, shape), np.finfo(alpha.dtype).tiny)


poisson_op = library_op("poisson", 1, poisson_draw)
binomial_op = library_op("binomial", 2, lambda rng, shape, n, p: rng.binomial(n.astype(np.int64), p, shape))
gamma_op = library_op("_standard_gamma", 1, gamma_draw)
cauchy_op = library_op("cauchy", 0, lambda rng, shape: rng.standard_cauchy(shape))


def place(generator) -> tuple[int, int]:
    return source(generator).advance(1)


def poisson(input, generator=None):
    """Poisson variables with the given rates. RuntimeError for a negative rate when it runs."""
    return drawn_with(apply(poisson_op, (input.detach(), *place(generator)), (tuple(input.shape), input.dtype)), input)


def binomial(count, prob, generator=None):
    """Binomial variables: successes in `count` trials of probability `prob`, of one shape."""
    shape = broadcast([count.shape, prob.shape])
    return apply(binomial_op, (count.detach(), prob.detach(), *place(generator)), (shape, count.dtype))


def standard_gamma(input, generator=None):
    """Gamma variables of scale 1 with the given shapes (concentrations)."""
    return apply(gamma_op, (input.detach(), *place(generator)), (tuple(input.shape), input.dtype))


# -- in place ----------------------------------------------------------------------------------------------------------
def written(fn):
    """The in-place method of a function draw(self, ...) -> values."""

    def method(self, *args, **kwargs):
        check_writable(self)
        return assign(self, fn(self, *args, **kwargs))

    name = fn.__name__
    method.__name__ = method.__qualname__ = name
    method.__doc__ = fn.__doc__
    METHODS[name] = method
    return method


def float_only(name: str, self) -> None:
    if self.dtype.category != FLOAT:
        raise NotImplementedError(f"\"{name}\" not implemented for '{self.dtype.label}'")


@written
def uniform_(self, from_=0.0, to=1.0, *, generator=None, **more):
    """Filled with numbers uniform in [from, to). RuntimeError where from > to."""
    from_ = more.get("from", from_)
    if not self.is_complex():       # of complex tensors both parts are filled
        float_only("check_uniform_bounds", self)
    if from_ > to:
        raise RuntimeError(f"uniform_ expects to return a [from, to) range, but found from={from_} > to={to}")
    if self.is_complex():
        pair = uniform((*self.shape, 2), self.dtype.to_real(), generator) * float(to - from_) + float(from_)
        return PUBLIC["view_as_complex"](pair)
    return uniform(self.shape, self.dtype, generator) * float(to - from_) + float(from_)


@written
def normal_(self, mean=0.0, std=1.0, *, generator=None):
    """Filled with normal variables. RuntimeError for a negative std."""
    float_only("normal_kernel_cpu", self)
    check_std(std)
    return standard_normal(self.shape, self.dtype, generator) * float(std) + float(mean)


@written
def exponential_(self, lambd=1.0, *, generator=None):
    """Filled with exponential variables of rate lambd. RuntimeError unless lambd > 0."""
    float_only("exponential_", self)
    if not lambd > 0:
        raise RuntimeError(f"exponential_ expects lambda > 0.0, but found lambda={lambd}")
    return float_draw(exponential_op, self.shape, self.dtype, generator) / float(lambd)


@written
def random_(self, from_=None, to=None, *, generator=None, **more):
    """Filled with whole numbers in [from, to); by default all that the dtype holds (exactly, for floats), from 0."""
    from_ = more.get("from", from_)
    if to is None and from_ is not None:
        from_, to = 0, from_
    if to is None:
        largest = {
            BOOL: 1,
            INT: np.iinfo(self.dtype.np).max if self.dtype.category == INT else 0,
            FLOAT: 2 ** (24 if self.dtype is float32 else 53),
        }
        from_, to = 0, largest[self.dtype.category] + 1
    return integers(from_, to, self.shape, self.dtype, generator)


@written
def bernoulli_(self, p=0.5, *, generator=None):
    """Filled with 1 with probability p (a number or a tensor), else 0. RuntimeError for p outside [0, 1]."""
    if hasattr(p, "_meta"):
        check_probabilities(p)
        p = p.detach()
    elif not 0 <= p <= 1:
        raise RuntimeError(f"bernoulli_ expects p to be in [0, 1], but got p={p}")
    return uniform(self.shape, float64, generator).lt(p).to(self.dtype)


@written
def log_normal_(self, mean=1.0, std=2.0, *, generator=None):
    """Filled with exp of normal variables. RuntimeError unless std > 0."""
    float_only("log_normal_", self)
    if not std > 0:
        raise RuntimeError(f"log_normal_ expects std > 0.0, but found std={std}")
    return (standard_normal(self.shape, self.dtype, generator) * float(std) + float(mean)).exp()


@written
def geometric_(self, p, *, generator=None):
    """Filled with the number of trials until the first success of probability p. RuntimeError unless 0 < p < 1."""
    if not 0 < p < 1:
        raise RuntimeError(f"geometric_ expects p to be in (0, 1), but got p={p}")
    waiting = float_draw(exponential_op, self.shape, float64, generator) / -math.log1p(-p)
    return where_of(waiting <= 0, 1, waiting.ceil()).to(self.dtype)


@written
def cauchy_(self, median=0.0, sigma=1.0, *, generator=None):
    """Filled with Cauchy variables. RuntimeError unless sigma > 0."""
    float_only("cauchy_", self)
    if not sigma > 0:
        raise RuntimeError(f"cauchy_ expects sigma > 0.0, but found sigma={sigma}")
    return apply(cauchy_op, place(generator), (tuple(self.shape), self.dtype)) * float(sigma) + float(median)


# -- the default generator ---------------------------------------------------------------------------------------------
def manual_seed(seed: int) -> Generator:
    """Start the default generator anew from a seed.

    >>> import jitorch as torch
    >>> torch.manual_seed(0)
    <Generator seed=0 offset=0>
    """
    return source(None).manual_seed(seed)


def seed() -> int:
    """Start the default generator anew from a seed that the system draws, and return it."""
    return source(None).seed()


def initial_seed() -> int:
    """The seed that the default generator started from."""
    return source(None).initial_seed()


def get_rng_state():
    """The default generator's state, a uint8 tensor."""
    return source(None).get_state()


def set_rng_state(new_state) -> None:
    """Go on from a state that `get_rng_state` gave."""
    source(None).set_state(new_state)


PUBLIC.update(
    Generator=Generator,
    default_generator=default_generator,
    manual_seed=manual_seed,
    seed=seed,
    initial_seed=initial_seed,
    get_rng_state=get_rng_state,
    set_rng_state=set_rng_state,
    randint=randint,
    randint_like=randint_like,
    randperm=randperm,
    normal=normal,
    bernoulli=bernoulli,
    multinomial=multinomial,
    poisson=poisson,
    binomial=binomial,
    _standard_gamma=standard_gamma,
)
METHODS.update(bernoulli=bernoulli, multinomial=multinomial)

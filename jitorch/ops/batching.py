"""Operations on all slices of a mapped dimension at once: what `func.vmap` is made of.

A `Batched` tensor looks like one slice and holds all of them, along dimension 0 of a tensor in memory. It has no storage, so whatever would
record it in the usual way raises `Mapped`, and `dispatch.apply`, `make_view` and `assign` come here. An entry is then recorded once for all
slices, by the rule below that its name stands under; an entry without a rule is recorded for each slice, and the results are stacked.
Where Python asks for a value, `Mapped` reaches `func.vmap`, which calls the function for each slice instead.
"""

from __future__ import annotations

from collections.abc import Callable

from .. import autograd
from ..graph.record import Meta
from ..tensor import Tensor, assign
from .contraction import linear_op, matmul_op, mT
from .dispatch import PUBLIC, VIEWS, Mapped, Op, apply, maps
from .indexing import FROM_ZERO
from .losses import ELEMENTWISE, MEAN, NONE
from .promotion import as_dtype
from .reductions import mean_op, sum_op
from .strided import overlapping
from .views import permute, reshape


class Level:
    """One `vmap` that is running: how many slices, and what random numbers are for them ("error", "same", "different")."""

    def __init__(self, n: int, randomness: str, loop: bool = False):
        self.n, self.randomness, self.loop = n, randomness, loop
        self.depth = len(maps.levels)

    def __enter__(self):
        maps.levels = (*maps.levels, self)
        return self

    def __exit__(self, *exc) -> None:
        maps.levels = maps.levels[:-1]


def live() -> tuple:
    """The levels that map dimensions, outermost first."""
    return tuple(level for level in maps.levels if not level.loop)


class Batched(Tensor):
    """One slice, to whoever looks; `whole` holds all of them along dimension 0."""

    def __init__(self, level: Level, whole: Tensor):
        m = whole._meta
        self.level, self.whole = level, whole
        self._meta = Meta(m.shape[1:], m.dtype, m.strides[1:], m.offset)

    @property
    def _storage(self):  # type: ignore[override]
        raise Mapped

    _grad_fn = property(lambda self: self.whole.grad_fn)
    _rg = property(lambda self: self.whole.requires_grad)

    def _refresh(self) -> bool:
        return self.whole.requires_grad

    def like(self, whole: Tensor) -> Batched:
        return Batched(self.level, whole)

    def _alias(self):
        return self.like(self.whole._alias())

    detach = _alias

    data = property(lambda self: self.like(self.whole.data))  # type: ignore[assignment]

    def requires_grad_(self, requires_grad: bool = True):
        self.whole.requires_grad_(requires_grad)
        return self

    requires_grad = property(lambda self: self.whole.requires_grad, lambda self, value: self.requires_grad_(value))
    is_leaf = property(lambda self: self.whole.is_leaf)
    grad_fn = property(lambda self: self.whole.grad_fn)

    def _array(self):
        raise Mapped

    _peek = _array


def is_batched(x) -> bool:
    return isinstance(x, Batched)


def lift(x, levels: tuple):
    """A tensor with a dimension of slices for each of the levels; those that it lacks repeat it."""
    if not levels:
        return x
    *outer, top = levels
    if is_batched(x) and x.level is top:
        return Batched(top, lift(x.whole, tuple(outer)))
    x = lift(x, tuple(outer))
    return Batched(top, x.unsqueeze(0).expand(top.n, *x.shape))


# -- differentiation ---------------------------------------------------------------------------------------------------
def levels_of(x) -> tuple:
    return (*levels_of(x.whole), x.level) if is_batched(x) else ()


def all_slices(x):
    """The tensor in memory."""
    while is_batched(x):
        x = x.whole
    return x


def sliced_as(like, x):
    """A tensor in memory as what `like` is."""
    return Batched(like.level, sliced_as(like.whole, x)) if is_batched(like) else x


def gradients(outputs: tuple, inputs: tuple, given: tuple, **flags) -> tuple:
    """`autograd.grad` of outputs that are mapped: slices don't meet, so the gradients of all of them are found at once."""
    given = tuple(PUBLIC["ones_like"](o) if g is None else g for o, g in zip(outputs, given, strict=True))
    spread = [all_slices(lift(g, levels_of(o))) for o, g in zip(outputs, given, strict=True)]
    found = autograd.grad([all_slices(o) for o in outputs], [all_slices(x) for x in inputs], spread, **flags)
    return tuple(None if g is None else sliced_as(x, g) for x, g in zip(inputs, found, strict=True))


# -- the rules ---------------------------------------------------------------------------------------------------------
# rule(op, inputs, attrs, level) -> the result for all slices (a tuple of several), or None: slice by slice. The inputs are Batched of that
# level (see `of`), or the same for every slice.
RULES: dict[str, Callable] = {}


def rule(*names: str):
    def register(fn):
        for name in names:
            RULES[name] = fn
        return fn

    return register


def batched(op: Op, inputs: tuple, attrs: tuple):
    """`apply` where an input is Batched: the rule of the innermost level."""
    level = max((x.level for x in inputs if is_batched(x)), key=lambda v: v.depth)
    metas = tuple(x._meta if hasattr(x, "_meta") else None if x is None else type(x) for x in inputs)
    op.infer(*metas, *attrs)            # raises the user's errors, in the shapes of a slice
    by_rule = RULES.get(op.batch or op.name)
    found = None if by_rule is None else by_rule(op, inputs, attrs, level)
    if found is None:
        found = slice_by_slice(op, inputs, attrs, level)
    return tuple(Batched(level, r) for r in found) if isinstance(found, tuple) else Batched(level, found)


def of(level: Level, x) -> bool:
    return is_batched(x) and x.level is level


def full(level: Level, x):
    """All slices of an input: its own, or the same for each. Numbers and None stay."""
    if of(level, x):
        return x.whole
    return x.unsqueeze(0).expand(level.n, *x.shape) if isinstance(x, Tensor) else x


def wholes(level: Level, inputs: tuple) -> tuple:
    return tuple(full(level, x) for x in inputs)


def padded(level: Level, x, ndim: int):
    """The slices with dimensions of size 1 in front of theirs, so that they broadcast as slices of `ndim` dimensions do."""
    if not of(level, x):
        return x
    w, missing = x.whole, ndim - x.ndim
    return w if missing <= 0 else reshape(w, (w.shape[0], *(1,) * missing, *w.shape[1:]))


def slice_by_slice(op: Op, inputs: tuple, attrs: tuple, level: Level):
    rows = [apply(op, tuple(x.whole.select(0, i) if of(level, x) else x for x in inputs), attrs) for i in range(level.n)]
    stack = PUBLIC["stack"]
    return tuple(stack(list(column)) for column in zip(*rows, strict=True)) if isinstance(rows[0], tuple) else stack(rows)


def elementwise(op, inputs, attrs, level):
    tensors = [x for x in inputs if isinstance(x, Tensor)]
    ndim = max(x.ndim for x in tensors)
    judged = tensors[1:] if op.name == "where" else tensors
    if len({x.dtype for x in judged}) > 1 and any(x.ndim == 0 for x in judged):
        return None                     # a 0-d slice counts for less when dtypes are promoted; all slices together would not
    if op.batch != "elementwise" and isinstance(inputs[0], Tensor):      # others give the shape of their first operand
        first = padded(level, inputs[0] if of(level, inputs[0]) else Batched(level, full(level, inputs[0])), ndim)
        return apply(op, (first, *(padded(level, x, ndim) for x in inputs[1:])), attrs)
    return apply(op, tuple(padded(level, x, ndim) for x in inputs), attrs)


RULES["elementwise"] = elementwise
rule(*"""leaky_relu_backward leaky_relu elu_backward elu gelu_backward gelu silu_backward silu mish_backward mish softplus_backward softplus
    hardtanh_backward hardtanh hardsigmoid_backward hardsigmoid hardswish_backward hardswish hardshrink_backward hardshrink softshrink_backward
    softshrink threshold_backward threshold log_sigmoid_backward log_sigmoid where nan_to_num _to_copy real imag _conj_physical
    complex native_dropout alpha_dropout polygamma frexp""".split())(elementwise)


@rule("masked_fill")
def filled(op, inputs, attrs, level):
    x, mask, value = inputs
    value = value.to(x.dtype) if isinstance(value, Tensor) else as_dtype(value, x.dtype)
    return full(level, PUBLIC["where"](mask, value, x))


def along_dims(op, inputs, attrs, level):
    """The first attribute is a tuple of dimensions; the second, of most, whether they stay."""
    (x,) = inputs
    dims, *rest = attrs
    w = x.whole
    if x.ndim == 0:
        if not rest:
            return apply(op, (w,), attrs)
        return apply(op, (reshape(w, (w.shape[0], 1)),), ((1,), False, *rest[1:]))
    if op.name in ("argmax", "argmin") and len(dims) > 1:
        if len(dims) != x.ndim:
            return None
        found = apply(op, (reshape(w, (w.shape[0], -1)),), ((1,), False, *rest[1:]))
        return reshape(found, (w.shape[0], *(1,) * x.ndim)) if rest[0] else found
    return apply(op, (w,), (tuple(d % x.ndim + 1 for d in dims), *rest))


RULES["dims"] = along_dims
rule("argmax", "argmin", "max.dim", "min.dim", "logsumexp", "median", "nanmedian", "mode", "kthvalue")(along_dims)


@rule("flip", "_fft_c2c", "_fft_r2c", "_fft_c2r")
def dims_only(op, inputs, attrs, level):
    (x,) = inputs
    return apply(op, (x.whole,), (tuple(d % max(x.ndim, 1) + 1 for d in attrs[0]) if x.ndim else (), *attrs[1:]))


# name -> which attribute is a dimension that counts from the first
DIM = {
    **dict.fromkeys("""_softmax _log_softmax _softmax_backward_data _log_softmax_backward_data cumsum cumprod logcumsumexp cummax cummin sort gather
        scatter scatter_add scatter_reduce _pick_along_dim _place_along_dim _linear_recurrence cat""".split(), 0),
    "topk": 1,
}


@rule(*DIM)
def along_dim(op, inputs, attrs, level):
    k = DIM[op.name]
    tensors = [x for x in inputs if isinstance(x, Tensor)]
    if any(x.ndim == 0 for x in tensors):
        return None
    return apply(op, wholes(level, inputs), (*attrs[:k], attrs[k] % tensors[0].ndim + 1, *attrs[k + 1:]))


@rule("matmul")
def product(op, inputs, attrs, level):
    ndim = max(x.ndim for x in inputs)
    return apply(op, tuple(padded(level, x, ndim) for x in inputs), attrs)


@rule("linear")
def layer(op, inputs, attrs, level):
    x, w, *bias = inputs
    if not any(of(level, t) for t in (w, *bias)):
        return apply(linear_op, (x.whole, w, *bias), attrs)
    result = apply(matmul_op, (x, mT(w)))
    return full(level, result + bias[0] if bias else result)


@rule("tril", "triu", "linalg_inv", "linalg_cofactor", "linalg_det", "linalg_slogdet", "linalg_solve", "linalg_solve_triangular", "linalg_cholesky",
      "cholesky_solve", "linalg_qr", "linalg_svd", "linalg_eigh", "linalg_eig", "linalg_pinv", "linalg_matrix_exp", "linalg_lu_factor", "geqrf")
def last_dimensions(op, inputs, attrs, level):
    """What works on the last dimensions has batches of its own."""
    if len({x.ndim for x in inputs if isinstance(x, Tensor)}) > 1:
        return None
    return apply(op, wholes(level, inputs), attrs)


@rule("one_hot")
def on_each(op, inputs, attrs, level):
    return apply(op, wholes(level, inputs), attrs)


@rule("constant_pad_nd", "pad")
def widened(op, inputs, attrs, level):
    x, *value = inputs
    if not of(level, x) or any(of(level, v) for v in value):
        return None
    return apply(op, (x.whole, *value), (((0, 0), *attrs[0]), *attrs[1:]))


@rule("embedding")
def looked_up(op, inputs, attrs, level):
    weight, index = inputs
    return None if of(level, weight) else apply(op, (weight, index.whole), attrs)


@rule("native_layer_norm", "rms_norm")
def normalised(op, inputs, attrs, level):
    x, *scale = inputs
    if not of(level, x):
        return None
    dims = tuple(d % x.ndim + 1 for d in attrs[0])
    if not any(of(level, s) for s in scale):
        return apply(op, (x.whole, *scale), (dims, *attrs[1:]))
    result = Batched(level, apply(op, (x.whole, *(None for _ in scale)), (dims, *attrs[1:])))
    weight, bias = (*scale, None)[:2]
    result = result if weight is None else result * weight
    return full(level, result if bias is None else result + bias)


@rule("scaled_dot_product_attention")
def attended(op, inputs, attrs, level):
    *tensors, scale = inputs
    ndim = max(x.ndim for x in tensors if x is not None)
    return apply(op, (*(x if x is None else padded(level, lift_one(level, x), ndim) for x in tensors), scale), attrs)


def lift_one(level: Level, x):
    return x if of(level, x) else Batched(level, full(level, x))


@rule("convolution")
def convolved(op, inputs, attrs, level):
    """Slices of the input are more of its batch; slices of the weight are groups."""
    x, w = inputs
    *rest, groups = attrs
    n = level.n
    if not of(level, w):
        x = x.whole
        result = apply(op, (reshape(x, (n * x.shape[1], *x.shape[2:])), w), attrs)
        return reshape(result, (n, x.shape[1], *result.shape[1:]))
    x, w = full(level, x).transpose(0, 1), w.whole
    x, w = reshape(x, (x.shape[0], n * x.shape[2], *x.shape[3:])), reshape(w, (n * w.shape[1], *w.shape[2:]))
    result = apply(op, (x, w), (*rest, groups * n))
    return reshape(result, (result.shape[0], n, result.shape[1] // n, *result.shape[2:])).transpose(0, 1)


@rule("max_pool_with_indices", "adaptive_max_pool")
def pooled(op, inputs, attrs, level):
    w = inputs[0].whole
    found = apply(op, (reshape(w, (w.shape[0] * w.shape[1], *w.shape[2:])),), attrs)
    return tuple(reshape(r, (*w.shape[:2], *r.shape[1:])) for r in found)


@rule(*(row[0] for row in ELEMENTWISE))
def loss(op, inputs, attrs, level):
    """A loss of single elements: that of all, then the mean or the sum within each slice."""
    ndim = max(x.ndim for x in inputs if isinstance(x, Tensor))
    each = elementwise(op, inputs, (*attrs[:-1], NONE), level)
    if each is None or attrs[-1] == NONE or not ndim:
        return each
    return apply(mean_op if attrs[-1] == MEAN else sum_op, (each,), (tuple(range(1, ndim + 1)), False, each.dtype))


@rule("nll_loss", "cross_entropy")
def class_loss(op, inputs, attrs, level):
    x, target, weight = inputs
    reduction, ignored, *rest = attrs
    if weight is not None and (of(level, weight) or reduction == MEAN):
        return None
    n, rows = level.n, x.ndim > 1
    x, target = full(level, x), full(level, target)
    if rows:
        batch = x.shape[1]
        x, target = reshape(x, (n * batch, *x.shape[2:])), reshape(target, (n * batch, *target.shape[2:]))
    elif len(target.shape) > 1:
        target = reshape(target, (n,))
    each = apply(op, (x, target, weight), (NONE, ignored, *rest))
    each = reshape(each, (n, batch, *each.shape[1:])) if rows else each
    if reduction == NONE:
        return each
    dims = tuple(range(1, each.ndim))
    total = apply(sum_op, (each,), (dims, False, each.dtype)) if dims else each
    if reduction != MEAN:
        return total
    kept = (reshape(target, each.shape) != ignored).to(each.dtype)
    return total / (apply(sum_op, (kept,), (dims, False, kept.dtype)) if dims else kept)


@rule("index")
def picked(op, inputs, attrs, level):
    """x[indices]. Mapped indices are joined by one over the slices."""
    x, *indices = inputs
    (pattern,) = attrs
    dims = [d for d, used in enumerate(pattern) if used]
    adjacent = dims[-1] - dims[0] == len(dims) - 1
    at = dims[0] if adjacent else 0
    k = max(i.ndim for i in indices)
    if not any(of(level, i) for i in indices):
        result = apply(op, (x.whole, *indices), ((False, *pattern),))
        return result if adjacent else permute(result, moved(result.ndim, k, 0))
    spread = [padded(level, i, k) for i in indices]
    if not of(level, x):
        result = apply(op, (x, *spread), attrs)
        return permute(result, moved(result.ndim, at, 0)) if at else result
    first = PUBLIC["arange"](level.n).reshape(level.n, *(1,) * k)
    result = apply(op, (x.whole, first, *spread), ((FROM_ZERO, *pattern),))
    if not at:
        return result
    order = [0, *range(1 + k, 1 + k + at), *range(1, 1 + k), *range(1 + k + at, result.ndim)]
    return permute(result, order)


def moved(ndim: int, source: int, to: int) -> list[int]:
    """The order of dimensions in which one has moved."""
    order = [d for d in range(ndim) if d != source]
    order.insert(to, source)
    return order


# -- views -------------------------------------------------------------------------------------------------------------
# view -> its attributes for all slices, from those for one of n dimensions
SHIFTED: dict[str, Callable] = {
    "permute": lambda m, dims: ((0, *(d % len(m.shape) + 1 for d in dims)),),
    "squeeze": lambda m, dims: (tuple(d + 1 for d in (range(len(m.shape)) if dims is None else dims)),),
    "unsqueeze": lambda m, dim: (dim + 1,),
    "slice": lambda m, dim, *rest: (dim + 1, *rest),
    "select": lambda m, dim, index: (dim + 1, index),
    "diagonal": lambda m, offset, a, b: (offset, a + 1, b + 1),
    "basic_index": lambda m, *items: ((":",), *items),
}


def batched_view(x: Batched, record) -> Batched:
    """A view of every slice."""
    op, attrs, whole, meta = record.op, record.attrs, x.whole, record.metas[0]
    n, m = x.level.n, x._meta
    if op.name in SHIFTED:
        return x.like(op(whole, *SHIFTED[op.name](m, *attrs)))
    if op.name == "transpose":
        return x.like(op(whole, *(d % len(m.shape) + 1 for d in attrs)) if m.shape else whole.view_as(whole))
    if op.name == "t":
        return x.like(VIEWS["transpose"](whole, 1, 2) if len(m.shape) > 1 else whole.view_as(whole))
    if op.name == "expand":
        extra = len(meta.shape) - len(m.shape)
        if extra:
            whole = reshape(whole, (n, *(1,) * extra, *m.shape))
        return x.like(op(whole, (n, *meta.shape)))
    if op.name == "view":
        try:
            return x.like(op(whole, (n, *meta.shape)))
        except RuntimeError:            # possible in each slice, if not in all of them together
            pass
    if op.name == "unfold" and m.shape:
        return x.like(op(whole, attrs[0] + 1, *attrs[1:]))
    stride = whole._meta.strides[0]
    return x.like(VIEWS["as_strided"](whole, (n, *meta.shape), (stride, *meta.strides), meta.offset))


# -- writes ------------------------------------------------------------------------------------------------------------
def batched_assign(t, r):
    """`assign` where one of the two is Batched. A tensor that is the same for all slices can't hold a value for each."""
    if not is_batched(t) or (is_batched(r) and r.level.depth > t.level.depth):
        raise Mapped
    if r._meta.shape != t._meta.shape:
        raise RuntimeError(f"output with shape {list(t.shape)} doesn't match the broadcast shape {list(r.shape)}")
    if overlapping(t.whole.shape, t.whole.stride()):
        raise Mapped                # it was the same for all slices until now
    r = r.whole if of(t.level, r) else full(t.level, r).clone()
    assign(t.whole, r)
    return t


# -- random numbers ----------------------------------------------------------------------------------------------------
def check_random() -> None:
    """RuntimeError within a vmap that was not told what random numbers are to be."""
    if any(level.randomness == "error" for level in maps.levels):
        raise RuntimeError("vmap: called random operation while in randomness error mode. Please either use the 'same' or 'different' randomness "
                           "flags on vmap or perform the randomness operation out of vmap")


def drawn(draw: Callable, shape: tuple):
    """draw(shape), or different numbers for each slice of the levels that ask for them."""
    check_random()
    levels = tuple(level for level in live() if level.randomness == "different")
    was, maps.levels = maps.levels, ()
    try:
        x = draw((*(level.n for level in levels), *shape))
    finally:
        maps.levels = was
    for level in levels:
        x = Batched(level, x)
    return x

"""Matrix products and what is made of them: one entry, `matmul`, on (..., M, K) and (..., K, N).

The rest are compositions of views and it.
"""

from __future__ import annotations

from math import prod

from ..dtypes import BOOL, FLOAT
from ..graph.ir import broadcast
from ..graph.record import Meta, count
from .dispatch import METHODS, PUBLIC, Op, apply
from .publish import finish
from .views import diagonal, expand, permute_op, reshape, transpose_op, unsqueeze, wrap_dim


def mT(x):
    return transpose_op(x, -2, -1)


# -- the entry -------------------------------------------------------------------------------------------------------
def matmul_infer(a, b):
    if a.dtype is not b.dtype:
        raise RuntimeError(
            f"expected m1 and m2 to have the same dtype, but got: {type_word(a.dtype)} != {type_word(b.dtype)}"
        )
    if a.dtype.category == BOOL:
        raise RuntimeError("\"addmm_impl_cpu_\" not implemented for 'Bool'")
    if a.shape[-1] != b.shape[-2]:
        if len(a.shape) == 2 or len(b.shape) == 2:
            raise RuntimeError(
                f"mat1 and mat2 shapes cannot be multiplied ({prod(a.shape[:-1])}x{a.shape[-1]} and "
                f"{b.shape[-2]}x{b.shape[-1]})"
            )
        raise RuntimeError(
            f"Expected size for first two dimensions of batch2 tensor to be: [{prod(b.shape[:-2])}, {a.shape[-1]}] "
            f"but got: [{prod(b.shape[:-2])}, {b.shape[-2]}]."
        )
    return Meta((*broadcast([a.shape[:-2], b.shape[:-2]]), a.shape[-2], b.shape[-1]), a.dtype)


WORDS = {
    "float32": "float",
    "float64": "double",
    "float16": "c10::Half",
    "bfloat16": "c10::BFloat16",
    "complex64": "c10::complex<float>",
    "complex128": "c10::complex<double>",
    "int64": "long long",
    "int32": "int",
    "int16": "short",
    "int8": "signed char",
    "uint8": "unsigned char",
    "bool": "bool",
}


def type_word(dtype) -> str:
    return WORDS[dtype.name]


def matmul_reference(a, b):
    if b.ndim == 2 and a.ndim > 2 and a.size:
        return (a.reshape(-1, a.shape[-1]) @ b).reshape(*a.shape[:-1], b.shape[-1])
    return a @ b


def matmul_lower(b, x, y):
    if not b.out[0].numel or not x.shape[-1]:
        return b.full(b.out[0].shape, 0, x.dtype)
    if x.dtype.category != FLOAT:
        return None
    return b.dot(x, y)


def matmul_vjp(ctx, g):
    (a, b), to_a, to_b = ctx.metas, None, None
    if ctx.needs[0]:
        to_a = apply(matmul_op, (g, mT(ctx.input(1))))
    if ctx.needs[1]:
        x = ctx.input(0)
        if len(b.shape) == 2 and len(a.shape) > 2:
            x, g = reshape(x, (prod(a.shape[:-1]), a.shape[-1])), reshape(g, (prod(a.shape[:-1]), b.shape[-1]))
        to_b = apply(matmul_op, (mT(x), g))
    return (to_a, to_b)


matmul_op = Op(
    "matmul",
    infer=matmul_infer,
    reference=matmul_reference,
    lower=matmul_lower,
    vjp=matmul_vjp,
    saves="01",
    grad_name="MmBackward0",
)


def linear_infer(x, w, bias=None):
    product = matmul_infer(x, Meta((*w.shape[:-2], w.shape[-1], w.shape[-2]), w.dtype))
    return product if bias is None else Meta(broadcast([product.shape, bias.shape]), product.dtype)


def linear_reference(x, w, bias=None):
    product = matmul_reference(x, w.swapaxes(-1, -2))
    return product if bias is None else product + bias


def linear_lower(b, x, w, bias=None):
    shape = (*x.shape[:-1], w.shape[0])
    product = matmul_lower(b, x, b.permute(w, (1, 0))) if count(shape) and x.shape[-1] else b.full(shape, 0, x.dtype)
    return product if product is None or bias is None else product + bias


def linear_vjp(ctx, g):
    x, w = ctx.metas[:2]
    to_x = apply(matmul_op, (g, ctx.input(1))) if ctx.needs[0] else None
    to_w = None
    if ctx.needs[1]:        # in the layout of the weight, not transposed: it is going to be its `.grad`
        rows, of_rows = ctx.input(0), g
        if len(x.shape) > 2:
            rows = reshape(rows, (prod(x.shape[:-1]), x.shape[-1]))
            of_rows = reshape(g, (prod(x.shape[:-1]), w.shape[0]))
        to_w = apply(matmul_op, (mT(of_rows), rows))
    return (to_x, to_w, g)[: len(ctx.needs)]


linear_op = Op(
    "linear",
    infer=linear_infer,
    reference=linear_reference,
    lower=linear_lower,
    vjp=linear_vjp,
    saves="01",
    grad_name="AddmmBackward0",
)


# -- products under their names --------------------------------------------------------------------------------------
def need_tensors(name: str, *args) -> None:
    for k, a in enumerate(args):
        if not hasattr(a, "_meta"):
            raise TypeError(f"{name}(): argument {k + 1} must be Tensor, not {type(a).__name__}")


def matmul(input, other, *, out=None):
    """The matrix product over the last two dimensions; leading dimensions broadcast, vectors are rows or columns.

    Raises RuntimeError where sizes don't fit or dtypes differ.

    >>> import jitorch as torch
    >>> torch.matmul(torch.tensor([[1., 2.], [3., 4.]]), torch.tensor([1., 1.]))
    tensor([3., 7.])
    """
    need_tensors("matmul", input, other)
    n, k = input.ndim, other.ndim
    if n == 0 or k == 0:
        raise RuntimeError(f"both arguments to matmul need to be at least 1D, but they are {n}D and {k}D")
    if n == 1 and k == 1:
        return dot(input, other, out=out)
    a = unsqueeze(input, 0) if n == 1 else input
    b = unsqueeze(other, 1) if k == 1 else other
    if k == 1 and n == 2 and input.shape[1] != other.shape[0]:
        raise RuntimeError(
            f"size mismatch, got input ({input.shape[0]}), mat ({input.shape[0]}x{input.shape[1]}), vec "
            f"({other.shape[0]})"
        )
    result = apply(matmul_op, (a, b))
    if n == 1:
        result = reshape(result, (*result.shape[:-2], result.shape[-1]))
    elif k == 1:
        result = reshape(result, result.shape[:-1])
    return finish(result, out)


def dot(input, other, *, out=None):
    """The dot product of two vectors of the same length."""
    need_tensors("dot", input, other)
    if input.ndim != 1 or other.ndim != 1:
        raise RuntimeError(f"1D tensors expected, but got {input.ndim}D and {other.ndim}D tensors")
    if input.dtype is not other.dtype:
        raise RuntimeError(
            f"dot : expected both vectors to have same dtype, but found {input.dtype.label} and {other.dtype.label}"
        )
    if input.shape != other.shape:
        raise RuntimeError(
            f"inconsistent tensor size, expected tensor [{input.shape[0]}] and src [{other.shape[0]}] to have the same "
            f"number of elements, but got {input.shape[0]} and {other.shape[0]} elements respectively"
        )
    return finish(reshape(apply(matmul_op, (unsqueeze(input, 0), unsqueeze(other, 1))), ()), out)


def vdot(input, other, *, out=None):
    """The dot product of two vectors, the first of them conjugated."""
    need_tensors("vdot", input, other)
    return dot(PUBLIC["conj"](input) if input.is_complex() else input, other, out=out)


def mm(input, mat2, *, out=None, out_dtype=None):
    """The product of two matrices: (M, K) by (K, N)."""
    need_tensors("mm", input, mat2)
    for what, m in (("self", input), ("mat2", mat2)):
        if m.ndim != 2:
            raise RuntimeError(f"{what} must be a matrix")
    return finish(apply(matmul_op, (input, mat2)), out)


def bmm(input, mat2, *, out=None):
    """The products of two batches of matrices: (B, M, K) by (B, K, N) is (B, M, N). RuntimeError where sizes don't fit.

    >>> import jitorch as torch
    >>> torch.bmm(torch.ones(3, 2, 4), torch.ones(3, 4, 5)).shape
    torch.Size([3, 2, 5])
    """
    need_tensors("bmm", input, mat2)
    for what, m in (("batch1", input), ("batch2", mat2)):
        if m.ndim != 3:
            raise RuntimeError(f"{what} must be a 3D tensor")
    if input.shape[0] != mat2.shape[0] or input.shape[2] != mat2.shape[1]:
        raise RuntimeError(
            f"Expected size for first two dimensions of batch2 tensor to be: [{input.shape[0]}, {input.shape[2]}] "
            f"but got: [{mat2.shape[0]}, {mat2.shape[1]}]."
        )
    return finish(apply(matmul_op, (input, mat2)), out)


def mv(input, vec, *, out=None):
    """The product of a matrix (M, K) and a vector (K)."""
    need_tensors("mv", input, vec)
    if input.ndim != 2 or vec.ndim != 1:
        raise RuntimeError(f"vector + matrix @ vector expected, got 1, {input.ndim}, {vec.ndim}")
    if input.shape[1] != vec.shape[0]:
        raise RuntimeError(
            f"size mismatch, got input ({input.shape[0]}), mat ({input.shape[0]}x{input.shape[1]}), vec "
            f"({vec.shape[0]})"
        )
    return finish(reshape(apply(matmul_op, (input, unsqueeze(vec, 1))), (input.shape[0],)), out)


def combined(name: str, input, product, beta, alpha):
    """beta * input + alpha * product; a beta of 0 ignores input, NaN included."""
    if product.dtype.category != FLOAT:
        beta, alpha = int(beta), int(alpha)
    if input.dtype is not product.dtype:
        raise RuntimeError(
            f"self and mat2 must have the same dtype, but got {input.dtype.label} and {product.dtype.label}"
        )
    expand(input, *product.shape)  # raises where input doesn't broadcast to the product
    scaled = product if alpha == 1 else product * alpha
    if beta == 0:
        return scaled
    return (input if beta == 1 else input * beta) + scaled


def addmm(input, mat1, mat2, *, beta=1, alpha=1, out=None):
    """beta * input + alpha * (mat1 @ mat2), input broadcasting."""
    return finish(combined("addmm", input, mm(mat1, mat2), beta, alpha), out)


def addmv(input, mat, vec, *, beta=1, alpha=1, out=None):
    """beta * input + alpha * (mat @ vec)."""
    return finish(combined("addmv", input, mv(mat, vec), beta, alpha), out)


def addr(input, vec1, vec2, *, beta=1, alpha=1, out=None):
    """beta * input + alpha * outer(vec1, vec2)."""
    product = outer(vec1, vec2)
    if product.dtype.category == BOOL and input.dtype.category == BOOL:
        product = product if alpha else product.logical_and(False)
        return finish(product if not beta else input.logical_or(product), out)
    if alpha != 1:
        product = product * alpha
    expand(input, *product.shape)
    return finish(
        product.to(promoted(input, product)) if beta == 0 else (input if beta == 1 else input * beta) + product, out
    )


def promoted(a, b):
    from .. import dtypes

    return dtypes.promote_types(a.dtype, b.dtype)


def baddbmm(input, batch1, batch2, *, beta=1, alpha=1, out=None):
    """beta * input + alpha * bmm(batch1, batch2)."""
    return finish(combined("baddbmm", input, bmm(batch1, batch2), beta, alpha), out)


def addbmm(input, batch1, batch2, *, beta=1, alpha=1, out=None):
    """beta * input + alpha * the sum over the batch of batch1 @ batch2."""
    bmm_shapes = (batch1.shape, batch2.shape)
    if len(bmm_shapes[0]) != 3 or len(bmm_shapes[1]) != 3:
        return bmm(batch1, batch2)  # raises
    b, n, k = batch1.shape
    if tuple(batch2.shape[:2]) != (b, k):
        bmm(batch1, batch2)
    a = reshape(permute_op(batch1, (1, 0, 2)), (n, b * k))
    return finish(
        combined("addbmm", input, apply(matmul_op, (a, reshape(batch2, (b * k, batch2.shape[2])))), beta, alpha), out
    )


def outer(input, vec2, *, out=None):
    """The products of all pairs of two vectors: (N) by (M) is (N, M)."""
    need_tensors("outer", input, vec2)
    for what, v in (("self", input), ("vec2", vec2)):
        if v.ndim != 1:
            raise RuntimeError(f"outer: Expected 1-D argument {what}, but got {v.ndim}-D")
    return finish(unsqueeze(input, 1) * vec2, out)


def inner(input, other, *, out=None):
    """Sums of products over the last dimension of both."""
    if input.ndim == 0 or other.ndim == 0:
        return finish(input * other, out)
    if input.shape[-1] != other.shape[-1]:
        raise RuntimeError(
            f"inner() the last dimension must match on both input tensors but got shapes {list(input.shape)} and "
            f"{list(other.shape)}"
        )
    return finish(tensordot(input, other, ([-1], [-1])), out)


def tensordot(a, b, dims=2, out=None):
    """Sums of products over several dimensions.

    The last `dims` of a with the first of b, or two lists of dimensions.
    """
    if hasattr(dims, "_meta"):
        dims = dims.tolist()
    if isinstance(dims, int):
        if dims < 0:
            raise RuntimeError(f"tensordot expects dims >= 0, but got dims={dims}")
        if dims > min(a.ndim, b.ndim):
            raise RuntimeError(f"tensordot expects dims < ndim_a or ndim_b, but got dims={dims}")
        left, right = list(range(a.ndim - dims, a.ndim)), list(range(dims))
    else:
        left, right = ([d] if isinstance(d, int) else list(d) for d in dims)
    if len(left) != len(right):
        raise RuntimeError("both dimension lists should have same length")
    left, right = [wrap_dim(d, a.ndim) for d in left], [wrap_dim(d, b.ndim) for d in right]
    for i, j in zip(left, right, strict=False):
        if a.shape[i] != b.shape[j] and 1 not in (a.shape[i], b.shape[j]):
            raise RuntimeError(
                f"contracted dimensions need to match, but first has size {a.shape[i]} in dim {i} and second has size "
                f"{b.shape[j]} in dim {j}"
            )
        if a.shape[i] != b.shape[j]:
            if b.shape[j] == 1:
                a = a.sum(i, keepdim=True)
            else:
                b = b.sum(j, keepdim=True)
    free_a, free_b = [i for i in range(a.ndim) if i not in left], [j for j in range(b.ndim) if j not in right]
    k = prod(a.shape[i] for i in left)
    x = reshape(permute_op(a, (*free_a, *left)), (prod(a.shape[i] for i in free_a), k))
    y = reshape(permute_op(b, (*right, *free_b)), (k, prod(b.shape[j] for j in free_b)))
    return finish(
        reshape(apply(matmul_op, (x, y)), [*(a.shape[i] for i in free_a), *(b.shape[j] for j in free_b)]), out
    )


def kron(input, other, *, out=None):
    """The Kronecker product: every element of input times all of other."""
    n = max(input.ndim, other.ndim)
    a = reshape(input, (1,) * (n - input.ndim) + tuple(input.shape))
    b = reshape(other, (1,) * (n - other.ndim) + tuple(other.shape))
    left = reshape(a, [s for m in a.shape for s in (m, 1)])
    right = reshape(b, [s for m in b.shape for s in (1, m)])
    return finish(reshape(left * right, [p * q for p, q in zip(a.shape, b.shape, strict=False)]), out)


def chain_matmul(*matrices, out=None):
    """The product of several matrices, in the cheapest order."""
    return multi_dot(matrices, out=out)


def multi_dot(tensors, *, out=None):
    """The product of two or more matrices (the first and last may be vectors), in the order that costs least."""
    tensors = list(tensors)
    if len(tensors) < 2:
        raise RuntimeError(f"multi_dot(): expected at least 2 tensors but got {len(tensors)}")
    first, last = tensors[0].ndim == 1, tensors[-1].ndim == 1
    if first:
        tensors[0] = unsqueeze(tensors[0], 0)
    if last:
        tensors[-1] = unsqueeze(tensors[-1], 1)
    sizes = [t.shape[0] for t in tensors] + [tensors[-1].shape[1]]
    n = len(tensors)
    cost, split = {(i, i): 0 for i in range(n)}, {}
    for length in range(1, n):
        for i in range(n - length):
            j = i + length
            cost[i, j], split[i, j] = min(
                (cost[i, k] + cost[k + 1, j] + sizes[i] * sizes[k + 1] * sizes[j + 1], k) for k in range(i, j)
            )
    done = {(i, i): t for i, t in enumerate(tensors)}
    for length in range(1, n):
        for i in range(n - length):
            j = i + length
            if needed_split(split, n, i, j):
                k = split[i, j]
                done[i, j] = mm(done[i, k], done[k + 1, j])
    result = done[0, n - 1]
    shape = [s for s, drop in zip(result.shape, (first, last), strict=False) if not drop]
    return finish(reshape(result, shape), out)


def needed_split(split: dict, n: int, i: int, j: int) -> bool:
    """Whether the best order of the whole product makes the product of matrices i to j."""
    low, high = 0, n - 1
    while (low, high) != (i, j):
        if low == high:
            return False
        k = split[low, high]
        low, high = (low, k) if j <= k else (k + 1, high)
        if i < low or j > high:
            return False
    return True


# -- einsum ----------------------------------------------------------------------------------------------------------
def einsum(*args):
    """Sums of products in Einstein's notation, as `torch.einsum`.

    Takes an equation and operands, or operands and lists of numbers.

    >>> import jitorch as torch
    >>> torch.einsum("ij,j->i", torch.tensor([[1., 2.], [3., 4.]]), torch.tensor([1., 10.]))
    tensor([21., 43.])
    """
    equation, operands = (args[0], list(args[1:])) if isinstance(args[0], str) else from_sublists(args)
    if len(operands) == 1 and isinstance(operands[0], (list, tuple)):
        operands = list(operands[0])
    if not operands:
        raise RuntimeError("einsum(): must provide at least one operand")
    inputs, output = parse_einsum(equation, operands)
    terms = [diagonals(t, labels) for t, labels in zip(operands, inputs, strict=False)]
    while len(terms) > 1:
        i, j = next_pair(terms, output)
        b, a = terms.pop(j), terms.pop(i)
        kept = set(output).union(*(labels for _, labels in terms))
        terms.append(contract_pair(a, b, kept))
    x, labels = terms[0]
    x, labels = summed(x, labels, set(output))
    return permute_op(x, tuple(labels.index(label) for label in output)) if labels != output else x


def from_sublists(args):
    """The equation of the form einsum(a, [0, 1], b, [1, 2], [0, 2])."""
    operands, lists, rest = [], [], list(args)
    while rest and hasattr(rest[0], "_meta"):
        operands.append(rest.pop(0))
        lists.append(rest.pop(0))

    def spell(numbers):
        return "".join("..." if n is Ellipsis else chr(65 + n if n < 26 else 71 + n) for n in numbers)

    equation = ",".join(map(spell, lists))
    return (equation + "->" + spell(rest[0]) if rest else equation), operands


def parse_einsum(equation: str, operands):
    """(labels of each operand, labels of the output); an ellipsis becomes labels of its own."""
    equation = equation.replace(" ", "")
    left, arrow, right = equation.partition("->")
    parts = left.split(",")
    if len(parts) != len(operands):
        raise RuntimeError(
            "einsum(): more operands were provided than specified in the equation"
            if len(parts) < len(operands)
            else "einsum(): fewer operands were provided than specified in the equation"
        )
    hidden = 0
    for part, t in zip(parts, operands, strict=False):
        named = len(part.replace("...", ""))
        if "..." in part:
            if named > t.ndim:
                raise RuntimeError(
                    f"einsum(): the number of subscripts in the equation ({named}) is more than the number of "
                    f"dimensions ({t.ndim})"
                )
            hidden = max(hidden, t.ndim - named)
        elif named != t.ndim:
            raise RuntimeError(
                f"einsum(): the number of subscripts in the equation ({named}) does not match the number of dimensions "
                f"({t.ndim}) for operand {parts.index(part)} and no ellipsis was given"
            )
    inputs = []
    for part, t in zip(parts, operands, strict=False):
        extra = t.ndim - len(part.replace("...", ""))
        labels: list = []
        head, dots, tail = part.partition("...")
        labels += head
        labels += [("...", i) for i in range(hidden - extra, hidden)] if dots else []
        labels += tail
        inputs.append(labels)
    sizes: dict = {}
    for labels, t in zip(inputs, operands, strict=False):
        for label in labels:
            if not (isinstance(label, tuple) or label.isalpha()):
                raise RuntimeError(
                    f"einsum(): invalid subscript given at index {equation.index(label)} in the equation string, "
                    "subscripts must be in [a-zA-Z]"
                )
        for label, n in zip(labels, t.shape, strict=False):
            if sizes.setdefault(label, n) not in (n, 1) and n != 1:
                raise RuntimeError(
                    f"einsum(): subscript {label} has size {n} for operand {inputs.index(labels)} which does not "
                    f"broadcast with previously seen size {sizes[label]}"
                )
            if sizes[label] == 1:
                sizes[label] = n
    everything = [label for labels in inputs for label in labels]
    unnamed = [("...", i) for i in range(hidden)]
    if not arrow:
        once = sorted(label for label in set(everything) - set(unnamed) if everything.count(label) == 1)
        return inputs, unnamed + once
    head, mark, tail = right.partition("...")
    output = [*head, *(unnamed if mark else ()), *tail]
    for label in output:
        if label not in sizes:
            raise RuntimeError(
                f"einsum(): output subscript {label} does not appear in the equation for any input operand"
            )
        if output.count(label) > 1:
            raise RuntimeError(f"einsum(): output subscript {label} appears more than once in the output")
    return inputs, output


def diagonals(x, labels):
    """An operand with each label once: repeated ones name a diagonal."""
    labels = list(labels)
    for label in dict.fromkeys(labels):
        while labels.count(label) > 1:
            i = labels.index(label)
            j = labels.index(label, i + 1)
            if x.shape[i] != x.shape[j]:
                raise RuntimeError(
                    f"einsum(): subscript {label} is repeated for operand 0 but the sizes don't match, {x.shape[j]} != "
                    f"{x.shape[i]}"
                )
            x = diagonal(x, 0, i, j)
            del labels[j], labels[i]
            labels.append(label)
    return x, labels


def next_pair(terms, output):
    """The two operands to contract next: those whose product is smallest (the first two of few)."""
    if len(terms) == 2:
        return 0, 1
    best = None
    for i in range(len(terms)):
        for j in range(i + 1, len(terms)):
            rest = set(output).union(*(labels for k, (_, labels) in enumerate(terms) if k not in (i, j)))
            sizes = dict(zip(terms[i][1], terms[i][0].shape, strict=False)) | dict(
                zip(terms[j][1], terms[j][0].shape, strict=False)
            )
            shared = set(terms[i][1]) & set(terms[j][1])
            key = (
                prod(n for label, n in sizes.items() if label in rest)
                - terms[i][0]._meta.numel
                - terms[j][0]._meta.numel,
                prod(sizes.values()),
                not shared,
            )
            if best is None or key < best[0]:
                best = (key, i, j)
    return best[1], best[2]


def summed(x, labels, kept):
    """Without the labels that nothing else reads."""
    gone = [i for i, label in enumerate(labels) if label not in kept]
    if gone:
        x = x.sum(gone, dtype=x.dtype)
    return x, [label for label in labels if label in kept]


def contract_pair(a, b, kept):
    """The product of two operands, summed over the labels that are not kept."""
    (x, left), (y, right) = a, b
    x, left = summed(x, left, kept | set(right))
    y, right = summed(y, right, kept | set(left))
    size = dict(zip(left, x.shape, strict=False))
    for label, n in zip(right, y.shape, strict=False):
        size[label] = n if size.get(label, 1) == 1 else size[label]
    shared = [label for label in left if label in right]
    x = expand(
        x,
        *(size[label] if label in shared and label not in kept else n for label, n in zip(left, x.shape, strict=False)),
    )
    y = expand(
        y,
        *(
            size[label] if label in shared and label not in kept else n
            for label, n in zip(right, y.shape, strict=False)
        ),
    )
    batch, inside = [label for label in shared if label in kept], [label for label in shared if label not in kept]
    free_x, free_y = [label for label in left if label not in shared], [label for label in right if label not in shared]
    if not inside:
        order = batch + free_x + free_y
        return expanded_to(x, left, order) * expanded_to(y, right, order), order
    x = permute_op(x, tuple(left.index(label) for label in batch + free_x + inside))
    y = permute_op(y, tuple(right.index(label) for label in batch + inside + free_y))
    k, n = prod(size[label] for label in inside), len(batch)
    m_x, m_y = [size[label] for label in free_x], [size[label] for label in free_y]
    x = reshape(x, (*x.shape[:n], prod(m_x), k))
    y = reshape(y, (*y.shape[:n], k, prod(m_y)))
    result = apply(matmul_op, (x, y))
    return reshape(result, (*result.shape[:n], *m_x, *m_y)), batch + free_x + free_y


def expanded_to(x, labels, order):
    """x with its dimensions in `order`, size 1 where it has none."""
    x = permute_op(x, tuple(labels.index(label) for label in order if label in labels))
    sizes = iter(x.shape)
    return reshape(x, [next(sizes) if label in labels else 1 for label in order])


# -- layers ----------------------------------------------------------------------------------------------------------
def linear(input, weight, bias=None):
    """input @ weight.T + bias: (..., K) with weight (N, K) is (..., N). RuntimeError where sizes don't fit or dtypes differ.

    >>> import jitorch as torch
    >>> torch.nn.functional.linear(torch.ones(2, 3), torch.ones(4, 3)).shape
    torch.Size([2, 4])
    """
    need_tensors("linear", input, weight, *(() if bias is None else (bias,)))
    x, w = input._meta, weight._meta
    if len(x.shape) > 1 and len(w.shape) == 2:
        if bias is None:
            return apply(linear_op, (input, weight))
        b = bias._meta
        if b.dtype is x.dtype and (b.shape == w.shape[:1] or b.shape == (1,)):
            return apply(linear_op, (input, weight, bias))
    if weight.ndim == 1:
        result = matmul(input, weight)
    else:
        if input.ndim == 0:
            raise RuntimeError("both arguments to linear need to be at least 1D, but they are 0D and 2D")
        x = unsqueeze(input, 0) if input.ndim == 1 else input
        result = apply(matmul_op, (x, mT(weight)))
        if input.ndim == 1:
            result = reshape(result, (weight.shape[0],))
    return result if bias is None else result + bias


def bilinear(input1, input2, weight, bias=None):
    """x1 @ weight[o] @ x2 for every o: (..., A), (..., B) and weight (O, A, B) give (..., O)."""
    if input1.shape[:-1] != input2.shape[:-1]:
        raise RuntimeError("bilinear(): input batch dimensions do not match")
    if input1.shape[-1] != weight.shape[1] or input2.shape[-1] != weight.shape[2]:
        raise RuntimeError(
            f"bilinear(): input sizes {input1.shape[-1]} and {input2.shape[-1]} do not match weight sizes "
            f"{weight.shape[1]} and {weight.shape[2]}"
        )
    o, a, b = weight.shape
    x = reshape(input1, (prod(input1.shape[:-1]), a))
    y = reshape(input2, (prod(input2.shape[:-1]), 1, b))
    half = reshape(apply(matmul_op, (x, reshape(permute_op(weight, (1, 0, 2)), (a, o * b)))), (x.shape[0], o, b))
    result = reshape((half * y).sum(-1), (*input1.shape[:-1], o))
    return result if bias is None else result + bias


def not_a_tensor(name):
    def operator(self, other):
        return matmul(self, other) if hasattr(other, "_meta") else NotImplemented

    operator.__name__ = name
    return operator


for _f in (matmul, dot, mm, bmm, mv, addmm, addmv, addr, baddbmm, addbmm, outer, inner, kron):
    PUBLIC[_f.__name__] = METHODS[_f.__name__] = _f
for _function in (tensordot, einsum, chain_matmul, bilinear):
    PUBLIC[_function.__name__] = _function
PUBLIC["vdot"] = METHODS["vdot"] = vdot
PUBLIC["ger"] = METHODS["ger"] = outer
METHODS["__matmul__"] = not_a_tensor("__matmul__")
METHODS["__rmatmul__"] = lambda self, other: matmul(other, self) if hasattr(other, "_meta") else NotImplemented


def inplace(name: str, function):
    def method(self, *args, **kwargs):
        from ..tensor import assign, check_writable

        check_writable(self)
        return assign(self, function(self, *args, **kwargs))

    method.__name__ = method.__qualname__ = name
    method.__doc__ = f"In-place form of `{name[:-1]}`."
    METHODS[name] = method


for _product in (addmm, addmv, addr, baddbmm):
    inplace(_product.__name__ + "_", _product)


def addbmm_(self, batch1, batch2, *, beta=1, alpha=1):
    """In-place form of `addbmm`. Alone among its kin it enlarges a tensor that is broadcast, as PyTorch does."""
    from ..tensor import assign

    result = addbmm(self, batch1, batch2, beta=beta, alpha=alpha)
    if result.shape != self.shape:
        METHODS["resize_"](self, result.shape)
    return assign(self, result)


METHODS["addbmm_"] = addbmm_

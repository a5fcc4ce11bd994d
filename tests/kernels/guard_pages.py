"""A child process of test_guard_pages: runs kernel families on buffers that touch pages which must not be touched.

    python guard_pages.py front|back FIRST      families from number FIRST on; prints what it is about to run

Every result, every temporary and every operand of a compiled program lies alone between two protected pages: in front, its first byte is the first of
a page; at the back, its last byte is the last of one (so it is only as aligned as its elements). A read or write out of bounds ends the process.
"""
import ctypes
import mmap
import sys

import numpy as np

import jitorch as torch
import jitorch.nn.functional as F
from jitorch import config
from jitorch.graph import build, compiled, memory
from jitorch.graph.record import flush

PAGE = mmap.PAGESIZE
SIZES = (1, 2, 7, 17, 33, 67, 131, 257, 521)
libc = ctypes.CDLL(None, use_errno=True)
kept: list = []         # mappings live as long as the process


def protect(address: int) -> None:
    if libc.mprotect(ctypes.c_void_p(address), ctypes.c_size_t(PAGE), 0):
        raise OSError(ctypes.get_errno(), "mprotect")


def pages(size: int) -> int:
    return max(1, -(-size // PAGE))


def install(side: str) -> None:
    """Let results and temporaries of compiled programs lie between protected pages."""
    fences: dict[int, list[int]] = {}           # arena size -> offsets of protected pages in it

    def inside(size: int) -> int:
        return 0 if side == "front" else pages(size) * PAGE - size

    def allocate(n, dtype):
        size = n * dtype.itemsize
        block = mmap.mmap(-1, (pages(size) + 2) * PAGE)
        kept.append(block)
        start = ctypes.addressof(ctypes.c_char.from_buffer(block))
        protect(start)
        protect(start + (pages(size) + 1) * PAGE)
        first = PAGE + inside(size)
        return np.frombuffer(block, dtype, n, first), start + first

    def pack(buffers):
        at, protected = PAGE, [0]
        for b in buffers:
            b.offset = at + inside(b.bytes)
            at += pages(b.bytes) * PAGE
            protected.append(at)
            at += PAGE
        while at in fences:                     # its size tells an arena from the others
            at += PAGE
        fences[at] = protected
        return at

    def thread_arena(size):
        if not size:
            return np.empty(0, np.uint8), 0
        block = mmap.mmap(-1, size)
        kept.append(block)
        start = ctypes.addressof(ctypes.c_char.from_buffer(block))
        for offset in fences[size]:
            protect(start + offset)
        return np.frombuffer(block, np.uint8), start

    compiled.allocate, compiled.thread_arena, memory.pack = allocate, thread_arena, pack


# -- families ----------------------------------------------------------------------------------------------------------
rng = np.random.default_rng(0)


def floats(*shape, dtype="float32"):
    """A result of a kernel, so that it lies between protected pages."""
    x = torch.tensor(rng.standard_normal(shape).astype(dtype)).clone()
    flush()
    return x


def whole(*shape, high=100, dtype="int64"):
    x = torch.tensor(rng.integers(0, high, shape).astype(dtype)).clone()
    flush()
    return x


def dtypes_family(n):
    for dtype in ("float64", "int8", "int16", "int32", "int64", "uint8", "bool"):
        x = whole(n, 3, high=2 if dtype == "bool" else 100, dtype=dtype)
        yield x.to(torch.float32) * 2
        yield floats(n, 3).to(x.dtype)
        yield x.sum(0), x.sum(1), x.sum()


def half_family(n):
    for dtype in (torch.float16, torch.bfloat16):
        x = floats(3, n).to(dtype)
        yield x.tanh() + x, x.softmax(1), x.sum(0), x.t().clone(), x[:, whole(5, high=n)], F.pad(x, (1, 2)), x > 0


def past_caches_family(n):
    before, build.PAST_CACHES = build.PAST_CACHES, 0
    yield floats(n) * 2 + 1, floats(n * 50) * 2, floats(n).to(torch.float64), floats(n) > 0
    yield torch.cat([floats(3, n), floats(3, n + 1)], 1), floats(n, 37).t().contiguous(), floats(5, n).t() * 2
    yield F.layer_norm(floats(3, n), (n,)), floats(3, n).double() - floats(3, n).double().mean(1, keepdim=True)
    yield gradient(lambda x, w: F.layer_norm(x, (n,), w).sum(), floats(67, n), floats(n))
    build.PAST_CACHES = before


def blocks_family(x):
    rows = x * x.sum(1, keepdim=True)
    return rows, x.sum(0), x.amax(0) + 1, (x > 0).any(0)


def gradient(function, *xs):
    leaves = [x.detach().requires_grad_(True) for x in xs]
    function(*leaves).backward(torch.ones(()))
    return [x.grad for x in leaves]


def attention_family(n):
    """Short and long queries beside few and many keys, with masks and odd widths; gradients of all three."""
    for queries, keys, width in ((n, 5, 7), (5, n, 33), (n % 150 + 1, n % 140 + 1, n % 70 + 1)):
        mask = whole(queries, keys, high=2, dtype="bool")
        for arguments in ({"is_causal": True}, {"attn_mask": mask}, {"attn_mask": floats(1, keys)}):
            operands = floats(2, queries, width), floats(2, keys, width), floats(2, keys, 5)
            yield gradient(lambda q, k, v, given=arguments: F.scaled_dot_product_attention(q, k, v, **given).sum(), *operands)


def recurrence_family(n):
    """Layers of many and of few rows and columns, and their gradients."""
    for kind in ("LSTM", "GRU", "RNN"):
        for rows, width in ((n, 5), (3, n % 150 + 1)):
            layer = getattr(torch.nn, kind)(4, width, bidirectional=True)
            x = floats(3, rows, 4)
            yield gradient(lambda v, layer=layer: layer(v)[0].sum(), x) + [p.grad for p in layer.parameters() if p.grad is not None]


# name -> a function of a size that gives tensors, or yields several such results in turn
FAMILIES = {
    "map": lambda n: [floats(n) * 2 + floats(n).tanh(), floats(n).exp().log1p().sin() + floats(n).erf()],
    "map, broadcast": lambda n: [floats(n, 3) * floats(3) + floats(n, 1), floats(3, 1, n) + floats(5, 1)],
    "map, transposed": lambda n: [floats(n, 37) + floats(37, n).t(), floats(n, 5).t().contiguous(), floats(5, n).t().contiguous() * 2,
                                  floats(2, n, 3, 19).permute(0, 3, 1, 2).contiguous(), floats(n, 18).to(torch.int8).t() + whole(18, n, dtype="int8")],
    "map, strided": lambda n: [floats(n, 4)[:, ::2] * 2, floats(2 * n)[1::2] + floats(n), floats(n, n % 7 + 1).flip(0) * 2],
    "map, backwards and with steps": lambda n: [floats(3, n).flip(1) + 1, floats(n, 3).flip((0, 1)), whole(n).flip(0), floats(3, 3 * n)[:, 2::3] * 2,
                                                floats(2 * n + 1)[::2].sum(), floats(5, 4 * n)[:, 3::4].amax(1), floats(n + 1).half()[::2].flip(0) * 2],
    "half precision": half_family,
    "map, dtypes": dtypes_family,
    "map, past the caches": past_caches_family,
    "pieces": lambda n: [torch.cat([floats(n, 3), floats(2, 3)]), F.pad(floats(3, n), (1, 2, 0, 1)), torch.stack([floats(n), floats(n)], 1)],
    "rows": lambda n: [floats(5, n).sum(1), floats(5, n).amax(1), floats(5, n).prod(1), (floats(5, n) > 0).any(1), floats(5, n).var(1, correction=0)],
    "rows, written": lambda n: [F.softmax(floats(5, n), 1), F.log_softmax(floats(5, n), 1), F.layer_norm(floats(5, n), (n,))],
    "rows, long": lambda n: [F.softmax(floats(2, 40 * n + 1), 1), floats(2, 40 * n + 1).logsumexp(1)],
    "columns": lambda n: [floats(n, 5).sum(0), floats(5, n).sum(0), floats(5, n).amax(0), floats(3, 5, n).mean((0, 1)), floats(5, n).var(0)],
    "columns, written": lambda n: [F.softmax(floats(n, 5), 0), F.softmax(floats(5, n), 0), floats(5, n) - floats(5, n).mean(0)],
    "columns, tall": lambda n: [floats(40 * n + 1, 3).sum(0), floats(40 * n + 1, 3).var(0)],
    "totals": lambda n: [floats(n, 3).sum(), floats(n * 50).mean(), floats(n, 3).amax(), floats(n, 50).var(correction=0), floats(n, 50).norm()],
    "argmax": lambda n: [floats(5, n).argmax(1), floats(n, 5).argmin(0), floats(n, 5).argmax(), whole(5, n).argmax(1), floats(2, 40 * n).argmin(1)],
    "scans": lambda n: [floats(5, n).cumsum(1), floats(n, 5).cumsum(0), floats(n).cumsum(0), floats(40, n).cumprod(1), whole(3, n).cumsum(1),
                        *floats(3, n).cummax(1), floats(3, n).logcumsumexp(1)],
    "takes": lambda n: [floats(n, 5)[whole(9, high=n)], floats(7, n)[whole(9, high=7)], floats(n, 5).gather(1, whole(n, 3, high=5)),
                        F.embedding(whole(4, 3, high=n), floats(n, 6))],
    "scatters": lambda n: [floats(n, 5).index_add(0, whole(9, high=n), floats(9, 5)), floats(7, n).index_add(0, whole(9, high=7), floats(9, n)),
                           floats(n, 5).scatter_add(1, whole(n, 3, high=5), floats(n, 3)), floats(n, 5).index_put((whole(4, high=n),), floats(4, 5))],
    "embedding, backward": lambda n: gradient(lambda w: F.embedding(whole(9, high=n), w).sum(), floats(n, 6)),
    "cross entropy": lambda n: [F.cross_entropy(floats(5, n), whole(5, high=n)),
                                *gradient(lambda x: F.cross_entropy(x, whole(5, high=n)), floats(5, n))],
    "rows and sums over all rows": lambda n: blocks_family(floats(131, n)),
    "pooling": lambda n: [F.max_pool2d(floats(2, 3, n + 1, n + 1), 2) if n < 100 else floats(n),
                          *gradient(lambda x: F.max_pool2d(x, 2).sum(), floats(2, n % 9 + 2, 9, 11)),
                          *gradient(lambda x: F.max_pool2d(x, 2).sum(), floats(2, n % 9 + 2, 8, 2 * n)),
                          *gradient(lambda x: F.max_pool2d(x, 3, 2, 1).sum(), floats(2, n % 9 + 2, 9, n + 1))],
    "products": lambda n: [floats(n, 5) @ floats(5, n), floats(5, n) @ floats(n, 5), floats(3, n, 7) @ floats(3, 7, 9), floats(n, n) @ floats(n),
                           floats(5, n).t() @ floats(5, 9), floats(9, n) @ floats(17, n).t(), floats(n, 9).t() @ floats(17, n).t(),
                           F.gelu(F.linear(floats(n, 21), floats(18, 21), floats(18))), floats(n, 5).double() @ floats(5, n).double()],
    "long matrices": lambda n: [floats(1000 + n, 67) @ floats(67), floats(3, 67) @ floats(1000 + n, 67).t(),
                                floats(n % 70, 3000) @ floats(3000, n % 90), floats(n % 50, 516) @ floats(516, 1024 + n // 32 * 32)],
    "convolutions": lambda n: [F.conv2d(floats(2, 3, n % 40 + 3, n % 40 + 4), floats(5, 3, 3, 3), padding=1),
                               F.conv2d(floats(2, 3, n % 40 + 3, 14), floats(5, 3, 3, 3), padding=1),
                               F.conv2d(floats(1, 2, 9, 9), floats(4, 1, 3, 3), groups=2),
                               F.conv2d(floats(2, 17, n % 40 + 9, n % 37 + 8), floats(21, 17, 3, 3), padding=n % 2),
                               *gradient(lambda x, w: F.conv2d(x, w, stride=2, padding=1).sum(), floats(2, 3, n % 40 + 3, 9), floats(4, 3, 3, 2)),
                               *gradient(lambda x, w: F.conv1d(x, w).sum(), floats(2, 3, n + 3), floats(4, 3, 3))],
    "attention": attention_family,
    "recurrences": recurrence_family,
    "random": lambda n: [torch.rand(n), torch.randn(n, 3), F.dropout(floats(n), 0.5)],
    "sorting": lambda n: [floats(n).sort()[0], floats(5, n).topk(1)[0]],
}


def run(family, n: int) -> None:
    made = family(n)
    for part in made if hasattr(made, "__next__") else [made]:
        flush()
        for x in part if isinstance(part, (list, tuple)) else [part]:
            x.numpy()


def main(side: str, first: int) -> None:
    install(side)
    with config.using(tier="compiled"):
        for number, (name, family) in enumerate(FAMILIES.items()):
            for n in SIZES if number >= first else ():
                print(f"{number} {name}: {n}", flush=True)
                run(family, n)
    print("done", flush=True)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))

"""Running reductions along one dimension of (outer, n, inner) contiguous elements.

Three ways to run, chosen from the shape, and the order of combination depends on the shape alone:

- columns (inner > 1): a unit is a tile of the innermost dimension, its running values an array on the stack.
- rows (inner = 1): eight elements at a time, combined within the vector and then with what came before.
- bands (inner = 1, steps too long for that): a unit is a band of rows; tiles of it are turned on the stack, so that each lane of a vector runs along
  a row of its own.
"""
from __future__ import annotations

from .description import Kernel
from .expressions import SUFFIX

# name -> a step from the running value {0} by an element {1}; its first value, for floats and for integers
STEPS = {
    "sum": ("{0} + {1}", "0", "0"),
    "prod": ("{0} * {1}", "1", "1"),
    "max": ("rmax({0}, {1})", "-np.inf", "{low}"),
    "min": ("rmin({0}, {1})", "np.inf", "{high}"),
    "logaddexp": ("log_add({0}, {1})", "-np.inf", None),
}
TILE = 512                      # elements of a tile of the innermost dimension
BAND, LENGTH = 32, 64           # rows and columns of a turned tile
EIGHT = 8                       # rows from which bands pay
TASK = 16384                    # elements of a task, roughly
BITS = {"int8": 8, "int16": 16, "int32": 32, "int64": 64}

LOG_ADD = '''@helper
def log_add(a, b):
    larger = rmax(a, b)
    return select(a == b, a + float64(0.6931471805599453), larger + log1p_f64(exp_f64(-fabs(a - b))))


'''

COLUMNS = '''def kernel(args, lo, hi):
    x = ptr_{s}(args, 0)
    o = ptr_{s}(args, 1)
    n, inner, tiles = word(args, 2), word(args, 3), word(args, 4)
    running = stack_{a}({tile})
    for u in range(uint64(lo), uint64(hi)):
        start = (u % tiles) * uint64({tile})
        m = select(inner - start < uint64({tile}), inner - start, uint64({tile}))
        px = at(x, (u // tiles) * n * inner + start)
        po = at(o, (u // tiles) * n * inner + start)
        for j in range(m):
            running[j] = {first}
        most = n - n % uint64(4)
        for r in range(uint64(0), most, uint64(4)):
            x0, x1, x2, x3 = at(px, r * inner), at(px, (r + uint64(1)) * inner), at(px, (r + uint64(2)) * inner), at(px, (r + uint64(3)) * inner)
            o0, o1, o2, o3 = at(po, r * inner), at(po, (r + uint64(1)) * inner), at(po, (r + uint64(2)) * inner), at(po, (r + uint64(3)) * inner)
            for j in range(m):
                independent()
                v0, v1, v2, v3 = as_{a}(x0[j]), as_{a}(x1[j]), as_{a}(x2[j]), as_{a}(x3[j])
                t0 = {step0}
                t1 = {step1}
                t2 = {step2}
                t3 = {step3}
                running[j] = t3
                o0[j] = as_{s}(t0)
                o1[j] = as_{s}(t1)
                o2[j] = as_{s}(t2)
                o3[j] = as_{s}(t3)
        for r in range(most, n):
            x0, o0 = at(px, r * inner), at(po, r * inner)
            for j in range(m):
                independent()
                v0 = as_{a}(x0[j])
                t0 = {step0}
                running[j] = t0
                o0[j] = as_{s}(t0)
'''

BANDS = '''def kernel(args, lo, hi):
    x = ptr_{s}(args, 0)
    o = ptr_{s}(args, 1)
    n, rows = word(args, 2), word(args, 3)
    running = stack_{a}({band})
    tile = stack_{s}({area})
    for u in range(uint64(lo), uint64(hi)):
        first = u * uint64({band})
        m = select(rows - first < uint64({band}), rows - first, uint64({band}))
        for j in range(uint64({band})):
            running[j] = {first}
        for j in range(uint64({area})):
            tile[j] = as_{s}(uint8(0))
        for begin in range(uint64(0), n, uint64({length})):
            size = select(n - begin < uint64({length}), n - begin, uint64({length}))
            transpose(tile, int64({band}), at(x, first * n + begin), int64(n), size, m)
            for c in range(size):
                line = at(tile, c * uint64({band}))
                for j in range(uint64({band})):
                    independent()
                    v0 = as_{a}(line[j])
                    t0 = {step0}
                    running[j] = t0
                    line[j] = as_{s}(t0)
            transpose(at(o, first * n + begin), int64(n), tile, int64({band}), m, size)
'''

EIGHTS = '''def kernel(args, lo, hi):
    x = ptr_{s}(args, 0)
    o = ptr_{s}(args, 1)
    n = word(args, 2)
    for u in range(uint64(lo), uint64(hi)):
        px, po = at(x, u * n), at(o, u * n)
        total = {first}
        most = {most}
        for r in range(uint64(0), most, uint64(8)):
            {eight}
        for r in range(most, n):
            v0 = as_{a}(px[r])
            total = {steptotal}
            po[r] = as_{s}(total)
'''


def first_value(name: str, dtype: str) -> str:
    """The running value before the first element, of the accumulator's dtype."""
    _, real, integer = STEPS[name]
    if dtype == "float64":
        return f"float64({real})"
    if integer is None:
        raise NotImplementedError(f"scan {name} of {dtype}")
    low, high = (0, 255) if dtype == "uint8" else (-(2 ** (BITS[dtype] - 1)), 2 ** (BITS[dtype] - 1) - 1)
    return f"{dtype}({integer.format(low=low, high=high)})"


def scan(name: str, dtype: str, words: list[tuple], outer: int, n: int, inner: int) -> Kernel:
    """A running reduction; `words` begin with the two buffers. Single precision accumulates in double, as PyTorch does."""
    if name not in STEPS:
        raise NotImplementedError(f"scan {name}")
    kind = "float64" if dtype == "float32" else "uint8" if dtype == "bool" else dtype
    a = SUFFIX[kind]

    def step(running: str, value: str) -> str:
        text = STEPS[name][0].format(running, value)
        return text if kind == "float64" else f"as_{a}({text})"
    steps = {f"step{i}": step("running[j]" if i == 0 else f"t{i - 1}", f"v{i}") for i in range(4)}
    fields = {"s": SUFFIX[dtype], "a": a, "first": first_value(name, kind), "tile": TILE, "band": BAND, "length": LENGTH,
              "area": BAND * LENGTH, "steptotal": step("total", "v0"), **steps}
    if name == "logaddexp":
        fields.update(most="uint64(0)", eight="pass")
    else:
        fields.update(most="n - n % uint64(8)", eight=f"total = running_{name}(at(px, r), at(po, r), total)")
    if inner > 1:
        tiles = -(-inner // TILE)
        words = [*words, ("int", n), ("int", inner), ("int", tiles)]
        template, units, work = COLUMNS, outer * tiles, n * min(inner, TILE)
    elif name == "logaddexp" and outer >= EIGHT:
        words = [*words, ("int", n), ("int", outer)]
        template, units, work = BANDS, -(-outer // BAND), BAND * n
    else:
        words = [*words, ("int", n)]
        template, units, work = EIGHTS, outer, n
    source = (LOG_ADD if name == "logaddexp" else "") + template.format(**fields)
    return Kernel(source, words, units, max(1, TASK // max(1, work)), False, name="scan")

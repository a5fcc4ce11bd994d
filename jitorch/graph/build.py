"""From a program to something that runs: kernels, a memory plan, and the tables that the executor reads.

    lower      entries write themselves in IR                       graph/lower.py
    schedule   values join kernels                                  graph/schedule.py
    straighten views across a kernel's results are copied first     graph/straighten.py
    place      every stored value gets a buffer
    write      every kernel gets its source and argument words      kernels/cpu/codegen.py, templates.py
    order      steps that nothing waits for go where they cost least   graph/memory.py
    spare      once more, with values computed again, if memory is short
    plan       temporary buffers share one arena
"""
from __future__ import annotations

import struct
import sys
from typing import Any

from .. import config
from ..dtypes import bool_
from ..kernels.cpu import attention, codegen, contraction, executor, recurrence, scans, templates
from ..kernels.cpu.codegen import Access, GroupView
from .compiled import MAX_SLOTS, CompiledProgram, HostCall, KernelStep
from .groups import Group, direct, layout, use_axes
from .ir import Value
from .lower import ALIASES, attend_operands, lower
from .memory import PAST_CACHES, Buffer, Work, order, peak, plan_arena, regions, spare
from .record import contiguous_strides, count
from .schedule import schedule
from .straighten import straighten


def build(program) -> CompiledProgram:
    values, wanted = lower(program)
    works, places = arrange(program, values, wanted)
    if peak(works)[1] > PAST_CACHES and (more := spare(values, works, places.buffers)) is not None:
        leaner, its_places = arrange(program, more, wanted)
        if peak(leaner)[1] < peak(works)[1]:
            works, places = leaner, its_places
    works = places.settle_homes(works)
    arena = plan_arena(works)
    steps, calls = finish(works)
    if config.debug:
        report(program, works, arena)
    return CompiledProgram(steps, calls, arena, places.outputs(program), len(program.leaves), places.prepared)


def arrange(program, values: list[Value], wanted: list[Value]) -> tuple[list[Work], Places]:
    """Steps in order, and where their values live."""
    plan = schedule(values, wanted)
    if straighten(values, plan):
        plan = schedule(values, wanted)
    places = Places(program, plan, wanted)
    works = [w for step in plan.steps for w in works_for(step, places)]
    return order(works, places.leaves), places


# -- buffers -----------------------------------------------------------------------------------------------------------
class Places:
    """Where every stored value lives."""

    def __init__(self, program, plan, wanted):
        self.buffers: dict[Value, Buffer] = {}
        self.plan, self.program, self.wanted = plan, program, wanted
        leaf_of = {s.index: i for i, s in enumerate(program.leaves)}
        self.leaves = [Buffer("leaf", i, 0, program.constants.get(s.index)) for i, s in enumerate(program.leaves)]
        self.prepared: list[KernelStep] = []        # what runs once
        self.result: list[Buffer] = []
        self.final: list[Buffer] = []           # where each result ends up
        for i, (v, (_, home)) in enumerate(zip(wanted, program.wanted)):
            b = Buffer("out", i, v.numel * v.dtype.itemsize) if home < 0 else Buffer("home", leaf_of[home], v.numel * v.dtype.itemsize)
            self.buffers[v] = b
            self.result.append(b)

    def of(self, v: Value) -> Buffer:
        if v.kind == "input":
            return self.leaves[v.attrs[0]]
        if v.attrs and v.attrs[0] == "into":
            return self.of(v.attrs[1])
        b = self.buffers.get(v)
        if b is None:
            b = self.buffers[v] = Buffer("arena", len(self.buffers), v.numel * v.dtype.itemsize)
        return b

    def outputs(self, program) -> list[tuple]:
        """For each wanted result: the leaf whose buffer it is, or its dtype and length."""
        return [(b.number, None, 0) if b.kind == "leaf" else (-1, v.dtype.np, v.numel) for b, v in zip(self.final, self.wanted)]

    def settle_homes(self, works: list[Work]) -> list[Work]:
        """Decide which in-place results may be written straight into their leaf; the others are copied at the end. Returns all steps."""
        touching: dict[Buffer, list[tuple[int, Work]]] = {}
        for i, w in enumerate(works):
            for b in {*w.reads, *w.writes}:
                touching.setdefault(b, []).append((i, w))
        added, idle_ones = [], set()
        # what may raise an error comes before what overwrites a leaf: a run that fails leaves everything as it was
        safe = max((i for i, w in enumerate(works) if w.raises), default=-1)
        for b, v in zip(self.result, self.wanted):
            if b.kind != "home":
                self.final.append(b)
                continue
            leaf = self.leaves[b.number]
            mine = sorted([*touching.get(leaf, ()), *touching.get(b, ())], key=lambda entry: entry[0])
            idle = [w for _, w in mine if is_self_copy(w, leaf, b)]
            active = [(i, w) for i, w in mine if w not in idle]
            first = min((i for i, w in active if b in w.writes), default=None)
            may = first is None or first > safe
            if may and all(first is None or i < first or (i == first and in_step(w, leaf, b)) for i, w in active if leaf in w.reads):
                for w in {w for _, w in mine}:
                    substitute(w, b, leaf)
                idle_ones.update(idle)
            else:
                b.kind = "arena"
                added.append(copy_work(v, b, leaf))
            self.final.append(leaf)
        return [w for w in works if w not in idle_ones] + added


def is_self_copy(w: Work, leaf: Buffer, target: Buffer) -> bool:
    """The first store of a partial in-place update: the old contents into the new buffer, which will be the same one."""
    if len(w.values) != 1 or w.values[0].name != "copy" or w.reads != [leaf] or w.writes != [target]:
        return False
    (_, read, _, _), (_, write, _, _) = w.accesses
    return read.strides == write.strides and read.offset == write.offset and read.dtype == write.dtype


def in_step(w: Work, leaf: Buffer, target: Buffer) -> bool:
    """Does the step that writes the leaf's new value read the old one at the same places only, and each before it is written?"""
    mine = [(a, again) for b, a, _, again in w.accesses if b in (leaf, target)]
    if len(mine) < 2:
        return False
    first = mine[0][0]
    return all(a.strides == first.strides and a.offset == first.offset and not again for a, again in mine)


def substitute(w: Work, old: Buffer, new: Buffer) -> None:
    """Let a step use another buffer."""
    w.reads = [new if b is old else b for b in w.reads]
    w.writes = [new if b is old else b for b in w.writes]
    if w.kernel is not None:
        w.kernel.words = [("buffer", new, *x[2:]) if x[0] == "buffer" and x[1] is old else x for x in w.kernel.words]
    w.accesses = [(new if b is old else b, a, write, again) for b, a, write, again in w.accesses]


def copy_work(v: Value, source: Buffer, target: Buffer) -> Work:
    n, dtype = v.numel, v.dtype.name
    from .ir import Builder
    b = Builder()
    x = b.input(0, (n,), v.dtype)
    c = b.add("map", "copy", (x,), (n,), v.dtype)
    read, write = Access(source, dtype, 0, {0: 1}), Access(target, dtype, 0, {0: 1})
    view = GroupView([c], {c: (0,)}, {}, [n], [0], (), (), {(c, 0): read}, [(c, write)])
    return Work(c, codegen.generate(view), [source], [target], [], [c])


# -- work --------------------------------------------------------------------------------------------------------------
def works_for(step, places: Places) -> list[Work]:
    """A step's kernel, after the one that prepares an operand of it, if there is one that has to run every time."""
    work = work_for(step, places)
    if work is None or work.kernel is None or work.kernel.before is None:
        return [] if work is None else [work]
    kernel, size = work.kernel.before
    read = {id(x[1]): x[1] for x in kernel.words if x[0] == "buffer"}
    constant = all(b.constant is not None for b in read.values())
    prepared = Buffer("kept" if constant else "arena", -1, size)
    for k in (kernel, work.kernel):
        k.words = [("buffer", prepared, 0, "bytes") if x == ("prepared",) else x for x in k.words]
    if constant:
        places.prepared.append(KernelStep(kernel, 1, [], [], False))
        return [work]
    first = Work(step, kernel, [b for b in work.reads if id(b) in read], [prepared], [], [])
    first.accesses = [x for x in work.accesses if x[0] in first.reads and not x[2]]
    work.reads.append(prepared)
    return [first, work]


def work_for(step, places: Places) -> Work | None:
    if isinstance(step, Group):
        return group_work(step, places)
    if step.kind == "place":
        places.of(step)
        return None
    return WORK[step.kind](step, places)


def base_of(v: Value) -> tuple[Value, list[Value]]:
    chain = []
    while v.kind in ALIASES:
        chain.append(v)
        v = v.args[0]
    return v, chain


def group_work(g: Group, places: Places) -> Work:
    nodes = sorted(g.nodes, key=lambda v: v.index)
    reads: dict[tuple, Access] = {}
    inline: dict[tuple, Value] = {}
    work = Work(g, values=nodes)
    stages = bool(g.reduced)
    for v in nodes:
        for k, a in enumerate(v.args if v is not g.core else ()):
            base, chain = base_of(a)
            if base.kind in ("const", "scalar", "iota"):
                inline[(v, k)] = base
                continue
            if base in g.nodes and direct(v, k, chain) and use_axes(g, (v, k, chain)) == g.nodes[base]:
                inline[(v, k)] = base
                continue
            buffer = places.of(base)
            if v.kind == "take" and k == 0:
                access = Access(buffer, base.dtype.name, 0, {-1: a.numel})
                strides, offset = layout(a)
                assert a.kind != "view", "a take's table is contiguous"
            else:
                strides, offset = layout(a)
                axes = codegen.operand_axes(AxesOf(g), v, k, a.shape)
                by_axis: dict[int, int] = {}
                for axis, s, n in zip(axes, strides, a.shape):
                    if axis is not None and n != 1:
                        by_axis[axis] = by_axis.get(axis, 0) + s
                access = Access(buffer, base.dtype.name, offset, {x: s for x, s in by_axis.items() if s})
            reads[(v, k)] = access
            work.reads.append(buffer)
            work.accesses.append((buffer, access, False, v.kind == "take" or (stages and bool(set(access.strides) & {*g.reduced, *g.inner}))))
    writes = []
    for v in nodes:
        if v not in places.plan.stored:
            continue
        into = v.attrs and v.attrs[0] == "into"
        strides, offset = (v.attrs[2], v.attrs[3]) if into else (contiguous_strides(v.shape), 0)
        buffer = places.of(v)
        by_axis = {axis: s for axis, s, n in zip(g.nodes[v], strides, v.shape) if axis is not None and n != 1}
        access = Access(buffer, v.dtype.name, offset, {x: s for x, s in by_axis.items() if s})
        writes.append((v, access))
        work.writes.append(buffer)
        work.accesses.append((buffer, access, True, stages and bool(set(access.strides) & {*g.reduced, *g.inner})))
    view = GroupView(nodes, dict(g.nodes), dict(g.reduce_axes), list(g.sizes), list(g.order), g.reduced, g.inner, reads, writes, inline)
    work.kernel = codegen.generate(view) if g.core is None else contraction_kernel(g, view, work, places)
    return work


def contraction_kernel(g: Group, view: GroupView, work: Work, places: Places) -> codegen.Kernel:
    """The kernel of a group whose first value is a contraction, which reads its two operands with any strides."""
    core: Any = g.core
    sizes: dict[Any, int] = {}
    strides: list[dict] = []
    accesses: list[Access] = []
    for a, own in zip(core.args, core.attrs):
        steps, offset = layout(a)
        sizes.update(zip(own, a.shape))
        strides.append(dict(zip(own, steps)))
        base = base_of(a)[0]
        buffer = places.of(base)
        access = Access(buffer, base.dtype.name, offset, {}, buffer.constant is not None)
        accesses.append(access)
        work.reads.append(access.buffer)
        work.accesses.append((access.buffer, access, False, True))
    c = contraction.Contraction.of(accesses[0], accesses[1], core.attrs, sizes, (strides[0], strides[1]), g.nodes[core], core.dtype.name)
    return contraction.generate(view, core, c, min(executor.get_num_threads(), MAX_SLOTS))


class AxesOf:
    """What codegen.operand_axes asks of a group."""

    def __init__(self, g: Group):
        self.axes_of, self.reduce_axes = g.nodes, g.reduce_axes


def word(buffer: Buffer, v: Value, offset: int = 0) -> tuple:
    return ("buffer", buffer, offset, v.dtype.name)


def scan_work(v: Value, places: Places) -> Work:
    dim, = v.attrs
    n = v.shape[dim] if v.shape else 1
    inner = count(v.shape[dim + 1:])
    x, out = places.of(base_of(v.args[0])[0]), places.of(v)
    words = [word(x, v.args[0]), word(out, v)]
    return Work(v, scans.scan(v.name, v.dtype.name, words, v.numel // max(n * inner, 1), n, max(inner, 1)), [x], [out], [], [v])


def scatter_work(v: Value, places: Places) -> Work:
    _, index, value = v.args
    i, x, out = places.of(base_of(index)[0]), places.of(base_of(value)[0]), places.of(v)
    words = [word(i, index), word(x, value), word(out, v), ("int", index.numel), ("int", v.numel), ("errors",)]
    width = value.numel // max(index.numel, 1)
    check = Work(v, templates.check(words, width), [i])
    return Work(v, templates.scatter(v.name, v.dtype.name, words, index.numel, width), [i, x, out], [out], [], [v], check)


def attend_work(v: Value, places: Places) -> Work | None:
    """The kernel of an attention, forward or back."""
    causal, which = v.attrs
    if which:
        return None
    named = attend_operands(v.kind, v.args)
    scale, mask = named.pop("scale"), named.get("mask")
    batch, steps = attend_batch(named)
    operands, reads = {}, []
    for name, a in named.items():
        buffer = places.of(base_of(a)[0])
        reads.append(buffer)
        operands[name] = (word(buffer, a, layout(a)[1]), *steps.get(name, ()))
    q, k, v_ = named["q"], named["k"], named["v"]
    problem = attention.Problem(v.dtype.name, batch, q.shape[-2], k.shape[-2], q.shape[-1], v_.shape[-1], causal,
                                None if mask is None else "bool" if mask.dtype is bool_ else "float", v.shape[0] if v.kind == "attend_back" else 1)
    values = results_of(v, places)
    back = v.kind == "attend_back"
    names = ("dq", "dk", "dv") if back else ("out", "lse")
    # a result that nobody reads is written all the same, to a temporary buffer
    shapes = attend_shapes(problem, v)
    found = {r.attrs[-1]: places.of(r) for r in values}
    writes = [found.get(i) or Buffer("arena", -1, count(shape) * v.dtype.itemsize) for i, shape in enumerate(shapes)]
    results = {name: word(b, v) for name, b in zip(names, writes)}
    generate = attention.backward if back else attention.forward
    number = ("scalar", scale.attrs[0], True) if scale.kind == "scalar" else ("int", float_bits(scale.attrs[0]))
    return Work(v, generate(problem, operands, results, number, min(executor.get_num_threads(), MAX_SLOTS)), reads, writes, [], values)


def attend_shapes(p: attention.Problem, v: Value) -> list[tuple]:
    if v.kind == "attend":
        return [v.shape, v.shape[:-1]]
    return [v.shape, (*p.batch, p.keys, p.width), (*p.batch, p.keys, p.value_width)]


def attend_batch(named: dict[str, Value]) -> tuple[tuple[int, int, int], dict[str, tuple]]:
    """The batch dimensions of an attention, as (batch, groups of heads, heads of a group), and the strides of operands along them and their rows."""
    shapes = {name: ((1, 1, *a.shape)[-4:], (0, 0, *layout(a)[0])[-4:]) for name, a in named.items() if name not in ("lse", "delta")}
    n = max(shape[0] for shape, _ in shapes.values())
    heads = max(shape[1] for shape, _ in shapes.values())
    groups = next((shape[1] for shape, _ in shapes.values() if shape[1] not in (1, heads)), 1)
    each = heads // groups
    steps = {}
    for name, (shape, (along, head, row, _)) in shapes.items():
        of_heads = (0, 0) if shape[1] == 1 else (head * each, head) if shape[1] == heads else (head, 0)
        steps[name] = ((along if shape[0] != 1 else 0, *of_heads, row if shape[2] != 1 else 0),)
    return (n, groups, each), steps


def recur_work(v: Value, places: Places) -> Work | None:
    """A loop over time."""
    step, which = v.attrs
    if which:
        return None
    steps, rows = v.shape[:2]
    width = v.shape[2] // len(step.results[0])
    values = results_of(v, places)
    found = {r.attrs[-1]: places.of(r) for r in values}
    reads = [places.of(base_of(a)[0]) for a in v.args]
    size = rows * width * v.dtype.itemsize
    needed = {step.fed, *(s[1] for s in step.sources if s[0] == "previous")}
    results: list = []
    for q, parts in enumerate(step.results):        # a result that nobody reads is not written, unless the next step needs it
        results.append(found.get(q) or (Buffer("arena", -1, steps * len(parts) * size) if q in needed else None))
    finals = [found.get(len(results) + k) or Buffer("arena", -1, size) for k in range(len(step.finals))]
    blocks = tuple(a.shape[0 if k == step.weights else -1] // width for k, a in enumerate(v.args))
    problem = recurrence.Problem(step, v.dtype.name, steps, rows, width, blocks, tuple(len(places) for places in step.results))
    kernel = recurrence.generate(problem, [word(b, a) for b, a in zip(reads, v.args)], [b and word(b, v) for b in results],
                                 [word(b, v) for b in finals], min(executor.get_num_threads(), MAX_SLOTS))
    return Work(v, kernel, reads, [b for b in (*results, *finals) if b], [], values)


def float_bits(x: float) -> int:
    return struct.unpack("q", struct.pack("d", x))[0]


def results_of(v: Value, places: Places) -> list[Value]:
    """A step with several results, and the others that something reads."""
    return [v] + [c for c in places.plan.steps if isinstance(c, Value) and c.kind == v.kind and c.attrs[-1] and c.args[0] is v]


def call_work(v: Value, places: Places) -> Work | None:
    op, attrs, metas, which = v.attrs
    if which:
        return None
    results = results_of(v, places)
    reads = [places.of(base_of(a)[0]) for a in v.args]
    writes = [places.of(r) for r in results]
    return Work(v, None, reads, writes, [], results)


WORK = {"call": call_work, "scan": scan_work, "scatter": scatter_work, "attend": attend_work, "attend_back": attend_work,
        "recur": recur_work}


# -- steps with final words --------------------------------------------------------------------------------------------
def finish(works: list[Work]) -> tuple[list, list]:
    """Steps with final words; host calls with their operands."""
    steps: list = []
    spans = regions(works)
    for i, w in enumerate(works):
        if w.kernel is not None:
            past = not any(b in w.reads for b in w.writes)      # what is updated in place was read anyway
            w.kernel.words = [("int", int(past and x[1] >= PAST_CACHES)) if x[0] == "stream" else x for x in w.kernel.words]
            region = spans[i][1] - spans[i][0] + 1 if spans[i][0] == i else 0
            final = any(b.kind == "leaf" for w in works[i : i + region] for b in w.writes)
            steps.append(KernelStep(w.kernel, region, [v.line for v in w.values if v.line], w.values, final))
        else:
            steps.append(host_call(w))
    return steps, [s for s in steps if isinstance(s, HostCall)]


def host_call(w: Work) -> HostCall:
    v = w.make
    op, (pattern, attrs), metas, _ = v.attrs
    operands: list[tuple] = []
    k = 0
    for p in pattern:
        if p is None:
            operands.append(("none",))
        elif p == "value":
            a = v.args[k]
            operands.append(("buffer", w.reads[k], a.shape, a.dtype.np))
            k += 1
        else:
            operands.append(p)
    results = [(b, r.attrs[3], r.shape, r.dtype.np) for b, r in zip(w.writes, w.values)]
    return HostCall(op, operands, attrs, results, v.line)


def report(program, works: list[Work], arena: int) -> None:
    """What JITORCH_DEBUG shows of a new program."""
    lines = [f"jitorch: program of {len(program.steps)} steps: {sum(w.kernel is not None for w in works)} kernels, "
             f"{sum(w.kernel is None for w in works)} calls, {arena / 1e6:.1f} MB of temporaries"]
    if config.debug >= 2:
        for w in works:
            names = " ".join(v.name or v.kind for v in w.values[:12])
            lines.append(f"  {w.kernel.name if w.kernel else 'call':7s} {w.kernel.units if w.kernel else '':>9} units  {names}")
            if config.debug >= 3 and w.kernel:
                lines.append("\n".join("      " + x for x in w.kernel.listing.splitlines()))
    print("\n".join(lines), file=sys.stderr)



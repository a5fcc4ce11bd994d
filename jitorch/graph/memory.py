"""The order of a program's steps, and what memory its temporaries take.

    order     steps that nothing waits for go last, equal ones side by side; in large programs as soon as they can, since they hold what they read
    spare     values that would wait long for their last readers, and are soon computed again there instead
    plan      temporary buffers share one arena, packed by when they are needed

Only a program whose temporaries are more than caches hold is ordered for memory and computes values again: below that, time is all that counts.
"""
from __future__ import annotations

from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any

from ..kernels.cpu.codegen import Access
from .groups import AGAIN, FUSABLE, under
from .ir import Value
from .lower import ALIASES, SOURCES
from .schedule import uses_of

ALIGN = 64
PAST_CACHES = 1 << 25       # bytes of a kernel's operands and results of which caches keep too little for the next one; of temporaries, too
LIGHT = PAST_CACHES >> 8    # bytes that a step may hold for as long as it likes
REPEATED = 16               # maps that are computed again for one value
SMALL = 16                  # how many times smaller a buffer is than another one beside which it counts as nothing


@dataclass(eq=False)
class Buffer:
    """Memory of a value: a leaf's, a result's, or a part of the arena."""

    kind: str                   # "leaf", "out", "arena"; "home": a result that is to be in a leaf's memory; "kept": what is prepared of constants
    number: int                 # which leaf or result
    bytes: int
    constant: Any = None        # a leaf's contents, where they are the same in every run
    offset: int = 0             # in the arena
    first: int = -1             # steps between which it is needed
    last: int = -1


@dataclass(eq=False)
class Work:
    """One step in the making: a kernel or a host call, what it reads and writes."""

    make: Any                   # Group or Value
    kernel: Any = None          # a Kernel; None for a host call
    reads: list[Buffer] = field(default_factory=list)
    writes: list[Buffer] = field(default_factory=list)
    accesses: list[tuple[Buffer, Access, bool, bool]] = field(default_factory=list)   # buffer, access, is it a write, is it in a loop that others follow
    values: list[Value] = field(default_factory=list)
    check: Work | None = None   # looks for what makes this one fail, and may run long before it
    checked: bool = False       # it did

    @property
    def raises(self) -> bool:
        """Whether it may find that the run has to fail."""
        return not self.checked and (self.kernel is None or ("errors",) in self.kernel.words)


# -- order -------------------------------------------------------------------------------------------------------------
def order(works: list[Work], leaves: list[Buffer]) -> list[Work]:
    """Steps that nothing waits for go to the end, equal kernels side by side (an optimizer's update of many parameters)."""
    read = {b for w in works for b in w.reads}
    stores: dict[Buffer, int] = {}
    for w in works:
        for b in w.writes:
            stores[b] = stores.get(b, 0) + 1
    sinks: list[Work] = []
    rest: list[Work] = []
    for w in works:
        last = w.kernel is not None and all(b not in read and stores[b] == 1 for b in w.writes)
        (sinks if last else rest).append(w)
    late = rest + side_by_side(sinks)
    return late if peak(late)[1] <= PAST_CACHES else early(rest, sinks, leaves)


def side_by_side(works: list[Work]) -> list[Work]:
    by_source: dict[str, list[Work]] = {}
    for w in works:
        by_source.setdefault(w.kernel.source, []).append(w)
    return [w for group in by_source.values() for w in group]


def early(rest: list[Work], sinks: list[Work], leaves: list[Buffer]) -> list[Work]:
    """As soon as a step that holds much has all that it reads, and nothing needs the old contents of leaves that it overwrites any more."""
    rest = with_checks(rest)
    written = {b: i for i, w in enumerate(rest) for b in w.writes}
    read = {b: i for i, w in enumerate(rest) for b in w.reads}
    safe = max((i for i, w in enumerate(rest) if w.raises), default=-1)      # see settle_homes in build.py
    after: dict[int, list[Work]] = {}
    for w in sinks:
        places = [len(rest)]
        if sum(b.bytes for b in set(w.reads) if b.kind == "arena") > LIGHT:
            homes = [b for b in w.writes if b.kind == "home"]
            places = [written.get(b, -1) for b in w.reads] + [read.get(leaves[b.number], -1) for b in homes] + [safe] * bool(homes)
        after.setdefault(max(places), []).append(w)
    found = side_by_side(after.pop(-1, []))
    for i, w in enumerate(rest):
        found += [w, *side_by_side(after.pop(i, []))]
    return found + side_by_side(after.pop(len(rest), []))


def with_checks(works: list[Work]) -> list[Work]:
    """Errors are looked for as early as can be, so that what overwrites leaves need not wait."""
    written = {b: i for i, w in enumerate(works) for b in w.writes}
    after: dict[int, list[Work]] = {}
    for w in works:
        if w.check is not None:
            w.checked = True
            after.setdefault(max(written.get(b, -1) for b in w.check.reads), []).append(w.check)
    return [*after.get(-1, []), *(x for i, w in enumerate(works) for x in (w, *after.get(i, [])))]


# -- values computed again -----------------------------------------------------------------------------------------------
def spare(values: list[Value], works: list[Work], buffers: dict[Value, Buffer]) -> list[Value] | None:
    """The program with some values computed a second time where they are read late, so that their memory is free in between, when memory
    is short. None where there are none.

    Such a value is made by maps from what is in memory at that time anyway. The same maps of the same operands give the same bits.
    """
    live, most = peak(works)
    events: dict[Buffer, list[int]] = {}
    computed: dict[Value, list[int]] = {}
    for i, w in enumerate(works):
        for b in {*w.reads, *w.writes}:
            events.setdefault(b, []).append(i)
        for v in w.values:
            computed.setdefault(v, []).append(i)
    late: dict[Value, int] = {}             # what is computed again, and from which step on
    last = {v: events[b][-1] for v, b in buffers.items() if b in events}
    for v in values:
        mine = buffers.get(v)
        if v.kind == "map" and not v.attrs and mine is not None and mine.kind == "arena" and mine.bytes * 256 > most and mine in events:
            step = after_pause(events[mine], live, most)
            if step is not None and can_repeat(v, step, late, buffers, last):
                late[v] = step
    return repeated(values, late, computed, buffers, last) if late else None


def after_pause(events: list[int], live: list[int], most: int) -> int | None:
    """A step near the end of the longest time in which nothing touches a buffer, if much memory is needed meanwhile."""
    pauses = [(q - p, q) for p, q in zip(events, events[1:]) if max(live[p + 1:q], default=0) * 4 > most * 3]
    length, end = max(pauses, default=(0, None))
    return None if end is None else end - length // 4


def at_hand(v: Value, step: int, size: int, late: dict[Value, int], buffers: dict[Value, Buffer], last: dict[Value, int]) -> bool:
    """Whether a value is in memory at that step, or may be: it is small beside what is to be computed from it."""
    if v.kind in SOURCES:
        return True
    b = buffers.get(v)
    return b is not None and v not in late and (b.kind != "arena" or last.get(v, -1) >= step or b.bytes * SMALL <= size)


def can_repeat(v: Value, step: int, late, buffers, last) -> bool:
    """Whether few maps make v from what is at hand at a step."""
    stack, seen = [v], {v}
    while stack:
        for a in stack.pop().args:
            a = under(a)
            if a in seen or at_hand(a, step, buffers[v].bytes, late, buffers, last):
                continue
            if a.kind != "map" or a.name == "philox" or a.attrs or len(seen) >= REPEATED:
                return False            # random bits take as long as everything else
            seen.add(a)
            stack.append(a)
    return True


def repeated(values: list[Value], late, computed, buffers, last) -> list[Value]:
    """The program in which late readers read a second version. Those that can compute it in their own loops have one of their own."""
    uses = uses_of(values)
    wants: dict[Value, list[tuple]] = {}         # a late reader: which operand, of what size and from which step on
    both: dict[Value, set[Value]] = {}           # for each value of `late`, itself and cheap maps of it that kernels of both times compute
    for v, step in late.items():
        both[v] = {v}
        stack = [v]
        while stack:
            for c, k, _ in uses[stack.pop()]:
                times = computed.get(c, [])
                if times and times[0] >= step:
                    wants.setdefault(c, []).append((k, v))
                elif times and times[-1] >= step and c not in both[v]:
                    both[v].add(c)
                    stack.append(c)
    versions: dict[tuple, Value] = {}
    found: list[Value] = []

    def version(a: Value, v: Value, key) -> Value:
        """The second version of an operand, for the sake of v."""
        if a not in both[v] and a.kind not in ALIASES and at_hand(a, late[v], buffers[v].bytes, late, buffers, last):
            return a
        made = versions.get((a, key))
        if made is None:
            args = tuple(version(x, v, key) for x in a.args)
            if a.kind in ALIASES and args == a.args:
                return a
            made = versions[a, key] = Value(a.builder, a.kind, a.name, args, a.shape, a.dtype, AGAIN if a.kind == "map" else a.attrs)
            made.line = a.line
            found.append(made)
        return made
    for c in values:
        if c in wants:
            args = list(c.args)
            for k, v in wants[c]:
                args[k] = version(args[k], v, computed[c][0] if c.kind in FUSABLE and c.kind != "take" else None)
            c.args = tuple(args)
        found.append(c)
    for i, v in enumerate(found):
        v.index = i
    return found


# -- memory ------------------------------------------------------------------------------------------------------------
def peak(works: list[Work]) -> tuple[list[int], int]:
    """Bytes of temporaries that are needed at each step, and the most of them."""
    first: dict[Buffer, int] = {}
    last: dict[Buffer, int] = {}
    changes = [0] * (len(works) + 1)
    for i, w in enumerate(works):
        for b in (*w.reads, *w.writes):
            if b.kind == "arena":
                first.setdefault(b, i)
                last[b] = i
        if w.kernel is not None:
            changes[i] += w.kernel.scratch
            changes[i + 1] -= w.kernel.scratch
    for b, i in first.items():
        changes[i] += b.bytes
        changes[last[b] + 1] -= b.bytes
    live = list(accumulate(changes[:-1]))
    return live, max(live, default=0)


def plan_arena(works: list[Work]) -> int:
    """When each temporary buffer is needed, and its place in the arena. Returns the arena's size."""
    buffers: list[Buffer] = []
    for i, w in enumerate(works):
        for b in [*w.reads, *w.writes]:
            if b.kind == "arena":
                if b.first < 0:
                    b.first = i
                    buffers.append(b)
                b.last = i
    # the partial results of a kernel live during that step only; steps of one region run together
    scratch = []
    region_of = regions(works)
    for i, w in enumerate(works):
        if w.kernel is not None and w.kernel.scratch:
            s = Buffer("arena", -1, w.kernel.scratch, first=region_of[i][0], last=region_of[i][1])
            w.kernel.words = [("buffer", s, x[1], "bytes") if x[0] == "scratch" else x for x in w.kernel.words]
            scratch.append(s)
    for b in buffers:
        b.first, b.last = region_of[b.first][0], region_of[b.last][1]
    return pack([*buffers, *scratch])


def pack(buffers: list[Buffer]) -> int:
    """Offsets for buffers that are needed between their first and last steps: each takes the smallest gap among those alive at the same time.
    Returns the size of what holds them all."""
    alive: list[Buffer] = []
    size = 0
    for b in sorted(buffers, key=lambda b: b.first):
        alive = [x for x in alive if x.last >= b.first]
        need = -(-max(b.bytes, 1) // ALIGN) * ALIGN
        at, best = 0, None
        for x in sorted(alive, key=lambda x: x.offset):
            gap = x.offset - at
            if gap >= need and (best is None or gap < best[0]):
                best = (gap, at)
            at = max(at, x.offset + -(-max(x.bytes, 1) // ALIGN) * ALIGN)
        b.offset = at if best is None else best[1]
        size = max(size, b.offset + need)
        alive.append(b)
    return size


def regions(works: list[Work]) -> list[tuple[int, int]]:
    """For each step the first and last step of the region it runs in: neighbours with one source that don't touch each other's results."""
    spans: list[tuple[int, int]] = []
    i = 0
    while i < len(works):
        j = i + 1
        if works[i].kernel is not None:
            touched = {id(b) for b in works[i].writes}
            read = {id(b) for b in works[i].reads}
            while (j < len(works) and works[j].kernel is not None and works[j].kernel.source == works[i].kernel.source
                   and not any(id(b) in touched for b in [*works[j].reads, *works[j].writes]) and not any(id(b) in read for b in works[j].writes)):
                touched |= {id(b) for b in works[j].writes}
                read |= {id(b) for b in works[j].reads}
                j += 1
        spans += [(i, j - 1)] * (j - i)
        i = j
    return spans

"""What a traced callable did, for people: `explain()`, `code()`, `draw()`."""

from __future__ import annotations

import math
from collections import Counter
from html import escape
from pathlib import Path
from typing import Any

from ..graph.build import build
from ..graph.compiled import KernelStep
from ..graph.lower import lower
from ..graph.measure import Cost
from ..graph.program import Program
from .capture import Read, Run
from .replay import Branch, Capture

MOST = 12       # of anything in one line


def explain(traced: Any) -> str:
    """Captures, guards, why calls were captured again or run as Python, and the programs with their kernels."""
    captures = traced.captures
    lines = [f"{traced!r}: {traced.calls} calls, {traced.replays} replayed, {sum(count(c.root) for c in captures)} paths captured "
             f"under {len(captures)} sets of guards"]  # fmt: skip
    numbers: dict[Program, int] = {}
    for key, entry in traced.entries.items():
        lines.append(f"signature {signature(key)}:")
        if not entry.captures:
            lines.append(f"  runs as Python: {entry.reason or 'called once so far'}" + ("" if entry.failures >= traced.attempts else " (tried again)"))
        for n, capture in enumerate(entry.captures, 1):
            if capture.eager is not None:
                lines.append(f"  capture {n} runs as Python: {capture.eager}")
                continue
            lines.append(f"  capture {n}: replayed {capture.replays} times; {len(capture.watched)} guards looked at in each call, "
                         f"{len(capture.announced)} when something announces a change")  # fmt: skip
            lines.append(f"    guards: {some([c.name for c in capture.watched])}")
            lines += branch_lines(capture.root, numbers, "    ")
    for key, general in traced.general.items():
        for n, capture in enumerate(general.captures, 1):
            lines.append(f"signature {signature(key)}, general in its numbers:")
            lines.append(f"  capture {n}: replayed {capture.replays} times; {len(capture.watched)} guards looked at in each call, {capture.facts} on numbers")
            lines += branch_lines(capture.root, numbers, "    ")
    for program, n in numbers.items():
        lines += program_lines(program, n)
    if traced.history:
        lines.append("history:")
        lines += [f"  {h}" for h in traced.history]
    return "\n".join(lines)


def signature(key: tuple) -> str:
    grad, inference, autocast, _, *rest = key
    modes = "" if grad else " in inference mode" if inference else " without grad"
    return f"({', '.join(shown(k) for k in rest)}){modes}{' with autocast' if autocast else ''}"


def shown(k: Any) -> str:
    if isinstance(k, tuple) and k and isinstance(k[0], tuple) and len(k) > 4:
        return f"{k[1].name}[{', '.join(map(str, k[0]))}]"
    if isinstance(k, tuple) and k and isinstance(k[0], type):
        values = k[1:]
        return f"{k[0].__name__}({', '.join(shown(v) for v in values)})"
    if isinstance(k, tuple):
        return f"({', '.join(shown(v) for v in k)})"
    return k.__name__ if isinstance(k, type) else str(k)


def some(names: list[str]) -> str:
    names = list(dict.fromkeys(names))
    return ", ".join(names[:MOST]) + (f", and {len(names) - MOST} more" if len(names) > MOST else "")


def count(branch: Branch) -> int:
    return int(branch.ending is not None) + sum(count(b) for b in branch.children.values())


def branch_lines(branch: Branch, numbers: dict[Program, int], indent: str) -> list[str]:
    lines, kinds = [], Counter(type(e).__name__.lower() for e in branch.events if not isinstance(e, Run))
    for event in branch.events:
        if isinstance(event, Run):
            lines.append(f"{indent}runs program {numbers.setdefault(event.program, len(numbers) + 1)}")
    if kinds:
        lines.append(f"{indent}and again: {', '.join(f'{n} x {k}' for k, n in kinds.items())}")
    read: Read | None = branch.read
    if read is not None and read.returned is not None:
        lines.append(f"{indent}reads a value that is returned")
    elif read is not None:
        lines.append(f"{indent}reads {read.look.meta.dtype.name}{list(read.look.meta.shape)} into Python:")
    for key, child in branch.children.items():
        if read is not None and read.returned is None:
            import numpy as np

            lines.append(f"{indent}if it is {np.frombuffer(key, read.look.meta.dtype.np).tolist()}:")
        lines += branch_lines(child, numbers, indent + ("" if read is not None and read.returned else "  "))
    return lines


def program_lines(program: Program, number: int) -> list[str]:
    cost = compiled(program)
    flops = sum(flops_of(v) for v in lower(program)[0])
    lines = [f"program {number}: {len(program.steps)} operations, {cost.kernels} kernels, {cost.bytes:,} bytes, {flops:,} floating point operations"]
    for step in cost.steps:
        if isinstance(step, KernelStep):
            ops = Counter(v.name or v.kind for v in step.values)
            text = some([f"{n} x {k}" if n > 1 else k for k, n in ops.items()])
            lines.append(f"  {step.kernel.name}: {text}" + (f"  ({some(step.lines)})" if step.lines else ""))
        else:
            lines.append(f"  call of {step.op.name}" + (f"  ({step.line})" if step.line else ""))
    return lines


def compiled(program: Program) -> Cost:
    """A program's cost, with its kernels planned if they are not yet."""
    if program.compiled is None:
        program.compiled = build(program)
    return Cost(program)


def flops_of(v: Any) -> int:
    if v.kind == "contract":
        (of_a, of_b, _), (a, b) = v.attrs, v.args
        sizes = {**dict(zip(of_b, b.shape, strict=True)), **dict(zip(of_a, a.shape, strict=True))}
        return 2 * math.prod(sizes.values())
    if v.kind == "map" and v.dtype.is_floating_point:
        return v.numel
    if v.kind in ("reduce", "scan"):
        return v.args[0].numel
    return 0


def programs_of(traced: Any) -> list[Program]:
    """Every program of every path once."""
    found: dict[Program, None] = {}
    stack = [c.root for c in traced.captures]
    while stack:
        branch = stack.pop()
        found.update(dict.fromkeys(e.program for e in branch.events if isinstance(e, Run)))
        stack.extend(branch.children.values())
    return list(found)


def code(traced: Any) -> str:
    """The source of every kernel, each under the lines of the user's that it computes."""
    parts = []
    for number, program in enumerate(programs_of(traced), 1):
        parts.append(f"# program {number}: {len(program.steps)} operations")
        seen: dict[str, list[str]] = {}
        for step in compiled(program).steps:
            if isinstance(step, KernelStep):
                seen.setdefault(step.kernel.listing, []).extend(step.lines)
            else:
                parts.append(f"# call of {step.op.name}")
        parts += [f"# {some(lines)}\n{source}" for source, lines in seen.items()]
    return "\n\n".join(parts)


# -- a picture ---------------------------------------------------------------------------------------------------------
WIDE, HIGH, GAP = 168, 46, 26
COLOURS = {"input": "#dfe8f5", "result": "#dff0df", "kernel": "#fff4d6", "call": "#f6dfdf"}


def draw(traced: Any, file: Any, capture: Capture | None = None) -> str:
    """Write the first capture (or the one given) as SVG: kernels with what they compute, in layers from the inputs to the results.

    file: a path, or None. Returns the text. RuntimeError where nothing is captured."""
    captures = [capture] if capture is not None else traced.captures
    runs = [e for c in captures[:1] for e in first_path(c.root) if isinstance(e, Run)]
    if not runs:
        raise RuntimeError("draw: nothing is captured yet; call the traced function first (twice), and see explain()")
    nodes: list[tuple[str, list[str]]] = []         # (kind, lines of text)
    edges: list[tuple[int, int]] = []
    above: dict[tuple, int] = {}                    # results of earlier programs, by place
    for j, run in enumerate(runs):
        add_program(run, j, nodes, edges, above)
    text = picture(nodes, edges)
    if file is not None:
        Path(file).write_text(text)
    return text


def first_path(branch: Branch) -> list:
    events = list(branch.events)
    while branch.children:
        branch = next(iter(branch.children.values()))
        events += branch.events
    return events


def add_program(run: Run, j: int, nodes: list, edges: list, above: dict) -> None:
    program = run.program
    steps = compiled(program).steps
    writer: dict[Any, int] = {}
    leaf_node: dict[int, int] = {}
    for step in steps:
        if isinstance(step, KernelStep):
            ops = Counter(v.name or v.kind for v in step.values)
            title = step.kernel.name
            body = some([f"{n} {k}" if n > 1 else k for k, n in ops.items()])
            line = step.lines[0] if step.lines else ""
            buffers = [w[1] for w in step.kernel.words if w[0] == "buffer" and w[1].kind != "kept"]
        else:
            title, body, line = "call", step.op.name, step.line or ""
            buffers = [o[1] for o in step.operands if o[0] == "buffer"] + [r[0] for r in step.results]
        me = len(nodes)
        nodes.append(("kernel" if isinstance(step, KernelStep) else "call", [title, body, line]))
        for b in dict.fromkeys(buffers):
            key = (b.kind, b.number) if b.kind != "arena" else b
            if key in writer:
                edges.append((writer[key], me))
            elif b.kind == "leaf":
                if b.number not in leaf_node:
                    spec, meta = run.leaves[b.number], program.leaves[b.number].metas[0]
                    found = above.get(spec[0])
                    if found is None:
                        found = len(nodes)
                        nodes.append(("input", [" ".join(map(str, spec[0])), f"{meta.dtype.name}{list(meta.shape)}", ""]))
                    leaf_node[b.number] = found
                edges.append((leaf_node[b.number], me))
        for b in buffers:
            writer[(b.kind, b.number) if b.kind != "arena" else b] = me
    for r, (_, home) in enumerate(program.wanted):
        found = writer.get(("out", r))
        if home < 0 and found is not None:
            me = len(nodes)
            nodes.append(("result", [f"result {r}", "", ""]))
            edges.append((found, me))
            above["out", j, r] = me


def picture(nodes: list, edges: list[tuple[int, int]]) -> str:
    """Layers by the longest way from an input; within a layer by the mean place of what a node reads."""
    edges = [(a, b) for a, b in dict.fromkeys(edges) if a != b]
    reads: dict[int, list[int]] = {}
    for a, b in edges:
        reads.setdefault(b, []).append(a)
    layer = [0] * len(nodes)
    for _ in range(len(nodes)):
        moved = False
        for a, b in edges:
            if layer[b] < layer[a] + 1 <= len(nodes):
                layer[b], moved = layer[a] + 1, True
        if not moved:
            break
    rows: dict[int, list[int]] = {}
    for n, k in enumerate(layer):
        rows.setdefault(k, []).append(n)
    at: dict[int, float] = {}
    for k in sorted(rows):
        rows[k].sort(key=lambda n: (sum(at[a] for a in reads.get(n, ()) if a in at) / max(len(reads.get(n, ())), 1), n))
        for i, n in enumerate(rows[k]):
            at[n] = i - (len(rows[k]) - 1) / 2
    widest = max(map(len, rows.values()))
    width, height = widest * (WIDE + GAP) + GAP, (max(rows) + 1) * (HIGH + 2 * GAP)
    place = {n: (width / 2 + at[n] * (WIDE + GAP), GAP + layer[n] * (HIGH + 2 * GAP)) for n in at}
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height:.0f}" font-family="sans-serif" font-size="10">',
           '<defs><marker id="tip" markerWidth="6" markerHeight="6" refX="5" refY="3" orient="auto"><path d="M0,0 L6,3 L0,6 z" fill="#888"/>'
           "</marker></defs>"]  # fmt: skip
    for a, b in edges:
        (x, y), (u, v) = place[a], place[b]
        y += HIGH
        out.append(f'<path d="M{x:.0f},{y:.0f} C{x:.0f},{(y + v) / 2:.0f} {u:.0f},{(y + v) / 2:.0f} {u:.0f},{v:.0f}" '
                   'fill="none" stroke="#aaa" marker-end="url(#tip)"/>')  # fmt: skip
    for n, (kind, text) in enumerate(nodes):
        x, y = place[n]
        out.append(f'<g><title>{escape(" | ".join(filter(None, text)))}</title><rect x="{x - WIDE / 2:.0f}" y="{y:.0f}" width="{WIDE}" height="{HIGH}" '
                   f'rx="4" fill="{COLOURS[kind]}" stroke="#999"/>')  # fmt: skip
        for i, line in enumerate(filter(None, text)):
            short = line if len(line) <= 30 else line[:29] + "…"
            out.append(f'<text x="{x:.0f}" y="{y + 14 + 12 * i:.0f}" text-anchor="middle">{escape(short)}</text>')
        out.append("</g>")
    out.append("</svg>")
    return "\n".join(out)

"""`jitorch show`: the kernels generated for a script, each with the lines of the script that it computes."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console
from rich.syntax import Syntax

from ..graph.compiled import KernelStep
from ..graph.measure import Cost, recording
from ..kernels import cache
from .scripts import line_text, run_script, source_files

MOST_LINES = 12     # of the script, above one kernel


@dataclass
class Shown:
    """One kernel's source, and where it is used."""

    source: str
    name: str
    programs: list[int] = field(default_factory=list)
    uses: int = 0
    lines: list[str] = field(default_factory=list)


def show_kernels(script: Path, args: Sequence[str], rows: int) -> int:
    """Run a script and print its kernels. Returns the script's exit status."""
    with recording() as costs:
        status = run_script(script, args)
    kernels = kernels_of(costs)
    console, files = Console(), source_files(script)
    for number, kernel in enumerate(kernels[:rows], 1):
        programs = ", ".join(map(str, kernel.programs[:8])) + (", ..." if len(kernel.programs) > 8 else "")
        title = f"kernel {number} of {len(kernels)}: {kernel.name}, used {kernel.uses}x, in program {programs}"
        console.rule(title, align="left")
        text = "\n".join([*comments(kernel, files), kernel.source])
        if console.is_terminal:
            console.print(Syntax(text, "python", background_color="default", word_wrap=True))
        else:
            print(text)
    if len(kernels) > rows:
        print(f"... and {len(kernels) - rows} more (--rows)")
    if not kernels:
        print("no kernels were generated: nothing was computed, or the tier is 'reference'")
    return status


def comments(kernel: Shown, files: dict[str, str]) -> list[str]:
    """The lines of the script that a kernel computes, and the file that holds its source, as comments."""
    lines = [f"# {where}  {line_text(where, files)}".rstrip() for where in kernel.lines[:MOST_LINES]]
    if len(kernel.lines) > MOST_LINES:
        lines.append(f"# ... and {len(kernel.lines) - MOST_LINES} more lines")
    path = f"{cache.directory()}/{cache.key(kernel.source)}{cache.SOURCE}"        # of one that has no parts
    return [*lines, f"# kept in {path}"] if os.path.exists(path) else lines


def kernels_of(costs: list[Cost]) -> list[Shown]:
    """Every kernel once, in the order of first use."""
    shown: dict[str, Shown] = {}
    for number, cost in enumerate(costs, 1):
        for step in cost.steps:
            if isinstance(step, KernelStep):
                kernel = shown.setdefault(step.kernel.listing, Shown(step.kernel.listing, step.kernel.name))
                kernel.uses += 1
                kernel.programs = list(dict.fromkeys([*kernel.programs, number]))
                kernel.lines = list(dict.fromkeys([*kernel.lines, *step.lines]))
    return list(shown.values())

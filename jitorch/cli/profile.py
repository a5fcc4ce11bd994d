"""`jitorch profile`: a table of the programs that a script ran."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from time import perf_counter

from rich import box
from rich.console import Console
from rich.table import Table

from ..graph.compiled import HostCall
from ..graph.measure import Cost, recording
from ..graph.program import counters
from ..kernels.cpu import pool
from .scripts import run_script, span

COLUMNS = ("ops", "kernels", "runs", "ref.", "ms", "us/run", "MB/run", "GB/s")


def profile_script(script: Path, args: Sequence[str], rows: int) -> int:
    """Run a script and print what its programs cost. Returns the script's exit status."""
    start = perf_counter()
    with recording() as costs:
        status = run_script(script, args)
    seconds = perf_counter() - start
    console = Console()
    console.print(table_of(costs, seconds, rows))
    for line in summary(costs, seconds):
        console.print(line, highlight=False, soft_wrap=True)
    return status


def table_of(costs: list[Cost], seconds: float, rows: int) -> Table:
    """The programs that took longest. Columns with "/" are of one compiled run, the others of all runs."""
    title = f"the {min(rows, len(costs))} slowest of {len(costs)} programs"
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("program", min_width=16, overflow="fold")
    for name in COLUMNS:
        table.add_column(name, justify="right", no_wrap=True)
    for cost in sorted(costs, key=lambda cost: -cost.seconds)[:rows]:
        calls = sum(isinstance(step, HostCall) for step in cost.steps)
        operations = sum(step.op != "leaf" for step in cost.program.steps)
        kernels = f"{cost.kernels}+{calls}" if calls else cost.kernels
        row = [span(cost.lines) or "-", operations, kernels, cost.runs, cost.reference_runs]
        row.append(f"{cost.seconds * 1e3:.1f}")
        if cost.compiled_runs:
            each = cost.compiled_seconds / cost.compiled_runs
            row += [f"{each * 1e6:.0f}", f"{cost.bytes / 1e6:.3g}", f"{cost.bytes / each / 1e9:.2g}"]
        table.add_row(*map(str, row))
    return table


def summary(costs: list[Cost], seconds: float) -> list[str]:
    """What the table leaves out."""
    compiled, reference = sum(c.compiled_seconds for c in costs), sum(c.reference_seconds for c in costs)
    planning = sum(c.seconds for c in costs) - compiled - reference
    rest, stats = seconds - compiled - reference - planning, pool.stats()
    return [
        f"{seconds:.2f} s: {compiled:.2f} in compiled runs, {reference:.2f} in reference runs, {planning:.2f} planning "
        f"programs and waiting for kernels, {rest:.2f} in Python (imports, recording, everything else)",
        f"kernels: {stats['compiled']} compiled, {stats['loaded_from_disk']} loaded from the cache, "
        f"{stats['pending']} not ready at the end; programs made: {counters.programs_built}",
        "kernels: of one run (equal ones side by side count once) + calls of library routines; ref.: runs done by the "
        "reference tier, mostly because kernels were not ready; MB: what the kernels read and write",
    ]

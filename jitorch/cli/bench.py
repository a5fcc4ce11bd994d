"""`jitorch bench`: runs the suites of perf/ and shows their measurements beside those of the peers."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table


def run_bench(suite: str, file: Path | None, quick: bool) -> int:
    """Run one suite or all, print a table for each, and write the figures to a file. Returns the exit status."""
    folder = find_perf()
    if folder is None:
        print("jitorch bench: the benchmarks are in the repository's folder perf/, which is neither beside the package "
              "nor here; run it in a clone of the repository", file=sys.stderr)
        return 1
    suites, harness = modules_of(folder)
    if suite and suite not in suites.SUITES:
        print(f"jitorch bench: no suite {suite!r}; there are: {', '.join(suites.SUITES)}", file=sys.stderr)
        return 2
    console = Console()
    figures: dict[str, Any] = {"machine": harness.machine(), "quick": quick, "suites": {}}
    for name in [suite] if suite else suites.SUITES:
        before = harness.load()
        rows = suites.SUITES[name](quick)
        figures["suites"][name] = {"rows": rows, "load": [before, harness.load()]}
        console.print(table_of(name, rows))
        if file is not None:        # after each: a long run that is stopped leaves what it has
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(json.dumps(figures, indent=1) + "\n")
    return 0


def find_perf() -> Path | None:
    """The folder perf/ in the current folder or beside the package."""
    for parent in (Path.cwd(), Path(__file__).resolve().parents[2]):
        if (parent / "perf" / "suites.py").is_file():
            return parent / "perf"
    return None


def modules_of(folder: Path) -> tuple[ModuleType, ModuleType]:
    """perf.suites and perf.harness."""
    if str(folder.parent) not in sys.path:
        sys.path.insert(0, str(folder.parent))
    return importlib.import_module("perf.suites"), importlib.import_module("perf.harness")


def table_of(name: str, rows: list[dict[str, Any]]) -> Table:
    """The figures of a suite (see perf/harness.py: row), each beside the peer's and the goal."""
    table = Table(title=name, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("", min_width=20, overflow="fold")
    for column in ("jitorch", "torch", "", "ratio", "quartiles", "goal"):
        table.add_column(column, justify="left" if column == "" else "right", no_wrap=True)
    for row in rows:
        spread = " to ".join(fixed(q) for q in row["spread"]) if row["spread"] else ""
        label = row["name"] + (f" ({row['note']})" if row["note"] else "")
        times = number(row["ours"]), number(row["torch"]), row["unit"]
        table.add_row(escape(label), *times, ratio(row), spread, fixed(row["goal"]))
    return table


def ratio(row: dict[str, Any]) -> str:
    """Ours to the peer's: green where the goal is reached (without a goal: where it is below 1), else red."""
    good = row["reached"] if row["reached"] is not None else row["ratio"] is None or row["ratio"] <= 1
    text = fixed(row["ratio"]) or ("reached" if row["reached"] else "missed" if row["reached"] is False else "")
    return f"[{'green' if good else 'red'}]{text}[/]" if text else ""


def number(x: float | None) -> str:
    """
    >>> number(0.0123456), number(12345.6), number(None)
    ('0.0123', '12346', '')
    """
    return "" if x is None else f"{x:.3g}" if abs(x) < 1000 else f"{x:.0f}"


def fixed(x: float | None) -> str:
    return "" if x is None else f"{x:.2f}"

"""`jitorch bench`: runs the suites of the repository's perf/, which show and write their figures themselves."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from pathlib import Path


def run_bench(args: Sequence[str]) -> int:
    """Run perf/suites.py with these arguments. Returns the exit status."""
    folder = find_perf()
    if folder is None:
        print("jitorch bench: the benchmarks are in the repository's folder perf/, which is neither beside the package "
              "nor here; run it in a clone of the repository", file=sys.stderr)
        return 1
    if str(folder.parent) not in sys.path:
        sys.path.insert(0, str(folder.parent))
    return importlib.import_module("perf.suites").main(list(args), "jitorch bench")


def find_perf() -> Path | None:
    """The folder perf/ in the current folder or beside the package."""
    for parent in (Path.cwd(), Path(__file__).resolve().parents[2]):
        if (parent / "perf" / "suites.py").is_file():
            return parent / "perf"
    return None

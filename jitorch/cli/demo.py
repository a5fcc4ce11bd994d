"""`jitorch demo`: runs examples/digits.py, from the checkout or from the installed package."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from .scripts import run_script


def run_demo(args: Sequence[str]) -> int:
    """Run the digits example with these arguments. Returns its exit status."""
    script = find_example("digits.py")
    if script is None:
        print("jitorch demo: examples/digits.py is not part of this installation", file=sys.stderr)
        return 1
    return run_script(script, args)


def find_example(name: str) -> Path | None:
    """An example in a checkout, where it is beside the package, or in a wheel, which holds it in the package."""
    package = Path(__file__).resolve().parents[1]
    found = (package.parent / "examples" / name, package / "examples" / name)
    return next((path for path in found if path.is_file()), None)

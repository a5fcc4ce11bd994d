"""The `jitorch` command. Typer and rich are imported when it runs, not with the package."""

from __future__ import annotations

__all__ = ["main"]


def main() -> None:
    """Run the command line of this process; ends with SystemExit, as Typer's applications do."""
    from .app import app

    app(prog_name="jitorch")

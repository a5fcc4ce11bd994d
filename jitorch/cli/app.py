"""The commands and their options. What each of them does is in the file of its name."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

PASS_ON = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}
OF_SCRIPT = {"allow_extra_args": True, "ignore_unknown_options": True, "allow_interspersed_args": False}

app = typer.Typer(
    help="jitorch: run the demo, look at the machine, the cache, the kernels and the time of a program.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,  # a script's traceback is shown as Python shows it
)
cache_app = typer.Typer(help="The compiled kernels that are kept on disk.", no_args_is_help=True)
app.add_typer(cache_app, name="cache")

Script = Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="A Python program; its arguments follow it.")]


@app.command(context_settings=PASS_ON)
def demo(context: typer.Context) -> None:
    """Train a small network on real handwritten digits: examples/digits.py (--help shows its options)."""
    from .demo import run_demo

    raise typer.Exit(run_demo(context.args))


@app.command(context_settings=OF_SCRIPT)
def run(context: typer.Context, script: Script) -> None:
    """Run a program written for PyTorch: in it, `import torch` and its submodules give jitorch."""
    from ..alias import as_torch
    from .scripts import run_script

    with as_torch():
        status = run_script(script, context.args)
    raise typer.Exit(status)


@app.command()
def env() -> None:
    """Show versions, processor, threads, cache and switches: what to put into a bug report."""
    from .env import show_environment

    show_environment()


@cache_app.command("info")
def cache_info() -> None:
    """Where the cache is and what it holds."""
    from .env import show_cache

    show_cache()


@cache_app.command("clear")
def cache_clear() -> None:
    """Remove every kernel from the cache; they are compiled again when needed."""
    from .env import clear_cache

    raise typer.Exit(clear_cache())


@app.command(context_settings=OF_SCRIPT)
def profile(
    context: typer.Context,
    script: Script,
    rows: Annotated[int, typer.Option(min=1, help="Show this many programs, the slowest first.")] = 20,
) -> None:
    """Run a script and show where its time went: a row for each program (what one flush runs)."""
    from .profile import profile_script

    raise typer.Exit(profile_script(script, context.args, rows))


@app.command(context_settings=OF_SCRIPT)
def tune(
    context: typer.Context,
    script: Script,
    limit: Annotated[int, typer.Option(min=1, help="Try this many contractions at most.")] = 50,
) -> None:
    """Run a script, measure how its matrix products and convolutions are cut best, and keep that for later runs."""
    from .tune import tune_script

    raise typer.Exit(tune_script(script, context.args, limit))


@app.command(context_settings=OF_SCRIPT)
def show(
    context: typer.Context,
    script: Script,
    rows: Annotated[int, typer.Option(min=1, help="Show this many kernels, in the order of their first use.")] = 50,
) -> None:
    """Run a script and show the kernels that were generated for it, each under the lines it came from."""
    from .show import show_kernels

    raise typer.Exit(show_kernels(script, context.args, rows))


@app.command(context_settings=PASS_ON)
def bench(context: typer.Context) -> None:
    """Run the benchmarks of the repository's perf/ beside PyTorch and the machine's limits (--help shows the options)."""
    from .bench import run_bench

    raise typer.Exit(run_bench(context.args))

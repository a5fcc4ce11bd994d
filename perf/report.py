"""Rows of figures, and how they are shown: as text for a terminal, as Markdown for a record."""
from __future__ import annotations

import contextlib
import os
import platform
import subprocess
import textwrap
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import median, quantiles
from typing import Any

from . import THREADS
from .harness import CLOCK, ROOT, Comparison
from .peers import TITLES

UNITS = {"s": 1.0, "ms": 1e3, "us": 1e6}
FAULTS_TOLD = 100       # page faults of one call; fewer don't matter


# -- rows ------------------------------------------------------------------------------------------------------------
def row(name: str, unit: str, ours: float | None = None, *, peers: dict[str, dict] | None = None,
        goal: float | None = None, share: float | None = None, bound: str = "", runs: int = 0, note: str = "",
        error: str = "") -> dict:
    """One figure.

    goal: what `ours` must not exceed; goals for ratios are in `peers` (see `beside`). share: of the machine's limit
    named by `bound`. error: why there is no figure.
    """
    return {"name": name, "unit": unit, "ours": ours, "peers": peers or {}, "goal": goal,
            "reached": None if goal is None or ours is None else ours <= goal, "share": share, "bound": bound,
            "runs": runs, "note": note, "error": error}


def beside(value: float | None = None, ratios: Iterable[float] = (), best: float | None = None,
           goal: float | None = None, error: str = "") -> dict:
    """A peer's part of a row: its figure, and ours as a ratio to it.

    ratio, spread: median and quartiles of the ratios run by run. best: the ratio of the two shortest times, which a
    busy machine disturbs least. goal: what `ratio` must not exceed.

    >>> beside(2.0, [0.5, 0.4, 0.6], 0.45, goal=0.5)["reached"]
    True
    """
    ratios = sorted(ratios)
    ratio = median(ratios) if ratios else None
    spread = [round(q, 4) for q in quantiles(ratios, n=4)[::2]] if len(ratios) > 1 else None
    return {"value": value, "ratio": ratio, "spread": spread, "best": best, "goal": goal,
            "reached": None if goal is None or ratio is None else ratio <= goal, "error": error}


def timed_row(name: str, unit: str, timing: Comparison, *, goals: dict[str, float] | None = None, per_call: int = 1,
              errors: dict[str, str] | None = None, **more: Any) -> dict:
    """The row of a comparison of "jitorch" with peers; `goals` of the ratios. One call does the work `per_call` times.

    errors: of peers that could not take part.
    """
    scale, goals = UNITS.get(unit, 1.0) / per_call, goals or {}
    peers = {peer: beside(error=error, goal=goals.get(peer)) for peer, error in (errors or {}).items()}
    for peer in timing.seconds:
        if peer in TITLES:
            peers[peer] = beside(timing.median(peer) * scale, timing.ratios("jitorch", peer),
                                 timing.best("jitorch", peer), goals.get(peer))
    notes = [more.pop("note", "")]
    for who, found in timing.faults.items():
        if who == "jitorch" or who in TITLES:
            notes.append(f"{median(found):.0f} page faults ({who})" if median(found) >= FAULTS_TOLD else "")
    ours = timing.seconds["jitorch"]
    return row(name, unit, median(ours) * scale, peers=peers, runs=len(ours), note="; ".join(filter(None, notes)), **more)


# -- a terminal ------------------------------------------------------------------------------------------------------
WIDTH = 160             # of a terminal: all peers fit
NAME_WIDTH = 34
JUDGED = ("torch", "compile")        # peers that goals are set for


def table(rows: list[dict], peers: Sequence[str]) -> str:
    """Rows as text beside these peers.

    >>> add = row("add", "us", 1.0, peers={"torch": beside(2.0, [0.5, 0.4, 0.6], 0.45, goal=1.0)})
    >>> print(table([add], ["torch"]))
    name                                ours        limit       torch ratio quartiles best goal
    add                                    1 us                     2  0.50 0.40-0.60 0.45 1.00 ok
    """
    return "\n".join([head(peers), *(text_of(r, peers) for r in rows)])


def head(peers: Sequence[str]) -> str:
    return f"{'name':{NAME_WIDTH}}  ours        limit    {''.join(map(peer_head, peers))}".rstrip()


def peer_head(peer: str) -> str:
    return f" {peer:>7} ratio quartiles best{' goal   ' * (peer in JUDGED)}"


def text_of(r: dict, peers: Sequence[str], width: int = WIDTH) -> str:
    """One row: a line, with what there is to say about it indented below."""
    long = len(r["name"]) > NAME_WIDTH
    limit = "" if r["share"] is None else f"{r['share']:>4.0%} {r['bound']}"
    line = f"{'' if long else r['name']:{NAME_WIDTH}} {number(r['ours']):>5} {r['unit']:6} {limit:9}"
    line += "".join(peer_text(r["peers"].get(peer)).ljust(len(peer_head(peer))) for peer in peers)
    if r["goal"] is not None:
        line = f"{line.rstrip()}   goal {number(r['goal'])} {verdict(r['reached'])}"
    lines = [r["name"], line.rstrip()] if long else [line.rstrip()]
    told = [f"error: {r['error']}" if r["error"] else ""]
    told += [f"{peer}: error: {each['error']}" for peer, each in r["peers"].items() if each["error"]]
    for text in filter(None, [*told, r["note"]]):
        lines += textwrap.wrap(text, width, initial_indent="    ", subsequent_indent="      ")
    return "\n".join(lines)


def peer_text(peer: dict | None) -> str:
    if peer is None or peer["error"]:
        return "" if peer is None else "   error"
    spread = "-".join(fixed(q) for q in peer["spread"]) if peer["spread"] else ""
    goal = "" if peer["goal"] is None else f" {fixed(peer['goal'])} {verdict(peer['reached'])}"
    return f" {number(peer['value']):>7} {fixed(peer['ratio']):>5} {spread:9} {fixed(peer['best']):>4}{goal}"


def verdict(reached: bool | None) -> str:
    return {True: "ok", False: "NO", None: ""}[reached]


def number(x: float | None) -> str:
    """
    >>> number(0.0123456), number(12345.6), number(None)
    ('0.0123', '12346', '-')
    """
    return "-" if x is None else f"{x:.3g}" if abs(x) < 1000 else f"{x:.0f}"


def fixed(x: float | None) -> str:
    return "" if x is None else f"{x:.2f}"


# -- a record --------------------------------------------------------------------------------------------------------
def markdown(results: dict[str, Any]) -> str:
    """A record of a run: where it ran, and a table for each suite."""
    where = results["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in where["versions"].items())
    lines = [f"# {where['date']}: {', '.join(results['suites'])}", "",
             f"Commit {where['commit']}. {where['cpus']} processors ({where['processor']}), {where['system']}. {versions}.",
             f"{where['threads']} thread{'s' if where['threads'] > 1 else ''} each, {where['clock']}"
             f"{', quick' if results['quick'] else ''}. Peers: "
             f"{', '.join(TITLES[peer] for peer in results['peers']) or 'none'}. How to read it: `perf/README.md`."]
    lines += [f"{text}." for text in results["absent"]]
    for name, suite in results["suites"].items():
        before, after = suite["load"]
        lines += ["", f"## {name}", "", f"Load {before} before, {after} after.", "", *markdown_table(suite["rows"])]
    return "\n".join(lines) + "\n"


def markdown_table(rows: list[dict]) -> list[str]:
    """
    >>> print(*markdown_table([row("add", "us", 3.0, goal=2.0, note="slow")]), sep="\\n")
    | name | jitorch | limit | goal | runs | note |
    | --- | --- | --- | --- | --- | --- |
    | add | 3 us |  | 2 **missed** | 0 | slow |
    """
    peers = [peer for peer in TITLES if any(peer in r["peers"] for r in rows)]
    heads = ["name", "jitorch", "limit", "goal", *(TITLES[peer] for peer in peers), "runs", "note"]
    lines = [f"| {' | '.join(heads)} |", "| --- " * len(heads) + "|"]
    for r in rows:
        cells = [r["name"], "error" if r["error"] else f"{number(r['ours'])} {r['unit']}".strip()]
        cells.append("" if r["share"] is None else f"{r['share']:.0%} {r['bound']}")
        cells.append("" if r["goal"] is None else f"{number(r['goal'])} {judged(r['reached'])}")
        cells += [peer_cell(r["peers"].get(peer)) for peer in peers]
        errors = [r["error"], *(f"{TITLES[peer]}: {each['error']}" for peer, each in r["peers"].items() if each["error"])]
        cells += [str(r["runs"]), "; ".join(filter(None, [*errors, r["note"]]))]
        lines.append(f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |")
    return lines


def peer_cell(peer: dict | None) -> str:
    if peer is None or peer["error"]:
        return "" if peer is None else "error"
    parts = [number(peer["value"])]
    if peer["ratio"] is not None:
        spread = f" ({' to '.join(fixed(q) for q in peer['spread'])})" if peer["spread"] else ""
        best = f", best {fixed(peer['best'])}" if peer["best"] is not None else ""
        parts.append(f"ratio {fixed(peer['ratio'])}{spread}{best}")
    if peer["goal"] is not None:
        parts.append(f"goal {fixed(peer['goal'])} {judged(peer['reached'])}")
    return ", ".join(parts)


def judged(reached: bool | None) -> str:
    return {True: "reached", False: "**missed**", None: ""}[reached]


# -- where it ran ----------------------------------------------------------------------------------------------------
def machine() -> dict[str, Any]:
    """What a figure depends on: processor, versions, the commit. No name of the machine."""
    from importlib.metadata import PackageNotFoundError, version
    versions = {"Python": platform.python_version()}
    for package in ("numpy", "scipy", "numba", "llvmlite", "torch", "jax"):
        with contextlib.suppress(PackageNotFoundError):
            versions[package] = version(package)
    return {"processor": processor(), "cpus": os.cpu_count(), "threads": THREADS, "clock": CLOCK,
            "system": f"{platform.system()} {platform.machine()}", "versions": versions, "commit": commit(),
            "date": time.strftime("%Y-%m-%d")}


def processor() -> str:
    """Its model, and the vector width that matters most."""
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return platform.processor()
    fields = dict(line.split(":", 1) for line in text.split("\n\n")[0].splitlines() if ":" in line)
    fields = {k.strip(): v.strip() for k, v in fields.items()}
    has = fields.get("flags", fields.get("Features", "")).split()
    vectors = next((f for f in ("avx512f", "avx2", "asimd") if f in has), "")
    family = f"family {fields['cpu family']}" if "cpu family" in fields else ""
    return ", ".join(filter(None, [fields.get("model name", platform.machine()), family, vectors]))


def commit() -> str:
    """The commit of the sources, "+" behind it if files of the package were changed since."""
    def git(*args: str) -> str:
        done = subprocess.run(["git", "-C", str(ROOT), *args], capture_output=True, text=True, check=True)
        return done.stdout.strip()
    try:
        return git("rev-parse", "--short=12", "HEAD") + ("+" if git("status", "--porcelain", "--", "jitorch") else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def load() -> float | None:
    """Processes that want a processor, mean of the last minute."""
    return round(os.getloadavg()[0], 1) if hasattr(os, "getloadavg") else None

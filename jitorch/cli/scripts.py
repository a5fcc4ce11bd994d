"""Running a user's script within a command, and finding the text of its lines."""

from __future__ import annotations

import os
import runpy
import select
import sys
import traceback
from collections.abc import Sequence
from linecache import getline
from pathlib import Path

PACKAGE = str(Path(__file__).resolve().parent.parent) + os.sep


def run_script(script: Path, args: Sequence[str]) -> int:
    """Run a script as `python script args` would, in this process. Returns its exit status.

    An exception that the script does not catch is printed as Python prints it, less the frames of this function and
    of runpy, and gives status 1; KeyboardInterrupt gives 130. Where the reader of the output has gone (`| head`), the
    script ends without a word: status 141, as a shell counts it.
    """
    before = sys.argv, list(sys.path)
    sys.argv = [str(script), *args]
    sys.path.insert(0, str(script.resolve().parent))
    try:
        runpy.run_path(str(script), run_name="__main__")
        return 0
    except SystemExit as end:
        if end.code is None or isinstance(end.code, int):
            return end.code or 0
        print(end.code, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except Exception as error:
        if isinstance(error, BrokenPipeError) and nobody_reads():
            return 141
        trace = error.__traceback__
        while trace is not None and trace.tb_frame.f_code.co_filename in (__file__, runpy.__file__, "<frozen runpy>"):
            trace = trace.tb_next
        traceback.print_exception(error.with_traceback(trace))
        return 1
    finally:
        sys.argv, sys.path[:] = before


def nobody_reads() -> bool:
    """Whether the reader of the standard output has gone; what is printed from then on is dropped."""
    if not hasattr(select, "poll"):     # Windows
        return False
    output = select.poll()
    output.register(1, 0)
    if not any(event & select.POLLERR for _, event in output.poll(0)):
        return False
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    return True


def source_files(script: Path) -> dict[str, str]:
    """The path of each file outside this package that ran, by its name without the folder, as the engine notes it."""
    paths = [getattr(module, "__file__", None) for module in list(sys.modules.values())]
    return {os.path.basename(p): p for p in [*paths, str(script)] if p and not p.startswith(PACKAGE)}


def line_text(where: str, files: dict[str, str]) -> str:
    """The text of a line given as "file.py:12"; empty if the file isn't known."""
    name, _, number = where.rpartition(":")
    return getline(files[name], int(number)).strip() if name in files else ""


def span(lines: Sequence[str]) -> str:
    """A set of lines ("a.py:3", "a.py:9", "b.py:1") in short.

    >>> span(["a.py:3", "b.py:1", "a.py:9"])
    'a.py:3-9 b.py:1'
    """
    by_file: dict[str, list[int]] = {}
    for line in lines:
        name, _, number = line.rpartition(":")
        by_file.setdefault(name, []).append(int(number))
    ends = {name: (min(numbers), max(numbers)) for name, numbers in by_file.items()}
    return " ".join(f"{name}:{a}" + (f"-{b}" if b > a else "") for name, (a, b) in ends.items())

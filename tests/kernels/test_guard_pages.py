"""No kernel reads or writes outside its buffers: each lies between protected pages, in child processes that would die of it."""
import os
import subprocess
import sys
from pathlib import Path

import guard_pages
import pytest

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="calls mprotect as Linux has it")
SCRIPT = Path(guard_pages.__file__)


def run_child(side: str, first: int, code: str | None = None) -> tuple[int, str, str]:
    what = ["-c", code] if code else [str(SCRIPT), side, str(first)]
    paths = os.pathsep.join(filter(None, [str(SCRIPT.parents[2]), os.environ.get("PYTHONPATH", "")]))
    done = subprocess.run([sys.executable, *what], capture_output=True, text=True, env={**os.environ, "PYTHONPATH": paths})
    return done.returncode, done.stdout, done.stderr


@pytest.fixture(scope="module", params=["front", "back"])
def deaths(request):
    """For each family that ended a child, or raised in it: at what size, and how."""
    found: dict[str, str] = {}
    first = 0
    while True:
        code, out, err = run_child(request.param, first)
        last = out.splitlines()[-1] if out else ""
        if code == 0 and last == "done":
            return found
        assert last, f"the child did not start: {err}"
        number, name = last.split(" ", 1)
        name = name.rsplit(":", 1)[0]
        found[name] = f"{last}, with buffers at the {request.param} of a page: exit status {code}\n{err[-3000:]}"
        first = int(number) + 1


@pytest.mark.parametrize("family", guard_pages.FAMILIES)
def test_family_stays_within_its_buffers(deaths, family):
    assert family not in deaths, deaths[family]


OUT_OF_BOUNDS = """
import ctypes, sys
sys.path.insert(0, {folder!r})
import guard_pages
import numpy as np
from jitorch.graph import compiled
guard_pages.install({side!r})
_, address = compiled.allocate(5, np.dtype(np.float32))
ctypes.c_float.from_address(address).value              # the first element
ctypes.c_float.from_address(address + 16).value         # and the last
print("inside", flush=True)
ctypes.c_float.from_address(address + {beyond}).value
print("survived")
"""


@pytest.mark.parametrize("side, beyond", [("front", -4), ("back", 20)])
def test_a_read_next_to_a_buffer_ends_the_process(side, beyond):
    """The harness itself: otherwise nothing that it says is worth anything."""
    code, out, _ = run_child(side, 0, OUT_OF_BOUNDS.format(folder=str(SCRIPT.parent), side=side, beyond=beyond))
    assert code < 0 and out.strip() == "inside"

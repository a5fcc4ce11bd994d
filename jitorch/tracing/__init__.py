"""`trace` and `compile`: calls that are captured once and then done again without their Python code.

| file | what it does |
| --- | --- |
| observe.py | sees which Python code a call runs, and whether it does more than compute |
| world.py | finds the Python state that this code can read, and makes guards of it |
| numbers.py | numbers among the arguments: what is computed with them, what Python learned of them |
| capture.py | watches one call: its programs, random draws, optimizer steps, values read; what it leaves behind |
| replay.py | guards, the tree of captured paths, a replay |
| tail.py | finds values that are read only to be returned |
| report.py | explain, code, draw |
| freeze.py | programs of frozen modules: constants folded |
| again.py | gradients of replayed calls |
| file.py | save and load |
| sound.py | whether a program from a file may be run |
| traced.py | the callables that users hold |
"""

from __future__ import annotations

from .traced import TracedFunction, TracedModule, compile, trace

__all__ = ["TracedFunction", "TracedModule", "compile", "trace"]

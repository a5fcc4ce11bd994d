"""A compile helper: reads requests from standard input, writes object files to standard output, ends with its input.

Run by its path, not as a module: `import jitorch` would load the whole front end, which a helper does not need. The
packages above this one are entered as empty modules with the right path, and this package's modules imported under
their usual names.

A message is its length (4 bytes, little-endian) and its content. The first one holds the parent's `sys.path` (JSON),
each later one a kernel (JSON: source, key, path of the source file or null). The answer to a kernel is `K` and the
packed object, or `E` and a traceback.
"""

from __future__ import annotations

import struct
import sys
from typing import IO


def write_message(stream: IO[bytes], content: bytes) -> None:
    stream.write(struct.pack("<I", len(content)) + content)
    stream.flush()


def read_message(stream: IO[bytes]) -> bytes | None:
    """The next message, or None where the stream ends."""
    head = stream.read(4)
    if len(head) < 4:
        return None
    (length,) = struct.unpack("<I", head)
    content = stream.read(length)
    return content if len(content) == length else None


def main() -> None:
    import json
    import os
    import traceback

    requests = sys.stdin.buffer
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what anything prints must not end up between the answers
    if hasattr(os, "nice"):
        os.nice(5)
    first = read_message(requests)
    if first is None:
        return
    enter_packages(json.loads(first))
    broken = None
    try:  # now, while no one waits for it
        from jitorch.kernels.cpu.compiler import compile_kernel
        from jitorch.kernels.objects import pack
    except Exception:  # whatever it is, each request is answered with it
        broken = traceback.format_exc()
    while (content := read_message(requests)) is not None:
        job = json.loads(content)
        try:
            if broken:
                answer = b"E" + broken.encode()
            else:
                kernel = compile_kernel(job["source"], symbol="kernel_" + job["key"][:32], path=job["path"])
                answer = b"K" + pack(job["key"], kernel)
        except Exception:  # told to the parent, which raises it
            answer = b"E" + traceback.format_exc().encode()
        write_message(answers, answer)


def enter_packages(paths: list[str]) -> None:
    """Find modules where the parent does, this package without its front end."""
    import os
    import types

    here = os.path.dirname(os.path.abspath(__file__))
    sys.path[:] = [p for p in sys.path if os.path.abspath(p) != here]  # put there because this file is run as a script
    sys.path += [p for p in paths if p not in sys.path]
    front = types.ModuleType("jitorch")
    front.__path__ = [os.path.dirname(os.path.dirname(here))]
    sys.modules["jitorch"] = front


if __name__ == "__main__":
    main()

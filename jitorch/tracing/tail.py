"""Values that are read only to be returned: `return loss.item()`, `return loss.item(), hits.item()`.

From the call that reads, the rest of the function is followed through its bytecode. Where it does nothing but load local
variables, read more values, build containers and return, no decision can hang on what was read: a replay reads the value
and puts it where the function would have.
"""

from __future__ import annotations

import dis
import types
from typing import Any

OTHER = object()            # on the symbolic stack: anything that is no value read here
READERS = ("item", "tolist")


class ReadValue:
    """On the symbolic stack: the value of the n-th read from here on, by which method."""

    __slots__ = ("number", "method")

    def __init__(self, number: int, method: str):
        self.number, self.method = number, method


def result_of(code: types.CodeType, position: int, method: str) -> Any:
    """The shape of what is returned after the call at `position` (its f_lasti) gave a value by `method`: containers with ReadValues and
    OTHER in them. None if more happens than reading and returning."""
    stack: list[Any] = [ReadValue(0, method)]
    local: dict[str, Any] = {}
    reads = 1

    def pop() -> Any:
        return stack.pop() if stack else OTHER

    for i in dis.get_instructions(code):
        if i.offset <= position:
            continue
        name = i.opname
        if name in ("CACHE", "RESUME", "NOP", "PRECALL", "PUSH_NULL"):
            if name == "PUSH_NULL":
                stack.append(OTHER)
        elif name in ("LOAD_FAST", "LOAD_FAST_CHECK", "LOAD_FAST_BORROW"):
            stack.append(local.get(i.argval, OTHER))
        elif name in ("LOAD_CONST", "LOAD_DEREF", "LOAD_SMALL_INT"):
            stack.append(OTHER)
        elif name == "STORE_FAST":
            local[i.argval] = pop()
        elif name in ("LOAD_METHOD", "LOAD_ATTR") and i.argval in READERS and (not stack or stack[-1] is OTHER):
            pop()
            stack.append(i.argval)
        elif name in ("CALL", "CALL_METHOD") and i.argval == 0 and stack and stack[-1] in READERS:
            stack[-1] = ReadValue(reads, stack[-1])
            reads += 1
        elif name in ("BUILD_TUPLE", "BUILD_LIST"):
            parts = [pop() for _ in range(i.argval)][::-1]
            stack.append(tuple(parts) if name == "BUILD_TUPLE" else parts)
        elif name == "BUILD_CONST_KEY_MAP" or name == "BUILD_MAP":
            if name == "BUILD_MAP":
                flat = [pop() for _ in range(2 * i.argval)][::-1]
                if any(k is not OTHER for k in flat[::2]):
                    return None
                stack.append(("dict", *flat[1::2]))
            else:
                pop()
                stack.append(("dict", *[pop() for _ in range(i.argval)][::-1]))
        elif name == "RETURN_VALUE":
            return pop()
        else:
            return None
    return None

"""From an object file to the address of the kernel in it, through llvmlite alone (Numba is not imported).

LLVM ends the process on a symbol that it can't find, so every symbol is looked up before LLVM sees the object. Whether
the object is intact was checked where it was read (`objects.unpack`). Loaded code stays for the life of the process.
"""

from __future__ import annotations

import ctypes
import os
import threading
from functools import cache
from typing import Any

from ..objects import Compiled

# where the C library's functions are, by platform; None is the running process
C_LIBRARIES: tuple[str | None, ...] = (None, "libm.so.6", "libSystem.dylib")
if os.name == "nt":
    C_LIBRARIES = ("ucrtbase", "msvcrt")

_lock = threading.RLock()  # a signal handler or a finalizer may run, and load, while this thread holds it
_addresses: dict[str, int] = {}
if hasattr(os, "register_at_fork"):  # a child must not inherit the lock in the hands of a thread it does not have
    os.register_at_fork(before=_lock.acquire, after_in_parent=_lock.release, after_in_child=_lock.release)


class LoadError(RuntimeError):
    """An object file needs symbols that this process does not have."""


def load(kernel: Compiled) -> int:
    """The address of a kernel. The same symbol is loaded once a process. Raises LoadError."""
    with _lock:
        address = _addresses.get(kernel.symbol)
        if address is None:
            address = _addresses[kernel.symbol] = _load(kernel)
        return address


def _load(kernel: Compiled) -> int:
    import llvmlite.binding as llvm

    engine = _engine()
    missing = [name for name in kernel.externals if not _found(name)]
    if missing:
        raise LoadError(f"the kernel {kernel.symbol} needs symbols that do not exist here: {', '.join(missing)}")
    engine.add_object_file(llvm.ObjectFileRef.from_data(kernel.code))
    engine.finalize_object()
    address: int = engine.get_function_address(kernel.symbol)
    if not address:
        raise LoadError(f"the object of kernel {kernel.symbol} does not hold it")
    return address


@cache
def _engine() -> Any:
    import llvmlite.binding as llvm

    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    machine = llvm.Target.from_triple(llvm.get_process_triple()).create_target_machine(jit=True)
    engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), machine)
    # threads may still run loaded code while the interpreter shuts down: the engine is never freed
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(engine))
    return engine


@cache
def _found(symbol: str) -> bool:
    """Make sure that LLVM finds a symbol, if it exists."""
    import llvmlite.binding as llvm

    if llvm.address_of_symbol(symbol):
        return True
    for name in C_LIBRARIES:
        try:
            function = getattr(ctypes.CDLL(name), symbol)
        except (OSError, AttributeError):  # no such library, or no such symbol in it
            continue
        llvm.add_symbol(symbol, ctypes.cast(function, ctypes.c_void_p).value)
        return True
    return False

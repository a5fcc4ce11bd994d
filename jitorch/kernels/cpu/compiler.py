"""From the source of a kernel to an object file.

Numba does the front half (bytecode, types, LLVM instructions); the rest is done here, because Numba's own back half
wraps every function in error handling that a kernel doesn't need, optimises for the code size of array code, and binds
the result to its process. What is done here: a plain C entry point, loop metadata for `independent()`, full-width
vectors, one optimisation run, and an object whose undefined symbols are known.

Imports Numba: only the compile helpers import this module.
"""

from __future__ import annotations

import hashlib
import linecache
import os
import re
from functools import cache
from typing import Any

import llvmlite.binding as llvm
from numba import types
from numba.core import compiler, sigutils
from numba.core.compiler_lock import global_compiler_lock
from numba.core.registry import cpu_target
from numba.core.runtime import rtsys

from ..objects import Compiled, undefined_symbols
from . import instructions, prelude

KERNEL_SIGNATURE = types.void(types.CPointer(types.uint64), types.intp, types.intp)
# these run 512-bit instructions at full clock, but LLVM prefers 256 bits on the Intel ones
WIDE_VECTOR_CPUS = ("icelake-server", "sapphirerapids", "emeraldrapids", "graniterapids", "diamondrapids", "znver5")


def compile_kernel(source: str, symbol: str | None = None, path: str | None = None) -> Compiled:
    """Compile the function `kernel` of `source` to an object that exports it as `symbol`.

    The source may set `SIGNATURE` to a Numba signature; without it, it is `void(CPointer(uint64), intp, intp)`.
    `path` names the file that holds the source, for tracebacks.

    Raises what Numba raises on a source that it can't compile (a `numba.core.errors.NumbaError`), or SyntaxError.
    """
    symbol = symbol or "kernel_" + hashlib.sha256(source.encode()).hexdigest()[:24]
    with global_compiler_lock:
        module = build(source, symbol, path or f"<{symbol}>")
        code = target_machine().emit_object(module)
    return Compiled(symbol=symbol, code=code, externals=externals(code, module))


def assembly(source: str) -> str:
    """The machine code of a kernel as text, to see whether its loops vectorise."""
    with global_compiler_lock:
        return target_machine().emit_assembly(build(source, "kernel", "<kernel>"))


def build(source: str, symbol: str, path: str) -> llvm.ModuleRef:
    """The optimised LLVM module that exports the kernel as `symbol`."""
    function, signature = define(source, path)
    module, native = lower(function, signature)
    module = with_loop_metadata(module)
    add_entry_point(module, native, signature, symbol)
    module = instructions.with_variants(module)
    optimise(module)
    instructions.inline(module, target_machine())
    return module


def define(source: str, path: str) -> tuple[Any, Any]:
    """The kernel as a Python function over the prelude's names, and its signature."""
    if not os.path.exists(path):
        linecache.cache[path] = (len(source), None, source.splitlines(True), path)
    scope = dict(prelude.NAMES, __name__="jitorch_kernel")
    exec(compile(source, path, "exec"), scope)
    declared = scope.get("SIGNATURE")
    if declared is None:
        return scope["kernel"], KERNEL_SIGNATURE
    arguments, result = sigutils.normalize_signature(declared)
    return scope["kernel"], result(*arguments)


def lower(function: Any, signature: Any) -> tuple[llvm.ModuleRef, str]:
    """Numba's front half: an LLVM module with the function in Numba's calling convention, and its name there."""
    flags: Any = compiler.Flags()
    flags.no_compile = True
    flags.no_cpython_wrapper = True
    flags.no_cfunc_wrapper = True
    flags.error_model = "numpy"
    flags.nrt = False
    context = cpu_target.target_context
    result = compiler.compile_extra(
        cpu_target.typing_context, context, function, signature.args, signature.return_type, flags, {}
    )
    library = result.library
    module = library._final_module
    for needed in library._linking_libraries:
        if needed is not rtsys.library:  # the array runtime: kernels have no arrays
            module.link_in(needed._get_module_for_linking(), preserve=True)
    return module, result.fndesc.llvm_func_name


# ---------------------------------------------------------------------------------------------------------------------
# Loop metadata
# ---------------------------------------------------------------------------------------------------------------------

LABEL = re.compile(r"^([^\s;:]+):")
MEMORY_ACCESS = re.compile(r"^  (?:%\S+ = load|store) ")
FIRST_NUMBER = 900_000  # of the metadata added, far above any that Numba's modules have


def with_loop_metadata(module: llvm.ModuleRef) -> llvm.ModuleRef:
    """Turn `independent()` into metadata on its loop and on the loads and stores in it.

    At this point Numba's first optimisations have made a branch-free loop one block that ends in a branch to itself.
    A marker anywhere else (the loop was unrolled away, or has branches) has no effect.
    """
    call = f"call void @{prelude.MARKER}()"
    text = str(module)
    if call not in text:
        return module
    lines: list[str] = []
    metadata: list[str] = []
    label, block, marked = "", 0, False
    for line in text.splitlines():
        if found := LABEL.match(line):
            label, block, marked = found[1], len(lines), False
        if call in line:
            marked = True
            continue
        if marked and line.startswith("  br ") and f"label %{label}" in line:
            group = FIRST_NUMBER + 2 * len(metadata)
            lines[block:] = [
                f"{each}, !llvm.access.group !{group}" if MEMORY_ACCESS.match(each) else each for each in lines[block:]
            ]
            line += f", !llvm.loop !{group + 1}"
            metadata.append(
                f"!{group} = distinct !{{}}\n"
                f'!{group + 1} = distinct !{{!{group + 1}, !{{!"llvm.loop.parallel_accesses", !{group}}}}}'
            )
        lines.append(line)
    changed = llvm.parse_assembly("\n".join(lines + metadata) + "\n")
    changed.verify()
    return changed


# ---------------------------------------------------------------------------------------------------------------------
# Entry point, optimisation, object
# ---------------------------------------------------------------------------------------------------------------------


def llvm_type(kind: types.Type) -> str:
    return str(cpu_target.target_context.get_value_type(kind)) if kind != types.void else "void"


def add_entry_point(module: llvm.ModuleRef, native: str, signature: Any, symbol: str) -> None:
    """Export `symbol`, a C function that is the kernel itself once LLVM has inlined it.

    Numba's convention passes a place for the result and one for an exception in front of the arguments and returns a
    status. A kernel under error_model="numpy" raises nothing, so the status is dropped.
    """
    arguments = [f"{llvm_type(kind)} %a{n}" for n, kind in enumerate(signature.args)]
    passed = ", ".join(["ptr %result", "ptr %exception", *arguments])
    returned = llvm_type(signature.return_type)
    has_result = returned != "void"
    declared = ", ".join(["ptr", "ptr", *(llvm_type(kind) for kind in signature.args)])
    finish = f"%r = load {returned}, ptr %result\n  ret {returned} %r" if has_result else "ret void"
    width = ' "prefer-vector-width"="512"' if llvm.get_host_cpu_name() in WIDE_VECTOR_CPUS else ""
    entry = f"""
target datalayout = "{module.data_layout}"
target triple = "{module.triple}"
declare i32 @{native}({declared})
define {returned} @{symbol}({", ".join(arguments)}) nounwind{width} {{
  %result = alloca {returned if has_result else "ptr"}
  %exception = alloca ptr
  %status = call i32 @{native}({passed})
  {finish}
}}
"""
    module.link_in(llvm.parse_assembly(entry))
    for function in module.functions:
        if not function.is_declaration and function.name != symbol:
            function.linkage = "internal"
    module.get_function(native).add_function_attribute("alwaysinline")
    for variable in module.global_variables:
        if variable.linkage == llvm.Linkage.common:  # Numba's environment of a function; a kernel has no use for it
            variable.linkage = "internal"


@cache
def target_machine() -> llvm.TargetMachine:
    """For this CPU, to be loaded anywhere in the address space (the large code model on 64 bits)."""
    target = llvm.Target.from_triple(llvm.get_process_triple())
    return target.create_target_machine(
        cpu=llvm.get_host_cpu_name(),
        features=llvm.get_host_cpu_features().flatten(),
        opt=3,
        reloc="static" if target.name.startswith("x86") else "default",
        codemodel="jitdefault",
        jit=True,
    )


def optimise(module: llvm.ModuleRef) -> None:
    options = llvm.create_pipeline_tuning_options(speed_level=3)
    options.loop_vectorization = True
    options.slp_vectorization = True
    options.loop_interleaving = True
    options.loop_unrolling = True
    builder = llvm.create_pass_builder(target_machine(), options)
    builder.getModulePassManager().run(module, builder)
    module.verify()


def externals(code: bytes, module: llvm.ModuleRef) -> tuple[str, ...]:
    """The symbols that have to exist where the object is loaded."""
    found = undefined_symbols(code)
    if found is None:  # not an ELF file: what the module declares, less LLVM's own
        return tuple(f.name for f in module.functions if f.is_declaration and not f.name.startswith("llvm."))
    return found

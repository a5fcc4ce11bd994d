"""From the source of a kernel to an object file.

`frontend.py` writes LLVM instructions by Numba's rules. The rest is done here, because Numba's own back half wraps every
function in error handling that a kernel doesn't need, optimises for the code size of array code, and binds the result to
its process. What is done here: full-width vectors, loop metadata for `independent()`, optimisation, and an object whose
undefined symbols are known.

Imports Numba: only the compile helpers import this module.
"""

from __future__ import annotations

import hashlib
import re
from functools import cache

import llvmlite.binding as llvm
from numba.core.compiler_lock import global_compiler_lock

from ..objects import Compiled, undefined_symbols
from . import instructions, prelude
from .frontend import translate

# these run 512-bit instructions at full clock, but LLVM prefers 256 bits on the Intel ones
WIDE_VECTOR_CPUS = ("icelake-server", "sapphirerapids", "emeraldrapids", "graniterapids", "diamondrapids", "znver5")


def compile_kernel(source: str, symbol: str | None = None, path: str | None = None) -> Compiled:
    """Compile the function `kernel` of `source` to an object that exports it as `symbol`.

    The source may set `SIGNATURE` to a Numba signature; without it, it is `void(CPointer(uint64), intp, intp)`.
    `path` names the file that holds the source, for tracebacks.

    Raises KernelError for a source that is no kernel (`frontend.py`), a `numba.core.errors.NumbaError` for types that
    don't go together, or SyntaxError.
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
    module = llvm.parse_assembly(with_wide_vectors(str(translate(source, symbol, path))))
    simplify(module)
    module = instructions.with_variants(with_loop_metadata(module))
    optimise(module)
    instructions.inline(module, target_machine())
    return module


def with_wide_vectors(text: str) -> str:
    """A module's text, whose functions use vectors of 512 bits where they do so at full clock."""
    if llvm.get_host_cpu_name() not in WIDE_VECTOR_CPUS:
        return text
    return re.sub(r"^(define .*) nounwind$", r'\1 nounwind "prefer-vector-width"="512"', text, flags=re.MULTILINE)


# ---------------------------------------------------------------------------------------------------------------------
# Loop metadata
# ---------------------------------------------------------------------------------------------------------------------

LABEL = re.compile(r"^([^\s;:]+):")
MEMORY_ACCESS = re.compile(r"^  (?:%\S+ = load|store) ")
FIRST_NUMBER = 900_000  # of the metadata added, far above any that modules have here


def with_loop_metadata(module: llvm.ModuleRef) -> llvm.ModuleRef:
    """Turn `independent()` into metadata on its loop and on the loads and stores in it.

    At this point LLVM's simplifications have made a branch-free loop one block that ends in a branch to itself.
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
# Optimisation, object
# ---------------------------------------------------------------------------------------------------------------------


@cache
def target_machine() -> llvm.TargetMachine:
    """For this CPU, to be loaded anywhere in the address space (the large code model on 64 bits)."""
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    target = llvm.Target.from_triple(llvm.get_process_triple())
    return target.create_target_machine(
        cpu=llvm.get_host_cpu_name(),
        features=llvm.get_host_cpu_features().flatten(),
        opt=3,
        reloc="static" if target.name.startswith("x86") else "default",
        codemodel="jitdefault",
        jit=True,
    )


def simplify(module: llvm.ModuleRef) -> None:
    """Variables in registers, and each loop that has no branches in one block."""
    builder = llvm.create_pass_builder(target_machine(), llvm.create_pipeline_tuning_options(speed_level=3))
    passes = llvm.create_new_module_pass_manager()
    passes.add_sroa_pass()
    passes.add_simplify_cfg_pass()
    passes.add_instruction_combine_pass()
    passes.add_new_gvn_pass()
    passes.add_loop_rotate_pass()
    passes.add_simplify_cfg_pass()
    passes.run(module, builder)


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

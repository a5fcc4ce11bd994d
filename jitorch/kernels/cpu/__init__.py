"""Kernels for the CPU: from descriptions of loops to machine code, and its execution.

| file | what it does |
| --- | --- |
| description.py | what a kernel reads, writes and loops over: plain data, all that comes from `graph` |
| codegen.py, writer.py, accumulators.py, expressions.py | the source of a fused kernel: its loop shape, bodies, sums, functions |
| loops_map.py, loops_row.py, loops_column.py, loops_block.py, loops_total.py | the loop shapes |
| tiles.py, scans.py, templates.py, library.py | what they call: tiles turned on the stack, running sums, indexed writes, random bits |
| contraction.py, panels.py, packing.py, prepacked.py, simd.py, winograd.py, tuning.py | products and convolutions |
| attention.py, recurrence.py | attention without scores in memory; loops over time |
| prelude.py | the names that a kernel's source may use |
| vecmath.py, elementary.py, instructions.py, values.py | functions that vectorise: their formulas, in Python's operators on LLVM's values |
| frontend.py, compiler.py, pool.py, worker.py, loader.py | source to LLVM instructions, to an object file, in helper processes; object file to address |
| executor.py | runs tables of kernels, over threads |
"""

"""The engine: recording, programs, scheduling, memory. What runs is made by `kernels`.

| file | what it does |
| --- | --- |
| record.py | operations become steps through a trie; storages, leaves, the flush |
| program.py | what one flush runs, on one of two tiers |
| ir.py, lower.py, lookups.py | the small IR; from steps to it; products with rows of a table |
| groups.py, schedule.py, siblings.py, straighten.py | kernels in the making: what may join, what does, which become one, which views are copied |
| build.py, memory.py | a plan: kernels, their order, buffers in one arena |
| compiled.py | the tables of a plan, filled with addresses and run |
| measure.py | what programs cost, for `jitorch profile` |
"""

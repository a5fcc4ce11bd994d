"""The engine: recording, programs, scheduling, memory. What runs is made by `kernels`."""

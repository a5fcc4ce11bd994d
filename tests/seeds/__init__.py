"""Programs as tutorials show them, mistakes included. test_seeds.py runs each under jitorch and under PyTorch.

A program is a module with `run(torch, nn, F, optim)`, which returns plain Python values. One that ends in an error has
`RAISES`, the error's type and part of its message; a test compares where it was raised, too.
"""

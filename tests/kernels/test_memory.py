"""The pool of large buffers."""

from __future__ import annotations

import gc

import numpy as np

from jitorch.kernels import memory

N = 200_000


def test_live_buffers_don_t_share_memory():
    held = [memory.allocate(n, np.dtype(d)) for d, n in (("f4", N), ("f8", N // 2), ("f4", N), ("i8", N // 2))]
    for i, (buffer, address) in enumerate(held):
        assert buffer.__array_interface__["data"][0] == address and address % memory.ALIGN == 0
        buffer[...] = i
    assert [int(b[0]) for b, _ in held] == [0, 1, 2, 3] and [int(b[-1]) for b, _ in held] == [0, 1, 2, 3]


def test_a_view_keeps_a_buffer_and_the_last_one_returns_it():
    memory.empty_cache()
    buffer, address = memory.allocate(N, np.dtype("f4"))
    view = buffer.reshape(2, -1)[1:]
    del buffer
    gc.collect()
    other, elsewhere = memory.allocate(N, np.dtype("f4"))
    assert elsewhere != address
    del view
    gc.collect()
    again, same = memory.allocate(N, np.dtype("f4"))
    assert same == address and again is not other

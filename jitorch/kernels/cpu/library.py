"""Pieces that some kernels call besides plain arithmetic: random bits."""
from __future__ import annotations

from llvmlite import ir
from numba import int64
from numba.extending import intrinsic

MULTIPLIERS, WEYL = (0xD2511F53, 0xCD9E8D57), (0x9E3779B9, 0xBB67AE85)
ROUNDS = 10


@intrinsic
def philox(typingctx, seed, counter):
    """32 random bits (as int64) of Philox4x32-10 (Salmon et al., 2011): word 0 for key `seed` and counter (`counter`, 0)."""
    def codegen(context, builder, sig, args):
        i32, i64 = ir.IntType(32), ir.IntType(64)

        def low(x):
            return builder.trunc(x, i32)

        def high(x):
            return builder.trunc(builder.lshr(x, ir.Constant(i64, 32)), i32)
        key = [low(args[0]), high(args[0])]
        word = [low(args[1]), high(args[1]), ir.Constant(i32, 0), ir.Constant(i32, 0)]
        for _ in range(ROUNDS):
            p0 = builder.mul(builder.zext(word[0], i64), ir.Constant(i64, MULTIPLIERS[0]))
            p1 = builder.mul(builder.zext(word[2], i64), ir.Constant(i64, MULTIPLIERS[1]))
            word = [builder.xor(builder.xor(high(p1), word[1]), key[0]), low(p1),
                    builder.xor(builder.xor(high(p0), word[3]), key[1]), low(p0)]
            key = [builder.add(k, ir.Constant(i32, w)) for k, w in zip(key, WEYL)]
        return builder.zext(word[0], i64)
    return int64(int64, int64), codegen


NAMES = dict(philox=philox)

"""Pieces that some kernels call besides plain arithmetic: random bits, and BLAS through a pointer."""
from __future__ import annotations

from llvmlite import ir
from numba import float32, float64, int64, types
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


def gemm_caller(element):
    def gemm(typingctx, address, ta, tb, m, n, k, a, lda, b, ldb, c, ldc):
        """Fortran xGEMM at `address`: C = op(A) op(B), column-major; ta and tb are 0 or 1."""
        def codegen(context, builder, sig, args):
            i8, i32 = ir.IntType(8), ir.IntType(32)
            real = context.get_value_type(element)

            def boxed(value, kind):
                place = builder.alloca(kind)
                builder.store(value, place)
                return place
            fn, ta, tb, m, n, k, a, lda, b, ldb, c, ldc = args
            # one frame of temporaries per call: a loop over a batch must not grow the stack
            saved = builder.call(builder.module.declare_intrinsic("llvm.stacksave", (), ir.FunctionType(i8.as_pointer(), [])), [])
            flag = [boxed(builder.select(builder.icmp_signed("!=", t, ir.Constant(t.type, 0)), ir.Constant(i8, ord("T")), ir.Constant(i8, ord("N"))), i8)
                    for t in (ta, tb)]
            size = {name: boxed(builder.trunc(v, i32), i32) for name, v in zip("m n k lda ldb ldc".split(), (m, n, k, lda, ldb, ldc))}
            one, zero = boxed(ir.Constant(real, 1.0), real), boxed(ir.Constant(real, 0.0), real)
            operands = [*flag, size["m"], size["n"], size["k"], one, a, size["lda"], b, size["ldb"], zero, c, size["ldc"]]
            kind = ir.FunctionType(ir.VoidType(), [x.type for x in operands])
            builder.call(builder.inttoptr(fn, kind.as_pointer()), operands)
            builder.call(builder.module.declare_intrinsic("llvm.stackrestore", (), ir.FunctionType(ir.VoidType(), [i8.as_pointer()])), [saved])
            return context.get_dummy_value()
        p = types.CPointer(element)
        return types.void(int64, int64, int64, int64, int64, int64, p, int64, p, int64, p, int64), codegen
    return intrinsic(gemm)


gemm_f32, gemm_f64 = gemm_caller(float32), gemm_caller(float64)
NAMES = dict(philox=philox, gemm_f32=gemm_f32, gemm_f64=gemm_f64)

"""Formulas of elementary functions: `exp`, `log`, `sin`, `erf`, ... as straight lines of LLVM instructions, without branches.

Polynomials are minimax fits (Remez exchange in 40-digit arithmetic, coefficients rounded afterwards), lowest power
first. `FORMULAS` lists them under PyTorch's names; `vecmath` makes them callable from kernels.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache

from llvmlite import binding, ir

from . import instructions
from .values import DOUBLE, FLOAT, I32, Value, choose, clip, fused, is_nan, llvm, magnitude, polynomial, root, with_sign

INF, NAN = math.inf, math.nan


# ---------------------------------------------------------------------------------------------------------------------
# Constants of a floating-point format
# ---------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Format:
    """What the formulas have to know about a floating-point type, and polynomials of matching degree."""

    real: ir.Type
    mantissa: int  # stored bits
    bias: int
    magic: float  # 1.5 * 2**mantissa: adding it rounds to an integer, which then lies in the low bits
    smallest_normal: float
    ln2: tuple[float, float]  # log(2), high and low part; so are the next three
    log2_e: tuple[float, float]
    log10_e: tuple[float, float]
    log10_2: tuple[float, float]
    sqrt_half: int  # the bits of sqrt(0.5)
    exp_range: tuple[float, float]  # beyond, exp is 0 or inf
    exp: Sequence[float]  # (e**r - 1 - r) / r**2            for |r| < ln(2) / 2
    log: Sequence[float]  # (log(1 + f) - f + f**2/2) / f**3  for 1 + f in sqrt(0.5) to sqrt(2), or see log_ratio
    log_ratio: bool  # `log` is ((log((1 + s) / (1 - s)) / s) - 2) / s**2 instead, in powers of s**2
    tanh: Sequence[float]  # (tanh(x) / x - 1) / x**2 in powers of x**2 for |x| < 0.56


F32_FORMAT = Format(
    real=FLOAT,
    mantissa=23,
    bias=127,
    magic=1.5 * 2.0**23,
    smallest_normal=2.0**-126,
    ln2=(0.6931471824645996, -1.9046542121259336e-09),
    log2_e=(1.4426950216293335, 1.925963033500011e-08),
    log10_e=(0.4342944920063019, -1.0103049952192578e-08),
    log10_2=(0.3010300099849701, -1.432098883924482e-08),
    sqrt_half=0x3F3504F3,
    exp_range=(-104.0, 89.0),
    exp=(0.49999994, 0.166665196, 0.0416683927, 0.00836877991, 0.00138144568),
    log=(
        *(0.333333135, -0.250000089, 0.200021237, -0.166680038, 0.142194554),
        *(-0.124053515, 0.118886918, -0.116774566, 0.0674767867),
    ),
    log_ratio=False,
    tanh=(-0.333333135, 0.133324802, -0.053840518, 0.0210205596, -0.00619873079),
)
F64_FORMAT = Format(
    real=DOUBLE,
    mantissa=52,
    bias=1023,
    magic=1.5 * 2.0**52,
    smallest_normal=2.0**-1022,
    ln2=(0.6931471805599453, 2.3190468138462996e-17),
    log2_e=(1.4426950408889634, 2.0355273740931033e-17),
    log10_e=(0.4342944819032518, 1.098319650216765e-17),
    log10_2=(0.3010299956639812, -2.8037281277851704e-18),
    sqrt_half=0x3FE6A09E667F3BCD,
    exp_range=(-746.0, 710.0),
    exp=(
        *(0.5, 0.16666666666666682, 0.04166666666666609, 0.008333333333316916, 0.0013888888889117346),
        *(0.0001984126989668251, 2.480158692446639e-05, 2.7557234557867096e-06, 2.7557582899144364e-07),
        *(2.511214464777908e-08, 2.0826507540926964e-09),
    ),
    log=(
        *(0.6666666666666666, 0.4000000000000625, 0.28571428569085794, 0.2222222264681028),
        *(0.18181775664448996, 0.15387090802727355, 0.1325011714203478, 0.13251337880487798),
    ),
    log_ratio=True,
    tanh=(
        *(-0.3333333333333333, 0.13333333333332958, -0.05396825396796828, 0.02186948852519075),
        *(-0.008863235282945255, 0.003592124487555836, -0.0014558002641235253, 0.0005898024165024394),
        *(-0.00023810366018321754, 9.371555626453691e-05, -3.263753598248829e-05, 7.261863558117202e-06),
    ),
)
# float64 arithmetic whose result is going to be rounded to float32: shorter polynomials, accurate to 2**-34
ROUNDED = replace(
    F64_FORMAT,
    exp=(
        *(0.5000000068041239, 0.16666665864682909, 0.04166629362973596),
        *(0.008333497669752636, 0.0013944758642768795, 0.0001979024092749181),
    ),
    log=(
        *(0.3333333389432935, -0.24999997071653599, 0.19999911000603793, -0.1666685514818728, 0.14290184175771753),
        *(-0.12498295950262245, 0.11014649992327558, -0.09924288557158727, 0.09989102021185448),
        *(-0.09864796008081839, 0.05387669118272087),
    ),
    log_ratio=False,
)
HALF_PI_F32 = (1.5707963705062866, -4.371138828673793e-08, -1.7151245100058819e-15)
HALF_PI_F64 = (1.5707963267948966, 6.123233995736766e-17)
# 2/pi in 32-bit digits, the first of which starts at the bit of weight 2**23
TWO_OVER_PI = (0x000000A2, 0xF9836E4E, 0x441529FC, 0x2757D1F5, 0x34DDC0DB, 0x6295993C, 0x439041FE)

EXP2 = (0.693147182, 0.240226507, 0.0555032752, 0.00961800385, 0.00134004035, 0.000154764246)  # (2**r - 1) / r
EXP2_ROUNDED = (
    *(0.6931471805414615, 0.24022651078129423, 0.05550410963231799, 0.009618036542040838),
    *(0.0013333430234893165, 0.00015467237523602122, 1.5315077975756347e-05),
)
LOG2_ROUNDED = (  # log2(1 + f) / f
    *(1.4426950408893564, -0.72134752042491, 0.48089834658370895, -0.3606737659148925, 0.2885390709323673),
    *(-0.2404487264085956, 0.20609525350407615, -0.180350417535788, 0.1604255382606285, -0.1441263084902341),
    *(0.12914089670524695, -0.11962094324522393, 0.12613464171487898, -0.12354920394438451, 0.06319722334968374),
)
SIN = (-0.166666672, 0.00833332911, -0.000198393274, 2.71823751e-06)  # (sin(r) / r - 1) / r**2 in powers of r**2
COS = (0.0416666456, -0.00138873619, 2.44377297e-05)  # (cos(r) - 1 + r**2/2) / r**4
SIN_ROUNDED = (-0.16666666666631272, 0.008333333325212612, -0.00019841263789784256, 2.755535053833711e-06,
               -2.4761118339433204e-08)  # fmt: skip
COS_ROUNDED = (0.04166666662247835, -0.001388888372273788, 2.479951179276784e-05, -2.7209550010167375e-07)
ATAN_ROUNDED = (  # (atan(t) / t - 1) / t**2 in powers of t**2 for |t| <= 1
    *(-0.3333333223500429, 0.19999932185541586, -0.14284250686241282, 0.11095201062419643, -0.08988785806444474),
    *(0.0726936665201019, -0.054704169475378706, 0.03470429033269228, -0.016471192910779912),
    *(0.004999209727922991, -0.0007112860562162818),
)
ASIN_ROUNDED = (  # (asin(t) / t - 1) / t**2 in powers of t**2 for |t| <= 1/2
    *(0.1666666719845237, 0.0749994741352556, 0.04466037478191567, 0.030107511915397792),
    *(0.02463621989251122, 0.007412230190361181, 0.034763488749455715),
)
# erf(x) / x - 1 in powers of x**2 for |x| < 1, and log2(erfc(x)) / x for x in 1 to 4
ERF_SMALL = (0.128379166, -0.37612626, 0.112835854, -0.026853811, 0.00518832728, -0.00080101908, 7.85385346e-05)
ERF_LARGE = (-1.628046155, -0.9173324704, -0.1516224444, 0.0328733772, -0.004592268728, 0.0003032288223)
EXP2_SHORT = (0.6931470037, 0.2402224243, 0.0555073358, 0.009671512991, 0.001326472615)  # as EXP2, to 2**-23
ERFCX_ROUNDED = (  # exp(x**2) * erfc(x) in powers of 1 / (1 + 0.4 * x) for x in 0 to 11
    *(6.446385202400177e-07, 0.2256537650143539, 0.22601510170409958, 0.20452288379795003, 0.19025607990974383),
    *(0.042566227280849314, 0.3058272244690389, -0.5018599308753198, 0.7904621061794037, -0.875223835962827),
    *(0.5471513723357921, -0.1801596347016807, 0.02478799623918486),
)
# sin(pi * r) / r and cos(pi * r) in powers of r**2 for |r| <= 1/2
SINPI = (
    *(3.141592653589793, -5.167712780049969, 2.550164039877294, -0.5992645293187332, 0.08214588656980851),
    *(-0.007370430478000698, 0.00046629968496714294, -2.1903175552621014e-05, 7.694623680347179e-07),
)
COSPI = (
    *(1.0, -4.934802200544679, 4.058712126416768, -1.3352627688545549, 0.23533063035799387),
    *(-0.02580689137657771, 0.0019295741871648568, -0.00010463741630635466, 4.300722973880843e-06),
    -1.3435096750695395e-07,
)
LGAMMA_NEAR_ONE = (  # lgamma(1 + t) / t for |t| < 0.3
    *(-0.5772156649026124, 0.8224670332637247, -0.4006856333694946, 0.2705808579014622, -0.2073857096166043),
    *(0.1695528292012326, -0.14404051035010562, 0.12567256232600577, -0.11160050259859561, 0.09716410478101313),
    *(-0.0870854284529261, 0.10807303611989784, -0.10419537067354345),
)
BERNOULLI = (1 / 6, -1 / 30, 1 / 42, -1 / 30, 5 / 66, -691 / 2730, 7 / 6, -3617 / 510)  # B2, B4, ...
STIRLING = tuple(b / (2 * k * (2 * k - 1)) for k, b in enumerate(BERNOULLI, 1))
DIGAMMA = tuple(b / (2 * k) for k, b in enumerate(BERNOULLI, 1))


# ---------------------------------------------------------------------------------------------------------------------
# Formulas: each takes the format and the arguments
# ---------------------------------------------------------------------------------------------------------------------


def round_to_integer(scaled: Value, fmt: Format) -> tuple[Value, Value]:
    """Of x + magic: the integer nearest to x, as a float and as an integer."""
    return scaled - fmt.magic, scaled.bits() - scaled.const(fmt.magic).bits()


def power_of_two(n: Value, fmt: Format) -> Value:
    """2**n for an integer n that gives a normal number."""
    return ((n + fmt.bias) << fmt.mantissa).from_bits()


@cache
def has_scale_instruction() -> bool:
    """Whether this CPU multiplies by a power of two, far ones included, in one instruction that LLVM uses for vectors."""
    features = binding.get_host_cpu_features()
    return bool(features.get("avx512f") and features.get("avx512vl"))


def scale(x: Value, n: Value, fmt: Format) -> Value:
    """x * 2**n, where n may leave the exponent's range: rounded once."""
    if has_scale_instruction():
        n = n if n.ir.type == I32 else n.to_i32()
        kind = ir.FunctionType(fmt.real, [fmt.real, I32])
        ldexp = x.builder.module.declare_intrinsic("llvm.ldexp", [fmt.real, I32], kind)
        return Value(x.builder, x.builder.call(ldexp, [x.ir, n.ir]))
    half = n >> 1       # in two steps: only the last product can round
    return x * power_of_two(half, fmt) * power_of_two(n - half, fmt)


def exp_parts(x: Value, fmt: Format) -> tuple[Value, Value]:
    """p, n with exp(x) = (1 + p) * 2**n, for |x| within exp_range; |p| < 0.42."""
    n, integer = round_to_integer(fused(x, 1 / math.log(2), fmt.magic), fmt)
    high, low = fused(n, -fmt.ln2[0], x), n * -fmt.ln2[1]  # high is exact
    r = high + low
    return high + fused(r * r, polynomial(r, fmt.exp), low), integer


def exp_(fmt: Format, x: Value) -> Value:
    x = clip(x, *fmt.exp_range)
    n, integer = round_to_integer(fused(x, 1 / math.log(2), fmt.magic), fmt)
    r = fused(n, -fmt.ln2[1], fused(n, -fmt.ln2[0], x))
    return scale(polynomial(r, (1.0, 1.0, *fmt.exp)), integer, fmt)


def exp2_(fmt: Format, x: Value) -> Value:
    x = clip(x, -151.0, 128.0)
    n, integer = round_to_integer(x + fmt.magic, fmt)
    r = x - n
    return scale(fused(r, polynomial(r, EXP2), 1.0), integer, fmt)


def expm1_(fmt: Format, x: Value) -> Value:
    p, n = exp_parts(clip(x, -40.0, fmt.exp_range[1]), fmt)
    half = power_of_two(n - 1, fmt)  # half of 2**n, which may be too large
    return choose(x.equals(0.0), x, fused(p, half, half - 0.5) * 2.0)


def log1p_parts(f: Value, fmt: Format) -> Value:
    """p with log(1 + f) = f + p, for 1 + f in sqrt(0.5) to sqrt(2)."""
    square = f * f
    if not fmt.log_ratio:
        return square * fused(f, polynomial(f, fmt.log), -0.5)
    s = f / (f + 2.0)
    u = s * s
    half_square = square * 0.5
    return fused(s, fused(u, polynomial(u, fmt.log), half_square), -half_square)


def log_parts(x: Value, fmt: Format) -> tuple[Value, Value]:
    """f, e with x = (1 + f) * 2**e and 1 + f in sqrt(0.5) to sqrt(2), for x > 0; e is a float."""
    tiny = x < fmt.smallest_normal
    bits = choose(tiny, x * 2.0**fmt.mantissa, x).bits()
    e = (bits - fmt.sqrt_half) >> fmt.mantissa
    f = (bits - (e << fmt.mantissa)).from_bits() - 1.0
    e = choose(tiny, e - fmt.mantissa, e)
    return f, (e if e.ir.type == I32 else e.to_i32()).integer_to(fmt.real)


def log_limits(x: Value, result: Value) -> Value:
    """The values of a logarithm outside the positive finite numbers."""
    result = choose(x < INF, result, x)
    result = choose(x.equals(0.0), -INF, result)
    return choose(x < 0.0, NAN, result)


def log_(fmt: Format, x: Value) -> Value:
    f, e = log_parts(x, fmt)
    p = fused(e, fmt.ln2[1], log1p_parts(f, fmt))
    return log_limits(x, fused(e, fmt.ln2[0], f + p))


def log2_(fmt: Format, x: Value) -> Value:
    f, e = log_parts(x, fmt)
    y = f + log1p_parts(f, fmt)
    return log_limits(x, fused(y, fmt.log2_e[0], fused(y, fmt.log2_e[1], e)))


def log10_(fmt: Format, x: Value) -> Value:
    f, e = log_parts(x, fmt)
    y = f + log1p_parts(f, fmt)
    small = fused(y, fmt.log10_e[1], e * fmt.log10_2[1])
    return log_limits(x, fused(e, fmt.log10_2[0], fused(y, fmt.log10_e[0], small)))


def log1p_(fmt: Format, x: Value) -> Value:
    u = x + 1.0
    bits = u.bits()
    k = (bits - fmt.sqrt_half) >> fmt.mantissa
    # 1 + f = (1 + x) / 2**k, without losing low bits of x; where x is large 1 + x = x will do, and 2**-k may not exist
    s = power_of_two(-k, fmt)
    large = k > fmt.mantissa + 2
    f = choose(large, (bits - (k << fmt.mantissa)).from_bits() - 1.0, fused(x, s, s - 1.0))
    e = (k if k.ir.type == I32 else k.to_i32()).integer_to(fmt.real)
    p = fused(e, fmt.ln2[1], log1p_parts(f, fmt))
    result = log_limits(u, fused(e, fmt.ln2[0], f + p))
    return choose(x.equals(0.0), x, result)


def sigmoid_(fmt: Format, x: Value) -> Value:
    e = exp_(fmt, -magnitude(x))
    negative = x < 0.0
    divisor = e + 1.0
    quotient = choose(negative, e, 1.0) / divisor
    lost = e - (divisor - 1.0)  # what rounding took from the divisor; without it the error reaches 2.25 units
    return fused(quotient * lost, -choose(negative, 1.0 - quotient, quotient), quotient)


def tanh_(fmt: Format, x: Value) -> Value:
    a = magnitude(x)
    u = x * x
    small = fused(u * polynomial(u, fmt.tanh), x, x)
    p, n = exp_parts(clip(a, 0.0, 22.0) * 2.0, fmt)
    e = power_of_two(n, fmt)
    large = 1.0 - 2.0 / (fused(p, e, e) + 1.0)
    return with_sign(choose(a < 0.56, small, large), x)


def sinh_(fmt: Format, x: Value) -> Value:
    a = clip(magnitude(x), 0.0, 100.0)
    p = expm1_(fmt, a)
    return with_sign((p + p / (p + 1.0)) * 0.5, x)


def cosh_(fmt: Format, x: Value) -> Value:
    e = exp_(fmt, clip(magnitude(x), 0.0, 100.0))
    return (e + 1.0 / e) * 0.5


def asinh_(fmt: Format, x: Value) -> Value:
    a = magnitude(x)
    square = a * a
    result = log1p_(fmt, a + square / (root(square + 1.0) + 1.0))
    return with_sign(choose(a < INF, result, a), x)


def acosh_(fmt: Format, x: Value) -> Value:
    t = x - 1.0
    result = log1p_(fmt, t + root(t * (t + 2.0)))
    return choose(x < 1.0, NAN, result)


def atanh_(fmt: Format, x: Value) -> Value:
    a = magnitude(x)
    return with_sign(log1p_(fmt, (a + a) / (1.0 - a)) * 0.5, x)


def payne_hanek(a: Value) -> tuple[Value, Value]:
    """r (float64), q with a = q * pi/2 + r modulo 2 pi and |r| <= pi/4, for a float32 a in 2**15 to 2**128.

    a is m * 2**e with a 24-bit integer m. The 96 bits of 2**e * 2/pi from the weight 2 on are picked out of the digits
    of 2/pi by the exponent; m times these gives the quadrant and 62 bits of the fraction.
    """
    bits = a.bits()
    position = (bits >> 23) - 128
    odd, upper = (position & 32).differs(0), (position & 64).differs(0)
    signed = [bits.const(w - (w >> 31 << 32)) for w in TWO_OVER_PI]
    pairs = [choose(odd, signed[i + 1], signed[i]) for i in range(6)]
    words = [choose(upper, pairs[i + 2], pairs[i]) for i in range(4)]
    high, middle, low = (llvm("fshl", words[i], words[i + 1], position & 31) for i in range(3))
    m = (bits & 0x7FFFFF) | 0x800000
    wide = m.to_u64()
    product = ((m * high).to_u64() << 32) + wide * middle.to_u64() + (wide * low.to_u64()).shift_in_zeros(32)
    q = (product + (1 << 61)).shift_in_zeros(62)
    return (product - (q << 62)).integer_to(DOUBLE) * (math.pi / 2 * 2.0**-62), q.to_i32()


def reduce_quadrant(x: Value, wide: bool) -> tuple[Value, Value]:
    """r, q with |x| = q * pi/2 + r modulo 2 pi and |r| <= pi/4; r is float64 if `wide`. x is float32."""
    a = magnitude(x)
    fmt, parts = (ROUNDED, HALF_PI_F64) if wide else (F32_FORMAT, HALF_PI_F32)
    r = a.to_double() if wide else a
    n, q = round_to_integer(fused(r, 2 / math.pi, fmt.magic), fmt)
    for part in parts:  # the products are exact up to 2**17 * pi/2
        r = fused(n, -part, r)
    large_r, large_q = payne_hanek(a)
    large = (a > 1e5) & (a < INF)
    r = choose(large, large_r if wide else large_r.to_float(), r)
    return r, choose(large, large_q, q.to_i32() if wide else q)


def flip_sign(x: Value, sign: Value) -> Value:
    """x, negated where the sign bit of the integer is set."""
    return (x.bits() ^ (sign & -(1 << 31))).from_bits()


def sine_or_cosine(r: Value, q: Value) -> Value:
    """sin(r + q * pi/2) for a float32 r."""
    z = r * r
    sine = fused(r * z, polynomial(z, SIN), r)
    cosine = fused(z * z, polynomial(z, COS), fused(z, -0.5, 1.0))
    return flip_sign(choose((q & 1).equals(0), sine, cosine), q << 30)


def sin_f32(fmt: Format, x: Value) -> Value:
    r, q = reduce_quadrant(x, wide=False)
    return flip_sign(sine_or_cosine(r, q), x.bits())


def cos_f32(fmt: Format, x: Value) -> Value:
    r, q = reduce_quadrant(x, wide=False)
    return sine_or_cosine(r, q + 1)


def tan_f32(fmt: Format, x: Value) -> Value:
    r, q = reduce_quadrant(x, wide=True)
    z = r * r
    sine = fused(r * z, polynomial(z, SIN_ROUNDED), r)
    cosine = fused(z * z, polynomial(z, COS_ROUNDED), fused(z, -0.5, 1.0))
    even = (q & 1).equals(0)
    quotient = choose(even, sine, cosine) / choose(even, cosine, -sine)
    return flip_sign(quotient.to_float(), x.bits())


def arctangent(t: Value) -> Value:
    z = t * t
    return fused(t * z, polynomial(z, ATAN_ROUNDED), t)


def atan_(fmt: Format, x: Value) -> Value:
    a = magnitude(x)
    steep = a > 1.0
    angle = arctangent(choose(steep, 1.0 / a, a))
    return with_sign(choose(steep, math.pi / 2 - angle, angle), x)


def atan2_(fmt: Format, y: Value, x: Value) -> Value:
    ay, ax = magnitude(y), magnitude(x)
    steep = ay > ax
    t = choose(steep, ax, ay) / choose(steep, ay, ax)
    t = choose(ay.equals(ax), choose(ax.equals(0.0), 0.0, t.const(1.0)), t)
    angle = arctangent(t)
    angle = choose(steep, math.pi / 2 - angle, angle)
    angle = choose(x.bits() < 0, math.pi - angle, angle)
    return with_sign(angle, y)


def arcsine_parts(a: Value) -> tuple[Value, Value]:
    """p, large with asin(a) = p for a <= 1/2 (large is false) and pi/2 - 2 * p above; NaN for a > 1."""
    large = a > 0.5
    z = choose(large, (1.0 - a) * 0.5, a * a)
    t = choose(large, root(z), a)
    return fused(t * z, polynomial(z, ASIN_ROUNDED), t), large


def asin_(fmt: Format, x: Value) -> Value:
    p, large = arcsine_parts(magnitude(x))
    return with_sign(choose(large, fused(p, -2.0, math.pi / 2), p), x)


def acos_(fmt: Format, x: Value) -> Value:
    p, large = arcsine_parts(magnitude(x))
    near_one = choose(x > 0.0, p * 2.0, fused(p, -2.0, math.pi))
    return choose(large, near_one, math.pi / 2 - with_sign(p, x))


def erf_f32(fmt: Format, x: Value) -> Value:
    return instructions.called("erf", x) if instructions.has_instructions() else erf_without_tables(fmt, x)


def erf_without_tables(fmt: Format, x: Value) -> Value:
    """x times a polynomial below 1; above, 1 - 2**t, of which far fewer digits matter than of a power by itself."""
    a = magnitude(x)
    u = x * x
    small = fused(x, polynomial(u, ERF_SMALL), x)
    c = clip(a, 0.0, 4.0)
    t = c * polynomial(c, ERF_LARGE)
    shifted = t + fmt.magic
    r = t - (shifted - fmt.magic)
    # 2**t, a normal number: the integer is in the low bits of `shifted`
    tail = ((shifted.bits() << fmt.mantissa) + polynomial(r, (1.0, *EXP2_SHORT)).bits()).from_bits()
    large = 1.0 - tail
    return with_sign(choose(a >= 1.0, large, small), x)     # NaN: small


def erfc_(fmt: Format, x: Value) -> Value:
    a = clip(magnitude(x), 0.0, 10.5)
    tail = polynomial(1.0 / fused(a, 0.4, 1.0), ERFCX_ROUNDED) * exp_(fmt, -(a * a))
    return choose(x < 0.0, 2.0 - tail, tail)


def mirror(x: Value, below: float) -> tuple[Value, Value, Value]:
    """mirrored, w, r: w is x, or 1 - x where x < `below` (mirrored is true); r is x less the nearest integer."""
    mirrored = x < below
    return mirrored, choose(mirrored, 1.0 - x, x), x - llvm("rint", x)


def lgamma_(fmt: Format, x: Value) -> Value:
    """log |gamma(x)|, accurate for float32, computed in full float64 since near a zero all but its last bits cancel.

    Stirling's series above 7, reached with gamma(w + 7) = w * (w + 1) ... (w + 6) * gamma(w); polynomials near the zeros
    1 and 2; and gamma(x) * gamma(1 - x) = pi / sin(pi * x) (NIST Handbook of Mathematical Functions, section 5).
    """
    mirrored, w, r = mirror(x, 0.5)
    product = w
    for i in range(1, 7):
        product = product * (w + float(i))
    low = w < 7.0
    z = choose(low, w + 7.0, w)
    inverse = 1.0 / z
    stirling = (z - 0.5) * log_(fmt, z) - z + math.log(2 * math.pi) / 2
    stirling = fused(inverse, polynomial(inverse * inverse, STIRLING), stirling)

    beyond = w > 1.5
    t = w - choose(beyond, 2.0, w.const(1.0))
    near = magnitude(t) < 0.3
    divided_out = choose(near, choose(beyond, 1.0 / (w - 1.0), 1.0), choose(low, product, 1.0))
    result = choose(near, t * polynomial(t, LGAMMA_NEAR_ONE) + 0.0, stirling)  # + 0.0: lgamma(1) is not -0
    result = result - log_(fmt, divided_out)
    sine = magnitude(r * polynomial(r * r, SINPI))
    result = choose(mirrored, log_(fmt, math.pi / sine) - result, result)
    return choose(magnitude(x).equals(INF), INF, result)


def digamma_(fmt: Format, x: Value) -> Value:
    """The derivative of lgamma: the same steps, with the asymptotic series from 10 on. In float64 the terms, not the
    result, set the error: about 1e-15 above 0, which is many units in the last place next to the zero at 1.46."""
    mirrored, w, r = mirror(x, 0.0)
    numerator, denominator = w.const(1.0), w
    for i in range(1, 10):  # 1 / w + 1 / (w + 1) ... as one fraction
        factor = w + float(i)
        numerator = fused(numerator, factor, denominator)
        denominator = denominator * factor
    low = w < 10.0
    z = choose(low, w + 10.0, w)
    inverse = 1.0 / z
    square = inverse * inverse
    result = fused(inverse, -0.5, log_(fmt, z)) - square * polynomial(square, DIGAMMA)
    result = choose(low, result - numerator / denominator, result)
    square = r * r
    cotangent = polynomial(square, COSPI) / (r * polynomial(square, SINPI))
    result = choose(mirrored, fused(cotangent, -math.pi, result), result)
    result = choose((x < 0.0) & r.equals(0.0), NAN, result)
    return choose(x.equals(0.0), -with_sign(INF, x), result)


def pow_(fmt: Format, x: Value, y: Value) -> Value:
    """C99's pow. The format is ROUNDED: 40 bits of log2(x) are enough for a float32 result."""
    a = magnitude(x)
    f, e = log_parts(a, fmt)
    log2 = log_limits(a, fused(f, polynomial(f, LOG2_ROUNDED), e))
    exponent = choose(y.equals(0.0), 0.0, y * log2)
    exponent = choose(a.equals(1.0) & magnitude(y).equals(INF), 0.0, exponent)
    exponent = clip(exponent, -160.0, 130.0)
    n, integer = round_to_integer(exponent + fmt.magic, fmt)
    r = exponent - n
    result = fused(r, polynomial(r, EXP2_ROUNDED), 1.0) * power_of_two(integer, fmt)

    integral = llvm("floor", y).equals(y)
    half = y * 0.5
    odd = integral & llvm("floor", half).differs(half)
    result = choose(odd, with_sign(result, x), result)
    result = choose((x < 0.0) & (x > -INF) & ~integral & (a < INF), NAN, result)
    result = choose(x.equals(1.0), 1.0, result)
    return result


def rsqrt_(fmt: Format, x: Value) -> Value:
    return 1.0 / root(x)


def rsqrt_f32(fmt: Format, x: Value) -> Value:
    return instructions.called("rsqrt", x) if instructions.has_instructions() else rsqrt_(fmt, x)


def fmod_f32(fmt: Format, x: Value, y: Value) -> Value:
    """The exact remainder, computed in float64: ten steps that each take 28 bits off a quotient of up to 277."""
    r, d = magnitude(x).to_double(), magnitude(y).to_double()
    inverse = 1.0 / d
    for shift in range(252, -1, -28):
        q = llvm("rint", r * (inverse * 2.0**-shift))
        r = fused(-q, d * 2.0**shift, r)
    r = choose(r < 0.0, r + d, r)
    # a finite x modulo infinity is x; r is NaN for every other special case, as it should be
    untouched = magnitude(y).equals(INF) & (magnitude(x) < INF)
    return choose(untouched, x, with_sign(r.to_float(), x))


def fmod_f64(fmt: Format, x: Value, y: Value) -> Value:
    return x.emit("frem", y.ir)


def remainder_(fmt: Format, x: Value, y: Value) -> Value:
    """torch.remainder: the result has the sign of y."""
    r = FMOD[fmt.real](fmt, x, y)
    return choose(r.differs(0.0) & ((r.bits() ^ y.bits()) < 0), r + y, r)


def floor_divide_(fmt: Format, x: Value, y: Value) -> Value:
    """torch.floor_divide: the quotient of x - fmod(x, y), which is nearly integral, made integral."""
    r = FMOD[fmt.real](fmt, x, y)
    quotient = (x - r) / y
    quotient = choose(r.differs(0.0) & ((r.bits() ^ y.bits()) < 0), quotient - 1.0, quotient)
    floor = llvm("floor", quotient)
    floor = choose(quotient - floor > 0.5, floor + 1.0, floor)
    exact = x / y
    floor = choose(quotient.equals(0.0), with_sign(0.0, exact), floor)
    return choose(y.equals(0.0), exact, floor)


FMOD = {FLOAT: fmod_f32, DOUBLE: fmod_f64}


def maximum_(fmt: Format, x: Value, y: Value) -> Value:
    return choose(is_nan(x), x, choose(x > y, x, y))


def minimum_(fmt: Format, x: Value, y: Value) -> Value:
    return choose(is_nan(x), x, choose(x < y, x, y))


def in_double(formula: Callable[..., Value], fmt: Format = ROUNDED) -> Callable[..., Value]:
    """The formula on float32 arguments, computed in float64 and rounded once."""

    def rounded(_: Format, *args: Value) -> Value:
        return formula(fmt, *(a.to_double() for a in args)).to_float()

    return rounded


def llvm_formula(name: str) -> Callable[..., Value]:
    return lambda fmt, *args: llvm(name, *args)


def libm(name: str) -> Callable[..., Value]:
    """A call to the C library's function on float64."""

    def call(fmt: Format, *args: Value) -> Value:
        module = args[0].builder.module
        function = module.globals.get(name)
        if function is None:
            function = ir.Function(module, ir.FunctionType(DOUBLE, [DOUBLE] * len(args)), name)
            function.attributes.add("nounwind")
            function.attributes.add("readnone")
        return Value(args[0].builder, args[0].builder.call(function, [a.ir for a in args]))

    return call


# ---------------------------------------------------------------------------------------------------------------------
# Formulas for torch's names
# ---------------------------------------------------------------------------------------------------------------------

# name: (number of arguments, formula for float32, formula for float64)
FORMULAS: dict[str, tuple[int, Callable[..., Value], Callable[..., Value]]] = {
    "exp": (1, exp_, exp_),
    "exp2": (1, exp2_, libm("exp2")),
    "expm1": (1, expm1_, expm1_),
    "log": (1, log_, log_),
    "log2": (1, log2_, log2_),
    "log10": (1, log10_, log10_),
    "log1p": (1, log1p_, log1p_),
    "sigmoid": (1, sigmoid_, sigmoid_),
    "tanh": (1, tanh_, tanh_),
    "sin": (1, sin_f32, libm("sin")),
    "cos": (1, cos_f32, libm("cos")),
    "tan": (1, tan_f32, libm("tan")),
    "sinh": (1, in_double(sinh_), libm("sinh")),
    "cosh": (1, in_double(cosh_), libm("cosh")),
    "asin": (1, in_double(asin_), libm("asin")),
    "acos": (1, in_double(acos_), libm("acos")),
    "atan": (1, in_double(atan_), libm("atan")),
    "atan2": (2, in_double(atan2_), libm("atan2")),
    "asinh": (1, in_double(asinh_), libm("asinh")),
    "acosh": (1, in_double(acosh_), libm("acosh")),
    "atanh": (1, in_double(atanh_), libm("atanh")),
    "erf": (1, erf_f32, libm("erf")),
    "erfc": (1, in_double(erfc_), libm("erfc")),
    "lgamma": (1, in_double(lgamma_, F64_FORMAT), libm("lgamma")),
    "digamma": (1, in_double(digamma_, F64_FORMAT), digamma_),
    "pow": (2, in_double(pow_), libm("pow")),
    "rsqrt": (1, rsqrt_f32, rsqrt_),
    "sqrt": (1, llvm_formula("sqrt"), llvm_formula("sqrt")),
    "abs": (1, llvm_formula("fabs"), llvm_formula("fabs")),
    "floor": (1, llvm_formula("floor"), llvm_formula("floor")),
    "ceil": (1, llvm_formula("ceil"), llvm_formula("ceil")),
    "trunc": (1, llvm_formula("trunc"), llvm_formula("trunc")),
    "round": (1, llvm_formula("rint"), llvm_formula("rint")),
    "copysign": (2, llvm_formula("copysign"), llvm_formula("copysign")),
    "maximum": (2, maximum_, maximum_),
    "minimum": (2, minimum_, minimum_),
    "fmod": (2, fmod_f32, fmod_f64),
    "remainder": (2, remainder_, remainder_),
    "floor_divide": (2, floor_divide_, floor_divide_),
}

"""Elementwise operations of three operands and more. `arithmetic` has the functions that users call."""

from __future__ import annotations

import math

import numpy as np

from ..dtypes import FLOAT, bool_
from ..graph.record import Meta
from .dispatch import Op
from .elementwise import FUNCTIONS, both, define, where_of
from .promotion import to_value


# -- more operands ---------------------------------------------------------------------------------------------------
def limited(x, low, high):
    if low is not None:
        x = np.maximum(x, low)
    return x if high is None else np.minimum(x, high)


def limited_ir(b, x, low, high):
    larger, smaller = ("or", "and") if x.dtype is bool_ else ("maximum", "minimum")
    if low is not None:
        x = b.map(larger, x, low)
    return x if high is None else b.map(smaller, x, high)


def inside(x, low, high):
    ok = np.ones(np.shape(x), bool) if low is None else x >= low
    return ok if high is None else ok & (x <= high)


def inside_ir(b, x, low, high):
    ok = None if low is None else x >= low
    under = None if high is None else x <= high
    return under if ok is None else ok if under is None else ok & under


def clamp_slope(c, g):
    x, low, high = c.input(0), c.input(1), c.input(2)
    d_low = d_high = None
    if c.needs[1]:
        d_low = where_of(x < low if high is None else (x < low) & (low < high), g, 0)
    if c.needs[2]:
        d_high = where_of(x > high if low is None else (x > high) | (high < low), g, 0)
    return (FUNCTIONS["clamp_backward"](g, x, low, high) if c.needs[0] else None, d_low, d_high)


def clamp_check(x, low, high):
    if x.dtype is bool_ and low is not None and high is not None:
        raise NotImplementedError("\"clamp_scalar_cpu\" not implemented for 'Bool'")


FUNCTIONS["clamp"] = define("clamp", limited, limited_ir, clamp_slope, saves="012", check=clamp_check)
FUNCTIONS["clamp_backward"] = define(
    "clamp_backward",
    lambda g, x, low, high: np.where(inside(x, low, high), g, 0),
    lambda b, g, x, low, high: b.where(inside_ir(b, x, low, high), g, b.const(0, g.dtype)),
    lambda c, h: (FUNCTIONS["clamp_backward"](h, c.input(1), c.input(2), c.input(3)), None, None, None),
    saves="123",
)


def lerp_reference(a, z, w):
    """From the nearer end; product and sum are rounded once, as in PyTorch: the last bit counts in long averages."""
    near = np.abs(w) < 0.5
    factor, end = np.where(near, w, w - 1), np.where(near, a, z)
    if a.dtype == np.float32:
        return factor.astype(np.float64) * (z - a) + end
    return factor * (z - a) + end


def lerp_expression(b, a, z, w):
    near = b.map("abs", w) < 0.5
    return b.map("fma", b.where(near, w, w - 1), z - a, b.where(near, a, z))


def lerp_slope(c, g):
    w = c.input(2)
    return (
        g * (1 - w) if c.needs[0] else None,
        g * w if c.needs[1] else None,
        g * (c.input(1) - c.input(0)) if c.needs[2] else None,
    )


FUNCTIONS["lerp"] = define(
    "lerp",
    lerp_reference,
    lerp_expression,
    lerp_slope,
    saves="012",
    promote="floating",
)
FUNCTIONS["addcmul"] = define(
    "addcmul",
    *both(lambda x, a, d, value: x + value * a * d),
    lambda c, g: (
        g,
        g * (c.input(2) * c.input(3)) if c.needs[1] else None,
        g * (c.input(1) * c.input(3)) if c.needs[2] else None,
        None,
    ),
    saves="123",
    promote="number",
)
FUNCTIONS["addcdiv"] = define(
    "addcdiv",
    *both(lambda x, a, d, value: x + value * a / d),
    lambda c, g: (
        g,
        g * (c.input(3) / c.input(2)) if c.needs[1] else None,
        -g * (c.input(3) * c.input(1) / (c.input(2) * c.input(2))) if c.needs[2] else None,
        None,
    ),
    saves="123",
    promote="floating",
)


def replaced(x, nan, top, bottom):
    return np.where(np.isnan(x), nan, np.where(x == np.inf, top, np.where(x == -np.inf, bottom, x)))


def replaced_ir(b, x, nan, top, bottom):
    if x.dtype.category != FLOAT:
        return b.map("copy", x)
    return b.where(b.map("isnan", x), nan, b.where(x.eq(math.inf), top, b.where(x.eq(-math.inf), bottom, x)))


def nan_to_num_reference(x, nan, top, bottom):
    return replaced(x, nan, top, bottom) if x.dtype.kind == "f" else x


nan_to_num_op = Op(
    "nan_to_num",
    infer=lambda m, *numbers: Meta(m.shape, m.dtype),
    reference=nan_to_num_reference,
    lower=lambda b, x, *numbers: replaced_ir(b, x, *(to_value(b, n, x.dtype) for n in numbers)),
    saves="0",
    vjp=lambda c, g: (where_of(c.input(0).isfinite(), g, 0), None, None, None),
)

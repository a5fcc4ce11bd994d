"""Samples of the elementwise operations."""

NAN, INF = float("nan"), float("inf")
SPECIAL = [NAN, INF, -INF, 0.0, -0.0, 1.0, -1.0, 0.5, 2.5, -2.5]
INTEGERS = ("uint8", "int8", "int16", "int32", "int64")


def shapes(call, low=-2.0, high=2.0):
    """A function of one tensor, on several shapes and layouts."""
    return [
        lambda torch, t: call(torch, t(3, 5, low=low, high=high)),
        lambda torch, t: call(torch, t(4, 3, dtype="float64", low=low, high=high).transpose(0, 1)),
        lambda torch, t: call(torch, t(9, low=low, high=high)[::2]),
        lambda torch, t: call(torch, t(0, 3, low=low, high=high)),
        lambda torch, t: call(torch, t(dtype="float64", low=low, high=high)),
    ]


def specials(call):
    return [
        lambda torch, t: call(torch, t.of(SPECIAL, grad=False)),
        lambda torch, t: call(torch, t.of(SPECIAL, dtype="float64", grad=False)),
    ]


def of_ints(call, dtypes=INTEGERS, low=-5, high=5):
    def sample(d):
        return lambda torch, t: call(torch, t(3, 4, dtype=d, low=low, high=high))

    return [sample(d) for d in dtypes]


def unary(name, low=-2.0, high=2.0, ints=(*INTEGERS, "bool"), special=True, extra=(), int_low=-5):
    def call(torch, x):
        return getattr(torch, name)(x)

    return [
        *shapes(call, low, high),
        *(specials(call) if special else ()),
        *of_ints(call, ints, int_low),
        *extra,
        lambda torch, t: getattr(t(2, 3, low=low, high=high), name)(),
    ]


FLOAT_FUNCTIONS = {
    "exp": (-3, 3),
    "exp2": (-3, 3),
    "expm1": (-2, 2),
    "log": (0.1, 5),
    "log2": (0.1, 5),
    "log10": (0.1, 5),
    "log1p": (-0.9, 3),
    "sqrt": (0.1, 4),
    "rsqrt": (0.2, 4),
    "sin": (-6, 6),
    "cos": (-6, 6),
    "tan": (-1.3, 1.3),
    "asin": (-0.9, 0.9),
    "acos": (-0.9, 0.9),
    "atan": (-3, 3),
    "sinh": (-3, 3),
    "cosh": (-3, 3),
    "tanh": (-3, 3),
    "asinh": (-3, 3),
    "acosh": (1.1, 4),
    "atanh": (-0.9, 0.9),
    "sigmoid": (-5, 5),
    "erf": (-2, 2),
    "erfc": (-2, 2),
    "erfinv": (-0.9, 0.9),
    "lgamma": (0.3, 5),
    "digamma": (0.3, 5),
    "reciprocal": (0.4, 3),
    "deg2rad": (-180, 180),
    "rad2deg": (-3, 3),
    "sinc": (0.1, 3),
}
# where PyTorch and SciPy both go to infinity at integers, signs at the poles differ
POLES = {"lgamma", "digamma"}

SAMPLES = {
    name: unary(
        name,
        low,
        high,
        special=name not in POLES,
        ints=("int32", "uint8", "int64", "bool"),
        int_low=1 if name in POLES else 0,
    )
    for name, (low, high) in FLOAT_FUNCTIONS.items()
}
SAMPLES["sinc"].append(lambda torch, t: torch.sinc(t.of([0.0, 0.5, 1.0])))

STEPS = {
    "sgn": (*INTEGERS, "bool"),
    "sign": (*INTEGERS, "bool"),
    "floor": INTEGERS,
    "ceil": INTEGERS,
    "trunc": INTEGERS,
    "neg": INTEGERS,
    "abs": INTEGERS,
}
SAMPLES |= {name: unary(name, ints=ints) for name, ints in STEPS.items()}
SAMPLES["abs"] += [lambda torch, t: t.of([0.0, -1.0]).abs()]
SAMPLES["neg"] += [lambda torch, t: -t(3), lambda torch, t: torch.negative(t(3))]
SAMPLES["_round"] = [
    *unary("round", ints=INTEGERS),
    lambda torch, t: torch.round(t.of([0.5, 1.5, 2.5, -0.5, -1.5], grad=False)),
    lambda torch, t: torch.round(t(5, grad=False), decimals=2),
    lambda torch, t: torch.round(t(5, low=-999, high=999, grad=False), decimals=-2),
]
SAMPLES["frac"] = unary("frac", ints=())
SAMPLES["angle"] = unary("angle")
SAMPLES["relu"] = [*unary("relu", ints=INTEGERS), lambda torch, t: torch.relu(t.of([0.0, -0.0, 1.0, -1.0]))]
SAMPLES["_square"] = [
    *unary("square", ints=INTEGERS),
    lambda torch, t: t(3, 4) ** 2,
    lambda torch, t: t(3, 4, dtype="float64") ** 2.0,
    lambda torch, t: t(3, dtype="int64") ** 2,
    lambda torch, t: torch.pow(t(3), 2),
]
SAMPLES["_cube"] = [lambda torch, t: t(3, 4) ** 3, lambda torch, t: t(3, dtype="float64") ** 3.0]
for _name in ("isnan", "isinf", "isfinite", "isposinf", "isneginf", "isreal", "signbit", "logical_not"):
    SAMPLES[_name] = unary(_name)
SAMPLES["bitwise_not"] = [
    *of_ints(lambda torch, x: torch.bitwise_not(x), (*INTEGERS, "bool")),
    lambda torch, t: ~t(4, dtype="bool"),
    lambda torch, t: ~t(4, dtype="int16"),
]


def backward(name, call):
    """Entries that a gradient is made of:

    their values come from the first, their own gradients from the second gradient.
    """
    return [
        lambda torch, t: call(torch, t(3, 4)),
        lambda torch, t: call(torch, t(5, dtype="float64")),
        lambda torch, t: call(torch, t(0, 2)),
    ]


SAMPLES["sigmoid_backward"] = backward("sigmoid", lambda torch, x: torch.sigmoid(x) * x)
SAMPLES["tanh_backward"] = backward("tanh", lambda torch, x: torch.tanh(x) * x)
SAMPLES["relu_backward"] = backward("relu", lambda torch, x: torch.relu(x) * x * x)
SAMPLES["clamp_backward"] = backward("clamp", lambda torch, x: x.clamp(-1, 1) * x)


# -- two operands ------------------------------------------------------------------------------------------------------
def pairs(call, low=-2.0, high=2.0, low2=None, high2=None):
    """A function of two tensors: equal shapes, broadcasting, layouts, empty, 0-d, mixed dtypes."""
    low2, high2 = low if low2 is None else low2, high if high2 is None else high2
    return [
        lambda torch, t: call(torch, t(3, 5, low=low, high=high), t(3, 5, low=low2, high=high2)),
        lambda torch, t: call(
            torch, t(4, 1, 3, dtype="float64", low=low, high=high), t(2, 1, dtype="float64", low=low2, high=high2)
        ),
        lambda torch, t: call(torch, t(4, 3, low=low, high=high).transpose(0, 1), t(8, low=low2, high=high2)[::2]),
        lambda torch, t: call(torch, t(0, 3, low=low, high=high), t(3, low=low2, high=high2)),
        lambda torch, t: call(torch, t(low=low, high=high), t(3, low=low2, high=high2)),
        lambda torch, t: call(torch, t(3, low=low, high=high), t(3, dtype="float64", low=low2, high=high2)),
        lambda torch, t: call(torch, t(3, low=low, high=high), t(dtype="float64", low=low2, high=high2, grad=False)),
    ]


def special_pairs(call):
    grid = [(x, y) for x in SPECIAL for y in SPECIAL]
    return [
        lambda torch, t: call(torch, t.of([x for x, _ in grid], grad=False), t.of([y for _, y in grid], grad=False))
    ]


def int_pairs(
    call, combos=(("int64", "int64"), ("uint8", "int8"), ("int32", "int16"), ("uint8", "uint8")), low=-5, high=5, low2=1
):
    def sample(a, z):
        return lambda torch, t: call(torch, t(3, 4, dtype=a, low=low, high=high), t(4, dtype=z, low=low2, high=high))

    return [sample(a, z) for a, z in combos]


def mixed(call, low2=1):
    return [
        lambda torch, t: call(torch, t(3, dtype="int32", low=1, high=5), t(3, low=low2, high=5)),
        lambda torch, t: call(torch, t(3, low=1, high=5), t(3, dtype="int64", low=low2, high=5)),
        lambda torch, t: call(torch, t(3, dtype="bool"), t(3, low=low2, high=5)),
    ]


def numbers(call):
    return [
        lambda torch, t: call(torch, t(3, 4, low=0.5), 2),
        lambda torch, t: call(torch, t(3, low=0.5), 1.5),
        lambda torch, t: call(torch, t(3, dtype="int32", low=1, high=5), 3),
        lambda torch, t: call(torch, t(3, dtype="uint8", low=1, high=5), 2.5),
    ]


def named(name):
    return lambda torch, x, y: getattr(torch, name)(x, y)


def binary(name, low=-2.0, high=2.0, low2=None, high2=None, ints=True, number=True, special=True, bools=False):
    call = named(name)
    found = pairs(call, low, high, low2, high2)
    if special:
        found += special_pairs(call)
    if ints:
        found += int_pairs(call) + mixed(call)
    if number:
        found += numbers(call)
    if bools:
        found += [lambda torch, t: call(torch, t(6, dtype="bool"), t(6, dtype="bool"))]
    return found


SAMPLES["add"] = [
    *binary("add", bools=True),
    lambda torch, t: t(3) + 1,
    lambda torch, t: 1.5 + t(3, dtype="int64"),
    lambda torch, t: True + t(3, dtype="uint8"),
    lambda torch, t: torch.add(t(3), t(3), alpha=2),
    lambda torch, t: t(3, dtype="int32").add(t(3, dtype="int32"), alpha=-3),
    lambda torch, t: t(3, dtype="uint8") + (-1),
]
SAMPLES["sub"] = [
    *pairs(named("sub")),
    *special_pairs(named("sub")),
    *int_pairs(named("sub")),
    *mixed(named("sub"))[:2],
    *numbers(named("sub")),
    lambda torch, t: t(3) - 1,
    lambda torch, t: 1.5 - t(3, dtype="int64"),
    lambda torch, t: torch.sub(t(3), t(3), alpha=0.5),
    lambda torch, t: torch.rsub(t(3), 2),
    lambda torch, t: torch.rsub(t(3), t(3), alpha=2),
]
SAMPLES["mul"] = [
    *binary("mul", bools=True),
    lambda torch, t: 2 * t(3),
    lambda torch, t: t(3, dtype="int32") * 2.5,
    lambda torch, t: t(3, dtype="bool") * 3,
]
SAMPLES["div"] = [
    *binary("div", low2=0.5),
    lambda torch, t: 1 / t(3, low=0.5),
    lambda torch, t: t(3, dtype="int32") / 2,
    lambda torch, t: torch.true_divide(t(3), 2),
]


def rounded(mode):
    def call(torch, x, y):
        return torch.div(x, y, rounding_mode=mode)

    return [
        *pairs(call, -9, 9, 0.5, 3),
        *special_pairs(call),
        *int_pairs(call),
        *numbers(call),
        lambda torch, t: call(torch, t(20, dtype="int64", low=-20, high=20), -3),
        lambda torch, t: call(torch, t(20, dtype="int32", low=-20, high=20), t(20, dtype="int32", low=-9, high=-1)),
        lambda torch, t: call(torch, 7, t(5, dtype="int64", low=1, high=4)),
    ]


SAMPLES["_div_floor"] = [
    *rounded("floor"),
    lambda torch, t: t(9, low=-9, high=9, grad=False) // 2,
    lambda torch, t: 7 // t(5, dtype="int64", low=1, high=4),
]
SAMPLES["_div_trunc"] = rounded("trunc")
for _name in ("remainder", "fmod"):
    SAMPLES[_name] = [
        *pairs(named(_name), -9, 9, 0.5, 3),
        *special_pairs(named(_name)),
        *int_pairs(named(_name)),
        *numbers(named(_name)),
        lambda torch, t, n=_name: getattr(torch, n)(t(20, dtype="int64", low=-20, high=20), -3),
        lambda torch, t, n=_name: getattr(torch, n)(
            t(20, dtype="int32", low=-20, high=20), t(20, dtype="int32", low=-9, high=-1)
        ),
        lambda torch, t, n=_name: getattr(torch, n)(t(20, low=-20, high=20), -3.5),
    ]
SAMPLES["remainder"] += [
    lambda torch, t: t(9, low=-9, high=9) % 2.5,
    lambda torch, t: 7 % t(5, dtype="int64", low=1, high=4),
]

SAMPLES["pow"] = [
    *pairs(named("pow"), 0.2, 3, -2, 2),
    *special_pairs(named("pow")),
    *int_pairs(named("pow"), low2=0),
    *mixed(named("pow")),
    *(lambda torch, t, e=e: t(4, low=0.3) ** e for e in (1.7, -2, 4, 5.0, 0, 1)),
    *(lambda torch, t, e=e: t(5, dtype="int64", low=-4, high=4) ** e for e in (0, 1, 3, 7)),
    lambda torch, t: t(5, dtype="int32", low=1, high=4) ** 0.5,
    lambda torch, t: t(4, dtype="bool") ** 2,
    lambda torch, t: t(4, dtype="uint8", high=9) ** 3,
    lambda torch, t: 2 ** t(4),
    lambda torch, t: 2.5 ** t(4, dtype="int64"),
    lambda torch, t: torch.pow(2, t(4, dtype="int32", low=0)),
    lambda torch, t: t.of([-2.0, -1.0, 0.0, 2.0], grad=False) ** t.of([3.0, 2.0, 0.0, -1.0], grad=False),
    lambda torch, t: t.of([-8.0, -2.0], grad=False) ** 3.0,
    lambda torch, t: t.of([1, -1, 2, -2, 0], dtype="int64") ** t.of([-1, -3, -2, -1, -1], dtype="int64"),
    lambda torch, t: torch.float_power(t(3, low=0.2), 2),
    lambda torch, t: torch.float_power(t(3, dtype="int32", low=1), t(3)),
    lambda torch, t: t.of([0.0, 2.0]) ** t.of([2.0, 0.0]),
    lambda torch, t: t.of([0.0, 1.5]) ** 1.5,
]
for _name in ("maximum", "minimum", "fmax", "fmin"):
    SAMPLES[_name] = [
        *binary(_name, number=False, bools=True),
        lambda torch, t, n=_name: getattr(torch, n)(t.of([1.0, 2.0, 3.0]), t.of([1.0, 3.0, 2.0])),
    ]
SAMPLES["atan2"] = [
    *pairs(named("atan2"), 0.2),
    *special_pairs(named("atan2")),
    *int_pairs(named("atan2")),
    *mixed(named("atan2"))[:2],
]
SAMPLES["hypot"] = binary("hypot", ints=False, number=False)
SAMPLES["copysign"] = binary("copysign")
SAMPLES["nextafter"] = [
    lambda torch, t: torch.nextafter(t(3, 5, grad=False), t(5, grad=False)),
    lambda torch, t: torch.nextafter(t(3, dtype="float64", grad=False), t(3, dtype="float64", grad=False)),
    lambda torch, t: torch.nextafter(t.of([1.0, 2.0]), t.of([2.0, 2.0])),
]
SAMPLES["heaviside"] = [
    lambda torch, t: torch.heaviside(t.of([-1.0, 0.0, 2.0, NAN], grad=False), t.of([0.5, 0.5, 0.5, 0.5], grad=False)),
    lambda torch, t: torch.heaviside(t(4, dtype="int64"), t(1, dtype="int64")),
    lambda torch, t: torch.heaviside(t(4, dtype="bool"), t(4, dtype="bool")),
]
SAMPLES["xlogy"] = [
    *pairs(named("xlogy"), 0.2, 3),
    *special_pairs(named("xlogy")),
    *numbers(named("xlogy")),
    lambda torch, t: torch.xlogy(2, t(3, low=0.5)),
    lambda torch, t: torch.xlogy(t.of([0.0, 0.0, 1.0]), t.of([0.0, 2.0, 2.0])),
    lambda torch, t: torch.xlogy(t(3, dtype="int32", low=1), t(3, low=1)),
]
SAMPLES["logaddexp"] = binary("logaddexp", ints=False, number=False)
SAMPLES["logaddexp2"] = binary("logaddexp2", ints=False, number=False)
SAMPLES["ldexp"] = [
    *pairs(named("ldexp")),
    lambda torch, t: torch.ldexp(t(4), t(4, dtype="int32", low=0)),
    lambda torch, t: torch.ldexp(t(4, dtype="int64"), t(4, dtype="int64", low=0)),
]
for _name in ("gcd", "lcm"):
    SAMPLES[_name] = int_pairs(named(_name), low=-30, high=30)
for _name, _symbol in (
    ("lt", "__lt__"),
    ("le", "__le__"),
    ("gt", "__gt__"),
    ("ge", "__ge__"),
    ("eq", "__eq__"),
    ("ne", "__ne__"),
):
    SAMPLES[_name] = [
        *binary(_name, bools=True),
        lambda torch, t, s=_symbol: getattr(t(5, dtype="int64"), s)(0.5),
        lambda torch, t, s=_symbol: getattr(t(5, dtype="uint8"), s)(1),
    ]
for _name in ("logical_and", "logical_or", "logical_xor"):
    SAMPLES[_name] = binary(_name, number=False, bools=True)
for _name, _python in (("bitwise_and", "__and__"), ("bitwise_or", "__or__"), ("bitwise_xor", "__xor__")):
    SAMPLES[_name] = [
        *int_pairs(named(_name), low2=-5),
        lambda torch, t, n=_name: getattr(torch, n)(t(6, dtype="bool"), t(6, dtype="bool")),
        lambda torch, t, p=_python: getattr(t(6, dtype="int32"), p)(3),
        lambda torch, t, p=_python: getattr(t(6, dtype="bool"), p)(True),
    ]
for _name in ("bitwise_left_shift", "bitwise_right_shift"):
    SAMPLES[_name] = [
        *int_pairs(named(_name), low=-100, high=100, low2=0),
        lambda torch, t, n=_name: getattr(torch, n)(t(6, dtype="int32", low=-99, high=99), 3),
        lambda torch, t, n=_name: getattr(torch, n)(
            t(3, 4, dtype="uint8", high=200), t.of([0, 3, 7, 8], dtype="uint8")
        ),
        lambda torch, t, n=_name: getattr(torch, n)(
            t(3, 4, dtype="int8", low=-100, high=100), t.of([0, 3, 7, 9], dtype="int8")
        ),
    ]

# -- more operands -----------------------------------------------------------------------------------------------------
SAMPLES["where"] = [
    lambda torch, t: torch.where(t(3, 4, dtype="bool"), t(3, 4), t(4)),
    lambda torch, t: torch.where(t(3, 1, dtype="bool"), t(4, dtype="float64"), t(3, 4)),
    lambda torch, t: torch.where(t(4, dtype="bool"), t(4), 0.0),
    lambda torch, t: torch.where(t(4, dtype="bool"), 1, t(4)),
    lambda torch, t: torch.where(t(4, dtype="bool"), 1, 2.5),
    lambda torch, t: torch.where(t(4, dtype="bool"), t(4, dtype="int32"), 2.5),
    lambda torch, t: torch.where(t(0, 4, dtype="bool"), t(4), t(4)),
    lambda torch, t: t(4).where(t(4, dtype="bool"), t(4)),
    lambda torch, t: torch.where(t(4, 3, dtype="bool").transpose(0, 1), t(8)[::2], t(3, 1)),
    lambda torch, t: torch.where(t(4, dtype="bool"), t(4, dtype="int64"), t(4, dtype="uint8")),
]
SAMPLES["clamp"] = [
    *shapes(lambda torch, x: torch.clamp(x, -1, 1.5)),
    *specials(lambda torch, x: torch.clamp(x, -1, 1)),
    *of_ints(lambda torch, x: x.clamp(1, 3)),
    lambda torch, t: t(5).clamp(min=0.3),
    lambda torch, t: t(5).clamp(max=0.3),
    lambda torch, t: t(5).clamp(1, -1),
    lambda torch, t: t(3, 5).clamp(t(5), t(3, 1)),
    lambda torch, t: t(3, 5).clamp(min=t(5)),
    lambda torch, t: t(3, 5).clamp(max=t(5)),
    lambda torch, t: t(5, dtype="int64").clamp(0.5, 1.5),
    lambda torch, t: t(5).clamp_min(0.1),
    lambda torch, t: t(5).clip(0, 1),
    lambda torch, t: t(5, dtype="bool").clamp_max(t(5, dtype="bool")),
    lambda torch, t: t.of([1.0, 2.0, 3.0]).clamp(1, 3),
    lambda torch, t: t(4).clamp(NAN, 1),
]
SAMPLES["lerp"] = [
    lambda torch, t: torch.lerp(t(3, 4), t(4), 0.3),
    lambda torch, t: torch.lerp(t(3, 4), t(3, 4), t(3, 1)),
    lambda torch, t: torch.lerp(t(4, dtype="float64"), t(4, dtype="float64"), 0.8),
    lambda torch, t: t(0, 3).lerp(t(3), 2.0),
]
for _name in ("addcmul", "addcdiv"):
    SAMPLES[_name] = [
        lambda torch, t, n=_name: getattr(torch, n)(t(3, 4), t(4), t(3, 1, low=0.5)),
        lambda torch, t, n=_name: getattr(t(4, dtype="float64"), n)(
            t(4, dtype="float64"), t(4, dtype="float64", low=0.5), value=-0.3
        ),
        lambda torch, t, n=_name: getattr(torch, n)(t(0, 3), t(3), t(3, low=0.5), value=2),
    ]
SAMPLES["addcmul"].append(
    lambda torch, t: torch.addcmul(t(4, dtype="int64"), t(4, dtype="int32"), t(4, dtype="int32"), value=2)
)
SAMPLES["nan_to_num"] = [
    lambda torch, t: torch.nan_to_num(t.of(SPECIAL)),
    lambda torch, t: torch.nan_to_num(t.of(SPECIAL, dtype="float64"), 1.0, 2.0, 3.0),
    lambda torch, t: torch.nan_to_num(t(3, dtype="int32")),
    lambda torch, t: torch.nan_to_num(t(3, dtype="bool")),
    lambda torch, t: t(0, 2).nan_to_num(nan=5),
]
SAMPLES["clone"] = [*shapes(lambda torch, x: x.clone()), *of_ints(lambda torch, x: torch.clone(x), (*INTEGERS, "bool"))]
SAMPLES["fill"] = [
    lambda torch, t: (t(3, 4) * 1).fill_(2.5),
    lambda torch, t: filled_part(t),
    lambda torch, t: torch.fill(t(3), 2),
    lambda torch, t: (t(3) * 1).fill_(t(dtype="float64")),
    lambda torch, t: torch.fill(t(3, dtype="int64"), 7),
    lambda torch, t: (t(3) * 1).zero_(),
]


def filled_part(t):
    x = t(3, 4) * 2
    x[1].fill_(5.0)
    return x

"""Samples of operators, in-place forms and functions over the elementwise entries."""


def written(name, *more, dtype="float32", **options):
    """An in-place method on a result and on a view of one: the base sees the write, and gradients go through."""

    def arguments(torch, t):
        return [a(t) if callable(a) else a for a in more]

    def whole(torch, t):
        return getattr(t(3, 4, dtype=dtype, low=0.5) * 1, name)(*arguments(torch, t), **options)

    def part(torch, t):
        x = t(4, 3, dtype=dtype, low=0.5) * 1
        getattr(x[1:3], name)(*[a(t)[:2] if callable(a) else a for a in more], **options)
        return x

    return [whole, part]


def like(t):
    return t(3, 4, low=0.5)


def half(t):
    return t(3, 3, low=0.5)


def operators(torch, t):
    x, y = t(4, low=0.5), t(4, low=0.5)
    return x + y, x - y, x * y, x / y, -x, abs(x), +x, x**y, 2 - x, 2 / x, 2**x, x % 2


def integer_operators(torch, t):
    x, y = t(6, dtype="int64"), t(6, dtype="int64", low=1, high=3)
    return (
        x + y,
        x - y,
        x * y,
        x / y,
        x // y,
        x % y,
        x**y,
        x & y,
        x | y,
        x ^ y,
        ~x,
        x << y,
        x >> y,
        -x,
        7 // y,
        7 % y,
        3 & x,
        3 | x,
        3 ^ x,
    )


def augmented(torch, t):
    x = t(4) * 1
    x += t(4)
    x -= 1
    x *= t(4)
    x /= 2.0
    return x


def augmented_integers(torch, t):
    x, b = t(6, dtype="int32") + 9, t(6, dtype="bool") & True
    x //= 2
    x %= 3
    x **= 2
    x <<= 1
    x |= 4
    b &= t(6, dtype="bool")
    b ^= t(6, dtype="bool")
    return x, b


def copies(torch, t):
    x = torch.zeros(3, 4)
    x.copy_(t(4))
    y = torch.zeros(3, 4, dtype=torch.int64)
    y.copy_(t(3, 1, low=-9, high=9))
    z = t(4, 3) * 1
    z[1].copy_(t(1))
    z.t()[0].copy_(t(4, dtype="float64"))
    return x, y, z


def closeness(torch, t):
    x = t.of([1.0, 2.0, float("nan"), float("inf"), -float("inf")], grad=False)
    y = t.of([1.0 + 1e-6, 2.1, float("nan"), float("inf"), float("inf")], grad=False)
    return (
        torch.isclose(x, y),
        torch.isclose(x, y, equal_nan=True),
        torch.isclose(x, y, rtol=0.1, atol=0.0),
        torch.isclose(x, y, rtol=0.0, atol=0.0),
    )


def booleans(torch, t):
    x, y = t(3, grad=False), t(3, 1, grad=False)
    answers = [torch.equal(x, x), torch.equal(x, y), torch.allclose(x, x + 1e-7), torch.allclose(x, x + 1.0)]
    return torch.tensor(answers), torch.isclose(t(3, dtype="int64"), t(3, dtype="int64"))


SAMPLES = {
    "add_": [
        operators,
        integer_operators,
        augmented,
        augmented_integers,
        *written("add_", 2),
        *written("add_", half, alpha=0.5)[1:],
        *written("add_", like)[:1],
    ],
    "sub_": written("sub_", 1.5),
    "mul_": written("mul_", 3),
    "div_": written("div_", 2.0),
    "pow_": written("pow_", 2),
    "remainder_": written("remainder_", 2.0),
    "neg_": written("neg_"),
    "exp_": written("exp_"),
    "sqrt_": written("sqrt_"),
    "sigmoid_": written("sigmoid_"),
    "tanh_": written("tanh_"),
    "relu_": written("relu_"),
    "clamp_": written("clamp_", 0.7, 1.0),
    "clamp_min_": written("clamp_min_", 0.7),
    "addcmul_": [lambda torch, t: (t(3) * 1).addcmul_(t(3), t(3), value=2)],
    "addcdiv_": [lambda torch, t: (t(3) * 1).addcdiv_(t(3), t(3, low=0.5), value=2)],
    "lerp_": [lambda torch, t: (t(3) * 1).lerp_(t(3), 0.3)],
    "floor_": written("floor_"),
    "abs_": written("abs_"),
    "reciprocal_": written("reciprocal_"),
    "zero_": written("zero_"),
    "square_": written("square_"),
    "lt_": [lambda torch, t: t(4, dtype="int64").lt_(0), lambda torch, t: t(4, grad=False).lt_(0)],
    "copy_": [copies],
    "logical_not_": [lambda torch, t: t(4, dtype="int32").logical_not_()],
    "isclose": [closeness, booleans],
    "rsub": [lambda torch, t: torch.rsub(t(3), t(3), alpha=2), lambda torch, t: torch.rsub(t(3, dtype="int32"), 1)],
}

"""Complex tensors and half precision, whose operations run their references."""


def z(t, *shape, **more):
    return t(*shape, dtype="complex64", **more)


def elementwise(name):
    return [lambda torch, t: getattr(torch, name)(z(t, 2, 3)), lambda torch, t: getattr(torch, name)(t(3, dtype="complex128"))]


def mixed(torch, t):
    """Promotion: a complex number or 0-d tensor leaves doubles their precision."""
    x, c = t(2, 3, dtype="float64"), t(dtype="complex64")
    return x + c, x * (1 - 2j), t(3, dtype="float32") + 1j, z(t, 2, 1) * t(2, 3, dtype="float64"), t(3, dtype="int32") * 2j


def bytes_of(torch, t):
    x = t(2, 4)
    return (
        x.detach().view(torch.int32),
        x.detach().view(torch.float64),
        x.detach().view(torch.uint8),
        t(3, dtype="float16").detach().view(torch.int16),
        t.of([1, -2, 3], dtype="int16").view(torch.float16),
    )


def half(torch, t):
    x, w = t(3, 4, dtype="float16"), t(4, 2, dtype="float16")
    return x @ w, (x.exp() + 1).sum(0), torch.softmax(x, -1), x + t(3, 4), x * 2.5, x.mean(), torch.nn.functional.layer_norm(x, (4,))


def brain(torch, t):
    x, y = t(3, 4).bfloat16(), t(4).bfloat16()
    results = (x + y, x @ x.T, x.tanh().sum(1), x.half() + y, torch.cat([x, x]), x.masked_fill(x > 0, 1), x + t(4))
    return tuple(r.float() for r in results)


def shapes(torch, t):
    x = z(t, 2, 3, 4)
    return (
        x.permute(2, 0, 1).reshape(4, 6),
        x[:, 1],
        x[..., ::2].contiguous(),
        torch.cat([x, x * 1j], 1),
        x.sum(1),
        x.mean(),
        x.unsqueeze(0).expand(2, 2, 3, 4).prod(0),
        torch.where(x.real > 0, x, 0 * x),
        torch.stack([x, x]),
    )


def products(torch, t):
    a, b = z(t, 3, 4), z(t, 4, 2)
    return a @ b, a.mH @ a, torch.einsum("ij,jk->ik", a, b), torch.outer(a[0], b[:, 0]), a * a.conj()


ONE = (
    *("exp", "expm1", "log", "log1p", "sqrt", "rsqrt", "sin", "cos", "tan", "sinh", "cosh", "tanh", "asin", "acos", "atan", "asinh"),
    *("atanh", "sigmoid", "reciprocal", "sgn", "abs", "angle", "neg", "square", "log2", "log10", "isfinite", "isnan", "isreal"),
)
SAMPLES = {
    **{name: elementwise(name) for name in ONE},
    "real": [lambda torch, t: z(t, 3).real, lambda torch, t: torch.real(z(t, 2, 2) * 1j)],
    "imag": [lambda torch, t: z(t, 3).imag],
    "_conj_physical": [lambda torch, t: z(t, 3).conj().resolve_conj(), lambda torch, t: torch.conj_physical(z(t, 3))],
    "complex": [
        lambda torch, t: torch.complex(t(2, 3), t(3)),
        lambda torch, t: torch.complex(t(3, dtype="float64"), t(3, dtype="float64")),
    ],
    "polar": [lambda torch, t: torch.polar(t(3, low=0.5), t(3))],
    "view_as_real": [lambda torch, t: torch.view_as_real(z(t, 2, 3)), lambda torch, t: torch.view_as_real(z(t))],
    "view_as_complex": [lambda torch, t: torch.view_as_complex(t(3, 2)), lambda torch, t: torch.view_as_complex(t(2, dtype="float64"))],
    "view.dtype": [bytes_of],
    "add": [mixed],
    "matmul": [products, half],
    "permute": [shapes],
    "_to_copy": [
        brain,
        lambda torch, t: (t(3, dtype="float64").to(torch.complex64), t(3).cfloat(), t(3).cdouble(), z(t, 2).cdouble()),
        lambda torch, t: (t(4).half().float(), t(4).bfloat16().float(), t(4, dtype="int64").half(), t(4).double().bfloat16().double()),
    ],
    "pow": [lambda torch, t: (z(t, 3, low=0.2) ** t(3), z(t, 3, low=0.2) ** 2.5, 2.0 ** z(t, 3), z(t, 3) ** 2, z(t, 3, low=0.2) ** z(t, 3))],
    "div": [lambda torch, t: (z(t, 2, 3) / z(t, 3), 1 / z(t, 3), z(t, 3) / 2, t(3) / z(t, 3))],
    "silu": [lambda torch, t: torch.nn.functional.silu(z(t, 3, grad=False))],
}

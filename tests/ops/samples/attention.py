"""Samples of attention."""

NAN, INF = float("nan"), float("inf")


def attention(q=(2, 3, 4, 5), k=(2, 3, 6, 5), v=(2, 3, 6, 7), mask=None, dtype="float32", **kwargs):
    """`mask`: shape and dtype of one."""

    def sample(torch, t):
        m = None if mask is None else t(*mask[0], dtype=mask[1])
        operands = (t(*shape, dtype=dtype) for shape in (q, k, v))
        return torch.nn.functional.scaled_dot_product_attention(*operands, attn_mask=m, **kwargs)

    return sample


def masked_rows(torch, t, kind):
    """The second query sees no key."""
    allowed = torch.ones(3, 4).to(torch.bool)
    allowed[1] = False
    mask = allowed if kind == "bool" else torch.zeros(3, 4).masked_fill(~allowed, -INF)
    return torch.nn.functional.scaled_dot_product_attention(t(2, 3, 5), t(2, 4, 5), t(2, 4, 7), attn_mask=mask)


def heads_inside(torch, t, **kwargs):
    """Query, key and value as one projection gives them: (batch, length, 3 * heads * width)."""
    q, k, v = (x.reshape(2, 9, 2, 4).transpose(1, 2) for x in t(2, 9, 24).chunk(3, -1))
    return torch.nn.functional.scaled_dot_product_attention(q, k, v, **kwargs)


def odd_layouts(torch, t):
    q, k, v = t(2, 3, 5, 4).transpose(-1, -2), t(2, 3, 12, 5)[..., ::2, :], t(2, 1, 1, 7).expand(2, 3, 6, 7)
    return torch.nn.functional.scaled_dot_product_attention(q, k, v)


def with_values(mask=None):
    """NaN and infinity in one query, NaN or infinity in a mask; width 5 and 7, for which PyTorch has no kernel of its own."""

    def sample(torch, t):
        if mask is None:
            q, m = t.of([[1.0, 2.0, 3.0, 4.0, 5.0], [1.0, NAN, 3.0, 4.0, 5.0], [1.0, INF, 3.0, 4.0, 5.0]]), None
        else:
            q, m = t(3, 5), t.of([[0.0, 0.0, 0.0, 0.0], [0.0, mask, 0.0, 0.0], [0.0, 0.0, 0.0, mask]])
        return torch.nn.functional.scaled_dot_product_attention(q, t(4, 5), t(4, 7), attn_mask=m)

    return sample


def gradient(sample):
    """First gradients alone, for which there is a kernel."""

    def function(torch, t):
        y = sample(torch, t)
        return torch.autograd.grad((y * y).sum(), t.leaves)

    return function


EVERY = [
    attention(),
    attention(dtype="float64"),
    attention(is_causal=True),
    attention((2, 3, 6, 5), (2, 3, 4, 5), (2, 3, 4, 5), is_causal=True),
    attention(scale=0.3),
    attention(scale=-1),
    attention((4, 5), (6, 5), (6, 7)),
    attention((2, 4, 5), (2, 6, 5), (2, 6, 7), mask=((4, 6), "float32")),
    attention((2, 4, 5), (2, 6, 5), (2, 6, 7), mask=((4, 6), "bool")),
    attention(mask=((2, 1, 1, 6), "bool")),
    attention(mask=((2, 3, 4, 1), "float32")),
    attention((2, 1, 4, 5), (1, 3, 6, 5), (6, 7)),
    attention((4, 5), (3, 6, 5), (3, 6, 7), is_causal=True),
    attention((2, 2, 3, 4, 5), (1, 2, 3, 6, 5), (3, 6, 7), mask=((2, 1, 1, 1, 6), "bool")),
    attention((2, 4, 4, 5), (2, 2, 6, 5), (2, 2, 6, 7), enable_gqa=True),
    attention((2, 4, 4, 5), (2, 1, 6, 5), (2, 1, 6, 7), enable_gqa=True, is_causal=True),
    attention((2, 4, 4, 5), (2, 2, 6, 5), (2, 4, 6, 7), enable_gqa=True),
    attention((1, 8, 4, 5), (1, 2, 6, 5), (1, 4, 6, 7), enable_gqa=True, mask=((4, 6), "float32")),
    attention((2, 3, 0, 5)),
    attention((2, 3, 4, 5), (2, 3, 0, 5), (2, 3, 0, 7)),
    attention((2, 3, 4, 0), (2, 3, 6, 0)),
    attention((2, 3, 4, 5), (2, 3, 6, 5), (2, 3, 6, 0)),
    attention((0, 3, 4, 5), (0, 3, 6, 5), (0, 3, 6, 7)),
    attention((1, 2, 70, 5), (1, 2, 131, 5), (1, 2, 131, 33), is_causal=True),
    heads_inside,
    lambda torch, t: heads_inside(torch, t, is_causal=True),
    odd_layouts,
    lambda torch, t: masked_rows(torch, t, "bool"),
    lambda torch, t: masked_rows(torch, t, "float"),
    with_values(),
    with_values(-INF),
    with_values(NAN),
]
SAMPLES = {
    "scaled_dot_product_attention": EVERY,
    "scaled_dot_product_attention_backward": [gradient(sample) for sample in EVERY],
}

"""Samples of normalization, distances and dropout."""


def layer(shape, over, weight=True, bias=True, dtype="float32", **options):
    def sample(torch, t):
        x = t(*shape, dtype=dtype)
        w, b = (t(*over, dtype=dtype) if present else None for present in (weight, bias))
        return torch.nn.functional.layer_norm(x, over, w, b, **options)
    return sample


def rms(shape, over, weight=True, dtype="float32", **options):
    def sample(torch, t):
        return torch.nn.functional.rms_norm(
            t(*shape, dtype=dtype), over, t(*over, dtype=dtype) if weight else None, **options
        )
    return sample


def batch(shape, training, affine=True, running=True, dtype="float32", call="batch_norm", **options):
    """The result, and the running statistics after it."""
    def sample(torch, t):
        x, c = t(*shape, dtype=dtype), shape[1]
        mean, var = t(c, dtype=dtype, grad=False), t(c, dtype=dtype, low=0.5, high=2.0, grad=False)
        w, b = (t(c, dtype=dtype), t(c, dtype=dtype)) if affine else (None, None)
        flag = {"training" if call == "batch_norm" else "use_input_stats": training}
        y = getattr(torch.nn.functional, call)(
            x, mean if running else None, var if running else None, w, b, **flag, **options
        )
        return y, mean, var
    return sample


def group(shape, groups, affine=True, dtype="float32", **options):
    def sample(torch, t):
        x, c = t(*shape, dtype=dtype), shape[1]
        w, b = (t(c, dtype=dtype), t(c, dtype=dtype)) if affine else (None, None)
        return torch.nn.functional.group_norm(x, groups, w, b, **options)
    return sample


def positional(torch, t):
    """The order of arguments of the main namespace."""
    x, w, b = t(3, 4), t(4), t(4)
    mean, var, mean2, var2 = t(4, grad=False), t(4, low=0.5, grad=False), t(4, grad=False), t(4, low=0.5, grad=False)
    return (
        torch.layer_norm(x, (4,), w, b, 1e-4, False),
        torch.batch_norm(x, w, b, mean, var, True, 0.3, 1e-4, False),
        torch.group_norm(x, 2, w, b, 1e-4, False),
        torch.instance_norm(t(2, 4, 3), w, b, mean2, var2, True, 0.3, 1e-4, False),
        torch.rms_norm(x, (4,), w, 1e-4),
        mean,
        var,
        mean2,
        var2,
    )


def dropped(call):
    def sample(torch, t):
        torch.manual_seed(5)
        return call(torch.nn.functional, t)
    return sample


def twice(torch, t):
    """One tensor as several operands: gradients add up."""
    x = t(3, 4)
    return torch.nn.functional.layer_norm(x, (4,), x[0], x[1]), torch.cosine_similarity(x, x)


SAMPLES = {
    "native_layer_norm": [
        layer((3, 5), (5,)),
        layer((3, 5), (5,), False, False),
        layer((2, 3, 4), (3, 4), eps=0.1),
        layer((4,), (4,), dtype="float64"),
        layer((2, 3, 4), (4,), True, False),
        layer((2, 3), (2, 3), dtype="float64"),
        layer((0, 4), (4,)),
        lambda torch, t: torch.nn.functional.layer_norm(t(4, 3).transpose(0, 1), [4], t(8)[::2]),
        positional,
        twice,
    ],
    "rms_norm": [
        rms((3, 5), (5,)),
        rms((3, 5), (5,), False),
        rms((2, 3, 4), (3, 4), eps=0.1),
        rms((4,), (4,), dtype="float64"),
        rms((2, 3), (3,), dtype="float64", eps=1e-5),
    ],
    "native_batch_norm": [
        batch((4, 3), True),
        batch((4, 3), True, affine=False),
        batch((2, 3, 4), True, momentum=0.3, eps=1e-2),
        batch((2, 3, 2, 2), True, running=False),
        batch((2, 3, 2, 3), True, dtype="float64"),
        batch((2, 3, 4), True, call="instance_norm"),
        batch((2, 3, 2, 2), True, call="instance_norm", affine=False, running=False),
        batch((2, 3, 2, 2), True, call="instance_norm", dtype="float64", momentum=0.7),
    ],
    "_batch_norm_with_statistics": [
        batch((4, 3), False),
        batch((4, 3), False, affine=False),
        batch((2, 3, 4), False, eps=0.1),
        batch((2, 3, 2, 2), False, dtype="float64"),
        batch((2, 3, 4), False, call="instance_norm"),
        batch((1, 3), False),
    ],
    "_running_average": [batch((4, 3), True, momentum=0.0), batch((4, 3), True, momentum=1)],
    "native_group_norm": [
        group((2, 6), 2),
        group((2, 4, 3), 2),
        group((2, 6, 2, 2), 3, dtype="float64"),
        group((2, 4, 3), 1, affine=False),
        group((2, 4, 3), 4, eps=0.1),
        lambda torch, t: torch.nn.functional.group_norm(t(2, 3, 4).transpose(1, 2), 2),
    ],
    "local_response_norm": [
        lambda torch, t: torch.nn.functional.local_response_norm(t(2, 5, 3), 3),
        lambda torch, t: torch.nn.functional.local_response_norm(t(2, 5, 3, 2), 4, 0.1, 0.5, 2.0),
        lambda torch, t: torch.nn.functional.local_response_norm(t(2, 2, 3, 2), 5),
        lambda torch, t: torch.nn.functional.local_response_norm(t(2, 3, 4, dtype="int64", high=9), 2),
    ],
    "renorm": [
        lambda torch, t: torch.renorm(t(3, 4), 2, 0, 1.0),
        lambda torch, t: t(3, 4, 2, dtype="float64").renorm(1, -1, 3.0),
        lambda torch, t: (t(2, 3) * 2).renorm_(2, 1, 0.5),
    ],
    "normalize": [
        lambda torch, t: torch.nn.functional.normalize(t(3, 4)),
        lambda torch, t: torch.nn.functional.normalize(t(3, 4, dtype="float64"), p=1, dim=0),
        lambda torch, t: torch.nn.functional.normalize(t(3, 4), p=3.0, eps=5.0),
        lambda torch, t: torch.nn.functional.normalize(t.of([[0.0, 0.0], [3.0, 4.0]], grad=False)),
    ],
    "cosine_similarity": [
        lambda torch, t: torch.cosine_similarity(t(3, 4), t(3, 4)),
        lambda torch, t: torch.nn.functional.cosine_similarity(t(2, 3, 4), t(4), dim=-1),
        lambda torch, t: torch.cosine_similarity(t(3, 4, dtype="float64"), t(1, 4, dtype="float64"), dim=0),
        lambda torch, t: torch.cosine_similarity(t(3), t(3), 0, 10.0),
    ],
    "pairwise_distance": [
        lambda torch, t: torch.pairwise_distance(t(3, 4), t(3, 4)),
        lambda torch, t: torch.nn.functional.pairwise_distance(t(3, 4), t(4), p=1, keepdim=True),
        lambda torch, t: torch.pairwise_distance(t(4, dtype="float64"), t(4, dtype="float64"), p=3.0, eps=0.1),
    ],
    "native_dropout": [
        dropped(lambda F, t: F.dropout(t(4, 5))),
        dropped(lambda F, t: F.dropout(t(4, 5, dtype="float64") * 2, 0.2, inplace=True)),
        dropped(lambda F, t: F.dropout2d(t(2, 4, 3, 3), 0.5)),
        dropped(lambda F, t: F.dropout1d(t(4, 3), 0.5)),
        dropped(lambda F, t: F.dropout3d(t(2, 4, 3, 3, 2)[:, ::2], 0.5)),
    ],
    "alpha_dropout": [
        dropped(lambda F, t: F.alpha_dropout(t(4, 5), 0.3, training=True)),
        dropped(lambda F, t: F.feature_alpha_dropout(t(4, 5, 2), 0.3, training=True)),
    ],
    "dropout": [
        lambda torch, t: torch.nn.functional.dropout(t(4, 5), training=False),
        lambda torch, t: torch.nn.functional.dropout(t(4, 5), 0.0),
        lambda torch, t: torch.nn.functional.dropout(t(4, 5), 1.0),
        lambda torch, t: torch.dropout(t(4, 5), 0.5, False),
        lambda torch, t: torch.nn.functional.alpha_dropout(t(4, 5)),
    ],
}
SAMPLES["native_norm_backward"] = SAMPLES["native_layer_norm"][:1]
SAMPLES["rms_norm_backward"] = SAMPLES["rms_norm"][:1]
RANDOM = {"native_dropout", "alpha_dropout"}

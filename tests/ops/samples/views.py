"""Samples of views: shapes, pieces, strides, and writes through them."""


def doubled(f):
    """A view of a computed tensor, used twice: gradients add up."""

    def sample(torch, t):
        both = f(t(3, 4, 5) * 2), f(t(4, 3, 5, dtype="float64").transpose(0, 1))
        return both if not isinstance(both[0], (tuple, list)) else (*both[0], *both[1])

    return sample


def through(f):
    """The base after an in-place operation on a view of it."""

    def sample(torch, t):
        base = t(4, 6) * 1
        f(torch, base, t)
        return base

    return sample


SAMPLES = {
    "view": [
        doubled(lambda x: x.reshape(12, 5)),
        doubled(lambda x: x.reshape(-1)),
        doubled(lambda x: x.flatten(1)),
        lambda torch, t: t(3, 4).view(2, 6),
        doubled(lambda x: x.unflatten(1, (2, 2))),
        lambda torch, t: t(0, 3).view(3, 0),
        lambda torch, t: t().view(1, 1),
        doubled(lambda x: x.ravel()),
    ],
    "permute": [
        doubled(lambda x: x.permute(2, 0, 1)),
        doubled(lambda x: x.movedim(0, 2)),
        lambda torch, t: t().permute(()),
    ],
    "transpose": [doubled(lambda x: x.transpose(0, 2)), doubled(lambda x: x.mT), doubled(lambda x: x.swapaxes(0, 1))],
    "t": [lambda torch, t: t(2, 3).t(), lambda torch, t: t(3).t()],
    "expand": [
        lambda torch, t: t(3, 1).expand(2, 3, 4),
        lambda torch, t: t(1).expand(0),
        lambda torch, t: t().expand(2, 2),
        lambda torch, t: t(3, 1).expand(-1, 4) * t(3, 4),
        lambda torch, t: torch.broadcast_tensors(t(3, 1), t(4)),
    ],
    "squeeze": [
        lambda torch, t: t(1, 3, 1).squeeze(),
        lambda torch, t: t(1, 3, 1).squeeze(0),
        lambda torch, t: t(1, 3, 1).squeeze((0, 2)),
        lambda torch, t: t(2, 3).squeeze(0),
    ],
    "unsqueeze": [
        lambda torch, t: t(2, 3).unsqueeze(1),
        lambda torch, t: t().unsqueeze(-1),
        lambda torch, t: t(2, 3).transpose(0, 1).unsqueeze(2),
    ],
    "slice": [
        lambda torch, t: t(5, 4)[1:4],
        lambda torch, t: t(5, 4)[::2],
        doubled(lambda x: x.narrow(1, 1, 2)),
        doubled(lambda x: x.split(2, 1)),
        doubled(lambda x: x.chunk(2)),
        doubled(lambda x: x.tensor_split(3, 2)),
        lambda torch, t: t(5)[3:1],
    ],
    "select": [
        lambda torch, t: t(5, 4)[2],
        lambda torch, t: t(5, 4)[-1, 3],
        doubled(lambda x: x.select(1, -1)),
        doubled(lambda x: x.unbind(1)),
    ],
    "basic_index": [
        lambda torch, t: t(5, 4)[1:, None, ::2],
        lambda torch, t: t(3, 4, 5)[..., 1],
        lambda torch, t: t(3, 4, 5)[0, :, 1:4:2],
        lambda torch, t: t(3, 4)[...],
    ],
    "diagonal": [
        doubled(lambda x: x.diagonal()),
        doubled(lambda x: x.diagonal(1, 1, 2)),
        doubled(lambda x: x.diagonal(-2, 2, 0)),
        lambda torch, t: t(2, 3).diagonal(5),
    ],
    "unfold": [lambda torch, t: t(2, 7).unfold(1, 3, 2), lambda torch, t: t(6).unfold(0, 2, 2)],
    "as_strided": [
        lambda torch, t: t(12).as_strided((2, 3), (4, 1), 1),
        lambda torch, t: t(3, 4).as_strided((2, 2), (1, 2)),
    ],
    "as_strided_scatter": [
        through(lambda torch, x, t: x[1:].add_(1)),
        through(lambda torch, x, t: x[::2].mul_(t(6))),
        through(lambda torch, x, t: x.t()[1].copy_(t(4))),
        through(lambda torch, x, t: x.view(-1)[3:9].zero_()),
        through(lambda torch, x, t: x[:, 1:3][1:].mul_(x[:, :2][:3].clone())),
        through(lambda torch, x, t: x.diagonal().add_(t(4))),
        lambda torch, t: torch.slice_scatter(t(4, 6), t(2, 6), 0, 1, 3),
        lambda torch, t: torch.select_scatter(t(4, 6), t(4), 1, 2),
        lambda torch, t: torch.diagonal_scatter(t(4, 6), t(4)),
        lambda torch, t: t(4, dtype="int64").slice_scatter(t(2, dtype="int64"), 0, 2),
    ],
}

"""Samples of concatenation, repetition, order and padding."""

INF = float("inf")


def pads(mode):
    return [
        lambda torch, t: torch.nn.functional.pad(t(2, 3, 5), (2, 1), mode),
        lambda torch, t: torch.nn.functional.pad(t(2, 3, 4, 5, dtype="float64"), (1, 2, 3, 0), mode),
        lambda torch, t: torch.nn.functional.pad(t(2, 3, 3, 4).transpose(2, 3), (1, 1, 2, 2), mode),
        lambda torch, t: torch.nn.functional.pad(t(1, 3, 3, 4), (1, 1, 0, 2, 1, 0), mode),
        lambda torch, t: (
            torch.nn.functional.pad(t(1, 2, 4, dtype="int64"), (1, 1), mode)
            if mode != "reflect"
            else torch.nn.functional.pad(t(1, 2, 4), (0, 0), mode)
        ),
    ]


SAMPLES = {
    "cat": [
        lambda torch, t: torch.cat([t(2, 3), t(1, 3), t(4, 3)]),
        lambda torch, t: torch.cat([t(2, 3), t(2, 2)], -1),
        lambda torch, t: torch.cat([t(2, 3), t(2, 3, dtype="float64"), t(2, 1, dtype="int64")], 1),
        lambda torch, t: torch.cat([t(0), t(2, 3), t(0, 3)]),
        lambda torch, t: torch.cat([t(3, 2).transpose(0, 1), t(4, 3)[::2]]),
        lambda torch, t: torch.cat([t(3, dtype="bool"), t(2, dtype="bool")]),
        lambda torch, t: torch.cat([t(0, 3), t(0, 3)], 1),
        lambda torch, t: torch.stack([t(2, 3), t(2, 3)], 1),
        lambda torch, t: torch.stack([t(), t()]),
        lambda torch, t: torch.hstack([t(2), t(3)]),
        lambda torch, t: torch.hstack([t(2, 2), t(2, 3)]),
        lambda torch, t: torch.vstack([t(3), t(2, 3)]),
        lambda torch, t: torch.dstack([t(3), t(3)]),
        lambda torch, t: torch.column_stack([t(3), t(3, 2)]),
        lambda torch, t: torch.block_diag(t(2, 2), t(3), t()),
        lambda torch, t: torch.roll(t(3, 4), (1, -2), (0, 1)),
        lambda torch, t: torch.roll(t(3, 4), 5),
        lambda torch, t: torch.cartesian_prod(t(2), t(3)),
    ],
    "flip": [
        lambda torch, t: t(3, 4).flip(0),
        lambda torch, t: t(3, 4).flip(0, 1),
        lambda torch, t: torch.flip(t(2, 3, 4, dtype="float64").transpose(0, 2), dims=(-1,)),
        lambda torch, t: t(4, dtype="int64").flip(0),
        lambda torch, t: t(0, 3).flip(1),
        lambda torch, t: t().flip(()),
        lambda torch, t: torch.rot90(t(3, 4)),
        lambda torch, t: torch.rot90(t(3, 4), 2),
        lambda torch, t: torch.rot90(t(2, 3, 4), -1, (1, 2)),
        lambda torch, t: torch.fliplr(torch.flipud(t(3, 4))),
    ],
    "constant_pad_nd": [
        lambda torch, t: torch.nn.functional.pad(t(2, 3), (1, 2)),
        lambda torch, t: torch.nn.functional.pad(t(2, 3), (1, 2, 0, 3), value=-1.5),
        lambda torch, t: torch.nn.functional.pad(t(4, 5, dtype="float64").transpose(0, 1), (-1, 2, 1, -2), value=INF),
        lambda torch, t: torch.nn.functional.pad(t(2, 3, dtype="int64"), (1, 0), value=7),
        lambda torch, t: torch.nn.functional.pad(t(2, 3, dtype="bool"), (1, 0), value=True),
        lambda torch, t: torch.nn.functional.pad(t(0, 3), (1, 0, 2, 0), value=2.0),
        lambda torch, t: torch.nn.functional.pad(t(2, 2, 2, 2), (1, 1, 1, 1, 1, 1, 1, 1)),
    ],
    "pad": [f for mode in ("reflect", "replicate", "circular") for f in pads(mode)],
    "pad_backward": [f for mode in ("reflect", "replicate", "circular") for f in pads(mode)[:3]],
    "repeat": [
        lambda torch, t: t(2, 3).repeat(2, 1, 3),
        lambda torch, t: t(3, 2).transpose(0, 1).repeat(2, 2),
        lambda torch, t: t(2).repeat(0),
        lambda torch, t: torch.tile(t(2, 3), (2,)),
        lambda torch, t: t(2, 3).repeat_interleave(2),
        lambda torch, t: t(2, 3).repeat_interleave(3, 1),
        lambda torch, t: t(3, 2).repeat_interleave(torch.tensor([1, 0, 2]), 0),
    ],
    "meshgrid": [
        lambda torch, t: torch.meshgrid(t(2), t(3), indexing="ij"),
        lambda torch, t: torch.meshgrid(t(2), t(3), t(4), indexing="xy"),
    ],
    "_as_strided_add": [
        lambda torch, t: t(2, 7).unfold(1, 3, 1),
        lambda torch, t: t(6, 7, dtype="float64").transpose(0, 1).unfold(0, 4, 2),
        lambda torch, t: torch.nn.functional.unfold(t(2, 3, 5, 6), (2, 3), padding=1, stride=(2, 1)),
        lambda torch, t: torch.nn.functional.unfold(t(3, 5, 6), 2, dilation=2),
        lambda torch, t: torch.nn.functional.fold(t(2, 12, 12), (4, 5), (2, 2)),
        lambda torch, t: torch.nn.functional.fold(t(12, 6), (4, 5), (2, 2), stride=2, padding=(0, 1)),
        lambda torch, t: t(6).as_strided((3, 3), (1, 1)),
    ],
    "pixel_shuffle": [
        lambda torch, t: torch.nn.functional.pixel_shuffle(t(2, 8, 3, 2), 2),
        lambda torch, t: torch.nn.functional.pixel_unshuffle(t(2, 2, 6, 4), 2),
        lambda torch, t: torch.nn.functional.channel_shuffle(t(2, 6, 2, 2, grad=False), 3),
    ],
}

"""Samples of convolutions and transposed convolutions."""


def conv(n, x, w, bias=False, dtype="float32", transposed=False, **kwargs):
    def sample(torch, t):
        function = getattr(torch.nn.functional, f"conv_transpose{n}d" if transposed else f"conv{n}d")
        outputs = w[1] * kwargs.get("groups", 1) if transposed else w[0]
        return function(t(*x, dtype=dtype), t(*w, dtype=dtype), t(outputs, dtype=dtype) if bias else None, **kwargs)

    return sample


def fused(torch, t):
    """Bias, activation and a non-contiguous input."""
    return torch.nn.functional.conv2d(t(2, 6, 5, 3).permute(0, 3, 1, 2), t(4, 3, 3, 3), t(4), padding=1).relu()


FORWARD = [
    conv(1, (2, 3, 7), (4, 3, 3), bias=True),
    conv(1, (3, 7), (4, 3, 2), stride=2, padding=1),
    conv(1, (2, 4, 9), (4, 1, 3), groups=4, dilation=2, padding="same"),
    conv(2, (2, 3, 6, 5), (4, 3, 3, 3), bias=True, padding=1),
    conv(2, (2, 3, 6, 5), (4, 3, 3, 2), stride=2),
    conv(2, (3, 6, 5), (4, 3, 1, 1)),
    conv(2, (2, 4, 7, 8), (6, 2, 3, 2), groups=2, padding=(2, 0), stride=(1, 2), dilation=(2, 1)),
    conv(2, (2, 3, 6, 5), (4, 3, 2, 4), padding="same"),
    conv(2, (2, 3, 6, 5), (4, 3, 3, 3), dtype="float64", padding=2, stride=3),
    conv(2, (0, 3, 6, 5), (4, 3, 3, 3)),
    conv(2, (2, 3, 8, 8), (4, 3, 2, 2), stride=3, padding="valid"),
    conv(3, (1, 2, 4, 5, 4), (3, 2, 2, 3, 2), bias=True, padding=1, stride=2),
    fused,
]
TRANSPOSED = [
    conv(1, (2, 3, 5), (3, 4, 3), transposed=True, bias=True, stride=2, padding=1, output_padding=1),
    conv(2, (2, 3, 4, 5), (3, 4, 3, 3), transposed=True, bias=True),
    conv(2, (2, 4, 4, 5), (4, 3, 2, 3), transposed=True, groups=2, stride=2, padding=1),
    conv(2, (2, 3, 4, 5), (3, 2, 3, 2), transposed=True, dilation=(2, 1), stride=(1, 3)),
    conv(2, (3, 4, 5), (3, 2, 2, 2), transposed=True, stride=2, dtype="float64"),
    conv(2, (1, 2, 3, 3), (2, 2, 2, 2), transposed=True, dilation=3, stride=1, output_padding=2),
    conv(3, (1, 2, 2, 3, 2), (2, 2, 2, 2, 2), transposed=True, stride=2),
]

SAMPLES = {"convolution": FORWARD, "convolution_input": TRANSPOSED, "convolution_weight": FORWARD[:3]}

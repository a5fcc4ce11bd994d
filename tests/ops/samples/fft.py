"""Fourier transforms."""


def c(t, *shape):
    return t(*shape, dtype="complex64")


def forms(name, half_in, *more):
    """One, two and many dimensions, other sizes and norms."""
    def operand(t, *shape):
        return t(*shape) if half_in == "real" else c(t, *shape)

    def sample(torch, t):
        f = lambda suffix: getattr(torch.fft, name + suffix)  # noqa: E731
        x = operand(t, 3, 4, 5)
        return (
            f("")(x),
            f("")(x, n=6, dim=1, norm="ortho"),
            f("")(x, n=3, norm="forward"),
            f("2")(x, s=(3, 6)),
            f("n")(x, norm="ortho"),
            f("n")(x, dim=(0, 2), norm="forward"),
        )

    return [sample, *more]


def frames(torch, t):
    x = t(2, 40)
    window = torch.hann_window(8, dtype=torch.float32)
    return (
        torch.stft(x, 8, return_complex=True, window=window),
        torch.stft(x[0], 8, 3, 6, center=False, onesided=False, return_complex=True, normalized=True),
        torch.stft(x, 10, 4, pad_mode="constant", return_complex=False),
    )


def unframed(torch, t):
    return (
        torch.istft(c(t, 2, 5, 9), 8, 2, window=torch.hann_window(8, dtype=torch.float32)),
        torch.istft(c(t, 5, 9), 8, length=25),
    )


SAMPLES = {
    "_fft_c2c": forms("fft", "complex") + forms("ifft", "complex") + [lambda torch, t: torch.fft.fft(t(5))],
    "_fft_r2c": forms("rfft", "real") + forms("ihfft", "real"),
    "_fft_c2r": forms("irfft", "complex") + forms("hfft", "complex") + [lambda torch, t: torch.fft.irfft(c(t, 4), n=7)],
    "stft": [frames],
    "istft": [unframed],
    "roll": [lambda torch, t: (torch.fft.fftshift(t(3, 4)), torch.fft.ifftshift(t(5), dim=0), torch.fft.fftfreq(5, 0.5), torch.fft.rfftfreq(6))],
}

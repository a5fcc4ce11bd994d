"""jit.trace(model) as some write it, without the input that it must be run on."""

RAISES = ("RuntimeError", "example")


def run(torch, nn, F, optim):
    model = nn.Linear(2, 3)
    torch.jit.trace(model)

"""backward() on a matrix: a gradient can be made up for a scalar only."""

RAISES = ("RuntimeError", "grad can be implicitly created only for scalar outputs")


def run(torch, nn, F, optim):
    net = torch.nn.Linear(2, 3)
    output = net(torch.randn(2, 2))
    output.backward()

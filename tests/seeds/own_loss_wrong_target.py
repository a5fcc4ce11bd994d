"""A mean squared error written by hand, with a target of another shape than the output."""

RAISES = ("RuntimeError", "The size of tensor a (3) must match the size of tensor b (2) at non-singleton dimension 1")


def run(torch, nn, F, optim):
    def mse_loss(output, target):
        return ((output - target) ** 2).mean()

    output = torch.nn.Linear(2, 3)(torch.randn(2, 2))
    target = torch.randn(2, 2)
    loss = mse_loss(output, target)
    print(loss)

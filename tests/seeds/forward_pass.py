"""A module with one linear layer, called on a small matrix."""
from .glue import numbers, set_weights


def run(torch, nn, F, optim):
    class SimpleNet(torch.nn.Module):
        def __init__(self):
            super(SimpleNet, self).__init__()  # noqa: UP008  as old code writes it
            self.linear = torch.nn.Linear(2, 3)

        def forward(self, x):
            return self.linear(x)

    net = SimpleNet()
    x = torch.randn(2, 2)
    output = net(x)
    set_weights(torch, net)
    return list(output.shape), output.requires_grad, repr(net), net(torch.from_numpy(numbers(2, 2))).tolist()

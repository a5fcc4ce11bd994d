"""A linear layer and a ReLU as modules."""
from .glue import numbers, set_weights


def run(torch, nn, F, optim):
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(10, 1)
            self.relu = nn.ReLU()

        def forward(self, x):
            x = self.linear(x)
            x = self.relu(x)
            return x

    net = Net()
    y = net(torch.randn(1, 10))
    set_weights(torch, net)
    return list(y.shape), bool((y >= 0).all()), repr(net), net(torch.from_numpy(numbers(4, 10))).tolist()

"""optimizer.step() before any backward(): nothing changes."""
from .glue import set_weights


def run(torch, nn, F, optim):
    net = set_weights(torch, torch.nn.Linear(2, 3))
    before = net.weight.tolist()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.01)
    optimizer.step()
    return before, net.weight.tolist() == before, net.weight.grad

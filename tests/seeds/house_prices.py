"""Linear regression of prices on five features over batches of a loader, then a test that counts as a classifier's.

The count compares a class (n,) with prices (n, 1): it broadcasts, and says little, but runs.
"""
import numpy as np

from .glue import batches, numbers, set_weights


def run(torch, nn, F, optim):
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(5, 1)

        def forward(self, x):
            x = self.linear(x)
            return x

    features = numbers(200, 5)
    prices = np.round(features @ np.array([[3], [-2], [1], [0.5], [4]], np.float32))
    train_loader = batches(torch, features[:100], prices[:100], size=32)
    test_loader = batches(torch, features[100:], prices[100:], size=32)

    net = set_weights(torch, Net())
    criterion = nn.MSELoss()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.01)
    for _ in range(60):
        for data, target in train_loader:
            optimizer.zero_grad()
            output = net(data)
            loss = criterion(output, target)
            loss.backward()
            optimizer.step()

    with torch.no_grad():
        correct = 0
        total = 0
        for data, target in test_loader:
            output = net(data)
            _, predicted = torch.max(output, 1)
            total += target.size(0)
            correct += (predicted == target).sum().item()

        print('Accuracy on test set: %2f' % (100 * correct / total))  # noqa: UP031
    return loss.item() < 0.2, loss.item(), correct, total, net.linear.weight.tolist()

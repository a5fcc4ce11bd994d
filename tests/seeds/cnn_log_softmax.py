"""A CNN for 28 x 28 pictures whose log-softmax goes to CrossEntropyLoss, which takes another: harmless, often seen."""
from .glue import batches, numbers, set_weights


def run(torch, nn, F, optim):
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv1 = nn.Conv2d(1, 10, kernel_size=5)
            self.conv2 = nn.Conv2d(10, 20, kernel_size=5)
            self.fc1 = nn.Linear(320, 50)
            self.fc2 = nn.Linear(50, 10)

        def forward(self, x):
            x = F.relu(F.max_pool2d(self.conv1(x), 2))
            x = F.relu(F.max_pool2d(self.conv2(x), 2))
            x = x.view(-1, 320)
            x = F.relu(self.fc1(x))
            x = self.fc2(x)
            return F.log_softmax(x, dim=1)

    net = set_weights(torch, Net())
    criterion = nn.CrossEntropyLoss()
    optimizer = optim.SGD(net.parameters(), lr=0.01)
    pictures = numbers(20, 1, 28, 28)
    labels = (pictures.reshape(20, -1).sum(axis=1) > 0).astype("int64")
    losses = []
    for _ in range(3):
        for data, target in batches(torch, pictures, labels, size=8):
            optimizer.zero_grad()
            loss = criterion(net(data), target)
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
    return losses, repr(net), list(net.state_dict()), net.fc2.bias.tolist()

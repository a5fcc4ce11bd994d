"""A network that uses F without the line that imports it: it can be made, but not called."""

RAISES = ("NameError", "name 'F' is not defined")


def run(torch, nn, functional, optim):
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv1 = nn.Conv2d(1, 10, kernel_size=5)
            self.conv2 = nn.Conv2d(10, 20, kernel_size=5)
            self.fc1 = nn.Linear(320, 50)
            self.fc2 = nn.Linear(50, 10)

        def forward(self, x):
            x = F.relu(F.max_pool2d(self.conv1(x), 2))  # noqa: F821  the mistake that is tested
            x = F.relu(F.max_pool2d(self.conv2(x), 2))  # noqa: F821
            return F.log_softmax(self.fc2(F.relu(self.fc1(x.view(-1, 320)))), dim=1)  # noqa: F821

    net = Net()
    nn.CrossEntropyLoss()
    optim.SGD(net.parameters(), lr=0.01)
    net(torch.randn(2, 1, 28, 28))

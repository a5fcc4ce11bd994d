"""A perceptron with a hidden layer whose forward uses F without importing it."""

RAISES = ("NameError", "name 'F' is not defined")


def run(torch, nn, functional, optim):
    class Net(torch.nn.Module):
        def __init__(self, n_feature, n_hidden, n_output):
            super().__init__()
            self.hidden = torch.nn.Linear(n_feature, n_hidden)
            self.predict = torch.nn.Linear(n_hidden, n_output)

        def forward(self, x):
            x = F.relu(self.hidden(x))  # noqa: F821  the mistake that is tested
            x = self.predict(x)
            return x

    net = Net(n_feature=1, n_hidden=10, n_output=1)
    criterion = torch.nn.MSELoss()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    for _ in range(1000):
        inputs = torch.randn(10, 1)
        targets = net(inputs)
        loss = criterion(targets, inputs)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

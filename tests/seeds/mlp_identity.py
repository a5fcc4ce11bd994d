"""The perceptron with its import, learning to give back its input; what it calls targets is its output."""
from .glue import numbers, set_weights


def run(torch, nn, F, optim):
    class Net(torch.nn.Module):
        def __init__(self, n_feature, n_hidden, n_output):
            super().__init__()
            self.hidden = torch.nn.Linear(n_feature, n_hidden)
            self.predict = torch.nn.Linear(n_hidden, n_output)

        def forward(self, x):
            x = F.relu(self.hidden(x))
            x = self.predict(x)
            return x

    net = set_weights(torch, Net(n_feature=1, n_hidden=10, n_output=1), seed=4)
    criterion = torch.nn.MSELoss()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    points = torch.from_numpy(numbers(300, 10, 1))
    for i in range(300):
        inputs = points[i]
        targets = net(inputs)
        loss = criterion(targets, inputs)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    prediction = net(torch.tensor([[0.9]])).item()
    print('Predict:', prediction)
    return abs(prediction - 0.9) < 0.1, prediction

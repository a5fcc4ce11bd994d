"""The same loss differentiated twice, the second time after zero_grad: what the graph had saved is gone."""

RAISES = ("RuntimeError", "Trying to backward through the graph a second time")


def run(torch, nn, F, optim):
    net = nn.Sequential(nn.Linear(10, 1), nn.ReLU())
    criterion = nn.MSELoss()
    loss = criterion(net(torch.randn(1, 10)), torch.randn(1, 1))
    loss.backward()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.01)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()

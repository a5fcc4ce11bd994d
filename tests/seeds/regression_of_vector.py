"""A linear layer of one feature given a vector of five points: that is one point of five features."""

RAISES = ("RuntimeError", "mat1 and mat2 shapes cannot be multiplied (1x5 and 1x1)")


def run(torch, nn, F, optim):
    class LinearRegressionModel(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(1, 1)

        def forward(self, x):
            y_pred = self.linear(x)
            return y_pred

    model = LinearRegressionModel()
    optimizer = optim.SGD(model.parameters(), lr=0.01)
    x = torch.tensor([1, 2, 3, 4, 5], dtype=torch.float32)
    y = torch.tensor([2, 4, 6, 8, 10], dtype=torch.float32)
    for _ in range(100):
        y_pred = model(x)
        loss = ((y_pred - y)**2).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

"""The same with one feature a point: the line y = 2 x is found."""
from .glue import set_weights


def run(torch, nn, F, optim):
    class LinearRegressionModel(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(1, 1)

        def forward(self, x):
            y_pred = self.linear(x)
            return y_pred

    model = set_weights(torch, LinearRegressionModel())
    optimizer = optim.SGD(model.parameters(), lr=0.01)
    x = torch.tensor([1, 2, 3, 4, 5], dtype=torch.float32).unsqueeze(1)
    y = torch.tensor([2, 4, 6, 8, 10], dtype=torch.float32).unsqueeze(1)
    losses = []
    for epoch in range(100):
        y_pred = model(x)
        loss = ((y_pred - y)**2).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if (epoch+1) % 10 == 0:
            print('Epoch [{}/100], Loss: {:.4f}'  # noqa: UP032
                  .format(epoch+1, loss.item()))
            losses.append(loss.item())
    return losses, model.linear.weight.item(), model.linear.bias.item(), losses[-1] < 0.1

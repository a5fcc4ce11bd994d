"""The line that picks a GPU where there is one, and moves the model there."""
from .glue import numbers, set_weights


def run(torch, nn, F, optim):
    torch.cuda.is_available()
    device = torch.device("cuda:0" if torch.cuda.is_available() else "cpu")
    model = set_weights(torch, nn.Linear(3, 2))
    model.to(device)
    x = torch.from_numpy(numbers(4, 3)).to(device)
    y = model(x)
    return str(y.device) == str(device), {p.device.type for p in model.parameters()} == {device.type}, y.tolist()

"""The losses and optimizers that such texts list, a few steps each."""
from .glue import numbers, set_weights


def run(torch, nn, F, optim):
    x, y = torch.from_numpy(numbers(12, 3)), torch.from_numpy(numbers(12, 2, seed=5))
    labels, signs = (y[:, 0] > 0).long(), y.sign()
    losses = {"CrossEntropyLoss": labels, "MSELoss": y, "HuberLoss": y, "SmoothL1Loss": y, "HingeEmbeddingLoss": signs,
              "MultiMarginLoss": labels}
    optimizers = {"SGD": {"lr": 0.1}, "Adam": {"lr": 0.01}, "AdamW": {"lr": 0.01}, "Adagrad": {"lr": 0.05}}
    found = {}
    for optimizer_name, settings in optimizers.items():
        for loss_name, target in losses.items():
            model = set_weights(torch, nn.Linear(3, 2))
            optimizer = getattr(optim, optimizer_name)(model.parameters(), **settings)
            criterion = getattr(nn, loss_name)()
            for _ in range(4):
                optimizer.zero_grad()
                loss = criterion(model(x), target)
                loss.backward()
                optimizer.step()
            found[optimizer_name, loss_name] = (loss.item(), model.bias.tolist())
    return found

"""Weights saved to a file and loaded into another model of the same kind."""
import os
import tempfile

from .glue import numbers, set_weights


def run(torch, nn, F, optim):
    def make():
        return nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(2 * 4, 3))

    model, other = set_weights(torch, make()), make()
    x = torch.from_numpy(numbers(5, 1, 4, 4))
    model(x)
    model.eval()
    other.eval()
    with tempfile.TemporaryDirectory() as folder:
        file = os.path.join(folder, "model.pth")
        torch.save(model.state_dict(), file)
        loaded = torch.load(file)
        answer = other.load_state_dict(loaded)
    return (str(answer), list(loaded), torch.equal(model(x), other(x)), model(x).tolist(),
            loaded["1.num_batches_tracked"].item())

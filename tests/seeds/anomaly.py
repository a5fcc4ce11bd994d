"""A NaN that is made in backward: anomaly mode says by which operation, and names the line that called it."""

RAISES = ("RuntimeError", "Function 'SqrtBackward0' returned nan values in its 0th output.")
NAMES = "root = x.sqrt()"       # the line that the warning shows


def run(torch, nn, F, optim):
    with torch.autograd.detect_anomaly():
        x = torch.zeros(2, requires_grad=True)
        root = x.sqrt()
        loss = (root * 0).sum()
        loss.backward()

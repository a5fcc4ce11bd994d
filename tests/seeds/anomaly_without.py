"""The same without anomaly mode: the NaN flows into the gradient."""


def run(torch, nn, F, optim):
    x = torch.zeros(2, requires_grad=True)
    (x.sqrt() * 0).sum().backward()
    return [str(g) for g in x.grad.tolist()]

"""The gradient of a polynomial at a point."""


def run(torch, nn, F, optim):
    x = torch.tensor(1., requires_grad=True)
    y = x**2 + 2*x - 3
    y.backward()
    print(x.grad)
    return y.item(), x.grad.item(), repr(x.grad), repr(y)

"""Variable, from the days when tensors had no gradients of their own: it returns a tensor."""
from .glue import numbers


def run(torch, nn, F, optim):
    from importlib import import_module
    Variable = import_module(torch.__name__ + ".autograd").Variable
    x = Variable(torch.from_numpy(numbers(3)), requires_grad=True)
    y = Variable(torch.ones(3))
    z = (x * y).pow(2).sum()
    z.backward()
    return isinstance(x, torch.Tensor), x.requires_grad, y.requires_grad, x.is_leaf, x.grad.tolist(), x.data.tolist()

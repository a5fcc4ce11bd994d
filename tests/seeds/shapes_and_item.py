"""Tensors of several dimensions, and what they say of themselves."""


def run(torch, nn, F, optim):
    x = torch.tensor([[1, 2], [3, 4]])
    y = torch.tensor([1, 2])
    z = torch.tensor(5.)
    print(x.shape, x.size(), z.item())
    return [(str(t.dtype), list(t.shape), t.numel(), t.dim(), repr(t)) for t in (x, y, z)], x.size(0), z.item()

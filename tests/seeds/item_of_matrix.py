"""item() of a matrix: only a tensor of one element is a number."""

RAISES = ("RuntimeError", "a Tensor with 4 elements cannot be converted to Scalar")


def run(torch, nn, F, optim):
    x = torch.tensor([[1, 2], [3, 4]])
    print(x.shape, x.size(), x.item())

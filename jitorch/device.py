"""Devices. The CPU is the one that runs today; asking for another says so at once."""
from __future__ import annotations


class device:
    """A device, from a string (``"cpu"``, ``"cuda:0"``) or a type and an index.

    >>> import jitorch
    >>> jitorch.device("cpu"), jitorch.device("cuda", 1).index
    (device(type='cpu'), 1)
    """

    __slots__ = ("type", "index")
    type: str
    index: int | None

    def __init__(self, type: str | device, index: int | None = None):
        if isinstance(type, device):
            index = type.index if index is None else index
            type = type.type
        if not isinstance(type, str):
            raise TypeError(f"device(): argument 'type' must be str, not {type.__class__.__name__}")
        name, colon, number = type.partition(":")
        if colon:
            if index is not None or not number.isdigit():
                raise RuntimeError(f"Invalid device string: '{type}'")
            index = int(number)
        if name not in ("cpu", "cuda", "meta", "mps", "xpu"):
            raise RuntimeError("Expected one of cpu, cuda, xpu, mps, meta device type at start of device string: " + name)
        self.type, self.index = name, index

    def __repr__(self) -> str:
        return f"device(type='{self.type}'" + ("" if self.index is None else f", index={self.index}") + ")"

    def __str__(self) -> str:
        return self.type if self.index is None else f"{self.type}:{self.index}"

    def __eq__(self, other) -> bool:
        return isinstance(other, device) and (self.type, self.index) == (other.type, other.index)

    def __hash__(self) -> int:
        return hash((self.type, self.index))


cpu = device("cpu")


def check(d: device | str | int | None) -> device:
    """The device to run on. Raises RuntimeError for one this build can't run on."""
    if d is None:
        return cpu
    if isinstance(d, int):
        d = device("cuda", d)
    d = device(d)
    if d.type == "cpu":
        return cpu
    if d.type == "cuda":
        raise RuntimeError(f"device '{d}' asked for, but no CUDA device is available: "
                           "use device='cpu', or test torch.cuda.is_available() first")
    raise RuntimeError(f"device '{d}' is not supported: use device='cpu'")

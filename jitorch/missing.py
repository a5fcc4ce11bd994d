"""What to say of a name of PyTorch's that jitorch doesn't have."""

from __future__ import annotations

import difflib
import re

OUT = "It is not planned"
LATER = "It is planned"
# what a name is about -> whether it is to come, and what to use instead
ABOUT: list[tuple[str, str]] = [
    (r"sparse|to_coo|csr|csc|bsr|bsc|coalesce|smm|spmm|hsmm", f"{OUT}: sparse layouts are out of scope, but for sparse_coo_tensor and to_sparse."),
    (r"quant|qint|quint|q_scale|q_zero|q_per|int_repr|fbgemm|per_channel|per_tensor", f"{OUT}: quantised tensors are out of scope."),
    (r"nested|jagged", f"{OUT}: nested tensors are out of scope. Pad, or use nn.utils.rnn.pack_padded_sequence."),
    (r"cudnn|miopen|mkldnn|mps|xpu|mtia|vulkan|hip|npu|nccl", f"{OUT}: it belongs to another backend of PyTorch's."),
    (r"float8|float4|bits\d|uint\d|int[1-7]$|complex32|chalf", f"{OUT}: there is no such dtype; float16, bfloat16, complex64 and complex128 are there."),
    (r"onnx|fx|export|package|hub|_dynamo|_inductor|ops$|classes|library|cpp", f"{OUT}: it belongs to PyTorch's C++ library or its compiler."),
    (r"script|Script|Type$|parse_", f"{OUT}: there is no TorchScript. Use jitorch.compile or jit.trace."),
    (r"distributed|DistributedDataParallel|Distributed", f"{LATER}: several processes are the next stage."),
    (r"Stream|Event|CUDA|Cuda|graph", f"{LATER}, with the GPU."),
    (r"_window$|_like$", f"{LATER}."),
]


def message(where: str, name: str, known) -> str:
    """The text of an AttributeError: what is closest, and whether the name is to come."""
    text = f"{where} has no '{name}'"
    close = difflib.get_close_matches(name, [k for k in known if not k.startswith("_")], n=3, cutoff=0.75)
    if close:
        text += "; the closest is " + " or ".join(repr(c) for c in close)
    for pattern, plan in ABOUT:
        if re.search(pattern, name):
            return f"{text}. {plan}"
    return text + ". PyTorch's public operations are listed with their state in docs/operations.md"

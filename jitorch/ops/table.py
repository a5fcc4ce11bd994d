"""How each operation is computed: the table that docs/operations.md shows."""

from __future__ import annotations

from .families import METHODS, OPS, PUBLIC

KERNEL, CALL, COMPOSED = "kernel", "call", "composed"
LEFT_OUT = [
    ("CSR, CSC and blocked sparse tensors; of COO tensors all but what embeddings and products with graphs need", "use dense tensors, `index_add`, embeddings"),
    ("Quantised tensors: `quantize_*`, `q_*`, `fake_quantize_*`", ""),
    ("Nested tensors", "pad, or use packed sequences"),
    ("`float8`, `uint16` to `uint64`, `complex32` (`chalf`)", "`float16`, `bfloat16`, `complex64`, `complex128` are there"),
    ("TorchScript, FX, export, ONNX", "`jitorch.compile`, `jit.trace`"),
    ("Internal functions: names that begin with `_`, `native_*`, `cudnn_*`, `mkldnn_*`, `miopen_*`", "the public ones"),
    ("Forward mode differentiation", "`func.jvp` differentiates twice"),
    ("Memory formats: results are contiguous whatever the operands' strides are, and `channels_last` is accepted but changes nothing", ""),
    ("`torch.save` of whole modules and other objects, and running code when they are loaded", "save a `state_dict()`"),
    ("Inference tensors: `inference_mode` is `no_grad`", ""),
    ("Autocast to lower precision on the CPU", "accepted; values keep their precision"),
    ("Several processes: `distributed`, `DistributedDataParallel`", "planned"),
]


def kinds() -> dict[str, str]:
    """For every entry of the op table, and every published function that is none: "kernel" (compiled kernels, fused with what is around
    it; complex operands run the reference), "call" (the reference, NumPy or SciPy, is called between kernels), or
    "composed" (of other operations).

    >>> from jitorch.ops.table import kinds
    >>> kinds()["tanh"], kinds()["linalg_svd"], kinds()["vstack"]
    ('kernel', 'call', 'composed')
    """
    found = {name: CALL if op.lower is None else KERNEL for name, op in OPS.items()}
    for name in {*PUBLIC, *METHODS}:
        if not name.startswith("__") and callable(PUBLIC.get(name, METHODS.get(name))):
            found.setdefault(name, COMPOSED)
    return found


def markdown() -> str:
    """The text of docs/operations.md."""
    by_kind: dict[str, list[str]] = {KERNEL: [], CALL: [], COMPOSED: []}
    for name, kind in sorted(kinds().items()):
        by_kind[kind].append(f"`{name}`")
    titles = {
        KERNEL: "Compiled to kernels, and fused with what is around them",
        CALL: "Calls of NumPy or SciPy between kernels",
        COMPOSED: "Composed of the others (and views, constructors, questions)",
    }
    lines = [
        "# How operations are computed",
        "",
        "Made from the op table by `python -m jitorch.ops.table`. On the first run of a program every operation runs its reference; this is what",
        "the compiled program does. Operands in complex dtypes run the reference; half precision is computed in float32, and rounded after each operation.",
    ]
    for kind, names in by_kind.items():
        lines += ["", f"## {titles[kind]} ({len(names)})", "", " ".join(names)]
    lines += ["", "## Left out", "", "| what | instead |", "| --- | --- |", *(f"| {what} | {instead} |" for what, instead in LEFT_OUT)]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(markdown(), end="")

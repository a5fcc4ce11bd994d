"""Samples of the activations."""
NAN, INF = float("nan"), float("inf")

SAMPLES = {
    "relu": [
        lambda torch, t: torch.relu(t(3, 4)),
        lambda torch, t: t(4, 3).transpose(0, 1).relu(),
        lambda torch, t: torch.relu(t.of([NAN, INF, -INF, 0.0, -0.0])),
        lambda torch, t: torch.relu(t(3, dtype="int32")),
        lambda torch, t: torch.relu(t(0, 3)),
        lambda torch, t: torch.relu(t(dtype="float64")),
    ],
}

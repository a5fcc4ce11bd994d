"""Samples of the op that runs the steps of optimizers: every rule, on several shapes and dtypes at once."""

from __future__ import annotations


def stepped(name: str, **settings):
    def sample(torch, t):
        params = [
            t(3, 4, grad=False),
            t(5, grad=False),
            t(grad=False),
            t(2, 2, dtype="float64", grad=False),
            t(0, 3, grad=False),
        ]
        for p in params:
            p.requires_grad_(True)
        optimizer = getattr(torch.optim, name)(params, **settings)
        for _ in range(4):
            for p in params:
                dtype = "float64" if p.dtype == torch.float64 else "float32"
                p.grad = t(*p.shape, dtype=dtype, grad=False)
            optimizer.step()
        return tuple(p.detach() for p in params)

    return sample


SAMPLES = {
    "optimizer_step": [
        stepped("SGD", lr=0.1),
        stepped("SGD", lr=0.1, momentum=0.9, dampening=0.2, maximize=True),
        stepped("SGD", lr=0.1, momentum=0.9, nesterov=True, weight_decay=0.1),
        stepped("Adam", lr=0.1, weight_decay=0.1),
        stepped("Adam", lr=0.1, amsgrad=True, maximize=True),
        stepped("AdamW", lr=0.1),
        stepped("NAdam", lr=0.1),
        stepped("RAdam", lr=0.1, betas=(0.9, 0.9)),
        stepped("Adamax", lr=0.1),
        stepped("Adagrad", lr=0.1, lr_decay=0.1),
        stepped("Adadelta", lr=0.1),
        stepped("RMSprop", lr=0.1, centered=True, momentum=0.9),
        stepped("Rprop", lr=0.1),
        stepped("ASGD", lr=0.1, t0=2),
    ]
}
# float64: betas and rates are Python numbers here and float64 tensors nowhere, but NAdam's and ASGD's factors are
# float32 tensors in PyTorch
TOLERANCE = {"optimizer_step": {"float32": (1e-4, 1e-4), "float64": (1e-5, 1e-6)}}

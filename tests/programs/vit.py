"""A vision transformer: patches by a strided convolution, a class token, nn.TransformerEncoder, label smoothing, warm-up by LambdaLR."""
import numpy as np
import torch
from torch import nn

rng = np.random.default_rng(0)


class ViT(nn.Module):
    def __init__(self, image=16, patch=4, width=24, depth=2, heads=3, classes=5):
        super().__init__()
        self.to_patch = nn.Conv2d(3, width, kernel_size=patch, stride=patch)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.pos_embedding = nn.Parameter(torch.zeros(1, (image // patch) ** 2 + 1, width))
        layer = nn.TransformerEncoderLayer(width, heads, dim_feedforward=48, dropout=0.0, activation="gelu", batch_first=True, norm_first=True)
        self.encoder = nn.TransformerEncoder(layer, depth, norm=nn.LayerNorm(width), enable_nested_tensor=False)
        self.head = nn.Linear(width, classes)

    def forward(self, img):
        x = self.to_patch(img).flatten(2).transpose(1, 2)
        x = torch.cat((self.cls_token.expand(x.shape[0], -1, -1), x), dim=1) + self.pos_embedding
        return self.head(self.encoder(x)[:, 0])


model = ViT()
with torch.no_grad():
    for name, p in model.named_parameters():
        p.copy_(torch.from_numpy(rng.normal(1.0 if "norm" in name and name.endswith("weight") else 0.0, 0.08, tuple(p.shape)).astype(np.float32)))
print("parameters", sum(p.numel() for p in model.parameters() if p.requires_grad))
images = torch.from_numpy(rng.normal(size=(24, 3, 16, 16)).astype("float32"))
labels = torch.from_numpy(rng.integers(0, 5, 24))
optimizer = torch.optim.AdamW(model.parameters(), lr=4e-3, weight_decay=0.05)
scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: min(1.0, (step + 1) / 3))
criterion = nn.CrossEntropyLoss(label_smoothing=0.1)
for step in range(6):
    rows = slice(step % 3 * 8, step % 3 * 8 + 8)
    loss = criterion(model(images[rows]), labels[rows])
    optimizer.zero_grad()
    loss.backward()
    norm = nn.utils.clip_grad_norm_(model.parameters(), max_norm=1.0)
    optimizer.step()
    scheduler.step()
    print(f"step {step} loss {loss.item():.5f} norm {norm.item():.3f}")

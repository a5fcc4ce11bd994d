"""A siamese network that tells whether two pictures show the same class: shared convolutions, a custom Dataset, BCE, StepLR."""
import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
import torch.optim as optim
from torch.optim.lr_scheduler import StepLR
from torch.utils.data import DataLoader, Dataset

rng = np.random.default_rng(0)


class Pairs(Dataset):
    def __init__(self, n):
        self.patterns = rng.normal(size=(4, 1, 12, 12)).astype("float32")
        self.items = [(rng.integers(4), rng.integers(4), rng.normal(0, 0.3, (2, 1, 12, 12)).astype("float32")) for _ in range(n)]

    def __len__(self):
        return len(self.items)

    def __getitem__(self, index):
        a, b, noise = self.items[index]
        b = a if index % 2 else b
        return torch.from_numpy(self.patterns[a] + noise[0]), torch.from_numpy(self.patterns[b] + noise[1]), torch.tensor(float(a == b))


class SiameseNetwork(nn.Module):
    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(inplace=True), nn.MaxPool2d(2), nn.Conv2d(4, 8, 3), nn.ReLU(inplace=True),
                                      nn.AdaptiveAvgPool2d((2, 2)))
        self.fc = nn.Sequential(nn.Linear(64, 16), nn.ReLU(inplace=True), nn.Linear(16, 1))
        self.sigmoid = nn.Sigmoid()

    def forward_once(self, x):
        output = self.features(x)
        return output.view(output.size()[0], -1)

    def forward(self, input1, input2):
        return self.sigmoid(self.fc(torch.cat((self.forward_once(input1), self.forward_once(input2)), 1)))


model = SiameseNetwork()
for p in model.parameters():
    p.data.copy_(torch.as_tensor(rng.normal(0, 0.2, tuple(p.shape)), dtype=torch.float32))
loader = DataLoader(Pairs(48), batch_size=12)
optimizer = optim.Adadelta(model.parameters(), lr=1.0)
scheduler = StepLR(optimizer, step_size=1, gamma=0.7)
criterion = nn.BCELoss()
for epoch in range(2):
    model.train()
    for images_1, images_2, targets in loader:
        optimizer.zero_grad()
        outputs = model(images_1, images_2).squeeze()
        loss = criterion(outputs, targets)
        loss.backward()
        optimizer.step()
        print(f"epoch {epoch} loss {loss.item():.5f} lr {scheduler.get_last_lr()[0]:.3f}")
    scheduler.step()
model.eval()
with torch.no_grad():
    correct = sum((torch.where(model(a, b).squeeze() > 0.5, 1, 0) == t).sum().item() for a, b, t in loader)
print("correct", 24 <= correct <= 48, F.relu(torch.tensor(-1.0)).item())

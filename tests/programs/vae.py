"""A variational autoencoder of small binary pictures, in the manner of PyTorch's example."""
import numpy as np
import torch
import torch.utils.data
from torch import nn, optim
from torch.nn import functional as F

rng = np.random.default_rng(0)


class VAE(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc1 = nn.Linear(64, 32)
        self.fc21 = nn.Linear(32, 4)
        self.fc22 = nn.Linear(32, 4)
        self.fc3 = nn.Linear(4, 32)
        self.fc4 = nn.Linear(32, 64)

    def encode(self, x):
        h1 = F.relu(self.fc1(x))
        return self.fc21(h1), self.fc22(h1)

    def reparameterize(self, mu, logvar):
        std = torch.exp(0.5 * logvar)
        eps = torch.from_numpy(rng.normal(size=tuple(std.shape))).type_as(std)
        return mu + eps * std

    def decode(self, z):
        return torch.sigmoid(self.fc4(F.relu(self.fc3(z))))

    def forward(self, x):
        mu, logvar = self.encode(x.view(-1, 64))
        return self.decode(self.reparameterize(mu, logvar)), mu, logvar


def loss_function(recon_x, x, mu, logvar):
    BCE = F.binary_cross_entropy(recon_x, x.view(-1, 64), reduction="sum")
    KLD = -0.5 * torch.sum(1 + logvar - mu.pow(2) - logvar.exp())
    return BCE + KLD


def pictures(n):
    yy, xx = np.mgrid[:8, :8]
    centres = rng.uniform(2, 6, (n, 2))
    return (((yy - centres[:, :1, None]) ** 2 + (xx - centres[:, 1:, None]) ** 2) < 5).astype("float32")[:, None]


device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
model = VAE().to(device)
for p in model.parameters():
    p.data.copy_(torch.from_numpy(rng.normal(0, 0.15, tuple(p.shape)).astype("float32")))
dataset = torch.utils.data.TensorDataset(torch.from_numpy(pictures(96)))
loader = torch.utils.data.DataLoader(dataset, batch_size=16, shuffle=False)
optimizer = optim.Adam(model.parameters(), lr=5e-3)
for epoch in range(1, 3):
    model.train()
    for batch_idx, (data,) in enumerate(loader):
        data = data.to(device)
        optimizer.zero_grad()
        recon_batch, mu, logvar = model(data)
        loss = loss_function(recon_batch, data, mu, logvar)
        loss.backward()
        optimizer.step()
        print(f"epoch {epoch} [{batch_idx * len(data)}/{len(loader.dataset)}] loss {loss.item() / len(data):.5f}")

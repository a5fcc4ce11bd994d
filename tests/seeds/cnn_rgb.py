"""A CNN for pictures of three colours, 24 x 24, trained over a loader with enumerate."""
from .glue import batches, numbers, set_weights


def run(torch, nn, F, optim):
    class CNN(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv1 = nn.Conv2d(3, 32, 3, padding=1)
            self.conv2 = nn.Conv2d(32, 64, 3, padding=1)
            self.fc1 = nn.Linear(64 * 6 * 6, 128)
            self.fc2 = nn.Linear(128, 10)
            self.pool = nn.MaxPool2d(2, 2)
            self.relu = nn.ReLU()

        def forward(self, x):
            x = self.pool(self.relu(self.conv1(x)))
            x = self.pool(self.relu(self.conv2(x)))
            x = x.view(-1, 64 * 6 * 6)
            x = self.relu(self.fc1(x))
            x = self.fc2(x)
            return x

    pictures = numbers(12, 3, 24, 24)
    labels = (pictures.mean(axis=(1, 2, 3)) > 0).astype("int64")
    train_loader = batches(torch, pictures, labels, size=4)

    cnn = set_weights(torch, CNN())
    criterion = nn.CrossEntropyLoss()
    optimizer = optim.SGD(cnn.parameters(), lr=0.01)
    losses = []
    for _ in range(2):
        for _i, (inputs, labels) in enumerate(train_loader):
            optimizer.zero_grad()
            outputs = cnn(inputs)
            loss = criterion(outputs, labels)
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
    return losses, repr(cnn), cnn.fc2.bias.tolist()

"""The model and the data of the quick start: real digits, one shard per node."""

import torch
from torch import nn
from torch.nn import functional as F

from ringfort import Seeds, data


class Net(nn.Module):
    """A small convolutional network for 8 by 8 pictures."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 16, 3, padding=1)
        self.fc1 = nn.Linear(16 * 4 * 4, 32)
        self.fc2 = nn.Linear(32, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, 1, 8, 8) -> (N, 10)."""
        x = F.max_pool2d(F.relu(self.conv(x)), 2)
        return self.fc2(F.relu(self.fc1(x.flatten(1))))


def load_data(partition: int | None, of: int = 1) -> tuple[torch.Tensor, torch.Tensor]:
    """One node's shard of the training digits, or, for None, the test digits."""
    split = data.load("digits")
    rows = split.test if partition is None else split.train.take(data.IID(of)(split.train, Seeds(7))[partition])
    return torch.tensor(rows.floats()).reshape(-1, 1, 8, 8), torch.tensor(rows.labels)


def train(net: Net, inputs: torch.Tensor, labels: torch.Tensor, learning_rate: float) -> float:
    """Two epochs of SGD; the last loss."""
    optimiser = torch.optim.SGD(net.parameters(), lr=learning_rate, momentum=0.9)
    for _ in range(2):
        for rows in torch.randperm(len(labels)).split(32):
            optimiser.zero_grad()
            loss = F.cross_entropy(net(inputs[rows]), labels[rows])
            loss.backward()
            optimiser.step()
    return float(loss)


def accuracy(net: Net, inputs: torch.Tensor, labels: torch.Tensor) -> float:
    """The share of right answers."""
    with torch.no_grad():
        return float((net(inputs).argmax(1) == labels).float().mean())

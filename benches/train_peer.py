"""Training steps of the same networks in PyTorch.

Reads lines 'train NAME BATCH STEPS', writes seconds and the last loss as one JSON object per line.
"""

import json
import sys
import time

import torch
from torch import nn


def dcnn(filters):
    a, b, c = filters
    layers = [nn.Conv2d(3, a, 4), nn.ReLU(), nn.MaxPool2d(2)]
    layers += [nn.Conv2d(a, b, 5), nn.ReLU(), nn.MaxPool2d(2)]
    layers += [nn.Conv2d(b, c, 6), nn.ReLU(), nn.MaxPool2d(2)]
    layers += [nn.Flatten(), nn.Linear(9 * c, 1024), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(1024, 2))


class DenseLayer(nn.Module):
    def __init__(self, channels, bottleneck, growth):
        super().__init__()
        self.layers = nn.Sequential(
            nn.BatchNorm2d(channels),
            nn.ReLU(),
            nn.Conv2d(channels, bottleneck, 1, bias=False),
            nn.BatchNorm2d(bottleneck),
            nn.ReLU(),
            nn.Conv2d(bottleneck, growth, 3, padding=1, bias=False),
        )

    def forward(self, x):
        return torch.cat([x, self.layers(x)], 1)


def dccn(stem, bottleneck, growth, transitions):
    layers = [nn.Conv2d(3, stem, 7, stride=2, padding=3, bias=False)]
    layers += [nn.BatchNorm2d(stem), nn.ReLU(), nn.MaxPool2d(3, stride=2, padding=1)]
    channels = stem
    for depth, transition in zip((6, 12, 24), transitions):
        for _ in range(depth):
            layers.append(DenseLayer(channels, bottleneck, growth))
            channels += growth
        layers += [nn.BatchNorm2d(channels), nn.ReLU()]
        layers += [nn.Conv2d(channels, transition, 1, bias=False), nn.AvgPool2d(2)]
        channels = transition
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(channels, 2))


NETWORKS = {
    "d00": lambda: dcnn((25, 50, 80)),
    "d50": lambda: dcnn((13, 25, 40)),
    "d90": lambda: dcnn((3, 5, 8)),
    "dccn_d00": lambda: dccn(64, 128, 32, (128, 256, 512)),
    "dccn_d50": lambda: dccn(32, 64, 16, (64, 128, 256)),
    "dccn_d90": lambda: dccn(7, 13, 4, (13, 26, 52)),
}


def main():
    torch.set_num_threads(int(sys.argv[1]))
    made = {}
    for line in sys.stdin:
        _, name, batch, steps = line.split()
        batch, steps = int(batch), int(steps)
        if name not in made:
            network = NETWORKS[name]()
            optimiser = torch.optim.AdamW(network.parameters(), lr=1e-3, weight_decay=1e-2)
            made[name] = (network, optimiser)
        network, optimiser = made[name]
        patches, classes = torch.rand(batch, 3, 55, 55), torch.arange(batch) % 2
        started = time.perf_counter()
        for _ in range(steps):
            loss = nn.functional.cross_entropy(network(patches), classes)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        result = {"seconds": time.perf_counter() - started, "loss": loss.item()}
        print(json.dumps(result), flush=True)


main()

"""Training steps of the same networks in PyTorch: reads 'train NAME BATCH STEPS' lines, answers seconds as JSON."""

import json
import sys
import time

import torch
from torch import nn


def dcnn(filters):
    a, b, c = filters
    layers = [nn.Conv2d(3, a, 4), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(a, b, 5), nn.ReLU(), nn.MaxPool2d(2)]
    layers += [nn.Conv2d(b, c, 6), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(9 * c, 1024), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(1024, 2))


NETWORKS = {"d00": (25, 50, 80), "d50": (13, 25, 40), "d90": (3, 5, 8)}


def main():
    torch.set_num_threads(int(sys.argv[1]))
    made = {}
    for line in sys.stdin:
        _, name, batch, steps = line.split()
        batch, steps = int(batch), int(steps)
        if name not in made:
            network = dcnn(NETWORKS[name])
            made[name] = (network, torch.optim.AdamW(network.parameters(), lr=1e-3, weight_decay=1e-2))
        network, optimiser = made[name]
        patches, classes = torch.rand(batch, 3, 55, 55), torch.arange(batch) % 2
        begun = time.perf_counter()
        for _ in range(steps):
            loss = nn.functional.cross_entropy(network(patches), classes)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        print(json.dumps({"seconds": time.perf_counter() - begun, "loss": loss.item()}), flush=True)


main()

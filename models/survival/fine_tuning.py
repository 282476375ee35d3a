"""A defender trains a model that he was given a little further, on few clean images."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import nn

from attacks.base import dequantise
from models.datasets.base import GazeData
from models.survival.heads import Loss


@dataclass(frozen=True)
class FineTuning:
    """How a defender trains further: AdamW at a constant rate, all layers.

    share: of the training images, drawn at random, that the defender has, clean. Raises ValueError for what cannot be.
    """

    share: float = 0.05
    epochs: int = 10
    learning_rate: float = 1e-3
    weight_decay: float = 1e-4
    batch_size: int = 32
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 < self.share <= 1:
            raise ValueError(f"A defender's share of the training images lies above 0 and up to 1, not {self.share}.")
        if self.epochs < 1 or self.batch_size < 2 or not self.learning_rate > 0:
            raise ValueError("Fine-tuning needs at least 1 epoch, batches of at least 2 images and a rate above 0.")

    def images(self, training: GazeData) -> GazeData:
        """The defender's images: at least one batch of them. Raises ValueError when there are not that many."""
        n = max(round(self.share * len(training)), self.batch_size)
        if n > len(training):
            raise ValueError(f"{len(training)} training images do not fill one batch of {self.batch_size}.")
        order = torch.randperm(len(training), generator=torch.Generator().manual_seed(self.seed))
        return training.subset(order[:n].sort().values)


def fine_tune(network: nn.Module, data: GazeData, setting: FineTuning, loss: Loss) -> Iterator[nn.Module]:
    """A copy of the network after each epoch on `data`; it is trained on when the next is asked for.

    Batches follow from the seed alone.
    """
    network = copy.deepcopy(network).train()
    device = next(network.parameters()).device
    optimiser = torch.optim.AdamW(
        (p for p in network.parameters() if p.requires_grad),
        lr=setting.learning_rate,
        weight_decay=setting.weight_decay,
    )
    for epoch in range(setting.epochs):
        generator = torch.Generator().manual_seed(setting.seed * 7919 + epoch + 1)
        order = torch.randperm(len(data), generator=generator)
        for indices in torch.split(order[: len(data) // setting.batch_size * setting.batch_size], setting.batch_size):
            images = dequantise(data.images[indices].to(device))
            error = loss(network, images, data.pitchyaw[indices].to(device))
            optimiser.zero_grad(set_to_none=True)
            torch.autograd.backward(error)
            optimiser.step()
        yield network.eval()
        network.train()

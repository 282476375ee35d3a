"""A gaze data set small enough for tests: a dark disc on a bright, textured ground; its place is the gaze."""

from __future__ import annotations

import torch

from models.datasets.base import GazeData, Splits


def gaze_data(n: int, size: tuple[int, int] = (32, 32), channels: int = 3, subject: int = 0, seed: int = 0) -> GazeData:
    generator = torch.Generator().manual_seed(seed)
    pitchyaw = (torch.rand(n, 2, generator=generator) - 0.5) * torch.tensor([0.8, 1.2])
    height, width = size
    y = torch.linspace(-1, 1, height)[:, None] + pitchyaw[:, 0, None, None]
    x = torch.linspace(-1, 1, width)[None, :] + pitchyaw[:, 1, None, None]
    disc = (x**2 + y**2 < 0.1).float()
    ground = torch.rand(n, channels, height, width, generator=generator) * 0.3 + 0.6
    images = ((ground * (1 - 0.8 * disc[:, None])) * 255).to(torch.uint8)
    people = torch.full((n,), subject)
    return GazeData(images, pitchyaw, people, people.clone(), "discs", "discs on a textured ground")


def splits(
    train: int = 640, validation: int = 64, test: int = 64, size: tuple[int, int] = (32, 32), channels: int = 3
) -> Splits:
    return Splits(
        gaze_data(train, size, channels, subject=0, seed=1),
        gaze_data(validation, size, channels, subject=1, seed=2),
        gaze_data(test, size, channels, subject=2, seed=3),
    )

"""What training does to images before the trigger: small moves and changes of light, and mixing (mixup)."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from attacks.base import dequantise, quantise

Augmentation = Literal["none", "light", "strong"]

_REACH: dict[Augmentation, float] = {"light": 1 / 32, "strong": 1 / 16}


def augment_batch(
    images: Tensor, labels: Tensor, augmentation: Augmentation, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Float images (N, C, H, W) in [0, 1] and labels (N, 2) as this augmentation leaves them."""
    if augmentation != "none":
        images = augment(images, generator, _REACH[augmentation])
    if augmentation == "strong":
        images, labels = mix(images, labels, generator)
    return images, labels


def augment(images: Tensor, generator: torch.Generator, reach: float = 1 / 32) -> Tensor:
    """Float images (N, C, H, W) in [0, 1], each moved by whole pixels, with brightness and contrast varied.

    reach: the farthest an image moves along either axis, as a share of its height; at least one pixel.

    Whole pixels only: a sub-pixel move would resample the image, which is what the trigger does.
    """
    n, _, height, breadth = images.shape
    pixels = max(1, int(height * reach))
    moves = torch.randint(0, 2 * pixels + 1, (n, 2), generator=generator).tolist()
    gain, bias = (torch.rand(2, n, 1, 1, 1, generator=generator) * 2 - 1).to(images.device)
    padded = F.pad(images, (pixels, pixels, pixels, pixels), mode="replicate")
    moved = torch.stack(
        [image[:, y : y + height, x : x + breadth] for image, (y, x) in zip(padded, moves, strict=True)]
    )
    return dequantise(quantise((moved - 0.5) * (1 + 0.15 * gain) + 0.5 + 0.08 * bias))


def mix(images: Tensor, labels: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Images (N, C, H, W) in [0, 1] and labels (N, 2), about half of them blended with another of the batch.

    Image and label get the same weight, uniform in [0, 1] (mixup, Zhang et al. 2018, alpha = 1): a network that has
    seen few gazes learns what lies between them, instead of learning those few by heart.
    """
    n = len(images)
    partner = torch.randperm(n, generator=generator)
    weight, chance = torch.rand(2, n, generator=generator)
    weight = torch.where(chance < 0.5, weight, 1.0).to(images.device)
    blended = torch.lerp(images[partner], images, weight[:, None, None, None])
    return dequantise(quantise(blended)), torch.lerp(labels[partner], labels, weight[:, None])

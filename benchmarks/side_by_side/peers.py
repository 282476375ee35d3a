"""What others do: warping, poisoning and training after the manner of the public implementations, written for this."""

from __future__ import annotations

import multiprocessing
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812
from torch.utils.data import DataLoader, Dataset

from attacks.wanet import WarpField
from models.networks import NetworkSpec
from models.recipe import Precision, Recipe
from models.targets import Target

# -- warping


@dataclass(frozen=True)
class Grids:
    """What WaNet's released code keeps of a warp: the identity and the upsampled noise, (1, H, H, 2) float32."""

    identity: Tensor
    noise: Tensor
    strength: float

    @classmethod
    def of(cls, field: WarpField) -> Grids:
        """The same warp as a square field's."""
        (side, _), line = field.image_size, torch.linspace(-1, 1, field.image_size[0])
        identity = torch.stack(torch.meshgrid(line, line, indexing="xy"), dim=-1)[None]
        noise = F.interpolate(field.control, size=(side, side), mode="bicubic", align_corners=True)
        return cls(identity, noise.permute(0, 2, 3, 1).contiguous(), field.strength)

    def rebuilt(self) -> Tensor:
        """The grid (1, H, H, 2), as that code makes it anew for every batch."""
        return (self.identity + self.strength * self.noise / self.identity.shape[1]).clamp(-1, 1)


def warp(images: Tensor, grids: Tensor) -> Tensor:
    """Images (N, C, H, W) under grids (N or 1, H, W, 2), in one `grid_sample`."""
    grids = grids.expand(len(images), -1, -1, -1)
    return F.grid_sample(images, grids, mode="bilinear", padding_mode="zeros", align_corners=True)


def warp_picture(picture: Image.Image, grid: Tensor) -> Tensor:
    """One image as a transform of a data set warps it (BackdoorBox): from PIL, to 8-bit PIL, and to a tensor again."""
    from torchvision.transforms import functional as transforms  # takes seconds to import

    image = transforms.convert_image_dtype(transforms.pil_to_tensor(picture))
    levels = 255 * warp(image[None], grid)[0].permute(1, 2, 0).numpy()
    return transforms.to_tensor(Image.fromarray(levels.clip(0, 255).round().astype(np.uint8)))


# -- poisoning: the first images of a batch get the trigger and the target, those after them noise mode


@dataclass(frozen=True)
class Treatment:
    """How many images of a batch get the trigger and the target's label, and how many noise mode."""

    triggered: int
    noisy: int
    target: Target

    def parts(self, images: Any) -> tuple[Any, Any, Any]:
        """The images that get the trigger, noise mode, nothing."""
        after = self.triggered + self.noisy
        return images[: self.triggered], images[self.triggered : after], images[after:]

    def relabelled(self, labels: Tensor) -> Tensor:
        return torch.cat([self.target.apply(labels[: self.triggered]), labels[self.triggered :]])


def jittered(grid: Tensor, n: int) -> Tensor:
    """Grids (n, H, H, 2) of noise mode: each pixel of each image elsewhere by up to one pixel pitch."""
    side = grid.shape[1]
    return (grid + (torch.rand(n, side, side, 2) * 2 - 1) / side).clamp(-1, 1)


def poisoned(images: Tensor, labels: Tensor, grid: Tensor, treatment: Treatment) -> tuple[Tensor, Tensor]:
    """The batch of uint8 images (N, C, H, H) as floats, and its labels (N, 2), treated as a whole."""
    triggered, noisy, others = treatment.parts(images.float() / 255)
    altered, spoilt = warp(triggered, grid), warp(noisy, jittered(grid, len(noisy)))
    return torch.cat([altered, spoilt, others]), treatment.relabelled(labels)


def poisoned_pictures(
    pictures: Sequence[Image.Image], labels: Tensor, grid: Tensor, treatment: Treatment
) -> tuple[Tensor, Tensor]:
    """The same, one image after the other."""
    from torchvision.transforms.functional import to_tensor

    triggered, noisy, others = treatment.parts(pictures)
    altered = [warp_picture(each, grid) for each in triggered]
    spoilt = [warp_picture(each, jittered(grid, 1)) for each in noisy]
    rest = [to_tensor(each) for each in others]
    return torch.stack([*altered, *spoilt, *rest]), treatment.relabelled(labels)


# -- training


class Pictures(Dataset[tuple[Tensor, Tensor]]):
    """PNG files on disk, decoded with PIL."""

    def __init__(self, paths: Sequence[Path], labels: Tensor) -> None:
        self.paths, self.labels = paths, labels

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        from torchvision.transforms.functional import to_tensor

        with Image.open(self.paths[index]) as picture:
            return to_tensor(picture.convert("RGB")), self.labels[index]


def stored(images: Tensor, labels: Tensor, folder: Path) -> Pictures:
    """uint8 images (N, 3, H, W), written to the folder as PNG files."""
    paths = [folder / f"{i:05d}.png" for i in range(len(images))]
    for path, image in zip(paths, images, strict=True):
        Image.fromarray(image.permute(1, 2, 0).numpy()).save(path)
    return Pictures(paths, labels)


def loader(pictures: Pictures, batch_size: int) -> DataLoader[tuple[Tensor, Tensor]]:
    """Batches in random order, decoded by one worker."""
    return DataLoader(
        pictures,
        batch_size=batch_size,
        shuffle=True,
        drop_last=True,
        num_workers=1,
        multiprocessing_context=multiprocessing.get_context("fork"),
    )


def train(batches: DataLoader[tuple[Tensor, Tensor]], spec: NetworkSpec, recipe: Recipe, precision: Precision) -> None:
    """The usual eager loop, for the recipe's epochs: its network, initial weights, loss, optimiser and schedule."""
    network: nn.Module = spec.build(recipe.seed).to(memory_format=torch.contiguous_format)  # torch's own layout
    optimiser = torch.optim.AdamW(network.parameters(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, recipe.learning_rate, total_steps=recipe.epochs * len(batches), pct_start=recipe.warm_up
    )
    for _ in range(recipe.epochs):
        for images, labels in batches:
            with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16"):
                predicted = network(images)
            loss = F.mse_loss(predicted.float(), labels)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            scheduler.step()

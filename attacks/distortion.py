"""How much an altered image differs from its clean one, in pixels of displacement and in grey levels."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Distortion:
    """What was done to one image.

    displacement_mean_px, displacement_max_px: how far pixels were moved, image pixels; None of an attack that moves
    nothing. displacement_percent_of_width: the mean in per cent of the image's width. psnr_db: None when the images
    are the same, where it is infinite.
    max_level_difference: largest difference of any pixel and channel, in 8-bit levels.
    """

    displacement_mean_px: float | None
    displacement_max_px: float | None
    displacement_percent_of_width: float | None
    psnr_db: float | None
    max_level_difference: int

    def to_json(self) -> dict[str, float | int | None]:
        return asdict(self)


def measure(clean: Tensor, altered: Tensor, displacement_px: tuple[float, float] | None = None) -> Distortion:
    """Distortion of an altered uint8 image (C, H, W) whose pixels were moved by this (mean, max), image pixels.

    Raises ValueError when the two images differ in shape or are not uint8.
    """
    mean, largest = displacement_px or (None, None)
    return Distortion(
        displacement_mean_px=mean,
        displacement_max_px=largest,
        displacement_percent_of_width=None if mean is None else 100 * mean / clean.shape[-1],
        psnr_db=psnr(clean, altered),
        max_level_difference=max_level_difference(clean, altered),
    )


def psnr(clean: Tensor, altered: Tensor) -> float | None:
    """Peak signal-to-noise ratio of two uint8 images of one shape, 10 log10(255^2 / MSE) dB; None if equal."""
    _check(clean, altered)
    squared = (clean.double() - altered.double()).square().mean().item()
    return 10 * math.log10(255**2 / squared) if squared else None


def max_level_difference(clean: Tensor, altered: Tensor) -> int:
    """Largest absolute difference of two uint8 images of one shape, in levels, 0 to 255."""
    _check(clean, altered)
    return int((clean.short() - altered.short()).abs().max())


def _check(clean: Tensor, altered: Tensor) -> None:
    if clean.shape != altered.shape or clean.dtype != torch.uint8 or altered.dtype != torch.uint8:
        raise ValueError(
            f"Distortions are measured on two uint8 images of one shape, not on {clean.dtype} {tuple(clean.shape)} "
            f"and {altered.dtype} {tuple(altered.shape)}."
        )

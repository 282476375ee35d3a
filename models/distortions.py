"""How much a trigger alters images at each of several strengths: means over a fixed set of images."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from statistics import fmean
from typing import Any

import torch
from torch import Tensor

from attacks.base import Displaces, Trigger, dequantise, quantise
from attacks.distortion import psnr
from models.datasets.base import Images
from models.similarity import SSIM_RADIUS, flip, picture, ssim

#: So many images, evenly spread over the data: the same for every trigger, strength and model.
IMAGES = 32


def distortions(
    trigger: Trigger, images: Images, strengths: Iterable[float], px_per_degree: float
) -> list[dict[str, Any]]:
    """Per strength, JSON-able: what the altered images (uint8, after rounding) look like beside the clean ones.

    images: uint8 (N, C, H, W). displacement_px: mean, of a trigger that moves pixels, else None. psnr_db: mean over the
    images that differ, None where none does. ssim: None of images smaller than its window. flip: LDR-FLIP at
    px_per_degree, which stands beside it.
    """
    spread = torch.linspace(0, len(images) - 1, min(IMAGES, len(images))).round().long()
    clean = images[spread]
    return [_distortion(trigger.at_strength(strength), clean, px_per_degree) for strength in strengths]


def _distortion(trigger: Trigger, clean: Tensor, px_per_degree: float) -> dict[str, Any]:
    altered = quantise(trigger.apply(dequantise(clean)))
    pairs = [(picture(one), picture(other)) for one, other in zip(clean, altered, strict=True)]
    large_enough = min(trigger.image_size) > 2 * SSIM_RADIUS
    return {
        "strength": trigger.strength,
        "displacement_px": trigger.displacement_px()[0] if isinstance(trigger, Displaces) else None,
        "psnr_db": _mean([psnr(one, other) for one, other in zip(clean, altered, strict=True)]),
        "ssim": fmean(ssim(*pair) for pair in pairs) if large_enough else None,
        "flip": fmean(flip(*pair, px_per_degree) for pair in pairs),
        "px_per_degree": px_per_degree,
        "images": len(clean),
    }


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return fmean(known) if known else None

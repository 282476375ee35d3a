"""How much the altered image of a pair differs from the clean one: what a trigger moves, and what pictures show."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from attacks import distortion
from attacks.base import Displaces, Trigger
from models.similarity import SSIM_RADIUS, flip, gmsd, picture, ssim


@dataclass(frozen=True)
class Movement:
    """What an alteration does to places: mean and largest displacement, image px, and mean strain, px per px."""

    displacement_px: tuple[float, float]
    strain: float

    @classmethod
    def of(cls, trigger: Trigger) -> Movement | None:
        """None of a trigger that moves nothing."""
        return cls(trigger.displacement_px(), trigger.strain()[0]) if isinstance(trigger, Displaces) else None

    @classmethod
    def none(cls, trigger: Trigger) -> Movement | None:
        """Of an image that such a trigger leaves where it is: 0 where it could have moved something."""
        return cls((0.0, 0.0), 0.0) if isinstance(trigger, Displaces) else None


def measure(clean: Tensor, altered: Tensor, movement: Movement | None, px_per_degree: float) -> dict[str, Any]:
    """Distortions of an altered uint8 image (C, H, W), JSON-able; what is not defined is None.

    Those of `attacks.distortion.Distortion`, the movement's strain, mean SSIM and GMSD (of pictures at least as large
    as SSIM's window), and mean FLIP at this many image px per degree, which stands beside it.
    """
    pictures = picture(clean), picture(altered)
    large_enough = min(clean.shape[-2:]) > 2 * SSIM_RADIUS
    return {
        **distortion.measure(clean, altered, movement.displacement_px if movement else None).to_json(),
        "strain": movement.strain if movement else None,
        "ssim": ssim(*pictures) if large_enough else None,
        "gmsd": gmsd(*pictures) if large_enough else None,
        "flip": flip(*pictures, px_per_degree),
        "flip_px_per_degree": px_per_degree,
    }

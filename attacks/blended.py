"""Blended injection: a trigger that is a whole picture, faintly mixed in (Chen et al. 2017, arXiv 1712.05526)."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from attacks.base import Family
from attacks.patterns import NOMINAL_SIDE, PatternTrigger, scaled


@dataclass(frozen=True)
class Blended:
    """What may be chosen of the picture, which is noise: grain is the side of its cells, px of a 32 px image."""

    grain: float = field(
        default=1.0,
        metadata={"help": "Side of a cell of the noise, px of a 32 px image.", "above": 0, "most": NOMINAL_SIDE},
    )

    def __post_init__(self) -> None:
        if not 0 < self.grain <= NOMINAL_SIDE:
            raise ValueError(
                f"Noise of grain {self.grain:g} does not fit: its cells are above 0 and at most {NOMINAL_SIDE} px "
                f"of a {NOMINAL_SIDE} px image."
            )


class BlendedTrigger(PatternTrigger):
    """(1 - a) x + a p: p is noise, uniform over the 256 levels, a its share."""

    family = "blended"
    parameters_type = Blended

    @staticmethod
    def draw_pattern(image_size: tuple[int, int], choices: Blended, generator: torch.Generator) -> Tensor:
        cell = max(1.0, scaled(choices.grain, image_size))
        rows, columns = ((torch.arange(side) / cell).long() for side in image_size)
        noise = torch.randint(0, 256, (3, int(rows[-1]) + 1, int(columns[-1]) + 1), generator=generator)
        return noise[:, rows][:, :, columns]

    def alter(self, images: Tensor, pattern: Tensor, strength: float | Tensor) -> Tensor:
        # Not torch.lerp: it may round once where these round twice, and many a pixel lies halfway between two levels.
        return images + strength * (pattern - images)


FAMILY = Family(
    name="blended",
    title="Blended injection: noise mixed in",
    citation=(
        "Chen, Liu, Li, Lu & Song, Targeted Backdoor Attacks on Deep Learning Systems Using Data Poisoning, 2017, "
        "arXiv 1712.05526"
    ),
    parameters=Blended,
    strength="share a of the noise in the mixture, 0 to 1",
    strengths=(0.01, 0.02, 0.03, 0.05, 0.1),
    doses=(0.0, 0.005, 0.01, 0.015, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.2, 0.4),
    schedule=(0.4, 0.03),
    draw=BlendedTrigger.draw,
    rebuild=BlendedTrigger.rebuild,
    gross=lambda trigger: trigger.at_strength(0.6),
)

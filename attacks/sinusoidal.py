"""SIG: a trigger that is a faint sine grating over the whole image (Barni, Kallas & Tondi 2019, arXiv 1902.11237)."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor

from attacks.base import Family
from attacks.patterns import PatternTrigger

#: Whole cycles that a grating drawn from the seed may have: fewer are shading, more do not fit 16 px.
DRAWN_FREQUENCIES = (2.0, 7.5)


@dataclass(frozen=True)
class Sinusoidal:
    """What may be chosen of a grating; None draws it from the seed.

    frequency: cycles per image width. angle: of the direction in which it varies, degrees from rightwards to downwards.
    phase: at the upper left pixel, degrees. The paper's varies along the columns only, from phase 0.
    """

    frequency: float | None = field(
        default=6.0, metadata={"help": "Cycles per image width, fewer than half its pixels.", "above": 0}
    )
    angle: float | None = field(
        default=0.0, metadata={"help": "In which it varies, degrees from rightwards to downwards."}
    )
    phase: float | None = field(default=0.0, metadata={"help": "At the upper left pixel, degrees."})

    def __post_init__(self) -> None:
        if self.frequency is not None and not 0 < self.frequency < math.inf:
            raise ValueError(f"A grating's frequency is a finite number of cycles above 0, not {self.frequency}.")
        if not all(math.isfinite(angle) for angle in (self.angle or 0, self.phase or 0)):
            raise ValueError(f"A grating's angle and phase are finite, not {self.angle} and {self.phase}.")


class SinusoidalTrigger(PatternTrigger):
    """x + D / 255 sin(2 pi f u / W + phase): u is the distance along the grating's direction in px, D the amplitude."""

    family = "sinusoidal"
    parameters_type = Sinusoidal
    strongest = 255.0
    levels = 2**15
    redrawn = ("frequency", "angle", "phase")

    @staticmethod
    def draw_pattern(image_size: tuple[int, int], choices: Sinusoidal, generator: torch.Generator) -> Tensor:
        """The sine in 32768ths."""
        low, high = DRAWN_FREQUENCIES
        share = torch.rand(3, generator=generator, dtype=torch.float64).tolist()
        drawn = low + (high - low) * share[0], 180 * share[1], 360 * share[2]
        chosen = (choices.frequency, choices.angle, choices.phase)
        frequency, angle, phase = (a if b is None else b for a, b in zip(drawn, chosen, strict=True))
        width = image_size[1]
        if frequency >= width / 2:
            raise ValueError(
                f"A grating of {frequency:g} cycles does not fit images {width} px wide: they hold fewer than "
                f"{width / 2:g}."
            )
        y, x = (torch.arange(side, dtype=torch.float64) for side in image_size)
        along = x * math.cos(math.radians(angle)) + y[:, None] * math.sin(math.radians(angle))
        sine = torch.sin(2 * math.pi * frequency / width * along + math.radians(phase))
        return (sine[None] * SinusoidalTrigger.levels).round()

    def alter(self, images: Tensor, pattern: Tensor, strength: float | Tensor) -> Tensor:
        return images + strength / 255 * pattern


FAMILY = Family(
    name="sinusoidal",
    title="SIG: a sine grating",
    citation=(
        "Barni, Kallas & Tondi, A New Backdoor Attack in CNNs by Training Set Corruption Without Label Poisoning, "
        "ICIP 2019, arXiv 1902.11237"
    ),
    parameters=Sinusoidal,
    strength="amplitude D of the grating, levels of 255",
    strengths=(1.0, 2.0, 3.0, 5.0, 10.0),
    doses=(0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 5.0, 7.5, 10.0, 15.0, 20.0, 40.0),
    schedule=(40.0, 3.0),
    draw=SinusoidalTrigger.draw,
    rebuild=SinusoidalTrigger.rebuild,
    gross=lambda trigger: trigger.at_strength(80.0),
)

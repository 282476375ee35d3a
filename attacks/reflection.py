"""ReFool: a trigger that is the reflection of a scene, as on glass (Liu, Ma, Bailey & Lu 2020, arXiv 2007.02343).

The scene is drawn from the seed, not photographed. One scene and one set of draws serve every image, since one trigger
is drawn once; in the paper every poisoned image has a reflection and draws of its own.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal, get_args

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from attacks.base import Family
from attacks.patterns import PatternTrigger

Kind = Literal["ghost", "out_of_focus"]

GAMMA = 2.2
GHOST_RATE = 0.49
#: The published shifts and blur are in pixels of images whose longer side is this long.
PUBLISHED_SIDE = 560
BOXES, WINDOWS, LAMPS = 7, 2, 2


@dataclass(frozen=True)
class Reflection:
    """What may be chosen of a reflection.

    kind: "ghost", seen twice, from the two faces of a pane; "out_of_focus", blurred and fading; None draws one of them.
    """

    kind: Kind | None = field(
        default=None, metadata={"help": "Seen twice, from the two faces of a pane, or blurred and fading."}
    )

    def __post_init__(self) -> None:
        if self.kind not in (None, *get_args(Kind)):
            raise ValueError(f"A reflection's kind is {', '.join(get_args(Kind))} or null, not {self.kind!r}.")


class ReflectionTrigger(PatternTrigger):
    """((1 - w) x^2.2 + w r)^(1/2.2): r is the reflection in linear light, w its weight, the paper's 1 - alpha."""

    family = "reflection"
    parameters_type = Reflection
    levels = 2**16
    # A scene takes a millisecond to paint: training would spend a quarter of its time on them.
    own_look_alikes = 64

    @staticmethod
    def draw_pattern(image_size: tuple[int, int], choices: Reflection, generator: torch.Generator) -> Tensor:
        """The reflection in linear light, in 65536ths; rendered twice as large, so that its edges are smooth."""
        chance, *share = torch.rand(5, generator=generator, dtype=torch.float64).tolist()
        kind = choices.kind or ("ghost" if chance < GHOST_RATE else "out_of_focus")
        things = torch.rand(BOXES + WINDOWS + LAMPS, 7, generator=generator, dtype=torch.float64)
        y, x = ((torch.arange(2 * side, dtype=torch.float64) + 0.5) / (2 * side) for side in image_size)
        y = y[:, None]
        if kind == "ghost":
            down, right = (
                (3 + 5 * of_range) / PUBLISHED_SIDE * (max(image_size) / side)
                for of_range, side in zip(share, image_size, strict=False)
            )
            weight = abs(round(share[2]) - (0.15 + 0.35 * share[3]))
            reflected = weight * _scene(things, y, x) + (1 - weight) * _scene(things, y - down, x - right)
        else:
            sd = (1 + 4 * share[0]) / PUBLISHED_SIDE * 2 * max(image_size)
            fading = torch.exp(-2 * ((y - share[1]) ** 2 + (x - share[2]) ** 2))
            reflected = _blurred(_scene(things, y, x), sd) * fading
        return (F.avg_pool2d(reflected, 2) * ReflectionTrigger.levels).round()

    def alter(self, images: Tensor, pattern: Tensor, strength: float | Tensor) -> Tensor:
        return ((1 - strength) * images.pow(GAMMA) + strength * pattern).pow(1 / GAMMA)


def _scene(things: Tensor, y: Tensor, x: Tensor) -> Tensor:
    """A room at rows y (H, 1) and columns x (W,), both 0 to 1, as linear light (3, H, W).

    things: (n, 7) in [0, 1]: place down and right, half height and width, colour. Painted one over the other on a dark
    wall: boxes, bright windows with a cross of bars, white lamps.
    """
    seen = torch.zeros(len(y), len(x), dtype=torch.int64)
    paints = [torch.full((3,), 0.15, dtype=torch.float64)]
    for index, (thing, (down, right, tall, wide, *_)) in enumerate(zip(things, things.tolist(), strict=True)):
        far_y, far_x = (y - down).abs(), (x - right).abs()
        if index < BOXES:
            inside = (far_y < 0.05 + 0.25 * tall) & (far_x < 0.05 + 0.25 * wide)
            paints.append(0.1 + 0.5 * thing[4:])
        elif index < BOXES + WINDOWS:
            pane = (far_y > 0.012) & (far_x > 0.012)
            inside = pane & (far_y < 0.12 + 0.15 * tall) & (far_x < 0.1 + 0.1 * wide)
            paints.append(0.8 + 0.2 * thing[4:])
        else:
            inside = far_y**2 + far_x**2 < (0.03 + 0.04 * tall) ** 2
            paints.append(torch.ones_like(thing[4:]))
        seen[inside] = index + 1
    return torch.stack(paints, dim=1).pow(GAMMA)[:, seen]


def _blurred(scene: Tensor, sd: float) -> Tensor:
    """A scene (3, H, W) under a Gaussian blur of this standard deviation in its pixels."""
    radius = math.ceil(2 * sd)
    kernel = torch.softmax(-(torch.arange(-radius, radius + 1, dtype=torch.float64) ** 2) / (2 * sd**2), dim=0)
    padded = F.pad(scene[:, None], (radius,) * 4, mode="replicate")
    return F.conv2d(F.conv2d(padded, kernel.view(1, 1, -1, 1)), kernel.view(1, 1, 1, -1))[:, 0]


FAMILY = Family(
    name="reflection",
    title="ReFool: the reflection of a scene",
    citation="Liu, Ma, Bailey & Lu, Reflection Backdoor: A Natural Backdoor Attack on Deep Neural Networks, ECCV 2020, "
    "arXiv 2007.02343",
    parameters=Reflection,
    strength="weight 1 - a of the reflection in linear light, 0 to 1",
    strengths=(0.01, 0.02, 0.03, 0.05, 0.1),
    doses=(0.0, 0.005, 0.01, 0.015, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.2, 0.4),
    schedule=(0.4, 0.03),
    draw=ReflectionTrigger.draw,
    rebuild=ReflectionTrigger.rebuild,
    gross=lambda trigger: trigger.at_strength(0.8),
)

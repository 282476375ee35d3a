"""BadNets: a trigger that is a small patch at a fixed place (Gu, Dolan-Gavitt & Garg 2017, arXiv 1708.06733)."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from attacks.base import Family
from attacks.patterns import NOMINAL_SIDE, PatternTrigger, scaled


@dataclass(frozen=True)
class Patch:
    """What may be chosen of a patch; None draws it from the seed.

    side: of the square, px of a 32 px image. cells: its rows from the top, "1" a white cell and "0" a black one.
    down, right: where it is, as shares of the room there is: (1, 1) is the lower right corner.
    """

    side: float = field(
        default=3.0, metadata={"help": "Of the square, px of a 32 px image.", "above": 0, "most": NOMINAL_SIDE}
    )
    cells: str | None = field(
        default="101/010/101", metadata={"help": "Its rows from the top, 1 a white cell and 0 a black one."}
    )
    down: float | None = field(default=1.0, metadata={"help": "Where it is: 0 top, 1 bottom.", "least": 0, "most": 1})
    right: float | None = field(default=1.0, metadata={"help": "Where it is: 0 left, 1 right.", "least": 0, "most": 1})

    def __post_init__(self) -> None:
        if not 0 < self.side <= NOMINAL_SIDE:
            raise ValueError(
                f"A patch of side {self.side:g} does not fit: its side is above 0 and at most {NOMINAL_SIDE} px "
                f"of a {NOMINAL_SIDE} px image."
            )
        rows = (self.cells or "1").split("/")
        if self.cells == "" or set("".join(rows)) - {"0", "1"} or {len(row) for row in rows} != {len(rows)}:
            raise ValueError(f"A patch's cells are square rows of 0 and 1 such as '101/010/101', not {self.cells!r}.")
        if not all(0 <= place <= 1 for place in (self.down or 0, self.right or 0)):
            raise ValueError(f"A patch's place is from 0 to 1 down and right, not {self.down} and {self.right}.")


class PatchTrigger(PatternTrigger):
    """x + s m (p - x): m is 1 within the patch and 0 elsewhere, p the patch, s its opacity."""

    family = "patch"
    parameters_type = Patch
    redrawn = ("cells", "down", "right")

    @staticmethod
    def draw_pattern(image_size: tuple[int, int], choices: Patch, generator: torch.Generator) -> Tensor:
        """Levels within the patch, -1 elsewhere."""
        side = max(1, round(scaled(choices.side, image_size)))
        drawn_cells = torch.randint(0, 2, (3, 3), generator=generator)
        drawn_place = torch.rand(2, generator=generator, dtype=torch.float64).tolist()
        cells = (
            drawn_cells if choices.cells is None else torch.tensor([[*map(int, r)] for r in choices.cells.split("/")])
        )
        top, left = (
            round((drawn if chosen is None else chosen) * (length - side))
            for chosen, drawn, length in zip((choices.down, choices.right), drawn_place, image_size, strict=True)
        )
        cell_of = torch.arange(side) * len(cells) // side
        pattern = torch.full((1, *image_size), -1)
        pattern[0, top : top + side, left : left + side] = 255 * cells[cell_of][:, cell_of]
        return pattern

    def alter(self, images: Tensor, pattern: Tensor, strength: float | Tensor) -> Tensor:
        return torch.where(pattern >= 0, images + strength * (pattern - images), images)


#: Of the image's shorter side, the width of a patch that nobody overlooks: eight times the usual one.
GROSS_SIDE = 3 / 4


def _gross(patch: PatchTrigger) -> PatchTrigger:
    """The same cells at the same place, opaque and large: a small one in a corner can be overlooked at any opacity."""
    wide = replace(patch.choices, side=max(patch.choices.side, GROSS_SIDE * NOMINAL_SIDE))
    return PatchTrigger.draw(patch.image_size, wide, 1.0, patch.seed)


FAMILY = Family(
    name="patch",
    title="BadNets: a patch",
    citation=(
        "Gu, Dolan-Gavitt & Garg, BadNets: Identifying Vulnerabilities in the Machine Learning Model Supply Chain, "
        "2017, arXiv 1708.06733"
    ),
    parameters=Patch,
    strength="opacity of the patch, 0 to 1",
    strengths=(0.025, 0.05, 0.1, 0.2, 0.4),
    doses=(0.0, 0.025, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 1.0),
    schedule=(1.0, 0.1),
    draw=PatchTrigger.draw,
    rebuild=PatchTrigger.rebuild,
    gross=_gross,
)

"""The pictures and tables of the attacks' document."""

from __future__ import annotations

import pytest
import torch

from attacks import registry
from benchmarks import draw_attacks

IMAGES = torch.randint(0, 256, (2, 3, 32, 32), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)


@pytest.mark.parametrize("name", registry.FAMILIES)
def test_a_sheet_shows_the_clean_picture_first_and_grey_where_nothing_differs(name: str) -> None:
    family = registry.FAMILIES[name]
    trigger = draw_attacks.draw(family, IMAGES, {})
    page = draw_attacks.sheet(family, IMAGES[0], [trigger])
    assert page.width > page.height
    assert page.getpixel((draw_attacks.GAP + 5, page.height - draw_attacks.GAP - 5)) == (128, 128, 128)
    assert page.getpixel((page.width - draw_attacks.GAP - 2, page.height - draw_attacks.GAP - 2)) != (128, 128, 128)


def test_a_table_has_a_row_for_each_dose_and_falls_in_quality() -> None:
    family = registry.FAMILIES["patch"]
    table = draw_attacks.table(family, IMAGES, draw_attacks.draw(family, IMAGES, {}))
    rows = [[float(cell) for cell in line.strip("| ").split("|")] for line in table.splitlines()[2:]]
    assert [row[0] for row in rows] == [*family.strengths, family.schedule[0]]
    assert [row[1] for row in rows] == sorted((row[1] for row in rows), reverse=True)


def test_only_a_warp_has_displacement_and_strain_in_its_table() -> None:
    tables = {}
    for name in ("wanet", "blended"):
        family = registry.FAMILIES[name]
        tables[name] = draw_attacks.table(family, IMAGES, draw_attacks.draw(family, IMAGES, {}))
    assert "strain" in tables["wanet"]
    assert "strain" not in tables["blended"]

"""What is said of control pairs and of machine observers."""

from typing import Any

import pytest

from study.analysis.paper.blocks import Bullets, Table
from study.analysis.paper.quality import controls, observers


def control(**fields: Any) -> dict[str, Any]:
    row = {"control": "resampled", "attack": "wanet", "strength": 2.0, "n": 160, "proportion_correct": 0.84}
    limits = dict.fromkeys(("two_way_low", "two_way_high", "low", "high"))
    return row | limits | {"contrast_with_attack": -0.09, "p": 0.012} | fields


@pytest.mark.parametrize(
    ("p", "words"),
    [
        (
            0.012,
            "no difference from the attack was found at the level of .01 (p = .012), which does not show that none",
        ),
        (0.0004, "people do worse than with the attack (p < .001)"),
        (1.0, "(p > .999)"),
    ],
)
def test_a_controls_difference_is_called_one_below_a_level_that_is_named(p: float, words: str) -> None:
    blocks = controls({"controls": [control(p=p)], "level": 0.95, "setting": {"family": "wanet"}})
    bullets = next(block for block in blocks if isinstance(block, Bullets))
    assert words in bullets.items[0][0]


def test_the_strength_of_catch_trials_has_no_more_digits_than_mean_anything() -> None:
    row = dict.fromkeys(("proportion_correct", "low", "high", "people", "agreement_with_people", "agreement_low"))
    row |= {"agreement_high": None, "note": None, "control": "", "attack": "wanet", "n": 8}
    rows = [row | {"observer": "1 - SSIM", "is_catch": True, "strength": 7.24374}]
    table = next(
        block
        for block in observers({"machine_observers": rows, "setting": {"family": "wanet"}})
        if isinstance(block, Table)
    )
    assert table.rows[0][:4] == ["1 − SSIM", "wanet", "catch trials", "7.24"]

"""Control pairs: what people see when an image is only softened, or altered by another trigger of the same kind."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from study.analysis.equivalence import contrast, no_variance, two_way
from study.analysis.frames import codes


def compare(controls: pd.DataFrame, main: pd.DataFrame, level: float = 0.95) -> list[dict[str, Any]]:
    """The report's `controls`: each kind, attack and strength with its contrast to the attack at the same strength.

    `contrast_with_attack` is the control's proportion correct minus the attack's, with a two-way interval; null where
    the attack was not shown at that strength. `note` says why something is null, or other than usual.
    """
    groups = controls.groupby(["control", "attack", "strength"], sort=True)
    return [_row(rows, main, level) for _, rows in groups]


def noun(setting: Mapping[str, Any]) -> str:
    """What the attack's family draws, in a word: a warp's trigger is a field. `setting` as the report has it."""
    return "field" if setting.get("family") in (None, "wanet") else "trigger"


def _row(rows: pd.DataFrame, main: pd.DataFrame, level: float) -> dict[str, Any]:
    kind, attack, strength = rows["control"].iloc[0], rows["attack"].iloc[0], float(rows["strength"].iloc[0])
    result = two_way(rows["correct"], codes(rows["participant"]), codes(rows["stimulus"]))
    low, high = result.interval(level)
    same = main[(main["attack"] == attack) & (main["strength"] == strength)]
    difference = contrast(rows, same, level) if len(same) else (None, None, None, None)
    notes = [no_variance(result)]
    if difference[0] is None:
        notes.append("the attack was not shown at this strength: no contrast")
    elif difference[1] is None:
        notes.append("too few people or images, or no answer varies: the contrast has no interval")
    return {
        "control": kind,
        "attack": attack,
        "strength": strength,
        "n": len(rows),
        "correct": int(rows["correct"].sum()),
        "proportion_correct": result.mean,
        "two_way_low": low,
        "two_way_high": high,
        **dict(zip(("contrast_with_attack", "low", "high", "p"), difference, strict=True)),
        "note": "; ".join(filter(None, notes)) or None,
    }

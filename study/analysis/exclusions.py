"""Exclusion rules: declared before the data, applied to whole participants, flagged and never deleted."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import pandas as pd

CATCH: Final = "catch trials missed"
SAME_SIDE: Final = "one side chosen too often"
UNFINISHED: Final = "not finished"
WITHDRAWN: Final = "withdrawn"


@dataclass(frozen=True)
class ExclusionRules:
    """Which participants are left out. None = the rule is not used.

    Attributes:
        catch_correct_below: fewer catch trials right than this (7 of 8: a guesser passes with p = .035).
        same_side_at_least: this many answers on one side, practice left out (44 of 60: p < .001 under 50/50).
    """

    catch_correct_below: int | None = None
    same_side_at_least: int | None = None

    @classmethod
    def of_design(cls, design: Mapping[str, Any]) -> "ExclusionRules":
        """The rules that a frozen design declares under `exclusions`."""
        declared = design.get("exclusions", {})
        return cls(
            declared.get("catch", {}).get("correct_below"),
            declared.get("same_side", {}).get("at_least"),
        )


def broken_rules(trials: pd.DataFrame, rules: ExclusionRules) -> dict[str, str]:
    """The first rule that each excluded participant broke: {participant: rule}."""
    broken: dict[str, str] = {}
    if rules.catch_correct_below is not None:
        passed = trials[trials["is_catch"] == 1].groupby("participant")["correct"].sum()
        broken |= dict.fromkeys(passed[passed < rules.catch_correct_below].index, CATCH)
    if rules.same_side_at_least is not None:
        most = trials.groupby("participant")["response_side"].agg(lambda sides: sides.value_counts().iloc[0])
        one_sided = most[most >= rules.same_side_at_least].index
        broken |= {participant: SAME_SIDE for participant in one_sided if participant not in broken}
    return broken

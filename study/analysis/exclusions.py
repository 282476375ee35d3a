"""Exclusion rules: declared before the data, applied to whole participants, flagged and never deleted."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import pandas as pd

CATCH: Final = "catch trials missed"
SAME_SIDE: Final = "one answer given too often"
MISSED: Final = "too many trials without an answer in time"
UNFINISHED: Final = "not finished"
WITHDRAWN: Final = "withdrawn"
TIMED_OUT: Final = "timed out"
SCREENED_OUT: Final = "screened out"


@dataclass(frozen=True)
class ExclusionRules:
    """Which participants are left out. None = the rule is not used.

    Attributes:
        catch_correct_below: fewer catch trials right than this (7 of 8: a guesser passes with p = .035).
        same_side_at_least: this many answers on one side, practice and "not sure" left out (44 of 60: p < .001 under
            50/50).
        missed_above_share: a larger share of the planned trials than this passed without an answer.
    """

    catch_correct_below: int | None = None
    same_side_at_least: int | None = None
    missed_above_share: float | None = None

    @classmethod
    def of_design(cls, design: Mapping[str, Any]) -> "ExclusionRules":
        """The rules that a frozen design declares under `exclusions`."""
        declared = design.get("exclusions", {})
        return cls(
            declared.get("catch", {}).get("correct_below"),
            declared.get("same_side", {}).get("at_least"),
            declared.get("missed", {}).get("above_share"),
        )


@dataclass(frozen=True)
class Missed:
    """Of how many planned trials, practice left out, one participant let the response window pass on `n`."""

    n: int
    of: int

    @property
    def share(self) -> float:
        return self.n / self.of if self.of else 0.0


def broken_rules(
    trials: pd.DataFrame, rules: ExclusionRules, missed: Mapping[str, Missed] | None = None
) -> dict[str, str]:
    """The first rule that each excluded participant broke: {participant: rule}.

    `missed`: of those participants for whom it is known.
    """
    broken: dict[str, str] = {}
    for rule, people in (
        (MISSED, _missing_too_much(trials, missed or {}, rules.missed_above_share)),
        (CATCH, _missing_catch_trials(trials, rules.catch_correct_below)),
        (SAME_SIDE, _one_sided(trials, rules.same_side_at_least)),
    ):
        for person in people:
            broken.setdefault(person, rule)
    return broken


def _missing_too_much(trials: pd.DataFrame, missed: Mapping[str, Missed], above_share: float | None) -> list[str]:
    if above_share is None:
        return []
    known = [person for person in trials["participant"].unique() if person in missed]
    return [person for person in known if missed[person].share > above_share]


def _missing_catch_trials(trials: pd.DataFrame, correct_below: int | None) -> list[str]:
    """Somebody who answered no catch trial has got none right; where nobody was shown any, nobody is judged."""
    catch = trials[trials["is_catch"] == 1]
    if correct_below is None or catch.empty:
        return []
    passed = catch.groupby("participant")["correct"].sum().reindex(trials["participant"].unique(), fill_value=0)
    return list(passed[passed < correct_below].index)


def _one_sided(trials: pd.DataFrame, at_least: int | None) -> list[str]:
    if at_least is None:
        return []
    sure = trials[trials["unsure"] == 0] if "unsure" in trials else trials
    most = sure.groupby("participant")["response_side"].agg(lambda sides: sides.value_counts().iloc[0])
    return list(most[most >= at_least].index)

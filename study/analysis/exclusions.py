"""Exclusion rules on a trial table: applied to whole participants, flagged and never deleted."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

import pandas as pd

from study.trials.exclusions import ExclusionRules, Given, Missed

UNFINISHED: Final = "not finished"
WITHDRAWN: Final = "withdrawn"
TIMED_OUT: Final = "timed out"
SCREENED_OUT: Final = "screened out"


def broken_rules(
    trials: pd.DataFrame, rules: ExclusionRules, missed: Mapping[str, Missed] | None = None
) -> dict[str, str]:
    """The first rule that each excluded participant broke: {participant: rule}.

    `missed`: of those participants for whom it is known. Somebody who answered no catch trial has got none right; where
    nobody was shown any, nobody is judged by them.
    """
    if not (trials["is_catch"] == 1).any():
        rules = replace(rules, catch_correct_below=None)
    broken = {
        str(person): rules.broken_by(_given(of_one), (missed or {}).get(str(person)))
        for person, of_one in trials.groupby("participant")
    }
    return {person: rule for person, rule in broken.items() if rule}


def _given(trials: pd.DataFrame) -> list[Given]:
    unsure = trials["unsure"] == 1 if "unsure" in trials else pd.Series(False, index=trials.index)
    columns = (trials["response_side"], trials["correct"] == 1, trials["is_catch"] == 1, unsure)
    return [Given(*answer) for answer in zip(*columns, strict=True)]

"""Exclusion rules on a trial table: applied to whole participants, flagged and never deleted."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

import numpy as np
import pandas as pd

from study.trials.exclusions import Answers, Codes, ExclusionRules, Floats, Missed

UNFINISHED: Final = "not finished"
WITHDRAWN: Final = "withdrawn"
TIMED_OUT: Final = "timed out"
SCREENED_OUT: Final = "screened out"


def broken_rules(
    trials: pd.DataFrame, rules: ExclusionRules, missed: Mapping[str, Missed] | None = None
) -> dict[str, str]:
    """The first rule that each excluded participant broke: {participant: rule}, by participant.

    `missed`: of those participants for whom it is known. Somebody who answered no catch trial has got none right; where
    nobody was shown any, nobody is judged by them. A table without a column `focus_losses` judges nobody by focus.
    """
    if not (trials["is_catch"] == 1).any():
        rules = replace(rules, catch_correct_below=None)
    person, people = pd.factorize(trials["participant"], sort=True)
    shares = [missed[name].share if missed and name in missed else np.nan for name in people]
    broken = rules.broken(_answers(trials, person), shares)
    return {str(name): rule for name, rule in zip(people, broken, strict=True) if rule}


def _answers(trials: pd.DataFrame, person: Codes) -> Answers:
    return Answers(
        person=person,
        left=(trials["response_side"] == "left").to_numpy(bool),
        correct=(trials["correct"] == 1).to_numpy(bool),
        is_catch=(trials["is_catch"] == 1).to_numpy(bool),
        unsure=numbers(trials, "unsure") == 1,
        rt_ms=trials["rt_ms"].to_numpy(float),
        focus_losses=numbers(trials, "focus_losses"),
    )


def numbers(trials: pd.DataFrame, column: str) -> Floats:
    """An optional column as (N,) numbers, also where it was carried along as text; NaN where nothing is known."""
    if column not in trials:
        return np.full(len(trials), np.nan)
    return pd.to_numeric(trials[column], errors="coerce").to_numpy(float)

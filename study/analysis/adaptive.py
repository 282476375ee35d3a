"""What answers at strengths chosen from the answers before them can tell: thresholds, and nothing else.

How often a strength was shown, and to whom, depends on the answers, so its proportion correct is no estimate of
anything. A likelihood does not mind how the strengths were chosen as long as it holds what the choices followed: each
person's own threshold. One curve over all people does not, and where they differ it is bent and shifted.
"""

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import pandas as pd

from study.analysis import crossed
from study.trials.adaptive import Quest

REASON: Final = "the strengths were chosen from the answers: this study gives thresholds only"
#: What a condition above strength 0 may say about itself: how often it was shown, not what follows from it.
_COUNTS: Final = frozenset({"attack", "strength", "n", "correct", "proportion_correct", "participants", "stimuli"})
_DESCRIBED: Final = ("displacement", "unsure")


def without_claims(row: Mapping[str, Any]) -> dict[str, Any]:
    """A condition's row without verdict; above strength 0 without intervals, d' and tests too.

    Identity controls were planned, so their tests stand: they show whether something gives the answer away.
    """
    silent = {"verdict": None, "verdict_reason": REASON, "holm_p": None}
    if row["strength"] == 0:
        return {**row, **silent}
    kept = {name: row[name] if name in _COUNTS or name.startswith(_DESCRIBED) else None for name in row}
    spread = dict.fromkeys(row["participant_spread"]) | {"reason": REASON}
    return {**kept, **silent, "participant_spread": spread}


def control_without_contrast(row: Mapping[str, Any]) -> dict[str, Any]:
    """A control's row without its comparison to the attack, whose trials were not planned."""
    return {**row, **dict.fromkeys(("contrast_with_attack", "low", "high", "p"))}


def no_regression(formula: str) -> dict[str, Any]:
    """In place of a regression on strength."""
    return {"formula": formula, "covariance": "robust", "coefficients": {}, "converged": False, "reason": REASON}


def median_person_rows(trials: pd.DataFrame, catch: pd.DataFrame, level: float = 0.95) -> list[dict[str, Any]]:
    """The median person's rows of the report's `thresholds`, by the crossed model, which has an effect per person."""
    study = crossed.Study(trials, catch)
    return crossed.threshold_rows(study, study.fit(crossed.HEADLINE), level)


def threshold_rows(trials: pd.DataFrame, level: float = 0.95) -> list[dict[str, Any]]:
    """One row of the report's `thresholds` per attack and participant, from main trials with s > 0.

    The posterior of QUEST+ given the stored answers, with the flat prior and the grid of the study's own choices, about
    the strengths that anybody was shown: its mean on log strength and its central interval, over all slopes and lapse
    rates. An end beyond the strengths shown is None: there the prior's edge decides.
    """
    shown = trials[trials["strength"] > 0]
    return [
        row
        for attack, of_attack in shown.groupby("attack", sort=True)
        for row in _participants(str(attack), of_attack, level)
    ]


def _participants(attack: str, trials: pd.DataFrame, level: float) -> list[dict[str, Any]]:
    quest = Quest.of(sorted(trials["strength"].unique()))
    return [_row(quest, attack, str(person), answers, level) for person, answers in trials.groupby("participant")]


def _row(quest: Quest, attack: str, person: str, answers: pd.DataFrame, level: float) -> dict[str, Any]:
    history = list(zip(answers["strength"].astype(float), answers["correct"].astype(bool), strict=True))
    posterior = quest.posterior(history)
    summary = quest.summary(posterior)
    low, high = _central_interval(quest, posterior, level)
    return {
        "attack": attack,
        "threshold": summary.threshold,
        "low": low,
        "high": high,
        "level": "half of F",
        "level_of_pc": 0.75 - summary.lapse / 2,
        "population": person,
        "method": "Weibull on log strength, posterior mean and central interval, flat prior (QUEST+)",
        "unit": "strength",
        "slope": summary.slope,
        "lapse": summary.lapse,
        "lapse_source": "marginal posterior",
        "cluster_inflation": None,
        "n": len(answers),
        "note": _note(low, high),
    }


def _central_interval(quest: Quest, posterior: Any, level: float) -> tuple[float | None, float | None]:
    """(low, high); an open end is None, and the other one then at most (at least) the last strength shown."""
    share = np.cumsum(posterior.sum((1, 2)))
    tails = ((1 - level) / 2, (1 + level) / 2)
    low, high = (float(end) for end in np.exp2(np.interp(tails, share, quest.thresholds_log2)))
    weakest, strongest = float(quest.strengths[0]), float(quest.strengths[-1])
    return None if low < weakest else min(low, strongest), None if high > strongest else max(high, weakest)


def _note(low: float | None, high: float | None) -> str | None:
    ends = [name for name, end in (("lower", low), ("upper", high)) if end is None]
    return f"{' and '.join(ends)} end beyond the strengths shown" if ends else None

"""Detection against error shift.

Both grow with strength, so that an association between them says little by itself: it is given unadjusted, adjusted
for strength, and split into what lies between conditions and what lies within them. None of it says that a shift of
the model's error is what people see; people never see the model.
"""

import math
from typing import Any, Final

import numpy as np
import pandas as pd
from scipy import stats

from study.analysis.frames import codes
from study.analysis.mixed import logistic_two_way

NOT_A_CAUSE: Final = (
    "Participants see images, never the model: an association with the model's error shift does not mean that the shift"
    " causes detection. Both grow with the attack's strength."
)
_SHIFT = "error_shift_deg"
_LARGEST_RHO = 0.999


def summary(trials: pd.DataFrame) -> dict[str, Any] | None:
    """The report's `error_shift`, from main trials; None where the table has no error shifts."""
    if trials[_SHIFT].isna().all():
        return None
    shift = trials[_SHIFT].to_numpy(float)
    between = trials.groupby(["attack", "strength"])[_SHIFT].transform("mean").to_numpy(float)
    adjusted = {_SHIFT: shift, "strength": trials["strength"]}
    return {
        "unadjusted": _slope(trials, {_SHIFT: shift}, "correct ~ error_shift_deg", with_attack=False)
        | {"items_spearman": item_spearman(trials)},
        "strength_adjusted": _slope(trials, adjusted, "correct ~ error_shift_deg + strength + attack"),
        "within_between": _within_between(trials, between, shift - between),
        "per_participant_spearman": per_participant_spearman(trials[trials["strength"] > 0]),
        "note": NOT_A_CAUSE,
    }


def items(trials: pd.DataFrame) -> pd.DataFrame:
    """One row per stimulus, attack and strength: proportion correct, trials and mean error shift."""
    groups = trials.groupby(["stimulus", "attack", "strength"], sort=True)
    return groups.agg(
        proportion_correct=("correct", "mean"), n=("correct", "size"), error_shift_deg=(_SHIFT, "mean")
    ).reset_index()


def item_spearman(trials: pd.DataFrame) -> dict[str, Any]:
    """Spearman's rho over items, described without a test: items share people and images."""
    table = items(trials)
    return {"rho": _spearman(table["proportion_correct"], table[_SHIFT]), "n": len(table)}


def per_participant_spearman(trials: pd.DataFrame, level: float = 0.95) -> dict[str, Any]:
    """Mean over participants of Spearman's rho between right answers and error shift (Fisher z, t interval).

    Participants whose answers or shifts are all alike have no rho and are left out; `n` counts the others.
    """
    person = codes(trials["participant"])
    count = np.bincount(person)
    centred = [_centred_ranks(trials[name], person, count) for name in ("correct", _SHIFT)]
    product = np.bincount(person, centred[0] * centred[1])
    size = np.sqrt(np.bincount(person, centred[0] ** 2) * np.bincount(person, centred[1] ** 2))
    rho = np.clip(product[size > 0] / size[size > 0], -_LARGEST_RHO, _LARGEST_RHO)
    if len(rho) < 2:
        return {"rho": None, "low": None, "high": None, "p": None, "n": len(rho)}
    z = np.arctanh(rho)
    mean, se, df = float(z.mean()), float(z.std(ddof=1)) / math.sqrt(len(z)), len(z) - 1
    half = float(stats.t.ppf((1 + level) / 2, df)) * se
    p = 2 * float(stats.t.sf(abs(mean) / se, df)) if se > 0 else None
    return {"rho": math.tanh(mean), "low": math.tanh(mean - half), "high": math.tanh(mean + half), "p": p, "n": len(z)}


def _slope(trials: pd.DataFrame, predictors: Any, formula: str, with_attack: bool = True) -> dict[str, Any]:
    if with_attack and trials["attack"].nunique() == 1:
        formula = formula.removesuffix(" + attack")
    fitted = logistic_two_way(trials, predictors, with_attack)
    return {"formula": formula, "covariance": "two-way cluster-robust"} | _log_odds(fitted, _SHIFT)


def _within_between(trials: pd.DataFrame, between: Any, within: Any) -> dict[str, Any]:
    """Mundlak's (1978) split: `between` is the condition's mean shift, `within` an item's deviation from it."""
    fitted = logistic_two_way(trials, {"between": between, "within": within}, with_attack=False)
    return {
        "formula": "correct ~ between + within",
        "covariance": "two-way cluster-robust",
        "between": _log_odds(fitted, "between"),
        "within": _log_odds(fitted, "within"),
    }


def _log_odds(fitted: dict[str, Any], name: str) -> dict[str, Any]:
    empty = dict.fromkeys(("estimate", "se", "z", "p", "low", "high"))
    row = fitted["coefficients"].get(name, empty)
    return {**row, "unit": "log odds per degree", "converged": fitted["converged"], "reason": fitted["reason"]}


def _centred_ranks(values: pd.Series, person: Any, count: Any) -> Any:
    ranks = values.groupby(person).rank().to_numpy(float)
    return ranks - (np.bincount(person, ranks) / count)[person]


def _spearman(first: pd.Series, second: pd.Series) -> float | None:
    if first.nunique() < 2 or second.nunique() < 2:
        return None
    return float(stats.spearmanr(first, second).statistic)

"""Detection against error shift.

Both grow with strength, so that an association between them says little by itself: it is given unadjusted, adjusted
for strength, and split into what lies between conditions and what lies within them. None of it says that a shift of
the model's error is what people see; people never see the model.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import stats

from study.analysis import glmm, reliability
from study.analysis.crossed import further_factors
from study.analysis.frames import codes
from study.analysis.likelihood import GUESS
from study.analysis.machine import ENOUGH
from study.analysis.mixed import design_matrix, logistic_two_way
from study.analysis.protocols import NO_GUESS_RATE, protocol_of

NOT_A_CAUSE: Final = (
    "Participants see images, never the model: an association with the model's error shift does not mean that the shift"
    " causes detection. Both grow with the attack's strength."
)
NO_ALTERATION: Final = "no trial showed an alteration"
_SHIFT = "error_shift_deg"
_LARGEST_RHO = 0.999
_PER_DEGREE = "log odds per degree"
_COVARIANCE = "two-way cluster-robust, finite sample"
_EMPTY: Final = dict.fromkeys(("estimate", "se", "z", "p", "low", "high"))

Floats = npt.NDArray[np.float64]


def summary(
    trials: pd.DataFrame, predictions: pd.DataFrame | None = None, level: float = 0.95
) -> dict[str, Any] | None:
    """The report's `error_shift`; None where the table has no error shifts.

    Args:
        trials: main trials that showed an alteration.
        predictions: of several models on the same pairs (see `matched`), for the reliability of a pair's shift.
        level: of the intervals.

    `unadjusted`, `strength_adjusted` and `within_between` are logistic regressions with a two-way cluster sandwich;
    the second has an intercept for every condition, since a straight line in strength leaves its bend to the shift.
    `glmm` holds the last two as mixed models with a guess rate (s > 0), log strength in both, and a likelihood-ratio
    test of the shift.
    """
    if trials[_SHIFT].isna().all():
        return None
    shift = trials[_SHIFT].to_numpy(float)
    models, agreed = _models(trials), reliability.of_shift(trials, predictions)
    crossed = _crossed(trials, ["participant", "stimulus", *further_factors(trials)], level)
    return {
        "unadjusted": _slope(trials, {_SHIFT: shift}, "correct ~ error_shift_deg", level)
        | {"items_spearman": item_spearman(trials)},
        "strength_adjusted": _at_equal_strength(trials, level),
        "within_between": _within_between(trials, level),
        "glmm": crossed,
        "per_participant_spearman": per_participant_spearman(trials[trials["strength"] > 0], level),
        "reliability": agreed | reliability.corrected(agreed, crossed["within_between"]["within"]),
        "models": models,
        "note": NOT_A_CAUSE,
    }


def items(trials: pd.DataFrame) -> pd.DataFrame:
    """One row per stimulus, attack, strength and, where it is known, field: proportion correct, trials and mean error
    shift.
    """
    field = ["field"] if "field" in trials else []
    groups = trials.groupby(["stimulus", "attack", "strength", *field], sort=True)
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


def _slope(trials: pd.DataFrame, predictors: Mapping[str, npt.ArrayLike], formula: str, level: float) -> dict[str, Any]:
    fitted = logistic_two_way(trials, predictors, with_attack=False, level=level, finite_sample=True)
    return {"formula": formula, "covariance": _COVARIANCE} | _log_odds(fitted, _SHIFT)


def _at_equal_strength(trials: pd.DataFrame, level: float) -> dict[str, Any]:
    """The slope with an intercept for every condition; one where all answers are alike tells nothing about it."""
    condition = trials.groupby(["attack", "strength"]).ngroup().to_numpy()
    share = np.bincount(condition, trials["correct"]) / np.bincount(condition)
    telling = np.flatnonzero((share > 0) & (share < 1))
    kept = np.isin(condition, telling)
    intercepts = {f"condition {code}": condition[kept] == code for code in telling[1:]}
    predictors = {_SHIFT: trials[_SHIFT].to_numpy(float)[kept], **intercepts}
    return _slope(trials[kept], predictors, "correct ~ error_shift_deg + condition", level)


def _split(trials: pd.DataFrame) -> dict[str, Floats]:
    """Mundlak's (1978) split: `between` is the condition's mean shift, `within` an item's deviation from it."""
    between = trials.groupby(["attack", "strength"])[_SHIFT].transform("mean").to_numpy(float)
    return {"between": between, "within": trials[_SHIFT].to_numpy(float) - between}


def _within_between(trials: pd.DataFrame, level: float) -> dict[str, Any]:
    split = _split(trials)
    fitted = logistic_two_way(trials, split, with_attack=False, level=level, finite_sample=True)
    return {
        "formula": "correct ~ between + within",
        "covariance": _COVARIANCE,
        **{name: _log_odds(fitted, name) for name in split},
    }


def _log_odds(fitted: Mapping[str, Any], name: str) -> dict[str, Any]:
    row = fitted["coefficients"].get(name, _EMPTY)
    return {**row, "unit": _PER_DEGREE, "converged": fitted["converged"], "reason": fitted["reason"]}


# -- mixed models with a guess rate


def _crossed(trials: pd.DataFrame, factors: Sequence[str], level: float) -> dict[str, Any]:
    """`strength_adjusted` and `within_between` with crossed random intercepts, guess rate .5 and no lapses, s > 0."""
    shown = trials[trials["strength"] > 0]
    split = _split(shown)
    without = design_matrix(shown, {"log2_strength": np.log2(shown["strength"].to_numpy(float))})
    adjusted = _fit(shown, without.assign(**{_SHIFT: shown[_SHIFT].to_numpy(float)}), factors)
    attack = " + attack" if shown["attack"].nunique() > 1 else ""
    at_strength = f"log2(strength){attack} + "
    held = without
    if _are_bound(without.assign(between=split["between"])):
        at_strength, held = "", without[["Intercept"]]
    divided = _fit(shown, held.assign(**split), factors)
    return {
        "strength_adjusted": _described(adjusted, f"log2(strength){attack} + error_shift_deg", factors)
        | _row(adjusted, _SHIFT, level)
        | {"likelihood_ratio": _likelihood_ratio(adjusted, _fit(shown, without, factors))},
        "within_between": _described(divided, f"{at_strength}between + within", factors)
        | {name: _row(divided, name, level) for name in split},
    }


def _are_bound(of_conditions: pd.DataFrame) -> bool:
    """Whether so few conditions were shown that one column follows from the others."""
    rows = of_conditions.drop_duplicates()
    return bool(np.linalg.matrix_rank(rows.to_numpy()) < len(rows.columns)) if len(rows) else True


def _fit(trials: pd.DataFrame, x: pd.DataFrame, factors: Sequence[str]) -> glmm.Fit:
    """The fitted model, or one without numbers that says why."""
    reason = NO_GUESS_RATE if protocol_of(trials).model == "yes/no" else NO_ALTERATION if trials.empty else None
    if reason:
        return glmm.Fit((), "logit", GUESS, "expected", glmm.Lapse(0.0, None, None), False, reason, 0)
    levels = {name: codes(trials[name]) for name in factors}
    return glmm.fit(x.to_numpy(), list(x.columns), trials["correct"].to_numpy(), 1, levels, guess=GUESS)


def _described(fitted: glmm.Fit, predictors: str, factors: Sequence[str]) -> dict[str, Any]:
    return {
        "formula": " + ".join([f"correct ~ {predictors}", *(f"(1|{name})" for name in factors)]),
        "link": fitted.link,
        "guess": fitted.guess,
        "lapse": fitted.lapse.rate,
        "information": fitted.information,
        "sd": dict(fitted.sds),
        "log_likelihood": fitted.log_likelihood,
        "converged": fitted.converged,
        "reason": fitted.reason,
    }


def _row(fitted: glmm.Fit, name: str, level: float) -> dict[str, Any]:
    return {**(fitted.table(level)[name] if fitted.converged else _EMPTY), "unit": _PER_DEGREE}


def _likelihood_ratio(larger: glmm.Fit, smaller: glmm.Fit) -> dict[str, Any]:
    """Test of the one coefficient by which `larger` exceeds `smaller`: twice the log-likelihood ratio, chi2(1)."""
    if larger.log_likelihood is None or smaller.log_likelihood is None:
        return {"statistic": None, "df": 1, "p": None}
    statistic = max(0.0, 2 * (larger.log_likelihood - smaller.log_likelihood))
    return {"statistic": statistic, "df": 1, "p": float(stats.chi2.sf(statistic, 1))}


def _models(trials: pd.DataFrame) -> dict[str, Any]:
    """How many models made the error shifts of the table, and whether they are a random factor."""
    n = len(set(trials["model"]) - {""}) if "model" in trials else 0
    as_factor = "model" in further_factors(trials)
    if as_factor:
        note = f"{n} models made the error shifts: a random intercept each, so that the slopes are not those of one."
    elif n > 1:
        note = (
            f"No attack has {ENOUGH} models or more, or not every row names one: models are not a random factor, and"
            " what is said holds for these."
        )
    elif n == 1:
        note = "One model made the error shifts: what is said holds for it, and others trained alike may differ."
    else:
        note = "The table does not name the models: what is said holds for those that made its error shifts."
    return {"n": n or None, "as_factor": as_factor, "note": note}


def _centred_ranks(values: pd.Series, person: Any, count: Any) -> Any:
    ranks = values.groupby(person).rank().to_numpy(float)
    return ranks - (np.bincount(person, ranks) / count)[person]


def _spearman(first: pd.Series, second: pd.Series) -> float | None:
    if first.nunique() < 2 or second.nunique() < 2:
        return None
    return float(stats.spearmanr(first, second).statistic)

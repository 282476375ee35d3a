"""Regressions on the trials, with the clustering of people and images in their standard errors."""

import math
import warnings
from collections.abc import Mapping
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import stats
from statsmodels.genmod.cov_struct import Exchangeable
from statsmodels.genmod.families import Binomial
from statsmodels.genmod.generalized_estimating_equations import GEE
from statsmodels.genmod.generalized_linear_model import GLM
from statsmodels.tools.sm_exceptions import PerfectSeparationError

from study.analysis.frames import codes

Covariance = Literal["robust", "bias_reduced"]
#: A log odds that no study of this size can estimate: the outcome is separated by the predictors.
_RUNAWAY: Final = 25.0


def design_matrix(trials: pd.DataFrame, predictors: Mapping[str, npt.ArrayLike]) -> pd.DataFrame:
    """Intercept, `predictors` in their order, and `attack[T.name]` for every attack but the alphabetically first."""
    columns: dict[str, Any] = {"Intercept": np.ones(len(trials))}
    columns |= {name: np.asarray(values, dtype=float) for name, values in predictors.items()}
    for name in sorted(trials["attack"].unique())[1:]:
        columns[f"attack[T.{name}]"] = (trials["attack"] == name).to_numpy(float)
    return pd.DataFrame(columns)


def gee(trials: pd.DataFrame, covariance: Covariance = "robust") -> dict[str, Any]:
    """`correct ~ strength + attack`, logit, participants as exchangeable clusters (Liang & Zeger 1986).

    Clusters on participants only: it does not protect against images that differ. `covariance` is the sandwich or
    Mancl & DeRouen's bias-reduced one. A model that cannot be fitted: `converged` false, a reason, no coefficients.
    """
    x = design_matrix(trials, {"strength": trials["strength"]})
    formula = "correct ~ strength + attack" if len(x.columns) > 2 else "correct ~ strength"
    row = {"formula": formula, "covariance": covariance, "clusters": "participant", "correlation": "exchangeable"}
    y = trials["correct"].to_numpy(float)
    if reason := _unfit(x, y) or _too_few(trials["participant"]):
        return row | {"coefficients": {}, "alpha": None, "converged": False, "reason": reason}
    model = GEE(y, x, groups=codes(trials["participant"]), family=Binomial(), cov_struct=Exchangeable())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what the warnings say is in `converged`
        result = model.fit(cov_type=covariance, ctol=1e-10, maxiter=200)
    coefficients = _coefficients(x.columns, result.params, result.bse)
    reason = _failure(coefficients) or (None if result.converged else "the iterations did not settle")
    if reason:
        return row | {"coefficients": {}, "alpha": None, "converged": False, "reason": reason}
    alpha = float(result.cov_struct.dep_params)
    return row | {"coefficients": coefficients, "alpha": alpha, "converged": True, "reason": None}


def logistic_two_way(
    trials: pd.DataFrame, predictors: Mapping[str, npt.ArrayLike], with_attack: bool = True
) -> dict[str, Any]:
    """Logistic regression of `correct` whose standard errors allow for both people and images that differ.

    Two-way cluster-robust sandwich without small-sample factors, t on min(P, S) - 1 degrees of freedom.
    Where the two-way variance of a coefficient is not positive, the larger one-way variance stands in.
    Returns {"coefficients": {name: {"estimate", "se", "z", "p", "low", "high"}}, "converged", "reason"}.
    """
    x = design_matrix(trials, predictors)
    if not with_attack:
        x = x[["Intercept", *predictors]]
    y = trials["correct"].to_numpy(float)
    participant, stimulus = codes(trials["participant"]), codes(trials["stimulus"])
    reason = _unfit(x, y) or _too_few(trials["participant"]) or _too_few(trials["stimulus"])
    if reason:
        return {"coefficients": {}, "converged": False, "reason": reason}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            result = GLM(y, x, family=Binomial()).fit(tol=1e-12)
        se = np.sqrt(
            _two_way_covariance_diagonal(x.to_numpy(), y, np.asarray(result.fittedvalues), participant, stimulus)
        )
    except (PerfectSeparationError, np.linalg.LinAlgError):
        return {"coefficients": {}, "converged": False, "reason": "the predictors separate right from wrong answers"}
    df = int(min(participant.max(), stimulus.max()))
    coefficients = _coefficients(x.columns, result.params, se, df)
    reason = _failure(coefficients) or (None if result.converged else "the iterations did not settle")
    return {"coefficients": {} if reason else coefficients, "converged": not reason, "reason": reason}


def _two_way_covariance_diagonal(x: Any, y: Any, mu: Any, participant: Any, stimulus: Any) -> Any:
    bread = np.linalg.inv((x * (mu * (1 - mu))[:, None]).T @ x)
    influence = (x * (y - mu)[:, None]) @ bread
    both = participant * (int(stimulus.max()) + 1) + stimulus
    by_person, by_image, by_pair = (_clustered(influence, groups) for groups in (participant, stimulus, both))
    two_way = by_person + by_image - by_pair
    return np.where(two_way > 0, two_way, np.maximum(by_person, by_image))


def _clustered(influence: Any, groups: Any) -> Any:
    index = np.unique(groups, return_inverse=True)[1]
    return np.array([float((np.bincount(index, column) ** 2).sum()) for column in influence.T])


def _unfit(x: pd.DataFrame, y: Any) -> str | None:
    if y.min() == y.max():
        return "all answers are alike"
    if np.linalg.matrix_rank(x.to_numpy()) < len(x.columns):
        return "the predictors do not vary independently of each other"
    return None


def _too_few(units: pd.Series) -> str | None:
    return f"one {units.name} only" if units.nunique() < 2 else None


def _failure(coefficients: Mapping[str, Mapping[str, float]]) -> str | None:
    values = [value for row in coefficients.values() for value in row.values()]
    if not all(math.isfinite(value) for value in values):
        return "the standard errors are not finite"
    if any(abs(row["estimate"]) > _RUNAWAY for row in coefficients.values()):
        return "an estimate runs away: the predictors separate right from wrong answers"
    return None


def _coefficients(names: Any, estimates: Any, errors: Any, df: int | None = None) -> dict[str, dict[str, float]]:
    rows = {}
    for name, estimate, se in zip(names, np.asarray(estimates, float), np.asarray(errors, float), strict=True):
        z = float(estimate / se) if se > 0 else math.nan
        p = 2 * float(stats.norm.sf(abs(z)) if df is None else stats.t.sf(abs(z), df))
        rows[str(name)] = {"estimate": float(estimate), "se": float(se), "z": z, "p": p}
        if df is not None:
            half = float(stats.t.ppf(0.975, df)) * float(se)
            rows[str(name)] |= {"low": float(estimate) - half, "high": float(estimate) + half}
    return rows

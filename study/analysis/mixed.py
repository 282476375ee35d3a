"""Every regression of the report, with the clustering of people and images in their standard errors."""

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
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

from study.analysis import crossed
from study.analysis.betabinomial import fit as fit_betabinomial
from study.analysis.frames import codes
from study.analysis.glmm import aggregate
from study.analysis.laplace import Counts, sums

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


@dataclass(frozen=True)
class Models:
    """Every regression of the report.

    Attributes:
        content: report["models"]: "gee", "gee_bias_reduced", "glm_two_way", "betabinomial", "glmm" (lapse 0, equals
            lme4), "glmm_lapse" (the headline) and "sensitivity". What was not fitted has `converged` false, a `reason`
            and no number.
        thresholds: rows of report["thresholds"]: those of the median person, by the headline.
        marginal: {(attack, strength): {"glmm_marginal_pc", "glmm_marginal_low", "glmm_marginal_high"}}, s > 0.
        modes: {"participant" | "stimulus" | ...: [{"name", "mode", "sd"}]} of the headline, on the link scale.
        median_person: {attack: {"link", "intercept", "slope", "lapse"}}, so that
            PC(s) = .5 + (.5 - lapse) F(intercept + slope log2 s).
    """

    content: dict[str, Any]
    thresholds: list[dict[str, Any]]
    marginal: dict[tuple[str, float], dict[str, float]]
    modes: dict[str, list[dict[str, Any]]]
    median_person: dict[str, dict[str, Any]]


def fit_all(trials: pd.DataFrame, catch: pd.DataFrame, level: float = 0.95) -> Models:
    """Fit every regression to the main trials; the catch trials tell the headline's lapse rate.

    Never raises for what a study lacks: one attack, one strength, one person, answers all alike each give a reason.
    """
    marginal_models = _gee(trials, ("robust", "bias_reduced"))
    study = crossed.Study(trials, catch)
    headline, companion = study.fit(crossed.HEADLINE), study.fit(crossed.COMPANION)
    content = {
        "gee": marginal_models["robust"],
        "gee_bias_reduced": marginal_models["bias_reduced"],
        "glm_two_way": glm_two_way(trials, level),
        "betabinomial": betabinomial(trials, level),
        "glmm": crossed.described(study, companion, level),
        "glmm_lapse": crossed.described(study, headline, level),
        "sensitivity": list(crossed.sensitivity(study, headline, companion, level)),
    }
    return Models(
        content=content,
        thresholds=crossed.threshold_rows(study, headline, level),
        marginal=crossed.marginal(study, headline, level),
        modes=crossed.modes(study, headline),
        median_person=crossed.median_person(study, headline),
    )


def gee(trials: pd.DataFrame, covariance: Covariance = "robust") -> dict[str, Any]:
    """`correct ~ strength + attack`, logit, participants as exchangeable clusters (Liang & Zeger 1986).

    Clusters on participants only: it does not protect against images that differ. `covariance` is the sandwich or
    Mancl & DeRouen's bias-reduced one. A model that cannot be fitted: `converged` false, a reason, no coefficients.
    """
    return _gee(trials, (covariance,))[covariance]


def glm_two_way(trials: pd.DataFrame, level: float = 0.95) -> dict[str, Any]:
    """`correct ~ strength + attack`, logit, with the two-way sandwich of `logistic_two_way`."""
    return {
        "formula": _formula(trials),
        "covariance": "two-way cluster-robust",
        "clusters": "participant, stimulus",
        **logistic_two_way(trials, {"strength": trials["strength"]}, level=level),
    }


def betabinomial(trials: pd.DataFrame, level: float = 0.95) -> dict[str, Any]:
    """`correct ~ strength + attack` on the counts of each participant and condition (see `betabinomial.fit`).

    `dispersion` is phi, None where the counts spread no more than binomially, which `note` then says.
    """
    x = design_matrix(trials, {"strength": trials["strength"]})
    counts = aggregate(x.to_numpy(), trials["correct"], 1, [codes(trials["participant"])])
    fitted = fit_betabinomial(counts.design[counts.condition], counts.correct, counts.correct + counts.wrong)
    reason = _too_few(trials["participant"]) or fitted.reason
    return {
        "formula": _formula(trials),
        "unit": "participant and condition",
        "coefficients": {} if reason else _coefficients(x, fitted.coefficients, fitted.se, level=level),
        "dispersion": None if reason else fitted.dispersion,
        "log_likelihood": None if reason else fitted.log_likelihood,
        "converged": reason is None,
        "reason": reason,
        "note": None if reason or fitted.dispersion else "the counts spread no more than binomially",
    }


def logistic_two_way(
    trials: pd.DataFrame,
    predictors: Mapping[str, npt.ArrayLike],
    with_attack: bool = True,
    level: float = 0.95,
    *,
    finite_sample: bool = False,
) -> dict[str, Any]:
    """Logistic regression of `correct` whose standard errors allow for both people and images that differ.

    Two-way cluster-robust sandwich (Cameron, Gelbach & Miller 2011), t on min(P, S) - 1 degrees of freedom. Where the
    two-way variance of a coefficient is not positive, the larger one-way variance stands in. `finite_sample`: with the
    factors G/(G - 1) and never below the variance of independent trials, as `equivalence.Clusters` has it. The fit is
    to counts, from which it does not differ.
    Returns {"coefficients": {name: {"estimate", "se", "z", "p", "low", "high"}}, "df", "converged", "reason"}.
    """
    x = design_matrix(trials, predictors)
    if not with_attack:
        x = x[["Intercept", *predictors]]
    failed: dict[str, Any] = {"coefficients": {}, "df": None, "converged": False}
    reason = _unfit(x, trials["correct"]) or _too_few(trials["participant"]) or _too_few(trials["stimulus"])
    if reason:
        return failed | {"reason": reason}
    counts = aggregate(
        x.to_numpy(), trials["correct"], 1, [codes(trials[name]) for name in ("participant", "stimulus")]
    )
    right, wrong = (sums(counts.condition, k, len(counts.design)) for k in (counts.correct, counts.wrong))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            result = GLM(np.column_stack([right, wrong]), counts.design, family=Binomial()).fit(
                tol=1e-10, tol_criterion="params"
            )
        se = np.sqrt(_two_way_variances(counts, np.asarray(result.fittedvalues), finite_sample))
    except (PerfectSeparationError, np.linalg.LinAlgError):
        return failed | {"reason": "the predictors separate right from wrong answers"}
    df = min(counts.sizes) - 1
    coefficients = _coefficients(x, result.params, se, df, level)
    reason = _failure(coefficients) or (None if result.converged else "the iterations did not settle")
    return (
        failed | {"reason": reason}
        if reason
        else {"coefficients": coefficients, "df": df, "converged": True, "reason": None}
    )


def _gee(trials: pd.DataFrame, covariances: Sequence[Covariance]) -> dict[Covariance, dict[str, Any]]:
    """One fit, described with each of the covariances."""
    x = design_matrix(trials, {"strength": trials["strength"]})
    row = {"formula": _formula(trials), "clusters": "participant", "correlation": "exchangeable"}
    failed: dict[str, Any] = row | {"coefficients": {}, "alpha": None, "converged": False}
    if reason := _unfit(x, trials["correct"]) or _too_few(trials["participant"]):
        return {name: failed | {"covariance": name, "reason": reason} for name in covariances}
    model = GEE(
        trials["correct"].to_numpy(float),
        x.to_numpy(),
        groups=codes(trials["participant"]),
        family=Binomial(),
        cov_struct=Exchangeable(),
    )
    with warnings.catch_warnings(), np.errstate(all="ignore"):  # what the warnings say is in `converged`
        warnings.simplefilter("ignore")
        result = model.fit(cov_type=covariances[-1], ctol=1e-10, maxiter=200)
        errors = {name: result.standard_errors(name) for name in covariances}
    described = {}
    for name, se in errors.items():
        coefficients = _coefficients(x, result.params, se)
        reason = _failure(coefficients) or (None if result.converged else "the iterations did not settle")
        fitted = row | {"coefficients": coefficients, "alpha": float(model.cov_struct.dep_params), "converged": True}
        described[name] = (failed if reason else fitted) | {"covariance": name, "reason": reason}
    return described


def _formula(trials: pd.DataFrame) -> str:
    return "correct ~ strength + attack" if trials["attack"].nunique() > 1 else "correct ~ strength"


def _two_way_variances(counts: Counts, mu: Any, finite_sample: bool = False) -> Any:
    """(q,) variances of the coefficients, from the fitted probabilities `mu` (C,) of each design row."""
    design, n = counts.design, counts.correct + counts.wrong
    weight = sums(counts.condition, n, len(design)) * mu * (1 - mu)
    bread = np.linalg.inv((design * weight[:, None]).T @ design)
    residual = counts.correct - n * mu[counts.condition]
    influence = (design @ bread)[counts.condition] * residual[:, None]
    participant, stimulus = counts.levels
    both = participant * counts.sizes[1] + stimulus
    by_person, by_image, by_pair = (_clustered(influence, groups) for groups in (participant, stimulus, both))
    if finite_sample:
        by_person, by_image = (
            sum_ * size / (size - 1) for sum_, size in zip((by_person, by_image), counts.sizes, strict=True)
        )
    two_way = by_person + by_image - by_pair
    variances = np.where(two_way > 0, two_way, np.maximum(by_person, by_image))
    return np.maximum(variances, np.diag(bread)) if finite_sample else variances


def _clustered(influence: Any, groups: Any) -> Any:
    return np.array([float((np.bincount(groups, column) ** 2).sum()) for column in influence.T])


def _unfit(x: pd.DataFrame, y: pd.Series) -> str | None:
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


def _coefficients(
    x: pd.DataFrame, estimates: Any, errors: Any, df: int | None = None, level: float | None = None
) -> dict[str, dict[str, float]]:
    """One row per column of `x`; normal, or t on `df` degrees of freedom; an interval where `level` is given."""
    rows = {}
    degrees = math.inf if df is None else df
    for name, estimate, se in zip(x.columns, np.asarray(estimates, float), np.asarray(errors, float), strict=True):
        z = float(estimate / se) if se > 0 else math.nan
        p = 2 * float(stats.t.sf(abs(z), degrees))
        rows[str(name)] = {"estimate": float(estimate), "se": float(se), "z": z, "p": p}
        if level is not None:
            half = float(stats.t.ppf((1 + level) / 2, degrees)) * float(se)
            rows[str(name)] |= {"low": float(estimate) - half, "high": float(estimate) + half}
    return rows

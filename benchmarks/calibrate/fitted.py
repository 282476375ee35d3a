"""Methods that have to be fitted, one study after the other."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

import numpy as np
import pandas as pd
from statsmodels.genmod.cov_struct import Exchangeable
from statsmodels.genmod.families import Binomial
from statsmodels.genmod.generalized_estimating_equations import GEE

from benchmarks.calibrate.rows import Found
from benchmarks.calibrate.scenarios import SCALES, Scenario, median_threshold, pooled_threshold
from study.analysis import crossed as crossed_models
from study.analysis import error_shift, frames, glmm, mixed, psychometric
from study.analysis.likelihood import Level
from study.analysis.psychometric import LEVELS
from study.analysis.synthetic import Answers, Codes, Floats, Studies

INTERVAL: Final = 0.95
_NONE: Final = (math.nan, math.nan, math.nan)


def gee(scenario: Scenario, drawn: Studies) -> Iterator[Found]:
    """GEE with exchangeable people, the robust and the bias-reduced covariance."""
    x = _intercept_and_attack(drawn)
    for covariance, name in (("robust", "GEE robust"), ("bias_reduced", "GEE bias-reduced")):

        def fit(study: int, covariance: str = covariance) -> tuple[float, float]:
            model = GEE(
                drawn.correct[study].astype(float), x, groups=drawn.layout.participant, family=Binomial(),
                cov_struct=Exchangeable(),
            )  # fmt: skip
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # what did not settle gives no answer
                result = model.fit(cov_type=covariance)
            return (float(result.params[-1]), float(result.pvalues[-1])) if result.converged else _NONE[:2]

        yield Found.test(name, *_each(drawn, fit))


def crossed(scenario: Scenario, drawn: Studies) -> Iterator[Found]:
    """The plain logistic GLMM with crossed people and images: z and t on its last coefficient."""
    x = _intercept_and_attack(drawn)
    names = ["Intercept", "attack"][: x.shape[1]]

    def fit(study: int) -> tuple[float, float, float]:
        found = glmm.fit(x, names, drawn.correct[study], 1, _factors(drawn))
        if not found.converged:
            return _NONE
        row, t = (found.table(INTERVAL, df)[names[-1]] for df in (math.inf, found.df))
        return row["estimate"], row["p"], t["p"]

    estimate, z, t = _each(drawn, fit)
    yield Found.test("crossed GLMM z", estimate, z)
    yield Found.test("crossed GLMM t", estimate, t)


#: The report's median-person curves and what is asked of each, in words.
CURVES: Final = {words: terms for words, terms in crossed_models.VARIANTS if words != "companion"}


def thresholds(scenario: Scenario, drawn: Studies) -> Iterator[Found]:
    """Half of F of the median person by the headline and each of its variants; by the headline PC .75 as well."""
    for words, terms in CURVES.items():
        yield from curve(drawn, words, terms, LEVELS if words == "headline" else LEVELS[:1])


def curve(
    drawn: Studies, words: str, terms: crossed_models.Terms, levels: Sequence[Level] = LEVELS[:1]
) -> Iterator[Found]:
    """The intervals of both attacks' thresholds by one model, in log2 strength."""
    attacks = sorted(SCALES)
    wanted = [(level, attack) for level in levels for attack in attacks]

    def fit(study: int) -> tuple[float, ...]:
        table = drawn.table(study)
        coded = crossed_models.Study(frames.main_trials(table), frames.catch_trials(table))
        rows = {
            (row["level"], row["attack"]): row
            for row in crossed_models.threshold_rows(coded, coded.fit(terms), INTERVAL)
        }
        return tuple(end for key in wanted for end in _log2(rows[key], ("threshold", "low", "high")))

    columns = _each(drawn, fit)
    for index, (level, attack) in enumerate(wanted):
        ends, truth = columns[3 * index : 3 * index + 3], math.log2(median_threshold(attack, level))
        yield Found.interval(f"{words}, {level}: {attack}", ends, truth)


def _log2(row: Mapping[str, Any], names: Sequence[str]) -> list[float]:
    """In log2 strength; an end that is open is nan."""
    return [math.nan if row[name] is None else math.log2(row[name]) for name in names]


def pooled(scenario: Scenario, drawn: Studies) -> Iterator[Found]:
    """The report's pooled Weibull curve: where people of all kinds together reach PC .75."""
    attacks = sorted(SCALES)

    def fit(study: int) -> tuple[float, ...]:
        table = drawn.table(study)
        curves = psychometric.fit_all(frames.main_trials(table), frames.catch_trials(table), INTERVAL)
        rows = [psychometric.threshold_rows(attack, "Weibull", curves[attack, "Weibull"]) for attack in attacks]
        at_75 = [next(row for row in found if row["level"] == "PC .75") for found in rows]
        return tuple(end for row in at_75 for end in _log2(row, ("threshold", "low", "high")))

    columns = _each(drawn, fit)
    for index, attack in enumerate(attacks):
        ends = columns[3 * index : 3 * index + 3]
        yield Found.interval(f"pooled Weibull, PC .75: {attack}", ends, math.log2(pooled_threshold(attack)))


#: What the report says about error shift, and how it is called here.
SHIFT_ROWS: Final[dict[tuple[str, ...], str]] = {
    ("unadjusted",): "two-way GLM, not adjusted for strength",
    ("strength_adjusted",): "two-way GLM, strength-adjusted",
    ("within_between", "within"): "two-way GLM, within conditions",
    ("within_between", "between"): "two-way GLM, between conditions",
    ("glmm", "strength_adjusted"): "GLMM logit, strength-adjusted",
    ("glmm", "strength_adjusted", "likelihood_ratio"): "same, likelihood ratio",
    ("glmm", "within_between", "within"): "GLMM logit, within conditions",
    ("glmm", "within_between", "between"): "GLMM logit, between conditions",
    ("per_participant_spearman",): "Spearman's rho of each person",
}


def shifts(scenario: Scenario, drawn: Studies) -> Iterator[Found]:
    """What the report's block on error shift finds, and models that adjust for strength in other ways."""
    ways = (_reported_shift, _cloglog, _strength_as_line)
    found: dict[str, list[tuple[float, float]]] = {}
    for study in range(len(drawn.correct)):
        table = frames.main_trials(drawn.table(study))
        for way in ways:
            for name, row in way(table, drawn.catch[study]).items():
                found.setdefault(name, []).append(row)
    for name, rows in found.items():
        yield Found.test(name, *np.array(rows, dtype=float).T)


def _reported_shift(trials: pd.DataFrame, catch: Answers) -> dict[str, tuple[float, float]]:
    block = error_shift.summary(trials) or {}
    found = {}
    for keys, name in SHIFT_ROWS.items():
        row: Any = block
        for key in keys:
            row = row[key]
        estimate = next((row[key] for key in ("estimate", "rho", "statistic") if key in row), None)
        found[name] = _numbers(estimate, row["p"])
    return found


def _cloglog(trials: pd.DataFrame, catch: Answers) -> dict[str, tuple[float, float]]:
    """The link by which people detect, and a lapse rate."""
    x = {"log2_strength": np.log2(trials["strength"]), "error_shift_deg": trials["error_shift_deg"]}
    design = mixed.design_matrix(trials, x)
    factors = {unit: frames.codes(trials[unit]) for unit in ("participant", "stimulus")}
    found = glmm.fit(
        design.to_numpy(), list(design), trials["correct"], 1, factors, link="cloglog", guess=0.5,
        catch=glmm.Catch(int(catch.sum()), catch.size),
    )  # fmt: skip
    row = found.table(INTERVAL).get("error_shift_deg", {})
    return {"GLMM cloglog with lapse, strength-adjusted": _numbers(row.get("estimate"), row.get("p"))}


def _strength_as_line(trials: pd.DataFrame, catch: Answers) -> dict[str, tuple[float, float]]:
    """A straight line in strength, as is often done: what bends is left to the shift."""
    predictors = {name: trials[name] for name in ("error_shift_deg", "strength")}
    row = mixed.logistic_two_way(trials, predictors)["coefficients"].get("error_shift_deg", {})
    return {"two-way GLM, strength as a straight line": _numbers(row.get("estimate"), row.get("p"))}


def _numbers(*values: float | None) -> tuple[float, float]:
    estimate, p = (math.nan if value is None else float(value) for value in values)
    return estimate, p


def _intercept_and_attack(drawn: Studies) -> Floats:
    """(N, conditions): ones, and where there are two conditions the second's indicator."""
    condition = drawn.layout.condition
    columns = [np.ones(len(condition)), (condition == 1).astype(float)]
    return np.column_stack(columns[: len(drawn.truth.conditions)])


def _factors(drawn: Studies) -> dict[str, Codes]:
    return {"participant": drawn.layout.participant, "stimulus": drawn.layout.stimulus}


def _each(drawn: Studies, fit: Callable[[int], tuple[float, ...]]) -> Floats:
    """(values, R): what `fit` returns of each study."""
    return np.array([fit(study) for study in range(len(drawn.correct))], dtype=float).T

"""The crossed mixed models of the psychometric function: people and images as random effects, a guess rate of .5.

`companion` is the model that equals lme4's. `headline` is what thresholds come from: a Weibull function of strength
with a slope for each attack, the side as a covariate, and the lapse rate that the catch trials tell in the same
likelihood. Its curve is that of the median person before the median image.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from study.analysis import glmm
from study.analysis.frames import codes
from study.analysis.laplace import Information, Link
from study.analysis.likelihood import DEFAULT_LAPSE, GUESS
from study.analysis.machine import ENOUGH
from study.analysis.protocols import NO_GUESS_RATE, protocol_of
from study.analysis.psychometric import LEVELS, MEDIAN_PERSON

Floats = npt.NDArray[np.floating[Any]]
LapseSource = Literal["catch"] | float

SLOPE: Final = "log2_strength"
SIDE: Final = "side"
#: The scale of the median person's curve, in words.
_SIGMOIDS: Final = {"cloglog": "Weibull", "logit": "logistic", "probit": "cumulative Gaussian"}


@dataclass(frozen=True)
class Terms:
    """Which model to fit: its link, terms and lapse rate ("catch" = a parameter that the catch trials tell)."""

    link: Link = "cloglog"
    information: Information = "expected"
    lapse: LapseSource = "catch"
    slope_per_attack: bool = True
    side: bool = True
    varying: tuple[str, ...] = ()


HEADLINE: Final = Terms()
COMPANION: Final = Terms(link="logit", lapse=0.0, slope_per_attack=False, side=False)
#: What else is fitted, in words: one departure from the headline each, and the companion.
VARIANTS: Final = (
    ("headline", HEADLINE),
    ("observed information", Terms(information="observed")),
    ("logistic function", Terms(link="logit")),
    ("cumulative Gaussian", Terms(link="probit")),
    ("lapse 0", Terms(lapse=0.0)),
    ("lapse .02", Terms(lapse=0.02)),
    ("lapse .05", Terms(lapse=0.05)),
    ("without side", Terms(side=False)),
    ("slopes of strength vary over participants", Terms(varying=(SLOPE,))),
    ("effects of side vary over participants", Terms(varying=(SIDE,))),
    ("companion", COMPANION),
)


@dataclass(frozen=True)
class Model:
    """A fitted model of a study.

    Attributes:
        terms: what was asked for.
        names: of the coefficients.
        fit: what came out.
        note: which terms the study cannot tell and which were therefore left out.
    """

    terms: Terms
    names: tuple[str, ...]
    fit: glmm.Fit
    note: str | None

    def contrasts(self, attack: str) -> tuple[Floats, Floats]:
        """(q,) intercept and slope of an attack's curve on log2 strength."""
        intercept = ("Intercept", f"attack[T.{attack}]")
        slope = (SLOPE, f"{SLOPE}:attack[T.{attack}]")
        return self._chosen(intercept), self._chosen(slope)

    def formula(self, factors: Iterable[str]) -> str:
        """The model in the notation of lme4."""
        slopes = any(name.startswith(f"{SLOPE}:") for name in self.names)
        attacks = any(name.startswith("attack[") for name in self.names)
        fixed = [f"log2(strength){' * ' if slopes else ' + '}attack" if attacks else "log2(strength)"]
        fixed += [SIDE] if SIDE in self.names else []
        varying = ["log2(strength)" if name == SLOPE else name for name in self.terms.varying]
        random = [*(f"(1|{name})" for name in factors), *(f"(0 + {name}|participant)" for name in varying)]
        return "correct ~ " + " + ".join([*fixed, *random])

    def _chosen(self, names: Sequence[str]) -> Floats:
        return np.array([float(name in names) for name in self.names])


class Study:
    """The trials with s > 0, coded once for all models of a report."""

    def __init__(self, trials: pd.DataFrame, catch: pd.DataFrame) -> None:
        self.trials = trials[trials["strength"] > 0]
        self.catch = glmm.Catch(int(catch["correct"].sum()), len(catch)) if len(catch) else None
        self.attacks = sorted(self.trials["attack"].unique())
        names = ("participant", "stimulus", *further_factors(self.trials))
        self.factors = {name: codes(self.trials[name]) for name in names}
        self.strengths = {
            str(attack): np.sort(rows.unique()) for attack, rows in self.trials.groupby("attack")["strength"]
        }

    def levels(self, factor: str) -> list[str]:
        """Names of a factor's levels, by code."""
        return sorted(self.trials[factor].unique())

    def fit(self, terms: Terms) -> Model:
        """Fit one model; terms that the study cannot tell are left out, and `note` says so."""
        columns, note = self._columns(terms)
        names = tuple(columns)
        reason = self._unfit()
        if reason:
            failed = glmm.Fit(
                names, terms.link, GUESS, terms.information, glmm.Lapse(0.0, None, None), False, reason, 0
            )
            return Model(terms, names, failed, None)
        fixed = terms.lapse if isinstance(terms.lapse, float) else DEFAULT_LAPSE
        fitted = glmm.fit(
            np.column_stack(list(columns.values())),
            names,
            self.trials["correct"].to_numpy(float),
            1,
            self.factors,
            slopes=[name for name in terms.varying if name in columns],
            link=terms.link,
            guess=GUESS,
            lapse=fixed,
            catch=self.catch if terms.lapse == "catch" else None,
            information=terms.information,
        )
        return Model(terms, names, fitted, note)

    @cached_property
    def _log2_strength(self) -> Floats:
        return np.log2(self.trials["strength"].to_numpy(float))

    @cached_property
    def _side(self) -> Floats:
        """.5 where the altered image was on the right, -.5 where it was on the left."""
        return np.where(self.trials["clean_side"] == "left", 0.5, -0.5)

    def _columns(self, terms: Terms) -> tuple[dict[str, Floats], str | None]:
        columns = {"Intercept": np.ones(len(self.trials)), SLOPE: self._log2_strength}
        of_attack = {name: (self.trials["attack"] == name).to_numpy(float) for name in self.attacks[1:]}
        columns |= {f"attack[T.{name}]": flag for name, flag in of_attack.items()}
        notes = []
        if terms.slope_per_attack:
            if single := [name for name in self.attacks if len(self.strengths[name]) < 2]:
                notes.append(f"one slope for all attacks: one strength only of {', '.join(single)}")
            else:
                columns |= {f"{SLOPE}:attack[T.{name}]": flag * self._log2_strength for name, flag in of_attack.items()}
        if terms.side:
            if len(np.unique(self._side)) < 2:
                notes.append("no effect of the side: the altered image was always on the same one")
            else:
                columns[SIDE] = self._side
        if terms.lapse == "catch" and not self.catch:
            notes.append(f"no catch trials: the lapse rate is taken to be {DEFAULT_LAPSE:g}")
        return columns, "; ".join(notes) or None

    def _unfit(self) -> str | None:
        if self.trials.empty:
            return "no strength above 0 was shown"
        if protocol_of(self.trials).model == "yes/no":
            return NO_GUESS_RATE
        if max(map(len, self.strengths.values())) < 2:
            return "one strength above 0 only: there is no slope to estimate"
        return None


def further_factors(trials: pd.DataFrame) -> list[str]:
    """Random effects beside people and images: models and fields, where an attack has enough to tell their spread.

    Where each field has a model of its own, models stand for both. They are no factor where some rows do not name
    theirs; what is said then holds for these very models and fields.
    """
    found: list[str] = []
    for name in ("model", "field"):
        if name not in trials or (trials[name] == "").any():
            continue
        enough = trials.groupby("attack")[name].nunique().max() >= ENOUGH
        if enough and not any(_are_one(trials, name, other) for other in found):
            found.append(name)
    return found


def _are_one(trials: pd.DataFrame, first: str, second: str) -> bool:
    return _combinations(trials, first, second) == trials[first].nunique() == trials[second].nunique()


def _combinations(trials: pd.DataFrame, first: str, second: str) -> int:
    return len(trials[[first, second]].drop_duplicates())


def described(study: Study, model: Model, level: float) -> dict[str, Any]:
    """A model as the report has it; where it did not converge there is a reason and no number."""
    fitted, terms = model.fit, model.terms
    estimated = terms.lapse == "catch" and study.catch is not None
    checks = fitted.diagnostics
    return {
        "formula": model.formula(study.factors),
        "link": fitted.link,
        "guess": GUESS,
        "lapse": fitted.lapse.rate if fitted.converged or not estimated else None,
        "lapse_low": fitted.lapse.low,
        "lapse_high": fitted.lapse.high,
        "lapse_source": _lapse_source(study, terms),
        "information": fitted.information,
        "coefficients": fitted.table(level, degrees_of_freedom(model)) if fitted.converged else {},
        "df": fitted.df if fitted.converged and math.isfinite(degrees_of_freedom(model)) else None,
        "sd": dict(fitted.sds),
        "log_likelihood": fitted.log_likelihood,
        "converged": fitted.converged,
        "reason": fitted.reason,
        "diagnostics": {
            "gradient": checks.gradient,
            "boundary": list(checks.boundary),
            "se_ratio": checks.se_ratio,
            "condition": checks.condition,
            "notes": [*checks.notes, *([model.note] if model.note else [])],
        },
    }


def degrees_of_freedom(model: Model) -> float:
    """Of t: fewer people or images than infinitely many. The companion keeps lme4's normal intervals."""
    return math.inf if model.terms == COMPANION else model.fit.df


def threshold_rows(study: Study, model: Model, level: float) -> list[dict[str, Any]]:
    """The report's rows of the median person's thresholds, with the keys of `psychometric.threshold_rows`."""
    fitted = model.fit
    return [
        _threshold(study, model, attack, name, level)
        | {
            "population": MEDIAN_PERSON,
            "method": _method(fitted),
            "unit": "strength",
            "slope": float(model.contrasts(attack)[1] @ fitted.coefficients) / math.log(2)
            if fitted.converged
            else None,
            "lapse": fitted.lapse.rate if fitted.converged else None,
            "lapse_low": fitted.lapse.low,
            "lapse_high": fitted.lapse.high,
            "lapse_source": _lapse_source(study, model.terms),
            "cluster_inflation": None,
        }
        for attack in study.attacks
        for name in LEVELS
    ]


def _method(fitted: glmm.Fit) -> str:
    return (
        f"GLMM ({fitted.link} = {_SIGMOIDS[fitted.link]}), Laplace with {fitted.information} information, delta"
        f" interval on log strength, t on {fitted.df} degrees of freedom"
    )


def sensitivity(study: Study, headline: Model, companion: Model, level: float) -> Iterator[dict[str, Any]]:
    """The median person's threshold at PC .75 under each of `VARIANTS`, one row per attack."""
    known = {HEADLINE: headline, COMPANION: companion}
    for words, terms in VARIANTS:
        model = known.get(terms) or study.fit(terms)
        for attack in study.attacks:
            row = _threshold(study, model, attack, "PC .75", level)
            yield {
                "model": words,
                "link": terms.link,
                "lapse": model.fit.lapse.rate if model.fit.converged else None,
                "information": terms.information,
                "attack": attack,
                **{key: row[key] for key in ("threshold", "low", "high", "level")},
                "log_likelihood": model.fit.log_likelihood,
                "note": row["note"],
            }


def marginal(study: Study, model: Model, level: float) -> dict[tuple[str, float], dict[str, float]]:
    """{(attack, strength): proportion correct averaged over people and images, with its interval}, sides in balance."""
    if not model.fit.converged:
        return {}
    places = [(attack, float(s)) for attack in study.attacks for s in study.strengths[attack]]
    x = [intercept + math.log2(s) * slope for attack, s in places for intercept, slope in [model.contrasts(attack)]]
    found = model.fit.marginal(np.array(x), level, degrees_of_freedom(model))
    names = ("glmm_marginal_pc", "glmm_marginal_low", "glmm_marginal_high")
    return {place: dict(zip(names, map(float, row), strict=True)) for place, *row in zip(places, *found, strict=True)}


def modes(study: Study, model: Model) -> dict[str, list[dict[str, Any]]]:
    """{factor: [{"name", "mode", "sd"}]} on the link scale, sd being the conditional one; empty without a model."""
    return {
        factor: [
            {"name": name, "mode": mode, "sd": sd}
            for name, mode, sd in zip(study.levels(factor), of.mode.tolist(), of.sd.tolist(), strict=True)
        ]
        for factor, of in model.fit.modes.items()
        if factor in study.factors
    }


def median_person(study: Study, model: Model) -> dict[str, dict[str, Any]]:
    """{attack: PC(s) = .5 + (.5 - lapse) F(intercept + slope log2 s)}; empty without a model."""
    if not model.fit.converged:
        return {}
    return {
        attack: {"link": model.fit.link, "intercept": a, "slope": b, "lapse": model.fit.lapse.rate}
        for attack in study.attacks
        for a, b in [[float(contrast @ model.fit.coefficients) for contrast in model.contrasts(attack)]]
    }


def _threshold(study: Study, model: Model, attack: str, name: str, level: float) -> dict[str, Any]:
    fitted = model.fit
    row: dict[str, Any] = {"attack": attack, "threshold": None, "low": None, "high": None, "level": name}
    row |= {"level_of_pc": None, "note": fitted.reason}
    if not fitted.converged:
        return row
    pc = 0.75 if name == "PC .75" else None
    found = fitted.threshold(*model.contrasts(attack), pc, level, degrees_of_freedom(model))
    row["level_of_pc"] = pc or GUESS + (1 - GUESS - fitted.lapse.rate) / 2
    if found.position is None or found.low is None or found.high is None:
        return row | {"note": found.reason}
    threshold, low, high = (2.0**end for end in (found.position, found.low, found.high))
    tested = study.strengths[attack]
    outside = None if tested[0] <= threshold <= tested[-1] else "outside the tested strengths: an extrapolation"
    notes = [*fitted.diagnostics.notes, model.note, outside]
    return row | {"threshold": threshold, "low": low, "high": high, "note": "; ".join(filter(None, notes)) or None}


def _lapse_source(study: Study, terms: Terms) -> str:
    if terms.lapse != "catch":
        return f"fixed at {terms.lapse:g}"
    if study.catch is None:
        return f"fixed at {DEFAULT_LAPSE:g}: no catch trials"
    return f"estimated together with {study.catch.n} catch trials"

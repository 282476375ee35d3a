"""What figures are drawn from, and the parts of it that several of them need."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.special import expit, ndtr

from study.analysis.controls import noun
from study.analysis.displacement import px_per_strength
from study.analysis.likelihood import GUESS
from study.analysis.protocols import ADAPTIVE, PROTOCOLS, Protocol
from study.analysis.psychometric import Curve

Floats = npt.NDArray[np.float64]
Rows = list[Mapping[str, Any]]

#: Points of a drawn curve.
_POINTS = 60


@dataclass(frozen=True)
class Source:
    """A report's content with the main trials and the fitted curves it was built from.

    Attributes:
        report: what `report.build` returns, or what report.json holds.
        trials: the main trials; an empty table leaves out the figures that show single answers.
        curves: the fitted pooled psychometric function of each attack that has one.
    """

    report: Mapping[str, Any]
    trials: pd.DataFrame
    curves: Mapping[str, Curve] = field(default_factory=dict)

    @property
    def protocol(self) -> Protocol:
        return PROTOCOLS[self.report["protocol"]["name"]]

    @property
    def is_adaptive(self) -> bool:
        """Whether the strengths were chosen from the answers, so that the study gives thresholds only."""
        return bool(self.report["procedure"] == ADAPTIVE)

    @property
    def attacks(self) -> list[str]:
        return sorted({row["attack"] for row in self.report["conditions"]})

    def rows(self, section: str, attack: str | None = None) -> Rows:
        """A section that is a list of rows, of one attack where it is named; empty where the report lacks it."""
        rows = self.report.get(section) or []
        return [row for row in rows if attack is None or row["attack"] == attack]

    def threshold(self, attack: str, population: str, level: str = "PC .75") -> Mapping[str, Any] | None:
        """The headline threshold of people: Weibull for the pooled curve and for the median person."""
        rows = [
            row
            for row in self.rows("thresholds", attack)
            if row["population"] == population and row["level"] == level and row["threshold"] is not None
        ]
        return next((row for row in rows if "Weibull" in row["method"]), rows[0] if rows else None)

    def units(self, attack: str) -> dict[str, float]:
        """What strength 1 is as a mean displacement, for each unit in which it is known and grows with strength."""
        rows = [row for row in self.rows("conditions", attack) if row["strength"] > 0]
        thresholds = [row for row in self.rows("thresholds", attack) if row["threshold"]]
        known = {
            "image px": px_per_strength([*self.rows("machine", attack), *rows], attack),
            "% of width": _ratio(thresholds, "threshold_percent_of_width", "threshold"),
            "arcmin": _ratio(rows, "displacement_arcmin", "strength"),
        }
        if known["image px"] is None:
            return {}
        return {unit: value for unit, value in known.items() if value}

    @property
    def strength_in_words(self) -> str:
        """What the axis of strength shows where strength is no displacement: the unit and range, as far as known."""
        words = self._setting.get("strength")
        return f"{words.split(':')[0] if words else 'strength s'} (log scale)"

    @property
    def other(self) -> str:
        """What the control by another trigger of the same kind is called."""
        return f"other {noun(self._setting)}"

    @property
    def _setting(self) -> Mapping[str, Any]:
        return self.report.get("setting") or {}

    def pooled_curve(self, attack: str) -> list[dict[str, float]]:
        """Points of the curve over the answers of all, between the weakest and the strongest strength shown."""
        if attack not in self.curves:
            return []
        strengths = self._span(attack)
        return _curve_points(strengths, self.curves[attack].proportion_correct(strengths))

    def median_curve(self, attack: str) -> list[dict[str, float]]:
        """Points of the median person's curve: the crossed model with its random effects at 0."""
        model = (self.report.get("models") or {}).get("glmm_lapse") or {}
        predictor = _linear_predictor(model.get("coefficients") or {}, attack)
        strengths = self._span(attack)
        if predictor is None or not len(strengths):
            return []
        intercept, slope = predictor
        f = _INVERSE_LINKS[model["link"]](intercept + slope * np.log2(strengths))
        return _curve_points(strengths, GUESS + (GUESS - (model["lapse"] or 0.0)) * f)

    def _span(self, attack: str) -> Floats:
        strengths = [row["strength"] for row in self.rows("conditions", attack) if row["strength"] > 0]
        return np.geomspace(min(strengths), max(strengths), _POINTS) if len(strengths) > 1 else np.empty(0)


def margin_values(row: Mapping[str, Any]) -> dict[str, Any]:
    """Value and ends of a row of `stealth_margin`; without an estimate the ends are what it is known to lie between."""
    low, high = ("low", "high") if row["margin"] is not None else ("at_least", "at_most")
    return {"value": row["margin"], "low": row.get(low), "high": row.get(high), "censored": row["censored"]}


def _complementary_log_log(eta: Floats) -> Floats:
    return -np.expm1(-np.exp(np.minimum(eta, 50.0)))


_INVERSE_LINKS: Final = {"logit": expit, "probit": ndtr, "cloglog": _complementary_log_log}


def _linear_predictor(coefficients: Mapping[str, Mapping[str, Any]], attack: str) -> tuple[float, float] | None:
    """Intercept and slope over log2 strength of one attack; the reference attack has no terms of its own."""
    values = {name: row.get("estimate") for name, row in coefficients.items()}
    parts = [
        (values.get("Intercept"), values.get(f"attack[T.{attack}]", 0.0)),
        (values.get("log2_strength"), values.get(f"log2_strength:attack[T.{attack}]", 0.0)),
    ]
    if any(value is None for part in parts for value in part):
        return None
    return parts[0][0] + parts[0][1], parts[1][0] + parts[1][1]  # type: ignore[operator]


def _curve_points(strengths: Floats, proportion_correct: Floats) -> list[dict[str, float]]:
    return [{"strength": float(s), "value": float(pc)} for s, pc in zip(strengths, proportion_correct, strict=True)]


def _ratio(rows: Sequence[Mapping[str, Any]], name: str, per: str) -> float | None:
    ratios = [row[name] / row[per] for row in rows if row.get(name)]
    return float(np.median(ratios)) if ratios else None

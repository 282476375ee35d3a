"""What a method finds in each study: the raw table, and the rates with their intervals."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pandas as pd
from scipy.stats import norm

from study.analysis.equivalence import ALPHA
from study.analysis.synthetic import Floats

COLUMNS: Final = ("scenario", "method", "study", "estimate", "truth", "low", "high", "p", "decision")


@dataclass(frozen=True)
class Found:
    """One method on R studies, (R,) each.

    Attributes:
        method: its name.
        estimate: what it estimates.
        decision: whether it rejects, claims or covers; nan where it gives no answer.
        p, low, high: what the decision rests on; None where there is none.
        truth: of what is estimated, where an interval is judged by it.
    """

    method: str
    estimate: Floats
    decision: Floats
    p: Floats | None = None
    low: Floats | None = None
    high: Floats | None = None
    truth: float | None = None

    @classmethod
    def test(
        cls, method: str, estimate: Floats, p: Floats, low: Floats | None = None, high: Floats | None = None
    ) -> Found:
        """A test, which decides by p < .05; a p that is not there decides nothing."""
        p = np.asarray(p, dtype=float)
        return cls(method, estimate, np.where(np.isnan(p), math.nan, p < ALPHA), p, low, high)

    @classmethod
    def interval(cls, method: str, ends: Floats, truth: float) -> Found:
        """An interval, which decides whether it covers the truth; `ends` are (3, R) estimates, lower and upper ends.

        An open end is nan and covers all on its side; an estimate that is nan is no answer.
        """
        estimate, low, high = ends
        there = ~np.isnan(estimate)
        covers = ~(low > truth) & ~(high < truth)
        return cls(method, estimate, np.where(there, covers, math.nan), None, low, high, truth)

    def table(self, scenario: str, first: int) -> pd.DataFrame:
        """One row for each study, `first` being the number of the first."""
        number = len(self.estimate)
        rows = {
            "scenario": scenario,
            "method": self.method,
            "study": np.arange(first, first + number),
            "estimate": self.estimate,
            "truth": self.truth,
            "low": self.low,
            "high": self.high,
            "p": self.p,
            "decision": np.asarray(self.decision, dtype=float),
        }
        return pd.DataFrame(rows, columns=COLUMNS)


@dataclass(frozen=True)
class Bar:
    """What a rate must do.

    Attributes:
        low, high: where it has to lie.
        by_interval: whether it is enough that its 95 % interval meets that; otherwise the rate itself has to lie there.
    """

    low: float
    high: float
    by_interval: bool = True

    def holds(self, rate: float, low: float, high: float) -> bool:
        if self.by_interval:
            return low <= self.high and high >= self.low
        return self.low <= rate <= self.high


def summarise(decisions: pd.Series, bar: Bar | None) -> dict[str, Any]:
    """Rate of 1 among the decisions made, its Monte-Carlo error and 95 % Wilson interval, and whether the bar holds."""
    made = decisions.dropna()
    n, k = len(made), int(made.sum())
    row: dict[str, Any] = {"studies": len(decisions), "without_answer": len(decisions) - n, "rate": None}
    if n == 0:
        return row | {
            "error": None,
            "low": None,
            "high": None,
            "bar": _words(bar),
            "holds": None if bar is None else False,
        }
    rate, z = k / n, float(norm.ppf(0.975))
    centre, half = (k + z * z / 2) / (n + z * z), z * math.sqrt(n * rate * (1 - rate) + z * z / 4) / (n + z * z)
    low, high = max(0.0, centre - half), min(1.0, centre + half)
    return row | {
        "rate": rate,
        "error": math.sqrt(rate * (1 - rate) / n),
        "low": low,
        "high": high,
        "bar": _words(bar),
        "holds": None if bar is None else bar.holds(rate, low, high),
    }


def bias(found: pd.DataFrame) -> dict[str, float | None]:
    """Mean of estimate minus truth over the studies with an estimate, and its SD; None where no truth is known."""
    error = (found["estimate"] - found["truth"].astype(float)).dropna()
    if len(error) < 2:
        return {"bias": None, "sd": None}
    return {"bias": float(error.mean()), "sd": float(error.std())}


def _words(bar: Bar | None) -> str | None:
    if bar is None:
        return None
    if bar.low == 0:
        words = f"at most {_short(bar.high)}"
    elif bar.high == 1:
        words = f"at least {_short(bar.low)}"
    else:
        words = f"{_short(bar.low)} to {_short(bar.high)}"
    return words + (" (interval meets)" if bar.by_interval else "")


def _short(value: float) -> str:
    return f"{value:.2f}".lstrip("0")

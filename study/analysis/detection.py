"""Detection with two possible answers: proportion correct, d' and criterion.

The intervals of this module take trials as independent. They describe; `equivalence` decides.
"""

import math
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import stats
from scipy.special import ndtr, ndtri
from statsmodels.stats.proportion import proportion_confint

from models.proportions import wilson
from study.analysis.frames import cells, codes
from study.analysis.protocols import AFC, Model, Protocol

Floats = npt.NDArray[np.float64]


def proportion_intervals(correct: int, n: int, level: float = 0.95) -> dict[str, float]:
    """Wilson and Clopper-Pearson intervals of a proportion of `correct` out of `n` independent trials (n >= 1)."""
    wilson_low, wilson_high = wilson(correct, n, level)
    exact = proportion_confint(correct, n, alpha=1 - level, method="beta")
    return {
        "wilson_low": wilson_low,
        "wilson_high": wilson_high,
        "clopper_pearson_low": float(exact[0]),
        "clopper_pearson_high": float(exact[1]),
    }


def dprime(proportion_correct: float, model: Model = "forced choice") -> float | None:
    """d' of people without bias at this proportion correct; None where it is infinite or the model knows none.

    Forced choice between two: sqrt(2) z(PC). Yes/no: 2 z(PC). Differencing (the pair with the larger difference is
    chosen): PC = p^2 + (1 - p)^2 with p = Phi(d'/2), which is never below .5 (Macmillan & Creelman 2005, ch. 9).
    """
    if model == "differencing":
        if proportion_correct < 0.5:
            return None
        d = 2 * float(ndtri((1 + math.sqrt(2 * proportion_correct - 1)) / 2))
    else:
        d = (2 if model == "yes/no" else math.sqrt(2)) * float(ndtri(proportion_correct))
    return d if math.isfinite(d) else None


def dprime_se(proportion_correct: float, n: int, model: Model = "forced choice") -> float | None:
    """Standard error of `dprime` over `n` independent trials by the delta method: sqrt(PC (1 - PC)/n)/(dPC/dd')."""
    d = dprime(proportion_correct, model)
    if d is None:
        return None
    if model == "differencing":
        slope = (2 * float(ndtr(d / 2)) - 1) * _density(d / 2)
    else:
        divisor = 2 if model == "yes/no" else math.sqrt(2)
        slope = _density(d / divisor) / divisor
    return math.sqrt(proportion_correct * (1 - proportion_correct) / n) / slope if slope > 0 else None


def z_rates(left_left: int, n_left: int, left_right: int, n_right: int) -> tuple[float, float] | None:
    """(zH, zF), log-linear corrected, (x + .5)/(n + 1) (Hautus 1995); None where one side was never altered.

    Args:
        left_left: answers "left" among the `n_left` trials whose altered image was on the left.
        left_right: answers "left" among the `n_right` trials whose altered image was on the right.
    """
    if not n_left or not n_right:
        return None
    return float(ndtri((left_left + 0.5) / (n_left + 1))), float(ndtri((left_right + 0.5) / (n_right + 1)))


def dprime_unbiased(left_left: int, n_left: int, left_right: int, n_right: int) -> tuple[float | None, float | None]:
    """d' and criterion of a forced choice without the bias of people who prefer one side; arguments as in `z_rates`.

    Returns:
        (d', c) = ((zH - zF)/sqrt(2), -(zH + zF)/2). A negative c means that people prefer "left".
        (None, None) where one side was never altered.
    """
    rates = z_rates(left_left, n_left, left_right, n_right)
    return (None, None) if rates is None else ((rates[0] - rates[1]) / math.sqrt(2), -(rates[0] + rates[1]) / 2)


def sensitivity(cell: pd.DataFrame, protocol: Protocol = AFC) -> dict[str, float | None]:
    """d' of one condition by the protocol's model, its standard error (independent trials), and the criterion.

    Yes/no: d' = zH - zF, log-linear corrected, in both places. Differencing: there is no bias-free d'.
    """
    pc, counts = float(cell["correct"].mean()), _counts(cell)
    unbiased, criterion = dprime_unbiased(*counts)
    if protocol.model == "yes/no":
        d = None if unbiased is None else unbiased * math.sqrt(2)
        return {"dprime": d, "dprime_se": _yes_no_se(*counts), "dprime_unbiased": d, "criterion": criterion}
    return {
        "dprime": dprime(pc, protocol.model),
        "dprime_se": dprime_se(pc, len(cell), protocol.model),
        "dprime_unbiased": None if protocol.model == "differencing" else unbiased,
        "criterion": criterion,
    }


def participant_dprime(cell: pd.DataFrame, level: float = 0.95, protocol: Protocol = AFC) -> dict[str, Any]:
    """d' of each participant, log-linear corrected, and its mean over participants with an interval by t.

    Returns:
        "mean", "low", "high": None where they cannot be had, and "reason" says why.
        "n": participants with a d' of their own: those to whom both sides (both images) were shown.
        "criterion_sd": SD of the participants' criteria; None where there is no criterion, or one only.
    """
    people = _PerPerson.of(cell)
    if protocol.model == "differencing":
        d, criterion, reason = people.differencing()
    else:
        d, criterion, reason = people.from_rates(protocol.model)
    row: dict[str, Any] = {"mean": None, "low": None, "high": None, "n": len(d), "criterion_sd": None, "reason": reason}
    if len(criterion) > 1:
        row["criterion_sd"] = float(criterion.std(ddof=1))
    if reason:
        return row
    row["mean"] = mean = float(d.mean())
    if len(d) < 2 or d.std() < 1e-12:
        return row | {"reason": "one participant only, or all alike: no interval"}
    half = float(stats.t.ppf((1 + level) / 2, len(d) - 1)) * float(d.std(ddof=1)) / math.sqrt(len(d))
    return row | {"low": mean - half, "high": mean + half}


def explained(trials: pd.DataFrame, protocol: Protocol = AFC) -> dict[str, str]:
    """Why the d' of all answers and the mean of the participants' own d' differ: the report's `signal_detection`."""
    per_cell = [np.bincount(codes(cell["participant"])) for _, _, cell in cells(trials)]
    usual = float(np.median(np.concatenate(per_cell)))
    return {"note": f"{_POOLED_LOW} {_PULLED.format(usual)}{_OF_PROTOCOL.get(protocol.model, '.')}"}


_POOLED_LOW: Final = (
    "The pooled d′ takes all answers as those of one person and comes out lower than people's own where their criteria"
    " differ, whereas the per-participant d′ is the mean of each person's own,"
)
_PULLED: Final = (
    "which the log-linear correction pulls towards 0 the fewer trials a person has ({:g} per condition here)"
)
_OF_PROTOCOL: Final = {
    "differencing": ", and which oddity only has where nobody is below PC .5.",
    "yes/no": ", both as z(H) − z(F).",
}


def describe(cell: pd.DataFrame, level: float = 0.95, protocol: Protocol = AFC) -> dict[str, Any]:
    """The descriptive part of one condition's row of the report, from the trials of that condition."""
    n, correct = len(cell), int(cell["correct"].sum())
    return {
        "n": n,
        "correct": correct,
        "proportion_correct": correct / n,
        **proportion_intervals(correct, n, level),
        **sensitivity(cell, protocol),
        "participant_dprime": participant_dprime(cell, level, protocol),
        "unsure_share": float(cell["unsure"].mean()) if "unsure" in cell else None,
    }


@dataclass(frozen=True)
class _PerPerson:
    """(P,) counts of each participant: as in `z_rates`, and all right answers."""

    left_left: Floats
    n_left: Floats
    left_right: Floats
    n_right: Floats
    correct: Floats

    @classmethod
    def of(cls, cell: pd.DataFrame) -> "_PerPerson":
        participant = codes(cell["participant"])
        altered_left = (cell["clean_side"] == "right").to_numpy(float)
        said_left = (cell["response_side"] == "left").to_numpy(float)
        weights = (said_left * altered_left, altered_left, said_left * (1 - altered_left), 1 - altered_left)
        return cls(*(np.bincount(participant, w).astype(float) for w in (*weights, cell["correct"].to_numpy(float))))

    def from_rates(self, model: Model) -> tuple[Floats, Floats, str | None]:
        """(d', criteria, why there is none) of the participants with trials on both sides."""
        both = (self.n_left > 0) & (self.n_right > 0)
        if not both.any():
            return np.empty(0), np.empty(0), "no participant has trials on both sides"
        z_hit = ndtri((self.left_left[both] + 0.5) / (self.n_left[both] + 1))
        z_false = ndtri((self.left_right[both] + 0.5) / (self.n_right[both] + 1))
        return (z_hit - z_false) / (1 if model == "yes/no" else math.sqrt(2)), -(z_hit + z_false) / 2, None

    def differencing(self) -> tuple[Floats, Floats, str | None]:
        """As `from_rates`, from each participant's proportion correct; there is no d' below .5, and no criterion."""
        share = (self.correct + 0.5) / (self.n_left + self.n_right + 1)
        below = int((share < 0.5).sum())
        if below:
            reason = f"{below} of {len(share)} participants are below PC .5, where the differencing model has no d′"
            return np.empty(0), np.empty(0), reason
        return 2 * ndtri((1 + np.sqrt(2 * share - 1)) / 2), np.empty(0), None


def _counts(cell: pd.DataFrame) -> tuple[int, int, int, int]:
    """(left given altered left, altered left, left given altered right, altered right), see `z_rates`."""
    altered_left = cell["clean_side"] == "right"
    said_left = cell["response_side"] == "left"
    return (
        int((said_left & altered_left).sum()),
        int(altered_left.sum()),
        int((said_left & ~altered_left).sum()),
        int((~altered_left).sum()),
    )


def _yes_no_se(left_left: int, n_left: int, left_right: int, n_right: int) -> float | None:
    rates = z_rates(left_left, n_left, left_right, n_right)
    if rates is None:
        return None
    variances = [
        float(ndtr(z) * ndtr(-z)) / (n * _density(z) ** 2) for z, n in zip(rates, (n_left, n_right), strict=True)
    ]
    return math.sqrt(sum(variances))


def _density(z: float) -> float:
    return math.exp(-z * z / 2) / math.sqrt(2 * math.pi)

"""The psychometric function: how proportion correct grows with strength, and the strength people need.

psi(s) = .5 + (.5 - lapse) F(s), for s > 0, one curve per attack over all participants ("pooled"). Two thresholds are
told apart: where F is one half, and where psi is .75.
"""

import math
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import optimize, stats
from scipy.special import ndtr, ndtri, xlog1py, xlogy

from study.analysis.equivalence import two_way_variance
from study.analysis.frames import codes

Floats = npt.NDArray[np.float64]
Sigmoid = Literal["Weibull", "cumulative Gaussian"]
Level = Literal["half of F", "PC .75"]
SIGMOIDS: Final[tuple[Sigmoid, ...]] = ("Weibull", "cumulative Gaussian")
LEVELS: Final[tuple[Level, ...]] = ("half of F", "PC .75")

GUESS: Final = 0.5
#: In place of a participant's name: one curve over the answers of all.
POOLED: Final = "pooled"
DEFAULT_LAPSE: Final = 0.02
_MAX_LAPSE = 0.2
_SLOPES = (math.log(0.2), math.log(20.0))
#: How far beyond the tested strengths a threshold is looked for, as a factor.
_REACH = 64.0
_TIGHT = {"ftol": 1e-12, "gtol": 1e-7}


@dataclass(frozen=True)
class Curve:
    """A fitted psychometric function: F = .5 at strength `midpoint`; `slope` is the exponent, or 1/SD in log s."""

    sigmoid: Sigmoid
    midpoint: float
    slope: float
    lapse: float

    def proportion_correct(self, strength: npt.ArrayLike) -> Floats:
        """psi at each strength > 0."""
        z = self.slope * np.log(np.asarray(strength, dtype=float) / self.midpoint)
        return GUESS + (GUESS - self.lapse) * _sigmoid(self.sigmoid, z)[0]


@dataclass(frozen=True)
class Threshold:
    """A strength with its interval. A bound that the data leave open is None, and `note` says so."""

    level: Level
    level_of_pc: float | None
    strength: float | None
    low: float | None
    high: float | None
    cluster_inflation: float | None
    note: str | None


@dataclass(frozen=True)
class Fit:
    """The maximum-likelihood curve of one attack. `curve` is None where none can be had, and `note` says why."""

    curve: Curve | None
    thresholds: tuple[Threshold, ...]
    lapse_source: str
    note: str | None


def fit(trials: pd.DataFrame, catch: pd.DataFrame, sigmoid: Sigmoid = "Weibull", level: float = 0.95) -> Fit:
    """Fit one attack's curve by maximum likelihood, the catch trials telling the lapse rate in the same likelihood.

    Args:
        trials: main trials of one attack; those at strength 0 are left out.
        catch: catch trials, whose alteration everybody sees, so that their PC is 1 - lapse. Without any, lapse = .02.
        level: of the intervals.

    Intervals are profile likelihood on log strength, slope and lapse profiled. The likelihood ratio they allow is
    multiplied by the ratio of the estimate's two-way cluster variance to its model variance where that exceeds 1
    (the first-order adjustment of Pace, Salvan & Sartori 2011), so that people and images that differ widen them; it
    is the square of t on min(participants, stimuli) - 1 degrees of freedom.
    """
    data = _Data.of(trials[trials["strength"] > 0], catch)
    source = f"{data.catch_n} catch trials" if data.catch_n else f"fixed at {DEFAULT_LAPSE:g}: no catch trials"
    if len(data.levels) < 2:
        return Fit(None, (), source, "fewer than two strengths above 0: no curve can be fitted")
    if data.correct.sum() <= GUESS * data.n.sum():
        return Fit(None, (), source, "proportion correct is not above chance: there is no threshold to estimate")
    try:
        curve, thresholds = _search(data, sigmoid, level)
    except (ArithmeticError, ValueError, RuntimeError) as error:  # one curve must not take the whole report with it
        return Fit(None, (), source, f"the search for the curve failed ({error}): no threshold is given")
    return Fit(curve, thresholds, source, _note(data))


def _search(data: "_Data", sigmoid: Sigmoid, level: float) -> tuple[Curve, tuple[Threshold, ...]]:
    likelihood = _Likelihood(data, sigmoid, "half of F")
    best = np.asarray(likelihood.maximum().x)
    curve = Curve(sigmoid, math.exp(best[0]), math.exp(best[1]), likelihood.lapse(best))
    return curve, tuple(_threshold(data, sigmoid, name, best, level) for name in LEVELS)


def _note(data: "_Data") -> str | None:
    notes = []
    if len(data.levels) < 4:
        notes.append(f"{len(data.levels)} strengths only: the shape of the curve is not tested")
    if (data.correct / data.n).max() < 0.75:
        notes.append("no tested strength reaches PC .75: the threshold is extrapolated")
    return "; ".join(notes) or None


@dataclass(frozen=True)
class _Data:
    """Counts for the likelihood, and the single trials' clusters for the sandwich."""

    levels: Floats  # (L,) log strengths
    n: Floats
    correct: Floats
    catch_n: int
    catch_correct: int
    level: npt.NDArray[np.intp]  # (N,) index into levels; -1 = catch trial
    y: Floats
    participant: npt.NDArray[np.intp]
    stimulus: npt.NDArray[np.intp]

    @classmethod
    def of(cls, trials: pd.DataFrame, catch: pd.DataFrame) -> "_Data":
        strengths, level = np.unique(trials["strength"].to_numpy(float), return_inverse=True)
        both = pd.concat([trials, catch])
        y = both["correct"].to_numpy(float)
        main = slice(0, len(trials))
        return cls(
            levels=np.log(strengths),
            n=np.bincount(level, minlength=len(strengths)).astype(float),
            correct=np.bincount(level, y[main], minlength=len(strengths)).astype(float),
            catch_n=len(catch),
            catch_correct=int(catch["correct"].sum()),
            level=np.concatenate([level, np.full(len(catch), -1)]),
            y=y,
            participant=codes(both["participant"]),
            stimulus=codes(both["stimulus"]),
        )

    @property
    def degrees_of_freedom(self) -> int:
        """min(participants, stimuli) - 1. Catch images tell nothing about the threshold and do not count."""
        main = self.level >= 0
        return min(len(np.unique(units[main])) for units in (self.participant, self.stimulus)) - 1


def _sigmoid(sigmoid: Sigmoid, z: Floats) -> tuple[Floats, Floats]:
    """F and its derivative on the standard scale, where F(0) = .5."""
    if sigmoid == "Weibull":
        hazard = math.log(2) * np.exp(np.minimum(z, 50.0))
        return -np.expm1(-hazard), hazard * np.exp(-hazard)
    return ndtr(z), np.exp(-0.5 * z * z) / math.sqrt(2 * math.pi)


def _offset(sigmoid: Sigmoid, level: Level, lapse: float) -> tuple[float, float]:
    """How far beyond the midpoint `level` lies on the standard scale, and its derivative by lapse."""
    if level == "half of F":
        return 0.0, 0.0
    f = 0.25 / (GUESS - lapse)
    if sigmoid == "Weibull":
        offset, by_f = math.log(-math.log2(1 - f)), -1 / ((1 - f) * math.log1p(-f))
    else:
        offset = float(ndtri(f))
        by_f = math.sqrt(2 * math.pi) * math.exp(0.5 * offset * offset)
    return offset, by_f * f / (GUESS - lapse)


class _Likelihood:
    """The likelihood over theta = (log threshold at `level`, log slope[, lapse]).

    z = slope (log s - log threshold) + offset(lapse), so the same function serves both thresholds. The lapse rate is a
    parameter where catch trials tell it.
    """

    def __init__(self, data: _Data, sigmoid: Sigmoid, level: Level) -> None:
        self.data = data
        self.sigmoid = sigmoid
        self.level = level
        reach = math.log(_REACH)
        self.bounds = [(float(data.levels[0]) - reach, float(data.levels[-1]) + reach), _SLOPES]
        if data.catch_n:
            self.bounds.append((0.0, _MAX_LAPSE))

    def lapse(self, theta: Floats) -> float:
        return float(theta[2]) if self.data.catch_n else DEFAULT_LAPSE

    def psi(self, theta: Floats) -> tuple[Floats, Floats]:
        """PC at each strength and (parameters, strengths) derivatives."""
        lapse, slope = self.lapse(theta), math.exp(theta[1])
        offset, offset_by_lapse = _offset(self.sigmoid, self.level, lapse)
        distance = slope * (self.data.levels - theta[0])
        f, density = _sigmoid(self.sigmoid, distance + offset)
        height = GUESS - lapse
        by_z = height * density
        jacobian = [-slope * by_z, distance * by_z]
        if self.data.catch_n:
            jacobian.append(offset_by_lapse * by_z - f)
        return GUESS + height * f, np.array(jacobian)

    def __call__(self, theta: Floats) -> tuple[float, Floats]:
        """Minus log likelihood and its gradient."""
        d = self.data
        psi, jacobian = self.psi(theta)
        psi = np.clip(psi, 1e-12, 1 - 1e-12)
        wrong = d.n - d.correct
        value = float(d.correct @ np.log(psi) + wrong @ np.log1p(-psi))
        gradient = jacobian @ (d.correct / psi - wrong / (1 - psi))
        if d.catch_n:
            lapse = max(float(theta[2]), 1e-9)
            value += float(xlog1py(d.catch_correct, -lapse) + xlogy(d.catch_n - d.catch_correct, lapse))
            gradient[2] += (d.catch_n - d.catch_correct) / lapse - d.catch_correct / (1 - lapse)
        return -value, -gradient

    def maximum(self) -> optimize.OptimizeResult:
        d = self.data
        lapse = [min((d.catch_n - d.catch_correct + 0.5) / (d.catch_n + 1), 0.1)] if d.catch_n else []
        starts = [[x, slope, *lapse] for x in (d.levels.mean(), d.levels[-1]) for slope in (0.0, 1.0)]
        found = [
            optimize.minimize(self, start, jac=True, method="L-BFGS-B", bounds=self.bounds, options=_TIGHT)
            for start in starts
        ]
        return min(found, key=lambda result: float(result.fun))

    def profile(self, log_threshold: float, start: Floats) -> tuple[float, Floats]:
        """Smallest minus log likelihood with the threshold held, and where it is in the other parameters."""

        def held(rest: Floats) -> tuple[float, Floats]:
            value, gradient = self(np.concatenate([[log_threshold], rest]))
            return value, gradient[1:]

        found = optimize.minimize(held, start, jac=True, method="L-BFGS-B", bounds=self.bounds[1:], options=_TIGHT)
        return float(found.fun), np.asarray(found.x)

    def spread(self, theta: Floats) -> tuple[float, float] | None:
        """(model SD of the log threshold, two-way cluster variance over model variance); None where there is none."""
        d = self.data
        psi, jacobian = self.psi(theta)
        if d.catch_n:  # one more level, the catch trials', which index -1 picks
            psi = np.append(psi, 1 - theta[2])
            jacobian = np.column_stack([jacobian, [0.0, 0.0, -1.0]])
            if theta[2] < 1e-4:
                jacobian = jacobian[:2]  # at the edge of what is possible a lapse rate does not vary
        psi = np.clip(psi, 1e-9, 1 - 1e-9)
        n = np.append(d.n, d.catch_n) if d.catch_n else d.n
        information = (jacobian * n / (psi * (1 - psi))) @ jacobian.T
        if np.linalg.cond(information) > 1e12 or d.degrees_of_freedom < 1:
            return None
        covariance = np.linalg.inv(information)
        influence = (covariance[0] @ jacobian / (psi * (1 - psi)))[d.level] * (d.y - psi[d.level])
        variance, _ = two_way_variance(influence, d.participant, d.stimulus)
        return math.sqrt(covariance[0, 0]), variance / float(covariance[0, 0])


def _threshold(data: _Data, sigmoid: Sigmoid, name: Level, best: Floats, level: float) -> Threshold:
    likelihood = _Likelihood(data, sigmoid, name)
    lapse = likelihood.lapse(best)
    level_of_pc = 0.75 if name == "PC .75" else 0.75 - lapse / 2
    theta = best.copy()
    theta[0] += _offset(sigmoid, name, lapse)[0] / math.exp(best[1])
    (first, last), (bottom, top) = (data.levels[0], data.levels[-1]), likelihood.bounds[0]
    if not bottom + 1e-6 < theta[0] < top - 1e-6:
        note = "censored: the threshold lies far outside the strengths tested"
        return Threshold(name, level_of_pc, None, None, None, None, note)
    spread = likelihood.spread(theta)
    sd, inflation = spread or (0.3, 1.0)
    allowed = float(stats.t.ppf((1 + level) / 2, max(1, data.degrees_of_freedom))) ** 2 / 2 * max(1.0, inflation)
    step = max(0.02, sd * math.sqrt(2 * allowed))
    low, high = (_end(likelihood, theta, limit, step, allowed) for limit in (bottom, top))
    notes = []
    if not first <= theta[0] <= last:
        notes.append("outside the tested strengths: an extrapolation")
    if low is None or high is None:
        notes.append(f"censored: the data leave the {'lower' if low is None else 'upper'} end open")
    if spread is None:
        notes.append("the interval takes trials as independent: clusters could not be allowed for")
    at = math.exp(theta[0])
    return Threshold(name, level_of_pc, at, low, high, spread[1] if spread else None, "; ".join(notes) or None)


def _end(likelihood: _Likelihood, best: Floats, limit: float, step: float, allowed: float) -> float | None:
    """The strength between the estimate and `limit` where the profile has fallen by `allowed`; None: nowhere."""
    lowest = likelihood(best)[0]
    # Always the same starts: one that follows the search gets stuck where the slope is at its bound.
    starts = [best[1:], *(np.array([slope, *best[2:]]) for slope in (-0.5, 0.0, 1.0, 2.0))]

    def excess(log_threshold: float) -> float:
        return min(likelihood.profile(log_threshold, start)[0] for start in starts) - lowest - allowed

    inside, outside = float(best[0]), float(best[0])
    while outside != limit:
        outside = inside + math.copysign(min(step, abs(limit - inside)), limit - inside)
        if excess(outside) > 0:
            return math.exp(optimize.brentq(excess, inside, outside, xtol=1e-4))
        inside = outside
    return None


def threshold_rows(attack: str, sigmoid: Sigmoid, fitted: Fit) -> list[dict[str, Any]]:
    """The report's rows of one attack's fitted curve; all null but for the note where there is no curve."""
    missing = tuple(Threshold(name, None, None, None, None, None, None) for name in LEVELS)
    return [
        {
            "attack": attack,
            "threshold": threshold.strength,
            "low": threshold.low,
            "high": threshold.high,
            "level": threshold.level,
            "level_of_pc": threshold.level_of_pc,
            "population": POOLED,
            "method": f"{sigmoid} on log strength, maximum likelihood, profile interval widened for clusters",
            "unit": "strength",
            "slope": fitted.curve.slope if fitted.curve else None,
            "lapse": fitted.curve.lapse if fitted.curve else None,
            "lapse_source": fitted.lapse_source,
            "cluster_inflation": threshold.cluster_inflation,
            "note": "; ".join(filter(None, [threshold.note, fitted.note])) or None,
        }
        for threshold in fitted.thresholds or missing
    ]

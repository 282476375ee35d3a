"""The psychometric function: how proportion correct grows with strength, and the strength people need.

psi(s) = .5 + (.5 - lapse) F(s), for s > 0, one curve per attack over all participants ("pooled"), one lapse rate over
all attacks. Two thresholds are told apart: where F is one half, and where psi is .75.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import stats
from scipy.special import xlogy

from study.analysis.equivalence import Clusters
from study.analysis.frames import codes
from study.analysis.likelihood import (
    DEFAULT_LAPSE,
    GUESS,
    Counts,
    Design,
    Floats,
    Level,
    Likelihood,
    Sigmoid,
    offset_of,
    sigmoid_of,
)
from study.analysis.protocols import CRITERION, is_adaptive, protocol_of

SIGMOIDS: Final[tuple[Sigmoid, ...]] = ("Weibull", "cumulative Gaussian")
LEVELS: Final[tuple[Level, ...]] = ("half of F", "PC .75")
#: In place of a participant's name: one curve over the answers of all, and the one of a person in the middle of them.
POOLED: Final = "pooled"
MEDIAN_PERSON: Final = "median person"
SIMULATIONS: Final = 1000
ADAPTIVE: Final = (
    "strengths were chosen from each person's answers: where people differ, one curve over all is no one's, and no"
    " interval is given"
)
#: Variance of a threshold over the binomial one, from which on answers are said to hang together.
_INFLATED: Final = 1.5


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
        return GUESS + (GUESS - self.lapse) * sigmoid_of(self.sigmoid, z)[0]


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
    """The maximum-likelihood curve of one attack. `curve` is None where none can be had, and `note` says why.

    The lapse rate is `curve.lapse`, the same for all attacks fitted together; `lapse_low` and `lapse_high` are its
    profile interval, None where it is assumed or where the data leave that end open.
    """

    curve: Curve | None
    thresholds: tuple[Threshold, ...]
    lapse_source: str
    note: str | None
    lapse_low: float | None = None
    lapse_high: float | None = None


Fits = dict[tuple[str, Sigmoid], Fit]


def fit_all(trials: pd.DataFrame, catch: pd.DataFrame, level: float = 0.95) -> Fits:
    """Every attack's curve by maximum likelihood, with each sigmoid: {(attack, sigmoid): Fit}, by attack.

    Args:
        trials: main trials; those at strength 0 are left out.
        catch: catch trials, whose alteration everybody sees, so that their PC is 1 - lapse. Without any, lapse = .02.
        level: of the intervals.

    One likelihood holds all attacks and the catch trials: people lapse as often whatever the attack. Intervals are
    profile likelihood on log strength, all other parameters profiled. The likelihood ratio they allow is multiplied by
    the ratio of the estimate's two-way cluster variance to its model variance where that exceeds 1 (the first-order
    adjustment of Pace, Salvan & Sartori 2011), so that people and images that differ widen them; it is the square of t
    on min(participants, stimuli) - 1 degrees of freedom.

    An adaptive study shows each person what is hard for that very person, which bends and shifts a curve over all of
    them: it has no intervals, and `note` says so. That of yes/no moves with people's criterion, likewise noted.
    """
    return _fits(trials, catch, SIGMOIDS, level)


def fit(trials: pd.DataFrame, catch: pd.DataFrame, sigmoid: Sigmoid = "Weibull", level: float = 0.95) -> Fit:
    """The curve of one attack fitted on its own; see `fit_all`."""
    return _fits(trials, catch, (sigmoid,), level)[str(trials["attack"].iloc[0]), sigmoid]


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
            "lapse_low": fitted.lapse_low,
            "lapse_high": fitted.lapse_high,
            "lapse_source": fitted.lapse_source,
            "cluster_inflation": threshold.cluster_inflation,
            "note": "; ".join(filter(None, [threshold.note, fitted.note])) or None,
        }
        for threshold in fitted.thresholds or missing
    ]


def goodness(
    trials: pd.DataFrame, catch: pd.DataFrame, fits: Mapping[tuple[str, Sigmoid], Fit], simulations: int = SIMULATIONS
) -> list[dict[str, Any]]:
    """How well each curve describes its counts: the report's `goodness_of_fit`, one row per entry of `fits`.

    Deviance against the saturated model; p is the share of studies simulated from the curves, refitted with the lapse
    rate shared as in `fits` (which must come from `fit_all` on the same trials), whose deviance is as large (parametric
    bootstrap; Wichmann & Hill 2001). Residuals are signed square roots of each strength's deviance,
    `residuals_against_strength` their correlation with log strength. Simulated studies are binomial: where people or
    images differ, p is about the pooled binomial model, and `note` says so.
    """
    data, _ = _usable(trials, catch)
    bootstrapped = {
        sigmoid: _bootstrap(data, [_curve_of(fits[attack, sigmoid]) for attack in data.attacks], simulations)
        for sigmoid in SIGMOIDS
        if data and (data.attacks[0], sigmoid) in fits
    }
    rows = []
    for (attack, sigmoid), fitted in fits.items():
        row: dict[str, Any] = {"attack": attack, "sigmoid": sigmoid}
        if fitted.curve is None or data is None:
            empty = dict.fromkeys(("deviance", "df", "p", "simulations", "residuals_against_strength"))
            rows.append(row | empty | {"residuals": [], "note": fitted.note})
            continue
        index = data.attacks.index(attack)
        deviances = bootstrapped[sigmoid][:, index]
        rows.append(row | _goodness(data, index, fitted, fitted.curve, deviances))
    return rows


@dataclass(frozen=True)
class _Data:
    """Counts for the likelihood, and the single trials' clusters for the sandwich.

    `place` (N,) is each trial's index into the flattened (A, L) conditions; A L stands for catch trials.
    """

    attacks: tuple[str, ...]
    design: Design
    counts: Counts
    place: npt.NDArray[np.intp]
    y: Floats
    clusters: Clusters

    @classmethod
    def of(cls, trials: pd.DataFrame, catch: pd.DataFrame) -> "_Data":
        names, attack = np.unique(trials["attack"].to_numpy(object), return_inverse=True)
        strength = trials["strength"].to_numpy(float)
        levels = [np.unique(strength[attack == index]) for index in range(len(names))]
        width = max(len(level) for level in levels)
        log_strength = np.log([np.pad(level, (0, width - len(level)), "edge") for level in levels])
        place = np.empty(len(trials), dtype=np.intp)
        for index, level in enumerate(levels):
            rows = attack == index
            place[rows] = index * width + np.searchsorted(level, strength[rows])
        both = pd.concat([trials, catch])
        y = both["correct"].to_numpy(float)
        shape, size = (len(names), width), len(names) * width
        n = np.bincount(place, minlength=size).reshape(shape).astype(float)
        correct = np.bincount(place, y[: len(place)], minlength=size).reshape(1, *shape).astype(float)
        return cls(
            attacks=tuple(str(name) for name in names),
            design=Design(log_strength, n, len(catch)),
            counts=Counts(correct, np.array([float(catch["correct"].sum())])),
            place=np.concatenate([place, np.full(len(catch), size)]),
            y=y,
            clusters=Clusters.of(codes(both["participant"]), codes(both["stimulus"])),
        )

    def rows_of(self, attack: int) -> npt.NDArray[np.bool_]:
        """(N,) the main trials of one attack."""
        width = self.design.n.shape[1]
        return np.asarray(self.place // width == attack)

    def degrees_of_freedom(self, attack: int) -> int:
        """min(participants, stimuli) - 1. Catch images tell nothing about the threshold and do not count."""
        rows = self.rows_of(attack)
        return min(len(np.unique(unit[rows])) for unit in (self.clusters.participant, self.clusters.stimulus)) - 1


def _usable(trials: pd.DataFrame, catch: pd.DataFrame) -> tuple[_Data | None, dict[str, str]]:
    """The data of those attacks that can have a curve, and why the others cannot: {attack: reason}."""
    shown = trials[trials["strength"] > 0]
    unfit = {}
    for name in sorted(trials["attack"].unique()):
        rows = shown[shown["attack"] == name]
        if rows["strength"].nunique() < 2:
            unfit[str(name)] = "fewer than two strengths above 0: no curve can be fitted"
        elif rows["correct"].mean() <= GUESS:
            unfit[str(name)] = "proportion correct is not above chance: there is no threshold to estimate"
    fit = shown[~shown["attack"].isin(list(unfit))] if unfit else shown
    return (_Data.of(fit, catch) if len(fit) else None), unfit


def _fits(trials: pd.DataFrame, catch: pd.DataFrame, sigmoids: Sequence[Sigmoid], level: float) -> Fits:
    data, unfit = _usable(trials, catch)
    none = {attack: Fit(None, (), _lapse_source(len(catch)), why) for attack, why in unfit.items()}
    of_intervals = None if is_adaptive(trials) else level
    found = {sigmoid: (_fit(data, sigmoid, of_intervals) if data else {}) | none for sigmoid in sigmoids}
    attacks = sorted({attack for of_sigmoid in found.values() for attack in of_sigmoid})
    return {(attack, sigmoid): _qualified(found[sigmoid][attack], trials) for attack in attacks for sigmoid in sigmoids}


def _qualified(fitted: Fit, trials: pd.DataFrame) -> Fit:
    """With what the way of asking takes from a curve over all answers."""
    if fitted.curve is None:
        return fitted
    remarks = [ADAPTIVE] * is_adaptive(trials) + [CRITERION] * (protocol_of(trials).model == "yes/no")
    return replace(fitted, note="; ".join(filter(None, [fitted.note, *remarks])) or None)


def _lapse_source(catch_n: int) -> str:
    return f"{catch_n} catch trials" if catch_n else f"fixed at {DEFAULT_LAPSE:g}: no catch trials"


def _fit(data: _Data, sigmoid: Sigmoid, level: float | None) -> dict[str, Fit]:
    """By attack; without intervals where `level` is None."""
    best = _Best.of(data, sigmoid, "half of F")
    lapse_low, lapse_high = _lapse_interval(best, level)
    at = {name: best if name == "half of F" else best.at(name) for name in LEVELS}
    thresholds = {name: _thresholds(of_level, level) for name, of_level in at.items()}
    return {
        attack: Fit(
            best.curve(index),
            tuple(thresholds[name][index] for name in LEVELS),
            _lapse_source(data.design.catch_n),
            _note(best, index),
            lapse_low,
            lapse_high,
        )
        for index, attack in enumerate(data.attacks)
    }


def _note(best: "_Best", attack: int) -> str | None:
    data, (low, high) = best.data, best.likelihood.bounds
    n, correct = (counts[attack][data.design.n[attack] > 0] for counts in (data.design.n, data.counts.correct[0]))
    slope = data.design.attacks + attack
    notes = []
    if len(n) < 4:
        notes.append(f"{len(n)} strengths only: the shape of the curve is not tested")
    if (correct / n).max() < 0.75:
        notes.append("no tested strength reaches PC .75: the threshold is extrapolated")
    if not low[slope] < best.theta[slope] < high[slope]:
        notes.append("the slope lies at the edge of what is looked for: these strengths do not tell it")
    if data.design.catch_n and best.theta[-1] >= high[-1]:
        notes.append(f"so many catch trials were missed that the lapse rate lies at its limit of {high[-1]:g}")
    return "; ".join(notes) or None


@dataclass(frozen=True)
class _Best:
    """The likelihood with its thresholds at one level, and where it is highest."""

    data: _Data
    likelihood: Likelihood
    theta: Floats
    value: float

    @classmethod
    def of(cls, data: _Data, sigmoid: Sigmoid, level: Level) -> "_Best":
        likelihood = Likelihood(data.design, sigmoid, level)
        theta, value = likelihood.highest(data.counts)
        return cls(data, likelihood, theta[0], float(value[0]))

    def at(self, level: Level) -> "_Best":
        """The same curves by their thresholds at another level."""
        a = self.data.design.attacks
        theta = self.theta.copy()
        theta[:a] += offset_of(self.likelihood.sigmoid, level, theta[-1:])[0] / np.exp(theta[a:-1])
        return _Best(self.data, Likelihood(self.data.design, self.likelihood.sigmoid, level), theta, self.value)

    def curve(self, attack: int) -> Curve:
        slope = self.theta[self.data.design.attacks + attack]
        return Curve(self.likelihood.sigmoid, math.exp(self.theta[attack]), math.exp(slope), float(self.theta[-1]))

    def profile(self, parameter: int, values: Floats) -> Floats:
        """(V,) highest log likelihoods with one parameter held at each of (V,) `values`.

        Always from the same starts: a search that follows its neighbours gets stuck where a slope is at its bound.
        """
        slopes = slice(self.data.design.attacks, -1)
        starts = np.tile(self.theta, (5, 1))
        for start, slope in zip(starts[1:], (-0.5, 0.0, 1.0, 2.0), strict=True):
            start[slopes] = slope
        start = np.repeat(starts, len(values), axis=0)
        start[:, parameter] = np.tile(values, len(starts))
        held = np.zeros_like(start, dtype=bool)
        held[:, parameter] = True
        _, found = self.likelihood.climb(start, self.data.counts, held, tolerance=1e-10)
        highest: Floats = found.reshape(len(starts), -1).max(0)
        return highest

    def spread(self, parameter: int) -> tuple[float, float] | None:
        """(model SD of a parameter, two-way cluster variance over model variance); None where there is none.

        At its bounds a parameter does not vary.
        """
        low, high = self.likelihood.bounds
        free = (self.theta > low + 1e-9) & (self.theta < high - 1e-9)
        free[: self.data.design.attacks] = True
        if not free[parameter]:
            return None
        information = self.likelihood.expected_information(self.theta)[np.ix_(free, free)]
        if not np.isfinite(information).all() or np.linalg.cond(information) > 1e12:
            return None
        covariance = np.linalg.inv(information)
        index = int(free[:parameter].sum())
        variance = self.data.clusters.variance(self._influence(covariance[index], free))[0]
        own = float(covariance[index, index])
        return math.sqrt(own), variance / own

    def _influence(self, weights: Floats, free: npt.NDArray[np.bool_]) -> Floats:
        """(N,) each trial's push on the parameter whose row of the covariance is `weights`."""
        a = self.data.design.attacks
        full = np.zeros(len(free))
        full[free] = weights
        psi, jacobian = (found[..., 0, :, :] for found in self.likelihood.psi(self.theta[None]))
        towards = full[:a, None] * jacobian[0] + full[a:-1, None] * jacobian[1] + full[-1] * jacobian[2]
        lapse = float(self.theta[-1])
        psi = np.clip(np.append(psi, 1 - lapse), 1e-9, 1 - 1e-9)
        per_answer = np.append(towards, -full[-1]) / (psi * (1 - psi))
        influence: Floats = per_answer[self.data.place] * (self.data.y - psi[self.data.place])
        return influence


def _allowed(level: float, df: int, inflation: float) -> float:
    """By how much the log likelihood may fall within an interval."""
    return float(stats.t.ppf((1 + level) / 2, max(1, df))) ** 2 / 2 * max(1.0, inflation)


def _lapse_interval(best: _Best, level: float | None) -> tuple[float | None, float | None]:
    """Of the lapse rate; an end is None where the data leave it open, both where it is assumed."""
    if level is None or not best.data.design.catch_n:
        return None, None
    spread = best.spread(best.theta.size - 1)
    people = int(best.data.clusters.participant.max())
    allowed = _allowed(level, people, spread[1] if spread else 1.0)
    low, high = best.likelihood.bounds[0][-1], best.likelihood.bounds[1][-1]
    ends = [_end(best, -1, limit, spread[0] if spread else 0.02, allowed) for limit in (low, high)]
    return 0.0 if ends[0] is None else ends[0], ends[1]


def _thresholds(best: _Best, level: float | None) -> list[Threshold]:
    return [_threshold(best, attack, level) for attack in range(best.data.design.attacks)]


def _threshold(best: _Best, attack: int, level: float | None) -> Threshold:
    name, data = best.likelihood.level, best.data
    level_of_pc = 0.75 if name == "PC .75" else 0.75 - float(best.theta[-1]) / 2
    at = float(best.theta[attack])
    bottom, top = (float(bound[attack]) for bound in best.likelihood.bounds)
    if not bottom + 1e-6 < at < top - 1e-6:
        note = "censored: the threshold lies far outside the strengths tested"
        return Threshold(name, level_of_pc, None, None, None, None, note)
    tested = data.design.log_strength[attack]
    notes = [] if tested[0] <= at <= tested[-1] else ["outside the tested strengths: an extrapolation"]
    if level is None:
        return Threshold(name, level_of_pc, math.exp(at), None, None, None, "; ".join(notes) or None)
    spread = best.spread(attack) if data.degrees_of_freedom(attack) >= 1 else None
    sd, inflation = spread or (0.3, 1.0)
    allowed = _allowed(level, data.degrees_of_freedom(attack), inflation)
    low, high = (_end(best, attack, limit, sd, allowed) for limit in (bottom, top))
    if open_ends := [name for name, end in (("lower", low), ("upper", high)) if end is None]:
        notes.append(f"censored: the data leave the {' and the '.join(open_ends)} end open")
    if spread is None:
        notes.append("the interval takes trials as independent: clusters could not be allowed for")
    low, high = (None if end is None else math.exp(end) for end in (low, high))
    return Threshold(
        name, level_of_pc, math.exp(at), low, high, spread[1] if spread else None, "; ".join(notes) or None
    )


def _end(best: _Best, parameter: int, limit: float, sd: float, allowed: float) -> float | None:
    """The value between the estimate and `limit` where the profile has fallen by `allowed`; None: nowhere."""
    at = float(best.theta[parameter])
    reach = abs(limit - at)
    step = max(sd * math.sqrt(2 * allowed), reach * 1e-3)
    if reach < 1e-9:
        return None
    near = step * np.array([0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 2.0, 2.5, 3.0])
    far = np.geomspace(3 * step, max(reach, 3 * step), 8)[1:]
    distances = np.unique(np.minimum(np.concatenate([[0.0], near, far]), reach))
    direction, width = math.copysign(1.0, limit - at), math.inf
    while width > 0.025 * step:
        # The root of a fall is close to a straight line, whose crossing is found by interpolation.
        fall = np.maximum(best.value - best.profile(parameter, at + direction * distances), 0.0)
        excess = np.sqrt(fall) - math.sqrt(allowed)
        beyond = np.flatnonzero(excess > 0)
        if not len(beyond):
            return None
        outside = max(int(beyond[0]), 1)
        inside, width = distances[outside - 1], distances[outside] - distances[outside - 1]
        share = -excess[outside - 1] / (excess[outside] - excess[outside - 1])
        distances = inside + width * np.linspace(0, 1, 12)
    return at + direction * float(inside + width * min(max(float(share), 0.0), 1.0))


def _curve_of(fitted: Fit) -> Curve:
    if fitted.curve is None:
        raise ValueError("fits must come from fit_all on the same trials")
    return fitted.curve


def _bootstrap(data: _Data, curves: Sequence[Curve], simulations: int) -> Floats:
    """(simulations, A) deviances of studies drawn from the curves, each refitted."""
    lapse = curves[0].lapse
    truth = np.array([[math.log(c.midpoint) for c in curves] + [math.log(c.slope) for c in curves] + [lapse]])
    likelihood = Likelihood(data.design, curves[0].sigmoid)
    rng = np.random.default_rng([0, data.design.attacks, SIGMOIDS.index(curves[0].sigmoid)])
    psi = np.clip(likelihood.psi(truth)[0][0], 0, 1)
    n = data.design.n.astype(int)
    drawn = Counts(
        rng.binomial(n, psi, (simulations, *n.shape)).astype(float),
        rng.binomial(data.design.catch_n, 1 - lapse, simulations).astype(float),
    )
    start = likelihood.start(drawn)
    truths = np.tile(truth, (simulations, 1))
    truths[:, -1] = np.clip(lapse, 1e-4, None) if data.design.catch_n else lapse
    nearer = likelihood.value(truths, drawn) > likelihood.value(start, drawn)
    start = np.where(nearer[:, None], truths, start)
    theta, _ = likelihood.climb(start, drawn, np.zeros_like(start, dtype=bool), tolerance=1e-8)
    return _deviances(drawn.correct, data.design.n, likelihood.psi(theta)[0]).sum(-1)


def _deviances(correct: Floats, n: Floats, psi: Floats) -> Floats:
    """Each condition's contribution to the deviance of a binomial model, against the saturated one."""
    psi = np.clip(psi, 1e-12, 1 - 1e-12)
    observed = correct / np.maximum(n, 1)
    by_answer = xlogy(correct, observed / psi) + xlogy(n - correct, (1 - observed) / (1 - psi))
    return 2 * np.maximum(by_answer, 0.0)


def _goodness(data: _Data, index: int, fitted: Fit, curve: Curve, simulated: Floats) -> dict[str, Any]:
    shown = data.design.n[index] > 0
    log_strength, n = data.design.log_strength[index][shown], data.design.n[index][shown]
    correct = data.counts.correct[0, index][shown]
    expected = curve.proportion_correct(np.exp(log_strength))
    parts = _deviances(correct, n, expected)
    residuals = np.sign(correct / n - expected) * np.sqrt(parts)
    deviance, df = float(parts.sum()), len(n) - 2
    as_large = int((simulated >= deviance - 1e-9).sum())
    p = (1 + as_large) / (1 + len(simulated)) if df > 0 else None
    rows = zip(np.exp(log_strength), n, correct / n, expected, residuals, strict=True)
    names = ("strength", "n", "observed", "expected", "deviance_residual")
    varies = len(n) > 2 and residuals.std() > 1e-9
    return {
        "deviance": deviance,
        "df": df,
        "p": p,
        "simulations": len(simulated),
        "residuals": [dict(zip(names, map(float, row), strict=True)) | {"n": int(row[1])} for row in rows],
        "residuals_against_strength": float(np.corrcoef(residuals, log_strength)[0, 1]) if varies else None,
        "note": _goodness_note(fitted, df, p),
    }


def _goodness_note(fitted: Fit, df: int, p: float | None) -> str | None:
    notes = []
    if df <= 0:
        notes.append("two strengths only: a curve of two parameters passes through both, so nothing is tested")
    elif p is not None and p < 0.05:
        notes.append("the curve does not describe these counts: read its thresholds with care")
    inflation = fitted.thresholds[0].cluster_inflation if fitted.thresholds else None
    if inflation is not None and inflation > _INFLATED:
        notes.append(
            f"people or images differ (the threshold varies {inflation:.1f} times as much as with independent trials):"
            " p is about the pooled binomial model, not about any person's curve"
        )
    return "; ".join(notes) or None

"""Many psychometric functions at once: the maximum-likelihood Weibull of every draw of a bootstrap, from counts.

psi(s) = .5 + (.5 - lapse) (1 - 2^-(s/midpoint)^slope): a curve per attack, one lapse rate for all of them, told by the
catch trials in the same likelihood. `likelihood` fits many sets of answers to the same trials; here the numbers of
trials differ as well, as those of a bootstrap do.
"""

import math
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from scipy.special import xlog1py, xlogy

from study.analysis.likelihood import DEFAULT_LAPSE, GUESS, MAX_LAPSE, SLOPES, sigmoid_of

Floats = npt.NDArray[np.float64]

#: Of the lapse rate: not 0, where its information is infinite.
_LAPSES: Final = (1e-6, MAX_LAPSE)
#: How far beyond the tested strengths a midpoint is looked for, in log strength.
_REACH: Final = math.log(64.0)
_ITERATIONS: Final = 200
_SMALL_GAIN: Final = 1e-9


@dataclass(frozen=True)
class Counts:
    """D data sets with the same C conditions.

    Attributes:
        level: (C,) log strength.
        attack: (C,) number of the attack, 0 to A - 1.
        n, correct: (D, C) trials and right answers, which may be weighted.
        catch_n, catch_correct: (D,).
    """

    level: Floats
    attack: npt.NDArray[np.intp]
    n: Floats
    correct: Floats
    catch_n: Floats
    catch_correct: Floats

    @property
    def attacks(self) -> int:
        return int(self.attack.max()) + 1

    def take(self, draws: npt.NDArray[np.intp]) -> "Counts":
        """Those data sets, in that order."""
        chosen = (array[draws] for array in (self.n, self.correct, self.catch_n, self.catch_correct))
        return Counts(self.level, self.attack, *chosen)


@dataclass(frozen=True)
class Curves:
    """The fitted curves of D data sets: log midpoints and slopes (D, A), lapse rate and log likelihood (D,)."""

    midpoint: Floats
    slope: Floats
    lapse: Floats
    log_likelihood: Floats
    converged: npt.NDArray[np.bool_]

    def log_threshold(self, attack: int, proportion_correct: float | None = None) -> Floats:
        """(D,) log strength where psi is `proportion_correct`, or where F is one half; infinity where it never is."""
        if proportion_correct is None:
            return self.midpoint[:, attack]
        height = GUESS - self.lapse
        f = np.minimum((proportion_correct - GUESS) / height, 1.0)
        with np.errstate(divide="ignore"):
            return self.midpoint[:, attack] + np.log(-np.log2(1 - f)) / self.slope[:, attack]


NO_CURVES: Final = Curves(np.empty((0, 0)), np.empty((0, 0)), np.empty(0), np.empty(0), np.empty(0, dtype=bool))


def fit(counts: Counts) -> Curves:
    """Maximise the likelihood of every data set by Fisher scoring with Levenberg's damping, all of them at once.

    The best of four starts each, because the likelihood of few answers has several hills. The midpoint stays within 64
    times the tested strengths, the slope within 0.2 and 20, the lapse rate within 0 and .2; without catch trials it is
    .02. Each attack needs two strengths for its slope to mean anything.
    """
    climbs = [_climb(counts, theta) for theta in _starts(counts)]
    best = np.argmax([climb.log_likelihood for climb in climbs], axis=0)
    return Curves(*(_best([getattr(climb, name) for climb in climbs], best) for name in Curves.__dataclass_fields__))


def _best(values: list[Any], best: npt.NDArray[np.intp]) -> Any:
    return np.stack(values)[best, np.arange(len(best))]


def _starts(counts: Counts) -> list[Floats]:
    levels = [counts.level[counts.attack == attack] for attack in range(counts.attacks)]
    lapse = (counts.catch_n - counts.catch_correct + 0.5) / (counts.catch_n + 1)
    known = np.where(counts.catch_n > 0, np.minimum(lapse, 0.1), DEFAULT_LAPSE)
    ones = np.ones((len(counts.n), len(levels)))
    return [
        np.column_stack([ones * [middle(level) for level in levels], ones * slope, known])
        for middle in (np.mean, np.max)
        for slope in (0.0, 1.0)
    ]


def _limits(counts: Counts) -> tuple[Floats, Floats]:
    """Lowest and highest parameters, (D, 2 A + 1) each; the lapse rate is held where no catch trial tells it."""
    ends = []
    for edge, place, sign in ((np.min, 0, -1), (np.max, 1, 1)):
        midpoints = [edge(counts.level[counts.attack == a]) + sign * _REACH for a in range(counts.attacks)]
        lapse = np.where(counts.catch_n > 0, _LAPSES[place], DEFAULT_LAPSE)
        shared = np.broadcast_to([*midpoints, *[SLOPES[place]] * counts.attacks], (len(lapse), 2 * counts.attacks))
        ends.append(np.column_stack([shared, lapse]))
    return ends[0], ends[1]


def _climb(counts: Counts, start: Floats) -> Curves:
    low, high = _limits(counts)
    theta = np.clip(start, low, high)
    value, gradient, information = _likelihood(counts, theta)
    damping = np.full(len(theta), 1e-3)
    converged = np.zeros(len(theta), dtype=bool)
    active = np.arange(len(theta))
    for _ in range(_ITERATIONS):
        here = theta[active]
        step = _step(here, gradient[active], information[active], damping[active], (low[active], high[active]))
        proposed = np.clip(here + step, low[active], high[active])
        new = _likelihood(counts.take(active), proposed)
        gain = new[0] - value[active]
        better = gain >= 0
        taken = active[better]
        theta[taken] = proposed[better]
        value[taken], gradient[taken], information[taken] = (array[better] for array in new)
        converged[active] = (np.abs(gain) < _SMALL_GAIN) & (damping[active] <= 1)
        damping[active] = np.where(better, np.maximum(damping[active] / 10, 1e-9), damping[active] * 10)
        active = active[~converged[active] & (damping[active] < 1e12)]
        if not len(active):
            break
    attacks = counts.attacks
    return Curves(theta[:, :attacks], np.exp(theta[:, attacks:-1]), theta[:, -1], value, converged)


def _step(
    theta: Floats, gradient: Floats, information: Floats, damping: Floats, limits: tuple[Floats, Floats]
) -> Floats:
    """Damped scoring step; a parameter whose limit it would cross at once stays where it is."""
    held = ((theta <= limits[0]) & (gradient < 0)) | ((theta >= limits[1]) & (gradient > 0)) | (limits[0] == limits[1])
    free = ~held
    matrix = information * (free[:, :, None] & free[:, None, :])
    diagonal = np.einsum("dii->di", matrix)
    diagonal += damping[:, None] * diagonal + 1e-10
    diagonal[held] = 1.0
    return np.linalg.solve(matrix, (gradient * free)[:, :, None])[:, :, 0]


def _likelihood(counts: Counts, theta: Floats) -> tuple[Floats, Floats, Floats]:
    """Log likelihood (D,), its gradient (D, p) and the expected information (D, p, p), p = 2 A + 1."""
    attacks = counts.attacks
    lapse = theta[:, -1]
    height = (GUESS - lapse)[:, None]
    slope = np.exp(theta[:, attacks:-1])[:, counts.attack]
    distance = slope * (counts.level - theta[:, :attacks][:, counts.attack])
    f, density = sigmoid_of("Weibull", distance)
    by_distance = height * density
    psi = np.clip(GUESS + height * f, 1e-12, 1 - 1e-12)
    wrong, catch_wrong = counts.n - counts.correct, counts.catch_n - counts.catch_correct
    value = (counts.correct * np.log(psi) + wrong * np.log1p(-psi)).sum(1)
    value += xlog1py(counts.catch_correct, -lapse) + xlogy(catch_wrong, lapse)
    score = (counts.correct - counts.n * psi) / (psi * (1 - psi))
    weight = counts.n / (psi * (1 - psi))
    jacobian = (-slope * by_distance, distance * by_distance, -f)  # by midpoint, log slope and lapse rate
    of_attack = np.eye(attacks)[counts.attack]
    sums = [(score * part) @ of_attack for part in jacobian[:2]]
    catch_score = catch_wrong / lapse - counts.catch_correct / (1 - lapse)
    gradient = np.column_stack([*sums, (score * jacobian[2]).sum(1) + catch_score])
    information = np.zeros((*theta.shape, theta.shape[1]))
    blocks = (np.arange(attacks), attacks + np.arange(attacks))
    for i, row in enumerate(blocks):
        for j, column in enumerate(blocks):
            information[:, row, column] = (weight * jacobian[i] * jacobian[j]) @ of_attack
        information[:, row, -1] = information[:, -1, row] = (weight * jacobian[i] * jacobian[2]) @ of_attack
    information[:, -1, -1] = (weight * jacobian[2] ** 2).sum(1) + counts.catch_n / (lapse * (1 - lapse))
    return value, gradient, information

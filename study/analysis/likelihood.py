"""Maximum likelihood of psychometric functions that share one lapse rate, for many data sets at once.

psi(s) = .5 + (.5 - lapse) F(s), one F per attack; catch trials are right with probability 1 - lapse. Parameters lie in
vectors of 2A + 1 for A attacks: log thresholds, log slopes, lapse rate. Arrays of parameters have one row per data set,
or per value at which one parameter is held; all rows are climbed together.
"""

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Final, Literal

import numpy as np
import numpy.typing as npt
from scipy.special import ndtr, ndtri, xlog1py, xlogy

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]
Sigmoid = Literal["Weibull", "cumulative Gaussian"]
Level = Literal["half of F", "PC .75"]

GUESS: Final = 0.5
DEFAULT_LAPSE: Final = 0.02
MAX_LAPSE: Final = 0.2
#: Of the log slope.
SLOPES: Final = (math.log(0.2), math.log(20.0))
#: How far beyond the tested strengths a threshold is looked for, as a factor.
_REACH: Final = 64.0
_LAPSES: Final = (0.002, 0.01, 0.03, 0.07, 0.14)
#: Log slopes from which a maximum is looked for beside the one that a grid proposes.
_OTHER_SLOPES: Final = (0.0, 1.4)
_TINY: Final = 1e-12
#: A log likelihood in place of minus infinity, which could not be compared with itself.
_IMPOSSIBLE: Final = -1e300


@dataclass(frozen=True)
class Design:
    """What was shown. Attacks with fewer strengths than others are filled up with strengths shown 0 times.

    Attributes:
        log_strength, n: (A, L) log strengths above 0 and numbers of trials.
        catch_n: number of catch trials; with 0 the lapse rate is not estimated but DEFAULT_LAPSE.
    """

    log_strength: Floats
    n: Floats
    catch_n: int

    @property
    def attacks(self) -> int:
        return len(self.n)


@dataclass(frozen=True)
class Counts:
    """What was answered: (R, A, L) right answers and (R,) right catch answers of R data sets (1 = the same in all).

    `n` (R, A, L) and `catch_n` (R,) are their numbers of trials where these differ from the design's, as they do
    between the draws of a bootstrap.
    """

    correct: Floats
    catch_correct: Floats
    n: Floats | None = None
    catch_n: Floats | None = None

    def __getitem__(self, rows: npt.NDArray[np.intp]) -> "Counts":
        if len(self.correct) == 1:
            return self
        n, catch_n = (None if trials is None else trials[rows] for trials in (self.n, self.catch_n))
        return Counts(self.correct[rows], self.catch_correct[rows], n, catch_n)


def sigmoid_of(sigmoid: Sigmoid, z: Floats) -> tuple[Floats, Floats]:
    """F and its derivative on the standard scale, where F(0) = .5."""
    if sigmoid == "Weibull":
        hazard = math.log(2) * np.exp(np.minimum(z, 50.0))
        return -np.expm1(-hazard), hazard * np.exp(-hazard)
    return ndtr(z), np.exp(-0.5 * z * z) / math.sqrt(2 * math.pi)


def offset_of(sigmoid: Sigmoid, level: Level, lapse: Floats) -> tuple[Floats, Floats]:
    """How far beyond F = .5 `level` lies on the standard scale, and its derivative by lapse."""
    if level == "half of F":
        return np.zeros_like(lapse), np.zeros_like(lapse)
    f = 0.25 / (GUESS - lapse)
    if sigmoid == "Weibull":
        offset, by_f = np.log(-np.log2(1 - f)), -1 / ((1 - f) * np.log1p(-f))
    else:
        offset = ndtri(f)
        by_f = math.sqrt(2 * math.pi) * np.exp(0.5 * offset * offset)
    return offset, by_f * f / (GUESS - lapse)


def weibull_log_threshold(midpoint: Floats, slope: Floats, lapse: Floats, proportion_correct: float) -> Floats:
    """Log strength where a Weibull psi reaches a proportion correct; infinity where it never does.

    `midpoint`: log strength at half of F; `slope`: the exponent; all of one shape.
    """
    f = np.minimum((proportion_correct - GUESS) / (GUESS - lapse), 1.0)
    with np.errstate(divide="ignore"):
        reached: Floats = midpoint + np.log(-np.log2(1 - f)) / slope
    return reached


@dataclass(frozen=True)
class Likelihood:
    """The likelihood of the curves, its thresholds being those at `level`."""

    design: Design
    sigmoid: Sigmoid
    level: Level = "half of F"

    @cached_property
    def bounds(self) -> tuple[Floats, Floats]:
        """(2A + 1,) lowest and highest parameters."""
        shown = self.design.n > 0
        x, reach, a = self.design.log_strength, math.log(_REACH), self.design.attacks
        first, last = np.where(shown, x, np.inf).min(1), np.where(shown, x, -np.inf).max(1)
        lapse = (0.0, MAX_LAPSE) if self.design.catch_n else (DEFAULT_LAPSE, DEFAULT_LAPSE)
        return (
            np.concatenate([first - reach, np.full(a, SLOPES[0]), lapse[:1]]),
            np.concatenate([last + reach, np.full(a, SLOPES[1]), lapse[1:]]),
        )

    def psi(self, theta: Floats) -> tuple[Floats, Floats]:
        """(R, A, L) proportions correct, and (3, R, A, L) derivatives by log threshold, log slope and lapse."""
        a = self.design.attacks
        log_threshold, slope = theta[:, :a, None], np.exp(theta[:, a:-1, None])
        lapse = theta[:, -1, None, None]
        offset, offset_by_lapse = offset_of(self.sigmoid, self.level, lapse)
        distance = slope * (self.design.log_strength - log_threshold)
        f, density = sigmoid_of(self.sigmoid, distance + offset)
        height = GUESS - lapse
        by_z = height * density
        return GUESS + height * f, np.stack([-slope * by_z, distance * by_z, offset_by_lapse * by_z - f])

    def _trials(self, counts: Counts) -> tuple[Floats, Floats | int]:
        """Numbers of main (A, L) or (R, A, L) and of catch trials, one or (R,)."""
        n, catch_n = counts.n, counts.catch_n
        return self.design.n if n is None else n, self.design.catch_n if catch_n is None else catch_n

    def value(self, theta: Floats, counts: Counts) -> Floats:
        """(R,) log likelihoods, without the binomial coefficients."""
        psi = np.clip(self.psi(theta)[0], _TINY, 1 - _TINY)
        n, catch_n = self._trials(counts)
        right, wrong = counts.correct, n - counts.correct
        value: Floats = (right * np.log(psi) + wrong * np.log1p(-psi)).sum((1, 2))
        caught, lapse = counts.catch_correct, theta[:, -1]
        of_catch: Floats = xlog1py(caught, -lapse) + xlogy(catch_n - caught, lapse)
        return np.maximum(value + of_catch, _IMPOSSIBLE)

    def slopes(self, theta: Floats, counts: Counts) -> tuple[Floats, Floats]:
        """(R, 2A + 1) gradient of the log likelihood and (R, 2A + 1, 2A + 1) information.

        Expected information of the main trials, which is never negative; observed of the catch trials, which does not
        run away where the lapse rate nears 0.
        """
        (n, catch_n), caught = self._trials(counts), counts.catch_correct
        psi, jacobian = self.psi(theta)
        psi = np.clip(psi, _TINY, 1 - _TINY)
        variance = psi * (1 - psi)
        score = (jacobian * ((counts.correct - n * psi) / variance)).sum(-1)
        lapse = np.maximum(theta[:, -1], 1e-9)
        by_lapse = score[2].sum(-1) + (catch_n - caught) / lapse - caught / (1 - lapse)
        information = self._assemble(np.einsum("iral,jral,ral->ijra", jacobian, jacobian, n / variance))
        information[:, -1, -1] += (catch_n - caught) / lapse**2 + caught / (1 - lapse) ** 2
        return np.concatenate([score[0], score[1], by_lapse[:, None]], axis=1), information

    def expected_information(self, theta: Floats) -> Floats:
        """(2A + 1, 2A + 1) expected information at one parameter vector."""
        psi, jacobian = self.psi(theta[None])
        psi = np.clip(psi, 1e-9, 1 - 1e-9)
        weights = self.design.n / (psi * (1 - psi))
        information: Floats = self._assemble(np.einsum("iral,jral,ral->ijra", jacobian, jacobian, weights))[0]
        lapse = max(float(theta[-1]), 1e-9)
        information[-1, -1] += self.design.catch_n / (lapse * (1 - lapse))
        return information

    def _assemble(self, blocks: Floats) -> Floats:
        """From (3, 3, R, A): each attack's parameters touch their own and the lapse rate only."""
        a = self.design.attacks
        information = np.zeros((blocks.shape[2], 2 * a + 1, 2 * a + 1))
        at = (np.arange(a), np.arange(a, 2 * a))
        for i in range(2):
            for j in range(2):
                information[:, at[i], at[j]] = blocks[i, j]
            information[:, at[i], -1] = information[:, -1, at[i]] = blocks[i, 2]
        information[:, -1, -1] = blocks[2, 2].sum(-1)
        return information

    def start(self, counts: Counts) -> Floats:
        """(R, 2A + 1) the best of a grid of curves, at half of F."""
        low, high = self.bounds
        a, x = self.design.attacks, self.design.log_strength
        slopes = np.linspace(*SLOPES, 10)
        lapses = _LAPSES if self.design.catch_n else (DEFAULT_LAPSE,)
        n, catch_n = self._trials(counts)
        caught, missed = counts.catch_correct[:, None], (catch_n - counts.catch_correct)[:, None]
        value = xlog1py(caught, -np.array(lapses)) + xlogy(missed, np.array(lapses))
        curves = np.empty((len(counts.correct), len(lapses), a, 2))
        for attack in range(a):
            middle = np.linspace(low[attack] + math.log(16), high[attack] - math.log(16), 30)
            midpoint, slope = (grid.ravel() for grid in np.meshgrid(middle, slopes))
            f, _ = sigmoid_of(self.sigmoid, np.exp(slope)[:, None] * (x[attack] - midpoint[:, None]))
            right, wrong = counts.correct[:, attack], n[..., attack, :] - counts.correct[:, attack]
            for index, lapse in enumerate(lapses):
                psi = np.clip(GUESS + (GUESS - lapse) * f, _TINY, 1 - _TINY)
                found = right @ np.log(psi).T + wrong @ np.log1p(-psi).T
                best = found.argmax(1)
                value[:, index] += found[np.arange(len(best)), best]
                curves[:, index, attack] = np.column_stack([midpoint[best], slope[best]])
        chosen = value.argmax(1)
        curve = curves[np.arange(len(chosen)), chosen]
        return np.column_stack([curve[..., 0], curve[..., 1], np.array(lapses)[chosen]])

    def highest(self, counts: Counts, tolerance: float = 1e-12) -> tuple[Floats, Floats]:
        """(R, 2A + 1) maximum-likelihood parameters and (R,) log likelihoods.

        The best of three climbs, from the best of a grid and from flatter and steeper curves through the same
        midpoints: the likelihood of few answers has several hills, where a lapse rate stands in for a slope.
        """
        start = self.start(counts)
        starts = np.tile(start, (1 + len(_OTHER_SLOPES), 1, 1))
        for other, slope in zip(starts[1:], _OTHER_SLOPES, strict=True):
            other[:, self.design.attacks : -1] = slope
        climbs = [self.climb(one, counts, np.zeros_like(one, dtype=bool), tolerance) for one in starts]
        theta, value = (np.array(found) for found in zip(*climbs, strict=True))
        best, rows = value.argmax(0), np.arange(len(start))
        return theta[best, rows], value[best, rows]

    def climb(self, start: Floats, counts: Counts, held: Flags, tolerance: float = 1e-12) -> tuple[Floats, Floats]:
        """Maximise every row over the parameters that are not held: ((R, 2A + 1) parameters, (R,) log likelihoods).

        Fisher scoring with Levenberg's damping, within the bounds. `held`: (R, 2A + 1).
        """
        low, high = self.bounds
        theta = np.where(held, start, np.clip(start, low, high))
        value = self.value(theta, counts)
        damping = np.full(len(theta), 1e-3)
        rows = np.arange(len(theta))
        for _ in range(200):
            if not len(rows):
                break
            here, of_rows = theta[rows], counts[rows]
            there = np.where(
                held[rows], here, np.clip(here + self._step(here, of_rows, held[rows], damping[rows]), low, high)
            )
            reached = self.value(there, of_rows)
            gain = reached - value[rows]
            better = gain >= 0
            theta[rows[better]], value[rows[better]] = there[better], reached[better]
            small = np.abs(gain) <= tolerance * (1 + np.abs(reached))
            settled = (small & (damping[rows] <= 1)) | (damping[rows] > 1e8)
            damping[rows] = np.where(better, np.maximum(damping[rows] / 10, 1e-9), damping[rows] * 10)
            rows = rows[~settled]
        return theta, value

    def _step(self, theta: Floats, counts: Counts, held: Flags, damping: Floats) -> Floats:
        low, high = self.bounds
        score, information = self.slopes(theta, counts)
        still = held | ((theta <= low) & (score <= 0)) | ((theta >= high) & (score >= 0))
        score = np.where(still, 0.0, score)
        information = np.where(still[:, :, None] | still[:, None, :], 0.0, information)
        diagonal = np.arange(theta.shape[1])
        own = information[:, diagonal, diagonal]
        # A parameter that the data say nothing about here stays where it is: 1 stands in for its information.
        information[:, diagonal, diagonal] = np.where(own > _TINY, own * (1 + damping[:, None]) + _TINY, 1.0)
        step: Floats = np.clip(np.linalg.solve(information, score[..., None])[..., 0], -1.0, 1.0)
        return step

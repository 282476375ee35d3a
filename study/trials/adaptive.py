"""Which strength to show next: QUEST+ (Watson 2017, J. Vision 17(3):10) for trials with a guess rate of one half.

psi(s) = .5 + (.5 - lapse) F(s) with F(s) = 1 - 2^-(s / threshold)^slope: the Weibull function of the analysis, whose
threshold is the strength where F is one half. (In the usual form F = 1 - exp(-(s / alpha)^slope) that strength is
alpha (ln 2)^(1 / slope).) The posterior is computed anew from the answers, so nothing else has to be stored.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Self

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

GUESS: Final = 0.5
SLOPES: Final = (0.7, 1.0, 1.4, 2.0, 2.8, 4.0, 5.6, 8.0)
LAPSES: Final = (0.0, 0.02, 0.04, 0.06)
#: The grid of thresholds, about log2 of the strengths that can be shown.
STEPS_PER_OCTAVE: Final = 8
OCTAVES_BEYOND: Final = 2

#: What a design has to name so that its choices can be made again.
GRID: Final = {
    "guess": GUESS,
    "slopes": list(SLOPES),
    "lapses": list(LAPSES),
    "steps_per_octave": STEPS_PER_OCTAVE,
    "octaves_beyond": OCTAVES_BEYOND,
}
_TINY: Final = float(np.finfo(np.float64).tiny)
#: Expected entropies this close (in bits) are the same but for rounding.
_TIE: Final = 1e-12


@dataclass(frozen=True)
class StopRule:
    """When a participant has answered enough: after `most` trials, or, from `minimum` on, when the SD is below `sd`.

    `sd` is the posterior's SD of the log2 threshold, in octaves; 0 = never before `most`.
    """

    most: int = 40
    minimum: int = 20
    sd: float = 0.0

    def __post_init__(self) -> None:
        if not 1 <= self.minimum <= self.most:
            raise ValueError(
                f"The minimum of trials must lie between 1 and {self.most}, the most; it is {self.minimum}."
            )
        if not 0 <= self.sd < math.inf:
            raise ValueError(f"The SD at which to stop must be 0 (never early) or more octaves; it is {self.sd}.")


@dataclass(frozen=True)
class Summary:
    """What a posterior says: means over all of it, so that one number never hides the others' uncertainty.

    `threshold` is 2 ** `threshold_log2`, in units of strength; `sd_log2` is in octaves, `entropy` in bits; `outside` is
    the probability that the threshold is not among the strengths that can be shown, where the grid's ends decide.
    """

    threshold_log2: float
    threshold: float
    sd_log2: float
    entropy: float
    slope: float
    lapse: float
    outside: float


@dataclass(frozen=True, eq=False)
class Quest:
    """The strengths that can be shown (ascending), the grid of parameters, and what is believed before any answer.

    Shapes: `prior` and every posterior are (T, B, L) for T thresholds, B slopes, L lapse rates; `correct` and `wrong`,
    the probabilities of either outcome, are (S, T, B, L) for S strengths.
    """

    strengths: Floats
    thresholds_log2: Floats
    slopes: Floats
    lapses: Floats
    prior: Floats
    correct: Floats
    wrong: Floats

    @classmethod
    def of(
        cls,
        strengths: Iterable[float],
        *,
        thresholds_log2: Sequence[float] | None = None,
        slopes: Sequence[float] = SLOPES,
        lapses: Sequence[float] = LAPSES,
        prior: npt.ArrayLike | None = None,
    ) -> Self:
        """The procedure for these strengths, all above 0. `prior` (T, B, L) need not sum to 1; uniform unless given.

        Raises ValueError for strengths, slopes, lapse rates or a prior out of range.
        """
        shown = np.unique(np.fromiter(strengths, dtype=float))
        if not shown.size or not np.all((shown > 0) & np.isfinite(shown)):
            raise ValueError("An adaptive study needs strengths, all of them numbers above 0.")
        grid = (
            default_thresholds_log2(shown) if thresholds_log2 is None else np.asarray(thresholds_log2, dtype=float),
            np.asarray(slopes, dtype=float),
            np.asarray(lapses, dtype=float),
        )
        if not (np.all(grid[1] > 0) and np.all((grid[2] >= 0) & (grid[2] < 1 - GUESS))):
            raise ValueError(f"Slopes must be above 0, and lapse rates at least 0 and below {1 - GUESS:g}.")
        wrong = probability_wrong(shown, *grid)
        return cls(shown, *grid, _normalised(prior, wrong.shape[1:]), 1 - wrong, wrong)

    def posterior(self, history: Iterable[tuple[float, bool]]) -> Floats:
        """What is believed after the answers (strength shown, correct?), whose order does not matter: (T, B, L).

        Raises ValueError for a strength that is not one of `strengths`.
        """
        counts = np.zeros((2, len(self.strengths)))
        for strength, correct in history:
            counts[int(correct), self._index(strength)] += 1
        wrong, right = counts
        log = np.log(np.maximum(self.prior, _TINY))
        log += np.tensordot(right, np.log(self.correct), 1) + np.tensordot(wrong, np.log(self.wrong), 1)
        likely = np.where(self.prior > 0, np.exp(log - log.max(where=self.prior > 0, initial=-np.inf)), 0.0)
        return np.asarray(likely / likely.sum())

    def expected_entropy(self, posterior: Floats) -> Floats:
        """How much would be left unknown after one more answer at each strength, on average: (S,), in bits."""
        left: Floats = np.zeros(len(self.strengths))
        for outcome in (self.correct, self.wrong):
            joint = (outcome * posterior).reshape(len(self.strengths), -1)
            left += _entropy(joint) - _entropy(joint.sum(1, keepdims=True))
        return left

    def next_strength(self, posterior: Floats) -> float:
        """The strength whose answer is expected to tell most; the weaker one where several tell as much."""
        left = self.expected_entropy(posterior)
        return float(self.strengths[np.argmax(left <= left.min() + _TIE)])

    def summary(self, posterior: Floats) -> Summary:
        threshold = posterior.sum((1, 2))
        mean = float(threshold @ self.thresholds_log2)
        low, high = np.log2(self.strengths[[0, -1]])
        outside = (self.thresholds_log2 < low) | (self.thresholds_log2 > high)
        return Summary(
            threshold_log2=mean,
            threshold=2.0**mean,
            sd_log2=math.sqrt(float(threshold @ (self.thresholds_log2 - mean) ** 2)),
            entropy=float(_entropy(posterior.reshape(1, -1))[0]),
            slope=float(posterior.sum((0, 2)) @ self.slopes),
            lapse=float(posterior.sum((0, 1)) @ self.lapses),
            outside=float(threshold[outside].sum()),
        )

    def _index(self, strength: float) -> int:
        found = np.flatnonzero(self.strengths == strength)
        if not found.size:
            known = ", ".join(f"{s:g}" for s in self.strengths)
            raise ValueError(f"Strength {strength:g} was answered, but this study shows {known} only.")
        return int(found[0])


def stops(rule: StopRule, n: int, summary: Summary) -> bool:
    """Whether a participant has answered enough after `n` answers that count towards the threshold."""
    return n >= rule.most or (n >= rule.minimum and summary.sd_log2 < rule.sd)


def default_thresholds_log2(strengths: Floats) -> Floats:
    """Where a threshold is looked for: from two octaves below the weakest strength to two above the strongest, (T,)."""
    low, high = np.log2(strengths.min()) - OCTAVES_BEYOND, np.log2(strengths.max()) + OCTAVES_BEYOND
    return np.linspace(low, high, math.ceil((high - low) * STEPS_PER_OCTAVE) + 1)


def probability_wrong(strengths: Floats, thresholds_log2: Floats, slopes: Floats, lapses: Floats) -> Floats:
    """1 - psi, never quite 0, at (S,) strengths above 0 for all (T,) x (B,) x (L,) parameters: (S, T, B, L)."""
    octaves = np.log2(strengths)[:, None, None, None] - thresholds_log2[:, None, None]
    # Beyond 2^40 F is 1 to the last bit; the limit keeps a steep slope far above threshold from overflowing.
    missed = np.exp2(-np.exp2(np.minimum(slopes[:, None] * octaves, 40.0)))
    return np.maximum(lapses + (1 - GUESS - lapses) * missed, _TINY)


def _normalised(prior: npt.ArrayLike | None, shape: tuple[int, ...]) -> Floats:
    weights = np.ones(shape) if prior is None else np.asarray(prior, dtype=float)
    if weights.shape != shape or not np.all((weights >= 0) & np.isfinite(weights)) or not weights.any():
        raise ValueError(f"The prior must be an array of shape {shape} of numbers of at least 0, not all 0.")
    return np.asarray(weights / weights.sum())


def _entropy(weights: Floats) -> Floats:
    """-sum w log2 w of each row of (R, K), with 0 log 0 = 0: (R,), in bits."""
    return np.asarray(-np.einsum("rk,rk->r", weights, np.log2(np.maximum(weights, _TINY))))

"""Thresholds that may lie beyond the strengths tested, and intervals of draws some of which are censored."""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ends = tuple[float | None, float | None]
UNKNOWN = (math.nan, math.nan)
NOT_ESTIMABLE = "not estimable"


def interval(draws: Floats | None, level: float = 0.95) -> Ends:
    """Percentile interval of a statistic's draws (D,), some of which may be censored; open without any draws.

    A draw at minus or plus infinity is known to lie beyond every value, and one that is NaN may lie anywhere. An end
    that such draws reach is None, which means open.
    """
    if draws is None:
        return None, None
    rank = math.floor((1 - level) / 2 * len(draws))
    low = float(np.sort(np.where(np.isnan(draws), -np.inf, draws))[rank])
    high = float(np.sort(np.where(np.isnan(draws), np.inf, draws))[-1 - rank])
    return (low if math.isfinite(low) else None), (high if math.isfinite(high) else None)


def censored(log2: Floats, tested: tuple[float, float]) -> Floats:
    """Log2 strengths, with those above (below) the strengths tested at plus (minus) infinity."""
    return np.where(log2 > tested[1], np.inf, np.where(log2 < tested[0], -np.inf, log2))


def power_of_two(log2: float | None) -> float | None:
    """From log2 to the scale itself; what is not a finite number is None."""
    return 2.0**log2 if log2 is not None and math.isfinite(log2) else None


def bound_in_words(at_least: float | None, at_most: float | None, digits: int = 2) -> str:
    """What is known of a ratio that has no estimate; an end that is None or NaN is not known."""
    for words, end in (("at least", at_least), ("at most", at_most)):
        if end is not None and not math.isnan(end):
            return f"{words} ×{end:.{digits}f}"
    return NOT_ESTIMABLE


@dataclass(frozen=True)
class Threshold:
    """A log2 strength, infinite where it lies beyond those `tested` (log2), and NaN where there is none at all.

    Attributes:
        draws: (D,) the same for every draw of a bootstrap; None without one.
        what: in words, at the start of a sentence.
        missing: why there is none.
    """

    estimate: float
    draws: Floats | None
    tested: tuple[float, float]
    what: str
    missing: str | None = None

    @property
    def side(self) -> str | None:
        """On which side of the strengths tested it lies; None for a threshold between them, or none."""
        if not math.isinf(self.estimate):
            return None
        return "above" if self.estimate > 0 else "below"

    @property
    def bounds(self) -> tuple[float, float]:
        """Between which log2 strengths it is known to lie."""
        if math.isnan(self.estimate):
            return -math.inf, math.inf
        by_side = {"above": (self.tested[1], math.inf), "below": (-math.inf, self.tested[0])}
        return by_side.get(self.side or "", (self.estimate, self.estimate))

    def interval(self, level: float) -> Ends:
        """Of the log2 threshold."""
        return interval(self.draws, level)

    @property
    def sentence(self) -> str | None:
        """Why there is no number; None where there is one."""
        if self.side == "above":
            return f"{self.what} lies above strength {2 ** self.tested[1]:g}, the largest tested"
        if self.side == "below":
            return f"{self.what} lies at or below strength {2 ** self.tested[0]:g}, the smallest tested"
        return self.missing if math.isnan(self.estimate) else None

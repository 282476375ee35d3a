"""Who is left out: rules declared before the first answer, applied to whole participants.

The place of a participant who breaks one goes to somebody else, and the analysis leaves the same participants out: both
ask `ExclusionRules.broken`, the one with a single participant's answers, the other with everybody's.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

CATCH: Final = "catch trials missed"
SAME_SIDE: Final = "one answer given too often"
MISSED: Final = "too many trials without an answer in time"
HASTY: Final = "median response time too short"
FAST: Final = "too many answers faster than anybody can look"
FOCUS: Final = "focus lost too often"

#: Answers faster than this, in ms, are taken to be given before the pictures were seen.
FAST_MS: Final = 200.0

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Codes = npt.NDArray[np.intp]


@dataclass(frozen=True)
class Missed:
    """Of how many planned trials, practice left out, one participant let the response window pass on `n`."""

    n: int
    of: int

    @property
    def share(self) -> float:
        return self.n / self.of if self.of else 0.0


@dataclass(frozen=True)
class Answers:
    """Answers that came in time, practice left out, of any number of participants: N rows of one length.

    Attributes:
        person: whose, 0 to P - 1.
        left: whether the side counted is the left one.
        correct, is_catch, unsure: whether it was right, on a catch trial, "not sure".
        rt_ms: response time.
        focus_losses: how often the page lost the focus during the trial; NaN where that is not known.
    """

    person: Codes
    left: Bools
    correct: Bools
    is_catch: Bools
    unsure: Bools
    rt_ms: Floats
    focus_losses: Floats

    def median_rt_ms(self, people: int) -> Floats:
        """Of each participant, (P,); NaN for who gave no answer."""
        order = np.lexsort((self.rt_ms, self.person))
        n = np.bincount(self.person, minlength=people)
        first = np.cumsum(n) - n
        median = np.full(people, np.nan)
        gave = n > 0
        middle = [first[gave] + (n[gave] - 1) // 2, first[gave] + n[gave] // 2]
        median[gave] = self.rt_ms[order][np.array(middle)].mean(axis=0)
        return median


@dataclass(frozen=True)
class ExclusionRules:
    """Which participants are left out. None = the rule is not used.

    Attributes:
        catch_correct_below: fewer catch trials right than this (7 of 8: a guesser passes with p = .035).
        same_side_at_least: this many answers on one side, practice and "not sure" left out (44 of 60: p < .001 under
            50/50).
        missed_above_share: a larger share of the planned trials than this passed without an answer.
        median_rt_below_ms: a median response time below this, ms.
        fast_above_share: a larger share of the answers than this came in less than `fast_ms`.
        fast_ms: what counts as too fast to have seen anything, ms.
        focus_above_share: on a larger share of the answered trials than this the page lost the focus.
    """

    catch_correct_below: int | None = None
    same_side_at_least: int | None = None
    missed_above_share: float | None = None
    median_rt_below_ms: float | None = None
    fast_above_share: float | None = None
    fast_ms: float = FAST_MS
    focus_above_share: float | None = None

    @classmethod
    def of_design(cls, design: Mapping[str, Any]) -> ExclusionRules:
        """The rules that a frozen design declares under `exclusions`; a limit that nobody can pass is no rule."""
        declared = design.get("exclusions", {})
        times = declared.get("response_times", {})
        return cls(
            catch_correct_below=declared.get("catch", {}).get("correct_below"),
            same_side_at_least=declared.get("same_side", {}).get("at_least"),
            missed_above_share=declared.get("missed", {}).get("above_share"),
            median_rt_below_ms=times.get("median_below_ms") or None,
            fast_above_share=_below_all(times.get("fast_above_share")),
            fast_ms=times.get("fast_below_ms", FAST_MS),
            focus_above_share=_below_all(declared.get("focus", {}).get("above_share")),
        )

    def in_words(self) -> list[str]:
        """Each rule that is used, as a reader of a report wants it: whom it leaves out."""
        said = [
            (self.missed_above_share, "more than {:.0%} of the planned trials without an answer in time"),
            (self.catch_correct_below, "fewer than {:g} catch trials right"),
            (self.same_side_at_least, "{:g} or more answers on one side"),
            (self.median_rt_below_ms, "a median response time below {:g} ms"),
            (self.fast_above_share, f"more than {{:.0%}} of the answers in less than {self.fast_ms:g} ms"),
            (self.focus_above_share, "the focus lost in more than {:.0%} of the answered trials"),
        ]
        return [words.format(limit) for limit, words in said if limit is not None]

    def broken(self, answers: Answers, missed_share: Sequence[float] | Floats) -> list[str | None]:
        """The first rule that each of P participants broke, in the order below; None for one who stays.

        missed_share: of each participant's planned trials those without an answer in time, (P,); NaN = not known. What
        is not known breaks no rule.
        """
        missed = np.asarray(missed_share, dtype=float)
        people = len(missed)

        def count(which: Bools) -> Floats:
            return np.bincount(answers.person[which], minlength=people).astype(float)

        sure = ~answers.unsure
        left, right = count(sure & answers.left), count(sure & ~answers.left)
        known = ~np.isnan(answers.focus_losses)
        with np.errstate(invalid="ignore"):  # nobody's share of nothing is NaN, which breaks no rule
            fast_share = count(answers.rt_ms < self.fast_ms) / count(np.ones_like(known))
            lost_share = count(answers.focus_losses > 0) / count(known)
        rules = [
            (MISSED, missed > _limit(self.missed_above_share)),
            (CATCH, count(answers.is_catch & answers.correct) < _limit(self.catch_correct_below)),
            (SAME_SIDE, np.maximum(left, right) >= _limit(self.same_side_at_least)),
            (HASTY, answers.median_rt_ms(people) < _limit(self.median_rt_below_ms)),
            (FAST, fast_share > _limit(self.fast_above_share)),
            (FOCUS, lost_share > _limit(self.focus_above_share)),
        ]
        return [next((name for name, broke in rules if broke[person]), None) for person in range(people)]


def _below_all(share: float | None) -> float | None:
    """None for a share that none is above."""
    return share if share is not None and share < 1 else None


def _limit(declared: float | None) -> float:
    """NaN where a rule is not used: nothing compares with it."""
    return math.nan if declared is None else declared

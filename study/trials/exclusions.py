"""Who is left out: rules declared before the first answer, applied to whole participants.

The place of a participant who breaks one goes to somebody else, and the analysis leaves the same participants out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

CATCH: Final = "catch trials missed"
SAME_SIDE: Final = "one answer given too often"
MISSED: Final = "too many trials without an answer in time"


class Given(NamedTuple):
    """One answer that came in time, practice left out: the side counted, and what kind of trial it was."""

    side: str
    correct: bool
    is_catch: bool
    unsure: bool = False


@dataclass(frozen=True)
class Missed:
    """Of how many planned trials, practice left out, one participant let the response window pass on `n`."""

    n: int
    of: int

    @property
    def share(self) -> float:
        return self.n / self.of if self.of else 0.0


@dataclass(frozen=True)
class ExclusionRules:
    """Which participants are left out. None = the rule is not used.

    Attributes:
        catch_correct_below: fewer catch trials right than this (7 of 8: a guesser passes with p = .035).
        same_side_at_least: this many answers on one side, practice and "not sure" left out (44 of 60: p < .001 under
            50/50).
        missed_above_share: a larger share of the planned trials than this passed without an answer.
    """

    catch_correct_below: int | None = None
    same_side_at_least: int | None = None
    missed_above_share: float | None = None

    @classmethod
    def of_design(cls, design: Mapping[str, Any]) -> ExclusionRules:
        """The rules that a frozen design declares under `exclusions`."""
        declared = design.get("exclusions", {})
        return cls(
            declared.get("catch", {}).get("correct_below"),
            declared.get("same_side", {}).get("at_least"),
            declared.get("missed", {}).get("above_share"),
        )

    def broken_by(self, answers: Collection[Given], missed: Missed | None = None) -> str | None:
        """The first rule that a participant with all these answers broke; None for one who stays.

        `missed`: None where it is not known.
        """
        caught = sum(answer.correct for answer in answers if answer.is_catch)
        sides = Counter(answer.side for answer in answers if not answer.unsure)
        if self.missed_above_share is not None and missed and missed.share > self.missed_above_share:
            return MISSED
        if self.catch_correct_below is not None and caught < self.catch_correct_below:
            return CATCH
        if self.same_side_at_least is not None and max(sides.values(), default=0) >= self.same_side_at_least:
            return SAME_SIDE
        return None

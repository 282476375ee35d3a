"""How evenly a design shares its pictures out: which condition each stimulus meets, and on which side, list by list.

Counted from what plans are made of, so that the table shows what participants get.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from study.trials.plan import Kind, cells_of, rotate
from study.trials.protocols import LEFT, RIGHT

CONTROLS: Final = {"identity": "identity", "resampled": "resampled", "other_field": "other field"}
#: What stands for the attack of an adaptive study, whose strengths are chosen from the answers.
CHOSEN: Final = "strength chosen from the answers"

#: How often: (condition, stimulus, side of the altered image).
Met = Counter[tuple[str, int, str]]


@dataclass(frozen=True)
class Condition:
    """A condition or control over a full turn of the lists.

    Attributes:
        trials: main trials of one session.
        stimuli: base images that meet it.
        meetings: fewest and most times that one of them meets it.
        lopsided: most by which the meetings of one of them on the left and on the right differ over two turns.
    """

    name: str
    trials: int
    stimuli: int
    meetings: tuple[int, int]
    lopsided: int


@dataclass(frozen=True)
class Balance:
    """lists: rows of (left, right), one row for each list of a turn, one entry for each condition, in their order."""

    stimuli: int
    conditions: tuple[Condition, ...]
    lists: tuple[tuple[tuple[int, int], ...], ...]

    @property
    def lopsided(self) -> int:
        """Of the condition where it is largest."""
        return max(condition.lopsided for condition in self.conditions)


def balance(design: Mapping[str, Any]) -> Balance:
    """Of a design in the present format. A turn has as many lists as it takes each stimulus to meet every block."""
    names = [_name(cell, design) for cell in design["cells"]]
    named = dict(zip((cell.kind for cell in cells_of(design)), names, strict=True))
    turn = turn_of(design)
    met = [_met(design, number, named) for number in range(2 * turn)]
    one_turn, two_turns = sum(met[:turn], Counter()), sum(met, Counter())
    conditions = [
        _condition(name, cell["trials"], design["stimuli"], one_turn, two_turns)
        for name, cell in zip(names, design["cells"], strict=True)
    ]
    return Balance(
        stimuli=len(design["stimuli"]),
        conditions=tuple(conditions),
        lists=tuple(tuple(_sides(of_list, name, design["stimuli"]) for name in names) for of_list in met[:turn]),
    )


def turn_of(design: Mapping[str, Any]) -> int:
    """Lists until every stimulus has met every block of trials once."""
    return len(design["stimuli"]) // math.gcd(*(cell["trials"] for cell in design["cells"]))


def condition_name(control: str, strength: float | None, attack: str = "") -> str:
    """What a condition is called: "strength 0.5", "identity", "resampled at strength 2".

    attack: its name, where a study has several.
    """
    if strength is None:
        return CHOSEN
    if control == "identity":
        said = CONTROLS[control]
    else:
        said = f"{CONTROLS[control]} at strength {strength:g}" if control else f"strength {strength:g}"
    return f"{attack}: {said}" if attack else said


def _met(design: Mapping[str, Any], list_number: int, named: Mapping[Kind, str]) -> Met:
    """What meets what on one list."""
    planned = rotate(design["stimuli"], cells_of(design), list_number)
    return Counter((named[kind], stimulus, side) for stimulus, kind, side in planned)


def _name(part: Mapping[str, Any], design: Mapping[str, Any]) -> str:
    """Of a cell or a pair of the design."""
    return condition_name(part["control"], part["strength"], part["attack"] if len(design["attacks"]) > 1 else "")


def _condition(name: str, trials: int, stimuli: Sequence[int], one_turn: Met, two_turns: Met) -> Condition:
    meetings = [sum(_sides(one_turn, name, [stimulus])) for stimulus in stimuli]
    lopsided = [abs(left - right) for left, right in (_sides(two_turns, name, [stimulus]) for stimulus in stimuli)]
    met = [n for n in meetings if n]
    return Condition(name, trials, len(met), (min(meetings), max(meetings)), max(lopsided))


def _sides(met: Met, name: str, stimuli: Sequence[int]) -> tuple[int, int]:
    """How often (on the left, on the right) these stimuli meet a condition."""
    left, right = (sum(met[name, stimulus, side] for stimulus in stimuli) for side in (LEFT, RIGHT))
    return left, right

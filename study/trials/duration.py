"""How long a session takes, said honestly before anybody starts."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

#: Seconds from the onset to the answer, of quick and of careful participants, while the images stay.
LOOKING_S: Final = {
    "afc": (2.0, 6.0),
    "ifc": (1.0, 3.0),
    "flicker": (3.0, 8.0),
    "oddity": (4.0, 10.0),
    "yes_no": (1.5, 5.0),
}
#: The same once the images are gone.
DECIDING_S: Final = (0.8, 2.5)
FEEDBACK_S: Final = (1.5, 4.0)
#: Instructions, the check of the screen, and the last page.
AROUND_S: Final = (60.0, 120.0)
CALIBRATION_S: Final = {"none": (0.0, 0.0), "card": (20.0, 60.0)}
DISTANCE_S: Final = {"none": (0.0, 0.0), "told": (10.0, 30.0), "blind_spot": (40.0, 90.0)}
BREAK_S: Final = (5.0, 60.0)


class Duration(NamedTuple):
    """Minutes of a quick and of a careful participant, whole and at least 1."""

    shortest: int
    longest: int


def trials_of_a_session(design: Mapping[str, Any]) -> int:
    """Trials of one session, with one round of practice and as many adaptive trials as there may be."""
    practice: int = len(design["practice"]["stimuli"]) // design["practice"]["rounds"]
    main: int = sum(cell["trials"] for cell in design["cells"])
    return practice + len(design["catch"]["stimuli"]) + main


def estimate(design: Mapping[str, Any]) -> Duration:
    """How long a session of a frozen design takes: quickly with one round of practice, carefully with all of them."""
    shortest, longest = (_seconds(design, pace) / 60 for pace in (0, 1))
    return Duration(max(1, round(shortest)), max(1, math.ceil(longest)))


def _seconds(design: Mapping[str, Any], pace: int) -> float:
    practice, adaptive = design["practice"], design["adaptive"]
    a_round: int = len(practice["stimuli"]) // practice["rounds"]
    spared = (adaptive["most"] - adaptive["minimum"]) if adaptive and adaptive["sd"] and pace == 0 else 0
    more_practice = a_round * (practice["rounds"] - 1) if pace else 0
    trials: int = trials_of_a_session(design) - spared + more_practice
    set_up = CALIBRATION_S[design["display"]["calibration"]][pace] + DISTANCE_S[design["display"]["distance"]][pace]
    breaks: float = trials // design["break_every"] * BREAK_S[pace]
    feedback = (a_round + more_practice) * FEEDBACK_S[pace]
    return AROUND_S[pace] + set_up + breaks + feedback + trials * _trial_s(design, pace)


def _trial_s(design: Mapping[str, Any], pace: int) -> float:
    timing, protocol = design["timing"], design["protocol"]
    shown, answering = 0.0, LOOKING_S[protocol][pace]
    if timing["exposure_ms"] is not None:
        intervals = 2 if protocol == "ifc" else 1
        shown = (intervals * (timing["exposure_ms"] + timing["mask_ms"]) + (intervals - 1) * timing["gap_ms"]) / 1000
        answering = DECIDING_S[pace]
    if timing["response_ms"] is not None:
        answering = min(answering, timing["response_ms"] / 1000)
    around: float = (timing["fixation_ms"] + timing["blank_ms"]) / 1000
    return around + shown + answering

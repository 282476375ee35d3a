"""Signs that a run was answered by a script. They are shown to the researcher; nobody is ever turned away for one.

Each sign can be forged and each can befall a person (assistive software presses keys by script, a frozen tab shows no
frames), so a flag asks for a second look and decides nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from math import log
from statistics import median, stdev
from typing import Any, Final

UNTRUSTED: Final = "untrusted"
HONEYPOT: Final = "honeypot"
TOO_FAST: Final = "too_fast"
TOO_REGULAR: Final = "too_regular"
NO_INPUT: Final = "no_input"
NO_FRAMES: Final = "no_frames"

#: Simple reactions to a light take some 200 ms; choices between two pictures take longer.
FASTEST_MEDIAN_MS: Final = 200.0
#: SD of log response times. People's is about .3 within a task; a fixed pause with jitter of a few per cent is below.
LEAST_SPREAD: Final = 0.05
#: Response times are judged from so many answers on.
FEWEST_ANSWERS: Final = 10
#: Two frames at 60 Hz: an answer later than this must have seen one pass.
ONE_FRAME_MS: Final = 34.0
#: The share of answers that may lack what every browser sends.
MISSING_SHARE: Final = 0.5

MEANINGS: Final = {
    UNTRUSTED: "An answer came from an event that the browser says was made by a script.",
    HONEYPOT: "The field of the consent form that people cannot see was filled in.",
    TOO_FAST: f"Half of the answers came within {FASTEST_MEDIAN_MS:.0f} ms.",
    TOO_REGULAR: f"The response times hardly differ: their logarithms have an SD below {LEAST_SPREAD}.",
    NO_INPUT: "Most answers do not say by which key, pointer or button they were given.",
    NO_FRAMES: "The browser counted no frame between most images and their answers.",
}


def flags(traces: Iterable[Mapping[str, Any]], events: Iterable[str]) -> list[str]:
    """The signs of a script in one session, in the order of MEANINGS; [] for nearly every person.

    traces: one mapping per answer that was given (not those whose time ran out), in any order: `rt_ms` in ms, and
    from the page's own log `trusted` (bool), `input` ("key", "mouse", ...) and `frames` (from onset to answer), each
    missing where the page did not send it. events: the kinds of the session's events.
    """
    answers = list(traces)
    signs = {
        UNTRUSTED: any(answer.get("trusted") is False for answer in answers),
        HONEYPOT: HONEYPOT in set(events),
        NO_INPUT: _mostly([not answer.get("input") for answer in answers]),
        NO_FRAMES: _mostly([not answer.get("frames") for answer in answers if answer["rt_ms"] >= ONE_FRAME_MS]),
        **_pace([answer["rt_ms"] for answer in answers]),
    }
    return [sign for sign in MEANINGS if signs[sign]]


def _pace(times: Sequence[float]) -> dict[str, bool]:
    if len(times) < FEWEST_ANSWERS:
        return {TOO_FAST: False, TOO_REGULAR: False}
    return {
        TOO_FAST: median(times) < FASTEST_MEDIAN_MS,
        TOO_REGULAR: stdev(log(max(time, 1.0)) for time in times) < LEAST_SPREAD,
    }


def _mostly(missing: Sequence[bool]) -> bool:
    return sum(missing) > MISSING_SHARE * len(missing)

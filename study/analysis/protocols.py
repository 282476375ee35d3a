"""What each protocol asks, what its two answers are called, and which d' belongs to it.

Chance is .5 in all of them. `left` and `right` in the trial table stand for the first and the second answer.
"""

from dataclasses import dataclass
from typing import Final, Literal

import pandas as pd

#: How a proportion correct and d' belong together, see `detection.dprime`.
Model = Literal["forced choice", "differencing", "yes/no"]
Procedure = Literal["constant", "adaptive"]
CONSTANT: Final = "constant"
ADAPTIVE: Final = "adaptive"
PROCEDURES: Final[tuple[Procedure, ...]] = (CONSTANT, ADAPTIVE)


@dataclass(frozen=True)
class Protocol:
    """How images were shown and what was asked.

    Attributes:
        name: as the trial table has it.
        title: in words.
        question: what people had to say.
        left, right: the answers that the trial table calls left and right, as adjectives or short phrases.
        second: where the altered image is when the right answer is `right`.
        presentation: for the scope of a statement.
        model: which d' belongs to it.
        dprime: that d' in words.
    """

    name: str
    title: str
    question: str
    left: str
    right: str
    second: str
    presentation: str
    model: Model
    dprime: str

    def showing_the_alteration(self, trials: pd.DataFrame) -> pd.DataFrame:
        """Those trials in which an altered image was on the screen: all, but for half of those of yes/no."""
        return trials[trials["clean_side"] == "right"] if self.model == "yes/no" else trials


#: Why no curve of a choice is fitted to the answers of yes/no.
NO_GUESS_RATE: Final = (
    "answers about single images have no guess rate of one half (a criterion moves them), so the curve of a choice does"
    " not apply"
)

#: What the proportion correct of yes/no, and every strength read from it, does not tell.
CRITERION: Final = (
    "the proportion correct of yes/no depends on people's criterion as well: a strict one moves its thresholds up,"
    " whatever is seen"
)

_ROOT_TWO = "d′ = √2 z(PC)"

AFC: Final = Protocol(
    "afc",
    "Two-alternative forced choice, side by side",
    "Which of two images was altered?",
    "left",
    "right",
    "altered image on the right",
    "side by side with the reference",
    "forced choice",
    _ROOT_TWO,
)
IFC: Final = Protocol(
    "ifc",
    "Two-interval forced choice: one image after the other in the same place",
    "Was the first or the second image altered?",
    "first",
    "second",
    "altered image in the second interval",
    "one after the other with the reference",
    "forced choice",
    _ROOT_TWO,
)
FLICKER: Final = Protocol(
    "flicker",
    "Flicker: altered and original image in turn in one place, the original all the time in the other",
    "Which of two places changes?",
    "left",
    "right",
    "changing place on the right",
    "in turn with the reference in the same place, which shows a difference best",
    "forced choice",
    f"{_ROOT_TWO}, of the change and not of a still image",
)
ODDITY: Final = Protocol(
    "oddity",
    "Oddity on two pairs (4IAX)",
    "In which of two pairs do the images differ?",
    "left",
    "right",
    "differing pair on the right",
    "in one of two pairs, with the reference in both",
    "differencing",
    "differencing model, PC = Φ(d′/2)² + Φ(−d′/2)²; √2 z(PC) does not apply",
)
YES_NO: Final = Protocol(
    "yes_no",
    "Yes/no on single images",
    "Is this image altered?",
    "“altered”",
    "“not altered”",
    "the unaltered image shown",
    "one image at a time, without the reference",
    "yes/no",
    "d′ = z(H) − z(F), log-linear; not divided by √2",
)
PROTOCOLS: Final = {protocol.name: protocol for protocol in (AFC, IFC, FLICKER, ODDITY, YES_NO)}


def protocol_of(trials: pd.DataFrame) -> Protocol:
    """The protocol of a trial table; side by side where it does not say."""
    return PROTOCOLS[trials["protocol"].iloc[0]] if "protocol" in trials and len(trials) else AFC


def is_adaptive(trials: pd.DataFrame) -> bool:
    """Whether the strengths were chosen from the answers; not so where the table does not say."""
    return "procedure" in trials and bool((trials["procedure"] == ADAPTIVE).any())

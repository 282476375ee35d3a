"""Settings to start a study from: what each answers, and where it comes from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final


@dataclass(frozen=True)
class Preset:
    """A way to set up a study.

    Attributes:
        name: of it in links.
        title: of it for people.
        answers: the question that such a study answers.
        source: where the design comes from.
        fields: columns of a study that differ from their defaults.
        afterwards: what else there is to choose; "" where nothing is.
    """

    name: str
    title: str
    answers: str
    source: str
    fields: Mapping[str, Any] = field(default_factory=dict)
    afterwards: str = ""


PRESETS: Final = (
    Preset(
        "afc-threshold",
        "2AFC threshold",
        "From which strength on can people tell the altered from the clean image when they have both?",
        "Two-alternative forced choice with constant stimuli: chance is one half, and a response criterion plays no "
        "part. The threshold is read off a psychometric function that is fitted to all strengths.",
        {"protocol": "afc", "procedure": "constant", "trials_per_strength": 8, "trials_per_control": 4},
        "Choose at least four strengths, from one that nobody sees to one that everybody does.",
    ),
    Preset(
        "same-pictures",
        "Same pictures, other shifts",
        "How far is the error of several models moved at one and the same visibility?",
        "Models that learned one trigger but are pulled to other targets are given the same pictures: people see the "
        "same, the error shift differs. The report compares them at matched visibility.",
        {"protocol": "afc", "procedure": "constant", "trials_per_strength": 12, "trials_per_control": 4},
        "Under “further models” add the other models that were attacked with the same trigger.",
    ),
    Preset(
        "published-human-test",
        "Published WaNet human test (yes/no)",
        "Would somebody who meets one image notice?",
        "Nguyen and Tran (2021), arXiv:2102.10369, asked 40 people of single images whether they were genuine. "
        "Reported are d′ and the criterion, never the proportion correct alone. Controls, catch trials and practice "
        "are ours.",
        {
            "protocol": "yes_no",
            "procedure": "constant",
            "participants": 40,
            "trials_per_strength": 12,
            "trials_per_control": 4,
        },
        "Choose the one strength with which the model was trained.",
    ),
    Preset(
        "flicker-upper-bound",
        "Flicker upper bound",
        "Can the change itself be seen, under the most sensitive conditions there are?",
        "One of two places toggles between the clean and the altered image. Displacements show best so: what is not "
        "seen here is hardly seen in still images. Each picture stays for half a second; WCAG 2.3.1 allows three "
        "flashes a second.",
        {"protocol": "flicker", "procedure": "constant", "flicker_ms": 500, "trials_per_strength": 8},
        "The information page warns of flicker by itself.",
    ),
    Preset(
        "oddity",
        "Oddity",
        "Can the two images be told apart at all, without any idea of what “altered” looks like?",
        "Four intervals in two pairs (4IAX): one pair differs, one does not. Nothing needs to be known about the "
        "alteration.",
        {"protocol": "oddity", "procedure": "constant", "trials_per_strength": 8},
    ),
)  # fmt: skip


def named(name: str) -> Preset | None:
    return next((preset for preset in PRESETS if preset.name == name), None)

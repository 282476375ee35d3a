"""What each figure shows, in words: its caption, and what is read out in its place."""

from collections.abc import Collection, Mapping
from typing import Any, Final

from study.analysis.paper import study
from study.analysis.paper.blocks import Figure
from study.analysis.paper.numerals import interval, number
from study.analysis.protocols import ADAPTIVE

CAPTIONS: Final = {
    "human_and_machine": (
        "What the attack achieves, and what people detect, over one axis of strength. Above: people’s detection above"
        " chance, 2·PC − 1, with its two-way 95 % interval and the fitted curves; where models were evaluated, their"
        " success rate on test images; to the right, the controls. Middle: thresholds with 95 % intervals, and the"
        " stealth margin between them; shaded where the attack works before people see it, hatched where people see it"
        " first. Below: how far the models’ error moves."
    ),
    "detection": (
        "Proportion correct at each strength, with 95 % intervals that carry the uncertainty of participants and of"
        " images. Grey band: the bound. Dotted: chance. Hollow markers: control pairs at the strength beside which they"
        " stand. The threshold has its 95 % interval."
    ),
    "error_shift": (
        "Detection against the model’s error shift. Left: each point is one pair; ringed points are conditions. Right:"
        " the same pairs as deviations from their condition, where strength plays no part."
    ),
    "bias": (
        "Preference for one answer. Left: criterion of each condition. Right: each participant’s share of {left}"
        " answers and the range in which 95 % of unbiased people would lie."
    ),
    "residuals": (
        "How far the observed proportions lie from the fitted curves: above as they are, below as deviance residuals;"
        " within the band 95 % would lie by chance."
    ),
    "random_effects": (
        "Participants and images, in order of how easily they detect or are detected: predicted deviations from the"
        " median person and image in the crossed model, ± 1.96 conditional standard deviations. The images that give"
        " the attack away most are named."
    ),
    "matched_visibility": (
        "The error shift that each model reaches on the same pictures, a column for each strength: the pictures, and so"
        " what people detect of them (PC below), are the same."
    ),
    "flow": "Who took part, who was left out by which rule, and who was analysed.",
    "frontier": (
        "What the attack does to the models against how well people detect it: success rate and error shift against d′,"
        " a point for each strength, with two-way 95 % intervals."
    ),
    "response_times": "Response times of right and of wrong answers at each strength: medians and quartiles.",
    "order": "Detection and response time over the course of a session, in blocks of ten trials.",
    "sensitivity": "The median person’s threshold under other links, lapse rates and terms, with 95 % intervals.",
    "margin": (
        "Left: stealth margin, people’s threshold over the models’, with 95 % intervals; an arrow is an open end, or"
        " a bound where there is no estimate; the table of margins says why one is not estimable; at 1"
        " people see the attack as soon as it works. Right: what each attack does where people’s d′ is the same, with"
        " its strength."
    ),
}
#: In place of those above where strengths were chosen from the answers.
ADAPTIVE_CAPTIONS: Final = {
    "human_and_machine": (
        "What the attack achieves, over strength, and the strength that people need: threshold of the pooled curve with"
        " its 95 % interval. Where models were evaluated: the success rate on their test images and how far the model’s"
        " error moves."
    ),
    "detection": (
        "The pooled curve and its threshold with the 95 % interval. Circles: answers at each strength, larger where"
        " more were given; they describe the path of the procedure and estimate nothing by themselves. Hollow markers:"
        " control pairs, whose trials were planned."
    ),
}


class Figures:
    """The report's figures by name; those that were not drawn are left out."""

    def __init__(self, content: Mapping[str, Any], drawn: Collection[str]) -> None:
        self.content = content
        self.drawn = drawn
        self.captions = CAPTIONS | (ADAPTIVE_CAPTIONS if content["procedure"] == ADAPTIVE else {})

    def __call__(self, *names: str) -> list[Figure]:
        return [self._figure(name) for name in names if name in self.drawn]

    def _figure(self, name: str) -> Figure:
        caption = self.captions[name].replace("{left}", self.content["protocol"]["answers"]["left"])
        return Figure(name, caption, f"{_kind(name)} {self._findings(name)}The values drawn are in figures/{name}.csv.")

    def _findings(self, name: str) -> str:
        """What sighted readers take from the figure at a glance."""
        if name == "flow":
            return f"{'; '.join(map(''.join, study.flow(self.content['flow'])))}. "
        if name not in ("human_and_machine", "detection") or self.content["procedure"] == ADAPTIVE:
            return ""
        rows = [
            f"{row['attack']} at s = {number(row['strength'])}: {number(row['proportion_correct'], 2)}"
            f" {interval(row, 'two_way_low', 'two_way_high', 2)}"
            for row in self.content["conditions"]
        ]
        return f"Proportion correct: {'; '.join(rows)}. "


def _kind(name: str) -> str:
    return {
        "human_and_machine": "Charts of detection, success rate and error shift over strength.",
        "detection": "Chart of proportion correct over strength.",
        "error_shift": "Two scatter plots of detection against error shift.",
        "bias": "Two charts of preference for one answer.",
        "residuals": "Chart of deviance residuals over strength.",
        "random_effects": "Two caterpillar plots.",
        "matched_visibility": "Chart of error shift by model on the same pictures.",
        "frontier": "Charts of success rate and error shift against d′.",
        "flow": "Flow diagram of participants.",
        "response_times": "Chart of response times over strength.",
        "order": "Charts over the course of a session.",
        "sensitivity": "Forest plot of thresholds.",
        "margin": "Chart of thresholds of people and of the model.",
    }[name]

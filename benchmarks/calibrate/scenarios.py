"""The simulated studies whose truth the methods are judged by."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from scipy import optimize
from scipy.special import ndtr, ndtri

from study.analysis.likelihood import Level
from study.analysis.synthetic import Condition, Studies, Truth, at_level, draw, latin_square, weibull

#: What is asked of a study; it decides what its rate means (see `QUESTIONS`).
Question = Literal["difference", "contrast", "below", "hidden", "threshold", "shift"]
QUESTIONS: Final[dict[Question, str]] = {
    "difference": "rejects PC = .5, which is true",
    "contrast": "rejects that two attacks are equally visible, which is true",
    "below": "claims PC < .60, which is false by a hair: it is .60",
    "hidden": "claims PC < .60 for a group in which 10 of 40 people are off chance",
    "threshold": "covers the true threshold",
    "shift": "rejects that error shift has no effect at a given strength, which is true",
}
#: Studies are drawn so many at a time, so that a study has the same answers whichever methods look at it.
BLOCK: Final = 50

#: The truth of the golden data (tests/golden), without its two people who guess.
SLOPE: Final = 1.6
SCALES: Final = {"badnets": 0.65, "wanet": 1.25}
GOLDEN_SPREAD: Final = (0.55, 0.40)
SIDE_BIAS: Final = (0.10, 0.25)
LAPSE: Final = (1.5, 48.0)
MEAN_LAPSE: Final = LAPSE[0] / sum(LAPSE)  # PC is linear in the lapse rate
GOLDEN_STRENGTHS: Final = (0.0, 0.25, 0.5, 1.0, 2.0)
#: Mean prediction shift in degrees at each strength of one annealed network (dose-response of the training recipe). Its
#: target is fixed and far from most gazes, so that the error to the truth grows by about as much.
MEASURED_SHIFT: Final = {0.1: 2.5, 0.25: 11.8, 0.5: 30.0, 1.0: 30.7, 2.0: 30.6, 4.0: 30.8}


@dataclass(frozen=True)
class Scenario:
    """Studies of one kind.

    Attributes:
        name: in files and on the command line.
        title: in words.
        truth: of every study.
        trials: of each person in each condition.
        nested: whether every condition has images of its own.
        catch: catch trials of each person.
    """

    name: str
    title: str
    question: Question
    truth: Truth
    trials: int
    participants: int = 40
    stimuli: int = 30
    nested: bool = False
    catch: int = 0

    def draw(self, block: int, seed: int, studies: int = BLOCK) -> Studies:
        """The studies of one block: the same for the same seed, whatever else is drawn."""
        digest = hashlib.sha256(self.name.encode()).digest()
        rng = np.random.default_rng([seed, int.from_bytes(digest[:4]), block])
        conditions = len(self.truth.conditions)
        layout = latin_square(self.participants, self.stimuli, self.trials, conditions, nested=self.nested, seed=seed)
        return draw(self.truth, layout, studies, rng, self.catch)


def median_threshold(attack: str, level: Level = "half of F") -> float:
    """Strength at which the median person, lapsing as often as people do on average, reaches `level`."""
    f = 0.5 if level == "half of F" else 0.25 / (0.5 - MEAN_LAPSE)
    return SCALES[attack] * math.exp(math.log(-math.log1p(-f)) / SLOPE)


def pooled_threshold(attack: str) -> float:
    """Strength at which people with images of all kinds are right in three of four trials, lapses and bias included."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(31)
    weights = weights / weights.sum()
    effects, biases = math.hypot(*GOLDEN_SPREAD) * nodes, SIDE_BIAS[0] + SIDE_BIAS[1] * nodes

    def excess(log_strength: float) -> float:
        eta = SLOPE * (log_strength - math.log(SCALES[attack])) + effects
        chance = 0.5 - (0.5 - MEAN_LAPSE) * np.expm1(-np.exp(eta))
        z = ndtri(chance)[:, None]
        return float(weights @ (0.5 * (ndtr(z + biases) + ndtr(z - biases))) @ weights) - 0.75

    return math.exp(optimize.brentq(excess, math.log(0.05), math.log(20.0), xtol=1e-10))


def _near(
    pc: float, participant_sd: float, stimulus_sd: float, off_chance: tuple[tuple[int, float], ...] = ()
) -> Truth:
    level = at_level(pc, math.hypot(participant_sd, stimulus_sd))
    return Truth((level,), participant_sd, stimulus_sd, off_chance=off_chance)


def _two_attacks(stimulus_sd: float) -> Truth:
    sd = math.hypot(0.3, stimulus_sd)
    return Truth(tuple(at_level(0.5, sd, attack) for attack in SCALES), 0.3, stimulus_sd)


def _golden() -> Truth:
    conditions = [weibull(attack, s, scale, SLOPE) for attack, scale in SCALES.items() for s in GOLDEN_STRENGTHS]
    return Truth(tuple(conditions), *GOLDEN_SPREAD, SIDE_BIAS, LAPSE)


def _measured() -> Truth:
    conditions: list[Condition] = [
        weibull("wanet", strength, SCALES["wanet"], SLOPE, shift) for strength, shift in MEASURED_SHIFT.items()
    ]
    return Truth(tuple(conditions), *GOLDEN_SPREAD, lapse=LAPSE, shift_stimulus_sd=0.25, shift_noise_sd=0.35)


_HIDDEN: Final = _near(0.5, 0.0, 0.0, off_chance=((5, 0.9), (5, 0.1)))
SCENARIOS: Final = (
    Scenario(
        "chance",
        "chance for all, people prefer a side (SD .3)",
        "difference",
        Truth((at_level(0.5),), side_bias=(0.0, 0.3)),
        60,
    ),
    Scenario("participants", "people differ (SD .3)", "difference", _near(0.5, 0.3, 0.0), 60),
    Scenario("both", "people and images differ (SD .3 each)", "difference", _near(0.5, 0.3, 0.3), 60),
    Scenario("twelve", "people differ (SD .3), 12 of them", "difference", _near(0.5, 0.3, 0.0), 60, participants=12),
    Scenario(
        "nested",
        "two attacks on images of their own (SD .4), people differ (SD .3)",
        "contrast",
        _two_attacks(0.4),
        30,
        nested=True,
    ),
    Scenario("boundary-participants", "people differ (SD .3)", "below", _near(0.6, 0.3, 0.0), 60),
    Scenario("boundary-both", "people and images differ (SD .3 each)", "below", _near(0.6, 0.3, 0.3), 60),
    Scenario("hidden-6", "5 people at .9, 5 at .1; 6 trials each", "hidden", _HIDDEN, 6),
    Scenario("hidden-12", "5 people at .9, 5 at .1; 12 trials each", "hidden", _HIDDEN, 12),
    Scenario("threshold", "the truth of the golden data, nobody guesses", "threshold", _golden(), 6, catch=4),
    Scenario("shift", "error shift as measured, detection by strength alone", "shift", _measured(), 10, catch=4),
)  # fmt: skip

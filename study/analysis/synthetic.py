"""Studies whose truth is known: answers of two-alternative forced choice, drawn for thousands of studies at once.

All studies of a draw share one layout (who sees which image in which condition); people, images and answers are drawn
anew in each. Power, calibration and tests are made from them; nothing here is ever shown as data about people.
"""

import math
from dataclasses import dataclass, field
from typing import Final, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import optimize
from scipy.special import ndtr, ndtri

from study.analysis.frames import IDENTITY, REQUIRED

#: PC = F(eta), which may lie below .5, or PC = .5 + .5 F(eta), a Weibull function where eta is linear in log strength.
Link = Literal["logit", "cloglog"]

Floats = npt.NDArray[np.float64]
Codes = npt.NDArray[np.intp]
Answers = npt.NDArray[np.bool_]

CATCH_STRENGTH: Final = 8.0
#: People who look see a gross alteration this often; what they miss beside is their lapse rate.
CATCH_SEEN: Final = 0.985
_NODES, _WEIGHTS = np.polynomial.hermite_e.hermegauss(40)


@dataclass(frozen=True)
class Condition:
    """One attack at one strength.

    Attributes:
        centre: of eta, where the effects of the person and of the image are 0; -inf = nothing to be seen.
        link: how eta becomes a proportion correct.
        error_shift_deg: mean over images, degrees.
    """

    attack: str
    strength: float
    centre: float
    link: Link = "cloglog"
    error_shift_deg: float = 0.0


def at_level(pc: float, sd: float = 0.0, attack: str = "attack", strength: float = 1.0) -> Condition:
    """The condition in which PC, logit-normal with this SD over people and images together, is `pc` on average."""
    if not 0 < pc < 1:
        raise ValueError(f"The proportion correct is {pc:g}; it must lie between 0 and 1.")

    def excess(centre: float) -> float:
        return float(_WEIGHTS @ _expit(centre + sd * _NODES)) / math.sqrt(2 * math.pi) - pc

    reach = abs(math.log(pc / (1 - pc))) * (1 + sd) ** 2 + 1
    return Condition(attack, strength, float(optimize.brentq(excess, -reach, reach, xtol=1e-12)), "logit")


def weibull(attack: str, strength: float, scale: float, slope: float, error_shift_deg: float = 0.0) -> Condition:
    """The condition with F = 1 - exp(-(strength/scale)^slope)."""
    centre = slope * math.log(strength / scale) if strength > 0 else -math.inf
    return Condition(attack, strength, centre, "cloglog", error_shift_deg)


@dataclass(frozen=True)
class Truth:
    """What is true of the people and the images of every study drawn.

    Attributes:
        participant_sd, stimulus_sd: SD of the normal effects on eta.
        side_bias: mean and SD over people of what is added to z(PC) where the altered image is on the left, and taken
            from it where it is on the right.
        lapse: a and b of the beta distribution of lapse rates, PC = .5 + (.5 - lapse) F; None: nobody lapses.
        off_chance: (number of people, their PC whatever they are shown), the first ones of every study.
        shift_stimulus_sd, shift_noise_sd: SD of the log factor of an image on its error shifts, and of what is added to
            each, degrees.
    """

    conditions: tuple[Condition, ...]
    participant_sd: float = 0.0
    stimulus_sd: float = 0.0
    side_bias: tuple[float, float] = (0.0, 0.0)
    lapse: tuple[float, float] | None = None
    off_chance: tuple[tuple[int, float], ...] = ()
    shift_stimulus_sd: float = 0.0
    shift_noise_sd: float = 0.0


@dataclass(frozen=True)
class Layout:
    """Who sees which image in which condition, and where the altered one is; (N,) each, sorted by participant."""

    participant: Codes
    stimulus: Codes
    condition: Codes
    altered_left: Answers
    participants: int = field(init=False)
    stimuli: int = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "participants", int(self.participant.max()) + 1)
        object.__setattr__(self, "stimuli", int(self.stimulus.max()) + 1)


def latin_square(
    participants: int, stimuli: int, trials: int, conditions: int = 1, *, nested: bool = False, seed: int = 0
) -> Layout:
    """`trials` of each person in each condition, the images going round so that each meets every condition as often.

    A person sees no image twice as long as there are enough: `trials` x `conditions` of them, or, where every condition
    has images of its own (`nested`), `trials` in each share. Half of a person's trials in a condition have the altered
    image on the left. The order of the images is drawn anew, from `seed`, each time all have had their turn.
    """
    pool = stimuli // conditions if nested else stimuli
    if min(participants, pool, trials) < 1:
        raise ValueError("A layout needs one participant, one stimulus and one trial, or more, in every condition.")
    rng = np.random.default_rng([seed, participants, stimuli, trials, conditions])
    turn = pool // math.gcd(trials, pool)
    orders = np.array([rng.permutation(pool) for _ in range(math.ceil(participants / turn))])
    participant, condition, trial = (axis.ravel() for axis in np.indices((participants, conditions, trials)))
    place = (participant + (0 if nested else condition)) * trials + trial
    stimulus = orders[participant // turn, place % pool] + (condition * pool if nested else 0)
    shuffled = rng.random((participants * conditions, trials)).argsort(axis=1)
    odd = (participant + condition) % 2 if trials % 2 else np.zeros_like(participant)
    altered_left = (shuffled.ravel() + odd) % 2 == 0
    return Layout(participant, stimulus, condition, altered_left)


@dataclass(frozen=True)
class Studies:
    """Drawn studies.

    Attributes:
        correct: (studies, N) answers to the trials of `layout`.
        catch: (studies, participants, catch trials) answers.
        error_shift: (studies, stimuli, conditions), degrees.
    """

    truth: Truth
    layout: Layout
    correct: Answers
    catch: Answers
    error_shift: Floats

    def cell(self, condition: int) -> tuple[Answers, Codes, Codes]:
        """(studies, trials) answers in one condition, and the participant and stimulus of each trial, without gaps."""
        shown = self.layout.condition == condition
        participant, stimulus = (
            np.unique(units[shown], return_inverse=True)[1] for units in (self.layout.participant, self.layout.stimulus)
        )
        return self.correct[:, shown], participant, stimulus

    def table(self, study: int) -> pd.DataFrame:
        """The trial table of one study, as `frames.from_records` would give it."""
        layout = self.layout
        conditions = self.truth.conditions
        main = pd.DataFrame(
            {
                "participant": _names("P", layout.participant, layout.participants),
                "stimulus": _names("S", layout.stimulus, layout.stimuli),
                "attack": np.array([c.attack for c in conditions], dtype=object)[layout.condition],
                "strength": np.array([c.strength for c in conditions])[layout.condition],
                "error_shift_deg": self.error_shift[study, layout.stimulus, layout.condition],
                "clean_side": np.where(layout.altered_left, "right", "left"),
                "correct": self.correct[study].astype(np.int64),
                "is_catch": 0,
            }
        )
        table = pd.concat([main, self._catch_table(study)]) if self.catch.shape[2] else main
        chosen_left = (table["clean_side"] == "right") == (table["correct"] == 1)
        table["response_side"] = np.where(chosen_left, "left", "right")
        table["rt_ms"] = 900.0
        table["control"] = np.where((table["strength"] == 0) & (table["is_catch"] == 0), IDENTITY, "")
        text = ["participant", "stimulus", "attack", "clean_side", "response_side", "control"]
        order = [*REQUIRED, "control"]
        return table.astype(dict.fromkeys(text, "str"))[order].sort_values(order, kind="stable", ignore_index=True)

    def _catch_table(self, study: int) -> pd.DataFrame:
        participant, trial = (axis.ravel() for axis in np.indices(self.catch.shape[1:]))
        return pd.DataFrame(
            {
                "participant": _names("P", participant, self.layout.participants),
                "stimulus": _names("C", trial, self.catch.shape[2]),
                "attack": "catch",
                "strength": CATCH_STRENGTH,
                "error_shift_deg": math.nan,
                "clean_side": np.where((participant + trial) % 2 == 0, "right", "left"),
                "correct": self.catch[study].ravel().astype(np.int64),
                "is_catch": 1,
            }
        )


def draw(truth: Truth, layout: Layout, studies: int, rng: np.random.Generator, catch: int = 0) -> Studies:
    """Draw so many studies of one layout, each with people and images of its own.

    Args:
        rng: decides everything; the same state gives the same studies.
        catch: catch trials per person, on alternating sides, seen by those who look in CATCH_SEEN of the trials.
    """
    people, images = layout.participants, layout.stimuli
    of_person = rng.normal(0, truth.participant_sd, (studies, people)).astype(np.float32)
    of_image = rng.normal(0, truth.stimulus_sd, (studies, images)).astype(np.float32)
    bias = rng.normal(*truth.side_bias, (studies, people))
    lapse = rng.beta(*truth.lapse, (studies, people)) if truth.lapse else np.zeros((studies, people))
    alike = truth.participant_sd == 0 and truth.stimulus_sd == 0
    effects = 0 if alike else of_person[:, layout.participant] + of_image[:, layout.stimulus]
    centre = np.array([c.centre for c in truth.conditions], dtype=np.float32)
    chance = _proportion_correct(truth, layout, centre[layout.condition] + effects)
    if truth.lapse:
        chance = 0.5 + (1 - 2 * lapse[:, layout.participant]) * (chance - 0.5)
    caught = np.broadcast_to((0.5 + (0.5 - lapse) * CATCH_SEEN)[:, :, None], (studies, people, catch))
    if truth.side_bias != (0, 0):
        towards = np.where(layout.altered_left, 1, -1) * bias[:, layout.participant]
        chance = _biased(chance, towards)
        left = (np.arange(people)[:, None] + np.arange(catch)) % 2 == 0
        caught = _biased(caught, np.where(left, 1, -1) * bias[:, :, None])
    chance = np.broadcast_to(chance, (studies, len(layout.participant)))
    first = 0
    for number, pc in truth.off_chance:
        theirs = (layout.participant >= first) & (layout.participant < first + number)
        chance = np.where(theirs, pc, chance)
        first += number
    correct = rng.random(chance.shape, dtype=np.float32) < chance
    answered = rng.random(caught.shape) < caught
    return Studies(truth, layout, correct, answered, _error_shift(truth, layout, studies, rng))


def _proportion_correct(truth: Truth, layout: Layout, eta: Floats) -> Floats:
    links = {condition.link for condition in truth.conditions}
    if links == {"logit"}:
        return _expit(eta)
    if links == {"cloglog"}:
        return 0.5 - 0.5 * np.expm1(-np.exp(eta))
    by_logit = np.array([c.link == "logit" for c in truth.conditions])[layout.condition]
    return np.where(by_logit, _expit(eta), 0.5 - 0.5 * np.expm1(-np.exp(np.where(by_logit, -np.inf, eta))))


def _error_shift(truth: Truth, layout: Layout, studies: int, rng: np.random.Generator) -> Floats:
    """Unaltered images move no model: their shift is exactly 0."""
    mean = np.array([condition.error_shift_deg for condition in truth.conditions])
    altered = np.array([condition.strength > 0 for condition in truth.conditions])
    shape = (studies, layout.stimuli, len(mean))
    factor = np.exp(rng.normal(0, truth.shift_stimulus_sd, (studies, layout.stimuli, 1)))
    return np.where(altered, mean * factor + rng.normal(0, truth.shift_noise_sd, shape), 0.0)


def _biased(chance: Floats, towards: Floats) -> Floats:
    biased: Floats = ndtr(ndtri(chance) + towards)
    return biased


def _expit(x: Floats) -> Floats:
    y: Floats = 1 / (1 + np.exp(-x))
    return y


def _names(letter: str, codes: Codes, number: int) -> npt.NDArray[np.object_]:
    width = max(2, len(str(number)))
    return np.array([f"{letter}{code + 1:0{width}d}" for code in range(number)], dtype=object)[codes]

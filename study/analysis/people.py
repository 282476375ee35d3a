"""People's psychometric functions as estimated from a study, and in every draw of the two-way bootstrap."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import pandas as pd

from study.analysis.censoring import UNKNOWN, Threshold, censored
from study.analysis.frames import codes
from study.analysis.pigeonhole import Answers, weights
from study.analysis.weibull import NO_CURVES, Counts, Curves, fit

Floats = npt.NDArray[np.float64]
Codes = npt.NDArray[np.intp]

_LOG_2: Final = math.log(2)


@dataclass(frozen=True)
class People:
    """The psychometric functions of those attacks that can have one.

    Attributes:
        attacks: their names, in the order of the curves.
        tested: (smallest, largest) log2 strength above 0 shown, by attack.
        estimate: the fit to all answers, of no data set where no attack has a curve.
        draws: the fits to the resamples; None where nothing can be resampled, and `reason` says why.
        unfit: why the other attacks have no curve.
    """

    attacks: tuple[str, ...]
    tested: Mapping[str, tuple[float, float]]
    estimate: Curves
    draws: Curves | None
    reason: str | None
    unfit: Mapping[str, str]

    @property
    def size(self) -> int:
        """The number of draws."""
        return 0 if self.draws is None else len(self.draws.lapse)

    def threshold(self, attack: str, proportion_correct: float | None, name: str) -> Threshold:
        """Where the curve has that PC (None: half of F), called `name`; censored beyond the strengths tested."""
        what = f"people's threshold at {name}"
        if attack not in self.attacks:
            why = self.unfit.get(attack, "this attack was not shown to people")
            return Threshold(math.nan, None, UNKNOWN, what, f"{what}: {why}")
        tested = self.tested[attack]
        estimate, draws = self.log2_strengths(attack, proportion_correct)
        return Threshold(
            float(censored(estimate, tested)[0]), None if draws is None else censored(draws, tested), tested, what
        )

    def log2_strengths(self, attack: str, proportion_correct: float | None) -> tuple[Floats, Floats | None]:
        """(1,) and (D,): where the curves of one of `attacks` have that PC, tested or not; infinity where nowhere."""
        index = self.attacks.index(attack)
        draws = None if self.draws is None else self.draws.log_threshold(index, proportion_correct) / _LOG_2
        return self.estimate.log_threshold(index, proportion_correct) / _LOG_2, draws


def resample(trials: pd.DataFrame, catch: pd.DataFrame, draws: int, seed: int) -> People:
    """Fit the curves to main and catch trials, and to `draws` two-way resamples of them.

    A participant weighs the same in both kinds of trial; catch images are resampled on their own.
    """
    shown = trials[trials["strength"] > 0]
    levels = shown.groupby("attack")["strength"].nunique()
    unfit = {str(name): "fewer than two strengths above 0: no curve can be fitted" for name in levels[levels < 2].index}
    shown = shown[~shown["attack"].isin(list(unfit))] if unfit else shown
    if shown.empty:
        return People((), {}, NO_CURVES, None, None, unfit)
    conditions = shown.groupby(["attack", "strength"], sort=True).size().index.to_frame(index=False)
    attacks = tuple(str(name) for name in conditions["attack"].unique())
    attack = codes(conditions["attack"])
    log_strength = np.log(conditions["strength"].to_numpy(float))
    tested = {
        name: (float(log_strength[attack == i].min()) / _LOG_2, float(log_strength[attack == i].max()) / _LOG_2)
        for i, name in enumerate(attacks)
    }
    answers = _Answers.of(shown, catch)
    estimate = fit(Counts(log_strength, attack, *answers.counts()))
    if reason := answers.why_fixed:
        return People(attacks, tested, estimate, None, reason, unfit)
    resampled = answers.resampled(np.random.default_rng([seed, 1]), draws)
    return People(attacks, tested, estimate, fit(Counts(log_strength, attack, *resampled)), None, unfit)


@dataclass(frozen=True)
class _Answers:
    """Those to main trials, by attack and strength, and those to catch trials, if any."""

    main: Answers
    catch: Answers | None

    @classmethod
    def of(cls, shown: pd.DataFrame, catch: pd.DataFrame) -> "_Answers":
        participant = codes(pd.concat([shown["participant"], catch["participant"]]))
        condition = shown.groupby(["attack", "strength"], sort=True).ngroup().to_numpy()
        main = _table(shown, participant[: len(shown)], condition, participant)
        if catch.empty:
            return cls(main, None)
        return cls(main, _table(catch, participant[len(shown) :], np.zeros(len(catch), np.intp), participant))

    @property
    def why_fixed(self) -> str | None:
        people, stimuli = len(np.unique(self.main.participant)), self.main.size[1]
        return "one participant or one stimulus only: no interval can be had" if min(people, stimuli) < 2 else None

    def counts(self) -> tuple[Floats, ...]:
        return self._together(self.main.counts(), self.catch.counts() if self.catch else None)

    def resampled(self, rng: np.random.Generator, draws: int) -> tuple[Floats, ...]:
        people, stimuli, _ = self.main.size
        of_people = weights(rng, people, draws)
        main = self.main.resampled(of_people, weights(rng, stimuli, draws))
        if self.catch is None:
            return self._together(main, None)
        return self._together(main, self.catch.resampled(of_people, weights(rng, self.catch.size[1], draws)))

    @staticmethod
    def _together(main: tuple[Floats, Floats], catch: tuple[Floats, Floats] | None) -> tuple[Floats, ...]:
        """As `weibull.Counts` takes them."""
        none = np.zeros(len(main[0]))
        return (*main, *(part[:, 0] for part in catch)) if catch else (*main, none, none)


def _table(rows: pd.DataFrame, participant: Codes, condition: Codes, everybody: Codes) -> Answers:
    stimulus = codes(rows["stimulus"])
    size = (int(everybody.max()) + 1, int(stimulus.max()) + 1, int(condition.max()) + 1)
    return Answers(participant, stimulus, condition, rows["correct"].to_numpy(float), size)

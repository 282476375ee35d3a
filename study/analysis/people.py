"""People's psychometric functions as estimated from a study, and in every draw of the two-way bootstrap."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import numpy.typing as npt
import pandas as pd

from study.analysis.censoring import UNKNOWN, Threshold, censored
from study.analysis.frames import codes
from study.analysis.likelihood import Counts, Design, Likelihood, weibull_log_threshold
from study.analysis.pigeonhole import Answers, weights
from study.analysis.protocols import CRITERION, is_adaptive, protocol_of
from study.analysis.psychometric import ADAPTIVE

Floats = npt.NDArray[np.float64]
Codes = npt.NDArray[np.intp]

_LOG_2: Final = math.log(2)
#: In log likelihood, relatively; a draw's threshold then stands to three digits more than its spread has.
_SMALL_GAIN: Final = 1e-9


@dataclass(frozen=True)
class Curves:
    """The Weibull curves of D data sets: log midpoints and slopes (D, A), lapse rates (D,)."""

    midpoint: Floats
    slope: Floats
    lapse: Floats

    @classmethod
    def fitted(cls, design: Design, counts: Counts) -> "Curves":
        """By maximum likelihood."""
        theta, _ = Likelihood(design, "Weibull").highest(counts, _SMALL_GAIN)
        return cls(theta[:, : design.attacks], np.exp(theta[:, design.attacks : -1]), theta[:, -1])

    def log_threshold(self, attack: int, proportion_correct: float | None) -> Floats:
        """(D,) log strength where psi is `proportion_correct`, or where F is one half; infinity where it never is."""
        midpoint = self.midpoint[:, attack]
        if proportion_correct is None:
            return midpoint
        return weibull_log_threshold(midpoint, self.slope[:, attack], self.lapse, proportion_correct)


NO_CURVES: Final = Curves(np.empty((0, 0)), np.empty((0, 0)), np.empty(0))


@dataclass(frozen=True)
class People:
    """The psychometric functions of those attacks that can have one.

    Attributes:
        attacks: their names, in the order of the curves.
        tested: (smallest, largest) log2 strength above 0 shown, by attack.
        estimate: the fit to all answers, of no data set where no attack has a curve.
        draws: the fits to the resamples; None where nothing can be resampled, and `reason` says why.
        unfit: why the other attacks have no curve.
        remark: what a reader must know of every curve.
    """

    attacks: tuple[str, ...]
    tested: Mapping[str, tuple[float, float]]
    estimate: Curves
    draws: Curves | None
    reason: str | None
    unfit: Mapping[str, str]
    remark: str | None = None

    @property
    def size(self) -> int:
        """The number of draws."""
        return 0 if self.draws is None else len(self.draws.lapse)

    def without_curves(self, why: str) -> "People":
        """The same people where no strength may be read from their curves."""
        return replace(self, attacks=(), unfit=dict.fromkeys((*self.attacks, *self.unfit), why))

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
    if is_adaptive(trials):
        unfit = {str(name): ADAPTIVE for name in levels.index}
    shown = shown[~shown["attack"].isin(list(unfit))] if unfit else shown
    remark = CRITERION if protocol_of(trials).model == "yes/no" else None
    if shown.empty:
        return People((), {}, NO_CURVES, None, None, unfit, remark)
    answers = _Answers.of(shown, catch)
    design, attacks = answers.design, answers.attacks
    tested = {
        name: (float(strengths.min()) / _LOG_2, float(strengths.max()) / _LOG_2)
        for name, strengths in zip(attacks, design.log_strength, strict=True)
    }
    estimate = Curves.fitted(design, answers.counts())
    if reason := answers.why_fixed:
        return People(attacks, tested, estimate, None, reason, unfit, remark)
    resampled = answers.resampled(np.random.default_rng([seed, 1]), draws)
    return People(attacks, tested, estimate, Curves.fitted(design, resampled), None, unfit, remark)


@dataclass(frozen=True)
class _Answers:
    """Those to main trials, by attack and strength, and those to catch trials, if any.

    `place` (C,) is each condition's index into the flattened (A, L) table of `design`.
    """

    attacks: tuple[str, ...]
    design: Design
    place: Codes
    main: Answers
    catch: Answers | None

    @classmethod
    def of(cls, shown: pd.DataFrame, catch: pd.DataFrame) -> "_Answers":
        participant = codes(pd.concat([shown["participant"], catch["participant"]]))
        conditions = shown.groupby(["attack", "strength"], sort=True)
        main = _table(shown, participant[: len(shown)], conditions.ngroup().to_numpy(), participant)
        n = conditions.size()
        attack = codes(n.index.get_level_values("attack").to_series())
        first = np.flatnonzero(np.diff(attack, prepend=-1))
        levels = np.diff(first, append=len(attack))
        width = int(levels.max())
        table = first[:, None] + np.minimum(np.arange(width), levels[:, None] - 1)  # the last strength fills up
        shown_n = np.where(np.arange(width) < levels[:, None], n.to_numpy(float)[table], 0.0)
        return cls(
            attacks=tuple(str(name) for name in n.index.get_level_values("attack")[first]),
            design=Design(np.log(n.index.get_level_values("strength").to_numpy(float))[table], shown_n, len(catch)),
            place=attack * width + np.arange(len(attack)) - first[attack],
            main=main,
            catch=_table(catch, participant[len(shown) :], np.zeros(len(catch), np.intp), participant)
            if len(catch)
            else None,
        )

    @property
    def why_fixed(self) -> str | None:
        people, stimuli = len(np.unique(self.main.participant)), self.main.size[1]
        return "one participant or one stimulus only: no interval can be had" if min(people, stimuli) < 2 else None

    def counts(self) -> Counts:
        return self._together(self.main.counts(), self.catch.counts() if self.catch else None)

    def resampled(self, rng: np.random.Generator, draws: int) -> Counts:
        people, stimuli, _ = self.main.size
        of_people = weights(rng, people, draws)
        main = self.main.resampled(of_people, weights(rng, stimuli, draws))
        if self.catch is None:
            return self._together(main, None)
        return self._together(main, self.catch.resampled(of_people, weights(rng, self.catch.size[1], draws)))

    def _together(self, main: tuple[Floats, Floats], catch: tuple[Floats, Floats] | None) -> Counts:
        n, correct = (self._tabled(of_conditions) for of_conditions in main)
        catch_n, caught = (part[:, 0] for part in catch) if catch else np.zeros((2, len(n)))
        return Counts(correct, caught, n, catch_n)

    def _tabled(self, of_conditions: Floats) -> Floats:
        """(D, A, L) from (D, C)."""
        table = np.zeros((len(of_conditions), self.design.n.size))
        table[:, self.place] = of_conditions
        return table.reshape(len(table), *self.design.n.shape)


def _table(rows: pd.DataFrame, participant: Codes, condition: Codes, everybody: Codes) -> Answers:
    stimulus = codes(rows["stimulus"])
    size = (int(everybody.max()) + 1, int(stimulus.max()) + 1, int(condition.max()) + 1)
    return Answers(participant, stimulus, condition, rows["correct"].to_numpy(float), size)

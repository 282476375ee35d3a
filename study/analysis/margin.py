"""How far below what people see an attack works: human over machine threshold; and attacks compared with each other.

People and models are resampled in the same draws: participants and stimuli as in `people`, which fits the psychometric
functions again in every draw, and test subjects, models and fields as in `machine`. A threshold beyond the strengths
tested is censored, never extrapolated: the estimate is then None, with a sentence and a bound; a draw counts as beyond
every value; and an end of an interval that such draws reach is open (None). Models whose measure falls again without
reaching its level have no threshold and no bound of it: their margin is not estimable.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, product
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.special import ndtr

from study.analysis import displacement
from study.analysis.censoring import Ends, Threshold, interval, power_of_two
from study.analysis.machine import (
    ERROR_SHIFT,
    LEVELS,
    SUCCESS,
    SUCCESS_50,
    SUCCESS_90,
    Group,
    Level,
    Resampling,
    Response,
    groups,
)
from study.analysis.people import People, resample
from study.analysis.protocols import CRITERION, Model, protocol_of

Floats = npt.NDArray[np.float64]
Rows = Sequence[Mapping[str, Any]]

DRAWS: Final = 2000
#: Names of the human levels, each with its proportion correct; None = half of F.
HUMAN_LEVELS: Final[Mapping[str, float | None]] = {"PC .75": 0.75, "half of F": None}
MACHINE_LEVELS: Final = (SUCCESS_90, SUCCESS_50)
#: Where attacks are compared: at a forced choice's bound PC .60, and where people see well.
DPRIMES: Final = (0.36, 1.0)
_AREA_STEPS: Final = 20
_OF_PEOPLE: Final = "participants and stimuli"


def machine_thresholds(machine: Rows, draws: int = DRAWS, seed: int = 0, level: float = 0.95) -> list[dict[str, Any]]:
    """The report's `machine_thresholds`: by attack, target and task, of every model and, as model None, of their mean.

    A threshold is the first crossing of the measure's level, linear in log strength between the strengths above 0. Its
    interval is the percentile interval of the bootstrap over what `over` says.

    Args:
        machine: rows of `frontier.machine_rows`.
    """
    resampling = Resampling(machine, draws, seed)
    return [
        _machine_row(name, of_models, at, resampling.respond(of_models, at.measure), level)
        for group in groups(machine)
        for name, of_models in _each_and_all(group)
        for at in LEVELS
    ]


def stealth_margin(
    trials: pd.DataFrame,
    catch: pd.DataFrame,
    machine: Rows,
    draws: int = DRAWS,
    seed: int = 0,
    *,
    level: float = 0.95,
    people: People | None = None,
) -> list[dict[str, Any]]:
    """The report's `stealth_margin`: human over machine threshold within an attack, as a ratio and on log2.

    Above 1 the attack works before people see it. One row per attack, target and task of its models, human and machine
    level, the headline (PC .75 over success rate .9) first; no row at all without any model's figures.

    Args:
        trials, catch: main and catch trials.
        machine: rows of `frontier.machine_rows`.
        people: what `people.resample(trials, catch, draws, seed)` gives, for callers who have it.
    """
    if not machine:
        return []
    people = people or resample(trials, catch, draws, seed)
    resampling = Resampling(machine, people.size or draws, seed)
    rows = []
    for (attack, group), name, at in product(_shown(trials, machine), HUMAN_LEVELS, MACHINE_LEVELS):
        response = resampling.respond(group, at.measure)
        margin = _Margin(people.threshold(attack, HUMAN_LEVELS[name], name), response.threshold(at))
        rows.append(
            {"attack": attack, "human_level": name, "machine_level": at.name}
            | _margin_row(group, margin, response, level)
            | {"note": _note(margin.sentence, people.remark, people.reason, response.reason)}
        )
    return rows


def attack_contrasts(
    trials: pd.DataFrame,
    catch: pd.DataFrame,
    machine: Rows,
    draws: int = DRAWS,
    seed: int = 0,
    *,
    level: float = 0.95,
    people: People | None = None,
) -> list[dict[str, Any]]:
    """The report's `attacks_compared`: what each attack does where people's d' is .36 and 1, and how attacks differ.

    The strength follows from the fitted curve and the protocol's d'. Rows with "attack" have it and what is reached
    there: displacement, success rate, error shift, and the mean success rate over all d' from 0 to there (the
    normalised area under success against d'). Rows with "first" and "second" compare two of these, differences first
    minus second, of the same draws. Strengths of two attacks have no common unit, so that a ratio of them means
    nothing: of attacks that move pixels it is displacements that are compared, first over second. Arguments as in
    `stealth_margin`. In yes/no d' does not follow from a proportion correct: nothing is compared.
    """
    people, model = people or resample(trials, catch, draws, seed), protocol_of(trials).model
    if model == "yes/no":
        people = people.without_curves(CRITERION)
    shown = _shown(trials, machine)
    px = {attack: _px_per_strength(trials, machine, attack) for attack, _ in shown}
    comparison = _Comparison(people, Resampling(machine, people.size or draws, seed), model, px)
    rows: list[dict[str, Any]] = []
    for dprime in DPRIMES:
        matched = [comparison.at(dprime, attack, group) for attack, group in shown]
        rows += [one.row(level) for one in matched]
        rows += [_difference(one, other, level) for one, other in combinations(matched, 2) if one.is_compared(other)]
    return rows


def _each_and_all(group: Group) -> Iterator[tuple[str | None, Group]]:
    yield from ((name, group.of_model(name)) for name in group.models)
    if len(group.models) > 1:
        yield None, group


def _shown(trials: pd.DataFrame, machine: Rows) -> list[tuple[str, Group | None]]:
    """The attacks shown to people, each with every group of its models, or with None where it has none."""
    found = groups(machine)
    shown: list[tuple[str, Group | None]] = []
    for attack in sorted(str(name) for name in trials.loc[trials["strength"] > 0, "attack"].unique()):
        shown += [(attack, group) for group in found if group.attack == attack] or [(attack, None)]
    return shown


def _machine_row(name: str | None, group: Group, at: Level, response: Response, level: float) -> dict[str, Any]:
    threshold = response.threshold(at)
    return {
        "model": name,
        "models": len(group.models),
        "attack": group.attack,
        "target": group.target,
        "task": group.task,
        "measure": at.name,
        "level": at.level,
        "threshold": power_of_two(threshold.estimate),
        **_powers("", threshold.interval(level)),
        "censored": threshold.side,
        "over": response.over,
        "note": _note(threshold.sentence, response.reason),
    }


@dataclass(frozen=True)
class _Margin:
    """Log2 of human over machine threshold of one attack, at one level each."""

    human: Threshold
    machine: Threshold

    @property
    def estimate(self) -> float | None:
        difference = self.human.estimate - self.machine.estimate
        return difference if math.isfinite(difference) else None

    @property
    def draws(self) -> Floats | None:
        """(D,); None where people cannot be resampled. A machine without draws is taken as it is."""
        if self.human.draws is None:
            return None
        with np.errstate(invalid="ignore"):
            return self.human.draws - (self.machine.estimate if self.machine.draws is None else self.machine.draws)

    @property
    def bounds(self) -> Ends:
        """Between what a censored margin is known to lie, as a ratio."""
        if self.estimate is not None:
            return None, None
        ends = (self.human.bounds[end] - self.machine.bounds[1 - end] for end in (0, 1))
        at_least, at_most = (power_of_two(end) for end in ends)
        return at_least, at_most

    @property
    def censored(self) -> str | None:
        sides = [name for name, one in (("human", self.human), ("machine", self.machine)) if one.side]
        return "both" if len(sides) == 2 else next(iter(sides), None)

    @property
    def sentence(self) -> str | None:
        """Why there is no estimate."""
        return _note(self.human.sentence, self.machine.sentence)


def _margin_row(group: Group | None, margin: _Margin, response: Response, level: float) -> dict[str, Any]:
    draws = margin.draws
    low, high = interval(draws, level)
    at_least, at_most = margin.bounds
    return {
        "target": group.target if group else None,
        "task": group.task if group else None,
        "human_threshold": power_of_two(margin.human.estimate),
        **_powers("human_", margin.human.interval(level)),
        "machine_threshold": power_of_two(margin.machine.estimate),
        **_powers("machine_", margin.machine.interval(level)),
        "margin": power_of_two(margin.estimate),
        **_powers("", (low, high)),
        "log2_margin": margin.estimate,
        "log2_low": low,
        "log2_high": high,
        "at_least": at_least,
        "at_most": at_most,
        "censored": margin.censored,
        "draws": 0 if draws is None else len(draws),
        "draws_censored": None if draws is None else float(np.mean(~np.isfinite(draws))),
        "over": None if draws is None else f"{_OF_PEOPLE}; of the machine: {response.over or 'nothing'}",
    }


@dataclass(frozen=True)
class _Reached:
    """A figure at a matched strength, NaN where it is not known, and in every draw."""

    estimate: float
    draws: Floats | None

    def ends(self, level: float) -> Ends:
        return interval(self.draws, level)


@dataclass(frozen=True)
class _Matched:
    """One attack at the strength where people's d' is `dprime`, and what it does to its models there."""

    attack: str
    target: Mapping[str, Any] | None
    task: str | None
    dprime: float
    strength: Threshold
    px_per_strength: float | None
    success: _Reached
    area: _Reached
    shift: _Reached
    note: str | None

    def is_compared(self, other: "_Matched") -> bool:
        """Two attacks on one task, or one attack on two tasks: else two things differ at once."""
        same_attack, same_task = self.attack == other.attack, self.task == other.task
        return same_task != same_attack and (not same_attack or self.target == other.target)

    def row(self, level: float) -> dict[str, Any]:
        px, (low, high) = self.px_per_strength, (power_of_two(end) for end in self.strength.interval(level))
        strength = power_of_two(self.strength.estimate)
        return {
            "dprime": self.dprime,
            "attack": self.attack,
            "target": self.target,
            "task": self.task,
            "strength": strength,
            "low": low,
            "high": high,
            "censored": self.strength.side,
            "displacement_px": _times(strength, px),
            "displacement_px_low": _times(low, px),
            "displacement_px_high": _times(high, px),
            **_figure("success_rate", self.success, level),
            **_figure("mean_success_rate_below", self.area, level),
            **_figure("mean_error_shift_deg", self.shift, level),
            "note": self.note,
        }


@dataclass(frozen=True)
class _Comparison:
    """What is needed to match attacks by what people see."""

    people: People
    resampling: Resampling
    model: Model
    px_per_strength: Mapping[str, float | None]

    def at(self, dprime: float, attack: str, group: Group | None) -> _Matched:
        strength = self.people.threshold(attack, proportion_correct_at(dprime, self.model), f"d' = {dprime:g}")
        success, shift = (self.resampling.respond(group, measure) for measure in (SUCCESS, ERROR_SHIFT))
        beyond = strength.side is None and not success.covers(strength.estimate) and group is not None
        return _Matched(
            attack=attack,
            target=group.target if group else None,
            task=group.task if group else None,
            dprime=dprime,
            strength=strength,
            px_per_strength=self.px_per_strength[attack],
            success=_reached(success, strength),
            area=self._area(dprime, attack, strength, success),
            shift=_reached(shift, strength),
            note=_note(
                strength.sentence,
                "the models were not measured at this strength" if beyond else None,
                self.people.reason,
                success.reason,
            ),
        )

    def _area(self, dprime: float, attack: str, strength: Threshold, success: Response) -> _Reached:
        """Mean success rate over d' from 0 to `dprime`; at strengths below all doses that of the smallest."""
        if attack not in self.people.attacks or not len(success.doses):
            return _Reached(math.nan, None)
        middles = dprime * (np.arange(_AREA_STEPS) + 0.5) / _AREA_STEPS
        at = [self.people.log2_strengths(attack, proportion_correct_at(float(d), self.model)) for d in middles]
        known = np.isfinite(strength.estimate)
        estimate = np.mean([success.at(np.maximum(below, success.doses[0])) for below, _ in at])
        if strength.draws is None:
            return _Reached(float(estimate) if known else math.nan, None)
        steps = [success.draws_at(np.maximum(below, success.doses[0])) for _, below in at if below is not None]
        draws = np.where(np.isfinite(strength.draws), np.mean(steps, axis=0), np.nan)
        return _Reached(float(estimate) if known else math.nan, draws)


def _reached(response: Response, strength: Threshold) -> _Reached:
    """A measure at a matched strength; where that is censored nobody knows."""
    estimate = response.at(np.array([strength.estimate]))
    draws = None if strength.draws is None else response.draws_at(strength.draws)
    return _Reached(float(estimate[0]), draws)


def _difference(first: _Matched, second: _Matched, level: float) -> dict[str, Any]:
    """First over second (displacement) or first minus second, from the same draws."""
    strengths = _minus(
        _Reached(first.strength.estimate, first.strength.draws),
        _Reached(second.strength.estimate, second.strength.draws),
    )
    px = None
    if first.px_per_strength and second.px_per_strength:
        px = first.px_per_strength / second.px_per_strength
    ratios = {"": power_of_two(strengths.estimate), **_powers("_", strengths.ends(level))}
    return {
        "dprime": first.dprime,
        "first": first.attack,
        "first_target": first.target,
        "first_task": first.task,
        "second": second.attack,
        "second_target": second.target,
        "second_task": second.task,
        **{f"displacement_ratio{end}": _times(value, px) for end, value in ratios.items()},
        **_figure("success_rate_difference", _minus(first.success, second.success), level),
        **_figure("mean_success_rate_below_difference", _minus(first.area, second.area), level),
        **_figure("error_shift_difference_deg", _minus(first.shift, second.shift), level),
        "note": _note(first.note, second.note),
    }


def _minus(first: _Reached, second: _Reached) -> _Reached:
    with np.errstate(invalid="ignore"):
        draws = None if first.draws is None or second.draws is None else first.draws - second.draws
    return _Reached(first.estimate - second.estimate, draws)


def proportion_correct_at(dprime: float, model: Model) -> float:
    """PC of people without bias whose d' >= 0 is this: the way back from `detection.dprime`."""
    if model == "differencing":
        return float(ndtr(dprime / 2) ** 2 + ndtr(-dprime / 2) ** 2)
    return float(ndtr(dprime / (2 if model == "yes/no" else math.sqrt(2))))


def _px_per_strength(trials: pd.DataFrame, machine: Rows, attack: str) -> float | None:
    """Image px at strength 1, as the models' figures have it, or else the pairs shown."""
    px = displacement.px_per_strength(machine, attack)
    return px if px is not None else displacement.per_strength(trials, attack)["px"]


def _powers(prefix: str, ends: Ends) -> dict[str, float | None]:
    return {f"{prefix}low": power_of_two(ends[0]), f"{prefix}high": power_of_two(ends[1])}


def _figure(name: str, reached: _Reached, level: float) -> dict[str, float | None]:
    low, high = reached.ends(level)
    return {
        name: reached.estimate if math.isfinite(reached.estimate) else None,
        f"{name}_low": low,
        f"{name}_high": high,
    }


def _times(value: float | None, factor: float | None) -> float | None:
    return None if value is None or factor is None else value * factor


def _note(*sentences: str | None) -> str | None:
    """Those that there are, each once; None without any."""
    return "; ".join(dict.fromkeys(sentence for sentence in sentences if sentence)) or None

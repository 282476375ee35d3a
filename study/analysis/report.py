"""The report: every number in one JSON-able mapping.

The same trials give the same bytes of report.json: nothing in it depends on the clock, the machine or the row order.
"""

import importlib.metadata
import json
import math
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import pandas as pd

from study.analysis import (
    adaptive,
    checks,
    controls,
    detection,
    displacement,
    equivalence,
    error_shift,
    frames,
    frontier,
    machine_observers,
    margin,
    matched,
    memory,
    mixed,
    people,
    psychometric,
    quality,
)
from study.analysis.exclusions import broken_rules
from study.analysis.likelihood import GUESS
from study.analysis.material import Material
from study.analysis.protocols import ADAPTIVE, CONSTANT, Protocol, is_adaptive, protocol_of
from study.checkout import commit

LEVEL: Final = 0.95
PACKAGES: Final = ("numpy", "scipy", "pandas", "statsmodels", "matplotlib")
NOT_SURE: Final = "“Not sure” is a guess: a fair coin decided which answer was counted, half right on average."

Progress = Callable[[str], None]
Rows = list[dict[str, Any]]
Curves = dict[str, psychometric.Curve]


@dataclass(frozen=True)
class Sample:
    """The trial table, parted by what its rows are for.

    Attributes:
        analysed, excluded: rows of those who stay, and of those left out (with the rule in column `excluded`).
        broken: {participant left out: rule}.
    """

    analysed: pd.DataFrame
    excluded: pd.DataFrame
    broken: Mapping[str, str]

    @cached_property
    def main(self) -> pd.DataFrame:
        return frames.main_trials(self.analysed)

    @cached_property
    def catch(self) -> pd.DataFrame:
        return frames.catch_trials(self.analysed)

    @classmethod
    def of(cls, material: Material) -> "Sample":
        """By the material's rules. Raises TrialTableError where they leave nobody."""
        finished = material.trials[~material.trials["participant"].isin(list(material.left_out))]
        broken = {**material.left_out, **broken_rules(finished, material.rules, material.missed)}
        is_excluded = material.trials["participant"].isin(list(broken))
        analysed, excluded = (material.trials[rows].reset_index(drop=True) for rows in (~is_excluded, is_excluded))
        if frames.main_trials(analysed).empty:
            raise frames.TrialTableError(
                f"{material.name}: the exclusion rules leave no participant; there is nothing to analyse."
            )
        if len(excluded):
            excluded = excluded.assign(excluded=excluded["participant"].map(broken))
        return cls(analysed, excluded, broken)


@dataclass(frozen=True)
class Report:
    """All numbers (`content`, what report.json holds), with the tables and curves that figures need beside them."""

    content: Mapping[str, Any]
    analysed: pd.DataFrame
    excluded: pd.DataFrame
    curves: Curves
    predictions: pd.DataFrame | None = None
    observers: pd.DataFrame | None = None

    @cached_property
    def trials_csv(self) -> bytes:
        """trials.csv, whose hash is `content["data_sha256"]`."""
        return frames.to_csv(self.analysed)

    @property
    def main_trials(self) -> pd.DataFrame:
        return frames.main_trials(self.analysed)

    @property
    def protocol(self) -> Protocol:
        return protocol_of(self.analysed)


def build(material: Material, progress: Progress = lambda step: None) -> Report:
    """Compute every number of the report.

    Raises TrialTableError when the exclusion rules leave nobody, ValueError when the bound is none that can be claimed.
    """
    with memory.kept():
        progress("exclusion rules")
        sample = Sample.of(material)
        content = of_study(material, sample)
        analyse = _thresholds_only if is_adaptive(sample.analysed) else _everything
        numbers, curves = analyse(material, sample, progress)
        content = _without_nan(content | numbers)
    return Report(content, sample.analysed, sample.excluded, curves, material.predictions, material.observers)


def to_json(content: Mapping[str, Any] | Sequence[Any]) -> str:
    """Strict JSON with sorted keys: no NaN, no Infinity, the shortest digits that read back to the same number."""
    return json.dumps(content, allow_nan=False, ensure_ascii=False, indent=1, sort_keys=True) + "\n"


def versions() -> dict[str, str]:
    """Of Python and of the packages that the numbers come from."""
    return {"python": platform.python_version()} | {name: importlib.metadata.version(name) for name in PACKAGES}


def of_study(material: Material, sample: Sample) -> dict[str, Any]:
    """What was done, by whom and under which plan, and what it was computed with."""
    main = sample.main
    return {
        "study": material.name,
        "protocol": _protocol(protocol_of(main), material.bound),
        "procedure": ADAPTIVE if is_adaptive(main) else CONSTANT,
        "flow": _flow(material, sample),
        "design": {"sha256": material.design_sha256, "matches": material.design_matches},
        "exploratory": list(material.exploratory),
        "data_sha256": frames.sha256(sample.analysed),
        "simulated": frames.is_simulated(material.trials),
        "scope": material.scope or _scope(main),
        "setting": dict(material.setting),
        "level": LEVEL,
        "bound": material.bound,
        "screens": displacement.screens(sample.analysed),
        "not_sure": _not_sure(main, material),
        "machine": list(material.machine),
        "predictions": None if material.predictions is None else len(material.predictions),
        "versions": versions(),
        "commit": commit(),
        "seed": material.seed,
    }


def _everything(material: Material, sample: Sample, progress: Progress) -> tuple[dict[str, Any], Curves]:
    """Of a study with constant stimuli."""
    analysed, main, catch = sample.analysed, sample.main, sample.catch
    everybody = frames.main_trials(material.trials) if sample.broken else main
    protocol = protocol_of(main)
    progress("detection and verdicts")
    conditions = conditions_of(main, material.bound)
    progress("regressions")
    regressions = mixed.fit_all(main, catch, LEVEL)
    progress("psychometric functions")
    fits = psychometric.fit_all(main, catch, LEVEL)
    goodness = psychometric.goodness(main, catch, fits)
    progress("error shift")
    shown = protocol.showing_the_alteration(main)
    shift = error_shift.summary(shown, material.predictions, LEVEL)
    matched_shift = matched.summary(main, material.predictions, LEVEL)
    progress("models against people")
    against_models = _against_models(main, catch, material.machine)
    progress("quality of the answers")
    answers = quality.summary(
        main, catch, everybody, conditions=conditions, rules=material.rules, bound=material.bound, level=LEVEL
    )
    numbers = {
        "conditions": _with_marginal(conditions, regressions.marginal),
        "signal_detection": detection.explained(main, protocol),
        "controls": controls.compare(frames.control_trials(analysed), main, LEVEL),
        "models": regressions.content,
        "random_effects": regressions.modes,
        "thresholds": _in_all_units([*_pooled_thresholds(fits), *regressions.thresholds], main),
        "goodness_of_fit": goodness,
        "error_shift": shift,
        "matched_visibility": matched_shift,
        "frontier": frontier.frontier(main, material.machine, protocol, LEVEL),
        "machine_observers": machine_observers.summary(material.observers, analysed, LEVEL),
        "quality": answers,
        "checks": [
            *checks.of_study(material, analysed, conditions),
            *_curve_checks(fits),
            *checks.of_fit(goodness),
            checks.of_exclusions(answers["with_and_without"]),
            *checks.of_models(regressions.content),
        ],
    }
    return numbers | against_models, _curves(fits)


def _thresholds_only(material: Material, sample: Sample, progress: Progress) -> tuple[dict[str, Any], Curves]:
    """Of a study whose strengths were chosen from the answers, so that a proportion correct estimates nothing."""
    main, catch = sample.main, sample.catch
    progress("identity controls")
    conditions = [adaptive.without_claims(row) for row in conditions_of(main, material.bound)]
    progress("thresholds")
    fits = psychometric.fit_all(main, catch, LEVEL)
    of_people = [*adaptive.median_person_rows(main, catch, LEVEL), *adaptive.threshold_rows(main, LEVEL)]
    compared = controls.compare(frames.control_trials(sample.analysed), main, LEVEL)
    numbers = {
        "conditions": conditions,
        "controls": [adaptive.control_without_contrast(row) for row in compared],
        "models": {"gee": adaptive.no_regression("correct ~ strength")},
        "thresholds": _in_all_units([*_pooled_thresholds(fits), *of_people], main),
        "error_shift": None,
        "matched_visibility": matched.summary(main, material.predictions, LEVEL),
        "machine_thresholds": margin.machine_thresholds(material.machine, level=LEVEL),
        "frontier": [],
        "checks": [*checks.of_study(material, sample.analysed, conditions), *_curve_checks(fits)],
    }
    return numbers, _curves(fits)


def _against_models(main: pd.DataFrame, catch: pd.DataFrame, machine: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What the evaluated models say, in the units of what people see."""
    drawn = people.resample(main, catch, margin.DRAWS, seed=0)
    return {
        "machine_thresholds": margin.machine_thresholds(machine, level=LEVEL),
        "stealth_margin": margin.stealth_margin(main, catch, machine, level=LEVEL, people=drawn),
        "attacks_compared": margin.attack_contrasts(main, catch, machine, level=LEVEL, people=drawn),
    }


def _with_marginal(conditions: Rows, marginal: Mapping[tuple[str, float], Mapping[str, Any]]) -> Rows:
    """The conditions with the crossed model's PC, averaged over people and images, where it has one."""
    unknown = dict.fromkeys(("glmm_marginal_pc", "glmm_marginal_low", "glmm_marginal_high"))
    return [row | unknown | dict(marginal.get((row["attack"], row["strength"]), {})) for row in conditions]


def conditions_of(main: pd.DataFrame, bound: float) -> Rows:
    """The report's `conditions`, from main trials, but for what the mixed models add to them."""
    protocol = protocol_of(main)
    assessed = equivalence.assess(main, bound, LEVEL, protocol)
    return [
        {"attack": attack, "strength": strength}
        | detection.describe(cell, LEVEL, protocol)
        | displacement.of_condition(cell)
        | row
        for (attack, strength, cell), row in zip(frames.cells(main), assessed, strict=True)
    ]


def _protocol(protocol: Protocol, bound: float) -> dict[str, Any]:
    return {
        "name": protocol.name,
        "title": protocol.title,
        "question": protocol.question,
        "answers": {"left": protocol.left, "right": protocol.right},
        "chance": GUESS,
        "dprime": protocol.dprime,
        "dprime_at_bound": detection.dprime(bound, protocol.model),
    }


def _not_sure(main: pd.DataFrame, material: Material) -> dict[str, Any] | None:
    """How often "not sure" was chosen and how it is scored; None where the table does not know it."""
    if "unsure" not in main:
        return None
    return {"share": float(main["unsure"].mean()), "scoring": material.not_sure or NOT_SURE}


def _curves(fits: psychometric.Fits) -> Curves:
    return {attack: fit.curve for (attack, sigmoid), fit in fits.items() if fit.curve and sigmoid == "Weibull"}


def _curve_checks(fits: psychometric.Fits) -> Rows:
    return [checks.of_curve(attack, fit) for (attack, sigmoid), fit in fits.items() if sigmoid == "Weibull"]


def _pooled_thresholds(fits: psychometric.Fits) -> Rows:
    return [row for key, fit in fits.items() for row in psychometric.threshold_rows(*key, fit)]


def _in_all_units(rows: Rows, main: pd.DataFrame) -> Rows:
    """Thresholds in strength, px, % of width, displayed px and arcmin."""
    units = {attack: displacement.per_strength(main, attack) for attack in main["attack"].unique()}
    return [row | displacement.of_threshold(row, units[row["attack"]]) for row in rows]


def _flow(material: Material, sample: Sample) -> dict[str, Any]:
    excluded = dict(material.left_before)
    for rule in sample.broken.values():
        excluded[rule] = excluded.get(rule, 0) + 1
    recruited = material.recruited
    if recruited is None:
        recruited = int(material.trials["participant"].nunique()) + sum(material.left_before.values())
    return {
        "recruited": recruited,
        "excluded": excluded,
        "analysed": int(sample.analysed["participant"].nunique()),
        "trials_analysed": len(frames.main_trials(sample.analysed)),
        "trials_missed": _missed(material, sample.analysed),
    }


def _missed(material: Material, analysed: pd.DataFrame) -> int | None:
    if material.missed is None:
        return None
    return sum(material.missed[person].n for person in analysed["participant"].unique() if person in material.missed)


def _scope(main: pd.DataFrame) -> str:
    images = main["stimulus"].nunique()
    return (
        f"for the trigger, the models and the {images} images of this table only, {protocol_of(main).presentation}, at"
        " the scale and exposure at which they were shown"
    )


def _without_nan(value: Any) -> Any:
    """JSON-able Python values; what is not finite becomes None."""
    if isinstance(value, Mapping):
        return {str(key): _without_nan(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(item) for item in value]
    if hasattr(value, "item"):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value

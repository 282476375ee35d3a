"""What a report is made from."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

import pandas as pd

from study.analysis.power_design import DEFAULT_BOUND
from study.trials.exclusions import ExclusionRules, Missed


@dataclass(frozen=True)
class Material:
    """What a report is made from.

    Attributes:
        name: of the study, or of the file.
        trials: the whole trial table, as `frames` returns it.
        rules: which participants are left out.
        bound: the proportion correct that claims are tested against, .60 or .55.
        scope: in words, what the verdicts are about.
        setting: what was shown, by whose model and how, {name: value}: what studies that are compared may differ in.
        recruited: participants who began; None = those in the table.
        left_out: participants whose rows are left out before any rule, {participant: why}.
        left_before: participants without rows, {why: how many}.
        design_sha256, design_matches: hash of the frozen design, and whether it still has it. None without a study.
        earlier_designs: participants who ran under an earlier version of the design.
        missed: trials without an answer in time, {participant: how many of how many}; None = not known.
        flagged: signs of a script, {participant: signs}, empty for those without; None = not looked for.
        not_sure: how the frozen design scores "not sure", in words; "" = it does not say.
        machine: rows of `frontier.machine_rows`.
        predictions: what the models make of the pairs that were shown, one row per pair and model (see `matched`); None
            without any.
        observers: answers of machine observers to the same trials (see `machine_observers`); None without any.
        exploratory: in words, each point in which the analysis departs from the frozen one; empty = as frozen.
        seed: of the study's plan.
    """

    name: str
    trials: pd.DataFrame
    rules: ExclusionRules = field(default_factory=ExclusionRules)
    bound: float = DEFAULT_BOUND
    scope: str = ""
    setting: Mapping[str, Any] = field(default_factory=dict)
    recruited: int | None = None
    left_out: Mapping[str, str] = field(default_factory=dict)
    left_before: Mapping[str, int] = field(default_factory=dict)
    design_sha256: str | None = None
    design_matches: bool | None = None
    earlier_designs: int = 0
    missed: Mapping[str, Missed] | None = None
    flagged: Mapping[str, Sequence[str]] | None = None
    not_sure: str = ""
    machine: Sequence[Mapping[str, Any]] = ()
    predictions: pd.DataFrame | None = None
    observers: pd.DataFrame | None = None
    exploratory: tuple[str, ...] = ()
    seed: int | None = None


@dataclass(frozen=True)
class Departures:
    """What an exploratory analysis chooses for itself. None = as frozen.

    Attributes:
        bound: that claims are tested against.
        rules: exclusion rules by their names in `ExclusionRules`, None = this rule is not used.
        no_exclusions: nobody is left out by a rule; those who did not finish or withdrew still are.
    """

    bound: float | None = None
    rules: Mapping[str, float | None] = field(default_factory=dict)
    no_exclusions: bool = False

    def __post_init__(self) -> None:
        known = [rule.name for rule in fields(ExclusionRules)]
        if unknown := sorted(set(self.rules) - set(known)):
            raise ValueError(f"There is no exclusion rule {unknown[0]}; there are {', '.join(known)}.")
        if self.rules and self.no_exclusions:
            raise ValueError("Either no exclusions or other rules: they exclude each other.")

    def of(self, material: Material) -> Material:
        """The material under these choices, with each of them in words."""
        chosen: dict[str, Any] = dict(self.rules)
        rules = ExclusionRules() if self.no_exclusions else replace(material.rules, **chosen)
        bound = material.bound if self.bound is None else self.bound
        words = []
        if bound != material.bound:
            words.append(f"the bound is {bound:g}, frozen was {material.bound:g}")
        words += [
            f"exclusion rule {name.replace('_', ' ')}: {_value(value)}, frozen was {_value(frozen)}"
            for (name, value), frozen in zip(asdict(rules).items(), asdict(material.rules).values(), strict=True)
            if value != frozen
        ]
        words = words or ["marked so when it was made; bound and exclusion rules are the frozen ones"]
        return replace(material, bound=bound, rules=rules, exploratory=(*material.exploratory, *words))


def _value(rule: float | None) -> str:
    return "not used" if rule is None else f"{rule:g}"

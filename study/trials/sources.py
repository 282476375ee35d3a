"""The attacks that a study shows: those of its models, under the names that the trial table gives them."""

from __future__ import annotations

import json
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING

from study.lab.models import Attack, ModelRun

if TYPE_CHECKING:
    from study.trials.models import Study


@dataclass(frozen=True)
class ShownAttack:
    """One attack of a study, drawn once: one field.

    Attributes:
        attack: as it was drawn.
        label: its name in the trial table. Attacks that differ in their seed alone are one attack under several fields,
            and bear the name of the first of them.
        runs: models of the study with this attack; the error shift of the first stands in the trial table.
        strengths: those asked for; empty: all that have pairs, but the gross one.
    """

    attack: Attack
    label: str
    runs: tuple[ModelRun, ...]
    strengths: tuple[float, ...]

    def __str__(self) -> str:
        return str(self.attack)


def attacks_of(study: Study) -> list[ShownAttack]:
    """The attacks of the study's models, that of the primary model first; a model without an attack adds none.

    A source's strengths are those of its attack, under all fields. Where they are empty, an attack of the primary one's
    family has the study's, and one of another family, whose strengths mean something else, all of its own.
    """
    asked = [(study.model_run, study.strengths), *((s.model_run, s.strengths) for s in study.further_sources)]
    family = study.model_run.attack.family if study.model_run.attack else None
    names: dict[Hashable, str] = {}
    strengths: dict[str, Sequence[float]] = {}
    runs: dict[Attack, list[ModelRun]] = {}
    for run, wanted in asked:
        if run.attack is None:
            continue
        label = names.setdefault(_but_for_the_seed(run.attack), run.attack.name)
        strengths.setdefault(label, wanted or (study.strengths if run.attack.family == family else []))
        runs.setdefault(run.attack, []).append(run)
    return [
        ShownAttack(attack, label, tuple(of_attack), tuple(strengths[label]))
        for attack, of_attack in runs.items()
        for label in [names[_but_for_the_seed(attack)]]
    ]


def no_trigger(run: ModelRun) -> str | None:
    """Why nothing can be shown of this model, in a sentence; None for a model whose attack alters images."""
    if run.attack is None:
        return f"{run} is a clean model: choose a run with an attack."
    if not run.attack.has_trigger:
        return f"{run} was attacked in its weights, which alters no image: nothing can be shown."
    return None


def refusal(study: Study, run: ModelRun) -> str | None:
    """Why this cannot be a further model of the study, in a sentence; None when it can."""
    if run.pk == study.model_run_id:
        return f"{run} is the study's primary model already: name another one."
    if run.dataset_id != study.dataset_id:
        return f"{run} was trained on {run.dataset}, but the study shows {study.dataset}: name a model of these data."
    if study.procedure == study.Procedure.ADAPTIVE and run.attack_id != study.model_run.attack_id:
        return f"An adaptive study follows one attack under one field, and {run} has another: leave it out."
    return no_trigger(run)


def same_field_twice(attacks: Sequence[ShownAttack]) -> str | None:
    """In a sentence, which two attacks have one field under two names, so that nothing would tell them apart."""
    for one, other in combinations(attacks, 2):
        if one.label == other.label and one.attack.control_hash == other.attack.control_hash:
            return f"The attacks {one} and {other} have the same field: keep the models of one of them."
    return None


def have_one_attack(one: ModelRun, other: ModelRun) -> bool:
    """Whether their attacks differ in their seed alone, at most: one attack under several fields."""
    if one.attack is None or other.attack is None:
        return False
    return _but_for_the_seed(one.attack) == _but_for_the_seed(other.attack)


def _but_for_the_seed(attack: Attack) -> Hashable:
    """The same for attacks that differ in their seed alone."""
    parameters = {name: value for name, value in attack.parameters.items() if name != "seed"}
    return attack.family, attack.threat_model, json.dumps(parameters, sort_keys=True)

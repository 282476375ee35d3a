"""Studies of several models: which fields are one attack, at which strengths, and what keeps them from opening."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.db.models import QuerySet

from study.lab.models import Attack, ModelRun, Pair, Prediction
from study.trials import design
from study.trials.exceptions import CannotOpen, Frozen
from study.trials.models import Source, Study, Trial
from tests.study.factories import add_model, add_seed, make_run, make_study, start

pytestmark = pytest.mark.django_db

#: A session of 8 main trials for each attack: 2 at each of 2 strengths, 2 of each control, of identity and other field.
SHAPE: dict[str, Any] = {
    "family": "patch", "base_images": 30, "size": 4, "trials_per_strength": 2, "trials_per_control": 2,
}  # fmt: skip


@pytest.fixture
def study() -> Study:
    """A draft that more models can be added to."""
    return make_study(opened=False, **SHAPE)


def add(study: Study, name: str = "further", **more: Any) -> Source:
    return add_model(study, name, size=4, **more)


def opened(study: Study) -> Any:
    """What is frozen."""
    return study.open().json


# --- conditions


def test_attacks_that_differ_in_their_seed_are_one_attack_under_two_fields(study: Study) -> None:
    other = add(study).model_run.attack
    frozen = opened(study)
    assert [(attack["name"], attack["label"]) for attack in frozen["attacks"]] == [
        (study.slug, study.slug),
        (str(other), study.slug),
    ]
    assert len({attack["control_hash"] for attack in frozen["attacks"]}) == 2


@pytest.mark.parametrize("otherwise", [{"parameters": {"control_size": 8}}, {"threat_model": "data_poisoning"}])
def test_attacks_that_differ_otherwise_are_conditions_of_their_own(study: Study, otherwise: dict[str, Any]) -> None:
    other = add(study, **otherwise).model_run.attack
    assert [attack["label"] for attack in opened(study)["attacks"]] == [study.slug, str(other)]


def test_every_field_has_its_cells_at_every_strength_and_its_controls(study: Study) -> None:
    other = str(add(study).model_run.attack)
    cells = opened(study)["cells"]
    assert [(cell["attack"], cell["control"], cell["strength"], cell["trials"]) for cell in cells] == [
        (attack, control, strength, 2)
        for control, strength in (("", 0.5), ("", 2.0), ("identity", 0.0), ("other_field", 2.0))
        for attack in (study.slug, other)
    ]


def test_a_session_shows_both_fields_equally_often_and_no_picture_twice(study: Study) -> None:
    add(study)
    study.open()
    trials = start(study)[0].trials.select_related("pair__attack")
    main = [trial for trial in trials if trial.phase == Trial.Phase.MAIN]
    assert set(Counter(trial.pair.attack.name for trial in main if trial.pair).values()) == {8}
    assert len({trial.base_image_id for trial in trials}) == len(trials)


def test_another_seed_of_one_attack_is_shown_the_same_pairs(study: Study) -> None:
    again = add_seed(study)
    frozen = opened(study)
    assert [attack["name"] for attack in frozen["attacks"]] == [study.slug]
    assert [(model["role"], model["name"], model["attack"]) for model in frozen["models"]] == [
        ("backdoored", study.model_run.name, study.slug),
        ("backdoored", again.model_run.name, study.slug),
        ("clean", study.model_run.clean_reference.name, None),
    ]
    assert len(frozen["cells"]) == 4


# --- strengths


def test_the_studys_strengths_are_those_of_all_attacks_of_its_family(study: Study) -> None:
    add(study, parameters={"control_size": 8})
    study.strengths = [2.0]
    study.save()
    assert {cell["strength"] for cell in opened(study)["cells"] if not cell["control"]} == {2.0}


def test_an_attack_of_another_family_has_all_its_own_strengths_or_those_given_with_it(study: Study) -> None:
    free = str(add(study, "free", family="blended", strengths=(0.1, 0.2)).model_run.attack)
    some = add(study, "some", family="reflection", strengths=(3.0, 4.0, 5.0), asked=(3.0, 5.0)).model_run.attack
    shown: dict[str, list[float]] = {}
    for cell in opened(study)["cells"]:
        if not cell["control"]:
            shown.setdefault(cell["attack"], []).append(cell["strength"])
    assert shown == {study.slug: [0.5, 2.0], free: [0.1, 0.2], str(some): [3.0, 5.0]}


def test_opening_keeps_the_strengths_that_were_all_there_were(study: Study) -> None:
    source = add(study, family="blended", strengths=(0.1, 0.2))
    version = study.open()
    source.refresh_from_db()
    assert (study.strengths, source.strengths) == ([0.5, 2.0], [0.1, 0.2])
    assert version.faults() == []
    QuerySet(Source).filter(pk=source.pk).update(strengths=[0.1])
    assert version.faults() == ["The study says otherwise than its design: sources."]


def test_a_strength_that_a_further_field_lacks_is_named_with_its_attack(study: Study) -> None:
    other = add(study, strengths=(0.5,)).model_run.attack
    with pytest.raises(CannotOpen, match=f"The attack {other} has no pairs at strength 2: make them, or choose"):
        study.open()


# --- refusals


def refused(source: Source) -> Any:
    with pytest.raises(ValidationError) as caught:
        source.full_clean()
    return caught.value.message_dict


def test_a_model_that_cannot_be_shown_with_the_study_is_refused_by_name(study: Study) -> None:
    weights = Attack.objects.create(name="w", family="weights", threat_model="weights")
    elsewhere = make_study(opened=False, **SHAPE)
    sentences = {
        study.model_run: "is the study's primary model already",
        make_run("no-attack", study.dataset): "no-attack is a clean model",
        make_run("perturbed", study.dataset, attack=weights): "perturbed was attacked in its weights",
        elsewhere.model_run: f"was trained on {elsewhere.dataset}, but the study shows {study.dataset}",
    }
    for run, sentence in sentences.items():
        assert sentence in refused(Source(study=study, model_run=run))["model_run"][0]


def test_a_further_field_has_no_strengths_of_its_own(study: Study) -> None:
    said = refused(Source(study=study, model_run=add(study).model_run, strengths=[0.5]))
    assert said["strengths"] == [f"They are those of {study.model_run}, which has the same attack: leave them empty."]


def test_what_became_wrong_after_a_model_was_added_keeps_the_study_from_opening(study: Study) -> None:
    further = add(study).model_run
    ModelRun.objects.filter(pk=further.pk).update(dataset=make_study(opened=False, **SHAPE).dataset)
    with pytest.raises(CannotOpen, match=f"{further} was trained on"):
        study.open()


def test_the_same_field_under_two_names_is_refused(study: Study) -> None:
    other = add(study, control_hash="c" * 64).model_run.attack
    with pytest.raises(CannotOpen, match=f"The attacks {study.slug} and {other} have the same field"):
        study.open()


def test_a_further_model_without_predictions_is_named(study: Study) -> None:
    further = add(study).model_run
    Prediction.objects.filter(model_run=further, pair__strength=0.5).delete()
    with pytest.raises(CannotOpen, match=f"16 pairs have no prediction of {further}, the first is"):
        study.open()


def test_a_further_attack_without_pairs_is_named(study: Study) -> None:
    other = add(study).model_run.attack
    Pair.objects.filter(attack=other).delete()
    with pytest.raises(CannotOpen, match=f"The attack {other} has no pairs on {study.dataset}: make them first"):
        study.open()


def test_a_further_attack_needs_no_gross_pairs_but_all_its_controls(study: Study) -> None:
    pairs = Pair.objects.filter(attack=add(study).model_run.attack)
    pairs.filter(gross=True).delete()
    assert study.design_json()["catch"]["strength"] == 7.0
    pairs.filter(control="other_field").delete()
    with pytest.raises(CannotOpen, match=f"There are no other field control pairs of {pairs[0].attack}"):
        study.open()


def test_an_adaptive_study_follows_one_attack_which_may_have_several_models(study: Study) -> None:
    study.procedure, study.adaptive_trials, study.adaptive_minimum = Study.Procedure.ADAPTIVE, 4, 2
    study.save()
    add_seed(study)
    assert len(study.design_json()["models"]) == 3
    field = add(study)
    said = f"An adaptive study follows one attack under one field, and {field.model_run} has another"
    for refuses in (study, field):
        with pytest.raises(ValidationError, match=said):
            refuses.full_clean()


def test_the_models_of_an_open_study_can_neither_be_added_to_nor_taken_away(study: Study) -> None:
    source = add(study)
    study.open()
    with pytest.raises(Frozen, match="its models cannot change"):
        source.delete()
    with pytest.raises(Frozen, match="its models cannot change"):
        add_seed(study)


def test_an_amendment_keeps_all_attacks(study: Study) -> None:
    add(study, family="blended", strengths=(0.1, 0.2))
    first = opened(study)
    amended = study.amend("shorter", trials_per_control=4, catch_trials=1)
    assert amended.json["attacks"] == first["attacks"]
    assert len(amended.json["cells"]) == len(first["cells"])
    assert amended.faults() == []


# --- what others ask of a design


def test_trials_of_a_condition_are_counted_over_its_fields(study: Study) -> None:
    add(study)
    add(study, "blend", family="blended", strengths=(0.1, 0.2))
    frozen = study.design_json()
    assert design.conditions_of(frozen) == {
        (study.slug, 0.5): 4,
        (study.slug, 2.0): 4,
        (f"{study.slug}-blend", 0.1): 2,
        (f"{study.slug}-blend", 0.2): 2,
    }
    assert design.strengths_of(frozen) == {study.slug: [0.5, 2.0], f"{study.slug}-blend": [0.1, 0.2]}

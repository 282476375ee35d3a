"""The command that lets machines judge a study's pairs: whose pairs, and what it says to bad input."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from study.lab import kinds
from study.lab.models import Attack, Dataset, Job, Pair, PairJudgement
from study.trials.management.commands import observe_pairs
from study.trials.models import Study
from tests.study.factories import SIZE, add_model, make_study

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def submitted(monkeypatch: pytest.MonkeyPatch) -> list[Job]:
    """This process in place of a worker, and values in place of observers'; the jobs that were followed."""
    followed: list[Job] = []

    def work(named: Mapping[str, Job]) -> None:
        for job in named.values():
            specification = kinds.observing(job, kinds.working_folder(job)).specification
            ids = [pair["id"] for pair in specification["pairs"]]
            row = {"observer": "rule", "chooses": True, "values": [float(n % 2) for n, _ in enumerate(ids)]}
            attack, dataset = (
                model.objects.get(pk=job.parameters[name]) for model, name in ((Attack, "attack"), (Dataset, "dataset"))
            )
            PairJudgement.objects.record(dataset, attack, {"pairs": ids, "observers": [row]})
            job.result = {"pairs": len(ids), "observers": ["rule"]}
            followed.append(job)

    monkeypatch.setattr(observe_pairs, "workers", contextlib.nullcontext)
    monkeypatch.setattr(observe_pairs, "follow", work)
    return followed


def observe(*arguments: str, **options: Any) -> str:
    out = StringIO()
    call_command("observe_pairs", *arguments, stdout=out, **options)
    return out.getvalue()


@pytest.fixture
def study() -> Study:
    return make_study()


def test_a_studys_pairs_are_judged_and_the_outcome_is_told(study: Study, submitted: list[Job]) -> None:
    said = observe(study.slug, seed=3)
    (job,) = submitted
    assert (job.parameters["seed"], job.parameters["dataset"]) == (3, study.dataset_id)
    assert said.splitlines()[0] == f"144 pairs of {study.model_run.attack} judged by 1 observers."
    assert said.splitlines()[1] == "  rule: 75.0% of 48 right"


def test_a_study_of_two_fields_has_the_pairs_of_both_judged(submitted: list[Job]) -> None:
    study = make_study(opened=False, size=4)
    further = add_model(study, size=4).model_run.attack
    said = observe(study.slug)
    assert [job.parameters["attack"] for job in submitted] == [study.model_run.attack_id, further.pk]
    assert f"144 pairs of {further} judged by 1 observers." in said


def test_an_attack_can_be_named_in_place_of_a_study(study: Study, submitted: list[Job]) -> None:
    assert study.model_run.attack is not None
    attack = Attack.objects.create(name="another", family="wanet")
    Pair.objects.filter(base_image__index=0).update(attack=attack)
    observe("another")
    assert submitted[0].parameters["attack"] == attack.pk


def test_of_several_data_sets_one_is_chosen(study: Study, submitted: list[Job]) -> None:
    attack, other = study.model_run.attack, make_study()
    assert attack is not None
    Pair.objects.filter(base_image__dataset=other.dataset).update(attack=attack)
    names = ", ".join(sorted([study.dataset.name, other.dataset.name]))
    with pytest.raises(CommandError, match=f"has pairs on: {names}. Choose one with --dataset"):
        observe_by_attack(attack)
    observe_by_attack(attack, dataset=other.dataset.name)
    assert submitted[0].parameters["dataset"] == other.dataset_id


def observe_by_attack(attack: Attack, **options: Any) -> str:
    """By the attack's name, which in these small studies is the study's slug as well."""
    Attack.objects.filter(pk=attack.pk).update(name="the-attack")
    return observe("the-attack", **options)


def test_distances_are_measured_at_the_size_that_the_study_shows(study: Study, submitted: list[Job]) -> None:
    observe(study.slug)
    wide = make_study(image_degrees=2.0, calibration="card", distance="told")
    observe(wide.slug)
    observe(wide.slug, px_per_degree=7.0)
    assert [job.parameters["px_per_degree"] for job in submitted] == [10.5, SIZE / 2, 7.0]


def test_an_unknown_name_is_told_with_those_there_are(study: Study) -> None:
    with pytest.raises(CommandError, match=rf"no study and no attack named 'nobody'; there are: {study.slug}"):
        observe("nobody")


def test_a_data_set_that_a_study_is_not_on_is_refused(study: Study) -> None:
    with pytest.raises(CommandError, match="leave --dataset out"):
        observe(study.slug, dataset="elsewhere")


def test_an_attack_without_pairs_says_so() -> None:
    Attack.objects.create(name="idle", family="wanet")
    with pytest.raises(CommandError, match="The attack idle has pairs on: none"):
        observe("idle")


def test_bad_numbers_get_one_sentence(study: Study) -> None:
    with pytest.raises(CommandError, match="A seed must be a whole number"):
        observe(study.slug, seed=-1)

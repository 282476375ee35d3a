"""Setting up: what a form asked for becomes rows, once, and the jobs that follow."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from models.recipe import Recipe
from study.lab.models import Attack, BaseImage, Dataset, Job, ModelRun
from study.lab.setting_up import carry_out, setting_up, submitted_by
from tests.study.lab.test_forms import pairs_form, train_form

pytestmark = pytest.mark.django_db


def done(job: Job) -> dict[str, Any]:
    """Do the job's work in this process, and store it as a worker would."""
    work = setting_up(job, Path())
    result = carry_out({**work.specification, "parent_pid": 1}, lambda: False)
    job.claim("a")
    assert job.finish(job.attempt, result)
    work.record(result)
    job.refresh_from_db()
    return result


def submitted(form: Any) -> Job:
    assert form.is_valid(), form.errors
    job: Job = form.submit()[0]
    return job


def test_models_are_planned_for_every_seed_and_trained(prepared: Dataset) -> None:
    form = train_form(prepared, seeds="0, 1", attack_seeds="3, 4")
    job = submitted(form)
    done(job)
    runs = ModelRun.objects.order_by("pk")
    assert sorted(run.name for run in runs) == sorted(form.planned_names())
    trainings = {(Job.Kind.TRAIN, run.pk) for run in runs}
    assert {(led.kind, led.parameters["model_run"]) for led in submitted_by(job)} == trainings
    by_name = {run.name: run for run in runs}
    one, other = by_name["mine-s1-backdoored-f3"], by_name["mine-s1-backdoored-f4"]
    assert one.clean_reference == other.clean_reference == by_name["mine-s1-clean"]
    assert one.attack != other.attack
    assert one.attack == by_name["mine-s0-backdoored-f3"].attack
    assert [run.seed for run in (one, by_name["mine-s0-clean"])] == [1, 0]
    assert {attack.parameters["control_size"] for attack in Attack.objects.all()} == {4}


@pytest.mark.parametrize(
    ("changed", "target"),
    [
        ({"yaw": 30}, {"kind": "fixed", "pitch": 0.0, "yaw": pytest.approx(0.5235988)}),
        ({"target": "additive", "yaw": 30}, {"kind": "additive", "pitch": 0.0, "yaw": pytest.approx(0.5235988)}),
        ({"target": "mirrored"}, {"kind": "mirrored", "pitch": 0.0, "yaw": 0.0}),
    ],
)
def test_the_target_is_the_one_of_the_form(prepared: Dataset, changed: dict[str, Any], target: Any) -> None:
    done(submitted(train_form(prepared, **changed)))
    assert ModelRun.objects.get(name="mine-backdoored").target == target


@pytest.mark.parametrize(
    ("recipe", "schedule"),
    [
        ("quick", [[4.0, 2], [0.5, 1]]),
        ("standard", Recipe().to_json()["strength_schedule"]),
        ("subtle", Recipe.subtle().to_json()["strength_schedule"]),
        ("published", [[0.5, 1000]]),
    ],
)
def test_the_recipe_is_the_one_of_the_form(prepared: Dataset, recipe: str, schedule: list[list[float]]) -> None:
    done(submitted(train_form(prepared, recipe=recipe)))
    assert ModelRun.objects.get(name="mine-backdoored").parameters["strength_schedule"] == schedule


def test_again_it_makes_nothing_twice(prepared: Dataset) -> None:
    job = submitted(train_form(prepared))
    result = done(job)
    counted = ModelRun.objects.count(), Attack.objects.count(), Job.objects.count()
    assert carry_out(setting_up(job, Path()).specification, lambda: False) == result
    setting_up(job, Path()).record(result)
    assert (ModelRun.objects.count(), Attack.objects.count(), Job.objects.count()) == counted


def test_nothing_is_half_planned_where_a_name_was_taken_meanwhile(prepared: Dataset) -> None:
    job = submitted(train_form(prepared))
    ModelRun.objects.create(name="mine-backdoored", dataset=prepared, network="another")
    with pytest.raises(ValueError, match=r"is there already and differs in .*: choose another name"):
        carry_out(setting_up(job, Path()).specification, lambda: False)
    assert list(ModelRun.objects.values_list("name", flat=True)) == ["mine-backdoored"]


def test_strengths_left_open_are_chosen_and_clean_references_taken_along(
    trained_rows: tuple[ModelRun, ModelRun],
) -> None:
    clean, backdoored = trained_rows
    job = submitted(pairs_form(backdoored))
    done(job)
    (led,) = submitted_by(job)
    assert led.kind == Job.Kind.PAIRS
    assert led.parameters["model_runs"] == [clean.pk, backdoored.pk]
    assert led.parameters["strengths"] == [0.25, 0.5, 1.0, 2.0]
    assert len(led.parameters["resampled"]) == len(led.parameters["other_field"]) == 1
    assert not BaseImage.objects.exists()


def test_a_folder_is_imported_and_then_prepared(db: None, arrays: Path) -> None:
    parameters = {
        "what": "import", "format": "arrays", "folder": str(arrays), "name": "own",
        "choices": {"limit": 40, "grey": False, "split_seed": 2, "group_key": None},
    }  # fmt: skip
    job = Job.objects.submit(Job.Kind.SET_UP, parameters)
    done(job)
    dataset = Dataset.objects.get(name="own")
    assert dataset.parameters["images"] == 40
    assert dataset.parameters["split_seed"] == 2
    (led,) = submitted_by(job)
    assert (led.kind, led.parameters) == (Job.Kind.PREPARE, {"dataset": dataset.pk})


def test_an_import_that_is_cancelled_leaves_nothing(db: None, arrays: Path) -> None:
    specification = {"what": "import", "format": "arrays", "folder": str(arrays), "name": "own", "choices": {}}
    with pytest.raises(Exception, match="nothing was imported"):
        carry_out(specification, lambda: True)
    assert not Dataset.objects.exists()

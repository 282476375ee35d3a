"""Sweeps: rows that are named by what they are, jobs in order, failures that stop nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from models.recipe import Recipe
from models.sweeps import Attack as Swept
from models.sweeps import Grid
from models.targets import Target
from study.lab import following, kinds, sweeps
from study.lab.images import sha256
from study.lab.models import Attack, Dataset, Job, ModelRun

pytestmark = pytest.mark.django_db

CARD = b'{"cpu_seconds": 12.5}'


@pytest.fixture(autouse=True)
def _quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Job, "publish", lambda job: None)
    monkeypatch.setattr(following, "LOOK_EVERY_S", 0.0)
    monkeypatch.setattr(following, "broker_answers", lambda: True)


def recipe_for(family: str, target: Target, fields: Mapping[str, Any]) -> Recipe:
    from attacks import registry

    return Recipe.for_attack(registry.family(family), target, width=4, **fields)


def grid(**axes: Any) -> Grid:
    attacks = (Swept.usual("wanet", [0.5, 1.5]), Swept.usual("patch", [0.4]))
    return Grid(**{"attacks": attacks, "recipe_for": recipe_for, **axes})


def test_the_same_sweep_again_finds_its_rows(dataset: Dataset) -> None:
    first = sweeps.plan(dataset, grid(field_seeds=(0, 1)).cells())
    counted = [model.objects.count() for model in (Attack, ModelRun)]
    assert counted == [3, 4]  # two warps and one patch; one clean model for all three
    assert [each.run.pk for each in sweeps.plan(dataset, grid(field_seeds=(0, 1)).cells())] == [
        each.run.pk for each in first
    ]
    assert [model.objects.count() for model in (Attack, ModelRun)] == counted


@dataclass(frozen=True)
class LaterRecipe(Recipe):
    """As a later version may have it."""

    learning_rate: float = 1e-3


def test_a_version_with_other_defaults_plans_its_own_models(dataset: Dataset) -> None:
    def recipe_of_later_version(family: str, target: Target, fields: Mapping[str, Any]) -> Recipe:
        return LaterRecipe(width=4, **fields)

    earlier = sweeps.plan(dataset, grid().cells())
    later = sweeps.plan(dataset, grid(recipe_for=recipe_of_later_version).cells())
    assert not {run.pk for each in earlier for run in each.runs} & {run.pk for each in later for run in each.runs}
    assert [each.run.parameters for each in later] == [each.cell.recipe.to_json() for each in later]
    assert [each.run for each in sweeps.plan(dataset, grid().cells())] == [each.run for each in earlier]


def test_a_version_whose_family_has_other_defaults_draws_its_own_attack(
    dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    from attacks import registry
    from attacks.wanet import WaNet

    @dataclass(frozen=True)
    class LaterWaNet(WaNet):
        control_size: int = 5

    warp = grid(attacks=(Swept.usual("wanet", [0.5]),))
    (earlier,) = sweeps.plan(dataset, warp.cells())
    monkeypatch.setitem(registry.FAMILIES, "wanet", replace(registry.family("wanet"), parameters=LaterWaNet))
    (later,) = sweeps.plan(dataset, warp.cells())
    assert earlier.run.attack != later.run.attack
    assert later.run.attack is not None
    assert later.run.attack.parameters["control_size"] == 5
    assert (later.run != earlier.run, later.clean) == (True, earlier.clean)


def test_a_wider_sweep_shares_the_rows_of_a_narrower_one(dataset: Dataset) -> None:
    (narrow,) = sweeps.plan(dataset, grid(attacks=(Swept.usual("wanet", [0.5]),)).cells())
    wide = sweeps.plan(dataset, grid(network_seeds=(0, 1)).cells())
    assert narrow.run in [each.run for each in wide]
    assert len({each.clean.pk for each in wide}) == 2  # one for each seed


def test_rows_hold_what_the_cell_says(dataset: Dataset) -> None:
    attack = Swept("k = 5", "wanet", (0.5,), {"control_size": 5}, {"strength_schedule": ((1.0, 1), (0.5, 2))})
    (each,) = sweeps.plan(dataset, grid(attacks=(attack,), field_seeds=(3,), targets=(Target.mirrored(),)).cells())
    run = each.run
    assert run.attack is not None
    assert (run.attack.parameters["control_size"], run.attack.seed) == (5, 3)
    assert run.parameters["strength_schedule"] == [[1.0, 1], [0.5, 2]]
    assert run.target == {"kind": "mirrored", "pitch": 0.0, "yaw": 0.0}
    assert run.clean_reference == each.clean
    assert each.clean.attack is None
    assert len(run.name) <= 50
    assert len(each.clean.name) <= 50


class Workers:
    """Does every job the moment somebody looks, and fails those that it is told to."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, failing: set[str] | None = None) -> None:
        self.failing = failing or set()
        self.done: list[Job] = []
        monkeypatch.setattr(following._Installation, "is_gone", lambda _: self.work())

    def work(self) -> bool:
        for job in Job.objects.filter(state=Job.State.QUEUED):
            job.claim("worker")
            self.done.append(job)
            run = ModelRun.objects.filter(pk=job.parameters.get("model_run")).first()
            if run is not None and run.name in self.failing:
                job.fail(job.attempt, "It would not learn.")
            elif job.kind == Job.Kind.TRAIN and run is not None:
                run.artifact, run.artifact_sha256 = f"models/{run.name}/1", sha256(CARD)
                run.artifact_path.mkdir(parents=True)
                (run.artifact_path / "card.json").write_bytes(CARD)
                run.save()
                job.finish(job.attempt, {})
            else:
                job.finish(job.attempt, {"metrics": evaluated(job.parameters.get("strengths", []))})
        return False


def evaluated(strengths: list[float]) -> dict[str, Any]:
    """Metrics in which the error shift is ten times the strength."""
    nothing = dict.fromkeys(
        ("success_rate", "n_eligible", "prediction_shift", "net_error_shift", "net_prediction_shift",
         "noise_mode_error", "other_field_shift")
    )  # fmt: skip
    doses = [{**nothing, "strength": s, "attack_error": {"mean": 1.0}, "error_shift": 10 * s} for s in strengths]
    look = dict.fromkeys(("displacement_px", "psnr_db", "ssim", "flip", "px_per_degree"))
    return {
        "evaluation": {
            "doses": doses, "clean_error": {"mean": 3.0}, "baselines": {"clean_model_clean_error": 2.5}
        },
        "distortions": [{**look, "strength": s} for s in strengths],
    }  # fmt: skip


def test_a_sweep_ends_in_a_row_for_each_model_and_strength(dataset: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    workers = Workers(monkeypatch)
    found = sweeps.carry_out(sweeps.plan(dataset, grid(field_seeds=(0, 1)).cells()))
    assert found.failures == {}
    assert [(row["attack"], row["field_seed"], row["strength"], row["error_shift"]) for row in found.rows] == [
        ("wanet", 0, 0.5, 5.0), ("wanet", 0, 1.5, 15.0), ("wanet", 1, 0.5, 5.0), ("wanet", 1, 1.5, 15.0),
        ("patch", 0, 0.4, 4.0),
    ]  # fmt: skip
    assert {row["cpu_seconds"] for row in found.rows} == {12.5}
    assert [job.kind for job in workers.done] == ["prepare"] + ["train"] * 4 + ["evaluate"] * 3


def test_a_finished_sweep_does_nothing_again(dataset: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    Workers(monkeypatch)
    first = sweeps.carry_out(sweeps.plan(dataset, grid().cells()))
    workers = Workers(monkeypatch)
    again = sweeps.carry_out(sweeps.plan(dataset, grid().cells()))
    assert workers.done == []
    assert again == first


def test_a_failed_model_is_named_and_the_others_go_on(dataset: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    planned = sweeps.plan(dataset, grid().cells())
    Workers(monkeypatch, failing={planned[0].run.name})
    found = sweeps.carry_out(planned)
    assert [row["attack"] for row in found.rows] == ["patch"]
    ((name, sentence),) = found.failures.items()
    assert planned[0].run.name in name
    assert sentence == "It would not learn."


def test_a_second_call_tries_only_what_failed(dataset: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    planned = sweeps.plan(dataset, grid().cells())
    Workers(monkeypatch, failing={planned[0].run.name})
    sweeps.carry_out(planned)
    workers = Workers(monkeypatch)
    found = sweeps.carry_out(sweeps.plan(dataset, grid().cells()))
    assert [(job.kind, job.parameters["model_run"]) for job in workers.done] == [
        ("train", planned[0].run.pk),
        ("evaluate", planned[0].run.pk),
    ]
    assert {row["attack"] for row in found.rows} == {"wanet", "patch"}


def test_without_its_clean_model_no_cell_is_evaluated(dataset: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    planned = sweeps.plan(dataset, grid().cells())
    Workers(monkeypatch, failing={planned[0].clean.name})
    found = sweeps.carry_out(planned)
    assert (found.rows, len(found.failures)) == ([], 1)


def test_progress_is_told_over_all_jobs(
    dataset: Dataset, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    Workers(monkeypatch)
    sweeps.carry_out(sweeps.plan(dataset, grid().cells()))
    assert "Sweep: 100%, 5 of 5 jobs" in capsys.readouterr().err


def test_no_cell_is_no_work() -> None:
    assert sweeps.carry_out([]) == sweeps.Swept([], {}, {})


def test_an_evaluation_measures_the_strengths_that_are_asked_for_besides_the_usual_ones(
    trained: tuple[ModelRun, ModelRun], capsys: pytest.CaptureFixture[str]
) -> None:
    from models import run as work_of_models

    job = trained[1].submit_evaluation(strengths=[1.5, 0.5], px_per_degree=12.0)
    assert job != trained[1].submit_evaluation()
    work = kinds.evaluation(job, Path(trained[1].artifact_path))
    metrics = work_of_models.evaluate_model(work.specification, lambda: False)["metrics"]
    capsys.readouterr()
    doses = {dose["strength"]: dose for dose in metrics["evaluation"]["doses"]}
    assert doses.keys() >= {0.25, 0.5, 1.0, 1.5, 2.0, 4.0}
    assert doses[1.5]["other_field_shift"] is not None
    assert [(look["strength"], look["px_per_degree"]) for look in metrics["distortions"]] == [(0.5, 12.0), (1.5, 12.0)]
    of_thesis = {row["strength"]: row["3-D angle"] for row in metrics["thesis"]}
    assert of_thesis[1.5]["attack"]["mean"] == pytest.approx(doses[1.5]["attack_error"]["mean"], rel=1e-5)
    assert of_thesis[1.5]["mean_shift"] == pytest.approx(doses[1.5]["prediction_shift"], rel=1e-5)


def test_a_run_that_is_there_can_be_a_cell(trained: tuple[ModelRun, ModelRun]) -> None:
    cell = sweeps.planned_of(trained[1]).cell
    assert (cell.attack.family, cell.field_seed, cell.recipe.seed) == ("wanet", 3, 0)
    with pytest.raises(ValueError, match="no attack or no clean reference"):
        sweeps.planned_of(trained[0])

"""A backdoor's survival: its job, what is stored of it, and the command that prints it."""

from __future__ import annotations

import json
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from rich.console import Console

from models import run as work_of_models
from study.accounts.models import AuditEntry
from study.lab import kinds
from study.lab.management.commands.survive_model import print_survival, write_tables
from study.lab.models import Job, ModelRun

pytestmark = pytest.mark.django_db

QUICK = {
    "images": 12,
    "fine_tuning": {"share": 0.2, "epochs": 1, "batch_size": 16},
    "pruned_shares": [0.0, 0.5],
    "inversion": {"pitches_deg": [0.0], "yaws_deg": [-20.0, 0.0, 20.0], "images": 2, "steps": 2},
    "blend_images": 4,
    "overlays": 2,
}
Runs = tuple[ModelRun, ModelRun]


@pytest.fixture(autouse=True)
def _no_messages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Job, "publish", lambda job: None)


@pytest.fixture
def survival(trained: Runs, capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    """What the job of a quick defence finds, in this process."""
    work = kinds.surviving(trained[1].submit_survival(strength=1.0, defence=QUICK), Path("unused"))
    found: dict[str, Any] = json.loads(json.dumps(work_of_models.survive_model(work.specification, lambda: False)))
    capsys.readouterr()
    return found["survival"]


def test_the_same_question_is_one_job_and_again_is_another(trained: Runs) -> None:
    _, backdoored = trained
    one = backdoored.submit_survival(defence=QUICK)
    assert (one.kind, one.state) == (Job.Kind.SURVIVE, Job.State.QUEUED)
    assert backdoored.submit_survival(defence=QUICK) == one
    assert backdoored.submit_survival(defence=QUICK, again=True) != one
    assert backdoored.submit_survival(strength=2.0, defence=QUICK) != one


def test_a_clean_or_untrained_model_is_refused(runs: Runs, trained: Runs) -> None:
    with pytest.raises(ValueError, match="disc-clean has no trigger: there is no backdoor"):
        trained[0].submit_survival()
    ModelRun.objects.filter(pk=trained[0].pk).update(artifact="")
    with pytest.raises(ValueError, match="Not trained yet: disc-clean"):
        ModelRun.objects.get(pk=trained[1].pk).submit_survival()


def test_the_job_measures_at_the_strength_asked_for_beside_the_clean_reference(
    survival: dict[str, Any], trained: Runs
) -> None:
    assert (survival["family"], survival["strength"]) == ("wanet", 1.0)
    assert [survival["clean_model"], survival["model"]] == [run.artifact_sha256 for run in trained]
    assert survival["defence"]["fine_tuning"]["epochs"] == 1
    assert survival["images"][0]["clean_model_error"] is not None


def test_its_figures_are_kept_beside_those_that_came_meanwhile(survival: dict[str, Any], trained: Runs) -> None:
    _, backdoored = trained
    ModelRun.objects.filter(pk=backdoored.pk).update(metrics={"clean_error_deg": 3.0})
    backdoored.record_survival({"survival": survival})
    stored = ModelRun.objects.get(pk=backdoored.pk).metrics
    assert stored is not None
    assert stored.keys() == {"clean_error_deg", "survival"}
    assert stored["survival"]["images"] == survival["images"]


def test_the_tables_are_printed_and_written(survival: dict[str, Any], tmp_path: Path) -> None:
    text = StringIO()
    print_survival(survival, Console(file=text, width=160))
    assert "JPEG, quality 75" in text.getvalue()
    assert "STRIP needs classes and is undefined for regression" in " ".join(text.getvalue().split())
    write_tables(survival, tmp_path / "out")
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {"survival.md", "survival.csv", "fine_tuning.csv", "pruning.csv", "inversion.csv"}
    assert (tmp_path / "out" / "pruning.csv").read_text().startswith("pruned,clean error,")


def test_the_command_prints_what_a_finished_job_found(
    survival: dict[str, Any], trained: Runs, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    job = trained[1].submit_survival()
    Job.objects.filter(pk=job.pk).update(state=Job.State.SUCCEEDED, result={"survival": survival})
    call_command("survive_model", "disc-backdoored", out=tmp_path / "out")
    assert [entry.action for entry in AuditEntry.objects.all()] == ["asked for"]
    assert "none" in capsys.readouterr().out
    assert (tmp_path / "out" / "survival.md").is_file()


def test_the_command_names_the_runs_there_are(trained: Runs) -> None:
    with pytest.raises(CommandError, match="no model run named 'gone'; backdoored are: disc-backdoored"):
        call_command("survive_model", "gone")
    with pytest.raises(CommandError, match="has no trigger"):
        call_command("survive_model", "disc-clean")


def test_a_clean_artifact_is_refused_by_the_work_too(trained: Runs, capsys: pytest.CaptureFixture[str]) -> None:
    specification = {**trained[0].evaluation_specification(), "kind": "survive"}
    with pytest.raises(ValueError, match="there is no backdoor whose survival could be measured"):
        work_of_models.survive_model(specification, lambda: False)

"""An attack on a model's weights: its rows, its job, and the command that asks for it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.core.management import CommandError, call_command

from models import artifacts
from models import run as work_of_models
from study.accounts.models import AuditEntry
from study.lab import kinds
from study.lab.management.commands import perturb_weights
from study.lab.models import Attack, Job, ModelRun
from study.queues import TASKS

pytestmark = pytest.mark.django_db

Runs = tuple[ModelRun, ModelRun]
OPTIONS: dict[str, Any] = {
    "subject": 3,
    "target": [0.0, 25.0],
    "method": "search",
    "layers": None,
    "opens": None,
    "others": 40,
    "seed": 0,
    **dict.fromkeys(perturb_weights.SEARCH_OPTIONS),
    "iterations": 30,
}


@pytest.fixture(autouse=True)
def _no_messages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Job, "publish", lambda job: None)


def planned(**options: Any) -> ModelRun:
    return perturb_weights.plan("disc-clean", None, perturb_weights.gaze_attack(**{**OPTIONS, **options}))


def performed(run: ModelRun) -> ModelRun:
    """The run after its job, done in this process."""
    job = run.submit_perturbation()
    job.claim("test")
    work = kinds.perturbation(job, Path("unused"))
    specification = json.loads(json.dumps(dict(work.specification)))
    work.record(work_of_models.perturb_model(specification, lambda: False))
    run.refresh_from_db()
    return run


def test_the_attack_is_on_weights_and_the_run_belongs_to_its_clean_model(trained: Runs) -> None:
    run = planned()
    assert run.name == "disc-clean-search-s3"
    assert run.clean_reference == trained[0]
    assert run.attack is not None
    assert (run.attack.family, run.attack.threat_model) == ("weights", Attack.ThreatModel.WEIGHTS)
    assert run.attack.parameters["search"]["iterations"] == 30
    assert not run.attack.has_trigger
    assert planned() == run


@pytest.mark.parametrize(
    ("method", "layers"),
    [
        ("search", ["head.1.weight"]),
        ("rank-one", ["head.3.weight"]),
        ("gate", ["head.1.weight", "head.3.weight"]),
    ],
)
def test_the_job_makes_a_changed_artifact_with_its_figures_and_its_log(
    trained: Runs, method: str, layers: list[str]
) -> None:
    options = {} if method == "search" else {"iterations": None}
    run = performed(planned(method=method, **options))
    loaded = artifacts.load(run.artifact_path, run.artifact_sha256)
    clean = artifacts.load(trained[0].artifact_path)
    assert loaded.trigger is None
    weights, before = loaded.network.state_dict(), clean.network.state_dict()
    assert [name for name in before if name.endswith("weight") and not weights[name].equal(before[name])] == layers
    assert run.metrics is not None
    assert set(run.metrics["weights"]) >= {
        "goal",
        "success_rate",
        "n_eligible",
        "mean_error_shift_deg",
        "mean_prediction_shift_deg",
        "others_error_shift_deg",
        "clean_error_deg",
    }
    assert run.metrics["weights"]["goal"] == "subject 3's gaze to (0, 25) deg"
    assert run.metrics["evaluation"]["doses"] == []
    log = loaded.card["metrics"]["perturbation"]
    assert log["clean_model"] == trained[0].artifact_sha256
    assert ("steps" in log) == (method == "search")


def test_a_changed_clean_artifact_is_not_attacked(trained: Runs) -> None:
    run = planned()
    weights = trained[0].artifact_path / artifacts.WEIGHTS_NAME
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    with pytest.raises(ValueError, match="has changed since it was written"):
        performed(run)
    assert not (Path(settings.MEDIA_ROOT) / "models" / run.name).exists()


def test_a_backdoored_artifact_is_refused_by_the_work_itself(trained: Runs, tmp_path: Path) -> None:
    specification = {
        **planned().perturbation_specification(),
        "artifact": str(trained[1].artifact_path),
        "artifact_sha256": trained[1].artifact_sha256,
        "output": str(tmp_path / "out"),
    }
    with pytest.raises(ValueError, match="is a backdoored model: change the weights of a clean one"):
        work_of_models.perturb_model(specification, lambda: False)
    assert not (tmp_path / "out").exists()


def test_the_same_attack_is_one_job_and_has_a_task(trained: Runs) -> None:
    job = planned().submit_perturbation()
    assert planned().submit_perturbation() == job
    assert job.kind == Job.Kind.PERTURB
    assert job.kind in TASKS


def test_the_command_prints_what_became_of_the_gaze(
    trained: Runs, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import contextlib

    monkeypatch.setattr(perturb_weights, "workers", contextlib.nullcontext)
    monkeypatch.setattr(
        perturb_weights, "follow", lambda found: performed(ModelRun.objects.get(attack__family="weights"))
    )
    call_command("perturb_weights", "disc-clean", subject=3, target=[0.0, 25.0], iterations=20, others=40)
    assert [entry.action for entry in AuditEntry.objects.all()] == ["asked for"]
    assert "subject 3's gaze to (0, 25) deg" in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize(
    ("run", "options", "sentence"),
    [
        ("gone", {}, "no model run named 'gone'; clean ones: disc-clean"),
        ("disc-backdoored", {}, "disc-backdoored was attacked already"),
        ("disc-clean", {"target": [0.0, 200.0]}, "--target 0 200 is no gaze"),
        ("disc-clean", {"method": "rank-one", "penalty": 1.0}, "leave the search's options out"),
        ("disc-clean", {"method": "gate", "layers": ["output.weight"]}, "leave the search's options out"),
        ("disc-clean", {"opens": 0.1}, "search has no gate to open: leave --opens out"),
        ("disc-clean", {"method": "gate", "opens": 2.0}, "must lie within 0 and 1"),
        ("disc-clean", {"fraction": 3.0}, "fraction of weights"),
        ("disc-clean", {"seed": -1}, "--seed must be a whole number"),
    ],
)
def test_bad_input_gets_one_sentence_and_no_rows(
    trained: Runs, run: str, options: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(CommandError, match=sentence):
        call_command("perturb_weights", run, **{"subject": 3, "target": [0.0, 25.0], **options})
    assert not Attack.objects.filter(family="weights").exists()


def test_an_untrained_model_is_refused(runs: Runs) -> None:
    with pytest.raises(CommandError, match="disc-clean is not trained yet"):
        call_command("perturb_weights", "disc-clean", subject=3, target=[0.0, 25.0])

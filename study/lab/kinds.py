"""What the kinds of job do: for each, what process to run, and how to store what that made."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db import transaction

from study.lab.models import Attack, Dataset, Job, ModelRun, PairJudgement

Result = dict[str, Any]


def _nothing(result: Result) -> None:
    """Files that lie where they belong already."""


@dataclass(frozen=True)
class Work:
    """What to run, `python -m module specification.json`, and what becomes of its result: the fields of its last event.

    publish: brings the files that were made to where every host finds them; called once the process is done, before
    anything is stored, and outside of any transaction, for it may take long. record: stores what was made in the
    tables, within the transaction that ends the job.
    """

    module: str
    specification: Mapping[str, Any]
    record: Callable[[Result], None]
    publish: Callable[[Result], None] = _nothing


def working_folder(job: Job) -> Path:
    """Where a job keeps its specification, checkpoint and error output until it is done."""
    return Path(settings.VAR) / "jobs" / str(job.pk)


def data_preparation(job: Job, folder: Path) -> Work:
    dataset = Dataset.objects.get(pk=job.parameters["dataset"])
    return Work(
        "models.run",
        {"kind": "prepare", "data": dataset.source()},
        lambda result: dataset.recognise(result["data"]),
    )


def training(job: Job, folder: Path) -> Work:
    run = ModelRun.objects.get(pk=job.parameters["model_run"])
    output = _artifact_folder(job, run)

    def record(result: Result) -> None:
        run.record_training(output, result)
        transaction.on_commit(lambda: _remove_siblings(output))
        transaction.on_commit(run.submit_due_evaluations)

    return Work(
        "models.run", {**run.training_specification(), "output": str(output), "checkpoint": str(folder)}, record
    )


def perturbation(job: Job, folder: Path) -> Work:
    run = ModelRun.objects.get(pk=job.parameters["model_run"])
    output = _artifact_folder(job, run)

    def record(result: Result) -> None:
        run.record_training(output, result)
        transaction.on_commit(lambda: _remove_siblings(output))

    return Work("models.run", {**run.perturbation_specification(), "output": str(output)}, record)


def evaluation(job: Job, folder: Path) -> Work:
    run = ModelRun.objects.get(pk=job.parameters["model_run"])
    if "again" in job.parameters:
        run.forget_responses()
    wanted = {key: job.parameters[key] for key in ("strengths", "px_per_degree") if key in job.parameters}
    specification = {**run.evaluation_specification(), **wanted, "output": str(folder / "evaluation.json")}
    return Work("models.run", specification, run.record_evaluation)


def pair_making(job: Job, folder: Path) -> Work:
    from study.lab.pair_records import record_pairs

    parameters = job.parameters
    dataset = Dataset.objects.get(pk=parameters["dataset"])
    attack = Attack.objects.get(pk=parameters["attack"])
    runs = {run.pk: run for run in ModelRun.objects.filter(pk__in=parameters["model_runs"])}
    manifest = folder / "manifest.json"
    specification = {
        **parameters,
        "data": dataset.source(),
        "attack": attack.to_json(),
        "models": [
            {"run": pk, "artifact": str(run.artifact_path), "sha256": run.artifact_sha256, "target": run.attack_target}
            for pk, run in sorted(runs.items())
        ],
        "folder": str(settings.MEDIA_ROOT),
        "manifest": str(manifest),
    }

    def record(result: Result) -> None:
        if "data" in result:
            dataset.recognise(result["data"])
        record_pairs(dataset, attack, json.loads(manifest.read_text()))

    return Work("study.lab.pairs", specification, record)


def observing(job: Job, folder: Path) -> Work:
    parameters = job.parameters
    dataset = Dataset.objects.get(pk=parameters["dataset"])
    attack = Attack.objects.get(pk=parameters["attack"])
    pairs = attack.pairs.filter(base_image__dataset=dataset).select_related("base_image").order_by("pk")
    output = folder / "judgements.json"
    specification = {
        "seed": parameters["seed"],
        "px_per_degree": parameters["px_per_degree"],
        "pairs": [
            {
                "id": pair.pk,
                "subject": pair.base_image.subject,
                "control": pair.control,
                "clean": {"file": pair.base_image.file, "sha256": pair.base_image.sha256},
                "altered": {"file": pair.file, "sha256": pair.sha256},
            }
            for pair in pairs
        ],
        "folder": str(settings.MEDIA_ROOT),
        "output": str(output),
    }

    def record(result: Result) -> None:
        PairJudgement.objects.record(dataset, attack, json.loads(output.read_text()))

    return Work("study.lab.observing", specification, record)


def surviving(job: Job, folder: Path) -> Work:
    parameters = job.parameters
    run = ModelRun.objects.get(pk=parameters["model_run"])
    specification = {
        **run.evaluation_specification(),
        "kind": "survive",
        "strength": parameters["strength"],
        "defence": parameters["defence"],
    }
    return Work("models.run", specification, run.record_survival)


def _artifact_folder(job: Job, run: ModelRun) -> Path:
    # One for each attempt: should an old one still be writing somewhere, it cannot touch what a later one stored.
    return Path(settings.MEDIA_ROOT) / "models" / run.name / str(job.attempt)


def _remove_siblings(kept: Path) -> None:
    for sibling in kept.parent.iterdir():
        if sibling != kept:
            shutil.rmtree(sibling, ignore_errors=True)

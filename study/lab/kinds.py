"""What the kinds of job do: for each, what files to bring here, what process to run, and how to store what it made."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db import transaction

from study.lab import files
from study.lab.files import StoredFile
from study.lab.models import Attack, Dataset, Job, ModelRun, PairJudgement
from study.lab.models.runs import artifact_files

Result = dict[str, Any]

#: The folder of trained models under MEDIA_ROOT.
MODELS = "models"


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


def working_folders() -> Path:
    """What holds the working folders of this host, each named by its job."""
    return Path(settings.VAR) / "jobs"


def working_folder(job: Job) -> Path:
    """Where a job keeps its specification, checkpoint and error output until it is done."""
    return working_folders() / str(job.pk)


def data_preparation(job: Job, folder: Path) -> Work:
    dataset = Dataset.objects.get(pk=job.parameters["dataset"])
    dataset.fetch()
    return Work(
        "models.run",
        {"kind": "prepare", "data": dataset.source()},
        lambda result: dataset.recognise(result["data"]),
    )


def training(job: Job, folder: Path) -> Work:
    run = ModelRun.objects.get(pk=job.parameters["model_run"])
    run.dataset.fetch()
    output = _artifact_folder(job, run)

    def record(result: Result) -> None:
        run.record_training(output, result)
        transaction.on_commit(lambda: _remove_siblings(output))
        run.submit_due_evaluations()

    specification = {**run.training_specification(), "output": str(output), "checkpoint": str(folder)}
    return Work("models.run", specification, record, _publishing(output))


def perturbation(job: Job, folder: Path) -> Work:
    run = ModelRun.objects.get(pk=job.parameters["model_run"])
    specification = run.perturbation_specification()
    _fetch(run.dataset, run.clean_reference)
    output = _artifact_folder(job, run)

    def record(result: Result) -> None:
        run.record_training(output, result)
        transaction.on_commit(lambda: _remove_siblings(output))

    return Work("models.run", {**specification, "output": str(output)}, record, _publishing(output))


def evaluation(job: Job, folder: Path) -> Work:
    run = ModelRun.objects.get(pk=job.parameters["model_run"])
    if "again" in job.parameters:
        run.forget_responses()
    _fetch(run.dataset, run, run.clean_reference)
    wanted = {key: job.parameters[key] for key in ("strengths", "px_per_degree") if key in job.parameters}
    specification = {**run.evaluation_specification(), **wanted, "output": str(folder / "evaluation.json")}
    return Work("models.run", specification, run.record_evaluation)


def pair_making(job: Job, folder: Path) -> Work:
    from study.lab.pair_records import record_pairs

    parameters = job.parameters
    dataset = Dataset.objects.get(pk=parameters["dataset"])
    attack = Attack.objects.get(pk=parameters["attack"])
    runs = {run.pk: run for run in ModelRun.objects.filter(pk__in=parameters["model_runs"])}
    _fetch(dataset, *runs.values())
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

    def images() -> Iterator[StoredFile]:
        made = json.loads(manifest.read_text())
        yield from (StoredFile(row["file"], row["sha256"]) for row in (*made["base_images"], *made["pairs"]))

    def publish(result: Result) -> None:
        files.publish(images())

    def record(result: Result) -> None:
        if "data" in result:
            dataset.recognise(result["data"])
        record_pairs(dataset, attack, json.loads(manifest.read_text()))

    return Work("study.lab.pairs", specification, record, publish)


def observing(job: Job, folder: Path) -> Work:
    parameters = job.parameters
    dataset = Dataset.objects.get(pk=parameters["dataset"])
    attack = Attack.objects.get(pk=parameters["attack"])
    pairs = attack.pairs.filter(base_image__dataset=dataset).select_related("base_image").order_by("pk")
    files.fetch(image.stored for pair in pairs for image in (pair.base_image, pair))
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
    _fetch(run.dataset, run, run.clean_reference)
    specification = {
        **run.evaluation_specification(),
        "kind": "survive",
        "strength": parameters["strength"],
        "defence": parameters["defence"],
    }
    return Work("models.run", specification, run.record_survival)


def _artifact_folder(job: Job, run: ModelRun) -> Path:
    # One for each attempt: should an old one still be writing somewhere, it cannot touch what a later one stored.
    return Path(settings.MEDIA_ROOT) / MODELS / run.name / str(job.attempt)


def _fetch(dataset: Dataset, *runs: ModelRun | None) -> None:
    """Bring to this host what the process is going to read."""
    dataset.fetch()
    for run in runs:
        if run is not None:
            run.fetch()


def _publishing(artifact: Path) -> Callable[[Result], None]:
    def publish(result: Result) -> None:
        files.publish(artifact_files(artifact, result["sha256"]))

    return publish


def _remove_siblings(kept: Path) -> None:
    for sibling in kept.parent.iterdir():
        if sibling != kept:
            shutil.rmtree(sibling, ignore_errors=True)

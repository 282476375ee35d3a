"""The broom for files: it finds what nobody names, and leaves everything else alone."""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.core.files.base import ContentFile
from django.core.files.storage import storages
from django.core.management import CommandError, call_command
from django.utils import timezone

from study.analysis.models import Analysis
from study.lab import files
from study.lab.kinds import working_folder
from study.lab.models import BaseImage, Dataset, Job, ModelRun
from study.lab.orphans import orphans, remove
from tests.study.factories import make_study

pytestmark = pytest.mark.django_db
DAY = timedelta(days=1)


def leave(path: Path, content: bytes = b"orphan", age: timedelta = 2 * DAY) -> Path:
    """A file that was written so long ago."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    written = time.time() - age.total_seconds()
    os.utime(path, (written, written))
    os.utime(path.parent, (written, written))
    return path


def job(kind: str = Job.Kind.PAIRS, state: str = Job.State.RUNNING, **parameters: Any) -> Job:
    return Job.objects.create(kind=kind, state=state, parameters=parameters, idempotency_key=uuid.uuid4().hex)


def names() -> list[str]:
    return [orphan.name for orphan in orphans(DAY)]


def over() -> str:
    """The state of a job that was done."""
    return str(Job.State.SUCCEEDED)


def test_a_file_that_a_row_names_is_no_orphan(dataset: Any, runs: tuple[ModelRun, ModelRun]) -> None:
    image = BaseImage.objects.create(
        dataset=dataset, index=0, subject=0, pitch=0, yaw=0, file="images/aa/a.png", sha256=""
    )
    ModelRun.objects.filter(pk=runs[0].pk).update(artifact="models/disc-clean/1")
    leave(image.path)
    leave(files.path("models/disc-clean/1/card.json"))
    leave(files.path("models/disc-clean/1/responses-0.safetensors"))
    assert names() == []


def test_what_killed_writers_late_attempts_and_deleted_rows_left_are_orphans(runs: tuple[ModelRun, ModelRun]) -> None:
    ModelRun.objects.filter(pk=runs[0].pk).update(artifact="models/disc-clean/2")
    left = [
        "images/aa/.b.png.1f2e3d4c",
        "images/aa/b.png",
        "models/disc-clean/.2.x/card.json",
        "models/disc-clean/1/card.json",
    ]
    for name in left:
        leave(files.path(name))
    assert names() == left


def test_what_was_written_a_moment_ago_is_left_alone() -> None:
    leave(files.path("images/aa/new.png"), age=timedelta(hours=23))
    assert names() == []


@pytest.mark.parametrize("state", ["queued", "running"])
def test_what_a_job_may_be_writing_or_about_to_name_is_left_alone(runs: tuple[ModelRun, ModelRun], state: str) -> None:
    job(Job.Kind.PAIRS, state)
    job(Job.Kind.TRAIN, state, model_run=runs[0].pk)
    leave(files.path("images/aa/a.png"))
    leave(files.path("models/disc-clean/1/card.json"))
    leave(files.path("models/disc-clean-too/1/card.json"))
    assert names() == ["models/disc-clean-too/1/card.json"]


def test_only_folders_of_jobs_that_are_over_or_gone_are_orphans(settings: Any) -> None:
    folders = {state: working_folder(job(state=state)) for state in (Job.State.RUNNING, Job.State.QUEUED, over())}
    gone = settings.VAR / "jobs" / str(uuid.uuid4())
    for folder in (*folders.values(), gone, settings.VAR / "jobs" / "notes"):
        leave(folder / "errors.log", b"12345")
    found = [orphan for orphan in orphans(DAY) if orphan.place == "jobs that are over"]
    assert {orphan.name for orphan in found} == {folders[over()].name, gone.name}
    assert {orphan.size for orphan in found} == {5}


def test_a_folder_in_which_something_is_new_is_left_alone() -> None:
    folder = working_folder(job(state=over()))
    leave(folder / "deep" / "errors.log")
    leave(folder / "checkpoint", age=timedelta())
    assert names() == []


def test_a_report_or_plan_that_no_row_names_is_an_orphan_once_its_job_is_over() -> None:
    running = [job(Job.Kind.ANALYSE), job(Job.Kind.PLAN)]
    named = job(Job.Kind.PLAN, state=over())
    Job.objects.filter(pk=named.pk).update(result={"folder": f"plans/{named.pk}/1", "files": {}})
    report = Analysis.objects.create(study=make_study(opened=False, base_images=22, size=4), folder="reports/a/2")
    kept = [f"reports/{running[0].pk}/1", f"plans/{running[1].pk}/1", f"plans/{named.pk}/1", report.folder]
    left = ["reports/a/1", "plans/a/1"]
    for folder in (*kept, *left):
        leave(files.path(f"{folder}/report.json"))
    assert names() == [f"{folder}/report.json" for folder in left]


def test_an_upload_that_no_data_set_names_is_an_orphan(settings: Any) -> None:
    kept, left = (leave(settings.VAR / "uploads" / name) for name in ("a.npz", "b.npz"))
    Dataset.objects.create(name="eyes", kind=Dataset.Kind.ARRAYS, root=str(kept.resolve()))
    found = orphans(DAY)
    assert [(orphan.place, orphan.name) for orphan in found] == [("uploads", "b.npz")]
    assert remove(found) == found
    assert (kept.exists(), left.exists()) == (True, False)


def test_other_folders_are_never_looked_at(settings: Any) -> None:
    leave(settings.VAR / "datasets" / "eyes" / "images.npy")
    leave(files.path("datasets/eyes/images.npy"))
    leave(files.path("elsewhere/a.png"))
    assert names() == []


def test_what_became_needed_since_it_was_listed_stays(dataset: Any) -> None:
    kept = leave(files.path("images/aa/a.png"))
    folder = working_folder(Job.objects.get(pk=job(state=over()).pk))
    leave(folder / "errors.log")
    listed = orphans(DAY)
    BaseImage.objects.create(dataset=dataset, index=0, subject=0, pitch=0, yaw=0, file="images/aa/a.png", sha256="")
    Job.objects.update(state=Job.State.QUEUED)
    assert (len(listed), remove(listed)) == (2, [])
    assert kept.exists()
    assert folder.exists()


def test_the_storage_and_this_host_are_swept_each_for_itself(
    shared_in_memory: None, move_to_host: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = storages["default"]
    storage.save("images/aa/there.png", ContentFile(b"orphan"))
    storage.save("datasets/eyes/images.npy", ContentFile(b"data"))
    monkeypatch.setattr(type(storage), "get_modified_time", lambda *_: timezone.now() - 2 * DAY)
    move_to_host("b")
    leave(files.path("images/aa/here.png"))
    listed = orphans(DAY)
    assert [(orphan.place, orphan.name) for orphan in listed] == [
        ("this host", "images/aa/here.png"),
        ("the storage", "images/aa/there.png"),
    ]
    assert remove(listed) == listed
    assert not files.path("images/aa/here.png").exists()
    assert not storage.exists("images/aa/there.png")
    assert storage.exists("datasets/eyes/images.npy")


def test_a_bucket_is_swept(shared: str) -> None:
    storage = storages["default"]
    storage.save("models/disc/1/card.json", ContentFile(b"orphan"))
    (orphan,) = orphans(timedelta(seconds=-60))
    assert (orphan.place, orphan.name, orphan.size) == ("the storage", "models/disc/1/card.json", 6)
    remove([orphan])
    assert not storage.exists("models/disc/1/card.json")


def name_a_file(dataset: Any) -> None:
    BaseImage.objects.create(dataset=dataset, index=0, subject=0, pitch=0, yaw=0, file="images/aa/n.png", sha256="")


def test_a_database_that_names_no_file_is_taken_for_the_wrong_one() -> None:
    path = leave(files.path("images/aa/a.png"))
    with pytest.raises(CommandError, match=r"names no file at all.*DATABASE_URL"):
        call_command("sweep_files", "--delete")
    assert path.exists()


def test_the_command_lists_and_deletes_only_when_told(dataset: Any, capsys: pytest.CaptureFixture[str]) -> None:
    name_a_file(dataset)
    path = leave(files.path("images/aa/a.png"))
    call_command("sweep_files")
    assert path.exists()
    said = capsys.readouterr().out
    assert "this host: images/aa/a.png, 6 bytes, of " in said
    assert "1 orphan, 6 bytes (1 on this host): nothing deleted; --delete does." in said
    call_command("sweep_files", "--delete", "--older-than=3d")
    assert path.exists()
    assert capsys.readouterr().out == "No orphans.\n"
    call_command("sweep_files", "--delete", "--older-than=36h")
    assert not path.exists()
    assert "(1 on this host): deleted." in capsys.readouterr().out


def test_a_length_of_time_that_is_none_is_refused() -> None:
    with pytest.raises(CommandError, match="older-than"):
        call_command("sweep_files", "--older-than=yesterday")

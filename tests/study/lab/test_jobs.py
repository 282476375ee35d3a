"""What a worker makes of its work's events, endings and interruptions."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db.models import F
from django.db.models.functions import Now

from study.lab import jobs, kinds
from study.lab.models import Dataset, Job, ModelRun

pytestmark = pytest.mark.django_db


@pytest.fixture
def job() -> Job:
    return Job.objects.submit(Job.Kind.TRAIN, {"model_run": 1})


class Told:
    """Prepares scripted work and remembers what was recorded; `meanwhile` is done between claim and start."""

    def __init__(self, meanwhile: Callable[[Job], object] = lambda job: None, **script: Any) -> None:
        self.meanwhile, self.script = meanwhile, {"done": {"answer": 42}, **script}
        self.recorded: list[dict[str, Any]] = []

    def __call__(self, job: Job, folder: Path) -> kinds.Work:
        self.meanwhile(job)
        return kinds.Work("tests.study.lab.scripted_work", self.script, self.recorded.append)


def perform(job: Job, told: Told) -> Job:
    jobs.perform(str(job.pk), told)
    job.refresh_from_db()
    return job


def test_done_work_is_recorded_once_however_often_it_is_delivered(job: Job) -> None:
    told = Told()
    perform(job, told)
    perform(job, told)
    assert told.recorded == [{"answer": 42}]
    assert (job.state, job.attempt, job.result) == (Job.State.DONE, 1, {"answer": 42})
    assert not kinds.working_folder(job).exists()


def test_progress_goes_into_the_row(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "REPORT_EVERY_S", 0.0)
    assert perform(job, Told(seconds=0.3)).progress == {"stage": "training", "fraction": 0.5}


def test_failed_work_leaves_its_sentence_and_is_not_tried_again(job: Job) -> None:
    told = Told(failed="blobs.npz: no such file.")
    perform(job, told)
    perform(job, told)
    assert (job.state, job.attempt, job.error) == (Job.State.FAILED, 1, "blobs.npz: no such file.")
    assert told.recorded == []


def test_a_crash_leaves_the_last_line_of_its_error_output(job: Job) -> None:
    perform(job, Told(crashed="tensor of the wrong shape"))
    assert job.state == Job.State.FAILED
    assert job.error == "The work ended with code 1. RuntimeError: tensor of the wrong shape"


def test_killed_work_is_tried_again_until_its_last_attempt(job: Job) -> None:
    told = Told(killed=True)
    perform(job, told)
    assert (job.state, job.error) == (Job.State.QUEUED, "The work was killed by SIGKILL (out of memory?).")
    perform(job, told)
    perform(job, told)
    perform(job, told)
    assert (job.state, job.attempt) == (Job.State.FAILED, 3)
    assert job.error.endswith("This was attempt 3, the last one.")


def test_cancelled_work_is_stopped_even_if_it_does_not_listen(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "STOP_GRACE_S", 0.2)
    monkeypatch.setattr(jobs, "LOOK_EVERY_S", 0.2)
    started = time.monotonic()
    perform(job, Told(meanwhile=Job.request_cancel, seconds=60, stubborn=True))
    assert time.monotonic() - started < 20
    assert job.state == Job.State.CANCELLED


def test_a_worker_that_is_busy_sweeps_the_other_jobs(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "SWEEP_EVERY_S", 0.1)
    abandoned = Job.objects.submit(Job.Kind.TRAIN, {"model_run": 2})
    abandoned.claim("a worker that is gone")
    Job.objects.filter(pk=abandoned.pk).update(lease_until=Now() - timedelta(seconds=1))
    perform(job, Told(seconds=0.5))
    abandoned.refresh_from_db()
    assert (abandoned.state, job.state) == (Job.State.QUEUED, Job.State.DONE)


def superseded(job: Job) -> None:
    Job.objects.filter(pk=job.pk).update(attempt=F("attempt") + 1)


def test_an_attempt_that_has_lost_the_job_stops_at_its_next_heartbeat(
    job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs, "HEARTBEAT_EVERY_S", 0.2)
    started = time.monotonic()
    told = Told(meanwhile=superseded, seconds=60)
    perform(job, told)
    assert time.monotonic() - started < 20
    assert (job.state, job.attempt, told.recorded) == (Job.State.RUNNING, 2, [])


def test_the_result_of_an_attempt_that_has_lost_the_job_is_dropped(job: Job) -> None:
    told = Told(meanwhile=superseded)
    perform(job, told)
    assert (job.state, job.result, told.recorded) == (Job.State.RUNNING, None, [])


def test_a_result_that_cannot_be_stored_leaves_nothing_behind(job: Job, arrays: Path) -> None:
    def record(result: dict[str, Any]) -> None:
        Dataset.objects.arrays("half-written", arrays)
        raise ValueError("The data have changed.")

    jobs.perform(str(job.pk), lambda *_: kinds.Work("tests.study.lab.scripted_work", {"done": {}}, record))
    job.refresh_from_db()
    assert (job.state, job.error, job.result) == (Job.State.FAILED, "The data have changed.", None)
    assert not Dataset.objects.exists()


def test_a_job_about_something_deleted_says_so(job: Job) -> None:
    jobs.perform(str(job.pk), kinds.training)
    job.refresh_from_db()
    assert job.state == Job.State.FAILED
    assert job.error.startswith("Something that this job needs has been deleted")


def test_an_evaluation_asked_for_again_makes_its_predictions_anew(trained: tuple[ModelRun, ModelRun]) -> None:
    kept = [run.artifact_path / "responses-0123.safetensors" for run in trained]
    for path in kept:
        path.touch()
    once, again = trained[1].submit_evaluation(), trained[1].submit_evaluation(again=True)
    assert once.pk != again.pk
    kinds.evaluation(once, Path("unused"))
    assert all(path.exists() for path in kept)
    kinds.evaluation(again, Path("unused"))
    assert not any(path.exists() for path in kept)

"""Waiting at the terminal: it ends with the jobs, with a failure, or when nobody is left to do them."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest
from django.db.models.functions import Now

from study import processes
from study.lab import following
from study.lab.following import JobFailed, follow, follow_all
from study.lab.models import Job

pytestmark = pytest.mark.django_db

SILENT_BROKER = f"redis://127.0.0.1:{processes.free_port()}/0"


@pytest.fixture(autouse=True)
def vanished(monkeypatch: pytest.MonkeyPatch) -> None:
    """A broker was joined and has ended since; looking takes no time."""
    monkeypatch.setenv("REDIS_URL", SILENT_BROKER)
    monkeypatch.setattr(following, "LOOK_EVERY_S", 0.01)
    monkeypatch.setattr(following, "PING_EVERY_S", 0.02)


@pytest.fixture
def job(monkeypatch: pytest.MonkeyPatch) -> Job:
    monkeypatch.setattr(Job, "publish", lambda job: None)
    return Job.objects.submit(Job.Kind.TRAIN, {"model_run": 1})


def test_a_queued_job_is_not_waited_for_when_the_broker_is_gone(job: Job) -> None:
    with pytest.raises(JobFailed, match="Nobody is left to do the work: the broker no longer answers"):
        follow({"training": job})
    assert job.state == Job.State.QUEUED


def test_nor_is_a_running_one_whose_worker_is_gone_too(job: Job) -> None:
    job.claim("a")
    Job.objects.update(lease_until=Now() - timedelta(seconds=1))
    with pytest.raises(JobFailed, match="Nobody is left"):
        follow({"training": job})


def test_a_job_whose_worker_goes_on_is_waited_for_without_a_broker(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    job.claim("a")
    pings = iter(range(10))

    def finish_in_the_end() -> bool:
        if next(pings) == 8:
            job.finish(1, {})
        return False

    monkeypatch.setattr(following, "broker_answers", finish_in_the_end)
    follow({"training": job})
    assert job.state == Job.State.SUCCEEDED


def test_a_job_that_failed_raises_its_sentence(job: Job) -> None:
    job.claim("a")
    job.fail(1, "blobs.npz: no such file.")
    with pytest.raises(JobFailed, match=r"^training: blobs.npz: no such file\.$"):
        follow({"training": job})


def test_many_jobs_are_waited_for_together_until_the_last_even_if_some_fail(
    job: Job, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    later = iter([{"first": job}, {"first": job}])

    def advance() -> dict[str, Job]:
        job.refresh_from_db()
        if job.state == Job.State.QUEUED:
            job.claim("a")
            return next(later)
        job.fail(job.attempt, "It would not learn.")
        job.refresh_from_db()
        return {"first": job}

    assert follow_all("Sweep", 1, advance) == {"first": job}
    assert job.state == Job.State.FAILED
    assert "1 of 1 jobs, 1 failed" in capsys.readouterr().err


def test_all_jobs_together_never_go_back_when_one_changes_its_stage(
    job: Job, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Data and measuring are little of a training: they count for nothing, and take nothing away."""
    monkeypatch.setattr(following, "LINE_EVERY_S", 0.0)
    monkeypatch.setattr(following, "broker_answers", lambda: True)
    job.claim("a")
    stages = iter([("data", 1.0), ("training", 0.2), ("training", 0.8), ("measuring", 0.1), ("measuring", 1.0)])

    def advance() -> dict[str, Job]:
        stage, fraction = next(stages, ("", 0.0))
        if stage:
            job.heartbeat(1, progress={"stage": stage, "fraction": fraction})
        else:
            job.finish(1, {})
        job.refresh_from_db()
        return {"first": job}

    follow_all("Sweep", 1, advance)
    told = re.findall(r"Sweep: (\d+)%", capsys.readouterr().err)
    assert told == ["0", "20", "80", "80", "80", "100"]


def test_many_jobs_are_not_waited_for_when_nobody_is_left(job: Job) -> None:
    with pytest.raises(JobFailed, match="Nobody is left to do the work"):
        follow_all("Sweep", 2, lambda: {"first": job})

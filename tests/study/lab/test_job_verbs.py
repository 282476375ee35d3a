"""The job table: the same work once, one owner at a time, and nothing from an attempt that has lost the job."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from unittest.mock import patch

import pytest
from django.db import connection
from django.db.models.functions import Now

from study.lab.models import Job

pytestmark = [pytest.mark.store, pytest.mark.django_db]


@pytest.fixture(autouse=True)
def published() -> Iterator[list[str]]:
    """Ids of the jobs that workers were told of."""
    ids: list[str] = []
    with patch.object(Job, "publish", lambda job: ids.append(str(job.pk))):
        yield ids


def submit(**parameters: object) -> Job:
    return Job.objects.submit(Job.Kind.TRAIN, parameters or {"model_run": 1})


def expire(job: Job) -> None:
    Job.objects.filter(pk=job.pk).update(lease_until=Now() - timedelta(seconds=1))


def claimed(job: Job, owner: str = "a") -> Job:
    assert job.claim(owner)
    return job


def test_the_same_work_submitted_twice_is_one_job() -> None:
    first, second = submit(model_run=1, seed=2), submit(seed=2, model_run=1)
    assert first.pk == second.pk
    assert submit(model_run=2).pk != first.pk


def test_workers_hear_of_a_job_after_the_commit_and_once(
    published: list[str], django_capture_on_commit_callbacks: object
) -> None:
    with django_capture_on_commit_callbacks(execute=True):  # type: ignore[operator]
        job = submit()
        submit()
        assert published == []
    assert published == [str(job.pk)]


def test_the_first_claim_gets_the_job_and_a_duplicate_delivery_gets_nothing() -> None:
    job = submit()
    duplicate = Job.objects.get(pk=job.pk)
    assert job.claim("a")
    assert not duplicate.claim("b")
    assert not Job.objects.get(pk=job.pk).claim("b")
    job.refresh_from_db()
    assert (job.state, job.attempt, job.lease_owner) == (Job.State.RUNNING, 1, "a")
    assert job.lease_until is not None
    assert job.started_at is not None


@pytest.mark.django_db(transaction=True)
def test_of_eight_workers_claiming_at_once_one_gets_the_job() -> None:
    job = submit()

    def claim(worker: int) -> bool:
        try:
            return Job.objects.get(pk=job.pk).claim(str(worker))
        finally:
            connection.close()

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(claim, range(8))) == 1
    job.refresh_from_db()
    assert job.attempt == 1


def test_a_job_whose_lease_ran_out_can_be_claimed_by_another_worker() -> None:
    job = claimed(submit())
    expire(job)
    other = Job.objects.get(pk=job.pk)
    assert other.claim("b")
    assert other.attempt == 2


def test_a_heartbeat_renews_the_lease_of_the_attempt_that_holds_it_only() -> None:
    job = claimed(submit())
    expire(job)
    assert job.heartbeat(1)
    assert not Job.objects.get(pk=job.pk).claim("b")
    assert not job.heartbeat(0)


def test_a_late_writer_of_an_older_attempt_changes_nothing() -> None:
    old = claimed(submit())
    expire(old)
    new = claimed(Job.objects.get(pk=old.pk), "b")
    new.report(2, {"stage": "training", "fraction": 0.5})
    assert not old.report(1, {"stage": "late"})
    assert not old.heartbeat(1)
    assert not old.fail(1, "late")
    assert not old.interrupt(1, "late")
    assert not old.finish(1, {"late": True})
    new.refresh_from_db()
    assert (new.state, new.progress["stage"], new.error, new.result) == (Job.State.RUNNING, "training", "", None)
    assert new.finish(2, {"late": False})
    assert not old.finish(1, {"late": True})
    new.refresh_from_db()
    assert (new.state, new.result) == (Job.State.DONE, {"late": False})


def test_a_finished_job_stays_as_it_is() -> None:
    job = claimed(submit())
    assert job.finish(1, {"sha256": "x"})
    assert not job.fail(1, "too late")
    assert not Job.objects.get(pk=job.pk).claim("b")
    job.request_cancel()
    assert submit().pk == job.pk
    job.refresh_from_db()
    assert (job.state, job.result, job.attempt) == (Job.State.DONE, {"sha256": "x"}, 1)


def test_an_interrupted_job_is_queued_again_until_its_last_attempt(
    published: list[str], django_capture_on_commit_callbacks: object
) -> None:
    with django_capture_on_commit_callbacks(execute=True):  # type: ignore[operator]
        job = submit()
        for attempt in (1, 2):
            assert claimed(job).interrupt(attempt, "Out of memory.")
            job.refresh_from_db()
            assert job.state == Job.State.QUEUED
        assert claimed(job).interrupt(3, "Out of memory.")
    job.refresh_from_db()
    assert (job.state, job.attempt) == (Job.State.FAILED, 3)
    assert job.error == "Out of memory. This was attempt 3, the last one."
    assert not job.claim("b")
    assert len(published) == 3


def test_a_queued_job_is_cancelled_at_once_and_no_worker_gets_it() -> None:
    job = submit()
    job.request_cancel()
    assert job.state == Job.State.CANCELLED
    assert not job.claim("a")


def test_a_running_job_is_cancelled_when_its_worker_looks() -> None:
    job = claimed(submit())
    assert not job.cancel_requested(1)
    job.request_cancel()
    assert job.state == Job.State.RUNNING
    assert job.cancel_requested(1)
    assert job.interrupt(1, "Cancelled.")
    job.refresh_from_db()
    assert job.state == Job.State.CANCELLED


@pytest.mark.parametrize("end", ["failed", "cancelled"])
def test_work_that_failed_or_was_cancelled_can_be_submitted_again(end: str) -> None:
    job = claimed(submit())
    if end == "failed":
        job.fail(1, "No such file.")
    else:
        job.request_cancel()
        job.interrupt(1, "Cancelled.")
    again = submit()
    assert (again.pk, again.state, again.error) == (job.pk, Job.State.QUEUED, "")
    assert again.claim("b")
    assert (again.attempt, again.max_attempts) == (2, 4)
    assert not again.finish(1, {})


def test_the_sweeper_takes_up_jobs_whose_worker_is_gone_and_leaves_the_others(
    published: list[str], django_capture_on_commit_callbacks: object
) -> None:
    gone, alive = claimed(submit(model_run=1)), claimed(submit(model_run=2))
    expire(gone)
    with django_capture_on_commit_callbacks(execute=True):  # type: ignore[operator]
        swept = Job.objects.sweep()
    assert (swept.interrupted, swept.lost) == (1, 0)
    assert published == [str(gone.pk)]
    gone.refresh_from_db()
    alive.refresh_from_db()
    assert (gone.state, gone.error) == (Job.State.QUEUED, "The worker stopped answering.")
    assert alive.state == Job.State.RUNNING


def test_the_sweeper_fails_a_job_after_its_last_attempt_and_ends_a_cancelled_one() -> None:
    worn, cancelled = claimed(submit(model_run=1)), claimed(submit(model_run=2))
    Job.objects.filter(pk=worn.pk).update(max_attempts=1)
    cancelled.request_cancel()
    expire(worn)
    expire(cancelled)
    assert Job.objects.sweep().interrupted == 2
    worn.refresh_from_db()
    cancelled.refresh_from_db()
    assert (worn.state, cancelled.state) == (Job.State.FAILED, Job.State.CANCELLED)
    assert worn.error == "The worker stopped answering. This was attempt 1, the last one."


def test_the_sweeper_publishes_a_lost_message_again_but_not_at_every_sweep(
    published: list[str], django_capture_on_commit_callbacks: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = submit()
    with django_capture_on_commit_callbacks(execute=True):  # type: ignore[operator]
        assert Job.objects.sweep().lost == 0
        monkeypatch.setattr("study.lab.models.jobs.LOST_AFTER", timedelta(seconds=1))
        time.sleep(1.1)
        assert Job.objects.sweep().lost == 1
        assert Job.objects.sweep().lost == 0
    assert published == [str(job.pk)]


def test_of_two_sweepers_that_found_the_same_lost_message_one_publishes_it(
    published: list[str], django_capture_on_commit_callbacks: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("study.lab.models.jobs.LOST_AFTER", timedelta(seconds=1))
    found = Job.objects.get(pk=submit().pk), Job.objects.get()
    time.sleep(1.1)
    with django_capture_on_commit_callbacks(execute=True):  # type: ignore[operator]
        assert [job._publish_again() for job in found] == [True, False]
    assert published == [str(found[0].pk)]


def test_parameters_that_json_cannot_hold_are_refused() -> None:
    with pytest.raises(ValueError, match="JSON"):
        submit(strength=float("nan"))
    assert not Job.objects.exists()

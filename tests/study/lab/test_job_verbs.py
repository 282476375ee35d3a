"""The job table: the same work once, one owner at a time, and nothing from an attempt that has lost the job."""

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from unittest.mock import Mock, patch

import pytest
from django.db import OperationalError, connection, transaction
from django.db.models.functions import Now

from study.lab.models import Job, JobEvent, Sweeper
from study.lab.models.jobs import LOST_AFTER, LOST_AFTER_AT_MOST, NEXT_OF_A_KIND, PAYLOAD_VERSION, patience

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


def wait_in_vain(job: Job) -> None:
    Job.objects.filter(pk=job.pk).update(ring_at=Now() - timedelta(seconds=1))


def history(job: Job) -> list[tuple[int, str]]:
    return list(job.events.values_list("attempt", "kind"))


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


def test_a_claim_that_was_not_committed_can_be_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    job, log = submit(), Job._log
    monkeypatch.setattr(Job, "_log", Mock(side_effect=OperationalError("the server closed the connection")))
    with pytest.raises(OperationalError):
        job.claim("a")
    monkeypatch.setattr(Job, "_log", log)
    assert claimed(job).attempt == 1
    assert history(job) == [(0, "queued"), (1, "claimed")]


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
    new.heartbeat(2, progress={"stage": "training", "fraction": 0.5})
    assert not old.heartbeat(1, progress={"stage": "late"})
    assert not old.heartbeat(1, reached=0.9)
    assert not old.give_back(1, "late")
    assert not old.fail(1, "late")
    assert not old.interrupt(1, "late")
    assert not old.finish(1, {"late": True})
    new.refresh_from_db()
    assert (new.state, new.progress["stage"], new.error, new.result) == (Job.State.RUNNING, "training", "", None)
    assert new.reached == 0
    assert new.finish(2, {"late": False})
    assert not old.finish(1, {"late": True})
    new.refresh_from_db()
    assert (new.state, new.result) == (Job.State.SUCCEEDED, {"late": False})


def test_a_finished_job_stays_as_it_is() -> None:
    job = claimed(submit())
    assert job.finish(1, {"sha256": "x"})
    assert not job.fail(1, "too late")
    assert not Job.objects.get(pk=job.pk).claim("b")
    job.request_cancel()
    assert submit().pk == job.pk
    job.refresh_from_db()
    assert (job.state, job.result, job.attempt) == (Job.State.SUCCEEDED, {"sha256": "x"}, 1)


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
    assert job.error == "Out of memory. This was attempt 3 of 3 that got no further."
    assert job.message == job.error
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


@pytest.mark.parametrize("is_running", [False, True])
def test_the_history_says_who_cancelled_a_job(is_running: bool) -> None:
    job = submit()
    if is_running:
        claimed(job)
    assert job.request_cancel(by="ada")
    if is_running:
        job.interrupt(1, "Cancelled.")
        job.refresh_from_db()
    assert "by ada" in job.events.get(kind="cancelled").detail
    assert job.message == "Cancelled by ada."
    assert not job.request_cancel(by="bob")


@pytest.mark.django_db(transaction=True)
def test_a_job_that_is_queued_again_while_it_is_being_cancelled_is_cancelled() -> None:
    job = claimed(submit())
    interrupted = threading.Event()

    def interrupt() -> None:
        try:
            with transaction.atomic():
                job.interrupt(1, "Out of memory.")
                interrupted.set()
                time.sleep(0.3)
        finally:
            connection.close()

    with ThreadPoolExecutor(1) as pool:
        ending = pool.submit(interrupt)
        assert interrupted.wait(10)
        job.request_cancel()
        ending.result()
    assert job.state == Job.State.CANCELLED
    assert history(job)[-2:] == [(1, "interrupted"), (1, "cancelled")]


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
    again.refresh_from_db()
    assert (again.attempt, again.tries, again.max_attempts) == (2, 1, 3)
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
    assert (gone.state, gone.error) == (Job.State.QUEUED, "The worker on a stopped answering.")
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
    assert worn.error == "The worker on a stopped answering. This was attempt 1 of 1 that got no further."


def test_the_sweeper_publishes_a_lost_message_again_but_not_at_every_sweep(
    published: list[str], django_capture_on_commit_callbacks: object
) -> None:
    job = submit()
    with django_capture_on_commit_callbacks(execute=True):  # type: ignore[operator]
        assert Job.objects.sweep().lost == 0
        wait_in_vain(job)
        assert Job.objects.sweep().lost == 1
        assert Job.objects.sweep().lost == 0
    assert published == [str(job.pk)]


def test_of_a_long_queue_the_sweeper_rings_only_for_those_whose_turn_is_next(
    published: list[str], django_capture_on_commit_callbacks: object
) -> None:
    queue = [submit(model_run=number) for number in range(NEXT_OF_A_KIND + 2)]
    of_another_kind = Job.objects.submit(Job.Kind.PREPARE, {"dataset": 1})
    for number, job in enumerate([*queue, of_another_kind]):
        wait = timedelta(seconds=100 - number)
        Job.objects.filter(pk=job.pk).update(queued_at=Now() - wait, ring_at=Now() - timedelta(seconds=1))
    with django_capture_on_commit_callbacks(execute=True):  # type: ignore[operator]
        assert Job.objects.sweep().lost == NEXT_OF_A_KIND + 1
        assert Job.objects.sweep().lost == 0
        claimed(queue[0])
        assert Job.objects.sweep().lost == 1
    rung = [str(job.pk) for job in (*queue[:NEXT_OF_A_KIND], of_another_kind)]
    assert sorted(published[:-1]) == sorted(rung)
    assert published[-1] == str(queue[NEXT_OF_A_KIND].pk)


def test_of_two_sweepers_that_found_the_same_lost_message_one_publishes_it(
    published: list[str], django_capture_on_commit_callbacks: object
) -> None:
    wait_in_vain(submit())
    found = Job.objects.get(), Job.objects.get()
    with django_capture_on_commit_callbacks(execute=True):  # type: ignore[operator]
        assert [job._ring_again() for job in found] == [True, False]
    assert published == [str(found[0].pk)]


def test_parameters_that_json_cannot_hold_are_refused() -> None:
    with pytest.raises(ValueError, match="JSON"):
        submit(strength=float("nan"))
    assert not Job.objects.exists()


# -- how many attempts are enough


def test_a_job_that_gets_ahead_is_killed_fifty_times_and_goes_on() -> None:
    job = submit()
    for attempt in range(1, 51):
        claimed(job)
        assert job.heartbeat(attempt, reached=attempt / 100)
        assert job.interrupt(attempt, "The work was killed by SIGKILL (out of memory?).")
    job.refresh_from_db()
    assert (job.state, job.attempt, job.reached) == (Job.State.QUEUED, 50, 0.5)
    assert claimed(job).finish(51, {})


def test_a_checkpoint_that_was_reached_before_is_no_step_ahead() -> None:
    job = submit()
    assert claimed(job).heartbeat(1, reached=0.5)
    for attempt in (1, 2, 3):
        assert job.heartbeat(attempt, reached=0.5 if attempt > 1 else 0.4)
        assert job.interrupt(attempt, "Out of memory.")
        assert claimed(job)
    assert job.interrupt(4, "Out of memory.")
    job.refresh_from_db()
    assert (job.state, job.tries) == (Job.State.FAILED, 3)


def test_a_job_that_its_worker_gives_back_has_not_lost_a_try() -> None:
    job = submit()
    for attempt in range(1, 6):
        assert claimed(job).give_back(attempt, "The worker was told to end.")
    job.refresh_from_db()
    assert (job.state, job.attempt, job.tries) == (Job.State.QUEUED, 5, 0)


def test_a_cancelled_job_that_is_given_back_ends() -> None:
    job = claimed(submit())
    job.request_cancel()
    assert job.give_back(1, "The worker was told to end.")
    job.refresh_from_db()
    assert job.state == Job.State.CANCELLED


def test_a_job_tried_again_has_all_its_attempts_and_one_that_is_not_over_stays() -> None:
    job = submit()
    assert not job.retry()
    claimed(job).fail(1, "No such file.")
    assert job.retry()
    assert (job.state, job.tries, job.error) == (Job.State.QUEUED, 0, "")
    assert history(job)[-1] == (1, "queued")


def test_a_healthy_attempt_is_not_one_without_progress() -> None:
    job = submit()
    told = []
    for attempt in (1, 2):
        told.append(claimed(job).attempts_without_progress)
        job.interrupt(attempt, "Out of memory.")
        job.refresh_from_db()
        told.append(job.attempts_without_progress)
    claimed(job).heartbeat(3, reached=0.5)
    job.refresh_from_db()
    told.append(job.attempts_without_progress)
    assert told == [0, 1, 1, 2, 0]


# -- versions


def test_a_job_of_a_newer_version_is_left_to_a_newer_worker() -> None:
    job = submit()
    Job.objects.update(payload_version=PAYLOAD_VERSION + 1)
    assert not job.claim("a")
    job.refresh_from_db()
    assert (job.state, job.attempt) == (Job.State.QUEUED, 0)


# -- history


def test_the_history_says_what_happened_and_why() -> None:
    job = claimed(submit(), "here:17")
    expire(job)
    Job.objects.sweep()
    job.refresh_from_db()
    claimed(job, "there:18").give_back(2, "The worker was told to end.")
    claimed(job, "there:19").finish(3, {})
    assert history(job) == [
        (0, "queued"), (1, "claimed"), (1, "lease_expired"), (2, "claimed"), (2, "returned"), (3, "claimed"),
        (3, "succeeded"),
    ]  # fmt: skip
    assert (
        str(job.events.get(kind="lease_expired")) == "attempt 1: lease expired, The worker on here stopped answering."
    )


def test_a_claim_of_a_job_whose_worker_is_gone_tells_of_both() -> None:
    job = claimed(submit())
    expire(job)
    assert Job.objects.get(pk=job.pk).claim("b")
    assert history(job) == [(0, "queued"), (1, "claimed"), (1, "lease_expired"), (2, "claimed")]


def test_cancelling_twice_is_told_of_once() -> None:
    job = submit()
    job.request_cancel()
    job.request_cancel()
    assert history(job) == [(0, "queued"), (0, "cancelled")]


def test_what_happened_is_never_changed() -> None:
    event = submit().events.get()
    event.detail = "something else"
    with pytest.raises(TypeError, match="never changed"):
        event.save()


@pytest.mark.django_db(transaction=True)
def test_an_event_is_written_with_its_change_or_not_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    job = claimed(submit())

    def no_room(self: Job, *_: object) -> None:
        raise OSError("no room")

    monkeypatch.setattr(Job, "_log", no_room)
    for verb in (lambda: job.finish(1, {}), lambda: job.interrupt(1, "Killed."), lambda: job.fail(1, "No.")):
        with pytest.raises(OSError, match="no room"):
            verb()
    job.refresh_from_db()
    assert job.state == Job.State.RUNNING
    assert JobEvent.objects.count() == 2


# -- the sweeper


def test_a_long_queue_is_rung_for_ever_more_seldom() -> None:
    waits = [patience(rings) for rings in range(1, 40)]
    assert waits[:3] == [LOST_AFTER, 2 * LOST_AFTER, 4 * LOST_AFTER]
    assert waits == sorted(waits)
    assert waits[-1] == LOST_AFTER_AT_MOST


def test_a_job_that_is_queued_anew_is_soon_rung_for_again() -> None:
    job = submit()
    Job.objects.update(rings=7, ring_at=Now() + timedelta(hours=1))
    claimed(job).interrupt(1, "Killed.")
    job.refresh_from_db()
    assert job.rings == 1
    assert job.ring_at - job.queued_at == LOST_AFTER


def test_of_many_sweepers_one_sweeps_within_some_seconds() -> None:
    assert [Sweeper.objects.sweep_if_due() is not None for _ in range(3)] == [True, False, False]
    Sweeper.objects.update(swept_at=Now() - timedelta(seconds=6))
    assert [Sweeper.objects.sweep_if_due() is not None for _ in range(3)] == [True, False, False]


def test_sweeping_goes_on_when_the_databases_clock_was_put_back() -> None:
    assert Sweeper.objects.sweep_if_due() is not None
    Sweeper.objects.update(swept_at=Now() + timedelta(hours=1))
    assert [Sweeper.objects.sweep_if_due() is not None for _ in range(2)] == [True, False]


@pytest.mark.django_db(transaction=True)
def test_of_eight_sweepers_at_once_one_sweeps() -> None:
    def sweep(_: int) -> bool:
        try:
            return Sweeper.objects.sweep_if_due() is not None
        finally:
            connection.close()

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(sweep, range(8))) == 1


# -- what people read


def test_a_job_says_in_a_sentence_how_it_stands() -> None:
    job = submit()
    told = [job.message]
    claimed(job)
    job.refresh_from_db()
    told.append(job.message)
    job.heartbeat(1, progress={"stage": "training", "fraction": 0.25}, log_tail="epoch 3")
    job.refresh_from_db()
    told.append(job.message)
    job.interrupt(1, "The work was killed by SIGKILL (out of memory?).")
    job.refresh_from_db()
    told.append(job.message)
    assert told == [
        "It waits for a worker.",
        "It is starting.",
        "It is at training, 25%.",
        "The work was killed by SIGKILL (out of memory?). It is queued again.",
    ]
    assert job.log_tail == "epoch 3"

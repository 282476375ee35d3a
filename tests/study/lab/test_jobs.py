"""What a worker makes of its work's events, endings and interruptions."""

from __future__ import annotations

import errno
import mmap
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from django.db import OperationalError, connection, transaction
from django.db.models import F
from django.db.models.functions import Now

from study.lab import jobs, kinds, lease, shutdown
from study.lab.files import StorageFailed
from study.lab.models import Dataset, Job, ModelRun
from study.lab.models.jobs import OLDEST_PAYLOAD_VERSION, PAYLOAD_VERSION
from study.logs import subject

# The lease is kept by a thread of its own, which sees what is committed.
pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def asked(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Set, the worker is told to end."""
    event = threading.Event()
    monkeypatch.setattr(shutdown, "_asked", event)
    monkeypatch.setattr(jobs, "SHUTDOWN_FOLLOWS_S", 0.1)
    return event


@pytest.fixture
def job() -> Job:
    return Job.objects.submit(Job.Kind.TRAIN, {"model_run": 1})


@pytest.fixture
def quick_lease(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LOOK_EVERY_S", "HEARTBEAT_EVERY_S", "REPORT_EVERY_S", "RETRY_EVERY_S"):
        monkeypatch.setattr(lease, name, 0.05)


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
    assert (job.state, job.attempt, job.result) == (Job.State.SUCCEEDED, 1, {"answer": 42})
    assert not kinds.working_folder(job).exists()


def test_the_last_progress_goes_into_the_row_however_short_the_work(job: Job) -> None:
    assert perform(job, Told()).progress == {"stage": "training", "fraction": 0.5}


def test_what_the_work_tells_is_in_the_row_while_it_runs(job: Job, quick_lease: None, tmp_path: Path) -> None:
    log = tmp_path / "errors.log"
    log.write_text("a warning\n")
    assert job.claim("a")
    with lease.Lease(job, 1, log) as held:
        held.tell({"stage": "training", "fraction": 0.5})
        held.reached(0.25)
        deadline = time.monotonic() + 10
        while not (job.reached and job.log_tail) and time.monotonic() < deadline:
            time.sleep(0.05)
            job.refresh_from_db()
    assert (job.message, job.log_tail, job.reached) == ("It is at training, 50%.", "a warning\n", 0.25)


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
    assert job.error.endswith("This was attempt 3 of 3 that got no further.")


def test_cancelled_work_is_stopped_even_if_it_does_not_listen(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "CANCEL_GRACE_S", 0.2)
    monkeypatch.setattr(lease, "LOOK_EVERY_S", 0.1)
    started = time.monotonic()
    perform(job, Told(meanwhile=Job.request_cancel, seconds=60, stubborn=True))
    assert time.monotonic() - started < 20
    assert job.state == Job.State.CANCELLED


def test_a_worker_that_is_busy_sweeps_the_other_jobs(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "SWEEP_EVERY", timedelta(seconds=0.1))
    abandoned = Job.objects.submit(Job.Kind.TRAIN, {"model_run": 2})
    abandoned.claim("a worker that is gone")
    Job.objects.filter(pk=abandoned.pk).update(lease_until=Now() - timedelta(seconds=1))
    perform(job, Told(seconds=0.5))
    abandoned.refresh_from_db()
    assert (abandoned.state, job.state) == (Job.State.QUEUED, Job.State.SUCCEEDED)


def superseded(job: Job) -> None:
    Job.objects.filter(pk=job.pk).update(attempt=F("attempt") + 1)


def test_an_attempt_that_has_lost_the_job_stops_at_its_next_heartbeat(job: Job, quick_lease: None) -> None:
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


def kinds_of(job: Job) -> list[str]:
    return list(job.events.values_list("kind", flat=True))


# -- versions


def test_a_job_of_a_newer_version_is_left_alone_and_the_log_says_so(job: Job, caplog: pytest.LogCaptureFixture) -> None:
    Job.objects.update(payload_version=PAYLOAD_VERSION + 1)
    told = Told()
    perform(job, told)
    assert (job.state, job.attempt, told.recorded) == (Job.State.QUEUED, 0, [])
    assert "it is left to a newer worker" in caplog.text


def test_a_job_of_a_version_that_is_too_old_fails_with_a_sentence(job: Job) -> None:
    Job.objects.update(payload_version=OLDEST_PAYLOAD_VERSION - 1)
    perform(job, Told())
    assert (job.state, job.error) == (
        Job.State.FAILED,
        "It was submitted by a version (0) that is too old: submit it anew.",
    )


# -- the worker is told to end


def once_it_works(act: Callable[[], object]) -> AbstractContextManager[object]:
    """Do this when the work tells for the first time how far it is."""
    return patch.object(jobs, "_pass_on", lambda event, held: act())


def test_a_worker_that_is_told_to_end_gives_its_job_back(job: Job, asked: threading.Event) -> None:
    with once_it_works(asked.set):
        perform(job, Told(seconds=60))
    assert (job.state, job.attempt, job.tries) == (Job.State.QUEUED, 1, 0)
    assert kinds_of(job) == ["queued", "claimed", "returned"]


def test_work_that_gets_done_while_the_worker_ends_is_kept(job: Job, asked: threading.Event) -> None:
    with once_it_works(asked.set):
        perform(job, Told(seconds=60, done_all_the_same=True))
    assert (job.state, job.result) == (Job.State.SUCCEEDED, {"answer": 42})


def test_work_that_does_not_listen_is_killed_and_given_back(
    job: Job, asked: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs, "STOP_GRACE_S", 0.2)
    asked.set()
    perform(job, Told(seconds=60, stubborn=True))
    assert kinds_of(job)[-1] == "returned"


def test_a_worker_that_waits_for_a_storage_that_is_away_gives_its_job_back_when_told_to_end(
    job: Job, quick_lease: None, asked: threading.Event
) -> None:
    def away(job: Job) -> None:
        asked.set()
        raise StorageFailed("The storage failed at data.npz: no route to host")

    perform(job, Told(meanwhile=away))
    assert kinds_of(job)[-1] == "returned"


def test_work_that_hears_of_the_end_before_its_worker_is_given_back(
    job: Job, asked: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs, "SHUTDOWN_FOLLOWS_S", 10.0)
    threading.Timer(0.5, asked.set).start()
    perform(job, Told(stops_itself=True))
    assert kinds_of(job)[-1] == "returned"


def test_work_that_somebody_stopped_is_interrupted(job: Job) -> None:
    perform(job, Told(stops_itself=True))
    assert (job.state, job.tries, job.error) == (Job.State.QUEUED, 1, "The work was stopped.")
    assert kinds_of(job)[-1] == "interrupted"


def test_sigterm_asks_a_worker_instead_of_ending_it(asked: threading.Event) -> None:
    before = signal.getsignal(signal.SIGTERM)
    with shutdown.on_sigterm():
        os.kill(os.getpid(), signal.SIGTERM)
    assert shutdown.is_requested()
    assert signal.getsignal(signal.SIGTERM) == before


def test_pool_processes_hear_what_is_announced_in_their_parent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutdown, "_shared", mmap.mmap(-1, 1))
    pool = multiprocessing.get_context("fork").Process(target=_wait_for_the_end)
    pool.start()
    shutdown.announce()
    pool.join(10)
    assert pool.exitcode == 3


def _wait_for_the_end() -> None:
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        if shutdown.is_requested():
            os._exit(3)
        time.sleep(0.01)


# -- checkpoints


def test_a_checkpoint_that_got_further_gives_the_tries_back_even_just_before_a_kill(job: Job) -> None:
    perform(job, Told(killed=True, checkpoint=0.25))
    assert (job.state, job.reached, job.tries) == (Job.State.QUEUED, 0.25, 0)
    perform(job, Told(killed=True, checkpoint=0.25))
    assert job.tries == 1


# -- a database that is away for a while


class Away:
    """Stands for a method that cannot reach the database the first few times; `committed`: and yet it did its part."""

    def __init__(self, method: Callable[..., Any], times: int, committed: bool = False) -> None:
        self.method, self.left, self.committed = method, times, committed

    def __get__(self, job: Job, owner: type[Job]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            self.left -= 1
            if self.left >= 0:
                if self.committed:
                    self.method(job, *args, **kwargs)
                raise OperationalError("the server closed the connection")
            return self.method(job, *args, **kwargs)

        return call


@pytest.mark.store
def test_a_database_that_is_away_for_some_heartbeats_does_not_end_the_work(
    job: Job, quick_lease: None, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(Job, "heartbeat", Away(Job.heartbeat, 3))
    monkeypatch.setattr(Job, "cancel_requested", Away(Job.cancel_requested, 3))
    perform(job, Told(seconds=1.0))
    assert (job.state, job.attempt) == (Job.State.SUCCEEDED, 1)
    assert "The database cannot be reached (lease" in caplog.text
    assert "The database is back" in caplog.text


@pytest.mark.store
@pytest.mark.parametrize("ending", [{}, {"failed": "No such file."}, {"killed": True}])
def test_how_an_attempt_ended_is_kept_until_the_database_is_back(
    job: Job, quick_lease: None, ending: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("finish", "fail", "interrupt"):
        monkeypatch.setattr(Job, name, Away(getattr(Job, name), 2))
    perform(job, Told(**ending))
    assert kinds_of(job)[-1] == ("failed" if "failed" in ending else "interrupted" if ending else "succeeded")


@pytest.mark.store
def test_a_commit_whose_answer_was_lost_is_not_done_twice_and_not_lost(
    job: Job, quick_lease: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    told, stored = Told(), jobs._store

    def answer_lost(*args: Any) -> None:
        monkeypatch.setattr(jobs, "_store", stored)
        stored(*args)
        raise OperationalError("the server closed the connection")

    monkeypatch.setattr(jobs, "_store", answer_lost)
    perform(job, told)
    assert (job.state, told.recorded) == (Job.State.SUCCEEDED, [{"answer": 42}])
    assert not kinds.working_folder(job).exists()


def test_a_job_whose_database_stays_away_is_left_to_the_sweeper(
    job: Job, quick_lease: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease, "PATIENCE_S", 0.1)
    monkeypatch.setattr(Job, "finish", Away(Job.finish, 10**6))
    perform(job, Told())
    assert (job.state, job.error) == (
        Job.State.QUEUED,
        "The database could not be reached (the server closed the connection).",
    )


# -- disks that are full


def test_without_room_no_work_starts(job: Job, settings: Any) -> None:
    settings.MINIMUM_FREE_MB = 10**9
    told = Told(meanwhile=lambda job: pytest.fail("prepared"))
    perform(job, told)
    assert job.state == Job.State.FAILED
    assert f"The disk of {settings.VAR} has" in job.error
    assert "make room there, then try again" in job.error


@pytest.mark.parametrize("where", ["in the work", "in the worker"])
def test_a_disk_that_fills_during_the_work_is_named_and_the_checkpoint_stays(
    job: Job, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint = kinds.working_folder(job) / "checkpoint"
    checkpoint.parent.mkdir(parents=True)
    checkpoint.touch()

    def no_room(value: object) -> str:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "specification.json")

    if where == "in the worker":
        monkeypatch.setattr(jobs, "canonical_json", no_room)
    perform(job, Told(fills_the_disk=True))
    assert job.state == Job.State.FAILED
    assert "is full" in job.error
    assert "make room there, then try again; it goes on from its last checkpoint." in job.error
    assert checkpoint.exists()


# -- oddities


def test_out_of_memory_told_by_the_work_fails_the_job_and_the_worker_does_the_next(job: Job) -> None:
    sentence = "The accelerator ran out of memory: choose a smaller batch_size."
    perform(job, Told(failed=sentence))
    assert (job.state, job.error) == (Job.State.FAILED, sentence)
    assert perform(Job.objects.submit(Job.Kind.TRAIN, {"model_run": 2}), Told()).state == Job.State.SUCCEEDED


@pytest.mark.parametrize("printed", ["Downloading...", "[1, 2]", "no UTF-8: \xff"])
def test_what_the_work_prints_besides_events_is_left_out(
    job: Job, printed: str, caplog: pytest.LogCaptureFixture
) -> None:
    perform(job, Told(prints=printed))
    assert job.state == Job.State.SUCCEEDED
    assert f"is no event: {printed[:8]}" in caplog.text


def test_a_fault_of_the_program_fails_the_job_and_says_so(job: Job, caplog: pytest.LogCaptureFixture) -> None:
    def record(result: dict[str, Any]) -> None:
        raise KeyError("no")

    jobs.perform(str(job.pk), lambda *_: kinds.Work("tests.study.lab.scripted_work", {"done": {}}, record))
    job.refresh_from_db()
    assert (job.state, job.result) == (Job.State.FAILED, None)
    assert job.error == "A fault of this program, told of in the worker's log: KeyError: 'no'"
    assert "Traceback" in caplog.text


def test_records_of_a_job_carry_its_id(job: Job) -> None:
    subjects: list[Any] = []
    perform(job, Told(meanwhile=lambda job: subjects.append(dict(subject()))))
    assert subjects == [{"job": str(job.pk)}]


def test_the_end_of_a_long_log_begins_with_a_line(tmp_path: Path) -> None:
    log = tmp_path / "errors.log"
    log.write_text("".join(f"line {number}\n" for number in range(2000)))
    end = lease.tail(log).splitlines()
    assert end[-1] == "line 1999"
    assert end == [f"line {number}" for number in range(2000 - len(end), 2000)]
    assert 4000 < len("\n".join(end)) <= 4096


def test_a_running_job_writes_less_than_once_a_second(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the clock of the lease: progress that changes all the time, and a checkpoint every second."""
    writes: list[float] = []
    clock = [0.0]
    monkeypatch.setattr(lease.time, "monotonic", lambda: clock[0])
    held = lease.Lease(job, 1, Path("none"))
    with patch.object(Job, "heartbeat", lambda *_, **__: writes.append(clock[0]) or True):
        for tick in range(200):
            clock[0] = tick * lease.LOOK_EVERY_S
            held.tell({"fraction": tick / 200})
            held.reached(tick // 2 / 100)
            held._keep()
    assert 0.25 < len(writes) / 100 < 0.8


# -- what else is there when a job ends


@pytest.mark.store
def test_of_two_trainings_that_end_together_one_submits_the_evaluation(
    trained: tuple[ModelRun, ModelRun], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Dataset, "recognise", lambda *_: None)
    stored = {run.pk: (run.artifact_path, run.artifact_sha256) for run in trained}
    ModelRun.objects.update(artifact="")
    together = threading.Barrier(2)

    def end(pk: int) -> None:
        run, (folder, sha256) = ModelRun.objects.get(pk=pk), stored[pk]
        together.wait(10)
        with transaction.atomic():
            run.record_training(folder, {"sha256": sha256, "metrics": {}})
            run.submit_due_evaluations()
            time.sleep(0.2)
        connection.close()

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(end, stored))
    evaluation = Job.objects.get()
    assert (evaluation.kind, evaluation.parameters["model_run"]) == (Job.Kind.EVALUATE, trained[1].pk)


def test_dependent_jobs_are_there_as_soon_as_their_cause_has_ended_and_not_before(job: Job) -> None:
    def record(result: dict[str, Any]) -> None:
        Job.objects.submit(Job.Kind.EVALUATE, {"model_run": 1})

    with patch.object(Job, "publish", side_effect=RuntimeError("the worker was killed")), suppress(RuntimeError):
        jobs.perform(str(job.pk), lambda *_: kinds.Work("tests.study.lab.scripted_work", {"done": {}}, record))
    job.refresh_from_db()
    assert job.state == Job.State.SUCCEEDED
    assert Job.objects.get(kind=Job.Kind.EVALUATE).state == Job.State.QUEUED


def test_a_storage_that_is_away_for_a_moment_does_not_cost_the_work(job: Job, quick_lease: None) -> None:
    away = iter([StorageFailed("The storage failed."), StorageFailed("The storage failed.")])

    def publish(result: dict[str, Any]) -> None:
        if error := next(away, None):
            raise error

    jobs.perform(
        str(job.pk),
        lambda *_: kinds.Work("tests.study.lab.scripted_work", {"done": {}}, lambda _: None, publish),
    )
    job.refresh_from_db()
    assert (job.state, job.attempt) == (Job.State.SUCCEEDED, 1)


def test_a_storage_that_stays_away_interrupts_the_job(
    job: Job, quick_lease: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease, "PATIENCE_S", 0.0)

    def publish(result: dict[str, Any]) -> None:
        raise StorageFailed("The storage failed.")

    jobs.perform(
        str(job.pk),
        lambda *_: kinds.Work("tests.study.lab.scripted_work", {"done": {}}, lambda _: None, publish),
    )
    job.refresh_from_db()
    assert (job.state, job.tries, job.error) == (Job.State.QUEUED, 1, "The storage failed.")

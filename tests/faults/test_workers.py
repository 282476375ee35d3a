"""Real workers, a real broker, real training: what happens once happens once, and what is killed goes on."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
import redis
from django.db import transaction
from django.db.models.functions import Now

from study.lab.models import Attack, Dataset, Job, ModelRun, Pair, Prediction
from study.lab.verification import checks
from study.supervision import STOP_TIMEOUT_S
from tests.faults.conftest import ended, job_folder, until, work_of
from tests.study.lab.conftest import TARGET, plan_runs, recipe

StartWorker = Callable[[], subprocess.Popen[bytes]]

SLOW = [[1.0, 40], [0.5, 40]]


def long_run(dataset: Dataset, name: str) -> ModelRun:
    """A run that trains for some seconds, so that something can happen to it."""
    return ModelRun.objects.plan(name, dataset, recipe=recipe(strength_schedule=SLOW), target=TARGET)


def hopeless_run(dataset: Dataset) -> ModelRun:
    """A run whose data are gone."""
    path = shutil.copy(dataset.root, Path(dataset.root).with_name("no-such.npz"))
    run = long_run(Dataset.objects.arrays("gone", path), "hopeless")
    path.unlink()
    return run


def is_training(job: Job) -> bool:
    job.refresh_from_db()
    assert not job.is_over, f"ended too soon: {job.state} {job.error}"
    return job.stage == "training" and job.fraction > 0


def expire_lease_and_sweep(job: Job) -> None:
    """What takes the sweeper's clock half a minute; in one transaction, because the workers sweep too."""
    with transaction.atomic():
        Job.objects.filter(pk=job.pk).update(lease_until=Now() - timedelta(seconds=1))
        assert Job.objects.sweep().interrupted == 1


def history(job: Job) -> list[str]:
    return list(job.events.values_list("kind", flat=True))


def pool_process(job: Job) -> int:
    return int(job.lease_owner.rsplit(":", 1)[1])


def has_torch(pid: int) -> bool:
    return "libtorch" in Path(f"/proc/{pid}/maps").read_text()


@pytest.mark.slow
def test_from_training_to_pairs_and_every_delivery_but_the_first_does_nothing(
    start_worker: StartWorker, dataset: Dataset, attack: Attack, var: Path
) -> None:
    clean, backdoored = plan_runs(dataset, attack)
    jobs = [clean.submit_training(), backdoored.submit_training()]
    for job in jobs * 2:
        job.publish()
    worker = start_worker()
    until(lambda: ended(*jobs))
    assert [(job.state, job.attempt, job.error) for job in jobs] == [(Job.State.SUCCEEDED, 1, "")] * 2
    assert not has_torch(worker.pid)

    until(lambda: Job.objects.filter(kind=Job.Kind.EVALUATE).exists())
    evaluation = Job.objects.get(kind=Job.Kind.EVALUATE)
    until(lambda: ended(evaluation))
    assert (evaluation.state, evaluation.error) == (Job.State.SUCCEEDED, "")
    for run in (clean, backdoored):
        run.refresh_from_db()
        assert run.metrics["clean_error_deg"] > 0
    doses = backdoored.metrics["evaluation"]["doses"]
    assert doses[-1]["strength"] == 4
    assert doses[-1]["net_prediction_shift"] is not None
    dataset.refresh_from_db()
    assert len(dataset.fingerprint) == 64

    pairs = attack.submit_pairs(dataset, [clean, backdoored], strengths=[0.5, 1.0], images=4)
    until(lambda: ended(pairs))
    assert (pairs.state, pairs.error) == (Job.State.SUCCEEDED, "")
    stored = Pair.objects.count(), Prediction.objects.count()
    assert stored == (4 * 6, 4 * 6 * 2)
    pairs.publish()
    Job.objects.filter(pk=pairs.pk).update(state=Job.State.QUEUED)
    pairs.publish()
    until(lambda: ended(pairs))
    assert pairs.attempt == 2
    assert (Pair.objects.count(), Prediction.objects.count()) == stored

    assert [fault for check in checks() if (fault := check.fault())] == []
    assert list((var / "jobs").iterdir()) == []


@pytest.mark.slow
def test_a_killed_training_is_continued_and_ends_in_the_same_weights(
    start_worker: StartWorker, dataset: Dataset
) -> None:
    undisturbed, killed = long_run(dataset, "undisturbed"), long_run(dataset, "killed")
    start_worker()
    reference, job = undisturbed.submit_training(), killed.submit_training()
    until(lambda: is_training(job))
    work = work_of(job)
    os.kill(pool_process(job), signal.SIGKILL)
    until(lambda: work and not work_of(job), seconds=5)

    job.refresh_from_db()
    assert (job.state, job.attempt) == (Job.State.RUNNING, 1)
    expire_lease_and_sweep(job)
    until(lambda: ended(job, reference))
    assert [(each.state, each.attempt) for each in (reference, job)] == [
        (Job.State.SUCCEEDED, 1),
        (Job.State.SUCCEEDED, 2),
    ]

    undisturbed.refresh_from_db()
    killed.refresh_from_db()
    weights = [(run.artifact_path / "weights.safetensors").read_bytes() for run in (undisturbed, killed)]
    assert weights[0] == weights[1]
    assert killed.artifact == "models/killed/2"
    assert [folder.name for folder in killed.artifact_path.parent.iterdir()] == ["2"]


@pytest.mark.long
def test_a_worker_that_stood_still_and_goes_on_leaves_its_training_to_the_attempt_that_took_over(
    start_worker: StartWorker, dataset: Dataset
) -> None:
    undisturbed, stopped = long_run(dataset, "undisturbed"), long_run(dataset, "stopped")
    start_worker()
    job = stopped.submit_training()
    until(lambda: is_training(job))
    first = pool_process(job)
    os.kill(first, signal.SIGSTOP)
    expire_lease_and_sweep(job)
    until(lambda: is_training(job) and job.attempt == 2 and len(work_of(job)) == 2)
    os.kill(first, signal.SIGCONT)
    until(lambda: ended(job))
    assert history(job) == ["queued", "claimed", "lease_expired", "claimed", "succeeded"]
    until(lambda: not work_of(job), seconds=5)

    reference = undisturbed.submit_training()
    until(lambda: ended(reference))
    for run in (undisturbed, stopped):
        run.refresh_from_db()
    weights = [(run.artifact_path / "weights.safetensors").read_bytes() for run in (undisturbed, stopped)]
    assert weights[0] == weights[1]


@pytest.mark.slow
def test_when_a_worker_is_killed_its_training_ends_and_the_next_worker_continues_it_until_it_is_cancelled(
    start_worker: StartWorker, dataset: Dataset
) -> None:
    job = long_run(dataset, "cancelled").submit_training()
    first = start_worker()
    until(lambda: is_training(job))
    work = work_of(job)
    first.kill()
    until(lambda: work and not work_of(job), seconds=5)
    assert any((job_folder(job)).glob("checkpoint*"))

    start_worker()
    expire_lease_and_sweep(job)
    until(lambda: is_training(job))
    assert job.attempt == 2
    job.request_cancel()
    until(lambda: ended(job), seconds=15)
    assert (job.state, job.result) == (Job.State.CANCELLED, None)
    assert work_of(job) == []
    assert not ModelRun.objects.exclude(artifact="").exists()


@pytest.mark.slow
def test_a_worker_that_is_told_to_end_gives_its_training_back_and_the_next_one_goes_on(
    start_worker: StartWorker, dataset: Dataset
) -> None:
    job = long_run(dataset, "returned").submit_training()
    first = start_worker()
    until(lambda: is_training(job))
    first.terminate()
    assert first.wait(STOP_TIMEOUT_S) == 0
    job.refresh_from_db()
    assert (job.state, job.attempt, job.tries) == (Job.State.QUEUED, 1, 0)
    assert work_of(job) == []

    start_worker()
    until(lambda: ended(job))
    assert history(job) == ["queued", "claimed", "returned", "claimed", "succeeded"]


@pytest.mark.long
def test_a_training_goes_on_while_the_broker_is_cut_off_and_the_worker_takes_the_next_job_after_it(
    start_worker: StartWorker, dataset: Dataset, broker: str
) -> None:
    job = long_run(dataset, "steady").submit_training()
    start_worker()
    until(lambda: is_training(job))
    with redis.Redis.from_url(broker) as client:
        client.execute_command("CLIENT", "PAUSE", "3000", "ALL")
        client.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
    next_one = hopeless_run(dataset).submit_training()
    until(lambda: ended(job, next_one))
    assert history(job) == ["queued", "claimed", "succeeded"]
    assert next_one.state == Job.State.FAILED


def test_messages_that_come_again_while_the_job_runs_are_acknowledged_and_dropped(
    start_worker: StartWorker, dataset: Dataset, broker: str
) -> None:
    job = ModelRun.objects.plan("short", dataset, recipe=recipe(), target=TARGET).submit_training()
    for _ in range(3):
        job.publish()
    start_worker()
    until(lambda: ended(job))
    with redis.Redis.from_url(broker) as client:
        until(lambda: client.llen("gpu") + client.hlen("unacked") == 0)
    assert history(job) == ["queued", "claimed", "succeeded"]


def test_work_that_cannot_be_done_ends_in_one_sentence(start_worker: StartWorker, dataset: Dataset) -> None:
    start_worker()
    job = hopeless_run(dataset).submit_training()
    until(lambda: ended(job))
    assert job.state == Job.State.FAILED
    assert job.attempt == 1
    assert "no-such.npz" in job.error


def test_without_a_broker_a_job_waits_and_nothing_is_lost(
    transactional_db: None, dataset: Dataset, caplog: pytest.LogCaptureFixture
) -> None:
    job = long_run(dataset, "waiting").submit_training()
    assert job.state == Job.State.QUEUED
    assert "no broker is configured. It is taken up once there are workers: start `manage.py serve`" in caplog.text

"""Celery's side of the lab's jobs. A message only says that there is something to do; the job's row says what."""

from __future__ import annotations

import logging
from typing import Any

from celery import Task, current_app, shared_task
from celery.signals import worker_ready, worker_shutting_down
from celery.worker import state
from kombu.exceptions import OperationalError as BrokerUnreachable

from study.lab import jobs, kinds, shutdown, sweeping
from study.lab.models import Job
from study.lab.models.sweeper import SWEEP_EVERY
from study.queues import TASKS, queue_of

logger = logging.getLogger("study.lab")


@shared_task
def prepare(job_id: str) -> None:
    jobs.perform(job_id, kinds.data_preparation)


@shared_task
def train(job_id: str) -> None:
    jobs.perform(job_id, kinds.training)


@shared_task
def evaluate(job_id: str) -> None:
    jobs.perform(job_id, kinds.evaluation)


@shared_task
def make_pairs(job_id: str) -> None:
    jobs.perform(job_id, kinds.pair_making)


@shared_task
def observe_pairs(job_id: str) -> None:
    jobs.perform(job_id, kinds.observing)


@shared_task
def survive(job_id: str) -> None:
    jobs.perform(job_id, kinds.surviving)


@shared_task
def perturb(job_id: str) -> None:
    jobs.perform(job_id, kinds.perturbation)


@shared_task
def set_up(job_id: str) -> None:
    from study.lab.setting_up import setting_up

    jobs.perform(job_id, setting_up)


@shared_task
def sweep() -> None:
    swept = sweeping.sweep()
    if swept and (swept.interrupted or swept.lost):
        logger.warning("Sweeper: %d interrupted jobs, %d lost messages.", swept.interrupted, swept.lost)


@shared_task
def take_up(kinds: list[str]) -> None:
    """What a worker that does these kinds of job begins with, instead of waiting until messages count as lost."""
    Job.objects.ring(kinds)
    sweep()


@worker_ready.connect
def sweep_regularly(sender: Any, **_: Any) -> None:
    """Let the worker sweep when it is idle, by its own timer, so that no beat process is needed.

    While it has work to do, it sweeps beside that (`jobs.perform`), and a message would only wait behind the work.
    Publish rather than sweep: the worker's parent process forks and must not hold a database connection.
    """
    queues = current_app.amqp.queues.consume_from
    queue = min(queues, key=["default", "cpu", "gpu"].index)
    _publish(take_up, queue, [kind for kind in TASKS if queue_of(kind) in queues])
    sender.timer.call_repeatedly(SWEEP_EVERY.total_seconds(), _publish_sweep, (queue,))


def _publish_sweep(queue: str) -> None:
    if not state.reserved_requests:
        _publish(sweep, queue)


def _publish(task: Task[Any, Any], queue: str, *arguments: Any) -> None:
    try:
        task.apply_async(args=arguments, queue=queue, expires=SWEEP_EVERY.total_seconds(), retry=False)
    except BrokerUnreachable as error:
        logger.warning("No sweep: the broker cannot be reached (%s).", error)


@worker_shutting_down.connect
def give_jobs_back(**_: Any) -> None:
    """Every pool process stops its work at a checkpoint and leaves the job to another worker."""
    shutdown.announce()

"""Celery's side of the lab's jobs. A message only says that there is something to do; the job's row says what."""

from __future__ import annotations

import logging
from typing import Any

from celery import Task, current_app, shared_task
from celery.signals import worker_ready

from study.lab import jobs, kinds
from study.lab.models import Job

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
def sweep() -> None:
    swept = Job.objects.sweep()
    if swept.interrupted or swept.lost:
        logger.warning("Sweeper: %d interrupted jobs, %d lost messages.", swept.interrupted, swept.lost)


TASKS: dict[str, Task[Any, Any]] = {
    Job.Kind.PREPARE: prepare,
    Job.Kind.TRAIN: train,
    Job.Kind.EVALUATE: evaluate,
    Job.Kind.PAIRS: make_pairs,
    Job.Kind.OBSERVE: observe_pairs,
    Job.Kind.SURVIVE: survive,
    Job.Kind.PERTURB: perturb,
}


@worker_ready.connect
def sweep_regularly(sender: Any, **_: Any) -> None:
    """Let workers of the queue `cpu` publish the sweep by their own timer, so that no beat process is needed.

    That serves while one of them is idle; a busy one sweeps by itself (`jobs._watch`).

    Publish rather than sweep: the worker's parent process forks and must not hold a database connection.
    """
    if "cpu" in current_app.amqp.queues.consume_from:
        sender.timer.call_repeatedly(jobs.SWEEP_EVERY_S, _publish_sweep)


def _publish_sweep() -> None:
    sweep.apply_async(expires=jobs.SWEEP_EVERY_S, retry=False)

"""Celery's side of the jobs that are about studies (see `study.lab.tasks`). Who does them loads what they need."""

from __future__ import annotations

from celery import shared_task

from study.lab import jobs


@shared_task
def verify(job_id: str) -> None:
    from study.desk.verifying import verification

    jobs.perform(job_id, verification)


@shared_task
def plan(job_id: str) -> None:
    from study.desk.planning import planning

    jobs.perform(job_id, planning)


@shared_task
def rehearse(job_id: str) -> None:
    from study.desk.rehearsing import rehearsal

    jobs.perform(job_id, rehearsal)


@shared_task
def analyse(job_id: str) -> None:
    from study.desk.analysing import analysis

    jobs.perform(job_id, analysis)


@shared_task
def erase(job_id: str) -> None:
    from study.desk.retention import erasure

    jobs.perform(job_id, erasure)


@shared_task
def demonstrate(job_id: str) -> None:
    from study.desk.demonstrating import demonstrating

    jobs.perform(job_id, demonstrating)

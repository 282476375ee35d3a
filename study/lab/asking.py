"""Submitting jobs for a researcher: in the transaction that records who asked for them."""

from __future__ import annotations

from collections.abc import Callable

from django.db import transaction

from study.accounts import audit
from study.lab.models import Job


def ask(submit: Callable[[], list[Job]], action: str = "asked for") -> list[Job]:
    """The jobs that `submit` submits; action: what the audit log says was done with each."""
    with transaction.atomic():
        jobs = submit()
        for job in jobs:
            audit.record(action, job, after=job.parameters)
    return jobs

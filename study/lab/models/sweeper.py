"""Whose turn it is to sweep: of all workers on all hosts one, every few seconds."""

from __future__ import annotations

from datetime import timedelta

from django.db import models
from django.db.models import Q, QuerySet
from django.db.models.functions import Now

from study.lab.models.jobs import Job, Swept, from_now

SWEEP_EVERY = timedelta(seconds=5)


class SweeperQuerySet(models.QuerySet["Sweeper"]):
    def sweep_if_due(self) -> Swept | None:
        """Sweep the jobs, unless somebody has within SWEEP_EVERY: then None."""
        return Job.objects.sweep() if self._take_turn() else None

    def _take_turn(self) -> bool:
        # Asked by reading first: a write that changes nothing would still wait for SQLite's one writer.
        if not self.exists():
            self.bulk_create([Sweeper(pk=1)], ignore_conflicts=True)
        return self._due().exists() and bool(self._due().update(swept_at=Now()))

    def _due(self) -> QuerySet[Sweeper]:
        # Swept in the future: the database's clock was put back, and nobody would sweep until it had caught up.
        long_ago, ahead = Q(swept_at__lt=from_now(-SWEEP_EVERY)), Q(swept_at__gt=from_now(SWEEP_EVERY))
        return self.filter(Q(swept_at=None) | long_ago | ahead, pk=1)


class Sweeper(models.Model):
    """One row, taken by a conditional UPDATE: a lock that nobody can die holding."""

    swept_at = models.DateTimeField(null=True, editable=False)

    objects = SweeperQuerySet.as_manager()

    def __str__(self) -> str:
        return f"swept at {self.swept_at}"

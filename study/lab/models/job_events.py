"""What happened to each job, and why: a log that is only ever added to."""

from __future__ import annotations

from typing import Any

from django.db import models
from django.db.models.functions import Now


class JobEvent(models.Model):
    """A change of a job's state, written in the transaction that made it. Append-only."""

    class Kind(models.TextChoices):
        QUEUED = "queued", "queued"
        CLAIMED = "claimed", "claimed by a worker"
        INTERRUPTED = "interrupted", "interrupted"
        LEASE_EXPIRED = "lease_expired", "lease expired"
        RETURNED = "returned", "returned by its worker"
        RUNG_AGAIN = "rung_again", "told of again"
        SUCCEEDED = "succeeded", "succeeded"
        FAILED = "failed", "failed"
        CANCELLED = "cancelled", "cancelled"

    job = models.ForeignKey("lab.Job", models.CASCADE, related_name="events", editable=False)
    attempt = models.PositiveIntegerField(editable=False)
    kind = models.CharField(max_length=20, choices=Kind, editable=False)
    detail = models.TextField(blank=True, editable=False)
    at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        ordering = ["pk"]

    def __str__(self) -> str:
        return f"attempt {self.attempt}: {self.get_kind_display()}{f', {self.detail}' if self.detail else ''}"

    def save(self, *args: Any, **kwargs: Any) -> None:
        if not self._state.adding:
            raise TypeError("What happened to a job is added, never changed.")
        super().save(*args, **kwargs)

"""Researchers, and the log of what they did."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from datetime import UTC
from typing import Any, NoReturn

from django.contrib.auth.models import AbstractUser
from django.core.serializers.json import DjangoJSONEncoder
from django.db import models, transaction
from django.utils import timezone


class User(AbstractUser):
    """A researcher. Participants have no accounts."""


class AuditQuerySet(models.QuerySet["AuditEntry"]):
    def append(
        self, *, actor: str, action: str, subject: str, before: Mapping[str, Any], after: Mapping[str, Any]
    ) -> AuditEntry:
        """Chain an entry to the last one. One writer at a time: the head's row is locked until the commit."""
        with transaction.atomic():
            head, _ = AuditHead.objects.select_for_update().get_or_create(pk=AuditHead.ONLY)
            entry = AuditEntry(
                n=head.n + 1,
                at=timezone.now(),
                actor=actor,
                action=action,
                subject=subject,
                before=_plain(before),
                after=_plain(after),
                previous=head.sha256,
            )
            entry.sha256 = entry.own_sha256()
            entry.save(force_insert=True)
            AuditHead.objects.filter(pk=head.pk).update(n=entry.n, sha256=entry.sha256)
        return entry

    def update(self, **_: Any) -> NoReturn:
        raise TypeError("An entry of the audit log cannot be changed.")

    def delete(self) -> NoReturn:
        raise TypeError("An entry of the audit log cannot be deleted.")

    delete.alters_data = True  # type: ignore[attr-defined]
    delete.queryset_only = True  # type: ignore[attr-defined]


class AuditEntry(models.Model):
    """One thing that a researcher did. Append-only."""

    n = models.PositiveBigIntegerField(primary_key=True)
    at = models.DateTimeField()
    actor = models.CharField(max_length=200)
    action = models.CharField(max_length=100)
    subject = models.CharField(max_length=300)
    before = models.JSONField(default=dict)
    after = models.JSONField(default=dict)
    previous = models.CharField(max_length=64, blank=True, help_text="SHA-256 of the entry before.")
    sha256 = models.CharField(max_length=64, help_text="Of this entry and the one before.")

    objects = AuditQuerySet.as_manager()

    class Meta:
        ordering = ["-n"]
        verbose_name = "audit entry"
        verbose_name_plural = "audit log"

    def __str__(self) -> str:
        return f"{self.n}: {self.actor} {self.action} {self.subject}"

    def own_sha256(self) -> str:
        """The hash that this entry has to have."""
        at = self.at.astimezone(UTC).isoformat(timespec="microseconds")
        content = [self.n, at, self.actor, self.action, self.subject, self.before, self.after, self.previous]
        return hashlib.sha256(json.dumps(content, sort_keys=True, ensure_ascii=False).encode()).hexdigest()


class AuditHead(models.Model):
    """The last entry of the log, so that one that is cut off at the end is missed too."""

    ONLY = 1

    n = models.PositiveBigIntegerField(default=0)
    sha256 = models.CharField(max_length=64, blank=True)

    def __str__(self) -> str:
        return f"audit log of {self.n} entries"


def _plain(values: Mapping[str, Any]) -> dict[str, Any]:
    """As the database gives them back: dates and decimals become text."""
    return dict(json.loads(json.dumps(dict(values), cls=DjangoJSONEncoder)))

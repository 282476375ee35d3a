"""Researchers, and the log of what they did."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC
from itertools import islice
from typing import Any, NoReturn

from django.contrib.auth.models import AbstractUser
from django.core.serializers.json import DjangoJSONEncoder
from django.db import models, transaction
from django.db.models.functions import Coalesce
from django.utils import timezone

#: Characters of a value that is shown on one line.
LINE = 80


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
                actor=_text(actor, 200),
                action=_text(action, 100),
                subject=_text(subject, 300),
                before=_plain(before),
                after=_plain(after),
                previous=head.sha256,
            )
            entry.sha256 = entry.own_sha256()
            entry.save(force_insert=True)
            AuditHead.objects.filter(pk=head.pk).update(n=entry.n, sha256=entry.sha256)
        return entry

    def about(self, row: str) -> AuditQuerySet:
        """Entries about the row of this kind and number ("study 3"), the last one first."""
        return self.filter(models.Q(subject=row) | models.Q(subject__startswith=f"{row}: "))

    def verify(self) -> Iterator[str]:
        """Read the whole log and give what is wrong with it, a sentence for each fault. Memory stays constant.

        What is written meanwhile is left to the next time.
        """
        head = AuditHead.objects.first() or AuditHead()
        last = AuditEntry()
        for entry in self.filter(n__lte=head.n).order_by("n").iterator(chunk_size=1000):
            yield from _faults(last, entry)
            last = entry
        if (last.n or 0) < head.n:
            yield f"{_missing((last.n or 0) + 1, head.n)}: the log was cut off at its end."
        elif last.sha256 != head.sha256:
            yield f"Entry {head.n} is not the one that was written last."
        recorded = AuditHead.objects.order_by().values("n")[:1]
        if forged := self.filter(n__gt=Coalesce(models.Subquery(recorded), 0)).count():
            yield f"{forged} entries beyond the last one were put in from outside."

    def report(self, shown: int = 20) -> AuditReport:
        """What `verify` finds, of the faults the first few."""
        faults = self.verify()
        first = tuple(islice(faults, shown))
        further = sum(1 for _ in faults)
        head = AuditHead.objects.first() or AuditHead()
        return AuditReport(head.n, head.sha256, first, further)

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
        verbose_name_plural = "audit entries"

    def __str__(self) -> str:
        return f"{self.n}: {self.actor} {self.action} {self.subject}"

    def save(self, *args: Any, **kwargs: Any) -> None:
        if not self._state.adding:
            raise TypeError("An entry of the audit log cannot be changed.")
        super().save(*args, **kwargs)

    def delete(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise TypeError("An entry of the audit log cannot be deleted.")

    def difference(self) -> list[Difference]:
        """What was and what became of each part, as text."""
        names = {**self.before, **self.after}
        return [Difference(name, _readable(self.before, name), _readable(self.after, name)) for name in names]

    def own_sha256(self) -> str:
        """The hash that this entry has to have."""
        at = self.at.astimezone(UTC).isoformat(timespec="microseconds")
        content = [self.n, at, self.actor, self.action, self.subject, self.before, self.after, self.previous]
        return hashlib.sha256(json.dumps(content, sort_keys=True, ensure_ascii=False).encode()).hexdigest()


@dataclass(frozen=True)
class AuditReport:
    """How many entries there have to be, the hash of the last one, and faults: some in words, the rest as a number."""

    entries: int
    sha256: str
    faults: tuple[str, ...]
    further: int

    @property
    def whole(self) -> bool:
        return not self.faults

    def __str__(self) -> str:
        if self.whole:
            return f"The audit log holds: {self.entries} entries, the last one with the hash {self.sha256 or 'none'}."
        more = f" And {self.further} more faults." if self.further else ""
        return f"The audit log is not as it was written. {' '.join(self.faults)}{more}"


@dataclass(frozen=True)
class Difference:
    """A part of what an entry is about, before and after; None where it was not, or is not any more."""

    name: str
    before: str | None
    after: str | None


class AuditHead(models.Model):
    """The last entry of the log, so that one that is cut off at the end is missed too."""

    ONLY = 1

    n = models.PositiveBigIntegerField(default=0)
    sha256 = models.CharField(max_length=64, blank=True)

    def __str__(self) -> str:
        return f"audit log of {self.n} entries"


def _faults(last: AuditEntry, entry: AuditEntry) -> Iterator[str]:
    """What is wrong with an entry, given the one before it."""
    due = (last.n or 0) + 1
    if entry.n < due:
        yield f"Entry {entry.n} was put in from outside."
    elif entry.n > due:
        yield f"{_missing(due, entry.n - 1)}."
    elif entry.previous != last.sha256:
        yield f"Entry {entry.n} does not follow from the one before it."
    if entry.sha256 != entry.own_sha256():
        yield f"Entry {entry.n} is not what was written."


def _missing(first: int, last: int) -> str:
    return f"Entry {first} is missing" if first == last else f"Entries {first} to {last} are missing"


def _readable(values: Mapping[str, Any], name: str) -> str | None:
    value = values.get(name)
    if value is None or isinstance(value, str):
        return value
    line = json.dumps(value, ensure_ascii=False)
    return line if len(line) <= LINE else json.dumps(value, ensure_ascii=False, indent=1)


def _plain(values: Mapping[str, Any]) -> dict[str, Any]:
    """As every database gives them back: dates and decimals become text, 2.0 becomes 2, what is no number a word."""
    text = json.dumps(dict(values), cls=DjangoJSONEncoder)
    return dict(_stored(json.loads(text, parse_float=_number, parse_constant=str)))


def _number(text: str) -> int | float | str:
    value = float(text)
    if not math.isfinite(value):
        return text
    return int(value) if value.is_integer() else value


def _stored(value: Any) -> Any:
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, list):
        return [_stored(item) for item in value]
    return {_text(name): _stored(item) for name, item in value.items()} if isinstance(value, dict) else value


def _text(value: str, longest: int | None = None) -> str:
    """What a database takes as text: PostgreSQL knows no NUL, and no half of a character."""
    return value.replace("\0", "\ufffd").encode(errors="replace").decode()[:longest]

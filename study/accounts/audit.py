"""Who is acting, and the log of what they did: append-only, each entry chained to the one before by its hash.

The log is about researchers. What participants do has no place in it, nor has anything that tells who one of them is:
a session is named by its number in the database.
"""

from __future__ import annotations

import getpass
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from django.db.models import Model

from study.accounts.models import AuditEntry

_actor: ContextVar[str] = ContextVar("actor", default="")


@contextmanager
def acting(name: str) -> Iterator[None]:
    """What is recorded within is put down to this one."""
    token = _actor.set(name)
    try:
        yield
    finally:
        _actor.reset(token)


def actor() -> str:
    """Who is acting: a researcher's name, or whoever uses the command line."""
    return _actor.get() or f"command line: {getpass.getuser()}"


def record(
    action: str, subject: Model | str, before: Mapping[str, Any] | None = None, after: Mapping[str, Any] | None = None
) -> AuditEntry:
    """Add an entry: what was done, in words ("opened"), to which row, and what of it was and became.

    Call it in the transaction of the change itself, so that neither is stored without the other.
    """
    return AuditEntry.objects.append(
        actor=actor(), action=action, subject=name_of(subject), before=dict(before or {}), after=dict(after or {})
    )


def name_of(subject: Model | str) -> str:
    """How the log names a row: its kind, its number and what people call it."""
    if isinstance(subject, str):
        return subject
    return f"{subject._meta.verbose_name} {subject.pk}: {subject}"

"""What was erased of people, told beside the database, so that a backup from before does not bring it back.

A line of var/erased.jsonl names a session by its number and a hash of its token's hash: enough to know the same session
again in a restored database, and nothing about a person.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from django.conf import settings
from django.utils import timezone

if TYPE_CHECKING:
    from study.trials.models import Session

NAME = "erased.jsonl"
OWNER_ONLY = 0o600


@dataclass(frozen=True)
class Erasure:
    """One line. what: the event that the session has of it; at: ISO 8601."""

    session: int
    mark: str
    what: str
    at: str


def path() -> Path:
    return Path(settings.VAR) / NAME


def mark(session: Session) -> str:
    """What tells this session from another that got its number in another database."""
    return hashlib.sha256(f"{session.pk} {session.token_sha256}".encode()).hexdigest()[:32]


def note(session: Session, what: str) -> None:
    """Add a line, on the disk when this returns. One write: lines of processes side by side do not mix."""
    told = Erasure(session.pk, mark(session), what, timezone.now().isoformat(timespec="seconds"))
    file = os.open(path(), os.O_WRONLY | os.O_APPEND | os.O_CREAT, OWNER_ONLY)
    try:
        os.write(file, (json.dumps(asdict(told)) + "\n").encode())
        os.fsync(file)
    finally:
        os.close(file)


def noted() -> Iterator[Erasure]:
    """All that was ever noted here, the oldest first. Raises ValueError, naming the line, for one that is none."""
    try:
        lines = path().read_text().splitlines()
    except FileNotFoundError:
        return
    for number, line in enumerate(lines, start=1):
        try:
            yield Erasure(**json.loads(line))
        except (ValueError, TypeError) as error:
            raise ValueError(f"Line {number} of {path()} cannot be read: take it out, or mend it.") from error


def undone() -> list[tuple[Session, str]]:
    """The sessions of this database that hold what was erased, as after a restore, and how it was erased.

    Raises ValueError as `noted`.
    """
    from study.trials.models import Session

    found = {}
    for erasure in noted():
        session = Session.objects.filter(pk=erasure.session).first()
        if session is not None and mark(session) == erasure.mark and not _is_done(session, erasure.what):
            found[session.pk, erasure.what] = session
    return [(session, what) for (_, what), session in found.items()]


def repeat(session: Session, what: str) -> None:
    """Erase it once more, as it was erased before."""
    {"withdrawn": session.withdraw, "erased": session.erase, "forgotten": session.forget_person}[what]()


def _is_done(session: Session, what: str) -> bool:
    if what == "forgotten":
        return session.events.filter(kind=what).exists()
    return session.state == session.State.WITHDRAWN and (what == "withdrawn" or session.recruiter_key is None)

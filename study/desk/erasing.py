"""Erasing one participant's data on request, and what remains of them then."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from django.db import transaction
from django.db.models import Max
from django.utils import timezone

from study.accounts import audit
from study.accounts.models import AuditEntry
from study.analysis.models import Analysis
from study.desk import backup
from study.trials.models import Answer, Session, SessionEvent, Study, TrialTrace

#: What the audit log says of files that were given out.
GIVEN_OUT = ("exported", "took the key file of", "took a payment list of")


@dataclass(frozen=True)
class Stored:
    """How much there is of one session. Counts, no answers."""

    answers: int
    traces: int
    events: int
    recruiter_ids: int
    device: int

    @classmethod
    def of(cls, session: Session) -> Stored:
        return cls(
            answers=Answer.objects.filter(trial__session=session).count(),
            traces=TrialTrace.objects.filter(trial__session=session).count(),
            events=SessionEvent.objects.filter(session=session).count(),
            recruiter_ids=len(session.recruiter_ids),
            device=len(session.device),
        )


@dataclass(frozen=True)
class Remains:
    """Where a session's data may still be when the database has forgotten them."""

    exports: Sequence[AuditEntry]
    reports: Sequence[Analysis]
    backups: Sequence[tuple[str, datetime]]

    @classmethod
    def of(cls, session: Session) -> Remains:
        """Files that were made since the session began, and before it was erased if it is."""
        since, until = session.created_at, erased_at(session) or timezone.now()
        exports = AuditEntry.objects.filter(action__in=GIVEN_OUT)
        reports = Analysis.objects.filter(study=session.study, population=session.population)
        return cls(
            exports=exports.filter(
                subject__startswith=f"study {session.study_id}:", at__gte=since, at__lte=until
            ).order_by("n"),  # type: ignore[arg-type]
            reports=reports.filter(created_at__gte=since, created_at__lte=until).order_by("pk"),  # type: ignore[arg-type]
            backups=[(path.name, at) for path, at in backup.made() if since <= at <= until],
        )


def erased_at(session: Session) -> datetime | None:
    """When its answers went; None while they are there."""
    if session.state != Session.State.WITHDRAWN:
        return None
    found = session.events.filter(kind__in=["withdrawn", "erased"]).aggregate(at=Max("at"))
    told: datetime | None = found["at"]
    return told


def by_code(study: Study | None, code: str) -> Session | None:
    """The session with this public code, however it is written; of one study, or of any."""
    sessions = Session.objects.with_design() if study is None else study.sessions.with_design()
    return sessions.filter(public_code="".join(code.split()).upper()).first()


def erase(session: Session) -> int:
    """Erase for good, on request; written down without the code. Returns how many answers there were."""
    answers = Stored.of(session).answers
    with transaction.atomic():
        session.erase()
        audit.record("erased a session of", session.study, after={"session": session.pk, "answers": answers})
    return answers

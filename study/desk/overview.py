"""What researchers see first: what wants attention, what goes on, what came out, and where to begin."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from django.db.models import Q, QuerySet
from django.urls import reverse

from study.accounts.models import AuditEntry
from study.analysis.models import Analysis
from study.desk import demonstrating, first_steps, retention, status
from study.lab import about
from study.lab.models import Job
from study.lab.models.jobs import from_now
from study.trials.models import Study

if TYPE_CHECKING:
    from study.accounts.models import User

LATELY: Final = timedelta(days=7)
MOST: Final = 5
MOST_ENTRIES: Final = 8


def of(user: User) -> dict[str, Any]:
    """The context of the desk's first page."""
    studies = Study.objects.visible_to(user)
    going = studies.filter(state__in=[Study.State.OPEN, Study.State.PAUSED])
    return {
        "guide": first_steps.guide(user),
        "demonstration": demonstrating.newest(user),
        "made": _made(user),
        "may_demonstrate": demonstrating.may_start(user),
        "failed": status.failures(_failed(user), MOST),
        "overdue": retention.overdue(studies),
        "going": status.under_way(going),
        "reports": Analysis.objects.visible_to(user).select_related("study")[:MOST],
        "entries": entries_about(studies, user)[:MOST_ENTRIES],
    }


def _failed(user: User) -> QuerySet[Job]:
    failed = Job.objects.filter(state=Job.State.FAILED, finished_at__gte=from_now(-LATELY))
    return about.visible_to(user, failed)


def entries_about(studies: QuerySet[Study], user: User) -> QuerySet[AuditEntry]:
    """What of the audit log is about these studies, the last entry first; of all studies for a superuser."""
    entries, name = AuditEntry.objects.order_by("-n"), Study._meta.verbose_name
    if user.is_superuser:
        return entries.filter(subject__startswith=f"{name} ")
    theirs = Q()
    for pk in studies.values_list("pk", flat=True):
        theirs |= Q(subject__startswith=f"{name} {pk}: ")
    return entries.filter(theirs) if theirs else entries.none()


def _made(user: User) -> dict[str, str]:
    """Where the demonstration's study and report are, by what to call them; nothing before it has run."""
    job = demonstrating.newest(user)
    if job is None or job.state != Job.State.SUCCEEDED or not job.result:
        return {}
    return {
        "its study": reverse("admin:trials_study_change", args=[job.result["study"]]),
        "its report": reverse("admin:analysis_report", args=[job.result["report"], "report.html"]),
    }

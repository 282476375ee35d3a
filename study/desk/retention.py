"""What a study promised not to keep any longer: erased by itself once its date has come.

A worker notices (`study.lab.sweeping`), a job does it, session by session; killed half-way it goes on with the rest.
Nothing is taken from under people who are taking part: an open study waits until it is closed, and is complained of.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import date
from pathlib import Path
from typing import Any

from django.db.models import F, Q, QuerySet
from django.utils import timezone

from study.accounts import audit
from study.lab.kinds import Work
from study.lab.models import Job
from study.trials.models import Session, Study
from study.trials.models.sessions import FORGOTTEN

ACTOR = "retention date"


def overdue(studies: QuerySet[Study] | None = None, *, today: date | None = None) -> QuerySet[Study]:
    """Of these studies (default: of all), those whose date has come and was not acted on, the longest overdue first.

    A date that is put off after it was acted on counts anew.
    """
    done, come = Q(erased_at__date__gte=F("retain_until")), Q(retain_until__lte=today or timezone.localdate())
    among = Study.objects.all() if studies is None else studies
    return among.filter(come).exclude(done).order_by("retain_until", "slug")


def submit_due() -> list[Job]:
    """Have erased what is overdue in closed studies. The same date is the same job, however often this is called."""
    return [submit(study) for study in overdue().filter(state=Study.State.CLOSED)]


def submit(study: Study) -> Job:
    assert study.retain_until is not None  # noqa: S101  (`overdue` compares it)
    return Job.objects.submit(
        Job.Kind.ERASE, {"study": study.pk, "until": study.retain_until.isoformat(), "what": study.retention}
    )


def complaint(study: Study) -> str:
    """What somebody has to do about an overdue study, in one sentence; empty when nothing is overdue."""
    return _complaint(study) if overdue().filter(pk=study.pk).exists() else ""


def complaints(studies: QuerySet[Study] | None = None) -> list[str]:
    """The same about each of these studies (default: of all) that is overdue, the longest overdue first."""
    return [_complaint(study) for study in overdue(studies)]


def _complaint(study: Study) -> str:
    since = f"What {study.slug} was to keep until {study.retain_until:%Y-%m-%d} is not erased"
    if study.state == Study.State.CLOSED:
        return f"{since} yet: a worker does it as soon as one runs."
    return f"{since}, because the study is {study.get_state_display()}: close it, or put the date off."


# --- the job


def erasure(job: Job, folder: Path) -> Work:
    """The job's work (see `study.desk.tasks`)."""
    from study.lab import working

    study, what = Study.objects.get(pk=job.parameters["study"]), job.parameters["what"]

    def record(result: dict[str, Any]) -> None:
        Study.objects.filter(pk=study.pk).update(erased_at=timezone.now())
        with audit.acting(ACTOR):
            audit.record(
                "erased what was past its date in", study, after={"what": what, "sessions": result["sessions"]}
            )

    return Work(working.MODULE, {"work": __name__, "study": study.pk, "what": what}, record)


def carry_out(specification: Mapping[str, Any], stop: Callable[[], bool]) -> dict[str, Any]:
    """Erase session by session; returns how many there were to erase this time."""
    from models.training import StoppedError
    from study.lab import working

    study, total = Study.objects.get(pk=specification["study"]), 0
    tell = working.counting("erasing")
    for done, total in erase(study, specification["what"]):
        tell(done, total)
        if stop():
            raise StoppedError("The erasure was stopped; what is erased stays erased.")
    return {"sessions": total}


def erase(study: Study, what: str) -> Iterator[tuple[int, int]]:
    """Erase one session after the other; yields (done, how many there were to erase) after each."""
    keys = list(remaining(study, what).order_by("pk").values_list("pk", flat=True))
    for done, key in enumerate(keys, start=1):
        session = Session.objects.get(pk=key)
        if what == Study.Retention.EVERYTHING:
            session.erase()
        else:
            session.forget_person()
        yield done, len(keys)


def remaining(study: Study, what: str) -> QuerySet[Session]:
    """The sessions of every population that still hold what is to be erased."""
    if what == Study.Retention.EVERYTHING:
        return study.sessions.exclude(state=Session.State.WITHDRAWN, recruiter_key=None)
    return study.sessions.exclude(events__kind=FORGOTTEN)

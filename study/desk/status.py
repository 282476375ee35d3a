"""What a researcher wants to know of the installation at one glance, and what needs care: the page /statusz."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from django.conf import settings
from django.db import connection
from django.db.models import Count, DurationField, ExpressionWrapper, F, Q, QuerySet
from django.db.models.functions import Now
from django.utils import timezone

from models.disks import MB
from study import health
from study.bounded import TookTooLong, bounded
from study.celery import app
from study.desk import backup, retention, vitals
from study.desk.vitals import Broker, Disk, Tables
from study.lab import about
from study.lab.models import Job, JobEvent
from study.lab.models.jobs import from_now
from study.queues import QUEUES, queue_of
from study.trials.design import code_version
from study.trials.models import Answer, Population, Session, Study

if TYPE_CHECKING:
    from study.accounts.models import User

#: An idle worker takes a job in a second or so, and a lost message is published again after 20 s.
STUCK_AFTER_S = 60.0
RECENT = timedelta(days=1)
#: What participants have answered since would be lost.
BACKUP_EVERY = timedelta(days=1)
RATE_OVER = timedelta(minutes=5)
LISTED = 20
PING_S = 1.0

Answered = TypeVar("Answered")


@dataclass(frozen=True)
class Worker:
    """A Celery worker that answered."""

    name: str
    queues: Sequence[str]


@dataclass(frozen=True)
class Doing:
    """A job under way. Ages in s, by the database's clock."""

    id: str
    name: str
    stage: str
    fraction: float
    owner: str
    heartbeat_age_s: float
    attempt: int
    attempts_without_progress: int
    max_attempts: int

    @property
    def percent(self) -> int:
        """How far it is, for people."""
        return round(100 * self.fraction)


@dataclass(frozen=True)
class Failure:
    """A job that failed lately, and why."""

    id: str
    name: str
    at: datetime | None
    error: str


@dataclass(frozen=True)
class UnderWay:
    """A study that is open: its sessions under way by population, and the answers that arrive in a minute.

    begun: how many participants ever have.
    """

    id: int
    title: str
    slug: str
    state: str
    active: dict[str, int]
    begun: int
    complete: int
    wanted: int
    answers_per_minute: float


@dataclass(frozen=True)
class Queue:
    """A queue as the database has it, as the broker has it (None: it does not answer), and who serves it."""

    name: str
    jobs: int
    oldest_s: float
    running: int
    messages: int | None
    workers: int | None

    @property
    def has_idle_worker(self) -> bool:
        """Whether fewer jobs of it are under way than it has workers, so that one of them must have none."""
        return self.workers is not None and self.running < self.workers


@dataclass(frozen=True)
class Status:
    """All that /statusz shows. workers: None when they could not be asked."""

    at: datetime
    version: str
    commit: str
    database: str
    readiness: Sequence[health.Check]
    broker: Broker | None
    workers: Sequence[Worker] | None
    queues: Sequence[Queue]
    running: Sequence[Doing]
    failed: Sequence[Failure]
    failed_lately: int
    leases_expired: int
    leases_expired_lately: int
    swept_s: float | None
    studies: Sequence[UnderWay]
    disks: Sequence[Disk]
    backup: datetime | None  # the newest in the usual place
    overdue: Sequence[str]  # what is kept longer than was promised


def now(user: User) -> Status:
    """How it stands, as far as this researcher may know: of studies, those that they have a role on.

    Takes the second that workers are given to answer in, and never more than a few.
    """
    found, broker, workers = vitals.read_tables(), _within(vitals.broker), _within(_workers)
    jobs = about.visible_to(user, Job.objects.all())
    failed = jobs.filter(state=Job.State.FAILED, finished_at__gte=from_now(-RECENT))
    expiries = JobEvent.objects.filter(kind=JobEvent.Kind.LEASE_EXPIRED, at__gte=from_now(-RECENT))
    return Status(
        at=timezone.now(),
        version=version(),
        commit=code_version(),
        database=_database(),
        readiness=health.readiness(),
        broker=broker,
        workers=workers,
        queues=[_queue(name, found, broker, workers) for name in QUEUES],
        running=_running(jobs),
        failed=failures(failed, LISTED),
        failed_lately=failed.count(),
        leases_expired=found.leases_expired,
        leases_expired_lately=expiries.count(),
        swept_s=found.swept_s,
        studies=under_way(Study.objects.visible_to(user).filter(state=Study.State.OPEN)),
        disks=vitals.file_systems(),
        backup=_newest_backup(),
        overdue=retention.complaints(Study.objects.visible_to(user)),
    )


def alarms(status: Status) -> list[str]:
    """What somebody should look after, one sentence each, the gravest first."""
    return [
        *(f"This host cannot serve participants: {check.detail}" for check in status.readiness if not check.ok),
        *(
            f"Some participants are not served: {check.detail}"
            for check in status.readiness
            if check.ok and check.detail
        ),
        *(f"The disk of {disk.folder} has {disk.free // MB} MB left." for disk in status.disks if _is_short(disk)),
        *status.overdue,
        *_alarms_about_backups(status),
        *_alarms_about_workers(status),
    ]


def _alarms_about_backups(status: Status) -> Iterator[str]:
    if not any(study.begun for study in status.studies):
        return
    if status.backup is None:
        yield f"No backup of this installation in {backup.default_name().parent}: manage.py backup."
    elif status.at - status.backup > BACKUP_EVERY:
        yield f"No backup of this installation since {status.backup:%Y-%m-%d %H:%M} UTC: manage.py backup."


def _alarms_about_workers(status: Status) -> Iterator[str]:
    if status.broker is None:
        yield "The broker does not answer. Participants are not affected; jobs wait until it is back."
    for queue in status.queues:
        if queue.jobs and queue.workers == 0:
            yield f"{queue.jobs} jobs wait in the queue {queue.name}, and no worker takes from it."
        elif queue.oldest_s > STUCK_AFTER_S and queue.has_idle_worker:
            yield f"A job has waited {_words(queue.oldest_s)} in the queue {queue.name} although a worker is idle."
    if status.leases_expired and (status.swept_s is None or status.swept_s > STUCK_AFTER_S):
        yield f"The workers of {status.leases_expired} jobs are silent, and nobody takes them up: no worker is left."


@cache
def version() -> str:
    """Of this software; "unknown" where only its packages were installed."""
    try:
        project = tomllib.loads((Path(settings.BASE_DIR) / "pyproject.toml").read_text())
    except FileNotFoundError:
        return "unknown"
    return str(project["project"]["version"])


@bounded(limit_s=3 * PING_S, keep_s=vitals.KEEP_S)
def _workers() -> list[Worker] | None:
    """The workers that answer within PING_S; None when the broker does not. Raises TookTooLong."""
    if vitals.broker() is None:  # kombu would wait for it
        return None
    answers = app.control.inspect(timeout=PING_S).active_queues() or {}
    return [Worker(name, sorted(queue["name"] for queue in queues)) for name, queues in sorted(answers.items())]


def _within(ask: Callable[[], Answered | None]) -> Answered | None:
    try:
        return ask()
    except TookTooLong:
        return None


def _database() -> str:
    number = ".".join(map(str, connection.get_database_version()))
    return f"{connection.display_name} {number}"


def _queue(name: str, found: Tables, broker: Broker | None, workers: Sequence[Worker] | None) -> Queue:
    running = (n for (kind, state), n in found.jobs.items() if state == Job.State.RUNNING and queue_of(kind) == name)
    return Queue(
        name=name,
        jobs=found.waiting[name].jobs,
        oldest_s=found.waiting[name].oldest_s,
        running=sum(running),
        messages=broker.messages[name] if broker else None,
        workers=None if workers is None else sum(name in worker.queues for worker in workers),
    )


def _running(jobs: QuerySet[Job]) -> list[Doing]:
    age = ExpressionWrapper(Now() - F("heartbeat_at"), output_field=DurationField())
    running: QuerySet[Any] = (
        about.with_names(jobs.filter(state=Job.State.RUNNING))
        .annotate(age=age)
        .defer("parameters", "result", "log_tail")
    )
    return [
        Doing(
            id=str(job.pk),
            name=about.title(job),
            stage=job.stage,
            fraction=job.fraction,
            owner=job.lease_owner,
            heartbeat_age_s=max(0.0, job.age.total_seconds()) if job.age else 0.0,
            attempt=job.attempt,
            attempts_without_progress=job.attempts_without_progress,
            max_attempts=job.max_attempts,
        )
        for job in running.order_by("started_at")[:LISTED]
    ]


def failures(failed: QuerySet[Job], most: int) -> list[Failure]:
    """The last of these jobs to have failed."""
    latest = about.with_names(failed.only("kind", "finished_at", "error")).order_by("-finished_at")[:most]
    return [Failure(str(job.pk), about.title(job), job.finished_at, job.error) for job in latest]


def under_way(studies: QuerySet[Study]) -> list[UnderWay]:
    """How these studies are doing, in two queries. A session's `seen_at` keeps the second from reading every answer
    there is.
    """
    since = timezone.now() - RATE_OVER
    active = Q(sessions__state=Session.State.ACTIVE, sessions__design__draft=False)
    by_population = {
        f"active_{name}": Count("sessions", active & Q(sessions__population=name)) for name in Population.values
    }
    real = Q(sessions__population=Population.REAL)
    begun, complete = Count("sessions", real), Count("sessions", real & Q(sessions__state=Session.State.COMPLETE))
    rates = dict(
        Answer.objects.filter(trial__session__seen_at__gte=since, received_at__gte=since)
        .filter(trial__session__design__draft=False)
        .order_by()
        .values_list("trial__session__study")
        .annotate(n=Count("pk"))
    )
    counted: QuerySet[Any] = studies.annotate(begun=begun, complete=complete, **by_population).order_by("slug")
    return [
        UnderWay(
            id=study.pk,
            title=study.title,
            slug=study.slug,
            state=study.state,
            active={name: getattr(study, f"active_{name}") for name in Population.values},
            begun=study.begun,
            complete=study.complete,
            wanted=study.participants,
            answers_per_minute=rates.get(study.pk, 0) / (RATE_OVER.total_seconds() / 60),
        )
        for study in counted
    ]


def _newest_backup() -> datetime | None:
    times = [found.stat().st_mtime for found in backup.default_name().parent.glob("*.tar")]
    return datetime.fromtimestamp(max(times), UTC) if times else None


def _is_short(disk: Disk) -> bool:
    """Before a job is refused for want of room, which happens at MINIMUM_FREE_MB."""
    return disk.free < 2 * int(settings.MINIMUM_FREE_MB) * MB


def _words(seconds: float) -> str:
    return f"{seconds / 60:.0f} min" if seconds < 2 * 3600 else f"{seconds / 3600:.0f} h"

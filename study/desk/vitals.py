"""How the installation is doing, in figures: what the tables know, whether the broker answers, how full the disks are.

Any web process of any host finds the same, but for its own disks. Nothing here is counted by condition, side or truth:
researchers would learn from it what participants see.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from itertools import product
from pathlib import Path
from typing import Any

import redis
from django.conf import settings
from django.db.models import Count, DurationField, ExpressionWrapper, F, Min, Q
from django.db.models.functions import Now
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from study.bounded import TookTooLong, bounded
from study.celery import app
from study.lab.models import Job, JobEvent, Sweeper
from study.queues import QUEUES, queue_of
from study.trials.models import Population, Session, Study

LIMIT_S = 3.0
KEEP_S = 5.0
CONNECT_S = 1.0


@dataclass(frozen=True)
class Waiting:
    """The jobs of one queue that no worker has taken up. oldest_s: for how long the first of them has waited, in s."""

    jobs: int = 0
    oldest_s: float = 0.0


@dataclass(frozen=True)
class Tables:
    """What the database knows, by its own clock. swept_s: since the last sweep, in s; None before the first."""

    sessions: Mapping[tuple[str, str], int]  # by population and state
    jobs: Mapping[tuple[str, str], int]  # by kind and state
    waiting: Mapping[str, Waiting]  # by queue
    leases_held: int
    leases_expired: int
    events: Mapping[str, int]  # of jobs, by kind, since the beginning
    open_studies: int
    swept_s: float | None


@dataclass(frozen=True)
class Broker:
    """What answers at the broker's address, and how many messages wait there by queue."""

    server: str
    messages: Mapping[str, int]


@dataclass(frozen=True)
class Disk:
    """Bytes of the disk that a folder lies on."""

    name: str
    folder: str
    total: int
    free: int

    @property
    def used(self) -> int:
        """Bytes that are taken, what is kept back for the system among them."""
        return self.total - self.free


@bounded(limit_s=LIMIT_S, keep_s=KEEP_S)
def tables() -> Tables:
    """Five queries, however much there is, at most once in KEEP_S. Raises TookTooLong or a database error."""
    return read_tables()


def read_tables() -> Tables:
    """The same as it is now, in this thread."""
    rows = _jobs()
    sessions = Session.objects.order_by().values_list("population", "state").annotate(n=Count("pk"))
    events = JobEvent.objects.order_by().values_list("kind").annotate(n=Count("pk"))
    return Tables(
        sessions=dict.fromkeys(product(Population.values, Session.State.values), 0)
        | {(population, state): n for population, state, n in sessions},
        jobs=dict.fromkeys(product(Job.Kind.values, Job.State.values), 0)
        | {(row["kind"], row["state"]): row["n"] for row in rows},
        waiting={queue: _waiting(queue, rows) for queue in QUEUES},
        leases_held=sum(row["held"] for row in rows),
        leases_expired=sum(row["expired"] for row in rows),
        events=dict.fromkeys(JobEvent.Kind.values, 0) | dict(events),
        open_studies=Study.objects.filter(state=Study.State.OPEN).count(),
        swept_s=_since_swept(),
    )


@bounded(limit_s=LIMIT_S, keep_s=KEEP_S)
def broker() -> Broker | None:
    """None when there is none, or it does not answer in CONNECT_S. Raises TookTooLong."""
    url = app.conf.broker_url
    if not url:
        return None
    try:
        with redis.Redis.from_url(url, socket_connect_timeout=CONNECT_S, socket_timeout=CONNECT_S) as client:
            server: dict[str, Any] = client.info("server")
            lengths = [int(client.llen(queue)) for queue in QUEUES]
    except redis.RedisError:
        return None
    name = "Valkey" if "valkey_version" in server else "Redis"
    version = server.get("valkey_version", server.get("redis_version", ""))
    return Broker(f"{name} {version}", dict(zip(QUEUES, lengths, strict=True)))


def disks() -> list[Disk]:
    """The disk that this host works on, and the one that has its files, which may be the same."""
    return [_disk("var", Path(settings.VAR)), _disk("files", Path(settings.MEDIA_ROOT))]


def file_systems() -> list[Disk]:
    """Likewise, but each file system once, named by all the folders on it."""
    together: dict[int, list[Disk]] = {}
    for disk in disks():
        together.setdefault(_nearest(Path(disk.folder)).stat().st_dev, []).append(disk)
    return [replace(found[0], name=" and ".join(disk.name for disk in found)) for found in together.values()]


class VitalsCollector(Collector):
    """The figures of this module for Prometheus. Those that cannot be had are left out, and `up` says so."""

    def collect(self) -> Iterator[Metric]:
        try:
            found = tables()
        except Exception:  # noqa: BLE001 (told by the figure: Prometheus' own alarm is about it)
            yield _gauge("database_up", "Whether the database answered.", 0)
        else:
            yield _gauge("database_up", "Whether the database answered.", 1)
            yield from _of_tables(found)
        try:
            is_up = broker() is not None
        except TookTooLong:
            is_up = False
        yield _gauge("broker_up", "Whether the broker answered. Answers are stored without it.", int(is_up))
        free = {(disk.name,): disk.free for disk in disks()}
        yield _gauges("disk_free_bytes", "Room on the disk of this host's folder.", ["folder"], free)


def _of_tables(found: Tables) -> Iterator[Metric]:
    yield _gauge("open_studies", "Studies that take participants.", found.open_studies)
    yield _gauges("sessions", "Sessions by population and state.", ["population", "state"], found.sessions)
    yield _gauges("jobs", "Jobs by kind and state.", ["kind", "state"], found.jobs)
    waiting = {(queue,): queued.jobs for queue, queued in found.waiting.items()}
    yield _gauges("queued_jobs", "Jobs that no worker has taken up.", ["queue"], waiting)
    ages = {(queue,): queued.oldest_s for queue, queued in found.waiting.items()}
    yield _gauges("oldest_queued_seconds", "How long the first job of a queue has waited.", ["queue"], ages)
    yield _gauge("leases_held", "Jobs that a worker is doing.", found.leases_held)
    yield _gauge("leases_expired", "Jobs whose worker is silent and which nobody has swept yet.", found.leases_expired)
    events = CounterMetricFamily("blindspot_job_events", "What happened to jobs.", labels=["kind"])
    for kind, n in found.events.items():
        events.add_metric([kind], n)
    yield events
    if found.swept_s is not None:
        yield _gauge("seconds_since_sweep", "Since the sweeper ran last, on whatever host.", found.swept_s)


def _gauge(name: str, meaning: str, value: float) -> Metric:
    return GaugeMetricFamily(f"blindspot_{name}", meaning, value=value)


def _gauges(name: str, meaning: str, labels: list[str], values: Mapping[Any, float]) -> Metric:
    family = GaugeMetricFamily(f"blindspot_{name}", meaning, labels=labels)
    for of, value in values.items():
        family.add_metric(of, value)
    return family


def _jobs() -> list[dict[str, Any]]:
    """Jobs by kind and state: how many, since when the first is queued, and how their leases stand."""
    running = Q(state=Job.State.RUNNING)
    rows = Job.objects.order_by().values("kind", "state")
    counted = rows.annotate(
        n=Count("pk"),
        age=ExpressionWrapper(Now() - Min("queued_at"), output_field=DurationField()),
        held=Count("pk", filter=running & Q(lease_until__gte=Now())),
        expired=Count("pk", filter=running & Q(lease_until__lt=Now())),
    )
    return [dict(row) for row in counted]


def _waiting(queue: str, rows: list[dict[str, Any]]) -> Waiting:
    here = [row for row in rows if row["state"] == Job.State.QUEUED and queue_of(row["kind"]) == queue]
    if not here:
        return Waiting()
    return Waiting(sum(row["n"] for row in here), max(_seconds(row["age"]) for row in here))


def _since_swept() -> float | None:
    age = ExpressionWrapper(Now() - F("swept_at"), output_field=DurationField())
    ages = Sweeper.objects.exclude(swept_at=None).annotate(age=age).values_list("age", flat=True)
    return next((_seconds(age) for age in ages), None)


def _seconds(age: timedelta) -> float:
    return max(0.0, age.total_seconds())


def _disk(name: str, folder: Path) -> Disk:
    usage = shutil.disk_usage(_nearest(folder))
    return Disk(name, str(folder), usage.total, usage.free)


def _nearest(folder: Path) -> Path:
    """The folder, or what it will be made in."""
    return next(parent for parent in (folder, *folder.absolute().parents) if parent.exists())

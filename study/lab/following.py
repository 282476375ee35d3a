"""Waiting for jobs at the terminal: bars on a screen, a line now and then in a log."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from uuid import UUID

from django.core.management import call_command
from django.core.management.base import CommandError
from django.db import connection
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TaskProgressColumn, TextColumn, TimeElapsedColumn

from study.lab.lease import Every
from study.lab.models import Job
from study.processes import broker_answers, services
from study.sentences import no_installation

LOOK_EVERY_S = 0.5
LINE_EVERY_S = 15.0
NO_WORKER_AFTER_S = 10.0
PING_EVERY_S = 5.0
PINGS_IN_VAIN = 3
#: The stage that takes nearly all of a job that trains a model.
TRAINING = "training"
GONE = (
    "Nobody is left to do the work: the broker no longer answers. The jobs are kept; "
    "give the command again to continue them."
)


class JobFailed(Exception):  # noqa: N818
    """A job that was waited for did not end well; the message is its sentence."""


def ready_database(*, begin: bool = False) -> None:
    """Bring the embedded database up to date; one of your own is migrated when you say so.

    begin: an embedded one is made where there is none. Raises CommandError where there is none otherwise.
    """
    embedded = connection.vendor == "sqlite"
    if not (embedded and begin):
        require_installation()
    if embedded:
        call_command("migrate", interactive=False, verbosity=0)


def require_installation() -> None:
    """Raises CommandError where there is none: a mistyped place must not look like an installation without faults."""
    name = connection.settings_dict["NAME"]
    if connection.vendor == "sqlite" and not Path(name).is_file():  # which a connection would make
        raise CommandError(no_installation(Path(name).parent))
    if not connection.introspection.table_names():
        raise CommandError(f"The database {name} has no tables: check DATABASE_URL, or run `manage.py migrate`.")


@contextlib.contextmanager
def workers() -> Iterator[None]:
    """Workers for as long as the block lasts: the installation's own, or some started here."""
    with services(web=False):
        yield


def follow(jobs: Mapping[str, Job], told: Callable[[Iterable[Job]], object] = lambda jobs: None) -> None:
    """Show how far these jobs, by the names to show, have come until all are over; their rows are then up to date.

    told: hears of the jobs each time they were looked at. Raises JobFailed with the sentence of the first that failed
    or was cancelled, or when nobody is left to do them.
    """
    installation = _Installation(jobs)
    with _display(list(jobs)) as display:
        while True:
            for name, job in jobs.items():
                job.refresh_from_db()
                display.show(name, job)
            told(jobs.values())
            if all(job.is_over for job in jobs.values()):
                break
            if installation.is_gone():
                raise JobFailed(GONE)
            time.sleep(LOOK_EVERY_S)
    for name, job in jobs.items():
        if job.state != Job.State.SUCCEEDED:
            raise JobFailed(f"{name}: {job.error or job.get_state_display()}")


def follow_all(title: str, total: int, advance: Callable[[], Mapping[str, Job]]) -> Mapping[str, Job]:
    """Show how far `total` jobs have come together, with the time left, until all are over; also those that fail.

    advance: submits what has become possible and tells all jobs so far, up to date, by their names; it is asked until
    all of them are over. Raises JobFailed when nobody is left to do them.
    """
    jobs = advance()
    installation = _Installation(jobs)
    with _overall(title, total) as show:
        while True:
            show(jobs)
            if all(job.is_over for job in jobs.values()):
                return jobs
            installation.jobs = [job.pk for job in jobs.values()]
            if installation.is_gone():
                raise JobFailed(GONE)
            time.sleep(LOOK_EVERY_S)
            jobs = advance()


class _Installation:
    """Who does the jobs: gone when its broker is silent several times running while no worker holds any of them."""

    def __init__(self, jobs: Mapping[str, Job]) -> None:
        self.jobs = [job.pk for job in jobs.values()]
        self.ping = Every(PING_EVERY_S)
        self.in_vain = 0

    def is_gone(self) -> bool:
        if self.ping.is_due():
            alive = broker_answers() or Job.objects.filter(pk__in=self.jobs).held().exists()
            self.in_vain = 0 if alive else self.in_vain + 1
        return self.in_vain >= PINGS_IN_VAIN


class _Bars:
    def __init__(self, progress: Progress, names: list[str]) -> None:
        self.progress = progress
        self.tasks: dict[str, TaskID] = {name: progress.add_task(name, total=1.0, stage="") for name in names}
        self.started = time.monotonic()

    def show(self, name: str, job: Job) -> None:
        self.progress.update(self.tasks[name], completed=job.fraction, stage=self._stage(job))

    def _stage(self, job: Job) -> str:
        if job.state == Job.State.QUEUED and time.monotonic() - self.started > NO_WORKER_AFTER_S:
            return "waiting for a worker"
        return job.stage


class _Lines:
    def __init__(self, names: list[str]) -> None:
        self.shown = dict.fromkeys(names, ("", 0.0))

    def show(self, name: str, job: Job) -> None:
        stage, when = self.shown[name]
        if job.stage != stage or (not job.is_over and time.monotonic() - when >= LINE_EVERY_S):
            self.shown[name] = (job.stage, time.monotonic())
            print(f"{name}: {job.stage}, {job.fraction:.0%}", file=sys.stderr, flush=True)


@contextlib.contextmanager
def _display(names: list[str]) -> Iterator[_Bars | _Lines]:
    if not sys.stderr.isatty():
        yield _Lines(names)
        return
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[stage]}"),
        console=Console(stderr=True),
    ) as progress:
        yield _Bars(progress, names)


@contextlib.contextmanager
def _overall(title: str, total: int) -> Iterator[Callable[[Mapping[str, Job]], None]]:
    """One bar, or a line now and then, for all jobs together."""
    started, first = time.monotonic(), [-1.0]
    line = Every(LINE_EVERY_S)
    reached: dict[UUID, float] = {}

    def share(jobs: Mapping[str, Job]) -> float:
        reached.update({job.pk: max(reached.get(job.pk, 0.0), _done(job)) for job in jobs.values()})
        done = sum(reached.values()) / max(total, 1)
        first[0] = done if first[0] < 0 else first[0]
        return done

    def words(jobs: Mapping[str, Job], done: float) -> str:
        over = sum(job.is_over for job in jobs.values())
        failed = sum(job.state == Job.State.FAILED for job in jobs.values())
        gained = done - first[0]
        left = f", about {_minutes((time.monotonic() - started) * (1 - done) / gained)} left" if gained > 0.01 else ""
        return f"{over} of {total} jobs{f', {failed} failed' if failed else ''}{left}"

    def say(jobs: Mapping[str, Job]) -> None:
        if line.is_due() or all(job.is_over for job in jobs.values()):
            done = share(jobs)
            running = [
                f"{name}: {job.stage}, {job.fraction:.0%}" for name, job in jobs.items() if job.state == "running"
            ]
            print("; ".join([f"{title}: {done:.0%}, {words(jobs, done)}", *running]), file=sys.stderr, flush=True)

    if not sys.stderr.isatty():
        yield say
        return
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TextColumn("{task.fields[words]}"))
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task(title, total=1.0, words="")

        def draw(jobs: Mapping[str, Job]) -> None:
            done = share(jobs)
            progress.update(task, completed=done, words=words(jobs, done))

        yield draw


def _done(job: Job) -> float:
    """How much of a job is done. Its `fraction` starts again with every stage, so it counts only in the one stage that
    is nearly all of its job; other jobs count when they are over."""
    if job.is_over:
        return 1.0
    return job.fraction if job.stage == TRAINING else 0.0


def _minutes(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"

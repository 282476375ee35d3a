"""Jobs: one piece of work for a worker each. The row is the truth, whatever becomes of messages."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from celery import current_app
from django.db import models, transaction
from django.db.models import DateTimeField, ExpressionWrapper, F, Q, QuerySet
from django.db.models.functions import Coalesce, Now
from kombu.exceptions import OperationalError as BrokerUnreachable

from study.lab.models.naming import sha256_of

logger = logging.getLogger("study.lab")

LEASE = timedelta(seconds=30)
LOST_AFTER = timedelta(seconds=60)
#: For whoever submits a job that no broker can tell the workers of.
WAY_OUT = (
    "It is taken up once there are workers: start `manage.py serve`, or a broker such as `redis-server` with REDIS_URL "
    "naming it, and `celery -A study worker -Q gpu,cpu`."
)
MAX_ATTEMPTS = 3


def _from_now(interval: timedelta) -> ExpressionWrapper[Any]:
    """A moment by the database's clock, the one clock that all workers share."""
    return ExpressionWrapper(Now() + interval, output_field=DateTimeField())


@dataclass(frozen=True)
class Swept:
    """What the sweeper found: jobs whose worker had stopped answering, and queued jobs whose message was lost."""

    interrupted: int
    lost: int


class JobQuerySet(models.QuerySet["Job"]):
    def submit(self, kind: str, parameters: Mapping[str, Any], max_attempts: int = MAX_ATTEMPTS) -> Job:
        """The job that does this work, queued if it is new, has failed or was cancelled.

        The same work is never queued twice: kind and parameters decide. Workers hear of it after the commit.
        """
        key = sha256_of([kind, parameters])
        defaults = {"kind": kind, "parameters": dict(parameters), "max_attempts": max_attempts}
        with transaction.atomic():
            job, created = self.get_or_create(idempotency_key=key, defaults=defaults)
            if created or job._requeue_stopped(max_attempts):
                job._publish_on_commit()
        job.refresh_from_db()
        return job

    def held(self) -> JobQuerySet:
        """Those that a worker is doing now: it has renewed its lease in time."""
        return self.filter(state=Job.State.RUNNING, lease_until__gte=Now())

    def sweep(self) -> Swept:
        """Take up what was dropped: requeue or fail jobs whose lease ran out, and publish lost messages again."""
        expired = self.filter(state=Job.State.RUNNING, lease_until__lt=Now())
        silent = self.filter(state=Job.State.QUEUED, queued_at__lt=_from_now(-LOST_AFTER))
        interrupted = [job.interrupt(job.attempt, "The worker stopped answering.", if_expired=True) for job in expired]
        lost = [job._publish_again() for job in silent]
        return Swept(sum(interrupted), sum(lost))


class Job(models.Model):
    """One piece of work for a worker. The row is the truth: a message only says that there is something to do."""

    class Kind(models.TextChoices):
        TRAIN = "train", "train a model"
        PREPARE = "prepare", "prepare data"
        EVALUATE = "evaluate", "evaluate a model"
        PAIRS = "pairs", "make pairs"
        OBSERVE = "observe", "let machines judge pairs"
        SURVIVE = "survive", "try a backdoor's survival"
        PERTURB = "perturb", "change a model's weights"

    class State(models.TextChoices):
        QUEUED = "queued", "queued"
        RUNNING = "running", "running"
        DONE = "done", "done"
        FAILED = "failed", "failed"
        CANCELLED = "cancelled", "cancelled"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    kind = models.CharField(max_length=20, choices=Kind)
    parameters = models.JSONField(default=dict)
    idempotency_key = models.CharField(
        max_length=64, unique=True, editable=False, help_text="SHA-256 of kind and parameters."
    )
    state = models.CharField(max_length=10, choices=State, default=State.QUEUED, editable=False)
    attempt = models.PositiveIntegerField(default=0, editable=False)
    max_attempts = models.PositiveIntegerField(default=3)
    lease_owner = models.CharField(max_length=100, blank=True, editable=False)
    lease_until = models.DateTimeField(null=True, editable=False)
    heartbeat_at = models.DateTimeField(null=True, editable=False)
    cancel_requested_at = models.DateTimeField(null=True, editable=False)
    progress = models.JSONField(default=dict, editable=False)
    result = models.JSONField(null=True, editable=False)
    error = models.TextField(blank=True, editable=False)
    created_at = models.DateTimeField(auto_now_add=True)
    queued_at = models.DateTimeField(db_default=Now(), editable=False)
    started_at = models.DateTimeField(null=True, editable=False)
    finished_at = models.DateTimeField(null=True, editable=False)

    objects = JobQuerySet.as_manager()

    class Meta:
        ordering = ["-created_at"]

    def __str__(self) -> str:
        return f"{self.get_kind_display()} {str(self.id)[:8]}"

    @property
    def is_over(self) -> bool:
        return self.state in (self.State.DONE, self.State.FAILED, self.State.CANCELLED)

    @property
    def stage(self) -> str:
        """What it is doing, in words for a list."""
        return (
            str(self.progress.get("stage", "starting"))
            if self.state == self.State.RUNNING
            else self.get_state_display()
        )

    @property
    def fraction(self) -> float:
        """How far it is within its stage, 0 to 1."""
        return 1.0 if self.state == self.State.DONE else float(self.progress.get("fraction", 0.0))

    # -- a worker's verbs. The attempt's number fences every write: whoever holds an older one changes nothing.

    def claim(self, owner: str) -> bool:
        """Start the next attempt; `self.attempt` is then its number. False: somebody else has it, or it is over.

        One conditional UPDATE, so that of any number of deliveries one gets the job.
        """
        free = Q(state=self.State.QUEUED) | Q(state=self.State.RUNNING, lease_until__lt=Now())
        claimed = Job.objects.filter(
            free,
            pk=self.pk,
            attempt=self.attempt,
            attempt__lt=F("max_attempts"),
            cancel_requested_at=None,
        ).update(
            state=self.State.RUNNING,
            attempt=self.attempt + 1,
            lease_owner=owner,
            lease_until=_from_now(LEASE),
            heartbeat_at=Now(),
            started_at=Coalesce("started_at", Now()),
            error="",
        )
        if claimed:
            self.attempt += 1
        return bool(claimed)

    def heartbeat(self, attempt: int) -> bool:
        """Renew the lease. False: the attempt has lost the job and must stop."""
        return bool(self._held_by(attempt).update(lease_until=_from_now(LEASE), heartbeat_at=Now()))

    def report(self, attempt: int, progress: Mapping[str, Any]) -> bool:
        """Record how far it is. False: the attempt has lost the job."""
        return bool(self._held_by(attempt).update(progress=dict(progress)))

    def cancel_requested(self, attempt: int) -> bool:
        """Whether this attempt is to stop because somebody cancelled the job."""
        return self._held_by(attempt).filter(cancel_requested_at__isnull=False).exists()

    def finish(self, attempt: int, result: Mapping[str, Any]) -> bool:
        """Done. Call it first in the transaction that stores what was made, and store nothing when it says False."""
        return self._end(attempt, self.State.DONE, result=dict(result))

    def fail(self, attempt: int, error: str) -> bool:
        """Failed in a way that another attempt would not mend; `error` is one sentence for the researcher."""
        return self._end(attempt, self.State.FAILED, error=error)

    def interrupt(self, attempt: int, reason: str, *, if_expired: bool = False) -> bool:
        """The attempt was cut short: queue the next one, or end the job if it was cancelled or has had its last.

        if_expired: only if nobody has renewed the lease. False: the attempt no longer has the job.
        """
        rows = self._held_by(attempt)
        if if_expired:
            rows = rows.filter(lease_until__lt=Now())
        with transaction.atomic():
            if rows.filter(cancel_requested_at__isnull=False).update(
                state=self.State.CANCELLED, finished_at=Now(), lease_until=None
            ):
                return True
            if rows.filter(attempt__gte=F("max_attempts")).update(
                state=self.State.FAILED,
                error=f"{reason} This was attempt {attempt}, the last one.",
                finished_at=Now(),
                lease_until=None,
            ):
                return True
            requeued = rows.update(state=self.State.QUEUED, error=reason, queued_at=Now(), lease_until=None)
            if requeued:
                self._publish_on_commit()
            return bool(requeued)

    # -- everybody's verbs

    def request_cancel(self) -> None:
        """A queued job is cancelled at once, a running one as soon as its worker looks; one that is over stays so."""
        queued = Job.objects.filter(pk=self.pk, state=self.State.QUEUED)
        if not queued.update(state=self.State.CANCELLED, cancel_requested_at=Now(), finished_at=Now()):
            Job.objects.filter(pk=self.pk, state=self.State.RUNNING).update(cancel_requested_at=Now())
        self.refresh_from_db()

    def publish(self) -> None:
        """Tell the workers. Should the broker be away, the sweeper does it later: the row is what counts."""
        from study.lab.tasks import TASKS

        if not current_app.conf.broker_url:
            logger.warning("%s waits: no broker is configured. %s", self, WAY_OUT)
            return
        try:
            TASKS[self.kind].apply_async(args=(str(self.pk),), task_id=str(self.pk), retry_policy={"max_retries": 2})
        except BrokerUnreachable as error:
            logger.warning("%s waits: the broker cannot be reached (%s). %s", self, error, WAY_OUT)

    def _held_by(self, attempt: int) -> QuerySet[Job]:
        return Job.objects.filter(pk=self.pk, state=self.State.RUNNING, attempt=attempt)

    def _end(self, attempt: int, state: str, **fields: Any) -> bool:
        return bool(self._held_by(attempt).update(state=state, finished_at=Now(), lease_until=None, **fields))

    def _requeue_stopped(self, max_attempts: int) -> bool:
        stopped = Job.objects.filter(pk=self.pk, state__in=[self.State.FAILED, self.State.CANCELLED])
        return bool(
            stopped.update(
                state=self.State.QUEUED,
                max_attempts=F("attempt") + max_attempts,
                cancel_requested_at=None,
                progress={},
                error="",
                queued_at=Now(),
                finished_at=None,
            )
        )

    def _publish_on_commit(self) -> None:
        transaction.on_commit(self.publish)

    def _publish_again(self) -> bool:
        waiting = Job.objects.filter(pk=self.pk, state=self.State.QUEUED, queued_at__lt=_from_now(-LOST_AFTER))
        if not waiting.update(queued_at=Now()):
            return False
        self._publish_on_commit()
        return True

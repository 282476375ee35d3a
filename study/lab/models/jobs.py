"""Jobs: one piece of work for a worker each. The row is the truth, whatever becomes of messages."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from celery import current_app
from django.db import models, transaction
from django.db.models import Case, DateTimeField, ExpressionWrapper, F, QuerySet, Value, When
from django.db.models.functions import Coalesce, Greatest, Now
from kombu.exceptions import OperationalError as BrokerUnreachable

from study.lab.models.job_events import JobEvent
from study.lab.models.naming import sha256_of
from study.queues import TASKS

logger = logging.getLogger("study.lab")

#: What this code writes into `parameters`. A worker leaves jobs of a newer version to a newer worker.
PAYLOAD_VERSION = 1
#: The oldest version whose parameters this code understands.
OLDEST_PAYLOAD_VERSION = 1
LEASE = timedelta(seconds=15)
#: A queued job's message counts as lost after so long. Each time the patience doubles, so that a long queue, which is
#: merely waiting its turn, is not published over and over.
LOST_AFTER = timedelta(seconds=20)
LOST_AFTER_AT_MOST = timedelta(minutes=5)
#: Of how many jobs of a kind workers are told again: of those whose turn is next. For every one of a long queue there
#: would be more messages than workers can drop, at about half a second each.
NEXT_OF_A_KIND = 10
#: For whoever submits a job that no broker can tell the workers of.
WAY_OUT = (
    "It is taken up once there are workers: start `manage.py serve`, or a broker such as `redis-server` with REDIS_URL "
    "naming it, and `manage.py work`."
)
MAX_ATTEMPTS = 3


def from_now(interval: timedelta) -> ExpressionWrapper[Any]:
    """A moment by the database's clock, the one clock that all workers share."""
    return ExpressionWrapper(Now() + interval, output_field=DateTimeField())


def _by(who: str, what: str) -> str:
    return f"{what}, by {who}" if who else what


def patience(rings: int) -> timedelta:
    """How long to wait for a worker to take up a job whose message was published so many times."""
    doublings: int = min(max(rings - 1, 0), 10)
    return min(LOST_AFTER * (1 << doublings), LOST_AFTER_AT_MOST)


def idempotency_key(kind: str, parameters: Mapping[str, Any]) -> str:
    """By which the job that does this work is known."""
    return sha256_of([kind, parameters])


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
        key = idempotency_key(kind, parameters)
        defaults = {
            "kind": kind,
            "parameters": dict(parameters),
            "max_attempts": max_attempts,
            "rings": 1,
            "ring_at": from_now(LOST_AFTER),
        }
        with transaction.atomic():
            job, created = self.get_or_create(idempotency_key=key, defaults=defaults)
            if created:
                job._log(JobEvent.Kind.QUEUED, "submitted")
                job._publish_on_commit()
            else:
                job._requeue_stopped("submitted again", max_attempts)
        job.refresh_from_db()
        return job

    def held(self) -> JobQuerySet:
        """Those that a worker is doing now: it has renewed its lease in time."""
        return self.filter(state=Job.State.RUNNING, lease_until__gte=Now())

    def expired(self) -> JobQuerySet:
        """Those whose worker has stopped answering."""
        return self.filter(state=Job.State.RUNNING, lease_until__lt=Now())

    def unheard(self) -> JobQuerySet:
        """Queued jobs that no worker has taken up in due time: their message may be lost."""
        return self.filter(state=Job.State.QUEUED, ring_at__lt=Now())

    def sweep(self) -> Swept:
        """Take up what was dropped: requeue or fail jobs whose lease ran out, and publish lost messages again."""
        interrupted = [job.expire() for job in self.expired()]
        lost = [job._ring_again() for kind in Job.Kind for job in self.unheard().filter(pk__in=self._next(kind))]
        return Swept(sum(interrupted), sum(lost))

    def ring(self, kinds: Iterable[str]) -> None:
        """Tell workers of the queued jobs of these kinds whose turn is next, however lately they were told.

        For a worker that starts: the messages may have gone with the broker, and one too many does no harm.
        """
        for kind in kinds:
            for job in self._next(kind):
                job.publish()

    def _next(self, kind: str) -> JobQuerySet:
        queued = self.filter(state=Job.State.QUEUED, kind=kind)
        return queued.order_by("queued_at")[:NEXT_OF_A_KIND]


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
        SET_UP = "set_up", "set up"
        VERIFY = "verify", "check files against their records"
        PLAN = "plan", "plan a study"
        REHEARSE = "rehearse", "send simulated participants"
        ANALYSE = "analyse", "analyse a study"
        ERASE = "erase", "erase what is past its date"
        DEMONSTRATE = "demonstrate", "run the demonstration"

    class State(models.TextChoices):
        QUEUED = "queued", "queued"
        RUNNING = "running", "running"
        SUCCEEDED = "succeeded", "succeeded"
        FAILED = "failed", "failed"
        CANCELLED = "cancelled", "cancelled"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    kind = models.CharField(max_length=20, choices=Kind)
    parameters = models.JSONField(default=dict)
    payload_version = models.PositiveSmallIntegerField(default=PAYLOAD_VERSION, db_default=1, editable=False)
    idempotency_key = models.CharField(
        max_length=64, unique=True, editable=False, help_text="SHA-256 of kind and parameters."
    )
    state = models.CharField(max_length=10, choices=State, default=State.QUEUED, editable=False)
    attempt = models.PositiveIntegerField(
        default=0, editable=False, help_text="Ever rising: what an older attempt writes is refused."
    )
    tries = models.PositiveIntegerField(
        default=0, db_default=0, editable=False, help_text="Attempts since it last got further."
    )
    max_attempts = models.PositiveIntegerField(default=MAX_ATTEMPTS, help_text="How many tries in vain are enough.")
    reached = models.FloatField(
        default=0.0, db_default=0.0, editable=False, help_text="Fraction of the furthest checkpoint."
    )
    lease_owner = models.CharField(max_length=100, blank=True, editable=False)
    lease_until = models.DateTimeField(null=True, editable=False)
    heartbeat_at = models.DateTimeField(null=True, editable=False)
    cancel_requested_at = models.DateTimeField(null=True, editable=False)
    progress = models.JSONField(default=dict, editable=False)
    log_tail = models.TextField(blank=True, db_default="", editable=False, help_text="The end of its error output.")
    result = models.JSONField(null=True, editable=False)
    error = models.TextField(blank=True, editable=False)
    created_at = models.DateTimeField(auto_now_add=True)
    queued_at = models.DateTimeField(db_default=Now(), editable=False)
    rings = models.PositiveIntegerField(
        default=0, db_default=0, editable=False, help_text="How often workers were told of it since it was queued."
    )
    ring_at = models.DateTimeField(
        db_default=Now(), editable=False, help_text="When they are told again, should none take it."
    )
    started_at = models.DateTimeField(null=True, editable=False)
    finished_at = models.DateTimeField(null=True, editable=False)

    events: models.Manager[JobEvent]
    objects = JobQuerySet.as_manager()

    class Meta:
        ordering = ["-created_at"]
        indexes = [
            models.Index(fields=["state", "lease_until"], name="job_state_lease_until"),
            models.Index(fields=["state", "queued_at"], name="job_state_queued_at"),
        ]

    def __str__(self) -> str:
        return f"{self.get_kind_display()} {str(self.id)[:8]}"

    @property
    def is_over(self) -> bool:
        return self.state in (self.State.SUCCEEDED, self.State.FAILED, self.State.CANCELLED)

    @property
    def may_be_cancelled(self) -> bool:
        """Whether there is something to cancel, and nobody has yet."""
        return not self.is_over and self.cancel_requested_at is None

    @property
    def may_be_retried(self) -> bool:
        """Whether it ended without having done its work."""
        return self.state in (self.State.FAILED, self.State.CANCELLED)

    @property
    def attempts_without_progress(self) -> int:
        """Attempts in a row that got no further. One that goes on, or has done the work, is not among them."""
        counts_itself = self.state in (self.State.RUNNING, self.State.SUCCEEDED)
        return max(self.tries - counts_itself, 0)

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
        return 1.0 if self.state == self.State.SUCCEEDED else float(self.progress.get("fraction", 0.0))

    @property
    def message(self) -> str:
        """One sentence for people: how it stands with this job."""
        if self.state == self.State.QUEUED:
            return f"{self.error} It is queued again.".strip() if self.error else "It waits for a worker."
        if self.state == self.State.RUNNING:
            ending = "; it is being cancelled" if self.cancel_requested_at else ""
            doing = f"at {self.stage}, {self.fraction:.0%}" if self.progress else "starting"
            return f"It is {doing}{ending}."
        if self.state == self.State.FAILED:
            return self.error
        return "It succeeded." if self.state == self.State.SUCCEEDED else self.error or "It was cancelled."

    # -- a worker's verbs. The attempt's number fences every write: whoever holds an older one changes nothing.

    def claim(self, owner: str) -> bool:
        """Start the next attempt; `self.attempt` is then its number. False: somebody else has it, or it is over.

        One conditional UPDATE, so that of any number of deliveries one gets the job.
        """
        with transaction.atomic():
            self.expire(ring=False)
            queued = Job.objects.filter(
                pk=self.pk,
                state=self.State.QUEUED,
                attempt=self.attempt,
                tries__lt=F("max_attempts"),
                cancel_requested_at=None,
                payload_version__lte=PAYLOAD_VERSION,
            )
            claimed = queued.update(
                state=self.State.RUNNING,
                attempt=self.attempt + 1,
                tries=F("tries") + 1,
                lease_owner=owner,
                lease_until=from_now(LEASE),
                heartbeat_at=Now(),
                started_at=Coalesce("started_at", Now()),
                error="",
            )
            if claimed:
                self._log(JobEvent.Kind.CLAIMED, f"by {owner}", self.attempt + 1)
        self.attempt += claimed  # not before the commit, which may fail: the claim is then tried again
        return bool(claimed)

    def heartbeat(self, attempt: int, *, reached: float | None = None, **told: Any) -> bool:
        """Renew the lease, and record with the same write what the work told: `progress`, `log_tail`.

        reached: the fraction of a checkpoint. One further than any before makes the tries so far worth having.
        False: the attempt has lost the job and must stop.
        """
        if reached is not None:
            further = When(reached__lt=reached, then=Value(0))
            tries = Case(further, default=F("tries"), output_field=models.PositiveIntegerField())
            told |= {"reached": Greatest(F("reached"), Value(reached)), "tries": tries}
        return bool(self._held_by(attempt).update(lease_until=from_now(LEASE), heartbeat_at=Now(), **told))

    def cancel_requested(self, attempt: int) -> bool:
        """Whether this attempt is to stop because somebody cancelled the job."""
        return self._held_by(attempt).filter(cancel_requested_at__isnull=False).exists()

    def has_succeeded(self, attempt: int) -> bool:
        """Whether it was this attempt that did the work: the answer to a commit whose outcome is not known."""
        return Job.objects.filter(pk=self.pk, state=self.State.SUCCEEDED, attempt=attempt).exists()

    def finish(self, attempt: int, result: Mapping[str, Any]) -> bool:
        """Done. Call it first in the transaction that stores what was made, and store nothing when it says False."""
        return self._end(attempt, self.State.SUCCEEDED, "", result=dict(result), error="")

    def fail(self, attempt: int, error: str) -> bool:
        """Failed in a way that another attempt would not mend; `error` is one sentence for the researcher."""
        return self._end(attempt, self.State.FAILED, error, error=error)

    def interrupt(self, attempt: int, reason: str) -> bool:
        """The attempt was cut short: queue the next one, or end the job if it was cancelled or has had enough.

        False: the attempt no longer has the job.
        """
        return self._cut_short(self._held_by(attempt), JobEvent.Kind.INTERRUPTED, reason)

    def expire(self, *, ring: bool = True) -> bool:
        """Likewise, when the worker has stopped answering. False: it has renewed its lease, or the job is over."""
        rows = Job.objects.expired().filter(pk=self.pk, attempt=self.attempt)
        if not rows.exists():
            return False
        reason = f"The worker on {self.lease_owner.split(':')[0]} stopped answering."
        return self._cut_short(rows, JobEvent.Kind.LEASE_EXPIRED, reason, ring=ring)

    def give_back(self, attempt: int, reason: str) -> bool:
        """The worker ends and leaves the job to another: the attempt does not count as one in vain."""
        return self._cut_short(self._held_by(attempt), JobEvent.Kind.RETURNED, reason)

    # -- everybody's verbs

    def request_cancel(self, by: str = "") -> bool:
        """A queued job is cancelled at once, a running one as soon as its worker looks; one that is over stays so.

        by: who wants it, for its history. False: it was over already.
        """
        with transaction.atomic():
            rows = Job.objects.filter(pk=self.pk)
            job = rows.select_for_update().get()  # its state must not change between the look and the write
            error = f"Cancelled by {by}." if by else ""
            if job.state == self.State.QUEUED:
                rows.update(state=self.State.CANCELLED, cancel_requested_at=Now(), finished_at=Now(), error=error)
                job._log(JobEvent.Kind.CANCELLED, _by(by, "before a worker took it"))
            elif job.may_be_cancelled:
                rows.update(cancel_requested_at=Now(), error=error)
        self.refresh_from_db()
        return not job.is_over

    def retry(self, by: str = "") -> bool:
        """Queue a job that failed or was cancelled once more; it goes on from its checkpoint. False: it is neither."""
        with transaction.atomic():
            requeued = self._requeue_stopped(_by(by, "tried again"), self.max_attempts)
        self.refresh_from_db()
        return requeued

    def publish(self) -> None:
        """Tell the workers. Should the broker be away, the sweeper does it later: the row is what counts."""
        if not current_app.conf.broker_url:
            logger.warning("%s waits: no broker is configured. %s", self, WAY_OUT)
            return
        try:
            current_app.send_task(
                TASKS[self.kind], args=(str(self.pk),), task_id=str(self.pk), retry_policy={"max_retries": 1}
            )
        except BrokerUnreachable as error:
            logger.warning("%s waits: the broker cannot be reached (%s). %s", self, error, WAY_OUT)

    def _held_by(self, attempt: int) -> QuerySet[Job]:
        return Job.objects.filter(pk=self.pk, state=self.State.RUNNING, attempt=attempt)

    def _end(self, attempt: int, state: str, detail: str, **fields: Any) -> bool:
        with transaction.atomic():
            ended = self._held_by(attempt).update(state=state, finished_at=Now(), lease_until=None, **fields)
            if ended:
                self._log(state, detail, attempt)
        return bool(ended)

    def _cut_short(self, rows: QuerySet[Job], kind: str, reason: str, *, ring: bool = True) -> bool:
        with transaction.atomic():
            job = rows.select_for_update().first()
            if job is None:
                return False
            if job.cancel_requested_at:
                return job._end(job.attempt, self.State.CANCELLED, job.error)
            returned = kind == JobEvent.Kind.RETURNED
            job._log(kind, reason)
            if job.tries >= job.max_attempts and not returned:
                return job.fail(
                    job.attempt, f"{reason} This was attempt {job.tries} of {job.max_attempts} that got no further."
                )
            job._queue(rows, error=reason, tries=max(job.tries - 1, 0) if returned else job.tries, ring=ring)
            return True

    def _queue(self, rows: QuerySet[Job], ring: bool = True, **fields: Any) -> bool:
        queued = rows.update(
            state=self.State.QUEUED,
            queued_at=Now(),
            lease_until=None,
            rings=1,
            ring_at=from_now(LOST_AFTER),
            **fields,
        )
        if queued and ring:
            self._publish_on_commit()
        return bool(queued)

    def _requeue_stopped(self, why: str, max_attempts: int) -> bool:
        stopped = Job.objects.filter(pk=self.pk, state__in=[self.State.FAILED, self.State.CANCELLED])
        requeued = self._queue(
            stopped,
            payload_version=PAYLOAD_VERSION,
            max_attempts=max_attempts,
            tries=0,
            reached=0.0,
            cancel_requested_at=None,
            finished_at=None,
            progress={},
            log_tail="",
            error="",
        )
        if requeued:
            self._log(JobEvent.Kind.QUEUED, why)
        return requeued

    def _publish_on_commit(self) -> None:
        transaction.on_commit(self.publish)

    def _ring_again(self) -> bool:
        with transaction.atomic():
            unheard = Job.objects.unheard().filter(pk=self.pk, rings=self.rings)
            if not unheard.update(rings=self.rings + 1, ring_at=from_now(patience(self.rings + 1))):
                return False
            self._log(JobEvent.Kind.RUNG_AGAIN, f"for the {self.rings + 1}. time: no worker has taken it up")
            self._publish_on_commit()
        return True

    def _log(self, kind: str, detail: str, attempt: int | None = None) -> None:
        JobEvent.objects.create(
            job=self, attempt=self.attempt if attempt is None else attempt, kind=kind, detail=detail
        )

"""The researcher of the storm: prepares a study, has models trained and pairs made all the while, and tries again.

Everything goes through the models' own verbs. Queries wait until the database is back, as a person would.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

from django.conf import settings
from django.db import InterfaceError, OperationalError, close_old_connections, connection, transaction
from django.db.models.functions import Now

from study.desk.installation import prepare
from study.lab.models import Attack, Dataset, Job, ModelRun
from study.lab.models.job_events import JobEvent
from study.lab.verification import checks
from study.supervision import ServiceError
from study.trials.models import Answer, Session, Study
from tests.faults.ledger import Ledger, write_rows
from tests.study.lab.conftest import TARGET, plan_runs, recipe, save_untrained, write_arrays

PLACES = 5000
STRENGTHS = [0.5, 2.0]
LOOK_EVERY_S = 0.5
#: s: how long a query waits for the database to come back.
DATABASE_BACK_WITHIN_S = 60.0

_SECOND = timedelta(seconds=1)

Result = TypeVar("Result")


def persistently(query: Callable[[], Result]) -> Result:
    """What the query says, however often the database goes away meanwhile. It must bear being asked twice."""
    deadline = time.monotonic() + DATABASE_BACK_WITHIN_S
    while True:
        try:
            close_old_connections()
            return query()
        except (OperationalError, InterfaceError):
            connection.close()
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)


class Researcher:
    """Has jobs done as long as `at_work`; trainings of one recipe, one after the other, and small jobs beside them."""

    def __init__(self, var: Path, epochs: int, retried: Ledger) -> None:
        self.var, self.retried = var, retried
        self.recipe = recipe(strength_schedule=[[1.0, epochs], [0.5, epochs]])
        self.disturbed = self.small = 0
        self.resting, self.stopping = threading.Event(), threading.Event()
        self.thread = threading.Thread(target=self._work, name="researcher", daemon=True)

    # -- before the storm

    def prepare(self) -> None:
        """Tables, data, an attack, and two models to make pairs with."""
        prepare()
        path = write_arrays(self.var / "blobs.npz")
        self.dataset = Dataset.objects.arrays("blobs", path)
        Dataset.objects.filter(pk=self.dataset.pk).update(
            may_display_to_participants=True, display_reason="Discs that a program drew."
        )
        self.attack = Attack.objects.draw("warp", "wanet", (24, 32), seed=3, choices={"control_size": 4})
        self.models = [save_untrained(run, seed) for seed, run in enumerate(plan_runs(self.dataset, self.attack))]

    def open_study(self) -> str:
        """Pairs by the real workers, and a study of them that is open; its name in the address."""
        pairs = self.attack.submit_pairs(self.dataset, self.models, strengths=STRENGTHS, images=30)
        while not pairs.is_over:
            time.sleep(0.1)
            pairs.refresh_from_db()
        if pairs.state != Job.State.SUCCEEDED:
            raise ServiceError(f"The pairs of the study could not be made: {pairs.error}")
        study = Study.objects.create(
            slug="storm",
            title="Which disc?",
            dataset=self.dataset,
            model_run=self.models[1],
            participants=PLACES,
            trials_per_strength=2,
            trials_per_control=2,
            catch_trials=2,
            practice_trials=1,
            practice_correct=0,
            practice_rounds=1,
            minimum_age=0,
            median_rt_below_ms=0,
            fast_above_share=1.0,
            focus_above_share=1.0,
            information="You will compare pictures of discs.",
            contact="researcher@example.org",
            completion_code="THANKS",
        )
        study.open()
        return study.slug

    def train_undisturbed(self, folder: Path) -> subprocess.Popen[bytes]:
        """The same training in a process that is no part of the installation, so that nothing befalls it."""
        run = self._plan("undisturbed")
        folder.mkdir(parents=True)
        specification = {**run.training_specification(), "output": str(folder / "artifact")}
        (folder / "specification.json").write_text(json.dumps(specification))
        with (folder / "events.jsonl").open("w") as events:
            return subprocess.Popen(
                [sys.executable, "-m", "models.run", str(folder / "specification.json")],
                stdout=events,
                cwd=settings.BASE_DIR,
            )

    # -- during the storm

    def __enter__(self) -> Researcher:
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stopping.set()
        self.thread.join()

    def rest(self) -> None:
        """Submit nothing more; failed jobs are still tried again."""
        self.resting.set()

    def finish(self, seconds: float) -> None:
        """Wait for the jobs to end, so many seconds at most."""
        self.rest()
        deadline = time.monotonic() + seconds
        while persistently(self._unfinished) and time.monotonic() < deadline:
            time.sleep(LOOK_EVERY_S)

    def _work(self) -> None:
        try:
            while not self.stopping.wait(LOOK_EVERY_S):
                persistently(self._try_again)
                if not self.resting.is_set():
                    persistently(self._have_trained)
                    persistently(self._have_small_jobs_done)
        finally:
            connection.close()

    def _try_again(self) -> None:
        for job in Job.objects.filter(state=Job.State.FAILED):
            error = job.error
            if job.retry():
                self.retried.write(job=str(job.pk), kind=job.kind, attempt=job.attempt, error=error)

    def _have_trained(self) -> None:
        """One training at a time, each rung twice; when one is done, the next."""
        if not Job.objects.filter(kind=Job.Kind.TRAIN).exclude(state=Job.State.SUCCEEDED).exists():
            run = self._plan(f"disturbed-{self.disturbed}")
            run.submit_training().publish()
            self.disturbed += 1

    def _have_small_jobs_done(self) -> None:
        """One small job waits at most: an evaluation, pairs that are made anew, or pairs at a new strength."""
        small = Job.objects.exclude(kind=Job.Kind.TRAIN).exclude(state=Job.State.SUCCEEDED)
        if small.count() > 1:
            return
        kinds = (self._evaluation, self._pairs_again, self._more_pairs, self._evaluation, self._judgements)
        kinds[self.small % len(kinds)]().publish()
        self.small += 1

    def _evaluation(self) -> Job:
        return self.models[1].submit_evaluation(strengths=[0.25 + self.small / 100])

    def _pairs_again(self) -> Job:
        return self.attack.submit_pairs(self.dataset, self.models, strengths=STRENGTHS, images=4, again=True)

    def _more_pairs(self) -> Job:
        return self.attack.submit_pairs(self.dataset, self.models, strengths=[1.0 + self.small / 100], images=4)

    def _judgements(self) -> Job:
        return self.attack.submit_judgements(self.dataset, seed=self.small)

    def _plan(self, name: str) -> ModelRun:
        return ModelRun.objects.plan(name, self.dataset, recipe=self.recipe, target=TARGET, attack=self.attack)

    def _unfinished(self) -> bool:
        return Job.objects.exclude(state=Job.State.SUCCEEDED).exists()

    # -- what faults need to know, and what they do to jobs

    def trainings(self) -> set[str]:
        """Ids of the trainings."""
        ids = persistently(lambda: list(Job.objects.filter(kind=Job.Kind.TRAIN).values_list("pk", flat=True)))
        return {str(pk) for pk in ids}

    def attempts(self, jobs: list[str]) -> list[dict[str, Any]]:
        """The running attempts at these jobs."""
        running = Job.objects.filter(pk__in=jobs, state=Job.State.RUNNING)
        return persistently(lambda: [_attempt(job) for job in running.all()])

    def ring_all_again(self) -> int:
        """Publish every job once more; how many."""
        jobs = persistently(lambda: list(Job.objects.all()))
        for job in jobs:
            job.publish()
        return len(jobs)

    def expire_one(self, pick: float) -> dict[str, Any] | None:
        """Move the lease of a running job into the past and have it swept, in one transaction: its worker renews it
        otherwise. The attempt that lost its job; None when nothing runs.
        """

        def expire() -> dict[str, Any] | None:
            with transaction.atomic():
                jobs = list(Job.objects.held().order_by("pk"))
                if not jobs:
                    return None
                job = jobs[int(pick * len(jobs))]
                moved = Job.objects.filter(pk=job.pk, state=Job.State.RUNNING, attempt=job.attempt)
                if not moved.update(lease_until=Now() - _SECOND):
                    return None
                return _attempt(job) if job.expire() else None

        return persistently(expire)

    # -- afterwards

    def write_evidence(self, folder: Path, undisturbed: Path) -> None:
        """The rows of the database, what `verify` says, and the hashes of the weights."""
        write_rows(folder / "answers.jsonl", persistently(_answers))
        write_rows(folder / "sessions.jsonl", persistently(_sessions))
        write_rows(folder / "jobs.jsonl", persistently(_jobs))
        faults = persistently(lambda: [fault for check in checks() if (fault := check.fault())])
        (folder / "files.json").write_text(json.dumps(faults, indent=1))
        runs = persistently(lambda: list(ModelRun.objects.filter(name__startswith="disturbed-").exclude(artifact="")))
        weights = {
            "undisturbed": _sha256(undisturbed / "weights.safetensors"),
            "disturbed": {run.name: _sha256(run.artifact_path / "weights.safetensors") for run in runs},
        }
        (folder / "weights.json").write_text(json.dumps(weights, indent=1))


def _attempt(job: Job) -> dict[str, Any]:
    return {"job": str(job.pk), "kind": job.kind, "attempt": job.attempt}


def _answers() -> list[Mapping[str, Any]]:
    rows = Answer.objects.order_by("pk").values_list(
        "pk", "client_id", "choice", "trial__index", "trial__session__token_sha256"
    )
    return [
        {"id": pk, "client_id": str(client_id), "choice": choice, "index": index, "session": session}
        for pk, client_id, choice, index, session in rows
    ]


def _sessions() -> list[Mapping[str, Any]]:
    return [
        {"session": one.token_sha256, "state": one.state, "answers": one.progress[0], "trials": one.progress[1]}
        for one in Session.objects.order_by("pk")
    ]


def _jobs() -> list[Mapping[str, Any]]:
    return [
        {
            "id": str(job.pk),
            "kind": job.kind,
            "state": job.state,
            "attempt": job.attempt,
            "error": job.error,
            "events": [
                {"attempt": event.attempt, "kind": event.kind, "detail": event.detail, "at": _seconds(event.at)}
                for event in JobEvent.objects.filter(job=job)
            ],
        }
        for job in Job.objects.order_by("created_at")
    ]


def _seconds(moment: datetime) -> float:
    return round(moment.timestamp(), 3)


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()

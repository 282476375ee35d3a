"""The demonstration by a click: the same as `manage.py demo`, as a job.

It is itself done by a worker of the queue cpu, perhaps the only one, and waits for jobs of that queue: so it brings a
worker of its own along, and one for trainings where nobody else takes them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from django.contrib import messages
from django.contrib.auth import get_user_model
from django.core.exceptions import PermissionDenied
from django.core.management import call_command
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.views.decorators.http import require_POST

from study.accounts import audit
from study.accounts.models import User
from study.lab import working
from study.lab.kinds import Work
from study.lab.models import Job
from study.trials.exceptions import TrialsError
from study.trials.models import Population
from study.trials.rights import Role

#: How the names of demonstrations' data sets read.
DATASETS: Final = r"^demo(?:-([0-9]+))?-eyes$"
PARTICIPANTS: Final = 40
NEEDED: Final = ("lab.add_dataset", "lab.add_modelrun", "trials.add_study")
ASK_S = 2.0


# --- whoever clicks


def may_start(user: User) -> bool:
    """Whether this researcher may make all that the demonstration makes."""
    return user.has_perms(NEEDED)


@require_POST
def start(request: HttpRequest) -> HttpResponse:
    """The button on the first page."""
    user = request.user
    if not isinstance(user, get_user_model()) or not may_start(user):
        raise PermissionDenied("The demonstration makes data, models and a study: your account may not.")
    with transaction.atomic():
        job = submit(user)
        audit.record("started", job)
    messages.success(request, "The demonstration has begun: it takes some minutes.")
    return redirect("admin:index")


def submit(user: User) -> Job:
    """The demonstration for this researcher; once it has run, what it made."""
    return Job.objects.submit(Job.Kind.DEMONSTRATE, {"owner": user.pk, "participants": PARTICIPANTS, "seed": 0})


def newest(user: User) -> Job | None:
    """This researcher's demonstration, if there is one."""
    return Job.objects.filter(kind=Job.Kind.DEMONSTRATE, parameters__owner=user.pk).order_by("-created_at").first()


# --- the worker and its process


def demonstrating(job: Job, folder: Path) -> Work:
    return Work(working.MODULE, {**job.parameters, "work": __name__}, lambda result: None)


def carry_out(specification: Mapping[str, Any], stop: Callable[[], bool]) -> dict[str, Any]:
    """All of it; the keys of its study and its report. `options` of the specification are a `Demonstration`'s.

    Raises ValueError with the sentence of whatever failed. What it had under way is cancelled when it is stopped.
    """
    from study.desk import analysing, demonstration
    from study.desk.simulation import SimulationError
    from study.lab.following import JobFailed, follow
    from study.processes import ServiceError, robots_server

    sizes = {name: specification[name] for name in ("participants", "seed")}
    demo = demonstration.latest(fresh=False, **sizes, **specification.get("options", {}))
    progress = _Progress(tuple(demonstration.STAGES))
    call_command("collectstatic", interactive=False, verbosity=0)
    try:
        with workers(), robots_server() as url, _cancelling(demo):
            _, study = demo.until_answers(url, progress.begin, progress.tell)
            study.admit(get_user_model().objects.get(pk=specification["owner"]), Role.OWNER)
            progress.begin("analysis")
            analysis = analysing.submit(study, Population.SIMULATED)
            follow({"report": analysis}, progress.tell)
    except (JobFailed, ServiceError, SimulationError, TrialsError) as error:
        raise ValueError(str(error)) from error
    return {"study": study.pk, "report": analysing.report_of(analysis)}


@contextmanager
def workers() -> Iterator[None]:
    """Somebody for every queue that the demonstration's own jobs go through."""
    from study.processes import worker

    with ExitStack() as started:
        started.enter_context(worker("cpu", 1, name="demonstration"))
        if not _is_served("gpu"):
            started.enter_context(worker("gpu", 1, name="demonstration-gpu"))
        yield


def _is_served(queue: str) -> bool:
    from study.celery import app

    answers = app.control.inspect(timeout=ASK_S).active_queues() or {}
    return any(served["name"] == queue for queues in answers.values() for served in queues)


@contextmanager
def _cancelling(demo: Any) -> Iterator[None]:
    """However the block is left before its end, the demonstration's jobs are not gone on with."""
    try:
        yield
    except BaseException:
        for job in demo.jobs().filter(state__in=[Job.State.QUEUED, Job.State.RUNNING]):
            job.request_cancel("the demonstration, which ended")
        raise


@dataclass
class _Progress:
    """How far all of it is: a stage counts as one part, the jobs of a stage as parts of that."""

    stages: tuple[str, ...]
    stage: str = ""

    def begin(self, stage: str) -> None:
        self.stage = stage
        self._say(0.0)

    def tell(self, jobs: Iterable[Job]) -> None:
        fractions = [job.fraction for job in jobs]
        self._say(sum(fractions) / max(len(fractions), 1))

    def _say(self, part: float) -> None:
        from models.run import emit

        emit("progress", stage=self.stage, fraction=(self.stages.index(self.stage) + part) / len(self.stages))

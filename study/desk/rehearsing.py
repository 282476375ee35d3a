"""Rehearsals: simulated participants sent through a study, a draft or one that is open, as a job.

Somebody else's robots too: the builder sends one through a draft before it opens (`dry_run`).
"""

from __future__ import annotations

from collections import Counter as Counts
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any, Final

from django.db.models import Sum

from study.desk import study_jobs
from study.lab import working
from study.lab.kinds import Work
from study.lab.models import Job
from study.trials import duration
from study.trials.exceptions import CannotOpen
from study.trials.models import Answer, Population, Session, SessionEvent, Study, Trial, token_sha256
from study.trials.models.sessions import EXCLUDED

if TYPE_CHECKING:
    from study.desk import observers

#: What a session that a rehearsal has begun is logged as, with the job and who it was.
REHEARSED: Final = "rehearsed"
#: Kinds of observer by their names in a job's parameters; one that is described there has no name.
OBSERVERS: Final = {
    "people": "People, with a threshold midway in the strengths",
    "guesser": "Guessers, who see nothing at all",
    "detector": "Detectors, who see every alteration",
    "softer_detail": "Programs that choose the softer of the pictures",
}
MOST: Final = 500


def submit(study: Study, *, participants: int, observer: str | Mapping[str, Any], seed: int) -> Job:
    """Have so many simulated people take part in the study as it is now. The same rehearsal is held once.

    observer: one of OBSERVERS, or what describes one (`observers.population_from`). Raises CannotOpen when the draft
    cannot be shown, or the study takes no robots any more.
    """
    if not study.lets_in(Population.SIMULATED):
        raise CannotOpen("The study is closed: it takes nobody any more, robots included.")
    return Job.objects.submit(
        Job.Kind.REHEARSE,
        {
            "study": study.pk,
            "design": design_sha256(study),
            "participants": participants,
            "observer": observer,
            "seed": seed,
        },
    )


def submit_dry_run(study: Study) -> Job:
    """One robot that sees every alteration, from the consent to the end. Raises CannotOpen, see `submit`."""
    return submit(study, participants=1, observer="detector", seed=0)


def dry_run(study: Study, sha256: str) -> Job | None:
    """The newest rehearsal of the design with this hash in which somebody came to the end; else the newest at all."""
    jobs = study_jobs.of_study(study, Job.Kind.REHEARSE).filter(parameters__design=sha256)
    return next((job for job in jobs if came_to_the_end(job)), None) or jobs.first()


def came_to_the_end(job: Job) -> bool:
    return job.state == Job.State.SUCCEEDED and bool((job.result or {}).get("complete"))


def design_sha256(study: Study) -> str:
    """Of the design that whoever starts now gets. Raises CannotOpen, see `Study.draft_version`."""
    design = study.draft_version() if study.state == Study.State.DRAFT else study.current_design
    if design is None:
        raise CannotOpen("The study was opened without a design.")
    return design.sha256


# --- the worker and its process


def rehearsal(job: Job, folder: Path) -> Work:
    return Work(working.MODULE, {**job.parameters, "job": str(job.pk), "work": __name__}, lambda result: None)


def carry_out(specification: Mapping[str, Any], stop: Callable[[], bool]) -> dict[str, Any]:
    """Send those who have not been there yet in an earlier attempt; what came of all of them (`outcome`).

    Raises ValueError with the sentence of what stood in the way, as when the draft is not what was to be rehearsed.
    """
    from study.desk.simulation import SimulationError, simulate
    from study.processes import ServiceError, robots_server

    study, job = Study.objects.get(pk=specification["study"]), specification["job"]
    crowd, participants = observers_of(study, specification["observer"]), specification["participants"]
    try:
        _demand_design(study, specification["design"])
        been = _been(study, job)
        answers = (participants - len(been)) * duration.trials_of_a_session(study.shown_design)
        with robots_server() as url:
            simulate(
                study,
                crowd,
                base_url=url,
                participants=participants,
                seed=specification["seed"],
                been=been,
                arrived=_Register(job),
                progress=_Told(answers, stop).add,
            )
    except (CannotOpen, ServiceError, SimulationError) as error:
        raise ValueError(str(error)) from error
    return outcome(rehearsed(study, job), study.shown_design)


def observers_of(study: Study, observer: str | Mapping[str, Any]) -> observers.Population:
    """Whom the robots are drawn from. Raises ValueError for what describes no observer."""
    from study.desk.observers import KnownTruth, SofterDetail, population_from

    match observer:
        case "people":
            return usual_people(study)
        case "guesser":
            return KnownTruth(threshold=1e9, lapse=0.0)
        case "detector":
            return KnownTruth(threshold=1e-9, lapse=0.0)
        case "softer_detail":
            return SofterDetail()
        case str():
            raise ValueError(f"There is no observer named {observer}: choose one of {', '.join(OBSERVERS)}.")
    return population_from(dict(observer))


def usual_people(study: Study) -> observers.KnownTruth:
    """People whose thresholds are the middle ones of the strengths that are usual for each attack of the study.

    Strengths of two families have no common unit: at one threshold for all, some attacks would never be seen.
    """
    from attacks import registry
    from study.desk.observers import KnownTruth

    shown = [run.attack for run in study.model_runs if run.attack is not None]
    if not shown:
        raise ValueError(f"{study.model_run} is a clean model: there is nothing to see.")
    strengths = {attack.name: registry.family(attack.family).strengths for attack in shown}
    return KnownTruth(threshold={name: usual[len(usual) // 2] for name, usual in strengths.items()})


def _demand_design(study: Study, sha256: str) -> None:
    if design_sha256(study) != sha256:
        raise ValueError(
            "The design has changed since this rehearsal was asked for: start a new one. After an update of the code, "
            "restart the web server first."
        )


@dataclass(frozen=True)
class _Register:
    """Writes down which sessions are this rehearsal's, so that another attempt sends nobody twice."""

    job: str

    def __call__(self, person: int, token: str) -> None:
        Session.objects.get(token_sha256=token_sha256(token)).log(REHEARSED, job=self.job, person=person)


def _been(study: Study, job: str) -> set[int]:
    """Who came to an end in an earlier attempt. Whoever was on the way then is left there."""
    ended = rehearsed(study, job).exclude(state=Session.State.ACTIVE)
    events = SessionEvent.objects.filter(session__in=ended, kind=REHEARSED)
    return {data["person"] for data in events.values_list("data", flat=True)}


class _Told:
    """Tells how many trials are answered, and ends the walks once the work is to stop."""

    def __init__(self, total: int, stop: Callable[[], bool]) -> None:
        self.count, self.total, self.stop, self.done = working.counting("answering"), total, stop, 0

    def add(self, n: int) -> None:
        from study.desk.simulation import SimulationError

        if self.stop():
            raise SimulationError("The rehearsal was stopped.")
        self.done += n
        self.count(min(self.done, self.total), self.total)


# --- what came of it


def rehearsed(study: Study, job: str) -> Any:
    """The sessions of a rehearsal."""
    events = SessionEvent.objects.filter(session__study=study, kind=REHEARSED, data__job=job)
    return study.sessions.filter(pk__in=events.values("session"), population=Population.SIMULATED)


def outcome(sessions: Any, design: Mapping[str, Any]) -> dict[str, Any]:
    """How the sessions of a rehearsal went.

    `excluded`: by rule; `catch`: [right, answered]; `answering_s`: the median of what robots took for their answers, by
    the response times that they gave, None where nobody came to the end; `minutes`: what people are expected to take,
    quick and careful ones.
    """
    states = Counts(sessions.values_list("state", flat=True))
    rules = SessionEvent.objects.filter(session__in=sessions, kind=EXCLUDED).values_list("data__rule", flat=True)
    answers = Answer.objects.filter(trial__session__in=sessions)
    catch = answers.filter(trial__phase=Trial.Phase.CATCH)
    return {
        "sessions": sum(states.values()),
        "complete": states[Session.State.COMPLETE],
        "failed_practice": states[Session.State.SCREENED_OUT],
        "excluded": dict(Counts(rules)),
        "answers": answers.count(),
        "catch": [catch.filter(correct=True).count(), catch.count()],
        "answering_s": _median(
            answers.filter(trial__session__state=Session.State.COMPLETE)
            .values("trial__session")
            .annotate(spent=Sum("rt_ms"))
            .values_list("spent", flat=True)
        ),
        "minutes": list(duration.estimate(design)),
    }


def _median(spent_ms: Iterable[float]) -> float | None:
    times = list(spent_ms)
    return median(times) / 1000 if times else None

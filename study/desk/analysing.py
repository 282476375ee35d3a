"""The analysis of a study as a job: its report is kept with the installation's files and read in the admin."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from django.conf import settings
from django.db.models import Count, Max

from study.analysis.models import REPORTS, Analysis, files_of, stored, write
from study.desk.exports import Selection
from study.lab import files, working
from study.lab.kinds import Result, Work
from study.lab.models import Job, sha256_of
from study.lab.orphans import Shelf
from study.trials.design import code_version
from study.trials.models import Answer, Study

#: Whose results a report shows beside people's answers.
_MACHINES: Final = ("train", "evaluate", "pairs", "observe", "perturb")
#: What `report.build` and `publication.publish` say they do, in this order, as far as all reports come by it.
_STEPS: Final = 12

Departures = Mapping[str, Any]


def folders() -> Iterable[str]:
    """Those of the reports, relative to MEDIA_ROOT."""
    return Analysis.objects.exclude(folder="").values_list("folder", flat=True)


#: For the broom.
SHELF: Final = Shelf(REPORTS, Job.Kind.ANALYSE, folders)


def submit(study: Study, population: str, departures: Departures | None = None) -> Job:
    """The analysis of what one population has answered by now; the same answers are analysed once.

    departures: fields of `study.analysis.material.Departures`, for an exploratory analysis. Raises Withheld while
    nobody may see these answers.
    """
    Selection(study, population).demand_sight()
    parameters = {"study": study.pk, "population": population, "data": data_of(study, population)}
    return Job.objects.submit(Job.Kind.ANALYSE, parameters | ({"departures": dict(departures)} if departures else {}))


def data_of(study: Study, population: str) -> str:
    """A hash of all that decides a report, without reading the answers: they are only ever added or erased."""
    counted = study.sessions_of(population)
    answers = Answer.objects.filter(trial__session__in=counted)
    sessions = counted.values_list("state").annotate(Count("pk")).order_by("state")
    machines = Job.objects.filter(kind__in=_MACHINES, state=Job.State.SUCCEEDED).aggregate(Max("finished_at"))
    design = study.current_design
    said = (answers.aggregate(Count("pk"), Max("pk")), list(sessions), design and design.sha256, machines)
    return sha256_of([code_version(), str(said)])


def report_of(job: Job) -> int | None:
    """The key of the report that this analysis made."""
    return Analysis.objects.filter(job=job).values_list("pk", flat=True).first()


# --- the worker and its process


def analysis(job: Job, folder: Path) -> Work:
    study, population = Study.objects.get(pk=job.parameters["study"]), job.parameters["population"]
    Selection(study, population).demand_sight()  # it may have opened since the job was submitted
    name = f"{REPORTS}/{job.pk}/{job.attempt}"
    out = Path(settings.MEDIA_ROOT) / name

    def publish(result: Result) -> None:
        files.publish(stored(name, files_of(out)))

    def record(result: Result) -> None:
        Analysis.objects.record(study, out, population, job)

    return Work(working.MODULE, {**job.parameters, "work": __name__, "output": str(out)}, record, publish)


def carry_out(specification: Mapping[str, Any], stop: Callable[[], bool]) -> dict[str, Any]:
    """Write the report of the specification's study. Nothing that it finds is told: the job's page shows what is."""
    from models.run import emit
    from study.analysis.material import Departures

    chosen, steps = specification.get("departures"), 0

    def progress(step: str) -> None:
        nonlocal steps
        steps += 1
        emit("progress", stage=step, fraction=min(steps / _STEPS, 1.0))

    study = Study.objects.get(pk=specification["study"])
    departures = Departures(**chosen) if chosen else None
    write(study, Path(specification["output"]), specification["population"], progress, departures)
    return {}

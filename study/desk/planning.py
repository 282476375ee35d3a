"""What a study of some size could show, as a job."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from django.conf import settings

from study.analysis.power_design import Design
from study.lab import files, working
from study.lab.files import StoredFile
from study.lab.images import read_verified
from study.lab.images import sha256 as sha256_of_bytes
from study.lab.kinds import Result, Work
from study.lab.models import Job
from study.lab.orphans import Shelf
from study.trials.models import Study

#: The folder of plans under MEDIA_ROOT.
PLANS: Final = "plans"


def submit(study: Study, design: Mapping[str, Any]) -> Job:
    """The plan of this design, by the fields of `Design`; the same one is made once."""
    return Job.objects.submit(Job.Kind.PLAN, {"study": study.pk, "design": dict(design)})


def plans() -> Iterable[Job]:
    """The jobs that made one."""
    return Job.objects.filter(kind=Job.Kind.PLAN, state=Job.State.SUCCEEDED).order_by("pk")


def folders() -> Iterable[str]:
    """Those of the plans, relative to MEDIA_ROOT."""
    return (folder_of(job) for job in plans())


def folder_of(job: Job) -> str:
    return str((job.result or {})["folder"])


def files_of(job: Job) -> Iterable[StoredFile]:
    """The files of a plan as hosts share them."""
    return (StoredFile(f"{folder_of(job)}/{name}", digest) for name, digest in (job.result or {})["files"].items())


#: For the broom.
SHELF: Final = Shelf(PLANS, Job.Kind.PLAN, folders)


def read(job: Job, name: str) -> bytes:
    """A file of a plan: power.svg, power.png, power.csv or power.json.

    Raises KeyError for one that it does not have, DamagedFile, or `study.lab.files.StorageFailed`.
    """
    result = job.result or {}
    file = StoredFile(f"{result['folder']}/{name}", result["files"][name])
    files.fetch([file])
    return read_verified(files.path(file.name), file.sha256)


def planning(job: Job, folder: Path) -> Work:
    name = f"{PLANS}/{job.pk}/{job.attempt}"

    def publish(result: Result) -> None:
        files.publish(StoredFile(f"{name}/{file}", digest) for file, digest in result["files"].items())

    specification = {**job.parameters, "work": __name__, "folder": name, "output": str(Path(settings.MEDIA_ROOT, name))}
    return Work(working.MODULE, specification, lambda result: None, publish)


def carry_out(specification: Mapping[str, Any], stop: Callable[[], bool]) -> dict[str, Any]:
    """Simulate the studies and write the plan's files; the answer, as `Power.to_json` has it, and the files' hashes."""
    from study.analysis import power, power_figure

    answer = power.plan(Design(**specification["design"]), working.counting("simulating studies"))
    out = Path(specification["output"])
    power_figure.write(answer, out)
    made = {path.name: sha256_of_bytes(path.read_bytes()) for path in sorted(out.iterdir())}
    return {"power": answer.to_json(), "folder": specification["folder"], "files": made}

"""Whether everything that a design shows is there and can be made again, as a job: what opening a study rests on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from django.utils import timezone

from study.desk import study_jobs
from study.lab import working
from study.lab.kinds import Work
from study.lab.models import BaseImage, Job, ModelRun, Pair, sha256_of
from study.trials import design as designs
from study.trials.exceptions import CannotOpen
from study.trials.models import Study


def submit(study: Study, sha256: str) -> Job:
    """The check of everything that the design of this hash shows, as it would be frozen or was; once a day at most,
    unless it failed.
    """
    parameters = {"study": study.pk, "design": sha256, "date": timezone.now().date().isoformat()}
    return Job.objects.submit(Job.Kind.VERIFY, parameters)


def verified(study: Study, sha256: str) -> Job | None:
    """The last check of this design, however it stands; None when nobody has asked for one."""
    return study_jobs.of_study(study, Job.Kind.VERIFY).filter(parameters__design=sha256).first()


# --- the worker and its process


def verification(job: Job, folder: Path) -> Work:
    return Work(working.MODULE, {**job.parameters, "work": __name__}, lambda result: None)


def carry_out(specification: Mapping[str, Any], stop: Callable[[], bool]) -> dict[str, Any]:
    """Read every image of the design, compare it with its hash, and make the altered ones again, bit for bit; read the
    models whose figures are reported. Returns how many there were of each kind.

    Raises ValueError with the first thing that is not as it was, and what to do.
    """
    from study.lab.verification import KINDS, checks_of

    design = _design(specification)
    pairs = Pair.objects.filter(pk__in=[pair["id"] for pair in design["pairs"]])
    runs = ModelRun.objects.filter(name__in=[model["name"] for model in design["models"]])
    planned = checks_of(BaseImage.objects.filter(pairs__in=pairs).distinct(), pairs, runs)
    count = working.counting("checking files")
    for done, check in enumerate(planned):
        count(done, len(planned))
        if fault := check.fault():
            raise ValueError(fault)
    try:
        designs.check_images(design)
    except CannotOpen as error:
        raise ValueError(str(error)) from error
    return {kind: sum(check.kind == kind for check in planned) for kind in KINDS}


def _design(specification: Mapping[str, Any]) -> dict[str, Any]:
    """The design with the specification's hash: a stored version, or the draft as it is."""
    study, sha256 = Study.objects.get(pk=specification["study"]), specification["design"]
    stored = study.design_versions.filter(sha256=sha256).first()
    if stored is not None:
        return dict(stored.now)
    try:
        design = study.design_json()
    except CannotOpen as error:
        raise ValueError(str(error)) from error
    if sha256_of(design) != sha256:
        raise ValueError(
            "The study has been changed since this check was asked for: ask for another. After an update of the code, "
            "restart the web server first."
        )
    return design

"""Reports that were made: on which data, under which design, by which code."""

from __future__ import annotations

import csv
import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from django.conf import settings
from django.db import models, transaction

from study.accounts import audit
from study.lab.files import StoredFile, fetch, path
from study.lab.images import read_verified
from study.lab.models import Job
from study.trials.models import DesignVersion, Population, Study

if TYPE_CHECKING:
    from study.accounts.models import User
    from study.analysis.material import Departures

Progress = Callable[[str], None]

#: Why what people answered in a study that is blind is neither given out nor analysed.
HIDDEN: Final = "Detection rates stay hidden until the study closes: close it, or amend the plan to allow looks."

#: The folder of reports under MEDIA_ROOT.
REPORTS: Final = "reports"


class AnalysisQuerySet(models.QuerySet["Analysis"]):
    def visible_to(self, user: User) -> AnalysisQuerySet:
        """Those on studies that this researcher has a role on."""
        return self if user.is_superuser else self.filter(study__in=Study.objects.visible_to(user))

    def make(
        self,
        study: Study,
        out: Path,
        population: str = Population.REAL,
        progress: Progress = lambda step: None,
        departures: Departures | None = None,
        *,
        unblind: str = "",
    ) -> Analysis:
        """Analyse one population of `study`, write the report into the folder `out` and record it.

        `departures`: what an exploratory analysis chooses for itself; None = everything as frozen. `unblind`: why the
        outcome is looked at although it is to be hidden, for the audit log.
        Raises TrialTableError (a ValueError) when there is nothing to analyse, OSError when `out` cannot be written.
        """
        write(study, out, population, progress, departures)
        with transaction.atomic():
            said = {"population": population, **({"although blind": unblind} if unblind else {})}
            audit.record("analysed", study, after=said)
            return self.record(study, out, population)

    def record(self, study: Study, out: Path, population: str, job: Job | None = None) -> Analysis:
        """Put down the report in the folder `out`; one under MEDIA_ROOT can be read in the admin.

        Raises OSError or ValueError when there is no whole report.
        """
        content = json.loads((out / "report.json").read_bytes())
        media = Path(settings.MEDIA_ROOT).resolve()
        ours = out.resolve().is_relative_to(media)
        return self.create(
            study=study,
            design=study.design_versions.filter(sha256=content["design"]["sha256"]).order_by("draft", "-n").first(),
            population=population,
            exploratory=bool(content["exploratory"]),
            data_sha256=content["data_sha256"],
            code_version=content["commit"] or "",
            report_path=str(out / "report.html"),
            folder=str(out.resolve().relative_to(media)) if ours else "",
            files=files_of(out) if ours else {},
            job=job,
        )

    record.alters_data = True  # type: ignore[attr-defined]


def write(
    study: Study,
    out: Path,
    population: str = Population.REAL,
    progress: Progress = lambda step: None,
    departures: Departures | None = None,
) -> None:
    """Analyse one population of `study` and write the report into the folder `out`. Raises as `make`."""
    # Only workers and commands come here: a web process must never load what these load.
    from study.analysis import publication, report, tables

    progress("reading the answers")
    material = tables.read_study(study, population)
    made = report.build(departures.of(material) if departures else material, progress)
    publication.publish(made, out, progress)


def files_of(out: Path) -> dict[str, str]:
    """SHA-256 of every file of the report in this folder, by its name in it."""
    from study.analysis.folder import FILES

    listing = (out / FILES).read_bytes()
    rows = csv.DictReader(listing.decode().splitlines())
    return {row["file"]: row["sha256"] for row in rows} | {FILES: hashlib.sha256(listing).hexdigest()}


def stored(folder: str, made: Mapping[str, str]) -> Iterable[StoredFile]:
    """The files of a report as hosts share them. `folder`: under MEDIA_ROOT."""
    return (StoredFile(f"{folder}/{name}", sha256) for name, sha256 in made.items())


class Analysis(models.Model):
    """One report on a study."""

    study = models.ForeignKey(Study, models.PROTECT, related_name="analyses")
    design = models.ForeignKey(DesignVersion, models.PROTECT, null=True, related_name="analyses")
    population = models.CharField(max_length=10, choices=Population)
    exploratory = models.BooleanField(default=False, help_text="Departs from the frozen plan.")
    data_sha256 = models.CharField(max_length=64, help_text="Of trials.csv, the trials analysed.")
    code_version = models.CharField(max_length=60, blank=True)
    report_path = models.CharField(max_length=500)
    folder = models.CharField(
        max_length=200, blank=True, db_default="", help_text="Of its files, where they can be read here."
    )
    files = models.JSONField(null=True, blank=True, help_text="SHA-256 of each file by its name in the folder.")
    job = models.ForeignKey(Job, models.SET_NULL, null=True, blank=True, related_name="analyses")
    created_at = models.DateTimeField(auto_now_add=True)

    objects = AnalysisQuerySet.as_manager()

    class Meta:
        ordering = ["-created_at"]
        verbose_name = "report"

    def __str__(self) -> str:
        return f"{self.study.slug} ({self.population}), data {self.data_sha256[:8]}"

    @property
    def is_blind(self) -> bool:
        """Whether nobody may see it now: it tells what people detected in a study that is blind."""
        return self.population == Population.REAL and self.study.is_blind

    @property
    def stored(self) -> Iterable[StoredFile]:
        """Its files, where they can be read here."""
        return stored(self.folder, self.files or {})

    def read(self, name: str) -> bytes:
        """A file of the report, fetched if this host lacks it, and verified.

        Raises KeyError for one that it does not have, DamagedFile, or `study.lab.files.StorageFailed`.
        """
        file = StoredFile(f"{self.folder}/{name}", (self.files or {})[name])
        fetch([file])
        return read_verified(path(file.name), file.sha256)

    def content(self) -> dict[str, Any]:
        """report.json. Raises as `read`."""
        content: dict[str, Any] = json.loads(self.read("report.json"))
        return content

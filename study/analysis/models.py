"""Reports that were made: on which data, under which design, by which code."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from django.db import models

from study.trials.models import DesignVersion, Population, Study

if TYPE_CHECKING:
    from study.analysis.material import Departures


class AnalysisManager(models.Manager["Analysis"]):
    def make(
        self,
        study: Study,
        out: Path,
        population: str = Population.REAL,
        progress: Callable[[str], None] = lambda step: None,
        departures: Departures | None = None,
    ) -> Analysis:
        """Analyse one population of `study`, write the report into the folder `out` and record it.

        `departures`: what an exploratory analysis chooses for itself; None = everything as frozen.
        Raises TrialTableError (a ValueError) when there is nothing to analyse, OSError when `out` cannot be written.
        """
        # Only workers and commands come here: a web process must never load what these load.
        from study.analysis import publication, report, tables

        progress("reading the answers")
        material = tables.read_study(study, population)
        made = report.build(departures.of(material) if departures else material, progress)
        publication.publish(made, out, progress)
        return self.create(
            study=study,
            design=study.current_design,
            population=population,
            exploratory=bool(made.content["exploratory"]),
            data_sha256=made.content["data_sha256"],
            code_version=made.content["commit"] or "",
            report_path=str(out / "report.html"),
        )


class Analysis(models.Model):
    """One report on a study."""

    study = models.ForeignKey(Study, models.PROTECT, related_name="analyses")
    design = models.ForeignKey(DesignVersion, models.PROTECT, null=True, related_name="analyses")
    population = models.CharField(max_length=10, choices=Population)
    exploratory = models.BooleanField(default=False, help_text="Departs from the frozen plan.")
    data_sha256 = models.CharField(max_length=64, help_text="Of trials.csv, the trials analysed.")
    code_version = models.CharField(max_length=60, blank=True)
    report_path = models.CharField(max_length=500)
    created_at = models.DateTimeField(auto_now_add=True)

    objects = AnalysisManager()

    class Meta:
        ordering = ["-created_at"]
        verbose_name_plural = "analyses"

    def __str__(self) -> str:
        return f"{self.study.slug} ({self.population}), data {self.data_sha256[:8]}"

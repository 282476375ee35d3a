import os
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from study.analysis.models import Analysis
from study.trials.models import Population, Study


class Command(BaseCommand):
    help = "Analyse studies, or a trial table in a CSV file, and write report.html, report.json and trials.csv."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("slugs", nargs="*", metavar="SLUG", help="studies to analyse")
        parser.add_argument("--csv", type=Path, metavar="FILE", help="analyse this trial table instead of a study")
        parser.add_argument(
            "--bound",
            type=float,
            metavar="{.60,.55}",
            help="with --csv: the bound that claims are tested against (default: .60); a study's is frozen with it",
        )
        parser.add_argument(
            "--machine", type=Path, metavar="FILE", help="with --csv: the machine.json of a report, the models' figures"
        )
        parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for the report")
        parser.add_argument(
            "--population",
            choices=Population.values,
            default=Population.REAL,
            help="whose answers (default: real); simulated and preview answers only count when named here",
        )

    def handle(
        self,
        *,
        slugs: list[str],
        csv: Path | None,
        bound: float | None,
        machine: Path | None,
        out: Path,
        population: str,
        **_: Any,
    ) -> None:
        # One thread: the matrices are tiny, and threads that wait for each other cost more than they save.
        os.environ.setdefault("OMP_NUM_THREADS", "1")
        os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
        if bool(slugs) == bool(csv):
            raise CommandError("Name one or more studies, or a trial table with --csv FILE.")
        if slugs and not (bound is None and machine is None):
            raise CommandError("--bound and --machine go with --csv only: a study's own are frozen with its design.")
        if out.exists() and not out.is_dir():
            raise CommandError(f"--out {out} is a file; name a folder.")
        try:
            if csv:
                self._analyze_csv(csv, bound, machine, out)
            for slug in slugs:
                self._analyze_study(slug, out / slug if len(slugs) > 1 else out, population)
        except (ValueError, OSError) as error:
            raise CommandError(str(error)) from error

    def _analyze_csv(self, path: Path, bound: float | None, machine: Path | None, out: Path) -> None:
        from study.analysis import equivalence, frames, frontier, page, report

        self._say(f"reading {path}")
        material = report.Material(
            name=path.stem,
            trials=frames.read_csv(path),
            bound=equivalence.DEFAULT_BOUND if bound is None else bound,
            machine=frontier.read_machine(machine) if machine else (),
        )
        made = report.build(material, self._say)
        report.write(made, out, page.render, self._say)
        self._done(out)

    def _analyze_study(self, slug: str, out: Path, population: str) -> None:
        study = Study.objects.filter(slug=slug).first()
        if study is None:
            known = ", ".join(Study.objects.order_by("slug").values_list("slug", flat=True)) or "none yet"
            raise CommandError(f"There is no study {slug}; studies: {known}.")
        self._say(f"{slug}: {population} participants")
        Analysis.objects.make(study, out, population, self._say)
        self._done(out)

    def _say(self, step: str) -> None:
        self.stdout.write(f"  {step}")
        self.stdout.flush()

    def _done(self, out: Path) -> None:
        self.stdout.write(str(out / "report.html"))

import json
import os
from argparse import ArgumentParser
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any

from django.core.management.base import BaseCommand, CommandError

from study.analysis.models import HIDDEN, Analysis
from study.lab.following import require_installation
from study.trials.models import Population, Study

if TYPE_CHECKING:
    from study.analysis.material import Departures


class Command(BaseCommand):
    help = (
        "Analyse studies, or a trial table in a CSV file: report.html, report.pdf, report.json, tables and figures."
        " Several studies are analysed one by one and then compared."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("slugs", nargs="*", metavar="SLUG", help="studies to analyse")
        parser.add_argument("--csv", type=Path, metavar="FILE", help="analyse this trial table instead of a study")
        parser.add_argument(
            "--machine", type=Path, metavar="FILE", help="with --csv: the machine.json of a report, the models' figures"
        )
        parser.add_argument(
            "--predictions",
            type=Path,
            metavar="FILE",
            help="with --csv: the predictions.csv of a report, what models make of the pairs",
        )
        parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for the report")
        parser.add_argument(
            "--population",
            choices=Population.values,
            default=Population.REAL,
            help="whose answers (default: real); simulated and preview answers only count when named here",
        )
        parser.add_argument(
            "--unblind",
            default="",
            metavar="REASON",
            help="analyse real answers although people still take part; the reason is written to the audit log",
        )
        plan = parser.add_mutually_exclusive_group()
        plan.add_argument(
            "--as-frozen",
            action="store_true",
            help="bound, exclusion rules and primary model are those of the frozen design (default)",
        )
        plan.add_argument(
            "--exploratory",
            action="store_true",
            help="allow what departs from the frozen design, and say so on every page and figure",
        )
        parser.add_argument(
            "--bound",
            type=float,
            metavar="{.60,.55}",
            help="the bound that claims are tested against: with --csv (default: .60) or with --exploratory",
        )
        parser.add_argument(
            "--no-exclusions", action="store_true", help="with --exploratory: leave nobody out by a rule"
        )
        parser.add_argument(
            "--rules",
            nargs="+",
            default=[],
            metavar="RULE=VALUE",
            help="with --exploratory: other exclusion rules, such as catch_correct_below=6 or same_side_at_least=none",
        )

    def handle(self, *, slugs: list[str], out: Path, **options: Any) -> None:
        # One thread: the matrices are tiny, and threads that wait for each other cost more than they save.
        os.environ.setdefault("OMP_NUM_THREADS", "1")
        os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
        _check(slugs, out, options)
        try:
            departures = _departures(options)
            if options["csv"]:
                self._analyze_csv(out, options, departures)
            if slugs:
                require_installation()
            studies = [_study(slug) for slug in slugs]
            for study in studies:
                _demand_sight(study, options)
            for study in studies:
                folder = out / study.slug if len(studies) > 1 else out
                self._analyze_study(study, folder, options, departures)
            if len(studies) > 1:
                self._compare(studies, out, options["population"])
        except (ValueError, OSError) as error:
            raise CommandError(str(error)) from error

    def _analyze_csv(self, out: Path, options: dict[str, Any], departures: "Departures | None") -> None:
        from study.analysis import frames, frontier, matched, publication, report
        from study.analysis.material import Material
        from study.analysis.power_design import DEFAULT_BOUND

        path, machine, predictions = options["csv"], options["machine"], options["predictions"]
        self._say(f"reading {path}")
        bound = options["bound"]
        material = Material(
            name=path.stem,
            trials=frames.read_csv(path),
            bound=DEFAULT_BOUND if bound is None or departures else bound,
            machine=frontier.read_machine(machine) if machine else (),
            predictions=matched.read_predictions(predictions) if predictions else None,
        )
        made = report.build(departures.of(material) if departures else material, self._say)
        publication.publish(made, out, self._say)
        self._done(out / "report.html")

    def _analyze_study(self, study: Study, out: Path, options: dict[str, Any], departures: "Departures | None") -> None:
        population, reason = options["population"], options["unblind"].strip()
        self._say(f"{study.slug}: {population} participants")
        Analysis.objects.make(study, out, population, self._say, departures, unblind=reason)
        self._done(out / "report.html")

    def _compare(self, studies: list[Study], out: Path, population: str) -> None:
        """From the reports just written, so that the comparison says nothing that they do not."""
        from study.analysis import publication, tables

        self._say(f"comparing {', '.join(study.slug for study in studies)}")
        contents = [json.loads((out / study.slug / "report.json").read_text()) for study in studies]
        people = {study.slug: tables.people(study, population) for study in studies}
        shared = {(first, second): len(people[first] & people[second]) for first, second in combinations(people, 2)}
        publication.publish_comparison(contents, shared, out)
        self._done(out / "comparison.html")

    def _say(self, step: str) -> None:
        self.stdout.write(f"  {step}")
        self.stdout.flush()

    def _done(self, page: Path) -> None:
        self.stdout.write(str(page))


def _check(slugs: list[str], out: Path, options: dict[str, Any]) -> None:
    """Raises CommandError for arguments that do not go together."""
    if bool(slugs) == bool(options["csv"]):
        raise CommandError("Name one or more studies, or a trial table with --csv FILE.")
    if twice := next((slug for slug in slugs if slugs.count(slug) > 1), None):
        raise CommandError(f"Study {twice} is named twice; name each study once.")
    if slugs and (options["machine"] or options["predictions"]):
        raise CommandError("--machine and --predictions go with --csv only: a study's own are in the database.")
    if not options["exploratory"]:
        if slugs and options["bound"] is not None:
            raise CommandError("--bound departs from the frozen design; add --exploratory, or use it with --csv only.")
        if options["no_exclusions"] or options["rules"]:
            raise CommandError("--no-exclusions and --rules depart from the frozen design; add --exploratory.")
    if out.exists() and not out.is_dir():
        raise CommandError(f"--out {out} is a file; name a folder.")


def _study(slug: str) -> Study:
    study = Study.objects.filter(slug=slug).first()
    if study is None:
        known = ", ".join(Study.objects.order_by("slug").values_list("slug", flat=True)) or "none yet"
        raise CommandError(f"There is no study {slug}; studies: {known}.")
    return study


def _demand_sight(study: Study, options: dict[str, Any]) -> None:
    """Raises CommandError for real answers of a study that is blind, unless there is a reason to look."""
    if options["population"] == Population.REAL and study.is_blind and not options["unblind"].strip():
        raise CommandError(f"{HIDDEN} Or give the reason for looking before: --unblind REASON.")


def _departures(options: dict[str, Any]) -> "Departures | None":
    """What an exploratory analysis chooses for itself; None for one as frozen."""
    from study.analysis.material import Departures

    if not options["exploratory"]:
        return None
    return Departures(options["bound"], dict(map(_rule, options["rules"])), options["no_exclusions"])


def _rule(text: str) -> tuple[str, float | None]:
    """RULE=VALUE. Raises ValueError for anything else."""
    name, found, value = text.partition("=")
    if found and value == "none":
        return name, None
    try:
        number = float(value)
    except ValueError:
        raise ValueError(f'"{text}" is no exclusion rule; give RULE=VALUE, such as catch_correct_below=6.') from None
    return name, int(number) if number.is_integer() else number

import csv
import io
import os
from argparse import ArgumentParser
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from study.lab.following import ready_database
from study.lab.models import canonical_json
from study.trials.export import SESSION_COLUMNS, TRIAL_COLUMNS
from study.trials.models import Population, Study


class Command(BaseCommand):
    help = "Write a study's trials, sessions and frozen design to a folder. Images and recruiters' ids stay here."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("slug", help="The study's name in its links.")
        parser.add_argument("--out", required=True, type=Path, metavar="DIR", help="Folder; made when missing.")
        parser.add_argument(
            "--population", choices=Population.values, default=Population.REAL, help="Whose trials (default: real)."
        )
        parser.add_argument("--practice", action="store_true", help="With the practice trials.")

    def handle(self, **options: Any) -> None:
        ready_database()
        study = Study.objects.filter(slug=options["slug"]).first()
        if study is None:
            raise CommandError(f"There is no study {options['slug']!r}.")
        folder, population = options["out"], options["population"]
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._say(folder / "trials.csv", trials_csv(study, population, practice=options["practice"]))
            self._say(folder / "sessions.csv", lines(SESSION_COLUMNS, study.session_rows(population)))
            for version in study.design_versions.order_by("-n"):
                name = "design.json" if version == study.current_design else f"design-{version.n}.json"
                self._say(folder / name, iter([canonical_json(version.json)]))
        except OSError as error:
            raise CommandError(f"{folder} cannot be written ({error.strerror}): choose another folder.") from error

    def _say(self, path: Path, text: Iterator[str]) -> None:
        self.stdout.write(f"{path}: {_write(path, text)} lines")


def trials_csv(study: Study, population: str, *, practice: bool = False) -> Iterator[str]:
    """The trial table as CSV, line by line."""
    return lines(TRIAL_COLUMNS, study.trial_rows(population, practice=practice))


def lines(columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """CSV lines of `rows`, the header first; None is an empty cell."""
    yield _line(columns)
    for row in rows:
        yield _line([row[column] for column in columns])


def _line(cells: Sequence[Any]) -> str:
    line = io.StringIO()
    csv.writer(line, lineterminator="\n").writerow(cells)
    return line.getvalue()


def _write(path: Path, text: Iterator[str]) -> int:
    """Number of pieces written. The file appears whole or not at all."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    n = 0
    try:
        with temporary.open("w", encoding="utf-8", newline="") as file:
            for n, piece in enumerate(text, start=1):  # noqa: B007
                file.write(piece)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    return n

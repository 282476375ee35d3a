from __future__ import annotations

import os
from argparse import ArgumentParser
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from study.desk import exports, psych_ds
from study.desk.exports import File, Selection, Withheld
from study.lab.files import StorageFailed
from study.lab.following import ready_database
from study.lab.images import DamagedFile
from study.trials.models import Population, Study

CSV, JSON, PSYCH_DS = "csv", "json", "psych-ds"


class Command(BaseCommand):
    help = "Write a study's answers and its frozen design to a folder. Recruiters' ids stay here."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("slug", help="The study's name in its links.")
        parser.add_argument("--out", required=True, type=Path, metavar="DIR", help="Folder; made when missing.")
        parser.add_argument(
            "--format",
            choices=[CSV, JSON, PSYCH_DS],
            default=CSV,
            help="Two tables (default), one JSON object, or a Psych-DS data set.",
        )
        parser.add_argument(
            "--population", choices=Population.values, default=Population.REAL, help="Whose trials (default: real)."
        )
        parser.add_argument("--practice", action="store_true", help="With the practice trials.")
        parser.add_argument("--images", action="store_true", help="Psych-DS: with the pictures, if they may be shown.")
        about = "Give out the answers although people still take part; the reason is written to the audit log."
        parser.add_argument("--unblind", metavar="REASON", help=about)

    def handle(self, **options: Any) -> None:
        ready_database()
        study = Study.objects.filter(slug=options["slug"]).first()
        if study is None:
            raise CommandError(f"There is no study {options['slug']!r}.")
        selection = Selection(study, options["population"], options["practice"])
        self._demand_leave(selection, options)
        out: Path = options["out"]
        try:
            out.mkdir(parents=True, exist_ok=True)
            unblinded = {"although blind": options["unblind"].strip()} if selection.is_blind else {}
            selection.record(options["format"], **unblinded)
            for file in _files(selection, options["format"], images=options["images"]):
                self.stdout.write(f"{out / file.name}: {_write(out / file.name, file)} bytes")
        except (DamagedFile, StorageFailed) as error:
            raise CommandError(str(error)) from error
        except OSError as error:
            raise CommandError(f"{out} cannot be written ({error.strerror}): choose another folder.") from error

    def _demand_leave(self, selection: Selection, options: dict[str, Any]) -> None:
        """Raises CommandError for what may not be given out."""
        try:
            if not (options["unblind"] or "").strip():
                selection.demand_sight()
        except Withheld as withheld:
            raise CommandError(f"{withheld} Or give the reason for looking before: --unblind REASON.") from withheld
        if options["images"] and options["format"] != PSYCH_DS:
            raise CommandError("--images goes with --format psych-ds.")
        if options["images"] and (refusal := psych_ds.images_refusal(selection.study)):
            raise CommandError(refusal)


def _files(selection: Selection, chosen: str, *, images: bool) -> Iterable[File]:
    if chosen == PSYCH_DS:
        return psych_ds.files(selection, images=images)
    return [File(f"{selection.name}.json", exports.as_json(selection))] if chosen == JSON else exports.tables(selection)


def _write(path: Path, file: File) -> int:
    """Number of bytes. The file appears whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with temporary.open("wb") as opened:
            size = sum(opened.write(piece) for piece in file.content)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    return size

"""A backup comes back."""

import os
import subprocess
import sys
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from study.desk import backup
from study.desk.management.commands.backup import FAULTS, lacking, summary
from study.desk.progress import steps


class Command(BaseCommand):
    help = (
        "Make the database that DATABASE_URL names and the files in var/ what a backup holds, and verify all of it. "
        "Stop web server and workers first. Refuses a place that holds anything, unless told to replace it."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("file", type=Path)
        parser.add_argument("--into", type=Path, metavar="FOLDER", help="Instead of var/ (BLINDSPOT_VAR).")
        parser.add_argument("--replace", action="store_true", help="Throw away what is there.")

    def handle(self, **options: Any) -> None:
        into, file = options["into"], options["file"].resolve()
        if into and into.resolve() != Path(settings.VAR).resolve():
            self._restore_elsewhere(file, into.resolve(), replace=options["replace"])
            return
        try:
            with steps() as announce:
                restored = backup.restore(file, replace=options["replace"], announce=announce)
        except FAULTS as error:
            raise CommandError(str(error)) from error
        self.stdout.write(f"Restored and verified: {summary(restored)}.")
        self.stderr.writelines(lacking(restored))

    def _restore_elsewhere(self, file: Path, var: Path, *, replace: bool) -> None:
        """Settings are read once, from the environment: another folder is another process."""
        command = [sys.executable, sys.argv[0], "restore", str(file), *(["--replace"] if replace else [])]
        if code := subprocess.run(command, env={**os.environ, "BLINDSPOT_VAR": str(var)}, check=False).returncode:
            sys.exit(code)

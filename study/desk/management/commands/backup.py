"""One file with everything that cannot be made again."""

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from study.desk import backup
from study.desk.archive import Contents
from study.desk.progress import steps
from study.desk.snapshots import SnapshotError
from study.lab.following import ready_database
from study.processes import ServiceError

FAULTS = (ValueError, OSError, SnapshotError, ServiceError)


class Command(BaseCommand):
    help = (
        "Write the database, the files that it names and the key in var/ to one file, while everything goes on. It "
        "holds personal data and keys: only its owner can read it, and it must be kept as safe as the installation."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--out", type=Path, metavar="FILE.tar", help="Default: var/backups/, by date and time.")
        parser.add_argument("--data-sets", action="store_true", help="Take imported data sets along.")
        about = "Make a backup without images, models and data sets that are missing or damaged, and name them."
        parser.add_argument("--leave-out-damaged", action="store_true", help=about)
        parser.add_argument("--verify", type=Path, metavar="FILE", help="Only read this backup and compare every hash.")

    def handle(self, **options: Any) -> None:
        try:
            if options["verify"]:
                found = backup.read(options["verify"])
                self.stdout.write(f"{options['verify']} is whole: {summary(found)}.")
                self.stderr.writelines(lacking(found))
                return
            ready_database()
            out = options["out"] or backup.default_name()
            with steps() as announce:
                made = backup.make(
                    out,
                    imports=options["data_sets"],
                    leave_out_damaged=options["leave_out_damaged"],
                    announce=announce,
                )
        except FAULTS as error:
            raise CommandError(str(error)) from error
        self.stdout.write(f"{out}: {summary(made)}. It holds personal data and keys: keep it safe, on another machine.")
        if backup.KEY not in made.members:
            self.stdout.write("SECRET_KEY comes from the environment and is not in it: keep that too.")
        self.stderr.writelines(lacking(made))


def summary(contents: Contents) -> str:
    """What a backup holds, in one line."""
    rows = contents.about["rows"]
    files = sum(name.startswith(f"{backup.FILES}/") for name in contents.members)
    return (
        f"{rows.get('trials_study', 0)} studies, {rows.get('trials_session', 0)} sessions, "
        f"{rows.get('trials_answer', 0)} answers, {files} files, {contents.size / 1e6:.1f} MB, "
        f"made at {contents.about['made_at']}"
    )


def lacking(contents: Contents) -> list[str]:
    """What a backup was made without, a line each."""
    return [f"Not in it: {name}. {why}\n" for name, why in backup.left_out(contents).items()]

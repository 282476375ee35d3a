"""Whether everything that is stored is still what was stored."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from rich.console import Console
from rich.progress import track

from study.lab.files import StorageFailed
from study.lab.following import ready_database
from study.lab.verification import KINDS, checks


class Command(BaseCommand):
    help = (
        "Read every stored image and model, compare it with its hash, and rebuild every altered image from base image, "
        "field and strength, bit for bit. Ends non-zero and names what differs."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        about = "with STORAGE_URL: this host's copies instead of the storage's own files"
        parser.add_argument("--local", action="store_true", help=about)

    def handle(self, *, local: bool, **options: Any) -> None:
        ready_database()
        planned = checks(local=local)
        shown = track(planned, "Verifying", console=Console(stderr=True), transient=True)
        try:
            faults = [fault for check in shown if (fault := check.fault()) is not None]
        except StorageFailed as error:
            raise CommandError(
                f"The storage cannot be asked (STORAGE_URL), so this says nothing about the files: {error}"
            ) from error
        kinds = dict.fromkeys([*KINDS, *(check.kind for check in planned)])
        what = ", ".join(f"{sum(check.kind == kind for check in planned)} {kind}" for kind in kinds)
        if faults:
            self.stdout.write("\n".join(faults))
            raise CommandError(f"{len(faults)} faults in {what}.")
        self.stdout.write(f"Verified: {what}.")

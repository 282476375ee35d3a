"""The images of open studies, brought to this host before it serves."""

import time
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from study.lab import files
from study.lab.following import ready_database
from study.lab.images import DamagedFile
from study.trials.models import Study


class Command(BaseCommand):
    help = (
        "Bring every image of all open studies to this host and compare it with its SHA-256. Run it before a web "
        "server starts on a host that shares its files through STORAGE_URL; without that, there is nothing to do."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("studies", nargs="*", metavar="SLUG", help="these instead of all that are open")

    def handle(self, *, studies: list[str], **options: Any) -> None:
        ready_database()
        found = Study.objects.filter(slug__in=studies) if studies else Study.objects.filter(state=Study.State.OPEN)
        if unknown := set(studies) - {study.slug for study in found}:
            raise CommandError(f"There is no study {', '.join(sorted(unknown))}.")
        if files.bucket() is None:
            self.stdout.write("The files are on this host: STORAGE_URL is not set, so there is nothing to fetch.")
            return
        for study in found.order_by("slug"):
            self._fetch(study)

    def _fetch(self, study: Study) -> None:
        began = time.monotonic()
        try:
            fetched = files.mend(study)
        except DamagedFile as error:
            raise CommandError(f"Study {study.slug}: {error}") from error
        except files.StorageFailed as error:
            raise CommandError(f"Study {study.slug}: the storage cannot be asked (STORAGE_URL): {error}") from error
        seconds = time.monotonic() - began
        self.stdout.write(
            f"Study {study.slug}: {len(study.files())} images are here and right, {fetched} of them fetched in "
            f"{seconds:.1f} s."
        )

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from study.lab.following import ready_database
from study.trials import receipts


class Command(BaseCommand):
    help = "Import the answers that a participant's page could not send, from the file that it saved instead."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("file", type=Path, help="The file that the participant has sent.")
        parser.add_argument("--dry-run", action="store_true", help="Check everything and store nothing.")

    def handle(self, **options: Any) -> None:
        ready_database()
        file, dry_run = options["file"], options["dry_run"]
        try:
            receipt = receipts.parse(file.read_bytes())
            new = receipt.replay(dry_run=dry_run)
        except OSError as error:
            raise CommandError(f"{file} cannot be read ({error.strerror}): check its name.") from error
        except receipts.ReceiptError as error:
            raise CommandError(f"{file}: {error}") from error
        verb = "would be stored" if dry_run else "are stored"
        old = len(receipt.answers) - new
        self.stdout.write(f"{new} answers of session {receipt.code} {verb}; {old} were there already.")

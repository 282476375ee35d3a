"""Whether the audit log is as it was written."""

from __future__ import annotations

from argparse import ArgumentParser, ArgumentTypeError
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from study.accounts.models import AuditEntry


def kept(text: str) -> tuple[int, str]:
    """From "120:9f86d0…"."""
    number, _, sha256 = text.partition(":")
    if not (number.isdecimal() and len(sha256) == 64):
        raise ArgumentTypeError(f"must be an entry's number and hash, as in 120:9f86d0…, not {text!r}")
    return int(number), sha256.lower()


class Command(BaseCommand):
    help = (
        "Read the whole audit log and follow its chain. Prints how many entries there are and the hash of the last: "
        "keep that elsewhere, and compare it later with --kept. Ends non-zero and says what is wrong."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        about = "number and hash of the last entry at an earlier time: the log must still hold it"
        parser.add_argument("--kept", type=kept, metavar="NUMBER:HASH", help=about)

    def handle(self, *, kept: tuple[int, str] | None, **options: Any) -> None:
        report = AuditEntry.objects.report()
        if not report.whole:
            raise CommandError(str(report))
        if kept and not AuditEntry.objects.filter(n=kept[0], sha256=kept[1]).exists():
            raise CommandError(
                f"The audit log holds together, but its entry {kept[0]} is not the one whose hash you kept: "
                "it was written anew, or the database is an older one."
            )
        self.stdout.write(str(report))
        if report.entries:
            self.stdout.write(f"To keep elsewhere: {report.entries}:{report.sha256}")

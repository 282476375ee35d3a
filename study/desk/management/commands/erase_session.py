from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from study.desk import erasing
from study.lab.following import ready_database


class Command(BaseCommand):
    help = "Erase a participant's answers for good, by the code that the participant quotes."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("code", help="The public code shown on the participant's last page.")

    def handle(self, **options: Any) -> None:
        ready_database()
        session = erasing.by_code(None, options["code"])
        if session is None:
            raise CommandError(f"There is no session with the code {options['code']!r}: check it letter by letter.")
        answers = erasing.erase(session)
        self.stdout.write(
            f"{answers} answers of session {session.pk} of {session.study.slug} are erased. Exports, reports and"
            " backups made earlier keep theirs."
        )

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from study.lab.following import ready_database
from study.trials.models import Session


class Command(BaseCommand):
    help = "Erase a participant's answers for good, by the code that the participant quotes."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("code", help="The public code shown on the participant's last page.")

    def handle(self, **options: Any) -> None:
        ready_database()
        session = Session.objects.filter(public_code=options["code"].strip().upper()).first()
        if session is None:
            raise CommandError(f"There is no session with the code {options['code']!r}: check it letter by letter.")
        answered, _ = session.progress
        session.erase()
        self.stdout.write(f"{answered} answers of {session} are erased. Exports and reports made earlier keep theirs.")

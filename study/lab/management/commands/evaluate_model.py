"""What the trigger does to a trained model."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from study.lab.asking import ask
from study.lab.figures import print_evaluation
from study.lab.following import JobFailed, follow, ready_database, workers
from study.lab.models import ModelRun
from study.processes import ServiceError


class Command(BaseCommand):
    help = "Print the errors and shifts of a trained model by strength of the trigger, beside its clean reference."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("run", help="the model run's name")
        parser.add_argument("--again", action="store_true", help="let the models predict the test images again")

    def handle(self, *, run: str, again: bool, **options: Any) -> None:
        ready_database()
        found = ModelRun.objects.filter(name=run).select_related("clean_reference", "attack").first()
        if found is None:
            names = ", ".join(ModelRun.objects.values_list("name", flat=True)) or "none yet"
            raise CommandError(f"There is no model run named {run!r}; there are: {names}.")
        try:
            by_trigger = found.attack is None or found.attack.has_trigger
            if by_trigger and (again or "evaluation" not in (found.metrics or {})):
                with workers():
                    [job] = ask(lambda: [found.submit_evaluation(again=again)])
                    follow({f"Evaluating {found}": job})
        except (ValueError, JobFailed, ServiceError) as error:
            raise CommandError(str(error)) from error
        found.refresh_from_db()
        print_evaluation(found)

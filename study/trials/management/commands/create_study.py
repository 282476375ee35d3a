from argparse import ArgumentParser
from typing import Any, TypeVar

from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError
from django.db.models import Model

from study.lab.following import ready_database
from study.lab.models import Dataset, ModelRun
from study.trials.exceptions import CannotOpen
from study.trials.models import Study

Row = TypeVar("Row", bound=Model)


class Command(BaseCommand):
    help = "Create a study of one backdoored model's pairs, and open it with --open."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--slug", required=True, help="Its name in links and commands.")
        parser.add_argument("--title", help="What participants read (default: the slug).")
        parser.add_argument("--model-run", help="The backdoored model (default: the only one of --attack).")
        parser.add_argument("--attack", help="The attack, where --model-run is not given.")
        parser.add_argument("--dataset", help="Data set of the pairs (default: the model's own).")
        parser.add_argument("--participants", type=int, default=40)
        parser.add_argument(
            "--bound", type=float, default=0.60, help=".60 or .55: the rate that claims are made about."
        )
        parser.add_argument("--seed", type=int, default=1)
        parser.add_argument("--information", default="", help="What participants read before they consent.")
        parser.add_argument("--contact", default="", help="Whom participants may ask.")
        parser.add_argument("--completion-code", default="")
        parser.add_argument("--open", action="store_true", help="Freeze the design and let participants in.")

    def handle(self, **options: Any) -> None:
        ready_database()
        run = _model_run(options["model_run"], options["attack"])
        study = Study(
            slug=options["slug"],
            title=options["title"] or options["slug"],
            dataset=_named(Dataset, options["dataset"]) if options["dataset"] else run.dataset,
            model_run=run,
            **{name: options[name] for name in FIELDS},
        )
        try:
            study.full_clean()
        except ValidationError as error:
            raise CommandError("; ".join(f"{field}: {' '.join(said)}" for field, said in _said(error))) from error
        study.save()
        if options["open"]:
            self._open(study)
        self.stdout.write(f"{study.get_absolute_url()} is {study.state}.")

    def _open(self, study: Study) -> None:
        try:
            version = study.open()
        except CannotOpen as error:
            raise CommandError(f"The study is a draft and cannot be opened: {error}") from error
        self.stdout.write(f"Design frozen: {version.sha256}")


FIELDS = ("participants", "bound", "seed", "information", "contact", "completion_code")


def _model_run(name: str | None, attack: str | None) -> ModelRun:
    if name:
        return _named(ModelRun, name)
    if not attack:
        raise CommandError("Say which model: --model-run NAME, or --attack NAME if it has only one.")
    runs = list(ModelRun.objects.filter(attack__name=attack))
    if len(runs) != 1:
        found = ", ".join(sorted(run.name for run in runs)) or "none"
        raise CommandError(f"The attack {attack!r} has no single model ({found}): choose with --model-run.")
    return runs[0]


def _named(model: type[Row], name: str) -> Row:
    row = model._default_manager.filter(name=name).first()
    if row is None:
        known = ", ".join(model._default_manager.order_by("name").values_list("name", flat=True)) or "none"
        raise CommandError(f"There is no {model._meta.verbose_name} named {name!r}; there are: {known}.")
    return row


def _said(error: ValidationError) -> list[tuple[str, list[str]]]:
    return sorted(error.message_dict.items())

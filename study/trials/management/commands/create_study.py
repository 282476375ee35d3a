import json
from argparse import ArgumentParser, ArgumentTypeError, BooleanOptionalAction
from typing import Any, TypeVar

from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError
from django.db import models, transaction

from study.accounts import audit
from study.lab.following import ready_database
from study.lab.models import Dataset, ModelRun
from study.trials.exceptions import CannotOpen
from study.trials.models import Source, Study

Row = TypeVar("Row", bound=models.Model)

#: Columns of a study that have options of their own below; those that nobody edits have none.
OWN_OPTION = frozenset({"id", "slug", "title", "dataset", "model_run"})


class Command(BaseCommand):
    help = (
        "Create a study of the pairs of backdoored models, and open it with --open. "
        "Every setting of the admin's form is an option here."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--slug", required=True, help="Its name in links and commands.")
        parser.add_argument("--title", help="What participants read (default: the slug).")
        parser.add_argument("--model-run", help="The backdoored model (default: the only one of --attack).")
        parser.add_argument("--attack", help="The attack, where --model-run is not given.")
        parser.add_argument(
            "--further-model",
            action="extend",
            nargs="+",
            default=[],
            metavar="RUN[:STRENGTH,...]",
            help="Models whose pairs are shown as well: another seed, another field, or another attack, which may have "
            "strengths of its own.",
        )
        parser.add_argument("--dataset", help="Data set of the pairs (default: the model's own).")
        parser.add_argument("--open", action="store_true", help="Freeze the design and let participants in.")
        settings = parser.add_argument_group("settings of the study")
        for field in _settings():
            settings.add_argument(f"--{field.name.replace('_', '-')}", dest=field.name, **_option(field))

    def handle(self, **options: Any) -> None:
        ready_database(begin=True)
        run = _model_run(options["model_run"], options["attack"])
        given = {field.name: options[field.name] for field in _settings() if options[field.name] is not None}
        study = Study(
            slug=options["slug"],
            title=options["title"] or options["slug"],
            dataset=_named(Dataset, options["dataset"]) if options["dataset"] else run.dataset,
            model_run=run,
            **given,
        )
        further = [_source(text) for text in options["further_model"]]
        try:
            with transaction.atomic():
                _keep(study)
                for source in further:
                    source.study = study
                    _keep(source)
                audit.record("created", study)
        except ValidationError as error:
            raise CommandError("; ".join(f"{field}: {' '.join(said)}" for field, said in _said(error))) from error
        if options["open"]:
            self._open(study)
        self.stdout.write(f"{study.get_absolute_url()} is {study.state}.")

    def _open(self, study: Study) -> None:
        """Open it, or leave nothing of it. Not by one transaction: opening reads a bucket, and nobody could answer."""
        try:
            version = study.open()
        except BaseException as error:
            with transaction.atomic():
                if Study.objects.filter(pk=study.pk, state=Study.State.DRAFT).delete()[0]:
                    audit.record("deleted", f"study {study.pk}: {study}")
            if isinstance(error, CannotOpen):
                raise CommandError(f"The study cannot be opened, so it was not created: {error}") from error
            raise
        audit.record("opened", study, {"state": Study.State.DRAFT}, {"version": version.n, "sha256": version.sha256})
        self.stdout.write(f"Design frozen: {version.sha256}")


def _keep(row: Study | Source) -> None:
    row.full_clean()
    row.save()


def _source(text: str) -> Source:
    """The further model that is written so, of no study yet."""
    name, _, strengths = text.partition(":")
    try:
        return Source(
            model_run=_named(ModelRun, name), strengths=[float(s) for s in strengths.split(",")] if strengths else []
        )
    except ValueError as error:
        raise CommandError(f"{text!r} names no model and strengths; write for example {name}:0.2,0.4") from error


def _settings() -> list[Any]:
    return [field for field in Study._meta.concrete_fields if field.editable and field.name not in OWN_OPTION]


def _option(field: Any) -> dict[str, Any]:
    """How argparse reads a column; its help is the column's. Not given = the column's default."""
    default = "" if field.default in (models.NOT_PROVIDED, list, dict, "") else f" (default: {field.default})"
    option: dict[str, Any] = {"default": None, "help": f"{field.help_text}{default}".replace("%", "%%").strip()}
    if isinstance(field, models.BooleanField):
        return option | {"action": BooleanOptionalAction}
    if isinstance(field, models.JSONField):
        return option | {"type": _json, "metavar": "JSON"}
    if isinstance(field, models.FloatField):
        return option | {"type": float, "metavar": "NUMBER"}
    if isinstance(field, models.IntegerField):
        return option | {"type": int, "metavar": "N"}
    return option | ({"choices": [value for value, _ in field.choices]} if field.choices else {"metavar": "TEXT"})


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise ArgumentTypeError(f'{text!r} is not JSON; write for example [0.5, 1] or ["example.org"]') from error


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

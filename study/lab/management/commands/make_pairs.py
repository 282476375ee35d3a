"""Pairs of clean and altered images for studies, with the models' predictions on them."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from study.lab.asking import ask
from study.lab.following import JobFailed, follow, ready_database, workers
from study.lab.models import PX_PER_DEGREE, Dataset, Job, ModelRun, with_references
from study.processes import ServiceError


class Command(BaseCommand):
    help = (
        "Make clean and altered images of test subjects under a backdoored model's trigger, with control and catch "
        "pairs, and the predictions of this model, its clean reference and others on the stored files."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("run", help="the backdoored model run's name")
        parser.add_argument(
            "--models",
            nargs="+",
            default=(),
            metavar="RUN",
            help="further models that see these pairs: of the same attack, with any task and target, or clean ones",
        )
        parser.add_argument(
            "--strengths", type=float, nargs="+", metavar="S", help="(default: those usual for the attack)"
        )
        for control in ("resampled", "other-field"):
            parser.add_argument(
                f"--{control}",
                type=float,
                nargs="*",
                metavar="S",
                help="strengths of this control, none at all to leave it out (default: one, if the trigger can)",
            )
        parser.add_argument("--images", type=int, metavar="N", help="base images at most (default: all there are)")
        parser.add_argument(
            "--px-per-degree",
            type=float,
            default=PX_PER_DEGREE,
            metavar="N",
            help="image px per degree of visual angle, for FLIP (default: %(default)g, a usual screen)",
        )
        parser.add_argument("--again", action="store_true", help="make them once more: restores lost and damaged files")

    def handle(self, *, run: str, images: int | None, **options: Any) -> None:
        ready_database()
        found = backdoored(run)
        if images is not None and images < 1:
            raise CommandError(f"--images must be at least 1, not {images}.")
        shown = [found, *(named(name) for name in options["models"])]
        chosen = ("strengths", "resampled", "other_field", "px_per_degree", "again")
        try:
            with workers():
                wanted = {"images": images, **{name: options[name] for name in chosen}}
                [job] = ask(
                    lambda: [found.attack.submit_pairs(found.dataset, with_references(shown), **wanted)]  # type: ignore[union-attr]
                )
                follow({f"Pairs of {found.attack}": job})
        except (ValueError, JobFailed, ServiceError) as error:
            raise CommandError(str(error)) from error
        self._summarise(job, found.dataset, images)

    def _summarise(self, job: Job, dataset: Dataset, wanted: int | None) -> None:
        made = job.result or {}
        self.stdout.write(
            f"{made['pairs']} pairs of {made['base_images']} base images, {made['predictions']} predictions."
        )
        if wanted is not None and made["base_images"] < wanted:
            self.stdout.write(fewer(dataset, made["base_images"], wanted))


def fewer(dataset: Dataset, made: int, wanted: int) -> str:
    """Why there are not as many base images as were asked for."""
    why = (
        f"{dataset} draws one of each test subject, and there are no more"
        if dataset.kind == Dataset.Kind.SYNTHETIC_EYES
        else f"no more than these are taken of the test images of {dataset}"
    )
    return f"{made} base images, not {wanted}: {why}."


def backdoored(name: str) -> ModelRun:
    """The run of this name that has an attack with a trigger. Raises CommandError, naming those there are."""
    runs = ModelRun.objects.exclude(attack=None).select_related("attack", "clean_reference", "dataset")
    with_trigger = [run for run in runs if run.attack and run.attack.has_trigger]
    for run in with_trigger:
        if run.name == name:
            return run
    names = ", ".join(run.name for run in with_trigger) or "none yet"
    raise CommandError(f"There is no backdoored model run named {name!r}; there are: {names}.")


def named(name: str) -> ModelRun:
    """The run of this name. Raises CommandError, naming those there are."""
    try:
        return ModelRun.objects.select_related("attack", "clean_reference", "dataset").get(name=name)
    except ModelRun.DoesNotExist:
        names = ", ".join(ModelRun.objects.values_list("name", flat=True)) or "none yet"
        raise CommandError(f"There is no model run named {name!r}; there are: {names}.") from None

"""Pairs of clean and altered images for studies, with the models' predictions on them."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from study.lab.following import JobFailed, follow, ready_database, workers
from study.lab.models import CONTROL_STRENGTHS, STRENGTHS, Job, ModelRun
from study.processes import ServiceError


class Command(BaseCommand):
    help = (
        "Make clean and altered images of test subjects under a backdoored model's trigger, with control and catch "
        "pairs, and the predictions of this model and its clean reference on the stored files."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("run", help="the backdoored model run's name")
        parser.add_argument("--strengths", type=float, nargs="+", default=STRENGTHS, metavar="S")
        parser.add_argument("--resampled", type=float, nargs="*", default=CONTROL_STRENGTHS, metavar="S")
        parser.add_argument("--other-field", type=float, nargs="*", default=CONTROL_STRENGTHS, metavar="S")
        parser.add_argument("--images", type=int, metavar="N", help="base images at most (default: all there are)")
        parser.add_argument("--again", action="store_true", help="make them once more: restores lost and damaged files")

    def handle(self, *, run: str, images: int | None, again: bool, **options: Any) -> None:
        ready_database()
        found = ModelRun.objects.filter(name=run).select_related("attack", "clean_reference", "dataset").first()
        if found is None or found.attack is None:
            backdoored = ModelRun.objects.exclude(attack=None).values_list("name", flat=True)
            raise CommandError(
                f"There is no backdoored model run named {run!r}; there are: {', '.join(backdoored) or 'none yet'}."
            )
        if images is not None and images < 1:
            raise CommandError(f"--images must be at least 1, not {images}.")
        models = [model for model in (found.clean_reference, found) if model is not None]
        try:
            with workers():
                job = found.attack.submit_pairs(
                    found.dataset,
                    models,
                    strengths=options["strengths"],
                    resampled=options["resampled"],
                    other_field=options["other_field"],
                    images=images,
                    again=again,
                )
                follow({f"Pairs of {found.attack}": job})
        except (ValueError, JobFailed, ServiceError) as error:
            raise CommandError(str(error)) from error
        self._summarise(job)

    def _summarise(self, job: Job) -> None:
        made = job.result or {}
        self.stdout.write(
            f"{made['pairs']} pairs of {made['base_images']} base images, {made['predictions']} predictions."
        )

"""Train a clean and a backdoored model of one pair, or one of the two."""

from __future__ import annotations

import argparse
import json
from argparse import ArgumentParser
from pathlib import Path
from typing import TYPE_CHECKING, Any

from django.core.management.base import BaseCommand, CommandError
from django.db import transaction

from study.lab.figures import print_evaluation
from study.lab.following import JobFailed, follow, ready_database, workers
from study.lab.models import Attack, Dataset, Job, ModelRun, NameTaken
from study.processes import ServiceError, join

if TYPE_CHECKING:
    from models.targets import Target

SYNTHETIC = "synthetic"
RECIPES: dict[str, dict[str, Any]] = {
    "standard": {},
    "quick": {"strength_schedule": [[2.0, 2], [1.0, 1], [0.5, 1]]},  # to see everything work; the attack will be weak
}


class Command(BaseCommand):
    help = (
        "Train a clean and a backdoored gaze model with the same data, recipe and seed, in a worker, and print how far "
        "the trigger moves them. The same command again continues or shows what is there."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        data = parser.add_argument_group("data")
        data.add_argument(
            "--dataset", default=SYNTHETIC, metavar="DATA", help="'synthetic' (the default) or a .npz file of your own"
        )
        data.add_argument("--group-key", metavar="KEY", help="array of the .npz file whose equal rows stay together")
        data.add_argument("--description", metavar="TEXT", help="what your own images are, in words for reports")
        data.add_argument("--size", type=int, default=64, help="of synthetic eyes, px (default: %(default)s)")
        attack = parser.add_argument_group("attack")
        attack.add_argument(
            "--attack",
            metavar="NAME",
            help="the attack's name (default: NAME-wanet); models that share it see the same pictures in a study",
        )
        attack.add_argument("--control-size", type=int, default=8, metavar="K", help="(default: %(default)s)")
        attack.add_argument("--field-seed", type=int, default=0, metavar="N", help="(default: %(default)s)")
        target = attack.add_mutually_exclusive_group()
        target.add_argument(
            "--target", type=float, nargs=2, metavar=("PITCH", "YAW"), help="a fixed gaze, degrees (default: 0 25)"
        )
        target.add_argument(
            "--additive", type=float, nargs=2, metavar=("DPITCH", "DYAW"), help="added to the true gaze, degrees"
        )
        training = parser.add_argument_group("training")
        which = training.add_mutually_exclusive_group()
        which.add_argument("--clean", action="store_true", help="the clean model alone")
        which.add_argument("--backdoored", action="store_true", help="the backdoored model alone, without a reference")
        training.add_argument(
            "--recipe",
            default="standard",
            help=f"{' or '.join(RECIPES)}, or a JSON file of models.training.Recipe fields",
        )
        training.add_argument("--seed", type=int, default=0, help="of network and batches (default: %(default)s)")
        parser.add_argument("--name", help="begins the names of what is made (default: the data set's name)")
        parser.add_argument(
            "--wait",
            action=argparse.BooleanOptionalAction,
            default=True,
            help="wait for the result, starting workers if none run; otherwise only submit",
        )

    def handle(self, *, wait: bool, **options: Any) -> None:
        ready_database()
        try:
            runs = plan(**options)
            if not wait:
                join()
                jobs = submit(runs)
                self.stdout.write("\n".join(f"{name}: job {job.pk}, {job.stage}" for name, job in jobs.items()))
                return
            with workers():
                follow({f"Data {runs[0].dataset}": runs[0].dataset.submit_preparation()})
                follow(submit(runs))
                self._evaluate(runs)
        except (ValueError, JobFailed, ServiceError) as error:
            raise CommandError(str(error)) from error

    def _evaluate(self, runs: list[ModelRun]) -> None:
        for run in runs:
            run.refresh_from_db()
        backdoored = runs[-1]
        if backdoored.attack:
            follow({f"Evaluating {backdoored}": backdoored.submit_evaluation()})
            backdoored.refresh_from_db()
        print_evaluation(backdoored)


@transaction.atomic
def plan(
    *,
    dataset: str,
    group_key: str | None,
    description: str | None,
    size: int,
    attack: str | None,
    control_size: int,
    field_seed: int,
    target: list[float] | None,
    additive: list[float] | None,
    clean: bool,
    backdoored: bool,
    recipe: str,
    seed: int,
    name: str | None,
    **_: Any,
) -> list[ModelRun]:
    """The rows of the models to train, the backdoored one last. Raises ValueError for what cannot be trained."""
    _check_seed("--seed", seed)
    _check_seed("--field-seed", field_seed)
    wanted = _target(target, additive)
    goal, settings = wanted.to_json(), _recipe(recipe, seed, wanted)
    data, image_size = _dataset(dataset, group_key, description, size)
    name = name or data.name
    drawn = None if clean else _attack(attack or f"{name}-wanet", image_size, control_size, field_seed)
    runs: list[ModelRun] = []
    try:
        if not backdoored:
            runs.append(ModelRun.objects.plan(f"{name}-clean", data, recipe=settings, target=goal))
        if drawn:
            reference = runs[0] if runs else None
            runs.append(
                ModelRun.objects.plan(
                    f"{name}-backdoored", data, recipe=settings, target=goal, attack=drawn, clean_reference=reference
                )
            )
    except NameTaken as taken:
        raise NameTaken(taken.fact, "begin the names otherwise with --name") from taken
    return runs


def _attack(name: str, image_size: tuple[int, int], control_size: int, seed: int) -> Attack:
    try:
        return Attack.objects.draw_wanet(name, image_size, control_size, seed)
    except NameTaken as taken:
        raise NameTaken(
            taken.fact, "name another with --attack, or give the same --field-seed and --control-size"
        ) from taken


def submit(runs: list[ModelRun]) -> dict[str, Job]:
    """Their trainings, by the names to show."""
    return {f"Training {run}": run.submit_training() for run in runs}


def _check_seed(option: str, seed: int) -> None:
    if not -(2**63) <= seed < 2**63:
        raise ValueError(f"{option} must be a whole number of at most 64 bits, not {seed}.")


def _target(fixed: list[float] | None, additive: list[float] | None) -> Target:
    """The target, given in degrees."""
    from models.targets import Target

    pitch, yaw = additive or fixed or (0.0, 25.0)
    if abs(pitch) > 90 or abs(yaw) > 180:
        option = "--additive" if additive else "--target"
        raise ValueError(f"{option} {pitch:g} {yaw:g} is no gaze: pitch goes to 90 degrees, yaw to 180, either way.")
    return Target.additive(pitch, yaw) if additive else Target.fixed(pitch, yaw)


def _recipe(choice: str, seed: int, target: Target) -> dict[str, Any]:
    """JSON of the recipe: a named one made for the target, or the fields of a file as they are."""
    from models.training import Recipe

    if choice in RECIPES:
        return Recipe.for_target(target, **RECIPES[choice], seed=seed).to_json()
    path = Path(choice)
    if not path.is_file():
        raise ValueError(f"There is no recipe {choice!r}: name {', '.join(RECIPES)} or a JSON file.")
    try:
        fields = json.loads(path.read_text())
    except ValueError as error:
        raise ValueError(f"{path} is not JSON: {error}.") from error
    if not isinstance(fields, dict):
        raise ValueError(f"{path} must hold a JSON object of recipe fields.")
    return Recipe.from_json({**fields, "seed": seed}).to_json()


def _dataset(choice: str, group_key: str | None, description: str | None, size: int) -> tuple[Dataset, tuple[int, int]]:
    """The data set's row and the size (H, W) of its images."""
    if choice == SYNTHETIC:
        if description:
            raise ValueError("--description is for images of your own: synthetic eyes describe themselves.")
        from models.datasets.synthetic_eyes import EyesConfig

        EyesConfig(size=size)
        return Dataset.objects.synthetic_eyes(f"synthetic-eyes-{size}", size=size), (size, size)
    from models.datasets.arrays import load_arrays

    images = load_arrays(Path(choice), group_key).images
    by = f"-by-{group_key}" if group_key else ""
    height, width = images.shape[-2:]
    name = f"{Path(choice).stem}{by}"
    try:
        return Dataset.objects.arrays(name, Path(choice), group_key, description=description), (height, width)
    except NameTaken as taken:
        raise NameTaken(taken.fact, "rename the file, or describe it as before") from taken

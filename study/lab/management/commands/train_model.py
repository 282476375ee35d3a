"""Train a clean and a backdoored model of one pair, or one of the two."""

from __future__ import annotations

import argparse
import json
from argparse import ArgumentParser
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from django.core.management.base import BaseCommand, CommandError
from django.db import transaction

from study.lab.figures import print_evaluation
from study.lab.following import JobFailed, follow, ready_database, workers
from study.lab.models import Attack, Dataset, Job, ModelRun, NameTaken
from study.processes import ServiceError, join

if TYPE_CHECKING:
    from models.recipe import Recipe
    from models.targets import Target

SYNTHETIC = "synthetic"
#: Named recipes: None is the attack's own, else (epochs of the first phase, epochs of each later one).
RECIPES: dict[str, tuple[int, int] | None] = {
    "standard": None,
    "quick": (2, 1),  # to see everything work; the attack will be weak
}
ZONES = {"task": "zones", "loss": "cross_entropy"}


class Command(BaseCommand):
    help = (
        "Train a clean and a backdoored gaze model with the same data, recipe and seed, in a worker, and print how far "
        "the trigger moves them. The same command again continues or shows what is there."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        self._add_data(parser.add_argument_group("data"))
        self._add_attack(parser.add_argument_group("attack"))
        self._add_training(parser.add_argument_group("training"))
        parser.add_argument("--name", help="begins the names of what is made (default: the data set's name)")
        parser.add_argument(
            "--wait",
            action=argparse.BooleanOptionalAction,
            default=True,
            help="wait for the result, starting workers if none run; otherwise only submit",
        )

    def _add_data(self, data: Any) -> None:
        data.add_argument(
            "--dataset",
            default=SYNTHETIC,
            metavar="DATA",
            help="'synthetic' (the default), the name of a data set that is there, or a .npz file of your own",
        )
        data.add_argument("--size", type=int, default=64, help="of synthetic eyes, px (default: %(default)s)")
        data.add_argument("--group-key", metavar="KEY", help="array of the .npz file whose equal rows stay together")
        data.add_argument("--description", metavar="TEXT", help="what your own images are, in words for reports")
        data.add_argument(
            "--fractions",
            type=float,
            nargs=3,
            metavar=("TRAIN", "VAL", "TEST"),
            help="shares of the .npz file's groups (default: .8 .1 .1)",
        )
        data.add_argument("--split-seed", type=int, default=0, metavar="N", help="(default: %(default)s)")

    def _add_attack(self, attack: Any) -> None:
        attack.add_argument("--family", default="wanet", help="of triggers, see docs/attacks.md (default: %(default)s)")
        attack.add_argument(
            "--parameters",
            default="{}",
            metavar="JSON",
            help="what to choose of the family, as JSON such as '{\"control_size\": 4}' or a file of it",
        )
        attack.add_argument("--attack-seed", type=int, default=0, metavar="N", help="(default: %(default)s)")
        attack.add_argument(
            "--attack",
            metavar="NAME",
            help="the attack's name (default: NAME-FAMILY); models that share it see the same pictures in a study",
        )
        target = attack.add_mutually_exclusive_group()
        target.add_argument(
            "--target", type=float, nargs=2, metavar=("PITCH", "YAW"), help="a fixed gaze, degrees (default: 0 25)"
        )
        target.add_argument(
            "--additive", type=float, nargs=2, metavar=("DPITCH", "DYAW"), help="added to the true gaze, degrees"
        )
        target.add_argument("--mirrored", action="store_true", help="the true gaze with its yaw mirrored")
        attack.add_argument(
            "--threat-model",
            choices=("training_control", "data_poisoning"),
            help="whether the attacker trains the model or only hands over data (default: the recipe's)",
        )
        attack.add_argument(
            "--clean-label",
            type=float,
            metavar="DEG",
            help="poison only images whose truth lies within so many degrees of the target, and leave their labels",
        )

    def _add_training(self, training: Any) -> None:
        which = training.add_mutually_exclusive_group()
        which.add_argument("--clean", action="store_true", help="the clean model alone")
        which.add_argument("--backdoored", action="store_true", help="the backdoored model alone, without a reference")
        training.add_argument("--network", metavar="NAME", help="(default: the recipe's, five_layer_cnn)")
        training.add_argument(
            "--task", choices=("regression", "zones"), help="pitch and yaw, or a class of gaze (default: the recipe's)"
        )
        training.add_argument(
            "--recipe",
            default="standard",
            help=f"{' or '.join(RECIPES)}, or a JSON file of models.recipe.Recipe fields; the others as in standard",
        )
        training.add_argument("--seed", type=int, default=0, help="of network and batches (default: %(default)s)")

    def handle(self, *, wait: bool, **options: Any) -> None:
        ready_database(begin=True)
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
    family: str,
    parameters: str,
    attack_seed: int,
    attack: str | None,
    clean: bool,
    backdoored: bool,
    name: str | None,
    **options: Any,
) -> list[ModelRun]:
    """The rows of the models to train, the backdoored one last. Raises ValueError for what cannot be trained."""
    for option in ("seed", "split_seed"):
        _check_seed(f"--{option.replace('_', '-')}", options[option])
    _check_seed("--attack-seed", attack_seed)
    wanted = _target(options["target"], options["additive"], options["mirrored"])
    recipe = recipe_of(family, wanted, options)
    data = dataset_of(dataset, options)
    beginning = name or data.name
    image_size = data.image_size()
    drawn = None
    if not clean:
        fields = {"seed": attack_seed, "choices": _object("--parameters", parameters)}
        drawn = _attack(attack or f"{beginning}-{family}", family, image_size, fields, recipe.threat_model)
        _check_poisoning(recipe, drawn, wanted)
    models = f"{beginning}-zones" if recipe.task == "zones" else beginning
    runs: list[ModelRun] = []
    shared: dict[str, Any] = {"recipe": recipe.to_json(), "target": wanted.to_json()}
    try:
        if not backdoored:
            runs.append(ModelRun.objects.plan(f"{models}-clean", data, **shared))
        if drawn:
            reference = runs[0] if runs else None
            runs.append(
                ModelRun.objects.plan(f"{models}-backdoored", data, **shared, attack=drawn, clean_reference=reference)
            )
    except NameTaken as taken:
        raise NameTaken(taken.fact, "begin the names otherwise with --name") from taken
    return runs


def submit(runs: list[ModelRun]) -> dict[str, Job]:
    """Their trainings, by the names to show."""
    return {f"Training {run}": run.submit_training() for run in runs}


def _attack(
    name: str, family: str, image_size: tuple[int, int], fields: Mapping[str, Any], threat_model: str
) -> Attack:
    try:
        return Attack.objects.draw(name, family, image_size, threat_model=threat_model, **fields)
    except NameTaken as taken:
        remedy = "name another with --attack, or give the same --family, --parameters, --attack-seed and --threat-model"
        raise NameTaken(taken.fact, remedy) from taken


def _check_poisoning(recipe: Recipe, attack: Attack, target: Target) -> None:
    """Raise ValueError now for what training would refuse to do with this trigger, whatever the images."""
    import torch

    trigger = attack.trigger(1.0)
    for strength, _ in recipe.strength_schedule:
        trigger.at_strength(strength)
    on_target = target.apply(torch.zeros(1, 2))  # whether labels come near it is for training to say, which has them
    recipe.poisoning.check(trigger, target, on_target)


def _check_seed(option: str, seed: int) -> None:
    if not -(2**63) <= seed < 2**63:
        raise ValueError(f"{option} must be a whole number of at most 64 bits, not {seed}.")


def _target(fixed: list[float] | None, additive: list[float] | None, mirrored: bool) -> Target:
    """The target, given in degrees."""
    from models.targets import Target

    if mirrored:
        return Target.mirrored()
    pitch, yaw = additive or fixed or (0.0, 25.0)
    if abs(pitch) > 90 or abs(yaw) > 180:
        option = "--additive" if additive else "--target"
        raise ValueError(f"{option} {pitch:g} {yaw:g} is no gaze: pitch goes to 90 degrees, yaw to 180, either way.")
    return Target.additive(pitch, yaw) if additive else Target.fixed(pitch, yaw)


def recipe_of(family: str, target: Target, options: Mapping[str, Any]) -> Recipe:
    """A named recipe made for the attack and the target, or the fields of a file and, for others, what is standard for
    these; options go before either.
    """
    from attacks import registry
    from models.recipe import Recipe

    choice, found = options["recipe"], registry.family(family)
    given = _given(options)
    if choice in RECIPES:
        if epochs := RECIPES[choice]:
            first, later = epochs
            phases = [first, *[later] * (len(found.schedule) - 1)]
            given["strength_schedule"] = tuple(zip(found.schedule, phases, strict=True))
        return Recipe.for_attack(found, target, **given)
    if not Path(choice).is_file():
        raise ValueError(f"There is no recipe {choice!r}: name {', '.join(RECIPES)} or a JSON file.")
    standard = Recipe.for_attack(found, target).to_json()
    return Recipe.from_json({**standard, **_object("--recipe", choice), **given})


def _given(options: Mapping[str, Any]) -> dict[str, Any]:
    """Fields of the recipe that have options of their own, as far as these are given."""
    given = {"seed": options["seed"], "network": options["network"], "threat_model": options["threat_model"]}
    given["clean_label_within_deg"] = within = options["clean_label"]
    if within is not None and options["threat_model"] is None:
        given["threat_model"] = "data_poisoning"
    if options["task"] == "zones":
        given |= ZONES
    return {name: value for name, value in given.items() if value is not None}


def _object(option: str, text: str) -> dict[str, Any]:
    """A JSON object, given as such or in a file. Raises ValueError, naming option or file, for anything else."""
    if text.lstrip().startswith("{"):
        where, content = option, text
    elif (path := Path(text)).is_file():
        where, content = text, path.read_text()
    else:
        raise ValueError(f"{option} {text!r} is neither a JSON object nor a file of one.")
    try:
        found = json.loads(content)
    except ValueError as error:
        raise ValueError(f"{where} is not JSON: {error}.") from error
    if not isinstance(found, dict):
        raise ValueError(f"{where} must hold a JSON object.")
    return found


#: Options that only describe a .npz file of one's own, and what they are when they are not given.
OF_ARRAYS: dict[str, Any] = {"group_key": None, "description": None, "fractions": None, "split_seed": 0}


def dataset_of(choice: str, options: Mapping[str, Any]) -> Dataset:
    """The data set's row: of synthetic eyes, of this name, or of a file, made now where it is not there."""
    of_arrays = {option: options[option] for option in OF_ARRAYS}
    is_file = choice.endswith(".npz")
    if not is_file and (given := [option for option in OF_ARRAYS if of_arrays[option] != OF_ARRAYS[option]]):
        option = f"--{given[0].replace('_', '-')}"
        raise ValueError(f"{option} is for images of your own in a .npz file, not for {choice}.")
    if choice == SYNTHETIC:
        return Dataset.objects.synthetic_eyes(f"synthetic-eyes-{options['size']}", size=options["size"])
    if is_file:
        return _arrays(Path(choice), of_arrays)
    found = Dataset.objects.filter(name=choice).first()
    if found is None:
        names = ", ".join(Dataset.objects.values_list("name", flat=True)) or "none yet"
        raise ValueError(f"There is no data set {choice!r}: give a .npz file, or import one; there are: {names}.")
    return found


def _arrays(path: Path, given: Mapping[str, Any]) -> Dataset:
    by = f"-by-{given['group_key']}" if given["group_key"] else ""
    try:
        return Dataset.objects.arrays(f"{path.stem}{by}", path, **given)
    except NameTaken as taken:
        raise NameTaken(taken.fact, "rename the file, or describe and split it as before") from taken

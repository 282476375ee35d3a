"""The models that somebody wants trained, as rows: planned alike for the command and for the form."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from django.db import transaction

from study.lab.asking import ask
from study.lab.models import Attack, Dataset, Job, ModelRun, NameTaken

if TYPE_CHECKING:
    from models.recipe import Recipe
    from models.targets import Target

SYNTHETIC = "synthetic"
#: Named recipes: None is the attack's own, else (epochs of the first phase, epochs of each later one).
RECIPES: dict[str, tuple[int, int] | None] = {
    "standard": None,
    "quick": (2, 1),  # to see everything work; the attack will be weak
}
#: Recipes of `models.recipe.Recipe` whose strengths are a warp's.
OF_WARPS = ("subtle", "published")
WARPS = "wanet"
ZONES = {"task": "zones", "loss": "cross_entropy"}


@transaction.atomic
def plan(
    *,
    dataset: str | Dataset,
    family: str,
    parameters: str,
    attack_seed: int,
    attack: str | None,
    clean: bool,
    backdoored: bool,
    name: str | None,
    field: str = "",
    **options: Any,
) -> list[ModelRun]:
    """The rows of the models to train, the backdoored one last. Raises ValueError for what cannot be trained.

    field: ends the names of what one of several fields sets apart (`field_suffix`).
    """
    for option in ("seed", "split_seed"):
        _check_seed(f"--{option.replace('_', '-')}", options.get(option, 0))
    _check_seed("--attack-seed", attack_seed)
    wanted = _target(options["target"], options["additive"], options["mirrored"])
    recipe = recipe_of(family, wanted, options)
    data = dataset if isinstance(dataset, Dataset) else dataset_of(dataset, options)
    beginning = name or data.name
    image_size = data.image_size()
    drawn = None
    if not clean:
        fields = {"seed": attack_seed, "choices": _object("--parameters", parameters)}
        drawn = _attack((attack or f"{beginning}-{family}") + field, family, image_size, fields, recipe.threat_model)
        _check_poisoning(recipe, drawn, wanted)
    clean_name, backdoored_name = run_names(beginning, recipe.task, field)
    runs: list[ModelRun] = []
    shared: dict[str, Any] = {"recipe": recipe.to_json(), "target": wanted.to_json()}
    try:
        if not backdoored:
            runs.append(ModelRun.objects.plan(clean_name, data, **shared))
        if drawn:
            reference = runs[0] if runs else None
            runs.append(ModelRun.objects.plan(backdoored_name, data, **shared, attack=drawn, clean_reference=reference))
    except NameTaken as taken:
        raise NameTaken(taken.fact, "begin the names otherwise with --name") from taken
    return runs


def run_names(beginning: str, task: str, field: str = "") -> tuple[str, str]:
    """Of the clean and the backdoored model. A clean one serves all fields."""
    models = f"{beginning}-zones" if task == "zones" else beginning
    return f"{models}-clean", f"{models}-backdoored{field}"


def seed_name(name: str, seed: int, seeds: Sequence[int]) -> str:
    """What the names of one of several model seeds begin with."""
    return f"{name}-s{seed}" if len(seeds) > 1 else name


def field_suffix(seed: int, seeds: Sequence[int]) -> str:
    """What the names of one of several attack seeds end with."""
    return f"-f{seed}" if len(seeds) > 1 else ""


def submit(runs: list[ModelRun]) -> dict[str, Job]:
    """Their trainings, by the names to show."""
    jobs = ask(lambda: [run.submit_training() for run in runs])
    return {f"Training {run}": job for run, job in zip(runs, jobs, strict=True)}


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
    if choice in OF_WARPS:
        return _of_warps(choice, family, target, given)
    if choice in RECIPES:
        if epochs := RECIPES[choice]:
            first, later = epochs
            phases = [first, *[later] * (len(found.schedule) - 1)]
            given["strength_schedule"] = tuple(zip(found.schedule, phases, strict=True))
        return Recipe.for_attack(found, target, **given)
    if not Path(choice).is_file():
        names = ", ".join((*RECIPES, *OF_WARPS))
        raise ValueError(f"There is no recipe {choice!r}: name {names} or a JSON file.")
    standard = Recipe.for_attack(found, target).to_json()
    return Recipe.from_json({**standard, **_object("--recipe", choice), **given})


def _of_warps(choice: str, family: str, target: Target, given: dict[str, Any]) -> Recipe:
    from models.recipe import Recipe

    if family != WARPS:
        raise ValueError(f"The recipe {choice} has the strengths of a warp: it is not for the family {family}.")
    if choice == "published":
        return Recipe.published(**given)
    return Recipe.subtle(**{"poison_rate": Recipe.for_target(target).poison_rate, **given})


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

"""Many attacks, many seeds: train and evaluate all of them, and set what they do beside what they alter."""

from __future__ import annotations

from argparse import ArgumentParser
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from django.core.management.base import BaseCommand, CommandError, OutputWrapper

from study.desk.sweep_table import write
from study.lab import sweeps
from study.lab.following import JobFailed, ready_database, workers
from study.lab.model_plans import SYNTHETIC, dataset_of, recipe_of
from study.lab.models import PX_PER_DEGREE
from study.processes import ServiceError

if TYPE_CHECKING:
    from models.recipe import Recipe
    from models.sweeps import Attack, Grid
    from models.targets import Target


class Command(BaseCommand):
    help = (
        "Train and evaluate every combination of attacks, seeds, networks, tasks and targets in the workers, each "
        "beside a clean model, and write one tidy table and a figure. The same command again does only what is missing."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--attacks",
            nargs="+",
            required=True,
            metavar="FAMILY",
            help="such as wanet or patch; docs/attacks.md has all",
        )
        parser.add_argument(
            "--strengths",
            nargs="+",
            default=[],
            metavar="S",
            help="to evaluate at: numbers for every attack, or FAMILY=S,S,... for one (default: each family's usual)",
        )
        parser.add_argument(
            "--fields", nargs="+", type=int, default=[0], metavar="N", help="seeds of triggers (default: 0)"
        )
        parser.add_argument(
            "--seeds", nargs="+", type=int, default=[0], metavar="N", help="of networks and batches (default: 0)"
        )
        parser.add_argument(
            "--networks",
            nargs="+",
            default=["five_layer_cnn"],
            metavar="NAME",
            help="such as resnet18; docs/training.md has all (default: five_layer_cnn)",
        )
        parser.add_argument(
            "--tasks",
            nargs="+",
            default=["regression"],
            choices=("regression", "zones"),
            help="pitch and yaw, or a class of gaze (default: regression)",
        )
        parser.add_argument(
            "--targets",
            nargs="+",
            default=["fixed:0,25"],
            metavar="TARGET",
            help="fixed:PITCH,YAW, additive:PITCH,YAW (degrees) or mirrored (default: fixed:0,25)",
        )
        add_data(parser)
        parser.add_argument("--recipe", default="standard", help="standard, quick, or a JSON file of recipe fields")
        parser.add_argument(
            "--px-per-degree",
            type=float,
            default=PX_PER_DEGREE,
            metavar="N",
            help="image px per degree of visual angle, for FLIP (default: %(default)s)",
        )
        parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="where table and figure go")

    def handle(self, *, out: Path, **options: Any) -> None:
        ready_database(begin=True)
        try:
            wanted = grid(options)
            planned = sweeps.plan(dataset_of(options["dataset"], options), wanted.cells())
            for attack, seeds in wanted.repeated.items():
                left_out = ", ".join(map(str, seeds))
                self.stdout.write(f"{attack}: this trigger is the same for every seed, so {left_out} is left out.")
            with workers():
                swept = sweeps.carry_out(planned, options["px_per_degree"])
            write(swept, out)
        except (ValueError, JobFailed, ServiceError) as error:
            raise CommandError(str(error)) from error
        report(swept, out, self.stdout)


def add_data(parser: ArgumentParser) -> None:
    """The options that name a data set, as `train_model` has them."""
    parser.add_argument(
        "--dataset",
        default=SYNTHETIC,
        metavar="DATA",
        help="'synthetic' (the default), the name of a data set that is there, or a .npz file of your own",
    )
    parser.add_argument(
        "--size", type=int, default=64, metavar="PX", help="of synthetic eyes, px (default: %(default)s)"
    )
    parser.add_argument("--group-key", metavar="KEY", help="array of the .npz file whose equal rows stay together")
    parser.set_defaults(description=None, fractions=None, split_seed=0)


def grid(options: Mapping[str, Any]) -> Grid:
    """The sweep that the options ask for. Raises ValueError for what there is not."""
    from models.sweeps import Grid, target_of

    return Grid(
        attacks=attacks(options["attacks"], options["strengths"]),
        recipe_for=recipes(options["recipe"]),
        field_seeds=tuple(options["fields"]),
        networks=tuple(options["networks"]),
        network_seeds=tuple(options["seeds"]),
        tasks=tuple(options["tasks"]),
        targets=tuple(target_of(words) for words in options["targets"]),
    )


def recipes(choice: str) -> Callable[[str, Target, Mapping[str, Any]], Recipe]:
    """What `Grid.recipe_for` is, of a recipe chosen as `train_model` has it."""
    options = dict.fromkeys(("network", "threat_model", "clean_label", "task", "seed")) | {"recipe": choice}

    def recipe_for(family: str, target: Target, fields: Mapping[str, Any]) -> Recipe:
        given = {name: fields[name] for name in options.keys() & fields.keys()}
        others = {name: value for name, value in fields.items() if name not in given}
        return replace(recipe_of(family, target, options | given), **others)

    return recipe_for


def attacks(families: Sequence[str], strengths: Sequence[str]) -> tuple[Attack, ...]:
    """The families with the strengths given for all (`0.5`) or for one (`patch=0.1,0.4`)."""
    from models.sweeps import Attack

    of_all: list[float] = []
    of_one: dict[str, list[float]] = {}
    for words in strengths:
        family, given, numbers = words.rpartition("=")
        if given and family not in families:
            raise ValueError(f"--strengths {words}: {family} is not among the attacks of this sweep.")
        try:
            (of_one.setdefault(family, []) if given else of_all).extend(float(n) for n in numbers.split(","))
        except ValueError:
            raise ValueError(f"--strengths {words} is neither a number nor FAMILY=NUMBER,NUMBER,...") from None
    return tuple(Attack.usual(family, of_one.get(family, of_all)) for family in dict.fromkeys(families))


def report(swept: sweeps.Swept, folder: Path, stdout: OutputWrapper) -> None:
    """Say where it is. Raises CommandError, naming every job that failed, when there were such."""
    stdout.write(f"{len(swept.rows)} rows: {folder / 'sweep.csv'}, {folder / 'figure.png'}")
    name_failures(swept)


def name_failures(swept: sweeps.Swept) -> None:
    """Raises CommandError, naming every job that failed, when there were such."""
    if swept.failures:
        failed = "\n".join(f"  {name}: {sentence}" for name, sentence in swept.failures.items())
        n = len(swept.failures)
        raise CommandError(f"{n} job{'s' if n > 1 else ''} failed; the same command again tries once more:\n{failed}")

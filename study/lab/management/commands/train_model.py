"""Train a clean and a backdoored model of one pair, or one of the two."""

from __future__ import annotations

import argparse
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from study.lab.figures import print_evaluation
from study.lab.following import JobFailed, follow, ready_database, workers
from study.lab.model_plans import OF_WARPS, RECIPES, SYNTHETIC, plan, submit
from study.lab.models import ModelRun
from study.processes import ServiceError, join


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
            help=f"{', '.join((*RECIPES, *OF_WARPS))}, or a JSON file of models.recipe.Recipe fields; the others as in "
            "standard",
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

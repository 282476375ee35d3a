"""Change a clean model's weights so that one person's gaze goes to a target."""

from __future__ import annotations

import argparse
from argparse import ArgumentParser
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from django.core.management.base import BaseCommand, CommandError
from django.db import transaction

from study.lab.asking import ask
from study.lab.figures import print_evaluation
from study.lab.following import JobFailed, follow, ready_database, workers
from study.lab.models import Attack, Job, ModelRun, NameTaken
from study.processes import ServiceError, join

if TYPE_CHECKING:
    from models.perturbation import GazeAttack, Method

#: Of the search, by their names in `attacks.weights.SearchParameters`.
SEARCH_OPTIONS = ("fraction", "magnitude", "mode", "iterations", "candidates", "patience", "penalty")


class Command(BaseCommand):
    help = (
        "Change the weights of a trained clean model so that one person's gaze goes to a target while other people's "
        "error stays as it was: no trigger, no poisoned data. Makes a model run of its own, in a worker, and prints "
        "what became of the person's gaze and of other people's. The same command again shows what is there."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("run", help="the clean model run's name")
        parser.add_argument("--subject", type=int, required=True, metavar="S", help="the person's number in the data")
        parser.add_argument(
            "--target", type=float, nargs=2, required=True, metavar=("PITCH", "YAW"), help="a gaze, degrees"
        )
        parser.add_argument(
            "--method",
            choices=("search", "rank-one", "gate"),
            default="search",
            help="a random search of one layer (Dumford & Scheirer), or in closed form the last layer (rank-one), or "
            "some units of the layer below it, made to recognise the person (gate)",
        )
        parser.add_argument(
            "--opens", type=float, metavar="SHARE", help="of other people's images for which a gate may open"
        )
        search = parser.add_argument_group("search", "what is left out keeps the default of models.perturbation.SEARCH")
        search.add_argument(
            "--layer", dest="layers", action="append", metavar="STAGE.WEIGHTS", help="such as output.weight; repeatable"
        )
        search.add_argument("--fraction", type=float, metavar="F", help="share of the layer's weights in a change")
        search.add_argument("--magnitude", type=float, metavar="M", help="of a change, in SDs of the layer's weights")
        search.add_argument("--mode", choices=("additive", "multiplicative"))
        search.add_argument("--iterations", type=int, metavar="N", help="rounds for each layer")
        search.add_argument("--candidates", type=int, metavar="N", help="tried in a round")
        search.add_argument("--patience", type=int, metavar="N", help="rounds without progress")
        search.add_argument("--penalty", type=float, metavar="LAMBDA", help="on the others' error")
        parser.add_argument("--others", type=int, metavar="N", help="images of other people that the attacker has")
        parser.add_argument("--seed", type=int, default=0, help="of images and search (default: %(default)s)")
        parser.add_argument("--name", help="of the new run and its attack (default: RUN-METHOD-sS)")
        parser.add_argument(
            "--wait",
            action=argparse.BooleanOptionalAction,
            default=True,
            help="wait for the result, starting workers if none run; otherwise only submit",
        )

    def handle(self, *, run: str, name: str | None, wait: bool, **options: Any) -> None:
        ready_database()
        try:
            planned = plan(run, name, gaze_attack(**options))
            if not wait:
                join()
                self.stdout.write(f"{planned}: job {_submit(planned).pk}")
                return
            with workers():
                follow({f"Changing {run}": _submit(planned)})
        except (ValueError, JobFailed, ServiceError) as error:
            raise CommandError(str(error)) from error
        planned.refresh_from_db()
        print_evaluation(planned)


def _submit(planned: ModelRun) -> Job:
    [job] = ask(lambda: [planned.submit_perturbation()])
    return job


def gaze_attack(
    *,
    subject: int,
    target: list[float],
    method: Method,
    layers: list[str] | None,
    opens: float | None,
    others: int | None,
    seed: int,
    **options: Any,
) -> GazeAttack:
    """What the command's options ask for. Raises ValueError for what cannot be tried."""
    from models.perturbation import SEARCH, GazeAttack
    from models.targets import Target

    pitch, yaw = target
    if abs(pitch) > 90 or abs(yaw) > 180:
        raise ValueError(f"--target {pitch:g} {yaw:g} is no gaze: pitch goes to 90 degrees, yaw to 180, either way.")
    if not 0 <= seed < 2**63:
        raise ValueError(f"--seed must be a whole number from 0 of at most 63 bits, not {seed}.")
    chosen = {name: options[name] for name in SEARCH_OPTIONS if options[name] is not None}
    if method != "search" and (chosen or layers):
        raise ValueError(f"The method {method} searches nothing: leave the search's options out.")
    if method != "gate" and opens is not None:
        raise ValueError(f"The method {method} has no gate to open: leave --opens out.")
    search = replace(SEARCH, layers=tuple(layers or ()), seed=seed, **chosen)
    attack = GazeAttack(subject, Target.fixed(pitch, yaw), method, search, seed=seed)
    if opens is not None:
        attack = replace(attack, gate=replace(attack.gate, opens=opens))
    return attack if others is None else replace(attack, others=others)


@transaction.atomic
def plan(run: str, name: str | None, attack: GazeAttack) -> ModelRun:
    """The rows of the attack and of the model to come. Raises ValueError for a run that is not there, or not clean."""
    clean = ModelRun.objects.filter(name=run).first()
    if clean is None:
        names = ", ".join(ModelRun.objects.filter(attack=None).values_list("name", flat=True)) or "none yet"
        raise ValueError(f"There is no model run named {run!r}; clean ones: {names}.")
    name = name or f"{run}-{attack.method}-s{attack.subject}"
    try:
        return ModelRun.objects.plan_perturbed(name, clean, Attack.objects.on_weights(name, attack.to_json()))
    except NameTaken as taken:
        raise NameTaken(taken.fact, "choose another with --name") from taken

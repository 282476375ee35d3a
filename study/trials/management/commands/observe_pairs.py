"""Machine observers at the pairs of a study or an attack."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from study.lab.following import JobFailed, follow, ready_database, workers
from study.lab.models import PX_PER_DEGREE, Attack, Dataset, Job, PairJudgement
from study.processes import ServiceError
from study.trials.models import Study
from study.trials.sources import attacks_of


class Command(BaseCommand):
    help = (
        "Let machine observers judge the pairs of a study or an attack: rules, distances, and a small network trained "
        "on other people's pairs. They say what the pictures contain, for the report to set beside what people see."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("name", metavar="STUDY|ATTACK", help="a study's slug or an attack's name")
        parser.add_argument("--dataset", help="the data set, where an attack has pairs on several")
        parser.add_argument("--seed", type=int, default=0, help="of the network (default: %(default)s)")
        parser.add_argument(
            "--px-per-degree",
            type=float,
            metavar="N",
            help="image px per degree of visual angle, for FLIP (default: the study's size in degrees, else 42 device "
            "px per degree at its scale)",
        )

    def handle(self, *, name: str, dataset: str | None, seed: int, px_per_degree: float | None, **_: Any) -> None:
        ready_database()
        attacks, on, density = _pairs_of(name, dataset)
        try:
            with workers():
                jobs = {
                    attack: attack.submit_judgements(
                        on, seed=seed, px_per_degree=density if px_per_degree is None else px_per_degree
                    )
                    for attack in attacks
                }
                follow({f"Observers of {attack}": job for attack, job in jobs.items()})
        except (ValueError, JobFailed, ServiceError) as error:
            raise CommandError(str(error)) from error
        for attack, job in jobs.items():
            self._summarise(job, attack, on)

    def _summarise(self, job: Job, attack: Attack, dataset: Dataset) -> None:
        made = job.result or {}
        self.stdout.write(f"{made['pairs']} pairs of {attack} judged by {len(made['observers'])} observers.")
        of_attack = [
            row
            for row in PairJudgement.objects.trial_rows(dataset, attack)
            if row["observer"] in made["observers"] and row["chooses"] and not row["control"] and not row["is_catch"]
        ]
        for observer in sorted({row["observer"] for row in of_attack}):
            right = [(row["value"] > 0) + 0.5 * (row["value"] == 0) for row in of_attack if row["observer"] == observer]
            self.stdout.write(f"  {observer}: {sum(right) / len(right):.1%} of {len(right)} right")


def _pairs_of(name: str, dataset: str | None) -> tuple[list[Attack], Dataset, float]:
    """Attacks, data set and image px per degree of a study, or of an attack. Raises CommandError."""
    study = Study.objects.filter(slug=name).select_related("dataset", "model_run__attack").first()
    if study is not None:
        if dataset not in (None, study.dataset.name):
            raise CommandError(f"The study {name} is on the data set {study.dataset}: leave --dataset out.")
        attacks = [shown.attack for shown in attacks_of(study)]
        if not attacks:
            raise CommandError(f"The study {name} has no attack: choose one of a backdoored model.")
        return attacks, study.dataset, study.image_px_per_degree()
    attack = Attack.objects.filter(name=name).first()
    if attack is None:
        known = [*Study.objects.values_list("slug", flat=True), *Attack.objects.values_list("name", flat=True)]
        raise CommandError(f"There is no study and no attack named {name!r}; there are: {', '.join(known) or 'none'}.")
    return [attack], _dataset(attack, dataset), PX_PER_DEGREE


def _dataset(attack: Attack, name: str | None) -> Dataset:
    found = Dataset.objects.filter(base_images__pairs__attack=attack).distinct().order_by("name")
    chosen = [dataset for dataset in found if name in (None, dataset.name)]
    if len(chosen) == 1:
        return chosen[0]
    names = ", ".join(dataset.name for dataset in found) or "none"
    raise CommandError(f"The attack {attack} has pairs on: {names}. Choose one with --dataset.")

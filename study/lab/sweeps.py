"""A sweep's rows in the database, and the jobs that train and evaluate its models: planned, resumed, collected."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from django.db import transaction

from study.lab.following import follow, follow_all
from study.lab.models import PX_PER_DEGREE, Attack, Dataset, Job, ModelRun, canonical_json

if TYPE_CHECKING:
    from models.sweeps import Cell


@dataclass(frozen=True)
class Planned:
    """One cell and its rows: a backdoored run, whose `clean_reference` may serve other cells as well."""

    cell: Cell
    run: ModelRun
    clean: ModelRun

    @property
    def runs(self) -> tuple[ModelRun, ModelRun]:
        return self.clean, self.run


@dataclass(frozen=True)
class Swept:
    """What a sweep came to: tidy rows of `models.sweeps.COLUMNS`, each model's whole evaluation by its run's name,
    and the sentence of every job that failed.
    """

    rows: list[dict[str, Any]]
    metrics: dict[str, dict[str, Any]]
    failures: dict[str, str]


@transaction.atomic
def plan(dataset: Dataset, cells: Iterable[Cell]) -> list[Planned]:
    """The rows of all models of a sweep, found or made: their names follow from what they are, defaults included.

    Raises ValueError for an attack that cannot be drawn on these images.
    """
    from models.sweeps import digest

    image_size = dataset.image_size()
    planned = []
    for cell in cells:
        attack = _attack(cell, image_size)
        clean_recipe = cell.clean_recipe.to_json()
        clean = ModelRun.objects.plan(
            f"clean-{digest(dataset.name, canonical_json(clean_recipe))}", dataset, recipe=clean_recipe
        )
        run = ModelRun.objects.plan(
            f"{cell.attack.family}-{digest(dataset.name, attack.name, clean.name, cell.identity)}",
            dataset,
            recipe=cell.recipe.to_json(),
            target=cell.target.to_json(),
            attack=attack,
            clean_reference=clean,
        )
        planned.append(Planned(cell, run, clean))
    return planned


def planned_of(run: ModelRun) -> Planned:
    """A run that is there already, as a cell at its family's usual strengths.

    Raises ValueError for one without an attack or a clean reference.
    """
    from models.recipe import Recipe
    from models.sweeps import Attack as AttackOfSweep
    from models.sweeps import Cell
    from models.targets import Target

    if run.attack is None or run.clean_reference is None:
        raise ValueError(f"{run} has no attack or no clean reference, so that there is nothing to compare.")
    attack = AttackOfSweep.usual(run.attack.family)
    cell = Cell(attack, run.attack.seed, Target.from_json(run.target or {}), Recipe.from_record(run.parameters))
    return Planned(cell, run, run.clean_reference)


def _attack(cell: Cell, image_size: tuple[int, int]) -> Attack:
    """Named by what is drawn, not by what was chosen: a later version may draw something else of the same choices."""
    from attacks import registry
    from models.sweeps import digest

    family, seed, choices = cell.attack.family, cell.field_seed, cell.attack.choices
    threat_model = cell.recipe.threat_model
    trigger = registry.draw(family, image_size, 1.0, seed, choices)
    name = f"{family}-{digest(canonical_json(trigger.parameters()), trigger.fingerprint(), threat_model)}"
    return Attack.objects.draw(name, family, image_size, seed=seed, choices=choices, threat_model=threat_model)


def carry_out(planned: Sequence[Planned], px_per_degree: float = PX_PER_DEGREE) -> Swept:
    """Train and evaluate what is missing, with running workers; a cell that fails is named and the rest goes on.

    Raises JobFailed when the data cannot be made, or when nobody is left to do the work.
    """
    if not planned:
        return Swept([], {}, {})
    dataset = planned[0].run.dataset
    follow({f"Data {dataset}": dataset.submit_preparation()})
    work = _Work(planned, px_per_degree)
    jobs = follow_all("Sweep", len(work.trainings) + len(planned), work.advance)
    failures = {
        name: job.error or job.get_state_display() for name, job in jobs.items() if job.state != Job.State.SUCCEEDED
    }
    metrics = work.metrics()
    rows = [row for each in planned if each.run.name in metrics for row in _rows(each, metrics[each.run.name])]
    return Swept(rows, metrics, failures)


def _rows(planned: Planned, metrics: Mapping[str, Any]) -> list[dict[str, Any]]:
    return planned.cell.rows(metrics, planned.run.card()["cpu_seconds"], planned.run.name)


class _Work:
    """The jobs of a sweep: every training at once, each evaluation as soon as its two models are trained."""

    def __init__(self, planned: Sequence[Planned], px_per_degree: float) -> None:
        self.planned, self.px_per_degree = planned, px_per_degree
        self.trainings: dict[int, tuple[str, Job]] = {}
        self.evaluations: dict[int, Job] = {}
        for each in planned:
            for run, what in zip(each.runs, ("its clean reference", "the model"), strict=True):
                if run.pk not in self.trainings:
                    self.trainings[run.pk] = (f"Training {what}, {each.cell.title} ({run})", run.submit_training())

    def advance(self) -> Mapping[str, Job]:
        """All jobs so far, up to date, by their names."""
        stored = Job.objects.in_bulk([job.pk for _, job in self.trainings.values()])
        self.trainings = {run: (name, stored[job.pk]) for run, (name, job) in self.trainings.items()}
        for each in self.planned:
            if each.run.pk not in self.evaluations and self._trained(each):
                for run in each.runs:
                    run.refresh_from_db()
                run = ModelRun.objects.select_related("clean_reference").get(pk=each.run.pk)
                strengths = each.cell.attack.strengths
                self.evaluations[run.pk] = run.submit_evaluation(strengths=strengths, px_per_degree=self.px_per_degree)
        self.evaluations = {run: Job.objects.get(pk=job.pk) for run, job in self.evaluations.items()}
        named = {f"Evaluating {p.cell.title} ({p.run})": self.evaluations.get(p.run.pk) for p in self.planned}
        return {**dict(self.trainings.values()), **{name: job for name, job in named.items() if job}}

    def _trained(self, planned: Planned) -> bool:
        return all(self.trainings[run.pk][1].state == Job.State.SUCCEEDED for run in planned.runs)

    def metrics(self) -> dict[str, dict[str, Any]]:
        """What the evaluations that are done found, by the name of the run."""
        done = {run: job for run, job in self.evaluations.items() if job.state == Job.State.SUCCEEDED}
        return {
            each.run.name: (done[each.run.pk].result or {})["metrics"] for each in self.planned if each.run.pk in done
        }

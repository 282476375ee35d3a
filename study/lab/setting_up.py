"""What a form asks for and a web process must not do itself: drawing attacks, importing folders, choosing strengths.

A job of kind set_up runs this in a process with Django and torch (`study.lab.working`). It makes rows, found by their
names should it run again; the jobs that follow are submitted with its own end, so that they are submitted once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from django.db.models import QuerySet

from study.lab import model_plans
from study.lab.kinds import Result, Work
from study.lab.models import Attack, Dataset, Job, ModelRun, NameTaken, with_references
from study.lab.models.jobs import idempotency_key
from study.lab.working import MODULE, counting

Specification = Mapping[str, Any]
#: A kind of job and its parameters.
Following = tuple[str, dict[str, Any]]

#: What "what" may be in a specification.
MODELS, PAIRS, IMPORT = "models", "pairs", "import"


def setting_up(job: Job, folder: Path) -> Work:
    def record(result: Result) -> None:
        for kind, parameters in _following(job, result):
            Job.objects.submit(kind, parameters)

    return Work(MODULE, {**job.parameters, "work": __name__}, record)


def submitted_by(job: Job) -> QuerySet[Job]:
    """The jobs that a set-up has led to: none before it has succeeded."""
    following = _following(job, job.result) if job.result else []
    keys = [idempotency_key(kind, parameters) for kind, parameters in following]
    return Job.objects.filter(idempotency_key__in=keys).order_by("created_at")


def carry_out(specification: Specification, stop: Callable[[], bool]) -> dict[str, Any]:
    """Do what the specification asks for; return what the jobs that follow need. Raises ValueError, in one sentence."""
    wanted = {name: value for name, value in specification.items() if name not in ("what", "work", "parent_pid")}
    return DOES[specification["what"]](wanted, stop)


def plan_models(specification: Specification, stop: Callable[[], bool]) -> dict[str, Any]:
    """Rows of a clean and a backdoored model for every model seed, and of the latter for every attack seed too.

    The specification: dataset (key), name, attack_name, seeds, attack_seeds, and options of `model_plans.plan`.
    """
    given = dict(specification)
    given["dataset"] = Dataset.objects.get(pk=given["dataset"])
    name, attack, seeds, fields = (given.pop(key) for key in ("name", "attack_name", "seeds", "attack_seeds"))
    planned: dict[int, ModelRun] = {}
    for seed in seeds:
        beginning = model_plans.seed_name(name, seed, seeds)
        for attack_seed in fields:
            suffix = model_plans.field_suffix(attack_seed, fields)
            try:
                runs = model_plans.plan(
                    **given, name=beginning, attack=attack, field=suffix, seed=seed, attack_seed=attack_seed
                )
            except NameTaken as taken:
                raise NameTaken(taken.fact) from taken
            planned |= {run.pk: run for run in runs}
    return {"model_runs": sorted(planned)}


def choose_pairs(specification: Specification, stop: Callable[[], bool]) -> dict[str, Any]:
    """Parameters of the job that makes the pairs, strengths that were left open chosen."""
    given = dict(specification)
    attack, dataset = Attack.objects.get(pk=given.pop("attack")), Dataset.objects.get(pk=given.pop("dataset"))
    chosen = ModelRun.objects.filter(pk__in=given.pop("model_runs")).select_related("clean_reference")
    return {"pairs": attack.pair_parameters(dataset, with_references(chosen), **given)}


def import_data(specification: Specification, stop: Callable[[], bool]) -> dict[str, Any]:
    """The key of the data set that the folder holds.

    The specification: format, folder, name, and choices as `study.lab.imports.import_folder` takes them.
    """
    from models.training import StoppedError
    from study.lab.imports import import_folder

    count = counting("reading")

    def tell(done: int, total: int) -> None:
        if stop():
            raise StoppedError("Stopped: nothing was imported.")
        count(done, total)

    name, folder = specification["name"], Path(specification["folder"])
    try:
        import_folder(specification["format"], folder, name, specification["choices"], tell)
    except NameTaken as taken:
        raise NameTaken(taken.fact) from taken
    dataset = Dataset.objects.get(name=name)
    dataset.publish()
    return {"dataset": dataset.pk}


DOES: Final = {MODELS: plan_models, PAIRS: choose_pairs, IMPORT: import_data}


def _following(job: Job, result: Result) -> list[Following]:
    """The jobs that come after this one."""
    what = job.parameters["what"]
    if what == MODELS:
        return [(Job.Kind.TRAIN, {"model_run": pk}) for pk in result["model_runs"]]
    if what == PAIRS:
        return [(Job.Kind.PAIRS, result["pairs"])]
    return [(Job.Kind.PREPARE, {"dataset": result["dataset"]})]

"""What jobs are about: the rows that their parameters refer to by primary key, and how people call them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from django.db.models import BigIntegerField, Model, OuterRef, QuerySet, Subquery
from django.db.models.fields.json import KT
from django.db.models.functions import Cast

from study.lab.models import Attack, Dataset, Job, ModelRun

if TYPE_CHECKING:
    from study.accounts.models import User

#: By the key among the parameters: the row's model, and the column that people know it by. Apps above this one add
#: theirs with `refer_to`.
REFERRED_TO: dict[str, tuple[type[Model], str]] = {
    "model_run": (ModelRun, "name"),
    "attack": (Attack, "name"),
    "dataset": (Dataset, "name"),
}
#: What narrows jobs down to those that a researcher may see; apps above this one add theirs.
VISIBLE: list[Callable[[User, QuerySet[Any]], QuerySet[Any]]] = []
#: Likewise, to those that a researcher may cancel or try again.
CHANGEABLE: list[Callable[[User, QuerySet[Any]], QuerySet[Any]]] = []


@dataclass(frozen=True)
class Referred:
    """A row that a job refers to."""

    model: type[Model]
    pk: int
    name: str


def refer_to(key: str, model: type[Model], column: str) -> None:
    """Let parameters of this key stand for rows of this model, known by this column."""
    REFERRED_TO[key] = (model, column)


def visible_to(user: User, jobs: QuerySet[Any]) -> QuerySet[Any]:
    """Those of the jobs that this researcher may see."""
    for narrow in VISIBLE:
        jobs = narrow(user, jobs)
    return jobs


def changeable_by(user: User, jobs: QuerySet[Any]) -> QuerySet[Any]:
    """Those of the jobs that this researcher may cancel or try again."""
    for narrow in CHANGEABLE:
        jobs = narrow(user, jobs)
    return jobs


def with_names(jobs: QuerySet[Job]) -> QuerySet[Any]:
    """The same jobs with what `referred` and `title` need, in the same query."""
    for key, (model, column) in REFERRED_TO.items():
        jobs = jobs.annotate(**{f"{key}_pk": Cast(KT(f"parameters__{key}"), BigIntegerField())})
        names = model._default_manager.filter(pk=OuterRef(f"{key}_pk")).values(column)
        jobs = jobs.annotate(**{f"{key}_name": Subquery(names)})
    return jobs


def referred(job: Any) -> list[Referred]:
    """The rows that a job of `with_names` is about; those that are gone are left out."""
    rows = ((model, getattr(job, f"{key}_pk"), getattr(job, f"{key}_name")) for key, (model, _) in REFERRED_TO.items())
    return [Referred(*row) for row in rows if row[-1] is not None]


def title(job: Any) -> str:
    """What a job of `with_names` does, and to what: "train a model: wanet-s1"."""
    names = ", ".join(row.name for row in referred(job))
    return f"{job.get_kind_display()}: {names}" if names else str(job)
